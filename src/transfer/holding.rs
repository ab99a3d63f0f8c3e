//! What a receiver of a session has, as far as its sender knows: whole files by their receipts,
//! others by what it says. Pure, but for the lock.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::shelf::FILES_MAX;
use crate::protocol::groups::Hash;
use crate::protocol::message::FileIndex;
use crate::protocol::sessions::{GroupRun, HeldPart};

/// What the transfer to a receiver writes and the one who decides reads. Whoever reads has it as
/// it was at one moment, and keeps nobody from writing meanwhile.
#[derive(Debug, Clone, Default)]
pub struct SharedHolding(Arc<Mutex<Arc<Holding>>>);

impl SharedHolding {
    /// What it is now.
    pub fn get(&self) -> Arc<Holding> {
        self.locked().clone()
    }

    /// Changes it. Those who read go on with what it was.
    pub fn change(&self, change: impl FnOnce(&mut Holding)) {
        change(Arc::make_mut(&mut self.locked()));
    }

    fn locked(&self) -> MutexGuard<'_, Arc<Holding>> {
        // Each change is whole before the lock is given back.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What identifies a manifest: two receivers with the same one mean the same files by the same
/// numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Manifest {
    /// How many entries it has.
    pub entries: u32,
    /// See [`crate::protocol::message::OfferHead::digest`].
    pub digest: Hash,
}

/// What one receiver has, over one link: at most 16 KiB and what one message says of parts.
#[derive(Debug, Clone, Default)]
pub struct Holding {
    manifest: Option<Manifest>,
    settled: Marks,
    files: Marks,
    parts: BTreeMap<FileIndex, HeldPart>,
}

impl Holding {
    /// It is about the files of this manifest. Of one with more entries than a receiver remembers
    /// nothing is known.
    pub fn set_manifest(&mut self, manifest: Manifest) {
        let is_remembered = manifest.entries as usize <= FILES_MAX;
        self.manifest = is_remembered.then_some(manifest);
    }

    /// An entry is settled; `is_here` says whether it is a file that the receiver has.
    pub fn settle(&mut self, index: FileIndex, is_here: bool) {
        if index as usize >= FILES_MAX {
            return;
        }
        self.settled.insert(index);
        if is_here {
            self.files.insert(index);
        }
    }

    /// What there is of files that are not complete, instead of what was said before. The caller
    /// sees to it that it is [sound](HeldPart::is_sound) and not too much.
    pub fn set_parts(&mut self, parts: impl Iterator<Item = HeldPart>) {
        self.parts = parts.map(|part| (part.index, part)).collect();
    }

    /// What it is about, if anything is known.
    pub fn manifest(&self) -> Option<Manifest> {
        self.manifest
    }

    /// Entries of which nothing comes any more.
    pub fn settled(&self) -> &Marks {
        &self.settled
    }

    /// Files that are there.
    pub fn files(&self) -> &Marks {
        &self.files
    }

    /// What there is of files that are not complete.
    pub fn parts(&self) -> impl Iterator<Item = &HeldPart> {
        self.parts.values()
    }

    /// What there is of one of them.
    pub fn part(&self, index: FileIndex) -> Option<&HeldPart> {
        self.parts.get(&index)
    }
}

/// Some entries: one bit for each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Marks(Vec<u64>);

impl Marks {
    /// How many entries are in one word.
    pub const WORD: usize = u64::BITS as usize;

    /// Adds an entry. The caller bounds `index`.
    pub fn insert(&mut self, index: FileIndex) {
        let at = index as usize / Self::WORD;
        if self.0.len() <= at {
            self.0.resize(at + 1, 0);
        }
        if let Some(word) = self.0.get_mut(at) {
            *word |= 1 << (index as usize % Self::WORD);
        }
    }

    /// Whether the entry is among them.
    pub fn has(&self, index: FileIndex) -> bool {
        let word = self.word(index as usize / Self::WORD);
        word >> (index as usize % Self::WORD) & 1 == 1
    }

    /// 64 entries at once, the first one lowest.
    pub fn word(&self, at: usize) -> u64 {
        self.0.get(at).copied().unwrap_or(0)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    /// How many are among `others` as well.
    pub fn common(&self, others: &Self) -> u64 {
        let words = self.0.iter().zip(&others.0);
        words.map(|(a, b)| u64::from((a & b).count_ones())).sum()
    }

    /// Leaves out those among `others`.
    pub fn remove_all(&mut self, others: &Self) {
        for (word, other) in self.0.iter_mut().zip(&others.0) {
            *word &= !other;
        }
    }
}

/// How many groups there are in `runs`.
pub fn total(runs: &[GroupRun]) -> u64 {
    runs.iter().map(|run| u64::from(run.count)).sum()
}

/// What is left of `runs` without the groups in `minus`; both are in order, and so is that.
pub fn without(runs: &[GroupRun], minus: &[GroupRun]) -> Vec<GroupRun> {
    let mut left = Vec::new();
    let mut keep = |first: u32, end: u32| {
        if first < end {
            let count = end - first;
            left.push(GroupRun { first, count });
        }
    };
    let mut minus = minus.iter().peekable();
    for run in runs {
        let (mut from, end) = (run.first, run.end());
        while let Some(cut) = minus.peek().filter(|cut| cut.first < end) {
            keep(from, cut.first);
            from = from.max(cut.end());
            if cut.end() > end {
                // It may reach into the next run.
                break;
            }
            minus.next();
        }
        keep(from, end);
    }
    left
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// Runs of these groups.
    fn runs(groups: &BTreeSet<u32>) -> Vec<GroupRun> {
        let mut runs: Vec<GroupRun> = Vec::new();
        for &group in groups {
            match runs.last_mut() {
                Some(last) if last.end() == group => last.count += 1,
                Some(_) | None => runs.push(GroupRun {
                    first: group,
                    count: 1,
                }),
            }
        }
        runs
    }

    proptest! {
        #[test]
        fn runs_are_taken_from_runs_as_sets_are(
            a in prop::collection::btree_set(0..40u32, 0..40),
            b in prop::collection::btree_set(0..40u32, 0..40),
        ) {
            let left: BTreeSet<u32> = a.difference(&b).copied().collect();
            let found = without(&runs(&a), &runs(&b));
            prop_assert_eq!(&found, &runs(&left));
            prop_assert_eq!(total(&found), left.len() as u64);
        }

        #[test]
        fn marks_are_sets(
            a in prop::collection::btree_set(0..200u32, 0..99),
            b in prop::collection::btree_set(0..200u32, 0..99),
        ) {
            let marks = |set: &BTreeSet<u32>| {
                let mut marks = Marks::default();
                set.iter().for_each(|index| marks.insert(*index));
                marks
            };
            let (mut of_a, of_b) = (marks(&a), marks(&b));
            prop_assert!((0..300).all(|index| of_a.has(index) == a.contains(&index)));
            prop_assert_eq!(of_a.common(&of_b), a.intersection(&b).count() as u64);
            of_a.remove_all(&of_b);
            prop_assert!((0..300).all(|n| of_a.has(n) == (a.contains(&n) && !b.contains(&n))));
            prop_assert_eq!(of_a.is_empty(), a.is_subset(&b));
        }
    }

    #[test]
    fn of_more_files_than_a_receiver_remembers_nothing_is_known() {
        let mut holding = Holding::default();
        let manifest = |entries| Manifest {
            entries,
            digest: [1; 32],
        };
        let most = FILES_MAX as u32;
        holding.set_manifest(manifest(most));
        assert_eq!(holding.manifest(), Some(manifest(most)));
        holding.set_manifest(manifest(most + 1));
        assert_eq!(holding.manifest(), None);
        holding.settle(u32::MAX, true);
        assert!(holding.files().is_empty() && holding.settled().is_empty());
    }
}
