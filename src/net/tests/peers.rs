//! Who is connected to whom.

use super::*;

#[tokio::test]
async fn both_sides_prove_their_keys_and_see_the_same_words() {
    let (mut a, mut b) = Node::two().await;
    let at_a = a.connect(&b).await;
    let at_b = b.connected().await;
    assert_eq!((at_a.id(), at_b.id()), (b.id(), a.id()));
    assert_eq!((at_a.name(), at_b.name()), (b.name, a.name));
    assert_eq!(at_a.words(), at_b.words());
    assert_eq!(at_a.words().split(' ').count(), 3);
    assert!(at_a.dialled() && !at_b.dialled());
    assert_eq!(at_a.observed(), Some(a.addr()));
    assert_eq!(at_b.observed(), Some(b.addr()));
    assert_eq!(at_a.remote_addr(), Some(b.addr()));
    assert!(a.connected().await.is_same(&at_a));
    assert!(b.connector.pooled(a.id()).unwrap().is_same(&at_b));
}

#[tokio::test]
async fn a_peer_that_is_connected_is_not_dialled_again() {
    let (a, b) = Node::two().await;
    let (one, two) = tokio::join!(a.connect(&b), a.connect(&b));
    assert!(one.is_same(&two));
    let nowhere = Dial {
        expect: Some(b.id()),
        addrs: Vec::new(),
        relays: Vec::new(),
    };
    let three = a.connector.prepare_connection(nowhere, SOON).await.unwrap();
    assert!(one.is_same(&three));
    let by_address = Dial {
        expect: None,
        addrs: vec![b.addr()],
        relays: Vec::new(),
    };
    let (four, five) = tokio::join!(
        a.connector.prepare_connection(by_address.clone(), SOON),
        a.connector.prepare_connection(by_address, SOON)
    );
    assert!(one.is_same(&four.unwrap()) && one.is_same(&five.unwrap()));
    assert_eq!(a.connector.connections().len(), 1);
}

#[tokio::test]
async fn two_dials_by_address_at_once_share_one_connection() {
    let (a, b) = Node::two().await;
    let by_address = Dial {
        expect: None,
        addrs: vec![b.addr()],
        relays: Vec::new(),
    };
    let (one, two) = tokio::join!(
        a.connector.prepare_connection(by_address.clone(), SOON),
        a.connector.prepare_connection(by_address, SOON)
    );
    assert!(one.unwrap().is_same(&two.unwrap()));
}

#[tokio::test]
async fn another_peer_at_the_address_is_told_nothing() {
    let (a, mut b) = Node::two().await;
    let expected = Identity::generate().unwrap().id();
    let dial = Dial {
        expect: Some(expected),
        addrs: vec![b.addr()],
        relays: Vec::new(),
    };
    let result = a.connector.prepare_connection(dial, SOON).await;
    assert_eq!(result.unwrap_err(), ConnectError::WrongPeer { got: b.id() });
    assert!(a.connector.connections().is_empty());
    assert!(b.arrivals.try_recv().is_err(), "b saw no peer");
}

#[tokio::test]
async fn the_right_peer_is_found_behind_wrong_and_dead_addresses() {
    let (a, b) = Node::two().await;
    let other = Node::new("other").await;
    let dead = std::net::UdpSocket::bind((LOCALHOST, 0)).unwrap();
    let dial = Dial {
        expect: Some(b.id()),
        addrs: vec![other.addr(), dead.local_addr().unwrap(), b.addr()],
        relays: Vec::new(),
    };
    let connection = a.connector.prepare_connection(dial, SOON).await.unwrap();
    assert_eq!(connection.id(), b.id());
}

#[tokio::test]
async fn a_program_that_does_not_run_is_told_from_a_computer_that_does_not_answer() {
    let a = Node::new("a").await;
    let closed = {
        let socket = std::net::UdpSocket::bind((LOCALHOST, 0)).unwrap();
        socket.local_addr().unwrap()
    };
    let deaf = std::net::UdpSocket::bind((LOCALHOST, 0)).unwrap();
    let dial = |addr| Dial {
        expect: None,
        addrs: vec![addr],
        relays: Vec::new(),
    };
    let short = Duration::from_millis(300);
    let result = a.connector.prepare_connection(dial(closed), short).await;
    #[cfg(target_os = "linux")]
    assert_eq!(result.unwrap_err(), ConnectError::NotListening);
    let deaf = dial(deaf.local_addr().unwrap());
    let result = a.connector.prepare_connection(deaf, short).await;
    assert_eq!(result.unwrap_err(), ConnectError::Unreachable);
    let none = Dial {
        expect: None,
        addrs: Vec::new(),
        relays: Vec::new(),
    };
    let result = a.connector.prepare_connection(none, short).await;
    assert_eq!(result.unwrap_err(), ConnectError::NoAddress);
}

#[tokio::test]
async fn a_peer_that_starts_late_is_reached() {
    let a = Node::new("a").await;
    let late = Identity::generate().unwrap();
    let port = {
        let socket = std::net::UdpSocket::bind((LOCALHOST, 0)).unwrap();
        socket.local_addr().unwrap().port()
    };
    let dial = Dial {
        expect: Some(late.id()),
        addrs: vec![(LOCALHOST, port).into()],
        relays: Vec::new(),
    };
    let starts = async {
        // The first round has failed by the time that the second one asks.
        tokio::time::sleep(Duration::from_millis(100)).await;
        Node::with(late.clone(), "late", port).await
    };
    let (result, _late) = tokio::join!(a.connector.prepare_connection(dial, SOON), starts);
    assert_eq!(result.unwrap().id(), late.id());
}

#[tokio::test]
async fn a_call_from_the_peer_ends_a_dial_that_cannot_succeed() {
    let (a, b) = Node::two().await;
    let deaf = std::net::UdpSocket::bind((LOCALHOST, 0)).unwrap();
    let dial = Dial {
        expect: Some(b.id()),
        addrs: vec![deaf.local_addr().unwrap()],
        relays: Vec::new(),
    };
    let (at_a, at_b) = tokio::join!(
        a.connector
            .prepare_connection(dial, Duration::from_secs(600)),
        b.connect(&a)
    );
    assert!(!at_a.unwrap().dialled() && at_b.dialled());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn dialling_at_once_leaves_one_connection_that_both_agree_on() {
    for _ in 0..30 {
        let (a, b) = Node::two().await;
        let (at_a, at_b) = tokio::join!(a.connect(&b), b.connect(&a));
        assert!(
            !at_a.is_closed() && !at_b.is_closed(),
            "handed out and kept"
        );
        assert_eq!(at_a.words(), at_b.words(), "it is the same one");
        assert_eq!(a.connector.connections().len(), 1);
        assert_eq!(b.connector.connections().len(), 1);
        let (mut b, at_a) = (b, at_a);
        let _outbound = at_a.offer(head(1)).await.unwrap();
        assert_eq!(b.transfer().await.head(), &head(1));
    }
}

fn is_replaced(reason: &quinn::ConnectionError) -> bool {
    let replaced = errors::wire(Code::Replaced);
    matches!(reason, quinn::ConnectionError::ApplicationClosed(close)
        if close.error_code == replaced)
}

#[tokio::test]
async fn a_call_of_a_peer_that_was_just_dialled_is_refused_and_the_dialled_connection_kept() {
    for lower_dials in [true, false] {
        let (lower, higher) = Node::two().await;
        let (us, peer) = match lower_dials {
            true => (lower, higher),
            false => (higher, lower),
        };
        let dialled = us.connect(&peer).await;
        let called = raw_connection(&raw_endpoint(), &peer.identity, &us).await;
        let (mut send, _recv) = called.open_bi().await.unwrap();
        let nonce = peer.identity.random().unwrap();
        send.write_all(&raw_hello(&nonce)).await.unwrap();
        let reason = called.closed().await;
        assert!(is_replaced(&reason), "{reason}");
        let kept = us.connector.pooled(peer.id()).unwrap();
        assert!(kept.is_same(&dialled) && !kept.is_closed());
    }
}

#[tokio::test]
async fn a_peer_that_came_back_replaces_its_old_connection() {
    let mut a = Node::new("a").await;
    let peer = Identity::generate().unwrap();
    let endpoint = raw_endpoint();
    let old = raw_connection(&endpoint, &peer, &a).await;
    raw_greeting(&old, &peer).await;
    let at_a = a.connected().await;
    let new = raw_connection(&endpoint, &peer, &a).await;
    raw_greeting(&new, &peer).await;
    let now = a.connected().await;
    assert!(!now.is_same(&at_a));
    assert!(a.connector.pooled(peer.id()).unwrap().is_same(&now));
    assert!(at_a.is_closed());
    let reason = old.closed().await;
    assert!(
        matches!(&reason, quinn::ConnectionError::ApplicationClosed(close)
            if close.error_code == errors::wire(Code::Replaced)),
        "{reason}"
    );
    // Nothing was said about a disconnection, because there was none.
    new.close(0u32.into(), b"");
    assert!(matches!(a.arrival().await, Arrival::Disconnected(id) if id == peer.id()));
}

#[tokio::test]
async fn a_blocked_peer_is_thrown_out_and_cannot_come_back() {
    let (a, mut b) = Node::two().await;
    let at_a = a.connect(&b).await;
    b.connected().await;
    b.connector.set_blocked([a.id()].into());
    assert_eq!(at_a.closed().await, LinkError::Closed(Code::Refused));
    assert!(matches!(b.arrival().await, Arrival::Disconnected(id) if id == a.id()));
    let again = a.connector.prepare_connection(b.dial(), SOON).await;
    assert_eq!(again.unwrap_err(), ConnectError::Refused);
    let back = b.connector.prepare_connection(a.dial(), SOON).await;
    assert_eq!(back.unwrap_err(), ConnectError::Blocked);
    let by_address = Dial {
        expect: None,
        addrs: vec![a.addr()],
        relays: Vec::new(),
    };
    let back = b.connector.prepare_connection(by_address, SOON).await;
    assert_eq!(back.unwrap_err(), ConnectError::Blocked);
    assert!(b.connector.connections().is_empty());
    b.connector.set_blocked([].into());
    a.connect(&b).await;
}

#[tokio::test]
async fn ones_own_address_is_recognised() {
    let a = Node::new("a").await;
    let dial = Dial {
        expect: None,
        addrs: vec![a.addr()],
        relays: Vec::new(),
    };
    let result = a.connector.prepare_connection(dial, SOON).await;
    assert_eq!(result.unwrap_err(), ConnectError::Ourselves);
}

#[tokio::test]
async fn another_program_with_the_same_key_is_told_apart() {
    let a = Node::new("a").await;
    let twin = Node::with(a.identity.clone(), "twin", 0).await;
    let dial = Dial {
        expect: None,
        addrs: vec![twin.addr()],
        relays: Vec::new(),
    };
    let result = a.connector.prepare_connection(dial, SOON).await;
    assert_eq!(result.unwrap_err(), ConnectError::Twin);
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    let a = Node::new("a").await;
    let options = EndpointOptions {
        bind: Some(LOCALHOST),
        port: a.net.local_port(),
        name: String::new(),
    };
    let result = bind(&a.identity, options).await;
    assert!(matches!(result, Err(BindError::PortInUse(port)) if port == a.net.local_port()));
}

#[tokio::test]
async fn the_usual_socket_serves_both_families() {
    let identity = Identity::generate().unwrap();
    let options = EndpointOptions {
        port: 0,
        ..EndpointOptions::default()
    };
    let (_connector, _arrivals, net) = bind(&identity, options).await.unwrap();
    let a = Node::new("a").await;
    let dial = Dial {
        expect: Some(identity.id()),
        addrs: vec![(LOCALHOST, net.local_port()).into()],
        relays: Vec::new(),
    };
    let connection = a.connector.prepare_connection(dial, SOON).await.unwrap();
    assert_eq!(connection.observed(), Some(a.addr()), "as IPv4, not mapped");
    let candidates = net.addrs().borrow().clone();
    assert!(!candidates.is_empty());
    assert!(
        candidates
            .iter()
            .all(|addr| addr.port() == net.local_port())
    );
}

#[tokio::test]
async fn somebody_in_between_gets_different_words_on_both_sides() {
    let (a, mut b) = Node::two().await;
    // It answers a's call and calls b, each with its own key, because it has no other.
    let mut between = Node::new("between").await;
    let dial = Dial {
        expect: None,
        addrs: vec![between.addr()],
        relays: Vec::new(),
    };
    let at_a = a.connector.prepare_connection(dial, SOON).await.unwrap();
    between.connected().await;
    between.connect(&b).await;
    let at_b = b.connected().await;
    assert_ne!(at_a.words(), at_b.words());
}

#[tokio::test]
async fn the_same_peers_get_new_words_each_time() {
    let (a, b) = Node::two().await;
    let one = a.connect(&b).await;
    one.close(Code::Done);
    let two = a.connect(&b).await;
    assert_ne!(one.words(), two.words());
}

#[tokio::test]
async fn a_peer_of_another_version_is_told_so() {
    let b = Node::new("b").await;
    let endpoint = raw_endpoint();
    let tls = b
        .identity
        .client_config_for(None, &[b"peerconnect/2"])
        .unwrap();
    let config = quinn::ClientConfig::new(tls.crypto.clone());
    let connecting = endpoint.connect_with(config, b.addr(), "peerconnect.invalid");
    let error = connecting.unwrap().await.unwrap_err();
    assert_eq!(
        attempt::not_connected(&error, &tls, None),
        ConnectError::Version
    );
}

#[tokio::test]
async fn a_shutdown_tells_the_peers_and_ends_everything() {
    let (a, mut b) = Node::two().await;
    let at_a = a.connect(&b).await;
    b.connected().await;
    b.net.shutdown().await;
    assert_eq!(at_a.closed().await, LinkError::Closed(Code::Done));
    loop {
        match b.arrivals.recv().await {
            Some(Arrival::Disconnected(_)) => {}
            Some(other) => panic!("{other:?}"),
            None => break,
        }
    }
    let result = b.connector.prepare_connection(a.dial(), SOON).await;
    assert!(
        matches!(result, Err(ConnectError::Stopped(_))),
        "{result:?}"
    );
}

#[tokio::test]
async fn a_name_that_is_too_long_is_cut_and_an_address_needs_no_resolver() {
    let a = Node::new("ä".repeat(500).leak()).await;
    let mut b = Node::new("b").await;
    a.connect(&b).await;
    assert_eq!(b.connected().await.name().len(), NAME_LEN_MAX);
    let found = resolve("127.0.0.1", 9).await.unwrap();
    assert_eq!(found, ["127.0.0.1:9".parse().unwrap()]);
}
