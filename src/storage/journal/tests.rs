use super::*;
use crate::peer::PeerId;
use crate::protocol::groups::{GROUP_LEN, group_count};
use std::os::unix::fs::PermissionsExt;

const ID: TransferId = TransferId([7; 16]);
const PART: PartIdentity = PartIdentity {
    inode: 3,
    size: 4,
    modified: 5,
};

fn head() -> JournalHead {
    use std::os::unix::ffi::OsStrExt;
    JournalHead {
        transfer: ID,
        peer: PeerId::of_public_key(b"k").into(),
        peer_name: "Anna".into(),
        folder: PathBuf::from(std::ffi::OsStr::from_bytes(b"/not text \xff")),
        on_conflict: ConflictPolicy::Rename,
        excluded: vec!["photos".into()],
        started: 9,
    }
}

fn groups(stamp: u8, size: u64, part: PartIdentity, first: u32, n: usize) -> Record {
    Record::Groups {
        path: "a/b".into(),
        stamp: Stamp([stamp; 16]),
        size,
        part,
        tag: "t".into(),
        first,
        hashes: vec![[stamp; 32]; n],
    }
}

fn done(path: &str) -> Record {
    Record::Done {
        path: path.into(),
        outcome: Outcome::Renamed,
        saved_as: Some("x (1)".into()),
        hash: Some([1; 32]),
    }
}

fn shelved(path: &str) -> Record {
    let file = tempfile::tempfile().unwrap();
    Record::Shelved {
        path: path.into(),
        stamp: Stamp([4; 16]),
        looks: FileLooks::of(&file).unwrap(),
    }
}

#[test]
fn what_others_may_have_is_forgotten_when_it_comes_anew() {
    let all = [done("a/b"), shelved("a/b"), done("c"), shelved("c")];
    let replayed = replay(&all);
    assert_eq!(replayed.shelved.len(), 2);
    assert_eq!(replayed.shelved["c"].0, Stamp([4; 16]));
    let again = [&all[..], &[groups(2, 9, PART, 0, 1)]].concat();
    let replayed = replay(&again);
    assert_eq!(replayed.shelved.keys().collect::<Vec<_>>(), ["c"]);
}

fn replay(records: &[Record]) -> Replay {
    let mut replay = Replay::default();
    records.iter().cloned().for_each(|r| replay.apply(r));
    replay
}

fn records() -> Vec<Record> {
    vec![
        Record::Totals { files: 2, bytes: 8 },
        groups(1, 3 * GROUP_LEN, PART, 0, 2),
        done("c"),
        groups(1, 3 * GROUP_LEN, PART, 2, 1),
        done("d"),
    ]
}

/// A journal with [`records`], and its length after the head and after each record.
fn written(dir: &Path) -> (Vec<u8>, Vec<usize>) {
    let mut journal = Journal::create(dir, &head()).unwrap();
    let mut ends = vec![journal.len as usize];
    for record in records() {
        journal.append(&[record]).unwrap();
        ends.push(journal.len as usize);
    }
    journal.handle().unwrap().sync_data().unwrap();
    (std::fs::read(&journal.path).unwrap(), ends)
}

#[test]
fn what_was_written_is_there_after_reopening_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state/in");
    written(&state);
    let (mut journal, found, told) = Journal::open(&state, ID).unwrap().unwrap();
    assert_eq!((found, told), (head(), replay(&records())));
    let mode = |p: &Path| p.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&state), mode(&journal.path)), (0o700, 0o600));
    journal.append(&[done("e"), Record::Complete]).unwrap();
    drop(journal);
    let (journal, _, told) = Journal::open(&state, ID).unwrap().unwrap();
    assert!(told.complete && told.done.contains_key("e") && told.done.contains_key("c"));
    assert_eq!(list(&state).unwrap(), [], "it is finished");
    journal.remove().unwrap();
    assert!(Journal::open(&state, ID).unwrap().is_none());
}

#[test]
fn what_a_person_said_is_remembered_and_forgotten_with_its_file() {
    let answer = |path: Option<&str>, answer| Record::Answer {
        path: path.map(str::to_owned),
        answer,
    };
    let paused = |path: Option<&str>, paused| Record::Paused {
        path: path.map(str::to_owned),
        paused,
    };
    let said = vec![
        answer(Some("a"), ConflictAnswer::Replace),
        answer(Some("c"), ConflictAnswer::KeepBoth),
        answer(None, ConflictAnswer::Skip),
        paused(None, true),
        paused(Some("a"), true),
        paused(Some("b"), true),
        paused(Some("b"), false),
        paused(Some("c"), true),
        done("c"),
    ];
    let dir = tempfile::tempdir().unwrap();
    let mut journal = Journal::create(dir.path(), &head()).unwrap();
    journal.append(&said).unwrap();
    drop(journal);
    let (mut journal, _, told) = Journal::open(dir.path(), ID).unwrap().unwrap();
    let answers = [("a".to_owned(), ConflictAnswer::Replace)];
    assert_eq!(told.answers, answers.into());
    assert_eq!(told.answer_all, Some(ConflictAnswer::Skip));
    assert_eq!(
        (told.paused, told.paused_files),
        (true, ["a".to_owned()].into())
    );
    journal.append(&[paused(None, false)]).unwrap();
    drop(journal);
    let (_, _, told) = Journal::open(dir.path(), ID).unwrap().unwrap();
    assert!(!told.paused);
}

#[test]
fn records_keep_the_numbers_that_older_journals_have() {
    let mut all = records();
    all.push(Record::Complete);
    all.push(Record::KeepsToItself);
    all.push(shelved("c"));
    let number = |record: &Record| postcard::to_stdvec(record).unwrap()[0];
    let numbers: Vec<u8> = all.iter().map(number).collect();
    assert_eq!(numbers, [2, 0, 1, 0, 1, 3, 6, 7]);
    let policies = [
        ConflictPolicy::Rename,
        ConflictPolicy::Skip,
        ConflictPolicy::Overwrite,
        ConflictPolicy::Fail,
        ConflictPolicy::Ask,
    ];
    let numbers = policies.map(|policy| postcard::to_stdvec(&policy).unwrap()[0]);
    assert_eq!(numbers, [0, 1, 2, 3, 4]);
}

#[test]
fn a_journal_torn_anywhere_keeps_all_whole_records_and_takes_new_ones() {
    let dir = tempfile::tempdir().unwrap();
    let (bytes, ends) = written(dir.path());
    let path = journal_path(dir.path(), ID);
    for cut in 0..bytes.len() {
        std::fs::write(&path, &bytes[..cut]).unwrap();
        let opened = Journal::open(dir.path(), ID).unwrap();
        let whole = ends.iter().filter(|end| **end <= cut).count();
        let Some((mut journal, _, told)) = opened else {
            assert_eq!(whole, 0, "cut at {cut}");
            continue;
        };
        assert_eq!(told, replay(&records()[..whole - 1]), "cut at {cut}");
        journal.append(&[done("later")]).unwrap();
        let (_, _, told) = Journal::open(dir.path(), ID).unwrap().unwrap();
        assert!(told.done.contains_key("later"), "cut at {cut}");
    }
}

#[test]
fn a_flipped_bit_ends_the_journal_before_its_record() {
    let dir = tempfile::tempdir().unwrap();
    let (bytes, ends) = written(dir.path());
    let path = journal_path(dir.path(), ID);
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x10;
        std::fs::write(&path, &damaged).unwrap();
        let whole = ends.iter().filter(|end| **end <= at).count();
        match Journal::open(dir.path(), ID).unwrap() {
            None => assert_eq!(whole, 0, "byte {at}"),
            Some((journal, _, told)) => {
                assert_eq!(told, replay(&records()[..whole - 1]), "byte {at}");
                assert_eq!(journal.len as usize, ends[whole - 1]);
            }
        }
    }
}

#[test]
fn a_new_journal_replaces_the_old_one_of_the_transfer() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path());
    std::fs::write(dir.path().join(format!("{ID}.new")), "left by a crash").unwrap();
    Journal::create(dir.path(), &head()).unwrap();
    let (_, _, told) = Journal::open(dir.path(), ID).unwrap().unwrap();
    assert_eq!(told, Replay::default());
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn start_up_lists_what_is_unfinished_and_passes_over_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(list(&dir.path().join("missing")).unwrap(), []);
    written(dir.path());
    let mut later = head();
    later.transfer = TransferId([8; 16]);
    later.started = 4;
    Journal::create(dir.path(), &later).unwrap();
    std::fs::write(
        dir.path().join(format!("{}.journal", "ab".repeat(16))),
        "no",
    )
    .unwrap();
    std::fs::copy(
        journal_path(dir.path(), ID),
        journal_path(dir.path(), TransferId([9; 16])),
    )
    .unwrap();
    std::fs::write(dir.path().join("notes.txt"), "no").unwrap();
    let listed = list(dir.path()).unwrap();
    let heads: Vec<_> = listed.iter().map(|(head, _)| head.clone()).collect();
    assert_eq!(heads, [later, head()]);
    assert_eq!(listed[1].1, replay(&records()));
}

#[test]
fn a_new_stamp_keeps_groups_and_given_hashes_win() {
    let size = 3 * GROUP_LEN;
    let told = replay(&[groups(1, size, PART, 0, 3), groups(2, size, PART, 1, 1)]);
    let part = &told.parts["a/b"];
    assert_eq!(part.stamp, Stamp([2; 16]));
    let hashes: Vec<u8> = part.groups.values().map(|hash| hash[0]).collect();
    assert_eq!(hashes, [1, 2, 1]);
}

#[test]
fn a_new_size_drops_the_groups_whose_length_it_changes() {
    let kept = |old: u64, new: u64| -> Vec<u32> {
        let n = group_count(old) as usize;
        let told = replay(&[groups(1, old, PART, 0, n), groups(2, new, PART, 0, 0)]);
        told.parts["a/b"].groups.keys().copied().collect()
    };
    assert_eq!(kept(2 * GROUP_LEN + 5, 4 * GROUP_LEN), [0, 1]);
    assert_eq!(kept(4 * GROUP_LEN, 2 * GROUP_LEN + 5), [0, 1]);
    assert_eq!(kept(2 * GROUP_LEN, 4 * GROUP_LEN), [0, 1]);
    assert_eq!(kept(GROUP_LEN, 2 * GROUP_LEN), [0; 0], "an only group");
    assert_eq!(kept(2 * GROUP_LEN, GROUP_LEN), [0; 0]);
}

#[test]
fn another_part_starts_anew_and_done_ends_it() {
    let size = 3 * GROUP_LEN;
    let other = PartIdentity { inode: 99, ..PART };
    let told = replay(&[groups(1, size, PART, 0, 3), groups(1, size, other, 1, 1)]);
    let numbers: Vec<u32> = told.parts["a/b"].groups.keys().copied().collect();
    assert_eq!(numbers, [1]);
    let told = replay(&[groups(1, size, PART, 0, 3), done("a/b")]);
    assert!(told.parts.is_empty() && told.done.contains_key("a/b"));
    let told = replay(&[done("a/b"), groups(1, size, PART, 0, 3)]);
    assert!(
        told.done.is_empty() && told.parts.contains_key("a/b"),
        "sent again"
    );
}

#[test]
fn groups_behind_the_end_of_the_file_are_ignored() {
    let told = replay(&[
        groups(1, GROUP_LEN, PART, 0, 5),
        groups(1, 0, PART, u32::MAX, 2),
    ]);
    assert!(told.parts["a/b"].groups.keys().all(|g| *g < 1));
}

#[test]
fn long_lists_are_split_and_long_texts_refused() {
    let dir = tempfile::tempdir().unwrap();
    let n = 3 * HASHES_MAX + 7;
    let mut journal = Journal::create(dir.path(), &head()).unwrap();
    let size = n as u64 * GROUP_LEN;
    journal.append(&[groups(1, size, PART, 1, n)]).unwrap();
    let before = journal.len;
    let long = done(&"x".repeat(crate::storage::record_file::RECORD_LEN_MAX));
    assert!(journal.append(&[done("a"), long]).is_err());
    assert_eq!(journal.len, before, "all or none");
    journal.append(&[done("b")]).unwrap();
    drop(journal);
    let (_, _, told) = Journal::open(dir.path(), ID).unwrap().unwrap();
    let numbers: Vec<u32> = told.parts["a/b"].groups.keys().copied().collect();
    assert_eq!(numbers, (1..n as u32).collect::<Vec<_>>());
    assert!(told.done.contains_key("b") && !told.done.contains_key("a"));
}

proptest::proptest! {
    #[test]
    fn arbitrary_bytes_are_no_journal_and_never_panic(bytes: Vec<u8>) {
        let dir = tempfile::tempdir().unwrap();
        let path = journal_path(dir.path(), ID);
        std::fs::write(&path, &bytes).unwrap();
        assert!(Journal::open(dir.path(), ID).unwrap().is_none());
        let mut behind_head = MAGIC.to_vec();
        push_record(&mut behind_head, &head()).unwrap();
        behind_head.extend(&bytes);
        std::fs::write(&path, &behind_head).unwrap();
        let (_, _, told) = Journal::open(dir.path(), ID).unwrap().unwrap();
        assert_eq!(told, Replay::default());
    }
}
