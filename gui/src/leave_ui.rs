//! What the window does as a whole: its title, calling for attention, and leaving politely.

use std::time::Duration;

use egui::{Context, Modal, Ui, ViewportCommand};
use peerconnect::node::api::Command;
use peerconnect::protocol::message::TransferId;
use peerconnect::text::{Shown, count};
use peerconnect::transfer::status::Direction;

use crate::app::App;
use crate::bidi::AnyScript;
use crate::look;
use crate::model::{About, Action, Leaving, Model, Page, is_question};
use crate::notes::Tell;
use crate::staged_ui::shorten;
use crate::theme::{self, Tone};
use crate::words;

/// How long quitting waits for the node to put its things in order.
const QUIT_LIMIT: Duration = Duration::from_secs(2);

/// Most things that the system is told at once.
const NOTES_MAX: usize = 3;

/// Letters of a name in the question.
const NAME_LEN: usize = 60;

impl App {
    /// What the title of the window says.
    pub fn title(&self) -> &str {
        &self.title
    }

    pub(crate) fn set_title(&mut self, ctx: &Context) {
        let asked = self.model.questions().next().is_some();
        let text = self.model.text_questions().next().is_some();
        let conflict = self.model.conflicts().next().is_some();
        let title = match (asked, conflict, self.model.percent()) {
            (false, ..) if text => "PeerConnect: somebody wants to send you a text".to_owned(),
            (true, ..) => "PeerConnect: somebody wants to send you files".to_owned(),
            (false, true, _) => "PeerConnect: a file is already there and differs".to_owned(),
            (false, false, Some(percent)) => format!("{percent} % · PeerConnect"),
            (false, false, None) => "PeerConnect".to_owned(),
        };
        // Setting a title paints a frame: only when it is another one.
        if title != self.title {
            ctx.send_viewport_cmd(ViewportCommand::Title(title.clone()));
            self.title = title;
        }
    }

    /// Asks for attention once for each question and each text, without taking the focus, and has
    /// the system tell what has ended meanwhile.
    pub(crate) fn call_attention(&mut self, ctx: &Context) {
        let away = !ctx.input(|i| i.viewport().focused.unwrap_or(true));
        let questions = self.attention.questions(&self.model.overview);
        let new = !questions.is_empty();
        for about in self.attention.answered() {
            // Wherever it was answered: nobody need press on it any more.
            (self.outside.notify)(Tell::Answered(about));
        }
        let mut notes: Vec<_> = questions.into_iter().map(|q| q.note).collect();
        notes.extend(self.attention.ends(&self.model.overview));
        if new && away {
            ctx.send_viewport_cmd(ViewportCommand::RequestUserAttention(
                egui::UserAttentionType::Informational,
            ));
        }
        if away && look::notifies(ctx) {
            notes.truncate(NOTES_MAX);
            for note in notes {
                self.notify(note);
            }
        }
    }

    /// Comes before the other windows, with this transfer or text in sight.
    pub(crate) fn come_forward(&mut self, id: TransferId) {
        let model = &mut self.model;
        model.page = Page::Transfers;
        // A receiver of several stands in the card of them all.
        let row = model.overview.transfer(id).and_then(|t| t.session);
        let row = row.unwrap_or(id);
        model.sought = Some(row);
        if model.overview.transfer(id).is_some_and(|t| !is_question(t)) {
            model.selected = Some(row);
        }
        for command in [
            // Where windows may not come forward by themselves, they ask for it.
            ViewportCommand::RequestUserAttention(egui::UserAttentionType::Informational),
            ViewportCommand::Minimized(false),
            ViewportCommand::Focus,
        ] {
            self.ctx.send_viewport_cmd(command);
        }
    }

    /// Holds the window open and asks, if closing it would stop a transfer, or lose a code that
    /// waits or a text on its way.
    pub(crate) fn leave_politely(&mut self, ctx: &Context) {
        let wanted = ctx.input(|i| i.viewport().close_requested());
        let stops = self.own_node && !self.over && is_busy(&self.model);
        if wanted && stops && !self.closing {
            ctx.send_viewport_cmd(ViewportCommand::CancelClose);
            self.model.leaving = true;
        }
    }

    pub(crate) fn leaving_ui(&self, ui: &Ui) -> Vec<Action> {
        let mut actions = Vec::new();
        if !self.model.leaving {
            return actions;
        }
        let id = egui::Id::unique("leaving");
        let area = Modal::default_area(id).accessible_name("Leave PeerConnect?");
        let dialog = Modal::new(id).area(area).frame(theme::dialog(ui));
        let shown = dialog.show(ui.ctx(), |ui| {
            ui.set_width(ui.available_width().min(440.0));
            theme::title(ui, &still(&self.model));
            for text in losses(&self.model) {
                let text = theme::note(ui, Tone::Weak, text);
                ui.lines(text);
            }
            ui.add_space(12.0);
            ui.horizontal_wrapped(|ui| {
                let pressed = leave_buttons(ui, &self.model);
                actions.extend(pressed.map(Action::Left));
            });
        });
        if shown.should_close() {
            actions.push(Action::Left(Leaving::Not));
        }
        actions
    }

    pub(crate) fn leave(&mut self, how: Leaving) {
        self.model.leaving = false;
        self.behind = how == Leaving::Behind;
        if how != Leaving::Not {
            self.closing = true;
            self.ctx.send_viewport_cmd(ViewportCommand::Close);
        }
    }

    /// Ends the node, if it is ours; or leaves it alone with what it has to do. Call once, when
    /// the window is gone. Returns whether the node goes on.
    pub fn end(&mut self) -> bool {
        let behind = self.own_node && self.behind;
        if behind {
            // Nobody answers questions any more.
            for command in [Command::Leave, Command::FinishAndEnd] {
                if let Err(fault) = self.bridge.ask(command, About::Nothing) {
                    tracing::warn!(%fault, "the node cannot be left alone");
                    self.bridge.shut_down(QUIT_LIMIT);
                    return false;
                }
            }
        } else if self.own_node {
            self.bridge.shut_down(QUIT_LIMIT);
        }
        behind
    }
}

/// Whether anything would stop or be lost if the node ended now.
fn is_busy(model: &Model) -> bool {
    model.running().next().is_some()
        || model.waiting_codes().next().is_some()
        || model.texts_on_their_way().next().is_some()
}

/// What is lost or stops when the program ends, a sentence or two for each kind.
fn losses(model: &Model) -> Vec<String> {
    let mut said = Vec::new();
    if model.running().next().is_some() {
        said.push(words::left(model.running()).to_owned());
    }
    for code in model.waiting_codes() {
        let names = shorten(&Shown(&code.names.join(", ")).to_string(), NAME_LEN);
        said.push(format!(
            "The code for {names} has not been used. It is good only while PeerConnect runs."
        ));
    }
    for text in model.texts_on_their_way() {
        let name = shorten(&Shown(&text.peer_name).to_string(), NAME_LEN);
        said.push(format!(
            "The text to {name} is not there yet. It is lost if PeerConnect ends before it is."
        ));
    }
    said
}

/// What the person wants, if one of the buttons was pressed.
fn leave_buttons(ui: &mut Ui, model: &Model) -> Option<Leaving> {
    let runs = model.running().next().is_some();
    // Nothing waits for texts: without a window they would be lost all the same.
    let goes_on = runs || model.waiting_codes().next().is_some();
    let stop = if runs { "Pause and quit" } else { "Quit" };
    let mut pressed = None;
    if goes_on && theme::primary(ui, true, "Keep going in the background").clicked() {
        pressed = Some(Leaving::Behind);
    }
    if theme::plain(ui, stop).clicked() {
        pressed = Some(Leaving::Stop);
    }
    // Not "Cancel", which could be taken for the end of the transfers.
    if theme::plain(ui, "Stay here").clicked() {
        pressed = Some(Leaving::Not);
    }
    pressed
}

/// "Still sending 2 files."
fn still(model: &Model) -> String {
    let left = |direction| {
        model
            .running()
            .filter(|t| t.direction == direction)
            .map(|t| u64::from(t.files.saturating_sub(t.files_done).max(1)))
            .sum::<u64>()
    };
    let files = |n| count(n, "file", "files");
    match (left(Direction::Sending), left(Direction::Receiving)) {
        (0, 0) => waits(model).to_owned(),
        (n, 0) => format!("Still sending {}.", files(n)),
        (0, n) => format!("Still receiving {}.", files(n)),
        (out, back) => format!("Still sending {} and receiving {back}.", files(out)),
    }
}

/// The same where no files are on their way.
fn waits(model: &Model) -> &'static str {
    let code = model.waiting_codes().next().is_some();
    let text = model.texts_on_their_way().next().is_some();
    match (code, text) {
        (true, _) => "A code still waits to be used.",
        (false, true) => "A text is still on its way.",
        (false, false) => "Nothing is on its way any more.",
    }
}
