//! Final names appear here and only here: complete, verified and durable, and never in place of
//! something else unless the person wants that.
//!
//! A batch goes through four steps: small contents into parts, data durable, names, folders
//! durable. What an error leaves behind is at worst a part; a final name never holds less than
//! the whole content.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use rustix::fs::{
    AtFlags, FileType, Mode, RenameFlags, fchmod, fstat, fsync, futimens, linkat, renameat,
    renameat_with, statat,
};
use rustix::io::Errno;

use super::folder::{
    Dir, Folder, create_file, file_type, open_regular, remove_file, size_of_file, times,
};
use super::name::SafePath;
use super::part::{Part, part_name};
use crate::config::ConflictPolicy;
use crate::protocol::message::{Outcome, SinkFault, Timestamp};

/// Most numbers that are tried for `name (n).ext`: more different contents under one name are no
/// accident.
pub const NUMBER_MAX: u32 = 1000;

/// Up to this many files of a batch are made durable one by one, more of them with one call for
/// the whole file system, which may have to wait for the data of other programs.
const SYNC_SINGLY_MAX: usize = 4;

/// Bytes that are compared at once.
const COMPARE_LEN: usize = 128 * 1024;

/// A file whose content is complete and verified.
#[derive(Debug)]
pub struct Finished {
    /// Where it goes, if that is free.
    pub path: SafePath,
    /// Modification time that it gets.
    pub modified: Timestamp,
    /// Whether it may be executed. Nothing else of the sender's permissions counts.
    pub executable: bool,
    /// What is in it.
    pub content: Content,
    /// What happens when its name is taken by different content.
    pub policy: ConflictPolicy,
}

/// The content of a [`Finished`] file.
#[derive(Debug)]
pub enum Content {
    /// All bytes of a small file, which has no part yet.
    Small {
        /// The bytes.
        bytes: Bytes,
        /// Names its part, see [`Part::create`].
        tag: String,
    },
    /// A part with the right length. It is removed or has become the file when the outcome is
    /// known, and is kept on error.
    Part(Arc<Part>),
}

/// What became of a [`Finished`] file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// The name that has the content now; where nothing was saved, the name it was meant for.
    pub path: SafePath,
    /// `New`, `Identical`, `Renamed`, `Overwritten`, `Skipped`, or `Failed` with
    /// [`SinkFault::Exists`].
    pub outcome: Outcome,
}

/// Gives finished files their names; one result for each, in order. They are durable when this
/// returns. Files do not harm each other: an error is the error of one file, or of all files of
/// one disk or folder that could not be made durable.
///
/// Equal content under the name, or under a numbered one, is [`Outcome::Identical`] with every
/// policy. [`ConflictPolicy::Overwrite`] replaces regular files only, and none of the same batch.
/// With [`ConflictPolicy::Ask`], what Overwrite would replace is an
/// [`io::ErrorKind::AlreadyExists`]; anything else counts as with Rename.
/// A full disk is [`io::ErrorKind::StorageFull`] or [`io::ErrorKind::QuotaExceeded`].
pub fn publish(folder: &Folder, batch: Vec<Finished>) -> Vec<io::Result<Published>> {
    let mut run = Batch {
        folder,
        singly: batch.len() <= SYNC_SINGLY_MAX || !HAS_SYNCFS,
        places: Vec::new(),
        by_path: HashMap::new(),
        last: 0,
        saved: HashSet::new(),
    };
    let mut jobs: Vec<io::Result<Job>> = batch.into_iter().map(|f| run.stage(f)).collect();
    if !run.singly {
        run.sync_disks(&mut jobs);
    }
    let mut results = Vec::with_capacity(jobs.len());
    let mut places = Vec::with_capacity(jobs.len());
    for job in jobs {
        places.push(job.as_ref().map_or(0, |job| job.place));
        results.push(job.and_then(|job| run.name(job)));
    }
    run.sync_folders(&places, &mut results);
    results
}

#[cfg(target_os = "linux")]
const HAS_SYNCFS: bool = true;
#[cfg(not(target_os = "linux"))]
const HAS_SYNCFS: bool = false;

struct Batch<'a> {
    folder: &'a Folder,
    singly: bool,
    /// Folders of this batch, each resolved once.
    places: Vec<Place>,
    by_path: HashMap<String, usize>,
    /// Place of the last file: mostly that of the next one, too.
    last: usize,
    /// Names given by this batch, which it must not overwrite.
    saved: HashSet<SafePath>,
}

struct Place {
    path: String,
    dir: Dir,
    disk: u64,
    touched: bool,
}

/// A file on its way to its name.
struct Job {
    path: SafePath,
    modified: Timestamp,
    executable: bool,
    policy: ConflictPolicy,
    place: usize,
    staged: Staged,
}

/// Content in a part.
enum Staged {
    Small { part: String, bytes: Bytes },
    Part(Arc<Part>),
}

impl Batch<'_> {
    /// Brings a file's content into a part, durable already if the files are synced singly.
    fn stage(&mut self, file: Finished) -> io::Result<Job> {
        let place = self.place(file.path.split().0)?;
        let staged = match file.content {
            Content::Part(part) => {
                if self.singly {
                    part.sync()?;
                }
                Staged::Part(part)
            }
            Content::Small { bytes, tag } => {
                let part = part_name(file.path.file_name(), &tag)?;
                let dir = &self.places[place].dir;
                // The kernel takes the umask off; a file that is executable for nobody is 0666.
                let mode = Mode::from_raw_mode(if file.executable { 0o777 } else { 0o666 });
                let mut open = create_file(dir, &part, mode)?;
                let written = fill(&mut open, &bytes, file.modified, self.singly);
                if let Err(e) = written {
                    // The error that counts is the first one.
                    let _ = remove_file(dir, &part);
                    return Err(e);
                }
                Staged::Small { part, bytes }
            }
        };
        Ok(Job {
            path: file.path,
            modified: file.modified,
            executable: file.executable,
            policy: file.policy,
            place,
            staged,
        })
    }

    /// Number of the open folder at `path`, which is made if it is missing.
    fn place(&mut self, path: &str) -> io::Result<usize> {
        if self.places.get(self.last).is_some_and(|p| p.path == path) {
            return Ok(self.last);
        }
        self.last = match self.by_path.get(path) {
            Some(&place) => place,
            None => {
                let dir = self.folder.make_dir(path)?;
                let disk = fstat(&dir)?.st_dev;
                self.places.push(Place {
                    path: path.to_owned(),
                    dir,
                    disk,
                    touched: false,
                });
                self.by_path.insert(path.to_owned(), self.places.len() - 1);
                self.places.len() - 1
            }
        };
        Ok(self.last)
    }

    /// Makes the data of all jobs durable, with one call for each disk.
    fn sync_disks(&self, jobs: &mut [io::Result<Job>]) {
        let mut disks: HashMap<u64, Option<Errno>> = HashMap::new();
        for job in jobs {
            let Ok(staged) = job else { continue };
            let place = &self.places[staged.place];
            let fault = *disks
                .entry(place.disk)
                .or_insert_with(|| sync_disk(&place.dir).err());
            if let Some(e) = fault {
                staged.staged.drop_small(&place.dir);
                *job = Err(e.into());
            }
        }
    }

    /// Gives a staged file its name.
    fn name(&mut self, job: Job) -> io::Result<Published> {
        let result = self.try_name(&job);
        if result.is_err() {
            job.staged.drop_small(&self.places[job.place].dir);
        }
        result
    }

    fn try_name(&mut self, job: &Job) -> io::Result<Published> {
        let dir = self.places[job.place].dir.clone();
        let (from_dir, from) = match &job.staged {
            Staged::Small { part, .. } => (&dir, part.as_str()),
            Staged::Part(part) => {
                fchmod(part.file(), self.folder.new_file_mode(job.executable))?;
                futimens(part.file(), &times(job.modified))?;
                part.place()?
            }
        };
        let mut path = job.path.clone();
        for number in 1..=NUMBER_MAX {
            match rename_new(from_dir, from, &dir, path.file_name()) {
                Ok(()) => {
                    let new = path == job.path;
                    let outcome = if new { Outcome::New } else { Outcome::Renamed };
                    return Ok(self.named(job, path, outcome));
                }
                Err(Errno::EXIST) => {}
                Err(e) => return Err(e.into()),
            }
            if job
                .staged
                .is_content_of(&dir, path.file_name(), self.singly)?
            {
                job.staged.remove(&dir)?;
                return Ok(self.named(job, path, Outcome::Identical));
            }
            match job.policy {
                ConflictPolicy::Skip => {
                    job.staged.remove(&dir)?;
                    return Ok(Published {
                        path,
                        outcome: Outcome::Skipped,
                    });
                }
                ConflictPolicy::Overwrite | ConflictPolicy::Ask if !self.saved.contains(&path) => {
                    let old = match statat(&dir, path.file_name(), AtFlags::SYMLINK_NOFOLLOW) {
                        // It went away just now: the name is free.
                        Err(Errno::NOENT) => continue,
                        other => other?,
                    };
                    let ask = job.policy == ConflictPolicy::Ask;
                    match (file_type(&old) == FileType::RegularFile, ask) {
                        (true, true) => return Err(Errno::EXIST.into()),
                        (true, false) => {
                            renameat(from_dir, from, &dir, path.file_name())?;
                            return Ok(self.named(job, path, Outcome::Overwritten));
                        }
                        (false, true) => path = job.path.numbered(number),
                        (false, false) => break,
                    }
                }
                ConflictPolicy::Fail => break,
                ConflictPolicy::Rename | ConflictPolicy::Overwrite | ConflictPolicy::Ask => {
                    path = job.path.numbered(number);
                }
            }
        }
        job.staged.remove(&dir)?;
        Ok(Published {
            path: job.path.clone(),
            outcome: Outcome::Failed(SinkFault::Exists),
        })
    }

    fn named(&mut self, job: &Job, path: SafePath, outcome: Outcome) -> Published {
        self.places[job.place].touched = true;
        if matches!(job.policy, ConflictPolicy::Overwrite | ConflictPolicy::Ask) {
            self.saved.insert(path.clone());
        }
        Published { path, outcome }
    }

    /// Makes the new names durable, and the names of new folders above them.
    fn sync_folders(&self, places: &[usize], results: &mut [io::Result<Published>]) {
        let fault = |e: &io::Error| io::Error::new(e.kind(), e.to_string());
        let made = self.folder.sync();
        let synced: Vec<io::Result<()>> = self
            .places
            .iter()
            .map(|place| match &made {
                Err(e) if !place.path.is_empty() => Err(fault(e)),
                _ if place.touched => Ok(fsync(&place.dir)?),
                _ => Ok(()),
            })
            .collect();
        for (place, result) in places.iter().zip(results) {
            if let (Some(Err(e)), Ok(_)) = (synced.get(*place), &result) {
                *result = Err(fault(e));
            }
        }
    }
}

impl Staged {
    /// Removes the part, which is not needed.
    fn remove(&self, dir: &Dir) -> io::Result<()> {
        match self {
            Self::Small { part, .. } => remove_file(dir, part),
            Self::Part(part) => part.remove(),
        }
    }

    /// After an error: the content of a small file is still in memory, its part is waste.
    fn drop_small(&self, dir: &Dir) {
        if let Self::Small { part, .. } = self {
            let _ = remove_file(dir, part);
        }
    }

    /// Whether the regular file `name` in `dir` holds the same bytes. One that may not be read
    /// is different. With `sync`, equal bytes are durable too, whoever wrote them: what is told
    /// to be there already must be there after a power cut.
    fn is_content_of(&self, dir: &Dir, name: &str, sync: bool) -> io::Result<bool> {
        let Ok((existing, stat)) = open_regular(dir, name) else {
            return Ok(false);
        };
        let size = size_of_file(&stat);
        let same = match self {
            Self::Small { bytes, .. } => same_bytes(&existing, size, bytes),
            Self::Part(part) => same_content(&existing, size, part.file()),
        }?;
        if same && sync {
            existing.sync_data()?;
        }
        Ok(same)
    }
}

/// Whether two regular files hold the same bytes; `size` is that of the first.
pub fn same_content(a: &File, size: u64, b: &File) -> io::Result<bool> {
    if b.metadata()?.len() != size {
        return Ok(false);
    }
    let mut one = vec![0; COMPARE_LEN];
    let mut other = vec![0; COMPARE_LEN];
    let mut offset = 0;
    while offset < size {
        let len = (size - offset).min(COMPARE_LEN as u64) as usize;
        if !read_whole(a, offset, &mut one[..len])?
            || !read_whole(b, offset, &mut other[..len])?
            || one[..len] != other[..len]
        {
            return Ok(false);
        }
        offset += len as u64;
    }
    Ok(true)
}

fn same_bytes(file: &File, size: u64, bytes: &[u8]) -> io::Result<bool> {
    if size != bytes.len() as u64 {
        return Ok(false);
    }
    let mut buf = vec![0; COMPARE_LEN.min(bytes.len())];
    for (n, chunk) in bytes.chunks(COMPARE_LEN).enumerate() {
        let buf = &mut buf[..chunk.len()];
        if !read_whole(file, (n * COMPARE_LEN) as u64, buf)? || buf != chunk {
            return Ok(false);
        }
    }
    Ok(true)
}

/// `false` if the file became shorter meanwhile.
fn read_whole(file: &File, offset: u64, buf: &mut [u8]) -> io::Result<bool> {
    match file.read_exact_at(buf, offset) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(e) => Err(e),
    }
}

fn fill(file: &mut File, bytes: &[u8], modified: Timestamp, sync: bool) -> io::Result<()> {
    file.write_all(bytes)?;
    futimens(&*file, &times(modified))?;
    if sync { file.sync_all() } else { Ok(()) }
}

/// Renames only if `to` is free.
fn rename_new(from_dir: &Dir, from: &str, to_dir: &Dir, to: &str) -> rustix::io::Result<()> {
    #[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
    match renameat_with(from_dir, from, to_dir, to, RenameFlags::NOREPLACE) {
        // Some network and FUSE file systems do not know the flag.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {}
        other => return other,
    }
    // A second name is exclusive as well; the first one goes then.
    match linkat(from_dir, from, to_dir, to, AtFlags::empty()) {
        Ok(()) => return rustix::fs::unlinkat(from_dir, from, AtFlags::empty()),
        Err(Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS | Errno::MLINK) => {}
        Err(e) => return Err(e),
    }
    // Neither is there: what remains is a look before. Another program would have to make that
    // very name in between.
    match statat(to_dir, to, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(_) => Err(Errno::EXIST),
        Err(Errno::NOENT) => renameat(from_dir, from, to_dir, to),
        Err(e) => Err(e),
    }
}

#[cfg(target_os = "linux")]
fn sync_disk(dir: &Dir) -> rustix::io::Result<()> {
    rustix::fs::syncfs(dir)
}

#[cfg(not(target_os = "linux"))]
fn sync_disk(_: &Dir) -> rustix::io::Result<()> {
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests;
