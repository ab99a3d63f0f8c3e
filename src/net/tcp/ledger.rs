//! What became of the files of a link: told by those that write them, read by the control side.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::protocol::message::{FileIndex, Outcome, Receipt, SinkFault};

/// Shared by a link and its writers.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    inner: Mutex<Inner>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    news: VecDeque<Entry>,
    /// Files that were written, with the number of the last byte, and may still be on the way.
    unconfirmed: VecDeque<(FileIndex, u64)>,
    /// Files of which something was written: they are not written again.
    begun: HashSet<FileIndex>,
}

/// News about a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// All of it is written.
    Written(FileIndex),
    /// Its fate is certain.
    Settled(Receipt),
}

impl Ledger {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until there is something new. Cancel-safe.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// What is new.
    pub(super) fn take(&self) -> VecDeque<Entry> {
        std::mem::take(&mut self.lock().news)
    }

    /// Something of the file is written from now on.
    pub(super) fn begin(&self, index: FileIndex) {
        self.lock().begun.insert(index);
    }

    /// Whether something of the file was written.
    pub(super) fn has_begun(&self, index: FileIndex) -> bool {
        self.lock().begun.contains(&index)
    }

    /// A file is written up to byte number `end` of its connection.
    pub(super) fn written(&self, index: FileIndex, end: u64) {
        let mut inner = self.lock();
        inner.unconfirmed.push_back((index, end));
        inner.news.push_back(Entry::Written(index));
        drop(inner);
        self.changed.notify_one();
    }

    /// Everything before byte number `end` has arrived.
    pub(super) fn confirm(&self, end: u64) {
        let mut inner = self.lock();
        let before = inner.news.len();
        while let Some((index, _)) = inner.unconfirmed.pop_front_if(|(_, at)| *at <= end) {
            let arrived = receipt(index, Outcome::New);
            inner.news.push_back(Entry::Settled(arrived));
        }
        let changed = inner.news.len() > before;
        drop(inner);
        if changed {
            self.changed.notify_one();
        }
    }

    /// A file will not arrive.
    pub(super) fn fail(&self, index: FileIndex, fault: SinkFault) {
        let failed = receipt(index, Outcome::Failed(fault));
        self.lock().news.push_back(Entry::Settled(failed));
        self.changed.notify_one();
    }
}

/// The receipt of an entry about which the other side says nothing more.
pub(super) fn receipt(index: FileIndex, outcome: Outcome) -> Receipt {
    Receipt {
        index,
        outcome,
        saved_as: None,
        hash: None,
    }
}
