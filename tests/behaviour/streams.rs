//! More streams than one for a file.

use std::time::Duration;

use bytes::Bytes;
use peerconnect::net::link::{FileOpener, FileWriter, LinkError, Outbound, Piece};
use peerconnect::net::memory::MemoryOutbound;
use peerconnect::protocol::groups::{file_hash, hash_group};
use peerconnect::protocol::message::{
    Code, FileHeader, ReceiverMessage, SenderMessage, Stamp, Timestamp, TransferId,
};
use peerconnect::transfer::ended::Ended;
use peerconnect::transfer::status::Limit;
use tokio::sync::{mpsc, oneshot};

use crate::common::{DEADLINE, tree};
use crate::pair::{Memory, Pair};
use crate::world::World;

const ID: TransferId = TransferId([7; 16]);
const CONTENT: &[u8] = b"12345678";

/// A runtime whose only thread for what blocks can be kept busy.
fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(1)
        .build()
        .unwrap()
}

#[test]
fn a_second_stream_of_a_file_that_is_just_being_named_is_stopped() {
    for late in [false, true] {
        let both = async {
            let ends = tokio::time::timeout(DEADLINE, two_streams(late)).await;
            ends.unwrap_or_else(|_| panic!("it hangs, late: {late}"));
        };
        runtime().block_on(both);
    }
}

/// The second stream comes while the first is read, or when it was read.
async fn two_streams(late: bool) {
    let mut world = World::<Memory>::new().await;
    let path = world.file("a", CONTENT);
    world.offer(&[&path]);
    let head = world.sending.table.lock().head(ID);
    let entry = world.sending.table.lock().entry(0).unwrap();
    let (mut out, inbound) = world.pair.link(head).await;
    let (_orders, mut orders) = mpsc::channel(1);
    let sender = async {
        out.recv().await.unwrap();
        let entries = SenderMessage::Entries(vec![entry]);
        out.send(entries).await.unwrap();
        let end = SenderMessage::EntriesEnd { entries: 1 };
        out.send(end).await.unwrap();
        until(&mut out, |m| matches!(m, ReceiverMessage::Start { .. })).await;

        // From here on nothing gets its name until it is released.
        let (begun, has_begun) = oneshot::channel();
        let (release, released) = std::sync::mpsc::sync_channel::<()>(1);
        let busy = tokio::task::spawn_blocking(move || {
            let _ = begun.send(());
            let _ = released.recv();
        });
        has_begun.await.unwrap();
        let opener = out.opener();
        let mut first = opener.open(&header(), 0).await.unwrap();
        let second = match late {
            false => Some(opener.open(&header(), 0).await.unwrap()),
            true => None,
        };
        turns().await;
        write(&mut first).await;
        turns().await;
        let mut second = match second {
            Some(second) => second,
            None => opener.open(&header(), 0).await.unwrap(),
        };
        let stopped = loop {
            match second.write(Piece::Group(0)).await {
                Ok(()) => tokio::task::yield_now().await,
                Err(error) => break error,
            }
        };
        assert_eq!(stopped, LinkError::Closed(Code::Cancelled), "late: {late}");
        release.send(()).unwrap();
        busy.await.unwrap();
        until(&mut out, |m| matches!(m, ReceiverMessage::Settled(_))).await;
        let finish = SenderMessage::Finish { entries: 1 };
        out.send(finish).await.unwrap();
        until(&mut out, |m| *m == ReceiverMessage::Complete).await;
        out.close(Code::Done).await;
    };
    let (ended, ()) = tokio::join!(world.incoming.run(inbound, &mut orders), sender);
    assert_eq!(ended, Ended::Completed);
    world.incoming.close(true).await;
    let there = tree(&world.inbox());
    assert_eq!(
        there.into_iter().collect::<Vec<_>>(),
        [("a".into(), CONTENT.to_vec())]
    );
}

#[tokio::test(start_paused = true)]
async fn a_receiver_says_when_its_disk_is_what_is_waited_for_and_when_it_is_not_any_more() {
    let said = tokio::time::timeout(DEADLINE, says_behind()).await;
    said.expect("it says nothing");
}

async fn says_behind() {
    let mut world = World::<Memory>::new().await;
    let path = world.file("a", CONTENT);
    world.offer(&[&path]);
    let head = world.sending.table.lock().head(ID);
    let entry = world.sending.table.lock().entry(0).unwrap();
    let (mut out, inbound) = world.pair.link(head).await;
    let (_orders, mut orders) = mpsc::channel(1);
    let progress = world.receiving.progress.clone();
    let waited = |what, ms| progress.waited(what, Duration::from_millis(ms));
    let sender = async {
        out.recv().await.unwrap();
        let entries = SenderMessage::Entries(vec![entry]);
        out.send(entries).await.unwrap();
        let end = SenderMessage::EntriesEnd { entries: 1 };
        out.send(end).await.unwrap();
        until(&mut out, |m| matches!(m, ReceiverMessage::Start { .. })).await;
        for (disk, network, behind) in [(700, 300, true), (300, 700, false), (9, 1, true)] {
            waited(Limit::Disk, disk);
            waited(Limit::Network, network);
            let said = out.recv().await.unwrap();
            assert_eq!(said, ReceiverMessage::Behind(behind));
            // The same is not said again, and a pause says nothing.
            waited(Limit::Disk, disk);
            waited(Limit::Network, network);
            let more = tokio::time::timeout(Duration::from_secs(5), out.recv()).await;
            assert!(more.is_err(), "{more:?}");
        }
        out.close(Code::Done).await;
    };
    let run = world.incoming.run(inbound.with_limits(), &mut orders);
    let (ended, ()) = tokio::join!(run, sender);
    assert!(matches!(ended, Ended::Lost(_)), "{ended:?}");
}

async fn until(out: &mut MemoryOutbound, fits: impl Fn(&ReceiverMessage) -> bool) {
    while !fits(&out.recv().await.unwrap()) {}
}

/// More than enough for everybody to do what can be done without waiting.
async fn turns() {
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
}

fn header() -> FileHeader {
    FileHeader {
        transfer: ID,
        index: 0,
        size: CONTENT.len() as u64,
        modified: Timestamp(1),
        stamp: Stamp([1; 16]),
    }
}

async fn write(writer: &mut impl FileWriter) {
    let size = CONTENT.len() as u64;
    let hash = hash_group(size, 0, CONTENT);
    for piece in [
        Piece::Group(0),
        Piece::Data(Bytes::from_static(CONTENT)),
        Piece::GroupEnd(Some(hash)),
        Piece::End(file_hash(size, &[hash])),
    ] {
        writer.write(piece).await.unwrap();
    }
}
