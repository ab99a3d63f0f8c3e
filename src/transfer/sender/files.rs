//! Files in flight: which one is next, and what came of each.

use tokio::task::{Id, JoinError};

use super::*;
use crate::transfer::send_file::is_remembered;

impl<L: Outbound> Run<'_, L> {
    /// Keeps enough files in flight.
    pub(super) fn start_files(&mut self) {
        if self.startable != self.planned || self.is_held() {
            return;
        }
        while let Some(index) = self.next_file() {
            let (path, size) = {
                let mut table = self.transfer.shared.table.lock();
                if self.confirmed.has(index) || self.transfer.cancelled.contains(&index) {
                    continue;
                }
                table.set_state(index, FileState::Active);
                (
                    table.path(index).to_owned(),
                    table.file_size(index).unwrap_or(0),
                )
            };
            let local = self
                .transfer
                .sources
                .local(index, &path)
                .unwrap_or_default();
            let job = Job {
                index,
                path: local,
                held: self.held.remove(&index).unwrap_or_default(),
                priority: i32::from(self.transfer.first.contains(&index)),
                inline: self.asked_again.contains(&index),
            };
            let (opener, shared) = (self.link.opener(), self.transfer.shared.clone());
            let abort = self
                .tasks
                .spawn(async move { (index, send_file(job, opener, shared).await) });
            self.active.insert(index, abort, size);
        }
    }

    /// Takes the next file that there is room for out of the queue.
    pub(super) fn next_file(&mut self) -> Option<FileIndex> {
        let pauses = self.transfer.pauses.borrow();
        if pauses.all().is_some() {
            return None;
        }
        // Those that wait for a person must not stand in the way of those behind them.
        for lane in Lane::ALL {
            while let Some(paused) = self.queue.front(lane).filter(|&index| pauses.has(index)) {
                self.queue.pop_front(lane);
                self.parked.insert(paused);
            }
        }
        let moving = self.active.moving(&pauses);
        let lane = self.queue.next_lane(|lane, index| {
            let is_first = lane == Lane::Large && self.transfer.first.contains(&index);
            is_first || moving.has_place(lane)
        })?;
        self.queue.pop_front(lane)
    }

    /// Where an entry waits for its turn.
    pub(super) fn lane(&self, index: FileIndex) -> Lane {
        let size = self.transfer.shared.table.lock().file_size(index);
        lane_of(size.unwrap_or(0))
    }

    pub(super) async fn on_sent(
        &mut self,
        joined: Result<(Id, (FileIndex, Sent)), JoinError>,
    ) -> Result<(), Ended> {
        let (task, (index, sent)) = match joined {
            Ok(done) => done,
            Err(error) if error.is_cancelled() => return Ok(()),
            Err(error) => {
                tracing::error!(%error, "sending a file panicked");
                return Err(Ended::Lost("a fault of this program".into()));
            }
        };
        if !self.active.ended(index, task) {
            // It was given up as it ended; another one may have begun.
            return Ok(());
        }
        match sent {
            Sent::Whole(held) => {
                if self.may_be_in_doubt(index, &held) && !self.confirmed.has(index) {
                    self.in_doubt.insert(index, held);
                }
                for group in self.again.remove(&index).unwrap_or_default() {
                    self.on_again(index, group)?;
                }
                Ok(())
            }
            Sent::Failed(reason) => self.give_up(index, reason).await,
            Sent::Stopped => Ok(()),
            Sent::Link(error) => Err(error.into()),
        }
    }

    /// Whether it matters what the receiver should have of a file if it wants a part of it again:
    /// then the rest need not go again, and a hash that others know may be wrong.
    fn may_be_in_doubt(&self, index: FileIndex, held: &Held) -> bool {
        let shared = &self.transfer.shared;
        let size = || shared.table.lock().file_size(index).unwrap_or(0);
        held.groups.len() > 1 || (shared.known.is_some() && is_remembered(size()))
    }

    pub(super) async fn give_up(
        &mut self,
        index: FileIndex,
        reason: SourceFault,
    ) -> Result<(), Ended> {
        tracing::info!(?reason, index, "a file cannot be sent");
        self.send(SenderMessage::FileFailed { index, reason }).await
    }

    pub(super) fn stop_file(&mut self, index: FileIndex) {
        self.active.abort(index);
        self.queue.remove(index);
        self.parked.remove(&index);
    }

    pub(super) fn put_first(&mut self, index: FileIndex) {
        self.transfer.first.insert(index);
        if self.queue.remove(index) {
            self.queue.push_front(index, self.lane(index));
        }
    }

    /// A file that was held, stopped or lost may be sent (again).
    pub(super) fn release(&mut self, index: FileIndex) -> Result<(), Ended> {
        if index >= self.planned {
            return Err(Ended::Misbehaved(Offence::NoSuchEntry));
        }
        self.in_doubt.remove(&index);
        self.again.remove(&index);
        // The receiver has given that stream up, if there is one.
        self.active.abort(index);
        self.set_done_from_held(index);
        if self.transfer.first.contains(&index) {
            self.queue.push_front(index, self.lane(index));
        } else {
            self.queue.push_back(index, self.lane(index));
        }
        Ok(())
    }

    pub(super) fn set_done_from_held(&mut self, index: FileIndex) {
        let mut table = self.transfer.shared.table.lock();
        // Progress counts each group once, when it is sent or found to be there already.
        if !matches!(table.state(index), Some(FileState::Settled(_))) {
            table.set_done(index, 0);
        }
    }

    pub(super) fn on_again(&mut self, index: FileIndex, group: u32) -> Result<(), Ended> {
        let size = self.transfer.shared.table.lock().file_size(index);
        let Some(size) = size.filter(|_| index < self.planned) else {
            return Err(Ended::Misbehaved(Offence::NoSuchEntry));
        };
        // A file that grew since the offer has more groups; the receiver knows no more of it than
        // its last stream said, which cannot be much more.
        if group >= group_count(size.saturating_mul(2)).saturating_add(GROWN_GROUPS_MAX) {
            return Err(Ended::Misbehaved(Offence::WrongGroup));
        }
        self.asked_again.insert(index);
        if self.active.contains(index) {
            let groups = self.again.entry(index).or_default();
            if groups.len() >= GROUPS_AGAIN_MAX {
                return Err(Ended::Misbehaved(Offence::WrongGroup));
            }
            groups.push(group);
            return Ok(());
        }
        let held = self
            .in_doubt
            .remove(&index)
            .or_else(|| self.held.remove(&index));
        let mut held = held.unwrap_or_default();
        held.forget(group);
        if let (Some(known), Some(stamp)) = (&self.transfer.shared.known, held.stamp) {
            known.forget(stamp, group);
        }
        self.held.insert(index, held);
        self.queue.push_front(index, self.lane(index));
        Ok(())
    }
}

fn lane_of(size: u64) -> Lane {
    if size > GROUP_LEN {
        Lane::Large
    } else {
        Lane::Small
    }
}
