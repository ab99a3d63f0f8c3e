//! What people want of a transfer, and what the transfer tells about itself: the two ends between
//! a transfer's task and the node that owns it.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::feed::Feeding;
use super::shelf::Shelf;
use super::state::TransferEvent;
use super::status::{Limit, PausedBy, Shortcoming};
use crate::config::ConflictAnswer;
use crate::fault::Fault;
use crate::net::link::PathInfo;
use crate::peer::PeerId;
use crate::protocol::message::{FileIndex, Room, Scope, TransferId};
use crate::protocol::sessions::FeedingKey;

/// What to do with an offer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Decision {
    /// Take the files.
    Accept {
        /// Into this folder; `None` for the one in the question.
        #[serde(with = "crate::text::path_option")]
        folder: Option<PathBuf>,
        /// Only entries whose top-level position is in this list; `None` for all.
        only: Option<Vec<u32>>,
        /// Whether others that it is sent to may have it from here, as far as the settings allow.
        pass_on: bool,
    },
    /// Take nothing.
    Decline,
}

/// A person's wish, for the task of a transfer.
#[derive(Debug)]
pub enum Order {
    /// Stop until further notice.
    Pause(Scope),
    /// Go on.
    Resume(Scope),
    /// Give up.
    Cancel(Scope),
    /// This file before the others.
    First(FileIndex),
    /// More files; sending only.
    Attach(Vec<PathBuf>),
    /// The answer to the question; receiving only.
    Answer(Decision),
    /// Nobody answers, because another question needs the place; receiving only.
    Displace,
    /// What shall become of a file whose name is taken, or of all such files from now on;
    /// receiving only.
    Conflict(Scope, ConflictAnswer),
}

/// How many faces with a person before them look at a node. Cheap to clone; all are the same.
#[derive(Debug, Clone, Default)]
pub struct People(Arc<AtomicUsize>);

impl People {
    /// Somebody is there while this lives.
    pub fn attend(&self) -> Attendance {
        self.0.fetch_add(1, Ordering::Relaxed);
        Attendance(self.clone())
    }

    /// Whether anybody is there who can be asked.
    pub fn is_anybody_there(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }
}

/// While this lives, somebody can be asked.
#[derive(Debug)]
pub struct Attendance(People);

impl Drop for Attendance {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Orders that may wait for a transfer's task.
pub const ORDERS_MAX: usize = 64;

/// News from the task of a transfer.
#[derive(Debug)]
pub enum News {
    /// Something happened that changes its state.
    Event(TransferEvent),
    /// Who paused it; `None` when it goes on.
    PausedBy(Option<PausedBy>),
    /// The person here paused one file, or it goes on; sending only, where the node remembers it.
    PausedFile {
        /// Which one.
        index: FileIndex,
        /// Whether it stands still now.
        paused: bool,
    },
    /// Why it ended, or what holds it up.
    Fault(Option<Fault>),
    /// Whether the receiver has room, as it says while its person is asked.
    PeerRoom(Room),
    /// How it is connected.
    Path(Option<PathInfo>),
    /// The manifest is complete or has grown.
    Manifest,
    /// The person must be asked; see [`Asking`].
    Ask(Asking),
    /// The sender sends the same to others; receiving only. Again for each link.
    Session {
        /// How many get it, this one included.
        receivers: u32,
    },
    /// The person has accepted what others get, too; receiving only. Again for each link.
    PassesOn {
        /// For those others who want something of it.
        key: FeedingKey,
        /// What is there for them, if something is.
        shelf: Option<Arc<Shelf>>,
        /// To be answered by somebody who finds what is referred elsewhere; the first time.
        feeding: Option<Feeding>,
    },
    /// Who the receiver gets content from, if not from here; sending only.
    Through(Option<String>),
    /// Whether the receiver says that it gets the rest from others if this program ends; sending
    /// only.
    GoesOn(bool),
    /// Whether the receiver says that it waits for its own disk; sending only.
    Behind(bool),
    /// Another receiver, of this name, says that this one has passed on damaged content; sending
    /// only.
    Blamed(String),
    /// What the others do not get from this receiver, as they say and we know; `None` when that is
    /// over. Sending only.
    Shortcoming(Option<Shortcoming>),
    /// Another receiver, this one, has passed on wrong data to us; receiving only.
    LiedTo(PeerId),
    /// The receiver's person is not being asked any more.
    Answered {
        /// The folder that was chosen.
        folder: PathBuf,
    },
}

/// What is known when the person is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asking {
    /// The folder that is proposed.
    pub folder: PathBuf,
    /// Bytes free in it.
    pub free: u64,
    /// Why accepting is impossible as things are.
    pub obstacle: Option<Fault>,
    /// How long an answer is waited for.
    pub timeout: Duration,
}

/// Where a transfer's task sends its [`News`]. Waits while the node is busy: no state is lost.
#[derive(Debug, Clone)]
pub struct Reporter {
    transfer: TransferId,
    news: mpsc::Sender<(TransferId, News)>,
}

impl Reporter {
    /// Reports about `transfer` to `news`.
    pub fn new(transfer: TransferId, news: mpsc::Sender<(TransferId, News)>) -> Self {
        Self { transfer, news }
    }

    /// Tells the node. Without a node there is nobody to tell.
    pub async fn tell(&self, news: News) {
        let _ = self.news.send((self.transfer, news)).await;
    }

    /// Tells the node that something happened.
    pub async fn event(&self, event: TransferEvent) {
        self.tell(News::Event(event)).await;
    }
}

/// How fast a transfer moves and what it waits for; written by its tasks, read by the node.
#[derive(Debug, Default)]
pub struct Progress {
    moved: AtomicU64,
    fed: AtomicU64,
    disk: AtomicU64,
    network: AtomicU64,
    setting: AtomicU64,
    /// Tasks that wait for the other side to take something.
    writing: AtomicU64,
}

/// While this lives, a task waits for the other side to take something.
#[derive(Debug)]
pub struct Writing<'a>(&'a Progress);

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        self.0.writing.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A reading of [`Progress`].
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// Bytes of content that travelled.
    pub moved: u64,
    /// Bytes that the receiver has got from another one.
    pub fed: u64,
    /// Nanoseconds waited for the disk, the network, the limit that was set.
    pub disk: u64,
    /// See `disk`.
    pub network: u64,
    /// See `disk`.
    pub setting: u64,
}

impl Progress {
    /// A new one, shared.
    pub fn shared() -> Arc<Self> {
        Arc::default()
    }

    /// Bytes of content travelled.
    pub fn moved(&self, bytes: u64) {
        self.moved.fetch_add(bytes, Ordering::Relaxed);
    }

    /// The receiver has got bytes from another one.
    pub fn fed(&self, bytes: u64) {
        self.fed.fetch_add(bytes, Ordering::Relaxed);
    }

    /// A task begins to wait for the other side to take something.
    pub fn writing(&self) -> Writing<'_> {
        self.writing.fetch_add(1, Ordering::Relaxed);
        Writing(self)
    }

    /// Whether anything waits for the other side to take it.
    pub fn is_writing(&self) -> bool {
        self.writing.load(Ordering::Relaxed) > 0
    }

    /// Time was spent waiting for something.
    pub fn waited(&self, what: Limit, time: Duration) {
        let counter = match what {
            Limit::Disk => &self.disk,
            Limit::Network => &self.network,
            Limit::Setting => &self.setting,
            // Only the other side knows how long it has waited.
            Limit::PeerDisk | Limit::Unknown => return,
        };
        counter.fetch_add(time.as_nanos() as u64, Ordering::Relaxed);
    }

    /// What has been counted so far.
    pub fn read(&self) -> Reading {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Reading {
            moved: get(&self.moved),
            fed: get(&self.fed),
            disk: get(&self.disk),
            network: get(&self.network),
            setting: get(&self.setting),
        }
    }
}

impl Reading {
    /// What was waited for most between `earlier` and this reading.
    pub fn limit_since(&self, earlier: &Self) -> Limit {
        let disk = self.disk.saturating_sub(earlier.disk);
        let network = self.network.saturating_sub(earlier.network);
        let setting = self.setting.saturating_sub(earlier.setting);
        match disk.max(network).max(setting) {
            0 => Limit::Unknown,
            most if most == setting => Limit::Setting,
            most if most == network => Limit::Network,
            _ => Limit::Disk,
        }
    }
}
