//! Questions of other devices: a card each at the top of the window, in nobody's way. Nothing but
//! the two buttons (and their keys) answers: not Esc, not closing, not a click meant elsewhere.

use std::collections::BTreeMap;
use std::path::PathBuf;

use egui::{Label, Ui};
use peerconnect::fault::{Face, Fault};
use peerconnect::node::api::{Command, Decision};
use peerconnect::protocol::message::TransferId;
use peerconnect::storage::store::Accept;
use peerconnect::text::{Shown, bytes, day};
use peerconnect::transfer::status::{Question, TransferSnapshot};

use crate::bidi::{AnyScript, visual};
use crate::guard::Guard;
use crate::icons::{self, Icon};
use crate::lines::{NAME_LEN, field_and_buttons, rest_of_line, words_and_buttons};
use crate::model::{About, Action, Model, Whose};
use crate::outside::Pick;
use crate::staged_ui::shorten;
use crate::theme::{self, Size, Tone};
use crate::wanted_ui::{Wanted, wanted_ui};
use crate::words;

/// What is being decided here.
#[derive(Debug, Default)]
pub(crate) struct OffersDraft {
    cards: BTreeMap<TransferId, Card>,
    guard: Guard<TransferId>,
}

#[derive(Debug)]
struct Card {
    /// A folder other than the one in the question, as it is being typed.
    folder: Option<String>,
    room: Room,
    wanted: Wanted,
    always: bool,
    /// Whether others may have it from here.
    pass_on: bool,
}

/// How much room there is in the folder that was typed.
#[derive(Debug, PartialEq, Eq)]
enum Room {
    Unknown,
    /// It is being looked at: one folder at a time, however fast somebody types.
    Looking,
    /// In this folder; `None` if it cannot be looked at.
    Of(PathBuf, Option<u64>),
}

impl Card {
    fn new(t: &TransferSnapshot) -> Self {
        Self {
            folder: None,
            room: Room::Unknown,
            wanted: Wanted::all(t),
            always: false,
            pass_on: true,
        }
    }

    /// The folder that was typed instead of the one in the question. An error if it is no path.
    fn other_folder(&self, t: &TransferSnapshot) -> Result<Option<PathBuf>, ()> {
        let Some(text) = &self.folder else {
            return Ok(None);
        };
        let path = words::typed_path(text).ok_or(())?;
        Ok((t.folder.as_ref() != Some(&path)).then_some(path))
    }

    /// Why this cannot be accepted, as a sentence; `None` if it can.
    fn obstacle(&self, t: &TransferSnapshot, question: &Question) -> Option<String> {
        if self.wanted.only(t).is_some_and(|only| only.is_empty()) {
            return Some("Choose at least one of the files.".into());
        }
        let Ok(other) = self.other_folder(t) else {
            return Some("Type the whole path of the folder, beginning with / or ~.".into());
        };
        let fault = question.obstacle.as_ref()?;
        // What is wrong with one folder is not wrong with another; the node looks again.
        let elsewhere = other.is_some();
        let fits = if let Fault::DiskFull { free, .. } = fault {
            self.wanted.bytes(t) <= *free
        } else {
            false
        };
        let solved = elsewhere || fits;
        (!solved).then(|| fault.words(Face::Window).to_string())
    }
}

impl OffersDraft {
    /// Puts the folder that was chosen in a dialog into the card.
    pub(crate) fn set_folder(&mut self, id: TransferId, folder: String) {
        if let Some(card) = self.cards.get_mut(&id) {
            card.folder = Some(folder);
        }
    }

    /// Takes how much room there is in a folder.
    pub(crate) fn set_room(&mut self, id: TransferId, folder: PathBuf, free: Option<u64>) {
        if let Some(card) = self.cards.get_mut(&id) {
            card.room = Room::Of(folder, free);
        }
    }

    /// Brings the cards up to date; true once they have stood still long enough.
    fn settle(&mut self, model: &Model, time: f64) -> bool {
        let order: Vec<TransferId> = model.questions().map(|t| t.id).collect();
        self.cards.retain(|id, _| order.contains(id));
        for t in model.questions() {
            self.cards.entry(t.id).or_insert_with(|| Card::new(t));
        }
        self.guard.settle(order, time)
    }
}

/// Accepts or declines the first question that waits, for the keys. Nothing happens while the
/// button could not be pressed either.
pub(crate) fn answer_first(
    model: &Model,
    draft: &mut OffersDraft,
    time: f64,
    accept: bool,
) -> Vec<Action> {
    let still = draft.settle(model, time);
    let first = model
        .questions()
        .find(|t| !model.answered.contains_key(&t.id));
    let Some((t, question)) = first.and_then(|t| Some((t, t.question.as_ref()?))) else {
        return Vec::new();
    };
    let Some(card) = draft.cards.get(&t.id) else {
        return Vec::new();
    };
    if !accept {
        return vec![decline(t)];
    }
    // What nobody can check is not taken by a key that was meant for something else.
    if !still || t.is_legacy() || card.obstacle(t, question).is_some() {
        return Vec::new();
    }
    accepted(t, card)
}

fn decline(t: &TransferSnapshot) -> Action {
    let answer = Command::Answer {
        transfer: t.id,
        decision: Decision::Decline,
    };
    Action::Ask(answer, About::Answer(t.id))
}

fn accepted(t: &TransferSnapshot, card: &Card) -> Vec<Action> {
    let mut actions = Vec::new();
    if let (true, Some(peer)) = (card.always, t.peer.and_then(|peer| peer.key())) {
        let trust = Command::Trust {
            peer,
            accept: Accept::Always,
        };
        actions.push(Action::Ask(trust, About::Nothing));
    }
    let decision = Decision::Accept {
        folder: card.other_folder(t).unwrap_or_default(),
        only: card.wanted.only(t),
        pass_on: card.pass_on,
    };
    let answer = Command::Answer {
        transfer: t.id,
        decision,
    };
    actions.push(Action::Ask(answer, About::Answer(t.id)));
    actions
}

/// All cards.
pub(crate) fn offers_ui(ui: &mut Ui, model: &Model, draft: &mut OffersDraft) -> Vec<Action> {
    let mut actions = Vec::new();
    let time = ui.input(|i| i.time);
    let still = draft.settle(model, time);
    draft.guard.wake(ui.ctx(), time);
    for t in model.questions() {
        if let (Some(question), Some(card)) = (&t.question, draft.cards.get_mut(&t.id)) {
            let drawn = theme::loud_card(ui).show(ui, |ui| {
                ui.set_width(ui.available_width());
                ui.push_id(t.id.0, |ui| {
                    let open = !model.answered.contains_key(&t.id);
                    ui.add_enabled_ui(open, |ui| {
                        one(ui, model, t, question, card, still && open, &mut actions);
                    });
                });
            });
            model.show_sought(t.id, &drawn.response);
        }
    }
    actions
}

fn one(
    ui: &mut Ui,
    model: &Model,
    t: &TransferSnapshot,
    question: &Question,
    card: &mut Card,
    ready: bool,
    actions: &mut Vec<Action>,
) {
    asks(ui, t);
    ui.add_space(2.0);
    match t.is_legacy() {
        true => names(ui, t),
        false => wanted_ui(ui, t, &mut card.wanted),
    }
    if t.passing.passes_on {
        ui.checkbox(&mut card.pass_on, "pass it on to the others");
    }
    folder(ui, model, t, question, card, actions);
    open_until(ui, model, t, question);
    let obstacle = card.obstacle(t, question);
    if let Some(obstacle) = &obstacle {
        let text = theme::note(ui, Tone::Error, obstacle);
        ui.lines(text);
    }
    ui.add_space(2.0);
    match answer(ui, t, card, ready && obstacle.is_none()) {
        Some(Pressed::Accept) => actions.extend(accepted(t, card)),
        Some(Pressed::Decline) => actions.push(decline(t)),
        None => {}
    }
}

/// Until when it can be answered. What old versions send is told yes or no soon.
fn open_until(ui: &mut Ui, model: &Model, t: &TransferSnapshot, question: &Question) {
    if question.until == 0 || t.is_legacy() {
        return;
    }
    let until = i64::try_from(question.until).unwrap_or(i64::MAX);
    let text = format!("It stays open until {}.", day(until, model.now));
    ui.add(Label::new(theme::note(ui, Tone::Weak, text)).wrap());
}

/// Who asks, and for what.
fn asks(ui: &mut Ui, t: &TransferSnapshot) {
    let name = Shown(&t.peer_name).to_string();
    ui.horizontal(|ui| {
        let key = t.peer.and_then(|peer| peer.key());
        theme::avatar(ui, key.as_ref(), &t.peer_name, 36.0);
        ui.vertical(|ui| {
            ui.spacing_mut().item_spacing.y = 2.0;
            let wants = match (t.is_legacy(), t.files) {
                // It names its files only while it sends them.
                (true, 0) => " wants to send you files".to_owned(),
                (true, _) => format!(" wants to send you {} so far", words::files(t.files)),
                (false, _) => format!(
                    " wants to send you {} ({})",
                    words::files(t.files),
                    bytes(t.bytes)
                ),
            };
            let parts = [(name.as_str(), Tone::Plain), (&wants, Tone::Weak)];
            ui.lines(theme::runs(ui, Size::Lead, &parts));
            if let Some(invitation) = t.passing.invitation() {
                ui.lines(theme::note(ui, Tone::Weak, invitation));
            }
            identity(ui, t.is_legacy(), t.trusted, t.words.as_deref());
        });
    });
}

/// A button that was pressed.
enum Pressed {
    Accept,
    Decline,
}

/// Below this width the buttons stand under the box for the next time.
const ONE_LINE: f32 = 580.0;

/// The box for the next time, and the buttons.
fn answer(ui: &mut Ui, t: &TransferSnapshot, card: &mut Card, can_accept: bool) -> Option<Pressed> {
    let name = Shown(&t.peer_name).to_string();
    let accept = match card.wanted.count(t) {
        n if n == t.top_count || n == 0 => "Accept".to_owned(),
        n => format!("Accept {n} of {}", t.top_count),
    };
    let always = |ui: &mut Ui| {
        // Nobody could know next time who that is.
        if !t.is_legacy() {
            let text = format!("always accept from {}", shorten(&name, NAME_LEN));
            ui.checkbox(&mut card.always, visual(&text))
                .on_hover_text(visual(&name))
                .accessible_name(format!("always accept from {name}"));
        }
    };
    let mut pressed = None;
    words_and_buttons(ui, ONE_LINE, always, |ui| {
        let accept = theme::primary(ui, can_accept, &accept)
            .on_hover_text("Ctrl+Shift+A")
            .accessible_name(format!("{accept} from {name}"));
        if accept.clicked() {
            pressed = Some(Pressed::Accept);
        }
        let decline = theme::plain(ui, "Decline")
            .on_hover_text("Ctrl+Shift+D")
            .accessible_name(format!("Decline from {name}"));
        if decline.clicked() {
            pressed = Some(Pressed::Decline);
        }
    });
    pressed
}

/// Whether we know who asks, and how to find out.
pub(crate) fn identity(ui: &mut Ui, legacy: bool, trusted: bool, three: Option<&str>) {
    if legacy {
        let text = format!(
            "{}. Nobody can check who it is that calls itself so, and others in the network can \
             read along.",
            words::NOT_ENCRYPTED
        );
        ui.lines(theme::note(ui, Tone::Warn, text));
    } else if trusted {
        ui.label(theme::note(ui, Tone::Ok, "trusted ✔"));
    } else if let Some(three) = three {
        let three = words::three_words(three);
        let text = theme::runs(
            ui,
            Size::Body,
            &[
                ("New device: both screens show ", Tone::Warn),
                (&three, Tone::Plain),
            ],
        );
        ui.lines(text);
    } else {
        ui.label(theme::note(ui, Tone::Warn, "New device"));
    }
}

/// What has been announced so far.
fn names(ui: &mut Ui, t: &TransferSnapshot) {
    if t.top_count > 0 {
        let names = words::names(&t.top_names, t.top_count, t.top_names.len());
        ui.lines(theme::note(ui, Tone::Weak, names));
    }
}

/// Width of the way to another folder, and of the room in this one, beside the folder.
const CHANGE: f32 = 150.0;
const FREE: f32 = 100.0;

fn folder(
    ui: &mut Ui,
    model: &Model,
    t: &TransferSnapshot,
    question: &Question,
    card: &mut Card,
    actions: &mut Vec<Action>,
) {
    let offered = t.folder.clone().unwrap_or_default();
    let Some(text) = &mut card.folder else {
        ui.horizontal(|ui| {
            icons::show(ui, Icon::Right, theme::of(ui).weak);
            let line = theme::note(ui, Tone::Weak, words::folder(&offered));
            ui.scope(|ui| {
                ui.set_max_width((ui.available_width() - CHANGE - FREE).max(0.0));
                rest_of_line(ui, line);
            });
            let free = format!("· {} free", bytes(question.free));
            ui.label(theme::note(ui, Tone::Weak, free));
            let change = theme::note(ui, Tone::Accent, "Choose another folder");
            if ui.link(change).clicked() {
                card.folder = Some(offered.to_string_lossy().into_owned());
            }
        });
        return;
    };
    let mut back = false;
    field_and_buttons(ui, ("Save in", text), 150.0, |ui| {
        let choose = ui.add_enabled(!model.picking, egui::Button::new("Choose…"));
        if choose.clicked() {
            actions.push(Action::Pick(Pick::Target, Whose::Transfer(t.id)));
        }
        back = theme::small(ui, "Back").clicked();
    });
    if back {
        card.folder = None;
    }
    room(ui, t, card, actions);
}

/// How much room there is in the folder that was typed, before anything is accepted into it.
fn room(ui: &mut Ui, t: &TransferSnapshot, card: &mut Card, actions: &mut Vec<Action>) {
    let Ok(Some(folder)) = card.other_folder(t) else {
        return;
    };
    let free = match &card.room {
        Room::Of(of, free) if *of == folder => free,
        Room::Looking => return,
        Room::Unknown | Room::Of(..) => {
            card.room = Room::Looking;
            actions.push(Action::LookForRoom(t.id, folder));
            return;
        }
    };
    let needed = card.wanted.bytes(t);
    let (tone, text) = match *free {
        None => (Tone::Warn, "That folder cannot be looked at.".to_owned()),
        Some(free) if free < needed => {
            let (needed, free) = (bytes(needed), bytes(free));
            (
                Tone::Warn,
                format!("Needs {needed}, but only {free} are free there."),
            )
        }
        Some(free) => (Tone::Weak, format!("{} free there", bytes(free))),
    };
    ui.lines(theme::note(ui, tone, text));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    #[test]
    fn what_is_in_the_way_is_told_as_to_people_before_a_window() {
        let t = samples::asking(2);
        let what = String::from("the folder is gone");
        let question = Question {
            free: 0,
            obstacle: Some(Fault::Internal { what }),
            seconds_left: 300,
            until: 0,
            round: 1,
        };
        let said = Card::new(&t).obstacle(&t, &question);
        let said = said.unwrap_or_default();
        assert!(
            said.contains("Close PeerConnect and open it again."),
            "{said}"
        );
        assert!(!said.contains(" -v"), "{said}");
    }

    #[test]
    fn a_full_disk_is_no_obstacle_for_fewer_files_or_another_folder() {
        let t = samples::asking(2);
        let question = Question {
            free: 100_000_000,
            obstacle: Some(Fault::DiskFull {
                folder: "/srv/Downloads/PeerConnect".into(),
                needed: t.bytes,
                free: 100_000_000,
            }),
            seconds_left: 300,
            until: 0,
            round: 1,
        };
        let mut card = Card::new(&t);
        assert!(card.obstacle(&t, &question).is_some());
        card.wanted.ticks[0] = false;
        assert_eq!(card.obstacle(&t, &question), None);
        card.wanted.ticks[0] = true;
        card.folder = Some("/mnt/large".into());
        assert_eq!(card.obstacle(&t, &question), None);
        card.folder = Some("relative".into());
        assert!(card.obstacle(&t, &question).is_some());
    }
}
