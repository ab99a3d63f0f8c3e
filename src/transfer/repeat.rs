//! A transfer that is completed here and offered once more: its sender has not heard the end. It
//! is told again what became of its files, from memory; nothing is taken in, and nobody is asked.

use std::time::Duration;

use super::ended::Ended;
use super::receiver::{is_cancel, message, send};
use super::table::SharedTable;
use crate::net::link::{Inbound, Offence};
use crate::protocol::message::{
    Code, OfferHead, PlanAction, PlanRun, Receipt, ReceiverMessage, SenderMessage,
};

/// How long the sender may be silent.
const DEADLINE: Duration = Duration::from_secs(60);
/// Bytes of receipts in one message, leaving room for a last long one.
const RECEIPTS_LEN: usize = 48 * 1024;

/// Whether the offer is of exactly the files in `table`, which are all settled.
pub fn is_repeated(head: &OfferHead, table: &SharedTable) -> bool {
    let table = table.lock();
    !table.is_empty()
        && table.settled() == table.len()
        && table.len() == head.entries
        && table.digest() == head.digest
}

/// Tells the end of a completed transfer once more. Dropping it closes the link.
pub async fn repeat<L: Inbound>(mut link: L, table: SharedTable) {
    let code = match tell(&mut link, &table).await {
        Ok(()) => Code::Done,
        Err(Ended::Misbehaved(offence)) => {
            tracing::info!(%offence, "a completed transfer was offered again, wrongly");
            Code::Offence
        }
        Err(_) => Code::Internal,
    };
    link.close(code).await;
}

async fn tell<L: Inbound>(link: &mut L, table: &SharedTable) -> Result<(), Ended> {
    let entries = table.lock().len();
    send(link, ReceiverMessage::Known { entries }).await?;
    let mut at_end = false;
    loop {
        let next = tokio::time::timeout(DEADLINE, link.recv()).await;
        match message(next.map_err(|_| Ended::Misbehaved(Offence::Silent))??)? {
            SenderMessage::EntriesEnd { entries: now } if now == entries && !at_end => {
                at_end = true;
                send(link, ReceiverMessage::Accepted).await?;
                tell_receipts(link, table, entries).await?;
            }
            SenderMessage::Finish { entries: all } if all == entries && at_end => {
                return send(link, ReceiverMessage::Complete).await;
            }
            SenderMessage::Steer(steer) if is_cancel(steer) => return Err(Ended::CancelledThere),
            SenderMessage::Steer(_) | SenderMessage::Session(_) => {}
            SenderMessage::Entries(_)
            | SenderMessage::Feeder(_)
            | SenderMessage::WillFile(_)
            | SenderMessage::Will(_)
            | SenderMessage::EntriesEnd { .. }
            | SenderMessage::Finish { .. }
            | SenderMessage::FileFailed { .. } => {
                return Err(Ended::Misbehaved(Offence::UnexpectedMessage));
            }
        }
    }
}

async fn tell_receipts<L: Inbound>(
    link: &mut L,
    table: &SharedTable,
    entries: u32,
) -> Result<(), Ended> {
    let action = PlanAction::Skip;
    let count = entries;
    send(link, ReceiverMessage::Plan(vec![PlanRun { count, action }])).await?;
    let mut next = 0;
    while next < entries {
        let page = page(table, next);
        next += page.len() as u32;
        if page.is_empty() {
            return Err(Ended::Lost("the transfer was forgotten".into()));
        }
        send(link, ReceiverMessage::Settled(page)).await?;
    }
    send(link, ReceiverMessage::Start { entries }).await
}

fn page(table: &SharedTable, from: u32) -> Vec<Receipt> {
    let table = table.lock();
    let mut len = 0;
    let receipts = (from..table.len()).map_while(|index| table.receipt(index));
    receipts
        .take_while(|receipt| {
            let fits = len < RECEIPTS_LEN;
            len += 64 + receipt.saved_as.as_ref().map_or(0, String::len);
            fits
        })
        .collect()
}
