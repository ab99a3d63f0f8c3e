//! Tells a disk that blocks from one that is quick, and from a thread that was merely not
//! scheduled for once.

use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

/// A single access that takes longer has waited for a disk, or for the processor.
const LONG: Duration = Duration::from_millis(20);
/// What a long access counts, against one for each quick access after it.
const WEIGHT: u8 = 8;
/// From here on the disk counts as slow: two long accesses among a few.
const SLOW_FROM: u8 = 12;
/// Long accesses count no further, so that a disk that recovers is noticed after this many quick
/// accesses.
const MOST: u8 = 32;

/// How quick the accesses to a disk were lately. Shared by those who use it; a lost update
/// between them does not matter.
#[derive(Debug, Default)]
pub struct Pace(AtomicU8);

impl Pace {
    /// An access took so long.
    pub fn took(&self, time: Duration) {
        let now = self.0.load(Ordering::Relaxed);
        let next = match time > LONG {
            true => (now + WEIGHT).min(MOST),
            false => now.saturating_sub(1),
        };
        self.0.store(next, Ordering::Relaxed);
    }

    /// Whether accesses should leave the network's thread.
    pub fn is_slow(&self) -> bool {
        self.0.load(Ordering::Relaxed) >= SLOW_FROM
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_long_access_is_no_slow_disk_but_several_are_until_it_recovers() {
        let (quick, long) = (Duration::from_millis(1), Duration::from_millis(50));
        let pace = Pace::default();
        pace.took(long);
        assert!(!pace.is_slow());
        for _ in 0..8 {
            pace.took(quick);
        }
        pace.took(long);
        assert!(!pace.is_slow());
        for _ in 0..100 {
            pace.took(long);
        }
        assert!(pace.is_slow());
        for _ in 0..MOST {
            pace.took(quick);
        }
        assert!(!pace.is_slow());
    }
}
