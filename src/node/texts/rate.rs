//! How many texts may come in a minute. Time is passed in.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::peer::{Party, PeerId};

/// Texts that one stranger may offer in a minute: a person who writes them is slower.
pub const STRANGER_MAX: u32 = 12;
/// Texts that all strangers together may offer in a minute: keys cost nothing.
pub(super) const STRANGERS_MAX: u32 = 48;
/// Texts that one trusted peer may send in a minute. More is a program that has gone wild.
pub(super) const TRUSTED_MAX: u32 = 120;

const WINDOW: Duration = Duration::from_secs(60);

/// Who texts are counted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::node) enum Source {
    /// A peer with a key.
    Key(PeerId),
    /// Whoever is at this address: ids of originals cost nothing.
    Address(IpAddr),
}

impl Source {
    pub(in crate::node) fn of(party: &Party) -> Self {
        match party {
            Party::Key(id) => Self::Key(*id),
            Party::Legacy(peer) => Self::Address(peer.addr.ip()),
        }
    }
}

/// Counts texts in windows of a minute.
#[derive(Debug, Default)]
pub(super) struct Rate {
    since: Option<Instant>,
    strangers: u32,
    /// At most [`STRANGERS_MAX`] strangers, and the trusted ones, who are few.
    by_source: HashMap<Source, u32>,
}

impl Rate {
    pub(super) fn allows_stranger(&mut self, now: Instant, source: Source) -> bool {
        self.turn(now);
        if self.strangers >= STRANGERS_MAX || !self.count(source, STRANGER_MAX) {
            return false;
        }
        self.strangers += 1;
        true
    }

    pub(super) fn allows_trusted(&mut self, now: Instant, source: Source) -> bool {
        self.turn(now);
        self.count(source, TRUSTED_MAX)
    }

    fn turn(&mut self, now: Instant) {
        let is_over = |since| now.saturating_duration_since(since) >= WINDOW;
        if self.since.is_none_or(is_over) {
            *self = Self {
                since: Some(now),
                ..Self::default()
            };
        }
    }

    fn count(&mut self, source: Source, most: u32) -> bool {
        let count = self.by_source.entry(source).or_default();
        let allowed = *count < most;
        *count += u32::from(allowed);
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_get_few_a_minute_alone_and_together_and_those_we_trust_many() {
        let start = Instant::now();
        let key = |n| Source::Key(PeerId::from_bytes([n; 32]));
        let mut rate = Rate::default();
        let mut many = |at: u64, source, trusted: bool| {
            let now = start + Duration::from_secs(at);
            let allowed = |_: &u32| match trusted {
                true => rate.allows_trusted(now, source),
                false => rate.allows_stranger(now, source),
            };
            (0..1000).filter(allowed).count() as u32
        };
        assert_eq!(many(0, key(1), false), STRANGER_MAX);
        assert_eq!(many(59, key(1), false), 0);
        let others: u32 = (2..100).map(|n| many(59, key(n), false)).sum();
        assert_eq!(others, STRANGERS_MAX - STRANGER_MAX);
        assert_eq!(many(59, key(200), true), TRUSTED_MAX, "not kept out");
        assert_eq!(many(60, key(1), false), STRANGER_MAX, "a new minute");
        let address = Source::Address([10, 0, 0, 1].into());
        assert_eq!(many(60, address, false), STRANGER_MAX);
    }

    #[test]
    fn what_is_remembered_of_strangers_is_bounded() {
        let mut rate = Rate::default();
        let now = Instant::now();
        for n in 0..10_000_u32 {
            let source = Source::Address(n.to_be_bytes().into());
            rate.allows_stranger(now, source);
        }
        assert_eq!(rate.by_source.len(), STRANGERS_MAX as usize);
    }
}
