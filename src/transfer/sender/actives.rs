//! Files that are being sent.

use std::collections::HashMap;

use tokio::task::{AbortHandle, Id};

use crate::protocol::groups::GROUP_LEN;
use crate::protocol::message::FileIndex;
use crate::transfer::pauses::Pauses;
use crate::transfer::queue::Lane;

/// Small files in flight: enough to hide all latency, more costs more than it brings.
const SMALL_ACTIVE_MAX: usize = 64;
/// Bytes of small files in flight after which no more begin. They share the link: of many pictures
/// that all move at once none is complete, and with several receivers none can be passed on.
const SMALL_ACTIVE_BYTES: u64 = 2 * GROUP_LEN;
/// Files above one group in flight: few, so that disks read in order.
const LARGE_ACTIVE_MAX: usize = 3;

/// The tasks of files that are being sent.
#[derive(Debug, Default)]
pub(super) struct Actives {
    files: HashMap<FileIndex, Active>,
    large: usize,
    /// Bytes of those that are not large.
    small_bytes: u64,
}

#[derive(Debug)]
struct Active {
    task: AbortHandle,
    size: u64,
}

impl Active {
    /// Whether it has several groups.
    fn is_large(&self) -> bool {
        self.size > GROUP_LEN
    }

    fn small_bytes(&self) -> u64 {
        match self.is_large() {
            true => 0,
            false => self.size,
        }
    }
}

/// Files that hold a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Moving {
    pub(super) large: usize,
    pub(super) small: usize,
    /// Bytes of the small ones together.
    pub(super) small_bytes: u64,
}

impl Moving {
    /// Whether one more may begin.
    pub(super) fn has_place(self, lane: Lane) -> bool {
        match lane {
            Lane::Large => self.large < LARGE_ACTIVE_MAX,
            Lane::Small => self.small < SMALL_ACTIVE_MAX && self.small_bytes < SMALL_ACTIVE_BYTES,
        }
    }
}

impl Actives {
    pub(super) fn insert(&mut self, index: FileIndex, task: AbortHandle, size: u64) {
        self.take(index);
        let active = Active { task, size };
        self.large += usize::from(active.is_large());
        self.small_bytes += active.small_bytes();
        self.files.insert(index, active);
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
        self.large -= usize::from(active.is_large());
        self.small_bytes -= active.small_bytes();
        Some(active)
    }

    pub(super) fn contains(&self, index: FileIndex) -> bool {
        self.files.contains_key(&index)
    }

    /// Those of several groups.
    pub(super) fn large(&self) -> Vec<FileIndex> {
        let large = self.files.iter().filter(|(_, active)| active.is_large());
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
        let mut small_bytes = self.small_bytes;
        if pauses.has_any() {
            for (_, active) in self.files.iter().filter(|(i, _)| pauses.has(**i)) {
                large -= usize::from(active.is_large());
                small_bytes -= active.small_bytes();
                all -= 1;
            }
        }
        let small = all - large;
        Moving {
            large,
            small,
            small_bytes,
        }
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
            let size = if index < 2 { 2 * GROUP_LEN } else { 10 };
            active.insert(index, task(), size);
        }
        let mut pauses = Pauses::default();
        let places = |active: &Actives, pauses: &Pauses| {
            let moving = active.moving(pauses);
            (moving.large, moving.small, moving.small_bytes)
        };
        assert_eq!(places(&active, &pauses), (2, 3, 30));
        for paused in [0, 4, 9] {
            pauses.pause(Scope::File(paused), PausedBy::Us);
        }
        assert_eq!(places(&active, &pauses), (1, 2, 20));
        active.abort(0);
        let third = active.files[&3].task.id();
        assert!(active.ended(3, third) && !active.ended(3, third));
        active.insert(2, task(), 2 * GROUP_LEN);
        assert_eq!(places(&active, &Pauses::default()), (2, 1, 10));
    }

    #[tokio::test]
    async fn so_many_small_files_begin_and_so_much_of_them() {
        let task = || tokio::spawn(async {}).abort_handle();
        let begun = |size: u64| {
            let mut active = Actives::default();
            let next = |active: &Actives| active.moving(&Pauses::default()).has_place(Lane::Small);
            (0..99)
                .take_while(|n| {
                    let may = next(&active);
                    active.insert(*n, task(), size);
                    may
                })
                .count()
        };
        assert_eq!((begun(0), begun(4096), begun(GROUP_LEN)), (64, 64, 2));
        assert_eq!(begun(GROUP_LEN / 2 + 1), 4);
        assert_eq!(begun(2 * GROUP_LEN), 99, "large ones take no place of them");
    }

    #[tokio::test]
    async fn the_end_of_a_task_that_was_given_up_is_not_that_of_the_next_one() {
        let task = || tokio::spawn(async {}).abort_handle();
        let mut active = Actives::default();
        let (first, second) = (task(), task());
        let (gone, now) = (first.id(), second.id());
        active.insert(7, first, 2 * GROUP_LEN);
        active.abort(7);
        active.insert(7, second, 2 * GROUP_LEN);
        assert!(!active.ended(7, gone) && active.contains(7));
        assert!(active.ended(7, now) && !active.contains(7));
        assert_eq!(active.large, 0);
    }
}
