//! Asks the system whether a dial is in vain: a connected UDP socket is told what a socket that
//! serves many peers is not.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::net::UdpSocket;

use super::connector::ConnectError;

/// Waits for bad news about `addr`, for ever if there are none. Sends one byte there, which no
/// QUIC endpoint answers.
pub(super) async fn bad_news(addr: SocketAddr) -> ConnectError {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "an enum of the standard library"
    )]
    match ask(addr).await.kind() {
        ErrorKind::ConnectionRefused => ConnectError::NotListening,
        ErrorKind::NetworkUnreachable | ErrorKind::AddrNotAvailable | ErrorKind::Unsupported => {
            ConnectError::NoRoute
        }
        ErrorKind::HostUnreachable => ConnectError::Unreachable,
        // Nothing that speaks about the peer.
        _ => std::future::pending().await,
    }
}

async fn ask(addr: SocketAddr) -> std::io::Error {
    let any: SocketAddr = match addr {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let listen = async {
        let socket = UdpSocket::bind(any).await?;
        socket.connect(addr).await?;
        socket.send(&[0]).await?;
        let mut answer = [0; 1];
        loop {
            // An answer of whoever it is means nothing.
            socket.recv(&mut answer).await?;
        }
    };
    let result: Result<std::convert::Infallible, std::io::Error> = listen.await;
    match result {
        Err(error) => error,
        Ok(never) => match never {},
    }
}
