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

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use common::side::{HANG, Side};
use common::{content, tree};
use rustix::process::Signal;
use serde_json::Value;

const KILLS: u32 = 50;
const LARGE: usize = 64 * 1024 * 1024;

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
        let link = receiver.link().await;
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

/// One has a file and another one the other file, each from elsewhere; the sender has gone when it
/// was known that it may. Then both are killed again and again, and get what they lack all the
/// same.
#[tokio::test(flavor = "multi_thread")]
async fn those_who_have_it_between_them_may_be_killed_at_any_time_without_the_sender() {
    let dir = tempfile::tempdir().unwrap();
    let files = [("x", 1), ("y", 2)].map(|(name, seed)| (name.to_owned(), content(seed, 16 << 20)));
    let mut sender = Side::new(dir.path().join("sender"));
    let mut others = ["anna", "ben"].map(|name| Side::new(dir.path().join(name)));
    sender.args = ["send", "--limit", "100K"].map(String::from).into();
    for (side, (name, bytes)) in others.iter_mut().zip(&files) {
        let inbox = side.home.join("in");
        std::fs::create_dir_all(&inbox).unwrap();
        std::fs::write(inbox.join(name), bytes).unwrap();
        std::fs::create_dir_all(side.home.join("config")).unwrap();
        let settings = "rate_limit = \"4M\"\n";
        std::fs::write(side.home.join("config/config.toml"), settings).unwrap();
        let inbox = inbox.to_str().unwrap();
        side.args = ["daemon", "--yes", "--out", inbox].map(String::from).into();
        side.start();
        sender.args.extend(["--to".into(), side.link().await]);
    }
    for (name, bytes) in &files {
        let path = sender.home.join(name);
        std::fs::write(&path, bytes).unwrap();
        sender.args.push(path.to_str().unwrap().into());
    }
    sender.start();
    sender.line("may_leave").await;
    sender.kill();
    let all = files.into();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let (mut kills, start) = (0, Instant::now());
    while !others.iter().all(|side| tree(&side.home.join("in")) == all) {
        assert!(
            start.elapsed() < HANG,
            "{}",
            others[0].said() + &others[1].said()
        );
        tokio::time::sleep(Duration::from_millis(300 + random.below(500))).await;
        if kills < 6 {
            let side = &mut others[kills % 2];
            side.kill();
            side.start();
            kills += 1;
        }
        for (name, bytes) in others.iter().flat_map(|side| tree(&side.home.join("in"))) {
            let is_part = name.contains(".pcpart");
            assert!(is_part || all.get(&name) == Some(&bytes), "{name}");
        }
    }
    assert_eq!(kills, 6, "it was over too soon");
}

/// A sender, and three that get one file and pass it on to each other.
struct Three {
    dir: tempfile::TempDir,
    sender: Side,
    all: Vec<(&'static str, Side)>,
    file: Vec<u8>,
}

impl Three {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (mut sender, file) = (Side::new(dir.path().join("sender")), content(1, 40 << 20));
        sender.args = ["send", "--limit", "12M"].map(String::from).into();
        let mut all = Vec::new();
        for name in ["anna", "ben", "carl"] {
            let mut side = Side::new(dir.path().join(name));
            let config = side.home.join("config");
            std::fs::create_dir_all(&config).unwrap();
            std::fs::write(config.join("config.toml"), format!("name = \"{name}\"\n")).unwrap();
            let inbox = side.home.join("in");
            let inbox = inbox.to_str().unwrap();
            side.args = ["daemon", "--yes", "--out", inbox].map(String::from).into();
            side.start();
            sender.args.extend(["--to".into(), side.link().await]);
            all.push((name, side));
        }
        let path = sender.home.join("big");
        std::fs::write(&path, &file).unwrap();
        sender.args.push(path.to_str().unwrap().into());
        sender.start();
        Self {
            dir,
            sender,
            all,
            file,
        }
    }

    /// Waits until one gets it from another one and has about half of it. Takes out that other one.
    async fn feeder_at_half(&mut self) -> Side {
        let start = Instant::now();
        let feeder = loop {
            let said = self.sender.said();
            let lines = said
                .lines()
                .filter_map(|line| serde_json::from_str(line).ok());
            let half = |line: &Value| {
                let has = line["bytes"].as_u64()? >= line["total"].as_u64()? / 2;
                let through = line["through"].as_str().filter(|_| has);
                through.map(str::to_owned)
            };
            let progress = lines.filter(|line: &Value| line["t"] == "progress");
            if let Some(name) = { progress }.find_map(|line| half(&line)) {
                break name;
            }
            assert!(start.elapsed() < HANG, "nobody feeds anybody: {said}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        let at = self.all.iter().position(|(name, _)| *name == feeder);
        self.all.remove(at.unwrap()).1
    }

    /// Those who are left get all of it, which they had not before.
    async fn check_rest(&self) {
        let whole = [("big".to_owned(), self.file.clone())].into();
        let has_all = |(_, side): &(&str, Side)| tree(&side.home.join("in")) == whole;
        assert!(!self.all.iter().any(has_all), "it was over too soon");
        let start = Instant::now();
        while !self.all.iter().all(has_all) {
            let said = self.all.iter().map(|(_, side)| side.said());
            let said = said.collect::<String>() + &self.sender.said();
            assert!(start.elapsed() < HANG, "{said}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        for (name, side) in &self.all {
            assert_eq!(side.line("summary").await["exit"], 0, "{name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn when_one_that_passes_on_is_killed_midway_the_others_get_everything() {
    let mut three = Three::new().await;
    three.feeder_at_half().await.kill();
    three.check_rest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn when_one_that_passes_on_is_stopped_midway_the_others_get_everything() {
    let mut three = Three::new().await;
    // It says nothing more, and leaves nothing that would tell the others that it is gone.
    let mut frozen = three.feeder_at_half().await;
    frozen.freeze();
    three.check_rest().await;
    frozen.kill();
}
