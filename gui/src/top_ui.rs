//! The head of the window: who we are, our link, where files arrive; below it what a person
//! should know.

use egui::{Align, Label, Layout, TextEdit, Theme, Ui};
use peerconnect::node::api::Command;
use peerconnect::text::Shown;

use crate::icons::{self, Icon};
use crate::model::{About, Action, Model, Notice};
use crate::outside::Pick;
use crate::theme::{self, Tone};
use crate::words;

/// What is being typed here.
#[derive(Debug, Default)]
pub(crate) struct TopDraft {
    /// The new folder, while it is being changed.
    pub(crate) folder: Option<String>,
}

/// Name, link, folder.
pub(crate) fn top_ui(ui: &mut Ui, model: &Model, draft: &mut TopDraft) -> Vec<Action> {
    let mut actions = Vec::new();
    let me = &model.overview.me;
    ui.horizontal(|ui| {
        theme::avatar(ui, Some(&me.id), &me.name, 40.0);
        ui.add_space(4.0);
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            theme_button(ui);
            if theme::plain(ui, "Show QR code").clicked() {
                actions.push(Action::ShowLink(true));
            }
            let copy = theme::plain(ui, "Copy my link");
            if copy
                .on_hover_text("Send it to the other person: with it, they find this computer.")
                .clicked()
            {
                actions.push(Action::Copy(me.link.clone()));
            }
            ui.add_space(8.0);
            ui.with_layout(Layout::top_down(Align::Min), |ui| {
                ui.spacing_mut().item_spacing.y = 2.0;
                let name = Shown(&me.name).to_string();
                let text = theme::runs(ui, 18.0, &[("You are ", Tone::Weak), (&name, Tone::Plain)]);
                ui.add(Label::new(text).truncate());
                folder_line(ui, model, draft);
            });
        });
    });
    if draft.folder.is_some() {
        folder_form(ui, model, draft, &mut actions);
    }
    actions
}

fn theme_button(ui: &mut Ui) {
    let (icon, name, other) = if ui.visuals().dark_mode {
        (Icon::Sun, "Use light colours", Theme::Light)
    } else {
        (Icon::Moon, "Use dark colours", Theme::Dark)
    };
    if icons::button(ui, icon, name).clicked() {
        ui.ctx().set_theme(other);
    }
}

fn folder_line(ui: &mut Ui, model: &Model, draft: &mut TopDraft) {
    ui.horizontal(|ui| {
        let folder = words::folder(&model.overview.me.folder);
        let text = theme::note(ui, Tone::Weak, format!("Files arrive in {folder}"));
        ui.add(Label::new(text).truncate());
        let change = theme::note(ui, Tone::Accent, "Change…");
        if ui
            .link(change)
            .on_hover_text("Save received files somewhere else")
            .clicked()
        {
            let folder = &model.overview.me.folder;
            draft.folder = match draft.folder {
                Some(_) => None,
                None => Some(folder.to_string_lossy().into_owned()),
            };
        }
    });
}

fn folder_form(ui: &mut Ui, model: &Model, draft: &mut TopDraft, actions: &mut Vec<Action>) {
    let Some(text) = &mut draft.folder else {
        return;
    };
    let mut close = false;
    ui.horizontal(|ui| {
        let label = ui.label("Save received files in").id;
        let field = TextEdit::singleline(text).desired_width(320.0);
        ui.add(field).labelled_by(label);
        if ui
            .add_enabled(!model.picking, egui::Button::new("Choose…"))
            .clicked()
        {
            actions.push(Action::Pick(Pick::Target, None));
        }
        if theme::primary(ui, true, "Save here").clicked() {
            match words::typed_path(text) {
                Some(path) => {
                    actions.push(Action::Ask(Command::SetFolder(path), About::Nothing));
                    close = true;
                }
                None => actions.push(not_a_path()),
            }
        }
        close |= theme::plain(ui, "Leave as it is").clicked();
    });
    if close {
        draft.folder = None;
    }
}

/// What is said about a typed path that is none.
pub(crate) fn not_a_path() -> Action {
    Action::Say(
        Tone::Warn,
        "Type the whole path, beginning with / or ~.".into(),
    )
}

/// Lines that a person should read, ours and the node's.
pub(crate) fn notices_ui(ui: &mut Ui, model: &Model) -> Vec<Action> {
    let mut actions = Vec::new();
    for text in model.overview.notices.iter() {
        if !model.dismissed.contains(text) && line(ui, Tone::Warn, &Shown(text).to_string(), "", "")
        {
            actions.push(Action::DismissNode(text.clone()));
        }
    }
    for Notice {
        number,
        tone,
        words,
    } in &model.notices
    {
        if line(ui, *tone, &words.title, &words.detail, &words.hint) {
            actions.push(Action::Dismiss(*number));
        }
    }
    actions
}

/// One notice; whether it was closed.
fn line(ui: &mut Ui, tone: Tone, title: &str, detail: &str, hint: &str) -> bool {
    let p = theme::of(ui);
    let frame = theme::card(ui).stroke(egui::Stroke::new(1.0, p.tone(tone)));
    frame
        .show(ui, |ui| {
            ui.with_layout(Layout::right_to_left(Align::Min), |ui| {
                let closed = icons::button(ui, Icon::Close, "Close this message").clicked();
                ui.with_layout(Layout::top_down(Align::Min), |ui| {
                    // The first line stands beside the middle of the button.
                    ui.add_space(4.0);
                    let title = egui::RichText::new(title).color(p.tone(tone));
                    ui.add(Label::new(title).wrap().selectable(true));
                    let more = format!("{detail} {hint}");
                    if !more.trim().is_empty() {
                        let more = theme::note(ui, Tone::Weak, more.trim());
                        ui.add(Label::new(more).wrap().selectable(true));
                    }
                });
                closed
            })
            .inner
        })
        .inner
}
