//! Keys that take the place of others: of a peer that was installed anew, and our own.

use super::api::{Again, Reply};
use super::commands::{Replied, not_found};
use super::core::Core;
use super::no_identity;
use crate::fault::Fault;
use crate::identity::Identity;
use crate::peer::PeerId;
use crate::protocol::message::TransferId;

impl Core {
    /// Trusts whoever has answered in place of the receiver, and sends again.
    pub(super) async fn trust_instead(&mut self, of: TransferId, key: PeerId) -> Replied {
        let entry = self
            .book
            .get(of)
            .ok_or_else(|| not_found("such transfer"))?;
        let answered = match entry.fault() {
            Some(Fault::IdentityChanged { got, .. }) => *got,
            Some(_) | None => None,
        };
        // What was compared is what is trusted.
        if answered != Some(key) {
            return Err(Fault::Invalid {
                why: "nobody has answered with that key in place of the receiver".into(),
            });
        }
        let old = entry.sent.as_ref().and_then(|(record, _)| record.peer);
        if let Some(old) = old {
            self.records.replace(old, key).await;
        }
        if let Some((record, _)) = self.book.get_mut(of).and_then(|entry| entry.sent.as_mut()) {
            record.peer = Some(key);
            record.target = key.to_string();
        }
        self.enforce_blocks();
        self.send_again(of, Again::All).await
    }

    /// Takes a finished transfer out of what is shown.
    pub(super) fn dismiss(&mut self, id: TransferId) -> Replied {
        if self.book.get(id).is_none() {
            return Err(not_found("such transfer"));
        }
        if !self.book.dismiss(id) {
            return Err(Fault::Invalid {
                why: "this transfer, or its session, is not over yet".into(),
            });
        }
        self.forget_gone_sessions();
        Ok(Reply::Done)
    }

    /// Makes a new key for the next start.
    pub(super) async fn new_identity(&mut self) -> Replied {
        let dir = self.paths.data.clone();
        let made = tokio::task::spawn_blocking(move || Identity::renew(&dir)).await;
        let made = made.map_err(|error| Fault::Internal {
            what: error.to_string(),
        })?;
        made.map(|_| Reply::Done).map_err(no_identity)
    }
}
