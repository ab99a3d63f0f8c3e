//! Receiving over one link, from the acceptance on: streams in, verified files out, receipts back.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinError, JoinHandle, JoinSet};
use tokio::time::{Instant, Interval, MissedTickBehavior};

use super::control::{News, Order};
use super::deliver::{BATCH_MAX, Delivered, Delivery, deliver, done};
use super::ended::Ended;
use super::plan::{Check, Verdict, check, folder_times, part_tag, plan_entry, runs};
use super::receive_file::{FileEnd, Intake, Partial, receive_file};
use super::receiver::{Incoming, Taken, is_cancel, send};
use super::state::TransferEvent;
use super::status::{FileState, PausedBy};
use crate::fault::Fault;
use crate::net::link::{FileReader, Inbound, InboundEvent, LinkError, Offence};
use crate::protocol::groups::{GROUP_LEN, Hash, group_count};
use crate::protocol::message::{
    Code, Entry, FileHeader, FileIndex, HAVE_GROUPS_MAX, Outcome, PauseReason, Receipt,
    ReceiverMessage, Scope, SenderMessage, SinkFault, Steer, SteerAction,
};
use crate::storage::journal::Record;
use crate::storage::name::SafePath;

/// Entries that are planned in one go on the blocking pool.
const PLAN_MAX: u32 = 4096;
/// Bytes of complete small files that may wait in memory for their final names.
const READY_BYTES_MAX: usize = 16 * 1024 * 1024;
/// How long nothing may move while files are under way and nobody paused.
const STALL_MAX: Duration = Duration::from_secs(60);
/// How often the disk is looked at while it is full, and the link while nothing moves.
const TICK: Duration = Duration::from_secs(1);
/// Bytes of receipts in one message, leaving room for a last long one.
const RECEIPTS_LEN: usize = 48 * 1024;
/// Streams of one file that may wait for the one before.
const STREAMS_WAITING_MAX: usize = 2;
/// Parts of files that are not being received which stay open: a sender that begins many files and
/// ends none must not use up the files that a process may have open.
const PARTS_OPEN_MAX: usize = 64;
/// Room that must be free beyond what is still to come before a full disk counts as free again.
const ROOM_RESERVE: u64 = 1024 * 1024;

type FileDone = (Intake, Partial, FileEnd);

/// State of receiving over one link.
pub(super) struct Run<'a, L: Inbound> {
    incoming: &'a mut Incoming,
    link: L,
    /// Entries that are planned.
    planned: u32,
    /// Streams being read.
    active: HashMap<FileIndex, Active>,
    /// Streams of files whose stream before is still being read.
    waiting: HashMap<FileIndex, VecDeque<(FileHeader, L::Reader)>>,
    tasks: JoinSet<FileDone>,
    /// Complete files without final names.
    ready: VecDeque<Delivery>,
    /// Those and the ones that get their names just now: nothing more may come of them.
    whole: HashSet<FileIndex>,
    ready_bytes: usize,
    delivering: Option<JoinHandle<Vec<Delivered>>>,
    /// What there is of files that were held.
    checked: (
        mpsc::Sender<(FileIndex, Partial)>,
        mpsc::Receiver<(FileIndex, Partial)>,
    ),
    checks: JoinSet<()>,
    /// Files that wait for room on the disk.
    starved: HashSet<FileIndex>,
    /// Bytes of files that may be here already, as far as is known now.
    unchecked: u64,
    /// Files that are kept with their parts open, oldest first.
    open_parts: VecDeque<FileIndex>,
    finish: Option<u32>,
    tick: Interval,
    moved: (u64, Instant),
}

/// A stream that is being read.
struct Active {
    stop: oneshot::Sender<Code>,
    /// Whether some of the file is here already: then the sender may be silent for as long as it
    /// takes to compare it.
    compares: bool,
}

/// `steps` ends only by an [`Ended`].
enum Never {}

impl<'a, L: Inbound> Run<'a, L> {
    pub(super) fn new(incoming: &'a mut Incoming, link: L) -> Self {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            incoming,
            link,
            planned: 0,
            active: HashMap::new(),
            waiting: HashMap::new(),
            tasks: JoinSet::new(),
            ready: VecDeque::new(),
            whole: HashSet::new(),
            ready_bytes: 0,
            delivering: None,
            checked: mpsc::channel(64),
            checks: JoinSet::new(),
            starved: HashSet::new(),
            unchecked: 0,
            open_parts: VecDeque::new(),
            finish: None,
            tick,
            moved: (0, Instant::now()),
        }
    }

    /// Works until the transfer or the link ends, and gives the link back.
    pub(super) async fn work(mut self, orders: &mut mpsc::Receiver<Order>) -> (L, Ended) {
        let ended = match self.steps(orders).await {
            Ok(never) => match never {},
            Err(ended) => ended,
        };
        self.collect().await;
        (self.link, ended)
    }

    async fn steps(&mut self, orders: &mut mpsc::Receiver<Order>) -> Result<Never, Ended> {
        self.repeat_pause().await?;
        self.plan().await?;
        loop {
            self.deliver();
            self.complete_if_done().await?;
            // While files wait for the disk no more are taken in; QUIC slows the sender down.
            let room = self.ready_bytes < READY_BYTES_MAX && self.ready.len() < 8 * BATCH_MAX;
            tokio::select! {
                event = self.link.recv(), if room => self.on_event(event?).await?,
                Some(ended) = self.tasks.join_next() => self.on_file_end(ended).await?,
                Some(delivered) = wait(&mut self.delivering) => self.on_delivered(delivered).await?,
                Some((index, partial)) = self.checked.1.recv() => {
                    self.on_found(index, partial).await?;
                }
                order = orders.recv() => match order {
                    Some(order) => self.on_order(order).await?,
                    None => return Err(Ended::Lost("the program ends".into())),
                },
                _ = self.tick.tick() => self.on_tick().await?,
            }
        }
    }

    fn taken(&mut self) -> Result<&mut Taken, Ended> {
        self.incoming
            .taken
            .as_mut()
            .ok_or_else(|| Ended::Lost("nothing was accepted".into()))
    }

    /// Ends every stream, keeping what is verified, and finishes what is being delivered.
    async fn collect(&mut self) {
        for (_, active) in self.active.drain() {
            let _ = active.stop.send(Code::Paused);
        }
        self.waiting.clear();
        // Checks end at the next file or group; what they found so far is kept.
        self.checked.1.close();
        while let Some(joined) = self.tasks.join_next().await {
            if let Ok((intake, partial, end)) = joined {
                self.collect_file(&intake, partial, end).await;
            }
        }
        loop {
            self.deliver();
            let Some(delivered) = wait(&mut self.delivering).await else {
                break;
            };
            for delivered in delivered.unwrap_or_default() {
                if let Delivered::Settled(receipt) = delivered {
                    self.incoming.table.lock().settle(&receipt);
                }
            }
        }
        while let Some((index, partial)) = self.checked.1.recv().await {
            self.keep(index, partial);
        }
        self.checks.shutdown().await;
    }

    async fn collect_file(&mut self, intake: &Intake, partial: Partial, end: FileEnd) {
        let index = intake.index;
        if self.is_settled(index) {
            return discard(partial).await;
        }
        match end {
            FileEnd::Whole { small, hash } => self.make_ready(intake, partial, small, hash),
            FileEnd::Identical { .. } | FileEnd::Open { .. } | FileEnd::Stopped => {
                self.keep(index, partial);
            }
            FileEnd::NoSpace | FileEnd::Lost(_) => self.keep(index, partial),
            FileEnd::Damaged | FileEnd::Exists | FileEnd::Grown => discard(partial).await,
            FileEnd::CannotWrite(_) => discard(partial).await,
        }
    }

    /// A file is complete and waits for its final name.
    fn make_ready(&mut self, intake: &Intake, partial: Partial, small: Option<Bytes>, hash: Hash) {
        if let Some(delivery) = Delivery::new(intake, partial, small, hash) {
            self.whole.insert(intake.index);
            self.ready_bytes += delivery.memory();
            self.ready.push_back(delivery);
        }
    }

    /// Shows where a file is, if nobody paused it.
    fn show(&self, index: FileIndex, state: FileState) {
        let state = match self.incoming.pauses.has(index) {
            true => FileState::Paused,
            false => state,
        };
        self.incoming.table.lock().set_state(index, state);
    }

    fn is_settled(&self, index: FileIndex) -> bool {
        let state = self.incoming.table.lock().state(index);
        matches!(state, Some(FileState::Settled(_)))
    }

    fn keep(&mut self, index: FileIndex, partial: Partial) {
        self.show(index, FileState::Waiting);
        let Some(taken) = &mut self.incoming.taken else {
            return;
        };
        let open = partial.is_open();
        taken.partials.insert(index, partial);
        if !open {
            return;
        }
        self.open_parts.push_back(index);
        if self.open_parts.len() > PARTS_OPEN_MAX
            && let Some(oldest) = self.open_parts.pop_front()
            && let Some(partial) = taken.partials.get_mut(&oldest)
            && let Ok(path) = SafePath::parse(self.incoming.table.lock().path(oldest))
        {
            partial.close(&taken.rules.folder, path);
        }
    }

    async fn send(&mut self, message: ReceiverMessage) -> Result<(), Ended> {
        send(&mut self.link, message).await
    }

    async fn steer(&mut self, scope: Scope, action: SteerAction) -> Result<(), Ended> {
        self.send(ReceiverMessage::Steer(Steer { scope, action }))
            .await
    }

    /// A pause outlives the link that it was made on.
    async fn repeat_pause(&mut self) -> Result<(), Ended> {
        match self.incoming.pauses.all() {
            None => Ok(()),
            // The sender's pause is the sender's to repeat; of the disk we see for ourselves.
            Some(PausedBy::DiskFull | PausedBy::Peer) => {
                self.incoming.pauses.resume(Scope::Transfer);
                self.incoming.reporter.tell(News::PausedBy(None)).await;
                Ok(())
            }
            Some(PausedBy::Us) => {
                self.incoming.reporter.event(TransferEvent::Pause).await;
                self.steer(Scope::Transfer, SteerAction::Pause(PauseReason::Person))
                    .await
            }
        }
    }

    /// Decides about all entries that have come since the last plan.
    async fn plan(&mut self) -> Result<(), Ended> {
        while let Some(verdicts) = self.next_verdicts().await? {
            let actions = runs(verdicts.iter().map(Verdict::action));
            self.planned += verdicts.len() as u32;
            self.send(ReceiverMessage::Plan(actions)).await?;
            let mut receipts = Vec::new();
            let mut checks = Vec::new();
            let mut begun = Vec::new();
            for verdict in verdicts {
                match verdict {
                    Verdict::Send => {}
                    Verdict::Begun(index) => begun.push(index),
                    Verdict::Check(check) => checks.push(check),
                    Verdict::Settle(receipt) => receipts.push(receipt),
                }
            }
            self.settle(receipts).await?;
            self.check(checks)?;
            for index in begun {
                if let Some(partial) = self.taken()?.partials.remove(&index) {
                    self.on_checked(index, partial).await?;
                }
            }
        }
        self.check_room().await?;
        let entries = self.planned;
        self.send(ReceiverMessage::Start { entries }).await
    }

    /// Files that were added later are subject to the limit of room, too: what does not fit waits,
    /// instead of filling the disk.
    async fn check_room(&mut self) -> Result<(), Ended> {
        let needed = self.incoming.table.lock().bytes_left();
        let rules = self.taken()?.rules.clone();
        match rules.folder.space() {
            Ok(space) if needed.saturating_sub(self.unchecked) > space.free => self.full().await,
            Ok(_) | Err(_) => Ok(()),
        }
    }

    async fn next_verdicts(&mut self) -> Result<Option<Vec<Verdict>>, Ended> {
        let from = self.planned;
        let table = self.incoming.table.clone();
        let taken = self.taken()?;
        let rules = taken.rules.clone();
        let entries: Vec<(Entry, Option<Verdict>)> = {
            let table = table.lock();
            let end = table.len().min(from + PLAN_MAX);
            let known = |index| match table.receipt(index) {
                Some(receipt) => Some(Verdict::Settle(receipt)),
                None => taken
                    .partials
                    .contains_key(&index)
                    .then_some(Verdict::Begun(index)),
            };
            (from..end)
                .filter_map(|i| Some((table.entry(i)?, known(i))))
                .collect()
        };
        if entries.is_empty() {
            return Ok(None);
        }
        let work = move || {
            let plan = |(index, (entry, known)): (FileIndex, (Entry, Option<Verdict>))| {
                known.unwrap_or_else(|| plan_entry(index, &entry, &rules))
            };
            (from..).zip(entries).map(plan).collect()
        };
        let verdicts = tokio::task::spawn_blocking(work).await;
        Ok(Some(verdicts.map_err(|e| Ended::Lost(e.to_string()))?))
    }

    /// Finds out in the background what there is of held files.
    fn check(&mut self, checks: Vec<Check>) -> Result<(), Ended> {
        if checks.is_empty() {
            return Ok(());
        }
        for check in &checks {
            let mut table = self.incoming.table.lock();
            table.set_state(check.index, FileState::Checking);
            self.unchecked += check.size;
        }
        let (rules, id) = (self.taken()?.rules.clone(), self.incoming.id);
        let found = self.checked.0.clone();
        self.checks.spawn_blocking(move || {
            for held in checks {
                let tag = part_tag(id, held.index);
                let partial = check(&held, &rules.folder, tag, &|| !found.is_closed());
                if found.blocking_send((held.index, partial)).is_err() {
                    return;
                }
            }
        });
        Ok(())
    }

    /// A file that was held was looked at.
    async fn on_found(&mut self, index: FileIndex, partial: Partial) -> Result<(), Ended> {
        let size = self.incoming.table.lock().file_size(index).unwrap_or(0);
        self.unchecked = self.unchecked.saturating_sub(size);
        self.on_checked(index, partial).await
    }

    /// Tells the sender what there is of a file, which lets it come.
    async fn on_checked(&mut self, index: FileIndex, mut partial: Partial) -> Result<(), Ended> {
        if self.is_settled(index) {
            discard(partial).await;
            return Ok(());
        }
        partial.asked.clear();
        let stamp = partial.stamp;
        let mut pages: VecDeque<(u32, Vec<[u8; 32]>)> = VecDeque::new();
        {
            let mut table = self.incoming.table.lock();
            let size = table.file_size(index).unwrap_or(0);
            table.set_done(index, partial.bytes().min(size));
            let count = group_count(size);
            for (group, hash) in (0..count).zip(&partial.groups) {
                let Some(hash) = hash else { continue };
                match pages.back_mut() {
                    Some((first, page))
                        if *first + page.len() as u32 == group && page.len() < HAVE_GROUPS_MAX =>
                    {
                        page.push(*hash);
                    }
                    Some(_) | None => pages.push_back((group, vec![*hash])),
                }
            }
        }
        self.keep(index, partial);
        let mut last = pages.pop_back().unwrap_or_default();
        for (first, groups) in pages {
            self.send(ReceiverMessage::Have {
                index,
                stamp,
                first,
                groups,
                more: true,
            })
            .await?;
        }
        let groups = std::mem::take(&mut last.1);
        self.send(ReceiverMessage::Have {
            index,
            stamp,
            first: last.0,
            groups,
            more: false,
        })
        .await
    }

    async fn on_event(&mut self, event: InboundEvent<L::Reader>) -> Result<(), Ended> {
        match event {
            InboundEvent::File(header, reader) => self.on_file(header, reader).await,
            InboundEvent::Message(message) => self.on_message(message).await,
        }
    }

    async fn on_message(&mut self, message: SenderMessage) -> Result<(), Ended> {
        match message {
            SenderMessage::Entries(entries) if self.finish.is_none() => {
                match self.incoming.push(&entries)? {
                    true => Ok(()),
                    false => Err(Ended::Lost("there are too many files at once".into())),
                }
            }
            SenderMessage::EntriesEnd { entries } if self.finish.is_none() => {
                if entries != self.incoming.table.lock().len() {
                    return Err(Ended::Misbehaved(Offence::Contradiction));
                }
                self.incoming.reporter.tell(News::Manifest).await;
                self.plan().await
            }
            SenderMessage::FileFailed { index, reason } => {
                if index >= self.planned {
                    return Err(Ended::Misbehaved(Offence::NoSuchEntry));
                }
                self.give_up(index, SinkFault::Source(reason)).await
            }
            SenderMessage::Steer(steer) if is_cancel(steer) => Err(Ended::CancelledThere),
            SenderMessage::Steer(steer) => self.on_steer(steer).await,
            SenderMessage::Finish { entries } if self.finish.is_none() => {
                if entries != self.planned {
                    return Err(Ended::Misbehaved(Offence::Contradiction));
                }
                self.finish = Some(entries);
                Ok(())
            }
            SenderMessage::Entries(_)
            | SenderMessage::EntriesEnd { .. }
            | SenderMessage::Finish { .. } => Err(Ended::Misbehaved(Offence::UnexpectedMessage)),
        }
    }

    async fn on_steer(&mut self, steer: Steer) -> Result<(), Ended> {
        if let Scope::File(index) = steer.scope
            && index >= self.incoming.table.lock().len()
        {
            // The sender's person was quicker than the list; there is nothing to remember.
            return Ok(());
        }
        match (steer.action, steer.scope) {
            (SteerAction::Pause(_), scope) => {
                self.pause(scope, PausedBy::Peer).await;
                Ok(())
            }
            (SteerAction::Resume, scope) => self.resume(scope).await,
            (SteerAction::Cancel, Scope::File(index)) => {
                self.give_up(index, SinkFault::Cancelled).await
            }
            (SteerAction::Cancel, Scope::Transfer) | (SteerAction::First, _) => Ok(()),
        }
    }

    async fn pause(&mut self, scope: Scope, by: PausedBy) {
        self.incoming.pauses.pause(scope, by);
        match scope {
            Scope::Transfer => {
                self.incoming.reporter.tell(News::PausedBy(Some(by))).await;
                self.incoming.reporter.event(TransferEvent::Pause).await;
            }
            Scope::File(index) => self
                .incoming
                .table
                .lock()
                .set_state(index, FileState::Paused),
        }
    }

    async fn resume(&mut self, scope: Scope) -> Result<(), Ended> {
        let paused = self.incoming.pauses.all();
        self.incoming.pauses.resume(scope);
        match (scope, paused) {
            (Scope::File(index), _) => {
                let active = self.active.contains_key(&index);
                let state = if active {
                    FileState::Active
                } else {
                    FileState::Waiting
                };
                self.incoming.table.lock().set_state(index, state);
                Ok(())
            }
            (Scope::Transfer, None) => Ok(()),
            (Scope::Transfer, Some(_)) => {
                self.moved.1 = Instant::now();
                self.incoming.reporter.tell(News::PausedBy(None)).await;
                self.incoming.reporter.tell(News::Fault(None)).await;
                self.incoming.reporter.event(TransferEvent::Resume).await;
                self.feed().await
            }
        }
    }

    /// Lets the files come that waited for room on the disk.
    async fn feed(&mut self) -> Result<(), Ended> {
        for index in std::mem::take(&mut self.starved) {
            let id = self.incoming.id;
            let partial = self.taken()?.partials.remove(&index);
            let partial = partial.unwrap_or_else(|| Partial::new(part_tag(id, index)));
            self.on_checked(index, partial).await?;
        }
        Ok(())
    }

    async fn on_file(&mut self, header: FileHeader, reader: L::Reader) -> Result<(), Ended> {
        let index = header.index;
        if index >= self.planned {
            return Err(Ended::Misbehaved(Offence::NotAskedFor));
        }
        if self.whole.contains(&index) {
            // It crossed with a group that made the file complete.
            reader.stop(Code::Cancelled);
            return Ok(());
        }
        if self.active.contains_key(&index) {
            let waiting = self.waiting.entry(index).or_default();
            if waiting.len() >= STREAMS_WAITING_MAX {
                return Err(Ended::Misbehaved(Offence::NotAskedFor));
            }
            waiting.push_back((header, reader));
            return Ok(());
        }
        self.begin_file(header, reader).await
    }

    async fn begin_file(&mut self, header: FileHeader, reader: L::Reader) -> Result<(), Ended> {
        let index = header.index;
        let (name, offered) = {
            let table = self.incoming.table.lock();
            let settled = matches!(table.state(index), Some(FileState::Settled(_)));
            match (settled, table.file_size(index)) {
                // It crossed with the message that it is not wanted any more.
                (true, _) => {
                    reader.stop(Code::Cancelled);
                    return Ok(());
                }
                (false, None) => return Err(Ended::Misbehaved(Offence::NotAskedFor)),
                (false, Some(size)) => (table.path(index).to_owned(), size),
            }
        };
        if !self.fits(&header) {
            // Grown, or added without asking whether there is room. Refused before a list of
            // its groups is made, which for the largest files would be gigabytes.
            reader.stop(Code::Paused);
            return self.on_full(index).await;
        }
        let path = SafePath::parse(&name).map_err(|_| Ended::Misbehaved(Offence::NotAskedFor))?;
        let (table, progress) = (self.incoming.table.clone(), self.incoming.progress.clone());
        let id = self.incoming.id;
        let taken = self.taken()?;
        let partial = taken.partials.remove(&index);
        let partial = partial.unwrap_or_else(|| Partial::new(part_tag(id, index)));
        let intake = Intake {
            index,
            header,
            offered,
            name,
            path,
            folder: taken.rules.folder.clone(),
            policy: taken.rules.policy,
            journal: taken.journal.clone(),
            table,
            progress,
        };
        self.show(index, FileState::Active);
        let (stop, stopped) = oneshot::channel();
        let compares = partial.groups.iter().any(Option::is_some);
        self.active.insert(index, Active { stop, compares });
        self.tasks
            .spawn(receive_file(intake, partial, reader, stopped));
        Ok(())
    }

    /// Whether there is room for what is missing of a file.
    fn fits(&self, header: &FileHeader) -> bool {
        if header.size <= GROUP_LEN {
            // Asking the disk for each small file would cost more than writing it.
            return true;
        }
        let Some(taken) = &self.incoming.taken else {
            return false;
        };
        let partial = taken.partials.get(&header.index);
        let missing = header
            .size
            .saturating_sub(partial.map_or(0, Partial::bytes));
        let free = taken.rules.folder.space().map_or(0, |space| space.free);
        missing <= free
    }

    async fn on_file_end(&mut self, joined: Result<FileDone, JoinError>) -> Result<(), Ended> {
        let (intake, partial, end) = joined.map_err(|error| {
            tracing::error!(%error, "receiving a file panicked");
            Ended::Lost("a fault of this program".into())
        })?;
        let index = intake.index;
        self.active.remove(&index);
        match end {
            FileEnd::Lost(LinkError::Offence(offence)) => {
                self.keep(index, partial);
                return Err(Ended::Misbehaved(offence));
            }
            // Given up meanwhile.
            _ if self.is_settled(index) => discard(partial).await,
            end => self.on_end(intake, partial, end).await?,
        }
        let Some(mut waiting) = self.waiting.remove(&index) else {
            return Ok(());
        };
        if self.is_settled(index) || self.whole.contains(&index) {
            for (_, reader) in waiting {
                reader.stop(Code::Cancelled);
            }
        } else if let Some((header, reader)) = waiting.pop_front() {
            self.waiting.insert(index, waiting);
            self.begin_file(header, reader).await?;
        }
        Ok(())
    }

    async fn on_end(
        &mut self,
        intake: Intake,
        partial: Partial,
        end: FileEnd,
    ) -> Result<(), Ended> {
        let index = intake.index;
        match end {
            FileEnd::Whole { small, hash } => {
                self.make_ready(&intake, partial, small, hash);
                Ok(())
            }
            FileEnd::Identical { hash } => {
                let (outcome, hash) = (Outcome::Identical, Some(hash));
                self.settle(vec![Receipt {
                    index,
                    outcome,
                    saved_as: None,
                    hash,
                }])
                .await
            }
            FileEnd::Open { again } => {
                self.keep(index, partial);
                for group in again {
                    self.send(ReceiverMessage::Again { index, group }).await?;
                }
                Ok(())
            }
            FileEnd::Damaged => self.drop_file(partial, index, SinkFault::Damaged).await,
            FileEnd::Exists => self.exists(index).await,
            FileEnd::Grown => {
                let fault = SinkFault::Source(crate::protocol::message::SourceFault::Changing);
                self.drop_file(partial, index, fault).await
            }
            FileEnd::NoSpace => {
                self.keep(index, partial);
                self.on_full(index).await
            }
            FileEnd::CannotWrite(why) => {
                discard(partial).await;
                self.cannot_write(index, why).await
            }
            FileEnd::Stopped => {
                self.keep(index, partial);
                Ok(())
            }
            FileEnd::Lost(error) => {
                self.keep(index, partial);
                match error {
                    LinkError::Offence(offence) => Err(Ended::Misbehaved(offence)),
                    // The sender gave up this stream only; it says what comes instead. If the
                    // whole link is gone, the link itself says so.
                    LinkError::Closed(_) | LinkError::Lost(_) => Ok(()),
                }
            }
        }
    }

    async fn exists(&mut self, index: FileIndex) -> Result<(), Ended> {
        let outcome = match self.taken()?.rules.policy {
            crate::config::ConflictPolicy::Skip => Outcome::Skipped,
            crate::config::ConflictPolicy::Fail
            | crate::config::ConflictPolicy::Rename
            | crate::config::ConflictPolicy::Overwrite => Outcome::Failed(SinkFault::Exists),
        };
        self.settle(vec![Receipt {
            index,
            outcome,
            saved_as: None,
            hash: None,
        }])
        .await
    }

    async fn cannot_write(&mut self, index: FileIndex, why: String) -> Result<(), Ended> {
        let path = {
            let table = self.incoming.table.lock();
            self.incoming.terms.folder.join(table.path(index))
        };
        tracing::warn!(index, why, "a file cannot be written");
        let fault = Fault::CannotWrite { path, why };
        self.incoming.reporter.tell(News::Fault(Some(fault))).await;
        self.give_up(index, SinkFault::CannotWrite).await
    }

    async fn drop_file(
        &mut self,
        partial: Partial,
        index: FileIndex,
        fault: SinkFault,
    ) -> Result<(), Ended> {
        discard(partial).await;
        self.give_up(index, fault).await
    }

    /// Settles an entry as failed; a stream of it that is being read is stopped.
    async fn give_up(&mut self, index: FileIndex, fault: SinkFault) -> Result<(), Ended> {
        if let Some(at) = self.ready.iter().position(|ready| ready.index() == index) {
            if let Some(delivery) = self.ready.remove(at) {
                self.ready_bytes -= delivery.memory();
                let _ = tokio::task::spawn_blocking(move || delivery.discard()).await;
            }
            self.whole.remove(&index);
        }
        // What is getting its name just now is complete, and stays.
        if self.whole.contains(&index) || self.is_settled(index) {
            return Ok(());
        }
        if let Some(active) = self.active.remove(&index) {
            let _ = active.stop.send(Code::Cancelled);
        }
        self.starved.remove(&index);
        if let Some(partial) = self.taken()?.partials.remove(&index) {
            discard(partial).await;
        }
        let outcome = Outcome::Failed(fault);
        self.settle(vec![Receipt {
            index,
            outcome,
            saved_as: None,
            hash: None,
        }])
        .await
    }

    /// Settles entries, here, in the journal and at the sender.
    async fn settle(&mut self, receipts: Vec<Receipt>) -> Result<(), Ended> {
        let mut records = Vec::new();
        {
            let mut table = self.incoming.table.lock();
            for receipt in &receipts {
                if table.settle(receipt) {
                    records.push(done(table.path(receipt.index).to_owned(), receipt));
                }
            }
        }
        if !records.is_empty() {
            self.taken()?.journal.append(&records);
        }
        self.send_receipts(receipts).await
    }

    async fn send_receipts(&mut self, receipts: Vec<Receipt>) -> Result<(), Ended> {
        let mut page = Vec::new();
        let mut len = 0;
        for receipt in receipts {
            let this = 64 + receipt.saved_as.as_ref().map_or(0, String::len);
            if len + this > RECEIPTS_LEN && !page.is_empty() {
                self.send(ReceiverMessage::Settled(std::mem::take(&mut page)))
                    .await?;
                len = 0;
            }
            len += this;
            page.push(receipt);
        }
        if page.is_empty() {
            Ok(())
        } else {
            self.send(ReceiverMessage::Settled(page)).await
        }
    }

    /// Starts the next batch if none is under way: while it runs, the one after it gathers.
    fn deliver(&mut self) {
        if self.delivering.is_some() || self.ready.is_empty() {
            return;
        }
        let Some(taken) = &self.incoming.taken else {
            return;
        };
        let count = self.ready.len().min(BATCH_MAX);
        let batch: Vec<Delivery> = self.ready.drain(..count).collect();
        self.ready_bytes -= batch.iter().map(Delivery::memory).sum::<usize>();
        let (rules, journal) = (taken.rules.clone(), taken.journal.clone());
        let work = move || deliver(batch, &rules.folder, rules.policy, &journal);
        self.delivering = Some(tokio::task::spawn_blocking(work));
    }

    async fn on_delivered(
        &mut self,
        delivered: Result<Vec<Delivered>, JoinError>,
    ) -> Result<(), Ended> {
        let delivered = delivered.map_err(|error| {
            tracing::error!(%error, "delivering files panicked");
            Ended::Lost("a fault of this program".into())
        })?;
        let mut receipts = Vec::with_capacity(delivered.len());
        for delivered in delivered {
            self.whole.remove(&delivered.index());
            match delivered {
                Delivered::Settled(receipt) => receipts.push(receipt),
                Delivered::NoSpace(index) => self.on_full(index).await?,
                Delivered::CannotWrite(index, why) => self.cannot_write(index, why).await?,
            }
        }
        {
            let mut table = self.incoming.table.lock();
            for receipt in &receipts {
                table.settle(receipt);
            }
        }
        self.send_receipts(receipts).await
    }

    /// The disk is full: everything waits, both sides know, and it goes on by itself.
    async fn on_full(&mut self, index: FileIndex) -> Result<(), Ended> {
        self.show(index, FileState::Waiting);
        self.starved.insert(index);
        self.full().await
    }

    async fn full(&mut self) -> Result<(), Ended> {
        // A person's pause stays one: when it ends, the disk shows what it can take.
        if self.incoming.pauses.all().is_some() {
            return Ok(());
        }
        let needed = self.incoming.table.lock().bytes_left();
        let rules = self.taken()?.rules.clone();
        let free = rules.folder.space().map_or(0, |space| space.free);
        let missing = needed.saturating_sub(free).max(1);
        let folder = rules.folder.path().to_owned();
        let fault = Fault::DiskFull {
            folder,
            needed,
            free,
        };
        self.incoming.reporter.tell(News::Fault(Some(fault))).await;
        self.pause(Scope::Transfer, PausedBy::DiskFull).await;
        let action = SteerAction::Pause(PauseReason::DiskFull { missing });
        self.steer(Scope::Transfer, action).await
    }

    async fn on_order(&mut self, order: Order) -> Result<(), Ended> {
        match order {
            Order::Pause(scope) => {
                self.pause(scope, PausedBy::Us).await;
                self.steer(scope, SteerAction::Pause(PauseReason::Person))
                    .await
            }
            Order::Resume(scope) => {
                self.steer(scope, SteerAction::Resume).await?;
                self.resume(scope).await
            }
            Order::Cancel(Scope::Transfer) => {
                self.steer(Scope::Transfer, SteerAction::Cancel).await?;
                Err(Ended::CancelledHere)
            }
            Order::Cancel(Scope::File(index)) if index < self.incoming.table.lock().len() => {
                self.give_up(index, SinkFault::Cancelled).await
            }
            // No such file: somebody typed a wrong number.
            Order::Cancel(Scope::File(_)) => Ok(()),
            Order::First(index) => self.steer(Scope::File(index), SteerAction::First).await,
            Order::Attach(_) | Order::Answer(_) => Ok(()),
        }
    }

    async fn on_tick(&mut self) -> Result<(), Ended> {
        match self.incoming.pauses.all() {
            Some(PausedBy::DiskFull) => {
                let needed = self.incoming.table.lock().bytes_left();
                let rules = self.taken()?.rules.clone();
                let free = rules.folder.space().map_or(0, |space| space.free);
                if free >= needed.saturating_add(ROOM_RESERVE) {
                    self.steer(Scope::Transfer, SteerAction::Resume).await?;
                    self.resume(Scope::Transfer).await?;
                }
                Ok(())
            }
            Some(PausedBy::Us | PausedBy::Peer) => {
                self.moved.1 = Instant::now();
                Ok(())
            }
            None => self.check_stall(),
        }
    }

    fn check_stall(&mut self) -> Result<(), Ended> {
        let moved = self.incoming.progress.read().moved;
        let pauses = &self.incoming.pauses;
        let moving = match self.active.is_empty() {
            false => {
                let mut files = self.active.iter();
                files.any(|(&index, file)| !file.compares && !pauses.has(index))
            }
            // Files may come, none does, and it is not this side that holds them up.
            true => self.is_owed_files() && !pauses.has_any(),
        };
        if moved != self.moved.0 || !moving {
            self.moved = (moved, Instant::now());
        }
        if self.moved.1.elapsed() > STALL_MAX {
            return Err(Ended::Lost("nothing has come for a minute".into()));
        }
        Ok(())
    }

    /// Whether the sender could send files at once, and nothing here has to happen first.
    fn is_owed_files(&self) -> bool {
        let busy = self.delivering.is_some() || !self.ready.is_empty() || self.unchecked > 0;
        !busy && self.incoming.table.lock().settled() < self.planned
    }

    /// Ends the transfer once the sender said that it is all and everything is settled.
    async fn complete_if_done(&mut self) -> Result<(), Ended> {
        let all = {
            let table = self.incoming.table.lock();
            self.finish == Some(table.settled())
        };
        if !all {
            return Ok(());
        }
        let (table, taken) = (self.incoming.table.clone(), self.taken()?);
        taken.journal.append(&[Record::Complete]);
        let rules = taken.rules.clone();
        let work = move || set_folder_times(&table, &rules);
        let _ = tokio::task::spawn_blocking(work).await;
        self.send(ReceiverMessage::Complete).await?;
        Err(Ended::Completed)
    }
}

async fn discard(partial: Partial) {
    let _ = tokio::task::spawn_blocking(move || partial.discard()).await;
}

fn set_folder_times(table: &super::table::SharedTable, rules: &Arc<super::plan::Rules>) {
    let times = folder_times(&table.lock());
    for (path, modified) in times {
        if let Err(error) = rules.folder.set_folder_time(&path, modified) {
            tracing::debug!(%error, "the time of a folder cannot be set");
        }
    }
}

/// Waits for the batch that is under way, if there is one. Cancel-safe.
async fn wait(
    delivering: &mut Option<JoinHandle<Vec<Delivered>>>,
) -> Option<Result<Vec<Delivered>, JoinError>> {
    let done = delivering.as_mut()?.await;
    *delivering = None;
    Some(done)
}
