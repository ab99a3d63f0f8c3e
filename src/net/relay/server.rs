//! A relay's ends of the network: QUIC on one UDP port, and TLS on the TCP port of the same number
//! for those whose UDP is blocked.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use quinn::{EndpointConfig, TokioRuntime};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_rustls::TlsAcceptor;

use super::forwarding::{Forwarding, ForwardingSocket};
use super::hub::{Client, Hub, MESSAGES_MAX, Visit};
use super::limits::RelayLimits;
use super::link::{Control, StreamControl};
use crate::identity::{Identity, peer_id_of_certificate};
use crate::net::admission::{Admission, Admitted, Verdict};
use crate::net::connection::{PeerConnection, canonical};
use crate::net::endpoint::BindError;
use crate::net::frames::FrameReader;
use crate::net::handshake::{HANDSHAKE_DEADLINE, proven_id};
use crate::net::link::{LinkError, Offence};
use crate::net::routes::Via;
use crate::net::settings::{UDP_PAYLOAD_MAX, relay_transport};
use crate::net::tls::prepare;
use crate::net::{errors, interfaces, restarts, socket};
use crate::peer::PeerId;
use crate::protocol::message::Code;
use crate::protocol::relay::{ALPNS_RELAY, Channel, FromRelay, Nonce, ToRelay};

/// Peers from one IPv4 address or IPv6 /64 network at a relay.
pub const PEERS_PER_ADDR_MAX: usize = 64;
/// Connections that may wait to be looked at, and what their packets may hold.
const CALLS_WAITING_MAX: usize = 256;
const CALL_BUFFER_MAX: u64 = 16 * 1024;
const CALL_BUFFERS_MAX: u64 = 1024 * 1024;
/// Messages of one peer in [`LOOK_EVERY`].
const MESSAGES_AT_ONCE: u32 = 256;
/// How often it is looked where peers are, and which channels nobody uses.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long a peer may take to read a message.
const SEND_DEADLINE: Duration = Duration::from_secs(10);
/// Pause after a TCP connection could not be taken: there are no handles left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long the peers may take to hear of the end.
const SHUTDOWN_WAIT: Duration = Duration::from_secs(1);

/// How a relay works.
#[derive(Debug, Clone)]
pub struct RelayOptions {
    /// One address of this computer; `None` for all of them.
    pub bind: Option<IpAddr>,
    /// UDP and TCP port; 0 for any free one.
    pub port: u16,
    /// Peers at once.
    pub peers_max: usize,
    /// How much it carries.
    pub limits: RelayLimits,
    /// Only these may use it; `None`: anybody.
    pub allow: Option<HashSet<PeerId>>,
}

/// What a relay does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RelayStats {
    /// Peers that are connected.
    pub peers: usize,
    /// Pairs of them that have an open channel.
    pub pairs: usize,
    /// Bytes that were carried.
    pub bytes: u64,
    /// Packets that were dropped: over the limit, on closed channels, or for full queues.
    pub dropped: u64,
}

/// A running relay. Dropping it ends it at once.
#[derive(Debug)]
pub struct Relay {
    server: Arc<Server>,
    endpoint: quinn::Endpoint,
    local: SocketAddr,
    tasks: JoinSet<()>,
}

#[derive(Debug)]
struct Server {
    identity: Identity,
    hub: Hub,
    admission: Admission,
    allow: Option<HashSet<PeerId>>,
}

/// Starts a relay. Must be called inside a runtime. Fails if the port is taken.
pub async fn serve(identity: &Identity, options: RelayOptions) -> Result<Relay, BindError> {
    serve_as(identity, options, &ALPNS_RELAY).await
}

/// Starts a relay that speaks these protocols.
pub(in crate::net) async fn serve_as(
    identity: &Identity,
    options: RelayOptions,
    speaks: &[&[u8]],
) -> Result<Relay, BindError> {
    let (socket, listener) = open(options.bind, options.port).await?;
    let local = socket.local_addr().map_err(BindError::Socket)?;
    let probes = socket.try_clone().map_err(BindError::Socket)?;
    let forwarding = Forwarding::new(probes, options.limits);
    let endpoint = endpoint(identity, socket, &forwarding, speaks)?;
    let server = Arc::new(Server {
        identity: identity.clone(),
        hub: Hub::new(forwarding),
        admission: Admission::with(options.peers_max, PEERS_PER_ADDR_MAX),
        allow: options.allow,
    });
    let tls = identity.tls_server(speaks)?;
    let mut tasks = JoinSet::new();
    tasks.spawn(accept(server.clone(), endpoint.clone()));
    tasks.spawn(accept_tcp(server.clone(), listener, Arc::new(tls).into()));
    tasks.spawn(sweep(server.clone()));
    Ok(Relay {
        server,
        endpoint,
        local,
        tasks,
    })
}

/// Both sockets, with the same number.
async fn open(
    bind: Option<IpAddr>,
    port: u16,
) -> Result<(std::net::UdpSocket, TcpListener), BindError> {
    /// A free UDP port may be taken for TCP.
    const TRIES: u32 = 16;
    let failed = |error: std::io::Error| match error.kind() == std::io::ErrorKind::AddrInUse {
        true => BindError::PortInUse(port),
        false => BindError::Socket(error),
    };
    let mut tries = 0;
    loop {
        tries += 1;
        let socket = socket::open(bind, port).map_err(failed)?;
        let local = socket.local_addr().map_err(failed)?;
        match TcpListener::bind(local).await {
            Ok(listener) => return Ok((socket, listener)),
            Err(_) if port == 0 && tries < TRIES => {}
            Err(error) => return Err(failed(error)),
        }
    }
}

fn endpoint(
    identity: &Identity,
    socket: std::net::UdpSocket,
    forwarding: &Arc<Forwarding>,
    speaks: &[&[u8]],
) -> Result<quinn::Endpoint, BindError> {
    let inner = quinn::Runtime::wrap_udp_socket(&TokioRuntime, socket);
    let used = Arc::new(ForwardingSocket {
        inner: inner.map_err(BindError::Socket)?,
        forwarding: forwarding.clone(),
    });
    let crypto = identity.server_config_for(speaks)?;
    let mut server = quinn::ServerConfig::with_crypto(crypto);
    server
        .transport_config(relay_transport())
        .max_incoming(CALLS_WAITING_MAX)
        .incoming_buffer_size(CALL_BUFFER_MAX)
        .incoming_buffer_size_total(CALL_BUFFERS_MAX);
    let mut config = EndpointConfig::default();
    restarts::answer_for_earlier(&mut config, identity)?;
    config.grease_quic_bit(false);
    // Fails only for sizes below 1,200.
    let _ = config.max_udp_payload_size(UDP_PAYLOAD_MAX);
    let runtime = Arc::new(TokioRuntime);
    quinn::Endpoint::new_with_abstract_socket(config, Some(server), used, runtime)
        .map_err(BindError::Socket)
}

impl Relay {
    /// Its UDP and TCP port.
    pub fn local_port(&self) -> u16 {
        self.local.port()
    }

    /// Where it may be reached, most useful first.
    pub fn addrs(&self) -> Vec<SocketAddr> {
        interfaces::candidates(self.local.ip(), self.local.port())
    }

    /// What it does now.
    pub fn stats(&self) -> RelayStats {
        let forwarding = &self.server.hub.forwarding;
        let carried = forwarding.carried();
        RelayStats {
            peers: self.server.hub.peers(),
            pairs: forwarding.open_pairs(),
            bytes: carried.bytes,
            dropped: carried.dropped,
        }
    }

    /// Ends it; peers hear of it.
    pub async fn shutdown(mut self) {
        self.endpoint.close(errors::wire(Code::Done), b"");
        self.tasks.shutdown().await;
        let _ = timeout(SHUTDOWN_WAIT, self.endpoint.wait_idle()).await;
    }
}

async fn sweep(server: Arc<Server>) {
    let mut look = interval(LOOK_EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        look.tick().await;
        server.hub.sweep();
    }
}

async fn accept(server: Arc<Server>, endpoint: quinn::Endpoint) {
    let mut peers = JoinSet::new();
    loop {
        let incoming = tokio::select! {
            incoming = endpoint.accept() => incoming,
            Some(_) = peers.join_next() => continue,
        };
        let Some(incoming) = incoming else { return };
        let ip = incoming.remote_address().ip();
        match (server.admission).decide(ip, incoming.remote_address_validated()) {
            Verdict::Admit(admitted) => {
                peers.spawn(answer(server.clone(), incoming, admitted));
            }
            Verdict::Validate => {
                if let Err(error) = incoming.retry() {
                    error.into_incoming().refuse();
                }
            }
            Verdict::Refuse => incoming.refuse(),
        }
    }
}

/// A peer that comes by UDP.
async fn answer(server: Arc<Server>, incoming: quinn::Incoming, mut admitted: Admitted) {
    let from = incoming.remote_address();
    let begun = async {
        let quic = incoming.await.map_err(|error| error.to_string())?;
        let id = proven_id(&quic).ok_or("no certificate")?;
        let connection = PeerConnection::new(quic, false, None);
        if !server.admits(id) {
            connection.close(Code::Refused);
            return Err("not allowed".into());
        }
        let opened = connection.quic().accept_bi().await;
        let (send, recv) = opened.map_err(|error| error.to_string())?;
        Ok::<_, String>((connection, id, send, recv))
    };
    let (connection, id, send, recv) = match timeout(HANDSHAKE_DEADLINE, begun).await {
        Ok(Ok(begun)) => begun,
        Ok(Err(error)) => {
            tracing::debug!(%from, %error, "peer is not let in");
            return;
        }
        Err(_) => return,
    };
    admitted.connected();
    // Where the handshake was: there it has shown that it is.
    let via = Via::Udp(canonical(from));
    let control = Control::Quic {
        connection: connection.clone(),
        send,
        recv: FrameReader::new(recv),
    };
    let ended = attend(&server, id, control, (via, from.ip())).await;
    tracing::debug!(peer = %id.short(), ?ended, "peer left");
    match ended {
        Err(LinkError::Offence(offence)) => {
            connection.offend(offence);
        }
        Ok(()) | Err(LinkError::Lost(_) | LinkError::Closed(_)) => connection.close(Code::Done),
    }
}

async fn accept_tcp(server: Arc<Server>, listener: TcpListener, tls: TlsAcceptor) {
    let mut peers = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = peers.join_next() => continue,
        };
        match accepted {
            Ok((stream, from)) => {
                if let Verdict::Admit(admitted) = server.admission.decide(from.ip(), true) {
                    let (server, tls) = (server.clone(), tls.clone());
                    peers.spawn(answer_tcp(server, (stream, from.ip()), tls, admitted));
                }
            }
            Err(error) => {
                tracing::debug!(%error, "TCP connection not taken");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// A peer that comes by TCP.
async fn answer_tcp(
    server: Arc<Server>,
    (stream, ip): (TcpStream, IpAddr),
    tls: TlsAcceptor,
    mut admitted: Admitted,
) {
    prepare(&stream);
    let Ok(Ok(stream)) = timeout(HANDSHAKE_DEADLINE, tls.accept(stream)).await else {
        return;
    };
    let (_, session) = stream.get_ref();
    let certificates = session.peer_certificates().unwrap_or_default();
    let speaks_so = session
        .alpn_protocol()
        .map(|alpn| ALPNS_RELAY.contains(&alpn));
    let ([certificate], Some(true)) = (certificates, speaks_so) else {
        return;
    };
    let Ok(id) = peer_id_of_certificate(certificate) else {
        return;
    };
    if !server.admits(id) {
        return;
    }
    admitted.connected();
    let to = server.clone();
    let control = StreamControl::new(stream, move |datagram| {
        to.hub.forwarding.forward_from_stream(id, datagram);
    });
    let via = Via::Stream(control.datagrams.clone());
    let ended = attend(&server, id, Control::Stream(control), (via, ip)).await;
    tracing::debug!(peer = %id.short(), ?ended, "peer left");
}

impl Server {
    fn admits(&self, id: PeerId) -> bool {
        let admits = |allow: &HashSet<PeerId>| allow.contains(&id);
        self.allow.as_ref().is_none_or(admits)
    }
}

/// That a peer is there; it goes when this is dropped.
struct Attended<'a> {
    hub: &'a Hub,
    visit: Visit,
}

impl Drop for Attended<'_> {
    fn drop(&mut self) {
        self.hub.leave(self.visit);
    }
}

/// Talks with one peer until it leaves, comes again, or breaks the protocol.
async fn attend(
    server: &Server,
    id: PeerId,
    mut control: Control,
    (via, ip): (Via, IpAddr),
) -> Result<(), LinkError> {
    let first = timeout(HANDSHAKE_DEADLINE, control.recv()).await;
    let listens = match first.map_err(|_| Offence::Silent)?? {
        Some(ToRelay::Hello { listens }) => listens,
        Some(_) | None => return Err(Offence::UnexpectedMessage.into()),
    };
    let (messages, mut waiting) = mpsc::channel(MESSAGES_MAX);
    let seen = match via {
        Via::Udp(addr) => Some(addr),
        Via::Stream(_) => None,
    };
    let visit = server.hub.enter(Client {
        id,
        messages,
        via,
        ip,
        listens,
    });
    let hub = &server.hub;
    let _attended = Attended { hub, visit };
    let mut place = Seen::new(seen);
    say(&mut control, FromRelay::Seen { addr: seen }).await?;
    let mut look = interval(LOOK_EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut messages = 0;
    loop {
        tokio::select! {
            message = control.recv() => match message? {
                None => return Ok(()),
                Some(_) if messages >= MESSAGES_AT_ONCE => {
                    return Err(Offence::UnexpectedMessage.into());
                }
                Some(ToRelay::Here { token }) => {
                    messages += 1;
                    if let Some(addr) = place.shown(token) {
                        server.hub.moved(visit, addr);
                        say(&mut control, FromRelay::Seen { addr: Some(addr) }).await?;
                    }
                }
                Some(message) => {
                    messages += 1;
                    let Ok(name) = server.identity.random() else { return Ok(()) };
                    if let Some(answer) = server.hub.said(visit, &message, Channel(name)) {
                        say(&mut control, answer).await?;
                    }
                }
            },
            message = waiting.recv() => match message {
                Some(message) => say(&mut control, message).await?,
                // It is here anew, by another connection.
                None => return Ok(()),
            },
            _ = look.tick() => {
                messages = 0;
                if server.hub.has_missed(visit) {
                    return Err(LinkError::Lost("it does not read".into()));
                }
                if let Some((addr, token)) = place.look(control.seen(), &server.identity) {
                    server.hub.forwarding.send_token(addr, token);
                }
            }
        }
    }
}

/// Where a peer is. QUIC believes in a new address before the peer has shown that it is there, and
/// what is forwarded must not go to where somebody only says that he is.
#[derive(Debug)]
struct Seen {
    proven: Option<SocketAddr>,
    /// Where it seems to be, and what it must say to prove it.
    claimed: Option<(SocketAddr, Nonce)>,
}

impl Seen {
    fn new(proven: Option<SocketAddr>) -> Self {
        Self {
            proven,
            claimed: None,
        }
    }

    /// It seems to be at `now`: what to send there, if that is to be proven.
    fn look(&mut self, now: Option<SocketAddr>, random: &Identity) -> Option<(SocketAddr, Nonce)> {
        let now = now.filter(|_| now != self.proven)?;
        let is_asked = |(addr, _): &(SocketAddr, Nonce)| *addr == now;
        let token = match self.claimed.filter(is_asked) {
            Some((_, token)) => token,
            None => random.random().ok()?,
        };
        self.claimed = Some((now, token));
        self.claimed
    }

    /// It says what was sent to where it seems to be: where that is.
    fn shown(&mut self, token: Nonce) -> Option<SocketAddr> {
        let (addr, _) = self.claimed.take_if(|(_, asked)| *asked == token)?;
        self.proven = Some(addr);
        self.proven
    }
}

async fn say(control: &mut Control, message: FromRelay) -> Result<(), LinkError> {
    match timeout(SEND_DEADLINE, control.send(&message)).await {
        Ok(sent) => sent,
        Err(_) => Err(LinkError::Lost("it does not read".into())),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_somewhere_else_when_it_has_shown_it() {
        let random = Identity::generate().unwrap();
        let addr = |n: u8| SocketAddr::from(([192, 0, 2, n], 1));
        let mut seen = Seen::new(Some(addr(1)));
        assert_eq!(seen.look(Some(addr(1)), &random), None);
        let (to, token) = seen.look(Some(addr(2)), &random).unwrap();
        assert_eq!(to, addr(2));
        // Asked again, in case it was lost.
        assert_eq!(seen.look(Some(addr(2)), &random), Some((to, token)));
        assert_eq!(seen.shown([0; 8]), None);
        let (_, other) = seen.look(Some(addr(3)), &random).unwrap();
        assert_eq!(seen.shown(token), None);
        assert_eq!(seen.shown(other), Some(addr(3)));
        assert_eq!(seen.look(Some(addr(3)), &random), None);
    }
}
