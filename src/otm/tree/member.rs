//! What the tree knows of one member.

use std::time::Duration;

use super::Feeder;
use crate::protocol::message::TransferId;

/// How long a member keeps its feeder at least, unless there is trouble with it.
const HOLD_MIN: Duration = Duration::from_secs(3);

#[derive(Debug)]
pub(super) struct Member {
    pub(super) relays: bool,
    pub(super) complete: bool,
    pub(super) done: u64,
    /// `None` only if complete.
    pub(super) feeder: Option<Feeder>,
    /// The feeder that it knows of.
    pub(super) told: Option<Feeder>,
    pub(super) children: Vec<TransferId>,
    /// Steps from somebody who has everything.
    pub(super) depth: usize,
    pub(super) rtt: Option<Duration>,
    /// When its feeder changed last.
    pub(super) changed: Duration,
}

impl Member {
    pub(super) fn new(relays: bool, done: u64, now: Duration) -> Self {
        Self {
            relays,
            complete: false,
            done,
            feeder: None,
            told: None,
            children: Vec::new(),
            depth: 0,
            rtt: None,
            changed: now,
        }
    }

    pub(super) fn progress(&mut self, done: u64, _now: Duration) {
        self.done = done;
    }

    /// Whether it kept its feeder long enough to get another one without need.
    pub(super) fn may_change(&self, now: Duration) -> bool {
        now.saturating_sub(self.changed) >= HOLD_MIN
    }
}
