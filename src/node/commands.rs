//! What the node does with each command.

use tokio::sync::oneshot;

use super::api::{Command, Decision, ReceiveRule, Reply, Target};
use super::core::Core;
use super::dial::FIRST_CONTACT;
use super::many::Steer;
use super::near::is_only_an_address;
use crate::fault::Fault;
use crate::otm::session::RECEIVERS_MAX;
use crate::peer::PeerId;
use crate::protocol::message::{NAME_LEN_MAX, Scope, TransferId};
use crate::storage::store::{Accept, GroupRecord};
use crate::text::Shown;
use crate::transfer::control::Order;
use crate::transfer::state::TransferState;
use crate::transfer::status::Direction;

/// Most groups.
const GROUPS_MAX: usize = 256;

pub(super) type Answer = oneshot::Sender<Result<Reply, Fault>>;
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
            Command::SendWhenOnline { to, paths } => self.send_when_online(to, paths).await,
            Command::SendToMany { to, paths } => self.start_new_otm_file_transfer(to, paths).await,
            Command::Attach { transfer, paths } => self.attach_to(transfer, paths).await,
            Command::Answer { transfer, decision } => self.answer(transfer, decision),
            Command::AnswerConflict {
                transfer,
                scope,
                answer,
            } => self.order(transfer, Order::Conflict(scope, answer)),
            Command::Attend => self.attend(true),
            Command::Leave => self.attend(false),
            Command::SendAgain { transfer, what } => self.send_again_to(transfer, what).await,
            Command::TrustInstead { transfer, key } => self.trust_instead(transfer, key).await,
            Command::Pause { transfer, scope } => self.steer(transfer, scope, Steer::Pause).await,
            Command::Resume { transfer, scope } => self.steer(transfer, scope, Steer::Resume).await,
            Command::Cancel { transfer, scope } => self.steer(transfer, scope, Steer::Cancel).await,
            Command::First { transfer, index } => self.order(transfer, Order::First(index)),
            Command::Files { transfer, query } => match self.book.get(transfer) {
                Some(entry) => Ok(Reply::Files(entry.table.lock().query(query))),
                None => Err(not_found("such transfer")),
            },
            Command::ClearFinished => self.clear_finished(),
            Command::Dismiss(transfer) => self.dismiss(transfer),
            Command::NewIdentity => self.new_identity().await,
            Command::Find(text) => self.find(&text).await,
            Command::AddPeer(target) => return self.add_peer(target, answer).await,
            Command::Trust { peer, accept } => self.trust(peer, accept).await,
            Command::SetPeerFolder { peer, folder } => self.set_peer_folder(peer, folder).await,
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
            Command::SetGroup(group) => self.set_group(group).await,
            Command::CheckNetwork { call } => return self.check_network(call, answer).await,
            Command::UseRelays(relays) => self.use_relays(&relays),
            Command::Set(setting) => self.set(setting),
            Command::Expect(rule) => self.expect(rule),
            Command::ExpectNoMore(rule) => self.expect_no_more(&rule),
            Command::History { count } => return self.history(count, answer).await,
            Command::ClearHistory => self.clear_history().await,
            Command::Text(command) => self.on_text_command(command).await,
            Command::Code(command) => return self.on_code_command(command, answer),
            Command::FinishAndEnd => {
                self.finishing = true;
                Ok(Reply::Done)
            }
            Command::Shutdown => {
                self.stopping = true;
                Ok(Reply::Done)
            }
        };
        let _ = answer.send(reply);
    }

    fn expect(&mut self, rule: ReceiveRule) -> Replied {
        self.check_folder(&rule.folder)?;
        self.expected = Some(rule);
        Ok(Reply::Done)
    }

    fn expect_no_more(&mut self, rule: &ReceiveRule) -> Replied {
        self.expected.take_if(|expected| expected == rule);
        Ok(Reply::Done)
    }

    /// Somebody at this process's own face can be asked, or not any more.
    fn attend(&mut self, is_there: bool) -> Replied {
        let people = &self.people;
        self.attendance =
            is_there.then(|| self.attendance.take().unwrap_or_else(|| people.attend()));
        Ok(Reply::Done)
    }

    /// Hands an order to a transfer's task.
    pub(super) fn order(&mut self, id: TransferId, order: Order) -> Replied {
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

    pub(super) async fn resume(&mut self, id: TransferId, scope: Scope) -> Replied {
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

    pub(super) async fn cancel(&mut self, id: TransferId, scope: Scope) -> Replied {
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
        if self.records.group(&name).is_some() {
            return Err(Fault::Invalid {
                why: format!("there is a group called {}", Shown(&name)),
            });
        }
        let name = (!name.is_empty()).then_some(name);
        self.records
            .change(peer, |record| record.own_name = name)
            .await;
        Ok(Reply::Done)
    }

    async fn set_group(&mut self, group: GroupRecord) -> Replied {
        let name = group.name.trim().to_owned();
        if !group.members.is_empty() {
            self.check_group(&name, &group.members)?;
        } else if self.records.group(&name).is_none() {
            return Err(not_found("such group"));
        }
        let mut members: Vec<PeerId> = Vec::new();
        for member in group.members {
            if !members.contains(&member) {
                members.push(member);
            }
        }
        self.records.set_group(GroupRecord { name, members }).await;
        Ok(Reply::Done)
    }

    /// Whether a group can be called so and have these members.
    fn check_group(&self, name: &str, members: &[PeerId]) -> Result<(), Fault> {
        let invalid = |why: String| Err(Fault::Invalid { why });
        if name.is_empty() || name.len() > NAME_LEN_MAX || is_only_an_address(name) {
            return invalid("that is no name for a group".into());
        }
        let new = self.records.group(name).is_none();
        let full = new && self.records.groups().len() >= GROUPS_MAX;
        if members.len() > RECEIVERS_MAX || full {
            return invalid("that is too many".into());
        }
        if members.contains(&self.me) {
            return invalid("that is this computer itself".into());
        }
        let wanted = name.to_lowercase();
        let mut peers = self.records.all().filter(|(_, record)| {
            let vouched = record.trusted || record.own_name.is_some();
            vouched && record.name().to_lowercase() == wanted
        });
        match peers.next() {
            Some(_) => invalid(format!("there is a peer called {}", Shown(name))),
            None => Ok(()),
        }
    }

    async fn clear_history(&mut self) -> Replied {
        self.records.write(|store| store.clear_history()).await;
        Ok(Reply::Done)
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

pub(super) fn random_id() -> Result<TransferId, Fault> {
    Ok(TransferId(random()?))
}

/// Bytes that nobody can guess.
pub(super) fn random<const N: usize>() -> Result<[u8; N], Fault> {
    let mut bytes = [0; N];
    let random = rustls::crypto::ring::default_provider().secure_random;
    random.fill(&mut bytes).map_err(|_| Fault::Internal {
        what: "no random numbers".into(),
    })?;
    Ok(bytes)
}
