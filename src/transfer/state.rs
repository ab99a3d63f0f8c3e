//! The life of a transfer: one enum, one table of transitions, under test as a whole.

use serde::{Deserialize, Serialize};

/// Where a transfer is. The bookkeeper is the only writer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TransferState {
    /// The files are being listed.
    Preparing,
    /// A connection to the peer is being made.
    Connecting,
    /// The receiving person has not answered yet.
    AwaitingAnswer,
    /// Files are on their way.
    Transferring,
    /// Somebody paused it, or the receiver's disk is full.
    Paused,
    /// The connection broke; it goes on by itself.
    Interrupted,
    /// Everything that was wanted is settled, verified and durable.
    Completed,
    /// The receiver said no, or did not answer.
    Rejected,
    /// A person gave it up.
    Cancelled,
    /// It cannot go on; the fault says why.
    Failed,
}

/// What happens to a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum TransferEvent {
    /// The files are listed; now the peer is needed.
    Prepared,
    /// A link to the peer is up and the offer is made.
    Offered,
    /// The receiver accepted, or continues what it accepted before.
    Accepted,
    /// The receiver declined or did not answer.
    Declined,
    /// A person or a full disk paused it.
    Pause,
    /// It goes on after a pause.
    Resume,
    /// The link broke.
    LinkLost,
    /// All is settled.
    Finish,
    /// A person gave it up.
    Cancel,
    /// It cannot go on.
    Fail,
}

/// An event that cannot happen in this state: a fault of this program, logged and ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{event:?} cannot happen to a transfer that is {state:?}")]
pub struct InvalidTransition {
    /// The state it was in.
    pub state: TransferState,
    /// What happened.
    pub event: TransferEvent,
}

impl TransferState {
    /// Every state, in the order of a transfer's life.
    pub const ALL: [Self; 10] = [
        Self::Preparing,
        Self::Connecting,
        Self::AwaitingAnswer,
        Self::Transferring,
        Self::Paused,
        Self::Interrupted,
        Self::Completed,
        Self::Rejected,
        Self::Cancelled,
        Self::Failed,
    ];

    /// The state after `event`.
    pub fn on(self, event: TransferEvent) -> Result<Self, InvalidTransition> {
        use TransferEvent as E;
        let invalid = Err(InvalidTransition { state: self, event });
        match (self, event) {
            (Self::Completed | Self::Rejected | Self::Cancelled | Self::Failed, _) => invalid,
            (_, E::Cancel) => Ok(Self::Cancelled),
            (_, E::Fail) => Ok(Self::Failed),
            (Self::Preparing, E::Prepared) => Ok(Self::Connecting),
            (Self::Connecting | Self::Interrupted | Self::Paused, E::Offered) => {
                Ok(Self::AwaitingAnswer)
            }
            (Self::AwaitingAnswer | Self::Interrupted, E::Accepted) => Ok(Self::Transferring),
            // Turned away at the door, it was not even asked about.
            (Self::Connecting | Self::AwaitingAnswer | Self::Interrupted, E::Declined) => {
                Ok(Self::Rejected)
            }
            (
                Self::AwaitingAnswer | Self::Transferring | Self::Interrupted | Self::Connecting,
                E::Pause,
            ) => Ok(Self::Paused),
            (Self::Paused, E::Pause) => Ok(Self::Paused),
            (Self::Paused, E::Resume) => Ok(Self::Transferring),
            (
                Self::AwaitingAnswer | Self::Transferring | Self::Paused | Self::Connecting,
                E::LinkLost,
            ) => Ok(Self::Interrupted),
            (Self::Interrupted, E::LinkLost) => Ok(Self::Interrupted),
            (Self::Transferring | Self::Paused, E::Finish) => Ok(Self::Completed),
            (_, E::Prepared | E::Offered | E::Accepted | E::Declined | E::Pause) => invalid,
            (_, E::Resume | E::LinkLost | E::Finish) => invalid,
        }
    }

    /// Whether nothing can happen any more.
    pub fn is_final(self) -> bool {
        matches!(
            self,
            Self::Completed | Self::Rejected | Self::Cancelled | Self::Failed
        )
    }
}
