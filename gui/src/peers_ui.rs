//! The devices at the left: who is there, whom to send to, and how to add one.

use std::time::Duration;

use egui::{Align, Frame, Label, Layout, Margin, Rect, ScrollArea, TextEdit, Ui};
use peerconnect::node::api::{Presence, Who};
use peerconnect::peer::PeerId;

use crate::groups_ui::{Naming, groups_ui, make_ui};
use crate::model::{Action, Device, Model, Page};
use crate::peer_row::rows;
use crate::seen::Heights;
use crate::theme::{self, Tone};
use crate::words;

/// What is being typed here, and where the rows were painted last.
#[derive(Debug, Default)]
pub(crate) struct PeersDraft {
    /// Link, address or name of a device to add.
    pub(crate) typed: String,
    /// New name of a device.
    pub(crate) renaming: Option<(PeerId, String)>,
    /// The name of a group.
    pub(crate) naming: Option<Naming>,
    /// The folder for what a device sends.
    pub(crate) folder: Option<(PeerId, String)>,
    /// The device that may be forgotten, if that is confirmed.
    pub(crate) forgetting: Option<PeerId>,
    /// The group that may be removed, if that is confirmed.
    pub(crate) removing: Option<String>,
    /// The device below whose row something was opened, which must be in sight.
    pub(crate) reveal: Option<PeerId>,
    /// Heights of rows with what stands below them, where there are too many to draw all.
    pub(crate) heights: Heights<Who>,
    /// Rows on the screen, for drops.
    pub(crate) rows: Vec<(Who, Rect)>,
    pub(crate) groups: Vec<(String, Rect)>,
    /// The person wants to type a link or address: the field for it gets the keyboard.
    pub(crate) enter: bool,
}

impl PeersDraft {
    /// Forgets where the rows were painted, and what belongs to devices that are gone. Once before
    /// each frame: they are not drawn in all.
    pub(crate) fn begin(&mut self, model: &Model) {
        self.rows.clear();
        self.groups.clear();
        self.forgetting
            .take_if(|id| model.device(Who::Key(*id)).is_none());
        self.removing
            .take_if(|name| model.overview.group(name).is_none());
        self.heights.forget_gone(model.devices.len());
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
    let near = !model.overview.nearby.is_empty();
    // Whoever is connected, from wherever, knows how to be found.
    if near || !model.is_anybody_connected() {
        heading(ui, "Nearby");
    }
    if !near && !model.is_anybody_connected() {
        alone(ui, model, draft, actions);
    }
    rows(ui, model, model.near(), draft, actions);
    let elsewhere = |connected| {
        let is_so = move |device: &Device<'_>| device.is_connected() == connected;
        model.elsewhere().filter(is_so)
    };
    // Whoever is reached in another network is not gone.
    if elsewhere(true).next().is_some() {
        ui.add_space(6.0);
        heading(ui, "Connected");
    }
    rows(ui, model, elsewhere(true), draft, actions);
    groups_ui(ui, model, draft, actions);
    if elsewhere(false).next().is_some() {
        ui.add_space(6.0);
        heading(ui, "Seen before");
    }
    rows(ui, model, elsewhere(false), draft, actions);
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
