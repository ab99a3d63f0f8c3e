//! The one UDP socket: large buffers, both families, and sends that fit a datagram batch.

use std::collections::HashMap;
use std::fmt;
use std::io::{self, ErrorKind, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};
use socket2::{Domain, Protocol, Socket, Type};

use super::settings::UDP_PAYLOAD_MAX;

/// Bytes that the kernel is asked to buffer each way. With its usual 200 KiB, packets are lost on
/// every pause of the program.
const BUFFER_LEN: usize = 4 * 1024 * 1024;
/// Less than this is worth a line in the log.
const BUFFER_LEN_GOOD: usize = 1024 * 1024;

/// Batches whose sending was interrupted, remembered at once; one connection has at most one.
const INTERRUPTED_MAX: usize = 64;

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

/// `socket` as the endpoint uses it.
pub(super) fn wrapped(socket: UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
    let inner = quinn::Runtime::wrap_udp_socket(&quinn::TokioRuntime, socket)?;
    Ok(Arc::new(SplittingSocket::new(inner)))
}

/// Sends batches in parts that fit one system call: without it every packet size between 6,550
/// and 65,000 bytes fails, because QUIC puts ten packets in a batch.
struct SplittingSocket {
    inner: Arc<dyn AsyncUdpSocket>,
    /// What was sent of batches that the kernel took a part of only.
    interrupted: Mutex<HashMap<BatchKey, usize>>,
}

/// Recognises a batch that is tried again: packets are encrypted, so the beginning of no two
/// batches is alike.
#[derive(Debug, PartialEq, Eq, Hash)]
struct BatchKey {
    to: SocketAddr,
    len: usize,
    start: [u8; 32],
}

impl SplittingSocket {
    fn new(inner: Arc<dyn AsyncUdpSocket>) -> Self {
        Self {
            inner,
            interrupted: Mutex::default(),
        }
    }

    /// `segment`: length of each packet but the last.
    fn send_parts(&self, transmit: &Transmit<'_>, segment: usize) -> io::Result<()> {
        let part_len = (usize::from(UDP_PAYLOAD_MAX) / segment).max(1) * segment;
        let key = BatchKey {
            to: transmit.destination,
            len: transmit.contents.len(),
            start: transmit.contents.first_chunk().copied().unwrap_or_default(),
        };
        let mut interrupted = self
            .interrupted
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let mut sent = interrupted.remove(&key).unwrap_or(0);
        while let Some(rest) = transmit
            .contents
            .get(sent..)
            .filter(|rest| !rest.is_empty())
        {
            let contents = rest.get(..part_len).unwrap_or(rest);
            let part = Transmit {
                contents,
                segment_size: (contents.len() > segment).then_some(segment),
                ..transmit.clone()
            };
            if let Err(error) = self.inner.try_send(&part) {
                if error.kind() == ErrorKind::WouldBlock {
                    if interrupted.len() >= INTERRUPTED_MAX {
                        // Of connections that ended meanwhile; others send a few packets twice.
                        interrupted.clear();
                    }
                    interrupted.insert(key, sent);
                }
                return Err(error);
            }
            sent += contents.len();
        }
        Ok(())
    }
}

impl fmt::Debug for SplittingSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SplittingSocket").field(&self.inner).finish()
    }
}

impl AsyncUdpSocket for SplittingSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        self.inner.clone().create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        match transmit.segment_size {
            Some(segment)
                if segment > 0 && transmit.contents.len() > usize::from(UDP_PAYLOAD_MAX) =>
            {
                self.send_parts(transmit, segment)
            }
            Some(_) | None => self.inner.try_send(transmit),
        }
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
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

    /// Takes what is sent, but only as many sends as `ready` allows.
    #[derive(Debug, Default)]
    struct Sink {
        sent: Mutex<Vec<(Vec<u8>, Option<usize>)>>,
        ready: Mutex<usize>,
    }

    impl AsyncUdpSocket for Sink {
        fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
            panic!("not asked by these tests")
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
    }

    fn send(socket: &SplittingSocket, contents: &[u8], segment: Option<usize>) -> io::Result<()> {
        socket.try_send(&Transmit {
            destination: ([127, 0, 0, 1], 2).into(),
            ecn: None,
            contents,
            segment_size: segment,
            src_ip: None,
        })
    }

    fn batch(len: usize, seed: u8) -> Vec<u8> {
        (0..len).map(|i| (i / 7) as u8 ^ seed).collect()
    }

    fn socket(ready: usize) -> (Arc<Sink>, SplittingSocket) {
        let sink = Arc::new(Sink {
            ready: Mutex::new(ready),
            ..Sink::default()
        });
        (sink.clone(), SplittingSocket::new(sink))
    }

    #[test]
    fn batches_are_split_between_packets_so_that_each_part_fits() {
        for (segment, packets, last) in [
            (1_452, 10, 1_452),
            (8_952, 10, 8_952),
            (8_952, 10, 100),
            (40_000, 3, 40_000),
            (65_000, 10, 1),
        ] {
            let (sink, socket) = socket(usize::MAX);
            let contents = batch((packets - 1) * segment + last, 0);
            send(&socket, &contents, Some(segment)).unwrap();
            let sent = sink.sent.lock().unwrap();
            let joined: Vec<u8> = sent.iter().flat_map(|(part, _)| part.clone()).collect();
            assert!(joined == contents);
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

    #[test]
    fn a_batch_that_was_interrupted_goes_on_where_it_stopped() {
        let (sink, socket) = socket(1);
        let (one, two) = (batch(89_520, 0), batch(89_520, 1));
        let blocked = |result: io::Result<()>| {
            assert_eq!(result.unwrap_err().kind(), ErrorKind::WouldBlock);
        };
        blocked(send(&socket, &one, Some(8_952)));
        blocked(send(&socket, &two, Some(8_952)));
        *sink.ready.lock().unwrap() = 10;
        send(&socket, &two, Some(8_952)).unwrap();
        send(&socket, &one, Some(8_952)).unwrap();
        let sent = sink.sent.lock().unwrap();
        let bytes: usize = sent.iter().map(|(part, _)| part.len()).sum();
        assert_eq!(bytes, one.len() + two.len(), "nothing is sent twice");
        assert!(socket.interrupted.lock().unwrap().is_empty());
    }

    #[test]
    fn what_fits_is_passed_on_as_it_is() {
        let (sink, socket) = socket(usize::MAX);
        send(&socket, &batch(14_520, 0), Some(1_452)).unwrap();
        send(&socket, &batch(65_507, 0), None).unwrap();
        let sent = sink.sent.lock().unwrap();
        assert_eq!((sent[0].1, sent[1].1), (Some(1_452), None));
        assert_eq!(sent.len(), 2);
    }

    #[test]
    fn the_receive_buffers_stay_small() {
        let (_, socket) = socket(0);
        assert_eq!(socket.max_receive_segments(), 1);
    }
}
