//! Transfers that are over, or wait for long: what can be done about them, and what those want to
//! know who help.

use egui::{Label, Ui};
use peerconnect::fault::Fault;
use peerconnect::node::api::{Again, Command};
use peerconnect::peer::PeerId;
use peerconnect::text::Shown;
use peerconnect::transfer::state::TransferState;
use peerconnect::transfer::status::{Direction, TransferSnapshot};

use crate::lines::{NAME_LEN, words_and_buttons};
use crate::model::{About, Action, Model, Page};
use crate::staged_ui::shorten;
use crate::texts::TextAction;
use crate::theme::{self, Size, Tone};
use crate::transfers_ui::cancel;
use crate::words;

/// What can be done with a transfer as it is, from right to left.
pub(crate) fn offers(model: &Model, t: &TransferSnapshot) -> Vec<(String, Action)> {
    if !t.state.is_final() {
        return waiting(model, t);
    }
    match (t.direction, &t.folder) {
        (Direction::Sending, _) if t.state != TransferState::Completed => not_sent(model, t),
        (Direction::Sending, _) if t.files_failed > 0 => {
            let text = match t.files_failed {
                1 => "Try this file again".to_owned(),
                n => format!("Try {} again", words::files(n)),
            };
            // It stays: the others have arrived with it.
            vec![(text, send_again(t, Again::Failed, About::Nothing))]
        }
        (Direction::Receiving, Some(folder)) if t.files_done > 0 => {
            let first = t.top_names.first().map(|top| top.name.clone());
            let show = Action::ShowFolder(folder.clone(), first);
            let mut offers = vec![("Show in folder".into(), show)];
            if t.entries == 1 {
                offers.push(("Open".into(), Action::Open(t.id)));
            } else if let ([top], 1) = (t.top_names.as_slice(), t.top_count)
                && let Some(inside) = words::below(folder, &top.name)
            {
                offers.push(("Open".into(), Action::OpenFile(inside)));
            }
            if wants_folder(t) {
                offers.push(another_folder());
            }
            offers
        }
        (Direction::Receiving, _) if wants_folder(t) => {
            vec![another_folder()]
        }
        (Direction::Sending | Direction::Receiving, _) => Vec::new(),
    }
}

/// An offer that nobody answers can be taken back.
fn waiting(model: &Model, t: &TransferSnapshot) -> Vec<(String, Action)> {
    let withdraw = || Some(("Withdraw".to_owned(), cancel(t)?));
    let long = model.unanswered_for(t).is_some();
    long.then(withdraw).flatten().into_iter().collect()
}

fn another_folder() -> (String, Action) {
    ("Choose another folder".into(), Action::ChangeFolder)
}

fn wants_folder(t: &TransferSnapshot) -> bool {
    let fault = t.fault.as_ref();
    fault.is_some_and(|f| matches!(f, Fault::DiskFull { .. } | Fault::CannotWrite { .. }))
}

/// What helps where nothing, or not everything, was sent.
fn not_sent(model: &Model, t: &TransferSnapshot) -> Vec<(String, Action)> {
    let again = |text: &str, what| (text.to_owned(), send_again(t, what, after(t)));
    let check = || ("Check my network".to_owned(), Action::Show(Page::Check));
    let cancel = || {
        let dismiss = Command::Dismiss(t.id);
        ("Cancel".to_owned(), Action::Ask(dismiss, About::Nothing))
    };
    let try_again = || again("Try again", Again::All);
    let Some(fault) = &t.fault else {
        return vec![again("Send again", Again::All)];
    };
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "most faults want nothing but to be tried again"
    )]
    match fault {
        _ if t.is_legacy() => vec![again("Send again", Again::All)],
        // Either may be different later.
        Fault::PeerOffline { .. } | Fault::NoRoute { .. } => {
            let online = again("Send when online", Again::WhenOnline);
            vec![try_again(), online, check()]
        }
        Fault::PeerFirewall { peer, .. } => {
            let name = shorten(&Shown(peer).to_string(), NAME_LEN);
            let text = format!("Let {name} connect to me");
            vec![try_again(), again(&text, Again::WhenOnline), check()]
        }
        Fault::IdentityChanged { got, .. } => match stranger(model, *got) {
            Some((key, _)) => vec![("They match – trust it".into(), trust(t, key)), cancel()],
            None => vec![try_again(), cancel()],
        },
        Fault::SameIdentity { .. } => {
            let new = Action::DoubtIdentity(Some(t.id));
            vec![("Make a new identity".into(), new), cancel()]
        }
        Fault::Version {
            original: Some(_), ..
        } => {
            let text = "Send unencrypted this time";
            vec![again(text, Again::Unencrypted), cancel()]
        }
        _ => vec![again("Send again", Again::All)],
    }
}

fn send_again(t: &TransferSnapshot, what: Again, about: About) -> Action {
    let transfer = t.id;
    Action::Ask(Command::SendAgain { transfer, what }, about)
}

/// The new transfer takes the place of this one. In a session it does so by itself.
fn after(t: &TransferSnapshot) -> About {
    match t.session {
        Some(_) => About::Nothing,
        None => About::InPlaceOf(t.id),
    }
}

fn trust(t: &TransferSnapshot, key: PeerId) -> Action {
    let transfer = t.id;
    Action::Ask(Command::TrustInstead { transfer, key }, after(t))
}

/// Whoever has answered in place of a device, if it is there to be compared: its key and the three
/// words.
fn stranger(model: &Model, got: Option<PeerId>) -> Option<(PeerId, &str)> {
    let peer = model.overview.peers.iter().find(|p| Some(p.id) == got)?;
    Some((peer.id, peer.words.as_deref()?))
}

/// Asks whether there shall really be a new identity, and says what that costs.
pub(crate) fn identity_doubt(ui: &mut Ui, model: &Model, actions: &mut Vec<Action>) {
    let mut text = String::from("Make a new identity? Devices that trust this computer ask again.");
    if model.running().next().is_some() {
        text.push_str(
            " Transfers on their way are paused, and the others must take this computer for the \
             new one before they go on.",
        );
    }
    let question = |ui: &mut Ui| {
        ui.add(Label::new(theme::note(ui, Tone::Warn, text)).wrap());
    };
    words_and_buttons(ui, 460.0, question, |ui| {
        if theme::small(ui, "Make it and start anew").clicked() {
            actions.push(Action::DoubtIdentity(None));
            actions.push(Action::Ask(Command::NewIdentity, About::NewIdentity));
        }
        if theme::small(ui, "Keep this one").clicked() {
            actions.push(Action::DoubtIdentity(None));
        }
    });
}

/// What the window can add to the words about a transfer.
pub(crate) fn tell_more(model: &Model, t: &TransferSnapshot, status: &mut words::Status) {
    if let Some(time) = model.unanswered_for(t) {
        words::unanswered(t, time, status);
    }
    if t.state != TransferState::Failed || t.direction != Direction::Sending {
        return;
    }
    match &t.fault {
        Some(Fault::PeerOffline { .. }) => {
            let key = t.peer.and_then(|peer| peer.key());
            let peer = model.overview.peers.iter().find(|p| Some(p.id) == key);
            if let Some(seen) = peer.map(|peer| peer.record.last_seen) {
                let ago = words::ago(model.now.saturating_sub(seen));
                status.more = format!("Last seen {ago}. {}", status.more);
            }
        }
        Some(Fault::IdentityChanged { got, .. }) => {
            if let Some((_, three)) = stranger(model, *got) {
                status.more = words::compare_instead(three);
            }
        }
        _ => {}
    }
}

/// What stands behind a failure, if that is wanted: nothing that a person needs, all that one asks
/// for who helps.
pub(crate) fn details(
    ui: &mut Ui,
    model: &Model,
    t: &TransferSnapshot,
    subject: &str,
    actions: &mut Vec<Action>,
) {
    let Some(fault) = t
        .fault
        .as_ref()
        .filter(|_| t.state == TransferState::Failed)
    else {
        return;
    };
    let open = model.detailed.contains(&t.id);
    let text = if open { "Hide details" } else { "Details" };
    let link = ui.link(theme::note(ui, Tone::Accent, text));
    if link
        .accessible_name(format!("{text} of {subject}"))
        .clicked()
    {
        actions.push(Action::Detail(t.id, !open));
    }
    if !open {
        return;
    }
    let lines = words::details(t, fault).join("\n");
    let shown = theme::toned(ui, Tone::Weak, Size::Small, &lines).monospace();
    ui.add(Label::new(shown).wrap().selectable(true));
    let copy = theme::small(ui, "Copy details");
    let copy = copy.on_hover_text("They name the device: look at them before you give them away.");
    if copy.clicked() {
        actions.push(Action::Text(TextAction::Copy(lines)));
    }
}
