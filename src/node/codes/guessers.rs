//! Peers that have typed a code there, and whose guesses are being looked at.

use std::collections::HashMap;
use std::time::Duration;

use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::peer::PeerId;

/// Guesses that may be looked at at once.
const GUESSING_MAX: usize = 16;
/// How long one of them is waited for in any case, when there are too many.
const GUESSING_FOR: Duration = Duration::from_secs(1);

/// A peer that has typed a code there.
#[derive(Debug)]
struct Guessing {
    since: Instant,
    /// What listens to it, until its guess is here.
    task: Option<AbortHandle>,
}

/// See the module.
#[derive(Debug, Default)]
pub(in crate::node) struct Guessers {
    peers: HashMap<PeerId, Guessing>,
}

impl Guessers {
    /// Whether a guess of this peer can be looked at now; it is then, until [`Self::heard`].
    /// Whoever says nothing makes room for others.
    pub(in crate::node) fn listens_to(&mut self, peer: PeerId) -> bool {
        if self.peers.contains_key(&peer) {
            return false;
        }
        if self.peers.len() >= GUESSING_MAX {
            let is_silent =
                |guess: &Guessing| guess.task.is_some() && guess.since.elapsed() > GUESSING_FOR;
            let silent = self.peers.iter();
            let silent = silent.filter(|(_, guess)| is_silent(guess));
            let longest = silent.min_by_key(|(_, guess)| guess.since);
            let Some(longest) = longest.map(|(peer, _)| *peer) else {
                return false;
            };
            if let Some(task) = self.peers.remove(&longest).and_then(|guess| guess.task) {
                task.abort();
            }
        }
        let (since, task) = (Instant::now(), None);
        self.peers.insert(peer, Guessing { since, task });
        true
    }

    /// The task that looks at the guess of this peer.
    pub(in crate::node) fn is_looked_at_by(&mut self, peer: PeerId, task: AbortHandle) {
        if let Some(guess) = self.peers.get_mut(&peer) {
            guess.task = Some(task);
        }
    }

    /// This peer has made its guess. Whether it counts: not if nobody looks at it any more.
    pub(in crate::node) fn has_guessed(&mut self, peer: PeerId) -> bool {
        let guess = self.peers.get_mut(&peer);
        // It is about to be answered: that is not broken off.
        guess.is_some_and(|guess| guess.task.take().is_some())
    }

    /// The guess of this peer was answered.
    pub(in crate::node) fn heard(&mut self, peer: PeerId) {
        self.peers.remove(&peer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(n: u8) -> PeerId {
        PeerId::from_bytes([n; 32])
    }

    #[tokio::test]
    async fn a_peer_has_one_guess_at_a_time() {
        let mut guessers = Guessers::default();
        assert!(guessers.listens_to(peer(1)));
        assert!(!guessers.listens_to(peer(1)));
        guessers.heard(peer(1));
        assert!(guessers.listens_to(peer(1)));
        let others = (2..100).filter(|n| guessers.listens_to(peer(*n)));
        assert_eq!(others.count(), GUESSING_MAX - 1);
    }

    #[tokio::test(start_paused = true)]
    async fn silent_strangers_keep_nobody_from_guessing() {
        let mut guessers = Guessers::default();
        let begin = |guessers: &mut Guessers, n: u8| {
            let begun = guessers.listens_to(peer(n));
            let task = tokio::spawn(std::future::pending::<()>());
            if begun {
                guessers.is_looked_at_by(peer(n), task.abort_handle());
            }
            (begun, task)
        };
        let (_, honest) = begin(&mut guessers, 1);
        assert!(guessers.has_guessed(peer(1)), "it is about to be answered");
        tokio::time::advance(GUESSING_FOR / 2).await;
        let silent: Vec<_> = (2..=GUESSING_MAX as u8)
            .map(|n| begin(&mut guessers, n))
            .collect();
        assert!(!begin(&mut guessers, 100).0, "they have just begun");
        tokio::time::advance(GUESSING_FOR * 2).await;
        assert!(begin(&mut guessers, 100).0);
        assert!(guessers.peers.contains_key(&peer(1)) && guessers.peers.len() == GUESSING_MAX);
        let mut ended = silent
            .into_iter()
            .map(|(_, task)| task)
            .filter(|task| task.is_finished());
        tokio::task::yield_now().await;
        let gone: Vec<u8> = (2..=GUESSING_MAX as u8)
            .filter(|n| !guessers.peers.contains_key(&peer(*n)))
            .collect();
        assert_eq!(gone.len(), 1);
        assert!(ended.next().is_some() && !honest.is_finished());
        assert!(
            !guessers.has_guessed(peer(gone[0])),
            "what it said too late is not looked at"
        );
    }
}
