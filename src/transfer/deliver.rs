//! Brings complete files to their final names, in batches, on the blocking pool.

use std::io;
use std::sync::Arc;

use super::partial::{Partial, Place, SharedJournal};
use super::receive_file::{Intake, Small, is_no_space};
use super::room::Room;
use crate::config::ConflictPolicy;
use crate::protocol::groups::Hash;
use crate::protocol::message::{EntryKind, FileIndex, Receipt};
use crate::storage::folder::Folder;
use crate::storage::journal::Record;
use crate::storage::part::Part;
use crate::storage::publish::{Content, Finished, publish};

/// Most files of one batch: large enough that one sync serves many, small enough that receipts
/// come steadily.
pub const BATCH_MAX: usize = 512;

/// What a part counts among files that wait: of a process that may have 1024 files open, parts
/// that wait use about a hundred.
const PART_WEIGHT: usize = 64 * 1024;

/// A complete file that has no final name yet.
#[derive(Debug)]
pub struct Delivery {
    index: FileIndex,
    name: String,
    hash: Hash,
    finished: Finished,
    /// Of content that is in memory.
    room: Option<Room>,
}

/// What became of a [`Delivery`].
#[derive(Debug)]
pub enum Delivered {
    /// It has its final name and is durable.
    Settled(Receipt),
    /// The disk is full; the content of a small file is lost.
    NoSpace(FileIndex),
    /// It cannot be written.
    CannotWrite(FileIndex, String),
}

impl Delivered {
    /// The entry.
    pub fn index(&self) -> FileIndex {
        match self {
            Self::Settled(receipt) => receipt.index,
            Self::NoSpace(index) | Self::CannotWrite(index, _) => *index,
        }
    }
}

impl Delivery {
    /// A complete file: in its part, or in memory.
    pub fn new(
        intake: &Intake,
        partial: Partial,
        small: Option<Small>,
        hash: Hash,
    ) -> Option<Self> {
        let executable = match intake.table.lock().entry(intake.index)?.kind {
            EntryKind::File { executable, .. } => executable,
            EntryKind::Folder { .. } | EntryKind::Symlink { .. } => return None,
        };
        let (content, room) = match (partial.place, small) {
            (Place::Part(part), _) => (Content::Part(part), None),
            (Place::Nowhere | Place::Closed(_) | Place::Existing(_), Some(small)) => {
                let (bytes, tag) = (small.bytes, partial.tag);
                (Content::Small { bytes, tag }, Some(small.room))
            }
            (Place::Nowhere | Place::Closed(_) | Place::Existing(_), None) => return None,
        };
        let (path, modified) = (intake.path.clone(), intake.header.modified);
        let finished = Finished {
            path,
            modified,
            executable,
            content,
        };
        Some(Self {
            index: intake.index,
            name: intake.name.clone(),
            hash,
            finished,
            room,
        })
    }

    /// The entry.
    pub fn index(&self) -> FileIndex {
        self.index
    }

    /// Removes what there is of it from the disk. Blocking.
    pub fn discard(self) {
        match self.finished.content {
            Content::Part(part) => remove(Some(part)),
            Content::Small { .. } => {}
        }
    }

    /// What it costs to keep it waiting: bytes of memory, or an open file as so many.
    pub fn weight(&self) -> usize {
        match &self.finished.content {
            Content::Small { bytes, .. } => bytes.len(),
            Content::Part(_) => PART_WEIGHT,
        }
    }
}

/// Publishes a batch and records it. Blocking.
pub fn deliver(
    batch: Vec<Delivery>,
    folder: &Folder,
    policy: ConflictPolicy,
    journal: &SharedJournal,
) -> Vec<Delivered> {
    let mut finished = Vec::with_capacity(batch.len());
    let mut labels = Vec::with_capacity(batch.len());
    let mut rooms = Vec::new();
    for delivery in batch {
        rooms.extend(delivery.room);
        let part = match &delivery.finished.content {
            Content::Part(part) => Some(part.clone()),
            Content::Small { .. } => None,
        };
        labels.push((delivery.index, delivery.name, delivery.hash, part));
        finished.push(delivery.finished);
    }
    let results = publish(folder, finished, policy);
    drop(rooms);
    let mut records = Vec::with_capacity(labels.len());
    let mut delivered = Vec::with_capacity(labels.len());
    for ((index, name, hash, part), result) in labels.into_iter().zip(results) {
        delivered.push(match result {
            Ok(published) => {
                let saved_as =
                    (published.path.as_str() != name).then(|| published.path.as_str().to_owned());
                let receipt = Receipt {
                    index,
                    outcome: published.outcome,
                    saved_as,
                    hash: Some(hash),
                };
                records.push(done(name, &receipt));
                Delivered::Settled(receipt)
            }
            Err(error) => failed(index, &error, part),
        });
    }
    journal.append(&records);
    delivered
}

/// What the journal keeps of a receipt.
pub fn done(path: String, receipt: &Receipt) -> Record {
    Record::Done {
        path,
        outcome: receipt.outcome,
        saved_as: receipt.saved_as.clone(),
        hash: receipt.hash,
    }
}

fn failed(index: FileIndex, error: &io::Error, part: Option<Arc<Part>>) -> Delivered {
    if is_no_space(error) {
        Delivered::NoSpace(index)
    } else {
        remove(part);
        Delivered::CannotWrite(index, error.to_string())
    }
}

/// Removes a part that nobody else uses any more.
fn remove(part: Option<Arc<Part>>) {
    if let Some(Ok(part)) = part.map(Arc::try_unwrap)
        && let Err(error) = part.discard()
    {
        tracing::warn!(%error, "a partial file cannot be removed");
    }
}
