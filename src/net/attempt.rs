//! One attempt to reach a peer: at an address, by UDP or over TCP, or through a relay; and what
//! failed.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quinn::{ConnectionError, TransportErrorCode};
use tokio::time::sleep;

use super::connector::ConnectError;
use super::handshake;
use super::interfaces::way_to;
use super::link::LinkError;
use super::pool::Shared;
use super::probe;
use super::race::Ways;
use super::relay::{NoRoute, call_through};
use super::routes::Route;
use super::settings::transport;
use super::tls;
use crate::fault::RelayTried;
use crate::identity::{ClientTls, IdentityError};
use crate::peer::PeerId;
use crate::protocol::link_uri::RelayHint;
use crate::protocol::message::Code;
use crate::protocol::relay::ALPNS_RELAY;

/// TLS alert `no_application_protocol` (RFC 7301) and `protocol_version` (RFC 8446).
const ALERT_NO_PROTOCOL: u8 = 120;
const ALERT_VERSION: u8 = 70;

/// How often, and with which pauses, a peer is called through one relay where it is not yet.
const CALLS_THROUGH: u32 = 3;
const CALL_AGAIN: Duration = Duration::from_secs(1);

/// What is spoken on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Speaks {
    /// The protocol between peers.
    Peer,
    /// That between a peer and a relay.
    Relay,
}

/// A connection on which a key was proven.
#[derive(Debug)]
pub(super) struct Won {
    pub(super) quic: quinn::Connection,
    pub(super) peer: PeerId,
    /// If it goes through a relay or over TCP.
    pub(super) route: Option<Arc<Route>>,
}

/// One address: TLS, and with it who is there.
pub(super) async fn attempt(
    shared: Arc<Shared>,
    addr: SocketAddr,
    expect: Option<PeerId>,
    speaks: Speaks,
) -> Result<Won, ConnectError> {
    let tls = match speaks {
        Speaks::Peer => shared.identity.client_config(expect),
        Speaks::Relay => shared.identity.client_config_for(expect, &ALPNS_RELAY),
    };
    let tls = tls.map_err(stopped)?;
    let mut config = quinn::ClientConfig::new(tls.crypto.clone());
    config.transport_config(transport(way_to(addr)));
    let connecting = shared
        .endpoint
        .connect_with(config, addr, &tls.server_name)
        .map_err(|error| not_dialled(&error))?;
    let quic = tokio::select! {
        result = connecting => result.map_err(|error| not_connected(&error, &tls, expect))?,
        error = probe::bad_news(addr) => return Err(error),
    };
    proven(quic, None)
}

fn proven(quic: quinn::Connection, route: Option<Arc<Route>>) -> Result<Won, ConnectError> {
    match handshake::proven_id(&quic) {
        Some(peer) => Ok(Won { quic, peer, route }),
        None => Err(ConnectError::Handshake("no certificate".into())),
    }
}

pub(super) fn pairs(
    (peer, relays): (PeerId, Vec<RelayHint>),
) -> impl Iterator<Item = (PeerId, RelayHint)> {
    relays.into_iter().map(move |relay| (peer, relay))
}

/// One relay: the same handshake, end to end, through it. What came of it is noted in `ways`.
pub(super) async fn attempt_through(
    shared: Arc<Shared>,
    (peer, relay): (PeerId, RelayHint),
    ways: &Ways,
) -> Result<Won, ConnectError> {
    let mut calls = 1;
    let route = loop {
        match call_through(&shared, &relay, peer).await {
            Ok(route) => break route,
            Err(NoRoute::Absent) => {
                // Noted at once: there may be no time for another call.
                ways.relayed(RelayTried::Absent);
                if calls >= CALLS_THROUGH {
                    return Err(ConnectError::Unreachable);
                }
            }
            // Whatever is wrong with the relay says nothing about the peer.
            Err(NoRoute::Relay) => return Err(ConnectError::Unreachable),
        }
        calls += 1;
        sleep(CALL_AGAIN).await;
    };
    ways.relayed(RelayTried::Silent);
    on_route(&shared, route, peer).await
}

/// One address, over TCP: the same handshake inside.
pub(super) async fn attempt_over_tcp(
    shared: Arc<Shared>,
    addr: SocketAddr,
    expect: Option<PeerId>,
) -> Result<Won, ConnectError> {
    let (route, peer) = tls::call(&shared, addr, expect).await?;
    on_route(&shared, route, peer).await
}

async fn on_route(
    shared: &Arc<Shared>,
    route: Arc<Route>,
    peer: PeerId,
) -> Result<Won, ConnectError> {
    route.take();
    let tls = shared.identity.client_config(Some(peer)).map_err(stopped)?;
    let mut config = quinn::ClientConfig::new(tls.crypto.clone());
    config.transport_config(transport(way_to(route.addr())));
    let connecting = shared
        .endpoint
        .connect_with(config, route.addr(), &tls.server_name)
        .map_err(|error| not_dialled(&error))?;
    let connected = connecting.await;
    let quic = connected.map_err(|error| not_connected(&error, &tls, Some(peer)))?;
    proven(quic, Some(route))
}

pub(super) fn stopped(error: IdentityError) -> ConnectError {
    ConnectError::Stopped(error.to_string())
}

fn not_dialled(error: &quinn::ConnectError) -> ConnectError {
    match error {
        // An IPv6 address, and a socket for IPv4 only; or no port.
        quinn::ConnectError::InvalidRemoteAddress(_) => ConnectError::NoRoute,
        quinn::ConnectError::EndpointStopping
        | quinn::ConnectError::CidsExhausted
        | quinn::ConnectError::InvalidServerName(_)
        | quinn::ConnectError::NoDefaultClientConfig
        | quinn::ConnectError::UnsupportedVersion => ConnectError::Stopped(error.to_string()),
    }
}

pub(super) fn not_connected(
    error: &ConnectionError,
    tls: &ClientTls,
    expect: Option<PeerId>,
) -> ConnectError {
    let alert = |code: TransportErrorCode| {
        if [ALERT_NO_PROTOCOL, ALERT_VERSION]
            .map(TransportErrorCode::crypto)
            .contains(&code)
        {
            ConnectError::Version
        } else {
            ConnectError::Handshake(error.to_string())
        }
    };
    match (error, tls.proven.get()) {
        (ConnectionError::TransportError(_), Some(got)) if expect.is_some_and(|id| id != got) => {
            ConnectError::WrongPeer { got }
        }
        (ConnectionError::TransportError(error), _) => alert(error.code),
        (ConnectionError::ConnectionClosed(close), _) => match close.error_code {
            TransportErrorCode::CONNECTION_REFUSED => ConnectError::Busy,
            code => alert(code),
        },
        (ConnectionError::TimedOut, _) => ConnectError::Unreachable,
        (ConnectionError::VersionMismatch, _) => ConnectError::Version,
        (
            ConnectionError::ApplicationClosed(_)
            | ConnectionError::Reset
            | ConnectionError::LocallyClosed
            | ConnectionError::CidsExhausted,
            _,
        ) => greeting_failed(super::errors::connection_error(error)),
    }
}

pub(super) fn greeting_failed(error: LinkError) -> ConnectError {
    match error {
        LinkError::Closed(Code::Refused) => ConnectError::Refused,
        LinkError::Closed(Code::Busy) => ConnectError::Busy,
        LinkError::Offence(offence) => ConnectError::Misbehaved(offence),
        LinkError::Closed(_) | LinkError::Lost(_) => ConnectError::Lost(error.to_string()),
    }
}
