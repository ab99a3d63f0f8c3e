//! What ties a transfer of ours to the others of its session: it tells how its receiver fares, and
//! is told who feeds it. Who that is is decided above.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use super::control::Reporter;
use super::holding::SharedHolding;
use super::table::WeakTable;
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
    /// Whether it says what it has of files that are not complete, and says of what it does not
    /// have, when the sender is gone, that it is gone.
    pub tells_parts: bool,
    /// What it has.
    pub holding: SharedHolding,
    /// Bytes that it has.
    pub done: u64,
    /// What goes to it, and how far each of it is.
    pub table: WeakTable,
    /// Time there and back.
    pub rtt: Option<Duration>,
    /// Where it is said who feeds it; only the last word counts.
    pub feeder: watch::Sender<Option<Feeder>>,
    /// Where it is said who gives it the rest if we leave; only the last word counts.
    pub heirs: watch::Sender<Option<Heirs>>,
}

/// Who gives a receiver the rest if the sender leaves.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Heirs {
    /// How many entries they have, between them: of what was added later nobody has anything.
    pub entries: u32,
    /// Where they are, those first who are needed. Empty if nobody can give it any more.
    pub feeders: Vec<Feeder>,
}

/// What a transfer is told by the one who decides.
#[derive(Debug)]
pub(super) enum Word {
    /// Who feeds the receiver from now on.
    Feeder(Feeder),
    /// Who gives the receiver the rest if we leave.
    Heirs(Heirs),
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
    /// How far it is.
    Progress {
        /// Bytes that it has now.
        done: u64,
        /// Bytes that have come from other receivers since the last time.
        fed: u64,
    },
    /// It is not fed as it should be.
    Trouble {
        /// By this one.
        feeder: TransferId,
        /// What is wrong.
        trouble: Trouble,
    },
    /// It has everything.
    Complete {
        /// So many entries.
        entries: u32,
    },
    /// The link to it is gone, or the transfer is over without everything having come.
    Left,
    /// Nothing connects us any more with somebody who may have everything.
    Away,
    /// It is connected again.
    Back,
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
    /// Who gives the receiver the rest if we leave, as was said last.
    pub(super) heirs: watch::Sender<Option<Heirs>>,
    /// The same, as far as the receiver was told.
    bequeathed: watch::Receiver<Option<Heirs>>,
    /// Who and where the receiver is; set before each link.
    pub(super) at: Option<Whereabouts>,
    /// Whether content is to be referred elsewhere; read by the tasks that send.
    pub(super) fed: watch::Sender<bool>,
}

impl Membership {
    /// The receiver will be told `note`; how it fares is told to `news`.
    pub fn new(note: SessionNote, news: mpsc::Sender<(TransferId, MemberNews)>) -> Self {
        let (feeder, heirs) = (watch::Sender::new(None), watch::Sender::new(None));
        Self {
            note,
            news,
            told: feeder.subscribe(),
            feeder,
            bequeathed: heirs.subscribe(),
            heirs,
            at: None,
            fed: watch::Sender::new(false),
        }
    }

    /// A new link: what was said before counts no more.
    pub(super) fn begin(&mut self) {
        self.feeder.send_replace(None);
        self.told.mark_unchanged();
        self.heirs.send_replace(None);
        self.bequeathed.mark_unchanged();
    }

    /// The next thing to be told to the receiver; never if nobody decides about it. Cancel-safe.
    pub(super) async fn next_word(&mut self) -> Word {
        loop {
            let word = tokio::select! {
                Ok(()) = self.told.changed() => {
                    self.told.borrow_and_update().clone().map(Word::Feeder)
                }
                Ok(()) = self.bequeathed.changed() => {
                    self.bequeathed.borrow_and_update().clone().map(Word::Heirs)
                }
            };
            if let Some(word) = word {
                return word;
            }
        }
    }

    /// Tells how the receiver fares. Without anybody who decides nothing is referred elsewhere.
    pub async fn tell(&self, transfer: TransferId, news: MemberNews) {
        let _ = self.news.send((transfer, news)).await;
    }
}
