//! Memory that peers may take: their manifests may be large, but not all of them at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::room::Rooms;

/// Most bytes that the manifests of all incoming transfers may take together: three of the
/// largest kind.
pub const MANIFESTS_MAX: usize = 384 * 1024 * 1024;

/// A manifest of this size is always taken, so that nobody can keep ordinary offers out by making
/// a few large ones. Bounded by the number of open offers.
pub const MANIFEST_FREE: usize = 256 * 1024;

/// What all incoming transfers of a node share. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Budget {
    manifests: Arc<AtomicUsize>,
    /// Memory for content.
    pub rooms: Rooms,
}

/// What one transfer takes of a [`Budget`]; given back when dropped.
#[derive(Debug)]
pub struct Share {
    budget: Budget,
    held: usize,
}

impl Budget {
    /// A share of nothing yet.
    pub fn share(&self) -> Share {
        Share {
            budget: self.clone(),
            held: 0,
        }
    }
}

impl Share {
    /// Makes the share large enough for a manifest of `memory` bytes. `false` if there is not so
    /// much left; then it stays as it was.
    pub fn cover(&mut self, memory: usize) -> bool {
        let wanted = memory.saturating_sub(MANIFEST_FREE);
        let more = wanted.saturating_sub(self.held);
        if more == 0 {
            return true;
        }
        let take = |used: usize| used.checked_add(more).filter(|&used| used <= MANIFESTS_MAX);
        let taken = self
            .budget
            .manifests
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
            .is_ok();
        if taken {
            self.held = wanted;
        }
        taken
    }

    /// The manifest was given up.
    pub fn give_back(&mut self) {
        let manifests = &self.budget.manifests;
        manifests.fetch_sub(self.held, Ordering::Relaxed);
        self.held = 0;
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.give_back();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_manifests_share_and_small_ones_always_fit() {
        let budget = Budget::default();
        let (mut one, mut two) = (budget.share(), budget.share());
        assert!(one.cover(MANIFESTS_MAX));
        assert!(one.cover(1000), "a share never shrinks by itself");
        assert!(!two.cover(2 * MANIFEST_FREE + 1));
        assert!(two.cover(MANIFEST_FREE));
        one.give_back();
        assert!(two.cover(MANIFESTS_MAX));
        drop(two);
        assert!(one.cover(MANIFESTS_MAX + MANIFEST_FREE));
        assert!(!one.cover(MANIFESTS_MAX + MANIFEST_FREE + 1));
    }
}
