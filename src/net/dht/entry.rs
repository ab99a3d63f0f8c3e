//! What a peer says of itself in the DHT, sealed for those who know its id. Pure.
//!
//! Nobody who only stores an entry, or walks through the DHT, learns whose it is: the place it is
//! at and the key it is sealed with are made of the [`PeerId`], which is a hash. Whoever knows the
//! id can read it, and can put something else in its place; but only its owner can sign one.

use std::net::SocketAddr;

use mainline::SigningKey;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use serde::{Deserialize, Serialize};

use crate::identity::{Identity, IdentityError, Signed};
use crate::net::whereabouts::{is_for_everybody, is_plausible};
use crate::peer::PeerId;
use crate::protocol::link_uri::{LINK_RELAYS_MAX, RELAY_ADDRS_MAX, RelayHint};

/// Most bytes that the DHT takes (BEP 44).
const SEALED_LEN_MAX: usize = 1000;
/// Addresses in an entry.
const ADDRS_MAX: usize = 8;
/// Seconds by which an entry may be older or younger than the reader's clock says.
const AGE_MAX: u64 = 24 * 60 * 60;
/// What the key pair that an entry is at is made of, together with the id.
const PLACES: &str = "peerconnect 2026-11 places of entries in the dht";
/// What the key that an entry is sealed with is made of, together with the id.
const SEALS: &str = "peerconnect 2026-11 seals of entries in the dht";
/// What the signature is for.
const PURPOSE: &str = "where I am (dht, 1)";

/// Where a peer says that it can be reached from everywhere.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    /// When it was made, in seconds since 1970 by its owner's clock: of several the newest counts.
    pub(super) made: u64,
    /// Addresses, most useful first.
    pub(super) addrs: Vec<SocketAddr>,
    /// Relays where it listens.
    pub(super) relays: Vec<RelayHint>,
}

impl Entry {
    /// What is said of these addresses and relays: those that mean something everywhere.
    pub(super) fn of(made: u64, addrs: &[SocketAddr], relays: &[RelayHint]) -> Self {
        let entry = Self {
            made,
            addrs: addrs.to_vec(),
            relays: relays.to_vec(),
        };
        entry.bounded()
    }

    /// Whether it was made about `now`, by clocks that need not agree well. Whoever knows the id
    /// can put an old one in place of a new one.
    pub(super) fn is_of(&self, now: u64) -> bool {
        self.made.abs_diff(now) < AGE_MAX
    }

    /// Whether there is nothing to say.
    pub(super) fn is_empty(&self) -> bool {
        self.addrs.is_empty() && self.relays.is_empty()
    }

    /// Without what cannot be meant: its owner may be hostile, too.
    fn bounded(mut self) -> Self {
        let has_sense = |addr: &SocketAddr| {
            let ip = addr.ip();
            is_for_everybody(ip) && is_plausible(*addr, ip)
        };
        self.addrs.retain(has_sense);
        self.addrs.truncate(ADDRS_MAX);
        for relay in &mut self.relays {
            relay.addrs.retain(has_sense);
            relay.addrs.truncate(RELAY_ADDRS_MAX);
        }
        self.relays.retain(|relay| !relay.addrs.is_empty());
        self.relays.truncate(LINK_RELAYS_MAX);
        self
    }

    /// Signs and seals it.
    pub(super) fn seal(&self, identity: &Identity) -> Result<Vec<u8>, IdentityError> {
        let said = postcard::to_stdvec(self).map_err(|e| IdentityError::Crypto(e.to_string()))?;
        seal(&said, identity)
    }

    /// The entry of `id`, if `sealed` is one: sealed with its id and signed with its key.
    pub(super) fn open(sealed: &[u8], id: PeerId) -> Option<Self> {
        if sealed.len() > SEALED_LEN_MAX {
            return None;
        }
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE_LEN>()?;
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let mut sealed = sealed.to_vec();
        let opened = sealing_key(id)?.open_in_place(nonce, Aad::empty(), &mut sealed);
        let (key, rest) = opened.ok()?.split_first_chunk()?;
        let (signature, said) = rest.split_first_chunk()?;
        let signed = Signed {
            key: *key,
            signature: *signature,
        };
        if !signed.is_by(id, PURPOSE, said) {
            return None;
        }
        // What a later version adds behind it is not looked at.
        let (entry, _): (Self, _) = postcard::take_from_bytes(said).ok()?;
        Some(entry.bounded())
    }
}

fn seal(said: &[u8], identity: &Identity) -> Result<Vec<u8>, IdentityError> {
    let Signed { key, signature } = identity.sign(PURPOSE, said)?;
    let mut sealed = [&key[..], &signature, said].concat();
    let nonce: [u8; NONCE_LEN] = identity.random()?;
    let sealing = sealing_key(identity.id()).and_then(|key| {
        let nonce = Nonce::assume_unique_for_key(nonce);
        let done = key.seal_in_place_append_tag(nonce, Aad::empty(), &mut sealed);
        done.ok()
    });
    match sealing {
        Some(()) => Ok([&nonce[..], &sealed].concat()),
        None => Err(IdentityError::Crypto("nothing can be sealed".into())),
    }
}

/// The key pair that an entry is found by and written with (BEP 44): everybody who knows the id
/// has it.
pub(super) fn place(id: PeerId) -> SigningKey {
    SigningKey::from_bytes(&blake3::derive_key(PLACES, id.as_bytes()))
}

fn sealing_key(id: PeerId) -> Option<LessSafeKey> {
    let key = blake3::derive_key(SEALS, id.as_bytes());
    let key = UnboundKey::new(&CHACHA20_POLY1305, &key).ok()?;
    Some(LessSafeKey::new(key))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn addr(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn entry() -> Entry {
        let relay = RelayHint {
            id: PeerId::from_bytes([9; 32]),
            addrs: vec![addr("198.51.100.1:3485")],
        };
        Entry::of(7, &[addr("203.0.113.5:3485")], &[relay])
    }

    #[test]
    fn only_who_knows_the_id_can_read_an_entry_and_only_its_owner_can_make_one() {
        let ours = Identity::generate().unwrap();
        let other = Identity::generate().unwrap();
        let sealed = entry().seal(&ours).unwrap();
        assert_eq!(Entry::open(&sealed, ours.id()), Some(entry()));
        assert_eq!(Entry::open(&sealed, other.id()), None);
        // Nothing of it says whose it is.
        let shows = |what: &[u8]| sealed.windows(what.len()).any(|part| part == what);
        assert!(!shows(ours.id().as_bytes()) && !shows(&[9; 32]));

        // Somebody who knows our id seals something for it, signed with a key of their own.
        let said = postcard::to_stdvec(&entry()).unwrap();
        let forged = other.sign(PURPOSE, &said).unwrap();
        let mut forged = [&forged.key[..], &forged.signature, &said].concat();
        let key = sealing_key(ours.id()).unwrap();
        let nonce = Nonce::assume_unique_for_key([1; NONCE_LEN]);
        key.seal_in_place_append_tag(nonce, Aad::empty(), &mut forged)
            .unwrap();
        let forged = [&[1; NONCE_LEN][..], &forged].concat();
        assert_eq!(Entry::open(&forged, ours.id()), None);
        // What we signed for another purpose is none either.
        let signed = ours.sign("something else", &said).unwrap();
        assert!(signed.is_by(ours.id(), "something else", &said));
        assert!(!signed.is_by(ours.id(), PURPOSE, &said));
        assert!(!signed.is_by(other.id(), "something else", &said));
    }

    #[test]
    fn an_entry_says_nothing_of_a_network_of_somebody_and_always_fits() {
        let inside = [
            "192.168.1.7:1",
            "10.0.0.1:1",
            "100.64.0.1:1",
            "127.0.0.1:1",
            "[fe80::1]:1",
            "[fd00::1]:1",
            "203.0.113.5:0",
        ]
        .map(addr);
        assert!(Entry::of(1, &inside, &[]).is_empty());
        let many: Vec<SocketAddr> = (1..99)
            .map(|n| SocketAddr::new([0x2001, 0xdb8, 0, 0, 0, 0, 0, n].into(), u16::MAX))
            .collect();
        let relay = |n| RelayHint {
            id: PeerId::from_bytes([n; 32]),
            addrs: many.clone(),
        };
        let relays: Vec<RelayHint> = (0..9).map(relay).collect();
        let entry = Entry::of(u64::MAX, &many, &relays);
        let ours = Identity::generate().unwrap();
        let sealed = entry.seal(&ours).unwrap();
        assert!(sealed.len() <= SEALED_LEN_MAX, "{}", sealed.len());
        assert_eq!(Entry::open(&sealed, ours.id()), Some(entry));
        // A hostile owner says more than it may.
        let hostile = Entry {
            made: 1,
            addrs: inside.to_vec(),
            relays: vec![
                RelayHint {
                    addrs: inside.to_vec(),
                    ..relay(2)
                },
                RelayHint {
                    addrs: many[..9].to_vec(),
                    ..relay(1)
                },
            ],
        };
        let opened = Entry::open(&hostile.seal(&ours).unwrap(), ours.id()).unwrap();
        assert_eq!(opened.addrs, []);
        let [relay] = &opened.relays[..] else {
            panic!("{opened:?}");
        };
        assert_eq!(relay.addrs, many[..RELAY_ADDRS_MAX]);
        assert!(!Entry::default().is_of(AGE_MAX) && Entry::default().is_of(AGE_MAX - 1));
    }

    proptest! {
        #[test]
        fn whatever_its_owner_says_in_it_stays_within_bounds(
            said in proptest::collection::vec(any::<u8>(), 0..800),
        ) {
            let owner = Identity::generate().unwrap();
            if let Some(entry) = Entry::open(&seal(&said, &owner).unwrap(), owner.id()) {
                prop_assert!(entry.addrs.len() <= ADDRS_MAX);
                prop_assert!(entry.relays.len() <= LINK_RELAYS_MAX);
                prop_assert!(entry.addrs.iter().all(|addr| is_for_everybody(addr.ip())));
            }
        }

        #[test]
        fn no_bytes_but_the_right_ones_are_an_entry(
            bytes in proptest::collection::vec(any::<u8>(), 0..1100),
            at in any::<proptest::sample::Index>(),
            bit in 0..8_u8,
        ) {
            let ours = Identity::generate().unwrap();
            prop_assert_eq!(Entry::open(&bytes, ours.id()), None);
            let mut sealed = entry().seal(&ours).unwrap();
            let at = at.index(sealed.len());
            sealed[at] ^= 1_u8 << bit;
            prop_assert_eq!(Entry::open(&sealed, ours.id()), None);
        }
    }
}
