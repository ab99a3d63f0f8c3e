//! What will be sent: choosing files, and the button that sends them.

use egui::{
    Align, CornerRadius, Frame, Label, Layout, Margin, ScrollArea, Stroke, TextEdit, Ui,
};
use peerconnect::text::{Shown, bytes, count};

use crate::icons::{self, Icon};
use crate::model::{Action, Model, Staged};
use crate::outside::Pick;
use crate::theme::{self, Tone};
use crate::top_ui::not_a_path;
use crate::words;

/// What is being typed here.
#[derive(Debug, Default)]
pub(crate) struct StagedDraft {
    path: String,
}

/// The whole card.
pub(crate) fn staged_ui(ui: &mut Ui, model: &Model, draft: &mut StagedDraft) -> Vec<Action> {
    let mut actions = Vec::new();
    let empty = model.staged.is_empty();
    theme::card(ui).show(ui, |ui| {
        ui.set_width(ui.available_width());
        if empty {
            invitation(ui, model, &mut actions);
        } else {
            head(ui, model, &mut actions);
            chips(ui, model, &mut actions);
        }
        ui.add_space(2.0);
        path_line(ui, draft, &mut actions);
        if !empty {
            ui.add_space(4.0);
            send_line(ui, model, &mut actions);
        }
    });
    actions
}

fn invitation(ui: &mut Ui, model: &Model, actions: &mut Vec<Action>) {
    ui.horizontal(|ui| {
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            pick_buttons(ui, model, actions);
            ui.with_layout(Layout::top_down(Align::Min), |ui| {
                ui.spacing_mut().item_spacing.y = 2.0;
                ui.label(theme::title("Drop files here to send them"));
                let text = "Whole folders too. Nothing leaves before you press Send.";
                let text = theme::note(ui, Tone::Weak, text);
                ui.add(Label::new(text).truncate());
            });
        });
    });
}

fn pick_buttons(ui: &mut Ui, model: &Model, actions: &mut Vec<Action>) {
    ui.add_enabled_ui(!model.picking, |ui| {
        if theme::plain(ui, "Folder…")
            .on_hover_text("Choose a folder (Ctrl+Shift+O)")
            .clicked()
        {
            actions.push(Action::Pick(Pick::Folder, None));
        }
        if theme::plain(ui, "Files…")
            .on_hover_text("Choose files (Ctrl+O)")
            .clicked()
        {
            actions.push(Action::Pick(Pick::Files, None));
        }
    });
}

fn head(ui: &mut Ui, model: &Model, actions: &mut Vec<Action>) {
    ui.horizontal(|ui| {
        ui.label(theme::title("Ready to send"));
        let total: u64 = model.staged.iter().filter_map(|s| s.bytes).sum();
        let folders = model.staged.iter().filter(|s| s.bytes.is_none()).count();
        let files = model.staged.len() - folders;
        let mut parts = Vec::new();
        if files > 0 {
            parts.push(count(files as u64, "file", "files"));
            parts.push(bytes(total));
        }
        if folders > 0 {
            parts.push(count(folders as u64, "folder", "folders"));
        }
        ui.label(theme::note(ui, Tone::Weak, parts.join(" · ")));
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            if theme::small(ui, "Clear").clicked() {
                actions.push(Action::UnstageAll);
            }
            pick_buttons(ui, model, actions);
        });
    });
}

/// Chips that are shown; the others are counted.
const CHIPS: usize = 60;

fn chips(ui: &mut Ui, model: &Model, actions: &mut Vec<Action>) {
    ScrollArea::vertical()
        .id_salt("staged")
        .max_height(76.0)
        .show(ui, |ui| {
            ui.horizontal_wrapped(|ui| {
                for (place, entry) in model.staged.iter().enumerate().take(CHIPS) {
                    if chip(ui, entry) {
                        actions.push(Action::Unstage(place));
                    }
                }
                let rest = model.staged.len().saturating_sub(CHIPS);
                if rest > 0 {
                    ui.label(theme::note(ui, Tone::Weak, format!("and {rest} more")));
                }
            });
        });
}

/// One staged entry; whether it is to go.
fn chip(ui: &mut Ui, entry: &Staged) -> bool {
    let p = theme::of(ui);
    let name = Shown(&entry.name()).to_string();
    Frame::new()
        .fill(p.button)
        .stroke(Stroke::new(1.0, p.line))
        .corner_radius(CornerRadius::same(8))
        .inner_margin(Margin {
            left: 8,
            right: 2,
            top: 1,
            bottom: 1,
        })
        .show(ui, |ui| {
            ui.spacing_mut().item_spacing.x = 5.0;
            let icon = if entry.bytes.is_some() {
                Icon::File
            } else {
                Icon::Folder
            };
            icons::show(ui, icon, p.weak);
            let short = shorten(&name, 36);
            let label = ui.label(egui::RichText::new(short).size(13.5));
            label.on_hover_text(Shown(&entry.path.to_string_lossy()).to_string());
            if let Some(size) = entry.bytes {
                ui.label(theme::note(ui, Tone::Weak, bytes(size)));
            }
            icons::button(ui, Icon::Close, &format!("Do not send {name}")).clicked()
        })
        .inner
}

/// A long name with its middle taken out: beginning and extension stay.
pub(crate) fn shorten(name: &str, most: usize) -> String {
    let letters: Vec<char> = name.chars().collect();
    if letters.len() <= most {
        return name.to_owned();
    }
    let tail = 10.min(most / 2);
    let (head, rest) = letters.split_at(most - tail - 1);
    let tail = &rest[rest.len() - tail..];
    head.iter().chain(&['…']).chain(tail).collect()
}

fn path_line(ui: &mut Ui, draft: &mut StagedDraft, actions: &mut Vec<Action>) {
    ui.horizontal(|ui| {
        let label = ui.label(theme::note(ui, Tone::Weak, "or a path")).id;
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            let ready = !draft.path.trim().is_empty();
            let add = ui.add_enabled(ready, egui::Button::new("Add"));
            let mut sent = add.accessible_name("Add the path").clicked();
            let field = TextEdit::singleline(&mut draft.path)
                .hint_text(theme::note(ui, Tone::Weak, "/home/me/holiday.mp4"))
                .margin(Margin::symmetric(8, 5))
                .desired_width(f32::INFINITY);
            let field = ui.add(field).labelled_by(label);
            sent |= field.lost_focus() && ui.input(|i| i.key_pressed(egui::Key::Enter));
            if sent && ready {
                match words::typed_path(&draft.path) {
                    Some(path) => {
                        actions.push(Action::Stage(vec![path]));
                        draft.path.clear();
                    }
                    None => actions.push(not_a_path()),
                }
            }
        });
    });
}

fn send_line(ui: &mut Ui, model: &Model, actions: &mut Vec<Action>) {
    let chosen: Vec<String> = model
        .chosen_peers()
        .map(|p| Shown(p.record.name()).to_string())
        .collect();
    ui.horizontal(|ui| {
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            let text = match chosen.as_slice() {
                [] => "Send".to_owned(),
                [one] => format!("Send to {}", shorten(one, 28)),
                more => format!("Send to {} devices", more.len()),
            };
            let send = theme::primary(ui, !chosen.is_empty(), &text)
                .on_disabled_hover_text("Choose a device on the left first")
                .on_hover_text("Ctrl+Enter");
            if send.accessible_name(text).clicked() {
                actions.push(Action::Send);
            }
            if let Some(t) = model.attach_target() {
                let name = Shown(&t.peer_name).to_string();
                let text = format!("Add to the transfer to {}", shorten(&name, 28));
                if theme::plain(ui, &text).clicked() {
                    actions.push(Action::Attach(t.id));
                }
            }
            if chosen.is_empty() {
                ui.with_layout(Layout::left_to_right(Align::Center), |ui| {
                    let text = "To whom? Choose a device on the left.";
                    let text = theme::note(ui, Tone::Accent, text);
                    ui.add(Label::new(text).truncate());
                });
            }
        });
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_keep_their_beginning_and_their_extension() {
        assert_eq!(shorten("short.txt", 36), "short.txt");
        let long = format!("{}.docx", "é".repeat(300));
        let short = shorten(&long, 36);
        assert_eq!(short.chars().count(), 36);
        assert!(short.ends_with(".docx") && short.contains('…'));
    }
}
