//! Numbers of one-time codes: which peer waits behind each. They are no secrets, but nobody shall
//! try them all, or take them all.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::peer::PeerId;
use crate::protocol::codes::{CODE_LIFETIME, NUMBER_MAX};
use crate::protocol::relay::{FromRelay, NoNumber, ToRelay};

/// Numbers that one peer may have at a relay.
pub const NUMBERS_PER_PEER: usize = 8;
/// Numbers that all peers of one IPv4 address or IPv6 /64 network may have.
pub const NUMBERS_PER_ADDR: usize = 64;
/// Claims and questions from one such network in [`ASKS_IN`].
pub const ASKS_MAX: usize = 30;
/// See [`ASKS_MAX`].
pub const ASKS_IN: Duration = Duration::from_secs(60);
/// Networks whose questions are counted at once; those of others wait.
const NETWORKS_MAX: usize = 10_000;
/// How long a number is kept for a peer that does not say it again: a little longer than a code.
const LIFETIME: Duration = CODE_LIFETIME.saturating_add(Duration::from_secs(60));

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    claims: HashMap<u16, Claim>,
    /// When those asked who have asked lately.
    asks: HashMap<IpAddr, Vec<Instant>>,
}

#[derive(Debug)]
struct Claim {
    peer: PeerId,
    network: IpAddr,
    since: Instant,
}

impl Numbers {
    /// What a peer says about numbers, and from which network. Returns what to answer.
    pub(super) fn said(
        &mut self,
        message: &ToRelay,
        (peer, network): (PeerId, IpAddr),
        now: Instant,
    ) -> Option<FromRelay> {
        match *message {
            ToRelay::Claim { number } => {
                let result = self.claim(number, peer, network, now);
                Some(FromRelay::Claimed { number, result })
            }
            ToRelay::Find { number } => {
                let result = self.find(number, network, now);
                Some(FromRelay::Found { number, result })
            }
            ToRelay::Release { number } => {
                self.release(number, peer);
                None
            }
            ToRelay::Hello { .. } | ToRelay::Call { .. } | ToRelay::Take { .. } => None,
            ToRelay::Leave { .. } | ToRelay::Here { .. } => None,
        }
    }

    /// Gives `number` to `peer`, which comes from `network`.
    fn claim(
        &mut self,
        number: u16,
        peer: PeerId,
        network: IpAddr,
        now: Instant,
    ) -> Result<(), NoNumber> {
        if !(1..=NUMBER_MAX).contains(&number) || !self.may_ask(network, now) {
            return Err(NoNumber::Busy);
        }
        if self.claims.get(&number).is_some_and(|c| c.peer != peer) {
            return Err(NoNumber::Taken);
        }
        let others = || self.claims.iter().filter(|(taken, _)| **taken != number);
        let of_peer = others().filter(|(_, claim)| claim.peer == peer).count();
        let of_network = others().filter(|(_, claim)| claim.network == network);
        if of_peer >= NUMBERS_PER_PEER || of_network.count() >= NUMBERS_PER_ADDR {
            return Err(NoNumber::Busy);
        }
        let claim = Claim {
            peer,
            network,
            since: now,
        };
        self.claims.insert(number, claim);
        Ok(())
    }

    /// `peer` does not need `number` any more.
    fn release(&mut self, number: u16, peer: PeerId) {
        if self.claims.get(&number).is_some_and(|c| c.peer == peer) {
            self.claims.remove(&number);
        }
    }

    /// Who has `number`, if somebody from `network` may know.
    fn find(&mut self, number: u16, network: IpAddr, now: Instant) -> Result<PeerId, NoNumber> {
        if !self.may_ask(network, now) {
            return Err(NoNumber::Busy);
        }
        let claim = self.claims.get(&number).ok_or(NoNumber::Nobody)?;
        Ok(claim.peer)
    }

    /// A peer has gone, and its numbers with it.
    pub(super) fn left(&mut self, peer: PeerId) {
        self.claims.retain(|_, claim| claim.peer != peer);
    }

    /// Forgets what is over.
    pub(super) fn sweep(&mut self, now: Instant) {
        self.claims.retain(|_, claim| now - claim.since < LIFETIME);
        self.asks.retain(|_, asks| {
            asks.retain(|at| now - *at < ASKS_IN);
            !asks.is_empty()
        });
    }

    /// Counts a question, unless there were too many.
    fn may_ask(&mut self, network: IpAddr, now: Instant) -> bool {
        if self.asks.len() >= NETWORKS_MAX && !self.asks.contains_key(&network) {
            return false;
        }
        let asks = self.asks.entry(network).or_default();
        asks.retain(|at| now - *at < ASKS_IN);
        let may = asks.len() < ASKS_MAX;
        if may {
            asks.push(now);
        }
        may
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn id(n: u8) -> PeerId {
        PeerId::from_bytes([n; 32])
    }

    fn from(n: u8) -> IpAddr {
        [192, 0, 2, n].into()
    }

    #[test]
    fn a_number_leads_to_the_one_who_has_it_until_it_goes() {
        let (mut numbers, now) = (Numbers::default(), Instant::now());
        assert_eq!(numbers.find(7, from(2), now), Err(NoNumber::Nobody));
        assert_eq!(numbers.claim(7, id(1), from(1), now), Ok(()));
        assert_eq!(numbers.find(7, from(2), now), Ok(id(1)));
        // Nobody takes it over, and nobody else gives it back.
        assert_eq!(numbers.claim(7, id(2), from(2), now), Err(NoNumber::Taken));
        numbers.release(7, id(2));
        assert_eq!(numbers.claim(7, id(1), from(1), now), Ok(()));
        numbers.release(7, id(1));
        assert_eq!(numbers.find(7, from(2), now), Err(NoNumber::Nobody));
        assert_eq!(numbers.claim(7, id(2), from(2), now), Ok(()));
        numbers.left(id(2));
        assert_eq!(numbers.find(7, from(2), now), Err(NoNumber::Nobody));
    }

    #[test]
    fn there_are_only_so_many_numbers_for_one() {
        let (mut numbers, now) = (Numbers::default(), Instant::now());
        let most = NUMBERS_PER_PEER as u16;
        for number in 1..=most {
            assert_eq!(numbers.claim(number, id(1), from(1), now), Ok(()));
        }
        let more = numbers.claim(most + 1, id(1), from(1), now);
        assert_eq!(more, Err(NoNumber::Busy));
        assert_eq!(numbers.claim(most, id(1), from(1), now), Ok(()), "again");
        assert_eq!(numbers.claim(0, id(2), from(2), now), Err(NoNumber::Busy));
        let beyond = numbers.claim(NUMBER_MAX + 1, id(2), from(2), now);
        assert_eq!(beyond, Err(NoNumber::Busy));
    }

    #[test]
    fn many_keys_from_one_place_get_no_more() {
        let (mut numbers, mut now) = (Numbers::default(), Instant::now());
        let mut got = 0;
        for n in 0..200 {
            got += usize::from(numbers.claim(n + 1, id(n as u8), from(1), now).is_ok());
            if (n + 1) % 20 == 0 {
                now += ASKS_IN;
            }
        }
        assert_eq!(got, NUMBERS_PER_ADDR);
        assert_eq!(numbers.claim(500, id(9), from(2), now), Ok(()));
    }

    #[test]
    fn nobody_tries_them_all() {
        let (mut numbers, now) = (Numbers::default(), Instant::now());
        let ask = |numbers: &mut Numbers, at| numbers.find(7, from(1), at);
        for _ in 0..ASKS_MAX {
            assert_eq!(ask(&mut numbers, now), Err(NoNumber::Nobody));
        }
        assert_eq!(ask(&mut numbers, now), Err(NoNumber::Busy));
        assert_eq!(numbers.find(7, from(2), now), Err(NoNumber::Nobody));
        assert_eq!(ask(&mut numbers, now + ASKS_IN), Err(NoNumber::Nobody));
    }

    #[test]
    fn a_number_is_not_kept_for_ever() {
        let (mut numbers, now) = (Numbers::default(), Instant::now());
        numbers.claim(7, id(1), from(1), now).unwrap();
        numbers.sweep(now + CODE_LIFETIME);
        assert_eq!(numbers.find(7, from(2), now), Ok(id(1)));
        numbers.sweep(now + LIFETIME);
        assert_eq!(numbers.find(7, from(2), now), Err(NoNumber::Nobody));
        assert!(numbers.asks.len() == 1, "what was asked is forgotten, too");
    }
}
