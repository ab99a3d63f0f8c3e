//! What need not come, as far as a look at names, sizes and times can tell: for the question
//! whether there is room, before anybody has compared any content.

use std::collections::HashSet;

use super::table::SharedTable;
use crate::config::ConflictPolicy;
use crate::protocol::message::{EntryKind, Timestamp};
use crate::storage::folder::{Existing, Folder};
use crate::storage::name::SafePath;

/// Times closer than this are the same: some file systems count in steps of two seconds.
const SAME_TIME: u64 = 2_000_000_000;

/// What is presumed to be there.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Present {
    /// Bytes that take no room.
    pub bytes: u64,
    /// Entries that need not be made.
    pub entries: u64,
}

/// Looks for the wanted entries of `table` in `folder`: those that are there with the same size and
/// time, and, if `policy` keeps the old ones, all whose names are taken. If that turns out to be
/// wrong the disk is full later, which pauses the transfer. Blocking: a call of the system for each
/// entry.
pub fn present(
    folder: &Folder,
    table: &SharedTable,
    excluded: &HashSet<String>,
    policy: ConflictPolicy,
) -> Present {
    let keeps = matches!(policy, ConflictPolicy::Skip | ConflictPolicy::Fail);
    let len = table.lock().len();
    let mut present = Present::default();
    for index in 0..len {
        let Some(entry) = table.lock().entry(index) else {
            break;
        };
        let top = entry.path.split('/').next().unwrap_or(&entry.path);
        let path = match SafePath::parse(&entry.path) {
            Ok(path) if !excluded.contains(top) => path,
            Ok(_) | Err(_) => continue,
        };
        let there = match (folder.look(&path), &entry.kind) {
            (
                Ok(Existing::File { size, modified }),
                EntryKind::File {
                    size: new,
                    modified: at,
                    ..
                },
            ) => keeps || (size == *new && is_same_time(modified, *at)),
            (Ok(Existing::Folder), EntryKind::Folder { .. }) => true,
            (Ok(_) | Err(_), _) => false,
        };
        if there {
            present.entries += 1;
            present.bytes += match entry.kind {
                EntryKind::File { size, .. } => size,
                EntryKind::Folder { .. } | EntryKind::Symlink { .. } => 0,
            };
        }
    }
    present
}

fn is_same_time(one: Timestamp, other: Timestamp) -> bool {
    one.0.abs_diff(other.0) < SAME_TIME
}
