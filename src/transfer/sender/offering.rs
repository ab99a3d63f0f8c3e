//! The offer, and the list of what is sent.

use super::*;

/// How long the receiver may take for its first answer, which needs no person.
const KNOWN_DEADLINE: Duration = Duration::from_secs(30);
/// Payload of a page of entries, leaving room for the last one to be long.
const PAGE_LEN: usize = 48 * 1024;

impl<L: Outbound> Run<'_, L> {
    pub(super) async fn offer(&mut self) -> Result<(), Ended> {
        let known = match tokio::time::timeout(KNOWN_DEADLINE, self.link.recv()).await {
            Ok(Ok(ReceiverMessage::Known { entries })) => entries,
            Ok(Ok(_)) => return Err(Ended::Misbehaved(Offence::UnexpectedMessage)),
            Ok(Err(error)) => return Err(self.closed_before_answer(error)),
            Err(_) => return Err(Ended::Lost("no answer to the offer".into())),
        };
        if known > self.transfer.shared.table.lock().len() {
            return Err(Ended::Misbehaved(Offence::NoSuchEntry));
        }
        self.told = known;
        self.tell_note().await?;
        self.transfer.reporter.event(TransferEvent::Offered).await;
        let path = self.link.path();
        self.transfer.reporter.tell(News::Path(Some(path))).await;
        self.tell_entries().await
    }

    fn closed_before_answer(&self, error: LinkError) -> Ended {
        if error == LinkError::Closed(Code::Busy) {
            return Ended::Declined(crate::protocol::message::DeclineReason::Busy);
        }
        error.into()
    }

    /// Tells the receiver all entries it does not know yet.
    pub(super) async fn tell_entries(&mut self) -> Result<(), Ended> {
        // Until it says so of these, too, it cannot do without us.
        self.transfer.reporter.tell(News::GoesOn(false)).await;
        loop {
            let page = self.page();
            if page.is_empty() {
                break;
            }
            self.told += page.len() as u32;
            self.send(SenderMessage::Entries(page)).await?;
        }
        self.send(SenderMessage::EntriesEnd { entries: self.told })
            .await
    }

    fn page(&self) -> Vec<Entry> {
        let table = self.transfer.shared.table.lock();
        let mut page = Vec::new();
        let mut len = 0;
        while let Some(entry) = table.entry(self.told + page.len() as u32) {
            let target = match &entry.kind {
                EntryKind::Symlink { target } => target.len(),
                EntryKind::File { .. } | EntryKind::Folder { .. } => 0,
            };
            len += entry.path.len() + target + 32;
            if len > PAGE_LEN && !page.is_empty() {
                break;
            }
            page.push(entry);
        }
        page
    }
}
