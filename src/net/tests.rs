//! Behaviour of two or more nodes on real sockets of this computer.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::link::*;
use super::*;
use crate::identity::Identity;
use crate::peer::PeerId;
use crate::protocol::groups::{GROUP_LEN, group_count, group_len, group_offset, hash_group};
use crate::protocol::message::*;

mod codes;
mod files;
mod hostile;
mod moves;
mod peers;
mod pulls;
mod relays;
mod texts;
mod tls;

const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const SOON: Duration = Duration::from_secs(20);

struct Node {
    name: &'static str,
    identity: Identity,
    connector: Connector,
    arrivals: mpsc::Receiver<Arrival>,
    net: Net,
}

impl Node {
    async fn new(name: &'static str) -> Self {
        Self::with(Identity::generate().unwrap(), name, 0).await
    }

    async fn with(identity: Identity, name: &'static str, port: u16) -> Self {
        let options = EndpointOptions {
            bind: Some(LOCALHOST),
            port,
            name: name.into(),
        };
        let (connector, arrivals, net) = bind(&identity, options).await.unwrap();
        Self {
            name,
            identity,
            connector,
            arrivals,
            net,
        }
    }

    /// A node with the lower id first.
    async fn two() -> (Self, Self) {
        let (a, b) = (Self::new("a").await, Self::new("b").await);
        if a.id() < b.id() { (a, b) } else { (b, a) }
    }

    fn id(&self) -> PeerId {
        self.identity.id()
    }

    fn addr(&self) -> SocketAddr {
        (LOCALHOST, self.net.local_port()).into()
    }

    fn dial(&self) -> Dial {
        Dial {
            expect: Some(self.id()),
            addrs: vec![self.addr()],
            relays: Vec::new(),
        }
    }

    async fn connect(&self, to: &Self) -> PeerConnection {
        let connected = self.connector.prepare_connection(to.dial(), SOON).await;
        connected.unwrap()
    }

    async fn arrival(&mut self) -> Arrival {
        self.arrivals.recv().await.unwrap()
    }

    async fn connected(&mut self) -> PeerConnection {
        match self.arrival().await {
            Arrival::Connected(connection) => connection,
            other @ (Arrival::Transfer { .. }
            | Arrival::Text { .. }
            | Arrival::Pull { .. }
            | Arrival::Code { .. }
            | Arrival::Addresses { .. }
            | Arrival::Disconnected(_)) => panic!("{other:?}"),
        }
    }

    async fn transfer(&mut self) -> QuicInbound {
        loop {
            match self.arrival().await {
                Arrival::Transfer { link, .. } => return link,
                Arrival::Connected(_) | Arrival::Addresses { .. } => {}
                other @ (Arrival::Disconnected(_)
                | Arrival::Text { .. }
                | Arrival::Pull { .. }
                | Arrival::Code { .. }) => {
                    panic!("{other:?}")
                }
            }
        }
    }

    /// A connection and a transfer from here to there, to which the other side agreed.
    async fn link(&mut self, to: &mut Self) -> (QuicOutbound, QuicInbound) {
        let outbound = self.connect(to).await.offer(head(1)).await.unwrap();
        let mut inbound = to.transfer().await;
        inbound.consent();
        (outbound, inbound)
    }
}

fn head(number: u8) -> OfferHead {
    OfferHead {
        transfer: TransferId([number; 16]),
        entries: 1,
        bytes: 2,
        digest: [3; 32],
    }
}

fn header(index: FileIndex, size: u64) -> FileHeader {
    FileHeader {
        transfer: TransferId([1; 16]),
        index,
        size,
        modified: Timestamp(4),
        stamp: Stamp([5; 16]),
    }
}

fn content(size: u64) -> Bytes {
    (0..size).map(|i| (i / 251 + i) as u8).collect()
}

/// Sends a whole file in pieces of at most `piece` bytes.
async fn send_file<W: FileWriter>(mut writer: W, bytes: Bytes, piece: usize) {
    let size = bytes.len() as u64;
    for group in 0..group_count(size) {
        writer.write(Piece::Group(group)).await.unwrap();
        let from = group_offset(group) as usize;
        let group_bytes = bytes.slice(from..from + group_len(size, group) as usize);
        let mut rest = group_bytes.clone();
        while !rest.is_empty() {
            let data = rest.split_to(piece.min(rest.len()));
            writer.write(Piece::Data(data)).await.unwrap();
        }
        let hash = hash_group(size, group, &group_bytes);
        writer.write(Piece::GroupEnd(Some(hash))).await.unwrap();
    }
    let hash = *blake3::hash(&bytes).as_bytes();
    writer.write(Piece::End(Some(hash))).await.unwrap();
}

/// Receives a whole file and checks every hash. Also the lengths of its pieces of content.
async fn receive_file<R: FileReader>(mut reader: R, size: u64) -> (Vec<u8>, Vec<usize>) {
    let (mut bytes, mut group, mut lengths) = (Vec::new(), 0, Vec::new());
    loop {
        match reader.read().await.unwrap() {
            Piece::Group(next) => {
                group = next;
                assert_eq!(bytes.len() as u64, group_offset(group));
            }
            Piece::Data(data) => {
                lengths.push(data.len());
                bytes.extend_from_slice(&data);
            }
            Piece::GroupEnd(hash) => {
                let own = &bytes[group_offset(group) as usize..];
                assert_eq!(hash, Some(hash_group(size, group, own)));
            }
            Piece::End(hash) => {
                assert_eq!(hash, Some(*blake3::hash(&bytes).as_bytes()));
                assert_eq!(bytes.len() as u64, size);
                return (bytes, lengths);
            }
            Piece::Elsewhere(..) | Piece::Break => panic!("the file is complete"),
        }
    }
}

async fn next_file<I: Inbound>(inbound: &mut I) -> (FileHeader, I::Reader) {
    match inbound.recv().await.unwrap() {
        InboundEvent::File(header, reader) => (header, reader),
        InboundEvent::Message(message) => panic!("{message:?}"),
    }
}

/// A QUIC endpoint without our rules, for the part of an attacker. Gives itself as `identity`.
fn raw_endpoint() -> quinn::Endpoint {
    quinn::Endpoint::client((LOCALHOST, 0).into()).unwrap()
}

/// A connection of an attacker, who proves its own key but has not greeted yet.
async fn raw_connection(
    endpoint: &quinn::Endpoint,
    identity: &Identity,
    to: &Node,
) -> quinn::Connection {
    let tls = identity.client_config(Some(to.id())).unwrap();
    let config = quinn::ClientConfig::new(tls.crypto);
    let connecting = endpoint.connect_with(config, to.addr(), &tls.server_name);
    connecting.unwrap().await.unwrap()
}

/// The first thing that the attacker says.
fn raw_hello(nonce: &[u8; 16]) -> Vec<u8> {
    let hello = Opening::Connection(Hello {
        name: "attacker".into(),
        version: "1".into(),
        observed: None,
        commitment: crate::protocol::words::commitment(nonce),
    });
    crate::protocol::frame::encode(&hello).unwrap()
}

/// The attacker greets as it should.
async fn raw_greeting(quic: &quinn::Connection, identity: &Identity) {
    raw_greeting_open(quic, identity).await;
}

/// The attacker greets as it should, and may go on to talk.
async fn raw_greeting_open(quic: &quinn::Connection, identity: &Identity) -> quinn::SendStream {
    let (mut send, mut recv) = quic.open_bi().await.unwrap();
    let nonce = identity.random().unwrap();
    send.write_all(&raw_hello(&nonce)).await.unwrap();
    let mut first = [0; 1];
    recv.read_exact(&mut first).await.unwrap();
    let reveal = ConnectionMessage::Reveal { nonce };
    send.write_all(&crate::protocol::frame::encode(&reveal).unwrap())
        .await
        .unwrap();
    send
}
