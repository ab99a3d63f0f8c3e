//! `relay`, those who use it, and `doctor`.

use peerconnect::protocol::link_uri::Link;
use rustix::process::Signal;

use crate::program::{Home, Running, content};

fn relay(home: &Home, more: &[&str]) -> Running {
    let mut relay = home.start(&[&["relay"], more].concat());
    relay.next("hello");
    relay
}

#[test]
fn a_receiver_with_a_relay_is_found_by_its_link() {
    let (middle, sender, receiver) = (Home::new(), Home::new(), Home::new());
    let relay = relay(&middle, &[]);
    let hello = &relay.seen[0];
    for key in ["name", "id", "link", "version"] {
        assert!(hello[key].is_string(), "{key}");
    }
    let addr = hello["addrs"][0].as_str().unwrap();
    assert!(addr.starts_with("127.0.0.1:"), "{addr}");
    let into = receiver.file("in");
    let mut receiving = receiver.start(&[
        "receive",
        "--yes",
        "--out",
        into.to_str().unwrap(),
        "--relay",
        relay.link(),
    ]);
    receiving.next("hello");
    let link: Link = receiving.link().parse().unwrap();
    let through: Link = relay.link().parse().unwrap();
    assert_eq!(link.relays, [through.into()]);
    let path = sender.write("film", 300_000, 1);
    sender.send(&receiving, &[&path]).end().with_code(0);
    receiving.end().with_code(0);
    assert_eq!(
        std::fs::read(into.join("film")).unwrap(),
        content(300_000, 1)
    );
    relay.signal(Signal::INT);
    let ended = relay.end().with_code(0);
    assert!(ended.lines.last().unwrap().contains("\"t\":\"relay\""));
}

#[test]
fn what_is_no_relay_is_refused() {
    let home = Home::new();
    home.write("a", 1, 0);
    let middle = Home::new();
    let relay = relay(&middle, &[]);
    let mut receiving = home.start(&["receive", "--yes", "--relay", relay.link()]);
    receiving.next("hello");
    for args in [
        &["receive", "--yes", "--relay", "there"][..],
        &["receive", "--yes", "--relay", "peerconnect:abc"],
        // A peer that has a relay itself.
        &["receive", "--yes", "--relay", receiving.link()],
        &["relay", "--limit", "1"],
        &["relay", "--max-peers", "0"],
    ] {
        Home::new().run(args).with_code(2);
    }
    for args in [
        &["relay", "--allow", "anna"][..],
        &["relay", "--public", "x"],
    ] {
        let args = [args, &["--bind", "127.0.0.1", "--port", "0"]].concat();
        Home::new().run(&args).with_code(2);
    }
}

#[test]
fn the_doctor_says_whether_the_relay_and_a_peer_are_reached() {
    let (middle, patient, peer) = (Home::new(), Home::new(), Home::new());
    let relay = relay(&middle, &[]);
    let daemon = peer.daemon();
    let args = ["doctor", daemon.link(), "--relay", relay.link()];
    let ended = patient.start(&args).end();
    let codes: Vec<String> = ended
        .of_kind("finding")
        .iter()
        .map(|line| line["code"].as_str().unwrap().to_owned())
        .collect();
    for code in ["no-network", "listening", "quiet", "relay", "peer-reached"] {
        assert!(codes.iter().any(|found| found == code), "{code}: {codes:?}");
    }
    drop(relay);
    // Nobody there, and no relay: each is said.
    let gone = daemon.link().to_owned();
    drop(daemon);
    let ended = patient.start(&["doctor", &gone]).end().with_code(3);
    let text = ended.lines.join("\n");
    assert!(
        text.contains("no-relay") && text.contains("peer-offline"),
        "{text}"
    );
}
