//! TCP connections between this computer and a peer that was reached through a relay: made here,
//! or by the peer.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use crate::net::paths::Place;
use crate::net::pool::Shared;
use crate::net::race::{NEXT_ADDR_AFTER, tcp_after};
use crate::net::tls;
use crate::net::wire::Wire;
use crate::peer::PeerId;

/// Most of them at once: one is enough, and each side may make one.
const WIRES_MAX: usize = 2;
/// Addresses that are called in one round.
const CALLED_MAX: usize = 4;
/// After how long they are called again: at first, and later.
const AGAIN_AFTER: Duration = Duration::from_secs(15);
const AGAIN_LATER: Duration = Duration::from_secs(60);
/// Rounds until that is later.
const ROUNDS_FIRST: u32 = 3;

/// All of one connection.
pub(super) struct Wires {
    all: Vec<(u32, Wire)>,
    next: u32,
    calls: JoinSet<Option<Wire>>,
    ends: JoinSet<()>,
    due: Instant,
    rounds: u32,
}

/// What has happened to them.
pub(super) enum Change {
    /// One of them has ended.
    Ended,
    /// A call is over, in vain or not.
    Called(Option<Wire>),
    /// It is time to call.
    Due,
}

impl Wires {
    /// None yet. UDP has its time first.
    pub(super) fn new(shared: &Shared) -> Self {
        Self {
            all: Vec::new(),
            next: 0,
            calls: JoinSet::new(),
            ends: JoinSet::new(),
            due: Instant::now() + tcp_after(shared),
            rounds: 0,
        }
    }

    /// What `wire` is called; it is kept from now on. If there are too many then, the oldest goes
    /// that is not `used`: which.
    pub(super) fn place_of(&mut self, wire: &Wire, used: Option<Place>) -> (Place, Option<Place>) {
        let known = self.all.iter().find(|(_, known)| known.is_same(wire));
        if let Some((number, _)) = known {
            return (Place::Tcp(*number), None);
        }
        let is_used = |number: u32| used == Some(Place::Tcp(number));
        let goes = self.all.iter().position(|(number, _)| !is_used(*number));
        let goes = goes.filter(|_| self.all.len() >= WIRES_MAX);
        let gone = goes.map(|index| Place::Tcp(self.all.remove(index).0));
        let number = self.next;
        self.next = self.next.wrapping_add(1);
        self.ends.spawn(wire.ended());
        self.all.push((number, wire.clone()));
        (Place::Tcp(number), gone)
    }

    pub(super) fn get(&self, number: u32) -> Option<&Wire> {
        let found = self.all.iter().find(|(its, _)| *its == number);
        found.map(|(_, wire)| wire)
    }

    /// Lets those go of which this is so, and says which.
    pub(super) fn drop_if(&mut self, so: impl Fn(Place, &Wire) -> bool) -> Vec<Place> {
        let goes = |(number, wire): &mut (u32, Wire)| so(Place::Tcp(*number), wire);
        let gone = self.all.extract_if(.., goes);
        gone.map(|(number, _)| Place::Tcp(number)).collect()
    }

    /// The network has changed: it is worth calling again soon. Those that still work show it.
    pub(super) fn begin_anew(&mut self, shared: &Shared) {
        self.calls.abort_all();
        self.due = Instant::now() + tcp_after(shared);
        self.rounds = 0;
    }

    /// Waits until something is to be done. `needed`: whether it would be good to have one.
    pub(super) async fn next(&mut self, needed: bool) -> Change {
        let is_idle = self.calls.is_empty();
        tokio::select! {
            biased;
            Some(_) = self.ends.join_next() => Change::Ended,
            Some(called) = self.calls.join_next() => {
                let wire = called.ok().flatten();
                if wire.is_some() {
                    self.calls.abort_all();
                }
                Change::Called(wire)
            }
            () = sleep_until(self.due), if needed && is_idle => Change::Due,
            () = std::future::pending() => Change::Ended,
        }
    }

    /// Calls `peer` at some of these addresses, one after the other; the next time at others.
    pub(super) fn call(&mut self, shared: &Arc<Shared>, peer: PeerId, addrs: &[SocketAddr]) {
        let begin = self.rounds as usize * CALLED_MAX;
        let turn = addrs
            .iter()
            .copied()
            .cycle()
            .skip(begin % addrs.len().max(1));
        let turn: Vec<_> = turn.take(CALLED_MAX.min(addrs.len())).collect();
        let after = match self.rounds < ROUNDS_FIRST {
            true => AGAIN_AFTER,
            false => AGAIN_LATER,
        };
        self.rounds = self.rounds.saturating_add(1);
        self.due = Instant::now() + after;
        for (number, addr) in (0..).zip(turn) {
            let shared = shared.clone();
            self.calls.spawn(async move {
                sleep(NEXT_ADDR_AFTER * number).await;
                let called = tls::call(&shared, addr, Some(peer)).await;
                // Its own route is not needed.
                called.ok().and_then(|(route, _)| route.wire())
            });
        }
    }
}
