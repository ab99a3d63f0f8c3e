//! Why nobody is there: the panel where the list is empty, and the page that looks closer.

use std::sync::Arc;

use egui::{Key, Modifiers, Theme};
use peerconnect::fault::Fault;
use peerconnect::net::link::{PathInfo, PathKind};
use peerconnect::net::relay::{RelayStanding, RelayState};
use peerconnect::node::api::{Command, Finding, Overview, Reply, Target};
use peerconnect::peer::PeerId;
use peerconnect::protocol::link_uri::RelayHint;

use super::Stage;
use crate::samples;

fn overview(multicast: Option<bool>) -> Arc<Overview> {
    let mut overview = samples::overview(vec![], vec![]);
    Arc::make_mut(&mut overview).multicast = multicast;
    overview
}

/// A window in which nobody was heard for a while.
fn alone(multicast: Option<bool>, theme: Theme) -> Stage {
    let mut stage = Stage::sized(overview(multicast), [900.0, 620.0], theme);
    stage.wait(6);
    stage
}

pub(super) fn findings() -> Vec<Finding> {
    let relay = |n, state| Finding::Relay {
        standing: RelayStanding {
            relay: RelayHint {
                id: PeerId::from_bytes([n; 32]),
                addrs: Vec::new(),
            },
            state,
        },
        translated: true,
    };
    vec![
        Finding::Network(vec!["192.168.1.7".parse().unwrap()]),
        Finding::PortTaken {
            wanted: 3485,
            port: 51_022,
        },
        Finding::NoMulticast,
        Finding::NobodyNear,
        relay(5, RelayState::Udp("198.51.100.4:51022".parse().unwrap())),
        relay(6, RelayState::Away),
        Finding::PeerReached {
            name: "Living-room PC".into(),
            path: PathInfo {
                kind: PathKind::Relay,
                addr: None,
                rtt: None,
            },
        },
    ]
}

fn look(call: Option<&str>) -> Command {
    let call = call.map(|text| Target::Text(text.into()));
    Command::CheckNetwork { call }
}

#[test]
fn an_empty_list_says_what_is_known_and_leads_on() {
    let mut stage = alone(Some(true), Theme::Light);
    for fact in [
        "✔ network up (192.168.1.7)",
        "✔ listening (UDP port 3485)",
        "✖ no other PeerConnect heard",
    ] {
        assert!(stage.find(fact).is_some(), "{fact}");
    }
    assert!(stage.says("Is PeerConnect open on the other computer"));
    stage.click("Enter a link, address or code");
    stage.window.event(egui::Event::Text("10.0.0.9".into()));
    stage.run();
    assert_eq!(
        stage.field("Add a device").value().as_deref(),
        Some("10.0.0.9"),
        "the field has the keyboard"
    );
    stage.click("Show my link");
    assert!(stage.says("Scan this, or send the link"));
    stage.click("Close");
    stage.click("Check my network");
    assert_eq!(stage.command(), look(None));
}

#[test]
fn where_multicast_is_blocked_the_empty_list_says_that_instead() {
    let stage = alone(Some(false), Theme::Light);
    assert!(stage.find("✖ multicast does not work here").is_some());
    assert!(stage.says("A firewall on this computer may block it"));
    assert!(!stage.says("no other PeerConnect heard"));
}

#[test]
fn the_page_looks_by_itself_shows_each_fact_and_looks_again() {
    let mut stage = alone(None, Theme::Light);
    stage.click("Check my network");
    assert_eq!(stage.command(), look(None));
    assert!(stage.says("Looking at the network for a few seconds"));
    stage.click("Check again");
    assert_eq!(stage.commands(), [], "it is looking");
    stage.reply(Ok(Reply::Checked(findings())));
    for fact in [
        "✔ In the network as 192.168.1.7",
        "⚠ UDP port 3485 is used by another program; listening at 51022",
        "✖ The relay",
        "Is it running, and are its UDP and TCP ports open?",
        "⚠ Living-room PC is reached through a relay",
    ] {
        assert!(stage.says(fact), "{fact}");
    }
    stage.click("Copy what was found");
    assert!(stage.says("Copied."));
    stage.click("Check again");
    assert_eq!(stage.command(), look(None));
    assert!(
        !stage.says("In the network as"),
        "it may not be so any more"
    );
    let gone = Fault::Internal {
        what: "the node has ended".into(),
    };
    stage.reply(Err(gone));
    assert!(stage.says("Nothing yet."));
    stage.press(Modifiers::NONE, Key::Escape);
    assert!(stage.find("Transfers").is_some());
}

#[test]
fn a_device_is_called_by_the_keyboard() {
    let mut stage = Stage::sized(overview(None), [900.0, 1200.0], Theme::Light);
    stage.click("Settings");
    stage.click("Check my network");
    stage.commands();
    stage.reply(Ok(Reply::Checked(findings())));
    stage.type_into("Device to call", " anna ");
    stage.press(Modifiers::NONE, Key::Enter);
    assert_eq!(stage.command(), look(Some("anna")));
    let peer = "anna".into();
    let unreached = Finding::PeerNotReached(Fault::PeerOffline { peer });
    stage.reply(Ok(Reply::Checked(vec![unreached])));
    assert!(stage.find("✖ anna is not reachable").is_some());
    assert!(stage.says("wake the computer"));
}

/// A network in which so many devices say that they do not reach this one.
fn missed(count: usize) -> Arc<Overview> {
    let names = ["Kitchen", "Attic", "Studio"].into_iter();
    let nearby = names.enumerate().map(|(n, name)| {
        let mut near = samples::near(name);
        near.misses_us = n < count;
        near
    });
    samples::with_nearby(nearby.collect(), vec![], vec![])
}

#[test]
fn who_does_not_reach_us_is_told_once_with_what_to_do_and_not_again_after_it_was_read() {
    let mut stage = Stage::new(missed(0));
    assert!(!stage.says("can see this computer"));
    stage.publish(missed(1));
    let said = "Kitchen can see this computer but says that it cannot connect to it.";
    assert!(stage.find(said).is_some());
    assert!(stage.says("A firewall on this computer may block UDP port 3485."));
    assert!(stage.says("says it cannot connect · new"), "in its row");
    stage.publish(missed(3));
    let said = "Kitchen, Attic and 1 more can see this computer";
    assert!(stage.says(said));
    stage.click("Close this message");
    assert!(!stage.says("can see this computer"));
    // Anybody can say it, as often as he likes.
    stage.publish(missed(0));
    stage.publish(missed(2));
    assert!(!stage.says("can see this computer"));
}

#[test]
fn who_does_not_reach_us_is_connected_to_from_here_when_somebody_wants_that() {
    let mut stage = Stage::new(missed(2));
    assert!(stage.commands().is_empty(), "it is only a claim");
    assert!(stage.find("Connect to Attic").is_some());
    stage.click("Connect to Kitchen");
    let key = samples::near("Kitchen").key().unwrap();
    assert_eq!(stage.command(), Command::AddPeer(Target::Peer(key)));
    assert!(stage.find("Connect to Studio").is_none());
}

#[test]
fn who_does_not_reach_us_in_the_light() {
    snapshot(
        Stage::sized(missed(1), [900.0, 500.0], Theme::Light),
        "missed",
    );
}

#[test]
fn who_does_not_reach_us_in_the_dark() {
    snapshot(
        Stage::sized(missed(1), [900.0, 500.0], Theme::Dark),
        "missed_dark",
    );
}

fn snapshot(mut stage: Stage, name: &str) {
    stage.window.remove_cursor();
    stage.run();
    stage.window.snapshot(name);
}

fn page(theme: Theme) -> Stage {
    let mut stage = alone(Some(false), theme);
    stage.click("Check my network");
    stage.commands();
    stage.reply(Ok(Reply::Checked(findings())));
    stage
}

#[test]
fn the_page_in_the_light() {
    snapshot(page(Theme::Light), "check");
}

#[test]
fn the_page_in_the_dark() {
    snapshot(page(Theme::Dark), "check_dark");
}

#[test]
fn the_empty_list_in_the_dark() {
    snapshot(alone(Some(false), Theme::Dark), "alone_dark");
}
