//! Side by side: PeerConnect against a plain TCP copy of the same files, against the simplest
//! program that encrypts and verifies as PeerConnect does, and scp and rsync where they are
//! installed. All on one machine, whole processes, files on tmpfs, in turns, so that only
//! the ratios count.
//!
//! `cargo bench -p peerconnect --bench side_by_side` (as root also over a veth pair with MTU
//! 1500). Options behind `--`: `--gib N` size of the large file (2), `--files N` number of small
//! ones (10,000), `--small N` size of each in bytes (4,096), `--rounds N` (3, the median counts).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod contest;
mod latency;
mod process;
mod tcp;
mod wire;

use std::fs;
use std::path::{Path, PathBuf};

use wire::Wire;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    if let Some(role) = args.get(1).filter(|role| is_yardstick(role)) {
        return tcp::run(role, &args[2..]);
    }
    let number = |flag: &str, default: u64| {
        let at = args.iter().position(|arg| arg == flag);
        at.and_then(|at| args.get(at + 1)?.parse().ok())
            .unwrap_or(default)
    };
    let (gib, rounds) = (number("--gib", 2), number("--rounds", 3));
    let (files, small) = (number("--files", 10_000), number("--small", 4096));
    let work = workspace();
    let sets = [
        ("one large file", large_file(&work, gib)),
        ("many small files", small_files(&work, files, small)),
    ];
    let mut wires = vec![Wire::loopback()];
    match Wire::veth() {
        Ok(wire) => wires.push(wire),
        Err(why) => println!("no veth pair here: {why}"),
    }
    for (title, source) in &sets {
        for wire in &wires {
            let count = fs::read_dir(source).map_or(1, |entries| entries.count() as u64);
            println!("\n{title}, {} ({count} files)", wire.name());
            let standings = contest::race(wire, source, &work, rounds);
            contest::print(&standings, count);
        }
    }
    println!("\n1 KiB, both sides running, from the command to \"stored\" (in milliseconds)");
    latency::measure();
    drop(wires);
    let _ = fs::remove_dir_all(&work);
}

/// Whether this is one end of a copy over TCP.
fn is_yardstick(role: &str) -> bool {
    ["tcp-", "tls-"].iter().any(|kind| role.starts_with(kind))
}

/// A folder on tmpfs where there is one.
fn workspace() -> PathBuf {
    let shm = Path::new("/dev/shm");
    let base = if shm.is_dir() {
        shm.to_owned()
    } else {
        std::env::temp_dir()
    };
    let work = base.join(format!("peerconnect-bench-{}", std::process::id()));
    fs::create_dir_all(&work).unwrap();
    work
}

fn large_file(work: &Path, gib: u64) -> PathBuf {
    use std::io::Write;
    let dir = work.join("large");
    fs::create_dir_all(&dir).unwrap();
    let mut file = fs::File::create(dir.join("large.bin")).unwrap();
    let mut random = blake3::Hasher::new().finalize_xof();
    let mut piece = vec![0; 1 << 20];
    for _ in 0..gib * 1024 {
        random.fill(&mut piece);
        file.write_all(&piece).unwrap();
    }
    dir
}

fn small_files(work: &Path, files: u64, size: u64) -> PathBuf {
    let dir = work.join("small");
    fs::create_dir_all(&dir).unwrap();
    let mut random = blake3::Hasher::new().finalize_xof();
    let mut piece = vec![0; size.try_into().unwrap()];
    for i in 0..files {
        random.fill(&mut piece);
        fs::write(dir.join(format!("file-{i:06}")), &piece).unwrap();
    }
    dir
}
