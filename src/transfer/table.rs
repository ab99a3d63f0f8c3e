//! The file table of a transfer: its manifest and the fate of every entry.
//!
//! Built for a million entries: paths lie in one string, a row takes 40 bytes, and everything that
//! most rows do not have (link targets, other names) lies beside it.

mod failed;
mod undecided;
mod weak;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use self::failed::{Failures, Repairs};
pub use self::weak::WeakTable;
use super::rivals::Rival;
use super::status::{FileQuery, FileRow, FileState, ROWS_MAX, RowKind, TopName};
use super::tops::Tops;
use crate::net::link::Offence;
use crate::protocol::groups::{FILE_SIZE_MAX, Hash};
use crate::protocol::message::{
    ENTRIES_MAX, Entry, EntryKind, FileIndex, OfferHead, Outcome, PATH_LEN_MAX, PATHS_LEN_MAX,
    Receipt, Timestamp, TransferId,
};

/// A table that the tasks of a transfer and its watchers share. Locked for moments only, never
/// across an `.await`.
#[derive(Debug, Clone, Default)]
pub struct SharedTable(Arc<Mutex<FileTable>>);

impl SharedTable {
    /// The table, locked.
    pub fn lock(&self) -> MutexGuard<'_, FileTable> {
        // A panic in one task must not take the others with it; rows are valid at any time.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Entries of a transfer in the order of its manifest, and what became of them.
#[derive(Debug, Default)]
pub struct FileTable {
    paths: String,
    rows: Vec<Row>,
    tops: Tops,
    symlinks: HashMap<FileIndex, Box<str>>,
    saved_as: HashMap<FileIndex, Box<str>>,
    /// Bytes of the texts beside the rows: link targets, other names.
    targets_len: usize,
    saved_len: usize,
    /// Bytes of entries that are not settled and not there yet.
    left: u64,
    hashes: HashMap<FileIndex, Hash>,
    /// Files that have the names of entries which wait for a person.
    rivals: BTreeMap<FileIndex, Rival>,
    settled: Vec<FileIndex>,
    failed: Failures,
    repaired: Repairs,
    digest: blake3::Hasher,
    totals: Totals,
    growth: Growth,
}

/// Whether entries may still be added. Decided under the table's lock, so that a file that is
/// attached at the last moment either goes along or is refused, but is never forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Growth {
    /// So many additions are on their way.
    Open(u32),
    /// The transfer is ending.
    Closed,
}

impl Default for Growth {
    fn default() -> Self {
        Self::Open(0)
    }
}

/// Sums over all rows.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Totals {
    /// Regular files.
    pub files: u32,
    /// Bytes of all files.
    pub bytes: u64,
    /// Files that are settled and not failed.
    pub files_done: u32,
    /// Files that failed.
    pub files_failed: u32,
    /// Bytes at the receiver.
    pub bytes_done: u64,
}

#[derive(Debug)]
struct Row {
    size: u64,
    modified: Timestamp,
    done: u64,
    path_end: u32,
    kind: Kind,
    state: FileState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    File,
    Executable,
    Folder,
    Symlink,
}

impl FileTable {
    /// Entries so far.
    pub fn len(&self) -> u32 {
        self.rows.len() as u32
    }

    /// Whether there is no entry yet.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Sums over all rows.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// How many entries are settled.
    pub fn settled(&self) -> u32 {
        self.settled.len() as u32
    }

    /// Appends an entry, within the limits of the protocol.
    pub fn push(&mut self, entry: &Entry) -> Result<FileIndex, Offence> {
        let index = self.len();
        if index >= ENTRIES_MAX {
            return Err(Offence::TooManyEntries);
        }
        let target_len = match &entry.kind {
            EntryKind::Symlink { target } => target.len(),
            EntryKind::File { .. } | EntryKind::Folder { .. } => 0,
        };
        // A target takes memory as a path does, so both count towards the same limit.
        let texts = self.paths.len() + self.targets_len + entry.path.len() + target_len;
        if entry.path.len() > PATH_LEN_MAX || target_len > PATH_LEN_MAX || texts > PATHS_LEN_MAX {
            return Err(Offence::PathsTooLong);
        }
        let (kind, size, modified) = match &entry.kind {
            EntryKind::File {
                size,
                modified,
                executable,
            } => {
                if *size > FILE_SIZE_MAX || self.totals.bytes.checked_add(*size).is_none() {
                    return Err(Offence::FileTooLarge);
                }
                let kind = if *executable {
                    Kind::Executable
                } else {
                    Kind::File
                };
                self.totals.files += 1;
                self.totals.bytes += size;
                self.left += size;
                (kind, *size, *modified)
            }
            EntryKind::Folder { modified } => (Kind::Folder, 0, *modified),
            EntryKind::Symlink { target } => {
                self.targets_len += target_len;
                self.symlinks.insert(index, target.as_str().into());
                (Kind::Symlink, 0, Timestamp(0))
            }
        };
        self.hash_entry(entry);
        self.paths.push_str(&entry.path);
        self.tops.add(&entry.path, &entry.kind);
        let path_end = self.paths.len() as u32;
        self.rows.push(Row {
            size,
            modified,
            done: 0,
            path_end,
            kind,
            state: FileState::Waiting,
        });
        Ok(index)
    }

    fn hash_entry(&mut self, entry: &Entry) {
        // Only types without a length cannot be serialised; entries have one.
        if let Ok(bytes) = postcard::to_stdvec(entry) {
            self.digest.update(&bytes);
        }
    }

    /// Announces that entries will be added. `false` if the transfer is ending already; otherwise
    /// [`FileTable::end_attach`] must follow.
    pub fn begin_attach(&mut self) -> bool {
        match &mut self.growth {
            Growth::Open(additions) => {
                *additions += 1;
                true
            }
            Growth::Closed => false,
        }
    }

    /// The addition that was announced is complete.
    pub fn end_attach(&mut self) {
        if let Growth::Open(additions) = &mut self.growth {
            *additions = additions.saturating_sub(1);
        }
    }

    /// Ends the growth if every entry is settled and none is being added; returns whether the
    /// table is closed now.
    pub fn try_close(&mut self) -> bool {
        if self.growth == Growth::Open(0) && self.settled() == self.len() {
            self.growth = Growth::Closed;
        }
        self.growth == Growth::Closed
    }

    /// What identifies this manifest: see [`OfferHead::digest`].
    pub fn digest(&self) -> Hash {
        *self.digest.finalize().as_bytes()
    }

    /// The announcement of this manifest as transfer `transfer`.
    pub fn head(&self, transfer: TransferId) -> OfferHead {
        OfferHead {
            transfer,
            entries: self.len(),
            bytes: self.totals.bytes,
            digest: self.digest(),
        }
    }

    /// The path of an entry as offered, empty if there is no such entry.
    pub fn path(&self, index: FileIndex) -> &str {
        let Some(row) = self.rows.get(index as usize) else {
            return "";
        };
        let start = match index {
            0 => 0,
            _ => self.rows.get(index as usize - 1).map_or(0, |r| r.path_end),
        };
        self.paths
            .get(start as usize..row.path_end as usize)
            .unwrap_or("")
    }

    /// The entry as it was pushed.
    pub fn entry(&self, index: FileIndex) -> Option<Entry> {
        let row = self.rows.get(index as usize)?;
        let kind = match row.kind {
            Kind::File | Kind::Executable => EntryKind::File {
                size: row.size,
                modified: row.modified,
                executable: row.kind == Kind::Executable,
            },
            Kind::Folder => EntryKind::Folder {
                modified: row.modified,
            },
            Kind::Symlink => EntryKind::Symlink {
                target: self
                    .symlinks
                    .get(&index)
                    .map(|t| t.to_string())
                    .unwrap_or_default(),
            },
        };
        Some(Entry {
            path: self.path(index).to_owned(),
            kind,
        })
    }

    /// Size of a file; `None` for other entries and those that do not exist.
    pub fn file_size(&self, index: FileIndex) -> Option<u64> {
        let row = self.rows.get(index as usize)?;
        row.is_file().then_some(row.size)
    }

    /// Bytes of files that have arrived whole.
    pub fn whole_bytes(&self) -> u64 {
        let arrived = |state| match state {
            FileState::Settled(outcome) => !matches!(outcome, Outcome::Failed(_)),
            FileState::Waiting
            | FileState::Checking
            | FileState::Active
            | FileState::Paused
            | FileState::Asking => false,
        };
        let whole = self.rows.iter().filter(|row| arrived(row.state));
        // What was skipped has nothing done.
        whole.map(|row| row.done).sum()
    }

    /// Where an entry is.
    pub fn state(&self, index: FileIndex) -> Option<FileState> {
        self.rows.get(index as usize).map(|r| r.state)
    }

    /// Sets where an entry is; one that is settled stays so.
    pub fn set_state(&mut self, index: FileIndex, state: FileState) {
        if let Some(row) = self.rows.get_mut(index as usize)
            && !matches!(row.state, FileState::Settled(_))
        {
            row.state = state;
        }
    }

    /// Sets how many bytes of a file are at the receiver.
    pub fn set_done(&mut self, index: FileIndex, done: u64) {
        if let Some(row) = self.rows.get_mut(index as usize) {
            self.totals.bytes_done = self.totals.bytes_done - row.done + done;
            let before = row.left();
            row.done = done;
            self.left = self.left - before + row.left();
        }
    }

    /// Adds bytes of a file that have come to the receiver. Gives back how many count: a file that
    /// grew since the offer may pass its offered size.
    pub fn add_done(&mut self, index: FileIndex, bytes: u64) -> u64 {
        let Some(row) = self.rows.get_mut(index as usize) else {
            return 0;
        };
        let add = bytes.min(row.size.saturating_sub(row.done));
        let before = row.left();
        row.done += add;
        self.totals.bytes_done += add;
        self.left = self.left - before + row.left();
        add
    }

    /// Settles an entry. Returns whether it was not settled before.
    pub fn settle(&mut self, receipt: &Receipt) -> bool {
        let Some(row) = self.rows.get_mut(receipt.index as usize) else {
            return false;
        };
        if matches!(row.state, FileState::Settled(_)) {
            return false;
        }
        self.left -= row.left();
        self.rivals.remove(&receipt.index);
        row.state = FileState::Settled(receipt.outcome);
        let (failed, there) = match receipt.outcome {
            Outcome::Failed(_) => (true, false),
            Outcome::Skipped => (false, false),
            Outcome::New | Outcome::Identical | Outcome::Renamed | Outcome::Overwritten => {
                (false, true)
            }
        };
        if row.is_file() {
            let done = if there { row.size } else { 0 };
            self.totals.bytes_done = self.totals.bytes_done - row.done + done;
            row.done = done;
            if failed {
                self.totals.files_failed += 1;
            } else {
                self.totals.files_done += 1;
            }
        }
        if let Some(name) = &receipt.saved_as {
            self.saved_len += name.len();
            self.saved_as.insert(receipt.index, name.as_str().into());
        }
        if let Some(hash) = receipt.hash {
            self.hashes.insert(receipt.index, hash);
        }
        if failed {
            self.failed.add(receipt.index);
        }
        self.settled.push(receipt.index);
        true
    }

    /// The receipt of a settled entry.
    pub fn receipt(&self, index: FileIndex) -> Option<Receipt> {
        match self.state(index)? {
            FileState::Settled(outcome) => Some(Receipt {
                index,
                outcome,
                saved_as: self.saved_as.get(&index).map(|s| s.to_string()),
                hash: self.hashes.get(&index).copied(),
            }),
            FileState::Waiting
            | FileState::Checking
            | FileState::Active
            | FileState::Paused
            | FileState::Asking => None,
        }
    }

    /// Whether a receipt of a peer keeps the limits for texts: a name as long as a path may be,
    /// and all of them no longer than all paths may be.
    pub fn takes(&self, receipt: &Receipt) -> bool {
        let len = receipt.saved_as.as_ref().map_or(0, String::len);
        len <= PATH_LEN_MAX && self.saved_len + len <= PATHS_LEN_MAX
    }

    /// Bytes of memory that the table takes, about.
    pub fn memory(&self) -> usize {
        /// What an entry of a map takes beside its text.
        const BESIDE: usize = 48;
        let texts = self.paths.capacity() + self.targets_len + self.saved_len;
        let beside = self.symlinks.len() + self.saved_as.len() + self.hashes.len();
        let beside = (beside + self.rivals.len()) * BESIDE;
        let rows = self.rows.capacity() * size_of::<Row>() + self.settled.capacity() * 4;
        texts + beside + rows + self.tops.memory()
    }

    /// Bytes and entries without those whose top-level name is in `excluded`.
    pub fn wanted(&self, excluded: &HashSet<String>) -> (u64, u64) {
        if excluded.is_empty() {
            return (self.totals.bytes, u64::from(self.len()));
        }
        let mut wanted = (0, 0);
        for (index, row) in (0..).zip(&self.rows) {
            let top = self.path(index).split('/').next().unwrap_or_default();
            if !excluded.contains(top) {
                wanted = (wanted.0 + row.size, wanted.1 + 1);
            }
        }
        wanted
    }

    /// A row for a watcher.
    pub fn row(&self, index: FileIndex) -> Option<FileRow> {
        let row = self.rows.get(index as usize)?;
        Some(FileRow {
            index,
            path: self.path(index).to_owned(),
            kind: match row.kind {
                Kind::File | Kind::Executable => RowKind::File,
                Kind::Folder => RowKind::Folder,
                Kind::Symlink => RowKind::Symlink,
            },
            bytes: row.size,
            bytes_done: row.done,
            state: row.state,
            saved_as: self.saved_as.get(&index).map(|s| s.to_string()),
            hash: self.hashes.get(&index).copied(),
        })
    }

    /// Rows for a watcher, at most [`ROWS_MAX`].
    pub fn query(&self, query: FileQuery) -> Vec<FileRow> {
        match query {
            FileQuery::Range { from, count } => {
                let end = from.saturating_add(count.min(ROWS_MAX)).min(self.len());
                (from..end).filter_map(|i| self.row(i)).collect()
            }
            FileQuery::Settled { from } => {
                let rows = self
                    .settled
                    .iter()
                    .skip(from as usize)
                    .take(ROWS_MAX as usize);
                rows.filter_map(|&i| self.row(i)).collect()
            }
        }
    }

    /// The entries at top level: how many there are, and the first
    /// [`TOP_NAMES_MAX`](super::status::TOP_NAMES_MAX).
    pub fn top_names(&self) -> (u32, Vec<TopName>) {
        self.tops.names()
    }
}

impl Row {
    fn is_file(&self) -> bool {
        matches!(self.kind, Kind::File | Kind::Executable)
    }

    /// Bytes that are still to come.
    fn left(&self) -> u64 {
        match self.state {
            FileState::Settled(_) => 0,
            FileState::Waiting
            | FileState::Checking
            | FileState::Active
            | FileState::Paused
            | FileState::Asking => self.size.saturating_sub(self.done),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
