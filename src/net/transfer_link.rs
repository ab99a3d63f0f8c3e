//! A transfer's control stream over QUIC, at both ends.

use std::time::Duration;

use quinn::SendStream;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::connection::{PeerConnection, Registration};
use super::errors::wire;
use super::file_stream::{QuicFileReader, QuicOpener};
use super::frames::{self, FrameReader};
use super::link::{Inbound, InboundEvent, LinkError, Outbound, PathInfo};
use crate::protocol::message::{Code, FileHeader, OfferHead, ReceiverMessage, SenderMessage};

/// How long a link that is done waits for its last messages to arrive.
const CLOSE_WAIT: Duration = Duration::from_secs(5);

/// Both halves of a control stream; resets it when dropped before it was closed.
#[derive(Debug)]
pub(super) struct Control {
    connection: PeerConnection,
    send: SendStream,
    recv: FrameReader,
    closed: bool,
}

impl Control {
    pub(super) fn new(connection: PeerConnection, send: SendStream, recv: FrameReader) -> Self {
        Self {
            connection,
            send,
            recv,
            closed: false,
        }
    }

    pub(super) async fn send<M: serde::Serialize>(&mut self, message: &M) -> Result<(), LinkError> {
        let sent = frames::send(&mut self.send, message, &self.connection).await;
        sent.map_err(|error| self.connection.judged(error))
    }

    /// Sends bytes that are no frame, and says that nothing follows.
    pub(super) async fn send_last(&mut self, bytes: &[u8]) -> Result<(), LinkError> {
        self.send_bytes(bytes).await?;
        // Fails only if the other side has given the stream up, which its answer tells.
        let _ = self.send.finish();
        Ok(())
    }

    /// Waits until something comes; `Ok(false)` if the stream ends instead. Cancel-safe.
    pub(super) async fn begin(&mut self) -> Result<bool, LinkError> {
        self.recv.begin(&self.connection).await
    }

    /// The next `len` bytes, which are no frame, and nothing behind them. The caller has checked
    /// the length. An offence closes the connection.
    pub(super) async fn last_bytes(&mut self, len: usize) -> Result<Vec<u8>, LinkError> {
        let bytes = self.recv.last_bytes(len, &self.connection).await;
        bytes.map_err(|error| self.connection.judged(error))
    }

    /// Sends bytes that are no frame.
    pub(super) async fn send_bytes(&mut self, bytes: &[u8]) -> Result<(), LinkError> {
        let written = self.send.write_all(bytes).await;
        self.connection.wrote(bytes.len());
        written.map_err(|error| self.connection.write_error(error))
    }

    /// Takes bytes that are no frame into `out` until it has `len`. Cancel-safe: what has come is
    /// in `out`. An offence closes the connection.
    pub(super) async fn content(
        &mut self,
        out: &mut bytes::BytesMut,
        len: usize,
    ) -> Result<(), LinkError> {
        let taken = self.recv.bytes(out, len, &self.connection).await;
        taken.map_err(|error| self.connection.judged(error))
    }

    /// The connection it runs on.
    pub(super) fn connection(&self) -> &PeerConnection {
        &self.connection
    }

    /// Closes the connection if `error` is the peer's offence; gives it back.
    pub(super) fn judged(&self, error: LinkError) -> LinkError {
        self.connection.judged(error)
    }

    pub(super) async fn recv<M: serde::de::DeserializeOwned>(&mut self) -> Result<M, LinkError> {
        match self.recv.next(&self.connection).await {
            Ok(Some(message)) => Ok(message),
            Ok(None) => Err(LinkError::Closed(Code::Done)),
            Err(error) => Err(self.connection.judged(error)),
        }
    }

    pub(super) async fn close(&mut self, code: Code) {
        if code == Code::Done {
            self.closed = true;
            if self.send.finish().is_ok() {
                // Arrived, given up by the peer, connection gone: over in any case.
                let _ = timeout(CLOSE_WAIT, self.send.stopped()).await;
            }
            let _ = self.recv.stream().stop(wire(code));
        } else {
            self.abort(code);
        }
    }

    fn abort(&mut self, code: Code) {
        if self.closed {
            return;
        }
        self.closed = true;
        // Errors mean that this half is over already.
        let _ = self.send.reset(wire(code));
        let _ = self.recv.stream().stop(wire(code));
        if code == Code::Offence {
            self.connection.close(code);
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.abort(Code::Internal);
    }
}

/// A transfer to a peer.
#[derive(Debug)]
pub struct QuicOutbound {
    control: Control,
    opener: QuicOpener,
}

impl QuicOutbound {
    pub(super) fn new(connection: PeerConnection, send: SendStream, recv: FrameReader) -> Self {
        Self {
            opener: QuicOpener::new(connection.clone()),
            control: Control::new(connection, send, recv),
        }
    }

    pub(super) fn stream(&mut self) -> &mut SendStream {
        &mut self.control.send
    }

    /// The connection it runs on.
    pub fn connection(&self) -> &PeerConnection {
        &self.control.connection
    }
}

impl Outbound for QuicOutbound {
    type Opener = QuicOpener;

    fn opener(&self) -> QuicOpener {
        self.opener.clone()
    }

    fn path(&self) -> PathInfo {
        self.control.connection.path()
    }

    fn knows_sessions(&self) -> bool {
        self.control.connection.understands_sessions()
    }

    fn knows_wills(&self) -> bool {
        self.control.connection.understands_wills()
    }

    fn knows_parts(&self) -> bool {
        self.control.connection.understands_parts()
    }

    async fn send(&mut self, message: SenderMessage) -> Result<(), LinkError> {
        self.control.send(&message).await
    }

    async fn recv(&mut self) -> Result<ReceiverMessage, LinkError> {
        self.control.recv().await
    }

    async fn close(mut self, code: Code) {
        self.control.close(code).await;
    }
}

impl Drop for QuicOutbound {
    fn drop(&mut self) {
        self.opener.end();
    }
}

/// A transfer from a peer.
#[derive(Debug)]
pub struct QuicInbound {
    head: OfferHead,
    // Dropped first: files that come after the end are stopped as unknown.
    registration: Registration,
    files: mpsc::Receiver<(FileHeader, QuicFileReader)>,
    control: Control,
}

impl QuicInbound {
    pub(super) fn new(
        connection: &PeerConnection,
        head: OfferHead,
        send: SendStream,
        recv: FrameReader,
    ) -> Self {
        let (registration, files) = connection.register(head.transfer);
        Self {
            head,
            registration,
            files,
            control: Control {
                connection: connection.clone(),
                send,
                recv,
                closed: false,
            },
        }
    }

    /// The connection it runs on.
    pub fn connection(&self) -> &PeerConnection {
        &self.control.connection
    }
}

impl Inbound for QuicInbound {
    type Reader = QuicFileReader;

    fn head(&self) -> &OfferHead {
        &self.head
    }

    fn path(&self) -> PathInfo {
        self.control.connection.path()
    }

    fn knows_limits(&self) -> bool {
        self.control.connection.understands_limits()
    }

    fn knows_parts(&self) -> bool {
        self.control.connection.understands_parts()
    }

    fn consent(&mut self) {
        self.registration.consent();
    }

    async fn send(&mut self, message: ReceiverMessage) -> Result<(), LinkError> {
        self.control.send(&message).await
    }

    async fn recv(&mut self) -> Result<InboundEvent<QuicFileReader>, LinkError> {
        tokio::select! {
            // Messages first: they are few, and a file may depend on one sent before it.
            biased;
            message = self.control.recv() => message.map(InboundEvent::Message),
            // Not closed while registered, except by a newer link of the same transfer.
            file = self.files.recv() => match file {
                Some((header, reader)) => Ok(InboundEvent::File(header, reader)),
                None => Err(LinkError::Closed(Code::UnknownTransfer)),
            },
        }
    }

    async fn close(mut self, code: Code) {
        self.control.close(code).await;
    }
}
