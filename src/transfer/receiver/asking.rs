//! The question to the person, and what is known about the room for the files.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::super::control::{Asking, Decision, News, Order};
use super::super::ended::Ended;
use super::super::partial::SharedJournal;
use super::super::plan::Rules;
use super::super::tops::{Tops, top_of};
use super::{Incoming, Taken, is_cancel, message, plain, send};
use crate::fault::Fault;
use crate::net::link::{Inbound, Offence};
use crate::protocol::message::{DeclineReason, ReceiverMessage, Room, Scope, SenderMessage};
use crate::storage::folder::Folder;
use crate::storage::journal::{Journal, JournalHead};

impl Incoming {
    pub(super) async fn ask<L: Inbound>(
        &mut self,
        link: &mut L,
        orders: &mut mpsc::Receiver<Order>,
    ) -> Result<(), Ended> {
        if self.terms.blocked {
            return self.pretend_absence(link).await;
        }
        let mut folder = self.terms.folder.clone();
        let until = Instant::now() + self.terms.answer_timeout;
        // What the person and the sender were told last.
        let mut told: Option<Room> = None;
        loop {
            let view = self.view(folder.clone(), &HashSet::new()).await;
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
            match self.wish(link, orders, until).await? {
                Wish::LookAgain => {}
                Wish::Decided(Decision::Decline) => {
                    return self.decline(link, DeclineReason::Person).await;
                }
                Wish::Decided(Decision::Accept {
                    folder: chosen,
                    only,
                }) => {
                    folder = chosen.unwrap_or(folder);
                    let excluded = self.excluded(only.as_deref());
                    let view = self.view(folder.clone(), &excluded).await;
                    if view.refusal().is_none() {
                        return self.take(link, view.folder, excluded).await;
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

    /// A blocked peer learns nothing, not even that it is blocked.
    pub(super) async fn pretend_absence<L: Inbound>(&mut self, link: &mut L) -> Result<(), Ended> {
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

    /// Waits for the person until `until`, for a reason not to wait any longer, or for one to look
    /// at the room again: room comes and goes, and so do files of the offer.
    async fn wish<L: Inbound>(
        &mut self,
        link: &mut L,
        orders: &mut mpsc::Receiver<Order>,
        until: Instant,
    ) -> Result<Wish, Ended> {
        let look = tokio::time::sleep_until(until.min(Instant::now() + LOOK_EVERY));
        tokio::pin!(look);
        loop {
            tokio::select! {
                order = orders.recv() => match order {
                    Some(Order::Answer(decision)) => return Ok(Wish::Decided(decision)),
                    Some(Order::Cancel(Scope::Transfer)) => {
                        return Ok(Wish::Decided(Decision::Decline));
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
                    SenderMessage::Finish { .. } => {
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

/// How often the room is looked at while a person is asked.
const LOOK_EVERY: Duration = Duration::from_secs(2);

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
