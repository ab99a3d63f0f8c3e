//! Files that go to several devices: one card, which unfolds into the devices.

use egui::{Align, Layout, Ui};
use peerconnect::node::api::{Again, Command, SessionSnapshot};
use peerconnect::otm::session::{MemberEnd, Receiver};
use peerconnect::protocol::message::Scope;
use peerconnect::text::Shown;
use peerconnect::transfer::status::{Direction, TransferSnapshot};

use crate::bidi::AnyScript;
use crate::ended_ui::tell_more;
use crate::icons::{self, Icon};
use crate::model::{About, Action, Model};
use crate::seen::MANY;
use crate::theme::{self, Size, Tone};
use crate::transfers_ui::{
    RECEIVER, TransfersDraft, badge, below, buttons, doubt, framed, pause_or_resume, percent,
    really_cancel, said,
};
use crate::words;

/// The card.
pub(crate) fn session_card(
    ui: &mut Ui,
    model: &Model,
    s: &SessionSnapshot,
    draft: &mut TransfersDraft,
    actions: &mut Vec<Action>,
) {
    let status = words::session_status(&model.overview, s, model.pace(s.id));
    let name = format!("{}: {}", subject(s), status.line);
    let mut heights = std::mem::take(&mut draft.receivers);
    framed(ui, model, (s.id, &name), draft, actions, |ui, actions| {
        head(ui, model, s, actions);
        if !s.is_over() && s.bytes > 0 {
            ui.add_space(2.0);
            let share = words::share(s.bytes_done, s.bytes);
            let percent = words::percent(s.bytes_done, s.bytes);
            theme::bar(
                ui,
                share,
                (status.tone, Direction::Sending),
                &format!("{percent} % done"),
            );
        }
        said(ui, &status, offers(model, s), actions);
        if model.doubt == Some(s.id) {
            doubt(ui, really_cancel(s.id), actions);
        }
        if model.spread.contains(&s.id) {
            let many = s.receivers.len() >= MANY;
            for device in &s.receivers {
                let mut draw = |ui: &mut Ui| receiver(ui, model, device, actions);
                match many {
                    true => heights.draw(ui, device.transfer, RECEIVER, draw),
                    false => draw(ui),
                }
            }
        }
    });
    draft.receivers = heights;
}

/// What it is, for its heading and for screen readers.
fn subject(s: &SessionSnapshot) -> String {
    let names = words::names(&s.top_names, s.top_count, 2);
    format!("{names} to {}", words::devices(s.receivers.len()))
}

fn head(ui: &mut Ui, model: &Model, s: &SessionSnapshot, actions: &mut Vec<Action>) {
    ui.horizontal(|ui| {
        badge(ui, s.state, Direction::Sending);
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            head_buttons(ui, model, s, actions);
            if s.bytes > 0 && !s.is_over() {
                let percent = words::percent(s.bytes_done, s.bytes);
                ui.label(format!("{percent} %"));
            }
            ui.with_layout(Layout::left_to_right(Align::Center), |ui| {
                let names = words::names(&s.top_names, s.top_count, 2);
                let devices = words::devices(s.receivers.len());
                let parts = [
                    (names.as_str(), Tone::Plain),
                    ("   to ", Tone::Weak),
                    (devices.as_str(), Tone::Weak),
                ];
                ui.line(theme::runs(ui, Size::Body, &parts));
            });
        });
    });
}

fn head_buttons(ui: &mut Ui, model: &Model, s: &SessionSnapshot, actions: &mut Vec<Action>) {
    let subject = subject(s);
    ui.spacing_mut().item_spacing.x = 2.0;
    let open = model.spread.contains(&s.id);
    let (icon, verb) = match open {
        true => (Icon::Unfolded, "Hide devices of"),
        false => (Icon::Folded, "Show devices of"),
    };
    if icons::button(ui, icon, &format!("{verb} {subject}")).clicked() {
        actions.push(Action::Spread(s.id, !open));
    }
    if let Some(action) = cancel_session(s)
        && icons::button(ui, Icon::Close, &format!("Cancel {subject}")).clicked()
    {
        actions.push(action);
    }
    if let Some(command) = pause_or_resume_session(model, s) {
        let (icon, verb) = match matches!(command, Command::Pause { .. }) {
            true => (Icon::Pause, "Pause"),
            false => (Icon::Play, "Resume"),
        };
        if icons::button(ui, icon, &format!("{verb} {subject}")).clicked() {
            actions.push(Action::Ask(command, About::Nothing));
        }
    }
    ui.add_space(6.0);
}

/// What Space does: pauses as long as there is anything to pause.
pub(crate) fn pause_or_resume_session(model: &Model, s: &SessionSnapshot) -> Option<Command> {
    let transfers = model.overview.transfers_of(s);
    let commands: Vec<Command> = transfers.filter_map(pause_or_resume).collect();
    let pauses = |command: &Command| matches!(command, Command::Pause { .. });
    let (transfer, scope) = (s.id, Scope::Transfer);
    match commands.as_slice() {
        [] => None,
        all if all.iter().any(pauses) => Some(Command::Pause { transfer, scope }),
        _ => Some(Command::Resume { transfer, scope }),
    }
}

/// What cancelling begins with: a question if something would be lost.
pub(crate) fn cancel_session(s: &SessionSnapshot) -> Option<Action> {
    if s.is_over() {
        None
    } else if s.bytes_done > 0 {
        Some(Action::DoubtCancel(Some(s.id)))
    } else {
        Some(really_cancel(s.id))
    }
}

/// What can be done when it is over: those of this run can be tried again.
fn offers(model: &Model, s: &SessionSnapshot) -> Vec<(String, Action)> {
    let missing = s.receivers.iter().filter(|device| {
        device.end == Some(MemberEnd::Incomplete)
            && model.overview.transfer(device.transfer).is_some()
    });
    let missing = missing.count();
    if !s.is_over() || missing == 0 {
        return Vec::new();
    }
    let again = Command::SendAgain {
        transfer: s.id,
        what: Again::All,
    };
    let text = format!("Send again to {}", words::devices(missing));
    vec![(text, Action::Ask(again, About::Nothing))]
}

fn receiver(ui: &mut Ui, model: &Model, device: &Receiver, actions: &mut Vec<Action>) {
    ui.add_space(2.0);
    ui.separator();
    match model.overview.transfer(device.transfer) {
        Some(t) => {
            ui.push_id(t.id.0, |ui| row(ui, model, t, actions));
        }
        None => earlier(ui, device),
    }
}

fn row(ui: &mut Ui, model: &Model, t: &TransferSnapshot, actions: &mut Vec<Action>) {
    let mut status = words::status(t, model.pace(t.id));
    tell_more(model, t, &mut status);
    ui.horizontal(|ui| {
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            buttons(ui, model, t, actions);
            percent(ui, t);
            ui.with_layout(Layout::left_to_right(Align::Center), |ui| {
                let name = Shown(&t.peer_name).to_string();
                let mark = match t.is_legacy() {
                    true => format!("   {}", words::NOT_ENCRYPTED),
                    false => String::new(),
                };
                let parts = [(name.as_str(), Tone::Plain), (mark.as_str(), Tone::Warn)];
                ui.line(theme::runs(ui, Size::Body, &parts));
            });
        });
    });
    below(ui, model, t, &status, actions);
}

/// A device that was done with before this window's node began.
fn earlier(ui: &mut Ui, device: &Receiver) {
    let (text, tone) = match device.end {
        Some(MemberEnd::Complete) => ("has everything", Tone::Ok),
        Some(MemberEnd::Incomplete) | None => ("did not get everything", Tone::Warn),
    };
    ui.horizontal(|ui| {
        ui.line(Shown(&device.name).to_string());
        ui.label(theme::note(ui, tone, text));
    });
}
