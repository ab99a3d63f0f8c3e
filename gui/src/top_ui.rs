//! The head of the window: who we are, our link, where files arrive; below it what a person
//! should know.

use egui::{Align, Layout, Ui};
use peerconnect::config::Setting;
use peerconnect::fault::Face;
use peerconnect::node::api::{Command, Target};
use peerconnect::text::Shown;

use crate::app::NARROW;
use crate::bidi::{AnyScript, visual};
use crate::icons::{self, Icon};
use crate::lines::{NAME_LEN, field_and_buttons};
use crate::model::{About, Action, Model, Notice, Page, Whose};
use crate::outside::Pick;
use crate::staged_ui::shorten;
use crate::theme::{self, Size, Tone};
use crate::words;

/// What is being typed here.
#[derive(Debug, Default)]
pub(crate) struct TopDraft {
    /// The new folder, while it is being changed.
    pub(crate) folder: Option<String>,
}

impl TopDraft {
    /// Begins with another folder for what arrives.
    pub(crate) fn change_folder(&mut self, model: &Model) {
        let folder = &model.overview.me.folder;
        self.folder = Some(folder.to_string_lossy().into_owned());
    }
}

/// Name, link, folder.
pub(crate) fn top_ui(ui: &mut Ui, model: &Model, draft: &mut TopDraft) -> Vec<Action> {
    let mut actions = Vec::new();
    let me = &model.overview.me;
    ui.horizontal(|ui| {
        theme::avatar(ui, Some(&me.id), &me.name, 40.0);
        ui.add_space(4.0);
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            page_buttons(ui, model, &mut actions);
            link_buttons(ui, &me.link, &mut actions);
            ui.add_space(8.0);
            ui.with_layout(Layout::top_down(Align::Min), |ui| {
                ui.spacing_mut().item_spacing.y = 2.0;
                let name = Shown(&me.name).to_string();
                let text = theme::runs(
                    ui,
                    Size::Title,
                    &[("You are ", Tone::Weak), (&name, Tone::Plain)],
                );
                ui.line(text);
                folder_line(ui, model, draft);
            });
        });
    });
    if draft.folder.is_some() {
        folder_form(ui, model, draft, &mut actions);
    }
    actions
}

/// Our link, as a code and as text; where there is no room, a button that leads to both.
fn link_buttons(ui: &mut Ui, link: &str, actions: &mut Vec<Action>) {
    if ui.content_rect().width() < NARROW {
        if icons::button(ui, Icon::Link, "Show my link").clicked() {
            actions.push(Action::ShowLink(true));
        }
        return;
    }
    if theme::plain(ui, "Show QR code").clicked() {
        actions.push(Action::ShowLink(true));
    }
    let copy = theme::plain(ui, "Copy my link");
    let copy = copy.on_hover_text("Send it to the other person: with it, they find this computer.");
    if copy.clicked() {
        actions.push(Action::Copy(link.to_owned()));
    }
}

/// The ways to the other pages; the one that is open leads back.
fn page_buttons(ui: &mut Ui, model: &Model, actions: &mut Vec<Action>) {
    ui.spacing_mut().item_spacing.x = 2.0;
    for (page, icon, name) in [
        (Page::Settings, Icon::Gear, "Settings"),
        (Page::History, Icon::Clock, "History"),
    ] {
        let open = model.page == page;
        if icons::page_button(ui, icon, name, open).clicked() {
            let next = if open { Page::Transfers } else { page };
            actions.push(Action::Show(next));
        }
    }
    ui.spacing_mut().item_spacing.x = 8.0;
}

/// Width of the way to another folder, beside the folder.
const CHANGE: f32 = 72.0;

fn folder_line(ui: &mut Ui, model: &Model, draft: &mut TopDraft) {
    ui.horizontal(|ui| {
        let folder = words::folder(&model.overview.me.folder);
        let text = theme::note(ui, Tone::Weak, format!("Files arrive in {folder}"));
        ui.scope(|ui| {
            ui.set_max_width((ui.available_width() - CHANGE).max(0.0));
            ui.line(text);
        });
        let change = theme::note(ui, Tone::Accent, "Change…");
        if ui
            .link(change)
            .on_hover_text("Save received files somewhere else")
            .clicked()
        {
            match draft.folder {
                Some(_) => draft.folder = None,
                None => draft.change_folder(model),
            }
        }
    });
}

fn folder_form(ui: &mut Ui, model: &Model, draft: &mut TopDraft, actions: &mut Vec<Action>) {
    let Some(text) = &mut draft.folder else {
        return;
    };
    let (mut save, mut close) = (false, false);
    let name = "Save received files in";
    let entered = field_and_buttons(ui, (name, text), 310.0, |ui| {
        let choose = ui.add_enabled(!model.picking, egui::Button::new("Choose…"));
        if choose.clicked() {
            actions.push(Action::Pick(Pick::Target, Whose::Mine));
        }
        save = theme::primary(ui, true, "Save here").clicked();
        close = theme::plain(ui, "Leave as it is").clicked();
    });
    if save || entered {
        match words::typed_path(text) {
            Some(path) => {
                let set = Command::Set(Setting::Folder(path));
                actions.push(Action::Ask(set, About::Nothing));
                close = true;
            }
            None => actions.push(not_a_path()),
        }
    }
    if close {
        draft.folder = None;
    }
}

/// What is said about a typed path that is none.
pub(crate) fn not_a_path() -> Action {
    Action::Say(
        Tone::Warn,
        "Type the whole path, beginning with / or ~.".into(),
    )
}

/// Lines that a person should read, ours and the node's.
pub(crate) fn notices_ui(ui: &mut Ui, model: &Model) -> Vec<Action> {
    let mut actions = Vec::new();
    if let Some(missed) = model.missed() {
        let title = format!("{}.", missed.text(Face::Window));
        let advice = missed.advice(Face::Window).unwrap_or_default();
        let mut connect = Vec::new();
        let closed = line(ui, Tone::Warn, &title, &advice, |ui| {
            connect = from_here(ui, model);
        });
        if closed {
            actions.push(Action::DismissMissed);
        }
        actions.extend(connect);
    }
    for text in model.overview.notices.iter() {
        let read = model.dismissed.contains(text);
        if !read && line(ui, Tone::Warn, &Shown(text).to_string(), "", |_| {}) {
            actions.push(Action::DismissNode(text.clone()));
        }
    }
    for Notice {
        number,
        tone,
        words,
    } in &model.notices
    {
        let more = format!("{} {}", words.detail, words.hint);
        if line(ui, *tone, &words.title, &more, |_| {}) {
            actions.push(Action::Dismiss(*number));
        }
    }
    actions
}

/// Devices that can be connected to from a notice.
const FROM_HERE_MAX: usize = 3;

/// Connects from this side to those who cannot connect from theirs: whoever is behind a firewall
/// gets out. Only because a person says so: that others do not reach us is a claim of anybody.
fn from_here(ui: &mut Ui, model: &Model) -> Vec<Action> {
    let mut actions = Vec::new();
    let near = model.overview.nearby.iter().filter(|near| near.misses_us);
    ui.horizontal_wrapped(|ui| {
        for near in near.take(FROM_HERE_MAX) {
            let name = Shown(&near.name).to_string();
            let text = format!("Connect to {}", shorten(&name, NAME_LEN));
            if let Some(key) = near.key()
                && theme::small(ui, &text)
                    .on_hover_text(visual(&name))
                    .clicked()
            {
                let connect = Command::AddPeer(Target::Peer(key));
                actions.push(Action::Ask(connect, About::Nothing));
            }
        }
    });
    actions
}

/// One notice, with what can be done about it; whether it was closed.
fn line(ui: &mut Ui, tone: Tone, title: &str, more: &str, buttons: impl FnOnce(&mut Ui)) -> bool {
    let p = theme::of(ui);
    let frame = theme::card(ui).stroke(egui::Stroke::new(1.0, p.tone(tone)));
    frame
        .show(ui, |ui| {
            ui.with_layout(Layout::right_to_left(Align::Min), |ui| {
                let closed = icons::button(ui, Icon::Close, "Close this message").clicked();
                ui.with_layout(Layout::top_down(Align::Min), |ui| {
                    // The first line stands beside the middle of the button.
                    ui.add_space(4.0);
                    let title = egui::RichText::new(title).color(p.tone(tone));
                    ui.selectable_lines(title);
                    if !more.trim().is_empty() {
                        let more = theme::note(ui, Tone::Weak, more.trim());
                        ui.selectable_lines(more);
                    }
                    buttons(ui);
                });
                closed
            })
            .inner
        })
        .inner
}
