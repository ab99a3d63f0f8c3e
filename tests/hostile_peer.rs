//! A peer with a valid key, or none, that does whatever it likes to a running node: each thing it
//! does has the one reaction that is written here, and nobody else notices.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::wildcard_enum_match_arm,
    unreachable_pub,
    missing_docs
)]

mod common;
mod hostile;
