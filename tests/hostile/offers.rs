//! Offers that are wrong: before anybody agreed to anything.

use peerconnect::net::link::Offence;
use peerconnect::protocol::frame::{self, FrameError};
use peerconnect::protocol::groups::FILE_SIZE_MAX;
use peerconnect::protocol::message::{
    DeclineReason, ENTRIES_MAX, Entry, OfferHead, PATH_LEN_MAX, PauseReason, ReceiverMessage,
    Scope, SenderMessage, SourceFault, Steer, SteerAction,
};
use peerconnect::transfer::state::TransferState;

use super::peer::{Frames, Peer, UNKNOWN_TRANSFER, file, head_of, id, link};
use super::world::World;

fn bytes_of(message: &SenderMessage) -> Vec<u8> {
    frame::encode(message).unwrap()
}

fn entries(list: Vec<Entry>) -> Vec<u8> {
    bytes_of(&SenderMessage::Entries(list))
}

fn end(entries: u32) -> Vec<u8> {
    bytes_of(&SenderMessage::EntriesEnd { entries })
}

fn finish(entries: u32) -> Vec<u8> {
    bytes_of(&SenderMessage::Finish { entries })
}

#[tokio::test(flavor = "multi_thread")]
async fn each_wrong_manifest_is_its_own_offence() {
    let world = World::start().await;
    let long = "x".repeat(PATH_LEN_MAX + 1);
    let mut trailing = bytes_of(&SenderMessage::EntriesEnd { entries: 1 });
    trailing[3] += 1;
    trailing.push(0);
    let half = [file("a", FILE_SIZE_MAX), file("b", u64::MAX)];
    let cases: Vec<(&str, Vec<u8>, Offence)> = vec![
        ("finish first", finish(1), Offence::UnexpectedMessage),
        ("no entries", entries(vec![]), Offence::UnexpectedMessage),
        ("fewer than offered", end(0), Offence::Contradiction),
        ("more than sent", end(7), Offence::Contradiction),
        (
            "long path",
            entries(vec![file(&long, 1)]),
            Offence::PathsTooLong,
        ),
        (
            "long target",
            entries(vec![link("l", &long)]),
            Offence::PathsTooLong,
        ),
        (
            "huge file",
            entries(vec![file("a", FILE_SIZE_MAX + 1)]),
            Offence::FileTooLarge,
        ),
        (
            "endless file",
            entries(half.to_vec()),
            Offence::FileTooLarge,
        ),
        (
            "65,537 bytes",
            vec![0, 1, 0, 1],
            FrameError::TooLong(65_537).into(),
        ),
        ("4 GiB", vec![255; 4], FrameError::TooLong(u32::MAX).into()),
        (
            "unknown message",
            vec![0, 0, 0, 1, 120],
            FrameError::Malformed.into(),
        ),
        ("no message", vec![0, 0, 0, 0], FrameError::Malformed.into()),
        ("bytes behind it", trailing, FrameError::Trailing(1).into()),
        (
            "a length that lies",
            vec![0, 0, 0, 3, 0, 255, 255],
            FrameError::Malformed.into(),
        ),
    ];
    for (n, (what, bytes, offence)) in (1..).zip(cases) {
        let peer = world.call().await;
        let mut stream = peer.offer(head_of(id(n), &[file("a", 1)])).await;
        let _: ReceiverMessage = stream.hear().await;
        stream.raw(&bytes).await;
        println!("{what}"); // Shown when the next line fails.
        world.offended(&peer, Some(id(n)), offence).await;
    }
    let peer = world.call().await;
    let mut stream = peer.offer(head_of(id(99), &[file("a", 1)])).await;
    let _: ReceiverMessage = stream.hear().await;
    stream.raw(&[0, 0, 1]).await;
    stream.send.finish().unwrap();
    let offence = Offence::Frame(FrameError::Truncated);
    world.offended(&peer, Some(id(99)), offence).await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_person_is_asked_only_more_of_the_offer_may_come() {
    let world = World::start().await;
    let cases = [
        (finish(1), Offence::UnexpectedMessage),
        (end(2), Offence::Contradiction),
        (entries(vec![]), Offence::UnexpectedMessage),
    ];
    for (n, (bytes, offence)) in (1..).zip(cases) {
        let peer = world.call().await;
        let mut stream = peer.offer_all(id(n), &[file("a", 1)]).await;
        world.asked(id(n)).await;
        stream.raw(&bytes).await;
        world.offended(&peer, Some(id(n)), offence).await;
    }
    // Steering and floods of nothing do no harm, and a cancelled offer is gone.
    let peer = world.call().await;
    let mut stream = peer.offer_all(id(50), &[file("a", 1)]).await;
    world.asked(id(50)).await;
    for n in 0..2000 {
        let steer = |scope, action| SenderMessage::Steer(Steer { scope, action });
        let pause = SteerAction::Pause(PauseReason::DiskFull { missing: u64::MAX });
        stream.say(&steer(Scope::File(n), pause)).await;
        stream
            .say(&steer(Scope::File(u32::MAX - n), SteerAction::First))
            .await;
        stream.say(&SenderMessage::EntriesEnd { entries: 1 }).await;
        let reason = SourceFault::Io;
        stream
            .say(&SenderMessage::FileFailed { index: n, reason })
            .await;
    }
    let (scope, action) = (Scope::Transfer, SteerAction::Cancel);
    stream
        .say(&SenderMessage::Steer(Steer { scope, action }))
        .await;
    assert_eq!(world.to.ended(id(50)).await.state, TransferState::Cancelled);
    world.finish().await;
}

/// Lists entries until the node has had enough; how many it took at most.
async fn flood(stream: &mut Frames, page: &[Entry], most: u32) -> u32 {
    let bytes = entries(page.to_vec());
    let mut sent = 0;
    while sent < most && stream.send.write_all(&bytes).await.is_ok() {
        sent += page.len() as u32;
    }
    sent
}

#[tokio::test(flavor = "multi_thread")]
async fn manifests_without_end_are_refused() {
    let world = World::start().await;
    let mut head = head_of(id(1), &[file("a", 1)]);
    head.entries = u32::MAX;
    let peer = world.call().await;
    let mut stream = peer.offer(head.clone()).await;
    let page: Vec<Entry> = (0..4000).map(|n| file(&n.to_string(), 0)).collect();
    assert!(flood(&mut stream, &page, 10_000_000).await < 2 * ENTRIES_MAX);
    world
        .offended(&peer, Some(id(1)), Offence::TooManyEntries)
        .await;

    for (n, path) in [(2, "y"), (3, "l")] {
        let peer = world.call().await;
        head.transfer = id(n);
        let mut stream = peer.offer(head.clone()).await;
        let long = path.repeat(PATH_LEN_MAX);
        // Targets of links take memory just as paths do.
        let page: Vec<Entry> = match n {
            2 => vec![file(&long, 0); 15],
            _ => vec![link("l", &long); 15],
        };
        flood(&mut stream, &page, 1_000_000).await;
        world
            .offended(&peer, Some(id(n)), Offence::PathsTooLong)
            .await;
    }
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_offers_asks_few_questions_and_the_rest_hears_busy() {
    let world = World::start().await;
    let peer = world.call().await;
    let offered = |n: u32| {
        let mut transfer = id(0);
        transfer.0[..4].copy_from_slice(&n.to_be_bytes());
        head_of(transfer, &[file("a", 1)])
    };
    let (mut open, mut busy) = (Vec::new(), 0);
    for n in 0..1000 {
        let mut stream = peer.offer(offered(n)).await;
        match stream.try_hear::<ReceiverMessage>().await {
            // Most say no more than this: they wait in front of the question.
            Some(ReceiverMessage::Known { entries: 0 }) => open.push(stream),
            Some(other) => panic!("{other:?}"),
            None => busy += 1,
        }
    }
    assert_eq!((open.len(), busy), (8, 992));
    drop(open);
    // An offer that is taken back makes room for others and leaves nothing behind.
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_transfer_of_one_peer_is_unknown_to_every_other() {
    let world = World::start().await;
    let (peer, mut stream) = world.accepted(id(1), &[file("a", 1)]).await;
    let other = world.call().await;
    let mut theirs = other.offer(head_of(id(1), &[file("b", 1)])).await;
    assert_eq!(theirs.reset_code().await, UNKNOWN_TRANSFER);
    let file_stream = other_file(&other).await;
    assert!(file_stream.is_none(), "files only where one was agreed to");
    peer.file(id(1), 0, b"x").await;
    stream.settled().await;
    stream.finish(1).await;
    world.to.completed(id(1)).await;
    world.finish().await;
}

async fn other_file(other: &Peer) -> Option<quinn::SendStream> {
    let open = other.quic.open_uni();
    let opened = tokio::time::timeout(std::time::Duration::from_millis(200), open).await;
    opened.ok().and_then(Result::ok)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_fit_is_told_before_the_question_and_nothing_is_taken() {
    let world = World::start().await;
    let peer = world.call().await;
    let mut stream = peer.offer_all(id(1), &[file("a", FILE_SIZE_MAX)]).await;
    let asked: ReceiverMessage = stream.hear().await;
    assert!(
        matches!(
            asked,
            ReceiverMessage::Asked(peerconnect::protocol::message::Room::Missing {
                needed: FILE_SIZE_MAX,
                ..
            })
        ),
        "{asked:?}"
    );
    let transfer = id(1);
    let decision = peerconnect::node::api::Decision::Decline;
    let command = peerconnect::node::api::Command::Answer { transfer, decision };
    world.asked(transfer).await;
    world.to.call(command).await;
    let declined = stream
        .until(|m| matches!(m, ReceiverMessage::Declined(_)))
        .await;
    assert_eq!(declined, ReceiverMessage::Declined(DeclineReason::Person));
    let head = OfferHead {
        bytes: u64::MAX,
        ..head_of(id(2), &[])
    };
    let mut stream = peer.offer(head).await;
    let _: ReceiverMessage = stream.hear().await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_file_can_even_be_begun_before_the_person_agreed() {
    let world = World::start().await;
    let peer = world.call().await;
    let mut stream = peer.offer_all(id(1), &[file("x", 1)]).await;
    world.asked(id(1)).await;
    stream
        .until(|m| matches!(m, ReceiverMessage::Asked(_)))
        .await;
    // Polled once: what the node allows it has said by now.
    tokio::select! {
        biased;
        _ = peer.quic.open_uni() => panic!("files may come before the answer"),
        () = std::future::ready(()) => {}
    }
    world.accept(id(1)).await;
    stream.plan(1).await;
    peer.file(id(1), 0, b"x").await;
    stream.settled().await;
    world.finish().await;
}
