//! The stream between a peer and a relay: of QUIC, or TLS over TCP where UDP is blocked. Over TCP
//! it carries the datagrams, too.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use quinn::SendStream;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader, BufWriter};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::net::connection::PeerConnection;
use crate::net::frames::{self, FrameReader};
use crate::net::link::{LinkError, Offence};
use crate::protocol::frame;
use crate::protocol::relay::DATAGRAM_LEN_MAX;

/// Datagrams that may wait for a TCP connection: a quarter of a megabyte, as long as they may be.
pub(super) const DATAGRAMS_MAX: usize = 192;
/// Messages that may wait each way.
const MESSAGES_MAX: usize = 64;
/// How often something is sent over TCP when there is nothing to send, and how long nothing may
/// come.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
const IDLE_TIMEOUT: Duration = Duration::from_secs(15);
/// Bytes that are read and written at once over TCP.
const BUFFER_LEN: usize = 64 * 1024;
/// Longest message over TCP.
const MESSAGE_LEN_MAX: usize = 4096;
/// Datagrams after which messages have their turn.
const DATAGRAMS_AT_ONCE: usize = 32;
/// First byte of a frame over TCP that is a message; all others are datagrams.
const MESSAGE: u8 = 0;

/// Both directions of it.
pub(super) enum Control {
    Quic {
        connection: PeerConnection,
        send: SendStream,
        recv: FrameReader,
    },
    Stream(StreamControl),
}

/// A TCP connection, which is read and written by tasks.
pub(super) struct StreamControl {
    send: mpsc::Sender<Bytes>,
    recv: mpsc::Receiver<Bytes>,
    /// Datagrams to send.
    pub(super) datagrams: mpsc::Sender<Bytes>,
    _tasks: JoinSet<()>,
}

impl Control {
    /// Sends a message; waits while the other side does not read. Not cancel-safe.
    pub(super) async fn send<M: Serialize + Sync>(&mut self, message: &M) -> Result<(), LinkError> {
        match self {
            Self::Quic {
                connection, send, ..
            } => frames::send(send, message, connection).await,
            Self::Stream(stream) => stream.send(message).await,
        }
    }

    /// The next message; `None` at the end. Cancel-safe.
    pub(super) async fn recv<M: DeserializeOwned>(&mut self) -> Result<Option<M>, LinkError> {
        match self {
            Self::Quic {
                connection, recv, ..
            } => recv.next(connection).await,
            Self::Stream(stream) => stream.recv().await,
        }
    }

    /// Where the other side is seen, if it comes by UDP.
    pub(super) fn seen(&self) -> Option<SocketAddr> {
        match self {
            Self::Quic { connection, .. } => connection.remote_addr(),
            Self::Stream(_) => None,
        }
    }
}

impl StreamControl {
    /// Takes a TLS connection; `arrived` gets the datagrams that come.
    pub(super) fn new<S: AsyncRead + AsyncWrite + Send + 'static>(
        stream: S,
        arrived: impl Fn(Bytes) + Send + 'static,
    ) -> Self {
        let (send, messages) = mpsc::channel(MESSAGES_MAX);
        let (received, recv) = mpsc::channel(MESSAGES_MAX);
        let (datagrams, waiting) = mpsc::channel(DATAGRAMS_MAX);
        let (reading, writing) = tokio::io::split(stream);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let ended = tokio::select! {
                ended = read(reading, received, arrived) => ended,
                ended = write(writing, messages, waiting) => ended,
            };
            if let Err(error) = ended {
                tracing::debug!(%error, "TCP connection with a relay ended");
            }
        });
        Self {
            send,
            recv,
            datagrams,
            _tasks: tasks,
        }
    }

    async fn send<M: Serialize>(&mut self, message: &M) -> Result<(), LinkError> {
        let lost = |why: String| LinkError::Lost(why);
        let bytes = frame::encode(message).map_err(|error| lost(error.to_string()))?;
        let bytes = [&[MESSAGE][..], &bytes].concat();
        let sent = self.send.send(bytes.into()).await;
        sent.map_err(|_| lost("the TCP connection ended".into()))
    }

    async fn recv<M: DeserializeOwned>(&mut self) -> Result<Option<M>, LinkError> {
        let Some(bytes) = self.recv.recv().await else {
            return Err(LinkError::Lost("the TCP connection ended".into()));
        };
        match frame::decode(&bytes).map_err(Offence::from)? {
            Some((message, len)) if len == bytes.len() => Ok(Some(message)),
            Some(_) | None => Err(Offence::UnexpectedMessage.into()),
        }
    }
}

async fn read<S: AsyncRead + Unpin>(
    stream: S,
    messages: mpsc::Sender<Bytes>,
    arrived: impl Fn(Bytes),
) -> std::io::Result<()> {
    let mut stream = BufReader::with_capacity(BUFFER_LEN, stream);
    loop {
        let len = timeout(IDLE_TIMEOUT, stream.read_u16()).await??;
        if usize::from(len) > MESSAGE_LEN_MAX {
            return Err(std::io::Error::other("a frame that is too long"));
        }
        let mut frame = vec![0; len.into()];
        timeout(IDLE_TIMEOUT, stream.read_exact(&mut frame)).await??;
        let frame = Bytes::from(frame);
        match frame.first() {
            // Only to be heard.
            None => {}
            Some(&MESSAGE) => match messages.send(frame.slice(1..)).await {
                Ok(()) => {}
                Err(_) => return Ok(()),
            },
            Some(_) if frame.len() <= DATAGRAM_LEN_MAX => arrived(frame),
            Some(_) => return Err(std::io::Error::other("a datagram that is too long")),
        }
    }
}

async fn write<S: AsyncWrite + Unpin>(
    stream: S,
    mut messages: mpsc::Receiver<Bytes>,
    mut datagrams: mpsc::Receiver<Bytes>,
) -> std::io::Result<()> {
    let mut stream = BufWriter::with_capacity(BUFFER_LEN, stream);
    let mut alive = interval(KEEP_ALIVE);
    alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let frame = tokio::select! {
            biased;
            message = messages.recv() => match message {
                Some(message) => message,
                None => return stream.shutdown().await,
            },
            Some(datagram) = datagrams.recv() => datagram,
            _ = alive.tick() => Bytes::new(),
        };
        write_frame(&mut stream, &frame).await?;
        for _ in 0..DATAGRAMS_AT_ONCE {
            let Ok(datagram) = datagrams.try_recv() else {
                break;
            };
            write_frame(&mut stream, &datagram).await?;
        }
        timeout(IDLE_TIMEOUT, stream.flush()).await??;
    }
}

async fn write_frame<S: AsyncWrite + Unpin>(stream: &mut S, frame: &[u8]) -> std::io::Result<()> {
    let len = u16::try_from(frame.len()).map_err(std::io::Error::other)?;
    timeout(IDLE_TIMEOUT, stream.write_u16(len)).await??;
    timeout(IDLE_TIMEOUT, stream.write_all(frame)).await?
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use crate::protocol::relay::{FromRelay, ToRelay};

    fn pair() -> (StreamControl, StreamControl, mpsc::Receiver<Bytes>) {
        let (near, far) = tokio::io::duplex(1024);
        let (arrived, datagrams) = mpsc::channel(16);
        let near = StreamControl::new(near, |_| {});
        let far = StreamControl::new(far, move |datagram| {
            // As a router would.
            let _ = arrived.try_send(datagram);
        });
        (near, far, datagrams)
    }

    #[tokio::test(start_paused = true)]
    async fn messages_and_datagrams_share_a_connection_that_stays_open() {
        let (mut near, mut far, mut arrived) = pair();
        let datagram = Bytes::from_static(&[0x10, 1, 2, 3]);
        near.datagrams.send(datagram.clone()).await.unwrap();
        near.send(&ToRelay::Hello { listens: true }).await.unwrap();
        assert_eq!(far.recv().await, Ok(Some(ToRelay::Hello { listens: true })));
        assert_eq!(arrived.recv().await, Some(datagram));
        tokio::time::sleep(IDLE_TIMEOUT * 10).await;
        far.send(&FromRelay::Seen { addr: None }).await.unwrap();
        assert_eq!(near.recv().await, Ok(Some(FromRelay::Seen { addr: None })));
    }

    #[tokio::test]
    async fn messages_have_their_turn_while_datagrams_never_end() {
        let (mut near, mut far, mut arrived) = pair();
        let datagrams = near.datagrams.clone();
        let flood = async move {
            while datagrams
                .send(Bytes::from_static(&[0x10; 1200]))
                .await
                .is_ok()
            {}
        };
        let flood = tokio::spawn(flood);
        let taken = tokio::spawn(async move { while arrived.recv().await.is_some() {} });
        for _ in 0..20 {
            near.send(&ToRelay::Hello { listens: true }).await.unwrap();
            assert!(far.recv::<ToRelay>().await.unwrap().is_some());
        }
        flood.abort();
        taken.abort();
    }

    #[tokio::test]
    async fn what_is_too_long_ends_the_connection() {
        for (first, len) in [(0x10, DATAGRAM_LEN_MAX + 1), (MESSAGE, MESSAGE_LEN_MAX + 1)] {
            let (near, mut raw) = tokio::io::duplex(64 * 1024);
            let mut near = StreamControl::new(near, |_| panic!("it is not taken"));
            raw.write_u16(len as u16).await.unwrap();
            raw.write_all(&vec![first; len]).await.unwrap();
            assert!(near.recv::<FromRelay>().await.is_err());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn silence_and_the_end_of_the_other_side_end_it() {
        let (mut near, far, _arrived) = pair();
        drop(far);
        assert!(near.recv::<FromRelay>().await.is_err());
        let (near, _silent) = tokio::io::duplex(1024);
        let mut near = StreamControl::new(near, |_| {});
        assert!(near.recv::<FromRelay>().await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_no_message_is_an_offence() {
        let (near, mut raw) = tokio::io::duplex(1024);
        let mut near = StreamControl::new(near, |_| {});
        raw.write_all(&[0, 3, MESSAGE, 0xff, 0xff]).await.unwrap();
        assert!(matches!(
            near.recv::<FromRelay>().await,
            Err(LinkError::Offence(_))
        ));
    }
}
