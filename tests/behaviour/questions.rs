//! The question to the receiving person.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use peerconnect::fault::Fault;
use peerconnect::protocol::message::{DeclineReason, Outcome, Scope};
use peerconnect::transfer::control::{Decision, Order};
use peerconnect::transfer::ended::Ended;
use peerconnect::transfer::receiver::Terms;

use crate::common::content;
use crate::on_every_link;
use crate::pair::{Memory, Pair};
use crate::world::{Side, World};

on_every_link! {
    nothing_comes_before_the_person_agrees
    a_declined_transfer_leaves_nothing
    only_what_the_person_wants_comes
    the_person_may_choose_another_folder
    a_sender_that_gives_up_takes_the_question_back
}

fn ask(terms: &mut Terms) {
    terms.accepted = false;
}

async fn asked(side: &Side) {
    let asked = |side: &Side| side.seen.lock().unwrap().asked > 0;
    side.until("the question", asked).await;
}

fn accept(folder: Option<PathBuf>, only: Option<Vec<u32>>) -> Order {
    Order::Answer(Decision::Accept {
        folder,
        only,
        pass_on: true,
    })
}

fn declined(reason: DeclineReason) -> (Ended, Ended) {
    (Ended::Declined(reason), Ended::Declined(reason))
}

/// A small and a large file and a folder, offered to a person.
async fn offered<P: Pair>() -> World<P> {
    let mut world = World::<P>::with_terms(ask).await;
    let small = world.file("small", b"small");
    let large = world.file("large", &content(1, 2_000_000));
    world.file("d/in d", b"in d");
    let dir = world.out().join("d");
    world.offer(&[&small, &large, &dir]);
    world
}

async fn nothing_comes_before_the_person_agrees<P: Pair>() {
    let mut world = offered::<P>().await;
    let ends = world.run_while(|sending, receiving, _| async move {
        asked(&receiving).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!((sending.moved(), receiving.moved()), (0, 0));
        receiving.order(accept(None, None)).await;
    });
    let ends = ends.await;
    world.completed(ends).await;
    assert_eq!(crate::common::tree(&world.inbox()).len(), 4);
    assert_eq!(world.receiving.seen.lock().unwrap().asked, 1);
}

async fn a_declined_transfer_leaves_nothing<P: Pair>() {
    let mut world = offered::<P>().await;
    let ends = world.run_while(|_, receiving, _| async move {
        asked(&receiving).await;
        receiving.order(Order::Answer(Decision::Decline)).await;
    });
    assert_eq!(ends.await, declined(DeclineReason::Person));
    assert_eq!(world.sending.moved(), 0);
    assert_eq!(crate::common::tree(&world.inbox()).len(), 0);
    let journals = std::fs::read_dir(&world.terms.journals);
    assert_eq!(journals.map_or(0, Iterator::count), 0);
}

async fn only_what_the_person_wants_comes<P: Pair>() {
    let mut world = offered::<P>().await;
    let ends = world.run_while(|_, receiving, _| async move {
        asked(&receiving).await;
        receiving.order(accept(None, Some(vec![0, 2]))).await;
    });
    let ends = ends.await;
    world.completed(ends).await;
    assert_eq!(world.sending.moved(), 9);
    assert_eq!(world.got("d/in d"), b"in d");
    assert!(!world.inbox().join("large").exists());
    let large = world.sending.index("large");
    assert_eq!(world.sending.outcome(large), Some(Outcome::Skipped));
}

async fn the_person_may_choose_another_folder<P: Pair>() {
    let mut world = offered::<P>().await;
    let other = world.dir.path().join("elsewhere");
    let chosen = other.clone();
    let ends = world.run_while(|_, receiving, _| async move {
        asked(&receiving).await;
        receiving.order(accept(Some(chosen), None)).await;
    });
    assert_eq!(ends.await, (Ended::Completed, Ended::Completed));
    assert_eq!(std::fs::read(other.join("small")).unwrap(), b"small");
    assert_eq!(crate::common::tree(&world.inbox()).len(), 0);
}

async fn a_sender_that_gives_up_takes_the_question_back<P: Pair>() {
    let mut world = offered::<P>().await;
    let ends = world.run_while(|sending, receiving, _| async move {
        asked(&receiving).await;
        sending.order(Order::Cancel(Scope::Transfer)).await;
    });
    assert_eq!(ends.await, (Ended::CancelledHere, Ended::CancelledThere));
}

#[tokio::test(start_paused = true)]
async fn no_answer_in_time_is_no() {
    let mut world = offered::<Memory>().await;
    let start = tokio::time::Instant::now();
    assert_eq!(world.run().await, declined(DeclineReason::NoAnswer));
    assert!(start.elapsed() >= world.terms.answer_timeout);
    assert_eq!(world.sending.moved(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_link_that_is_made_anew_does_not_keep_the_question_open_for_longer() {
    for blocked in [false, true] {
        let mut world = World::<Memory>::with_terms(|terms| {
            terms.accepted = false;
            terms.blocked = blocked;
        })
        .await;
        let path = world.file("x", b"x");
        world.offer(&[&path]);
        let timeout = world.terms.answer_timeout;
        let start = tokio::time::Instant::now();
        let ends = world.run_while(|_, _, cut| async move {
            tokio::time::sleep(timeout / 2).await;
            cut();
        });
        let ends = ends.await;
        world.lost(&ends);
        let (sent, _) = world.run().await;
        assert_eq!(sent, Ended::Declined(DeclineReason::NoAnswer));
        let took = start.elapsed();
        assert!(took >= timeout && took < timeout + timeout / 4, "{took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_question_that_makes_room_counts_as_not_answered_also_of_the_blocked() {
    for blocked in [false, true] {
        let mut world = World::<Memory>::with_terms(|terms| {
            terms.accepted = false;
            terms.blocked = blocked;
        })
        .await;
        let path = world.file("x", b"x");
        world.offer(&[&path]);
        let start = tokio::time::Instant::now();
        let ends = world.run_while(|_, receiving, _| async move {
            tokio::time::sleep(Duration::from_secs(5)).await;
            receiving.order(Order::Displace).await;
        });
        let (sent, _) = ends.await;
        assert_eq!(sent, Ended::Declined(DeclineReason::NoAnswer));
        assert!(start.elapsed() < Duration::from_secs(6));
    }
}

#[tokio::test(start_paused = true)]
async fn a_blocked_sender_sees_nobody_answer_and_nobody_is_asked() {
    let mut world = World::<Memory>::with_terms(|terms| {
        terms.accepted = false;
        terms.blocked = true;
    })
    .await;
    let path = world.file("x", b"x");
    world.offer(&[&path]);
    let (sent, _) = world.run().await;
    assert_eq!(sent, Ended::Declined(DeclineReason::NoAnswer));
    assert_eq!(world.receiving.seen.lock().unwrap().asked, 0);
}

#[tokio::test(start_paused = true)]
async fn what_does_not_fit_is_declined_before_anything_moves() {
    let mut world = World::<Memory>::new().await;
    let path = world.file("huge", b"");
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    // Holes take no room here, but would there.
    file.set_len(1 << 43).unwrap();
    world.offer(&[&path]);
    let (sent, received) = world.run().await;
    let Ended::Declined(DeclineReason::NoRoom { needed, free }) = sent else {
        panic!("{sent:?}");
    };
    assert_eq!(sent, received);
    assert!(needed == 1 << 43 && free < needed);
    let faults = world.receiving.seen.lock().unwrap();
    assert!(
        matches!(faults.faults[..], [Fault::DiskFull { .. }]),
        "{faults:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn what_fits_without_the_huge_file_can_be_taken_without_it() {
    let mut world = World::<Memory>::with_terms(ask).await;
    let huge = world.file("huge", b"");
    let small = world.file("small", b"small");
    let file = std::fs::File::options().write(true).open(&huge).unwrap();
    file.set_len(1 << 43).unwrap();
    world.offer(&[&huge, &small]);
    let ends = world.run_while(|_, receiving, _| async move {
        asked(&receiving).await;
        // All does not fit: the person is asked again.
        receiving.order(accept(None, None)).await;
        let again = |side: &Side| side.seen.lock().unwrap().asked == 2;
        receiving.until("the question again", again).await;
        // Nor does the huge one alone.
        receiving.order(accept(None, Some(vec![0]))).await;
        let again = |side: &Side| side.seen.lock().unwrap().asked == 3;
        receiving.until("the question again", again).await;
        receiving.order(accept(None, Some(vec![1]))).await;
    });
    let ends = ends.await;
    world.completed(ends).await;
    assert_eq!(world.got("small"), b"small");
}

#[tokio::test(start_paused = true)]
async fn a_folder_that_cannot_be_made_or_written_is_declined() {
    let mut world = World::<Memory>::new().await;
    let path = world.file("x", b"x");
    world.offer(&[&path]);
    // Even root cannot make a folder below a file.
    std::fs::write(world.inbox(), b"a file").unwrap();
    let ends = world.run().await;
    assert_eq!(ends, declined(DeclineReason::NotWritable));
    std::fs::remove_file(world.inbox()).unwrap();
    if !rustix::process::geteuid().is_root() {
        std::fs::create_dir(world.inbox()).unwrap();
        let read_only = PermissionsExt::from_mode(0o500);
        std::fs::set_permissions(world.inbox(), read_only).unwrap();
        world.another();
        world.offer(&[&path]);
        assert_eq!(world.run().await, declined(DeclineReason::NotWritable));
    }
}

#[tokio::test(start_paused = true)]
async fn a_journal_that_cannot_be_written_is_told_to_the_sender() {
    let mut world = World::<Memory>::new().await;
    let path = world.file("x", b"x");
    world.offer(&[&path]);
    std::fs::write(&world.terms.journals, b"a file").unwrap();
    assert_eq!(world.run().await, declined(DeclineReason::NotWritable));
}
