//! Sends one file: reads, hashes and writes group by group, leaves out what the receiver has, and
//! notices when the file changes meanwhile.

mod reading;
mod referring;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use self::reading::{Buffers, Hashing, Read, read_group};
use super::control::Progress;
use super::known::KnownHashes;
use super::limiter::Limiter;
use super::pace::Pace;
use super::pauses::{Pauses, gate};
use super::status::Limit;
use super::table::SharedTable;
use crate::net::link::{DATA_LEN_MAX, FileOpener, FileWriter, LinkError, Piece};
use crate::protocol::groups::{Hash, file_hash, group_count, group_len};
use crate::protocol::message::{Code, FileHeader, FileIndex, SourceFault, Stamp, TransferId};
use crate::protocol::sessions::REFERRED_MIN;
use crate::storage::source::SourceFile;

/// Groups of one file that are read and hashed ahead.
const AHEAD_MAX: usize = 2;
/// Files up to this size are read where they are sent: handing them over costs more. (Unless the
/// disk is slow.)
const INLINE_MAX: u64 = 128 * 1024;
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

/// Whether hashes of a file of this size are kept for other receivers: of those that each of them
/// gets from here anyway it costs more to remember them than to compute them.
pub(super) fn is_remembered(size: u64) -> bool {
    size > REFERRED_MIN
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
    /// How quick the disk is.
    pub disk: Arc<Pace>,
    /// What is known of the files already, if they go to several receivers.
    pub known: Option<Arc<KnownHashes>>,
    /// Whether the receiver gets content from another one now.
    pub fed: Option<watch::Receiver<bool>>,
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
    /// Whether nothing of it is to be referred elsewhere.
    pub inline: bool,
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
        source: Arc::new(source),
        ahead: VecDeque::new(),
        buffers: Buffers::default(),
        index: job.index,
        priority: job.priority,
        held: job.held,
        trusted,
        hashes: opener.carries_hashes(),
        inline: job.inline,
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
    source: Arc<SourceFile>,
    /// Groups that are being read, in order.
    ahead: VecDeque<(u32, JoinHandle<Result<Read, SourceFault>>)>,
    buffers: Buffers,
    index: FileIndex,
    priority: i32,
    held: Held,
    /// Whether the held groups are those of the file as it is: then they need not be read.
    trusted: bool,
    /// Whether the receiver is told hashes.
    hashes: bool,
    /// Whether nothing of it is to be referred elsewhere.
    inline: bool,
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

/// How a group comes to the receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Went {
    /// From here, now or before.
    Here,
    /// From another receiver.
    Elsewhere,
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
        let header = self.header();
        let size = header.size;
        let count = group_count(size);
        self.held.stamp = Some(header.stamp);
        self.held.groups.truncate(count as usize);
        if let Some(pass) = self.refer_whole(opener, &header).await? {
            return Ok(pass);
        }
        let opening = self.shared.progress.writing();
        let mut writer = opener.open(&header, self.priority).await?;
        drop(opening);
        let mut hashes = Vec::with_capacity(count as usize);
        for group in 0..count {
            let held = self.held.get(group);
            let certain = |hash: &Hash| self.trusted || self.known(group) == Some(*hash);
            let (hash, sent) = match held.filter(certain) {
                Some(hash) => (Some(hash), Went::Here),
                None => match self.next_group(&mut writer, size, group, held).await? {
                    Some(went) => went,
                    None => {
                        writer.reset(Code::Paused);
                        self.refresh().await?;
                        self.distrust(header.stamp, count);
                        return Ok(Pass::Shrunk);
                    }
                },
            };
            if sent == Went::Here {
                let mut table = self.shared.table.lock();
                table.add_done(self.index, group_len(size, group));
            }
            self.held.set(group, hash);
            hashes.extend(hash);
        }
        if self.refresh().await? {
            self.distrust(header.stamp, count);
            writer.write(Piece::Break).await?;
            return Ok(Pass::Changed);
        }
        let _ending = self.shared.progress.writing();
        writer.write(Piece::End(file_hash(size, &hashes))).await?;
        Ok(Pass::Complete)
    }

    /// Sends a group that the receiver does not have for certain, or refers it elsewhere. `None`
    /// if the file ends before the group does.
    async fn next_group<W: FileWriter>(
        &mut self,
        writer: &mut W,
        size: u64,
        group: u32,
        held: Option<Hash>,
    ) -> Result<Option<(Option<Hash>, Went)>, Stop> {
        if self.is_fed(size)
            && held.is_none()
            && let Some(hash) = self.known(group)
        {
            gate(&mut self.shared.pauses, self.index).await;
            writer.write(Piece::Elsewhere(group, hash)).await?;
            return Ok(Some((Some(hash), Went::Elsewhere)));
        }
        let Read::Whole(content, hash) = self.read(size, group).await? else {
            return Ok(None);
        };
        if held.is_some() && held == hash {
            return Ok(Some((hash, Went::Here)));
        }
        // Reading took a while: the receiver may be fed only now, or not any more.
        if self.is_fed(size)
            && let Some(hash) = hash
        {
            gate(&mut self.shared.pauses, self.index).await;
            writer.write(Piece::Elsewhere(group, hash)).await?;
            return Ok(Some((Some(hash), Went::Elsewhere)));
        }
        self.send_group(writer, group, content, hash).await?;
        Ok(Some((hash, Went::Here)))
    }

    /// Whether groups of a file of this size come to the receiver from another one.
    fn is_fed(&self, size: u64) -> bool {
        let fed = self.shared.fed.as_ref();
        !self.inline && size > REFERRED_MIN && fed.is_some_and(|fed| *fed.borrow())
    }

    /// The hash of a group as it was computed for another receiver.
    fn known(&self, group: u32) -> Option<Hash> {
        self.shared.known.as_ref()?.get(self.source.stamp(), group)
    }

    /// What was learned of a file while it changed is worth nothing.
    fn distrust(&self, stamp: Stamp, count: u32) {
        if let Some(known) = &self.shared.known {
            known.forget_file(stamp, count);
        }
    }

    fn header(&self) -> FileHeader {
        FileHeader {
            transfer: self.shared.transfer,
            index: self.index,
            size: self.source.size(),
            modified: self.source.modified(),
            stamp: self.source.stamp(),
        }
    }

    /// Looks whether the file has changed since the pass began.
    async fn refresh(&mut self) -> Result<bool, SourceFault> {
        // Reads ahead share the file; they end by themselves.
        for (_, read) in self.ahead.drain(..) {
            let _ = read.await;
        }
        Arc::get_mut(&mut self.source)
            .ok_or(SourceFault::Io)?
            .refresh()
    }

    /// The content and hash of a group, read ahead if the file has several.
    async fn read(&mut self, size: u64, group: u32) -> Result<Read, SourceFault> {
        let start = Instant::now();
        let read = if size <= INLINE_MAX && !self.shared.disk.is_slow() {
            let buffer = self.buffers.take(size as usize);
            read_group(&self.source, buffer, size, group, self.hash_how(group))
        } else {
            self.next_read(size, group).await
        };
        if size <= INLINE_MAX {
            self.shared.disk.took(start.elapsed());
        }
        self.shared.progress.waited(Limit::Disk, start.elapsed());
        if let Ok(Read::Whole(content, _)) = &read {
            self.buffers.give(content);
        }
        read
    }

    /// A group that was read ahead. What others learn of the file meanwhile changes which ones are
    /// needed: some were read in vain, and one may have been left out.
    async fn next_read(&mut self, size: u64, group: u32) -> Result<Read, SourceFault> {
        while let Some((_, passed)) = self.ahead.pop_front_if(|(first, _)| *first < group) {
            // To the end: it shares the file.
            let _ = passed.await;
        }
        let left_out = self.ahead.front().is_some_and(|(first, _)| *first > group);
        let read = match left_out {
            true => self.begin_read(size, group),
            false => {
                self.read_ahead(size, group);
                let first = self.ahead.pop_front_if(|(first, _)| *first == group);
                first.ok_or(SourceFault::Io)?.1
            }
        };
        read.await.map_err(|_| SourceFault::Io)?
    }

    fn hash_how(&self, group: u32) -> Hashing {
        let others = self.shared.known.as_ref();
        let others = others.filter(|_| is_remembered(self.source.size()));
        match others.and_then(|known| known.get(self.source.stamp(), group)) {
            _ if !self.hashes => Hashing::No,
            Some(hash) => Hashing::Known(hash),
            None => Hashing::Compute(others.cloned()),
        }
    }

    /// Has the next groups read that are needed, `group` being the first, which is one of them.
    fn read_ahead(&mut self, size: u64, group: u32) {
        let mut next = self.ahead.back().map_or(group, |(last, _)| last + 1);
        while self.ahead.len() < AHEAD_MAX && next < group_count(size) {
            let held = self.held.get(next);
            let needed = held.is_none() || !(self.trusted || self.known(next) == held);
            if needed || next == group {
                let read = self.begin_read(size, next);
                self.ahead.push_back((next, read));
            }
            next += 1;
        }
    }

    fn begin_read(&mut self, size: u64, group: u32) -> JoinHandle<Result<Read, SourceFault>> {
        let source = self.source.clone();
        let buffer = self.buffers.take(group_len(size, group) as usize);
        let hash = self.hash_how(group);
        tokio::task::spawn_blocking(move || read_group(&source, buffer, size, group, hash))
    }

    async fn send_group<W: FileWriter>(
        &mut self,
        writer: &mut W,
        group: u32,
        mut content: Bytes,
        hash: Option<Hash>,
    ) -> Result<(), Stop> {
        writer.write(Piece::Group(group)).await?;
        while !content.is_empty() {
            let piece = content.split_to(self.piece_len().min(content.len()));
            self.send_piece(writer, piece).await?;
        }
        writer.write(Piece::GroupEnd(hash)).await?;
        Ok(())
    }

    async fn send_piece<W: FileWriter>(
        &mut self,
        writer: &mut W,
        piece: Bytes,
    ) -> Result<(), LinkError> {
        gate(&mut self.shared.pauses, self.index).await;
        let len = piece.len();
        let waited = self.shared.limiter.take(len).await;
        self.shared.progress.waited(Limit::Setting, waited);
        let start = Instant::now();
        let writing = self.shared.progress.writing();
        writer.write(Piece::Data(piece)).await?;
        drop(writing);
        self.shared.progress.waited(Limit::Network, start.elapsed());
        self.shared.progress.moved(len as u64);
        Ok(())
    }

    /// Small pieces at low limits, so that the speed is even and no wait is long.
    fn piece_len(&self) -> usize {
        let rate = self.shared.limiter.rate();
        rate.map_or(DATA_LEN_MAX, |rate| {
            (rate / 10).clamp(1024, DATA_LEN_MAX as u64) as usize
        })
    }
}
