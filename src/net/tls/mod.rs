//! TLS over TCP, where UDP is blocked: to a peer itself, and what it has in common with that to a
//! relay. The packets of QUIC go inside, in frames, so that everything above stays as it is.

mod call;
mod door;
mod framing;
mod listen;
mod streams;

pub(super) use call::call;
pub use door::PlainCallers;
pub(super) use door::{Door, PlainCaller};
#[cfg(test)]
pub(super) use framing::IDLE_TIMEOUT;
pub(super) use framing::{DATAGRAMS_MAX, Frames, Outgoing, prepare, write};
pub(super) use listen::listen;
pub(super) use streams::Streams;
pub use streams::{STREAMS_MAX, STREAMS_PER_PEER_MAX};
