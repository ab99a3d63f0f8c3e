//! Asks the router for a port: by PCP (RFC 6887), or by NAT-PMP (RFC 6886) of routers that know
//! nothing newer.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU16;
use std::time::Duration;

use crab_nat::{
    GATEWAY_PORT, InternetProtocol, PortMapping, PortMappingOptions, PortMappingType,
    TimeoutConfig, natpmp, pcp,
};

use crate::net::interfaces::{is_local_network, source_towards};
use crate::net::time::Time;
use crate::net::whereabouts::{is_for_everybody, is_plausible};

/// How long the router is asked to keep the port, in seconds; it may keep it for less.
const LIFETIME: u32 = 7200;
/// Least time between two renewals.
const RENEW_MIN: Duration = Duration::from_secs(10);
/// Nobody's address in the Internet (RFC 5737): which way packets would go is asked, none is sent.
const ELSEWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1)), 9);
/// A question is repeated after 0.25, 0.5 and 1 s.
const TIMES: TimeoutConfig = TimeoutConfig {
    initial_timeout: Duration::from_millis(250),
    max_retries: 3,
    max_retry_timeout: Some(Duration::from_secs(2)),
};

/// Who is asked, and for whom. Where it is the same as before, what was opened is still there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) gateway: Ipv4Addr,
    client: IpAddr,
    port: NonZeroU16,
}

impl Place {
    /// Where this computer is now, with a socket at `local`. `None` where a port at the router
    /// would not lead to it, or be wrong to tell: behind no router, or in a tunnel that takes all
    /// packets for the Internet, so that the other end of it is where others see this computer.
    pub(super) fn now(local: SocketAddr) -> Option<Self> {
        let gateway = gateway()?;
        let client = source_towards((gateway, GATEWAY_PORT).into())?;
        let is_ours = local.ip().is_unspecified() || local.ip().to_canonical() == client;
        let is_behind = is_local_network(client) && is_local_network(gateway.into());
        let is_the_way = source_towards(ELSEWHERE) == Some(client);
        let port = NonZeroU16::new(local.port())?;
        (is_ours && is_behind && is_the_way).then_some(Self {
            gateway,
            client,
            port,
        })
    }

    /// Asks for a port: for this one at the router if that is possible.
    async fn ask(self, nonce: pcp::Nonce, outside: NonZeroU16) -> Option<PortMapping> {
        let options = PortMappingOptions {
            external_port: Some(outside),
            lifetime_seconds: Some(LIFETIME),
            timeout_config: Some(TIMES),
        };
        let (gateway, udp) = (self.gateway.into(), InternetProtocol::Udp);
        let request = pcp::BaseMapRequest::new(gateway, self.client, udp, self.port);
        let mapping = match pcp::port_mapping(request, Some(nonce), None, options).await {
            Ok(mapping) => mapping,
            // Some do not say that they know nothing newer: they say nothing.
            Err(error) => {
                tracing::debug!(%error, "no port by PCP");
                let by_nat_pmp = natpmp::port_mapping(gateway, udp, self.port, options).await;
                by_nat_pmp
                    .inspect_err(|error| tracing::debug!(%error, "no port by NAT-PMP"))
                    .ok()?
            }
        };
        // One that is over before it can be renewed is none.
        let lasts = u64::from(mapping.lifetime()) >= 2 * RENEW_MIN.as_secs();
        lasts.then_some(mapping)
    }
}

/// A port that the router has opened.
pub(super) struct Opened {
    pub(super) place: Place,
    /// Where others find it.
    pub(super) addr: SocketAddr,
    nonce: pcp::Nonce,
    mapping: PortMapping,
    /// When it is to be renewed.
    due: Time,
    /// When it is over.
    over: Time,
}

impl Opened {
    /// Asks the router for a port that leads here. `None` if it does not help, or is behind
    /// another one itself. To be finished: what it has opened then is closed again.
    pub(super) async fn ask(place: Place, nonce: pcp::Nonce) -> Option<Self> {
        let mapping = place.ask(nonce, place.port).await?;
        let Ok(Some(addr)) = external(&mapping).await else {
            give_up(mapping).await;
            return None;
        };
        let now = Time::after(Duration::ZERO);
        let mut opened = Self {
            place,
            addr,
            nonce,
            mapping,
            due: now,
            over: now,
        };
        opened.begin();
        Some(opened)
    }

    /// From now on it lasts as long as the router has said, which may be anything.
    fn begin(&mut self) {
        let lifetime = Duration::from_secs(self.mapping.lifetime().min(LIFETIME).into());
        self.over = Time::after(lifetime);
        self.due = Time::after((lifetime / 2).max(RENEW_MIN));
    }

    /// Waits until half of its time is over and renews it; whether it is there still. Cancel-safe:
    /// a renewal that was cancelled is begun anew.
    pub(super) async fn renew_in_time(&mut self) -> bool {
        self.due.reached().await;
        let outside = self.mapping.external_port();
        let Some(mapping) = self.place.ask(self.nonce, outside).await else {
            // It may be busy. What was opened holds for a while.
            self.due = Time::after((self.over.left() / 2).max(RENEW_MIN));
            return !self.over.is_past();
        };
        self.mapping = mapping;
        self.begin();
        // The router may have another port for us now, or another address.
        match external(&self.mapping).await {
            Ok(Some(addr)) => self.addr = addr,
            Ok(None) => return false,
            Err(_) => self.addr.set_port(self.mapping.external_port().get()),
        }
        true
    }

    /// Tells the router that the port is not needed any more.
    pub(super) async fn close(self) {
        give_up(self.mapping).await;
    }
}

async fn give_up(mapping: PortMapping) {
    if let Err((error, _)) = mapping.try_drop().await {
        tracing::debug!(%error, "the router may keep the port for a while");
    }
}

/// Where others find the port, if that is in the Internet.
async fn external(mapping: &PortMapping) -> Result<Option<SocketAddr>, natpmp::Failure> {
    let ip: IpAddr = match mapping.mapping_type() {
        PortMappingType::NatPmp => {
            let asked = natpmp::external_address(mapping.gateway(), Some(TIMES)).await;
            asked?.into()
        }
        PortMappingType::Pcp { external_ip, .. } => external_ip.to_canonical(),
    };
    let addr = SocketAddr::new(ip, mapping.external_port().get());
    let is_good = is_for_everybody(ip) && is_plausible(addr, mapping.gateway().into());
    Ok(is_good.then_some(addr))
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
