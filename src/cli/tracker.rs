//! What has been said about one transfer so far, and what is to be said next.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use peerconnect::config::ANSWER_SOON;
use peerconnect::fault::{Fault, Trouble};
use peerconnect::net::link::PathKind;
use peerconnect::node::api::{Command, NodeHandle, Reply};
use peerconnect::protocol::message::{FileIndex, Outcome, TransferId};
use peerconnect::transfer::state::TransferState;
use peerconnect::transfer::status::{
    Direction, FileQuery, FileRow, FileState, ROWS_MAX, RowKind, Shortcoming, TransferSnapshot,
};
use tokio::time::Instant;

use super::exit::Exit;
use super::output::{Event, Output};
use super::progress::ACTIVE_MAX;

/// Pages of rows that are fetched before signals and other transfers get their turn.
const PAGES_MAX: u32 = 4;

/// Least time between two progress lines in JSON.
const PROGRESS_PAUSE: Duration = Duration::from_millis(250);

/// How far ahead of the first unfinished file active ones are looked for.
const ACTIVE_WINDOW: u32 = 256;

/// One transfer, as far as it has been told.
#[derive(Debug)]
pub(crate) struct Tracker {
    pub(crate) id: TransferId,
    /// The last picture.
    pub(crate) last: TransferSnapshot,
    /// The round in which the person was asked, or an answer was not ours to give.
    pub(crate) asked: Option<u32>,
    /// Whether it was said that a file waits for an answer which nobody can give here.
    pub(crate) hinted: bool,
    /// How it ended, once everything about it has been told.
    pub(crate) exit: Option<Exit>,
    /// The state that was told last, and whether it was one of waiting for a person.
    state: Option<(TransferState, bool)>,
    path: Option<(PathKind, Option<SocketAddr>, Option<String>)>,
    /// How many have blamed the receiver, as told last.
    blamed: usize,
    /// Why the others get nothing from the receiver, as told last.
    shortcoming: Option<Shortcoming>,
    /// How many have lied to us, as told last.
    liars: usize,
    offered: bool,
    /// The file that the person is asked about, as was told last.
    conflict: Option<FileIndex>,
    /// What keeps the receiver from accepting, as told last.
    obstacle: Option<Fault>,
    listed: u32,
    settled: u32,
    kinds: BTreeSet<u8>,
    lost_since: Option<Instant>,
    /// Since when an offer of ours waits for an answer.
    offered_since: Option<Instant>,
    /// Whether it was said that nobody answers.
    patience_told: bool,
    progress: Option<(Instant, u64, u64)>,
    unfinished: u32,
}

impl Tracker {
    pub(crate) fn new(snapshot: TransferSnapshot) -> Self {
        Self {
            id: snapshot.id,
            last: snapshot,
            asked: None,
            hinted: false,
            exit: None,
            state: None,
            path: None,
            blamed: 0,
            shortcoming: None,
            liars: 0,
            offered: false,
            conflict: None,
            obstacle: None,
            listed: 0,
            settled: 0,
            kinds: BTreeSet::new(),
            lost_since: None,
            offered_since: None,
            patience_told: false,
            progress: None,
            unfinished: 0,
        }
    }

    /// Tells what is new in `last`. Gives back whether there is more to tell at once.
    pub(crate) async fn tell(&mut self, node: &NodeHandle, out: &mut Output) -> bool {
        if self.exit.is_some() {
            return false;
        }
        let now = Instant::now();
        let state = self.last.state;
        if !self.offered && is_known(state, &self.last) {
            self.offered = true;
            out.emit(Event::Offer(&self.last)).await;
        }
        // The receiver may turn out to have forgotten that it accepted.
        let waits = state == TransferState::AwaitingAnswer && !self.last.accepted;
        if self.state != Some((state, waits)) {
            self.state = Some((state, waits));
            self.lost_since = (state == TransferState::Interrupted).then_some(now);
            self.note_offer(waits, now);
            out.emit(Event::State(&self.last)).await;
        }
        self.tell_obstacle(out).await;
        let through = &self.last.passing.through;
        let path = self.last.path.as_ref();
        let path = path.map(|path| (path.kind, path.addr, through.clone()));
        if path.is_some() && path != self.path {
            self.path = path;
            out.emit(Event::Path(&self.last)).await;
        }
        self.tell_passing(out).await;
        let conflict = self.last.conflict.as_ref();
        if conflict.map(|c| c.index) != self.conflict {
            self.conflict = conflict.map(|c| c.index);
            if let Some(conflict) = conflict {
                out.emit(Event::Conflict(&self.last, conflict)).await;
            }
        }
        let more = self.tell_files(node, out).await;
        self.tell_progress(out, now).await;
        if state.is_final() && !more {
            self.tell_end(out).await;
        }
        more
    }

    /// What is wrong with those who pass content on.
    async fn tell_passing(&mut self, out: &mut Output) {
        let passing = &self.last.passing;
        for by in passing.blamed_by.iter().skip(self.blamed) {
            out.emit(Event::Blamed(&self.last, by)).await;
        }
        for by in passing.liars.iter().skip(self.liars) {
            out.emit(Event::LiedTo(&self.last, by)).await;
        }
        (self.blamed, self.liars) = (passing.blamed_by.len(), passing.liars.len());
        if passing.shortcoming != self.shortcoming {
            self.shortcoming = passing.shortcoming;
            if let Some(short) = self.shortcoming {
                out.emit(Event::Shortcoming(&self.last, short)).await;
            }
        }
    }

    /// An offer that is made anew, after its connection broke, is as old as it was.
    fn note_offer(&mut self, waits: bool, now: Instant) {
        let sending = self.last.direction == Direction::Sending;
        if self.last.accepted || self.last.state.is_final() {
            self.offered_since = None;
        } else if waits && sending {
            self.offered_since.get_or_insert(now);
        }
    }

    /// That nobody answers an offer of ours, once: when it has taken so long.
    pub(crate) fn unanswered(&mut self, now: Instant) -> Option<Fault> {
        let since = self.offered_since.filter(|_| self.exit.is_none())?;
        let waits = self.last.state == TransferState::AwaitingAnswer && !self.last.accepted;
        if !waits || now - since < ANSWER_SOON || self.patience_told {
            return None;
        }
        self.patience_told = true;
        Some(Fault::NoAnswer {
            peer: self.last.peer_name.clone(),
            seconds: ANSWER_SOON.as_secs(),
        })
    }

    /// What somebody can do something about is worth a line while that helps: room that the
    /// receiver lacks, and an original that must be restarted.
    async fn tell_obstacle(&mut self, out: &mut Output) {
        let waiting = self.last.state == TransferState::AwaitingAnswer;
        let lost = self.last.state == TransferState::Interrupted;
        // What ends the transfer is told at its end.
        let is_deaf = |trouble: &Trouble| matches!(trouble, Trouble::Deaf { .. });
        let deaf =
            |fault: &Fault| matches!(fault, Fault::Original { trouble, .. } if is_deaf(trouble));
        let passes = |fault: &&Fault| {
            (lost && deaf(fault)) || (waiting && matches!(fault, Fault::PeerRoom { .. }))
        };
        let obstacle = self.last.fault.as_ref().filter(passes);
        if self.obstacle.as_ref() == obstacle {
            return;
        }
        self.obstacle = obstacle.cloned();
        if let Some(fault) = obstacle {
            out.emit(Event::Error(Some(&self.last), None, fault)).await;
        }
    }

    async fn tell_files(&mut self, node: &NodeHandle, out: &mut Output) -> bool {
        let agreed = match self.last.state {
            TransferState::Preparing
            | TransferState::Connecting
            | TransferState::AwaitingAnswer => self.settled > 0,
            TransferState::Transferring
            | TransferState::Paused
            | TransferState::Interrupted
            | TransferState::Completed
            | TransferState::Cancelled
            | TransferState::Failed => true,
            TransferState::Rejected => false,
        };
        if !agreed {
            return false;
        }
        for _ in 0..PAGES_MAX {
            if self.settled >= self.last.settled && !self.lists(out) {
                return false;
            }
            if !self.list_page(node, out).await || !self.settled_page(node, out).await {
                return false;
            }
        }
        self.settled < self.last.settled || self.lists(out)
    }

    fn lists(&self, out: &Output) -> bool {
        out.is_json() && self.listed < self.last.entries
    }

    /// The next page of `file` lines. Gives back whether it makes sense to go on.
    async fn list_page(&mut self, node: &NodeHandle, out: &mut Output) -> bool {
        if !self.lists(out) {
            return true;
        }
        let query = FileQuery::Range {
            from: self.listed,
            count: ROWS_MAX,
        };
        let rows = self.rows(node, query).await;
        for row in rows.iter().filter(|row| row.kind == RowKind::File) {
            out.emit(Event::File(&self.last, row)).await;
        }
        self.listed += rows.len() as u32;
        !rows.is_empty()
    }

    /// The next page of `file_done` lines. They are fetched by position, so that none is missed
    /// or told twice however late this comes.
    async fn settled_page(&mut self, node: &NodeHandle, out: &mut Output) -> bool {
        if self.settled >= self.last.settled {
            return true;
        }
        let query = FileQuery::Settled { from: self.settled };
        let rows = self.rows(node, query).await;
        for row in &rows {
            let FileState::Settled(outcome) = row.state else {
                continue;
            };
            let uneventful = matches!(outcome, Outcome::New | Outcome::Identical);
            if row.kind == RowKind::File || !uneventful {
                out.emit(Event::FileDone(&self.last, row)).await;
            }
            if let Outcome::Failed(why) = outcome {
                let fault = Fault::of_file(&row.path, why);
                self.kinds.insert(fault.exit_code());
                out.emit(Event::Error(Some(&self.last), Some(row.index), &fault))
                    .await;
            }
        }
        self.settled += rows.len() as u32;
        !rows.is_empty()
    }

    async fn rows(&self, node: &NodeHandle, query: FileQuery) -> Vec<FileRow> {
        let transfer = self.id;
        match node.call(Command::Files { transfer, query }).await {
            Ok(Reply::Files(rows)) => rows,
            Ok(_) => Vec::new(),
            Err(fault) => {
                // The end of the node is noticed by its pictures.
                tracing::debug!(%fault, "no rows");
                Vec::new()
            }
        }
    }

    async fn tell_progress(&mut self, out: &mut Output, now: Instant) {
        if self.last.state.is_final() {
            return;
        }
        let figures = (self.last.bytes_done, self.last.rate);
        let due = match self.progress {
            Some((then, done, rate)) => {
                !out.is_json() || (now - then >= PROGRESS_PAUSE && (done, rate) != figures)
            }
            None => self.last.state == TransferState::Transferring || !out.is_json(),
        };
        if due {
            self.progress = Some((now, figures.0, figures.1));
            out.emit(Event::Progress(&self.last)).await;
        }
    }

    async fn tell_end(&mut self, out: &mut Output) {
        if let Some(fault) = &self.last.fault
            && self.last.state != TransferState::Completed
        {
            out.emit(Event::Error(Some(&self.last), None, fault)).await;
        }
        let exit = Exit::of_transfer(&self.last, &self.kinds);
        self.end(exit, out).await;
    }

    /// Says that this is over, for this face at least.
    pub(crate) async fn end(&mut self, exit: Exit, out: &mut Output) {
        if self.exit.is_none() {
            self.exit = Some(exit);
            out.emit(Event::Summary(&self.last, exit)).await;
        }
    }

    /// Whether the connection has been lost for longer than `retry`.
    pub(crate) fn is_given_up(&self, retry: Duration) -> bool {
        self.lost_since
            .is_some_and(|since| since.elapsed() >= retry)
    }

    /// The fault of a lost connection, from the last picture.
    pub(crate) fn lost(&self) -> Fault {
        if let Some(fault @ Fault::Original { .. }) = &self.last.fault {
            return fault.clone();
        }
        Fault::Lost {
            peer: self.last.peer_name.clone(),
            kept: self.last.bytes_done,
            total: self.last.bytes,
        }
    }

    /// The fault of a node that ended, from its last picture.
    pub(crate) fn left(&self) -> Fault {
        if !self.last.is_legacy() {
            return self.lost();
        }
        Fault::Original {
            peer: self.last.peer_name.clone(),
            trouble: match self.last.direction {
                Direction::Sending => Trouble::KilledSending,
                Direction::Receiving => Trouble::KilledReceiving,
            },
        }
    }

    /// Files that are on their way now: looked for behind the first unfinished one.
    pub(crate) async fn active(&mut self, node: &NodeHandle) -> Vec<FileRow> {
        let query = FileQuery::Range {
            from: self.unfinished,
            count: ACTIVE_WINDOW,
        };
        let mut rows = self.rows(node, query).await;
        let settled = rows
            .iter()
            .take_while(|row| matches!(row.state, FileState::Settled(_)))
            .count();
        self.unfinished += settled as u32;
        rows.retain(|row| row.state == FileState::Active && row.kind == RowKind::File);
        rows.truncate(ACTIVE_MAX);
        rows
    }
}

/// Whether the files of a transfer are known: it can be described.
fn is_known(state: TransferState, snapshot: &TransferSnapshot) -> bool {
    match state {
        TransferState::Preparing => false,
        // Only names and sizes of what cannot be sent are missing then.
        TransferState::Failed | TransferState::Cancelled => snapshot.entries > 0,
        TransferState::Connecting
        | TransferState::AwaitingAnswer
        | TransferState::Transferring
        | TransferState::Paused
        | TransferState::Interrupted
        | TransferState::Completed
        | TransferState::Rejected => true,
    }
}
