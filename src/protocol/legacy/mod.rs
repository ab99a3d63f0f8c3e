#![doc = include_str!("README.md")]

mod bounds;
pub mod datagram;
pub mod discovery;
mod error;
pub mod gossip;
pub mod id;
pub mod kademlia;
pub mod otm;
pub mod record;
pub mod stream;
mod tables;
mod wire_data;

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::wildcard_enum_match_arm
)]
mod tests;

pub use bounds::{DEPTH_MAX, ITEMS_MAX, measure};
pub use error::LegacyError;
pub use id::LegacyId;
pub use record::{Record, Status};
pub use tables::{LIST_IDS, chunk_size, list_of};

/// Most bytes of one message on a stream, without its length. The original has no limit; what it
/// sends stays below 2 KiB, except OTM states and metadata.
pub const FRAME_MAX: usize = 64 * 1024;

/// Most bytes of a datagram to or from the requests endpoint, trigger and length included: what
/// the original holds to for OTM control.
pub const DATAGRAM_MAX: usize = 63 * 1024;

/// Most bytes of a Kademlia request, as carried: the original refuses to send a longer one.
pub const RPC_MAX: usize = 8 * 1024;

/// TCP port of originals for streams. Often another one is used: the record of a peer counts.
pub const STREAM_PORT: u16 = 3485;

/// UDP port of originals for requests; multicasts go to this one only.
pub const REQUESTS_PORT: u16 = 3486;

/// Bytes of the length in front of each message.
pub const LENGTH_LEN: usize = 4;

/// The text of a session or message id as the original writes them: a UUID of version 4.
pub fn uuid_text(mut random: [u8; 16]) -> String {
    random[6] = random[6] & 0x0f | 0x40;
    random[8] = random[8] & 0x3f | 0x80;
    let mut text = data_encoding::HEXLOWER.encode(&random);
    // From behind, so that the earlier places stay.
    for place in [20, 16, 12, 8] {
        text.insert(place, '-');
    }
    text
}
