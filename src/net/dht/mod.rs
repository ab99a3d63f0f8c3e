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
use std::time::Duration;

use futures_core::Stream;
use mainline::MutableItem;
use mainline::async_dht::GetStream;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};

use self::engine::Engine;
use self::entry::{Entry, place};
use crate::peer::PeerId;
use crate::protocol::link_uri::RelayHint;

pub(super) use publish::publish;

/// How long a search may take.
const SEARCH_DEADLINE: Duration = Duration::from_secs(15);
/// How long a newer entry is waited for, once there is one.
const NEWER_WAIT: Duration = Duration::from_secs(1);
/// How long it is before the same peer is searched again: the first time, the second and so on.
const SEARCH_AGAIN: [Duration; 4] = [
    Duration::from_secs(30),
    Duration::from_secs(60),
    Duration::from_secs(5 * 60),
    Duration::from_secs(15 * 60),
];
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
    /// How often in a row nothing was found.
    in_vain: usize,
    found: Option<Found>,
}

impl Searched {
    /// Whether it is time to search.
    fn is_due(&self) -> bool {
        let again = SEARCH_AGAIN.get(self.in_vain).or(SEARCH_AGAIN.last());
        self.when
            .is_none_or(|when| when.elapsed() >= again.copied().unwrap_or_default())
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
    /// [`SEARCH_DEADLINE`] at most. What was found is kept until it is time to search again.
    /// Cancel-safe.
    pub(super) async fn find(&self, id: PeerId) -> Option<Found> {
        let wanted = self.wanted.borrow().clone();
        if !wanted.search {
            return None;
        }
        let searched = self.searched(id);
        // Several transfers to one peer need one search.
        let mut searched = searched.lock().await;
        if searched.is_due() {
            let search = self.search(id, &wanted);
            let entry = timeout(SEARCH_DEADLINE, search).await.ok().flatten();
            searched.found = entry.map(|Entry { addrs, relays, .. }| Found { addrs, relays });
            searched.in_vain = match searched.found {
                Some(_) => 0,
                None => searched.in_vain.saturating_add(1),
            };
            searched.when = Some(Instant::now());
        }
        searched.found.clone()
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

    /// The newest entry of `id`.
    async fn search(&self, id: PeerId, wanted: &DhtUse) -> Option<Entry> {
        let running = self.running(wanted).await?;
        let place = place(id).verifying_key().to_bytes();
        let mut values = running.dht.get_mutable(&place, None, None);
        let mut newest: Option<Entry> = None;
        let mut until = Instant::now() + SEARCH_DEADLINE;
        for _ in 0..VALUES_MAX {
            let Ok(Some(value)) = timeout_at(until, next(&mut values)).await else {
                break;
            };
            let Some(entry) = Entry::open(value.value(), id) else {
                tracing::debug!(peer = %id.short(), "an entry that it did not make");
                continue;
            };
            if newest.as_ref().is_none_or(|best| entry.made > best.made) {
                newest = Some(entry);
            }
            until = until.min(Instant::now() + NEWER_WAIT);
        }
        running.remember().await;
        tracing::debug!(peer = %id.short(), found = newest.is_some(), "searched in the DHT");
        newest
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

async fn next(values: &mut GetStream<MutableItem>) -> Option<MutableItem> {
    poll_fn(|cx| Pin::new(&mut *values).poll_next(cx)).await
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests;
