//! A file without a name, for content that is not verified yet and has no room in memory.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use rustix::fs::Mode;

use super::folder::{Folder, create_file, remove_file};
use super::part::{Part, part_name};

/// Bytes that are copied at once.
const COPY_LEN: usize = 64 * 1024;

/// An open file that nobody else can find: its space is free again when it is dropped, or when the
/// program ends in whatever way.
#[derive(Debug)]
pub struct Scratch(File);

impl Scratch {
    /// An empty one on the disk of `folder`. `tag` as for [`Part::create`]; nobody may use the same
    /// one at the same time.
    pub fn new(folder: &Folder, tag: &str) -> io::Result<Self> {
        let name = part_name("scratch", tag)?;
        let dir = folder.dir("")?;
        let file = create_file(&dir, &name, Mode::RUSR | Mode::WUSR)?;
        remove_file(&dir, &name)?;
        Ok(Self(file))
    }

    /// Writes all of `bytes` at `offset`.
    pub fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    /// Copies the first `len` bytes to `offset` of a part.
    pub fn copy_to(&self, part: &Part, offset: u64, len: u64) -> io::Result<()> {
        let mut buffer = vec![0; COPY_LEN];
        let mut at = 0;
        while at < len {
            let step = (len - at).min(COPY_LEN as u64) as usize;
            let piece = &mut buffer[..step];
            self.0.read_exact_at(piece, at)?;
            part.write_at(offset + at, piece)?;
            at += step as u64;
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use crate::storage::name::SafePath;

    #[test]
    fn what_is_put_aside_has_no_name_and_is_copied_to_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(dir.path()).unwrap();
        let scratch = Scratch::new(&folder, "t").unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        let content: Vec<u8> = (0..150_000u32).map(|n| n as u8).collect();
        scratch.write_at(70_000, &content[70_000..]).unwrap();
        scratch.write_at(0, &content[..70_000]).unwrap();
        let part = Part::create(&folder, &SafePath::parse("x").unwrap(), "t").unwrap();
        part.write_at(0, b"before").unwrap();
        scratch.copy_to(&part, 6, 140_000).unwrap();
        let mut copy = vec![0; 140_006];
        part.read_at(0, &mut copy).unwrap();
        assert_eq!(&copy[..6], b"before");
        assert!(copy[6..] == content[..140_000]);
        assert_eq!(part.identity().unwrap().size, 140_006);
    }
}
