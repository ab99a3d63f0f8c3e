//! Exit codes: the one place that makes them. Those of faults are in [`Fault::exit_code`].

use std::collections::BTreeSet;

use peerconnect::fault::Fault;
use peerconnect::transfer::state::TransferState;
use peerconnect::transfer::status::TransferSnapshot;

/// What the process ends with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Exit(pub(crate) u8);

impl Exit {
    pub(crate) const OK: Self = Self(0);
    pub(crate) const USAGE: Self = Self(2);
    /// No way: as [`Fault::NoRoute`].
    pub(crate) const NO_WAY: Self = Self(4);
    pub(crate) const DECLINED: Self = Self(6);
    pub(crate) const NO_ANSWER: Self = Self(7);
    pub(crate) const SOME_FAILED: Self = Self(14);
    pub(crate) const INTERRUPTED: Self = Self(130);
    /// As the shell reports a program that the closed pipe ended.
    pub(crate) const PIPE_CLOSED: Self = Self(141);
    pub(crate) const TERMINATED: Self = Self(143);

    pub(crate) fn of(fault: &Fault) -> Self {
        Self(fault.exit_code())
    }

    /// Whether a transfer that ended like this can be sent again, with a chance to arrive.
    pub(crate) fn may_send_again(self) -> bool {
        // Declined, not answered, no room, not writable, sources, damaged, names, some of them.
        matches!(self.0, 6 | 7 | 9..=14)
    }

    /// The code for a transfer that has ended. `kinds` are the codes of its failed files, as far
    /// as they are known.
    pub(crate) fn of_transfer(transfer: &TransferSnapshot, kinds: &BTreeSet<u8>) -> Self {
        if transfer.state != TransferState::Completed {
            return match (&transfer.fault, transfer.state) {
                (Some(fault), _) => Self::of(fault),
                // Somebody here said no.
                (None, TransferState::Rejected) => Self::DECLINED,
                (None, _) => Self::of(&Fault::Internal {
                    what: String::new(),
                }),
            };
        }
        if transfer.files_failed == 0 && kinds.is_empty() {
            return Self::OK;
        }
        // One reason for everything is worth saying; otherwise some is all that can be said.
        match (kinds.first(), kinds.len(), transfer.files_done) {
            (Some(code), 1, 0) => Self(*code),
            _ => Self::SOME_FAILED,
        }
    }
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::testing::snapshot;

    #[test]
    fn what_was_declined_here_and_what_failed_without_a_reason_are_told_apart() {
        let code = |state| Exit::of_transfer(&snapshot(state), &BTreeSet::new()).0;
        assert_eq!(code(TransferState::Rejected), 6);
        assert_eq!(code(TransferState::Failed), 1);
    }
}
