//! The node: owns every task, takes commands, publishes pictures of itself.

pub mod api;
pub mod control;
