//! How fast files go through a QUIC link over loopback, without disk and hashing: both ends in one
//! process, on one thread, so the figure is the cost of sending plus receiving.
//!
//! `cargo bench -p peerconnect --bench link` prints one line for each case; the best of a few
//! runs counts.

use std::net::{IpAddr, Ipv4Addr};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use bytes::Bytes;
use peerconnect::identity::Identity;
use peerconnect::net::link::{
    DATA_LEN_MAX, FileOpener, FileReader, FileWriter, Inbound, InboundEvent, Outbound, Piece,
};
use peerconnect::net::{Arrival, Dial, EndpointOptions, QuicInbound, QuicOutbound, bind};
use peerconnect::protocol::groups::{group_count, group_len};
use peerconnect::protocol::message::{FileHeader, OfferHead, Stamp, Timestamp, TransferId};

type Failure = Box<dyn std::error::Error>;

const TRANSFER: TransferId = TransferId([1; 16]);
const RUNS: usize = 5;

async fn send(outbound: &QuicOutbound, index: u32, size: u64) -> Result<(), Failure> {
    let block = Bytes::from(vec![7; DATA_LEN_MAX]);
    let header = FileHeader {
        transfer: TRANSFER,
        index,
        size,
        modified: Timestamp(0),
        stamp: Stamp([0; 16]),
    };
    let mut writer = outbound.opener().open(&header, 0).await?;
    for group in 0..group_count(size) {
        writer.write(Piece::Group(group)).await?;
        let mut left = group_len(size, group) as usize;
        while left > 0 {
            let len = left.min(DATA_LEN_MAX);
            writer.write(Piece::Data(block.slice(..len))).await?;
            left -= len;
        }
        writer.write(Piece::GroupEnd(Some([0; 32]))).await?;
    }
    writer.write(Piece::End(Some([0; 32]))).await?;
    Ok(())
}

async fn receive(inbound: &mut QuicInbound) -> Result<u64, Failure> {
    let InboundEvent::File(_, mut reader) = inbound.recv().await? else {
        return Err("a message instead of a file".into());
    };
    let mut bytes = 0;
    loop {
        match reader.read().await? {
            Piece::Data(data) => bytes += data.len() as u64,
            Piece::Group(_) | Piece::GroupEnd(_) | Piece::Elsewhere(..) => {}
            Piece::End(_) | Piece::Break => return Ok(bytes),
        }
    }
}

/// Seconds for `count` files of `size` bytes.
async fn measure(count: u32, size: u64) -> Result<f64, Failure> {
    let ip: IpAddr = Ipv4Addr::LOCALHOST.into();
    let options = || EndpointOptions {
        bind: Some(ip),
        port: 0,
        name: "bench".into(),
    };
    let (sender, receiver) = (Identity::generate()?, Identity::generate()?);
    let (connector, _arrivals, net) = bind(&sender, options()).await?;
    let (_connector, mut arrivals, target) = bind(&receiver, options()).await?;
    let to = Dial {
        expect: Some(receiver.id()),
        addrs: vec![(ip, target.local_port()).into()],
        relays: Vec::new(),
    };
    let deadline = Duration::from_secs(10);
    let connection = connector.prepare_connection(to, deadline).await?;
    let head = OfferHead {
        transfer: TRANSFER,
        entries: count,
        bytes: size,
        digest: [0; 32],
    };
    let outbound = connection.offer(head).await?;
    let mut inbound = loop {
        match arrivals.recv().await.ok_or("no arrival")? {
            Arrival::Transfer { link, .. } => break link,
            Arrival::Connected(_)
            | Arrival::Addresses { .. }
            | Arrival::Text { .. }
            | Arrival::Pull { .. }
            | Arrival::Code { .. }
            | Arrival::Disconnected(_) => {}
        }
    };
    inbound.consent();
    let start = Instant::now();
    let sending = async {
        for index in 0..count {
            send(&outbound, index, size).await?;
        }
        Ok::<(), Failure>(())
    };
    let receiving = async {
        for _ in 0..count {
            if receive(&mut inbound).await? != size {
                return Err("wrong size".into());
            }
        }
        Ok::<(), Failure>(())
    };
    tokio::try_join!(sending, receiving)?;
    let seconds = start.elapsed().as_secs_f64();
    net.shutdown().await;
    target.shutdown().await;
    Ok(seconds)
}

fn best(count: u32, size: u64) -> Result<f64, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let mut best = f64::MAX;
    for _ in 0..RUNS {
        best = best.min(runtime.block_on(measure(count, size))?);
    }
    Ok(best)
}

fn main() -> ExitCode {
    // `cargo test --benches` runs this with `--test`: one small round to see that it works.
    let test = std::env::args().any(|arg| arg == "--test");
    let (large, small) = if test {
        (1 << 20, 10)
    } else {
        (1 << 30, 10_000)
    };
    let run = || -> Result<(), Failure> {
        let seconds = best(1, large)?;
        let rate = large as f64 / seconds / 1e9;
        println!("one file of {large} bytes: {seconds:.3} s, {rate:.2} GB/s");
        let seconds = best(small, 4096)?;
        let rate = f64::from(small) / seconds;
        println!("{small} files of 4 KiB: {seconds:.3} s, {rate:.0} files/s");
        Ok(())
    };
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
