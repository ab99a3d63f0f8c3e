//! A transfer to an original that takes part in a tree of ours.

use super::*;
use crate::net::tcp::tree_files;
use crate::node::legacy::Seated;
use crate::protocol::legacy::stream::FileItem;
use crate::protocol::message::EntryKind;

impl OutgoingTask {
    /// Works over a tree of originals, if there is one for it. Returns whether there was.
    pub(super) async fn by_tree(&mut self) -> Result<bool, Over> {
        let Some(seat) = self.seat.take() else {
            return Ok(false);
        };
        let Some(seated) = self.sit(seat).await? else {
            return Ok(false);
        };
        self.over_tree(seated).await?;
        Ok(true)
    }

    async fn over_tree(&mut self, seated: Seated) -> Result<bool, Over> {
        let Seated { peer, name, link } = seated;
        let contact = Contact::Original {
            transfer: self.id,
            peer,
            name: name.clone(),
        };
        let _ = self.contacts.send(contact).await;
        let is_below = link.is_below();
        let ended = self.outgoing.run(link, &mut self.orders).await;
        self.accepted |= self.outgoing.was_accepted();
        if is_below && ended == Ended::Completed {
            let (peer, trouble) = (name.clone(), Trouble::Unconfirmed);
            let fault = Fault::Original { peer, trouble };
            self.reporter.tell(News::Fault(Some(fault))).await;
        }
        self.on_ended(ended, name, None).await
    }

    /// A place in the tree, if what is sent can go that way and the original takes part.
    async fn sit(&mut self, seat: Seat) -> Result<Option<Seated>, Over> {
        let files = tree_files_of(&self.table);
        let (To::Original(original), Some(files)) = (self.to.clone(), files) else {
            return Ok(None);
        };
        let sitting = original.sit(seat, files);
        tokio::pin!(sitting);
        loop {
            tokio::select! {
                seated = &mut sitting => match seated {
                    Ok(seated) => return Ok(seated),
                    Err(fault) => {
                        self.fail(fault).await;
                        return Err(Over);
                    }
                },
                order = self.orders.recv() => self.offline(order).await?,
            }
        }
    }
}

/// What goes over a tree of originals: files without folders, and not too many.
fn tree_files_of(table: &SharedTable) -> Option<Vec<FileItem>> {
    let table = table.lock();
    let files = (0..table.len()).map(|index| {
        let entry = table.entry(index)?;
        match entry.kind {
            EntryKind::File { size, .. } if !entry.path.contains('/') => Some(FileItem {
                name: entry.path,
                size,
                seeked: 0,
            }),
            EntryKind::File { .. } | EntryKind::Folder { .. } | EntryKind::Symlink { .. } => None,
        }
    });
    tree_files(files.collect::<Option<_>>()?)
}
