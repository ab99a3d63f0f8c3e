//! A TCP port that is open.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

/// Connections that the system may hold until they are taken.
const BACKLOG: i32 = 128;

/// Bytes that the kernel is asked to keep of each connection. Linux lets a full window open again
/// only when a sixteenth of it is free, and an original that we slow down must see it open within
/// 10 s: of the 6 MB that it takes by itself, that is more than we read in that time.
const RECEIVE_BUFFER: usize = 1024 * 1024;

/// A socket for IPv4 and IPv6 at any address, or for IPv4 alone where there is no IPv6; or at `ip`
/// only. Must be called inside a runtime.
pub(in crate::net) fn listen(ip: Option<IpAddr>, port: u16) -> io::Result<TcpListener> {
    match ip {
        Some(ip) => listen_at(SocketAddr::new(ip, port)),
        None => listen_at((Ipv6Addr::UNSPECIFIED, port).into()).or_else(|error| {
            match error.kind() == ErrorKind::AddrInUse {
                true => Err(error),
                false => listen_at((Ipv4Addr::UNSPECIFIED, port).into()),
            }
        }),
    }
}

fn listen_at(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    if addr.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    // A port whose last connections are not forgotten yet may be had again.
    socket.set_reuse_address(true)?;
    // Connections inherit it, and their windows are scaled by it: so before the first.
    let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER);
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket.into())
}
