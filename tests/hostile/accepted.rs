//! After the person agreed: wrong messages, wrong files, wrong order.

use peerconnect::net::link::Offence;
use peerconnect::protocol::frame::{self, FrameError};
use peerconnect::protocol::message::{
    END_OF_FILE, PauseReason, ReceiverMessage, Scope, SenderMessage, SourceFault, Stamp, Steer,
    SteerAction, Timestamp,
};
use peerconnect::protocol::sessions::{REFERRALS, Referral};

use super::peer::{Frames, OFFENCE, Peer, UNKNOWN_TRANSFER, file, file_bytes, folder, header, id};
use super::world::World;
use crate::common::tree;

async fn offends(world: &World, n: u8, messages: &[SenderMessage], offence: Offence) {
    let (peer, mut stream) = world.accepted(id(n), &[file("a", 1), folder("d")]).await;
    for message in messages {
        stream.say(message).await;
    }
    world.offended(&peer, Some(id(n)), offence).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_contradict_what_was_said_are_offences() {
    let world = World::start().await;
    let finish = |entries| SenderMessage::Finish { entries };
    let more = || SenderMessage::Entries(vec![file("b", 1)]);
    let end = |entries| SenderMessage::EntriesEnd { entries };
    let reason = SourceFault::Missing;
    let failed = |index| SenderMessage::FileFailed { index, reason };
    let cases = [
        (vec![finish(3)], Offence::Contradiction),
        (vec![finish(2), more()], Offence::UnexpectedMessage),
        (vec![finish(2), end(2)], Offence::UnexpectedMessage),
        (vec![finish(2), finish(2)], Offence::UnexpectedMessage),
        (vec![more(), finish(3)], Offence::Contradiction),
        (vec![more(), end(2)], Offence::Contradiction),
        (vec![end(u32::MAX)], Offence::Contradiction),
        (vec![failed(2)], Offence::NoSuchEntry),
        (vec![failed(u32::MAX)], Offence::NoSuchEntry),
    ];
    for (n, (messages, offence)) in (1..).zip(cases) {
        offends(&world, n, &messages, offence).await;
    }
    world.finish().await;
}

fn referral(index: u32) -> Referral {
    Referral {
        index,
        size: 8,
        modified: Timestamp(0),
        stamp: Stamp([0; 16]),
        hash: [0; 32],
    }
}

fn referrals(files: &[Referral]) -> Vec<u8> {
    frame::encode(&files).unwrap()
}

/// The same for streams that refer files elsewhere.
fn wrong_referrals(n: u8) -> Vec<(&'static str, Vec<u8>, Offence)> {
    let start = frame::encode(&header(id(n), REFERRALS, 0)).unwrap();
    let with = |files: &[Referral]| [&start[..], &referrals(files)].concat();
    vec![
        ("not there", start.clone(), FrameError::Truncated.into()),
        ("none", with(&[]), Offence::Contradiction),
        ("unknown file", with(&[referral(9)]), Offence::NotAskedFor),
    ]
}

/// The bytes of a file stream that is wrong in some way.
fn wrong_files(n: u8) -> Vec<(&'static str, Vec<u8>, Offence)> {
    let start = |index, size| frame::encode(&header(id(n), index, size)).unwrap();
    let with = |index, size, rest: &[u8]| [&start(index, size), rest].concat();
    let whole = file_bytes(id(n), 0, b"12345678");
    let end = END_OF_FILE.to_be_bytes();
    let two = [
        &0u32.to_be_bytes()[..],
        b"12345678",
        &[0; 32],
        &0u32.to_be_bytes(),
    ]
    .concat();
    vec![
        ("no such entry", with(2, 8, &[]), Offence::NotAskedFor),
        (
            "last number",
            with(u32::MAX - 1, 8, &[]),
            Offence::NotAskedFor,
        ),
        ("u64::MAX", with(0, u64::MAX, &[]), Offence::FileTooLarge),
        (
            "group 1 of 1",
            with(0, 8, &1u32.to_be_bytes()),
            Offence::WrongGroup,
        ),
        (
            "last group",
            with(0, 8, &0xffff_fffeu32.to_be_bytes()),
            Offence::WrongGroup,
        ),
        ("a group twice", with(0, 8, &two), Offence::WrongGroup),
        (
            "goes on",
            [&whole[..], b"more"].concat(),
            Offence::WrongGroup,
        ),
        (
            "ends early",
            whole[..whole.len() - 40].to_vec(),
            FrameError::Truncated.into(),
        ),
        (
            "half an end",
            with(0, 8, &end),
            FrameError::Truncated.into(),
        ),
        (
            "no header",
            vec![0, 0, 0, 2, 1, 1],
            FrameError::Malformed.into(),
        ),
        (
            "long header",
            vec![0, 1, 0, 1],
            FrameError::TooLong(65_537).into(),
        ),
        ("nothing", vec![0, 0, 0], FrameError::Truncated.into()),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_are_not_what_they_should_be_are_offences() {
    let world = World::start().await;
    let wrong = |n| [wrong_files(n), wrong_referrals(n)].concat();
    let count = wrong(0).len() as u8;
    for n in 0..count {
        let (peer, _stream) = world.accepted(id(n), &[file("a", 8), folder("d")]).await;
        let (what, bytes, offence) = wrong(n).remove(n as usize);
        let mut send = peer.uni(&bytes).await;
        let _ = send.finish();
        let (code, text) = peer.closed().await;
        assert_eq!(code, OFFENCE, "{what}");
        let told = match text.is_empty() {
            true => world.to.ended(id(n)).await.fault.unwrap().to_string(),
            false => text,
        };
        assert!(told.contains(&offence.to_string()), "{what}: {told}");
    }
    let names: Vec<String> = tree(&world.to.inbox()).into_keys().collect();
    assert!(!names.iter().any(|name| name == "a"), "{names:?}");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_that_nobody_wants_are_stopped_without_harm() {
    let world = World::start().await;
    let (peer, mut stream) = world.accepted(id(1), &[file("a", 1), folder("d")]).await;
    let bytes = |transfer, index| frame::encode(&header(transfer, index, 1)).unwrap();
    let other = peer.uni(&bytes(id(77), 0)).await;
    let code = other.stopped().await.unwrap();
    assert_eq!(code, Some(UNKNOWN_TRANSFER.into()));
    const CANCELLED: u32 = 4;
    let settled = peer.uni(&bytes(id(1), 1)).await;
    assert_eq!(settled.stopped().await.unwrap(), Some(CANCELLED.into()));
    // Steering of what does not exist is no news and takes no memory.
    for index in (0..20_000).map(|n| u32::MAX - n) {
        let (scope, action) = (Scope::File(index), SteerAction::Pause(PauseReason::Person));
        stream
            .say(&SenderMessage::Steer(Steer { scope, action }))
            .await;
    }
    complete(&peer, &mut stream, id(1)).await;
    // One file on four streams at once is more than any sender needs.
    let (peer, _stream) = world.accepted(id(2), &[file("b", 8)]).await;
    let mut open = Vec::new();
    for _ in 0..4 {
        open.push(
            peer.uni(&frame::encode(&header(id(2), 0, 8)).unwrap())
                .await,
        );
    }
    world
        .offended(&peer, Some(id(2)), Offence::NotAskedFor)
        .await;
    world.finish().await;
}

async fn complete(
    peer: &Peer,
    stream: &mut Frames,
    transfer: peerconnect::protocol::message::TransferId,
) {
    peer.file(transfer, 0, b"x").await;
    stream
        .until(|m| matches!(m, ReceiverMessage::Settled(r) if r[0].index == 0))
        .await;
    stream.finish(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_file_is_given_up_after_three_tries_and_leaves_nothing() {
    let world = World::start().await;
    let (peer, mut stream) = world.accepted(id(1), &[file("wrong", 3 << 20)]).await;
    let mut bytes = file_bytes(id(1), 0, &vec![1; 3 << 20]);
    let at = bytes.len() / 2;
    bytes[at] ^= 1;
    for _ in 0..3 {
        let mut send = peer.uni(&bytes).await;
        let _ = send.finish();
    }
    let settled = stream.settled().await;
    let damaged = peerconnect::protocol::message::SinkFault::Damaged;
    let failed = peerconnect::protocol::message::Outcome::Failed(damaged);
    assert_eq!(settled[0].outcome, failed);
    stream.finish(1).await;
    world.to.completed(id(1)).await;
    world.has_nothing_of("wrong");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_given_up_midway_leaves_no_part() {
    let world = World::start().await;
    let (peer, mut stream) = world.accepted(id(1), &[file("half", 3 << 20)]).await;
    let bytes = file_bytes(id(1), 0, &vec![1; 3 << 20]);
    let _half = peer.uni(&bytes[..2 << 20]).await;
    let moved = |o: &peerconnect::node::api::Overview| {
        o.transfer(id(1))
            .filter(|t| t.bytes_done >= 1 << 20)
            .cloned()
    };
    world.to.until(moved).await;
    let (index, reason) = (0, SourceFault::Io);
    stream
        .say(&SenderMessage::FileFailed { index, reason })
        .await;
    stream.settled().await;
    stream.finish(1).await;
    world.to.completed(id(1)).await;
    world.has_nothing_of("half");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_begun_without_end_do_not_use_up_what_a_process_may_open() {
    const FILES: u32 = 1500;
    let world = World::start().await;
    let entries: Vec<_> = (0..FILES)
        .map(|n| file(&format!("m/{n}"), 1 << 20 | 1))
        .collect();
    let (peer, mut stream) = world.accepted(id(1), &entries).await;
    let open = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    for index in 0..FILES {
        // Of each the second group, of one byte, and then a break.
        let mut bytes = frame::encode(&header(id(1), index, 1 << 20 | 1)).unwrap();
        bytes.extend_from_slice(&1u32.to_be_bytes());
        bytes.push(5);
        let hash = peerconnect::protocol::groups::hash_group(1 << 20 | 1, 1, &[5]);
        bytes.extend_from_slice(&hash);
        let mut send = peer.uni(&bytes).await;
        let _ = send.finish();
    }
    let taken = |o: &peerconnect::node::api::Overview| {
        o.transfer(id(1))
            .filter(|t| t.bytes_done >= u64::from(FILES))
            .cloned()
    };
    world.to.until(taken).await;
    assert!(open() < 700, "{} files are open", open());
    // What was closed meanwhile is found again.
    let last = file_bytes(id(1), 0, &{
        let mut content = vec![0; 1 << 20];
        content.push(5);
        content
    });
    let mut send = peer.uni(&last).await;
    let _ = send.finish();
    stream
        .until(|m| matches!(m, ReceiverMessage::Settled(r) if r[0].index == 0))
        .await;
    world.finish().await;
}

/// Each group is right by itself, but together they are not the file that was announced.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_whose_groups_do_not_make_up_its_hash_is_never_saved() {
    let world = World::start().await;
    for (n, size) in [(1, 5), (2, 3 << 20)] {
        let (peer, mut stream) = world.accepted(id(n), &[file("mixed", size)]).await;
        let mut bytes = file_bytes(id(n), 0, &vec![1; size as usize]);
        *bytes.last_mut().unwrap() ^= 1;
        for _ in 0..3 {
            let mut send = peer.uni(&bytes).await;
            let _ = send.finish();
        }
        let damaged = peerconnect::protocol::message::SinkFault::Damaged;
        let failed = peerconnect::protocol::message::Outcome::Failed(damaged);
        assert_eq!(stream.settled().await[0].outcome, failed);
        stream.finish(1).await;
        world.to.completed(id(n)).await;
        world.has_nothing_of("mixed");
    }
    world.finish().await;
}
