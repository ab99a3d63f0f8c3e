//! Every call to the system that touches a disk fails once, one after the other, in the real
//! programs. Needs strace.
//!
//! Whatever fails: a final name holds the right content or is not there, files of others are as
//! they were, both programs say what it was, and after a clean second run everything has arrived.
//! A part of the calls for every change; all with `PEERCONNECT_TORTURE=all`.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    dead_code,
    missing_docs,
    unreachable_pub
)]

mod common;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::side::{HANG, Side};
use common::{content, tree};
use tokio::task::JoinSet;

/// What a call may do instead of its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Error(&'static str),
    Kill,
}

/// The calls of a program, and what may become of them.
type Calls = &'static [(&'static str, &'static [Fault])];

const EIO: Fault = Fault::Error("EIO");
const FULL: Fault = Fault::Error("ENOSPC");

/// Where received files, journals and the database are written.
const RECEIVER: Calls = &[
    ("openat", &[EIO, FULL, Fault::Kill]),
    ("openat2", &[EIO]),
    ("mkdirat", &[EIO, FULL, Fault::Kill]),
    ("mkdir", &[EIO, FULL, Fault::Kill]),
    ("write", &[EIO, FULL, Fault::Kill]),
    ("pwrite64", &[EIO, FULL, Fault::Kill]),
    ("fsync", &[EIO, FULL, Fault::Kill]),
    ("fdatasync", &[EIO, FULL, Fault::Kill]),
    ("syncfs", &[EIO, FULL, Fault::Kill]),
    ("renameat2", &[EIO, FULL, Fault::Kill]),
    ("rename", &[EIO, FULL, Fault::Kill]),
    ("ftruncate", &[EIO, FULL, Fault::Kill]),
    ("fallocate", &[EIO, FULL, Fault::Kill]),
    ("unlinkat", &[EIO, Fault::Kill]),
    ("unlink", &[EIO, Fault::Kill]),
    ("utimensat", &[EIO]),
    ("fchmod", &[EIO]),
    ("fstat", &[EIO]),
    ("newfstatat", &[EIO]),
    ("statx", &[EIO]),
    ("fstatfs", &[EIO]),
    ("getdents64", &[EIO]),
    ("pread64", &[EIO]),
];

/// Where files to send are read, and where it is written down what is being sent.
const SENDER: Calls = &[
    ("openat", &[EIO, Fault::Kill]),
    ("pread64", &[EIO, Fault::Kill]),
    ("read", &[EIO]),
    ("getdents64", &[EIO]),
    ("statx", &[EIO]),
    ("fstat", &[EIO]),
    ("newfstatat", &[EIO]),
    ("pwrite64", &[EIO, FULL, Fault::Kill]),
    ("fsync", &[EIO, Fault::Kill]),
    ("fdatasync", &[EIO, Fault::Kill]),
];

/// Calls of one kind that are tried when not all are.
const OF_EACH: u64 = 2;
/// So many calls of one kind are few.
const FEW: u64 = 20;
const WORKERS: u64 = 4;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    Sender,
    Receiver,
}

/// The one call that fails.
#[derive(Debug, Clone, Copy)]
struct Case {
    who: Who,
    call: &'static str,
    number: u64,
    fault: Fault,
}

impl Case {
    fn strace(&self, log: &Path) -> Vec<String> {
        let what = match self.fault {
            Fault::Error(name) => format!("error={name}"),
            Fault::Kill => "signal=KILL".into(),
        };
        let inject = format!("inject={}:{what}:when={}", self.call, self.number);
        // The tracer is in the background: what is killed here is the program.
        let words = ["strace", "-D", "-f", "-qq", "-y", "--seccomp-bpf", "-o"];
        let mut words: Vec<String> = words.map(String::from).into();
        words.push(log.to_str().unwrap().into());
        words.extend(["-e".into(), format!("trace={}", self.call)]);
        words.extend(["-e".into(), inject]);
        words
    }
}

struct Two {
    sender: Side,
    receiver: Side,
    dir: tempfile::TempDir,
}

impl Two {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut sender = Side::new(dir.path().join("sender"));
        let mut receiver = Side::new(dir.path().join("receiver"));
        let out = sender.home.join("out");
        std::fs::create_dir_all(out.join("empty")).unwrap();
        std::fs::create_dir_all(out.join("more")).unwrap();
        // More than what is synced one by one, and one with several groups.
        for n in 0..20 {
            std::fs::write(out.join(format!("more/{n}")), content(n, 100 * n as usize)).unwrap();
        }
        std::fs::write(out.join("large"), content(99, 3_500_000)).unwrap();
        let inbox = receiver.home.join("in");
        std::fs::create_dir_all(inbox.join("out")).unwrap();
        for (name, text) in others() {
            std::fs::write(inbox.join(name), text).unwrap();
        }
        receiver.args = ["daemon", "--yes", "--out", inbox.to_str().unwrap()]
            .map(String::from)
            .into();
        let target = format!("127.0.0.1:{}", receiver.port());
        sender.args = ["send", "--to", &target, out.to_str().unwrap()]
            .map(String::from)
            .into();
        Self {
            sender,
            receiver,
            dir,
        }
    }

    fn side(&mut self, who: Who) -> &mut Side {
        match who {
            Who::Sender => &mut self.sender,
            Who::Receiver => &mut self.receiver,
        }
    }

    /// One transfer, as far as it gets.
    async fn run(&mut self, strace: Option<(Who, Vec<String>)>) {
        if let Some((who, through)) = strace {
            self.side(who).through = through;
        }
        self.receiver.start();
        self.sender.start();
        let start = Instant::now();
        loop {
            let ended = (self.sender.ended(), self.receiver.ended());
            match ended {
                (None, None) => {}
                // What a killed program left is for the next run.
                _ => return,
            }
            assert!(start.elapsed() < HANG, "it hangs: {}", self.said());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Runs where nothing fails. Everything must arrive: in the first, or, if that has ended a
    /// transfer in which files were given up, in the second.
    async fn again(&mut self) {
        for who in [Who::Sender, Who::Receiver] {
            let side = self.side(who);
            side.kill();
            side.through.clear();
        }
        self.receiver.start();
        self.receiver.line("hello").await;
        self.sender.start();
        let mut status = self.sender.end().await;
        if [10, 11, 14].map(Some).contains(&status.code()) {
            self.sender.start();
            status = self.sender.end().await;
        }
        let said = self.said();
        assert!(status.success(), "the run after that: {status}: {said}");
    }

    /// Every name that is there has the right content; at the end all are there.
    fn check(&self, when: &str, at_end: bool) {
        let mut there = tree(&self.receiver.home.join("in"));
        for (name, text) in others() {
            let found = there.remove(name);
            assert_eq!(
                found.as_deref(),
                Some(text.as_bytes()),
                "{name} of others: {when}"
            );
        }
        let sent = tree(&self.sender.home.join("out"));
        let mut missing = sent.clone();
        for (name, bytes) in there {
            if name == "out/" || (name.contains(".pcpart") && !at_end) {
                continue;
            }
            let own = name.strip_prefix("out/").unwrap_or(&name);
            // Its name was taken.
            let own = if own == "large (1)" { "large" } else { own };
            let right = sent.get(own);
            assert!(right == Some(&bytes), "{name} is wrong or too much: {when}");
            missing.remove(own);
        }
        let missing: Vec<&String> = missing.keys().collect();
        assert!(!at_end || missing.is_empty(), "missing {missing:?}: {when}");
    }

    fn said(&self) -> String {
        format!("{}\n---\n{}", self.sender.said(), self.receiver.said())
    }
}

/// How often a program makes a call in a run where nothing fails.
async fn count(who: Who, calls: Calls) -> BTreeMap<&'static str, u64> {
    let mut two = Two::new();
    let log = two.dir.path().join("calls");
    let names: Vec<&str> = calls.iter().map(|(name, _)| *name).collect();
    let mut words = ["strace", "-D", "-f", "-qq", "--seccomp-bpf", "-c", "-o"]
        .map(String::from)
        .to_vec();
    words.push(log.to_str().unwrap().into());
    words.extend(["-e".into(), format!("trace={}", names.join(","))]);
    two.run(Some((who, words))).await;
    let sent = two.sender.end().await;
    assert!(sent.success(), "nothing fails here: {}", two.said());
    two.check("nothing fails", true);
    two.receiver.signal(rustix::process::Signal::TERM);
    two.receiver.end().await;
    // The tracer writes it when its program has ended.
    let start = Instant::now();
    loop {
        let table = std::fs::read_to_string(&log).unwrap_or_default();
        if table.contains("total") {
            return counted(&table, calls);
        }
        assert!(start.elapsed() < HANG, "no counts: {table}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Reads strace's table: `% time, seconds, usecs/call, calls, [errors,] syscall`.
fn counted(table: &str, calls: Calls) -> BTreeMap<&'static str, u64> {
    let mut found = BTreeMap::new();
    for line in table.lines() {
        let cells: Vec<&str> = line.split_whitespace().collect();
        let name = calls.iter().find(|(name, _)| cells.last() == Some(name));
        if let (Some((name, _)), Some(Ok(count))) = (name, cells.get(3).map(|c| c.parse())) {
            found.insert(*name, count);
        }
    }
    found
}

fn cases(who: Who, calls: Calls, counts: &BTreeMap<&'static str, u64>, all: bool) -> Vec<Case> {
    let mut cases = Vec::new();
    for (turn, (call, faults)) in calls.iter().enumerate() {
        let count = counts.get(call).copied().unwrap_or(0);
        for (kind, fault) in faults.iter().enumerate() {
            // Spread over the range, at other places for each fault; each where there are few.
            let each = all || (kind == 0 && count <= FEW);
            let step = if each { 1 } else { (count / OF_EACH).max(1) };
            let first = 1 + (turn as u64 * 5 + kind as u64 * 3) % step;
            let numbers = (first..=count).step_by(step as usize);
            cases.extend(numbers.map(|number| Case {
                who,
                call,
                number,
                fault: *fault,
            }));
        }
    }
    cases
}

async fn torture(who: Who, calls: Calls) {
    if !has_strace() {
        return;
    }
    let all = std::env::var("PEERCONNECT_TORTURE").is_ok_and(|what| what == "all");
    let cases = cases(who, calls, &count(who, calls).await, all);
    assert!(cases.len() > 20, "too few calls were seen: {cases:?}");
    let (total, waiting) = (cases.len(), Arc::new(Mutex::new(cases)));
    let mut workers = JoinSet::new();
    for _ in 0..WORKERS {
        let waiting = waiting.clone();
        workers.spawn(async move {
            let mut failed = Vec::new();
            loop {
                let next = waiting.lock().unwrap().pop();
                let Some(case) = next else { return failed };
                let one = tokio::spawn(async move { try_one(case).await });
                if one.await.is_err() {
                    failed.push(format!("{case:?}"));
                }
            }
        });
    }
    let failed: Vec<String> = workers.join_all().await.concat();
    assert!(
        failed.is_empty(),
        "{} of {total} failed:\n{}",
        failed.len(),
        failed.join("\n")
    );
    eprintln!("{total} calls of the {who:?} failed, and nothing was lost");
}

async fn try_one(case: Case) {
    let mut two = Two::new();
    let log = two.dir.path().join("trace");
    two.run(Some((case.who, case.strace(&log)))).await;
    let when = format!("{case:?}\n{}", two.said());
    two.check(&when, false);
    for (who, status) in [
        (Who::Sender, two.sender.ended()),
        (Who::Receiver, two.receiver.ended()),
    ] {
        let Some(status) = status else { continue };
        if who == case.who && (case.fault == Fault::Kill || is_elsewhere(&log)) {
            continue;
        }
        // Named, and in words: no panic, no signal.
        let code = status.code().unwrap_or(-1);
        assert!(
            (0..=15).contains(&code),
            "{who:?} ended with {status}: {when}"
        );
        let words = two.side(who).said();
        let says_why = code == 0 || words.contains("error");
        assert!(says_why, "{who:?} does not say why: {when}");
    }
    if case.fault == EIO && was_sync_of_content(&log) {
        // A second sync would have succeeded, and proved nothing.
        let delivered = two.sender.ended().is_some_and(|status| status.success());
        assert!(!delivered, "the first sync had failed: {when}");
    }
    two.again().await;
    two.check(&format!("in the end, {when}"), true);
}

/// What the tracer has written. It may end a moment after its program.
fn traced(log: &Path) -> String {
    let start = Instant::now();
    loop {
        let trace = std::fs::read_to_string(log).unwrap_or_default();
        if trace.contains("(INJECTED)") || start.elapsed() > Duration::from_secs(1) {
            return trace;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Whether the content of a file did not come to the disk.
fn was_sync_of_content(log: &Path) -> bool {
    let trace = traced(log);
    let mut failed = trace.lines().filter(|line| line.contains("(INJECTED)"));
    failed.any(|line| line.contains("sync(") && line.contains(".pcpart>"))
}

/// Whether the call that failed had nothing to do with a disk: it woke a thread, wrote to the
/// terminal, or loaded the program.
fn is_elsewhere(log: &Path) -> bool {
    let trace = traced(log);
    // The tracer counts the calls of each thread: more than one may have failed.
    let mut failed = trace.lines().filter(|line| line.contains("(INJECTED)"));
    let places = [
        "anon_inode:",
        "socket:",
        "pipe:",
        "/stdout>",
        "/stderr>",
        "/lib/",
        "/etc/ld",
    ];
    let is_place = |line: &str| places.iter().any(|place| line.contains(place));
    !trace.contains("(INJECTED)") || failed.any(is_place)
}

fn has_strace() -> bool {
    let there = Command::new("strace").args(["-qq", "true"]).output();
    let there = there.is_ok_and(|output| output.status.success());
    let must = std::env::var_os("PEERCONNECT_TEST_ALL").is_some();
    assert!(there || !must, "strace does not work here");
    if !there {
        eprintln!("skipped: strace does not work here");
    }
    there
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_call_fails_at_the_receiver_nothing_is_lost() {
    torture(Who::Receiver, RECEIVER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_call_fails_at_the_sender_nothing_is_lost() {
    torture(Who::Sender, SENDER).await;
}

fn others() -> [(&'static str, &'static str); 2] {
    [("mine", "mine"), ("out/large", "another with this name")]
}
