//! Who is fed by the origin.
//!
//! Everything goes through one member, the head, since each member that the origin feeds costs it
//! the size of the files. A slow head holds up everybody, and nobody can tell a slow head from a
//! slow origin by looking at it alone. So for a moment the origin feeds another one too, and the
//! faster of both stays: at the start, and later when there is reason to look again.

use std::time::Duration;

use super::member::Member;
use super::place::{Class, Content};
use super::{Feeder, Tree};
use crate::protocol::message::TransferId;

/// A head that has less than this is still at the start.
const YOUNG_BYTES: u64 = 4 << 20;
const YOUNG: Duration = Duration::from_secs(2);
/// How long a race takes at most, whatever is known then.
const RACE_MAX: Duration = Duration::from_secs(6);
/// After a race, how long until it is clear what the winner does alone.
const ALONE: Duration = Duration::from_millis(2500);
/// The first race without a reason is not before this, each further one after twice the time.
const AGAIN: Duration = Duration::from_secs(4);
/// How much faster somebody must be to replace the head: speeds are measured with some error.
const FASTER: f64 = 1.25;
/// How much slower somebody may be to replace a head that feeds badly.
const AS_FAST: f64 = 0.6;

#[derive(Debug, Default)]
pub(super) struct Races {
    on: Option<Race>,
    held: u32,
    /// When the next may begin. `None`: no reason for one.
    next: Option<Duration>,
    /// When the next head may be doubted.
    next_challenge: Option<Duration>,
    /// What the winner of the last race got in it, and when it ended.
    shared: Option<(f64, Duration)>,
    /// The most that a head got.
    pub(super) best: f64,
}

impl Races {
    pub(super) fn is_on(&self) -> bool {
        self.on.is_some()
    }
}

#[derive(Debug, Clone, Copy)]
struct Race {
    head: TransferId,
    other: TransferId,
    since: Duration,
    /// The head feeds badly: the other one wins unless it is slower.
    doubted: bool,
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

    /// Whether the origin takes this member: usually, or for a race at the start.
    pub(super) fn origin_has_place(&mut self, member: TransferId, now: Duration) -> bool {
        if self.fed.len() < self.origin_usual() {
            return true;
        }
        let head = self.fed.last().copied();
        let Some((id, head)) = head.and_then(|id| Some((id, self.members.get(&id)?))) else {
            return false;
        };
        let is_young = head.done < YOUNG_BYTES && now.saturating_sub(head.changed) < YOUNG;
        let runs = self
            .members
            .get(&member)
            .is_some_and(|member| member.relays);
        let races = is_young && runs && self.may_race();
        if races {
            self.start(id, member, false, now);
        }
        races
    }

    fn may_race(&self) -> bool {
        self.races.on.is_none() && self.fed.len() < self.limits.origin_fanout
    }

    fn start(&mut self, head: TransferId, other: TransferId, doubted: bool, now: Duration) {
        self.races.held += 1;
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
        let may = self.may_race()
            && self.fed.contains(&head)
            && self.races.next_challenge.is_none_or(|next| next <= now);
        if may {
            self.races.next_challenge = Some(self.next_race(now));
            self.start(head, child, true, now);
            self.shift(child, Feeder::Origin, now);
        }
        may
    }

    /// Ends a race, or begins one if there is reason.
    pub(super) fn race(&mut self, now: Duration) {
        if let Some(race) = self.races.on {
            return self.referee(race, now);
        }
        let Some(head) = self.fed.first().and_then(|id| self.members.get(id)) else {
            return;
        };
        if let Some(rate) = head.speed(now) {
            if let Some((shared, ended)) = self.races.shared
                && now.saturating_sub(ended) >= ALONE
            {
                // The winner did not get faster alone: the origin could feed a faster one.
                self.races.shared = None;
                if rate < shared * FASTER {
                    self.races.next = Some(self.next_race(now));
                }
            }
            if rate < self.races.best / 2.0 && self.races.next.is_none() {
                self.races.next = Some(self.next_race(now));
            }
            self.races.best = self.races.best.max(rate);
        }
        let head_since = head.changed;
        if self.races.held == 0 && self.races.next.is_none() {
            self.races.next = Some(head_since + AGAIN);
        }
        if self.races.next.is_some_and(|next| next <= now) {
            self.begin(now);
        }
    }

    fn next_race(&self, now: Duration) -> Duration {
        now + AGAIN.saturating_mul(1 << self.races.held.min(10)) / 4
    }

    fn begin(&mut self, now: Duration) {
        let Some(head) = self.fed.last().copied() else {
            return;
        };
        let front = self.front(now);
        let runners = self.members.iter().filter(|(id, member)| {
            member.relays
                && !member.complete
                && member.feeder != Some(Feeder::Origin)
                && member.may_change(now)
                && now >= member.slow_until.max(member.weak_until)
                && !self.blame.bars(**id, now)
                && front
                    .zip(member.rate(now))
                    .is_none_or(|(front, rate)| rate.most * 2.0 > front)
        });
        let first = runners.min_by_key(|(id, member)| {
            let rtt = member.rtt.unwrap_or(Duration::MAX);
            (member.raced, u64::MAX - member.done, rtt, **id)
        });
        let Some(other) = first.map(|(id, _)| *id).filter(|_| self.may_race()) else {
            return;
        };
        self.races.next = None;
        self.start(head, other, false, now);
        self.shift(other, Feeder::Origin, now);
    }

    fn referee(&mut self, race: Race, now: Duration) {
        let (Some(head), Some(other)) =
            (self.members.get(&race.head), self.members.get(&race.other))
        else {
            return self.finish(None, now);
        };
        if [head, other]
            .iter()
            .any(|m| m.feeder != Some(Feeder::Origin))
        {
            return self.finish(None, now);
        }
        let late = now.saturating_sub(race.since) >= RACE_MAX;
        let (of_head, of_other) = match (head.speed(now), other.speed(now)) {
            (Some(of_head), Some(of_other)) if late || of_head + of_other > 0.0 => {
                (of_head, of_other)
            }
            (of_head, of_other) if late => (of_head.unwrap_or(0.0), of_other.unwrap_or(0.0)),
            _ => return,
        };
        let enough = if race.doubted { AS_FAST } else { FASTER };
        let feeds = |id, m: &Member| m.relays && !self.blame.bars(id, now);
        let is_faster = of_other > 0.0 && of_other >= of_head * enough;
        let other_wins = feeds(race.other, other) && (is_faster || !feeds(race.head, head));
        let (winner, loser) = match other_wins {
            true => ((race.other, of_other), race.head),
            false => ((race.head, of_head), race.other),
        };
        // A head that feeds badly goes at once, even if it has to wait for its new feeder.
        let has = match other_wins && race.doubted {
            true => Content::Any,
            false => Content::Next,
        };
        let place = self.best(loser, has, now);
        let place = place.filter(|rank| rank.class != Class::Poor || rank.id == winner.0);
        if let Some(place) = place {
            let most = self.members.get(&loser).and_then(|m| m.rate(now));
            let is_slow = most.is_some_and(|rate| rate.most < winner.1 / 2.0);
            if let Some(loser) = self.members.get_mut(&loser).filter(|_| is_slow) {
                loser.is_slow_itself(now);
            }
            self.shift(loser, place.feeder(), now);
            self.finish(Some(winner.1), now);
        } else if late {
            self.finish(None, now);
        }
    }

    fn finish(&mut self, rate: Option<f64>, now: Duration) {
        self.races.on = None;
        self.races.shared = rate.map(|rate| (rate, now));
        if rate.is_some() {
            self.races.best = 0.0;
        }
    }
}
