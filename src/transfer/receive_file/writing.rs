//! Groups on their way to the disk.

use std::io;
use std::time::Instant;

use tokio::task::{JoinError, JoinHandle};

use super::fetching::Source;
use super::group::Group;
use super::{
    CHECKPOINT_LEN, DAMAGED_MAX, FileEnd, MISSING_MAX, Stream, Worked, fault, write_error,
};
use crate::protocol::groups::{Hash, group_len};
use crate::storage::journal::Record;
use crate::storage::part::Part;
use crate::transfer::partial::{MIXED, Place};
use crate::transfer::status::Limit;

impl Stream<'_> {
    /// Verifies a group and keeps it. Small files do it here, because handing them over costs more
    /// than hashing them; groups of large ones go to a blocking thread.
    pub(super) async fn end_group(
        &mut self,
        group: Group,
        hash: Option<Hash>,
    ) -> Result<(), FileEnd> {
        self.end_group_from(group, hash, None).await
    }

    /// The same for a group that may have come from elsewhere.
    pub(super) async fn end_group_from(
        &mut self,
        group: Group,
        hash: Option<Hash>,
        source: Option<Source>,
    ) -> Result<(), FileEnd> {
        let group = match &self.partial.place {
            Place::Part(_) => group,
            Place::Nowhere | Place::Closed(_) | Place::Existing(_) => {
                let (number, computed) = (group.number, group.hash());
                if hash.is_some_and(|hash| hash != computed) {
                    return self.wrong(number, source).await;
                }
                match group.into_small() {
                    Ok(small) => {
                        self.small = Some(small);
                        return self.keep(number, computed, source.is_some());
                    }
                    Err(group) => group,
                }
            }
        };
        let part = self.part()?;
        let work = move || {
            let computed = group.hash();
            let right = hash.is_none_or(|hash| hash == computed);
            let written = right.then(|| group.write(&part));
            Worked {
                number: group.number,
                hash: computed,
                written,
                source,
            }
        };
        self.finish_work().await?;
        self.work = Some(tokio::task::spawn_blocking(work));
        Ok(())
    }

    /// Waits for the group that is being worked on.
    pub(super) async fn finish_work(&mut self) -> Result<(), FileEnd> {
        if let Some(work) = self.work.take() {
            let start = Instant::now();
            let worked = work.await;
            self.intake.progress.waited(Limit::Disk, start.elapsed());
            self.worked(worked).await?;
        }
        Ok(())
    }

    pub(super) async fn worked(
        &mut self,
        worked: Result<Worked, JoinError>,
    ) -> Result<(), FileEnd> {
        let worked = worked.map_err(|_| fault())?;
        match worked.written {
            None => self.wrong(worked.number, worked.source).await,
            Some(written) => {
                written.map_err(write_error)?;
                self.keep(worked.number, worked.hash, worked.source.is_some())?;
                let len = group_len(self.intake.header.size, worked.number);
                self.checkpoint(len).await
            }
        }
    }

    /// A group is verified and in its place.
    pub(super) fn keep(&mut self, number: u32, hash: Hash, fetched: bool) -> Result<(), FileEnd> {
        self.partial.groups.insert(number, hash);
        if let Place::Part(part) = &self.partial.place {
            self.record(part, number, hash).map_err(write_error)?;
        }
        let len = group_len(self.intake.header.size, number);
        self.intake.table.lock().add_done(self.intake.index, len);
        self.shelve(number, fetched);
        Ok(())
    }

    /// What came is not what it should be.
    async fn wrong(&mut self, number: u32, source: Option<Source>) -> Result<(), FileEnd> {
        match source {
            None => self.damaged(number),
            Some(source) => self.lied(source).await,
        }
    }

    pub(super) fn damaged(&mut self, number: u32) -> Result<(), FileEnd> {
        tracing::warn!(index = self.intake.index, number, "a group is damaged");
        // What is there may be of an older version.
        self.partial.groups.remove(&number);
        if self.partial.damage.group(number) >= DAMAGED_MAX {
            return Err(FileEnd::Damaged);
        }
        if self.again.len() < MISSING_MAX {
            self.again.push(number);
        } else {
            // Found missing after one of the next streams.
            self.partial.asked.remove(&number);
        }
        Ok(())
    }

    /// Brings data to the disk now and then, in the background.
    pub(super) async fn checkpoint(&mut self, written: u64) -> Result<(), FileEnd> {
        if !self.intake.resumable {
            // Nothing would be gained, and a sender that cannot wait would wait for the disk.
            return Ok(());
        }
        self.since_sync += written;
        if self.since_sync < CHECKPOINT_LEN {
            return Ok(());
        }
        self.since_sync = 0;
        // Never more than one: a disk that is slower than the network sets the pace here.
        self.finish_sync().await.map_err(write_error)?;
        if let Place::Part(part) = &self.partial.place {
            let part = part.clone();
            self.sync = Some(tokio::task::spawn_blocking(move || part.sync()));
        }
        Ok(())
    }

    pub(super) async fn finish_sync(&mut self) -> io::Result<()> {
        match self.sync.take() {
            Some(sync) => sync.await.map_err(io::Error::other)?,
            None => Ok(()),
        }
    }

    /// Waits for everything that is under way: a late write must not meet those of the file's next
    /// stream. What is right is kept even if the stream broke.
    pub(super) async fn settle(&mut self) -> Result<(), FileEnd> {
        let work = self.finish_work().await;
        let sync = self.finish_sync().await.map_err(write_error);
        work.and(sync)
    }

    pub(super) fn record(&self, part: &Part, group: u32, hash: Hash) -> io::Result<()> {
        self.intake.journal.append(&[Record::Groups {
            path: self.intake.name.clone(),
            stamp: self.partial.stamp.unwrap_or(MIXED),
            size: self.intake.header.size,
            part: part.identity()?,
            tag: self.partial.tag.clone(),
            first: group,
            hashes: vec![hash],
        }]);
        Ok(())
    }
}

/// Waits for the group that is being worked on, for ever if there is none. Cancel-safe.
pub(super) async fn running(work: &mut Option<JoinHandle<Worked>>) -> Result<Worked, JoinError> {
    match work {
        Some(work) => work.await,
        None => std::future::pending().await,
    }
}
