//! Sessions: which transfers belong together, and what they are as a whole. Pure.

use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::origin::SessionNews;
use crate::protocol::message::TransferId;
pub use crate::storage::store::MemberEnd;
use crate::storage::store::{MemberRecord, SessionRecord};
use crate::transfer::known::KnownHashes;
use crate::transfer::state::TransferState;
use crate::transfer::status::{TopName, TransferSnapshot};

/// Most receivers of a session.
pub const RECEIVERS_MAX: usize = 256;

/// Files on their way to several receivers.
#[derive(Debug)]
pub struct Session {
    record: SessionRecord,
    hashes: Arc<KnownHashes>,
    /// Where it is told how its receivers fare, once there is somebody who decides about it.
    pub news: Option<SessionNews>,
}

/// All sessions of a node, by their ids.
#[derive(Debug, Default)]
pub struct Sessions(HashMap<TransferId, Session>);

impl Session {
    /// One without receivers.
    pub fn new(session: TransferId, created: u64) -> Self {
        Self::from(SessionRecord {
            session,
            created,
            members: Vec::new(),
        })
    }

    /// What is to be remembered of it.
    pub fn record(&self) -> &SessionRecord {
        &self.record
    }

    /// Whether it is over for every receiver.
    pub fn is_over(&self) -> bool {
        self.record.members.iter().all(|m| m.end.is_some())
    }

    fn member(&mut self, transfer: TransferId) -> Option<&mut MemberRecord> {
        let mut members = self.record.members.iter_mut();
        members.find(|member| member.transfer == transfer)
    }
}

impl From<SessionRecord> for Session {
    fn from(record: SessionRecord) -> Self {
        Self {
            record,
            hashes: Arc::default(),
            news: None,
        }
    }
}

impl Sessions {
    /// Enters a session, new or of an earlier run.
    pub fn insert(&mut self, session: Session) {
        self.0.insert(session.record.session, session);
    }

    /// The session with this id.
    pub fn get(&self, session: TransferId) -> Option<&Session> {
        self.0.get(&session)
    }

    /// The session that this transfer belongs to.
    pub fn of(&self, transfer: TransferId) -> Option<&Session> {
        let has = |session: &&Session| {
            let members = &session.record.members;
            members.iter().any(|member| member.transfer == transfer)
        };
        self.0.values().find(has)
    }

    /// The same, to be changed.
    pub fn of_mut(&mut self, transfer: TransferId) -> Option<&mut Session> {
        let id = self.of(transfer)?.record.session;
        self.0.get_mut(&id)
    }

    /// What is known of the files of this transfer from the others of its session.
    pub fn hashes_for(&self, transfer: TransferId) -> Option<Arc<KnownHashes>> {
        self.of(transfer).map(|session| session.hashes.clone())
    }

    /// Takes a transfer into a session, out of the one that it was in. Returns what is left of
    /// that one, if it changed; one that nobody is left in is forgotten.
    pub fn join(
        &mut self,
        session: TransferId,
        transfer: TransferId,
        name: &str,
    ) -> Option<SessionRecord> {
        let before = self.of(transfer).map(|session| session.record.session);
        if before == Some(session) {
            return None;
        }
        let left = before.and_then(|id| self.0.get_mut(&id)).map(|before| {
            before.record.members.retain(|m| m.transfer != transfer);
            before.record.clone()
        });
        if let Some(left) = left.as_ref().filter(|left| left.members.is_empty()) {
            self.0.remove(&left.session);
        }
        if let Some(session) = self.0.get_mut(&session) {
            session.record.members.push(MemberRecord {
                transfer,
                name: name.to_owned(),
                end: None,
            });
        }
        left
    }

    /// Another transfer to the same receiver takes the place of one that is over. Returns the
    /// session, if it is in one.
    pub fn replace(&mut self, old: TransferId, new: TransferId) -> Option<&Session> {
        let id = self.of(old)?.record.session;
        let session = self.0.get_mut(&id)?;
        let member = session.member(old)?;
        (member.transfer, member.end) = (new, None);
        Some(session)
    }

    /// A transfer is over. Returns its session, if it is in one.
    pub fn ended(&mut self, transfer: TransferId, name: &str, end: MemberEnd) -> Option<&Session> {
        let id = self.of(transfer)?.record.session;
        let session = self.0.get_mut(&id)?;
        let member = session.member(transfer)?;
        (member.name, member.end) = (name.to_owned(), Some(end));
        Some(session)
    }

    /// Forgets sessions of which no transfer is known any more.
    pub fn forget_gone(&mut self, is_known: impl Fn(TransferId) -> bool) {
        self.0
            .retain(|_, s| s.record.members.iter().any(|m| is_known(m.transfer)));
    }

    /// Pictures of all sessions, oldest first. `transfers` are those of the node.
    pub fn snapshots(&self, transfers: &[TransferSnapshot]) -> Vec<SessionSnapshot> {
        let mut sessions: Vec<&SessionRecord> = self.0.values().map(|s| &s.record).collect();
        sessions.sort_unstable_by_key(|record| (record.created, record.session));
        let pictures = sessions.into_iter();
        pictures
            .map(|record| SessionSnapshot::of(record, transfers))
            .collect()
    }
}

/// A session as it is now. Its receivers' transfers are in the overview with all others, and say
/// to which session they belong.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SessionSnapshot {
    /// Its id. Where a transfer can be steered, so can a session: all its receivers at once.
    pub id: TransferId,
    /// When it was started, in seconds since 1970.
    pub started: u64,
    /// Its receivers, in the order in which they were named.
    pub receivers: Vec<Receiver>,
    /// Where it is as a whole: what most moves it as long as anything does; at the end
    /// [`TransferState::Completed`] only if everybody got everything.
    pub state: TransferState,
    /// Receivers that got everything.
    pub complete: u32,
    /// Receivers for which it is over, and that did not.
    pub incomplete: u32,
    /// Receivers that do not have everything yet and say that they get the rest from the others,
    /// also when this program ends.
    #[serde(default)]
    pub going_on: u32,
    /// Names of the first entries at top level, as in a transfer.
    pub top_names: Vec<TopName>,
    /// How many entries there are at top level.
    pub top_count: u32,
    /// Files that each receiver gets.
    pub files: u32,
    /// Bytes for all receivers together, as far as they are of this run.
    pub bytes: u64,
    /// Bytes that are there and verified.
    pub bytes_done: u64,
    /// Bytes of content that travelled in this run.
    pub bytes_moved: u64,
    /// Bytes per second to all receivers together.
    pub rate: u64,
    /// Seconds left until the slowest of those that are under way has everything, where that can
    /// be said.
    pub eta_seconds: Option<u64>,
    /// Seconds since it was started here.
    pub seconds: f64,
}

/// A receiver of a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receiver {
    /// The transfer to it. One that was over before this run is not in the overview.
    pub transfer: TransferId,
    /// Its name. Show with [`crate::text::Shown`].
    pub name: String,
    /// What came of it; `None` while it is not over.
    pub end: Option<MemberEnd>,
}

/// What came of a transfer, if it is over.
pub fn end_of(state: TransferState, files_failed: u32) -> Option<MemberEnd> {
    match state {
        TransferState::Completed if files_failed == 0 => Some(MemberEnd::Complete),
        TransferState::Completed
        | TransferState::Rejected
        | TransferState::Cancelled
        | TransferState::Failed => Some(MemberEnd::Incomplete),
        TransferState::Preparing
        | TransferState::Connecting
        | TransferState::AwaitingAnswer
        | TransferState::Transferring
        | TransferState::Paused
        | TransferState::Interrupted => None,
    }
}

impl SessionSnapshot {
    fn of(record: &SessionRecord, transfers: &[TransferSnapshot]) -> Self {
        let members = || record.members.iter();
        let find = |id: TransferId| transfers.iter().find(|t| t.id == id);
        let here: Vec<&TransferSnapshot> = members().filter_map(|m| find(m.transfer)).collect();
        let receivers: Vec<Receiver> = members().map(|m| receiver(m, find(m.transfer))).collect();
        let with = |end| receivers.iter().filter(|r| r.end == Some(end)).count() as u32;
        let (complete, incomplete) = (with(MemberEnd::Complete), with(MemberEnd::Incomplete));
        let sum = |value: fn(&TransferSnapshot) -> u64| {
            let values = here.iter().map(|t| value(t));
            values.fold(0, u64::saturating_add)
        };
        let going_on = here.iter().filter(|t| goes_on(t)).count() as u32;
        let listed = here.iter().max_by_key(|t| t.entries);
        Self {
            id: record.session,
            started: record.created,
            state: state(&here, complete, incomplete),
            complete,
            incomplete,
            going_on,
            top_names: listed.map(|t| t.top_names.clone()).unwrap_or_default(),
            top_count: listed.map_or(0, |t| t.top_count),
            files: listed.map_or(0, |t| t.files),
            bytes: sum(|t| t.bytes),
            bytes_done: sum(|t| t.bytes_done),
            bytes_moved: sum(|t| t.bytes_moved),
            rate: sum(|t| t.rate),
            eta_seconds: eta(&here),
            seconds: here.iter().map(|t| t.seconds).fold(0.0, f64::max),
            receivers,
        }
    }

    /// Whether this program is not needed any more, as far as is known, although it is not over:
    /// whoever does not have everything gets it from the others.
    pub fn may_leave(&self) -> bool {
        let settled = self.complete + self.incomplete + self.going_on;
        self.going_on > 0 && settled as usize == self.receivers.len()
    }

    /// Whether it is over for every receiver.
    pub fn is_over(&self) -> bool {
        self.receivers.iter().all(|receiver| receiver.end.is_some())
    }
}

fn receiver(record: &MemberRecord, transfer: Option<&TransferSnapshot>) -> Receiver {
    Receiver {
        transfer: record.transfer,
        name: transfer.map_or_else(|| record.name.clone(), |t| t.peer_name.clone()),
        end: match transfer {
            Some(t) => end_of(t.state, t.files_failed),
            None => record.end,
        },
    }
}

/// Whether somebody who does not have everything yet needs us no more. Who is paused waits for us.
/// Of one that has no link to us nothing is known: what it knows in case that we leave ends with
/// its program.
fn goes_on(t: &TransferSnapshot) -> bool {
    let is_known = !matches!(t.state, TransferState::Paused | TransferState::Interrupted);
    t.passing.goes_on && !t.state.is_final() && is_known
}

fn eta(here: &[&TransferSnapshot]) -> Option<u64> {
    let moving = here
        .iter()
        .filter(|t| t.state == TransferState::Transferring);
    let left: Option<Vec<u64>> = moving.map(|t| t.eta_seconds).collect();
    left?.into_iter().max()
}

/// From what moves a session most to what holds it up most.
const LIVELY: [TransferState; 6] = [
    TransferState::Transferring,
    TransferState::Preparing,
    TransferState::Connecting,
    TransferState::AwaitingAnswer,
    TransferState::Interrupted,
    TransferState::Paused,
];

fn state(here: &[&TransferSnapshot], complete: u32, incomplete: u32) -> TransferState {
    let is = |state| here.iter().any(|t| t.state == state);
    if let Some(lively) = LIVELY.into_iter().find(|state| is(*state)) {
        return lively;
    }
    let all = |state| here.iter().all(|t| t.state == state);
    match (complete, incomplete) {
        (_, 0) => TransferState::Completed,
        (0, _) if all(TransferState::Rejected) => TransferState::Rejected,
        (0, _) if all(TransferState::Cancelled) => TransferState::Cancelled,
        (_, _) => TransferState::Failed,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
