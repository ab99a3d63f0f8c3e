//! The receiving side of a transfer (`file_receiver`): takes in the manifest, asks the person,
//! checks the room, and then receives until everything is settled.
//!
//! One [`Incoming`] lives as long as the transfer; [`Incoming::run`] works over one link. What a
//! new link finds is decided by the journal and the disk alone, so that it does not matter whether
//! the connection broke or one of the programs was killed.

mod asking;
mod liars;
mod offline;
mod session;

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use self::session::InSession;
use super::budget::{Budget, Share};
use super::control::{Decision, News, Order, People, Progress, Reporter};
use super::ended::Ended;
use super::kept_will::{Keeper, KeptWill};
use super::partial::{Partial, SharedJournal};
use super::pauses::Pauses;
use super::plan::Rules;
use super::receive_run::Run;
use super::rivals::Answers;
use super::state::TransferEvent;
use super::status::{FileState, PausedBy};
use super::table::{FileTable, SharedTable};
use crate::config::{ConflictPolicy, PassOn};
use crate::net::link::{Inbound, InboundEvent, LinkError, Offence};
use crate::peer::Party;
use crate::protocol::message::{
    Code, DeclineReason, Entry, FileIndex, Outcome, Receipt, ReceiverMessage, Scope, SenderMessage,
    SinkFault, SteerAction, TransferId,
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
    /// What happens when a name is taken. `Ask` counts as `Rename` if nobody is there when the
    /// transfer is accepted.
    pub on_conflict: ConflictPolicy,
    /// Who can be asked.
    pub people: People,
    /// Whether the person need not be asked.
    pub accepted: bool,
    /// Whether the person has blocked this peer: it sees nobody answering.
    pub blocked: bool,
    /// How long an answer is waited for.
    pub answer_timeout: Duration,
    /// Memory for manifests, shared with other transfers.
    pub budget: Budget,
    /// Whether content may be passed on to others that the sender sends the same.
    pub pass_on: PassOn,
}

/// A transfer of a peer.
#[derive(Debug)]
pub struct Incoming {
    pub(super) id: TransferId,
    pub(super) peer: Party,
    pub(super) peer_name: String,
    pub(super) table: SharedTable,
    pub(super) progress: Arc<Progress>,
    pub(super) reporter: Reporter,
    pub(super) terms: Terms,
    pub(super) pauses: Pauses,
    /// Files that the person paused in an earlier run, as offered, until their numbers are known.
    pub(super) paused_before: HashSet<String>,
    /// Whether the journal says that the person paused all of it.
    pause_kept: bool,
    pub(super) started: u64,
    /// Since when the person is asked, over whatever link.
    asked: Option<Instant>,
    /// There since the person accepted.
    pub(super) taken: Option<Taken>,
    /// Memory of the table.
    pub(super) share: Share,
    /// There if the sender sends the same to others.
    pub(super) session: Option<InSession>,
    /// Has what the sender said in case that it leaves on disk.
    pub(super) keeper: Keeper,
}

/// What an earlier run of the program left of a transfer that it had accepted.
#[derive(Debug)]
pub struct Earlier {
    /// The journal.
    pub journal: Journal,
    /// Who and where.
    pub head: JournalHead,
    /// How far it was.
    pub replay: Replay,
    /// What is known without the sender.
    will: Option<KeptWill>,
}

impl Earlier {
    /// Opens what there is of a transfer among `journals`; `None` if there is nothing. Blocking.
    pub fn open(journals: &Path, id: TransferId) -> io::Result<Option<Self>> {
        let Some((journal, head, replay)) = Journal::open(journals, id)? else {
            return Ok(None);
        };
        let will = KeptWill::load(journals, id).unwrap_or_else(|error| {
            tracing::warn!(%error, "the rest can only come from the sender");
            None
        });
        Ok(Some(Self {
            journal,
            head,
            replay,
            will,
        }))
    }
}

/// What exists once the person has accepted.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) rules: Arc<Rules>,
    pub(super) journal: SharedJournal,
    /// What there is of files that are not complete.
    pub(super) partials: HashMap<FileIndex, Partial>,
    /// What the person said about names that are taken.
    pub(super) answers: Answers,
}

impl Taken {
    /// What happens to an entry when its name is taken.
    pub(super) fn policy(&self, path: &str) -> ConflictPolicy {
        self.answers.policy(path, self.rules.policy)
    }
}

/// Who and what an incoming transfer is.
#[derive(Debug)]
pub struct Who {
    /// The transfer.
    pub id: TransferId,
    /// The sender.
    pub peer: Party,
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
        let keeper = Keeper::new(&terms.journals, id);
        Self {
            id,
            peer,
            peer_name,
            table,
            progress,
            reporter,
            terms,
            pauses,
            paused_before: HashSet::new(),
            pause_kept: false,
            started,
            asked: None,
            taken,
            share,
            session: None,
            keeper,
        }
    }

    /// The person is asked since then: an earlier try broke off.
    pub fn asked_since(&mut self, since: std::time::Instant) {
        self.asked = Some(since.into());
    }

    /// Continues what an earlier run of the program accepted: call once, before the first
    /// [`Incoming::run`].
    pub fn continue_from(&mut self, earlier: Earlier) -> io::Result<()> {
        let Earlier {
            journal,
            head,
            replay,
            will,
        } = earlier;
        let answers = Answers::of(&replay);
        self.pauses.forget_files();
        self.paused_before.clone_from(&replay.paused_files);
        self.pause_kept = replay.paused;
        if replay.paused {
            self.pauses.pause(Scope::Transfer, PausedBy::Us);
        }
        if replay.keeps_to_itself {
            self.terms.pass_on = PassOn::Never;
        }
        let rules = Rules {
            folder: Folder::open(&head.folder)?,
            policy: head.on_conflict,
            excluded: head.excluded.into_iter().collect(),
            replay: Some(replay),
            // What cannot be compared is never continued.
            compares: true,
        };
        self.terms.folder = head.folder;
        self.taken = Some(Taken {
            rules: Arc::new(rules),
            journal: SharedJournal::new(journal),
            partials: HashMap::new(),
            answers,
        });
        self.restore_shelf();
        if let Some(will) = will {
            self.restore_will(will);
        }
        Ok(())
    }

    /// Who paused the whole transfer.
    pub fn paused_by(&self) -> Option<PausedBy> {
        self.pauses.all()
    }

    /// Whether the person has accepted.
    pub fn was_accepted(&self) -> bool {
        self.taken.is_some()
    }

    /// Who sends.
    pub fn peer(&self) -> Party {
        self.peer
    }

    /// Ends the transfer on disk: the journal goes, and with `discard` the partial files too.
    pub async fn close(&mut self, discard: bool) {
        if let Some(session) = &self.session {
            session.feed.shelf.end();
        }
        let Some(taken) = self.taken.take() else {
            return;
        };
        let remove_will = self.keeper.remover();
        let work = move || {
            remove_will();
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
        self.tell_passes_on(link).await?;
        self.reporter.event(TransferEvent::Accepted).await;
        Ok(())
    }

    /// Takes in the entries that are not known yet.
    async fn manifest<L: Inbound>(&mut self, link: &mut L) -> Result<(), Ended> {
        self.begin_link();
        let head = link.head().clone();
        let known = {
            let table = self.table.lock();
            table.len() == head.entries && table.digest() == head.digest && head.entries > 0
        };
        // What a disk did not take once it may have lost: only the journal knows what is there.
        let spoiled = |taken: &Taken| taken.rules.folder.is_spoiled();
        let known = known && !self.taken.as_ref().is_some_and(spoiled);
        if !known {
            self.forget_manifest().await?;
        }
        let entries = if known { head.entries } else { 0 };
        send(link, ReceiverMessage::Known { entries }).await?;
        let until = tokio::time::Instant::now() + MANIFEST_MAX;
        let mut begun = false;
        loop {
            let wait = until.min(tokio::time::Instant::now() + MANIFEST_DEADLINE);
            let next = tokio::time::timeout_at(wait, link.recv()).await;
            let event = next.map_err(|_| Ended::Misbehaved(Offence::Silent))??;
            match message(event)? {
                SenderMessage::Entries(entries) => {
                    begun = true;
                    self.take_in(link, &entries).await?;
                }
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
                SenderMessage::Session(note) if !begun => self.join_session(note).await?,
                SenderMessage::Session(_)
                | SenderMessage::Finish { .. }
                | SenderMessage::Feeder(_)
                | SenderMessage::WillFile(_)
                | SenderMessage::Will(_) => {
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
        // What the sender said in case that it leaves does not cover these.
        self.keeper.withdraw();
        let mut table = self.table.lock();
        for entry in entries {
            table.push(entry).map_err(Ended::Misbehaved)?;
        }
        let memory = table.memory();
        drop(table);
        // A will is the lesser good: without it the sender only has to stay.
        if self.share.cover(memory + self.will_memory()) {
            return Ok(true);
        }
        self.give_up_will();
        Ok(self.share.cover(memory))
    }

    /// The sender lists its files anew: what is done and begun is taken from the journal, which
    /// goes by names, as after a restart of this program.
    async fn forget_manifest(&mut self) -> Result<(), Ended> {
        *self.table.lock() = FileTable::default();
        self.forget_will();
        self.share.give_back();
        let Some(taken) = self.taken.take() else {
            return Ok(());
        };
        drop(taken);
        let (journals, id) = (self.terms.journals.clone(), self.id);
        let work = move || Earlier::open(&journals, id);
        let opened = tokio::task::spawn_blocking(work).await;
        match opened.map_err(io::Error::other).and_then(|opened| opened) {
            Ok(Some(mut earlier)) => {
                // Of the files as they were listed before.
                earlier.will = None;
                let continued = self.continue_from(earlier);
                continued.map_err(|error| Ended::Lost(error.to_string()))
            }
            Ok(None) => Ok(()),
            Err(error) => Err(Ended::Lost(error.to_string())),
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
