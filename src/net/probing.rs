//! Looks for a direct way to a peer that is connected through a relay or over TCP, and keeps the
//! choice right as long as the connection lasts.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::connection::PeerConnection;
use super::interfaces::with_link_local;
use super::paths::{Paths, Question, Reach, Source};
use super::pool::Shared;
use super::routes::{Heard, Route, is_route};
use super::whereabouts::{is_plausible, to_dial};
use crate::protocol::relay::{self, Datagram, Nonce, ProbeFrom, ProbeKey, ProbeKind};

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
    shared: &Shared,
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
    };
    let mut ours = shared.own_addrs();
    let mut remind = tokio::time::interval(REMIND_EVERY);
    let mut told = tokio::time::interval(TOLD_EVERY);
    let mut is_cut = false;
    prober.offer(&hints, Source::Hint);
    prober.offer(&route.seen().into_iter().collect::<Vec<_>>(), Source::Hint);
    loop {
        prober.ask();
        prober.choose();
        if is_cut && route.direct().is_none() {
            shared.lose(connection, "the TCP connection has ended");
            return;
        }
        let next = prober.paths.next(Instant::now());
        tokio::select! {
            Some(heard) = heard.recv() => prober.heard(heard),
            () = sleep_until(next) => {}
            _ = told.tick() => {
                prober.offer(&shared.whereabouts(connection.id()), Source::Told);
            }
            () = route.cut(), if !is_cut => is_cut = true,
            // Also while nothing goes through the relay: it is what there is if all else fails.
            _ = remind.tick() => route.remind_relay(),
            Ok(()) = ours.changed() => prober.paths.begin_anew(Instant::now()),
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
    shared: &'a Shared,
    connection: &'a PeerConnection,
    route: &'a Arc<Route>,
    key: ProbeKey,
    us: ProbeFrom,
    paths: Paths,
}

impl Prober<'_> {
    /// Addresses that somebody says the peer has: hints.
    fn offer(&mut self, addrs: &[SocketAddr], source: Source) {
        if addrs.is_empty() {
            return;
        }
        let carrier = self.route.carrier_addr();
        let is_relay = |addr| self.route.relay_hint().is_some() && addr == carrier;
        for addr in to_dial(addrs, &[], &with_link_local()) {
            if is_plausible(addr, carrier.ip()) && !is_relay(addr) {
                self.paths.offer(addr, source, Instant::now());
            }
        }
    }

    fn ask(&mut self) {
        let identity = &self.shared.identity;
        let nonce = || identity.random::<{ relay::NONCE_LEN }>().ok();
        for Question { to, reach, nonce } in self.paths.ask(Instant::now(), nonce) {
            self.send(ProbeKind::Ping, nonce, to, reach);
        }
    }

    fn send(&self, kind: ProbeKind, nonce: Nonce, to: SocketAddr, reach: Reach) {
        let probe = relay::probe(kind, self.us, self.route.channel(), nonce, &self.key);
        self.route.send_probe(to, reach, &probe);
    }

    fn heard(&mut self, (from, bytes): Heard) {
        let Some(Datagram::Probe(_, probe)) = Datagram::parse(&bytes) else {
            return;
        };
        if is_route(from) {
            return;
        }
        match probe.open(self.us.other(), &self.key) {
            // Said again it may come from whoever has heard it.
            Some((ProbeKind::Ping, nonce)) if self.paths.is_new(nonce) => {
                self.send(ProbeKind::Pong, nonce, from, Reach::Far);
                self.paths.asked_from(from, Instant::now());
            }
            Some((ProbeKind::Pong, nonce)) => {
                self.paths.answered(nonce, from, Instant::now());
            }
            Some((ProbeKind::Ping, _)) | None => {
                tracing::debug!(%from, "a probe that the peer has not sent");
            }
        }
    }

    fn choose(&mut self) {
        let chosen = self.paths.choose(Instant::now());
        if chosen != self.route.direct() {
            tracing::info!(
                peer = %self.connection.id().short(),
                direct = ?chosen,
                "the way to a peer has changed"
            );
            self.route.set_direct(chosen);
        }
    }
}
