//! The will of a sender on disk, so that a receiver whose program is started anew can go on without
//! the sender, too. It lies beside the journal of the transfer and is removed with it.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;

use super::partial::SharedJournal;
use super::table::{FileTable, SharedTable};
use super::will::{Bequest, Will};
use crate::net::link::PathInfo;
use crate::protocol::groups::Hash;
use crate::protocol::message::{Entry, FileIndex, HAVE_GROUPS_MAX, TransferId};
use crate::protocol::sessions::{Feeder, SessionNote, WillFile};
use crate::storage::record_file::{self, Format, Sink, Source};

/// Room for the hashes of a tebibyte and the names of all files that an heir remembers.
const FORMAT: Format = Format {
    magic: b"pcwill\0\x01",
    len_max: 128 * 1024 * 1024,
};
/// Entries in one record: with the longest names they fit into it.
const PAGE_MAX: u32 = 64;

#[derive(Debug, Serialize, Deserialize)]
struct Head {
    transfer: TransferId,
    note: SessionNote,
    path: PathInfo,
    heirs: Vec<Feeder>,
    /// What identifies the manifest.
    entries: u32,
    digest: Hash,
}

#[derive(Debug, Serialize, Deserialize)]
enum Page {
    Entries(Vec<Entry>),
    File(WillFile),
    /// The file is whole.
    End,
}

/// What is known without the sender.
#[derive(Debug)]
pub struct KeptWill {
    /// What the sender said of the session.
    pub(super) note: SessionNote,
    /// The way to it, as it was.
    pub(super) path: PathInfo,
    /// What it offered.
    pub(super) table: FileTable,
    /// What it said in case that it leaves.
    pub(super) will: Will,
}

impl KeptWill {
    /// The will of this transfer; `None` if there is none, or not all of it. Blocking.
    pub fn load(dir: &Path, transfer: TransferId) -> io::Result<Option<Self>> {
        let Some(mut source) = Source::open(&file(dir, transfer), FORMAT)? else {
            return Ok(None);
        };
        let Some(head) = source.read::<Head>()? else {
            return Ok(None);
        };
        let mut kept = Self {
            note: head.note,
            path: head.path,
            table: FileTable::default(),
            will: Will::default(),
        };
        loop {
            let taken = match source.read::<Page>()? {
                Some(Page::Entries(entries)) => kept.push(&entries),
                Some(Page::File(file)) => {
                    let offered = kept.table.file_size(file.index);
                    kept.will.add(transfer, file, offered).is_ok()
                }
                Some(Page::End) => break,
                None => false,
            };
            if !taken {
                return Ok(None);
            }
        }
        let is_the_same = head.transfer == transfer
            && kept.table.len() == head.entries
            && kept.table.digest() == head.digest
            && kept.will.name_heirs(head.heirs).is_ok();
        Ok(is_the_same.then_some(kept))
    }

    fn push(&mut self, entries: &[Entry]) -> bool {
        entries.iter().all(|entry| self.table.push(entry).is_ok())
    }
}

/// What is to be written.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) transfer: TransferId,
    pub(super) note: SessionNote,
    pub(super) path: PathInfo,
    pub(super) heirs: Vec<Feeder>,
    pub(super) files: BTreeMap<FileIndex, Arc<Bequest>>,
    /// Of which so many entries count.
    pub(super) table: SharedTable,
    pub(super) entries: u32,
    /// What is done must be known to be done before.
    pub(super) journal: SharedJournal,
}

impl Draft {
    /// Blocking.
    fn write(self, to: &Path) -> io::Result<()> {
        self.journal.sync()?;
        record_file::write(to, FORMAT, |sink| {
            let digest = self.table.lock().digest();
            sink.push(&Head {
                transfer: self.transfer,
                note: self.note,
                path: self.path,
                heirs: self.heirs,
                entries: self.entries,
                digest,
            })?;
            push_entries(sink, &self.table, self.entries)?;
            for (index, file) in &self.files {
                push_file(sink, *index, file)?;
            }
            sink.push(&Page::End)
        })
    }
}

fn push_entries(sink: &mut Sink, table: &SharedTable, entries: u32) -> io::Result<()> {
    for from in (0..entries).step_by(PAGE_MAX as usize) {
        let page = {
            let table = table.lock();
            let page = from..entries.min(from + PAGE_MAX);
            page.filter_map(|index| table.entry(index)).collect()
        };
        sink.push(&Page::Entries(page))?;
    }
    Ok(())
}

fn push_file(sink: &mut Sink, index: FileIndex, file: &Bequest) -> io::Result<()> {
    let pages = file.groups.chunks(HAVE_GROUPS_MAX);
    for (first, groups) in (0..).step_by(HAVE_GROUPS_MAX).zip(pages) {
        sink.push(&Page::File(WillFile {
            index,
            size: file.header.size,
            modified: file.header.modified,
            stamp: file.header.stamp,
            first,
            groups: groups.to_vec(),
        }))?;
    }
    Ok(())
}

fn file(dir: &Path, transfer: TransferId) -> PathBuf {
    dir.join(format!("{transfer}.will"))
}

/// Has what was said last on disk, and nothing else.
#[derive(Debug)]
pub(super) struct Keeper(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    /// What is written counts only if nothing was said since.
    said: AtomicU64,
    /// Whether there may be something on disk.
    kept: AtomicBool,
    /// One writes at a time.
    turn: Mutex<()>,
}

impl Keeper {
    pub(super) fn new(dir: &Path, transfer: TransferId) -> Self {
        Self(Arc::new(Shared {
            path: file(dir, transfer),
            said: AtomicU64::new(0),
            kept: AtomicBool::new(false),
            turn: Mutex::new(()),
        }))
    }

    /// An earlier run has left one.
    pub(super) fn is_there(&self) {
        self.0.kept.store(true, Ordering::Relaxed);
    }

    /// Writes it; the task says whether it is there afterwards.
    pub(super) fn keep(&self, draft: Draft) -> JoinHandle<bool> {
        self.is_there();
        let (said, shared) = (self.say(), self.0.clone());
        tokio::task::spawn_blocking(move || shared.replace(said, Some(draft)))
    }

    /// What is on disk counts no more.
    pub(super) fn withdraw(&self) {
        // Twice in a row must not have the first removal take itself for outdated.
        if self.0.kept.swap(false, Ordering::Relaxed) {
            let (said, shared) = (self.say(), self.0.clone());
            tokio::task::spawn_blocking(move || shared.replace(said, None));
        }
    }

    /// The same for the end of a transfer; it is gone when what this returns has run, which
    /// blocks.
    pub(super) fn remover(&self) -> impl FnOnce() + Send + use<> {
        let (said, shared) = (self.say(), self.0.clone());
        move || {
            shared.replace(said, None);
        }
    }

    fn say(&self) -> u64 {
        self.0.said.fetch_add(1, Ordering::Relaxed) + 1
    }
}

impl Shared {
    /// Has this on disk instead of what there was, or nothing, unless something else was said
    /// since; whether it is there then. Blocking.
    fn replace(&self, said: u64, draft: Option<Draft>) -> bool {
        let is_last = || self.said.load(Ordering::Relaxed) == said;
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        if !is_last() {
            return false;
        }
        let written = draft.map(|draft| draft.write(&self.path));
        if let Some(Err(error)) = &written {
            tracing::warn!(%error, "what is to be done without the sender is not kept");
        }
        if let Some(Ok(())) = written {
            return is_last();
        }
        if let Err(error) = record_file::remove(&self.path) {
            tracing::warn!(%error, "a will that counts no more cannot be removed");
        }
        false
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
