//! Who does not pass on what it has.
//!
//! A child says that its feeder is there and gives it nothing, and the origin knows that the
//! feeder has what the child wants: then one of both does not do what it should, or something is
//! wrong between them. As with lies (see `blame`), it takes two children:
//!
//! - Two who got nothing from the same feeder, within [`KEPT`], and not only for one moment in
//!   which its disk may have woken up: it withholds. It feeds nobody for [`BARRED`], and for twice
//!   as long each further time; then it may try again.
//! - Whoever is named by one is tried by another, who has not tried it yet, and at most by
//!   [`TRIALS_MAX`]. If that gets on, the first word counts no more. Neither does any word while
//!   the feeder gives to others.
//! - Of what one child says only [`MARKS_MAX`] words count at a time, and none of somebody who is
//!   excluded: one alone bars nobody, and two together at most so many.
//!
//! Whom nobody can reach, and whoever is only slow, does not come here.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::protocol::message::TransferId;

/// For how long a word counts.
const KEPT: Duration = Duration::from_secs(600);
/// How long one that withholds is nobody's feeder.
const BARRED: Duration = Duration::from_secs(600);
/// How often that is doubled at most.
const TIMES_MAX: u32 = 6;
/// So far apart are the words of a child, or of two, that are more than one moment.
const LASTING: Duration = Duration::from_secs(4);
/// How many are sent to find out about one feeder: it costs each of them some seconds, and those
/// with an old program have no word for it.
const TRIALS_MAX: usize = 2;
/// How many feeders one child's words are about at a time.
const MARKS_MAX: usize = 3;

#[derive(Debug, Default)]
pub(super) struct Doubts {
    /// By child.
    marks: BTreeMap<TransferId, Vec<Mark>>,
    /// By feeder: who was sent to find out.
    tried: BTreeMap<TransferId, BTreeSet<TransferId>>,
    /// Who withholds, or did.
    found: BTreeMap<TransferId, Found>,
}

/// A child got nothing from a feeder that has what it wants.
#[derive(Debug, Clone, Copy)]
struct Mark {
    feeder: TransferId,
    first: Duration,
    last: Duration,
    /// The feeder said that it has not got what was asked for: that is no moment that passes.
    denied: bool,
    /// The feeder gave to others.
    dismissed: bool,
    /// The child was given another feeder for it.
    left: bool,
}

impl Mark {
    /// Whether it is about more than one moment.
    fn lasts(&self) -> bool {
        self.denied || self.last.saturating_sub(self.first) >= LASTING
    }
}

/// What one child says of a feeder, and what counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Doubt {
    pub(super) child: TransferId,
    pub(super) feeder: TransferId,
    /// Whether that is more than one moment, or made the child leave.
    pub(super) is_more: bool,
}

#[derive(Debug, Clone, Copy)]
struct Found {
    until: Duration,
    times: u32,
    /// All were told that it has not got it: its person may have moved the files away.
    denies: bool,
}

impl Doubts {
    /// A child says so. Whether that is more than one moment: it has said it for a while, or the
    /// feeder has `denied` it everything.
    pub(super) fn mark(
        &mut self,
        child: TransferId,
        feeder: TransferId,
        denied: bool,
        now: Duration,
    ) -> bool {
        let marks = self.marks.entry(child).or_default();
        if let Some(mark) = marks.iter_mut().find(|mark| mark.feeder == feeder) {
            if std::mem::take(&mut mark.dismissed) {
                (mark.first, mark.denied) = (now, false);
            }
            mark.denied |= denied;
            mark.last = now;
            return mark.lasts();
        }
        if marks.len() < MARKS_MAX {
            marks.push(Mark {
                feeder,
                first: now,
                last: now,
                denied,
                dismissed: false,
                left: false,
            });
        }
        denied
    }

    /// The child was given another feeder because of what it said.
    pub(super) fn made_leave(&mut self, child: TransferId, feeder: TransferId) {
        let marks = self.marks.get_mut(&child).into_iter().flatten();
        for mark in marks.filter(|mark| mark.feeder == feeder) {
            mark.left = true;
        }
    }

    /// Whether that is enough to say that the feeder withholds.
    pub(super) fn judge(&mut self, feeder: TransferId, now: Duration) -> bool {
        if self.withholds(feeder, now) {
            return true;
        }
        let about: Vec<&Mark> = self.about(feeder).collect();
        let first = about.iter().map(|mark| mark.first).min();
        let last = about.iter().map(|mark| mark.last).max();
        let span = first
            .zip(last)
            .map(|(first, last)| last.saturating_sub(first));
        let lasts = span.is_some_and(|span| span >= LASTING);
        let denies = about.iter().all(|mark| mark.denied);
        if about.len() < 2 || !lasts && !denies {
            return false;
        }
        let times = self.found.get(&feeder).map_or(0, |found| found.times);
        let until = now + BARRED.saturating_mul(1 << times.min(TIMES_MAX));
        let found = Found {
            until,
            times: times + 1,
            denies,
        };
        self.found.insert(feeder, found);
        true
    }

    /// The feeder gives to somebody: what was said of it counts no more.
    pub(super) fn acquit(&mut self, feeder: TransferId) {
        let all = self.marks.values_mut().flatten();
        for mark in all.filter(|mark| mark.feeder == feeder) {
            mark.dismissed = true;
        }
    }

    /// Nothing counts any more that this one has said.
    pub(super) fn disbelieve(&mut self, child: TransferId) {
        self.marks.remove(&child);
    }

    pub(super) fn expire(&mut self, now: Duration) {
        for marks in self.marks.values_mut() {
            marks.retain(|mark| now.saturating_sub(mark.last) < KEPT);
        }
        self.marks.retain(|_, marks| !marks.is_empty());
        let open: BTreeSet<TransferId> = self.all_open(now).iter().map(|(id, _)| *id).collect();
        self.tried.retain(|feeder, _| open.contains(feeder));
    }

    /// Whether nobody gets it as a feeder now.
    pub(super) fn withholds(&self, feeder: TransferId, now: Duration) -> bool {
        let found = self.found.get(&feeder);
        found.is_some_and(|found| now < found.until)
    }

    /// All of whom that is so, and whether they denied to have it.
    pub(super) fn all_found(&self, now: Duration) -> impl Iterator<Item = (TransferId, bool)> {
        let found = self.found.iter().filter(move |(_, f)| now < f.until);
        found.map(|(id, found)| (*id, found.denies))
    }

    /// All that somebody says and that counts.
    pub(super) fn all(&self) -> impl Iterator<Item = Doubt> {
        self.marks.iter().flat_map(|(child, marks)| {
            let counts = marks.iter().filter(|mark| !mark.dismissed);
            counts.map(|mark| Doubt {
                child: *child,
                feeder: mark.feeder,
                is_more: mark.lasts() || mark.left,
            })
        })
    }

    /// Whether somebody says so of this one.
    pub(super) fn is_about(&self, feeder: TransferId) -> bool {
        self.about(feeder).next().is_some()
    }

    /// All of whom somebody says so, and who are not found to withhold, with the time after which
    /// they would have to give something.
    pub(super) fn all_open(&self, now: Duration) -> Vec<(TransferId, Duration)> {
        let marks = self.marks.values().flatten().filter(|m| !m.dismissed);
        let open: BTreeSet<TransferId> = marks.map(|mark| mark.feeder).collect();
        let open = open.into_iter().filter(|id| !self.withholds(*id, now));
        let since = |id| Some((id, self.about(id).map(|mark| mark.last).min()?));
        open.filter_map(since).collect()
    }

    /// Whether this child may be sent to find out about this feeder: it has said and tried nothing
    /// yet, and not too many others have.
    pub(super) fn may_try(&self, child: TransferId, feeder: TransferId) -> bool {
        let marks = self.marks.get(&child).into_iter().flatten();
        let has_said = { marks }.any(|mark| mark.feeder == feeder);
        let tried = self.tried.get(&feeder);
        !has_said && tried.is_none_or(|by| by.len() < TRIALS_MAX && !by.contains(&child))
    }

    /// It is sent.
    pub(super) fn begin_trial(&mut self, child: TransferId, feeder: TransferId) {
        self.tried.entry(feeder).or_default().insert(child);
    }

    #[cfg(test)]
    pub(super) fn marks_of(&self, child: TransferId) -> usize {
        self.marks.get(&child).map_or(0, Vec::len)
    }

    /// What counts of what is said of it.
    fn about(&self, feeder: TransferId) -> impl Iterator<Item = &Mark> {
        let all = self.marks.values().flatten();
        all.filter(move |mark| mark.feeder == feeder && !mark.dismissed)
    }
}
