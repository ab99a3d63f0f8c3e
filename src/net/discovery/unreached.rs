//! Peers nearby that a dial from here did not reach: they are told so, in what we say of ourselves,
//! because only they can mend it. Pure: failures and the time come in, what to say comes out.
//!
//! Nothing is sent to them alone, and nobody answers: so nobody can make others shout.

use std::time::{Duration, Instant};

use super::record::UNREACHED_MAX;
use crate::peer::PeerId;

/// So long is it said after the last dial that failed.
const SAY_FOR: Duration = Duration::from_secs(60);
/// Least time between two changes of what we say.
const PAUSE: Duration = Duration::from_secs(5);

/// See the module.
#[derive(Debug)]
pub(super) struct Unreached {
    /// Until when it is said, oldest first; at most [`UNREACHED_MAX`].
    until: Vec<(PeerId, Instant)>,
    /// What was said last, if that is known, and when.
    said: Option<Vec<PeerId>>,
    changed: Option<Instant>,
}

impl Default for Unreached {
    /// Nothing was said.
    fn default() -> Self {
        Self {
            until: Vec::new(),
            said: Some(Vec::new()),
            changed: None,
        }
    }
}

impl Unreached {
    /// What [`Self::poll`] gave last could not be said: it will give it again.
    pub(super) fn unsaid(&mut self) {
        self.said = None;
    }

    /// A dial to this peer was not answered. Of too many the oldest is not said any more.
    pub(super) fn failed(&mut self, now: Instant, id: PeerId) {
        self.until.retain(|(known, _)| *known != id);
        if self.until.len() >= UNREACHED_MAX {
            self.until.remove(0);
        }
        self.until.push((id, now + SAY_FOR));
    }

    /// There is a connection with this peer.
    pub(super) fn reached(&mut self, id: PeerId) {
        self.until.retain(|(known, _)| *known != id);
    }

    /// When [`Self::poll`] has something to do again.
    pub(super) fn next_poll(&self) -> Option<Instant> {
        let ends = self.until.iter().map(|(_, until)| *until).min();
        let free = self.changed.map(|changed| changed + PAUSE);
        match self.is_said(&self.now_true()) {
            true => ends,
            // At once, if nothing was ever said.
            false => free.or_else(|| self.until.first().map(|(_, until)| *until - SAY_FOR)),
        }
    }

    /// What has to be said from now on, if it is something else than before.
    pub(super) fn poll(&mut self, now: Instant) -> Option<Vec<PeerId>> {
        self.until.retain(|(_, until)| *until > now);
        let wanted = self.now_true();
        let free = self.changed.is_none_or(|changed| now >= changed + PAUSE);
        if self.is_said(&wanted) || !free {
            return None;
        }
        self.said = Some(wanted.clone());
        self.changed = Some(now);
        Some(wanted)
    }

    fn is_said(&self, wanted: &[PeerId]) -> bool {
        self.said.as_deref() == Some(wanted)
    }

    /// In an order that does not depend on who failed last.
    fn now_true(&self) -> Vec<PeerId> {
        let mut ids: Vec<PeerId> = self.until.iter().map(|(id, _)| *id).collect();
        ids.sort();
        ids
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn id(n: u8) -> PeerId {
        PeerId::from_bytes([n; 32])
    }

    #[test]
    fn it_is_said_at_once_for_a_while_and_not_after_the_peer_was_reached() {
        let begun = Instant::now();
        let mut list = Unreached::default();
        assert_eq!((list.next_poll(), list.poll(begun)), (None, None));
        list.failed(begun, id(1));
        assert!(list.next_poll().unwrap() <= begun);
        assert_eq!(list.poll(begun), Some(vec![id(1)]));
        assert_eq!(list.poll(begun + PAUSE), None, "it is said");
        let later = begun + SAY_FOR / 2;
        list.failed(later, id(1));
        assert_eq!(list.next_poll(), Some(later + SAY_FOR));
        assert_eq!(list.poll(begun + SAY_FOR), None, "it failed again");
        assert_eq!(list.poll(later + SAY_FOR), Some(vec![]));
        assert_eq!(list.next_poll(), None);
        list.failed(later + SAY_FOR * 2, id(1));
        assert!(list.poll(later + SAY_FOR * 2).is_some());
        list.reached(id(1));
        assert_eq!(list.poll(later + SAY_FOR * 3), Some(vec![]));
    }

    #[test]
    fn what_could_not_be_said_is_said_again_after_a_pause() {
        let begun = Instant::now();
        let mut list = Unreached::default();
        list.failed(begun, id(1));
        list.poll(begun).unwrap();
        list.reached(id(1));
        let taken_back = begun + PAUSE;
        assert_eq!(list.poll(taken_back), Some(vec![]));
        list.unsaid();
        assert_eq!(list.poll(taken_back), None);
        assert_eq!(list.next_poll(), Some(taken_back + PAUSE));
        assert_eq!(list.poll(taken_back + PAUSE), Some(vec![]));
        assert_eq!(list.next_poll(), None);
    }

    #[test]
    fn however_many_dials_fail_little_is_said_and_seldom() {
        let begun = Instant::now();
        let mut list = Unreached::default();
        let mut said = 0;
        for ms in 0..60_000 {
            let now = begun + Duration::from_millis(ms);
            list.failed(now, id((ms % 100) as u8));
            if let Some(ids) = list.poll(now) {
                assert!(ids.len() <= UNREACHED_MAX);
                said += 1;
            } else {
                assert!(list.next_poll().unwrap() > now, "it would spin");
            }
        }
        assert_eq!(said, 60_000 / PAUSE.as_millis());
    }
}
