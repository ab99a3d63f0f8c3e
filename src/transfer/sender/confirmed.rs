//! What the receiver has confirmed.

use crate::protocol::message::FileIndex;

/// Entries whose receipt has come over this link. The table cannot say it: it also knows receipts
/// of earlier links, and a receiver that was restarted may have lost what they were for.
#[derive(Debug, Default)]
pub(super) struct Confirmed {
    entries: Vec<bool>,
    pub(super) count: u32,
}

impl Confirmed {
    pub(super) fn has(&self, index: FileIndex) -> bool {
        self.entries.get(index as usize).copied().unwrap_or(false)
    }

    /// The caller bounds `index`.
    pub(super) fn insert(&mut self, index: FileIndex) {
        let at = index as usize;
        if self.entries.len() <= at {
            self.entries.resize(at + 1, false);
        }
        if let Some(slot) = self.entries.get_mut(at).filter(|slot| !**slot) {
            *slot = true;
            self.count += 1;
        }
    }
}
