//! What counts, or is believed, as long as somebody holds it.

use std::sync::Arc;

use super::Shared;
use crate::peer::PeerId;

/// See [`Shared::observed_on`].
#[derive(Debug)]
pub(in crate::net) struct Observed {
    pub(super) shared: Arc<Shared>,
    pub(super) number: usize,
}

impl Drop for Observed {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.observed.remove(&self.number);
        self.shared.tell_addrs(&state);
    }
}

/// See [`Shared::answer`].
#[derive(Debug)]
pub(in crate::net) struct Answering {
    pub(super) shared: Arc<Shared>,
    pub(super) peer: PeerId,
}

impl Drop for Answering {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        if let Some(count) = state.answered.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                state.answered.remove(&self.peer);
            }
        }
        drop(state);
        self.shared.changes.send_replace(());
    }
}

/// See [`Shared::finish`].
#[derive(Debug)]
pub(in crate::net) struct Finishing {
    pub(super) shared: Arc<Shared>,
    pub(super) peer: PeerId,
}

impl Drop for Finishing {
    fn drop(&mut self) {
        // Calls to one peer take turns, so this is the only one.
        self.shared.state().finishing.remove(&self.peer);
    }
}
