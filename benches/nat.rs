//! How peers reach each other through routers of many kinds, and how fast: whole processes in a
//! small internet of network namespaces, with a relay on its public side.
//!
//! `cargo bench --workspace --bench nat`, as root. Options behind `--`: `--mib N` size of the
//! file (200), `--case TEXT` only cases that have it in their options (see `tests/nat/natlab.sh`),
//! `--table` each kind of router with each, both ways round.
//!
//! Of each case it prints the way that the content took at last, how long it was until it took
//! that, the time of the whole command, and how much of the content the relay carried; then the
//! table, and what the relayed cases reach of the speed of the direct ones. It fails if that is
//! less than half.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs::File;
use std::io::{BufRead, BufReader, Lines};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// What is between the two, in the words of the test bed.
const CASES: [&str; 13] = [
    "a=open b=open",
    "a=linux topo=same",
    "a=linux b=linux",
    "a=linux b=linux ca=linux",
    "a=restricted b=sym",
    "a=sym b=sym v6=fw",
    "a=linux topo=same isolate=yes",
    "a=linux b=symrandom",
    "a=sym b=sym",
    "a=linux b=linux topo=cgn",
    "a=tcponly b=open",
    "a=tcponly b=linux",
    "a=tcp443 b=tcp443",
];

/// What `--table` has in its rows (the sender's) and columns (the receiver's).
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

const PREFIX: &str = "pnb";

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let word = |flag: &str| {
        let at = args.iter().position(|arg| arg == flag)?;
        args.get(at + 1)
    };
    let mib: u64 = word("--mib").map_or(200, |n| n.parse().unwrap());
    let is_table = args.iter().any(|arg| arg == "--table");
    let mut cases: Vec<String> = match is_table {
        true => KINDS
            .iter()
            .flat_map(|a| KINDS.map(|b| format!("a={a} b={b}")))
            .collect(),
        false => CASES.map(String::from).into(),
    };
    cases.retain(|case| word("--case").is_none_or(|part| case.contains(part.as_str())));
    let dir = tempfile::tempdir().unwrap();
    let file = source(dir.path(), mib << 20);
    println!(
        "{:32} {:>7} {:>11} {:>9} {:>9} {:>12}",
        "between them", "way", "there after", "seconds", "MiB/s", "by the relay"
    );
    let mut outcomes = Vec::new();
    for case in &cases {
        let lab = match Lab::up(case) {
            Ok(lab) => lab,
            Err(why) => return println!("no network namespaces here: {why}"),
        };
        let result = run(&lab, case, &dir.path().join("homes"), &file);
        println!(
            "{case:32} {:>7} {:>9.2} s {:>9.2} {:>9.0} {:>10.0} %",
            result.way,
            result.there.as_secs_f64(),
            result.whole.as_secs_f64(),
            result.speed(mib),
            100.0 * result.relayed as f64 / (mib << 20) as f64,
        );
        outcomes.push(result);
    }
    if is_table && outcomes.len() == KINDS.len() * KINDS.len() {
        table(&outcomes);
    }
    let middle = |way: &str| {
        let outcomes = outcomes.iter().filter(|one| one.way == way);
        let mut speeds: Vec<f64> = outcomes.map(|one| one.speed(mib)).collect();
        speeds.sort_by(f64::total_cmp);
        speeds.get(speeds.len() / 2).copied()
    };
    if let (Some(direct), Some(relayed)) = (middle("direct"), middle("relay")) {
        let ratio = relayed / direct;
        println!("relayed / direct: {ratio:.2} (medians)");
        assert!(ratio >= 0.5, "a relay costs more than half of the speed");
    }
}

/// The way of each pair, and after how many milliseconds it was there.
fn table(outcomes: &[Outcome]) {
    print!("\n{:10}", "a \\ b");
    KINDS.iter().for_each(|b| print!(" {b:>12}"));
    for (a, row) in KINDS.iter().zip(outcomes.chunks(KINDS.len())) {
        print!("\n{a:10}");
        for Outcome { way, there, .. } in row {
            print!(" {:>12}", format!("{way} {}", there.as_millis()));
        }
    }
    println!("\n");
}

struct Outcome {
    way: String,
    /// When it took that way.
    there: Duration,
    whole: Duration,
    /// Bytes that the relay carried.
    relayed: u64,
}

impl Outcome {
    /// In MiB/s.
    fn speed(&self, mib: u64) -> f64 {
        mib as f64 / self.whole.as_secs_f64()
    }
}

/// One transfer through a relay that both sides know.
fn run(lab: &Lab, case: &str, homes: &Path, file: &Path) -> Outcome {
    let _ = std::fs::remove_dir_all(homes);
    // The one port that some networks let through.
    let port = if case.contains("tcp443") {
        "443"
    } else {
        "3487"
    };
    let mut relay = lab.program("rdv", homes, &["relay", "--port", port]);
    let hint = relay.link();
    let inbox = homes.join("in");
    let take = ["daemon", "--yes", "--out", inbox.to_str().unwrap()];
    let at = ["--port", "3485", "--relay", &hint];
    let mut receiver = lab.program("b", homes, &[&take[..], &at].concat());
    let link = receiver.link();
    lab.until_at_relay("b", homes);
    let start = Instant::now();
    let args = [
        "send",
        "--port",
        "3485",
        "--to",
        &link,
        file.to_str().unwrap(),
    ];
    let mut sender = lab.program("a", homes, &args);
    let mut way = kind(&sender.until("path"));
    let mut there = start.elapsed();
    let whole = loop {
        let line = sender.next();
        match line["t"].as_str() {
            Some("path") if kind(&line) != way => {
                way = kind(&line);
                there = start.elapsed();
            }
            Some("summary") => {
                assert_eq!(line["exit"], 0, "{case}: {line}");
                break start.elapsed();
            }
            _ => {}
        }
    };
    relay.interrupt();
    let mut relayed = 0;
    while let Some(line) = relay.try_next() {
        if line["t"] == "relay" {
            relayed = line["bytes"].as_u64().unwrap();
        }
    }
    Outcome {
        way,
        there,
        whole,
        relayed,
    }
}

fn kind(path: &Value) -> String {
    path["kind"].as_str().unwrap().to_owned()
}

fn source(dir: &Path, bytes: u64) -> PathBuf {
    let path = dir.join("file");
    let mut content = vec![0; bytes as usize];
    blake3::Hasher::new().finalize_xof().fill(&mut content);
    std::fs::write(&path, content).unwrap();
    path
}

/// A small internet with a relay (rdv) and two peers (a, b), gone with this value.
struct Lab;

impl Lab {
    fn up(options: &str) -> Result<Self, String> {
        script("up", options).map(|()| Self)
    }

    fn program(&self, host: &str, homes: &Path, args: &[&str]) -> Program {
        let home = homes.join(host);
        std::fs::create_dir_all(&home).unwrap();
        let space = format!("{PREFIX}{host}");
        let mut child = Command::new("ip")
            .args(["netns", "exec", &space, env!("CARGO_BIN_EXE_peerconnect")])
            .args(args)
            .arg("--json")
            .args((args[0] != "relay").then_some("--no-legacy"))
            .env("PEERCONNECT_CONFIG_DIR", &home)
            .env("PEERCONNECT_ANNOUNCE", "never")
            .stdout(Stdio::piped())
            .stderr(File::create(home.join("stderr")).unwrap())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Program { child, lines }
    }

    /// Waits until the one there is at its relay, as its own network check says.
    fn until_at_relay(&self, host: &str, homes: &Path) {
        loop {
            let mut check = self.program(host, homes, &["doctor"]);
            while let Some(line) = check.try_next() {
                if ["relay", "udp-blocked"]
                    .iter()
                    .any(|code| line["code"] == *code)
                {
                    return;
                }
            }
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = script("down", "");
    }
}

fn script(word: &str, options: &str) -> Result<(), String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/nat/natlab.sh");
    let output = Command::new("bash")
        .arg(script)
        .arg(word)
        .args(options.split_whitespace())
        .arg(format!("prefix={PREFIX}"))
        .output()
        .map_err(|error| error.to_string())?;
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
    }
}

/// The program while it runs, gone with this value.
struct Program {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Program {
    fn try_next(&mut self) -> Option<Value> {
        let line = self.lines.next()?.unwrap();
        Some(serde_json::from_str(&line).unwrap())
    }

    fn next(&mut self) -> Value {
        self.try_next().expect("it ended early")
    }

    fn until(&mut self, kind: &str) -> Value {
        loop {
            let line = self.next();
            if line["t"] == kind {
                return line;
            }
        }
    }

    fn link(&mut self) -> String {
        self.until("hello")["link"].as_str().unwrap().to_owned()
    }

    fn interrupt(&self) {
        kill_process(Pid::from_child(&self.child), Signal::INT).unwrap();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
