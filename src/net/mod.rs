//! Links to peers: QUIC, the original's TCP ([`tcp`]), the traits that hide which it is, and who
//! may connect.
//!
//! [`endpoint::bind`] gives the three ends of it: a [`connector::Connector`] to reach peers, the
//! [`acceptor::Arrival`]s, and the [`endpoint::Net`] that owns everything. A transfer on a
//! [`connection::PeerConnection`] is a [`link::Outbound`] at one side and a [`link::Inbound`] at
//! the other.

pub mod acceptor;
pub mod admission;
mod attempt;
pub mod code_link;
pub mod connection;
pub mod connector;
mod dht;
pub mod discovery;
mod echo;
pub mod endpoint;
mod errors;
pub mod file_stream;
mod frames;
pub mod handshake;
mod interfaces;
pub mod link;
mod mapping;
pub mod memory;
mod moves;
mod near_send;
mod paths;
#[doc(hidden)]
pub mod pieces;
mod pool;
mod probe;
mod probing;
pub mod pull_link;
mod race;
mod referrals;
pub mod relay;
pub mod requests;
mod restarts;
mod routed_socket;
pub mod router;
mod routes;
pub mod settings;
mod socket;
pub mod tcp;
pub mod text_link;
mod time;
mod tls;
pub mod transfer_link;
mod watch;
mod whereabouts;
mod wire;

pub use acceptor::Arrival;
pub use connection::PeerConnection;
pub use connector::{ConnectError, Connector, Dial, resolve};
pub use dht::{DhtStanding, DhtUse, Found};
pub use echo::hears_multicast;
pub use endpoint::{BindError, DEFAULT_PORT, EndpointOptions, Net, bind};
pub use interfaces::is_local_network;
#[doc(hidden)]
pub use mapping::upnp;
pub use mapping::{RouterPort, RouterProtocol};
pub use tls::{PlainCallers, STREAMS_MAX, STREAMS_PER_PEER_MAX};
pub use transfer_link::{QuicInbound, QuicOutbound};
pub use whereabouts::is_plausible;

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests;
