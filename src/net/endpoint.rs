//! A node's end of the network: one UDP socket, the TCP port of the same number, and everything
//! that runs on them.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use quinn::{EndpointConfig, TokioRuntime};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::acceptor::{self, Arrival};
use super::connection::PeerConnection;
use super::connector::Connector;
use super::dht::{self, DhtStanding, DhtUse};
use super::mapping::{self, RouterPort};
use super::pool::Shared;
use super::relay::RelayStanding;
use super::routed_socket::RoutedSocket;
use super::routes::Routes;
use super::settings::{ETHERNET_PAYLOAD, UDP_PAYLOAD_MAX, Way, transport};
use super::tls::{Door, PlainCallers, listen};
use super::{errors, interfaces, moves, restarts, socket};
use crate::identity::{Identity, IdentityError};
use crate::protocol::link_uri::RelayHint;
use crate::protocol::message::{Code, NAME_LEN_MAX};

pub use crate::protocol::link_uri::DEFAULT_PORT;

/// Arrivals that may wait for the node; then streams wait, and at last the peers.
pub const ARRIVALS_MAX: usize = 64;

/// Calls that may wait to be looked at, and what their packets may hold.
const CALLS_WAITING_MAX: usize = 256;
const CALL_BUFFER_MAX: u64 = 64 * 1024;
const CALL_BUFFERS_MAX: u64 = 4 * 1024 * 1024;

/// How long a shutdown waits for the other sides to hear of it.
const SHUTDOWN_WAIT: Duration = Duration::from_secs(3);

/// How often it is looked whether the other sides have heard of it.
const HEARD_PAUSE: Duration = Duration::from_millis(1);

/// Where to listen, and as whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointOptions {
    /// One address of this computer; `None` for all of them.
    pub bind: Option<IpAddr>,
    /// UDP port, and TCP port where that can be had; 0 for any free one.
    pub port: u16,
    /// What we call ourselves; cut at [`NAME_LEN_MAX`] bytes.
    pub name: String,
}

impl Default for EndpointOptions {
    /// All addresses, so that any way to this computer works; the port that peers try first; no
    /// name.
    fn default() -> Self {
        Self {
            bind: None,
            port: DEFAULT_PORT,
            name: String::new(),
        }
    }
}

/// Why there is no endpoint.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another program, or another instance of this one, listens there.
    #[error("UDP port {0} is used by another program")]
    PortInUse(u16),
    /// The system does not give us a socket there.
    #[error("cannot open a UDP socket: {0}")]
    Socket(std::io::Error),
    /// No working cryptography.
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

/// Opens the socket and takes calls. Whoever gets the arrivals must read them: while nobody does,
/// peers wait. Dropping the receiver closes every connection that comes.
///
/// Fails if the port is taken or there is no socket.
pub async fn bind(
    identity: &Identity,
    options: EndpointOptions,
) -> Result<(Connector, mpsc::Receiver<Arrival>, Net), BindError> {
    let (socket, listener) = open(&options).map_err(|error| {
        if error.kind() == ErrorKind::AddrInUse {
            BindError::PortInUse(options.port)
        } else {
            BindError::Socket(error)
        }
    })?;
    let local = socket.local_addr().map_err(BindError::Socket)?;
    let routes = Routes::new(socket.try_clone().map_err(BindError::Socket)?);
    let used = socket.try_clone().and_then(socket::wrapped);
    let used = RoutedSocket::new(used.map_err(BindError::Socket)?, routes.clone());
    let server = server_config(identity)?;
    let mut config = EndpointConfig::default();
    restarts::answer_for_earlier(&mut config, identity)?;
    // Tells packets of QUIC from those of routes.
    config.grease_quic_bit(false);
    // Fails only for sizes below 1,200.
    let _ = config.max_udp_payload_size(UDP_PAYLOAD_MAX);
    let runtime = Arc::new(TokioRuntime);
    let endpoint =
        quinn::Endpoint::new_with_abstract_socket(config, Some(server.clone()), used, runtime)
            .map_err(BindError::Socket)?;
    let (arrivals, arrived) = mpsc::channel(ARRIVALS_MAX);
    let name = super::handshake::shortened(options.name, NAME_LEN_MAX);
    let shared = Arc::new(Shared::new(
        endpoint,
        server,
        identity.clone(),
        name,
        arrivals,
        interfaces::candidates(local.ip(), local.port()),
        routes,
    ));
    shared.spawn(acceptor::accept(shared.clone()));
    let connector = Connector::new(shared.clone());
    let door = listener.map(|listener| Door::open(&shared, listener, local.port()));
    let mut follower = JoinSet::new();
    follower.spawn(moves::follow(shared.clone(), socket, local));
    let mut router = JoinSet::new();
    router.spawn(mapping::keep(shared.clone(), local));
    let mut publisher = JoinSet::new();
    publisher.spawn(dht::publish(shared.clone()));
    let net = Net {
        shared,
        local,
        door: door.transpose()?,
        follower,
        _router: router,
        _publisher: publisher,
    };
    Ok((connector, arrived, net))
}

/// The UDP socket, and the TCP port of the same number, if that can be had: where another program
/// has it, UDP is all there is.
fn open(options: &EndpointOptions) -> io::Result<(UdpSocket, Option<TcpListener>)> {
    /// A free UDP port may be taken for TCP.
    const TRIES: u32 = 16;
    let mut tries = 1;
    loop {
        let socket = socket::open(options.bind, options.port)?;
        match listen(options.bind, socket.local_addr()?.port()) {
            Ok(listener) => return Ok((socket, Some(listener))),
            Err(_) if options.port == 0 && tries < TRIES => tries += 1,
            Err(error) => {
                tracing::info!(%error, "no TCP port for those whose UDP is blocked");
                return Ok((socket, None));
            }
        }
    }
}

fn server_config(identity: &Identity) -> Result<quinn::ServerConfig, IdentityError> {
    let mut config = quinn::ServerConfig::with_crypto(identity.server_config()?);
    config
        // Each call gets its own, by where it comes from.
        .transport_config(transport(Way::Network(ETHERNET_PAYLOAD)))
        .max_incoming(CALLS_WAITING_MAX)
        .incoming_buffer_size(CALL_BUFFER_MAX)
        .incoming_buffer_size_total(CALL_BUFFERS_MAX);
    Ok(config)
}

/// The endpoint's owner: when it is dropped, everything on it ends.
#[derive(Debug)]
pub struct Net {
    shared: Arc<Shared>,
    local: SocketAddr,
    /// The TCP port, if it could be had.
    door: Option<Door>,
    /// The task that follows changes of the network.
    follower: JoinSet<()>,
    /// The task that keeps a port open at the router, and gives it up at the end.
    _router: JoinSet<()>,
    /// The task that keeps our entry in the DHT.
    _publisher: JoinSet<()>,
}

impl Net {
    /// The UDP port that it listens at. The TCP port of the same number, too, unless another
    /// program has it.
    pub fn local_port(&self) -> u16 {
        self.local.port()
    }

    /// Those who call in the original's way at TCP port `port`, if that is the port where peers
    /// call over TCP. They are sent away as long as nobody has asked for them; only the first gets
    /// them.
    pub fn plain_callers(&self, port: u16) -> Option<PlainCallers> {
        self.door.as_ref()?.plain_callers(port)
    }

    /// Addresses where others may reach it, now and whenever they change, most useful first: those
    /// of every interface that is up (private IPv4, other IPv4, IPv6), or the one address that it
    /// is bound to. Link-local and loopback addresses only if there is nothing better.
    pub fn addrs(&self) -> watch::Receiver<Vec<SocketAddr>> {
        self.shared.addrs()
    }

    /// Listens at these relays from now on, so that peers can call through them that cannot reach
    /// this computer.
    pub fn listen_at(&self, relays: &[RelayHint]) {
        self.shared.relays.listen(&self.shared, relays);
    }

    /// How it stands with them, now and whenever that changes.
    pub fn relays(&self) -> watch::Receiver<Vec<RelayStanding>> {
        self.shared.relays.standings()
    }

    /// Whether peers whose network blocks UDP can call by TCP: not if another program has the port.
    pub fn takes_tcp(&self) -> bool {
        self.door.is_some()
    }

    /// Whether the router shall lead a port of its own to this computer from now on, so that
    /// peers elsewhere can call. Nothing is asked of it before.
    pub fn want_router_port(&self, wanted: bool) {
        self.shared.mapping.want(wanted);
    }

    /// What the DHT is used for from now on. Nothing is sent there before.
    pub fn use_dht(&self, wanted: DhtUse) {
        self.shared.dht.want(wanted);
    }

    /// How it stands with our entry there, now and whenever that changes.
    pub fn dht(&self) -> watch::Receiver<DhtStanding> {
        self.shared.dht.stands()
    }

    /// How it stands with that port, now and whenever it changes.
    pub fn router_port(&self) -> watch::Receiver<RouterPort> {
        self.shared.mapping.stands()
    }

    /// Stops taking calls, closes all connections with [`Code::Done`], and waits until the other
    /// sides have heard of it, 3 s at most.
    pub async fn shutdown(mut self) {
        let connections = self.shared.connections();
        let tasks = self.close_connections();
        let ended = async {
            if connections.iter().any(|c| c.route().is_some()) {
                // They hear of it through relays and over TCP, which are left afterwards.
                heard(&connections).await;
            }
            self.close_endpoint();
            tokio::select! {
                () = heard(&connections) => {}
                () = self.shared.endpoint.wait_idle() => {}
            }
            if let Some(mut tasks) = tasks {
                while tasks.join_next().await.is_some() {}
            }
        };
        let released = self.shared.mapping.release();
        let (ended, ()) = tokio::join!(timeout(SHUTDOWN_WAIT, ended), released);
        if ended.is_err() {
            tracing::debug!("some peers did not hear of the shutdown in time");
        }
    }

    fn close(&mut self) -> Option<JoinSet<()>> {
        let tasks = self.close_connections();
        self.close_endpoint();
        tasks
    }

    fn close_connections(&mut self) -> Option<JoinSet<()>> {
        self.follower.abort_all();
        if let Some(door) = &mut self.door {
            door.close();
        }
        self.shared.endpoint.set_server_config(None);
        let tasks = self.shared.stop();
        for connection in self.shared.connections() {
            connection.close(Code::Done);
        }
        tasks
    }

    fn close_endpoint(&self) {
        self.shared.relays.stop();
        self.shared.streams.stop();
        let code = errors::wire(Code::Done);
        self.shared.endpoint.close(code, b"");
    }
}

/// Waits until the peers of connections that were closed here have heard of it. QUIC itself waits
/// three times as long as an answer may take in any case: a tenth of a second on the best path.
async fn heard(connections: &[PeerConnection]) {
    loop {
        // Once in any case: calls that are only half-way are told, too. QUIC does not say when an
        // answer comes, so it is asked.
        tokio::time::sleep(HEARD_PAUSE).await;
        if connections.iter().all(PeerConnection::is_close_heard) {
            return;
        }
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        // The tasks hold what holds them; taking them out frees both.
        drop(self.close());
    }
}
