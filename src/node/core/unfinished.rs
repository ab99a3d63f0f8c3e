//! Sending, and what earlier runs left.

use super::*;
use crate::storage::folder::Folder;
use crate::transfer::plan::Rules;

impl Core {
    /// Starts the task of an outgoing transfer, new or known.
    pub(in crate::node) fn start_outgoing(&mut self, record: OutgoingRecord, to: To) {
        let id = record.transfer;
        let (table, progress) = (SharedTable::default(), Progress::shared());
        let reporter = Reporter::new(id, self.news.0.clone());
        let shared = Shared {
            transfer: id,
            table: table.clone(),
            progress: progress.clone(),
            limiter: self.limiter.clone(),
            pauses: watch::Sender::new(Default::default()).subscribe(),
            disk: Arc::default(),
        };
        let sources = Sources::default();
        let (orders, orders_in) = mpsc::channel(ORDERS_MAX);
        let entry = self.book.insert(NewTransfer {
            id,
            direction: Direction::Sending,
            peer: record.peer.map(Party::Key),
            peer_name: record.peer_name.clone(),
            state: TransferState::Preparing,
            started: record.created,
            table: table.clone(),
            progress,
            folder: None,
        });
        entry.orders = Some(orders);
        entry.accepted = record.accepted;
        let task = OutgoingTask {
            id,
            outgoing: Outgoing::new(shared, sources.clone(), reporter.clone()),
            table,
            sources,
            paths: record.paths.clone(),
            to,
            accepted: record.accepted,
            orders: orders_in,
            reporter,
            connector: self.connector.clone(),
            connected: self.connected.subscribe(),
            contacts: self.contacts.0.clone(),
        };
        self.outgoing.insert(id, record);
        self.tasks.spawn(task.run());
        self.changed = true;
    }

    /// Enters what earlier runs left; what shall go on at once is started.
    pub(super) async fn find_unfinished(
        &mut self,
        outgoing: Vec<OutgoingRecord>,
        resume: ResumeAtStart,
    ) {
        let wanted = |id| match resume {
            ResumeAtStart::All => true,
            ResumeAtStart::None => false,
            ResumeAtStart::Only(only) => only == id,
        };
        for record in outgoing {
            if wanted(record.transfer) {
                self.continue_outgoing(record).await;
            } else {
                self.enter_dormant_outgoing(record);
            }
        }
        let dir = self.journals();
        let found = tokio::task::spawn_blocking(move || journal::list(&dir)).await;
        let found = found.map_err(std::io::Error::other).and_then(|found| found);
        for (head, replay) in found.unwrap_or_default() {
            if head.peer.key().is_none() {
                // It was under way from an original when this program ended.
                self.discard(head, replay);
            } else if wanted(head.transfer) {
                self.continue_incoming(head.transfer).await;
            } else {
                self.enter_dormant_incoming(head, &replay);
            }
        }
    }

    /// Removes what is left of a transfer that cannot be continued.
    fn discard(&mut self, head: journal::JournalHead, replay: journal::Replay) {
        let journals = self.journals();
        self.tasks.spawn(async move {
            let work = move || discard_transfer(&journals, head, replay);
            match tokio::task::spawn_blocking(work).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!(%error, "what is left of a transfer stays"),
                Err(error) => tracing::error!(%error, "discarding a transfer panicked"),
            }
        });
    }

    pub(super) fn enter_dormant_outgoing(&mut self, record: OutgoingRecord) {
        self.book.insert(NewTransfer {
            id: record.transfer,
            direction: Direction::Sending,
            peer: record.peer.map(Party::Key),
            peer_name: record.peer_name.clone(),
            state: TransferState::Interrupted,
            started: record.created,
            table: SharedTable::default(),
            progress: Progress::shared(),
            folder: None,
        });
        self.outgoing.insert(record.transfer, record);
    }

    pub(super) fn enter_dormant_incoming(
        &mut self,
        head: journal::JournalHead,
        _replay: &journal::Replay,
    ) {
        let entry = self.book.insert(NewTransfer {
            id: head.transfer,
            direction: Direction::Receiving,
            peer: Some(head.peer),
            peer_name: head.peer_name,
            state: TransferState::Interrupted,
            started: head.started,
            table: SharedTable::default(),
            progress: Progress::shared(),
            folder: Some(head.folder),
        });
        entry.accepted = true;
    }

    /// Goes on with what an earlier run was sending.
    pub(in crate::node) async fn continue_outgoing(&mut self, record: OutgoingRecord) {
        let callee = match self.callee(&record.target).await {
            Ok(callee) => Callee {
                expect: record.peer.or(callee.expect),
                ..callee
            },
            Err(_) => match record.peer {
                Some(peer) => self.callee_of(peer),
                None => return self.enter_dormant_outgoing(record),
            },
        };
        self.start_outgoing(record, To::Peer(callee));
    }

    /// Goes on with what an earlier run was receiving.
    pub(in crate::node) async fn continue_incoming(&mut self, id: TransferId) {
        let Some((journal, head, replay)) = self.open_journal(id).await else {
            return;
        };
        let (Some(peer), name) = (head.peer.key(), head.peer_name.clone()) else {
            return;
        };
        let callee = self.callee_of(peer);
        let terms = self.terms(peer, id);
        self.start_incoming(
            id,
            peer,
            &name,
            callee,
            terms,
            Some((journal, head, replay)),
        );
    }
}

/// Removes the parts and the journal of a transfer. Blocking.
fn discard_transfer(
    journals: &Path,
    head: journal::JournalHead,
    replay: journal::Replay,
) -> std::io::Result<()> {
    let id = head.transfer;
    let rules = Rules {
        folder: Folder::open(&head.folder)?,
        policy: head.on_conflict,
        excluded: Default::default(),
        replay: Some(replay),
        compares: false,
    };
    rules.discard_parts();
    match Journal::open(journals, id)? {
        Some((journal, ..)) => journal.remove(),
        None => Ok(()),
    }
}
