//! Transfers that are over: what can be done about them, and what those want to know who help.

use egui::{Label, Ui};
use peerconnect::fault::Fault;
use peerconnect::node::api::{Again, Command};
use peerconnect::transfer::state::TransferState;
use peerconnect::transfer::status::{Direction, TransferSnapshot};

use crate::model::{About, Action, Model, Page};
use crate::texts::TextAction;
use crate::theme::{self, Tone};
use crate::words;

/// What helps against a fault, beside trying again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Remedy {
    /// The device may come, or let us in.
    Wait,
    /// The network keeps both apart.
    Network,
    /// Another folder.
    Folder,
    /// What the words say.
    Read,
}

fn remedy(fault: &Fault) -> Remedy {
    use Fault::{CannotWrite, DiskFull, NoRoute, PeerFirewall, PeerOffline};
    if matches!(fault, PeerOffline { .. } | PeerFirewall { .. }) {
        Remedy::Wait
    } else if matches!(fault, NoRoute { .. }) {
        Remedy::Network
    } else if matches!(fault, DiskFull { .. } | CannotWrite { .. }) {
        Remedy::Folder
    } else {
        Remedy::Read
    }
}

/// What can be done with a transfer that is over, from right to left.
pub(crate) fn offers(t: &TransferSnapshot) -> Vec<(String, Action)> {
    let again = |what| {
        let transfer = t.id;
        Action::Ask(Command::SendAgain { transfer, what }, About::Nothing)
    };
    if !t.state.is_final() {
        return Vec::new();
    }
    let remedy = t.fault.as_ref().map(remedy);
    match (t.direction, &t.folder) {
        (Direction::Sending, _) if t.state != TransferState::Completed => {
            let mut offers = vec![("Send again".into(), again(Again::All))];
            if remedy == Some(Remedy::Wait) && !t.is_legacy() {
                offers.push(("Send when online".into(), again(Again::WhenOnline)));
            }
            if let Some(Remedy::Wait | Remedy::Network) = remedy {
                offers.push(("Check my network".into(), Action::Show(Page::Check)));
            }
            offers
        }
        (Direction::Sending, _) if t.files_failed > 0 => {
            let failed = words::files(t.files_failed);
            vec![(format!("Try {failed} again"), again(Again::Failed))]
        }
        (Direction::Receiving, Some(folder)) if t.files_done > 0 => {
            let first = t.top_names.first().map(|top| top.name.clone());
            let show = Action::ShowFolder(folder.clone(), first);
            let mut offers = vec![("Show in folder".into(), show)];
            if t.entries == 1 {
                offers.push(("Open".into(), Action::Open(t.id)));
            }
            offers
        }
        (Direction::Receiving, _) if remedy == Some(Remedy::Folder) => {
            vec![("Choose another folder".into(), Action::ChangeFolder)]
        }
        (Direction::Sending | Direction::Receiving, _) => Vec::new(),
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
    let shown = theme::note(ui, Tone::Weak, &lines).monospace().size(12.0);
    ui.add(Label::new(shown).wrap().selectable(true));
    let copy = theme::small(ui, "Copy details");
    let copy = copy.on_hover_text("They name the device: look at them before you give them away.");
    if copy.clicked() {
        actions.push(Action::Text(TextAction::Copy(lines)));
    }
}
