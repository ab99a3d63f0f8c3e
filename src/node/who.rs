//! Ourselves, those we know and those who are near, as faces see them.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::net::discovery::Who;
use crate::net::link::PathInfo;
use crate::net::relay::RelayStanding;
use crate::net::{DhtStanding, RouterPort};
use crate::peer::PeerId;
use crate::storage::store::PeerRecord;

/// What a program means that does not say since when.
pub(super) fn long_ago() -> SystemTime {
    SystemTime::UNIX_EPOCH
}

/// Ourselves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Me {
    /// Our key.
    pub id: PeerId,
    /// What we call ourselves.
    pub name: String,
    /// `peerconnect:` link with our key and addresses.
    pub link: String,
    /// `IP:PORT` that we listen at, most useful first.
    pub addrs: Vec<String>,
    /// Where received files go.
    #[serde(with = "crate::text::path")]
    pub folder: PathBuf,
    /// Bytes per second for all sending together.
    pub rate_limit: Option<u64>,
    /// Process that holds the node.
    pub pid: u32,
    /// Where originals find us; `None` if they cannot.
    pub legacy: Option<LegacyMe>,
    /// Relays where we listen, and how it stands with them.
    pub relays: Vec<RelayStanding>,
    /// How it stands with a port at the router.
    #[serde(default)]
    pub router_port: RouterPort,
    /// How it stands with our entry in the DHT.
    #[serde(default)]
    pub dht: DhtStanding,
    /// Whether peers whose network blocks UDP can call: by TCP, at the port of the same number.
    #[serde(default)]
    pub takes_tcp: bool,
}

/// What originals know about us.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LegacyMe {
    /// TCP port for files.
    pub port: u16,
    /// UDP port for requests.
    pub req_port: u16,
    /// Our id in their sense, as text.
    pub peer_id: String,
}

/// A peer we know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerInfo {
    /// Its key.
    pub id: PeerId,
    /// What is remembered about it.
    pub record: PeerRecord,
    /// Whether we are connected now.
    pub connected: bool,
    /// The three words of the connection, if there is one.
    pub words: Option<String>,
    /// How it is reached now, if it is connected.
    pub path: Option<PathInfo>,
    /// Where its files go, if not where those of all go.
    #[serde(with = "crate::text::path_option")]
    pub folder: Option<PathBuf>,
}

/// Somebody in the same network. Without [`Nearby::known`] all of it is a claim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nearby {
    /// Who, and of which kind.
    pub who: Who,
    /// What to call it: the name that the person gave it, else what it calls itself, else the
    /// beginning of its id.
    pub name: String,
    /// Whether the person trusts it.
    pub trusted: bool,
    /// Whether there was contact before.
    pub known: bool,
    /// Whether we are connected now.
    pub connected: bool,
    /// When it was heard last, in seconds since 1970.
    pub last_seen: u64,
    /// Where it says it is, most useful first.
    pub addrs: Vec<SocketAddr>,
    /// Whether it says that it does not reach this computer, and we are not connected.
    #[serde(default)]
    pub misses_us: bool,
}

impl Nearby {
    /// Its key, if it is of our kind.
    pub fn key(&self) -> Option<PeerId> {
        match self.who {
            Who::Key(id) => Some(id),
            Who::Original(_) => None,
        }
    }
}
