//! How many strangers may knock at once: limits on handshakes and connections that come in.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Handshakes at once in all.
pub const HANDSHAKES_MAX: usize = 64;
/// Handshakes at once from one IPv4 address or IPv6 /64 network.
pub const HANDSHAKES_PER_ADDR_MAX: usize = 8;
/// Handshakes at once with callers that have not shown yet that they receive at their address;
/// more callers must show it first. Keeps us from being used to flood somebody else.
pub const UNVALIDATED_MAX: usize = 16;
/// Connections in all that came in: each may cost a megabyte before anybody agreed to anything.
pub const CONNECTIONS_MAX: usize = 256;
/// Connections from one IPv4 address or IPv6 /64 network: a family behind one router. Programs on
/// this computer may have all.
pub const CONNECTIONS_PER_ADDR_MAX: usize = 32;

/// Counts callers. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Admission {
    counts: Arc<Mutex<Counts>>,
    /// Connections in all, and from one network.
    most: (usize, usize),
}

impl Default for Admission {
    fn default() -> Self {
        Self::with(CONNECTIONS_MAX, CONNECTIONS_PER_ADDR_MAX)
    }
}

#[derive(Debug, Default)]
struct Counts {
    handshakes: usize,
    unvalidated: usize,
    connections: usize,
    by_addr: HashMap<IpAddr, AddrCounts>,
}

#[derive(Debug, Default)]
struct AddrCounts {
    handshakes: usize,
    connections: usize,
}

/// What to do with a caller.
#[derive(Debug)]
pub(super) enum Verdict {
    /// Go on; the guard counts it.
    Admit(Admitted),
    /// Let it show that it receives at its address.
    Validate,
    /// Too many.
    Refuse,
}

impl Admission {
    /// Lets in `all` connections at most, `per_addr` from one network.
    pub(super) fn with(all: usize, per_addr: usize) -> Self {
        Self {
            counts: Arc::default(),
            most: (all, per_addr),
        }
    }

    /// Decides about a caller from `ip`, `validated` if it showed that it receives there.
    pub(super) fn decide(&self, ip: IpAddr, validated: bool) -> Verdict {
        let key = network_of(ip);
        let mut counts = self.lock();
        let per_addr = counts.by_addr.get(&key);
        let (handshakes, connections) =
            per_addr.map_or((0, 0), |addr| (addr.handshakes, addr.connections));
        let (all, from_one) = self.most;
        let crowded = !key.is_loopback() && connections >= from_one;
        if counts.handshakes >= HANDSHAKES_MAX
            || handshakes >= HANDSHAKES_PER_ADDR_MAX
            || counts.connections >= all
            || crowded
        {
            return Verdict::Refuse;
        }
        if !validated && counts.unvalidated >= UNVALIDATED_MAX {
            return Verdict::Validate;
        }
        counts.handshakes += 1;
        counts.connections += 1;
        counts.unvalidated += usize::from(!validated);
        let addr = counts.by_addr.entry(key).or_default();
        addr.handshakes += 1;
        addr.connections += 1;
        Verdict::Admit(Admitted {
            admission: self.clone(),
            key,
            unvalidated: !validated,
            in_handshake: true,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One caller that is counted until this is dropped.
#[derive(Debug)]
pub(super) struct Admitted {
    admission: Admission,
    key: IpAddr,
    unvalidated: bool,
    in_handshake: bool,
}

impl Admitted {
    /// The caller has shown that it receives at its address.
    pub(super) fn validated(&mut self) {
        if std::mem::take(&mut self.unvalidated) {
            self.admission.lock().unvalidated -= 1;
        }
    }

    /// The handshake is over; from now on it counts as a connection only.
    pub(super) fn connected(&mut self) {
        self.validated();
        if std::mem::take(&mut self.in_handshake) {
            let mut counts = self.admission.lock();
            counts.handshakes -= 1;
            if let Some(addr) = counts.by_addr.get_mut(&self.key) {
                addr.handshakes -= 1;
            }
        }
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.connected();
        let mut counts = self.admission.lock();
        counts.connections -= 1;
        if let Some(addr) = counts.by_addr.get_mut(&self.key) {
            addr.connections -= 1;
            if addr.connections == 0 {
                counts.by_addr.remove(&self.key);
            }
        }
    }
}

/// What counts as one address: whoever has IPv6 has 2^64 of them.
pub(super) fn network_of(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.into(),
        IpAddr::V6(ip) if ip.is_loopback() => ip.into(),
        IpAddr::V6(ip) => IpAddr::from((u128::from(ip) >> 64 << 64).to_be_bytes()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn admit(admission: &Admission, ip: &str, validated: bool) -> Option<Admitted> {
        match admission.decide(ip.parse().unwrap(), validated) {
            Verdict::Admit(admitted) => Some(admitted),
            Verdict::Validate | Verdict::Refuse => None,
        }
    }

    #[test]
    fn one_network_gets_eight_handshakes_and_others_are_not_affected() {
        let admission = Admission::default();
        let admitted: Vec<_> = (0..HANDSHAKES_PER_ADDR_MAX)
            .map(|i| admit(&admission, &format!("2001:db8::{i}"), true).unwrap())
            .collect();
        assert!(matches!(
            admission.decide("2001:db8::99".parse().unwrap(), true),
            Verdict::Refuse
        ));
        assert!(admit(&admission, "2001:db8:0:1::1", true).is_some());
        assert!(admit(&admission, "10.0.0.1", true).is_some());
        drop(admitted);
        assert!(admit(&admission, "2001:db8::99", true).is_some());
    }

    #[test]
    fn callers_must_show_their_address_when_many_have_not() {
        let admission = Admission::default();
        let mut admitted: Vec<_> = (0..UNVALIDATED_MAX)
            .map(|i| admit(&admission, &format!("10.0.0.{i}"), false).unwrap())
            .collect();
        let next = "10.1.0.1".parse().unwrap();
        assert!(matches!(admission.decide(next, false), Verdict::Validate));
        assert!(matches!(admission.decide(next, true), Verdict::Admit(_)));
        admitted[0].validated();
        assert!(matches!(admission.decide(next, false), Verdict::Admit(_)));
    }

    #[test]
    fn handshakes_and_connections_are_limited_in_all_and_counted_back() {
        let admission = Admission::default();
        let ip = |i: usize| format!("10.0.{}.{}", i / 200, i % 200);
        let mut admitted = Vec::new();
        for i in 0..HANDSHAKES_MAX {
            admitted.push(admit(&admission, &ip(i), true).unwrap());
        }
        assert!(admit(&admission, "10.9.9.9", true).is_none());
        for i in HANDSHAKES_MAX..CONNECTIONS_MAX {
            admitted.iter_mut().for_each(Admitted::connected);
            admitted.push(admit(&admission, &ip(i), true).unwrap());
        }
        admitted.iter_mut().for_each(Admitted::connected);
        assert!(admit(&admission, "10.9.9.9", true).is_none());
        drop(admitted);
        let counts = admission.lock();
        assert_eq!(
            (counts.handshakes, counts.unvalidated, counts.connections),
            (0, 0, 0)
        );
        assert!(counts.by_addr.is_empty());
    }

    #[test]
    fn a_family_may_connect_but_not_fill_the_house() {
        let admission = Admission::default();
        let fill = |ip: &str| {
            let mut admitted = Vec::new();
            while let Some(mut one) = admit(&admission, ip, true) {
                one.connected();
                admitted.push(one);
            }
            admitted
        };
        assert_eq!(fill("10.0.0.1").len(), CONNECTIONS_PER_ADDR_MAX);
        assert_eq!(fill("::ffff:127.0.0.1").len(), CONNECTIONS_MAX);
    }
}
