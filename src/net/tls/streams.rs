//! TCP connections that carry the packets of a connection with a peer.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::framing::{Frames, Outgoing, write};
use crate::net::admission::Admitted;
use crate::net::handshake::HANDSHAKE_DEADLINE;
use crate::net::routes::{Came, Carrier, Carries, ROUTES_MAX, Route, Routes, Via};
use crate::net::wire::{WeakWire, Wire};
use crate::peer::PeerId;
use crate::protocol::relay::{Channel, Datagram};
use crate::protocol::tcp::Frame;

/// TCP connections of one peer that came in. It needs one; but a caller may be here by several of
/// our addresses at once until it has chosen, and one that is dead is noticed after a while only.
pub const STREAMS_PER_PEER_MAX: usize = 4;
/// TCP connections of peers that came in, in all: half of the routes are left for relays.
pub const STREAMS_MAX: usize = ROUTES_MAX / 2;

/// All of them.
#[derive(Debug, Default)]
pub(in crate::net) struct Streams {
    state: Mutex<State>,
    of: Arc<Mutex<HashMap<PeerId, usize>>>,
}

#[derive(Debug, Default)]
struct State {
    tasks: JoinSet<()>,
    stopped: bool,
}

/// A TCP connection on which both sides have proven their keys.
pub(in crate::net) struct Line<S> {
    pub(in crate::net) stream: S,
    pub(in crate::net) peer: PeerId,
    /// Where it is.
    pub(in crate::net) addr: SocketAddr,
    /// Known to both sides, and to nobody else.
    pub(in crate::net) channel: Channel,
    pub(in crate::net) began: Began,
}

/// Who has made a TCP connection.
pub(in crate::net) enum Began {
    /// This side.
    Here,
    /// The peer; it counts as long as it lasts.
    There {
        _admitted: Admitted,
        _one: OneOfPeer,
    },
}

/// Counts a connection of a peer until it is dropped.
#[derive(Debug)]
pub(in crate::net) struct OneOfPeer {
    of: Arc<Mutex<HashMap<PeerId, usize>>>,
    peer: PeerId,
}

impl Drop for OneOfPeer {
    fn drop(&mut self) {
        let mut of = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = of.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                of.remove(&self.peer);
            }
        }
    }
}

impl Streams {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends everything, for good.
    pub(in crate::net) fn stop(&self) {
        let mut state = self.state();
        state.stopped = true;
        state.tasks.abort_all();
    }

    /// One more of `peer`; `None` if it, or all together, have too many.
    pub(in crate::net) fn one_of(&self, peer: PeerId) -> Option<OneOfPeer> {
        let mut of = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = of.values().sum();
        let its = of.get(&peer).copied().unwrap_or_default();
        if all >= STREAMS_MAX || its >= STREAMS_PER_PEER_MAX {
            return None;
        }
        of.insert(peer, its + 1);
        Some(OneOfPeer {
            of: self.of.clone(),
            peer,
        })
    }

    /// Carries packets over a TCP connection as long as its route lasts, or another route that it
    /// has joined. A connection that the peer has made waits for either as long as a handshake may
    /// take. `None` if there are too many routes, or at the end of the program.
    pub(in crate::net) fn carry<S>(&self, routes: &Arc<Routes>, line: Line<S>) -> Option<Arc<Route>>
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        let Line {
            stream,
            peer,
            addr,
            channel,
            began,
        } = line;
        let (wire, carrying) = Wire::new(peer, addr, matches!(began, Began::Here));
        let carried = Carried {
            peer,
            wire: wire.downgrade(),
            routes: routes.clone(),
        };
        let carrier = Carrier {
            addr,
            via: Via::Stream(wire.packets()),
            carries: Carries::Peer(wire),
        };
        let mut state = self.state();
        if state.stopped {
            return None;
        }
        let route = routes.add(channel, carrier, None)?;
        let expected = matches!(began, Began::There { .. }).then(|| route.clone());
        while state.tasks.try_join_next().is_some() {}
        state.tasks.spawn(async move {
            // Dropped when it is over: whoever listens is told, and the place is free.
            let _held = (carrying.alive, began);
            let expecting = async {
                if let Some(route) = expected {
                    sleep(HANDSHAKE_DEADLINE).await;
                    drop(route);
                }
                std::future::pending().await
            };
            let ended = tokio::select! {
                ended = exchange(stream, &carried, carrying.outgoing) => ended,
                () = carrying.over.notified() => Ok(()),
                () = expecting => Ok(()),
            };
            tracing::debug!(peer = %peer.short(), ?ended, "TCP connection with a peer ended");
        });
        Some(route)
    }
}

/// What goes over a TCP connection.
struct Carried {
    peer: PeerId,
    wire: WeakWire,
    routes: Arc<Routes>,
}

async fn exchange<S: AsyncRead + AsyncWrite>(
    stream: S,
    carried: &Carried,
    outgoing: Outgoing,
) -> std::io::Result<()> {
    let (reading, writing) = tokio::io::split(stream);
    tokio::select! {
        ended = read(reading, carried) => ended,
        ended = write(writing, outgoing) => ended,
    }
}

async fn read<S: AsyncRead + Unpin>(stream: S, carried: &Carried) -> std::io::Result<()> {
    let mut frames = Frames::new(stream);
    loop {
        let frame = frames.next().await?;
        match Frame::parse(&frame).map_err(std::io::Error::other)? {
            Frame::Alive => {}
            Frame::Message(_) => return Err(std::io::Error::other("a message of a relay")),
            Frame::Datagram(datagram) => match Datagram::parse(datagram) {
                Some(Datagram::Data(on, packet)) if !packet.is_empty() => {
                    carried.deliver(on, frame.slice_ref(packet));
                }
                Some(Datagram::Probe(on, _)) => carried.heard(on, datagram),
                Some(Datagram::Data(..) | Datagram::Token(_)) | None => {}
            },
        }
    }
}

impl Carried {
    fn deliver(&self, on: Channel, packet: Bytes) {
        // Of its own route, or of one that it has joined.
        self.routes.deliver_from(self.peer, on, packet);
    }

    fn heard(&self, on: Channel, datagram: &[u8]) {
        if let (Ok(probe), Some(wire)) = (datagram.try_into(), self.wire.upgrade()) {
            self.routes.heard(on, Came::Over(wire), probe);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use std::task::{Context, Waker};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::protocol::relay::data_head;

    const OURS: Channel = Channel([1; 8]);

    fn line<S>(stream: S, channel: Channel) -> Line<S> {
        Line {
            stream,
            peer: PeerId::from_bytes([7; 32]),
            addr: "192.0.2.1:3485".parse().unwrap(),
            channel,
            began: Began::Here,
        }
    }

    fn framed(channel: Channel, packet: &[u8]) -> Vec<u8> {
        let datagram = [&data_head(channel)[..], packet].concat();
        let length = u16::try_from(datagram.len()).unwrap().to_be_bytes();
        [&length[..], &datagram].concat()
    }

    fn routes() -> Arc<Routes> {
        Routes::new(std::net::UdpSocket::bind("127.0.0.1:0").unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_carries_its_own_packets_until_the_route_ends() {
        let (streams, routes) = (Streams::default(), routes());
        let other = Channel([2; 8]);
        let (near, mut far) = tokio::io::duplex(4096);
        let route = streams.carry(&routes, line(near, OURS)).unwrap();
        let (near, _open) = tokio::io::duplex(4096);
        let theirs = Line {
            peer: PeerId::from_bytes([8; 32]),
            ..line(near, other)
        };
        let _other = streams.carry(&routes, theirs).unwrap();
        for (channel, packet) in [(other, &b"theirs"[..]), (OURS, b""), (OURS, b"ours")] {
            far.write_all(&framed(channel, packet)).await.unwrap();
        }
        // Time stands still while anything is on its way.
        sleep(std::time::Duration::from_secs(1)).await;
        let cx = Context::from_waker(Waker::noop());
        let come = routes.waiting(10, &cx);
        assert_eq!(come, [(route.addr(), bytes::Bytes::from_static(b"ours"))]);
        route.remind_relay();
        let mut sent = [0; 2 + 2 + 9];
        far.read_exact(&mut sent).await.unwrap();
        assert_eq!(sent[2..], framed(OURS, b""));
        drop(route);
        let mut rest = Vec::new();
        far.read_to_end(&mut rest).await.unwrap();
    }

    #[tokio::test]
    async fn so_many_of_one_peer_and_of_all() {
        let streams = Streams::default();
        let peer = |n: usize| PeerId::from_bytes([u8::try_from(n).unwrap(); 32]);
        let mut all = Vec::new();
        for n in 0..STREAMS_MAX / STREAMS_PER_PEER_MAX {
            for _ in 0..STREAMS_PER_PEER_MAX {
                all.push(streams.one_of(peer(n)).unwrap());
            }
            assert!(streams.one_of(peer(n)).is_none());
        }
        assert!(streams.one_of(peer(200)).is_none());
        all.pop();
        assert!(streams.one_of(peer(200)).is_some());
        all.clear();
        assert!(streams.of.lock().unwrap().is_empty());
    }
}
