//! What will be sent: choosing files, and the button that sends them.

use egui::{
    Align, CornerRadius, Layout, Margin, Rect, Role, ScrollArea, Sense, Shape, Stroke, StrokeKind,
    TextEdit, Ui, UiBuilder, WidgetInfo, vec2,
};
use peerconnect::node::api::Who;
use peerconnect::text::{Shown, bytes, count};

use crate::app::is_narrow;
use crate::bidi::visual;
use crate::icons::{self, Icon};
use crate::lines::{NAME_LEN, rest_of_line, words_and_buttons};
use crate::model::{Action, Model, Staged, Whose};
use crate::outside::Pick;
use crate::texts_ui::compose_ui;
use crate::theme::{self, Size, Tone};
use crate::top_ui::not_a_path;
use crate::words;

/// What is being typed here.
#[derive(Debug, Default)]
pub(crate) struct StagedDraft {
    path: String,
    /// The text that is being written, if one is.
    pub(crate) text: Option<String>,
}

/// The whole card.
pub(crate) fn staged_ui(ui: &mut Ui, model: &Model, draft: &mut StagedDraft) -> Vec<Action> {
    let mut actions = Vec::new();
    let empty = model.staged.is_empty();
    theme::card(ui).show(ui, |ui| {
        ui.set_width(ui.available_width());
        if empty {
            invitation(ui, model, draft, &mut actions);
        } else {
            head(ui, model, draft, &mut actions);
            chips(ui, model, &mut actions);
        }
        ui.add_space(2.0);
        path_line(ui, draft, &mut actions);
        if !empty {
            ui.add_space(4.0);
            send_line(ui, model, &mut actions);
        }
        actions.extend(compose_ui(ui, model, &mut draft.text));
    });
    actions
}

fn invitation_text(model: &Model) -> &'static str {
    match model.takes_drops {
        true => "Drop files here to send them",
        false => "Choose or paste files to send",
    }
}

const PROMISE: &str = "Whole folders too. Nothing leaves before you press Send.";
/// The same beside the buttons, where there is less room.
const SHORT_PROMISE: &str = "Nothing leaves before you press Send.";

fn invitation(ui: &mut Ui, model: &Model, draft: &mut StagedDraft, actions: &mut Vec<Action>) {
    // What else there is shall be in sight, too.
    let alone = model.overview.transfers.is_empty() && model.waiting_codes().next().is_none();
    if alone {
        large_invitation(ui, model, draft, actions);
        return;
    }
    let words = |ui: &mut Ui| {
        ui.with_layout(Layout::top_down(Align::Min), |ui| {
            ui.spacing_mut().item_spacing.y = 2.0;
            theme::title(ui, invitation_text(model));
            rest_of_line(ui, theme::note(ui, Tone::Weak, SHORT_PROMISE));
        });
    };
    words_and_buttons(ui, 480.0, words, |ui| {
        pick_buttons(ui, model, draft, actions)
    });
}

/// While nothing else is there, the place for files is easy to hit.
fn large_invitation(
    ui: &mut Ui,
    model: &Model,
    draft: &mut StagedDraft,
    actions: &mut Vec<Action>,
) {
    let p = theme::of(ui);
    let size = vec2(ui.available_width(), 220.0);
    let (rect, _) = ui.allocate_exact_size(size, Sense::hover());
    let corners = [
        rect.left_top(),
        rect.right_top(),
        rect.right_bottom(),
        rect.left_bottom(),
        rect.left_top(),
    ];
    let dashes = Shape::dashed_line(
        &corners,
        Stroke::new(1.0, p.weak.gamma_multiply(0.6)),
        5.0,
        5.0,
    );
    ui.painter().extend(dashes);
    let inside = UiBuilder::new().max_rect(rect.shrink(24.0));
    ui.new_child(inside).vertical_centered(|ui| {
        let (circle, _) = ui.allocate_exact_size(vec2(52.0, 52.0), Sense::hover());
        ui.painter()
            .circle_filled(circle.center(), 26.0, p.accent_soft);
        icons::paint(ui.painter(), circle, Icon::Up, p.accent_text);
        ui.add_space(6.0);
        theme::title(ui, invitation_text(model));
        ui.label(theme::note(ui, Tone::Weak, PROMISE));
        ui.add_space(6.0);
        let buttons = vec2(228.0, 32.0);
        ui.allocate_ui_with_layout(buttons, Layout::right_to_left(Align::Center), |ui| {
            pick_buttons(ui, model, draft, actions);
        });
    });
}

fn pick_buttons(ui: &mut Ui, model: &Model, draft: &mut StagedDraft, actions: &mut Vec<Action>) {
    if theme::plain(ui, "Text…")
        .on_hover_text("Write a message, or paste a link")
        .clicked()
    {
        draft.text = match draft.text {
            Some(_) => None,
            None => Some(String::new()),
        };
    }
    ui.add_enabled_ui(!model.picking, |ui| {
        if theme::plain(ui, "Folder…")
            .on_hover_text("Choose a folder (Ctrl+Shift+O)")
            .clicked()
        {
            actions.push(Action::Pick(Pick::Folder, Whose::Mine));
        }
        if theme::plain(ui, "Files…")
            .on_hover_text("Choose files (Ctrl+O)")
            .clicked()
        {
            actions.push(Action::Pick(Pick::Files, Whose::Mine));
        }
    });
}

fn head(ui: &mut Ui, model: &Model, draft: &mut StagedDraft, actions: &mut Vec<Action>) {
    let words = |ui: &mut Ui| {
        ui.horizontal(|ui| {
            theme::title(ui, "Ready to send");
            rest_of_line(ui, theme::note(ui, Tone::Weak, what_is_staged(model)));
        });
    };
    words_and_buttons(ui, 560.0, words, |ui| {
        if theme::small(ui, "Clear").clicked() {
            actions.push(Action::UnstageAll);
        }
        pick_buttons(ui, model, draft, actions);
    });
}

/// "2 files · 2.40 MB · 1 folder"
fn what_is_staged(model: &Model) -> String {
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
    parts.join(" · ")
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

/// One staged entry; whether it is to go. Painted by hand, because only something of known size
/// can move to the next line as a whole.
fn chip(ui: &mut Ui, entry: &Staged) -> bool {
    let p = theme::of(ui);
    let name = Shown(&entry.name()).to_string();
    let painter = ui.painter();
    let lay = |text, colour| painter.layout_no_wrap(text, Size::Note.font(), colour);
    let text = lay(visual(&shorten(&name, 36)).into_owned(), p.text);
    let size = lay(entry.bytes.map_or(String::new(), bytes), p.weak);
    let width = 32.0 + text.size().x + 8.0 + size.size().x + 30.0;
    let (rect, response) = ui.allocate_exact_size(vec2(width, 30.0), Sense::hover());
    response.widget_info(|| WidgetInfo::labeled(Role::Label, true, &name));
    let line = Stroke::new(1.0, p.line);
    let radius = CornerRadius::same(8);
    ui.painter()
        .rect(rect, radius, p.button, line, StrokeKind::Inside);
    let icon = if entry.bytes.is_some() {
        Icon::File
    } else {
        Icon::Folder
    };
    let left = Rect::from_min_size(rect.min, vec2(32.0, 30.0));
    icons::paint(ui.painter(), left, icon, p.weak);
    let mut at = rect.left_center() + vec2(30.0, 0.0);
    for galley in [text, size] {
        let step = galley.size().x + 8.0;
        let corner = at - vec2(0.0, galley.size().y / 2.0);
        ui.painter().galley(corner, galley, p.text);
        at.x += step;
    }
    let path = Shown(&entry.path.to_string_lossy()).to_string();
    response.on_hover_text(visual(&path));
    let close = Rect::from_center_size(rect.right_center() - vec2(16.0, 0.0), vec2(26.0, 26.0));
    icons::button_at(ui, close, Icon::Close, &format!("Do not send {name}")).clicked()
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

/// Where the list of devices is, seen from what is sent.
pub(crate) fn where_devices_are(ui: &Ui) -> &'static str {
    match is_narrow(ui) {
        true => "above",
        false => "on the left",
    }
}

const CODE_HINT: &str = "For somebody on the phone: a number and two words that are good for \
                         this once, in the same network or at a relay that both sides use";

const LATER_HINT: &str = "It was seen before and is not here now. It is sent by itself when both \
                          are online, even after PeerConnect was closed and opened again";

/// The one device that is chosen, if it is known and not to be seen now.
fn away(model: &Model) -> Option<Who> {
    let mut chosen = model.chosen_devices();
    let (device, None) = (chosen.next()?, chosen.next()) else {
        return None;
    };
    let gone = device.known.is_some() && device.near.is_none() && !device.is_connected();
    gone.then_some(device.who)
}

fn send_line(ui: &mut Ui, model: &Model, actions: &mut Vec<Action>) {
    let chosen: Vec<String> = model
        .chosen_devices()
        .map(|device| Shown(device.name).to_string())
        .collect();
    let target = model.attach_target();
    // Three buttons, two of them with names on them, leave no room for words.
    let least = if target.is_some() || away(model).is_some() {
        f32::INFINITY
    } else {
        460.0
    };
    let to_whom = |ui: &mut Ui| {
        if chosen.is_empty() {
            let text = format!("To whom? Choose a device {}.", where_devices_are(ui));
            rest_of_line(ui, theme::note(ui, Tone::Accent, text));
        }
    };
    words_and_buttons(ui, least, to_whom, |ui| {
        let text = match chosen.as_slice() {
            [] => "Send".to_owned(),
            [one] => format!("Send to {}", shorten(one, NAME_LEN)),
            more => format!("Send to {} devices", more.len()),
        };
        let send = theme::primary(ui, !chosen.is_empty(), &text)
            .on_disabled_hover_text(format!("Choose a device {} first", where_devices_are(ui)))
            .on_hover_text("Ctrl+Enter");
        if send.accessible_name(text).clicked() {
            actions.push(Action::Send);
        }
        if let Some((transfer, name)) = &target {
            let text = format!("Add to the transfer to {}", shorten(name, NAME_LEN));
            if theme::plain(ui, &text)
                .on_hover_text(visual(name))
                .clicked()
            {
                actions.push(Action::Attach(*transfer));
            }
        }
        if let Some(who) = away(model) {
            let later = theme::plain(ui, "Send when online").on_hover_text(LATER_HINT);
            if later.clicked() {
                actions.push(Action::SendWhenOnline(who));
            }
        }
        // There it can be looked up.
        if model.overview.has_codes() {
            let code = theme::plain(ui, "Get a code").on_hover_text(CODE_HINT);
            if code.clicked() {
                actions.push(Action::SendWithCode);
            }
        }
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
