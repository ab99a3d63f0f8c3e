//! Memory for content that came and is not on the disk yet: groups until they are verified, small
//! files until they have their names. What finds no room takes the way over the disk at once, so
//! that nobody ever waits for somebody else's room.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Most bytes of content that all incoming transfers of a node hold in memory together. An honest
/// sender has three groups of large files and 64 small files under way at once.
pub const CONTENT_MAX: usize = 12 * 1024 * 1024;

/// What all incoming transfers of a node hold. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Rooms(Arc<AtomicUsize>);

/// Room for some bytes; given back when dropped.
#[derive(Debug)]
pub struct Room {
    rooms: Rooms,
    bytes: usize,
}

impl Rooms {
    /// Room for `bytes`, if there is so much. Never waits.
    pub fn take(&self, bytes: usize) -> Option<Room> {
        let take = |held: usize| held.checked_add(bytes).filter(|&held| held <= CONTENT_MAX);
        self.0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
            .ok()?;
        let rooms = self.clone();
        Some(Room { rooms, bytes })
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.rooms.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn there_is_so_much_room_and_no_more_until_some_is_given_back() {
        let rooms = Rooms::default();
        let most = rooms.clone().take(CONTENT_MAX - 1).unwrap();
        let last = rooms.take(1).unwrap();
        assert!(rooms.take(1).is_none() && rooms.take(usize::MAX).is_none());
        assert!(rooms.take(0).is_some(), "an empty file needs none");
        drop(last);
        assert!(rooms.take(1).is_some());
        drop(most);
        assert!(rooms.take(CONTENT_MAX).is_some());
    }
}
