//! Which networks this computer is in, and what that says about an address.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::net::interfaces::{LocalNet, local_nets, source_towards};

/// The networks of this computer at one moment.
#[derive(Debug, Clone)]
pub(in crate::net) struct Links {
    nets: Vec<LocalNet>,
    /// Our address on the way to others.
    route: fn(SocketAddr) -> Option<IpAddr>,
}

impl PartialEq for Links {
    fn eq(&self, other: &Self) -> bool {
        self.nets == other.nets
    }
}

impl Links {
    /// As the system tells now. Reads interfaces; sends nothing.
    pub(super) fn of_this_computer() -> Self {
        Self {
            nets: local_nets(),
            route: source_towards,
        }
    }

    /// These networks, and no way to any other.
    #[cfg(test)]
    pub(in crate::net) fn fixed(nets: Vec<LocalNet>) -> Self {
        let route = |_| None;
        Self { nets, route }
    }

    /// Where a question to everybody can go: one address of ours in each network. IPv6 has one
    /// group for each interface, which its link-local address stands for.
    pub(super) fn groups(&self) -> impl Iterator<Item = &LocalNet> {
        self.nets.iter().filter(|net| match net.ip {
            IpAddr::V4(ip) => !ip.is_loopback(),
            IpAddr::V6(ip) => ip.is_unicast_link_local(),
        })
    }

    /// Whether both addresses are in one network that this computer is in, too. Who is outside of
    /// it could name any address there, and have others find us at its door.
    pub(in crate::net) fn share(&self, one: IpAddr, other: IpAddr) -> bool {
        let mut nets = self.nets.iter();
        nets.any(|net| net.has(one) && net.has(other))
    }

    /// Whether `ip` is that of `from`, or of somebody in the same network. Whoever speaks with a
    /// link-local address, which nobody does from outside, is in all networks of that interface.
    pub(super) fn is_beside(&self, from: SocketAddr, ip: IpAddr) -> bool {
        ip == from.ip() || self.share(from.ip(), ip) || self.is_at_link(from, ip)
    }

    /// Whether `from` is link-local, and `ip` in a network at the same interface.
    fn is_at_link(&self, from: SocketAddr, ip: IpAddr) -> bool {
        let SocketAddr::V6(from) = from else {
            return false;
        };
        let mut nets = self.nets.iter();
        is_link_local(from.ip()) && nets.any(|net| net.index == from.scope_id() && net.has(ip))
    }

    /// Where somebody is who says that it is at `said`: there, if it was heard with a link-local
    /// address beside it. Originals lose the interface of those, and listen elsewhere only.
    pub(super) fn place(&self, from: SocketAddr, said: IpAddr) -> IpAddr {
        let is_elsewhere = matches!(said, IpAddr::V6(said) if !is_link_local(&said));
        match is_elsewhere && self.is_at_link(from, said) {
            true => said,
            false => from.ip(),
        }
    }

    /// Our address at the interface of a link-local one that means the same everywhere, if there is
    /// one: originals forget at which interface they heard the other.
    pub(super) fn wider(&self, net: &LocalNet) -> Option<IpAddr> {
        let wider = self
            .nets
            .iter()
            .filter_map(|other| match (net.ip, other.ip) {
                (IpAddr::V6(_), IpAddr::V6(ip)) if other.index == net.index => Some(ip),
                (IpAddr::V4(_) | IpAddr::V6(_), _) => None,
            });
        let wider = wider.filter(|ip| !is_link_local(ip));
        // First what is only for networks like this one.
        wider
            .min_by_key(|ip| !ip.is_unique_local())
            .map(IpAddr::from)
    }

    /// Our address as `remote` sees it, as far as that can be known.
    pub(super) fn source(&self, remote: SocketAddr) -> Option<IpAddr> {
        let ip = remote.ip();
        let scope = match remote {
            SocketAddr::V4(_) => 0,
            SocketAddr::V6(remote) => remote.scope_id(),
        };
        let near = self
            .nets
            .iter()
            .filter(|net| net.has(ip) && (scope == 0 || net.index == scope));
        match near.max_by_key(|net| net.prefix) {
            Some(net) => Some(net.ip),
            None => (self.route)(remote),
        }
    }
}

/// Whether a datagram can have come from here and an answer can go there: one computer, one port.
pub(super) fn is_one_peer(addr: SocketAddr) -> bool {
    let ip = addr.ip();
    let is_broadcast = ip == IpAddr::V4(Ipv4Addr::BROADCAST);
    addr.port() != 0 && !ip.is_unspecified() && !ip.is_multicast() && !is_broadcast
}

/// `ip` and `port` at the same interface as `near`: addresses in records have lost theirs.
pub(super) fn beside(near: SocketAddr, ip: IpAddr, port: u16) -> SocketAddr {
    let mut addr = SocketAddr::new(ip.to_canonical(), port);
    if let (SocketAddr::V6(addr), SocketAddr::V6(near)) = (&mut addr, near)
        && is_link_local(addr.ip())
    {
        addr.set_scope_id(near.scope_id());
    }
    addr
}

fn is_link_local(ip: &Ipv6Addr) -> bool {
    ip.is_unicast_link_local()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn links() -> Links {
        let net = |ip: &str, prefix, index| LocalNet {
            ip: ip.parse().unwrap(),
            prefix,
            index,
        };
        Links::fixed(vec![
            net("127.0.0.1", 8, 1),
            net("192.168.1.4", 24, 2),
            net("10.0.0.1", 8, 3),
            net("10.7.0.1", 16, 4),
            net("fe80::1", 64, 2),
            net("fe80::2", 64, 3),
            net("2001:db8::1", 64, 2),
        ])
    }

    #[test]
    fn our_address_is_the_one_in_the_nearest_network() {
        let source = |text: &str| {
            links()
                .source(text.parse().unwrap())
                .map(|ip| ip.to_string())
        };
        assert_eq!(source("192.168.1.9:1").unwrap(), "192.168.1.4");
        assert_eq!(source("10.9.0.9:1").unwrap(), "10.0.0.1");
        assert_eq!(source("10.7.0.9:1").unwrap(), "10.7.0.1");
        assert_eq!(source("[fe80::9%3]:1").unwrap(), "fe80::2");
        assert_eq!(source("[2001:db8::9]:1").unwrap(), "2001:db8::1");
        assert_eq!(source("203.0.113.1:1"), None);
    }

    #[test]
    fn addresses_share_a_network_only_if_we_are_in_it() {
        let share = |a: &str, b: &str| links().share(a.parse().unwrap(), b.parse().unwrap());
        assert!(share("192.168.1.9", "192.168.1.200"));
        assert!(!share("192.168.1.9", "192.168.2.1"));
        assert!(!share("203.0.113.1", "203.0.113.2"));
        assert!(
            !share("192.168.1.9", "127.0.0.1"),
            "nobody sends us to ourselves"
        );
        assert!(!share("192.168.1.9", "fe80::9"));
    }

    #[test]
    fn who_speaks_with_a_link_local_address_may_be_in_any_network_of_that_interface() {
        let links = links();
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let beside = |from: &str, at: &str| links.is_beside(from.parse().unwrap(), ip(at));
        assert!(beside("[fe80::9%2]:1", "2001:db8::9"));
        assert!(
            !beside("[fe80::9%3]:1", "2001:db8::9"),
            "at another interface"
        );
        assert!(
            !beside("[fe80::9%2]:1", "2001:db9::9"),
            "in no network of ours"
        );
        assert!(!beside("[2001:db9::9]:1", "2001:db8::9"), "from outside");
        assert!(beside("203.0.113.1:1", "203.0.113.1") && beside("10.9.0.1:1", "10.9.0.2"));
        let place = |from: &str, said: &str| links.place(from.parse().unwrap(), ip(said));
        assert_eq!(place("[fe80::9%2]:1", "2001:db8::9"), ip("2001:db8::9"));
        assert_eq!(place("[fe80::9%2]:1", "fe80::7"), ip("fe80::9"));
        assert_eq!(place("[fe80::9%3]:1", "2001:db8::9"), ip("fe80::9"));
        assert_eq!(place("192.168.1.9:1", "192.168.1.8"), ip("192.168.1.9"));
    }

    #[test]
    fn others_are_told_an_address_that_means_the_same_everywhere_too() {
        let mut links = links();
        let told = |links: &Links| -> Vec<String> {
            let wider = links.groups().filter_map(|net| links.wider(net));
            wider.map(|ip| ip.to_string()).collect()
        };
        assert_eq!(told(&links), ["2001:db8::1"]);
        let net = |ip: &str, index| LocalNet {
            ip: ip.parse().unwrap(),
            prefix: 64,
            index,
        };
        links.nets.extend([net("fd77::1", 2), net("fd78::1", 9)]);
        assert_eq!(told(&links), ["fd77::1"]);
    }

    #[test]
    fn groups_are_one_for_each_network() {
        let links = links();
        let groups: Vec<String> = links.groups().map(|net| net.ip.to_string()).collect();
        let expected = ["192.168.1.4", "10.0.0.1", "10.7.0.1", "fe80::1", "fe80::2"];
        assert_eq!(groups, expected);
    }

    #[test]
    fn link_local_addresses_keep_the_interface_they_came_by() {
        let near = "[fe80::9%3]:1".parse().unwrap();
        let addr = beside(near, "fe80::7".parse().unwrap(), 5);
        assert_eq!(addr.to_string(), "[fe80::7%3]:5");
        let addr = beside(near, "2001:db8::7".parse().unwrap(), 5);
        assert_eq!(addr.to_string(), "[2001:db8::7]:5");
    }
}
