//! Codes, grades and words of findings: what was found, and what to do about it.

use super::{Finding, Grade};
use crate::fault::{Face, Fault};
use crate::net::link::PathKind;
use crate::net::relay::{RelayStanding, RelayState};
use crate::text::{Shown, count};

impl Finding {
    /// For scripts: it stays the same when the words change.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoNetwork => "no-network",
            Self::Network(_) => "network",
            Self::Listening(_) => "listening",
            Self::PortTaken { .. } => "port-taken",
            Self::NoTcpPort(_) => "no-tcp-port",
            Self::Quiet => "quiet",
            Self::Multicast => "multicast",
            Self::NoMulticast => "no-multicast",
            Self::Nearby(_) => "nearby",
            Self::NobodyNear => "nobody-near",
            Self::Missed { .. } => "not-reached",
            Self::RouterPort { .. } => "router-port",
            Self::NoRouterPort(_) => "no-router-port",
            Self::Dht => "dht",
            Self::DhtNothing => "dht-nothing",
            Self::DhtAway => "dht-away",
            Self::NoRelay { .. } => "no-relay",
            Self::Relay { standing, .. } => match standing.state {
                RelayState::Udp(_) => "relay",
                RelayState::Tcp => "udp-blocked",
                RelayState::Away => "relay-away",
            },
            Self::RouterOpen => "router-open",
            Self::RouterStrict => "router-strict",
            Self::PeerReached { path, .. } => match path.kind {
                PathKind::Relay => "peer-relayed",
                PathKind::Tcp => "peer-tcp",
                PathKind::Direct | PathKind::Memory | PathKind::LegacyPlain => "peer-reached",
            },
            Self::PeerNotReached(fault) => fault.slug(),
        }
    }

    /// Why a peer was not reached, if that is what it says.
    pub fn fault(&self) -> Option<&Fault> {
        if let Self::PeerNotReached(fault) = self {
            return Some(fault);
        }
        None
    }

    /// How good it is.
    pub fn grade(&self) -> Grade {
        match self {
            Self::Network(_)
            | Self::Listening(_)
            | Self::Multicast
            | Self::Nearby(_)
            | Self::RouterPort { .. }
            | Self::Dht
            | Self::NoRelay { needed: false }
            | Self::RouterOpen => Grade::Good,
            Self::PortTaken { .. }
            | Self::NoTcpPort(_)
            | Self::Quiet
            | Self::NoMulticast
            | Self::NobodyNear
            | Self::Missed { .. }
            | Self::NoRouterPort(_)
            | Self::DhtNothing
            | Self::DhtAway
            | Self::NoRelay { needed: true }
            | Self::RouterStrict => Grade::Hint,
            Self::NoNetwork | Self::PeerNotReached(_) => Grade::Bad,
            Self::Relay { standing, .. } => match standing.state {
                RelayState::Udp(_) => Grade::Good,
                RelayState::Tcp => Grade::Hint,
                RelayState::Away => Grade::Bad,
            },
            Self::PeerReached { path, .. } => match path.kind {
                PathKind::Relay | PathKind::Tcp => Grade::Hint,
                PathKind::Direct | PathKind::Memory | PathKind::LegacyPlain => Grade::Good,
            },
        }
    }

    /// What was found, in a sentence without its full stop.
    pub fn text(&self, face: Face) -> String {
        match self {
            Self::NoNetwork => "This computer is in no network".into(),
            Self::Network(ips) => {
                let ips: Vec<String> = ips.iter().map(ToString::to_string).collect();
                format!("In the network as {}", ips.join(", "))
            }
            Self::Listening(port) => format!("Listening at UDP port {port}"),
            Self::PortTaken { wanted, port } => {
                format!("UDP port {wanted} is used by another program; listening at {port}")
            }
            Self::NoTcpPort(port) => format!("TCP port {port} is used by another program"),
            Self::Quiet => "Looking for others in this network is switched off".into(),
            Self::Multicast => "Multicast works on this computer".into(),
            Self::NoMulticast => {
                "Multicast does not work on this computer: others are not found by themselves"
                    .into()
            }
            Self::Nearby(n) => {
                let others = count(u64::from(*n), "other computer", "other computers");
                format!("{others} heard in this network")
            }
            Self::NobodyNear => "No other PeerConnect is heard in this network".into(),
            Self::Missed { by, count, .. } => missed(by, *count),
            Self::RouterPort { addr, by } => {
                format!("The router leads its port {addr} to this computer (asked by {by})")
            }
            Self::NoRouterPort(_) => "The router leads no port to this computer".into(),
            Self::Dht => "Who has this computer's link finds it in the DHT of BitTorrent".into(),
            Self::DhtNothing => {
                "Nobody finds this computer in the DHT: it has no address that works from \
                 elsewhere"
                    .into()
            }
            Self::DhtAway => "The DHT of BitTorrent does not answer".into(),
            Self::NoRelay { needed: false } => "No relay is set up".into(),
            Self::NoRelay { needed: true } => {
                "No relay is set up: people in other networks can hardly reach this computer".into()
            }
            Self::Relay {
                standing,
                translated,
            } => relay(standing, *translated),
            Self::RouterOpen => {
                "The router keeps one port for everybody: direct ways can be opened".into()
            }
            Self::RouterStrict => {
                "The router uses another port for each contact: few direct ways can be opened"
                    .into()
            }
            Self::PeerReached { name, path } => {
                let name = Shown(name);
                let addr = path.addr.map(|addr| format!(" at {addr}"));
                match path.kind {
                    PathKind::Relay => format!("{name} is reached through a relay"),
                    PathKind::Tcp => {
                        let addr = addr.unwrap_or_default();
                        format!("{name} is reached over TCP{addr}: UDP is blocked on the way")
                    }
                    PathKind::Direct | PathKind::Memory | PathKind::LegacyPlain => {
                        format!("{name} is reached: direct{}", addr.unwrap_or_default())
                    }
                }
            }
            Self::PeerNotReached(fault) => fault.words(face).title,
        }
    }

    /// What to do about it; `None` if there is nothing to do.
    pub fn advice(&self, face: Face) -> Option<String> {
        let advice = match self {
            Self::Quiet => switch_on(face),
            Self::NoMulticast => without_multicast(face),
            Self::NoRelay { needed: true } => set_up_relay(face),
            Self::NoNetwork => "Connect it with a cable or Wi-Fi, and look again.".into(),
            Self::PortTaken { .. } => {
                "Others find the new port by themselves in this network; a rule in a firewall \
                 does not fit it."
                    .into()
            }
            Self::NoTcpPort(_) => {
                "Those whose network blocks UDP reach this computer through a relay only. To \
                 change that, end the other program and start this one again, or take another port."
                    .into()
            }
            Self::NobodyNear => {
                "Is it open on the other computer, and in the same network? Guest networks often \
                 keep computers apart. Its link works from anywhere it can be reached."
                    .into()
            }
            Self::Missed { port, .. } => format!(
                "A firewall on this computer may block UDP port {port}. Windows: allow \
                 PeerConnect for Private networks; Linux: sudo ufw allow {port}/udp."
            ),
            Self::NoRouterPort(port) => format!(
                "People elsewhere reach it through a relay, or once the router's settings allow \
                 programs to open ports (UPnP, PCP or NAT-PMP), or lead UDP port {port} here. \
                 While a VPN takes everything, the router is not asked."
            ),
            Self::DhtNothing => {
                "A relay helps, or a port of the router that leads here: what is said there then \
                 is how to get to them."
                    .into()
            }
            Self::DhtAway => {
                "Is there a way into the Internet, and is UDP let out? It is tried again.".into()
            }
            Self::Relay { standing, .. } => relay_advice(standing)?.into(),
            Self::RouterStrict => {
                "Transfers to people behind other routers go through the relay.".into()
            }
            Self::PeerReached { path, .. } if path.kind == PathKind::Relay => {
                "There is no direct way between the two routers; everything works, at the \
                 relay's speed."
                    .into()
            }
            Self::PeerReached { path, .. } if path.kind == PathKind::Tcp => {
                "Everything works, encrypted as ever and a little slower. If you can, let UDP out \
                 in the firewall."
                    .into()
            }
            Self::PeerNotReached(fault) => {
                let words = fault.words(face);
                let both = [words.detail, words.hint];
                let both: Vec<String> = both.into_iter().filter(|s| !s.is_empty()).collect();
                both.join(" ")
            }
            Self::Network(_)
            | Self::Listening(_)
            | Self::Multicast
            | Self::Nearby(_)
            | Self::RouterPort { .. }
            | Self::Dht
            | Self::NoRelay { needed: false }
            | Self::RouterOpen
            | Self::PeerReached { .. } => return None,
        };
        (!advice.is_empty()).then_some(advice)
    }
}

/// What is said in front of what each face has in its own way.
fn own_way(face: Face, before: &str, command_line: &str, window: &str) -> String {
    let rest = match face {
        Face::CommandLine => command_line,
        Face::Window => window,
    };
    format!("{before}{rest}")
}

fn switch_on(face: Face) -> String {
    own_way(
        face,
        "",
        "announce = \"all\" in the settings switches it on.",
        "\"Show this computer nearby\" in the settings switches it on.",
    )
}

fn without_multicast(face: Face) -> String {
    own_way(
        face,
        "A firewall or a missing route keeps it from being sent. Links and addresses work all the \
         same: ",
        "peerconnect id",
        "show the other person your link.",
    )
}

fn set_up_relay(face: Face) -> String {
    own_way(
        face,
        "Run `peerconnect relay` on a computer that both can reach, and ",
        "use its link: --relay LINK, or relays in the settings.",
        "paste its link into the settings, under \"Relays\".",
    )
}

fn missed(by: &[String], count: u32) -> String {
    let names: Vec<String> = by.iter().map(|name| Shown(name).to_string()).collect();
    let more = (count as usize).saturating_sub(names.len());
    let (who, say) = match (names.as_slice(), more) {
        ([one], 0) => (one.clone(), "says that it"),
        (_, 0) => (names.join(" and "), "say that they"),
        (_, more) => (
            format!("{} and {more} more", names.join(", ")),
            "say that they",
        ),
    };
    format!("{who} can see this computer but {say} cannot connect to it")
}

fn relay_advice(standing: &RelayStanding) -> Option<&'static str> {
    match standing.state {
        RelayState::Udp(_) => None,
        RelayState::Tcp => {
            Some("Everything goes through the relay. If you can, let UDP out in the firewall.")
        }
        RelayState::Away => {
            Some("Is it running, and are its UDP and TCP ports open? Is its link still the same?")
        }
    }
}

fn relay(standing: &RelayStanding, translated: bool) -> String {
    let id = standing.relay.id.short();
    match standing.state {
        RelayState::Away => format!("The relay {id} is not reached"),
        RelayState::Tcp => format!("The relay {id} is reached by TCP only: UDP is blocked"),
        RelayState::Udp(_) if !translated => {
            format!("The relay {id} is reached, without a router that translates")
        }
        RelayState::Udp(seen) => format!("The relay {id} is reached, as {seen}"),
    }
}
