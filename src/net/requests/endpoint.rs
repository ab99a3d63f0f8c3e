//! The requests endpoint without its sockets: what comes in, what goes out, and when.
//!
//! The caller feeds it with [`Endpoint::handle_datagram`], [`Endpoint::handle_links`],
//! [`Endpoint::handle_probe`], [`Endpoint::check_in`] and, when [`Endpoint::poll_timeout`] says so,
//! [`Endpoint::handle_timeout`]. After each of these it takes all of [`Endpoint::poll_transmit`]
//! and [`Endpoint::poll_event`]. Time only comes in as an argument.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::Informed;
use super::calls::{Calls, Ticket, Why};
use super::limiter::Limiter;
use super::links::{Links, is_one_peer};
use super::peers::{Originals, OwnKinds, PeerKey};
use super::random::Random;
use crate::net::handshake::shortened;
use crate::net::interfaces::LocalNet;
use crate::peer::PeerId;
use crate::protocol::legacy::datagram::Datagram;
use crate::protocol::legacy::discovery::{Abilities, Discovery, DiscoveryKind};
use crate::protocol::legacy::kademlia::{Call, Kademlia, Request, Rpc};
use crate::protocol::legacy::otm::Control;
use crate::protocol::legacy::{LegacyId, Record, Status};
use crate::protocol::message::NAME_LEN_MAX;

/// Originals ask 0.1 s and 0.3 s after their start who is there.
const FIRST_FINDS: [Duration; 2] = [Duration::from_millis(100), Duration::from_millis(300)];
/// And so often again, twice, while they know nobody.
pub(super) const FIND_EVERY: Duration = Duration::from_millis(3300);
/// When the first round of asking the nearest peers begins, after the start.
const FIRST_ROUND: Duration = Duration::from_secs(3);
/// How often it comes again: originals take 7 or 10 s.
pub(super) const ROUND_EVERY: Duration = Duration::from_millis(8500);
/// A peer that was not heard of for so long is asked whether it is still there. Longer than a
/// round, so that the nearest, who are asked anyway, are not asked twice.
pub(super) const STALE: Duration = Duration::from_secs(25);

/// Datagrams that may wait to be sent. What answers cause is limited before; the rest are at most
/// two for each peer at once.
const TRANSMITS_MAX: usize = 2048;

/// Who we are towards originals.
#[derive(Debug, Clone)]
pub(super) struct Own {
    /// Our identity; the id that originals see follows from it.
    pub(super) peer: PeerId,
    /// What we call ourselves; cut at [`NAME_LEN_MAX`] bytes.
    pub(super) name: String,
    /// TCP port that takes files, directories and texts.
    pub(super) stream_port: u16,
    /// UDP port of this endpoint.
    pub(super) requests_port: u16,
    /// UDP port for QUIC, told to programs like this one; `None` to tell nothing.
    pub(super) quic_port: Option<u16>,
}

/// Where a datagram goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Destination {
    /// To one computer.
    Peer(SocketAddr),
    /// To the group, by the interface with this address.
    Group(LocalNet),
}

/// A datagram to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Transmit {
    /// Where it goes.
    pub(super) to: Destination,
    /// All of it.
    pub(super) bytes: Vec<u8>,
}

/// What the endpoint wants from its surroundings, or has found out.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Event {
    /// Connect to this TCP address, send four zero bytes and close, within four seconds; then tell
    /// [`Endpoint::handle_probe`] whether it worked.
    Probe(PeerKey, SocketAddr),
    /// A check-in is over.
    CheckedIn(Ticket, Result<CheckedIn, CheckInError>),
    /// Somebody wants us in a tree of relays.
    Informed(Box<Informed>),
}

/// A peer that knows us now, so that we may send to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckedIn {
    /// What it says of itself.
    pub record: Record,
    /// Where its streams go. The port is that of the record; the address as well, unless that is
    /// neither the one that was asked nor in the same network.
    pub stream: SocketAddr,
}

/// Why a check-in failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CheckInError {
    /// Nobody answered within five seconds. A transfer now would break an original.
    #[error("no answer from an older PeerConnect at this address")]
    NoAnswer,
    /// Something answered, but not as an original does.
    #[error("what answers at this address is not an older PeerConnect")]
    NotAnOriginal,
    /// Too many check-ins at once, or the address is none of one computer.
    #[error("cannot ask at this address now")]
    Refused,
    /// The endpoint has ended.
    #[error("this program does not listen for older PeerConnect programs any more")]
    Stopped,
}

/// The requests endpoint.
#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) own: Own,
    pub(super) id: LegacyId,
    pub(super) links: Links,
    pub(super) originals: Originals,
    pub(super) own_kind: OwnKinds,
    pub(super) calls: Calls,
    pub(super) limiter: Limiter,
    pub(super) random: Random,
    /// When to ask who is there, the next first.
    pub(super) finds: VecDeque<Instant>,
    pub(super) round_at: Instant,
    pub(super) changed: bool,
    transmits: VecDeque<Transmit>,
    events: VecDeque<Event>,
}

impl Endpoint {
    /// An endpoint that begins now. `seed` must be random: from it come the ids of calls, and who
    /// can guess them can answer for others.
    pub(super) fn new(now: Instant, mut own: Own, links: Links, seed: [u8; 32]) -> Self {
        own.name = shortened(own.name, NAME_LEN_MAX);
        Self {
            id: LegacyId::of_installation(&own.peer),
            own,
            links,
            originals: Originals::default(),
            own_kind: OwnKinds::default(),
            calls: Calls::default(),
            limiter: Limiter::default(),
            random: Random::new(seed),
            finds: FIRST_FINDS.iter().map(|after| now + *after).collect(),
            round_at: now + FIRST_ROUND,
            changed: false,
            transmits: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// A datagram came. Nothing in it is trusted, and it causes nothing that goes to anybody but
    /// its source or a computer in the same network.
    pub(super) fn handle_datagram(&mut self, now: Instant, from: SocketAddr, bytes: &[u8]) {
        let from = canonical(from);
        if !is_one_peer(from) {
            return;
        }
        match Datagram::decode(bytes) {
            Ok(Datagram::Kademlia(Kademlia { id, call })) => match call {
                Call::Request(request) => self.on_request(now, from, bytes.len(), id, request),
                Call::Answer(answer) => self.on_answer(now, from, &id, answer),
            },
            Ok(Datagram::Discovery(discovery)) => self.on_discovery(now, from, discovery),
            Ok(Datagram::Gossip(gossip)) => self.on_gossip(now, from, gossip),
            Ok(Datagram::RemovalPing { id, .. }) => self.on_removal_ping(now, from, id),
            Ok(Datagram::RemovalAnswer { id, .. } | Datagram::Other { id: Some(id) }) => {
                self.on_removal_answer(now, &id);
            }
            Ok(Datagram::Otm(Control::Inform(inform))) => {
                self.on_inform(now, from, bytes.len(), inform);
            }
            // All else of a tree is for those who take part; they have sockets for it.
            Ok(Datagram::Otm(_) | Datagram::Other { id: None }) => {}
            Err(error) => tracing::trace!(%from, %error, "datagram is not understood"),
        }
    }

    /// The networks of this computer have changed: somebody may be in the new ones.
    pub(super) fn handle_links(&mut self, now: Instant, links: Links) {
        if self.links != links {
            self.links = links;
            self.finds = FIRST_FINDS.iter().map(|after| now + *after).collect();
        }
    }

    /// Makes us known at this requests endpoint, as must be before the first transfer to an
    /// original; [`Event::CheckedIn`] with this ticket tells the outcome within five seconds.
    pub(super) fn check_in(&mut self, now: Instant, addr: SocketAddr, ticket: Ticket) {
        let addr = canonical(addr);
        let why = Why::CheckIn(ticket);
        if !is_one_peer(addr) || !self.call(now, addr, why, Rpc::Ping) {
            let refused = Err(CheckInError::Refused);
            self.events.push_back(Event::CheckedIn(ticket, refused));
        }
    }

    /// When to call [`Endpoint::handle_timeout`].
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        [
            self.finds.front().copied(),
            Some(self.round_at),
            self.calls.next_timeout(),
            self.originals.next_timeout(STALE),
            self.own_kind.next_timeout(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// The next datagram to send.
    pub(super) fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    /// What to do or to tell next.
    pub(super) fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Whether [`Endpoint::sightings`](Self::sightings) has changed since this was asked last.
    pub(super) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    pub(super) fn push_event(&mut self, event: Event) {
        self.events.push_back(event);
    }

    pub(super) fn send(&mut self, to: SocketAddr, datagram: &Datagram) {
        self.transmit(Destination::Peer(to), datagram);
    }

    fn transmit(&mut self, to: Destination, datagram: &Datagram) {
        match datagram.encode() {
            Ok(bytes) => self.transmit_bytes(to, bytes),
            Err(error) => tracing::warn!(%error, "a datagram of ours cannot be sent"),
        }
    }

    pub(super) fn transmit_bytes(&mut self, to: Destination, bytes: Vec<u8>) {
        if self.transmits.len() < TRANSMITS_MAX {
            self.transmits.push_back(Transmit { to, bytes });
        }
    }

    /// Calls `rpc` at `to`; says whether that was possible.
    pub(super) fn call(&mut self, now: Instant, to: SocketAddr, why: Why, rpc: Rpc) -> bool {
        let Some(caller) = self.record_for(to) else {
            return false;
        };
        if !self.calls.has_room(to, why) {
            return false;
        }
        let id = self.random.bytes();
        let call = Call::Request(Request { caller, rpc });
        let datagram = Datagram::Kademlia(Kademlia { id, call });
        let Ok(bytes) = datagram.encode() else {
            return false;
        };
        self.calls.add(now, id, to, why, bytes.clone());
        self.transmit_bytes(Destination::Peer(to), bytes);
        true
    }

    /// Our record as `to` needs it: with the address that it can reach. `None` if there is no way.
    pub(super) fn record_for(&self, to: SocketAddr) -> Option<Record> {
        Some(Record {
            id: self.id,
            name: self.own.name.clone(),
            ip: self.links.source(to)?,
            stream_port: self.own.stream_port,
            requests_port: self.own.requests_port,
            status: Status::Online,
        })
    }

    pub(super) fn discovery(&self, kind: DiscoveryKind, own: IpAddr) -> Datagram {
        let abilities = self.own.quic_port.map(|port| Abilities {
            peer: self.own.peer,
            port,
            name: self.own.name.clone(),
        });
        Datagram::Discovery(Discovery {
            kind,
            id: self.id,
            addr: SocketAddr::new(own, self.own.requests_port),
            abilities,
        })
    }

    /// Asks everybody in our networks who is there.
    pub(super) fn find_all(&mut self) {
        let groups: Vec<LocalNet> = self.links.groups().copied().collect();
        for net in groups {
            let find = self.discovery(DiscoveryKind::Find, net.ip);
            self.transmit(Destination::Group(net), &find);
            // Some reach only the one, and some only the other.
            if let Some(wider) = self.links.wider(&net) {
                let find = self.discovery(DiscoveryKind::Find, wider);
                self.transmit(Destination::Group(net), &find);
            }
        }
    }

    /// Asks one computer whether a peer is there. An original replies as it does to everybody; a
    /// program like this one is recognised by its reply.
    pub(super) fn find_at(&mut self, to: SocketAddr) {
        if let Some(own) = self.links.source(to) {
            let find = self.discovery(DiscoveryKind::Find, own);
            self.send(to, &find);
        }
    }
}

/// IPv4 as what it is, and IPv6 without what only routers care for.
fn canonical(addr: SocketAddr) -> SocketAddr {
    match addr {
        SocketAddr::V4(_) => addr,
        SocketAddr::V6(v6) => match v6.ip().to_ipv4_mapped() {
            Some(ip) => SocketAddr::new(ip.into(), v6.port()),
            None => {
                let mut v6 = v6;
                v6.set_flowinfo(0);
                v6.into()
            }
        },
    }
}
