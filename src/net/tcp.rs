//! The original's file transfers and texts over TCP, behind the traits of [`super::link`].
//!
//! A connection of the original carries no messages beyond a handshake, one byte of acceptance and
//! the files one after the other. Everything else that our protocol says is played by the link
//! itself: [`TcpOutbound`] answers the sender as the receiver would, [`TcpInbound`] tells the
//! receiver what a sender of ours would tell. So sending, receiving, names, progress, pauses and
//! bookkeeping are the very ones that QUIC has. What the protocol cannot do, nobody can: nothing
//! is encrypted, nothing is verified, and nothing is resumed in the middle of a file.
//!
//! Originals are fragile, and the rules that keep them alive are here:
//! * sending: the handshake is one write on a fresh connection; the head of each file is one write
//!   at the beginning of a segment (`wire`); only base names; one connection for each list of
//!   files and for each folder;
//! * receiving: one byte of acceptance within 3.5 s (see `inbound`), and never a standstill of
//!   10 s: a pause slows the sender down to a trickle instead (`body`);
//! * one to many: nothing ever stands still, and nobody gets content with holes in it (`tree`);
//! * texts: one message is one write in one segment, too (`texts`).

mod acceptor;
mod acknowledged;
mod body;
mod inbound;
mod lanes;
mod ledger;
mod line;
mod opener;
mod outbound;
mod parse;
mod reader;
mod spool;
mod texts;
mod tree;
mod wire;

pub use acceptor::{LegacyArrival, LegacyListener, LegacyOptions};
pub use body::QUARANTINE_MAX;
pub use inbound::TcpInbound;
pub use line::dial;
pub use outbound::{Destination, TcpOutbound};
pub use reader::TcpReader;
pub use texts::{AdmittedText, NotSent, PlainText, TALKERS_MAX, TALKERS_PER_ADDR_MAX, send_text};
pub use tree::{RootOptions, Seat, TreeOptions, TreeOutbound, Trees, plant, tree_files};

use std::time::Duration;

/// How long a peer may take for its handshake: as long as the original allows.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(6);
/// An original waits 4 s for the byte of acceptance. Half a second is for the way.
pub const ANSWER_WITHIN: Duration = Duration::from_millis(3500);
/// An original gives up when one chunk is not taken within 10 s. While nothing should move, one is
/// taken this often.
const TRICKLE_EVERY: Duration = Duration::from_secs(4);
/// How long nothing may come from a peer that should send. Generous, because an original that is
/// paused by its person says nothing about it; a computer that is gone is noticed by keep-alives.
const SILENCE_MAX: Duration = Duration::from_secs(30 * 60);

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests;
