//! One-time codes that wait here to be typed on another computer.

use egui::{Label, Ui};
use peerconnect::node::api::{CodeCommand, CodeReach, CodeSnapshot, Command};
use peerconnect::protocol::codes::TypedCode;
use peerconnect::text::{Shown, duration};

use crate::bidi::AnyScript;
use crate::lines::buttons_at_right;
use crate::model::{About, Action, Model};
use crate::staged_ui::shorten;
use crate::theme::{self, Size, Tone};

/// Letters of what a code is for.
const NAMES_LEN: usize = 60;

const LINK_HINT: &str = "For a message: whoever opens it first, while this waits, gets the files. \
                         It says where this device is, so it needs neither the same network nor \
                         a relay where that can be reached";

/// A card for each.
pub(crate) fn codes_ui(ui: &mut Ui, model: &Model) -> Vec<Action> {
    let mut actions = Vec::new();
    for code in model.waiting_codes() {
        theme::loud_card(ui).show(ui, |ui| {
            ui.set_width(ui.available_width());
            ui.push_id(code.id.0, |ui| waiting(ui, model, code, &mut actions));
        });
        ui.add_space(10.0);
    }
    actions
}

fn waiting(ui: &mut Ui, model: &Model, code: &CodeSnapshot, actions: &mut Vec<Action>) {
    match &code.code {
        Some(text) => {
            let how = "On the other computer: Add a device, and type this";
            ui.label(theme::note(ui, Tone::Weak, how));
            let text = Size::Huge.even(text);
            ui.add(Label::new(text).selectable(true));
        }
        None => drop(theme::title(ui, "Looking for a code…")),
    }
    if code.wrong > 0 {
        let text = "Somebody typed a wrong code, which uses it up. Nothing was sent. This is the \
                    new one.";
        ui.lines(theme::note(ui, Tone::Warn, text));
    }
    let names = shorten(&Shown(&code.names.join(", ")).to_string(), NAMES_LEN);
    let left = duration(code.expires.saturating_sub(model.now));
    let place = match code.reach {
        CodeReach::Anywhere => "",
        CodeReach::Nearby => ", in the same network",
    };
    let text = format!("For {names}. It works once, within {left}{place}.");
    ui.lines(theme::note(ui, Tone::Weak, text));
    buttons_at_right(ui, |ui| {
        if let Some(text) = &code.code {
            if theme::plain(ui, "Copy the code").clicked() {
                actions.push(Action::Copy(text.clone()));
            }
            let link = theme::plain(ui, "Copy as a link").on_hover_text(LINK_HINT);
            if link.clicked() {
                let link = TypedCode::one_time_link(&model.overview.me.link, text);
                actions.push(Action::Copy(link));
            }
        }
        if theme::plain(ui, "Give the code up").clicked() {
            let drop = Command::Code(CodeCommand::Drop(code.id));
            actions.push(Action::Ask(drop, About::Nothing));
        }
    });
}
