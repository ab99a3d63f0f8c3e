//! A transfer from offer to receipt: states, copying, progress, bookkeeping.

pub mod bookkeeper;
pub mod budget;
pub mod control;
pub mod deliver;
pub mod ended;
pub mod known;
pub mod limiter;
mod meter;
pub mod pace;
pub mod partial;
pub mod pauses;
pub mod plan;
pub mod present;
mod queue;
pub mod receive_file;
mod receive_run;
pub mod receiver;
pub mod repeat;
pub mod rivals;
pub mod room;
pub mod send_file;
pub mod sender;
pub mod sources;
pub mod state;
pub mod status;
pub mod table;
mod tops;
