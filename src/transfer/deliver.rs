//! Brings complete files to their final names, in batches, on the blocking pool.

use std::io;
use std::sync::Arc;

use super::partial::{Partial, Place, SharedJournal};
use super::receive_file::{Intake, Small, is_no_space};
use super::room::Room;
use super::shelf::Shelf;
use crate::config::ConflictPolicy;
use crate::protocol::groups::Hash;
use crate::protocol::message::{EntryKind, FileIndex, Receipt, Stamp};
use crate::storage::folder::Folder;
use crate::storage::journal::Record;
use crate::storage::name::SafePath;
use crate::storage::part::Part;
use crate::storage::publish::{Content, Finished, publish};
use crate::storage::refusal::plain;

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
    /// What there is of it, without the place, if its name turns out to be taken.
    partial: Box<Partial>,
    finished: Finished,
    /// Of content that is in memory.
    room: Option<Room>,
    /// Where others find it then, if they want it.
    shelf: Option<(Arc<Shelf>, Stamp)>,
}

/// What became of a [`Delivery`].
#[derive(Debug)]
pub enum Delivered {
    /// It has its final name and is durable.
    Settled(Receipt),
    /// The disk is full; the content of a small file is lost.
    NoSpace(FileIndex),
    /// Its name is taken by different content, and the person wants to be asked. What there is of
    /// it is kept; the content of a small file is not.
    Taken(FileIndex, Box<Partial>),
    /// It cannot be written.
    CannotWrite(FileIndex, String),
}

impl Delivered {
    /// The entry.
    pub fn index(&self) -> FileIndex {
        match self {
            Self::Settled(receipt) => receipt.index,
            Self::NoSpace(index) | Self::Taken(index, _) | Self::CannotWrite(index, _) => *index,
        }
    }
}

impl Delivery {
    /// A complete file: in its part, or in memory.
    pub fn new(
        intake: &Intake,
        mut partial: Partial,
        small: Option<Small>,
        hash: Hash,
    ) -> Option<Self> {
        let executable = match intake.table.lock().entry(intake.index)?.kind {
            EntryKind::File { executable, .. } => executable,
            EntryKind::Folder { .. } | EntryKind::Symlink { .. } => return None,
        };
        let place = std::mem::replace(&mut partial.place, Place::Nowhere);
        let (content, room) = match (place, small) {
            (Place::Part(part), _) => (Content::Part(part), None),
            (Place::Nowhere | Place::Closed(_) | Place::Existing(_), Some(small)) => {
                let (bytes, tag) = (small.bytes, partial.tag.clone());
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
            policy: intake.policy,
        };
        Some(Self {
            index: intake.index,
            name: intake.name.clone(),
            hash,
            partial: partial.into(),
            finished,
            room,
            shelf: intake
                .feed
                .as_ref()
                .map(|feed| (feed.shelf.clone(), intake.header.stamp)),
        })
    }

    /// The entry's path, as offered.
    pub fn name(&self) -> &str {
        &self.name
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

/// Publishes a batch, each file by its policy, and records it. Blocking.
pub fn deliver(
    batch: Vec<(Delivery, ConflictPolicy)>,
    folder: &Folder,
    journal: &SharedJournal,
) -> Vec<Delivered> {
    let mut finished = Vec::with_capacity(batch.len());
    let mut labels = Vec::with_capacity(batch.len());
    let mut rooms = Vec::new();
    for (delivery, policy) in batch {
        let part = match &delivery.finished.content {
            Content::Part(part) => Some(part.clone()),
            Content::Small { .. } => None,
        };
        let Delivery {
            index,
            name,
            hash,
            partial,
            finished: file,
            room,
            shelf,
        } = delivery;
        rooms.extend(room);
        labels.push((index, name, hash, partial, part, policy, shelf));
        finished.push(Finished { policy, ..file });
    }
    let results = publish(folder, finished);
    drop(rooms);
    let mut records = Vec::with_capacity(labels.len());
    let mut delivered = Vec::with_capacity(labels.len());
    for (label, result) in labels.into_iter().zip(results) {
        let (index, name, hash, partial, part, policy, shelf) = label;
        let ask = policy == ConflictPolicy::Ask;
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
                records.push(done(name.clone(), &receipt));
                records.extend(shelve(shelf, name, folder, &published.path));
                Delivered::Settled(receipt)
            }
            Err(error) if ask && error.kind() == io::ErrorKind::AlreadyExists => {
                Delivered::Taken(index, put_back(partial, part))
            }
            Err(error) => failed(index, &error, part),
        });
    }
    journal.append(&records);
    delivered
}

/// Others may have a file, offered as `name`, that has its name. What the journal keeps of that.
pub fn shelve(
    shelf: Option<(Arc<Shelf>, Stamp)>,
    name: String,
    folder: &Folder,
    path: &SafePath,
) -> Option<Record> {
    let (shelf, stamp) = shelf?;
    match shelf.finished(stamp, folder, path) {
        Ok(looks) => Some(Record::Shelved {
            path: name,
            stamp,
            looks,
        }),
        Err(error) => {
            tracing::debug!(%error, "a file cannot be passed on");
            shelf.never(stamp);
            None
        }
    }
}

/// What there is of a file that was not given its name.
fn put_back(mut partial: Box<Partial>, part: Option<Arc<Part>>) -> Box<Partial> {
    match part {
        Some(part) => partial.place = Place::Part(part),
        None => partial.groups.clear(),
    }
    partial
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
    let no_space = is_no_space(error);
    if !no_space || part.as_ref().is_some_and(|part| part.is_spoiled()) {
        remove(part);
    }
    match no_space {
        true => Delivered::NoSpace(index),
        false => Delivered::CannotWrite(index, plain(error)),
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
