//! Asks the system whether a dial is in vain, or somebody is there at all: a connected UDP socket
//! is told what a socket that serves many peers is not.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::timeout;

use super::connector::ConnectError;

/// Waits for bad news about `addr`, for ever if there are none. Sends one byte there, which no
/// QUIC endpoint answers.
pub(super) async fn bad_news(addr: SocketAddr) -> ConnectError {
    let listen = async {
        let socket = connected(addr).await?;
        socket.send(&[0]).await?;
        let mut answer = [0; 1];
        loop {
            // An answer of whoever it is means nothing.
            socket.recv(&mut answer).await?;
        }
    };
    let result: io::Result<std::convert::Infallible> = listen.await;
    let error = match result {
        Err(error) => error,
        Ok(never) => match never {},
    };
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "an enum of the standard library"
    )]
    match error.kind() {
        ErrorKind::ConnectionRefused => ConnectError::NotListening,
        ErrorKind::NetworkUnreachable | ErrorKind::AddrNotAvailable | ErrorKind::Unsupported => {
            ConnectError::NoRoute
        }
        ErrorKind::HostUnreachable => ConnectError::Unreachable,
        // Nothing that speaks about the peer.
        _ => std::future::pending().await,
    }
}

async fn connected(addr: SocketAddr) -> io::Result<UdpSocket> {
    let any: SocketAddr = match addr {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(addr).await?;
    Ok(socket)
}

/// What came of a [`knock`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Knocked {
    /// Some QUIC endpoint is there.
    Answered,
    /// The computer is there, and nobody listens.
    Refused,
    /// Nothing was heard.
    Silent,
}

/// Asks whether a QUIC endpoint is at `addr`, without any handshake: with a packet of a version
/// that there is not, which every endpoint answers (RFC 9000, 6.1) and keeps nothing of.
pub(super) async fn knock(addr: SocketAddr, wait: Duration) -> Knocked {
    let Some(ids) = random_ids() else {
        return Knocked::Silent;
    };
    let answered = async {
        let socket = connected(addr).await?;
        socket.send(&question(ids)).await?;
        let mut answer = [0; ANSWER_LEN_MAX];
        loop {
            let len = socket.recv(&mut answer).await?;
            if answer.get(..len).is_some_and(|text| is_answer(text, ids)) {
                return io::Result::Ok(());
            }
        }
    };
    match timeout(wait, answered).await {
        Ok(Ok(())) => Knocked::Answered,
        Ok(Err(error)) if error.kind() == ErrorKind::ConnectionRefused => Knocked::Refused,
        Ok(Err(_)) | Err(_) => Knocked::Silent,
    }
}

/// Connection ids of the two sides, asked for and asking.
type Ids = [[u8; ID_LEN]; 2];

const ID_LEN: usize = 8;
/// The least size that is answered.
const QUESTION_LEN: usize = 1200;
/// What an answer can be: two ids and a list of versions.
const ANSWER_LEN_MAX: usize = 256;
/// Reserved for being refused (RFC 9000, 15).
const NO_VERSION: [u8; 4] = [0x1a, 0x2a, 0x3a, 0x4a];
/// First byte of a long header.
const LONG_HEADER: u8 = 0xc0;

fn random_ids() -> Option<Ids> {
    let mut ids = [[0; ID_LEN]; 2];
    let random = rustls::crypto::ring::default_provider().secure_random;
    for id in &mut ids {
        random.fill(id).ok()?;
    }
    Some(ids)
}

fn header(version: [u8; 4], to: [u8; ID_LEN], from: [u8; ID_LEN]) -> Vec<u8> {
    let len = [ID_LEN as u8];
    [&[LONG_HEADER][..], &version, &len, &to, &len, &from].concat()
}

fn question([theirs, ours]: Ids) -> Vec<u8> {
    let mut packet = header(NO_VERSION, theirs, ours);
    packet.resize(QUESTION_LEN, 0);
    packet
}

/// Whether this is the answer to that question: it repeats its ids, in the other order.
fn is_answer(packet: &[u8], [theirs, ours]: Ids) -> bool {
    match (
        packet.split_first(),
        header([0; 4], ours, theirs).split_first(),
    ) {
        (Some((first, rest)), Some((_, wanted))) => first & 0x80 != 0 && rest.starts_with(wanted),
        _ => false,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    /// Far more than anything takes.
    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn only_the_answer_to_our_question_counts() {
        let ids = random_ids().unwrap();
        let [theirs, ours] = ids;
        let mut answer = header([0; 4], ours, theirs);
        answer.extend([0, 0, 0, 1]);
        assert!(is_answer(&answer, ids));
        for bad in [
            header([0; 4], theirs, ours),
            header([0, 0, 0, 1], ours, theirs),
            answer[..answer.len() - 5].to_vec(),
            Vec::new(),
        ] {
            assert!(!is_answer(&bad, ids), "{bad:?}");
        }
        assert_eq!(question(ids).len(), QUESTION_LEN);
    }

    #[tokio::test]
    async fn an_endpoint_answers_a_knock_and_a_closed_port_refuses_it() {
        let identity = crate::identity::Identity::generate().unwrap();
        let options = crate::net::EndpointOptions {
            bind: Some(Ipv4Addr::LOCALHOST.into()),
            port: 0,
            name: "door".into(),
        };
        let (_connector, _arrivals, net) = crate::net::bind(&identity, options).await.unwrap();
        let addr = (Ipv4Addr::LOCALHOST, net.local_port()).into();
        assert_eq!(knock(addr, LONG).await, Knocked::Answered);
        let closed = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let addr = closed.local_addr().unwrap();
        drop(closed);
        assert_eq!(knock(addr, LONG).await, Knocked::Refused);
    }
}
