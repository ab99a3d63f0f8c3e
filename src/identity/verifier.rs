//! Checks of a peer's certificate and of the handshake signature made with its key.

use std::sync::{Arc, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, PeerIncompatible,
    SignatureScheme,
};

use crate::peer::PeerId;

/// How the DER `SubjectPublicKeyInfo` of every Ed25519 key begins (RFC 8410); 32 bytes follow.
const ED25519_SPKI_START: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];
const ED25519_SPKI_LEN: usize = ED25519_SPKI_START.len() + 32;

/// A certificate that cannot belong to a peer: not X.509, or its key is not Ed25519.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the certificate of a peer")]
pub struct InvalidCertificate;

/// The id that a certificate claims. Only the handshake signature proves it.
pub fn peer_id_of_certificate(certificate: &[u8]) -> Result<PeerId, InvalidCertificate> {
    let der = CertificateDer::from(certificate);
    let parsed = webpki::EndEntityCert::try_from(&der).map_err(|_| InvalidCertificate)?;
    let spki = parsed.subject_public_key_info();
    if spki.len() != ED25519_SPKI_LEN || !spki.starts_with(&ED25519_SPKI_START) {
        return Err(InvalidCertificate);
    }
    Ok(PeerId::of_public_key(&spki))
}

/// Who proved possession of a key in one handshake; filled by the verifier of the dial.
#[derive(Debug, Clone, Default)]
pub struct ProvenPeer(Arc<OnceLock<PeerId>>);

impl ProvenPeer {
    /// The peer, once its signature was checked.
    pub fn get(&self) -> Option<PeerId> {
        self.0.get().copied()
    }
}

/// Takes any peer that proves its key: who may do what is decided after the handshake.
#[derive(Debug)]
pub(super) struct AnyPeer;

impl ClientCertVerifier for AnyPeer {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        check_certificate(end_entity, intermediates)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        check_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}

/// Takes only the expected peer, if one is expected.
#[derive(Debug)]
pub(super) struct ExpectedPeer {
    expected: Option<PeerId>,
    proven: ProvenPeer,
}

impl ExpectedPeer {
    pub(super) fn new(expected: Option<PeerId>, proven: ProvenPeer) -> Self {
        Self { expected, proven }
    }
}

impl ServerCertVerifier for ExpectedPeer {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        check_certificate(end_entity, intermediates)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(no_tls12())
    }

    /// The id is compared here and not with the certificate alone, so that "another peer answered"
    /// is never said about somebody whose certificate was merely copied.
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let valid = check_signature(message, cert, dss)?;
        let id = peer_id_of_certificate(cert).map_err(|_| bad_certificate())?;
        // A handshake verifies one signature, so the cell is empty.
        let _ = self.proven.0.set(id);
        match self.expected {
            Some(expected) if expected != id => Err(Error::InvalidCertificate(
                CertificateError::ApplicationVerificationFailure,
            )),
            Some(_) | None => Ok(valid),
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}

fn check_certificate(
    end_entity: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
) -> Result<PeerId, Error> {
    if !intermediates.is_empty() {
        return Err(bad_certificate());
    }
    peer_id_of_certificate(end_entity).map_err(|_| bad_certificate())
}

fn check_signature(
    message: &[u8],
    cert: &CertificateDer<'_>,
    dss: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, Error> {
    if dss.scheme != SignatureScheme::ED25519 {
        return Err(PeerIncompatible::NoSignatureSchemesInCommon.into());
    }
    let algorithms = rustls::crypto::ring::default_provider().signature_verification_algorithms;
    rustls::crypto::verify_tls13_signature(message, cert, dss, &algorithms)
}

fn bad_certificate() -> Error {
    Error::InvalidCertificate(CertificateError::BadEncoding)
}

fn no_tls12() -> Error {
    PeerIncompatible::Tls12NotOffered.into()
}
