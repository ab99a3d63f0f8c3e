//! Frames on a TCP connection, both ways: see [`crate::protocol::tcp`].

use std::future::pending;
use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufWriter};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout, timeout_at};

use crate::protocol::tcp::{FRAME_LEN_MAX, Frame, LENGTH_LEN};

/// Datagrams that may wait for a TCP connection: a quarter of a megabyte, as long as they may be.
pub(in crate::net) const DATAGRAMS_MAX: usize = 192;
/// How often something is sent when there is nothing to send, and how long the other side may take
/// to send a frame, or to read one.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// See [`KEEP_ALIVE`].
pub(in crate::net) const IDLE_TIMEOUT: Duration = Duration::from_secs(15);
/// Bytes that are read and written at once.
const BUFFER_LEN: usize = 64 * 1024;
/// Datagrams after which messages have their turn.
const DATAGRAMS_AT_ONCE: usize = 32;
/// Bytes that the system may hold of what it has not sent yet. Its buffers grow to megabytes: on a
/// slow line that is a delay of seconds, and QUIC would see no loss until they are full.
#[cfg(target_os = "linux")]
const UNSENT_MAX: u32 = 128 * 1024;

/// What a connection needs that carries datagrams.
pub(in crate::net) fn prepare(stream: &tokio::net::TcpStream) {
    // Both fail on a connection that has ended only.
    let _ = stream.set_nodelay(true);
    #[cfg(target_os = "linux")]
    let _ = socket2::SockRef::from(stream).set_tcp_notsent_lowat(UNSENT_MAX);
}

/// The frames that come.
pub(in crate::net) struct Frames<S> {
    stream: S,
    buf: BytesMut,
}

impl<S: AsyncRead + Unpin> Frames<S> {
    pub(in crate::net) fn new(stream: S) -> Self {
        Self {
            stream,
            buf: BytesMut::new(),
        }
    }

    /// The next one, without its length. Fails at the end of the stream, on a frame that is too
    /// long, and if none has come for [`IDLE_TIMEOUT`]. Cancel-safe.
    pub(in crate::net) async fn next(&mut self) -> io::Result<Bytes> {
        let until = Instant::now() + IDLE_TIMEOUT;
        loop {
            let len = Frame::len_of(&self.buf).map_err(io::Error::other)?;
            if let Some(whole) = len.map(|len| LENGTH_LEN + len)
                && self.buf.len() >= whole
            {
                return Ok(self.buf.split_to(whole).freeze().slice(LENGTH_LEN..));
            }
            if self.buf.capacity() - self.buf.len() < LENGTH_LEN + FRAME_LEN_MAX {
                self.buf.reserve(BUFFER_LEN);
            }
            if timeout_at(until, self.stream.read_buf(&mut self.buf)).await?? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

/// What is to be sent.
pub(in crate::net) struct Outgoing {
    /// Whole frames that come first, if there are any at all. The connection ends with them.
    pub(in crate::net) messages: Option<mpsc::Receiver<Bytes>>,
    /// The connection ends with them, too.
    pub(in crate::net) datagrams: mpsc::Receiver<Bytes>,
}

impl Outgoing {
    /// The next frame; `None` at the end. Cancel-safe.
    async fn next(&mut self) -> Option<Bytes> {
        let message = async {
            match &mut self.messages {
                Some(messages) => messages.recv().await,
                None => pending().await,
            }
        };
        tokio::select! {
            biased;
            message = message => message,
            datagram = self.datagrams.recv() => datagram,
        }
    }
}

/// Sends frames until there will be no more. Fails if the other side does not read for
/// [`IDLE_TIMEOUT`].
pub(in crate::net) async fn write<S: AsyncWrite + Unpin>(
    stream: S,
    mut outgoing: Outgoing,
) -> io::Result<()> {
    let mut stream = BufWriter::with_capacity(BUFFER_LEN, stream);
    let mut alive = interval(KEEP_ALIVE);
    alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let frame = tokio::select! {
            biased;
            frame = outgoing.next() => match frame {
                Some(frame) => frame,
                None => {
                    // The last words of a connection may be among what waits.
                    while let Ok(datagram) = outgoing.datagrams.try_recv() {
                        write_frame(&mut stream, &datagram).await?;
                    }
                    return timeout(IDLE_TIMEOUT, stream.shutdown()).await?;
                }
            },
            _ = alive.tick() => Bytes::new(),
        };
        write_frame(&mut stream, &frame).await?;
        for _ in 0..DATAGRAMS_AT_ONCE {
            let Ok(datagram) = outgoing.datagrams.try_recv() else {
                break;
            };
            write_frame(&mut stream, &datagram).await?;
        }
        timeout(IDLE_TIMEOUT, stream.flush()).await??;
    }
}

async fn write_frame<S: AsyncWrite + Unpin>(stream: &mut S, frame: &[u8]) -> io::Result<()> {
    let len = u16::try_from(frame.len()).map_err(io::Error::other)?;
    timeout(IDLE_TIMEOUT, stream.write_u16(len)).await??;
    timeout(IDLE_TIMEOUT, stream.write_all(frame)).await?
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn frames_come_as_they_were_sent_however_the_stream_is_cut() {
        for room in [1, 7, 64 * 1024] {
            let (near, far) = tokio::io::duplex(room);
            let (send, datagrams) = mpsc::channel(DATAGRAMS_MAX);
            let outgoing = Outgoing {
                messages: None,
                datagrams,
            };
            let frames: Vec<Bytes> = [1_400, 1, 9, 1_443, 700]
                .iter()
                .map(|len| vec![0x10; *len].into())
                .collect();
            for frame in &frames {
                send.try_send(frame.clone()).unwrap();
            }
            drop(send);
            tokio::spawn(write(near, outgoing));
            let mut come = Frames::new(far);
            for frame in frames {
                assert_eq!(come.next().await.unwrap(), frame);
            }
            let end = come.next().await.unwrap_err();
            assert_eq!(end.kind(), io::ErrorKind::UnexpectedEof);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_sends_a_frame_byte_by_byte_is_not_waited_for() {
        let (near, mut far) = tokio::io::duplex(64);
        let mut come = Frames::new(near);
        let drips = tokio::spawn(async move {
            far.write_u16(1_000).await.unwrap();
            while far.write_u8(0x10).await.is_ok() {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        });
        let began = Instant::now();
        assert!(come.next().await.is_err());
        assert!(began.elapsed() <= IDLE_TIMEOUT + Duration::from_secs(1));
        drips.abort();
    }
}
