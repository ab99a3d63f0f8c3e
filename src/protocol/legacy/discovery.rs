//! Who is there? Find and reply, to a group or to one host.

use std::net::SocketAddr;

use super::wire_data::{Body, Header, WireData, addr_value};
use super::{LegacyError, LegacyId};
use crate::peer::PeerId;
use crate::protocol::message::NAME_LEN_MAX;

/// Keys of our own. Originals ignore unknown keys here, and only here is it known for certain.
const KEY_PEER: &str = "quic_peer";
const KEY_PORT: &str = "quic_port";
const KEY_NAME: &str = "quic_name";

/// A find, or the reply to one. They are alike but for their direction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Discovery {
    /// Which of the two.
    pub kind: DiscoveryKind,
    /// Who sends it, as it says.
    pub id: LegacyId,
    /// Its requests endpoint: where the reply to a find shall go, or where to send requests. A
    /// claim: sending there what somebody else asked for makes a reflector.
    pub addr: SocketAddr,
    /// That the sender is a program like this one, as it says.
    pub abilities: Option<Abilities>,
}

/// Find or reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiscoveryKind {
    /// Asks who is there.
    Find,
    /// Says that one is there.
    Reply,
}

/// What programs like this one tell each other in passing. A hint where to dial, never identity:
/// who answers there proves it by its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Abilities {
    /// Whom to expect there.
    pub peer: PeerId,
    /// UDP port for QUIC, at the host that the message came from; 0 if it shall not be dialled.
    pub port: u16,
    /// What it calls itself; at most [`NAME_LEN_MAX`] bytes. Hostile text.
    pub name: String,
}

impl Discovery {
    pub(super) fn to_wire(&self) -> WireData {
        let (header, key) = match self.kind {
            DiscoveryKind::Find => (Header::Find, "reply_addr"),
            DiscoveryKind::Reply => (Header::Reply, "connect_uri"),
        };
        let wire = WireData::new(header)
            .id(self.id)
            .with(key, addr_value(self.addr));
        match &self.abilities {
            None => wire,
            Some(Abilities { peer, port, name }) => wire
                .with(KEY_PEER, peer.as_bytes().as_slice())
                .with(KEY_PORT, *port)
                .with(KEY_NAME, name.as_str()),
        }
    }

    pub(super) fn from_wire(kind: DiscoveryKind, mut wire: WireData) -> Result<Self, LegacyError> {
        let key = match kind {
            DiscoveryKind::Find => "reply_addr",
            DiscoveryKind::Reply => "connect_uri",
        };
        Ok(Self {
            kind,
            id: wire.id_of_peer()?,
            addr: wire.body.addr(key)?,
            // What is malformed is some other program's, and no reason to ignore an original.
            abilities: Abilities::take(&mut wire.body).ok(),
        })
    }
}

impl Abilities {
    fn take(body: &mut Body) -> Result<Self, LegacyError> {
        let peer = body.bytes(KEY_PEER)?;
        let peer = peer
            .try_into()
            .map_err(|_: Vec<u8>| LegacyError::Impossible(KEY_PEER))?;
        let name = body.text(KEY_NAME)?;
        if name.len() > NAME_LEN_MAX {
            return Err(LegacyError::Impossible(KEY_NAME));
        }
        Ok(Self {
            peer: PeerId::from_bytes(peer),
            port: body.number(KEY_PORT)?,
            name,
        })
    }
}
