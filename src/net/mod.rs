//! Links to peers: QUIC now, the traits that hide it, and who may connect.

pub mod link;
