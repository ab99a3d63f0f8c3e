//! What a peer and a relay say to each other, and the datagrams that go through a relay: see
//! "Relays" in the specification.
//!
//! A relay introduces two peers that cannot reach each other, and carries the packets of their
//! QUIC connection until they can: it sees who talks to whom and how much, and nothing else.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::peer::PeerId;

/// ALPN between a peer and a relay. A relay speaks nothing else.
pub const ALPN_RELAY: &[u8] = b"peerconnect-relay/1";

/// ALPN of those who understand numbers of one-time codes too. Who has not agreed to it would take
/// [`ToRelay::Claim`] for nonsense.
pub const ALPN_NUMBERS: &[u8] = b"peerconnect-relay/1.1";

/// What is offered in the handshake of TLS, best first.
pub const ALPNS_RELAY: [&[u8]; 2] = [ALPN_NUMBERS, ALPN_RELAY];

/// UDP port of a relay if nothing else is said: beside that of a node, so that one computer can
/// be both.
pub const RELAY_PORT: u16 = 3487;

/// Longest datagram that is taken by TCP or carried by a relay: as long as any that goes through
/// Ethernet.
pub const DATAGRAM_LEN_MAX: usize = 1500;

/// Bytes of a [`Channel`].
pub const CHANNEL_LEN: usize = 8;

/// Names a pair of peers that a relay has introduced to each other. Random, so that nobody else
/// can send into it; the relay makes it up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Channel(pub [u8; CHANNEL_LEN]);

/// From a peer to a relay, on the one stream that it opens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToRelay {
    /// First message: whether others may call the one who says it. May be said again.
    Hello {
        /// Others may call.
        listens: bool,
    },
    /// Calls a peer that listens at the same relay.
    Call {
        /// Who.
        peer: PeerId,
    },
    /// Answers [`FromRelay::Called`]: from now on the channel is open.
    Take {
        /// Which.
        channel: Channel,
    },
    /// The channel is not needed any more, or not wanted.
    Leave {
        /// Which.
        channel: Channel,
    },
    /// Shows that the peer is where the relay sees it now: what a [`Datagram::Token`] held.
    Here {
        /// The same.
        token: Nonce,
    },
    /// Whoever looks for this number is to be told of the one who says this, until it leaves.
    Claim {
        /// Of a one-time code.
        number: u16,
    },
    /// The number is not needed any more.
    Release {
        /// Which.
        number: u16,
    },
    /// Who has this number?
    Find {
        /// Of a one-time code.
        number: u16,
    },
}

/// From a relay to a peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromRelay {
    /// Where the peer is seen: first message, and again when that changes.
    Seen {
        /// By UDP; `None` if it comes over TCP.
        addr: Option<SocketAddr>,
    },
    /// Somebody calls; to be answered with [`ToRelay::Take`] or [`ToRelay::Leave`].
    Called {
        /// Who, as proven to the relay.
        from: PeerId,
        /// The channel, if it is taken.
        channel: Channel,
        /// Where the relay sees the caller by UDP.
        seen: Option<SocketAddr>,
    },
    /// The peer has taken the call.
    Open {
        /// The one that was called.
        peer: PeerId,
        /// What to send it through.
        channel: Channel,
        /// Where the relay sees it by UDP.
        seen: Option<SocketAddr>,
    },
    /// The call came to nothing.
    Closed {
        /// The one that was called.
        peer: PeerId,
        /// Why.
        why: NotOpen,
    },
    /// The other side has left the channel, or the relay has closed it.
    Left {
        /// Which.
        channel: Channel,
    },
    /// Answers [`ToRelay::Claim`].
    Claimed {
        /// The same.
        number: u16,
        /// Whether it is one's own now.
        result: Result<(), NoNumber>,
    },
    /// Answers [`ToRelay::Find`].
    Found {
        /// The same.
        number: u16,
        /// Who has it, as proven to the relay.
        result: Result<PeerId, NoNumber>,
    },
}

/// Why a number is not claimed, or not found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum NoNumber {
    /// Somebody else has it.
    Taken,
    /// Nobody has it.
    Nobody,
    /// Too many questions, or numbers, of those who come from there.
    Busy,
}

/// Why a call came to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum NotOpen {
    /// That peer does not listen at this relay.
    Absent,
    /// It did not take the call.
    Refused,
    /// Too many calls or channels of one of the two.
    Busy,
}

/// Length of the head of a [`Datagram::Data`].
pub const DATA_HEAD_LEN: usize = 1 + CHANNEL_LEN;
/// Length of a [`Datagram::Probe`].
pub const PROBE_LEN: usize = DATA_HEAD_LEN + NONCE_LEN + TAG_LEN;

/// Bytes of a probe's [`Nonce`].
pub const NONCE_LEN: usize = 8;
/// Bytes of a probe's proof.
const TAG_LEN: usize = 16;

/// First bytes of datagrams that are no packets of QUIC, all of whose packets have one of the two
/// highest bits set (RFC 9000, section 17, if the fixed bit is not greased).
const DATA: u8 = 0x10;
const PING: u8 = 0x11;
const PONG: u8 = 0x12;
const TOKEN: u8 = 0x13;

/// Tells one probe from another. Random.
pub type Nonce = [u8; NONCE_LEN];

/// The key of the probes of one connection, which only its two ends have: from its TLS exporter.
pub type ProbeKey = [u8; 32];

/// A datagram of this protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Datagram<'a> {
    /// A packet of the connection between the two ends of a channel, through a relay or directly.
    Data(Channel, &'a [u8]),
    /// From one end of a channel to the other, without a relay: is there a way?
    Probe(Channel, Probe<'a>),
    /// From a relay to where it sees a peer now: to be said again in [`ToRelay::Here`].
    Token(Nonce),
}

/// A question whether there is a way, or its answer, that is to be checked before it counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probe<'a> {
    bytes: &'a [u8; PROBE_LEN],
}

/// Which of the two a probe is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProbeKind {
    /// To be answered with the same nonce to where it came from.
    Ping,
    /// The answer.
    Pong,
}

/// Who of the two ends of a connection sends a probe: nobody can send one back as if it were an
/// end's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProbeFrom {
    /// The side that dialled.
    Caller,
    /// The side that was called.
    Called,
}

impl ProbeFrom {
    /// The other end.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Caller => Self::Called,
            Self::Called => Self::Caller,
        }
    }
}

impl<'a> Datagram<'a> {
    /// What `bytes` are; `None` for everything else, packets of QUIC first of all.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (kind, rest) = bytes.split_first()?;
        match *kind {
            DATA => {
                let (channel, packet) = rest.split_first_chunk()?;
                Some(Self::Data(Channel(*channel), packet))
            }
            PING | PONG => {
                let (channel, _) = rest.split_first_chunk()?;
                let bytes = bytes.try_into().ok()?;
                Some(Self::Probe(Channel(*channel), Probe { bytes }))
            }
            TOKEN => Some(Self::Token(rest.try_into().ok()?)),
            _ => None,
        }
    }
}

/// A [`Datagram::Token`] as it is sent.
pub fn token(nonce: Nonce) -> [u8; 1 + NONCE_LEN] {
    let mut bytes = [TOKEN; 1 + NONCE_LEN];
    if let Some(rest) = bytes.last_chunk_mut() {
        *rest = nonce;
    }
    bytes
}

/// What stands before each packet of QUIC on `channel`.
pub fn data_head(channel: Channel) -> [u8; DATA_HEAD_LEN] {
    let mut head = [DATA; DATA_HEAD_LEN];
    if let Some(rest) = head.last_chunk_mut() {
        *rest = channel.0;
    }
    head
}

/// A probe as it is sent.
pub fn probe(
    kind: ProbeKind,
    from: ProbeFrom,
    channel: Channel,
    nonce: Nonce,
    key: &ProbeKey,
) -> [u8; PROBE_LEN] {
    let first = match kind {
        ProbeKind::Ping => PING,
        ProbeKind::Pong => PONG,
    };
    let mut bytes = [first; PROBE_LEN];
    let tag = tag(from, first, channel, nonce, key);
    let parts = channel.0.into_iter().chain(nonce).chain(tag);
    for (to, from) in bytes.iter_mut().skip(1).zip(parts) {
        *to = from;
    }
    bytes
}

impl Probe<'_> {
    /// What it is, if it was made with `key` by that end.
    pub fn open(&self, from: ProbeFrom, key: &ProbeKey) -> Option<(ProbeKind, Nonce)> {
        let (first, rest) = self.bytes.split_first()?;
        let (channel, rest) = rest.split_first_chunk()?;
        let (nonce, given) = rest.split_first_chunk::<NONCE_LEN>()?;
        let wanted = tag(from, *first, Channel(*channel), *nonce, key);
        let kind = match *first {
            PING => ProbeKind::Ping,
            PONG => ProbeKind::Pong,
            _ => return None,
        };
        same(given, &wanted).then_some((kind, *nonce))
    }
}

fn tag(from: ProbeFrom, kind: u8, channel: Channel, nonce: Nonce, key: &ProbeKey) -> [u8; TAG_LEN] {
    let from = match from {
        ProbeFrom::Caller => 0,
        ProbeFrom::Called => 1,
    };
    let mut hasher = blake3::Hasher::new_keyed(key);
    hasher
        .update(&[from, kind])
        .update(&channel.0)
        .update(&nonce);
    let mut tag = [0; TAG_LEN];
    hasher.finalize_xof().fill(&mut tag);
    tag
}

/// Compares in a time that does not tell where they differ.
fn same(a: &[u8], b: &[u8]) -> bool {
    let differing = a.iter().zip(b).fold(0, |all, (a, b)| all | (a ^ b));
    a.len() == b.len() && std::hint::black_box(differing) == 0
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KEY: ProbeKey = [7; 32];
    const CHANNEL: Channel = Channel([1, 2, 3, 4, 5, 6, 7, 8]);

    fn opened(bytes: &[u8], from: ProbeFrom, key: &ProbeKey) -> Option<(ProbeKind, Nonce)> {
        match Datagram::parse(bytes) {
            Some(Datagram::Probe(_, probe)) => probe.open(from, key),
            Some(Datagram::Data(..) | Datagram::Token(_)) | None => None,
        }
    }

    #[test]
    fn a_token_is_its_nonce() {
        let bytes = token([5; 8]);
        assert_eq!(Datagram::parse(&bytes), Some(Datagram::Token([5; 8])));
        assert_eq!(Datagram::parse(&bytes[..8]), None);
    }

    #[test]
    fn data_is_its_head_and_the_packet() {
        let bytes = [&data_head(CHANNEL)[..], b"packet"].concat();
        let data = Datagram::Data(CHANNEL, b"packet");
        assert_eq!(Datagram::parse(&bytes), Some(data));
        assert_eq!(Datagram::parse(&bytes[..8]), None);
    }

    #[test]
    fn a_probe_counts_only_from_the_other_end_of_its_connection() {
        for kind in [ProbeKind::Ping, ProbeKind::Pong] {
            let bytes = probe(kind, ProbeFrom::Caller, CHANNEL, [9; 8], &KEY);
            let open = |from, key| opened(&bytes, from, key);
            assert_eq!(open(ProbeFrom::Caller, &KEY), Some((kind, [9; 8])));
            assert_eq!(open(ProbeFrom::Called, &KEY), None);
            assert_eq!(open(ProbeFrom::Caller, &[8; 32]), None);
            for at in 0..PROBE_LEN {
                let mut wrong = bytes;
                wrong[at] ^= 1;
                assert_eq!(opened(&wrong, ProbeFrom::Caller, &KEY), None, "{at}");
            }
            assert_eq!(
                opened(&bytes[..PROBE_LEN - 1], ProbeFrom::Caller, &KEY),
                None
            );
        }
    }

    proptest! {
        #[test]
        fn packets_of_quic_are_never_ours(first in 0x40u8.., rest: Vec<u8>) {
            let bytes = [&[first][..], &rest].concat();
            prop_assert_eq!(Datagram::parse(&bytes), None);
        }

        #[test]
        fn nothing_panics(bytes: Vec<u8>) {
            let _ = opened(&bytes, ProbeFrom::Called, &KEY);
        }
    }
}
