//! Sends one file: reads, hashes and writes group by group, leaves out what the receiver has, and
//! notices when the file changes meanwhile.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use tokio::sync::watch;

use super::control::Progress;
use super::limiter::Limiter;
use super::pace::Pace;
use super::pauses::{Pauses, gate};
use super::status::Limit;
use super::table::SharedTable;
use crate::net::link::{DATA_LEN_MAX, FileOpener, FileWriter, LinkError, Piece};
use crate::protocol::groups::{GroupHasher, Hash, file_hash, group_count, group_len, group_offset};
use crate::protocol::message::{Code, FileHeader, FileIndex, SourceFault, Stamp, TransferId};
use crate::storage::source::SourceFile;

/// How often a file that changes while it is read is read again.
const PASSES: u32 = 3;

/// What the receiver has of a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Held {
    /// Stamp of the source when these groups were sent; `None` if they come from elsewhere.
    pub stamp: Option<Stamp>,
    /// Hashes of its verified groups, by group.
    pub groups: Vec<Option<Hash>>,
}

impl Held {
    fn get(&self, group: u32) -> Option<Hash> {
        self.groups.get(group as usize).copied().flatten()
    }

    /// The receiver does not have this group after all.
    pub fn forget(&mut self, group: u32) {
        if let Some(slot) = self.groups.get_mut(group as usize) {
            *slot = None;
        }
    }

    /// Remembers what the receiver has of a group. The caller bounds `group`.
    pub fn set(&mut self, group: u32, hash: Option<Hash>) {
        let at = group as usize;
        if self.groups.len() <= at {
            self.groups.resize(at + 1, None);
        }
        if let Some(slot) = self.groups.get_mut(at) {
            *slot = hash;
        }
    }
}

/// How sending a file ended.
#[derive(Debug)]
pub enum Sent {
    /// All of it is on its way; what the receiver will have then.
    Whole(Held),
    /// The file cannot be sent.
    Failed(SourceFault),
    /// The receiver stopped it; it will say how to go on.
    Stopped,
    /// The link is gone.
    Link(LinkError),
}

/// What all files of a transfer share.
#[derive(Debug, Clone)]
pub struct Shared {
    /// The transfer.
    pub transfer: TransferId,
    /// Its files.
    pub table: SharedTable,
    /// How it moves.
    pub progress: Arc<Progress>,
    /// The speed limit.
    pub limiter: Arc<Limiter>,
    /// Who paused what.
    pub pauses: watch::Receiver<Pauses>,
}

/// One file to send.
#[derive(Debug)]
pub struct Job {
    /// Its entry.
    pub index: FileIndex,
    /// Where it lies.
    pub path: PathBuf,
    /// What need not be sent.
    pub held: Held,
    /// Files of higher priority go first.
    pub priority: i32,
}

/// Sends a file. Dropping the future resets its stream; the receiver keeps what it verified.
pub async fn send_file<O: FileOpener>(job: Job, opener: O, mut shared: Shared) -> Sent {
    gate(&mut shared.pauses, job.index).await;
    let source = match SourceFile::open(&job.path) {
        Ok(source) => source,
        Err(fault) => return Sent::Failed(fault),
    };
    let trusted = job.held.stamp == Some(source.stamp());
    let file = Sending {
        reader: Reader {
            source: Some(source),
            pace: Pace::default(),
            buffers: VecDeque::new(),
        },
        index: job.index,
        priority: job.priority,
        held: job.held,
        trusted,
        shared,
    };
    match file.run(opener).await {
        Ok(held) => Sent::Whole(held),
        Err(Stop::Source(fault)) => Sent::Failed(fault),
        // The receiver stops a single stream when its disk is full or the file is cancelled.
        Err(Stop::Link(LinkError::Closed(Code::Paused | Code::Cancelled | Code::Done))) => {
            Sent::Stopped
        }
        Err(Stop::Link(error)) => Sent::Link(error),
    }
}

enum Stop {
    Source(SourceFault),
    Link(LinkError),
}

impl From<LinkError> for Stop {
    fn from(error: LinkError) -> Self {
        Self::Link(error)
    }
}

impl From<SourceFault> for Stop {
    fn from(fault: SourceFault) -> Self {
        Self::Source(fault)
    }
}

struct Sending {
    reader: Reader,
    index: FileIndex,
    priority: i32,
    held: Held,
    /// Whether the held groups are those of the file as it is: then they need not be read.
    trusted: bool,
    shared: Shared,
}

/// How one pass over the file ended.
enum Pass {
    Complete,
    /// The file changed; what was sent stays sent.
    Changed,
    /// The file got shorter within a group; that stream was given up.
    Shrunk,
}

impl Sending {
    async fn run<O: FileOpener>(mut self, opener: O) -> Result<Held, Stop> {
        for _ in 0..PASSES {
            let before = self.held.clone();
            match self.pass(&opener).await? {
                Pass::Complete => return Ok(self.held),
                Pass::Changed => {}
                // What was in flight on the stream that was given up may not have arrived.
                Pass::Shrunk => self.held = before,
            }
            self.trusted = false;
        }
        Err(Stop::Source(SourceFault::Changing))
    }

    async fn pass<O: FileOpener>(&mut self, opener: &O) -> Result<Pass, Stop> {
        let header = self.header()?;
        let size = header.size;
        self.held.stamp = Some(header.stamp);
        self.held.groups.truncate(group_count(size) as usize);
        let mut writer = opener.open(&header, self.priority).await?;
        let mut hashes = Vec::with_capacity(group_count(size) as usize);
        for group in 0..group_count(size) {
            let hash = match (self.held.get(group), self.trusted) {
                (Some(hash), true) => {
                    let len = group_len(size, group);
                    self.shared.table.lock().add_done(self.index, len);
                    Some(hash)
                }
                (Some(hash), false) => self.send_if_changed(&mut writer, size, group, hash).await?,
                (None, _) => self.send_group(&mut writer, size, group).await?,
            };
            let Some(hash) = hash else {
                writer.reset(Code::Paused);
                self.reader.source_mut()?.refresh()?;
                return Ok(Pass::Shrunk);
            };
            self.held.set(group, Some(hash));
            hashes.push(hash);
        }
        if self.reader.source_mut()?.refresh()? {
            writer.write(Piece::Break).await?;
            return Ok(Pass::Changed);
        }
        writer.write(Piece::End(file_hash(size, &hashes))).await?;
        Ok(Pass::Complete)
    }

    fn header(&mut self) -> Result<FileHeader, SourceFault> {
        let (transfer, index) = (self.shared.transfer, self.index);
        let source = self.reader.source_mut()?;
        let (size, modified, stamp) = (source.size(), source.modified(), source.stamp());
        Ok(FileHeader {
            transfer,
            index,
            size,
            modified,
            stamp,
        })
    }

    /// Sends a group from disk; `None` if the file ends before the group does.
    async fn send_group<W: FileWriter>(
        &mut self,
        writer: &mut W,
        size: u64,
        group: u32,
    ) -> Result<Option<Hash>, Stop> {
        let mut hasher = GroupHasher::new(size, group);
        let len = group_len(size, group);
        writer.write(Piece::Group(group)).await?;
        let mut at = 0;
        while at < len {
            let want = self.piece_len().min(len - at);
            let Some(data) = self.read(group_offset(group) + at, want).await? else {
                return Ok(None);
            };
            hasher.update(&data);
            at += want;
            self.send_data(writer, data).await?;
        }
        let hash = hasher.finish();
        writer.write(Piece::GroupEnd(Some(hash))).await?;
        self.shared.table.lock().add_done(self.index, len);
        Ok(Some(hash))
    }

    /// Reads a group that the receiver has in some version, and sends it if it is another one.
    async fn send_if_changed<W: FileWriter>(
        &mut self,
        writer: &mut W,
        size: u64,
        group: u32,
        held: Hash,
    ) -> Result<Option<Hash>, Stop> {
        let mut hasher = GroupHasher::new(size, group);
        let len = group_len(size, group);
        let mut pieces = Vec::new();
        let mut at = 0;
        while at < len {
            let want = (DATA_LEN_MAX as u64).min(len - at);
            let Some(data) = self.read(group_offset(group) + at, want).await? else {
                return Ok(None);
            };
            hasher.update(&data);
            at += want;
            pieces.push(data);
        }
        let hash = hasher.finish();
        if hash != held {
            writer.write(Piece::Group(group)).await?;
            for data in pieces {
                self.send_data(writer, data).await?;
            }
            writer.write(Piece::GroupEnd(Some(hash))).await?;
        }
        self.shared.table.lock().add_done(self.index, len);
        // Groups that only needed comparing never wait for the network: let others run.
        tokio::task::yield_now().await;
        Ok(Some(hash))
    }

    async fn send_data<W: FileWriter>(&mut self, writer: &mut W, data: Bytes) -> Result<(), Stop> {
        gate(&mut self.shared.pauses, self.index).await;
        let len = data.len();
        let waited = self.shared.limiter.take(len).await;
        self.shared.progress.waited(Limit::Setting, waited);
        let start = Instant::now();
        writer.write(Piece::Data(data)).await?;
        self.shared.progress.waited(Limit::Network, start.elapsed());
        self.shared.progress.moved(len as u64);
        Ok(())
    }

    /// Small pieces at low limits, so that the speed is even and no wait is long.
    fn piece_len(&self) -> u64 {
        let max = DATA_LEN_MAX as u64;
        self.shared
            .limiter
            .rate()
            .map_or(max, |rate| (rate / 10).clamp(1024, max))
    }

    /// `None` at the end of the file.
    async fn read(&mut self, offset: u64, len: u64) -> Result<Option<Bytes>, SourceFault> {
        let start = Instant::now();
        let data = self.reader.read(offset, len as usize).await;
        self.shared.progress.waited(Limit::Disk, start.elapsed());
        data
    }
}

/// Reads pieces of a source, on this thread while the disk is quick.
struct Reader {
    source: Option<SourceFile>,
    pace: Pace,
    /// Buffers that may still be on their way out, oldest first; reused when they are free again,
    /// because a fresh quarter of a mebibyte costs as much as hashing it.
    buffers: VecDeque<Bytes>,
}

/// Most buffers that are kept for reuse: what the send window of a connection can hold.
const BUFFERS_MAX: usize = 64;

impl Reader {
    fn source_mut(&mut self) -> Result<&mut SourceFile, SourceFault> {
        // Empty only if a read on the blocking pool was cancelled, and this object with it.
        self.source.as_mut().ok_or(SourceFault::Io)
    }

    async fn read(&mut self, offset: u64, len: usize) -> Result<Option<Bytes>, SourceFault> {
        let mut buffer = self.buffer(len);
        let source = self.source.take().ok_or(SourceFault::Io)?;
        let work = move || {
            let start = Instant::now();
            let whole = fill(&source, offset, &mut buffer);
            (source, buffer, whole, start.elapsed())
        };
        let (source, buffer, whole, time) = match self.pace.is_slow() {
            true => tokio::task::spawn_blocking(work)
                .await
                .map_err(|_| SourceFault::Io)?,
            false => work(),
        };
        self.source = Some(source);
        self.pace.took(time);
        let whole = whole?;
        if !whole {
            return Ok(None);
        }
        let data = buffer.freeze();
        if len == DATA_LEN_MAX && self.buffers.len() < BUFFERS_MAX {
            self.buffers.push_back(data.clone());
        }
        Ok(Some(data))
    }

    fn buffer(&mut self, len: usize) -> BytesMut {
        if len == DATA_LEN_MAX
            && let Some(oldest) = self.buffers.pop_front()
        {
            match oldest.try_into_mut() {
                Ok(free) => return free,
                Err(busy) => self.buffers.push_front(busy),
            }
        }
        BytesMut::zeroed(len)
    }
}

/// Fills the buffer from the file; `false` if the file ends before.
fn fill(source: &SourceFile, offset: u64, buffer: &mut [u8]) -> Result<bool, SourceFault> {
    let mut at = 0;
    while let Some(rest) = buffer.get_mut(at..).filter(|rest| !rest.is_empty()) {
        match source.read_at(offset + at as u64, rest)? {
            0 => return Ok(false),
            n => at += n,
        }
    }
    Ok(true)
}
