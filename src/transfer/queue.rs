//! Files that wait to be sent, in order and each once, however often the receiver asks for it.

use std::collections::VecDeque;

use crate::protocol::message::FileIndex;

/// A queue of distinct files.
#[derive(Debug, Default)]
pub(super) struct Queue {
    order: VecDeque<FileIndex>,
    /// One bit for each entry of the manifest: whether it is in `order`.
    queued: Vec<u64>,
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

    /// Puts a file at the end; one that waits keeps its place. The caller bounds `index`.
    pub(super) fn push_back(&mut self, index: FileIndex) {
        if self.enter(index) {
            self.order.push_back(index);
        }
    }

    /// Puts a file at the front; one that waits keeps its place. The caller bounds `index`.
    pub(super) fn push_front(&mut self, index: FileIndex) {
        if self.enter(index) {
            self.order.push_front(index);
        }
    }

    /// The first file.
    pub(super) fn front(&self) -> Option<FileIndex> {
        self.order.front().copied()
    }

    /// Takes the first file out.
    pub(super) fn pop_front(&mut self) -> Option<FileIndex> {
        let index = self.order.pop_front()?;
        self.leave(index);
        Some(index)
    }

    /// The files in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = FileIndex> {
        self.order.iter().copied()
    }

    /// Takes a file out. `false` if it does not wait.
    pub(super) fn remove(&mut self, index: FileIndex) -> bool {
        if !self.leave(index) {
            return false;
        }
        if let Some(at) = self.order.iter().position(|&queued| queued == index) {
            self.order.remove(at);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_file_waits_once_and_in_order() {
        let mut queue = Queue::default();
        for index in [5, 70, 5, 0, 70] {
            queue.push_back(index);
        }
        queue.push_front(0);
        queue.push_front(9);
        assert_eq!(queue.iter().collect::<Vec<_>>(), [9, 5, 70, 0]);
        assert!(queue.remove(70) && !queue.remove(70) && !queue.remove(1000));
        assert_eq!(queue.pop_front(), Some(9));
        queue.push_back(70);
        queue.push_back(9);
        assert_eq!(queue.front(), Some(5));
        assert_eq!(queue.iter().collect::<Vec<_>>(), [5, 0, 70, 9]);
    }
}
