//! What becomes of a transfer when it is over.

use super::*;
use crate::otm::session::{MemberEnd, end_of};
use crate::storage::store::SessionRecord;

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
            names: entry
                .top_names()
                .iter()
                .map(|top| top.name.clone())
                .collect(),
            folder: entry.folder.clone(),
            files: totals.files,
            bytes: totals.bytes,
            text: None,
            failed: totals.files_failed,
            fault: entry.fault().cloned(),
            started: entry.started(),
            ended: unix_now(),
        };
        self.records
            .write(move |store| store.push_history(&record))
            .await;
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

    pub(in crate::node) fn clear_finished(&mut self) {
        self.book.clear_finished();
        self.forget_gone_sessions();
    }

    /// Forgets sessions of which nothing is shown any more.
    pub(super) fn forget_gone_sessions(&mut self) {
        let book = &self.book;
        self.sessions.forget_gone(|id| book.get(id).is_some());
    }
}
