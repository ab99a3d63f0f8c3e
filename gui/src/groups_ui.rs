//! Groups of devices: chosen, dropped on, made, renamed and removed as one.

use egui::{
    Align, Frame, Key, Layout, Margin, Popup, Response, Role, Sense, TextEdit, Ui, UiBuilder,
};
use egui::{Vec2, WidgetInfo};
use peerconnect::node::api::{Command, GroupRecord, Who};
use peerconnect::peer::PeerId;
use peerconnect::text::Shown;

use crate::app::App;
use crate::bidi::AnyScript;
use crate::icons::{self, Icon};
use crate::input::in_sight;
use crate::model::{About, Action, Model};
use crate::peer_row::{row_focus, row_frame};
use crate::peers_ui::{PeersDraft, heading};
use crate::theme::{self, Size, Tone};
use crate::words;

/// A name that is being typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Naming {
    /// Of a new group.
    New(String),
    /// Of the group that has the first one now.
    Old(String, String),
}

/// The groups, if there are any.
pub(crate) fn groups_ui(
    ui: &mut Ui,
    model: &Model,
    draft: &mut PeersDraft,
    actions: &mut Vec<Action>,
) {
    if model.overview.groups.is_empty() {
        return;
    }
    ui.add_space(6.0);
    heading(ui, "Groups");
    for group in model.overview.groups.iter() {
        row(ui, model, group, draft, actions);
    }
}

fn row(
    ui: &mut Ui,
    model: &Model,
    group: &GroupRecord,
    draft: &mut PeersDraft,
    actions: &mut Vec<Action>,
) {
    let chosen = model.is_group_chosen(group);
    let name = Shown(&group.name).to_string();
    let builder = UiBuilder::new()
        .scope_id(egui::Id::unique(("group", group.name.to_lowercase())))
        .sense(Sense::click());
    let response = ui
        .scope_builder(builder, |ui| {
            row_frame(ui, chosen).show(ui, |ui| {
                ui.horizontal(|ui| inside(ui, model, (group, &name), chosen, draft, actions));
            });
        })
        .response;
    response.widget_info(|| {
        let text = format!("Send to the group {name}");
        WidgetInfo::selected(Role::CheckBox, true, chosen, text)
    });
    row_focus(ui, &response, chosen);
    let seen = in_sight(ui, response.rect);
    draft
        .groups
        .extend(seen.map(|rect| (group.name.clone(), rect)));
    if response.clicked() {
        actions.push(Action::ChooseGroup(group.name.clone(), !chosen));
    }
    remove_form(ui, &group.name, &name, draft, actions);
}

fn inside(
    ui: &mut Ui,
    model: &Model,
    (group, name): (&GroupRecord, &str),
    chosen: bool,
    draft: &mut PeersDraft,
    actions: &mut Vec<Action>,
) {
    if chosen {
        theme::chosen_mark(ui, 34.0);
    } else {
        let p = theme::of(ui);
        let (rect, _) = ui.allocate_exact_size(Vec2::splat(34.0), Sense::hover());
        ui.painter()
            .circle_filled(rect.center(), 17.0, p.accent_soft);
        icons::paint(ui.painter(), rect, Icon::Group, p.accent_text);
    }
    ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
        let more = icons::button(ui, Icon::More, &format!("More about the group {name}"));
        menu(&more, group, draft);
        ui.with_layout(Layout::top_down(Align::Min), |ui| {
            ui.spacing_mut().item_spacing.y = 1.0;
            if let Some(new) = renaming(ui, draft, &group.name) {
                actions.extend(new);
            } else {
                ui.line(name);
            }
            let line = theme::toned(ui, Tone::Weak, Size::Small, members(model, group));
            ui.line(line);
        });
    });
}

/// "3 devices, 2 here now".
fn members(model: &Model, group: &GroupRecord) -> String {
    let is_here = |id: &&PeerId| {
        let known = model.overview.peers.iter().find(|peer| peer.id == **id);
        model.overview.near(**id).is_some() || known.is_some_and(|peer| peer.connected)
    };
    let here = group.members.iter().filter(is_here).count();
    format!("{} · {here} here now", words::devices(group.members.len()))
}

/// The field for another name, while one is typed; what came of it, if it is finished.
fn renaming(ui: &mut Ui, draft: &mut PeersDraft, group: &str) -> Option<Option<Action>> {
    let Some(Naming::Old(old, text)) = &mut draft.naming else {
        return None;
    };
    if old != group {
        return None;
    }
    let typed = name_field(ui, text, "New name of the group");
    let typed = typed.map(|name| (old.clone(), name));
    Some(typed.and_then(|(old, name)| {
        draft.naming = None;
        name.map(|name| Action::RenameGroup(old, name))
    }))
}

/// A field for a name; `Some(None)` if it was left without one.
fn name_field(ui: &mut Ui, text: &mut String, label: &str) -> Option<Option<String>> {
    let field = TextEdit::singleline(text).desired_width(f32::INFINITY);
    let field = ui.add(field).accessible_name(label);
    if field.lost_focus() {
        let name = text.trim().to_owned();
        let wanted = ui.input(|i| i.key_pressed(Key::Enter)) && !name.is_empty();
        return Some(wanted.then_some(name));
    }
    field.request_focus();
    None
}

fn menu(more: &Response, group: &GroupRecord, draft: &mut PeersDraft) {
    Popup::menu(more).show(|ui| {
        if ui.button("Rename").clicked() {
            draft.naming = Some(Naming::Old(group.name.clone(), group.name.clone()));
        }
        if ui.button("Remove this group…").clicked() {
            draft.removing = Some(group.name.clone());
        }
    });
}

/// Asks whether a group shall really be removed, once that was pressed.
fn remove_form(
    ui: &mut Ui,
    group: &str,
    name: &str,
    draft: &mut PeersDraft,
    actions: &mut Vec<Action>,
) {
    if draft.removing.as_deref() != Some(group) {
        return;
    }
    let inside = Frame::new().inner_margin(Margin::symmetric(10, 2));
    inside.show(ui, |ui| {
        let text = "Its devices stay known; only the group is gone then.";
        ui.lines(theme::note(ui, Tone::Warn, text));
        ui.horizontal_wrapped(|ui| {
            let remove = theme::small(ui, "Remove it");
            let remove = remove.accessible_name(format!("Remove the group {name}"));
            if remove.clicked() {
                actions.push(Action::Ask(without_members(group), About::Nothing));
                draft.removing = None;
            }
            let keep = theme::small(ui, "Keep it");
            let keep = keep.accessible_name(format!("Keep the group {name}"));
            if keep.clicked() {
                draft.removing = None;
            }
        });
    });
}

/// What can be done with several chosen devices beside sending: making a group of them.
pub(crate) fn make_ui(
    ui: &mut Ui,
    model: &Model,
    draft: &mut PeersDraft,
    actions: &mut Vec<Action>,
) {
    if let Some(Naming::New(text)) = &mut draft.naming {
        ui.label(theme::note(ui, Tone::Weak, "Name of the group"));
        if let Some(name) = name_field(ui, text, "Name of the group") {
            draft.naming = None;
            actions.extend(name.map(Action::MakeGroup));
        }
        return;
    }
    let keys = model.chosen.iter().filter(|who| matches!(who, Who::Key(_)));
    let is_group = model
        .overview
        .groups
        .iter()
        .any(|g| model.is_group_chosen(g));
    if keys.count() >= 2 && !is_group && theme::small(ui, "Make a group of these…").clicked() {
        draft.naming = Some(Naming::New(String::new()));
    }
}

/// Forgets a group; its devices stay known.
pub(crate) fn without_members(name: &str) -> Command {
    Command::SetGroup(GroupRecord {
        name: name.to_owned(),
        members: Vec::new(),
    })
}

impl App {
    pub(crate) fn choose_group(&mut self, name: &str, on: bool) {
        let model = &mut self.model;
        let Some(group) = model.overview.group(name) else {
            return;
        };
        for who in group.members.clone().into_iter().map(Who::Key) {
            match on {
                true => model.chosen.insert(who),
                false => model.chosen.remove(&who),
            };
        }
    }

    pub(crate) fn make_group(&mut self, name: String) {
        let chosen = self.model.chosen.iter();
        let members = chosen.filter_map(|who| match who {
            Who::Key(id) => Some(*id),
            Who::Original(_) => None,
        });
        let members = members.collect();
        let group = GroupRecord { name, members };
        self.ask(Command::SetGroup(group), About::Nothing);
    }

    pub(crate) fn rename_group(&mut self, old: String, name: String) {
        let Some(group) = self.model.overview.group(&old) else {
            return;
        };
        let members = group.members.clone();
        // The same name in other letters takes the place of the old one by itself.
        let about = match old.to_lowercase() == name.to_lowercase() {
            true => About::Nothing,
            false => About::RenamedGroup(old),
        };
        self.ask(Command::SetGroup(GroupRecord { name, members }), about);
    }
}
