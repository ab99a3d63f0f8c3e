//! Files that wait to be sent, in order and each once, however often the receiver asks for it.
//!
//! Large and small files wait in lanes of their own, so that neither hold up the other and the
//! next one is found without looking through those that must wait.

use std::collections::VecDeque;

use crate::protocol::message::FileIndex;

/// Where a file waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lane {
    /// One group of content at most.
    Small,
    /// More than that.
    Large,
}

impl Lane {
    pub(super) const ALL: [Self; 2] = [Self::Small, Self::Large];
}

/// A queue of distinct files.
#[derive(Debug, Default)]
pub(super) struct Queue {
    small: VecDeque<Waiting>,
    large: VecDeque<Waiting>,
    /// One bit for each entry of the manifest: whether it waits.
    queued: Vec<u64>,
    /// Turn of the next file at the end, and of the last one that was put at the front.
    back: i64,
    front: i64,
}

#[derive(Debug, Clone, Copy)]
struct Waiting {
    /// Those with lower numbers come first.
    turn: i64,
    index: FileIndex,
}

impl Queue {
    fn bit(index: FileIndex) -> (usize, u64) {
        (index as usize / 64, 1 << (index % 64))
    }

    /// Marks the file as queued. `false` if it was already.
    fn enter(&mut self, index: FileIndex) -> bool {
        let (word, bit) = Self::bit(index);
        if self.queued.len() <= word {
            self.queued.resize(word + 1, 0);
        }
        match self.queued.get_mut(word) {
            Some(bits) if *bits & bit == 0 => {
                *bits |= bit;
                true
            }
            Some(_) | None => false,
        }
    }

    fn leave(&mut self, index: FileIndex) -> bool {
        let (word, bit) = Self::bit(index);
        match self.queued.get_mut(word) {
            Some(bits) if *bits & bit != 0 => {
                *bits &= !bit;
                true
            }
            Some(_) | None => false,
        }
    }

    fn lane(&self, lane: Lane) -> &VecDeque<Waiting> {
        match lane {
            Lane::Small => &self.small,
            Lane::Large => &self.large,
        }
    }

    fn lane_mut(&mut self, lane: Lane) -> &mut VecDeque<Waiting> {
        match lane {
            Lane::Small => &mut self.small,
            Lane::Large => &mut self.large,
        }
    }

    /// Puts a file at the end; one that waits keeps its place. The caller bounds `index`.
    pub(super) fn push_back(&mut self, index: FileIndex, lane: Lane) {
        if self.enter(index) {
            let turn = self.back;
            self.back += 1;
            self.lane_mut(lane).push_back(Waiting { turn, index });
        }
    }

    /// Puts a file at the front; one that waits keeps its place. The caller bounds `index`.
    pub(super) fn push_front(&mut self, index: FileIndex, lane: Lane) {
        if self.enter(index) {
            self.front -= 1;
            let turn = self.front;
            self.lane_mut(lane).push_front(Waiting { turn, index });
        }
    }

    /// The first file of a lane.
    pub(super) fn front(&self, lane: Lane) -> Option<FileIndex> {
        self.lane(lane).front().map(|waiting| waiting.index)
    }

    /// Takes the first file of a lane out.
    pub(super) fn pop_front(&mut self, lane: Lane) -> Option<FileIndex> {
        let index = self.lane_mut(lane).pop_front()?.index;
        self.leave(index);
        Some(index)
    }

    /// The lane whose turn it is, of those whose first file `may` go.
    pub(super) fn next_lane(&self, may: impl Fn(Lane, FileIndex) -> bool) -> Option<Lane> {
        let firsts = Lane::ALL.into_iter().filter_map(|lane| {
            let first = self.lane(lane).front()?;
            may(lane, first.index).then_some((first.turn, lane))
        });
        firsts.min_by_key(|(turn, _)| *turn).map(|(_, lane)| lane)
    }

    /// Takes a file out. `false` if it does not wait.
    pub(super) fn remove(&mut self, index: FileIndex) -> bool {
        if !self.leave(index) {
            return false;
        }
        for lane in Lane::ALL {
            let lane = self.lane_mut(lane);
            if let Some(at) = lane.iter().position(|waiting| waiting.index == index) {
                lane.remove(at);
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes all files out, in order.
    fn drain(queue: &mut Queue) -> Vec<FileIndex> {
        let next = || {
            let lane = queue.next_lane(|_, _| true)?;
            queue.pop_front(lane)
        };
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn each_file_waits_once_and_in_order() {
        let mut queue = Queue::default();
        for index in [5, 70, 5, 0, 70] {
            queue.push_back(index, Lane::Small);
        }
        queue.push_front(0, Lane::Small);
        queue.push_front(9, Lane::Small);
        assert!(queue.remove(70) && !queue.remove(70) && !queue.remove(1000));
        assert_eq!(queue.pop_front(Lane::Small), Some(9));
        queue.push_back(70, Lane::Small);
        queue.push_back(9, Lane::Small);
        assert_eq!(queue.front(Lane::Small), Some(5));
        assert_eq!(drain(&mut queue), [5, 0, 70, 9]);
    }

    #[test]
    fn lanes_keep_the_order_among_them_and_do_not_hold_each_other_up() {
        let mut queue = Queue::default();
        for index in 0..6 {
            let lane = if index % 3 == 0 {
                Lane::Large
            } else {
                Lane::Small
            };
            queue.push_back(index, lane);
        }
        queue.push_front(9, Lane::Large);
        let small = queue.next_lane(|lane, _| lane == Lane::Small);
        assert_eq!(small, Some(Lane::Small));
        assert_eq!(queue.next_lane(|_, index| index != 9), Some(Lane::Small));
        assert_eq!(queue.next_lane(|_, _| false), None);
        assert!(queue.remove(3));
        assert_eq!(drain(&mut queue), [9, 0, 1, 2, 4, 5]);
    }
}
