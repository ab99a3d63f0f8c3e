//! What the database holds, as the rest of the program sees it.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::peer::PeerId;
use crate::protocol::message::TransferId;
use crate::storage::path_bytes;

/// Files that are on their way out, to go on with after a restart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutgoingRecord {
    /// Which transfer.
    pub transfer: TransferId,
    /// To whom; `None` before the first contact with an address.
    pub peer: Option<PeerId>,
    /// Name of the peer, for showing.
    pub peer_name: String,
    /// To whom, as typed.
    pub target: String,
    /// What was chosen, absolute.
    #[serde(with = "path_bytes::list")]
    pub paths: Vec<PathBuf>,
    /// When it was started, in seconds since 1970.
    pub created: u64,
    /// Whether the receiver has accepted it.
    pub accepted: bool,
}

/// What a person wants of files on their way out, besides that they arrive. By their paths as
/// offered: positions may be others after a restart.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wishes {
    /// All of it stands still until the person resumes it.
    pub paused: bool,
    /// These files stand still.
    pub paused_files: BTreeSet<String>,
    /// Only these files go, of all that was chosen; `None` for all.
    pub only: Option<BTreeSet<String>>,
    /// The receiver need not be there: it is waited for.
    pub patient: bool,
}

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

/// Files on their way to several receivers: a transfer to each of them, which belong together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRecord {
    /// Which session; no transfer has this id.
    pub session: TransferId,
    /// When it was started, in seconds since 1970.
    pub created: u64,
    /// The receivers, in the order in which they were named.
    pub members: Vec<MemberRecord>,
}

/// A receiver of a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberRecord {
    /// The transfer to it.
    pub transfer: TransferId,
    /// Its name, for showing.
    pub name: String,
    /// What came of it; `None` while it is not over.
    pub end: Option<MemberEnd>,
}

/// What came of a receiver of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MemberEnd {
    /// It got everything.
    Complete,
    /// Something or everything is missing there.
    Incomplete,
}

/// Peers that a person gave one name, to send to all of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupRecord {
    /// The name. Upper and lower case are the same.
    pub name: String,
    /// Who is in it, in the order in which they were named.
    pub members: Vec<PeerId>,
}
