//! Files of records: a magic, and then for each record its length (`u32` big-endian), the first
//! eight bytes of the BLAKE3 hash of the payload, and the payload (postcard).

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read, Take, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Most bytes of one record.
pub const RECORD_LEN_MAX: usize = 1024 * 1024;

/// What the first bytes of a file say, and how long it may be.
#[derive(Debug, Clone, Copy)]
pub struct Format {
    /// What it starts with: our name for it and the version of the format.
    pub magic: &'static [u8; 8],
    /// Most bytes in all.
    pub len_max: u64,
}

const CHECK_LEN: usize = 8;
const ENVELOPE_LEN: usize = 4 + CHECK_LEN;

/// Writes a file that is there whole or not at all, readable for its owner only, durable when this
/// returns; one of the same name is replaced. `fill` adds the records. Blocking.
pub fn write(
    path: &Path,
    format: Format,
    fill: impl FnOnce(&mut Sink) -> io::Result<()>,
) -> io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let fresh = path.with_added_extension("new");
    remove_if_there(&fresh)?;
    let mut open = OpenOptions::new();
    let file = open.write(true).create_new(true).mode(0o600).open(&fresh)?;
    let written = fill_file(file, format, fill);
    if let Err(error) = written.and_then(|()| std::fs::rename(&fresh, path)) {
        let _ = std::fs::remove_file(&fresh);
        return Err(error);
    }
    File::open(dir)?.sync_all()
}

fn fill_file(
    file: File,
    format: Format,
    fill: impl FnOnce(&mut Sink) -> io::Result<()>,
) -> io::Result<()> {
    let mut sink = Sink {
        file: BufWriter::with_capacity(64 * 1024, file),
        left: format.len_max,
        bytes: Vec::new(),
    };
    sink.put(format.magic)?;
    fill(&mut sink)?;
    let file = sink.file.into_inner().map_err(|error| error.into_error())?;
    file.sync_all()
}

/// Removes such a file, if there is one; durable. Blocking.
pub fn remove(path: &Path) -> io::Result<()> {
    if remove_if_there(path)?
        && let Some(dir) = path.parent()
    {
        File::open(dir)?.sync_all()?;
    }
    Ok(())
}

fn remove_if_there(path: &Path) -> io::Result<bool> {
    match std::fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Takes the records of a file that is being written.
#[derive(Debug)]
pub struct Sink {
    file: BufWriter<File>,
    left: u64,
    bytes: Vec<u8>,
}

impl Sink {
    /// Adds a record. Fails if it is longer than [`RECORD_LEN_MAX`], or the file would be longer
    /// than it may be.
    pub fn push<T: Serialize>(&mut self, record: &T) -> io::Result<()> {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.clear();
        push_record(&mut bytes, record)?;
        self.put(&bytes)?;
        self.bytes = bytes;
        Ok(())
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        let left = self.left.checked_sub(bytes.len() as u64);
        self.left = left.ok_or(io::ErrorKind::FileTooLarge)?;
        self.file.write_all(bytes)
    }
}

/// Gives the records of a file.
#[derive(Debug)]
pub struct Source {
    from: BufReader<Take<File>>,
    payload: Vec<u8>,
}

impl Source {
    /// Opens a file; `None` if there is none, or one of another kind. Blocking.
    pub fn open(path: &Path, format: Format) -> io::Result<Option<Self>> {
        let file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        let mut from = BufReader::with_capacity(64 * 1024, file.take(format.len_max));
        let mut magic = [0; 8];
        let is_ours = fill(&mut from, &mut magic)? && magic == *format.magic;
        Ok(is_ours.then_some(Self {
            from,
            payload: Vec::new(),
        }))
    }

    /// The next record; `None` at the end or where it is damaged. Blocking.
    pub fn read<T: DeserializeOwned>(&mut self) -> io::Result<Option<T>> {
        let next = next_record(&mut self.from, &mut self.payload)?;
        Ok(next.map(|(record, _)| record))
    }
}

/// Appends a record to `bytes`.
pub(super) fn push_record<T: Serialize>(bytes: &mut Vec<u8>, record: &T) -> io::Result<()> {
    let payload = postcard::to_stdvec(record).map_err(io::Error::other)?;
    if payload.len() > RECORD_LEN_MAX {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "record too long",
        ));
    }
    bytes.extend_from_slice(&(payload.len() as u32).to_be_bytes());
    bytes.extend_from_slice(&checksum(&payload));
    bytes.extend_from_slice(&payload);
    Ok(())
}

/// What a record starts with behind its length. Public for fuzzing.
#[doc(hidden)]
pub fn checksum(payload: &[u8]) -> [u8; CHECK_LEN] {
    let mut prefix = [0; CHECK_LEN];
    blake3::Hasher::new()
        .update(payload)
        .finalize_xof()
        .fill(&mut prefix);
    prefix
}

/// The next record and how many bytes it takes; `None` at the end or where it is damaged.
pub(super) fn next_record<T: DeserializeOwned>(
    from: &mut impl Read,
    payload: &mut Vec<u8>,
) -> io::Result<Option<(T, u64)>> {
    let mut length = [0; 4];
    let mut expected = [0; CHECK_LEN];
    if !fill(from, &mut length)? || !fill(from, &mut expected)? {
        return Ok(None);
    }
    let length = u32::from_be_bytes(length) as usize;
    if length > RECORD_LEN_MAX {
        return Ok(None);
    }
    payload.resize(length, 0);
    if !fill(from, payload)? || checksum(payload) != expected {
        return Ok(None);
    }
    match postcard::take_from_bytes(payload) {
        Ok((record, [])) => Ok(Some((record, (ENVELOPE_LEN + length) as u64))),
        Ok(_) | Err(_) => Ok(None),
    }
}

/// `false` if the file ends before `buf` is full.
pub(super) fn fill(from: &mut impl Read, buf: &mut [u8]) -> io::Result<bool> {
    match from.read_exact(buf) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    const FORMAT: Format = Format {
        magic: b"a test\0\x01",
        len_max: 100,
    };

    fn records(path: &Path) -> Option<Vec<String>> {
        let mut source = Source::open(path, FORMAT).unwrap()?;
        let mut found = Vec::new();
        while let Some(record) = source.read().unwrap() {
            found.push(record);
        }
        Some(found)
    }

    #[test]
    fn what_was_written_is_read_up_to_where_it_is_damaged() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/folder/file");
        assert_eq!(records(&path), None);
        let write_all = |all: &[&str]| {
            write(&path, FORMAT, |sink| {
                all.iter().try_for_each(|record| sink.push(record))
            })
        };
        write_all(&["old"]).unwrap();
        write_all(&["one", "two", "three"]).unwrap();
        assert_eq!(records(&path).unwrap(), ["one", "two", "three"]);
        let mode = path.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let mut bytes = std::fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(records(&path).unwrap(), ["one", "two"]);
        std::fs::write(&path, b"something else").unwrap();
        assert_eq!(records(&path), None);
        remove(&path).unwrap();
        remove(&path).unwrap();
        assert_eq!(records(&path), None);
    }

    #[test]
    fn what_is_too_long_leaves_what_there_was() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        write(&path, FORMAT, |sink| sink.push(&"kept")).unwrap();
        let long = write(&path, FORMAT, |sink| sink.push(&"x".repeat(100)));
        assert_eq!(long.unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        let huge = write(&path, FORMAT, |sink| sink.push(&"x".repeat(RECORD_LEN_MAX)));
        assert_eq!(huge.unwrap_err().kind(), io::ErrorKind::InvalidInput);
        assert_eq!(records(&path).unwrap(), ["kept"]);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
