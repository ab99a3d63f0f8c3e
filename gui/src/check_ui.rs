//! What works in the network, and what to do about the rest.

use egui::{Button, Key, Label, Margin, TextEdit, Ui};
use peerconnect::fault::Face;
use peerconnect::node::api::{Finding, Grade};

use crate::model::{Action, Model};
use crate::page_ui::{head, row, section};
use crate::texts::TextAction;
use crate::theme::{self, Size, Tone};

/// What is being typed here.
#[derive(Debug, Default)]
pub(crate) struct CheckDraft {
    /// The device to call.
    call: String,
}

/// The whole page.
pub(crate) fn check_ui(ui: &mut Ui, model: &Model, draft: &mut CheckDraft) -> Vec<Action> {
    let mut actions = Vec::new();
    let idle = !model.check.running;
    head(ui, "Check my network", &mut actions, |ui, actions| {
        let again = ui.add_enabled(idle, Button::new("Check again"));
        if again.clicked() {
            actions.push(Action::Check(None));
        }
    });
    section(ui, "What was found", |ui| {
        found(ui, model, &mut actions);
    });
    section(ui, "A device that is not reached", |ui| {
        let note = "It is called, to say whether it is reached, and how.";
        row(ui, "Call it", note, |ui| {
            call(ui, idle, draft, &mut actions)
        });
    });
    ui.add_space(8.0);
    actions
}

fn found(ui: &mut Ui, model: &Model, actions: &mut Vec<Action>) {
    let check = &model.check;
    if check.running {
        let text = "Looking at the network for a few seconds…";
        ui.label(theme::note(ui, Tone::Weak, text));
        return;
    }
    if check.found.is_empty() {
        ui.label(theme::note(ui, Tone::Weak, "Nothing yet."));
        return;
    }
    for finding in &check.found {
        finding_ui(ui, finding);
    }
    ui.add_space(4.0);
    ui.horizontal_wrapped(|ui| {
        if theme::small(ui, "Show my link").clicked() {
            actions.push(Action::ShowLink(true));
        }
        let copy = theme::small(ui, "Copy what was found");
        let copy = copy.on_hover_text("It holds addresses: look at it before you give it away.");
        if copy.clicked() {
            let lines: Vec<String> = check.found.iter().map(line).collect();
            actions.push(Action::Text(TextAction::Copy(lines.join("\n"))));
        }
    });
}

fn mark(grade: Grade) -> (&'static str, Tone) {
    match grade {
        Grade::Good => ("✔", Tone::Ok),
        Grade::Hint => ("⚠", Tone::Warn),
        Grade::Bad => ("✖", Tone::Error),
    }
}

fn line(finding: &Finding) -> String {
    let text = finding.text(Face::Window);
    format!("{} {}", mark(finding.grade()).0, text.trim_end_matches('.'))
}

fn finding_ui(ui: &mut Ui, finding: &Finding) {
    let (_, tone) = mark(finding.grade());
    let text = theme::toned(ui, tone, Size::Body, line(finding));
    ui.add(Label::new(text).wrap().selectable(true));
    if let Some(advice) = finding.advice(Face::Window) {
        // Below the words, not below the mark.
        egui::Frame::new()
            .inner_margin(Margin {
                left: 20,
                bottom: 4,
                ..Margin::ZERO
            })
            .show(ui, |ui| {
                let advice = theme::note(ui, Tone::Weak, advice);
                ui.add(Label::new(advice).wrap().selectable(true));
            });
    }
}

fn call(ui: &mut Ui, idle: bool, draft: &mut CheckDraft, actions: &mut Vec<Action>) {
    let field = TextEdit::singleline(&mut draft.call)
        .hint_text(theme::note(ui, Tone::Weak, "Name, link or address"))
        .margin(Margin::symmetric(8, 5))
        .desired_width((ui.available_width() - 90.0).clamp(120.0, 280.0));
    let field = ui.add(field).accessible_name("Device to call");
    let enter = field.lost_focus() && ui.input(|i| i.key_pressed(Key::Enter));
    let ready = idle && !draft.call.trim().is_empty();
    let call = ui.add_enabled(ready, Button::new("Call"));
    if call.clicked() || enter && ready {
        actions.push(Action::Check(Some(draft.call.trim().to_owned())));
    }
}
