//! The stream between a peer and a relay: of QUIC, or TLS over TCP where UDP is blocked. Over TCP
//! it carries the datagrams, too.

use std::net::SocketAddr;

use bytes::Bytes;
use quinn::SendStream;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::net::connection::PeerConnection;
use crate::net::frames::{self, FrameReader};
use crate::net::link::{LinkError, Offence};
use crate::net::tls::{DATAGRAMS_MAX, Frames, Outgoing, write};
use crate::protocol::frame;
use crate::protocol::tcp::{Frame, MESSAGE};

/// Messages that may wait each way.
const MESSAGES_MAX: usize = 64;

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
        let outgoing = Outgoing {
            messages: Some(messages),
            datagrams: waiting,
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let ended = tokio::select! {
                ended = read(reading, received, arrived) => ended,
                ended = write(writing, outgoing) => ended,
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
    let mut frames = Frames::new(stream);
    loop {
        let frame = frames.next().await?;
        match Frame::parse(&frame).map_err(std::io::Error::other)? {
            Frame::Alive => {}
            Frame::Message(message) => match messages.send(frame.slice_ref(message)).await {
                Ok(()) => {}
                Err(_) => return Ok(()),
            },
            Frame::Datagram(_) => arrived(frame),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use crate::net::tls::IDLE_TIMEOUT;
    use crate::protocol::relay::{DATAGRAM_LEN_MAX, FromRelay, ToRelay};
    use crate::protocol::tcp::FRAME_LEN_MAX;
    use tokio::io::AsyncWriteExt;

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
        for (first, len) in [(0x10, DATAGRAM_LEN_MAX + 1), (MESSAGE, FRAME_LEN_MAX + 1)] {
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
