//! A TCP connection to a peer that carries packets, as those see it who send over it.

use std::net::SocketAddr;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use tokio::sync::{Notify, mpsc, watch};

use super::tls::{DATAGRAMS_MAX, Outgoing};
use crate::peer::PeerId;

/// Probes that may wait: they have their turn before packets.
const PROBES_MAX: usize = 8;

/// A TCP connection to the peer itself, on which it has proven its key. It ends when nobody holds
/// this any more, if not before.
#[derive(Debug, Clone)]
pub(super) struct Wire(Arc<Inner>);

/// The same for the one who carries it, and whom it must not keep alive.
#[derive(Debug)]
pub(super) struct WeakWire(Weak<Inner>);

#[derive(Debug)]
struct Inner {
    peer: PeerId,
    addr: SocketAddr,
    is_dialled: bool,
    packets: mpsc::Sender<Bytes>,
    probes: mpsc::Sender<Bytes>,
    ended: watch::Receiver<()>,
    over: Arc<Notify>,
}

/// The side of the one who carries it.
pub(super) struct Carrying {
    /// What is to be sent.
    pub(super) outgoing: Outgoing,
    /// Dropped when it has ended.
    pub(super) alive: watch::Sender<()>,
    /// Told when it shall end.
    pub(super) over: Arc<Notify>,
}

impl Wire {
    /// To `peer` at `addr`; `is_dialled`: it listens there.
    pub(super) fn new(peer: PeerId, addr: SocketAddr, is_dialled: bool) -> (Self, Carrying) {
        let (packets, datagrams) = mpsc::channel(DATAGRAMS_MAX);
        let (probes, first) = mpsc::channel(PROBES_MAX);
        let (alive, ended) = watch::channel(());
        let over = Arc::new(Notify::new());
        let carrying = Carrying {
            outgoing: Outgoing {
                messages: Some(first),
                datagrams,
            },
            alive,
            over: over.clone(),
        };
        let wire = Self(Arc::new(Inner {
            peer,
            addr,
            is_dialled,
            packets,
            probes,
            ended,
            over,
        }));
        (wire, carrying)
    }

    /// Who has proven its key there.
    pub(super) fn peer(&self) -> PeerId {
        self.0.peer
    }

    /// The other end.
    pub(super) fn addr(&self) -> SocketAddr {
        self.0.addr
    }

    /// Where the peer listens, as far as this tells.
    pub(super) fn listens_at(&self) -> Option<SocketAddr> {
        self.0.is_dialled.then_some(self.0.addr)
    }

    /// Takes packets with their heads. A queue that is full loses packets, as routers do.
    pub(super) fn packets(&self) -> mpsc::Sender<Bytes> {
        self.0.packets.clone()
    }

    /// Sends a probe before everything that waits. It may get lost.
    pub(super) fn send_probe(&self, probe: &[u8]) {
        let _ = self.0.probes.try_send(Bytes::copy_from_slice(probe));
    }

    /// Whether the TCP connection has ended.
    pub(super) fn has_ended(&self) -> bool {
        self.0.ended.has_changed().is_err()
    }

    /// Waits until it has.
    pub(super) fn ended(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut ended = self.0.ended.clone();
        async move {
            // Nothing is ever sent.
            let _ = ended.changed().await;
        }
    }

    /// Ends it, whoever else holds it.
    pub(super) fn end(&self) {
        self.0.over.notify_one();
    }

    /// Whether both are the same connection.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    pub(super) fn downgrade(&self) -> WeakWire {
        WeakWire(Arc::downgrade(&self.0))
    }
}

impl WeakWire {
    /// `None` if nobody needs it any more.
    pub(super) fn upgrade(&self) -> Option<Wire> {
        self.0.upgrade().map(Wire)
    }
}
