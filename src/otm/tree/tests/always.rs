//! What holds whatever happens: random events, each checked against the reference.

use std::time::Duration;

use proptest::prelude::*;

use super::super::*;
use super::model::{Checked, Event, MIB};
use super::sim::{id, index};
use super::{DENIED, WITHHELD};

/// Members of the small sessions.
const FEW: usize = 10;

#[derive(Debug, Clone)]
struct Step {
    wait: u64,
    member: usize,
    what: What,
}

#[derive(Debug, Clone)]
enum What {
    Join {
        relays: bool,
        done: u64,
    },
    Leave,
    Complete,
    Progress(u64),
    Fed,
    /// About its feeder, whoever that is.
    Trouble(Trouble),
    /// About somebody, who may be its feeder.
    TroubleWith(usize, Trouble),
    Pass,
}

fn troubles() -> impl Strategy<Value = Trouble> {
    prop_oneof![
        Just(Trouble::Gone),
        Just(Trouble::Lied),
        Just(Trouble::Slow),
        Just(WITHHELD),
        Just(DENIED)
    ]
}

fn steps(members: usize) -> impl Strategy<Value = Step> {
    let what = prop_oneof![
        4 => (prop::bool::weighted(0.8), prop_oneof![3 => Just(0), 1 => 0..40 * MIB])
            .prop_map(|(relays, done)| What::Join { relays, done }),
        1 => Just(What::Leave),
        1 => Just(What::Complete),
        8 => (0..2 * MIB).prop_map(What::Progress),
        2 => Just(What::Fed),
        2 => troubles().prop_map(What::Trouble),
        1 => (0..members, troubles()).prop_map(|(n, trouble)| What::TroubleWith(n, trouble)),
        8 => Just(What::Pass),
    ];
    let wait = prop_oneof![3 => Just(0), 3 => 1..1000u64, 1 => 1000..5000u64];
    (wait, 0..members, what).prop_map(|(wait, member, what)| Step { wait, member, what })
}

fn run(checked: &mut Checked, step: &Step) {
    pass(checked, Duration::from_millis(step.wait));
    let n = step.member;
    let known = checked.members.get(&id(n)).cloned();
    let event = match step.what {
        What::Join { relays, done } => Event::Join { relays, done },
        What::Leave => Event::Leave,
        What::Complete => Event::Complete,
        What::Progress(more) => match known {
            // No faster than what the reference allows for.
            Some(known) if !known.complete && step.wait >= 500 => {
                Event::Progress(known.done + more)
            }
            _ => return,
        },
        What::Trouble(trouble) => match known.and_then(|known| known.told) {
            Some(Feeder::Member(feeder)) => Event::Trouble {
                feeder: index(feeder),
                trouble,
            },
            _ => return,
        },
        What::TroubleWith(feeder, trouble) => Event::Trouble { feeder, trouble },
        What::Fed => Event::Fed(MIB),
        What::Pass => Event::Tick,
    };
    checked.happen(n, event);
}

/// Time passes, with all ticks that are due.
fn pass(checked: &mut Checked, time: Duration) {
    let until = checked.now + time;
    while let Some(due) = checked.tree.next_timeout().filter(|due| *due <= until) {
        checked.now = checked.now.max(due);
        checked.happen(0, Event::Tick);
    }
    checked.now = until;
}

fn limits() -> impl Strategy<Value = Limits> {
    (1..4usize, 1..5usize).prop_map(|(origin_fanout, fanout)| Limits {
        origin_fanout,
        fanout,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn all_rules_hold_whatever_happens(
        limits in limits(),
        steps in prop::collection::vec(steps(FEW), 1..120),
    ) {
        let mut checked = Checked::new(limits, 4 * MIB);
        for step in &steps {
            run(&mut checked, step);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn all_rules_hold_among_many(steps in prop::collection::vec(steps(60), 500)) {
        let mut checked = Checked::new(Limits::default(), 4 * MIB);
        for n in 0..60 {
            checked.happen(n, Event::Join { relays: n % 5 != 0, done: 0 });
        }
        for step in &steps {
            run(&mut checked, step);
        }
    }
}
