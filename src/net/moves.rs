//! What a node does when this computer comes into another network: its connections go on, or are
//! given up and made anew, at once instead of after the idle timeout.
//!
//! A connection that this side dialled goes on over the new network as soon as the peer gets a
//! packet from there (RFC 9000, section 9), so one is sent. The side that was called cannot move
//! a connection: where its address is gone, the connection is, and it calls the peer itself. Of
//! whatever else happened only the packets know: a connection on which nothing comes for a while
//! after a change is given up, too, unless there is no way to the peer at all. Then the network
//! may come back, and the connection with it.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::sleep;

use super::connection::PeerConnection;
use super::connector::{Connector, Dial};
use super::interfaces::{self, Own};
use super::link::PathKind;
use super::pool::Shared;
use super::routed_socket::RoutedSocket;
use super::socket;
use super::watch::Changes;

/// How long a peer may take to answer after a change of the network, and how many round trips.
const ANSWER_MIN: Duration = Duration::from_millis(1_500);
/// The relay has to see where we are first.
const ANSWER_MIN_RELAYED: Duration = Duration::from_millis(4_000);
const ANSWER_ROUND_TRIPS: u32 = 6;
/// How long a peer is called whose connection was given up. Afterwards those call who have
/// something to send or to receive.
const CALL_DEADLINE: Duration = Duration::from_secs(10);
/// Time for the last packets of connections that were given up. The kernel refuses them, and what
/// quinn learns from that about the socket (that it cannot send in batches) is wrong.
const LAST_PACKETS: Duration = Duration::from_millis(10);

/// Follows the changes of the network, for ever. `socket` is the one that the endpoint uses,
/// bound to `local`.
pub(super) async fn follow(shared: Arc<Shared>, socket: UdpSocket, local: SocketAddr) {
    let mut changes = Changes::new();
    let mut own = Own::now();
    let mut calls = JoinSet::new();
    let mut probes = JoinSet::new();
    loop {
        let told = tokio::select! {
            told = changes.next() => told,
            Some(silent) = probes.join_next() => {
                if let Ok(Some(connection)) = silent {
                    give_up(&shared, &connection, "no answer after a change", &mut calls);
                }
                continue;
            }
            Some(_) = calls.join_next() => continue,
        };
        let now = Own::now();
        if !told && now == own {
            continue;
        }
        let gone = |connection: &PeerConnection| {
            let ours = connection.local_ip();
            ours.is_some_and(|ip| !now.has(ip)) && now.has_way(connection.next_hop())
        };
        for connection in shared.connections().into_iter().filter(gone) {
            give_up(&shared, &connection, "our address is gone", &mut calls);
        }
        sleep(LAST_PACKETS).await;
        announce(&shared, &socket);
        shared.moved_to(interfaces::candidates(local.ip(), local.port()));
        shared.network_changed();
        if now != own {
            tracing::info!("the network has changed");
            own = now;
            // Those of the change before look at what is over.
            probes = shared.connections().into_iter().map(probe).collect();
        }
    }
}

/// Has every connection send a packet, from where this computer is now.
fn announce(shared: &Shared, socket: &UdpSocket) {
    // The same socket, but quinn forgets what it believes about it.
    let again = socket.try_clone().and_then(socket::wrapped);
    let again = again.map(|socket| RoutedSocket::new(socket, shared.routes.clone()));
    let moved = again.and_then(|socket| shared.endpoint.rebind_abstract(socket));
    if let Err(error) = moved {
        tracing::warn!(%error, "the peers do not hear of a change of the network");
    }
}

/// The connection if nothing comes on it any more though it should.
async fn probe(connection: PeerConnection) -> Option<PeerConnection> {
    let heard = || connection.quic().stats().udp_rx.datagrams;
    let before = heard();
    let least = match connection.path().kind {
        PathKind::Direct => ANSWER_MIN,
        PathKind::Tcp | PathKind::Relay | PathKind::Memory | PathKind::LegacyPlain => {
            ANSWER_MIN_RELAYED
        }
    };
    sleep(least.max(connection.rtt() * ANSWER_ROUND_TRIPS)).await;
    let has_way = || Own::now().has_way(connection.next_hop());
    (heard() == before && has_way()).then_some(connection)
}

fn give_up(shared: &Arc<Shared>, connection: &PeerConnection, why: &str, calls: &mut JoinSet<()>) {
    if connection.is_closed() {
        return;
    }
    tracing::info!(peer = %connection.id().short(), why, "gives a connection up");
    shared.lose(connection, why);
    let (connector, dial) = (
        Connector::new(shared.clone()),
        Dial {
            expect: Some(connection.id()),
            addrs: connection.remote_addr().into_iter().collect(),
            relays: connection.relay().into_iter().collect(),
        },
    );
    calls.spawn(async move {
        let _ = connector.prepare_connection(dial, CALL_DEADLINE).await;
    });
}
