//! What goes wrong with originals in their own way: they continue nothing, and do not say why.

use serde::{Deserialize, Serialize};

use crate::text::{Shown, bytes};

/// What went wrong with an original.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trouble {
    /// The connection that files went out on broke, and is made again.
    Lost {
        /// Bytes in files that have arrived whole.
        kept: u64,
    },
    /// It answers requests, but takes no files any more: its listener ends at the first thing that
    /// it cannot read, and the rest of it goes on as if nothing had happened.
    Deaf {
        /// Its TCP port for files.
        port: u16,
    },
    /// This program ended while files went out.
    LeftSending {
        /// Bytes in files that have arrived whole.
        kept: u64,
    },
    /// This program ended while files came in.
    LeftReceiving {
        /// Bytes in files that are complete.
        kept: u64,
    },
    /// This program ended before anybody here had answered.
    LeftUnanswered,
    /// It got everything from another original, which does not say whether it did.
    Unconfirmed,
    /// This program was killed while files went out: nobody knows how much has arrived.
    KilledSending,
    /// This program was killed while files came in.
    KilledReceiving,
}

impl Trouble {
    /// Stable name for scripts, and exit code.
    pub(super) fn row(self) -> (&'static str, u8) {
        match self {
            Self::Lost { .. } => ("lost", 8),
            Self::Deaf { .. } => ("peer-deaf", 3),
            Self::LeftSending { .. } | Self::LeftReceiving { .. } => ("incomplete", 8),
            Self::KilledSending | Self::KilledReceiving => ("incomplete", 8),
            Self::LeftUnanswered => ("not-taken", 7),
            Self::Unconfirmed => ("unconfirmed", 0),
        }
    }

    pub(super) fn is_retryable(self) -> bool {
        match self {
            Self::Lost { .. } | Self::Deaf { .. } => true,
            Self::LeftSending { .. } | Self::LeftReceiving { .. } => false,
            Self::KilledSending | Self::KilledReceiving => false,
            Self::LeftUnanswered | Self::Unconfirmed => false,
        }
    }

    pub(super) fn sentences(self, peer: &str) -> (String, String, String) {
        let peer = Shown(peer);
        let arrived = |kept| format!("{} in whole files have arrived.", bytes(kept));
        match self {
            Self::Lost { kept } => (
                format!("The connection to {peer} was lost."),
                arrived(kept),
                "It runs an old version, which cannot continue a file: the one that was on its \
                 way is sent from its beginning, as long as this program runs."
                    .into(),
            ),
            Self::Deaf { port } => (
                format!("{peer} is there but takes no files."),
                "It runs an old version, which stops taking files after an error and does not \
                 say so."
                    .into(),
                format!(
                    "Restart PeerConnect on that computer. If that does not help, a firewall \
                     there blocks TCP {port}."
                ),
            ),
            Self::LeftSending { kept } => (
                format!("PeerConnect was ended before {peer} had everything."),
                arrived(kept),
                "It runs an old version, which cannot continue. Send the rest again.".into(),
            ),
            Self::KilledSending => (
                format!("PeerConnect was ended before {peer} had everything."),
                "How much has arrived is not known.".into(),
                "It runs an old version, which cannot continue. Send it again.".into(),
            ),
            Self::KilledReceiving => (
                format!("PeerConnect was ended before everything from {peer} was here."),
                "Complete files are kept, the rest is not.".into(),
                "It runs an old version, which cannot continue. Ask for the rest again.".into(),
            ),
            Self::LeftReceiving { kept } => (
                format!("PeerConnect was ended before everything from {peer} was here."),
                format!(
                    "{} in complete files are kept, the rest is not.",
                    bytes(kept)
                ),
                "It runs an old version, which cannot continue. Ask for the rest again.".into(),
            ),
            Self::LeftUnanswered => (
                format!("PeerConnect was ended before anybody took what {peer} sent."),
                "Nothing of it was kept.".into(),
                "It runs an old version, which may have been told yes meanwhile. Ask for it again."
                    .into(),
            ),
            Self::Unconfirmed => (
                format!("{peer} gets the files from another receiver."),
                "All receivers that get them from here have them. Old versions do not say whether \
                 the others have them, too."
                    .into(),
                format!("Ask {peer} whether they are there."),
            ),
        }
    }
}
