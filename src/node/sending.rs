//! Sending to one receiver: new, continued, or added to what is running.

use std::path::PathBuf;

use super::api::{Reply, Target};
use super::commands::{Replied, not_found, random_id};
use super::core::Core;
use super::dial::FIRST_CONTACT;
use super::outgoing::To;
use crate::fault::Fault;
use crate::peer::PeerId;
use crate::protocol::link_uri::LegacyAddress;
use crate::protocol::message::{Scope, TransferId};
use crate::storage::store::{OutgoingRecord, Wishes};
use crate::transfer::bookkeeper::unix_now;
use crate::transfer::control::Order;
use crate::transfer::status::Direction;

/// To whom files go, as far as that is known before anybody is called.
pub(super) struct Recipient {
    to: To,
    /// As typed.
    typed: String,
}

impl Recipient {
    fn expect(&self) -> Option<PeerId> {
        self.to.expect()
    }

    /// Whether it is an original.
    pub(super) fn is_original(&self) -> bool {
        matches!(self.to, To::Original(_))
    }

    /// What to call it before it has said its name.
    pub(super) fn shown(&self) -> String {
        self.to.shown()
    }

    /// Whether both are the same, as far as can be said.
    pub(super) fn is(&self, other: &Self) -> bool {
        let key = self.expect();
        (key.is_some() && key == other.expect()) || self.typed == other.typed
    }

    fn is_of(&self, record: &OutgoingRecord) -> bool {
        let key = self.expect();
        (key.is_some() && record.peer == key) || record.target == self.typed
    }
}

impl Core {
    pub(super) async fn send(
        &mut self,
        to: Target,
        paths: Vec<PathBuf>,
        separate: bool,
    ) -> Replied {
        check_paths(&paths)?;
        let recipient = self.addressed(to).await?;
        if let Some(id) = self.unfinished(&recipient, &paths) {
            let attached = self.go_on(id, recipient).await?;
            return Ok(Reply::Transfer { id, attached });
        }
        if !separate
            && let Some(id) = self.running_to(&recipient)
            && self.attach(id, paths.clone()).await.is_ok()
        {
            return Ok(Reply::Transfer { id, attached: true });
        }
        let id = random_id()?;
        self.begin(id, recipient, paths).await;
        Ok(Reply::Transfer {
            id,
            attached: false,
        })
    }

    /// Sends to whoever may come later.
    pub(super) async fn send_when_online(&mut self, to: Target, paths: Vec<PathBuf>) -> Replied {
        check_paths(&paths)?;
        let recipient = self.addressed(to).await?;
        if let Some(id) = self.unfinished(&recipient, &paths) {
            let attached = self.go_on(id, recipient).await?;
            return Ok(Reply::Transfer { id, attached });
        }
        let id = random_id()?;
        let wishes = Wishes {
            patient: true,
            ..Wishes::default()
        };
        self.put_wishes(id, wishes).await;
        self.begin(id, recipient, paths).await;
        Ok(Reply::Transfer {
            id,
            attached: false,
        })
    }

    /// Finds out who is meant.
    pub(super) async fn addressed(&self, to: Target) -> Result<Recipient, Fault> {
        let (to, typed) = self.whom(to).await?;
        Ok(Recipient { to, typed })
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

    /// Begins a transfer.
    pub(super) async fn begin(
        &mut self,
        id: TransferId,
        recipient: Recipient,
        paths: Vec<PathBuf>,
    ) {
        let record = OutgoingRecord {
            transfer: id,
            peer: recipient.expect(),
            peer_name: recipient.shown(),
            target: recipient.typed,
            paths,
            created: unix_now(),
            accepted: false,
        };
        self.keep(record.clone()).await;
        self.start_outgoing(record, recipient.to);
    }

    /// Goes on with a transfer that is not over. Returns whether it was running already.
    pub(super) async fn go_on(
        &mut self,
        id: TransferId,
        recipient: Recipient,
    ) -> Result<bool, Fault> {
        let entry = self.book.get(id);
        let running = entry.is_some_and(|entry| entry.orders.is_some());
        let paused = entry.is_some_and(|entry| entry.is_paused_here());
        // The peer may have moved since: what was typed now is where it is.
        if let Some(record) = self.outgoing.get_mut(&id) {
            record.target = recipient.typed;
        }
        if running {
            if paused {
                // Whoever sends it once more wants it to go on.
                self.order(id, Order::Resume(Scope::Transfer))?;
            }
            self.call_beside(recipient.to);
        } else {
            self.resume(id, Scope::Transfer).await?;
        }
        Ok(running)
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
    pub(super) fn unfinished(
        &self,
        recipient: &Recipient,
        paths: &[PathBuf],
    ) -> Option<TransferId> {
        let same = |record: &&OutgoingRecord| recipient.is_of(record) && record.paths == paths;
        let mut all = self.outgoing.values().filter(same);
        // Not one of only some of their files.
        all.find(|record| !self.is_selective(record.transfer))
            .map(|record| record.transfer)
    }

    /// The transfer that files to this receiver are added to. Not one of several receivers: all of
    /// them get the same.
    fn running_to(&self, recipient: &Recipient) -> Option<TransferId> {
        let original = recipient.typed.parse::<LegacyAddress>().is_ok();
        let same_original = |id: &TransferId| {
            let record = self.outgoing.get(id);
            original && record.is_some_and(|record| record.target == recipient.typed)
        };
        let peer = recipient.expect();
        let running = self.book.iter().find(|(id, entry)| {
            let same_peer = peer.is_some_and(|peer| entry.peer == Some(peer.into()));
            entry.direction == Direction::Sending
                && (same_peer || same_original(id))
                && entry.session.is_none()
                && entry.orders.is_some()
                && !entry.state().is_final()
                && !self.is_selective(*id)
        });
        running.map(|(id, _)| id)
    }

    /// Adds files to a transfer.
    pub(super) async fn attach(&mut self, id: TransferId, paths: Vec<PathBuf>) -> Replied {
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
}

/// Paths that can be sent, as far as their form goes.
pub(super) fn check_paths(paths: &[PathBuf]) -> Result<(), Fault> {
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
