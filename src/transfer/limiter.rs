//! The speed limit: one token bucket for everything that a node sends.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How much may be sent at once after a pause, in time: short, so that the mean is right within
/// any few seconds, and long enough that timers of a millisecond do not matter.
const BURST: Duration = Duration::from_millis(50);

/// Bytes per second that all senders of a node share.
#[derive(Debug)]
pub struct Limiter {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    rate: Option<u64>,
    /// When everything that was granted so far has been paid for.
    paid_until: Instant,
}

impl Limiter {
    /// With this limit; `None` for none.
    pub fn new(rate: Option<u64>) -> Self {
        Self {
            state: Mutex::new(State {
                rate,
                paid_until: Instant::now(),
            }),
        }
    }

    /// Changes the limit at once; `None` for none, 0 counts as 1 byte per second.
    pub fn set(&self, rate: Option<u64>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.rate = rate;
        state.paid_until = Instant::now();
    }

    /// The limit.
    pub fn rate(&self) -> Option<u64> {
        self.state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .rate
    }

    /// Waits until `bytes` more may be sent; returns how long that took. Cancel-safe: what was
    /// taken is not given back, so dropping it only makes the next ones wait.
    pub async fn take(&self, bytes: usize) -> Duration {
        let wait = self.book(bytes, Instant::now());
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        wait
    }

    fn book(&self, bytes: usize, now: Instant) -> Duration {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(rate) = state.rate else {
            return Duration::ZERO;
        };
        let cost = Duration::from_secs_f64(bytes as f64 / rate.max(1) as f64);
        let earliest = now.checked_sub(BURST).unwrap_or(now);
        let start = state.paid_until.max(earliest);
        state.paid_until = start + cost;
        start.saturating_duration_since(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_mean_over_ten_seconds_is_the_limit() {
        let limiter = Limiter::new(Some(20_000_000));
        let start = Instant::now();
        let mut sent = 0u64;
        while start.elapsed() < Duration::from_secs(10) {
            limiter.take(256 * 1024).await;
            sent += 256 * 1024;
        }
        let mean = sent as f64 / start.elapsed().as_secs_f64();
        assert!((mean / 20e6 - 1.0).abs() < 0.05, "{mean}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_changed_limit_counts_at_once() {
        let limiter = Limiter::new(Some(1));
        limiter.take(1000).await;
        limiter.set(None);
        assert_eq!(limiter.take(1 << 30).await, Duration::ZERO);
    }
}
