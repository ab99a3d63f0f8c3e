//! Programs of the original's kind against our node: honest ones, hostile ones, and the reference
//! peer, which behaves like the original down to what kills it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::wildcard_enum_match_arm,
    missing_docs,
    unreachable_pub
)]

mod common;
#[path = "originals/raw.rs"]
mod raw;

#[path = "originals/endings.rs"]
mod endings;
#[path = "originals/hostile.rs"]
mod hostile;
#[path = "originals/leaves.rs"]
mod leaves;
#[path = "originals/nodes.rs"]
mod nodes;
#[path = "originals/reference.rs"]
mod reference;
#[path = "originals/slow.rs"]
mod slow;
#[path = "originals/texts.rs"]
mod texts;
#[path = "originals/tree_raw.rs"]
mod tree_raw;
#[path = "originals/trees.rs"]
mod trees;
