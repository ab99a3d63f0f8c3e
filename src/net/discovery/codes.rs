//! One-time codes that wait at computers nearby, as those announce them. Pure.
//!
//! Whoever announces a number says only that it may be asked for the words behind it: it is a hint,
//! as all that is heard, and whoever lies has one guess.

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::peer::PeerId;

/// How long is looked for codes after somebody has asked for them.
pub const SEEK_FOR: Duration = Duration::from_secs(10);
/// Numbers that are looked for at once.
const SOUGHT_MAX: usize = 16;
/// Most peers that are remembered for one of them.
const SAME_MAX: usize = 8;

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

/// What was heard since somebody began to look.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HeardCodes {
    /// All numbers that somebody has used.
    pub numbers: BTreeSet<u16>,
    /// Codes with numbers that were looked for, which wait now.
    pub found: Vec<NearCode>,
}

/// A picture of that.
pub type NearCodes = Arc<HeardCodes>;

/// What is looked for, and was found.
#[derive(Debug)]
pub(super) struct Seeking {
    me: PeerId,
    until: Option<Instant>,
    sought: VecDeque<u16>,
    heard: HeardCodes,
}

impl Seeking {
    pub(super) fn new(me: PeerId) -> Self {
        Self {
            me,
            until: None,
            sought: VecDeque::new(),
            heard: HeardCodes::default(),
        }
    }

    /// Somebody looks for a code with this number, or for all numbers, from now on, for a while.
    /// What is known is to be heard again then.
    pub(super) fn begin(&mut self, now: Instant, number: Option<u16>) {
        self.until = Some(now + SEEK_FOR);
        let new = number.filter(|number| !self.sought.contains(number));
        self.sought.extend(new);
        if self.sought.len() > SOUGHT_MAX {
            self.sought.pop_front();
        }
    }

    /// When nobody looks any more.
    pub(super) fn next_poll(&self) -> Option<Instant> {
        self.until
    }

    /// Whether the time is over, once. What was found is forgotten then.
    pub(super) fn is_over(&mut self, now: Instant) -> bool {
        let is_over = self.until.is_some_and(|until| until <= now);
        if is_over {
            *self = Self::new(self.me);
        }
        is_over
    }

    /// A code was heard. Whether that is news.
    pub(super) fn heard(&mut self, code: NearCode) -> bool {
        if self.until.is_none() || code.peer == self.me || code.addrs.is_empty() {
            return false;
        }
        let is_new = self.heard.numbers.insert(code.number);
        is_new | self.is_found(code)
    }

    fn is_found(&mut self, code: NearCode) -> bool {
        if !self.sought.contains(&code.number) {
            return false;
        }
        let found = &mut self.heard.found;
        let same = |old: &&mut NearCode| old.number == code.number && old.peer == code.peer;
        if let Some(old) = found.iter_mut().find(same) {
            let is_news = old.addrs != code.addrs;
            *old = code;
            return is_news;
        }
        let with_number = found.iter().filter(|old| old.number == code.number);
        let has_room = with_number.count() < SAME_MAX && found.len() < SOUGHT_MAX * SAME_MAX;
        if has_room {
            found.push(code);
        }
        has_room
    }

    /// A code does not wait any more. Whether that is news.
    pub(super) fn gone(&mut self, number: u16, peer: PeerId) -> bool {
        let before = self.heard.found.len();
        let stays = |code: &NearCode| code.number != number || code.peer != peer;
        self.heard.found.retain(stays);
        self.heard.found.len() != before
    }

    /// All that was heard.
    pub(super) fn picture(&self) -> NearCodes {
        self.heard.clone().into()
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
        seeking.begin(begun, None);
        assert!(seeking.heard(heard.clone()), "the number is taken");
        assert!(!seeking.heard(heard.clone()));
        assert!(seeking.picture().found.is_empty(), "nobody wants that one");
        seeking.begin(begun, Some(7));
        assert!(seeking.heard(heard.clone()));
        assert!(!seeking.heard(heard.clone()), "that is known");
        let moved = code(7, 1, "10.0.0.3:1");
        assert!(seeking.heard(code(7, 1, "10.0.0.3:1")));
        assert!(!seeking.heard(code(7, 9, "10.0.0.2:1")), "our own");
        assert!(seeking.heard(code(8, 1, "10.0.0.2:1")));
        assert_eq!(seeking.picture().found, [moved]);
        assert_eq!(seeking.picture().numbers, [7, 8].into());
        assert!(!seeking.gone(8, heard.peer) && seeking.gone(7, heard.peer));
        assert!(seeking.picture().found.is_empty());
        // It counts the first time it is heard, too.
        seeking.begin(begun, Some(9));
        assert!(seeking.heard(code(9, 1, "10.0.0.2:1")));
        assert_eq!(seeking.picture().found, [code(9, 1, "10.0.0.2:1")]);
        // Whoever comes later keeps the search going.
        seeking.begin(begun + SEEK_FOR / 2, None);
        assert!(!seeking.is_over(begun + SEEK_FOR));
        let end = seeking.next_poll().unwrap();
        assert!(seeking.is_over(end) && !seeking.is_over(end));
        assert_eq!(*seeking.picture(), HeardCodes::default());
    }

    #[test]
    fn a_flood_of_codes_has_a_bound_and_leaves_room_for_other_numbers() {
        let mut seeking = Seeking::new(PeerId::from_bytes([0; 32]));
        let now = Instant::now();
        seeking.begin(now, Some(7));
        for peer in 1..=255 {
            seeking.heard(code(7, peer, "10.0.0.2:1"));
        }
        assert_eq!(seeking.picture().found.len(), SAME_MAX);
        seeking.begin(now, Some(8));
        assert!(seeking.heard(code(8, 1, "10.0.0.2:1")));
        for number in 0..10_000 {
            seeking.begin(now, Some(number));
            seeking.heard(code(number, 1, "10.0.0.2:1"));
        }
        assert!(seeking.picture().found.len() <= SOUGHT_MAX * SAME_MAX);
        assert!(seeking.sought.len() <= SOUGHT_MAX);
    }
}
