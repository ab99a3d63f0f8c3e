//! What the window knows: the node's overview and what a person has begun here. Plain data; the
//! panels read it and give back [`Action`]s, [`crate::app`] changes it.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

use peerconnect::fault::{Face, Fault, Words};
use peerconnect::node::api::{
    CodeSnapshot, CodeState, Finding, Overview, TextSnapshot, TextState, Who,
};
use peerconnect::node::check::missed;
use peerconnect::protocol::message::{FileIndex, TransferId};
use peerconnect::text::Shown;
use peerconnect::transfer::state::TransferState;
use peerconnect::transfer::status::{Conflict, Direction, TransferSnapshot};

pub(crate) use crate::actions::{About, Action, Leaving, Page, Whose};
use crate::check::Check;
use crate::curve::Curve;
pub(crate) use crate::devices::Device;
use crate::devices::Devices;
use crate::history::History;
use crate::menu::Entries;
use crate::pages::Pages;
use crate::texts::Texts;
use crate::theme::Tone;

/// Our own notices that are kept; older ones go.
const NOTICES_MAX: usize = 5;

/// Files and folders that may be staged by hand; a folder counts as one.
pub(crate) const STAGED_MAX: usize = 10_000;

/// A file or folder that will be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Staged {
    pub(crate) path: PathBuf,
    /// Bytes of a file; `None` for a folder, which is counted when it is sent.
    pub(crate) bytes: Option<u64>,
}

impl Staged {
    /// What to call it.
    pub(crate) fn name(&self) -> String {
        let name = self.path.file_name().unwrap_or(self.path.as_os_str());
        name.to_string_lossy().into_owned()
    }
}

/// A line that tells a person something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Notice {
    pub(crate) number: u64,
    pub(crate) tone: Tone,
    pub(crate) words: Words,
}

/// Speed and time left as they are shown: renewed once a second, so that they can be read.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Pace {
    pub(crate) rate: u64,
    pub(crate) eta: Option<u64>,
    /// It has been about the same for a while.
    pub(crate) steady: bool,
    /// When it was renewed, in seconds of the window's clock.
    pub(crate) at: f64,
}

/// See the module.
pub(crate) struct Model {
    pub(crate) overview: Arc<Overview>,
    pub(crate) devices: Devices,
    pub(crate) staged: Vec<Staged>,
    /// Whether files can be dropped on the window.
    pub(crate) takes_drops: bool,
    pub(crate) chosen: BTreeSet<Who>,
    /// Since when nobody is heard in the network, by the window's clock.
    pub(crate) alone_since: Option<f64>,
    pub(crate) selected: Option<TransferId>,
    /// What is to be scrolled to when it is drawn next.
    pub(crate) sought: Option<TransferId>,
    /// The transfer that a person wants to cancel and has not confirmed.
    pub(crate) doubt: Option<TransferId>,
    /// The transfer at which the person is asked whether there shall be a new identity.
    pub(crate) doubt_identity: Option<TransferId>,
    pub(crate) unfolded: BTreeMap<TransferId, Pages>,
    /// Transfers of which is shown what stands behind their failure.
    pub(crate) detailed: BTreeSet<TransferId>,
    /// Sessions whose devices are shown.
    pub(crate) spread: BTreeSet<TransferId>,
    /// Questions that were answered here and are still in the overview, with the round in which.
    pub(crate) answered: BTreeMap<TransferId, u32>,
    /// Conflicts that were decided here and are still in the overview.
    pub(crate) decided: BTreeSet<(TransferId, FileIndex)>,
    pub(crate) texts: Texts,
    pub(crate) page: Page,
    pub(crate) history: History,
    /// What was found in the network.
    pub(crate) check: Check,
    /// What the desktop knows about this program, as it was found last.
    pub(crate) entries: Option<Entries>,
    /// What was noted until the page with the log was opened.
    pub(crate) log: Vec<String>,
    pub(crate) notices: Vec<Notice>,
    pub(crate) dismissed: BTreeSet<String>,
    /// That devices do not reach this one was read: whoever says so again is not heeded, because
    /// anybody in the network can say it.
    pub(crate) missed_read: bool,
    pub(crate) link_shown: bool,
    pub(crate) leaving: bool,
    /// A device is being looked for.
    pub(crate) adding: bool,
    /// A dialog of the system is open.
    pub(crate) picking: bool,
    /// Seconds since 1970.
    pub(crate) now: u64,
    paces: BTreeMap<TransferId, Pace>,
    /// Since when offers of ours wait for an answer, by the window's clock, as far as it has seen.
    offered: BTreeMap<TransferId, f64>,
    /// When the overview came, by the same clock.
    at: f64,
    /// How the speeds were.
    pub(crate) curves: BTreeMap<TransferId, Curve>,
    next_notice: u64,
}

impl Model {
    pub(crate) fn new(overview: Arc<Overview>) -> Self {
        let mut model = Self {
            overview: overview.clone(),
            devices: Devices::default(),
            staged: Vec::new(),
            takes_drops: true,
            chosen: BTreeSet::new(),
            alone_since: None,
            selected: None,
            sought: None,
            doubt: None,
            doubt_identity: None,
            unfolded: BTreeMap::new(),
            detailed: BTreeSet::new(),
            spread: BTreeSet::new(),
            answered: BTreeMap::new(),
            decided: BTreeSet::new(),
            texts: Texts::default(),
            page: Page::default(),
            history: History::default(),
            check: Check::default(),
            entries: None,
            log: Vec::new(),
            notices: Vec::new(),
            dismissed: BTreeSet::new(),
            missed_read: false,
            link_shown: false,
            leaving: false,
            adding: false,
            picking: false,
            now: 0,
            paces: BTreeMap::new(),
            offered: BTreeMap::new(),
            at: 0.0,
            curves: BTreeMap::new(),
            next_notice: 0,
        };
        model.apply(overview, 0.0);
        model
    }

    /// Who says that it does not reach this device, unless that was read.
    pub(crate) fn missed(&self) -> Option<Finding> {
        missed(&self.overview).filter(|_| !self.missed_read)
    }

    /// Takes a new picture of the node; `time` is the window's clock in seconds.
    pub(crate) fn apply(&mut self, overview: Arc<Overview>, time: f64) {
        let gone =
            |id: &TransferId| overview.transfer(*id).is_none() && overview.session(*id).is_none();
        self.selected.take_if(|id| gone(id));
        self.doubt.take_if(|id| !is_open(&overview, *id));
        self.unfolded.retain(|id, _| !gone(id));
        self.detailed.retain(|id| !gone(id));
        self.spread.retain(|id| !gone(id));
        self.paces.retain(|id, _| !gone(id));
        self.curves.retain(|id, _| !gone(id));
        self.answered.retain(|id, round| {
            let question = overview.transfer(*id).and_then(|t| t.question.as_ref());
            question.is_some_and(|question| question.round == *round)
        });
        self.at = time;
        let offered = overview.transfers.iter().filter(|t| is_offered(t));
        let offered = offered.map(|t| (t.id, *self.offered.get(&t.id).unwrap_or(&time)));
        self.offered = offered.collect();
        self.decided.retain(|(id, file)| {
            let open = overview.transfer(*id).and_then(|t| t.conflict.as_ref());
            open.is_some_and(|conflict| conflict.index == *file)
        });
        self.chosen.retain(|who| {
            overview.peers.iter().any(|p| Who::Key(p.id) == *who)
                || overview.nearby.iter().any(|near| near.who == *who)
        });
        match overview.nearby.is_empty() {
            true => self.alone_since = self.alone_since.or(Some(time)),
            false => self.alone_since = None,
        }
        self.texts.apply(&overview);
        self.tell_ended_codes(&overview);
        self.dismissed
            .retain(|text| overview.notices.contains(text));
        let transfers = overview.transfers.iter();
        let transfers = transfers.map(|t| (t.id, t.rate, t.eta_seconds));
        let sessions = overview.sessions.iter();
        let sessions = sessions.map(|s| (s.id, s.rate, s.eta_seconds));
        for (id, rate, eta) in transfers.chain(sessions) {
            let pace = self.paces.entry(id).or_insert(Pace {
                at: f64::NEG_INFINITY,
                ..Pace::default()
            });
            let due = time - pace.at >= 1.0;
            if due || rate == 0 || pace.rate == 0 {
                if due && rate > 0 {
                    self.curves.entry(id).or_default().push(rate);
                }
                let curve = self.curves.get(&id);
                *pace = Pace {
                    rate,
                    eta,
                    steady: curve.is_some_and(|curve| curve.is_steady(pace.steady)),
                    at: time,
                };
            }
        }
        self.devices = Devices::of(&overview);
        self.overview = overview;
    }

    /// Brings what was just drawn into sight, if it is sought.
    pub(crate) fn show_sought(&self, id: TransferId, drawn: &egui::Response) {
        if self.sought == Some(id) {
            drawn.scroll_to_me(Some(egui::Align::Center));
        }
    }

    /// Speed and time left to show for a transfer.
    pub(crate) fn pace(&self, id: TransferId) -> Pace {
        self.paces.get(&id).copied().unwrap_or_default()
    }

    /// How many minutes nobody has answered an offer of ours, in seconds, once that is worth a
    /// word; `None` if something else is known about it.
    pub(crate) fn unanswered_for(&self, t: &TransferSnapshot) -> Option<u64> {
        let since = self.offered.get(&t.id).filter(|_| t.fault.is_none())?;
        let minutes = ((self.at - since) / 60.0).max(0.0) as u64;
        (minutes > 0).then_some(minutes * 60)
    }

    /// Questions to the person, oldest first.
    pub(crate) fn questions(&self) -> impl Iterator<Item = &TransferSnapshot> {
        self.overview.transfers.iter().filter(|t| is_question(t))
    }

    /// Files whose names are taken, the first of each transfer.
    pub(crate) fn conflicts(&self) -> impl Iterator<Item = (&TransferSnapshot, &Conflict)> {
        let transfers = self.overview.transfers.iter();
        transfers.filter_map(|t| Some((t, t.conflict.as_ref()?)))
    }

    /// The selected transfer, and to whom it goes, if files can be added to it.
    pub(crate) fn attach_target(&self) -> Option<(TransferId, String)> {
        let id = self.selected?;
        Some((id, self.attachable(id)?))
    }

    /// To whom a transfer or session goes, if files can be added to it.
    pub(crate) fn attachable(&self, id: TransferId) -> Option<String> {
        if let Some(session) = self.overview.session(id) {
            let devices = crate::words::devices(session.receivers.len());
            return (!session.is_over()).then_some(devices);
        }
        let t = self.overview.transfer(id).filter(|t| can_attach(t))?;
        Some(Shown(&t.peer_name).to_string())
    }

    /// Adds to what will be sent, each path once.
    pub(crate) fn stage(&mut self, new: Vec<Staged>) {
        let mut known: HashSet<PathBuf> = self.staged.iter().map(|s| s.path.clone()).collect();
        for entry in new {
            if self.staged.len() >= STAGED_MAX {
                self.say(
                    Tone::Warn,
                    format!(
                        "At most {STAGED_MAX} files can be chosen one by one. Choose their folder."
                    ),
                );
                return;
            }
            if known.insert(entry.path.clone()) {
                self.staged.push(entry);
            }
        }
    }

    /// Takes the staged entry at this place out again.
    pub(crate) fn unstage(&mut self, place: usize) {
        if place < self.staged.len() {
            self.staged.remove(place);
        }
    }

    /// Tells the person something in one line.
    pub(crate) fn say(&mut self, tone: Tone, title: impl Into<String>) {
        self.notice(
            tone,
            Words {
                title: title.into(),
                detail: String::new(),
                hint: String::new(),
            },
        );
    }

    /// The question about this transfer is answered, as it stands now.
    pub(crate) fn answer(&mut self, transfer: TransferId) {
        let question = self
            .overview
            .transfer(transfer)
            .and_then(|t| t.question.as_ref());
        if let Some(question) = question {
            self.answered.insert(transfer, question.round);
        }
    }

    /// Says why codes that waited do not any more, unless that was wanted.
    fn tell_ended_codes(&mut self, now: &Overview) {
        let before = Arc::clone(&self.overview);
        for code in now.codes.iter() {
            let was = before.code(code.id).map(|code| &code.state);
            if let (Some(CodeState::Waiting), CodeState::Ended(fault)) = (was, &code.state)
                && *fault != Fault::Cancelled
            {
                self.say_fault(fault);
            }
        }
    }

    /// Tells the person what went wrong.
    pub(crate) fn say_fault(&mut self, fault: &Fault) {
        self.notice(Tone::Error, fault.words(Face::Window));
    }

    fn notice(&mut self, tone: Tone, words: Words) {
        self.notices.retain(|n| n.words != words);
        if self.notices.len() >= NOTICES_MAX {
            self.notices.remove(0);
        }
        self.notices.push(Notice {
            number: self.next_notice,
            tone,
            words,
        });
        self.next_notice += 1;
    }

    /// Transfers that would stop if the node ended now.
    pub(crate) fn running(&self) -> impl Iterator<Item = &TransferSnapshot> {
        self.overview.transfers.iter().filter(|t| is_running(t))
    }

    /// One-time codes that nobody has used yet. They are kept nowhere.
    pub(crate) fn waiting_codes(&self) -> impl Iterator<Item = &CodeSnapshot> {
        let codes = self.overview.codes.iter();
        codes.filter(|code| code.state == CodeState::Waiting)
    }

    /// Texts of ours that have not arrived yet. They are kept nowhere.
    pub(crate) fn texts_on_their_way(&self) -> impl Iterator<Item = &TextSnapshot> {
        self.overview.texts.iter().filter(|t| match t.state {
            TextState::Moving | TextState::Asking => t.direction == Direction::Sending,
            TextState::Delivered | TextState::HandedOver | TextState::Failed => false,
        })
    }

    /// Percent of all running transfers together, for the title.
    pub(crate) fn percent(&self) -> Option<u64> {
        let moving = || {
            self.overview
                .transfers
                .iter()
                .filter(|t| t.state == TransferState::Transferring)
        };
        let total: u64 = moving().map(|t| t.bytes).fold(0, u64::saturating_add);
        let done: u64 = moving().map(|t| t.bytes_done).fold(0, u64::saturating_add);
        moving().next().map(|_| crate::words::percent(done, total))
    }
}

/// Whether a person is asked about it.
pub(crate) fn is_question(t: &TransferSnapshot) -> bool {
    t.state == TransferState::AwaitingAnswer && t.question.is_some()
}

fn is_open(overview: &Overview, id: TransferId) -> bool {
    let session = overview.session(id).is_some_and(|s| !s.is_over());
    session || overview.transfer(id).is_some_and(|t| !t.state.is_final())
}

/// Whether files can be added to it.
fn can_attach(t: &TransferSnapshot) -> bool {
    t.direction == Direction::Sending && !t.state.is_final()
}

/// Whether it is an offer of ours that waits for an answer.
fn is_offered(t: &TransferSnapshot) -> bool {
    let waits = t.state == TransferState::AwaitingAnswer && !t.accepted;
    waits && t.direction == Direction::Sending
}

fn is_running(t: &TransferSnapshot) -> bool {
    match t.state {
        TransferState::Preparing
        | TransferState::Connecting
        | TransferState::Transferring
        | TransferState::Interrupted => true,
        TransferState::AwaitingAnswer => t.direction == Direction::Sending,
        TransferState::Paused
        | TransferState::Completed
        | TransferState::Rejected
        | TransferState::Cancelled
        | TransferState::Failed => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    #[test]
    fn speed_and_time_left_change_at_most_once_a_second() {
        let mut t = samples::sending();
        let mut model = Model::new(samples::overview(vec![], vec![t.clone()]));
        let mut shown = Vec::new();
        for (time, rate) in [(0.5, 50), (0.9, 60), (1.1, 70), (1.5, 80)] {
            t.rate = rate;
            model.apply(samples::overview(vec![], vec![t.clone()]), time);
            shown.push(model.pace(t.id).rate);
        }
        assert_eq!(shown, [108_000_000, 108_000_000, 70, 70]);
        t.rate = 0;
        model.apply(samples::overview(vec![], vec![t.clone()]), 1.6);
        assert_eq!(model.pace(t.id).rate, 0, "a standstill shows at once");
        model.apply(samples::overview(vec![], vec![t.clone()]), 1.7);
        // What stands still, however often that is said, is no part of the curve.
        let curve = model.curves.get(&t.id).map(Curve::rates);
        assert_eq!(curve, Some(vec![108_000_000, 70]));
    }

    #[test]
    fn what_belongs_to_a_vanished_transfer_or_device_is_forgotten() {
        let t = samples::sending();
        let peer = samples::peer("a");
        let mut model = Model::new(samples::overview(vec![peer.clone()], vec![t.clone()]));
        model.selected = Some(t.id);
        model.unfolded.insert(t.id, Pages::default());
        model.chosen.insert(Who::Key(peer.id));
        model.apply(samples::overview(vec![], vec![]), 1.0);
        assert!(model.selected.is_none() && model.unfolded.is_empty() && model.chosen.is_empty());
    }

    #[test]
    fn nothing_is_staged_twice() {
        let mut model = Model::new(samples::overview(vec![], vec![]));
        let entry = Staged {
            path: "/a".into(),
            bytes: Some(1),
        };
        model.stage(vec![entry.clone(), entry.clone()]);
        model.stage(vec![entry]);
        assert_eq!(model.staged.len(), 1);
    }

    #[test]
    fn ten_thousand_files_are_staged_within_a_frame_or_two() {
        let mut model = Model::new(samples::overview(vec![], vec![]));
        let entries = (0..STAGED_MAX).map(|n| Staged {
            // Long, and different only at the end, as in a real folder.
            path: format!("/home/me/pictures/holidays/{n:032}.jpg").into(),
            bytes: Some(1),
        });
        let entries: Vec<Staged> = entries.collect();
        let begun = std::time::Instant::now();
        model.stage(entries);
        let took = begun.elapsed();
        assert_eq!(model.staged.len(), STAGED_MAX);
        // Compared each with each it takes many seconds in a build for tests.
        assert!(took < std::time::Duration::from_secs(1), "{took:?}");
    }

    #[test]
    fn notices_are_few_and_none_twice() {
        let mut model = Model::new(samples::overview(vec![], vec![]));
        for n in 0..20 {
            model.say(Tone::Warn, format!("{}", n / 2));
        }
        let titles: Vec<_> = model.notices.iter().map(|n| &*n.words.title).collect();
        assert_eq!(titles, ["5", "6", "7", "8", "9"]);
    }
}
