//! The question to the person, and what is known about the room for the files.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::{Incoming, Taken, is_cancel, message, send};
use crate::config::{ANSWER_SOON, ConflictPolicy};
use crate::fault::Fault;
use crate::net::link::{Inbound, Offence};
use crate::protocol::message::{DeclineReason, ReceiverMessage, Room, Scope, SenderMessage};
use crate::storage::folder::{Folder, Space};
use crate::storage::journal::{Journal, JournalHead};
use crate::storage::refusal::refusal;
use crate::transfer::control::{Asking, Decision, News, Order};
use crate::transfer::ended::Ended;
use crate::transfer::partial::SharedJournal;
use crate::transfer::plan::Rules;
use crate::transfer::present::{Present, present};
use crate::transfer::rivals::Answers;
use crate::transfer::status::PausedBy;
use crate::transfer::tops::{Tops, top_of};

impl Incoming {
    pub(super) async fn ask<L: Inbound>(
        &mut self,
        link: &mut L,
        orders: &mut mpsc::Receiver<Order>,
    ) -> Result<(), Ended> {
        if self.terms.blocked {
            return self.pretend_absence(link, orders).await;
        }
        let mut folder = self.terms.folder.clone();
        let (since, until) = self.asked();
        // What the person and the sender were told last.
        let mut told: Option<Room> = None;
        let mut presumed = None;
        loop {
            let all = HashSet::new();
            let view = self.view(folder.clone(), &all, &mut presumed).await;
            if self.terms.accepted {
                return match view.refusal() {
                    None => self.take(link, view.folder, HashSet::new()).await,
                    Some(reason) => self.refuse(link, view, reason).await,
                };
            }
            if told.is_none_or(|told| is_news(told, view.room)) {
                send(link, ReceiverMessage::Asked(view.room)).await?;
                told = Some(view.room);
                let left = until.saturating_duration_since(Instant::now());
                self.reporter.tell(News::Ask(view.asking(left))).await;
            }
            match self.wish(link, orders, since, until).await? {
                Wish::LookAgain => {}
                Wish::Decided(Decision::Decline) => {
                    return self.decline(link, DeclineReason::Person).await;
                }
                Wish::Decided(Decision::Accept {
                    folder: chosen,
                    only,
                    pass_on,
                }) => {
                    folder = chosen.unwrap_or(folder);
                    let excluded = self.excluded(only.as_deref());
                    let view = self.view(folder.clone(), &excluded, &mut None).await;
                    if view.refusal().is_none() {
                        self.take(link, view.folder, excluded).await?;
                        if !pass_on {
                            self.keep_to_itself();
                        }
                        return Ok(());
                    }
                    // A folder without room is asked about again, with the reason.
                    told = None;
                }
            }
        }
    }

    pub(super) async fn decline<L: Inbound>(
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

    /// Since when it is asked, and until when. A link that is made anew makes nothing longer.
    fn asked(&mut self) -> (Instant, Instant) {
        let since = *self.asked.get_or_insert_with(Instant::now);
        (since, since + self.terms.answer_timeout)
    }

    /// A blocked peer learns nothing, not even that it is blocked.
    pub(super) async fn pretend_absence<L: Inbound>(
        &mut self,
        link: &mut L,
        orders: &mut mpsc::Receiver<Order>,
    ) -> Result<(), Ended> {
        let (_, until) = self.asked();
        send(link, ReceiverMessage::Asked(Room::Fits)).await?;
        let silence = async {
            loop {
                tokio::select! {
                    event = link.recv() => if event.is_err() {
                        return Ok(());
                    },
                    // It makes room for a newer question, and ends with the program, as others.
                    order = orders.recv() => match order {
                        None => return Err(Ended::Lost("the program ends".into())),
                        Some(Order::Displace) => return Ok(()),
                        Some(_) => {}
                    },
                }
            }
        };
        tokio::time::timeout_at(until, silence)
            .await
            .unwrap_or(Ok(()))?;
        self.decline(link, DeclineReason::NoAnswer).await
    }

    /// Waits for the person until `until`, for a reason not to wait any longer, or for one to look
    /// at the room again: room comes and goes, and so do files of the offer.
    async fn wish<L: Inbound>(
        &mut self,
        link: &mut L,
        orders: &mut mpsc::Receiver<Order>,
        since: Instant,
        until: Instant,
    ) -> Result<Wish, Ended> {
        let every = match since.elapsed() < ANSWER_SOON {
            true => LOOK_EVERY,
            false => LOOK_LATER_EVERY,
        };
        let look = tokio::time::sleep_until(until.min(Instant::now() + every));
        tokio::pin!(look);
        loop {
            tokio::select! {
                order = orders.recv() => match order {
                    Some(Order::Answer(decision)) => return Ok(Wish::Decided(decision)),
                    Some(Order::Cancel(Scope::Transfer)) => {
                        return Ok(Wish::Decided(Decision::Decline));
                    }
                    Some(Order::Displace) => {
                        self.decline(link, DeclineReason::NoAnswer).await?;
                    }
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
                        return Ok(Wish::LookAgain);
                    }
                    SenderMessage::Steer(_) | SenderMessage::FileFailed { .. } => {}
                    SenderMessage::Finish { .. }
                    | SenderMessage::Session(_)
                    | SenderMessage::Feeder(_)
                    | SenderMessage::WillFile(_)
                    | SenderMessage::Will(_) => {
                        return Err(Ended::Misbehaved(Offence::UnexpectedMessage));
                    }
                },
                () = &mut look => {
                    if Instant::now() >= until {
                        self.decline(link, DeclineReason::NoAnswer).await?;
                    }
                    return Ok(Wish::LookAgain);
                }
            }
        }
    }

    /// Top-level names that are not among the chosen positions.
    pub(super) fn excluded(&self, only: Option<&[u32]>) -> HashSet<String> {
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
    pub(super) async fn take<L: Inbound>(
        &mut self,
        link: &mut L,
        folder: PathBuf,
        excluded: HashSet<String>,
    ) -> Result<(), Ended> {
        let asks = self.terms.on_conflict == ConflictPolicy::Ask;
        let policy = match asks && !self.terms.people.is_anybody_there() {
            true => ConflictPolicy::Rename,
            false => self.terms.on_conflict,
        };
        let head = JournalHead {
            transfer: self.id,
            peer: self.peer,
            peer_name: self.peer_name.clone(),
            folder: folder.clone(),
            on_conflict: policy,
            excluded: excluded.iter().cloned().collect(),
            started: self.started,
        };
        let (journals, path) = (self.terms.journals.clone(), folder.clone());
        let remove_will = self.keeper.remover();
        let work = move || {
            // Of something that was lost with its journal.
            remove_will();
            let cannot = |path: &Path, error: &io::Error| Fault::CannotWrite {
                path: path.to_owned(),
                why: refusal(path, error),
            };
            let folder = Folder::open(&path).map_err(|error| cannot(&path, &error))?;
            let journal = Journal::create(&journals, &head);
            let journal = journal.map_err(|error| cannot(&journals, &error))?;
            Ok((folder, journal))
        };
        let made: Result<(Folder, Journal), Fault> =
            tokio::task::spawn_blocking(work).await.unwrap_or_else(|e| {
                let what = e.to_string();
                Err(Fault::Internal { what })
            });
        let (root, journal) = match made {
            Ok(made) => made,
            Err(fault) => {
                self.reporter.tell(News::Fault(Some(fault))).await;
                return self.decline(link, DeclineReason::NotWritable).await;
            }
        };
        self.reporter.tell(News::Answered { folder }).await;
        self.taken = Some(Taken {
            rules: Arc::new(Rules {
                folder: root,
                policy,
                excluded,
                replay: None,
                compares: link.path().kind.is_verified(),
            }),
            journal: SharedJournal::new(journal),
            partials: HashMap::new(),
            answers: Answers::default(),
        });
        if self.pauses.all() == Some(PausedBy::Us) {
            self.keep_pause(true);
        }
        Ok(())
    }

    /// Looks at a folder: is there room, may it be written? What is there already needs none; that
    /// is looked at only where it matters, and not each time, because it takes seconds with many
    /// files.
    async fn view(
        &self,
        folder: PathBuf,
        excluded: &HashSet<String>,
        presumed: &mut Option<Presumed>,
    ) -> View {
        let (path, table, policy) = (folder.clone(), self.table.clone(), self.terms.on_conflict);
        let (excluded, entries) = (excluded.clone(), self.table.lock().len());
        let known = presumed
            .as_ref()
            .filter(|presumed| presumed.is_of(&folder, entries))
            .map(|presumed| presumed.present);
        let work = move || -> io::Result<(Space, u64, u64, Option<Present>)> {
            let folder = Folder::open(&path)?;
            folder.check_writable()?;
            let space = folder.space()?;
            let (needed, files) = table.lock().wanted(&excluded);
            if space.free >= needed && space.inodes.is_none_or(|inodes| inodes >= files) {
                return Ok((space, needed, files, None));
            }
            let there = known.unwrap_or_else(|| present(&folder, &table, &excluded, policy));
            let needed = needed.saturating_sub(there.bytes);
            let files = files.saturating_sub(there.entries);
            Ok((space, needed, files, known.is_none().then_some(there)))
        };
        let at = folder.clone();
        // Whose the folder is takes a look at the disk, too.
        let work = move || work().map_err(|error| io::Error::other(refusal(&at, &error)));
        let seen = tokio::task::spawn_blocking(work)
            .await
            .unwrap_or_else(|e| Err(io::Error::other(e)));
        if let Ok((.., Some(present))) = seen {
            *presumed = Some(Presumed {
                folder: folder.clone(),
                entries,
                at: Instant::now(),
                present,
            });
        }
        View::of(
            folder,
            seen.map(|(space, needed, files, _)| (space, needed, files)),
        )
    }
}

/// How often the room is looked at while a person is asked.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// The same once nobody has answered for [`ANSWER_SOON`]: disks may sleep.
const LOOK_LATER_EVERY: Duration = Duration::from_secs(30);

/// How long it is believed what a look at all files has found.
const PRESUMED_FOR: Duration = Duration::from_secs(30);

/// What is presumed to be in a folder already.
struct Presumed {
    folder: PathBuf,
    entries: u32,
    at: Instant,
    present: Present,
}

impl Presumed {
    /// Whether it is about these entries in this folder, and fresh.
    fn is_of(&self, folder: &Path, entries: u32) -> bool {
        self.folder == folder && self.entries == entries && self.at.elapsed() < PRESUMED_FOR
    }
}

/// What ends a wait for the person.
enum Wish {
    /// The person has answered.
    Decided(Decision),
    /// The room, or what is offered, may be different now.
    LookAgain,
}

/// Whether the person and the sender must hear of `now`: free bytes alone change all the time.
fn is_news(told: Room, now: Room) -> bool {
    match (told, now) {
        (Room::Missing { needed: told, .. }, Room::Missing { needed: now, .. }) => told != now,
        (told, now) => told != now,
    }
}

struct View {
    folder: PathBuf,
    free: u64,
    room: Room,
    obstacle: Option<Fault>,
}

impl View {
    /// What a look at `folder` has found: its space, and the bytes and files that need room.
    fn of(folder: PathBuf, seen: io::Result<(Space, u64, u64)>) -> Self {
        let (free, room, obstacle) = match seen {
            Ok((space, needed, _)) if space.free < needed => {
                let free = space.free;
                let obstacle = Fault::DiskFull {
                    folder: folder.clone(),
                    needed,
                    free,
                };
                (free, Room::Missing { needed, free }, Some(obstacle))
            }
            Ok((space, _, files)) if space.inodes.is_some_and(|inodes| inodes < files) => {
                let obstacle = Fault::CannotWrite {
                    path: folder.clone(),
                    why: format!("the disk cannot take {files} more files"),
                };
                (space.free, Room::NoInodes, Some(obstacle))
            }
            Ok((space, ..)) => (space.free, Room::Fits, None),
            Err(error) => {
                let obstacle = Fault::CannotWrite {
                    path: folder.clone(),
                    why: error.to_string(),
                };
                (0, Room::NotWritable, Some(obstacle))
            }
        };
        Self {
            folder,
            free,
            room,
            obstacle,
        }
    }

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
