//! What ties a transfer of ours to the others of its session: it tells how its receiver fares, and
//! is told who feeds it. Who that is is decided above.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use super::control::Reporter;
use crate::peer::PeerId;
use crate::protocol::message::TransferId;
use crate::protocol::sessions::{Feeder, FeedingKey, SessionNote, Trouble};

/// News that may wait for the one who decides.
pub const NEWS_MAX: usize = 1024;

/// Who a receiver is, for others to find it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Whereabouts {
    /// Its key.
    pub peer: PeerId,
    /// What it calls itself.
    pub name: String,
    /// Where it may be, most useful first.
    pub addrs: Vec<SocketAddr>,
}

/// A receiver that takes part.
#[derive(Debug)]
pub struct Joined {
    /// Who and where it is.
    pub at: Whereabouts,
    /// What others must know to get content from it.
    pub key: FeedingKey,
    /// Whether it passes content on.
    pub passes_on: bool,
    /// Bytes that it has.
    pub done: u64,
    /// Time there and back.
    pub rtt: Option<Duration>,
    /// Where it is said who feeds it; only the last word counts.
    pub feeder: watch::Sender<Option<Feeder>>,
}

/// How the receiver of one transfer fares.
#[derive(Debug)]
pub enum MemberNews {
    /// It takes part: content may be referred elsewhere for it.
    Joined {
        /// What is known of it.
        joined: Box<Joined>,
        /// Where what becomes of it is told.
        reporter: Reporter,
    },
    /// Bytes that it has now.
    Progress(u64),
    /// It is not fed as it should be.
    Trouble {
        /// By this one.
        feeder: TransferId,
        /// What is wrong.
        trouble: Trouble,
    },
    /// It has everything.
    Complete,
    /// The link to it is gone, or the transfer is over without everything having come.
    Left,
}

/// A transfer's part in its session.
#[derive(Debug)]
pub struct Membership {
    /// What the receiver is told of the session.
    pub note: SessionNote,
    /// Where news go.
    pub news: mpsc::Sender<(TransferId, MemberNews)>,
    /// Who feeds the receiver from now on, as was said last.
    pub(super) feeder: watch::Sender<Option<Feeder>>,
    /// The same, as far as the receiver was told.
    pub(super) told: watch::Receiver<Option<Feeder>>,
    /// Who and where the receiver is; set before each link.
    pub(super) at: Option<Whereabouts>,
    /// Whether content is to be referred elsewhere; read by the tasks that send.
    pub(super) fed: watch::Sender<bool>,
}

impl Membership {
    /// The receiver will be told `note`; how it fares is told to `news`.
    pub fn new(note: SessionNote, news: mpsc::Sender<(TransferId, MemberNews)>) -> Self {
        let feeder = watch::Sender::new(None);
        Self {
            note,
            news,
            told: feeder.subscribe(),
            feeder,
            at: None,
            fed: watch::Sender::new(false),
        }
    }

    /// Tells how the receiver fares. Without anybody who decides nothing is referred elsewhere.
    pub async fn tell(&self, transfer: TransferId, news: MemberNews) {
        let _ = self.news.send((transfer, news)).await;
    }
}
