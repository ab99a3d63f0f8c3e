//! One-time codes that wait at computers nearby, as those announce them. Pure.
//!
//! Whoever announces a number says only that it may be asked for the words behind it: it is a hint,
//! as all that is heard, and whoever lies has one guess.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::peer::PeerId;

/// How long is looked for codes after somebody has asked for them.
const SEEK_FOR: Duration = Duration::from_secs(10);
/// Most that are remembered of one number.
const SAME_MAX: usize = 4;
/// Most that are remembered.
const CODES_MAX: usize = 1024;

/// A code that waits nearby, by what is said there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NearCode {
    /// Its number.
    pub number: u16,
    /// Who says that it waits there.
    pub peer: PeerId,
    /// Where that is, most useful first.
    pub addrs: Vec<SocketAddr>,
}

/// All that were heard since somebody began to look.
pub type NearCodes = Arc<[NearCode]>;

/// What is looked for, and was found.
#[derive(Debug)]
pub(super) struct Seeking {
    me: PeerId,
    until: Option<Instant>,
    found: Vec<NearCode>,
}

impl Seeking {
    pub(super) fn new(me: PeerId) -> Self {
        let found = Vec::new();
        Self {
            me,
            until: None,
            found,
        }
    }

    /// Somebody looks for codes from now on, for a while.
    pub(super) fn begin(&mut self, now: Instant) {
        self.until = Some(now + SEEK_FOR);
    }

    /// When nobody looks any more.
    pub(super) fn next_poll(&self) -> Option<Instant> {
        self.until
    }

    /// Whether the time is over, once. What was found is forgotten then.
    pub(super) fn is_over(&mut self, now: Instant) -> bool {
        let is_over = self.until.is_some_and(|until| until <= now);
        if is_over {
            self.until = None;
            self.found.clear();
        }
        is_over
    }

    /// A code was heard. Whether that is news.
    pub(super) fn heard(&mut self, code: NearCode) -> bool {
        if self.until.is_none() || code.peer == self.me || code.addrs.is_empty() {
            return false;
        }
        let same = |old: &&mut NearCode| old.number == code.number && old.peer == code.peer;
        if let Some(old) = self.found.iter_mut().find(same) {
            let is_news = old.addrs != code.addrs;
            *old = code;
            return is_news;
        }
        let with_number = self.found.iter().filter(|old| old.number == code.number);
        let has_room = with_number.count() < SAME_MAX && self.found.len() < CODES_MAX;
        if has_room {
            self.found.push(code);
        }
        has_room
    }

    /// All that were found.
    pub(super) fn found(&self) -> NearCodes {
        self.found.clone().into()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn code(number: u16, peer: u8, addr: &str) -> NearCode {
        NearCode {
            number,
            peer: PeerId::from_bytes([peer; 32]),
            addrs: vec![addr.parse().unwrap()],
        }
    }

    #[test]
    fn codes_are_found_while_somebody_looks_and_forgotten_then() {
        let mut seeking = Seeking::new(PeerId::from_bytes([9; 32]));
        let begun = Instant::now();
        let heard = code(7, 1, "10.0.0.2:1");
        assert!(!seeking.heard(heard.clone()), "nobody looks");
        assert_eq!(seeking.next_poll(), None);
        seeking.begin(begun);
        assert!(seeking.heard(heard.clone()));
        assert!(!seeking.heard(heard.clone()), "that is known");
        let moved = code(7, 1, "10.0.0.3:1");
        assert!(seeking.heard(code(7, 1, "10.0.0.3:1")));
        assert!(!seeking.heard(code(7, 9, "10.0.0.2:1")), "our own");
        assert_eq!(*seeking.found(), [moved]);
        // Whoever comes later keeps the search going.
        seeking.begin(begun + SEEK_FOR / 2);
        assert!(!seeking.is_over(begun + SEEK_FOR));
        let end = seeking.next_poll().unwrap();
        assert!(seeking.is_over(end) && !seeking.is_over(end));
        assert!(seeking.found().is_empty());
    }

    #[test]
    fn a_flood_of_codes_has_a_bound_and_leaves_room_for_other_numbers() {
        let mut seeking = Seeking::new(PeerId::from_bytes([0; 32]));
        seeking.begin(Instant::now());
        for peer in 1..=255 {
            seeking.heard(code(7, peer, "10.0.0.2:1"));
        }
        assert_eq!(seeking.found().len(), SAME_MAX);
        assert!(seeking.heard(code(8, 1, "10.0.0.2:1")));
        for number in 0..u16::MAX {
            seeking.heard(code(number, 1, "10.0.0.2:1"));
        }
        assert_eq!(seeking.found().len(), CODES_MAX);
    }
}
