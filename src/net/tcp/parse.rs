//! What a sender says between contents, made into entries of ours. Everything here is hostile.

use std::collections::VecDeque;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::{Buf, BytesMut};

use crate::net::link::Offence;
use crate::protocol::groups::FILE_SIZE_MAX;
use crate::protocol::legacy::stream::{DirectoryStep, FileItem, FileStep, Place};
use crate::protocol::message::{Entry, EntryKind, PATH_LEN_MAX, Timestamp};

/// What a connection brings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// Files with plain names.
    Files,
    /// A folder with this name, and what is in it. While it is `hollow`, nothing in it was named.
    Folder { name: String, hollow: bool },
    /// These files, all known before, over a link of a tree: nothing is said between them.
    Tree(VecDeque<(Entry, u64)>),
}

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A file; so many bytes of content follow.
    File(Entry, u64),
    /// A folder.
    Folder(Entry),
    /// Nothing more.
    End,
}

impl Kind {
    /// A folder with this name.
    pub(super) fn folder(name: String) -> Self {
        let hollow = true;
        Self::Folder { name, hollow }
    }

    /// Takes the next step out of `buf`; `None` if it is not whole.
    pub(super) fn step(&mut self, buf: &mut BytesMut) -> Result<Option<Step>, Offence> {
        let decoded = match self {
            Self::Files => {
                as_original_reads(buf);
                FileStep::decode(buf)?.map(|(step, used)| (file_step(step), used))
            }
            Self::Tree(files) => {
                let next = files.pop_front();
                return Ok(Some(
                    next.map_or(Step::End, |(entry, size)| Step::File(entry, size)),
                ));
            }
            Self::Folder { name, hollow } => match DirectoryStep::decode(buf)? {
                // Nothing else says that it is there. Its end comes with the next step.
                Some((DirectoryStep::End, _)) if std::mem::take(hollow) => {
                    return Ok(Some(Step::Folder(folder(name.clone()))));
                }
                decoded => {
                    *hollow &= decoded.is_none();
                    decoded.map(|(step, used)| (folder_step(name, step), used))
                }
            },
        };
        let Some((step, used)) = decoded else {
            return Ok(None);
        };
        buf.advance(used);
        step.map(Some)
    }
}

fn file_step(step: FileStep) -> Result<Step, Offence> {
    match step {
        FileStep::File(item) => {
            let (entry, size) = file_of(&item)?;
            Ok(Step::File(entry, size))
        }
        FileStep::End => Ok(Step::End),
    }
}

/// A file as originals announce it.
pub(super) fn file_of(item: &FileItem) -> Result<(Entry, u64), Offence> {
    if item.seeked != 0 {
        return Err(Offence::NoSuchPart);
    }
    file(component(&item.name)?, item.size)
}

/// Originals take every mark but 00 for "another file".
fn as_original_reads(buf: &mut BytesMut) {
    if let Some(mark) = buf.first_mut().filter(|mark| **mark != 0) {
        *mark = 1;
    }
}

fn folder_step(top: &str, step: DirectoryStep) -> Result<Step, Offence> {
    match step {
        DirectoryStep::Folder(place) => Ok(Step::Folder(folder(path_of(top, &place)?))),
        DirectoryStep::File(place, size) => {
            let (entry, size) = file(path_of(top, &place)?, size)?;
            Ok(Step::File(entry, size))
        }
        DirectoryStep::End => Ok(Step::End),
    }
}

fn folder(path: String) -> Entry {
    let kind = EntryKind::Folder { modified: now() };
    Entry { path, kind }
}

/// A file of this size.
fn file(path: String, size: u64) -> Result<(Entry, u64), Offence> {
    if size > FILE_SIZE_MAX {
        return Err(Offence::FileTooLarge);
    }
    let kind = EntryKind::File {
        size,
        // The protocol says nothing about the time: it is as new as it comes.
        modified: now(),
        executable: false,
    };
    Ok((Entry { path, kind }, size))
}

fn path_of(top: &str, place: &Place) -> Result<String, Offence> {
    let mut path = top.to_owned();
    let parents = place.parent.split('/').filter(|_| place.parent != ".");
    for part in parents.chain([place.name.as_str()]) {
        path.push('/');
        path.push_str(&component(part)?);
    }
    match path.len() <= PATH_LEN_MAX {
        true => Ok(path),
        false => Err(Offence::PathsTooLong),
    }
}

/// One component of a path, as the original's receivers read it; one that is more than that is
/// what no honest sender sends.
pub(super) fn component(name: &str) -> Result<String, Offence> {
    if name.len() > PATH_LEN_MAX {
        return Err(Offence::PathsTooLong);
    }
    match name {
        "" | "." | ".." => Err(Offence::BadName),
        name if name.contains(['/', '\0']) => Err(Offence::BadName),
        name => Ok(name.replace('\\', "_")),
    }
}

/// The time that stands for the one which the protocol does not carry.
pub(super) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    Timestamp(since.map_or(0, |since| since.as_nanos() as i64))
}

/// Finds the entries in bytes that are put aside, so that a person can be told what is coming.
#[derive(Debug)]
pub(super) struct Scout {
    kind: Kind,
    buf: BytesMut,
    /// Bytes of content until the next step.
    skip: u64,
    /// Files that have begun.
    begun: u32,
    ended: bool,
}

impl Scout {
    pub(super) fn new(kind: Kind) -> Self {
        Self {
            kind,
            buf: BytesMut::new(),
            skip: 0,
            begun: 0,
            ended: false,
        }
    }

    /// Whether the sender has said that nothing more comes.
    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    /// Whether a file has come whole.
    pub(super) fn has_whole(&self) -> bool {
        self.begun > u32::from(self.skip > 0)
    }

    /// Content of the current file that is still to come.
    pub(super) fn left(&self) -> u64 {
        self.skip
    }

    /// The entries that begin in these bytes, which follow those before.
    pub(super) fn feed(&mut self, mut bytes: &[u8]) -> Result<Vec<Entry>, Offence> {
        let mut found = Vec::new();
        loop {
            let skipped = (bytes.len() as u64).min(self.skip);
            bytes.advance(skipped as usize);
            self.skip -= skipped;
            if self.skip > 0 || self.ended {
                return Ok(found);
            }
            self.buf.extend_from_slice(bytes);
            bytes = &[];
            loop {
                let skipped = (self.buf.len() as u64).min(self.skip);
                self.buf.advance(skipped as usize);
                self.skip -= skipped;
                if self.skip > 0 {
                    break;
                }
                match self.kind.step(&mut self.buf)? {
                    None => return Ok(found),
                    Some(Step::File(entry, size)) => {
                        self.skip = size;
                        self.begun = self.begun.saturating_add(1);
                        found.push(entry);
                    }
                    Some(Step::Folder(entry)) => found.push(entry),
                    Some(Step::End) => {
                        self.ended = true;
                        return Ok(found);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn files(names: &[String]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for name in names {
            let item = FileItem {
                name: name.clone(),
                size: name.len() as u64,
                seeked: 0,
            };
            bytes.extend(FileStep::File(item).encode().unwrap());
            bytes.extend(name.as_bytes());
        }
        bytes.extend(FileStep::End.encode().unwrap());
        bytes
    }

    #[test]
    fn a_scout_knows_whether_a_file_is_whole() {
        let bytes = files(&["four".into(), "fives".into()]);
        let first = bytes.windows(5).position(|w| w == b"fives").unwrap();
        let mut scout = Scout::new(Kind::Files);
        let cut = bytes.windows(4).rposition(|w| w == b"four").unwrap() + 3;
        scout.feed(&bytes[..cut]).unwrap();
        assert!(!scout.has_whole());
        scout.feed(&bytes[cut..=cut]).unwrap();
        assert!(scout.has_whole());
        // The next one has begun, and does not change that.
        scout.feed(&bytes[cut + 1..first + 6]).unwrap();
        assert!(scout.has_whole());
        let mut empty = Scout::new(Kind::Files);
        empty.feed(&files(&[])).unwrap();
        assert!(!empty.has_whole());
    }

    #[test]
    fn a_folder_is_named_by_itself_only_if_nothing_is_in_it() {
        let place = Place {
            parent: ".".into(),
            name: "in".into(),
        };
        let inner = DirectoryStep::Folder(place).encode().unwrap();
        let end = DirectoryStep::End.encode().unwrap();
        for (steps, expected) in [(vec![], "d"), (inner, "d/in")] {
            let bytes = [steps, end.clone(), b"next".to_vec()].concat();
            let mut buf = BytesMut::from(bytes.as_slice());
            let mut kind = Kind::folder("d".into());
            let first = kind.step(&mut buf).unwrap();
            assert!(matches!(first, Some(Step::Folder(entry)) if entry.path == expected));
            assert_eq!(kind.step(&mut buf).unwrap(), Some(Step::End));
            assert_eq!(buf, b"next"[..]);
        }
    }

    proptest! {
        #[test]
        fn a_scout_finds_every_name_however_the_bytes_are_cut(
            names in prop::collection::vec("[a-z]{1,30}", 0..20),
            cuts in prop::collection::vec(1usize..50, 0..60),
        ) {
            let bytes = files(&names);
            let mut scout = Scout::new(Kind::Files);
            let (mut rest, mut found) = (bytes.as_slice(), Vec::new());
            for cut in cuts.into_iter().chain([usize::MAX]) {
                let (now, later) = rest.split_at(cut.min(rest.len()));
                found.extend(scout.feed(now).unwrap());
                rest = later;
            }
            let found: Vec<String> = found.into_iter().map(|entry| entry.path).collect();
            prop_assert_eq!(found, names);
            prop_assert!(scout.has_ended());
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            for kind in [Kind::Files, Kind::folder("d".into())] {
                let _ = Scout::new(kind).feed(&bytes);
            }
        }

        #[test]
        fn what_is_called_a_component_is_one(name: String) {
            if let Ok(component) = component(&name) {
                let parts: Vec<_> = std::path::Path::new(&component).components().collect();
                prop_assert_eq!(parts.len(), 1);
                prop_assert!(matches!(parts[0], std::path::Component::Normal(_)));
            }
        }
    }
}
