//! What comes to the window as a whole: drops, pasted text, keys.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use egui::{
    Align2, Context, CornerRadius, Event, Key, KeyboardShortcut, LayerId, Modifiers, Order, Pos2,
    Rect, Stroke, StrokeKind, Ui,
};
use peerconnect::node::api::{Command, Who};
use peerconnect::protocol::codes::TypedCode;
use peerconnect::protocol::message::TransferId;
use peerconnect::text::Shown;

use crate::actions::sending;
use crate::app::Drafts;
use crate::bidi::visual;
use crate::drops::Drops;
use crate::many_ui::{cancel_session, pause_or_resume_session};
use crate::model::{About, Action, Model, Page, Whose};
use crate::offer_ui::answer_first;
use crate::outside::Pick;
use crate::theme;
use crate::transfers_ui::{cancel, pause_or_resume};
use crate::words;

const fn ctrl(key: Key) -> KeyboardShortcut {
    KeyboardShortcut::new(Modifiers::COMMAND, key)
}

const fn ctrl_shift(key: Key) -> KeyboardShortcut {
    KeyboardShortcut::new(Modifiers::COMMAND.plus(Modifiers::SHIFT), key)
}

/// Everything of this frame, before any widget sees it.
pub(crate) fn take(ctx: &Context, model: &Model, drafts: &mut Drafts) -> Vec<Action> {
    let mut actions = drops(ctx, model, drafts);
    if model.link_shown || model.leaving {
        return actions;
    }
    actions.extend(shortcuts(ctx, model, drafts));
    let typing = ctx.text_edit_focused();
    // Escape has taken the keyboard from a field already when this sees it.
    let was_typing = std::mem::replace(&mut drafts.typing, typing);
    if !typing {
        actions.extend(pasted(ctx));
        actions.extend(back(ctx, model).filter(|_| !was_typing));
        actions.extend(row_keys(ctx, model, drafts));
    }
    actions
}

fn shortcuts(ctx: &Context, model: &Model, drafts: &mut Drafts) -> Vec<Action> {
    let pressed = |shortcut| ctx.input_mut(|i| i.consume_shortcut(&shortcut));
    let mut actions = Vec::new();
    // Those with Shift first: the others would take them too.
    if pressed(ctrl_shift(Key::O)) {
        actions.push(Action::Pick(Pick::Folder, Whose::Mine));
    }
    for (key, accept) in [(Key::A, true), (Key::D, false)] {
        if pressed(ctrl_shift(key)) {
            let time = ctx.input(|i| i.time);
            actions.extend(answer_first(model, &mut drafts.offers, time, accept));
        }
    }
    if pressed(ctrl(Key::O)) {
        actions.push(Action::Pick(Pick::Files, Whose::Mine));
    }
    if pressed(ctrl(Key::Enter)) {
        // Nothing leaves that is not in sight.
        actions.push(if model.page == Page::Transfers {
            Action::Send
        } else {
            Action::Show(Page::Transfers)
        });
    }
    if pressed(ctrl(Key::F)) {
        drafts.history.search = true;
        actions.push(Action::Show(Page::History));
    }
    if pressed(ctrl(Key::L)) {
        drafts.peers.enter = true;
        // In a narrow window the devices stand there alone.
        actions.push(Action::Show(Page::Transfers));
    }
    if pressed(KeyboardShortcut::new(Modifiers::NONE, Key::F1)) {
        let open = model.page == Page::Keys;
        actions.push(Action::Show(if open {
            Page::Transfers
        } else {
            Page::Keys
        }));
    }
    if pressed(ctrl(Key::Q)) {
        actions.push(Action::Leave);
    }
    for (key, page) in [(Key::Comma, Page::Settings), (Key::H, Page::History)] {
        if pressed(ctrl(key)) {
            actions.push(Action::Show(page));
        }
    }
    actions
}

/// Escape leads from other pages to the transfers, once nothing else wants it.
fn back(ctx: &Context, model: &Model) -> Option<Action> {
    let busy = egui::Popup::is_any_open(ctx);
    let leave = model.page != Page::Transfers && !busy && ctx.input(|i| i.key_pressed(Key::Escape));
    leave.then_some(Action::Show(Page::Transfers))
}

/// Keys for the selected transfer, where it can be seen. Space belongs to whatever has the focus,
/// unless that is a transfer itself.
fn row_keys(ctx: &Context, model: &Model, drafts: &Drafts) -> Vec<Action> {
    if model.page != Page::Transfers {
        return Vec::new();
    }
    let focused = drafts.transfers.focused;
    let elsewhere = focused.is_none() && ctx.memory(|m| m.focused().is_some());
    let target = focused.or(model.selected);
    let one = target.and_then(|id| model.overview.transfer(id));
    let many = target.and_then(|id| model.overview.session(id));
    let (pause, cancel) = match (one, many) {
        (Some(t), _) => (pause_or_resume(t), cancel(t)),
        (None, Some(s)) => (pause_or_resume_session(model, s), cancel_session(s)),
        (None, None) => return Vec::new(),
    };
    if elsewhere {
        return Vec::new();
    }
    let pressed = |key| ctx.input_mut(|i| i.consume_key(Modifiers::NONE, key));
    if pressed(Key::Space) {
        let pause = pause.map(|command| Action::Ask(command, About::Nothing));
        return pause.into_iter().collect();
    }
    if pressed(Key::Delete) {
        return cancel.into_iter().collect();
    }
    Vec::new()
}

/// Pasted files and pictures are staged, a link of a device is connected to, one with a one-time
/// code is shown; any other text can be sent as one.
fn pasted(ctx: &Context) -> Vec<Action> {
    let (text, picture) = ctx.input(|i| {
        let (mut text, mut picture) = (None, None);
        for event in &i.events {
            if let Event::Paste(pasted) = event {
                text = Some(pasted.clone());
            } else if let Event::PasteImage(pasted) = event {
                picture = Some(Arc::clone(pasted));
            }
        }
        (text, picture)
    });
    if let Some(picture) = picture {
        return vec![Action::StagePicture(picture)];
    }
    let Some(text) = text.filter(|text| !text.trim().is_empty()) else {
        return Vec::new();
    };
    let trimmed = text.trim();
    if is_link(trimmed) && trimmed.parse::<TypedCode>().is_ok() {
        // To use it is to take files.
        return vec![Action::ShowTyped(trimmed.to_owned())];
    }
    if is_link(trimmed) {
        return vec![Action::AddPeer(trimmed.to_owned())];
    }
    match listed(&text) {
        Some(paths) => vec![Action::Pasted(paths, text)],
        None => vec![Action::Write(text)],
    }
}

/// The paths in a text that may be a list of files; `None` if it cannot be one. File names are
/// taken as they are: blanks and quotes may belong to them.
fn listed(text: &str) -> Option<Vec<PathBuf>> {
    // File managers begin a list with what shall be done with it; a list of URIs has comments.
    let lines = text.lines().filter(|line| {
        !line.trim().is_empty() && *line != "copy" && *line != "cut" && !line.starts_with('#')
    });
    let paths: Option<Vec<PathBuf>> = lines.map(words::exact_path).collect();
    paths.filter(|paths| !paths.is_empty())
}

/// Whether this is a link of a device.
pub(crate) fn is_link(text: &str) -> bool {
    const SCHEME: &str = "peerconnect:";
    text.get(..SCHEME.len())
        .is_some_and(|head| head.eq_ignore_ascii_case(SCHEME))
        && !text.contains(char::is_whitespace)
}

/// What lies under a drop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Under {
    Window,
    Peer(Who),
    /// One of several that are chosen: it is for all of them.
    Chosen(Vec<Who>),
    Group(String),
    Transfer(TransferId),
}

/// What can be seen of a place, and so be dropped on; `None` if it is scrolled away.
pub(crate) fn in_sight(ui: &Ui, place: Rect) -> Option<Rect> {
    let seen = place.intersect(ui.clip_rect());
    seen.is_positive().then_some(seen)
}

/// What is under the pointer; where that is not known, the window.
fn under(position: Option<Pos2>, model: &Model, drafts: &Drafts) -> Under {
    let Some(position) = position else {
        return Under::Window;
    };
    let mut transfers = drafts.transfers.rows.iter();
    let transfer =
        transfers.find(|(id, rect)| rect.contains(position) && model.attachable(*id).is_some());
    if let Some((id, _)) = transfer {
        return Under::Transfer(*id);
    }
    let mut peers = drafts.peers.rows.iter();
    let mut groups = drafts.peers.groups.iter();
    let group = groups.find(|(_, rect)| rect.contains(position));
    match (peers.find(|(_, rect)| rect.contains(position)), group) {
        (Some((who, _)), _) if model.chosen.len() > 1 && model.chosen.contains(who) => {
            Under::Chosen(model.chosen_devices().map(|device| device.who).collect())
        }
        (Some((who, _)), _) => Under::Peer(*who),
        (None, Some((name, _))) => Under::Group(name.clone()),
        (None, None) => Under::Window,
    }
}

fn drops(ctx: &Context, model: &Model, drafts: &mut Drafts) -> Vec<Action> {
    let paths: Vec<PathBuf> = ctx.input(|i| {
        let files = i.raw.dropped_files.iter();
        files.map(|f| f.path().to_owned()).collect()
    });
    if paths.is_empty() {
        return Vec::new();
    }
    // What was said is what happens, even if the pointer shows up elsewhere with the drop itself.
    match drafts.drop.take().unwrap_or(Under::Window) {
        Under::Window => vec![Action::Stage(paths)],
        Under::Peer(who) => vec![sending(vec![who], paths)],
        Under::Chosen(all) => {
            let done = all.iter().map(|who| Action::Choose(*who, false));
            let done: Vec<Action> = done.collect();
            std::iter::once(sending(all, paths)).chain(done).collect()
        }
        Under::Group(name) => {
            let group = model.overview.group(&name);
            let members = group.map(|group| group.members.clone()).unwrap_or_default();
            let members = members.into_iter().map(Who::Key).collect();
            vec![sending(members, paths)]
        }
        Under::Transfer(transfer) => {
            let command = Command::Attach {
                transfer,
                paths: paths.clone(),
            };
            vec![Action::Ask(command, About::Send(paths))]
        }
    }
}

/// How often it is looked where files hang: nobody says that they have moved.
const LOOK_EVERY: Duration = Duration::from_millis(33);

/// Where files hang over the window.
fn dragged_to(ui: &Ui, drops: &Drops) -> Option<Pos2> {
    match drops {
        Drops::None => None,
        Drops::Anywhere => ui.input(|i| i.pointer.latest_pos()),
        Drops::Under(pointer) => {
            ui.ctx().request_repaint_after(LOOK_EVERY);
            let pixels = pointer()?;
            Some(pixels / ui.ctx().pixels_per_point())
        }
    }
}

/// Says, while files hang over the window, what dropping them will do.
pub(crate) fn drop_hint(ui: &Ui, model: &Model, drops: &Drops, drafts: &mut Drafts) {
    let hovering = ui.input(|i| !i.raw.hovered_files.is_empty());
    drafts.drop = hovering.then(|| under(dragged_to(ui, drops), model, drafts));
    let Some(under) = &drafts.drop else {
        return;
    };
    let text = match under {
        Under::Window => "Drop to choose these files".to_owned(),
        Under::Peer(id) => {
            let name = model.device(*id).map_or("", |device| device.name);
            format!("Drop to send to {}", Shown(name))
        }
        Under::Chosen(all) => {
            format!(
                "Drop to send to all {} that are chosen",
                words::devices(all.len())
            )
        }
        Under::Group(name) => format!("Drop to send to the group {}", Shown(name)),
        Under::Transfer(id) => {
            let name = model.attachable(*id).unwrap_or_default();
            format!("Drop to add to the transfer to {name}")
        }
    };
    let places = places(under, drafts);
    paint_hint(ui, text, &places);
}

/// What is framed while files hang over it; nothing stands for the window.
fn places(under: &Under, drafts: &Drafts) -> Vec<Rect> {
    let peers = |wanted: &dyn Fn(&Who) -> bool| {
        let rows = drafts.peers.rows.iter();
        let rows = rows.filter(|(who, _)| wanted(who));
        rows.map(|(_, rect)| *rect).collect()
    };
    match under {
        Under::Window => Vec::new(),
        Under::Peer(who) => peers(&|row| row == who),
        Under::Chosen(all) => peers(&|row| all.contains(row)),
        Under::Group(name) => {
            let rows = drafts.peers.groups.iter().filter(|(row, _)| row == name);
            rows.map(|(_, rect)| *rect).collect()
        }
        Under::Transfer(id) => {
            let rows = drafts.transfers.rows.iter().filter(|(row, _)| row == id);
            rows.map(|(_, rect)| *rect).collect()
        }
    }
}

/// Frames the places, or the window if there are none, and says what dropping does where that
/// covers nothing of them.
fn paint_hint(ui: &Ui, text: String, places: &[Rect]) {
    let p = theme::of(ui);
    let layer = LayerId::new(Order::Foreground, egui::Id::unique("drop-hint"));
    let painter = ui.ctx().layer_painter(layer);
    let window = ui.content_rect().shrink(10.0);
    let (whole, round) = ([window], 16);
    let (framed, round) = match places {
        [] => (whole.as_slice(), round),
        places => (places, 12),
    };
    for rect in framed {
        let radius = CornerRadius::same(round);
        painter.rect_filled(*rect, radius, p.accent.gamma_multiply(0.14));
        let line = Stroke::new(2.5, p.accent_text);
        painter.rect_stroke(*rect, radius, line, StrokeKind::Inside);
    }
    let font = theme::Size::Title.font();
    let text = visual(&text).into_owned();
    let galley = painter.layout_no_wrap(text, font, p.on_accent);
    let size = galley.size() + egui::vec2(48.0, 24.0);
    let pill = pill(window, size, places);
    painter.rect_filled(pill, CornerRadius::same(14), p.accent);
    let corner = pill.min + egui::vec2(24.0, 12.0);
    painter.galley(corner, galley, p.on_accent);
}

/// Where the words stand: in the middle for the window, otherwise at its foot, or at its head if
/// one of the places is at the foot.
fn pill(window: Rect, size: egui::Vec2, places: &[Rect]) -> Rect {
    let inside = window.shrink(12.0);
    if places.is_empty() {
        return Align2::CENTER_CENTER.align_size_within_rect(size, inside);
    }
    let foot = Align2::CENTER_BOTTOM.align_size_within_rect(size, inside);
    match places.iter().any(|place| place.intersects(foot)) {
        true => Align2::CENTER_TOP.align_size_within_rect(size, inside),
        false => foot,
    }
}

#[cfg(test)]
mod tests {
    use egui::{pos2, vec2};

    use super::*;

    #[test]
    fn what_dropping_does_is_said_beside_where_it_does_it() {
        let window = Rect::from_min_size(Pos2::ZERO, vec2(900.0, 600.0));
        let size = vec2(300.0, 48.0);
        assert_eq!(pill(window, size, &[]).center(), window.center());
        for top in [0.0, 200.0, 530.0, 560.0] {
            let row = Rect::from_min_size(pos2(280.0, top), vec2(600.0, 70.0));
            let pill = pill(window, size, &[row]);
            assert!(!pill.intersects(row), "{top}: {pill}");
            assert!(window.contains_rect(pill), "{top}: {pill}");
        }
    }
}
