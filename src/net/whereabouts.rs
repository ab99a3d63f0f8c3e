//! Where a peer can be found: each side tells the other on the connection stream, and tells it
//! again when it changes, so that both find each other after the way between them broke.

use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::sync::Arc;
use std::time::Duration;

use quinn::SendStream;
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::acceptor::Arrival;
use super::connection::PeerConnection;
use super::connector::{ConnectError, DIAL_ADDRS_MAX};
use super::frames::{self, FrameReader};
use super::interfaces::{is_local_network, is_own};
use super::link::Offence;
use super::pool::Shared;
use super::routes::is_route;
use crate::protocol::message::{ADDRS_TOLD_MAX, ConnectionMessage};

/// How often a peer is listened to: it may tell as often as it likes.
const LISTEN_EVERY: Duration = Duration::from_secs(1);

/// Tells and listens until the connection ends.
pub(super) async fn talk(
    shared: Arc<Shared>,
    arrivals: mpsc::Sender<Arrival>,
    connection: PeerConnection,
) {
    if let Some((send, recv)) = connection.take_stream() {
        tokio::join!(
            tell(&shared, &connection, send),
            listen(&shared, &arrivals, &connection, recv),
            note(&shared, &connection),
        );
    }
}

/// Keeps in mind where the peer sees us, as long as it is connected: behind a router, others may
/// reach us there. A stranger is not believed, for it could have anybody called; and what goes
/// through a relay says nothing about us.
async fn note(shared: &Arc<Shared>, connection: &PeerConnection) {
    let seen = connection.observed().filter(|addr| {
        let remote = connection.next_hop().ip();
        let is_real = is_for_everybody(addr.ip()) && is_plausible(*addr, remote);
        is_real && connection.route().is_none()
    });
    let Some(addr) = seen else { return };
    // In another network it is not true any more.
    let mut ours = shared.own_addrs();
    tokio::select! {
        () = connection.may_know_addrs() => {}
        _ = ours.changed() => return,
        _ = connection.closed() => return,
    }
    let _noted = shared.observed_on(connection.number(), connection.id(), addr);
    tokio::select! {
        _ = ours.changed() => {}
        _ = connection.closed() => {}
    }
}

/// Tells the peer where we are, once somebody has decided that it may know. A stranger that comes
/// through a relay is told what it would see without one: the addresses that are for everybody.
async fn tell(shared: &Shared, connection: &PeerConnection, mut send: SendStream) {
    let mut addrs = shared.addrs();
    let mut may_know_all = connection.relay().is_none();
    if may_know_all {
        connection.may_know_addrs().await;
    }
    loop {
        let mut now = addrs.borrow_and_update().clone();
        if !may_know_all {
            now.retain(|addr| is_for_everybody(addr.ip()));
        }
        now.truncate(ADDRS_TOLD_MAX);
        let message = ConnectionMessage::Addresses(now);
        let told = frames::send(&mut send, &message, connection).await;
        if told.is_err() {
            // Nobody listens (any more).
            return;
        }
        tokio::select! {
            changed = addrs.changed() => if changed.is_err() {
                return;
            },
            () = connection.may_know_addrs(), if !may_know_all => may_know_all = true,
        }
    }
}

async fn listen(
    shared: &Shared,
    arrivals: &mpsc::Sender<Arrival>,
    connection: &PeerConnection,
    mut recv: FrameReader,
) {
    loop {
        match recv.next(connection).await {
            Ok(Some(ConnectionMessage::Addresses(addrs))) => {
                if addrs.len() > ADDRS_TOLD_MAX {
                    connection.offend(Offence::TooManyAddrs);
                    return;
                }
                let remote = connection.next_hop().ip();
                let addrs: Vec<SocketAddr> = addrs
                    .into_iter()
                    .filter(|addr| is_plausible(*addr, remote))
                    .collect();
                shared.told(connection.id(), addrs.clone());
                let from = connection.clone();
                let news = Arrival::Addresses { from, addrs };
                if arrivals.send(news).await.is_err() {
                    return;
                }
            }
            Ok(Some(ConnectionMessage::Welcome { .. } | ConnectionMessage::Reveal { .. })) => {
                connection.offend(Offence::UnexpectedMessage);
                return;
            }
            Ok(None) => return,
            Err(error) => {
                connection.judged(error);
                return;
            }
        }
        sleep(LISTEN_EVERY).await;
    }
}

/// Whether an address says nothing about a network that is somebody's own: neither that of a home
/// nor that of a carrier (RFC 6598).
pub(super) fn is_for_everybody(ip: IpAddr) -> bool {
    let is_shared = match ip.to_canonical() {
        IpAddr::V4(ip) => matches!(ip.octets(), [100, 64..=127, ..]),
        IpAddr::V6(_) => false,
    };
    !is_shared && !is_local_network(ip)
}

/// Whether a computer that is seen at `remote`, or known there, can be at `addr`.
pub fn is_plausible(addr: SocketAddr, remote: IpAddr) -> bool {
    let ip = addr.ip().to_canonical();
    let is_broadcast = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
    let is_elsewhere = ip.is_unspecified() || ip.is_multicast() || is_broadcast;
    addr.port() != 0
        && !is_elsewhere
        && !is_route(addr)
        && (!ip.is_loopback() || remote.is_loopback())
}

impl Shared {
    /// What it means that our own key answered there.
    pub(super) fn itself(&self, at: Option<SocketAddr>) -> ConnectError {
        let ours = self.addrs();
        let bound = self.endpoint.local_addr().map(|bound| bound.port());
        let here = |at: SocketAddr| {
            let port = bound.as_ref().is_ok_and(|bound| *bound == at.port());
            is_here(at, is_own(at.ip()) && port, &ours.borrow())
        };
        // A relay does not say where it leads: then it is not known.
        match at.is_some_and(|at| !here(at)) {
            true => ConnectError::Twin,
            false => ConnectError::Ourselves,
        }
    }
}

/// Whether this program listens there: at an address of this computer, which is known already, or
/// at one that leads here from elsewhere. So does one of our router's, whatever the port is: who
/// knows what it does with what comes back to it.
fn is_here(at: SocketAddr, is_bound: bool, ours: &[SocketAddr]) -> bool {
    let same = |ours: &SocketAddr| ours.ip().to_canonical() == at.ip().to_canonical();
    is_bound || ours.contains(&at) || (!is_own(at.ip()) && ours.iter().any(same))
}

/// The addresses to dial, in order and each once: what is asked for with `told` behind its first,
/// which is where the peer was last. A link-local address without its interface, which is how
/// others tell it, is tried at each of `interfaces`.
pub(super) fn to_dial(
    asked: &[SocketAddr],
    told: &[SocketAddr],
    interfaces: &[u32],
) -> Vec<SocketAddr> {
    let (first, rest) = asked.split_at(asked.len().min(1));
    let mut addrs: Vec<SocketAddr> = Vec::new();
    for addr in first.iter().chain(told).chain(rest) {
        for addr in at_interfaces(*addr, interfaces) {
            if !is_route(addr) && addrs.len() < DIAL_ADDRS_MAX && !addrs.contains(&addr) {
                addrs.push(addr);
            }
        }
    }
    addrs
}

fn at_interfaces(addr: SocketAddr, interfaces: &[u32]) -> Vec<SocketAddr> {
    match addr {
        SocketAddr::V6(v6) if v6.ip().is_unicast_link_local() && v6.scope_id() == 0 => {
            let at = |scope: &u32| SocketAddrV6::new(*v6.ip(), v6.port(), 0, *scope).into();
            interfaces.iter().map(at).collect()
        }
        SocketAddr::V4(_) | SocketAddr::V6(_) => vec![addr],
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn addrs(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn what_a_peer_tells_cannot_be_a_place_where_no_computer_is() {
        let remote = "10.0.0.5".parse().unwrap();
        for (addr, good) in [
            ("10.0.0.6:3485", true),
            ("[2001:db8::1]:3485", true),
            ("[fe80::1]:3485", true),
            ("10.0.0.6:0", false),
            ("0.0.0.0:3485", false),
            ("255.255.255.255:3485", false),
            ("224.0.0.1:3485", false),
            ("[::ffff:224.0.0.1]:3485", false),
            ("[ff02::1]:3485", false),
            ("240.0.0.1:1", false),
            ("[::ffff:240.1.2.3]:1", false),
            ("127.0.0.1:3485", false),
            ("[::ffff:127.0.0.1]:3485", false),
        ] {
            assert_eq!(is_plausible(addr.parse().unwrap(), remote), good, "{addr}");
        }
        assert!(is_plausible(
            addrs(&["127.0.0.1:1"])[0],
            [127, 0, 0, 2].into()
        ));
    }

    #[test]
    fn an_address_that_leads_back_here_is_no_other_computer() {
        let ours = addrs(&["10.0.0.1:3485", "203.0.113.7:40000"]);
        for (at, is_bound, here) in [
            ("127.0.0.1:3485", true, true),
            ("10.0.0.1:3485", false, true),
            ("203.0.113.7:40000", false, true),
            ("203.0.113.7:50000", false, true),
            ("10.0.0.2:3485", false, false),
            ("127.0.0.1:1", false, false),
        ] {
            assert_eq!(is_here(at.parse().unwrap(), is_bound, &ours), here, "{at}");
        }
    }

    #[test]
    fn strangers_are_told_of_no_network_of_somebody() {
        for (ip, told) in [
            ("203.0.113.7", true),
            ("2001:db8::1", true),
            ("192.168.1.7", false),
            ("100.64.0.1", false),
            ("100.127.255.1", false),
            ("100.128.0.1", true),
            ("fd00::1", false),
        ] {
            assert_eq!(is_for_everybody(ip.parse().unwrap()), told, "{ip}");
        }
    }

    #[test]
    fn where_the_peer_was_last_comes_first_and_then_where_it_says_that_it_is() {
        let asked = addrs(&["10.0.0.1:1", "10.0.0.2:1"]);
        let told = addrs(&["10.0.0.3:1", "10.0.0.1:1"]);
        let dialled = to_dial(&asked, &told, &[]);
        assert_eq!(dialled, addrs(&["10.0.0.1:1", "10.0.0.3:1", "10.0.0.2:1"]));
        assert_eq!(to_dial(&[], &told, &[]), told);
        let many: Vec<SocketAddr> = (1..100).map(|n| ([10, 0, 0, n], 1).into()).collect();
        assert_eq!(to_dial(&many, &many, &[]).len(), DIAL_ADDRS_MAX);
    }

    #[test]
    fn a_link_local_address_without_interface_is_tried_at_each() {
        let asked = addrs(&["[fe80::1]:1", "[fe80::2%7]:1"]);
        let dialled = to_dial(&asked, &[], &[2, 3]);
        let wanted = addrs(&["[fe80::1%2]:1", "[fe80::1%3]:1", "[fe80::2%7]:1"]);
        assert_eq!(dialled, wanted);
    }
}
