//! The addresses and packet sizes of this computer's network interfaces.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use if_addrs::{IfAddr, Interface};

use super::routes::is_route;
use super::settings::{ETHERNET_PAYLOAD, LOCAL_PAYLOAD, ROUTED_PAYLOAD, UDP_PAYLOAD_MAX, Way};

/// Bytes of the IPv4 and UDP headers.
const HEADERS_LEN_V4: u32 = 28;
/// Bytes of the IPv6 and UDP headers.
const HEADERS_LEN_V6: u32 = 48;

/// All interfaces; none if the system does not tell.
fn all_interfaces() -> Vec<Interface> {
    if_addrs::get_if_addrs().unwrap_or_else(|error| {
        tracing::warn!(%error, "cannot list network interfaces");
        Vec::new()
    })
}

/// The interfaces that are up; none if the system does not tell.
fn interfaces() -> Vec<Interface> {
    let mut all = all_interfaces();
    all.retain(Interface::is_oper_up);
    all
}

/// The addresses of this computer at one time.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Own {
    /// Interface, address, and whether the interface is up.
    addrs: BTreeSet<(Option<u32>, IpAddr, bool)>,
}

impl Own {
    pub(super) fn now() -> Self {
        let all = all_interfaces().into_iter();
        Self {
            addrs: all.map(|i| (i.index, i.ip(), i.is_oper_up())).collect(),
        }
    }

    /// Whether one of them is `ip`, at an interface that is up or not.
    pub(super) fn has(&self, ip: IpAddr) -> bool {
        self.addrs.iter().any(|(_, own, _)| *own == ip)
    }

    /// Whether there is a way to `remote`, through an interface that is up.
    pub(super) fn has_way(&self, remote: SocketAddr) -> bool {
        source_towards(remote).is_some_and(|ip| {
            let mut own = self.addrs.iter();
            own.any(|(_, addr, up)| *addr == ip && *up)
        })
    }
}

/// The numbers of the interfaces that have a link-local IPv6 address.
pub(super) fn with_link_local() -> Vec<u32> {
    let local = |i: &Interface| matches!(i.ip(), IpAddr::V6(ip) if ip.is_unicast_link_local());
    let found = interfaces().into_iter().filter(local);
    let numbers: BTreeSet<u32> = found.filter_map(|i| i.index).collect();
    numbers.into_iter().collect()
}

/// Whether it is an address of this computer now.
pub(super) fn is_own(ip: IpAddr) -> bool {
    let ip = ip.to_canonical();
    ip.is_loopback() || interfaces().iter().any(|interface| interface.ip() == ip)
}

/// Where others may find a socket bound to `bound` at `port`, most useful first: private IPv4,
/// other IPv4, IPv6; bridges of virtual machines after all of those. Link-local IPv6 addresses,
/// which mean something at the same cable only, and loopback, only if there is nothing better.
pub(super) fn candidates(bound: IpAddr, port: u16) -> Vec<SocketAddr> {
    let found = interfaces()
        .into_iter()
        .map(|interface| (interface.ip(), is_virtual(&interface.name)));
    candidates_of(bound, port, found)
}

fn candidates_of(
    bound: IpAddr,
    port: u16,
    found: impl Iterator<Item = (IpAddr, bool)>,
) -> Vec<SocketAddr> {
    if !bound.is_unspecified() {
        return vec![SocketAddr::new(bound, port)];
    }
    let mut ranked: Vec<(u8, IpAddr)> = found
        // A socket bound to 0.0.0.0 is not reachable over IPv6.
        .filter(|(ip, _)| ip.is_ipv4() || bound.is_ipv6())
        .filter_map(|(ip, is_virtual)| {
            let rank = rank(ip)?;
            Some((if is_virtual { rank + VIRTUAL } else { rank }, ip))
        })
        .collect();
    for poor in [LOOPBACK, LINK_LOCAL] {
        if ranked.iter().any(|(rank, _)| rank % VIRTUAL < poor) {
            ranked.retain(|(rank, _)| rank % VIRTUAL < poor);
        }
    }
    // Stable: the system's order is kept among equals.
    ranked.sort_by_key(|(rank, _)| *rank);
    let mut addrs: Vec<SocketAddr> = Vec::new();
    for (_, ip) in ranked {
        let addr = SocketAddr::new(ip, port);
        if !addrs.contains(&addr) {
            addrs.push(addr);
        }
    }
    addrs
}

const LINK_LOCAL: u8 = 4;
const LOOPBACK: u8 = 5;
const VIRTUAL: u8 = 8;

fn rank(ip: IpAddr) -> Option<u8> {
    match ip {
        IpAddr::V4(ip) if ip.is_link_local() || ip.is_unspecified() => None,
        IpAddr::V4(ip) if ip.is_loopback() => Some(LOOPBACK),
        IpAddr::V4(ip) if ip.is_private() => Some(0),
        IpAddr::V4(_) => Some(1),
        IpAddr::V6(ip) if ip.is_unspecified() => None,
        IpAddr::V6(ip) if ip.is_unicast_link_local() => Some(LINK_LOCAL),
        IpAddr::V6(ip) if ip.is_loopback() => Some(LOOPBACK),
        IpAddr::V6(ip) if ip.is_unique_local() => Some(3),
        IpAddr::V6(_) => Some(2),
    }
}

/// Whether an interface leads to virtual machines and containers of this computer.
fn is_virtual(name: &str) -> bool {
    [
        "docker", "br-", "veth", "virbr", "vmnet", "vboxnet", "lxc", "cni", "podman",
    ]
    .iter()
    .any(|start| name.starts_with(start))
}

/// What is known about the way to `remote`.
pub(super) fn way_to(remote: SocketAddr) -> Way {
    if is_route(remote) {
        return Way::Network(ROUTED_PAYLOAD);
    }
    let ip = remote.ip().to_canonical();
    // Asked again for every connection: interfaces come and go.
    let interfaces = interfaces();
    let own = interfaces.iter().any(|interface| interface.ip() == ip);
    if ip.is_loopback() || own {
        let loopback = interfaces.iter().find(|interface| interface.is_loopback());
        return match loopback.and_then(|interface| payload(&interface.name, ip)) {
            Some(payload) if payload >= LOCAL_PAYLOAD => Way::Local,
            Some(payload) => Way::Network(payload),
            None => Way::Network(ETHERNET_PAYLOAD),
        };
    }
    let source = source_towards(remote);
    let through = interfaces
        .iter()
        .find(|interface| Some(interface.ip()) == source);
    let payload = through.and_then(|interface| payload(&interface.name, ip));
    Way::Network(payload.unwrap_or(ETHERNET_PAYLOAD))
}

/// An address of this computer, and the network that it is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LocalNet {
    pub(super) ip: IpAddr,
    /// Bits that the addresses of the network have in common.
    pub(super) prefix: u8,
    /// The interface's number, 0 if the system does not tell.
    pub(super) index: u32,
}

impl LocalNet {
    /// Whether an address, not written as one of another family, is in it.
    pub(super) fn has(&self, ip: IpAddr) -> bool {
        match (self.ip, ip) {
            (IpAddr::V4(own), IpAddr::V4(ip)) => {
                let differ = u32::from(own) ^ u32::from(ip);
                differ.leading_zeros() >= u32::from(self.prefix)
            }
            (IpAddr::V6(own), IpAddr::V6(ip)) => {
                let differ = u128::from(own) ^ u128::from(ip);
                differ.leading_zeros() >= u32::from(self.prefix)
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

/// The networks that this computer is in now; those of virtual machines last.
pub(super) fn local_nets() -> Vec<LocalNet> {
    let mut interfaces = interfaces();
    interfaces.sort_by_key(|interface| is_virtual(&interface.name));
    let nets = interfaces.iter().map(|interface| LocalNet {
        ip: interface.ip(),
        prefix: match &interface.addr {
            IfAddr::V4(addr) => addr.prefixlen,
            IfAddr::V6(addr) => addr.prefixlen,
        },
        index: interface.index.unwrap_or(0),
    });
    nets.collect()
}

/// Our address on the interface that leads to `remote`. Connecting a UDP socket sends nothing.
pub(super) fn source_towards(remote: SocketAddr) -> Option<IpAddr> {
    let any: IpAddr = match remote {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = std::net::UdpSocket::bind((any, 0)).ok()?;
    socket.connect(remote).ok()?;
    Some(socket.local_addr().ok()?.ip().to_canonical())
}

/// The largest UDP payload to `remote` that fits the interface, where the system tells.
fn payload(name: &str, remote: IpAddr) -> Option<u16> {
    let headers = match remote {
        IpAddr::V4(_) => HEADERS_LEN_V4,
        IpAddr::V6(_) => HEADERS_LEN_V6,
    };
    let payload = mtu(name)?
        .checked_sub(headers)?
        .min(u32::from(UDP_PAYLOAD_MAX));
    // QUIC needs 1,200; discovery starts there.
    u16::try_from(payload)
        .ok()
        .filter(|payload| *payload >= 1200)
}

#[cfg(target_os = "linux")]
fn mtu(name: &str) -> Option<u32> {
    if name.contains('/') || name.contains("..") {
        return None;
    }
    let text = std::fs::read_to_string(format!("/sys/class/net/{name}/mtu")).ok()?;
    text.trim().parse().ok()
}

#[cfg(not(target_os = "linux"))]
fn mtu(_name: &str) -> Option<u32> {
    None
}

/// Whether the address leads nowhere but into a local network, or to this computer.
pub fn is_local_network(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.is_private() || ip.is_link_local() || ip.is_loopback(),
        IpAddr::V6(ip) => ip.is_unique_local() || ip.is_unicast_link_local() || ip.is_loopback(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn candidates_from(bound: &str, found: &[(&str, bool)]) -> Vec<String> {
        let found = found
            .iter()
            .map(|(ip, is_virtual)| (ip.parse().unwrap(), *is_virtual));
        candidates_of(bound.parse().unwrap(), 9, found)
            .iter()
            .map(SocketAddr::to_string)
            .collect()
    }

    #[test]
    fn useful_addresses_come_first_and_local_ones_are_left_out() {
        let found = [
            ("127.0.0.1", false),
            ("::1", false),
            ("fe80::1", false),
            ("2001:db8::5", false),
            ("172.17.0.1", true),
            ("203.0.113.9", false),
            ("192.168.1.4", false),
            ("169.254.3.3", false),
        ];
        assert_eq!(
            candidates_from("::", &found),
            [
                "192.168.1.4:9",
                "203.0.113.9:9",
                "[2001:db8::5]:9",
                "172.17.0.1:9"
            ]
        );
        assert_eq!(
            candidates_from("0.0.0.0", &found),
            ["192.168.1.4:9", "203.0.113.9:9", "172.17.0.1:9"]
        );
        assert_eq!(candidates_from("10.1.1.1", &found), ["10.1.1.1:9"]);
        assert_eq!(candidates_from("::", &found[..3]), ["[fe80::1]:9"]);
        assert_eq!(candidates_from("0.0.0.0", &found[..3]), ["127.0.0.1:9"]);
        assert_eq!(
            candidates_from("::", &found[..2]),
            ["127.0.0.1:9", "[::1]:9"]
        );
    }

    #[test]
    fn what_stays_in_the_computer_is_recognised() {
        let loopback = way_to("127.0.0.1:1".parse().unwrap());
        assert_eq!(loopback, way_to("[::ffff:127.0.0.1]:1".parse().unwrap()));
        #[cfg(target_os = "linux")]
        assert_eq!(loopback, Way::Local);
        assert!(matches!(
            way_to("192.0.2.1:1".parse().unwrap()),
            Way::Network(payload) if payload >= 1200
        ));
    }
}
