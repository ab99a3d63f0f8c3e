//! Who feeds whom in a session with several receivers: decided by the origin, and by it alone.
//!
//! Every member has the origin's connection and learns the hashes of all groups from it. Content
//! it pulls from its feeder, by request, and verifies it: so a change of feeder costs a round
//! trip, and a bad feeder costs time, never a wrong byte. What is owned here is the choice of
//! feeders. Pure: times come from the caller, and nothing is sent.
//!
//! The caller tells what happens, in the order in which it happens and with times that do not run
//! back, calls [`Tree::tick`] when it is due, and after each call asks [`Tree::poll`] until there
//! is nothing to tell.
//!
//! # What always holds
//!
//! - An incomplete member has one feeder, a complete one has none; nobody feeds itself, directly
//!   or through others.
//! - Nobody has more children than [`Limits`] allow. Only the origin takes more, where no other
//!   feeder has a place: nobody starves. It gives them away when there is a place again.
//! - Only members that pass on, and are neither gone nor excluded, have children.
//! - A feeder has what its child needs next, or will have it in a moment. One exception: a head
//!   that feeds badly waits below its successor.
//! - Who has no trouble keeps its feeder for two seconds at least, and twice as long after each
//!   change, so that changes die out. Only races (see `race`) end earlier.
//!
//! # How a feeder is chosen
//!
//! Complete members first, then the origin if it feeds nobody, then somebody who has what the
//! child needs. A new session begins as chains of eight, which then branch: where all uplinks are
//! equal, everything else is slower, and where they are faster than the origin's, a step costs the
//! time of one group. Progress shows what members can do, and the tree follows (see `adapt`). So
//! its depth is O(log n), as long as members can feed two each. Where it was measured that each can
//! feed but one, a tree would halve everybody's speed with each branch, and it becomes a chain.
//!
//! # How trouble is judged
//!
//! See `blame` and `doubt`: one child alone never throws a feeder out for others.
//!
//! # What it achieves
//!
//! In the network of the tests, with 256 MiB and an origin with 100 Mbit/s, compared with one
//! receiver alone; in brackets, how often the origin sends the files:
//!
//! | receivers | uplinks 1000 Mbit/s | 100 Mbit/s | 20 Mbit/s |
//! |---|---|---|---|
//! | 8 | 1.02–1.03 (1.02–1.03) | 1.05–1.29 (1.02–1.03) | 4.2–4.6 (4.1–4.6) |
//! | 64 | 1.02–1.04 (1.02–1.04) | 1.4–1.6 (1.0–1.5) | |
//! | 256 | 1.04 (1.03) | 2.1 (1.9) | |
//! | 1000 | 1.03 (1.02) | 2.4 (2.1) | |
//!
//! Long chains cost one group's time for each member. Where uplinks are much slower than the
//! origin's, a session takes about as long as sending to each alone.

mod adapt;
mod blame;
mod doubt;
mod help;
mod member;
mod place;
mod race;
mod shed;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use blame::{Blame, Verdict};
use doubt::{Doubt, Doubts};
use member::Member;
use race::Races;

use crate::protocol::message::TransferId;
pub use crate::protocol::sessions::Trouble;
pub use crate::transfer::status::Shortcoming;

/// How often the tree looks at itself.
const TICK: Duration = Duration::from_millis(500);

/// So long after a change of feeder, what is said of the one before is about what led to it.
const LATE: Duration = Duration::from_secs(3);

/// Who feeds whom in one session.
#[derive(Debug)]
pub struct Tree {
    limits: Limits,
    members: BTreeMap<TransferId, Member>,
    /// Whom the origin feeds.
    fed: Vec<TransferId>,
    blame: Blame,
    doubts: Doubts,
    races: Races,
    /// How many a member can feed, as measured last.
    usual: Option<usize>,
    /// Whose feeder changed since it was told.
    untold: BTreeSet<TransferId>,
    next_tick: Duration,
}

/// Where a member gets content from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Feeder {
    /// From the origin itself.
    Origin,
    /// From the member with this transfer.
    Member(TransferId),
}

/// A change that its member must be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Assignment {
    /// Who gets another feeder.
    pub member: TransferId,
    /// Its feeder from now on.
    pub feeder: Feeder,
}

/// How many members one feeder has at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Members fed by the origin: each costs it the size of the files.
    pub origin_fanout: usize,
    /// Members fed by one member.
    pub fanout: usize,
}

impl Default for Limits {
    /// Two at the origin, and only while it is found out which is the faster: afterwards one,
    /// since each costs the origin the whole size. Four at a member: more would have to share an
    /// uplink, where chains cost less.
    fn default() -> Self {
        Self {
            origin_fanout: 2,
            fanout: 4,
        }
    }
}

impl Tree {
    /// One without members.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits: Limits {
                origin_fanout: limits.origin_fanout.max(1),
                fanout: limits.fanout.max(1),
            },
            members: BTreeMap::new(),
            fed: Vec::new(),
            blame: Blame::default(),
            doubts: Doubts::default(),
            races: Races::default(),
            usual: None,
            untold: BTreeSet::new(),
            next_tick: Duration::ZERO,
        }
    }

    /// A member is ready to receive. `relays`: it agreed to pass on, and others can reach it.
    /// `done`: bytes that it has already. One that is here already starts anew.
    pub fn join(&mut self, member: TransferId, relays: bool, done: u64, now: Duration) {
        if self.members.contains_key(&member) {
            self.leave(member, now);
        }
        if self.members.values().all(|m| m.complete) {
            self.next_tick = now + TICK;
        }
        self.members.insert(member, Member::new(relays, done, now));
        self.place(member, now);
    }

    /// It left, ended, or lost its connection to the origin. What it is blamed for stays.
    pub fn leave(&mut self, member: TransferId, now: Duration) {
        self.detach(member, now);
        let Some(gone) = self.members.remove(&member) else {
            return;
        };
        self.untold.remove(&member);
        self.blame.left(member);
        for other in self.members.values_mut() {
            other.forget(member);
        }
        self.place_all(gone.children, now);
    }

    /// It has everything. It goes on feeding others, and needs no feeder.
    pub fn complete(&mut self, member: TransferId, now: Duration) {
        self.detach(member, now);
        let Some(done) = self.members.get_mut(&member) else {
            return;
        };
        done.complete = true;
        self.untold.remove(&member);
        self.deepen(member, 0);
    }

    /// How many bytes it has now. To be called about once a second for each member.
    pub fn progress(&mut self, member: TransferId, done: u64, now: Duration) {
        if let Some(there) = self.members.get_mut(&member) {
            there.progress(done, now);
            self.passes(member, now);
        }
    }

    /// It has got so many bytes from its feeder since the last time.
    pub fn fed(&mut self, member: TransferId, bytes: u64, now: Duration) {
        if let Some(there) = self.members.get_mut(&member).filter(|_| bytes > 0) {
            there.is_fed(now);
        }
    }

    /// How far it is from the origin: a hint, which decides between equals.
    pub fn latency(&mut self, member: TransferId, rtt: Duration) {
        if let Some(member) = self.members.get_mut(&member) {
            member.rtt = Some(rtt);
        }
    }

    /// `child` says that it could not get content from `feeder`. Ignored if that is not its
    /// feeder (any more). [`Trouble::Withheld`] only if the feeder has that group for certain:
    /// otherwise it is [`Trouble::Slow`]. It may also be said of the feeder that the child had
    /// until a moment ago.
    pub fn trouble(
        &mut self,
        child: TransferId,
        feeder: TransferId,
        trouble: Trouble,
        now: Duration,
    ) {
        let is_late = matches!(trouble, Trouble::Withheld { .. });
        let is_about_feeder =
            self.is_fed_by(child, feeder) || is_late && self.was_fed_by(child, feeder, now);
        if !is_about_feeder {
            return;
        }
        match trouble {
            Trouble::Slow => return self.complain(child, feeder, trouble, now),
            Trouble::Withheld { .. } => return self.withheld(child, feeder, trouble, now),
            Trouble::Gone | Trouble::Lied => {}
        }
        match self.blame.report(child, feeder, trouble, now) {
            Verdict::Child => self.place(child, now),
            Verdict::Everybody => {
                self.doubts.disbelieve(feeder);
                let children = self.children_of(feeder).to_vec();
                self.place_all(children, now);
            }
        }
    }

    /// Time passed. To be called at [`Self::next_timeout`].
    pub fn tick(&mut self, now: Duration) {
        if now < self.next_tick {
            return;
        }
        self.next_tick = now + TICK;
        self.blame.expire(now);
        self.doubts.expire(now);
        self.adapt(now);
    }

    /// When [`Self::tick`] is due. `None`: everybody is complete.
    pub fn next_timeout(&self) -> Option<Duration> {
        let waits = self.members.values().any(|member| !member.complete);
        waits.then_some(self.next_tick)
    }

    /// The next change that must be told to its member, or `None`.
    pub fn poll(&mut self) -> Option<Assignment> {
        while let Some(id) = self.untold.pop_first() {
            let Some(member) = self.members.get_mut(&id) else {
                continue;
            };
            let Some(feeder) = member.feeder else {
                continue;
            };
            // Moved there and back before anybody heard of it: nothing to tell.
            if member.told != Some(feeder) {
                member.told = Some(feeder);
                return Some(Assignment { member: id, feeder });
            }
        }
        None
    }

    /// Who feeds it. `None`: it is complete, or not here.
    pub fn feeder_of(&self, member: TransferId) -> Option<Feeder> {
        self.members.get(&member)?.feeder
    }

    fn is_fed_by(&self, child: TransferId, feeder: TransferId) -> bool {
        self.feeder_of(child) == Some(Feeder::Member(feeder))
    }

    /// Whether that was its feeder until a moment ago.
    pub fn was_fed_by(&self, child: TransferId, feeder: TransferId, now: Duration) -> bool {
        let before = self.members.get(&child).and_then(|child| child.before);
        before.is_some_and(|(id, at)| id == feeder && now.saturating_sub(at) < LATE)
    }

    /// Whether it lied to more than one, and feeds nobody any more. Stays so when it leaves.
    pub fn is_excluded(&self, member: TransferId) -> bool {
        self.blame.is_excluded(member)
    }

    /// Whether nobody gets it as a feeder now: it is excluded, withholds what it has, or more than
    /// one could not reach it a moment ago.
    pub fn is_barred(&self, member: TransferId, now: Duration) -> bool {
        self.blame.bars(member, now) || self.doubts.withholds(member, now)
    }

    /// Whether one child said that it lied, or gave it nothing, and it is not known yet what is
    /// true.
    pub fn is_suspect(&self, member: TransferId) -> bool {
        self.blame.suspects(member) || self.doubts.is_about(member)
    }

    /// Who is here and gives others nothing: it feeds nobody now, because more than one got nothing
    /// from it, or could not reach it; or one says so, and it is not known yet what is true.
    pub fn shortcomings(&self, now: Duration) -> BTreeMap<TransferId, Shortcoming> {
        let away = self.blame.out_of_reach(now);
        let away = away.map(|id| (id, Shortcoming::OutOfReach));
        let found = self.doubts.all_found(now);
        let found = found.map(|(id, denies)| match denies {
            true => (id, Shortcoming::Denies),
            false => (id, Shortcoming::Withholds),
        });
        let doubts = self.doubts.all().filter(|doubt| self.is_told(doubt));
        let doubted = doubts.map(|doubt| (doubt.feeder, Shortcoming::Doubted));
        // What is known better comes last, and stays.
        let all = doubted.chain(away).chain(found);
        all.filter(|(id, _)| self.members.contains_key(id))
            .collect()
    }

    /// Whether people learn what one child says: as long as it lacks something, and not of one
    /// moment that changed nothing.
    fn is_told(&self, doubt: &Doubt) -> bool {
        let child = self.members.get(&doubt.child);
        let is_open = child.is_some_and(|child| !child.complete);
        is_open && doubt.is_more
    }

    /// How many steps content takes to it from somebody who has everything: 0 for a complete
    /// member, 1 for one that is fed by the origin.
    pub fn depth(&self, member: TransferId) -> Option<usize> {
        self.members.get(&member).map(|member| member.depth)
    }

    /// Whom it feeds.
    pub fn children_of(&self, member: TransferId) -> &[TransferId] {
        let member = self.members.get(&member);
        member.map_or(&[], |member| &member.children)
    }

    /// Whom the origin feeds.
    pub fn fed_by_origin(&self) -> &[TransferId] {
        &self.fed
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
