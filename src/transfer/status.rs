//! What others see of a transfer: whole pictures, never differences.
//!
//! Pictures are published through `tokio::sync::watch`: the last one wins, so that a slow or
//! closed watcher never slows a transfer. What must not be missed (the fate of each file) stays
//! in the transfer's file table and is read from there by position, see [`FileQuery`].

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::state::TransferState;
use crate::fault::{Fault, Trouble};
use crate::net::link::PathInfo;
use crate::peer::Party;
use crate::protocol::groups::Hash;
use crate::protocol::message::{FileIndex, Outcome, SinkFault, Timestamp, TransferId};
use crate::text::{Shown, bytes, count, day};

/// Which way the files go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// From us.
    Sending,
    /// To us.
    Receiving,
}

/// A transfer as it is now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TransferSnapshot {
    /// Its id.
    pub id: TransferId,
    /// The session that it belongs to, if the files go to several receivers.
    pub session: Option<TransferId>,
    /// Which way the files go.
    pub direction: Direction,
    /// The peer; `None` before the first contact with an address.
    pub peer: Option<Party>,
    /// Name of the peer, or the address that was dialled. Show with [`crate::text::Shown`].
    pub peer_name: String,
    /// Whether this peer is trusted (compared words, or told us to).
    pub trusted: bool,
    /// The three words that both screens show, while connected to a peer that is not trusted.
    pub words: Option<String>,
    /// Where it is.
    pub state: TransferState,
    /// Whether the receiving person accepted it, now or in an earlier run: then nobody is asked
    /// again.
    #[serde(default)]
    pub accepted: bool,
    /// Whether nothing works on it: an earlier run left it, and it goes on when somebody says so.
    #[serde(default)]
    pub dormant: bool,
    /// Who paused it, while it is paused.
    pub paused_by: Option<PausedBy>,
    /// Why it failed, was rejected, or what holds it up now.
    pub fault: Option<Fault>,
    /// Names of the first entries at top level, at most [`TOP_NAMES_MAX`].
    pub top_names: Vec<TopName>,
    /// How many entries there are at top level.
    pub top_count: u32,
    /// Files in the manifest (not folders and links).
    pub files: u32,
    /// Files that are settled well.
    pub files_done: u32,
    /// Files that failed.
    pub files_failed: u32,
    /// Bytes of all files.
    pub bytes: u64,
    /// Bytes that are at the receiver and verified, or were there before.
    pub bytes_done: u64,
    /// Bytes of content that travelled in this run of the program.
    pub bytes_moved: u64,
    /// Bytes per second, smoothed over about 3 s; 0 while nothing moves.
    pub rate: u64,
    /// Seconds left at this rate, where that can be said.
    pub eta_seconds: Option<u64>,
    /// What limits the speed.
    pub limit: Limit,
    /// How the bytes travel, while connected.
    pub path: Option<PathInfo>,
    /// The folder that the files go to; receiving only.
    #[serde(with = "crate::text::path_option")]
    pub folder: Option<PathBuf>,
    /// What the person is asked; receiving and [`TransferState::AwaitingAnswer`] only.
    pub question: Option<Question>,
    /// The first file whose name is taken by different content and that waits for the person to
    /// say what shall become of it. Everything else goes on meanwhile.
    pub conflict: Option<Conflict>,
    /// How many such files there are.
    pub conflicts: u32,
    /// Seconds since it was started here, without pauses of the program.
    pub seconds: f64,
    /// When it was started, in seconds since 1970.
    pub started: u64,
    /// Position behind the last settled file, for [`FileQuery::Settled`].
    pub settled: u32,
    /// Entries of all kinds.
    pub entries: u32,
    /// What is passed on between the receivers of a session.
    #[serde(default)]
    pub passing: Passing,
    /// The entries that failed first, in the order in which they did; at most [`FAILURES_MAX`].
    /// The whole list is in the file table.
    #[serde(default)]
    pub failures: Vec<FailedEntry>,
    /// How many entries of all kinds failed.
    #[serde(default)]
    pub entries_failed: u32,
    /// What came again because it was damaged when it came first, of files that are whole by now;
    /// receiving only.
    #[serde(default)]
    pub repaired: Option<Repaired>,
}

/// What came again because it was damaged when it came first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repaired {
    /// The path of the first such file, as offered. Show with [`crate::text::Shown`].
    pub path: String,
    /// How many files there are.
    pub files: u32,
    /// Parts of all of them.
    pub parts: u32,
}

impl Repaired {
    /// `2 damaged parts of holiday.mp4 were fetched again.`
    pub fn words(&self) -> String {
        let parts = count(self.parts.into(), "damaged part", "damaged parts");
        let were = if self.parts == 1 { "was" } else { "were" };
        let others = match self.files.saturating_sub(1) {
            0 => String::new(),
            n => format!(" and {}", count(n.into(), "other file", "other files")),
        };
        format!(
            "{parts} of {}{others} {were} fetched again.",
            Shown(&self.path)
        )
    }
}

/// Most entries in [`TransferSnapshot::failures`].
pub const FAILURES_MAX: usize = 5;

/// An entry that was not saved at the receiver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedEntry {
    /// Its path, as offered. Show with [`crate::text::Shown`].
    pub path: String,
    /// Why.
    pub why: SinkFault,
}

/// What is passed on between the receivers of a session, as far as one transfer knows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Passing {
    /// Who the receiver gets content from, if not from here; sending only. Show with
    /// [`crate::text::Shown`].
    pub through: Option<String>,
    /// Receivers who say that this one passed on damaged content, a few at most; sending only. One
    /// alone may be wrong, or lie itself.
    pub blamed_by: Vec<String>,
    /// Why the others get nothing from this receiver, while that is so; sending only.
    #[serde(default)]
    pub shortcoming: Option<Shortcoming>,
    /// Receivers that passed on wrong data to this computer, a few at most; receiving only. Here
    /// that is certain: it was not what the sender said. Show with [`crate::text::Shown`].
    #[serde(default)]
    pub liars: Vec<String>,
    /// Whether the receiver says that it gets the rest from others if this program ends; sending
    /// only.
    #[serde(default)]
    pub goes_on: bool,
    /// How many get the same, this computer included; receiving only, 0 if no others.
    pub receivers: u32,
    /// Whether this computer may pass content on to them; receiving only.
    pub passes_on: bool,
}

/// Why the others do not get content from a receiver that passes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shortcoming {
    /// They cannot reach it. That need not be its fault.
    OutOfReach,
    /// It is there, and gives nothing of what it has.
    Withholds,
    /// It denies to have what it has received, as the others say: somebody may have moved it away.
    Denies,
    /// One of the others says that it got nothing from it. Nobody knows which of both it is.
    Doubted,
}

impl Passing {
    /// What a person should know before saying yes; `None` if it goes to nobody else.
    pub fn invitation(&self) -> Option<String> {
        let others = match self.receivers.saturating_sub(1) {
            0 => return None,
            1 => "1 other device".to_owned(),
            n => format!("{n} other devices"),
        };
        Some(match self.passes_on {
            true => format!("Also goes to {others}. You may pass parts of it on to each other."),
            false => format!("Also goes to {others}."),
        })
    }
}

impl TransferSnapshot {
    /// Whether it is with a program of the original's kind: nothing is encrypted, nothing is
    /// verified, and the name is only what it calls itself.
    pub fn is_legacy(&self) -> bool {
        let plain = |path: &PathInfo| !path.kind.is_encrypted();
        self.peer.is_some_and(|peer| peer.legacy().is_some())
            || self.path.as_ref().is_some_and(plain)
    }

    /// Whether it has ended well as far as we know, but others passed it on and nobody says that
    /// it has arrived.
    pub fn is_unconfirmed(&self) -> bool {
        let unconfirmed = Trouble::Unconfirmed;
        matches!(&self.fault, Some(Fault::Original { trouble, .. }) if *trouble == unconfirmed)
    }
}

/// Most names in [`TransferSnapshot::top_names`].
pub const TOP_NAMES_MAX: usize = 20;

/// A file or folder at the top level of a transfer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopName {
    /// Its name, as offered.
    pub name: String,
    /// Files in it if it is a folder, `None` if it is a file or link.
    pub files: Option<u32>,
    /// Bytes of it or in it.
    pub bytes: u64,
}

/// Who paused a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PausedBy {
    /// The person here.
    Us,
    /// The person at the other side.
    Peer,
    /// The receiver's disk is full; it goes on by itself.
    DiskFull,
}

/// What limits the speed now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Limit {
    /// Not known (yet).
    Unknown,
    /// The network between the two; or the other side, if it does not say so.
    Network,
    /// Reading or writing here.
    Disk,
    /// Writing at the receiver, which says so.
    PeerDisk,
    /// The speed limit that was set.
    Setting,
}

/// A question to the person: shall these files be taken?
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// Bytes free in the folder.
    pub free: u64,
    /// Why accepting is impossible as things are.
    pub obstacle: Option<Fault>,
    /// Seconds until it counts as not answered.
    pub seconds_left: u64,
    /// When that is, in seconds since 1970; 0 if it is not known.
    #[serde(default)]
    pub until: u64,
    /// How often it has been asked by now: it is asked again when there is room at last, when
    /// more is offered, and when it was accepted but the place will not do.
    pub round: u32,
}

/// A file whose name is taken by different content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conflict {
    /// Its number in the manifest.
    pub index: FileIndex,
    /// Its path, as offered. Show with [`crate::text::Shown`].
    pub path: String,
    /// The file that has the name now.
    pub old: Version,
    /// The file that would come.
    pub new: Version,
    /// What the new one would be called if both are kept: the path below the folder.
    pub keep_both_as: String,
}

/// What tells two files of one name apart before their content does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// Size in bytes.
    pub bytes: u64,
    /// Modification time.
    pub modified: Timestamp,
}

impl Version {
    /// `2.10 MB, today 14:03`; `now` is in seconds since 1970.
    pub fn words(&self, now: u64) -> String {
        let seconds = self.modified.0.div_euclid(1_000_000_000);
        format!("{}, {}", bytes(self.bytes), day(seconds, now))
    }
}

/// Where one file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileState {
    /// Its turn has not come.
    Waiting,
    /// Being compared with what is there already.
    Checking,
    /// On its way.
    Active,
    /// Paused by itself.
    Paused,
    /// Its name is taken by different content; the person is asked, see [`Conflict`].
    Asking,
    /// Settled.
    Settled(Outcome),
}

/// One row of a transfer's file table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRow {
    /// Its number in the manifest.
    pub index: FileIndex,
    /// Its path, as offered. Show with [`crate::text::Shown`].
    pub path: String,
    /// What kind of entry it is.
    pub kind: RowKind,
    /// Its size in bytes.
    pub bytes: u64,
    /// Bytes that are at the receiver.
    pub bytes_done: u64,
    /// Where it is.
    pub state: FileState,
    /// Path that it was saved under, if settled and another one than `path`.
    pub saved_as: Option<String>,
    /// BLAKE3 hash, if settled with content at the receiver.
    pub hash: Option<Hash>,
}

/// What kind of entry a row is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RowKind {
    /// A regular file.
    File,
    /// A folder.
    Folder,
    /// A symbolic link.
    Symlink,
}

/// Which rows of a file table are wanted. At most [`ROWS_MAX`] come back at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FileQuery {
    /// Rows by their number in the manifest, from `from` on.
    Range {
        /// First row.
        from: u32,
        /// How many.
        count: u32,
    },
    /// Rows in the order in which they were settled, from position `from` on: ask again with
    /// `from` + the number of rows received, and none is missed or seen twice.
    Settled {
        /// First position.
        from: u32,
    },
}

/// Most rows in one answer.
pub const ROWS_MAX: u32 = 1024;
