//! Links of every kind, for the same tests: each kind makes one link after the other between the
//! same two peers.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use peerconnect::identity::Identity;
use peerconnect::net::acceptor::Arrival;
use peerconnect::net::connector::{Connector, Dial};
use peerconnect::net::endpoint::{EndpointOptions, Net, bind};
use peerconnect::net::link::{Inbound, Outbound};
use peerconnect::net::memory::{Faults, MemoryInbound, MemoryOutbound, Scissors, pair_with};
use peerconnect::net::transfer_link::{QuicInbound, QuicOutbound};
use peerconnect::protocol::message::{Code, OfferHead};
use tokio::sync::mpsc;

/// Two peers that can make links.
pub trait Pair: Sized {
    type Out: Outbound;
    type In: Inbound;

    /// Two new peers.
    async fn new() -> Self;
    /// Both ends of a new link.
    async fn link(&mut self, head: OfferHead) -> (Self::Out, Self::In);
    /// What breaks the link that was made last, at both ends.
    fn scissors(&self) -> Box<dyn Fn()>;
}

/// Links inside this process. Tests pause the time: waits cost nothing.
#[derive(Default)]
pub struct Memory {
    /// What goes wrong on the next links, in order; then nothing.
    pub faults: VecDeque<Faults>,
    scissors: Option<Scissors>,
}

impl Pair for Memory {
    type Out = MemoryOutbound;
    type In = MemoryInbound;

    async fn new() -> Self {
        Self::default()
    }

    async fn link(&mut self, head: OfferHead) -> (MemoryOutbound, MemoryInbound) {
        let faults = self.faults.pop_front().unwrap_or_default();
        let (out, inbound) = pair_with(head, faults);
        self.scissors = Some(out.scissors());
        (out, inbound)
    }

    fn scissors(&self) -> Box<dyn Fn()> {
        let scissors = self.scissors.clone().unwrap();
        Box::new(move || scissors.cut())
    }
}

/// Links over QUIC on the loopback.
pub struct Quic {
    sender: End,
    receiver: End,
}

struct End {
    connector: Connector,
    arrivals: mpsc::Receiver<Arrival>,
    net: Net,
}

impl End {
    async fn new(name: &str) -> Self {
        let options = EndpointOptions {
            bind: Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            port: 0,
            name: name.into(),
        };
        let identity = Identity::generate().unwrap();
        let (connector, arrivals, net) = bind(&identity, options).await.unwrap();
        Self {
            connector,
            arrivals,
            net,
        }
    }
}

impl Pair for Quic {
    type Out = QuicOutbound;
    type In = QuicInbound;

    async fn new() -> Self {
        Self {
            sender: End::new("sender").await,
            receiver: End::new("receiver").await,
        }
    }

    async fn link(&mut self, head: OfferHead) -> (QuicOutbound, QuicInbound) {
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, self.receiver.net.local_port()));
        let dial = Dial {
            expect: Some(self.receiver.connector.id()),
            addrs: vec![addr],
            relays: Vec::new(),
        };
        let deadline = Duration::from_secs(10);
        let connection = self.sender.connector.prepare_connection(dial, deadline);
        let out = connection.await.unwrap().offer(head).await.unwrap();
        loop {
            if let Arrival::Transfer { link, .. } = self.receiver.arrivals.recv().await.unwrap() {
                return (out, link);
            }
        }
    }

    fn scissors(&self) -> Box<dyn Fn()> {
        let (connector, peer) = (self.sender.connector.clone(), self.receiver.connector.id());
        Box::new(move || connector.disconnect(peer, Code::Internal))
    }
}
