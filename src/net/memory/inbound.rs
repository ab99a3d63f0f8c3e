//! The receiving half of the in-memory link.

use std::sync::Arc;

use bytes::BytesMut;
use tokio::sync::{mpsc, watch};

use super::{Chunk, Control, File, PATH, Wire};
use crate::net::link::{FileReader, Inbound, InboundEvent, LinkError, Offence, PathInfo, Piece};
use crate::net::pieces::PieceDecoder;
use crate::protocol::groups::FILE_SIZE_MAX;
use crate::protocol::message::{Code, FileHeader, OfferHead, ReceiverMessage};

/// The receiving side.
#[derive(Debug)]
pub struct MemoryInbound {
    pub(super) head: OfferHead,
    pub(super) files: mpsc::Receiver<File>,
    pub(super) control: Control,
    /// Whether the sender knows what limits a receiver may tell of.
    pub(super) limits: bool,
    /// Whether it knows what parts a receiver may hold, and what may be withheld from it.
    pub(super) parts: bool,
}

impl MemoryInbound {
    /// The same, to a sender that knows [`ReceiverMessage::Behind`] and
    /// [`Trouble::Withheld`](crate::protocol::sessions::Trouble::Withheld).
    pub fn with_limits(self) -> Self {
        Self {
            limits: true,
            ..self
        }
    }

    /// The same, to a sender that knows [`ReceiverMessage::Holds`].
    pub fn with_parts(self) -> Self {
        Self {
            parts: true,
            ..self
        }
    }
}

impl Inbound for MemoryInbound {
    type Reader = MemoryReader;

    fn head(&self) -> &OfferHead {
        &self.head
    }

    fn path(&self) -> PathInfo {
        PATH
    }

    fn knows_limits(&self) -> bool {
        self.limits
    }

    fn knows_parts(&self) -> bool {
        self.parts
    }

    fn consent(&mut self) {
        self.control.wire.consent.send_replace(true);
    }

    async fn send(&mut self, message: ReceiverMessage) -> Result<(), LinkError> {
        self.control.send(&message).await
    }

    async fn recv(&mut self) -> Result<InboundEvent<MemoryReader>, LinkError> {
        let file = tokio::select! {
            biased;
            Some(file) = self.files.recv() => file,
            message = self.control.recv() => return message.map(InboundEvent::Message),
        };
        let wire = self.control.wire.clone();
        let header: FileHeader = wire.decode(&file.header)?;
        if header.transfer != self.head.transfer {
            return Err(wire.offend(Offence::NotAskedFor));
        }
        if header.size > FILE_SIZE_MAX {
            return Err(wire.offend(Offence::FileTooLarge));
        }
        let reader = MemoryReader {
            wire,
            chunks: file.chunks,
            stop: file.stop,
            decoder: PieceDecoder::new(header.size, BytesMut::new()),
            fin: false,
        };
        Ok(InboundEvent::File(header, reader))
    }

    async fn close(mut self, code: Code) {
        self.control.close(code);
    }
}

/// A file on its way in.
#[derive(Debug)]
pub struct MemoryReader {
    wire: Arc<Wire>,
    chunks: mpsc::Receiver<Chunk>,
    stop: watch::Sender<Option<Code>>,
    decoder: PieceDecoder,
    fin: bool,
}

impl FileReader for MemoryReader {
    async fn read(&mut self) -> Result<Piece, LinkError> {
        loop {
            match self.decoder.next(self.fin) {
                Ok(Some(piece)) => return Ok(piece),
                Ok(None) if self.decoder.is_ended() => {
                    return Err(LinkError::Lost("read beyond the end of a file".into()));
                }
                Ok(None) => {}
                Err(offence) => return Err(self.wire.offend(offence)),
            }
            let chunks = &mut self.chunks;
            let chunk = self
                .wire
                .until_broken(async { Ok(chunks.recv().await) })
                .await?;
            match chunk {
                Some(Chunk::Bytes(bytes)) => self.decoder.buf.extend_from_slice(&bytes),
                Some(Chunk::Fin) => self.fin = true,
                Some(Chunk::Reset(code)) => return Err(LinkError::Closed(code)),
                None => return Err(self.wire.or_broken(LinkError::Closed(Code::Internal))),
            }
        }
    }

    fn stop(self, code: Code) {
        self.stop.send_replace(Some(code));
    }
}

impl Drop for MemoryReader {
    fn drop(&mut self) {
        self.stop.send_if_modified(|stop| {
            let first = stop.is_none() && !self.decoder.is_ended();
            if first {
                *stop = Some(Code::Internal);
            }
            first
        });
    }
}
