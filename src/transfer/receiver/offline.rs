//! What people want of an incoming transfer while there is no link, and what of it the next run of
//! the program must know.

use super::*;
use crate::config::ConflictAnswer;
use crate::storage::journal::Record;
use crate::transfer::deliver::done;

impl Incoming {
    /// Carries out an order while there is no link. Returns whether the transfer is given up.
    pub async fn offline_order(&mut self, order: Order) -> bool {
        match order {
            Order::Pause(scope) => {
                self.pauses.pause(scope, PausedBy::Us);
                match scope {
                    Scope::Transfer => {
                        self.keep_pause(true);
                        self.reporter.tell(News::PausedBy(Some(PausedBy::Us))).await;
                    }
                    Scope::File(index) => {
                        self.table.lock().set_state(index, FileState::Paused);
                        self.keep_file_pause(index, true);
                    }
                }
            }
            Order::Resume(scope) => {
                self.pauses.resume_ours(scope);
                match scope {
                    Scope::Transfer => {
                        self.keep_pause(false);
                        let by = self.pauses.all();
                        self.reporter.tell(News::PausedBy(by)).await;
                    }
                    Scope::File(index) => {
                        if !self.pauses.has(index) {
                            self.table.lock().set_state(index, FileState::Waiting);
                        }
                        self.keep_file_pause(index, false);
                    }
                }
            }
            Order::Cancel(Scope::Transfer) | Order::Answer(Decision::Decline) => return true,
            // Nobody was asked yet, or has answered.
            Order::Displace => return self.taken.is_none(),
            Order::Cancel(Scope::File(index)) => {
                let outcome = Outcome::Failed(SinkFault::Cancelled);
                self.settle_file(index, outcome).await;
            }
            Order::Conflict(scope, answer) => {
                for index in self.answered(scope, answer) {
                    if answer == ConflictAnswer::Skip {
                        self.settle_file(index, Outcome::Skipped).await;
                    }
                }
            }
            Order::First(_) | Order::Attach(_) => {}
            Order::Answer(Decision::Accept { .. }) => {}
        }
        false
    }

    /// Remembers an answer. Gives back the entries that waited for it; what becomes of them is the
    /// caller's.
    pub(in crate::transfer) fn answered(
        &mut self,
        scope: Scope,
        answer: ConflictAnswer,
    ) -> Vec<FileIndex> {
        let Some(taken) = &mut self.taken else {
            return Vec::new();
        };
        let mut table = self.table.lock();
        let (entries, path) = match scope {
            Scope::Transfer => (table.undecided(), None),
            Scope::File(index) => (vec![index], Some(table.path(index).to_owned())),
        };
        let entries: Vec<FileIndex> = entries
            .into_iter()
            .filter(|&index| table.remove_rival(index))
            .collect();
        if path.is_some() && entries.is_empty() {
            // Another face was quicker.
            return entries;
        }
        for &index in &entries {
            let state = match self.pauses.has(index) {
                true => FileState::Paused,
                false => FileState::Waiting,
            };
            table.set_state(index, state);
        }
        taken.answers.insert(path.clone(), answer);
        taken.journal.append(&[Record::Answer { path, answer }]);
        entries
    }

    /// Settles an entry; the sender hears of it over the next link.
    async fn settle_file(&mut self, index: FileIndex, outcome: Outcome) {
        let receipt = Receipt {
            index,
            outcome,
            saved_as: None,
            hash: None,
        };
        let path = {
            let mut table = self.table.lock();
            if !table.settle(&receipt) {
                return;
            }
            table.path(index).to_owned()
        };
        let Some(taken) = &mut self.taken else {
            return;
        };
        taken.journal.append(&[done(path, &receipt)]);
        if let Some(partial) = taken.partials.remove(&index) {
            let _ = tokio::task::spawn_blocking(move || partial.discard()).await;
        }
    }

    /// Remembers for the next run whether the person paused all of it.
    pub(in crate::transfer) fn keep_pause(&mut self, paused: bool) {
        let Some(taken) = self.taken.as_ref().filter(|_| self.pause_kept != paused) else {
            return;
        };
        taken
            .journal
            .append(&[Record::Paused { path: None, paused }]);
        self.pause_kept = paused;
    }

    /// Remembers for the next run whether the person paused this file.
    pub(in crate::transfer) fn keep_file_pause(&mut self, index: FileIndex, paused: bool) {
        let path = self.table.lock().path(index).to_owned();
        if let Some(taken) = self.taken.as_ref().filter(|_| !path.is_empty()) {
            let path = Some(path);
            taken.journal.append(&[Record::Paused { path, paused }]);
        }
    }
}
