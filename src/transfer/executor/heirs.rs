//! Who of those that the origin named is asked now. Pure.

use crate::protocol::message::TransferId;
use crate::protocol::sessions::{Feeder, HEIRS_MAX, Trouble};

/// How often somebody may be slow before the next one is tried. Twice as often after each such
/// change: where all are slow, changes only lose what is half there.
const PATIENCE: u32 = 3;

/// The heirs, and whose turn it is.
#[derive(Debug)]
pub(super) struct Heirs {
    all: Vec<Feeder>,
    at: usize,
    slow: u32,
    patience: u32,
}

impl Heirs {
    /// `first` is asked first: it may be in the middle of something.
    pub(super) fn new(first: Option<Feeder>, named: &[Feeder]) -> Self {
        let mut all: Vec<Feeder> = first.into_iter().collect();
        for heir in named {
            if !all.iter().any(|known| member(known) == member(heir)) {
                all.push(heir.clone());
            }
        }
        all.truncate(HEIRS_MAX + 1);
        Self {
            all,
            at: 0,
            slow: 0,
            patience: PATIENCE,
        }
    }

    /// Whose turn it is; `None` if nobody is left.
    pub(super) fn now(&self) -> Option<&Feeder> {
        self.all.get(self.at)
    }

    /// How many are left.
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// It is the next one's turn.
    pub(super) fn turn(&mut self) {
        self.at = (self.at + 1).checked_rem(self.all.len()).unwrap_or(0);
        self.slow = 0;
    }

    /// Something is wrong with one of them. Returns whether it is another one's turn now.
    pub(super) fn on_trouble(&mut self, about: TransferId, trouble: Trouble) -> bool {
        if self.now().and_then(member) != Some(about) {
            return false;
        }
        match trouble {
            Trouble::Gone => self.turn(),
            Trouble::Slow | Trouble::Withheld { .. } => {
                self.slow += 1;
                if self.slow < self.patience || self.all.len() == 1 {
                    return false;
                }
                self.patience = self.patience.saturating_mul(2);
                self.turn();
            }
            // Never again, whatever it has.
            Trouble::Lied => {
                self.all.remove(self.at);
                self.at = self.at.checked_rem(self.all.len()).unwrap_or(0);
                self.slow = 0;
            }
        }
        true
    }
}

fn member(feeder: &Feeder) -> Option<TransferId> {
    match feeder {
        Feeder::Member { member, .. } => Some(*member),
        Feeder::Origin => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::PeerId;
    use crate::protocol::sessions::{FeedingKey, Ticket};

    fn heir(n: u8) -> Feeder {
        let peer = PeerId::from_bytes([n; 32]);
        Feeder::Member {
            member: id(n),
            peer,
            addrs: Vec::new(),
            ticket: Ticket::new(&FeedingKey([n; 32]), peer),
        }
    }

    fn id(n: u8) -> TransferId {
        TransferId([n; 16])
    }

    #[test]
    fn the_last_feeder_is_first_and_nobody_is_named_twice() {
        let mut heirs = Heirs::new(Some(heir(2)), &[heir(1), heir(2), heir(3)]);
        let mut order = Vec::new();
        for _ in 0..4 {
            order.push(heirs.now().and_then(member));
            heirs.turn();
        }
        assert_eq!(order, [2, 1, 3, 2].map(|n| Some(id(n))));
    }

    #[test]
    fn each_has_its_turn_and_a_liar_none_any_more() {
        let mut heirs = Heirs::new(None, &[heir(1), heir(2), heir(3)]);
        assert!(!heirs.on_trouble(id(2), Trouble::Gone), "not its turn");
        assert!(heirs.on_trouble(id(1), Trouble::Gone));
        assert!(heirs.on_trouble(id(2), Trouble::Lied));
        assert_eq!(heirs.now(), Some(&heir(3)));
        assert!(heirs.on_trouble(id(3), Trouble::Lied));
        assert_eq!(heirs.now(), Some(&heir(1)));
        assert!(heirs.on_trouble(id(1), Trouble::Gone));
        assert_eq!(heirs.now(), Some(&heir(1)), "the only one is asked again");
        assert!(heirs.on_trouble(id(1), Trouble::Lied));
        assert_eq!(heirs.now(), None);
        heirs.turn();
        assert_eq!(heirs.now(), None);
    }

    #[test]
    fn slow_ones_change_less_and_less_often() {
        let mut heirs = Heirs::new(None, &[heir(1), heir(2)]);
        let mut until_turn = |n: u8| (1..).find(|_| heirs.on_trouble(id(n), Trouble::Slow));
        let changes = [1, 2, 1].map(&mut until_turn);
        assert_eq!(changes, [Some(3), Some(6), Some(12)]);
        let mut alone = Heirs::new(None, &[heir(1)]);
        assert!(!(0..99).any(|_| alone.on_trouble(id(1), Trouble::Slow)));
    }
}
