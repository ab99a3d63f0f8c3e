//! Calls that wait for their answer.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::peers::PeerKey;
use crate::protocol::legacy::kademlia::MessageId;

/// How long a call waits for its answer: as originals do.
pub(super) const ANSWER_WAIT: Duration = Duration::from_secs(5);
/// When a call is sent again, counted from its start: datagrams get lost.
const AGAIN: [Duration; 2] = [Duration::from_millis(1000), Duration::from_millis(2500)];
/// Calls that wait at once.
const CALLS_MAX: usize = 256;
/// Calls that wait at once for answers of one address, except those that a person started.
const PER_ADDR_MAX: usize = 4;

/// Names one check-in.
pub(super) type Ticket = u64;

/// What an answer is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// Somebody here waits to send to this peer.
    CheckIn(Ticket),
    /// A peer may be there: who is it?
    Greet,
    /// Is it still there?
    Refresh(PeerKey),
    /// Whom does it know?
    Neighbours(PeerKey),
    /// The same, in the rhythm of originals: our record goes to its list next.
    List(PeerKey),
    /// Our record goes to its list.
    Store(PeerKey),
}

impl Why {
    /// The peer that is lost if nothing comes.
    pub(super) fn peer(self) -> Option<PeerKey> {
        match self {
            Self::CheckIn(_) | Self::Greet => None,
            Self::Refresh(key) | Self::Neighbours(key) | Self::List(key) | Self::Store(key) => {
                Some(key)
            }
        }
    }
}

#[derive(Debug)]
pub(super) struct Call {
    id: MessageId,
    pub(super) to: SocketAddr,
    pub(super) why: Why,
    bytes: Vec<u8>,
    started: Instant,
    sent: usize,
}

impl Call {
    fn deadline(&self) -> Instant {
        self.started + ANSWER_WAIT
    }

    fn again(&self) -> Option<Instant> {
        AGAIN
            .get(self.sent.checked_sub(1)?)
            .map(|after| self.started + *after)
    }
}

/// Calls that wait for their answer.
#[derive(Debug, Default)]
pub(super) struct Calls(Vec<Call>);

impl Calls {
    /// Whether one more may be made to this address.
    pub(super) fn has_room(&self, to: SocketAddr, why: Why) -> bool {
        if matches!(why, Why::CheckIn(_)) {
            return self.0.len() < CALLS_MAX;
        }
        let same = self.0.iter().filter(|call| call.to.ip() == to.ip());
        // The rest is for check-ins.
        self.0.len() < CALLS_MAX / 2 && same.count() < PER_ADDR_MAX
    }

    /// Whether somebody is being asked there who it is.
    pub(super) fn is_greeting(&self, to: SocketAddr) -> bool {
        self.0
            .iter()
            .any(|call| call.to == to && call.why == Why::Greet)
    }

    /// Whether any answer is awaited.
    #[cfg(test)]
    pub(super) fn is_waiting(&self) -> bool {
        !self.0.is_empty()
    }

    /// Whether an answer of this peer is awaited.
    pub(super) fn is_asking(&self, peer: PeerKey) -> bool {
        self.0.iter().any(|call| call.why.peer() == Some(peer))
    }

    pub(super) fn add(
        &mut self,
        now: Instant,
        id: MessageId,
        to: SocketAddr,
        why: Why,
        bytes: Vec<u8>,
    ) {
        self.0.push(Call {
            id,
            to,
            why,
            bytes,
            started: now,
            sent: 1,
        });
    }

    /// The call with this id, which has its answer now.
    pub(super) fn take(&mut self, id: &MessageId) -> Option<Call> {
        let place = self.0.iter().position(|call| call.id == *id)?;
        Some(self.0.swap_remove(place))
    }

    /// Forgets calls for this peer.
    pub(super) fn forget(&mut self, peer: PeerKey) {
        self.0.retain(|call| call.why.peer() != Some(peer));
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        let each = |call: &Call| call.again().unwrap_or(call.deadline()).min(call.deadline());
        self.0.iter().map(each).min()
    }

    /// A datagram that has to be sent again.
    pub(super) fn poll_again(&mut self, now: Instant) -> Option<(SocketAddr, Vec<u8>)> {
        let due = |call: &&mut Call| call.again().is_some_and(|at| at <= now);
        let call = self.0.iter_mut().find(due)?;
        call.sent += 1;
        Some((call.to, call.bytes.clone()))
    }

    /// A call that got no answer in time.
    pub(super) fn poll_unanswered(&mut self, now: Instant) -> Option<Call> {
        let place = self.0.iter().position(|call| call.deadline() <= now)?;
        Some(self.0.swap_remove(place))
    }
}
