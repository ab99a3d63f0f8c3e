//! What becomes of a transfer when it is over.

use super::super::api::Reply;
use super::super::commands::Replied;
use super::*;
use crate::otm::session::{MemberEnd, end_of};
use crate::storage::store::{SOURCES_KEPT_MAX, SessionRecord};
use crate::transfer::status::FileQuery;

impl Core {
    pub(super) async fn on_final(&mut self, id: TransferId) {
        // Before the transfer itself is forgotten: one that is not remembered counts as broken off.
        self.tell_session(id).await;
        self.links.remove(&id);
        self.forget_standing(id).await;
        let only = self.wishes.remove(&id).and_then(|wishes| wishes.only);
        let sent = self.outgoing.remove(&id);
        if sent.is_some() {
            self.records
                .write(move |store| store.remove_outgoing(id))
                .await;
        }
        let Some(entry) = self.book.get_mut(id) else {
            return;
        };
        entry.sent = sent.map(|record| (record, only));
        entry.orders = None;
        if entry.is_noise() {
            // Whoever offers and takes back must not fill the history.
            return;
        }
        let totals = entry.table.lock().totals();
        let record = HistoryRecord {
            transfer: id,
            sent: entry.direction == Direction::Sending,
            peer: entry.peer,
            peer_name: entry.peer_name.clone(),
            names: names(entry),
            sources: sources(entry),
            folder: entry.folder.clone(),
            files: totals.files,
            bytes: totals.bytes,
            text: None,
            failed: totals.files_failed,
            fault: entry.fault().cloned().or_else(|| not_taken(entry)),
            started: entry.started(),
            ended: unix_now(),
        };
        self.records
            .write(move |store| store.push_history(&record))
            .await;
    }

    /// Whether nothing would be held up by the end of this node, and nobody looks at it.
    pub(super) fn is_idle(&self) -> bool {
        let runs = |entry: &Entry| match entry.state() {
            TransferState::Preparing
            | TransferState::Connecting
            | TransferState::Transferring
            | TransferState::Interrupted => entry.orders.is_some(),
            TransferState::AwaitingAnswer => entry.direction == Direction::Sending,
            TransferState::Paused
            | TransferState::Completed
            | TransferState::Rejected
            | TransferState::Cancelled
            | TransferState::Failed => false,
        };
        let waits = !self.codes.is_idle() || !self.texts.is_idle();
        let waits = waits || self.people.is_anybody_there();
        !waits && !self.book.iter().any(|(_, entry)| runs(entry))
    }

    /// Remembers what came of a receiver of a session.
    async fn tell_session(&mut self, id: TransferId) {
        let Some(entry) = self.book.get(id) else {
            return;
        };
        let failed = entry.table.lock().totals().files_failed;
        if let Some(end) = end_of(entry.state(), failed)
            && let Some(session) = self.sessions.ended(id, &entry.peer_name, end)
        {
            let record = session.record().clone();
            self.keep_session(record).await;
        }
    }

    /// Remembers a session beyond the end of this program, as long as it is not over.
    pub(in crate::node) async fn keep_session(&self, record: SessionRecord) {
        let over = record.members.iter().all(|member| member.end.is_some());
        self.records
            .write(move |store| match over {
                true => store.remove_session(record.session),
                false => store.put_session(&record),
            })
            .await;
    }

    /// Enters the sessions of earlier runs that are not over.
    pub(super) async fn find_sessions(
        &mut self,
        records: Vec<SessionRecord>,
        outgoing: &[OutgoingRecord],
    ) {
        let goes_on = |id| outgoing.iter().any(|record| record.transfer == id);
        for mut record in records {
            for member in &mut record.members {
                let end = member.end.unwrap_or(MemberEnd::Incomplete);
                // One to an original cannot go on: nobody knows what has arrived.
                member.end = (!goes_on(member.transfer)).then_some(end);
            }
            self.keep_session(record.clone()).await;
            let session = Session::from(record);
            if !session.is_over() {
                self.sessions.insert(session);
            }
        }
    }

    pub(in crate::node) fn clear_finished(&mut self) -> Replied {
        self.book.clear_finished();
        self.forget_gone_sessions();
        Ok(Reply::Done)
    }

    /// Forgets sessions of which nothing is shown any more.
    pub(in crate::node) fn forget_gone_sessions(&mut self) {
        let book = &self.book;
        self.sessions.forget_gone(|id| book.get(id).is_some());
    }
}

/// What it is called in the history.
fn names(entry: &Entry) -> Vec<String> {
    let alone = FileQuery::Range { from: 0, count: 2 };
    let mut rows = entry.table.lock().query(alone);
    let only = rows.pop().filter(|_| rows.is_empty());
    let tops = entry.top_names();
    match only.and_then(|row| row.saved_as) {
        Some(name) if entry.direction == Direction::Receiving && tops.len() == 1 => vec![name],
        Some(_) | None => tops.iter().map(|top| top.name.clone()).collect(),
    }
}

/// What was chosen, if it is little enough to be remembered.
/// What the history says of an offer that was turned down here, which is nobody's fault.
fn not_taken(entry: &Entry) -> Option<Fault> {
    let is_ours = entry.direction == Direction::Receiving;
    let peer = entry.peer_name.clone();
    (is_ours && entry.state() == TransferState::Rejected).then_some(Fault::NotTaken { peer })
}

fn sources(entry: &Entry) -> Vec<PathBuf> {
    let chosen = entry.sent.as_ref().map(|(record, _)| &record.paths);
    let few = chosen.filter(|paths| paths.len() <= SOURCES_KEPT_MAX);
    few.cloned().unwrap_or_default()
}
