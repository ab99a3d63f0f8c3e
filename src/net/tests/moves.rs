//! Peers that move, lose connections and come back.

use super::*;
use crate::protocol::frame::encode;

/// The greeting of a caller that says that it has lost a connection.
async fn greet_again(quic: &quinn::Connection, identity: &Identity, lost: [u8; 16]) {
    use crate::protocol::words::commitment;
    let (mut send, mut recv) = quic.open_bi().await.unwrap();
    let nonce = identity.random().unwrap();
    let hello = Hello {
        name: "b".into(),
        version: "1".into(),
        observed: None,
        commitment: commitment(&nonce),
    };
    let opening = Opening::Reconnection { hello, lost };
    send.write_all(&encode(&opening).unwrap()).await.unwrap();
    let mut first = [0; 1];
    if recv.read_exact(&mut first).await.is_ok() {
        let reveal = ConnectionMessage::Reveal { nonce };
        send.write_all(&encode(&reveal).unwrap()).await.unwrap();
        // Kept open, as peers do.
        std::mem::forget((send, recv));
    }
}

#[tokio::test]
async fn a_caller_that_has_lost_the_connection_is_believed_and_nobody_else() {
    let (mut a, mut b) = Node::two().await;
    let at_a = a.connect(&b).await;
    a.connected().await;
    let mark = b.connected().await.mark().unwrap();
    assert_eq!(at_a.mark(), Some(mark), "both sides call it the same");

    // Both may have dialled at once: the connection that is there stays.
    let endpoint = raw_endpoint();
    let call = raw_connection(&endpoint, &b.identity, &a).await;
    greet_again(&call, &b.identity, [7; 16]).await;
    let reason = call.closed().await;
    assert!(
        matches!(&reason, quinn::ConnectionError::ApplicationClosed(close)
            if close.error_code == errors::wire(Code::Replaced)),
        "{reason}"
    );
    assert!(!at_a.is_closed());

    // The mark of the connection of somebody else is worth nothing.
    let stranger = Identity::generate().unwrap();
    let call = raw_connection(&endpoint, &stranger, &a).await;
    greet_again(&call, &stranger, mark).await;
    assert_eq!(a.connected().await.id(), stranger.id());
    assert!(!at_a.is_closed());

    let call = raw_connection(&endpoint, &b.identity, &a).await;
    greet_again(&call, &b.identity, mark).await;
    // The old one may be reported to be over before that.
    let now = a.connector.shared.connected(b.id()).await;
    assert!(!now.is_same(&at_a));
    assert!(at_a.is_closed());
}

#[tokio::test]
async fn a_program_that_was_killed_and_runs_again_tells_so() {
    let a = Node::new("a").await;
    let identity = Identity::generate().unwrap();
    let (here, (made, b)) = (identity.clone(), tokio::sync::oneshot::channel());
    let (kill, killed) = tokio::sync::oneshot::channel::<()>();
    let there = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = { runtime }.enable_all().build().unwrap();
        runtime.block_on(async {
            assert!(made.send(Node::with(here, "b", 0).await).is_ok());
            let _ = killed.await;
        });
        // Its tasks vanish with the runtime, and nothing is said any more.
    });
    let b = b.await.unwrap();
    let at_a = a.connect(&b).await;
    let port = b.net.local_port();
    kill.send(()).unwrap();
    there.join().unwrap();
    drop(b);
    let again = loop {
        // Until the socket is closed.
        let options = EndpointOptions {
            bind: Some(LOCALHOST),
            port,
            name: "b".into(),
        };
        match bind(&identity, options).await {
            Ok(again) => break again,
            Err(BindError::PortInUse(_)) => tokio::task::yield_now().await,
            Err(error) => panic!("{error}"),
        }
    };
    // Whatever is sent now gets the answer.
    let _offered = at_a.offer(head(1)).await;
    assert_eq!(at_a.closed().await, LinkError::Lost("reset by peer".into()));
    drop(again);
}

#[tokio::test]
async fn where_a_few_peers_see_us_is_told_to_others_as_long_as_they_are_there() {
    let a = Node::new("a").await;
    let shared = &a.connector.shared;
    let ours = || shared.addrs().borrow().clone();
    let before = ours();
    let at = |n: u8| SocketAddr::from(([203, 0, 113, n], 3485));
    let peer = |n: usize| PeerId::from_bytes([n as u8; 32]);
    let seen = |number: usize, by, n| shared.observed_on(number, peer(by), at(n));
    let first = seen(1, 1, 1);
    let same = seen(2, 1, 1);
    assert_eq!(ours(), before, "one alone may lie");
    let second = seen(3, 2, 1);
    assert_eq!(ours(), [&before[..], &[at(1)]].concat());
    drop((first, same));
    assert_eq!(ours(), before);
    let many: Vec<_> = (4..40).map(|n| seen(n, n, n as u8 / 2)).collect();
    assert_eq!(ours().len(), before.len() + 4);
    drop((second, many));
    assert_eq!(ours(), before);
    let relay = peer(99);
    shared.seen_by(relay, Some(SocketAddr::from(([203, 0, 113, 7], 1))));
    let agrees = seen(1, 1, 7);
    assert!(ours().contains(&at(7)), "a relay sees the same computer");
    drop(agrees);
    assert!(!ours().contains(&at(7)));
}

#[tokio::test]
async fn a_peer_learns_where_the_other_can_be_found_once_it_may() {
    let (mut a, mut b) = Node::two().await;
    let at_a = a.connect(&b).await;
    let at_b = b.connected().await;
    a.connected().await;
    // Nothing has been told yet, though there is something to tell.
    let shared = a.connector.shared.clone();
    let place = |n| vec![SocketAddr::from(([10, 1, 1, n], 3485))];
    shared.moved_to(place(1));
    assert!(at_b.rtt() > std::time::Duration::ZERO);
    assert!(b.arrivals.try_recv().is_err());
    at_a.tell_addrs();
    for n in [1, 2] {
        match b.arrival().await {
            Arrival::Addresses { from, addrs } => {
                assert!(from.is_same(&at_b));
                assert_eq!(addrs, place(n));
            }
            other @ (Arrival::Connected(_)
            | Arrival::Transfer { .. }
            | Arrival::Text { .. }
            | Arrival::Pull { .. }
            | Arrival::Code { .. }
            | Arrival::Disconnected(_)) => panic!("{other:?}"),
        }
        assert_eq!(b.connector.shared.whereabouts(a.id()), place(n));
        shared.moved_to(place(n + 1));
    }
    // More than may be told are not told.
    shared.moved_to((0..100).flat_map(place).collect());
    loop {
        match b.arrival().await {
            Arrival::Addresses { addrs, .. } if addrs.len() == ADDRS_TOLD_MAX => break,
            Arrival::Addresses { .. } => {}
            other @ (Arrival::Connected(_)
            | Arrival::Transfer { .. }
            | Arrival::Text { .. }
            | Arrival::Pull { .. }
            | Arrival::Code { .. }
            | Arrival::Disconnected(_)) => panic!("{other:?}"),
        }
    }
    assert!(!at_b.is_closed());
}

#[tokio::test]
async fn too_many_addresses_and_other_messages_after_the_greeting_are_offences() {
    let mut node = Node::new("node").await;
    let greetings = ConnectionMessage::Reveal { nonce: [1; 16] };
    let addrs = ConnectionMessage::Addresses(vec![node.addr(); ADDRS_TOLD_MAX + 1]);
    for (message, offence) in [
        (greetings, Offence::UnexpectedMessage),
        (addrs, Offence::TooManyAddrs),
    ] {
        let peer = Identity::generate().unwrap();
        let endpoint = raw_endpoint();
        let quic = raw_connection(&endpoint, &peer, &node).await;
        let mut send = raw_greeting_open(&quic, &peer).await;
        let seen = node.connected().await;
        send.write_all(&encode(&message).unwrap()).await.unwrap();
        assert_eq!(seen.closed().await, offence.into());
        assert!(matches!(node.arrival().await, Arrival::Disconnected(_)));
    }
}

#[tokio::test]
async fn a_peer_is_dialled_where_it_said_it_was() {
    let (a, mut b) = Node::two().await;
    let at_a = a.connect(&b).await;
    b.connected().await;
    a.connector.shared.told(b.id(), vec![b.addr()]);
    a.connector.shared.lose(&at_a, "test");
    let dial = Dial {
        expect: Some(b.id()),
        addrs: Vec::new(),
        relays: Vec::new(),
    };
    let again = a.connector.prepare_connection(dial, SOON).await.unwrap();
    assert!(!again.is_same(&at_a));
}
