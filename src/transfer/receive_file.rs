//! Takes in one stream of a file: verifies each group when it is complete, keeps it, and tells what
//! the file needs next.

mod fetching;
mod group;
mod writing;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};

use self::fetching::{Fetched, Source};
use self::group::Group;
use super::control::Progress;
use super::feed::Feed;
use super::partial::{Partial, Place, SharedJournal};
use super::room::{Room, Rooms};
use super::status::Limit;
use super::table::SharedTable;
use crate::config::ConflictPolicy;
use crate::net::link::{FileReader, LinkError, Offence, Piece};
use crate::protocol::groups::{
    FILE_SIZE_MAX, GROUP_LEN, Hash, file_hash, group_count, group_len, group_offset, hash_group,
};
use crate::protocol::message::{Code, FileHeader, FileIndex};
use crate::storage::folder::Folder;
use crate::storage::name::SafePath;
use crate::storage::part::Part;
use crate::storage::refusal::plain;

/// The same group may arrive damaged so often before the file is given up.
const DAMAGED_MAX: u32 = 3;
/// Data is brought to the disk every so many bytes, so that a power cut costs little and the last
/// sync is short.
const CHECKPOINT_LEN: u64 = 64 * 1024 * 1024;
/// A file may have grown by a quarter and this much since it was offered; what grows more is not
/// what the person agreed to.
const GROWTH_MAX: u64 = 64 * 1024 * 1024;

/// What a stream did for its file.
#[derive(Debug)]
pub enum FileEnd {
    /// The file is complete, in memory or in its part.
    Whole {
        /// Content of a small file that never went into a part.
        small: Option<Small>,
        /// Hash of the whole content.
        hash: Hash,
    },
    /// The finished file of that name has the same content.
    Identical {
        /// Hash of the whole content.
        hash: Hash,
    },
    /// More is needed: these groups again, or (if none) another stream of the sender's own accord.
    Open {
        /// Groups to ask for.
        again: Vec<u32>,
    },
    /// The same part was damaged too often.
    Damaged,
    /// The name is taken by different content, and that counts as a failure or as unwanted, or
    /// the person must be asked.
    Exists,
    /// The file grew beyond what was agreed.
    Grown,
    /// The disk is full.
    NoSpace,
    /// The file cannot be written.
    CannotWrite(String),
    /// Stopped from here.
    Stopped,
    /// The stream or link broke.
    Lost(LinkError),
}

/// The content of a small file, and the room that it takes in memory.
#[derive(Debug)]
pub struct Small {
    /// The content.
    pub bytes: Bytes,
    /// Its room, to be kept as long as the bytes.
    pub room: Room,
}

/// What a stream needs.
#[derive(Debug)]
pub struct Intake {
    /// The entry.
    pub index: FileIndex,
    /// What the stream says about the file.
    pub header: FileHeader,
    /// Size in the offer.
    pub offered: u64,
    /// Its path as offered, for the journal.
    pub name: String,
    /// Where it will go.
    pub path: SafePath,
    /// The folder it will go to.
    pub folder: Folder,
    /// What happens when the name is taken.
    pub policy: ConflictPolicy,
    /// Journal of the transfer.
    pub journal: SharedJournal,
    /// Table of the transfer.
    pub table: SharedTable,
    /// Counters of the transfer.
    pub progress: Arc<Progress>,
    /// Whether what is here can be continued over another link.
    pub resumable: bool,
    /// Memory for content.
    pub rooms: Rooms,
    /// Where groups come from that are referred elsewhere, if the transfer is one of several.
    pub feed: Option<Feed>,
}

/// Reads `reader` to its end, or until `stop` says otherwise. Not to be dropped midway: what it
/// verified comes back in the [`Partial`].
pub async fn receive_file<R: FileReader>(
    intake: Intake,
    mut partial: Partial,
    mut reader: R,
    mut stop: oneshot::Receiver<Code>,
) -> (Intake, Partial, FileEnd) {
    let size = intake.header.size;
    if size > FILE_SIZE_MAX || size > intake.offered + intake.offered / 4 + GROWTH_MAX {
        reader.stop(Code::Cancelled);
        return (intake, partial, FileEnd::Grown);
    }
    if let Some(feed) = &intake.feed {
        feed.shelf.note_version(partial.stamp, intake.header.stamp);
    }
    partial.open();
    let other_size = partial.size != size;
    partial.resize(size);
    partial.begin_version(intake.header.stamp);
    let mut stream = Stream {
        intake: &intake,
        partial: &mut partial,
        small: None,
        work: None,
        fetching: JoinSet::new(),
        again: Vec::new(),
        sync: None,
        since_sync: 0,
    };
    if let Place::Part(part) = &stream.partial.place {
        stream.shelve_part(part);
    }
    let end = match stream.read(&mut reader, &mut stop, other_size).await {
        Ok(end) => end,
        Err(end) => end,
    };
    let settled = stream.settle().await;
    let end = match (end, settled) {
        (FileEnd::Whole { .. } | FileEnd::Identical { .. }, Err(error)) => error,
        (end, _) => end,
    };
    if partial.is_spoiled() {
        // Not kept until a later sync succeeds: that would prove nothing.
        partial = partial.renewed().await;
        intake.table.lock().set_done(intake.index, 0);
    }
    if let (Place::Nowhere, FileEnd::Open { .. } | FileEnd::Lost(_) | FileEnd::Stopped) =
        (&partial.place, &end)
    {
        // A small file was in memory only.
        partial.groups.clear();
    }
    if let Some(feed) = &intake.feed {
        feed.note_end(intake.header.stamp, &end);
    }
    match &end {
        FileEnd::Whole { .. } | FileEnd::Identical { .. } | FileEnd::Lost(_) => {}
        FileEnd::Open { .. } | FileEnd::NoSpace => reader.stop(Code::Paused),
        FileEnd::Damaged | FileEnd::Exists | FileEnd::Grown => reader.stop(Code::Cancelled),
        FileEnd::CannotWrite(_) | FileEnd::Stopped => reader.stop(Code::Cancelled),
    }
    (intake, partial, end)
}

struct Stream<'a> {
    intake: &'a Intake,
    partial: &'a mut Partial,
    /// Content of a file of one group, kept in memory.
    small: Option<Small>,
    /// The group that is being hashed and written while the next one comes in. Never more of them:
    /// they would wait for each other at the file, and be out of the core's cache when it is their
    /// turn.
    work: Option<JoinHandle<Worked>>,
    /// Groups that are being fetched from elsewhere.
    fetching: JoinSet<Fetched>,
    /// Groups that arrived damaged.
    again: Vec<u32>,
    sync: Option<JoinHandle<io::Result<()>>>,
    since_sync: u64,
}

/// A group that a blocking thread has hashed and, if it is right, written.
struct Worked {
    number: u32,
    hash: Hash,
    /// `None` if the group is damaged.
    written: Option<io::Result<()>>,
    /// Where it came from, if not from the sender.
    source: Option<Source>,
}

impl Stream<'_> {
    async fn read<R: FileReader>(
        &mut self,
        reader: &mut R,
        stop: &mut oneshot::Receiver<Code>,
        other_size: bool,
    ) -> Result<FileEnd, FileEnd> {
        if other_size {
            // However much the two have in common, they are not identical.
            self.leave_existing().await?;
        }
        let mut group: Option<Group> = None;
        loop {
            let start = Instant::now();
            let piece = tokio::select! {
                biased;
                Ok(code) = &mut *stop => return Err(self.stopped(code)),
                // As soon as it is done: what is verified must not wait for what comes next.
                worked = writing::running(&mut self.work) => {
                    self.work = None;
                    self.worked(worked).await?;
                    continue;
                }
                fetched = fetching::next(&mut self.fetching) => {
                    self.fetched(fetched?).await?;
                    continue;
                }
                piece = reader.read(), if self.has_room_to_fetch() => {
                    piece.map_err(FileEnd::Lost)?
                }
            };
            self.intake.progress.waited(Limit::Network, start.elapsed());
            match piece {
                Piece::Group(number) => group = Some(self.begin(number).await?),
                Piece::Data(data) => {
                    let group = group.as_mut().ok_or_else(wrong_group)?;
                    self.intake.progress.moved(data.len() as u64);
                    group.push(data).await.map_err(write_error)?;
                }
                Piece::GroupEnd(hash) => {
                    let group = group.take().ok_or_else(wrong_group)?;
                    self.end_group(group, hash).await?;
                }
                Piece::Elsewhere(number, hash) => self.elsewhere(number, hash).await?,
                Piece::End(hash) => {
                    self.finish_fetching(stop).await?;
                    return Ok(self.end(hash));
                }
                Piece::Break => {
                    // What is missing is asked for when it is known what the file is now.
                    self.fetching.abort_all();
                    self.finish_work().await?;
                    let again = std::mem::take(&mut self.again);
                    self.partial.asked.extend(&again);
                    return Ok(FileEnd::Open { again });
                }
            }
        }
    }

    async fn begin(&mut self, number: u32) -> Result<Group, FileEnd> {
        let size = self.intake.header.size;
        self.partial.asked.remove(&number);
        self.leave_existing().await?;
        if group_count(size) > 1 {
            self.part()?;
        }
        let Intake { rooms, folder, .. } = self.intake;
        Group::begin(rooms, folder, &self.partial.tag, size, number).map_err(write_error)
    }

    /// The part of the file, which is made if there is none.
    fn part(&mut self) -> Result<Arc<Part>, FileEnd> {
        if let Place::Part(part) = &self.partial.place {
            return Ok(part.clone());
        }
        let Intake { folder, path, .. } = self.intake;
        let part = Part::create(folder, path, &self.partial.tag).map_err(write_error)?;
        let part = Arc::new(part);
        self.partial.place = Place::Part(part.clone());
        self.shelve_part(&part);
        Ok(part)
    }

    /// The finished file of that name turns out to be another one.
    async fn leave_existing(&mut self) -> Result<(), FileEnd> {
        match (&self.partial.place, self.intake.policy) {
            (Place::Nowhere | Place::Part(_) | Place::Closed(_), _) => Ok(()),
            (
                Place::Existing(_),
                ConflictPolicy::Fail | ConflictPolicy::Skip | ConflictPolicy::Ask,
            ) => Err(FileEnd::Exists),
            (Place::Existing(_), ConflictPolicy::Rename | ConflictPolicy::Overwrite) => {
                self.copy_existing().await
            }
        }
    }

    /// Begins the new file with what it has in common with the one of its name.
    async fn copy_existing(&mut self) -> Result<(), FileEnd> {
        let size = self.partial.size;
        let place = std::mem::replace(&mut self.partial.place, Place::Nowhere);
        let (Place::Existing(existing), true) = (place, group_count(size) > 1) else {
            self.partial.groups.clear();
            return Ok(());
        };
        let (folder, path) = (self.intake.folder.clone(), self.intake.path.clone());
        let (tag, groups) = (self.partial.tag.clone(), self.partial.groups.clone());
        let work = move || -> io::Result<(Part, BTreeMap<u32, Hash>)> {
            let part = Part::create(&folder, &path, &tag)?;
            let file = folder.open_file(&existing)?;
            let groups = copy_groups(&file, &part, size, &groups)?;
            Ok((part, groups))
        };
        let copied = tokio::task::spawn_blocking(work)
            .await
            .map_err(|_| fault())?;
        let (part, groups) = copied.map_err(write_error)?;
        let part = Arc::new(part);
        self.partial.place = Place::Part(part.clone());
        self.partial.groups = groups;
        self.shelve_part(&part);
        Ok(())
    }

    fn end(&mut self, hash: Option<Hash>) -> FileEnd {
        let mut again = std::mem::take(&mut self.again);
        let size = self.intake.header.size;
        let Partial { groups, asked, .. } = &*self.partial;
        if groups.len() < group_count(size) as usize {
            let missing = (0..group_count(size)).filter(|number| !groups.contains_key(number));
            // Those that were asked for before are on their way.
            let new = missing.filter(|number| !asked.contains(number));
            again.extend(new.take(MISSING_MAX));
            again.sort_unstable();
            again.dedup();
            self.partial.asked.extend(&again);
            return FileEnd::Open { again };
        }
        let groups: Vec<Hash> = groups.values().copied().collect();
        let computed = file_hash(size, &groups);
        let Some(computed) = computed.filter(|computed| hash.is_none_or(|hash| hash == *computed))
        else {
            return self.start_over();
        };
        match (&self.partial.place, self.small.take()) {
            (Place::Existing(_), _) => FileEnd::Identical { hash: computed },
            (Place::Part(part), _) => match part.set_len(size) {
                Ok(()) => FileEnd::Whole {
                    small: None,
                    hash: computed,
                },
                Err(error) => write_error(error),
            },
            (Place::Nowhere | Place::Closed(_), Some(small)) => FileEnd::Whole {
                small: Some(small),
                hash: computed,
            },
            (Place::Nowhere | Place::Closed(_), None) => self.start_over(),
        }
    }

    /// Groups that are right each by itself do not make up the sender's file: one that was kept
    /// from earlier is from another version. Everything is asked for again.
    fn start_over(&mut self) -> FileEnd {
        if self.partial.damage.whole() >= DAMAGED_MAX {
            return FileEnd::Damaged;
        }
        self.partial.groups.clear();
        if let Place::Existing(_) = self.partial.place {
            self.partial.place = Place::Nowhere;
        }
        if let Place::Part(part) = &self.partial.place {
            self.shelve_part(part);
        }
        let count = group_count(self.intake.header.size).min(MISSING_MAX as u32);
        self.partial.asked = (0..count).collect();
        FileEnd::Open {
            again: (0..count).collect(),
        }
    }
}

/// Groups that are asked for again after one stream; the rest follows after the next one.
const MISSING_MAX: usize = 1024;

fn wrong_group() -> FileEnd {
    FileEnd::Lost(LinkError::Offence(Offence::WrongGroup))
}

fn fault() -> FileEnd {
    FileEnd::CannotWrite("a fault of this program".into())
}

fn write_error(error: io::Error) -> FileEnd {
    if is_no_space(&error) {
        FileEnd::NoSpace
    } else {
        FileEnd::CannotWrite(plain(&error))
    }
}

/// Whether a write failed because the disk, or the person's share of it, is full.
pub fn is_no_space(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

/// Copies the known groups of a finished file; those that are not what they were are left out.
fn copy_groups(
    file: &std::fs::File,
    part: &Part,
    size: u64,
    groups: &BTreeMap<u32, Hash>,
) -> io::Result<BTreeMap<u32, Hash>> {
    let mut buffer = vec![0; GROUP_LEN as usize];
    let mut copied = BTreeMap::new();
    for (&number, &hash) in groups {
        let len = group_len(size, number) as usize;
        let content = buffer.get_mut(..len).unwrap_or_default();
        let there = read_exact_at(file, content, group_offset(number))?;
        if there && hash_group(size, number, content) == hash {
            part.write_at(group_offset(number), content)?;
            copied.insert(number, hash);
        }
    }
    Ok(copied)
}

/// `false` if the file ends before the buffer is full.
pub fn read_exact_at(file: &std::fs::File, buffer: &mut [u8], offset: u64) -> io::Result<bool> {
    use std::os::unix::fs::FileExt;
    match file.read_exact_at(buffer, offset) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}
