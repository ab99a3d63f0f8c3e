//! Finding a feeder for a member, and the links that result.

use std::cmp::Reverse;
use std::time::Duration;

use super::member::Member;
use super::{Feeder, Tree};
use crate::protocol::message::TransferId;

/// How much a child may have more than its feeder, if it does not get more within [`MOMENT`]: a
/// feeder that is ahead again so soon is as good as another.
pub(super) const SLACK: u64 = 4 << 20;

/// In seconds: so much younger may the report of the child be, and so long it may wait.
const MOMENT: f64 = 2.0;

/// How long the tree makes its chains, before somebody gets a second child.
///
/// Where all have the same uplink, one child is all that anybody can feed at full speed, and it
/// takes seconds to find out. And a step costs little: the time of one group.
const CHAIN_MAX: usize = 8;

/// How good a feeder is for a child; less is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    pub(super) class: Class,
    /// It has to catch up with the child first.
    behind: bool,
    /// The depth, if with this child the tree gets deeper than is good.
    deep: usize,
    /// It is not the feeder of the one that is gone, which has a place in truth.
    strange: bool,
    children: usize,
    depth: usize,
    done: Reverse<u64>,
    rtt: Duration,
    pub(super) id: TransferId,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Class {
    /// Has everything, and a place.
    Complete,
    /// Has a place.
    Free,
    /// Has a place, but more children than it seems able to feed.
    Crowded,
    /// Too slow, or accused of something.
    Poor,
}

/// What a feeder must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    /// What the child needs next.
    Next,
    /// It may have to catch up first.
    Any,
}

impl Tree {
    /// Finds a feeder for each, those with the most first: they can feed the others.
    pub(super) fn place_all(&mut self, mut members: Vec<TransferId>, now: Duration) {
        let done = |id: &TransferId| self.members.get(id).map_or(0, |member| member.done);
        members.sort_by_key(|id| (Reverse(done(id)), *id));
        for id in &members {
            self.detach(*id, now);
        }
        for id in members {
            self.place(id, now);
        }
    }

    /// Finds a feeder for a member.
    pub(super) fn place(&mut self, member: TransferId, now: Duration) {
        let best = self.best(member, Content::Next, now);
        let feeder = match best {
            Some(rank) if rank.class == Class::Complete => Feeder::Member(rank.id),
            _ if self.origin_has_place(member, now) => Feeder::Origin,
            Some(rank) => Feeder::Member(rank.id),
            None => Feeder::Origin,
        };
        self.attach(member, feeder, now);
    }

    /// The best member to feed this one, with a free place.
    pub(super) fn best(&self, member: TransferId, has: Content, now: Duration) -> Option<Rank> {
        self.best_where(member, has, now, |_, _| true)
    }

    pub(super) fn best_where(
        &self,
        member: TransferId,
        has: Content,
        now: Duration,
        is_good: impl Fn(TransferId, &Member) -> bool,
    ) -> Option<Rank> {
        let child = self.members.get(&member)?;
        let kin = self.kin(member, now);
        let below = self.below(member);
        let depths = below.iter().filter_map(|id| self.members.get(id));
        let deepest = depths.map(|member| member.depth).max().unwrap_or(0);
        let height = 1 + deepest.saturating_sub(child.depth);
        let front = self.front(now);
        let others = self.members.iter().filter(|(id, feeder)| {
            feeder.relays
                && feeder.children.len() < self.limits.fanout
                && (feeder.complete || feeder.feeder.is_some())
                && (has == Content::Any || has_next(child, feeder, now))
                && below.binary_search(id).is_err()
                && !self.is_barred(**id, now)
                && !self.blame.parts(member, **id, now)
                && is_good(**id, feeder)
        });
        let ranked = others.map(|(id, feeder)| Rank {
            class: self.class(*id, feeder, front, now),
            behind: !has_next(child, feeder, now),
            deep: match feeder.depth + height > CHAIN_MAX {
                true => feeder.depth,
                false => 0,
            },
            strange: Some(*id) != kin,
            children: feeder.children.len(),
            depth: feeder.depth,
            done: Reverse(feeder.done / SLACK),
            rtt: feeder.rtt.unwrap_or(Duration::MAX),
            id: *id,
        });
        ranked.min()
    }

    /// The feeder of its feeder, if that is gone.
    fn kin(&self, member: TransferId, now: Duration) -> Option<TransferId> {
        let Some(Feeder::Member(above)) = self.feeder_of(member) else {
            return None;
        };
        match self.feeder_of(above) {
            Some(Feeder::Member(kin)) if self.blame.parts(member, above, now) => Some(kin),
            Some(Feeder::Member(_) | Feeder::Origin) | None => None,
        }
    }

    /// Whether it could get this feeder, apart from whether there is a place.
    pub(super) fn may_get(
        &self,
        id: TransferId,
        child: &Member,
        above: TransferId,
        feeder: &Member,
        now: Duration,
    ) -> bool {
        feeder.relays
            && has_next(child, feeder, now)
            && child.may_change(now)
            && !self.is_barred(above, now)
            && !self.blame.parts(id, above, now)
    }

    /// A member and those through whom it gets content.
    pub(super) fn above(&self, member: TransferId) -> Vec<TransferId> {
        let mut above = vec![member];
        let mut next = member;
        while let Some(Feeder::Member(id)) = self.feeder_of(next) {
            above.push(id);
            next = id;
        }
        above
    }

    /// A member and all below it, sorted.
    fn below(&self, member: TransferId) -> Vec<TransferId> {
        let mut below = vec![member];
        let mut n = 0;
        while let Some(id) = below.get(n) {
            below.extend_from_slice(self.children_of(*id));
            n += 1;
        }
        below.sort_unstable();
        below
    }

    fn class(&self, id: TransferId, feeder: &Member, front: Option<f64>, now: Duration) -> Class {
        let rate = feeder.rate(now).zip(front);
        let lags = !feeder.complete && rate.is_some_and(|(rate, front)| rate.most < front / 2.0);
        let is_slow = !feeder.complete && now < feeder.slow_until;
        if lags || is_slow || now < feeder.weak_until || self.is_suspect(id) {
            Class::Poor
        } else if feeder.children.len() >= self.capacity(feeder) {
            Class::Crowded
        } else if feeder.complete {
            Class::Complete
        } else {
            Class::Free
        }
    }

    /// How many it can feed, as far as is known.
    pub(super) fn capacity(&self, feeder: &Member) -> usize {
        let measured = feeder.capacity.or(self.usual);
        measured.map_or(self.limits.fanout, |n| n.clamp(1, self.limits.fanout))
    }

    /// Makes `feeder` feed a member, with all below it.
    pub(super) fn attach(&mut self, id: TransferId, feeder: Feeder, now: Duration) {
        self.detach(id, now);
        let depth = match feeder {
            Feeder::Origin => {
                self.fed.push(id);
                1
            }
            Feeder::Member(above) => match self.members.get_mut(&above) {
                Some(above) => {
                    above.children.push(id);
                    above.depth + 1
                }
                None => return,
            },
        };
        if let Some(member) = self.members.get_mut(&id) {
            member.feeder = Some(feeder);
            member.changed = now;
            member.fed_at = None;
            member.tries_until = Duration::ZERO;
            self.untold.insert(id);
        }
        self.deepen(id, depth);
        self.touch(feeder, now);
    }

    /// The same, without need: more such changes come later and later.
    pub(super) fn shift(&mut self, id: TransferId, feeder: Feeder, now: Duration) {
        self.attach(id, feeder, now);
        if let Some(member) = self.members.get_mut(&id) {
            member.moves += 1;
            member.shifted = now;
            member.trial = None;
        }
    }

    /// Takes a member away from its feeder.
    pub(super) fn detach(&mut self, id: TransferId, now: Duration) {
        let taken = self
            .members
            .get_mut(&id)
            .and_then(|member| member.feeder.take());
        let Some(feeder) = taken else {
            return;
        };
        match feeder {
            Feeder::Origin => self.fed.retain(|fed| *fed != id),
            Feeder::Member(above) => {
                if let Some(above) = self.members.get_mut(&above) {
                    above.children.retain(|child| *child != id);
                }
                if let Some(member) = self.members.get_mut(&id) {
                    member.before = Some((above, now));
                }
            }
        }
        self.touch(feeder, now);
    }

    /// Its children share with others from now on.
    fn touch(&mut self, feeder: Feeder, now: Duration) {
        let children = match feeder {
            Feeder::Origin => self.fed.clone(),
            Feeder::Member(id) => match self.members.get_mut(&id) {
                Some(member) => {
                    member.touched = now;
                    member.children.clone()
                }
                None => return,
            },
        };
        for child in children {
            if let Some(child) = self.members.get_mut(&child) {
                child.restart_pace(now);
            }
        }
    }

    /// Notes how deep a member is, and all below it.
    pub(super) fn deepen(&mut self, id: TransferId, depth: usize) {
        let mut below = vec![(id, depth)];
        while let Some((id, depth)) = below.pop() {
            if let Some(member) = self.members.get_mut(&id) {
                member.depth = depth;
                below.extend(member.children.iter().map(|child| (*child, depth + 1)));
            }
        }
    }
}

impl Rank {
    pub(super) fn feeder(&self) -> Feeder {
        Feeder::Member(self.id)
    }

    pub(super) fn is_good(&self) -> bool {
        matches!(self.class, Class::Complete | Class::Free)
    }
}

/// Whether it has what the child needs next, or will in a moment.
fn has_next(child: &Member, feeder: &Member, now: Duration) -> bool {
    let moment = (child.pace.lap(now).unwrap_or(0.0) * MOMENT).max(SLACK as f64);
    feeder.estimate(now) + moment >= child.estimate(now)
}
