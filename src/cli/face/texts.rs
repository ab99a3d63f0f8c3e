//! Texts that come: asked about where a person is, and shown.

use std::collections::BTreeMap;

use peerconnect::node::api::{Command, Overview, Reply, TextCommand, TextSnapshot};
use peerconnect::protocol::texts::TextId;
use peerconnect::text::Shown;

use super::{Answers, Face, Goal};
use crate::cli::human::claimed_text;
use crate::cli::output::Event;

/// How far a text has been dealt with here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Told {
    /// That it is offered was said.
    offered: bool,
    /// The person was asked, or it was answered or said that it cannot be.
    asked: bool,
    /// It was shown.
    shown: bool,
}

/// What is known about texts.
#[derive(Debug, Default)]
pub(super) struct Texts {
    told: BTreeMap<TextId, Told>,
    /// Some text waits for an answer.
    waits: bool,
    /// Some text was shown.
    has_come: bool,
}

impl Texts {
    pub(super) fn has_come(&self) -> bool {
        self.has_come
    }

    pub(super) fn waits(&self) -> bool {
        self.waits
    }
}

impl Face<'_> {
    fn wants_text(&self, t: &TextSnapshot) -> bool {
        match &self.goal {
            Goal::These(_) => false,
            Goal::Next { not, .. } | Goal::Stay { not } => !not.contains(&t.id),
        }
    }

    pub(super) async fn take_texts(&mut self, picture: &Overview) {
        self.texts.told.retain(|id, _| picture.text(*id).is_some());
        let questions = || picture.texts.iter().filter(|t| t.is_question());
        if let Some(person) = &mut self.person {
            person.withdraw_texts(questions(), self.out).await;
        }
        self.texts.waits = false;
        for t in picture.texts.iter() {
            if !self.wants_text(t) {
                continue;
            }
            if t.is_question() {
                self.texts.waits = true;
                self.ask_about_text(picture, t).await;
            } else if t.has_come() {
                self.show_text(t).await;
            }
        }
    }

    async fn ask_about_text(&mut self, picture: &Overview, t: &TextSnapshot) {
        let told = self.texts.told.entry(t.id).or_default();
        if !std::mem::replace(&mut told.offered, true) {
            self.out.emit(Event::TextOffer(t)).await;
        }
        if told.asked {
            return;
        }
        match &self.answers {
            Answers::Person => {
                // One question at a time; the others wait for their turn.
                if let Some(person) = &mut self.person {
                    told.asked = person.ask_text(picture, t, self.out).await;
                }
            }
            Answers::Peer(peer) if t.peer == Some((*peer).into()) => {
                told.asked = true;
                let take = TextCommand::Answer {
                    text: t.id,
                    take: true,
                };
                if let Err(fault) = self.node.call(Command::Text(take)).await {
                    self.out.emit(Event::Error(None, None, &fault)).await;
                }
            }
            Answers::Peer(_) | Answers::Nobody => {
                told.asked = true;
                let who = claimed_text(t);
                let how = match t.is_legacy() {
                    true => "use --accept-unencrypted to take whatever old versions send".into(),
                    false => format!(
                        "trust {} with `peerconnect peers trust`, or use --yes",
                        Shown(&t.peer_name)
                    ),
                };
                self.out.say(&format!(
                    "{who} wants to send a text. Not shown without a question: {how}."
                ));
            }
        }
    }

    async fn show_text(&mut self, t: &TextSnapshot) {
        let told = self.texts.told.entry(t.id).or_default();
        if std::mem::replace(&mut told.shown, true) {
            return;
        }
        let read = Command::Text(TextCommand::Read(t.id));
        match self.node.call(read).await {
            Ok(Reply::Text(text)) => {
                self.out.emit(Event::Text(t, &text)).await;
                self.texts.has_come = true;
            }
            Ok(_) => {}
            // Another face may have taken it away; it is in the history.
            Err(fault) => tracing::debug!(%fault, "a text could not be read"),
        }
    }
}
