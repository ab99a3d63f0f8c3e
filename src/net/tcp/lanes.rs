//! Which entries go over which connection: files at top level over one, each folder over one of
//! its own, one connection after the other. The sender is told to hold what is not its turn.

use std::collections::{HashSet, VecDeque};

use crate::protocol::message::{Entry, EntryKind, FileIndex};

/// What a connection is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Files at top level.
    Files,
    /// The folder of this name and what is in it.
    Folder(String),
}

/// The entries of one connection.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) purpose: Purpose,
    /// Files whose fate is open.
    pub(super) open: HashSet<FileIndex>,
    /// Those in their order, for letting them come.
    pub(super) files: Vec<FileIndex>,
    /// Folders with their paths, the top one included.
    pub(super) folders: Vec<(FileIndex, String)>,
}

/// What becomes of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Its connection is open: it may come.
    Now,
    /// Its connection is to come.
    Later,
    /// It does not come by itself.
    Never,
}

/// All connections of a link that are not over.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    /// The one that is being made, used or ended.
    pub(super) current: Option<Lane>,
    /// Whether files of the current one may come.
    pub(super) running: bool,
    /// Whether the current one takes no more entries.
    pub(super) ending: bool,
    waiting: VecDeque<Lane>,
}

/// What a path says about the connection of an entry.
fn purpose(entry: &Entry) -> Option<Purpose> {
    match (entry.path.split_once('/'), &entry.kind) {
        (_, EntryKind::Symlink { .. }) => None,
        (Some((top, _)), _) => Some(Purpose::Folder(top.to_owned())),
        (None, EntryKind::Folder { .. }) => Some(Purpose::Folder(entry.path.clone())),
        (None, EntryKind::File { .. }) => Some(Purpose::Files),
    }
}

impl Lanes {
    /// Adds an entry. Links between files are nothing that an original knows.
    pub(super) fn add(&mut self, index: FileIndex, entry: &Entry) -> Place {
        let Some(purpose) = purpose(entry) else {
            return Place::Never;
        };
        let (running, open) = (self.running, !self.ending);
        let current = self.current.as_mut().filter(|_| open);
        let is_folder = matches!(entry.kind, EntryKind::Folder { .. });
        let (lane, now) = match current {
            Some(lane) if lane.purpose == purpose => (lane, running),
            Some(_) | None => (self.waiting_lane(purpose), false),
        };
        if is_folder {
            lane.folders.push((index, entry.path.clone()));
            return Place::Never;
        }
        lane.open.insert(index);
        lane.files.push(index);
        if now { Place::Now } else { Place::Later }
    }

    fn waiting_lane(&mut self, purpose: Purpose) -> &mut Lane {
        let found = self.waiting.iter().position(|lane| lane.purpose == purpose);
        let at = found.unwrap_or_else(|| {
            self.waiting.push_back(Lane {
                purpose,
                open: HashSet::new(),
                files: Vec::new(),
                folders: Vec::new(),
            });
            self.waiting.len() - 1
        });
        &mut self.waiting[at]
    }

    /// The fate of a file is known.
    pub(super) fn close(&mut self, index: FileIndex) {
        for lane in self.current.iter_mut().chain(&mut self.waiting) {
            lane.open.remove(&index);
        }
    }

    /// Whether the fate of a file is open.
    pub(super) fn is_open(&self, index: FileIndex) -> bool {
        let mut lanes = self.current.iter().chain(&self.waiting);
        lanes.any(|lane| lane.open.contains(&index))
    }

    /// Makes the next connection the current one; there must be no other.
    pub(super) fn advance(&mut self) -> Option<&Lane> {
        self.current = self.waiting.pop_front();
        (self.running, self.ending) = (false, false);
        self.current.as_ref()
    }

    /// Whether everything in the current connection is written or given up.
    pub(super) fn is_written(&self) -> bool {
        let written = |lane: &Lane| lane.open.is_empty();
        self.running && !self.ending && self.current.as_ref().is_some_and(written)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use crate::protocol::message::Timestamp;

    fn file(path: &str) -> Entry {
        Entry {
            path: path.into(),
            kind: EntryKind::File {
                size: 1,
                modified: Timestamp(0),
                executable: false,
            },
        }
    }

    fn folder(path: &str) -> Entry {
        Entry {
            path: path.into(),
            kind: EntryKind::Folder {
                modified: Timestamp(0),
            },
        }
    }

    #[test]
    fn each_folder_has_a_connection_and_files_share_one() {
        let mut lanes = Lanes::default();
        assert_eq!(lanes.add(0, &file("a")), Place::Later);
        assert_eq!(lanes.add(1, &folder("d")), Place::Never);
        assert_eq!(lanes.add(2, &file("d/x/y")), Place::Later);
        assert_eq!(lanes.add(3, &file("b")), Place::Later);
        assert_eq!(lanes.advance().unwrap().files, [0, 3]);
        lanes.running = true;
        assert_eq!(lanes.add(4, &file("c")), Place::Now);
        for index in [0, 3, 4] {
            assert!(!lanes.is_written());
            lanes.close(index);
        }
        assert!(lanes.is_written());
        let next = lanes.advance().unwrap();
        assert_eq!(next.purpose, Purpose::Folder("d".into()));
        assert_eq!((&next.files, next.folders.len()), (&vec![2], 1));
        lanes.close(2);
        assert!(lanes.advance().is_none());
    }

    #[test]
    fn what_is_added_to_a_connection_that_ends_gets_a_new_one() {
        let mut lanes = Lanes::default();
        lanes.add(0, &file("a"));
        lanes.advance();
        (lanes.running, lanes.ending) = (true, true);
        assert_eq!(lanes.add(1, &file("b")), Place::Later);
        assert_eq!(lanes.advance().unwrap().files, [1]);
    }
}
