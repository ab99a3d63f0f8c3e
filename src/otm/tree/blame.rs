//! What children say about their feeders, and how much of it is believed.
//!
//! A report moves the child that made it, and keeps it from that feeder: for a while, or for good
//! after a lie. For the others it takes a second child:
//!
//! - Two children that cannot get content from a feeder within [`TOGETHER`]: it is the feeder, not
//!   the way between the two. It rests: nobody new gets it for [`AVOIDED`].
//! - Two children that were lied to: the feeder is excluded, for everybody and for good.
//!
//! Nobody can prove a lie, since content is not signed by those who pass it on. So a child that
//! accuses more than [`UNPROVEN_MAX`] feeders that no other child accuses is not believed any
//! more: its accusations count for nothing, and it has to live with the feeders it named. One
//! slanderer can throw out nobody; two together at most [`UNPROVEN_MAX`] each.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::Trouble;
use crate::protocol::message::TransferId;

/// How long a child is kept from a feeder that it could not reach.
const AVOIDED: Duration = Duration::from_secs(60);
/// Reports of two children within this time are about the same event.
const TOGETHER: Duration = Duration::from_secs(30);
/// Most feeders that a child accuses of lies alone, and is believed.
const UNPROVEN_MAX: usize = 3;
/// Most reports of one child that are remembered; the oldest makes room.
const REPORTS_MAX: usize = 16;

/// Who is to be moved away from the feeder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Child,
    Everybody,
}

#[derive(Debug, Default)]
pub(super) struct Blame {
    /// By child.
    reports: BTreeMap<TransferId, Vec<Report>>,
    excluded: BTreeSet<TransferId>,
    /// Until when.
    resting: BTreeMap<TransferId, Duration>,
}

#[derive(Debug, Clone, Copy)]
struct Report {
    feeder: TransferId,
    trouble: Trouble,
    at: Duration,
}

impl Report {
    fn holds(&self, now: Duration) -> bool {
        self.trouble == Trouble::Lied || now.saturating_sub(self.at) < AVOIDED
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
        let reports = self.reports.entry(child).or_default();
        reports.retain(|report| report.feeder != feeder);
        if reports.len() >= REPORTS_MAX {
            reports.remove(0);
        }
        let at = now;
        reports.push(Report {
            feeder,
            trouble,
            at,
        });
        match trouble {
            Trouble::Lied if self.accusers(feeder) >= 2 => {
                self.excluded.insert(feeder);
                Verdict::Everybody
            }
            Trouble::Lied => Verdict::Child,
            Trouble::Gone | Trouble::Slow => {
                if self.unserved(feeder, now) >= 2 {
                    self.resting.insert(feeder, now + AVOIDED);
                }
                Verdict::Child
            }
        }
    }

    pub(super) fn expire(&mut self, now: Duration) {
        for reports in self.reports.values_mut() {
            reports.retain(|report| report.holds(now));
        }
        self.reports.retain(|_, reports| !reports.is_empty());
        self.resting.retain(|_, until| now < *until);
    }

    pub(super) fn is_excluded(&self, feeder: TransferId) -> bool {
        self.excluded.contains(&feeder)
    }

    /// Whether somebody says that it lies.
    pub(super) fn suspects(&self, feeder: TransferId) -> bool {
        self.accusers(feeder) > 0
    }

    /// Whether nobody gets this feeder now.
    pub(super) fn bars(&self, feeder: TransferId, now: Duration) -> bool {
        let rests = self.resting.get(&feeder).is_some_and(|until| now < *until);
        rests || self.is_excluded(feeder)
    }

    /// Whether this child does not get this feeder now.
    pub(super) fn parts(&self, child: TransferId, feeder: TransferId, now: Duration) -> bool {
        let Some(reports) = self.reports.get(&child) else {
            return false;
        };
        let named = |report: &Report| report.feeder == feeder && report.holds(now);
        reports.len() >= REPORTS_MAX || reports.iter().any(named)
    }

    /// Whether what it says about lies counts.
    fn is_believed(&self, child: TransferId) -> bool {
        let unproven =
            |report: &&Report| report.trouble == Trouble::Lied && !self.is_excluded(report.feeder);
        let reports = self.reports.get(&child).into_iter().flatten();
        !self.is_excluded(child) && reports.filter(unproven).count() <= UNPROVEN_MAX
    }

    fn accusers(&self, feeder: TransferId) -> usize {
        let accuses = |report: &Report| report.feeder == feeder && report.trouble == Trouble::Lied;
        let children = self.reports.iter();
        children
            .filter(|(child, reports)| reports.iter().any(accuses) && self.is_believed(**child))
            .count()
    }

    fn unserved(&self, feeder: TransferId, now: Duration) -> usize {
        let recent = |report: &Report| {
            report.feeder == feeder
                && report.trouble != Trouble::Lied
                && now.saturating_sub(report.at) < TOGETHER
        };
        let children = self.reports.values();
        children
            .filter(|reports| reports.iter().any(recent))
            .count()
    }
}
