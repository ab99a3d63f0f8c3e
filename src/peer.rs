//! Who a peer is: its [`PeerId`], the hash of its public key, and how that is shown to people.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use data_encoding::Specification;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::protocol::legacy::LegacyId;

/// Identity of an installation: the BLAKE3 hash of the DER `SubjectPublicKeyInfo` of its
/// certificate. Whoever proves possession of that key in the TLS handshake *is* that peer;
/// names, addresses and certificate dates say nothing about identity.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId([u8; 32]);

impl PeerId {
    /// Length of the full text form: 32 bytes in base32.
    pub const TEXT_LEN: usize = 52;

    /// The identity that belongs to a DER-encoded `SubjectPublicKeyInfo`.
    pub fn of_public_key(spki_der: &[u8]) -> Self {
        Self(*blake3::hash(spki_der).as_bytes())
    }

    /// The identity with exactly these bytes, as read from a link or a message.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes of the hash.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The first eight characters of the text form, for lists and logs. Not unique against an
    /// adversary: never use it to decide who somebody is.
    pub fn short(&self) -> String {
        let mut text = self.to_string();
        text.truncate(8);
        text
    }
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&base32().encode(&self.0))
    }
}

impl fmt::Debug for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PeerId({})", self.short())
    }
}

/// The text is not a peer id: wrong length or a character outside `a-z2-7`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a peer id")]
pub struct InvalidPeerId;

impl FromStr for PeerId {
    type Err = InvalidPeerId;

    fn from_str(text: &str) -> Result<Self, InvalidPeerId> {
        if text.len() != Self::TEXT_LEN {
            return Err(InvalidPeerId);
        }
        let bytes = base32()
            .decode(text.as_bytes())
            .map_err(|_| InvalidPeerId)?;
        bytes.try_into().map(Self).map_err(|_| InvalidPeerId)
    }
}

impl Serialize for PeerId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            self.0.serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for PeerId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let text = <std::borrow::Cow<'_, str>>::deserialize(deserializer)?;
            text.parse().map_err(serde::de::Error::custom)
        } else {
            <[u8; 32]>::deserialize(deserializer).map(Self)
        }
    }
}

/// A program of the original's kind, as far as it says. Nobody proves the id, and all whose person
/// never changed the profile have the same one: only with the address it means somebody at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LegacyPeer {
    /// What it says its id is.
    #[serde(rename = "legacy", with = "legacy_id")]
    pub id: LegacyId,
    /// Where it is.
    pub addr: SocketAddr,
}

/// Ids of originals travel as text, as they write them.
pub(crate) mod legacy_id {
    use super::{Deserialize, Deserializer, LegacyId, Serializer};

    pub(crate) fn serialize<S: Serializer>(id: &LegacyId, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(id)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<LegacyId, D::Error> {
        let text = String::deserialize(from)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Who is at the other end of a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Party {
    /// A peer that has proven its key.
    Key(PeerId),
    /// Somebody who claims to be this. Never trusted, never taken for a peer with a key.
    Legacy(LegacyPeer),
}

impl Party {
    /// The key, if it has proven one.
    pub fn key(&self) -> Option<PeerId> {
        match self {
            Self::Key(id) => Some(*id),
            Self::Legacy(_) => None,
        }
    }

    /// What it claims, if it has proven nothing.
    pub fn legacy(&self) -> Option<LegacyPeer> {
        match self {
            Self::Key(_) => None,
            Self::Legacy(peer) => Some(*peer),
        }
    }
}

impl From<PeerId> for Party {
    fn from(id: PeerId) -> Self {
        Self::Key(id)
    }
}

/// A [`Party`] for readers that must be told which kind follows.
#[derive(Serialize, Deserialize)]
enum Tagged {
    Key(PeerId),
    Legacy(LegacyPeer),
}

/// A [`Party`] for readers that see it: a text is a key.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Plain {
    Key(PeerId),
    Legacy(LegacyPeer),
}

impl Serialize for Party {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match (*self, serializer.is_human_readable()) {
            (Self::Key(id), true) => Plain::Key(id).serialize(serializer),
            (Self::Legacy(peer), true) => Plain::Legacy(peer).serialize(serializer),
            (Self::Key(id), false) => Tagged::Key(id).serialize(serializer),
            (Self::Legacy(peer), false) => Tagged::Legacy(peer).serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Party {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            Ok(match Plain::deserialize(deserializer)? {
                Plain::Key(id) => Self::Key(id),
                Plain::Legacy(peer) => Self::Legacy(peer),
            })
        } else {
            Ok(match Tagged::deserialize(deserializer)? {
                Tagged::Key(id) => Self::Key(id),
                Tagged::Legacy(peer) => Self::Legacy(peer),
            })
        }
    }
}

/// RFC 4648 base32 in lower case without padding; upper case is accepted, because QR codes use it.
pub(crate) fn base32() -> data_encoding::Encoding {
    let mut spec = Specification::new();
    spec.symbols.push_str("abcdefghijklmnopqrstuvwxyz234567");
    spec.translate.from.push_str("ABCDEFGHIJKLMNOPQRSTUVWXYZ");
    spec.translate.to.push_str("abcdefghijklmnopqrstuvwxyz");
    #[expect(
        clippy::expect_used,
        reason = "a constant specification; covered by the tests below"
    )]
    spec.encoding().expect("a valid base32 alphabet")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_round_trips_and_ignores_case() {
        let id = PeerId::of_public_key(b"key");
        let text = id.to_string();
        assert_eq!(text.len(), PeerId::TEXT_LEN);
        assert_eq!(text.parse(), Ok(id));
        assert_eq!(text.to_uppercase().parse(), Ok(id));
        assert_eq!(text[1..].parse::<PeerId>(), Err(InvalidPeerId));
        assert_eq!(
            text.replace(&text[..1], "1").parse::<PeerId>(),
            Err(InvalidPeerId)
        );
    }

    #[test]
    fn a_party_survives_json_and_postcard_and_a_text_is_a_key() {
        let id = PeerId::of_public_key(b"key");
        let legacy = LegacyPeer {
            id: LegacyId::DEFAULT_PROFILE,
            addr: "192.0.2.1:3485".parse().unwrap(),
        };
        for party in [Party::Key(id), Party::Legacy(legacy)] {
            let json = serde_json::to_string(&party).unwrap();
            assert_eq!(serde_json::from_str::<Party>(&json).unwrap(), party);
            let bytes = postcard::to_stdvec(&party).unwrap();
            assert_eq!(postcard::from_bytes::<Party>(&bytes).unwrap(), party);
        }
        let json = serde_json::to_string(&Party::Key(id)).unwrap();
        assert_eq!(json, format!("\"{id}\""));
    }

    #[test]
    fn json_uses_the_text_and_postcard_the_bytes() {
        let id = PeerId::of_public_key(b"key");
        assert_eq!(serde_json::to_string(&id).unwrap(), format!("\"{id}\""));
        assert_eq!(postcard::to_stdvec(&id).unwrap(), id.as_bytes());
    }
}
