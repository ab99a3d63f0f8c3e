//! Takes connections of originals: who may connect, what each is for, and what comes after it.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::HANDSHAKE_DEADLINE;
use super::body::Body;
use super::inbound::TcpInbound;
use super::line::prepare;
use super::parse::{Kind, component};
use super::texts::{self, PlainText, Talkers};
use super::tree::{Aside, Trees, take_in};
use crate::net::admission::{Admission, Admitted, Verdict};
use crate::net::endpoint::BindError;
use crate::net::link::LinkError;
use crate::peer::LegacyPeer;
use crate::protocol::legacy::LegacyId;
use crate::protocol::legacy::otm::StreamLink;
use crate::protocol::legacy::stream::Opening;
use crate::protocol::message::TransferId;

/// Transfers that may wait for the node.
const ARRIVALS_MAX: usize = 64;
/// Connections that the system may hold until they are taken.
const BACKLOG: i32 = 128;
/// How long a connection may stay open after a transfer, for another one.
const IDLE_MAX: Duration = Duration::from_secs(60);
/// After the system could not give us a connection.
const PAUSE: Duration = Duration::from_millis(100);
/// Bytes of a handshake that are read at once.
const READ_LEN: usize = 4096;

/// Bytes that the kernel is asked to keep of each connection. Linux lets a full window open again
/// only when a sixteenth of it is free, and a sender that we slow down must see it open within
/// 10 s: of the 6 MB that it takes by itself, that is more than we read in that time.
const RECEIVE_BUFFER: usize = 1024 * 1024;

/// Where to listen.
#[derive(Debug, Clone)]
pub struct LegacyOptions {
    /// One address of this computer; `None` for all of them.
    pub bind: Option<IpAddr>,
    /// TCP port; 0 for any free one.
    pub port: u16,
    /// Folder for what comes before anybody agreed to it.
    pub spool: PathBuf,
    /// The trees that we are in.
    pub trees: Trees,
}

/// What arrives from originals.
#[derive(Debug)]
pub enum LegacyArrival {
    /// Files or a folder.
    Transfer(Box<TcpInbound>),
    /// A text.
    Text(PlainText),
}

/// Listens for originals until it is dropped, which ends every connection that it took.
#[derive(Debug)]
pub struct LegacyListener {
    local: SocketAddr,
    /// Ends with this.
    _tasks: JoinSet<()>,
}

impl LegacyListener {
    /// Opens the port. What arrives comes through the channel; dropping a transfer declines it.
    ///
    /// Fails if the port is taken or there is no socket.
    pub fn bind(
        options: LegacyOptions,
    ) -> Result<(Self, mpsc::Receiver<LegacyArrival>), BindError> {
        let listener = open(options.bind, options.port).map_err(|error| {
            if error.kind() == ErrorKind::AddrInUse {
                BindError::PortInUse(options.port)
            } else {
                BindError::Socket(error)
            }
        })?;
        let local = listener.local_addr().map_err(BindError::Socket)?;
        let (arrivals, arrived) = mpsc::channel(ARRIVALS_MAX);
        let shared = Arc::new(Shared {
            aside: Aside::new(options.spool.clone()),
            spool: options.spool,
            trees: options.trees,
            arrivals,
            talkers: Talkers::default(),
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, shared));
        let listener = Self {
            local,
            _tasks: tasks,
        };
        Ok((listener, arrived))
    }

    /// The TCP port that it listens at.
    pub fn port(&self) -> u16 {
        self.local.port()
    }
}

struct Shared {
    spool: PathBuf,
    /// For trees.
    aside: Aside,
    trees: Trees,
    arrivals: mpsc::Sender<LegacyArrival>,
    talkers: Talkers,
}

/// A socket for IPv4 and IPv6, or for IPv4 alone where there is no IPv6.
fn open(ip: Option<IpAddr>, port: u16) -> io::Result<TcpListener> {
    match ip {
        Some(ip) => listen(SocketAddr::new(ip, port)),
        None => listen((Ipv6Addr::UNSPECIFIED, port).into()).or_else(|error| {
            match error.kind() == ErrorKind::AddrInUse {
                true => Err(error),
                false => listen((Ipv4Addr::UNSPECIFIED, port).into()),
            }
        }),
    }
}

fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    if addr.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    // A port whose last connections are not forgotten yet may be had again.
    socket.set_reuse_address(true)?;
    // Connections inherit it, and their windows are scaled by it: so before the first.
    let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER);
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket.into())
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let admission = Admission::default();
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        match accepted {
            Ok((stream, from)) => {
                let from = SocketAddr::new(from.ip().to_canonical(), from.port());
                // Who completes the handshake of TCP receives at its address.
                match admission.decide(from.ip(), true) {
                    Verdict::Admit(admitted) => {
                        let connection = Connection {
                            from,
                            shared: shared.clone(),
                            admitted,
                        };
                        connections.spawn(connection.serve(stream));
                    }
                    Verdict::Validate | Verdict::Refuse => {
                        tracing::debug!(%from, "too many connections");
                    }
                }
            }
            Err(error) => {
                tracing::warn!(%error, "no connection could be taken");
                sleep(PAUSE).await;
            }
        }
    }
}

struct Connection {
    from: SocketAddr,
    shared: Arc<Shared>,
    admitted: Admitted,
}

impl Connection {
    async fn serve(mut self, stream: TcpStream) {
        if let Err(error) = prepare(&stream) {
            tracing::debug!(from = %self.from, %error, "the connection is gone");
            return;
        }
        let mut body = Body::new(stream, self.shared.spool.clone());
        let mut wait = HANDSHAKE_DEADLINE;
        loop {
            let opening = match timeout(wait, handshake(&mut body)).await {
                Ok(Ok(Some(opening))) => opening,
                // It has nothing more to say.
                Ok(Ok(None)) | Err(_) => return,
                Ok(Err(error)) => {
                    tracing::debug!(from = %self.from, %error, "no handshake of an original");
                    return;
                }
            };
            self.admitted.connected();
            match self.transfer(opening, body).await {
                Some(again) => (body, wait) = (again, IDLE_MAX),
                None => return,
            }
        }
    }

    /// Hands a transfer to the node, and waits for the connection to come back.
    async fn transfer(&self, opening: Opening, mut body: Body) -> Option<Body> {
        let (sender, kind) = match opening {
            Opening::Files { sender, .. } => (sender, Kind::Files),
            Opening::Directory { sender, name, .. } => {
                let name = component(&name);
                let offended = |offence: &_| {
                    tracing::info!(from = %self.from, ?offence, "a folder with an evil name");
                };
                (sender, Kind::folder(name.inspect_err(offended).ok()?))
            }
            Opening::Probe => {
                // The other side closes; that it could connect is all it wanted to know.
                let _ = timeout(HANDSHAKE_DEADLINE, body.ended()).await;
                return None;
            }
            Opening::Texts { sender, .. } => {
                self.texts(sender, body).await;
                return None;
            }
            Opening::OtmLink(link) => {
                self.tree(link, body).await;
                return None;
            }
        };
        let (back, returned) = oneshot::channel();
        let peer = self.peer(sender);
        let link = TcpInbound::new(peer, kind, random_id()?, body, back);
        let arrival = LegacyArrival::Transfer(Box::new(link));
        self.shared.arrivals.send(arrival).await.ok()?;
        returned.await.ok()
    }

    /// Hands texts to the node, one after the other.
    async fn texts(&self, sender: LegacyId, mut body: Body) {
        let Some(_talking) = self.shared.talkers.admit(self.from.ip()) else {
            tracing::debug!(from = %self.from, "too many connections for texts");
            return;
        };
        let (peer, arrivals) = (self.peer(sender), &self.shared.arrivals);
        let listened = texts::listen(&mut body, peer, random_id, arrivals).await;
        if let Err(error) = listened {
            tracing::debug!(from = %self.from, %error, "no texts of an original");
        }
    }

    /// Takes in what a tree brings, and hands it to the node.
    async fn tree(&self, link: StreamLink, body: Body) {
        let sender = link.parent;
        let Some(entered) = self.shared.trees.enter(link, self.from).await else {
            return;
        };
        let Some((stream, buf)) = body.into_stream() else {
            return;
        };
        let arrived = async |coming| {
            let (link, held) = TcpInbound::of_tree(self.peer(sender), random_id()?, coming);
            let arrival = LegacyArrival::Transfer(Box::new(link));
            self.shared.arrivals.send(arrival).await.ok()?;
            Some(held)
        };
        let aside = self.shared.aside.clone();
        if let Err(error) = take_in(entered, stream, buf, aside, arrived).await {
            tracing::info!(from = %self.from, %error, "a link of a tree has ended");
        }
    }

    fn peer(&self, id: LegacyId) -> LegacyPeer {
        LegacyPeer {
            id,
            addr: self.from,
        }
    }
}

/// The next handshake; `None` at the end of the stream.
async fn handshake(body: &mut Body) -> Result<Option<Opening>, LinkError> {
    loop {
        let decoded =
            Opening::decode(&body.buf).map_err(|error| LinkError::Offence(error.into()))?;
        if let Some((opening, used)) = decoded {
            let _ = body.buf.split_to(used);
            return Ok(Some(opening));
        }
        if !body.fill(READ_LEN).await? {
            return Ok(None);
        }
    }
}

/// A number for a transfer that brings none.
fn random_id() -> Option<TransferId> {
    let mut id = [0; 16];
    let random = rustls::crypto::ring::default_provider().secure_random;
    random.fill(&mut id).ok()?;
    Some(TransferId(id))
}
