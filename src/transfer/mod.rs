//! A transfer from offer to receipt: states, copying, progress, bookkeeping.

pub mod control;
pub mod limiter;
pub mod state;
pub mod status;
pub mod table;
