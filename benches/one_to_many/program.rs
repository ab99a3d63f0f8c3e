//! The program as sender and receivers.

use std::fs::File;
use std::io::{BufRead, BufReader, Lines};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use serde_json::Value;

use crate::hall::{Hall, address};

const PROGRAM: &str = env!("CARGO_BIN_EXE_peerconnect");

fn start(
    hall: &Hall,
    n: usize,
    home: &Path,
    args: &[&str],
) -> (Child, Lines<BufReader<ChildStdout>>) {
    std::fs::create_dir_all(home).unwrap();
    let mut command: Command = hall.command(n, PROGRAM);
    command.args(args);
    command.env("PEERCONNECT_CONFIG_DIR", home);
    command.env("PEERCONNECT_NAME", home.file_name().unwrap());
    command.env("PEERCONNECT_ANNOUNCE", "never");
    let errors = File::create(home.join("stderr")).unwrap();
    command.stdout(Stdio::piped()).stderr(errors);
    let mut child = command.spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    (child, lines)
}

/// A receiver that stays.
pub(crate) struct Daemon {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    name: String,
    pub(crate) link: String,
}

impl Daemon {
    pub(crate) fn start(hall: &Hall, n: usize, homes: &Path) -> Self {
        let name = format!("receiver-{n}");
        let home = homes.join(&name);
        let (inbox, ip) = (home.join("in"), address(n).to_string());
        let args = ["daemon", "--json", "--yes", "--no-legacy", "--port", "0"];
        let place = ["--bind", &ip, "--out", inbox.to_str().unwrap()];
        let (child, lines) = start(hall, n, &home, &[&args[..], &place].concat());
        let mut daemon = Self {
            child,
            lines,
            name,
            link: String::new(),
        };
        let hello = daemon.until(|line| line["t"] == "hello");
        daemon.link = hello["link"].as_str().unwrap().to_owned();
        daemon
    }

    fn until(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        for line in self.lines.by_ref() {
            let line: Value = serde_json::from_str(&line.unwrap()).unwrap();
            if wanted(&line) {
                return line;
            }
        }
        panic!("{} ended", self.name);
    }

    /// Waits until it has everything.
    pub(crate) fn until_complete(&mut self) {
        let done = self.until(|line| line["t"] == "summary");
        assert_eq!(done["exit"], 0, "{done}");
    }

    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The sender.
pub(crate) struct Send {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Send {
    pub(crate) fn start(hall: &Hall, home: &Path, links: &[&String], file: &Path) -> Self {
        let mut args = vec!["send", "--json"];
        for link in links {
            args.extend(["--to", link]);
        }
        args.push(file.to_str().unwrap());
        let (child, lines) = start(hall, 0, home, &args);
        Self { child, lines }
    }

    /// Waits until one that passes on has half of it: its number.
    pub(crate) fn feeder_at_half(&mut self, daemons: &[Daemon]) -> usize {
        let mut feeder = None;
        for line in self.lines.by_ref() {
            let line: Value = serde_json::from_str(&line.unwrap()).unwrap();
            if let Some(through) = line["through"].as_str() {
                feeder = daemons.iter().position(|daemon| daemon.name == through);
            }
            let half = line["bytes"].as_u64() >= line["total"].as_u64().map(|total| total / 2);
            if line["t"] == "progress" && half && feeder.is_some() {
                break;
            }
        }
        feeder.expect("nobody passes anything on")
    }

    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
