//! What is found in networks of many kinds.

use super::*;
use crate::fault::Face;
use crate::node::core::first_picture;
use crate::peer::PeerId;
use crate::protocol::link_uri::RelayHint;

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

fn found(addrs: &[&str], relays: &[RelayState], multicast: Option<bool>) -> Vec<Finding> {
    let settings = crate::config::Settings::default();
    let me = PeerId::from_bytes([7; 32]);
    let mut picture = first_picture(me, &settings, Presence::Announce);
    picture.me.addrs = addrs.iter().map(ToString::to_string).collect();
    let relays = relays.iter().enumerate();
    picture.me.relays = relays.map(|(n, state)| standing(n as u8, *state)).collect();
    findings(&Facts {
        picture: &picture,
        wanted: 3485,
        multicast,
    })
}

fn codes(addrs: &[&str], relays: &[RelayState], works: bool) -> Vec<(&'static str, Grade)> {
    let found = found(addrs, relays, Some(works));
    found.iter().map(|f| (f.code(), f.grade())).collect()
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
fn a_tcp_port_that_somebody_else_has_is_told() {
    let settings = crate::config::Settings::default();
    let me = PeerId::from_bytes([7; 32]);
    let mut picture = first_picture(me, &settings, Presence::Announce);
    picture.me.addrs = vec!["192.168.1.7:3485".into()];
    for takes_tcp in [true, false] {
        picture.me.takes_tcp = takes_tcp;
        let found = findings(&Facts {
            picture: &picture,
            wanted: 3485,
            multicast: None,
        });
        assert_eq!(found.contains(&Finding::NoTcpPort(3485)), !takes_tcp);
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

#[test]
fn who_says_that_it_does_not_reach_us_is_named_and_however_many_say_so_it_is_one_line() {
    let settings = crate::config::Settings::default();
    let mut picture = first_picture(PeerId::from_bytes([7; 32]), &settings, Presence::Announce);
    picture.me.addrs = vec!["192.168.1.7:3485".into()];
    let near = |n: u8, misses_us| crate::node::api::Nearby {
        who: crate::node::api::Who::Key(PeerId::from_bytes([n; 32])),
        name: format!("Kitchen {n}"),
        trusted: false,
        known: false,
        connected: false,
        last_seen: 0,
        misses_us,
        addrs: Vec::new(),
    };
    let mut say = |all: Vec<crate::node::api::Nearby>| {
        picture.nearby = all.into();
        missed(&picture).map(|finding| finding.text(Face::Window))
    };
    assert_eq!(say(vec![near(1, false)]), None);
    assert_eq!(
        say(vec![near(1, false), near(2, true)]).unwrap(),
        "Kitchen 2 can see this computer but says that it cannot connect to it"
    );
    let flood = say((0..200).map(|n| near(n, true)).collect()).unwrap();
    assert!(
        flood.starts_with("Kitchen 0, Kitchen 1 and 198 more can see"),
        "{flood}"
    );
}

#[test]
fn what_was_not_looked_at_is_not_said() {
    let home = &["192.168.1.7:3485"][..];
    let all = found(home, &[], None);
    assert!(!all.iter().any(|one| one.code().contains("multicast")));
}

#[test]
fn every_finding_says_what_to_do_unless_it_is_good_and_survives_the_control_socket() {
    let home = "192.168.1.7:3485";
    let away = [RelayState::Away, RelayState::Tcp];
    let reached = |kind| Finding::PeerReached {
        name: "evil\u{202e}name".into(),
        path: PathInfo {
            kind,
            addr: Some(home.parse().unwrap()),
            rtt: None,
        },
    };
    let peer = String::from("anna");
    let mut all = found(&["127.0.0.1:4"], &away, Some(false));
    all.extend(found(&[home], &[], Some(true)));
    let ways = [PathKind::Direct, PathKind::Tcp, PathKind::Relay];
    all.extend(ways.map(reached));
    all.push(Finding::Missed {
        by: vec!["Kitchen\u{202e}".into()],
        count: 1,
        port: 3485,
    });
    all.extend([Finding::Quiet, Finding::Nearby(1), Finding::RouterOpen]);
    all.extend([
        Finding::RouterStrict,
        Finding::PeerNotReached(Fault::PeerOffline { peer }),
    ]);
    for finding in &all {
        for face in [Face::CommandLine, Face::Window] {
            let (text, advice) = (finding.text(face), finding.advice(face));
            assert!(
                !text.is_empty() && !text.contains('\u{202e}'),
                "{finding:?}"
            );
            assert_eq!(
                advice.is_some(),
                finding.grade() != Grade::Good,
                "{finding:?}"
            );
        }
    }
    let text = serde_json::to_string(&all).unwrap();
    assert_eq!(serde_json::from_str::<Vec<Finding>>(&text).unwrap(), all);
}

#[tokio::test(start_paused = true)]
async fn why_nobody_is_heard_is_looked_at_once_and_again_only_where_it_does_not_work() {
    let settings = crate::config::Settings::default();
    let me = PeerId::from_bytes([7; 32]);
    let mut picture = first_picture(me, &settings, Presence::Announce);
    // An address of nobody: there is no multicast there, or that of the system.
    picture.me.addrs = vec!["192.0.2.77:3485".into()];
    let mut multicast = Multicast::default();
    assert!(multicast.look_if_due(&picture).is_some());
    tell_news(&multicast.tell, Some(true));
    tokio::time::advance(LOOK_AGAIN).await;
    assert!(multicast.look_if_due(&picture).is_none(), "it is known");
    picture.me.addrs = vec!["192.0.2.78:3485".into()];
    assert!(multicast.look_if_due(&picture).is_some(), "another network");
    tell_news(&multicast.tell, Some(false));
    assert!(multicast.look_if_due(&picture).is_none(), "just done");
    tokio::time::advance(LOOK_AGAIN).await;
    assert!(multicast.look_if_due(&picture).is_some(), "perhaps mended");
    let six = "[fe80::1]:3485".to_owned();
    for addrs in [vec!["127.0.0.1:1".to_owned()], vec![], vec![six]] {
        picture.me.addrs = addrs;
        assert!(multicast.look_if_due(&picture).is_none(), "no network");
    }
}

#[test]
fn a_port_at_the_router_is_told_where_it_matters() {
    let settings = crate::config::Settings::default();
    let me = PeerId::from_bytes([7; 32]);
    let told = |addrs: &[&str], stands: RouterPort| {
        let mut picture = first_picture(me, &settings, Presence::Announce);
        picture.me.addrs = addrs.iter().map(ToString::to_string).collect();
        picture.me.router_port = stands;
        findings(&Facts {
            picture: &picture,
            wanted: 3485,
            multicast: None,
        })
    };
    let (home, outside) = ("192.168.1.7:3485", "198.51.100.1:40001");
    let (addr, by) = (outside.parse().unwrap(), RouterProtocol::Upnp);
    let open = RouterPort::Open { addr, by };
    let found = told(&[home, outside], open);
    assert_eq!(found[0], Finding::Network(vec![[192, 168, 1, 7].into()]));
    let known = Finding::RouterPort { addr, by };
    assert!(found.contains(&known));
    let title = "The router leads its port 198.51.100.1:40001 to this computer (asked by UPnP)";
    assert_eq!(known.text(Face::CommandLine), title);
    assert!(found.contains(&Finding::NoRelay { needed: false }));
    let missing = Finding::NoRouterPort(3485);
    assert!(told(&[home], RouterPort::None).contains(&missing));
    assert!(!told(&["203.0.113.5:3485"], RouterPort::None).contains(&missing));
    for unknown in [RouterPort::Off, RouterPort::Asking] {
        let codes: Vec<_> = told(&[home], unknown).iter().map(Finding::code).collect();
        assert!(!codes.iter().any(|code| code.ends_with("router-port")));
    }
}
