//! A person's yes covers one transfer, once.

use peerconnect::net::link::Offence;
use peerconnect::node::api::Command;
use peerconnect::protocol::message::{
    Outcome, ReceiverMessage, Scope, SenderMessage, Steer, SteerAction,
};
use peerconnect::transfer::state::TransferState;

use super::peer::{Frames, Peer, file, head_of, id};
use super::world::World;
use crate::common::tree;

async fn complete(peer: &Peer, stream: &mut Frames, content: &[u8]) {
    peer.file(id(1), 0, content).await;
    stream.settled().await;
    stream.finish(1).await;
    stream.send.finish().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_completed_transfer_brings_nothing_more() {
    let world = World::start().await;
    let agreed = [file("agreed", 6)];
    let (peer, mut stream) = world.accepted(id(1), &agreed).await;
    complete(&peer, &mut stream, b"agreed").await;
    world.to.completed(id(1)).await;

    // The very same offer is answered from memory: no question, no file.
    let mut again = peer.offer(head_of(id(1), &agreed)).await;
    let known: ReceiverMessage = again.hear().await;
    assert_eq!(known, ReceiverMessage::Known { entries: 1 });
    again.say(&SenderMessage::EntriesEnd { entries: 1 }).await;
    assert!(again.plan(1).await.is_empty());
    again.finish(1).await;

    // It does not grow either.
    let mut grows = peer.offer(head_of(id(1), &agreed)).await;
    let _: ReceiverMessage = grows.hear().await;
    grows
        .say(&SenderMessage::Entries(vec![file("more", 1)]))
        .await;
    assert_eq!(peer.closed().await.0, super::peer::OFFENCE);
    assert_eq!(
        world.to.completed(id(1)).await.state,
        TransferState::Completed
    );

    // Another offer under its id is a new one: the person is asked.
    let peer = Peer::call_as(&world.to.addr(), peer.identity.clone()).await;
    let other = [file("sneaked in", 1)];
    let mut stream = peer.offer_all(id(1), &other).await;
    world.asked(id(1)).await;
    stream
        .until(|m| matches!(m, ReceiverMessage::Asked(_)))
        .await;
    assert!(!tree(&world.to.inbox()).contains_key("sneaked in"));
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_person_has_cancelled_does_not_come_back() {
    let world = World::start().await;
    let files = [file("big", 5_000_000)];
    let (peer, _stream) = world.accepted(id(1), &files).await;
    let (transfer, scope) = (id(1), Scope::Transfer);
    world.to.call(Command::Cancel { transfer, scope }).await;
    world.to.ended(id(1)).await;
    const CANCELLED: u32 = 4;
    let mut again = peer.offer(head_of(id(1), &files)).await;
    assert_eq!(again.reset_code().await, CANCELLED);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_are_added_later_must_fit_like_all_others() {
    let world = World::start().await;
    let (peer, mut stream) = world.accepted(id(1), &[file("small", 3)]).await;
    let petabyte = file("huge", 1 << 50);
    stream.say(&SenderMessage::Entries(vec![petabyte])).await;
    stream.say(&SenderMessage::EntriesEnd { entries: 2 }).await;
    let full = |m: &ReceiverMessage| match m {
        ReceiverMessage::Steer(steer) => matches!(steer.action, SteerAction::Pause(_)),
        _ => false,
    };
    stream.until(full).await;
    // Whoever goes on all the same, or says that the disk is not full, gets nowhere.
    let (scope, action) = (Scope::Transfer, SteerAction::Resume);
    stream
        .say(&SenderMessage::Steer(Steer { scope, action }))
        .await;
    let bytes = peerconnect::protocol::frame::encode(&super::peer::header(id(1), 1, 1 << 50));
    let mut huge = peer.uni(&bytes.unwrap()).await;
    let stopped = tokio::time::timeout(crate::common::DEADLINE, huge.stopped()).await;
    let code = stopped.expect("a petabyte is taken").unwrap();
    assert_eq!(code, Some(3u32.into()), "paused");
    let _ = huge.finish();
    let free = world
        .to
        .until(|o| o.transfer(id(1)).and_then(|t| t.fault.clone()))
        .await;
    assert!(
        matches!(free, peerconnect::fault::Fault::DiskFull { .. }),
        "{free:?}"
    );
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_grows_beyond_what_was_agreed_is_not_taken() {
    let world = World::start().await;
    let (peer, mut stream) = world.accepted(id(1), &[file("small", 3)]).await;
    let size = 3 + 65 * 1024 * 1024;
    let header = super::peer::header(id(1), 0, size);
    let bytes = peerconnect::protocol::frame::encode(&header).unwrap();
    let _grown = peer.uni(&bytes).await;
    let receipts = stream.settled().await;
    assert!(
        matches!(receipts[0].outcome, Outcome::Failed(_)),
        "{receipts:?}"
    );
    assert!(!world.to.inbox().join("small").exists());
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offender_leaves_no_parts_and_no_journal() {
    let world = World::start().await;
    let (peer, mut stream) = world.accepted(id(1), &[file("big", 5 << 20)]).await;
    let whole = super::peer::file_bytes(id(1), 0, &vec![7; 5 << 20]);
    let _half = peer.uni(&whole[..3 << 20]).await;
    let moved = |o: &peerconnect::node::api::Overview| {
        o.transfer(id(1))
            .filter(|t| t.bytes_done >= 2 << 20)
            .cloned()
    };
    world.to.until(moved).await;
    stream.say(&SenderMessage::Finish { entries: 9 }).await;
    world
        .offended(&peer, Some(id(1)), Offence::Contradiction)
        .await;
    let left = |folder: std::path::PathBuf, end: &str| {
        let names = tree(&folder).into_keys();
        names.filter(|n| n.ends_with(end)).collect::<Vec<_>>()
    };
    // The honest file has a part and a journal; the offender's are gone.
    let parts = left(world.to.inbox(), ".pcpart");
    assert!(parts.iter().all(|n| n.contains("honest")), "{parts:?}");
    let journals = left(world.to.dir.path().join("state/incoming"), ".journal");
    assert!(
        journals.iter().all(|n| !n.contains(&id(1).to_string())),
        "{journals:?}"
    );
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_the_last_transfer_the_way_for_files_closes() {
    let world = World::start().await;
    let (peer, mut stream) = world.accepted(id(1), &[file("agreed", 6)]).await;
    complete(&peer, &mut stream, b"agreed").await;
    world.to.completed(id(1)).await;
    // What was granted while it ran can be used up, and is not renewed.
    let header = peerconnect::protocol::frame::encode(&super::peer::header(id(1), 0, 6)).unwrap();
    let mut opened = 0;
    while let Ok(stream) =
        tokio::time::timeout(std::time::Duration::from_millis(500), peer.quic.open_uni()).await
    {
        let mut stream = stream.unwrap();
        let _ = stream.write_all(&header).await;
        let _ = stream.stopped().await;
        opened += 1;
        assert!(opened <= 100, "files may come for ever");
    }
    world.finish().await;
}
