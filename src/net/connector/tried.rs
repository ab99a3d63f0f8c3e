//! What is known of a peer that is reached in no way: what was tried, and whether it can be in a
//! network of ours.

use std::net::{IpAddr, SocketAddr};

use super::{Connector, Ways};
use crate::fault::{RouterTried, Tried};
use crate::net::interfaces::{LocalNet, is_local_network, local_nets};
use crate::net::mapping::RouterPort;

impl Connector {
    /// What was tried, with what is known of the network that we are in.
    pub fn tried(&self, ways: &Ways) -> Tried {
        let nets = local_nets();
        let ours = nets.iter().map(|net| net.ip);
        // An address of the kind that people know comes first.
        let ours = ours.filter(|ip| !ip.is_loopback());
        let ours = ours.min_by_key(|ip| ip.is_ipv6());
        let router = ours.filter(|ip| is_local_network(*ip)).and_then(|_| {
            match *self.shared.mapping.stands().borrow() {
                RouterPort::Open { .. } => Some(RouterTried::Open),
                RouterPort::None => Some(RouterTried::Shut),
                RouterPort::Off | RouterPort::Asking => None,
            }
        });
        Tried {
            ours,
            router,
            ..ways.tried()
        }
    }

    /// Whether none of these addresses is in a network that this computer is in.
    pub fn are_elsewhere(&self, addrs: &[SocketAddr]) -> bool {
        let nets = local_nets();
        !addrs.iter().any(|addr| is_near(addr.ip(), &nets))
    }
}

/// Whether an address is in one of these networks, or of this computer.
fn is_near(ip: IpAddr, nets: &[LocalNet]) -> bool {
    let ip = ip.to_canonical();
    let is_link_local = match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    ip.is_loopback() || is_link_local || nets.iter().any(|net| net.has(ip))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_near_if_one_of_our_networks_has_it() {
        let nets = [LocalNet {
            ip: IpAddr::from([192, 168, 1, 7]),
            prefix: 24,
            index: 2,
        }];
        for (addr, near) in [
            ("192.168.1.200", true),
            ("::ffff:192.168.1.200", true),
            ("192.168.2.200", false),
            ("203.0.113.5", false),
            ("127.0.0.1", true),
            ("169.254.3.4", true),
            ("fe80::1", true),
            ("2001:db8::1", false),
        ] {
            let ip: IpAddr = addr.parse().unwrap_or(IpAddr::from([0; 4]));
            assert_eq!(is_near(ip, &nets), near, "{addr}");
        }
    }
}
