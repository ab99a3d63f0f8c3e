//! Groups that the sender refers elsewhere: fetched while the stream goes on.

use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::task::JoinSet;

use super::group::Group;
use super::{FileEnd, Stream, fault, write_error};
use crate::protocol::groups::{Hash, group_count, group_len};
use crate::protocol::message::{Code, Stamp, TransferId};
use crate::storage::part::Part;
use crate::transfer::feed::{FETCHING_MAX, Feed, Given};
use crate::transfer::partial::{MIXED, Place};

/// So often a group is fetched before the sender has to send it.
const TRIES_MAX: u32 = 8;

/// A group that was fetched, or could not be.
#[derive(Debug)]
pub(super) struct Fetched {
    wanted: Wanted,
    given: Option<(Given, OwnedSemaphorePermit)>,
}

/// A group that is wanted from elsewhere.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    number: u32,
    hash: Hash,
    tries: u32,
}

/// Where a group has come from, if not from the sender.
#[derive(Debug)]
pub(super) struct Source {
    wanted: Wanted,
    from: TransferId,
    /// Held until the group is written, so that only so many wait for the disk.
    _place: OwnedSemaphorePermit,
}

impl Stream<'_> {
    /// Whether the stream may be read on: not if too much is being fetched.
    pub(super) fn has_room_to_fetch(&self) -> bool {
        self.fetching.len() < FETCHING_MAX
    }

    /// The sender says that this group, which has this hash, is to be had elsewhere.
    pub(super) async fn elsewhere(&mut self, number: u32, hash: Hash) -> Result<(), FileEnd> {
        self.partial.asked.remove(&number);
        if self.partial.groups.get(&number) == Some(&hash) {
            // The sender need not know what has come of a stream that it gave up.
            return Ok(());
        }
        self.leave_existing().await?;
        let tries = 0;
        self.fetch(Wanted {
            number,
            hash,
            tries,
        });
        Ok(())
    }

    fn fetch(&mut self, wanted: Wanted) {
        let Some(feed) = self.intake.feed.clone() else {
            // It stays missing, and is asked for again.
            return;
        };
        let (index, stamp) = (self.intake.index, self.intake.header.stamp);
        let len = group_len(self.intake.header.size, wanted.number);
        self.fetching.spawn(async move {
            let given = feed.fetch(index, stamp, (wanted.number, len)).await;
            Fetched { wanted, given }
        });
    }

    /// A group was fetched. What is not what the sender said it is is fetched from somebody else.
    pub(super) async fn fetched(&mut self, fetched: Fetched) -> Result<(), FileEnd> {
        let Fetched { wanted, given } = fetched;
        let Some((Given { content, from }, _place)) = given else {
            return Ok(());
        };
        let size = self.intake.header.size;
        let source = Source {
            wanted,
            from,
            _place,
        };
        if content.len() as u64 != group_len(size, wanted.number) {
            return self.lied(source).await;
        }
        self.intake.progress.moved(content.len() as u64);
        if group_count(size) > 1 {
            self.part()?;
        }
        let rooms = &self.intake.rooms;
        let (folder, tag) = (&self.intake.folder, &self.partial.tag);
        let group = Group::begin(rooms, folder, tag, size, wanted.number);
        let mut group = group.map_err(write_error)?;
        group.push(content).await.map_err(write_error)?;
        self.end_group_from(group, Some(wanted.hash), Some(source))
            .await
    }

    /// A receiver gave content that is not what the sender says it should be.
    pub(super) async fn lied(&mut self, source: Source) -> Result<(), FileEnd> {
        let Source {
            mut wanted, from, ..
        } = source;
        tracing::warn!(
            number = wanted.number,
            "a receiver passed on damaged content"
        );
        if let Some(feed) = &self.intake.feed {
            feed.lied(from).await;
        }
        wanted.tries += 1;
        if wanted.tries < TRIES_MAX {
            self.fetch(wanted);
        }
        Ok(())
    }

    /// Waits for everything that is being fetched.
    pub(super) async fn finish_fetching(
        &mut self,
        stop: &mut oneshot::Receiver<Code>,
    ) -> Result<(), FileEnd> {
        loop {
            self.finish_work().await?;
            tokio::select! {
                biased;
                Ok(code) = &mut *stop => return Err(self.stopped(code)),
                fetched = self.fetching.join_next() => match fetched {
                    Some(fetched) => self.fetched(fetched.map_err(|_| fault())?).await?,
                    None => return Ok(()),
                },
            }
        }
    }

    /// Somebody here has stopped the file. What is given up will never be here for others.
    pub(super) fn stopped(&self, code: Code) -> FileEnd {
        if let Some(feed) = self
            .intake
            .feed
            .as_ref()
            .filter(|_| code == Code::Cancelled)
        {
            feed.shelf.never(self.intake.header.stamp);
        }
        FileEnd::Stopped
    }

    /// A group is verified and in its place: others may have it.
    pub(super) fn shelve(&self, number: u32, fetched: bool) {
        let Some(feed) = &self.intake.feed else {
            return;
        };
        if let Place::Part(part) = &self.partial.place {
            feed.shelf.add(self.intake.header.stamp, part, number);
        }
        if fetched {
            let len = group_len(self.intake.header.size, number);
            feed.count(self.intake.index, len);
        }
    }

    /// What is in the part is there for others, too.
    pub(super) fn shelve_part(&self, part: &Part) {
        let stamp = self.intake.header.stamp;
        let same = self.partial.stamp == Some(stamp) && stamp != MIXED;
        if let Some(feed) = self.intake.feed.as_ref().filter(|_| same)
            && let groups = self.partial.groups.keys().copied()
            && let file = (self.intake.index, stamp)
            && let Err(error) = feed.shelf.begin(file, self.partial.size, part, groups)
        {
            // Others get it from somebody else.
            tracing::debug!(%error, "a part cannot be passed on");
        }
    }
}

impl Feed {
    /// Others must not wait for a file that is given up.
    pub(super) fn note_end(&self, stamp: Stamp, end: &FileEnd) {
        match end {
            FileEnd::Damaged | FileEnd::Exists | FileEnd::Grown | FileEnd::CannotWrite(_) => {
                self.shelf.never(stamp)
            }
            FileEnd::Whole { .. }
            | FileEnd::Identical { .. }
            | FileEnd::Open { .. }
            | FileEnd::NoSpace
            | FileEnd::Stopped
            | FileEnd::Lost(_) => {}
        }
    }
}

/// Waits for a group that is being fetched, for ever if there is none. Cancel-safe.
pub(super) async fn next(fetching: &mut JoinSet<Fetched>) -> Result<Fetched, FileEnd> {
    match fetching.join_next().await {
        Some(fetched) => fetched.map_err(|_| fault()),
        None => std::future::pending().await,
    }
}
