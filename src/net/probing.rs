//! Looks for a direct way to a peer that is connected through a relay or over TCP, and keeps the
//! choice right as long as the connection lasts. Where UDP does not get through but TCP does, the
//! connection moves from the relay to TCP.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::connection::PeerConnection;
use super::interfaces::with_link_local;
use super::paths::{Paths, Place, Question, Reach, Source};
use super::pool::Shared;
use super::routes::{Better, Came, Heard, Route, is_route};
use super::whereabouts::{is_plausible, to_dial};
use super::wire::Wire;
use crate::protocol::relay::{self, Datagram, Nonce, ProbeFrom, ProbeKey, ProbeKind};

use wires::{Change, Wires};

mod wires;

/// Label of the TLS exporter (RFC 8446, section 7.5).
const KEY_LABEL: &[u8] = b"EXPORTER-peerconnect-probes";
/// How often it is looked whether the peer has told more addresses.
const TOLD_EVERY: Duration = Duration::from_secs(1);
/// How often the relay is sent something: several times before it forgets the channel.
const REMIND_EVERY: Duration = Duration::from_secs(25);
/// How long a closed connection keeps its route, so that the peer hears of the end.
const LAST_WORDS: Duration = Duration::from_millis(500);
const LAST_WORDS_PAUSE: Duration = Duration::from_millis(5);

/// Begins to look for a direct way, if the peer has none yet. `hints`: where it may be.
pub(super) fn begin(shared: &Arc<Shared>, connection: &PeerConnection, hints: Vec<SocketAddr>) {
    if let Some(route) = connection.route().cloned() {
        route.leads_to(connection.id());
        shared.spawn(follow(shared.clone(), connection.clone(), route, hints));
    }
}

/// Runs until the connection has ended, and a moment longer.
async fn follow(
    shared: Arc<Shared>,
    connection: PeerConnection,
    route: Arc<Route>,
    hints: Vec<SocketAddr>,
) {
    tokio::select! {
        () = probe(&shared, &connection, &route, hints) => {}
        _ = connection.closed() => {}
    }
    let heard = async {
        while !connection.is_close_heard() {
            sleep(LAST_WORDS_PAUSE).await;
        }
    };
    let _ = timeout(LAST_WORDS, heard).await;
    route.hang_up();
}

/// Never ends if the connection can have probes.
async fn probe(
    shared: &Arc<Shared>,
    connection: &PeerConnection,
    route: &Arc<Route>,
    hints: Vec<SocketAddr>,
) {
    let (Some(mut heard), Some(key)) = (route.take_probes(), key(connection)) else {
        return;
    };
    let mut prober = Prober {
        shared,
        connection,
        route,
        key,
        us: match connection.dialled() {
            true => ProbeFrom::Caller,
            false => ProbeFrom::Called,
        },
        paths: Paths::new(),
        chosen: None,
        wires: Wires::new(shared),
        hints,
    };
    let mut ours = shared.own_addrs();
    let mut remind = tokio::time::interval(REMIND_EVERY);
    let mut told = tokio::time::interval(TOLD_EVERY);
    let mut is_cut = false;
    let hints = prober.hints.clone();
    prober.offer(&hints, Source::Hint);
    prober.offer(&route.seen().into_iter().collect::<Vec<_>>(), Source::Hint);
    loop {
        prober.ask();
        prober.choose();
        if is_cut && !route.has_better() {
            shared.lose(connection, "the TCP connection has ended");
            return;
        }
        let (next, needs_tcp) = (prober.paths.next(Instant::now()), prober.needs_tcp());
        tokio::select! {
            Some(heard) = heard.recv() => prober.heard(heard),
            () = sleep_until(next) => {}
            _ = told.tick() => {
                prober.offer(&shared.whereabouts(connection.id()), Source::Told);
            }
            () = route.cut(), if !is_cut => is_cut = true,
            change = prober.wires.next(needs_tcp) => match change {
                Change::Ended => prober.drop_ended(),
                Change::Called(wire) => prober.called(wire),
                Change::Due => prober.call(),
            },
            // Also while nothing goes through the relay: it is what there is if all else fails.
            _ = remind.tick() => route.remind_relay(),
            Ok(()) = ours.changed() => prober.begin_anew(),
        }
    }
}

fn key(connection: &PeerConnection) -> Option<ProbeKey> {
    let mut key = ProbeKey::default();
    let exported = connection
        .quic()
        .export_keying_material(&mut key, KEY_LABEL, &[]);
    exported.is_ok().then_some(key)
}

struct Prober<'a> {
    shared: &'a Arc<Shared>,
    connection: &'a PeerConnection,
    route: &'a Arc<Route>,
    key: ProbeKey,
    us: ProbeFrom,
    paths: Paths,
    chosen: Option<Place>,
    wires: Wires,
    /// Where the peer may be, as somebody else says.
    hints: Vec<SocketAddr>,
}

impl Prober<'_> {
    /// Addresses that somebody says the peer has: hints.
    fn offer(&mut self, addrs: &[SocketAddr], source: Source) {
        if addrs.is_empty() {
            return;
        }
        for addr in self.candidates(addrs, &[]) {
            self.paths.offer(Place::Udp(addr), source, Instant::now());
        }
    }

    /// Those of the addresses where the peer can be.
    fn candidates(&self, hints: &[SocketAddr], told: &[SocketAddr]) -> Vec<SocketAddr> {
        let carrier = self.route.carrier_addr();
        let is_relay = |addr| self.is_relayed() && addr == carrier;
        let mut addrs = to_dial(hints, told, &with_link_local());
        addrs.retain(|addr| is_plausible(*addr, carrier.ip()) && !is_relay(*addr));
        addrs
    }

    fn is_relayed(&self) -> bool {
        self.route.wire().is_none()
    }

    /// Whether everything goes through a relay.
    fn needs_tcp(&self) -> bool {
        self.is_relayed() && self.chosen.is_none()
    }

    fn call(&mut self) {
        let told = self.shared.whereabouts(self.connection.id());
        // Where the relay sees it by UDP is where it listens, if no router is between.
        let hints = self.hints.iter().copied().chain(self.route.seen());
        let mut addrs = self.candidates(&hints.collect::<Vec<_>>(), &told);
        if !self.connection.dialled() && !self.connection.knows_addrs() {
            // A stranger that called has nobody else called than itself.
            let seen = self.route.seen().map(|seen| seen.ip());
            addrs.retain(|addr| Some(addr.ip()) == seen);
        }
        self.wires.call(self.shared, self.connection.id(), &addrs);
    }

    fn called(&mut self, wire: Option<Wire>) {
        if let Some(wire) = wire {
            let place = self.place_of(&wire);
            self.paths.offer(place, Source::Connected, Instant::now());
        }
    }

    /// What a TCP connection is called. Where there are too many, an older one goes.
    fn place_of(&mut self, wire: &Wire) -> Place {
        let (place, gone) = self.wires.place_of(wire, self.chosen);
        if let Some(gone) = gone {
            self.paths.gone(gone);
        }
        place
    }

    fn drop_ended(&mut self) {
        for place in self.wires.drop_if(|_, wire| wire.has_ended()) {
            self.paths.gone(place);
        }
    }

    /// Those that the peer does not take for its own: it may be an older one.
    fn drop_vain(&mut self) {
        let (now, paths) = (Instant::now(), &self.paths);
        let vain = self.wires.drop_if(|place, _| paths.is_vain(place, now));
        for place in vain {
            self.paths.gone(place);
        }
    }

    fn begin_anew(&mut self) {
        self.wires.begin_anew(self.shared);
        self.paths.begin_anew(Instant::now());
    }

    fn ask(&mut self) {
        let identity = &self.shared.identity;
        let nonce = || identity.random::<{ relay::NONCE_LEN }>().ok();
        let questions = self.paths.ask(Instant::now(), nonce);
        for Question { to, reach, nonce } in questions {
            self.send(ProbeKind::Ping, nonce, to, reach);
        }
    }

    fn send(&self, kind: ProbeKind, nonce: Nonce, to: Place, reach: Reach) {
        let probe = relay::probe(kind, self.us, self.route.channel(), nonce, &self.key);
        match to {
            Place::Udp(to) => self.route.send_probe(to, reach, &probe),
            Place::Tcp(number) => {
                if let Some(wire) = self.wires.get(number) {
                    wire.send_probe(&probe);
                }
            }
        }
    }

    fn heard(&mut self, (came, bytes): Heard) {
        let Some(Datagram::Probe(_, probe)) = Datagram::parse(&bytes) else {
            return;
        };
        let Some(opened) = probe.open(self.us.other(), &self.key) else {
            tracing::debug!(?came, "a probe that the peer has not sent");
            return;
        };
        let from = match &came {
            Came::From(addr) => Some(Place::Udp(*addr)).filter(|_| !is_route(*addr)),
            Came::Over(wire) => Some(self.place_of(wire)),
        };
        let Some(from) = from else { return };
        match opened {
            // Said again it may come from whoever has heard it.
            (ProbeKind::Ping, nonce) if self.paths.is_new(nonce) => {
                self.paths.asked_from(from, Instant::now());
                self.send(ProbeKind::Pong, nonce, from, Reach::Far);
            }
            (ProbeKind::Ping, _) => tracing::debug!(?from, "a probe once more"),
            (ProbeKind::Pong, nonce) => self.paths.answered(nonce, from, Instant::now()),
        }
    }

    fn choose(&mut self) {
        self.drop_vain();
        let chosen = self.paths.choose(Instant::now());
        if chosen == self.chosen {
            return;
        }
        let better = chosen.and_then(|place| match place {
            Place::Udp(addr) => Some(Better::Udp(addr)),
            Place::Tcp(number) => self.wires.get(number).cloned().map(Better::Tcp),
        });
        tracing::info!(
            peer = %self.connection.id().short(),
            way = ?chosen,
            "the way to a peer has changed"
        );
        self.chosen = chosen;
        self.route.set_better(better);
    }
}
