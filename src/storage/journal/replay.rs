//! What the records of a journal amount to.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::Record;
use crate::config::ConflictAnswer;
use crate::protocol::groups::{Hash, group_count, group_len};
use crate::protocol::message::{Outcome, Stamp};
use crate::storage::file_looks::FileLooks;
use crate::storage::part::PartIdentity;

/// Most files of an earlier run that others may have: of more a receiver would not remember all.
const SHELVED_MAX: usize = 64 * 1024;

/// What the records of a journal amount to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Replay {
    /// Files that have a part, by offered path.
    pub parts: HashMap<String, PartRecord>,
    /// Entries that are settled, by offered path.
    pub done: HashMap<String, DoneRecord>,
    /// Files and bytes of the whole transfer, if they were known.
    pub totals: Option<(u32, u64)>,
    /// Whether everything is settled.
    pub complete: bool,
    /// What the person said about names that are taken, by offered path.
    pub answers: HashMap<String, ConflictAnswer>,
    /// What the person said about all others.
    pub answer_all: Option<ConflictAnswer>,
    /// Whether the person paused the whole transfer.
    pub paused: bool,
    /// Entries that the person paused by themselves, as offered.
    pub paused_files: HashSet<String>,
    /// Whether the person passes nothing of it on.
    pub keeps_to_itself: bool,
    /// Files that others may have, by offered path: stamp of the source, and what they look like.
    pub shelved: HashMap<String, (Stamp, FileLooks)>,
}

/// What is known about a part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartRecord {
    /// Last stamp of the source.
    pub stamp: Stamp,
    /// Last size of the source, in bytes.
    pub size: u64,
    /// The part after its last sync.
    pub part: PartIdentity,
    /// Tag of the part.
    pub tag: String,
    /// Hashes of the groups that were verified and durable, by group.
    pub groups: BTreeMap<u32, Hash>,
}

/// What is known about a settled entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DoneRecord {
    /// What became of it.
    pub outcome: Outcome,
    /// Where it was saved, if under another path.
    pub saved_as: Option<String>,
    /// Hash of the content, if it is a file that is here.
    pub hash: Option<Hash>,
}

impl Replay {
    /// Takes the next record into account.
    pub(super) fn apply(&mut self, record: Record) {
        match record {
            Record::Groups {
                path,
                stamp,
                size,
                part,
                tag,
                first,
                hashes,
            } => {
                self.done.remove(&path);
                self.shelved.remove(&path);
                let known = self.parts.entry(path).or_insert_with(|| PartRecord {
                    stamp,
                    size,
                    part,
                    tag: tag.clone(),
                    groups: BTreeMap::new(),
                });
                known.update(stamp, size, part, tag);
                let numbers = first..group_count(size);
                known.groups.extend(numbers.zip(hashes));
            }
            Record::Done {
                path,
                outcome,
                saved_as,
                hash,
            } => {
                self.parts.remove(&path);
                self.answers.remove(&path);
                self.paused_files.remove(&path);
                let done = DoneRecord {
                    outcome,
                    saved_as,
                    hash,
                };
                self.done.insert(path, done);
            }
            Record::Totals { files, bytes } => self.totals = Some((files, bytes)),
            Record::Complete => self.complete = true,
            Record::KeepsToItself => self.keeps_to_itself = true,
            Record::Shelved { path, stamp, looks } => {
                if self.shelved.len() < SHELVED_MAX {
                    self.shelved.insert(path, (stamp, looks));
                }
            }
            Record::Answer { path, answer } => match path {
                Some(path) => {
                    self.answers.insert(path, answer);
                }
                None => self.answer_all = Some(answer),
            },
            Record::Paused { path, paused } => match (path, paused) {
                (None, paused) => self.paused = paused,
                (Some(path), true) => {
                    self.paused_files.insert(path);
                }
                (Some(path), false) => {
                    self.paused_files.remove(&path);
                }
            },
        }
    }
}

impl PartRecord {
    /// Goes over to a newer state of source and part, and forgets the groups that it ends: all of
    /// them if the part is another file, otherwise those that have another length now, because
    /// the last group of a file changes with the file's size. The hash of an only group is of
    /// another kind than those of several.
    fn update(&mut self, stamp: Stamp, size: u64, part: PartIdentity, tag: String) {
        if self.tag != tag || self.part.inode != part.inode {
            self.groups.clear();
        } else if self.size != size {
            let old = self.size;
            let same_kind = (group_count(old) == 1) == (group_count(size) == 1);
            self.groups
                .retain(|&g, _| same_kind && group_len(old, g) == group_len(size, g));
        }
        self.stamp = stamp;
        self.size = size;
        self.part = part;
        self.tag = tag;
    }
}
