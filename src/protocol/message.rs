//! The messages of ALPN `peerconnect/1`. What each one means, who sends it when, and its limits
//! are specified in `README.md` beside this file (the documentation of [`crate::protocol`]).
//!
//! Message enums grow at the end only; any other change is a new ALPN.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub use super::close::Code;
use super::codes::CodeHead;
use super::groups::Hash;
use super::sessions::{Fed, Feeder, HeldPart, PullHead, SessionNote, Trouble, WillFile};
use super::texts::TextHead;

/// ALPN of this protocol version.
pub const ALPN: &[u8] = b"peerconnect/1";

/// Most entries (files, folders, links) of one transfer.
pub const ENTRIES_MAX: u32 = 1_000_000;
/// Most bytes that all paths of one transfer have together.
pub const PATHS_LEN_MAX: usize = 64 * 1024 * 1024;
/// Most bytes of one path, all components and slashes together.
pub const PATH_LEN_MAX: usize = 4096;
/// Most bytes of a peer's name in a [`Hello`].
pub const NAME_LEN_MAX: usize = 128;
/// Most addresses in one [`ConnectionMessage::Addresses`].
pub const ADDRS_TOLD_MAX: usize = 8;
/// Most group hashes in one [`ReceiverMessage::Have`].
pub const HAVE_GROUPS_MAX: usize = 1024;

/// Names a transfer for its whole life: across connections and restarts of both programs.
/// Chosen at random by the sender; only the peer that offered it may use it again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TransferId(pub [u8; 16]);

impl TransferId {
    /// The first four digits, as people type them. Unique among the transfers of a node in all
    /// likelihood, but resolve it with care.
    pub fn short(&self) -> String {
        self.to_string().chars().take(4).collect()
    }
}

impl fmt::Display for TransferId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for TransferId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TransferId({})", self.short())
    }
}

/// The text is not 32 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a transfer id")]
pub struct InvalidTransferId;

impl FromStr for TransferId {
    type Err = InvalidTransferId;

    fn from_str(text: &str) -> Result<Self, InvalidTransferId> {
        let decoded = data_encoding::HEXLOWER_PERMISSIVE.decode(text.as_bytes());
        let bytes = decoded.map_err(|_| InvalidTransferId)?;
        bytes.try_into().map(Self).map_err(|_| InvalidTransferId)
    }
}

/// Position of an entry in its transfer, from 0, in the order of the manifest.
pub type FileIndex = u32;

/// First frame on a bidirectional stream: says what the stream is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Opening {
    /// The connection stream: opened once, by the side that dialled, before anything else.
    Connection(Hello),
    /// The control stream of a transfer: opened by the side that sends the files.
    Transfer(OfferHead),
    /// As [`Self::Connection`], by a caller that has lost its connection to the other side.
    Reconnection {
        /// The same as in [`Self::Connection`].
        hello: Hello,
        /// The connection that was lost: the other side may not have noticed.
        lost: [u8; 16],
    },
    /// The stream of a text: opened by the side that sends it.
    Text(TextHead),
    /// A pull stream: opened by a receiver that gets content from another one.
    Pull(PullHead),
    /// The stream of a one-time code: opened by the side where it was typed.
    Code(CodeHead),
}

/// Who is calling. First half of the three-word comparison, see the specification.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// What this installation calls itself: a claim, shown as text only.
    pub name: String,
    /// Program version, for messages about versions only.
    pub version: String,
    /// The address that the other side was seen at, as a hint about its own NAT.
    pub observed: Option<SocketAddr>,
    /// BLAKE3 of the nonce that [`ConnectionMessage::Reveal`] will show.
    pub commitment: Hash,
}

/// Frames on the connection stream after the [`Hello`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ConnectionMessage {
    /// The answer of the side that was called.
    Welcome {
        /// What this installation calls itself.
        name: String,
        /// Program version.
        version: String,
        /// The address that the caller was seen at.
        observed: Option<SocketAddr>,
        /// Random; chosen before the caller's nonce is known.
        nonce: [u8; 16],
    },
    /// The caller's nonce, whose hash was in the [`Hello`].
    Reveal {
        /// Random; chosen before the other side's nonce was known.
        nonce: [u8; 16],
    },
    /// Where the one who says it can be found: by either side, after the greeting, and again when
    /// it changes. At most [`ADDRS_TOLD_MAX`], most useful first.
    Addresses(Vec<SocketAddr>),
}

/// Announces a transfer; the entries follow as [`SenderMessage::Entries`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfferHead {
    /// The transfer, possibly one that the receiver knows already.
    pub transfer: TransferId,
    /// Entries in the manifest so far.
    pub entries: u32,
    /// Bytes of all files in the manifest so far.
    pub bytes: u64,
    /// BLAKE3 over the encoded entries so far, in order: equal digests are equal manifests.
    pub digest: Hash,
}

/// One file, folder or symbolic link of a manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Relative path with `/` between components. Data, not a path: see `SafePath`.
    pub path: String,
    /// What it is.
    pub kind: EntryKind,
}

/// What an [`Entry`] is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum EntryKind {
    /// A regular file.
    File {
        /// Bytes at the time of the offer; the file's own stream has the last word.
        size: u64,
        /// Modification time.
        modified: Timestamp,
        /// Whether its owner may execute it.
        executable: bool,
    },
    /// A folder. Needed for empty ones; folders on the way to a file need no entry.
    Folder {
        /// Modification time.
        modified: Timestamp,
    },
    /// A symbolic link that stays inside what is sent.
    Symlink {
        /// Relative target, with `/` between components.
        target: String,
    },
}

/// A time as nanoseconds since 1970-01-01 UTC; negative before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Timestamp(pub i64);

/// A fingerprint of size, modification time and inode of a source file. Opaque to the receiver,
/// who gives it back when it resumes: an equal stamp means that the file did not change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Stamp(pub [u8; 16]);

/// Sender to receiver, on the control stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SenderMessage {
    /// The next entries of the manifest, in order.
    Entries(Vec<Entry>),
    /// The manifest has this many entries now. Sent after the first ones and after each attach.
    EntriesEnd {
        /// Entries so far.
        entries: u32,
    },
    /// This file will not come (any more).
    FileFailed {
        /// Which one.
        index: FileIndex,
        /// Why.
        reason: SourceFault,
    },
    /// Pause, resume, cancel.
    Steer(Steer),
    /// Every entry is sent or given up, and nothing will be attached any more.
    Finish {
        /// Entries of the whole transfer.
        entries: u32,
    },
    /// The same goes to others, who may pass it on to each other. Before the first entries, if at
    /// all.
    Session(SessionNote),
    /// From now on this is where content comes from that is referred elsewhere.
    Feeder(Feeder),
    /// What this receiver needs of a file if the origin leaves.
    WillFile(WillFile),
    /// Who gives it then: at most [`HEIRS_MAX`](super::sessions::HEIRS_MAX) members.
    Will(Vec<Feeder>),
}

/// Why a sender gives up a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum SourceFault {
    /// It is not there any more.
    Missing,
    /// It may not be read.
    Unreadable,
    /// It was still being changed while it was read, repeatedly.
    Changing,
    /// The sender's disk failed.
    Io,
}

/// Receiver to sender, on the control stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReceiverMessage {
    /// Answer to an [`OfferHead`]: how many leading entries the receiver holds already, either 0
    /// or all of them. The sender leaves out what is known.
    Known {
        /// Entries that need not be sent again.
        entries: u32,
    },
    /// The person is being asked; this is what is known about the room for the files.
    Asked(Room),
    /// Files may come, as the plan that follows says.
    Accepted,
    /// Nothing may come.
    Declined(DeclineReason),
    /// What to do with the next entries, in order, after those of earlier plans.
    Plan(Vec<PlanRun>),
    /// The plan covers this many entries; those that it lets through may be sent now.
    Start {
        /// Entries planned so far.
        entries: u32,
    },
    /// What the receiver has of a held file. With `more` false the file may be sent.
    Have {
        /// Which file.
        index: FileIndex,
        /// Stamp under which these groups came; `None` if they come from elsewhere.
        stamp: Option<Stamp>,
        /// Number of the first group in `groups`.
        first: u32,
        /// Hashes of verified groups, consecutive; at most [`HAVE_GROUPS_MAX`].
        groups: Vec<Hash>,
        /// Whether more follows for this file.
        more: bool,
    },
    /// A group arrived damaged: send it again.
    Again {
        /// Which file.
        index: FileIndex,
        /// Which group.
        group: u32,
    },
    /// Files that are settled: verified, durable and under their final name, or given up.
    Settled(Vec<Receipt>),
    /// Pause, resume, cancel.
    Steer(Steer),
    /// Everything is settled; the transfer is over.
    Complete,
    /// Whether this receiver passes content on to others. After the acceptance, once.
    PassesOn(bool),
    /// How far this receiver is, now and then.
    Progress {
        /// Bytes of all files that it has and has verified.
        done: u64,
        /// Those that have come from other receivers since the last time; at most
        /// [`FED_MAX`](super::sessions::FED_MAX) files.
        fed: Vec<Fed>,
    },
    /// The receiver that feeds this one does not.
    Trouble {
        /// The transfer to it.
        feeder: TransferId,
        /// What is wrong.
        trouble: Trouble,
    },
    /// Of so many entries this receiver knows all that it must know to get them from others.
    CanGoOn(u32),
    /// Whether this receiver waits for its own disk more than for what comes. At first it does not.
    Behind(bool),
    /// Files of which others may have some from this receiver, instead of those it named before; at
    /// most [`HELD_FILES_MAX`](super::sessions::HELD_FILES_MAX).
    Holds(Vec<HeldPart>),
}

/// Why a receiver declines a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum DeclineReason {
    /// The person said no.
    Person,
    /// Nobody answered in time.
    NoAnswer,
    /// It does not fit.
    NoRoom {
        /// Bytes needed.
        needed: u64,
        /// Bytes free.
        free: u64,
    },
    /// The folder cannot be written.
    NotWritable,
    /// Too many offers are open.
    Busy,
}

/// What a receiver knows about the place for the files before the person answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Room {
    /// It fits.
    Fits,
    /// It does not fit.
    Missing {
        /// Bytes needed.
        needed: u64,
        /// Bytes free.
        free: u64,
    },
    /// More files than the disk can take.
    NoInodes,
    /// The folder cannot be written.
    NotWritable,
}

/// `count` consecutive entries that are treated alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PlanRun {
    /// How many entries.
    pub count: u32,
    /// What to do with them.
    pub action: PlanAction,
}

/// What a sender does with an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum PlanAction {
    /// Send it.
    Send,
    /// Wait for [`ReceiverMessage::Have`].
    Hold,
    /// Do not send it; its receipt follows or was sent before.
    Skip,
}

/// The fate of one entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// Which entry.
    pub index: FileIndex,
    /// What became of it.
    pub outcome: Outcome,
    /// Path below the receiver's folder, where it differs from the offered one.
    pub saved_as: Option<String>,
    /// Hash of the content, where it is a file that the receiver has now.
    pub hash: Option<Hash>,
}

/// What became of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Outcome {
    /// Saved under its own name.
    New,
    /// The receiver had the same content under that name already.
    Identical,
    /// Saved under another name, because that one is taken.
    Renamed,
    /// Saved in place of an older file, as the receiver wished.
    Overwritten,
    /// Not wanted by the receiver.
    Skipped,
    /// Not saved.
    Failed(SinkFault),
}

/// Why a receiver could not save an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum SinkFault {
    /// The name is not acceptable.
    Name,
    /// The name is taken, and the receiver wants a failure then.
    Exists,
    /// No permission, read-only, or another error of the disk.
    CannotWrite,
    /// The same group arrived damaged several times.
    Damaged,
    /// The sender gave it up.
    Source(SourceFault),
    /// Cancelled by a person.
    Cancelled,
    /// The protocol in use knows nothing of the kind. Of links to originals only.
    Unsupported,
}

/// A person's wish about a running transfer, sent to the other side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Steer {
    /// What it is about.
    pub scope: Scope,
    /// What to do.
    pub action: SteerAction,
}

/// A whole transfer or one of its files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Scope {
    /// All of it.
    Transfer,
    /// One file.
    File(FileIndex),
}

/// What to do with a transfer or file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum SteerAction {
    /// Stop sending until further notice.
    Pause(PauseReason),
    /// Go on.
    Resume,
    /// Give it up. What is complete stays.
    Cancel,
    /// Send it before the others.
    First,
}

/// Why something is paused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum PauseReason {
    /// A person wants it.
    Person,
    /// The receiver's disk is full; it goes on by itself.
    DiskFull {
        /// Bytes that are missing.
        missing: u64,
    },
}

/// First frame of a file's unidirectional stream. Pieces follow: for each group its number
/// (`u32` big-endian), its content, its hash; at the end `0xFFFF_FFFF` and the file's hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileHeader {
    /// Which transfer.
    pub transfer: TransferId,
    /// Which entry of its manifest.
    pub index: FileIndex,
    /// Bytes of the file now.
    pub size: u64,
    /// Modification time now.
    pub modified: Timestamp,
    /// Fingerprint of the source now.
    pub stamp: Stamp,
}

/// Stands in place of a group number where the file's hash follows.
pub const END_OF_FILE: u32 = u32::MAX;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::frame::{FRAME_MAX, encode};

    #[test]
    fn a_full_page_of_group_hashes_fits_a_frame() {
        let have = ReceiverMessage::Have {
            index: u32::MAX,
            stamp: Some(Stamp([255; 16])),
            first: u32::MAX,
            groups: vec![[255; 32]; HAVE_GROUPS_MAX],
            more: true,
        };
        assert!(encode(&have).unwrap().len() < FRAME_MAX);
    }

    #[test]
    fn transfer_ids_round_trip_as_text() {
        let id = TransferId([0x3f; 16]);
        assert_eq!(id.short(), "3f3f");
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!("3f".parse::<TransferId>(), Err(InvalidTransferId));
    }
}
