//! Writes to an original, in a way that it can read.
//!
//! An original reads each field with one call and takes what comes for the whole of it. A head that
//! lies across two segments of TCP can so end its program. Therefore the last write before a head
//! ends its segment (`MSG_EOR`: the kernel puts nothing behind it into the same one), and a head is
//! one write.

use std::io::{self, IoSlice};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, sendmsg};
use tokio::io::{AsyncReadExt, Interest};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::acknowledged::is_acknowledged;

/// A connection that is written to.
#[derive(Debug)]
pub(super) struct Wire {
    stream: TcpStream,
    written: u64,
}

/// What comes behind a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// More of the same.
    More,
    /// A head, or nothing: the segment ends here.
    Head,
}

impl Wire {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self { stream, written: 0 }
    }

    /// Bytes that were handed to the system.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// Bytes that the system may hold back at most.
    pub(super) fn buffered_max(&self) -> u64 {
        let size = socket2::SockRef::from(&self.stream).send_buffer_size();
        // Beyond its limit the kernel takes what it has begun to take.
        size.map_or(u64::MAX, |size| size as u64) + BEYOND_LIMIT
    }

    /// Longest head that one segment holds.
    pub(super) fn segment_max(&self) -> usize {
        let mss = socket2::SockRef::from(&self.stream).tcp_mss();
        mss.map_or(SEGMENT_MIN, |mss| (mss as usize).max(SEGMENT_MIN))
    }

    /// Hands `head` and then `content` to the system. Not cancel-safe.
    pub(super) async fn send(&mut self, head: &[u8], content: &[u8], next: Next) -> io::Result<()> {
        let flags = match next {
            Next::More => SendFlags::NOSIGNAL,
            Next::Head => SendFlags::NOSIGNAL | SendFlags::EOR,
        };
        let (mut head, mut content) = (head, content);
        while !head.is_empty() || !content.is_empty() {
            let write = || {
                let parts = [IoSlice::new(head), IoSlice::new(content)];
                let mut nothing = SendAncillaryBuffer::default();
                Ok(sendmsg(&self.stream, &parts, &mut nothing, flags)?)
            };
            let sent = self.stream.async_io(Interest::WRITABLE, write).await?;
            let of_head = sent.min(head.len());
            head = head.get(of_head..).unwrap_or_default();
            content = content.get(sent - of_head..).unwrap_or_default();
            self.written += sent as u64;
        }
        Ok(())
    }

    /// Whether the other side has ended the connection, as far as is known by now.
    pub(super) fn has_ended(&self) -> bool {
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        match rustix::net::recv(&self.stream, &mut [0_u8; 1], flags) {
            Ok((received, _)) => received == 0,
            Err(error) => !matches!(error, Errno::AGAIN | Errno::INTR),
        }
    }

    /// The next byte of the other side; `None` at its end.
    pub(super) async fn byte(&mut self) -> io::Result<Option<u8>> {
        let mut byte = [0];
        let read = self.stream.read(&mut byte).await?;
        Ok((read == 1).then_some(byte[0]))
    }

    /// Says that nothing more comes, and waits until the other side ends as well: then it has read
    /// everything. One that keeps the connection for its next transfer never ends: for it counts
    /// that its computer has everything, and did not take the connection back for
    /// [`KEPT_OPEN_AFTER`]. Bytes that it sends meanwhile are not looked at. Cancel-safe.
    pub(super) async fn finish(&mut self) -> io::Result<()> {
        // Fails only if that was said before, or the connection is gone, which reading tells.
        let _ = socket2::SockRef::from(&self.stream).shutdown(std::net::Shutdown::Write);
        let mut rest = [0; 64];
        let mut acknowledged = None;
        loop {
            match timeout(LOOK_EVERY, self.stream.read(&mut rest)).await {
                Ok(Ok(0)) => return Ok(()),
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return Err(error),
                Err(_) if is_acknowledged(&self.stream) => {
                    let since = *acknowledged.get_or_insert_with(Instant::now);
                    if since.elapsed() >= KEPT_OPEN_AFTER {
                        return Ok(());
                    }
                }
                Err(_) => {}
            }
        }
    }
}

/// How often it is looked whether the other computer has everything.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// So long after that a connection counts as kept open: a program that failed has ended it by then.
const KEPT_OPEN_AFTER: Duration = Duration::from_secs(2);
/// See [`Wire::buffered_max`].
const BEYOND_LIMIT: u64 = 256 * 1024;
/// Payload that every way carries (RFC 1122).
const SEGMENT_MIN: usize = 536;
