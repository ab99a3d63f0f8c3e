//! The receiving side of a transfer (`file_receiver`): takes in the manifest, asks the person,
//! checks the room, and then receives until everything is settled.
//!
//! One [`Incoming`] lives as long as the transfer; [`Incoming::run`] works over one link. What a
//! new link finds is decided by the journal and the disk alone, so that it does not matter whether
//! the connection broke or one of the programs was killed.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::budget::{Budget, Share};
use super::control::{Asking, Decision, News, Order, Progress, Reporter};
use super::deliver::done;
use super::ended::Ended;
use super::pauses::Pauses;
use super::plan::Rules;
use super::receive_file::{Partial, SharedJournal};
use super::receive_run::Run;
use super::state::TransferEvent;
use super::status::PausedBy;
use super::table::{FileTable, SharedTable};
use super::tops::{Tops, top_of};
use crate::config::ConflictPolicy;
use crate::fault::Fault;
use crate::net::link::{Inbound, InboundEvent, LinkError, Offence};
use crate::peer::PeerId;
use crate::protocol::message::{
    Code, DeclineReason, Entry, FileIndex, Outcome, Receipt, ReceiverMessage, Room, Scope,
    SenderMessage, SinkFault, SteerAction, TransferId,
};
use crate::storage::folder::Folder;
use crate::storage::journal::{Journal, JournalHead, Replay};

/// How long the sender may be silent while it sends its manifest.
const MANIFEST_DEADLINE: Duration = Duration::from_secs(60);
/// How long it may take for all of its manifest: the largest one over 1 Mbit/s.
const MANIFEST_MAX: Duration = Duration::from_secs(15 * 60);
/// How long a message may wait for a peer that does not read.
const SEND_DEADLINE: Duration = Duration::from_secs(30);

/// What an incoming transfer goes by.
#[derive(Debug, Clone)]
pub struct Terms {
    /// Where journals lie.
    pub journals: PathBuf,
    /// Where the files go, unless the person says otherwise.
    pub folder: PathBuf,
    /// What happens when a name is taken.
    pub on_conflict: ConflictPolicy,
    /// Whether the person need not be asked.
    pub accepted: bool,
    /// Whether the person has blocked this peer: it sees nobody answering.
    pub blocked: bool,
    /// How long an answer is waited for.
    pub answer_timeout: Duration,
    /// Memory for manifests, shared with other transfers.
    pub budget: Budget,
}

/// A transfer of a peer.
#[derive(Debug)]
pub struct Incoming {
    pub(super) id: TransferId,
    pub(super) peer: PeerId,
    pub(super) peer_name: String,
    pub(super) table: SharedTable,
    pub(super) progress: Arc<Progress>,
    pub(super) reporter: Reporter,
    pub(super) terms: Terms,
    pub(super) pauses: Pauses,
    pub(super) started: u64,
    /// There since the person accepted.
    pub(super) taken: Option<Taken>,
    /// Memory of the table.
    pub(super) share: Share,
}

/// What exists once the person has accepted.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) rules: Arc<Rules>,
    pub(super) journal: SharedJournal,
    /// What there is of files that are not complete.
    pub(super) partials: HashMap<FileIndex, Partial>,
}

/// Who and what an incoming transfer is.
#[derive(Debug)]
pub struct Who {
    /// The transfer.
    pub id: TransferId,
    /// The sender.
    pub peer: PeerId,
    /// Its name.
    pub peer_name: String,
    /// When the transfer started, in seconds since 1970.
    pub started: u64,
}

impl Incoming {
    /// A transfer that was not known before.
    pub fn new(
        who: Who,
        terms: Terms,
        table: SharedTable,
        progress: Arc<Progress>,
        reporter: Reporter,
    ) -> Self {
        let Who {
            id,
            peer,
            peer_name,
            started,
        } = who;
        let pauses = Pauses::default();
        let taken = None;
        let share = terms.budget.share();
        Self {
            id,
            peer,
            peer_name,
            table,
            progress,
            reporter,
            terms,
            pauses,
            started,
            taken,
            share,
        }
    }

    /// Continues what an earlier run of the program accepted: call once, before the first
    /// [`Incoming::run`].
    pub fn continue_from(
        &mut self,
        journal: Journal,
        head: JournalHead,
        replay: Replay,
    ) -> io::Result<()> {
        let rules = Rules {
            folder: Folder::open(&head.folder)?,
            policy: head.on_conflict,
            excluded: head.excluded.into_iter().collect(),
            replay: Some(replay),
        };
        self.terms.folder = head.folder;
        self.taken = Some(Taken {
            rules: Arc::new(rules),
            journal: SharedJournal::new(journal),
            partials: HashMap::new(),
        });
        Ok(())
    }

    /// Who paused the whole transfer.
    pub fn paused_by(&self) -> Option<PausedBy> {
        self.pauses.all()
    }

    /// Carries out an order while there is no link. Returns whether the transfer is given up.
    pub async fn offline_order(&mut self, order: Order) -> bool {
        match order {
            Order::Pause(scope) => {
                self.pauses.pause(scope, PausedBy::Us);
                if scope == Scope::Transfer {
                    self.reporter.tell(News::PausedBy(Some(PausedBy::Us))).await;
                }
            }
            Order::Resume(scope) => {
                self.pauses.resume(scope);
                if scope == Scope::Transfer {
                    self.reporter.tell(News::PausedBy(None)).await;
                }
            }
            Order::Cancel(Scope::Transfer) | Order::Answer(Decision::Decline) => return true,
            Order::Cancel(Scope::File(index)) => self.cancel_file(index).await,
            Order::First(_) | Order::Attach(_) => {}
            Order::Answer(Decision::Accept { .. }) => {}
        }
        false
    }

    /// The sender hears of it over the next link.
    async fn cancel_file(&mut self, index: FileIndex) {
        let receipt = Receipt {
            index,
            outcome: Outcome::Failed(SinkFault::Cancelled),
            saved_as: None,
            hash: None,
        };
        let path = {
            let mut table = self.table.lock();
            if !table.settle(&receipt) {
                return;
            }
            table.path(index).to_owned()
        };
        let Some(taken) = &mut self.taken else {
            return;
        };
        taken.journal.append(&[done(path, &receipt)]);
        if let Some(partial) = taken.partials.remove(&index) {
            let _ = tokio::task::spawn_blocking(move || partial.discard()).await;
        }
    }

    /// Whether the person has accepted.
    pub fn was_accepted(&self) -> bool {
        self.taken.is_some()
    }

    /// Who sends.
    pub fn peer(&self) -> PeerId {
        self.peer
    }

    /// Ends the transfer on disk: the journal goes, and with `discard` the partial files too.
    pub async fn close(&mut self, discard: bool) {
        let Some(taken) = self.taken.take() else {
            return;
        };
        let work = move || {
            if discard {
                taken.partials.into_values().for_each(Partial::discard);
                taken.rules.discard_parts();
            }
            if let Err(error) = taken.journal.remove() {
                tracing::warn!(%error, "the journal of an ended transfer cannot be removed");
            }
        };
        let _ = tokio::task::spawn_blocking(work).await;
    }

    /// Works over `link` until the transfer or the link ends. Not cancel-safe: dropping it loses
    /// the groups that are not complete, nothing else.
    pub async fn run<L: Inbound>(
        &mut self,
        mut link: L,
        orders: &mut mpsc::Receiver<Order>,
    ) -> Ended {
        let ended = match self.prepare(&mut link, orders).await {
            Err(ended) => ended,
            Ok(()) => match &mut self.taken {
                None => Ended::Lost("nothing was accepted".into()),
                Some(_) => {
                    let ended;
                    (link, ended) = Run::new(self, link).work(orders).await;
                    ended
                }
            },
        };
        let code = match &ended {
            Ended::Completed | Ended::CancelledHere | Ended::CancelledThere => Code::Done,
            Ended::Declined(_) => Code::Done,
            Ended::Lost(_) => Code::Internal,
            Ended::Misbehaved(_) => Code::Offence,
        };
        link.close(code).await;
        ended
    }

    /// Everything up to the acceptance.
    async fn prepare<L: Inbound>(
        &mut self,
        link: &mut L,
        orders: &mut mpsc::Receiver<Order>,
    ) -> Result<(), Ended> {
        self.reporter.event(TransferEvent::Offered).await;
        self.reporter.tell(News::Path(Some(link.path()))).await;
        self.manifest(link).await?;
        self.reporter.tell(News::Manifest).await;
        if self.taken.is_none() {
            self.ask(link, orders).await?;
        }
        link.consent();
        send(link, ReceiverMessage::Accepted).await?;
        self.reporter.event(TransferEvent::Accepted).await;
        Ok(())
    }

    /// Takes in the entries that are not known yet.
    async fn manifest<L: Inbound>(&mut self, link: &mut L) -> Result<(), Ended> {
        let head = link.head().clone();
        let known = {
            let table = self.table.lock();
            table.len() == head.entries && table.digest() == head.digest && head.entries > 0
        };
        if !known {
            self.forget_manifest().await?;
        }
        let entries = if known { head.entries } else { 0 };
        send(link, ReceiverMessage::Known { entries }).await?;
        let until = tokio::time::Instant::now() + MANIFEST_MAX;
        loop {
            let wait = until.min(tokio::time::Instant::now() + MANIFEST_DEADLINE);
            let next = tokio::time::timeout_at(wait, link.recv()).await;
            let event = next.map_err(|_| Ended::Misbehaved(Offence::Silent))??;
            match message(event)? {
                SenderMessage::Entries(entries) => self.take_in(link, &entries).await?,
                SenderMessage::EntriesEnd { entries } => {
                    let table = self.table.lock();
                    if entries != table.len() || entries < head.entries {
                        return Err(Ended::Misbehaved(Offence::Contradiction));
                    }
                    return Ok(());
                }
                SenderMessage::Steer(steer) if is_cancel(steer) => {
                    return Err(Ended::CancelledThere);
                }
                SenderMessage::Steer(_) | SenderMessage::FileFailed { .. } => {}
                SenderMessage::Finish { .. } => {
                    return Err(Ended::Misbehaved(Offence::UnexpectedMessage));
                }
            }
        }
    }

    /// Takes in entries before the acceptance. What there is no memory for is declined.
    async fn take_in<L: Inbound>(&mut self, link: &mut L, entries: &[Entry]) -> Result<(), Ended> {
        match self.push(entries)? {
            true => Ok(()),
            false => self.decline(link, DeclineReason::Busy).await,
        }
    }

    /// Appends entries. `false` if the manifests of all transfers take too much memory.
    pub(super) fn push(&mut self, entries: &[Entry]) -> Result<bool, Ended> {
        if entries.is_empty() {
            // Would keep a transfer without files waiting for ever.
            return Err(Ended::Misbehaved(Offence::UnexpectedMessage));
        }
        let mut table = self.table.lock();
        for entry in entries {
            table.push(entry).map_err(Ended::Misbehaved)?;
        }
        Ok(self.share.cover(table.memory()))
    }

    /// The sender lists its files anew: what is done and begun is taken from the journal, which
    /// goes by names, as after a restart of this program.
    async fn forget_manifest(&mut self) -> Result<(), Ended> {
        *self.table.lock() = FileTable::default();
        self.share.give_back();
        let Some(taken) = self.taken.take() else {
            return Ok(());
        };
        drop(taken);
        let (journals, id) = (self.terms.journals.clone(), self.id);
        let work = move || Journal::open(&journals, id);
        let opened = tokio::task::spawn_blocking(work).await;
        match opened.map_err(io::Error::other).and_then(|opened| opened) {
            Ok(Some((journal, head, replay))) => self
                .continue_from(journal, head, replay)
                .map_err(|error| Ended::Lost(error.to_string())),
            Ok(None) => Ok(()),
            Err(error) => Err(Ended::Lost(error.to_string())),
        }
    }

    async fn ask<L: Inbound>(
        &mut self,
        link: &mut L,
        orders: &mut mpsc::Receiver<Order>,
    ) -> Result<(), Ended> {
        if self.terms.blocked {
            return self.pretend_absence(link).await;
        }
        let mut folder = self.terms.folder.clone();
        let mut asked = false;
        loop {
            let view = self.view(folder.clone(), &HashSet::new()).await;
            if self.terms.accepted {
                return match view.refusal() {
                    None => self.take(link, view.folder, HashSet::new()).await,
                    Some(reason) => self.refuse(link, view, reason).await,
                };
            }
            if !asked {
                send(link, ReceiverMessage::Asked(view.room)).await?;
                asked = true;
            }
            let asking = view.asking(self.terms.answer_timeout);
            self.reporter.tell(News::Ask(asking)).await;
            match self.decision(link, orders).await? {
                Decision::Decline => {
                    return self.decline(link, DeclineReason::Person).await;
                }
                Decision::Accept {
                    folder: chosen,
                    only,
                } => {
                    folder = chosen.unwrap_or(folder);
                    let excluded = self.excluded(only.as_deref());
                    let view = self.view(folder.clone(), &excluded).await;
                    // A folder without room is asked about again, with the reason.
                    if view.refusal().is_none() {
                        return self.take(link, view.folder, excluded).await;
                    }
                }
            }
        }
    }

    async fn decline<L: Inbound>(
        &mut self,
        link: &mut L,
        reason: DeclineReason,
    ) -> Result<(), Ended> {
        send(link, ReceiverMessage::Declined(reason)).await?;
        Err(Ended::Declined(reason))
    }

    async fn refuse<L: Inbound>(
        &mut self,
        link: &mut L,
        view: View,
        reason: DeclineReason,
    ) -> Result<(), Ended> {
        self.reporter.tell(News::Fault(view.obstacle)).await;
        self.decline(link, reason).await
    }

    /// A blocked peer learns nothing, not even that it is blocked.
    async fn pretend_absence<L: Inbound>(&mut self, link: &mut L) -> Result<(), Ended> {
        send(link, ReceiverMessage::Asked(Room::Fits)).await?;
        let silence = async {
            loop {
                if link.recv().await.is_err() {
                    return;
                }
            }
        };
        let _ = tokio::time::timeout(self.terms.answer_timeout, silence).await;
        self.decline(link, DeclineReason::NoAnswer).await
    }

    /// Waits for the person, or for a reason not to wait any longer.
    async fn decision<L: Inbound>(
        &mut self,
        link: &mut L,
        orders: &mut mpsc::Receiver<Order>,
    ) -> Result<Decision, Ended> {
        let timeout = tokio::time::sleep(self.terms.answer_timeout);
        tokio::pin!(timeout);
        loop {
            tokio::select! {
                order = orders.recv() => match order {
                    Some(Order::Answer(decision)) => return Ok(decision),
                    Some(Order::Cancel(Scope::Transfer)) => return Ok(Decision::Decline),
                    Some(order) => {
                        self.offline_order(order).await;
                    }
                    None => return Err(Ended::Lost("the program ends".into())),
                },
                event = link.recv() => match message(event?)? {
                    SenderMessage::Steer(steer) if is_cancel(steer) => {
                        return Err(Ended::CancelledThere);
                    }
                    SenderMessage::Entries(entries) => self.take_in(link, &entries).await?,
                    SenderMessage::EntriesEnd { entries } => {
                        if entries != self.table.lock().len() {
                            return Err(Ended::Misbehaved(Offence::Contradiction));
                        }
                        self.reporter.tell(News::Manifest).await;
                    }
                    SenderMessage::Steer(_) | SenderMessage::FileFailed { .. } => {}
                    SenderMessage::Finish { .. } => {
                        return Err(Ended::Misbehaved(Offence::UnexpectedMessage));
                    }
                },
                () = &mut timeout => {
                    self.decline(link, DeclineReason::NoAnswer).await?;
                }
            }
        }
    }

    /// Top-level names that are not among the chosen positions.
    fn excluded(&self, only: Option<&[u32]>) -> HashSet<String> {
        let Some(only) = only else {
            return HashSet::new();
        };
        let wanted: HashSet<u32> = only.iter().copied().collect();
        let table = self.table.lock();
        let mut positions = Tops::default();
        let mut excluded = HashSet::new();
        for index in 0..table.len() {
            let top = top_of(table.path(index));
            if !wanted.contains(&positions.position(top)) {
                excluded.insert(top.to_owned());
            }
        }
        excluded
    }

    /// The person agreed: from here on the transfer survives everything.
    async fn take<L: Inbound>(
        &mut self,
        link: &mut L,
        folder: PathBuf,
        excluded: HashSet<String>,
    ) -> Result<(), Ended> {
        let head = JournalHead {
            transfer: self.id,
            peer: self.peer,
            peer_name: self.peer_name.clone(),
            folder: folder.clone(),
            on_conflict: self.terms.on_conflict,
            excluded: excluded.iter().cloned().collect(),
            started: self.started,
        };
        let (journals, path) = (self.terms.journals.clone(), folder.clone());
        let work = move || Ok((Folder::open(&path)?, Journal::create(&journals, &head)?));
        let made: io::Result<(Folder, Journal)> = tokio::task::spawn_blocking(work)
            .await
            .unwrap_or_else(|e| Err(io::Error::other(e)));
        let (root, journal) = match made {
            Ok(made) => made,
            Err(error) => {
                let why = error.to_string();
                let fault = Fault::CannotWrite { path: folder, why };
                self.reporter.tell(News::Fault(Some(fault))).await;
                return self.decline(link, DeclineReason::NotWritable).await;
            }
        };
        self.reporter.tell(News::Answered { folder }).await;
        let policy = self.terms.on_conflict;
        self.taken = Some(Taken {
            rules: Arc::new(Rules {
                folder: root,
                policy,
                excluded,
                replay: None,
            }),
            journal: SharedJournal::new(journal),
            partials: HashMap::new(),
        });
        Ok(())
    }

    /// Looks at a folder: is there room, may it be written?
    async fn view(&self, folder: PathBuf, excluded: &HashSet<String>) -> View {
        let (needed, files) = self.table.lock().wanted(excluded);
        let path = folder.clone();
        let work = move || {
            let folder = Folder::open(&path)?;
            folder.check_writable()?;
            folder.space()
        };
        let space = tokio::task::spawn_blocking(work)
            .await
            .unwrap_or_else(|e| Err(io::Error::other(e)));
        match space {
            Ok(space) if space.free < needed => {
                let free = space.free;
                let obstacle = Fault::DiskFull {
                    folder: folder.clone(),
                    needed,
                    free,
                };
                let room = Room::Missing { needed, free };
                View {
                    folder,
                    free,
                    room,
                    obstacle: Some(obstacle),
                }
            }
            Ok(space) if space.inodes.is_some_and(|inodes| inodes < files) => {
                let why = format!("the disk cannot take {files} more files");
                let obstacle = Fault::CannotWrite {
                    path: folder.clone(),
                    why,
                };
                let room = Room::NoInodes;
                View {
                    folder,
                    free: space.free,
                    room,
                    obstacle: Some(obstacle),
                }
            }
            Ok(space) => View {
                folder,
                free: space.free,
                room: Room::Fits,
                obstacle: None,
            },
            Err(error) => {
                let why = plain(&error);
                let obstacle = Fault::CannotWrite {
                    path: folder.clone(),
                    why,
                };
                View {
                    folder,
                    free: 0,
                    room: Room::NotWritable,
                    obstacle: Some(obstacle),
                }
            }
        }
    }
}

/// What an error of the disk means, in plain words.
pub(super) fn plain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::PermissionDenied => "no permission".into(),
        io::ErrorKind::ReadOnlyFilesystem => "it is read-only".into(),
        io::ErrorKind::NotFound => "it is not there".into(),
        io::ErrorKind::NotADirectory => "it is not a folder".into(),
        _ => error.to_string(),
    }
}

struct View {
    folder: PathBuf,
    free: u64,
    room: Room,
    obstacle: Option<Fault>,
}

impl View {
    fn refusal(&self) -> Option<DeclineReason> {
        match self.room {
            Room::Fits => None,
            Room::Missing { needed, free } => Some(DeclineReason::NoRoom { needed, free }),
            Room::NoInodes => Some(DeclineReason::NoRoom {
                needed: 0,
                free: self.free,
            }),
            Room::NotWritable => Some(DeclineReason::NotWritable),
        }
    }

    fn asking(&self, timeout: Duration) -> Asking {
        let (folder, free, obstacle) = (self.folder.clone(), self.free, self.obstacle.clone());
        Asking {
            folder,
            free,
            obstacle,
            timeout,
        }
    }
}

pub(super) fn is_cancel(steer: crate::protocol::message::Steer) -> bool {
    steer.scope == Scope::Transfer && steer.action == SteerAction::Cancel
}

/// Before acceptance only messages may come.
pub(super) fn message<R>(event: InboundEvent<R>) -> Result<SenderMessage, Ended> {
    match event {
        InboundEvent::Message(message) => Ok(message),
        InboundEvent::File(..) => Err(Ended::Misbehaved(Offence::NotAskedFor)),
    }
}

/// Sends within a deadline.
pub(super) async fn send<L: Inbound>(link: &mut L, message: ReceiverMessage) -> Result<(), Ended> {
    match tokio::time::timeout(SEND_DEADLINE, link.send(message)).await {
        Ok(sent) => Ok(sent?),
        Err(_) => Err(LinkError::Lost("the other side does not read".into()).into()),
    }
}
