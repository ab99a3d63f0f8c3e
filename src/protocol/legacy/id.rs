//! Who an original is, as far as it says.

use std::fmt;
use std::str::FromStr;

use crate::peer::PeerId;

/// Bytes of an id.
pub const ID_LEN: usize = 20;

/// Derivation context of BLAKE3: never the same for two purposes.
const OWN_CONTEXT: &str = "peerconnect/legacy 20-byte id of an installation";

/// Each division takes nine digits off: the most that fit 32 bits.
const DIGITS: usize = 9;
const DIGITS_BASE: u64 = 1_000_000_000;

/// The identity that an original claims: 20 bytes, in text their value as a decimal number. Nobody
/// proves it. All originals whose user never changed the profile have the same one,
/// [`LegacyId::DEFAULT_PROFILE`]: tell peers apart by id *and* address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LegacyId([u8; ID_LEN]);

impl LegacyId {
    /// The id of every profile that nobody changed: SHA-1 of `1234`.
    pub const DEFAULT_PROFILE: Self = Self([
        0x71, 0x10, 0xed, 0xa4, 0xd0, 0x9e, 0x06, 0x2a, 0xa5, 0xe4, 0xa3, 0x90, 0xb0, 0xa5, 0x72,
        0xac, 0x0d, 0x2c, 0x02, 0x20,
    ]);

    /// The id with exactly these bytes.
    pub const fn from_bytes(bytes: [u8; ID_LEN]) -> Self {
        Self(bytes)
    }

    /// The id under which this installation shows itself to originals. It follows from the key, so
    /// it stays when addresses change; being one of 2^160 it is nobody else's, in particular not
    /// [`LegacyId::DEFAULT_PROFILE`].
    pub fn of_installation(peer: &PeerId) -> Self {
        let hash = blake3::derive_key(OWN_CONTEXT, peer.as_bytes());
        Self::from_short(&hash[..ID_LEN]).unwrap_or(Self([0; ID_LEN]))
    }

    /// The id with these bytes at its end, zeros before them: what other programs with shorter
    /// ids mean, because originals compare numbers. `None` above 20 bytes.
    pub fn from_short(bytes: &[u8]) -> Option<Self> {
        let mut full = [0; ID_LEN];
        full.get_mut(ID_LEN.checked_sub(bytes.len())?..)?
            .copy_from_slice(bytes);
        Some(Self(full))
    }

    /// The bytes, as records have them.
    pub const fn as_bytes(&self) -> &[u8; ID_LEN] {
        &self.0
    }

    /// How far two ids are from each other in the sense of Kademlia; compare with `<`.
    pub fn distance(&self, other: &[u8; ID_LEN]) -> [u8; ID_LEN] {
        let mut distance = self.0;
        distance.iter_mut().zip(other).for_each(|(a, b)| *a ^= b);
        distance
    }
}

impl fmt::Display for LegacyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut limbs: Vec<u32> = self
            .0
            .chunks_exact(4)
            .map(|four| {
                four.iter()
                    .fold(0, |sum, byte| (sum << 8) | u32::from(*byte))
            })
            .collect();
        // The lowest digits come first.
        let mut parts = Vec::new();
        while limbs.iter().any(|limb| *limb != 0) {
            let mut remainder = 0;
            for limb in &mut limbs {
                let value = (remainder << 32) | u64::from(*limb);
                *limb = (value / DIGITS_BASE) as u32;
                remainder = value % DIGITS_BASE;
            }
            parts.push(remainder);
        }
        write!(f, "{}", parts.pop().unwrap_or(0))?;
        parts
            .iter()
            .rev()
            .try_for_each(|part| write!(f, "{part:0DIGITS$}"))
    }
}

impl fmt::Debug for LegacyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LegacyId({self})")
    }
}

/// The text is not a decimal number below 2^160, or not in its shortest form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the id of an original")]
pub struct InvalidLegacyId;

impl FromStr for LegacyId {
    type Err = InvalidLegacyId;

    /// Only the form that [`Display`](fmt::Display) gives: originals compare texts, so another
    /// form would be another peer to them.
    fn from_str(text: &str) -> Result<Self, InvalidLegacyId> {
        if text.is_empty() || (text.len() > 1 && text.starts_with('0')) {
            return Err(InvalidLegacyId);
        }
        let mut bytes = [0u8; ID_LEN];
        for digit in text.chars() {
            let mut carry = digit.to_digit(10).ok_or(InvalidLegacyId)?;
            for byte in bytes.iter_mut().rev() {
                let value = u32::from(*byte) * 10 + carry;
                *byte = value as u8;
                carry = value >> 8;
            }
            if carry != 0 {
                return Err(InvalidLegacyId);
            }
        }
        Ok(Self(bytes))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use sha1::{Digest, Sha1};

    fn of_profile(profile: &str) -> LegacyId {
        LegacyId(Sha1::digest(profile.as_bytes()).into())
    }

    #[test]
    fn the_id_of_a_profile_is_its_sha1_as_a_decimal_number() {
        assert_eq!(of_profile("1234"), LegacyId::DEFAULT_PROFILE);
        assert_eq!(
            LegacyId::DEFAULT_PROFILE.to_string(),
            "645493470721644289521265973501766936213572026912"
        );
        assert_eq!(
            of_profile("1001").to_string(),
            "1261721824707616416674701317573033946088844725447"
        );
    }

    #[test]
    fn our_own_id_follows_from_the_key_and_stays() {
        let own = LegacyId::of_installation(&PeerId::from_bytes([7; 32]));
        assert_eq!(
            own,
            LegacyId::of_installation(&PeerId::from_bytes([7; 32])),
            "the same key, the same id"
        );
        assert_ne!(own, LegacyId::of_installation(&PeerId::from_bytes([8; 32])));
        assert_ne!(own, LegacyId::DEFAULT_PROFILE);
        assert_eq!(
            own.to_string(),
            "106842519136486380944718193810496159988423246125",
            "a release that changes this is another peer to all originals"
        );
    }

    #[test]
    fn texts_that_are_not_the_shortest_decimal_form_are_refused() {
        let largest = LegacyId([255; ID_LEN]).to_string();
        assert_eq!(largest, "1461501637330902918203684832716283019655932542975");
        assert_eq!(largest.parse(), Ok(LegacyId([255; ID_LEN])));
        assert_eq!("0".parse(), Ok(LegacyId([0; ID_LEN])));
        for text in [
            "",
            "00",
            "01",
            "+1",
            "-1",
            " 1",
            "1 ",
            "0x1",
            "١",
            "1461501637330902918203684832716283019655932542976",
            &"9".repeat(60_000),
        ] {
            assert_eq!(text.parse::<LegacyId>(), Err(InvalidLegacyId));
        }
    }

    #[test]
    fn shorter_ids_mean_the_same_number() {
        let short = LegacyId::from_short(&[1, 0]).unwrap();
        assert_eq!(short.to_string(), "256");
        assert_eq!(LegacyId::from_short(&[0; 21]), None);
    }

    proptest! {
        #[test]
        fn text_and_bytes_are_two_forms_of_one_number(bytes: [u8; ID_LEN], small: u128) {
            let id = LegacyId(bytes);
            prop_assert_eq!(id.to_string().parse(), Ok(id));
            let id = LegacyId::from_short(&small.to_be_bytes()).unwrap();
            prop_assert_eq!(id.to_string(), small.to_string());
        }
    }
}
