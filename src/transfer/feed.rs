//! Groups that the sender of a session refers elsewhere: how the files that wait for them ask, and
//! what is told to the sender about it. Who answers is decided above.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};

use super::pauses::{Pauses, gate};
use super::shelf::Shelf;
use crate::protocol::groups::GROUP_LEN;
use crate::protocol::message::{FileIndex, Stamp, TransferId};
use crate::protocol::sessions::{FED_MAX, Fed, Feeder, PULLS_MAX, Trouble};

/// Groups of one file that are asked for or not written yet: what hides the way there and back.
pub const FETCHING_MAX: usize = 6;
/// The same for all files of a transfer, in tenths of a group: so many small files, or as many
/// large ones as one file has groups.
const PLACES: usize = FETCHING_MAX * TENTHS;
/// What a whole group counts.
const TENTHS: usize = 10;
// More would not be answered.
const _: () = assert!(PLACES <= PULLS_MAX);
/// Requests that may wait for the one who answers.
const ASKS_MAX: usize = 16;
/// Troubles that may wait to be told.
const TROUBLES_MAX: usize = 16;

/// What a transfer asks of whoever finds it.
#[derive(Debug)]
pub enum Ask {
    /// The content of a group.
    Group {
        /// Its file, for the sender.
        index: FileIndex,
        /// The same, for other receivers.
        stamp: Stamp,
        /// Which one.
        group: u32,
        /// Where it is awaited. Dropped: it has to be sent by the sender itself.
        give: oneshot::Sender<Given>,
    },
    /// What this receiver gave was not what it should be.
    Lied(TransferId),
}

/// Content from another receiver: hostile until it is verified.
#[derive(Debug)]
pub struct Given {
    /// The bytes.
    pub content: Bytes,
    /// Who gave it: the transfer to it.
    pub from: TransferId,
}

/// The end of a transfer. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Feed {
    /// What is there for others.
    pub shelf: Arc<Shelf>,
    asks: mpsc::Sender<Ask>,
    places: Arc<Semaphore>,
    pauses: watch::Sender<Pauses>,
    feeder: watch::Sender<Option<Feeder>>,
    fed: Arc<Mutex<HashMap<FileIndex, u64>>>,
}

/// The end of the one who answers.
#[derive(Debug)]
pub struct Feeding {
    /// What is asked for.
    pub asks: mpsc::Receiver<Ask>,
    /// Who to get it from; `None` until the sender has said it.
    pub feeder: watch::Receiver<Option<Feeder>>,
    /// What to complain about to the sender.
    pub troubles: mpsc::Sender<(TransferId, Trouble)>,
}

/// Complaints for the sender, in order.
pub type Troubles = mpsc::Receiver<(TransferId, Trouble)>;

/// How many of [`PLACES`] a group of `len` bytes takes.
fn places(len: u64) -> u32 {
    let tenths = (len.saturating_mul(TENTHS as u64)).div_ceil(GROUP_LEN);
    tenths.clamp(1, TENTHS as u64) as u32
}

impl Feed {
    /// Both ends, and what the transfer has to tell the sender.
    pub fn new() -> (Self, Feeding, Troubles) {
        let (asks, asked) = mpsc::channel(ASKS_MAX);
        let (complain, troubles) = mpsc::channel(TROUBLES_MAX);
        let feeder = watch::Sender::new(None);
        let feeding = Feeding {
            asks: asked,
            feeder: feeder.subscribe(),
            troubles: complain,
        };
        let feed = Self {
            shelf: Arc::default(),
            asks,
            places: Arc::new(Semaphore::new(PLACES)),
            pauses: watch::Sender::default(),
            feeder,
            fed: Arc::default(),
        };
        (feed, feeding, troubles)
    }

    /// From now on content comes from there.
    pub fn set_feeder(&self, feeder: Option<Feeder>) {
        self.feeder.send_replace(feeder);
    }

    /// Who that is.
    pub fn feeder(&self) -> Option<Feeder> {
        self.feeder.borrow().clone()
    }

    /// Who is paused: nothing is asked for that a person has stopped.
    pub fn set_pauses(&self, pauses: &Pauses) {
        self.pauses.send_if_modified(|before| {
            let changed = before != pauses;
            if changed {
                before.clone_from(pauses);
            }
            changed
        });
    }

    /// Gets a group of `len` bytes, as soon as it is its turn and it is there. `None` if the sender
    /// has to send it. Cancel-safe: it is not asked for any more. What comes with it is to be held
    /// until the content is on the disk: then the next one may come.
    pub async fn fetch(
        &self,
        index: FileIndex,
        stamp: Stamp,
        (group, len): (u32, u64),
    ) -> Option<(Given, OwnedSemaphorePermit)> {
        gate(&mut self.pauses.subscribe(), index).await;
        let places = places(len);
        let place = self.places.clone().acquire_many_owned(places).await.ok()?;
        let (give, given) = oneshot::channel();
        let ask = Ask::Group {
            index,
            stamp,
            group,
            give,
        };
        self.asks.send(ask).await.ok()?;
        Some((given.await.ok()?, place))
    }

    /// What this receiver gave was not what it should be.
    pub async fn lied(&self, from: TransferId) {
        let _ = self.asks.send(Ask::Lied(from)).await;
    }

    /// Bytes of a file have come from another receiver and are verified.
    pub fn count(&self, index: FileIndex, bytes: u64) {
        let mut fed = self.fed.lock().unwrap_or_else(PoisonError::into_inner);
        *fed.entry(index).or_default() += bytes;
    }

    /// What has come since the last time, for the sender; empty at the end.
    pub fn counted(&self) -> Vec<Fed> {
        let mut fed = self.fed.lock().unwrap_or_else(PoisonError::into_inner);
        let some: Vec<FileIndex> = fed.keys().copied().take(FED_MAX).collect();
        let take = |index| Some((index, fed.remove(&index)?));
        let taken = some.into_iter().filter_map(take);
        taken.map(|(index, bytes)| Fed { index, bytes }).collect()
    }
}
