//! The names at top level of a manifest, summed up as its entries come: a peer that adds entries
//! one by one must not make everything be counted anew each time.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use super::status::{TOP_NAMES_MAX, TopName};
use crate::protocol::message::EntryKind;

/// Top-level names in order of first appearance.
#[derive(Debug, Default)]
pub(super) struct Tops {
    /// Positions by hash: a name costs 16 bytes whatever its length. The hash is keyed at random,
    /// so nobody can choose names that meet.
    positions: HashMap<u64, u32>,
    keys: RandomState,
    /// The last name, as most entries have the same one as the entry before.
    last: Option<(Box<str>, u32)>,
    first: Vec<TopName>,
}

/// The first component of a path as offered.
pub(super) fn top_of(path: &str) -> &str {
    path.split_once('/').map_or(path, |(top, _)| top)
}

impl Tops {
    /// Takes in the next entry. Gives the position of its top-level name.
    pub(super) fn add(&mut self, path: &str, kind: &EntryKind) -> u32 {
        let top = top_of(path);
        let position = self.position(top);
        let below = top.len() < path.len();
        let (size, is_file, is_folder) = match kind {
            EntryKind::File { size, .. } => (*size, true, false),
            EntryKind::Folder { .. } => (0, false, true),
            EntryKind::Symlink { .. } => (0, false, false),
        };
        if let Some(sum) = self.first.get_mut(position as usize) {
            sum.bytes += size;
            if below || is_folder {
                *sum.files.get_or_insert(0) += u32::from(is_file);
            }
        }
        position
    }

    /// The position of a name; a new one for a name not seen before.
    pub(super) fn position(&mut self, top: &str) -> u32 {
        if let Some((last, position)) = &self.last
            && **last == *top
        {
            return *position;
        }
        let new = self.positions.len() as u32;
        let position = *self.positions.entry(self.keys.hash_one(top)).or_insert(new);
        if position == new && self.first.len() < TOP_NAMES_MAX {
            self.first.push(TopName {
                name: top.to_owned(),
                files: None,
                bytes: 0,
            });
        }
        self.last = Some((top.into(), position));
        position
    }

    /// How many there are, and the first [`TOP_NAMES_MAX`].
    pub(super) fn names(&self) -> (u32, Vec<TopName>) {
        (self.positions.len() as u32, self.first.clone())
    }

    /// Bytes of memory, about.
    pub(super) fn memory(&self) -> usize {
        self.positions.capacity() * 16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_follow_the_first_appearance_and_only_the_first_names_are_kept() {
        let mut tops = Tops::default();
        let folder = EntryKind::Symlink { target: "x".into() };
        let names: Vec<String> = (0..30).map(|n| format!("top{n}/x")).collect();
        for (n, name) in (0..).zip(&names) {
            assert_eq!(tops.add(name, &folder), n);
        }
        assert_eq!(tops.add("top7", &folder), 7);
        let (count, first) = tops.names();
        assert_eq!((count, first.len()), (30, TOP_NAMES_MAX));
        assert_eq!(first.last().map(|t| t.name.as_str()), Some("top19"));
    }
}
