//! Names as an attacker would choose them, put to the disk for real.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::HashSet;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use peerconnect::config::ConflictPolicy;
use peerconnect::protocol::message::Timestamp;
use peerconnect::storage::folder::Folder;
use peerconnect::storage::name::SafePath;
use peerconnect::storage::publish::{Content, Finished, publish};

/// Ways to begin and to end a name, and what may stand between: put together, 10,647 names.
const PIECES: [&str; 22] = [
    "..",
    ".",
    "/",
    "\\",
    "C:",
    "\0",
    "\n",
    "\u{1b}[2J",
    "\u{202e}",
    "\u{200b}",
    "\u{2028}",
    "CON",
    "COM¹.txt",
    " ",
    ".ssh",
    "*?",
    "link",
    "dir",
    "kept.txt",
    "ü🎉",
    "outside/secret",
    ".pcpart",
];

fn corpus() -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for a in PIECES {
        names.push(a.to_owned());
        for b in PIECES {
            for join in ["", "/"] {
                names.push(format!("{a}{join}{b}"));
            }
            for c in PIECES {
                names.push(format!("{a}/{b}{c}"));
            }
        }
    }
    for depth in [1, 5, 300] {
        names.push("../".repeat(depth) + "etc/passwd");
        names.push("a/".repeat(depth) + &"../".repeat(depth + 1) + "x");
        names.push("x".repeat(depth * 20) + ".txt");
    }
    names
}

/// Every path below `dir`.
fn below(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            }
            found.push(entry.path());
        }
    }
    found.sort();
    found
}

#[test]
fn no_name_gets_outside_or_changes_what_is_there() {
    let base = tempfile::tempdir().unwrap();
    let outside = base.path().join("outside");
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("secret"), "secret").unwrap();
    std::fs::create_dir(outside.join("dir")).unwrap();
    let inside = base.path().join("downloads");
    let folder = Folder::open(&inside).unwrap();
    std::fs::create_dir(inside.join("dir")).unwrap();
    std::fs::write(inside.join("kept.txt"), "kept").unwrap();
    std::fs::write(inside.join("dir/kept.txt"), "kept too").unwrap();
    symlink(&outside, inside.join("link")).unwrap();
    symlink("../../outside/secret", inside.join("dir/link")).unwrap();

    let corpus = corpus();
    assert!(corpus.len() > 10_000, "{}", corpus.len());
    let safe: Vec<SafePath> = corpus
        .iter()
        .filter_map(|name| SafePath::parse(name).ok())
        .collect();
    assert!(safe.len() > 3000, "{} are usable", safe.len());
    let (mut saved, mut failed) = (HashSet::new(), 0);
    for (n, paths) in safe.chunks(256).enumerate() {
        let files = paths.iter().enumerate().map(|(m, path)| Finished {
            path: path.clone(),
            modified: Timestamp(0),
            executable: true,
            content: Content::Small {
                bytes: Bytes::from(format!("{n} {m}")),
                tag: format!("{n}-{m}"),
            },
            policy: ConflictPolicy::Rename,
        });
        for result in publish(&folder, files.collect()) {
            match result {
                Ok(done) => assert!(saved.insert(done.path), "one name for two files"),
                Err(_) => failed += 1,
            }
        }
    }
    println!("{} saved, {failed} failed of {}", saved.len(), corpus.len());
    assert!(saved.len() > 2000);

    assert_eq!(
        below(&outside),
        [outside.join("dir"), outside.join("secret")]
    );
    assert_eq!(std::fs::read(outside.join("secret")).unwrap(), b"secret");
    assert_eq!(std::fs::read(inside.join("kept.txt")).unwrap(), b"kept");
    assert_eq!(
        std::fs::read(inside.join("dir/kept.txt")).unwrap(),
        b"kept too"
    );
    let top: HashSet<_> = std::fs::read_dir(base.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(top.len(), 2, "{top:?}");
    let files: HashSet<PathBuf> = below(&inside).into_iter().filter(|p| p.is_file()).collect();
    for path in &saved {
        assert!(files.contains(&inside.join(path.as_str())), "{path:?}");
    }
    for path in &files {
        assert!(
            !path.to_str().unwrap().ends_with(".pcpart"),
            "waste: {path:?}"
        );
    }
}
