//! The task of an outgoing transfer: lists the files, connects, and goes on over new links until
//! the transfer ends.

mod tree;
mod waits;

use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use self::waits::{HELD, RETRY_MIN};
use super::dial::{Callee, FIRST_CONTACT};
use super::legacy::{Original, Reached, deaf};
use crate::fault::{Fault, Trouble};
use crate::net::connection::PeerConnection;
use crate::net::connector::Connector;
use crate::net::tcp::Seat;
use crate::peer::{LegacyPeer, PeerId};
use crate::protocol::message::{Code, DeclineReason, TransferId};
use crate::storage::store::Wishes;
use crate::transfer::control::{News, Order, Reporter};
use crate::transfer::ended::Ended;
use crate::transfer::member::Whereabouts;
use crate::transfer::sender::Outgoing;
use crate::transfer::sources::{Listed, Sources};
use crate::transfer::state::TransferEvent;
use crate::transfer::table::SharedTable;

/// How long one attempt takes at most.
const ATTEMPT: Duration = Duration::from_secs(10);
/// A transfer that nobody has accepted yet is given up after so long without a connection.
const UNACCEPTED_PATIENCE: Duration = Duration::from_secs(60);

/// Who a transfer is with now, told to the node: see [`Contact`].
pub(super) type Contacts = mpsc::Sender<Contact>;

/// Whom an outgoing transfer has reached.
#[derive(Debug)]
pub(super) enum Contact {
    /// A peer with a key.
    Peer {
        /// The transfer.
        transfer: TransferId,
        /// The connection.
        connection: PeerConnection,
        /// Host and port as typed, to be bound to the key.
        typed: Option<String>,
    },
    /// An original.
    Original {
        /// The transfer.
        transfer: TransferId,
        /// Who it is, as it says.
        peer: LegacyPeer,
        /// What it calls itself.
        name: String,
    },
}

/// Whom a transfer is for.
#[derive(Debug, Clone)]
pub(super) enum To {
    /// A peer with a key, or whoever answers with one.
    Peer(Callee),
    /// An original. Only a person who says so makes a transfer go there.
    Original(Original),
}

/// A way there.
pub(super) enum Way {
    /// A connection to a peer with a key.
    Peer(PeerConnection),
    /// An original that knows us.
    Original(Box<Reached>),
}

impl To {
    /// What a person typed, for messages.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Peer(callee) => callee.shown.clone(),
            Self::Original(original) => original.shown(),
        }
    }

    /// Somebody has answered. Whatever answers there later must be the same.
    pub(super) fn met(&mut self, transfer: TransferId, connection: &PeerConnection) -> Contact {
        let mut typed = None;
        if let Self::Peer(callee) = self {
            typed = callee.host.as_ref().map(|_| callee.shown.clone());
            callee.expect = Some(connection.id());
        }
        Contact::Peer {
            transfer,
            connection: connection.clone(),
            typed,
        }
    }

    /// The key that it must have, if one is known.
    pub(super) fn expect(&self) -> Option<PeerId> {
        match self {
            Self::Peer(callee) => callee.expect,
            Self::Original(_) => None,
        }
    }

    /// The connection that is there already.
    fn pooled(&self, connector: &Connector) -> Option<PeerConnection> {
        match self {
            Self::Peer(callee) => connector.pooled(callee.expect?),
            Self::Original(_) => None,
        }
    }

    /// Waits until it appears in the network or moves there; for ever if it never does.
    /// Cancel-safe.
    async fn appears(&self) {
        match self {
            Self::Peer(callee) => callee.appears().await,
            // It is called where a person said that it is.
            Self::Original(_) => std::future::pending().await,
        }
    }

    /// Connects, or says in words why not. Cancel-safe.
    pub(super) async fn connect(
        &self,
        connector: &Connector,
        deadline: Duration,
    ) -> Result<Way, Fault> {
        match self {
            Self::Peer(callee) => Ok(Way::Peer(callee.connect(connector, deadline).await?)),
            Self::Original(original) => Ok(Way::Original(Box::new(original.reach().await?))),
        }
    }
}

/// Everything that the task of an outgoing transfer needs.
pub(super) struct OutgoingTask {
    /// Its id.
    pub(super) id: TransferId,
    /// The transfer itself.
    pub(super) outgoing: Outgoing,
    /// Its files.
    pub(super) table: SharedTable,
    /// Where they lie.
    pub(super) sources: Sources,
    /// What the person chose.
    pub(super) paths: Vec<PathBuf>,
    /// What the person wants of it from an earlier run.
    pub(super) wishes: Wishes,
    /// Whom to send to.
    pub(super) to: To,
    /// Whether it was accepted in an earlier run.
    pub(super) accepted: bool,
    /// Orders of people.
    pub(super) orders: mpsc::Receiver<Order>,
    /// Where news go.
    pub(super) reporter: Reporter,
    /// Who connects.
    pub(super) connector: Connector,
    /// Changes with each new connection, whoever dialled.
    pub(super) connected: watch::Receiver<u64>,
    /// Where new contacts are told.
    pub(super) contacts: Contacts,
    /// Its seat in a tree of originals that may form.
    pub(super) seat: Option<Seat>,
    /// The connection that the last link was made over.
    pub(super) last: Option<usize>,
}

/// The transfer is over, one way or another.
struct Over;

impl OutgoingTask {
    /// Works until the transfer ends or the node does.
    pub(super) async fn run(mut self) {
        if self.list().await.is_err() {
            return;
        }
        let mut lost_since = Instant::now();
        let mut wait = RETRY_MIN;
        // Who need not be there is called in vain as often as it takes.
        let mut first = !self.accepted && !self.wishes.patient;
        match self.by_tree().await {
            Ok(tried) => first &= !tried,
            Err(Over) => return,
        }
        loop {
            match self.connect(first).await {
                Ok(Some(way)) => {
                    first = false;
                    if self.wishes.patient && !self.accepted {
                        // It is there now.
                        self.reporter.tell(News::Fault(None)).await;
                    }
                    let since = Instant::now();
                    let moved = self.over(way).await;
                    let Ok(moved) = moved else {
                        return;
                    };
                    let held = since.elapsed() >= HELD;
                    // An offer waits for long, and its connection may break meanwhile.
                    if moved || held {
                        lost_since = Instant::now();
                    }
                    if moved && held {
                        wait = RETRY_MIN;
                    }
                }
                Ok(None) => {}
                Err(Over) => return,
            }
            if !self.accepted && !self.wishes.patient && lost_since.elapsed() > UNACCEPTED_PATIENCE
            {
                let peer = self.to.shown();
                return self.fail(Fault::PeerOffline { peer }).await;
            }
            wait = match self.pause(wait).await {
                Ok(next) => next,
                Err(Over) => return,
            };
        }
    }

    /// Lists the files. A transfer that nothing can be sent of fails.
    async fn list(&mut self) -> Result<(), Over> {
        let (sources, table) = (self.sources.clone(), self.table.clone());
        let paths = std::mem::take(&mut self.paths);
        let work = tokio::task::spawn_blocking(move || sources.add(&paths, &table));
        let listed: Listed = work.await.unwrap_or_default();
        self.reporter.tell(News::Manifest).await;
        let paused = self.wishes.paused;
        let paused_files = std::mem::take(&mut self.wishes.paused_files);
        self.outgoing.pause_again(paused, &paused_files).await;
        let empty = self.table.lock().is_empty();
        let fault = match listed.failed.into_iter().next() {
            _ if listed.full => Some(Fault::Invalid {
                why: "these are more files than one transfer can hold; send them in parts".into(),
            }),
            Some((path, reason)) => Some(Fault::Source { path, reason }),
            None if empty => Some(Fault::Invalid {
                why: "there is nothing to send".into(),
            }),
            None => None,
        };
        match fault {
            Some(fault) if empty || listed.full => {
                self.fail(fault).await;
                Err(Over)
            }
            // The others go; why this one does not stays visible.
            Some(fault) => {
                self.reporter.event(TransferEvent::Prepared).await;
                self.reporter.tell(News::Fault(Some(fault))).await;
                Ok(())
            }
            None => {
                self.reporter.event(TransferEvent::Prepared).await;
                Ok(())
            }
        }
    }

    /// A connection: the one that is there, one that the peer makes, or one that is dialled.
    /// `None` if there is none now.
    async fn connect(&mut self, first: bool) -> Result<Option<Way>, Over> {
        let deadline = if first { FIRST_CONTACT } else { ATTEMPT };
        loop {
            self.connected.mark_unchanged();
            if let Some(connection) = self.to.pooled(&self.connector) {
                return Ok(Some(Way::Peer(connection)));
            }
            let to = self.to.clone();
            tokio::select! {
                connected = to.connect(&self.connector, deadline) => match connected {
                    Ok(way) => return Ok(Some(way)),
                    Err(fault) if first || !may_pass(&fault) => {
                        self.fail(fault).await;
                        return Err(Over);
                    }
                    Err(fault) => {
                        let waits = self.wishes.patient && !self.accepted;
                        if waits || matches!(fault, Fault::Original { .. }) {
                            self.reporter.tell(News::Fault(Some(fault))).await;
                        }
                        return Ok(None);
                    }
                },
                // The peer was quicker.
                Ok(()) = self.connected.changed() => {}
                order = self.orders.recv() => self.offline(order).await?,
            }
        }
    }

    async fn offline(&mut self, order: Option<Order>) -> Result<(), Over> {
        let Some(order) = order else {
            self.leave().await;
            return Err(Over);
        };
        if self.outgoing.offline_order(order).await {
            self.reporter
                .tell(News::Fault(Some(Fault::Cancelled)))
                .await;
            self.reporter.event(TransferEvent::Cancel).await;
            return Err(Over);
        }
        Ok(())
    }

    /// The node ends. A transfer to an original ends with it, and is remembered as that.
    async fn leave(&mut self) {
        if let To::Original(_) = self.to {
            let kept = self.table.lock().whole_bytes();
            let (peer, trouble) = (self.to.shown(), Trouble::LeftSending { kept });
            self.fail(Fault::Original { peer, trouble }).await;
        }
    }

    /// Works over one way. Returns whether files may have moved.
    async fn over(&mut self, way: Way) -> Result<bool, Over> {
        match way {
            Way::Peer(connection) => self.over_connection(connection).await,
            Way::Original(reached) => self.over_original(*reached).await,
        }
    }

    async fn over_original(&mut self, reached: Reached) -> Result<bool, Over> {
        let name = reached.name.clone();
        let contact = Contact::Original {
            transfer: self.id,
            peer: reached.peer,
            name: name.clone(),
        };
        let _ = self.contacts.send(contact).await;
        // What has arrived over an earlier connection is not sent again.
        let settled = {
            let table = self.table.lock();
            (0..table.len()).filter_map(|i| table.receipt(i)).collect()
        };
        let deaf = deaf(name.clone(), reached.peer.addr);
        let link = reached.link(settled);
        let ended = self.outgoing.run(link, &mut self.orders).await;
        if ended == Ended::Declined(DeclineReason::NoAnswer) {
            return self.on_deaf(deaf).await;
        }
        self.accepted |= self.outgoing.was_accepted();
        self.on_ended(ended, name, None).await
    }

    /// An original took the connection and said nothing. What it had accepted before goes on when
    /// somebody has restarted it.
    async fn on_deaf(&mut self, fault: Fault) -> Result<bool, Over> {
        self.reporter.tell(News::Fault(Some(fault))).await;
        if self.accepted {
            self.reporter.event(TransferEvent::LinkLost).await;
            return Ok(false);
        }
        self.reporter.event(TransferEvent::Declined).await;
        Err(Over)
    }

    async fn over_connection(&mut self, connection: PeerConnection) -> Result<bool, Over> {
        let contact = self.to.met(self.id, &connection);
        let _ = self.contacts.send(contact).await;
        self.last = Some(connection.number());
        let mut addrs: Vec<_> = connection.remote_addr().into_iter().collect();
        addrs.extend(self.connector.whereabouts(connection.id()));
        self.outgoing.set_whereabouts(Whereabouts {
            peer: connection.id(),
            name: connection.name().to_owned(),
            addrs,
        });
        let head = self.table.lock().head(self.id);
        let link = match connection.offer(head).await {
            Ok(link) => link,
            Err(error) => {
                tracing::info!(%error, "the offer could not be made");
                self.reporter.event(TransferEvent::LinkLost).await;
                return Ok(false);
            }
        };
        let ended = self.outgoing.run(link, &mut self.orders).await;
        // Only new offers can be turned away like this.
        let ended = if self.accepted && ended == Ended::Declined(DeclineReason::Busy) {
            Ended::Lost("the receiver is busy".into())
        } else {
            ended
        };
        self.accepted |= self.outgoing.was_accepted();
        let name = connection.name().to_owned();
        self.on_ended(ended, name, Some(&connection)).await
    }

    async fn on_ended(
        &mut self,
        ended: Ended,
        peer: String,
        connection: Option<&PeerConnection>,
    ) -> Result<bool, Over> {
        match ended {
            Ended::Completed => self.reporter.event(TransferEvent::Finish).await,
            Ended::Declined(reason) => {
                let fault = Fault::Declined { peer, reason };
                self.reporter.tell(News::Fault(Some(fault))).await;
                self.reporter.event(TransferEvent::Declined).await;
            }
            Ended::CancelledHere => {
                self.reporter
                    .tell(News::Fault(Some(Fault::Cancelled)))
                    .await;
                self.reporter.event(TransferEvent::Cancel).await;
            }
            Ended::CancelledThere => {
                let fault = Fault::CancelledByPeer { peer };
                self.reporter.tell(News::Fault(Some(fault))).await;
                self.reporter.event(TransferEvent::Cancel).await;
            }
            Ended::Lost(why) => {
                tracing::info!(why, "the link is lost");
                let fault = self.lost(peer);
                self.reporter.tell(News::Fault(Some(fault))).await;
                self.reporter.event(TransferEvent::LinkLost).await;
                return Ok(self.outgoing.was_accepted());
            }
            Ended::Misbehaved(offence) => {
                if let Some(connection) = connection {
                    connection.close(Code::Offence);
                }
                let offence = offence.to_string();
                self.fail(Fault::Misbehaved { peer, offence }).await;
            }
        }
        Err(Over)
    }

    /// What a lost connection means: an original continues nothing.
    fn lost(&self, peer: String) -> Fault {
        let table = self.table.lock();
        let (kept, total) = (table.totals().bytes_done, table.totals().bytes);
        match &self.to {
            To::Peer(_) => Fault::Lost { peer, kept, total },
            To::Original(_) => {
                let kept = table.whole_bytes();
                let trouble = Trouble::Lost { kept };
                Fault::Original { peer, trouble }
            }
        }
    }

    async fn fail(&self, fault: Fault) {
        self.reporter.tell(News::Fault(Some(fault))).await;
        self.reporter.event(TransferEvent::Fail).await;
    }
}

/// Whether trying again later may help.
fn may_pass(fault: &Fault) -> bool {
    !matches!(
        fault,
        Fault::IdentityChanged { .. } | Fault::Refused { .. } | Fault::Version { .. }
    )
}
