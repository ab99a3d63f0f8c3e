//! Tells when this computer's addresses, links or routes may have changed.

use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

/// How often they are looked at where the system does not tell.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// A cable that is plugged in changes a link, some addresses and several routes: one change.
const SETTLED_AFTER: Duration = Duration::from_millis(50);
/// Where changes never end, so long at most.
const SETTLED_AT_LAST: Duration = Duration::from_millis(250);

/// What the system tells about the network, one change after the other.
#[derive(Debug)]
pub(super) struct Changes {
    #[cfg(target_os = "linux")]
    told: Option<netlink::Told>,
    /// Set while changes come: when that counts as one change.
    at_last: Option<Instant>,
}

impl Changes {
    /// From now on. Needs a runtime.
    pub(super) fn new() -> Self {
        Self {
            #[cfg(target_os = "linux")]
            told: netlink::Told::listen()
                .inspect_err(|error| tracing::info!(%error, "the system tells no changes"))
                .ok(),
            at_last: None,
        }
    }

    /// Waits until something may be different from what it was when this returned before, and
    /// for a moment longer, because changes come in groups. Returns whether the system said so;
    /// where it does not, this is only a time to look. Cancel-safe.
    pub(super) async fn next(&mut self) -> bool {
        loop {
            let Some(at_last) = self.at_last else {
                if !self.wait().await {
                    sleep(LOOK_EVERY).await;
                    return false;
                }
                self.at_last = Some(Instant::now() + SETTLED_AT_LAST);
                continue;
            };
            let settled = (Instant::now() + SETTLED_AFTER).min(at_last);
            let more = tokio::select! {
                biased;
                () = sleep_until(settled) => false,
                told = self.wait() => told,
            };
            if !more {
                self.at_last = None;
                return true;
            }
        }
    }

    /// Waits for the system; `false` at once if it does not tell.
    #[cfg(target_os = "linux")]
    async fn wait(&mut self) -> bool {
        let Some(told) = &self.told else {
            return false;
        };
        match told.next().await {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!(%error, "the system tells no more changes");
                self.told = None;
                false
            }
        }
    }

    #[cfg(not(target_os = "linux"))]
    async fn wait(&mut self) -> bool {
        std::future::ready(false).await
    }
}

/// Linux tells through a netlink socket. What it tells is not read: that it tells is enough, and
/// whoever wants to know looks at the whole.
#[cfg(target_os = "linux")]
mod netlink {
    use std::io::{self, ErrorKind};

    use rustix::io::Errno;
    use rustix::net::netlink::SocketAddrNetlink;
    use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with};
    use tokio::net::UdpSocket;

    /// `RTMGRP_LINK`, `_IPV4_IFADDR`, `_IPV4_ROUTE`, `_IPV6_IFADDR`, `_IPV6_ROUTE` of
    /// `linux/rtnetlink.h`.
    const GROUPS: u32 = 0x1 | 0x10 | 0x40 | 0x100 | 0x400;

    #[derive(Debug)]
    pub(super) struct Told {
        /// Not UDP, but messages come in the same way.
        socket: UdpSocket,
    }

    impl Told {
        pub(super) fn listen() -> io::Result<Self> {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            // No protocol is `NETLINK_ROUTE`, which is 0.
            let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
            bind(&socket, &SocketAddrNetlink::new(0, GROUPS))?;
            let socket = UdpSocket::from_std(socket.into())?;
            Ok(Self { socket })
        }

        /// Waits for messages and takes all that are there. Cancel-safe.
        pub(super) async fn next(&self) -> io::Result<()> {
            self.socket.readable().await?;
            let mut message = [0; 64];
            loop {
                // The rest of a longer message is dropped by the kernel.
                match self.socket.try_recv(&mut message) {
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                    // Some did not fit into its queue: so much the more has changed.
                    Err(error) if Errno::from_io_error(&error) == Some(Errno::NOBUFS) => {}
                    Err(error) => return Err(error),
                }
            }
        }
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_system_tells_whom_it_allows_to_listen() {
        netlink::Told::listen().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn where_the_system_does_not_tell_it_is_looked_now_and_then() {
        let mut changes = Changes {
            told: None,
            at_last: None,
        };
        let before = Instant::now();
        assert!(!changes.next().await);
        assert_eq!(before.elapsed(), LOOK_EVERY);
    }
}
