//! One way to a peer, and what carries it.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::mpsc;

use super::Routes;
use crate::net::connection::canonical;
use crate::net::link::PathKind;
use crate::net::paths::Reach;
use crate::net::wire::Wire;
use crate::peer::PeerId;
use crate::protocol::link_uri::{RELAY_ADDRS_MAX, RelayHint};
use crate::protocol::relay::{Channel, PROBE_LEN, data_head};

/// Where packets of a route go.
#[derive(Debug, Clone)]
pub(in crate::net) enum Via {
    /// To a UDP address: of the relay, or of the peer.
    Udp(SocketAddr),
    /// Over a TCP connection to the relay or the peer. A queue that is full loses packets, as
    /// routers do.
    Stream(mpsc::Sender<Bytes>),
}

/// What a route has as long as there is nothing better.
#[derive(Debug, Clone)]
pub(in crate::net) struct Carrier {
    /// Where it is now.
    pub(in crate::net) addr: SocketAddr,
    pub(in crate::net) via: Via,
    pub(in crate::net) carries: Carries,
}

/// Who that is.
#[derive(Debug, Clone)]
pub(in crate::net) enum Carries {
    /// A relay.
    Relay {
        /// All that is known about where it is.
        hint: RelayHint,
        /// Gets the channel when the route is not needed any more.
        left: mpsc::Sender<Channel>,
    },
    /// The peer itself, over TCP.
    Peer(Wire),
}

/// What is better than the carrier of a route.
#[derive(Debug, Clone)]
pub(in crate::net) enum Better {
    /// Where the peer is reached by UDP.
    Udp(SocketAddr),
    /// A TCP connection to it.
    Tcp(Wire),
}

/// How something came.
#[derive(Debug, Clone)]
pub(in crate::net) enum Came {
    /// By UDP.
    From(SocketAddr),
    /// Over a TCP connection of the peer that the route leads to.
    Over(Wire),
}

/// A probe as it came.
pub(in crate::net) type Heard = (Came, [u8; PROBE_LEN]);

/// A way to a peer through a relay or over TCP, while it lasts. Dropping it ends it.
#[derive(Debug)]
pub(in crate::net) struct Route {
    pub(super) routes: Arc<Routes>,
    pub(super) channel: Channel,
    pub(super) number: u32,
    pub(super) addr: SocketAddr,
    pub(super) carrier: Carrier,
    /// Where the relay sees the peer.
    pub(super) seen: Option<SocketAddr>,
    pub(super) better: Mutex<Option<Better>>,
    pub(super) taken: AtomicBool,
    pub(super) probes: Mutex<Option<mpsc::Receiver<Heard>>>,
}

impl Carries {
    pub(super) fn peer(&self) -> Option<PeerId> {
        match self {
            Self::Relay { .. } => None,
            Self::Peer(wire) => Some(wire.peer()),
        }
    }
}

impl Route {
    /// What QUIC knows the peer by.
    pub(in crate::net) fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub(in crate::net) fn channel(&self) -> Channel {
        self.channel
    }

    /// Where the relay sees the peer.
    pub(in crate::net) fn seen(&self) -> Option<SocketAddr> {
        self.seen
    }

    /// The relay, with where it is now first; `None` if there is none.
    pub(in crate::net) fn relay_hint(&self) -> Option<RelayHint> {
        let Carries::Relay { hint, .. } = &self.carrier.carries else {
            return None;
        };
        let mut hint = hint.clone();
        let now = self.carrier_addr();
        hint.addrs.retain(|addr| *addr != now);
        hint.addrs.insert(0, now);
        hint.addrs.truncate(RELAY_ADDRS_MAX);
        Some(hint)
    }

    /// Who the peer is, if it has proven that already.
    pub(in crate::net) fn peer(&self) -> Option<PeerId> {
        self.carrier.carries.peer()
    }

    /// From now on TCP connections of that peer may carry it, too: it is the one at its end.
    pub(in crate::net) fn leads_to(&self, peer: PeerId) {
        if let Some(entry) = self.routes.table().by_channel.get_mut(&self.channel) {
            entry.peer = Some(peer);
        }
    }

    /// The TCP connection to the peer that it began with, if it did.
    pub(in crate::net) fn wire(&self) -> Option<Wire> {
        match &self.carrier.carries {
            Carries::Relay { .. } => None,
            Carries::Peer(wire) => Some(wire.clone()),
        }
    }

    /// How packets travel now.
    pub(in crate::net) fn kind(&self) -> PathKind {
        match (self.better(), &self.carrier.carries) {
            (Some(Better::Udp(_)), _) => PathKind::Direct,
            (Some(Better::Tcp(_)), _) | (None, Carries::Peer(_)) => PathKind::Tcp,
            (None, Carries::Relay { .. }) => PathKind::Relay,
        }
    }

    /// Where the peer can be called, as far as this route tells.
    pub(in crate::net) fn peer_addr(&self) -> Option<SocketAddr> {
        match (self.better(), &self.carrier.carries) {
            (Some(Better::Udp(addr)), _) => Some(addr),
            (Some(Better::Tcp(wire)), _) => wire.listens_at(),
            (None, Carries::Peer(wire)) => wire.listens_at(),
            (None, Carries::Relay { .. }) => None,
        }
    }

    /// Where packets go now: to the peer itself, or to the relay.
    pub(in crate::net) fn next_hop(&self) -> SocketAddr {
        match self.better() {
            Some(Better::Udp(addr)) => addr,
            Some(Better::Tcp(wire)) => canonical(wire.addr()),
            None => self.carrier_addr(),
        }
    }

    /// Waits until there is nothing left but direct ways; for ever if a relay carries it, of which
    /// nobody knows.
    pub(in crate::net) async fn cut(&self) {
        match &self.carrier.carries {
            Carries::Relay { .. } => std::future::pending().await,
            Carries::Peer(wire) => wire.ended().await,
        }
    }

    /// Ends what carries it, if that is for this route alone.
    pub(in crate::net) fn hang_up(&self) {
        self.set_better(None);
        match &self.carrier.carries {
            Carries::Relay { .. } => {}
            Carries::Peer(wire) => wire.end(),
        }
    }

    /// Whether this is the first connection on it: there is only one for each.
    pub(in crate::net) fn take(&self) -> bool {
        !self.taken.swap(true, Ordering::Relaxed)
    }

    /// Sends something through the relay that the peer ignores, so that the relay goes on keeping
    /// the channel while nothing else goes through it. Over TCP to the peer it does no harm.
    pub(in crate::net) fn remind_relay(&self) {
        let reminder = data_head(self.channel);
        match &self.carrier.via {
            Via::Udp(to) => {
                if let Some(to) = self.routes.written(*to) {
                    // The next one may get through.
                    let _ = self.routes.socket.send_to(&reminder, to);
                }
            }
            Via::Stream(stream) => {
                let _ = stream.try_send(Bytes::copy_from_slice(&reminder));
            }
        }
    }

    /// Where the relay is, or the other end of TCP.
    pub(in crate::net) fn carrier_addr(&self) -> SocketAddr {
        canonical(self.carrier.addr)
    }

    fn better(&self) -> Option<Better> {
        let better = self.better.lock();
        better.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether packets go to the peer itself now, and not by what carries the route.
    pub(in crate::net) fn has_better(&self) -> bool {
        self.better().is_some()
    }

    /// From now on packets go there; `None`: by what carries it.
    pub(in crate::net) fn set_better(&self, to: Option<Better>) {
        let via = match &to {
            Some(Better::Udp(to)) => self.routes.written(*to).map(Via::Udp),
            Some(Better::Tcp(wire)) => Some(Via::Stream(wire.packets())),
            None => None,
        };
        let via = via.unwrap_or_else(|| self.carrier.via.clone());
        if let Some(entry) = self.routes.table().by_channel.get_mut(&self.channel) {
            entry.via = via;
        }
        *self.better.lock().unwrap_or_else(PoisonError::into_inner) = to;
    }

    /// Probes that come; whoever asks first gets them.
    pub(in crate::net) fn take_probes(&self) -> Option<mpsc::Receiver<Heard>> {
        let probes = self.probes.lock();
        probes.unwrap_or_else(PoisonError::into_inner).take()
    }

    pub(in crate::net) fn send_probe(&self, to: SocketAddr, reach: Reach, probe: &[u8; PROBE_LEN]) {
        self.routes.send_probe(to, reach, probe);
    }
}

impl Drop for Route {
    fn drop(&mut self) {
        let mut table = self.routes.table();
        table.by_channel.remove(&self.channel);
        table.by_number.remove(&self.number);
        drop(table);
        if let Carries::Relay { left, .. } = &self.carrier.carries {
            // If it is told too much at once, the relay forgets the channel by itself.
            let _ = left.try_send(self.channel);
        }
    }
}
