//! Bytes that came before anybody agreed to them, in a file without a name: whatever happens to
//! this program, nothing of it stays.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use bytes::BytesMut;
use rustix::fs::{Mode, OFlags};

/// What was put aside, read once from its beginning.
#[derive(Debug)]
pub(super) struct Spool {
    file: Arc<File>,
    read: u64,
    written: u64,
}

impl Spool {
    /// An empty one in `dir`.
    pub(super) fn create(dir: &Path) -> io::Result<Self> {
        Ok(Self {
            file: Arc::new(nameless(dir)?),
            read: 0,
            written: 0,
        })
    }

    /// Bytes that were put in, in all.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// Whether everything was read.
    pub(super) fn is_read(&self) -> bool {
        self.read == self.written
    }

    /// Puts bytes at the end. Blocking, for as long as copying them takes.
    pub(super) fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, self.written)?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    /// Reads at most `most` bytes into `buf`. Cancel-safe.
    pub(super) async fn take(&mut self, most: usize, buf: &mut BytesMut) -> io::Result<()> {
        let len = (self.written - self.read).min(most as u64) as usize;
        let (file, at) = (self.file.clone(), self.read);
        let work = move || {
            let mut bytes = vec![0; len];
            file.read_exact_at(&mut bytes, at)?;
            Ok::<_, io::Error>(bytes)
        };
        let bytes = tokio::task::spawn_blocking(work).await;
        buf.extend_from_slice(&bytes.map_err(io::Error::other)??);
        self.read += len as u64;
        Ok(())
    }
}

/// A file in `dir` that has no name, for reading and writing.
pub(super) fn nameless(dir: &Path) -> io::Result<File> {
    let mode = Mode::RUSR | Mode::WUSR;
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    let file = match rustix::fs::open(dir, flags | OFlags::TMPFILE, mode) {
        Ok(file) => file,
        // Some file systems cannot make nameless files: then it loses its name at once.
        Err(_) => {
            let name = format!(".quarantine-{}-{}", std::process::id(), unique());
            let path = dir.join(name);
            let file = rustix::fs::open(&path, flags | OFlags::CREATE | OFlags::EXCL, mode)?;
            std::fs::remove_file(&path)?;
            file
        }
    };
    Ok(file.into())
}

fn unique() -> u128 {
    let now = std::time::SystemTime::now();
    now.duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.as_nanos())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_put_aside_comes_back_in_order_and_has_no_name() {
        let dir = tempfile::tempdir().unwrap();
        let mut spool = Spool::create(dir.path()).unwrap();
        spool.put(b"hello ").unwrap();
        spool.put(b"world").unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        let mut buf = BytesMut::new();
        while !spool.is_read() {
            spool.take(4, &mut buf).await.unwrap();
        }
        assert_eq!(&buf[..], b"hello world");
    }
}
