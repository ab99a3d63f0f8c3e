use super::*;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

const TIME: Timestamp = Timestamp(1_234_567_890_987_654_321);

fn path(text: &str) -> SafePath {
    SafePath::parse(text).unwrap()
}

fn small(name: &str, tag: u32, content: &[u8]) -> Finished {
    Finished {
        path: path(name),
        modified: TIME,
        executable: false,
        content: Content::Small {
            bytes: Bytes::copy_from_slice(content),
            tag: format!("t{tag}"),
        },
        policy: ConflictPolicy::Rename,
    }
}

fn part(folder: &Folder, name: &str, tag: u32, content: &[u8]) -> Finished {
    let part = Part::create(folder, &path(name), &format!("t{tag}")).unwrap();
    part.write_at(0, content).unwrap();
    Finished {
        content: Content::Part(Arc::new(part)),
        ..small(name, tag, b"")
    }
}

fn published(name: &str, outcome: Outcome) -> Published {
    Published {
        path: path(name),
        outcome,
    }
}

fn one(folder: &Folder, file: Finished, policy: ConflictPolicy) -> Published {
    let file = Finished { policy, ..file };
    publish(folder, vec![file]).remove(0).unwrap()
}

/// Every file below `dir` with its content, sorted.
fn tree(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if entry.file_type().unwrap().is_dir() {
            let below = tree(&entry.path()).into_iter();
            found.extend(below.map(|(path, content)| (format!("{name}/{path}"), content)));
        } else {
            let content = std::fs::read(entry.path()).unwrap_or_default();
            found.push((name, content));
        }
    }
    found.sort();
    found
}

fn expect(dir: &Path, files: &[(&str, &[u8])]) {
    let expected: Vec<(String, Vec<u8>)> = files
        .iter()
        .map(|(name, content)| ((*name).to_owned(), content.to_vec()))
        .collect();
    assert_eq!(tree(dir), expected);
}

#[test]
fn a_new_file_has_its_name_time_and_permissions_and_leaves_no_part() {
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::open(dir.path()).unwrap();
    let plain = dir.path().join("plain");
    std::fs::write(&plain, "").unwrap();
    let given = plain.metadata().unwrap().mode() & 0o777;
    std::fs::remove_file(&plain).unwrap();
    for (n, executable) in [(0, false), (1, true), (2, false), (3, true)] {
        let name = format!("sub/file{n}");
        let made = if n < 2 {
            small(&name, n, b"text")
        } else {
            part(&folder, &name, n, b"text")
        };
        let file = Finished { executable, ..made };
        let told = one(&folder, file, ConflictPolicy::Rename);
        assert_eq!(told, published(&name, Outcome::New));
        let metadata = dir.path().join(&name).metadata().unwrap();
        let bits = if executable {
            given | (given & 0o444) >> 2
        } else {
            given
        };
        assert_eq!(metadata.permissions().mode() & 0o7777, bits, "{name}");
        let time = metadata.mtime() * 1_000_000_000 + metadata.mtime_nsec();
        assert_eq!(time, TIME.0);
    }
    expect(
        dir.path(),
        &[
            ("sub/file0", b"text"),
            ("sub/file1", b"text"),
            ("sub/file2", b"text"),
            ("sub/file3", b"text"),
        ],
    );
}

#[test]
fn other_content_gets_a_number_and_equal_content_is_found_again() {
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::open(dir.path()).unwrap();
    std::fs::write(dir.path().join("a.txt"), "old").unwrap();
    for (n, (content, name, outcome)) in [
        (b"new", "a (1).txt", Outcome::Renamed),
        (b"3rd", "a (2).txt", Outcome::Renamed),
        (b"old", "a.txt", Outcome::Identical),
        (b"3rd", "a (2).txt", Outcome::Identical),
    ]
    .into_iter()
    .enumerate()
    {
        let n = n as u32;
        let told = if n.is_multiple_of(2) {
            one(&folder, small("a.txt", n, content), ConflictPolicy::Rename)
        } else {
            let file = part(&folder, "a.txt", n, content);
            one(&folder, file, ConflictPolicy::Rename)
        };
        assert_eq!(told, published(name, outcome));
    }
    expect(
        dir.path(),
        &[
            ("a (1).txt", b"new"),
            ("a (2).txt", b"3rd"),
            ("a.txt", b"old"),
        ],
    );
}

#[test]
fn equal_is_what_is_equal_to_the_last_byte() {
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::open(dir.path()).unwrap();
    let content: Vec<u8> = (0..3 * COMPARE_LEN + 5).map(|i| (i % 251) as u8).collect();
    std::fs::write(dir.path().join("a"), &content).unwrap();
    let mut other = content.clone();
    *other.last_mut().unwrap() ^= 1;
    let skip = ConflictPolicy::Skip;
    for (n, (bytes, outcome)) in [(&content, Outcome::Identical), (&other, Outcome::Skipped)]
        .into_iter()
        .enumerate()
    {
        let n = n as u32;
        assert_eq!(one(&folder, small("a", n, bytes), skip).outcome, outcome);
        let file = part(&folder, "a", n + 10, bytes);
        assert_eq!(one(&folder, file, skip).outcome, outcome);
    }
    expect(dir.path(), &[("a", &content)]);
}

#[test]
fn the_policy_decides_about_a_taken_name() {
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::open(dir.path()).unwrap();
    let exists = Outcome::Failed(SinkFault::Exists);
    std::fs::write(dir.path().join("a"), "old").unwrap();
    let told = one(&folder, small("a", 1, b"new"), ConflictPolicy::Skip);
    assert_eq!(told, published("a", Outcome::Skipped));
    let told = one(&folder, part(&folder, "a", 2, b"new"), ConflictPolicy::Fail);
    assert_eq!(told, published("a", exists));
    expect(dir.path(), &[("a", b"old")]);
    let told = one(
        &folder,
        part(&folder, "a", 3, b"new"),
        ConflictPolicy::Overwrite,
    );
    assert_eq!(told, published("a", Outcome::Overwritten));
    expect(dir.path(), &[("a", b"new")]);
    let told = one(&folder, small("a", 4, b"new"), ConflictPolicy::Overwrite);
    assert_eq!(told, published("a", Outcome::Identical));
    let told = one(&folder, small("b", 5, b"b"), ConflictPolicy::Overwrite);
    assert_eq!(told, published("b", Outcome::New));
    expect(dir.path(), &[("a", b"new"), ("b", b"b")]);
}

#[test]
fn folders_links_and_their_targets_are_never_replaced() {
    let outside = tempfile::tempdir().unwrap();
    let target = outside.path().join("precious");
    std::fs::write(&target, "precious").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::open(dir.path()).unwrap();
    std::fs::create_dir(dir.path().join("dir")).unwrap();
    symlink(&target, dir.path().join("link")).unwrap();
    for (n, name) in ["dir", "link"].into_iter().enumerate() {
        let n = n as u32;
        let told = one(
            &folder,
            small(name, n, b"precious"),
            ConflictPolicy::Overwrite,
        );
        assert_eq!(told, published(name, Outcome::Failed(SinkFault::Exists)));
        let told = one(&folder, small(name, n, b"precious"), ConflictPolicy::Rename);
        assert_eq!(told, published(&format!("{name} (1)"), Outcome::Renamed));
    }
    assert!(dir.path().join("link").is_symlink() && dir.path().join("dir").is_dir());
    assert_eq!(std::fs::read(&target).unwrap(), b"precious");
}

#[test]
fn asking_keeps_old_and_new_apart_and_touches_neither() {
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::open(dir.path()).unwrap();
    std::fs::write(dir.path().join("a"), "old").unwrap();
    std::fs::create_dir(dir.path().join("dir")).unwrap();
    let file = |file| Finished {
        policy: ConflictPolicy::Ask,
        ..file
    };
    let large = part(&folder, "a", 2, b"new");
    let Content::Part(kept) = &large.content else {
        panic!("a part");
    };
    let kept = kept.clone();
    let batch = vec![
        file(small("a", 1, b"new")),
        file(large),
        file(small("a", 3, b"old")),
        file(small("dir", 4, b"x")),
        file(small("free", 5, b"x")),
        file(small("free", 6, b"y")),
    ];
    let mut told = publish(&folder, batch).into_iter();
    for _ in 0..2 {
        let error = told.next().unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
    }
    let told: Vec<Published> = told.map(Result::unwrap).collect();
    let expected = [
        published("a", Outcome::Identical),
        published("dir (1)", Outcome::Renamed),
        published("free", Outcome::New),
        published("free (1)", Outcome::Renamed),
    ];
    assert_eq!(told, expected);
    assert_eq!(std::fs::read(dir.path().join("a")).unwrap(), b"old");
    let mut content = [0; 3];
    kept.read_at(0, &mut content).unwrap();
    assert_eq!(&content, b"new", "the part is kept");
}

#[test]
fn two_files_with_one_name_in_one_batch_are_both_kept() {
    for policy in [ConflictPolicy::Rename, ConflictPolicy::Overwrite] {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(dir.path()).unwrap();
        std::fs::write(dir.path().join("b"), "old").unwrap();
        let names = ["a", "a", "b", "b", "a", "c"];
        let batch: Vec<Finished> = names
            .iter()
            .enumerate()
            .map(|(n, name)| Finished {
                policy,
                ..small(name, n as u32, format!("{n}").as_bytes())
            })
            .collect();
        let told: Vec<Published> = publish(&folder, batch)
            .into_iter()
            .map(Result::unwrap)
            .collect();
        let paths: Vec<&str> = told.iter().map(|p| p.path.as_str()).collect();
        let (files, expected): (&[(&str, &[u8])], _) = match policy {
            ConflictPolicy::Rename => (
                &[
                    ("a", b"0"),
                    ("a (1)", b"1"),
                    ("a (2)", b"4"),
                    ("b", b"old"),
                    ("b (1)", b"2"),
                    ("b (2)", b"3"),
                    ("c", b"5"),
                ],
                ["a", "a (1)", "b (1)", "b (2)", "a (2)", "c"],
            ),
            ConflictPolicy::Overwrite
            | ConflictPolicy::Skip
            | ConflictPolicy::Fail
            | ConflictPolicy::Ask => (
                &[
                    ("a", b"0"),
                    ("a (1)", b"1"),
                    ("a (2)", b"4"),
                    ("b", b"2"),
                    ("b (1)", b"3"),
                    ("c", b"5"),
                ],
                ["a", "a (1)", "b", "b (1)", "a (2)", "c"],
            ),
        };
        assert_eq!(paths, expected);
        expect(dir.path(), files);
    }
}

#[test]
fn a_file_that_fails_harms_no_other_and_keeps_its_part() {
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::open(dir.path()).unwrap();
    let outside = tempfile::tempdir().unwrap();
    symlink(outside.path(), dir.path().join("link")).unwrap();
    std::fs::write(dir.path().join("file"), "x").unwrap();
    let replaced = part(&folder, "replaced", 8, b"ours");
    std::fs::remove_file(dir.path().join(".replaced.t8.pcpart")).unwrap();
    std::fs::write(dir.path().join(".replaced.t8.pcpart"), "theirs").unwrap();
    let batch = vec![
        small("good1", 1, b"1"),
        small("link/bad", 2, b"2"),
        small("file/bad", 3, b"3"),
        part(&folder, "good2", 4, b"4"),
        Finished {
            content: Content::Small {
                bytes: Bytes::new(),
                tag: "../x".into(),
            },
            ..small("bad", 5, b"")
        },
        replaced,
        small("deep/er/good3", 6, b"6"),
    ];
    let told = publish(&folder, batch);
    let good: Vec<bool> = told.iter().map(Result::is_ok).collect();
    assert_eq!(good, [true, false, false, true, false, false, true]);
    expect(
        dir.path(),
        &[
            (".replaced.t8.pcpart", b"theirs"),
            ("deep/er/good3", b"6"),
            ("file", b"x"),
            ("good1", b"1"),
            ("good2", b"4"),
            ("link", b""),
        ],
    );
    assert_eq!(tree(outside.path()), []);
}

#[test]
fn a_part_follows_its_folder_when_a_person_moves_it() {
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::open(dir.path()).unwrap();
    let file = part(&folder, "sub/a", 1, b"text");
    std::fs::rename(dir.path().join("sub"), dir.path().join("moved")).unwrap();
    let told = one(&folder, file, ConflictPolicy::Rename);
    assert_eq!(told, published("sub/a", Outcome::New));
    expect(dir.path(), &[("sub/a", b"text")]);
}

#[test]
fn numbers_end_somewhere() {
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::open(dir.path()).unwrap();
    std::fs::write(dir.path().join("a"), "old").unwrap();
    for n in 1..NUMBER_MAX {
        std::fs::write(dir.path().join(format!("a ({n})")), "old").unwrap();
    }
    let told = one(&folder, small("a", 1, b"other"), ConflictPolicy::Rename);
    assert_eq!(told, published("a", Outcome::Failed(SinkFault::Exists)));
    assert_eq!(tree(dir.path()).len(), NUMBER_MAX as usize);
}

#[test]
fn nothing_is_written_through_a_link_that_is_swapped_in_meanwhile() {
    use rustix::fs::CWD;
    const ROUNDS: u32 = 1500;
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("precious"), "precious").unwrap();
    // A path through the link leads somewhere.
    std::fs::create_dir(outside.path().join("x")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (sub, link) = (dir.path().join("sub"), dir.path().join("link"));
    std::fs::create_dir(&sub).unwrap();
    symlink(outside.path(), &link).unwrap();
    let with = Folder::open(dir.path()).unwrap();
    let ended = AtomicBool::new(false);
    let mut saved = 0;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !ended.load(Ordering::Relaxed) {
                let _ = renameat_with(CWD, &sub, CWD, &link, RenameFlags::EXCHANGE);
            }
        });
        for folder in [with.clone(), with.without_openat2()] {
            for n in 0..ROUNDS {
                let file = |name| Finished {
                    policy: ConflictPolicy::Overwrite,
                    ..small(name, n, b"new")
                };
                let told = publish(&folder, vec![file("sub/precious"), file("sub/x/y")]);
                saved += told.iter().filter(|r| r.is_ok()).count();
                if let Ok(part) = Part::create(&folder, &path("sub/z"), "t") {
                    let _ = part.discard();
                }
                let _ = folder.make_folder(&path(&format!("sub/{n}")));
                let _ = folder.make_symlink(&path(&format!("sub/l{n}")), "x");
                let _ = folder.set_folder_time(&path("sub"), Timestamp(0));
                if let Ok(file) = folder.open_file(&path("sub/precious")) {
                    assert_eq!(file.metadata().unwrap().len(), 3, "read outside");
                }
            }
        }
        ended.store(true, Ordering::Relaxed);
    });
    println!("{saved} of {} files were saved", 4 * ROUNDS);
    expect(outside.path(), &[("precious", b"precious")]);
    assert!(outside.path().metadata().unwrap().mtime() > 1);
}

/// A file system of its own, if this user may mount one.
struct Mounted(tempfile::TempDir);

impl Mounted {
    fn new(options: &str) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mounted = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "tmpfs"])
            .arg(dir.path())
            .output()
            .is_ok_and(|output| output.status.success());
        if mounted {
            return Some(Self(dir));
        }
        println!("skipped: this user may not mount file systems");
        None
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount")
            .arg(self.0.path())
            .status();
    }
}

#[test]
fn a_full_disk_is_told_as_such_and_leaves_no_waste() {
    let Some(disk) = Mounted::new("size=256k") else {
        return;
    };
    let folder = Folder::open(disk.0.path()).unwrap();
    assert!(folder.space().unwrap().free <= 256 * 1024);
    let content = vec![7; 40 * 1024];
    let batch = (0..12).map(|n| small(&format!("f{n:02}"), n, &content));
    let told = publish(&folder, batch.collect());
    let saved = told.iter().filter(|r| r.is_ok()).count();
    assert!((1..12).contains(&saved));
    for e in told.iter().filter_map(|r| r.as_ref().err()) {
        assert_eq!(e.kind(), io::ErrorKind::StorageFull);
    }
    let files = tree(disk.0.path());
    assert_eq!(files.len(), saved);
    assert!(
        files
            .iter()
            .all(|(name, c)| !name.starts_with('.') && *c == content)
    );
    let part = Part::create(&folder, &path("big"), "t").unwrap();
    let full = (0..20).find_map(|n| part.write_at(n * 40_960, &content).err());
    assert_eq!(full.unwrap().kind(), io::ErrorKind::StorageFull);
}

#[test]
fn a_disk_without_inodes_left_is_full() {
    let Some(disk) = Mounted::new("size=4m,nr_inodes=10") else {
        return;
    };
    let folder = Folder::open(disk.0.path()).unwrap();
    assert!(folder.space().unwrap().inodes.is_some_and(|n| n < 10));
    let batch = (0..20).map(|n| small(&format!("f{n}"), n, b"x"));
    let told = publish(&folder, batch.collect());
    assert!(told[0].is_ok());
    let last = told.last().unwrap().as_ref().unwrap_err();
    assert_eq!(last.kind(), io::ErrorKind::StorageFull);
}

#[test]
fn a_read_only_folder_is_noticed_before_and_while_writing() {
    let Some(disk) = Mounted::new("size=1m,ro") else {
        return;
    };
    let folder = Folder::open(disk.0.path()).unwrap();
    let kind = io::ErrorKind::ReadOnlyFilesystem;
    assert_eq!(folder.check_writable().unwrap_err().kind(), kind);
    let told = publish(&folder, vec![small("a", 1, b"x")]);
    assert_eq!(told[0].as_ref().unwrap_err().kind(), kind);
}
