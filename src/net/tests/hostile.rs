//! What a peer that breaks the rules can and cannot do.

use std::sync::Arc;

use quinn::crypto::rustls::QuicClientConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SigningKey};

use super::*;
use crate::protocol::frame::{FrameError, encode};
use crate::protocol::sessions::{REFERRALS, REFERRALS_MAX, Referral};

fn closed_with(error: &quinn::ConnectionError) -> Option<(Code, String)> {
    let quinn::ConnectionError::ApplicationClosed(close) = error else {
        return None;
    };
    let text = String::from_utf8_lossy(&close.reason).into_owned();
    Some((errors::code_of(close.error_code), text))
}

/// An attacker who is connected to `node`.
async fn attacker(node: &mut Node) -> (quinn::Endpoint, quinn::Connection, PeerConnection) {
    let identity = Identity::generate().unwrap();
    let endpoint = raw_endpoint();
    let quic = raw_connection(&endpoint, &identity, node).await;
    raw_greeting(&quic, &identity).await;
    let seen = node.connected().await;
    (endpoint, quic, seen)
}

async fn expect_offence(quic: &quinn::Connection, seen: &PeerConnection, offence: Offence) {
    assert_eq!(seen.closed().await, LinkError::Offence(offence));
    let told = closed_with(&quic.closed().await);
    assert_eq!(told, Some((Code::Offence, offence.to_string())));
}

/// Shows a certificate of somebody else, and signs with its own key.
#[derive(Debug)]
struct Stolen(Arc<CertifiedKey>);

impl rustls::client::ResolvesClientCert for Stolen {
    fn resolve(&self, _: &[&[u8]], _: &[rustls::SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

#[derive(Debug)]
struct AnyServer;

impl rustls::client::danger::ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &rustls::pki_types::ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        vec![rustls::SignatureScheme::ED25519]
    }
}

fn signing_key() -> Arc<dyn SigningKey> {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let der = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    rustls::crypto::ring::sign::any_supported_type(&der).unwrap()
}

/// How a caller with these certificates and another key fares.
async fn call_with(node: &Node, chain: Vec<CertificateDer<'static>>) -> quinn::ConnectionError {
    let stolen = Stolen(Arc::new(CertifiedKey::new(chain, signing_key())));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyServer))
        .with_client_cert_resolver(Arc::new(stolen));
    tls.alpn_protocols = vec![ALPN.to_vec()];
    let config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
    let endpoint = raw_endpoint();
    let connecting = endpoint.connect_with(config, node.addr(), "peerconnect.invalid");
    // The caller may believe for a moment that it is connected.
    match connecting.unwrap().await {
        Ok(quic) => quic.closed().await,
        Err(error) => error,
    }
}

fn is_alert(error: &quinn::ConnectionError) -> bool {
    matches!(error, quinn::ConnectionError::ConnectionClosed(close)
        if (0x100..0x200).contains(&u64::from(close.error_code)))
}

#[tokio::test]
async fn a_copied_certificate_is_worth_nothing_without_its_key() {
    let mut b = Node::new("b").await;
    let victim = Identity::generate().unwrap();
    let error = call_with(&b, vec![victim.certificate().clone()]).await;
    // decrypt_error: the alert for a wrong signature (RFC 8446, section 6.2).
    assert!(
        matches!(&error, quinn::ConnectionError::ConnectionClosed(close)
            if close.error_code == quinn::TransportErrorCode::crypto(51)),
        "{error:?}"
    );
    assert!(b.arrivals.try_recv().is_err());
}

#[tokio::test]
async fn callers_without_exactly_one_good_certificate_are_refused() {
    let mut b = Node::new("b").await;
    let one = Identity::generate().unwrap().certificate().clone();
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("certs");
    let p256 = CertificateDer::from(std::fs::read(dir.join("p256.der")).unwrap());
    for chain in [vec![one.clone(), one], vec![p256], Vec::new()] {
        let error = call_with(&b, chain).await;
        assert!(is_alert(&error), "{error:?}");
    }
    assert!(b.arrivals.try_recv().is_err());
}

#[tokio::test]
async fn no_tickets_are_given_and_no_early_data_taken() {
    let mut b = Node::new("b").await;
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let params = rcgen::CertificateParams::default();
    let certificate = params.self_signed(&key).unwrap().der().clone();
    let der = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    // A client that would resume if it could.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyServer))
        .with_client_auth_cert(vec![certificate], der)
        .unwrap();
    tls.alpn_protocols = vec![ALPN.to_vec()];
    tls.enable_early_data = true;
    let config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
    let endpoint = raw_endpoint();
    let addr = b.addr();
    let connect = || {
        endpoint
            .connect_with(config.clone(), addr, "peerconnect.invalid")
            .unwrap()
    };
    let first = connect().await.unwrap();
    raw_greeting(&first, &b.identity).await;
    b.connected().await;
    // By now the ticket would be here.
    assert!(connect().into_0rtt().is_err());
}

#[tokio::test]
async fn a_caller_who_changes_its_nonce_is_caught() {
    let mut b = Node::new("b").await;
    let identity = Identity::generate().unwrap();
    let endpoint = raw_endpoint();
    let quic = raw_connection(&endpoint, &identity, &b).await;
    let (mut send, _recv) = quic.open_bi().await.unwrap();
    let hello = Opening::Connection(Hello {
        name: String::new(),
        version: String::new(),
        observed: None,
        commitment: [0; 32],
    });
    send.write_all(&encode(&hello).unwrap()).await.unwrap();
    let reveal = ConnectionMessage::Reveal { nonce: [0; 16] };
    send.write_all(&encode(&reveal).unwrap()).await.unwrap();
    let told = closed_with(&quic.closed().await);
    assert_eq!(
        told,
        Some((Code::Offence, Offence::BadCommitment.to_string()))
    );
    assert!(b.arrivals.try_recv().is_err());
}

#[tokio::test]
async fn a_caller_who_does_not_greet_first_is_refused() {
    let mut b = Node::new("b").await;
    let identity = Identity::generate().unwrap();
    let endpoint = raw_endpoint();
    let quic = raw_connection(&endpoint, &identity, &b).await;
    let (mut send, _recv) = quic.open_bi().await.unwrap();
    let offer = encode(&Opening::Transfer(head(1))).unwrap();
    send.write_all(&offer).await.unwrap();
    let told = closed_with(&quic.closed().await);
    assert_eq!(
        told,
        Some((Code::Offence, Offence::UnexpectedMessage.to_string()))
    );
    assert!(b.arrivals.try_recv().is_err());
}

#[tokio::test(start_paused = true)]
async fn a_caller_who_says_nothing_is_dropped_after_the_deadline() {
    let b = Node::new("b").await;
    let identity = Identity::generate().unwrap();
    let endpoint = raw_endpoint();
    let start = tokio::time::Instant::now();
    let tls = identity.client_config(None).unwrap();
    let mut config = quinn::ClientConfig::new(tls.crypto);
    config.transport_config(settings::transport(settings::Way::Network(1452)));
    let connecting = endpoint.connect_with(config, b.addr(), &tls.server_name);
    let quic = connecting.unwrap().await.unwrap();
    let told = closed_with(&quic.closed().await);
    assert_eq!(told, Some((Code::Offence, Offence::Silent.to_string())));
    assert!(start.elapsed() >= handshake::HANDSHAKE_DEADLINE);
}

#[tokio::test(start_paused = true)]
async fn half_an_opening_is_an_offence_after_the_deadline() {
    let mut b = Node::new("b").await;
    let (_endpoint, quic, seen) = attacker(&mut b).await;
    let (mut send, _recv) = quic.open_bi().await.unwrap();
    send.write_all(&[0, 0]).await.unwrap();
    expect_offence(&quic, &seen, Offence::Silent).await;
}

#[tokio::test]
async fn wrong_frames_close_the_connection_with_their_name() {
    let again = encode(&Opening::Connection(Hello {
        name: String::new(),
        version: String::new(),
        observed: None,
        commitment: [0; 32],
    }))
    .unwrap();
    for (bytes, offence) in [
        (vec![0xff; 4], Offence::Frame(FrameError::TooLong(u32::MAX))),
        (vec![0, 0, 0, 1, 9], Offence::Frame(FrameError::Malformed)),
        (vec![0, 0, 0, 5], Offence::Frame(FrameError::Truncated)),
        (again, Offence::UnexpectedMessage),
    ] {
        let mut b = Node::new("b").await;
        let (_endpoint, quic, seen) = attacker(&mut b).await;
        let (mut send, _recv) = quic.open_bi().await.unwrap();
        send.write_all(&bytes).await.unwrap();
        send.finish().unwrap();
        expect_offence(&quic, &seen, offence).await;
    }
}

#[tokio::test]
async fn a_peer_cannot_send_files_before_somebody_agreed_and_only_so_many_afterwards() {
    let mut b = Node::new("b").await;
    let (_endpoint, quic, seen) = attacker(&mut b).await;
    let mut streams = Vec::new();
    for _ in 0..10_000 {
        // Polled once: it is given at once or not at all.
        tokio::select! {
            biased;
            stream = quic.open_uni() => streams.push(stream.unwrap()),
            () = std::future::ready(()) => break,
        }
    }
    assert!(streams.is_empty());

    let mut control = quic.open_bi().await.unwrap();
    let offer = encode(&Opening::Transfer(head(1))).unwrap();
    control.0.write_all(&offer).await.unwrap();
    let mut inbound = b.transfer().await;
    inbound.consent();
    streams.push(quic.open_uni().await.unwrap());
    loop {
        tokio::select! {
            biased;
            stream = quic.open_uni() => streams.push(stream.unwrap()),
            () = std::future::ready(()) => break,
        }
    }
    assert_eq!(streams.len(), 100);
    // Half-open streams bother nobody.
    for stream in &mut streams {
        stream.write_all(&[0]).await.unwrap();
    }
    assert!(!seen.is_closed());
}

#[tokio::test]
async fn a_peer_can_open_only_so_many_control_streams() {
    let mut b = Node::new("b").await;
    let (_endpoint, quic, _seen) = attacker(&mut b).await;
    let mut streams = Vec::new();
    for _ in 0..10_000 {
        tokio::select! {
            biased;
            stream = quic.open_bi() => streams.push(stream.unwrap()),
            () = std::future::ready(()) => break,
        }
    }
    assert!(streams.len() <= 32, "{}", streams.len());
}

/// An attacker with a transfer that was agreed to, and the stream of its first file.
async fn with_file(
    node: &mut Node,
    header: &FileHeader,
    bytes: &[u8],
) -> (
    quinn::Endpoint,
    quinn::Connection,
    PeerConnection,
    QuicInbound,
) {
    let (endpoint, quic, seen) = attacker(node).await;
    let mut control = quic.open_bi().await.unwrap();
    let offer = encode(&Opening::Transfer(head(1))).unwrap();
    control.0.write_all(&offer).await.unwrap();
    let mut inbound = node.transfer().await;
    inbound.consent();
    let mut stream = quic.open_uni().await.unwrap();
    let mut sent = encode(header).unwrap();
    sent.extend_from_slice(bytes);
    // The other side may close while this is written.
    let _ = stream.write_all(&sent).await;
    let _ = stream.finish();
    std::mem::forget(control);
    (endpoint, quic, seen, inbound)
}

#[tokio::test]
async fn groups_in_wrong_order_and_bytes_behind_the_end_are_offences() {
    let group = |n: u32, len: u64| [&n.to_be_bytes(), content(len).as_ref(), &[0; 32]].concat();
    let end = [&END_OF_FILE.to_be_bytes()[..], &[0; 32], b"more"].concat();
    let size = 2 * GROUP_LEN;
    for (name, bytes, offence) in [
        ("outside", group(2, 10), Offence::WrongGroup),
        (
            "backwards",
            [group(1, GROUP_LEN), group(0, GROUP_LEN)].concat(),
            Offence::WrongGroup,
        ),
        ("behind the end", end, Offence::WrongGroup),
        (
            "too short",
            group(0, 10),
            Offence::Frame(FrameError::Truncated),
        ),
    ] {
        let mut b = Node::new("b").await;
        let (_endpoint, quic, seen, mut inbound) =
            with_file(&mut b, &header(0, size), &bytes).await;
        let (_, mut reader) = next_file(&mut inbound).await;
        let error = loop {
            match reader.read().await {
                Ok(_) => {}
                Err(error) => break error,
            }
        };
        assert_eq!(error, LinkError::Offence(offence), "{name}");
        expect_offence(&quic, &seen, offence).await;
        let end = inbound.recv().await.unwrap_err();
        assert_eq!(end, LinkError::Offence(offence), "{name}");
    }
}

#[tokio::test]
async fn files_that_are_referred_wrongly_are_an_offence() {
    let file = |size| Referral {
        index: 0,
        size,
        modified: Timestamp(0),
        stamp: Stamp([0; 16]),
        hash: [0; 32],
    };
    let files = |files: &[Referral]| encode(&files).unwrap();
    let good = files(&[file(GROUP_LEN)]);
    for (name, bytes, offence) in [
        ("none", files(&[]), Offence::Contradiction),
        (
            "too many",
            files(&[file(2000); REFERRALS_MAX + 1]),
            Offence::Contradiction,
        ),
        (
            "two groups",
            files(&[file(2000), file(GROUP_LEN + 1)]),
            Offence::WrongGroup,
        ),
        ("nothing", Vec::new(), Offence::Frame(FrameError::Truncated)),
        (
            "cut",
            good[..20].to_vec(),
            Offence::Frame(FrameError::Truncated),
        ),
        (
            "more behind it",
            [good, vec![1]].concat(),
            Offence::UnexpectedMessage,
        ),
    ] {
        let mut b = Node::new("b").await;
        let first = header(REFERRALS, 0);
        let (_endpoint, quic, seen, _inbound) = with_file(&mut b, &first, &bytes).await;
        assert_eq!(seen.closed().await, LinkError::Offence(offence), "{name}");
        expect_offence(&quic, &seen, offence).await;
    }
}

#[tokio::test]
async fn a_file_larger_than_any_is_an_offence() {
    let mut b = Node::new("b").await;
    let (_endpoint, quic, seen, _inbound) = with_file(&mut b, &header(0, u64::MAX), &[]).await;
    expect_offence(&quic, &seen, Offence::FileTooLarge).await;
}

#[tokio::test]
async fn a_file_of_an_unknown_transfer_is_stopped_and_nothing_else() {
    let mut b = Node::new("b").await;
    let (_endpoint, quic, seen) = attacker(&mut b).await;
    let (mut control, _recv) = quic.open_bi().await.unwrap();
    let offer = encode(&Opening::Transfer(head(1))).unwrap();
    control.write_all(&offer).await.unwrap();
    let mut inbound = b.transfer().await;
    inbound.consent();
    let mut stream = quic.open_uni().await.unwrap();
    let mut unknown = header(0, 5);
    unknown.transfer = TransferId([77; 16]);
    let bytes = encode(&unknown).unwrap();
    stream.write_all(&bytes).await.unwrap();
    let stopped = stream.stopped().await.unwrap();
    assert_eq!(stopped, Some(errors::wire(Code::UnknownTransfer)));
    assert!(!seen.is_closed());
}

#[tokio::test]
async fn packets_that_are_no_packets_are_ignored() {
    let (a, b) = Node::two().await;
    let socket = std::net::UdpSocket::bind((LOCALHOST, 0)).unwrap();
    for len in [0, 1, 20, 1200, 9000] {
        for first in [0x00, 0x40, 0x80, 0xc0, 0xff] {
            let packet = vec![first; len];
            socket.send_to(&packet, b.addr()).unwrap();
        }
    }
    a.connect(&b).await;
}
