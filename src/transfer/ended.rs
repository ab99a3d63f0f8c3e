//! How one run of a transfer over one link ends.

use crate::net::link::{LinkError, Offence};
use crate::protocol::message::{Code, DeclineReason};

/// Why a run is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// Everything is settled.
    Completed,
    /// The receiver said no.
    Declined(DeclineReason),
    /// The person here gave it up.
    CancelledHere,
    /// The person at the other side gave it up.
    CancelledThere,
    /// The link broke: go on over another one.
    Lost(String),
    /// The peer broke the protocol: do not go on.
    Misbehaved(Offence),
}

impl From<LinkError> for Ended {
    fn from(error: LinkError) -> Self {
        match error {
            LinkError::Lost(why) => Self::Lost(why),
            LinkError::Closed(Code::Cancelled) => Self::CancelledThere,
            LinkError::Closed(code) => Self::Lost(format!("closed by the peer ({code:?})")),
            LinkError::Offence(offence) => Self::Misbehaved(offence),
        }
    }
}
