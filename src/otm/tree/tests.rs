use std::time::Duration;

use super::member::Trial;
use super::*;

mod always;
mod doubts;
mod model;
mod runs;
mod sim;
use sim::id;

const MIB: u64 = 1 << 20;
const WITHHELD: Trouble = Trouble::Withheld {
    index: 0,
    group: 0,
    denied: false,
};
const DENIED: Trouble = Trouble::Withheld {
    index: 0,
    group: 0,
    denied: true,
};

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// A tree with these members, who all pass on and were all told their feeders.
fn formed(members: usize, limits: Limits) -> Tree {
    let mut tree = Tree::new(limits);
    for n in 0..members {
        tree.join(id(n), true, 0, seconds(0));
    }
    told(&mut tree);
    tree
}

/// A head that feeds `children`, since it has got more than anybody.
fn broom(children: usize) -> Tree {
    let limits = Limits {
        origin_fanout: 1,
        fanout: 4,
    };
    let mut tree = Tree::new(limits);
    tree.join(id(0), true, 100 * MIB, seconds(1));
    for n in 1..=children {
        tree.join(id(n), false, 50 * MIB, seconds(1));
    }
    told(&mut tree);
    assert_eq!(tree.children_of(id(0)).len(), children);
    tree
}

fn told(tree: &mut Tree) -> Vec<Assignment> {
    std::iter::from_fn(|| tree.poll()).collect()
}

fn tick_until(tree: &mut Tree, until: Duration) {
    while let Some(due) = tree.next_timeout().filter(|due| *due <= until) {
        tree.tick(due);
    }
}

#[test]
fn a_new_session_is_not_deep_and_tells_each_once() {
    for fanout in [2, 3, 4] {
        for (members, idle) in [(8, 0), (64, 0), (256, 0), (1000, 0), (1000, 1)] {
            let limits = Limits {
                origin_fanout: 2,
                fanout,
            };
            let mut tree = Tree::new(limits);
            for n in 0..members {
                tree.join(id(n), n % 3 >= idle, 0, seconds(0));
            }
            assert_eq!(told(&mut tree).len(), members);
            let deepest = (0..members).filter_map(|n| tree.depth(id(n))).max();
            // Of the children of each, so many have children themselves.
            let branches = fanout as f64 * (1.0 - idle as f64 / 3.0);
            let log = (members as f64).log(branches).ceil() as usize;
            assert!(deepest <= Some(8.max(log + 2)), "{members}: {deepest:?}");
            assert!(tree.fed_by_origin().len() <= 4);
        }
    }
}

#[test]
fn few_make_one_chain_each() {
    let tree = formed(8, Limits::default());
    for n in 0..8 {
        assert!(tree.children_of(id(n)).len() <= 1, "{n}");
    }
}

#[test]
fn changes_that_nobody_heard_of_are_told_as_one() {
    let mut tree = formed(3, Limits::default());
    tree.join(id(3), true, 0, seconds(1));
    let Some(Feeder::Member(first)) = tree.feeder_of(id(3)) else {
        panic!("the origin feeds two already");
    };
    tree.leave(first, seconds(1));
    let about = told(&mut tree).into_iter().filter(|a| a.member == id(3));
    let feeders: Vec<_> = about.map(|a| Some(a.feeder)).collect();
    assert_eq!(feeders, [tree.feeder_of(id(3))]);
}

#[test]
fn without_a_second_place_at_the_origin_there_is_never_a_race() {
    let limits = Limits {
        origin_fanout: 1,
        fanout: 4,
    };
    let mut tree = formed(8, limits);
    for second in 1..100 {
        for n in 0..8 {
            tree.progress(id(n), second * MIB / 4, seconds(second));
        }
        tick_until(&mut tree, seconds(second));
        assert_eq!(tree.fed_by_origin(), [id(0)]);
    }
}

#[test]
fn a_late_one_is_fed_by_somebody_who_has_everything() {
    let mut tree = formed(8, Limits::default());
    tree.complete(id(5), seconds(9));
    tree.join(id(8), true, 0, seconds(10));
    assert_eq!(tree.feeder_of(id(8)), Some(Feeder::Member(id(5))));
    assert_eq!(tree.depth(id(8)), Some(1));
}

#[test]
fn somebody_who_has_less_does_not_feed() {
    let mut tree = broom(2);
    tree.join(id(8), true, 60 * MIB, seconds(1));
    tree.join(id(9), false, 90 * MIB, seconds(1));
    assert_eq!(tree.feeder_of(id(9)), Some(Feeder::Member(id(0))));
}

#[test]
fn among_equals_the_nearer_one_feeds() {
    let mut tree = formed(2, Limits::default());
    tree.latency(id(0), Duration::from_millis(90));
    tree.latency(id(1), Duration::from_millis(9));
    tree.join(id(2), true, 0, seconds(0));
    assert_eq!(tree.feeder_of(id(2)), Some(Feeder::Member(id(1))));
    tree.latency(id(1), Duration::from_millis(900));
    tree.leave(id(2), seconds(0));
    tree.join(id(2), true, 0, seconds(0));
    assert_eq!(tree.feeder_of(id(2)), Some(Feeder::Member(id(0))));
}

#[test]
fn a_report_about_a_former_feeder_changes_nothing() {
    let mut tree = broom(3);
    for trouble in [Trouble::Gone, Trouble::Lied, Trouble::Slow, WITHHELD] {
        for n in 1..=3 {
            tree.trouble(id(n), id(7), trouble, seconds(2));
            tree.trouble(id(0), id(n), trouble, seconds(2));
        }
    }
    assert_eq!(told(&mut tree), []);
    assert!(!tree.is_suspect(id(7)) && !tree.is_excluded(id(7)));
}

#[test]
fn whom_one_cannot_reach_still_feeds_others_and_whom_two_cannot_gets_nobody_new() {
    let mut tree = broom(3);
    tree.trouble(id(1), id(0), Trouble::Gone, seconds(2));
    assert_eq!(tree.feeder_of(id(1)), Some(Feeder::Origin));
    tree.join(id(8), false, 50 * MIB, seconds(3));
    assert_eq!(tree.feeder_of(id(8)), Some(Feeder::Member(id(0))));
    tree.trouble(id(2), id(0), Trouble::Gone, seconds(4));
    tree.join(id(9), false, 50 * MIB, seconds(5));
    assert_eq!(tree.feeder_of(id(9)), Some(Feeder::Origin));
    assert_eq!(tree.children_of(id(0)), [id(3), id(8)], "they get on");
    // It gets another chance.
    tick_until(&mut tree, seconds(60));
    assert_eq!(tree.children_of(id(0)).len(), 2);
    tick_until(&mut tree, seconds(75));
    assert_eq!(tree.children_of(id(0)).len(), 4);
}

#[test]
fn reports_of_two_that_are_far_apart_are_not_about_the_same() {
    let mut tree = broom(2);
    tree.trouble(id(1), id(0), Trouble::Gone, seconds(2));
    tree.trouble(id(2), id(0), Trouble::Gone, seconds(40));
    tree.join(id(9), false, 50 * MIB, seconds(41));
    assert_eq!(tree.feeder_of(id(9)), Some(Feeder::Member(id(0))));
}

#[test]
fn whom_the_origin_had_to_take_it_gives_away_when_there_is_a_place() {
    let mut tree = broom(1);
    tree.trouble(id(1), id(0), Trouble::Gone, seconds(2));
    assert_eq!(tree.fed_by_origin().len(), 2);
    tick_until(&mut tree, seconds(50));
    assert_eq!(
        tree.fed_by_origin().len(),
        2,
        "it could not reach it just now"
    );
    tick_until(&mut tree, seconds(70));
    assert_eq!(tree.fed_by_origin(), [id(0)]);
    assert_eq!(tree.feeder_of(id(1)), Some(Feeder::Member(id(0))));
}

#[test]
fn a_liar_is_tried_by_a_second_and_excluded_for_good() {
    let mut tree = broom(1);
    tree.trouble(id(1), id(0), Trouble::Lied, seconds(2));
    assert!(tree.is_suspect(id(0)) && !tree.is_excluded(id(0)));
    assert_eq!(tree.feeder_of(id(1)), Some(Feeder::Origin));
    tree.join(id(2), true, 200 * MIB, seconds(2));
    tree.join(id(3), true, 50 * MIB, seconds(2));
    assert_eq!(
        tree.feeder_of(id(3)),
        Some(Feeder::Member(id(2))),
        "not yet"
    );
    tick_until(&mut tree, seconds(6));
    assert_eq!(tree.feeder_of(id(3)), Some(Feeder::Member(id(0))));
    tree.trouble(id(3), id(0), Trouble::Lied, seconds(7));
    assert!(tree.is_excluded(id(0)) && !tree.is_suspect(id(0)));
    tree.leave(id(0), seconds(8));
    tree.join(id(0), true, 300 * MIB, seconds(9));
    tree.complete(id(0), seconds(9));
    tree.join(id(4), true, 0, seconds(10));
    assert_ne!(tree.feeder_of(id(4)), Some(Feeder::Member(id(0))));
}

#[test]
fn all_who_are_fed_by_somebody_excluded_get_another() {
    let mut tree = broom(4);
    tree.trouble(id(1), id(0), Trouble::Lied, seconds(2));
    assert_eq!(tree.children_of(id(0)).len(), 3);
    tree.trouble(id(2), id(0), Trouble::Lied, seconds(2));
    assert_eq!(tree.children_of(id(0)), []);
    assert_eq!(told(&mut tree).len(), 4);
}

#[test]
fn whoever_passes_on_to_another_child_is_suspected_no_longer() {
    let mut tree = broom(2);
    tree.trouble(id(1), id(0), Trouble::Lied, seconds(2));
    tick_until(&mut tree, seconds(3));
    assert!(tree.is_suspect(id(0)));
    tree.progress(id(2), 53 * MIB, seconds(4));
    tick_until(&mut tree, seconds(5));
    assert!(!tree.is_suspect(id(0)));
    tree.join(id(3), true, 0, seconds(6));
    tree.complete(id(3), seconds(6));
    tree.join(id(4), false, 0, seconds(7));
    tree.trouble(id(4), id(3), Trouble::Lied, seconds(8));
    assert!(tree.is_suspect(id(3)) && !tree.is_suspect(id(0)));
    tree.leave(id(3), seconds(9));
    // The one that said so does not get it again all the same.
    tick_until(&mut tree, seconds(500));
    assert_eq!(tree.feeder_of(id(1)), Some(Feeder::Origin));
}

#[test]
fn only_the_first_accusations_of_one_count() {
    let mut tree = Tree::new(Limits::default());
    for n in 1..=8 {
        tree.join(id(n), true, 0, seconds(0));
        tree.complete(id(n), seconds(0));
    }
    tree.join(id(0), false, 0, seconds(1));
    while let Some(Feeder::Member(feeder)) = tree.feeder_of(id(0)) {
        tree.trouble(id(0), feeder, Trouble::Lied, seconds(2));
    }
    let suspects = (1..=8).filter(|n| tree.is_suspect(id(*n)));
    assert_eq!(suspects.count(), 3);
    assert_eq!(tree.feeder_of(id(0)), Some(Feeder::Origin), "it gets all");
}

#[test]
fn what_an_excluded_one_says_does_not_count() {
    let mut tree = broom(4);
    tree.trouble(id(1), id(0), Trouble::Lied, seconds(2));
    tree.trouble(id(2), id(0), Trouble::Lied, seconds(2));
    tree.join(id(7), true, 0, seconds(3));
    tree.complete(id(7), seconds(3));
    for n in [0, 3] {
        tree.attach(id(n), Feeder::Member(id(7)), seconds(4));
        tree.trouble(id(n), id(7), Trouble::Lied, seconds(4));
    }
    assert!(!tree.is_excluded(id(7)));
}

#[test]
fn one_that_cannot_reach_three_is_left_to_the_origin() {
    let mut tree = Tree::new(Limits::default());
    for n in 1..=8 {
        tree.join(id(n), true, 0, seconds(0));
        tree.complete(id(n), seconds(0));
    }
    tree.join(id(0), false, 0, seconds(1));
    let mut reports = 0;
    while let Some(Feeder::Member(feeder)) = tree.feeder_of(id(0)) {
        tree.trouble(id(0), feeder, Trouble::Gone, seconds(2));
        reports += 1;
    }
    assert_eq!(reports, 3);
    assert!(tree.blame.parts(id(0), id(8), seconds(500)));
    assert!(!tree.blame.parts(id(0), id(8), seconds(700)));
    tick_until(&mut tree, seconds(300));
    assert_eq!(tree.feeder_of(id(0)), Some(Feeder::Origin));
}

#[test]
fn one_that_finds_its_feeder_slow_is_not_fed_by_the_origin_for_that() {
    let mut tree = broom(2);
    for second in 2..100 {
        tree.progress(id(1), (50 + second / 8) * MIB, seconds(second));
        tree.trouble(id(1), id(0), Trouble::Slow, seconds(second));
        tick_until(&mut tree, seconds(second));
    }
    assert_eq!(tree.feeder_of(id(1)), Some(Feeder::Member(id(0))));
    assert_eq!(told(&mut tree), []);
}

#[test]
fn one_that_gets_nothing_from_its_feeder_is_fed_by_the_origin_if_nobody_else_is_there() {
    let mut tree = broom(2);
    for second in 2..10 {
        tree.trouble(id(1), id(0), Trouble::Slow, seconds(second));
        assert_eq!(tree.feeder_of(id(1)), Some(Feeder::Member(id(0))));
    }
    tree.trouble(id(1), id(0), Trouble::Slow, seconds(11));
    assert_eq!(tree.feeder_of(id(1)), Some(Feeder::Origin));
    assert_eq!(tree.feeder_of(id(2)), Some(Feeder::Member(id(0))));
}

#[test]
fn who_can_feed_only_badly_is_the_last_choice() {
    type Spoil = fn(&mut Tree);
    let spoils: [Spoil; 3] = [
        |tree| tree.members.get_mut(&id(0)).unwrap().slow_until = seconds(90),
        |tree| tree.members.get_mut(&id(0)).unwrap().weak_until = seconds(90),
        |tree| {
            tree.join(id(5), false, 0, seconds(1));
            assert_eq!(tree.feeder_of(id(5)), Some(Feeder::Member(id(0))));
            tree.trouble(id(5), id(0), Trouble::Lied, seconds(1));
        },
    ];
    for (n, spoil) in spoils.into_iter().enumerate() {
        let mut tree = formed(2, Limits::default());
        tree.latency(id(0), Duration::from_millis(1));
        spoil(&mut tree);
        tree.join(id(9), false, 0, seconds(8));
        assert_eq!(tree.feeder_of(id(9)), Some(Feeder::Member(id(1))), "{n}");
    }
}

#[test]
fn who_falls_back_is_the_last_choice_too() {
    let mut tree = broom(0);
    for n in [1, 2] {
        tree.join(id(n), true, 0, seconds(1));
        tree.attach(id(n), Feeder::Member(id(0)), seconds(1));
    }
    tree.latency(id(1), Duration::from_millis(1));
    flow(&mut tree, 2, 6, &[(0, 10), (1, 2), (2, 10)]);
    tree.join(id(9), false, 0, seconds(6));
    assert!(matches!(tree.feeder_of(id(9)), Some(Feeder::Member(n)) if n != id(1)));
}

#[test]
fn when_the_head_leaves_the_one_with_the_most_is_the_next() {
    let mut tree = broom(0);
    for (n, above, done) in [(1, 0, 20), (2, 0, 19), (3, 2, 18)] {
        tree.join(id(n), true, done * MIB, seconds(1));
        tree.attach(id(n), Feeder::Member(id(above)), seconds(1));
    }
    tree.leave(id(0), seconds(2));
    assert_eq!(tree.fed_by_origin(), [id(1)]);
}

#[test]
fn after_trouble_a_member_soon_gets_a_better_feeder_if_there_is_one() {
    let mut tree = formed(1, Limits::default());
    let member = tree.members.get_mut(&id(0)).unwrap();
    (member.moves, member.shifted, member.changed) = (4, seconds(10), seconds(10));
    assert!(!member.may_change(seconds(41)), "it was moved often");
    assert!(member.may_change(seconds(42)));
    member.changed = seconds(42);
    assert!(!member.may_change(seconds(43)), "it was moved just now");
    assert!(member.may_change(seconds(44)));
}

#[test]
fn who_is_moved_there_and_back_is_told_nothing() {
    let mut tree = formed(3, Limits::default());
    let before = tree.feeder_of(id(2)).unwrap();
    tree.attach(id(2), Feeder::Origin, seconds(1));
    tree.attach(id(2), before, seconds(1));
    assert_eq!(told(&mut tree), []);
}

#[test]
fn reports_take_bounded_memory() {
    let mut tree = Tree::new(Limits::default());
    for n in 1..=300 {
        tree.join(id(n), true, 0, seconds(0));
        tree.complete(id(n), seconds(0));
    }
    for second in 0..3000 {
        let now = seconds(second);
        // Comes and goes, so that it is never left to the origin.
        tree.join(id(0), false, 0, now);
        for trouble in [Trouble::Lied, Trouble::Gone] {
            if let Some(Feeder::Member(feeder)) = tree.feeder_of(id(0)) {
                tree.trouble(id(0), feeder, trouble, now);
            }
        }
    }
    assert!(tree.blame.reports_of(id(0)) <= 16);
}

#[test]
fn time_matters_only_while_somebody_waits() {
    let mut tree = Tree::new(Limits::default());
    assert_eq!(tree.next_timeout(), None);
    tree.join(id(0), true, 0, seconds(100));
    assert!(tree.next_timeout() > Some(seconds(100)));
    assert!(tree.next_timeout() < Some(seconds(101)));
    tree.complete(id(0), seconds(101));
    assert_eq!(tree.next_timeout(), None);
    tree.tick(seconds(102));
    assert_eq!(told(&mut tree), []);
}

/// Second by second, what some have got, in MiB a second, and what follows.
fn flow(tree: &mut Tree, from: u64, until: u64, speeds: &[(usize, u64)]) {
    for second in from..until {
        for (n, speed) in speeds {
            let done = tree.members[&id(*n)].done + speed * MIB;
            tree.progress(id(*n), done, seconds(second));
        }
        tick_until(tree, seconds(second) + Duration::from_millis(999));
    }
}

#[test]
fn one_slow_child_does_not_make_its_feeder_look_weak() {
    let mut tree = broom(4);
    flow(
        &mut tree,
        2,
        20,
        &[(0, 10), (1, 10), (2, 10), (3, 10), (4, 1)],
    );
    assert_eq!(tree.members[&id(0)].capacity, None);
    assert_eq!(tree.children_of(id(0)).len(), 4);
}

#[test]
fn somebody_who_shares_its_uplink_feeds_as_many_as_it_can() {
    let mut tree = broom(0);
    for n in 1..=4 {
        tree.join(id(n), true, 50 * MIB, seconds(1));
        tree.attach(id(n), Feeder::Member(id(0)), seconds(1));
    }
    flow(&mut tree, 2, 4, &[(0, 12), (1, 6), (2, 6), (3, 6), (4, 6)]);
    assert_eq!(tree.members[&id(0)].capacity, Some(2));
    assert_eq!(tree.children_of(id(0)).len(), 2);
    assert_eq!(tree.usual, Some(2));
}

#[test]
fn somebody_who_catches_up_need_not_feed_as_fast_as_it_gets() {
    let mut tree = Tree::new(Limits {
        origin_fanout: 1,
        fanout: 4,
    });
    for (n, done, above) in [(0, 400, 0), (1, 0, 0), (2, 0, 1), (3, 0, 1)] {
        tree.join(id(n), true, done * MIB, seconds(1));
        if n > 0 {
            tree.attach(id(n), Feeder::Member(id(above)), seconds(1));
        }
    }
    flow(&mut tree, 2, 9, &[(0, 10), (1, 40), (2, 12), (3, 12)]);
    assert_eq!(tree.children_of(id(1)).len(), 2);
    assert_eq!(tree.members[&id(1)].capacity, None);
}

#[test]
fn what_is_usual_does_not_hold_for_somebody_who_feeds_more() {
    let mut tree = broom(0);
    for n in 1..=3 {
        tree.join(id(n), true, 50 * MIB, seconds(1));
        tree.attach(id(n), Feeder::Member(id(0)), seconds(1));
    }
    tree.usual = Some(1);
    flow(&mut tree, 2, 12, &[(0, 10), (1, 10), (2, 10), (3, 10)]);
    assert_eq!(tree.children_of(id(0)).len(), 3);
}

#[test]
fn complete_members_share_the_work() {
    let mut tree = Tree::new(Limits::default());
    for n in [0, 1] {
        tree.join(id(n), true, 0, seconds(0));
        tree.complete(id(n), seconds(0));
    }
    for n in 2..6 {
        tree.join(id(n), false, 0, seconds(1));
        tree.attach(id(n), Feeder::Member(id(0)), seconds(1));
    }
    tree.races.best = 1e7;
    flow(&mut tree, 2, 30, &[(2, 10), (3, 10), (4, 10), (5, 10)]);
    assert_eq!(tree.children_of(id(0)).len(), 2);
    assert_eq!(tree.children_of(id(1)).len(), 2);
}

#[test]
fn another_feeder_tells_who_of_both_was_slow() {
    for (speed, weak) in [(10, true), (1, false)] {
        let mut tree = broom(2);
        let (rate, before) = (2e6, id(2));
        let child = tree.members.get_mut(&id(1)).unwrap();
        (child.trial, child.tried) = (Some(Trial { before, rate }), 2);
        flow(&mut tree, 2, 20, &[(0, 10), (1, speed)]);
        let until = |n| {
            let member = &tree.members[&id(n)];
            (member.slow_until, member.weak_until)
        };
        assert_eq!(until(2).1 > seconds(30), weak);
        assert_eq!(until(1).0 > seconds(30), !weak);
    }
}

#[test]
fn one_group_that_did_not_come_yet_proves_nothing() {
    let mut tree = broom(2);
    let (rate, before) = (0.2e6, id(2));
    let child = tree.members.get_mut(&id(1)).unwrap();
    (child.trial, child.tried) = (Some(Trial { before, rate }), 2);
    flow(&mut tree, 2, 8, &[(0, 1), (1, 0)]);
    assert_eq!(tree.members[&id(1)].slow_until, seconds(0));
}

#[test]
fn a_head_that_never_raced_has_to() {
    let mut tree = formed(1, Limits::default());
    tree.progress(id(0), 40 * MIB, seconds(3));
    tree.join(id(1), true, 0, seconds(3));
    assert_eq!(tree.feeder_of(id(1)), Some(Feeder::Member(id(0))));
    flow(&mut tree, 4, 6, &[(0, 10), (1, 10)]);
    assert_eq!(tree.feeder_of(id(1)), Some(Feeder::Origin));
}

#[test]
fn a_head_that_is_no_faster_alone_races_again_and_later_each_time() {
    let mut tree = formed(3, Limits::default());
    let mut races = Vec::new();
    for second in 1..200 {
        let before = tree.members[&id(0)].raced;
        // As fast with a second one as alone: the origin has more to give.
        flow(&mut tree, second, second + 1, &[(0, 10), (1, 9), (2, 9)]);
        if tree.members[&id(0)].raced > before {
            races.push(second);
        }
    }
    let waits: Vec<_> = races.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(waits.len() >= 3, "{races:?}");
    assert!(
        waits.is_sorted() && waits[waits.len() - 1] >= 4 * waits[0],
        "{races:?}"
    );
}

#[test]
fn who_was_slow_in_a_race_feeds_nobody_soon() {
    let mut tree = formed(2, Limits::default());
    flow(&mut tree, 1, 5, &[(0, 10), (1, 1)]);
    assert_eq!(tree.fed_by_origin(), [id(0)]);
    assert!(tree.members[&id(1)].slow_until > seconds(30));
    assert!(tree.members[&id(1)].origin_after > seconds(30));
}
