//! Streams of files: begun, read by tasks, and what came of each.

use std::collections::VecDeque;

use tokio::sync::oneshot;
use tokio::task::JoinError;

use super::{
    Active, FileDone, LARGE_ACTIVE_MAX, Run, SMALL_ACTIVE_MAX, STREAMS_WAITING_MAX, discard,
};
use crate::fault::Fault;
use crate::net::link::{FileReader, Inbound, LinkError, Offence};
use crate::protocol::groups::{GROUP_LEN, Hash};
use crate::protocol::message::{
    Code, FileHeader, FileIndex, Outcome, Receipt, ReceiverMessage, SinkFault,
};
use crate::storage::name::SafePath;
use crate::storage::refusal::with_owner;
use crate::transfer::control::News;
use crate::transfer::deliver::shelve;
use crate::transfer::ended::Ended;
use crate::transfer::partial::Partial;
use crate::transfer::plan::part_tag;
use crate::transfer::receive_file::{FileEnd, Intake, receive_file};
use crate::transfer::status::FileState;

/// Streams of files that have not begun. Each kind waits for places of its own, so that nobody
/// has to look for one that fits among thousands.
pub(super) struct Unbegun<R> {
    small: VecDeque<(FileHeader, R)>,
    large: VecDeque<(FileHeader, R)>,
}

impl<R> Default for Unbegun<R> {
    fn default() -> Self {
        Self {
            small: VecDeque::new(),
            large: VecDeque::new(),
        }
    }
}

impl<R> Unbegun<R> {
    fn of(&mut self, is_large: bool) -> &mut VecDeque<(FileHeader, R)> {
        match is_large {
            true => &mut self.large,
            false => &mut self.small,
        }
    }
}

impl<L: Inbound> Run<'_, L> {
    pub(super) async fn on_file(
        &mut self,
        header: FileHeader,
        reader: L::Reader,
    ) -> Result<(), Ended> {
        let index = header.index;
        if index >= self.planned {
            return Err(Ended::Misbehaved(Offence::NotAskedFor));
        }
        if self.whole.contains(&index) {
            // It crossed with a group that made the file complete.
            reader.stop(Code::Cancelled);
            return Ok(());
        }
        if self.active.contains_key(&index) {
            let waiting = self.waiting.entry(index).or_default();
            if waiting.len() >= STREAMS_WAITING_MAX {
                return Err(Ended::Misbehaved(Offence::NotAskedFor));
            }
            waiting.push_back((header, reader));
            return Ok(());
        }
        let is_large = header.size > GROUP_LEN;
        if !self.has_place(is_large) {
            self.unbegun.of(is_large).push_back((header, reader));
            return Ok(());
        }
        self.begin_file(header, reader).await
    }

    /// Whether a file of this kind may begin now. Outside a session the sender sees to it.
    fn has_place(&self, is_large: bool) -> bool {
        let alike = self
            .active
            .values()
            .filter(|active| active.large == is_large);
        let most = match is_large {
            true => LARGE_ACTIVE_MAX,
            false => SMALL_ACTIVE_MAX,
        };
        self.incoming.feed().is_none() || alike.count() < most
    }

    /// Begins files that have waited, as far as there are places.
    async fn begin_waiting(&mut self) -> Result<(), Ended> {
        for is_large in [false, true] {
            while self.has_place(is_large)
                && let Some((header, reader)) = self.unbegun.of(is_large).pop_front()
            {
                self.on_file(header, reader).await?;
            }
        }
        Ok(())
    }

    pub(super) async fn begin_file(
        &mut self,
        header: FileHeader,
        reader: L::Reader,
    ) -> Result<(), Ended> {
        let index = header.index;
        let (name, offered) = {
            let table = self.incoming.table.lock();
            if table.rival(index).is_some() {
                // It crossed with what made it wait for the person, who decides what comes.
                reader.stop(Code::Paused);
                return Ok(());
            }
            let settled = matches!(table.state(index), Some(FileState::Settled(_)));
            match (settled, table.file_size(index)) {
                // It crossed with the message that it is not wanted any more.
                (true, _) => {
                    reader.stop(Code::Cancelled);
                    return Ok(());
                }
                (false, None) => return Err(Ended::Misbehaved(Offence::NotAskedFor)),
                (false, Some(size)) => (table.path(index).to_owned(), size),
            }
        };
        if !self.fits(&header) {
            // Grown, or added without asking whether there is room. Refused before a list of
            // its groups is made, which for the largest files would be gigabytes.
            reader.stop(Code::Paused);
            return self.on_full(index).await;
        }
        let path = SafePath::parse(&name).map_err(|_| Ended::Misbehaved(Offence::NotAskedFor))?;
        let (table, progress) = (self.incoming.table.clone(), self.incoming.progress.clone());
        let id = self.incoming.id;
        let feed = self.incoming.feed().cloned();
        let taken = self.taken()?;
        let partial = taken.partials.remove(&index);
        let partial = partial.unwrap_or_else(|| Partial::new(part_tag(id, index)));
        let policy = taken.policy(&name);
        let intake = Intake {
            index,
            header,
            offered,
            name,
            path,
            folder: taken.rules.folder.clone(),
            policy,
            journal: taken.journal.clone(),
            table,
            progress,
            resumable: taken.rules.compares,
            rooms: self.incoming.terms.budget.rooms.clone(),
            feed,
        };
        self.show(index, FileState::Active);
        let (stop, stopped) = oneshot::channel();
        let compares = !partial.groups.is_empty();
        let large = intake.header.size > GROUP_LEN;
        let active = Active {
            large,
            stop,
            compares,
        };
        self.active.insert(index, active);
        self.tasks
            .spawn(receive_file(intake, partial, reader, stopped));
        Ok(())
    }

    /// Whether there is room for what is missing of a file.
    pub(super) fn fits(&self, header: &FileHeader) -> bool {
        if header.size <= GROUP_LEN {
            // Asking the disk for each small file would cost more than writing it.
            return true;
        }
        let Some(taken) = &self.incoming.taken else {
            return false;
        };
        let partial = taken.partials.get(&header.index);
        let missing = header
            .size
            .saturating_sub(partial.map_or(0, Partial::bytes));
        let free = taken.rules.folder.space().map_or(0, |space| space.free);
        missing <= free
    }

    pub(super) async fn on_file_end(
        &mut self,
        joined: Result<FileDone, JoinError>,
    ) -> Result<(), Ended> {
        let (intake, partial, end) = joined.map_err(|error| {
            tracing::error!(%error, "receiving a file panicked");
            Ended::Lost("a fault of this program".into())
        })?;
        let index = intake.index;
        self.active.remove(&index);
        if let FileEnd::Lost(LinkError::Offence(offence)) = end {
            self.keep(index, partial);
            return Err(Ended::Misbehaved(offence));
        }
        if self.is_settled(index) {
            // Given up meanwhile.
            discard(partial).await;
        } else {
            self.on_end(intake, partial, end).await?;
        }
        self.begin_next(index).await?;
        self.begin_waiting().await
    }

    /// Begins the next stream of a file whose stream has ended.
    async fn begin_next(&mut self, index: FileIndex) -> Result<(), Ended> {
        let Some(mut waiting) = self.waiting.remove(&index) else {
            return Ok(());
        };
        if self.is_settled(index) || self.whole.contains(&index) {
            for (_, reader) in waiting {
                reader.stop(Code::Cancelled);
            }
        } else if let Some((header, reader)) = waiting.pop_front() {
            self.waiting.insert(index, waiting);
            self.begin_file(header, reader).await?;
        }
        Ok(())
    }

    pub(super) async fn on_end(
        &mut self,
        intake: Intake,
        partial: Partial,
        end: FileEnd,
    ) -> Result<(), Ended> {
        let index = intake.index;
        match end {
            FileEnd::Whole { small, hash } => {
                self.make_ready(&intake, partial, small, hash);
                Ok(())
            }
            FileEnd::Identical { hash } => {
                if let Some(feed) = &intake.feed {
                    let shelf = Some((feed.shelf.clone(), intake.header.stamp));
                    let name = intake.name.clone();
                    let shelved = shelve(shelf, name, &intake.folder, &intake.path);
                    intake.journal.append(shelved.as_slice());
                }
                let outcome = Outcome::Identical;
                self.settle_as(index, outcome, Some(hash)).await
            }
            FileEnd::Open { again } => {
                self.keep(index, partial);
                for group in again {
                    self.send(ReceiverMessage::Again { index, group }).await?;
                }
                Ok(())
            }
            FileEnd::Damaged => self.drop_file(partial, index, SinkFault::Damaged).await,
            FileEnd::Exists => self.taken_name(index, partial).await,
            FileEnd::Grown => {
                let fault = SinkFault::Source(crate::protocol::message::SourceFault::Changing);
                self.drop_file(partial, index, fault).await
            }
            FileEnd::NoSpace => {
                self.keep(index, partial);
                self.on_full(index).await
            }
            FileEnd::CannotWrite(why) => {
                discard(partial).await;
                self.cannot_write(index, why).await
            }
            FileEnd::Stopped => {
                self.keep(index, partial);
                Ok(())
            }
            FileEnd::Lost(error) => {
                self.keep(index, partial);
                match error {
                    LinkError::Offence(offence) => Err(Ended::Misbehaved(offence)),
                    // The sender gave up this stream only; it says what comes instead. If the
                    // whole link is gone, the link itself says so.
                    LinkError::Closed(_) | LinkError::Lost(_) => Ok(()),
                }
            }
        }
    }

    pub(super) async fn cannot_write(
        &mut self,
        index: FileIndex,
        why: String,
    ) -> Result<(), Ended> {
        let path = {
            let table = self.incoming.table.lock();
            self.incoming.terms.folder.join(table.path(index))
        };
        tracing::warn!(index, why, "a file cannot be written");
        let (at, said) = (path.clone(), why.clone());
        let explained = tokio::task::spawn_blocking(move || with_owner(&at, said)).await;
        let why = explained.unwrap_or(why);
        let fault = Fault::CannotWrite { path, why };
        self.incoming.reporter.tell(News::Fault(Some(fault))).await;
        self.give_up(index, SinkFault::CannotWrite).await
    }

    pub(super) async fn drop_file(
        &mut self,
        partial: Partial,
        index: FileIndex,
        fault: SinkFault,
    ) -> Result<(), Ended> {
        discard(partial).await;
        self.give_up(index, fault).await
    }

    /// Settles an entry as failed; a stream of it that is being read is stopped.
    pub(super) async fn give_up(
        &mut self,
        index: FileIndex,
        fault: SinkFault,
    ) -> Result<(), Ended> {
        if let Some(at) = self.ready.iter().position(|ready| ready.index() == index) {
            if let Some(delivery) = self.ready.remove(at) {
                self.ready_weight -= delivery.weight();
                let _ = tokio::task::spawn_blocking(move || delivery.discard()).await;
            }
            self.whole.remove(&index);
        }
        // What is getting its name just now is complete, and stays.
        if self.whole.contains(&index) || self.is_settled(index) {
            return Ok(());
        }
        if let Some(active) = self.active.remove(&index) {
            let _ = active.stop.send(Code::Cancelled);
        }
        self.starved.remove(&index);
        if let Some(partial) = self.taken()?.partials.remove(&index) {
            discard(partial).await;
        }
        let outcome = Outcome::Failed(fault);
        self.settle_as(index, outcome, None).await
    }

    /// Settles one entry that was not saved now.
    pub(super) async fn settle_as(
        &mut self,
        index: FileIndex,
        outcome: Outcome,
        hash: Option<Hash>,
    ) -> Result<(), Ended> {
        let saved_as = None;
        let receipt = Receipt {
            index,
            outcome,
            saved_as,
            hash,
        };
        self.settle(vec![receipt]).await
    }
}
