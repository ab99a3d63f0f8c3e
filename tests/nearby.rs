//! Finding each other: real programs in network namespaces that share a switch. Needs root, `ip`
//! and `nft`, and for the flood `python3`; without them the tests say so and pass, unless
//! `PEERCONNECT_TEST_ALL` is set. Times are printed, not judged.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    dead_code,
    unreachable_pub,
    missing_docs
)]

#[path = "cli/program.rs"]
mod program;

use std::process::Command;
use std::time::{Duration, Instant};

use program::{Home, Running, system};
use rustix::process::Signal;
use serde_json::Value;

/// A switch with a computer at each port, as network namespaces; gone when this is dropped.
struct Lan {
    name: String,
    hosts: usize,
}

impl Lan {
    /// `None` where that cannot be made.
    fn new(hosts: usize) -> Option<Self> {
        let must = std::env::var_os("PEERCONNECT_TEST_ALL").is_some();
        let made = Self::make(hosts);
        assert!(
            made.is_some() || !must,
            "no network namespaces, or no `ip`, or no `nft`"
        );
        if made.is_none() {
            eprintln!("skipped: needs root, `ip` and `nft`");
        }
        made
    }

    fn make(hosts: usize) -> Option<Self> {
        static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let count = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        system("nft", &["--version"])?;
        let lan = Self {
            name: format!("pc{}-{count}", std::process::id()),
            hosts,
        };
        let switch = lan.space("switch");
        system("ip", &["netns", "add", &switch])?;
        let in_switch = |args: &[&str]| system("ip", &[&["-n", &switch], args].concat());
        in_switch(&[
            "link",
            "add",
            "br0",
            "type",
            "bridge",
            "mcast_snooping",
            "0",
        ])?;
        in_switch(&["link", "set", "br0", "up"])?;
        for host in 0..hosts {
            let space = lan.host(host);
            let port = format!("p{host}");
            system("ip", &["netns", "add", &space])?;
            lan.ip(host, &["link", "set", "lo", "up"])?;
            let peer = ["peer", "name", "eth0", "netns", &space];
            in_switch(&[&["link", "add", &port, "type", "veth"], &peer[..]].concat())?;
            in_switch(&["link", "set", &port, "master", "br0", "up"])?;
            lan.ip(host, &["addr", "add", &addr(host), "dev", "eth0"])?;
            lan.ip(host, &["link", "set", "eth0", "up"])?;
        }
        Some(lan)
    }

    fn space(&self, what: &str) -> String {
        format!("{}-{what}", self.name)
    }

    fn host(&self, host: usize) -> String {
        self.space(&host.to_string())
    }

    /// Runs `ip` in the namespace of a host.
    fn ip(&self, host: usize, args: &[&str]) -> Option<std::process::Output> {
        system("ip", &[&["-n", &self.host(host)], args].concat())
    }

    /// Runs a program in the namespace of a host, to its end.
    fn run(&self, host: usize, args: &[&str]) -> String {
        let space = self.host(host);
        let all = [&["netns", "exec", &space], args].concat();
        let output = system("ip", &all).unwrap_or_else(|| panic!("{args:?} failed"));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// The same command, in the namespace of a host, and found there by others.
    fn inside(&self, host: usize, command: Command) -> Command {
        let mut inside = Command::new("ip");
        inside.args(["netns", "exec", &self.host(host)]);
        inside.arg(command.get_program()).args(command.get_args());
        inside.env_clear();
        let path = std::env::var_os("PATH").unwrap_or_default();
        inside.env("PATH", path);
        for (key, value) in command.get_envs() {
            if let Some(value) = value {
                inside.env(key, value);
            }
        }
        if let Ok(log) = std::env::var("PEERCONNECT_LOG") {
            inside.env("PEERCONNECT_LOG", log);
        }
        inside.env("PEERCONNECT_ANNOUNCE", "all");
        inside.current_dir(command.get_current_dir().unwrap());
        inside
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped());
        inside
    }

    fn start(&self, host: usize, home: &Home, args: &[&str]) -> Running {
        let mut command = home.command(args);
        command.arg("--json");
        Running::start(self.inside(host, command))
    }

    /// Starts a daemon that takes everything, and waits until it listens.
    fn daemon(&self, host: usize, home: &Home, name: &str) -> Running {
        let into = home.file("in");
        let into = into.to_str().unwrap();
        let mut daemon = self.start(
            host,
            home,
            &["daemon", "--yes", "--name", name, "--out", into],
        );
        daemon.next("hello");
        daemon
    }

    fn watch(&self, host: usize, home: &Home) -> Running {
        let mut watch = self.start(host, home, &["peers", "--watch"]);
        watch.next("hello");
        watch
    }
}

impl Drop for Lan {
    fn drop(&mut self) {
        for host in 0..self.hosts {
            let _ = system("ip", &["netns", "del", &self.host(host)]);
        }
        let _ = system("ip", &["netns", "del", &self.space("switch")]);
    }
}

/// Address of a host, with its network.
fn addr(host: usize) -> String {
    format!("10.77.0.{}/24", host + 1)
}

fn id(running: &Running) -> String {
    running.seen[0]["id"].as_str().unwrap().to_owned()
}

/// Whether this is news of that peer.
fn is(line: &Value, state: &str, id: &str) -> bool {
    line["t"] == "peer" && line["state"] == state && line["id"] == id
}

fn told(what: &str, since: Instant) {
    eprintln!("{what}: {:.1} s", since.elapsed().as_secs_f64());
}

fn addrs(line: &Value) -> Vec<String> {
    let addrs = line["addrs"].as_array().unwrap().iter();
    addrs
        .map(|addr| addr.as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn two_computers_list_each_other_until_one_leaves_dies_moves_or_is_unplugged() {
    let Some(lan) = Lan::new(2) else { return };
    let (anna, ben) = (Home::new(), Home::new());
    let a = lan.daemon(0, &anna, "anna");
    let begun = Instant::now();
    let b = lan.daemon(1, &ben, "ben");
    let (a_id, b_id) = (id(&a), id(&b));
    let mut seen_by_a = lan.watch(0, &anna);
    let mut seen_by_b = lan.watch(1, &ben);
    let first = seen_by_a.next_that(|line| is(line, "appeared", &b_id), "appears");
    told("seen after the start", begun);
    assert_eq!(
        (&first["name"], &first["kind"]),
        (&"ben".into(), &"key".into())
    );
    assert!(
        addrs(&first)
            .iter()
            .any(|addr| addr.starts_with("10.77.0.2:")),
        "{first}"
    );
    seen_by_b.next_that(|line| is(line, "appeared", &a_id), "appears");
    told("seen both ways", begun);

    b.signal(Signal::TERM);
    let begun = Instant::now();
    seen_by_a.next_that(|line| is(line, "gone", &b_id), "leaves");
    told("gone after a clean exit", begun);
    b.end().with_code(143);
    drop(seen_by_b);

    let b = lan.daemon(1, &ben, "ben");
    seen_by_a.next_that(|line| is(line, "appeared", &b_id), "comes back");
    b.signal(Signal::KILL);
    let begun = Instant::now();
    seen_by_a.next_that(|line| is(line, "gone", &b_id), "is dead");
    told("gone after kill -9", begun);
    drop(b);

    let b = lan.daemon(1, &ben, "ben");
    seen_by_a.next_that(|line| is(line, "appeared", &b_id), "comes back");
    told("back after kill -9", begun);
    lan.ip(1, &["addr", "del", &addr(1), "dev", "eth0"])
        .unwrap();
    lan.ip(1, &["addr", "add", "10.77.0.99/24", "dev", "eth0"])
        .unwrap();
    let begun = Instant::now();
    let moved = |line: &Value| {
        // The old one may be remembered for a while, behind it.
        let first = addrs(line).first().cloned().unwrap_or_default();
        line["t"] == "peer" && line["id"] == *b_id && first.starts_with("10.77.0.99:")
    };
    seen_by_a.next_that(moved, "moves");
    told("listed at its new address", begun);

    lan.ip(1, &["link", "set", "eth0", "down"]).unwrap();
    let begun = Instant::now();
    seen_by_a.next_that(|line| is(line, "gone", &b_id), "is unplugged");
    told("gone after its interface went down", begun);
    lan.ip(1, &["link", "set", "eth0", "up"]).unwrap();
    let begun = Instant::now();
    seen_by_a.next_that(|line| is(line, "appeared", &b_id), "is plugged in");
    told("back after its interface went up", begun);

    let ourselves = seen_by_a.seen.iter().filter(|line| line["t"] == "peer");
    assert!(ourselves.clone().count() > 5 && ourselves.clone().all(|line| line["id"] != *a_id));
    a.signal(Signal::TERM);
    b.signal(Signal::TERM);
}

#[test]
fn files_are_sent_to_a_name_and_twins_are_told_apart() {
    let Some(lan) = Lan::new(3) else { return };
    let homes = [Home::new(), Home::new(), Home::new()];
    let file = homes[0].write("a.txt", 100_000, 1);
    let file = file.to_str().unwrap();
    let kitchen = lan.daemon(1, &homes[1], "Kitchen PC");
    let begun = Instant::now();
    let sent = lan
        .start(0, &homes[0], &["send", "--to", "kit", file])
        .end()
        .with_code(0);
    told("sent to the beginning of a name", begun);
    let target = sent.only("target");
    assert_eq!(
        (&target["how"], &target["id"]),
        (&"nearby".into(), &id(&kitchen).into())
    );
    let arrived = std::fs::read(homes[1].file("in/a.txt")).unwrap();
    assert!(arrived == program::content(100_000, 1));

    let missing = lan.start(0, &homes[0], &["send", "--to", "nobody here", file]);
    missing.end().with_code(2);

    let twin = lan.daemon(2, &homes[2], "kitchen pc");
    let refused = lan.start(0, &homes[0], &["send", "--to", "kitchen pc", file]);
    let refused = refused.end().with_code(2);
    let message = refused.only("error")["message"].to_string();
    for running in [&kitchen, &twin] {
        assert!(message.contains(&id(running)[..8]), "{message}");
    }
    // The one that is trusted has the name for itself.
    let trust = ["peers", "trust", &id(&kitchen)];
    lan.start(0, &homes[0], &trust).end().with_code(0);
    let sent = lan.start(0, &homes[0], &["send", "--to", "kitchen pc", file]);
    let target = sent.end().with_code(0).only("target");
    assert_eq!(
        (&target["how"], &target["id"]),
        (&"known".into(), &id(&kitchen).into())
    );
    // Whoever only looks and sends is not announced.
    let peers = lan.start(2, &homes[2], &["peers"]).end().with_code(0);
    let names: Vec<_> = peers
        .of_kind("peer")
        .iter()
        .map(|p| p["name"].clone())
        .collect();
    assert_eq!(names, ["Kitchen PC"]);
}

#[test]
fn a_code_is_enough_in_the_same_network() {
    let Some(lan) = Lan::new(3) else { return };
    let homes = [Home::new(), Home::new(), Home::new()];
    let file = homes[0].write("film", 300_000, 1);
    let file = file.to_str().unwrap();
    let mut sender = lan.start(0, &homes[0], &["send", "--code", file]);
    let line = sender.next("code");
    assert_eq!(line["reach"], "nearby");
    let code = line["code"].as_str().unwrap().to_owned();
    let number = code.split('-').next().unwrap();
    // Another one waits in the same network, made by a program that goes on when it is given up.
    let _daemon = lan.daemon(2, &homes[2], "kitchen");
    let other = homes[2].write("other", 1000, 2);
    let mut other = lan.start(2, &homes[2], &["send", "--code", other.to_str().unwrap()]);
    let second = other.next("code")["code"].as_str().unwrap().to_owned();
    assert_ne!(second.split('-').next().unwrap(), number);
    // Whoever waits with a code takes nothing: nobody is told that he is there.
    let peers = lan.start(1, &homes[1], &["peers"]).end().with_code(0);
    let names: Vec<_> = peers
        .of_kind("peer")
        .iter()
        .map(|p| p["name"].clone())
        .collect();
    assert_eq!(names, ["kitchen"]);

    let receive = |code: &str| {
        let begun = Instant::now();
        let ended = lan
            .start(1, &homes[1], &["receive", "--out", "in", code])
            .end();
        told("used a code", begun);
        ended
    };
    let wrong = match code.ends_with("zebra-zebra") {
        true => format!("{number}-river-river"),
        false => format!("{number}-zebra-zebra"),
    };
    let refused = receive(&wrong).with_code(5);
    assert_eq!(refused.only("error")["code"], "bad-code");
    let line = sender.next("code");
    assert_eq!(line["wrong"], 1);
    let code = line["code"].as_str().unwrap().to_owned();
    receive(&code).with_code(0);
    sender.end().with_code(0);
    let arrived = std::fs::read(homes[1].file("in/film")).unwrap();
    assert!(arrived == program::content(300_000, 1));
    receive(&code).with_code(5);
    // A code that is given up is not announced any more: nobody is asked, and none is wrong.
    other.signal(Signal::INT);
    other.end().with_code(130);
    let ended = receive(&second).with_code(5);
    let message = ended.only("error")["message"].to_string();
    assert!(message.contains("Nobody waits"), "{message}");
}

/// Says again and again that codes with a number wait at peers that have none.
const ROGUES: &str = r#"
import base64, os, socket, struct, sys, time
def name(text):
    return b"".join(bytes([len(part)]) + part.encode() for part in text.split(".")) + b"\0"
service = "_peercode._udp.local"
def record(of, kind, data, flush=0x8000):
    return name(of) + struct.pack(">HHIH", kind, 1 | flush, 120, len(data)) + data
def rogue(id, port):
    label = sys.argv[2] + "-" + id
    full, host = label + "." + service, label + ".local"
    return [record(service, 12, name(full), 0),
            record(full, 33, struct.pack(">HHH", 0, 0, int(port)) + name(host)),
            record(full, 16, b"\x03v=1"), record(host, 1, socket.inet_aton(sys.argv[1]))]
out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
out.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(sys.argv[1]))
out.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 255)
for option in socket.SO_REUSEADDR, socket.SO_REUSEPORT:
    out.setsockopt(socket.SOL_SOCKET, option, 1)
out.bind((sys.argv[1], 5353))
nobody = base64.b32encode(os.urandom(32)).decode().lower().rstrip("=")
rogues = [rogue(*peer.split(":")) for peer in sys.argv[3:] + [nobody + ":9"]]
while True:
    for records in rogues:
        head = struct.pack(">HHHHHH", 0, 0x8400, 0, len(records), 0, 0)
        out.sendto(head + b"".join(records), ("224.0.0.251", 5353))
    time.sleep(0.05)
"#;

#[test]
fn who_only_claims_a_code_keeps_nobody_from_using_it() {
    if system("python3", &["--version"]).is_none() {
        let must = std::env::var_os("PEERCONNECT_TEST_ALL").is_some();
        return assert!(!must, "no python3");
    }
    let Some(lan) = Lan::new(3) else { return };
    let homes = [(); 4].map(|()| Home::new());
    let file = homes[0].write("film", 300_000, 1);
    let mut sender = lan.start(0, &homes[0], &["send", "--code", file.to_str().unwrap()]);
    let code = sender.next("code")["code"].as_str().unwrap().to_owned();
    let number = code.split('-').next().unwrap();
    // Two that are there and know nothing of it, and one that is not.
    let claimants = [2, 3].map(|home| lan.daemon(2, &homes[home], "claimant"));
    let claims = claimants.each_ref().map(|claimant| {
        let addr = claimant.seen[0]["addrs"][0].as_str().unwrap();
        format!("{}:{}", id(claimant), addr.rsplit(':').next().unwrap())
    });
    let ip = addr(2);
    let ip = ip.split('/').next().unwrap();
    let mut rogues = Command::new("ip");
    rogues.args([
        "netns",
        "exec",
        &lan.host(2),
        "python3",
        "-c",
        ROGUES,
        ip,
        number,
    ]);
    let mut rogues = rogues.args(&claims).spawn().unwrap();
    let receiver = lan.start(1, &homes[1], &["receive", "--out", "in", &code]);
    receiver.end().with_code(0);
    sender.end().with_code(0);
    assert!(
        rogues.try_wait().unwrap().is_none(),
        "they have claimed nothing"
    );
    rogues.kill().unwrap();
    rogues.wait().unwrap();
    let arrived = std::fs::read(homes[1].file("in/film")).unwrap();
    assert!(arrived == program::content(300_000, 1));
}

fn block_multicast(lan: &Lan, host: usize) {
    let block = "add table inet block; \
                 add chain inet block out { type filter hook output priority 0; }; \
                 add rule inet block out ip daddr 224.0.0.0/4 drop; \
                 add rule inet block out ip6 daddr ff00::/8 udp dport 5353 drop";
    lan.run(host, &["nft", block]);
}

#[test]
fn the_doctor_tells_blocked_multicast_from_an_empty_network() {
    let Some(lan) = Lan::new(2) else { return };
    let (anna, ben) = (Home::new(), Home::new());
    let looks = |codes: &[&str]| {
        let doctor = lan.start(0, &anna, &["doctor"]).end().with_code(0);
        let found = doctor.of_kind("finding");
        let found: Vec<&str> = found
            .iter()
            .filter_map(|line| line["code"].as_str())
            .collect();
        assert!(codes.iter().all(|code| found.contains(code)), "{found:?}");
    };
    looks(&["network", "listening", "multicast", "nobody-near"]);
    let _b = lan.daemon(1, &ben, "ben");
    looks(&["multicast", "nearby"]);
    block_multicast(&lan, 0);
    looks(&["no-multicast"]);
    lan.run(0, &["nft", "delete", "table", "inet", "block"]);
    looks(&["multicast"]);
    let deaf = "add table inet deaf; \
                add chain inet deaf in { type filter hook input priority 0; }; \
                add rule inet deaf in udp dport 5353 drop";
    lan.run(0, &["nft", deaf]);
    looks(&["no-multicast"]);
}

#[test]
fn where_multicast_is_blocked_a_known_peer_is_found_where_it_was() {
    let Some(lan) = Lan::new(2) else { return };
    let (anna, ben) = (Home::new(), Home::new());
    let file = anna.write("a.txt", 1000, 1);
    let file = file.to_str().unwrap();
    let b = lan.daemon(1, &ben, "ben");
    let first = lan.start(0, &anna, &["send", "--to", "10.77.0.2", file]);
    first.end().with_code(0);
    for host in [0, 1] {
        block_multicast(&lan, host);
    }
    let other = anna.write("b.txt", 1000, 2);
    let begun = Instant::now();
    let sent = lan.start(0, &anna, &["send", "--to", "ben", other.to_str().unwrap()]);
    let target = sent.end().with_code(0).only("target");
    told("sent to a known peer without multicast", begun);
    assert_eq!(
        (&target["id"], &target["nearby"]),
        (&id(&b).into(), &false.into())
    );
    assert!(ben.file("in/b.txt").exists());
}

#[test]
fn a_receiver_that_moved_is_found_again_and_the_transfer_goes_on() {
    let Some(lan) = Lan::new(2) else { return };
    let (anna, ben) = (Home::new(), Home::new());
    let file = anna.write("a.bin", 12_000_000, 1);
    let file = file.to_str().unwrap();
    let _b = lan.daemon(1, &ben, "ben");
    // Only the sender can call: so it is the one who has to find the other.
    let deaf = "add table inet deaf; \
                add chain inet deaf in { type filter hook input priority 0; }; \
                add rule inet deaf in udp dport 3485 ct state new drop";
    lan.run(0, &["nft", deaf]);
    let mut sending = lan.start(0, &anna, &["send", "--to", "ben", "--limit", "3M", file]);
    sending.next_that(
        |line| line["t"] == "progress" && line["bytes"].as_u64() > Some(2_000_000),
        "two megabytes",
    );
    lan.ip(1, &["addr", "del", &addr(1), "dev", "eth0"])
        .unwrap();
    lan.ip(1, &["addr", "add", "10.77.0.99/24", "dev", "eth0"])
        .unwrap();
    let begun = Instant::now();
    sending.state("lost");
    told("noticed", begun);
    sending.state("running");
    told("found at its new address", begun);
    let ended = sending.end().with_code(0);
    let path = ended.of_kind("path").pop().unwrap();
    let way = path["addr"].as_str().unwrap();
    assert!(!way.starts_with("10.77.0.2:"), "{way}");
    let arrived = std::fs::read(ben.file("in/a.bin")).unwrap();
    assert!(arrived == program::content(12_000_000, 1));
    let sent = ended.only("summary")["sent_bytes"].as_u64().unwrap();
    eprintln!("{sent} bytes were sent for 12000000");
}

#[test]
fn a_peer_whose_port_is_shut_is_told_so_and_believed_no_more_once_it_is_reached() {
    let Some(lan) = Lan::new(2) else { return };
    let (anna, ben) = (Home::new(), Home::new());
    let shut = "add table inet shut; \
                add chain inet shut in { type filter hook input priority 0; }; \
                add rule inet shut in udp dport 3485 drop; \
                add rule inet shut in tcp dport 3485 drop";
    lan.run(1, &["nft", shut]);
    let b = lan.daemon(1, &ben, "ben");
    let _a = lan.daemon(0, &anna, "anna");
    let b_id = id(&b);
    let file = anna.write("a.txt", 1000, 1);
    let send = || {
        let args = ["send", "--to", &b_id, file.to_str().unwrap()];
        lan.start(0, &anna, &args).end()
    };
    let mut seen = lan.watch(0, &anna);
    seen.next_that(|line| is(line, "appeared", &b_id), "appears");
    let begun = Instant::now();
    // At first it may have gone; once it is heard again it is clear that its port is shut.
    loop {
        let code = send().only("error")["code"].clone();
        if code == "peer-firewall" {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(120), "still {code}");
    }
    told("told apart from one that has gone", begun);
    let looks = || {
        let ended = lan.start(1, &ben, &["doctor"]).end();
        let findings = ended.of_kind("finding").into_iter();
        let missed = findings.filter(|line| line["code"] == "not-reached");
        missed.map(|line| line["text"].to_string()).next()
    };
    let text = loop {
        if let Some(text) = looks() {
            break text;
        }
        assert!(
            begun.elapsed() < Duration::from_secs(120),
            "ben is not told"
        );
    };
    assert!(text.contains("anna can see this computer"), "{text}");
    told("told to the one whose port is shut", begun);

    lan.run(1, &["nft", "delete", "table", "inet", "shut"]);
    send().with_code(0);
    let begun = Instant::now();
    while let Some(text) = looks() {
        assert!(begun.elapsed() < Duration::from_secs(60), "{text}");
    }
    told("taken back after a connection", begun);
}

#[test]
fn link_local_ipv6_alone_is_enough() {
    let Some(lan) = Lan::new(2) else { return };
    let (anna, ben) = (Home::new(), Home::new());
    for host in [0, 1] {
        lan.ip(host, &["addr", "del", &addr(host), "dev", "eth0"])
            .unwrap();
    }
    let file = anna.write("a.txt", 100_000, 1);
    let _b = lan.daemon(1, &ben, "ben");
    let begun = Instant::now();
    let mut watch = lan.watch(0, &anna);
    let seen = watch.next_that(|line| line["name"] == "ben", "appears");
    told("seen over IPv6 alone", begun);
    assert!(
        addrs(&seen).iter().all(|addr| addr.starts_with("[fe80:")),
        "{seen}"
    );
    drop(watch);
    let sent = lan.start(0, &anna, &["send", "--to", "ben", file.to_str().unwrap()]);
    sent.end().with_code(0);
    assert!(std::fs::read(ben.file("in/a.txt")).unwrap() == program::content(100_000, 1));
}

/// How many packets of discovery a host has sent.
fn sent(lan: &Lan, host: usize) -> u64 {
    let rules = lan.run(host, &["nft", "-j", "list", "table", "inet", "count"]);
    let rules: Value = serde_json::from_str(&rules).unwrap();
    let rules = rules["nftables"].as_array().unwrap().iter();
    let counters = rules.filter_map(|rule| rule["rule"]["expr"].as_array());
    let counted = counters
        .flatten()
        .filter_map(|e| e["counter"]["packets"].as_u64());
    counted.sum()
}

#[test]
fn who_never_announces_sends_nothing_at_all() {
    let Some(lan) = Lan::new(2) else { return };
    let homes = [Home::new(), Home::new()];
    for host in [0, 1] {
        let count = "add table inet count; \
                     add chain inet count out { type filter hook output priority 0; }; \
                     add rule inet count out oifname eth0 meta l4proto { udp, tcp, igmp } counter";
        lan.run(host, &["nft", count]);
    }
    let mut silent = homes[1].command(&["daemon", "--yes", "--json", "--out", "in"]);
    silent.env("PEERCONNECT_ANNOUNCE", "never");
    let mut silent = lan.inside(1, silent);
    silent.env("PEERCONNECT_ANNOUNCE", "never");
    let mut silent = Running::start(silent);
    silent.next("hello");
    let peers = homes[1].command(&["peers", "--json"]);
    Running::start(lan.inside(1, peers)).end().with_code(0);
    let _open = lan.daemon(0, &homes[0], "open");
    let begun = Instant::now();
    while sent(&lan, 0) < 3 {
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "the other says nothing either"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(sent(&lan, 1), 0);
}

/// Announces so many peers that do not exist: six in a packet, and others' services between them.
const FLOOD: &str = r#"
import base64, os, socket, struct, sys
def name(text):
    return b"".join(bytes([len(part)]) + part.encode() for part in text.split(".")) + b"\0"
service = "_peerconnect._udp.local"
def record(of, kind, data, flush=0x8000):
    return name(of) + struct.pack(">HHIH", kind, 1 | flush, 4500, len(data)) + data
def peer():
    id = base64.b32encode(os.urandom(32)).decode().lower().rstrip("=")
    full, host = id + "." + service, id + ".local"
    text = b"".join(bytes([len(t)]) + t for t in [b"v=1", b"id=" + id.encode(), b"name=flood"])
    return [record(service, 12, name(full), 0),
            record(full, 33, struct.pack(">HHH", 0, 0, 3485) + name(host)),
            record(full, 16, text), record(host, 1, os.urandom(1).join([b"\x0a\x4d\x01", b""]))]
out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
out.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(sys.argv[1]))
out.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 255)
out.bind((sys.argv[1], 5353))
for n in range(int(sys.argv[2]) // 2):
    records = peer() + peer()
    head = struct.pack(">HHHHHH", 0, 0x8400, 0, len(records), 0, 0)
    out.sendto(head + b"".join(records), ("224.0.0.251", 5353))
"#;

/// What the process has of memory now, in bytes, and what it has used of a processor, in seconds.
fn cost(pid: u32) -> (u64, f64) {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap()
        .split_whitespace()
        .collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    (kib * 1024, ticks as f64 / 100.0)
}

#[test]
fn a_hundred_thousand_services_do_not_fill_the_memory_nor_hide_a_known_peer() {
    let Some(lan) = Lan::new(3) else { return };
    if system("python3", &["--version"]).is_none() {
        assert!(
            std::env::var_os("PEERCONNECT_TEST_ALL").is_none(),
            "no python3"
        );
        return eprintln!("skipped: needs python3");
    }
    let homes = [Home::new(), Home::new()];
    let a = lan.daemon(0, &homes[0], "anna");
    let b = lan.daemon(1, &homes[1], "ben");
    let b_id = id(&b);
    let mut seen = lan.watch(0, &homes[0]);
    seen.next_that(|line| is(line, "appeared", &b_id), "appears");
    lan.start(0, &homes[0], &["send", "--to", "ben", "."]).end();
    let (before, used_before) = cost(a.pid());
    let begun = Instant::now();
    let mut most = before;
    std::thread::scope(|scope| {
        let flood = scope.spawn(|| lan.run(2, &["python3", "-c", FLOOD, "10.77.0.3", "100000"]));
        while !flood.is_finished() {
            most = most.max(cost(a.pid()).0);
            std::thread::sleep(Duration::from_millis(50));
        }
        flood.join().unwrap();
    });
    let (after, used) = cost(a.pid());
    let mib = |bytes: u64| bytes / 1024 / 1024;
    eprintln!(
        "flood of {:.1} s: {} MiB before, {} at most, {} after; {:.1} s of a processor",
        begun.elapsed().as_secs_f64(),
        mib(before),
        mib(most),
        mib(after),
        used - used_before,
    );
    assert!(
        most.max(after) < before + 64 * 1024 * 1024,
        "{} MiB",
        mib(most.max(after))
    );
    let peers = lan.start(0, &homes[0], &["peers"]).end().with_code(0);
    let listed = peers
        .of_kind("peer")
        .iter()
        .filter(|p| p["nearby"] == true)
        .count();
    assert!(listed <= 256, "{listed}");
    // Known, and still where it was.
    let file = homes[0].write("a.txt", 1000, 1);
    let sent = lan.start(
        0,
        &homes[0],
        &["send", "--to", &b_id, file.to_str().unwrap()],
    );
    sent.end().with_code(0);
    // Once the flood is over it is heard again.
    drop(b);
    let _b = lan.daemon(1, &homes[1], "ben again");
    let back =
        |line: &Value| line["t"] == "peer" && line["id"] == *b_id && line["name"] == "ben again";
    seen.next_that(back, "is heard again");
    told("heard again after the flood", begun);
}
