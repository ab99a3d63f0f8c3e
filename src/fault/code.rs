//! What goes wrong with one-time codes.

use serde::{Deserialize, Serialize};

use super::Face;

/// What went wrong with a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CodeTrouble {
    /// Whoever waits with this number has other words, or somebody else answered.
    Wrong,
    /// Nobody waits with this number, as far as could be asked.
    Nobody,
    /// Nothing could be asked, or told: no relay is reached.
    NoRelay,
    /// Relays, or whoever made the code, want no more questions now.
    Busy,
    /// There is nobody to ask, or tell: no relay is set, and those nearby are not looked for.
    NoWay,
    /// Somebody typed wrong codes again and again.
    Guessed,
    /// Nobody has used the code in its time.
    Late,
}

impl CodeTrouble {
    /// Stable name for scripts, and exit code.
    pub(super) fn row(self) -> (&'static str, u8) {
        match self {
            Self::Wrong | Self::Nobody | Self::Guessed => ("bad-code", 5),
            Self::NoRelay => ("no-relay", 4),
            Self::Busy => ("relay-busy", 4),
            Self::NoWay => ("invalid", 2),
            Self::Late => ("no-answer", 7),
        }
    }

    pub(super) fn is_retryable(self) -> bool {
        matches!(self, Self::NoRelay | Self::Busy)
    }

    pub(super) fn sentences(self, face: Face) -> (String, String, String) {
        let (title, detail, hint) = match self {
            Self::Wrong => (
                "This code isn't valid any more.",
                "It was not the right one, and a wrong one uses it up. Nothing was sent.",
                "Codes work once; ask for the new one.".into(),
            ),
            Self::Nobody => (
                "Nobody waits with this code.",
                "Codes work once, for an hour, and as long as the sender waits.",
                "Check its number, or ask for a new one. Both sides must be in the same network, \
                 or use the same relay."
                    .into(),
            ),
            Self::NoRelay => (
                "No relay is reached.",
                "A code is looked up at a relay, where nobody nearby has it. The relay may be off, \
                 or too old for codes.",
                face.pick(
                    "See what `peerconnect doctor` says, or use a link instead of a code.".into(),
                    "Try again in a while, or use a link instead of a code.".into(),
                ),
            ),
            Self::Busy => (
                "There are too many questions about codes now.",
                "The relay, or whoever made the code, answers no more of them for a while.",
                "Try again in a minute.".into(),
            ),
            Self::NoWay => (
                "There is nowhere to look a code up.",
                "No relay is set, and those nearby are not looked for (announce = never).",
                face.pick(
                    "Add --relay LINK on both sides, or use --to with a name \
                     (`peerconnect peers` shows who is there), a peerconnect: link or an address."
                        .into(),
                    "Set a relay on both sides, or use a link instead of a code.".into(),
                ),
            ),
            Self::Guessed => (
                "Somebody typed wrong codes again and again.",
                "Nothing was sent. Whoever guesses has next to no chance, and gets no more.",
                "Send again for a new code, and say it only to the one who shall have it.".into(),
            ),
            Self::Late => (
                "Nobody used the code in time.",
                "Nothing was sent.",
                "Send again for a new code.".into(),
            ),
        };
        (title.into(), detail.into(), hint)
    }
}
