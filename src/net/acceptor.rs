//! Takes calls: proves who calls, greets, and reports what arrives.

use std::net::SocketAddr;
use std::sync::Arc;

use quinn::Incoming;
use tokio::time::{Instant, timeout_at};

use super::admission::{Admitted, Verdict};
use super::code_link::QuicCode;
use super::connection::PeerConnection;
use super::handshake::{self, HANDSHAKE_DEADLINE, Introduction};
use super::interfaces::way_to;
use super::link::{LinkError, Offence};
use super::pool::{Answering, Shared};
use super::probing;
use super::pull_link::QuicPulled;
use super::routes::{Route, is_route};
use super::settings::transport;
use super::text_link::QuicText;
use super::transfer_link::QuicInbound;
use crate::peer::PeerId;
use crate::protocol::message::Code;

/// What arrives at a node.
#[derive(Debug)]
pub enum Arrival {
    /// A peer is connected, whoever dialled. Comes again without [`Arrival::Disconnected`] when a
    /// newer connection to the same peer takes over.
    Connected(PeerConnection),
    /// A peer offers a transfer.
    Transfer {
        /// The connection it came on.
        from: PeerConnection,
        /// Its link; dropping it declines with [`Code::Internal`].
        link: QuicInbound,
    },
    /// A peer wants to send a text.
    Text {
        /// The connection it came on.
        from: PeerConnection,
        /// Its link; dropping it refuses the text with [`Code::Internal`].
        link: QuicText,
    },
    /// Another receiver of a session wants content of it.
    Pull {
        /// The connection it came on.
        from: PeerConnection,
        /// Its stream; dropping it refuses with [`Code::Internal`].
        link: QuicPulled,
    },
    /// Somebody there has typed a one-time code that may be ours.
    Code {
        /// The connection it came on.
        from: PeerConnection,
        /// Its stream; dropping it refuses with [`Code::Internal`].
        link: QuicCode,
    },
    /// A peer says where it can be found, beside where it is seen.
    Addresses {
        /// Who.
        from: PeerConnection,
        /// Its addresses, most useful first: hints, at most
        /// [`ADDRS_TOLD_MAX`](crate::protocol::message::ADDRS_TOLD_MAX).
        addrs: Vec<SocketAddr>,
    },
    /// A peer is not connected any more.
    Disconnected(PeerId),
}

/// Takes calls until the endpoint is closed.
pub(super) async fn accept(shared: Arc<Shared>) {
    while let Some(incoming) = shared.endpoint.accept().await {
        let from = incoming.remote_address();
        let route = shared.routes.at(from);
        if is_route(from) && !route.as_ref().is_some_and(|route| route.take()) {
            // Its route has ended meanwhile, or has a connection already.
            incoming.ignore();
            continue;
        }
        // It counts by where the relay sees it, or where it is itself; those who come to a relay by
        // TCP share the limits of the relay.
        let through = |route: &Arc<Route>| route.seen().unwrap_or(route.carrier_addr());
        let ip = route.as_ref().map_or(from, through).ip();
        let validated = incoming.remote_address_validated();
        match shared.admission.decide(ip, validated) {
            Verdict::Admit(admitted) => {
                shared.spawn(answer(shared.clone(), incoming, route, admitted));
            }
            Verdict::Validate => {
                if let Err(error) = incoming.retry() {
                    error.into_incoming().refuse();
                }
            }
            Verdict::Refuse => incoming.refuse(),
        }
    }
}

/// One call, from the first packet to the pool.
async fn answer(
    shared: Arc<Shared>,
    incoming: Incoming,
    route: Option<Arc<Route>>,
    mut admitted: Admitted,
) {
    let until = Instant::now() + HANDSHAKE_DEADLINE;
    let from = incoming.remote_address();
    let mut config = shared.server.clone();
    config
        .transport_config(transport(way_to(from)))
        // A route stays what it is; where it leads is not for QUIC to change.
        .migration(route.is_none());
    let connecting = match incoming.accept_with(Arc::new(config)) {
        Ok(connecting) => connecting,
        Err(error) => {
            tracing::debug!(%from, %error, "call could not be taken");
            return;
        }
    };
    let quic = match timeout_at(until, connecting).await {
        Ok(Ok(quic)) => quic,
        Ok(Err(error)) => {
            tracing::debug!(%from, %error, "caller did not prove a key");
            return;
        }
        Err(_) => return,
    };
    admitted.validated();
    let connection = PeerConnection::new(quic, false, route);
    let greeted = timeout_at(until, greet(&shared, &connection)).await;
    let result = greeted.unwrap_or(Err(Offence::Silent.into()));
    match result.map_err(|error| connection.judged(error)) {
        Ok(_answering) => {
            admitted.connected();
            match shared.adopt(&connection, Some(admitted)) {
                Ok(()) => probing::begin(&shared, &connection, Vec::new()),
                Err(not_adopted) => {
                    tracing::debug!(%from, ?not_adopted, "caller is not connected");
                }
            }
        }
        Err(error) => tracing::debug!(%from, %error, "caller is not connected"),
    }
}

/// The guard says that the caller is half-way; it ends when the connection is in the pool.
async fn greet(shared: &Arc<Shared>, connection: &PeerConnection) -> Result<Answering, LinkError> {
    let refuse = |code| {
        connection.close(code);
        Err(LinkError::Lost(format!("refused here: {code:?}")))
    };
    let Some(peer) = handshake::proven_id(connection.quic()) else {
        return refuse(Code::Refused);
    };
    let outside = connection.route().and_then(|route| route.peer());
    let is_another = outside.is_some_and(|outside| outside != peer);
    if is_another || peer == shared.identity.id() || shared.is_blocked(peer) {
        return refuse(Code::Refused);
    }
    let call = handshake::hear(connection).await?;
    if let Some(lost) = call.lost {
        shared.lost_there(peer, lost);
    }
    let Some(answering) = shared.answer(peer) else {
        return refuse(Code::Replaced);
    };
    let Ok(nonce) = shared.identity.random() else {
        return refuse(Code::Internal);
    };
    let us = Introduction {
        identity: &shared.identity,
        name: &shared.name,
        nonce,
    };
    let greeting = handshake::answer(connection, peer, &us, call).await?;
    connection.greeted(greeting);
    Ok(answering)
}
