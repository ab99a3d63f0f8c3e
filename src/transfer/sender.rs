//! The sending side of a transfer (`send_files_to_peer`): offers the files, waits for the answer,
//! keeps files in flight, takes in what is attached, and ends when every entry has its receipt.
//!
//! One [`Outgoing`] lives as long as the transfer; [`Outgoing::run`] works over one link. What
//! the receiver has is always told by the receiver, so that a new link, or a new start of either
//! program, begins exactly like the first one.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, Interval};

use super::control::{News, Order, Reporter};
use super::ended::Ended;
use super::pauses::Pauses;
use super::queue::Queue;
use super::send_file::{Held, Job, Sent, Shared, send_file};
use super::sources::{Listed, Sources};
use super::state::TransferEvent;
use super::status::{FileState, PausedBy};
use crate::fault::Fault;
use crate::net::link::{LinkError, Offence, Outbound};
use crate::protocol::groups::{GROUP_LEN, Hash, group_count};
use crate::protocol::message::{
    Code, Entry, EntryKind, FileIndex, Outcome, PauseReason, PlanAction, PlanRun, Receipt,
    ReceiverMessage, Scope, SenderMessage, SourceFault, Stamp, Steer, SteerAction,
};

/// Small files in flight: enough to hide all latency, more costs more than it brings.
const SMALL_ACTIVE_MAX: usize = 64;
/// Files above one group in flight: few, so that disks read in order.
const LARGE_ACTIVE_MAX: usize = 3;
/// How long a control message may wait for a peer that does not read.
const SEND_DEADLINE: Duration = Duration::from_secs(30);
/// How long the receiver may take for its first answer, which needs no person.
const KNOWN_DEADLINE: Duration = Duration::from_secs(30);
/// How long nothing may move while files are under way and nobody paused: longer than the receiver
/// waits, who knows better what holds it up.
const STALL_MAX: Duration = Duration::from_secs(90);
/// How often that is looked at.
const TICK: Duration = Duration::from_secs(1);
/// Payload of a page of entries, leaving room for the last one to be long.
const PAGE_LEN: usize = 48 * 1024;

/// A transfer of ours.
#[derive(Debug)]
pub struct Outgoing {
    shared: Shared,
    pauses: watch::Sender<Pauses>,
    sources: Sources,
    reporter: Reporter,
    accepted: bool,
    /// Files that a person gave up, until the receiver confirms it: it may not be reachable, or
    /// not have planned them yet.
    cancelled: HashSet<FileIndex>,
    /// Files that go first.
    first: HashSet<FileIndex>,
}

impl Outgoing {
    /// A transfer whose table and sources are filled already. `shared.pauses` is replaced.
    pub fn new(mut shared: Shared, sources: Sources, reporter: Reporter) -> Self {
        let pauses = watch::Sender::new(Pauses::default());
        shared.pauses = pauses.subscribe();
        Self {
            shared,
            pauses,
            sources,
            reporter,
            accepted: false,
            cancelled: HashSet::new(),
            first: HashSet::new(),
        }
    }

    /// Who paused the whole transfer.
    pub fn paused_by(&self) -> Option<PausedBy> {
        self.pauses.borrow().all()
    }

    /// Whether the receiver has accepted, over any link so far.
    pub fn was_accepted(&self) -> bool {
        self.accepted
    }

    /// Carries out an order while there is no link. Returns whether the transfer is given up.
    pub async fn offline_order(&mut self, order: Order) -> bool {
        match order {
            Order::Pause(scope) => {
                self.pauses.send_modify(|p| p.pause(scope, PausedBy::Us));
                if scope == Scope::Transfer {
                    self.reporter.tell(News::PausedBy(Some(PausedBy::Us))).await;
                }
            }
            Order::Resume(scope) => {
                self.pauses.send_modify(|p| p.resume(scope));
                if scope == Scope::Transfer {
                    self.reporter.tell(News::PausedBy(None)).await;
                }
            }
            Order::Cancel(Scope::Transfer) => return true,
            Order::Cancel(Scope::File(index)) => {
                self.cancelled.insert(index);
            }
            Order::First(index) => {
                self.first.insert(index);
            }
            Order::Attach(paths) => {
                let (sources, table) = (self.sources.clone(), self.shared.table.clone());
                let work = move || sources.add(&paths, &table);
                let _ = tokio::task::spawn_blocking(work).await;
                self.shared.table.lock().end_attach();
                self.reporter.tell(News::Manifest).await;
            }
            Order::Answer(_) => {}
        }
        false
    }

    /// Works over `link`, which carries the offer already, until the transfer or the link ends.
    /// Not cancel-safe: dropping it leaves files to be sent again, but harms nothing.
    pub async fn run<L: Outbound>(&mut self, link: L, orders: &mut mpsc::Receiver<Order>) -> Ended {
        let mut run = Run {
            transfer: self,
            link,
            queue: Queue::default(),
            planned: 0,
            startable: 0,
            told: 0,
            held: HashMap::new(),
            parked: HashSet::new(),
            confirmed: Confirmed::default(),
            active: HashMap::new(),
            in_doubt: HashMap::new(),
            again: HashMap::new(),
            tasks: JoinSet::new(),
            scans: JoinSet::new(),
            accepted: false,
            finishing: false,
            tick: tokio::time::interval(TICK),
            moved: (0, Instant::now()),
        };
        let ended = match run.work(orders).await {
            Ok(never) => match never {},
            Err(ended) => ended,
        };
        run.tasks.shutdown().await;
        run.leave(&ended).await;
        let code = match &ended {
            Ended::Completed | Ended::CancelledHere => Code::Done,
            Ended::Declined(_) | Ended::CancelledThere => Code::Done,
            Ended::Lost(_) => Code::Internal,
            Ended::Misbehaved(_) => Code::Offence,
        };
        let Run { link, .. } = run;
        link.close(code).await;
        ended
    }
}

/// Entries whose receipt has come over this link. The table cannot say it: it also knows receipts
/// of earlier links, and a receiver that was restarted may have lost what they were for.
#[derive(Debug, Default)]
struct Confirmed {
    entries: Vec<bool>,
    count: u32,
}

impl Confirmed {
    fn has(&self, index: FileIndex) -> bool {
        self.entries.get(index as usize).copied().unwrap_or(false)
    }

    /// The caller bounds `index`.
    fn insert(&mut self, index: FileIndex) {
        let at = index as usize;
        if self.entries.len() <= at {
            self.entries.resize(at + 1, false);
        }
        if let Some(slot) = self.entries.get_mut(at).filter(|slot| !**slot) {
            *slot = true;
            self.count += 1;
        }
    }
}

struct Active {
    abort: AbortHandle,
    large: bool,
}

struct Run<'a, L: Outbound> {
    transfer: &'a mut Outgoing,
    link: L,
    /// Files that may be sent, in order.
    queue: Queue,
    /// Entries that plans have covered.
    planned: u32,
    /// Entries that may be started.
    startable: u32,
    /// Entries that the receiver was told.
    told: u32,
    /// What the receiver has of files that wait to be sent.
    held: HashMap<FileIndex, Held>,
    /// Files that were their turn while they were paused.
    parked: HashSet<FileIndex>,
    confirmed: Confirmed,
    active: HashMap<FileIndex, Active>,
    /// What the receiver should have of large files without a receipt, in case it wants a part
    /// again.
    in_doubt: HashMap<FileIndex, Held>,
    /// Groups that arrived damaged while their file was still being sent.
    again: HashMap<FileIndex, Vec<u32>>,
    tasks: JoinSet<(FileIndex, Sent)>,
    /// Attached paths being listed.
    scans: JoinSet<Listed>,
    accepted: bool,
    finishing: bool,
    tick: Interval,
    /// Bytes that had moved, and since when no more did.
    moved: (u64, Instant),
}

/// `work` ends only by an [`Ended`].
enum Never {}

impl<L: Outbound> Run<'_, L> {
    async fn work(&mut self, orders: &mut mpsc::Receiver<Order>) -> Result<Never, Ended> {
        self.offer().await?;
        loop {
            self.start_files();
            self.finish_if_done().await?;
            tokio::select! {
                message = self.link.recv() => self.on_message(message?).await?,
                Some(joined) = self.tasks.join_next() => self.on_sent(joined).await?,
                Some(order) = orders.recv() => self.on_order(order).await?,
                Some(listed) = self.scans.join_next() => self.on_listed(listed).await?,
                _ = self.tick.tick() => self.check_stall()?,
            }
        }
    }

    async fn send(&mut self, message: SenderMessage) -> Result<(), Ended> {
        match tokio::time::timeout(SEND_DEADLINE, self.link.send(message)).await {
            Ok(sent) => Ok(sent?),
            Err(_) => Err(Ended::Lost("the other side does not read".into())),
        }
    }

    /// A receiver that takes nothing is as good as gone, though it answers.
    fn check_stall(&mut self) -> Result<(), Ended> {
        let moved = self.transfer.shared.progress.read().moved;
        // Comparing, a slow disk and the speed limit are no fault of the receiver.
        let moving = self.transfer.shared.progress.is_writing()
            && self.transfer.pauses.borrow().all().is_none();
        if moved != self.moved.0 || !moving {
            self.moved = (moved, Instant::now());
        }
        if self.moved.1.elapsed() > STALL_MAX {
            return Err(Ended::Lost("the other side takes nothing".into()));
        }
        Ok(())
    }

    async fn offer(&mut self) -> Result<(), Ended> {
        let known = match tokio::time::timeout(KNOWN_DEADLINE, self.link.recv()).await {
            Ok(Ok(ReceiverMessage::Known { entries })) => entries,
            Ok(Ok(_)) => return Err(Ended::Misbehaved(Offence::UnexpectedMessage)),
            Ok(Err(error)) => return Err(self.closed_before_answer(error)),
            Err(_) => return Err(Ended::Lost("no answer to the offer".into())),
        };
        if known > self.transfer.shared.table.lock().len() {
            return Err(Ended::Misbehaved(Offence::NoSuchEntry));
        }
        self.told = known;
        self.transfer.reporter.event(TransferEvent::Offered).await;
        let path = self.link.path();
        self.transfer.reporter.tell(News::Path(Some(path))).await;
        self.tell_entries().await
    }

    fn closed_before_answer(&self, error: LinkError) -> Ended {
        match error {
            LinkError::Closed(Code::Busy) => {
                Ended::Declined(crate::protocol::message::DeclineReason::Busy)
            }
            other => other.into(),
        }
    }

    /// Tells the receiver all entries it does not know yet.
    async fn tell_entries(&mut self) -> Result<(), Ended> {
        loop {
            let page = self.page();
            if page.is_empty() {
                break;
            }
            self.told += page.len() as u32;
            self.send(SenderMessage::Entries(page)).await?;
        }
        self.send(SenderMessage::EntriesEnd { entries: self.told })
            .await
    }

    fn page(&self) -> Vec<Entry> {
        let table = self.transfer.shared.table.lock();
        let mut page = Vec::new();
        let mut len = 0;
        while let Some(entry) = table.entry(self.told + page.len() as u32) {
            let target = match &entry.kind {
                EntryKind::Symlink { target } => target.len(),
                EntryKind::File { .. } | EntryKind::Folder { .. } => 0,
            };
            len += entry.path.len() + target + 32;
            if len > PAGE_LEN && !page.is_empty() {
                break;
            }
            page.push(entry);
        }
        page
    }

    async fn on_message(&mut self, message: ReceiverMessage) -> Result<(), Ended> {
        match message {
            ReceiverMessage::Known { .. } => Err(Ended::Misbehaved(Offence::UnexpectedMessage)),
            ReceiverMessage::Asked(_) => Ok(()),
            ReceiverMessage::Accepted => self.on_accepted().await,
            ReceiverMessage::Declined(reason) => Err(Ended::Declined(reason)),
            ReceiverMessage::Plan(runs) => self.on_plan(&runs),
            ReceiverMessage::Start { entries } => self.on_start(entries).await,
            ReceiverMessage::Have {
                index,
                stamp,
                first,
                groups,
                more,
            } => {
                self.on_have(index, stamp, first, &groups)?;
                if more { Ok(()) } else { self.release(index) }
            }
            ReceiverMessage::Again { index, group } => self.on_again(index, group),
            ReceiverMessage::Settled(receipts) => self.on_receipts(&receipts),
            ReceiverMessage::Steer(steer) => self.on_steer(steer).await,
            ReceiverMessage::Complete if self.finishing => Err(Ended::Completed),
            ReceiverMessage::Complete => Err(Ended::Misbehaved(Offence::UnexpectedMessage)),
        }
    }

    async fn on_accepted(&mut self) -> Result<(), Ended> {
        if self.accepted {
            return Err(Ended::Misbehaved(Offence::UnexpectedMessage));
        }
        self.accepted = true;
        self.transfer.accepted = true;
        self.transfer.reporter.event(TransferEvent::Accepted).await;
        match self.transfer.paused_by() {
            None => {}
            // A pause survives the link that it was made on.
            Some(PausedBy::Us) => {
                let action = SteerAction::Pause(PauseReason::Person);
                self.steer(Scope::Transfer, action).await?;
                self.transfer.reporter.event(TransferEvent::Pause).await;
            }
            // Whoever else paused says so again, or has gone on meanwhile.
            Some(PausedBy::Peer | PausedBy::DiskFull) => {
                let resume = |p: &mut Pauses| p.resume(Scope::Transfer);
                self.transfer.pauses.send_modify(resume);
                self.transfer.reporter.tell(News::PausedBy(None)).await;
            }
        }
        Ok(())
    }

    fn on_plan(&mut self, runs: &[PlanRun]) -> Result<(), Ended> {
        if !self.accepted {
            return Err(Ended::Misbehaved(Offence::UnexpectedMessage));
        }
        for run in runs {
            let end = self
                .planned
                .checked_add(run.count)
                .filter(|&end| end <= self.told);
            let Some(end) = end else {
                return Err(Ended::Misbehaved(Offence::NoSuchEntry));
            };
            match run.action {
                PlanAction::Send => (self.planned..end).for_each(|i| self.queue.push_back(i)),
                PlanAction::Hold | PlanAction::Skip => {}
            }
            self.planned = end;
        }
        Ok(())
    }

    async fn on_start(&mut self, entries: u32) -> Result<(), Ended> {
        if entries != self.planned {
            return Err(Ended::Misbehaved(Offence::Contradiction));
        }
        self.startable = entries;
        let cancelled = self.transfer.cancelled.iter().copied();
        let known: Vec<FileIndex> = cancelled.filter(|&index| index < entries).collect();
        for index in known {
            self.steer(Scope::File(index), SteerAction::Cancel).await?;
        }
        Ok(())
    }

    fn on_have(
        &mut self,
        index: FileIndex,
        stamp: Option<Stamp>,
        first: u32,
        groups: &[Hash],
    ) -> Result<(), Ended> {
        let Some(size) = self.transfer.shared.table.lock().file_size(index) else {
            return Err(Ended::Misbehaved(Offence::NoSuchEntry));
        };
        if index >= self.planned {
            return Err(Ended::Misbehaved(Offence::NoSuchEntry));
        }
        let end = first.checked_add(groups.len() as u32);
        if end.is_none_or(|end| end > group_count(size)) {
            return Err(Ended::Misbehaved(Offence::WrongGroup));
        }
        let held = self.held.entry(index).or_default();
        held.stamp = stamp;
        for (group, hash) in (first..).zip(groups) {
            held.set(group, Some(*hash));
        }
        Ok(())
    }

    /// A file that was held, stopped or lost may be sent (again).
    fn release(&mut self, index: FileIndex) -> Result<(), Ended> {
        if index >= self.planned {
            return Err(Ended::Misbehaved(Offence::NoSuchEntry));
        }
        self.in_doubt.remove(&index);
        self.again.remove(&index);
        if let Some(active) = self.active.remove(&index) {
            // The receiver has given that stream up.
            active.abort.abort();
        }
        self.set_done_from_held(index);
        if self.transfer.first.contains(&index) {
            self.queue.push_front(index);
        } else {
            self.queue.push_back(index);
        }
        Ok(())
    }

    fn set_done_from_held(&mut self, index: FileIndex) {
        let mut table = self.transfer.shared.table.lock();
        // Progress counts each group once, when it is sent or found to be there already.
        if !matches!(table.state(index), Some(FileState::Settled(_))) {
            table.set_done(index, 0);
        }
    }

    fn on_again(&mut self, index: FileIndex, group: u32) -> Result<(), Ended> {
        let size = self.transfer.shared.table.lock().file_size(index);
        let Some(size) = size.filter(|_| index < self.planned) else {
            return Err(Ended::Misbehaved(Offence::NoSuchEntry));
        };
        // A file that grew since the offer has more groups; the receiver knows no more of it than
        // its last stream said, which cannot be much more.
        if group >= group_count(size.saturating_mul(2)).saturating_add(GROWN_GROUPS_MAX) {
            return Err(Ended::Misbehaved(Offence::WrongGroup));
        }
        if self.active.contains_key(&index) {
            let groups = self.again.entry(index).or_default();
            if groups.len() >= GROUPS_AGAIN_MAX {
                return Err(Ended::Misbehaved(Offence::WrongGroup));
            }
            groups.push(group);
            return Ok(());
        }
        let held = self
            .in_doubt
            .remove(&index)
            .or_else(|| self.held.remove(&index));
        let mut held = held.unwrap_or_default();
        held.forget(group);
        self.held.insert(index, held);
        self.queue.push_front(index);
        Ok(())
    }

    fn on_receipts(&mut self, receipts: &[Receipt]) -> Result<(), Ended> {
        let mut table = self.transfer.shared.table.lock();
        for receipt in receipts {
            if !self.accepted || receipt.index >= self.told {
                return Err(Ended::Misbehaved(Offence::NoSuchEntry));
            }
            if !table.takes(receipt) {
                return Err(Ended::Misbehaved(Offence::PathsTooLong));
            }
            self.in_doubt.remove(&receipt.index);
            self.held.remove(&receipt.index);
            self.transfer.cancelled.remove(&receipt.index);
            self.confirmed.insert(receipt.index);
            table.settle(receipt);
            // Sending may stand still: paused, or at a limit.
            if matches!(receipt.outcome, Outcome::Failed(_))
                && let Some(active) = self.active.remove(&receipt.index)
            {
                active.abort.abort();
            }
        }
        Ok(())
    }

    async fn on_steer(&mut self, steer: Steer) -> Result<(), Ended> {
        if let Scope::File(index) = steer.scope
            && index >= self.told
        {
            // Nothing that could be steered, and nothing to remember.
            return Ok(());
        }
        match steer.action {
            SteerAction::Pause(reason) => {
                let by = match reason {
                    PauseReason::Person => PausedBy::Peer,
                    PauseReason::DiskFull { .. } => PausedBy::DiskFull,
                };
                self.pause(steer.scope, by).await;
            }
            SteerAction::Resume => self.resume(steer.scope).await,
            SteerAction::Cancel => match steer.scope {
                Scope::Transfer => return Err(Ended::CancelledThere),
                Scope::File(index) => self.stop_file(index),
            },
            SteerAction::First => {
                if let Scope::File(index) = steer.scope {
                    self.put_first(index);
                }
            }
        }
        Ok(())
    }

    async fn pause(&mut self, scope: Scope, by: PausedBy) {
        self.transfer.pauses.send_modify(|p| p.pause(scope, by));
        match scope {
            Scope::Transfer => {
                self.transfer.reporter.tell(News::PausedBy(Some(by))).await;
                if self.accepted {
                    self.transfer.reporter.event(TransferEvent::Pause).await;
                }
            }
            Scope::File(index) => {
                self.transfer
                    .shared
                    .table
                    .lock()
                    .set_state(index, FileState::Paused);
            }
        }
    }

    async fn resume(&mut self, scope: Scope) {
        let was_paused = self.transfer.paused_by().is_some();
        self.transfer.pauses.send_modify(|p| p.resume(scope));
        match scope {
            Scope::Transfer if was_paused => {
                self.transfer.reporter.tell(News::PausedBy(None)).await;
                if self.accepted {
                    self.transfer.reporter.event(TransferEvent::Resume).await;
                }
            }
            Scope::Transfer => {}
            Scope::File(index) => {
                if self.parked.remove(&index) {
                    self.queue.push_front(index);
                }
                let state = match self.active.contains_key(&index) {
                    true => FileState::Active,
                    false => FileState::Waiting,
                };
                self.transfer.shared.table.lock().set_state(index, state);
            }
        }
    }

    fn stop_file(&mut self, index: FileIndex) {
        if let Some(active) = self.active.remove(&index) {
            active.abort.abort();
        }
        self.queue.remove(index);
        self.parked.remove(&index);
    }

    /// The receiver is told as soon as it knows the file; until it confirms, nothing is certain,
    /// because the file may be complete already.
    async fn cancel_file(&mut self, index: FileIndex) -> Result<(), Ended> {
        if self.confirmed.has(index) || index >= self.transfer.shared.table.lock().len() {
            return Ok(());
        }
        self.stop_file(index);
        self.transfer.cancelled.insert(index);
        if index < self.startable {
            self.steer(Scope::File(index), SteerAction::Cancel).await?;
        }
        Ok(())
    }

    fn put_first(&mut self, index: FileIndex) {
        self.transfer.first.insert(index);
        if self.queue.remove(index) {
            self.queue.push_front(index);
        }
    }

    async fn on_order(&mut self, order: Order) -> Result<(), Ended> {
        match order {
            Order::Pause(scope) => {
                self.pause(scope, PausedBy::Us).await;
                self.steer(scope, SteerAction::Pause(PauseReason::Person))
                    .await
            }
            Order::Resume(scope) => {
                self.resume(scope).await;
                self.steer(scope, SteerAction::Resume).await
            }
            Order::Cancel(Scope::Transfer) => {
                self.steer(Scope::Transfer, SteerAction::Cancel).await?;
                Err(Ended::CancelledHere)
            }
            Order::Cancel(Scope::File(index)) => self.cancel_file(index).await,
            Order::First(index) => {
                self.put_first(index);
                Ok(())
            }
            Order::Attach(paths) => {
                self.attach(paths);
                Ok(())
            }
            Order::Answer(_) => Ok(()),
        }
    }

    async fn steer(&mut self, scope: Scope, action: SteerAction) -> Result<(), Ended> {
        self.send(SenderMessage::Steer(Steer { scope, action }))
            .await
    }

    fn attach(&mut self, paths: Vec<PathBuf>) {
        let (sources, table) = (
            self.transfer.sources.clone(),
            self.transfer.shared.table.clone(),
        );
        self.scans
            .spawn_blocking(move || sources.add(&paths, &table));
    }

    async fn on_listed(
        &mut self,
        listed: Result<Listed, tokio::task::JoinError>,
    ) -> Result<(), Ended> {
        self.transfer.reporter.tell(News::Manifest).await;
        let listed = listed.unwrap_or_default();
        let fault = match listed.failed.into_iter().next() {
            _ if listed.full => Some(Fault::Invalid {
                why: "some files were not added: one transfer cannot hold more".into(),
            }),
            Some((path, reason)) => Some(Fault::Source { path, reason }),
            None => None,
        };
        if fault.is_some() {
            self.transfer.reporter.tell(News::Fault(fault)).await;
        }
        let told = self.tell_entries().await;
        // Also if the link is gone: the next one tells them.
        self.transfer.shared.table.lock().end_attach();
        told
    }

    /// Keeps enough files in flight.
    fn start_files(&mut self) {
        if self.startable != self.planned {
            return;
        }
        while let Some(index) = self.next_file() {
            let (path, size) = {
                let mut table = self.transfer.shared.table.lock();
                if self.confirmed.has(index) || self.transfer.cancelled.contains(&index) {
                    continue;
                }
                table.set_state(index, FileState::Active);
                (
                    table.path(index).to_owned(),
                    table.file_size(index).unwrap_or(0),
                )
            };
            let local = self
                .transfer
                .sources
                .local(index, &path)
                .unwrap_or_default();
            let job = Job {
                index,
                path: local,
                held: self.held.remove(&index).unwrap_or_default(),
                priority: i32::from(self.transfer.first.contains(&index)),
            };
            let (opener, shared) = (self.link.opener(), self.transfer.shared.clone());
            let abort = self
                .tasks
                .spawn(async move { (index, send_file(job, opener, shared).await) });
            self.active.insert(
                index,
                Active {
                    abort,
                    large: size > GROUP_LEN,
                },
            );
        }
    }

    /// Takes the next file that there is room for out of the queue.
    fn next_file(&mut self) -> Option<FileIndex> {
        let pauses = self.transfer.pauses.borrow();
        if pauses.all().is_some() {
            return None;
        }
        // Those that wait for a person must not stand in the way of those behind them.
        while let Some(paused) = self.queue.front().filter(|&index| pauses.has(index)) {
            self.queue.pop_front();
            self.parked.insert(paused);
        }
        // Files that are paused by themselves hold no place.
        let moving = self.active.iter().filter(|(i, _)| !pauses.has(**i));
        let large = moving.clone().filter(|(_, a)| a.large).count();
        let small = moving.count() - large;
        let front = self.queue.front()?;
        let is_large = |index| {
            self.transfer
                .shared
                .table
                .lock()
                .file_size(index)
                .is_some_and(|size| size > GROUP_LEN)
        };
        let fits = |index| match is_large(index) {
            true => large < LARGE_ACTIVE_MAX || self.transfer.first.contains(&index),
            false => small < SMALL_ACTIVE_MAX,
        };
        if fits(front) && !pauses.has(front) {
            return self.queue.pop_front();
        }
        // A large file at the front does not hold up small ones behind it, and the other way
        // round. Looking only so far keeps this cheap with 100,000 files.
        let found = {
            let mut looked = self.queue.iter().take(LOOK_AHEAD);
            looked.find(|&index| fits(index) && !pauses.has(index))?
        };
        self.queue.remove(found);
        Some(found)
    }

    async fn on_sent(
        &mut self,
        joined: Result<(FileIndex, Sent), tokio::task::JoinError>,
    ) -> Result<(), Ended> {
        let (index, sent) = match joined {
            Ok(done) => done,
            Err(error) if error.is_cancelled() => return Ok(()),
            Err(error) => {
                tracing::error!(%error, "sending a file panicked");
                return Err(Ended::Lost("a fault of this program".into()));
            }
        };
        self.active.remove(&index);
        match sent {
            Sent::Whole(held) => {
                if held.groups.len() > 1 && !self.confirmed.has(index) {
                    self.in_doubt.insert(index, held);
                }
                for group in self.again.remove(&index).unwrap_or_default() {
                    self.on_again(index, group)?;
                }
                Ok(())
            }
            Sent::Failed(reason) => self.give_up(index, reason).await,
            Sent::Stopped => Ok(()),
            Sent::Link(error) => Err(error.into()),
        }
    }

    async fn give_up(&mut self, index: FileIndex, reason: SourceFault) -> Result<(), Ended> {
        tracing::info!(?reason, index, "a file cannot be sent");
        self.send(SenderMessage::FileFailed { index, reason }).await
    }

    /// Says that nothing more will come, once every entry has its receipt.
    async fn finish_if_done(&mut self) -> Result<(), Ended> {
        if self.finishing || !self.accepted || !self.scans.is_empty() {
            return Ok(());
        }
        let entries = {
            let mut table = self.transfer.shared.table.lock();
            let all = table.len();
            if self.told != all || self.confirmed.count != all || !table.try_close() {
                return Ok(());
            }
            table.len()
        };
        self.finishing = true;
        self.send(SenderMessage::Finish { entries }).await
    }

    /// Leaves a lost link in a state that the next one can begin with.
    async fn leave(&mut self, ended: &Ended) {
        {
            let mut table = self.transfer.shared.table.lock();
            for &index in self.active.keys() {
                table.set_state(index, FileState::Waiting);
            }
        }
        if !matches!(ended, Ended::Lost(_)) {
            return;
        }
        // What is being attached goes over the next link.
        while self.scans.join_next().await.is_some() {
            self.transfer.shared.table.lock().end_attach();
            self.transfer.reporter.tell(News::Manifest).await;
        }
    }
}

/// Damaged groups of one file that are remembered while it is still being sent.
const GROUPS_AGAIN_MAX: usize = 4096;
/// Groups that a small file may have grown by since it was offered, and some more.
const GROWN_GROUPS_MAX: u32 = 256;
/// How far behind the front of the queue a file that may start is looked for.
const LOOK_AHEAD: usize = 256;
