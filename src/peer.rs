//! Who a peer is: its [`PeerId`], the hash of its public key, and how that is shown to people.

use std::fmt;
use std::str::FromStr;

use data_encoding::Specification;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

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
    fn json_uses_the_text_and_postcard_the_bytes() {
        let id = PeerId::of_public_key(b"key");
        assert_eq!(serde_json::to_string(&id).unwrap(), format!("\"{id}\""));
        assert_eq!(postcard::to_stdvec(&id).unwrap(), id.as_bytes());
    }
}
