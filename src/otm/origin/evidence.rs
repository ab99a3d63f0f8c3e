//! What the origin knows of a feeder, and tells its person.

use std::mem::replace;

use super::Origin;
use crate::otm::tree::{Shortcoming, Trouble};
use crate::protocol::groups::{GROUP_LEN, group_offset};
use crate::protocol::message::{FileIndex, Outcome, TransferId};
use crate::transfer::control::News;
use crate::transfer::feed::FETCHING_MAX;
use crate::transfer::shelf::FILES_MAX;
use crate::transfer::status::{FileRow, FileState};

/// Groups of a file that a receiver fetches at once may come in any order.
const ANY_ORDER: u64 = FETCHING_MAX as u64 * GROUP_LEN;

impl Origin {
    /// What is wrong, as far as one child's word for it is enough: that something is withheld it
    /// can only say of what the feeder has.
    pub(super) fn known(&self, child: TransferId, feeder: TransferId, trouble: Trouble) -> Trouble {
        match trouble {
            Trouble::Withheld { index, group, .. } if !self.has(feeder, child, index, group) => {
                Trouble::Slow
            }
            Trouble::Withheld { .. } | Trouble::Gone | Trouble::Slow | Trouble::Lied => trouble,
        }
    }

    /// Whether a feeder has for certain this group of what the child knows by this number.
    fn has(&self, feeder: TransferId, child: TransferId, index: FileIndex, group: u32) -> bool {
        let (Some(feeder), Some(child)) = (self.members.get(&feeder), self.members.get(&child))
        else {
            return false;
        };
        // One after the other: they may be the same.
        let wanted = child.joined.table.get();
        let wanted = wanted.and_then(|table| table.lock().entry(index));
        let Some(table) = feeder.joined.table.get() else {
            return false;
        };
        let (entry, row, entries, sent) = {
            let table = table.lock();
            let sent = table.totals().bytes_done;
            (table.entry(index), table.row(index), table.len(), sent)
        };
        let part = Part {
            entries: entries as usize,
            is_new: feeder.joined.done == 0,
            under_way: sent.saturating_sub(feeder.done),
        };
        let same = wanted.is_some() && entry == wanted;
        same && row.is_some_and(|row| part.holds(&row, group))
    }

    /// Tells people who does not pass on what it has, and whom the others cannot reach, as soon as
    /// that is known, and when it is over. Those who do not are nobody's heirs.
    pub(super) async fn tell_shortcomings(&mut self) {
        let now = self.tree.shortcomings(self.now());
        if now == self.short {
            return;
        }
        let before = replace(&mut self.short, now);
        let all = before.keys().chain(self.short.keys());
        let is_other = |id: &&TransferId| before.get(*id) != self.short.get(*id);
        let mut changed: Vec<TransferId> = all.filter(is_other).copied().collect();
        changed.sort_unstable();
        changed.dedup();
        for id in changed {
            let short = self.short.get(&id).copied();
            tracing::debug!(member = %id.short(), ?short, "passes nothing on");
            let Some(member) = self.members.get(&id) else {
                continue;
            };
            member.reporter.tell(News::Shortcoming(short)).await;
            if short == Some(Shortcoming::Withholds) && member.complete.is_some() {
                self.name_others_to_all();
            }
        }
    }
}

/// What is known of all that goes to a receiver.
struct Part {
    entries: usize,
    /// All of it came over this link: what it got earlier it may know by another name.
    is_new: bool,
    /// Bytes that were sent, and of which it has not said yet that it has them.
    under_way: u64,
}

impl Part {
    /// Whether the receiver has this group of a file for certain, and can give it.
    fn holds(&self, row: &FileRow, group: u32) -> bool {
        match row.state {
            // Of more files it forgets some.
            FileState::Settled(Outcome::New | Outcome::Renamed | Outcome::Overwritten) => {
                self.entries <= FILES_MAX
            }
            // What was there before it does not know by the name that is asked for.
            FileState::Settled(Outcome::Identical | Outcome::Skipped | Outcome::Failed(_)) => false,
            FileState::Active | FileState::Waiting => {
                let end = group_offset(group) + GROUP_LEN;
                let least = end.saturating_add(ANY_ORDER).saturating_add(self.under_way);
                self.is_new && row.bytes_done >= least
            }
            FileState::Checking | FileState::Paused | FileState::Asking => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::message::SinkFault;
    use crate::transfer::status::RowKind;

    fn row(state: FileState, done: u64) -> FileRow {
        FileRow {
            index: 0,
            path: "big".into(),
            kind: RowKind::File,
            bytes: 100 * GROUP_LEN,
            bytes_done: done * GROUP_LEN,
            state,
            saved_as: None,
            hash: None,
        }
    }

    fn part(entries: usize, is_new: bool, under_way: u64) -> Part {
        let under_way = under_way * GROUP_LEN;
        Part {
            entries,
            is_new,
            under_way,
        }
    }

    #[test]
    fn a_receiver_can_give_what_it_has_saved_and_what_it_got_long_enough_ago() {
        let settled = |outcome| row(FileState::Settled(outcome), 100);
        assert!(part(1, false, 0).holds(&settled(Outcome::New), 99));
        assert!(part(FILES_MAX, true, 9).holds(&settled(Outcome::Renamed), 0));
        assert!(!part(FILES_MAX + 1, true, 0).holds(&settled(Outcome::New), 0));
        for outcome in [
            Outcome::Identical,
            Outcome::Skipped,
            Outcome::Failed(SinkFault::Cancelled),
        ] {
            assert!(!part(1, true, 0).holds(&settled(outcome), 0), "{outcome:?}");
        }
        let active = row(FileState::Active, 20);
        assert!(part(1, true, 0).holds(&active, 13));
        assert!(
            !part(1, true, 0).holds(&active, 14),
            "another may have come first"
        );
        assert!(part(1, true, 3).holds(&active, 10));
        assert!(!part(1, true, 3).holds(&active, 11), "it may be on its way");
        assert!(!part(1, false, 0).holds(&active, 0), "of an earlier run");
        for state in [FileState::Paused, FileState::Asking, FileState::Checking] {
            assert!(!part(1, true, 0).holds(&row(state, 100), 0), "{state:?}");
        }
    }
}
