//! What a peer says of itself.

use std::net::{IpAddr, SocketAddr};

use rmpv::Value;

use super::wire_data::{array, binary, decode_value, encode_value, ip, number, text};
use super::{LegacyError, LegacyId};

/// Items of a record. Never one more: it ends the discovery of the original that receives it.
const ITEMS: usize = 6;

/// A peer as it describes itself, and as others pass it on. Nothing of it is proven.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its id; not unique without the address.
    pub id: LegacyId,
    /// What it calls itself. Hostile text: see [`crate::text::Shown`].
    pub name: String,
    /// Where both ports are.
    pub ip: IpAddr,
    /// TCP port for files, directories and texts. Not always 3485.
    pub stream_port: u16,
    /// UDP port for requests.
    pub requests_port: u16,
    /// Whether it is there.
    pub status: Status,
}

/// Whether a peer is there, by its own word or another's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Gone, or about to go.
    Offline,
    /// There.
    Online,
}

impl Record {
    /// Where files, directories and texts go.
    pub fn stream_addr(&self) -> SocketAddr {
        SocketAddr::new(self.ip, self.stream_port)
    }

    /// Where requests go.
    pub fn requests_addr(&self) -> SocketAddr {
        SocketAddr::new(self.ip, self.requests_port)
    }

    /// The MessagePack of it, as it travels in a *bin*.
    pub fn encode(&self) -> Vec<u8> {
        encode_value(&self.to_value())
    }

    /// The record in these bytes; nothing may follow it.
    pub fn decode(bytes: &[u8]) -> Result<Self, LegacyError> {
        Self::from_value(decode_value(bytes)?)
    }

    pub(super) fn to_value(&self) -> Value {
        let status: u8 = match self.status {
            Status::Offline => 0,
            Status::Online => 1,
        };
        let items: [Value; ITEMS] = [
            Value::from(self.id.as_bytes().as_slice()),
            self.name.as_str().into(),
            self.ip.to_canonical().to_string().into(),
            self.stream_port.into(),
            self.requests_port.into(),
            status.into(),
        ];
        Value::Array(items.into())
    }

    /// Five items are a record without status, which originals take as well.
    pub(super) fn from_value(value: Value) -> Result<Self, LegacyError> {
        let mut items = array(value, "record")?;
        if items.len() == ITEMS - 1 {
            items.push(Value::from(1));
        }
        let items: [Value; ITEMS] = items
            .try_into()
            .map_err(|_| LegacyError::Impossible("record"))?;
        let [id, name, host, stream_port, requests_port, status] = items;
        let id = binary(id, "record id")?;
        Ok(Self {
            id: LegacyId::from_short(&id).ok_or(LegacyError::Impossible("record id"))?,
            name: text(name, "record name")?,
            ip: ip(&text(host, "record ip")?).ok_or(LegacyError::Impossible("record ip"))?,
            stream_port: number(&stream_port, "record stream port")?,
            requests_port: number(&requests_port, "record requests port")?,
            status: match number(&status, "record status")? {
                0u8 => Status::Offline,
                1 => Status::Online,
                _ => return Err(LegacyError::Impossible("record status")),
            },
        })
    }

    /// A record that travels inside a *bin*.
    pub(super) fn from_bin(value: Value, field: &'static str) -> Result<Self, LegacyError> {
        Self::decode(&binary(value, field)?)
    }

    pub(super) fn to_bin(&self) -> Value {
        Value::Binary(self.encode())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn items(count: usize) -> Vec<u8> {
        let all: [Value; 8] = [
            Value::from([7u8; 20].as_slice()),
            "anna".into(),
            "10.0.0.1".into(),
            3485.into(),
            3486.into(),
            0.into(),
            "more".into(),
            1.into(),
        ];
        encode_value(&Value::Array(all[..count].to_vec()))
    }

    #[test]
    fn five_items_are_a_record_without_status_and_seven_are_none() {
        assert_eq!(Record::decode(&items(6)).unwrap().status, Status::Offline);
        let five = Record::decode(&items(5)).unwrap();
        assert_eq!(five.status, Status::Online);
        assert_eq!(five.encode()[0], 0x96, "six items go out");
        for count in [0, 4, 7, 8] {
            assert_eq!(
                Record::decode(&items(count)),
                Err(LegacyError::Impossible("record"))
            );
        }
    }

    #[test]
    fn the_scope_of_an_address_is_dropped() {
        let mut record = Record::decode(&items(6)).unwrap();
        assert_eq!(ip("fe80::1%eth0"), Some("fe80::1".parse().unwrap()));
        assert_eq!(ip("example.org"), None);
        record.ip = "::ffff:10.0.0.1".parse().unwrap();
        assert_eq!(record.encode(), items(6), "originals know no mapped form");
    }
}
