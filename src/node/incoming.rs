//! The task of an incoming transfer: receives over the links that the sender makes, and calls the
//! sender when none comes.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::dial::Callee;
use crate::fault::Fault;
use crate::net::connector::Connector;
use crate::net::transfer_link::QuicInbound;
use crate::peer::PeerId;
use crate::protocol::message::Code;
use crate::transfer::control::{News, Order, Reporter};
use crate::transfer::ended::Ended;
use crate::transfer::receiver::Incoming;
use crate::transfer::state::TransferEvent;
use crate::transfer::table::SharedTable;

/// Links that may wait: a sender makes a new one only after it gave up the one before.
pub(super) const LINKS_MAX: usize = 2;
/// Waits between attempts to call the sender.
const RETRY_MIN: Duration = Duration::from_millis(250);
/// See [`RETRY_MIN`].
const RETRY_MAX: Duration = Duration::from_secs(30);
/// How long one attempt takes at most.
const ATTEMPT: Duration = Duration::from_secs(10);
/// An offer that was not accepted and whose sender is gone is forgotten after so long.
const UNACCEPTED_PATIENCE: Duration = Duration::from_secs(30);

/// Everything that the task of an incoming transfer needs.
pub(super) struct IncomingTask {
    /// The transfer itself.
    pub(super) incoming: Incoming,
    /// The sender.
    pub(super) peer: PeerId,
    /// Its files.
    pub(super) table: SharedTable,
    /// Name of the sender.
    pub(super) peer_name: String,
    /// Where the sender may be.
    pub(super) callee: Callee,
    /// Links that the sender makes.
    pub(super) links: mpsc::Receiver<QuicInbound>,
    /// Orders of people.
    pub(super) orders: mpsc::Receiver<Order>,
    /// Where news go.
    pub(super) reporter: Reporter,
    /// Who connects.
    pub(super) connector: Connector,
    /// Whether it was accepted in an earlier run.
    pub(super) accepted: bool,
}

impl IncomingTask {
    /// Works until the transfer ends or the node does.
    pub(super) async fn run(mut self) {
        loop {
            let Some(link) = self.next_link().await else {
                return;
            };
            self.callee.remember(link.connection());
            let ended = self.incoming.run(link, &mut self.orders).await;
            self.accepted |= self.incoming.was_accepted();
            let peer = self.peer_name.clone();
            let fault = match &ended {
                Ended::Lost(why) => {
                    tracing::info!(why, "the link is lost");
                    let totals = self.table.lock().totals();
                    let (kept, total) = (totals.bytes_done, totals.bytes);
                    let fault = Fault::Lost { peer, kept, total };
                    self.reporter.tell(News::Fault(Some(fault))).await;
                    self.reporter.event(TransferEvent::LinkLost).await;
                    continue;
                }
                Ended::Completed | Ended::Declined(_) => None,
                Ended::CancelledHere => Some(Fault::Cancelled),
                Ended::CancelledThere => Some(Fault::CancelledByPeer { peer }),
                Ended::Misbehaved(offence) => {
                    self.connector.disconnect(self.peer, Code::Offence);
                    let offence = offence.to_string();
                    Some(Fault::Misbehaved { peer, offence })
                }
            };
            return conclude(self.incoming, &self.reporter, &ended, fault).await;
        }
    }

    /// The next link. While none comes the sender is called, because it may not find us any more;
    /// once connected it makes the link. `None` when the transfer or the node ends.
    async fn next_link(&mut self) -> Option<QuicInbound> {
        let since = Instant::now();
        let mut wait = RETRY_MIN;
        let mut ours = self.connector.addrs();
        loop {
            if !self.accepted && since.elapsed() > UNACCEPTED_PATIENCE {
                self.reporter.event(TransferEvent::Fail).await;
                return None;
            }
            let callee = self.callee.clone();
            let connector = self.connector.clone();
            let connected = self.connector.pooled(self.peer).is_some();
            let call = async {
                tokio::select! {
                    () = tokio::time::sleep(wait) => {}
                    () = callee.appears() => {}
                }
                if !connected {
                    let _ = callee.connect(&connector, ATTEMPT).await;
                }
            };
            tokio::select! {
                link = self.links.recv() => return link,
                order = self.orders.recv() => match order {
                    None => return None,
                    Some(order) => {
                        if self.incoming.offline_order(order).await {
                            self.reporter.tell(News::Fault(Some(Fault::Cancelled))).await;
                            self.reporter.event(TransferEvent::Cancel).await;
                            self.incoming.close(true).await;
                            return None;
                        }
                    }
                },
                () = call => wait = (wait * 2).min(RETRY_MAX),
                // This computer is in another network: there it may work.
                Ok(()) = ours.changed() => wait = RETRY_MIN,
            }
        }
    }
}

/// Ends a transfer that will have no other link.
pub(super) async fn conclude(
    mut incoming: Incoming,
    reporter: &Reporter,
    ended: &Ended,
    fault: Option<Fault>,
) {
    // Parts that are left are of files that were given up, or cannot be continued.
    let discard = !matches!(ended, Ended::Declined(_));
    incoming.close(discard).await;
    if fault.is_some() {
        reporter.tell(News::Fault(fault)).await;
    }
    let event = match ended {
        Ended::Completed => TransferEvent::Finish,
        Ended::Declined(reason) => {
            tracing::info!(?reason, "declined");
            TransferEvent::Declined
        }
        Ended::CancelledHere | Ended::CancelledThere => TransferEvent::Cancel,
        Ended::Lost(_) | Ended::Misbehaved(_) => TransferEvent::Fail,
    };
    reporter.event(event).await;
}
