//! Content that several read.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::watch;

use crate::net::tcp::tree::flow::{Cut, Flow, Limits, RECENT_MAX, Tap, Whose};
use crate::net::tcp::tree::ring::Aside;

const PIECE: usize = 256 * 1024;
/// Small ones, no multiple of the length of a piece, and a ring that goes round soon.
const LIMITS: Limits = Limits {
    own: 16_000_000,
    child: 8_000_000,
};

/// The piece with this number, different from all others.
fn piece(n: u64) -> Bytes {
    let bytes: Vec<u8> = (0..PIECE as u64 / 8)
        .flat_map(|i| (n << 32 | i).to_le_bytes())
        .collect();
    bytes.into()
}

fn flow() -> (tempfile::TempDir, Arc<Flow>) {
    let dir = tempfile::tempdir().unwrap();
    let flow = Flow::new(Aside::new(dir.path().to_owned()), LIMITS);
    (dir, flow)
}

/// Reads these pieces and compares them.
async fn expect(tap: &mut Tap, pieces: std::ops::Range<u64>) {
    for n in pieces {
        let expected = piece(n);
        let mut at = 0;
        while at < PIECE {
            let read = tap.next(PIECE - at).await.unwrap().unwrap();
            assert!(
                read[..] == expected[at..at + read.len()],
                "piece {n} at {at}"
            );
            at += read.len();
        }
    }
}

#[tokio::test]
async fn everybody_reads_the_same_at_his_own_pace() {
    let (dir, flow) = flow();
    flow.close_door();
    let mut own = flow.tap(Whose::Own).unwrap();
    let mut child = flow.tap(Whose::Child).unwrap();
    let count = 2 * RECENT_MAX / PIECE as u64;
    for n in 0..count {
        flow.append(&piece(n)).await.unwrap();
        expect(&mut child, n..n + 1).await;
    }
    // What left the memory is in a file that nobody finds.
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    expect(&mut own, 0..count).await;
    flow.complete();
    assert_eq!(own.next(1).await, Ok(None));
    assert_eq!(child.next(1).await, Ok(None));
}

#[tokio::test]
async fn a_child_that_falls_behind_is_cut_off_and_the_others_are_not() {
    let (_dir, flow) = flow();
    let mut own = flow.tap(Whose::Own).unwrap();
    let mut slow = flow.tap(Whose::Child).unwrap();
    let most = LIMITS.child / PIECE as u64;
    for n in 0..most {
        flow.append(&piece(n)).await.unwrap();
        expect(&mut own, n..n + 1).await;
    }
    expect(&mut slow, 0..1).await;
    for n in most..most + 2 {
        flow.append(&piece(n)).await.unwrap();
    }
    slow.cut().await;
    assert_eq!(slow.next(1).await, Err(Cut::Slow));
    expect(&mut own, most..most + 2).await;
}

#[tokio::test]
async fn without_room_on_the_disk_children_are_given_up_and_we_are_told() {
    let nowhere = std::path::PathBuf::from("/nowhere/at/all");
    children_are_given_up(Aside::new(nowhere)).await;
    let dir = tempfile::tempdir().unwrap();
    children_are_given_up(Aside::of(dir.path().to_owned(), PIECE as u64 / 8)).await;
}

async fn children_are_given_up(aside: Aside) {
    let flow = Flow::new(aside, LIMITS);
    let mut own = flow.tap(Whose::Own).unwrap();
    let child = flow.tap(Whose::Child).unwrap();
    let recent = RECENT_MAX / PIECE as u64;
    for n in 0..recent + 1 {
        flow.append(&piece(n)).await.unwrap();
        expect(&mut own, n..n + 1).await;
    }
    child.cut().await;
    for n in recent + 1..2 * recent + 1 {
        flow.append(&piece(n)).await.unwrap();
    }
    let more = flow.append(&piece(2 * recent + 1)).await;
    assert!(more.is_err(), "what we need is lost");
    // What has come before is as it was.
    expect(&mut own, recent + 1..2 * recent + 2).await;
    let end = own.next(1).await;
    assert!(matches!(end, Err(Cut::Broken(_))), "{end:?}");
    assert!(flow.append(&piece(0)).await.is_err());
}

#[tokio::test]
async fn whoever_comes_late_gets_everything_or_nothing() {
    let (_dir, flow) = flow();
    let mut own = flow.tap(Whose::Own).unwrap();
    let recent = RECENT_MAX / PIECE as u64;
    for n in 0..recent + 1 {
        flow.append(&piece(n)).await.unwrap();
        expect(&mut own, n..n + 1).await;
    }
    let mut late = flow.tap(Whose::Child).unwrap();
    expect(&mut late, 0..recent + 1).await;
    flow.close_door();
    assert!(flow.tap(Whose::Child).is_none());
}

#[tokio::test]
async fn the_ring_goes_round_and_keeps_what_is_wanted() {
    let (_dir, flow) = flow();
    let mut own = flow.tap(Whose::Own).unwrap();
    let (_holding, mut held) = watch::channel(true);
    let mut written = 0;
    while flow.room(PIECE as u64, &mut held).await {
        flow.append(&piece(written)).await.unwrap();
        written += 1;
    }
    assert_eq!(written, LIMITS.own / PIECE as u64);
    expect(&mut own, 0..40).await;
    for n in written..written + 40 {
        assert!(flow.room(PIECE as u64, &mut held).await);
        flow.append(&piece(n)).await.unwrap();
    }
    assert!(!flow.room(PIECE as u64, &mut held).await);
    expect(&mut own, 40..written + 40).await;
}

#[tokio::test]
async fn while_nothing_holds_us_up_room_is_waited_for() {
    let (_dir, flow) = flow();
    let mut own = flow.tap(Whose::Own).unwrap();
    let (holding, mut held) = watch::channel(false);
    let full = LIMITS.own + 1;
    let waits = async {
        tokio::select! {
            biased;
            room = flow.room(full, &mut held) => panic!("{room}"),
            () = tokio::task::yield_now() => {}
        }
        holding.send_replace(true);
        flow.room(full, &mut held).await
    };
    assert!(!waits.await, "held up by a person");
    flow.append(&piece(0)).await.unwrap();
    flow.break_off("gone");
    expect(&mut own, 0..1).await;
    assert_eq!(own.next(1).await, Err(Cut::Broken("gone".into())));
    drop(own);
    flow.left().await;
}

#[tokio::test]
async fn small_pieces_take_no_more_memory_than_large_ones() {
    let (_dir, flow) = flow();
    let mut own = flow.tap(Whose::Own).unwrap();
    let all = [piece(0), piece(1)].concat();
    // A byte is there as soon as it has come.
    for (at, byte) in all.iter().enumerate() {
        flow.append(&[*byte]).await.unwrap();
        if at % 50_000 == 0 {
            let mut last = None;
            while flow.end() > own.at() {
                last = own.next(PIECE).await.unwrap();
            }
            assert_eq!(last.unwrap().last(), Some(byte));
        }
    }
    let blocks = flow.blocks();
    assert!(blocks <= all.len() / (64 * 1024) + 1, "{blocks} blocks");
}

#[tokio::test]
async fn what_flows_put_aside_has_one_bound_and_is_given_back() {
    let dir = tempfile::tempdir().unwrap();
    let room = LIMITS.own + RECENT_MAX;
    let aside = Aside::of(dir.path().to_owned(), room);
    let pieces = 2 * RECENT_MAX / PIECE as u64;
    let flows = [0; 2].map(|_| Flow::new(aside.clone(), LIMITS));
    let mut taps = flows.each_ref().map(|flow| flow.tap(Whose::Own).unwrap());
    for flow in &flows {
        for n in 0..pieces {
            flow.append(&piece(n)).await.unwrap();
        }
    }
    assert_eq!(aside.left(), room - 2 * RECENT_MAX);
    // The ring of the first goes round: it needs no more than its length.
    for n in pieces..4 * pieces {
        expect(&mut taps[0], n - pieces..n - pieces + 1).await;
        flows[0].append(&piece(n)).await.unwrap();
    }
    assert_eq!(aside.left(), 0);
    let full = async {
        for n in pieces.. {
            flows[1].append(&piece(n)).await?;
        }
        Ok::<(), std::io::Error>(())
    };
    let full = full.await.unwrap_err();
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    drop((taps, flows));
    assert_eq!(aside.left(), room);
}
