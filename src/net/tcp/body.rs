//! What comes in on a connection, at the pace that is wanted.
//!
//! An original that cannot hand on a chunk for 10 s gives the whole transfer up. So nothing here
//! ever stands still for long: while a person has paused, or has not answered yet, a chunk is
//! taken every few seconds. What nobody has agreed to goes to a file without a name.

use std::path::PathBuf;

use bytes::{BufMut, BytesMut};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::parse::Scout;
use super::spool::Spool;
use super::tree::TreeTap;
use super::{SILENCE_MAX, TRICKLE_EVERY};
use crate::net::link::{LinkError, Offence};
use crate::protocol::legacy::chunk_size;
use crate::protocol::message::Entry;

/// Most bytes that are put aside before somebody agrees. At the pace at which they are taken then,
/// they last longer than a person is asked.
pub const QUARANTINE_MAX: u64 = 256 * 1024 * 1024;

/// Most bytes that may come before the sender has heard yes.
const EARLY_MAX: usize = 128 * 1024;

/// Least that is taken at once while nothing should move. A sender that has filled its buffer is
/// told that there is room when a third of it is free, and Linux lets it grow to 4 MiB. That third
/// must be gone within the 10 s after which an original gives up: in two goes.
const CHUNK_MIN: usize = 1024 * 1024;

/// The reading half of a connection, and the few bytes that are said back.
#[derive(Debug)]
pub(super) struct Body {
    source: Source,
    /// What has come and is not taken yet.
    pub(super) buf: BytesMut,
    /// Content of the file whose turn it is that was not taken yet.
    pub(super) left: u64,
    /// Nothing more can be made of it: content was given up for good.
    pub(super) spoiled: bool,
    pub(super) paused: watch::Receiver<bool>,
    spool: Option<Spool>,
    spool_dir: PathBuf,
    taken_at: Instant,
}

/// Where content comes from.
#[derive(Debug)]
enum Source {
    /// A connection of our own.
    Stream(TcpStream),
    /// A link of a tree, which somebody else reads: it must not wait for us.
    Tree(TreeTap),
}

impl Body {
    pub(super) fn new(stream: TcpStream, spool_dir: PathBuf) -> Self {
        Self::from(Source::Stream(stream), spool_dir)
    }

    /// What comes over a link of a tree.
    pub(super) fn of_tree(tap: TreeTap) -> Self {
        // What must be put aside is put aside where it is read.
        Self::from(Source::Tree(tap), PathBuf::new())
    }

    /// The connection, and what has come and was not taken; `None` if it is a link of a tree.
    pub(super) fn into_stream(self) -> Option<(TcpStream, BytesMut)> {
        match self.source {
            Source::Stream(stream) => Some((stream, self.buf)),
            Source::Tree(_) => None,
        }
    }

    fn from(source: Source, spool_dir: PathBuf) -> Self {
        Self {
            source,
            buf: BytesMut::new(),
            left: 0,
            spoiled: false,
            paused: watch::Sender::new(false).subscribe(),
            spool: None,
            spool_dir,
            taken_at: Instant::now(),
        }
    }

    /// More bytes into the buffer, at most `most`; `false` at the end of the stream. Cancel-safe.
    pub(super) async fn fill(&mut self, most: usize) -> Result<bool, LinkError> {
        if let Some(spool) = &mut self.spool {
            if !spool.is_read() {
                spool.take(most, &mut self.buf).await.map_err(lost)?;
                return Ok(true);
            }
            self.spool = None;
        }
        if let Source::Tree(tap) = &mut self.source {
            // What comes meanwhile is put aside by whoever reads the link.
            let _ = self.paused.wait_for(|paused| !paused).await;
            let piece = tap.next(most).await;
            let piece = piece.map_err(|cut| LinkError::Lost(cut.to_string()))?;
            self.buf
                .extend_from_slice(piece.as_deref().unwrap_or_default());
            return Ok(piece.is_some());
        }
        let most = self.wait_while_paused(most).await;
        self.buf.reserve(most);
        let Source::Stream(stream) = &mut self.source else {
            return Err(spool_gone());
        };
        let mut room = (&mut self.buf).limit(most);
        let read = timeout(SILENCE_MAX, stream.read_buf(&mut room)).await;
        let read = read.map_err(|_| LinkError::Lost("nothing has come for long".into()))?;
        let read = read.map_err(lost)?;
        self.taken_at = Instant::now();
        Ok(read > 0)
    }

    /// How much may be taken now: all, or a chunk after a while.
    async fn wait_while_paused(&mut self, most: usize) -> usize {
        if !*self.paused.borrow() {
            return most;
        }
        let next = self.taken_at + TRICKLE_EVERY;
        match timeout_at(next, self.paused.wait_for(|paused| !paused)).await {
            Ok(_) => most,
            // In pieces it would be taken again at once.
            Err(_) => most.max(chunk(self.left)),
        }
    }

    /// Waits for the end of the stream. What comes instead stays in the buffer. Cancel-safe.
    pub(super) async fn ended(&mut self) -> LinkError {
        loop {
            if self.buf.len() >= EARLY_MAX {
                // It has not heard yes, and yet it sends.
                return Offence::UnexpectedMessage.into();
            }
            match self.fill(EARLY_MAX).await {
                Ok(true) => {}
                Ok(false) => return LinkError::Lost("the sender has gone".into()),
                Err(error) => return error,
            }
        }
    }

    /// Waits until a link of a tree is lost before `first`, the length of the first file, has
    /// come; for ever if it is not. What is whole waits for the person.
    pub(super) async fn lost_early(&mut self, first: u64) -> LinkError {
        if let Source::Tree(tap) = &self.source {
            let why = tap.flow().broken().await;
            if tap.flow().end() < first {
                return LinkError::Lost(why);
            }
        }
        std::future::pending().await
    }

    /// Puts aside what the sender must get rid of, a little now and then, and tells what is in it.
    /// Cancel-safe.
    pub(super) async fn put_aside(&mut self, scout: &mut Scout) -> Result<Vec<Entry>, LinkError> {
        if self.spool.is_none() {
            let mut spool = Spool::create(&self.spool_dir).map_err(lost)?;
            let early = self.buf.split();
            spool.put(&early).map_err(lost)?;
            self.spool = Some(spool);
            return Ok(scout.feed(&early)?);
        }
        sleep_until(self.taken_at + TRICKLE_EVERY).await;
        let Source::Stream(stream) = &self.source else {
            return Err(spool_gone());
        };
        stream.readable().await.map_err(lost)?;
        let mut chunk = vec![0; chunk(scout.left())];
        let Some(len) = read_now(stream, &mut chunk)? else {
            if !scout.has_ended() && !scout.has_whole() {
                return Err(LinkError::Lost("the sender has gone".into()));
            }
            // All of it is here, or all that will ever come, and waits for the person. The sender
            // need not.
            let _ = socket2::SockRef::from(stream).shutdown(std::net::Shutdown::Write);
            return std::future::pending().await;
        };
        // From here on nothing waits, so that no byte is lost.
        let bytes = chunk.get(..len).unwrap_or_default();
        let spool = self.spool.as_mut().ok_or_else(spool_gone)?;
        spool.put(bytes).map_err(lost)?;
        if spool.written() > QUARANTINE_MAX {
            return Err(LinkError::Lost("too much came before the answer".into()));
        }
        self.taken_at = Instant::now();
        Ok(scout.feed(bytes)?)
    }

    /// Says one byte. The sender waits for it, so that there is room. On a link of a tree nobody
    /// does, and nothing is said.
    pub(super) fn say(&self, byte: u8) -> Result<(), LinkError> {
        let Source::Stream(stream) = &self.source else {
            return Ok(());
        };
        match stream.try_write(&[byte]) {
            Ok(1) => Ok(()),
            Ok(_) => Err(LinkError::Lost("the other side does not read".into())),
            Err(error) => Err(lost(error)),
        }
    }
}

/// What has arrived already; `None` at the end of the stream.
fn read_now(stream: &TcpStream, chunk: &mut [u8]) -> Result<Option<usize>, LinkError> {
    let mut len = 0;
    while let Some(room) = chunk.get_mut(len..).filter(|room| !room.is_empty()) {
        match stream.try_read(room) {
            Ok(0) if len == 0 => return Ok(None),
            Ok(0) => break,
            Ok(read) => len += read,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
            Err(error) => return Err(lost(error)),
        }
    }
    Ok(Some(len))
}

/// What an original must be able to hand on in time where so much of a file is left.
fn chunk(left: u64) -> usize {
    (chunk_size(left) as usize).max(CHUNK_MIN)
}

fn lost(error: std::io::Error) -> LinkError {
    LinkError::Lost(error.to_string())
}

fn spool_gone() -> LinkError {
    LinkError::Lost("a fault of this program".into())
}
