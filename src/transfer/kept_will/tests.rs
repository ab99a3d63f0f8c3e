use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use crate::config::ConflictPolicy;
use crate::net::link::PathKind;
use crate::peer::PeerId;
use crate::protocol::groups::GROUP_LEN;
use crate::protocol::message::{EntryKind, Stamp, Timestamp};
use crate::protocol::sessions::{FeedingKey, Ticket};
use crate::storage::journal::{Journal, JournalHead};

const ID: TransferId = TransferId([7; 16]);
const GROUPS: usize = 2 * HAVE_GROUPS_MAX + 1;

fn heir() -> Feeder {
    let peer = PeerId::from_bytes([4; 32]);
    Feeder::Member {
        member: TransferId([5; 16]),
        peer,
        addrs: vec!["192.0.2.7:3485".parse().unwrap()],
        ticket: Ticket::new(&FeedingKey([6; 32]), peer),
    }
}

fn entry(n: u32) -> Entry {
    let size = GROUPS as u64 * GROUP_LEN;
    Entry {
        path: format!("folder/file {n}"),
        kind: EntryKind::File {
            size,
            modified: Timestamp(9),
            executable: false,
        },
    }
}

/// Of more entries than fit into one record, one of which has more hashes than fit into one.
fn draft(dir: &Path) -> Draft {
    let table = SharedTable::default();
    let entries = PAGE_MAX + 3;
    for n in 0..entries {
        table.lock().push(&entry(n)).unwrap();
    }
    let mut will = Will::default();
    for first in (0..GROUPS).step_by(HAVE_GROUPS_MAX) {
        let count = HAVE_GROUPS_MAX.min(GROUPS - first);
        let page = WillFile {
            index: 1,
            size: GROUPS as u64 * GROUP_LEN,
            modified: Timestamp(9),
            stamp: Stamp([2; 16]),
            first: first as u32,
            groups: (first..first + count).map(|n| [n as u8; 32]).collect(),
        };
        will.add(ID, page, Some(1)).unwrap();
    }
    let head = JournalHead {
        transfer: ID,
        peer: PeerId::from_bytes([1; 32]).into(),
        peer_name: "from".into(),
        folder: dir.to_owned(),
        on_conflict: ConflictPolicy::Rename,
        excluded: Vec::new(),
        started: 1,
    };
    Draft {
        transfer: ID,
        note: SessionNote {
            receivers: 3,
            key: FeedingKey([8; 32]),
        },
        path: PathInfo {
            kind: PathKind::Direct,
            addr: None,
            rtt: None,
        },
        heirs: vec![heir()],
        files: will.files().clone(),
        table,
        entries,
        journal: SharedJournal::new(Journal::create(dir, &head).unwrap()),
    }
}

#[test]
fn what_was_said_is_there_after_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    assert!(KeptWill::load(dir.path(), ID).unwrap().is_none());
    let draft = draft(dir.path());
    let (note, files, table) = (draft.note, draft.files.clone(), draft.table.clone());
    draft.write(&file(dir.path(), ID)).unwrap();
    let kept = KeptWill::load(dir.path(), ID).unwrap().unwrap();
    assert_eq!(kept.note, note);
    assert_eq!(kept.will.files(), &files);
    assert_eq!(kept.will.heirs(), [heir()]);
    assert_eq!(kept.table.head(ID), table.lock().head(ID));
    let other = TransferId([1; 16]);
    std::fs::rename(file(dir.path(), ID), file(dir.path(), other)).unwrap();
    assert!(KeptWill::load(dir.path(), other).unwrap().is_none());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_damaged_one_is_none(at: Index, bit in 0..8u32, cut: bool) {
        let dir = tempfile::tempdir().unwrap();
        let path = file(dir.path(), ID);
        draft(dir.path()).write(&path).unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        let at = at.index(bytes.len());
        match cut {
            true => bytes.truncate(at),
            false => bytes[at] ^= 1 << bit,
        }
        std::fs::write(&path, bytes).unwrap();
        prop_assert!(KeptWill::load(dir.path(), ID).unwrap().is_none());
    }
}

#[tokio::test]
async fn what_counts_no_more_is_not_there_whatever_comes_first() {
    let dir = tempfile::tempdir().unwrap();
    let there = || file(dir.path(), ID).exists();
    let keeper = Keeper::new(dir.path(), ID);
    assert!(keeper.keep(draft(dir.path())).await.unwrap());
    assert!(there());
    // The later word counts, though the earlier one may be written still.
    let turn = keeper.0.turn.lock().unwrap();
    let overtaken = keeper.keep(draft(dir.path()));
    keeper.withdraw();
    drop(turn);
    assert!(!overtaken.await.unwrap());
    // Neither does a removal that comes late take what was said since.
    let late = keeper.say();
    assert!(keeper.keep(draft(dir.path())).await.unwrap());
    keeper.0.replace(late, None);
    assert!(there());
    keeper.remover()();
    assert!(!there());
}

#[tokio::test]
async fn what_is_withdrawn_twice_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let keeper = Keeper::new(dir.path(), ID);
    assert!(keeper.keep(draft(dir.path())).await.unwrap());
    // Both words are said before the first one can be carried out.
    let turn = keeper.0.turn.lock().unwrap();
    keeper.withdraw();
    keeper.withdraw();
    drop(turn);
    let removed = async {
        while file(dir.path(), ID).exists() {
            tokio::task::yield_now().await;
        }
    };
    let minute = std::time::Duration::from_secs(60);
    tokio::time::timeout(minute, removed).await.unwrap();
}

#[tokio::test]
async fn what_cannot_be_written_is_not_there() {
    let dir = tempfile::tempdir().unwrap();
    let keeper = Keeper::new(&dir.path().join("a file/below"), ID);
    std::fs::write(dir.path().join("a file"), b"").unwrap();
    assert!(!keeper.keep(draft(dir.path())).await.unwrap());
}
