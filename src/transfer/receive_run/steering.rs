//! Pauses, full disks, stalls, and what people want.

use tokio::time::Instant;

use super::{JoinError, ROOM_RESERVE, Run, STALL_MAX};
use crate::fault::Fault;
use crate::net::link::Inbound;
use crate::protocol::message::{
    FileIndex, PauseReason, ReceiverMessage, Scope, SinkFault, Steer, SteerAction, TransferId,
};
use crate::protocol::sessions::Trouble;
use crate::transfer::control::{News, Order};
use crate::transfer::ended::Ended;
use crate::transfer::feed::Feed;
use crate::transfer::partial::Partial;
use crate::transfer::plan::part_tag;
use crate::transfer::state::TransferEvent;
use crate::transfer::status::{FileState, Limit, PausedBy};

impl<L: Inbound> Run<'_, L> {
    /// Pauses outlive the link that they were made on, and the program. Those of the sender are
    /// the sender's to repeat, and stay if it is not there; of the disk we see for ourselves.
    pub(super) async fn repeat_pauses(&mut self) -> Result<(), Ended> {
        self.find_paused();
        let is_senders = self.link.is_senders();
        if is_senders {
            for index in self.incoming.pauses.forget_theirs() {
                self.show(index, FileState::Waiting);
            }
        }
        match self.incoming.pauses.all() {
            None => {}
            // Nobody carries out a will then.
            Some(PausedBy::Peer) if !is_senders => {}
            Some(PausedBy::DiskFull | PausedBy::Peer) => {
                self.incoming.pauses.resume(Scope::Transfer);
                self.incoming.reporter.tell(News::PausedBy(None)).await;
            }
            Some(PausedBy::Us) => {
                self.incoming.reporter.event(TransferEvent::Pause).await;
                let action = SteerAction::Pause(PauseReason::Person);
                self.steer(Scope::Transfer, action).await?;
            }
        }
        for index in self.incoming.pauses.files() {
            self.show(index, FileState::Paused);
            let action = SteerAction::Pause(PauseReason::Person);
            self.steer(Scope::File(index), action).await?;
        }
        Ok(())
    }

    /// Finds the files by name that the person had paused before this program started.
    fn find_paused(&mut self) {
        let names = std::mem::take(&mut self.incoming.paused_before);
        if names.is_empty() {
            return;
        }
        let table = self.incoming.table.lock();
        for index in (0..table.len()).filter(|&index| names.contains(table.path(index))) {
            let scope = Scope::File(index);
            self.incoming.pauses.pause(scope, PausedBy::Us);
        }
    }

    pub(super) async fn on_steer(&mut self, steer: Steer) -> Result<(), Ended> {
        if let SteerAction::Pause(_) | SteerAction::Resume = steer.action {
            self.incoming.note_held();
        }
        if let Scope::File(index) = steer.scope
            && index >= self.incoming.table.lock().len()
        {
            // The sender's person was quicker than the list; there is nothing to remember.
            return Ok(());
        }
        match (steer.action, steer.scope) {
            (SteerAction::Pause(_), scope) => {
                self.pause(scope, PausedBy::Peer).await;
                Ok(())
            }
            (SteerAction::Resume, scope) => self.resume(scope).await,
            (SteerAction::Cancel, Scope::File(index)) => {
                self.give_up(index, SinkFault::Cancelled).await
            }
            (SteerAction::Cancel, Scope::Transfer) | (SteerAction::First, _) => Ok(()),
        }
    }

    pub(super) async fn pause(&mut self, scope: Scope, by: PausedBy) {
        self.incoming.pauses.pause(scope, by);
        match scope {
            Scope::Transfer => {
                self.incoming.keep_pause(by == PausedBy::Us);
                self.incoming.reporter.tell(News::PausedBy(Some(by))).await;
                self.incoming.reporter.event(TransferEvent::Pause).await;
            }
            Scope::File(index) => {
                if by == PausedBy::Us {
                    self.incoming.keep_file_pause(index, true);
                }
                self.show(index, FileState::Paused);
            }
        }
    }

    pub(super) async fn resume(&mut self, scope: Scope) -> Result<(), Ended> {
        let paused = self.incoming.pauses.all();
        let is_ours = |index| self.incoming.pauses.is_ours(index);
        let ours = matches!(scope, Scope::File(index) if is_ours(index));
        self.incoming.pauses.resume(scope);
        match (scope, paused) {
            (Scope::File(index), _) => {
                if ours {
                    self.incoming.keep_file_pause(index, false);
                }
                let active = self.active.contains_key(&index);
                let state = if active {
                    FileState::Active
                } else {
                    FileState::Waiting
                };
                self.show(index, state);
                Ok(())
            }
            (Scope::Transfer, None) => Ok(()),
            (Scope::Transfer, Some(_)) => {
                self.incoming.keep_pause(false);
                self.moved.1 = Instant::now();
                self.incoming.reporter.tell(News::PausedBy(None)).await;
                self.incoming.reporter.tell(News::Fault(None)).await;
                self.incoming.reporter.event(TransferEvent::Resume).await;
                self.feed().await
            }
        }
    }

    /// Lets the files come that waited for room on the disk.
    pub(super) async fn feed(&mut self) -> Result<(), Ended> {
        for index in std::mem::take(&mut self.starved) {
            let id = self.incoming.id;
            let partial = self.taken()?.partials.remove(&index);
            let partial = partial.unwrap_or_else(|| Partial::new(part_tag(id, index)));
            self.on_checked(index, partial).await?;
        }
        Ok(())
    }

    /// The disk is full: everything waits, both sides know, and it goes on by itself.
    pub(super) async fn on_full(&mut self, index: FileIndex) -> Result<(), Ended> {
        self.show(index, FileState::Waiting);
        self.starved.insert(index);
        self.full().await
    }

    pub(super) async fn full(&mut self) -> Result<(), Ended> {
        // A person's pause stays one: when it ends, the disk shows what it can take.
        if self.incoming.pauses.all().is_some() {
            return Ok(());
        }
        let needed = self.incoming.table.lock().bytes_left();
        let rules = self.taken()?.rules.clone();
        let free = rules.folder.space().map_or(0, |space| space.free);
        let missing = needed.saturating_sub(free).max(1);
        let folder = rules.folder.path().to_owned();
        let fault = Fault::DiskFull {
            folder,
            needed,
            free,
        };
        self.incoming.reporter.tell(News::Fault(Some(fault))).await;
        self.pause(Scope::Transfer, PausedBy::DiskFull).await;
        let action = SteerAction::Pause(PauseReason::DiskFull { missing });
        self.steer(Scope::Transfer, action).await
    }

    pub(super) async fn on_order(&mut self, order: Order) -> Result<(), Ended> {
        match order {
            Order::Pause(scope) => {
                self.pause(scope, PausedBy::Us).await;
                self.steer(scope, SteerAction::Pause(PauseReason::Person))
                    .await
            }
            // The sender's person has paused it, and cannot hear that somebody here wants it.
            Order::Resume(Scope::File(index))
                if !self.link.is_senders() && self.incoming.pauses.is_theirs(index) =>
            {
                Ok(())
            }
            Order::Resume(scope) => {
                self.steer(scope, SteerAction::Resume).await?;
                self.resume(scope).await
            }
            Order::Cancel(Scope::Transfer) => {
                self.steer(Scope::Transfer, SteerAction::Cancel).await?;
                Err(Ended::CancelledHere)
            }
            Order::Cancel(Scope::File(index)) if index < self.incoming.table.lock().len() => {
                self.give_up(index, SinkFault::Cancelled).await
            }
            // No such file: somebody typed a wrong number.
            Order::Cancel(Scope::File(_)) => Ok(()),
            Order::First(index) => self.steer(Scope::File(index), SteerAction::First).await,
            Order::Conflict(scope, answer) => self.on_answer(scope, answer).await,
            Order::Attach(_) | Order::Answer(_) | Order::Displace => Ok(()),
        }
    }

    /// Tells the sender of a session how far we are, and what has come from others.
    async fn tell_progress(&mut self) -> Result<(), Ended> {
        let Some(fed) = self.incoming.feed().map(Feed::counted) else {
            return Ok(());
        };
        // Also if nothing has come: that is what the sender must know.
        let done = self.incoming.table.lock().totals().bytes_done;
        self.send(ReceiverMessage::Progress { done, fed }).await
    }

    /// Tells the sender of a session what others may have of files that are not complete here.
    async fn tell_held(&mut self) -> Result<(), Ended> {
        if !self.link.knows_parts() {
            return Ok(());
        }
        match self.incoming.held_parts() {
            Some(parts) => self.send(ReceiverMessage::Holds(parts)).await,
            None => Ok(()),
        }
    }

    /// The sender may leave, or that could not be kept for the next run of this program.
    pub(super) async fn on_kept(&mut self, kept: Result<bool, JoinError>) -> Result<(), Ended> {
        match self.incoming.is_kept(kept.unwrap_or(false)) {
            Some(entries) => self.send(ReceiverMessage::CanGoOn(entries)).await,
            None => Ok(()),
        }
    }

    pub(super) async fn on_tick(&mut self) -> Result<(), Ended> {
        self.tell_progress().await?;
        self.tell_held().await?;
        if self.keeping.is_none() {
            self.keeping = self.incoming.keep_will();
        }
        self.tell_behind().await?;
        match self.incoming.pauses.all() {
            Some(PausedBy::DiskFull) => {
                let needed = self.incoming.table.lock().bytes_left();
                let rules = self.taken()?.rules.clone();
                let free = rules.folder.space().map_or(0, |space| space.free);
                if free >= needed.saturating_add(ROOM_RESERVE) {
                    self.steer(Scope::Transfer, SteerAction::Resume).await?;
                    self.resume(Scope::Transfer).await?;
                }
                Ok(())
            }
            Some(PausedBy::Us | PausedBy::Peer) => {
                self.moved.1 = Instant::now();
                Ok(())
            }
            None if self.link.path().kind.tells_pauses() => self.check_stall(),
            None => Ok(()),
        }
    }

    /// Something is wrong with whoever feeds us: the sender is told, in words that it knows.
    pub(super) async fn on_trouble(
        &mut self,
        feeder: TransferId,
        mut trouble: Trouble,
    ) -> Result<(), Ended> {
        self.incoming.note_trouble(feeder, trouble).await;
        if let Trouble::Withheld { .. } = trouble
            && !self.link.knows_parts()
        {
            trouble = Trouble::Slow;
        }
        self.send(ReceiverMessage::Trouble { feeder, trouble })
            .await
    }

    /// Tells the sender whether it is this disk that limits the speed, when that changes: the
    /// sender sees only that nothing is taken. A moment in which nothing was waited for says
    /// nothing.
    async fn tell_behind(&mut self) -> Result<(), Ended> {
        let now = self.incoming.progress.read();
        let (before, told) = self.waited;
        let is_behind = match now.limit_since(&before) {
            Limit::Disk => true,
            Limit::Unknown => told,
            Limit::Network | Limit::PeerDisk | Limit::Setting => false,
        };
        self.waited = (now, is_behind);
        if is_behind != told && self.link.knows_limits() {
            self.send(ReceiverMessage::Behind(is_behind)).await?;
        }
        Ok(())
    }

    pub(super) fn check_stall(&mut self) -> Result<(), Ended> {
        let moved = self.incoming.progress.read().moved;
        let pauses = &self.incoming.pauses;
        let moving = match self.active.is_empty() {
            false => {
                let mut files = self.active.iter();
                files.any(|(&index, file)| !file.compares && !pauses.has(index))
            }
            // Files may come, none does, and it is not this side that holds them up.
            true => self.is_owed_files() && !pauses.has_any(),
        };
        if moved != self.moved.0 || !moving {
            self.moved = (moved, Instant::now());
        }
        if self.moved.1.elapsed() > STALL_MAX {
            return Err(Ended::Lost("nothing has come for a minute".into()));
        }
        Ok(())
    }

    /// Whether the sender could send files at once, and nothing here has to happen first.
    pub(super) fn is_owed_files(&self) -> bool {
        let busy = self.delivering.is_some() || !self.ready.is_empty() || self.unchecked > 0;
        let table = self.incoming.table.lock();
        // What waits for the person here is nothing that the sender owes.
        !busy && table.settled() + table.conflicts().0 < self.planned
    }
}
