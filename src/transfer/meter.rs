//! How fast a transfer moves.

use std::time::{Duration, Instant};

use super::control::Reading;
use super::status::Limit;

/// Time over which the speed is smoothed.
const SMOOTHING: Duration = Duration::from_secs(3);

/// Speed as an exponential mean; over its first seconds the plain mean.
#[derive(Debug)]
pub(super) struct Meter {
    last: (Reading, Instant),
    /// When bytes began to move.
    since: Option<Instant>,
    rate: f64,
    /// What limited it last.
    pub(super) limit: Limit,
}

impl Meter {
    /// Nothing has moved yet.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            last: (Reading::default(), now),
            since: None,
            rate: 0.0,
            limit: Limit::Unknown,
        }
    }

    /// Takes in a reading; call it a few times a second.
    pub(super) fn measure(&mut self, reading: Reading, now: Instant) {
        let time = now.duration_since(self.last.1).as_secs_f64();
        if time < 0.05 {
            return;
        }
        let come = |reading: &Reading| reading.moved.saturating_add(reading.fed);
        let moved = come(&reading).saturating_sub(come(&self.last.0));
        if self.since.is_none() && moved > 0 {
            self.since = Some(self.last.1);
        }
        if let Some(since) = self.since {
            let age = now.duration_since(since).as_secs_f64();
            let window = age.min(SMOOTHING.as_secs_f64()).max(time);
            let weight = (time / window).min(1.0);
            self.rate += weight * (moved as f64 / time - self.rate);
        }
        self.limit = reading.limit_since(&self.last.0);
        self.last = (reading, now);
    }

    /// Bytes per second.
    pub(super) fn rate(&self) -> u64 {
        self.rate as u64
    }

    /// How long bytes have been moving.
    pub(super) fn age(&self) -> Duration {
        self.since
            .map_or(Duration::ZERO, |since| self.last.1.duration_since(since))
    }
}
