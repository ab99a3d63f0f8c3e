//! The envelope of every message: `length: u32 big-endian` + that many bytes of postcard.
//!
//! One size limit for everything, checked before a byte is reserved; the payload must be used up
//! by the message, because trailing bytes are where the next version would smuggle things in.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Largest payload of a frame, in bytes. Long lists travel in pages of at most this size.
pub const FRAME_MAX: usize = 64 * 1024;

/// Bytes of the length in front of each payload.
pub const LENGTH_LEN: usize = 4;

/// What is wrong with the bytes of a frame. Every variant is the peer's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The announced length is above [`FRAME_MAX`].
    #[error("frame of {0} bytes, at most {FRAME_MAX} allowed")]
    TooLong(u32),
    /// The payload is not a message of the expected type.
    #[error("frame does not hold the expected message")]
    Malformed,
    /// The message ends before the payload does.
    #[error("{0} bytes after the end of the message")]
    Trailing(usize),
    /// The stream ended inside a frame.
    #[error("stream ended inside a frame")]
    Truncated,
}

/// A message that does not fit a frame: a fault of this program, which must page its lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("message does not fit a frame of {FRAME_MAX} bytes")]
pub struct MessageTooLong;

/// The bytes of `message` in its envelope.
pub fn encode<M: Serialize>(message: &M) -> Result<Vec<u8>, MessageTooLong> {
    let mut out = Vec::with_capacity(128);
    encode_into(message, &mut out)?;
    Ok(out)
}

/// Appends `message` in its envelope to `out`. On error `out` is as it was.
pub fn encode_into<M: Serialize>(message: &M, out: &mut Vec<u8>) -> Result<(), MessageTooLong> {
    // Serialising to memory fails only for types that have no length, which no message is.
    let payload = postcard::to_stdvec(message).map_err(|_| MessageTooLong)?;
    if payload.len() > FRAME_MAX {
        return Err(MessageTooLong);
    }
    out.extend_from_slice(&(payload.len() as u32).to_be_bytes());
    out.extend_from_slice(&payload);
    Ok(())
}

/// The payload length that the four bytes announce, if it is allowed.
pub fn decode_length(bytes: [u8; LENGTH_LEN]) -> Result<usize, FrameError> {
    let len = u32::from_be_bytes(bytes);
    if len as usize > FRAME_MAX {
        Err(FrameError::TooLong(len))
    } else {
        Ok(len as usize)
    }
}

/// The message in a payload; all bytes must belong to it.
pub fn decode_payload<M: DeserializeOwned>(payload: &[u8]) -> Result<M, FrameError> {
    match postcard::take_from_bytes(payload) {
        Ok((message, [])) => Ok(message),
        Ok((_, rest)) => Err(FrameError::Trailing(rest.len())),
        Err(_) => Err(FrameError::Malformed),
    }
}

/// Splits the first frame off `bytes`: `Ok(None)` while it is not complete yet. Gives the message
/// and how many bytes it took.
pub fn decode<M: DeserializeOwned>(bytes: &[u8]) -> Result<Option<(M, usize)>, FrameError> {
    let Some((length, rest)) = bytes.split_first_chunk::<LENGTH_LEN>() else {
        return Ok(None);
    };
    let len = decode_length(*length)?;
    match rest.get(..len) {
        Some(payload) => Ok(Some((decode_payload(payload)?, LENGTH_LEN + len))),
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn limits_are_checked_before_the_payload_is_looked_at() {
        assert_eq!(decode_length([0, 1, 0, 0]), Ok(FRAME_MAX));
        assert_eq!(
            decode_length([0, 1, 0, 1]),
            Err(FrameError::TooLong(65_537))
        );
        assert_eq!(decode::<u8>(&[0xff; 4]), Err(FrameError::TooLong(u32::MAX)));
        assert_eq!(encode(&vec![0u8; FRAME_MAX]), Err(MessageTooLong));
        let mut out = vec![7];
        assert!(encode_into(&vec![0u8; FRAME_MAX], &mut out).is_err());
        assert_eq!(out, [7], "a refused message leaves no bytes behind");
    }

    #[test]
    fn trailing_bytes_are_refused() {
        assert_eq!(decode_payload::<u8>(&[1, 2]), Err(FrameError::Trailing(1)));
        assert_eq!(decode_payload::<u8>(&[]), Err(FrameError::Malformed));
    }

    proptest! {
        #[test]
        fn frames_survive_any_split(text in ".{0,300}", numbers: Vec<u64>, at in 0usize..400) {
            let bytes = encode(&(text.clone(), numbers.clone())).unwrap();
            let at = at.min(bytes.len());
            let early = decode::<(String, Vec<u64>)>(&bytes[..at]).unwrap();
            prop_assert_eq!(early.is_some(), at == bytes.len());
            let whole = decode::<(String, Vec<u64>)>(&bytes).unwrap();
            prop_assert_eq!(whole, Some(((text, numbers), bytes.len())));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = decode::<(String, Vec<u64>, Option<[u8; 32]>)>(&bytes);
        }
    }
}
