//! A file that is sent: read by position, and watched for changes.

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::ops::ControlFlow;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use super::part::nanoseconds;
use crate::protocol::groups::{GroupHasher, Hash, group_count, group_len, group_offset};
use crate::protocol::message::{SourceFault, Stamp, Timestamp};

/// Bytes that are read at once for hashing: BLAKE3 is at full speed from 64 KiB on.
const READ_LEN: usize = 256 * 1024;

/// An open regular file, and what it was like when it was opened or last refreshed.
#[derive(Debug)]
pub struct SourceFile {
    file: File,
    path: PathBuf,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct State {
    size: u64,
    modified: Timestamp,
    inode: u64,
    device: u64,
}

/// Opens a file to send, see [`SourceFile::open`].
pub fn open(path: &Path) -> Result<SourceFile, SourceFault> {
    SourceFile::open(path)
}

impl SourceFile {
    /// Opens the regular file at `path`. A link as the last component is not followed: `scan`
    /// gives the paths behind links that a person chose, and a file that was replaced by a link
    /// since then is not what was offered. Never waits for a FIFO.
    pub fn open(path: &Path) -> Result<Self, SourceFault> {
        let (file, state) = open_regular(path)?;
        Ok(Self {
            file,
            path: path.to_owned(),
            state,
        })
    }

    /// Size in bytes.
    pub fn size(&self) -> u64 {
        self.state.size
    }

    /// Modification time.
    pub fn modified(&self) -> Timestamp {
        self.state.modified
    }

    /// Fingerprint of size, modification time, inode and device.
    pub fn stamp(&self) -> Stamp {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.state.size.to_le_bytes());
        hasher.update(&self.state.modified.0.to_le_bytes());
        hasher.update(&self.state.inode.to_le_bytes());
        hasher.update(&self.state.device.to_le_bytes());
        let mut stamp = [0; 16];
        hasher.finalize_xof().fill(&mut stamp);
        Stamp(stamp)
    }

    /// Reads at `offset` until `buf` is full or the file ends; gives the number of bytes.
    pub fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize, SourceFault> {
        let mut filled = 0;
        while let Some(rest) = buf.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self
                .file
                .read_at(rest, offset.saturating_add(filled as u64))
            {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(fault(&e)),
            }
        }
        Ok(filled)
    }

    /// Looks again, at the open file and at what its path names now: whether the stamp changed.
    /// If the path names another file, that one is open afterwards. A file that was deleted
    /// meanwhile can still be read and has not changed.
    pub fn refresh(&mut self) -> Result<bool, SourceFault> {
        let mut now = State::of(&self.file.metadata().map_err(|e| fault(&e))?);
        match std::fs::symlink_metadata(&self.path) {
            Ok(named) if State::of(&named).is_same_file(&now) => {}
            Ok(_) => (self.file, now) = open_regular(&self.path)?,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(fault(&e)),
        }
        let changed = now != self.state;
        self.state = now;
        Ok(changed)
    }

    /// Reads the file from start to end and gives the hash of each group, until told to stop.
    /// [`SourceFault::Changing`] if it is shorter than [`Self::size`] by now.
    pub fn hash_groups(
        &self,
        each: &mut dyn FnMut(u32, Hash) -> ControlFlow<()>,
    ) -> Result<(), SourceFault> {
        let size = self.state.size;
        let mut buf = vec![0; READ_LEN.min(usize::try_from(size).unwrap_or(READ_LEN))];
        for group in 0..group_count(size) {
            let mut hasher = GroupHasher::new(size, group);
            let end = group_offset(group) + group_len(size, group);
            let mut offset = group_offset(group);
            while offset < end {
                let len = (end - offset).min(READ_LEN as u64) as usize;
                let piece = &mut buf[..len];
                if self.read_at(offset, piece)? < len {
                    return Err(SourceFault::Changing);
                }
                hasher.update(piece);
                offset += len as u64;
            }
            if each(group, hasher.finish()).is_break() {
                break;
            }
        }
        Ok(())
    }
}

impl State {
    fn of(metadata: &Metadata) -> Self {
        Self {
            size: metadata.len(),
            modified: modified(metadata),
            inode: metadata.ino(),
            device: metadata.dev(),
        }
    }

    fn is_same_file(&self, other: &Self) -> bool {
        (self.inode, self.device) == (other.inode, other.device)
    }
}

/// Modification time of a file or folder.
pub(super) fn modified(metadata: &Metadata) -> Timestamp {
    Timestamp(nanoseconds(metadata.mtime(), metadata.mtime_nsec()))
}

/// The sender's words for an error of its disk.
pub(super) fn fault(error: &io::Error) -> SourceFault {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => SourceFault::Missing,
        io::ErrorKind::PermissionDenied => SourceFault::Unreadable,
        _ => SourceFault::Io,
    }
}

fn open_regular(path: &Path) -> Result<(File, State), SourceFault> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits() as i32)
        .open(path);
    let file = match opened {
        Ok(file) => file,
        // A link or a socket is there now; the file is not.
        Err(e) if is_link_or_socket(&e) => return Err(SourceFault::Missing),
        Err(e) => return Err(fault(&e)),
    };
    let metadata = file.metadata().map_err(|e| fault(&e))?;
    if metadata.is_file() {
        Ok((file, State::of(&metadata)))
    } else {
        Err(SourceFault::Missing)
    }
}

fn is_link_or_socket(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let code = error.raw_os_error();
    code == Some(Errno::LOOP.raw_os_error()) || code == Some(Errno::NXIO.raw_os_error())
}
