//! Keeps our entry in the DHT true, as seldom as that goes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mainline::MutableItem;
use mainline::errors::PutMutableError;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::engine::Running;
use super::entry::{Entry, place};
use super::{Dht, DhtStanding, DhtUse, next};
use crate::identity::Identity;
use crate::net::pool::Shared;
use crate::net::relay::{RelayStanding, RelayState};
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
/// How long it is before it is tried again: the first time, the second and so on.
const TRY_AGAIN: [Duration; 4] = [
    Duration::from_secs(15),
    Duration::from_secs(60),
    Duration::from_secs(5 * 60),
    Duration::from_secs(15 * 60),
];

/// Where we are, and what is wanted.
struct Watched {
    wanted: watch::Receiver<DhtUse>,
    addrs: watch::Receiver<Vec<SocketAddr>>,
    relays: watch::Receiver<Vec<RelayStanding>>,
}

impl Watched {
    /// What there is to say now.
    fn entry(&mut self) -> Entry {
        let addrs = self.addrs.borrow_and_update().clone();
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
                Ok(()) = self.addrs.changed() => {}
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
    let dht = &shared.dht;
    let mut watched = Watched {
        wanted: dht.wanted.subscribe(),
        addrs: shared.addrs(),
        relays: shared.relays.standings(),
    };
    let mut in_vain = 0;
    loop {
        let wanted = watched.wanted.borrow_and_update().clone();
        if !wanted.publish {
            dht.set(DhtStanding::Off);
            in_vain = 0;
            if watched.wanted.changed().await.is_err() {
                return;
            }
            continue;
        }
        if dht.is_off() {
            dht.set(DhtStanding::Asking);
        }
        sleep(SETTLE).await;
        let entry = watched.entry();
        if entry.is_empty() {
            // What was said before is forgotten by itself.
            dht.set(DhtStanding::Nothing);
            watched.changed(&entry).await;
            continue;
        }
        let began = Instant::now();
        let written = timeout(WRITE_DEADLINE, dht.write(&entry, &shared.identity, &wanted));
        let (stands, wait) = match written.await {
            Ok(true) => {
                in_vain = 0;
                (DhtStanding::Published, WRITE_AGAIN)
            }
            Ok(false) | Err(_) => {
                let wait = TRY_AGAIN.get(in_vain).or(TRY_AGAIN.last());
                in_vain += 1;
                (DhtStanding::Away, wait.copied().unwrap_or_default())
            }
        };
        dht.set(stands);
        tokio::select! {
            () = sleep(wait) => {}
            () = watched.changed(&entry) => {
                let is_wanted = || watched.wanted.borrow().publish;
                if is_wanted() {
                    sleep_until(began + WRITE_PAUSE).await;
                }
            }
        }
    }
}

impl Dht {
    fn is_off(&self) -> bool {
        *self.stands.borrow() == DhtStanding::Off
    }

    /// Writes our entry. `false` if nobody took it.
    pub(super) async fn write(&self, entry: &Entry, identity: &Identity, wanted: &DhtUse) -> bool {
        let Ok(sealed) = entry.seal(identity) else {
            tracing::error!("an entry for the DHT cannot be sealed");
            return false;
        };
        let Some(running) = self.running(wanted).await else {
            return false;
        };
        let number = i64::try_from(entry.made).unwrap_or(i64::MAX);
        let id = identity.id();
        let mut stored = put(&running, id, &sealed, number).await;
        if let Err(PutMutableError::Concurrency(_)) = stored {
            // A clock that was wrong then or is now, or somebody else who knows our id.
            let next = last_number(&running, id).await.saturating_add(1);
            stored = put(&running, id, &sealed, next).await;
        }
        running.remember().await;
        match stored {
            Ok(nodes) => {
                tracing::info!(nodes, "who knows our id finds us in the DHT");
                nodes > 0
            }
            Err(error) => {
                tracing::info!(%error, "the DHT did not take our entry");
                false
            }
        }
    }
}

/// How many nodes took it.
async fn put(
    running: &Running,
    id: PeerId,
    sealed: &[u8],
    number: i64,
) -> Result<usize, PutMutableError> {
    let item = MutableItem::new(place(id), sealed, number, None);
    let put = running.dht.put_mutable(item, None).await?;
    Ok(put.stored_at as usize)
}

/// The highest number that an entry of ours has, whoever wrote it.
async fn last_number(running: &Running, id: PeerId) -> i64 {
    let place = place(id).verifying_key().to_bytes();
    let mut values = running.dht.get_mutable(&place, None, None);
    let mut last = 0;
    while let Some(value) = next(&mut values).await {
        last = last.max(value.seq());
    }
    last
}

fn unix_now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| now.as_secs())
}
