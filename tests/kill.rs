//! The real programs, killed and stopped at any time.
#![cfg(unix)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    dead_code,
    missing_docs,
    unreachable_pub
)]

mod common;

use std::fs::File;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use common::{content, tree};
use peerconnect::config::Paths;
use peerconnect::node::control;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Far more than anything takes.
const HANG: Duration = Duration::from_secs(60);
const KILLS: u32 = 50;
const LARGE: usize = 64 * 1024 * 1024;

/// One installation, its port, and the program that runs now.
struct Side {
    home: PathBuf,
    port: u16,
    args: Vec<String>,
    child: Option<Child>,
}

impl Side {
    fn new(home: PathBuf) -> Self {
        std::fs::create_dir_all(&home).unwrap();
        // Free now; nobody else asks for a particular one.
        let free = UdpSocket::bind("127.0.0.1:0").unwrap();
        Self {
            home,
            port: free.local_addr().unwrap().port(),
            args: Vec::new(),
            child: None,
        }
    }

    fn start(&mut self) {
        let out = |name: &str| File::create(self.home.join(name)).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_peerconnect"));
        command
            .env_clear()
            .env("PEERCONNECT_CONFIG_DIR", self.home.join("config"))
            .env("PEERCONNECT_ANNOUNCE", "never")
            .args(&self.args)
            .args(["--json", "--bind", "127.0.0.1", "--port"])
            .arg(self.port.to_string())
            .stdin(Stdio::null())
            .stdout(out("stdout"))
            .stderr(out("stderr"))
            .current_dir(&self.home);
        self.child = Some(command.spawn().unwrap());
    }

    fn said(&self) -> String {
        let read = |name: &str| std::fs::read_to_string(self.home.join(name)).unwrap();
        format!("{}{}", read("stdout"), read("stderr"))
    }

    /// The first JSON line of this kind.
    async fn line(&self, kind: &str) -> Value {
        let start = Instant::now();
        loop {
            let text = std::fs::read_to_string(self.home.join("stdout")).unwrap();
            let whole = text
                .lines()
                .filter_map(|line| serde_json::from_str(line).ok());
            if let Some(line) = { whole }.find(|line: &Value| line["t"] == kind) {
                return line;
            }
            assert!(start.elapsed() < HANG, "no {kind}: {}", self.said());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(self.child.as_ref().unwrap());
        kill_process(pid, signal).unwrap();
    }

    fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    fn ended(&mut self) -> Option<ExitStatus> {
        self.child.as_mut().unwrap().try_wait().unwrap()
    }

    /// Bytes that have travelled so far in the run of the program that is running.
    async fn moved(&self) -> u64 {
        let paths = Paths::below(&self.home.join("config"));
        let Ok(Some(node)) = control::connect(&paths).await else {
            return 0;
        };
        let picture = node.overview().borrow().clone();
        picture.transfers.iter().map(|t| t.bytes_moved).sum()
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.kill();
        }
    }
}

/// A sender and a receiver on one computer.
struct Two {
    dir: tempfile::TempDir,
    sender: Side,
    receiver: Side,
    link: String,
}

impl Two {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let sender = Side::new(dir.path().join("sender"));
        let mut receiver = Side::new(dir.path().join("receiver"));
        let inbox = receiver.home.join("in").to_str().unwrap().to_owned();
        receiver.args = ["daemon", "--yes", "--out", &inbox]
            .map(String::from)
            .into();
        receiver.start();
        let link = receiver.line("hello").await["link"]
            .as_str()
            .unwrap()
            .to_owned();
        Self {
            dir,
            sender,
            receiver,
            link,
        }
    }

    fn out(&self) -> PathBuf {
        self.sender.home.join("out")
    }

    fn inbox(&self) -> PathBuf {
        self.receiver.home.join("in")
    }

    /// Starts to send this folder.
    fn send(&mut self, folder: &Path, limit: &str) {
        let folder = folder.to_str().unwrap();
        let args = ["send", "--limit", limit, "--to", &self.link, folder];
        self.sender.args = args.map(String::from).into();
        self.sender.start();
    }

    /// Every name that is there holds the whole and right content.
    fn check(&self, when: &str) {
        let sent = self.out();
        for (name, bytes) in tree(&self.inbox()) {
            if !name.contains(".pcpart") && !name.ends_with('/') {
                let right = std::fs::read(sent.join(&name));
                assert!(right.is_ok_and(|right| right == bytes), "{when}: {name}");
            }
        }
    }

    fn check_end(&self) {
        let (sent, got) = (tree(&self.out()), tree(&self.inbox()));
        let names = |tree: &std::collections::BTreeMap<String, Vec<u8>>| {
            tree.keys().cloned().collect::<Vec<_>>()
        };
        assert_eq!(names(&sent), names(&got));
        assert!(sent == got);
    }
}

/// Numbers that look random and are the same each time.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

/// Small files, an empty one, and a large one. Returns how many bytes they have.
fn fill(folder: &Path, seed: u64) -> u64 {
    std::fs::create_dir_all(folder.join("small/empty folder")).unwrap();
    let mut sum = 0;
    let mut write = |name: &str, seed, len| {
        std::fs::write(folder.join(name), content(seed, len)).unwrap();
        sum += len as u64;
    };
    for i in 0..40 {
        write(&format!("small/{i}"), 1000 * seed + i, 4000 * i as usize);
    }
    write("large", 1000 * seed + 999, LARGE);
    sum
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_kills_harm_no_file_and_cost_little() {
    let mut two = Two::new().await;
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    let (mut kills, mut total, mut moved) = (0, 0, 0);
    for round in 0.. {
        if kills >= KILLS {
            break;
        }
        let folder = two.out().join(format!("round {round}"));
        total += fill(&folder, round);
        two.send(&folder, "60M");
        let mut last_moved = 0;
        let start = Instant::now();
        let mut next = Instant::now() + Duration::from_millis(100 + random.below(400));
        loop {
            assert!(start.elapsed() < HANG, "it hangs: {}", two.sender.said());
            if let Some(status) = two.sender.ended() {
                assert!(status.success(), "{status}: {}", two.sender.said());
                break;
            }
            last_moved = two.sender.moved().await.max(last_moved);
            if kills < KILLS && Instant::now() >= next {
                kills += 1;
                let sender = random.below(2) == 0;
                let side = if sender {
                    &mut two.sender
                } else {
                    &mut two.receiver
                };
                if side.ended().is_some() {
                    continue;
                }
                side.kill();
                if sender {
                    moved += std::mem::take(&mut last_moved);
                }
                two.check(&format!("after kill {kills}"));
                let side = if sender {
                    &mut two.sender
                } else {
                    &mut two.receiver
                };
                side.start();
                next = Instant::now() + Duration::from_millis(150 + random.below(500));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let summary = two.sender.line("summary").await;
        moved += summary["sent_bytes"].as_u64().unwrap();
        assert_eq!(summary["verified"], true, "{summary}");
        two.check(&format!("after round {round}"));
        eprintln!("round {round}: {kills} kills, {:?}", start.elapsed());
    }
    two.check_end();
    let most = total + u64::from(KILLS) * 4 * 1024 * 1024;
    assert!(moved <= most, "{moved} bytes travelled for {total}");
    let journals = two.receiver.home.join("config");
    let left = tree(&journals);
    assert!(
        !left.keys().any(|name| name.ends_with(".journal")),
        "{left:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_slept_longer_than_links_live_goes_on() {
    let mut two = Two::new().await;
    let folder = two.out().join("films");
    let total = fill(&folder, 1);
    two.send(&folder, "30M");
    while two.sender.moved().await < 10_000_000 {
        assert!(two.sender.ended().is_none(), "{}", two.sender.said());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    two.receiver.signal(Signal::STOP);
    // The sender gives the link up after ten seconds of silence.
    let start = Instant::now();
    while !two.sender.said().contains(r#""state":"lost""#) {
        assert!(start.elapsed() < HANG, "{}", two.sender.said());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    two.receiver.signal(Signal::CONT);
    let start = Instant::now();
    let status = loop {
        if let Some(status) = two.sender.ended() {
            break status;
        }
        assert!(start.elapsed() < HANG, "{}", two.sender.said());
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert!(status.success(), "{}", two.sender.said());
    let summary = two.sender.line("summary").await;
    let moved = summary["sent_bytes"].as_u64().unwrap();
    // What was under way when it fell asleep may come again: at most what buffers hold.
    assert!(
        moved <= total + 20_000_000,
        "{moved} bytes travelled for {total}"
    );
    two.check_end();
}
