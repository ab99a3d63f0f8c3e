//! Finds peers by their keys alone, and lets itself be found, in the DHT of BitTorrent (BEP 5,
//! mutable items of BEP 44): an existing directory that belongs to nobody.
//!
//! What is found is a hint as every other address is: whoever dials proves who is there. Those who
//! run the DHT see the address of whoever asks, and that something is asked; see [`entry`] for what
//! they do not see. Nothing is sent there unless a person has switched it on.

mod engine;
mod entry;
mod publish;

use std::collections::HashMap;
use std::future::poll_fn;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_core::Stream;
use mainline::MutableItem;
use mainline::async_dht::{AsyncDht, GetStream};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use self::engine::Engine;
use self::entry::{Entry, place};
use crate::peer::PeerId;
use crate::protocol::link_uri::RelayHint;

pub(super) use publish::publish;

/// How long a search may take.
const SEARCH_DEADLINE: Duration = Duration::from_secs(15);
/// How long a newer entry is waited for, once there is one.
const NEWER_WAIT: Duration = Duration::from_secs(1);
/// How much longer the rest of it may take.
const SEARCH_REST: Duration = Duration::from_secs(1);
/// How long it is before the same peer is searched again: the first time, the second and so on.
const SEARCH_AGAIN: [Duration; 4] = [
    Duration::from_secs(30),
    Duration::from_secs(60),
    Duration::from_secs(5 * 60),
    Duration::from_secs(15 * 60),
];
/// After so long it is the first time again.
const SEARCH_ANEW: Duration = Duration::from_secs(60 * 60);
/// Peers of which it is remembered when they were searched.
const SEARCHED_MAX: usize = 256;
/// Values that are looked at in one search: anybody who knows an id can put some there.
const VALUES_MAX: usize = 32;

/// What the DHT is used for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DhtUse {
    /// Peers are searched.
    pub search: bool,
    /// Who knows our id can find us.
    pub publish: bool,
    /// Where to begin, `HOST:PORT` each; those of the public DHT if there are none.
    pub nodes: Vec<String>,
}

/// How it stands with our entry.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DhtStanding {
    /// None is wanted.
    #[default]
    Off,
    /// It is being written.
    Asking,
    /// Who knows our id finds it.
    Published,
    /// There is nothing to say: we have no address that works from elsewhere, and no relay.
    Nothing,
    /// Nobody answers there.
    Away,
}

/// Where a peer says that it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its addresses, most useful first.
    pub addrs: Vec<SocketAddr>,
    /// Relays where it listens.
    pub relays: Vec<RelayHint>,
}

/// What is remembered of a search.
#[derive(Debug, Default)]
struct Searched {
    when: Option<Instant>,
    /// How often it was searched, as far as anybody answered.
    times: usize,
    found: Option<Found>,
}

impl Searched {
    /// Whether it is time to search.
    fn is_due(&self) -> bool {
        let again = SEARCH_AGAIN.get(self.times.saturating_sub(1));
        let again = again.or(SEARCH_AGAIN.last()).copied();
        self.when
            .is_none_or(|when| when.elapsed() >= again.unwrap_or_default())
    }

    /// A search begins. It counts, whether or not somebody waits for its end.
    fn begin(&mut self) {
        if self.when.is_some_and(|when| when.elapsed() >= SEARCH_ANEW) {
            self.times = 0;
        }
        self.when = Some(Instant::now());
    }
}

type Searches = HashMap<PeerId, Arc<tokio::sync::Mutex<Searched>>>;

/// The node's end of the DHT.
#[derive(Debug)]
pub(super) struct Dht {
    wanted: watch::Sender<DhtUse>,
    stands: watch::Sender<DhtStanding>,
    engine: Engine,
    bind: IpAddr,
    searches: Mutex<Searches>,
}

impl Dht {
    /// Nothing is wanted yet. Sockets are bound to `bind`.
    pub(super) fn new(bind: IpAddr) -> Self {
        Self {
            wanted: watch::Sender::new(DhtUse::default()),
            stands: watch::Sender::new(DhtStanding::Off),
            engine: Engine::default(),
            bind,
            searches: Mutex::default(),
        }
    }

    /// From now on it is used for this.
    pub(super) fn want(&self, wanted: DhtUse) {
        self.wanted.send_if_modified(|before| {
            let news = *before != wanted;
            *before = wanted;
            news
        });
        self.forget_searches();
    }

    /// What was found, or not, was so in another network, or in another directory.
    pub(super) fn forget_searches(&self) {
        self.all_searches().clear();
    }

    /// How it stands with our entry, now and whenever that changes.
    pub(super) fn stands(&self) -> watch::Receiver<DhtStanding> {
        self.stands.subscribe()
    }

    fn set(&self, stands: DhtStanding) {
        self.stands.send_if_modified(|before| {
            let news = *before != stands;
            *before = stands;
            news
        });
    }

    /// Whether peers are searched at all.
    pub(super) fn searches(&self) -> bool {
        self.wanted.borrow().search
    }

    /// Where `id` says that it is; `None` if it says nothing, or nothing is searched now. Takes
    /// 16 s at most. What was found is kept until it is time to search again. Cancel-safe.
    pub(super) async fn find(&self, id: PeerId) -> Option<Found> {
        let mut wants = self.wanted.subscribe();
        let wanted = wants.borrow_and_update().clone();
        if !wanted.search {
            return None;
        }
        let until = Instant::now() + SEARCH_DEADLINE;
        let searched = self.searched(id);
        let find = async {
            // Several transfers to one peer need one search.
            let mut searched = searched.lock().await;
            if searched.is_due() {
                searched.begin();
                let (entry, answered) = self.search(id, &wanted, until).await;
                searched.times += usize::from(answered);
                let entry = entry.filter(|entry| !entry.is_empty());
                searched.found = entry.map(|Entry { addrs, relays, .. }| Found { addrs, relays });
            }
            searched.found.clone()
        };
        tokio::select! {
            found = timeout_at(until + SEARCH_REST, find) => found.ok().flatten(),
            _ = wants.changed() => None,
        }
    }

    fn all_searches(&self) -> MutexGuard<'_, Searches> {
        self.searches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn searched(&self, id: PeerId) -> Arc<tokio::sync::Mutex<Searched>> {
        let mut searches = self.all_searches();
        if searches.len() >= SEARCHED_MAX && !searches.contains_key(&id) {
            searches.retain(|_, one| Arc::strong_count(one) > 1);
        }
        searches.entry(id).or_default().clone()
    }

    /// The newest entry of `id`, and whether anybody answered.
    async fn search(&self, id: PeerId, wanted: &DhtUse, until: Instant) -> (Option<Entry>, bool) {
        let Some(running) = self.running(wanted).await else {
            return (None, false);
        };
        let newest = running.ask(move |dht| newest(dht, id, until)).await;
        let newest = newest.flatten();
        let answered = running.remember().await > 0;
        tracing::debug!(peer = %id.short(), found = newest.is_some(), answered, "searched");
        (newest, answered)
    }

    async fn running(&self, wanted: &DhtUse) -> Option<Arc<engine::Running>> {
        // The DHT of IPv6 has no nodes to speak of.
        let bind = match self.bind.to_canonical() {
            IpAddr::V4(ip) => Some(ip),
            IpAddr::V6(ip) if ip.is_unspecified() => None,
            IpAddr::V6(_) => return None,
        };
        let bind = bind.filter(|ip| !ip.is_unspecified());
        let running = self.engine.run(&wanted.nodes, bind).await;
        running
            .inspect_err(|error| tracing::warn!(%error, "no socket for the DHT"))
            .ok()
    }
}

/// The newest of what is found until then, or of what comes a moment after the first.
async fn newest(dht: AsyncDht, id: PeerId, mut until: Instant) -> Option<Entry> {
    let place = place(id).verifying_key().to_bytes();
    let mut values = dht.get_mutable(&place, None, None);
    let now = unix_now();
    let mut newest: Option<Entry> = None;
    for _ in 0..VALUES_MAX {
        let Ok(Some(value)) = timeout_at(until, next(&mut values)).await else {
            break;
        };
        let Some(entry) = Entry::open(value.value(), id).filter(|entry| entry.is_of(now)) else {
            tracing::debug!(peer = %id.short(), "an entry that it did not make, or long ago");
            continue;
        };
        if newest.as_ref().is_none_or(|best| entry.made > best.made) {
            newest = Some(entry);
        }
        until = until.min(Instant::now() + NEWER_WAIT);
    }
    newest
}

fn unix_now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| now.as_secs())
}

async fn next(values: &mut GetStream<MutableItem>) -> Option<MutableItem> {
    poll_fn(|cx| Pin::new(&mut *values).poll_next(cx)).await
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests;
