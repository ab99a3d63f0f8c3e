//! Takes connections of originals: who may connect, what each is for, and what comes after it.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

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
use crate::net::connection::canonical;
use crate::net::endpoint::BindError;
use crate::net::link::LinkError;
use crate::net::tls::{PlainCaller, PlainCallers, listen};
use crate::peer::LegacyPeer;
use crate::protocol::legacy::LegacyId;
use crate::protocol::legacy::otm::StreamLink;
use crate::protocol::legacy::stream::Opening;
use crate::protocol::message::TransferId;

/// Transfers that may wait for the node.
const ARRIVALS_MAX: usize = 64;
/// How long a connection may stay open after a transfer, for another one.
const IDLE_MAX: Duration = Duration::from_secs(60);
/// After the system could not give us a connection.
const PAUSE: Duration = Duration::from_millis(100);
/// Bytes of a handshake that are read at once.
const READ_LEN: usize = 4096;

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
    port: u16,
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
        let listener = listen(options.bind, options.port).map_err(|error| {
            if error.kind() == ErrorKind::AddrInUse {
                BindError::PortInUse(options.port)
            } else {
                BindError::Socket(error)
            }
        })?;
        let local = listener.local_addr().map_err(BindError::Socket)?;
        let own = Callers::Own(listener, Admission::default());
        Ok(Self::of(own, local.port(), options.spool, options.trees))
    }

    /// The same for those who come to a port where peers with keys call, too.
    pub fn share(
        callers: PlainCallers,
        spool: PathBuf,
        trees: Trees,
    ) -> (Self, mpsc::Receiver<LegacyArrival>) {
        let port = callers.port();
        Self::of(Callers::Shared(callers), port, spool, trees)
    }

    fn of(
        callers: Callers,
        port: u16,
        spool: PathBuf,
        trees: Trees,
    ) -> (Self, mpsc::Receiver<LegacyArrival>) {
        let (arrivals, arrived) = mpsc::channel(ARRIVALS_MAX);
        let shared = Arc::new(Shared {
            aside: Aside::new(spool.clone()),
            spool,
            trees,
            arrivals,
            talkers: Talkers::default(),
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(callers, shared));
        let listener = Self {
            port,
            _tasks: tasks,
        };
        (listener, arrived)
    }

    /// The TCP port that it listens at.
    pub fn port(&self) -> u16 {
        self.port
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

/// Where they come from.
enum Callers {
    /// A port of their own.
    Own(TcpListener, Admission),
    /// A port that others use, too.
    Shared(PlainCallers),
}

impl Callers {
    /// The next one that is let in; `None` at the end. Cancel-safe.
    async fn next(&mut self) -> Option<PlainCaller> {
        let (listener, admission) = match self {
            Self::Own(listener, admission) => (listener, admission),
            Self::Shared(callers) => return callers.next().await,
        };
        loop {
            match listener.accept().await {
                Ok((stream, from)) => {
                    let from = canonical(from);
                    // Who completes the handshake of TCP receives at its address.
                    match admission.decide(from.ip(), true) {
                        Verdict::Admit(admitted) => {
                            return Some(PlainCaller {
                                stream,
                                from,
                                said: Vec::new(),
                                admitted,
                            });
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
}

async fn accept(mut callers: Callers, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        let caller = tokio::select! {
            caller = callers.next() => caller,
            Some(_) = connections.join_next() => continue,
        };
        let Some(PlainCaller {
            stream,
            from,
            said,
            admitted,
        }) = caller
        else {
            return;
        };
        let connection = Connection {
            from,
            shared: shared.clone(),
            admitted,
        };
        connections.spawn(connection.serve(stream, said));
    }
}

struct Connection {
    from: SocketAddr,
    shared: Arc<Shared>,
    admitted: Admitted,
}

impl Connection {
    /// `said` has come already.
    async fn serve(mut self, stream: TcpStream, said: Vec<u8>) {
        if let Err(error) = prepare(&stream) {
            tracing::debug!(from = %self.from, %error, "the connection is gone");
            return;
        }
        let mut body = Body::new(stream, self.shared.spool.clone());
        body.buf.extend_from_slice(&said);
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
