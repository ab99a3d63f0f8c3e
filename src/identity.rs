//! Who we are and how a peer proves who it is: the Ed25519 key of this installation, the
//! self-signed certificate that carries it, and the TLS configurations that pin keys.
//!
//! The rules (the trust model is told in `certs/README.md`):
//! - TLS 1.3 only, certificates both ways, exactly one certificate, Ed25519 only.
//! - The handshake *signature* is checked before a key counts as proven; names, dates and
//!   extensions of a certificate say nothing.
//! - A dial that expects a [`PeerId`] fails closed on any other.
//! - No tickets, no resumption, no early data: every connection proves its key anew, so a peer
//!   that was blocked cannot slip in with what it was given before.

mod key_file;
mod verifier;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_ED25519, PublicKeyData};
use rustls::SignatureScheme;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, SignatureVerificationAlgorithm,
};

use crate::peer::PeerId;
use crate::protocol::texts::ALPNS;

pub use verifier::{InvalidCertificate, ProvenPeer, peer_id_of_certificate};

/// Name of the key file in the folder given to [`Identity::load_or_create`].
pub const KEY_FILE: &str = "identity.key";

/// Name of the key file of before, see [`Identity::renew`].
pub const OLD_KEY_FILE: &str = "identity.key.old";

/// What a `SubjectPublicKeyInfo` of Ed25519 begins with, before the raw key (RFC 8410).
const SPKI_START: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];

/// Why there is no identity. All of it is for the person at this computer.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The key file or its folder cannot be read or written.
    #[error("cannot use the key file {path}: {error}", path = path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// Others can read the key: they could be us. Not repaired silently, because it may have been
    /// copied already.
    #[error(
        "the key file {path} can be read by others; run: chmod 600 {path}",
        path = path.display()
    )]
    Exposed {
        /// The key file.
        path: PathBuf,
    },
    /// The file is not an Ed25519 private key in PEM form.
    #[error("the key file {path} is damaged", path = path.display())]
    Damaged {
        /// The key file.
        path: PathBuf,
    },
    /// The system has no random numbers, or refuses cryptography.
    #[error("cannot make a key: {0}")]
    Crypto(String),
}

/// The key of this installation, its certificate, and its [`PeerId`]. Cheap to clone.
/// The key is never shown: not by `Debug`, not in an error, not in a log.
#[derive(Clone)]
pub struct Identity {
    inner: Arc<Inner>,
}

struct Inner {
    id: PeerId,
    key: PrivatePkcs8KeyDer<'static>,
    certificate: CertificateDer<'static>,
    provider: Arc<CryptoProvider>,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Identity").field(&self.inner.id).finish()
    }
}

impl Identity {
    /// The identity in `dir`, made at the first start. Blocks on the disk.
    ///
    /// The key file is complete or absent at any time, readable by its owner only from its first
    /// moment on, and never replaced: of two programs starting at once both get the same key.
    pub fn load_or_create(dir: &Path) -> Result<Self, IdentityError> {
        let path = dir.join(KEY_FILE);
        let damaged = || IdentityError::Damaged { path: path.clone() };
        let pem = match key_file::load(&path)? {
            Some(pem) => pem,
            None => key_file::create(dir, &path, &new_key()?.serialize_pem())?,
        };
        let key =
            KeyPair::from_pkcs8_pem_and_sign_algo(&pem, &PKCS_ED25519).map_err(|_| damaged())?;
        Self::from_key(&key)
    }

    /// Another identity in `dir` from now on; programs that run with the old one keep it until they
    /// end. The old key stays beside it, in place of one that stayed there before. Blocks on the
    /// disk. Whenever this is interrupted, the next start finds the old key, the new one, or none
    /// and makes one.
    pub fn renew(dir: &Path) -> Result<Self, IdentityError> {
        key_file::put_aside(&dir.join(KEY_FILE), &dir.join(OLD_KEY_FILE))?;
        Self::load_or_create(dir)
    }

    /// A new identity in memory, gone with the program. For tests.
    pub fn generate() -> Result<Self, IdentityError> {
        Self::from_key(&new_key()?)
    }

    fn from_key(key: &KeyPair) -> Result<Self, IdentityError> {
        // The certificate is only the envelope of the key, so it says nothing about its owner.
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::CommonName, "PeerConnect");
        let certificate = params.self_signed(key).map_err(crypto)?;
        Ok(Self {
            inner: Arc::new(Inner {
                id: PeerId::of_public_key(&key.subject_public_key_info()),
                key: PrivatePkcs8KeyDer::from(key.serialize_der()),
                certificate: certificate.der().clone(),
                provider: Arc::new(provider()),
            }),
        })
    }

    /// Who we are.
    pub fn id(&self) -> PeerId {
        self.inner.id
    }

    /// Our certificate, which carries the public key.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.inner.certificate
    }

    /// TLS for connections that come in. Fails only if the cryptography is not available.
    pub fn server_config(&self) -> Result<Arc<QuicServerConfig>, IdentityError> {
        self.server_config_for(&ALPNS)
    }

    pub(crate) fn server_config_for(
        &self,
        alpn: &[&[u8]],
    ) -> Result<Arc<QuicServerConfig>, IdentityError> {
        QuicServerConfig::try_from(self.tls_server(alpn)?)
            .map(Arc::new)
            .map_err(crypto)
    }

    /// TLS for connections that come in, whatever carries it.
    pub(crate) fn tls_server(&self, alpn: &[&[u8]]) -> Result<rustls::ServerConfig, IdentityError> {
        let mut config = rustls::ServerConfig::builder_with_provider(self.inner.provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(crypto)?
            .with_client_cert_verifier(Arc::new(verifier::AnyPeer))
            .with_single_cert(vec![self.inner.certificate.clone()], self.private_key())
            .map_err(crypto)?;
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        config.send_tls13_tickets = 0;
        config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
        config.max_early_data_size = 0;
        Ok(config)
    }

    /// TLS for one dial. With `expected`, any other key fails the handshake; `proven` of the
    /// result tells which key was proven, even then.
    pub fn client_config(&self, expected: Option<PeerId>) -> Result<ClientTls, IdentityError> {
        self.client_config_for(expected, &ALPNS)
    }

    pub(crate) fn client_config_for(
        &self,
        expected: Option<PeerId>,
        alpn: &[&[u8]],
    ) -> Result<ClientTls, IdentityError> {
        let (config, proven) = self.tls_client(expected, alpn)?;
        let crypto = QuicClientConfig::try_from(config).map_err(crypto)?;
        Ok(ClientTls {
            crypto: Arc::new(crypto),
            server_name: server_name(expected),
            proven,
        })
    }

    /// TLS for one dial, whatever carries it, and who will have proved a key.
    pub(crate) fn tls_client(
        &self,
        expected: Option<PeerId>,
        alpn: &[&[u8]],
    ) -> Result<(rustls::ClientConfig, ProvenPeer), IdentityError> {
        let proven = ProvenPeer::default();
        let verifier = verifier::ExpectedPeer::new(expected, proven.clone());
        let mut config = rustls::ClientConfig::builder_with_provider(self.inner.provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(crypto)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_auth_cert(vec![self.inner.certificate.clone()], self.private_key())
            .map_err(crypto)?;
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        config.resumption = rustls::client::Resumption::disabled();
        config.enable_early_data = false;
        Ok((config, proven))
    }

    /// Bytes nobody can guess, from the system's source.
    pub fn random<const N: usize>(&self) -> Result<[u8; N], IdentityError> {
        let mut bytes = [0; N];
        match self.inner.provider.secure_random.fill(&mut bytes) {
            Ok(()) => Ok(bytes),
            Err(_) => Err(IdentityError::Crypto("no random numbers".into())),
        }
    }

    /// A key for `purpose` that only this installation can know, the same each time.
    pub(crate) fn secret(&self, purpose: &str) -> [u8; 32] {
        blake3::derive_key(purpose, self.inner.key.secret_pkcs8_der())
    }

    /// Signs what is said in public, where no handshake proves who says it. `purpose` keeps it from
    /// being taken for something else that the key signs.
    pub(crate) fn sign(&self, purpose: &str, message: &[u8]) -> Result<Signed, IdentityError> {
        let key = rustls::crypto::ring::sign::any_eddsa_type(&self.inner.key).map_err(crypto)?;
        let signer = key.choose_scheme(&[SignatureScheme::ED25519]);
        let signer = signer.ok_or_else(|| crypto("no signatures"))?;
        let signature = signer.sign(&said(purpose, message)).map_err(crypto)?;
        let spki = key.public_key().ok_or_else(|| crypto("no public key"))?;
        let raw = spki
            .as_ref()
            .strip_prefix(&SPKI_START[..])
            .unwrap_or_default();
        match (raw.try_into(), signature.try_into()) {
            (Ok(key), Ok(signature)) => Ok(Signed { key, signature }),
            _ => Err(crypto("not an Ed25519 key")),
        }
    }

    fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(self.inner.key.clone_key())
    }
}

/// A signature, and the key that it is by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Signed {
    /// The raw public key (RFC 8032).
    pub(crate) key: [u8; 32],
    /// The signature.
    pub(crate) signature: [u8; 64],
}

impl Signed {
    /// Whether `id` said this message for this purpose.
    pub(crate) fn is_by(&self, id: PeerId, purpose: &str, message: &[u8]) -> bool {
        let spki = [&SPKI_START[..], &self.key].concat();
        let algorithms = rustls::crypto::ring::default_provider().signature_verification_algorithms;
        let mut known = algorithms.mapping.iter();
        let ed25519 = known.find(|(scheme, _)| *scheme == SignatureScheme::ED25519);
        let valid = |algorithm: &&dyn SignatureVerificationAlgorithm| {
            let said = said(purpose, message);
            algorithm
                .verify_signature(&self.key, &said, &self.signature)
                .is_ok()
        };
        PeerId::of_public_key(&spki) == id
            && ed25519.is_some_and(|(_, algorithms)| algorithms.iter().any(valid))
    }
}

/// What is signed: never what TLS 1.3 signs, which begins with 64 spaces (RFC 8446, 4.4.3).
fn said(purpose: &str, message: &[u8]) -> Vec<u8> {
    [b"PeerConnect says ", purpose.as_bytes(), b"\0", message].concat()
}

/// What a dial needs.
#[derive(Clone)]
pub struct ClientTls {
    /// For `quinn::ClientConfig`.
    pub crypto: Arc<QuicClientConfig>,
    /// The server name of the dial. It carries the expected id, so that the id is part of what the
    /// handshake signs; a name that does not exist on any network.
    pub server_name: String,
    /// Who proved a key in this handshake.
    pub proven: ProvenPeer,
}

/// The server name with which `expected` is dialled: its text form as a DNS label.
pub(crate) fn server_name(expected: Option<PeerId>) -> String {
    match expected {
        Some(id) => format!("{id}.peerconnect.invalid"),
        None => "peerconnect.invalid".into(),
    }
}

fn new_key() -> Result<KeyPair, IdentityError> {
    KeyPair::generate_for(&PKCS_ED25519).map_err(crypto)
}

fn crypto(error: impl std::fmt::Display) -> IdentityError {
    IdentityError::Crypto(error.to_string())
}

/// AES-128-GCM first: the fastest where the processor helps, and strong enough.
fn provider() -> CryptoProvider {
    use rustls::crypto::ring::cipher_suite::{
        TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384, TLS13_CHACHA20_POLY1305_SHA256,
    };
    CryptoProvider {
        cipher_suites: vec![
            TLS13_AES_128_GCM_SHA256,
            TLS13_CHACHA20_POLY1305_SHA256,
            TLS13_AES_256_GCM_SHA384,
        ],
        ..rustls::crypto::ring::default_provider()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests;
