//! Partial data of one file, in a hidden file beside its final place.
//!
//! What is in a part is worth something only together with its journal: the journal says which
//! groups were verified, [`PartIdentity`] whether it still is the file that it spoke of.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, fstat, fsync, openat, statat};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::folder::{Dir, Folder, create_file, file_type, remove_file, size_of_file};
use super::name::{PART_SUFFIX, SafePath};

/// Most bytes of a tag.
pub const TAG_LEN_MAX: usize = 64;

/// Most bytes that file systems allow in a name.
const NAME_MAX: usize = 255;

/// An open partial file. Dropping it keeps the file; all methods may be called from several
/// threads at once.
#[derive(Debug)]
pub struct Part {
    file: File,
    /// Whose turn it is to write. The kernel has such a lock for each file as well, but whoever
    /// waits for that one does so at full speed, and takes the time from the others.
    turn: Mutex<()>,
    folder: Folder,
    dir: Dir,
    name: String,
    /// Whether the name of the part is durable, not only its content.
    entered: AtomicBool,
    /// Whether a sync failed.
    spoiled: AtomicBool,
}

/// What tells whether a part was changed by somebody else since it was written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PartIdentity {
    /// Number of the file on its disk.
    pub inode: u64,
    /// Size in bytes.
    pub size: u64,
    /// Last change of the content, in nanoseconds since 1970.
    pub modified: i64,
}

impl Part {
    /// Makes an empty part for the file `path`, and the folders above it. A left-over with the
    /// same tag is removed. `tag` must be unique for transfer and file: at most [`TAG_LEN_MAX`]
    /// ASCII letters, digits, `-` and `_`.
    pub fn create(folder: &Folder, path: &SafePath, tag: &str) -> io::Result<Self> {
        let (parent, file_name) = path.split();
        let name = part_name(file_name, tag)?;
        let dir = folder.make_dir(parent)?;
        let file = create_file(&dir, &name, Mode::RUSR | Mode::WUSR)?;
        Ok(Self::new(folder, dir, name, file))
    }

    /// Opens the part that an earlier run left. `None` if there is none, or if what is there is
    /// not plainly ours: a link, a file with several names, a file of another user.
    pub fn reopen(folder: &Folder, path: &SafePath, tag: &str) -> io::Result<Option<Self>> {
        let (parent, file_name) = path.split();
        let name = part_name(file_name, tag)?;
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let opened = folder
            .dir(parent)
            .and_then(|dir| openat(&dir, &name, flags, Mode::empty()).map(|file| (dir, file)));
        let (dir, file) = match opened {
            Ok(opened) => opened,
            Err(
                Errno::NOENT
                | Errno::NOTDIR
                | Errno::LOOP
                | Errno::ISDIR
                | Errno::NXIO
                | Errno::ACCESS,
            ) => return Ok(None),
            Err(e) => return Err(e.into()),
        };
        let stat = fstat(&file)?;
        let ours = file_type(&stat) == FileType::RegularFile
            && stat.st_nlink == 1
            && stat.st_uid == rustix::process::geteuid().as_raw();
        Ok(ours.then(|| Self::new(folder, dir, name, file.into())))
    }

    fn new(folder: &Folder, dir: Dir, name: String, file: File) -> Self {
        Self {
            file,
            turn: Mutex::default(),
            folder: folder.clone(),
            dir,
            name,
            entered: AtomicBool::new(false),
            spoiled: AtomicBool::new(false),
        }
    }

    /// What the part is now; write it down after [`Self::sync`].
    pub fn identity(&self) -> io::Result<PartIdentity> {
        let stat = fstat(&self.file)?;
        Ok(PartIdentity {
            inode: stat.st_ino,
            size: size_of_file(&stat),
            modified: nanoseconds(stat.st_mtime, stat.st_mtime_nsec as i64),
        })
    }

    /// Writes all of `bytes` at `offset`.
    pub fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.write_pieces(offset, [bytes])
    }

    /// Writes all of `pieces`, one behind the other, from `offset` on.
    pub fn write_pieces<'a>(
        &self,
        mut offset: u64,
        pieces: impl IntoIterator<Item = &'a [u8]>,
    ) -> io::Result<()> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        for piece in pieces {
            self.file.write_all_at(piece, offset)?;
            offset += piece.len() as u64;
        }
        Ok(())
    }

    /// Fills `buf` from `offset`; [`io::ErrorKind::UnexpectedEof`] if the part is shorter.
    pub fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(buf, offset)
    }

    /// Its content for others to read, whatever becomes of the part.
    pub fn reader(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// Cuts the part or extends it with zeros.
    pub fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    /// Makes everything written so far durable, the first time also the part's name.
    ///
    /// After an error the content on disk is unknown for ever, because the kernel may have dropped
    /// what it could not write: the part is of no more use, and further calls fail, too.
    pub fn sync(&self) -> io::Result<()> {
        if self.is_spoiled() {
            return Err(io::Error::other("the disk did not take what was written"));
        }
        self.try_sync().inspect_err(|_| self.spoil())
    }

    /// Whether a sync has failed: then nothing that was written counts.
    pub fn is_spoiled(&self) -> bool {
        self.spoiled.load(Ordering::Acquire)
    }

    /// A sync of the whole disk has failed.
    pub(super) fn spoil(&self) {
        self.spoiled.store(true, Ordering::Release);
    }

    fn try_sync(&self) -> io::Result<()> {
        self.file.sync_data()?;
        if !self.entered.load(Ordering::Acquire) {
            fsync(&self.dir)?;
            self.folder.sync()?;
            self.entered.store(true, Ordering::Release);
        }
        Ok(())
    }

    /// Removes the part.
    pub fn discard(self) -> io::Result<()> {
        self.remove()
    }

    /// Removes the name of the part; the open file is of no more use.
    pub(super) fn remove(&self) -> io::Result<()> {
        remove_file(&self.dir, &self.name)
    }

    /// Folder and name, after a check that the name still belongs to this file.
    pub(super) fn place(&self) -> io::Result<(&Dir, &str)> {
        let ours = fstat(&self.file)?;
        let named = statat(&self.dir, &self.name, AtFlags::SYMLINK_NOFOLLOW)?;
        if (ours.st_dev, ours.st_ino) == (named.st_dev, named.st_ino) {
            Ok((&self.dir, &self.name))
        } else {
            Err(io::Error::other("the partial file was replaced"))
        }
    }

    /// The open file.
    pub(super) fn file(&self) -> &File {
        &self.file
    }
}

/// `.NAME.TAG.pcpart`, with as much of the name as fits.
pub(super) fn part_name(file_name: &str, tag: &str) -> io::Result<String> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    if tag.is_empty() || tag.len() > TAG_LEN_MAX || !tag.bytes().all(plain) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "not a tag for a partial file",
        ));
    }
    let room = NAME_MAX - PART_SUFFIX.len() - tag.len() - 2;
    let kept = &file_name[..file_name.floor_char_boundary(room)];
    let mut name = String::with_capacity(NAME_MAX);
    for piece in [".", kept, ".", tag, PART_SUFFIX] {
        name.push_str(piece);
    }
    Ok(name)
}

/// A time of the file system as one number; the ends of the range stand for all beyond them.
pub(super) fn nanoseconds(seconds: i64, nanoseconds: i64) -> i64 {
    seconds
        .saturating_mul(1_000_000_000)
        .saturating_add(nanoseconds)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, symlink};

    fn path(text: &str) -> SafePath {
        SafePath::parse(text).unwrap()
    }

    #[test]
    fn a_part_that_the_disk_did_not_take_is_of_no_more_use() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(dir.path()).unwrap();
        let part = Part::create(&folder, &path("a"), "tag").unwrap();
        part.write_at(0, b"text").unwrap();
        part.sync().unwrap();
        assert!(!part.is_spoiled());
        part.spoil();
        part.write_at(0, b"text").unwrap();
        assert!(part.sync().is_err(), "though the disk would take it now");
    }

    #[test]
    fn a_part_is_private_hidden_and_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(dir.path()).unwrap();
        let file = path("a/name.txt");
        let part = Part::create(&folder, &file, "tag-1").unwrap();
        part.set_len(10).unwrap();
        part.write_at(4, b"text").unwrap();
        part.sync().unwrap();
        let identity = part.identity().unwrap();
        assert_eq!(identity.size, 10);
        drop(part);
        let local = dir.path().join("a/.name.txt.tag-1.pcpart");
        assert_eq!(local.metadata().unwrap().mode() & 0o777, 0o600);
        let part = Part::reopen(&folder, &file, "tag-1").unwrap().unwrap();
        assert_eq!(part.identity().unwrap(), identity);
        let mut bytes = [0; 6];
        part.read_at(4, &mut bytes).unwrap();
        assert_eq!(&bytes, b"text\0\0");
        let behind = part.read_at(5, &mut bytes).unwrap_err();
        assert_eq!(behind.kind(), io::ErrorKind::UnexpectedEof);
        part.discard().unwrap();
        assert!(!local.exists());
        assert!(Part::reopen(&folder, &file, "tag-1").unwrap().is_none());
    }

    #[test]
    fn a_change_by_somebody_else_changes_the_identity() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(dir.path()).unwrap();
        let part = Part::create(&folder, &path("x"), "t").unwrap();
        part.write_at(0, b"abc").unwrap();
        let before = part.identity().unwrap();
        let local = dir.path().join(".x.t.pcpart");
        let file = File::options().write(true).open(&local).unwrap();
        file.set_modified(std::time::UNIX_EPOCH).unwrap();
        assert_ne!(part.identity().unwrap(), before);
        assert_eq!(part.identity().unwrap().modified, 0);
        // Same name, size and time, but another file.
        let copy = dir.path().join("copy");
        std::fs::copy(&local, &copy).unwrap();
        std::fs::rename(&copy, &local).unwrap();
        let other = Part::reopen(&folder, &path("x"), "t").unwrap().unwrap();
        assert_ne!(other.identity().unwrap().inode, before.inode);
        assert!(part.place().is_err(), "the name belongs to another file");
        assert!(other.place().is_ok());
    }

    #[test]
    fn a_left_over_with_the_same_tag_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(dir.path()).unwrap();
        let old = Part::create(&folder, &path("x"), "t").unwrap();
        old.write_at(0, b"old").unwrap();
        let new = Part::create(&folder, &path("x"), "t").unwrap();
        assert_eq!(new.identity().unwrap().size, 0);
        let outside = dir.path().join("precious");
        std::fs::write(&outside, "precious").unwrap();
        std::fs::remove_file(dir.path().join(".x.t.pcpart")).unwrap();
        symlink(&outside, dir.path().join(".x.t.pcpart")).unwrap();
        let part = Part::create(&folder, &path("x"), "t").unwrap();
        part.write_at(0, b"new").unwrap();
        assert_eq!(std::fs::read(&outside).unwrap(), b"precious");
    }

    #[test]
    fn what_is_not_plainly_ours_is_not_reopened() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(dir.path()).unwrap();
        let local = dir.path().join(".x.t.pcpart");
        let reopened = || Part::reopen(&folder, &path("x"), "t").unwrap();
        let target = dir.path().join("target");
        std::fs::write(&target, "x").unwrap();
        symlink(&target, &local).unwrap();
        assert!(reopened().is_none(), "a link");
        std::fs::remove_file(&local).unwrap();
        std::fs::hard_link(&target, &local).unwrap();
        assert!(reopened().is_none(), "a file with two names");
        std::fs::remove_file(&local).unwrap();
        std::fs::create_dir(&local).unwrap();
        assert!(reopened().is_none(), "a folder");
        std::fs::remove_dir(&local).unwrap();
        let mode = Mode::RUSR | Mode::WUSR;
        rustix::fs::mknodat(rustix::fs::CWD, &local, FileType::Fifo, mode, 0).unwrap();
        assert!(reopened().is_none(), "a FIFO");
        assert!(
            Part::reopen(&folder, &path("no/parent"), "t")
                .unwrap()
                .is_none()
        );
        assert!(
            Part::reopen(&folder, &path("target/x"), "t")
                .unwrap()
                .is_none()
        );
    }

    #[test]
    fn names_of_parts_fit_and_tags_are_plain() {
        let tag = "t".repeat(TAG_LEN_MAX);
        for name in ["x".repeat(200), "照".repeat(66)] {
            let part = part_name(&name, &tag).unwrap();
            assert!(part.len() <= NAME_MAX && part.starts_with('.'));
            assert!(part.ends_with(&format!(".{tag}.pcpart")));
        }
        for tag in ["", "a/b", "..", "a b", "\n", &"t".repeat(TAG_LEN_MAX + 1)] {
            assert!(part_name("x", tag).is_err(), "{tag:?}");
        }
    }
}
