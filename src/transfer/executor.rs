//! Carries out a will: the origin is gone, and the rest comes from other receivers.
//!
//! To a transfer it is a link like any other, at whose other end somebody knows the hashes of
//! everything and refers all of it elsewhere. So files are verified, continued and named exactly
//! as if the origin were there; what only the origin could do does not happen. It chooses who
//! feeds us, of those that the origin named, one after the other: each is asked for everything that
//! is missing, and what it does not have is asked of the next one. When all have been asked they
//! are asked again, less and less often, because they get more from each other meanwhile. It ends
//! when everything is there, when nobody is left who could give anything, or when the origin is
//! back.

mod heirs;

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;

use self::heirs::Heirs;
use super::will::{Bequest, Will};
use crate::net::link::{FileReader, Inbound, InboundEvent, LinkError, PathInfo, Piece};
use crate::protocol::groups::file_hash;
use crate::protocol::message::{
    Code, FileHeader, FileIndex, OfferHead, PlanAction, PlanRun, ReceiverMessage, Scope,
    SenderMessage, Steer, SteerAction,
};
use crate::protocol::sessions::{Feeder, SessionNote};

/// Files that are begun at once: what an origin would have under way.
const OPEN_MAX: usize = 32;
/// How long what none of the heirs had waits before all are asked again, at first.
const AGAIN: Duration = Duration::from_secs(1);
/// The same after nobody had it again and again.
const AGAIN_MAX: Duration = Duration::from_secs(16);
/// How long nothing may come while files are owed and nobody paused: then it is the origin that is
/// waited for.
const STALL_MAX: Duration = Duration::from_secs(60);

/// What a will is carried out with.
#[derive(Debug)]
pub struct Estate {
    /// What the origin offered.
    pub head: OfferHead,
    /// What it said of the session.
    pub note: SessionNote,
    /// The way to it, as it was.
    pub path: PathInfo,
    /// Who fed us last, if not the origin.
    pub feeder: Option<Feeder>,
    /// Who may have the files.
    pub heirs: Vec<Feeder>,
    /// Becomes true when the origin is back.
    pub back: watch::Receiver<bool>,
}

/// Stands in for the origin.
#[derive(Debug)]
pub struct Executor {
    head: OfferHead,
    note: SessionNote,
    path: PathInfo,
    back: watch::Receiver<bool>,
    files: BTreeMap<FileIndex, Arc<Bequest>>,
    heirs: Heirs,
    /// What is to be said next.
    say: VecDeque<SenderMessage>,
    /// Files that are to be begun, in order.
    waiting: VecDeque<FileIndex>,
    /// The same ones.
    waits: HashSet<FileIndex>,
    /// Files of which the heir of now does not have all: they are for the next one.
    lacking: BTreeSet<FileIndex>,
    /// How many heirs in a row lacked something, while nothing has come.
    lacked: usize,
    /// How long is waited once all have lacked something.
    again: Duration,
    /// Not before then.
    begin: Instant,
    open: Arc<Semaphore>,
    /// Those that are begun, and that may be over.
    begun: Vec<Weak<Place>>,
    planned: FileIndex,
    settled: HashSet<FileIndex>,
    /// What a person has paused.
    paused: HashSet<Scope>,
    /// Bytes that are here, and since when there are no more.
    done: (u64, Instant),
}

/// What happens next.
enum Next {
    /// The origin is back.
    Back,
    /// A file may begin.
    Begin(OwnedSemaphorePermit),
    /// Nothing has come for long.
    Still,
}

impl Executor {
    /// Carries out `will`.
    pub fn new(will: &Will, estate: Estate) -> Self {
        let Estate {
            head,
            note,
            path,
            feeder,
            heirs,
            back,
        } = estate;
        Self {
            head,
            note,
            path,
            back,
            files: will.files().clone(),
            heirs: Heirs::new(feeder, &heirs),
            say: VecDeque::new(),
            waiting: VecDeque::new(),
            waits: HashSet::new(),
            lacking: BTreeSet::new(),
            lacked: 0,
            again: AGAIN,
            begin: Instant::now(),
            open: Arc::new(Semaphore::new(OPEN_MAX)),
            begun: Vec::new(),
            planned: 0,
            settled: HashSet::new(),
            paused: HashSet::new(),
            done: (0, Instant::now()),
        }
    }

    fn on_known(&mut self, entries: u32) -> Result<(), LinkError> {
        if entries != self.head.entries {
            return Err(LinkError::Lost("what was offered is not known".into()));
        }
        self.say.push_back(SenderMessage::Session(self.note));
        self.say.push_back(SenderMessage::EntriesEnd { entries });
        Ok(())
    }

    fn on_plan(&mut self, runs: &[PlanRun]) {
        for run in runs {
            let end = self.planned.saturating_add(run.count);
            match run.action {
                PlanAction::Send => (self.planned..end).for_each(|index| self.release(index)),
                // It comes with `Have`, or with its receipt.
                PlanAction::Hold | PlanAction::Skip => {}
            }
            self.planned = end;
        }
    }

    /// A file may come (again).
    fn release(&mut self, index: FileIndex) {
        if self.waits.insert(index) {
            self.waiting.push_back(index);
        }
    }

    /// A group was not given: the next heir may have it.
    fn on_again(&mut self, index: FileIndex) {
        if !self.waits.contains(&index) {
            self.lacking.insert(index);
        }
    }

    /// Whether the heir of now was asked for everything, and lacks some of it.
    fn is_exhausted(&mut self) -> bool {
        self.begun.retain(|begun| begun.strong_count() > 0);
        let is_owed = self.lacking.iter().any(|index| !self.stops(*index));
        is_owed && !self.is_owed()
    }

    /// It is the next heir's turn with what the one of now lacks; once all have lacked something
    /// they have time to get it.
    fn ask_the_next(&mut self) {
        self.lacked += 1;
        if self.lacked >= self.heirs.len() {
            self.lacked = 0;
            self.begin = Instant::now() + self.again;
            self.again = (self.again * 2).min(AGAIN_MAX);
        }
        self.heirs.turn();
        self.name_feeder();
    }

    fn on_steer(&mut self, steer: Steer) {
        match steer.action {
            SteerAction::Pause(_) => {
                self.paused.insert(steer.scope);
            }
            SteerAction::Resume => {
                self.paused.remove(&steer.scope);
            }
            SteerAction::Cancel | SteerAction::First => {}
        }
        self.done.1 = Instant::now();
    }

    /// So much is here and verified.
    fn on_progress(&mut self, done: u64) {
        if done > self.done.0 {
            self.done = (done, Instant::now());
            (self.lacked, self.again) = (0, AGAIN);
        }
    }

    /// Whether somebody else, and not the person here, keeps something from coming.
    fn is_owed(&self) -> bool {
        let mut begun = self.begun.iter().filter_map(Weak::upgrade);
        self.is_ready() || begun.any(|place| !self.stops(place.index))
    }

    /// Somebody else feeds us from now on, also with what the one before lacked.
    fn name_feeder(&mut self) {
        for index in std::mem::take(&mut self.lacking) {
            self.release(index);
        }
        let feeder = self.heirs.now().cloned();
        self.say.extend(feeder.map(SenderMessage::Feeder));
    }

    fn on_settled(&mut self, indices: impl Iterator<Item = FileIndex>) {
        let before = self.settled.len();
        self.settled.extend(indices);
        let entries = self.head.entries;
        if self.settled.len() > before && self.settled.len() == entries as usize {
            self.say.push_back(SenderMessage::Finish { entries });
        }
    }

    /// Whether a person has paused this file.
    fn stops(&self, index: FileIndex) -> bool {
        [Scope::Transfer, Scope::File(index)]
            .iter()
            .any(|scope| self.paused.contains(scope))
    }

    /// Whether a file may begin.
    fn is_ready(&self) -> bool {
        self.waiting.iter().any(|index| !self.stops(*index))
    }

    /// The next file that is not here yet and that nobody has paused.
    fn next_file(&mut self, place: OwnedSemaphorePermit) -> Option<(FileHeader, WillReader)> {
        while let Some(at) = self.waiting.iter().position(|index| !self.stops(*index)) {
            let index = self.waiting.remove(at)?;
            self.waits.remove(&index);
            if let Some(file) = self.files.get(&index)
                && !self.settled.contains(&index)
            {
                let place = Arc::new(Place {
                    index,
                    _permit: place,
                });
                self.begun.retain(|begun| begun.strong_count() > 0);
                self.begun.push(Arc::downgrade(&place));
                let reader = WillReader {
                    file: file.clone(),
                    next: 0,
                    _place: place,
                };
                return Some((file.header.clone(), reader));
            }
        }
        None
    }
}

impl Inbound for Executor {
    type Reader = WillReader;

    fn head(&self) -> &OfferHead {
        &self.head
    }

    fn path(&self) -> PathInfo {
        self.path.clone()
    }

    fn is_senders(&self) -> bool {
        false
    }

    fn consent(&mut self) {}

    async fn send(&mut self, message: ReceiverMessage) -> Result<(), LinkError> {
        match message {
            ReceiverMessage::Known { entries } => self.on_known(entries)?,
            ReceiverMessage::Accepted => self.name_feeder(),
            ReceiverMessage::Plan(runs) => self.on_plan(&runs),
            ReceiverMessage::Have { index, more, .. } if !more => self.release(index),
            ReceiverMessage::Again { index, .. } => self.on_again(index),
            ReceiverMessage::Settled(receipts) => {
                self.on_settled(receipts.iter().map(|receipt| receipt.index));
            }
            ReceiverMessage::Trouble { feeder, trouble } => {
                if self.heirs.on_trouble(feeder, trouble) {
                    self.name_feeder();
                }
            }
            ReceiverMessage::Progress { done, .. } => self.on_progress(done),
            ReceiverMessage::Steer(steer) => self.on_steer(steer),
            // What only the origin wants to know.
            ReceiverMessage::Have { .. }
            | ReceiverMessage::Asked(_)
            | ReceiverMessage::Declined(_)
            | ReceiverMessage::Start { .. }
            | ReceiverMessage::Complete
            | ReceiverMessage::PassesOn(_)
            | ReceiverMessage::CanGoOn(_)
            | ReceiverMessage::Behind(_)
            | ReceiverMessage::Holds(_) => {}
        }
        Ok(())
    }

    async fn recv(&mut self) -> Result<InboundEvent<WillReader>, LinkError> {
        loop {
            if let Some(message) = self.say.pop_front() {
                return Ok(InboundEvent::Message(message));
            }
            if self.heirs.now().is_none() {
                return Err(LinkError::Lost("nobody else has it".into()));
            }
            if self.is_exhausted() {
                self.ask_the_next();
                continue;
            }
            let (begin, open) = (self.begin, self.open.clone());
            let place = async {
                tokio::time::sleep_until(begin).await;
                open.acquire_owned().await
            };
            let next = tokio::select! {
                _ = self.back.wait_for(|back| *back) => Next::Back,
                Ok(place) = place, if self.is_ready() => Next::Begin(place),
                () = tokio::time::sleep_until(self.done.1 + STALL_MAX) => Next::Still,
            };
            match next {
                Next::Back => return Err(LinkError::Lost("the sender is back".into())),
                Next::Begin(place) => {
                    if let Some((header, reader)) = self.next_file(place) {
                        return Ok(InboundEvent::File(header, reader));
                    }
                }
                Next::Still if self.is_owed() => {
                    return Err(LinkError::Lost("the others give nothing".into()));
                }
                Next::Still => self.done.1 = Instant::now(),
            }
        }
    }

    async fn close(self, _: Code) {}
}

/// A file of which everything is to be had elsewhere.
#[derive(Debug)]
pub struct WillReader {
    file: Arc<Bequest>,
    next: u32,
    _place: Arc<Place>,
}

/// The place of a file among those that are begun at once.
#[derive(Debug)]
struct Place {
    index: FileIndex,
    _permit: OwnedSemaphorePermit,
}

impl FileReader for WillReader {
    async fn read(&mut self) -> Result<Piece, LinkError> {
        let groups = &self.file.groups;
        let piece = match groups.get(self.next as usize) {
            Some(hash) => Piece::Elsewhere(self.next, *hash),
            None => Piece::End(file_hash(self.file.header.size, groups)),
        };
        self.next += 1;
        Ok(piece)
    }

    fn stop(self, _: Code) {}
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
