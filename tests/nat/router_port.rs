//! A port that the router opens for who asks it: then nobody else is needed.

use std::fs::File;
use std::process::{Child, Stdio};

use super::*;

/// A lab whose routers can be asked for ports. `None` where this cannot be had. With
/// `PEERCONNECT_TEST_ALL=1` that is a failure.
pub(super) fn with_python(options: &str) -> Option<Lab> {
    let version = Command::new("python3").arg("--version").output();
    if version.is_ok_and(|output| output.status.success()) {
        return Lab::up(options);
    }
    let must = std::env::var_os("PEERCONNECT_TEST_ALL").is_some();
    assert!(!must, "no python3");
    eprintln!("skipped: needs python3");
    None
}

/// The program that a router has for those who ask for ports.
pub(super) struct Ports {
    child: Child,
    said: std::path::PathBuf,
}

impl Ports {
    /// At the router in front of `b`.
    pub(super) async fn at(lab: &Lab, speaks: &str, outside: &str, dir: &Path) -> Self {
        let said = dir.join("ports");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/nat/natlab_ports.py");
        let words = lab.at("nb");
        let child = Command::new(&words[0])
            .args(&words[1..])
            .arg("python3")
            .arg(script)
            .args([speaks, "192.168.2.1", outside])
            .stdin(Stdio::null())
            .stdout(File::create(&said).unwrap())
            .spawn()
            .unwrap();
        let ports = Self { child, said };
        ports.until("ready").await;
        ports
    }

    async fn until(&self, word: &str) {
        let start = Instant::now();
        loop {
            let said = std::fs::read_to_string(&self.said).unwrap();
            if said.lines().any(|line| line.starts_with(word)) {
                return;
            }
            assert!(start.elapsed() < common::side::HANG, "no {word}: {said}");
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }
}

impl Drop for Ports {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(super) fn side(lab: &Lab, host: &str, dir: &Path) -> Side {
    let mut side = Side::at(dir.join(host), &["--port", "3485"]);
    side.through = lab.at(host);
    side.announce = "all";
    side
}

pub(super) fn receiver(lab: &Lab, host: &str, dir: &Path) -> Side {
    let mut receiver = side(lab, host, dir);
    let inbox = receiver.home.join("in").to_str().unwrap().to_owned();
    let args = ["daemon", "--yes", "--out", &inbox];
    receiver.args = args.map(String::from).into();
    receiver.start();
    receiver
}

/// Somebody in another network sends to the receiver, whose link this is.
pub(super) async fn sent_directly(sender: &mut Side, receiver: &Side, link: &Value) {
    let film = sender.home.join("film");
    std::fs::write(&film, content(7, SMALL)).unwrap();
    let link = link.as_str().unwrap();
    sender.args = ["send", "--to", link, film.to_str().unwrap()]
        .map(String::from)
        .into();
    sender.start();
    assert!(sender.end().await.success(), "{}", sender.said());
    assert_eq!(sender.line("path").await["kind"], "direct");
    let there = tree(&receiver.home.join("in"));
    assert!(there.into_iter().eq([("film".into(), content(7, SMALL))]));
}

/// The receiver is behind the strictest of routers, and there is no relay.
async fn reached(speaks: &str, port: &str) {
    let Some(lab) = with_python("a=sym b=sym") else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let ports = Ports::at(&lab, speaks, "203.0.113.102", dir.path()).await;
    let mut receiver = receiver(&lab, "b", dir.path());
    let hello = receiver.line("hello").await;
    let addrs = hello["addrs"].as_array().unwrap();
    let outside = format!("203.0.113.102:{port}");
    assert!(addrs.iter().any(|addr| *addr == *outside), "{hello}");
    let mut sender = side(&lab, "a", dir.path());
    sent_directly(&mut sender, &receiver, &hello["link"]).await;

    // Whoever leaves closes the door.
    receiver.signal(Signal::INT);
    receiver.end().await;
    ports.until("closed").await;
}

#[tokio::test]
async fn a_port_that_the_router_opens_by_pcp_makes_a_relay_unnecessary() {
    reached("pcp", "3485").await;
}

#[tokio::test]
async fn so_does_another_one_that_an_older_router_opens_by_nat_pmp() {
    reached("natpmp", "43485").await;
}

#[tokio::test]
async fn a_router_behind_another_one_is_no_help_and_keeps_no_port_open() {
    let Some(lab) = with_python("a=linux b=linux cb=linux") else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let ports = Ports::at(&lab, "pcp", "100.64.2.2", dir.path()).await;
    let mut receiver = receiver(&lab, "b", dir.path());
    let hello = receiver.line("hello").await;
    ports.until("open").await;
    ports.until("closed").await;
    assert_eq!(hello["addrs"].as_array().unwrap().len(), 1, "{hello}");
    receiver.kill();
}

#[tokio::test]
async fn behind_a_tunnel_the_router_is_asked_nothing_and_the_address_of_the_home_is_not_told() {
    let Some(lab) = with_python("a=linux b=linux") else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let ports = Ports::at(&lab, "pcp", "203.0.113.102", dir.path()).await;
    lab.ip("b", "link add tunnel type veth peer name farend");
    lab.ip("b", "addr add 10.8.0.2/24 dev tunnel");
    lab.ip("b", "link set tunnel up");
    lab.ip("b", "link set farend up");
    // As programs for tunnels do it, to win against the route that is there.
    lab.ip("b", "route add 0.0.0.0/1 via 10.8.0.1 dev tunnel");
    lab.ip("b", "route add 128.0.0.0/1 via 10.8.0.1 dev tunnel");
    let mut receiver = receiver(&lab, "b", dir.path());
    let hello = receiver.line("hello").await;
    assert!(!hello.to_string().contains("203.0.113"), "{hello}");
    assert_eq!(std::fs::read_to_string(&ports.said).unwrap(), "ready\n");

    // Without it the router is asked at once.
    lab.ip("b", "link del tunnel");
    ports.until("open").await;
    receiver.kill();
}
