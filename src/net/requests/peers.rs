//! Who answered: originals by id and address, and programs like this one.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::links::beside;
use crate::peer::PeerId;
use crate::protocol::legacy::{LegacyId, Record};

/// Originals that are remembered at once.
pub(super) const ORIGINALS_MAX: usize = 256;
/// Originals that are remembered of one address: a family behind one router.
pub(super) const ORIGINALS_PER_ADDR_MAX: usize = 8;
/// Programs like this one that are remembered at once.
pub(super) const OWN_KIND_MAX: usize = 256;
/// Without a word for so long, a program like this one counts as gone.
const OWN_KIND_AGE: Duration = Duration::from_secs(90);
/// After so long it is asked whether it is still there.
const OWN_KIND_ASK: Duration = Duration::from_secs(30);

/// What tells originals apart. The id does not: all whose user never changed the profile have the
/// same one. Nor does the address: a program that was restarted with another profile is another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct PeerKey {
    /// What it calls itself.
    pub(super) id: LegacyId,
    /// Where it answers requests.
    pub(super) requests: SocketAddr,
}

/// How sure we are that an original is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum State {
    /// It answered, but may still turn out to be a program like this one; shown from this moment.
    New(Instant),
    /// It is there.
    Present,
    /// It did not answer a call, and has until this moment to answer a removal ping.
    Pinged {
        /// Names the ping.
        ping: String,
        /// When it is given up.
        until: Instant,
    },
    /// It is found out whether its stream port is open; given up at this moment.
    Probed(Instant),
}

/// An original.
#[derive(Debug, Clone)]
pub(super) struct Original {
    pub(super) record: Record,
    /// Where streams go: see [`stream_addr`].
    pub(super) stream: SocketAddr,
    pub(super) state: State,
    /// When it last answered.
    pub(super) heard: Instant,
    /// When it was last asked for no other reason than to know whether it is there.
    pub(super) asked: Instant,
}

impl Original {
    pub(super) fn is_shown(&self) -> bool {
        !matches!(self.state, State::New(_))
    }

    fn timeout(&self, stale: Duration) -> Instant {
        match self.state {
            State::New(at) => at,
            State::Present => self.heard.max(self.asked) + stale,
            State::Pinged { until, .. } => until,
            State::Probed(until) => until,
        }
    }
}

/// Originals that answered us.
#[derive(Debug, Default)]
pub(super) struct Originals(pub(super) BTreeMap<PeerKey, Original>);

impl Originals {
    /// Whether one more fits. Those that are there are never pushed out by others.
    pub(super) fn has_room(&self, key: PeerKey) -> bool {
        let ip = key.requests.ip();
        let same = self.0.keys().filter(|known| known.requests.ip() == ip);
        self.0.len() < ORIGINALS_MAX && same.count() < ORIGINALS_PER_ADDR_MAX
    }

    /// The nearest to `target` by XOR, each id once, without `except`.
    pub(super) fn nearest(
        &self,
        target: &[u8; 20],
        except: &LegacyId,
        count: usize,
    ) -> Vec<(PeerKey, &Original)> {
        let shown = |(key, original): &(&PeerKey, &Original)| {
            original.is_shown() && key.id != *except && key.id.as_bytes() != target
        };
        let mut found: Vec<_> = self.0.iter().filter(shown).map(|(k, o)| (*k, o)).collect();
        // Of those with one id, the last that answered.
        found.sort_by_key(|(key, original)| {
            (key.id.distance(target), std::cmp::Reverse(original.heard))
        });
        found.dedup_by_key(|(key, _)| key.id);
        found.truncate(count);
        found
    }

    /// When one of them needs attention; those that are there after `stale` without an answer.
    pub(super) fn next_timeout(&self, stale: Duration) -> Option<Instant> {
        self.0
            .values()
            .map(|original| original.timeout(stale))
            .min()
    }

    /// Those that need attention now.
    pub(super) fn due(&self, now: Instant, stale: Duration) -> Vec<PeerKey> {
        let due = |(_, original): &(&PeerKey, &Original)| original.timeout(stale) <= now;
        self.0.iter().filter(due).map(|(key, _)| *key).collect()
    }
}

/// A program like this one, as it says.
#[derive(Debug, Clone)]
pub(super) struct OwnKind {
    pub(super) name: String,
    /// Its id towards originals.
    pub(super) id: LegacyId,
    /// Where it answers requests.
    pub(super) requests: SocketAddr,
    pub(super) heard: Instant,
    asked: Instant,
}

/// Programs like this one, by what they say of themselves: peer and address for QUIC.
#[derive(Debug, Default)]
pub(super) struct OwnKinds(pub(super) BTreeMap<(PeerId, SocketAddr), OwnKind>);

impl OwnKinds {
    pub(super) fn has(&self, id: &LegacyId) -> bool {
        self.0.values().any(|kind| kind.id == *id)
    }

    /// Notes one, in place of the one that was silent for longest if there are too many.
    pub(super) fn note(
        &mut self,
        now: Instant,
        (peer, quic): (PeerId, SocketAddr),
        name: String,
        requests: SocketAddr,
    ) {
        if self.0.len() >= OWN_KIND_MAX && !self.0.contains_key(&(peer, quic)) {
            let oldest = self.0.iter().min_by_key(|(_, kind)| kind.heard);
            if let Some(oldest) = oldest.map(|(key, _)| *key) {
                self.0.remove(&oldest);
            }
        }
        let kind = OwnKind {
            name,
            id: LegacyId::of_installation(&peer),
            requests,
            heard: now,
            asked: now,
        };
        self.0.insert((peer, quic), kind);
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.0
            .values()
            .map(|kind| (kind.heard + OWN_KIND_AGE).min(kind.asked + OWN_KIND_ASK))
            .min()
    }

    /// Forgets those that fell silent; says whether there were any, and where to ask the others.
    pub(super) fn expire(&mut self, now: Instant) -> (bool, Vec<SocketAddr>) {
        let before = self.0.len();
        self.0.retain(|_, kind| now < kind.heard + OWN_KIND_AGE);
        let mut ask = Vec::new();
        for kind in self.0.values_mut() {
            if kind.asked + OWN_KIND_ASK <= now {
                kind.asked = now;
                ask.push(kind.requests);
            }
        }
        (self.0.len() < before, ask)
    }
}

/// Where the streams of a peer go that answered at `requests`: to the address in its record if it
/// is the same or, as `is_near` says, in the same network as the one that answered. Any other
/// could be somebody else's.
pub(super) fn stream_addr(record: &Record, requests: SocketAddr, is_near: bool) -> SocketAddr {
    let ip = match is_near {
        true => record.ip,
        false => requests.ip(),
    };
    beside(requests, ip, record.stream_port)
}
