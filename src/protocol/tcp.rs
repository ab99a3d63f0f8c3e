//! What goes over TCP where UDP is blocked, inside TLS: frames with the datagrams that would go by
//! UDP, and with messages if the other end is a relay. And how a caller finds out that it may begin
//! with TLS at all. See "Over TCP" in the specification.

use super::relay::DATAGRAM_LEN_MAX;

/// ALPN of a connection over TCP from one peer to another.
pub const ALPN_TCP: &[u8] = b"peerconnect-tcp/1";

/// Label of the TLS exporter (RFC 8446, section 7.5) that names the channel of such a connection.
pub const CHANNEL_LABEL: &[u8] = b"EXPORTER-peerconnect-tcp";

/// What a caller says first: at the port of an original it means that somebody looks whether it is
/// there, and nothing comes of it. TLS would end its listener.
pub const KNOCK: [u8; 4] = [0; 4];

/// What a peer answers to [`KNOCK`]: TLS may begin.
pub const ANSWER: [u8; 18] = *b"peerconnect-tcp/1\n";

/// The port of the web. No original is there, and a network that lets nothing else through may look
/// at what comes first: so TLS begins at once.
pub const WEB_PORT: u16 = 443;

/// First byte of TLS, a record of its handshake (RFC 8446, section 5.1). An original begins with a
/// length, which is never so large.
pub const TLS_FIRST: u8 = 22;

/// Bytes of the length in front of each frame.
pub const LENGTH_LEN: usize = 2;
/// Longest frame, without its length. Only messages are so long.
pub const FRAME_LEN_MAX: usize = 4096;
/// First byte of a frame with a message; all others are datagrams.
pub const MESSAGE: u8 = 0;

/// What is in a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frame<'a> {
    /// Nothing: only to be heard.
    Alive,
    /// A message, without its first byte.
    Message(&'a [u8]),
    /// A datagram, at most [`DATAGRAM_LEN_MAX`] bytes.
    Datagram(&'a [u8]),
}

/// A frame that is longer than it may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a frame that is too long")]
pub struct TooLong;

impl<'a> Frame<'a> {
    /// The length of the frame that `bytes` begin with, if that much has come.
    pub fn len_of(bytes: &[u8]) -> Result<Option<usize>, TooLong> {
        let Some((length, _)) = bytes.split_first_chunk::<LENGTH_LEN>() else {
            return Ok(None);
        };
        let len = usize::from(u16::from_be_bytes(*length));
        match len > FRAME_LEN_MAX {
            true => Err(TooLong),
            false => Ok(Some(len)),
        }
    }

    /// What a frame without its length is.
    pub fn parse(frame: &'a [u8]) -> Result<Self, TooLong> {
        match frame.split_first() {
            None => Ok(Self::Alive),
            Some((&MESSAGE, message)) => Ok(Self::Message(message)),
            Some(_) if frame.len() > DATAGRAM_LEN_MAX => Err(TooLong),
            Some(_) => Ok(Self::Datagram(frame)),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_frame_is_nothing_a_message_or_a_datagram() {
        assert_eq!(Frame::parse(&[]), Ok(Frame::Alive));
        assert_eq!(Frame::parse(&[MESSAGE, 7]), Ok(Frame::Message(&[7])));
        assert_eq!(Frame::parse(&[0x10, 7]), Ok(Frame::Datagram(&[0x10, 7])));
    }

    #[test]
    fn what_is_too_long_is_seen_before_it_is_there() {
        let length = |len: usize| u16::try_from(len).unwrap().to_be_bytes();
        assert_eq!(Frame::len_of(&[0]), Ok(None));
        let longest = length(FRAME_LEN_MAX);
        assert_eq!(Frame::len_of(&longest), Ok(Some(FRAME_LEN_MAX)));
        assert_eq!(Frame::len_of(&length(FRAME_LEN_MAX + 1)), Err(TooLong));
        let mut datagram = vec![0x10; DATAGRAM_LEN_MAX];
        assert!(Frame::parse(&datagram).is_ok());
        datagram.push(0);
        assert_eq!(Frame::parse(&datagram), Err(TooLong));
        datagram[0] = MESSAGE;
        assert!(Frame::parse(&datagram).is_ok());
    }

    proptest! {
        #[test]
        fn nothing_panics(bytes: Vec<u8>) {
            let _ = Frame::len_of(&bytes);
            let _ = Frame::parse(&bytes);
        }
    }
}
