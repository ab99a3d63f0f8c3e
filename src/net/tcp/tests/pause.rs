//! A person here pauses what an original sends.

use std::net::IpAddr;

use tokio::time::{Instant, timeout};

use super::*;
use crate::net::tcp::{LegacyArrival, LegacyListener, LegacyOptions, Trees};
use crate::protocol::legacy::chunk_size;
use crate::protocol::message::{PauseReason, Scope, Steer, SteerAction};

const SIZE: u64 = 1 << 30;
/// An original gives up when one chunk is not taken within this time.
const ORIGINALS_PATIENCE: Duration = Duration::from_secs(10);
const PAUSED_FOR: Duration = Duration::from_secs(30);

/// Sends like an original until it gives up.
async fn send_chunks(mut stream: TcpStream) -> u64 {
    let chunk = vec![7; chunk_size(SIZE) as usize];
    let mut sent = 0;
    loop {
        match timeout(ORIGINALS_PATIENCE, stream.write_all(&chunk)).await {
            Ok(Ok(())) => sent += chunk.len() as u64,
            Ok(Err(_)) | Err(_) => return sent,
        }
    }
}

/// An accepted transfer whose large file has begun, and the task that sends it.
async fn begun(spool: &Path) -> (LegacyListener, TcpInbound, TcpReader, JoinHandle<u64>) {
    let (listener, mut arrivals) = LegacyListener::bind(LegacyOptions {
        bind: Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        port: 0,
        spool: spool.to_owned(),
        trees: Trees::default(),
    })
    .unwrap();
    let addr = (Ipv4Addr::LOCALHOST, listener.port());
    let mut stream = TcpStream::connect(addr).await.unwrap();
    let opening = Opening::Files {
        file_id: "0".into(),
        sender: LegacyId::DEFAULT_PROFILE,
    };
    stream.write_all(&opening.encode().unwrap()).await.unwrap();
    let Some(LegacyArrival::Transfer(mut link)) = arrivals.recv().await else {
        panic!("files were announced");
    };
    link.recv().await.unwrap();
    link.send(ReceiverMessage::Accepted).await.unwrap();
    assert_eq!(stream.read_u8().await.unwrap(), 1);
    stream.write_all(&step("large", SIZE)).await.unwrap();
    let sender = tokio::spawn(send_chunks(stream));
    let reader = next_file(&mut link).await;
    (listener, *link, reader, sender)
}

#[tokio::test]
async fn a_pause_of_half_a_minute_keeps_an_original_that_sends_a_large_file() {
    let spool = tempfile::tempdir().unwrap();
    let (_listener, mut link, mut reader, sender) = begun(spool.path()).await;
    let steer = |action| {
        ReceiverMessage::Steer(Steer {
            scope: Scope::Transfer,
            action,
        })
    };
    let pause = SteerAction::Pause(PauseReason::Person);
    link.send(steer(pause)).await.unwrap();
    // From here on time passes only when nothing else happens.
    tokio::time::pause();
    let start = Instant::now();
    let mut taken = 0;
    while start.elapsed() < PAUSED_FOR {
        if let Piece::Data(data) = reader.read().await.unwrap() {
            taken += data.len() as u64;
        }
        // What the system has to do takes no time of this clock.
        for _ in 0..200 {
            tokio::task::yield_now().await;
        }
        assert!(!sender.is_finished(), "it gave up after {taken} bytes");
    }
    // It only trickled: a few chunks, and what had come before the pause.
    assert!(taken < 12 * 1024 * 1024, "{taken}");
    link.send(steer(SteerAction::Resume)).await.unwrap();
    let resumed = Instant::now();
    for _ in 0..100 {
        reader.read().await.unwrap();
    }
    assert_eq!(resumed.elapsed(), Duration::ZERO, "it goes on at once");
    sender.abort();
}
