//! Texts: questions about those that somebody wants to send, those that came, those that were sent.

use egui::{Align, Layout, RichText, ScrollArea, TextEdit, Ui};
use peerconnect::node::api::{Command, TextCommand, TextSnapshot, TextState};
use peerconnect::protocol::texts::{TEXT_LEN_MAX, TextId};
use peerconnect::text::{Shown, ShownText, bytes};
use peerconnect::transfer::status::Direction;

use crate::bidi::AnyScript;
use crate::guard::Guard;
use crate::icons::{self, Icon};
use crate::lines::{NAME_LEN, buttons_at_right, rest_of_line};
use crate::model::{About, Action, Model};
use crate::offer_ui::identity;
use crate::staged_ui::{shorten, where_devices_are};
use crate::texts::{TextAction, is_sendable};
use crate::theme::{self, Size, Tone};
use crate::words;

/// Height of a text, in points; a longer one is scrolled.
const TEXT_HEIGHT: f32 = 110.0;

/// Since when the cards stand as they stand.
#[derive(Debug, Default)]
pub(crate) struct TextsDraft {
    guard: Guard<TextId>,
}

/// All cards about texts.
pub(crate) fn texts_ui(ui: &mut Ui, model: &Model, draft: &mut TextsDraft) -> Vec<Action> {
    let mut actions = Vec::new();
    let time = ui.input(|i| i.time);
    let order: Vec<TextId> = model.text_questions().map(|t| t.id).collect();
    let still = draft.guard.settle(order, time);
    draft.guard.wake(ui.ctx(), time);
    for t in model.overview.texts.iter() {
        let loud = t.is_question() || t.has_come();
        let card = match loud {
            true => theme::loud_card(ui),
            false => theme::card(ui),
        };
        let drawn = card.show(ui, |ui| {
            ui.set_width(ui.available_width());
            ui.push_id(t.id.0, |ui| match t.direction {
                Direction::Receiving if t.is_question() => {
                    let open = !model.texts.answered.contains(&t.id);
                    ui.add_enabled_ui(open, |ui| question(ui, t, still && open, &mut actions));
                }
                Direction::Receiving => {
                    let text = model.texts.read.get(&t.id).and_then(Option::as_deref);
                    received(ui, t, text, &mut actions);
                }
                Direction::Sending => sent(ui, t, &mut actions),
            });
        });
        model.show_sought(t.id, &drawn.response);
    }
    actions
}

fn question(ui: &mut Ui, t: &TextSnapshot, ready: bool, actions: &mut Vec<Action>) {
    let name = Shown(&t.peer_name).to_string();
    ui.horizontal(|ui| {
        let key = t.peer.and_then(|peer| peer.key());
        theme::avatar(ui, key.as_ref(), &t.peer_name, 36.0);
        ui.vertical(|ui| {
            ui.spacing_mut().item_spacing.y = 2.0;
            let wants = format!(" wants to send you a text ({})", bytes(t.bytes.into()));
            let text = theme::runs(
                ui,
                Size::Lead,
                &[(&name, Tone::Plain), (&wants, Tone::Weak)],
            );
            ui.lines(text);
            identity(ui, t.is_legacy(), t.trusted, t.words.as_deref());
        });
    });
    buttons_at_right(ui, |ui| {
        let show = theme::primary(ui, ready, "Show it");
        if show
            .accessible_name(format!("Show the text from {name}"))
            .clicked()
        {
            actions.push(answer(t, true));
        }
        let decline = theme::plain(ui, "Decline");
        if decline
            .accessible_name(format!("Decline the text from {name}"))
            .clicked()
        {
            actions.push(answer(t, false));
        }
    });
}

/// A line that begins at the right.
fn from_right<R>(ui: &mut Ui, add: impl FnOnce(&mut Ui) -> R) -> R {
    let right = Layout::right_to_left(Align::Center);
    ui.horizontal(|ui| ui.with_layout(right, add).inner).inner
}

fn answer(t: &TextSnapshot, take: bool) -> Action {
    let answer = TextCommand::Answer { text: t.id, take };
    Action::Ask(Command::Text(answer), About::AnswerText(t.id))
}

fn close(t: &TextSnapshot) -> Action {
    Action::Ask(Command::Text(TextCommand::Drop(t.id)), About::Nothing)
}

fn received(ui: &mut Ui, t: &TextSnapshot, text: Option<&str>, actions: &mut Vec<Action>) {
    let name = Shown(&t.peer_name).to_string();
    ui.horizontal(|ui| {
        let key = t.peer.and_then(|peer| peer.key());
        theme::avatar(ui, key.as_ref(), &t.peer_name, 28.0);
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            if icons::button(ui, Icon::Close, &format!("Close the text from {name}")).clicked() {
                actions.push(close(t));
            }
            if let Some(text) = text {
                text_buttons(ui, text, &name, actions);
            }
            ui.with_layout(Layout::left_to_right(Align::Center), |ui| {
                let head = theme::runs(
                    ui,
                    Size::Body,
                    &[("Text from ", Tone::Weak), (&name, Tone::Plain)],
                );
                rest_of_line(ui, head);
            });
        });
    });
    if t.is_legacy() {
        ui.label(theme::note(ui, Tone::Warn, words::NOT_ENCRYPTED));
    }
    let Some(text) = text else {
        return;
    };
    ScrollArea::vertical()
        .id_salt("text")
        .max_height(TEXT_HEIGHT)
        .show(ui, |ui| {
            // What the text says of itself is never drawn: control characters are escaped.
            ui.message(RichText::new(ShownText(text).to_string()));
        });
}

fn text_buttons(ui: &mut Ui, text: &str, name: &str, actions: &mut Vec<Action>) {
    if let Some((link, host)) = words::link(text) {
        let open = theme::primary(ui, true, "Open");
        let open = open
            .on_hover_text(format!("Opens {host} in your browser"))
            .accessible_name(format!("Open {host}"));
        if open.clicked() {
            actions.push(Action::Text(TextAction::Browse(link.to_owned())));
        }
    }
    let copy = theme::plain(ui, "Copy");
    if copy
        .accessible_name(format!("Copy the text from {name}"))
        .clicked()
    {
        actions.push(Action::Text(TextAction::Copy(text.to_owned())));
    }
}

fn sent(ui: &mut Ui, t: &TextSnapshot, actions: &mut Vec<Action>) {
    let status = words::text_status(t);
    from_right(ui, |ui| {
        let name = Shown(&t.peer_name).to_string();
        let what = match t.state {
            TextState::Moving | TextState::Asking => format!("Take back the text to {name}"),
            TextState::Delivered | TextState::HandedOver | TextState::Failed => {
                format!("Close the text to {name}")
            }
        };
        if icons::button(ui, Icon::Close, &what).clicked() {
            actions.push(close(t));
        }
        ui.with_layout(Layout::top_down(Align::Min), |ui| {
            ui.spacing_mut().item_spacing.y = 2.0;
            let line = RichText::new(&status.line).color(theme::of(ui).tone(status.tone));
            ui.lines(line);
            if !status.more.is_empty() {
                ui.lines(theme::note(ui, Tone::Weak, status.more));
            }
        });
    });
}

/// The field for a text to send, below the files. `draft` is `None` while there is none.
pub(crate) fn compose_ui(ui: &mut Ui, model: &Model, draft: &mut Option<String>) -> Vec<Action> {
    let mut actions = Vec::new();
    let Some(text) = draft else {
        return actions;
    };
    let label = ui.label(theme::note(ui, Tone::Weak, "Text to send")).id;
    ScrollArea::vertical()
        .id_salt("compose")
        .max_height(TEXT_HEIGHT)
        .show(ui, |ui| {
            let field = TextEdit::multiline(text)
                .hint_text(theme::note(ui, Tone::Weak, "A message or a link"))
                .desired_rows(2)
                .desired_width(f32::INFINITY);
            ui.add(field).labelled_by(label);
        });
    let too_long = text.len() > TEXT_LEN_MAX;
    if too_long {
        let (is, most) = (bytes(text.len() as u64), bytes(TEXT_LEN_MAX as u64));
        let line = format!("{is} is too long for a text: at most {most}. Send it as a file.");
        ui.lines(theme::note(ui, Tone::Error, line));
    }
    let chosen: Vec<String> = model
        .chosen_devices()
        .map(|device| Shown(device.name).to_string())
        .collect();
    let ready = !chosen.is_empty() && is_sendable(text);
    let mut close = false;
    buttons_at_right(ui, |ui| {
        let name = match chosen.as_slice() {
            [] => "Send the text".to_owned(),
            [one] => format!("Send the text to {}", shorten(one, NAME_LEN)),
            more => format!("Send the text to {} devices", more.len()),
        };
        let send = theme::primary(ui, ready, &name);
        if send
            .on_disabled_hover_text(format!(
                "Write something, and choose a device {}",
                where_devices_are(ui)
            ))
            .on_hover_text("Ctrl+Enter")
            .clicked()
        {
            actions.push(Action::Text(TextAction::Send(text.clone())));
            close = true;
        }
        close |= theme::plain(ui, "No text").clicked();
    });
    if close {
        *draft = None;
    }
    actions
}
