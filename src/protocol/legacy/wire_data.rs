//! The envelope of nearly every message: an array of header, id, version, body and peer id.

use std::net::{IpAddr, SocketAddr};

use rmpv::Value;

use super::bounds::check_whole;
use super::{LegacyError, LegacyId};

/// Never looked at by anybody, but always this.
const VERSION: f64 = 1.0;

/// Keys that the original takes for parts of the envelope: they break it.
const RESERVED_KEYS: [&str; 4] = ["header", "msg_id", "peer_id", "version"];

/// What a message is, as its first item says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Header {
    Files,
    Directory,
    BasicConnection,
    MessageConnection,
    Text,
    Close,
    RemovalPing,
    RemovalAnswer,
    OtmInform,
    OtmStreamLink,
    OtmState,
    OtmTreeCheck,
    OtmUpgrade,
    OtmReject,
    OtmDowngrade,
    OtmGather,
    OtmPrintStates,
    Find,
    Reply,
    GossipMessage,
    GossipSearch,
    GossipReply,
    Kademlia,
}

/// A header on the wire. Its type counts as much as its value.
#[derive(Debug, PartialEq, Eq)]
enum Raw {
    Nil,
    Bin(&'static [u8]),
    Str(&'static str),
}

const HEADERS: [(Header, Raw); 23] = [
    (Header::Files, Raw::Bin(b"connection for file transfer")),
    (Header::Directory, Raw::Bin(b"cmd to recv dir ")),
    (Header::BasicConnection, Raw::Bin(b"basic connection")),
    (Header::MessageConnection, Raw::Bin(b"message connection")),
    (Header::Text, Raw::Bin(b"this is message ")),
    (Header::Close, Raw::Bin(b"close connection")),
    (Header::RemovalPing, Raw::Bin(b"pinging peer for removal")),
    (Header::RemovalAnswer, Raw::Bin(b"UN PING")),
    (
        Header::OtmInform,
        Raw::Str("one to many file transfer request"),
    ),
    (Header::OtmStreamLink, Raw::Str("otm_add_stream_link")),
    (Header::OtmState, Raw::Str("gossip_update_state")),
    (Header::OtmTreeCheck, Raw::Str("gossip_tree_check")),
    (Header::OtmUpgrade, Raw::Str("gossip_upgrade_connection")),
    (Header::OtmReject, Raw::Str("gossip_tree_reject")),
    (
        Header::OtmDowngrade,
        Raw::Str("gossip_downgrade_connection"),
    ),
    (Header::OtmGather, Raw::Str("gossip_tree_gather")),
    (
        Header::OtmPrintStates,
        Raw::Str("gossip_print_every_onces_states"),
    ),
    (Header::Find, Raw::Bin(&[0])),
    (Header::Reply, Raw::Bin(&[1])),
    (Header::GossipMessage, Raw::Str("\u{0}")),
    (Header::GossipSearch, Raw::Str("\u{1}")),
    (Header::GossipReply, Raw::Str("\u{2}")),
    (Header::Kademlia, Raw::Nil),
];

impl Header {
    fn to_value(self) -> Value {
        match HEADERS.iter().find(|(header, _)| *header == self) {
            Some((_, Raw::Bin(bytes))) => Value::from(*bytes),
            Some((_, Raw::Str(text))) => Value::from(*text),
            Some((_, Raw::Nil)) | None => Value::Nil,
        }
    }

    fn from_value(value: &Value) -> Option<Self> {
        let is_it = |raw: &Raw| match raw {
            Raw::Nil => value.is_nil(),
            Raw::Bin(bytes) => matches!(value, Value::Binary(found) if found == bytes),
            Raw::Str(text) => {
                matches!(value, Value::String(found) if found.as_str() == Some(*text))
            }
        };
        HEADERS
            .iter()
            .find(|(_, raw)| is_it(raw))
            .map(|(header, _)| *header)
    }
}

/// A message in its envelope. The version is not kept: nobody ever looked at it.
#[derive(Debug, PartialEq)]
pub(super) struct WireData {
    /// `None` if nobody knows it.
    pub(super) header: Option<Header>,
    pub(super) id: Option<String>,
    pub(super) body: Body,
    pub(super) peer: Option<String>,
}

impl WireData {
    pub(super) fn new(header: Header) -> Self {
        Self {
            header: Some(header),
            id: None,
            body: Body(Vec::new()),
            peer: None,
        }
    }

    pub(super) fn id(mut self, id: impl ToString) -> Self {
        self.id = Some(id.to_string());
        self
    }

    pub(super) fn peer(mut self, peer: &LegacyId) -> Self {
        self.peer = Some(peer.to_string());
        self
    }

    pub(super) fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.body.0.push((key.to_owned(), value.into()));
        self
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, LegacyError> {
        Self::from_value(decode_value(bytes)?)
    }

    pub(super) fn from_value(value: Value) -> Result<Self, LegacyError> {
        let Value::Array(items) = value else {
            return Err(LegacyError::NotAMessage);
        };
        let Ok([header, id, _version, Value::Map(body), peer]) = <[Value; 5]>::try_from(items)
        else {
            return Err(LegacyError::NotAMessage);
        };
        Ok(Self {
            header: Header::from_value(&header),
            id: optional_text(id, "id")?,
            body: Body::from_map(body)?,
            peer: optional_text(peer, "peer_id")?,
        })
    }

    pub(super) fn encode(self) -> Vec<u8> {
        let text = |text: Option<String>| text.map_or(Value::Nil, Value::from);
        let body = self.body.0.into_iter();
        encode_value(&Value::Array(vec![
            self.header.map_or(Value::Nil, Header::to_value),
            text(self.id),
            Value::F64(VERSION),
            Value::Map(body.map(|(key, value)| (key.into(), value)).collect()),
            text(self.peer),
        ]))
    }

    /// The sender's id where messages carry it as their own.
    pub(super) fn id_of_peer(&self) -> Result<LegacyId, LegacyError> {
        peer_id(self.id.as_deref(), "id")
    }

    /// The sender's id in its own place.
    pub(super) fn peer_of_sender(&self) -> Result<LegacyId, LegacyError> {
        peer_id(self.peer.as_deref(), "peer_id")
    }

    pub(super) fn take_id(&mut self) -> Result<String, LegacyError> {
        self.id.take().ok_or(LegacyError::Missing("id"))
    }
}

fn peer_id(text: Option<&str>, field: &'static str) -> Result<LegacyId, LegacyError> {
    let text = text.ok_or(LegacyError::Missing(field))?;
    text.parse().map_err(|_| LegacyError::Impossible(field))
}

/// The keys and values of a message. Keys that nobody asks for are ignored: that is where newer
/// programs put what older ones need not know.
#[derive(Debug, PartialEq)]
pub(super) struct Body(Vec<(String, Value)>);

impl Body {
    fn from_map(map: Vec<(Value, Value)>) -> Result<Self, LegacyError> {
        let mut entries: Vec<(String, Value)> = Vec::with_capacity(map.len());
        for (key, value) in map {
            let key = text(key, "key").map_err(|_| LegacyError::KeyNotText)?;
            if RESERVED_KEYS.contains(&key.as_str()) {
                return Err(LegacyError::ReservedKey);
            }
            entries.push((key, value));
        }
        let mut keys: Vec<&str> = entries.iter().map(|(key, _)| key.as_str()).collect();
        keys.sort_unstable();
        if keys.windows(2).any(|pair| pair.first() == pair.last()) {
            return Err(LegacyError::DuplicateKey);
        }
        Ok(Self(entries))
    }

    pub(super) fn take(&mut self, key: &'static str) -> Result<Value, LegacyError> {
        let place = self.0.iter().position(|(known, _)| known == key);
        let place = place.ok_or(LegacyError::Missing(key))?;
        Ok(self.0.swap_remove(place).1)
    }

    pub(super) fn text(&mut self, key: &'static str) -> Result<String, LegacyError> {
        text(self.take(key)?, key)
    }

    pub(super) fn number<N: TryFrom<u64>>(&mut self, key: &'static str) -> Result<N, LegacyError> {
        number(&self.take(key)?, key)
    }

    pub(super) fn float(&mut self, key: &'static str) -> Result<f64, LegacyError> {
        self.take(key)?.as_f64().ok_or(LegacyError::WrongType(key))
    }

    pub(super) fn bytes(&mut self, key: &'static str) -> Result<Vec<u8>, LegacyError> {
        binary(self.take(key)?, key)
    }

    pub(super) fn addr(&mut self, key: &'static str) -> Result<SocketAddr, LegacyError> {
        addr(self.take(key)?, key)
    }

    pub(super) fn array(&mut self, key: &'static str) -> Result<Vec<Value>, LegacyError> {
        array(self.take(key)?, key)
    }
}

/// One whole value, within the bounds.
pub(super) fn decode_value(bytes: &[u8]) -> Result<Value, LegacyError> {
    check_whole(bytes)?;
    let mut rest = bytes;
    rmpv::decode::read_value(&mut rest).map_err(|_| LegacyError::Malformed)
}

pub(super) fn encode_value(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(128);
    // Writing to memory does not fail.
    let _ = rmpv::encode::write_value(&mut bytes, value);
    bytes
}

/// The `[ip, port]` of an address, as originals write it. A scope means nothing elsewhere.
pub(super) fn addr_value(addr: SocketAddr) -> Value {
    let ip = addr.ip().to_canonical().to_string();
    Value::Array(vec![ip.into(), addr.port().into()])
}

pub(super) fn text(value: Value, field: &'static str) -> Result<String, LegacyError> {
    let Value::String(text) = value else {
        return Err(LegacyError::WrongType(field));
    };
    text.into_str().ok_or(LegacyError::NotUtf8)
}

fn optional_text(value: Value, field: &'static str) -> Result<Option<String>, LegacyError> {
    if value.is_nil() {
        return Ok(None);
    }
    text(value, field).map(Some)
}

pub(super) fn number<N: TryFrom<u64>>(
    value: &Value,
    field: &'static str,
) -> Result<N, LegacyError> {
    let Value::Integer(number) = value else {
        return Err(LegacyError::WrongType(field));
    };
    let number = number.as_u64().and_then(|number| N::try_from(number).ok());
    number.ok_or(LegacyError::Impossible(field))
}

pub(super) fn binary(value: Value, field: &'static str) -> Result<Vec<u8>, LegacyError> {
    let Value::Binary(bytes) = value else {
        return Err(LegacyError::WrongType(field));
    };
    Ok(bytes)
}

/// Whether it is *bin*: text, which can be seen as bytes as well, is not.
pub(super) fn is_binary(value: &Value) -> bool {
    matches!(value, Value::Binary(_))
}

pub(super) fn array(value: Value, field: &'static str) -> Result<Vec<Value>, LegacyError> {
    let Value::Array(items) = value else {
        return Err(LegacyError::WrongType(field));
    };
    Ok(items)
}

/// An address, possibly with flow and scope of IPv6 behind it, which are not kept.
pub(super) fn addr(value: Value, field: &'static str) -> Result<SocketAddr, LegacyError> {
    let mut items = array(value, field)?.into_iter();
    let mut next = || items.next().ok_or(LegacyError::Missing(field));
    let (host, port) = (next()?, next()?);
    let ip = ip(&text(host, field)?).ok_or(LegacyError::Impossible(field))?;
    Ok(SocketAddr::new(ip, number(&port, field)?))
}

/// An IP address in text, perhaps with the scope that Python leaves behind it.
pub(super) fn ip(text: &str) -> Option<IpAddr> {
    let (ip, _scope) = text.split_once('%').unwrap_or((text, ""));
    ip.parse().ok().map(|ip: IpAddr| ip.to_canonical())
}
