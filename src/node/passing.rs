//! What receivers of a session pass on to each other: at the sender who decides about it, at the
//! receivers those who fetch and those who give.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use tokio::sync::{mpsc, watch};

use super::commands::random;
use super::core::Core;
use crate::net::connection::PeerConnection;
use crate::net::is_local_network;
use crate::net::pull_link::QuicPulled;
use crate::otm::feeding::feed;
use crate::otm::origin::coordinate;
use crate::otm::serving::serve;
use crate::otm::tree::Limits;
use crate::peer::PeerId;
use crate::protocol::message::{Code, TransferId};
use crate::protocol::sessions::{FeedingKey, SessionNote};
use crate::transfer::bookkeeper::{note_name, unix_now};
use crate::transfer::control::News;
use crate::transfer::member::{Membership, NEWS_MAX};
use crate::transfer::shelf::{Shelf, kept};

/// Transfers whose files others may still want when they are complete; of older ones nothing is
/// given any more.
const SHELVES_MAX: usize = 64;
/// Pull streams of one transfer at once: more children than anybody is given.
const STREAMS_MAX: usize = 32;
/// Those of one peer among them. It has one, and another one while the first is not known to be
/// broken; nobody can take the places of all others.
const STREAMS_PER_PEER_MAX: usize = 4;

/// What is there for other receivers, by transfer.
#[derive(Debug, Default)]
pub(super) struct Shelves {
    all: HashMap<TransferId, OnShelf>,
    /// Oldest first.
    order: VecDeque<TransferId>,
}

#[derive(Debug)]
struct OnShelf {
    key: FeedingKey,
    shelf: Arc<Shelf>,
    streams: Streams,
}

/// Who gets something of one transfer.
#[derive(Debug, Default)]
struct Streams {
    /// Each stream has the other end, and is over when this is dropped.
    all: watch::Sender<()>,
    /// Each stream has one, too, of its peer.
    peers: HashMap<PeerId, Arc<()>>,
}

/// Held by a stream as long as it lasts.
#[derive(Debug)]
struct Stream {
    given: watch::Receiver<()>,
    _peer: Arc<()>,
}

impl Stream {
    /// Waits until the transfer is not on the shelf any more. Takes all of it, so that a task that
    /// waits here holds its place, too.
    async fn over(mut self) {
        // Nothing is ever sent.
        let _ = self.given.changed().await;
    }
}

impl Streams {
    fn len(&self) -> usize {
        self.all.receiver_count()
    }

    /// `None` if there are too many already.
    fn begin(&mut self, peer: PeerId) -> Option<Stream> {
        self.peers
            .retain(|_, streams| Arc::strong_count(streams) > 1);
        let streams = self.peers.get(&peer).cloned().unwrap_or_default();
        // This one, and the one that is kept here, are none.
        if self.len() >= STREAMS_MAX || Arc::strong_count(&streams) >= STREAMS_PER_PEER_MAX + 2 {
            return None;
        }
        self.peers.insert(peer, streams.clone());
        Some(Stream {
            given: self.all.subscribe(),
            _peer: streams,
        })
    }
}

impl Shelves {
    /// How many get something from here now.
    pub(super) fn streams(&self) -> u32 {
        let streams = |on: &OnShelf| on.streams.len();
        self.all.values().map(streams).sum::<usize>() as u32
    }

    /// Nothing of a transfer is given any more, also on streams that there are.
    pub(super) fn remove(&mut self, transfer: TransferId) {
        self.all.remove(&transfer);
        self.order.retain(|id| *id != transfer);
    }

    /// Returns of which transfer nothing is given any more, to make room.
    fn put(
        &mut self,
        transfer: TransferId,
        key: FeedingKey,
        shelf: Arc<Shelf>,
    ) -> Option<TransferId> {
        if let Some(on) = self.all.get_mut(&transfer) {
            (on.key, on.shelf) = (key, shelf);
            return None;
        }
        let new = OnShelf {
            key,
            shelf,
            streams: Streams::default(),
        };
        self.all.insert(transfer, new);
        self.order.push_back(transfer);
        if self.order.len() <= SHELVES_MAX {
            return None;
        }
        // Rather one of which nobody gets anything now.
        let is_idle = |id: &TransferId| {
            let on = self.all.get(id);
            on.is_none_or(|on| on.streams.len() == 0)
        };
        let idle = self.order.iter().position(is_idle).unwrap_or(0);
        let oldest = self.order.remove(idle)?;
        self.all.remove(&oldest);
        Some(oldest)
    }
}

impl Core {
    /// A transfer's part in its session, if it is in one. Without random numbers nothing is passed
    /// on.
    pub(super) fn membership(&mut self, transfer: TransferId) -> Option<Membership> {
        let key = FeedingKey(random().ok()?);
        let session = self.sessions.of_mut(transfer)?;
        let receivers = session.record().members.len() as u32;
        let tasks = &mut self.tasks;
        let news = session.news.get_or_insert_with(|| {
            let (news, heard) = mpsc::channel(NEWS_MAX);
            tasks.spawn(coordinate(heard, Limits::default()));
            news
        });
        let note = SessionNote { receivers, key };
        Some(Membership::new(note, news.clone()))
    }

    /// A transfer to us is one of several.
    pub(super) fn on_session_news(&mut self, transfer: TransferId, news: &mut News) {
        if let News::Session { .. } = news
            && let Some(entry) = self.book.get_mut(transfer)
        {
            let near = entry.addr().map(|addr| is_local_network(addr.ip()));
            entry.passing.passes_on = self.settings.pass_on.allows(near.unwrap_or(false));
        }
        if let News::PassesOn {
            key,
            shelf,
            feeding,
        } = news
        {
            self.put_shelf(transfer, *key, shelf.take());
            if let Some(feeding) = feeding.take() {
                self.tasks.spawn(feed(feeding, self.connector.clone()));
            }
        }
        if let News::LiedTo(peer) = news {
            let name = self.name_of(*peer);
            if let Some(entry) = self.book.get_mut(transfer) {
                note_name(&mut entry.passing.liars, name);
            }
        }
    }

    /// What somebody is called whom we met because a sender said so.
    fn name_of(&self, peer: PeerId) -> String {
        let known = self.records.peer(peer).map(|record| record.name());
        let name = known.filter(|name| !name.is_empty());
        name.map_or_else(|| peer.short(), str::to_owned)
    }

    fn put_shelf(&mut self, transfer: TransferId, key: FeedingKey, shelf: Option<Arc<Shelf>>) {
        if let Some(entry) = self.book.get_mut(transfer) {
            entry.passing.passes_on = shelf.is_some();
        }
        let Some(shelf) = shelf else {
            return self.shelves.remove(transfer);
        };
        if let Some(oldest) = self.shelves.put(transfer, key, shelf) {
            let journals = self.paths.journals();
            tokio::task::spawn_blocking(move || kept::forget(&journals, oldest));
        }
    }

    /// What others could have before this program was started anew they may have now.
    pub(super) async fn restore_shelves(&mut self) {
        let journals = self.paths.journals();
        let load = move || kept::load(&journals, unix_now(), SHELVES_MAX);
        let loaded = tokio::task::spawn_blocking(load).await;
        // The oldest is the first to go.
        for kept in loaded.unwrap_or_default().into_iter().rev() {
            self.shelves.put(kept.transfer, kept.key, kept.shelf);
        }
    }

    /// Another receiver wants content. Whoever has no right to it learns no more than that.
    pub(super) fn on_pull(&mut self, from: &PeerConnection, link: QuicPulled) {
        let head = link.head();
        let near = from.remote_ip().is_some_and(is_local_network);
        // What was on its way when the person blocked it is too late.
        let blocked = self.records.is_blocked(from.id());
        let allowed = self.settings.pass_on.allows(near) && !blocked;
        let found = self.shelves.all.get_mut(&head.member);
        let found = found.filter(|on| allowed && head.ticket.is_for(&on.key, from.id()));
        let Some(on) = found else {
            self.tasks.spawn(link.refuse(Code::UnknownTransfer));
            return;
        };
        let Some(stream) = on.streams.begin(from.id()) else {
            self.tasks.spawn(link.refuse(Code::Busy));
            return;
        };
        let serving = serve(link, on.shelf.clone(), self.limiter.clone());
        self.touch();
        self.tasks.spawn(async move {
            tokio::select! {
                () = serving => {}
                () = stream.over() => {}
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: usize) -> TransferId {
        TransferId([n as u8; 16])
    }

    fn put(shelves: &mut Shelves, n: usize) -> Option<TransferId> {
        shelves.put(id(n), FeedingKey([1; 32]), Arc::default())
    }

    fn peer(n: u8) -> PeerId {
        PeerId::from_bytes([n; 32])
    }

    /// Somebody gets something.
    fn stream(shelves: &mut Shelves, n: usize) -> Option<Stream> {
        shelves.all.get_mut(&id(n))?.streams.begin(peer(1))
    }

    #[test]
    fn one_peer_cannot_take_the_places_of_all() {
        let mut streams = Streams::default();
        let one: Vec<Option<Stream>> = (0..9).map(|_| streams.begin(peer(1))).collect();
        assert_eq!(one.iter().flatten().count(), STREAMS_PER_PEER_MAX);
        let others: Vec<Option<Stream>> = (2..99).map(|n| streams.begin(peer(n))).collect();
        let left = STREAMS_MAX - STREAMS_PER_PEER_MAX;
        assert_eq!(others.iter().flatten().count(), left);
        // Each is held by a task that waits for its end.
        let mut waiting: Vec<_> = one.into_iter().flatten().map(Stream::over).collect();
        assert!(streams.begin(peer(1)).is_none());
        waiting.pop();
        // Whoever has ended may come back.
        assert!(streams.begin(peer(1)).is_some());
        drop(waiting);
        assert_eq!(streams.peers.len(), left + 1);
    }

    #[tokio::test]
    async fn when_nothing_of_a_transfer_is_given_any_more_those_who_get_some_of_it_notice() {
        let mut shelves = Shelves::default();
        put(&mut shelves, 1);
        put(&mut shelves, 2);
        let streams = [1, 2].map(|n| stream(&mut shelves, n));
        assert_eq!(shelves.streams(), 2);
        // The same once more is no end.
        assert_eq!(put(&mut shelves, 1), None);
        shelves.remove(id(1));
        let over = streams.map(|stream| stream.is_some_and(|s| s.given.has_changed().is_err()));
        assert_eq!(over, [true, false]);
    }

    #[test]
    fn to_make_room_one_goes_of_which_nobody_gets_anything() {
        let mut shelves = Shelves::default();
        for n in 0..SHELVES_MAX {
            assert_eq!(put(&mut shelves, n), None);
        }
        let streams = [0, 1].map(|n| stream(&mut shelves, n));
        assert_eq!(put(&mut shelves, SHELVES_MAX), Some(id(2)));
        drop(streams);
        assert_eq!(put(&mut shelves, SHELVES_MAX + 1), Some(id(0)));
    }
}
