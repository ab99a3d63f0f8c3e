//! A program that was killed and runs again at its port tells its peers so: to packets of
//! connections that it does not know any more it answers with a stateless reset (RFC 9000, section
//! 10.3), and they know at once, instead of after the idle timeout. They believe it because the
//! tokens come from the identity, as they did before the restart.

use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::{CryptoError, HmacKey};
use quinn::{ConnectionId, ConnectionIdGenerator, EndpointConfig};

use crate::identity::{Identity, IdentityError};

const TOKENS: &str = "peerconnect 2026-11 tokens of stateless resets";

/// Lets an endpoint answer for those that had the same identity before it.
pub(super) fn answer_for_earlier(
    config: &mut EndpointConfig,
    identity: &Identity,
) -> Result<(), IdentityError> {
    let seed = identity.random()?;
    config
        .reset_key(Arc::new(ResetKey(identity.secret(TOKENS))))
        .cid_generator(move || Box::new(Ids { seed, made: 0 }));
    Ok(())
}

struct ResetKey([u8; 32]);

impl HmacKey for ResetKey {
    fn sign(&self, data: &[u8], signature: &mut [u8]) {
        let hash = blake3::keyed_hash(&self.0, data);
        for (to, from) in signature.iter_mut().zip(hash.as_bytes()) {
            *to = *from;
        }
    }

    fn signature_len(&self) -> usize {
        blake3::OUT_LEN
    }

    fn verify(&self, data: &[u8], signature: &[u8]) -> Result<(), CryptoError> {
        let signature: [u8; blake3::OUT_LEN] = signature.try_into().map_err(|_| CryptoError)?;
        // Compares in constant time.
        match blake3::keyed_hash(&self.0, data) == signature {
            true => Ok(()),
            false => Err(CryptoError),
        }
    }
}

/// Ids that nobody can guess. quinn's own mark theirs, so that packets with other ids are dropped
/// without an answer: also those that an earlier run gave away.
struct Ids {
    seed: [u8; 32],
    made: u64,
}

const ID_LEN: usize = 8;

impl ConnectionIdGenerator for Ids {
    fn generate_cid(&mut self) -> ConnectionId {
        self.made += 1;
        let mut id = [0; ID_LEN];
        let mut random = blake3::Hasher::new_keyed(&self.seed);
        random.update(&self.made.to_le_bytes());
        random.finalize_xof().fill(&mut id);
        ConnectionId::new(&id)
    }

    fn cid_len(&self) -> usize {
        ID_LEN
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}
