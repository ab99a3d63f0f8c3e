//! Asks the router for a port by PCP (RFC 6887), or by NAT-PMP (RFC 6886) if it knows nothing
//! newer.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;
use std::time::Duration;

use crab_nat::{
    InternetProtocol, PortMapping, PortMappingOptions, PortMappingType, TimeoutConfig, natpmp, pcp,
};

use super::RouterProtocol;
use super::place::Place;
use super::router::{LIFETIME, RENEW_MIN, Renewal};
use crate::net::whereabouts::{is_for_everybody, is_plausible};

/// A question is repeated after 0.25, 0.5 and 1 s, and given up after 2 s more. A router that says
/// nothing takes twice as long, once for each protocol.
const TIMES: TimeoutConfig = TimeoutConfig {
    initial_timeout: Duration::from_millis(250),
    max_retries: 3,
    max_retry_timeout: Some(Duration::from_secs(2)),
};

/// A port that the router has opened.
#[derive(Debug)]
pub(super) struct Granted {
    place: Place,
    nonce: pcp::Nonce,
    mapping: PortMapping,
    /// Where others find it.
    pub(super) addr: SocketAddr,
}

impl Granted {
    /// Asks the router for a port that leads here. `None` if it does not help, or is behind
    /// another one itself. To be finished: what it has opened then is closed again.
    pub(super) async fn ask(place: Place, nonce: pcp::Nonce) -> Option<Self> {
        let mapping = mapping(place, nonce, place.port).await?;
        let Ok(Some(addr)) = external(&mapping).await else {
            give_up(mapping).await;
            return None;
        };
        Some(Self {
            place,
            nonce,
            mapping,
            addr,
        })
    }

    /// By which of the two.
    pub(super) fn protocol(&self) -> RouterProtocol {
        match self.mapping.mapping_type() {
            PortMappingType::NatPmp => RouterProtocol::NatPmp,
            PortMappingType::Pcp { .. } => RouterProtocol::Pcp,
        }
    }

    /// For how long it is open, in seconds; it may be anything.
    pub(super) fn lifetime(&self) -> u32 {
        self.mapping.lifetime()
    }

    /// Has the router keep it open; it may be another port then. Cancel-safe: a renewal that was
    /// cancelled is begun anew.
    pub(super) async fn renew(&mut self) -> Renewal {
        let outside = self.mapping.external_port();
        let Some(mapping) = mapping(self.place, self.nonce, outside).await else {
            return Renewal::Silent;
        };
        self.mapping = mapping;
        // The router may have another port for us now, or another address.
        match external(&self.mapping).await {
            Ok(Some(addr)) => self.addr = addr,
            Ok(None) => return Renewal::Gone,
            Err(_) => self.addr.set_port(self.mapping.external_port().get()),
        }
        Renewal::Renewed
    }

    /// Tells the router that the port is not needed any more.
    pub(super) async fn close(self) {
        give_up(self.mapping).await;
    }
}

/// Asks for a port: for `outside` at the router if that is possible.
async fn mapping(place: Place, nonce: pcp::Nonce, outside: NonZeroU16) -> Option<PortMapping> {
    let options = PortMappingOptions {
        external_port: Some(outside),
        lifetime_seconds: Some(LIFETIME),
        timeout_config: Some(TIMES),
    };
    let (gateway, udp) = (place.gateway.into(), InternetProtocol::Udp);
    let request = pcp::BaseMapRequest::new(gateway, place.client.into(), udp, place.port);
    let mapping = match pcp::port_mapping(request, Some(nonce), None, options).await {
        Ok(mapping) => mapping,
        // Some do not say that they know nothing newer: they say nothing.
        Err(error) => {
            tracing::debug!(%error, "no port by PCP");
            let by_nat_pmp = natpmp::port_mapping(gateway, udp, place.port, options).await;
            by_nat_pmp
                .inspect_err(|error| tracing::debug!(%error, "no port by NAT-PMP"))
                .ok()?
        }
    };
    // One that is over before it can be renewed is none.
    let lasts = u64::from(mapping.lifetime()) >= 2 * RENEW_MIN.as_secs();
    lasts.then_some(mapping)
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
