//! Whether multicast works on this computer: a packet to the group of multicast DNS, which is what
//! finds others, has to come back to its sender.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use socket2::{Domain, Protocol, Socket, Type};

/// How long the packet may take.
const WITHIN: Duration = Duration::from_millis(500);
/// Group and port of multicast DNS (RFC 6762): a firewall may let in nothing else.
const GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 251);
const PORT: u16 = 5353;
/// Longest packet that is looked at; ours is shorter.
const PACKET_LEN_MAX: usize = 256;

/// Whether this computer hears its own multicast at the interface with the address `at`. The packet
/// does not leave the computer. Waits half a second at most: not for async code.
pub fn hears_multicast(at: Ipv4Addr) -> bool {
    let heard = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))
        .and_then(|socket| prepare(&socket, at).map(|()| socket))
        .and_then(|socket| echoes(&socket.into(), &question()));
    match heard {
        Ok(heard) => heard,
        Err(error) => {
            tracing::info!(%error, "multicast does not work");
            false
        }
    }
}

fn prepare(socket: &Socket, at: Ipv4Addr) -> io::Result<()> {
    // Everybody on this computer who listens to multicast DNS shares the port.
    socket.set_reuse_address(true)?;
    #[cfg(unix)]
    socket.set_reuse_port(true)?;
    socket.bind(&SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, PORT).into())?;
    socket.join_multicast_v4(&GROUP, &at)?;
    socket.set_multicast_if_v4(&at)?;
    socket.set_multicast_loop_v4(true)?;
    socket.set_multicast_ttl_v4(0)
}

/// Sends `question` to the group, and waits for it among what others say there.
fn echoes(socket: &UdpSocket, question: &[u8]) -> io::Result<bool> {
    socket.send_to(question, SocketAddr::from((GROUP, PORT)))?;
    let until = Instant::now() + WITHIN;
    let mut packet = [0; PACKET_LEN_MAX];
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(false);
        }
        socket.set_read_timeout(Some(left))?;
        match socket.recv_from(&mut packet) {
            Ok((len, _)) if packet.get(..len) == Some(question) => return Ok(true),
            Ok(_) => {}
            Err(error) if is_late(&error) => return Ok(false),
            // One that was too long, or news of what was sent before.
            Err(_) => {}
        }
    }
}

fn is_late(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}

/// A question of DNS that nobody has an answer to, and nobody else asks: other programs on this
/// computer read it, too.
fn question() -> Vec<u8> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.unwrap_or_default().as_nanos();
    let label = format!("peerconnect-echo-{}-{now}", std::process::id());
    let mut packet = vec![0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in [label.as_str(), "local"] {
        // A few digits: far below the 63 bytes of a label.
        packet.push(label.len() as u8);
        packet.extend(label.as_bytes());
    }
    // The root; an address (1) in the Internet (1).
    packet.extend([0, 0, 1, 0, 1]);
    packet
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn the_question_is_one_that_others_can_read() {
        let packet = question();
        assert!(packet.len() < PACKET_LEN_MAX);
        let first = usize::from(packet[12]);
        assert!(first <= 63, "{first}");
        assert_eq!(packet[13 + first], 5, "the next label");
        assert_eq!(packet.len(), 12 + 1 + first + 1 + 5 + 5);
        assert_ne!(packet, question(), "each is another one");
    }
}
