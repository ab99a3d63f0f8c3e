//! How a relay is reached: by UDP, or by TCP where UDP does not get through.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;

use super::link::{Control, StreamControl};
use crate::identity::server_name;
use crate::net::attempt::Speaks;
use crate::net::connection::{PeerConnection, canonical};
use crate::net::connector::{ConnectError, Connector};
use crate::net::frames::FrameReader;
use crate::net::interfaces::with_link_local;
use crate::net::pool::Shared;
use crate::net::race::{NEXT_ADDR_AFTER, TCP_AFTER};
use crate::net::tls::prepare;
use crate::net::whereabouts::to_dial;
use crate::protocol::link_uri::RelayHint;
use crate::protocol::relay::{ALPN_NUMBERS, ALPNS_RELAY};

/// How long a relay may take until it is connected.
pub(super) const CONNECT_DEADLINE: Duration = Duration::from_secs(8);

/// What a relay understands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Knows {
    /// Calls only.
    Calls,
    /// Numbers of one-time codes, too.
    Numbers,
}

impl Knows {
    fn of(knows_numbers: bool) -> Self {
        match knows_numbers {
            true => Self::Numbers,
            false => Self::Calls,
        }
    }
}

/// A relay that was reached.
pub(super) struct Reached {
    pub(super) control: Control,
    pub(super) addr: SocketAddr,
    pub(super) knows: Knows,
}

/// Connects with a relay, by UDP if that works, and says where.
pub(super) async fn connect(
    shared: &Arc<Shared>,
    relay: &RelayHint,
) -> Result<Reached, ConnectError> {
    let quic = by_quic(shared, relay);
    let tcp = async {
        sleep(TCP_AFTER).await;
        by_tcp(shared, relay).await
    };
    let both = async {
        tokio::pin!(quic, tcp);
        let mut errors = None;
        loop {
            let (result, other) = match errors {
                None => tokio::select! {
                    result = &mut quic => (result, true),
                    result = &mut tcp => (result, false),
                },
                Some((true, _)) => (tcp.as_mut().await, false),
                Some((false, _)) => (quic.as_mut().await, true),
            };
            match (result, errors.take()) {
                (Ok(control), _) => return Ok(control),
                (Err(error), None) => errors = Some((other, error)),
                // What UDP says tells more.
                (Err(error), Some((is_udp, first))) => {
                    return Err(if is_udp { first } else { error });
                }
            }
        }
    };
    let connected = timeout(CONNECT_DEADLINE, both).await;
    connected.unwrap_or(Err(ConnectError::Unreachable))
}

async fn by_quic(shared: &Arc<Shared>, relay: &RelayHint) -> Result<Reached, ConnectError> {
    let connector = Connector::new(shared.clone());
    let quic = connector
        .reach(relay.id, &relay.addrs, Speaks::Relay)
        .await?;
    let addr = canonical(quic.remote_address());
    let connection = PeerConnection::new(quic, true, None);
    let opened = connection.quic().open_bi().await;
    let (send, recv) = opened.map_err(|error| ConnectError::Lost(error.to_string()))?;
    let knows = Knows::of(connection.speaks(ALPN_NUMBERS));
    let control = Control::Quic {
        connection,
        send,
        recv: FrameReader::new(recv),
    };
    Ok(Reached {
        control,
        addr,
        knows,
    })
}

async fn by_tcp(shared: &Arc<Shared>, relay: &RelayHint) -> Result<Reached, ConnectError> {
    let made = shared.identity.tls_client(Some(relay.id), &ALPNS_RELAY);
    let (config, _) = made.map_err(|error| ConnectError::Stopped(error.to_string()))?;
    let tls = TlsConnector::from(Arc::new(config));
    let name = ServerName::try_from(server_name(Some(relay.id)))
        .map_err(|error| ConnectError::Stopped(error.to_string()))?;
    let mut attempts = JoinSet::new();
    for (number, addr) in (0..).zip(to_dial(&relay.addrs, &[], &with_link_local())) {
        let (tls, name) = (tls.clone(), name.clone());
        attempts.spawn(async move {
            sleep(NEXT_ADDR_AFTER * number).await;
            let stream = TcpStream::connect(addr).await?;
            prepare(&stream);
            let stream = tls.connect(name, stream).await?;
            std::io::Result::Ok((stream, addr))
        });
    }
    let mut last = ConnectError::NoAddress;
    while let Some(result) = attempts.join_next().await {
        match result {
            Ok(Ok((stream, addr))) => {
                let routes = shared.routes.clone();
                let knows = stream.get_ref().1.alpn_protocol() == Some(ALPN_NUMBERS);
                let control = StreamControl::new(stream, move |datagram| {
                    routes.arrived(&datagram);
                });
                return Ok(Reached {
                    control: Control::Stream(control),
                    addr,
                    knows: Knows::of(knows),
                });
            }
            Ok(Err(error)) => last = ConnectError::Lost(error.to_string()),
            Err(error) => last = ConnectError::Lost(error.to_string()),
        }
    }
    Err(last)
}
