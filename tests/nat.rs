//! The real programs behind routers that translate addresses, with a relay on the public side.
//! Needs root, iproute2 and nftables; python3 and miniupnpd for routers that open ports.
//!
//! The usual run takes each pair of routers once. Both ways round, with what each took:
//! `cargo test --workspace --test nat -- --ignored --nocapture`.
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

use std::io::Read;
use std::path::Path;
use std::process::Command;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use common::side::Side;
use common::{content, tree};
use peerconnect::config::Paths;
use peerconnect::net::relay::RelayState;
use peerconnect::node::control;
use rustix::process::Signal;
use serde_json::Value;
use tokio::sync::Semaphore;

const SIZE: usize = 200 << 20;
/// Where the way alone matters.
const SMALL: usize = 20_000_000;
/// So that there is time to find a direct way, and to see that nothing goes through the relay
/// [`QUIET_AFTER`] that.
const LIMIT: &str = "30M";
const QUIET_AFTER: Duration = Duration::from_secs(5);

/// How soon content must go directly where it can, and by the way that there is where it cannot:
/// what people are promised.
const DIRECT_WITHIN: Duration = Duration::from_secs(3);
const CONNECTED_WITHIN: Duration = Duration::from_secs(5);

/// What is sent.
static FILM: LazyLock<Vec<u8>> = LazyLock::new(|| content(7, SIZE));
/// Transfers at once: most of them wait for their limit.
const AT_ONCE: u32 = 3;
static TURNS: Semaphore = Semaphore::const_new(AT_ONCE as usize);

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
    /// Directly or through the relay by UDP: it depends on which packet comes first.
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
            Ok(_) => Some(lab),
            Err(error) => {
                let must = std::env::var_os("PEERCONNECT_TEST_ALL").is_some();
                assert!(!must, "no networks: {error}");
                eprintln!("skipped, no networks: {error}");
                None
            }
        }
    }

    fn run(&self, words: &[&str], options: &str) -> Result<String, String> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/nat/natlab.sh");
        let mut command = Command::new("bash");
        command
            .arg(script)
            .args(words)
            .args(options.split_whitespace());
        command.arg(format!("prefix={}", self.prefix));
        let output = command.output().map_err(|error| error.to_string())?;
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned()),
            false => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        }
    }

    /// The words before a command that make it run at a host.
    fn at(&self, host: &str) -> Vec<String> {
        let space = format!("{}{host}", self.prefix);
        ["ip", "netns", "exec", &space].map(String::from).into()
    }

    /// Packets for others that have come to the relay by UDP, since this was asked first.
    fn carried(&self) -> u64 {
        self.run(&["carried"], "").unwrap().parse().unwrap()
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
        // A carrier of the lab leads each port back to one of those behind it.
        let port = if options.contains("topo=cgn") {
            "3486"
        } else {
            "3485"
        };
        let sender = side("a", &["--port", port]);
        let out = sender.home.join("out");
        std::fs::create_dir_all(&out).unwrap();
        std::fs::write(out.join("film"), &*FILM).unwrap();
        lab.carried();
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

    fn begin(&mut self, limit: Option<&str>) {
        let film = self.sender.home.join("out/film");
        let film = film.to_str().unwrap();
        let limit = limit.map(|limit| ["--limit", limit]);
        let to = ["send", "--to", &self.link, film];
        let args = to.iter().chain(limit.iter().flatten());
        self.sender.args = args.map(|arg| String::from(*arg)).collect();
        self.sender.start();
    }

    /// Waits until content goes by one of these ways, and says how long that took from `start`.
    async fn until_way(&mut self, start: Instant, wanted: &[&str]) -> Duration {
        loop {
            let kinds = self.kinds();
            if kinds
                .last()
                .is_some_and(|kind| wanted.contains(&kind.as_str()))
            {
                return start.elapsed();
            }
            assert!(
                self.sender.ended().is_none() && start.elapsed() < common::side::HANG,
                "never {wanted:?} but {kinds:?}: {}",
                self.sender.said()
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits for the end of a transfer that must succeed.
    async fn finish(&mut self) {
        let status = self.sender.end().await;
        assert!(status.success(), "{}", self.sender.said());
        let summary = &self.lines(&self.sender, "summary")[0];
        assert_eq!(summary["verified"], true, "{summary}");
        let inbox = self.receiver.home.join("in");
        let names = std::fs::read_dir(&inbox).unwrap();
        let names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["film"]);
        assert!(is_film(&inbox.join("film")));
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

fn is_film(path: &Path) -> bool {
    let mut file = std::fs::File::open(path).unwrap();
    let mut part = vec![0; 1 << 20];
    let same = FILM.chunks(part.len()).all(|wanted| {
        let come = &mut part[..wanted.len()];
        file.read_exact(come).is_ok() && come == wanted
    });
    same && file.read(&mut [0]).unwrap() == 0
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
    let _turn = TURNS.acquire().await.unwrap();
    let Some(mut bed) = Bed::up(options).await else {
        return;
    };
    let start = Instant::now();
    bed.begin(matches!(way, Way::Direct | Way::Either).then_some(LIMIT));
    let (wanted, within): (&[&str], _) = match way {
        Way::Direct => (&["direct"], DIRECT_WITHIN),
        Way::OverTcp => (&["tcp"], CONNECTED_WITHIN),
        Way::Relay | Way::Tcp => (&["relay"], CONNECTED_WITHIN),
        Way::Either => (&["direct", "relay"], CONNECTED_WITHIN),
    };
    let found = bed.until_way(start, wanted).await;
    if way == Way::Direct {
        tokio::time::sleep(QUIET_AFTER).await;
        let before = bed.lab.carried();
        bed.finish().await;
        let packets = bed.lab.carried() - before;
        assert_eq!(packets, 0, "{options}: still through the relay");
    } else {
        bed.finish().await;
    }
    let kinds = bed.kinds();
    let last = kinds.last().map(String::as_str);
    let carried = bed.carried().await;
    let is_relayed = carried >= SIZE as u64;
    let fits = match way {
        Way::Direct => last == Some("direct") && !is_relayed,
        Way::OverTcp => last == Some("tcp") && !is_relayed,
        Way::Relay | Way::Tcp => last == Some("relay") && is_relayed,
        Way::Either => (last == Some("relay")) == is_relayed,
    };
    let share = 100 * carried / SIZE as u64;
    let report = format!("{options}: {kinds:?} after {found:?}, {share} % through the relay");
    assert!(fits && found <= within, "{report}");
    println!("{report}");
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
        ("a=linux b=linux ca=linux cb=linux", Way::Direct),
        ("a=full b=sym ca=full", Way::Direct),
        ("a=restricted b=restricted ca=restricted", Way::Direct),
        ("a=linux b=linux overlap=yes", Way::Direct),
        ("a=linux b=linux loss=5", Way::Direct),
    ])
    .await;
}

#[tokio::test]
async fn behind_one_carrier_it_depends_on_whether_it_lets_its_own_call_each_other() {
    pairs(&[
        ("a=linux b=linux topo=cgn ca=linux hairpin=yes", Way::Direct),
        ("a=linux b=linux topo=cgn ca=full hairpin=yes", Way::Direct),
        ("a=linux b=linux topo=cgn ca=sym hairpin=yes", Way::Relay),
        ("a=linux b=linux topo=cgn ca=linux", Way::Relay),
    ])
    .await;
}

#[tokio::test]
async fn blocked_udp_goes_with_everything_else() {
    pairs(&[
        ("a=tcponly topo=same", Way::Direct),
        ("a=tcponly b=linux ca=linux", Way::Tcp),
        ("a=tcponly b=open ca=linux", Way::OverTcp),
        // The one that was called calls back.
        ("a=open b=tcponly", Way::OverTcp),
        ("a=tcponly b=tcponly v6=open", Way::OverTcp),
    ])
    .await;
}

#[tokio::test]
async fn in_one_network_the_way_does_not_leave_it() {
    pairs(&[
        ("a=linux topo=same", Way::Direct),
        ("a=sym topo=same", Way::Direct),
        ("a=linux topo=same isolate=yes hairpin=yes", Way::Direct),
        ("a=full topo=same isolate=yes hairpin=yes", Way::Direct),
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
        ("a=linux b=linux ca=sym", Way::Relay),
        ("a=linux b=sym ca=full", Way::Relay),
    ])
    .await;
}

#[tokio::test]
async fn ipv6_goes_through_firewalls_that_ipv4_does_not() {
    pairs(&[
        ("a=sym b=sym v6=fw", Way::Direct),
        ("a=sym b=sym v6=open", Way::Direct),
        ("a=linux b=linux v4=no v6=open", Way::Direct),
        ("a=linux b=linux v4=no v6=fw", Way::Direct),
    ])
    .await;
}

#[tokio::test]
async fn a_direct_way_that_is_cut_is_left_for_the_relay_without_a_break() {
    let Some(mut bed) = Bed::up("a=linux b=linux").await else {
        return;
    };
    bed.begin(Some(LIMIT));
    bed.until_way(Instant::now(), &["direct"]).await;
    bed.lab.run(&["udp", "a", "off"], "").unwrap();
    bed.finish().await;
    let kinds = bed.kinds();
    assert_eq!(kinds.last().map(String::as_str), Some("relay"), "{kinds:?}");
    let states = bed.lines(&bed.sender, "state");
    let lost = states.iter().any(|line| line["state"] == "lost");
    assert!(!lost, "{}", bed.sender.said());
}

#[tokio::test]
async fn a_connection_that_was_direct_from_the_beginning_is_made_anew_another_way() {
    let Some(mut bed) = Bed::up("a=linux b=open").await else {
        return;
    };
    bed.begin(Some(LIMIT));
    bed.until_way(Instant::now(), &["direct"]).await;
    bed.lab.run(&["udp", "a", "off"], "").unwrap();
    let took = bed.until_way(Instant::now(), &["relay", "tcp"]).await;
    println!("another way after {took:?}");
    bed.finish().await;
    assert_eq!(bed.kinds()[0], "direct");
    let sent = bed.lines(&bed.sender, "summary")[0]["sent_bytes"].as_u64();
    // What was on its way is sent again, and nothing else.
    let again = sent.unwrap() - SIZE as u64;
    assert!(again < SIZE as u64 / 10, "{again} bytes sent again");
}

#[tokio::test]
async fn a_router_that_forgets_everything_costs_nothing_but_a_moment() {
    let _turn = TURNS.acquire().await.unwrap();
    let Some(mut bed) = Bed::up("a=restricted b=sym").await else {
        return;
    };
    bed.begin(Some(LIMIT));
    bed.until_way(Instant::now(), &["direct"]).await;
    bed.lab.run(&["reboot", "b"], "").unwrap();
    bed.finish().await;
    let states = bed.lines(&bed.sender, "state");
    let lost = states.iter().any(|line| line["state"] == "lost");
    assert!(!lost, "{}", bed.sender.said());
}

/// Seconds that it takes to send everything, without a limit.
async fn seconds(options: &str) -> Option<f64> {
    let mut bed = Bed::up(options).await?;
    bed.begin(None);
    bed.finish().await;
    bed.lines(&bed.sender, "summary")[0]["seconds"].as_f64()
}

/// What relays are promised to be good for. Alone, so that both have the same to themselves.
#[tokio::test]
async fn through_a_relay_it_is_at_least_half_as_fast() {
    let _turns = TURNS.acquire_many(AT_ONCE).await.unwrap();
    let mut best = 0f64;
    // Others may use the processors meanwhile.
    for _ in 0..3 {
        let Some(direct) = seconds("a=open b=open").await else {
            return;
        };
        best = best.max(direct / seconds("a=sym b=sym").await.unwrap());
        if best >= 0.5 {
            break;
        }
    }
    println!("through a relay / directly: {best:.2}");
    assert!(best >= 0.5, "{best}");
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
    "DDDDDDDDOT",
    "DDDDDERRTT",
    "DDDDDDDDTT",
    "DDDDDDDDTT",
    "DDDDDDRRTT",
    "DEDDDERRTT",
    "DRDDRRRRTT",
    "DRDDRRRRTT",
    "OTTTTTTTTT",
    "TTTTTTTTTT",
];

async fn kinds(a: usize, b: usize) {
    let way = match TABLE[a].as_bytes()[b] {
        b'D' => Way::Direct,
        b'E' => Way::Either,
        b'R' => Way::Relay,
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
