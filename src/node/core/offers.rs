//! Offers that arrive: taken, refused, or given to the task of a known transfer.

use super::*;
use crate::config::{ANSWER_SOON, PassOn};
use crate::transfer::budget::{MANIFEST_FREE, MANIFESTS_MAX};
use crate::transfer::receiver::Earlier;

impl Core {
    pub(super) async fn on_offer(&mut self, from: &PeerConnection, link: QuicInbound) {
        let id = link.head().transfer;
        let link = match self.links.get(&id) {
            Some(links) if self.is_from(id, from.id()) => match links.try_send(link) {
                Ok(()) => return,
                Err(mpsc::error::TrySendError::Full(link)) => return self.refuse(link, Code::Busy),
                // Its task has just ended.
                Err(mpsc::error::TrySendError::Closed(link)) => link,
            },
            Some(_) | None => link,
        };
        if self.book.get(id).is_some() && !self.is_from(id, from.id()) {
            return self.refuse(link, Code::UnknownTransfer);
        }
        if self.was_given_up(id) {
            // The sender may not have heard of it.
            return self.refuse(link, Code::Cancelled);
        }
        if self.is_from(id, from.id())
            && let Some(table) = self.book.completed(id)
            && is_repeated(link.head(), &table)
        {
            self.tasks.spawn(repeat(link, table));
            return;
        }
        self.relieve();
        let agreed = self.codes.has_agreed(from.id(), id);
        if !agreed && !self.book.is_open(id) && !self.has_place(from.id()) {
            return self.refuse(link, Code::Busy);
        }
        self.receive(from, id).await;
        if let Some(links) = self.links.get(&id)
            && let Err(mpsc::error::TrySendError::Full(link)) = links.try_send(link)
        {
            self.refuse(link, Code::Busy);
        }
    }

    /// Whether there is place for one more question, of this peer. Questions stay open for long:
    /// the oldest one of a stranger makes room for that of another.
    fn has_place(&mut self, peer: PeerId) -> bool {
        if self.accepts_unasked(peer) {
            return true;
        }
        let open = || self.book.iter().filter(|(_, entry)| entry.is_unanswered());
        let of_peer = open().filter(|(_, entry)| entry.peer == Some(peer.into()));
        if of_peer.count() >= QUESTIONS_PER_PEER {
            return false;
        }
        let trusted = |id| self.records.peer(id).is_some_and(|r| r.trusted);
        if trusted(peer) {
            return true;
        }
        let key = |entry: &Entry| entry.peer.and_then(|peer| peer.key());
        let strangers = open().filter(|(_, entry)| !key(entry).is_some_and(trusted));
        let strangers: Vec<_> = strangers.map(|(id, entry)| (entry.begun(), id)).collect();
        match place(strangers, Instant::now()) {
            Place::There => true,
            Place::Of(id) => self.book.get_mut(id).is_some_and(Entry::displace),
            Place::None => false,
        }
    }

    /// Large manifests of strangers that nobody answers must not keep out those of others for as
    /// long as a question stays open.
    fn relieve(&mut self) {
        let trusted = |id| self.records.peer(id).is_some_and(|r| r.trusted);
        let key = |entry: &Entry| entry.peer.and_then(|peer| peer.key());
        let large = self.book.iter().filter_map(|(id, entry)| {
            let memory = entry.table.lock().memory();
            let counts = entry.is_unanswered() && !key(entry).is_some_and(trusted);
            (counts && memory > MANIFEST_FREE).then(|| (entry.begun(), id, memory))
        });
        let large = large.collect();
        for id in surplus(large, Instant::now()) {
            if let Some(entry) = self.book.get_mut(id) {
                entry.displace();
            }
        }
    }

    /// Whether offers of this peer are taken without a question.
    pub(super) fn accepts_unasked(&self, peer: PeerId) -> bool {
        let accept = self.records.peer(peer).map(|record| record.accept);
        let rule = self.expected.as_ref().or(self.rule.as_ref());
        accept == Some(Accept::Always) || rule.is_some_and(|rule| rule.accept_all)
    }

    pub(super) fn was_given_up(&self, id: TransferId) -> bool {
        self.book.get(id).is_some_and(|entry| match entry.state() {
            TransferState::Cancelled | TransferState::Rejected => true,
            TransferState::Preparing
            | TransferState::Connecting
            | TransferState::AwaitingAnswer
            | TransferState::Transferring
            | TransferState::Paused
            | TransferState::Interrupted
            | TransferState::Completed
            | TransferState::Failed => false,
        })
    }

    pub(super) fn is_from(&self, id: TransferId, peer: PeerId) -> bool {
        let entry = self.book.get(id);
        let peer = Some(Party::Key(peer));
        entry.is_some_and(|e| e.peer == peer && e.direction == Direction::Receiving)
    }

    pub(super) fn refuse(&mut self, link: QuicInbound, code: Code) {
        self.tasks.spawn(link.close(code));
    }

    /// Starts the task of an incoming transfer, new or known.
    pub(super) async fn receive(&mut self, from: &PeerConnection, id: TransferId) {
        let terms = self.terms(from.id(), id);
        let callee = Callee {
            expect: Some(from.id()),
            addrs: from.remote_addr().into_iter().collect(),
            relays: from.relay().into_iter().collect(),
            near: self.discovery.near().clone(),
            host: None,
            shown: from.name().to_owned(),
            lookup: Lookup::ByKey,
        };
        let opened = self.open_journal(id).await;
        // Only the peer that began a transfer may go on with it.
        let opened = opened.filter(|earlier| earlier.head.peer == from.id().into());
        self.start_incoming(id, from.id(), from.name(), callee, terms, opened);
    }

    pub(super) async fn open_journal(&self, id: TransferId) -> Option<Earlier> {
        let dir = self.journals();
        let opened = tokio::task::spawn_blocking(move || Earlier::open(&dir, id)).await;
        match opened
            .map_err(std::io::Error::other)
            .and_then(|opened| opened)
        {
            Ok(opened) => opened,
            Err(error) => {
                tracing::warn!(%error, "a journal cannot be read; the transfer starts over");
                None
            }
        }
    }

    pub(super) fn journals(&self) -> PathBuf {
        self.paths.journals()
    }

    /// What the next offer of this peer goes by.
    pub(super) fn terms(&mut self, peer: PeerId, id: TransferId) -> Terms {
        let accept = self
            .records
            .peer(peer)
            .map_or(Accept::Ask, |record| record.accept);
        let agreed = self.codes.take_agreed(peer, id);
        let by_code = agreed.is_some();
        let rule = match (agreed, self.links.contains_key(&id)) {
            (Some(rule), _) => rule,
            (None, true) => None,
            (None, false) => self.expected.take(),
        };
        let rule = rule.or_else(|| self.rule.clone());
        let known_folder = self.book.get(id).and_then(|entry| entry.folder.clone());
        let own = self.records.folder(peer).unwrap_or(&self.settings.folder);
        let own = own.to_owned();
        let folder = known_folder
            .or(rule.as_ref().map(|r| r.folder.clone()))
            .unwrap_or(own);
        let keeps = rule.as_ref().is_some_and(|rule| !rule.pass_on);
        Terms {
            journals: self.journals(),
            folder,
            on_conflict: rule
                .as_ref()
                .map_or(self.settings.on_conflict, |r| r.on_conflict),
            people: self.people.clone(),
            accepted: by_code || accept == Accept::Always || rule.is_some_and(|r| r.accept_all),
            blocked: accept == Accept::Block,
            answer_timeout: self.settings.answer_timeout,
            budget: self.budget.clone(),
            pass_on: if keeps {
                PassOn::Never
            } else {
                self.settings.pass_on
            },
        }
    }

    pub(super) fn start_incoming(
        &mut self,
        id: TransferId,
        peer: PeerId,
        peer_name: &str,
        callee: Callee,
        terms: Terms,
        opened: Option<Earlier>,
    ) {
        let entered = self.enter_incoming(id, peer.into(), peer_name, terms, opened);
        let (links, links_in) = mpsc::channel(LINKS_MAX);
        self.links.insert(id, links);
        let task = IncomingTask {
            accepted: entered.incoming.was_accepted(),
            incoming: entered.incoming,
            peer,
            table: entered.table,
            peer_name: peer_name.to_owned(),
            callee,
            links: links_in,
            orders: entered.orders,
            reporter: entered.reporter,
            connector: self.connector.clone(),
        };
        self.tasks.spawn(task.run());
    }

    /// Enters an incoming transfer into the book.
    pub(super) fn enter_incoming(
        &mut self,
        id: TransferId,
        peer: Party,
        peer_name: &str,
        terms: Terms,
        opened: Option<Earlier>,
    ) -> Entered {
        let (table, progress) = (SharedTable::default(), Progress::shared());
        let reporter = Reporter::new(id, self.news.0.clone());
        let state = match opened {
            Some(_) => TransferState::Interrupted,
            None => TransferState::Connecting,
        };
        let head = opened.as_ref().map(|earlier| &earlier.head);
        let started = head.map_or_else(unix_now, |head| head.started);
        let folder = head.map(|head| head.folder.clone());
        let paused = opened.as_ref().is_some_and(|earlier| earlier.replay.paused);
        let who = Who {
            id,
            peer,
            peer_name: peer_name.to_owned(),
            started,
        };
        let mut incoming = Incoming::new(
            who,
            terms,
            table.clone(),
            progress.clone(),
            reporter.clone(),
        );
        if let Some(earlier) = opened
            && let Err(error) = incoming.continue_from(earlier)
        {
            tracing::warn!(%error, "the folder of a transfer cannot be opened");
        }
        if let Some(since) = self.book.unanswered_since(id, peer) {
            incoming.asked_since(since);
        }
        let (orders, orders_in) = mpsc::channel(ORDERS_MAX);
        let standing = self.standings.get(&id).cloned();
        let entry = self.book.insert(NewTransfer {
            id,
            direction: Direction::Receiving,
            peer: Some(peer),
            peer_name: peer_name.to_owned(),
            state,
            started,
            table: table.clone(),
            progress,
            folder,
            paused,
        });
        entry.orders = Some(orders);
        entry.standing = standing;
        entry.accepted = incoming.was_accepted();
        self.changed = true;
        Entered {
            incoming,
            table,
            orders: orders_in,
            reporter,
        }
    }
}

/// An incoming transfer that is in the book and has no task yet.
pub(super) struct Entered {
    pub(super) incoming: Incoming,
    pub(super) table: SharedTable,
    pub(super) orders: mpsc::Receiver<Order>,
    pub(super) reporter: Reporter,
}

/// What the large manifests of strangers may take beyond the first minutes of their questions.
const LARGE_MAX: usize = MANIFESTS_MAX / 3;

/// Which of these questions with large manifests have to end, so that others have memory: the
/// oldest, but none that somebody may be on the way to answer. Each with the time since when it is
/// known, and its memory.
fn surplus(mut large: Vec<(Instant, TransferId, usize)>, now: Instant) -> Vec<TransferId> {
    large.sort_unstable();
    let mut left: usize = large.iter().map(|(.., memory)| memory).sum();
    let mut ended = Vec::new();
    for (begun, id, memory) in large {
        if left <= LARGE_MAX || now.duration_since(begun) < ANSWER_SOON {
            break;
        }
        left -= memory;
        ended.push(id);
    }
    ended
}

/// Where the question of one more stranger can be.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    /// There is place.
    There,
    /// In place of this one.
    Of(TransferId),
    /// Nowhere.
    None,
}

/// The place for a question beside these of `strangers`, with the times since when they are known.
fn place(strangers: Vec<(Instant, TransferId)>, now: Instant) -> Place {
    if strangers.len() < QUESTIONS_MAX {
        return Place::There;
    }
    // Before that somebody may be on the way to answer it.
    let old = |(begun, _): &(Instant, _)| now.duration_since(*begun) >= ANSWER_SOON;
    match strangers.into_iter().min().filter(old) {
        Some((_, id)) => Place::Of(id),
        None => Place::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_questions_with_large_manifests_leave_memory_for_others() {
        let begun = Instant::now();
        let large = |n: u8, memory| {
            let at = begun + Duration::from_secs(n.into());
            (at, TransferId([n; 16]), memory)
        };
        let all = || vec![large(2, LARGE_MAX), large(1, LARGE_MAX / 2), large(3, 9)];
        let after = |seconds| surplus(all(), begun + Duration::from_secs(seconds));
        let (one, two) = (TransferId([1; 16]), TransferId([2; 16]));
        assert_eq!(after(300), []);
        assert_eq!(after(301), [one]);
        // What is left would fit without the second one, which is not old enough before.
        assert_eq!(after(302), [one, two]);
        let few = vec![large(1, LARGE_MAX)];
        assert_eq!(surplus(few, begun + Duration::from_secs(9999)), []);
    }

    #[test]
    fn the_oldest_question_of_a_stranger_makes_room_once_it_has_had_its_time() {
        let begun = Instant::now();
        let asked = |count: usize| {
            let each = |n: usize| (begun + Duration::from_secs(n as u64), [n as u8; 16]);
            let all = (0..count).rev().map(each);
            all.map(|(at, id)| (at, TransferId(id))).collect::<Vec<_>>()
        };
        let after = |seconds| begun + Duration::from_secs(seconds);
        assert_eq!(place(asked(QUESTIONS_MAX - 1), after(9999)), Place::There);
        assert_eq!(place(asked(QUESTIONS_MAX), after(299)), Place::None);
        let oldest = Place::Of(TransferId([0; 16]));
        assert_eq!(place(asked(QUESTIONS_MAX), after(300)), oldest);
    }
}
