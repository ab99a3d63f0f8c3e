//! A node's connections to relays: to those where it listens, as long as it runs, and to those
//! where somebody is called, as long as they are needed.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::connect::{CONNECT_DEADLINE, connect};
use super::numbers::NUMBERS_PER_PEER;
use super::session::Session;
use crate::net::connector::Connector;
use crate::net::pool::Shared;
use crate::net::routes::Route;
use crate::peer::PeerId;
use crate::protocol::link_uri::RelayHint;
use crate::protocol::relay::NoNumber;

/// Relays where a node listens.
const LISTENED_MAX: usize = 4;
/// Calls that may wait for one relay.
pub(super) const CALLS_MAX: usize = 32;
/// Pauses between tries to reach a relay where we listen.
const PAUSE_MIN: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// A connection that lasted so long was a good one.
const LASTED: Duration = Duration::from_secs(60);
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

/// What a relay is wanted for.
pub(super) enum Want {
    /// Somebody wants to be connected with a peer.
    Call { peer: PeerId, reply: Reply },
    /// Others shall be able to call here.
    Listen,
    /// Whoever looks for this number shall be led here, as long as the relay is there and again
    /// when it comes back.
    Claim { number: u16, reply: ClaimReply },
    /// The number is not needed any more.
    Release { number: u16 },
    /// Somebody wants to know who has this number.
    Find { number: u16, reply: FindReply },
}

pub(super) type ClaimReply = oneshot::Sender<Result<(), NoHelp>>;
pub(super) type FindReply = oneshot::Sender<Result<PeerId, NoHelp>>;

/// Why a relay does not help with a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoHelp {
    /// It says so.
    Says(NoNumber),
    /// It is not reached, or knows nothing of numbers.
    Away,
}

/// What a node wants of a relay as long as there is a task for it.
#[derive(Debug, Default)]
pub(super) struct Stay {
    /// Others can call.
    pub(super) listens: bool,
    /// Numbers that lead here.
    pub(super) numbers: Vec<u16>,
}

impl Stay {
    /// One more number, unless there are too many.
    pub(super) fn keep(&mut self, number: u16) -> bool {
        let is_new = !self.numbers.contains(&number);
        if is_new && self.numbers.len() < NUMBERS_PER_PEER {
            self.numbers.push(number);
        }
        self.numbers.contains(&number)
    }

    pub(super) fn forget(&mut self, number: u16) {
        self.numbers.retain(|kept| *kept != number);
    }
}

/// Why there is no way to a peer through a relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::net) enum NoRoute {
    /// The peer is not there, or does not want to talk.
    Absent,
    /// The relay is not reached, or does not help.
    Relay,
}

pub(super) type Reply = oneshot::Sender<Result<Arc<Route>, NoRoute>>;

/// The relays of a node.
#[derive(Debug)]
pub(in crate::net) struct Relays {
    state: Mutex<State>,
    standings: watch::Sender<Vec<RelayStanding>>,
}

#[derive(Debug, Default)]
struct State {
    wanted: HashMap<PeerId, mpsc::Sender<Want>>,
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
        state.wanted.clear();
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
            let mut state = self.state();
            let running = state.running(relay.id);
            // Full of calls: it has one more reason to be there soon.
            if running.is_none_or(|wanted| wanted.try_send(Want::Listen).is_err()) {
                state.begin(shared, relay.clone(), true);
            }
        }
    }

    fn wanted(&self, shared: &Arc<Shared>, relay: &RelayHint) -> Option<mpsc::Sender<Want>> {
        let mut state = self.state();
        match state.running(relay.id) {
            Some(wanted) => Some(wanted),
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
    fn running(&self, relay: PeerId) -> Option<mpsc::Sender<Want>> {
        let wanted = self.wanted.get(&relay)?;
        (!wanted.is_closed()).then(|| wanted.clone())
    }

    fn begin(
        &mut self,
        shared: &Arc<Shared>,
        relay: RelayHint,
        listens: bool,
    ) -> Option<mpsc::Sender<Want>> {
        if self.stopped {
            return None;
        }
        while self.tasks.try_join_next().is_some() {}
        let (wants, wanted) = mpsc::channel(CALLS_MAX);
        self.wanted.retain(|_, wants| !wants.is_closed());
        self.wanted.insert(relay.id, wants.clone());
        // The task must not keep alive what holds it.
        let attendant = Attendant {
            shared: Arc::downgrade(shared),
            relay,
            stay: Stay {
                listens,
                ..Stay::default()
            },
            wanted,
        };
        self.tasks.spawn(attendant.run());
        Some(wants)
    }
}

/// A way to `peer` through `relay`. Cancel-safe.
pub(in crate::net) async fn call_through(
    shared: &Arc<Shared>,
    relay: &RelayHint,
    peer: PeerId,
) -> Result<Arc<Route>, NoRoute> {
    let wanted = shared.relays.wanted(shared, relay).ok_or(NoRoute::Relay)?;
    let (reply, answer) = oneshot::channel();
    let called = async {
        let sent = wanted.send(Want::Call { peer, reply }).await;
        sent.map_err(|_| NoRoute::Relay)?;
        answer.await.map_err(|_| NoRoute::Relay)?
    };
    let answered = timeout(CONNECT_DEADLINE + CALL_DEADLINE, called).await;
    answered.unwrap_or(Err(NoRoute::Relay))
}

impl Connector {
    /// The relays where this node listens.
    pub fn relays(&self) -> Vec<RelayHint> {
        let standings = self.shared.relays.standings();
        let relays = standings.borrow();
        relays.iter().map(|one| one.relay.clone()).collect()
    }

    /// Has a relay where this node listens lead those here who look for the number of a code.
    pub async fn claim(&self, relay: &RelayHint, number: u16) -> Result<(), NoHelp> {
        let want = |reply| Want::Claim { number, reply };
        ask(&self.shared, relay, want).await
    }

    /// Has no relay lead anybody here for this number any more.
    pub async fn release(&self, number: u16) {
        self.shared.relays.release(number).await;
    }

    /// The peer that a relay leads to for the number of a code: a hint.
    pub async fn find(&self, relay: &RelayHint, number: u16) -> Result<PeerId, NoHelp> {
        let want = |reply| Want::Find { number, reply };
        ask(&self.shared, relay, want).await
    }
}

async fn ask<T>(
    shared: &Arc<Shared>,
    relay: &RelayHint,
    want: impl FnOnce(oneshot::Sender<Result<T, NoHelp>>) -> Want,
) -> Result<T, NoHelp> {
    let wanted = shared.relays.wanted(shared, relay).ok_or(NoHelp::Away)?;
    let (reply, answer) = oneshot::channel();
    let asked = async {
        let sent = wanted.send(want(reply)).await;
        sent.map_err(|_| NoHelp::Away)?;
        answer.await.map_err(|_| NoHelp::Away)?
    };
    let answered = timeout(CONNECT_DEADLINE + CALL_DEADLINE, asked).await;
    answered.unwrap_or(Err(NoHelp::Away))
}

impl Relays {
    /// No relay leads anybody here for `number` any more.
    async fn release(&self, number: u16) {
        let all: Vec<_> = self.state().wanted.values().cloned().collect();
        for wanted in all {
            // A relay that is away forgets it by itself; its task hears of it when it is free.
            let _ = timeout(CALL_DEADLINE, wanted.send(Want::Release { number })).await;
        }
    }
}

/// Takes care of one relay.
struct Attendant {
    shared: Weak<Shared>,
    relay: RelayHint,
    stay: Stay,
    wanted: mpsc::Receiver<Want>,
}

impl Attendant {
    async fn run(mut self) {
        let mut pause = PAUSE_MIN;
        while let Some(shared) = self.shared.upgrade() {
            let ours = shared.own_addrs();
            let began = Instant::now();
            self.attend(&shared).await;
            drop(shared);
            // What has come meanwhile, and asks for more than calls that have failed.
            if !self.stay.listens {
                return;
            }
            if began.elapsed() > LASTED {
                pause = PAUSE_MIN;
            }
            self.rest(pause, ours).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// One connection, from beginning to end.
    async fn attend(&mut self, shared: &Arc<Shared>) {
        let relay = self.relay.id;
        match connect(shared, &self.relay).await {
            Ok(reached) => {
                let mut session = Session::new(shared, &self.relay, reached);
                let ended = session.run(&mut self.stay, &mut self.wanted).await;
                tracing::info!(relay = %relay.short(), ?ended, "relay left");
                session.end();
                shared.relays.stands(relay, RelayState::Away);
                shared.seen_by(relay, None);
            }
            Err(error) => {
                tracing::info!(relay = %relay.short(), %error, "relay not reached");
                while let Ok(want) = self.wanted.try_recv() {
                    self.fail(want);
                }
            }
        }
    }

    /// Waits until it is worth another try; nobody waits with it.
    async fn rest(&mut self, pause: Duration, mut ours: watch::Receiver<Vec<SocketAddr>>) {
        let rested = sleep(pause);
        tokio::pin!(rested);
        loop {
            tokio::select! {
                () = &mut rested => return,
                Ok(()) = ours.changed() => return,
                Some(want) = self.wanted.recv() => self.fail(want),
            }
        }
    }

    fn fail(&mut self, want: Want) {
        match want {
            Want::Listen => self.stay.listens = true,
            Want::Call { reply, .. } => {
                let _ = reply.send(Err(NoRoute::Relay));
            }
            // It is claimed when the relay is back.
            Want::Claim { number, reply } => {
                self.stay.keep(number);
                let _ = reply.send(Err(NoHelp::Away));
            }
            Want::Release { number } => self.stay.forget(number),
            Want::Find { reply, .. } => {
                let _ = reply.send(Err(NoHelp::Away));
            }
        }
    }
}
