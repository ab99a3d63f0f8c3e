//! Links of every kind, for the same tests: each kind makes one link after the other between the
//! same two peers.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use peerconnect::identity::Identity;
use peerconnect::net::acceptor::Arrival;
use peerconnect::net::connector::{Connector, Dial};
use peerconnect::net::endpoint::{EndpointOptions, Net, bind};
use peerconnect::net::link::{Inbound, Outbound, PathKind};
use peerconnect::net::memory::{Faults, MemoryInbound, MemoryOutbound, Scissors, pair_with};
use peerconnect::net::transfer_link::{QuicInbound, QuicOutbound};
use peerconnect::protocol::message::{Code, OfferHead};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

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
        let port = self.receiver.net.local_port();
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        self.link_at(addr, head).await
    }

    fn scissors(&self) -> Box<dyn Fn()> {
        let (connector, peer) = (self.sender.connector.clone(), self.receiver.connector.id());
        Box::new(move || connector.disconnect(peer, Code::Internal))
    }
}

impl Quic {
    async fn link_at(&mut self, addr: SocketAddr, head: OfferHead) -> (QuicOutbound, QuicInbound) {
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
}

/// The same where only TCP gets through.
pub struct OverTcp {
    ends: Quic,
    addr: SocketAddr,
    through: Arc<Mutex<JoinSet<()>>>,
    _task: JoinSet<()>,
}

impl Pair for OverTcp {
    type Out = QuicOutbound;
    type In = QuicInbound;

    async fn new() -> Self {
        let ends = Quic::new().await;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let through = Arc::<Mutex<JoinSet<()>>>::default();
        let to = SocketAddr::from((Ipv4Addr::LOCALHOST, ends.receiver.net.local_port()));
        let pipes = through.clone();
        let mut task = JoinSet::new();
        task.spawn(async move {
            loop {
                let (mut near, _) = listener.accept().await.unwrap();
                pipes.lock().unwrap().spawn(async move {
                    let mut far = TcpStream::connect(to).await.unwrap();
                    let _ = copy_bidirectional(&mut near, &mut far).await;
                });
            }
        });
        Self {
            ends,
            addr,
            through,
            _task: task,
        }
    }

    async fn link(&mut self, head: OfferHead) -> (QuicOutbound, QuicInbound) {
        let (out, inbound) = self.ends.link_at(self.addr, head).await;
        assert_eq!(out.path().kind, PathKind::Tcp);
        (out, inbound)
    }

    /// The receiver hears of it by the end of TCP alone.
    fn scissors(&self) -> Box<dyn Fn()> {
        let (through, cut) = (self.through.clone(), self.ends.scissors());
        Box::new(move || {
            through.lock().unwrap().abort_all();
            cut();
        })
    }
}
