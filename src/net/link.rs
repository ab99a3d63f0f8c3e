//! A link is one transfer's share of a connection: a control channel and a stream per file.
//!
//! QUIC, the original's TCP protocol and the in-memory link of the tests implement the traits
//! here; nothing above `net` knows which one it has.

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::protocol::frame::FrameError;
use crate::protocol::groups::Hash;
use crate::protocol::legacy::LegacyError;
use crate::protocol::message::{Code, FileHeader, OfferHead, ReceiverMessage, SenderMessage};

/// Most bytes of one [`Piece::Data`]: large enough for BLAKE3 and the disk to be fast, small
/// enough that many files in flight stay cheap.
pub const DATA_LEN_MAX: usize = 256 * 1024;

/// What travels on a file's stream, in the order group, data…, group end, …, end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// The content of this group follows.
    Group(u32),
    /// The next bytes of the group; at most [`DATA_LEN_MAX`], never empty.
    Data(Bytes),
    /// The group is complete; its hash, where the protocol has one.
    GroupEnd(Option<Hash>),
    /// This group of the content, which has this hash, comes from another receiver of the session.
    Elsewhere(u32, Hash),
    /// The file is complete; its hash, where the protocol has one. Nothing follows.
    End(Option<Hash>),
    /// The stream ends between two groups, but the file is not complete: it changed while it was
    /// read, and another stream brings what differs. (On QUIC: a clean end without a mark.)
    Break,
}

/// Why a link cannot go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// The connection broke, or nothing was heard for too long. Dial again and resume.
    #[error("connection lost: {0}")]
    Lost(String),
    /// The peer ended the stream, the link or the connection and said why.
    #[error("closed by the peer: {0:?}")]
    Closed(Code),
    /// The peer broke the protocol. The connection is closed with [`Code::Offence`].
    #[error("peer broke the protocol: {0}")]
    Offence(#[from] Offence),
}

/// What a peer did wrong. One variant for each, so that tests can name the exact one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Offence {
    /// A frame is wrong.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// A message that may not come now.
    #[error("unexpected message")]
    UnexpectedMessage,
    /// More entries than a transfer may have.
    #[error("too many entries")]
    TooManyEntries,
    /// More bytes of paths than a transfer may have, or one path that is too long.
    #[error("paths too long")]
    PathsTooLong,
    /// A file larger than the protocol allows.
    #[error("file too large")]
    FileTooLarge,
    /// An entry number outside the manifest.
    #[error("no such entry")]
    NoSuchEntry,
    /// More addresses than anybody needs.
    #[error("too many addresses")]
    TooManyAddrs,
    /// A stream for a file that was not asked for.
    #[error("file was not asked for")]
    NotAskedFor,
    /// A group number outside the file, out of order, or a wrong piece of it.
    #[error("wrong group")]
    WrongGroup,
    /// Numbers that contradict what was said before.
    #[error("contradicts what was announced")]
    Contradiction,
    /// A commitment that does not match what it was for.
    #[error("commitment does not match")]
    BadCommitment,
    /// Nothing came for too long where something had to.
    #[error("did not answer in time")]
    Silent,
    /// A message of the original's protocol is wrong.
    #[error(transparent)]
    Legacy(#[from] LegacyError),
    /// A path where the original's protocol has a plain name.
    #[error("a path instead of a name")]
    BadName,
    /// A file that should begin in its middle, of which nothing is here.
    #[error("content begins where nothing is")]
    NoSuchPart,
    /// A text that is empty or longer than one may be.
    #[error("a text of a length that is not allowed")]
    TextLength,
    /// A text that is not UTF-8.
    #[error("a text that is not UTF-8")]
    NotText,
}

/// How the bytes travel, in words people know (product vocabulary).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PathKind {
    /// Straight to the peer, encrypted.
    Direct,
    /// Straight to the peer over TCP, encrypted, because UDP is blocked: slower.
    Tcp,
    /// Through a relay, encrypted: the relay cannot read it.
    Relay,
    /// Inside this process; tests only.
    Memory,
    /// Straight to a program of the original's kind: nothing is encrypted.
    LegacyPlain,
}

impl PathKind {
    /// Whether nobody on the way can read or change anything.
    pub fn is_encrypted(self) -> bool {
        match self {
            Self::Direct | Self::Tcp | Self::Relay | Self::Memory => true,
            Self::LegacyPlain => false,
        }
    }

    /// Whether content comes with hashes, and can be compared and continued by them.
    pub fn is_verified(self) -> bool {
        match self {
            Self::Direct | Self::Tcp | Self::Relay | Self::Memory => true,
            Self::LegacyPlain => false,
        }
    }

    /// Whether the sender says when it pauses. Where it does not, silence means nothing, and the
    /// link itself decides when there was too much of it.
    pub fn tells_pauses(self) -> bool {
        self.is_verified()
    }
}

/// The way to a peer, now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathInfo {
    /// Kind of way.
    pub kind: PathKind,
    /// Address of the other end.
    pub addr: Option<SocketAddr>,
    /// Round-trip time, smoothed.
    pub rtt: Option<Duration>,
}

/// A transfer's link at the side that sends the files.
pub trait Outbound: Send + 'static {
    /// Opens files; shared by the tasks that send them.
    type Opener: FileOpener;

    /// A handle to open files with.
    fn opener(&self) -> Self::Opener;
    /// How the bytes travel now.
    fn path(&self) -> PathInfo;
    /// Whether the other side knows what a session is, and [`Piece::Elsewhere`].
    fn knows_sessions(&self) -> bool;
    /// Whether the other side knows what a will is.
    fn knows_wills(&self) -> bool {
        false
    }
    /// Whether the other side tells [`ReceiverMessage::Holds`].
    fn knows_parts(&self) -> bool {
        false
    }
    /// Sends a message; waits while the peer does not read. Not cancel-safe.
    fn send(
        &mut self,
        message: SenderMessage,
    ) -> impl Future<Output = Result<(), LinkError>> + Send;
    /// The next message. Cancel-safe.
    fn recv(&mut self) -> impl Future<Output = Result<ReceiverMessage, LinkError>> + Send;
    /// Ends the link: with [`Code::Done`] after everything sent has arrived or the connection is
    /// gone, otherwise at once. Dropping a link without this closes it with [`Code::Internal`].
    fn close(self, code: Code) -> impl Future<Output = ()> + Send;
}

/// Opens the streams of files.
pub trait FileOpener: Clone + Send + Sync + 'static {
    /// One file's stream.
    type Writer: FileWriter;

    /// Whether the protocol carries hashes. Where it does not, none need be made.
    fn carries_hashes(&self) -> bool {
        true
    }

    /// Opens a stream and sends `header`; waits while too many are open. Higher `priority` is
    /// sent first. Cancel-safe: a stream that was not handed out is reset.
    fn open(
        &self,
        header: &FileHeader,
        priority: i32,
    ) -> impl Future<Output = Result<Self::Writer, LinkError>> + Send;

    /// Refers a file with one group elsewhere as a whole; the group has this hash. Waits while too
    /// much is on its way. Cancel-safe: it is on its way then, or it is not.
    fn refer(
        &self,
        header: &FileHeader,
        hash: Hash,
        priority: i32,
    ) -> impl Future<Output = Result<(), LinkError>> + Send {
        refer_alone(self, header, hash, priority)
    }
}

/// Refers a file elsewhere by a stream of its own.
pub(super) async fn refer_alone<O: FileOpener>(
    opener: &O,
    header: &FileHeader,
    hash: Hash,
    priority: i32,
) -> Result<(), LinkError> {
    let mut writer = opener.open(header, priority).await?;
    writer.write(Piece::Elsewhere(0, hash)).await?;
    writer.write(Piece::End(Some(hash))).await
}

/// A file on its way out. Dropping it before [`Piece::End`] resets the stream.
pub trait FileWriter: Send + 'static {
    /// Sends a piece; waits while the peer does not read. [`Piece::End`] and [`Piece::Break`]
    /// finish the stream without waiting for it to arrive. Not cancel-safe.
    fn write(&mut self, piece: Piece) -> impl Future<Output = Result<(), LinkError>> + Send;
    /// Gives the stream up.
    fn reset(self, code: Code);
}

/// What comes in on a link.
#[derive(Debug)]
pub enum InboundEvent<R> {
    /// A control message.
    Message(SenderMessage),
    /// A file begins.
    File(FileHeader, R),
}

/// A transfer's link at the side that receives the files.
pub trait Inbound: Send + 'static {
    /// A file on its way in.
    type Reader: FileReader;

    /// What the peer offered first.
    fn head(&self) -> &OfferHead;
    /// How the bytes travel now.
    fn path(&self) -> PathInfo;
    /// Whether the sender itself is there. If not, nobody says anew what its person has paused.
    fn is_senders(&self) -> bool {
        true
    }
    /// Whether the sender knows [`ReceiverMessage::Behind`].
    fn knows_limits(&self) -> bool {
        false
    }
    /// Whether the sender knows [`ReceiverMessage::Holds`] and
    /// [`Trouble::Withheld`](crate::protocol::sessions::Trouble::Withheld).
    fn knows_parts(&self) -> bool {
        false
    }
    /// The person agreed: let the peer send files (raises the connection's limits).
    fn consent(&mut self);
    /// Sends a message; waits while the peer does not read. Not cancel-safe.
    fn send(
        &mut self,
        message: ReceiverMessage,
    ) -> impl Future<Output = Result<(), LinkError>> + Send;
    /// The next message or file. Cancel-safe.
    fn recv(
        &mut self,
    ) -> impl Future<Output = Result<InboundEvent<Self::Reader>, LinkError>> + Send;
    /// Ends the link: with [`Code::Done`] after everything sent has arrived or the connection is
    /// gone, otherwise at once. [`Code::Offence`] closes the whole connection.
    fn close(self, code: Code) -> impl Future<Output = ()> + Send;
}

/// A file on its way in. Dropping it before [`Piece::End`] tells the peer to stop.
pub trait FileReader: Send + 'static {
    /// The next piece; the order of the pieces is checked by the link ([`Offence::WrongGroup`]),
    /// lengths against the header's size. Cancel-safe.
    fn read(&mut self) -> impl Future<Output = Result<Piece, LinkError>> + Send;
    /// Tells the peer to stop sending.
    fn stop(self, code: Code);
}
