//! Entries whose names are taken by different content, until the person has said what becomes of
//! them.

use super::*;
use crate::transfer::status::{Conflict, Version};

impl FileTable {
    /// Bytes that are still to come, without those of files that wait for a person: they may not
    /// be wanted.
    pub fn bytes_left(&self) -> u64 {
        let row = |index: &FileIndex| self.rows.get(*index as usize);
        let undecided = self.rivals.keys().filter_map(row).map(Row::left);
        self.left.saturating_sub(undecided.sum())
    }

    /// The name of an entry is taken by this file: the person is asked. Settled entries stay so.
    pub fn set_rival(&mut self, index: FileIndex, rival: Rival) {
        let row = self.rows.get(index as usize);
        if row.is_some_and(|row| !matches!(row.state, FileState::Settled(_))) {
            self.rivals.insert(index, rival);
        }
    }

    /// The file that has the name of an entry which waits for a person.
    pub fn rival(&self, index: FileIndex) -> Option<Rival> {
        self.rivals.get(&index).copied()
    }

    /// The person is not asked about an entry any more. Whether it was.
    pub fn remove_rival(&mut self, index: FileIndex) -> bool {
        self.rivals.remove(&index).is_some()
    }

    /// Entries that wait for a person, in order.
    pub fn undecided(&self) -> Vec<FileIndex> {
        self.rivals.keys().copied().collect()
    }

    /// How many entries wait for a person, and the first of them.
    pub fn conflicts(&self) -> (u32, Option<Conflict>) {
        let first = self.rivals.first_key_value();
        let conflict = first.and_then(|(&index, rival)| {
            let row = self.rows.get(index as usize)?;
            let path = self.path(index).to_owned();
            Some(Conflict {
                index,
                keep_both_as: rival.keep_both_as(&path),
                path,
                old: rival.version,
                new: Version {
                    bytes: row.size,
                    modified: row.modified,
                },
            })
        });
        (self.rivals.len() as u32, conflict)
    }
}
