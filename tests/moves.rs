//! The real programs in real networks that change while they work. Needs root, iproute2 and
//! nftables.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    dead_code,
    missing_docs,
    unreachable_pub
)]

mod common;

use std::time::Duration;

use common::side::Side;
use common::space::Cable;
use common::{content, tree};
use rustix::process::Signal;
use tokio::time::sleep;

/// At this rate the transfer takes long enough for everything that happens meanwhile.
const RATE: &str = "5M";
const SIZE: usize = 25_000_000;
/// Longer than links live in silence.
const LONGER_THAN_LINKS_LIVE: Duration = Duration::from_secs(11);
/// What one stream and the buffers of one connection hold: what was under way when a link broke.
const UNDER_WAY: u64 = 5_000_000;

/// A sender at one end of a cable (0), a receiver at the other (1).
struct Two {
    sender: Side,
    receiver: Side,
    cable: Cable,
    dir: tempfile::TempDir,
}

impl Two {
    /// With the receiver running. `None` if there are no networks to be had.
    fn connected(addrs: [&[&str]; 2]) -> Option<Self> {
        let cable = Cable::lay()?;
        for (end, addrs) in addrs.iter().enumerate() {
            for addr in *addrs {
                cable.ip(end, &format!("addr add {addr} dev v0"));
            }
        }
        let dir = tempfile::tempdir().unwrap();
        let side = |name: &str, end| {
            let mut side = Side::at(dir.path().join(name), &["--port", "3485"]);
            side.through = cable.at(end);
            side
        };
        let (sender, mut receiver) = (side("sender", 0), side("receiver", 1));
        let inbox = receiver.home.join("in").to_str().unwrap().to_owned();
        receiver.args = ["daemon", "--yes", "--out", &inbox]
            .map(String::from)
            .into();
        receiver.start();
        let out = sender.home.join("out");
        std::fs::create_dir_all(&out).unwrap();
        std::fs::write(out.join("film"), content(7, SIZE)).unwrap();
        std::fs::write(out.join("letter"), content(8, 10_000)).unwrap();
        Some(Self {
            sender,
            receiver,
            cable,
            dir,
        })
    }

    fn with_ipv4() -> Option<Self> {
        Self::connected([&["10.9.0.1/24"], &["10.9.0.2/24"]])
    }

    fn send_to(&mut self, target: &str) {
        let out = self.sender.home.join("out");
        let args = [
            "send",
            "--limit",
            RATE,
            "--to",
            target,
            out.to_str().unwrap(),
        ];
        self.sender.args = args.map(String::from).into();
        self.sender.start();
    }

    /// Sends to the link that the receiver shows, until a part of it is there.
    async fn send_some(&mut self) {
        let link = self.receiver.link().await;
        self.send_to(&link);
        self.sender.until_moved(3_000_000).await;
    }

    /// Everything arrives, and little more than that has travelled. Returns how much more.
    async fn arrives(&mut self) -> u64 {
        let status = self.sender.end().await;
        let both = || format!("{}\n---\n{}", self.sender.said(), self.receiver.said());
        assert!(status.success(), "{status}: {}", both());
        let summary = self.sender.line("summary").await;
        assert_eq!(summary["verified"], true, "{summary}");
        assert!(tree(&self.sender.home.join("out")) == tree(&self.receiver.home.join("in/out")));
        let sent = summary["sent_bytes"].as_u64().unwrap();
        sent - (SIZE as u64 + 10_000)
    }

    fn links_lost(&self) -> usize {
        self.sender.said().matches(r#""state":"lost""#).count()
    }

    /// Gives an end another address, as a new lease does.
    fn renumber(&self, end: usize, from: &str, to: &str) {
        self.cable.ip(end, &format!("addr del {from}/24 dev v0"));
        self.cable.ip(end, &format!("addr add {to}/24 dev v0"));
    }
}

#[tokio::test]
async fn a_caller_that_gets_another_address_goes_on_without_a_break() {
    let Some(mut two) = Two::with_ipv4() else {
        return;
    };
    two.send_some().await;
    two.renumber(0, "10.9.0.1", "10.9.0.17");
    assert_eq!(two.arrives().await, 0, "nothing is sent twice");
    assert_eq!(two.links_lost(), 0, "{}", two.sender.said());
}

#[tokio::test]
async fn both_sides_move_in_turn_and_find_each_other_each_time() {
    let Some(mut two) = Two::with_ipv4() else {
        return;
    };
    two.send_some().await;
    // The receiver was called. It calls back, so that the next time it is the sender that was.
    for (end, from, to) in [
        (1, "10.9.0.2", "10.9.0.22"),
        (0, "10.9.0.1", "10.9.0.21"),
        (1, "10.9.0.22", "10.9.0.32"),
    ] {
        two.renumber(end, from, to);
        let moved = two.sender.moved().await;
        two.sender.until_moved(moved + 3_000_000).await;
    }
    let more = two.arrives().await;
    assert!(more <= 3 * UNDER_WAY, "{more} bytes were sent twice");
}

#[tokio::test]
async fn a_short_cut_of_the_cable_is_waited_for() {
    let Some(mut two) = Two::with_ipv4() else {
        return;
    };
    two.send_some().await;
    two.cable.ip(0, "link set v0 down");
    sleep(Duration::from_secs(3)).await;
    two.cable.ip(0, "link set v0 up");
    let more = two.arrives().await;
    assert!(more <= UNDER_WAY, "{more} bytes were sent twice");
}

#[tokio::test]
async fn a_cut_that_links_do_not_survive_costs_little() {
    let Some(mut two) = Two::with_ipv4() else {
        return;
    };
    two.send_some().await;
    two.cable.ip(1, "link set v0 down");
    sleep(LONGER_THAN_LINKS_LIVE).await;
    two.cable.ip(1, "link set v0 up");
    let more = two.arrives().await;
    assert!(more <= UNDER_WAY, "{more} bytes were sent twice");
}

#[tokio::test]
async fn packets_that_are_dropped_in_silence_cost_little() {
    let Some(mut two) = Two::with_ipv4() else {
        return;
    };
    two.send_some().await;
    for length in [Duration::from_secs(3), LONGER_THAN_LINKS_LIVE] {
        two.cable.drop_incoming(0, "meta l4proto udp");
        two.cable.drop_incoming(1, "meta l4proto udp");
        sleep(length).await;
        two.cable.let_in(0);
        two.cable.let_in(1);
        let moved = two.sender.moved().await;
        two.sender.until_moved(moved + 2_000_000).await;
    }
    let more = two.arrives().await;
    assert!(more <= UNDER_WAY, "{more} bytes were sent twice");
}

#[tokio::test]
async fn a_sender_that_slept_longer_than_links_live_goes_on() {
    let Some(mut two) = Two::with_ipv4() else {
        return;
    };
    two.send_some().await;
    two.sender.signal(Signal::STOP);
    sleep(LONGER_THAN_LINKS_LIVE).await;
    two.sender.signal(Signal::CONT);
    let more = two.arrives().await;
    assert!(more <= UNDER_WAY, "{more} bytes were sent twice");
}

#[tokio::test]
async fn link_local_addresses_are_enough() {
    let addrs: [&[&str]; 2] = [&["fe80::1/64 nodad"], &["fe80::2/64 nodad"]];
    let Some(mut two) = Two::connected(addrs) else {
        return;
    };
    two.send_to("[fe80::2%v0]:3485");
    assert_eq!(two.arrives().await, 0);
}

#[tokio::test]
async fn a_link_works_where_there_are_only_link_local_addresses() {
    let addrs: [&[&str]; 2] = [&["fe80::1/64 nodad"], &["fe80::2/64 nodad"]];
    let Some(mut two) = Two::connected(addrs) else {
        return;
    };
    let hello = two.receiver.line("hello").await;
    assert_eq!(hello["addrs"][0], "[fe80::2]:3485", "{hello}");
    two.send_to(hello["link"].as_str().unwrap());
    assert_eq!(two.arrives().await, 0);
}

#[tokio::test]
async fn an_address_where_packets_vanish_does_not_stop_the_others() {
    let addrs: [&[&str]; 2] = [
        &["10.9.0.1/24", "192.0.2.1/24"],
        &["10.9.0.2/24", "192.0.2.2/24"],
    ];
    let Some(mut two) = Two::connected(addrs) else {
        return;
    };
    two.cable.drop_incoming(1, "ip daddr 10.9.0.2");
    let hello = two.receiver.line("hello").await;
    assert_eq!(hello["addrs"][0], "10.9.0.2:3485", "tried first: {hello}");
    two.send_to(hello["link"].as_str().unwrap());
    assert_eq!(two.arrives().await, 0);
    let path = two.sender.line("path").await;
    assert!(path.to_string().contains("192.0.2.2"), "{path}");
}

#[tokio::test]
async fn the_address_that_is_shown_is_the_one_that_there_is() {
    let Some(mut two) = Two::with_ipv4() else {
        return;
    };
    let link = two.receiver.link().await;
    two.renumber(1, "10.9.0.2", "10.9.0.99");
    // The link is old, but what the program tells is new.
    let shown = two.receiver.shows("10.9.0.99:3485").await;
    assert_ne!(shown, link);
    two.send_to(&shown);
    assert_eq!(two.arrives().await, 0);
}
