//! Frames on a QUIC stream: several are decoded per read, and no byte is lost when a read is
//! cancelled.

use bytes::{Buf, BufMut, BytesMut};
use quinn::{ReadError, RecvStream, SendStream};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::AsyncReadExt;

use super::connection::PeerConnection;
use super::errors::write_error;
use super::link::{LinkError, Offence};
use crate::protocol::frame::{self, FrameError};

/// Room for the next read, in bytes: most frames are small and come several at once.
const READ_LEN: usize = 8 * 1024;

/// Reads what has arrived into the free room of `buf` (there must be some). `Ok(false)` at the
/// end of the stream. Cancel-safe.
pub(super) async fn fill(
    stream: &mut RecvStream,
    buf: &mut BytesMut,
    connection: &PeerConnection,
) -> Result<bool, LinkError> {
    match stream.read_buf(buf).await {
        Ok(0) => Ok(false),
        Ok(_) => Ok(true),
        Err(error) => Err(read_failed(error, connection)),
    }
}

fn read_failed(error: std::io::Error, connection: &PeerConnection) -> LinkError {
    match error.downcast::<ReadError>() {
        Ok(error) => connection.read_error(error),
        Err(error) => LinkError::Lost(error.to_string()),
    }
}

/// The receiving half of a stream of frames.
#[derive(Debug)]
pub(super) struct FrameReader {
    stream: RecvStream,
    buf: BytesMut,
}

impl FrameReader {
    pub(super) fn new(stream: RecvStream) -> Self {
        Self {
            stream,
            buf: BytesMut::new(),
        }
    }

    /// Waits until something has arrived; `Ok(false)` if the stream ends without anything.
    /// Cancel-safe.
    pub(super) async fn begin(&mut self, connection: &PeerConnection) -> Result<bool, LinkError> {
        if !self.buf.is_empty() {
            return Ok(true);
        }
        self.buf.reserve(READ_LEN);
        fill(&mut self.stream, &mut self.buf, connection).await
    }

    /// The next message, `None` at the end of the stream. Cancel-safe. An [`Offence`] is only
    /// reported: the caller closes the connection.
    pub(super) async fn next<M: DeserializeOwned>(
        &mut self,
        connection: &PeerConnection,
    ) -> Result<Option<M>, LinkError> {
        loop {
            if let Some((message, len)) = frame::decode(&self.buf).map_err(Offence::from)? {
                self.buf.advance(len);
                return Ok(Some(message));
            }
            // A frame is at most 64 KiB, so that is the most this buffer holds.
            self.buf.reserve(READ_LEN);
            if !fill(&mut self.stream, &mut self.buf, connection).await? {
                return match self.buf.is_empty() {
                    true => Ok(None),
                    false => Err(Offence::Frame(FrameError::Truncated).into()),
                };
            }
        }
    }

    /// The next `len` bytes as they are, after which the stream must end. Reserves no more than
    /// what has come.
    pub(super) async fn last_bytes(
        &mut self,
        len: usize,
        connection: &PeerConnection,
    ) -> Result<Vec<u8>, LinkError> {
        loop {
            if self.buf.len() > len {
                return Err(Offence::UnexpectedMessage.into());
            }
            self.buf.reserve(READ_LEN);
            if !fill(&mut self.stream, &mut self.buf, connection).await? {
                return match self.buf.len() == len {
                    true => Ok(self.buf.split().to_vec()),
                    false => Err(Offence::Frame(FrameError::Truncated).into()),
                };
            }
        }
    }

    /// Takes bytes that are no frame into `out` until it has `len`. Cancel-safe: what has come is
    /// in `out`.
    pub(super) async fn bytes(
        &mut self,
        out: &mut BytesMut,
        len: usize,
        connection: &PeerConnection,
    ) -> Result<(), LinkError> {
        let ready = self.buf.len().min(len.saturating_sub(out.len()));
        out.extend_from_slice(&self.buf.split_to(ready));
        while out.len() < len {
            let mut rest = out.limit(len - out.len());
            match self.stream.read_buf(&mut rest).await {
                Ok(0) => return Err(Offence::Frame(FrameError::Truncated).into()),
                Ok(_) => {}
                Err(error) => return Err(read_failed(error, connection)),
            }
        }
        Ok(())
    }

    /// The stream, and what was read of it beyond the last message.
    pub(super) fn into_parts(self) -> (RecvStream, BytesMut) {
        (self.stream, self.buf)
    }

    pub(super) fn stream(&mut self) -> &mut RecvStream {
        &mut self.stream
    }
}

/// Sends `message` as one frame; waits while the peer does not read. Not cancel-safe.
pub(super) async fn send<M: Serialize>(
    stream: &mut SendStream,
    message: &M,
    connection: &PeerConnection,
) -> Result<(), LinkError> {
    let bytes = frame::encode(message).map_err(|error| LinkError::Lost(error.to_string()))?;
    stream
        .write_all(&bytes)
        .await
        .map_err(|error| write_error(error, |error| connection.reason(error)))
}
