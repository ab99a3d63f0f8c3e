use super::*;
use crate::protocol::message::SinkFault;
use crate::transfer::status::FAILURES_MAX;

fn file(path: &str, size: u64) -> Entry {
    let kind = EntryKind::File {
        size,
        modified: Timestamp(7),
        executable: size % 2 == 1,
    };
    Entry {
        path: path.into(),
        kind,
    }
}

fn sample() -> (Vec<Entry>, FileTable) {
    let entries = vec![
        Entry {
            path: "dir".into(),
            kind: EntryKind::Folder {
                modified: Timestamp(1),
            },
        },
        file("dir/a", 5),
        Entry {
            path: "dir/l".into(),
            kind: EntryKind::Symlink { target: "a".into() },
        },
        file("b", 8),
    ];
    let mut table = FileTable::default();
    for entry in &entries {
        table.push(entry).unwrap();
    }
    (entries, table)
}

fn receipt(index: u32, outcome: Outcome) -> Receipt {
    Receipt {
        index,
        outcome,
        saved_as: None,
        hash: None,
    }
}

#[test]
fn entries_come_back_as_they_went_in() {
    let (entries, table) = sample();
    for (i, entry) in entries.iter().enumerate() {
        assert_eq!(table.entry(i as u32).as_ref(), Some(entry));
    }
    assert_eq!(table.entry(4), None);
    assert_eq!(table.totals().files, 2);
    assert_eq!(table.totals().bytes, 13);
}

#[test]
fn equal_manifests_have_equal_digests() {
    let (entries, table) = sample();
    let mut other = FileTable::default();
    for entry in &entries[..3] {
        other.push(entry).unwrap();
    }
    assert_ne!(other.digest(), table.digest());
    other.push(&entries[3]).unwrap();
    assert_eq!(other.digest(), table.digest());
}

#[test]
fn totals_follow_progress_and_settlement() {
    let (_, mut table) = sample();
    table.add_done(1, 3);
    table.add_done(3, 100);
    assert_eq!(table.totals().bytes_done, 11);
    assert_eq!(table.bytes_left(), 2);
    assert!(table.settle(&receipt(1, Outcome::New)));
    assert!(
        !table.settle(&receipt(1, Outcome::Skipped)),
        "the first word counts"
    );
    assert!(table.settle(&receipt(3, Outcome::Failed(SinkFault::Damaged))));
    let totals = table.totals();
    assert_eq!(
        (totals.files_done, totals.files_failed, totals.bytes_done),
        (1, 1, 5)
    );
    assert_eq!(table.bytes_left(), 0);
}

#[test]
fn the_first_failures_are_told_and_all_are_counted() {
    let mut table = FileTable::default();
    let entry = |n: u32| Entry {
        path: format!("f{n}"),
        kind: EntryKind::Symlink { target: "x".into() },
    };
    for n in 0..9 {
        table.push(&entry(n)).unwrap();
    }
    table.settle(&receipt(8, Outcome::New));
    for n in (0..8).rev() {
        table.settle(&receipt(n, Outcome::Failed(SinkFault::Exists)));
    }
    let (count, first) = table.failures();
    assert_eq!((count, first.len()), (8, FAILURES_MAX));
    assert_eq!(
        (first[0].path.as_str(), first[0].why),
        ("f7", SinkFault::Exists)
    );
    assert_eq!(first[4].path, "f3");
}

#[test]
fn settled_rows_are_read_by_position_without_loss() {
    let (_, mut table) = sample();
    table.settle(&receipt(3, Outcome::New));
    table.settle(&receipt(1, Outcome::New));
    let rows = table.query(FileQuery::Settled { from: 0 });
    assert_eq!(rows.iter().map(|r| r.index).collect::<Vec<_>>(), [3, 1]);
    assert_eq!(table.query(FileQuery::Settled { from: 1 }).len(), 1);
    assert_eq!(table.query(FileQuery::Settled { from: 9 }).len(), 0);
    assert_eq!(table.query(FileQuery::Range { from: 2, count: 9 }).len(), 2);
}

#[test]
fn top_names_sum_up_folders() {
    let (_, table) = sample();
    let (count, names) = table.top_names();
    assert_eq!(count, 2);
    assert_eq!(
        names[0],
        TopName {
            name: "dir".into(),
            files: Some(1),
            bytes: 5
        }
    );
    assert_eq!(
        names[1],
        TopName {
            name: "b".into(),
            files: None,
            bytes: 8
        }
    );
}

#[test]
fn limits_hold() {
    let mut table = FileTable::default();
    let long = "x".repeat(PATH_LEN_MAX + 1);
    assert_eq!(table.push(&file(&long, 1)), Err(Offence::PathsTooLong));
    assert_eq!(
        table.push(&file("x", FILE_SIZE_MAX + 1)),
        Err(Offence::FileTooLarge)
    );
    assert!(table.is_empty());
}

#[test]
fn targets_of_links_count_as_paths_do() {
    let link = Entry {
        path: "d/l".into(),
        kind: EntryKind::Symlink {
            target: "x".repeat(PATH_LEN_MAX),
        },
    };
    let mut table = FileTable::default();
    let refused = (0..ENTRIES_MAX).find_map(|_| table.push(&link).err());
    assert_eq!(refused, Some(Offence::PathsTooLong));
    assert!(table.len() as usize <= PATHS_LEN_MAX / PATH_LEN_MAX);
    assert!(table.memory() < 2 * PATHS_LEN_MAX);
}

#[test]
fn receipts_bring_no_endless_names() {
    let (_, mut table) = sample();
    let mut named = receipt(0, Outcome::Renamed);
    named.saved_as = Some("x".repeat(PATH_LEN_MAX));
    assert!(table.takes(&named));
    table.saved_len = PATHS_LEN_MAX;
    assert!(!table.takes(&named));
    table.saved_len = 0;
    named.saved_as = Some("x".repeat(PATH_LEN_MAX + 1));
    assert!(!table.takes(&named));
}
