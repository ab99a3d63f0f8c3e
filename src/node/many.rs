//! Sending to several receivers, and steering them all at once.

use std::path::PathBuf;

use super::api::{Again, Reply, Target};
use super::commands::{Replied, random, random_id};
use super::core::Core;
use super::sending::{Recipient, check_paths};
use crate::fault::Fault;
use crate::otm::session::{MemberEnd, RECEIVERS_MAX, Session, end_of};
use crate::protocol::message::{Scope, TransferId};
use crate::transfer::bookkeeper::unix_now;
use crate::transfer::control::Order;
use crate::transfer::state::TransferState;

/// What can be done to one transfer or to all of a session.
#[derive(Debug, Clone, Copy)]
pub(super) enum Steer {
    Pause,
    Resume,
    Cancel,
}

impl Core {
    /// Sends the same to several receivers. Nothing begins before it is clear who they all are.
    pub(super) async fn start_new_otm_file_transfer(
        &mut self,
        peers: Vec<Target>,
        files: Vec<PathBuf>,
    ) -> Replied {
        check_paths(&files)?;
        let receivers = self.receivers(peers).await?;
        let known: Vec<Option<TransferId>> = receivers
            .iter()
            .map(|receiver| self.unfinished(receiver, &files))
            .collect();
        // Who asks for the same again means the session that there is.
        let going_on = known.iter().flatten().find_map(|id| self.sessions.of(*id));
        let session = match going_on {
            Some(session) => {
                let record = session.record();
                let is_in = |id: TransferId| record.members.iter().any(|m| m.transfer == id);
                let new = known.iter().filter(|known| !known.is_some_and(is_in));
                if record.members.len() + new.count() > RECEIVERS_MAX {
                    return Err(too_many());
                }
                record.session
            }
            None => {
                let session = Session::new(random_id()?, unix_now());
                let id = session.record().session;
                self.sessions.insert(session);
                id
            }
        };
        let mut begin = Vec::new();
        for (receiver, known) in receivers.into_iter().zip(known) {
            let transfer = match known {
                Some(transfer) => transfer,
                None => random_id()?,
            };
            // First of all: from the others it learns what is known of the files.
            self.join_session(session, transfer, &receiver.shown())
                .await;
            begin.push((transfer, receiver, known.is_some()));
        }
        let record = self.sessions.get(session).map(|s| s.record().clone());
        if let Some(record) = record {
            self.keep_session(record).await;
        }
        self.seat_originals(&begin)?;
        let mut transfers = Vec::new();
        for (transfer, receiver, known) in begin {
            if known {
                // It is ending at this moment, at worst.
                if let Err(fault) = self.go_on(transfer, receiver).await {
                    tracing::info!(%fault, "a receiver does not go on");
                }
            } else {
                self.begin(transfer, receiver, files.clone()).await;
            }
            transfers.push(transfer);
        }
        Ok(Reply::Session {
            id: session,
            transfers,
        })
    }

    /// Has originals that get all of it pass it on to each other, if there are several.
    fn seat_originals(&mut self, begin: &[(TransferId, Recipient, bool)]) -> Result<(), Fault> {
        let new = begin
            .iter()
            .filter(|(_, to, known)| !known && to.is_original());
        let new: Vec<TransferId> = new.map(|(transfer, ..)| *transfer).collect();
        let legacy = self.legacy.as_mut().filter(|_| new.len() > 1);
        if let Some(legacy) = legacy {
            let names = [random()?, random()?, random()?];
            let growing = legacy.plant(new, names);
            self.tasks.spawn(growing);
        }
        Ok(())
    }

    /// Finds out who is meant, each once.
    async fn receivers(&mut self, peers: Vec<Target>) -> Result<Vec<Recipient>, Fault> {
        if peers.is_empty() || peers.len() > RECEIVERS_MAX {
            return Err(too_many());
        }
        let mut receivers: Vec<Recipient> = Vec::new();
        for peer in peers {
            let receiver = self.addressed(peer).await?;
            if !receivers.iter().any(|known| known.is(&receiver)) {
                receivers.push(receiver);
            }
        }
        Ok(receivers)
    }

    async fn join_session(&mut self, session: TransferId, transfer: TransferId, name: &str) {
        let left = self.sessions.join(session, transfer, name);
        if let Some(entry) = self.book.get_mut(transfer) {
            entry.session = Some(session);
        }
        if let Some(record) = left {
            self.keep_session(record).await;
        }
    }

    /// The transfers of a session; `None` if there is no such session.
    fn transfers_of(&self, id: TransferId) -> Option<Vec<TransferId>> {
        let members = &self.sessions.get(id)?.record().members;
        Some(members.iter().map(|member| member.transfer).collect())
    }

    fn is_open(&self, id: TransferId) -> bool {
        self.book.is_open(id)
    }

    /// Pauses, resumes or cancels a transfer, one file of it, or all of a session.
    pub(super) async fn steer(&mut self, id: TransferId, scope: Scope, steer: Steer) -> Replied {
        let Some(transfers) = self.transfers_of(id) else {
            return self.steer_one(id, scope, steer).await;
        };
        if scope != Scope::Transfer {
            return Err(Fault::Invalid {
                why: "one file can only be steered for one receiver".into(),
            });
        }
        let mut outcome = Outcome::default();
        for transfer in transfers {
            if self.is_open(transfer) {
                outcome.note(self.steer_one(transfer, scope, steer).await);
            }
        }
        outcome.into_reply(Reply::Done)
    }

    async fn steer_one(&mut self, id: TransferId, scope: Scope, steer: Steer) -> Replied {
        match steer {
            Steer::Pause => self.order(id, Order::Pause(scope)),
            Steer::Resume => self.resume(id, scope).await,
            Steer::Cancel => self.cancel(id, scope).await,
        }
    }

    /// Adds files to a transfer, or to all of a session.
    pub(super) async fn attach_to(&mut self, id: TransferId, paths: Vec<PathBuf>) -> Replied {
        let Some(transfers) = self.transfers_of(id) else {
            return self.attach(id, paths).await;
        };
        let mut outcome = Outcome::default();
        for transfer in transfers {
            if self.is_open(transfer) {
                outcome.note(self.attach(transfer, paths.clone()).await);
            }
        }
        outcome.into_reply(Reply::Transfer { id, attached: true })
    }

    /// Sends again what a transfer was about, or to those of a session that did not get it.
    pub(super) async fn send_again_to(&mut self, id: TransferId, what: Again) -> Replied {
        let Some(transfers) = self.transfers_of(id) else {
            return self.send_again(id, what).await;
        };
        let mut outcome = Outcome::default();
        for transfer in transfers {
            let Some(entry) = self.book.get(transfer) else {
                continue;
            };
            let totals = entry.table.lock().totals();
            if end_of(entry.state(), totals.files_failed) != Some(MemberEnd::Incomplete) {
                continue;
            }
            let what = match entry.state() == TransferState::Completed {
                true => Again::Failed,
                false => what,
            };
            outcome.note(self.send_again(transfer, what).await);
        }
        outcome.into_reply(Reply::Transfer {
            id,
            attached: false,
        })
    }

    /// A transfer that is sent again takes the place of the old one in its session.
    pub(super) async fn replace_in_session(&mut self, old: TransferId, new: TransferId) {
        if let Some(session) = self.sessions.replace(old, new) {
            let record = session.record().clone();
            self.keep_session(record).await;
            self.book.remove(old);
        }
    }
}

fn too_many() -> Fault {
    Fault::Invalid {
        why: format!("files can go to 1 to {RECEIVERS_MAX} receivers at once"),
    }
}

/// What came of something that was asked of several transfers.
#[derive(Debug, Default)]
struct Outcome {
    done: bool,
    fault: Option<Fault>,
}

impl Outcome {
    fn note(&mut self, one: Replied) {
        match one {
            Ok(_) => self.done = true,
            Err(fault) => drop(self.fault.get_or_insert(fault)),
        }
    }

    /// It is done if it was done for one of them.
    fn into_reply(self, reply: Reply) -> Replied {
        match (self.done, self.fault) {
            (true, _) => Ok(reply),
            (false, Some(fault)) => Err(fault),
            (false, None) => Err(Fault::Invalid {
                why: "this transfer is over for every receiver".into(),
            }),
        }
    }
}
