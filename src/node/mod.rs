//! The node: owns every task, takes commands, publishes pictures of itself.

pub mod api;
pub mod control;

mod stand_in;

pub use stand_in::{Node, NodeOptions, ResumeAtStart, StartError};
