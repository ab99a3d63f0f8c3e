//! What limits a transfer, as far as only its receiver knows. See "What limits it" in `README.md`
//! beside this file.

/// ALPN of peers that understand [`super::message::ReceiverMessage::Behind`] too, and everything
/// that [`super::codes::ALPN_CODES`] stands for.
pub const ALPN_LIMITS: &[u8] = b"peerconnect/1.5";
