//! Remote calls between requests endpoints: who is there, and whom do you know?

use rmpv::Value;

use super::id::ID_LEN;
use super::wire_data::{
    Header, WireData, array, binary, decode_value, encode_value, is_binary, text,
};
use super::{LegacyError, LegacyId, RPC_MAX, Record};

/// A value of a store that is not ours to understand.
pub use rmpv::Value as Stored;

/// Names a request; its answer has the same, and is recognised by nothing else. So it must be
/// random: whoever can guess it can answer.
pub type MessageId = [u8; ID_LEN];

/// A key, or the id of a list.
pub type Key = [u8; ID_LEN];

/// Less is ignored by originals.
const DATA_LEN_MIN: usize = 22;
const KIND_REQUEST: u8 = 0;
const KIND_ANSWER: u8 = 1;

/// Most records of peers in an answer.
pub const NEAREST_MAX: usize = 20;

/// A request or an answer, with the id that joins them.
#[derive(Debug, Clone, PartialEq)]
pub struct Kademlia {
    /// The id of the request.
    pub id: MessageId,
    /// What is asked, or answered.
    pub call: Call,
}

/// One direction or the other.
#[derive(Debug, Clone, PartialEq)]
pub enum Call {
    /// Somebody asks.
    Request(Request),
    /// Somebody answers.
    Answer(Answer),
}

/// A request, and who asks. Any request makes the caller known to an original.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// The caller as it describes itself.
    pub caller: Record,
    /// What it wants.
    pub rpc: Rpc,
}

/// What can be asked.
#[derive(Debug, Clone, PartialEq)]
pub enum Rpc {
    /// Who are you? Answered by [`Answer::Record`] and nothing else.
    Ping,
    /// Who is nearest to this id? Answered by [`Answer::Nearest`].
    FindNode(Key),
    /// Keep these in the list. Answered by [`Answer::Done`].
    StorePeersInList(Key, Vec<Record>),
    /// Who is in the list? Answered by [`Answer::Peers`], or by [`Answer::Nearest`].
    FindListOfPeers(Key),
    /// Keep this value. Answered by [`Answer::Done`].
    Store(Key, Stored),
    /// The value of this key? Answered by [`Answer::Value`], or by [`Answer::Nearest`].
    FindValue(Key),
    /// Whose name contains this text? Answered by [`Answer::Packed`]; by originals not at all.
    SearchPeers(String),
}

/// What can be answered.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// One record, to a ping.
    Record(Record),
    /// Records as plain arrays, nearest first.
    Nearest(Vec<Record>),
    /// Records, each in a *bin*.
    Packed(Vec<Record>),
    /// The records of a list.
    Peers(Vec<Record>),
    /// A stored value.
    Value(Stored),
    /// Whether it was done.
    Done(bool),
    /// Nothing.
    Nothing,
}

impl Kademlia {
    /// Fails if a request is longer than [`RPC_MAX`].
    pub(super) fn to_wire(&self) -> Result<WireData, LegacyError> {
        let (kind, payload) = match &self.call {
            Call::Request(request) => (KIND_REQUEST, request.to_value()),
            Call::Answer(answer) => (KIND_ANSWER, answer.to_value()),
        };
        let mut data = vec![kind];
        data.extend_from_slice(&self.id);
        data.extend_from_slice(&encode_value(&payload));
        if kind == KIND_REQUEST && data.len() > RPC_MAX {
            return Err(LegacyError::RequestTooLong(data.len()));
        }
        Ok(WireData::new(Header::Kademlia).with("data", Value::Binary(data)))
    }

    pub(super) fn from_wire(mut wire: WireData) -> Result<Self, LegacyError> {
        let data = wire.body.bytes("data")?;
        if data.len() < DATA_LEN_MIN {
            return Err(LegacyError::NotAnRpc);
        }
        let (kind, rest) = data.split_first().ok_or(LegacyError::NotAnRpc)?;
        let (id, payload) = rest
            .split_first_chunk::<ID_LEN>()
            .ok_or(LegacyError::NotAnRpc)?;
        let call = match *kind {
            KIND_REQUEST if data.len() > RPC_MAX => {
                return Err(LegacyError::RequestTooLong(data.len()));
            }
            KIND_REQUEST => Call::Request(Request::from_value(decode_value(payload)?)?),
            KIND_ANSWER => Call::Answer(Answer::from_value(decode_value(payload)?)?),
            _ => return Err(LegacyError::NotAnRpc),
        };
        Ok(Self { id: *id, call })
    }
}

impl Request {
    fn to_value(&self) -> Value {
        let key = |key: &Key| Value::from(key.as_slice());
        let (name, arguments) = match &self.rpc {
            Rpc::Ping => ("ping", vec![]),
            Rpc::FindNode(target) => ("find_node", vec![key(target)]),
            Rpc::StorePeersInList(list, peers) => {
                ("store_peers_in_list", vec![key(list), packed(peers)])
            }
            Rpc::FindListOfPeers(list) => ("find_list_of_peers", vec![key(list)]),
            Rpc::Store(place, value) => ("store", vec![key(place), value.clone()]),
            Rpc::FindValue(place) => ("find_value", vec![key(place)]),
            Rpc::SearchPeers(text) => ("search_peers", vec![text.as_str().into()]),
        };
        let mut all = vec![self.caller.to_bin()];
        all.extend(arguments);
        Value::Array(vec![name.into(), Value::Array(all)])
    }

    fn from_value(value: Value) -> Result<Self, LegacyError> {
        let [name, arguments] = array(value, "request")?
            .try_into()
            .map_err(|_| LegacyError::Impossible("request"))?;
        let name = text(name, "request name")?;
        let mut arguments = array(arguments, "arguments")?.into_iter();
        let mut next = || arguments.next().ok_or(LegacyError::Missing("argument"));
        let caller = Record::from_bin(next()?, "caller")?;
        let rpc = match name.as_str() {
            "ping" => Rpc::Ping,
            "find_node" => Rpc::FindNode(key(next()?)?),
            "store_peers_in_list" => {
                Rpc::StorePeersInList(key(next()?)?, records(array(next()?, "peers")?))
            }
            "find_list_of_peers" => Rpc::FindListOfPeers(key(next()?)?),
            "store" => Rpc::Store(key(next()?)?, next()?),
            "find_value" => Rpc::FindValue(key(next()?)?),
            "search_peers" => Rpc::SearchPeers(text(next()?, "search")?),
            _ => return Err(LegacyError::UnknownRpc),
        };
        Ok(Self { caller, rpc })
    }
}

impl Answer {
    fn to_value(&self) -> Value {
        match self {
            Self::Record(record) => record.to_bin(),
            Self::Nearest(records) => Value::Array(records.iter().map(Record::to_value).collect()),
            Self::Packed(records) => packed(records),
            Self::Peers(records) => Value::Map(vec![("value".into(), packed(records))]),
            Self::Value(value) => Value::Map(vec![("value".into(), value.clone())]),
            Self::Done(done) => Value::Boolean(*done),
            Self::Nothing => Value::Nil,
        }
    }

    /// What an answer is can be seen from its shape.
    fn from_value(value: Value) -> Result<Self, LegacyError> {
        if value.is_nil() {
            return Ok(Self::Nothing);
        }
        if let Value::Boolean(done) = value {
            return Ok(Self::Done(done));
        }
        if is_binary(&value) {
            return Record::from_bin(value, "answer").map(Self::Record);
        }
        if let Value::Array(items) = value {
            let is_packed = items.first().is_some_and(is_binary);
            let found = records(items);
            return Ok(match is_packed && !found.is_empty() {
                true => Self::Packed(found),
                false => Self::Nearest(found),
            });
        }
        let Value::Map(entries) = value else {
            return Err(LegacyError::WrongType("answer"));
        };
        let mut entries = entries.into_iter();
        let value = entries.find(|(key, _)| key.as_str() == Some("value"));
        let (_, value) = value.ok_or(LegacyError::Missing("value"))?;
        let is_list = |items: &Vec<Value>| items.iter().all(is_binary);
        if value.as_array().is_some_and(is_list) {
            return Ok(Self::Peers(records(array(value, "value")?)));
        }
        Ok(Self::Value(value))
    }
}

fn packed(records: &[Record]) -> Value {
    Value::Array(records.iter().map(Record::to_bin).collect())
}

/// The records among these values, plain or packed. One that cannot be read is left out: a third
/// peer made it, and must not keep the others from us.
fn records(values: Vec<Value>) -> Vec<Record> {
    let record = |value: Value| match is_binary(&value) {
        true => Record::from_bin(value, "record"),
        false => Record::from_value(value),
    };
    values.into_iter().flat_map(record).collect()
}

fn key(value: Value) -> Result<Key, LegacyError> {
    let bytes = binary(value, "key")?;
    match LegacyId::from_short(&bytes) {
        Some(id) => Ok(*id.as_bytes()),
        None => Err(LegacyError::Impossible("key")),
    }
}
