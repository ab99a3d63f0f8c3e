//! A port at the router in front of this computer that leads here, so that people elsewhere reach
//! it without a relay: asked for by PCP (RFC 6887), or by NAT-PMP (RFC 6886) of routers that know
//! nothing newer.
//!
//! What the router says is a hint as every other address is: whoever dials proves who is there.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use crab_nat::{
    GATEWAY_PORT, InternetProtocol, PortMapping, PortMappingOptions, PortMappingType,
    TimeoutConfig, natpmp,
};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::interfaces::{is_local_network, source_towards};
use super::pool::Shared;
use super::whereabouts::{is_for_everybody, is_plausible};

/// How long the router is asked to keep the port, in seconds; it may keep it for less.
const LIFETIME: u32 = 7200;
/// Least time between two renewals.
const RENEW_MIN: Duration = Duration::from_secs(10);
/// How long it is before a router that did not help is asked again, in the same network.
const ASK_AGAIN: Duration = Duration::from_secs(15 * 60);
/// How long the router may take to give the port up.
const RELEASE_WAIT: Duration = Duration::from_secs(1);
/// A question is repeated after 0.25, 0.5 and 1 s.
const TIMES: TimeoutConfig = TimeoutConfig {
    initial_timeout: Duration::from_millis(250),
    max_retries: 3,
    max_retry_timeout: Some(Duration::from_secs(2)),
};

/// How it stands with a port at the router.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RouterPort {
    /// None is wanted.
    #[default]
    Off,
    /// The router is being asked.
    Asking,
    /// What comes to this address comes here.
    Open(SocketAddr),
    /// There is no router that could be asked, or it gave none.
    None,
}

impl RouterPort {
    /// Where the router takes packets for us.
    pub fn addr(self) -> Option<SocketAddr> {
        match self {
            Self::Open(addr) => Some(addr),
            Self::Off | Self::Asking | Self::None => None,
        }
    }
}

/// Whether a port at the router is wanted, and which one there is.
#[derive(Debug)]
pub(super) struct Mapping {
    wanted: watch::Sender<bool>,
    stands: watch::Sender<RouterPort>,
}

impl Default for Mapping {
    fn default() -> Self {
        Self {
            wanted: watch::Sender::new(false),
            stands: watch::Sender::new(RouterPort::Off),
        }
    }
}

impl Mapping {
    /// From now on one is wanted, or none.
    pub(super) fn want(&self, wanted: bool) {
        self.wanted.send_if_modified(|before| {
            let news = *before != wanted;
            *before = wanted;
            // Nobody shall believe meanwhile that the answer is known.
            if news && wanted {
                self.stands.send_replace(RouterPort::Asking);
            }
            news
        });
    }

    /// How it stands, now and whenever that changes.
    pub(super) fn stands(&self) -> watch::Receiver<RouterPort> {
        self.stands.subscribe()
    }

    /// Where the router takes packets for us.
    pub(super) fn at(&self) -> Option<SocketAddr> {
        self.stands.borrow().addr()
    }

    /// From now on it stands like this.
    pub(super) fn set(&self, stands: RouterPort) {
        self.stands.send_if_modified(|before| {
            let news = *before != stands;
            *before = stands;
            news
        });
    }

    /// Gives the port up, and waits until the router has heard of it, a second at most.
    pub(super) async fn release(&self) {
        self.want(false);
        let mut stands = self.stands();
        let gone = stands.wait_for(|stands| stands.addr().is_none());
        if timeout(RELEASE_WAIT, gone).await.is_err() {
            tracing::debug!("the router may keep the port for a while");
        }
    }
}

/// A port that the router has opened.
struct Opened {
    mapping: PortMapping,
    addr: SocketAddr,
}

/// Has a port open as long as one is wanted, wherever this computer is. `local` is where the
/// socket is bound.
pub(super) async fn keep(shared: Arc<Shared>, local: SocketAddr) {
    let mut wanted = shared.mapping.wanted.subscribe();
    let mut own = shared.own_addrs();
    loop {
        if !*wanted.borrow_and_update() {
            shared.mapped(RouterPort::Off);
            if wanted.changed().await.is_err() {
                return;
            }
            continue;
        }
        own.mark_unchanged();
        shared.mapped(RouterPort::Asking);
        let opened = tokio::select! {
            opened = open(local) => opened,
            // A port that is opened all the same is forgotten by the router in time.
            _ = wanted.changed() => continue,
        };
        match opened {
            Some(opened) => opened.last(&shared, &mut own, &mut wanted).await,
            None => {
                shared.mapped(RouterPort::None);
                tokio::select! {
                    () = sleep(ASK_AGAIN) => {}
                    _ = own.changed() => {}
                    _ = wanted.changed() => {}
                }
            }
        }
    }
}

impl Opened {
    /// Keeps it as long as it is wanted, and this computer is where it was.
    async fn last(
        mut self,
        shared: &Shared,
        own: &mut watch::Receiver<Vec<SocketAddr>>,
        wanted: &mut watch::Receiver<bool>,
    ) {
        tracing::info!(addr = %self.addr, "the router leads a port here");
        loop {
            shared.mapped(RouterPort::Open(self.addr));
            let goes_on = tokio::select! {
                renewed = self.renew_in_time() => renewed,
                _ = own.changed() => false,
                _ = wanted.changed() => false,
            };
            if !goes_on {
                break;
            }
        }
        // In another network there is nobody who hears it.
        let _ = timeout(RELEASE_WAIT, self.mapping.try_drop()).await;
        shared.mapped(RouterPort::Asking);
    }

    /// Waits until half of its time is over and renews it; whether it is there still.
    async fn renew_in_time(&mut self) -> bool {
        // It may have said anything.
        let lifetime = self.mapping.lifetime().min(LIFETIME);
        let half = Duration::from_secs(u64::from(lifetime / 2));
        sleep(half.max(RENEW_MIN)).await;
        let renewed = self.mapping.renew().await.is_ok();
        // The router may have been started anew, and have another port for us, or another address.
        let addr = match renewed {
            true => external(&self.mapping).await,
            false => None,
        };
        if let Some(addr) = addr {
            self.addr = addr;
        }
        addr.is_some()
    }
}

/// Asks the router for a port that leads to `local`. `None` if there is no router, if it does not
/// help, or if it is behind another one itself.
async fn open(local: SocketAddr) -> Option<Opened> {
    let gateway = gateway()?;
    let client = source_towards((gateway, GATEWAY_PORT).into())?;
    let is_ours = local.ip().is_unspecified() || local.ip().to_canonical() == client;
    if !is_ours || !is_local_network(client) || !is_local_network(gateway.into()) {
        return None;
    }
    let port = NonZeroU16::new(local.port())?;
    let options = PortMappingOptions {
        external_port: Some(port),
        lifetime_seconds: Some(LIFETIME),
        timeout_config: Some(TIMES),
    };
    let udp = InternetProtocol::Udp;
    let by_pcp = PortMapping::new(gateway.into(), client, udp, port, options).await;
    let mapping = match by_pcp {
        Ok(mapping) => mapping,
        // Some do not say that they know nothing newer: they say nothing.
        Err(error) => {
            tracing::debug!(%error, "no port by PCP");
            let by_nat_pmp = natpmp::port_mapping(gateway.into(), udp, port, options).await;
            by_nat_pmp
                .inspect_err(|error| tracing::debug!(%error, "no port by NAT-PMP"))
                .ok()?
        }
    };
    match external(&mapping).await {
        Some(addr) => Some(Opened { mapping, addr }),
        None => {
            let _ = timeout(RELEASE_WAIT, mapping.try_drop()).await;
            None
        }
    }
}

/// Where others find the port, if that is in the Internet.
async fn external(mapping: &PortMapping) -> Option<SocketAddr> {
    let ip: IpAddr = match mapping.mapping_type() {
        PortMappingType::NatPmp => {
            let asked = natpmp::external_address(mapping.gateway(), Some(TIMES)).await;
            asked.ok()?.into()
        }
        PortMappingType::Pcp { external_ip, .. } => external_ip.to_canonical(),
    };
    let addr = SocketAddr::new(ip, mapping.external_port().get());
    (is_for_everybody(ip) && is_plausible(addr, mapping.gateway().into())).then_some(addr)
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
