//! A plain reference: what a tree may and must do, told by what its caller knows, in the most
//! direct way and without regard to cost.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::super::*;
use super::sim::id;

pub(super) const MIB: u64 = 1 << 20;
/// How long a member keeps its feeder at least, if that makes no trouble.
const HOLD: Duration = Duration::from_secs(2);
/// For how long a report may keep a child, or all, from a feeder.
const REMEMBERED: Duration = Duration::from_secs(600);

/// Something that happens to a tree.
#[derive(Debug, Clone, Copy)]
pub(super) enum Event {
    Join {
        relays: bool,
        done: u64,
    },
    Leave,
    Complete,
    Progress(u64),
    /// So many bytes have come from its feeder.
    Fed(u64),
    Trouble {
        feeder: usize,
        trouble: Trouble,
    },
    Tick,
}

#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) relays: bool,
    pub(super) complete: bool,
    pub(super) done: u64,
    /// What it was told last, and since when.
    pub(super) told: Option<Feeder>,
    pub(super) since: Duration,
}

/// A tree under observation.
pub(super) struct Checked {
    pub(super) tree: Tree,
    pub(super) limits: Limits,
    pub(super) now: Duration,
    /// How much less than its child a feeder may have: what the tree allows, and what both may
    /// have got since their last reports.
    late: u64,
    /// After how many events all is checked; with more than one, not each move. It takes long if
    /// there are many.
    pub(super) every: usize,
    events: usize,
    pub(super) members: BTreeMap<TransferId, Known>,
    /// Who complained about whom, and when last.
    complaints: BTreeMap<(TransferId, TransferId), Duration>,
    /// Whom anybody complained about, and when last.
    blamed: BTreeMap<TransferId, Duration>,
    liars: BTreeMap<TransferId, BTreeSet<TransferId>>,
    /// Whoever was told something new by the last event.
    pub(super) moved: Vec<TransferId>,
}

impl Checked {
    /// `fastest`: the most bytes that anybody gets in a second.
    pub(super) fn new(limits: Limits, fastest: u64) -> Self {
        Self {
            tree: Tree::new(limits),
            limits,
            now: Duration::ZERO,
            late: 4 * MIB + 3 * fastest,
            every: 1,
            events: 0,
            members: BTreeMap::new(),
            complaints: BTreeMap::new(),
            blamed: BTreeMap::new(),
            liars: BTreeMap::new(),
            moved: Vec::new(),
        }
    }

    pub(super) fn happen(&mut self, n: usize, event: Event) {
        let (member, now) = (id(n), self.now);
        let before = (self.every == 1).then(|| self.members.clone());
        if matches!(event, Event::Join { .. } | Event::Leave) {
            // That it was gone is true, and says nothing about it when it is back.
            self.complaints
                .retain(|(child, feeder), _| *feeder != member && *child != member);
            self.blamed.remove(&member);
        }
        match event {
            Event::Join { relays, done } => {
                self.tree.join(member, relays, done, now);
                let known = Known {
                    relays,
                    complete: false,
                    done,
                    told: None,
                    since: now,
                };
                self.members.insert(member, known);
            }
            Event::Leave => {
                self.tree.leave(member, now);
                self.members.remove(&member);
            }
            Event::Complete => {
                self.tree.complete(member, now);
                if let Some(known) = self.members.get_mut(&member) {
                    known.complete = true;
                    known.told = None;
                }
            }
            Event::Progress(done) => {
                self.tree.progress(member, done, now);
                if let Some(known) = self.members.get_mut(&member) {
                    known.done = done;
                }
            }
            Event::Fed(bytes) => self.tree.fed(member, bytes, now),
            Event::Trouble { feeder, trouble } => self.complain(member, id(feeder), trouble),
            Event::Tick => self.tree.tick(now),
        }
        self.listen();
        self.events += 1;
        if self.events.is_multiple_of(self.every) {
            self.check_places();
        }
        if let Some(before) = before {
            self.check_moves(member, event, &before);
        }
    }

    fn complain(&mut self, child: TransferId, feeder: TransferId, trouble: Trouble) {
        let is_fed = self.tree.feeder_of(child) == Some(Feeder::Member(feeder));
        self.tree.trouble(child, feeder, trouble, self.now);
        // Who is slow but kept is not blamed.
        let is_kept = self.tree.feeder_of(child) == Some(Feeder::Member(feeder));
        let may_stay = matches!(trouble, Trouble::Slow | Trouble::Withheld { .. });
        if is_fed && (!may_stay || !is_kept) {
            self.complaints.insert((child, feeder), self.now);
            self.blamed.insert(feeder, self.now);
        }
        if is_fed && trouble == Trouble::Lied {
            self.liars.entry(feeder).or_default().insert(child);
        }
        if is_fed && !may_stay {
            // It stopped, and must be told how to go on, be it with the same one.
            self.members.get_mut(&child).unwrap().told = None;
        }
    }

    /// What the tree says is all that members know.
    fn listen(&mut self) {
        self.moved.clear();
        while let Some(Assignment { member, feeder }) = self.tree.poll() {
            let known = self
                .members
                .get_mut(&member)
                .expect("a member that is here");
            assert!(!known.complete, "a complete member is told nothing");
            assert_ne!(known.told, Some(feeder), "nothing new");
            known.told = Some(feeder);
            self.moved.push(member);
        }
    }

    pub(super) fn withholds(&self, member: TransferId) -> bool {
        self.tree.doubts.withholds(member, self.now)
    }

    /// Each has the place that it must have.
    pub(super) fn check_places(&self) {
        let mut fed = BTreeSet::new();
        for (id, known) in &self.members {
            assert_eq!(
                self.tree.feeder_of(*id),
                known.told,
                "{id:?} knows its feeder"
            );
            let feeder = self.tree.feeder_of(*id);
            assert_eq!(feeder.is_none(), known.complete, "{id:?}: {feeder:?}");
            match feeder {
                Some(Feeder::Origin) => assert!(fed.insert(*id)),
                Some(Feeder::Member(above)) => {
                    let above_known = self.members.get(&above).expect("a feeder that is here");
                    assert!(above_known.relays, "{above:?} does not pass on");
                    assert!(!self.tree.is_excluded(above), "{above:?} is excluded");
                    assert!(!self.withholds(above), "{above:?} gives nothing");
                    let children = self.tree.children_of(above);
                    assert_eq!(children.iter().filter(|child| *child == id).count(), 1);
                }
                None => {}
            }
            let children = self.tree.children_of(*id);
            assert!(children.len() <= self.limits.fanout, "{id:?}: {children:?}");
            for child in children {
                assert_eq!(self.tree.feeder_of(*child), Some(Feeder::Member(*id)));
            }
            assert_eq!(self.tree.depth(*id), Some(self.steps(*id)), "{id:?}");
        }
        let of_tree: BTreeSet<_> = self.tree.fed_by_origin().iter().copied().collect();
        assert_eq!(of_tree, fed);
        let waits = self.members.values().any(|known| !known.complete);
        assert_eq!(self.tree.next_timeout().is_some(), waits);
    }

    /// How many steps it is from somebody who has everything. Panics if there is a circle.
    fn steps(&self, id: TransferId) -> usize {
        let (mut steps, mut next) = (0, id);
        loop {
            assert!(steps <= self.members.len(), "{id:?} feeds itself");
            match self.tree.feeder_of(next) {
                None => return steps,
                Some(Feeder::Origin) => return steps + 1,
                Some(Feeder::Member(above)) => next = above,
            }
            steps += 1;
        }
    }

    /// Who was moved had to be, may be, and got a feeder that is of use.
    fn check_moves(
        &mut self,
        member: TransferId,
        event: Event,
        before: &BTreeMap<TransferId, Known>,
    ) {
        let old = |id: &TransferId| before.get(id).and_then(|known| known.told);
        for id in self.moved.clone() {
            let new = self.members[&id].told.unwrap();
            let was_fed_by = |feeder| old(&id) == Some(Feeder::Member(feeder));
            let since = before.get(&id).map_or(self.now, |known| known.since);
            let left_origin = old(&id) == Some(Feeder::Origin);
            match event {
                Event::Join { .. } if before.contains_key(&member) => {
                    assert!(id == member || was_fed_by(member));
                }
                Event::Join { .. } => assert_eq!(id, member),
                Event::Leave => assert!(was_fed_by(member), "{id:?} lost nobody"),
                Event::Complete | Event::Fed(_) => {
                    panic!("{id:?} was moved although nobody left")
                }
                // Only a race ends by a report.
                Event::Progress(_) => assert!(left_origin, "{id:?} did not race"),
                Event::Trouble { feeder, .. } => {
                    let feeder = super::sim::id(feeder);
                    assert!(was_fed_by(feeder), "{id:?} has no trouble");
                    let is_out = self.tree.is_excluded(feeder) || self.withholds(feeder);
                    assert!(id == member || is_out);
                }
                Event::Tick => {
                    let held = self.now - since;
                    assert!(held >= HOLD || left_origin, "{id:?} moved after {held:?}");
                }
            }
            if let Feeder::Member(feeder) = new {
                self.check_feeder(id, feeder, left_origin);
            }
            self.members.get_mut(&id).unwrap().since = self.now;
        }
        self.check_origin(before);
    }

    fn check_feeder(&self, id: TransferId, feeder: TransferId, left_origin: bool) {
        let (known, above) = (&self.members[&id], &self.members[&feeder]);
        let has_next = above.complete || above.done + self.late >= known.done;
        assert!(
            has_next || left_origin,
            "{id:?} needs more than {feeder:?} has"
        );
        let lied = self.liars.get(&feeder).is_some_and(|by| by.contains(&id));
        assert!(!lied, "{id:?} was lied to by {feeder:?}");
        let complained = self.complaints.get(&(id, feeder));
        let recent = complained.is_some_and(|at| self.now - *at < Duration::from_secs(60));
        assert!(!recent, "{id:?} just had trouble with {feeder:?}");
    }

    /// The origin has more than it should only of those whom nobody else could feed for sure.
    fn check_origin(&self, before: &BTreeMap<TransferId, Known>) {
        let fed = self.tree.fed_by_origin();
        let had = before
            .values()
            .filter(|known| known.told == Some(Feeder::Origin));
        let usual = self.limits.origin_fanout.max(had.count());
        let new = fed.iter().filter(|id| self.moved.contains(id));
        let had_to = new.filter(|id| !self.has_other(**id)).count();
        assert!(fed.len() <= usual + had_to, "others could feed {fed:?}");
    }

    fn has_other(&self, id: TransferId) -> bool {
        let known = &self.members[&id];
        let cut_off = self.complaints.keys().filter(|(child, _)| *child == id);
        if cut_off.count() >= 3 {
            return false;
        }
        self.members.iter().any(|(other, above)| {
            let lied = self.liars.contains_key(other) || self.withholds(*other);
            let blamed = self.blamed.get(other);
            let blamed = blamed.is_some_and(|at| self.now - *at < REMEMBERED * 6);
            above.relays
                && self.tree.children_of(*other).len() < self.limits.fanout
                && (above.complete || above.done >= known.done + self.late)
                && !lied
                && !blamed
                && !self.moved.contains(other)
                && !self.is_below(*other, id)
        })
    }

    fn is_below(&self, id: TransferId, above: TransferId) -> bool {
        let mut next = id;
        while next != above {
            match self.tree.feeder_of(next) {
                Some(Feeder::Member(feeder)) => next = feeder,
                Some(Feeder::Origin) | None => return false,
            }
        }
        true
    }
}
