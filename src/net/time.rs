//! Times that are met although the computer sleeps meanwhile.

use std::time::{Duration, SystemTime};

use tokio::time::{Instant, sleep};

/// How often it is looked whether the computer has slept: the clock of waits stands still then.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// A time by the clock that stands still while the computer sleeps, and by the one that can be set.
#[derive(Debug, Clone, Copy)]
pub(super) struct Time(Instant, SystemTime);

impl Time {
    /// In so long.
    pub(super) fn after(time: Duration) -> Self {
        Self(Instant::now() + time, SystemTime::now() + time)
    }

    /// Whether it is past by either clock.
    pub(super) fn is_past(self) -> bool {
        Instant::now() >= self.0 || SystemTime::now() >= self.1
    }

    /// How long it is until then by the first clock.
    pub(super) fn left(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }

    /// Waits until then, a minute too long after sleep at most. Cancel-safe.
    pub(super) async fn reached(self) {
        while !self.is_past() {
            sleep(self.left().min(LOOK_EVERY)).await;
        }
    }
}
