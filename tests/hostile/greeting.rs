//! Before the node knows who calls, and just after.

use std::time::Duration;

use peerconnect::identity::Identity;
use peerconnect::net::link::Offence;
use peerconnect::node::api::Command;
use peerconnect::protocol::frame::FrameError;
use peerconnect::protocol::message::{ConnectionMessage, OfferHead, Opening, ReceiverMessage};
use peerconnect::storage::store::Accept;

use super::peer::{OFFENCE, Peer, hello, id};
use super::world::World;
use crate::common::Shape;

fn head() -> OfferHead {
    OfferHead {
        transfer: id(1),
        entries: 1,
        bytes: 1,
        digest: [0; 32],
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_greeting_that_is_none_ends_the_call() {
    let world = World::start().await;
    let long = u32::MAX.to_be_bytes();
    let cases: [(&[u8], Offence); 4] = [
        (&long, Offence::Frame(FrameError::TooLong(u32::MAX))),
        (&[0, 1, 0, 1], Offence::Frame(FrameError::TooLong(65_537))),
        (&[0, 0, 0, 1, 9], Offence::Frame(FrameError::Malformed)),
        (&[0, 0, 0, 0], Offence::Frame(FrameError::Malformed)),
    ];
    for (bytes, offence) in cases {
        let peer = Peer::dial(&world.to.addr()).await;
        let mut stream = peer.stream().await;
        stream.raw(bytes).await;
        world.offended(&peer, None, offence).await;
    }
    let peer = Peer::dial(&world.to.addr()).await;
    let _stream = peer.offer(head()).await;
    world
        .offended(&peer, None, Offence::UnexpectedMessage)
        .await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nonce_that_was_not_promised_ends_the_call() {
    let world = World::start().await;
    for (reveal, offence) in [
        (
            ConnectionMessage::Reveal { nonce: [8; 16] },
            Offence::BadCommitment,
        ),
        (
            ConnectionMessage::Welcome {
                name: String::new(),
                version: String::new(),
                observed: None,
                nonce: [0; 16],
            },
            Offence::UnexpectedMessage,
        ),
    ] {
        let peer = Peer::dial(&world.to.addr()).await;
        let mut stream = peer.stream().await;
        stream.say(&Opening::Connection(hello())).await;
        let _: ConnectionMessage = stream.hear().await;
        stream.say(&reveal).await;
        world.offended(&peer, None, offence).await;
    }
    // A second greeting on a connection that has had one.
    let peer = world.call().await;
    let mut stream = peer.stream().await;
    stream.say(&Opening::Connection(hello())).await;
    world
        .offended(&peer, None, Offence::UnexpectedMessage)
        .await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_says_nothing_or_half_of_it_is_let_go() {
    let world = World::start().await;
    let silent = Peer::dial(&world.to.addr()).await;
    let half = Peer::dial(&world.to.addr()).await;
    let mut half_stream = half.stream().await;
    half_stream.say(&Opening::Connection(hello())).await;
    let slow = world.call().await;
    let mut slow_stream = slow.stream().await;
    slow_stream.raw(&[0, 0]).await;
    let (a, b, c) = tokio::join!(silent.closed(), half.closed(), slow.closed());
    let text = Offence::Silent.to_string();
    assert_eq!([a, b, c], [(); 3].map(|()| (OFFENCE, text.clone())));
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_no_key_or_no_protocol_gets_nowhere() {
    let to = Shape::asking("to").start();
    let endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let tls = Identity::generate().unwrap().client_config(None).unwrap();
    // A good key for somebody else's name proves nothing of the node: it must not matter either.
    let config = quinn::ClientConfig::new(tls.crypto.clone());
    let connecting = endpoint.connect_with(config, to.addr().parse().unwrap(), "other.example");
    assert!(connecting.unwrap().await.is_ok(), "names mean nothing");
    let mut crypto = rustls::ClientConfig::builder_with_provider(
        rustls::crypto::ring::default_provider().into(),
    )
    .with_protocol_versions(&[&rustls::version::TLS13])
    .unwrap()
    .with_root_certificates(rustls::RootCertStore::empty())
    .with_no_client_auth();
    crypto.alpn_protocols = vec![b"peerconnect/1".to_vec()];
    let crypto = quinn::crypto::rustls::QuicClientConfig::try_from(crypto).unwrap();
    let config = quinn::ClientConfig::new(std::sync::Arc::new(crypto));
    let connecting = endpoint.connect_with(config, to.addr().parse().unwrap(), "peer.invalid");
    assert!(connecting.unwrap().await.is_err());
    let fine = Peer::call(&to.addr()).await;
    assert!(fine.quic.close_reason().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blocked_peer_is_disconnected_at_once_and_not_let_in_again() {
    let world = World::start().await;
    let peer = world.call().await;
    let mut stream = peer.offer_all(id(1), &[super::peer::file("a", 1)]).await;
    world.asked(id(1)).await;
    let command = Command::Trust {
        peer: peer.identity.id(),
        accept: Accept::Block,
    };
    world.to.call(command).await;
    const REFUSED: u32 = 6;
    assert_eq!(peer.closed().await.0, REFUSED);
    while stream.try_hear::<ReceiverMessage>().await.is_some() {}
    let ended = world.to.ended(id(1)).await;
    assert!(ended.question.is_none(), "{ended:?}");
    let again = Peer::dial_as(&world.to.addr(), peer.identity.clone()).await;
    assert_eq!(again.closed().await.0, REFUSED);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_cannot_take_the_place_of_a_computer_that_a_person_means() {
    let (to, victim) = (Shape::new("real").start(), Shape::new("victim").start());
    // Calls itself like the address that the victim's person will type.
    let impostor = Peer::dial(&victim.addr()).await;
    let mut stream = impostor.stream().await;
    let mut hello = hello();
    hello.name = to.addr();
    stream.say(&Opening::Connection(hello)).await;
    let _: ConnectionMessage = stream.hear().await;
    stream
        .say(&ConnectionMessage::Reveal { nonce: [7; 16] })
        .await;
    victim.until(|o| o.peers.first().cloned()).await;
    let file = victim.file("secret", b"for the real one only");
    let id = victim.send(&to.addr(), &[&file]).await;
    victim.completed(id).await;
    to.completed(id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn any_number_of_strangers_is_forgotten_again() {
    let to = Shape::asking("to").start();
    let mut strangers = Vec::new();
    for _ in 0..220 {
        strangers.push(Peer::call(&to.addr()).await);
    }
    let most = |o: &peerconnect::node::api::Overview| (o.peers.len() >= 200).then(|| o.peers.len());
    assert!(to.until(most).await <= 201);
    let known = to.handle.overview().borrow().peers.len();
    assert!(known <= 201, "{known} strangers are remembered");
    // Streams without an end: the node takes 32 and no more.
    let peer = Peer::call(&to.addr()).await;
    let mut open = Vec::new();
    while let Ok(stream) = tokio::time::timeout(Duration::from_secs(1), peer.stream()).await {
        open.push(stream);
        assert!(open.len() <= 32, "streams without limit");
    }
    let uni = tokio::time::timeout(Duration::from_millis(200), peer.quic.open_uni()).await;
    assert!(uni.is_err(), "a file stream before anybody agreed");
}
