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
/// After so many feeders that made it no faster, it is the child.
const TRIED_MAX: u32 = 3;
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

    /// Notes how many somebody can feed.
    fn measure(&mut self, id: TransferId, now: Duration) {
        let Some(feeder) = self.members.get(&id) else {
            return;
        };
        let children = feeder.children.iter().filter_map(|id| self.members.get(id));
        let sum: f64 = children.filter_map(|child| child.speed(now)).sum();
        let capacity = self.overload(feeder, sum, now).map(|feeds| {
            let less = feeder.children.len().saturating_sub(1).max(1);
            (feeds, ((feeds + 0.2) as usize).clamp(1, less))
        });
        if let Some(feeder) = self.members.get_mut(&id) {
            feeder.uplink = feeder.uplink.max(sum);
            if let Some((feeds, capacity)) = capacity {
                feeder.capacity = Some(capacity);
                self.usual = Some(capacity).filter(|_| feeds >= WEAK).or(self.usual);
            }
        }
    }

    /// How many somebody feeds at full speed, if all its children, two at least, get clearly less.
    fn overload(&self, feeder: &Member, sum: f64, now: Duration) -> Option<f64> {
        let settled = now.saturating_sub(feeder.touched) >= SETTLED;
        let need = self.need(feeder, now).filter(|need| *need > 0.0)?;
        if !settled || feeder.children.len() < 2 {
            return None;
        }
        let fares = self.all_fare(feeder, need, now);
        let all = fares.iter().all(|fares| *fares == Fares::Badly);
        all.then_some(sum / need)
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
        let need = self.front(now).unwrap_or(self.races.best) * CLEARLY;
        let best = |least: f64| {
            self.best_where(id, Content::Next, now, |other, member| {
                other != above && member.uplink >= least
            })
        };
        // Who was seen to feed well tells more about the child than somebody unknown.
        let best = best(need)
            .filter(|rank| rank.is_good())
            .or_else(|| best(0.0));
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
        let Some(member) = self.members.get(&id) else {
            return;
        };
        let rate = member.rate(now).filter(|rate| rate.is_sure);
        let Some((trial, rate)) = member.trial.zip(rate) else {
            return;
        };
        if now.saturating_sub(member.changed) < SEEN {
            return;
        }
        let is_better = rate.least >= trial.rate * BETTER;
        let at_origin = member.feeder == Some(Feeder::Origin) && !self.races.is_on();
        let feeder = match member.feeder {
            Some(Feeder::Member(feeder)) => self.members.get(&feeder),
            Some(Feeder::Origin) | None => None,
        };
        let is_good = feeder.is_some_and(|feeder| feeder.uplink >= 2.0 * rate.most);
        let before = trial.before;
        if let Some(before) = self.members.get_mut(&before).filter(|_| is_better) {
            before.weak_until = now + JUDGED;
        }
        let Some(member) = self.members.get_mut(&id) else {
            return;
        };
        member.trial = None;
        if is_better {
            member.tried = 0;
            return;
        }
        member.tried += 1;
        if at_origin {
            member.is_slow_at_origin(now);
            if let Some(rank) = self.best(id, Content::Next, now) {
                self.shift(id, rank.feeder(), now);
            }
        } else if is_good || member.tried >= TRIED_MAX {
            member.is_slow_itself(now);
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
        let complete = self.members.values().filter(|m| m.complete);
        let Some(size) = complete
            .map(|m| m.done)
            .max()
            .filter(|_| self.fed.is_empty())
        else {
            return;
        };
        let idle = self.idle_uplink();
        let open = self.members.iter().filter(|(_, m)| {
            let left = size.saturating_sub(m.done) as f64;
            let rate = m.rate(now).map_or(f64::INFINITY, |rate| rate.most);
            let is_slow = rate < self.races.best * CLEARLY && left > rate * LONG;
            let tried_others = idle < rate * BETTER || m.tried > 0 || now < m.slow_until;
            let may = m.may_be_helped(now) && now >= m.origin_after;
            !m.complete && is_slow && left > WORTH && tried_others && may
        });
        let first = open.max_by_key(|(id, m)| (m.relays, Reverse(m.done), **id));
        if let Some(id) = first.map(|(id, _)| *id) {
            self.try_origin(id, now);
        }
    }

    /// How fast a complete member that feeds nobody might be able to feed somebody.
    fn idle_uplink(&self) -> f64 {
        let all = self.members.values();
        // One that never fed anybody may be as good as the best.
        let best = all.map(|m| m.uplink).fold(0.0, f64::max);
        let unknown = if best > 0.0 { best } else { f64::INFINITY };
        let idle = self.members.iter().filter(|(id, m)| {
            m.complete && m.relays && m.children.is_empty() && !self.is_excluded(**id)
        });
        let uplinks = idle.map(|(_, m)| if m.uplink > 0.0 { m.uplink } else { unknown });
        uplinks.fold(0.0, f64::max)
    }

    fn try_origin(&mut self, id: TransferId, now: Duration) {
        let Some(member) = self.members.get(&id) else {
            return;
        };
        let rate = member.rate(now).map_or(0.0, |rate| rate.most);
        let before = member.feeder;
        self.shift(id, Feeder::Origin, now);
        if let (Some(Feeder::Member(before)), Some(member)) = (before, self.members.get_mut(&id)) {
            member.trial = Some(Trial { before, rate });
        }
    }
}
