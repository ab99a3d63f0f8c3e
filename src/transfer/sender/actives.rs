//! Files that are being sent.

use std::collections::HashMap;

use tokio::task::{AbortHandle, Id};

use crate::protocol::message::FileIndex;
use crate::transfer::pauses::Pauses;

/// The tasks of files that are being sent.
#[derive(Debug, Default)]
pub(super) struct Actives {
    files: HashMap<FileIndex, Active>,
    large: usize,
}

#[derive(Debug)]
struct Active {
    task: AbortHandle,
    large: bool,
}

/// Files that hold a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Moving {
    pub(super) large: usize,
    pub(super) small: usize,
}

impl Actives {
    pub(super) fn insert(&mut self, index: FileIndex, task: AbortHandle, large: bool) {
        self.take(index);
        self.large += usize::from(large);
        self.files.insert(index, Active { task, large });
    }

    /// This task of the file has ended. `false` if it was given up before, whether or not another
    /// one has taken its place.
    pub(super) fn ended(&mut self, index: FileIndex, task: Id) -> bool {
        let active = self.files.get(&index);
        let is_this = active.is_some_and(|active| active.task.id() == task);
        is_this && self.take(index).is_some()
    }

    /// Ends the task, if there is one.
    pub(super) fn abort(&mut self, index: FileIndex) {
        if let Some(active) = self.take(index) {
            active.task.abort();
        }
    }

    fn take(&mut self, index: FileIndex) -> Option<Active> {
        let active = self.files.remove(&index)?;
        self.large -= usize::from(active.large);
        Some(active)
    }

    pub(super) fn contains(&self, index: FileIndex) -> bool {
        self.files.contains_key(&index)
    }

    /// Those of several groups.
    pub(super) fn large(&self) -> Vec<FileIndex> {
        let large = self.files.iter().filter(|(_, active)| active.large);
        large.map(|(index, _)| *index).collect()
    }

    pub(super) fn indices(&self) -> impl Iterator<Item = FileIndex> {
        self.files.keys().copied()
    }

    /// Asked before every file, so it must not look at all of them unless it has to. Files that
    /// are paused by themselves hold no place.
    pub(super) fn moving(&self, pauses: &Pauses) -> Moving {
        let mut large = self.large;
        let mut all = self.files.len();
        if pauses.has_any() {
            for (_, active) in self.files.iter().filter(|(i, _)| pauses.has(**i)) {
                large -= usize::from(active.large);
                all -= 1;
            }
        }
        let small = all - large;
        Moving { large, small }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use crate::protocol::message::Scope;
    use crate::transfer::status::PausedBy;

    #[tokio::test]
    async fn paused_files_hold_no_place_and_ended_ones_give_it_back() {
        let task = || tokio::spawn(async {}).abort_handle();
        let mut active = Actives::default();
        for index in 0..5 {
            active.insert(index, task(), index < 2);
        }
        let mut pauses = Pauses::default();
        let places = |active: &Actives, pauses: &Pauses| {
            let Moving { large, small } = active.moving(pauses);
            (large, small)
        };
        assert_eq!(places(&active, &pauses), (2, 3));
        for paused in [0, 4, 9] {
            pauses.pause(Scope::File(paused), PausedBy::Us);
        }
        assert_eq!(places(&active, &pauses), (1, 2));
        active.abort(0);
        let third = active.files[&3].task.id();
        assert!(active.ended(3, third) && !active.ended(3, third));
        active.insert(2, task(), true);
        assert_eq!(places(&active, &Pauses::default()), (2, 1));
    }

    #[tokio::test]
    async fn the_end_of_a_task_that_was_given_up_is_not_that_of_the_next_one() {
        let task = || tokio::spawn(async {}).abort_handle();
        let mut active = Actives::default();
        let (first, second) = (task(), task());
        let (gone, now) = (first.id(), second.id());
        active.insert(7, first, true);
        active.abort(7);
        active.insert(7, second, true);
        assert!(!active.ended(7, gone) && active.contains(7));
        assert!(active.ended(7, now) && !active.contains(7));
        assert_eq!(active.large, 0);
    }
}
