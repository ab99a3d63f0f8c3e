//! The files of an unfolded transfer. Only rows on the screen are drawn and only their pages are
//! asked for.

use std::path::PathBuf;
use std::time::Duration;

use egui::{Align, Layout, Popup, ScrollArea, Ui};
use peerconnect::config::ConflictAnswer;
use peerconnect::node::api::{Again, Command};
use peerconnect::protocol::message::{Outcome, Scope};
use peerconnect::text::{Shown, bytes};
use peerconnect::transfer::status::{Direction, FileRow, FileState, RowKind, TransferSnapshot};

use crate::bidi::{AnyScript, visual};
use crate::elsewhere::arrived_as;
use crate::icons::{self, Icon};
use crate::model::{About, Action};
use crate::pages::{Due, PAGE, Pages};
use crate::theme::{self, Size, Tone};
use crate::words;

/// Height of a row, and of the list at most.
const ROW: f32 = 28.0;
const LIST: f32 = 230.0;

/// The list.
pub(crate) fn files_ui(
    ui: &mut Ui,
    t: &TransferSnapshot,
    pages: &Pages,
    actions: &mut Vec<Action>,
) {
    ui.add_space(2.0);
    ui.separator();
    ui.spacing_mut().item_spacing.y = 0.0;
    ScrollArea::vertical()
        .id_salt("files")
        .max_height(LIST)
        .auto_shrink([false, true])
        .show_rows(ui, ROW, t.entries as usize, |ui, rows| {
            let (first, last) = (rows.start as u32, rows.end as u32);
            for position in first..last {
                ui.allocate_ui_with_layout(
                    egui::vec2(ui.available_width(), ROW),
                    Layout::right_to_left(Align::Center),
                    |ui| match pages.row(position) {
                        Some(row) => file(ui, t, row, actions),
                        None => {
                            ui.label(theme::note(ui, Tone::Weak, "…"));
                        }
                    },
                );
            }
            if last > first {
                want(ui, t, pages, first / PAGE..=(last - 1) / PAGE, actions);
            }
        });
}

fn want(
    ui: &Ui,
    t: &TransferSnapshot,
    pages: &Pages,
    on_screen: std::ops::RangeInclusive<u32>,
    actions: &mut Vec<Action>,
) {
    let time = ui.input(|i| i.time);
    for page in on_screen {
        match pages.due(page, t, time) {
            Due::No => {}
            Due::Now => actions.push(Action::NeedPage(t.id, page)),
            Due::In(left) => ui.request_repaint_after(Duration::from_secs_f64(left)),
        }
    }
}

/// One file, from right to left.
fn file(ui: &mut Ui, t: &TransferSnapshot, row: &FileRow, actions: &mut Vec<Action>) {
    let path = Shown(&row.path).to_string();
    let open = !matches!(row.state, FileState::Settled(_)) && !t.state.is_final();
    if open || may_be_tried_again(t, row) || saved(t, row).is_some() {
        let more = icons::button(ui, Icon::More, &format!("More about {path}"));
        menu(&more, t, row, actions);
    } else {
        ui.add_space(36.0);
    }
    let (state, tone) = words::file_state(row, t.is_legacy());
    cell(ui, 124.0, Align::Min, theme::note(ui, tone, state));
    let size = match row.kind {
        RowKind::File => bytes(row.bytes),
        RowKind::Folder => "folder".into(),
        RowKind::Symlink => "link".into(),
    };
    cell(ui, 76.0, Align::Max, theme::note(ui, Tone::Weak, size));
    if row.state == FileState::Active {
        let share = words::share(row.bytes_done, row.bytes);
        let size = egui::vec2(90.0, ROW);
        ui.allocate_ui_with_layout(size, Layout::left_to_right(Align::Center), |ui| {
            let percent = words::percent(row.bytes_done, row.bytes);
            let name = format!("{path}: {percent} %");
            theme::bar(ui, share, (Tone::Accent, t.direction), &name);
        });
    }
    ui.with_layout(Layout::left_to_right(Align::Center), |ui| {
        let icon = match row.kind {
            RowKind::Folder => Icon::Folder,
            RowKind::File => Icon::File,
            RowKind::Symlink => Icon::Link,
        };
        icons::show(ui, icon, theme::of(ui).weak);
        let text = Size::Note.text(&path);
        let label = ui.line(text);
        if let Some(saved) = &row.saved_as {
            label.on_hover_text(visual(&format!("Saved as {}", Shown(saved))));
        }
    });
}

/// Whether it did not arrive, and we are the ones who can send it again.
fn may_be_tried_again(t: &TransferSnapshot, row: &FileRow) -> bool {
    let failed = matches!(row.state, FileState::Settled(Outcome::Failed(_)));
    failed && t.direction == Direction::Sending && row.kind == RowKind::File
}

/// Where a file has been saved, if it has arrived here.
fn saved(t: &TransferSnapshot, row: &FileRow) -> Option<PathBuf> {
    let folder = t.folder.as_ref();
    let folder = folder.filter(|_| t.direction == Direction::Receiving)?;
    words::below(folder, arrived_as(row)?)
}

/// Text in a column of fixed width: numbers of several rows stand below each other.
fn cell(ui: &mut Ui, width: f32, align: Align, text: egui::RichText) {
    let layout = match align {
        Align::Max => Layout::right_to_left(Align::Center),
        Align::Min | Align::Center => Layout::left_to_right(Align::Center),
    };
    ui.allocate_ui_with_layout(egui::vec2(width, ROW), layout, |ui| {
        ui.set_min_width(width);
        ui.line(text);
    });
}

fn menu(more: &egui::Response, t: &TransferSnapshot, row: &FileRow, actions: &mut Vec<Action>) {
    Popup::menu(more).show(|ui| {
        let transfer = t.id;
        let scope = Scope::File(row.index);
        if may_be_tried_again(t, row) {
            if ui.button("Try this file again").clicked() {
                let what = Again::File(row.index);
                let again = Command::SendAgain { transfer, what };
                actions.push(Action::Ask(again, About::Nothing));
            }
            return;
        }
        if let Some(file) = saved(t, row) {
            if ui.button("Open").clicked() {
                actions.push(Action::OpenFile(file));
            }
            return;
        }
        let mut ask = |command| actions.push(Action::Ask(command, About::Nothing));
        if row.state == FileState::Asking {
            for (text, answer) in [
                ("Keep both", ConflictAnswer::KeepBoth),
                ("Replace yours", ConflictAnswer::Replace),
                ("Skip the new one", ConflictAnswer::Skip),
            ] {
                if ui.button(text).clicked() {
                    ask(Command::AnswerConflict {
                        transfer,
                        scope,
                        answer,
                    });
                }
            }
        }
        if row.state == FileState::Paused {
            if ui.button("Resume this file").clicked() {
                ask(Command::Resume { transfer, scope });
            }
        } else if ui.button("Pause this file").clicked() {
            ask(Command::Pause { transfer, scope });
        }
        let first = match t.direction {
            Direction::Sending => "Send this file first",
            Direction::Receiving => "Get this file first",
        };
        // Old versions send in the order that they like.
        let may_be_first = t.direction == Direction::Sending || !t.is_legacy();
        if row.state == FileState::Waiting && may_be_first && ui.button(first).clicked() {
            ask(Command::First {
                transfer,
                index: row.index,
            });
        }
        if ui.button("Leave this file out").clicked() {
            ask(Command::Cancel { transfer, scope });
        }
    });
}
