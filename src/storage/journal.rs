//! What an incoming transfer has on disk, in one append-only log for each transfer.
//!
//! The log is a file of records (see [`record_file`](super::record_file)) that starts with
//! [`MAGIC`]. The first record is the [`JournalHead`], the others are [`Record`]s. What follows the
//! first damaged record was never promised to anybody and is cut off. A record about a part counts
//! only together with that part (see [`PartIdentity`]).

mod replay;

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, BufReader, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::file_looks::FileLooks;
use super::part::PartIdentity;
use super::path_bytes;
use super::record_file::{fill, next_record, push_record};
use crate::config::{ConflictAnswer, ConflictPolicy};
use crate::peer::Party;
use crate::protocol::groups::Hash;
use crate::protocol::message::{Outcome, Stamp, TransferId};

pub use replay::{DoneRecord, PartRecord, Replay};

/// What a journal starts with: our name and the version of the format.
pub const MAGIC: &[u8; 8] = b"pcjrnl\0\x02";

/// Most bytes of a journal: a million files and tens of TiB of group hashes fit.
pub const JOURNAL_LEN_MAX: u64 = 4 * 1024 * 1024 * 1024;

/// Most hashes in one record; longer lists are written as several records.
const HASHES_MAX: usize = 16 * 1024;

/// Most journals that are looked at on start-up.
const JOURNALS_MAX: usize = 10_000;

const SUFFIX: &str = "journal";

/// What must be known about a transfer to go on with it after a restart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalHead {
    /// Which transfer.
    pub transfer: TransferId,
    /// Who sends; nobody else may continue it.
    pub peer: Party,
    /// Its name then.
    pub peer_name: String,
    /// The folder that the files go to.
    #[serde(with = "path_bytes")]
    pub folder: PathBuf,
    /// What happens when a name is taken.
    pub on_conflict: ConflictPolicy,
    /// The top-level names that the person did not want, as offered.
    pub excluded: Vec<String>,
    /// When it started, in seconds since 1970.
    pub started: u64,
}

/// Something that is on disk now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Record {
    /// Groups that are verified and durable in a part.
    Groups {
        /// The file, as offered.
        path: String,
        /// Stamp of the source that the groups came from.
        stamp: Stamp,
        /// Size of the source then, in bytes.
        size: u64,
        /// The part after its sync.
        part: PartIdentity,
        /// Tag of the part.
        tag: String,
        /// Number of the first group in `hashes`.
        first: u32,
        /// Hashes of consecutive groups.
        hashes: Vec<Hash>,
    },
    /// An entry that is settled.
    Done {
        /// The entry, as offered.
        path: String,
        /// What became of it.
        outcome: Outcome,
        /// Where it was saved, if under another path.
        saved_as: Option<String>,
        /// Hash of the content, if it is a file that is here.
        hash: Option<Hash>,
    },
    /// How much the transfer is in all, for showing it before the peer is back.
    Totals {
        /// Files.
        files: u32,
        /// Bytes.
        bytes: u64,
    },
    /// Everything is settled.
    Complete,
    /// What the person said about a name that is taken.
    Answer {
        /// The entry, as offered; `None` for all that are not answered one by one.
        path: Option<String>,
        /// What to do.
        answer: ConflictAnswer,
    },
    /// The person paused or resumed.
    Paused {
        /// The entry, as offered; `None` for the whole transfer.
        path: Option<String>,
        /// Whether it stands still from now on.
        paused: bool,
    },
    /// The person passes nothing of it on, whatever the settings say.
    KeepsToItself,
    /// Others may have a file that is here, as long as it looks like this.
    Shelved {
        /// The entry, as offered.
        path: String,
        /// Stamp of the source that it came from.
        stamp: Stamp,
        /// What it looked like when it was finished.
        looks: FileLooks,
    },
}

/// An open journal; the only writer of its file.
#[derive(Debug)]
pub struct Journal {
    file: File,
    path: PathBuf,
    len: u64,
    /// Whether the end of the file is unknown after a failed write that could not be undone.
    broken: bool,
}

impl Journal {
    /// Makes a journal, durable at once. One of the same transfer is replaced; a crash leaves
    /// the old or the new one.
    pub fn create(dir: &Path, head: &JournalHead) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        let mut bytes = MAGIC.to_vec();
        push_record(&mut bytes, head)?;
        let path = journal_path(dir, head.transfer);
        let fresh = path.with_extension("new");
        match std::fs::remove_file(&fresh) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            Ok(()) | Err(_) => {}
        }
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create_new(true)
            .mode(0o600)
            .open(&fresh)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        std::fs::rename(&fresh, &path)?;
        File::open(dir)?.sync_all()?;
        Ok(Self {
            file,
            path,
            len: bytes.len() as u64,
            broken: false,
        })
    }

    /// Opens the journal of a transfer and cuts off a damaged end. `None` if there is none, or
    /// none whose head can be read.
    pub fn open(
        dir: &Path,
        transfer: TransferId,
    ) -> io::Result<Option<(Self, JournalHead, Replay)>> {
        let path = journal_path(dir, transfer);
        let file = match OpenOptions::new().read(true).append(true).open(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        let Some((head, replay, len)) = read(&file, transfer)? else {
            return Ok(None);
        };
        if file.metadata()?.len() != len {
            file.set_len(len)?;
            file.sync_all()?;
        }
        let journal = Self {
            file,
            path,
            len,
            broken: false,
        };
        Ok(Some((journal, head, replay)))
    }

    /// Adds records, all or none. They are durable once [`Self::handle`] is synced. What they say
    /// about a part must be durable before.
    pub fn append(&mut self, records: &[Record]) -> io::Result<()> {
        if self.broken {
            return Err(io::Error::other("the journal could not be written before"));
        }
        let mut bytes = Vec::with_capacity(256);
        for record in records {
            push_split(&mut bytes, record)?;
        }
        let len = self.len + bytes.len() as u64;
        if len > JOURNAL_LEN_MAX {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        if let Err(e) = self.file.write_all(&bytes) {
            // Later records behind half a one would be lost with it.
            self.broken = self.file.set_len(self.len).is_err();
            return Err(e);
        }
        self.len = len;
        Ok(())
    }

    /// The file, for making durable what was appended without keeping the journal from taking
    /// more.
    pub fn handle(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// Removes the journal: the transfer is over.
    pub fn remove(self) -> io::Result<()> {
        std::fs::remove_file(&self.path)?;
        match self.path.parent() {
            Some(dir) => File::open(dir)?.sync_all(),
            None => Ok(()),
        }
    }
}

/// The unfinished transfers that have a journal in `dir`, oldest first. Journals that cannot be
/// read are left out; they stay where they are.
pub fn list(dir: &Path) -> io::Result<Vec<(JournalHead, Replay)>> {
    let files = match std::fs::read_dir(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let mut found = Vec::new();
    for file in files.take(JOURNALS_MAX) {
        let path = file?.path();
        if path.extension().is_none_or(|e| e != SUFFIX) {
            continue;
        }
        let name = path.file_stem().and_then(|stem| stem.to_str());
        let Some(transfer) = name.and_then(|name| name.parse().ok()) else {
            continue;
        };
        match File::open(&path).and_then(|file| read(&file, transfer)) {
            Ok(Some((head, replay, _))) if !replay.complete => found.push((head, replay)),
            Ok(_) => {}
            Err(error) => tracing::warn!(%transfer, %error, "cannot read a journal"),
        }
    }
    found.sort_by_key(|(head, _)| (head.started, head.transfer));
    Ok(found)
}

fn journal_path(dir: &Path, transfer: TransferId) -> PathBuf {
    dir.join(format!("{transfer}.{SUFFIX}"))
}

/// Appends a record, as several ones if it has many hashes.
fn push_split(bytes: &mut Vec<u8>, record: &Record) -> io::Result<()> {
    let Record::Groups { first, hashes, .. } = record else {
        return push_record(bytes, record);
    };
    if hashes.len() <= HASHES_MAX {
        return push_record(bytes, record);
    }
    let mut piece = record.clone();
    for (n, chunk) in hashes.chunks(HASHES_MAX).enumerate() {
        if let Record::Groups {
            first: start,
            hashes,
            ..
        } = &mut piece
        {
            *start = first.saturating_add((n * HASHES_MAX) as u32);
            *hashes = chunk.to_vec();
        }
        push_record(bytes, &piece)?;
    }
    Ok(())
}

/// Head, records, and the length up to the first damaged record. `None` if that is the head or
/// the head is of another transfer.
fn read(file: &File, transfer: TransferId) -> io::Result<Option<(JournalHead, Replay, u64)>> {
    let mut from = BufReader::with_capacity(64 * 1024, file.take(JOURNAL_LEN_MAX));
    let mut magic = [0; MAGIC.len()];
    if !fill(&mut from, &mut magic)? || magic != *MAGIC {
        return Ok(None);
    }
    let mut len = MAGIC.len() as u64;
    let mut payload = Vec::new();
    let Some((head, used)) = next_record::<JournalHead>(&mut from, &mut payload)? else {
        return Ok(None);
    };
    if head.transfer != transfer {
        return Ok(None);
    }
    len += used;
    let mut replay = Replay::default();
    while let Some((record, used)) = next_record(&mut from, &mut payload)? {
        replay.apply(record);
        len += used;
    }
    Ok(Some((head, replay, len)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests;
