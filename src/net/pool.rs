//! What the parts of a network node share: the endpoint, one connection per peer, who is blocked,
//! and the tasks.

use std::collections::{HashMap, HashSet};
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::acceptor::Arrival;
use super::admission::{Admission, Admitted};
use super::connection::{Mark, PeerConnection};
use super::dht::Dht;
use super::handshake::HANDSHAKE_DEADLINE;
use super::link::LinkError;
use super::mapping::{Mapping, RouterPort};
use super::relay::Relays;
use super::router;
use super::routes::Routes;
use super::tls::Streams;
use crate::identity::Identity;
use crate::peer::PeerId;
use crate::protocol::message::Code;

mod guards;

pub(super) use guards::{Answering, Finishing, Observed};

/// Shared by the connector, the acceptor and the tasks of all connections.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) endpoint: quinn::Endpoint,
    pub(super) server: quinn::ServerConfig,
    pub(super) identity: Identity,
    pub(super) name: String,
    pub(super) admission: Admission,
    state: Mutex<State>,
    /// Ways through relays, and over TCP.
    pub(super) routes: Arc<Routes>,
    pub(super) relays: Relays,
    /// TCP connections with peers.
    pub(super) streams: Streams,
    /// A port at the router.
    pub(super) mapping: Mapping,
    /// The directory of keys.
    pub(super) dht: Dht,
    /// Where others may find us.
    addrs: watch::Sender<Vec<SocketAddr>>,
    /// Those of this computer only: what relays say does not change them.
    own: watch::Sender<Vec<SocketAddr>>,
    /// Says that the network has changed.
    network: watch::Sender<()>,
    /// Says that the state changed.
    changes: watch::Sender<()>,
    /// `None` from the shutdown on.
    running: Mutex<Option<Running>>,
}

/// What ends with the shutdown.
#[derive(Debug)]
struct Running {
    tasks: JoinSet<()>,
    arrivals: mpsc::Sender<Arrival>,
}

#[derive(Debug, Default)]
struct State {
    pool: HashMap<PeerId, PeerConnection>,
    blocked: HashSet<PeerId>,
    /// Held while a peer is dialled, so that two transfers do not dial it twice.
    turns: HashMap<PeerId, Weak<tokio::sync::Mutex<()>>>,
    /// Callers that were answered and are not in the pool yet.
    answered: HashMap<PeerId, u32>,
    /// Peers to whom a call of ours is being finished.
    finishing: HashSet<PeerId>,
    /// What peers have said where they are.
    told: HashMap<PeerId, Vec<SocketAddr>>,
    /// Where each relay sees us.
    seen: HashMap<PeerId, SocketAddr>,
    /// Where peers that may know our addresses see us, by the numbers of their connections.
    observed: HashMap<usize, (PeerId, SocketAddr)>,
    /// Connections that broke and that the peer may still believe in, until it is called.
    lost: HashMap<PeerId, Mark>,
}

/// Addresses at which peers say that they see us, and that are told: one, mostly.
const OBSERVED_MAX: usize = 4;

/// Peers of which each of these is remembered.
const REMEMBERED_MAX: usize = 256;

/// Why a connection did not get into the pool. It is closed already.
#[derive(Debug)]
pub(super) enum NotAdopted {
    /// The peer is blocked.
    Blocked,
    /// This one is kept instead: both sides dialled at once.
    Other(PeerConnection),
    /// The node is shutting down.
    Stopped,
}

impl Shared {
    pub(super) fn new(
        endpoint: quinn::Endpoint,
        server: quinn::ServerConfig,
        identity: Identity,
        name: String,
        arrivals: mpsc::Sender<Arrival>,
        addrs: Vec<SocketAddr>,
        routes: Arc<Routes>,
    ) -> Self {
        let bound = endpoint.local_addr();
        let bound = bound.map_or(Ipv6Addr::UNSPECIFIED.into(), |at| at.ip());
        Self {
            endpoint,
            server,
            identity,
            name,
            admission: Admission::default(),
            state: Mutex::default(),
            own: watch::Sender::new(addrs.clone()),
            network: watch::Sender::new(()),
            routes,
            relays: Relays::default(),
            streams: Streams::default(),
            mapping: Mapping::default(),
            dht: Dht::new(bound),
            addrs: watch::Sender::new(addrs),
            changes: watch::Sender::new(()),
            running: Mutex::new(Some(Running {
                tasks: JoinSet::new(),
                arrivals,
            })),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn running(&self) -> MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `task` until it ends or the node shuts down. `false` if it has shut down.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> bool {
        let mut running = self.running();
        let Some(Running { tasks, .. }) = running.as_mut() else {
            return false;
        };
        while let Some(result) = tasks.try_join_next() {
            if let Err(error) = result {
                tracing::error!(%error, "a network task failed");
            }
        }
        tasks.spawn(task);
        true
    }

    /// Where arrivals go; `None` if the node has shut down.
    pub(super) fn arrivals(&self) -> Option<mpsc::Sender<Arrival>> {
        let running = self.running();
        running.as_ref().map(|running| running.arrivals.clone())
    }

    /// Lets no task begin any more and hands over those that run; the arrivals end with them.
    /// `None` the second time.
    pub(super) fn stop(&self) -> Option<JoinSet<()>> {
        let running = self.running().take();
        running.map(|running| running.tasks)
    }

    /// The connection to `id`, if there is one that is not known to have ended.
    pub(super) fn pooled(&self, id: PeerId) -> Option<PeerConnection> {
        let state = self.state();
        state.pool.get(&id).filter(|c| !c.is_closed()).cloned()
    }

    pub(super) fn connections(&self) -> Vec<PeerConnection> {
        let state = self.state();
        let open = state.pool.values().filter(|c| !c.is_closed());
        open.cloned().collect()
    }

    pub(super) fn is_blocked(&self, id: PeerId) -> bool {
        self.state().blocked.contains(&id)
    }

    /// From now on only these are blocked; their connections are closed.
    pub(super) fn set_blocked(&self, blocked: HashSet<PeerId>) {
        let mut state = self.state();
        for id in &blocked {
            if let Some(connection) = state.pool.get(id) {
                connection.close(Code::Refused);
            }
        }
        state.blocked = blocked;
    }

    /// Where others may find us, now and whenever it changes.
    pub(super) fn addrs(&self) -> watch::Receiver<Vec<SocketAddr>> {
        self.addrs.subscribe()
    }

    /// Others may find us here from now on.
    pub(super) fn moved_to(&self, addrs: Vec<SocketAddr>) {
        let state = self.state();
        if set(&self.own, addrs) {
            self.dht.forget_searches();
        }
        self.tell_addrs(&state);
    }

    /// The addresses of this computer, now and whenever they change: then it is in another
    /// network.
    pub(super) fn own_addrs(&self) -> watch::Receiver<Vec<SocketAddr>> {
        self.own.subscribe()
    }

    /// The network has changed in some way.
    pub(super) fn network_changed(&self) {
        self.network.send_replace(());
    }

    /// Whenever the network may have changed: addresses, links or routes.
    pub(super) fn network_changes(&self) -> watch::Receiver<()> {
        self.network.subscribe()
    }

    /// A relay sees us there, or is not connected any more.
    pub(super) fn seen_by(&self, relay: PeerId, addr: Option<SocketAddr>) {
        let mut state = self.state();
        match addr {
            Some(addr) => state.seen.insert(relay, addr),
            None => state.seen.remove(&relay),
        };
        self.tell_addrs(&state);
    }

    /// The peer at the other end of the connection with this number, which may know all our
    /// addresses, sees us there, until the guard is dropped. So those who have no relay can tell
    /// others where they are, too. It counts when somebody else sees the same: one alone could have
    /// anybody called.
    pub(super) fn observed_on(
        self: &Arc<Self>,
        number: usize,
        peer: PeerId,
        addr: SocketAddr,
    ) -> Observed {
        let mut state = self.state();
        state.observed.insert(number, (peer, addr));
        self.tell_addrs(&state);
        Observed {
            shared: self.clone(),
            number,
        }
    }

    /// From now on it stands like this with a port at the router.
    pub(super) fn mapped(&self, stands: RouterPort) {
        let state = self.state();
        self.mapping.set(stands);
        self.tell_addrs(&state);
    }

    fn tell_addrs(&self, state: &State) {
        let mut addrs = self.own.borrow().clone();
        // Whoever is told only some of them needs this one: it may be the only one that works from
        // elsewhere.
        if let Some(addr) = self.mapping.at().filter(|addr| !addrs.contains(addr)) {
            addrs.insert(addrs.len().min(1), addr);
        }
        for addr in state.seen.values().copied().chain(state.agreed()) {
            if !addrs.contains(&addr) {
                addrs.push(addr);
            }
        }
        set(&self.addrs, addrs);
    }

    /// The peer says that it is here.
    pub(super) fn told(&self, id: PeerId, addrs: Vec<SocketAddr>) {
        let mut state = self.state();
        state.make_room();
        state.told.insert(id, addrs);
    }

    /// Where the peer has said that it is.
    pub(super) fn whereabouts(&self, id: PeerId) -> Vec<SocketAddr> {
        self.state().told.get(&id).cloned().unwrap_or_default()
    }

    /// Gives up a connection that is broken, though its peer may not have noticed.
    pub(super) fn lose(&self, connection: &PeerConnection, why: &str) {
        self.state().lose(connection);
        connection.lose(why);
    }

    /// The connection to the peer that broke, to be named when it is called.
    pub(super) fn lost(&self, id: PeerId) -> Option<Mark> {
        self.state().lost.get(&id).copied()
    }

    /// The peer has lost this connection. If we still believe in it, we do not any more.
    pub(super) fn lost_there(&self, id: PeerId, mark: Mark) {
        if let Some(connection) = self.pooled(id).filter(|c| c.mark() == Some(mark)) {
            connection.lose("the peer has lost it");
        }
    }

    /// Whoever holds this is the only one to dial `id`.
    pub(super) fn turn(&self, id: PeerId) -> Arc<tokio::sync::Mutex<()>> {
        let mut state = self.state();
        if let Some(turn) = state.turns.get(&id).and_then(Weak::upgrade) {
            return turn;
        }
        state.turns.retain(|_, turn| turn.strong_count() > 0);
        let turn = Arc::default();
        state.turns.insert(id, Arc::downgrade(&turn));
        turn
    }

    /// Puts a greeted connection into the pool, in place of an older one, and serves its streams.
    pub(super) fn adopt(
        self: &Arc<Self>,
        connection: &PeerConnection,
        admitted: Option<Admitted>,
    ) -> Result<(), NotAdopted> {
        let id = connection.id();
        let mut state = self.state();
        if state.blocked.contains(&id) {
            connection.close(Code::Refused);
            return Err(NotAdopted::Blocked);
        }
        if let Some(other) = state.stays(self.identity.id(), id, connection.dialled()) {
            connection.close(Code::Replaced);
            return Err(NotAdopted::Other(other));
        }
        let served = self.arrivals().is_some_and(|arrivals| {
            let route = router::route(self.clone(), arrivals, connection.clone(), admitted);
            self.spawn(route)
        });
        if !served {
            connection.close(Code::Done);
            return Err(NotAdopted::Stopped);
        }
        state.lost.remove(&id);
        if let Some(old) = state.pool.insert(id, connection.clone()) {
            old.close(Code::Replaced);
        }
        drop(state);
        self.changes.send_replace(());
        Ok(())
    }

    /// Takes a connection that has ended out of the pool. Says so to `tell` if the peer is not
    /// connected by another one; nothing can come in between.
    pub(super) fn abandon(&self, connection: &PeerConnection, tell: impl FnOnce()) {
        let mut state = self.state();
        let id = connection.id();
        if state.pool.get(&id).is_some_and(|c| c.is_same(connection)) {
            state.pool.remove(&id);
            match connection.ended() {
                Some(LinkError::Lost(_)) => state.lose(connection),
                Some(LinkError::Closed(_) | LinkError::Offence(_)) | None => {}
            }
            tell();
        }
    }

    /// Waits until `peer` is connected.
    pub(super) async fn connected(&self, peer: PeerId) -> PeerConnection {
        let mut changes = self.changes.subscribe();
        loop {
            changes.mark_unchanged();
            if let Some(connection) = self.pooled(peer) {
                return connection;
            }
            if changes.changed().await.is_err() {
                // The sender lives as long as `self`.
                std::future::pending::<()>().await;
            }
        }
    }

    /// Counts `peer` as a caller that is answered, until the guard is dropped. `None` if it need
    /// not be answered, because a call of ours to it has just been finished or is about to be.
    ///
    /// With [`Self::finish`] this makes both sides agree on one connection when both dial at once,
    /// before either hands one out. If the lower id's call is answered, the other side has not
    /// finished its own call, and does not until that one is settled; if it is not answered, the
    /// other side's call is as good as made.
    pub(super) fn answer(self: &Arc<Self>, peer: PeerId) -> Option<Answering> {
        let mut state = self.state();
        let ours_is_new = state
            .pool
            .get(&peer)
            .is_some_and(|old| !old.is_closed() && old.dialled() && is_new(old));
        if ours_is_new || state.finishing.contains(&peer) {
            return None;
        }
        *state.answered.entry(peer).or_default() += 1;
        Some(Answering {
            shared: self.clone(),
            peer,
        })
    }

    /// The call of ours to `peer` is about to be finished; until the guard is dropped, calls from
    /// it are not answered. If its id is lower, its calls that were answered come first.
    pub(super) async fn finish(self: &Arc<Self>, peer: PeerId) -> Finishing {
        let mut changes = self.changes.subscribe();
        loop {
            changes.mark_unchanged();
            {
                let mut state = self.state();
                if self.identity.id() < peer || !state.answered.contains_key(&peer) {
                    state.finishing.insert(peer);
                    return Finishing {
                        shared: self.clone(),
                        peer,
                    };
                }
            }
            if changes.changed().await.is_err() {
                // The sender lives as long as `self`.
                std::future::pending::<()>().await;
            }
        }
    }
}

/// Tells it only if it is news.
/// Returns whether it was not so before.
fn set(told: &watch::Sender<Vec<SocketAddr>>, addrs: Vec<SocketAddr>) -> bool {
    told.send_if_modified(|before| {
        let moved = *before != addrs;
        *before = addrs;
        moved
    })
}

/// Whether the connection is so new that a dial to the other side may have begun before it.
fn is_new(connection: &PeerConnection) -> bool {
    connection.since().elapsed() < HANDSHAKE_DEADLINE
}

impl State {
    /// Where several see us: two peers, or a peer and a relay.
    fn agreed(&self) -> Vec<SocketAddr> {
        let claims = self.observed.values();
        let others = |who: &PeerId, at: &SocketAddr| {
            let peers = self
                .observed
                .values()
                .any(|(other, its)| other != who && its == at);
            peers
                || self
                    .seen
                    .iter()
                    .any(|(relay, its)| relay != who && its.ip() == at.ip())
        };
        let agreed = claims
            .filter(|(who, at)| others(who, at))
            .map(|(_, at)| *at);
        let agreed: std::collections::BTreeSet<_> = agreed.collect();
        agreed.into_iter().take(OBSERVED_MAX).collect()
    }

    fn lose(&mut self, connection: &PeerConnection) {
        self.make_room();
        if let Some(mark) = connection.mark() {
            self.lost.insert(connection.id(), mark);
        }
    }

    /// Forgets what is remembered of peers that are not connected if it is too much.
    fn make_room(&mut self) {
        if self.told.len() >= REMEMBERED_MAX {
            let pool = &self.pool;
            self.told.retain(|id, _| pool.contains_key(id));
        }
        if self.lost.len() >= REMEMBERED_MAX {
            self.lost.clear();
        }
    }

    /// The connection to `peer` that is there, if it stays and the new one, dialled by us or not,
    /// goes. Both sides come to the same result.
    fn stays(&self, us: PeerId, peer: PeerId, new_is_dialled: bool) -> Option<PeerConnection> {
        let old = self.pool.get(&peer).filter(|old| !old.is_closed())?;
        // A later one comes from a peer that has lost the connection we still believe in.
        let at_once = old.dialled() != new_is_dialled && is_new(old);
        let old_is_by_lower_id = old.dialled() == (us < peer);
        (at_once && old_is_by_lower_id).then(|| old.clone())
    }
}
