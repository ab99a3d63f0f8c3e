//! What the tree knows of one member.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use super::Feeder;
use crate::protocol::groups::GROUP_LEN;
use crate::protocol::message::TransferId;

/// How long a member keeps its feeder at least, unless there is trouble with it. Twice as long
/// after each change without trouble, up to [`HOLD_MAX`], so that changes die out.
const HOLD_MIN: Duration = Duration::from_secs(2);
const HOLD_MAX: Duration = Duration::from_secs(64);
/// For how long a judgment about somebody's speed holds.
pub(super) const JUDGED: Duration = Duration::from_secs(60);
/// After a change of feeder, reports may still be about the one before for so long.
const HANDOVER: Duration = Duration::from_millis(2500);
/// Over how long speed is measured: a few reports, each with whole groups of 1 MiB.
const WINDOW: Duration = Duration::from_secs(3);
/// Less than this says nothing about speed.
const WINDOW_MIN: Duration = Duration::from_millis(800);
/// The same for two that are compared with each other, when one has got much already.
const LAP_MIN: Duration = Duration::from_millis(350);
/// So many bytes, or so long, tell a speed well enough for a judgment that lasts.
const SURE_BYTES: u64 = 4 * GROUP_LEN;
const SURE: Duration = Duration::from_secs(15);
/// So many feeders may give somebody nothing, one after the other, before the origin does.
const STARVED_MAX: usize = 3;
/// Most reports that are remembered.
const SAMPLES_MAX: usize = 32;
/// Reports that are closer together count as one.
const SAMPLE_GAP: Duration = Duration::from_millis(300);

#[derive(Debug)]
pub(super) struct Member {
    pub(super) relays: bool,
    pub(super) complete: bool,
    pub(super) done: u64,
    /// `None` only if complete.
    pub(super) feeder: Option<Feeder>,
    /// The feeder that it knows of.
    pub(super) told: Option<Feeder>,
    pub(super) children: Vec<TransferId>,
    /// Steps from somebody who has everything.
    pub(super) depth: usize,
    pub(super) rtt: Option<Duration>,
    /// When its feeder changed last.
    pub(super) changed: Duration,
    /// Who fed it before, and until when.
    pub(super) before: Option<(TransferId, Duration)>,
    /// Until when it is to find out whether its feeder gives anything.
    pub(super) tries_until: Duration,
    /// When it got something from this feeder last, as far as that is certain.
    pub(super) fed_at: Option<Duration>,
    /// When it was moved last without trouble.
    pub(super) shifted: Duration,
    /// When it got or lost a child last.
    pub(super) touched: Duration,
    /// How it goes under this feeder, with these siblings.
    pub(super) pace: Pace,
    /// How many it can feed, as measured.
    pub(super) capacity: Option<usize>,
    /// Until when it counts as somebody who cannot feed even one.
    pub(super) weak_until: Duration,
    /// Until when it counts as slow whoever feeds it.
    pub(super) slow_until: Duration,
    found_slow: u32,
    /// Before when the origin does not try to feed it.
    pub(super) origin_after: Duration,
    /// How many other feeders made it no faster.
    pub(super) tried: u32,
    /// The most that its children got from it together, in bytes a second.
    pub(super) uplink: f64,
    /// The change of feeder whose effect is still to be seen.
    pub(super) trial: Option<Trial>,
    /// How often it was moved without trouble.
    pub(super) moves: u32,
    /// How often it raced for the place at the origin.
    pub(super) raced: u32,
    /// Those who gave it nothing, one after the other, since it got something.
    starved_by: BTreeSet<TransferId>,
}

/// A member was moved because it was slow: was it its feeder, or itself?
#[derive(Debug, Clone, Copy)]
pub(super) struct Trial {
    pub(super) before: TransferId,
    pub(super) rate: f64,
}

impl Member {
    pub(super) fn new(relays: bool, done: u64, now: Duration) -> Self {
        Self {
            relays,
            complete: false,
            done,
            feeder: None,
            told: None,
            children: Vec::new(),
            depth: 0,
            rtt: None,
            changed: now,
            before: None,
            tries_until: Duration::ZERO,
            fed_at: None,
            shifted: now,
            touched: now,
            pace: Pace::default(),
            capacity: None,
            weak_until: Duration::ZERO,
            slow_until: Duration::ZERO,
            found_slow: 0,
            origin_after: Duration::ZERO,
            tried: 0,
            uplink: 0.0,
            trial: None,
            moves: 0,
            raced: 0,
            starved_by: BTreeSet::new(),
        }
    }

    pub(super) fn progress(&mut self, done: u64, now: Duration) {
        if done > self.done {
            self.starved_by.clear();
        }
        if done < self.done {
            // It lost something: no speed.
            self.pace = Pace::default();
        }
        self.done = done;
        self.pace.note(done, now);
    }

    /// It got something. Just after a change that may be from the feeder before.
    pub(super) fn is_fed(&mut self, now: Duration) {
        if now.saturating_sub(self.changed) >= HANDOVER {
            self.fed_at = Some(now);
        }
    }

    /// Its feeder gave it nothing. Whether that were enough, one after the other.
    pub(super) fn starves(&mut self, feeder: TransferId) -> bool {
        if self.starved_by.len() < STARVED_MAX {
            self.starved_by.insert(feeder);
        }
        self.starved_by.len() >= STARVED_MAX
    }

    /// This one has left: what it gave counts no more.
    pub(super) fn forget(&mut self, feeder: TransferId) {
        self.starved_by.remove(&feeder);
    }

    /// Forgets how it went: it has another feeder or other siblings.
    pub(super) fn restart_pace(&mut self, now: Duration) {
        // Not what it had in its last report: what came since came at the old speed.
        let done = match self.complete {
            true => self.done,
            false => self.estimate(now) as u64,
        };
        self.pace = Pace::default();
        self.pace.note(done, now);
    }

    /// Whether it kept its feeder long enough to get another one without need.
    pub(super) fn may_change(&self, now: Duration) -> bool {
        let hold = HOLD_MIN
            .saturating_mul(1 << self.moves.min(8))
            .min(HOLD_MAX);
        self.may_be_helped(now) && now.saturating_sub(self.shifted) >= hold
    }

    /// The same, for a feeder that makes it faster for sure.
    pub(super) fn may_be_helped(&self, now: Duration) -> bool {
        now.saturating_sub(self.changed) >= HOLD_MIN && now >= self.tries_until
    }

    /// How fast it is, if it is known.
    pub(super) fn rate(&self, now: Duration) -> Option<Rate> {
        self.pace.rate_after(WINDOW_MIN, now)
    }

    /// The least speed that it has, if it is known.
    pub(super) fn speed(&self, now: Duration) -> Option<f64> {
        self.pace.rate_after(WINDOW_MIN, now).map(|rate| rate.least)
    }

    /// Notes that it is slow whoever feeds it. Longer each time.
    pub(super) fn is_slow_itself(&mut self, now: Duration) {
        self.found_slow += 1;
        let long = JUDGED.saturating_mul(1 << self.found_slow.min(8));
        self.slow_until = now + long;
        self.tried = 0;
    }

    /// The same, seen at the origin: that does not try again soon.
    pub(super) fn is_slow_at_origin(&mut self, now: Duration) {
        self.is_slow_itself(now);
        self.origin_after = self.slow_until;
    }

    /// What it probably has now: reports are old.
    pub(super) fn estimate(&self, now: Duration) -> f64 {
        match (self.complete, self.pace.lap(now)) {
            (true, _) => f64::INFINITY,
            (_, None) => self.done as f64,
            (_, Some(rate)) => self.done as f64 + rate * self.pace.age(now),
        }
    }
}

/// How fast somebody gets content: its last reports.
#[derive(Debug, Default)]
pub(super) struct Pace(VecDeque<(Duration, u64)>);

/// A measured speed, in bytes a second. Content comes in groups, so that it is not exact: within
/// a short time, nothing may mean that one group is almost there.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Rate {
    pub(super) least: f64,
    pub(super) most: f64,
    /// Whether both are close together, or as close as they get.
    pub(super) is_sure: bool,
}

impl Pace {
    fn note(&mut self, done: u64, now: Duration) {
        let before = self.0.len().checked_sub(2).and_then(|n| self.0.get(n));
        if before.is_some_and(|(at, _)| now.saturating_sub(*at) < SAMPLE_GAP) {
            self.0.pop_back();
        }
        self.0.push_back((now, done));
        while let Some((at, had)) = self.0.get(1).copied() {
            let is_enough =
                now.saturating_sub(at) >= WINDOW && done.saturating_sub(had) >= SURE_BYTES;
            if !is_enough && self.0.len() <= SAMPLES_MAX {
                break;
            }
            self.0.pop_front();
        }
    }

    /// The least speed, as soon as there is one to speak of.
    pub(super) fn lap(&self, now: Duration) -> Option<f64> {
        self.rate_after(LAP_MIN, now).map(|rate| rate.least)
    }

    /// How many bytes came.
    pub(super) fn got(&self) -> u64 {
        let ends = self.0.front().zip(self.0.back());
        ends.map_or(0, |((_, first), (_, last))| last.saturating_sub(*first))
    }

    fn rate_after(&self, least: Duration, now: Duration) -> Option<Rate> {
        let (from, first) = self.0.front()?;
        let (until, last) = self.0.back()?;
        // Silence counts: who does not report does not get on.
        let until = (*until).max(now.saturating_sub(WINDOW));
        let span = until.saturating_sub(*from);
        let got = last.saturating_sub(*first);
        (span >= least).then(|| Rate {
            least: got as f64 / span.as_secs_f64(),
            most: (got + GROUP_LEN) as f64 / span.as_secs_f64(),
            is_sure: got >= SURE_BYTES || span >= SURE,
        })
    }

    fn age(&self, now: Duration) -> f64 {
        let last = self.0.back().map_or(now, |(at, _)| *at);
        now.saturating_sub(last)
            .min(Duration::from_secs(1))
            .as_secs_f64()
    }
}
