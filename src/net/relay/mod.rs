//! A relay: introduces peers to each other and carries their packets while they have no direct
//! way. It has no part in their keys; what it carries it cannot read.

mod asking;
mod bucket;
mod client;
mod connect;
mod forwarding;
mod hub;
mod limits;
mod link;
mod numbers;
mod server;
mod session;

pub use client::NoHelp;
pub(super) use client::{NoRoute, Relays, call_through};
pub use client::{RelayStanding, RelayState};
pub use hub::{CALLS_MAX, CHANNELS_PER_PAIR, CHANNELS_PER_PEER};
pub use limits::RelayLimits;
pub use numbers::{ASKS_IN, ASKS_MAX, NUMBERS_PER_ADDR, NUMBERS_PER_PEER};
#[cfg(test)]
pub(super) use server::serve_as;
pub use server::{PEERS_PER_ADDR_MAX, Relay, RelayOptions, RelayStats, serve};
