//! Ways to peers that go through a relay or over TCP, or did so first: QUIC knows such a peer by an
//! address that no computer has, and the socket sends each packet wherever the peer is reached at
//! the moment. So a connection moves from there to the direct path and back without noticing.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::AtomicBool;
#[cfg(test)]
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Waker};

use bytes::Bytes;
use tokio::sync::{broadcast, mpsc};

use super::connection::canonical;
use super::near_send::send_near;
use super::paths::Reach;
use crate::peer::PeerId;
use crate::protocol::relay::{Channel, DATAGRAM_LEN_MAX, Datagram, Nonce, PROBE_LEN};

mod route;

pub(super) use route::{Better, Came, Carrier, Carries, Heard, Route, Via};

/// Most routes at once: as many as there may be connections that came in.
pub(super) const ROUTES_MAX: usize = 256;
/// Probes of one route that may wait to be looked at.
const PROBES_MAX: usize = 16;
/// Packets that came by another way than the socket, and that QUIC has not taken yet: at most
/// 1.5 MB.
const WAITING_MAX: usize = 1024;
/// Tokens of relays that may wait.
const TOKENS_MAX: usize = 16;

/// The first of the addresses that routes have: 240.0.0.0/4 is reserved, and no computer is there
/// (RFC 1112, section 4).
const FIRST: u32 = 0xf000_0000;
/// How many of them are used in turn.
const COUNT: u32 = 0x0fff_0000;
/// Any port does.
const PORT: u16 = 1;

/// Whether `addr` stands for a route: nobody may be dialled there because a peer says so, and
/// nothing that comes from there over the network is real.
pub(super) fn is_route(addr: SocketAddr) -> bool {
    number_of(addr).is_some()
}

fn number_of(addr: SocketAddr) -> Option<u32> {
    match addr.ip().to_canonical() {
        IpAddr::V4(ip) => u32::from(ip).checked_sub(FIRST),
        IpAddr::V6(_) => None,
    }
}

/// All routes of an endpoint.
pub(super) struct Routes {
    table: Mutex<Table>,
    /// The endpoint's own socket, for probes.
    socket: UdpSocket,
    /// Whether addresses of IPv4 are written as those of IPv6 on this socket.
    mapped: bool,
    tokens: broadcast::Sender<(SocketAddr, Nonce)>,
    /// As if something on the way let no probes through.
    #[cfg(test)]
    pub(super) loses_probes: AtomicBool,
    /// The same for those by UDP.
    #[cfg(test)]
    pub(super) loses_udp: AtomicBool,
}

#[derive(Default)]
struct Table {
    by_channel: HashMap<Channel, Entry>,
    by_number: HashMap<u32, Channel>,
    next: u32,
    waiting: VecDeque<(SocketAddr, Bytes)>,
    reader: Option<Waker>,
}

struct Entry {
    addr: SocketAddr,
    via: Via,
    /// Whom it leads to, as soon as that is proven.
    peer: Option<PeerId>,
    probes: mpsc::Sender<Heard>,
    route: Weak<Route>,
}

impl fmt::Debug for Routes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Routes").finish_non_exhaustive()
    }
}

impl Routes {
    /// For the endpoint that uses `socket`.
    pub(super) fn new(socket: UdpSocket) -> Arc<Self> {
        let mapped = socket.local_addr().is_ok_and(|addr| addr.is_ipv6());
        Arc::new(Self {
            table: Mutex::default(),
            socket,
            mapped,
            tokens: broadcast::Sender::new(TOKENS_MAX),
            #[cfg(test)]
            loses_probes: AtomicBool::default(),
            #[cfg(test)]
            loses_udp: AtomicBool::default(),
        })
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // Every change is complete before anything can panic.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `addr` as this socket writes it; `None` if it cannot reach it.
    fn written(&self, addr: SocketAddr) -> Option<SocketAddr> {
        let addr = canonical(addr);
        match (addr, self.mapped) {
            (SocketAddr::V4(v4), true) => {
                Some(SocketAddr::new(v4.ip().to_ipv6_mapped().into(), v4.port()))
            }
            (SocketAddr::V4(_), false) | (SocketAddr::V6(_), true) => Some(addr),
            (SocketAddr::V6(_), false) => None,
        }
    }

    /// A new route. `None` if there is one with that channel, or there are too many.
    pub(super) fn add(
        self: &Arc<Self>,
        channel: Channel,
        carrier: Carrier,
        seen: Option<SocketAddr>,
    ) -> Option<Arc<Route>> {
        let mut table = self.table();
        if table.by_channel.len() >= ROUTES_MAX || table.by_channel.contains_key(&channel) {
            return None;
        }
        let number = table.free_number();
        let ip = Ipv4Addr::from(FIRST + number);
        let addr = self.written(SocketAddr::new(ip.into(), PORT))?;
        let (probes, heard) = mpsc::channel(PROBES_MAX);
        let via = carrier.via.clone();
        let peer = carrier.carries.peer();
        let route = Arc::new(Route {
            routes: self.clone(),
            channel,
            number,
            addr,
            carrier,
            seen,
            better: Mutex::default(),
            taken: AtomicBool::new(false),
            probes: Mutex::new(Some(heard)),
        });
        table.by_number.insert(number, channel);
        let entry = Entry {
            addr,
            via,
            peer,
            probes,
            route: Arc::downgrade(&route),
        };
        table.by_channel.insert(channel, entry);
        Some(route)
    }

    /// The route that QUIC knows by `addr`.
    pub(super) fn at(&self, addr: SocketAddr) -> Option<Arc<Route>> {
        let number = number_of(addr)?;
        let table = self.table();
        let channel = table.by_number.get(&number)?;
        table.by_channel.get(channel)?.route.upgrade()
    }

    /// Where packets to `addr` go: `None` if it stands for no route, `Some(None)` if its route has
    /// ended.
    pub(super) fn way(&self, addr: SocketAddr) -> Option<Option<(Channel, Via)>> {
        let number = number_of(addr)?;
        let table = self.table();
        let channel = table.by_number.get(&number);
        let found = channel.and_then(|channel| {
            let entry = table.by_channel.get(channel)?;
            Some((*channel, entry.via.clone()))
        });
        Some(found)
    }

    /// What QUIC knows the other end of `channel` by.
    pub(super) fn addr_of(&self, channel: Channel) -> Option<SocketAddr> {
        Some(self.table().by_channel.get(&channel)?.addr)
    }

    /// A probe has come. Lost if too many wait, as any datagram, and if it comes over a TCP
    /// connection of somebody else.
    pub(super) fn heard(&self, channel: Channel, came: Came, probe: [u8; PROBE_LEN]) {
        #[cfg(test)]
        if self.loses_probes.load(Ordering::Relaxed)
            || (self.loses_udp.load(Ordering::Relaxed) && matches!(came, Came::From(_)))
        {
            return;
        }
        let table = self.table();
        let Some(entry) = table.by_channel.get(&channel) else {
            return;
        };
        let came = match came {
            Came::From(addr) => Came::From(canonical(addr)),
            Came::Over(wire) if entry.peer != Some(wire.peer()) => return,
            Came::Over(wire) => Came::Over(wire),
        };
        let _ = entry.probes.try_send((came, probe));
    }

    /// A packet that has come by another way than the socket, or that must wait until the socket
    /// is read again. Lost if too many wait.
    pub(super) fn deliver(&self, from: SocketAddr, packet: Bytes) {
        let mut table = self.table();
        if table.waiting.len() < WAITING_MAX && packet.len() <= DATAGRAM_LEN_MAX {
            table.waiting.push_back((from, packet));
        }
        if let Some(reader) = table.reader.take() {
            reader.wake();
        }
    }

    /// The same for a packet on `channel`.
    pub(super) fn deliver_on(&self, channel: Channel, packet: Bytes) {
        if let Some(addr) = self.addr_of(channel) {
            self.deliver(addr, packet);
        }
    }

    /// The same for a packet that has come over a TCP connection of `peer`. What belongs to a route
    /// to somebody else is dropped.
    pub(super) fn deliver_from(&self, peer: PeerId, channel: Channel, packet: Bytes) {
        let addr = {
            let table = self.table();
            let entry = table.by_channel.get(&channel);
            entry.filter(|e| e.peer == Some(peer)).map(|e| e.addr)
        };
        if let Some(addr) = addr {
            self.deliver(addr, packet);
        }
    }

    /// A datagram that has come over the TCP connection of a relay.
    pub(super) fn arrived(&self, datagram: &Bytes) {
        if let Some(Datagram::Data(channel, packet)) = Datagram::parse(datagram) {
            self.deliver_on(channel, datagram.slice_ref(packet));
        }
    }

    /// A relay has sent a token.
    pub(super) fn token(&self, from: SocketAddr, token: Nonce) {
        // Nobody may be waiting.
        let _ = self.tokens.send((canonical(from), token));
    }

    /// Tokens that relays send from now on, and from where.
    pub(super) fn tokens(&self) -> broadcast::Receiver<(SocketAddr, Nonce)> {
        self.tokens.subscribe()
    }

    /// Those that wait, at most `most`; if there are none, `cx` is woken when there are.
    pub(super) fn waiting(&self, most: usize, cx: &Context<'_>) -> Vec<(SocketAddr, Bytes)> {
        let mut table = self.table();
        let most = table.waiting.len().min(most);
        let is_known = |reader: &Waker| reader.will_wake(cx.waker());
        if most == 0 && !table.reader.as_ref().is_some_and(is_known) {
            table.reader = Some(cx.waker().clone());
        }
        table.waiting.drain(..most).collect()
    }

    /// Sends a probe. It may get lost.
    pub(super) fn send_probe(&self, to: SocketAddr, reach: Reach, probe: &[u8; PROBE_LEN]) {
        let Some(to) = self.written(to) else { return };
        let sent = match reach {
            Reach::Near => send_near(&self.socket, probe, to),
            Reach::Far => self.socket.send_to(probe, to).map(|_| ()),
        };
        if let Err(error) = sent {
            tracing::trace!(%to, %error, "probe not sent");
        }
    }
}

impl Table {
    fn free_number(&mut self) -> u32 {
        // There are far more numbers than routes.
        while self.by_number.contains_key(&self.next) {
            self.next = (self.next + 1) % COUNT;
        }
        let number = self.next;
        // Not used again soon: late packets of an old route are not taken for those of a new one.
        self.next = (self.next + 1) % COUNT;
        number
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use crate::net::link::PathKind;
    use crate::net::wire::Wire;
    use crate::protocol::link_uri::RelayHint;

    fn relay() -> (Carrier, mpsc::Receiver<Channel>) {
        let (left, told) = mpsc::channel(4);
        let addr = "192.0.2.1:3487".parse().unwrap();
        let hint = RelayHint {
            id: PeerId::from_bytes([1; 32]),
            addrs: vec![addr, "192.0.2.2:3487".parse().unwrap()],
        };
        let relay = Carrier {
            addr,
            via: Via::Udp(addr),
            carries: Carries::Relay { hint, left },
        };
        (relay, told)
    }

    fn routes(bind: &str) -> Arc<Routes> {
        Routes::new(UdpSocket::bind(bind).unwrap())
    }

    fn to(routes: &Routes, addr: SocketAddr) -> Option<SocketAddr> {
        match routes.way(addr)?? {
            (_, Via::Udp(to)) => Some(to),
            (_, Via::Stream(_)) => None,
        }
    }

    #[test]
    fn a_route_goes_through_the_relay_or_directly_and_ends_when_dropped() {
        let routes = routes("127.0.0.1:0");
        let (through, mut left) = relay();
        let channel = Channel([1; 8]);
        let route = routes.add(channel, through.clone(), None).unwrap();
        assert!(is_route(route.addr()));
        assert_eq!(routes.addr_of(channel), Some(route.addr()));
        assert!(routes.add(channel, through, None).is_none());
        assert_eq!(
            to(&routes, route.addr()),
            Some("192.0.2.1:3487".parse().unwrap())
        );
        let peer = "192.0.2.9:1".parse().unwrap();
        route.set_better(Some(Better::Udp(peer)));
        assert_eq!(
            (to(&routes, route.addr()), route.peer_addr()),
            (Some(peer), Some(peer))
        );
        route.set_better(None);
        assert_ne!(to(&routes, route.addr()), Some(peer));
        let addr = route.addr();
        drop(route);
        assert!(matches!(routes.way(addr), Some(None)));
        assert_eq!(left.try_recv(), Ok(channel));
        assert!(routes.way("192.0.2.9:1".parse().unwrap()).is_none());
    }

    #[test]
    fn only_tcp_connections_of_its_peer_may_carry_a_route() {
        let routes = routes("127.0.0.1:0");
        let (through, _left) = relay();
        let channel = Channel([1; 8]);
        let route = routes.add(channel, through, None).unwrap();
        let mut heard = route.take_probes().unwrap();
        let peer = |n| PeerId::from_bytes([n; 32]);
        let cx = Context::from_waker(Waker::noop());
        let mut comes = |from: u8| {
            let (wire, _carrying) = Wire::new(peer(from), "192.0.2.9:1".parse().unwrap(), true);
            routes.heard(channel, Came::Over(wire), [7; PROBE_LEN]);
            routes.deliver_from(peer(from), channel, Bytes::from_static(b"packet"));
            (heard.try_recv().is_ok(), routes.waiting(9, &cx).len())
        };
        assert_eq!(comes(5), (false, 0), "nobody has proven anything");
        route.leads_to(peer(5));
        assert_eq!(comes(5), (true, 1));
        assert_eq!(comes(6), (false, 0));
    }

    #[test]
    fn packets_go_over_a_tcp_connection_as_long_as_it_is_better() {
        let routes = routes("127.0.0.1:0");
        let (through, _left) = relay();
        let route = routes.add(Channel([1; 8]), through, None).unwrap();
        let addr = "192.0.2.9:1".parse().unwrap();
        let (wire, carrying) = Wire::new(PeerId::from_bytes([5; 32]), addr, true);
        route.set_better(Some(Better::Tcp(wire)));
        assert!(matches!(
            routes.way(route.addr()),
            Some(Some((_, Via::Stream(_))))
        ));
        assert_eq!(
            (route.kind(), route.peer_addr()),
            (PathKind::Tcp, Some(addr))
        );
        // Nobody else holds it.
        route.hang_up();
        assert!(carrying.outgoing.datagrams.is_closed());
        assert_eq!(route.kind(), PathKind::Relay);
    }

    #[test]
    fn addresses_are_written_as_the_socket_needs_them() {
        let routes = routes("[::1]:0");
        let (through, _left) = relay();
        let route = routes.add(Channel([1; 8]), through, None).unwrap();
        assert!(route.addr().is_ipv6() && is_route(route.addr()));
        route.set_better(Some(Better::Udp("192.0.2.9:1".parse().unwrap())));
        assert_eq!(
            to(&routes, route.addr()),
            Some("[::ffff:192.0.2.9]:1".parse().unwrap())
        );
    }

    #[test]
    fn no_more_routes_than_allowed_and_no_number_twice_at_once() {
        let routes = routes("127.0.0.1:0");
        let (through, _left) = relay();
        let add = |n: usize| {
            let channel = Channel((n as u64).to_be_bytes());
            routes.add(channel, through.clone(), None)
        };
        let mut all: Vec<_> = (0..ROUTES_MAX).map(|n| add(n).unwrap()).collect();
        assert!(add(ROUTES_MAX).is_none());
        let first = all.remove(0).addr();
        let next = add(ROUTES_MAX).unwrap();
        assert_ne!(next.addr(), first);
        let numbers: std::collections::HashSet<_> = all.iter().map(|route| route.addr()).collect();
        assert_eq!(numbers.len(), ROUTES_MAX - 1);
    }
}
