//! Broken links, restarted programs and damaged content.

use peerconnect::config::ConflictPolicy;
use peerconnect::net::memory::Faults;
use peerconnect::protocol::message::{Outcome, Scope, SinkFault};
use peerconnect::transfer::control::Order;
use peerconnect::transfer::ended::Ended;
use peerconnect::transfer::state::TransferEvent;

use crate::common::content;
use crate::on_every_link;
use crate::pair::{Memory, Pair};
use crate::world::World;

on_every_link! {
    a_broken_link_costs_what_was_under_way
    a_restarted_receiver_goes_on_where_it_was
    a_restarted_sender_goes_on_where_it_was
    a_program_that_ends_sends_nothing_more
}

const MIB: u64 = 1024 * 1024;

fn cut_after(bytes: u64) -> Faults {
    Faults {
        cut_after: Some(bytes),
        ..Faults::default()
    }
}

/// One large file, half of it sent slowly enough to be seen, then the link breaks.
async fn half<P: Pair>(world: &mut World<P>) -> u64 {
    let path = world.file("large", &content(1, 12_000_000));
    world.offer(&[&path]);
    world.limiter.set(Some(20_000_000));
    let ends = world.run_while(|_, receiving, cut| async move {
        receiving.until("half", |side| side.done() >= 5 * MIB).await;
        cut();
    });
    let ends = ends.await;
    world.lost(&ends);
    world.limiter.set(None);
    assert!(!world.inbox().join("large").exists());
    world.receiving.done()
}

async fn a_broken_link_costs_what_was_under_way<P: Pair>() {
    let mut world = World::<P>::new().await;
    let done = half(&mut world).await;
    let moved = world.sending.moved();
    world.complete().await;
    assert_eq!(world.sending.moved() - moved, 12_000_000 - done);
    assert!(world.got("large") == content(1, 12_000_000));
    assert_eq!(world.receiving.event_count(TransferEvent::Accepted), 2);
}

async fn a_restarted_receiver_goes_on_where_it_was<P: Pair>() {
    let mut world = World::<P>::new().await;
    let done = half(&mut world).await;
    world.restart_receiver();
    world.complete().await;
    assert_eq!(world.receiving.moved(), 12_000_000 - done);
    assert!(world.got("large") == content(1, 12_000_000));
}

async fn a_restarted_sender_goes_on_where_it_was<P: Pair>() {
    let mut world = World::<P>::new().await;
    let done = half(&mut world).await;
    world.restart_sender();
    world.complete().await;
    assert_eq!(world.sending.moved(), 12_000_000 - done);
    assert!(world.got("large") == content(1, 12_000_000));
}

async fn a_program_that_ends_sends_nothing_more<P: Pair>() {
    let mut world = World::<P>::new().await;
    let path = world.file("large", &content(1, 12_000_000));
    world.offer(&[&path]);
    world.end_sender();
    let ends = world.run().await;
    world.lost(&ends);
    assert!(!world.inbox().join("large").exists());
}

#[tokio::test(start_paused = true)]
async fn a_link_may_break_at_any_byte() {
    // Three small files and a large one, 3,500,300 bytes in all.
    const TOTAL: u64 = 3_500_300;
    let mut pair = Memory::new().await;
    for cut in (0..TOTAL)
        .step_by(87_011)
        .chain([1, 99, 100, 101, MIB, TOTAL - 1])
    {
        pair.faults.push_back(cut_after(cut));
        let mut world = World::with(pair, |_| {});
        for name in ["a", "b", "c"] {
            world.file(name, &content(7, 100));
        }
        world.file("d/large", &content(8, 3_500_000));
        let (files, dir) = (["a", "b", "c"], world.out().join("d"));
        let files = files.map(|name| world.out().join(name));
        world.offer(&[&files[0], &files[1], &files[2], &dir]);
        let ends = world.run().await;
        world.lost(&ends);
        let done = world.receiving.done();
        match cut % 3 {
            0 => {}
            1 => world.restart_receiver(),
            _ => world.restart_sender(),
        }
        let moved = world.sending.moved();
        world.complete().await;
        assert_eq!(
            world.sending.moved() - moved,
            TOTAL - done,
            "cut after {cut}"
        );
        assert!(cut - cut.min(done) <= 4 * MIB, "{cut} {done}");
        let trees = [world.out(), world.inbox()].map(|dir| crate::common::tree(&dir));
        assert!(trees[0] == trees[1], "cut after {cut}");
        pair = world.pair;
    }
}

#[tokio::test(start_paused = true)]
async fn a_link_may_break_at_any_message() {
    let mut pair = Memory::new().await;
    for cut in 0..40 {
        pair.faults.push_back(Faults {
            cut_after_messages: Some(cut),
            ..Faults::default()
        });
        let mut world = World::with(pair, |_| {});
        world.file("d/small", b"small");
        world.file("d/large", &content(8, 1_500_000));
        let (dir, late) = (world.out().join("d"), world.file("late", b"late"));
        world.offer(&[&dir]);
        assert!(world.sending.table.lock().begin_attach());
        let first = world.run_while(|sending, _, _| async move {
            sending.order(Order::Attach(vec![late])).await;
        });
        let first = first.await;
        if first != (Ended::Completed, Ended::Completed) {
            // The last message may be the one that is lost.
            if matches!(first.1, Ended::Completed) {
                world.incoming.close(true).await;
                world.restart_receiver();
            } else {
                world.lost(&first);
            }
            world.complete().await;
        }
        let trees = [world.out(), world.inbox()].map(|dir| crate::common::tree(&dir));
        assert!(trees[0] == trees[1], "cut after {cut} messages");
        pair = world.pair;
    }
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_lost_everything_gets_everything_again() {
    let mut world = World::<Memory>::new().await;
    let paths = ["a", "b"].map(|name| world.file(name, &content(3, 2_000_000)));
    world.offer(&[&paths[0], &paths[1]]);
    world.pair.faults.push_back(cut_after(3_900_000));
    let ends = world.run().await;
    world.lost(&ends);
    std::fs::remove_dir_all(world.inbox()).unwrap();
    std::fs::remove_dir_all(&world.terms.journals).unwrap();
    world.restart_receiver();
    world.complete().await;
    assert!(world.got("a") == content(3, 2_000_000) && world.got("b") == world.got("a"));
}

/// The receiver has an older version under the name; the link breaks between two changed groups.
#[tokio::test(start_paused = true)]
async fn versions_are_not_mixed_when_the_link_breaks_while_they_are_compared() {
    let mut world = World::<Memory>::with_policy(ConflictPolicy::Overwrite).await;
    let mut bytes = content(1, 8_000_000);
    let path = world.file("x", &bytes);
    world.send_all().await;
    bytes[10] ^= 1;
    bytes[7_500_000] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    world.another();
    world.offer(&[&path]);
    world.pair.faults.push_back(cut_after(MIB + 10));
    let ends = world.run().await;
    world.lost(&ends);
    world.complete().await;
    assert!(world.got("x") == bytes);
}

#[tokio::test(start_paused = true)]
async fn versions_are_not_mixed_when_the_source_changes_between_two_breaks() {
    for restart in [false, true] {
        let mut world = World::with(Memory::new().await, |_| {});
        let mut bytes = content(1, 8_000_000);
        let path = world.file("x", &bytes);
        world.offer(&[&path]);
        world.pair.faults.push_back(cut_after(7 * MIB + 10));
        let ends = world.run().await;
        world.lost(&ends);
        bytes[10] ^= 1;
        bytes[6_000_000] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        // Breaks when the first of the two changed groups has come.
        world.pair.faults.push_back(cut_after(MIB + 10));
        let ends = world.run().await;
        world.lost(&ends);
        if restart {
            world.restart_receiver();
        }
        world.complete().await;
        assert!(world.got("x") == bytes);
    }
}

#[tokio::test(start_paused = true)]
async fn a_damaged_group_is_fetched_again_alone() {
    for at in [0, 3 * MIB + 5, 9_000_000] {
        let mut world = World::with(Memory::new().await, |_| {});
        world.file("x", &content(1, 9_500_000));
        world.pair.faults.push_back(Faults {
            flips: vec![at],
            ..Faults::default()
        });
        world.send_all().await;
        assert!(world.got("x") == content(1, 9_500_000));
        let group = MIB.min(9_500_000 - at / MIB * MIB);
        assert_eq!(world.sending.moved(), 9_500_000 + group);
    }
}

#[tokio::test(start_paused = true)]
async fn several_damaged_groups_are_fetched_again_once_each() {
    let mut world = World::<Memory>::new().await;
    world.file("x", &content(1, 9_500_000));
    world.pair.faults.push_back(Faults {
        flips: vec![5, 4 * MIB],
        ..Faults::default()
    });
    world.send_all().await;
    assert!(world.got("x") == content(1, 9_500_000));
    assert_eq!(world.sending.moved(), 9_500_000 + 2 * MIB);
    let repaired = world.receiving.table.lock().repaired().unwrap();
    assert_eq!(repaired.words(), "2 damaged parts of x were fetched again.");
}

#[tokio::test(start_paused = true)]
async fn a_file_is_given_up_only_if_the_same_part_is_wrong_each_time() {
    let mut world = World::<Memory>::new().await;
    world.file("x", &content(1, 9_500_000));
    // Five parts once each, and one of them once more.
    world.pair.faults.push_back(Faults {
        flips: vec![5, MIB, 2 * MIB, 4 * MIB, 6 * MIB, 9_500_000],
        ..Faults::default()
    });
    world.send_all().await;
    assert!(world.got("x") == content(1, 9_500_000));
    let repaired = world.receiving.table.lock().repaired().unwrap();
    assert_eq!((repaired.files, repaired.parts), (1, 5));
}

#[tokio::test(start_paused = true)]
async fn a_file_that_arrives_damaged_three_times_fails_and_the_others_arrive() {
    for size in [1000, 3_000_000] {
        let mut world = World::with(Memory::new().await, |_| {});
        let bad = world.file("bad", &content(1, size as usize));
        let good = world.file("good", &content(2, 500_000));
        world.offer(&[&bad, &good]);
        // Only the bad file is sent until it is given up.
        world.sending.order(Order::Pause(Scope::File(1))).await;
        let first = size.min(MIB);
        world.pair.faults.push_back(Faults {
            flips: vec![0, size, size + first],
            ..Faults::default()
        });
        let ends = world.run_while(|sending, _, _| async move {
            sending
                .until("the end of it", |s| s.outcome(0).is_some())
                .await;
            sending.order(Order::Resume(Scope::File(1))).await;
        });
        let ends = ends.await;
        world.completed(ends).await;
        let failed = Some(Outcome::Failed(SinkFault::Damaged));
        assert_eq!(world.sending.outcomes(), [failed, Some(Outcome::New)]);
        assert!(!world.inbox().join("bad").exists());
    }
}

#[tokio::test(start_paused = true)]
async fn a_small_file_is_not_taken_for_damaged_because_links_break() {
    let mut world = World::<Memory>::new().await;
    let (a, b) = (
        world.file("a", &content(1, 1000)),
        world.file("b", &content(2, 50_000)),
    );
    world.offer(&[&a, &b]);
    for _ in 0..6 {
        world.pair.faults.push_back(cut_after(1000));
        let ends = world.run().await;
        world.lost(&ends);
    }
    world.complete().await;
    assert_eq!(world.got("a"), content(1, 1000));
    assert_eq!(world.got("b"), content(2, 50_000));
}

#[tokio::test(start_paused = true)]
async fn a_break_while_many_files_are_compared_ends_at_once() {
    let mut world = World::<Memory>::new().await;
    for i in 0..300 {
        world.file(&format!("d/{i:03}"), &content(i, 2000));
    }
    world.send_all().await;
    world.another();
    let dir = world.out().join("d");
    world.offer(&[&dir]);
    world.pair.faults.push_back(Faults {
        cut_after_messages: Some(9),
        ..Faults::default()
    });
    let ends = world.run().await;
    world.lost(&ends);
    world.complete().await;
    assert_eq!(world.sending.moved(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_long_comparison_is_not_taken_for_a_broken_link() {
    let mut world = World::<Memory>::with_policy(ConflictPolicy::Overwrite).await;
    let mut bytes = content(1, 3_000_000);
    let path = world.file("x", &bytes);
    world.send_all().await;
    bytes[2_900_000] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    world.another();
    world.offer(&[&path]);
    // Each piece of the changed group waits for minutes of the paused clock, as for a slow disk
    // that is read to compare.
    world.limiter.set(Some(20_000));
    world.limiter.take(2_000_000).await;
    world.complete().await;
    assert!(world.got("x") == bytes);
    assert_eq!(world.receiving.event_count(TransferEvent::Accepted), 1);
}

/// The only partial file.
fn part<P: Pair>(world: &World<P>) -> std::path::PathBuf {
    let entries = std::fs::read_dir(world.inbox()).unwrap();
    let mut paths = entries.map(|entry| entry.unwrap().path());
    let part = paths.find(|path| path.extension().is_some_and(|e| e == "pcpart"));
    part.expect("a partial file")
}

/// Each kind of change shows in one thing only: the time, the file behind the name, the size.
#[tokio::test(start_paused = true)]
async fn a_part_that_somebody_changed_is_looked_through() {
    for kind in 0..3 {
        let mut world = World::with(Memory::new().await, |_| {});
        let done = half(&mut world).await;
        let part = part(&world);
        let mut bytes = std::fs::read(&part).unwrap();
        let modified = part.metadata().unwrap().modified().unwrap();
        bytes[MIB as usize + 5] ^= 1;
        let lost = match kind {
            0 => {
                std::fs::write(&part, &bytes).unwrap();
                MIB
            }
            1 => {
                let other = world.inbox().join("other");
                std::fs::write(&other, &bytes).unwrap();
                let file = std::fs::File::options().write(true).open(&other).unwrap();
                file.set_modified(modified).unwrap();
                std::fs::rename(other, &part).unwrap();
                MIB
            }
            _ => {
                let file = std::fs::File::options().write(true).open(&part).unwrap();
                file.set_len(2 * MIB + 10).unwrap();
                file.set_modified(modified).unwrap();
                done - 2 * MIB
            }
        };
        world.restart_receiver();
        world.complete().await;
        assert!(world.got("large") == content(1, 12_000_000), "kind {kind}");
        assert_eq!(
            world.receiving.moved(),
            12_000_000 - done + lost,
            "kind {kind}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_transfer_that_is_given_up_after_a_restart_leaves_no_part() {
    let mut world = World::<Memory>::new().await;
    half(&mut world).await;
    assert_eq!(world.parts(), 1);
    world.restart_receiver();
    world.incoming.close(true).await;
    assert_eq!(world.parts(), 0);
    assert_eq!(std::fs::read_dir(&world.terms.journals).unwrap().count(), 0);
}
