//! Texts that come: asked about where a person is, and shown.

use std::collections::BTreeMap;

use peerconnect::node::api::{Command, Overview, Reply, TextCommand, TextSnapshot};
use peerconnect::protocol::texts::TextId;
use peerconnect::text::Shown;

use super::{Answers, Face, Goal};
use crate::cli::human::claimed_text;
use crate::cli::output::Event;
use crate::cli::question::Questions;

/// How far a text has been dealt with here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Told {
    /// That it is offered was said.
    offered: bool,
    /// The person was asked, or it was answered or said that it cannot be.
    asked: bool,
    /// This face took it without asking.
    taken: bool,
    /// It was shown.
    shown: bool,
}

/// What is known about texts.
#[derive(Debug, Default)]
pub(super) struct Texts {
    told: BTreeMap<TextId, Told>,
    /// Some text waits for an answer.
    waits: bool,
    /// Some text was wanted, and is on its way or still to be shown.
    coming: bool,
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

    pub(super) fn coming(&self) -> bool {
        self.coming
    }
}

impl Face<'_> {
    fn wants_text(&self, t: &TextSnapshot) -> bool {
        match &self.goal {
            Goal::These(_) => false,
            Goal::Next { not, .. } | Goal::Stay { not } => !not.contains(&t.id),
        }
    }

    /// Shows texts that have come, unless a question waits for a key: what a person reads above
    /// his answer must be what he was asked.
    pub(super) async fn show_texts(&mut self, picture: &Overview) {
        let person = self.person.as_ref();
        let asking = person.is_some_and(Questions::is_on_screen);
        self.texts.coming = false;
        for t in picture.texts.iter().filter(|t| t.has_come()) {
            let shown = self.texts.told.get(&t.id).is_some_and(|told| told.shown);
            if !self.wants_text(t) || shown {
                continue;
            }
            match asking {
                true => self.texts.coming = true,
                false => self.show_text(t).await,
            }
        }
    }

    /// Has the person asked about texts that somebody wants to send.
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
                // The picture may be from before the answer.
                self.texts.coming |= self.was_taken(t.id);
                self.ask_about_text(picture, t).await;
            } else {
                self.texts.coming |= t.is_coming();
            }
        }
    }

    fn was_taken(&self, id: TextId) -> bool {
        let told = self.texts.told.get(&id);
        let taken_here = told.is_some_and(|told| told.taken);
        taken_here
            || self
                .person
                .as_ref()
                .is_some_and(|person| person.has_taken(id))
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
                match self.node.call(Command::Text(take)).await {
                    Ok(_) => told.taken = true,
                    Err(fault) => self.out.emit(Event::Error(None, None, &fault)).await,
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
        self.texts.told.entry(t.id).or_default().shown = true;
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
