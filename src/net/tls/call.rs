//! Calls a peer over TCP.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::door::channel_of;
use super::framing::prepare;
use super::streams::{Began, Line};
use crate::identity::{peer_id_of_certificate, server_name};
use crate::net::attempt::stopped;
use crate::net::connector::ConnectError;
use crate::net::handshake::HANDSHAKE_DEADLINE;
use crate::net::pool::Shared;
use crate::net::routes::Route;
use crate::peer::PeerId;
use crate::protocol::tcp::{ALPN_TCP, ANSWER, KNOCK, WEB_PORT};

/// How long a computer may take until TCP is connected: its answer, or ours, may get lost once.
const CONNECT_DEADLINE: Duration = Duration::from_secs(3);
/// How long a peer may take to say that it speaks TLS. Nobody else says so.
const ANSWER_DEADLINE: Duration = Duration::from_secs(3);

/// A way to the peer that listens at `addr`, and who it is. Whatever is wrong with TCP there says
/// nothing about the peer, and is [`ConnectError::Unreachable`]. Cancel-safe.
pub(in crate::net) async fn call(
    shared: &Arc<Shared>,
    addr: SocketAddr,
    expect: Option<PeerId>,
) -> Result<(Arc<Route>, PeerId), ConnectError> {
    let called = timeout(HANDSHAKE_DEADLINE, proven(shared, addr, expect));
    let line = called.await.unwrap_or(Err(ConnectError::Unreachable))?;
    let peer = line.peer;
    let route = shared.streams.carry(&shared.routes, line);
    route
        .map(|route| (route, peer))
        .ok_or(ConnectError::Unreachable)
}

async fn proven(
    shared: &Arc<Shared>,
    addr: SocketAddr,
    expect: Option<PeerId>,
) -> Result<Line<tokio_rustls::client::TlsStream<TcpStream>>, ConnectError> {
    let silent = |error: std::io::Error| {
        tracing::debug!(%addr, %error, "not reached by TCP");
        ConnectError::Unreachable
    };
    let stream = connect(addr).await.map_err(silent)?;
    let made = shared.identity.tls_client(expect, &[ALPN_TCP]);
    let (config, shown) = made.map_err(stopped)?;
    let name = ServerName::try_from(server_name(expect))
        .map_err(|error| ConnectError::Stopped(error.to_string()))?;
    let connected = TlsConnector::from(Arc::new(config)).connect(name, stream);
    let stream = connected.await.map_err(|error| match shown.get() {
        Some(got) if expect.is_some_and(|id| id != got) => ConnectError::WrongPeer { got },
        Some(_) | None => silent(error),
    })?;
    let session = stream.get_ref().1;
    let [certificate] = session.peer_certificates().unwrap_or_default() else {
        return Err(ConnectError::Unreachable);
    };
    let (Ok(peer), Some(ALPN_TCP)) = (peer_id_of_certificate(certificate), session.alpn_protocol())
    else {
        return Err(ConnectError::Unreachable);
    };
    let channel = channel_of(session).ok_or(ConnectError::Unreachable)?;
    Ok(Line {
        stream,
        peer,
        addr,
        channel,
        began: Began::Here,
    })
}

/// Connects, and makes sure that it is no original that would be spoken to in TLS.
async fn connect(addr: SocketAddr) -> std::io::Result<TcpStream> {
    let mut stream = timeout(CONNECT_DEADLINE, TcpStream::connect(addr)).await??;
    prepare(&stream);
    if addr.port() == WEB_PORT {
        return Ok(stream);
    }
    let mut answer = [0; ANSWER.len()];
    let answered = async {
        stream.write_all(&KNOCK).await?;
        stream.read_exact(&mut answer).await
    };
    timeout(ANSWER_DEADLINE, answered).await??;
    match answer == ANSWER {
        true => Ok(stream),
        false => Err(std::io::Error::other("no peer answers there")),
    }
}
