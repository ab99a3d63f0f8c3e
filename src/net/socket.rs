//! The one UDP socket: large buffers, both families, and sends that fit a datagram batch.

use std::fmt;
use std::future::poll_fn;
use std::io::{self, ErrorKind, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};

use quinn::udp::{EcnCodepoint, RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::sync::Notify;

use super::settings::UDP_PAYLOAD_MAX;

/// Bytes that the kernel is asked to buffer each way. With its usual 200 KiB, packets are lost on
/// every pause of the program.
const BUFFER_LEN: usize = 4 * 1024 * 1024;
/// Less than this is worth a line in the log.
const BUFFER_LEN_GOOD: usize = 1024 * 1024;

/// Packets, or as much as the kernel joins to one, that are taken at once. Each goes to 64 KiB of
/// its own: of QUIC's 32 a core's cache holds no more, and they are read again at once.
const RECEIVED_MAX: usize = 6;

/// A UDP socket at `ip` (both families at any address if `None`) and `port` (0: any free one).
pub(super) fn open(ip: Option<IpAddr>, port: u16) -> io::Result<UdpSocket> {
    match ip {
        Some(ip) => bind(SocketAddr::new(ip, port)),
        None => match bind(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port)) {
            // IPv6 is switched off on this computer.
            Err(error) if error.kind() != ErrorKind::AddrInUse => {
                bind(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port))
            }
            result => result,
        },
    }
}

fn bind(addr: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))?;
    if addr.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) {
        socket.set_only_v6(false)?;
    }
    // The kernel grants what it grants.
    let _ = socket.set_recv_buffer_size(BUFFER_LEN);
    let _ = socket.set_send_buffer_size(BUFFER_LEN);
    let granted = socket.recv_buffer_size().unwrap_or(0);
    if granted < BUFFER_LEN_GOOD {
        tracing::info!(granted, asked = BUFFER_LEN, "small UDP receive buffer");
    }
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    Ok(socket.into())
}

/// `socket` as the endpoint uses it. Must be called inside a runtime.
pub(super) fn wrapped(socket: UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
    let inner = quinn::Runtime::wrap_udp_socket(&quinn::TokioRuntime, socket)?;
    Ok(BatchingSocket::new(inner))
}

/// Sends what QUIC hands over in as few system calls as possible, and in as many as necessary.
///
/// QUIC makes batches of ten packets. Of small packets four batches fit into one call, which
/// costs hardly more than one of them, here and at the receiver; so a batch that may have a
/// successor is held until the other tasks have had their turn. Of large packets not even one
/// batch fits into a call: without the splitting every packet size between 6,550 and 65,000
/// bytes fails.
struct BatchingSocket {
    inner: Arc<dyn AsyncUdpSocket>,
    held: Mutex<Held>,
    /// Something is held that must not stay.
    late: Arc<Notify>,
}

/// Packets that QUIC counts as sent already, all of one length but the last.
#[derive(Debug, Default)]
struct Held {
    to: Option<Route>,
    segment: usize,
    contents: Vec<u8>,
    /// How much of them the kernel has taken.
    sent: usize,
}

/// What packets of one system call must have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Route {
    to: SocketAddr,
    from: Option<IpAddr>,
    ecn: Option<EcnCodepoint>,
}

impl Route {
    fn of(transmit: &Transmit<'_>) -> Self {
        Self {
            to: transmit.destination,
            from: transmit.src_ip,
            ecn: transmit.ecn,
        }
    }
}

impl Held {
    fn is_empty(&self) -> bool {
        self.contents.is_empty()
    }

    /// Whether packets can follow in the same call.
    fn takes(&self, transmit: &Transmit<'_>, segment: usize, most: usize) -> bool {
        self.to == Some(Route::of(transmit))
            && self.segment == segment
            && self.sent == 0
            && self.contents.len().is_multiple_of(segment)
            && self.contents.len() + transmit.contents.len() <= most
    }

    fn append(&mut self, transmit: &Transmit<'_>, segment: usize) {
        self.to = Some(Route::of(transmit));
        self.segment = segment;
        self.contents.extend_from_slice(transmit.contents);
    }

    fn clear(&mut self) {
        self.contents.clear();
        self.sent = 0;
    }
}

impl BatchingSocket {
    /// Must be called inside a runtime, which sends what is held.
    fn new(inner: Arc<dyn AsyncUdpSocket>) -> Arc<Self> {
        let late = Arc::new(Notify::new());
        let socket = Arc::new(Self {
            inner,
            held: Mutex::default(),
            late: late.clone(),
        });
        tokio::spawn(send_late(Arc::downgrade(&socket), late));
        socket
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Most bytes of one call.
    fn most(&self, segment: usize) -> usize {
        let segments = (usize::from(UDP_PAYLOAD_MAX) / segment).min(self.max_transmit_segments());
        segments.max(1) * segment
    }

    /// Sends what is held. With an error other than [`ErrorKind::WouldBlock`] it is lost, as
    /// packets are.
    fn flush(&self, held: &mut Held) -> io::Result<()> {
        let Some(route) = held.to else { return Ok(()) };
        let most = self.most(held.segment);
        while let Some(rest) = held.contents.get(held.sent..).filter(|r| !r.is_empty()) {
            let contents = rest.get(..most).unwrap_or(rest);
            let part = Transmit {
                destination: route.to,
                ecn: route.ecn,
                contents,
                segment_size: (contents.len() > held.segment).then_some(held.segment),
                src_ip: route.from,
            };
            match self.inner.try_send(&part) {
                Ok(()) => held.sent += contents.len(),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Err(error),
                Err(error) => {
                    held.clear();
                    return Err(error);
                }
            }
        }
        held.clear();
        Ok(())
    }
}

/// Sends what is held when nothing has followed it.
async fn send_late(socket: Weak<BatchingSocket>, late: Arc<Notify>) {
    loop {
        late.notified().await;
        others_turn().await;
        let Some(socket) = socket.upgrade() else {
            return;
        };
        loop {
            let flushed = socket.flush(&mut socket.held());
            match flushed {
                Ok(()) => break,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    let mut poller = socket.inner.clone().create_io_poller();
                    // An error is found again by the next send.
                    let _ = poll_fn(|cx| poller.as_mut().poll_writable(cx)).await;
                }
                Err(error) => {
                    tracing::debug!(%error, "packets could not be sent");
                    break;
                }
            }
        }
    }
}

/// Lets every other task run that can. (The runtime's own way lets them run dozens of times.)
async fn others_turn() {
    let mut first = true;
    poll_fn(|cx| {
        if !std::mem::take(&mut first) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

impl Drop for BatchingSocket {
    fn drop(&mut self) {
        self.late.notify_one();
    }
}

impl fmt::Debug for BatchingSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("BatchingSocket").field(&self.inner).finish()
    }
}

impl AsyncUdpSocket for BatchingSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        self.inner.clone().create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let len = transmit.contents.len();
        let segment = transmit.segment_size.unwrap_or(len).max(1);
        let most = self.most(segment);
        let mut held = self.held();
        if !held.is_empty() && !held.takes(transmit, segment, most) {
            self.flush(&mut held)?;
        }
        // A batch that ends with a short packet is the last one for now.
        let full = transmit.segment_size.is_some() && len.is_multiple_of(segment);
        let hold = full && held.contents.len() + 2 * len <= most;
        if held.is_empty() && !hold && len <= most {
            return self.inner.try_send(transmit);
        }
        held.append(transmit, segment);
        if hold {
            self.late.notify_one();
            return Ok(());
        }
        match self.flush(&mut held) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.late.notify_one();
                Ok(())
            }
            flushed => flushed,
        }
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let (bufs, _) = bufs.split_at_mut(bufs.len().min(RECEIVED_MAX));
        let (meta, _) = meta.split_at_mut(meta.len().min(RECEIVED_MAX));
        self.inner.poll_recv(cx, bufs, meta)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.inner.max_transmit_segments()
    }

    /// Only the size of QUIC's receive buffers follows from this: packets of [`UDP_PAYLOAD_MAX`]
    /// times this number. The kernel joins packets up to the same length in all, so one is enough
    /// (2 MiB instead of 128).
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
    use super::*;

    type Sent = Vec<(Vec<u8>, Option<usize>)>;

    /// Takes what is sent, but only as many sends as `ready` allows.
    #[derive(Debug, Default)]
    struct Sink {
        sent: Mutex<Sent>,
        ready: Mutex<usize>,
    }

    #[derive(Debug)]
    struct Poller(Arc<Sink>);

    impl UdpPoller for Poller {
        fn poll_writable(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            if *self.0.ready.lock().unwrap() > 0 {
                return Poll::Ready(Ok(()));
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        }
    }

    impl AsyncUdpSocket for Sink {
        fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
            Box::pin(Poller(self))
        }

        fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
            let mut ready = self.ready.lock().unwrap();
            *ready = ready.checked_sub(1).ok_or(ErrorKind::WouldBlock)?;
            let sent = (transmit.contents.to_vec(), transmit.segment_size);
            self.sent.lock().unwrap().push(sent);
            Ok(())
        }

        fn poll_recv(
            &self,
            _: &mut Context<'_>,
            _: &mut [IoSliceMut<'_>],
            _: &mut [RecvMeta],
        ) -> Poll<io::Result<usize>> {
            Poll::Pending
        }

        fn local_addr(&self) -> io::Result<SocketAddr> {
            Ok(([127, 0, 0, 1], 1).into())
        }

        fn max_transmit_segments(&self) -> usize {
            64
        }
    }

    fn joined(sent: &Sent) -> Vec<u8> {
        sent.iter().flat_map(|(part, _)| part.clone()).collect()
    }

    fn send(socket: &BatchingSocket, contents: &[u8], segment: Option<usize>) -> io::Result<()> {
        send_to(2, socket, contents, segment)
    }

    fn send_to(
        port: u16,
        socket: &BatchingSocket,
        contents: &[u8],
        segment: Option<usize>,
    ) -> io::Result<()> {
        socket.try_send(&Transmit {
            destination: ([127, 0, 0, 1], port).into(),
            ecn: None,
            contents,
            segment_size: segment,
            src_ip: None,
        })
    }

    fn batch(len: usize, seed: u8) -> Vec<u8> {
        (0..len).map(|i| (i / 7) as u8 ^ seed).collect()
    }

    fn socket(ready: usize) -> (Arc<Sink>, Arc<BatchingSocket>) {
        let sink = Arc::new(Sink::default());
        *sink.ready.lock().unwrap() = ready;
        (sink.clone(), BatchingSocket::new(sink))
    }

    fn blocks(result: io::Result<()>) {
        assert_eq!(result.unwrap_err().kind(), ErrorKind::WouldBlock);
    }

    #[tokio::test]
    async fn batches_are_split_between_packets_so_that_each_part_fits() {
        for (segment, packets, last) in [
            (1_452, 10, 1_000),
            (8_952, 10, 8_952),
            (8_952, 10, 100),
            (40_000, 3, 40_000),
            (65_000, 10, 1),
        ] {
            let (sink, socket) = socket(usize::MAX);
            let contents = batch((packets - 1) * segment + last, 0);
            send(&socket, &contents, Some(segment)).unwrap();
            let sent = sink.sent.lock().unwrap();
            assert!(joined(&sent) == contents);
            for (part, size) in sent.iter() {
                assert!(part.len() <= usize::from(UDP_PAYLOAD_MAX));
                assert_eq!(
                    *size,
                    (part.len() > segment || sent.len() == 1).then_some(segment)
                );
            }
            for (part, _) in &sent[..sent.len() - 1] {
                assert_eq!(part.len() % segment, 0, "packets stay whole");
            }
        }
    }

    #[tokio::test]
    async fn batches_that_follow_each_other_are_joined_up_to_what_fits() {
        let (sink, socket) = socket(usize::MAX);
        let batches: Vec<_> = (0..8).map(|seed| batch(14_520, seed)).collect();
        for batch in &batches {
            send(&socket, batch, Some(1_452)).unwrap();
        }
        let sent = sink.sent.lock().unwrap();
        assert!(joined(&sent) == batches.concat());
        let parts: Vec<_> = sent.iter().map(|(part, s)| (part.len(), *s)).collect();
        assert_eq!(parts, [(4 * 14_520, Some(1_452)); 2]);
    }

    #[tokio::test]
    async fn what_nothing_follows_goes_by_itself() {
        let (sink, socket) = socket(usize::MAX);
        let contents = batch(14_520, 0);
        send(&socket, &contents, Some(1_452)).unwrap();
        assert!(sink.sent.lock().unwrap().is_empty(), "more may follow");
        for _ in 0..5 {
            others_turn().await;
        }
        assert!(joined(&sink.sent.lock().unwrap()) == contents);
    }

    #[tokio::test]
    async fn the_order_stays_whatever_is_sent_after_each_other() {
        let (sink, socket) = socket(usize::MAX);
        let batches = [
            (2, batch(14_520, 0), Some(1_452)),
            (3, batch(14_520, 1), Some(1_452)),
            (3, batch(1_200, 2), None),
            (3, batch(12_000, 3), Some(1_200)),
            (3, batch(12_001, 4), Some(1_200)),
        ];
        for (port, contents, segment) in &batches {
            send_to(*port, &socket, contents, *segment).unwrap();
        }
        let all: Vec<u8> = batches.iter().flat_map(|(_, b, _)| b.clone()).collect();
        assert!(joined(&sink.sent.lock().unwrap()) == all);
    }

    #[tokio::test]
    async fn a_batch_that_was_interrupted_goes_on_where_it_stopped() {
        let (sink, socket) = socket(1);
        let (one, two) = (batch(89_520, 0), batch(89_520, 1));
        send(&socket, &one, Some(8_952)).unwrap();
        blocks(send(&socket, &two, Some(8_952)));
        *sink.ready.lock().unwrap() = 10;
        for _ in 0..5 {
            others_turn().await;
        }
        assert!(joined(&sink.sent.lock().unwrap()) == one, "without a push");
        send(&socket, &two, Some(8_952)).unwrap();
        let all = [one, two].concat();
        assert!(joined(&sink.sent.lock().unwrap()) == all);
    }

    #[tokio::test]
    async fn what_fits_and_is_the_last_is_passed_on_as_it_is() {
        let (sink, socket) = socket(usize::MAX);
        send(&socket, &batch(14_519, 0), Some(1_452)).unwrap();
        send(&socket, &batch(65_507, 0), None).unwrap();
        let sent = sink.sent.lock().unwrap();
        assert_eq!((sent[0].1, sent[1].1), (Some(1_452), None));
        assert_eq!(sent.len(), 2);
        drop(sent);
        *sink.ready.lock().unwrap() = 0;
        blocks(send(&socket, &batch(1_200, 0), None));
    }

    #[tokio::test]
    async fn the_receive_buffers_stay_small() {
        let (_, socket) = socket(0);
        assert_eq!(socket.max_receive_segments(), 1);
    }
}
