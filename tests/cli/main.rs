//! The command line as scripts see it: the real program, its exit codes and its JSON lines.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod asking;
mod codes;
mod control;
mod many;
mod program;
mod relay;
mod terminal;
mod texts;
mod transfer;
mod usage;
