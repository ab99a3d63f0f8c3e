//! What goes to and from the requests endpoint, and how the kinds are told apart.

use super::discovery::{Discovery, DiscoveryKind};
use super::gossip::Gossip;
use super::kademlia::Kademlia;
use super::otm::Control;
use super::wire_data::{Header, WireData};
use super::{DATAGRAM_MAX, LENGTH_LEN, LegacyError, LegacyId};

const TRIGGER_KADEMLIA: u8 = 0x00;
const TRIGGER_DISCOVERY: u8 = 0x01;
const TRIGGER_GOSSIP: u8 = 0x02;
const TRIGGER_REQUEST: u8 = 0xff;

/// A datagram of the requests endpoint.
#[derive(Debug, Clone, PartialEq)]
pub enum Datagram {
    /// A remote call or its answer.
    Kademlia(Kademlia),
    /// Find or reply.
    Discovery(Discovery),
    /// Search, reply or message.
    Gossip(Gossip),
    /// "Are you still there?" Originals ask and never answer.
    RemovalPing {
        /// Names the ping.
        id: String,
        /// Whether it has a trigger byte: one branch of the original has, the other not.
        triggered: bool,
    },
    /// The answer to it. Originals recognise it by its id alone.
    RemovalAnswer {
        /// The id of the ping.
        id: String,
        /// Who answers, as it says.
        peer: Option<LegacyId>,
    },
    /// A message of a tree of relays.
    Otm(Control),
    /// Something with an id but of no kind that we know; it cannot be sent. The id alone may
    /// answer a removal ping.
    Other {
        /// Its id.
        id: Option<String>,
    },
}

impl Datagram {
    /// The bytes. Fails when they are too long, and for [`Datagram::Other`].
    pub fn encode(&self) -> Result<Vec<u8>, LegacyError> {
        let (trigger, wire) = match self {
            Self::Kademlia(kademlia) => (Some(TRIGGER_KADEMLIA), kademlia.to_wire()?),
            Self::Discovery(discovery) => (Some(TRIGGER_DISCOVERY), discovery.to_wire()),
            Self::Gossip(gossip) => (Some(TRIGGER_GOSSIP), gossip.to_wire()),
            Self::RemovalPing { id, triggered } => (
                triggered.then_some(TRIGGER_REQUEST),
                WireData::new(Header::RemovalPing).id(id),
            ),
            Self::RemovalAnswer { id, peer } => {
                let wire = WireData::new(Header::RemovalAnswer).id(id);
                let wire = match peer {
                    Some(peer) => wire.peer(peer),
                    None => wire,
                };
                (Some(TRIGGER_REQUEST), wire)
            }
            Self::Otm(control) => return control.encode(),
            Self::Other { .. } => return Err(LegacyError::UnknownHeader),
        };
        let payload = wire.encode();
        let mut bytes: Vec<u8> = trigger.into_iter().collect();
        bytes.extend_from_slice(&(payload.len() as u32).to_be_bytes());
        bytes.extend_from_slice(&payload);
        match bytes.len() > DATAGRAM_MAX {
            true => Err(LegacyError::DatagramTooLong(bytes.len())),
            false => Ok(bytes),
        }
    }

    /// What a datagram to the requests endpoint is.
    ///
    /// A length that covers exactly the rest means that there is no trigger; as no length is above
    /// 2^24, no datagram can be read both ways. Bytes behind a triggered message are ignored, as
    /// originals do.
    pub fn decode(bytes: &[u8]) -> Result<Self, LegacyError> {
        if bytes.len() > DATAGRAM_MAX {
            return Err(LegacyError::DatagramTooLong(bytes.len()));
        }
        if let Some((len, payload)) = length(bytes)
            && len == payload.len()
        {
            return Self::decode_untriggered(payload);
        }
        let (trigger, rest) = bytes.split_first().ok_or(LegacyError::Truncated)?;
        let (len, rest) = length(rest).ok_or(LegacyError::Truncated)?;
        let payload = rest.get(..len).ok_or(LegacyError::Truncated)?;
        let wire = WireData::decode(payload)?;
        let header = wire.header;
        let is_one_of = |headers: &[Header]| match header {
            None => Err(LegacyError::UnknownHeader),
            Some(header) if headers.contains(&header) => Ok(header),
            Some(_) => Err(LegacyError::WrongHeader),
        };
        match *trigger {
            TRIGGER_KADEMLIA => {
                is_one_of(&[Header::Kademlia])?;
                Kademlia::from_wire(wire).map(Self::Kademlia)
            }
            TRIGGER_DISCOVERY => {
                let kind = match is_one_of(&[Header::Find, Header::Reply])? == Header::Find {
                    true => DiscoveryKind::Find,
                    false => DiscoveryKind::Reply,
                };
                Discovery::from_wire(kind, wire).map(Self::Discovery)
            }
            TRIGGER_GOSSIP => {
                let header = is_one_of(&[
                    Header::GossipMessage,
                    Header::GossipSearch,
                    Header::GossipReply,
                ])?;
                Gossip::from_wire(header, wire).map(Self::Gossip)
            }
            _ => Self::from_request(wire, true),
        }
    }

    fn decode_untriggered(payload: &[u8]) -> Result<Self, LegacyError> {
        match Control::decode_payload(payload) {
            Ok(control) => Ok(Self::Otm(control)),
            Err(LegacyError::WrongHeader | LegacyError::UnknownHeader) => {
                Self::from_request(WireData::decode(payload)?, false)
            }
            Err(error) => Err(error),
        }
    }

    fn from_request(mut wire: WireData, triggered: bool) -> Result<Self, LegacyError> {
        let header = wire.header;
        if header == Some(Header::RemovalPing) {
            let id = wire.take_id()?;
            return Ok(Self::RemovalPing { id, triggered });
        }
        if header == Some(Header::RemovalAnswer) {
            let id = wire.take_id()?;
            let peer = wire.peer_of_sender().ok();
            return Ok(Self::RemovalAnswer { id, peer });
        }
        Ok(Self::Other { id: wire.id })
    }
}

/// The length at the beginning, and what follows it.
fn length(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<LENGTH_LEN>()?;
    Some((u32::from_be_bytes(*length) as usize, rest))
}
