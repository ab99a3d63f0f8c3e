//! Names that are taken by different content: a card for the first of each transfer, which waits
//! until the person says what becomes of it. Everything else goes on meanwhile.

use std::collections::BTreeSet;

use egui::Ui;
use peerconnect::config::ConflictAnswer;
use peerconnect::node::api::Command;
use peerconnect::protocol::message::{FileIndex, Scope, TransferId};
use peerconnect::text::Shown;
use peerconnect::transfer::status::{Conflict, TransferSnapshot};

use crate::bidi::{AnyScript, Apart, visual};
use crate::guard::Guard;
use crate::lines::{NAME_LEN, words_and_buttons};
use crate::model::{About, Action, Model};
use crate::staged_ui::shorten;
use crate::theme::{self, Size, Tone};

/// Most characters of a path on a card; the whole one shows when the pointer rests on it.
const PATH_LEN: usize = 60;

/// What is being decided here.
#[derive(Debug, Default)]
pub(crate) struct ConflictsDraft {
    /// Transfers whose other files shall be treated the same.
    same: BTreeSet<TransferId>,
    guard: Guard<(TransferId, FileIndex)>,
}

/// All cards.
pub(crate) fn conflicts_ui(ui: &mut Ui, model: &Model, draft: &mut ConflictsDraft) -> Vec<Action> {
    let mut actions = Vec::new();
    let time = ui.input(|i| i.time);
    let cards: Vec<_> = model.conflicts().map(|(t, c)| (t.id, c.index)).collect();
    draft
        .same
        .retain(|id| cards.iter().any(|(card, _)| card == id));
    let still = draft.guard.settle(cards, time);
    draft.guard.wake(ui.ctx(), time);
    for (t, conflict) in model.conflicts() {
        let drawn = theme::loud_card(ui).show(ui, |ui| {
            ui.set_width(ui.available_width());
            ui.push_id((t.id.0, "conflict"), |ui| {
                let open = !model.decided.contains(&(t.id, conflict.index));
                ui.add_enabled_ui(open, |ui| {
                    one(ui, model, t, conflict, still && open, draft, &mut actions);
                });
            });
        });
        model.show_sought(t.id, &drawn.response);
    }
    actions
}

fn one(
    ui: &mut Ui,
    model: &Model,
    t: &TransferSnapshot,
    conflict: &Conflict,
    ready: bool,
    draft: &mut ConflictsDraft,
    actions: &mut Vec<Action>,
) {
    let path = Shown(&conflict.path).to_string();
    let title = theme::runs(
        ui,
        Size::Lead,
        &[
            (&format!("\"{}\"", shorten(&path, PATH_LEN)), Tone::Plain),
            (" is already there and differs.", Tone::Weak),
        ],
    );
    ui.lines(title).on_hover_text(visual(&path));
    let versions = format!(
        "Yours: {} · New: {}, from {}",
        conflict.old.words(model.now),
        conflict.new.words(model.now),
        Apart(&t.peer_name)
    );
    ui.lines(theme::note(ui, Tone::Weak, versions));
    ui.add_space(2.0);
    let others = t.conflicts.saturating_sub(1);
    let mut same = others > 0 && draft.same.contains(&t.id);
    let was = same;
    let for_others = |ui: &mut Ui| {
        if others > 0 {
            ui.checkbox(&mut same, format!("same for the other {others}"));
        }
    };
    let mut pressed = None;
    words_and_buttons(ui, ONE_LINE, for_others, |ui| {
        pressed = choices(ui, conflict, ready);
    });
    if same != was {
        match same {
            true => draft.same.insert(t.id),
            false => draft.same.remove(&t.id),
        };
    }
    actions.extend(pressed.map(|answer| answered(t, conflict, same, answer)));
}

/// Below this width the buttons stand under the box for the other files.
const ONE_LINE: f32 = 660.0;

/// What can become of the file, the safest first; what was pressed.
fn choices(ui: &mut Ui, conflict: &Conflict, ready: bool) -> Option<ConflictAnswer> {
    let path = Shown(&conflict.path).to_string();
    let name = conflict.keep_both_as.rsplit('/').next();
    let beside = Shown(name.unwrap_or_default()).to_string();
    let text = format!("Keep both as \"{}\"", shorten(&beside, NAME_LEN));
    let keep = theme::primary(ui, ready, &text)
        .on_hover_text(visual(&beside))
        .accessible_name(format!("Keep both: {path}"));
    let mut pressed = keep.clicked().then_some(ConflictAnswer::KeepBoth);
    ui.add_enabled_ui(ready, |ui| {
        let replace = theme::plain(ui, "Replace")
            .on_hover_text("Yours is replaced once the new one is complete and verified")
            .accessible_name(format!("Replace {path}"));
        if replace.clicked() {
            pressed = Some(ConflictAnswer::Replace);
        }
        let skip = theme::plain(ui, "Skip")
            .on_hover_text("Keep yours, do not take the new one")
            .accessible_name(format!("Skip {path}"));
        if skip.clicked() {
            pressed = Some(ConflictAnswer::Skip);
        }
    });
    pressed
}

fn answered(
    t: &TransferSnapshot,
    conflict: &Conflict,
    same: bool,
    answer: ConflictAnswer,
) -> Action {
    let scope = match same {
        true => Scope::Transfer,
        false => Scope::File(conflict.index),
    };
    let command = Command::AnswerConflict {
        transfer: t.id,
        scope,
        answer,
    };
    Action::Ask(command, About::Conflict(t.id, conflict.index))
}
