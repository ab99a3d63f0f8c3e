//! The rows of an unfolded transfer: asked for by the page, only those on the screen, kept for a
//! while. A transfer of a million files costs no more than one of a thousand.

use std::collections::BTreeMap;

use peerconnect::transfer::status::{FileRow, TransferSnapshot};

/// Rows of one page.
pub(crate) const PAGE: u32 = 128;

/// Pages that are kept; those farthest from the screen go first.
const KEPT: usize = 8;

/// Seconds between two requests for the same page while the transfer moves.
const AGAIN: f64 = 0.5;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Pages {
    pages: BTreeMap<u32, Page>,
}

#[derive(Debug, Default)]
struct Page {
    rows: Vec<FileRow>,
    waiting: bool,
    asked: f64,
    /// The transfer as it was when the page was asked for.
    version: Option<Version>,
}

/// What changes when rows change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Version {
    done: u64,
    settled: u32,
    entries: u32,
    state: peerconnect::transfer::state::TransferState,
}

impl Version {
    fn of(t: &TransferSnapshot) -> Self {
        Self {
            done: t.bytes_done,
            settled: t.settled,
            entries: t.entries,
            state: t.state,
        }
    }
}

/// When a page must be asked for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Due {
    /// Not: it is up to date or on its way.
    No,
    /// Now.
    Now,
    /// In so many seconds.
    In(f64),
}

impl Pages {
    /// The row at a position, if it is here.
    pub(crate) fn row(&self, position: u32) -> Option<&FileRow> {
        self.pages
            .get(&(position / PAGE))?
            .rows
            .get((position % PAGE) as usize)
    }

    /// Whether `page` must be asked for; `time` is the window's clock.
    pub(crate) fn due(&self, page: u32, t: &TransferSnapshot, time: f64) -> Due {
        let Some(known) = self.pages.get(&page) else {
            return Due::Now;
        };
        if known.waiting || known.version == Some(Version::of(t)) {
            return Due::No;
        }
        let left = known.asked + AGAIN - time;
        if left <= 0.0 { Due::Now } else { Due::In(left) }
    }

    /// Notes that `page` is being asked for.
    pub(crate) fn asked(&mut self, page: u32, t: &TransferSnapshot, time: f64) {
        while self.pages.len() >= KEPT && !self.pages.contains_key(&page) {
            let farthest = self.pages.keys().copied().max_by_key(|p| p.abs_diff(page));
            if let Some(farthest) = farthest {
                self.pages.remove(&farthest);
            }
        }
        let entry = self.pages.entry(page).or_default();
        entry.waiting = true;
        entry.asked = time;
        entry.version = Some(Version::of(t));
    }

    /// Takes the rows of a page; `None` if asking failed.
    pub(crate) fn came(&mut self, page: u32, rows: Option<Vec<FileRow>>) {
        if let Some(entry) = self.pages.get_mut(&page) {
            entry.waiting = false;
            if let Some(rows) = rows {
                entry.rows = rows;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    #[test]
    fn a_page_is_asked_for_once_and_again_only_when_something_moved() {
        let mut t = samples::sending();
        let mut pages = Pages::default();
        assert_eq!(pages.due(0, &t, 0.0), Due::Now);
        pages.asked(0, &t, 0.0);
        assert_eq!(pages.due(0, &t, 9.0), Due::No, "it is on its way");
        pages.came(0, Some(vec![samples::row(0)]));
        assert_eq!(pages.due(0, &t, 9.0), Due::No, "nothing moved");
        t.bytes_done += 1;
        assert_eq!(pages.due(0, &t, 0.2), Due::In(0.3));
        assert_eq!(pages.due(0, &t, 0.5), Due::Now);
    }

    #[test]
    fn only_pages_near_the_screen_are_kept() {
        let t = samples::sending();
        let mut pages = Pages::default();
        for page in 0..100 {
            pages.asked(page, &t, 0.0);
            pages.came(page, Some(vec![samples::row(page * PAGE)]));
        }
        assert_eq!(pages.pages.len(), KEPT);
        assert!(pages.row(99 * PAGE).is_some());
        assert!(pages.row(0).is_none());
    }
}
