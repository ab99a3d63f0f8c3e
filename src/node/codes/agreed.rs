//! What was agreed on by codes that were typed here: transfers that are taken without a question.

use tokio::time::Instant;

use super::{AGREED_FOR, AGREED_MAX, CodeBook};
use crate::node::api::ReceiveRule;
use crate::peer::PeerId;
use crate::protocol::message::TransferId;

/// A transfer that will be taken without a question.
#[derive(Debug)]
pub(super) struct Agreed {
    peer: PeerId,
    rule: Option<ReceiveRule>,
    since: Instant,
}

impl CodeBook {
    /// `transfer` of `peer` will be taken without a question; `false` if there are too many.
    pub(in crate::node) fn agree(
        &mut self,
        peer: PeerId,
        transfer: TransferId,
        rule: Option<ReceiveRule>,
    ) -> bool {
        let since = Instant::now();
        self.agreed.retain(|_, a| a.since.elapsed() < AGREED_FOR);
        let has_room = self.agreed.len() < AGREED_MAX;
        if has_room {
            self.agreed.insert(transfer, Agreed { peer, rule, since });
        }
        has_room
    }

    /// `transfer` is not to be taken without a question any more. Whether it was.
    pub(in crate::node) fn withdraw(&mut self, transfer: TransferId) -> bool {
        self.agreed.remove(&transfer).is_some()
    }

    /// Whether that was agreed on.
    pub(in crate::node) fn has_agreed(&self, peer: PeerId, transfer: TransferId) -> bool {
        let agreed = self.agreed.get(&transfer);
        agreed.is_some_and(|a| a.peer == peer && a.since.elapsed() < AGREED_FOR)
    }

    /// By which rule `transfer` of `peer` is taken, if that was agreed on; asked once.
    pub(in crate::node) fn take_agreed(
        &mut self,
        peer: PeerId,
        transfer: TransferId,
    ) -> Option<Option<ReceiveRule>> {
        self.has_agreed(peer, transfer).then_some(())?;
        self.agreed.remove(&transfer).map(|agreed| agreed.rule)
    }
}
