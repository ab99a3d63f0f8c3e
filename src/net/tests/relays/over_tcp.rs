//! Connections that begin at a relay and go on over TCP to the peer itself.

use super::*;

fn lose_udp(nodes: [&Node; 2], lose: bool) {
    for node in nodes {
        let routes = &node.connector.shared.routes;
        routes.loses_udp.store(lose, Ordering::Relaxed);
    }
}

#[tokio::test]
async fn where_only_tcp_gets_through_it_goes_on_over_tcp_and_back_when_that_ends() {
    let bed = Bed::new().await;
    let (a, mut b) = (Node::new("caller").await, bed.listener().await);
    lose_udp([&a, &b], true);
    let dial = through(bed.hint(), &b);
    let at_a = a.connector.prepare_connection(dial, SOON).await.unwrap();
    let at_b = b.connected().await;
    for connection in [&at_a, &at_b] {
        until_path(connection, PathKind::Tcp).await;
        assert_eq!(connection.relay(), Some(bed.hint()));
        assert!(connection.remote_ip().unwrap().is_loopback());
    }
    let before = bed.relay.stats().bytes;
    exchange(&at_a, &mut b, 5_000_000).await;
    let carried = bed.relay.stats().bytes - before;
    assert!(carried < 100_000, "{carried} bytes through the relay");
    for node in [&a, &b] {
        node.connector.shared.streams.stop();
    }
    for connection in [&at_a, &at_b] {
        until_path(connection, PathKind::Relay).await;
    }
    exchange(&at_a, &mut b, 5_000_000).await;
    assert!(bed.relay.stats().bytes - before > 5_000_000);
    assert!(!at_a.is_closed() && !at_b.is_closed());
}

#[tokio::test]
async fn udp_takes_over_from_tcp_and_tcp_from_udp() {
    let bed = Bed::new().await;
    let (a, mut b) = (Node::new("caller").await, bed.listener().await);
    lose_udp([&a, &b], true);
    let dial = through(bed.hint(), &b);
    let at_a = a.connector.prepare_connection(dial, SOON).await.unwrap();
    let at_b = b.connected().await;
    for kind in [PathKind::Tcp, PathKind::Direct, PathKind::Tcp] {
        lose_udp([&a, &b], kind == PathKind::Tcp);
        for connection in [&at_a, &at_b] {
            until_path(connection, kind).await;
        }
        exchange(&at_a, &mut b, 100_000).await;
    }
    // What is closed at one side ends at the other.
    at_a.close(Code::Done);
    assert_eq!(at_b.closed().await, LinkError::Closed(Code::Done));
}
