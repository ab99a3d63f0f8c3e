//! The sending side of a transfer (`send_files_to_peer`): offers the files, waits for the answer,
//! keeps files in flight, takes in what is attached, and ends when every entry has its receipt.
//!
//! One [`Outgoing`] lives as long as the transfer; [`Outgoing::run`] works over one link. What
//! the receiver has is always told by the receiver, so that a new link, or a new start of either
//! program, begins exactly like the first one.

mod actives;
mod confirmed;
mod files;
mod offering;
mod session;
mod steering;
mod will;

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, Interval};

use self::actives::Actives;
use self::confirmed::Confirmed;
use self::session::Part;
use self::will::Testament;
use super::control::{News, Order, Reporter};
use super::ended::Ended;
use super::holding::SharedHolding;
use super::member::Membership;
use super::pauses::Pauses;
use super::queue::{Lane, Queue};
use super::send_file::{Held, Job, Sent, Shared, send_file};
use super::sources::{Listed, Sources};
use super::state::TransferEvent;
use super::status::{FileState, PausedBy};
use crate::fault::Fault;
use crate::net::link::{LinkError, Offence, Outbound};
use crate::protocol::groups::{GROUP_LEN, Hash, group_count};
use crate::protocol::message::{
    Code, Entry, EntryKind, FileIndex, Outcome, PauseReason, PlanAction, PlanRun, Receipt,
    ReceiverMessage, Scope, SenderMessage, SourceFault, Stamp, Steer, SteerAction, TransferId,
};

/// How long a control message may wait for a peer that does not read.
const SEND_DEADLINE: Duration = Duration::from_secs(30);
/// How long nothing may move while files are under way and nobody paused: longer than the receiver
/// waits, who knows better what holds it up.
const STALL_MAX: Duration = Duration::from_secs(90);
/// How often that is looked at.
const TICK: Duration = Duration::from_secs(1);

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
    /// Its part in a session, if it is in one.
    member: Option<Membership>,
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
            member: None,
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
                self.tell_pause(scope, Some(PausedBy::Us)).await;
            }
            Order::Resume(scope) => {
                self.pauses.send_modify(|p| p.resume(scope));
                self.tell_pause(scope, None).await;
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
            Order::Answer(_) | Order::Displace | Order::Conflict(..) => {}
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
            holding: SharedHolding::default(),
            active: Actives::default(),
            in_doubt: HashMap::new(),
            again: HashMap::new(),
            asked_again: HashSet::new(),
            part: Part::default(),
            will: Testament::default(),
            lacks: false,
            hold_until: None,
            tasks: JoinSet::new(),
            scans: JoinSet::new(),
            accepted: false,
            finishing: false,
            is_behind: false,
            tick: tokio::time::interval(TICK),
            moved: (0, Instant::now()),
        };
        let ended = match run.work(orders).await {
            Ok(never) => match never {},
            Err(ended) => ended,
        };
        run.tasks.shutdown().await;
        run.note_behind(false).await;
        run.leave(&ended).await;
        run.leave_session(&ended).await;
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
    /// The same and more, for the one who decides in a session.
    holding: SharedHolding,
    active: Actives,
    /// What the receiver should have of large files without a receipt, in case it wants a part
    /// again.
    in_doubt: HashMap<FileIndex, Held>,
    /// Groups that arrived damaged while their file was still being sent.
    again: HashMap<FileIndex, Vec<u32>>,
    /// Files of which the receiver wanted something again: that is not referred elsewhere, unless
    /// it had no feeder then and has one now.
    asked_again: HashSet<FileIndex>,
    /// The receiver's part in the session.
    part: Part,
    /// What the receiver is told in case this program ends.
    will: Testament,
    /// Whether the receiver does not take everything: others would wait for the rest in vain.
    lacks: bool,
    /// Until when files wait for the word who sends them: here or another receiver.
    hold_until: Option<Instant>,
    tasks: JoinSet<(FileIndex, Sent)>,
    /// Attached paths being listed.
    scans: JoinSet<Listed>,
    accepted: bool,
    finishing: bool,
    /// Whether the receiver says that it waits for its own disk.
    is_behind: bool,
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
                Some(joined) = self.tasks.join_next_with_id() => self.on_sent(joined).await?,
                order = orders.recv() => match order {
                    Some(order) => self.on_order(order).await?,
                    None => return Err(Ended::Lost("the program ends".into())),
                },
                Some(listed) = self.scans.join_next() => self.on_listed(listed).await?,
                word = Outgoing::next_word(&mut self.transfer.member) => self.on_word(word).await?,
                // A page at a time, so that nothing else waits.
                () = std::future::ready(()), if self.will.is_due() => self.tell_will().await?,
                _ = self.tick.tick() => {
                    self.check_stall()?;
                    self.note_part().await;
                }
            }
        }
    }

    async fn send(&mut self, message: SenderMessage) -> Result<(), Ended> {
        match tokio::time::timeout(SEND_DEADLINE, self.link.send(message)).await {
            Ok(sent) => Ok(sent?),
            Err(_) => Err(Ended::Lost("the other side does not read".into())),
        }
    }

    async fn on_message(&mut self, message: ReceiverMessage) -> Result<(), Ended> {
        match message {
            ReceiverMessage::Known { .. } => Err(Ended::Misbehaved(Offence::UnexpectedMessage)),
            ReceiverMessage::Asked(room) if !self.accepted => {
                self.transfer.reporter.tell(News::PeerRoom(room)).await;
                Ok(())
            }
            ReceiverMessage::Asked(_) => Err(Ended::Misbehaved(Offence::UnexpectedMessage)),
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
            ReceiverMessage::PassesOn(passes_on) => self.on_passes_on(passes_on).await,
            ReceiverMessage::Progress { done, fed } => self.on_progress(done, &fed).await,
            ReceiverMessage::Trouble { feeder, trouble } => self.on_trouble(feeder, trouble).await,
            ReceiverMessage::CanGoOn(entries) => self.on_can_go_on(entries).await,
            ReceiverMessage::Holds(parts) => self.on_holds(parts),
            ReceiverMessage::Behind(is_behind) => {
                self.note_behind(is_behind).await;
                Ok(())
            }
        }
    }

    /// The same said once more is no news.
    async fn note_behind(&mut self, is_behind: bool) {
        if std::mem::replace(&mut self.is_behind, is_behind) != is_behind {
            let reporter = &self.transfer.reporter;
            reporter.tell(News::Behind(is_behind)).await;
        }
    }

    async fn on_accepted(&mut self) -> Result<(), Ended> {
        if self.accepted {
            return Err(Ended::Misbehaved(Offence::UnexpectedMessage));
        }
        self.accepted = true;
        self.hold_for_feeder();
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
        self.repeat_file_pauses().await
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
                PlanAction::Send => {
                    for index in self.planned..end {
                        self.queue.push_back(index, self.lane(index));
                    }
                }
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
            self.asked_again.remove(&receipt.index);
            self.confirmed.insert(receipt.index);
            table.settle(receipt);
            let lacks = matches!(receipt.outcome, Outcome::Skipped | Outcome::Failed(_));
            let is_here = !lacks && table.file_size(receipt.index).is_some();
            self.holding.change(|h| h.settle(receipt.index, is_here));
            self.lacks |= lacks;
            // Sending may stand still: paused, or at a limit.
            if matches!(receipt.outcome, Outcome::Failed(_)) {
                self.active.abort(receipt.index);
            }
        }
        Ok(())
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
            for index in self.active.indices() {
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
