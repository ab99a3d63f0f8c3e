//! The transfers bookkeeper: one map, one writer. What the original calls current, continued,
//! completed and scheduled are filters over it.

mod picture;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::mpsc;

use super::control::{Asking, News, Order, Progress};
use super::meter::Meter;
use super::state::{TransferEvent, TransferState};
use super::status::{Direction, Limit, Passing, PausedBy, Question, TopName, TransferSnapshot};
use super::table::{FileTable, SharedTable};
use crate::fault::{Fault, Trouble};
use crate::net::link::PathInfo;
use crate::peer::{Party, PeerId};
use crate::protocol::message::{Room, TransferId};
use crate::storage::store::{OutgoingRecord, Standing};
use std::path::PathBuf;
use std::sync::Arc;

/// Finished transfers that are kept for watchers; older ones are in the history.
const FINISHED_MAX: usize = 200;
/// So many of them may be offers that came to nothing.
const NOISE_MAX: usize = 20;
/// What a file table of such an offer may take; a larger one is forgotten.
const NOISE_LEN_MAX: usize = 256 * 1024;
/// Most memory that the files of finished transfers take, the last one apart.
const FINISHED_LEN_MAX: usize = 64 * 1024 * 1024;
/// Before this nothing is said about the time left.
const ETA_AFTER: Duration = Duration::from_secs(2);

/// The groups of the original's bookkeeper.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// Under way.
    Current,
    /// Broken off, going on by itself or on request.
    Continued,
    /// Over, whatever came of it.
    Completed,
    /// Not begun yet.
    Scheduled,
}

impl Group {
    /// The group of a state.
    pub fn of(state: TransferState) -> Self {
        match state {
            TransferState::Preparing => Self::Scheduled,
            TransferState::Connecting
            | TransferState::AwaitingAnswer
            | TransferState::Transferring
            | TransferState::Paused => Self::Current,
            TransferState::Interrupted => Self::Continued,
            TransferState::Completed
            | TransferState::Rejected
            | TransferState::Cancelled
            | TransferState::Failed => Self::Completed,
        }
    }
}

/// What the bookkeeper is told when a transfer begins or is found again.
#[derive(Debug)]
pub struct NewTransfer {
    /// Its id.
    pub id: TransferId,
    /// Which way the files go.
    pub direction: Direction,
    /// The peer, if known.
    pub peer: Option<Party>,
    /// Its name, or what was dialled.
    pub peer_name: String,
    /// Where it begins.
    pub state: TransferState,
    /// When it was started, in seconds since 1970.
    pub started: u64,
    /// Its files.
    pub table: SharedTable,
    /// Its counters.
    pub progress: Arc<Progress>,
    /// The folder, if receiving and known.
    pub folder: Option<PathBuf>,
    /// Whether the person here had paused it.
    pub paused: bool,
}

/// One transfer in the book.
#[derive(Debug)]
pub struct Entry {
    /// The session that it belongs to, if the files go to several receivers.
    pub session: Option<TransferId>,
    /// Which way the files go.
    pub direction: Direction,
    /// The peer, if known.
    pub peer: Option<Party>,
    /// Its name, or what was dialled.
    pub peer_name: String,
    /// Its files.
    pub table: SharedTable,
    /// Its counters.
    pub progress: Arc<Progress>,
    /// Where its task takes orders; `None` while no task works on it.
    pub orders: Option<mpsc::Sender<Order>>,
    /// Whether the receiving person accepted it, now or in an earlier run.
    pub accepted: bool,
    /// How far an earlier run came, until it goes on.
    pub standing: Option<Standing>,
    /// The folder, if receiving and known.
    pub folder: Option<PathBuf>,
    /// What was sent, once it is over, to send it again: what was chosen, and which files of it
    /// only (`None` for all).
    pub sent: Option<(OutgoingRecord, Option<BTreeSet<String>>)>,
    state: TransferState,
    paused_by: Option<PausedBy>,
    fault: Option<Fault>,
    /// How the bytes travel, as was told or seen last.
    pub path: Option<PathInfo>,
    asking: Option<Asked>,
    /// Whether its question has to make room for a newer one.
    displaced: bool,
    rounds: u32,
    top: (u32, Vec<TopName>),
    started: u64,
    begun: Instant,
    ended: Option<Instant>,
    meter: Meter,
    /// Whether the receiver says that it waits for its own disk.
    is_behind: bool,
    number: u64,
    /// What is passed on between the receivers of its session.
    pub passing: Passing,
}

/// A question to the person.
#[derive(Debug)]
struct Asked {
    asking: Asking,
    at: Instant,
    /// When it counts as not answered, in seconds since 1970.
    until: u64,
}

/// Most names of those who blame one receiver, or have lied to it.
const NAMED_MAX: usize = 8;

/// Adds a name. Names are claims, and a peer may come with another one each time.
pub fn note_name(names: &mut Vec<String>, name: String) {
    if names.len() < NAMED_MAX && !names.contains(&name) {
        names.push(name);
    }
}

/// All transfers of a node.
#[derive(Debug, Default)]
pub struct Bookkeeper {
    entries: HashMap<TransferId, Entry>,
    next_number: u64,
}

impl Bookkeeper {
    /// Enters a transfer; one with the same id is replaced.
    pub fn insert(&mut self, new: NewTransfer) -> &mut Entry {
        let number = self.next_number;
        self.next_number += 1;
        let now = Instant::now();
        let begun = new
            .peer
            .and_then(|peer| self.unanswered_since(new.id, peer));
        let top = new.table.lock().top_names();
        let entry = Entry {
            session: None,
            direction: new.direction,
            peer: new.peer,
            peer_name: new.peer_name,
            table: new.table,
            progress: new.progress,
            orders: None,
            accepted: false,
            standing: None,
            folder: new.folder,
            sent: None,
            state: new.state,
            paused_by: new.paused.then_some(PausedBy::Us),
            fault: None,
            path: None,
            asking: None,
            displaced: false,
            rounds: 0,
            top,
            started: new.started,
            begun: begun.unwrap_or(now),
            ended: None,
            meter: Meter::new(now),
            is_behind: false,
            number,
            passing: Passing::default(),
        };
        self.entries.insert(new.id, entry);
        self.forget_oldest_finished();
        #[expect(
            clippy::expect_used,
            reason = "inserted two lines above; never the oldest"
        )]
        self.entries.get_mut(&new.id).expect("just inserted")
    }

    /// Keeps the finished transfers within their limits; the oldest go first. Those of a session
    /// stay as long as it is not over: they are part of what is shown of it.
    pub fn forget_oldest_finished(&mut self) {
        let open = self.open_sessions();
        let finished = self.entries.iter().filter(|(_, e)| e.may_go(&open));
        let mut finished: Vec<(u64, TransferId, bool)> = finished
            .map(|(id, e)| (e.number, *id, e.is_noise()))
            .collect();
        finished.sort_unstable_by_key(|(number, ..)| std::cmp::Reverse(*number));
        let (mut kept, mut noise, mut memory) = (0, 0, 0);
        for (_, id, is_noise) in finished {
            noise += usize::from(is_noise);
            let table = self.entries.get(&id).map(|e| e.table.lock().memory());
            memory += table.unwrap_or(0);
            let too_much = kept > 0 && memory > FINISHED_LEN_MAX;
            if kept >= FINISHED_MAX || too_much || (is_noise && noise > NOISE_MAX) {
                self.entries.remove(&id);
            } else {
                kept += 1;
            }
        }
    }

    /// Since when an offer of this peer that nobody has accepted is known, if it is; also if it
    /// broke off meanwhile.
    pub fn unanswered_since(&self, id: TransferId, peer: Party) -> Option<Instant> {
        let entry = self.get(id)?;
        let same = entry.peer == Some(peer) && entry.direction == Direction::Receiving;
        (same && !entry.accepted).then_some(entry.begun)
    }

    /// The files of a transfer that is completed, if they are still known.
    pub fn completed(&self, id: TransferId) -> Option<SharedTable> {
        let entry = self.get(id)?;
        (entry.state == TransferState::Completed).then(|| entry.table.clone())
    }

    /// Whether the transfer is known and not over.
    pub fn is_open(&self, id: TransferId) -> bool {
        self.get(id).is_some_and(|entry| !entry.state.is_final())
    }

    /// Transfers with originals that are not over.
    pub fn open_with_originals(&self) -> Vec<TransferId> {
        let open = self.iter().filter(|(_, entry)| {
            let original = entry.peer.is_some_and(|peer| peer.legacy().is_some());
            original && !entry.state.is_final()
        });
        open.map(|(id, _)| id).collect()
    }

    /// The transfer with this id.
    pub fn get(&self, id: TransferId) -> Option<&Entry> {
        self.entries.get(&id)
    }

    /// The transfer with this id, to change what is not its state.
    pub fn get_mut(&mut self, id: TransferId) -> Option<&mut Entry> {
        self.entries.get_mut(&id)
    }

    /// All transfers, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (TransferId, &Entry)> {
        self.entries.iter().map(|(id, entry)| (*id, entry))
    }

    /// All transfers, to change them.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (TransferId, &mut Entry)> {
        self.entries.iter_mut().map(|(id, entry)| (*id, entry))
    }

    /// The transfers of one of the original's groups.
    pub fn group(&self, group: Group) -> impl Iterator<Item = (TransferId, &Entry)> {
        self.iter()
            .filter(move |(_, entry)| Group::of(entry.state) == group)
    }

    /// Takes finished transfers out, except those of a session that is not over.
    pub fn clear_finished(&mut self) {
        let open = self.open_sessions();
        self.entries.retain(|_, entry| !entry.may_go(&open));
    }

    /// Takes out a finished transfer. `false` if it is not known, or stays: see
    /// [`Self::clear_finished`].
    pub fn dismiss(&mut self, id: TransferId) -> bool {
        let open = self.open_sessions();
        let may_go = self.get(id).is_some_and(|entry| entry.may_go(&open));
        may_go && self.entries.remove(&id).is_some()
    }

    fn open_sessions(&self) -> HashSet<TransferId> {
        let open = self.entries.values().filter(|e| !e.state.is_final());
        open.filter_map(|entry| entry.session).collect()
    }

    /// Takes out a transfer whose place another one takes.
    pub fn remove(&mut self, id: TransferId) {
        self.entries.remove(&id);
    }

    /// Takes in news of a transfer's task. Returns the new state if it changed.
    pub fn apply(&mut self, id: TransferId, news: News) -> Option<TransferState> {
        let entry = self.entries.get_mut(&id)?;
        match news {
            News::Event(event) => {
                let changed = entry.on(event);
                if entry.is_noise() && entry.table.lock().memory() > NOISE_LEN_MAX {
                    *entry.table.lock() = FileTable::default();
                }
                return changed;
            }
            News::PausedBy(by) => entry.paused_by = by,
            // The rows say it.
            News::PausedFile { .. } => {}
            News::Fault(fault) => entry.fault = fault,
            News::PeerRoom(room) => {
                let peer = entry.peer_name.clone();
                // Its person is asked, whatever was said earlier: it may have forgotten that.
                entry.accepted = false;
                entry.fault = (room != Room::Fits).then_some(Fault::PeerRoom { peer, room });
            }
            News::Path(path) => entry.path = path,
            News::Manifest => entry.top = entry.table.lock().top_names(),
            News::Ask(asking) => {
                entry.folder = Some(asking.folder.clone());
                entry.asking = Some(Asked {
                    until: unix_now().saturating_add(asking.timeout.as_secs()),
                    asking,
                    at: Instant::now(),
                });
                entry.rounds += 1;
            }
            News::Session { receivers } => entry.passing.receivers = receivers,
            // The node knows what to do with it.
            News::PassesOn { .. } | News::LiedTo(_) => {}
            News::Shortcoming(short) => entry.passing.shortcoming = short,
            News::Through(name) => entry.passing.through = name,
            News::Behind(is_behind) => entry.is_behind = is_behind,
            News::GoesOn(goes_on) => entry.passing.goes_on = goes_on,
            News::Blamed(by) => note_name(&mut entry.passing.blamed_by, by),
            News::Answered { folder } => {
                entry.folder = Some(folder);
                entry.asking = None;
            }
        }
        None
    }

    /// Measures the speed of all transfers. Call it a few times a second while files move.
    pub fn measure(&mut self, now: Instant) {
        for entry in self.entries.values_mut().filter(|e| !e.state.is_final()) {
            entry.meter.measure(entry.progress.read(), now);
        }
    }

    /// Whether files are moving, so that pictures change without any event.
    pub fn is_moving(&self) -> bool {
        self.group(Group::Current).next().is_some()
    }

    /// Pictures of all transfers, oldest first; `person` adds what is known about a peer.
    pub fn snapshots(&self, person: impl Fn(PeerId) -> Person) -> Vec<TransferSnapshot> {
        let mut entries: Vec<_> = self.iter().collect();
        entries.sort_unstable_by_key(|(_, entry)| entry.number);
        entries
            .into_iter()
            .map(|(id, entry)| entry.snapshot(id, &person))
            .collect()
    }
}

/// What is known about the person behind a peer.
#[derive(Debug, Default)]
pub struct Person {
    /// Name to show, if one is known.
    pub name: Option<String>,
    /// Whether it is trusted.
    pub trusted: bool,
    /// The words of the connection.
    pub words: Option<String>,
}

impl Entry {
    /// Where it is.
    pub fn state(&self) -> TransferState {
        self.state
    }

    /// Why it ended, or what holds it up.
    pub fn fault(&self) -> Option<&Fault> {
        self.fault.as_ref()
    }

    fn may_go(&self, open_sessions: &HashSet<TransferId>) -> bool {
        let held = |session: TransferId| open_sessions.contains(&session);
        self.state.is_final() && !self.session.is_some_and(held)
    }

    /// When it started, in seconds since 1970.
    pub fn started(&self) -> u64 {
        self.started
    }

    /// Whether it is an offer to us that nobody has answered yet, and that has not to make room.
    pub fn is_unanswered(&self) -> bool {
        let receiving = self.direction == Direction::Receiving;
        receiving && !self.accepted && !self.displaced && !self.state.is_final()
    }

    /// Since when it is known.
    pub fn begun(&self) -> Instant {
        self.begun
    }

    /// Ends its question without an answer, to make room. `false` if its task takes no orders now.
    pub fn displace(&mut self) -> bool {
        let orders = self.orders.as_ref();
        self.displaced = orders.is_some_and(|orders| orders.try_send(Order::Displace).is_ok());
        self.displaced
    }

    /// Whether it is an offer to us that ended before it was answered, and that by its sender.
    pub fn is_noise(&self) -> bool {
        let left = |fault: &Fault| {
            let unanswered = Trouble::LeftUnanswered;
            matches!(fault, Fault::Original { trouble, .. } if *trouble == unanswered)
        };
        let ended = matches!(self.state, TransferState::Cancelled | TransferState::Failed)
            && !self.fault.as_ref().is_some_and(left);
        self.direction == Direction::Receiving && !self.accepted && ended
    }

    /// Whether the person here paused it.
    pub fn is_paused_here(&self) -> bool {
        self.paused_by == Some(PausedBy::Us)
    }

    /// Names at top level, as far as they are kept.
    pub fn top_names(&self) -> &[TopName] {
        &self.top.1
    }

    fn on(&mut self, event: TransferEvent) -> Option<TransferState> {
        let next = match self.state.on(event) {
            Ok(next) => next,
            Err(invalid) => {
                tracing::debug!(%invalid, "ignored");
                return None;
            }
        };
        if event != TransferEvent::Offered {
            self.asking = None;
        }
        if event == TransferEvent::Accepted {
            self.accepted = true;
            // What there is now is said soon, by the one who has it.
            self.standing = None;
            self.fault = None;
            self.top = self.table.lock().top_names();
        }
        if next == TransferState::Interrupted || next.is_final() {
            self.path = None;
        }
        if next.is_final() {
            self.ended = Some(Instant::now());
            self.paused_by = None;
        }
        let changed = next != self.state;
        self.state = next;
        changed.then_some(next)
    }
}

/// Seconds since 1970.
pub fn unix_now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transfer::control::Reading;

    #[test]
    fn every_state_is_in_one_group() {
        let groups: Vec<Group> = TransferState::ALL.into_iter().map(Group::of).collect();
        for group in [
            Group::Current,
            Group::Continued,
            Group::Completed,
            Group::Scheduled,
        ] {
            assert!(groups.contains(&group), "{group:?}");
        }
    }

    #[test]
    fn whoever_is_asked_again_has_not_accepted() {
        let mut book = Bookkeeper::default();
        let id = TransferId([1; 16]);
        let entry = book.insert(NewTransfer {
            id,
            direction: Direction::Sending,
            peer: None,
            peer_name: "kitchen".into(),
            state: TransferState::AwaitingAnswer,
            started: 0,
            table: SharedTable::default(),
            progress: Progress::shared(),
            folder: None,
            paused: false,
        });
        entry.accepted = true;
        let accepted = |book: &Bookkeeper| book.snapshots(|_| Person::default())[0].accepted;
        assert!(accepted(&book));
        book.apply(id, News::PeerRoom(Room::Fits));
        assert!(!accepted(&book));
    }

    #[test]
    fn that_the_receivers_disk_is_the_limit_is_said_only_where_it_explains_what_is_seen_here() {
        let mut book = Bookkeeper::default();
        let (id, progress) = (TransferId([1; 16]), Progress::shared());
        book.insert(NewTransfer {
            id,
            direction: Direction::Sending,
            peer: None,
            peer_name: "kitchen".into(),
            state: TransferState::Transferring,
            started: 0,
            table: SharedTable::default(),
            progress: progress.clone(),
            folder: None,
            paused: false,
        });
        let start = Instant::now();
        let mut seconds = 0;
        let mut limit = |book: &mut Bookkeeper, waits| {
            progress.waited(waits, Duration::from_millis(100));
            seconds += 1;
            book.measure(start + Duration::from_secs(seconds));
            book.snapshots(|_| Person::default())[0].limit
        };
        assert_eq!(limit(&mut book, Limit::Network), Limit::Network);
        book.apply(id, News::Behind(true));
        assert_eq!(limit(&mut book, Limit::Network), Limit::PeerDisk);
        assert_eq!(limit(&mut book, Limit::Disk), Limit::Disk);
        assert_eq!(limit(&mut book, Limit::Setting), Limit::Setting);
        book.apply(id, News::Behind(false));
        assert_eq!(limit(&mut book, Limit::Network), Limit::Network);
        book.apply(id, News::Behind(true));
        book.apply(id, News::Event(TransferEvent::Pause));
        assert_eq!(limit(&mut book, Limit::Network), Limit::Unknown);
    }

    #[test]
    fn the_speed_follows_within_seconds_and_does_not_jump() {
        let start = Instant::now();
        let mut meter = Meter::new(start);
        let at = |step: u64| start + Duration::from_millis(100 * step);
        let moved = |bytes| Reading {
            moved: bytes,
            ..Reading::default()
        };
        for step in 1..=50 {
            meter.measure(moved(step * 1_000_000), at(step));
        }
        assert!(
            (meter.rate() as f64 / 1e7 - 1.0).abs() < 0.01,
            "{}",
            meter.rate()
        );
        // It stands still for a moment: the figure falls, but not to nothing.
        for step in 51..=55 {
            meter.measure(moved(50_000_000), at(step));
        }
        assert!(
            (7_000_000..9_500_000).contains(&meter.rate()),
            "{}",
            meter.rate()
        );
    }
}
