//! One upload for several receivers, beside a send to one of them and one send to each: whole
//! processes in network namespaces on one bridge, where only the sender's uplink is narrow.
//!
//! `cargo bench -p peerconnect --bench one_to_many`, as root. Options behind `--`: `--receivers N`
//! (8), `--mib N` size of it all (100), `--files N` in so many files (1), `--uplink N` of the
//! sender in Mbit/s (100), `--peers N` of the receivers in Mbit/s (not narrowed), `--only NAME` one
//! scenario.
//!
//! Of each scenario it prints the time until everybody (or everybody but the one that is slow or
//! killed) had everything, as a ratio to the time of one receiver, and what the sender's interface
//! sent, as a ratio to the size of the file.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod hall;
mod program;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hall::Hall;
use program::{Daemon, Send};

/// What is done with the receivers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scenario {
    One,
    Session,
    Singles,
    Slow,
    Killed,
}

const ALL: [(Scenario, &str); 5] = [
    (Scenario::One, "one"),
    (Scenario::Session, "session"),
    (Scenario::Singles, "singles"),
    (Scenario::Slow, "slow"),
    (Scenario::Killed, "killed"),
];

impl Scenario {
    fn title(self) -> &'static str {
        match self {
            Self::One => "one receiver",
            Self::Session => "one send to all of them",
            Self::Singles => "a send of its own to each",
            Self::Slow => "to all, one of them at 1 Mbit/s (the others' time)",
            Self::Killed => "to all, one that passes on killed at half (the others' time)",
        }
    }
}

struct Sizes {
    receivers: usize,
    bytes: u64,
    files: u64,
    uplink: u64,
    peers: u64,
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let word = |flag: &str| {
        let at = args.iter().position(|arg| arg == flag)?;
        args.get(at + 1)
    };
    let number = |flag: &str, default: u64| word(flag).map_or(default, |n| n.parse().unwrap());
    let sizes = Sizes {
        receivers: number("--receivers", 8) as usize,
        bytes: number("--mib", 100) << 20,
        files: number("--files", 1).max(1),
        uplink: number("--uplink", 100),
        peers: number("--peers", 0),
    };
    let work = workspace();
    let file = source(&work, &sizes);
    println!(
        "{} MiB in {} files to {} receivers, uplink {} Mbit/s",
        sizes.bytes >> 20,
        sizes.files,
        sizes.receivers,
        sizes.uplink
    );
    let mut one = None;
    for (scenario, name) in ALL {
        if word("--only").is_some_and(|only| only != name && scenario != Scenario::One) {
            continue;
        }
        let hall = match Hall::build(&sizes) {
            Ok(hall) => hall,
            Err(why) => {
                println!("no network namespaces here: {why}");
                return;
            }
        };
        let (time, sent) = run(scenario, &hall, &sizes, &work, &file);
        let base = *one.get_or_insert(time.as_secs_f64());
        println!(
            "{:60} {:6.2} s = {:4.2} x one   sent {:4.2} x the size",
            scenario.title(),
            time.as_secs_f64(),
            time.as_secs_f64() / base,
            sent as f64 / sizes.bytes as f64,
        );
    }
    let _ = fs::remove_dir_all(&work);
}

/// How long it took until those had everything who count, and what the sender sent meanwhile.
fn run(
    scenario: Scenario,
    hall: &Hall,
    sizes: &Sizes,
    work: &Path,
    file: &Path,
) -> (Duration, u64) {
    let count = match scenario {
        Scenario::One => 1,
        Scenario::Session | Scenario::Singles | Scenario::Slow | Scenario::Killed => {
            sizes.receivers
        }
    };
    let home = work.join("homes");
    let _ = fs::remove_dir_all(&home);
    let mut daemons: Vec<Daemon> = (1..=count).map(|n| Daemon::start(hall, n, &home)).collect();
    if scenario == Scenario::Slow {
        hall.narrow(count, 1);
    }
    let links: Vec<String> = daemons.iter().map(|daemon| daemon.link.clone()).collect();
    let before = hall.sent();
    let start = Instant::now();
    let mut sends = match scenario {
        Scenario::Singles => links
            .iter()
            .enumerate()
            .map(|(n, link)| Send::start(hall, &home.join(format!("from-{n}")), &[link], file))
            .collect(),
        Scenario::One | Scenario::Session | Scenario::Slow | Scenario::Killed => {
            let links: Vec<&String> = links.iter().collect();
            vec![Send::start(hall, &home.join("from"), &links, file)]
        }
    };
    let mut counts: Vec<usize> = (0..count).collect();
    match scenario {
        Scenario::Slow => {
            counts.pop();
        }
        Scenario::Killed => {
            let feeder = sends[0].feeder_at_half(&daemons);
            daemons[feeder].kill();
            counts.retain(|n| *n != feeder);
        }
        Scenario::One | Scenario::Session | Scenario::Singles => {}
    }
    for n in counts {
        daemons[n].until_complete();
    }
    let (time, sent) = (start.elapsed(), hall.sent() - before);
    sends.iter_mut().for_each(Send::kill);
    (time, sent)
}

/// A folder on tmpfs where there is one.
fn workspace() -> PathBuf {
    let shm = Path::new("/dev/shm");
    let base = match shm.is_dir() {
        true => shm.to_owned(),
        false => std::env::temp_dir(),
    };
    let work = base.join(format!("peerconnect-many-{}", std::process::id()));
    fs::create_dir_all(&work).unwrap();
    work
}

/// What is sent: a file, or a folder of files that are all different.
fn source(work: &Path, sizes: &Sizes) -> PathBuf {
    let path = work.join("sent");
    let mut content = blake3::Hasher::new().finalize_xof();
    let mut write = |path: &Path, bytes: u64| {
        let mut part = vec![0; bytes as usize];
        content.fill(&mut part);
        fs::write(path, part).unwrap();
    };
    if sizes.files == 1 {
        write(&path, sizes.bytes);
        return path;
    }
    fs::create_dir(&path).unwrap();
    for n in 0..sizes.files {
        write(&path.join(format!("{n:06}")), sizes.bytes / sizes.files);
    }
    path
}
