//! Another feeder for those who could get more from it. Each such change is rare, and rarer for
//! whom it hit before.

use std::cmp::Reverse;
use std::time::Duration;

use super::adapt::{CLEARLY, Fares, SETTLED};
use super::member::{JUDGED, Member, Rate, Trial};
use super::place::{Class, Content, SLACK};
use super::{Feeder, Tree, Trouble};
use crate::protocol::groups::GROUP_LEN;
use crate::protocol::message::TransferId;

/// After which time a change shows its effect.
const SEEN: Duration = Duration::from_millis(2500);
/// Who gets so many times as much from another feeder was held up by the one before.
const BETTER: f64 = 1.5;
/// After so many feeders that made it no faster, it is the child.
const TRIED_MAX: u32 = 3;
/// What a change must win at least, in bytes.
const WORTH: f64 = 8.0 * GROUP_LEN as f64;
/// Who passes on so much to another child does not lie, as far as anybody can tell.
const ACQUITTED: u64 = 2 * GROUP_LEN;
/// Who gets nothing at all for so long gets nothing from this feeder.
const NOTHING: Duration = Duration::from_secs(10);
/// So long one waits at most for a feeder of which it is to find out whether it gives anything: a
/// connection, and what a child needs to see that nothing comes.
const TRIED: Duration = Duration::from_secs(10);
/// Who gave something to another child so short a time ago gives.
const GIVES: Duration = Duration::from_secs(4);
/// Seconds to the end that make it worth the origin's while to help.
const LONG: f64 = 5.0;

impl Tree {
    /// Finds another feeder for somebody whose feeder holds it up.
    pub(super) fn help(&mut self, id: TransferId, now: Duration) {
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

    /// A child gets nothing of what its feeder has. It gets another one if there is a better one,
    /// and any other if it says so for a while.
    pub(super) fn withheld(
        &mut self,
        id: TransferId,
        above: TransferId,
        trouble: Trouble,
        now: Duration,
    ) {
        let is_fed = self.is_fed_by(id, above);
        if self.is_excluded(id) || self.gives(above, id, now) {
            if is_fed {
                self.complain(id, above, Trouble::Slow, now);
            }
            return;
        }
        let denied = matches!(trouble, Trouble::Withheld { denied: true, .. });
        let lasts = self.doubts.mark(id, above, denied, now);
        let starves = is_fed && self.starves(id, above);
        if self.doubts.judge(above, now) {
            let children = self.children_of(above).to_vec();
            self.place_all(children, now);
        } else if is_fed {
            self.doubt(id, above, trouble, lasts, now);
        }
        if starves && self.feeder_of(id) != Some(Feeder::Origin) {
            self.try_origin(id, now);
        }
    }

    /// One child alone says so: it may get another feeder.
    fn doubt(
        &mut self,
        id: TransferId,
        above: TransferId,
        trouble: Trouble,
        lasts: bool,
        now: Duration,
    ) {
        let tries = self.members.get(&id).is_some_and(|m| now < m.tries_until);
        self.complain(id, above, trouble, now);
        if (lasts || tries) && self.is_fed_by(id, above) {
            self.blame.report(id, above, trouble, now);
            self.place(id, now);
        }
        if !self.is_fed_by(id, above) {
            self.doubts.made_leave(id, above);
        }
    }

    /// Whether so many have given it nothing that it is not to try yet another one, of whom there
    /// may be many, while the origin has time.
    fn starves(&mut self, id: TransferId, above: TransferId) -> bool {
        let child = self.members.get_mut(&id);
        child.is_some_and(|child| child.starves(above))
    }

    /// Whether somebody else than this child got something from this feeder a moment ago.
    fn gives(&self, feeder: TransferId, but: TransferId, now: Duration) -> bool {
        let children = self.children_of(feeder).iter().filter(|id| **id != but);
        let mut fed = children.filter_map(|id| self.members.get(id)?.fed_at);
        fed.any(|at| now.saturating_sub(at) < GIVES)
    }

    /// A child says that its feeder is slow. It gets another one if that may help, and only then:
    /// who is slow itself finds every feeder slow.
    pub(super) fn complain(
        &mut self,
        id: TransferId,
        above: TransferId,
        trouble: Trouble,
        now: Duration,
    ) {
        if trouble == Trouble::Slow
            && let Some(child) = self.members.get_mut(&id)
        {
            // That is what it was to find out.
            child.tries_until = Duration::ZERO;
        }
        let child = self.members.get(&id);
        if child.is_some_and(|m| m.may_change(now) && now >= m.slow_until && m.trial.is_none()) {
            self.try_other(id, above, now);
        }
        let nothing = self.gets_nothing(id, above, now);
        if nothing || self.feeder_of(id) != Some(Feeder::Member(above)) {
            self.blame.report(id, above, trouble, now);
        }
        if nothing {
            let starves = self.starves(id, above);
            match self.best(id, Content::Next, now).filter(|_| !starves) {
                Some(rank) => self.shift(id, rank.feeder(), now),
                None => self.try_origin(id, now),
            }
        }
    }

    /// Whether its feeder keeps from it what it has, and nobody good is there instead.
    fn gets_nothing(&self, id: TransferId, above: TransferId, now: Duration) -> bool {
        let (Some(child), Some(feeder)) = (self.members.get(&id), self.members.get(&above)) else {
            return false;
        };
        child.feeder == Some(Feeder::Member(above))
            && now.saturating_sub(child.changed) >= NOTHING
            && child.may_change(now)
            && now >= child.origin_after
            && child.pace.got() == 0
            && feeder.estimate(now) > child.estimate(now) + SLACK as f64
    }

    /// Whether of the children of this feeder one at most fares badly, or some fare well.
    fn is_alone(&self, feeder: &Member, need: f64, now: Duration) -> bool {
        let fares = self.all_fare(feeder, need, now);
        let unknown = fares.contains(&Fares::Unknown);
        fares.len() < 2 || !unknown && fares.contains(&Fares::Well)
    }

    /// Whether somebody has nothing left for another child, or nobody knows.
    fn is_strained(&self, feeder: &Member, now: Duration) -> bool {
        let mut children = feeder.children.iter().filter_map(|id| self.members.get(id));
        let front = self.front(now).unwrap_or(self.races.best);
        let is_full = |rate: Rate| rate.most >= front * CLEARLY;
        !children.all(|child| child.rate(now).is_some_and(is_full))
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
            other != above && member.estimate(now) >= least && !self.is_strained(member, now)
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
                other != above && member.uplink >= least && !self.is_strained(member, now)
            })
        };
        // Who was seen to feed well tells more about the child than somebody unknown.
        let best = best(need)
            .filter(|rank| rank.is_good())
            .or_else(|| best(0.0));
        let over = match self.feeder_of(above) {
            Some(Feeder::Member(over)) => Some(over),
            Some(Feeder::Origin) | None => None,
        };
        let over = over.filter(|over| {
            self.members.get(over).is_some_and(|feeder| {
                feeder.children.len() < self.limits.fanout
                    && self.may_get(id, child, *over, feeder, now)
            })
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

    pub(super) fn judge_trial(&mut self, id: TransferId, now: Duration) {
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

    /// Finds out whether those lie of whom one child says so.
    pub(super) fn try_suspects(&mut self, now: Duration) {
        for suspect in self.blame.all_suspects() {
            let children = self.children_of(suspect).to_vec();
            let gets_on = children.iter().any(|id| {
                let done = self.members.get(id).map_or(0, |m| m.done);
                done >= self.blame.witness(suspect, *id, done) + ACQUITTED
            });
            if gets_on {
                self.blame.acquit(suspect);
            } else if children.is_empty()
                && let Some(juror) = self.juror(suspect, now, |_| true)
            {
                self.shift(juror, Feeder::Member(suspect), now);
            }
        }
    }

    /// Finds out whether those withhold what they have of whom one child says so.
    pub(super) fn try_doubted(&mut self, now: Duration) {
        for (feeder, since) in self.doubts.all_open(now) {
            let children = self.children_of(feeder);
            let mut fed = children
                .iter()
                .filter_map(|id| self.members.get(id)?.fed_at);
            if fed.any(|at| at > since) {
                self.doubts.acquit(feeder);
            } else if children.is_empty() {
                self.send_to_try(feeder, now);
            }
        }
    }

    /// Has somebody find out. It costs seconds, so that nobody may wait for the one who does it.
    fn send_to_try(&mut self, feeder: TransferId, now: Duration) {
        let may_try = |id| self.children_of(id).is_empty() && self.doubts.may_try(id, feeder);
        let Some(juror) = self.juror(feeder, now, may_try) else {
            return;
        };
        self.doubts.begin_trial(juror, feeder);
        self.shift(juror, Feeder::Member(feeder), now);
        if let Some(juror) = self.members.get_mut(&juror) {
            juror.tries_until = now + TRIED;
        }
    }

    /// Somebody on whom little depends, to be fed by a suspect.
    fn juror(
        &self,
        suspect: TransferId,
        now: Duration,
        may_try: impl Fn(TransferId) -> bool,
    ) -> Option<TransferId> {
        let feeder = self.members.get(&suspect)?;
        let above = self.above(suspect);
        let may = self.members.iter().filter(|(id, member)| {
            matches!(member.feeder, Some(Feeder::Member(_)))
                && !above.contains(id)
                && may_try(**id)
                && self.may_get(**id, member, suspect, feeder, now)
        });
        let first = may.min_by_key(|(id, member)| {
            let feeds = !member.children.is_empty();
            (feeds, Reverse(member.depth), member.moves, **id)
        });
        first.map(|(id, _)| *id)
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
    pub(super) fn spend_idle_origin(&mut self, now: Duration) {
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
