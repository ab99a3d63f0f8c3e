//! What a person's attention is called to: once for each thing that waits for him or has ended.

use std::collections::BTreeSet;

use peerconnect::node::api::Overview;
use peerconnect::protocol::message::TransferId;

use crate::model::is_question;
use crate::notes::{self, Note};

/// What it was called to already.
#[derive(Debug, Default)]
pub struct Attention {
    /// Questions, and texts that are there.
    called: BTreeSet<TransferId>,
    /// Transfers that had ended.
    ended: BTreeSet<TransferId>,
}

impl Attention {
    /// What has ended by now is known. What waits is not.
    pub fn beginning_with(overview: &Overview) -> Self {
        Self {
            called: BTreeSet::new(),
            ended: ended(overview),
        }
    }

    /// Words for what waits for the person and did not when this was asked last.
    pub fn questions(&mut self, overview: &Overview) -> Vec<Note> {
        let transfers = || overview.transfers.iter();
        let offers = transfers().filter(|t| is_question(t));
        let offers = offers.map(|t| (t.id, notes::offer(t)));
        let conflicts = transfers().filter_map(|t| Some((t, t.conflict.as_ref()?)));
        let conflicts = conflicts.map(|(t, conflict)| (t.id, notes::conflict(t, conflict)));
        let texts = overview.texts.iter();
        let texts = texts.filter(|t| t.is_question() || t.has_come());
        let texts = texts.map(|t| (t.id, notes::text(t)));
        let all: Vec<(TransferId, Note)> = offers.chain(conflicts).chain(texts).collect();
        let open = all.iter().map(|(id, _)| *id).collect();
        let before = std::mem::replace(&mut self.called, open);
        let new = all.into_iter().filter(|(id, _)| !before.contains(id));
        new.map(|(_, note)| note).collect()
    }

    /// Words for transfers that have ended since this was asked last.
    pub fn ends(&mut self, overview: &Overview) -> Vec<Note> {
        let before = std::mem::replace(&mut self.ended, ended(overview));
        let transfers = overview.transfers.iter();
        let new = transfers.filter(|t| t.state.is_final() && !before.contains(&t.id));
        new.filter_map(notes::over).collect()
    }
}

fn ended(overview: &Overview) -> BTreeSet<TransferId> {
    let transfers = overview.transfers.iter();
    let ended = transfers.filter(|t| t.state.is_final());
    ended.map(|t| t.id).collect()
}
