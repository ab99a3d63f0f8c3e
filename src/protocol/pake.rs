//! How two peers find out whether they know the same code, so that nobody else learns it: SPAKE2
//! (RFC 9382, in the group of Ed25519), with both keys in it, and bound to their connection.
//!
//! Whoever sits in the middle with keys of his own has other keys on both sides, and another
//! connection: what he passes on proves nothing.

use std::fmt;

use serde::{Deserialize, Serialize};
use spake2::{Ed25519Group, Identity, Password, Spake2};

use super::codes::OneTimeCode;
use crate::peer::PeerId;

/// Bytes of a [`Share`].
pub const SHARE_LEN: usize = 32;
/// What the crate puts before the shares of its two sides.
const SENDER: u8 = b'A';
const RECEIVER: u8 = b'B';
/// Derivation contexts of BLAKE3: never the same for two purposes.
const PASSWORD_CONTEXT: &str = "peerconnect/1.4 password of a code";
const KEY_CONTEXT: &str = "peerconnect/1.4 key of a code";

/// One side's half of the exchange: says nothing about the code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share(pub [u8; SHARE_LEN]);

/// What only the two ends of one connection have: from its TLS exporter.
pub type Binding = [u8; 32];

/// Shows that its side came to the same key.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub struct Proof([u8; 32]);

impl PartialEq for Proof {
    /// Takes the same time whatever is different.
    fn eq(&self, other: &Self) -> bool {
        blake3::Hash::from_bytes(self.0) == blake3::Hash::from_bytes(other.0)
    }
}

impl Eq for Proof {}

impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Proof(..)")
    }
}

/// Which side one is: neither can pass off as its own what the other has said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The code was made here: the side that has files.
    Made,
    /// It was typed here.
    Typed,
}

/// The two peers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peers {
    /// Where the code was made.
    pub made: PeerId,
    /// Where it was typed.
    pub typed: PeerId,
}

/// An exchange that waits for the other half. Used once.
pub struct Begun {
    state: Spake2<Ed25519Group>,
    side: Side,
}

impl fmt::Debug for Begun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Begun").finish_non_exhaustive()
    }
}

/// What the two sides show each other, the same at both if they know the same code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proofs {
    /// Of the side that made the code.
    pub made: Proof,
    /// Of the side where it was typed.
    pub typed: Proof,
}

/// Begins an exchange about `code`. Needs the system's random numbers.
pub fn begin(side: Side, code: &OneTimeCode, peers: Peers) -> (Begun, Share) {
    let secret = blake3::derive_key(PASSWORD_CONTEXT, code.to_string().as_bytes());
    let password = Password::new(secret);
    let made = Identity::new(peers.made.as_bytes());
    let typed = Identity::new(peers.typed.as_bytes());
    let (state, message) = match side {
        Side::Made => Spake2::start_a(&password, &made, &typed),
        Side::Typed => Spake2::start_b(&password, &made, &typed),
    };
    let mut share = Share([0; SHARE_LEN]);
    // The first byte only says which side it is.
    for (to, from) in share.0.iter_mut().zip(message.into_iter().skip(1)) {
        *to = from;
    }
    (Begun { state, side }, share)
}

impl Begun {
    /// What both sides have to show now. `None` if `theirs` is nothing that comes of an exchange.
    pub fn finish(self, theirs: Share, binding: &Binding) -> Option<Proofs> {
        let other = match self.side {
            Side::Made => RECEIVER,
            Side::Typed => SENDER,
        };
        let message = [&[other][..], &theirs.0].concat();
        let shared = self.state.finish(&message).ok()?;
        let mut hasher = blake3::Hasher::new_derive_key(KEY_CONTEXT);
        hasher.update(&shared).update(binding);
        let key = *hasher.finalize().as_bytes();
        let proof = |side: &[u8]| Proof(*blake3::keyed_hash(&key, side).as_bytes());
        Some(Proofs {
            made: proof(b"made"),
            typed: proof(b"typed"),
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn code(text: &str) -> OneTimeCode {
        text.parse().unwrap()
    }

    fn peers(made: u8, typed: u8) -> Peers {
        Peers {
            made: PeerId::from_bytes([made; 32]),
            typed: PeerId::from_bytes([typed; 32]),
        }
    }

    /// What each side has come to.
    fn exchange(
        [one, other]: [&str; 2],
        peers: [Peers; 2],
        bindings: [Binding; 2],
    ) -> (Proofs, Proofs) {
        let (made, share) = begin(Side::Made, &code(one), peers[0]);
        let (typed, answer) = begin(Side::Typed, &code(other), peers[1]);
        let made = made.finish(answer, &bindings[0]).unwrap();
        (made, typed.finish(share, &bindings[1]).unwrap())
    }

    #[test]
    fn only_who_knows_the_code_on_the_same_connection_with_the_same_keys_can_show_it() {
        let (right, us, line) = ("7-river-copper", peers(1, 2), [[5; 32]; 2]);
        let (made, typed) = exchange([right, right], [us, us], line);
        assert_eq!(made, typed);
        assert_ne!(made.made, made.typed, "neither can be sent back");
        let others = [
            exchange([right, "7-river-coral"], [us, us], line),
            exchange([right, "8-river-copper"], [us, us], line),
            // Somebody in the middle has other keys on both sides.
            exchange([right, right], [us, peers(3, 2)], line),
            exchange([right, right], [us, peers(1, 3)], line),
            exchange([right, right], [us, us], [[5; 32], [6; 32]]),
        ];
        for (made, typed) in others {
            assert_ne!(made.made, typed.made);
            assert_ne!(made.typed, typed.typed);
        }
    }

    #[test]
    fn each_exchange_is_another() {
        let once = || begin(Side::Made, &code("7-river-copper"), peers(1, 2)).1;
        assert_ne!(once(), once());
    }

    #[test]
    fn the_own_share_sent_back_proves_nothing() {
        let (made, share) = begin(Side::Made, &code("7-river-copper"), peers(1, 2));
        let proofs = made.finish(share, &[0; 32]).unwrap();
        let (_, typed) = exchange(["7-river-copper"; 2], [peers(1, 2); 2], [[0; 32]; 2]);
        assert_ne!(proofs, typed);
    }

    proptest! {
        #[test]
        fn no_share_makes_it_panic(bytes: [u8; 32]) {
            let (made, _) = begin(Side::Made, &code("7-river-copper"), peers(1, 2));
            let _ = made.finish(Share(bytes), &[0; 32]);
        }
    }
}
