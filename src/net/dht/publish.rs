//! Keeps our entry in the DHT true, as seldom as that goes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use mainline::MutableItem;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::engine::Running;
use super::entry::{Entry, place};
use super::{Dht, DhtStanding, DhtUse, next, unix_now};
use crate::identity::Identity;
use crate::net::interfaces::source_towards;
use crate::net::mapping::RouterPort;
use crate::net::pool::Shared;
use crate::net::relay::{RelayStanding, RelayState};
use crate::net::time::Time;
use crate::peer::PeerId;
use crate::protocol::link_uri::RelayHint;

/// Nodes forget what they were not told for two hours.
const WRITE_AGAIN: Duration = Duration::from_secs(55 * 60);
/// How long it is at least between two entries, however often we move.
const WRITE_PAUSE: Duration = Duration::from_secs(60);
/// Addresses come one after the other when the network changes.
const SETTLE: Duration = Duration::from_secs(3);
/// How long writing may take.
const WRITE_DEADLINE: Duration = Duration::from_secs(30);
/// The same of taking back what was written.
const WITHDRAW_DEADLINE: Duration = Duration::from_secs(10);
/// How long it is before it is tried again: the first time, the second and so on.
const TRY_AGAIN: [Duration; 4] = [
    Duration::from_secs(15),
    Duration::from_secs(60),
    Duration::from_secs(5 * 60),
    Duration::from_secs(15 * 60),
];
/// Nobody's addresses in the Internet (RFC 5737, RFC 3849): which way packets would go is asked,
/// none is sent.
const ELSEWHERE: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
];

/// Where we are, and what is wanted.
struct Watched {
    wanted: watch::Receiver<DhtUse>,
    own: watch::Receiver<Vec<SocketAddr>>,
    router_port: watch::Receiver<RouterPort>,
    relays: watch::Receiver<Vec<RelayStanding>>,
    /// Where our socket is bound.
    bind: IpAddr,
}

impl Watched {
    fn of(shared: &Shared) -> Self {
        Self {
            wanted: shared.dht.wanted.subscribe(),
            own: shared.own_addrs(),
            router_port: shared.mapping.stands(),
            relays: shared.relays.standings(),
            bind: shared.dht.bind,
        }
    }

    /// What there is to say now. Of our own addresses only those that packets to others carry: in
    /// a tunnel that takes them all, where this computer really is shall not be known.
    fn entry(&mut self) -> Entry {
        let own = self.own.borrow_and_update().clone();
        let mut addrs = match self.bind.is_unspecified() {
            false => own,
            true => {
                let seen = ELSEWHERE.map(|ip| source_towards(SocketAddr::new(ip, 9)));
                let is_seen = |addr: &SocketAddr| seen.contains(&Some(addr.ip().to_canonical()));
                own.into_iter().filter(is_seen).collect()
            }
        };
        addrs.extend(self.router_port.borrow_and_update().addr());
        let relays = self.relays.borrow_and_update();
        let there = relays.iter().filter(|one| one.state != RelayState::Away);
        let there: Vec<RelayHint> = there.map(|one| one.relay.clone()).collect();
        Entry::of(unix_now(), &addrs, &there)
    }

    /// Waits until there is something else to say than `said`, or something else is wanted.
    async fn changed(&mut self, said: &Entry) {
        loop {
            tokio::select! {
                _ = self.wanted.changed() => return,
                Ok(()) = self.own.changed() => {}
                Ok(()) = self.router_port.changed() => {}
                Ok(()) = self.relays.changed() => {}
            }
            let now = self.entry();
            if (&now.addrs, &now.relays) != (&said.addrs, &said.relays) {
                return;
            }
        }
    }
}

/// Keeps the entry as long as one is wanted; never ends.
pub(in crate::net) async fn publish(shared: Arc<Shared>) {
    let mut keeper = Keeper {
        watched: Watched::of(&shared),
        shared: &shared,
        written: None,
        in_vain: 0,
    };
    loop {
        keeper.step().await;
    }
}

struct Keeper<'a> {
    shared: &'a Shared,
    watched: Watched,
    /// What was wanted when something was written that is still there.
    written: Option<DhtUse>,
    in_vain: usize,
}

impl Keeper<'_> {
    async fn step(&mut self) {
        let dht = &self.shared.dht;
        let wanted = self.watched.wanted.borrow_and_update().clone();
        if !wanted.publish {
            self.withdraw().await;
            dht.set(DhtStanding::Off);
            self.in_vain = 0;
            // The sender lives as long as `shared`.
            let _ = self.watched.wanted.changed().await;
            return;
        }
        if *dht.stands.borrow() == DhtStanding::Off {
            dht.set(DhtStanding::Asking);
        }
        tokio::select! {
            () = sleep(SETTLE) => {}
            _ = self.watched.wanted.changed() => return,
        }
        let entry = self.watched.entry();
        if entry.is_empty() {
            self.withdraw().await;
            dht.set(DhtStanding::Nothing);
            self.watched.changed(&entry).await;
            return;
        }
        self.written = Some(wanted.clone());
        let began = Instant::now();
        let write = timeout(
            WRITE_DEADLINE,
            dht.write(&entry, &self.shared.identity, &wanted),
        );
        let written = tokio::select! {
            written = write => written.is_ok_and(|written| written),
            _ = self.watched.wanted.changed() => return,
        };
        let again = self.again(written);
        tokio::select! {
            () = Time::after(again).reached() => return,
            () = self.watched.changed(&entry) => {}
        }
        if self.watched.wanted.borrow().publish {
            tokio::select! {
                () = sleep_until(began + WRITE_PAUSE) => {}
                _ = self.watched.wanted.changed() => {}
            }
        }
    }

    /// Says how it stands; in how long it is written again.
    fn again(&mut self, written: bool) -> Duration {
        if written {
            self.in_vain = 0;
            self.shared.dht.set(DhtStanding::Published);
            return WRITE_AGAIN;
        }
        let again = TRY_AGAIN.get(self.in_vain).or(TRY_AGAIN.last());
        self.in_vain += 1;
        self.shared.dht.set(DhtStanding::Away);
        again.copied().unwrap_or_default()
    }

    /// Takes back what was written, as far as that goes: it would be there for two hours.
    async fn withdraw(&mut self) {
        let Some(wanted) = self.written.take() else {
            return;
        };
        let nothing = Entry::of(unix_now(), &[], &[]);
        let (dht, identity) = (&self.shared.dht, &self.shared.identity);
        let write = timeout(WITHDRAW_DEADLINE, dht.write(&nothing, identity, &wanted));
        if !write.await.is_ok_and(|written| written) {
            tracing::info!("our entry in the DHT stays there for up to two hours");
        }
    }
}

impl Dht {
    /// Writes our entry. `false` if nobody took it.
    pub(super) async fn write(&self, entry: &Entry, identity: &Identity, wanted: &DhtUse) -> bool {
        let Ok(sealed) = entry.seal(identity) else {
            tracing::error!("an entry for the DHT cannot be sealed");
            return false;
        };
        let Some(running) = self.running(wanted).await else {
            return false;
        };
        let id = identity.id();
        // Not only ours: everybody who knows the id can write there, and a clock can be wrong.
        let next = last_number(&running, id).await;
        let next = next.and_then(|last| last.checked_add(1));
        let made = i64::try_from(entry.made).unwrap_or(i64::MAX);
        let nodes = match next {
            Some(next) => put(&running, id, sealed, next.max(made)).await,
            None => 0,
        };
        running.remember().await;
        tracing::info!(nodes, "told the DHT where we are");
        nodes > 0
    }
}

/// How many nodes took it.
async fn put(running: &Running, id: PeerId, sealed: Vec<u8>, number: i64) -> u32 {
    let put = running.ask(move |dht| async move {
        let item = MutableItem::new(place(id), &sealed, number, None);
        dht.put_mutable(item, None).await
    });
    match put.await {
        Some(Ok(put)) => put.stored_at,
        Some(Err(error)) => {
            tracing::info!(%error, "the DHT did not take our entry");
            0
        }
        None => 0,
    }
}

/// The highest number that an entry of ours has, whoever wrote it; `None` if the node broke.
async fn last_number(running: &Running, id: PeerId) -> Option<i64> {
    let last = running.ask(move |dht| async move {
        let place = place(id).verifying_key().to_bytes();
        let mut values = dht.get_mutable(&place, None, None);
        let mut last = 0;
        while let Some(value) = next(&mut values).await {
            last = last.max(value.seq());
        }
        last
    });
    last.await
}
