//! What the window does as a whole: its title, calling for attention, and leaving politely.

use std::time::Duration;

use egui::{Context, Modal, Ui, ViewportCommand};
use peerconnect::protocol::message::TransferId;
use peerconnect::text::count;
use peerconnect::transfer::status::Direction;

use crate::app::App;
use crate::model::{Action, Model};
use crate::theme::{self, Tone};
use crate::words;

/// How long quitting waits for the node to put its things in order.
const QUIT_LIMIT: Duration = Duration::from_secs(2);

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

    /// Asks for attention once for each question and each text, without taking the focus.
    pub(crate) fn call_attention(&mut self, ctx: &Context) {
        let offers = self.model.questions();
        let conflicts = self.model.conflicts().map(|(t, _)| t);
        let texts = self.model.overview.texts.iter();
        let texts = texts.filter(|t| t.is_question() || t.has_come());
        let open = offers.chain(conflicts).map(|t| t.id);
        let open: Vec<TransferId> = open.chain(texts.map(|t| t.id)).collect();
        let new = open.iter().any(|id| !self.called.contains(id));
        if new && !ctx.input(|i| i.viewport().focused.unwrap_or(true)) {
            ctx.send_viewport_cmd(ViewportCommand::RequestUserAttention(
                egui::UserAttentionType::Informational,
            ));
        }
        self.called = open;
    }

    /// Holds the window open and asks, if closing it would stop a transfer.
    pub(crate) fn leave_politely(&mut self, ctx: &Context) {
        let wanted = ctx.input(|i| i.viewport().close_requested());
        let stops = self.own_node && !self.over && self.model.running().next().is_some();
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
        dialog.show(ui.ctx(), |ui| {
            ui.set_width(380.0);
            theme::title(ui, &still(&self.model));
            let text = theme::note(ui, Tone::Weak, words::left(self.model.running()));
            ui.add(egui::Label::new(text).wrap());
            ui.add_space(12.0);
            ui.horizontal(|ui| {
                if theme::primary(ui, true, "Keep running").clicked() {
                    actions.push(Action::Left(false));
                }
                if theme::plain(ui, "Pause and quit").clicked() {
                    actions.push(Action::Left(true));
                }
            });
        });
        actions
    }

    /// Ends the node, if it is ours. Call once, when the window is gone.
    pub fn shut_down(&mut self) {
        if self.own_node {
            self.bridge.shut_down(QUIT_LIMIT);
        }
    }
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
        (n, 0) => format!("Still sending {}.", files(n)),
        (0, n) => format!("Still receiving {}.", files(n)),
        (out, back) => format!("Still sending {} and receiving {back}.", files(out)),
    }
}
