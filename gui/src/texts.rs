//! Texts as the window knows them: what is in those that came, and what a person does with them.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use peerconnect::fault::Fault;
use peerconnect::node::api::{Command, Overview, Reply, TextCommand, TextSnapshot, TextState, Who};
use peerconnect::protocol::texts::{TextId, length_of};

use crate::app::App;
use crate::model::{About, Model};
use crate::theme::Tone;

/// What a person did with a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TextAction {
    /// Send this to the chosen devices.
    Send(String),
    /// Put this on the clipboard.
    Copy(String),
    /// Open this link in the browser.
    Browse(String),
}

/// Whether this can be sent as a text.
pub(crate) fn is_sendable(text: &str) -> bool {
    !text.trim().is_empty() && length_of(text).is_ok()
}

/// What the window knows of texts beside the overview.
#[derive(Debug, Default)]
pub(crate) struct Texts {
    /// What is in those that have come; `None` while it is being asked for.
    pub(crate) read: BTreeMap<TextId, Option<String>>,
    /// Questions that were answered here and are still in the overview.
    pub(crate) answered: BTreeSet<TextId>,
    /// Since when it is said that texts were delivered, by the window's clock, where somebody can
    /// see it; `None` once they were taken away.
    delivered: BTreeMap<TextId, Option<f64>>,
}

/// How long it is said that a text was delivered. It stands in the history, too.
const DELIVERED_SHOWN: f64 = 8.0;

impl Texts {
    /// Takes what is in a text.
    pub(crate) fn came(&mut self, id: TextId, result: &Result<Reply, Fault>) {
        if let (Some(read), Ok(Reply::Text(text))) = (self.read.get_mut(&id), result) {
            *read = Some(text.clone());
        }
    }

    /// Forgets what belongs to texts that are gone, or were answered.
    pub(crate) fn apply(&mut self, overview: &Overview) {
        self.read.retain(|id, _| overview.text(*id).is_some());
        let asks = |id: &TextId| overview.text(*id).is_some_and(TextSnapshot::is_question);
        self.answered.retain(asks);
        self.delivered.retain(|id, _| overview.text(*id).is_some());
    }

    /// Takes those that were delivered, and of which that was said for long enough; and in how
    /// many seconds the next one is due.
    fn seen(&mut self, overview: &Overview, time: f64) -> (Vec<TextId>, Option<f64>) {
        let (mut due, mut next) = (Vec::new(), None::<f64>);
        let texts = overview.texts.iter();
        for t in texts.filter(|t| t.state == TextState::Delivered && !t.has_come()) {
            let since = self.delivered.entry(t.id).or_insert(Some(time));
            let Some(begun) = *since else { continue };
            let left = begun + DELIVERED_SHOWN - time;
            if left <= 0.0 {
                *since = None;
                due.push(t.id);
            } else {
                next = Some(next.map_or(left, |next| next.min(left)));
            }
        }
        (due, next)
    }
}

impl Model {
    /// Texts that somebody wants to send, oldest first.
    pub(crate) fn text_questions(&self) -> impl Iterator<Item = &TextSnapshot> {
        self.overview.texts.iter().filter(|t| t.is_question())
    }
}

impl App {
    /// Asks for what is in texts that have come.
    pub(crate) fn read_texts(&mut self) {
        let overview = Arc::clone(&self.model.overview);
        for t in overview.texts.iter().filter(|t| t.has_come()) {
            if let Entry::Vacant(unread) = self.model.texts.read.entry(t.id) {
                unread.insert(None);
                let read = Command::Text(TextCommand::Read(t.id));
                self.ask(read, About::ReadText(t.id));
            }
        }
    }

    /// Takes away that texts were delivered, once the person has had the time to see it.
    pub(crate) fn close_delivered(&mut self, ctx: &egui::Context) {
        if !ctx.input(|i| i.viewport().focused.unwrap_or(true)) {
            return;
        }
        let time = ctx.input(|i| i.time);
        let (due, next) = self.model.texts.seen(&self.model.overview, time);
        for id in due {
            self.ask(Command::Text(TextCommand::Drop(id)), About::Nothing);
        }
        if let Some(left) = next {
            ctx.request_repaint_after(Duration::from_secs_f64(left));
        }
    }

    /// Sends the text that is being written, if it can be sent.
    pub(crate) fn send_written(&mut self) {
        let written = &mut self.drafts.staged.text;
        if let Some(text) = written.take_if(|text| is_sendable(text)) {
            self.act_on_text(TextAction::Send(text));
        }
    }

    pub(crate) fn act_on_text(&mut self, action: TextAction) {
        match action {
            TextAction::Send(text) => {
                let chosen: Vec<Who> = self.model.chosen_devices().map(|d| d.who).collect();
                for who in chosen {
                    let (to, text) = (who.into(), text.clone());
                    let send = TextCommand::Send {
                        to,
                        text: text.clone(),
                    };
                    self.ask(Command::Text(send), About::SendText(text));
                }
            }
            TextAction::Copy(text) => {
                self.ctx.copy_text(text);
                self.model.say(Tone::Ok, "Copied.");
            }
            TextAction::Browse(link) => self.browse(link),
        }
    }

    /// Takes a reply about texts.
    pub(crate) fn text_reply(&mut self, about: &About, result: &Result<Reply, Fault>) {
        let texts = &mut self.model.texts;
        match (about, result) {
            (About::AnswerText(id), Err(_)) => {
                texts.answered.remove(id);
            }
            // What was written must not be lost.
            (About::SendText(text), Err(_)) => {
                self.drafts.staged.text.get_or_insert(text.clone());
            }
            (_, _) => {}
        }
    }
}
