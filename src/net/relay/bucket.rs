//! A limit in bytes per second.

use std::time::{Duration, Instant};

/// So much may come at once: what is sent in this time.
const BURST: Duration = Duration::from_millis(200);
/// At least so many bytes, so that a batch of packets always fits.
const BURST_MIN: u64 = 128 * 1024;

/// A token bucket.
#[derive(Debug)]
pub(super) struct Bucket {
    rate: u64,
    tokens: u64,
    since: Instant,
}

impl Bucket {
    pub(super) fn new(rate: u64, now: Instant) -> Self {
        Self {
            rate,
            tokens: burst(rate),
            since: now,
        }
    }

    /// Whether so many bytes may pass now.
    pub(super) fn has(&mut self, bytes: usize, now: Instant) -> bool {
        self.earn(now);
        self.tokens >= bytes as u64
    }

    /// They pass.
    pub(super) fn take(&mut self, bytes: usize) {
        self.tokens = self.tokens.saturating_sub(bytes as u64);
    }

    /// Whether it is as it was in the beginning.
    pub(super) fn is_full(&mut self, now: Instant) -> bool {
        self.earn(now);
        self.tokens == burst(self.rate)
    }

    fn earn(&mut self, now: Instant) {
        let nanos = now.saturating_duration_since(self.since).as_nanos();
        let earned = u128::from(self.rate) * nanos / 1_000_000_000;
        if earned > 0 {
            let earned = u64::try_from(earned).unwrap_or(u64::MAX);
            self.tokens = self.tokens.saturating_add(earned).min(burst(self.rate));
            self.since = now;
        }
    }
}

fn burst(rate: u64) -> u64 {
    let millis = u64::try_from(BURST.as_millis()).unwrap_or(u64::MAX);
    (rate.saturating_mul(millis) / 1000).max(BURST_MIN)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_is_the_rate_whatever_the_sizes() {
        for len in [100, 1_209, 60_000] {
            let start = Instant::now();
            let mut bucket = Bucket::new(1_000_000, start);
            let mut passed = 0;
            for micros in (0..10_000_000u64).step_by(50) {
                if bucket.has(len, start + Duration::from_micros(micros)) {
                    bucket.take(len);
                    passed += len as u64;
                }
            }
            assert!((9_900_000..10_300_000).contains(&passed), "{len}: {passed}");
        }
    }
}
