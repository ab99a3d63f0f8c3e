//! Sends a datagram that does not get far: it opens the router in front of this computer, and dies
//! before it reaches the one in front of the peer, which might shut itself for what comes before
//! its own side has sent anything.

use std::io;
use std::net::{SocketAddr, UdpSocket};

/// Routers that it passes: our own, and nothing of importance.
#[cfg(target_os = "linux")]
const HOPS: i32 = 2;

/// Sends `bytes` to `to`, at most [`HOPS`] routers far. In the same network it arrives.
#[cfg(target_os = "linux")]
pub(super) fn send_near(socket: &UdpSocket, bytes: &[u8], to: SocketAddr) -> io::Result<()> {
    use std::io::IoSlice;

    use socket2::{MsgHdr, SockAddr, SockRef};

    /// `MSG_DONTWAIT` of `linux/socket.h`.
    const DONT_WAIT: i32 = 0x40;
    let control = hops(to);
    let (to, bytes) = (SockAddr::from(to), [IoSlice::new(bytes)]);
    let message = MsgHdr::new().with_addr(&to).with_buffers(&bytes);
    let message = message.with_control(&control);
    SockRef::from(socket).sendmsg(&message, DONT_WAIT)?;
    Ok(())
}

/// A control message (cmsg(3)) that sets the hop limit of one datagram.
#[cfg(target_os = "linux")]
fn hops(to: SocketAddr) -> Vec<u8> {
    /// `SOL_IP` and `IP_TTL`, `SOL_IPV6` and `IPV6_HOPLIMIT` of `linux/in.h`, `linux/in6.h`.
    const V4: [i32; 2] = [0, 2];
    const V6: [i32; 2] = [41, 52];
    let [level, kind] = match to.ip().to_canonical() {
        std::net::IpAddr::V4(_) => V4,
        std::net::IpAddr::V6(_) => V6,
    };
    let words = [level, kind, HOPS];
    let len = size_of::<usize>() + size_of_val(&words);
    let mut control = len.to_ne_bytes().to_vec();
    control.extend(words.into_iter().flat_map(i32::to_ne_bytes));
    control.resize(len.next_multiple_of(size_of::<usize>()), 0);
    control
}

/// Elsewhere it is left out: the next one opens the router, too.
#[cfg(not(target_os = "linux"))]
pub(super) fn send_near(_: &UdpSocket, _: &[u8], _: SocketAddr) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
#[cfg(target_os = "linux")]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn arrives(from: &str, to: &str, written: impl Fn(SocketAddr) -> SocketAddr) {
        let (Ok(from), Ok(to)) = (UdpSocket::bind(from), UdpSocket::bind(to)) else {
            // No IPv6 here.
            return;
        };
        to.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        send_near(&from, b"near", written(to.local_addr().unwrap())).unwrap();
        let mut buf = [0; 8];
        let (len, _) = to.recv_from(&mut buf).unwrap();
        assert_eq!(&buf[..len], b"near");
    }

    #[test]
    fn what_is_near_is_reached_in_both_families() {
        arrives("127.0.0.1:0", "127.0.0.1:0", |addr| addr);
        arrives("[::1]:0", "[::1]:0", |addr| addr);
        arrives("[::]:0", "127.0.0.1:0", |addr| match addr {
            SocketAddr::V4(v4) => SocketAddr::new(v4.ip().to_ipv6_mapped().into(), v4.port()),
            SocketAddr::V6(_) => addr,
        });
    }
}
