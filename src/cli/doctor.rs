//! `doctor`: what works in this network, and what to do about the rest.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use peerconnect::config::Announce;
use peerconnect::fault::{Face, Fault};
use peerconnect::net::is_local_network;
use peerconnect::net::link::PathKind;
use peerconnect::net::relay::{RelayStanding, RelayState};
use peerconnect::node::api::{Command, Overview, Presence, Reply, Target};
use peerconnect::text::{Shown, count};
use serde_json::json;

use super::Context;
use super::args::RelayArgs;
use super::exit::Exit;
use super::instance::{Instance, Purpose, reach};
use super::json::path_words;

/// How long others in the network, and relays, are waited for.
const LISTEN_FOR: Duration = Duration::from_secs(3);
/// How long the own multicast may take to come back.
const ECHO_WITHIN: Duration = Duration::from_millis(500);
/// A group for local use (RFC 2365), so that nobody is bothered.
const GROUP: Ipv4Addr = Ipv4Addr::new(239, 255, 70, 67);

/// How good something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Grade {
    Good,
    /// It works, but not as well as it could.
    Hint,
    Bad,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Finding {
    /// For scripts.
    code: &'static str,
    grade: Grade,
    text: String,
    /// What to do about it.
    advice: Option<String>,
}

fn good(code: &'static str, text: String) -> Finding {
    let (grade, advice) = (Grade::Good, None);
    Finding {
        code,
        grade,
        text,
        advice,
    }
}

fn poor(code: &'static str, grade: Grade, text: String, advice: &str) -> Finding {
    Finding {
        code,
        grade,
        text,
        advice: Some(advice.to_owned()),
    }
}

/// What is known about the network.
#[derive(Debug)]
struct Facts<'a> {
    picture: &'a Overview,
    /// The port of the settings.
    port: u16,
    announce: Announce,
    /// Whether this computer hears its own multicast.
    echo: bool,
}

pub(crate) async fn run(
    peer: Option<String>,
    relays: &RelayArgs,
    context: &mut Context,
) -> Result<Exit, Fault> {
    let relays = context.use_relays(relays);
    let Context {
        global,
        paths,
        settings,
        ..
    } = context;
    // Relays and peers see the port that is used otherwise, too.
    let purpose = Purpose::Transfer(None);
    let instance = reach(global, paths, settings, purpose).await?;
    let told = super::tell_relays(&instance, relays).await;
    let looked = match told {
        Ok(()) => look(peer, &instance, context).await,
        Err(fault) => Err(fault),
    };
    instance.close().await;
    let (findings, fault) = looked?;
    report(&findings, context).await;
    let exit = match fault {
        Some(fault) => Exit::of(&fault),
        None if findings.iter().any(|one| one.grade == Grade::Bad) => Exit::NO_WAY,
        None => Exit::OK,
    };
    let out = &mut context.out;
    if out.is_json() {
        out.object("summary", json!({ "exit": exit.0 })).await;
    }
    Ok(exit)
}

async fn look(
    peer: Option<String>,
    instance: &Instance,
    context: &mut Context,
) -> Result<(Vec<Finding>, Option<Fault>), Fault> {
    context.out.say("Looking at the network for 3 seconds...");
    let echo = tokio::task::spawn_blocking(|| echoes().unwrap_or(false));
    tokio::select! {
        () = tokio::time::sleep(LISTEN_FOR) => {}
        signal = context.signals.next() => {
            return Ok((Vec::new(), signal_fault(signal)));
        }
    }
    let picture = instance.node.overview().borrow().clone();
    let facts = Facts {
        picture: &picture,
        port: context.settings.port,
        announce: context.settings.announce,
        echo: echo.await.unwrap_or(false),
    };
    let mut findings = findings(&facts);
    let mut fault = None;
    if let Some(peer) = peer {
        match call(&peer, instance).await {
            Ok(finding) => findings.push(finding),
            Err(error) => {
                let words = error.words(Face::CommandLine);
                findings.push(Finding {
                    code: error.slug(),
                    grade: Grade::Bad,
                    text: words.title,
                    advice: Some(words.hint).filter(|hint| !hint.is_empty()),
                });
                fault = Some(error);
            }
        }
    }
    Ok((findings, fault))
}

fn signal_fault(_: super::signals::Signal) -> Option<Fault> {
    Some(Fault::Cancelled)
}

/// Connects with a peer and says how that went.
async fn call(peer: &str, instance: &Instance) -> Result<Finding, Fault> {
    let target = Target::Text(peer.to_owned());
    let reply = instance.node.call(Command::AddPeer(target)).await?;
    let Reply::Peer(id) = reply else {
        return Err(super::send::unexpected(&reply));
    };
    let mut overview = instance.node.overview();
    let connected = overview.wait_for(|picture| {
        let mut peers = picture.peers.iter();
        peers.any(|info| info.id == id && info.path.is_some())
    });
    let picture = match tokio::time::timeout(LISTEN_FOR, connected).await {
        Ok(Ok(picture)) => picture.clone(),
        Ok(Err(_)) | Err(_) => {
            return Err(Fault::PeerOffline { peer: peer.into() });
        }
    };
    // Time to find a direct way.
    tokio::time::sleep(LISTEN_FOR).await;
    let picture = match instance.node.overview().has_changed() {
        Ok(true) => instance.node.overview().borrow().clone(),
        Ok(false) | Err(_) => picture,
    };
    let info = picture.peers.iter().find(|info| info.id == id);
    let path = info.and_then(|info| info.path.clone());
    let name = info.map_or_else(|| peer.to_owned(), |info| info.record.name().to_owned());
    let name = Shown(&name);
    Ok(match path {
        Some(path) if path.kind == PathKind::Relay => poor(
            "peer-relayed",
            Grade::Hint,
            format!("{name} is reached through a relay"),
            "There is no direct way between the two routers; everything works, at the relay's \
             speed.",
        ),
        Some(path) => {
            let addr = path
                .addr
                .map_or_else(String::new, |addr| format!(" at {addr}"));
            let way = path_words(path.kind);
            good("peer-reached", format!("{name} is reached: {way}{addr}"))
        }
        None => good("peer-reached", format!("{name} is reached")),
    })
}

/// Whether a multicast packet of ours comes back.
fn echoes() -> std::io::Result<bool> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.join_multicast_v4(&GROUP, &Ipv4Addr::UNSPECIFIED)?;
    socket.set_multicast_loop_v4(true)?;
    socket.set_multicast_ttl_v4(0)?;
    socket.set_read_timeout(Some(ECHO_WITHIN))?;
    let question = std::process::id().to_be_bytes();
    socket.send_to(&question, (GROUP, socket.local_addr()?.port()))?;
    let mut answer = [0; 16];
    loop {
        let (len, _) = socket.recv_from(&mut answer)?;
        if answer.get(..len) == Some(&question[..]) {
            return Ok(true);
        }
    }
}

fn findings(facts: &Facts<'_>) -> Vec<Finding> {
    let mut found = vec![network(facts), port(facts), multicast(facts)];
    found.extend(nearby(facts));
    found.extend(relays(facts));
    found
}

fn own_addrs(facts: &Facts<'_>) -> Vec<SocketAddr> {
    let addrs = facts.picture.me.addrs.iter();
    addrs.filter_map(|text| text.parse().ok()).collect()
}

fn network(facts: &Facts<'_>) -> Finding {
    let addrs = own_addrs(facts);
    let ips: Vec<String> = addrs.iter().map(|addr| addr.ip().to_string()).collect();
    match addrs.iter().all(|addr| addr.ip().is_loopback()) {
        true => poor(
            "no-network",
            Grade::Bad,
            "This computer is in no network".into(),
            "Connect it with a cable or Wi-Fi, and look again.",
        ),
        false => good("network", format!("In the network as {}", ips.join(", "))),
    }
}

fn port(facts: &Facts<'_>) -> Finding {
    let port = own_addrs(facts).first().map_or(0, SocketAddr::port);
    match facts.port == port || facts.port == 0 {
        true => good("listening", format!("Listening at UDP port {port}")),
        false => poor(
            "port-taken",
            Grade::Hint,
            format!(
                "UDP port {} is used by another program; listening at {port}",
                facts.port
            ),
            "Others find the new port by themselves in this network; a rule in a firewall does \
             not fit it.",
        ),
    }
}

fn multicast(facts: &Facts<'_>) -> Finding {
    if facts.announce == Announce::Never || facts.picture.presence == Presence::Off {
        return poor(
            "quiet",
            Grade::Hint,
            "Looking for others in this network is switched off".into(),
            "announce = \"all\" in the settings switches it on.",
        );
    }
    match facts.echo {
        true => good("multicast", "Multicast works on this computer".into()),
        false => poor(
            "no-multicast",
            Grade::Hint,
            "Multicast does not work on this computer: others are not found by themselves".into(),
            "A firewall or a missing route keeps it from being sent. Links and addresses work all \
             the same: peerconnect id",
        ),
    }
}

fn nearby(facts: &Facts<'_>) -> Option<Finding> {
    if facts.picture.presence == Presence::Off {
        return None;
    }
    let heard = facts.picture.nearby.len();
    Some(match heard {
        0 => poor(
            "nobody-near",
            Grade::Hint,
            "No other PeerConnect is heard in this network".into(),
            "Is it open on the other computer, and in the same network? Guest networks often keep \
             computers apart. Its link works from anywhere it can be reached.",
        ),
        n => {
            let others = count(n as u64, "other computer", "other computers");
            good("nearby", format!("{others} heard in this network"))
        }
    })
}

fn relays(facts: &Facts<'_>) -> Vec<Finding> {
    let relays = &facts.picture.me.relays;
    let own = own_addrs(facts);
    if relays.is_empty() {
        let is_public = |addr: &SocketAddr| !is_local_network(addr.ip());
        return vec![match own.iter().any(is_public) {
            true => good("no-relay", "No relay is set up".into()),
            false => poor(
                "no-relay",
                Grade::Hint,
                "No relay is set up: people in other networks can hardly reach this computer"
                    .into(),
                "Run `peerconnect relay` on a computer that both can reach, and use its link: \
                 --relay LINK, or relays in the settings.",
            ),
        }];
    }
    let mut found: Vec<Finding> = relays.iter().map(|one| relay(one, &own)).collect();
    found.extend(translation(relays, &own));
    found
}

fn relay(standing: &RelayStanding, own: &[SocketAddr]) -> Finding {
    let id = standing.relay.id.short();
    match standing.state {
        RelayState::Away => poor(
            "relay-away",
            Grade::Bad,
            format!("The relay {id} is not reached"),
            "Is it running, and are its UDP and TCP ports open? Is its link still the same?",
        ),
        RelayState::Tcp => poor(
            "udp-blocked",
            Grade::Hint,
            format!("The relay {id} is reached by TCP only: UDP is blocked"),
            "Everything goes through the relay. If you can, let UDP out in the firewall.",
        ),
        RelayState::Udp(seen) if own.iter().any(|addr| same_ip(*addr, seen)) => {
            let text = format!("The relay {id} is reached, without a router that translates");
            good("relay", text)
        }
        RelayState::Udp(seen) => good("relay", format!("The relay {id} is reached, as {seen}")),
    }
}

fn same_ip(a: SocketAddr, b: SocketAddr) -> bool {
    let canonical = |addr: SocketAddr| -> IpAddr { addr.ip().to_canonical() };
    canonical(a) == canonical(b)
}

/// What two relays see tells what kind of router there is.
fn translation(relays: &[RelayStanding], own: &[SocketAddr]) -> Option<Finding> {
    let seen = |standing: &RelayStanding| match standing.state {
        RelayState::Udp(addr) if addr.is_ipv4() => Some(addr),
        RelayState::Udp(_) | RelayState::Tcp | RelayState::Away => None,
    };
    let seen: Vec<SocketAddr> = relays.iter().filter_map(seen).collect();
    let (first, rest) = seen.split_first()?;
    if rest.is_empty() || own.iter().any(|addr| same_ip(*addr, *first)) {
        return None;
    }
    Some(match rest.iter().all(|addr| addr == first) {
        true => good(
            "router-open",
            "The router keeps one port for everybody: direct ways can be opened".into(),
        ),
        false => poor(
            "router-strict",
            Grade::Hint,
            "The router uses another port for each contact: few direct ways can be opened".into(),
            "Transfers to people behind other routers go through the relay.",
        ),
    })
}

async fn report(findings: &[Finding], context: &mut Context) {
    let out = &mut context.out;
    for finding in findings {
        let grade = match finding.grade {
            Grade::Good => "good",
            Grade::Hint => "hint",
            Grade::Bad => "bad",
        };
        if out.is_json() {
            let body = json!({
                "code": finding.code, "grade": grade,
                "text": finding.text, "advice": finding.advice,
            });
            out.object("finding", body).await;
            continue;
        }
        let mark = match finding.grade {
            Grade::Good => "ok   ",
            Grade::Hint => "hint ",
            Grade::Bad => "BAD  ",
        };
        out.line(&format!("{mark}{}", finding.text)).await;
        if let Some(advice) = &finding.advice {
            out.line(&format!("     {advice}")).await;
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use crate::cli::testing::overview;
    use peerconnect::peer::PeerId;
    use peerconnect::protocol::link_uri::RelayHint;

    fn standing(n: u8, state: RelayState) -> RelayStanding {
        RelayStanding {
            relay: RelayHint {
                id: PeerId::from_bytes([n; 32]),
                addrs: Vec::new(),
            },
            state,
        }
    }

    fn seen(text: &str) -> RelayState {
        RelayState::Udp(text.parse().unwrap())
    }

    fn codes(addrs: &[&str], relays: &[RelayState], echo: bool) -> Vec<(&'static str, Grade)> {
        let mut picture = overview(Vec::new());
        picture.me.addrs = addrs.iter().map(ToString::to_string).collect();
        let relays = relays.iter().enumerate();
        picture.me.relays = relays.map(|(n, state)| standing(n as u8, *state)).collect();
        let facts = Facts {
            picture: &picture,
            port: 3485,
            announce: Announce::All,
            echo,
        };
        findings(&facts).iter().map(|f| (f.code, f.grade)).collect()
    }

    #[test]
    fn each_cause_has_a_finding_of_its_own() {
        let home = "192.168.1.7:3485";
        for (addrs, relays, echo, code, grade) in [
            (home, &[][..], true, "network", Grade::Good),
            (home, &[], true, "listening", Grade::Good),
            (home, &[], true, "no-relay", Grade::Hint),
            ("203.0.113.5:3485", &[], true, "no-relay", Grade::Good),
            ("127.0.0.1:3485", &[], true, "no-network", Grade::Bad),
            ("192.168.1.7:40000", &[], true, "port-taken", Grade::Hint),
            (home, &[], false, "no-multicast", Grade::Hint),
            (home, &[RelayState::Away], true, "relay-away", Grade::Bad),
            (home, &[RelayState::Tcp], true, "udp-blocked", Grade::Hint),
            (
                home,
                &[seen("198.51.100.1:3485")],
                true,
                "relay",
                Grade::Good,
            ),
        ] {
            let found = codes(&[addrs], relays, echo);
            assert!(found.contains(&(code, grade)), "{code}: {found:?}");
        }
    }

    #[test]
    fn two_relays_tell_what_kind_of_router_there_is() {
        let home = &["192.168.1.7:3485"][..];
        let same = [seen("198.51.100.1:3485"), seen("198.51.100.1:3485")];
        let other = [seen("198.51.100.1:3485"), seen("198.51.100.1:40001")];
        assert!(codes(home, &same, true).contains(&("router-open", Grade::Good)));
        assert!(codes(home, &other, true).contains(&("router-strict", Grade::Hint)));
        let public = &["198.51.100.1:3485"][..];
        let found = codes(public, &other, true);
        assert!(!found.iter().any(|(code, _)| code.starts_with("router")));
    }
}
