//! How the root's own children fare, on which depends what the others can have got.

use std::sync::Arc;

use tokio::sync::watch;

/// How one of the children fares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// It is getting content.
    Running,
    /// It has everything.
    Done,
    /// It will not get everything: who hangs on it does not either.
    Failed,
}

/// The children of a tree's root.
#[derive(Debug, Clone)]
pub(in crate::net::tcp) struct Fates(Arc<watch::Sender<Vec<State>>>);

/// One of them. Dropped before all is well, it has failed.
#[derive(Debug)]
pub(in crate::net::tcp) struct Fate {
    all: Fates,
    at: usize,
}

impl Fates {
    /// So many who are getting content.
    pub(super) fn of(count: usize) -> Self {
        Self(Arc::new(watch::Sender::new(vec![State::Running; count])))
    }

    /// One of them; each once.
    pub(super) fn fate(&self, at: usize) -> Fate {
        let all = self.clone();
        Fate { all, at }
    }

    fn set(&self, at: usize, to: State) {
        self.0.send_modify(|states| {
            if let Some(state) = states.get_mut(at).filter(|state| **state == State::Running) {
                *state = to;
            }
        });
    }

    /// Waits until all have everything, or one will not; says which. Cancel-safe.
    pub(in crate::net::tcp) async fn decided(&self) -> bool {
        let mut states = self.0.subscribe();
        let decided = states.wait_for(|states| {
            states.contains(&State::Failed) || states.iter().all(|state| *state == State::Done)
        });
        decided
            .await
            .is_ok_and(|states| !states.contains(&State::Failed))
    }
}

impl Fate {
    /// It has everything.
    pub(in crate::net::tcp) fn done(self) {
        self.all.set(self.at, State::Done);
    }
}

impl Drop for Fate {
    fn drop(&mut self) {
        self.all.set(self.at, State::Failed);
    }
}
