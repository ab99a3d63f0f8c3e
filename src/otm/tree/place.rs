//! Finding a feeder for a member, and the links that result.

use std::cmp::Reverse;
use std::time::Duration;

use super::member::Member;
use super::{Feeder, Tree};
use crate::protocol::message::TransferId;

/// How much a child may have more than its feeder: reports are about a second old, and a feeder
/// that is ahead again in a moment is as good as another.
const SLACK: u64 = 4 << 20;

/// Feeders from good to worse: complete or not, has less than the child, steps from the source,
/// how many it feeds, how much it has, round trip, id.
type Rank = (bool, bool, usize, usize, Reverse<u64>, Duration, TransferId);

impl Tree {
    /// Finds a feeder for each, those with the most first: they can feed the others.
    pub(super) fn place_all(&mut self, mut members: Vec<TransferId>, now: Duration) {
        let done = |id: &TransferId| self.members.get(id).map_or(0, |member| member.done);
        members.sort_by_key(|id| (Reverse(done(id)), *id));
        for id in &members {
            self.detach(*id);
        }
        for id in members {
            self.place(id, now);
        }
    }

    /// Finds a feeder for a member.
    pub(super) fn place(&mut self, member: TransferId, now: Duration) {
        let feeder = self.find(member, now);
        self.attach(member, feeder, now);
    }

    fn find(&self, member: TransferId, now: Duration) -> Feeder {
        let fed_others = self.fed.iter().filter(|id| **id != member).count();
        let is_free = fed_others < self.limits.origin_fanout;
        match self.best(member, now) {
            Some((rank, feeder)) if !rank.0 || !is_free => Feeder::Member(feeder),
            Some(_) | None => Feeder::Origin,
        }
    }

    /// Somebody else who could feed a member that the origin feeds.
    pub(super) fn better_than_origin(&self, member: TransferId, now: Duration) -> Option<Feeder> {
        let best = self.best(member, now)?;
        Some(Feeder::Member(best.1))
    }

    fn best(&self, member: TransferId, now: Duration) -> Option<(Rank, TransferId)> {
        let child = self.members.get(&member)?;
        let mut below = vec![member];
        let mut n = 0;
        while let Some(id) = below.get(n) {
            below.extend_from_slice(self.children_of(*id));
            n += 1;
        }
        below.sort_unstable();
        let candidates = self.members.iter().filter(|(id, feeder)| {
            below.binary_search(id).is_err() && self.may_feed(member, child, **id, feeder, now)
        });
        let ranked = candidates.map(|(id, feeder)| (rank(child, *id, feeder), *id));
        ranked.min()
    }

    fn may_feed(
        &self,
        child_id: TransferId,
        child: &Member,
        id: TransferId,
        feeder: &Member,
        now: Duration,
    ) -> bool {
        let has_place =
            feeder.children.len() < self.limits.fanout || feeder.children.contains(&child_id);
        let placed = feeder.complete || feeder.feeder.is_some();
        let has_enough = feeder.complete || feeder.done.saturating_add(SLACK) >= child.done;
        feeder.relays
            && placed
            && has_place
            && has_enough
            && !self.blame.bars(id, now)
            && !self.blame.parts(child_id, id, now)
    }

    /// Makes `feeder` feed a member, with all below it.
    pub(super) fn attach(&mut self, id: TransferId, feeder: Feeder, now: Duration) {
        self.detach(id);
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
            self.untold.insert(id);
        }
        self.deepen(id, depth);
    }

    /// Takes a member away from its feeder.
    pub(super) fn detach(&mut self, id: TransferId) {
        let feeder = match self.members.get_mut(&id) {
            Some(member) => member.feeder.take(),
            None => return,
        };
        match feeder {
            Some(Feeder::Origin) => self.fed.retain(|fed| *fed != id),
            Some(Feeder::Member(above)) => {
                if let Some(above) = self.members.get_mut(&above) {
                    above.children.retain(|child| *child != id);
                }
            }
            None => {}
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

fn rank(child: &Member, id: TransferId, feeder: &Member) -> Rank {
    (
        !feeder.complete,
        !feeder.complete && feeder.done < child.done,
        feeder.depth,
        feeder.children.len(),
        Reverse(feeder.done / SLACK),
        feeder.rtt.unwrap_or(Duration::MAX),
        id,
    )
}
