//! A node's connections to relays: to those where it listens, as long as it runs, and to those
//! where somebody is called, as long as they are needed.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::connect::{CONNECT_DEADLINE, connect};
use super::session::Session;
use crate::net::connector::ConnectError;
use crate::net::pool::Shared;
use crate::net::routes::Route;
use crate::peer::PeerId;
use crate::protocol::link_uri::RelayHint;

/// Relays where a node listens.
const LISTENED_MAX: usize = 4;
/// Calls that may wait for one relay.
pub(super) const CALLS_MAX: usize = 32;
/// Pauses between tries to reach a relay where we listen.
const PAUSE_MIN: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// How long the callee may take.
const CALL_DEADLINE: Duration = Duration::from_secs(5);

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
pub(super) struct Call {
    pub(super) peer: PeerId,
    pub(super) reply: Reply,
}

pub(super) type Reply = oneshot::Sender<Result<Arc<Route>, ConnectError>>;

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

    pub(super) fn stands(&self, id: PeerId, now: RelayState) {
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
