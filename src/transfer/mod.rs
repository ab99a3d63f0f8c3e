//! A transfer from offer to receipt: states, copying, progress, bookkeeping.

pub mod state;
pub mod status;
