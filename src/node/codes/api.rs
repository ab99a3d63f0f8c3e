//! What can be asked of a node about one-time codes, and how faces see them.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::fault::Fault;
#[cfg(doc)]
use crate::node::api::Reply;
use crate::node::api::{Overview, Presence, ReceiveRule};
use crate::protocol::message::TransferId;

/// What can be asked of a node about codes.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub enum CodeCommand {
    /// Makes a code for files and folders, which [`CodeSnapshot`] tells. Replies
    /// [`Reply::Transfer`] with the id that the transfer will have
    /// when somebody has used the code.
    Send {
        /// Absolute paths.
        #[serde(with = "crate::text::paths")]
        paths: Vec<PathBuf>,
    },
    /// Takes what is sent with a code. Replies [`Reply::Agreed`] when
    /// both sides have shown that they know it.
    Receive {
        /// As a person typed it, or the one-time link that it stands in.
        code: String,
        /// How the transfer is taken.
        taking: Taking,
    },
    /// Nobody shall use this code any more, nor what was agreed on with it be sent or taken.
    Drop(TransferId),
}

/// How a transfer is taken whose code was typed here.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Taking {
    /// By this rule, without a question.
    ByRule(ReceiveRule),
    /// As the settings say, without a question.
    AsSet,
    /// Like any other offer.
    Asked,
}

impl std::fmt::Debug for CodeCommand {
    /// Without the code.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Send { .. } => "Send",
            Self::Receive { .. } => "Receive",
            Self::Drop(_) => "Drop",
        })
    }
}

/// A code as it is now.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CodeSnapshot {
    /// The id that its transfer will have.
    pub id: TransferId,
    /// The code itself, such as `7-river-copper`, while it can be used. It changes with each wrong
    /// guess.
    pub code: Option<String>,
    /// Until when it can be used, in seconds since 1970.
    pub expires: u64,
    /// How often something wrong was typed elsewhere.
    pub wrong: u32,
    /// Where it can be typed.
    #[serde(default)]
    pub reach: CodeReach,
    /// What it is for: names of files and folders, 16 at most.
    pub names: Vec<String>,
    /// How it stands with it.
    pub state: CodeState,
}

impl std::fmt::Debug for CodeSnapshot {
    /// Without the code.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CodeSnapshot")
            .field("id", &self.id)
            .field("wrong", &self.wrong)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

/// Where a code can be typed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CodeReach {
    /// Where a relay of ours is reached, and nearby.
    #[default]
    Anywhere,
    /// In the same network only: there is no relay, or none was reached when it was made.
    Nearby,
}

/// How it stands with a code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum CodeState {
    /// It waits for somebody to type it, or for its number.
    Waiting,
    /// It was used: there is a transfer of this id, or will be at once.
    Used,
    /// Nobody can use it any more.
    Ended(Fault),
}

impl Overview {
    /// The code whose transfer will have this id.
    pub fn code(&self, id: TransferId) -> Option<&CodeSnapshot> {
        self.codes.iter().find(|code| code.id == id)
    }

    /// Whether codes can be made and used here: at a relay, or in the same network.
    pub fn has_codes(&self) -> bool {
        !self.me.relays.is_empty() || self.presence != Presence::Off
    }
}
