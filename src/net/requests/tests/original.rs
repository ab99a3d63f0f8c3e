//! With a peer that behaves as an original does, in a process of its own. The endpoint's time is
//! still ours: a minute of its rhythm takes as long as the peer needs for its answers.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use serde_json::Value as Json;

use super::super::endpoint::{Destination, Endpoint, Event, Own};
use super::super::links::Links;
use super::super::{RequestsOptions, Sighting, open};
use crate::peer::PeerId;
use crate::protocol::legacy::LegacyId;

/// No step of the peer takes longer, however slow the computer is.
const DEADLINE: Duration = Duration::from_secs(30);

/// The reference peer, ended when dropped.
struct Original {
    child: Child,
    events: Receiver<Json>,
    seen: Vec<Json>,
}

impl Original {
    /// Starts it, or says that this computer cannot.
    fn start(arguments: &[&str]) -> Option<Self> {
        let has_python = Command::new("python3")
            .args(["-c", "import umsgpack"])
            .stderr(Stdio::null())
            .status();
        if !has_python.is_ok_and(|status| status.success()) {
            let must = std::env::var_os("PEERCONNECT_TEST_ALL").is_some();
            assert!(!must, "python3 with u-msgpack-python is needed");
            return None;
        }
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/legacy/legacy_peer.py");
        let mut child = Command::new("python3")
            .arg(script)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (sender, events) = sync_channel(1000);
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let event = serde_json::from_str(&line).unwrap();
                if sender.send(event).is_err() {
                    return;
                }
            }
        });
        Some(Self {
            child,
            events,
            seen: Vec::new(),
        })
    }

    fn receiving(folder: &Path) -> Option<(Self, SocketAddr)> {
        let mut original = Self::start(&[
            "recv",
            "--listen",
            "127.0.0.1:0",
            "--req-port",
            "0",
            "--id",
            "1234",
            "--name",
            "olivia",
            "--dir",
            folder.to_str().unwrap(),
        ])?;
        let listening = original.wait_for("listening", |_| true);
        let port = listening["req_port"].as_u64().unwrap();
        Some((original, ([127, 0, 0, 1], port as u16).into()))
    }

    fn take(&mut self, wait: Duration) -> Option<Json> {
        let event = self.events.recv_timeout(wait).ok()?;
        self.seen.push(event.clone());
        Some(event)
    }

    fn wait_for(&mut self, name: &str, matches: impl Fn(&Json) -> bool) -> Json {
        let until = Instant::now() + DEADLINE;
        let is_it = |event: &&Json| event["event"] == name && matches(event);
        if let Some(event) = self.seen.iter().find(is_it) {
            return event.clone();
        }
        while let Some(event) = self.take(until.saturating_duration_since(Instant::now())) {
            if is_it(&&event) {
                return event;
            }
        }
        panic!("no {name} in {:?}", self.seen)
    }

    /// It is still as it was started.
    fn assert_well(&mut self) {
        while self.take(Duration::ZERO).is_some() {}
        for event in &self.seen {
            let name = event["event"].as_str().unwrap();
            let bad = [
                "bad-datagram",
                "unknown-rpc",
                "fatal",
                "acceptor-died",
                "error",
            ];
            assert!(!bad.contains(&name), "{event}");
        }
        assert_eq!(self.child.try_wait().unwrap(), None, "it runs");
    }
}

impl Drop for Original {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The endpoint on a socket, in its own time.
struct Site {
    socket: UdpSocket,
    endpoint: Endpoint,
    now: Instant,
    events: Vec<Event>,
}

impl Site {
    fn new() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let own = Own {
            peer: PeerId::from_bytes([1; 32]),
            name: "anna".into(),
            stream_port: 3485,
            requests_port: socket.local_addr().unwrap().port(),
            quic_port: Some(4000),
        };
        let now = Instant::now();
        Self {
            socket,
            endpoint: Endpoint::new(now, own, Links::of_this_computer(), [7; 32]),
            now,
            events: Vec::new(),
        }
    }

    /// Sends everything, and takes what comes within `wait`.
    fn exchange(&mut self, wait: Duration) {
        while let Some(transmit) = self.endpoint.poll_transmit() {
            if let Destination::Peer(to) = transmit.to {
                self.socket.send_to(&transmit.bytes, to).unwrap();
            }
        }
        self.socket.set_read_timeout(Some(wait)).unwrap();
        let mut buffer = [0; 65_536];
        if let Ok((len, from)) = self.socket.recv_from(&mut buffer) {
            self.endpoint
                .handle_datagram(self.now, from, &buffer[..len]);
        }
        while let Some(event) = self.endpoint.poll_event() {
            self.events.push(event);
        }
    }

    /// Lets its time pass; nothing is given up while the peer takes its time to answer.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        let until = Instant::now() + DEADLINE;
        loop {
            self.exchange(Duration::from_millis(20));
            if self.endpoint.calls.is_waiting() {
                assert!(Instant::now() < until, "a call is not answered");
                continue;
            }
            let Some(at) = self.endpoint.poll_timeout().filter(|at| *at <= end) else {
                self.now = end;
                return;
            };
            self.now = at;
            self.endpoint.handle_timeout(at);
        }
    }

    fn names(&self) -> Vec<String> {
        let name = |sighting| match sighting {
            Sighting::Original { record, .. } => Some(record.name),
            Sighting::Own { .. } => None,
        };
        self.endpoint
            .sightings()
            .into_iter()
            .filter_map(name)
            .collect()
    }
}

fn own_id() -> String {
    LegacyId::of_installation(&PeerId::from_bytes([1; 32])).to_string()
}

#[test]
fn an_original_that_is_checked_in_with_knows_us_and_survives_ten_minutes_of_our_rhythm() {
    let folder = tempfile::tempdir().unwrap();
    let Some((mut original, requests)) = Original::receiving(folder.path()) else {
        return;
    };
    let mut site = Site::new();
    site.endpoint.check_in(site.now, requests, 1);
    site.pass(Duration::from_secs(1));
    let Some(Event::CheckedIn(1, Ok(found))) = site.events.first() else {
        panic!("{:?}", site.events);
    };
    assert_eq!(found.record.name, "olivia");
    assert_eq!(found.record.id, LegacyId::DEFAULT_PROFILE);
    let known = original.wait_for("peer", |event| event["peer_id"] == own_id().as_str());
    assert_eq!(known["name"], "anna");
    assert_eq!(known["ip"], "127.0.0.1");
    site.pass(Duration::from_secs(600));
    assert_eq!(site.names(), ["olivia"]);
    for rpc in ["ping", "find_node", "store_peers_in_list"] {
        original.wait_for("rpc", |event| event["name"] == rpc);
    }
    // And it still answers.
    site.endpoint.check_in(site.now, requests, 2);
    site.pass(Duration::from_secs(1));
    let last = site.events.last();
    assert!(matches!(last, Some(Event::CheckedIn(2, Ok(_)))), "{last:?}");
    original.assert_well();
}

#[test]
fn an_original_that_looks_around_finds_us_and_we_find_it() {
    let mut site = Site::new();
    let at = site.socket.local_addr().unwrap().to_string();
    let Some(mut original) = Original::start(&[
        "discover",
        &at,
        "--ip",
        "127.0.0.1",
        "--req-port",
        "0",
        "--wait",
        "3",
        "--name",
        "oscar",
    ]) else {
        return;
    };
    let until = Instant::now() + DEADLINE;
    while original.child.try_wait().unwrap().is_none() {
        assert!(Instant::now() < until);
        site.exchange(Duration::from_millis(50));
        site.now += Duration::from_millis(50);
        site.endpoint.handle_timeout(site.now);
    }
    assert_eq!(site.names(), ["oscar"]);
    let found = original.wait_for("found", |_| true);
    assert_eq!(found["peers"][0][0], own_id().as_str(), "{found}");
    assert_eq!(found["peers"][0][1], "anna");
    let reply = original.wait_for("find-reply", |_| true);
    assert_eq!(reply["peer_id"], own_id().as_str());
}

#[test]
fn an_original_checks_in_with_us() {
    let mut site = Site::new();
    let at = site.socket.local_addr().unwrap().to_string();
    let Some(mut original) = Original::start(&[
        "checkin",
        &at,
        "--ip",
        "127.0.0.1",
        "--req-port",
        "0",
        "--name",
        "oscar",
        "--stay",
        "2",
    ]) else {
        return;
    };
    let until = Instant::now() + DEADLINE;
    while original.child.try_wait().unwrap().is_none() {
        assert!(Instant::now() < until);
        site.exchange(Duration::from_millis(50));
        site.now += Duration::from_millis(50);
        site.endpoint.handle_timeout(site.now);
    }
    let checked_in = original.wait_for("checked-in", |_| true);
    assert_eq!(checked_in["ok"], true);
    assert_eq!(checked_in["record"][1], "anna");
    assert_eq!(site.names(), ["oscar"]);
}

/// The whole of it: sockets, task and handle.
#[tokio::test]
async fn the_task_checks_in_and_shows_whom_it_found() {
    let folder = tempfile::tempdir().unwrap();
    let Some((mut original, addr)) = Original::receiving(folder.path()) else {
        return;
    };
    let options = RequestsOptions {
        port: 0,
        multicast: false,
        name: "anna".into(),
        ..RequestsOptions::new(PeerId::from_bytes([1; 32]), 3485, [7; 32])
    };
    let (requests, task) = open(options).unwrap();
    let found = requests.check_in(addr).await.unwrap();
    assert_eq!(found.record.name, "olivia");
    assert_eq!(found.stream.ip().to_string(), "127.0.0.1");
    original.wait_for("peer", |event| event["peer_id"] == own_id().as_str());
    let mut sightings = requests.sightings();
    let shown = sightings.wait_for(|all| !all.is_empty());
    let shown = tokio::time::timeout(DEADLINE, shown)
        .await
        .unwrap()
        .unwrap()
        .clone();
    let [
        Sighting::Original {
            record,
            addr: stream,
            requests: at,
            ..
        },
    ] = shown.as_slice()
    else {
        panic!("{shown:?}");
    };
    assert_eq!(
        (record.name.as_str(), *stream, *at),
        ("olivia", found.stream, addr)
    );
    original.assert_well();
    task.shutdown().await;
    let error = requests.check_in(addr).await.unwrap_err();
    assert_eq!(error, super::super::CheckInError::Stopped);
}
