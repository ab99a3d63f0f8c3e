//! The endpoint's socket as QUIC sees it: packets of routes go wherever their peer is reached now,
//! and come as if from one place.

use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};
use tokio::sync::mpsc;

use super::routes::{Came, Routes, Via, is_route};
use crate::protocol::relay::{Channel, DATA_HEAD_LEN, Datagram, PROBE_LEN, data_head};

/// Above the socket that sends in batches.
pub(super) struct RoutedSocket {
    inner: Arc<dyn AsyncUdpSocket>,
    routes: Arc<Routes>,
    /// Packets with their heads, for one send.
    headed: Mutex<Vec<u8>>,
}

impl RoutedSocket {
    pub(super) fn new(inner: Arc<dyn AsyncUdpSocket>, routes: Arc<Routes>) -> Arc<Self> {
        Arc::new(Self {
            inner,
            routes,
            headed: Mutex::default(),
        })
    }

    /// Packets of a route: each with a head of its own.
    fn send_on(&self, channel: Channel, to: SocketAddr, transmit: &Transmit<'_>) -> io::Result<()> {
        let segment = transmit.segment_size.unwrap_or(transmit.contents.len());
        let head = data_head(channel);
        let mut headed = self.headed.lock().unwrap_or_else(PoisonError::into_inner);
        headed.clear();
        for packet in transmit.contents.chunks(segment.max(1)) {
            headed.extend_from_slice(&head);
            headed.extend_from_slice(packet);
        }
        self.inner.try_send(&Transmit {
            destination: to,
            ecn: transmit.ecn,
            contents: &headed,
            segment_size: transmit.segment_size.map(|len| len + DATA_HEAD_LEN),
            src_ip: None,
        })
    }

    /// Sorts what came from one address at once: what stays in `buf` is of one sender; what is of
    /// others waits for the next read.
    fn sort(&self, buf: &mut [u8], meta: &mut RecvMeta) {
        let stride = meta.stride.max(1);
        let len = meta.len.min(buf.len());
        let from = meta.addr;
        if is_route(from) {
            // Nobody is there: it is forged.
            meta.len = 0;
            return;
        }
        let is_quic = |at: usize| buf.get(at).is_some_and(|first| first & 0xc0 != 0);
        if (0..len).step_by(stride).all(is_quic) {
            return;
        }
        let mut kept = Kept::default();
        for at in (0..len).step_by(stride) {
            let end = (at + stride).min(len);
            let Some((sender, skip)) = self.sender(buf.get(at..end).unwrap_or_default(), from)
            else {
                continue;
            };
            let packet = at + skip..end;
            if *kept.sender.get_or_insert(sender) == sender && kept.takes(packet.len()) {
                let to = kept.len;
                kept.push(packet.len());
                buf.copy_within(packet, to);
            } else if let Some(packet) = buf.get(packet) {
                self.routes.deliver(sender, Bytes::copy_from_slice(packet));
            }
        }
        meta.len = kept.len;
        meta.stride = kept.stride;
        if let Some(sender) = kept.sender.filter(|sender| *sender != from) {
            meta.addr = sender;
            meta.dst_ip = None;
        }
    }

    /// Who sent a datagram that came from `from`, and where its packet begins; `None` if it is not
    /// for QUIC.
    fn sender(&self, datagram: &[u8], from: SocketAddr) -> Option<(SocketAddr, usize)> {
        match Datagram::parse(datagram) {
            None => Some((from, 0)),
            Some(Datagram::Data(channel, packet)) => {
                let sender = self.routes.addr_of(channel)?;
                (!packet.is_empty()).then_some((sender, DATA_HEAD_LEN))
            }
            Some(Datagram::Token(token)) => {
                self.routes.token(from, token);
                None
            }
            Some(Datagram::Probe(channel, _)) => {
                if let Ok(probe) = <[u8; PROBE_LEN]>::try_from(datagram) {
                    self.routes.heard(channel, Came::From(from), probe);
                }
                None
            }
        }
    }
}

/// What stays of a batch: packets of one sender, of one length but the last.
#[derive(Debug, Default)]
struct Kept {
    sender: Option<SocketAddr>,
    stride: usize,
    len: usize,
}

impl Kept {
    fn takes(&self, len: usize) -> bool {
        self.len == 0 || (len <= self.stride && self.len.is_multiple_of(self.stride))
    }

    fn push(&mut self, len: usize) {
        if self.len == 0 {
            self.stride = len;
        }
        self.len += len;
    }
}

/// Hands packets to a TCP connection.
fn send_over(stream: &mpsc::Sender<Bytes>, channel: Channel, transmit: &Transmit<'_>) {
    let segment = transmit.segment_size.unwrap_or(transmit.contents.len());
    let head = data_head(channel);
    for packet in transmit.contents.chunks(segment.max(1)) {
        // Lost if there is no room, as anywhere on the way.
        let _ = stream.try_send([&head[..], packet].concat().into());
    }
}

impl fmt::Debug for RoutedSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RoutedSocket").field(&self.inner).finish()
    }
}

impl AsyncUdpSocket for RoutedSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        self.inner.clone().create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        match self.routes.way(transmit.destination) {
            None => self.inner.try_send(transmit),
            Some(Some((channel, Via::Udp(to)))) => self.send_on(channel, to, transmit),
            Some(Some((channel, Via::Stream(stream)))) => {
                send_over(&stream, channel, transmit);
                Ok(())
            }
            // Its last packets; nobody waits for them.
            Some(None) => Ok(()),
        }
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let waiting = self.routes.waiting(bufs.len().min(meta.len()), cx);
        if !waiting.is_empty() {
            return Poll::Ready(Ok(hand_over(&waiting, bufs, meta)));
        }
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
        self.inner.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.inner.may_fragment()
    }
}

/// Puts packets where QUIC looks for them.
fn hand_over(
    waiting: &[(SocketAddr, Bytes)],
    bufs: &mut [IoSliceMut<'_>],
    meta: &mut [RecvMeta],
) -> usize {
    let places = bufs.iter_mut().zip(meta.iter_mut());
    for ((addr, packet), (buf, meta)) in waiting.iter().zip(places) {
        let len = packet.len().min(buf.len());
        if let (Some(to), Some(from)) = (buf.get_mut(..len), packet.get(..len)) {
            to.copy_from_slice(from);
        }
        *meta = RecvMeta {
            addr: *addr,
            len,
            stride: len,
            ecn: None,
            dst_ip: None,
        };
    }
    waiting.len()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use crate::net::routes::{Carrier, Carries};
    use crate::peer::PeerId;
    use crate::protocol::link_uri::RelayHint;
    use crate::protocol::relay::token;

    const QUIC: &[u8] = &[0x41; 20];

    struct Bed {
        socket: Arc<RoutedSocket>,
        from: SocketAddr,
        routes: Vec<Arc<crate::net::routes::Route>>,
    }

    impl Bed {
        /// With a route for each channel.
        fn new(channels: &[Channel]) -> Self {
            let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
            let routes = Routes::new(socket.try_clone().unwrap());
            let from: SocketAddr = "192.0.2.1:3487".parse().unwrap();
            let relay = || Carrier {
                addr: from,
                via: Via::Udp(from),
                carries: Carries::Relay {
                    hint: RelayHint {
                        id: PeerId::from_bytes([1; 32]),
                        addrs: vec![from],
                    },
                    left: mpsc::channel(1).0,
                },
            };
            let inner = quinn::Runtime::wrap_udp_socket(&quinn::TokioRuntime, socket).unwrap();
            let all = channels
                .iter()
                .map(|c| routes.add(*c, relay(), None).unwrap());
            Self {
                routes: all.collect(),
                socket: RoutedSocket::new(inner, routes.clone()),
                from,
            }
        }

        /// What QUIC gets at once of these datagrams, of one length but the last: from whom, and
        /// the packets.
        fn sorted(&self, datagrams: &[Vec<u8>]) -> (SocketAddr, Vec<Vec<u8>>) {
            let mut buf = datagrams.concat();
            let mut meta = RecvMeta {
                addr: self.from,
                len: buf.len(),
                stride: datagrams[0].len(),
                ..RecvMeta::default()
            };
            self.socket.sort(&mut buf, &mut meta);
            let packets = buf[..meta.len].chunks(meta.stride.max(1));
            (meta.addr, packets.map(<[u8]>::to_vec).collect())
        }

        fn later(&self) -> Vec<(SocketAddr, Bytes)> {
            let cx = Context::from_waker(std::task::Waker::noop());
            self.socket.routes.waiting(100, &cx)
        }
    }

    fn data(channel: Channel, packet: &[u8]) -> Vec<u8> {
        [&data_head(channel)[..], packet].concat()
    }

    const A: Channel = Channel([1; 8]);
    const B: Channel = Channel([2; 8]);

    #[tokio::test]
    async fn packets_of_quic_and_of_a_route_keep_their_batches() {
        let bed = Bed::new(&[A]);
        let quic = vec![QUIC.to_vec(), QUIC.to_vec(), vec![0x42; 3]];
        assert_eq!(bed.sorted(&quic), (bed.from, quic));
        let batch = [data(A, &[7; 50]), data(A, &[8; 50]), data(A, &[9; 10])];
        let packets = vec![vec![7; 50], vec![8; 50], vec![9; 10]];
        assert_eq!(bed.sorted(&batch), (bed.routes[0].addr(), packets));
        assert!(bed.later().is_empty());
    }

    #[tokio::test]
    async fn what_is_of_somebody_else_comes_later_and_what_is_of_nobody_not_at_all() {
        let bed = Bed::new(&[A, B]);
        let [a, b] = [bed.routes[0].addr(), bed.routes[1].addr()];
        let batch = [
            data(Channel([9; 8]), &[5; 20]),
            data(A, &[7; 20]),
            data(B, &[8; 20]),
            vec![0x41; 29],
            data(A, &[9; 20]),
        ];
        assert_eq!(bed.sorted(&batch), (a, vec![vec![7; 20], vec![9; 20]]));
        let later = bed.later();
        let wanted = [
            (b, Bytes::from_static(&[8; 20])),
            (bed.from, Bytes::from_static(&[0x41; 29])),
        ];
        assert_eq!(later, wanted);
    }

    #[tokio::test]
    async fn probes_tokens_empty_and_forged_datagrams_never_reach_quic() {
        let bed = Bed::new(&[A]);
        let mut tokens = bed.socket.routes.tokens();
        let mut probes = bed.routes[0].take_probes().unwrap();
        let probe = crate::protocol::relay::probe(
            crate::protocol::relay::ProbeKind::Ping,
            crate::protocol::relay::ProbeFrom::Caller,
            A,
            [3; 8],
            &[0; 32],
        );
        for datagram in [probe.to_vec(), token([4; 8]).to_vec(), data(A, &[])] {
            assert!(bed.sorted(&[datagram]).1.is_empty());
        }
        let (came, heard) = probes.try_recv().unwrap();
        assert!(matches!(came, Came::From(from) if from == bed.from));
        assert_eq!(heard, probe);
        assert_eq!(tokens.try_recv().unwrap(), (bed.from, [4; 8]));
        let mut buf = QUIC.to_vec();
        let mut meta = RecvMeta {
            addr: bed.routes[0].addr(),
            len: buf.len(),
            stride: buf.len(),
            ..RecvMeta::default()
        };
        bed.socket.sort(&mut buf, &mut meta);
        assert_eq!(meta.len, 0);
    }

    #[tokio::test]
    async fn what_waits_is_handed_over_as_packets_of_its_sender() {
        let bed = Bed::new(&[A]);
        let addr = bed.routes[0].addr();
        let waiting = [
            (addr, Bytes::from_static(b"one")),
            (bed.from, Bytes::from_static(b"two!")),
        ];
        let mut space = [[0; 16]; 3];
        let mut bufs: Vec<IoSliceMut<'_>> = space.iter_mut().map(|b| IoSliceMut::new(b)).collect();
        let mut meta = [RecvMeta::default(); 3];
        assert_eq!(hand_over(&waiting, &mut bufs, &mut meta), 2);
        assert_eq!((meta[0].addr, &bufs[0][..meta[0].len]), (addr, &b"one"[..]));
        assert_eq!(
            (meta[1].addr, &bufs[1][..meta[1].len]),
            (bed.from, &b"two!"[..])
        );
    }
}
