//! What has ended: found by words, opened, sent again, cleared. Only rows on the screen are drawn.

use egui::{Align, Layout, Margin, Popup, ScrollArea, Sense, TextEdit, Ui, UiBuilder, vec2};
use peerconnect::node::api::Command;
use peerconnect::storage::store::HistoryRecord;

use crate::bidi::{AnyScript, read};
use crate::history::READ_MAX;
use crate::icons;
use crate::model::{About, Action, Model};
use crate::page_ui;
use crate::texts::TextAction;
use crate::theme::{self, Size, Tone};
use crate::words;

/// Width of what is said about a failure.
const WHY: f32 = 320.0;

/// Height of an entry.
const ROW: f32 = 58.0;

/// What is being typed here.
#[derive(Debug, Default)]
pub(crate) struct HistoryDraft {
    query: String,
    /// The person wants to clear it and has not confirmed.
    doubt: bool,
    /// The person wants to look for something: the field for it gets the keyboard.
    pub(crate) search: bool,
}

/// The whole page.
pub(crate) fn history_ui(ui: &mut Ui, model: &Model, draft: &mut HistoryDraft) -> Vec<Action> {
    let mut actions = Vec::new();
    egui::Frame::new()
        .inner_margin(Margin {
            right: 14,
            ..Margin::ZERO
        })
        .show(ui, |ui| {
            page_ui::head(ui, "History", &mut actions, |ui, actions| {
                top(ui, model, draft, actions);
            });
            if draft.doubt {
                doubt(ui, model, draft, &mut actions);
            }
        });
    ui.add_space(4.0);
    let Some(shown) = model.history.shown() else {
        ui.label(theme::note(ui, Tone::Weak, "Reading the history…"));
        return actions;
    };
    if shown.is_empty() {
        let text = match model.history.len() {
            0 => "Nothing has ended yet. What was sent and received shows here.",
            _ => "Nothing fits these words.",
        };
        ui.label(theme::note(ui, Tone::Weak, text));
        return actions;
    }
    let list = ScrollArea::vertical().auto_shrink([false, false]);
    ui.spacing_mut().item_spacing.y = 0.0;
    list.show_rows(ui, ROW, shown.len(), |ui, rows| {
        for place in shown.get(rows).unwrap_or_default() {
            if let Some(record) = model.history.record(*place) {
                entry(ui, model, (*place, record), &mut actions);
            }
        }
    });
    actions
}

fn top(ui: &mut Ui, model: &Model, draft: &mut HistoryDraft, actions: &mut Vec<Action>) {
    let any = model.history.len() > 0;
    let clear = ui.add_enabled(any, egui::Button::new("Clear…").min_size(vec2(0.0, 30.0)));
    if clear.accessible_name("Clear the history").clicked() {
        draft.doubt = !draft.doubt;
    }
    let width = ui.available_width().min(260.0);
    let field = TextEdit::singleline(&mut draft.query)
        .hint_text(theme::note(ui, Tone::Weak, "Search names and people"))
        .margin(Margin::symmetric(8, 6))
        .desired_width(width);
    let field = ui.add(field);
    if std::mem::take(&mut draft.search) {
        field.request_focus();
    }
    field.widget_info(|| {
        egui::WidgetInfo::text_edit(true, &draft.query, &draft.query, "Search names and people")
    });
    if field.accessible_name("Search the history").changed() {
        actions.push(Action::LookFor(draft.query.clone()));
    }
}

fn doubt(ui: &mut Ui, model: &Model, draft: &mut HistoryDraft, actions: &mut Vec<Action>) {
    let all = match model.history.len() {
        n if n >= READ_MAX as usize => "all entries".to_owned(),
        n => peerconnect::text::count(n as u64, "entry", "entries"),
    };
    theme::card(ui).show(ui, |ui| {
        ui.set_width(ui.available_width());
        let text = format!("Forget {all}? Your files stay where they are.");
        ui.lines(theme::note(ui, Tone::Warn, text));
        ui.horizontal(|ui| {
            if theme::small(ui, "Clear the history now").clicked() {
                draft.doubt = false;
                actions.push(Action::Ask(Command::ClearHistory, About::Nothing));
                actions.push(Action::ForgetHistory);
            }
            if theme::small(ui, "Keep it").clicked() {
                draft.doubt = false;
            }
        });
    });
}

fn entry(
    ui: &mut Ui,
    model: &Model,
    (place, record): (usize, &HistoryRecord),
    actions: &mut Vec<Action>,
) {
    let told = words::history(record, model.now);
    let size = vec2(ui.available_width(), ROW);
    let (rect, _) = ui.allocate_exact_size(size, Sense::hover());
    let p = theme::of(ui);
    let line = egui::Stroke::new(1.0, p.line);
    let across = rect.with_max_x(rect.right() - 14.0).x_range();
    ui.painter().hline(across, rect.bottom() - 0.5, line);
    let inside = rect.shrink2(vec2(0.0, 6.0)).with_max_x(rect.right() - 14.0);
    let builder = UiBuilder::new()
        .max_rect(inside)
        .id_salt((record.transfer.0, place))
        .layout(Layout::right_to_left(Align::Center));
    let mut row = ui.new_child(builder);
    offers(&mut row, (place, record), &told.subject, actions);
    why(&mut row, &told);
    row.with_layout(Layout::left_to_right(Align::Center), |ui| {
        badge(ui, &told);
        ui.with_layout(Layout::top_down(Align::Min), |ui| {
            ui.spacing_mut().item_spacing.y = 2.0;
            ui.add_space(4.0);
            let parts = [
                (told.subject.as_str(), Tone::Plain),
                (told.whom.as_str(), Tone::Weak),
                (told.mark, Tone::Warn),
            ];
            ui.line(theme::runs(ui, Size::Body, &parts));
            let parts = [
                (told.result.as_str(), told.tone),
                (told.rest.as_str(), Tone::Weak),
            ];
            ui.line(theme::runs(ui, Size::Note, &parts));
        });
    });
}

fn badge(ui: &mut Ui, told: &words::Told) {
    let p = theme::of(ui);
    let (rect, _) = ui.allocate_exact_size(egui::Vec2::splat(26.0), Sense::hover());
    let colour = match told.tone {
        Tone::Ok => p.ok,
        Tone::Warn | Tone::Error => p.warn,
        Tone::Plain | Tone::Weak | Tone::Accent => p.weak,
    };
    let radius = egui::CornerRadius::same(8);
    ui.painter().rect_filled(rect, radius, p.button);
    icons::paint(ui.painter(), rect, told.icon, colour);
}

/// Why it ended, behind a button: the keyboard and screen readers reach it, too.
fn why(ui: &mut Ui, told: &words::Told) {
    let Some(more) = &told.more else {
        return;
    };
    let name = format!("Why: {}", read(&told.subject));
    let button = theme::small(ui, "Why?").accessible_name(name);
    Popup::from_toggle_button_response(&button).show(|ui| {
        ui.set_max_width(WHY);
        ui.lines(more.as_str());
    });
}

/// What can be done with it, from right to left.
fn offers(
    ui: &mut Ui,
    (place, record): (usize, &HistoryRecord),
    subject: &str,
    actions: &mut Vec<Action>,
) {
    let mut offer = |ui: &mut Ui, text: &str, action: Action| {
        let name = format!("{text}: {subject}");
        if theme::small(ui, text).accessible_name(name).clicked() {
            actions.push(action);
        }
    };
    if let Some(text) = record.text.as_ref().filter(|text| !text.cut) {
        let copy = Action::Text(TextAction::Copy(text.start.clone()));
        offer(ui, "Copy", copy);
    }
    if !record.sources.is_empty() {
        offer(ui, "Send again", Action::SendFromHistory(place));
    }
    let Some(folder) = record.folder.as_ref().filter(|_| !record.sent) else {
        return;
    };
    let narrow = ui.available_width() < 420.0;
    let arrived = record.fault.is_none() && record.failed < record.files;
    if arrived {
        offer(
            ui,
            "Show in folder",
            Action::ShowFolder(folder.clone(), record.names.first().cloned()),
        );
    }
    if let ([name], 1) = (record.names.as_slice(), record.files)
        && arrived
        && !narrow
        && let Some(file) = words::below(folder, name)
    {
        offer(ui, "Open", Action::OpenFile(file));
    }
}
