//! Sending again what did not arrive.

use std::collections::BTreeSet;

use super::api::{Again, Reply};
use super::commands::{Replied, not_found, random_id};
use super::core::Core;
use crate::fault::Fault;
use crate::protocol::message::{Outcome, SinkFault, TransferId};
use crate::storage::store::{OutgoingRecord, Wishes};
use crate::transfer::bookkeeper::{Entry, unix_now};
use crate::transfer::status::FileState;

impl Core {
    /// Whether only some of the files that were chosen go with this transfer.
    pub(super) fn is_selective(&self, id: TransferId) -> bool {
        self.wishes.get(&id).is_some_and(|w| w.only.is_some())
    }

    pub(super) async fn send_again(&mut self, of: TransferId, what: Again) -> Replied {
        let entry = self
            .book
            .get(of)
            .ok_or_else(|| not_found("such transfer"))?;
        let is_over = entry.state().is_final();
        let (record, only) = match (&entry.sent, self.outgoing.get(&of)) {
            (Some((record, only)), _) => (record.clone(), only.clone()),
            (None, Some(record)) if matches!(what, Again::Failed | Again::File(_)) => {
                (record.clone(), None)
            }
            (None, Some(_)) => {
                return Err(Fault::Invalid {
                    why: "this transfer is not over yet".into(),
                });
            }
            (None, None) => {
                return Err(Fault::Invalid {
                    why: "only what was sent from here can be sent again".into(),
                });
            }
        };
        let only = match what {
            Again::All | Again::WhenOnline | Again::Unencrypted => only,
            Again::Failed | Again::File(_) => Some(failed(entry, what)?),
        };
        let original = match what {
            Again::Unencrypted => Some(original(entry)?),
            Again::All | Again::WhenOnline | Again::Failed | Again::File(_) => None,
        };
        let record = OutgoingRecord {
            transfer: random_id()?,
            created: unix_now(),
            accepted: false,
            ..record
        };
        let record = match original {
            Some(target) => OutgoingRecord {
                peer: None,
                peer_name: target.clone(),
                target,
                ..record
            },
            None => record,
        };
        let id = record.transfer;
        self.keep(record.clone()).await;
        let wishes = Wishes {
            only,
            patient: what == Again::WhenOnline,
            ..Wishes::default()
        };
        self.put_wishes(id, wishes).await;
        if is_over && !matches!(what, Again::File(_)) {
            self.replace_in_session(of, id).await;
        }
        self.continue_outgoing(record).await;
        Ok(Reply::Transfer {
            id,
            attached: false,
        })
    }
}

/// Where the program of the original's kind is that was found in place of the receiver.
fn original(entry: &Entry) -> Result<String, Fault> {
    match entry.fault() {
        Some(Fault::Version {
            original: Some(address),
            ..
        }) => Ok(address.clone()),
        Some(_) | None => Err(Fault::Invalid {
            why: "no old version was found there".into(),
        }),
    }
}

/// The paths of the files that failed, or of one of them. What a person left out is not among
/// them, unless it is that one.
fn failed(entry: &Entry, what: Again) -> Result<BTreeSet<String>, Fault> {
    let table = entry.table.lock();
    let path = |index: u32| {
        let Some(FileState::Settled(Outcome::Failed(why))) = table.state(index) else {
            return None;
        };
        let wanted = match what {
            Again::File(file) => index == file,
            Again::Failed | Again::All | Again::WhenOnline | Again::Unencrypted => {
                why != SinkFault::Cancelled
            }
        };
        wanted.then(|| table.path(index).to_owned())
    };
    let paths: BTreeSet<String> = (0..table.len()).filter_map(path).collect();
    match paths.is_empty() {
        true => Err(Fault::Invalid {
            why: "there is no file in it that failed".into(),
        }),
        false => Ok(paths),
    }
}
