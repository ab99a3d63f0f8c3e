//! What a transfer does, on every kind of link through the same code: see `pair`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::wildcard_enum_match_arm,
    missing_docs,
    unreachable_pub
)]

#[path = "../common/mod.rs"]
mod common;
mod pair;
mod world;

mod aside;
mod breaks;
mod changes;
mod conflicts;
mod content;
mod instead;
mod known;
mod names;
mod nodes;
mod pauses;
mod plain;
mod questions;
mod receipts;
mod referred;
mod room;
mod settings;
mod steering;
mod streams;

/// Runs tests that are generic over the kind of link on each kind.
macro_rules! on_every_link {
    ($($name:ident)*) => {
        mod memory {
            $(
                #[tokio::test(start_paused = true)]
                async fn $name() {
                    super::$name::<crate::pair::Memory>().await
                }
            )*
        }
        mod quic {
            $(#[tokio::test] async fn $name() { super::$name::<crate::pair::Quic>().await })*
        }
        mod over_tcp {
            $(#[tokio::test] async fn $name() { super::$name::<crate::pair::OverTcp>().await })*
        }
    };
}
pub(crate) use on_every_link;
