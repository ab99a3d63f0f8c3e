//! What receivers of a session pass on to each other: at the sender who decides about it, at the
//! receivers those who fetch and those who give.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use tokio::sync::mpsc;

use super::commands::random;
use super::core::Core;
use crate::net::connection::PeerConnection;
use crate::net::is_local_network;
use crate::net::pull_link::QuicPulled;
use crate::otm::feeding::feed;
use crate::otm::origin::coordinate;
use crate::otm::serving::serve;
use crate::otm::tree::Limits;
use crate::protocol::message::{Code, TransferId};
use crate::protocol::sessions::{FeedingKey, SessionNote};
use crate::transfer::bookkeeper::unix_now;
use crate::transfer::control::News;
use crate::transfer::member::{Membership, NEWS_MAX};
use crate::transfer::shelf::{Shelf, kept};

/// Transfers whose files others may still want when they are complete; of older ones nothing is
/// given any more.
const SHELVES_MAX: usize = 64;
/// Pull streams of one transfer at once: more children than anybody is given.
const STREAMS_MAX: usize = 32;

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
    /// One for each stream, which holds the other end.
    streams: Arc<()>,
}

impl Shelves {
    /// How many get something from here now.
    pub(super) fn streams(&self) -> u32 {
        let streams = |on: &OnShelf| Arc::strong_count(&on.streams) - 1;
        self.all.values().map(streams).sum::<usize>() as u32
    }

    /// Nothing of a transfer is given any more, except on streams that there are.
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
        let streams = Arc::default();
        let new = OnShelf {
            key,
            shelf,
            streams,
        };
        self.all.insert(transfer, new);
        self.order.push_back(transfer);
        if self.order.len() <= SHELVES_MAX {
            return None;
        }
        let oldest = self.order.pop_front()?;
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
        let allowed = self.settings.pass_on.allows(near);
        let found = self.shelves.all.get(&head.member);
        let found = found.filter(|on| allowed && head.ticket.is_for(&on.key, from.id()));
        match found {
            Some(on) if Arc::strong_count(&on.streams) <= STREAMS_MAX => {
                let (shelf, streams) = (on.shelf.clone(), on.streams.clone());
                let serving = serve(link, shelf, self.limiter.clone());
                self.touch();
                self.tasks.spawn(async move {
                    serving.await;
                    drop(streams);
                });
            }
            Some(_) => drop(self.tasks.spawn(link.refuse(Code::Busy))),
            None => drop(self.tasks.spawn(link.refuse(Code::UnknownTransfer))),
        }
    }
}
