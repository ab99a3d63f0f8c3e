//! The two sockets of the requests endpoint, and the groups they listen to.

use std::collections::HashSet;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use socket2::{Domain, InterfaceIndexOrAddress, Protocol, SockRef, Socket, Type};
use tokio::net::UdpSocket;

use super::endpoint::{Destination, Transmit};
use crate::net::interfaces::LocalNet;
use crate::protocol::legacy::{DATAGRAM_MAX, REQUESTS_PORT};

/// Where originals with IPv4 ask who is there.
const GROUP_V4: Ipv4Addr = Ipv4Addr::new(239, 1, 11, 11);
/// And those with IPv6.
const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 6);

/// One byte more than may come, so that longer ones are seen.
pub(super) const RECEIVE_LEN: usize = DATAGRAM_MAX + 1;

/// One socket for each family: IPv4 multicast does not reach one that is for both.
#[derive(Debug)]
pub(super) struct Sockets {
    v4: Option<UdpSocket>,
    v6: Option<UdpSocket>,
    port: u16,
    /// Groups by family and interface.
    joined: HashSet<(bool, u32, IpAddr)>,
}

impl Sockets {
    /// Sockets at `bind`, or at all addresses, and `port`, or any free port if that is taken.
    pub(super) fn open(bind: Option<IpAddr>, port: u16) -> io::Result<Self> {
        match Self::open_at(bind, port) {
            Err(error) if error.kind() == ErrorKind::AddrInUse && port != 0 => {
                tracing::info!(
                    port,
                    "taken, perhaps by an older PeerConnect: not found by it"
                );
                Self::open_at(bind, 0)
            }
            result => result,
        }
    }

    fn open_at(bind: Option<IpAddr>, port: u16) -> io::Result<Self> {
        let v4 = match bind {
            Some(IpAddr::V6(_)) => None,
            Some(ip @ IpAddr::V4(_)) => Some(socket(SocketAddr::new(ip, port))?),
            None => {
                let any = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port);
                unless_unsupported(socket(any))?
            }
        };
        let port = match &v4 {
            Some(v4) => v4.local_addr()?.port(),
            None => port,
        };
        let v6 = match bind {
            Some(IpAddr::V4(_)) => None,
            Some(ip @ IpAddr::V6(_)) => Some(socket(SocketAddr::new(ip, port))?),
            // Nice to have: originals with IPv6 only are few.
            None => match socket(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port)) {
                Err(error) if v4.is_none() => return Err(error),
                result => result.ok(),
            },
        };
        let port = match &v6 {
            Some(v6) => v6.local_addr()?.port(),
            None => port,
        };
        let joined = HashSet::new();
        Ok(Self {
            v4,
            v6,
            port,
            joined,
        })
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Joins the groups by all these interfaces. What cannot be joined is tried again next time:
    /// an interface may be about to come up, or there are more than the system allows.
    pub(super) fn join<'a>(&mut self, nets: impl Iterator<Item = &'a LocalNet>) {
        let mut wanted = HashSet::new();
        for net in nets {
            let key = match net.ip {
                // Each address, because an interface that went and came needs it once more.
                IpAddr::V4(_) => (false, net.index, net.ip),
                IpAddr::V6(_) => (true, net.index, net.ip),
            };
            wanted.insert(key);
            if self.joined.contains(&key) {
                continue;
            }
            match self.join_one(net) {
                Ok(()) => {
                    self.joined.insert(key);
                }
                Err(error) => tracing::debug!(ip = %net.ip, %error, "cannot join the group"),
            }
        }
        // What is gone has left by itself.
        self.joined.retain(|key| wanted.contains(key));
    }

    fn join_one(&self, net: &LocalNet) -> io::Result<()> {
        let result = match (net.ip, &self.v4, &self.v6) {
            (IpAddr::V4(ip), Some(socket), _) => {
                let by = match net.index {
                    0 => InterfaceIndexOrAddress::Address(ip),
                    index => InterfaceIndexOrAddress::Index(index),
                };
                SockRef::from(socket).join_multicast_v4_n(&GROUP_V4, &by)
            }
            (IpAddr::V6(_), _, Some(socket)) => {
                SockRef::from(socket).join_multicast_v6(&GROUP_V6, net.index)
            }
            (IpAddr::V4(_) | IpAddr::V6(_), _, _) => Ok(()),
        };
        match result {
            // By another address of the same interface.
            Err(error) if error.kind() == ErrorKind::AddrInUse => Ok(()),
            result => result,
        }
    }

    /// Sends a datagram; without effect if there is no socket of its family.
    pub(super) async fn send(&self, transmit: &Transmit) -> io::Result<()> {
        let addr = match transmit.to {
            Destination::Peer(addr) => addr,
            Destination::Group(net) => match net.ip {
                IpAddr::V4(_) => SocketAddr::new(GROUP_V4.into(), REQUESTS_PORT),
                IpAddr::V6(_) => SocketAddrV6::new(GROUP_V6, REQUESTS_PORT, 0, net.index).into(),
            },
        };
        let socket = match addr {
            SocketAddr::V4(_) => &self.v4,
            SocketAddr::V6(_) => &self.v6,
        };
        let Some(socket) = socket else {
            return Ok(());
        };
        if let Destination::Group(LocalNet {
            ip: IpAddr::V4(ip), ..
        }) = &transmit.to
        {
            SockRef::from(socket).set_multicast_if_v4(ip)?;
        }
        socket.send_to(&transmit.bytes, addr).await.map(|_| ())
    }

    /// The next datagram of either family, into `buffer`; never returns if there is no socket.
    ///
    /// May be dropped at any time; nothing is lost.
    pub(super) async fn receive(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        loop {
            let socket = tokio::select! {
                ready = readable(self.v4.as_ref()) => ready.map(|()| &self.v4)?,
                ready = readable(self.v6.as_ref()) => ready.map(|()| &self.v6)?,
            };
            let Some(socket) = socket else {
                continue;
            };
            match socket.try_recv_from(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                result => return result,
            }
        }
    }
}

/// Never returns if there is no socket.
async fn readable(socket: Option<&UdpSocket>) -> io::Result<()> {
    match socket {
        Some(socket) => socket.readable().await,
        None => std::future::pending().await,
    }
}

fn unless_unsupported(result: io::Result<UdpSocket>) -> io::Result<Option<UdpSocket>> {
    match result {
        Ok(socket) => Ok(Some(socket)),
        Err(error) if error.kind() == ErrorKind::AddrInUse => Err(error),
        // IPv4 is switched off on this computer.
        Err(_) => Ok(None),
    }
}

/// Alone at its port: nobody may share it, and we share nobody's.
fn socket(addr: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))?;
    match addr {
        SocketAddr::V4(_) => {
            socket.set_multicast_ttl_v4(1)?;
            socket.set_multicast_loop_v4(false)?;
        }
        SocketAddr::V6(_) => {
            socket.set_only_v6(true)?;
            socket.set_multicast_hops_v6(1)?;
            socket.set_multicast_loop_v6(false)?;
        }
    }
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    UdpSocket::from_std(socket.into())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_port_that_is_taken_is_left_to_its_owner() {
        let owner = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
        let taken = owner.local_addr().unwrap().port();
        let sockets = Sockets::open(None, taken).unwrap();
        assert_ne!(sockets.port(), taken);
        assert_ne!(sockets.port(), 0);
        // And the other way round: an original that starts later must not get ours.
        let error = std::net::UdpSocket::bind(("0.0.0.0", sockets.port())).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
    }

    #[tokio::test]
    async fn both_families_are_heard_at_one_port() {
        let sockets = Sockets::open(None, 0).unwrap();
        let mut buffer = [0; 16];
        for ip in ["127.0.0.1", "::1"] {
            let ip: IpAddr = ip.parse().unwrap();
            let Ok(sender) = std::net::UdpSocket::bind((ip, 0)) else {
                continue;
            };
            sender.send_to(b"hello", (ip, sockets.port())).unwrap();
            let (len, from) = sockets.receive(&mut buffer).await.unwrap();
            assert_eq!((&buffer[..len], from.ip()), (&b"hello"[..], ip));
        }
    }
}
