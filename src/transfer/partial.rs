//! What there is of a file that is not complete, and the journal that remembers it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use crate::protocol::groups::{GROUP_LEN, Hash, group_count, group_len};
use crate::protocol::message::Stamp;
use crate::storage::folder::Folder;
use crate::storage::journal::{Journal, Record};
use crate::storage::name::SafePath;
use crate::storage::part::{Part, PartIdentity};

/// The journal of a transfer, as its tasks share it. Locked for single appends only.
#[derive(Debug, Clone)]
pub struct SharedJournal(Arc<Mutex<Journal>>);

impl SharedJournal {
    /// Shares a journal.
    pub fn new(journal: Journal) -> Self {
        Self(Arc::new(Mutex::new(journal)))
    }

    /// Appends records. A journal that cannot be written costs only the ease of resuming, so that
    /// is logged and nothing more.
    pub fn append(&self, records: &[Record]) {
        let mut journal = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = journal.append(records) {
            tracing::warn!(%error, "the journal cannot be written");
        }
    }

    /// Makes durable what was appended. Others may append meanwhile. Blocking.
    pub(super) fn sync(&self) -> io::Result<()> {
        let handle = {
            let journal = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            journal.handle()?
        };
        handle.sync_data()
    }

    /// Removes the journal from disk once nobody else uses it.
    pub fn remove(self) -> io::Result<()> {
        match Arc::try_unwrap(self.0) {
            Ok(journal) => journal
                .into_inner()
                .unwrap_or_else(PoisonError::into_inner)
                .remove(),
            Err(_) => Ok(()),
        }
    }
}

/// Stands for the stamp where groups of several versions of a file are kept: no file has it, so
/// that the sender compares every group before it leaves one out.
pub(super) const MIXED: Stamp = Stamp([0; 16]);

/// What there is of a file that is not complete.
#[derive(Debug)]
pub struct Partial {
    /// Part of the names of its partial files.
    pub tag: String,
    /// Stamp of the source that the groups came from.
    pub stamp: Option<Stamp>,
    /// Size under which the groups came.
    pub size: u64,
    /// Hashes of verified groups. Takes memory only for those that have come: the size of a file
    /// is no more than a claim.
    pub groups: BTreeMap<u32, Hash>,
    /// Where their content lies.
    pub place: Place,
    /// What arrived damaged.
    pub damage: Damage,
    /// Groups that were asked for again over this link and have not come.
    pub asked: BTreeSet<u32>,
}

/// What of a file arrived damaged, and how often.
#[derive(Debug, Default)]
pub struct Damage {
    /// Takes memory only for groups that have come, as the hashes of those that are right.
    groups: BTreeMap<u32, u32>,
    whole: u32,
}

impl Damage {
    /// A group arrived damaged. How often it has by now.
    pub(super) fn group(&mut self, number: u32) -> u32 {
        let times = self.groups.entry(number).or_default();
        *times = times.saturating_add(1);
        *times
    }

    /// All groups were right, but the file was not. How often that has been so by now.
    pub(super) fn whole(&mut self) -> u32 {
        self.whole = self.whole.saturating_add(1);
        self.whole
    }

    /// How many groups arrived damaged at least once.
    pub(super) fn parts(&self) -> u32 {
        self.groups.len() as u32
    }

    fn is_none(&self) -> bool {
        self.groups.is_empty() && self.whole == 0
    }
}

/// Where the content of a [`Partial`] lies.
#[derive(Debug)]
pub enum Place {
    /// There is none.
    Nowhere,
    /// In a partial file.
    Part(Arc<Part>),
    /// In a partial file that is not open now.
    Closed(ClosedPart),
    /// In a finished file of the same name, which must stay as it is.
    Existing(SafePath),
}

/// A partial file that is not open.
#[derive(Debug)]
pub struct ClosedPart {
    folder: Folder,
    path: SafePath,
    identity: PartIdentity,
}

impl Partial {
    /// Nothing yet.
    pub fn new(tag: String) -> Self {
        Self {
            tag,
            stamp: None,
            size: 0,
            groups: BTreeMap::new(),
            place: Place::Nowhere,
            damage: Damage::default(),
            asked: BTreeSet::new(),
        }
    }

    /// Verified bytes.
    pub fn bytes(&self) -> u64 {
        let groups = self.groups.keys();
        groups.map(|&group| group_len(self.size, group)).sum()
    }

    /// Takes note of the version of the file that a new stream is about. Groups that are there
    /// already may be of another one until the sender has compared them all, and the stream may
    /// break before that.
    pub(super) fn begin_version(&mut self, stamp: Stamp) {
        if self.groups.is_empty() || self.stamp == Some(stamp) {
            self.stamp = Some(stamp);
        } else {
            self.stamp = Some(MIXED);
        }
    }

    /// Whether the disk did not take what was written: nothing of it counts.
    pub(super) fn is_spoiled(&self) -> bool {
        matches!(&self.place, Place::Part(part) if part.is_spoiled())
    }

    /// The same file, of which there is nothing.
    pub(super) async fn renewed(mut self) -> Self {
        let fresh = Self {
            tag: self.tag.clone(),
            stamp: None,
            size: self.size,
            groups: BTreeMap::new(),
            place: Place::Nowhere,
            damage: std::mem::take(&mut self.damage),
            asked: BTreeSet::new(),
        };
        let _ = tokio::task::spawn_blocking(move || self.discard()).await;
        fresh
    }

    /// Whether there is nothing to remember.
    pub(super) fn is_empty(&self) -> bool {
        let nowhere = matches!(self.place, Place::Nowhere);
        nowhere && self.groups.is_empty() && self.damage.is_none() && self.asked.is_empty()
    }

    /// Whether it holds a file open.
    pub fn is_open(&self) -> bool {
        matches!(self.place, Place::Part(_))
    }

    /// Closes the part of the file that goes to `path`, until it is needed again.
    pub fn close(&mut self, folder: &Folder, path: SafePath) {
        if let Place::Part(part) = &self.place
            && let Ok(identity) = part.identity()
        {
            self.place = Place::Closed(ClosedPart {
                folder: folder.clone(),
                path,
                identity,
            });
        }
    }

    /// Opens a part that was closed. One that was changed meanwhile is worth nothing. Blocking.
    pub(super) fn open(&mut self) {
        let Place::Closed(closed) = &self.place else {
            return;
        };
        let reopened = Part::reopen(&closed.folder, &closed.path, &self.tag);
        let same = |part: &Part| part.identity().is_ok_and(|now| now == closed.identity);
        match reopened.ok().flatten().filter(same) {
            Some(part) => self.place = Place::Part(Arc::new(part)),
            None => {
                self.place = Place::Nowhere;
                self.groups.clear();
            }
        }
    }

    /// Removes what there is of it from the disk. Blocking.
    pub fn discard(mut self) {
        self.open();
        if let Place::Part(part) = self.place
            && let Ok(part) = Arc::try_unwrap(part)
            && let Err(error) = part.discard()
        {
            tracing::warn!(%error, "a partial file cannot be removed");
        }
    }

    /// Makes the groups fit a file of another size: groups whose length changes are void.
    pub(super) fn resize(&mut self, size: u64) {
        if size != self.size {
            let kept = self.size.min(size) / GROUP_LEN;
            // The hash of a file's only group is made in another way.
            let kept = if group_count(size) == 1 || group_count(self.size) == 1 {
                0
            } else {
                kept
            };
            self.groups.retain(|&group, _| u64::from(group) < kept);
            self.size = size;
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    /// Groups that are left of all of a file of `from` bytes when its size is `to`.
    fn kept(from: u64, to: u64) -> Vec<u32> {
        let mut partial = Partial::new("t".into());
        partial.resize(from);
        partial.groups = (0..group_count(from)).map(|n| (n, [1; 32])).collect();
        partial.resize(to);
        assert_eq!(partial.size, to);
        partial.groups.into_keys().collect()
    }

    #[test]
    fn another_size_ends_the_groups_whose_length_or_kind_changes() {
        let three = 2 * GROUP_LEN + 10;
        assert_eq!(kept(three, three), [0, 1, 2]);
        assert_eq!(kept(three, three + 1), [0, 1]);
        assert_eq!(kept(three, 9 * GROUP_LEN), [0, 1]);
        assert_eq!(kept(three, GROUP_LEN + 1), [0]);
        assert_eq!(kept(three, 2 * GROUP_LEN), [0, 1]);
        assert_eq!(kept(3 * GROUP_LEN, 4 * GROUP_LEN), [0, 1, 2]);
        // An only group has a hash of another kind.
        assert_eq!(kept(three, GROUP_LEN), [0; 0]);
        assert_eq!(kept(GROUP_LEN, three), [0; 0]);
    }

    #[test]
    fn a_file_that_is_only_claimed_takes_no_memory() {
        let mut partial = Partial::new("t".into());
        partial.resize(1 << 50);
        partial.begin_version(Stamp([1; 16]));
        assert!(partial.groups.is_empty() && partial.is_empty());
        partial.damage.group(3);
        assert!(
            !partial.is_empty(),
            "how often it was damaged is remembered"
        );
    }
}
