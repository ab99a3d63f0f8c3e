//! The fast half of a relay: from a packet to the socket again, without looking into it.

use std::collections::HashMap;
use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use quinn::udp::{EcnCodepoint, RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};

use super::limits::{Meters, RelayLimits};
use crate::net::connection::canonical;
use crate::net::routes::Via;
use crate::peer::PeerId;
use crate::protocol::relay::{Channel, DATAGRAM_LEN_MAX, Datagram, Nonce, token};

/// One end of a channel.
#[derive(Debug, Clone)]
pub(super) struct End {
    pub(super) peer: PeerId,
    pub(super) via: Via,
}

/// Two peers, the caller first.
#[derive(Debug)]
struct Pair {
    ends: [End; 2],
    is_open: bool,
    /// When anything came last.
    heard: Instant,
}

/// All channels, and what went through them.
pub(super) struct Forwarding {
    pairs: Mutex<HashMap<Channel, Pair>>,
    carried: Mutex<Carried>,
    socket: UdpSocket,
    mapped: bool,
    meters: Mutex<Meters>,
}

/// What a relay has carried.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Carried {
    pub(super) bytes: u64,
    /// Packets that were dropped: over the limit, of closed channels, or for full queues.
    pub(super) dropped: u64,
}

impl fmt::Debug for Forwarding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Forwarding").finish_non_exhaustive()
    }
}

impl Forwarding {
    /// For the endpoint that uses `socket`.
    pub(super) fn new(socket: UdpSocket, limits: RelayLimits) -> Arc<Self> {
        let mapped = socket.local_addr().is_ok_and(|addr| addr.is_ipv6());
        Arc::new(Self {
            pairs: Mutex::default(),
            carried: Mutex::default(),
            socket,
            mapped,
            meters: Mutex::new(Meters::new(limits)),
        })
    }

    fn meters(&self) -> MutexGuard<'_, Meters> {
        self.meters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pairs(&self) -> MutexGuard<'_, HashMap<Channel, Pair>> {
        self.pairs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts `len` bytes in datagrams of `segment`.
    fn count(&self, len: usize, segment: usize, sent: bool) {
        let mut carried = self.carried.lock().unwrap_or_else(PoisonError::into_inner);
        match sent {
            true => carried.bytes += len as u64,
            false => carried.dropped += len.div_ceil(segment.max(1)) as u64,
        }
    }

    pub(super) fn carried(&self) -> Carried {
        *self.carried.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Open channels.
    pub(super) fn open_pairs(&self) -> usize {
        self.pairs().values().filter(|pair| pair.is_open).count()
    }

    /// A channel that is closed yet.
    pub(super) fn add(&self, channel: Channel, ends: [End; 2]) {
        let now = Instant::now();
        let pair = Pair {
            ends,
            is_open: false,
            heard: now,
        };
        self.pairs().insert(channel, pair);
    }

    /// Opens a channel that `callee` was called through: who called.
    pub(super) fn open(&self, channel: Channel, callee: PeerId) -> Option<PeerId> {
        let mut pairs = self.pairs();
        let pair = pairs.get_mut(&channel)?;
        let [caller, called] = &pair.ends;
        if called.peer != callee || pair.is_open {
            return None;
        }
        pair.is_open = true;
        Some(caller.peer)
    }

    /// Takes a channel out: who it was between, and whether it was open.
    pub(super) fn remove(&self, channel: Channel) -> Option<([PeerId; 2], bool)> {
        let pair = self.pairs().remove(&channel)?;
        Some((pair.ends.map(|end| end.peer), pair.is_open))
    }

    /// Channels on which nothing has come for `open`, or for `closed` if they are not open.
    pub(super) fn silent(&self, open: Duration, closed: Duration) -> Vec<Channel> {
        let now = Instant::now();
        self.meters().sweep(now);
        let pairs = self.pairs();
        let is_silent = |pair: &Pair| {
            let most = if pair.is_open { open } else { closed };
            now - pair.heard >= most
        };
        let silent = pairs.iter().filter(|(_, pair)| is_silent(pair));
        silent.map(|(channel, _)| *channel).collect()
    }

    /// A peer is reached another way now.
    pub(super) fn moved(&self, channel: Channel, peer: PeerId, via: &Via) {
        if let Some(pair) = self.pairs().get_mut(&channel) {
            for end in pair.ends.iter_mut().filter(|end| end.peer == peer) {
                end.via = via.clone();
            }
        }
    }

    /// Where what comes from one end goes.
    fn other_end(
        &self,
        channel: Channel,
        bytes: usize,
        is_from: impl Fn(&End) -> bool,
    ) -> Option<Via> {
        let mut pairs = self.pairs();
        let pair = pairs.get_mut(&channel).filter(|pair| pair.is_open)?;
        let now = Instant::now();
        pair.heard = now;
        let [caller, called] = &pair.ends;
        let (from, to) = match (is_from(caller), is_from(called)) {
            (true, _) => (caller, called),
            (false, true) => (called, caller),
            (false, false) => return None,
        };
        let (via, ends) = (to.via.clone(), [from.peer, to.peer]);
        drop(pairs);
        self.meters().takes(ends, bytes, now).then_some(via)
    }

    /// Datagrams of one channel from one UDP address go on. They may get lost, as anywhere.
    fn forward(
        &self,
        from: SocketAddr,
        channel: Channel,
        datagrams: &Transmit<'_>,
        socket: &dyn AsyncUdpSocket,
    ) {
        let from = canonical(from);
        let is_from = |end: &End| matches!(end.via, Via::Udp(addr) if addr == from);
        let len = datagrams.contents.len();
        let segment = datagrams.segment_size.unwrap_or(len).max(1);
        let to = match segment <= DATAGRAM_LEN_MAX {
            true => self.other_end(channel, len, is_from),
            false => None,
        };
        // Some interfaces take one datagram at a time.
        let at_once = match to {
            Some(Via::Udp(_)) => socket.max_transmit_segments().max(1) * segment,
            Some(Via::Stream(_)) | None => segment,
        };
        for part in datagrams.contents.chunks(at_once) {
            let sent = match &to {
                Some(Via::Udp(to)) => socket
                    .try_send(&Transmit {
                        destination: self.written(*to),
                        contents: part,
                        segment_size: (part.len() > segment).then_some(segment),
                        ..datagrams.clone()
                    })
                    .is_ok(),
                Some(Via::Stream(stream)) => stream.try_send(Bytes::copy_from_slice(part)).is_ok(),
                None => false,
            };
            self.count(part.len(), segment, sent);
        }
    }

    /// Asks a peer to show that it is there.
    pub(super) fn send_token(&self, to: SocketAddr, nonce: Nonce) {
        if let Err(error) = self.socket.send_to(&token(nonce), self.written(to)) {
            tracing::debug!(%to, %error, "no token sent");
        }
    }

    /// A datagram that a peer sends over its TCP connection goes on.
    pub(super) fn forward_from_stream(&self, peer: PeerId, datagram: Bytes) {
        let Some(Datagram::Data(channel, _)) = Datagram::parse(&datagram) else {
            return;
        };
        let is_from = |end: &End| end.peer == peer;
        let len = datagram.len();
        let sent = match self.other_end(channel, len, is_from) {
            Some(Via::Udp(to)) => self.socket.send_to(&datagram, self.written(to)).is_ok(),
            Some(Via::Stream(stream)) => stream.try_send(datagram).is_ok(),
            None => false,
        };
        self.count(len, len, sent);
    }

    fn written(&self, addr: SocketAddr) -> SocketAddr {
        match addr {
            SocketAddr::V4(v4) if self.mapped => {
                SocketAddr::new(v4.ip().to_ipv6_mapped().into(), v4.port())
            }
            SocketAddr::V4(_) | SocketAddr::V6(_) => addr,
        }
    }
}

/// A relay's socket: what is for others never reaches QUIC.
pub(super) struct ForwardingSocket {
    pub(super) inner: Arc<dyn AsyncUdpSocket>,
    pub(super) forwarding: Arc<Forwarding>,
}

impl ForwardingSocket {
    /// Sends on what is for others; what is for QUIC stays in `buf`.
    fn sort(&self, buf: &mut [u8], meta: &mut RecvMeta) {
        let stride = meta.stride.max(1);
        let len = meta.len.min(buf.len());
        let channel_of = |buf: &[u8], at: usize| {
            let datagram = buf.get(at..(at + stride).min(len)).unwrap_or_default();
            match Datagram::parse(datagram) {
                Some(Datagram::Data(channel, _)) => Some(channel),
                Some(Datagram::Probe(..) | Datagram::Token(_)) | None => None,
            }
        };
        let (mut at, mut kept) = (0, 0);
        while at < len {
            let mut end = (at + stride).min(len);
            let channel = channel_of(buf, at);
            while end < len && channel.is_some() && channel_of(buf, end) == channel {
                end = (end + stride).min(len);
            }
            match channel {
                Some(channel) => {
                    let contents = buf.get(at..end).unwrap_or_default();
                    let several = (contents.len() > stride).then_some(stride);
                    let batch = batch(meta.addr, meta.ecn, contents, several);
                    let inner = &*self.inner;
                    self.forwarding.forward(meta.addr, channel, &batch, inner);
                }
                None => {
                    buf.copy_within(at..end, kept);
                    kept += end - at;
                }
            }
            at = end;
        }
        meta.len = kept;
    }
}

fn batch(
    destination: SocketAddr,
    ecn: Option<EcnCodepoint>,
    contents: &[u8],
    segment_size: Option<usize>,
) -> Transmit<'_> {
    Transmit {
        destination,
        ecn,
        contents,
        segment_size,
        src_ip: None,
    }
}

impl fmt::Debug for ForwardingSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ForwardingSocket")
            .field(&self.inner)
            .finish()
    }
}

impl AsyncUdpSocket for ForwardingSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        self.inner.clone().create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.inner.try_send(transmit)
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let received = std::task::ready!(self.inner.poll_recv(cx, bufs, meta))?;
        for (buf, meta) in bufs.iter_mut().zip(meta.iter_mut()).take(received) {
            self.sort(buf, meta);
        }
        Poll::Ready(Ok(received))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.inner.max_transmit_segments()
    }

    fn max_receive_segments(&self) -> usize {
        1
    }

    fn may_fragment(&self) -> bool {
        self.inner.may_fragment()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use std::future::poll_fn;

    use super::*;
    use crate::protocol::relay::data_head;

    const CHANNEL: Channel = Channel([1; 8]);

    /// A relay's socket between two peers.
    struct Bed {
        socket: ForwardingSocket,
        forwarding: Arc<Forwarding>,
        peers: [UdpSocket; 2],
    }

    impl Bed {
        async fn new(pair: Option<u64>) -> Self {
            let bound = || UdpSocket::bind("127.0.0.1:0").unwrap();
            let (own, peers) = (bound(), [bound(), bound()]);
            for peer in &peers {
                peer.set_read_timeout(Some(Duration::from_secs(10)))
                    .unwrap();
            }
            let forwarding = {
                let limits = RelayLimits {
                    pair,
                    ..RelayLimits::default()
                };
                Forwarding::new(own.try_clone().unwrap(), limits)
            };
            let end = |n: usize| End {
                peer: PeerId::from_bytes([n as u8; 32]),
                via: Via::Udp(peers[n].local_addr().unwrap()),
            };
            forwarding.add(CHANNEL, [end(0), end(1)]);
            let inner = quinn::Runtime::wrap_udp_socket(&quinn::TokioRuntime, own).unwrap();
            // The runtime does not know yet that it can be written to.
            let mut poller = inner.clone().create_io_poller();
            poll_fn(|cx| poller.as_mut().poll_writable(cx))
                .await
                .unwrap();
            Self {
                socket: ForwardingSocket {
                    inner,
                    forwarding: forwarding.clone(),
                },
                forwarding,
                peers,
            }
        }

        fn open(&self) {
            let callee = PeerId::from_bytes([1; 32]);
            assert!(self.forwarding.open(CHANNEL, callee).is_some());
        }

        /// What stays of these datagrams, which come at once from there.
        fn sorted(&self, from: SocketAddr, datagrams: &[Vec<u8>]) -> Vec<u8> {
            let mut buf = datagrams.concat();
            let mut meta = RecvMeta {
                addr: from,
                len: buf.len(),
                stride: datagrams[0].len(),
                ..RecvMeta::default()
            };
            self.socket.sort(&mut buf, &mut meta);
            buf[..meta.len].to_vec()
        }

        fn addr(&self, n: usize) -> SocketAddr {
            self.peers[n].local_addr().unwrap()
        }

        fn got(&self, n: usize) -> Vec<u8> {
            let mut buf = [0; 2000];
            let len = self.peers[n].recv(&mut buf).unwrap();
            buf[..len].to_vec()
        }
    }

    fn data(packet: &[u8]) -> Vec<u8> {
        [&data_head(CHANNEL)[..], packet].concat()
    }

    #[tokio::test]
    async fn datagrams_go_from_one_end_to_the_other_and_the_rest_stays() {
        let bed = Bed::new(None).await;
        bed.open();
        let quic = vec![0x41; 29];
        let batch = [data(&[7; 20]), data(&[8; 20]), quic.clone(), data(&[9; 4])];
        assert_eq!(bed.sorted(bed.addr(0), &batch), quic);
        for packet in [&[7; 20][..], &[8; 20], &[9; 4]] {
            assert_eq!(bed.got(1), data(packet));
        }
        assert!(bed.sorted(bed.addr(1), &[data(b"back")]).is_empty());
        assert_eq!(bed.got(0), data(b"back"));
        let bytes = 2 * 29 + 13 + 13;
        assert_eq!(bed.forwarding.carried(), Carried { bytes, dropped: 0 });
    }

    #[tokio::test]
    async fn nobody_else_gets_in_and_nothing_passes_a_closed_channel() {
        let bed = Bed::new(None).await;
        let stranger = "192.0.2.9:1".parse().unwrap();
        bed.sorted(bed.addr(0), &[data(b"too early")]);
        bed.open();
        bed.sorted(stranger, &[data(b"forged")]);
        bed.sorted(bed.addr(0), &[data(&[1; DATAGRAM_LEN_MAX])]);
        let bytes = 0;
        assert_eq!(bed.forwarding.carried(), Carried { bytes, dropped: 3 });
        bed.forwarding.remove(CHANNEL);
        bed.sorted(bed.addr(0), &[data(b"too late")]);
        assert_eq!(bed.forwarding.carried(), Carried { bytes, dropped: 4 });
    }

    #[tokio::test]
    async fn a_peer_that_has_moved_is_served_where_it_is() {
        let bed = Bed::new(None).await;
        bed.open();
        let moved = UdpSocket::bind("127.0.0.1:0").unwrap();
        let addr = moved.local_addr().unwrap();
        bed.forwarding
            .moved(CHANNEL, PeerId::from_bytes([0; 32]), &Via::Udp(addr));
        bed.sorted(addr, &[data(b"hello")]);
        assert_eq!(bed.got(1), data(b"hello"));
    }

    #[tokio::test]
    async fn a_limited_pair_gets_no_more() {
        let bed = Bed::new(Some(10_000)).await;
        bed.open();
        let one = data(&[1; 1000]);
        for _ in 0..1000 {
            bed.sorted(bed.addr(0), std::slice::from_ref(&one));
        }
        let carried = bed.forwarding.carried();
        assert!(carried.bytes > 0 && carried.dropped > 0, "{carried:?}");
    }
}
