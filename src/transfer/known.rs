//! Hashes of groups that go to several receivers: each is computed once.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::protocol::groups::Hash;
use crate::protocol::message::Stamp;

/// Most hashes that are kept, about a hundred bytes each: those of a tebibyte, or of as many small
/// files as a transfer can have.
const HASHES_MAX: usize = 1 << 20;

/// Hashes of groups by the stamp of their file, which says that it has not changed since. Only a
/// help: whoever finds nothing here computes it, and what the receiver finds wrong is forgotten.
#[derive(Debug, Default)]
pub struct KnownHashes {
    inner: Mutex<Inner>,
    /// Held by whoever reads files for nothing else.
    reading: Mutex<()>,
}

#[derive(Debug, Default)]
struct Inner {
    /// Flat: of small files, which are many, each has one.
    hashes: HashMap<(Stamp, u32), Hash>,
}

impl KnownHashes {
    /// The hash of this group.
    pub fn get(&self, stamp: Stamp, group: u32) -> Option<Hash> {
        self.with(|inner| inner.hashes.get(&(stamp, group)).copied())
    }

    /// Keeps a hash, if there is room for it.
    pub fn put(&self, stamp: Stamp, group: u32, hash: Hash) {
        self.with(|inner| {
            if inner.hashes.len() < HASHES_MAX {
                inner.hashes.insert((stamp, group), hash);
            }
        });
    }

    /// This group arrived damaged: its hash may be wrong.
    pub fn forget(&self, stamp: Stamp, group: u32) {
        self.with(|inner| inner.hashes.remove(&(stamp, group)));
    }

    /// The file of `count` groups was being changed when these hashes were computed.
    pub fn forget_file(&self, stamp: Stamp, count: u32) {
        self.with(|inner| {
            for group in 0..count {
                inner.hashes.remove(&(stamp, group));
            }
        });
    }

    /// Whether no more are kept.
    pub fn is_full(&self) -> bool {
        self.with(|inner| inner.hashes.len() >= HASHES_MAX)
    }

    /// Reads files for hashes that nobody has needed yet, unless another transfer does so now: the
    /// disk has other things to do. Blocking.
    pub fn read_in_turn(&self, read: impl FnOnce()) {
        if let Ok(_turn) = self.reading.try_lock() {
            read();
        }
    }

    fn with<T>(&self, work: impl FnOnce(&mut Inner) -> T) -> T {
        // A panic in one task must not take the others with it; entries are valid at any time.
        work(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Stamp = Stamp([1; 16]);
    const B: Stamp = Stamp([2; 16]);

    #[test]
    fn what_is_forgotten_is_computed_anew_and_makes_room() {
        let known = KnownHashes::default();
        for group in 0..3 {
            known.put(A, group, [group as u8; 32]);
            known.put(A, group, [group as u8; 32]);
            known.put(B, group, [9; 32]);
        }
        known.forget(A, 1);
        known.forget(A, 1);
        let found = [0, 1, 2].map(|group| known.get(A, group));
        assert_eq!(found, [Some([0; 32]), None, Some([2; 32])]);
        known.forget_file(A, 3);
        known.forget_file(A, 3);
        assert!(!known.is_full());
        let mut reads = 0;
        known.read_in_turn(|| {
            reads += 1;
            known.read_in_turn(|| panic!("it is not its turn"));
        });
        assert_eq!(reads, 1);
        assert_eq!(known.get(A, 0), None);
        assert_eq!(known.get(B, 2), Some([9; 32]));
        assert_eq!(known.with(|inner| inner.hashes.len()), 3);
    }

    #[test]
    fn there_are_never_too_many() {
        let known = KnownHashes::default();
        for group in 0..HASHES_MAX as u32 + 10 {
            known.put(A, group, [0; 32]);
        }
        assert_eq!(known.get(A, HASHES_MAX as u32 + 5), None);
        assert_eq!(known.with(|inner| inner.hashes.len()), HASHES_MAX);
        assert!(known.is_full());
    }
}
