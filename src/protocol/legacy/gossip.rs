//! Gossip: a search for a name, its reply, and messages that originals only ever ignore.

use super::wire_data::{Header, WireData};
use super::{LegacyError, Record};

/// A message with trigger 02.
#[derive(Debug, Clone, PartialEq)]
pub enum Gossip {
    /// Text for everybody. No version passes it on.
    Message {
        /// Names the message.
        id: String,
        /// The text. Hostile.
        text: String,
        /// How often it may still be passed on.
        ttl: u64,
        /// When it was made, in seconds since 1970.
        created: f64,
    },
    /// Whose name contains this text?
    Search {
        /// Names the search; the reply has the same.
        id: String,
        /// What is searched for. Hostile.
        text: String,
        /// When it was made, in seconds since 1970.
        created: f64,
    },
    /// The name of the peer in the record contains the text that was searched for.
    Reply {
        /// Names the search.
        id: String,
        /// Who answers.
        record: Record,
        /// When it was made, in seconds since 1970.
        created: f64,
    },
}

impl Gossip {
    pub(super) fn to_wire(&self) -> WireData {
        match self {
            Self::Message {
                id,
                text,
                ttl,
                created,
            } => WireData::new(Header::GossipMessage)
                .id(id)
                .with("message", text.as_str())
                .with("ttl", *ttl)
                .with("created", *created),
            Self::Search { id, text, created } => WireData::new(Header::GossipSearch)
                .id(id)
                .with("message", text.as_str())
                .with("created", *created),
            Self::Reply {
                id,
                record,
                created,
            } => WireData::new(Header::GossipReply)
                .id(id)
                .with("message", record.to_bin())
                .with("created", *created),
        }
    }

    pub(super) fn from_wire(header: Header, mut wire: WireData) -> Result<Self, LegacyError> {
        let id = wire.take_id()?;
        let created = wire.body.float("created")?;
        if header == Header::GossipMessage {
            let text = wire.body.text("message")?;
            let ttl = wire.body.number("ttl")?;
            return Ok(Self::Message {
                id,
                text,
                ttl,
                created,
            });
        }
        if header == Header::GossipSearch {
            let text = wire.body.text("message")?;
            return Ok(Self::Search { id, text, created });
        }
        if header == Header::GossipReply {
            let record = Record::from_bin(wire.body.take("message")?, "message")?;
            return Ok(Self::Reply {
                id,
                record,
                created,
            });
        }
        Err(LegacyError::WrongHeader)
    }
}
