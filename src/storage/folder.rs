//! The download folder: opened once, and below it nothing is reached through a link.
//!
//! Every path is resolved from the open root by the kernel with `openat2` and
//! `RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS`, or component by component with `O_NOFOLLOW` where
//! that call does not exist. Checking a path first and opening it afterwards would be a race.
//!
//! Open folders are not kept from one call to the next: a folder that a person moves away
//! meanwhile must not take later files with it. [`super::publish`] resolves each folder once for
//! a whole batch instead, which costs nothing per file.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, Stat, Timespec, Timestamps, UTIME_OMIT, fstat, fstatvfs,
    fsync, futimens, mkdirat, openat, readlinkat, statat, symlinkat, unlinkat,
};
use rustix::io::Errno;

use super::name::{PART_SUFFIX, SafePath, is_safe_link_target, join};
use crate::protocol::message::Timestamp;

/// An open folder.
pub(super) type Dir = Arc<OwnedFd>;

/// Folders whose new entries are not durable yet; beyond this they are made durable at once.
const UNSYNCED_MAX: usize = 4096;

const DIR_FLAGS: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// `O_NONBLOCK`, so that a FIFO under the name is opened without waiting for a writer.
const READ_FLAGS: OFlags = OFlags::RDONLY
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);

/// The folder that received files go to. Cheap to clone; all clones are the same open folder.
#[derive(Debug, Clone)]
pub struct Folder(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    root: Dir,
    /// Whether the kernel has `openat2` and lets us use it.
    beneath: bool,
    /// Paths of folders (the root is empty) with new entries that are not durable yet.
    unsynced: Mutex<BTreeSet<String>>,
    /// Held while folders are made durable: who finds nothing to do must wait for who does it.
    syncing: Mutex<()>,
    /// Whether a sync failed: a later one that succeeds proves nothing.
    spoiled: AtomicBool,
    /// Permissions that new executable files get here, see [`Folder::new_file_mode`].
    new_mode: OnceLock<u32>,
}

/// Room on the disk of a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Bytes that we may use.
    pub free: u64,
    /// Files that can still be made; `None` where the file system has no such limit.
    pub inodes: Option<u64>,
}

/// What is under a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// Nothing; the name is free.
    Nothing,
    /// A regular file.
    File {
        /// Its size in bytes.
        size: u64,
        /// Its modification time.
        modified: Timestamp,
    },
    /// A folder.
    Folder,
    /// Something else, a link or a device; or what should be a folder on the way is none. The
    /// name cannot be used as it is.
    Other,
}

impl Folder {
    /// Opens the folder, and makes it with its parents if it is missing. Links in `path` itself
    /// are followed: it is our own person's choice.
    pub fn open(path: &Path) -> io::Result<Self> {
        let path = std::path::absolute(path)?;
        std::fs::create_dir_all(&path)?;
        let flags = DIR_FLAGS.difference(OFlags::NOFOLLOW);
        let root = rustix::fs::open(&path, flags, Mode::empty())?;
        Ok(Self(Arc::new(Inner {
            path,
            beneath: has_openat2(&root),
            root: Arc::new(root),
            unsynced: Mutex::default(),
            syncing: Mutex::default(),
            spoiled: AtomicBool::new(false),
            new_mode: OnceLock::new(),
        })))
    }

    /// Where it is, as an absolute path.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// Room on its disk, for this user.
    pub fn space(&self) -> io::Result<Space> {
        let disk = fstatvfs(&self.0.root)?;
        Ok(Space {
            free: disk.f_bavail.saturating_mul(disk.f_frsize),
            inodes: (disk.f_files > 0).then_some(disk.f_favail),
        })
    }

    /// Whether files can be made here, by making one that never gets a name (or one that is
    /// removed at once, where the file system has no nameless files).
    pub fn check_writable(&self) -> io::Result<()> {
        #[cfg(target_os = "linux")]
        {
            let flags = OFlags::WRONLY | OFlags::TMPFILE | OFlags::CLOEXEC;
            match openat(&self.0.root, ".", flags, Mode::RUSR | Mode::WUSR) {
                Ok(_) => return Ok(()),
                Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL | Errno::NOENT) => {}
                Err(e) => return Err(e.into()),
            }
        }
        self.probe(Mode::RUSR | Mode::WUSR)?;
        Ok(())
    }

    /// Looks under many names, one after the other.
    pub fn looks(&self) -> Looks<'_> {
        Looks {
            folder: self,
            last: None,
        }
    }

    /// Opens an existing regular file for reading. Never follows a link and never waits; anything
    /// but a regular file is [`io::ErrorKind::InvalidInput`].
    pub fn open_file(&self, path: &SafePath) -> io::Result<File> {
        let (parent, name) = path.split();
        let (file, _) = open_regular(&self.dir(parent)?, name)?;
        Ok(file)
    }

    /// Makes a folder with its parents; fine if it is there already. Durable after [`Self::sync`].
    pub fn make_folder(&self, path: &SafePath) -> io::Result<()> {
        self.make_dir(path.as_str())?;
        Ok(())
    }

    /// Makes a symbolic link, and the folders above it. Fails if the name is taken, unless by the
    /// same link, and if the target leaves the top-level item. Durable after [`Self::sync`].
    pub fn make_symlink(&self, path: &SafePath, target: &str) -> io::Result<()> {
        if !is_safe_link_target(path, target) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the link leaves what it came with",
            ));
        }
        let (parent, name) = path.split();
        let dir = self.make_dir(parent)?;
        match symlinkat(target, &dir, name) {
            Ok(()) => {
                self.unsynced().insert(parent.to_owned());
                self.bound_unsynced()
            }
            Err(Errno::EXIST) => match readlinkat(&dir, name, Vec::new()) {
                Ok(existing) if existing.as_bytes() == target.as_bytes() => Ok(()),
                Ok(_) | Err(_) => Err(Errno::EXIST.into()),
            },
            Err(e) => Err(e.into()),
        }
    }

    /// Sets the modification time of a folder. Do this when nothing more is put into it.
    pub fn set_folder_time(&self, path: &SafePath, modified: Timestamp) -> io::Result<()> {
        let dir = self.dir(path.as_str())?;
        Ok(futimens(&dir, &times(modified))?)
    }

    /// Makes folders and links durable that were made so far. [`super::publish::publish`] does
    /// this too; call it before a receipt for a folder or link goes out. After an error it fails
    /// for ever: open the folder again.
    pub fn sync(&self) -> io::Result<()> {
        let _turn = self
            .0
            .syncing
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if self.is_spoiled() {
            return Err(io::Error::other("the disk did not take new names"));
        }
        let waiting = std::mem::take(&mut *self.unsynced());
        let mut outcome = Ok(());
        for path in waiting {
            let synced = self.dir(&path).and_then(fsync);
            match synced {
                Ok(()) => {}
                // It was moved away: there is nothing to keep.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                Err(e) => {
                    self.0.spoiled.store(true, Ordering::Release);
                    outcome = Err(e.into());
                }
            }
        }
        outcome
    }

    /// Whether [`Self::sync`] has failed, and will fail for ever.
    pub fn is_spoiled(&self) -> bool {
        self.0.spoiled.load(Ordering::Acquire)
    }

    /// The folder at `path` below this one (the folder itself if empty).
    pub(super) fn dir(&self, path: &str) -> rustix::io::Result<Dir> {
        if path.is_empty() {
            return Ok(self.0.root.clone());
        }
        #[cfg(target_os = "linux")]
        if self.0.beneath {
            return openat2_dir(&self.0.root, path).map(Arc::new);
        }
        let mut dir = self.0.root.clone();
        for component in path.split('/') {
            dir = Arc::new(openat(&dir, component, DIR_FLAGS, Mode::empty())?);
        }
        Ok(dir)
    }

    /// Like [`Self::dir`], but makes what is missing.
    pub(super) fn make_dir(&self, path: &str) -> io::Result<Dir> {
        match self.dir(path) {
            Err(Errno::NOENT) => {}
            Ok(dir) => return Ok(dir),
            Err(e) => return Err(e.into()),
        }
        let open = |dir: &Dir, name: &str| openat(dir, name, DIR_FLAGS, Mode::empty());
        let mut dir = self.0.root.clone();
        let mut above = String::new();
        for component in path.split('/') {
            let next = match open(&dir, component) {
                Err(Errno::NOENT) => {
                    self.make_one(&dir, &above, component)?;
                    self.bound_unsynced()?;
                    open(&dir, component)?
                }
                other => other?,
            };
            dir = Arc::new(next);
            above = join(&above, component);
        }
        Ok(dir)
    }

    /// The permissions that a new file gets here: what the umask (or the folder's access list)
    /// leaves of 0666 or, for executable ones, 0777. Never more than permission bits.
    pub(super) fn new_file_mode(&self, executable: bool) -> Mode {
        let mode = self.0.new_mode.get_or_init(|| {
            // The umask can only be read by setting it, for all threads; a file shows it as well.
            let probed = self.probe(Mode::RWXU | Mode::RWXG | Mode::RWXO);
            probed.map_or(0o700, |stat| stat.st_mode & 0o777)
        });
        Mode::from_raw_mode(mode & if executable { 0o777 } else { 0o666 })
    }

    /// Makes an empty file in the folder, looks at it, and removes it. The name is always the same:
    /// one that was left over goes the next time.
    fn probe(&self, mode: Mode) -> io::Result<Stat> {
        let name = format!(".probe{PART_SUFFIX}");
        let file = create_file(&self.0.root, &name, mode)?;
        let stat = fstat(&file);
        remove_file(&self.0.root, &name)?;
        Ok(stat?)
    }

    /// The same folder on a system that has no `openat2`.
    #[cfg(test)]
    pub(super) fn without_openat2(&self) -> Self {
        Self(Arc::new(Inner {
            path: self.0.path.clone(),
            root: self.0.root.clone(),
            beneath: false,
            unsynced: Mutex::default(),
            syncing: Mutex::default(),
            spoiled: AtomicBool::new(false),
            new_mode: OnceLock::new(),
        }))
    }

    /// Makes the folder `name` in `dir`, which is at `above`; fine if it is there already.
    fn make_one(&self, dir: &Dir, above: &str, name: &str) -> io::Result<()> {
        // The lock makes others who see the new folder see also that it is not durable.
        let mut unsynced = self.unsynced();
        match mkdirat(dir, name, Mode::RWXU | Mode::RWXG | Mode::RWXO) {
            Ok(()) => {
                unsynced.insert(above.to_owned());
                Ok(())
            }
            Err(Errno::EXIST) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }

    fn bound_unsynced(&self) -> io::Result<()> {
        let full = self.unsynced().len() >= UNSYNCED_MAX;
        if full { self.sync() } else { Ok(()) }
    }

    fn unsynced(&self) -> std::sync::MutexGuard<'_, BTreeSet<String>> {
        // The set is whole after every statement, also when a thread panicked beside it.
        self.0
            .unsynced
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks under names. The folder of the last one is kept open, because the next one is mostly in
/// it, too: do not keep this for long.
#[derive(Debug)]
pub struct Looks<'a> {
    folder: &'a Folder,
    last: Option<Last>,
}

#[derive(Debug)]
struct Last {
    path: String,
    dir: Dir,
    /// Whether nothing is in it: so it is with folders that have just been made.
    empty: bool,
}

impl Looks<'_> {
    /// What is under a name, without following links. Another answer may be right a moment later:
    /// good for plans, not for safety.
    pub fn look(&mut self, path: &SafePath) -> io::Result<Existing> {
        let (parent, name) = path.split();
        let found = self.last(parent).and_then(|last| match last.empty {
            true => Err(Errno::NOENT),
            false => statat(&last.dir, name, AtFlags::SYMLINK_NOFOLLOW),
        });
        match found {
            Ok(stat) if file_type(&stat) == FileType::RegularFile => Ok(Existing::File {
                size: size_of_file(&stat),
                modified: modified(&stat),
            }),
            Ok(stat) if file_type(&stat) == FileType::Directory => Ok(Existing::Folder),
            Ok(_) => Ok(Existing::Other),
            Err(Errno::NOENT) => Ok(Existing::Nothing),
            Err(Errno::NOTDIR | Errno::LOOP) => Ok(Existing::Other),
            Err(e) => Err(e.into()),
        }
    }

    fn last(&mut self, parent: &str) -> rustix::io::Result<&Last> {
        let last = match self.last.take().filter(|last| last.path == parent) {
            Some(last) => last,
            None => {
                let dir = self.folder.dir(parent)?;
                Last {
                    path: parent.to_owned(),
                    empty: is_empty(&dir)?,
                    dir,
                }
            }
        };
        Ok(self.last.insert(last))
    }
}

fn is_empty(dir: &Dir) -> rustix::io::Result<bool> {
    for entry in rustix::fs::Dir::read_from(dir)? {
        if ![c".", c".."].contains(&entry?.file_name()) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Creates a file of ours exclusively. A left-over of the same name is removed first: the names
/// given here end in [`PART_SUFFIX`], which no received file has.
pub(super) fn create_file(dir: &Dir, name: &str, mode: Mode) -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match openat(dir, name, flags, mode) {
        Err(Errno::EXIST) => {
            remove_file(dir, name)?;
            Ok(openat(dir, name, flags, mode)?.into())
        }
        other => Ok(other?.into()),
    }
}

/// Removes a file; fine if it is gone already.
pub(super) fn remove_file(dir: &Dir, name: &str) -> io::Result<()> {
    match unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

/// Opens the regular file `name` in `dir` for reading.
pub(super) fn open_regular(dir: &Dir, name: &str) -> io::Result<(File, Stat)> {
    let file = openat(dir, name, READ_FLAGS, Mode::empty())?;
    let stat = fstat(&file)?;
    if file_type(&stat) == FileType::RegularFile {
        Ok((file.into(), stat))
    } else {
        Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "not a regular file",
        ))
    }
}

/// What kind of thing was looked at.
pub(super) fn file_type(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// Size in bytes.
pub(super) fn size_of_file(stat: &Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or(0)
}

/// When a file was changed last.
fn modified(stat: &Stat) -> Timestamp {
    const SECOND: i64 = 1_000_000_000;
    let seconds = i64::saturating_mul(stat.st_mtime as _, SECOND);
    Timestamp(seconds.saturating_add(stat.st_mtime_nsec as _))
}

/// For `futimens`: this modification time, and the access time as it is.
pub(super) fn times(modified: Timestamp) -> Timestamps {
    const SECOND: i64 = 1_000_000_000;
    Timestamps {
        last_access: Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_OMIT,
        },
        last_modification: Timespec {
            tv_sec: modified.0.div_euclid(SECOND),
            tv_nsec: modified.0.rem_euclid(SECOND) as _,
        },
    }
}

#[cfg(target_os = "linux")]
fn openat2_dir(root: &Dir, path: &str) -> rustix::io::Result<OwnedFd> {
    use rustix::fs::{ResolveFlags, openat2};
    /// The kernel gives up when something is renamed at that moment; a few tries find a quiet one.
    const TRIES: u32 = 16;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    for _ in 0..TRIES {
        match openat2(root, path, DIR_FLAGS, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            other => return other,
        }
    }
    Err(Errno::AGAIN)
}

#[cfg(target_os = "linux")]
fn has_openat2(root: &OwnedFd) -> bool {
    use rustix::fs::{ResolveFlags, openat2};
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    openat2(root, ".", DIR_FLAGS, Mode::empty(), resolve).is_ok()
}

#[cfg(not(target_os = "linux"))]
fn has_openat2(_: &OwnedFd) -> bool {
    false
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests;
