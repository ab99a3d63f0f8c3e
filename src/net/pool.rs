//! What the parts of a network node share: the endpoint, one connection per peer, who is blocked,
//! and the tasks.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::acceptor::Arrival;
use super::admission::{Admission, Admitted};
use super::connection::PeerConnection;
use super::handshake::HANDSHAKE_DEADLINE;
use super::router;
use crate::identity::Identity;
use crate::peer::PeerId;
use crate::protocol::message::Code;

/// Shared by the connector, the acceptor and the tasks of all connections.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) endpoint: quinn::Endpoint,
    pub(super) server: quinn::ServerConfig,
    pub(super) identity: Identity,
    pub(super) name: String,
    pub(super) admission: Admission,
    state: Mutex<State>,
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
    /// Callers that were answered and have not revealed their nonce yet.
    answered: HashMap<PeerId, u32>,
}

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
    ) -> Self {
        Self {
            endpoint,
            server,
            identity,
            name,
            admission: Admission::default(),
            state: Mutex::default(),
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

    /// Whether a connection to `peer` that is there stays, and the new one, dialled by us or not,
    /// goes. Both sides come to the same result.
    pub(super) fn stays(&self, peer: PeerId, new_is_dialled: bool) -> Option<PeerConnection> {
        self.state().stays(self.identity.id(), peer, new_is_dialled)
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

    /// Counts `peer` as a caller that was answered, until the guard is dropped.
    pub(super) fn answering(self: &Arc<Self>, peer: PeerId) -> Answering {
        *self.state().answered.entry(peer).or_default() += 1;
        Answering {
            shared: self.clone(),
            peer,
        }
    }

    /// Waits until no call from `peer` is half-way through its greeting.
    pub(super) async fn calls_settled(&self, peer: PeerId) {
        let mut changes = self.changes.subscribe();
        loop {
            changes.mark_unchanged();
            let settled = !self.state().answered.contains_key(&peer);
            if settled || changes.changed().await.is_err() {
                return;
            }
        }
    }
}

impl State {
    fn stays(&self, us: PeerId, peer: PeerId, new_is_dialled: bool) -> Option<PeerConnection> {
        let old = self.pool.get(&peer).filter(|old| !old.is_closed())?;
        // A dial that began before the other one was finished is not older than this. Later ones
        // come from a peer that has lost the connection we still believe in.
        let at_once = old.dialled() != new_is_dialled && old.since().elapsed() < HANDSHAKE_DEADLINE;
        let old_is_by_lower_id = old.dialled() == (us < peer);
        (at_once && old_is_by_lower_id).then(|| old.clone())
    }
}

/// See [`Shared::answering`].
#[derive(Debug)]
pub(super) struct Answering {
    shared: Arc<Shared>,
    peer: PeerId,
}

impl Drop for Answering {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        if let Some(count) = state.answered.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                state.answered.remove(&self.peer);
            }
        }
        drop(state);
        self.shared.changes.send_replace(());
    }
}
