//! Starting the program and reading what it says.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use serde_json::Value;

/// Far above what anything takes: only a hang gets there.
const HANG: Duration = Duration::from_secs(60);

/// An installation: settings and identity of its own, and a folder for files.
pub(crate) struct Home {
    folder: tempfile::TempDir,
}

impl Home {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("files")).unwrap();
        Self { folder }
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.folder.path().join("config")
    }

    /// A path in the folder for files.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join("files").join(name)
    }

    /// Writes a file of `size` bytes that differs for each `seed`.
    pub(crate) fn write(&self, name: &str, size: usize, seed: u32) -> PathBuf {
        let path = self.file(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content(size, seed)).unwrap();
        path
    }

    /// The program with an environment that has nothing else in it, and no stdin.
    pub(crate) fn command<A: AsRef<OsStr>>(&self, args: &[A]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_peerconnect"));
        command
            .env_clear()
            .env("PEERCONNECT_CONFIG_DIR", self.config())
            // Without it the system tells the home of whoever runs the tests, and what no other
            // folder is named for would go into their downloads.
            .env("HOME", self.folder.path())
            // Tests that run at once must not find each other.
            .env("PEERCONNECT_ANNOUNCE", "never")
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .current_dir(self.file(""));
        command
    }

    /// Runs the program to its end.
    pub(crate) fn run<A: AsRef<OsStr>>(&self, args: &[A]) -> Ended {
        Running::start(self.command(args)).end()
    }

    /// Starts the program on the loopback with a free port, talking JSON.
    pub(crate) fn start<A: AsRef<OsStr>>(&self, args: &[A]) -> Running {
        let mut command = self.command(args);
        command.args(["--json", "--bind", "127.0.0.1", "--no-legacy"]);
        if !args.iter().any(|arg| arg.as_ref() == "--port") {
            command.args(["--port", "0"]);
        }
        if let Ok(log) = std::env::var("PEERCONNECT_LOG") {
            command.env("PEERCONNECT_LOG", log);
        }
        Running::start(command)
    }

    /// Starts `receive --yes` into the folder `in`, and waits until it listens.
    pub(crate) fn receive(&self) -> Running {
        let into = self.file("in");
        let mut receiver = self.start(&["receive", "--yes", "--out", into.to_str().unwrap()]);
        receiver.next("hello");
        receiver
    }

    /// Starts `daemon --yes` into the folder `in`, and waits until it listens.
    pub(crate) fn daemon(&self) -> Running {
        let into = self.file("in");
        let mut daemon = self.start(&["daemon", "--yes", "--out", into.to_str().unwrap()]);
        daemon.next("hello");
        daemon
    }

    /// Starts to send these to the one who said that hello.
    pub(crate) fn send(&self, to: &Running, paths: &[&Path]) -> Running {
        self.send_with(to, paths, &[])
    }

    pub(crate) fn send_with(&self, to: &Running, paths: &[&Path], more: &[&str]) -> Running {
        let mut args = vec![
            OsStr::new("send"),
            OsStr::new("--to"),
            OsStr::new(to.link()),
        ];
        args.extend(more.iter().map(OsStr::new));
        args.extend(paths.iter().map(|path| path.as_os_str()));
        self.start(&args)
    }
}

/// Bytes that repeat nowhere near, and differ for each seed.
pub(crate) fn content(size: usize, seed: u32) -> Vec<u8> {
    let mut bytes = vec![0; size];
    blake3::Hasher::new_derive_key("test content")
        .update(&seed.to_le_bytes())
        .finalize_xof()
        .fill(&mut bytes);
    bytes
}

/// The program while it runs. Dropping it kills it.
pub(crate) struct Running {
    child: Child,
    lines: mpsc::Receiver<String>,
    stderr: Option<std::thread::JoinHandle<String>>,
    pub(crate) seen: Vec<Value>,
}

/// The program after its end.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) lines: Vec<String>,
    pub(crate) stderr: String,
}

impl Running {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let mut errors = child.stderr.take().unwrap();
        // More lines than any test makes: the program must not wait for the test.
        let (to, lines) = mpsc::sync_channel(1_000_000);
        std::thread::spawn(move || {
            for line in stdout.lines() {
                let Ok(line) = line else { break };
                if to.send(line).is_err() {
                    break;
                }
            }
        });
        let stderr = std::thread::spawn(move || {
            let mut text = Vec::new();
            let _ = errors.read_to_end(&mut text);
            String::from_utf8_lossy(&text).into_owned()
        });
        Self {
            child,
            lines,
            stderr: Some(stderr),
            seen: Vec::new(),
        }
    }

    /// Reads on to the next line of this kind.
    pub(crate) fn next(&mut self, kind: &str) -> Value {
        self.next_that(|line| line["t"] == kind, kind)
    }

    /// Reads on until a transfer is in this state.
    pub(crate) fn state(&mut self, state: &str) -> Value {
        self.next_that(|line| line["t"] == "state" && line["state"] == state, state)
    }

    pub(crate) fn next_that(&mut self, fits: impl Fn(&Value) -> bool, what: &str) -> Value {
        loop {
            let Ok(line) = self.lines.recv_timeout(HANG) else {
                let _ = self.child.kill();
                let stderr = self.stderr.take().unwrap().join().unwrap();
                panic!("no {what} after {:#?}\nstderr: {stderr}", self.seen);
            };
            let line: Value = serde_json::from_str(&line).expect("a JSON line");
            self.seen.push(line.clone());
            if fits(&line) {
                return line;
            }
        }
    }

    /// Its stdin, if that is a pipe.
    #[allow(dead_code, reason = "not every test program answers")]
    pub(crate) fn stdin(&mut self) -> std::process::ChildStdin {
        self.child.stdin.take().unwrap()
    }

    /// The link of the hello line.
    pub(crate) fn link(&self) -> &str {
        self.seen[0]["link"].as_str().unwrap()
    }

    /// Its process.
    #[allow(dead_code, reason = "not every test program looks at it")]
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Waits for the end.
    pub(crate) fn end(mut self) -> Ended {
        let mut lines: Vec<String> = self.seen.iter().map(|line| line.to_string()).collect();
        loop {
            match self.lines.recv_timeout(HANG) {
                Ok(line) => lines.push(line),
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    let _ = self.child.kill();
                    let stderr = self.stderr.take().unwrap().join().unwrap();
                    panic!("it does not end after {lines:#?}\nstderr: {stderr}");
                }
            }
        }
        let status = self.child.wait().unwrap();
        let stderr = self.stderr.take().unwrap().join().unwrap();
        Ended {
            code: status.code().expect("ended by itself, not by a signal"),
            lines,
            stderr,
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Ended {
    /// Fails with everything that was said if the code is another one.
    #[track_caller]
    pub(crate) fn with_code(self, code: i32) -> Self {
        assert_eq!(
            self.code, code,
            "{:#?}\nstderr: {}",
            self.lines, self.stderr
        );
        self
    }

    /// The JSON lines of this kind.
    pub(crate) fn of_kind(&self, kind: &str) -> Vec<Value> {
        self.lines
            .iter()
            .map(|line| serde_json::from_str::<Value>(line).expect("a JSON line"))
            .filter(|line| line["t"] == kind)
            .collect()
    }

    /// The only JSON line of this kind.
    #[track_caller]
    pub(crate) fn only(&self, kind: &str) -> Value {
        let mut lines = self.of_kind(kind);
        assert_eq!(lines.len(), 1, "{kind}: {:#?}", self.lines);
        lines.remove(0)
    }
}

/// Runs another program; `None` if it fails or is not there.
pub(crate) fn system(program: &str, args: &[&str]) -> Option<Output> {
    let output = Command::new(program).args(args).output().ok()?;
    output.status.success().then_some(output)
}
