//! `prepare_connection`: finds a way to a peer and proves that it is the right one.

mod tried;

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::attempt::{Speaks, Won, greeting_failed, stopped};
use super::connection::PeerConnection;
use super::dht::Found;
use super::handshake::{self, HANDSHAKE_DEADLINE, Introduction};
use super::interfaces::with_link_local;
use super::link::Offence;
use super::pool::{NotAdopted, Shared};
use super::probing;
pub use super::race::Ways;
use super::race::{Errors, Failed, Runners, race};
use super::whereabouts::to_dial;
use crate::peer::PeerId;
use crate::protocol::link_uri::RelayHint;
use crate::protocol::message::Code;

/// Most addresses of one peer that are tried.
pub const DIAL_ADDRS_MAX: usize = 16;

/// Most relays through which one peer is called.
pub const DIAL_RELAYS_MAX: usize = 4;
/// Pauses between rounds over all addresses.
const PAUSE_MIN: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(4);
/// How long the system may take to find the addresses of a name.
const RESOLVE_DEADLINE: Duration = Duration::from_secs(5);

/// Whom to dial, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dial {
    /// The only peer that is accepted; `None` for whoever answers.
    pub expect: Option<PeerId>,
    /// Addresses, most promising first; at most [`DIAL_ADDRS_MAX`] are used.
    pub addrs: Vec<SocketAddr>,
    /// Relays where it may listen, beside those where we do. At most [`DIAL_RELAYS_MAX`] are used.
    pub relays: Vec<RelayHint>,
}

/// Why there is no connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// No address is known, or the name has none.
    #[error("no address is known")]
    NoAddress,
    /// Nothing answered at all: asleep, elsewhere, or behind a firewall.
    #[error("nothing answered")]
    Unreachable,
    /// The computer answered that nobody listens at that port.
    #[error("the computer is there, but nobody listens at that port")]
    NotListening,
    /// This computer has no way to any of the addresses.
    #[error("no route to that network")]
    NoRoute,
    /// The peer does not want us.
    #[error("the peer refuses connections from us")]
    Refused,
    /// The peer has too many connections; later it may work.
    #[error("the peer is busy")]
    Busy,
    /// Somebody else answered, and proved another key. Nothing was said to it.
    #[error("another peer answered: {got}")]
    WrongPeer {
        /// Who it is.
        got: PeerId,
    },
    /// The other side speaks no version of the protocol that we know.
    #[error("no common version of the protocol")]
    Version,
    /// The other side does not prove a key as a peer must, or is another program.
    #[error("no handshake: {0}")]
    Handshake(String),
    /// The other side broke the protocol while greeting.
    #[error("peer broke the protocol: {0}")]
    Misbehaved(Offence),
    /// The address leads to ourselves.
    #[error("that is this computer itself")]
    Ourselves,
    /// The address leads to somebody with a copy of our key.
    #[error("another computer has the same identity")]
    Twin,
    /// This side has blocked the peer.
    #[error("the peer is blocked here")]
    Blocked,
    /// The connection broke while it was made.
    #[error("connection lost: {0}")]
    Lost(String),
    /// The node is shutting down, or has no working cryptography.
    #[error("cannot dial: {0}")]
    Stopped(String),
}

impl ConnectError {
    /// How much it tells about the peer: the error of several addresses is the one that tells the
    /// most. From [`Self::FINAL`] on, trying again is in vain.
    pub(super) fn weight(&self) -> u8 {
        match self {
            Self::NoAddress => 0,
            Self::NoRoute => 1,
            Self::Unreachable => 2,
            Self::NotListening => 3,
            Self::Handshake(_) => 4,
            Self::Lost(_) => 5,
            Self::Busy => 6,
            Self::WrongPeer { .. } => 7,
            Self::Ourselves | Self::Twin => 8,
            Self::Version => 9,
            Self::Misbehaved(_) => 10,
            Self::Refused => 11,
            Self::Blocked => 12,
            Self::Stopped(_) => 13,
        }
    }

    pub(super) const FINAL: u8 = 8;
    /// See [`Self::is_answer`].
    const ANSWER: u8 = 4;

    /// Whether somebody has answered, as a program that we can talk to or not.
    pub(super) fn is_answer(&self) -> bool {
        self.weight() >= Self::ANSWER
    }

    /// Whether the peer may answer at another address.
    pub fn may_be_elsewhere(&self) -> bool {
        self.weight() < Self::FINAL
    }
}

/// Makes connections and keeps them: one for each peer. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Connector {
    pub(super) shared: Arc<Shared>,
}

impl Connector {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Who we are.
    pub fn id(&self) -> PeerId {
        self.shared.identity.id()
    }

    /// The addresses of this computer itself, now and whenever they change: then it is worth
    /// dialling again. What others say about where we are is not among them.
    pub fn own_addrs(&self) -> watch::Receiver<Vec<SocketAddr>> {
        self.shared.own_addrs()
    }

    /// The connection to a peer: the one that is there, one that the peer makes meanwhile, or a
    /// new one. All addresses are tried, and those that the peer told when it was connected,
    /// 250 ms apart; again with growing pauses until `deadline`, and at once when this computer
    /// gets another address. The first that proves the right key wins. Cancel-safe.
    pub async fn prepare_connection(
        &self,
        to: Dial,
        deadline: Duration,
    ) -> Result<PeerConnection, ConnectError> {
        let ways = Ways::default();
        self.prepare_noting(to, deadline, &ways).await
    }

    /// The same, and takes note of what is tried: see [`Self::tried`]. Cancel-safe.
    pub async fn prepare_noting(
        &self,
        to: Dial,
        deadline: Duration,
        ways: &Ways,
    ) -> Result<PeerConnection, ConnectError> {
        let until = Instant::now() + deadline;
        let Some(expect) = to.expect else {
            return self.dial(&to, until, ways).await;
        };
        if self.shared.is_blocked(expect) {
            return Err(ConnectError::Blocked);
        }
        let turn = self.shared.turn(expect);
        let dial = async {
            match timeout_at(until, turn.lock()).await {
                Ok(_turn) => self.dial(&to, until, ways).await,
                // Somebody else has been dialling it all the time, in vain.
                Err(_) => Err(ConnectError::Unreachable),
            }
        };
        tokio::select! {
            biased;
            connection = self.shared.connected(expect) => Ok(connection),
            dialled = dial => dialled,
        }
    }

    /// Dials until it works, cannot work, or the time is over.
    async fn dial(
        &self,
        to: &Dial,
        until: Instant,
        ways: &Ways,
    ) -> Result<PeerConnection, ConnectError> {
        let mut pause = PAUSE_MIN;
        let mut last = None;
        let mut ours = self.shared.own_addrs();
        loop {
            let errors = Errors::noting(ways);
            let failed = match timeout_at(until, self.round(to, &errors)).await {
                Ok(Ok(connection)) => return Ok(connection),
                Ok(Err(failed)) => failed,
                Err(_) => {
                    // Some addresses may have said something; others have not, until now.
                    let so_far = errors.take();
                    let so_far = (!so_far.is_empty()).then(|| Failed::of(so_far).error);
                    return Err(so_far.or(last).unwrap_or(ConnectError::Unreachable));
                }
            };
            if failed.is_final || Instant::now() + pause >= until {
                return Err(failed.error);
            }
            tracing::debug!(error = %failed.error, "dialling again after a pause");
            last = Some(failed.error);
            pause = tokio::select! {
                () = sleep(pause) => (pause * 2).min(PAUSE_MAX),
                Ok(()) = ours.changed() => PAUSE_MIN,
            };
        }
    }

    /// Tries all addresses once.
    async fn round(&self, to: &Dial, errors: &Errors) -> Result<PeerConnection, Failed> {
        let won = self.race(to, errors).await?;
        let one = |error| Failed::of(vec![error]);
        if to.expect.is_some() {
            return self.greet(won, &to.addrs).await.map_err(one);
        }
        // Only now it is known who it is, and that somebody else may be dialling the same peer.
        let turn = self.shared.turn(won.peer);
        let _turn = turn.lock().await;
        self.greet(won, &to.addrs).await.map_err(one)
    }

    /// A connection to a relay, or whatever else speaks so, at the first address that answers.
    pub(super) async fn reach(
        &self,
        expect: PeerId,
        addrs: &[SocketAddr],
        speaks: Speaks,
    ) -> Result<quinn::Connection, ConnectError> {
        let addrs = to_dial(addrs, &[], &with_link_local());
        let errors = Errors::default();
        let runners = Runners {
            addrs,
            relays: Vec::new(),
            expect: Some(expect),
            speaks,
        };
        let won = race(&self.shared, runners, &errors).await;
        won.map(|won| won.quic).map_err(|failed| failed.error)
    }

    /// The relays through which a peer is called: those that are said to be its own, and ours.
    fn relays_to(&self, to: &Dial) -> Vec<RelayHint> {
        if to.expect.is_none() {
            return Vec::new();
        }
        let mut relays: Vec<RelayHint> = Vec::new();
        let ours = self.shared.relays.standings();
        let ours: Vec<_> = ours.borrow().iter().map(|one| one.relay.clone()).collect();
        for relay in to.relays.iter().chain(&ours) {
            let known = relays.iter().any(|known| known.id == relay.id);
            if !known && relays.len() < DIAL_RELAYS_MAX && Some(relay.id) != to.expect {
                relays.push(relay.clone());
            }
        }
        relays
    }

    /// The first connection on which the right key was proven. Begins anew when this computer gets
    /// another address: QUIC waits longer and longer before it sends again.
    async fn race(&self, to: &Dial, errors: &Errors) -> Result<Won, Failed> {
        let mut ours = self.shared.own_addrs();
        loop {
            let told = to.expect.map(|id| self.shared.whereabouts(id));
            let addrs = to_dial(&to.addrs, &told.unwrap_or_default(), &with_link_local());
            let runners = Runners {
                addrs,
                relays: self.relays_to(to),
                expect: to.expect,
                speaks: Speaks::Peer,
            };
            tokio::select! {
                result = race(&self.shared, runners, errors) => return result,
                Ok(()) = ours.changed() => {}
            }
        }
    }

    /// Greets the peer and puts the connection into the pool.
    async fn greet(&self, won: Won, hints: &[SocketAddr]) -> Result<PeerConnection, ConnectError> {
        let Won { quic, peer, route } = won;
        let connection = PeerConnection::new(quic, true, route);
        match timeout(HANDSHAKE_DEADLINE, self.greet_within(&connection, peer)).await {
            Ok(Ok(kept)) => {
                if kept.is_same(&connection) {
                    probing::begin(&self.shared, &kept, hints.to_vec());
                }
                Ok(kept)
            }
            Ok(Err(error)) => {
                // Closed already if there is more to say.
                connection.close(Code::Done);
                Err(error)
            }
            Err(_) => {
                connection.offend(Offence::Silent);
                Err(ConnectError::Misbehaved(Offence::Silent))
            }
        }
    }

    async fn greet_within(
        &self,
        connection: &PeerConnection,
        peer: PeerId,
    ) -> Result<PeerConnection, ConnectError> {
        let shared = &self.shared;
        if peer == shared.identity.id() {
            return Err(shared.itself(connection.remote_addr()));
        }
        if shared.is_blocked(peer) {
            connection.close(Code::Refused);
            return Err(ConnectError::Blocked);
        }
        if let Some(other) = shared.pooled(peer) {
            connection.close(Code::Replaced);
            return Ok(other);
        }
        let us = Introduction {
            identity: &shared.identity,
            name: &shared.name,
            nonce: shared.identity.random().map_err(stopped)?,
        };
        let failed = |error| greeting_failed(connection.judged(error));
        let answered = handshake::call(connection, peer, &us, shared.lost(peer)).await;
        let answered = answered.map_err(failed)?;
        // Held until this call is in the pool.
        let _finishing = shared.finish(peer).await;
        if let Some(other) = shared.pooled(peer) {
            connection.close(Code::Replaced);
            return Ok(other);
        }
        let greeting = handshake::reveal(connection, &us, answered).await;
        connection.greeted(greeting.map_err(failed)?);
        match shared.adopt(connection, None) {
            Ok(()) => Ok(connection.clone()),
            Err(NotAdopted::Other(other)) => Ok(other),
            Err(NotAdopted::Blocked) => Err(ConnectError::Blocked),
            Err(NotAdopted::Stopped) => Err(ConnectError::Stopped("shutting down".into())),
        }
    }

    /// The connection to a peer, if there is one now.
    pub fn pooled(&self, id: PeerId) -> Option<PeerConnection> {
        self.shared.pooled(id)
    }

    /// Where a peer has said that it is, beside where it is seen.
    pub fn whereabouts(&self, id: PeerId) -> Vec<SocketAddr> {
        self.shared.whereabouts(id)
    }

    /// Whether peers are searched in the DHT.
    pub fn searches(&self) -> bool {
        self.shared.dht.searches()
    }

    /// Where a peer says in the DHT that it is; `None` if it says nothing, or nothing is searched.
    /// Takes 16 s at most. Cancel-safe.
    pub async fn search(&self, id: PeerId) -> Option<Found> {
        self.shared.dht.find(id).await
    }

    /// The connection to a peer, as soon as there is one. Cancel-safe.
    pub async fn connected(&self, id: PeerId) -> PeerConnection {
        self.shared.connected(id).await
    }

    /// Closes the connection to a peer, if there is one.
    pub fn disconnect(&self, id: PeerId, code: Code) {
        if let Some(connection) = self.shared.pooled(id) {
            connection.close(code);
        }
    }

    /// All connections that are open now.
    pub fn connections(&self) -> Vec<PeerConnection> {
        self.shared.connections()
    }

    /// From now on exactly these peers are blocked: their connections are closed, their calls
    /// refused, and they are not dialled.
    pub fn set_blocked(&self, blocked: HashSet<PeerId>) {
        self.shared.set_blocked(blocked);
    }
}

/// The addresses of a host name or IP address, in the order the system prefers.
pub async fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, ConnectError> {
    match timeout(RESOLVE_DEADLINE, tokio::net::lookup_host((host, port))).await {
        Ok(Ok(found)) => {
            let addrs: Vec<SocketAddr> = found.take(DIAL_ADDRS_MAX).collect();
            match addrs.is_empty() {
                true => Err(ConnectError::NoAddress),
                false => Ok(addrs),
            }
        }
        Ok(Err(error)) => {
            tracing::debug!(?host, %error, "name not found");
            Err(ConnectError::NoAddress)
        }
        Err(_) => Err(ConnectError::NoAddress),
    }
}
