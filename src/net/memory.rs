//! A link inside this process, for tests of the layers above: the same bytes as on QUIC, through
//! bounded channels, with faults on demand.

mod inbound;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Bytes, BytesMut};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, watch};

use super::link::{
    FileOpener, FileWriter, LinkError, Offence, Outbound, PathInfo, PathKind, Piece,
};
use super::pieces::encode_mark;
use crate::protocol::frame::{self, FrameError};
use crate::protocol::message::{Code, FileHeader, OfferHead, ReceiverMessage, SenderMessage};

pub use inbound::{MemoryInbound, MemoryReader};

/// Messages that may be under way in each direction.
const MESSAGES_MAX: usize = 16;
/// Files that may be under way and not taken yet.
const FILES_MAX: usize = 16;
/// Pieces of one file that may be under way.
const PIECES_MAX: usize = 8;

/// What goes wrong on a link.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Faults {
    /// The link breaks for both sides after this many bytes of content, over all files. What was
    /// sent before arrives.
    pub cut_after: Option<u64>,
    /// The link breaks for both sides instead of sending another control message after this many,
    /// in both directions together. What was sent before arrives.
    pub cut_after_messages: Option<u64>,
    /// One bit of each of these bytes of content is turned over; counted from 0 over all files.
    pub flips: Vec<u64>,
}

/// A link without faults. `head` is what the receiving side finds.
pub fn pair(head: OfferHead) -> (MemoryOutbound, MemoryInbound) {
    pair_with(head, Faults::default())
}

/// A link with faults.
pub fn pair_with(head: OfferHead, faults: Faults) -> (MemoryOutbound, MemoryInbound) {
    let wire = Arc::new(Wire {
        faults,
        content: AtomicU64::new(0),
        messages: AtomicU64::new(0),
        broken: watch::Sender::new(None),
        consent: watch::Sender::new(false),
    });
    let (to_receiver, from_sender) = mpsc::channel(MESSAGES_MAX);
    let (to_sender, from_receiver) = mpsc::channel(MESSAGES_MAX);
    let (files, files_in) = mpsc::channel(FILES_MAX);
    let (sender_end, receiver_end) = (watch::Sender::new(None), watch::Sender::new(None));
    let outbound = MemoryOutbound {
        parts: false,
        files: MemoryOpener {
            wire: wire.clone(),
            files,
        },
        control: Control {
            wire: wire.clone(),
            send: Some(to_receiver),
            recv: from_receiver,
            peer_end: receiver_end.subscribe(),
            our_end: sender_end.clone(),
        },
    };
    let inbound = MemoryInbound {
        head,
        files: files_in,
        control: Control {
            wire,
            send: Some(to_sender),
            recv: from_sender,
            peer_end: sender_end.subscribe(),
            our_end: receiver_end,
        },
        limits: false,
        parts: false,
    };
    (outbound, inbound)
}

/// What both sides have in common.
#[derive(Debug)]
struct Wire {
    faults: Faults,
    content: AtomicU64,
    messages: AtomicU64,
    broken: watch::Sender<Option<LinkError>>,
    consent: watch::Sender<bool>,
}

impl Wire {
    fn break_with(&self, error: LinkError) -> LinkError {
        self.broken.send_if_modified(|broken| {
            let first = broken.is_none();
            broken.get_or_insert(error.clone());
            first
        });
        error
    }

    fn cut(&self) -> LinkError {
        self.break_with(LinkError::Lost("cut".into()))
    }

    fn offend(&self, offence: Offence) -> LinkError {
        self.break_with(LinkError::Closed(Code::Offence));
        offence.into()
    }

    async fn broken(&self) -> LinkError {
        said(self.broken.subscribe()).await
    }

    /// The reason behind an end that says nothing itself.
    fn or_broken(&self, error: LinkError) -> LinkError {
        self.broken.borrow().clone().unwrap_or(error)
    }

    /// Runs `action` unless the link breaks first.
    async fn unless_broken<T>(
        &self,
        action: impl Future<Output = Result<T, LinkError>>,
    ) -> Result<T, LinkError> {
        tokio::select! {
            biased;
            error = self.broken() => Err(error),
            result = action => result,
        }
    }

    /// Runs `action`, and stops it when the link breaks.
    async fn until_broken<T>(
        &self,
        action: impl Future<Output = Result<T, LinkError>>,
    ) -> Result<T, LinkError> {
        tokio::select! {
            biased;
            result = action => result,
            error = self.broken() => Err(error),
        }
    }

    fn count_message(&self) -> Result<(), LinkError> {
        let before = self.messages.fetch_add(1, Ordering::Relaxed);
        match self.faults.cut_after_messages {
            Some(most) if before >= most => Err(self.cut()),
            Some(_) | None => Ok(()),
        }
    }

    /// The content as it arrives, and whether the link is cut behind it.
    fn carry(&self, data: Bytes) -> (Bytes, bool) {
        let len = data.len() as u64;
        let start = self.content.fetch_add(len, Ordering::Relaxed);
        let mut data = data;
        let mut cut = false;
        if let Some(most) = self.faults.cut_after
            && start + len > most
        {
            data.truncate(most.saturating_sub(start) as usize);
            cut = true;
        }
        for flip in &self.faults.flips {
            let at = flip.checked_sub(start);
            if let Some(at) = at.and_then(|at| usize::try_from(at).ok())
                && at < data.len()
            {
                let mut damaged = BytesMut::from(data.as_ref());
                if let Some(byte) = damaged.get_mut(at) {
                    *byte ^= 1;
                }
                data = damaged.freeze();
            }
        }
        (data, cut)
    }
}

/// Waits until something is said.
async fn said<T: Clone>(mut what: watch::Receiver<Option<T>>) -> T {
    if let Ok(value) = what.wait_for(Option::is_some).await
        && let Some(value) = value.clone()
    {
        return value;
    }
    std::future::pending().await
}

/// One end of the control stream.
#[derive(Debug)]
struct Control {
    wire: Arc<Wire>,
    /// `None` once closed.
    send: Option<mpsc::Sender<Vec<u8>>>,
    recv: mpsc::Receiver<Vec<u8>>,
    peer_end: watch::Receiver<Option<Code>>,
    our_end: watch::Sender<Option<Code>>,
}

impl Control {
    async fn send<M: Serialize>(&self, message: &M) -> Result<(), LinkError> {
        let bytes = frame::encode(message).map_err(|error| LinkError::Lost(error.to_string()))?;
        self.wire
            .unless_broken(async {
                let ended = self.peer_end.borrow().map(LinkError::Closed);
                let closed = || ended.clone().unwrap_or(LinkError::Closed(Code::Done));
                let send = self.send.as_ref().ok_or_else(closed)?;
                if ended.is_some() {
                    return Err(closed());
                }
                self.wire.count_message()?;
                tokio::select! {
                    biased;
                    sent = send.send(bytes) => sent.map_err(|_| closed()),
                    code = said(self.peer_end.clone()) => Err(LinkError::Closed(code)),
                }
            })
            .await
    }

    async fn recv<M: DeserializeOwned>(&mut self) -> Result<M, LinkError> {
        let abrupt = {
            let mut end = self.peer_end.clone();
            async move {
                let abrupt = |end: &Option<Code>| end.is_some_and(|code| code != Code::Done);
                match end.wait_for(abrupt).await.map(|end| *end) {
                    Ok(Some(code)) => code,
                    Ok(None) | Err(_) => std::future::pending().await,
                }
            }
        };
        let recv = &mut self.recv;
        let bytes = self
            .wire
            .until_broken(async {
                tokio::select! {
                    biased;
                    code = abrupt => Err(LinkError::Closed(code)),
                    bytes = recv.recv() => {
                        bytes.ok_or_else(|| self.wire.or_broken(LinkError::Closed(Code::Done)))
                    }
                }
            })
            .await?;
        self.wire.decode(&bytes)
    }

    fn close(&mut self, code: Code) {
        if self.send.take().is_some() {
            self.our_end.send_replace(Some(code));
            if code == Code::Offence {
                self.wire.break_with(LinkError::Closed(code));
            }
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.close(Code::Internal);
    }
}

impl Wire {
    fn decode<M: DeserializeOwned>(&self, bytes: &[u8]) -> Result<M, LinkError> {
        match frame::decode(bytes) {
            Ok(Some((message, len))) if len == bytes.len() => Ok(message),
            Ok(_) => Err(self.offend(Offence::Frame(FrameError::Truncated))),
            Err(error) => Err(self.offend(error.into())),
        }
    }
}

const PATH: PathInfo = PathInfo {
    kind: PathKind::Memory,
    addr: None,
    rtt: None,
};

/// Breaks a link from outside.
#[derive(Debug, Clone)]
pub struct Scissors(Arc<Wire>);

impl Scissors {
    /// The link breaks now, for both sides.
    pub fn cut(&self) {
        self.0.cut();
    }
}

/// The sending side.
#[derive(Debug)]
pub struct MemoryOutbound {
    /// Whether the receiver tells what parts it holds.
    parts: bool,
    control: Control,
    files: MemoryOpener,
}

impl MemoryOutbound {
    /// The same, to a receiver that tells [`ReceiverMessage::Holds`].
    pub fn with_parts(self) -> Self {
        Self {
            parts: true,
            ..self
        }
    }

    /// What breaks this link.
    pub fn scissors(&self) -> Scissors {
        Scissors(self.control.wire.clone())
    }
}

impl Outbound for MemoryOutbound {
    type Opener = MemoryOpener;

    fn opener(&self) -> MemoryOpener {
        self.files.clone()
    }

    fn path(&self) -> PathInfo {
        PATH
    }

    fn knows_sessions(&self) -> bool {
        true
    }

    fn knows_wills(&self) -> bool {
        true
    }

    fn knows_parts(&self) -> bool {
        self.parts
    }

    async fn send(&mut self, message: SenderMessage) -> Result<(), LinkError> {
        self.control.send(&message).await
    }

    async fn recv(&mut self) -> Result<ReceiverMessage, LinkError> {
        self.control.recv().await
    }

    async fn close(mut self, code: Code) {
        self.control.close(code);
    }
}

#[derive(Debug)]
enum Chunk {
    Bytes(Bytes),
    Reset(Code),
    Fin,
}

#[derive(Debug)]
struct File {
    header: Vec<u8>,
    chunks: mpsc::Receiver<Chunk>,
    stop: watch::Sender<Option<Code>>,
}

/// Opens files on a memory link.
#[derive(Debug, Clone)]
pub struct MemoryOpener {
    wire: Arc<Wire>,
    files: mpsc::Sender<File>,
}

impl FileOpener for MemoryOpener {
    type Writer = MemoryWriter;

    /// Like QUIC, waits until the receiver agreed to take files.
    async fn open(&self, header: &FileHeader, _priority: i32) -> Result<MemoryWriter, LinkError> {
        let header = frame::encode(header).map_err(|error| LinkError::Lost(error.to_string()))?;
        let (sender, chunks) = mpsc::channel(PIECES_MAX);
        let stop = watch::Sender::new(None);
        let stopped = stop.subscribe();
        let gone = |_| LinkError::Closed(Code::UnknownTransfer);
        let open = async {
            let mut consent = self.wire.consent.subscribe();
            tokio::select! {
                // The sender lives as long as the wire.
                _ = consent.wait_for(|agreed| *agreed) => {}
                () = self.files.closed() => return Err(gone(())),
            }
            let file = File {
                header,
                chunks,
                stop,
            };
            self.files.send(file).await.map_err(|_| gone(()))
        };
        self.wire.unless_broken(open).await?;
        Ok(MemoryWriter {
            wire: self.wire.clone(),
            chunks: Some(sender),
            stopped,
        })
    }
}

/// A file on its way out.
#[derive(Debug)]
pub struct MemoryWriter {
    wire: Arc<Wire>,
    /// `None` once finished or reset.
    chunks: Option<mpsc::Sender<Chunk>>,
    stopped: watch::Receiver<Option<Code>>,
}

impl MemoryWriter {
    async fn push(&self, chunk: Chunk) -> Result<(), LinkError> {
        let over = || {
            let code = *self.stopped.borrow();
            LinkError::Closed(code.unwrap_or(Code::Internal))
        };
        let chunks = self.chunks.as_ref().ok_or_else(over)?;
        self.wire
            .unless_broken(async {
                tokio::select! {
                    biased;
                    code = said(self.stopped.clone()) => Err(LinkError::Closed(code)),
                    sent = chunks.send(chunk) => sent.map_err(|_| over()),
                }
            })
            .await
    }
}

impl FileWriter for MemoryWriter {
    async fn write(&mut self, piece: Piece) -> Result<(), LinkError> {
        let mut mark = BytesMut::new();
        encode_mark(&piece, &mut mark).map_err(|error| LinkError::Lost(error.to_string()))?;
        let end = matches!(piece, Piece::End(_) | Piece::Break);
        match piece {
            Piece::Data(data) => {
                let (data, cut) = self.wire.carry(data);
                if !data.is_empty() {
                    self.push(Chunk::Bytes(data)).await?;
                }
                if cut {
                    return Err(self.wire.cut());
                }
            }
            Piece::Break => {}
            Piece::Group(_) | Piece::GroupEnd(_) | Piece::Elsewhere(..) | Piece::End(_) => {
                self.push(Chunk::Bytes(mark.freeze())).await?;
            }
        }
        if end {
            self.push(Chunk::Fin).await?;
            self.chunks = None;
        }
        Ok(())
    }

    fn reset(mut self, code: Code) {
        if let Some(chunks) = self.chunks.take() {
            // Full or gone: dropping the channel ends it as well.
            let _ = chunks.try_send(Chunk::Reset(code));
        }
    }
}
