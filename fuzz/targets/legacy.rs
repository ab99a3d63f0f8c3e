//! The original's protocol: no bytes make its decoders panic, what they accept comes out the same
//! again, and the check before decoding agrees with a full decoder.

use std::fmt::Debug;

use peerconnect::protocol::legacy::datagram::Datagram;
use peerconnect::protocol::legacy::otm::{Control, Metadata};
use peerconnect::protocol::legacy::stream::{DirectoryStep, FileStep, Opening, TextStep};
use peerconnect::protocol::legacy::{LegacyError, LegacyId, Record, measure};

/// Messages may have been written longer than needed, so bytes differ, but what is encoded again
/// must be the same message. Compared as text: a stored value may be a number unlike itself.
fn same<M: Debug>(
    message: &M,
    encode: impl Fn(&M) -> Result<Vec<u8>, LegacyError>,
    decode: impl Fn(&[u8]) -> Result<M, LegacyError>,
) {
    let bytes = encode(message).expect("what was decoded can be encoded");
    let again = decode(&bytes).expect("our own bytes");
    assert_eq!(format!("{message:?}"), format!("{again:?}"));
}

/// A message at the beginning of a stream: the same however much of the stream is there.
fn part<M: Debug + PartialEq>(
    bytes: &[u8],
    encode: impl Fn(&M) -> Result<Vec<u8>, LegacyError>,
    decode: impl Fn(&[u8]) -> Result<Option<(M, usize)>, LegacyError>,
) {
    let Ok(Some((message, used))) = decode(bytes) else {
        return;
    };
    for len in [0, used / 2, used - 1] {
        assert!(matches!(decode(&bytes[..len]), Ok(None)), "{len} of {used}");
    }
    assert!(matches!(decode(&bytes[..used]), Ok(Some((again, _))) if again == message));
    let first = |bytes: &[u8]| decode(bytes).map(|found| found.expect("our own bytes").0);
    same(&message, encode, first);
}

/// The first byte says what the others are.
pub fn legacy(data: &[u8]) {
    let Some((kind, bytes)) = data.split_first() else {
        return;
    };
    match kind % 9 {
        0 => {
            if let Ok(message) = Datagram::decode(bytes)
                && !matches!(message, Datagram::Other { .. })
            {
                same(&message, Datagram::encode, Datagram::decode);
            }
        }
        1 => {
            if let Ok(message) = Control::decode(bytes) {
                same(&message, Control::encode, Control::decode);
            }
        }
        2 => {
            if let Ok(record) = Record::decode(bytes) {
                same(&record, |record| Ok(record.encode()), Record::decode);
            }
        }
        3 => part(bytes, Opening::encode, Opening::decode),
        4 => part(bytes, FileStep::encode, FileStep::decode),
        5 => part(bytes, DirectoryStep::encode, DirectoryStep::decode),
        6 => part(bytes, TextStep::encode, TextStep::decode),
        7 => part(bytes, Metadata::encode, Metadata::decode),
        _ => {
            if let Ok(id) = String::from_utf8_lossy(bytes).parse::<LegacyId>() {
                assert_eq!(id.to_string().as_bytes(), bytes);
            }
        }
    }
    agrees_with_a_full_decoder(bytes);
}

fn agrees_with_a_full_decoder(bytes: &[u8]) {
    let mut rest = bytes;
    let value = rmpv::decode::read_value(&mut rest);
    match measure(bytes) {
        Ok(len) => {
            assert!(value.is_ok());
            assert_eq!(len, bytes.len() - rest.len());
        }
        Err(LegacyError::Truncated) => assert!(value.is_err()),
        // Limits, and what the full decoder lets pass.
        Err(error) => assert!(
            matches!(
                error,
                LegacyError::TooDeep
                    | LegacyError::TooManyItems
                    | LegacyError::NotUtf8
                    | LegacyError::Malformed
            ),
            "{error:?}"
        ),
    }
}
