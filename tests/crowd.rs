//! A transfer of very many files, alone in its process because it measures memory.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::wildcard_enum_match_arm,
    missing_docs,
    unreachable_pub
)]

mod common;
#[path = "behaviour/pair.rs"]
#[allow(dead_code)]
mod pair;
#[path = "behaviour/world.rs"]
#[allow(dead_code)]
mod world;

use pair::{Memory, Pair};
use world::World;

const FILES: u32 = 100_000;
const FOLDERS: u32 = 100;

/// Most memory that this process has used so far, in bytes.
#[cfg(target_os = "linux")]
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kib = line.unwrap().split_whitespace().nth(1).unwrap();
    kib.parse::<u64>().unwrap() * 1024
}

#[cfg(target_os = "linux")]
#[tokio::test(start_paused = true)]
async fn a_hundred_thousand_files_arrive_in_little_memory() {
    // In memory where that is possible: this is about our memory, not about the disk.
    let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
    let mut world = World::below(dir.unwrap(), Memory::new().await, |_| {});
    let root = world.out().join("crowd");
    for folder in 0..FOLDERS {
        let folder = root.join(format!("{folder:02}"));
        std::fs::create_dir_all(&folder).unwrap();
        for file in 0..FILES / FOLDERS {
            std::fs::write(folder.join(format!("{file:04}.txt")), file.to_le_bytes()).unwrap();
        }
    }
    let before = peak();
    world.offer(&[&root]);
    let ends = world.run().await;
    let grown = peak() - before;
    world.completed(ends).await;
    assert!(grown < 150 * 1024 * 1024, "{grown} bytes");
    assert_eq!(world.sending.table.lock().totals().files_done, FILES);
    for (folder, file) in [(0, 0), (42, 777), (FOLDERS - 1, FILES / FOLDERS - 1)] {
        let content = world.got(&format!("crowd/{folder:02}/{file:04}.txt"));
        assert_eq!(content, u32::to_le_bytes(file));
    }
    let count = crate::common::tree(&world.inbox()).len() as u32;
    assert_eq!(count, FILES + FOLDERS + 1);
}
