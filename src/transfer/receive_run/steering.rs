//! Pauses, full disks, stalls, and what people want.

use tokio::time::Instant;

use super::{ROOM_RESERVE, Run, STALL_MAX};
use crate::fault::Fault;
use crate::net::link::Inbound;
use crate::protocol::message::{FileIndex, PauseReason, Scope, SinkFault, Steer, SteerAction};
use crate::transfer::control::{News, Order};
use crate::transfer::ended::Ended;
use crate::transfer::partial::Partial;
use crate::transfer::plan::part_tag;
use crate::transfer::state::TransferEvent;
use crate::transfer::status::{FileState, PausedBy};

impl<L: Inbound> Run<'_, L> {
    /// A pause outlives the link that it was made on.
    pub(super) async fn repeat_pause(&mut self) -> Result<(), Ended> {
        match self.incoming.pauses.all() {
            None => Ok(()),
            // The sender's pause is the sender's to repeat; of the disk we see for ourselves.
            Some(PausedBy::DiskFull | PausedBy::Peer) => {
                self.incoming.pauses.resume(Scope::Transfer);
                self.incoming.reporter.tell(News::PausedBy(None)).await;
                Ok(())
            }
            Some(PausedBy::Us) => {
                self.incoming.reporter.event(TransferEvent::Pause).await;
                self.steer(Scope::Transfer, SteerAction::Pause(PauseReason::Person))
                    .await
            }
        }
    }

    pub(super) async fn on_steer(&mut self, steer: Steer) -> Result<(), Ended> {
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
                self.incoming.reporter.tell(News::PausedBy(Some(by))).await;
                self.incoming.reporter.event(TransferEvent::Pause).await;
            }
            Scope::File(index) => self
                .incoming
                .table
                .lock()
                .set_state(index, FileState::Paused),
        }
    }

    pub(super) async fn resume(&mut self, scope: Scope) -> Result<(), Ended> {
        let paused = self.incoming.pauses.all();
        self.incoming.pauses.resume(scope);
        match (scope, paused) {
            (Scope::File(index), _) => {
                let active = self.active.contains_key(&index);
                let state = if active {
                    FileState::Active
                } else {
                    FileState::Waiting
                };
                self.incoming.table.lock().set_state(index, state);
                Ok(())
            }
            (Scope::Transfer, None) => Ok(()),
            (Scope::Transfer, Some(_)) => {
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
            Order::Attach(_) | Order::Answer(_) => Ok(()),
        }
    }

    pub(super) async fn on_tick(&mut self) -> Result<(), Ended> {
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
            None => self.check_stall(),
        }
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
        !busy && self.incoming.table.lock().settled() < self.planned
    }
}
