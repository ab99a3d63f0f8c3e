//! The power fails under a receiver: what it had not brought to the disk is gone. What it had told
//! to be delivered must be there, and no name may have wrong content.
//!
//! The disk is an ext4 file system in a file, and the power cut is its emergency shutdown without
//! a flush of its log: everything that the kernel has not yet given to the device is lost. Needs
//! root, a loop device, and python3 for the one system call.
#![cfg(target_os = "linux")]
#![allow(
    clippy::wildcard_enum_match_arm,
    clippy::unwrap_used,
    clippy::expect_used,
    dead_code,
    missing_docs,
    unreachable_pub
)]

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use common::side::{HANG, Side};
use common::{content, tree};
use peerconnect::config::Paths;
use peerconnect::node::api::{Command as Order, Reply};
use peerconnect::node::control;
use serde_json::Value;

const CUTS: u64 = 25;
const SMALL_FILES: u64 = 30;

/// Shuts a file system down at once: `EXT4_IOC_SHUTDOWN` with `EXT4_GOING_FLAGS_NOLOGFLUSH`.
const SHUTDOWN: &str = "\
import fcntl, os, struct, sys
fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587d, struct.pack('I', 2))
";

/// A disk whose power can fail.
struct Disk {
    image: PathBuf,
    at: PathBuf,
    copies: u32,
}

impl Disk {
    /// `None` where this cannot be had. With `PEERCONNECT_TEST_ALL=1` that is a failure, except
    /// in containers, which mostly have no loop devices.
    fn make(dir: &Path) -> Option<Self> {
        let (image, at) = (dir.join("image"), dir.join("disk"));
        std::fs::create_dir(&at).unwrap();
        std::fs::File::create(&image)
            .unwrap()
            .set_len(512 * 1024 * 1024)
            .unwrap();
        let disk = Self {
            image,
            at,
            copies: 0,
        };
        let made = run("mkfs.ext4", &["-q", "-F", text(&disk.image)]);
        let made = made.and_then(|()| disk.mount());
        let made = made.and_then(|()| run("python3", &["-c", "import fcntl"]));
        match made {
            Ok(()) => Some(disk),
            Err(error) => {
                let must = std::env::var_os("PEERCONNECT_TEST_ALL").is_some();
                assert!(!must || !has_loop_devices(), "no disk to cut: {error}");
                eprintln!("skipped, no disk to cut: {error}");
                None
            }
        }
    }

    /// Without the guess of ext4 that a renamed file shall be written first: other file systems
    /// do not make it.
    fn mount(&self) -> Result<(), String> {
        let options = "loop,noauto_da_alloc";
        run("mount", &["-o", options, text(&self.image), text(&self.at)])
    }

    fn cut(&self) {
        run("python3", &["-c", SHUTDOWN, text(&self.at)]).unwrap();
    }

    /// As after the power is back: what is in the image, in another device. The old one may be held
    /// by other mount namespaces, and would be the same file system as before.
    fn power(&mut self) {
        run("umount", &["-l", text(&self.at)]).unwrap();
        self.copies += 1;
        let copy = self.image.with_extension(self.copies.to_string());
        let args = ["--sparse=always", text(&self.image), text(&copy)];
        run("cp", &args).unwrap();
        std::fs::remove_file(&self.image).unwrap();
        self.image = copy;
        self.mount().unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = run("umount", &["-l", text(&self.at)]);
    }
}

fn has_loop_devices() -> bool {
    Path::new("/dev/loop-control").exists() && rustix::process::geteuid().is_root()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn run(program: &str, args: &[&str]) -> Result<(), String> {
    let output = Command::new(program).args(args).output();
    let output = output.map_err(|error| format!("{program}: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
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

struct Two {
    // Stopped before the disk goes.
    sender: Side,
    receiver: Side,
    disk: Disk,
}

/// What a side has told to be delivered: path below the receiver's folder, and hash.
type Claims = BTreeMap<String, String>;

impl Two {
    fn new(dir: &Path) -> Option<Self> {
        let disk = Disk::make(dir)?;
        let sender = Side::new(dir.join("sender"));
        let mut receiver = Side::new(dir.join("receiver"));
        // Its files and its memory are on the disk; what it says is not.
        std::fs::create_dir(disk.at.join("config")).unwrap();
        std::fs::create_dir(disk.at.join("in")).unwrap();
        std::os::unix::fs::symlink(disk.at.join("config"), receiver.home.join("config")).unwrap();
        run("sync", &["-f", text(&disk.at)]).unwrap();
        let inbox = disk.at.join("in");
        let args = ["daemon", "--yes", "--out", text(&inbox)];
        receiver.args = args.map(String::from).into();
        Some(Self {
            sender,
            receiver,
            disk,
        })
    }

    fn inbox(&self) -> PathBuf {
        self.disk.at.join("in")
    }

    fn out(&self) -> PathBuf {
        self.sender.home.join("out")
    }

    /// Sends the files of a round.
    async fn send(&mut self, round: u64) {
        let folder = self.out().join(format!("round {round}"));
        if !folder.exists() {
            std::fs::create_dir_all(folder.join("small")).unwrap();
            for n in 0..SMALL_FILES {
                let bytes = content(1000 * round + n, (n * 700) as usize);
                std::fs::write(folder.join("small").join(n.to_string()), bytes).unwrap();
            }
            std::fs::write(folder.join("large"), content(1000 * round + 999, 6_000_000)).unwrap();
        }
        self.receiver.start();
        self.receiver.line("hello").await;
        let target = format!("127.0.0.1:{}", self.receiver.port());
        let args = ["send", "--limit", "40M", "--to", &target, text(&folder)];
        self.sender.args = args.map(String::from).into();
        self.sender.start();
    }

    /// What both said in their last runs.
    fn said(&self) -> String {
        format!("{}\n{}", self.sender.said(), self.receiver.said())
    }

    /// Every name has the right content, and everything that was told is there.
    fn check(&self, claims: &Claims, when: &str) {
        let (sent, there) = (tree(&self.out()), tree(&self.inbox()));
        for (name, bytes) in &there {
            let is_part = name.contains(".pcpart");
            assert!(
                is_part || sent.get(name) == Some(bytes),
                "{name} is wrong: {when}"
            );
        }
        for (name, hash) in claims {
            let found = there.get(name);
            let found = found.map(|bytes| blake3::hash(bytes).to_hex().to_string());
            assert_eq!(found.as_ref(), Some(hash), "{name} was delivered: {when}");
        }
    }

    /// What the history says was received is there.
    async fn check_history(&self, when: &str) {
        let paths = Paths::below(&self.receiver.home.join("config"));
        let node = control::connect(&paths).await.unwrap().unwrap();
        let count = u32::try_from(CUTS).unwrap();
        match node.call(Order::History { count }).await.unwrap() {
            Reply::History(records) => {
                for record in records
                    .iter()
                    .filter(|r| r.failed == 0 && r.fault.is_none())
                {
                    for name in &record.names {
                        let path = self.inbox().join(name);
                        assert!(path.exists(), "{name} is in the history: {when}");
                    }
                }
            }
            other => panic!("{other:?}"),
        }
    }
}

/// What a side has said so far.
fn claims(side: &Side) -> Claims {
    let text = std::fs::read_to_string(side.home.join("stdout")).unwrap();
    let lines = text
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok());
    let done = { lines }.filter(|line: &Value| line["t"] == "file_done");
    let good = done.filter(|line| {
        let result = line["result"].as_str().unwrap();
        ["new", "identical", "renamed"].contains(&result) && line["blake3"].is_string()
    });
    let claim = |line: Value| {
        let text = |key: &str| line[key].as_str().unwrap().to_owned();
        (text("saved_as"), text("blake3"))
    };
    good.map(claim).collect()
}

#[tokio::test]
async fn a_power_cut_takes_nothing_that_was_delivered_and_leaves_nothing_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let Some(mut two) = Two::new(dir.path()) else {
        return;
    };
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let (mut all, mut claimed_at_cuts) = (Claims::new(), 0);
    for round in 0..CUTS {
        two.send(round).await;
        // Mostly when something was told, now and then before.
        let wanted = random.below(SMALL_FILES + 2) as usize;
        let start = Instant::now();
        while claims(&two.sender).len() < wanted && two.sender.ended().is_none() {
            assert!(start.elapsed() < HANG, "it hangs: {}", two.sender.said());
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        tokio::time::sleep(Duration::from_micros(random.below(60_000))).await;
        // All at once. A disk that goes first is another thing: files fail, the sender is told, and
        // what cannot be removed stays for the next start.
        two.receiver.freeze();
        two.sender.freeze();
        two.disk.cut();
        two.receiver.kill();
        two.sender.kill();
        two.disk.power();
        let before = two.said();
        let mut told = claims(&two.sender);
        told.extend(claims(&two.receiver));
        claimed_at_cuts += told.len();
        all.extend(told);
        two.check(&all, &format!("after cut {round}"));

        // The power is back: all of it arrives.
        two.send(round).await;
        let status = two.sender.end().await;
        assert!(status.success(), "{status}: {}", two.sender.said());
        all.extend(claims(&two.sender));
        two.check(&all, &format!("after round {round}"));
        let there = tree(&two.inbox());
        let left: Vec<&String> = there
            .keys()
            .filter(|name| name.contains(".pcpart"))
            .collect();
        let now = two.said();
        assert!(
            left.is_empty(),
            "{left:?} is left of round {round}: {before}\nthen: {now}"
        );
        two.check_history(&format!("after round {round}")).await;
        two.receiver.kill();
    }
    assert!(
        claimed_at_cuts > CUTS as usize,
        "cuts came too early to show anything"
    );
    let (sent, there) = (tree(&two.out()), tree(&two.inbox()));
    let is_different = |name: &&String| sent.get(*name) != there.get(*name);
    let different: Vec<&String> = sent
        .keys()
        .chain(there.keys())
        .filter(is_different)
        .collect();
    assert!(different.is_empty(), "not as it was sent: {different:?}");
    eprintln!("{CUTS} cuts, {claimed_at_cuts} files were delivered before them");
}
