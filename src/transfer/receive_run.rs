//! Receiving over one link, from the acceptance on: streams in, verified files out, receipts back.

mod conflicts;
mod files;
mod planning;
mod steering;

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinError, JoinHandle, JoinSet};
use tokio::time::{Instant, Interval, MissedTickBehavior};

use self::files::Unbegun;
use super::control::{News, Order, Reading};
use super::deliver::{BATCH_MAX, Delivered, Delivery, deliver, done};
use super::ended::Ended;
use super::partial::{Damage, Partial};
use super::plan::folder_times;
use super::receive_file::{FileEnd, Intake, Small};
use super::receiver::{Incoming, Taken, is_cancel, send};
use super::status::FileState;
use crate::net::link::{Inbound, InboundEvent, Offence};
use crate::protocol::groups::Hash;
use crate::protocol::message::{
    Code, FileHeader, FileIndex, Receipt, ReceiverMessage, Scope, SenderMessage, SinkFault, Steer,
    SteerAction,
};
use crate::storage::journal::Record;
use crate::storage::name::SafePath;

/// Entries that are planned in one go on the blocking pool.
const PLAN_MAX: u32 = 4096;
/// Weight of complete files that may wait for their final names: see [`Delivery::weight`]. Leaves
/// room for those that are still coming.
const READY_WEIGHT_MAX: usize = 6 * 1024 * 1024;
/// How long nothing may move while files are under way and nobody paused.
const STALL_MAX: Duration = Duration::from_secs(60);
/// How often the disk is looked at while it is full, and the link while nothing moves.
const TICK: Duration = Duration::from_secs(1);
/// Bytes of receipts in one message, leaving room for a last long one.
const RECEIPTS_LEN: usize = 48 * 1024;
/// Files of one group, and larger ones, that are received at once in a session: what an honest
/// sender has under way outside of one.
const SMALL_ACTIVE_MAX: usize = 64;
/// See [`SMALL_ACTIVE_MAX`].
const LARGE_ACTIVE_MAX: usize = 4;
/// Streams of one file that may wait for the one before.
const STREAMS_WAITING_MAX: usize = 2;
/// Parts of files that are not being received which stay open: a sender that begins many files and
/// ends none must not use up the files that a process may have open.
const PARTS_OPEN_MAX: usize = 64;
/// Room that must be free beyond what is still to come before a full disk counts as free again.
const ROOM_RESERVE: u64 = 1024 * 1024;

/// Both ends of the channel that checks of held files tell their results through.
type Checked = (
    mpsc::Sender<(FileIndex, Partial)>,
    mpsc::Receiver<(FileIndex, Partial)>,
);
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
    /// Streams that wait until there are fewer: in a session the sender begins files faster than
    /// their content comes from others. Bounded by what the link lets the sender open.
    unbegun: Unbegun<L::Reader>,
    tasks: JoinSet<FileDone>,
    /// Complete files without final names.
    ready: VecDeque<Delivery>,
    /// Those and the ones that get their names just now: nothing more may come of them.
    whole: HashSet<FileIndex>,
    /// Of the files in `ready` and of those that get their names just now.
    ready_weight: usize,
    delivering_weight: usize,
    delivering: Option<JoinHandle<Vec<Delivered>>>,
    /// What is known in case that the sender leaves, on its way to the disk.
    keeping: Option<JoinHandle<bool>>,
    /// What there is of files that were held.
    checked: Checked,
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
    /// What was waited for until the last tick, and whether the sender was told that it was the
    /// disk.
    waited: (Reading, bool),
}

/// A stream that is being read.
struct Active {
    /// Whether it has more than one group.
    large: bool,
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
        let waited = incoming.progress.read();
        Self {
            incoming,
            link,
            planned: 0,
            active: HashMap::new(),
            waiting: HashMap::new(),
            unbegun: Unbegun::default(),
            tasks: JoinSet::new(),
            ready: VecDeque::new(),
            whole: HashSet::new(),
            ready_weight: 0,
            delivering_weight: 0,
            delivering: None,
            keeping: None,
            checked: mpsc::channel(64),
            checks: JoinSet::new(),
            starved: HashSet::new(),
            unchecked: 0,
            open_parts: VecDeque::new(),
            finish: None,
            tick,
            moved: (0, Instant::now()),
            waited: (waited, false),
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
        self.repeat_pauses().await?;
        self.plan().await?;
        loop {
            self.deliver();
            self.complete_if_done().await?;
            if let Some(feed) = self.incoming.feed() {
                feed.set_pauses(&self.incoming.pauses);
            }
            // While files wait for the disk no more are taken in; QUIC slows the sender down.
            let room = self.ready_weight < READY_WEIGHT_MAX && self.ready.len() < 8 * BATCH_MAX;
            tokio::select! {
                event = self.link.recv(), if room => self.on_event(event?).await?,
                Some(ended) = self.tasks.join_next() => self.on_file_end(ended).await?,
                Some(delivered) = wait(&mut self.delivering) => self.on_delivered(delivered).await?,
                Some(kept) = wait(&mut self.keeping) => self.on_kept(kept).await?,
                Some((index, partial)) = self.checked.1.recv() => {
                    self.on_found(index, partial).await?;
                }
                order = orders.recv() => match order {
                    Some(order) => self.on_order(order).await?,
                    None => return Err(Ended::Lost("the program ends".into())),
                },
                (feeder, trouble) = Incoming::next_trouble(&mut self.incoming.session) => {
                    self.on_trouble(feeder, trouble).await?;
                }
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
        self.unbegun = Unbegun::default();
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
            self.ready_weight -= std::mem::take(&mut self.delivering_weight);
            for delivered in delivered.unwrap_or_default() {
                match delivered {
                    Delivered::Settled(receipt) => {
                        self.incoming.table.lock().settle(&receipt);
                    }
                    // Asked about over the next link, when its content is complete again.
                    Delivered::Taken(index, partial) => self.keep(index, *partial),
                    Delivered::NoSpace(_) | Delivered::CannotWrite(..) => {}
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
    fn make_ready(
        &mut self,
        intake: &Intake,
        mut partial: Partial,
        small: Option<Small>,
        hash: Hash,
    ) {
        let repaired = partial.damage.parts();
        if repaired > 0 {
            let mut table = self.incoming.table.lock();
            table.note_repaired(intake.index, repaired);
        }
        partial.damage = Damage::default();
        if let Some(delivery) = Delivery::new(intake, partial, small, hash) {
            self.whole.insert(intake.index);
            self.ready_weight += delivery.weight();
            self.ready.push_back(delivery);
        }
    }

    /// Shows where a file is, if nobody paused it and nobody is asked about it.
    fn show(&self, index: FileIndex, state: FileState) {
        let mut table = self.incoming.table.lock();
        let state = match (self.incoming.pauses.has(index), table.rival(index)) {
            (true, _) => FileState::Paused,
            (false, Some(_)) => FileState::Asking,
            (false, None) => state,
        };
        table.set_state(index, state);
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
        if partial.is_empty() {
            return;
        }
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
            SenderMessage::Feeder(feeder) => {
                let sender = self.link.path().addr;
                self.incoming.set_feeder(feeder, sender)
            }
            SenderMessage::WillFile(file) => self.incoming.take_will_file(file),
            SenderMessage::Will(heirs) => {
                let sender = self.link.path().addr;
                // Whether that is enough is looked at once a second: it takes a walk over all.
                self.incoming.take_heirs(heirs, sender)
            }
            SenderMessage::Entries(_)
            | SenderMessage::EntriesEnd { .. }
            | SenderMessage::Session(_)
            | SenderMessage::Finish { .. } => Err(Ended::Misbehaved(Offence::UnexpectedMessage)),
        }
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
        self.delivering_weight = batch.iter().map(Delivery::weight).sum();
        let with_policy = |delivery: Delivery| {
            let policy = taken.policy(delivery.name());
            (delivery, policy)
        };
        let batch = batch.into_iter().map(with_policy).collect();
        let (rules, journal) = (taken.rules.clone(), taken.journal.clone());
        let work = move || deliver(batch, &rules.folder, &journal);
        self.delivering = Some(tokio::task::spawn_blocking(work));
    }

    async fn on_delivered(
        &mut self,
        delivered: Result<Vec<Delivered>, JoinError>,
    ) -> Result<(), Ended> {
        self.ready_weight -= std::mem::take(&mut self.delivering_weight);
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
                Delivered::Taken(index, partial) => self.taken_name(index, *partial).await?,
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

/// Waits for what is under way in the background, if there is something. Cancel-safe.
async fn wait<T>(task: &mut Option<JoinHandle<T>>) -> Option<Result<T, JoinError>> {
    let done = task.as_mut()?.await;
    *task = None;
    Some(done)
}
