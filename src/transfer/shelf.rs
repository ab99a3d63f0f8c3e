//! What a receiver of a session has verified, for others to have: groups by the stamp of their
//! file, from the part while it grows and from the finished file afterwards.

pub mod kept;

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::fs::File;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use tokio::sync::watch;

use super::receive_file::read_exact_at;
use crate::protocol::groups::{GROUP_LEN, group_count, group_len, group_offset};
use crate::protocol::message::{FileIndex, Stamp};
use crate::protocol::sessions::{GroupRun, HELD_FILES_MAX, HELD_RUNS_MAX, HeldPart};
use crate::storage::file_looks::FileLooks;
use crate::storage::folder::Folder;
use crate::storage::name::SafePath;
use crate::storage::part::Part;

/// Most files that are remembered; the oldest ones that are finished are forgotten.
pub const FILES_MAX: usize = 64 * 1024;
/// Of so many that are forgotten it is known that they are: nobody waits for them.
const FORGOTTEN_MAX: usize = 1 << 20;
/// Most files of these that are open. The groups of others are there again when their file is
/// finished.
const OPEN_MAX: usize = HELD_FILES_MAX;

/// What there is to give. Shared by the tasks that receive and those that give.
#[derive(Debug)]
pub struct Shelf {
    inner: Mutex<Inner>,
    changes: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct Inner {
    files: HashMap<Stamp, Shelved>,
    /// All of them, oldest first.
    order: VecDeque<Stamp>,
    /// Those that are open, oldest first.
    open: VecDeque<Stamp>,
    /// Those that were here and are not remembered.
    forgotten: HashSet<Stamp>,
    /// Whether nothing more comes.
    over: bool,
    /// Whether the sender is gone.
    alone: bool,
}

#[derive(Debug)]
struct Shelved {
    size: u64,
    place: Place,
}

#[derive(Debug)]
enum Place {
    /// In a part, as far as it has come.
    Part {
        /// Its entry, as long as entries have the numbers that they had then.
        index: Option<FileIndex>,
        file: Arc<File>,
        /// Which part: files with several names are several files with one stamp.
        inode: u64,
        groups: BTreeSet<u32>,
    },
    /// In a part that is not kept open.
    Closed,
    /// In a finished file.
    Finished(Arc<Finished>),
    /// It will not come.
    Never,
}

#[derive(Debug)]
struct Finished {
    folder: Folder,
    path: SafePath,
    looks: FileLooks,
}

/// What is known of a group.
#[derive(Debug)]
pub enum Look {
    /// It can be read.
    Here(Found),
    /// It may still come.
    Later,
    /// It will not come.
    Gone,
}

/// A group that is there.
#[derive(Debug)]
pub struct Found {
    source: Source,
    group: u32,
    len: usize,
}

#[derive(Debug)]
enum Source {
    Open(Arc<File>),
    Finished(Arc<Finished>),
}

impl Default for Shelf {
    fn default() -> Self {
        Self {
            inner: Mutex::default(),
            changes: watch::Sender::new(()),
        }
    }
}

impl Shelf {
    /// Says when there is more to give, or less to wait for.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    /// These groups of a file of `size` bytes are verified and in its part. What was known of
    /// another part of it counts no more.
    pub fn begin(
        &self,
        (index, stamp): (FileIndex, Stamp),
        size: u64,
        part: &Part,
        groups: impl Iterator<Item = u32>,
    ) -> io::Result<()> {
        let file = Arc::new(part.reader()?);
        let inode = part.identity()?.inode;
        let groups = groups.collect();
        let mut inner = self.lock();
        match inner.files.get(&stamp).map(|file| &file.place) {
            Some(Place::Finished(_)) => return Ok(()),
            Some(Place::Part { inode: known, .. }) if *known != inode => return Ok(()),
            Some(Place::Part { .. } | Place::Closed | Place::Never) | None => {}
        }
        inner.open.retain(|open| *open != stamp);
        inner.open.push_back(stamp);
        inner.put(
            stamp,
            size,
            Place::Part {
                index: Some(index),
                file,
                inode,
                groups,
            },
        );
        inner.close_oldest();
        drop(inner);
        self.changes.send_replace(());
        Ok(())
    }

    /// One more group is verified and in the part.
    pub fn add(&self, stamp: Stamp, part: &Part, group: u32) {
        let mut inner = self.lock();
        if let Some(Shelved {
            place: Place::Part { groups, inode, .. },
            ..
        }) = inner.files.get_mut(&stamp)
            && part.identity().is_ok_and(|now| now.inode == *inode)
        {
            groups.insert(group);
            drop(inner);
            self.changes.send_replace(());
        }
    }

    /// A file that is known by the stamp `before` comes anew, as `now`: what there is of it is
    /// written over.
    pub fn note_version(&self, before: Option<Stamp>, now: Stamp) {
        if let Some(before) = before.filter(|before| *before != now) {
            let known = self.lock().files.contains_key(&before);
            if known {
                self.never(before);
            }
        }
    }

    /// The sender is gone, or back. While it is gone all that is not here is said to be gone, too:
    /// two who lack something would wait for each other.
    pub fn set_alone(&self, alone: bool) {
        let before = std::mem::replace(&mut self.lock().alone, alone);
        if before != alone {
            self.changes.send_replace(());
        }
    }

    /// What is in parts that are open, as one message may say it.
    pub fn parts(&self) -> Vec<HeldPart> {
        let inner = self.lock();
        let mut room = HELD_RUNS_MAX;
        let held = |stamp: &Stamp| {
            let Shelved { size, place } = inner.files.get(stamp)?;
            let Place::Part {
                index: Some(index),
                groups,
                ..
            } = place
            else {
                return None;
            };
            let runs = runs(groups, room);
            room -= runs.len();
            Some(HeldPart {
                index: *index,
                stamp: *stamp,
                groups: group_count(*size),
                runs,
            })
        };
        let parts = inner.open.iter().filter_map(held);
        parts.filter(|part| !part.runs.is_empty()).collect()
    }

    /// Entries have other numbers from now on.
    pub fn forget_numbers(&self) {
        for file in self.lock().files.values_mut() {
            if let Place::Part { index, .. } = &mut file.place {
                *index = None;
            }
        }
    }

    /// The transfer is over: nothing more comes, and what is in parts goes.
    pub fn end(&self) {
        let mut inner = self.lock();
        inner.over = true;
        inner.open.clear();
        for file in inner.files.values_mut() {
            match file.place {
                Place::Part { .. } | Place::Closed => file.place = Place::Never,
                Place::Finished(_) | Place::Never => {}
            }
        }
        drop(inner);
        self.changes.send_replace(());
    }

    /// All of a file is there, under its final name, and looks like this. Blocking.
    pub fn finished(
        &self,
        stamp: Stamp,
        folder: &Folder,
        path: &SafePath,
    ) -> io::Result<FileLooks> {
        let looks = FileLooks::of(&folder.open_file(path)?)?;
        self.restore(stamp, folder, path, looks);
        Ok(looks)
    }

    /// The same for a file that looked like this when it was finished: if it looks different now,
    /// it is not given.
    pub fn restore(&self, stamp: Stamp, folder: &Folder, path: &SafePath, looks: FileLooks) {
        let finished = Finished {
            folder: folder.clone(),
            path: path.clone(),
            looks,
        };
        self.settle(stamp, looks.size, Place::Finished(finished.into()));
    }

    /// A file does not come, or not any more.
    pub fn never(&self, stamp: Stamp) {
        self.settle(stamp, 0, Place::Never);
    }

    fn settle(&self, stamp: Stamp, size: u64, place: Place) {
        let mut inner = self.lock();
        inner.open.retain(|open| *open != stamp);
        inner.put(stamp, size, place);
        drop(inner);
        self.changes.send_replace(());
    }

    /// What is known of this group.
    pub fn look(&self, stamp: Stamp, group: u32) -> Look {
        let inner = self.lock();
        let Some(Shelved { size, place }) = inner.files.get(&stamp) else {
            let is_gone = inner.forgotten.contains(&stamp);
            return if is_gone { Look::Gone } else { inner.later() };
        };
        let here = |source| match group_count(*size) > group {
            true => Look::Here(Found {
                source,
                group,
                len: group_len(*size, group) as usize,
            }),
            false => Look::Gone,
        };
        match place {
            Place::Part { file, groups, .. } if groups.contains(&group) => {
                here(Source::Open(file.clone()))
            }
            Place::Part { .. } | Place::Closed => inner.later(),
            Place::Finished(finished) => here(Source::Finished(finished.clone())),
            Place::Never => Look::Gone,
        }
    }

    /// The files that are finished, oldest first.
    fn all_finished(&self) -> Vec<(Stamp, Arc<Finished>)> {
        let inner = self.lock();
        let finished = |stamp: &Stamp| match &inner.files.get(stamp)?.place {
            Place::Finished(finished) => Some((*stamp, finished.clone())),
            Place::Part { .. } | Place::Closed | Place::Never => None,
        };
        inner.order.iter().filter_map(finished).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Each change is whole before the lock is given back.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// At most `max` runs of these groups.
fn runs(groups: &BTreeSet<u32>, max: usize) -> Vec<GroupRun> {
    let mut runs: Vec<GroupRun> = Vec::new();
    for &first in groups {
        if let Some(last) = runs.last_mut().filter(|last| last.end() == first) {
            last.count += 1;
        } else if runs.len() < max {
            runs.push(GroupRun { first, count: 1 });
        } else {
            break;
        }
    }
    runs
}

impl Inner {
    /// What is not here: whether it may still come.
    fn later(&self) -> Look {
        match self.over || self.alone {
            true => Look::Gone,
            false => Look::Later,
        }
    }

    fn put(&mut self, stamp: Stamp, size: u64, place: Place) {
        if self.files.insert(stamp, Shelved { size, place }).is_none() {
            self.order.push_back(stamp);
        }
        if self.order.len() > FILES_MAX {
            self.forget_oldest();
        }
    }

    /// Forgets a file, but none that is still coming if others are there: whoever waits for the
    /// rest of it would be told that it does not come.
    fn forget_oldest(&mut self) {
        for _ in 0..2 * OPEN_MAX {
            let Some(oldest) = self.order.front().copied() else {
                return;
            };
            match self.files.get(&oldest).map(|file| &file.place) {
                Some(Place::Part { .. } | Place::Closed) => self.order.rotate_left(1),
                Some(Place::Finished(_) | Place::Never) | None => break,
            }
        }
        if let Some(oldest) = self.order.pop_front() {
            self.files.remove(&oldest);
            if self.forgotten.len() < FORGOTTEN_MAX {
                self.forgotten.insert(oldest);
            }
            self.open.retain(|open| *open != oldest);
        }
    }

    fn close_oldest(&mut self) {
        if self.open.len() > OPEN_MAX
            && let Some(oldest) = self.open.pop_front()
            && let Some(file) = self.files.get_mut(&oldest)
        {
            file.place = Place::Closed;
        }
    }
}

impl Found {
    /// Bytes of the group.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the group has no bytes, as that of an empty file.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Its content; `None` if it is not there any more. Blocking.
    pub fn read(&self) -> io::Result<Option<Bytes>> {
        let mut bytes = BytesMut::zeroed(self.len.min(GROUP_LEN as usize));
        let there = match &self.source {
            Source::Open(file) => read_exact_at(file, &mut bytes, group_offset(self.group))?,
            Source::Finished(finished) => {
                let file = finished.folder.open_file(&finished.path)?;
                let there = read_exact_at(&file, &mut bytes, group_offset(self.group))?;
                // Afterwards: what was changed before or meanwhile must not be passed on.
                there && FileLooks::of(&file)? == finished.looks
            }
        };
        Ok(there.then(|| bytes.freeze()))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use std::fs;

    const A: Stamp = Stamp([1; 16]);
    const SIZE: u64 = GROUP_LEN + 3;

    fn path(name: &str) -> SafePath {
        SafePath::parse(name).unwrap()
    }

    fn read(shelf: &Shelf, group: u32) -> Option<Bytes> {
        match shelf.look(A, group) {
            Look::Here(found) => found.read().unwrap(),
            Look::Later | Look::Gone => None,
        }
    }

    #[test]
    fn groups_are_given_from_the_part_and_then_from_the_finished_file() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(dir.path()).unwrap();
        let part = Part::create(&folder, &path("a"), "t").unwrap();
        part.write_at(GROUP_LEN, b"end").unwrap();
        let shelf = Shelf::default();
        assert!(matches!(shelf.look(A, 0), Look::Later));
        shelf
            .begin((0, A), SIZE, &part, std::iter::once(1))
            .unwrap();
        assert_eq!(read(&shelf, 1).unwrap(), "end");
        assert!(matches!(shelf.look(A, 0), Look::Later));
        part.write_at(0, &[7; GROUP_LEN as usize]).unwrap();
        shelf.add(A, &part, 0);
        assert_eq!(read(&shelf, 0).unwrap().len(), GROUP_LEN as usize);
        assert!(matches!(shelf.look(A, 2), Look::Later | Look::Gone));
        part.discard().unwrap();
        fs::write(dir.path().join("a"), [8; SIZE as usize]).unwrap();
        shelf.finished(A, &folder, &path("a")).unwrap();
        assert_eq!(read(&shelf, 1).unwrap(), [8u8; 3].as_slice());
        assert!(matches!(shelf.look(A, 2), Look::Gone));
    }

    #[test]
    fn what_a_person_has_changed_since_is_not_passed_on() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(dir.path()).unwrap();
        fs::write(dir.path().join("a"), b"as it came").unwrap();
        let shelf = Shelf::default();
        shelf.finished(A, &folder, &path("a")).unwrap();
        assert_eq!(read(&shelf, 0).unwrap(), "as it came");
        fs::write(dir.path().join("a"), b"as it is!!").unwrap();
        let later = fs::File::options().write(true).open(dir.path().join("a"));
        later.unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
        assert_eq!(read(&shelf, 0), None);
    }

    #[test]
    fn what_is_forgotten_is_not_waited_for_and_what_is_coming_is_not_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(dir.path()).unwrap();
        let part = Part::create(&folder, &path("a"), "t").unwrap();
        let shelf = Shelf::default();
        shelf
            .begin((0, A), SIZE, &part, std::iter::once(1))
            .unwrap();
        let stamp = |n: usize| {
            let mut bytes = [2; 16];
            bytes[..8].copy_from_slice(&n.to_le_bytes());
            Stamp(bytes)
        };
        for n in 0..=FILES_MAX {
            shelf.never(stamp(n));
        }
        assert!(matches!(shelf.look(A, 1), Look::Here(_)));
        assert!(matches!(shelf.look(A, 0), Look::Later));
        assert!(matches!(shelf.look(stamp(0), 0), Look::Gone));
        assert_eq!(shelf.lock().files.len(), FILES_MAX);
    }

    #[test]
    fn what_is_in_parts_is_told_and_what_is_not_there_is_gone_without_the_sender() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(dir.path()).unwrap();
        let part = Part::create(&folder, &path("a"), "t").unwrap();
        let shelf = Shelf::default();
        let groups = [1, 2, 5].into_iter();
        shelf.begin((7, A), 6 * GROUP_LEN, &part, groups).unwrap();
        let mut changes = shelf.changes();
        let run = |first, count| GroupRun { first, count };
        let held = |runs| HeldPart {
            index: 7,
            stamp: A,
            groups: 6,
            runs,
        };
        assert_eq!(shelf.parts(), [held(vec![run(1, 2), run(5, 1)])]);
        shelf.add(A, &part, 0);
        assert_eq!(shelf.parts(), [held(vec![run(0, 3), run(5, 1)])]);
        let b = Stamp([9; 16]);
        let [no_group, no_file] = [(A, 4), (b, 0)];
        let mut was_alone = false;
        for (alone, is_gone) in [(false, false), (true, true), (false, false)] {
            changes.mark_unchanged();
            shelf.set_alone(alone);
            let is_heard = changes.has_changed().unwrap();
            assert_eq!(is_heard, alone != was_alone, "whoever waits must hear");
            was_alone = alone;
            for (stamp, group) in [no_group, no_file] {
                let look = shelf.look(stamp, group);
                assert_eq!(matches!(look, Look::Gone), is_gone, "{look:?}");
            }
            assert!(matches!(shelf.look(A, 5), Look::Here(_)));
        }
        shelf.forget_numbers();
        assert_eq!(shelf.parts(), []);
        assert!(matches!(shelf.look(A, 5), Look::Here(_)));
        let apart: BTreeSet<u32> = (0..10).map(|n| 2 * n).collect();
        assert_eq!(runs(&apart, 3), [run(0, 1), run(2, 1), run(4, 1)]);
    }

    #[test]
    fn only_so_many_files_are_open_and_what_does_not_come_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(dir.path()).unwrap();
        let part = Part::create(&folder, &path("a"), "t").unwrap();
        let shelf = Shelf::default();
        let stamp = |n: usize| Stamp([n as u8; 16]);
        for n in 0..=OPEN_MAX {
            let (file, group) = ((0, stamp(n)), std::iter::once(0));
            shelf.begin(file, 5, &part, group).unwrap();
        }
        assert!(matches!(shelf.look(stamp(0), 0), Look::Later));
        assert!(matches!(shelf.look(stamp(1), 0), Look::Here(_)));
        shelf.never(stamp(1));
        assert!(matches!(shelf.look(stamp(1), 0), Look::Gone));
        assert_eq!(shelf.lock().open.len(), OPEN_MAX - 1);
    }
}
