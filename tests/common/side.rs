//! The real program, in an installation of its own.

use std::fs::File;
use std::net::UdpSocket;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use peerconnect::config::Paths;
use peerconnect::node::control;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Far more than anything takes.
pub const HANG: Duration = Duration::from_secs(60);

/// One installation, and the program that runs now.
pub struct Side {
    pub home: PathBuf,
    /// What the program is asked to do.
    pub args: Vec<String>,
    /// Where it listens.
    network: Vec<String>,
    /// A program that runs it, with arguments.
    pub through: Vec<String>,
    /// Who is told in the network that it is there.
    pub announce: &'static str,
    child: Option<Child>,
}

impl Side {
    /// One that listens on loopback, always at the same port.
    pub fn new(home: PathBuf) -> Self {
        let port = free_port().to_string();
        Self::at(home, &["--bind", "127.0.0.1", "--port", &port])
    }

    /// One that listens as these options say.
    pub fn at(home: PathBuf, network: &[&str]) -> Self {
        std::fs::create_dir_all(&home).unwrap();
        Self {
            home,
            args: Vec::new(),
            network: network.iter().map(|arg| String::from(*arg)).collect(),
            through: Vec::new(),
            announce: "never",
            child: None,
        }
    }

    /// The port that it always listens at.
    pub fn port(&self) -> &str {
        self.network.last().unwrap()
    }

    pub fn start(&mut self) {
        let out = |name: &str| File::create(self.home.join(name)).unwrap();
        let program = env!("CARGO_BIN_EXE_peerconnect").to_owned();
        let mut words = self.through.iter().chain([&program]);
        let mut command = Command::new(words.next().unwrap());
        command
            .args(words)
            .env_clear()
            .env("PEERCONNECT_CONFIG_DIR", self.home.join("config"))
            .env("PEERCONNECT_ANNOUNCE", self.announce)
            .args(&self.args)
            .args(["--json", "--no-legacy"])
            .args(&self.network)
            .stdin(Stdio::null())
            .stdout(out("stdout"))
            .stderr(out("stderr"))
            .current_dir(&self.home);
        if let Some(log) = std::env::var_os("PEERCONNECT_LOG") {
            command.env("PEERCONNECT_LOG", log);
        }
        self.child = Some(command.spawn().unwrap());
    }

    pub fn said(&self) -> String {
        let read = |name: &str| std::fs::read_to_string(self.home.join(name)).unwrap();
        format!("{}{}", read("stdout"), read("stderr"))
    }

    /// The first JSON line of this kind.
    pub async fn line(&self, kind: &str) -> Value {
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

    /// The link to the one that runs.
    pub async fn link(&self) -> String {
        self.line("hello").await["link"].as_str().unwrap().into()
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(self.child.as_ref().unwrap());
        kill_process(pid, signal).unwrap();
    }

    /// Stops it where it is, until it is killed.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
        let stat = format!("/proc/{}/stat", self.child.as_ref().unwrap().id());
        let is_stopped = || {
            let stat = std::fs::read_to_string(&stat).unwrap_or_default();
            // It may have ended by itself.
            !stat.contains(") R ") && !stat.contains(") S ") && !stat.contains(") D ")
        };
        let start = Instant::now();
        while !is_stopped() {
            assert!(start.elapsed() < HANG, "it goes on: {}", self.said());
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    pub fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.as_mut().unwrap().try_wait().unwrap()
    }

    /// Waits for the end, which must not be for lack of patience.
    pub async fn end(&mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.ended() {
                return status;
            }
            assert!(start.elapsed() < HANG, "it hangs: {}", self.said());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Bytes that have travelled so far in the run of the program that is running.
    pub async fn moved(&self) -> u64 {
        let paths = Paths::below(&self.home.join("config"));
        let Ok(Some(node)) = control::connect(&paths).await else {
            return 0;
        };
        let picture = node.overview().borrow().clone();
        picture.transfers.iter().map(|t| t.bytes_moved).sum()
    }

    /// Waits until the program that runs shows this as its first address. Returns its link.
    pub async fn shows(&self, addr: &str) -> String {
        let paths = Paths::below(&self.home.join("config"));
        let node = control::connect(&paths).await.unwrap().unwrap();
        let mut overview = node.overview();
        let shown =
            overview.wait_for(|picture| picture.me.addrs.first().is_some_and(|a| a == addr));
        let shown = tokio::time::timeout(HANG, shown).await;
        shown
            .expect("another address is shown")
            .unwrap()
            .me
            .link
            .clone()
    }

    /// Waits until so many bytes have travelled.
    pub async fn until_moved(&mut self, bytes: u64) {
        let start = Instant::now();
        while self.moved().await < bytes {
            assert!(self.ended().is_none(), "it has ended: {}", self.said());
            assert!(start.elapsed() < HANG, "nothing moves: {}", self.said());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// A port that is free, also between two runs of a program: not one of those that the system gives
/// to whoever asks for any.
fn free_port() -> u16 {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    loop {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let port = 20_000 + (std::process::id().wrapping_mul(101).wrapping_add(number)) % 10_000;
        let port = u16::try_from(port).unwrap();
        if UdpSocket::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.kill();
        }
    }
}
