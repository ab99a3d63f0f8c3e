//! Peers that fall silent at each point of a transfer: both sides notice within their deadlines.
//! In virtual time.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::wildcard_enum_match_arm
)]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use peerconnect::config::ConflictPolicy;
use peerconnect::net::link::{FileOpener, FileWriter, Inbound, Offence, Outbound, Piece};
use peerconnect::net::memory::{MemoryOutbound, pair};
use peerconnect::peer::PeerId;
use peerconnect::protocol::message::{
    Entry, EntryKind, FileHeader, OfferHead, PlanAction, PlanRun, ReceiverMessage, SenderMessage,
    Stamp, Timestamp, TransferId,
};
use peerconnect::transfer::budget::Budget;
use peerconnect::transfer::control::{News, Progress, Reporter};
use peerconnect::transfer::ended::Ended;
use peerconnect::transfer::limiter::Limiter;
use peerconnect::transfer::receiver::{Incoming, Terms, Who};
use peerconnect::transfer::send_file::Shared;
use peerconnect::transfer::sender::Outgoing;
use peerconnect::transfer::sources::Sources;
use peerconnect::transfer::table::SharedTable;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep};

const ID: TransferId = TransferId([1; 16]);
const MINUTE: Duration = Duration::from_secs(60);

fn reporter() -> Reporter {
    let (news, mut waiting) = mpsc::channel::<(TransferId, News)>(64);
    tokio::spawn(async move { while waiting.recv().await.is_some() {} });
    Reporter::new(ID, news)
}

fn entry(size: u64) -> Entry {
    let modified = Timestamp(0);
    let executable = false;
    Entry {
        path: "a".into(),
        kind: EntryKind::File {
            size,
            modified,
            executable,
        },
    }
}

fn head() -> OfferHead {
    OfferHead {
        transfer: ID,
        entries: 1,
        bytes: 1,
        digest: [0; 32],
    }
}

/// How our receiver ends when a sender does this and then nothing, and after how long.
async fn received<F: Future<Output = MemoryOutbound>>(
    dir: &Path,
    accepted: bool,
    sender: impl FnOnce(MemoryOutbound) -> F,
) -> (Ended, Duration) {
    let terms = Terms {
        journals: dir.join("journals"),
        folder: dir.join("in"),
        on_conflict: ConflictPolicy::Rename,
        people: Default::default(),
        accepted,
        blocked: false,
        answer_timeout: Duration::from_secs(300),
        budget: Budget::default(),
        pass_on: Default::default(),
    };
    let who = Who {
        id: ID,
        peer: PeerId::from_bytes([2; 32]).into(),
        peer_name: "mallory".into(),
        started: 1,
    };
    let (table, progress) = (SharedTable::default(), Progress::shared());
    let mut incoming = Incoming::new(who, terms, table, progress, reporter());
    let (_orders, mut orders_in) = mpsc::channel(8);
    let (out, inbound) = pair(head());
    let start = Instant::now();
    let run = async {
        let ended = incoming.run(inbound, &mut orders_in).await;
        (ended, start.elapsed())
    };
    let (_silent, ended) = tokio::join!(sender(out), run);
    ended
}

async fn list(out: &mut MemoryOutbound, size: u64) {
    let entries = vec![entry(size)];
    out.send(SenderMessage::Entries(entries)).await.unwrap();
    let end = SenderMessage::EntriesEnd { entries: 1 };
    out.send(end).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_sender_that_stops_listing_its_files_is_let_go_after_a_minute() {
    let dir = tempfile::tempdir().unwrap();
    let (ended, after) = received(dir.path(), true, |mut out| async move {
        let entries = vec![entry(1)];
        out.send(SenderMessage::Entries(entries)).await.unwrap();
        out
    })
    .await;
    assert_eq!(ended, Ended::Misbehaved(Offence::Silent));
    assert_eq!(after.as_secs(), 60);
}

#[tokio::test(start_paused = true)]
async fn a_sender_that_lists_without_end_is_let_go_after_a_quarter_of_an_hour() {
    let dir = tempfile::tempdir().unwrap();
    let (ended, after) = received(dir.path(), true, |mut out| async move {
        while out
            .send(SenderMessage::Entries(vec![entry(1)]))
            .await
            .is_ok()
        {
            sleep(MINUTE / 2).await;
        }
        out
    })
    .await;
    assert_eq!(ended, Ended::Misbehaved(Offence::Silent));
    assert_eq!(after.as_secs(), 15 * 60);
}

#[tokio::test(start_paused = true)]
async fn an_offer_that_nobody_answers_ends_when_the_time_for_it_is_over() {
    let dir = tempfile::tempdir().unwrap();
    let (ended, after) = received(dir.path(), false, |mut out| async move {
        list(&mut out, 1).await;
        // Adding files all the time does not keep the question open.
        while out
            .send(SenderMessage::Entries(vec![entry(1)]))
            .await
            .is_ok()
        {
            sleep(MINUTE / 2).await;
        }
        out
    })
    .await;
    assert!(matches!(ended, Ended::Declined(_)), "{ended:?}");
    assert_eq!(after.as_secs(), 300);
    assert!(!dir.path().join("journals").exists());
}

#[tokio::test(start_paused = true)]
async fn a_sender_that_was_accepted_and_sends_nothing_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let (ended, after) = received(dir.path(), true, |mut out| async move {
        list(&mut out, 1).await;
        out
    })
    .await;
    assert!(matches!(ended, Ended::Lost(_)), "{ended:?}");
    assert!(
        after > MINUTE && after < MINUTE + Duration::from_secs(5),
        "{after:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_sender_that_stops_in_the_middle_of_a_file_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let (ended, after) = received(dir.path(), true, |mut out| async move {
        list(&mut out, 3 << 20).await;
        let header = FileHeader {
            transfer: ID,
            index: 0,
            size: 3 << 20,
            modified: Timestamp(0),
            stamp: Stamp([0; 16]),
        };
        while !matches!(out.recv().await, Ok(ReceiverMessage::Start { .. })) {}
        let mut writer = out.opener().open(&header, 0).await.unwrap();
        writer.write(Piece::Group(0)).await.unwrap();
        let data = Bytes::from_static(&[1; 1000]);
        writer.write(Piece::Data(data)).await.unwrap();
        std::mem::forget(writer);
        out
    })
    .await;
    assert!(matches!(ended, Ended::Lost(_)), "{ended:?}");
    assert!(
        after > MINUTE && after < MINUTE + Duration::from_secs(5),
        "{after:?}"
    );
}

/// Our sender with one file of 20 MiB.
fn outgoing(dir: &Path) -> (Outgoing, SharedTable) {
    std::fs::write(dir.join("big"), vec![1; 20 << 20]).unwrap();
    let (table, sources) = (SharedTable::default(), Sources::default());
    let _ = sources.add(&[dir.join("big")], &table);
    let shared = Shared {
        transfer: ID,
        table: table.clone(),
        progress: Progress::shared(),
        limiter: Arc::new(Limiter::new(None)),
        pauses: watch::Sender::new(Default::default()).subscribe(),
        disk: Default::default(),
        known: None,
        fed: None,
    };
    (Outgoing::new(shared, sources, reporter()), table)
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_says_nothing_at_all_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let (mut outgoing, table) = outgoing(dir.path());
    let (_orders, mut orders_in) = mpsc::channel(8);
    let (out, _inbound) = pair(table.lock().head(ID));
    let start = Instant::now();
    let ended = outgoing.run(out, &mut orders_in).await;
    assert!(matches!(ended, Ended::Lost(_)), "{ended:?}");
    assert_eq!(start.elapsed().as_secs(), 30);
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_agrees_and_reads_nothing_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let (mut outgoing, table) = outgoing(dir.path());
    let (_orders, mut orders_in) = mpsc::channel(8);
    let (out, mut inbound) = pair(table.lock().head(ID));
    let receiver = async move {
        inbound.consent();
        let (count, action) = (1, PlanAction::Send);
        for message in [
            ReceiverMessage::Known { entries: 0 },
            ReceiverMessage::Accepted,
        ] {
            inbound.send(message).await.unwrap();
        }
        for _ in 0..2 {
            inbound.recv().await.unwrap();
        }
        let plan = ReceiverMessage::Plan(vec![PlanRun { count, action }]);
        inbound.send(plan).await.unwrap();
        let start = ReceiverMessage::Start { entries: 1 };
        inbound.send(start).await.unwrap();
        let stuck = inbound.recv().await;
        (inbound, stuck)
    };
    let start = Instant::now();
    let run = async {
        let ended = outgoing.run(out, &mut orders_in).await;
        (ended, start.elapsed())
    };
    let (_stuck, (ended, after)) = tokio::join!(receiver, run);
    assert!(matches!(ended, Ended::Lost(_)), "{ended:?}");
    assert!(after.as_secs() >= 90 && after.as_secs() < 100, "{after:?}");
}
