//! Changes that make a running tree better. Each is rare, and rarer for whom it hit before.

use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::member::{JUDGED, Member, Trial};
use super::place::{Class, Content, SLACK};
use super::{Feeder, Tree};
use crate::protocol::message::TransferId;

/// How long a feeder and its children are left alone before they are judged.
const SETTLED: Duration = Duration::from_millis(1500);
/// After which time a change shows its effect.
const SEEN: Duration = Duration::from_millis(2500);
/// Slower than this part of what it could be is clearly slower.
const CLEARLY: f64 = 0.8;
/// Who gets so many times as much from another feeder was held up by the one before.
const BETTER: f64 = 1.5;
/// A feeder that can feed less than this part of one child is weak.
const WEAK: f64 = 0.75;
/// What a change must win at least, in bytes.
const WORTH: f64 = 8.0 * 1048576.0;

/// How a child does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fares {
    /// It gets about as much as its feeder could give to one alone.
    Well,
    /// It has all that its feeder has.
    Waits,
    /// It gets less, and falls back.
    Badly,
    /// It is too early to say.
    Unknown,
}
/// Seconds to the end that make it worth the origin's while to help.
const LONG: f64 = 5.0;

impl Tree {
    pub(super) fn adapt(&mut self, now: Duration) {
        let ids: Vec<TransferId> = self.members.keys().copied().collect();
        for id in &ids {
            self.judge_trial(*id, now);
        }
        self.race(now);
        for id in &ids {
            self.measure(*id, now);
        }
        for id in &ids {
            self.shed(*id, now);
        }
        for id in &ids {
            self.help(*id, now);
        }
        self.spend_idle_origin(now);
    }

    /// How much is needed of it for each child.
    fn need(&self, feeder: &Member, now: Duration) -> Option<f64> {
        let front = self.front(now);
        match (feeder.complete, feeder.speed(now)) {
            // The origin is done: what it could give once.
            (true, _) => front.or((self.races.best > 0.0).then_some(self.races.best)),
            (false, Some(rate)) => Some(front.map_or(rate, |front| front.min(rate))),
            (false, None) => None,
        }
    }

    /// How a child does under this feeder, which could give `need` to one.
    fn fares(&self, child: &Member, feeder: &Member, need: f64, now: Duration) -> Fares {
        let behind = feeder.estimate(now) - child.estimate(now);
        match child.rate(now) {
            None => Fares::Unknown,
            Some(rate) if rate.most >= need * CLEARLY => Fares::Well,
            Some(_) if behind <= SLACK as f64 => Fares::Waits,
            Some(_) if behind <= need => Fares::Unknown,
            Some(_) => Fares::Badly,
        }
    }

    /// How all children of a feeder do, in their order.
    fn all_fare(&self, feeder: &Member, need: f64, now: Duration) -> Vec<Fares> {
        let children = feeder.children.iter().filter_map(|id| self.members.get(id));
        children
            .map(|child| self.fares(child, feeder, need, now))
            .collect()
    }

    /// Notes how many somebody can feed, when its children all get clearly less than it does.
    fn measure(&mut self, id: TransferId, now: Duration) {
        let Some(feeder) = self.members.get(&id) else {
            return;
        };
        let settled = now.saturating_sub(feeder.touched) >= SETTLED;
        let number = feeder.children.len();
        let Some(need) = self.need(feeder, now).filter(|need| *need > 0.0) else {
            return;
        };
        let fares = self.all_fare(feeder, need, now);
        if !settled || number < 2 || fares.iter().any(|fares| *fares != Fares::Badly) {
            return;
        }
        let children = feeder.children.iter().filter_map(|id| self.members.get(id));
        let sum: f64 = children.filter_map(|child| child.speed(now)).sum();
        let feeds = sum / need;
        let capacity = ((feeds + 0.2) as usize).clamp(1, number - 1);
        if feeds >= WEAK {
            self.usual = Some(capacity);
        }
        if let Some(feeder) = self.members.get_mut(&id) {
            feeder.capacity = Some(capacity);
        }
    }

    /// Moves children that somebody cannot feed below their siblings.
    fn shed(&mut self, id: TransferId, now: Duration) {
        let Some(feeder) = self.members.get(&id) else {
            return;
        };
        let too_many = feeder.children.len() > self.capacity(feeder);
        if !too_many || self.feeds_all(feeder, now) {
            return;
        }
        let (mut plan, left) = self.rearranged(id, now);
        let mut numbers = BTreeMap::new();
        for (_, above) in &plan {
            *numbers.entry(*above).or_insert(0) += 1;
        }
        plan.retain(|(child, above)| self.feeder_of(*child) != Some(Feeder::Member(*above)));
        // All leave before they come, so that nobody has too many in between.
        for (child, _) in &plan {
            self.detach(*child, now);
        }
        let mut homeless = Vec::new();
        for child in left {
            // It stays where it is, if those who come leave a place.
            if let Some(Feeder::Member(above)) = self.feeder_of(child) {
                let number = numbers.entry(above).or_insert(0);
                *number += 1;
                if *number > self.limits.fanout {
                    homeless.push(child);
                    self.detach(child, now);
                }
            }
        }
        for (child, above) in plan {
            self.shift(child, Feeder::Member(above), now);
        }
        self.place_all(homeless, now);
    }

    /// The part of the tree below a member, such that nobody has more children than it can feed
    /// and those who have more feed those who have less: pairs of child and feeder, and who found
    /// no place.
    fn rearranged(
        &self,
        root: TransferId,
        now: Duration,
    ) -> (Vec<(TransferId, TransferId)>, Vec<TransferId>) {
        let mut plan = Vec::new();
        let mut pool: Vec<TransferId> = Vec::new();
        let mut next = VecDeque::from([root]);
        while let Some(above) = next.pop_front() {
            let Some(feeder) = self.members.get(&above) else {
                continue;
            };
            let children = &feeder.children;
            pool.retain(|id| !children.contains(id));
            pool.extend_from_slice(children);
            // Who may not change stays.
            let order = |id: &TransferId| {
                let member = self.members.get(id)?;
                let stays = children.contains(id) && !member.may_change(now);
                Some((!stays, !member.relays, Reverse(member.done), *id))
            };
            pool.sort_by_key(order);
            let mut number = self.capacity(feeder);
            let mut kept = Vec::new();
            pool.retain(|id| {
                let Some(member) = self.members.get(id) else {
                    return false;
                };
                let is_child = children.contains(id);
                let may = is_child || self.may_get(*id, member, above, feeder, now);
                let stays = is_child && !member.may_change(now);
                let takes = stays || number > 0 && may;
                if takes {
                    number = number.saturating_sub(1);
                    kept.push(*id);
                }
                !takes
            });
            plan.extend(kept.iter().map(|child| (*child, above)));
            next.extend(kept);
        }
        (plan, pool)
    }

    /// Whether it was seen to feed all its children at full speed.
    fn feeds_all(&self, feeder: &Member, now: Duration) -> bool {
        let Some(front) = self.front(now) else {
            return true;
        };
        let children = feeder.children.iter().filter_map(|id| self.members.get(id));
        let rates: Option<f64> = children.map(|child| child.speed(now)).sum();
        let all = front * feeder.children.len() as f64;
        feeder.capacity.is_none() && rates.is_none_or(|sum| sum >= all * CLEARLY)
    }

    /// Finds another feeder for somebody whose feeder holds it up.
    fn help(&mut self, id: TransferId, now: Duration) {
        let Some(child) = self.members.get(&id).filter(|m| m.may_change(now)) else {
            return;
        };
        let Some(Feeder::Member(above)) = child.feeder else {
            return;
        };
        let Some(feeder) = self.members.get(&above) else {
            return;
        };
        if !feeder.complete && feeder.estimate(now) - child.estimate(now) <= SLACK as f64 {
            return self.rescue(id, above, now);
        }
        let settled = now.saturating_sub(feeder.touched) >= SETTLED;
        let Some(need) = self.need(feeder, now).filter(|_| settled) else {
            return;
        };
        let is_slow = now < child.slow_until;
        match self.fares(child, feeder, need, now) {
            Fares::Badly if !is_slow && self.is_alone(feeder, need, now) => {
                self.try_other(id, above, now);
            }
            Fares::Badly | Fares::Well | Fares::Waits | Fares::Unknown => {
                self.balance(id, above, now)
            }
        }
    }

    /// Whether of the children of this feeder one at most fares badly, or some fare well.
    fn is_alone(&self, feeder: &Member, need: f64, now: Duration) -> bool {
        let fares = self.all_fare(feeder, need, now);
        let unknown = fares.contains(&Fares::Unknown);
        fares.len() < 2 || !unknown && fares.contains(&Fares::Well)
    }

    /// It has all that its feeder has, and others have much more.
    fn rescue(&mut self, id: TransferId, above: TransferId, now: Duration) {
        let (Some(child), Some(feeder)) = (self.members.get(&id), self.members.get(&above)) else {
            return;
        };
        let front = self.front(now);
        let is_behind = feeder.done.saturating_add(SLACK) < child.done;
        let is_slow = match (feeder.rate(now), front) {
            (Some(rate), Some(front)) => rate.most < front * CLEARLY,
            (Some(_), None) => true,
            (None, _) => now < feeder.slow_until,
        };
        if !is_behind && !is_slow {
            return;
        }
        let least = feeder.estimate(now) + WORTH.max(2.0 * front.unwrap_or(0.0));
        let best = self.best_where(id, Content::Next, now, |other, member| {
            other != above && member.estimate(now) >= least
        });
        if let Some(rank) = best.filter(|rank| rank.is_good()) {
            self.shift(id, rank.feeder(), now);
        }
    }

    /// It gets little from a feeder that has much: is it the feeder, or itself?
    fn try_other(&mut self, id: TransferId, above: TransferId, now: Duration) {
        let Some(child) = self.members.get(&id) else {
            return;
        };
        let rate = child.rate(now).map_or(0.0, |rate| rate.most);
        let best = self.best_where(id, Content::Next, now, |other, _| other != above);
        let over = self
            .members
            .get(&above)
            .and_then(|feeder| match feeder.feeder? {
                Feeder::Member(over) => Some(over),
                Feeder::Origin => None,
            });
        let over = over.filter(|over| {
            let over = self.members.get(over);
            over.is_some_and(|over| over.children.len() < self.limits.fanout)
        });
        match (best.filter(|rank| rank.is_good()), over) {
            (Some(rank), _) => self.shift(id, rank.feeder(), now),
            (None, Some(over)) => self.shift(id, Feeder::Member(over), now),
            (None, None) => {
                if !child.relays || !self.challenge(above, id, now) {
                    return;
                }
            }
        }
        if let Some(child) = self.members.get_mut(&id) {
            child.trial = Some(Trial {
                before: above,
                rate,
            });
        }
    }

    fn judge_trial(&mut self, id: TransferId, now: Duration) {
        let Some(member) = self.members.get_mut(&id) else {
            return;
        };
        let rate = member.rate(now).filter(|rate| rate.is_sure);
        let Some((trial, rate)) = member.trial.zip(rate) else {
            return;
        };
        if now.saturating_sub(member.changed) < SEEN {
            return;
        }
        member.trial = None;
        if rate.least < trial.rate * BETTER {
            member.is_slow_itself(now);
        } else if let Some(before) = self.members.get_mut(&trial.before) {
            before.weak_until = now + JUDGED;
        }
    }

    /// From a complete feeder with many children to one with few.
    fn balance(&mut self, id: TransferId, above: TransferId, now: Duration) {
        let Some(feeder) = self.members.get(&above).filter(|feeder| feeder.complete) else {
            return;
        };
        let number = feeder.children.len();
        let best = self.best_where(id, Content::Next, now, |other, member| {
            other != above && member.complete && member.children.len() + 1 < number
        });
        if let Some(rank) = best.filter(|rank| rank.class == Class::Complete) {
            self.shift(id, rank.feeder(), now);
        }
    }

    /// The origin feeds nobody, and somebody is far from the end: it helps.
    fn spend_idle_origin(&mut self, now: Duration) {
        if !self.fed.is_empty() {
            return;
        }
        let complete = || self.members.iter().filter(|(_, m)| m.complete);
        let Some(size) = complete().map(|(_, m)| m.done).max() else {
            return;
        };
        let idles = |(id, m): (&TransferId, &Member)| {
            m.relays && m.children.is_empty() && !self.blame.bars(*id, now)
        };
        if complete().any(idles) {
            return;
        }
        let open = self.members.iter().filter(|(_, m)| {
            let left = size.saturating_sub(m.done) as f64;
            let rate = m.rate(now).map_or(f64::INFINITY, |rate| rate.most);
            let is_slow = rate < self.races.best * CLEARLY && left > rate * LONG;
            !m.complete && is_slow && left > WORTH && now >= m.slow_until && m.may_change(now)
        });
        let first = open.max_by_key(|(id, m)| (m.relays, Reverse(m.done), **id));
        if let Some(id) = first.map(|(id, _)| *id) {
            self.shift(id, Feeder::Origin, now);
        }
    }
}
