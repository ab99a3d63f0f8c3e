//! What flows put aside on the disk, and how much that may be in all.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use crate::net::tcp::spool::nameless;

/// What all trees together may put aside: nobody has agreed to most of it.
const ASIDE_MAX: u64 = 2 * 1024 * 1024 * 1024;

/// Where flows put aside what does not fit the memory. Cheap to clone: all clones share its room.
#[derive(Debug, Clone)]
pub(in crate::net::tcp) struct Aside {
    dir: PathBuf,
    left: Arc<AtomicU64>,
}

impl Aside {
    /// In nameless files in `dir`.
    pub(in crate::net::tcp) fn new(dir: PathBuf) -> Self {
        Self::of(dir, ASIDE_MAX)
    }

    /// With room for so many bytes.
    pub(super) fn of(dir: PathBuf, room: u64) -> Self {
        let left = Arc::new(AtomicU64::new(room));
        Self { dir, left }
    }

    fn take(&self, bytes: u64) -> io::Result<()> {
        let less = |left: u64| left.checked_sub(bytes);
        let taken = self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        taken.map(drop).map_err(|_| {
            let why = "too much is kept for others already";
            io::Error::new(io::ErrorKind::StorageFull, why)
        })
    }

    fn give_back(&self, bytes: u64) {
        self.left.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Bytes for which there is room.
    #[cfg(test)]
    pub(super) fn left(&self) -> u64 {
        self.left.load(Ordering::Relaxed)
    }

    fn dir(&self) -> &Path {
        &self.dir
    }
}

/// The last bytes of a flow that have left its memory, in a file that is written round and round.
#[derive(Debug)]
pub(super) struct Ring {
    file: File,
    len: u64,
    /// Position in the flow of the first byte.
    from: u64,
    /// Room that it has.
    taken: AtomicU64,
    aside: Aside,
}

impl Ring {
    /// Holds `len` bytes, beginning with the one at `from`.
    pub(super) fn create(aside: Aside, len: u64, from: u64) -> io::Result<Self> {
        Ok(Self {
            file: nameless(aside.dir())?,
            len,
            from,
            taken: AtomicU64::new(0),
            aside,
        })
    }

    /// Writes what follows what was written before. One caller at a time. Blocking.
    pub(super) fn put(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        let used = (at + bytes.len() as u64 - self.from).min(self.len);
        let taken = self.taken.load(Ordering::Relaxed);
        if used > taken {
            self.aside.take(used - taken)?;
            self.taken.store(used, Ordering::Relaxed);
        }
        let start = at % self.len;
        let to_end = usize::try_from(self.len - start).unwrap_or(usize::MAX);
        let (first, rest) = bytes.split_at(bytes.len().min(to_end));
        self.file.write_all_at(first, start)?;
        self.file.write_all_at(rest, 0)
    }

    /// Bytes from `at` on, at least one of these `most` (not 0), which must have been put.
    /// Cancel-safe.
    pub(super) async fn read(self: Arc<Self>, at: u64, most: u64) -> io::Result<Bytes> {
        let start = at % self.len;
        let len = usize::try_from(most.min(self.len - start)).unwrap_or(usize::MAX);
        let work = move || {
            let mut bytes = vec![0; len];
            self.file.read_exact_at(&mut bytes, start)?;
            Ok(Bytes::from(bytes))
        };
        let read = tokio::task::spawn_blocking(work).await;
        read.map_err(io::Error::other)?
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        self.aside.give_back(self.taken.load(Ordering::Relaxed));
    }
}
