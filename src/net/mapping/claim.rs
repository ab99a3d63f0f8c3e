//! What a router knows this computer by, now and after the next start.

use std::net::Ipv4Addr;
use std::num::NonZeroU16;

use crab_nat::pcp;

/// Ports of the router that do if the one that is wanted is taken. Few: a router whose first four
/// are all taken refuses for another reason.
pub(super) const SPARES: usize = 3;
/// The first of the ports that no service has as its own (RFC 6335), which is where they are.
const SPARES_FROM: u16 = 49152;

/// Made of a secret of this computer and the router's address: nobody else can make it, and the
/// same is asked for again after this program was killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Claim {
    /// A router keeps a port for whoever has the nonce that it was opened with (RFC 6887, section
    /// 11.3).
    pub(super) nonce: pcp::Nonce,
    /// What is asked for instead of a port that is taken.
    pub(super) spares: [NonZeroU16; SPARES],
}

impl Claim {
    /// That of this computer at a router.
    pub(super) fn new(secret: &[u8; 32], gateway: Ipv4Addr) -> Self {
        let mut hasher = blake3::Hasher::new_keyed(secret);
        let mut bytes = hasher.update(&gateway.octets()).finalize_xof();
        let nonce = std::array::from_fn(|_| {
            let mut word = [0; 4];
            bytes.fill(&mut word);
            u32::from_ne_bytes(word)
        });
        let spares = std::array::from_fn(|_| {
            let mut word = [0; 2];
            bytes.fill(&mut word);
            let port = SPARES_FROM | u16::from_be_bytes(word);
            NonZeroU16::new(port).unwrap_or(NonZeroU16::MAX)
        });
        Self { nonce, spares }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_is_the_same_again_and_another_one_at_another_router() {
        let router = Ipv4Addr::new(192, 168, 1, 1);
        let claim = Claim::new(&[7; 32], router);
        assert_eq!(claim, Claim::new(&[7; 32], router));
        for other in [
            Claim::new(&[8; 32], router),
            Claim::new(&[7; 32], Ipv4Addr::new(192, 168, 1, 2)),
        ] {
            assert_ne!(claim.nonce, other.nonce);
            assert_ne!(claim.spares, other.spares);
        }
        assert!(claim.spares.iter().all(|port| port.get() >= SPARES_FROM));
    }
}
