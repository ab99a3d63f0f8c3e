//! Ids that nobody else can guess, from one seed, so that tests can repeat them.

/// A stream of random bytes.
#[derive(Debug)]
pub(super) struct Random(blake3::OutputReader);

impl Random {
    pub(super) fn new(seed: [u8; 32]) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("peerconnect/legacy ids of requests");
        hasher.update(&seed);
        Self(hasher.finalize_xof())
    }

    pub(super) fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.0.fill(&mut bytes);
        bytes
    }
}
