//! Pausing, cancelling, attaching, and what goes first.

use peerconnect::config::ConflictPolicy;
use peerconnect::net::memory::Faults;
use peerconnect::protocol::message::{Outcome, Scope, SinkFault};
use peerconnect::transfer::control::Order;
use peerconnect::transfer::ended::Ended;
use peerconnect::transfer::state::TransferEvent;
use peerconnect::transfer::status::{FileState, PausedBy};
use tokio::time::{Duration, Instant};

use crate::common::content;
use crate::on_every_link;
use crate::pair::{Memory, Pair};
use crate::world::{Side, World};

on_every_link! {
    either_side_pauses_and_either_resumes
    a_paused_file_waits_while_the_others_go_on
    a_cancelled_transfer_keeps_what_is_complete_and_nothing_else
    a_cancelled_file_leaves_nothing_and_the_others_arrive
    what_is_attached_arrives_in_the_same_transfer
    the_first_one_overtakes
}

const CANCELLED: Option<Outcome> = Some(Outcome::Failed(SinkFault::Cancelled));
const NEW: Option<Outcome> = Some(Outcome::New);

/// A large file at a speed at which there is time for everything.
async fn slow<P: Pair>() -> World<P> {
    let mut world = World::<P>::new().await;
    let path = world.file("large", &content(1, 6_000_000));
    world.offer(&[&path]);
    world.limiter.set(Some(12_000_000));
    world
}

fn other(by: usize, sides: &[Side; 2]) -> &Side {
    &sides[1 - by]
}

async fn either_side_pauses_and_either_resumes<P: Pair>() {
    let mut world = slow::<P>().await;
    let ends = world.run_while(|sending, receiving, _| async move {
        let sides = [sending, receiving];
        for (step, (pauser, resumer)) in [(0, 0), (0, 1), (1, 0), (1, 1)].into_iter().enumerate() {
            sides[0].until_moved(1_000_000 * (step as u64 + 1)).await;
            sides[pauser].order(Order::Pause(Scope::Transfer)).await;
            sides[pauser].until_paused(PausedBy::Us).await;
            other(pauser, &sides).until_paused(PausedBy::Peer).await;
            sides[resumer].order(Order::Resume(Scope::Transfer)).await;
            for side in &sides {
                let goes_on = |side: &Side| side.seen.lock().unwrap().paused.is_none();
                side.until("going on", goes_on).await;
            }
        }
    });
    let ends = ends.await;
    world.completed(ends).await;
    assert_eq!(world.sending.event_count(TransferEvent::Pause), 4);
    assert_eq!(world.receiving.event_count(TransferEvent::Resume), 4);
    assert_eq!(world.sending.moved(), 6_000_000);
    assert!(world.got("large") == content(1, 6_000_000));
}

#[tokio::test(start_paused = true)]
async fn nothing_moves_while_paused_and_the_link_stays() {
    for pauser in [0, 1] {
        let mut world = World::with(Memory::new().await, |_| {});
        let path = world.file("large", &content(1, 6_000_000));
        world.offer(&[&path]);
        world.limiter.set(Some(12_000_000));
        let ends = world.run_while(|sending, receiving, _| async move {
            let sides = [sending, receiving];
            sides[0].until_moved(1_000_000).await;
            sides[pauser].order(Order::Pause(Scope::Transfer)).await;
            other(pauser, &sides).until_paused(PausedBy::Peer).await;
            tokio::time::sleep(Duration::from_secs(1)).await;
            let moved = sides[0].moved();
            // Longer than anything counts as broken.
            tokio::time::sleep(Duration::from_secs(200)).await;
            assert_eq!(sides[0].moved(), moved);
            sides[pauser].order(Order::Resume(Scope::Transfer)).await;
        });
        let ends = ends.await;
        world.completed(ends).await;
        assert_eq!(world.receiving.event_count(TransferEvent::Accepted), 1);
    }
}

async fn a_paused_file_waits_while_the_others_go_on<P: Pair>() {
    for pauser in [0, 1] {
        let mut world = World::with(P::new().await, |_| {});
        let paths = ["a", "b"].map(|name| world.file(name, &content(1, 3_000_000)));
        world.offer(&[&paths[0], &paths[1]]);
        world.limiter.set(Some(12_000_000));
        let ends = world.run_while(|sending, receiving, _| async move {
            let sides = [sending, receiving];
            sides[0].until_moved(500_000).await;
            sides[pauser].order(Order::Pause(Scope::File(0))).await;
            for side in &sides {
                let paused = |side: &Side| side.table.lock().state(0) == Some(FileState::Paused);
                side.until("the pause of the file", paused).await;
                side.until("the other file", |side| side.outcome(1).is_some())
                    .await;
                assert_eq!(side.outcome(0), None);
            }
            sides[1 - pauser].order(Order::Resume(Scope::File(0))).await;
        });
        let ends = ends.await;
        world.completed(ends).await;
        assert_eq!(world.sending.moved(), 6_000_000);
    }
}

#[tokio::test(start_paused = true)]
async fn many_paused_files_do_not_hold_up_those_behind_them() {
    let mut world = World::<Memory>::new().await;
    for i in 0..400 {
        world.file(&format!("d/{i:03}"), b"content");
    }
    let dir = world.out().join("d");
    world.offer(&[&dir]);
    let sending = world.sending.clone();
    let ends = world.run_while(|_, _, _| async move {
        for index in 1..=300 {
            sending.order(Order::Pause(Scope::File(index))).await;
        }
        sending
            .until("the last", |side| side.outcome(400).is_some())
            .await;
        for index in 1..=300 {
            sending.order(Order::Resume(Scope::File(index))).await;
        }
    });
    let ends = ends.await;
    world.completed(ends).await;
    assert_eq!(world.receiving.table.lock().totals().files_done, 400);
}

async fn a_cancelled_transfer_keeps_what_is_complete_and_nothing_else<P: Pair>() {
    for canceller in [0, 1] {
        let mut world = World::with(P::new().await, |_| {});
        let paths = ["a small", "large"];
        let paths = [
            world.file(paths[0], b"small"),
            world.file(paths[1], &content(1, 8_000_000)),
        ];
        world.offer(&[&paths[0], &paths[1]]);
        world.limiter.set(Some(12_000_000));
        let ends = world.run_while(|sending, receiving, _| async move {
            receiving
                .until("the small one", |side| side.outcome(0).is_some())
                .await;
            receiving
                .until("some groups", |side| side.done() > 2_000_000)
                .await;
            let side = [sending, receiving].into_iter().nth(canceller).unwrap();
            side.order(Order::Cancel(Scope::Transfer)).await;
        });
        let (sent, received) = ends.await;
        let ends = [sent, received];
        assert_eq!(ends[canceller], Ended::CancelledHere);
        assert_eq!(ends[1 - canceller], Ended::CancelledThere);
        assert!(world.parts() > 0);
        world.incoming.close(true).await;
        assert_eq!(crate::common::tree(&world.inbox()).len(), 1);
        assert_eq!(world.got("a small"), b"small");
    }
}

async fn a_cancelled_file_leaves_nothing_and_the_others_arrive<P: Pair>() {
    for canceller in [0, 1] {
        let mut world = World::with(P::new().await, |_| {});
        let paths = ["a", "b"].map(|name| world.file(name, &content(1, 5_000_000)));
        world.offer(&[&paths[0], &paths[1]]);
        world.limiter.set(Some(16_000_000));
        let ends = world.run_while(|sending, receiving, _| async move {
            let begun = |side: &Side| side.table.lock().row(0).is_some_and(|r| r.bytes_done > 0);
            receiving.until("a group", begun).await;
            let side = [sending, receiving].into_iter().nth(canceller).unwrap();
            side.order(Order::Cancel(Scope::File(0))).await;
            // Again, and of what does not exist: harmless.
            side.order(Order::Cancel(Scope::File(0))).await;
            side.order(Order::Cancel(Scope::File(99))).await;
        });
        let ends = ends.await;
        world.completed(ends).await;
        assert_eq!(world.receiving.outcomes(), [CANCELLED, NEW]);
        assert_eq!(crate::common::tree(&world.inbox()).len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_cancelled_without_a_link_or_before_the_answer_does_not_come() {
    for canceller in [0, 1] {
        for accepted in [false, true] {
            let mut world = World::with(Memory::new().await, |_| {});
            let paths = ["a", "b"].map(|name| world.file(name, &content(1, 3_000_000)));
            world.offer(&[&paths[0], &paths[1]]);
            let cut = Faults {
                cut_after: accepted.then_some(2_000_000),
                cut_after_messages: (!accepted).then_some(3),
                ..Faults::default()
            };
            world.pair.faults.push_back(cut);
            let ends = world.run().await;
            world.lost(&ends);
            let order = Order::Cancel(Scope::File(0));
            let over = match canceller {
                0 => world.outgoing.offline_order(order).await,
                _ => world.incoming.offline_order(order).await,
            };
            assert!(!over);
            world.complete().await;
            assert_eq!(world.sending.outcomes(), [CANCELLED, NEW]);
            assert_eq!(crate::common::tree(&world.inbox()).len(), 1);
        }
    }
}

async fn what_is_attached_arrives_in_the_same_transfer<P: Pair>() {
    let mut world = slow::<P>().await;
    let late = world.file("late/file", b"late");
    let folder = late.parent().unwrap().to_owned();
    let table = world.sending.table.clone();
    let ends = world.run_while(|sending, receiving, _| async move {
        sending.until_moved(1_000_000).await;
        assert!(table.lock().begin_attach());
        sending.order(Order::Attach(vec![folder])).await;
        receiving
            .until("more", |side| side.table.lock().len() == 3)
            .await;
        assert_eq!(receiving.table.lock().totals().files, 2);
        assert_eq!(receiving.table.lock().totals().bytes, 6_000_004);
    });
    let ends = ends.await;
    world.completed(ends).await;
    assert_eq!(world.got("late/file"), b"late");
    assert_eq!(world.receiving.event_count(TransferEvent::Accepted), 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_attached_at_the_last_moment_comes_or_is_refused() {
    let mut taken = 0;
    // The paused clock makes every moment a different one.
    for moment in 0..60 {
        let mut world = World::with(Memory::new().await, |_| {});
        let path = world.file("first", &content(1, 20_000));
        let late = world.file("late", b"late");
        world.offer(&[&path]);
        let table = world.sending.table.clone();
        let (said, attached) = tokio::sync::oneshot::channel();
        let ends = world.run_while(|sending, _, _| async move {
            // Without a pause of the clock, in which all would happen at once.
            while sending.moved() < 20_000 {
                tokio::task::yield_now().await;
            }
            for _ in 0..moment * 3 {
                tokio::task::yield_now().await;
            }
            let open = table.lock().begin_attach();
            if open {
                sending.order(Order::Attach(vec![late])).await;
            }
            said.send(open).unwrap();
        });
        let ends = ends.await;
        world.completed(ends).await;
        let attached = attached.await.unwrap();
        taken += u32::from(attached);
        assert_eq!(
            world.inbox().join("late").exists(),
            attached,
            "moment {moment}"
        );
    }
    assert!(taken > 0);
}

#[tokio::test(start_paused = true)]
async fn what_is_attached_while_the_link_breaks_is_not_lost() {
    let mut world = World::<Memory>::new().await;
    let path = world.file("first", &content(1, 3_000_000));
    let late = world.file("late", b"late");
    world.offer(&[&path]);
    world.limiter.set(Some(10_000_000));
    let table = world.sending.table.clone();
    let ends = world.run_while(|sending, _, cut| async move {
        sending.until_moved(1_000_000).await;
        assert!(table.lock().begin_attach());
        sending.order(Order::Attach(vec![late])).await;
        cut();
    });
    let ends = ends.await;
    world.lost(&ends);
    world.complete().await;
    assert_eq!(world.got("late"), b"late");
}

async fn the_first_one_overtakes<P: Pair>() {
    for asker in [0, 1] {
        let mut world = World::with(P::new().await, |_| {});
        let names: Vec<String> = (0..8).map(|i| format!("d/{i}")).collect();
        for name in &names {
            world.file(name, &content(1, 1_500_000));
        }
        let dir = world.out().join("d");
        world.offer(&[&dir]);
        world.limiter.set(Some(20_000_000));
        let last = 8;
        let ends = world.run_while(|sending, receiving, _| async move {
            sending.until_moved(100_000).await;
            let side = [sending, receiving].into_iter().nth(asker).unwrap();
            side.order(Order::First(last)).await;
        });
        let ends = ends.await;
        world.completed(ends).await;
        let settled = peerconnect::transfer::status::FileQuery::Settled { from: 0 };
        let rows = world.receiving.table.lock().query(settled);
        let at = rows.iter().position(|row| row.index == last).unwrap();
        // Behind the folder and those that were on their way.
        assert!(at <= 5, "{at}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_pause_survives_the_link_and_ends_with_the_one_who_made_it() {
    for pauser in [0, 1] {
        let mut world = World::with(Memory::new().await, |_| {});
        let path = world.file("large", &content(1, 6_000_000));
        world.offer(&[&path]);
        world.limiter.set(Some(12_000_000));
        let ends = world.run_while(|sending, receiving, cut| async move {
            let sides = [sending, receiving];
            sides[0].until_moved(1_000_000).await;
            sides[pauser].order(Order::Pause(Scope::Transfer)).await;
            other(pauser, &sides).until_paused(PausedBy::Peer).await;
            cut();
        });
        let ends = ends.await;
        world.lost(&ends);
        let moved = world.sending.moved();
        let ends = world.run_while(|sending, receiving, cut| async move {
            let sides = [sending, receiving];
            tokio::time::sleep(Duration::from_secs(100)).await;
            assert!(sides[0].moved() - moved < 100_000);
            sides[pauser].until_paused(PausedBy::Us).await;
            other(pauser, &sides).until_paused(PausedBy::Peer).await;
            cut();
        });
        let ends = ends.await;
        world.lost(&ends);
        // The pauser goes on while there is no link: the other must not hold it up.
        let order = Order::Resume(Scope::Transfer);
        match pauser {
            0 => world.outgoing.offline_order(order).await,
            _ => world.incoming.offline_order(order).await,
        };
        world.complete().await;
        assert_eq!(world.sending.seen.lock().unwrap().paused, None);
        assert_eq!(world.receiving.seen.lock().unwrap().paused, None);
    }
}

#[tokio::test(start_paused = true)]
async fn the_mean_speed_is_the_limit() {
    let mut world = World::<Memory>::with_policy(ConflictPolicy::Rename).await;
    let large = world.file("large", &content(1, 20_000_000));
    let small: Vec<_> = (0..100)
        .map(|i| world.file(&format!("small/{i}"), &content(i, 10_000)))
        .collect();
    let dir = small[0].parent().unwrap().to_owned();
    world.offer(&[&large, &dir]);
    world.limiter.set(Some(2_000_000));
    let start = Instant::now();
    world.complete().await;
    let mean = 21_000_000.0 / start.elapsed().as_secs_f64();
    assert!((mean / 2_000_000.0 - 1.0).abs() < 0.05, "{mean}");
}

#[tokio::test(start_paused = true)]
async fn a_person_who_paused_is_not_overruled_by_files_that_do_not_fit() {
    for pauser in [0, 1] {
        let mut world = World::with(Memory::new().await, |_| {});
        let path = world.file("large", &content(1, 6_000_000));
        // Larger than the room on most disks, and takes none.
        let huge = world.file("huge", b"");
        let file = std::fs::File::options().write(true).open(&huge).unwrap();
        file.set_len(8 << 40).unwrap();
        world.offer(&[&path]);
        world.limiter.set(Some(12_000_000));
        let table = world.sending.table.clone();
        let ends = world.run_while(|sending, receiving, _| async move {
            let sides = [sending, receiving];
            sides[0].until_moved(1_000_000).await;
            sides[pauser].order(Order::Pause(Scope::Transfer)).await;
            other(pauser, &sides).until_paused(PausedBy::Peer).await;
            assert!(table.lock().begin_attach());
            sides[0].order(Order::Attach(vec![huge])).await;
            let listed = |side: &Side| side.table.lock().len() == 2;
            sides[1].until("the attached file", listed).await;
            tokio::time::sleep(Duration::from_secs(5)).await;
            // It fits again, but the person has not said a word.
            sides[1].order(Order::Cancel(Scope::File(1))).await;
            tokio::time::sleep(Duration::from_secs(30)).await;
            sides[pauser].until_paused(PausedBy::Us).await;
            other(pauser, &sides).until_paused(PausedBy::Peer).await;
            assert!(sides[0].moved() < 6_000_000);
            sides[pauser].order(Order::Resume(Scope::Transfer)).await;
        });
        let ends = ends.await;
        world.completed(ends).await;
        assert_eq!(world.sending.outcomes(), [NEW, CANCELLED]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_transfer_waits_for_files_that_were_announced() {
    let mut world = World::<Memory>::new().await;
    let path = world.file("first", &content(1, 20_000));
    let late = world.file("late", b"late");
    world.offer(&[&path]);
    let table = world.sending.table.clone();
    let ends = world.run_while(|sending, _, _| async move {
        assert!(table.lock().begin_attach());
        sending
            .until("the first file", |side| side.outcome(0).is_some())
            .await;
        tokio::time::sleep(Duration::from_secs(5)).await;
        sending.order(Order::Attach(vec![late])).await;
    });
    let ends = ends.await;
    world.completed(ends).await;
    assert_eq!(world.got("late"), b"late");
}
