//! What a watcher should know of entries that gave trouble: those that failed, and those that
//! arrived damaged at first.

use super::*;
use crate::transfer::status::{FAILURES_MAX, FailedEntry, Repaired};

/// Entries that failed.
#[derive(Debug, Default)]
pub(super) struct Failures {
    /// The first ones.
    first: Vec<FileIndex>,
    count: u32,
}

impl Failures {
    pub(super) fn add(&mut self, index: FileIndex) {
        self.count += 1;
        if self.first.len() < FAILURES_MAX {
            self.first.push(index);
        }
    }
}

/// Files that are whole, and of which parts had to come again.
#[derive(Debug, Default)]
pub(super) struct Repairs {
    first: Option<FileIndex>,
    files: u32,
    parts: u32,
}

impl FileTable {
    /// How many entries failed, and the first of them.
    pub fn failures(&self) -> (u32, Vec<FailedEntry>) {
        let entry = |&index: &FileIndex| match self.state(index)? {
            FileState::Settled(Outcome::Failed(why)) => Some(FailedEntry {
                path: self.path(index).to_owned(),
                why,
            }),
            FileState::Settled(_)
            | FileState::Waiting
            | FileState::Checking
            | FileState::Active
            | FileState::Paused
            | FileState::Asking => None,
        };
        let first = self.failed.first.iter().filter_map(entry).collect();
        (self.failed.count, first)
    }

    /// A file is whole now, and so many parts of it came again because they were damaged.
    pub fn note_repaired(&mut self, index: FileIndex, parts: u32) {
        let repaired = &mut self.repaired;
        repaired.parts = repaired.parts.saturating_add(parts);
        if repaired.first != Some(index) {
            repaired.files += 1;
        }
        repaired.first.get_or_insert(index);
    }

    /// What came again because it was damaged; `None` if nothing did.
    pub fn repaired(&self) -> Option<Repaired> {
        Some(Repaired {
            path: self.path(self.repaired.first?).to_owned(),
            files: self.repaired.files,
            parts: self.repaired.parts,
        })
    }
}
