//! One device of the list: its row, and which rows are drawn at all.

use egui::{
    Align, CornerRadius, Frame, Layout, Margin, Response, Role, Sense, Stroke, TextEdit, Ui,
    UiBuilder, WidgetInfo,
};
use peerconnect::node::api::{Command, PeerInfo, Who};
use peerconnect::text::Shown;

use crate::bidi::AnyScript;
use crate::input::in_sight;
use crate::model::{About, Action, Device, Model};
use crate::peer_menu::{below, more};
use crate::peers_ui::PeersDraft;
use crate::seen::MANY;
use crate::theme::{self, On, Size, Tone};
use crate::words;

/// Height of a row that was never drawn.
const HEIGHT: f32 = 52.0;

/// A row for each of these devices, or the room for it where it cannot be seen.
pub(crate) fn rows<'a>(
    ui: &mut Ui,
    model: &Model,
    devices: impl Iterator<Item = Device<'a>>,
    draft: &mut PeersDraft,
    actions: &mut Vec<Action>,
) {
    let many = model.devices.len() >= MANY;
    let mut heights = std::mem::take(&mut draft.heights);
    for device in devices {
        let mut draw = |ui: &mut Ui| row(ui, model, &device, draft, actions);
        match many {
            true => heights.draw(ui, device.who, HEIGHT, draw),
            false => draw(ui),
        }
    }
    draft.heights = heights;
}

fn row(
    ui: &mut Ui,
    model: &Model,
    device: &Device<'_>,
    draft: &mut PeersDraft,
    actions: &mut Vec<Action>,
) {
    let chosen = model.chosen.contains(&device.who);
    let name = Shown(device.name).to_string();
    // Of who it is alone: an open menu, or a name that is being typed, must not pass to another
    // device when one appears above it.
    let builder = UiBuilder::new()
        .scope_id(egui::Id::unique(("device", device.who)))
        .sense(Sense::click());
    let response = ui
        .scope_builder(builder, |ui| {
            let frame = row_frame(ui, chosen);
            frame.show(ui, |ui| {
                row_inside(ui, model, device, &name, draft, actions)
            });
        })
        .response;
    response.widget_info(|| {
        WidgetInfo::selected(Role::CheckBox, true, chosen, format!("Send to {name}"))
    });
    row_focus(ui, &response, chosen);
    let seen = in_sight(ui, response.rect);
    draft.rows.extend(seen.map(|rect| (device.who, rect)));
    if response.clicked() {
        actions.push(Action::Choose(device.who, !chosen));
    }
    below(ui, model, device, &name, draft, actions);
}

/// Shows that a row of the list has the keyboard, and brings it into sight when it gets it.
pub(crate) fn row_focus(ui: &Ui, row: &Response, chosen: bool) {
    if row.gained_focus() {
        row.scroll_to_me(None);
    }
    if row.has_focus() {
        let on = if chosen { On::Chosen } else { On::Surface };
        theme::focus_ring(ui, row.rect, ROUND, on);
    }
}

/// How round the corners of a row are.
const ROUND: u8 = 10;

/// What a row of the list looks like.
pub(crate) fn row_frame(ui: &Ui, chosen: bool) -> Frame {
    let p = theme::of(ui);
    let response = ui.response();
    let (fill, line) = match (chosen, response.hovered()) {
        (true, _) => (p.accent_soft, p.accent_text),
        (false, true) => (p.hot, p.line),
        (false, false) => (p.card, p.line),
    };
    Frame::new()
        .fill(fill)
        .stroke(Stroke::new(1.0, line))
        .corner_radius(CornerRadius::same(ROUND))
        .inner_margin(Margin::symmetric(10, 8))
}

fn row_inside(
    ui: &mut Ui,
    model: &Model,
    device: &Device<'_>,
    name: &str,
    draft: &mut PeersDraft,
    actions: &mut Vec<Action>,
) {
    ui.horizontal(|ui| {
        if model.chosen.contains(&device.who) {
            theme::chosen_mark(ui, 34.0);
        } else {
            let key = match &device.who {
                Who::Key(id) => Some(id),
                Who::Original(_) => None,
            };
            theme::avatar(ui, key, name, 34.0);
        }
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            more(ui, device, name, draft, actions);
            ui.with_layout(Layout::top_down(Align::Min), |ui| {
                ui.spacing_mut().item_spacing.y = 1.0;
                name_line(ui, device, name, draft, actions);
                let mut line = words::device_line(device, model.now);
                if model.is_twin(device.who) {
                    line.push_str(&format!(" · {}", words::apart(&device.who)));
                }
                let line = theme::toned(ui, tone(device), Size::Small, line);
                // Whether it is trusted must not be cut off.
                ui.lines(line);
            });
        });
    });
}

/// How what is known about a device sounds.
fn tone(device: &Device<'_>) -> Tone {
    match (device.who, device.near) {
        (Who::Original(_), _) => Tone::Warn,
        (Who::Key(_), _) if device.is_connected() => Tone::Ok,
        (Who::Key(_), Some(near)) if near.misses_us => Tone::Warn,
        (Who::Key(_), Some(_)) => Tone::Ok,
        (Who::Key(_), None) => Tone::Weak,
    }
}

fn name_line(
    ui: &mut Ui,
    device: &Device<'_>,
    name: &str,
    draft: &mut PeersDraft,
    actions: &mut Vec<Action>,
) {
    if let Some((id, text)) = &mut draft.renaming
        && let Some(peer) = device.known.filter(|peer| peer.id == *id)
    {
        rename_field(ui, text, peer, actions).then(|| draft.renaming = None);
    } else {
        ui.line(name);
    }
}

/// The field for a new name; whether it is finished.
fn rename_field(
    ui: &mut Ui,
    text: &mut String,
    peer: &PeerInfo,
    actions: &mut Vec<Action>,
) -> bool {
    let field = TextEdit::singleline(text).desired_width(f32::INFINITY);
    let field = ui.add(field).accessible_name("New name");
    if field.lost_focus() {
        let name = text.trim().to_owned();
        let wanted = ui.input(|i| i.key_pressed(egui::Key::Enter)) && !name.is_empty();
        if wanted {
            let rename = Command::Rename {
                peer: peer.id,
                name,
            };
            actions.push(Action::Ask(rename, About::Nothing));
        }
        return true;
    }
    field.request_focus();
    false
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::samples;

    #[test]
    fn who_says_that_it_cannot_connect_does_not_look_well() {
        let mut near = samples::near("Kitchen");
        near.misses_us = true;
        let overview = samples::with_nearby(vec![near], vec![], vec![]);
        let model = Model::new(overview);
        let device = model.near().next().unwrap();
        assert!(words::device_line(&device, samples::NOW).contains("says it cannot connect"));
        assert_eq!(tone(&device), Tone::Warn);
    }
}
