//! What can be wrong with the bytes of a message.

use super::{DATAGRAM_MAX, DEPTH_MAX, FRAME_MAX, ITEMS_MAX, RPC_MAX};

/// What is wrong with a message of the original's protocol: one variant for each offence. Every
/// one is the sender's fault, except the three of messages that are too long, which encoding
/// gives as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LegacyError {
    /// The announced length is above [`FRAME_MAX`].
    #[error("message of {0} bytes, at most {FRAME_MAX} allowed")]
    TooLong(usize),
    /// The datagram is longer than [`DATAGRAM_MAX`].
    #[error("datagram of {0} bytes, at most {DATAGRAM_MAX} allowed")]
    DatagramTooLong(usize),
    /// The Kademlia request is longer than [`RPC_MAX`].
    #[error("request of {0} bytes, at most {RPC_MAX} allowed")]
    RequestTooLong(usize),
    /// Arrays and maps lie deeper in each other than [`DEPTH_MAX`].
    #[error("more than {DEPTH_MAX} arrays and maps in each other")]
    TooDeep,
    /// More values than [`ITEMS_MAX`].
    #[error("more than {ITEMS_MAX} values in one message")]
    TooManyItems,
    /// The bytes end inside a value, or a length leads past their end.
    #[error("message ends inside a value")]
    Truncated,
    /// Bytes follow the message.
    #[error("{0} bytes after the end of the message")]
    Trailing(usize),
    /// A byte that begins no value.
    #[error("not MessagePack")]
    Malformed,
    /// Text that is not UTF-8.
    #[error("text is not UTF-8")]
    NotUtf8,
    /// Not an array of five items with a map in its fourth place.
    #[error("not a message of five items")]
    NotAMessage,
    /// A key of the body is not text.
    #[error("key that is not text")]
    KeyNotText,
    /// The body has a key that belongs to the envelope.
    #[error("key that belongs to the envelope")]
    ReservedKey,
    /// The body has a key twice.
    #[error("key that comes twice")]
    DuplicateKey,
    /// This field is not there.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// This field has another type.
    #[error("{0} has the wrong type")]
    WrongType(&'static str),
    /// This field has a value that makes no sense.
    #[error("{0} has an impossible value")]
    Impossible(&'static str),
    /// A header that nobody knows, or a known one as the wrong type.
    #[error("unknown header")]
    UnknownHeader,
    /// A known header at a place where it does not belong.
    #[error("header of another kind of message")]
    WrongHeader,
    /// The byte between two files or entries is none that exists.
    #[error("unknown mark {0:#04x}")]
    UnknownMark(u8),
    /// The Kademlia data is shorter than its fixed part, or neither request nor answer.
    #[error("not a Kademlia message")]
    NotAnRpc,
    /// A request with a name that nobody knows.
    #[error("unknown request")]
    UnknownRpc,
}
