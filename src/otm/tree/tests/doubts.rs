//! Who does not pass on what it has: what is said of it, and what is believed.

use std::collections::BTreeMap;

use super::*;

/// What is known of whom, by number, and not just said by one.
fn said(tree: &Tree, now: u64) -> Vec<(usize, Shortcoming)> {
    let mut all = shown(tree, now);
    all.retain(|(_, short)| *short != Shortcoming::Doubted);
    all
}

/// All that people are told.
fn shown(tree: &Tree, now: u64) -> Vec<(usize, Shortcoming)> {
    let all: BTreeMap<TransferId, Shortcoming> = tree.shortcomings(seconds(now));
    all.into_iter().map(|(id, s)| (sim::index(id), s)).collect()
}

fn withheld(tree: &mut Tree, child: usize, feeder: usize, now: u64) {
    tree.trouble(id(child), id(feeder), WITHHELD, seconds(now));
}

/// Some time passes.
fn until(tree: &mut Tree, now: u64) {
    tick_until(tree, seconds(now));
}

/// A head that feeds these two alone: nobody else is there, and the origin has its hands full.
fn pair() -> Tree {
    broom(2)
}

#[test]
fn whoever_gives_two_nothing_for_a_while_feeds_nobody_any_more_and_is_said_to() {
    let mut tree = broom(4);
    withheld(&mut tree, 1, 0, 6);
    withheld(&mut tree, 2, 0, 6);
    assert_eq!(said(&tree, 6), [], "a disk may wake up");
    withheld(&mut tree, 3, 0, 11);
    assert_eq!(said(&tree, 11), [(0, Shortcoming::Withholds)]);
    assert_eq!(tree.children_of(id(0)), []);
    assert!(tree.is_barred(id(0), seconds(600)));
    until(&mut tree, 500);
    assert_eq!(tree.children_of(id(0)), []);
    // It may try again, and is found sooner.
    until(&mut tree, 615);
    assert_eq!(said(&tree, 615), []);
    until(&mut tree, 700);
    let again = tree.children_of(id(0)).to_vec();
    assert!(again.len() >= 2, "{again:?}");
    let [a, b] = [sim::index(again[0]), sim::index(again[1])];
    withheld(&mut tree, a, 0, 701);
    withheld(&mut tree, b, 0, 706);
    until(&mut tree, 1800);
    assert_eq!(said(&tree, 1800), [(0, Shortcoming::Withholds)]);
    until(&mut tree, 1910);
    assert_eq!(said(&tree, 1910), []);
}

#[test]
fn whoever_says_to_two_that_it_has_not_got_what_it_has_is_not_given_a_moment() {
    let mut tree = broom(4);
    tree.trouble(id(1), id(0), DENIED, seconds(6));
    assert_ne!(tree.feeder_of(id(1)), Some(Feeder::Member(id(0))));
    assert_eq!(said(&tree, 6), []);
    tree.trouble(id(2), id(0), DENIED, seconds(6));
    // Its person may have moved the files.
    assert_eq!(said(&tree, 6), [(0, Shortcoming::Denies)]);
    assert_eq!(tree.children_of(id(0)), []);
}

#[test]
fn what_one_says_is_told_as_such_until_it_is_known_better() {
    let mut tree = broom(4);
    assert_eq!(shown(&tree, 5), []);
    tree.trouble(id(1), id(0), DENIED, seconds(6));
    assert_eq!(shown(&tree, 6), [(0, Shortcoming::Doubted)]);
    tree.trouble(id(2), id(0), DENIED, seconds(7));
    assert_eq!(shown(&tree, 7), [(0, Shortcoming::Denies)]);
    let mut tree = broom(4);
    tree.trouble(id(1), id(0), DENIED, seconds(6));
    // It gives to others.
    for now in 6..20 {
        for n in 2..4 {
            tree.fed(id(n), MIB, seconds(now));
            tree.progress(id(n), (60 + now) * MIB, seconds(now));
        }
        tick_until(&mut tree, seconds(now));
    }
    assert_eq!(shown(&tree, 20), []);
    // Who says so has everything in the end: nobody knows what was true.
    let mut tree = broom(4);
    tree.trouble(id(1), id(0), DENIED, seconds(6));
    tree.complete(id(1), seconds(8));
    assert_eq!(shown(&tree, 8), []);
}

#[test]
fn whoever_denies_one_and_is_silent_to_another_withholds() {
    let mut tree = broom(4);
    tree.trouble(id(1), id(0), DENIED, seconds(6));
    tree.trouble(id(2), id(0), WITHHELD, seconds(11));
    assert_eq!(said(&tree, 11), [(0, Shortcoming::Withholds)]);
}

#[test]
fn one_child_alone_gets_another_feeder_and_nothing_more() {
    let mut tree = pair();
    withheld(&mut tree, 1, 0, 6);
    withheld(&mut tree, 1, 0, 11);
    assert_ne!(tree.feeder_of(id(1)), Some(Feeder::Member(id(0))));
    assert_eq!(tree.children_of(id(0)), [id(2)]);
    assert!(tree.is_suspect(id(0)));
    assert_eq!(said(&tree, 11), []);
    // It lies: the other one gets on.
    tree.fed(id(2), MIB, seconds(12));
    until(&mut tree, 13);
    assert!(!tree.is_suspect(id(0)));
    withheld(&mut tree, 2, 0, 14);
    assert_eq!(said(&tree, 14), [], "what was refuted counts no more");
}

#[test]
fn what_is_said_while_others_get_something_counts_for_nothing() {
    let mut tree = broom(3);
    tree.fed(id(3), MIB, seconds(5));
    withheld(&mut tree, 1, 0, 6);
    withheld(&mut tree, 2, 0, 6);
    tree.fed(id(3), MIB, seconds(10));
    withheld(&mut tree, 1, 0, 11);
    withheld(&mut tree, 2, 0, 12);
    assert_eq!(said(&tree, 12), []);
    assert!(!tree.is_suspect(id(0)));
}

#[test]
fn what_came_just_after_a_change_is_from_the_feeder_before() {
    let mut tree = pair();
    tree.fed(id(2), MIB, seconds(3));
    withheld(&mut tree, 1, 0, 6);
    assert!(tree.is_suspect(id(0)), "that was from the one before");
    tree.attach(id(2), Feeder::Origin, seconds(6));
    tree.attach(id(2), Feeder::Member(id(0)), seconds(7));
    tree.fed(id(2), MIB, seconds(8));
    until(&mut tree, 9);
    assert!(tree.is_suspect(id(0)));
}

#[test]
fn a_word_that_comes_when_the_child_was_moved_already_counts_for_a_moment() {
    for (late, counts) in [(2, true), (3, false)] {
        let mut tree = pair();
        tree.attach(id(1), Feeder::Origin, seconds(6));
        withheld(&mut tree, 1, 0, 6 + late);
        assert_eq!(tree.is_suspect(id(0)), counts);
        assert_eq!(tree.feeder_of(id(1)), Some(Feeder::Origin));
        // Nothing else does.
        for trouble in [Trouble::Gone, Trouble::Slow, Trouble::Lied] {
            tree.trouble(id(1), id(0), trouble, seconds(6));
        }
        assert_eq!(tree.blame.reports_of(id(1)), 0);
    }
}

#[test]
fn whoever_is_sent_to_try_one_stays_until_it_knows() {
    let mut tree = broom(1);
    tree.join(id(2), true, 200 * MIB, seconds(1));
    tree.join(id(3), false, 50 * MIB, seconds(1));
    tree.attach(id(3), Feeder::Member(id(2)), seconds(1));
    until(&mut tree, 5);
    withheld(&mut tree, 1, 0, 6);
    flow(&mut tree, 7, 15, &[(0, 10), (1, 10), (2, 10)]);
    assert_eq!(tree.feeder_of(id(3)), Some(Feeder::Member(id(0))));
    flow(&mut tree, 15, 40, &[(0, 10), (1, 10), (2, 10)]);
    assert_eq!(
        tree.children_of(id(0)),
        [],
        "it says nothing, and is helped"
    );
    assert_eq!(said(&tree, 40), []);
}

#[test]
fn another_child_is_sent_to_try_whom_one_doubts() {
    let mut tree = broom(1);
    tree.join(id(2), true, 200 * MIB, seconds(1));
    tree.join(id(3), false, 50 * MIB, seconds(1));
    tree.attach(id(3), Feeder::Member(id(2)), seconds(1));
    withheld(&mut tree, 1, 0, 6);
    withheld(&mut tree, 1, 0, 11);
    assert_eq!(tree.children_of(id(0)), []);
    until(&mut tree, 12);
    assert_eq!(tree.feeder_of(id(3)), Some(Feeder::Member(id(0))));
    withheld(&mut tree, 3, 0, 17);
    assert_eq!(said(&tree, 17), [(0, Shortcoming::Withholds)]);
}

#[test]
fn a_child_is_not_sent_to_try_again_what_it_has_tried() {
    let mut tree = broom(1);
    tree.join(id(2), true, 200 * MIB, seconds(1));
    withheld(&mut tree, 1, 0, 6);
    assert_eq!(tree.feeder_of(id(1)), Some(Feeder::Member(id(2))));
    for now in 7..400 {
        flow(&mut tree, now, now + 1, &[(0, 1), (1, 1), (2, 1)]);
        assert_eq!(tree.feeder_of(id(1)), Some(Feeder::Member(id(2))), "{now}");
    }
    assert!(
        tree.is_suspect(id(0)),
        "nobody else is there to find it out"
    );
}

#[test]
fn only_so_many_words_of_one_count_and_none_of_somebody_excluded() {
    let mut tree = Tree::new(Limits::default());
    for n in 1..=8 {
        tree.join(id(n), true, 0, seconds(0));
        tree.complete(id(n), seconds(0));
    }
    for n in [20, 21] {
        tree.join(id(n), false, 0, seconds(0));
    }
    for feeder in 1..=8 {
        for (n, now) in [(20, 5), (21, 10)] {
            tree.attach(id(n), Feeder::Member(id(feeder)), seconds(1));
            withheld(&mut tree, n, feeder, now);
        }
    }
    assert_eq!(said(&tree, 10).len(), 3);
    assert_eq!(tree.doubts.marks_of(id(20)), 3);
    let mut tree = broom(4);
    tree.join(id(6), true, 200 * MIB, seconds(1));
    tree.attach(id(0), Feeder::Member(id(6)), seconds(1));
    withheld(&mut tree, 0, 6, 2);
    assert!(tree.is_suspect(id(6)));
    tree.trouble(id(1), id(0), Trouble::Lied, seconds(2));
    tree.trouble(id(2), id(0), Trouble::Lied, seconds(2));
    assert!(!tree.is_suspect(id(6)), "nor what it said before");
    tree.join(id(7), true, 0, seconds(3));
    tree.complete(id(7), seconds(3));
    for (n, now) in [(0, 8), (3, 13)] {
        tree.attach(id(n), Feeder::Member(id(7)), seconds(4));
        withheld(&mut tree, n, 7, now);
    }
    assert_eq!(said(&tree, 13), []);
}

#[test]
fn whoever_is_only_slow_is_never_said_to_withhold() {
    let mut tree = broom(4);
    for now in 2..200 {
        for n in 1..=4 {
            tree.trouble(id(n), id(0), Trouble::Slow, seconds(now));
        }
        until(&mut tree, now);
        assert_eq!(said(&tree, now), []);
        assert!(!tree.is_suspect(id(0)));
    }
}

#[test]
fn whom_two_cannot_reach_is_out_of_reach_and_not_accused() {
    let mut tree = broom(3);
    tree.trouble(id(1), id(0), Trouble::Gone, seconds(2));
    assert_eq!(said(&tree, 2), []);
    tree.trouble(id(2), id(0), Trouble::Gone, seconds(4));
    assert_eq!(said(&tree, 4), [(0, Shortcoming::OutOfReach)]);
    assert_eq!(tree.children_of(id(0)), [id(3)], "that one reaches it");
    until(&mut tree, 70);
    assert_eq!(said(&tree, 70), []);
    // Those who can reach it and find it slow say something else.
    let mut tree = broom(3);
    tree.trouble(id(1), id(0), Trouble::Gone, seconds(20));
    for n in [2, 3] {
        tree.blame.report(id(n), id(0), Trouble::Slow, seconds(21));
    }
    assert!(tree.is_barred(id(0), seconds(21)));
    assert_eq!(said(&tree, 21), []);
}

#[test]
fn of_whoever_has_left_nothing_is_said_until_it_is_back() {
    let mut tree = broom(4);
    withheld(&mut tree, 1, 0, 6);
    withheld(&mut tree, 2, 0, 11);
    assert_eq!(said(&tree, 11), [(0, Shortcoming::Withholds)]);
    tree.leave(id(0), seconds(12));
    assert_eq!(said(&tree, 12), []);
    // To come back is not to mend it.
    tree.join(id(0), true, 300 * MIB, seconds(13));
    assert_eq!(said(&tree, 13), [(0, Shortcoming::Withholds)]);
    assert!(tree.is_barred(id(0), seconds(13)));
}

#[test]
fn old_words_are_forgotten() {
    let mut tree = pair();
    withheld(&mut tree, 1, 0, 6);
    until(&mut tree, 601);
    assert!(tree.is_suspect(id(0)));
    until(&mut tree, 607);
    assert!(!tree.is_suspect(id(0)));
    assert_eq!(tree.doubts.marks_of(id(1)), 0);
}

#[test]
fn whoever_got_nothing_from_three_in_a_row_gets_some_from_the_origin() {
    let mut tree = Tree::new(Limits::default());
    for n in 0..6 {
        tree.join(id(n), true, 0, seconds(0));
        tree.complete(id(n), seconds(1));
    }
    tree.join(id(6), false, 0, seconds(2));
    let mut tried = BTreeSet::new();
    for now in 3..200 {
        tick_until(&mut tree, seconds(now));
        match tree.feeder_of(id(6)) {
            // It says so every five seconds.
            Some(Feeder::Member(feeder)) if now % 5 == 0 => {
                tried.insert(feeder);
                tree.trouble(id(6), feeder, WITHHELD, seconds(now));
            }
            Some(Feeder::Member(_)) => {}
            Some(Feeder::Origin) => {
                assert_eq!(tried.len(), 3);
                return;
            }
            None => panic!("it has not got everything"),
        }
    }
    panic!("it tried {} and got nothing", tried.len());
}
