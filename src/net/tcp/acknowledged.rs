//! Whether the other computer has everything, where the program there does not say so.
//!
//! Some originals keep a connection open for their next transfer, and so never show that they have
//! read to the end. The kernel knows at least that their computer has it: a connection whose end
//! was acknowledged is in the state FIN-WAIT-2 (RFC 9293, 3.3.2).

use std::net::{IpAddr, SocketAddr};

use tokio::net::TcpStream;

/// The state as the kernel's table of connections shows it.
const FIN_WAIT_2: &str = "05";

/// Whether everything sent on `stream`, our end included, was acknowledged. `false` where the
/// system does not tell.
pub(super) fn is_acknowledged(stream: &TcpStream) -> bool {
    let (Ok(local), Ok(remote)) = (stream.local_addr(), stream.peer_addr()) else {
        return false;
    };
    let table = match local {
        SocketAddr::V4(_) => "/proc/self/net/tcp",
        SocketAddr::V6(_) => "/proc/self/net/tcp6",
    };
    std::fs::read_to_string(table).is_ok_and(|table| is_in(&table, local, remote))
}

fn is_in(table: &str, local: SocketAddr, remote: SocketAddr) -> bool {
    let (local, remote) = (as_shown(local), as_shown(remote));
    table.lines().any(|line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        fields.next() == Some(&local)
            && fields.next() == Some(&remote)
            && fields.next() == Some(FIN_WAIT_2)
    })
}

/// An address as the kernel shows it: words of 32 bits as they lie in memory, in hexadecimal.
fn as_shown(addr: SocketAddr) -> String {
    let word = |bytes: &[u8]| {
        let bytes = bytes.try_into().unwrap_or_default();
        format!("{:08X}", u32::from_ne_bytes(bytes))
    };
    let ip = match addr.ip() {
        IpAddr::V4(ip) => word(&ip.octets()),
        IpAddr::V6(ip) => ip.octets().chunks_exact(4).map(word).collect(),
    };
    format!("{ip}:{:04X}", addr.port())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn the_kernels_table_is_understood() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue\n\
            0: 0100007F:0D9D 00000000:0000 0A 00000000:00000000 00:00000000\n\
            1: 0100007F:B2C4 0100007F:0D9D 05 00000000:00000000 02:00000000\n\
            2: 0100007F:B2C5 0100007F:0D9D 04 00000000:00000000 02:00000000\n";
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        assert!(is_in(table, at(0xB2C4), at(3485)));
        assert!(!is_in(table, at(0xB2C5), at(3485)), "not acknowledged yet");
        assert!(!is_in(table, at(0xB2C6), at(3485)), "not there");
        let v6: SocketAddr = "[fe80::1]:3485".parse().unwrap();
        assert_eq!(as_shown(v6), "000080FE000000000000000001000000:0D9D");
    }
}
