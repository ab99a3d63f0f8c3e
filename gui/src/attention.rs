//! What a person's attention is called to: once for each thing that waits for him or has ended.

use std::collections::BTreeSet;

use peerconnect::node::api::Overview;
use peerconnect::protocol::message::TransferId;
use peerconnect::transfer::status::TransferSnapshot;

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

/// Why something waits. One transfer may wait for several reasons in turns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Why {
    Offer,
    Conflict,
    Text,
}

/// What it was called to already.
#[derive(Debug, Default)]
pub struct Attention {
    /// Questions, and texts that are there.
    called: BTreeSet<(TransferId, Why)>,
    /// What of them has gone since that was asked last.
    answered: Vec<TransferId>,
    /// Transfers that had ended.
    ended: BTreeSet<TransferId>,
}

impl Attention {
    /// What has ended by now is known. What waits is not.
    pub fn beginning_with(overview: &Overview) -> Self {
        Self {
            called: BTreeSet::new(),
            answered: Vec::new(),
            ended: ended(overview),
        }
    }

    /// What waits for the person and did not when this was asked last.
    pub fn questions(&mut self, overview: &Overview) -> Vec<Question> {
        let open = open(overview);
        let keys: BTreeSet<_> = open.iter().map(|(key, _)| *key).collect();
        let gone = self.called.difference(&keys).map(|(id, _)| *id);
        self.answered.extend(gone);
        let before = std::mem::replace(&mut self.called, keys);
        let new = open.into_iter().filter(|(key, _)| !before.contains(key));
        new.map(|(_, question)| question).collect()
    }

    /// What waited for the person and does not any more, whoever has answered it, as far as
    /// [`Self::questions`] has looked.
    pub fn answered(&mut self) -> Vec<TransferId> {
        std::mem::take(&mut self.answered)
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

fn open(overview: &Overview) -> Vec<((TransferId, Why), Question)> {
    let transfers = || overview.transfers.iter();
    let offers = transfers().filter(|t| is_question(t));
    let offers = offers.map(|t| ((t.id, Why::Offer), t.trusted, notes::offer(t)));
    let conflicts = transfers().filter_map(|t| Some((t, t.conflict.as_ref()?)));
    let conflict = |(t, c): (&TransferSnapshot, _)| {
        let key = (t.id, Why::Conflict);
        (key, t.trusted, notes::conflict(t, c))
    };
    let conflicts = conflicts.map(conflict);
    let texts = overview.texts.iter();
    let texts = texts.filter(|t| t.is_question() || t.has_come());
    let texts = texts.map(|t| ((t.id, Why::Text), t.trusted, notes::text(t)));
    let all = offers.chain(conflicts).chain(texts);
    all.map(|(key, trusted, note)| (key, Question { note, trusted }))
        .collect()
}

fn ended(overview: &Overview) -> BTreeSet<TransferId> {
    let transfers = overview.transfers.iter();
    let ended = transfers.filter(|t| t.state.is_final());
    ended.map(|t| t.id).collect()
}
