//! The sending side: answers the sender as a receiver of ours would, and moves from connection to
//! connection.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::lanes::{Lane, Lanes, Place};
use super::ledger::{Entry as News, receipt};
use super::line::{Answer, Line, silent};
use super::opener::{Shared, TcpOpener};
use crate::net::link::{LinkError, Outbound, PathInfo, PathKind};
use crate::protocol::legacy::LegacyId;
use crate::protocol::message::{
    Code, DeclineReason, Entry, EntryKind, FileIndex, Outcome, PlanAction, PlanRun, Receipt,
    ReceiverMessage, Scope, SenderMessage, SinkFault, Steer, SteerAction,
};

/// Receipts in one message.
const RECEIPTS_MAX: usize = 256;

/// Where to send, and as whom.
#[derive(Debug, Clone)]
pub struct Destination {
    /// The stream port of the other side.
    pub addr: SocketAddr,
    /// The id under which it knows us: the one of our record.
    pub us: LegacyId,
    /// How long its answer is waited for.
    pub patience: Duration,
}

/// A transfer to an original.
#[derive(Debug)]
pub struct TcpOutbound {
    addr: SocketAddr,
    shared: Arc<Shared>,
    lanes: Lanes,
    /// Entries whose fate earlier links have decided.
    settled: HashMap<FileIndex, Receipt>,
    /// Entries that were told, those among them that were told completely, and those planned.
    told: u32,
    complete: u32,
    planned: u32,
    /// What to do with told entries that are not planned.
    actions: VecDeque<PlanAction>,
    answered: Answered,
    /// Connecting, or ending a connection: at most one of them.
    work: JoinSet<Result<Worked, LinkError>>,
    ready: VecDeque<ReceiverMessage>,
    /// Files that were held and may come now.
    released: VecDeque<FileIndex>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answered {
    No,
    Accepted,
}

/// What the background work came to.
#[derive(Debug)]
enum Worked {
    Opened(Answer),
    Ended,
}

impl TcpOutbound {
    /// Over `fresh`, which was dialled just now, and such that follow. `settled`: receipts of
    /// earlier links for the same entries. `transfers` counts the connections of this program.
    pub fn new(
        to: Destination,
        fresh: TcpStream,
        transfers: Arc<AtomicU64>,
        settled: Vec<Receipt>,
    ) -> Self {
        let addr = to.addr;
        let line = Line::new(to, transfers, fresh);
        Self {
            addr,
            shared: Arc::new(Shared::new(line)),
            lanes: Lanes::default(),
            settled: settled.into_iter().map(|r| (r.index, r)).collect(),
            told: 0,
            complete: 0,
            planned: 0,
            actions: VecDeque::new(),
            answered: Answered::No,
            work: JoinSet::new(),
            ready: VecDeque::from([ReceiverMessage::Known { entries: 0 }]),
            released: VecDeque::new(),
        }
    }

    fn add(&mut self, entry: &Entry) {
        let index = self.told;
        self.told += 1;
        if self.settled.contains_key(&index) {
            self.actions.push_back(PlanAction::Skip);
            return;
        }
        if let EntryKind::File { .. } = entry.kind {
            self.shared.remember(index, &entry.path);
        }
        self.actions.push_back(match self.lanes.add(index, entry) {
            Place::Now => PlanAction::Send,
            Place::Later => PlanAction::Hold,
            Place::Never => PlanAction::Skip,
        });
        if let EntryKind::Symlink { .. } = entry.kind {
            let unknown = receipt(index, Outcome::Failed(SinkFault::Unsupported));
            self.settled.insert(index, unknown);
        }
    }

    /// Tells the sender about all entries that were told completely.
    fn plan(&mut self) {
        let mut runs: Vec<PlanRun> = Vec::new();
        let mut receipts = Vec::new();
        while self.planned < self.complete {
            let Some(action) = self.actions.pop_front() else {
                break;
            };
            receipts.extend(self.settled.remove(&self.planned));
            match runs.last_mut() {
                Some(run) if run.action == action => run.count += 1,
                Some(_) | None => runs.push(PlanRun { count: 1, action }),
            }
            self.planned += 1;
        }
        self.ready.push_back(ReceiverMessage::Plan(runs));
        self.push_receipts(receipts);
        let entries = self.planned;
        self.ready.push_back(ReceiverMessage::Start { entries });
    }

    fn push_receipts(&mut self, receipts: Vec<Receipt>) {
        for page in receipts.chunks(RECEIPTS_MAX) {
            let settled = ReceiverMessage::Settled(page.to_vec());
            self.ready.push_back(settled);
        }
    }

    /// Begins what can be begun now.
    fn advance(&mut self) {
        if !self.work.is_empty() || self.complete == 0 {
            return;
        }
        if self.lanes.is_written() {
            self.lanes.ending = true;
            let folders = self.lanes.current.iter().flat_map(|lane| &lane.folders);
            let folders: Vec<String> = folders.map(|(_, path)| path.clone()).collect();
            let shared = self.shared.clone();
            self.work.spawn(async move {
                let mut line = shared.line.lock().await;
                line.end(&folders, &shared.ledger).await?;
                Ok(Worked::Ended)
            });
        } else if self.lanes.current.is_none() {
            if let Some(lane) = self.lanes.advance() {
                let (purpose, shared) = (lane.purpose.clone(), self.shared.clone());
                self.work.spawn(async move {
                    let mut line = shared.line.lock().await;
                    Ok(Worked::Opened(line.open(purpose).await?))
                });
            } else if self.answered == Answered::No {
                self.accept();
            }
        }
    }

    fn accept(&mut self) {
        self.answered = Answered::Accepted;
        self.ready.push_back(ReceiverMessage::Accepted);
        self.plan();
    }

    fn on_worked(&mut self, worked: Worked) {
        match worked {
            Worked::Ended => {
                if let Some(lane) = self.lanes.current.take() {
                    let arrived = |(index, _): (FileIndex, String)| receipt(index, Outcome::New);
                    let folders = lane.folders.into_iter().map(arrived).collect();
                    self.push_receipts(folders);
                }
            }
            Worked::Opened(Answer::Accepted) => {
                self.lanes.running = true;
                let files = self.lanes.current.iter().flat_map(|lane| &lane.files);
                // What is not planned yet is let through by the plan.
                let known = files.filter(|index| **index < self.planned).copied();
                self.released.extend(known);
                self.let_through();
                if self.answered == Answered::No {
                    self.accept();
                }
            }
            Worked::Opened(answer) if self.answered == Answered::No => {
                let reason = match answer {
                    Answer::Silent => DeclineReason::NoAnswer,
                    Answer::Accepted | Answer::Declined => DeclineReason::Person,
                };
                self.ready.push_back(ReceiverMessage::Declined(reason));
            }
            // One of several: the others may be wanted.
            Worked::Opened(_) => {
                if let Some(lane) = self.lanes.current.take() {
                    self.skip(lane);
                }
            }
        }
    }

    /// Files of this connection that are not planned yet may come with the plan.
    fn let_through(&mut self) {
        let Some(lane) = &self.lanes.current else {
            return;
        };
        for index in &lane.open {
            let at = index.checked_sub(self.planned).map(|at| at as usize);
            if let Some(action) = at.and_then(|at| self.actions.get_mut(at)) {
                *action = PlanAction::Send;
            }
        }
    }

    fn skip(&mut self, lane: Lane) {
        let folders = lane.folders.into_iter().map(|(index, _)| index);
        let entries = lane.open.into_iter().chain(folders);
        let skipped = entries.map(|index| receipt(index, Outcome::Skipped));
        self.push_receipts(skipped.collect());
    }

    fn take_news(&mut self) {
        let mut receipts = Vec::new();
        for news in self.shared.ledger.take() {
            match news {
                News::Written(index) => self.lanes.close(index),
                News::Settled(receipt) => {
                    self.lanes.close(receipt.index);
                    receipts.push(receipt);
                }
            }
        }
        self.push_receipts(receipts);
    }

    /// The sender gives a file up.
    fn give_up(&mut self, index: FileIndex, fault: SinkFault) {
        self.lanes.close(index);
        let failed = receipt(index, Outcome::Failed(fault));
        self.push_receipts(vec![failed]);
    }

    fn on_steer(&mut self, steer: Steer) {
        let Steer { scope, action } = steer;
        // A pause, and which file is next, is the sender's own business; a whole transfer is
        // cancelled by closing the link.
        if let (Scope::File(index), SteerAction::Cancel) = (scope, action)
            && self.lanes.is_open(index)
        {
            self.give_up(index, SinkFault::Cancelled);
        }
    }

    /// Lets the next held file come.
    fn release(&mut self) -> Option<ReceiverMessage> {
        while let Some(index) = self.released.pop_front() {
            if self.lanes.is_open(index) {
                return Some(ReceiverMessage::Have {
                    index,
                    stamp: None,
                    first: 0,
                    groups: Vec::new(),
                    more: false,
                });
            }
        }
        None
    }
}

impl Outbound for TcpOutbound {
    type Opener = TcpOpener;

    fn opener(&self) -> TcpOpener {
        TcpOpener(self.shared.clone())
    }

    fn path(&self) -> PathInfo {
        PathInfo {
            kind: PathKind::LegacyPlain,
            addr: Some(self.addr),
            rtt: None,
        }
    }

    fn knows_sessions(&self) -> bool {
        false
    }

    async fn send(&mut self, message: SenderMessage) -> Result<(), LinkError> {
        match message {
            SenderMessage::Entries(entries) => entries.iter().for_each(|entry| self.add(entry)),
            SenderMessage::EntriesEnd { entries } => {
                self.complete = entries.min(self.told);
                if self.answered == Answered::Accepted {
                    self.plan();
                }
            }
            SenderMessage::FileFailed { index, reason } => {
                self.give_up(index, SinkFault::Source(reason));
            }
            SenderMessage::Steer(steer) => self.on_steer(steer),
            SenderMessage::Finish { .. } => self.ready.push_back(ReceiverMessage::Complete),
            // An original knows nothing of sessions.
            SenderMessage::Session(_)
            | SenderMessage::Feeder(_)
            | SenderMessage::WillFile(_)
            | SenderMessage::Will(_) => {}
        }
        Ok(())
    }

    async fn recv(&mut self) -> Result<ReceiverMessage, LinkError> {
        loop {
            self.take_news();
            if let Some(message) = self.ready.pop_front().or_else(|| self.release()) {
                return Ok(message);
            }
            self.advance();
            if !self.ready.is_empty() {
                continue;
            }
            tokio::select! {
                () = self.shared.ledger.changed() => {}
                Some(worked) = self.work.join_next() => {
                    let fault = |_| LinkError::Lost("a fault of this program".into());
                    let worked = worked.map_err(fault)??;
                    let is_silent = matches!(worked, Worked::Opened(Answer::Silent));
                    if is_silent && self.answered == Answered::Accepted {
                        return Err(silent());
                    }
                    self.on_worked(worked);
                }
            }
        }
    }

    async fn close(self, _code: Code) {
        // In order, it is ended already. Otherwise the other side finds the end inside a file.
    }
}
