//! How much others can make us send.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Datagrams that one address can cause in a second, to itself. An original that has just started
/// needs six.
pub(super) const PER_ADDR_MAX: u32 = 10;
/// Datagrams that all together can cause in a second.
pub(super) const ALL_MAX: u32 = 200;

const WINDOW: Duration = Duration::from_secs(1);

/// Counts datagrams in windows of a second; remembers at most [`ALL_MAX`] addresses.
#[derive(Debug, Default)]
pub(super) struct Limiter {
    since: Option<Instant>,
    all: u32,
    by_addr: HashMap<IpAddr, u32>,
}

impl Limiter {
    /// Whether one more datagram may go to `ip`, which is counted then.
    pub(super) fn allow(&mut self, now: Instant, ip: IpAddr) -> bool {
        let is_over = |since| now.saturating_duration_since(since) >= WINDOW;
        if self.since.is_none_or(is_over) {
            *self = Self {
                since: Some(now),
                ..Self::default()
            };
        }
        if self.all >= ALL_MAX {
            return false;
        }
        let count = self.by_addr.entry(ip).or_default();
        if *count >= PER_ADDR_MAX {
            return false;
        }
        *count += 1;
        self.all += 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_gets_ten_a_second_and_all_together_two_hundred() {
        let start = Instant::now();
        let mut limiter = Limiter::default();
        let mut allowed = |at: u64, ip: u8| {
            let now = start + Duration::from_millis(at);
            (0..100)
                .filter(|_| limiter.allow(now, IpAddr::from([10, 0, 0, ip])))
                .count()
        };
        assert_eq!(allowed(0, 1), 10);
        assert_eq!(allowed(999, 1), 0);
        assert_eq!(allowed(1000, 1), 10);
        let all: usize = (2..100).map(|ip| allowed(1001, ip)).sum();
        assert_eq!(all, 190);
        assert_eq!(allowed(2000, 100), 10);
    }
}
