//! How much a relay carries for whom.

use std::collections::HashMap;
use std::time::Instant;

use super::bucket::Bucket;
use crate::peer::PeerId;

/// Most bytes per second. `None`: no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RelayLimits {
    /// Between two peers, both directions together, however many channels they have.
    pub pair: Option<u64>,
    /// What one peer sends to all others. What it gets does not count: others would use it up.
    pub peer: Option<u64>,
    /// Of everybody, whoever comes first.
    pub total: Option<u64>,
}

/// Whose bytes are counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Whose {
    /// The lower key first.
    Pair(PeerId, PeerId),
    Peer(PeerId),
    All,
}

/// What was carried lately.
#[derive(Debug)]
pub(super) struct Meters {
    limits: RelayLimits,
    buckets: HashMap<Whose, Bucket>,
}

impl Meters {
    pub(super) fn new(limits: RelayLimits) -> Self {
        Self {
            limits,
            buckets: HashMap::new(),
        }
    }

    /// Whether so many bytes may pass from the first to the second now. Only then they count.
    pub(super) fn takes(&mut self, ends: [PeerId; 2], bytes: usize, now: Instant) -> bool {
        let RelayLimits { pair, peer, total } = self.limits;
        let [from, to] = ends;
        let wanted = [
            (Whose::Pair(from.min(to), from.max(to)), pair),
            (Whose::Peer(from), peer),
            (Whose::All, total),
        ];
        let wanted = wanted.map(|(whose, limit)| limit.map(|rate| (whose, rate)));
        let fits = wanted.iter().flatten().all(|(whose, rate)| {
            let fresh = || Bucket::new(*rate, now);
            self.buckets
                .entry(*whose)
                .or_insert_with(fresh)
                .has(bytes, now)
        });
        if fits {
            for (whose, _) in wanted.iter().flatten() {
                if let Some(bucket) = self.buckets.get_mut(whose) {
                    bucket.take(bytes);
                }
            }
        }
        fits
    }

    /// Forgets those that are as good as new: who comes back gains nothing by it.
    pub(super) fn sweep(&mut self, now: Instant) {
        self.buckets.retain(|_, bucket| !bucket.is_full(now));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn peer(n: u8) -> PeerId {
        PeerId::from_bytes([n; 32])
    }

    /// Bytes that pass in ten seconds if these try all the time, in turn.
    fn pass(limits: RelayLimits, pairs: &[[u8; 2]]) -> u64 {
        let (start, mut meters) = (Instant::now(), Meters::new(limits));
        let mut passed = 0;
        for millis in 0..10_000 {
            let now = start + Duration::from_millis(millis);
            for ends in pairs {
                passed += u64::from(meters.takes(ends.map(peer), 1_000, now)) * 1_000;
            }
            if millis % 1_000 == 0 {
                meters.sweep(now);
            }
        }
        passed
    }

    fn is_about(bytes: u64, rate: u64) -> bool {
        // In the first moment a little more.
        (rate * 10 * 98 / 100..rate * 10 + rate / 4 + 140_000).contains(&bytes)
    }

    #[test]
    fn a_pair_a_peer_and_everybody_get_so_much_and_no_more() {
        let none = RelayLimits::default();
        let rate = Some(300_000);
        assert_eq!(pass(none, &[[1, 2]]), 10_000_000);
        let pair = RelayLimits { pair: rate, ..none };
        assert!(is_about(pass(pair, &[[1, 2]]), 300_000));
        // Whoever calls, and by however many channels.
        assert!(is_about(pass(pair, &[[1, 2], [2, 1], [1, 2]]), 300_000));
        let two = pass(pair, &[[1, 2], [1, 3]]);
        assert!((5_800_000..6_600_000).contains(&two), "{two}");
        let peer = RelayLimits { peer: rate, ..none };
        assert!(is_about(pass(peer, &[[1, 2], [1, 3], [1, 4]]), 300_000));
        // Who gets much may still send.
        let two = pass(peer, &[[2, 1], [1, 2]]);
        assert!((5_800_000..6_600_000).contains(&two), "{two}");
        let total = RelayLimits {
            total: rate,
            ..none
        };
        assert!(is_about(pass(total, &[[1, 2], [3, 4], [5, 6]]), 300_000));
    }

    #[test]
    fn what_does_not_pass_counts_for_nobody() {
        let limits = RelayLimits {
            pair: Some(10_000),
            total: Some(10_000_000),
            peer: None,
        };
        let (now, mut meters) = (Instant::now(), Meters::new(limits));
        while meters.takes([peer(1), peer(2)], 1_000, now) {}
        for _ in 0..10_000 {
            assert!(!meters.takes([peer(1), peer(2)], 1_000, now));
        }
        assert!(meters.takes([peer(3), peer(4)], 1_000, now));
        assert_eq!(meters.buckets.len(), 3);
        meters.sweep(now + Duration::from_secs(60));
        assert!(meters.buckets.is_empty());
    }
}
