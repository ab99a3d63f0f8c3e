//! What children say about their feeders, and how much of it is believed.
//!
//! A report moves the child that made it, and keeps it from that feeder: for a while, or for good
//! after a lie. For the others it takes a second child:
//!
//! - Two children that cannot get content from a feeder within [`TOGETHER`]: it is the feeder, not
//!   the way between the two. It rests: nobody new gets it for [`AVOIDED`], and for twice as long
//!   each further time. Those that it feeds well keep it.
//! - Two children that were lied to: the feeder is excluded, for everybody and for good.
//!
//! Nobody can prove a lie, since content is not signed by those who pass it on. So of what one
//! child says only the first [`ACCUSED_MAX`] accusations count, and none of somebody who is
//! excluded: one slanderer throws out nobody, and two together at most that many. Whoever accuses
//! more just does not get those feeders; in the end the origin feeds it, as it would if there were
//! no others.
//!
//! Whoever is accused once is tried: one more child gets it as its feeder. If that is lied to as
//! well, it is the second; if it gets on, the suspicion ends. A lie costs the child one group and
//! a round trip, so the trial is cheap.
//!
//! A child that cannot reach several feeders is cut off from the others itself: it is left to the
//! origin for [`CUT_OFF`], instead of finding it out with each of them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::Trouble;
use crate::protocol::message::TransferId;

/// How long a child is kept from a feeder that it could not reach: time for a program to start
/// again, or for a computer to find its network.
const AVOIDED: Duration = Duration::from_secs(60);
/// Reports of two children within this time are about the same event.
const TOGETHER: Duration = Duration::from_secs(30);
/// How many accusations of one child count.
const ACCUSED_MAX: usize = 3;
/// Who cannot reach so many others, which are there, cannot reach anybody.
const UNREACHED_MAX: usize = 3;
/// For how long nobody but the origin feeds it then.
const CUT_OFF: Duration = Duration::from_secs(600);
/// Most reports of one child that are remembered. With so many, it is left to the origin.
const REPORTS_MAX: usize = 16;
/// How often the time of rest is doubled at most.
const RESTS_MAX: u32 = 6;

/// Who is to be moved away from the feeder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Child,
    Everybody,
}

#[derive(Debug, Default)]
pub(super) struct Blame {
    /// By child; those of each in the order in which they came.
    reports: BTreeMap<TransferId, Vec<Report>>,
    excluded: BTreeSet<TransferId>,
    /// Accused by somebody whose word counts, and not tried yet: what those had that it feeds.
    suspects: BTreeMap<TransferId, BTreeMap<TransferId, u64>>,
    resting: BTreeMap<TransferId, Rest>,
    /// Until when nobody but the origin feeds them.
    cut_off: BTreeMap<TransferId, Duration>,
}

#[derive(Debug, Clone, Copy)]
struct Report {
    feeder: TransferId,
    trouble: Trouble,
    at: Duration,
    /// A lie, but another child was not lied to.
    dismissed: bool,
}

#[derive(Debug, Clone, Copy)]
struct Rest {
    until: Duration,
    times: u32,
    /// Two could not even reach it.
    out_of_reach: bool,
}

impl Report {
    fn is_lie(&self) -> bool {
        self.trouble == Trouble::Lied
    }

    fn holds(&self, now: Duration) -> bool {
        self.is_lie() || now.saturating_sub(self.at) < AVOIDED
    }
}

impl Blame {
    pub(super) fn report(
        &mut self,
        child: TransferId,
        feeder: TransferId,
        trouble: Trouble,
        now: Duration,
    ) -> Verdict {
        self.remember(child, feeder, trouble, now);
        match trouble {
            Trouble::Lied => {
                if self.accusers(feeder) >= 2 {
                    self.excluded.insert(feeder);
                }
                self.suspect();
            }
            Trouble::Gone | Trouble::Slow => self.rest(feeder, now),
            // That is judged elsewhere.
            Trouble::Withheld { .. } => {}
        }
        match self.is_excluded(feeder) {
            true => Verdict::Everybody,
            false => Verdict::Child,
        }
    }

    /// It is not here any more. That nobody could reach it says nothing about those who tried, and
    /// whom it could not reach is another question when it comes back. Lies stay.
    pub(super) fn left(&mut self, member: TransferId) {
        for (child, reports) in &mut self.reports {
            let is_about = |report: &Report| report.feeder == member || *child == member;
            reports.retain(|report| !is_about(report) || report.is_lie());
        }
        if let Some(rest) = self.resting.get_mut(&member) {
            rest.until = Duration::ZERO;
        }
        self.cut_off.remove(&member);
    }

    pub(super) fn expire(&mut self, now: Duration) {
        for reports in self.reports.values_mut() {
            reports.retain(|report| report.holds(now));
        }
        self.reports.retain(|_, reports| !reports.is_empty());
        self.cut_off.retain(|_, until| now < *until);
    }

    pub(super) fn is_excluded(&self, feeder: TransferId) -> bool {
        self.excluded.contains(&feeder)
    }

    /// Whether somebody says that it lies.
    pub(super) fn suspects(&self, feeder: TransferId) -> bool {
        self.suspects.contains_key(&feeder)
    }

    /// All of whom somebody says so.
    pub(super) fn all_suspects(&self) -> Vec<TransferId> {
        self.suspects.keys().copied().collect()
    }

    /// A suspect feeds this child, which has so much. Returns how much it had at first.
    pub(super) fn witness(&mut self, feeder: TransferId, child: TransferId, done: u64) -> u64 {
        let suspect = self.suspects.get_mut(&feeder);
        suspect.map_or(done, |had| *had.entry(child).or_insert(done))
    }

    /// A child got on with this suspect.
    pub(super) fn acquit(&mut self, feeder: TransferId) {
        self.suspects.remove(&feeder);
        for reports in self.reports.values_mut() {
            for report in reports.iter_mut().filter(|r| r.feeder == feeder) {
                report.dismissed = true;
            }
        }
    }

    /// Whether nobody gets this feeder now.
    pub(super) fn bars(&self, feeder: TransferId, now: Duration) -> bool {
        let rests = self.resting.get(&feeder);
        rests.is_some_and(|rest| now < rest.until) || self.is_excluded(feeder)
    }

    /// Those that rest because they could not be reached.
    pub(super) fn out_of_reach(&self, now: Duration) -> impl Iterator<Item = TransferId> {
        let rest = self.resting.iter();
        let away = rest.filter(move |(_, rest)| rest.out_of_reach && now < rest.until);
        away.map(|(id, _)| *id)
    }

    /// Whether this child does not get this feeder now.
    pub(super) fn parts(&self, child: TransferId, feeder: TransferId, now: Duration) -> bool {
        if self.cut_off.get(&child).is_some_and(|until| now < *until) {
            return true;
        }
        let Some(reports) = self.reports.get(&child) else {
            return false;
        };
        let named = |report: &Report| report.feeder == feeder && report.holds(now);
        reports.len() >= REPORTS_MAX || reports.iter().any(named)
    }

    fn remember(&mut self, child: TransferId, feeder: TransferId, trouble: Trouble, now: Duration) {
        let reports = self.reports.entry(child).or_default();
        // What it was accused of once stays.
        if reports.iter().any(|r| r.feeder == feeder && r.is_lie()) {
            return;
        }
        reports.retain(|report| report.feeder != feeder && report.holds(now));
        if reports.len() >= REPORTS_MAX {
            let first = reports.iter().position(|report| !report.is_lie());
            reports.remove(first.unwrap_or(REPORTS_MAX - 1));
        }
        let at = now;
        reports.push(Report {
            feeder,
            trouble,
            at,
            dismissed: false,
        });
        let gone = reports.iter().filter(|r| r.trouble == Trouble::Gone);
        if gone.count() >= UNREACHED_MAX {
            self.cut_off.insert(child, now + CUT_OFF);
        }
    }

    #[cfg(test)]
    pub(super) fn reports_of(&self, child: TransferId) -> usize {
        self.reports.get(&child).map_or(0, Vec::len)
    }

    /// What this child says about lies, as far as its word counts.
    fn accusations(&self, child: TransferId) -> impl Iterator<Item = &Report> {
        let reports = self.reports.get(&child).into_iter().flatten();
        let counts = if self.is_excluded(child) {
            0
        } else {
            ACCUSED_MAX
        };
        reports.filter(|report| report.is_lie()).take(counts)
    }

    fn accusers(&self, feeder: TransferId) -> usize {
        let children = self.reports.keys();
        children
            .filter(|child| {
                self.accusations(**child)
                    .any(|report| report.feeder == feeder)
            })
            .count()
    }

    /// Notes who is accused, and not excluded yet.
    fn suspect(&mut self) {
        let all = self
            .reports
            .keys()
            .flat_map(|child| self.accusations(*child));
        let open = all.filter(|report| !report.dismissed && !self.is_excluded(report.feeder));
        let open: BTreeSet<TransferId> = open.map(|report| report.feeder).collect();
        self.suspects.retain(|feeder, _| open.contains(feeder));
        for feeder in open {
            self.suspects.entry(feeder).or_default();
        }
    }

    /// Lets a feeder rest if a second child cannot get content from it.
    fn rest(&mut self, feeder: TransferId, now: Duration) {
        let of_late = |report: &Report, what: &[Trouble]| {
            let recent = now.saturating_sub(report.at) < TOGETHER;
            report.feeder == feeder && what.contains(&report.trouble) && recent
        };
        let say = |what: &[Trouble]| {
            let children = self.reports.values();
            let saying = children.filter(|r| r.iter().any(|report| of_late(report, what)));
            saying.count()
        };
        let number = say(&[Trouble::Gone, Trouble::Slow]);
        let out_of_reach = say(&[Trouble::Gone]) >= 2;
        let rest = self.resting.get(&feeder);
        if number < 2 || rest.is_some_and(|rest| now < rest.until) {
            return;
        }
        let times = rest.map_or(0, |rest| rest.times);
        let until = now + AVOIDED.saturating_mul(1 << times.min(RESTS_MAX));
        let times = times + 1;
        self.resting.insert(
            feeder,
            Rest {
                until,
                times,
                out_of_reach,
            },
        );
    }
}
