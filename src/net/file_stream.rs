//! One file on its own QUIC stream.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use quinn::{RecvStream, SendStream};

use super::connection::PeerConnection;
use super::errors::wire;
use super::frames::fill;
use super::link::{FileOpener, FileReader, FileWriter, LinkError, Piece, refer_alone};
use super::pieces::{PieceDecoder, encode_mark};
use super::referrals::{Referrals, Referred};
use crate::protocol::frame;
use crate::protocol::groups::{GROUP_LEN, Hash};
use crate::protocol::message::{Code, FileHeader};
use crate::protocol::sessions::Referral;

/// Content up to this size is copied together with what surrounds it, so that a small file is
/// one write; longer content is passed on without a copy.
const COPY_MAX: usize = 16 * 1024;
/// Most bytes that are held back to be sent together.
const HELD_MAX: usize = 64 * 1024;
/// Most bytes of marks without content that are held back to be sent together.
const MARKS_HELD_MAX: usize = 1024;
/// Chunks of this size are passed on as they are.
const DIRECT_MIN: usize = 16 * 1024;
/// Content is given out in pieces of this size at least, because BLAKE3 is ten times slower on
/// the content of single packets...
const PIECE_LEN_MIN: usize = 64 * 1024;
/// ...unless it takes longer than this to come: on a slow path speed of hashing does not matter,
/// but progress must be seen.
const PIECE_WAIT: Duration = Duration::from_millis(100);
/// Up to this many files are read at once into buffers for the longest pieces, more of them into
/// buffers for the shortest: large files come a few at a time, and small ones need no more.
const LONG_BUFFERS_MAX: usize = 4;

/// Opens file streams on a connection.
#[derive(Debug, Clone)]
pub struct QuicOpener {
    connection: PeerConnection,
    /// Where the other side knows them.
    referrals: Option<Referrals>,
}

impl QuicOpener {
    pub(super) fn new(connection: PeerConnection) -> Self {
        let referrals = connection.understands_referrals();
        Self {
            referrals: referrals.then(|| Referrals::new(connection.clone())),
            connection,
        }
    }

    /// The link is over: what is still held back goes nowhere.
    pub(super) fn end(&self) {
        if let Some(referrals) = &self.referrals {
            referrals.end();
        }
    }
}

impl FileOpener for QuicOpener {
    type Writer = QuicFileWriter;

    async fn open(&self, header: &FileHeader, priority: i32) -> Result<QuicFileWriter, LinkError> {
        let encoded = frame::encode(header).map_err(|error| LinkError::Lost(error.to_string()))?;
        let stream = self.connection.quic().open_uni().await;
        let stream = stream.map_err(|error| self.connection.reason(&error))?;
        let _ = stream.set_priority(priority);
        // A small file fits with header and hashes; a large one needs room for the marks only.
        let room = header.size.min(COPY_MAX as u64) as usize + 256;
        let mut held = BytesMut::with_capacity(room);
        held.put_slice(&encoded);
        Ok(QuicFileWriter {
            connection: self.connection.clone(),
            stream,
            held,
            many_groups: header.size > GROUP_LEN,
            finished: false,
        })
    }

    async fn refer(&self, header: &FileHeader, hash: Hash, priority: i32) -> Result<(), LinkError> {
        let Some(referrals) = &self.referrals else {
            return refer_alone(self, header, hash, priority).await;
        };
        let referral = Referral {
            index: header.index,
            size: header.size,
            modified: header.modified,
            stamp: header.stamp,
            hash,
        };
        referrals.refer(header.transfer, referral, priority).await
    }
}

/// A file on its way out.
#[derive(Debug)]
pub struct QuicFileWriter {
    connection: PeerConnection,
    stream: SendStream,
    /// Not given to QUIC yet.
    held: BytesMut,
    many_groups: bool,
    finished: bool,
}

impl QuicFileWriter {
    async fn flush(&mut self) -> Result<(), LinkError> {
        let held = self.held.split().freeze();
        self.write_chunks(&mut [held]).await
    }

    async fn write_chunks(&mut self, chunks: &mut [Bytes]) -> Result<(), LinkError> {
        let len = chunks.iter().map(Bytes::len).sum();
        let written = self.stream.write_all_chunks(chunks).await;
        self.connection.wrote(len);
        written.map_err(|error| self.connection.write_error(error))
    }
}

impl FileWriter for QuicFileWriter {
    async fn write(&mut self, piece: Piece) -> Result<(), LinkError> {
        encode_mark(&piece, &mut self.held).map_err(|error| LinkError::Lost(error.to_string()))?;
        match piece {
            Piece::Group(_) => Ok(()),
            Piece::Data(data) if data.len() <= COPY_MAX => {
                self.held.put_slice(&data);
                match self.held.len() {
                    0..HELD_MAX => Ok(()),
                    _ => self.flush().await,
                }
            }
            Piece::Data(data) => {
                let held = self.held.split().freeze();
                self.write_chunks(&mut [held, data]).await
            }
            // The receiver can keep a group as soon as it has its hash, so it is not held back
            // until the next one begins. The only group of a file is followed by the end at once.
            Piece::GroupEnd(_) if self.many_groups => self.flush().await,
            Piece::GroupEnd(_) => Ok(()),
            Piece::Elsewhere(..) if self.held.len() < MARKS_HELD_MAX => Ok(()),
            Piece::Elsewhere(..) => self.flush().await,
            Piece::End(_) | Piece::Break => {
                self.flush().await?;
                // Fails only if the peer stopped the stream, and then the flush has said so.
                let _ = self.stream.finish();
                self.finished = true;
                Ok(())
            }
        }
    }

    fn reset(mut self, code: Code) {
        self.give_up(code);
    }
}

impl QuicFileWriter {
    fn give_up(&mut self, code: Code) {
        if !self.finished {
            self.finished = true;
            // An error means that the stream is over already.
            let _ = self.stream.reset(wire(code));
        }
    }
}

impl Drop for QuicFileWriter {
    fn drop(&mut self) {
        // Without this the stream would end in the middle as if the file were complete.
        self.give_up(Code::Internal);
    }
}

/// A file on its way in.
#[derive(Debug)]
pub enum QuicFileReader {
    /// By a stream of its own.
    Stream(Box<StreamReader>),
    /// Together with others, as one whose content comes from elsewhere.
    Referred(Referred),
}

impl QuicFileReader {
    /// `buf`: what was read of the stream behind the header.
    pub(super) fn new(
        connection: PeerConnection,
        stream: RecvStream,
        buf: BytesMut,
        header: &FileHeader,
    ) -> Self {
        Self::Stream(Box::new(StreamReader::new(connection, stream, buf, header)))
    }
}

impl FileReader for QuicFileReader {
    async fn read(&mut self) -> Result<Piece, LinkError> {
        match self {
            Self::Stream(reader) => reader.read().await,
            Self::Referred(reader) => reader.read(),
        }
    }

    fn stop(self, code: Code) {
        match self {
            Self::Stream(mut reader) => reader.give_up(code),
            // The sender has nothing of it under way.
            Self::Referred(_) => {}
        }
    }
}

/// A file that comes by a stream of its own.
#[derive(Debug)]
pub struct StreamReader {
    connection: PeerConnection,
    stream: RecvStream,
    decoder: PieceDecoder,
    fin: bool,
    over: bool,
    /// Content came in packets so large that it is not to be copied.
    large_packets: bool,
}

impl StreamReader {
    fn new(
        connection: PeerConnection,
        stream: RecvStream,
        buf: BytesMut,
        header: &FileHeader,
    ) -> Self {
        connection.readers().fetch_add(1, Ordering::Relaxed);
        Self {
            connection,
            stream,
            decoder: PieceDecoder::new(header.size, buf),
            fin: false,
            over: false,
            large_packets: false,
        }
    }

    /// Waits until content of at least [`PIECE_LEN_MIN`], the rest of the group, or a whole mark
    /// is in the buffer; for content not much longer than [`PIECE_WAIT`].
    async fn gather(&mut self) -> Result<(), LinkError> {
        let wanted = self.decoder.wanted(PIECE_LEN_MIN);
        while self.decoder.buf.len() < wanted && !self.fin {
            if self.large_packets {
                self.fill_exactly(wanted).await?;
            } else if self.decoder.buf.is_empty() || !self.decoder.in_content() {
                self.fill().await?;
            } else {
                match tokio::time::timeout(PIECE_WAIT, self.fill_to(wanted)).await {
                    Ok(result) => result?,
                    Err(_) => return Ok(()),
                }
            }
        }
        Ok(())
    }

    /// Content in packets so large that copying them together costs more than it brings (paths
    /// inside this computer). Smaller ones go into the buffer.
    async fn direct(&mut self) -> Result<Option<Piece>, LinkError> {
        let most = self.decoder.direct();
        if most < DIRECT_MIN || self.fin {
            return Ok(None);
        }
        let Some(chunk) = self.chunk(most).await? else {
            return Ok(None);
        };
        if chunk.len() >= DIRECT_MIN {
            self.large_packets = true;
            return Ok(Some(self.decoder.pass(chunk)));
        }
        // The last packet of a group is cut where the group ends.
        self.large_packets &= chunk.len() == most;
        self.make_room();
        self.decoder.buf.put_slice(&chunk);
        Ok(None)
    }

    /// The bytes of one packet, at most `most` of them; `None` at the end.
    async fn chunk(&mut self, most: usize) -> Result<Option<Bytes>, LinkError> {
        let chunk = self.stream.read_chunk(most, true).await;
        let chunk = chunk.map_err(|error| self.connection.read_error(error))?;
        self.fin = chunk.is_none();
        Ok(chunk.map(|chunk| chunk.bytes))
    }

    /// Reads no further than to `len` bytes in the buffer, so that the content behind them comes
    /// past it.
    async fn fill_exactly(&mut self, len: usize) -> Result<(), LinkError> {
        let missing = len.saturating_sub(self.decoder.buf.len());
        if let Some(chunk) = self.chunk(missing).await? {
            self.make_room();
            self.decoder.buf.put_slice(&chunk);
        }
        Ok(())
    }

    async fn fill_to(&mut self, len: usize) -> Result<(), LinkError> {
        while self.decoder.buf.len() < len && !self.fin {
            self.fill().await?;
        }
        Ok(())
    }

    fn capacity(&self) -> usize {
        let whole = self.decoder.capacity();
        match self.connection.readers().load(Ordering::Relaxed) {
            0..=LONG_BUFFERS_MAX => whole,
            _ => whole.min(PIECE_LEN_MIN),
        }
    }

    /// Room for another piece behind what is in the buffer. As long as there is some in the same
    /// memory no other is taken: each piece that somebody keeps holds all of the memory it is in.
    fn make_room(&mut self) {
        let target = self.capacity();
        let buf = &mut self.decoder.buf;
        let missing = target.saturating_sub(buf.len()).max(1);
        if buf.capacity() - buf.len() < missing.min(PIECE_LEN_MIN) {
            // Always the same capacity: the memory is used again if its pieces are gone by now.
            buf.reserve(missing);
        }
    }

    async fn fill(&mut self) -> Result<(), LinkError> {
        self.make_room();
        let more = fill(&mut self.stream, &mut self.decoder.buf, &self.connection).await?;
        self.fin = !more;
        Ok(())
    }

    fn give_up(&mut self, code: Code) {
        if !self.over {
            self.over = true;
            // An error means that the stream is over already.
            let _ = self.stream.stop(wire(code));
        }
    }
}

impl StreamReader {
    async fn read(&mut self) -> Result<Piece, LinkError> {
        while !self.over {
            if let Some(piece) = self.direct().await? {
                return Ok(piece);
            }
            self.gather().await?;
            match self.decoder.next(self.fin) {
                Ok(Some(piece)) => {
                    self.over = self.decoder.is_ended();
                    return Ok(piece);
                }
                Ok(None) => {}
                Err(offence) => return Err(self.connection.offend(offence)),
            }
        }
        Err(LinkError::Lost("read beyond the end of a file".into()))
    }
}

impl Drop for StreamReader {
    fn drop(&mut self) {
        self.connection.readers().fetch_sub(1, Ordering::Relaxed);
        self.give_up(Code::Internal);
    }
}
