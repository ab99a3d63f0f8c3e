//! What a person's attention is called to: once for each thing that waits for him or has ended.

use std::collections::BTreeSet;

use peerconnect::node::api::Overview;
use peerconnect::protocol::message::TransferId;

use crate::model::is_question;
use crate::notes::{self, Note};

/// Something that waits for the person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Words for it.
    pub note: Note,
    /// Whether it comes from somebody whom the person trusts.
    pub trusted: bool,
}

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

    /// What waits for the person and did not when this was asked last.
    pub fn questions(&mut self, overview: &Overview) -> Vec<Question> {
        let open = open(overview);
        let ids = open.iter().map(|(id, _)| *id).collect();
        let before = std::mem::replace(&mut self.called, ids);
        let new = open.into_iter().filter(|(id, _)| !before.contains(id));
        new.map(|(_, question)| question).collect()
    }

    /// All that waits for the person, whether he was called or not.
    pub fn open_questions(overview: &Overview) -> Vec<Question> {
        open(overview)
            .into_iter()
            .map(|(_, question)| question)
            .collect()
    }

    /// Words for transfers that have ended since this was asked last.
    pub fn ends(&mut self, overview: &Overview) -> Vec<Note> {
        let before = std::mem::replace(&mut self.ended, ended(overview));
        let transfers = overview.transfers.iter();
        let new = transfers.filter(|t| t.state.is_final() && !before.contains(&t.id));
        new.filter_map(notes::over).collect()
    }
}

fn open(overview: &Overview) -> Vec<(TransferId, Question)> {
    let transfers = || overview.transfers.iter();
    let offers = transfers().filter(|t| is_question(t));
    let offers = offers.map(|t| (t.id, t.trusted, notes::offer(t)));
    let conflicts = transfers().filter_map(|t| Some((t, t.conflict.as_ref()?)));
    let conflicts = conflicts.map(|(t, c)| (t.id, t.trusted, notes::conflict(t, c)));
    let texts = overview.texts.iter();
    let texts = texts.filter(|t| t.is_question() || t.has_come());
    let texts = texts.map(|t| (t.id, t.trusted, notes::text(t)));
    let all = offers.chain(conflicts).chain(texts);
    all.map(|(id, trusted, note)| (id, Question { note, trusted }))
        .collect()
}

fn ended(overview: &Overview) -> BTreeSet<TransferId> {
    let transfers = overview.transfers.iter();
    let ended = transfers.filter(|t| t.state.is_final());
    ended.map(|t| t.id).collect()
}
