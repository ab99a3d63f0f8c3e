//! One upload for several receivers, beside a send to one of them and one send to each: whole
//! processes in network namespaces on one bridge, where only the sender's uplink is narrow.
//!
//! `cargo bench -p peerconnect --bench one_to_many`, as root. Options behind `--`: `--receivers N`
//! (8, at least 2), `--mib N` size of it all (100), `--files N` in so many files (1), `--uplink N`
//! of the sender in Mbit/s (100), `--peers N` of the receivers in Mbit/s (not narrowed), `--only
//! NAME` one scenario (`session`, `singles`, `fewer`, `slow`, `killed`) and what it is compared
//! with, `--patience` to wait for the slow one, too, for as long as it all takes at 1 Mbit/s.
//!
//! Of each scenario it prints the time until everybody (or everybody but the one that is slow or
//! killed) had everything, as a ratio to the time of one receiver, and what the sender's interface
//! sent, as a ratio to the size of the file. Where one is slow it is also a ratio to the time
//! without that one, and where one is killed to the time when nobody is.
//!
//! With `--check` it ends with an error if the send to all takes more than 1.3 times as long as one
//! receiver, or sends more than 1.2 times the size; if the others take more than 1.1 times as long
//! with a slow one as without it, or more than 10 s longer with one that is killed than without; or
//! if nothing can be measured here.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod hall;
mod program;
mod results;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use hall::Hall;
use program::{Daemon, Send};
use results::{Measured, Results};

/// What is done with the receivers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scenario {
    One,
    Session,
    Singles,
    Fewer,
    Slow,
    Killed,
}

/// Those that others are compared with come before them.
const ALL: [(Scenario, &str); 6] = [
    (Scenario::One, "one"),
    (Scenario::Session, "session"),
    (Scenario::Singles, "singles"),
    (Scenario::Fewer, "fewer"),
    (Scenario::Slow, "slow"),
    (Scenario::Killed, "killed"),
];

impl Scenario {
    fn title(self) -> &'static str {
        match self {
            Self::One => "one receiver",
            Self::Session => "one send to all of them",
            Self::Singles => "a send of its own to each",
            Self::Fewer => "one send to all but one",
            Self::Slow => "to all, one of them at 1 Mbit/s (the others' time)",
            Self::Killed => "to all, one that passes on killed at half (the others' time)",
        }
    }

    /// The same without what is wrong with one of the receivers.
    fn without(self) -> Option<Self> {
        match self {
            Self::Slow => Some(Self::Fewer),
            Self::Killed => Some(Self::Session),
            Self::One | Self::Session | Self::Singles | Self::Fewer => None,
        }
    }

    fn receivers(self, sizes: &Sizes) -> usize {
        match self {
            Self::One => 1,
            Self::Fewer => sizes.receivers - 1,
            Self::Session | Self::Singles | Self::Slow | Self::Killed => sizes.receivers,
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

struct Options {
    sizes: Sizes,
    /// The name of a scenario.
    only: Option<String>,
    patience: bool,
    check: bool,
}

impl Options {
    fn read(args: &[String]) -> Self {
        let word = |flag: &str| {
            let at = args.iter().position(|arg| arg == flag)?;
            args.get(at + 1)
        };
        let number = |flag: &str, default: u64| word(flag).map_or(default, |n| n.parse().unwrap());
        let has = |flag: &str| args.iter().any(|arg| arg == flag);
        let sizes = Sizes {
            receivers: number("--receivers", 8) as usize,
            bytes: number("--mib", 100) << 20,
            files: number("--files", 1).max(1),
            uplink: number("--uplink", 100),
            peers: number("--peers", 0),
        };
        assert!(sizes.receivers >= 2, "one receiver is measured anyway");
        let only = word("--only").cloned();
        let known = |only: &String| ALL.iter().any(|(_, name)| name == only);
        assert!(only.iter().all(known), "no such scenario: {only:?}");
        Self {
            sizes,
            only,
            patience: has("--patience"),
            check: has("--check"),
        }
    }

    /// The scenarios that are wanted, and those that they are compared with.
    fn scenarios(&self) -> Vec<Scenario> {
        let is_only = |name: &str| self.only.as_ref().is_none_or(|only| only == name);
        let wanted = ALL.iter().filter(|(_, name)| is_only(name));
        let wanted: Vec<Scenario> = wanted.map(|(scenario, _)| *scenario).collect();
        let is_base = |one: Scenario| wanted.iter().any(|of| of.without() == Some(one));
        let all = ALL.iter().map(|(scenario, _)| *scenario);
        all.filter(|s| *s == Scenario::One || wanted.contains(s) || is_base(*s))
            .collect()
    }
}

fn main() -> ExitCode {
    let options = Options::read(&std::env::args().collect::<Vec<_>>());
    let sizes = &options.sizes;
    println!(
        "{} MiB in {} files to {} receivers, uplink {} Mbit/s",
        sizes.bytes >> 20,
        sizes.files,
        sizes.receivers,
        sizes.uplink
    );
    let faults = match measure(&options) {
        Ok(results) if options.check => results.faults(),
        Ok(_) => Vec::new(),
        Err(why) => vec![format!("no network namespaces here: {why}")],
    };
    for fault in &faults {
        println!("{fault}");
    }
    match options.check && !faults.is_empty() {
        true => ExitCode::FAILURE,
        false => ExitCode::SUCCESS,
    }
}

/// Runs what is wanted, or says why there is no network to run it in.
fn measure(options: &Options) -> Result<Results, String> {
    let sizes = &options.sizes;
    let work = workspace();
    let file = source(&work, sizes);
    let mut results = Results::new(sizes.bytes);
    let mut run_all = || {
        for scenario in options.scenarios() {
            let run = Run {
                scenario,
                hall: Hall::build(sizes)?,
                home: work.join("homes"),
                file: &file,
            };
            results.add(scenario, run.measure(options));
        }
        Ok(())
    };
    let ran = run_all();
    let _ = fs::remove_dir_all(&work);
    ran.map(|()| results)
}

/// One scenario in a room of its own.
struct Run<'a> {
    scenario: Scenario,
    hall: Hall,
    home: PathBuf,
    file: &'a Path,
}

impl Run<'_> {
    fn measure(&self, options: &Options) -> Measured {
        let count = self.scenario.receivers(&options.sizes);
        let _ = fs::remove_dir_all(&self.home);
        let start = |n| Daemon::start(&self.hall, n, &self.home);
        let mut daemons: Vec<Daemon> = (1..=count).map(start).collect();
        if self.scenario == Scenario::Slow {
            self.hall.narrow(count, 1);
        }
        let before = self.hall.sent();
        let start = Instant::now();
        let mut sends = self.send(&daemons);
        let apart = self.disturb(&mut sends, &mut daemons);
        for (n, daemon) in daemons.iter_mut().enumerate() {
            if Some(n) != apart {
                daemon.until_complete();
            }
        }
        let (time, sent) = (start.elapsed(), self.hall.sent() - before);
        let slow = apart.filter(|_| self.scenario == Scenario::Slow && options.patience);
        let last = slow.map(|n| {
            daemons[n].until_complete();
            start.elapsed()
        });
        sends.iter_mut().for_each(Send::kill);
        Measured { time, sent, last }
    }

    /// Starts to send to all of them.
    fn send(&self, daemons: &[Daemon]) -> Vec<Send> {
        let links = daemons.iter().map(|daemon| &daemon.link);
        let start = |from: &str, links: &[&String]| {
            Send::start(&self.hall, &self.home.join(from), links, self.file)
        };
        match self.scenario {
            Scenario::Singles => links
                .enumerate()
                .map(|(n, link)| start(&format!("from-{n}"), &[link]))
                .collect(),
            Scenario::One
            | Scenario::Session
            | Scenario::Fewer
            | Scenario::Slow
            | Scenario::Killed => {
                let links: Vec<&String> = links.collect();
                vec![start("from", &links)]
            }
        }
    }

    /// Does to one of them what is to be done, if anything; that one does not count.
    fn disturb(&self, sends: &mut [Send], daemons: &mut [Daemon]) -> Option<usize> {
        match self.scenario {
            Scenario::Slow => Some(daemons.len() - 1),
            Scenario::Killed => {
                let feeder = sends[0].feeder_at_half(daemons);
                daemons[feeder].kill();
                Some(feeder)
            }
            Scenario::One | Scenario::Session | Scenario::Singles | Scenario::Fewer => None,
        }
    }
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
