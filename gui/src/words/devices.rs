//! Words for devices, and for the network where there are none.

use std::net::SocketAddr;
use std::path::Path;

use peerconnect::net::link::PathKind;
use peerconnect::node::api::{PeerInfo, Who};
use peerconnect::storage::store::Accept;
use peerconnect::text::Shown;

use super::ago;
use crate::model::Device;

/// What is known about a device, in a line below its name.
pub(crate) fn device_line(device: &Device<'_>, now: u64) -> String {
    if let Who::Original(_) = device.who {
        return "not encrypted (old version)".to_owned();
    }
    let trust = match device
        .known
        .map(|peer| (peer.record.accept, peer.record.trusted))
    {
        Some((Accept::Block, _)) => "its questions are not shown",
        Some((Accept::Always, true)) => "trusted\u{a0}✔, always accepted",
        Some((Accept::Ask, true)) => "trusted\u{a0}✔",
        Some((Accept::Ask | Accept::Always, false)) | None => "new",
    };
    let seen = match (device.known, device.near) {
        (Some(peer), _) if peer.connected => reached(peer).to_owned(),
        (_, Some(near)) if near.misses_us => "says it cannot connect".to_owned(),
        (_, Some(_)) => "here now".to_owned(),
        (Some(peer), None) => format!("seen {}", ago(now.saturating_sub(peer.record.last_seen))),
        (None, None) => return trust.to_owned(),
    };
    let own = device.known.and_then(|peer| peer.folder.as_deref());
    match own.and_then(Path::file_name) {
        Some(name) => format!("{seen} · {trust} · into {}", Shown(&name.to_string_lossy())),
        None => format!("{seen} · {trust}"),
    }
}

/// How a device is connected.
fn reached(peer: &PeerInfo) -> &'static str {
    match peer.path.as_ref().map(|path| path.kind) {
        Some(PathKind::Direct) => "direct",
        Some(PathKind::Tcp) => "direct, over TCP",
        Some(PathKind::Relay) => "through a relay",
        Some(PathKind::Memory | PathKind::LegacyPlain) | None => "connected",
    }
}

/// What is said when the three words of a device are not those that it shows.
pub(crate) fn differ(name: &str) -> String {
    format!(
        "{name} is blocked. Other words mean that another device has its name, or that somebody \
         stands between you: nothing of it is taken, and its questions are not shown."
    )
}

/// What tells two devices of one name apart.
pub(crate) fn apart(who: &Who) -> String {
    match who {
        Who::Key(id) => id.short(),
        Who::Original(id) => id.requests.ip().to_string(),
    }
}

/// What is known about our own end when nobody is heard: whether it is good, and what it is; at
/// last what to do.
pub(crate) fn facts(
    addrs: &[String],
    multicast: Option<bool>,
) -> (Vec<(bool, String)>, &'static str) {
    let addrs: Vec<SocketAddr> = addrs.iter().filter_map(|addr| addr.parse().ok()).collect();
    let outside = addrs.iter().find(|addr| !addr.ip().is_loopback());
    let network = match outside {
        Some(addr) => (true, format!("network up ({})", addr.ip())),
        None => (false, "no network".to_owned()),
    };
    let listening = match addrs.first() {
        Some(addr) => (true, format!("listening (UDP port {})", addr.port())),
        None => (false, "not listening".to_owned()),
    };
    let (heard, what_to_do) = match (outside, multicast) {
        (None, _) => (
            "no other PeerConnect heard",
            "Connect this computer with a cable or Wi-Fi.",
        ),
        (Some(_), Some(false)) => (
            "multicast does not work here",
            "A firewall on this computer may block it: devices are not found by themselves. Links \
             and addresses work all the same.",
        ),
        (Some(_), Some(true) | None) => (
            "no other PeerConnect heard",
            "Is PeerConnect open on the other computer? Both must be in the same network; guest \
             networks often keep devices apart.",
        ),
    };
    let facts = vec![network, listening, (false, heard.to_owned())];
    (facts, what_to_do)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_so_is_said_about_the_network() {
        let facts = |addrs: &[&str], multicast| {
            let addrs: Vec<String> = addrs.iter().map(|addr| addr.to_string()).collect();
            facts(&addrs, multicast)
        };
        let home = ["192.168.1.7:3485"];
        let (blocked, why) = facts(&home, Some(false));
        assert_eq!(blocked[2], (false, "multicast does not work here".into()));
        assert!(why.contains("firewall on this computer"), "{why}");
        for works in [Some(true), None] {
            let (facts, why) = facts(&home, works);
            assert_eq!(facts[2], (false, "no other PeerConnect heard".into()));
            assert!(why.contains("open on the other computer"), "{why}");
        }
        let (down, why) = facts(&["127.0.0.1:3485"], Some(false));
        assert!(why.contains("cable"), "{why}");
        let (up, _) = facts(&home, None);
        assert_eq!(up[0], (true, "network up (192.168.1.7)".into()));
        assert_eq!(up[1], (true, "listening (UDP port 3485)".into()));
        assert_eq!(down[0], (false, "no network".into()));
        assert_eq!(facts(&[], None).0[1], (false, "not listening".into()));
    }
}
