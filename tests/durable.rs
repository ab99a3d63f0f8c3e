//! The order in which the receiving program makes things durable, as the kernel sees it: content
//! before its name, the name's folder before the end is told. Needs strace; a power cut itself
//! cannot be seen from inside.
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

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use program::{Home, Running};

const CALLS: &str = "fsync,fdatasync,syncfs,rename,renameat,renameat2,mkdirat,symlinkat,\
                     write,pwrite64";

/// A system call that succeeded, with the lines of the log where it began and ended.
#[derive(Debug)]
struct Call {
    began: usize,
    ended: usize,
    name: String,
    args: String,
}

impl Call {
    /// The file behind the first argument, which strace shows as `3</path>`.
    fn file(&self) -> &str {
        let start = self.args.find('<').map_or(0, |at| at + 1);
        let end = self.args[start..].find('>').map_or(start, |at| start + at);
        &self.args[start..end]
    }

    /// Arguments in quotes.
    fn texts(&self) -> Vec<&str> {
        self.args.split('"').skip(1).step_by(2).collect()
    }

    fn is(&self, names: &[&str]) -> bool {
        names.contains(&self.name.as_str())
    }
}

/// Calls in the order of their beginnings.
fn parse(log: &str) -> Vec<Call> {
    let mut calls: Vec<Call> = Vec::new();
    let mut open = std::collections::HashMap::new();
    for (at, line) in log.lines().enumerate() {
        let Some((pid, rest)) = line.split_once(char::is_whitespace) else {
            continue;
        };
        let rest = rest.trim_start();
        if let Some(resumed) = rest.strip_prefix("<... ") {
            let began: Option<usize> = open.remove(pid);
            if let Some(began) = began.filter(|_| !resumed.contains(" = -1 ")) {
                calls[began].ended = at;
            }
            continue;
        }
        let Some((name, args)) = rest.split_once('(') else {
            continue;
        };
        let unfinished = args.contains("<unfinished");
        if args.contains(" = -1 ") {
            continue;
        }
        if unfinished {
            open.insert(pid.to_owned(), calls.len());
        }
        calls.push(Call {
            began: at,
            ended: if unfinished { usize::MAX } else { at },
            name: name.to_owned(),
            args: args.to_owned(),
        });
    }
    calls.retain(|call| call.ended != usize::MAX);
    calls
}

/// `receive` under strace, and where the log goes. `None` if that cannot be done here.
fn traced(home: &Home) -> Option<(Running, PathBuf)> {
    let log = home.file("log");
    let mut strace = Command::new("strace");
    strace.args(["-f", "-y", "-s", "300", "-e", "signal=none", "-o"]);
    strace.arg(&log).args(["-e", &format!("trace={CALLS}")]);
    let probe = Command::new("strace")
        .args(["-f", "-o", "/dev/null", "true"])
        .output();
    if !probe.is_ok_and(|probe| probe.status.success()) {
        let must = std::env::var_os("PEERCONNECT_TEST_ALL").is_some();
        assert!(!must, "strace does not work here");
        eprintln!("skipped: strace does not work here");
        return None;
    }
    let into = home.file("in");
    let args = [
        "receive",
        "--yes",
        "--json",
        "--bind",
        "127.0.0.1",
        "--port",
        "0",
        "--out",
    ];
    let mut program = home.command(&args);
    program.arg(&into);
    strace.arg(program.get_program()).args(program.get_args());
    strace.env("PEERCONNECT_CONFIG_DIR", home.config());
    strace
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut receiver = Running::start(strace);
    receiver.next("hello");
    Some((receiver, log))
}

/// Checks the log of a `receive` into the folder `into`; gives how many names appeared.
fn check(calls: &[Call], into: &Path) -> usize {
    let into = into.to_str().unwrap();
    let below = |path: &str| path.starts_with(into);
    let told = calls
        .iter()
        .rfind(|call| call.name == "write" && call.args.starts_with("1<"))
        .expect("the end is told");
    let mut names = 0;
    for call in calls.iter().filter(|call| below(call.file())) {
        let dir = call.file();
        if call.is(&["rename", "renameat", "renameat2"]) {
            names += 1;
            let part = format!("{dir}/{}", call.texts()[0]);
            let written = calls
                .iter()
                .filter(|c| c.is(&["write", "pwrite64"]) && c.file() == part)
                .map(|c| c.ended)
                .max();
            let durable = calls.iter().any(|c| {
                let all = c.name == "syncfs";
                let this = c.is(&["fsync", "fdatasync"]) && c.file() == part;
                (all || this) && c.ended < call.began && written.is_none_or(|at| at < c.began)
            });
            assert!(
                durable,
                "{part} got its name before its content was durable"
            );
        } else if !call.is(&["mkdirat", "symlinkat"]) {
            continue;
        }
        let durable = calls.iter().any(|c| {
            c.name == "fsync" && c.file() == dir && call.ended < c.began && c.ended < told.began
        });
        assert!(
            durable,
            "a new name in {dir} was not durable at the end: {call:?}"
        );
    }
    names
}

fn received(fill: impl FnOnce(&Home) -> Vec<PathBuf>) -> Option<usize> {
    let (home, sender) = (Home::new(), Home::new());
    let (mut receiver, log) = traced(&home)?;
    let paths = fill(&sender);
    let paths: Vec<&Path> = paths.iter().map(PathBuf::as_path).collect();
    sender.send(&receiver, &paths).end().with_code(0);
    receiver.next("summary");
    receiver.end().with_code(0);
    let calls = parse(&std::fs::read_to_string(log).unwrap());
    // The folder itself is opened by its real path.
    let into = home.file("in").canonicalize().unwrap();
    Some(check(&calls, &into))
}

#[test]
fn a_large_file_is_durable_before_it_has_its_name_and_its_folder_before_the_end() {
    let names = received(|sender| vec![sender.write("large", 5_000_000, 1)]);
    assert!(names.is_none_or(|names| names == 1), "{names:?}");
}

#[test]
fn small_files_are_durable_before_they_have_their_names_and_all_folders_before_the_end() {
    let names = received(|sender| {
        for n in 0..40 {
            sender.write(&format!("d/{}/{n}", n % 3), 5000, n);
        }
        vec![sender.file("d")]
    });
    assert!(names.is_none_or(|names| names == 40), "{names:?}");
}

#[test]
fn folders_and_links_alone_are_durable_before_the_end() {
    let names = received(|sender| {
        std::fs::create_dir_all(sender.file("d/empty/deep")).unwrap();
        std::os::unix::fs::symlink("empty", sender.file("d/link")).unwrap();
        vec![sender.file("d")]
    });
    assert!(names.is_none_or(|names| names == 0), "{names:?}");
}
