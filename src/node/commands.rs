//! What the node does with each command.

use std::path::PathBuf;

use tokio::sync::oneshot;

use super::api::{Command, Decision, Reply, Target};
use super::core::Core;
use super::dial::FIRST_CONTACT;
use super::outgoing::To;
use crate::fault::Fault;
use crate::peer::PeerId;
use crate::protocol::link_uri::LegacyAddress;
use crate::protocol::message::{Scope, TransferId};
use crate::storage::folder::Folder;
use crate::storage::store::{Accept, OutgoingRecord};
use crate::transfer::bookkeeper::unix_now;
use crate::transfer::control::Order;
use crate::transfer::state::TransferState;
use crate::transfer::status::Direction;

type Answer = oneshot::Sender<Result<Reply, Fault>>;
pub(super) type Replied = Result<Reply, Fault>;

pub(super) fn not_found(what: impl Into<String>) -> Fault {
    Fault::NotFound { what: what.into() }
}

impl Core {
    pub(super) async fn on_command(&mut self, command: Command, answer: Answer) {
        self.touch();
        let reply = match command {
            Command::SendFiles {
                to,
                paths,
                separate,
            } => self.send(to, paths, separate).await,
            Command::Attach { transfer, paths } => self.attach(transfer, paths).await,
            Command::Answer { transfer, decision } => self.answer(transfer, decision),
            Command::AnswerConflict {
                transfer,
                scope,
                answer,
            } => self.order(transfer, Order::Conflict(scope, answer)),
            Command::Attend => self.attend(true),
            Command::Leave => self.attend(false),
            Command::SendAgain { transfer, what } => self.send_again(transfer, what).await,
            Command::Pause { transfer, scope } => self.order(transfer, Order::Pause(scope)),
            Command::Resume { transfer, scope } => self.resume(transfer, scope).await,
            Command::Cancel { transfer, scope } => self.cancel(transfer, scope).await,
            Command::First { transfer, index } => self.order(transfer, Order::First(index)),
            Command::Files { transfer, query } => match self.book.get(transfer) {
                Some(entry) => Ok(Reply::Files(entry.table.lock().query(query))),
                None => Err(not_found("such transfer")),
            },
            Command::ClearFinished => {
                self.book.clear_finished();
                Ok(Reply::Done)
            }
            Command::Find(text) => self.find(&text).await,
            Command::AddPeer(target) => return self.add_peer(target, answer).await,
            Command::Trust { peer, accept } => self.trust(peer, accept).await,
            Command::Forget(peer) => {
                let known = self.records.forget(peer).await;
                self.enforce_blocks();
                if known {
                    Ok(Reply::Done)
                } else {
                    Err(not_found("such peer"))
                }
            }
            Command::Rename { peer, name } => self.rename(peer, name).await,
            Command::SetRateLimit(rate) => {
                self.limiter.set(rate);
                self.settings.rate_limit = rate;
                self.save_settings()
            }
            Command::SetFolder(folder) => self.set_folder(folder),
            Command::Expect(rule) => self.check_folder(&rule.folder).map(|()| {
                self.expected = Some(rule);
                Reply::Done
            }),
            Command::History { count } => return self.history(count, answer).await,
            Command::ClearHistory => {
                self.records.write(|store| store.clear_history()).await;
                Ok(Reply::Done)
            }
            Command::Text(command) => self.on_text_command(command).await,
            Command::Shutdown => {
                self.stopping = true;
                Ok(Reply::Done)
            }
        };
        let _ = answer.send(reply);
    }

    /// Somebody at this process's own face can be asked, or not any more.
    fn attend(&mut self, is_there: bool) -> Replied {
        let people = &self.people;
        self.attendance =
            is_there.then(|| self.attendance.take().unwrap_or_else(|| people.attend()));
        Ok(Reply::Done)
    }

    /// Hands an order to a transfer's task.
    fn order(&mut self, id: TransferId, order: Order) -> Replied {
        let entry = self
            .book
            .get(id)
            .ok_or_else(|| not_found("such transfer"))?;
        let Some(orders) = &entry.orders else {
            let why = match entry.state().is_final() {
                true => "this transfer is over",
                false => "this transfer is not running; resume it first",
            };
            return Err(Fault::Invalid { why: why.into() });
        };
        match orders.try_send(order) {
            Ok(()) => Ok(Reply::Done),
            Err(_) => Err(Fault::Invalid {
                why: "the transfer is ending or busy".into(),
            }),
        }
    }

    fn answer(&mut self, id: TransferId, decision: Decision) -> Replied {
        if let Decision::Accept {
            folder: Some(folder),
            ..
        } = &decision
        {
            self.check_folder(folder)?;
        }
        self.order(id, Order::Answer(decision))
    }

    async fn resume(&mut self, id: TransferId, scope: Scope) -> Replied {
        let entry = self
            .book
            .get(id)
            .ok_or_else(|| not_found("such transfer"))?;
        if entry.orders.is_some() || entry.state().is_final() {
            return self.order(id, Order::Resume(scope));
        }
        let paused = entry.is_paused_here();
        match entry.direction {
            Direction::Receiving => self.continue_incoming(id).await,
            Direction::Sending => match self.outgoing.remove(&id) {
                Some(record) => self.continue_outgoing(record).await,
                None => return Err(not_found("such transfer")),
            },
        }
        if paused {
            // It begins as it was left. (What the other side paused is not ours to resume.)
            self.order(id, Order::Resume(Scope::Transfer))?;
        }
        Ok(Reply::Transfer {
            id,
            attached: false,
        })
    }

    async fn cancel(&mut self, id: TransferId, scope: Scope) -> Replied {
        let entry = self
            .book
            .get(id)
            .ok_or_else(|| not_found("such transfer"))?;
        if entry.orders.is_none() && entry.state() == TransferState::Interrupted {
            // Left by an earlier run: its task is needed to clean up.
            self.resume(id, Scope::Transfer).await?;
        }
        self.order(id, Order::Cancel(scope))
    }

    async fn send(&mut self, to: Target, paths: Vec<PathBuf>, separate: bool) -> Replied {
        check_paths(&paths)?;
        let (to, typed) = self.whom(to).await?;
        let expect = to.expect();
        if let Some(id) = self.unfinished(expect, &typed, &paths) {
            let running = self
                .book
                .get(id)
                .is_some_and(|entry| entry.orders.is_some());
            // The peer may have moved since: what was typed now is where it is.
            if let Some(record) = self.outgoing.get_mut(&id) {
                record.target = typed;
            }
            if running {
                self.call_beside(to);
            } else {
                self.resume(id, Scope::Transfer).await?;
            }
            return Ok(Reply::Transfer {
                id,
                attached: running,
            });
        }
        if !separate
            && let Some(id) = self.running_to(expect, &typed)
            && self.attach(id, paths.clone()).await.is_ok()
        {
            return Ok(Reply::Transfer { id, attached: true });
        }
        let record = OutgoingRecord {
            transfer: random_id()?,
            peer: expect,
            peer_name: to.shown(),
            target: typed,
            paths,
            created: unix_now(),
            accepted: false,
        };
        let id = record.transfer;
        self.keep(record.clone()).await;
        self.start_outgoing(record, to);
        Ok(Reply::Transfer {
            id,
            attached: false,
        })
    }

    /// Whom files or a text go to, and what stands for it. Never this computer itself.
    pub(super) async fn whom(&self, to: Target) -> Result<(To, String), Fault> {
        let (to, typed) = match to {
            Target::Peer(peer) => (To::Peer(self.callee_of(peer)), peer.to_string()),
            Target::Text(text) => match self.recipient(&text).await? {
                // Its address alone means it: names are anybody's.
                To::Original(original) => {
                    let address = original.shown();
                    (To::Original(original), address)
                }
                peer @ To::Peer(_) => (peer, text.trim().to_owned()),
            },
        };
        match to.expect() == Some(self.me) {
            true => Err(Fault::Invalid {
                why: "that is this computer itself".into(),
            }),
            false => Ok((to, typed)),
        }
    }

    /// Connects to a peer for a transfer that waits for it elsewhere; it takes the connection.
    fn call_beside(&mut self, to: To) {
        let To::Peer(callee) = to else {
            return;
        };
        let connector = self.connector.clone();
        self.tasks.spawn(async move {
            let _ = callee.connect(&connector, FIRST_CONTACT).await;
        });
    }

    /// The unfinished transfer of the same paths to the same peer.
    fn unfinished(
        &self,
        expect: Option<PeerId>,
        typed: &str,
        paths: &[PathBuf],
    ) -> Option<TransferId> {
        let same = |record: &&OutgoingRecord| {
            let peer = expect.is_some() && record.peer == expect;
            (peer || record.target == typed) && record.paths == paths
        };
        let mut all = self.outgoing.values().filter(same);
        // Not one of only some of their files.
        all.find(|record| !self.is_selective(record.transfer))
            .map(|record| record.transfer)
    }

    fn running_to(&self, peer: Option<PeerId>, typed: &str) -> Option<TransferId> {
        let original = typed.parse::<LegacyAddress>().is_ok();
        let same_original = |id: &TransferId| {
            let record = self.outgoing.get(id);
            original && record.is_some_and(|record| record.target == typed)
        };
        let running = self.book.iter().find(|(id, entry)| {
            let same_peer = peer.is_some_and(|peer| entry.peer == Some(peer.into()));
            entry.direction == Direction::Sending
                && (same_peer || same_original(id))
                && entry.orders.is_some()
                && !entry.state().is_final()
                && !self.is_selective(*id)
        });
        running.map(|(id, _)| id)
    }

    async fn attach(&mut self, id: TransferId, paths: Vec<PathBuf>) -> Replied {
        check_paths(&paths)?;
        let entry = self
            .book
            .get(id)
            .ok_or_else(|| not_found("such transfer"))?;
        if entry.direction == Direction::Receiving {
            return Err(Fault::Invalid {
                why: "files can only be added when sending".into(),
            });
        }
        if self.is_selective(id) {
            return Err(Fault::Invalid {
                why: "this transfer sends some files again; send others by themselves".into(),
            });
        }
        let table = entry.table.clone();
        if !table.lock().begin_attach() {
            return Err(Fault::Invalid {
                why: "this transfer is over".into(),
            });
        }
        let ordered = self.order(id, Order::Attach(paths.clone()));
        match ordered {
            Ok(_) => {
                if let Some(record) = self.outgoing.get_mut(&id) {
                    record.paths.extend(paths);
                    let record = record.clone();
                    self.keep(record).await;
                }
                Ok(Reply::Transfer { id, attached: true })
            }
            Err(fault) => {
                table.lock().end_attach();
                Err(fault)
            }
        }
    }

    async fn add_peer(&mut self, target: Target, answer: Answer) {
        let callee = match target {
            Target::Peer(peer) => Ok(self.callee_of(peer)),
            Target::Text(text) => self.callee(&text).await,
        };
        let connector = self.connector.clone();
        // Takes seconds: the node goes on meanwhile. The connection itself is news to the node.
        self.tasks.spawn(async move {
            let reply = match callee {
                Ok(callee) => callee.connect(&connector, FIRST_CONTACT).await,
                Err(fault) => Err(fault),
            };
            let _ = answer.send(reply.map(|connection| Reply::Peer(connection.id())));
        });
    }

    async fn trust(&mut self, peer: PeerId, accept: Accept) -> Replied {
        let trusted = accept != Accept::Block;
        self.records
            .change(peer, |record| {
                record.trusted = trusted;
                record.accept = accept;
            })
            .await;
        self.enforce_blocks();
        if accept == Accept::Block {
            self.texts.end_questions_of(peer);
            self.end_transfers_from(peer).await;
        }
        Ok(Reply::Done)
    }

    /// What a blocked peer was sending ends.
    async fn end_transfers_from(&mut self, peer: PeerId) {
        let from_peer = self.book.iter().filter(|(_, entry)| {
            entry.direction == Direction::Receiving
                && entry.peer == Some(peer.into())
                && !entry.state().is_final()
        });
        let ids: Vec<TransferId> = from_peer.map(|(id, _)| id).collect();
        for id in ids {
            if let Err(fault) = self.cancel(id, Scope::Transfer).await {
                tracing::warn!(%fault, "a transfer of a blocked peer goes on");
            }
        }
    }

    async fn rename(&mut self, peer: PeerId, name: String) -> Replied {
        if self.records.peer(peer).is_none() {
            return Err(not_found("such peer"));
        }
        let name = name.trim().to_owned();
        let name = (!name.is_empty()).then_some(name);
        self.records
            .change(peer, |record| record.own_name = name)
            .await;
        Ok(Reply::Done)
    }

    fn set_folder(&mut self, folder: PathBuf) -> Replied {
        self.check_folder(&folder)?;
        let usable = Folder::open(&folder).and_then(|opened| opened.check_writable());
        if let Err(error) = usable {
            return Err(Fault::CannotWrite {
                path: folder,
                why: error.to_string(),
            });
        }
        self.settings.folder = folder;
        self.save_settings()
    }

    fn save_settings(&self) -> Replied {
        match self.settings.save(&self.paths) {
            Ok(()) => Ok(Reply::Done),
            Err(error) => Err(Fault::Internal {
                what: error.to_string(),
            }),
        }
    }

    async fn history(&mut self, count: u32, answer: Answer) {
        let found = self.records.ask(move |store| store.history(count)).await;
        self.tasks.spawn(async move {
            let lost = |_| Fault::Internal {
                what: "the history cannot be read".into(),
            };
            let _ = answer.send(found.await.map(Reply::History).map_err(lost));
        });
    }
}

fn check_paths(paths: &[PathBuf]) -> Result<(), Fault> {
    if paths.is_empty() {
        return Err(Fault::Invalid {
            why: "there is nothing to send".into(),
        });
    }
    match paths.iter().find(|path| !path.is_absolute()) {
        Some(path) => Err(Fault::Invalid {
            why: format!("\"{}\" is not a full path", path.display()),
        }),
        None => Ok(()),
    }
}

pub(super) fn random_id() -> Result<TransferId, Fault> {
    let mut id = [0; 16];
    let random = rustls::crypto::ring::default_provider().secure_random;
    random.fill(&mut id).map_err(|_| Fault::Internal {
        what: "no random numbers".into(),
    })?;
    Ok(TransferId(id))
}
