//! The devices at the left: who is there, whom to send to, and how to add one.

use std::time::Duration;

use egui::{
    Align, CornerRadius, Frame, Label, Layout, Margin, Popup, Rect, Response, Role, ScrollArea,
    Sense, Stroke, TextEdit, Ui, UiBuilder, WidgetInfo,
};
use peerconnect::node::api::{Command, PeerInfo, Presence, Who};
use peerconnect::peer::PeerId;
use peerconnect::storage::store::Accept;
use peerconnect::text::Shown;

use crate::groups_ui::{Naming, groups_ui, make_ui};
use crate::icons::{self, Icon};
use crate::input::in_sight;
use crate::model::{About, Action, Device, Model, Page, Whose};
use crate::outside::Pick;
use crate::theme::{self, Tone};
use crate::top_ui::not_a_path;
use crate::words;

/// What is being typed here, and where the rows were painted last.
#[derive(Debug, Default)]
pub(crate) struct PeersDraft {
    /// Link, address or name of a device to add.
    pub(crate) typed: String,
    /// New name of a device.
    renaming: Option<(PeerId, String)>,
    /// The name of a group.
    pub(crate) naming: Option<Naming>,
    /// The folder for what a device sends.
    folder: Option<(PeerId, String)>,
    /// Rows on the screen, for drops.
    pub(crate) rows: Vec<(Who, Rect)>,
    pub(crate) groups: Vec<(String, Rect)>,
    /// The person wants to type a link or address: the field for it gets the keyboard.
    enter: bool,
}

impl PeersDraft {
    /// Forgets where the rows were painted. Once before each frame: they are not drawn in all.
    pub(crate) fn forget_places(&mut self) {
        self.rows.clear();
        self.groups.clear();
    }
}

/// The whole panel.
pub(crate) fn peers_ui(ui: &mut Ui, model: &Model, draft: &mut PeersDraft) -> Vec<Action> {
    let mut actions = Vec::new();
    ui.horizontal(|ui| {
        theme::title(ui, "Devices");
        let chosen = model.chosen.len();
        if chosen > 0 {
            ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                ui.label(theme::note(ui, Tone::Accent, format!("{chosen} chosen")));
            });
        }
    });
    ui.add_space(4.0);
    make_ui(ui, model, draft, &mut actions);
    egui::Panel::bottom("add-peer")
        .show_separator_line(false)
        .frame(Frame::NONE)
        .show(ui, |ui| add_form(ui, model, draft, &mut actions));
    let list = ScrollArea::vertical().auto_shrink([false, false]);
    list.show(ui, |ui| lists(ui, model, draft, &mut actions));
    actions
}

/// The same in a window that is too narrow for two columns: it scrolls with the rest.
pub(crate) fn narrow_peers_ui(ui: &mut Ui, model: &Model, draft: &mut PeersDraft) -> Vec<Action> {
    let mut actions = Vec::new();
    theme::title(ui, "Devices");
    make_ui(ui, model, draft, &mut actions);
    lists(ui, model, draft, &mut actions);
    add_form(ui, model, draft, &mut actions);
    actions
}

fn lists(ui: &mut Ui, model: &Model, draft: &mut PeersDraft, actions: &mut Vec<Action>) {
    heading(ui, "Nearby");
    if model.overview.nearby.is_empty() {
        alone(ui, model, draft, actions);
    }
    for device in model.near() {
        row(ui, model, &device, draft, actions);
    }
    groups_ui(ui, model, draft, actions);
    if model.elsewhere().next().is_some() {
        ui.add_space(6.0);
        heading(ui, "Seen before");
    }
    for device in model.elsewhere() {
        row(ui, model, &device, draft, actions);
    }
}

pub(crate) fn heading(ui: &mut Ui, text: &str) {
    ui.label(theme::note(ui, Tone::Weak, text));
}

/// How long others may take to be heard before it is worth saying why nobody is.
const PATIENCE: f64 = 5.0;

/// What is known about why nobody is heard, and what else can be done.
fn alone(ui: &mut Ui, model: &Model, draft: &mut PeersDraft, actions: &mut Vec<Action>) {
    let now = ui.input(|i| i.time);
    let left = model.alone_since.unwrap_or(now) + PATIENCE - now;
    let note = |ui: &mut Ui, tone, text: &str| {
        let text = theme::note(ui, tone, text);
        ui.add(Label::new(text).wrap());
    };
    if model.overview.presence == Presence::Off {
        let text = "Devices nearby are not looked for, and are not told of this one: it is \
                    switched off in the settings.";
        note(ui, Tone::Weak, text);
    } else if left > 0.0 {
        ui.request_repaint_after(Duration::from_secs_f64(left));
        note(ui, Tone::Weak, "Looking for devices in this network…");
        return;
    } else {
        ui.label("Nobody here yet.");
        let overview = &model.overview;
        let (facts, what_to_do) = words::facts(&overview.me.addrs, overview.multicast);
        for (good, fact) in facts {
            let (mark, tone) = match good {
                true => ("✔", Tone::Ok),
                false => ("✖", Tone::Warn),
            };
            note(ui, tone, &format!("{mark} {fact}"));
        }
        note(ui, Tone::Weak, what_to_do);
    }
    ui.add_space(4.0);
    other_ways(ui, draft, actions);
}

/// What helps where nobody is found.
fn other_ways(ui: &mut Ui, draft: &mut PeersDraft, actions: &mut Vec<Action>) {
    if theme::plain(ui, "Show my link").clicked() {
        actions.push(Action::ShowLink(true));
    }
    if theme::plain(ui, "Enter a link, address or code").clicked() {
        draft.enter = true;
        ui.request_repaint();
    }
    if theme::plain(ui, "Check my network").clicked() {
        actions.push(Action::Show(Page::Check));
    }
    ui.add_space(4.0);
}

const ADD_HINT: &str = "The link or address of a device. Or a code that somebody reads to you, \
                        such as 7-river-copper: what it is for is taken without a question";

fn add_form(ui: &mut Ui, model: &Model, draft: &mut PeersDraft, actions: &mut Vec<Action>) {
    ui.add_space(8.0);
    let label = ui.label(theme::note(ui, Tone::Weak, "Add a device")).id;
    ui.horizontal(|ui| {
        let mut sent = false;
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            let text = if model.adding { "Looking…" } else { "Add" };
            let ready = !model.adding && !draft.typed.trim().is_empty();
            sent = ui
                .add_enabled(ready, egui::Button::new(text).min_size([0.0, 30.0].into()))
                .on_disabled_hover_text("Paste a link or type an address first")
                .clicked();
            let field = TextEdit::singleline(&mut draft.typed)
                .hint_text(theme::note(ui, Tone::Weak, "Link, address or code"))
                .margin(Margin::symmetric(8, 6))
                .desired_width(f32::INFINITY);
            let field = ui.add(field).labelled_by(label).on_hover_text(ADD_HINT);
            if std::mem::take(&mut draft.enter) {
                field.request_focus();
                field.scroll_to_me(None);
            }
            let enter = field.lost_focus() && ui.input(|i| i.key_pressed(egui::Key::Enter));
            sent |= enter && ready;
        });
        if sent {
            actions.push(Action::AddPeer(draft.typed.trim().to_owned()));
        }
    });
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
    let seen = in_sight(ui, response.rect);
    draft.rows.extend(seen.map(|rect| (device.who, rect)));
    if response.clicked() {
        actions.push(Action::Choose(device.who, !chosen));
    }
    if let Some(peer) = device.known {
        folder_form(ui, model, peer, draft, actions);
    }
    if let Some(peer) = device.known
        && !peer.record.trusted
        && let Some(three) = &peer.words
    {
        compare(ui, peer, &words::three_words(three), &name, actions);
    }
}

/// What a row of the list looks like.
pub(crate) fn row_frame(ui: &Ui, chosen: bool) -> Frame {
    let p = theme::of(ui);
    let response = ui.response();
    let (fill, line) = match (chosen, response.hovered()) {
        (true, _) => (p.accent_soft, p.accent_text),
        (false, true) => (p.hot, p.line),
        (false, false) => (p.card, p.line),
    };
    let line = if response.has_focus() {
        p.accent_text
    } else {
        line
    };
    Frame::new()
        .fill(fill)
        .stroke(Stroke::new(1.0, line))
        .corner_radius(CornerRadius::same(10))
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
            if let Some(peer) = device.known {
                let more = icons::button(ui, Icon::More, &format!("More about {name}"));
                menu(&more, peer, draft, actions);
            }
            ui.with_layout(Layout::top_down(Align::Min), |ui| {
                ui.spacing_mut().item_spacing.y = 1.0;
                name_line(ui, device, name, draft, actions);
                let mut line = words::device_line(device, model.now);
                if is_twin(model, device) {
                    line.push_str(&format!(" · {}", words::apart(&device.who)));
                }
                let here = device.near.is_some() || device.known.is_some_and(|p| p.connected);
                let tone = match (device.who, here) {
                    (Who::Original(_), _) => Tone::Warn,
                    (Who::Key(_), true) => Tone::Ok,
                    (Who::Key(_), false) => Tone::Weak,
                };
                let line = theme::note(ui, tone, line);
                ui.add(Label::new(line.size(12.5)).truncate());
            });
        });
    });
}

/// Whether another device calls itself the same: then only key or address tell them apart.
fn is_twin(model: &Model, device: &Device<'_>) -> bool {
    let mut all = model.near().chain(model.elsewhere());
    let same = |other: &Device<'_>| other.name.to_lowercase() == device.name.to_lowercase();
    all.any(|other| other.who != device.who && same(&other))
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
        ui.add(Label::new(name).truncate());
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

fn menu(more: &Response, peer: &PeerInfo, draft: &mut PeersDraft, actions: &mut Vec<Action>) {
    let name = Shown(peer.record.name()).to_string();
    Popup::menu(more).show(|ui| {
        let mut ask = |command| actions.push(Action::Ask(command, About::Nothing));
        let trust = |accept| Command::Trust {
            peer: peer.id,
            accept,
        };
        if ui.button("Rename").clicked() {
            draft.renaming = Some((peer.id, peer.record.name().to_owned()));
        }
        match peer.record.accept {
            Accept::Ask | Accept::Block => {
                if ui.button(format!("Always accept from {name}")).clicked() {
                    ask(trust(Accept::Always));
                }
            }
            Accept::Always => {
                if ui.button("Ask each time").clicked() {
                    ask(trust(Accept::Ask));
                }
            }
        }
        if peer.record.accept == Accept::Block {
            if ui.button("Show its questions again").clicked() {
                ask(trust(Accept::Ask));
            }
        } else if ui.button("Never show its questions").clicked() {
            ask(trust(Accept::Block));
        }
        let elsewhere = ui.button("Save its files elsewhere…");
        if elsewhere
            .on_hover_text("A folder for what it sends")
            .clicked()
        {
            let folder = peer
                .folder
                .as_deref()
                .map(|f| f.to_string_lossy().into_owned());
            draft.folder = Some((peer.id, folder.unwrap_or_default()));
        }
        if peer.folder.is_some() && ui.button("Save its files with all others").clicked() {
            ask(Command::SetPeerFolder {
                peer: peer.id,
                folder: None,
            });
        }
        ui.separator();
        if ui.button(format!("Forget {name}")).clicked() {
            ask(Command::Forget(peer.id));
        }
    });
}

/// The folder for what a device sends: typed, or chosen in a dialog.
fn folder_form(
    ui: &mut Ui,
    model: &Model,
    peer: &PeerInfo,
    draft: &mut PeersDraft,
    actions: &mut Vec<Action>,
) {
    let Some((_, text)) = draft.folder.as_mut().filter(|(id, _)| *id == peer.id) else {
        return;
    };
    let mut close = false;
    let inside = Frame::new().inner_margin(Margin::symmetric(10, 2));
    inside.show(ui, |ui| {
        ui.label(theme::note(ui, Tone::Weak, "Save its files in"));
        let field = TextEdit::singleline(text)
            .hint_text(theme::note(ui, Tone::Weak, "/home/me/From Anna"))
            .desired_width(f32::INFINITY);
        let field = ui.add(field).accessible_name("Save its files in");
        let enter = field.lost_focus() && ui.input(|i| i.key_pressed(egui::Key::Enter));
        ui.horizontal(|ui| {
            if theme::small(ui, "Save here").clicked() || enter {
                match words::typed_path(text) {
                    Some(folder) => {
                        let (peer, folder) = (peer.id, Some(folder));
                        let set = Command::SetPeerFolder { peer, folder };
                        actions.push(Action::Ask(set, About::Nothing));
                        close = true;
                    }
                    None => actions.push(not_a_path()),
                }
            }
            let choose = ui.add_enabled(!model.picking, egui::Button::new("Choose…"));
            if choose.clicked() {
                actions.push(Action::Pick(Pick::Target, Whose::Peer(peer.id)));
                close = true;
            }
            close |= theme::small(ui, "Cancel").clicked();
        });
    });
    if close {
        draft.folder = None;
    }
}

fn compare(ui: &mut Ui, peer: &PeerInfo, three: &str, name: &str, actions: &mut Vec<Action>) {
    Frame::new()
        .inner_margin(Margin::symmetric(10, 2))
        .show(ui, |ui| {
            let text = theme::runs(
                ui,
                13.0,
                &[
                    ("New device: both screens show ", Tone::Weak),
                    (three, Tone::Plain),
                ],
            );
            ui.add(Label::new(text).wrap());
            let button = theme::small(ui, "They match")
                .on_hover_text("Compare them aloud or side by side: then it is that device.");
            let button = button.accessible_name(format!("They match: trust {name}"));
            if button.clicked() {
                let trust = Command::Trust {
                    peer: peer.id,
                    accept: peer.record.accept,
                };
                actions.push(Action::Ask(trust, About::Nothing));
            }
        });
}
