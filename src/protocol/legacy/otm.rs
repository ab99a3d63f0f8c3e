//! One to many, as the original meant it: the messages that build a tree of relays, and what goes
//! over its links. No released original can take part; repaired ones do.
//!
//! Control messages are datagrams without trigger: length and message. "Passive" is the address
//! of the socket that a peer opens for the session, "active" its stream port.

use std::net::SocketAddr;

use rmpv::Value;

use super::stream::{FileItem, frame};
use super::wire_data::{
    Header, WireData, addr, addr_value, array, binary, decode_value, encode_value, is_binary, text,
};
use super::{DATAGRAM_MAX, FRAME_MAX, LENGTH_LEN, LegacyError, LegacyId, measure};

/// The child's answer to a stream link, length included. Otherwise it closes the connection.
pub const LINK_OK: [u8; 6] = [0, 0, 0, 2, b'O', b'K'];

/// What the root tells each peer that it wants in the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inform {
    /// The root, as it says.
    pub root: LegacyId,
    /// Any text.
    pub protocols: [String; 2],
    /// Names the session.
    pub session: String,
    /// What the answer must repeat.
    pub key: String,
    /// Most children of a peer.
    pub fanout: u32,
    /// Seconds that a child waits for its link, and a parent for a slow child.
    pub link_wait_timeout: u32,
    /// The root's neighbours; nobody uses them.
    pub adjacent: Adjacent,
    /// How many files will come.
    pub file_count: u64,
    /// The unit of relaying, in bytes.
    pub chunk_size: u64,
}

/// Ids of neighbours: in text from repaired originals, in bytes from others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Adjacent {
    /// As decimal text.
    Text(Vec<LegacyId>),
    /// As 20 bytes each.
    Binary(Vec<LegacyId>),
}

/// A peer's answer to [`Inform`], to the port that it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InformAnswer {
    /// Who answers, as it says.
    pub peer: LegacyId,
    /// Its datagram socket for this session.
    pub passive: SocketAddr,
    /// Its stream port.
    pub active: SocketAddr,
    /// The key of the request.
    pub key: String,
}

/// One neighbour in the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Neighbour {
    /// Who it is, as the root says.
    pub peer: LegacyId,
    /// Its datagram socket for this session.
    pub passive: SocketAddr,
    /// Its stream port.
    pub active: SocketAddr,
}

/// A control message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Control {
    /// The root asks a peer to take part.
    Inform(Inform),
    /// The peer does.
    InformAnswer(InformAnswer),
    /// The root tells a peer its neighbours.
    State(Vec<Neighbour>),
    /// "I have a parent, do you need one?"
    TreeCheck {
        /// Who offers itself as parent.
        sender: LegacyId,
        /// Names the message.
        message: String,
        /// Names the session.
        session: String,
    },
    /// "Be my parent."
    Upgrade(LegacyId),
    /// "I have one."
    Reject(LegacyId),
    /// "Not any more." Handled by originals, sent by none.
    Downgrade(LegacyId),
    /// Handled by originals, sent by none.
    Gather {
        /// Who asks.
        sender: LegacyId,
        /// How deep in the tree.
        level: u64,
        /// The parent of the sender.
        parent: Option<LegacyId>,
        /// Where the answer goes.
        reply_addr: SocketAddr,
    },
    /// A request to print what is known, passed down the tree. Ignored.
    PrintStates(LegacyId),
}

impl Control {
    /// The datagram: length and message.
    ///
    /// Fails above [`DATAGRAM_MAX`].
    pub fn encode(&self) -> Result<Vec<u8>, LegacyError> {
        let bytes = frame(&self.to_payload())?;
        match bytes.len() > DATAGRAM_MAX {
            true => Err(LegacyError::DatagramTooLong(bytes.len())),
            false => Ok(bytes),
        }
    }

    /// The message in a datagram to a socket of a session, or to the port that an [`Inform`] was
    /// sent from. Datagrams to the requests endpoint: see [`super::datagram::Datagram`].
    pub fn decode(datagram: &[u8]) -> Result<Self, LegacyError> {
        if datagram.len() > DATAGRAM_MAX {
            return Err(LegacyError::DatagramTooLong(datagram.len()));
        }
        let (length, payload) = datagram
            .split_first_chunk::<LENGTH_LEN>()
            .ok_or(LegacyError::Truncated)?;
        // Bytes behind the message are ignored, as originals do.
        let payload = payload
            .get(..u32::from_be_bytes(*length) as usize)
            .ok_or(LegacyError::Truncated)?;
        Self::decode_payload(payload)
    }

    fn to_payload(&self) -> Vec<u8> {
        let of = |header: Header, sender: &LegacyId| WireData::new(header).id(sender);
        let wire = match self {
            Self::Inform(inform) => inform.to_wire(),
            Self::InformAnswer(answer) => {
                return encode_value(&Value::Array(vec![
                    answer.peer.to_string().into(),
                    addr_value(answer.passive),
                    addr_value(answer.active),
                    answer.key.as_str().into(),
                ]));
            }
            Self::State(neighbours) => {
                let mapping = neighbours.iter().map(Neighbour::to_value).collect();
                WireData::new(Header::OtmState).with("addresses_mapping", Value::Array(mapping))
            }
            Self::TreeCheck {
                sender,
                message,
                session,
            } => of(Header::OtmTreeCheck, sender)
                .with("message_id", message.as_str())
                .with("session_id", session.as_str()),
            Self::Upgrade(sender) => of(Header::OtmUpgrade, sender),
            Self::Reject(sender) => of(Header::OtmReject, sender),
            Self::Downgrade(sender) => of(Header::OtmDowngrade, sender),
            Self::Gather {
                sender,
                level,
                parent,
                reply_addr,
            } => of(Header::OtmGather, sender)
                .with("level", *level)
                .with(
                    "parent",
                    parent.map_or(Value::Nil, |id| id.to_string().into()),
                )
                .with("reply_addr", addr_value(*reply_addr)),
            Self::PrintStates(sender) => of(Header::OtmPrintStates, sender),
        };
        wire.encode()
    }

    pub(super) fn decode_payload(payload: &[u8]) -> Result<Self, LegacyError> {
        let value = decode_value(payload)?;
        if let Value::Array(items) = &value
            && items.len() == 4
        {
            return InformAnswer::from_value(value).map(Self::InformAnswer);
        }
        let wire = WireData::from_value(value)?;
        Self::from_wire(wire)
    }

    pub(super) fn from_wire(mut wire: WireData) -> Result<Self, LegacyError> {
        let header = wire.header.ok_or(LegacyError::UnknownHeader)?;
        match header {
            Header::OtmInform => Inform::from_wire(wire).map(Self::Inform),
            Header::OtmState => {
                let mapping = wire.body.array("addresses_mapping")?.into_iter();
                let neighbours: Result<_, _> = mapping.map(Neighbour::from_value).collect();
                Ok(Self::State(neighbours?))
            }
            Header::OtmTreeCheck => Ok(Self::TreeCheck {
                sender: wire.id_of_peer()?,
                message: wire.body.text("message_id")?,
                session: wire.body.text("session_id")?,
            }),
            Header::OtmUpgrade => Ok(Self::Upgrade(wire.id_of_peer()?)),
            Header::OtmReject => Ok(Self::Reject(wire.id_of_peer()?)),
            Header::OtmDowngrade => Ok(Self::Downgrade(wire.id_of_peer()?)),
            Header::OtmGather => Self::gather_from_wire(wire),
            Header::OtmPrintStates => Ok(Self::PrintStates(wire.id_of_peer()?)),
            Header::Files
            | Header::Directory
            | Header::BasicConnection
            | Header::MessageConnection
            | Header::Text
            | Header::Close
            | Header::RemovalPing
            | Header::RemovalAnswer
            | Header::OtmStreamLink
            | Header::Find
            | Header::Reply
            | Header::GossipMessage
            | Header::GossipSearch
            | Header::GossipReply
            | Header::Kademlia => Err(LegacyError::WrongHeader),
        }
    }
}

impl Control {
    fn gather_from_wire(mut wire: WireData) -> Result<Self, LegacyError> {
        let parent = wire.body.take("parent")?;
        Ok(Self::Gather {
            sender: wire.id_of_peer()?,
            level: wire.body.number("level")?,
            parent: match parent.is_nil() {
                true => None,
                false => Some(id(parent, "parent")?),
            },
            reply_addr: wire.body.addr("reply_addr")?,
        })
    }
}

impl Inform {
    fn to_wire(&self) -> WireData {
        let [protocol1, protocol2] = &self.protocols;
        let adjacent = match &self.adjacent {
            Adjacent::Text(ids) => ids.iter().map(|id| Value::from(id.to_string())).collect(),
            Adjacent::Binary(ids) => ids
                .iter()
                .map(|id| Value::from(id.as_bytes().as_slice()))
                .collect(),
        };
        WireData::new(Header::OtmInform)
            .id(self.root)
            .with("protocol1", protocol1.as_str())
            .with("protocol2", protocol2.as_str())
            .with("session_id", self.session.as_str())
            .with("key", self.key.as_str())
            .with("fanout", self.fanout)
            .with("link_wait_timeout", self.link_wait_timeout)
            .with("adjacent_peers", Value::Array(adjacent))
            .with("file_count", self.file_count)
            .with("chunk_size", self.chunk_size)
    }

    fn from_wire(mut wire: WireData) -> Result<Self, LegacyError> {
        let body = &mut wire.body;
        let protocols = [body.text("protocol1")?, body.text("protocol2")?];
        Ok(Self {
            protocols,
            session: body.text("session_id")?,
            key: body.text("key")?,
            fanout: body.number("fanout")?,
            link_wait_timeout: body.number("link_wait_timeout")?,
            adjacent: Adjacent::from_values(body.array("adjacent_peers")?)?,
            file_count: body.number("file_count")?,
            chunk_size: body.number("chunk_size")?,
            root: wire.id_of_peer()?,
        })
    }
}

impl Adjacent {
    fn from_values(values: Vec<Value>) -> Result<Self, LegacyError> {
        const FIELD: &str = "adjacent_peers";
        if !values.first().is_some_and(is_binary) {
            let ids: Result<_, _> = values.into_iter().map(|value| id(value, FIELD)).collect();
            return Ok(Self::Text(ids?));
        }
        let bytes = |value| {
            let id = LegacyId::from_short(&binary(value, FIELD)?);
            id.ok_or(LegacyError::Impossible(FIELD))
        };
        let ids: Result<_, _> = values.into_iter().map(bytes).collect();
        Ok(Self::Binary(ids?))
    }
}

impl InformAnswer {
    fn from_value(value: Value) -> Result<Self, LegacyError> {
        let [peer, passive, active, key] = array(value, "answer")?
            .try_into()
            .map_err(|_| LegacyError::Impossible("answer"))?;
        Ok(Self {
            peer: id(peer, "peer")?,
            passive: addr(passive, "passive")?,
            active: addr(active, "active")?,
            key: text(key, "key")?,
        })
    }
}

impl Neighbour {
    fn to_value(&self) -> Value {
        Value::Array(vec![
            self.peer.to_string().into(),
            addr_value(self.passive),
            addr_value(self.active),
        ])
    }

    fn from_value(value: Value) -> Result<Self, LegacyError> {
        let [peer, passive, active] = array(value, "neighbour")?
            .try_into()
            .map_err(|_| LegacyError::Impossible("neighbour"))?;
        Ok(Self {
            peer: id(peer, "peer")?,
            passive: addr(passive, "passive")?,
            active: addr(active, "active")?,
        })
    }
}

/// What a parent says first on the connection to its child's stream port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamLink {
    /// The parent, as it says.
    pub parent: LegacyId,
    /// Names the session.
    pub session: String,
    /// The parent's datagram socket.
    pub passive: SocketAddr,
}

impl StreamLink {
    pub(super) fn to_wire(&self) -> WireData {
        WireData::new(Header::OtmStreamLink)
            .id(self.parent)
            .with("session_id", self.session.as_str())
            .with("peer_addr", addr_value(self.passive))
    }

    pub(super) fn from_wire(mut wire: WireData) -> Result<Self, LegacyError> {
        Ok(Self {
            parent: wire.id_of_peer()?,
            session: wire.body.text("session_id")?,
            passive: wire.body.addr("peer_addr")?,
        })
    }
}

/// What comes first on a link: the files whose bytes follow, in order and with nothing between.
/// Send it alone and pause: a child loses bytes of files that come in the same read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata(pub Vec<FileItem>);

impl Metadata {
    /// The bytes; there is no length before them.
    ///
    /// Fails above [`FRAME_MAX`].
    pub fn encode(&self) -> Result<Vec<u8>, LegacyError> {
        let items = self.0.iter().map(|item| Value::Binary(item.encode()));
        let bytes = encode_value(&Value::Array(items.collect()));
        match bytes.len() > FRAME_MAX {
            true => Err(LegacyError::TooLong(bytes.len())),
            false => Ok(bytes),
        }
    }

    /// The metadata at the beginning of `bytes` and its length, if it is whole.
    pub fn decode(bytes: &[u8]) -> Result<Option<(Self, usize)>, LegacyError> {
        let start = bytes.get(..FRAME_MAX).unwrap_or(bytes);
        let used = match measure(start) {
            Ok(used) => used,
            Err(LegacyError::Truncated) if bytes.len() < FRAME_MAX => return Ok(None),
            Err(LegacyError::Truncated) => return Err(LegacyError::TooLong(bytes.len())),
            Err(error) => return Err(error),
        };
        let value = decode_value(start.get(..used).unwrap_or_default())?;
        let items = array(value, "metadata")?.into_iter();
        let items: Result<_, _> = items
            .map(|item| FileItem::decode(&binary(item, "file item")?))
            .collect();
        Ok(Some((Self(items?), used)))
    }
}

fn id(value: Value, field: &'static str) -> Result<LegacyId, LegacyError> {
    text(value, field)?
        .parse()
        .map_err(|_| LegacyError::Impossible(field))
}
