//! What the sender counts as delivered, and what is never sent twice.

use std::time::Duration;

use peerconnect::config::ConflictPolicy;
use peerconnect::net::link::{FileReader, Inbound, InboundEvent, Piece};
use peerconnect::net::memory::{Faults, MemoryInbound};
use peerconnect::protocol::groups::hash_group;
use peerconnect::protocol::message::{
    Code, Outcome, PlanAction, PlanRun, Receipt, ReceiverMessage, SenderMessage,
};
use peerconnect::transfer::ended::Ended;

use crate::common::content;
use crate::pair::{Memory, Pair};
use crate::world::World;

const MIB: u64 = 1024 * 1024;

/// Reads until something comes that is not part of the manifest.
async fn past_entries(link: &mut MemoryInbound) {
    loop {
        if let InboundEvent::Message(SenderMessage::EntriesEnd { .. }) = link.recv().await.unwrap()
        {
            return;
        }
    }
}

/// Takes in a whole file and says nothing about it.
async fn swallow(link: &mut MemoryInbound) {
    let InboundEvent::File(_, mut reader) = link.recv().await.unwrap() else {
        panic!("no file comes");
    };
    while !matches!(reader.read().await.unwrap(), Piece::End(_)) {}
}

/// Nothing comes for much longer than anything takes.
async fn nothing_comes(link: &mut MemoryInbound) {
    let more = tokio::time::timeout(Duration::from_secs(20), link.recv()).await;
    assert!(more.is_err(), "{more:?}");
}

#[tokio::test(start_paused = true)]
async fn a_file_counts_as_delivered_when_its_receipt_comes_and_not_before() {
    for size in [5000, 3_000_000] {
        let mut world = World::with(Memory::new().await, |_| {});
        let bytes = content(1, size);
        let path = world.file("x", &bytes);
        world.offer(&[&path]);
        let sending = world.sending.clone();
        let receiver = |mut link: MemoryInbound| async move {
            link.send(ReceiverMessage::Known { entries: 0 })
                .await
                .unwrap();
            past_entries(&mut link).await;
            link.consent();
            let (count, action) = (1, PlanAction::Send);
            for message in [
                ReceiverMessage::Accepted,
                ReceiverMessage::Plan(vec![PlanRun { count, action }]),
                ReceiverMessage::Start { entries: 1 },
            ] {
                link.send(message).await.unwrap();
            }
            swallow(&mut link).await;
            // All of it is here, but it may still be lost: the sender neither counts nor ends.
            nothing_comes(&mut link).await;
            assert_eq!(sending.outcomes(), [None]);
            assert_eq!(sending.table.lock().totals().files_done, 0);
            let receipt = Receipt {
                index: 0,
                outcome: Outcome::New,
                saved_as: None,
                hash: None,
            };
            link.send(ReceiverMessage::Settled(vec![receipt]))
                .await
                .unwrap();
            let finish = link.recv().await.unwrap();
            let expected = SenderMessage::Finish { entries: 1 };
            assert!(matches!(finish, InboundEvent::Message(m) if m == expected));
            assert_eq!(sending.outcomes(), [Some(Outcome::New)]);
            link.send(ReceiverMessage::Complete).await.unwrap();
            link.close(Code::Done).await;
        };
        let sent = world.run_against(receiver).await;
        assert_eq!(sent, Ended::Completed);
    }
}

/// Their names are taken, so that sending them again would make more numbered copies.
#[tokio::test(start_paused = true)]
async fn small_files_that_are_settled_are_not_sent_again_after_breaks() {
    const FILES: u64 = 40;
    const SIZE: u64 = 3000;
    for restart in [None, Some(0), Some(1)] {
        let mut world = World::with(Memory::new().await, |_| {});
        std::fs::create_dir_all(world.inbox().join("d")).unwrap();
        for i in 0..FILES {
            let name = format!("d/{i:02}");
            world.file(&name, &content(i, SIZE as usize));
            std::fs::write(world.inbox().join(name), b"another").unwrap();
        }
        let dir = world.out().join("d");
        world.offer(&[&dir]);
        // The speed is such that receipts come between the files.
        world.limiter.set(Some(100_000));
        for part in 1..=3 {
            world.pair.faults.push_back(Faults {
                cut_after: Some(FILES * SIZE / 4 - part),
                ..Faults::default()
            });
            let ends = world.run().await;
            world.lost(&ends);
            let done = world.receiving.done();
            assert!(done >= SIZE, "nothing is settled");
            match restart {
                None => {}
                Some(0) => world.restart_sender(),
                Some(_) => world.restart_receiver(),
            }
        }
        let numbered = |name: &String| name.contains(" (1)");
        let saved = crate::common::tree(&world.inbox());
        let saved = saved.keys().filter(|name| numbered(name)).count() as u64;
        let moved = world.sending.moved();
        world.limiter.set(None);
        world.complete().await;
        assert_eq!(
            world.sending.moved() - moved,
            (FILES - saved) * SIZE,
            "{restart:?}"
        );
        assert_eq!(
            crate::common::tree(&world.inbox()).len() as u64,
            2 * FILES + 1
        );
        for i in 0..FILES {
            assert_eq!(
                world.got(&format!("d/{i:02} (1)")),
                content(i, SIZE as usize)
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn of_a_changed_file_a_damaged_group_is_fetched_again_alone() {
    let mut world = World::<Memory>::with_policy(ConflictPolicy::Overwrite).await;
    let mut bytes = content(1, 9_500_000);
    let path = world.file("x", &bytes);
    world.send_all().await;
    bytes[3_500_000] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    world.another();
    world.offer(&[&path]);
    world.pair.faults.push_back(Faults {
        flips: vec![100],
        ..Faults::default()
    });
    world.complete().await;
    assert!(world.got("x") == bytes);
    // What was there of the group before is of the older version, and worth nothing now.
    assert_eq!(world.sending.moved(), 2 * MIB);
    assert_eq!(world.sending.table.lock().receipt(0).unwrap().hash, {
        let hashes: Vec<_> = (0..10)
            .map(|group| {
                let at = group as usize * MIB as usize;
                hash_group(
                    9_500_000,
                    group,
                    &bytes[at..bytes.len().min(at + MIB as usize)],
                )
            })
            .collect();
        peerconnect::protocol::groups::file_hash(9_500_000, &hashes)
    });
}
