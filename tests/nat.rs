//! The real programs behind routers that translate addresses, with a relay on the public side.
//! Needs root, iproute2 and nftables; python3 and miniupnpd for routers that open ports.
//!
//! The usual run takes each pair of routers once. Both ways round, with what each took:
//! `cargo test -p peerconnect --test nat -- --ignored --nocapture`.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    dead_code,
    missing_docs,
    unreachable_pub
)]

#[path = "nat/by_key.rs"]
mod by_key;
mod common;
#[path = "nat/no_route.rs"]
mod no_route;
#[path = "nat/over_tcp.rs"]
mod over_tcp;
#[path = "nat/router_port.rs"]
mod router_port;
#[path = "nat/upnp.rs"]
mod upnp;

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use common::side::Side;
use common::{content, tree};
use peerconnect::config::Paths;
use peerconnect::net::relay::RelayState;
use peerconnect::node::control;
use rustix::process::Signal;
use serde_json::Value;

/// Sent at [`LIMIT`], so that there is time to find a direct way.
const SIZE: usize = 20_000_000;
const LIMIT: &str = "6M";

/// How content travels at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Direct,
    /// To the peer itself, over TCP.
    OverTcp,
    /// Through the relay by UDP on both sides.
    Relay,
    /// Through the relay by TCP on one side at least.
    Tcp,
    /// It depends on which packet comes first.
    Either,
}

/// A small internet with a relay (rdv) and two peers (a, b), gone with this value.
struct Lab {
    prefix: String,
}

static NUMBER: AtomicU32 = AtomicU32::new(0);

impl Lab {
    /// `None` where this cannot be had. With `PEERCONNECT_TEST_ALL=1` that is a failure.
    fn up(options: &str) -> Option<Self> {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("p{}x{}", std::process::id() % 10_000, number % 100);
        let lab = Self { prefix };
        match lab.run(&["up"], options) {
            Ok(()) => Some(lab),
            Err(error) => {
                let must = std::env::var_os("PEERCONNECT_TEST_ALL").is_some();
                assert!(!must, "no networks: {error}");
                eprintln!("skipped, no networks: {error}");
                None
            }
        }
    }

    fn run(&self, words: &[&str], options: &str) -> Result<(), String> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/nat/natlab.sh");
        let mut command = Command::new("bash");
        command
            .arg(script)
            .args(words)
            .args(options.split_whitespace());
        command.arg(format!("prefix={}", self.prefix));
        let output = command.output().map_err(|error| error.to_string())?;
        match output.status.success() {
            true => Ok(()),
            false => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        }
    }

    /// The words before a command that make it run at a host.
    fn at(&self, host: &str) -> Vec<String> {
        let space = format!("{}{host}", self.prefix);
        ["ip", "netns", "exec", &space].map(String::from).into()
    }

    fn ip(&self, host: &str, args: &str) {
        let space = format!("{}{host}", self.prefix);
        let status = Command::new("ip")
            .args(["-n", &space])
            .args(args.split(' '))
            .status();
        assert!(status.unwrap().success(), "{args}");
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = self.run(&["down"], "");
    }
}

/// A lab with everybody in place: the receiver listens at the relay.
struct Bed {
    sender: Side,
    receiver: Side,
    relay: Side,
    relay_link: String,
    link: String,
    dir: tempfile::TempDir,
    lab: Lab,
}

impl Bed {
    async fn up(options: &str) -> Option<Self> {
        let lab = Lab::up(options)?;
        let dir = tempfile::tempdir().unwrap();
        // The one port that some networks let through.
        let port = if options.contains("tcp443") {
            "443"
        } else {
            "3487"
        };
        let side = |host: &str, network: &[&str]| {
            let mut side = Side::at(dir.path().join(host), network);
            side.through = lab.at(host);
            side
        };
        let mut relay = side("rdv", &["--port", port]);
        relay.args = vec!["relay".into()];
        relay.start();
        let relay_link = relay.link().await;
        let mut receiver = side("b", &["--port", "3485"]);
        let inbox = receiver.home.join("in").to_str().unwrap().to_owned();
        receiver.args = ["daemon", "--yes", "--out", &inbox, "--relay", &relay_link]
            .map(String::from)
            .into();
        receiver.start();
        let link = receiver.link().await;
        until_listening(&receiver).await;
        let sender = side("a", &["--port", "3485"]);
        let out = sender.home.join("out");
        std::fs::create_dir_all(&out).unwrap();
        std::fs::write(out.join("film"), content(7, SIZE)).unwrap();
        Some(Self {
            sender,
            receiver,
            relay,
            relay_link,
            link,
            dir,
            lab,
        })
    }

    fn begin(&mut self, limit: &str) {
        let film = self.sender.home.join("out/film");
        let film = film.to_str().unwrap();
        let args = ["send", "--limit", limit, "--to", &self.link, film];
        self.sender.args = args.map(String::from).into();
        self.sender.start();
    }

    /// Waits for the end of a transfer that must succeed.
    async fn finish(&mut self) {
        let status = self.sender.end().await;
        assert!(status.success(), "{}", self.sender.said());
        let there = tree(&self.receiver.home.join("in"));
        assert!(there.into_iter().eq([("film".into(), content(7, SIZE))]));
    }

    fn lines(&self, side: &Side, kind: &str) -> Vec<Value> {
        let text = std::fs::read_to_string(side.home.join("stdout")).unwrap();
        let lines = text
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok());
        lines.filter(|line: &Value| line["t"] == kind).collect()
    }

    fn kinds(&self) -> Vec<String> {
        let paths = self.lines(&self.sender, "path");
        let kind = |line: &Value| line["kind"].as_str().unwrap().to_owned();
        paths.iter().map(kind).collect()
    }

    /// What the relay says at its end.
    async fn carried(&mut self) -> u64 {
        self.relay.signal(Signal::INT);
        assert!(self.relay.end().await.success());
        let lines = self.lines(&self.relay, "relay");
        lines.last().unwrap()["bytes"].as_u64().unwrap()
    }
}

/// Waits until the receiver is at its relay.
async fn until_listening(side: &Side) -> RelayState {
    let paths = Paths::below(&side.home.join("config"));
    let node = control::connect(&paths).await.unwrap().unwrap();
    let mut overview = node.overview();
    let is_there = |state: RelayState| state != RelayState::Away;
    let there = overview.wait_for(|picture| {
        let mut relays = picture.me.relays.iter();
        relays.all(|one| is_there(one.state))
    });
    let there = tokio::time::timeout(common::side::HANG, there).await;
    there.expect("the relay is reached").unwrap().me.relays[0].state
}

/// One transfer, and the way that it must take in the end.
async fn pair(options: &str, way: Way) {
    let Some(mut bed) = Bed::up(options).await else {
        return;
    };
    let start = Instant::now();
    bed.begin(LIMIT);
    bed.sender.line("path").await;
    let connected = start.elapsed();
    bed.finish().await;
    let kinds = bed.kinds();
    let last = kinds.last().map(String::as_str);
    let carried = bed.carried().await;
    let is_relayed = carried >= SIZE as u64;
    let fits = match way {
        Way::Direct => last == Some("direct") && !is_relayed,
        Way::OverTcp => last == Some("tcp") && !is_relayed,
        Way::Relay | Way::Tcp => last == Some("relay") && is_relayed,
        Way::Either => true,
    };
    assert!(
        fits,
        "{options}: {kinds:?}, {carried} bytes through the relay"
    );
    let share = 100 * carried / SIZE as u64;
    println!("{options}: {kinds:?} after {connected:?}, {share} % through the relay");
}

async fn pairs(all: &[(&str, Way)]) {
    for (options, way) in all {
        pair(options, *way).await;
    }
}

#[tokio::test]
async fn two_routers_and_a_bad_line_are_no_obstacle() {
    pairs(&[
        ("a=linux b=linux ca=linux", Way::Direct),
        ("a=linux b=linux loss=5", Way::Direct),
    ])
    .await;
}

#[tokio::test]
async fn in_one_network_the_way_does_not_leave_it() {
    pairs(&[
        ("a=linux topo=same", Way::Direct),
        ("a=sym topo=same", Way::Direct),
        ("a=linux topo=same isolate=yes hairpin=yes", Way::Direct),
        ("a=linux topo=same isolate=yes", Way::Relay),
    ])
    .await;
}

#[tokio::test]
async fn where_no_router_can_be_opened_the_relay_carries_it() {
    pairs(&[
        ("a=sym b=sym", Way::Relay),
        ("a=linux b=symrandom", Way::Relay),
        ("a=sym b=sym overlap=yes", Way::Relay),
        ("a=linux b=linux topo=cgn", Way::Relay),
    ])
    .await;
}

#[tokio::test]
async fn ipv6_goes_through_firewalls_that_ipv4_does_not() {
    pairs(&[
        ("a=sym b=sym v6=fw", Way::Direct),
        ("a=linux b=linux v4=no v6=open", Way::Direct),
    ])
    .await;
}

#[tokio::test]
async fn a_direct_way_that_is_cut_is_left_for_the_relay_without_a_break() {
    let Some(mut bed) = Bed::up("a=linux b=linux").await else {
        return;
    };
    bed.begin("3M");
    while bed.kinds().last().is_none_or(|kind| kind != "direct") {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        assert!(bed.sender.ended().is_none(), "{}", bed.sender.said());
    }
    bed.lab.run(&["udp", "a", "off"], "").unwrap();
    bed.finish().await;
    let kinds = bed.kinds();
    assert_eq!(kinds.last().map(String::as_str), Some("relay"), "{kinds:?}");
    let states = bed.lines(&bed.sender, "state");
    let lost = states.iter().any(|line| line["state"] == "lost");
    assert!(!lost, "{}", bed.sender.said());
}

/// What each kind of router (row: of the sender, column: of the receiver) comes to.
const KINDS: [&str; 10] = [
    "open",
    "fw",
    "full",
    "restricted",
    "linux",
    "linuxopen",
    "symrandom",
    "sym",
    "tcponly",
    "tcp443",
];
const TABLE: [&str; 10] = [
    "DDDDDDDDTT",
    "DDDDDRRRTT",
    "DDDDDDDDTT",
    "DDDDDDDDTT",
    "DDDDDDRRTT",
    "DRDDDRRRTT",
    "DRDDRRRRTT",
    "DRDDRRRRTT",
    "OTTTTTTTTT",
    "TTTTTTTTTT",
];

async fn kinds(a: usize, b: usize) {
    let way = match TABLE[a].as_bytes()[b] {
        b'D' => Way::Direct,
        // Some of these can be opened by those who are lucky with the order.
        b'R' => Way::Either,
        b'O' => Way::OverTcp,
        _ => Way::Tcp,
    };
    pair(&format!("a={} b={}", KINDS[a], KINDS[b]), way).await;
}

/// A kind with itself and those before it; who sends is the one or the other in turn.
async fn with_those_before(kind: usize) {
    for other in 0..=kind {
        match (kind + other) % 2 {
            0 => kinds(kind, other).await,
            _ => kinds(other, kind).await,
        }
    }
}

/// Each a test, so that several run at once.
mod each_pair_of_routers {
    macro_rules! tests {
        ($($kind:ident $number:literal)*) => {
            $(#[tokio::test]
            async fn $kind() {
                super::with_those_before($number).await;
            })*
        };
    }
    tests! {
        tcp443 9 tcponly 8 sym 7 symrandom 6 linuxopen 5
        linux 4 restricted 3 full 2 fw 1 open 0
    }
}

#[tokio::test]
#[ignore = "takes several minutes; the other tests take each pair one way round"]
async fn both_ways_round() {
    for a in 0..KINDS.len() {
        for b in 0..KINDS.len() {
            kinds(a, b).await;
        }
    }
}
