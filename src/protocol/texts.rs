//! Short texts from person to person: what their streams carry. See "A text" in `README.md` beside
//! this file.

use serde::{Deserialize, Serialize};

use super::codes::ALPN_CODES;
use super::limits::ALPN_LIMITS;
use super::message::{ALPN, DeclineReason, TransferId};
use super::sessions::{ALPN_PARTS, ALPN_REFERRALS, ALPN_SESSIONS, ALPN_WILLS};

/// Most bytes of one text, as UTF-8.
pub const TEXT_LEN_MAX: usize = 64 * 1024;

/// ALPN of peers that understand texts too, and everything that [`ALPN`] stands for. Whoever has
/// not agreed to it would take [`super::message::Opening::Text`] for nonsense.
pub const ALPN_TEXTS: &[u8] = b"peerconnect/1.1";

/// What is offered in the handshake of TLS, best first.
pub const ALPNS: [&[u8]; 8] = [
    ALPN_REFERRALS,
    ALPN_PARTS,
    ALPN_LIMITS,
    ALPN_CODES,
    ALPN_WILLS,
    ALPN_SESSIONS,
    ALPN_TEXTS,
    ALPN,
];

/// Names a text for both sides, also when it is offered again after a connection broke. Chosen at
/// random by the sender, as that of a transfer is.
pub type TextId = TransferId;

/// Announces a text; its bytes follow when the receiver wants them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TextHead {
    /// The text, possibly one that the receiver knows already.
    pub text: TextId,
    /// Its bytes as UTF-8: at least 1, at most [`TEXT_LEN_MAX`].
    pub len: u32,
}

/// Receiver to sender, on the stream of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum TextAnswer {
    /// The person is being asked.
    Asked,
    /// The bytes may come.
    Accepted,
    /// The receiver has the text, and shows it. Nothing follows.
    Delivered,
    /// The text may not come. Nothing follows.
    Declined(DeclineReason),
}

/// Why something is no text that can be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoText {
    /// There is nothing in it.
    #[error("there is no text")]
    Empty,
    /// It has so many bytes, more than [`TEXT_LEN_MAX`].
    #[error("a text of {0} bytes is too long: at most {TEXT_LEN_MAX}; send it as a file")]
    TooLong(usize),
}

/// The length of a text that may be sent.
pub fn length_of(text: &str) -> Result<u32, NoText> {
    match text.len() {
        0 => Err(NoText::Empty),
        len if len > TEXT_LEN_MAX => Err(NoText::TooLong(len)),
        len => Ok(len as u32),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_neither_empty_nor_longer_than_allowed() {
        assert_eq!(length_of(""), Err(NoText::Empty));
        assert_eq!(length_of("é"), Ok(2));
        let most = "x".repeat(TEXT_LEN_MAX);
        assert_eq!(length_of(&most), Ok(TEXT_LEN_MAX as u32));
        let more = format!("{most}x");
        assert_eq!(length_of(&more), Err(NoText::TooLong(TEXT_LEN_MAX + 1)));
    }
}
