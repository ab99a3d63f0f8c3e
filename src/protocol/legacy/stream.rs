//! What goes over TCP: files, directories and texts.
//!
//! Every `decode` takes the bytes that have come so far and gives `Ok(None)` while they are too
//! few; otherwise the message and how many bytes it took. Content follows its item unframed and is
//! not looked at here.

use rmpv::Value;

use super::otm::StreamLink;
use super::wire_data::{Header, WireData, array, decode_value, encode_value, number, text};
use super::{FRAME_MAX, LENGTH_LEN, LegacyError, LegacyId};

/// The receiver's one byte of answer: it takes the files.
pub const ACCEPT: u8 = 1;
/// The receiver's one byte of answer: it does not take them. Every other byte is a yes.
pub const REJECT: u8 = 0;
/// What the receiver of a directory sends after each file, and not after a folder.
pub const ECHO: u8 = 1;

const MARK_END: u8 = 0;
const MARK_FILE: u8 = 1;
const MARK_FOLDER: u8 = 2;

/// What a connection is for: its first frame. On a connection that is kept after a transfer it
/// may come again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opening {
    /// Four zero bytes: somebody looks whether we are there, and closes.
    Probe,
    /// Files.
    Files {
        /// The sender's counter, in text. Starts again with its program; says nothing.
        file_id: String,
        /// Who sends, as it says.
        sender: LegacyId,
    },
    /// A directory.
    Directory {
        /// The sender's counter, as for files.
        transfer_id: String,
        /// The name of the directory. Hostile: it is data, not a path.
        name: String,
        /// Who sends, as it says.
        sender: LegacyId,
    },
    /// Texts.
    Texts {
        /// Who sends, as it says.
        sender: LegacyId,
        /// Which of the two ways to say so.
        dialect: TextDialect,
    },
    /// One end of a tree of relays.
    OtmLink(StreamLink),
}

/// How a connection for texts is opened: the branches of the original differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextDialect {
    /// `basic connection`, with the sender in the id.
    Basic,
    /// `message connection`, with the sender in its own place.
    Message,
}

impl Opening {
    /// The bytes, length included. Goes out in one write, at once after connecting.
    ///
    /// Fails if a name makes it longer than [`FRAME_MAX`].
    pub fn encode(&self) -> Result<Vec<u8>, LegacyError> {
        let message = match self {
            Self::Probe => return Ok(vec![0; LENGTH_LEN]),
            Self::Files { file_id, sender } => WireData::new(Header::Files)
                .with("file_id", file_id.as_str())
                .peer(sender),
            Self::Directory {
                transfer_id,
                name,
                sender,
            } => WireData::new(Header::Directory)
                .with("transfer_id", transfer_id.as_str())
                .with("dir_name", name.as_str())
                .peer(sender),
            Self::Texts { sender, dialect } => match dialect {
                TextDialect::Basic => WireData::new(Header::BasicConnection).id(sender),
                TextDialect::Message => WireData::new(Header::MessageConnection).peer(sender),
            },
            Self::OtmLink(link) => link.to_wire(),
        };
        frame(&message.encode())
    }

    /// The first frame of `bytes`, if it is there.
    pub fn decode(bytes: &[u8]) -> Result<Option<(Self, usize)>, LegacyError> {
        let Some((payload, used)) = unframe(bytes)? else {
            return Ok(None);
        };
        Ok(Some((Self::decode_payload(payload)?, used)))
    }

    /// The opening whose length was read apart; see [`decode_length`].
    pub fn decode_payload(payload: &[u8]) -> Result<Self, LegacyError> {
        if payload.is_empty() {
            return Ok(Self::Probe);
        }
        let mut wire = WireData::decode(payload)?;
        match wire.header.ok_or(LegacyError::UnknownHeader)? {
            Header::Files => Ok(Self::Files {
                file_id: counter(wire.body.take("file_id")?, "file_id")?,
                sender: wire.peer_of_sender()?,
            }),
            Header::Directory => Ok(Self::Directory {
                transfer_id: counter(wire.body.take("transfer_id")?, "transfer_id")?,
                name: wire.body.text("dir_name")?,
                sender: wire.peer_of_sender()?,
            }),
            Header::BasicConnection => Ok(Self::Texts {
                sender: wire.id_of_peer()?,
                dialect: TextDialect::Basic,
            }),
            Header::MessageConnection => Ok(Self::Texts {
                sender: wire.peer_of_sender()?,
                dialect: TextDialect::Message,
            }),
            Header::OtmStreamLink => StreamLink::from_wire(wire).map(Self::OtmLink),
            Header::Text
            | Header::Close
            | Header::RemovalPing
            | Header::RemovalAnswer
            | Header::OtmInform
            | Header::OtmState
            | Header::OtmTreeCheck
            | Header::OtmUpgrade
            | Header::OtmReject
            | Header::OtmDowngrade
            | Header::OtmGather
            | Header::OtmPrintStates
            | Header::Find
            | Header::Reply
            | Header::GossipMessage
            | Header::GossipSearch
            | Header::GossipReply
            | Header::Kademlia => Err(LegacyError::WrongHeader),
        }
    }
}

/// Text, or a number that originals take as well.
fn counter(value: Value, field: &'static str) -> Result<String, LegacyError> {
    if value.is_u64() {
        return number::<u64>(&value, field).map(|number| number.to_string());
    }
    text(value, field)
}

/// What an original says of a file before its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileItem {
    /// The last component of its path. Hostile: originals do not clean it.
    pub name: String,
    /// Bytes of the file.
    pub size: u64,
    /// Where the content starts: 0, because resuming works in no version.
    pub seeked: u64,
}

impl FileItem {
    pub(super) fn encode(&self) -> Vec<u8> {
        encode_value(&Value::Array(vec![
            self.name.as_str().into(),
            self.size.into(),
            self.seeked.into(),
        ]))
    }

    pub(super) fn decode(payload: &[u8]) -> Result<Self, LegacyError> {
        let [name, size, seeked] = items(payload, "file item")?;
        let item = Self {
            name: text(name, "file name")?,
            size: number(&size, "file size")?,
            seeked: number(&seeked, "file start")?,
        };
        if item.seeked > item.size {
            return Err(LegacyError::Impossible("file start"));
        }
        Ok(item)
    }
}

/// What comes in a transfer of files where a file may begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileStep {
    /// Another file: `size - seeked` bytes of content follow.
    File(FileItem),
    /// No more files.
    End,
}

impl FileStep {
    /// The bytes of mark, length and item. They go out in one write, at the start of a segment.
    ///
    /// Fails if the name makes it longer than [`FRAME_MAX`].
    pub fn encode(&self) -> Result<Vec<u8>, LegacyError> {
        match self {
            Self::File(item) => marked(MARK_FILE, &item.encode()),
            Self::End => Ok(vec![MARK_END]),
        }
    }

    /// The step at the beginning of `bytes`, if it is whole.
    pub fn decode(bytes: &[u8]) -> Result<Option<(Self, usize)>, LegacyError> {
        match bytes.split_first() {
            None => Ok(None),
            Some((&MARK_END, _)) => Ok(Some((Self::End, 1))),
            Some((&MARK_FILE, rest)) => {
                let Some((payload, used)) = unframe(rest)? else {
                    return Ok(None);
                };
                Ok(Some((Self::File(FileItem::decode(payload)?), 1 + used)))
            }
            Some((other, _)) => Err(LegacyError::UnknownMark(*other)),
        }
    }
}

/// What comes in a transfer of a directory where an entry may begin. Parents come before what
/// is in them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DirectoryStep {
    /// A folder. Nothing is answered.
    Folder(Place),
    /// A file: `size` bytes of content follow, then the receiver sends [`ECHO`].
    File(Place, u64),
    /// No more entries.
    End,
}

/// Where an entry is in its directory. Both are hostile: data, not paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The folder it is in, relative to the directory, with `/`; `.` for the directory itself.
    pub parent: String,
    /// The last component.
    pub name: String,
}

/// Bytes of a file's size in a directory.
const SIZE_LEN: usize = 8;

impl DirectoryStep {
    /// The bytes up to the content.
    ///
    /// Fails if the names make it longer than [`FRAME_MAX`].
    pub fn encode(&self) -> Result<Vec<u8>, LegacyError> {
        match self {
            Self::Folder(place) => marked(MARK_FOLDER, &place.encode()),
            Self::File(place, size) => {
                let mut bytes = marked(MARK_FILE, &place.encode())?;
                bytes.extend_from_slice(&size.to_be_bytes());
                Ok(bytes)
            }
            Self::End => Ok(vec![MARK_END]),
        }
    }

    /// The step at the beginning of `bytes`, if it is whole.
    pub fn decode(bytes: &[u8]) -> Result<Option<(Self, usize)>, LegacyError> {
        let (mark, rest) = match bytes.split_first() {
            None => return Ok(None),
            Some((&MARK_END, _)) => return Ok(Some((Self::End, 1))),
            Some((mark @ (&MARK_FILE | &MARK_FOLDER), rest)) => (*mark, rest),
            Some((other, _)) => return Err(LegacyError::UnknownMark(*other)),
        };
        let Some((payload, used)) = unframe(rest)? else {
            return Ok(None);
        };
        let place = Place::decode(payload)?;
        if mark == MARK_FOLDER {
            return Ok(Some((Self::Folder(place), 1 + used)));
        }
        let size = rest.get(used..).and_then(|rest| rest.first_chunk());
        Ok(size.map(|size: &[u8; SIZE_LEN]| {
            let step = Self::File(place, u64::from_be_bytes(*size));
            (step, 1 + used + SIZE_LEN)
        }))
    }
}

impl Place {
    fn encode(&self) -> Vec<u8> {
        encode_value(&Value::Array(vec![
            self.parent.as_str().into(),
            self.name.as_str().into(),
        ]))
    }

    fn decode(payload: &[u8]) -> Result<Self, LegacyError> {
        let [parent, name] = items(payload, "entry")?;
        Ok(Self {
            parent: text(parent, "parent")?,
            name: text(name, "name")?,
        })
    }
}

/// What comes on a connection for texts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TextStep {
    /// A text.
    Message {
        /// Who sends, as it says.
        sender: LegacyId,
        /// Hostile text: see [`crate::text::Shown`].
        text: String,
    },
    /// The connection is not needed any more. Originals understand it and never send it.
    Close {
        /// Who closes, as it says.
        sender: LegacyId,
    },
}

impl TextStep {
    /// The bytes, length included.
    ///
    /// Fails if the text makes it longer than [`FRAME_MAX`].
    pub fn encode(&self) -> Result<Vec<u8>, LegacyError> {
        let message = match self {
            Self::Message { sender, text } => WireData::new(Header::Text)
                .id(sender)
                .with("message", text.as_str()),
            Self::Close { sender } => WireData::new(Header::Close).id(sender),
        };
        frame(&message.encode())
    }

    /// The message at the beginning of `bytes`, if it is whole.
    pub fn decode(bytes: &[u8]) -> Result<Option<(Self, usize)>, LegacyError> {
        let Some((payload, used)) = unframe(bytes)? else {
            return Ok(None);
        };
        let mut wire = WireData::decode(payload)?;
        let step = match wire.header.ok_or(LegacyError::UnknownHeader)? {
            Header::Text => Self::Message {
                sender: wire.id_of_peer()?,
                text: wire.body.text("message")?,
            },
            Header::Close => Self::Close {
                sender: wire.id_of_peer()?,
            },
            Header::Files
            | Header::Directory
            | Header::BasicConnection
            | Header::MessageConnection
            | Header::RemovalPing
            | Header::RemovalAnswer
            | Header::OtmInform
            | Header::OtmStreamLink
            | Header::OtmState
            | Header::OtmTreeCheck
            | Header::OtmUpgrade
            | Header::OtmReject
            | Header::OtmDowngrade
            | Header::OtmGather
            | Header::OtmPrintStates
            | Header::Find
            | Header::Reply
            | Header::GossipMessage
            | Header::GossipSearch
            | Header::GossipReply
            | Header::Kademlia => return Err(LegacyError::WrongHeader),
        };
        Ok(Some((step, used)))
    }
}

/// The length that four bytes announce, if it is allowed.
pub fn decode_length(bytes: [u8; LENGTH_LEN]) -> Result<usize, LegacyError> {
    let len = u32::from_be_bytes(bytes) as usize;
    if len > FRAME_MAX {
        return Err(LegacyError::TooLong(len));
    }
    Ok(len)
}

/// `payload` with its length before it.
pub(super) fn frame(payload: &[u8]) -> Result<Vec<u8>, LegacyError> {
    if payload.len() > FRAME_MAX {
        return Err(LegacyError::TooLong(payload.len()));
    }
    let mut bytes = Vec::with_capacity(LENGTH_LEN + payload.len());
    bytes.extend_from_slice(&(payload.len() as u32).to_be_bytes());
    bytes.extend_from_slice(payload);
    Ok(bytes)
}

/// The payload at the beginning of `bytes`, and how many bytes it takes with its length.
pub(super) fn unframe(bytes: &[u8]) -> Result<Option<(&[u8], usize)>, LegacyError> {
    let Some((length, rest)) = bytes.split_first_chunk::<LENGTH_LEN>() else {
        return Ok(None);
    };
    let len = decode_length(*length)?;
    Ok(rest.get(..len).map(|payload| (payload, LENGTH_LEN + len)))
}

fn marked(mark: u8, payload: &[u8]) -> Result<Vec<u8>, LegacyError> {
    let mut bytes = frame(payload)?;
    bytes.insert(0, mark);
    Ok(bytes)
}

fn items<const N: usize>(payload: &[u8], field: &'static str) -> Result<[Value; N], LegacyError> {
    let items = array(decode_value(payload)?, field)?;
    items.try_into().map_err(|_| LegacyError::Impossible(field))
}
