//! Who is fed by the origin.
//!
//! Everything goes through one member, the head, since each member that the origin feeds costs it
//! the size of the files. A slow head holds up everybody, and nobody can tell a slow head from a
//! slow origin by looking at it alone. So for a moment the origin feeds another one too, and the
//! faster of both stays: at the start, and later when there is reason to look again. A race costs
//! the origin half of what it sends meanwhile.

use std::time::Duration;

use super::member::Member;
use super::place::{Class, Content};
use super::{Feeder, Tree};
use crate::protocol::groups::GROUP_LEN;
use crate::protocol::message::TransferId;

/// A head that has less than this is still at the start.
const YOUNG_BYTES: u64 = 4 * GROUP_LEN;
const YOUNG: Duration = Duration::from_secs(2);
/// How much one of both must have got before they are compared.
const ENOUGH: u64 = 4 * GROUP_LEN;
/// How long a race takes at most, whatever is known then.
const RACE_MAX: Duration = Duration::from_secs(6);
/// After a race, how long until it is clear what the winner does alone.
const ALONE: Duration = Duration::from_millis(2500);
/// How long after a race the next may come, at first; after each it is twice as long.
const AGAIN: Duration = Duration::from_secs(2);
/// When a head that never raced has to.
const FIRST: Duration = Duration::from_secs(4);
/// How long after a head was doubted the next may be; after each it is four times as long.
const DOUBT_AGAIN: Duration = Duration::from_secs(8);
/// How much faster somebody must be to replace the head: speeds are measured with some error.
const FASTER: f64 = 1.25;
/// How much of the head's speed somebody must have to replace one that feeds badly.
const AS_FAST: f64 = 0.6;

#[derive(Debug, Default)]
pub(super) struct Races {
    on: Option<Race>,
    held: u32,
    /// When the next may begin. `None`: no reason for one.
    next: Option<Duration>,
    challenges: u32,
    /// When the next head may be doubted.
    next_challenge: Duration,
    /// What the winner of the last race got in it, and when it ended.
    shared: Option<(f64, Duration)>,
    /// The most that the head got since the last race.
    pub(super) best: f64,
}

#[derive(Debug, Clone, Copy)]
struct Race {
    head: TransferId,
    other: TransferId,
    since: Duration,
    /// The head feeds badly: the other one wins unless it is clearly slower.
    doubted: bool,
}

impl Races {
    pub(super) fn is_on(&self) -> bool {
        self.on.is_some()
    }

    fn wait(&self) -> Duration {
        AGAIN.saturating_mul(1 << self.held.saturating_sub(1).min(10))
    }
}

impl Tree {
    /// How many the origin feeds when there is no race.
    pub(super) fn origin_usual(&self) -> usize {
        self.limits.origin_fanout.saturating_sub(1).max(1)
    }

    /// The speed of the fastest that the origin feeds.
    pub(super) fn front(&self, now: Duration) -> Option<f64> {
        let fed = self.fed.iter().filter_map(|id| self.members.get(id));
        fed.filter_map(|member| member.speed(now))
            .max_by(f64::total_cmp)
    }

    /// Whether the origin takes this member: as usual, or for a race at the start.
    pub(super) fn origin_has_place(&mut self, member: TransferId, now: Duration) -> bool {
        if self.fed.len() < self.origin_usual() {
            return true;
        }
        let head = self.fed.last().copied();
        let Some((id, head)) = head.and_then(|id| Some((id, self.members.get(&id)?))) else {
            return false;
        };
        let is_young = head.done < YOUNG_BYTES && now.saturating_sub(head.changed) < YOUNG;
        let other = self.members.get(&member);
        let races = is_young && self.may_race() && other.is_some_and(|other| other.relays);
        if races {
            self.start(id, member, false, now);
        }
        races
    }

    fn may_race(&self) -> bool {
        !self.races.is_on() && self.fed.len() < self.limits.origin_fanout
    }

    fn start(&mut self, head: TransferId, other: TransferId, doubted: bool, now: Duration) {
        self.races.held += 1;
        self.races.next = None;
        self.races.on = Some(Race {
            head,
            other,
            since: now,
            doubted,
        });
        for id in [head, other] {
            if let Some(member) = self.members.get_mut(&id) {
                member.raced += 1;
            }
        }
    }

    /// A child of the head gets little, and nobody else could feed it: it races against its head.
    pub(super) fn challenge(&mut self, head: TransferId, child: TransferId, now: Duration) -> bool {
        let may = self.may_race() && self.fed.contains(&head);
        if !may || now < self.races.next_challenge {
            return false;
        }
        // If the next one feeds as badly, it is the rule here, and no reason to go on.
        let factor = 1 << (2 * self.races.challenges).min(10);
        self.races.next_challenge = now + DOUBT_AGAIN.saturating_mul(factor);
        self.races.challenges += 1;
        self.start(head, child, true, now);
        self.shift(child, Feeder::Origin, now);
        true
    }

    /// Ends a race, or begins one if there is reason.
    pub(super) fn race(&mut self, now: Duration) {
        if let Some(race) = self.races.on {
            return self.referee(race, now);
        }
        let Some(head) = self.fed.first().and_then(|id| self.members.get(id)) else {
            return;
        };
        let mut reason = false;
        if self.races.held == 0 && now.saturating_sub(head.changed) >= FIRST {
            self.races.next.get_or_insert(now);
        }
        if let Some(rate) = head.speed(now) {
            if let Some((shared, ended)) = self.races.shared
                && now.saturating_sub(ended) >= ALONE
            {
                // The winner did not get faster alone: the origin could feed a faster one.
                self.races.shared = None;
                reason = rate < shared * FASTER;
            }
            reason |= rate < self.races.best / 2.0;
            self.races.best = self.races.best.max(rate);
        }
        if reason {
            let wait = self.races.wait();
            self.races.next.get_or_insert(now + wait);
        }
        if self.races.next.is_some_and(|next| next <= now) {
            self.begin(now);
        }
    }

    fn begin(&mut self, now: Duration) {
        let Some(head) = self.fed.last().copied().filter(|_| self.may_race()) else {
            return;
        };
        let front = self.front(now);
        let runners = self.members.iter().filter(|(id, member)| {
            let is_slow = front
                .zip(member.rate(now))
                .is_some_and(|(front, rate)| rate.most < front / 2.0);
            member.relays
                && !is_slow
                && matches!(member.feeder, Some(Feeder::Member(_)))
                && member.may_change(now)
                && now >= member.slow_until.max(member.weak_until)
                && !self.is_barred(**id, now)
        });
        let first = runners.min_by_key(|(id, member)| {
            let rtt = member.rtt.unwrap_or(Duration::MAX);
            (member.raced, u64::MAX - member.done, rtt, **id)
        });
        if let Some(other) = first.map(|(id, _)| *id) {
            self.start(head, other, false, now);
            self.shift(other, Feeder::Origin, now);
        }
    }

    /// Somebody made progress: if it races, this may decide it.
    pub(super) fn passes(&mut self, id: TransferId, now: Duration) {
        if let Some(race) = self.races.on
            && (race.head == id || race.other == id)
        {
            self.referee(race, now);
        }
    }

    fn referee(&mut self, race: Race, now: Duration) {
        let runners = (self.members.get(&race.head), self.members.get(&race.other));
        let (Some(head), Some(other)) = runners else {
            return self.finish(None, now);
        };
        if [head, other]
            .iter()
            .any(|m| m.feeder != Some(Feeder::Origin))
        {
            return self.finish(None, now);
        }
        let late = now.saturating_sub(race.since) >= RACE_MAX;
        let is_far = head.pace.got().max(other.pace.got()) >= ENOUGH;
        let lap = |member: &Member| member.pace.lap(now);
        let (of_head, of_other) = match lap(head).zip(lap(other)).filter(|_| is_far) {
            Some(rates) => rates,
            None if late => (lap(head).unwrap_or(0.0), lap(other).unwrap_or(0.0)),
            None => return,
        };
        let least = if race.doubted { AS_FAST } else { FASTER };
        let feeds = |id, m: &Member| m.relays && !self.is_barred(id, now);
        let is_faster = of_other > 0.0 && of_other >= of_head * least;
        let other_wins = feeds(race.other, other) && (is_faster || !feeds(race.head, head));
        let (winner, rate, loser) = match other_wins {
            true => (race.other, of_other, race.head),
            false => (race.head, of_head, race.other),
        };
        // A head that feeds badly goes at once, even if it has to wait for its new feeder.
        let has = match other_wins && race.doubted {
            true => Content::Any,
            false => Content::Next,
        };
        let place = self.best(loser, has, now);
        let place = place.filter(|rank| rank.class != Class::Poor || rank.id == winner);
        if let Some(place) = place {
            let lost = self.members.get_mut(&loser);
            let is_slow = |m: &&mut Member| m.rate(now).is_some_and(|r| r.most < rate / 2.0);
            if let Some(loser) = lost.filter(is_slow) {
                loser.is_slow_at_origin(now);
            }
            self.shift(loser, place.feeder(), now);
            self.finish(Some(rate), now);
        } else if late {
            self.finish(None, now);
        }
    }

    fn finish(&mut self, rate: Option<f64>, now: Duration) {
        self.races.on = None;
        self.races.shared = rate.map(|rate| (rate, now));
        self.races.best = rate.unwrap_or(self.races.best);
    }

    /// Gives away whom the origin feeds beyond its usual number.
    pub(super) fn relieve_origin(&mut self, now: Duration) {
        while self.fed.len() > self.origin_usual() && !self.races.is_on() {
            let mut fed = self.fed.clone();
            fed.sort_by_key(|id| {
                let member = self.members.get(id);
                member.map(|m| (m.relays && !self.is_barred(*id, now), m.done))
            });
            let place = fed.into_iter().find_map(|id| {
                let may = self.members.get(&id)?.may_change(now);
                let best = self.best(id, Content::Next, now).filter(|_| may)?;
                Some((id, best.feeder()))
            });
            let Some((member, feeder)) = place else {
                return;
            };
            self.shift(member, feeder, now);
        }
    }
}
