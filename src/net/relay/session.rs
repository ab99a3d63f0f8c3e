//! One connection of a node with a relay.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::asking::Asking;
use super::client::{CALLS_MAX, NoRoute, RelayState, Reply, Stay, Want};
use super::connect::Reached;
use super::link::Control;
use crate::net::connection::canonical;
use crate::net::handshake::HANDSHAKE_DEADLINE;
use crate::net::link::LinkError;
use crate::net::pool::Shared;
use crate::net::routes::{Carrier, Carries, Route, Via, is_route};
use crate::net::whereabouts::is_plausible;
use crate::peer::PeerId;
use crate::protocol::link_uri::RelayHint;
use crate::protocol::message::Code;
use crate::protocol::relay::{Channel, FromRelay, NotOpen, ToRelay};

/// How long a relay is kept where nobody is called any more.
const KEPT_FOR: Duration = Duration::from_secs(30);
/// Callers that are on their way here through one relay, and those from one address, so that
/// nobody keeps out everybody else.
const EXPECTED_MAX: usize = 64;
const EXPECTED_FROM_ONE: usize = 6;
/// Changes of where we are that a relay may tell, one after the other.
const SEEN_EVERY: Duration = Duration::from_secs(2);
/// Channels that may wait to be left.
const LEFT_MAX: usize = 64;
/// How long a message may take to be sent.
const SEND_DEADLINE: Duration = Duration::from_secs(5);

/// One connection with a relay.
pub(super) struct Session {
    shared: Arc<Shared>,
    relay: RelayHint,
    control: Control,
    addr: SocketAddr,
    /// Routes that were dropped.
    left: (mpsc::Sender<Channel>, mpsc::Receiver<Channel>),
    /// Who waits for which peer.
    calls: HashMap<PeerId, Vec<Reply>>,
    /// Callers that have not come yet, and where they were seen.
    expected: JoinSet<Option<IpAddr>>,
    expected_from: HashMap<Option<IpAddr>, usize>,
    seen: Option<Instant>,
    routes: Vec<Weak<Route>>,
    /// Questions about numbers.
    asking: Asking,
}

impl Session {
    pub(super) fn new(
        shared: &Arc<Shared>,
        relay: &RelayHint,
        Reached {
            control,
            addr,
            knows,
        }: Reached,
    ) -> Self {
        Self {
            asking: Asking::new(knows),
            shared: shared.clone(),
            relay: relay.clone(),
            control,
            addr,
            left: mpsc::channel(LEFT_MAX),
            calls: HashMap::new(),
            expected: JoinSet::new(),
            expected_from: HashMap::new(),
            seen: None,
            routes: Vec::new(),
        }
    }

    pub(super) async fn run(
        &mut self,
        stay: &mut Stay,
        wanted: &mut mpsc::Receiver<Want>,
    ) -> Result<(), LinkError> {
        let mut ours = self.shared.own_addrs();
        let mut tokens = self.shared.routes.tokens();
        let listens = stay.listens;
        self.say(ToRelay::Hello { listens }).await?;
        for message in self.asking.again(stay) {
            self.say(message).await?;
        }
        let mut needed = Instant::now();
        loop {
            let idle = needed + KEPT_FOR;
            tokio::select! {
                message = self.control.recv() => match message? {
                    Some(message) => self.heard(message, stay).await?,
                    None => return Ok(()),
                },
                Some(want) = wanted.recv() => self.want(want, stay).await?,
                Ok((from, token)) = tokens.recv() => if from == self.addr {
                    self.say(ToRelay::Here { token }).await?;
                },
                // A connection of TCP does not get over it.
                Ok(()) = ours.changed(), if matches!(self.control, Control::Stream(_)) => {
                    return Ok(());
                }
                Some(channel) = self.left.1.recv() => self.say(ToRelay::Leave { channel }).await?,
                Some(over) = self.expected.join_next() => self.came(over.ok().flatten()),
                () = sleep_until(idle), if !stay.listens => {
                    self.routes.retain(|route| route.strong_count() > 0);
                    if self.routes.is_empty() && self.calls.is_empty() && self.asking.is_empty() {
                        return Ok(());
                    }
                }
            }
            self.calls.retain(|_, replies| {
                replies.retain(|reply| !reply.is_closed());
                !replies.is_empty()
            });
            self.asking.forget_gone();
            let waits = !self.calls.is_empty() || !self.asking.is_empty();
            if waits || self.routes.iter().any(|route| route.strong_count() > 0) {
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

    async fn want(&mut self, want: Want, stay: &mut Stay) -> Result<(), LinkError> {
        let message = match want {
            Want::Call { peer, reply } => return self.call(peer, reply).await,
            Want::Listen if stay.listens => return Ok(()),
            Want::Listen => {
                stay.listens = true;
                Some(ToRelay::Hello { listens: true })
            }
            Want::Claim { number, reply } => self.asking.claim(number, reply, stay),
            Want::Release { number } => self.asking.release(number, stay),
            Want::Find { number, reply } => self.asking.find(number, reply),
        };
        match message {
            Some(message) => self.say(message).await,
            None => Ok(()),
        }
    }

    async fn call(&mut self, peer: PeerId, reply: Reply) -> Result<(), LinkError> {
        let replies = self.calls.entry(peer).or_default();
        if replies.len() >= CALLS_MAX {
            return Ok(());
        }
        replies.push(reply);
        self.say(ToRelay::Call { peer }).await
    }

    async fn heard(&mut self, message: FromRelay, stay: &mut Stay) -> Result<(), LinkError> {
        match message {
            FromRelay::Seen { addr } => {
                // Others are told of it only if it is a relay that somebody here has chosen.
                if stay.listens {
                    self.seen(addr.map(canonical));
                }
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
                let why = match why {
                    NotOpen::Absent | NotOpen::Refused => NoRoute::Absent,
                    NotOpen::Busy => NoRoute::Relay,
                };
                self.answer(peer, Err(why));
                Ok(())
            }
            // The connection through it ends by itself, or goes on directly.
            FromRelay::Left { .. } => Ok(()),
            FromRelay::Claimed { number, result } => {
                self.asking.claimed(number, result, stay);
                Ok(())
            }
            FromRelay::Found { number, result } => {
                self.asking.found(number, result);
                Ok(())
            }
        }
    }

    /// The relay says where it sees us.
    fn seen(&mut self, addr: Option<SocketAddr>) {
        let too_soon = self.seen.is_some_and(|at| at.elapsed() < SEEN_EVERY);
        let relay = self.addr.ip();
        if too_soon || addr.is_some_and(|addr| is_route(addr) || !is_plausible(addr, relay)) {
            return;
        }
        self.seen = Some(Instant::now());
        let state = addr.map_or(RelayState::Tcp, RelayState::Udp);
        self.shared.relays.stands(self.relay.id, state);
        self.shared.seen_by(self.relay.id, addr);
    }

    /// A caller had its time.
    fn came(&mut self, from: Option<IpAddr>) {
        if let Some(count) = self.expected_from.get_mut(&from) {
            *count -= 1;
            if *count == 0 {
                self.expected_from.remove(&from);
            }
        }
    }

    /// The first who waits for `peer` is answered.
    fn answer(&mut self, peer: PeerId, result: Result<Arc<Route>, NoRoute>) {
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
                self.answer(peer, Err(NoRoute::Relay));
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
        let ip = seen.map(|addr| addr.ip().to_canonical());
        let alike = self.expected_from.get(&ip).copied().unwrap_or_default();
        let is_welcome = !self.shared.is_blocked(from)
            && self.expected.len() < EXPECTED_MAX
            && alike < EXPECTED_FROM_ONE;
        let route = match is_welcome {
            true => self.route(channel, seen),
            false => None,
        };
        let Some(route) = route else {
            return self.say(ToRelay::Leave { channel }).await;
        };
        *self.expected_from.entry(ip).or_default() += 1;
        self.expected.spawn(async move {
            sleep(HANDSHAKE_DEADLINE).await;
            drop(route);
            ip
        });
        self.say(ToRelay::Take { channel }).await
    }

    fn route(&mut self, channel: Channel, seen: Option<SocketAddr>) -> Option<Arc<Route>> {
        let via = match &self.control {
            Control::Quic { .. } => Via::Udp(self.addr),
            Control::Stream(stream) => Via::Stream(stream.datagrams.clone()),
        };
        let relay = Carrier {
            addr: self.addr,
            via,
            carries: Carries::Relay {
                hint: self.relay.clone(),
                left: self.left.0.clone(),
            },
        };
        let route = self
            .shared
            .routes
            .add(channel, relay, seen.map(canonical))?;
        self.routes.retain(|route| route.strong_count() > 0);
        self.routes.push(Arc::downgrade(&route));
        Some(route)
    }

    pub(super) fn end(self) {
        match self.control {
            Control::Quic { connection, .. } => connection.close(Code::Done),
            Control::Stream(_) => {}
        }
    }
}
