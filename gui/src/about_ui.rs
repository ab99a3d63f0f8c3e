//! What this program is, what it was made of, and what it has noted for itself.

use egui::{Label, ScrollArea, Ui};
use peerconnect::text::Shown;

use crate::model::{Action, Model};
use crate::page_ui::{head, section};
use crate::texts::TextAction;
use crate::theme::{self, Size, Tone};

/// Each package that this program is built with, and its licence: `name: licence`. Made by the
/// test that holds it to `Cargo.lock`.
pub(crate) const LICENCES: &str = include_str!("../licences.txt");

/// The texts of these licences, with the names of those who gave them. Made by the same test.
pub const TEXTS: &str = include_str!("../licence-texts.txt");

/// Height of a list at most.
const LIST: f32 = 240.0;

/// What is open here.
#[derive(Debug, Default)]
pub(crate) struct AboutDraft {
    /// The lines of the licences, while they are shown.
    texts: Option<Vec<&'static str>>,
}

/// The whole page.
pub(crate) fn about_ui(ui: &mut Ui, model: &Model, draft: &mut AboutDraft) -> Vec<Action> {
    let mut actions = Vec::new();
    head(ui, "About", &mut actions, |_, _| {});
    section(ui, "This program", |ui| {
        ui.label(format!("PeerConnect {}", env!("CARGO_PKG_VERSION")));
        let text = "Sends files between people's computers: directly, encrypted, verified. \
                    Free software, under the MIT or the Apache 2.0 licence, as you like.";
        ui.add(Label::new(theme::note(ui, Tone::Weak, text)).wrap());
    });
    section(ui, "Log of this window", |ui| log(ui, model, &mut actions));
    section(ui, "What it is built with", |ui| licences(ui, draft));
    ui.add_space(8.0);
    actions
}

fn log(ui: &mut Ui, model: &Model, actions: &mut Vec<Action>) {
    let lines = &model.log;
    if lines.is_empty() {
        ui.label(theme::note(ui, Tone::Weak, "Nothing was noted yet."));
        return;
    }
    lines_ui(ui, "log", lines.len(), true, |ui, n| {
        let line = lines.get(n).map(String::as_str).unwrap_or_default();
        line_ui(ui, &Shown(line).to_string());
    });
    ui.add_space(4.0);
    let text = "It holds names and addresses of devices: look at it before you give it away.";
    ui.add(Label::new(theme::note(ui, Tone::Weak, text)).wrap());
    if theme::small(ui, "Copy the log").clicked() {
        let text = lines.join("\n");
        actions.push(Action::Text(TextAction::Copy(text)));
    }
}

fn licences(ui: &mut Ui, draft: &mut AboutDraft) {
    let text = match draft.texts {
        Some(_) => "Show the names of what it is built with",
        None => "Show the texts of the licences",
    };
    if theme::small(ui, text).clicked() {
        draft.texts = match draft.texts {
            Some(_) => None,
            None => Some(TEXTS.lines().collect()),
        };
    }
    ui.add_space(4.0);
    match &draft.texts {
        Some(lines) => lines_of(ui, "texts", lines),
        None => lines_of(ui, "licences", &LICENCES.lines().collect::<Vec<_>>()),
    }
}

fn lines_of(ui: &mut Ui, id: &str, lines: &[&str]) {
    lines_ui(ui, id, lines.len(), false, |ui, n| {
        line_ui(ui, lines.get(n).copied().unwrap_or_default());
    });
}

/// A list of lines, of which only those on the screen are drawn.
fn lines_ui(ui: &mut Ui, id: &str, count: usize, at_end: bool, line: impl Fn(&mut Ui, usize)) {
    ui.spacing_mut().item_spacing.y = 0.0;
    // As high as they are drawn: the list would jump while it is scrolled.
    let font = Size::Small.even_font();
    let height = ui.fonts_mut(|fonts| fonts.row_height(&font));
    ScrollArea::both()
        .id_salt(id)
        .max_height(LIST)
        .auto_shrink([false, true])
        .stick_to_bottom(at_end)
        .show_rows(ui, height, count, |ui, rows| {
            for n in rows {
                line(ui, n);
            }
        });
}

fn line_ui(ui: &mut Ui, text: &str) {
    let text = Size::Small.even(text);
    ui.add(Label::new(text).extend().selectable(true));
}
