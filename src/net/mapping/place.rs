//! Where this computer is: behind which router.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU16;

use crab_nat::GATEWAY_PORT;

use crate::net::interfaces::{is_local_network, source_towards};

/// Nobody's address in the Internet (RFC 5737): which way packets would go is asked, none is sent.
const ELSEWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1)), 9);

/// Who is asked, and for whom. Where it is the same as before, what was opened is still there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) gateway: Ipv4Addr,
    pub(super) client: Ipv4Addr,
    pub(super) port: NonZeroU16,
}

impl Place {
    /// Where this computer is now, with a socket at `local`. `None` where a port at the router
    /// would not lead to it, or be wrong to tell: behind no router, or in a tunnel that takes all
    /// packets for the Internet, so that the other end of it is where others see this computer.
    pub(super) fn now(local: SocketAddr) -> Option<Self> {
        let gateway = gateway()?;
        let client = source_towards((gateway, GATEWAY_PORT).into())?;
        let IpAddr::V4(at) = client else {
            return None;
        };
        let is_ours = local.ip().is_unspecified() || local.ip().to_canonical() == client;
        let is_behind = is_local_network(client) && is_local_network(gateway.into());
        let is_the_way = source_towards(ELSEWHERE) == Some(client);
        let port = NonZeroU16::new(local.port())?;
        (is_ours && is_behind && is_the_way).then_some(Self {
            gateway,
            client: at,
            port,
        })
    }
}

/// The router that packets for the Internet go to.
#[cfg(target_os = "linux")]
fn gateway() -> Option<Ipv4Addr> {
    gateway_in(&std::fs::read_to_string("/proc/net/route").ok()?)
}

/// Elsewhere the system is not asked.
#[cfg(not(target_os = "linux"))]
fn gateway() -> Option<Ipv4Addr> {
    None
}

/// The gateway of the best way to everywhere in a table as Linux prints it.
#[cfg(target_os = "linux")]
fn gateway_in(table: &str) -> Option<Ipv4Addr> {
    /// `RTF_UP` and `RTF_GATEWAY` of `linux/route.h`.
    const FLAGS: u32 = 0x3;
    let hex = |text: &str| u32::from_str_radix(text, 16).ok();
    let routes = table.lines().skip(1).filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [_, to, gateway, flags, _, _, metric, mask, ..] = fields.as_slice() else {
            return None;
        };
        let everywhere = hex(to)? == 0 && hex(mask)? == 0 && hex(flags)? & FLAGS == FLAGS;
        // As it lies in memory, which is the order of the network.
        let gateway = Ipv4Addr::from(hex(gateway)?.to_ne_bytes());
        let metric: u32 = metric.parse().ok()?;
        everywhere.then_some((metric, gateway))
    });
    routes.min().map(|(_, gateway)| gateway)
}

#[cfg(all(test, target_os = "linux", target_endian = "little"))]
mod tests {
    use super::*;

    #[test]
    fn the_router_is_the_gateway_of_the_best_way_to_everywhere() {
        let table = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\n\
                     eth0\t00000000\t0101A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n\
                     wlan0\t00000000\t0102A8C0\t0003\t0\t0\t50\t00000000\t0\t0\t0\n\
                     tun0\t00000000\t00000000\t0001\t0\t0\t0\t00000000\t0\t0\t0\n\
                     eth0\t0001A8C0\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0\n\
                     odd line\n";
        assert_eq!(gateway_in(table), Some(Ipv4Addr::new(192, 168, 2, 1)));
        assert_eq!(gateway_in(""), None);
        assert_eq!(gateway_in("Iface\n"), None);
    }
}
