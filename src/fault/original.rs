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
}

impl Trouble {
    /// Stable name for scripts, and exit code.
    pub(super) fn row(self) -> (&'static str, u8) {
        match self {
            Self::Lost { .. } => ("lost", 8),
        }
    }

    pub(super) fn is_retryable(self) -> bool {
        match self {
            Self::Lost { .. } => true,
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
        }
    }
}
