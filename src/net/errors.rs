//! What QUIC reports, in the terms of [`LinkError`].

use quinn::{ConnectionError, ReadError, VarInt, WriteError};

use super::link::LinkError;
use crate::protocol::message::Code;

/// The number that stands for `code` on the wire.
pub(super) fn wire(code: Code) -> VarInt {
    VarInt::from_u32(code as u32)
}

/// The code that a number on the wire stands for. A number we do not know comes from a newer
/// program: something ended there, and we cannot know why.
pub(super) fn code_of(number: VarInt) -> Code {
    match u64::from(number) {
        0 => Code::Done,
        1 => Code::Offence,
        2 => Code::UnknownTransfer,
        3 => Code::Paused,
        4 => Code::Cancelled,
        5 => Code::Replaced,
        6 => Code::Refused,
        7 => Code::Busy,
        _ => Code::Internal,
    }
}

/// Why a connection ended, as far as QUIC knows.
pub(super) fn connection_error(error: &ConnectionError) -> LinkError {
    #[expect(clippy::wildcard_enum_match_arm, reason = "an enum of quinn")]
    match error {
        ConnectionError::ApplicationClosed(close) => LinkError::Closed(code_of(close.error_code)),
        other => LinkError::Lost(other.to_string()),
    }
}

/// Why a stream cannot be read any further. The connection's own reason is asked of `closed`.
pub(super) fn read_error(
    error: ReadError,
    closed: impl FnOnce(&ConnectionError) -> LinkError,
) -> LinkError {
    match error {
        ReadError::Reset(code) => LinkError::Closed(code_of(code)),
        ReadError::ConnectionLost(error) => closed(&error),
        ReadError::ClosedStream | ReadError::IllegalOrderedRead | ReadError::ZeroRttRejected => {
            LinkError::Lost(error.to_string())
        }
    }
}

/// Why a stream cannot be written any further.
pub(super) fn write_error(
    error: WriteError,
    closed: impl FnOnce(&ConnectionError) -> LinkError,
) -> LinkError {
    match error {
        WriteError::Stopped(code) => LinkError::Closed(code_of(code)),
        WriteError::ConnectionLost(error) => closed(&error),
        WriteError::ClosedStream | WriteError::ZeroRttRejected => {
            LinkError::Lost(error.to_string())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_survives_the_wire() {
        for code in [
            Code::Done,
            Code::Offence,
            Code::UnknownTransfer,
            Code::Paused,
            Code::Cancelled,
            Code::Replaced,
            Code::Refused,
            Code::Busy,
            Code::Internal,
        ] {
            assert_eq!(code_of(wire(code)), code);
        }
        assert_eq!(code_of(VarInt::from_u32(4711)), Code::Internal);
    }
}
