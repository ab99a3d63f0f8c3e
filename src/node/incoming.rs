//! The task of an incoming transfer: receives over the links that the sender makes, and calls the
//! sender when none comes.

use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::dial::Callee;
use crate::fault::Fault;
use crate::net::connector::Connector;
use crate::net::transfer_link::QuicInbound;
use crate::peer::PeerId;
use crate::protocol::message::Code;
use crate::transfer::bookkeeper::unix_now;
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

/// How long a sender that is gone is waited for before the rest comes from others, if it has made
/// a will: so long a change of network takes.
const ALONE: Duration = Duration::from_secs(2);
/// The same after others could not give it either.
const ALONE_AGAIN: Duration = Duration::from_secs(60);

/// How a transfer goes on.
enum Next {
    /// Over a link that the sender made.
    Link(Box<QuicInbound>),
    /// Without the sender.
    Alone,
    /// Not at all.
    Over,
}

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
        let mut alone = ALONE;
        let mut back = None;
        loop {
            let next = match back.take() {
                Some(link) => Next::Link(link),
                None => self.next(alone).await,
            };
            let ended;
            (ended, alone) = match next {
                Next::Link(link) => {
                    self.callee.remember(link.connection());
                    let ended = self.incoming.run(*link, &mut self.orders).await;
                    (ended, ALONE)
                }
                Next::Alone => {
                    let ended;
                    (ended, back) = self.alone().await;
                    (ended, ALONE_AGAIN)
                }
                Next::Over => return,
            };
            self.accepted |= self.incoming.was_accepted();
            let peer = self.peer_name.clone();
            let fault = match &ended {
                Ended::Lost(why) => {
                    tracing::info!(why, "the link is lost");
                    let totals = self.table.lock().totals();
                    let (kept, total) = (totals.bytes_done, totals.bytes);
                    let fault = Fault::Lost { peer, kept, total };
                    let fault = back.is_none().then_some(fault);
                    self.reporter.tell(News::Fault(fault)).await;
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

    /// Goes on without the sender, until that makes a link again, which is returned too. It is
    /// called meanwhile: what nobody else gives, only it can.
    async fn alone(&mut self) -> (Ended, Option<Box<QuicInbound>>) {
        let (is_back, back) = watch::channel(false);
        let Some(executor) = self.incoming.executor(back) else {
            return (Ended::Lost("there is no will".into()), None);
        };
        tracing::info!("the sender is gone: the rest comes from others");
        let Self {
            incoming,
            orders,
            links,
            callee,
            connector,
            peer,
            ..
        } = self;
        let mut wait = RETRY_MIN;
        let mut ours = connector.own_addrs();
        let run = incoming.run(executor, orders);
        tokio::pin!(run);
        let mut link = None;
        loop {
            let call = call(callee, connector, *peer, wait);
            tokio::select! {
                ended = &mut run => return (ended, link),
                Some(new) = links.recv(), if link.is_none() => {
                    link = Some(Box::new(new));
                    is_back.send_replace(true);
                }
                () = call, if link.is_none() => wait = (wait * 2).min(RETRY_MAX),
                Ok(()) = ours.changed() => wait = RETRY_MIN,
            }
        }
    }

    /// What comes next. While no link comes the sender is called, because it may not find us any
    /// more; once connected it makes the link. After a while we go on `alone`, if that can be.
    async fn next(&mut self, alone: Duration) -> Next {
        let since = Instant::now();
        let alone = self.incoming.has_will().then(|| since + alone);
        let mut wait = RETRY_MIN;
        let mut ours = self.connector.own_addrs();
        loop {
            if !self.accepted && since.elapsed() > UNACCEPTED_PATIENCE {
                self.reporter.event(TransferEvent::Fail).await;
                return Next::Over;
            }
            let (callee, connector) = (self.callee.clone(), self.connector.clone());
            let call = call(&callee, &connector, self.peer, wait);
            tokio::select! {
                link = self.links.recv() => {
                    return link.map_or(Next::Over, |link| Next::Link(Box::new(link)));
                }
                () = until(alone) => return Next::Alone,
                order = self.orders.recv() => match order {
                    None => return Next::Over,
                    Some(order) => {
                        if self.incoming.offline_order(order).await {
                            self.reporter.tell(News::Fault(Some(Fault::Cancelled))).await;
                            self.reporter.event(TransferEvent::Cancel).await;
                            self.incoming.close(true).await;
                            return Next::Over;
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

/// Calls the sender after `wait`, or as soon as it is said to be somewhere, unless there is a
/// connection. Cancel-safe.
async fn call(callee: &Callee, connector: &Connector, peer: PeerId, wait: Duration) {
    let connected = connector.pooled(peer).is_some();
    tokio::select! {
        () = tokio::time::sleep(wait) => {}
        () = callee.appears() => {}
    }
    if !connected {
        let _ = callee.connect(connector, ATTEMPT).await;
    }
}

/// Waits until then; for ever if there is no such time.
async fn until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// Ends a transfer that will have no other link.
pub(super) async fn conclude(
    mut incoming: Incoming,
    reporter: &Reporter,
    ended: &Ended,
    fault: Option<Fault>,
) {
    if let Ended::Completed = ended {
        incoming.keep_shelf(unix_now()).await;
    }
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
