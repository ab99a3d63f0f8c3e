//! Peers that are connected through a relay.

use std::sync::atomic::Ordering;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::net::relay::{Relay, RelayLimits, RelayOptions, RelayState, serve};
use crate::protocol::link_uri::RelayHint;

mod numbers;
mod over_tcp;

struct Bed {
    identity: Identity,
    relay: Relay,
}

fn options(port: u16) -> RelayOptions {
    RelayOptions {
        bind: Some(LOCALHOST),
        port,
        peers_max: 100,
        limits: RelayLimits::default(),
        allow: None,
    }
}

impl Bed {
    async fn new() -> Self {
        Self::with(options(0)).await
    }

    async fn with(options: RelayOptions) -> Self {
        let identity = Identity::generate().unwrap();
        let relay = serve(&identity, options).await.unwrap();
        Self { identity, relay }
    }

    /// The same relay once more, at the same place, after it has ended.
    async fn again(identity: Identity, port: u16) -> Self {
        let relay = loop {
            match serve(&identity, options(port)).await {
                Ok(relay) => break relay,
                // The task that holds the socket is about to end.
                Err(_) => tokio::task::yield_now().await,
            }
        };
        Self { identity, relay }
    }

    fn addr(&self) -> SocketAddr {
        (LOCALHOST, self.relay.local_port()).into()
    }

    fn hint(&self) -> RelayHint {
        RelayHint {
            id: self.identity.id(),
            addrs: vec![self.addr()],
        }
    }

    /// A node that listens at the relay.
    async fn listener(&self) -> Node {
        let node = Node::new("listener").await;
        self.listen(&node, self.hint()).await;
        node
    }

    async fn listen(&self, node: &Node, hint: RelayHint) {
        node.net.listen_at(&[hint]);
        there(node).await;
    }
}

/// Waits until the node is connected with its relay.
async fn there(node: &Node) -> RelayState {
    let mut relays = node.net.relays();
    let is_there = |state: RelayState| state != RelayState::Away;
    let found = relays.wait_for(|all| all.iter().all(|one| is_there(one.state)));
    let found = tokio::time::timeout(SOON, found).await.unwrap().unwrap();
    found[0].state
}

/// Only by its key, and through the relay.
fn through(relay: RelayHint, to: &Node) -> Dial {
    Dial {
        expect: Some(to.id()),
        addrs: Vec::new(),
        relays: vec![relay],
    }
}

async fn until(what: &str, so: impl Fn() -> bool) {
    let reached = async {
        while !so() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let reached = tokio::time::timeout(SOON, reached).await;
    assert!(reached.is_ok(), "{what}: waited in vain");
}

async fn until_path(connection: &PeerConnection, kind: PathKind) {
    until("the path", || connection.path().kind == kind).await;
}

fn lose_probes(node: &Node, lose: bool) {
    let shared = &node.connector.shared;
    let flag = &shared.routes.loses_probes;
    flag.store(lose, Ordering::Relaxed);
}

/// Sends a file from `a` to `b` over the connection that there is.
async fn exchange(a: &PeerConnection, b: &mut Node, size: u64) {
    let outbound = a.offer(head(1)).await.unwrap();
    let mut inbound = b.transfer().await;
    inbound.consent();
    let bytes = content(size);
    let writer = outbound.opener().open(&header(0, size), 0).await.unwrap();
    let sent = send_file(writer, bytes.clone(), 100_000);
    let received = async {
        let (_, reader) = next_file(&mut inbound).await;
        receive_file(reader, size).await.0
    };
    let ((), received) = tokio::join!(sent, received);
    assert!(received == bytes);
}

#[tokio::test]
async fn a_connection_begins_at_the_relay_and_goes_on_directly_without_it() {
    let bed = Bed::new().await;
    let (a, mut b) = (Node::new("caller").await, bed.listener().await);
    let dial = through(bed.hint(), &b);
    let at_a = a.connector.prepare_connection(dial, SOON).await.unwrap();
    let at_b = b.connected().await;
    assert_eq!((at_a.id(), at_b.id()), (b.id(), a.id()));
    assert_eq!(at_a.words(), at_b.words());
    for (connection, peer) in [(&at_a, &b), (&at_b, &a)] {
        until_path(connection, PathKind::Direct).await;
        assert_eq!(connection.remote_addr(), Some(peer.addr()));
        assert_eq!(connection.relay(), Some(bed.hint()));
    }
    let carried = bed.relay.stats().bytes;
    bed.relay.shutdown().await;
    exchange(&at_a, &mut b, 3_000_000).await;
    assert!(
        carried < 100_000,
        "{carried} bytes before the way was found"
    );
}

#[tokio::test]
async fn without_a_direct_way_everything_goes_through_the_relay() {
    let bed = Bed::new().await;
    let (a, mut b) = (Node::new("caller").await, bed.listener().await);
    lose_probes(&a, true);
    lose_probes(&b, true);
    let dial = through(bed.hint(), &b);
    let at_a = a.connector.prepare_connection(dial, SOON).await.unwrap();
    let at_b = b.connected().await;
    exchange(&at_a, &mut b, 10_000_000).await;
    for connection in [&at_a, &at_b] {
        let path = connection.path();
        assert_eq!((path.kind, path.addr), (PathKind::Relay, Some(bed.addr())));
        assert_eq!(connection.remote_addr(), None);
    }
    let stats = bed.relay.stats();
    assert!(stats.bytes > 10_000_000, "{stats:?}");
    assert_eq!((stats.peers, stats.pairs), (2, 1));
    // What is closed at one side ends at the other, and at the relay.
    at_a.close(Code::Done);
    assert_eq!(at_b.closed().await, LinkError::Closed(Code::Done));
    drop((at_a, at_b, b.connected()));
    until("the channel", || bed.relay.stats().pairs == 0).await;
}

#[tokio::test]
async fn a_direct_way_that_dies_is_left_for_the_relay_and_taken_again() {
    let bed = Bed::new().await;
    let (a, mut b) = (Node::new("caller").await, bed.listener().await);
    let dial = through(bed.hint(), &b);
    let at_a = a.connector.prepare_connection(dial, SOON).await.unwrap();
    let at_b = b.connected().await;
    until_path(&at_a, PathKind::Direct).await;
    for lose in [true, false] {
        lose_probes(&a, lose);
        lose_probes(&b, lose);
        let kind = if lose {
            PathKind::Relay
        } else {
            PathKind::Direct
        };
        until_path(&at_a, kind).await;
        until_path(&at_b, kind).await;
        exchange(&at_a, &mut b, 100_000).await;
    }
}

#[tokio::test]
async fn where_udp_does_not_get_through_the_relay_is_reached_by_tcp() {
    let bed = Bed::new().await;
    // Of this address only TCP leads to the relay.
    let listener = TcpListener::bind((LOCALHOST, 0)).await.unwrap();
    let hint = RelayHint {
        id: bed.identity.id(),
        addrs: vec![listener.local_addr().unwrap()],
    };
    let to = bed.addr();
    let proxy = async move {
        loop {
            let (mut near, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut far = TcpStream::connect(to).await.unwrap();
                let _ = copy_bidirectional(&mut near, &mut far).await;
            });
        }
    };
    tokio::spawn(proxy);
    for both in [true, false] {
        let (a, mut b) = (Node::new("caller").await, Node::new("listener").await);
        lose_probes(&a, true);
        bed.listen(&b, hint.clone()).await;
        assert_eq!(there(&b).await, RelayState::Tcp);
        let way = if both { hint.clone() } else { bed.hint() };
        let dial = through(way, &b);
        let at_a = a.connector.prepare_connection(dial, SOON).await.unwrap();
        exchange(&at_a, &mut b, 3_000_000).await;
        assert_eq!(at_a.path().kind, PathKind::Relay);
    }
    assert!(bed.relay.stats().bytes > 6_000_000);
}

#[tokio::test]
async fn who_is_not_there_or_blocked_is_not_reached() {
    let bed = Bed::new().await;
    let (a, b, absent) = (
        Node::new("caller").await,
        bed.listener().await,
        Node::new("absent").await,
    );
    let short = Duration::from_secs(3);
    let dial = through(bed.hint(), &absent);
    let error = a
        .connector
        .prepare_connection(dial, short)
        .await
        .unwrap_err();
    assert_eq!(error, ConnectError::Unreachable);
    b.connector.set_blocked([a.id()].into());
    let dial = through(bed.hint(), &b);
    let error = a
        .connector
        .prepare_connection(dial, short)
        .await
        .unwrap_err();
    assert_eq!(error, ConnectError::Unreachable);
    assert_eq!(bed.relay.stats().pairs, 0);
}

#[tokio::test]
async fn our_own_relay_is_tried_for_everybody_whose_key_is_known() {
    let bed = Bed::new().await;
    let (a, b) = (bed.listener().await, bed.listener().await);
    let dial = Dial {
        expect: Some(b.id()),
        addrs: Vec::new(),
        relays: Vec::new(),
    };
    let connected = a.connector.prepare_connection(dial, SOON).await;
    assert_eq!(connected.unwrap().id(), b.id());
}

#[tokio::test]
async fn a_relay_that_comes_back_is_found_again() {
    let bed = Bed::new().await;
    let (a, mut b) = (Node::new("caller").await, bed.listener().await);
    let port = bed.relay.local_port();
    bed.relay.shutdown().await;
    let mut relays = b.net.relays();
    let away = relays.wait_for(|all| all[0].state == RelayState::Away);
    tokio::time::timeout(SOON, away).await.unwrap().unwrap();
    let bed = Bed::again(bed.identity, port).await;
    there(&b).await;
    let dial = through(bed.hint(), &b);
    let at_a = a.connector.prepare_connection(dial, SOON).await.unwrap();
    exchange(&at_a, &mut b, 1000).await;
}

#[tokio::test]
async fn a_relay_may_be_for_some_only() {
    let b = Node::new("listener").await;
    let bed = Bed::with(RelayOptions {
        allow: Some([b.id()].into()),
        ..options(0)
    })
    .await;
    bed.listen(&b, bed.hint()).await;
    let stranger = Node::new("stranger").await;
    let short = Duration::from_secs(2);
    let dial = through(bed.hint(), &b);
    let refused = stranger.connector.prepare_connection(dial, short).await;
    assert!(refused.is_err());
    assert_eq!(bed.relay.stats().peers, 1);
}

#[tokio::test]
async fn a_relay_keeps_pairs_to_their_limit_and_nothing_is_lost() {
    let bed = Bed::with(RelayOptions {
        limits: RelayLimits {
            pair: Some(4_000_000),
            ..RelayLimits::default()
        },
        ..options(0)
    })
    .await;
    let (a, mut b) = (Node::new("caller").await, bed.listener().await);
    lose_probes(&a, true);
    let dial = through(bed.hint(), &b);
    let at_a = a.connector.prepare_connection(dial, SOON).await.unwrap();
    exchange(&at_a, &mut b, 4_000_000).await;
    assert!(bed.relay.stats().dropped > 0);
}

#[tokio::test]
async fn a_node_is_no_relay_and_a_relay_no_node() {
    let bed = Bed::new().await;
    let (a, b) = (Node::new("a").await, Node::new("b").await);
    let node = RelayHint {
        id: b.id(),
        addrs: vec![b.addr()],
    };
    let short = Duration::from_secs(3);
    let dial = through(node, &Node::new("c").await);
    assert!(a.connector.prepare_connection(dial, short).await.is_err());
    let dial = Dial {
        expect: Some(bed.identity.id()),
        addrs: vec![bed.addr()],
        relays: Vec::new(),
    };
    let error = a.connector.prepare_connection(dial, short).await;
    assert_eq!(error.unwrap_err(), ConnectError::Version);
}
