//! Who is at a relay, and who may talk to whom: one decision at a time, nothing waits in here.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::forwarding::{End, Forwarding};
use super::numbers::Numbers;
use crate::net::admission::network_of;
use crate::net::routes::Via;
use crate::peer::PeerId;
use crate::protocol::relay::{Channel, FromRelay, NotOpen, ToRelay};

/// Channels that one peer may have at a relay.
pub const CHANNELS_PER_PEER: usize = 64;
/// Channels between the same two peers at a relay.
pub const CHANNELS_PER_PAIR: usize = 4;
/// Calls from one network, or of one peer that comes by TCP, in 10 s.
pub const CALLS_MAX: usize = 40;
const CALLS_IN: Duration = Duration::from_secs(10);
/// Messages that may wait for a peer. One that does not read is let go.
pub(super) const MESSAGES_MAX: usize = 64;
/// Channels on which nothing comes: those that were not taken, and open ones.
const NOT_TAKEN: Duration = Duration::from_secs(10);
const SILENT: Duration = Duration::from_secs(120);

/// A peer as the relay reaches it.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) id: PeerId,
    pub(super) messages: mpsc::Sender<FromRelay>,
    pub(super) via: Via,
    /// Where it has come from.
    pub(super) ip: IpAddr,
    pub(super) listens: bool,
}

/// That a peer is there, until it leaves or comes again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Visit {
    id: PeerId,
    number: u64,
}

/// What a relay knows of its peers.
#[derive(Debug)]
pub(super) struct Hub {
    pub(super) forwarding: Arc<Forwarding>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    clients: HashMap<PeerId, Place>,
    visits: u64,
    /// When those called who have called lately.
    calls: HashMap<Caller, Vec<Instant>>,
    numbers: Numbers,
}

/// Who counts as one caller: keys cost nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Caller {
    Network(IpAddr),
    Peer(PeerId),
}

#[derive(Debug)]
struct Place {
    number: u64,
    client: Client,
    channels: HashSet<Channel>,
    /// Whether it missed a message, because it did not read those before.
    missed: bool,
}

impl Place {
    fn seen(&self) -> Option<SocketAddr> {
        match self.client.via {
            Via::Udp(addr) => Some(addr),
            Via::Stream(_) => None,
        }
    }

    fn end(&self) -> End {
        End {
            peer: self.client.id,
            via: self.client.via.clone(),
        }
    }

    fn caller(&self) -> Caller {
        match self.seen() {
            Some(addr) => Caller::Network(network_of(addr.ip())),
            None => Caller::Peer(self.client.id),
        }
    }

    /// Whoever does not read misses it, and is let go by its own task.
    fn tell(&mut self, message: FromRelay) -> bool {
        let told = self.client.messages.try_send(message).is_ok();
        self.missed |= !told;
        told
    }
}

impl Hub {
    pub(super) fn new(forwarding: Arc<Forwarding>) -> Self {
        Self {
            forwarding,
            state: Mutex::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Peers that are here.
    pub(super) fn peers(&self) -> usize {
        self.state().clients.len()
    }

    /// A peer comes; if it was here already, it is here anew.
    pub(super) fn enter(&self, client: Client) -> Visit {
        let mut state = self.state();
        let id = client.id;
        self.empty(&mut state, id);
        state.visits += 1;
        let number = state.visits;
        let place = Place {
            number,
            client,
            channels: HashSet::new(),
            missed: false,
        };
        state.clients.insert(id, place);
        Visit { id, number }
    }

    /// A peer goes.
    pub(super) fn leave(&self, visit: Visit) {
        let mut state = self.state();
        if state.place(visit).is_some() {
            self.empty(&mut state, visit.id);
        }
    }

    fn empty(&self, state: &mut State, id: PeerId) {
        if let Some(place) = state.clients.remove(&id) {
            state.numbers.left(id);
            for channel in place.channels {
                self.close(state, channel, Some(id));
            }
        }
    }

    /// Ends a channel and tells both ends but `by`.
    fn close(&self, state: &mut State, channel: Channel, by: Option<PeerId>) {
        let Some(([caller, callee], was_open)) = self.forwarding.remove(channel) else {
            return;
        };
        for id in [caller, callee] {
            let Some(place) = state.clients.get_mut(&id) else {
                continue;
            };
            place.channels.remove(&channel);
            if Some(id) == by {
                continue;
            }
            place.tell(match !was_open && id == caller {
                true => FromRelay::Closed {
                    peer: callee,
                    why: NotOpen::Refused,
                },
                false => FromRelay::Left { channel },
            });
        }
    }

    /// Whether the peer has missed a message.
    pub(super) fn has_missed(&self, visit: Visit) -> bool {
        self.state().place(visit).is_some_and(|place| place.missed)
    }

    /// The peer has shown that it is somewhere else now.
    pub(super) fn moved(&self, visit: Visit, addr: SocketAddr) {
        let mut state = self.state();
        if let Some(place) = state.place(visit) {
            place.client.via = Via::Udp(addr);
            for channel in &place.channels {
                self.forwarding.moved(*channel, visit.id, &Via::Udp(addr));
            }
        }
    }

    /// What a peer says. `channel`: a name nobody has yet. Returns what to answer at once.
    pub(super) fn said(
        &self,
        visit: Visit,
        message: &ToRelay,
        channel: Channel,
    ) -> Option<FromRelay> {
        let mut state = self.state();
        match message {
            ToRelay::Hello { listens } => {
                state.place(visit)?.client.listens = *listens;
                None
            }
            // For whoever has sent the token.
            ToRelay::Here { .. } => None,
            ToRelay::Call { peer } => {
                let called = self.call(&mut state, visit, *peer, channel);
                let closed = |why| FromRelay::Closed { peer: *peer, why };
                called.err().map(closed)
            }
            ToRelay::Take { channel } => {
                self.take(&mut state, visit, *channel);
                None
            }
            ToRelay::Leave { channel } => {
                let place = state.place(visit)?;
                if place.channels.contains(channel) {
                    self.close(&mut state, *channel, Some(visit.id));
                }
                None
            }
            ToRelay::Claim { .. } | ToRelay::Release { .. } | ToRelay::Find { .. } => {
                let network = network_of(state.place(visit)?.client.ip);
                let numbers = &mut state.numbers;
                numbers.said(message, (visit.id, network), Instant::now())
            }
        }
    }

    fn call(
        &self,
        state: &mut State,
        visit: Visit,
        callee: PeerId,
        channel: Channel,
    ) -> Result<(), NotOpen> {
        let caller = state.place(visit).ok_or(NotOpen::Busy)?.caller();
        if !state.may_call(caller, Instant::now()) {
            return Err(NotOpen::Busy);
        }
        let place = state.place(visit).ok_or(NotOpen::Busy)?;
        if place.channels.len() >= CHANNELS_PER_PEER {
            return Err(NotOpen::Busy);
        }
        let own = place.channels.clone();
        let (caller, seen) = (place.end(), place.seen());
        let there = |place: &&mut Place| place.client.listens && callee != visit.id;
        let called = state.clients.get_mut(&callee).filter(there);
        let called = called.ok_or(NotOpen::Absent)?;
        let message = FromRelay::Called {
            from: visit.id,
            channel,
            seen,
        };
        let common = called.channels.intersection(&own).count();
        let full = common >= CHANNELS_PER_PAIR || called.channels.len() >= CHANNELS_PER_PEER;
        if full || !called.tell(message) {
            return Err(NotOpen::Busy);
        }
        called.channels.insert(channel);
        self.forwarding.add(channel, [caller, called.end()]);
        if let Some(place) = state.place(visit) {
            place.channels.insert(channel);
        }
        Ok(())
    }

    fn take(&self, state: &mut State, visit: Visit, channel: Channel) {
        let Some(callee) = state.place(visit) else {
            return;
        };
        let seen = callee.seen();
        let caller = self.forwarding.open(channel, visit.id);
        if let Some(caller) = caller.and_then(|id| state.clients.get_mut(&id)) {
            caller.tell(FromRelay::Open {
                peer: visit.id,
                channel,
                seen,
            });
        }
    }

    /// Ends channels that nobody uses.
    pub(super) fn sweep(&self) {
        let mut state = self.state();
        for channel in self.forwarding.silent(SILENT, NOT_TAKEN) {
            self.close(&mut state, channel, None);
        }
        let now = Instant::now();
        state.numbers.sweep(now);
        state.calls.retain(|_, calls| {
            calls.retain(|at| now - *at < CALLS_IN);
            !calls.is_empty()
        });
    }
}

impl State {
    /// Counts a call, unless there were too many.
    fn may_call(&mut self, caller: Caller, now: Instant) -> bool {
        let calls = self.calls.entry(caller).or_default();
        calls.retain(|at| now - *at < CALLS_IN);
        let may = calls.len() < CALLS_MAX;
        if may {
            calls.push(now);
        }
        may
    }

    fn place(&mut self, visit: Visit) -> Option<&mut Place> {
        let place = self.clients.get_mut(&visit.id)?;
        (place.number == visit.number).then_some(place)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use std::net::UdpSocket;

    struct Bed {
        hub: Hub,
        channels: u64,
    }

    struct Guest {
        id: PeerId,
        visit: Visit,
        told: mpsc::Receiver<FromRelay>,
    }

    impl Bed {
        fn new() -> Self {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            Self {
                hub: Hub::new(Forwarding::new(socket, Default::default())),
                channels: 0,
            }
        }

        fn enter(&self, n: u8, listens: bool) -> Guest {
            let (messages, told) = mpsc::channel(MESSAGES_MAX);
            let id = PeerId::from_bytes([n; 32]);
            let via = Via::Udp(addr(n));
            let client = Client {
                id,
                messages,
                via,
                ip: addr(n).ip(),
                listens,
            };
            let visit = self.hub.enter(client);
            Guest { id, visit, told }
        }

        fn say(&mut self, who: &Guest, message: ToRelay) -> Option<FromRelay> {
            self.channels += 1;
            let channel = Channel(self.channels.to_be_bytes());
            self.hub.said(who.visit, &message, channel)
        }

        fn call(&mut self, who: &Guest, peer: &Guest) -> Option<FromRelay> {
            self.say(who, ToRelay::Call { peer: peer.id })
        }
    }

    impl Guest {
        fn told(&mut self) -> Option<FromRelay> {
            self.told.try_recv().ok()
        }

        fn called(&mut self) -> Channel {
            match self.told() {
                Some(FromRelay::Called { channel, .. }) => channel,
                other => panic!("{other:?}"),
            }
        }
    }

    fn addr(n: u8) -> SocketAddr {
        ([192, 0, 2, n], 1).into()
    }

    #[test]
    fn a_call_opens_a_channel_when_it_is_taken_and_each_learns_where_the_other_is() {
        let mut bed = Bed::new();
        let (mut a, mut b) = (bed.enter(1, false), bed.enter(2, true));
        assert_eq!(bed.call(&a, &b), None);
        let Some(FromRelay::Called {
            from,
            channel,
            seen,
        }) = b.told()
        else {
            panic!("it is called");
        };
        assert_eq!((from, seen), (a.id, Some(addr(1))));
        assert_eq!((a.told(), bed.hub.forwarding.open_pairs()), (None, 0));
        bed.say(&b, ToRelay::Take { channel });
        let open = FromRelay::Open {
            peer: b.id,
            channel,
            seen: Some(addr(2)),
        };
        assert_eq!(a.told(), Some(open));
        assert_eq!(bed.hub.forwarding.open_pairs(), 1);
        bed.say(&a, ToRelay::Leave { channel });
        assert_eq!(b.told(), Some(FromRelay::Left { channel }));
        assert_eq!((a.told(), bed.hub.forwarding.open_pairs()), (None, 0));
    }

    #[test]
    fn who_does_not_listen_or_want_cannot_be_reached() {
        let mut bed = Bed::new();
        let (mut a, b) = (bed.enter(1, true), bed.enter(2, false));
        let absent = |peer: &Guest| FromRelay::Closed {
            peer: peer.id,
            why: NotOpen::Absent,
        };
        assert_eq!(bed.call(&a, &b), Some(absent(&b)));
        let own = ToRelay::Call { peer: a.id };
        assert_eq!(bed.say(&a, own), Some(absent(&a)));
        let mut c = bed.enter(3, true);
        bed.call(&a, &c);
        let channel = c.called();
        bed.say(&c, ToRelay::Leave { channel });
        let refused = FromRelay::Closed {
            peer: c.id,
            why: NotOpen::Refused,
        };
        assert_eq!(a.told(), Some(refused));
    }

    #[test]
    fn nobody_else_can_take_or_end_a_channel() {
        let mut bed = Bed::new();
        let (mut a, mut b, c) = (bed.enter(1, true), bed.enter(2, true), bed.enter(3, true));
        bed.call(&a, &b);
        let channel = b.called();
        for other in [&c, &a] {
            bed.say(other, ToRelay::Take { channel });
            assert_eq!(bed.hub.forwarding.open_pairs(), 0);
        }
        bed.say(&c, ToRelay::Leave { channel });
        bed.say(&b, ToRelay::Take { channel });
        assert!(matches!(a.told(), Some(FromRelay::Open { .. })));
    }

    #[test]
    fn who_comes_again_or_goes_ends_its_channels() {
        let mut bed = Bed::new();
        let (mut a, mut b) = (bed.enter(1, true), bed.enter(2, true));
        bed.call(&a, &b);
        let channel = b.called();
        bed.say(&b, ToRelay::Take { channel });
        a.told();
        let again = bed.enter(1, true);
        assert_eq!(b.told(), Some(FromRelay::Left { channel }));
        // What the former visit says does not count any more.
        bed.hub.leave(a.visit);
        assert_eq!(bed.hub.peers(), 2);
        assert_eq!(bed.call(&again, &b), None);
        b.called();
        bed.hub.leave(b.visit);
        assert_eq!(bed.hub.peers(), 1);
        assert_eq!(bed.hub.forwarding.open_pairs(), 0);
    }

    #[test]
    fn calls_and_channels_are_limited() {
        let mut bed = Bed::new();
        let (a, mut b) = (bed.enter(1, true), bed.enter(2, true));
        let busy = FromRelay::Closed {
            peer: b.id,
            why: NotOpen::Busy,
        };
        for _ in 0..CHANNELS_PER_PAIR {
            assert_eq!(bed.call(&a, &b), None);
            b.called();
        }
        assert_eq!(bed.call(&a, &b), Some(busy.clone()));
        // Calls that come to nothing count, too.
        for _ in CHANNELS_PER_PAIR + 1..CALLS_MAX {
            assert_eq!(bed.call(&a, &b), Some(busy.clone()));
        }
        let mut c = bed.enter(3, true);
        assert_eq!(
            bed.call(&a, &c),
            Some(FromRelay::Closed {
                peer: c.id,
                why: NotOpen::Busy
            })
        );
        assert_eq!(c.told(), None);
        let mut callers = Vec::new();
        for n in 10..25 {
            let caller = bed.enter(n, false);
            for _ in 0..CHANNELS_PER_PAIR {
                assert_eq!(bed.call(&caller, &b), None, "{n}");
                b.called();
            }
            callers.push(caller);
        }
        assert_eq!(bed.call(&c, &b), Some(busy));
    }

    #[test]
    fn who_does_not_read_is_noticed() {
        let mut bed = Bed::new();
        let (a, b) = (bed.enter(1, true), bed.enter(2, true));
        for _ in 0..MESSAGES_MAX {
            bed.hub
                .state()
                .clients
                .get_mut(&b.id)
                .unwrap()
                .tell(FromRelay::Seen { addr: None });
        }
        assert!(!bed.hub.has_missed(b.visit));
        assert!(bed.call(&a, &b).is_some());
        assert!(bed.hub.has_missed(b.visit) && !bed.hub.has_missed(a.visit));
    }
}
