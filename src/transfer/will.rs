//! What a receiver of a session knows in case the origin leaves: its will. That is the hashes of
//! all groups of the files that are still to come, and who has them. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::status::FileState;
use super::table::FileTable;
use crate::net::link::Offence;
use crate::protocol::groups::{FILE_SIZE_MAX, Hash, group_count};
use crate::protocol::message::{FileHeader, FileIndex, HAVE_GROUPS_MAX, TransferId};
use crate::protocol::sessions::{Feeder, HEIRS_MAX, WILL_HASHES_MAX, WillFile};

/// Bytes that a file takes in the map and by itself, beside what it holds.
const FILE_COST: usize = 128;

/// What the origin has said so far.
#[derive(Debug, Default, Clone)]
pub struct Will {
    files: BTreeMap<FileIndex, Arc<Bequest>>,
    hashes: usize,
    /// Hashes that there is memory for.
    capacity: usize,
    /// Who may have the files; empty until the will is complete.
    heirs: Vec<Feeder>,
}

/// A file, as the origin says it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bequest {
    /// What its stream would begin with.
    pub header: FileHeader,
    /// Hashes of its groups, in order.
    pub groups: Vec<Hash>,
}

impl Bequest {
    fn is_whole(&self) -> bool {
        self.groups.len() == group_count(self.header.size) as usize
    }
}

impl Will {
    /// The next hashes of a file. `offered`: its size in the manifest, `None` if it is no file
    /// there.
    pub fn add(
        &mut self,
        transfer: TransferId,
        file: WillFile,
        offered: Option<u64>,
    ) -> Result<(), Offence> {
        let WillFile {
            index,
            size,
            modified,
            stamp,
            first,
            groups,
        } = file;
        offered.ok_or(Offence::NoSuchEntry)?;
        if size > FILE_SIZE_MAX {
            return Err(Offence::FileTooLarge);
        }
        if groups.is_empty() || groups.len() > HAVE_GROUPS_MAX {
            return Err(Offence::WrongGroup);
        }
        let header = FileHeader {
            transfer,
            index,
            size,
            modified,
            stamp,
        };
        if first == 0 {
            let old = self.files.remove(&index);
            if let Some(old) = old {
                self.hashes -= old.groups.len();
                self.capacity -= old.groups.capacity();
            }
        }
        let (told, groups_new) = match self.files.get(&index) {
            Some(known) if known.header != header => return Err(Offence::Contradiction),
            Some(known) => (known.groups.len(), groups),
            None => (0, groups),
        };
        let end = told + groups_new.len();
        if told != first as usize || end > group_count(size) as usize {
            return Err(Offence::WrongGroup);
        }
        self.hashes += groups_new.len();
        if self.hashes > WILL_HASHES_MAX {
            return Err(Offence::WrongGroup);
        }
        let new = || Bequest {
            header,
            groups: Vec::new(),
        };
        let file = self.files.entry(index).or_insert_with(|| Arc::new(new()));
        self.capacity -= file.groups.capacity();
        let known = &mut Arc::make_mut(file).groups;
        known.extend(groups_new);
        self.capacity += known.capacity();
        Ok(())
    }

    /// Who may have the files, instead of those that were named before.
    pub fn name_heirs(&mut self, heirs: Vec<Feeder>) -> Result<(), Offence> {
        let all_members = heirs
            .iter()
            .all(|heir| matches!(heir, Feeder::Member { .. }));
        if heirs.len() > HEIRS_MAX || !all_members {
            return Err(Offence::Contradiction);
        }
        self.heirs = heirs;
        Ok(())
    }

    /// Who may have the files.
    pub fn heirs(&self) -> &[Feeder] {
        &self.heirs
    }

    /// The files.
    pub fn files(&self) -> &BTreeMap<FileIndex, Arc<Bequest>> {
        &self.files
    }

    /// Whether nothing is missing here that the origin would have to say or send.
    pub fn covers(&self, table: &FileTable) -> bool {
        let open = (table.len() - table.settled()) as usize;
        let is_there = |index: FileIndex| {
            matches!(table.state(index), Some(FileState::Settled(_)))
                || self.files.get(&index).is_some_and(|file| file.is_whole())
        };
        !self.heirs.is_empty() && open <= self.files.len() && (0..table.len()).all(is_there)
    }

    /// Bytes of memory that it takes, about.
    pub fn memory(&self) -> usize {
        self.capacity * size_of::<Hash>() + self.files.len() * (size_of::<Bequest>() + FILE_COST)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::protocol::groups::GROUP_LEN;
    use crate::protocol::message::{Entry, EntryKind, Outcome, Receipt, Stamp, Timestamp};
    use crate::protocol::sessions::{FeedingKey, Ticket};

    const ID: TransferId = TransferId([1; 16]);

    fn page(index: FileIndex, groups: u64, first: u32, count: usize) -> WillFile {
        WillFile {
            index,
            size: groups * GROUP_LEN,
            modified: Timestamp(1),
            stamp: Stamp([2; 16]),
            first,
            groups: vec![[3; 32]; count],
        }
    }

    fn heir() -> Feeder {
        let peer = crate::peer::PeerId::from_bytes([4; 32]);
        Feeder::Member {
            member: TransferId([5; 16]),
            peer,
            addrs: Vec::new(),
            ticket: Ticket::new(&FeedingKey([6; 32]), peer),
        }
    }

    fn table(files: u32) -> FileTable {
        let mut table = FileTable::default();
        for n in 0..files {
            let kind = EntryKind::File {
                size: 2 * GROUP_LEN,
                modified: Timestamp(1),
                executable: false,
            };
            let path = format!("f{n}");
            table.push(&Entry { path, kind }).unwrap();
        }
        table
    }

    #[test]
    fn it_covers_what_is_settled_or_known_to_the_last_group() {
        let mut table = table(2);
        let mut will = Will::default();
        let add = |will: &mut Will, page| will.add(ID, page, Some(1)).unwrap();
        add(&mut will, page(0, 2, 0, 1));
        add(&mut will, page(0, 2, 1, 1));
        add(&mut will, page(1, 2, 0, 1));
        assert!(!will.covers(&table), "nobody has it");
        will.name_heirs(vec![heir()]).unwrap();
        assert!(!will.covers(&table), "a group is missing");
        let receipt = Receipt {
            index: 1,
            outcome: Outcome::New,
            saved_as: None,
            hash: None,
        };
        table.settle(&receipt);
        assert!(will.covers(&table));
        // What is told anew counts instead of what was told.
        add(&mut will, page(0, 3, 0, 2));
        assert!(!will.covers(&table));
        add(&mut will, page(0, 3, 2, 1));
        assert!(will.covers(&table));
        assert_eq!(will.hashes, 4);
        let groups = will.files().values().map(|file| file.groups.capacity());
        assert_eq!(will.capacity, groups.sum::<usize>());
        assert!(will.memory() >= will.capacity * size_of::<Hash>() + 2 * FILE_COST);
    }

    #[test]
    fn what_cannot_be_is_an_offence() {
        let mut will = Will::default();
        let mut add = |page, offered| will.add(ID, page, offered);
        assert_eq!(add(page(0, 2, 0, 1), None), Err(Offence::NoSuchEntry));
        assert_eq!(add(page(0, 2, 0, 3), Some(1)), Err(Offence::WrongGroup));
        assert_eq!(add(page(0, 2, 1, 1), Some(1)), Err(Offence::WrongGroup));
        assert_eq!(add(page(0, 2, 0, 0), Some(1)), Err(Offence::WrongGroup));
        let many = HAVE_GROUPS_MAX + 1;
        assert_eq!(
            add(page(0, 2000, 0, many), Some(1)),
            Err(Offence::WrongGroup)
        );
        let huge = WillFile {
            size: FILE_SIZE_MAX + 1,
            ..page(0, 1, 0, 1)
        };
        assert_eq!(add(huge, Some(1)), Err(Offence::FileTooLarge));
        assert_eq!(add(page(0, 3, 0, 1), Some(1)), Ok(()));
        assert_eq!(add(page(0, 4, 1, 1), Some(1)), Err(Offence::Contradiction));
        let most = WILL_HASHES_MAX as u64;
        for first in (0..most).step_by(HAVE_GROUPS_MAX) {
            let page = page(1, most, first as u32, HAVE_GROUPS_MAX);
            let fits = first + (HAVE_GROUPS_MAX as u64) < most;
            assert_eq!(add(page, Some(1)).is_ok(), fits);
        }
        assert!(will.name_heirs(vec![Feeder::Origin]).is_err());
        assert!(will.name_heirs(vec![heir(); HEIRS_MAX + 1]).is_err());
    }
}
