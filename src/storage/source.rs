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
        let now = match std::fs::symlink_metadata(&self.path).map(|named| State::of(&named)) {
            // Numbers of files are used again, but not while one is open.
            Ok(named) if named.is_same_file(&self.state) => named,
            Ok(_) => {
                let (file, now) = open_regular(&self.path)?;
                self.file = file;
                now
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                State::of(&self.file.metadata().map_err(|e| fault(&e))?)
            }
            Err(e) => return Err(fault(&e)),
        };
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
    use io::ErrorKind as Kind;
    if matches!(error.kind(), Kind::NotFound | Kind::NotADirectory) {
        SourceFault::Missing
    } else if error.kind() == Kind::PermissionDenied {
        SourceFault::Unreadable
    } else {
        SourceFault::Io
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

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use crate::protocol::groups::{GROUP_LEN, file_hash};
    use std::io::Write;
    use std::os::unix::fs::symlink;
    use std::time::{Duration, UNIX_EPOCH};

    fn file(dir: &Path, content: &[u8]) -> PathBuf {
        let path = dir.join("file");
        std::fs::write(&path, content).unwrap();
        let time = UNIX_EPOCH + Duration::from_secs(1000);
        File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_modified(time)
            .unwrap();
        path
    }

    #[test]
    fn reading_ends_where_the_file_ends() {
        let dir = tempfile::tempdir().unwrap();
        let source = open(&file(dir.path(), b"0123456789")).unwrap();
        assert_eq!(
            (source.size(), source.modified().0),
            (10, 1_000_000_000_000)
        );
        let mut buf = [0; 4];
        assert_eq!(source.read_at(8, &mut buf), Ok(2));
        assert_eq!(&buf[..2], b"89");
        assert_eq!(source.read_at(10, &mut buf), Ok(0));
        assert_eq!(source.read_at(1 << 40, &mut buf), Ok(0));
    }

    #[test]
    fn only_regular_files_are_sources_and_nothing_waits() {
        let dir = tempfile::tempdir().unwrap();
        let path = file(dir.path(), b"x");
        let fault = |path: &Path| open(path).err();
        assert_eq!(
            fault(&dir.path().join("nothing")),
            Some(SourceFault::Missing)
        );
        assert_eq!(fault(&path.join("below")), Some(SourceFault::Missing));
        assert_eq!(fault(dir.path()), Some(SourceFault::Missing));
        let link = dir.path().join("link");
        symlink(&path, &link).unwrap();
        assert_eq!(fault(&link), Some(SourceFault::Missing));
        let fifo = dir.path().join("fifo");
        let mode = rustix::fs::Mode::RUSR;
        let kind = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, kind, mode, 0).unwrap();
        assert_eq!(fault(&fifo), Some(SourceFault::Missing));
        let socket = dir.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        assert_eq!(fault(&socket), Some(SourceFault::Missing));
    }

    #[test]
    fn growing_shrinking_and_replacing_change_the_stamp() {
        let dir = tempfile::tempdir().unwrap();
        let path = file(dir.path(), b"0123456789");
        let mut source = open(&path).unwrap();
        let first = source.stamp();
        assert_eq!(source.refresh(), Ok(false));
        let writer = File::options().append(true).open(&path).unwrap();
        (&writer).write_all(b"ab").unwrap();
        assert_eq!(source.refresh(), Ok(true));
        assert_eq!(source.size(), 12);
        let grown = source.stamp();
        writer.set_len(5).unwrap();
        assert_eq!(source.refresh(), Ok(true));
        assert_eq!(source.size(), 5);
        assert_ne!(source.stamp(), grown);
        // Another file of the first one's size and time.
        let other = dir.path().join("other");
        std::fs::create_dir(&other).unwrap();
        std::fs::rename(file(&other, b"abcdefghij"), &path).unwrap();
        assert_eq!(source.refresh(), Ok(true));
        assert_ne!(source.stamp(), first);
        let mut buf = [0; 3];
        assert_eq!(source.read_at(0, &mut buf), Ok(3));
        assert_eq!(&buf, b"abc", "the new file is open");
        assert_eq!(source.refresh(), Ok(false));
    }

    #[test]
    fn a_write_of_the_same_length_changes_the_stamp() {
        let dir = tempfile::tempdir().unwrap();
        let path = file(dir.path(), b"0123456789");
        let mut source = open(&path).unwrap();
        std::fs::write(&path, b"9876543210").unwrap();
        assert_eq!(source.refresh(), Ok(true));
    }

    #[test]
    fn a_deleted_file_can_be_read_to_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = file(dir.path(), b"text");
        let mut source = open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(source.refresh(), Ok(false));
        let mut buf = [0; 4];
        assert_eq!(source.read_at(0, &mut buf), Ok(4));
        std::fs::create_dir(&path).unwrap();
        assert_eq!(source.refresh(), Err(SourceFault::Missing));
    }

    #[test]
    fn group_hashes_make_the_hash_of_the_file() {
        let dir = tempfile::tempdir().unwrap();
        for size in [0, 1, GROUP_LEN, 2 * GROUP_LEN + 77] {
            let content: Vec<u8> = (0..size).map(|i| (i / 253 + i) as u8).collect();
            let source = open(&file(dir.path(), &content)).unwrap();
            let mut hashes = Vec::new();
            let each = &mut |group, hash| {
                assert_eq!(group as usize, hashes.len());
                hashes.push(hash);
                ControlFlow::Continue(())
            };
            source.hash_groups(each).unwrap();
            assert_eq!(
                file_hash(size, &hashes),
                Some(*blake3::hash(&content).as_bytes())
            );
        }
    }

    #[test]
    fn hashing_stops_when_told_and_notices_a_shorter_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = file(dir.path(), &vec![1; 3 * GROUP_LEN as usize]);
        let source = open(&path).unwrap();
        let mut seen = 0;
        let stop = &mut |_, _| {
            seen += 1;
            ControlFlow::Break(())
        };
        assert_eq!(source.hash_groups(stop), Ok(()));
        assert_eq!(seen, 1);
        File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_len(GROUP_LEN + 1)
            .unwrap();
        let go_on = &mut |_, _| ControlFlow::Continue(());
        assert_eq!(source.hash_groups(go_on), Err(SourceFault::Changing));
    }
}
