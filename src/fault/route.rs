//! What was tried in vain to reach a peer, and the words for it.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{Face, Fault};
use crate::text::Shown;

/// What was tried to reach a peer, in vain. What is not known, or was not tried, is `None`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tried {
    /// Whether it was called at its addresses, and how.
    pub direct: Option<Direct>,
    /// What came of relays.
    pub relay: Option<RelayTried>,
    /// What our router says about a port that leads here.
    pub router: Option<RouterTried>,
    /// Our address in the network that we are in.
    pub ours: Option<IpAddr>,
}

/// How a peer was called at its addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direct {
    /// By UDP.
    Udp,
    /// By UDP and by TCP.
    UdpAndTcp,
}

/// What came of relays; of several, what came of the one that got furthest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RelayTried {
    /// Neither side has one, as far as is known here.
    NoneSetUp,
    /// No relay answered, or none helps.
    NotReached,
    /// A relay says that the peer does not listen there.
    Absent,
    /// A relay knows the peer, but nothing came back through it.
    Silent,
}

/// What our router says about a port that leads here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RouterTried {
    /// It gives none, or cannot be asked.
    Shut,
    /// It has opened one.
    Open,
}

impl Tried {
    /// Every way, with what came of it.
    fn ways(&self) -> Vec<&'static str> {
        let direct = self.direct.map(|direct| match direct {
            Direct::Udp => "direct (no answer)",
            Direct::UdpAndTcp => "direct (no answer by UDP or TCP)",
        });
        let router = self.router.map(|router| match router {
            RouterTried::Shut => "your router (opens no port)",
            RouterTried::Open => "your router (its port is open, but nobody came)",
        });
        let relay = self.relay.map(|relay| match relay {
            RelayTried::NoneSetUp => "relay (none set up)",
            RelayTried::NotReached => "relay (not reached)",
            RelayTried::Absent => "relay (it is not there)",
            RelayTried::Silent => "relay (no answer through it)",
        });
        [direct, router, relay].into_iter().flatten().collect()
    }
}

impl Fault {
    /// That there is no way, where nothing could be tried.
    pub fn no_route(peer: String) -> Self {
        let tried = Tried::default();
        Self::NoRoute { peer, tried }
    }
}

pub(super) fn no_route(peer: &str, tried: &Tried, face: Face) -> (String, String, String) {
    let ways = tried.ways();
    let detail = match ways.is_empty() {
        true => "You may be in different networks.".into(),
        false => {
            let ours = tried.ours.map(|ip| format!(" (yours: {ip})"));
            format!(
                "You are in different networks{}, or PeerConnect is not open there. Tried: {}.",
                ours.unwrap_or_default(),
                ways.join(", ")
            )
        }
    };
    let common = face.pick(
        "a common computer that both reach: --relay LINK".into(),
        "a relay that both reach, see Settings".into(),
    );
    (
        format!("No way found to {}.", Shown(peer)),
        detail,
        format!(
            "Works for sure: the same Wi-Fi, a phone hotspot, or {common}. Guest Wi-Fi often \
             forbids devices to see each other."
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_tried_is_said_to_have_been_tried() {
        let detail = |tried| no_route("anna", &tried, Face::Window).1;
        let mut tried = Tried::default();
        assert_eq!(detail(tried), "You may be in different networks.");
        tried.direct = Some(Direct::Udp);
        tried.relay = Some(RelayTried::NoneSetUp);
        tried.ours = Some(IpAddr::from([192, 168, 1, 7]));
        assert_eq!(
            detail(tried),
            "You are in different networks (yours: 192.168.1.7), or PeerConnect is not open \
             there. Tried: direct (no answer), relay (none set up)."
        );
        tried.router = Some(RouterTried::Shut);
        tried.relay = Some(RelayTried::NotReached);
        let all = detail(tried);
        let ways = "direct (no answer), your router (opens no port), relay (not reached).";
        assert!(all.ends_with(ways), "{all}");
    }
}
