//! Pauses, cancels, stalls, and what people want.

use std::collections::BTreeSet;

use super::*;

impl Outgoing {
    /// Tells the node who paused, which remembers the pauses of our own person.
    pub(super) async fn tell_pause(&self, scope: Scope, by: Option<PausedBy>) {
        let news = match scope {
            Scope::Transfer => News::PausedBy(by),
            Scope::File(index) => News::PausedFile {
                index,
                paused: by == Some(PausedBy::Us),
            },
        };
        self.reporter.tell(news).await;
    }

    /// Pauses what the person had paused before this program started: all of it, and these files.
    pub async fn pause_again(&mut self, all: bool, files: &BTreeSet<String>) {
        if all {
            let pause = |p: &mut Pauses| p.pause(Scope::Transfer, PausedBy::Us);
            self.pauses.send_modify(pause);
            self.tell_pause(Scope::Transfer, Some(PausedBy::Us)).await;
        }
        if files.is_empty() {
            return;
        }
        let mut table = self.shared.table.lock();
        for index in 0..table.len() {
            if files.contains(table.path(index)) {
                let pause = |p: &mut Pauses| p.pause(Scope::File(index), PausedBy::Us);
                self.pauses.send_modify(pause);
                table.set_state(index, FileState::Paused);
            }
        }
    }
}

impl<L: Outbound> Run<'_, L> {
    pub(super) async fn on_steer(&mut self, steer: Steer) -> Result<(), Ended> {
        if let Scope::File(index) = steer.scope
            && index >= self.told
        {
            // Nothing that could be steered, and nothing to remember.
            return Ok(());
        }
        match steer.action {
            SteerAction::Pause(reason) => {
                let by = match reason {
                    PauseReason::Person => PausedBy::Peer,
                    PauseReason::DiskFull { .. } => PausedBy::DiskFull,
                };
                self.pause(steer.scope, by).await;
            }
            SteerAction::Resume => self.resume(steer.scope).await,
            SteerAction::Cancel => match steer.scope {
                Scope::Transfer => return Err(Ended::CancelledThere),
                Scope::File(index) => self.stop_file(index),
            },
            SteerAction::First => {
                if let Scope::File(index) = steer.scope {
                    self.put_first(index);
                }
            }
        }
        Ok(())
    }

    /// What the receiver paused is the receiver's to repeat over a new link, and what we did ours.
    pub(super) async fn repeat_file_pauses(&mut self) -> Result<(), Ended> {
        let mut theirs = Vec::new();
        let forget = |p: &mut Pauses| theirs = p.forget_theirs();
        self.transfer.pauses.send_modify(forget);
        for index in theirs {
            let mut table = self.transfer.shared.table.lock();
            table.set_state(index, FileState::Waiting);
        }
        let ours = self.transfer.pauses.borrow().ours();
        for index in ours {
            let action = SteerAction::Pause(PauseReason::Person);
            self.steer(Scope::File(index), action).await?;
        }
        Ok(())
    }

    pub(super) async fn pause(&mut self, scope: Scope, by: PausedBy) {
        self.transfer.pauses.send_modify(|p| p.pause(scope, by));
        match scope {
            Scope::Transfer => {
                self.transfer.tell_pause(scope, Some(by)).await;
                if self.accepted {
                    self.transfer.reporter.event(TransferEvent::Pause).await;
                }
            }
            Scope::File(index) => {
                if by == PausedBy::Us {
                    self.transfer.tell_pause(scope, Some(by)).await;
                    // Nobody gets it from the others meanwhile. That it can do without us again
                    // the receiver says when it goes on.
                    self.transfer.reporter.tell(News::GoesOn(false)).await;
                }
                self.transfer
                    .shared
                    .table
                    .lock()
                    .set_state(index, FileState::Paused);
            }
        }
    }

    pub(super) async fn resume(&mut self, scope: Scope) {
        let was_paused = self.transfer.paused_by().is_some();
        let is_ours = |index| self.transfer.pauses.borrow().is_ours(index);
        let ours = matches!(scope, Scope::File(index) if is_ours(index));
        self.transfer.pauses.send_modify(|p| p.resume(scope));
        if ours {
            self.transfer.tell_pause(scope, None).await;
        }
        match scope {
            Scope::Transfer if was_paused => {
                self.transfer.tell_pause(scope, None).await;
                if self.accepted {
                    self.transfer.reporter.event(TransferEvent::Resume).await;
                }
            }
            Scope::Transfer => {}
            Scope::File(index) => {
                if self.parked.remove(&index) {
                    self.queue.push_front(index, self.lane(index));
                }
                let state = match self.active.contains(index) {
                    true => FileState::Active,
                    false => FileState::Waiting,
                };
                self.transfer.shared.table.lock().set_state(index, state);
            }
        }
    }

    /// The receiver is told as soon as it knows the file; until it confirms, nothing is certain,
    /// because the file may be complete already.
    pub(super) async fn cancel_file(&mut self, index: FileIndex) -> Result<(), Ended> {
        if self.confirmed.has(index) || index >= self.transfer.shared.table.lock().len() {
            return Ok(());
        }
        self.stop_file(index);
        self.transfer.cancelled.insert(index);
        if index < self.startable {
            self.steer(Scope::File(index), SteerAction::Cancel).await?;
        }
        Ok(())
    }

    pub(super) async fn on_order(&mut self, order: Order) -> Result<(), Ended> {
        match order {
            Order::Pause(scope) => {
                self.pause(scope, PausedBy::Us).await;
                self.steer(scope, SteerAction::Pause(PauseReason::Person))
                    .await
            }
            Order::Resume(scope) => {
                self.resume(scope).await;
                self.steer(scope, SteerAction::Resume).await
            }
            Order::Cancel(Scope::Transfer) => {
                self.steer(Scope::Transfer, SteerAction::Cancel).await?;
                Err(Ended::CancelledHere)
            }
            Order::Cancel(Scope::File(index)) => self.cancel_file(index).await,
            Order::First(index) => {
                self.put_first(index);
                Ok(())
            }
            Order::Attach(paths) => {
                self.attach(paths);
                Ok(())
            }
            Order::Answer(_) | Order::Displace | Order::Conflict(..) => Ok(()),
        }
    }

    pub(super) async fn steer(&mut self, scope: Scope, action: SteerAction) -> Result<(), Ended> {
        self.send(SenderMessage::Steer(Steer { scope, action }))
            .await
    }

    pub(super) fn attach(&mut self, paths: Vec<PathBuf>) {
        let (sources, table) = (
            self.transfer.sources.clone(),
            self.transfer.shared.table.clone(),
        );
        self.scans
            .spawn_blocking(move || sources.add(&paths, &table));
    }

    pub(super) async fn on_listed(
        &mut self,
        listed: Result<Listed, tokio::task::JoinError>,
    ) -> Result<(), Ended> {
        self.transfer.reporter.tell(News::Manifest).await;
        let listed = listed.unwrap_or_default();
        let fault = match listed.failed.into_iter().next() {
            _ if listed.full => Some(Fault::Invalid {
                why: "some files were not added: one transfer cannot hold more".into(),
            }),
            Some((path, reason)) => Some(Fault::Source { path, reason }),
            None => None,
        };
        if fault.is_some() {
            self.transfer.reporter.tell(News::Fault(fault)).await;
        }
        let told = self.tell_entries().await;
        // Also if the link is gone: the next one tells them.
        self.transfer.shared.table.lock().end_attach();
        told
    }

    /// A receiver that takes nothing is as good as gone, though it answers.
    pub(super) fn check_stall(&mut self) -> Result<(), Ended> {
        let reading = self.transfer.shared.progress.read();
        // What comes from other receivers moves as well.
        let moved = reading.moved.saturating_add(reading.fed);
        // Comparing, a slow disk and the speed limit are no fault of the receiver.
        let moving = self.transfer.shared.progress.is_writing()
            && self.transfer.pauses.borrow().all().is_none();
        if moved != self.moved.0 || !moving {
            self.moved = (moved, Instant::now());
        }
        if self.moved.1.elapsed() > STALL_MAX {
            return Err(Ended::Lost("the other side takes nothing".into()));
        }
        Ok(())
    }
}
