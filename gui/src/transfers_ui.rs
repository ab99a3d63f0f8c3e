//! The transfers: a card each with state, progress and the buttons that make sense now; the files
//! of one unfold below it, as many as are on the screen and no more.

use std::collections::BTreeSet;

use egui::{
    Align, CornerRadius, Layout, Rect, Response, Role, Sense, Stroke, Ui, UiBuilder, WidgetInfo,
    vec2,
};
use peerconnect::node::api::Command;
use peerconnect::protocol::message::{Scope, TransferId};
use peerconnect::text::Shown;
use peerconnect::transfer::state::TransferState;
use peerconnect::transfer::status::{Direction, PausedBy, TransferSnapshot};

use crate::bidi::{AnyScript, read};
use crate::curve::{CURVE, curve_ui};
use crate::ended_ui::{details, identity_doubt, offers, tell_more};
use crate::files_ui::files_ui;
use crate::icons::{self, Icon};
use crate::input::in_sight;
use crate::lines::words_and_buttons;
use crate::many_ui::session_card;
use crate::model::{About, Action, Model, is_question};
use crate::seen::{Heights, MANY};
use crate::theme::{self, On, Size, Tone};
use crate::words;

/// Where the cards were painted last, and how high they are.
#[derive(Debug, Default)]
pub(crate) struct TransfersDraft {
    pub(crate) rows: Vec<(TransferId, Rect)>,
    /// Which card has the keyboard.
    pub(crate) focused: Option<TransferId>,
    heights: Heights<TransferId>,
    /// Those of receivers in the card of a session.
    pub(crate) receivers: Heights<TransferId>,
}

impl TransfersDraft {
    /// Forgets where the cards were. Once before each frame: they are not drawn in all.
    pub(crate) fn begin(&mut self, model: &Model) {
        self.rows.clear();
        self.focused = None;
        let now = model.overview.transfers.len();
        self.heights.forget_gone(now);
        self.receivers.forget_gone(now);
    }
}

/// Height of a card, and of a receiver in one, that was never drawn.
const HEIGHT: f32 = 76.0;
pub(crate) const RECEIVER: f32 = 60.0;

/// All cards, newest first, below a heading.
pub(crate) fn transfers_ui(ui: &mut Ui, model: &Model, draft: &mut TransfersDraft) -> Vec<Action> {
    let mut actions = Vec::new();
    let shown = || {
        let all = model.overview.transfers.iter().rev();
        all.filter(|t| !is_question(t))
    };
    ui.horizontal(|ui| {
        theme::title(ui, "Transfers");
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            let any = shown().any(|t| t.state.is_final() && !is_held(model, t));
            if any && theme::small(ui, "Clear finished").clicked() {
                actions.push(Action::Ask(Command::ClearFinished, About::Nothing));
            }
        });
    });
    ui.add_space(2.0);
    if shown().next().is_none() {
        let text = "Nothing is on its way. What you send and receive shows here.";
        ui.label(theme::note(ui, Tone::Weak, text));
        return actions;
    }
    let mut sessions = BTreeSet::new();
    let many = shown().count() >= MANY;
    let mut heights = std::mem::take(&mut draft.heights);
    for t in shown() {
        let session = t.session.and_then(|id| model.overview.session(id));
        // One card for all its receivers.
        if session.is_some_and(|session| !sessions.insert(session.id)) {
            continue;
        }
        let id = session.map_or(t.id, |session| session.id);
        let mut draw = |ui: &mut Ui| match session {
            None => card(ui, model, t, draft, &mut actions),
            Some(session) => session_card(ui, model, session, draft, &mut actions),
        };
        // What is sought is drawn wherever it is, to be scrolled to.
        match many && model.sought != Some(id) {
            true => heights.draw(ui, id, HEIGHT, draw),
            false => draw(ui),
        }
    }
    draft.heights = heights;
    actions
}

fn card(
    ui: &mut Ui,
    model: &Model,
    t: &TransferSnapshot,
    draft: &mut TransfersDraft,
    actions: &mut Vec<Action>,
) {
    let mut status = words::status(t, model.pace(t.id));
    tell_more(model, t, &mut status);
    let name = format!("{}: {}", subject(t), status.line);
    framed(ui, model, (t.id, &name), draft, actions, |ui, actions| {
        head(ui, model, t, actions);
        below(ui, model, t, &status, actions);
    });
}

/// Whether it stays, though it is over, because others of its session are not.
fn is_held(model: &Model, t: &TransferSnapshot) -> bool {
    let session = t.session.and_then(|id| model.overview.session(id));
    session.is_some_and(|session| !session.is_over())
}

/// What stands below the heading of a transfer.
pub(crate) fn below(
    ui: &mut Ui,
    model: &Model,
    t: &TransferSnapshot,
    status: &words::Status,
    actions: &mut Vec<Action>,
) {
    for doubt in words::doubts(t) {
        ui.lines(theme::note(ui, Tone::Warn, doubt));
    }
    progress(ui, t, status);
    // Kept free from the beginning: the words shall not move when the curve comes.
    let curves = ui.available_width() > 460.0 && t.state == TransferState::Transferring;
    let place = ui.available_rect_before_wrap();
    ui.scope(|ui| {
        if curves {
            ui.set_max_width(place.width() - CURVE.x - 8.0);
        }
        said(ui, status, offers(model, t), actions);
    });
    if let Some(curve) = model.curves.get(&t.id).filter(|_| curves) {
        let corner = place.right_top() - vec2(CURVE.x, 0.0);
        let colours = theme::of(ui).way(t.direction);
        curve_ui(ui, Rect::from_min_size(corner, CURVE), curve, colours);
    }
    details(ui, model, t, &subject(t), actions);
    if model.doubt == Some(t.id) {
        doubt(ui, really_cancel(t.id), actions);
    }
    if model.doubt_identity == Some(t.id) {
        identity_doubt(ui, model, actions);
    }
    if let Some(pages) = model.unfolded.get(&t.id) {
        files_ui(ui, t, pages, actions);
    }
}

/// A card that can be selected, with this id and name.
pub(crate) fn framed(
    ui: &mut Ui,
    model: &Model,
    (id, name): (TransferId, &str),
    draft: &mut TransfersDraft,
    actions: &mut Vec<Action>,
    content: impl FnOnce(&mut Ui, &mut Vec<Action>),
) {
    let selected = model.selected == Some(id);
    let builder = UiBuilder::new().id_salt(id.0).sense(Sense::click());
    let response = ui
        .scope_builder(builder, |ui| {
            let p = theme::of(ui);
            let line = if selected { p.accent_text } else { p.line };
            theme::card(ui)
                .stroke(Stroke::new(1.0, line))
                .show(ui, |ui| {
                    ui.set_width(ui.available_width());
                    content(ui, actions);
                });
        })
        .response;
    response.widget_info(|| WidgetInfo::selected(Role::ListItem, true, selected, read(name)));
    if response.has_focus() {
        let on = if selected { On::Chosen } else { On::Surface };
        theme::focus_ring(ui, response.rect, 12, on);
        draft.focused = Some(id);
    }
    model.show_sought(id, &response);
    let seen = in_sight(ui, response.rect);
    draft.rows.extend(seen.map(|rect| (id, rect)));
    if response.clicked() {
        actions.push(Action::Select(id));
    }
}

/// What a transfer is, for its heading and for screen readers.
fn subject(t: &TransferSnapshot) -> String {
    let names = words::names(&t.top_names, t.top_count, 2);
    let who = Shown(&t.peer_name);
    let mark = mark(t);
    match t.direction {
        Direction::Sending => format!("{names} to {who}{mark}"),
        Direction::Receiving => format!("{names} from {who}{mark}"),
    }
}

/// What a transfer with an old version carries everywhere.
fn mark(t: &TransferSnapshot) -> String {
    match t.is_legacy() {
        true => format!("   {}", words::NOT_ENCRYPTED),
        false => String::new(),
    }
}

fn head(ui: &mut Ui, model: &Model, t: &TransferSnapshot, actions: &mut Vec<Action>) {
    ui.horizontal(|ui| {
        badge(ui, t.state, t.direction);
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            buttons(ui, model, t, actions);
            percent(ui, t);
            ui.with_layout(Layout::left_to_right(Align::Center), |ui| {
                let names = words::names(&t.top_names, t.top_count, 2);
                let who = Shown(&t.peer_name);
                let (arrow, way) = match t.direction {
                    Direction::Sending => ("to", format!("{who}")),
                    Direction::Receiving => ("from", format!("{who}")),
                };
                let text = theme::runs(
                    ui,
                    Size::Body,
                    &[
                        (&names, Tone::Plain),
                        (&format!("   {arrow} "), Tone::Weak),
                        (&way, Tone::Weak),
                        (&mark(t), Tone::Warn),
                    ],
                );
                ui.line(text);
            });
        });
    });
}

/// How much of it is done, once anything can be.
pub(crate) fn percent(ui: &mut Ui, t: &TransferSnapshot) {
    let begun = match t.state {
        TransferState::Transferring
        | TransferState::Connecting
        | TransferState::Paused
        | TransferState::Interrupted => true,
        // An offer of what was begun before.
        TransferState::AwaitingAnswer => t.bytes_done > 0,
        TransferState::Preparing
        | TransferState::Completed
        | TransferState::Rejected
        | TransferState::Cancelled
        | TransferState::Failed => false,
    };
    if begun && t.bytes > 0 {
        let percent = words::percent(t.bytes_done, t.bytes);
        ui.label(format!("{percent} %"));
    }
}

/// A small square that says which way the files go.
pub(crate) fn badge(ui: &mut Ui, state: TransferState, direction: Direction) {
    let p = theme::of(ui);
    let going = p.way(direction);
    let (rect, _) = ui.allocate_exact_size(egui::Vec2::splat(26.0), Sense::hover());
    let (icon, fill, colour) = match (state, direction) {
        (TransferState::Completed, _) => (Icon::Check, p.button, p.ok),
        (TransferState::Failed | TransferState::Rejected | TransferState::Cancelled, _) => {
            (Icon::Close, p.button, p.weak)
        }
        (_, Direction::Sending) => (Icon::Up, going.soft, going.text),
        (_, Direction::Receiving) => (Icon::Down, going.soft, going.text),
    };
    ui.painter().rect_filled(rect, CornerRadius::same(8), fill);
    icons::paint(ui.painter(), rect, icon, colour);
}

/// What Space does to a transfer now.
pub(crate) fn pause_or_resume(t: &TransferSnapshot) -> Option<Command> {
    let pause = Command::Pause {
        transfer: t.id,
        scope: Scope::Transfer,
    };
    let resume = Command::Resume {
        transfer: t.id,
        scope: Scope::Transfer,
    };
    match t.state {
        TransferState::Transferring | TransferState::Connecting => Some(pause),
        TransferState::AwaitingAnswer if t.direction == Direction::Sending => Some(pause),
        // Only the side that paused can go on; a full disk is tried again by hand too.
        TransferState::Paused if t.paused_by != Some(PausedBy::Peer) => Some(resume),
        TransferState::Interrupted => Some(resume),
        TransferState::AwaitingAnswer
        | TransferState::Paused
        | TransferState::Preparing
        | TransferState::Completed
        | TransferState::Rejected
        | TransferState::Cancelled
        | TransferState::Failed => None,
    }
}

/// What cancelling begins with: a question if something would be lost.
pub(crate) fn cancel(t: &TransferSnapshot) -> Option<Action> {
    if t.state.is_final() {
        None
    } else if t.bytes_done > 0 {
        Some(Action::DoubtCancel(Some(t.id)))
    } else {
        Some(really_cancel(t.id))
    }
}

pub(crate) fn really_cancel(transfer: TransferId) -> Action {
    let cancel = Command::Cancel {
        transfer,
        scope: Scope::Transfer,
    };
    Action::Ask(cancel, About::Nothing)
}

pub(crate) fn buttons(ui: &mut Ui, model: &Model, t: &TransferSnapshot, actions: &mut Vec<Action>) {
    let subject = subject(t);
    ui.spacing_mut().item_spacing.x = 2.0;
    if t.entries > 0 {
        let open = model.unfolded.contains_key(&t.id);
        let (icon, verb) = if open {
            (Icon::Unfolded, "Hide files of")
        } else {
            (Icon::Folded, "Show files of")
        };
        if icons::button(ui, icon, &format!("{verb} {subject}")).clicked() {
            actions.push(Action::Unfold(t.id, !open));
        }
    }
    if let Some(action) = cancel(t)
        && icons::button(ui, Icon::Close, &format!("Cancel {subject}")).clicked()
    {
        actions.push(action);
    }
    if let Some(command) = pause_or_resume(t) {
        let (icon, verb) = match (&command, t.state) {
            (Command::Pause { .. }, _) => (Icon::Pause, "Pause"),
            (_, TransferState::Interrupted) if !t.dormant => (Icon::Play, "Try again now:"),
            (_, _) => (Icon::Play, "Resume"),
        };
        if icons::button(ui, icon, &format!("{verb} {subject}")).clicked() {
            actions.push(Action::Ask(command, About::Nothing));
        }
    }
    ui.add_space(6.0);
}

fn progress(ui: &mut Ui, t: &TransferSnapshot, status: &words::Status) {
    let share = words::share(t.bytes_done, t.bytes);
    let percent = words::percent(t.bytes_done, t.bytes);
    let shown = match t.state {
        TransferState::Transferring
        | TransferState::Connecting
        | TransferState::Paused
        | TransferState::Interrupted => true,
        // What arrived before it ended is worth seeing; an empty or full bar is not.
        TransferState::Failed | TransferState::Cancelled => t.bytes_done > 0,
        TransferState::Preparing
        | TransferState::AwaitingAnswer
        | TransferState::Completed
        | TransferState::Rejected => false,
    };
    if shown {
        ui.add_space(2.0);
        let looks = (status.tone, t.direction);
        let _: Response = theme::bar(ui, share, looks, &format!("{percent} % done"));
    }
}

/// What is said about a transfer, and what can be done, from right to left.
pub(crate) fn said(
    ui: &mut Ui,
    status: &words::Status,
    offers: Vec<(String, Action)>,
    actions: &mut Vec<Action>,
) {
    let tone = match status.tone {
        Tone::Plain => Tone::Weak,
        Tone::Weak | Tone::Accent | Tone::Ok | Tone::Warn | Tone::Error => status.tone,
    };
    let line = theme::note(ui, tone, &status.line);
    if offers.is_empty() {
        ui.lines(line);
    } else {
        let words = |ui: &mut Ui| drop(ui.line(line));
        // Some words, and the buttons.
        let letters: usize = offers.iter().map(|(text, _)| text.chars().count()).sum();
        let least = 240.0 + 40.0 * offers.len() as f32 + 7.0 * letters as f32;
        words_and_buttons(ui, least, words, |ui| {
            for (text, action) in offers {
                if theme::small(ui, &text).clicked() {
                    actions.push(action);
                }
            }
        });
    }
    if !status.more.is_empty() {
        let more = theme::note(ui, Tone::Weak, &status.more);
        ui.selectable_lines(more);
    }
}

/// Asks whether what is cancelled by this action shall really be.
pub(crate) fn doubt(ui: &mut Ui, cancel: Action, actions: &mut Vec<Action>) {
    let question = |ui: &mut Ui| {
        let text = "Cancel this transfer? Files that arrived completely are kept.";
        ui.lines(theme::note(ui, Tone::Warn, text));
    };
    words_and_buttons(ui, 460.0, question, |ui| {
        if theme::small(ui, "Cancel transfer").clicked() {
            actions.push(Action::DoubtCancel(None));
            actions.push(cancel);
        }
        if theme::small(ui, "Keep going").clicked() {
            actions.push(Action::DoubtCancel(None));
        }
    });
}
