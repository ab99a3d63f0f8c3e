//! Names that are taken, where a person is asked.

use std::time::Duration;

use peerconnect::config::{ConflictAnswer, ConflictPolicy};
use peerconnect::protocol::message::{Outcome, Scope};
use peerconnect::transfer::control::{Attendance, Order, People};
use peerconnect::transfer::status::FileState;

use crate::common::{content, tree};
use crate::on_every_link;
use crate::pair::{Memory, Pair};
use crate::world::{Side, World};

on_every_link! {
    a_question_holds_up_its_own_file_and_nothing_else
    one_answer_serves_all_others_too
    equal_content_is_never_asked_about
    a_name_that_is_taken_on_the_way_is_asked_about_at_the_end
    a_break_asks_again_and_keeps_the_answers
    a_restart_asks_again_and_keeps_the_answers
}

const MIB: usize = 1024 * 1024;

/// A world in which the person is asked, while the other value lives.
async fn asking<P: Pair>() -> (World<P>, Attendance) {
    let people = People::default();
    let here = people.attend();
    let world = World::<P>::with_terms(|terms| {
        terms.on_conflict = ConflictPolicy::Ask;
        terms.people = people;
    });
    let world = world.await;
    std::fs::create_dir(world.inbox()).unwrap();
    (world, here)
}

/// A small file, one of the same length and a large one whose names are taken, and two that are
/// free. The old ones are of seed 1.
fn taken<P: Pair>(world: &mut World<P>) {
    for (name, size) in [("x/small", 3), ("x/same", 3 * MIB), ("x/large", 2 * MIB)] {
        let old = world.inbox().join(name);
        std::fs::create_dir_all(old.parent().unwrap()).unwrap();
        std::fs::write(old, content(1, size)).unwrap();
    }
    let mut same = content(1, 3 * MIB);
    same[MIB + 5] ^= 1;
    world.file("x/same", &same);
    world.file("x/small", b"longer");
    world.file("x/large", &content(2, 4 * MIB));
    world.file("x/free", b"free");
    world.file("x/free large", &content(3, 2 * MIB));
    let dir = world.out().join("x");
    world.offer(&[&dir]);
}

const FREE: [&str; 2] = ["x/free", "x/free large"];
const TAKEN: [&str; 3] = ["x/small", "x/same", "x/large"];

fn is_untouched<P: Pair>(world: &World<P>) -> bool {
    world.got("x/small") == content(1, 3)
        && world.got("x/same") == content(1, 3 * MIB)
        && world.got("x/large") == content(1, 2 * MIB)
}

fn outcomes<P: Pair>(world: &World<P>) -> [Outcome; 3] {
    TAKEN.map(|name| {
        let side = &world.receiving;
        side.outcome(side.index(name)).unwrap()
    })
}

async fn a_question_holds_up_its_own_file_and_nothing_else<P: Pair>() {
    let (mut world, _here) = asking::<P>().await;
    taken(&mut world);
    let ends = world.run_while(|sending, receiving, _| async move {
        receiving.until_settled(&FREE).await;
        receiving.until_asked(3).await;
        // What is certainly different did not come before the answer.
        let come = sending.moved();
        assert!(come < (2 * MIB + 4 * MIB) as u64, "{come}");
        let (_, first) = receiving.table.lock().conflicts();
        let first = first.unwrap();
        assert_eq!(first.path, "x/large");
        assert_eq!(first.keep_both_as, "x/large (1)");
        assert_eq!(first.old.bytes, 2 * MIB as u64);
        assert_eq!(first.new.bytes, 4 * MIB as u64);
        for name in TAKEN {
            let index = receiving.index(name);
            let state = receiving.table.lock().state(index);
            assert_eq!(state, Some(FileState::Asking), "{name}");
        }
        receiving.answer("x/small", ConflictAnswer::Skip).await;
        receiving.answer("x/same", ConflictAnswer::Replace).await;
        receiving.answer("x/large", ConflictAnswer::KeepBoth).await;
    });
    let ends = ends.await;
    world.completed(ends).await;
    let expected = [Outcome::Skipped, Outcome::Overwritten, Outcome::Renamed];
    assert_eq!(outcomes(&world), expected);
    assert_eq!(world.got("x/small"), content(1, 3));
    let mut same = content(1, 3 * MIB);
    same[MIB + 5] ^= 1;
    assert!(world.got("x/same") == same);
    assert!(world.got("x/large") == content(1, 2 * MIB));
    assert!(world.got("x/large (1)") == content(2, 4 * MIB));
}

async fn one_answer_serves_all_others_too<P: Pair>() {
    let (mut world, _here) = asking::<P>().await;
    taken(&mut world);
    let ends = world.run_while(|_, receiving, _| async move {
        receiving.until_asked(3).await;
        receiving.answer("x/small", ConflictAnswer::Skip).await;
        let all = Order::Conflict(Scope::Transfer, ConflictAnswer::KeepBoth);
        receiving.order(all).await;
    });
    let ends = ends.await;
    world.completed(ends).await;
    let expected = [Outcome::Skipped, Outcome::Renamed, Outcome::Renamed];
    assert_eq!(outcomes(&world), expected);
    assert!(is_untouched(&world));
}

async fn equal_content_is_never_asked_about<P: Pair>() {
    let (mut world, _here) = asking::<P>().await;
    world.file("d/large", &content(1, 3_333_333));
    world.file("d/small", b"small");
    world.send_all().await;
    world.another();
    world.send_all().await;
    assert_eq!(world.sending.moved(), 0);
    let outcome = |name: &str| world.receiving.outcome(world.receiving.index(name));
    assert_eq!(outcome("d/large"), Some(Outcome::Identical));
    assert_eq!(outcome("d/small"), Some(Outcome::Identical));
}

async fn a_name_that_is_taken_on_the_way_is_asked_about_at_the_end<P: Pair>() {
    let (mut world, _here) = asking::<P>().await;
    let path = world.file("x", &content(2, 3 * MIB));
    let small = world.file("y", b"new");
    world.offer(&[&path, &small]);
    world.limiter.set(Some(20_000_000));
    let inbox = world.inbox();
    let ends = world.run_while(|sending, receiving, _| async move {
        sending.until_moved(MIB as u64).await;
        std::fs::write(inbox.join("x"), b"appeared").unwrap();
        receiving.until_asked(1).await;
        let moved = sending.moved();
        receiving.answer("x", ConflictAnswer::Replace).await;
        receiving.until_settled(&["x", "y"]).await;
        assert_eq!(sending.moved(), moved, "it was there already");
    });
    let ends = ends.await;
    world.completed(ends).await;
    assert!(world.got("x") == content(2, 3 * MIB));
    let x = world.receiving.index("x");
    assert_eq!(world.receiving.outcome(x), Some(Outcome::Overwritten));
}

/// Answers one question, breaks the link, and gives back the ends.
async fn answer_one_and_break<P: Pair>(world: &mut World<P>) {
    let ends = world.run_while(|sending, receiving, cut| async move {
        receiving.until_settled(&FREE).await;
        receiving.until_asked(3).await;
        sending.until_settled(&FREE).await;
        receiving.answer("x/small", ConflictAnswer::Replace).await;
        receiving.until_settled(&["x/small"]).await;
        receiving.answer("x/large", ConflictAnswer::Replace).await;
        receiving.until_asked(1).await;
        cut();
    });
    let ends = ends.await;
    world.lost(&ends);
}

async fn finish_with_one_answer<P: Pair>(world: &mut World<P>) {
    let ends = world.run_while(|_, receiving, _| async move {
        let others = ["x/large", "x/small"];
        receiving
            .until("the manifest", |side| side.table.lock().len() == 6)
            .await;
        receiving.until_settled(&others).await;
        receiving.until_asked(1).await;
        receiving.answer("x/same", ConflictAnswer::KeepBoth).await;
    });
    let ends = ends.await;
    world.completed(ends).await;
    let expected = [Outcome::Overwritten, Outcome::Renamed, Outcome::Overwritten];
    assert_eq!(outcomes(world), expected);
    assert!(world.got("x/large") == content(2, 4 * MIB));
}

async fn a_break_asks_again_and_keeps_the_answers<P: Pair>() {
    let (mut world, _here) = asking::<P>().await;
    taken(&mut world);
    answer_one_and_break(&mut world).await;
    finish_with_one_answer(&mut world).await;
}

async fn a_restart_asks_again_and_keeps_the_answers<P: Pair>() {
    let (mut world, here) = asking::<P>().await;
    taken(&mut world);
    answer_one_and_break(&mut world).await;
    // Who comes back later is asked all the same.
    drop(here);
    world.restart_receiver();
    finish_with_one_answer(&mut world).await;
}

#[tokio::test(start_paused = true)]
async fn a_question_waits_for_hours_and_nothing_counts_as_stalled() {
    let (mut world, _here) = asking::<Memory>().await;
    taken(&mut world);
    let ends = world.run_while(|_, receiving: Side, _| async move {
        receiving.until_asked(3).await;
        tokio::time::sleep(Duration::from_secs(250)).await;
        receiving.until_asked(3).await;
        let all = Order::Conflict(Scope::Transfer, ConflictAnswer::Skip);
        receiving.order(all).await;
    });
    let ends = ends.await;
    world.completed(ends).await;
    assert_eq!(outcomes(&world), [Outcome::Skipped; 3]);
    assert!(is_untouched(&world));
}

#[tokio::test(start_paused = true)]
async fn where_nobody_is_there_taken_names_get_a_number() {
    let (mut world, here) = asking::<Memory>().await;
    drop(here);
    taken(&mut world);
    world.complete().await;
    assert_eq!(outcomes(&world), [Outcome::Renamed; 3]);
    assert!(is_untouched(&world));
}

#[tokio::test(start_paused = true)]
async fn an_answer_without_a_link_counts_for_the_next_one() {
    let (mut world, _here) = asking::<Memory>().await;
    taken(&mut world);
    let ends = world.run_while(|_, receiving, cut| async move {
        receiving.until_asked(3).await;
        receiving.until_settled(&FREE).await;
        cut();
    });
    let ends = ends.await;
    world.lost(&ends);
    for (path, answer) in [
        ("x/small", ConflictAnswer::Skip),
        ("x/same", ConflictAnswer::Replace),
        ("x/large", ConflictAnswer::KeepBoth),
    ] {
        let scope = Scope::File(world.receiving.index(path));
        let order = Order::Conflict(scope, answer);
        assert!(!world.incoming.offline_order(order).await);
    }
    world.complete().await;
    let expected = [Outcome::Skipped, Outcome::Overwritten, Outcome::Renamed];
    assert_eq!(outcomes(&world), expected);
}

#[tokio::test(start_paused = true)]
async fn a_folder_in_the_place_of_a_file_is_no_question() {
    let (mut world, _here) = asking::<Memory>().await;
    std::fs::create_dir(world.inbox().join("x")).unwrap();
    let path = world.file("x", b"a file");
    world.offer(&[&path]);
    world.complete().await;
    assert_eq!(world.got("x (1)"), b"a file");
    // Both are there, and nothing else.
    assert_eq!(tree(&world.inbox()).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_file_that_waits_can_be_left_out_or_paused() {
    let (mut world, _here) = asking::<Memory>().await;
    taken(&mut world);
    let ends = world.run_while(|_, receiving: Side, _| async move {
        receiving.until_asked(3).await;
        let scope = |path: &str| Scope::File(receiving.index(path));
        receiving.order(Order::Cancel(scope("x/small"))).await;
        receiving.until_asked(2).await;
        receiving.order(Order::Pause(scope("x/large"))).await;
        receiving.answer("x/large", ConflictAnswer::Replace).await;
        receiving.answer("x/same", ConflictAnswer::Skip).await;
        receiving.until_asked(0).await;
        tokio::time::sleep(Duration::from_secs(30)).await;
        assert_eq!(receiving.outcome(receiving.index("x/large")), None);
        receiving.order(Order::Resume(scope("x/large"))).await;
    });
    let ends = ends.await;
    world.completed(ends).await;
    assert!(matches!(outcomes(&world)[0], Outcome::Failed(_)));
    assert_eq!(
        outcomes(&world)[1..],
        [Outcome::Skipped, Outcome::Overwritten]
    );
}
