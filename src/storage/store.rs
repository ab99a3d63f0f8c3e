//! What survives a restart besides transfers: peers and history, in an embedded database (redb).

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::fault::Fault;
use crate::peer::PeerId;
use crate::protocol::message::TransferId;

/// What is remembered about a peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerRecord {
    /// Name that the peer gave itself at the last contact: a claim.
    pub claimed_name: String,
    /// Name that the person gave it; wins over the claimed one.
    pub own_name: Option<String>,
    /// Whether the person compared the words or trusts it otherwise.
    pub trusted: bool,
    /// What happens to its offers.
    pub accept: Accept,
    /// Addresses it was reached at or gave in a link, best first; at most 8.
    pub addrs: Vec<SocketAddr>,
    /// First contact, in seconds since 1970.
    pub first_seen: u64,
    /// Last contact, in seconds since 1970.
    pub last_seen: u64,
}

/// What happens to the offers of a peer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Accept {
    /// Ask each time.
    #[default]
    Ask,
    /// Take them without a question.
    Always,
    /// Do not even show them; the peer sees nobody answering.
    Block,
}

impl PeerRecord {
    /// The name to show: our own if there is one, otherwise the claimed one.
    pub fn name(&self) -> &str {
        self.own_name.as_deref().unwrap_or(&self.claimed_name)
    }
}

/// A transfer that has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryRecord {
    /// Which transfer.
    pub transfer: TransferId,
    /// Whether we sent.
    pub sent: bool,
    /// The peer, if there was contact.
    pub peer: Option<PeerId>,
    /// Its name then.
    pub peer_name: String,
    /// Names at top level, the first 20.
    pub names: Vec<String>,
    /// Where the files went; received ones only.
    #[serde(with = "crate::text::path_option")]
    pub folder: Option<PathBuf>,
    /// Files.
    pub files: u32,
    /// Bytes.
    pub bytes: u64,
    /// Files that failed.
    pub failed: u32,
    /// Why it did not complete; `None` if it did.
    pub fault: Option<Fault>,
    /// When it started and ended, in seconds since 1970.
    pub started: u64,
    /// See `started`.
    pub ended: u64,
}
