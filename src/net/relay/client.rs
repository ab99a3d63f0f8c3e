//! A node's connections to relays: to those where it listens, as long as it runs, and to those
//! where somebody is called, as long as they are needed.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use rustls::pki_types::ServerName;
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_rustls::TlsConnector;

use super::link::{Control, StreamControl};
use crate::identity::server_name;
use crate::net::connection::{PeerConnection, canonical};
use crate::net::connector::{ConnectError, Connector, Speaks};
use crate::net::frames::FrameReader;
use crate::net::handshake::HANDSHAKE_DEADLINE;
use crate::net::link::LinkError;
use crate::net::pool::Shared;
use crate::net::routes::{Route, ThroughRelay, Via};
use crate::peer::PeerId;
use crate::protocol::link_uri::RelayHint;
use crate::protocol::message::Code;
use crate::protocol::relay::{ALPN_RELAY, Channel, FromRelay, ToRelay};

/// Relays where a node listens.
const LISTENED_MAX: usize = 4;
/// Calls that may wait for one relay.
const CALLS_MAX: usize = 32;
/// How long UDP is tried alone before TCP joins.
const TCP_AFTER: Duration = Duration::from_millis(1_500);
/// How long a relay may take until it is connected.
const CONNECT_DEADLINE: Duration = Duration::from_secs(8);
/// Pauses between tries to reach a relay where we listen.
const PAUSE_MIN: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// How long a relay is kept where nobody is called any more.
const KEPT_FOR: Duration = Duration::from_secs(30);
/// How long the callee may take.
const CALL_DEADLINE: Duration = Duration::from_secs(5);
/// Callers that are on their way here through one relay.
const EXPECTED_MAX: usize = 32;
/// Channels that may wait to be left.
const LEFT_MAX: usize = 64;
/// How long a message may take to be sent.
const SEND_DEADLINE: Duration = Duration::from_secs(5);

/// How it stands with a relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RelayState {
    /// It is being looked for.
    Away,
    /// It is connected by UDP, and sees us there.
    Udp(SocketAddr),
    /// It is connected by TCP: UDP does not get through.
    Tcp,
}

/// A relay where this node listens, and how it stands with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelayStanding {
    /// Which.
    pub relay: RelayHint,
    /// How.
    pub state: RelayState,
}

/// Somebody wants to be connected with a peer.
struct Call {
    peer: PeerId,
    reply: Reply,
}

type Reply = oneshot::Sender<Result<Arc<Route>, ConnectError>>;

/// The relays of a node.
#[derive(Debug)]
pub(in crate::net) struct Relays {
    state: Mutex<State>,
    standings: watch::Sender<Vec<RelayStanding>>,
}

#[derive(Debug, Default)]
struct State {
    calls: HashMap<PeerId, mpsc::Sender<Call>>,
    tasks: JoinSet<()>,
    stopped: bool,
}

impl Default for Relays {
    fn default() -> Self {
        Self {
            state: Mutex::default(),
            standings: watch::Sender::new(Vec::new()),
        }
    }
}

impl Relays {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those where this node listens.
    pub(in crate::net) fn standings(&self) -> watch::Receiver<Vec<RelayStanding>> {
        self.standings.subscribe()
    }

    /// Ends everything, for good.
    pub(in crate::net) fn stop(&self) {
        let mut state = self.state();
        state.stopped = true;
        state.calls.clear();
        state.tasks.abort_all();
    }

    /// Listens at these relays from now on, too.
    pub(in crate::net) fn listen(&self, shared: &Arc<Shared>, relays: &[RelayHint]) {
        for relay in relays {
            let is_new = self.standings.send_if_modified(|all| {
                let is_new = all.iter().all(|known| known.relay.id != relay.id);
                if is_new && all.len() < LISTENED_MAX {
                    all.push(RelayStanding {
                        relay: relay.clone(),
                        state: RelayState::Away,
                    });
                    return true;
                }
                false
            });
            if !is_new {
                continue;
            }
            self.state().begin(shared, relay.clone(), true);
        }
    }

    fn calls(&self, shared: &Arc<Shared>, relay: &RelayHint) -> Option<mpsc::Sender<Call>> {
        let mut state = self.state();
        let running = state
            .calls
            .get(&relay.id)
            .filter(|calls| !calls.is_closed());
        match running {
            Some(calls) => Some(calls.clone()),
            None => state.begin(shared, relay.clone(), false),
        }
    }

    fn stands(&self, id: PeerId, now: RelayState) {
        self.standings.send_if_modified(|all| {
            let mut changed = false;
            for standing in all.iter_mut().filter(|one| one.relay.id == id) {
                changed |= standing.state != now;
                standing.state = now;
            }
            changed
        });
    }
}

impl State {
    fn begin(
        &mut self,
        shared: &Arc<Shared>,
        relay: RelayHint,
        listens: bool,
    ) -> Option<mpsc::Sender<Call>> {
        if self.stopped {
            return None;
        }
        while self.tasks.try_join_next().is_some() {}
        let (calls, wanted) = mpsc::channel(CALLS_MAX);
        self.calls.insert(relay.id, calls.clone());
        // The task must not keep alive what holds it.
        let attendant = Attendant {
            shared: Arc::downgrade(shared),
            relay,
            listens,
            wanted,
        };
        self.tasks.spawn(attendant.run());
        Some(calls)
    }
}

/// A way to `peer` through `relay`. Cancel-safe.
pub(in crate::net) async fn call_through(
    shared: &Arc<Shared>,
    relay: &RelayHint,
    peer: PeerId,
) -> Result<Arc<Route>, ConnectError> {
    let stopped = || ConnectError::Stopped("shutting down".into());
    let calls = shared.relays.calls(shared, relay).ok_or_else(stopped)?;
    let (reply, answer) = oneshot::channel();
    let called = async {
        let sent = calls.send(Call { peer, reply }).await;
        sent.map_err(|_| ConnectError::Unreachable)?;
        answer.await.map_err(|_| ConnectError::Unreachable)?
    };
    let answered = timeout(CONNECT_DEADLINE + CALL_DEADLINE, called).await;
    answered.unwrap_or(Err(ConnectError::Unreachable))
}

/// Takes care of one relay.
struct Attendant {
    shared: Weak<Shared>,
    relay: RelayHint,
    listens: bool,
    wanted: mpsc::Receiver<Call>,
}

impl Attendant {
    async fn run(mut self) {
        let mut pause = PAUSE_MIN;
        while let Some(shared) = self.shared.upgrade() {
            let mut ours = shared.addrs();
            let mut session = match connect(&shared, &self.relay).await {
                Ok((control, addr)) => Session::new(&shared, &self.relay, control, addr),
                Err(error) => {
                    tracing::info!(relay = %self.relay.id.short(), %error, "relay not reached");
                    self.fail(&error);
                    if !self.listens {
                        return;
                    }
                    drop(shared);
                    pause = tokio::select! {
                        () = sleep(pause) => (pause * 2).min(PAUSE_MAX),
                        Ok(()) = ours.changed() => PAUSE_MIN,
                    };
                    continue;
                }
            };
            pause = PAUSE_MIN;
            let ended = session.run(self.listens, &mut self.wanted).await;
            tracing::info!(relay = %self.relay.id.short(), ?ended, "relay left");
            session.end();
            shared.relays.stands(self.relay.id, RelayState::Away);
            shared.seen_by(self.relay.id, None);
            if !self.listens {
                return;
            }
        }
    }

    /// Those who wait need not wait any longer.
    fn fail(&mut self, error: &ConnectError) {
        while let Ok(call) = self.wanted.try_recv() {
            let _ = call.reply.send(Err(error.clone()));
        }
    }
}

/// Connects with a relay, by UDP if that works, and says where.
async fn connect(
    shared: &Arc<Shared>,
    relay: &RelayHint,
) -> Result<(Control, SocketAddr), ConnectError> {
    let quic = by_quic(shared, relay);
    let tcp = async {
        sleep(TCP_AFTER).await;
        by_tcp(shared, relay).await
    };
    let both = async {
        tokio::pin!(quic, tcp);
        let mut errors = None;
        loop {
            let (result, other) = match errors {
                None => tokio::select! {
                    result = &mut quic => (result, true),
                    result = &mut tcp => (result, false),
                },
                Some((true, _)) => (tcp.as_mut().await, false),
                Some((false, _)) => (quic.as_mut().await, true),
            };
            match (result, errors.take()) {
                (Ok(control), _) => return Ok(control),
                (Err(error), None) => errors = Some((other, error)),
                // What UDP says tells more.
                (Err(error), Some((is_udp, first))) => {
                    return Err(if is_udp { first } else { error });
                }
            }
        }
    };
    let connected = timeout(CONNECT_DEADLINE, both).await;
    connected.unwrap_or(Err(ConnectError::Unreachable))
}

async fn by_quic(
    shared: &Arc<Shared>,
    relay: &RelayHint,
) -> Result<(Control, SocketAddr), ConnectError> {
    let connector = Connector::new(shared.clone());
    let quic = connector
        .reach(relay.id, &relay.addrs, Speaks::Relay)
        .await?;
    let addr = canonical(quic.remote_address());
    let connection = PeerConnection::new(quic, true, None);
    let opened = connection.quic().open_bi().await;
    let (send, recv) = opened.map_err(|error| ConnectError::Lost(error.to_string()))?;
    let control = Control::Quic {
        connection,
        send,
        recv: FrameReader::new(recv),
    };
    Ok((control, addr))
}

async fn by_tcp(
    shared: &Arc<Shared>,
    relay: &RelayHint,
) -> Result<(Control, SocketAddr), ConnectError> {
    let lost = |error: std::io::Error| ConnectError::Lost(error.to_string());
    let made = shared.identity.tls_client(Some(relay.id), &[ALPN_RELAY]);
    let (config, _) = made.map_err(|error| ConnectError::Stopped(error.to_string()))?;
    let tls = TlsConnector::from(Arc::new(config));
    let name = ServerName::try_from(server_name(Some(relay.id)))
        .map_err(|error| ConnectError::Stopped(error.to_string()))?;
    let mut last = ConnectError::NoAddress;
    for addr in &relay.addrs {
        let connected = timeout(HANDSHAKE_DEADLINE / 4, TcpStream::connect(addr)).await;
        let stream = match connected {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                last = lost(error);
                continue;
            }
            Err(_) => {
                last = ConnectError::Unreachable;
                continue;
            }
        };
        // Fails on a connection that has ended.
        let _ = stream.set_nodelay(true);
        let shaken = timeout(HANDSHAKE_DEADLINE / 2, tls.connect(name.clone(), stream)).await;
        match shaken {
            Ok(Ok(stream)) => {
                let routes = shared.routes.clone();
                let control = StreamControl::new(stream, move |datagram| {
                    routes.arrived(&datagram);
                });
                return Ok((Control::Stream(control), *addr));
            }
            Ok(Err(error)) => last = lost(error),
            Err(_) => last = ConnectError::Unreachable,
        }
    }
    Err(last)
}

/// One connection with a relay.
struct Session {
    shared: Arc<Shared>,
    relay: PeerId,
    control: Control,
    addr: SocketAddr,
    /// Routes that were dropped.
    left: (mpsc::Sender<Channel>, mpsc::Receiver<Channel>),
    /// Who waits for which peer.
    calls: HashMap<PeerId, Vec<Reply>>,
    /// Callers that have not come yet.
    expected: JoinSet<()>,
    routes: Vec<Weak<Route>>,
}

impl Session {
    fn new(shared: &Arc<Shared>, relay: &RelayHint, control: Control, addr: SocketAddr) -> Self {
        Self {
            shared: shared.clone(),
            relay: relay.id,
            control,
            addr,
            left: mpsc::channel(LEFT_MAX),
            calls: HashMap::new(),
            expected: JoinSet::new(),
            routes: Vec::new(),
        }
    }

    async fn run(
        &mut self,
        listens: bool,
        wanted: &mut mpsc::Receiver<Call>,
    ) -> Result<(), LinkError> {
        self.say(ToRelay::Hello { listens }).await?;
        let mut needed = Instant::now();
        loop {
            let idle = needed + KEPT_FOR;
            tokio::select! {
                message = self.control.recv() => match message? {
                    Some(message) => self.heard(message).await?,
                    None => return Ok(()),
                },
                Some(call) = wanted.recv() => self.call(call).await?,
                Some(channel) = self.left.1.recv() => self.say(ToRelay::Leave { channel }).await?,
                Some(_) = self.expected.join_next() => {}
                () = sleep_until(idle), if !listens => {
                    self.routes.retain(|route| route.strong_count() > 0);
                    if self.routes.is_empty() && self.calls.is_empty() {
                        return Ok(());
                    }
                }
            }
            self.calls.retain(|_, replies| {
                replies.retain(|reply| !reply.is_closed());
                !replies.is_empty()
            });
            if self.routes.iter().any(|route| route.strong_count() > 0) || !self.calls.is_empty() {
                needed = Instant::now();
            }
        }
    }

    async fn say(&mut self, message: ToRelay) -> Result<(), LinkError> {
        match timeout(SEND_DEADLINE, self.control.send(&message)).await {
            Ok(sent) => sent,
            Err(_) => Err(LinkError::Lost("the relay does not read".into())),
        }
    }

    async fn call(&mut self, call: Call) -> Result<(), LinkError> {
        let Call { peer, reply } = call;
        let replies = self.calls.entry(peer).or_default();
        if replies.len() >= CALLS_MAX {
            return Ok(());
        }
        replies.push(reply);
        self.say(ToRelay::Call { peer }).await
    }

    async fn heard(&mut self, message: FromRelay) -> Result<(), LinkError> {
        match message {
            FromRelay::Seen { addr } => {
                let addr = addr.map(canonical);
                let state = addr.map_or(RelayState::Tcp, RelayState::Udp);
                self.shared.relays.stands(self.relay, state);
                self.shared.seen_by(self.relay, addr);
                Ok(())
            }
            FromRelay::Called {
                from,
                channel,
                seen,
            } => self.called(from, channel, seen).await,
            FromRelay::Open {
                peer,
                channel,
                seen,
            } => self.open(peer, channel, seen).await,
            FromRelay::Closed { peer, why } => {
                tracing::debug!(peer = %peer.short(), ?why, "call through a relay");
                self.answer(peer, Err(ConnectError::Unreachable));
                Ok(())
            }
            // The connection through it ends by itself, or goes on directly.
            FromRelay::Left { .. } => Ok(()),
        }
    }

    /// The first who waits for `peer` is answered.
    fn answer(&mut self, peer: PeerId, result: Result<Arc<Route>, ConnectError>) {
        let mut result = Some(result);
        if let Some(replies) = self.calls.get_mut(&peer) {
            while let Some(answer) = result.take() {
                if replies.is_empty() {
                    break;
                }
                result = replies.remove(0).send(answer).err();
            }
        }
        // What nobody took is dropped, which leaves the channel.
    }

    async fn open(
        &mut self,
        peer: PeerId,
        channel: Channel,
        seen: Option<SocketAddr>,
    ) -> Result<(), LinkError> {
        match self.route(channel, seen) {
            Some(route) => self.answer(peer, Ok(route)),
            None => {
                self.answer(peer, Err(ConnectError::Busy));
                self.say(ToRelay::Leave { channel }).await?;
            }
        }
        Ok(())
    }

    /// Somebody comes through the relay: the route is there before the first packet.
    async fn called(
        &mut self,
        from: PeerId,
        channel: Channel,
        seen: Option<SocketAddr>,
    ) -> Result<(), LinkError> {
        let is_welcome = !self.shared.is_blocked(from) && self.expected.len() < EXPECTED_MAX;
        let route = match is_welcome {
            true => self.route(channel, seen),
            false => None,
        };
        let Some(route) = route else {
            return self.say(ToRelay::Leave { channel }).await;
        };
        self.expected.spawn(async move {
            sleep(HANDSHAKE_DEADLINE).await;
            drop(route);
        });
        self.say(ToRelay::Take { channel }).await
    }

    fn route(&mut self, channel: Channel, seen: Option<SocketAddr>) -> Option<Arc<Route>> {
        let via = match &self.control {
            Control::Quic { .. } => Via::Udp(self.addr),
            Control::Stream(stream) => Via::Stream(stream.datagrams.clone()),
        };
        let relay = ThroughRelay {
            id: self.relay,
            addr: self.addr,
            via,
            left: self.left.0.clone(),
        };
        let route = self
            .shared
            .routes
            .add(channel, relay, seen.map(canonical))?;
        self.routes.retain(|route| route.strong_count() > 0);
        self.routes.push(Arc::downgrade(&route));
        Some(route)
    }

    fn end(self) {
        match self.control {
            Control::Quic { connection, .. } => connection.close(Code::Done),
            Control::Stream(_) => {}
        }
    }
}
