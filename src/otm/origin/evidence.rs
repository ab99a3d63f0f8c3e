//! What the origin knows of a feeder, and tells its person.

use std::mem::replace;

use super::Origin;
use crate::otm::tree::{Shortcoming, Trouble};
use crate::protocol::message::{FileIndex, Outcome, TransferId};
use crate::protocol::sessions::GroupRun;
use crate::transfer::control::News;
use crate::transfer::shelf::FILES_MAX;
use crate::transfer::status::{FileRow, FileState};

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
        let (entry, row, entries) = {
            let table = table.lock();
            (table.entry(index), table.row(index), table.len())
        };
        let named = {
            let holding = feeder.joined.holding.get();
            let part = holding.part(index);
            part.is_some_and(|part| part.runs.iter().any(|run| has_group(run, group)))
        };
        let same = wanted.is_some() && entry == wanted;
        same && row.is_some_and(|row| holds(&row, entries as usize, named))
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
            let gives = match short {
                None | Some(Shortcoming::OutOfReach | Shortcoming::Doubted) => true,
                Some(Shortcoming::Withholds | Shortcoming::Denies) => false,
            };
            if !gives && member.complete.is_some() {
                self.name_others_to_all();
            }
        }
    }
}

fn has_group(run: &GroupRun, group: u32) -> bool {
    (run.first..run.end()).contains(&group)
}

/// Whether a receiver of so many entries has a group of this file for certain, and can give it.
/// `named`: it has said so of a file that is not complete there. That it has got much of the file
/// says nothing about one group: what somebody else refused it comes last.
fn holds(row: &FileRow, entries: usize, named: bool) -> bool {
    match row.state {
        // Of more files it forgets some.
        FileState::Settled(Outcome::New | Outcome::Renamed | Outcome::Overwritten) => {
            entries <= FILES_MAX
        }
        // What was there before it does not know by the name that is asked for.
        FileState::Settled(Outcome::Identical | Outcome::Skipped | Outcome::Failed(_)) => false,
        FileState::Active | FileState::Waiting => named,
        FileState::Checking | FileState::Paused | FileState::Asking => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::message::SinkFault;
    use crate::transfer::status::RowKind;

    fn row(state: FileState) -> FileRow {
        FileRow {
            index: 0,
            path: "big".into(),
            kind: RowKind::File,
            bytes: 100,
            bytes_done: 50,
            state,
            saved_as: None,
            hash: None,
        }
    }

    #[test]
    fn a_receiver_can_give_what_it_has_saved_and_what_it_says_it_holds() {
        let settled = |outcome| row(FileState::Settled(outcome));
        assert!(holds(&settled(Outcome::New), FILES_MAX, false));
        assert!(holds(&settled(Outcome::Renamed), 1, false));
        assert!(!holds(&settled(Outcome::New), FILES_MAX + 1, true));
        for outcome in [
            Outcome::Identical,
            Outcome::Skipped,
            Outcome::Failed(SinkFault::Cancelled),
        ] {
            assert!(!holds(&settled(outcome), 1, true), "{outcome:?}");
        }
        assert!(holds(&row(FileState::Active), 1, true));
        assert!(!holds(&row(FileState::Active), 1, false));
        for state in [FileState::Paused, FileState::Asking, FileState::Checking] {
            assert!(!holds(&row(state), 1, true), "{state:?}");
        }
        let run = GroupRun { first: 3, count: 2 };
        assert_eq!(
            [2, 3, 4, 5].map(|group| has_group(&run, group)),
            [false, true, true, false]
        );
    }
}
