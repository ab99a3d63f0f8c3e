use super::*;
use crate::fault::Fault;
use crate::protocol::message::SourceFault;
use std::path::PathBuf;

fn peer(name: &str) -> PeerRecord {
    PeerRecord {
        claimed_name: name.into(),
        own_name: Some("mine".into()),
        trusted: true,
        accept: Accept::Always,
        addrs: vec!["192.0.2.1:3487".parse().unwrap()],
        first_seen: 1,
        last_seen: 2,
    }
}

fn finished(n: u64, fault: Option<Fault>) -> HistoryRecord {
    HistoryRecord {
        transfer: TransferId([n as u8; 16]),
        sent: false,
        peer: Some(PeerId::of_public_key(b"a").into()),
        peer_name: "Anna".into(),
        names: vec!["photos".into()],
        sources: vec!["/home/me/a".into()],
        folder: Some(PathBuf::from("/home/b/Downloads")),
        files: 3,
        bytes: n,
        failed: 0,
        text: None,
        fault,
        started: n,
        ended: n + 1,
    }
}

#[test]
fn the_folder_of_a_peer_is_remembered_until_it_is_taken_back() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (PeerId::of_public_key(b"a"), PeerId::of_public_key(b"b"));
    let store = Store::open(dir.path()).unwrap();
    store.put_folder(a, Some("/srv/a".as_ref())).unwrap();
    store.put_folder(b, Some("/srv/b".as_ref())).unwrap();
    store.put_folder(a, Some("/srv/c".as_ref())).unwrap();
    store.put_folder(b, None).unwrap();
    drop(store);
    let store = Store::open(dir.path()).unwrap();
    assert_eq!(store.folders().unwrap(), [(a, "/srv/c".into())]);
}

#[test]
fn how_far_a_transfer_is_is_remembered_until_it_is_over() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (TransferId([1; 16]), TransferId([2; 16]));
    let standing = |done| Standing {
        files: 3,
        files_done: 1,
        bytes: 9,
        bytes_done: done,
        top_count: 1,
        tops: vec![("holiday".into(), Some(3), 9)],
    };
    {
        let store = Store::open(dir.path()).unwrap();
        store.put_standing(a, &standing(1)).unwrap();
        store.put_standing(a, &standing(2)).unwrap();
        store.put_standing(b, &standing(3)).unwrap();
        store.remove_standing(b).unwrap();
        store.remove_standing(b).unwrap();
    }
    let store = Store::open(dir.path()).unwrap();
    assert_eq!(
        store.standings().unwrap(),
        HashMap::from([(a, standing(2))])
    );
}

fn outgoing(n: u8) -> OutgoingRecord {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    OutgoingRecord {
        transfer: TransferId([n; 16]),
        peer: None,
        peer_name: "host".into(),
        target: "host:3487".into(),
        paths: vec![PathBuf::from(OsStr::from_bytes(b"/not/text\xff"))],
        created: 100 - u64::from(n),
        accepted: true,
    }
}

fn session(n: u8, end: Option<MemberEnd>) -> SessionRecord {
    SessionRecord {
        session: TransferId([n; 16]),
        created: 100 - u64::from(n),
        members: vec![MemberRecord {
            transfer: TransferId([n + 100; 16]),
            name: "Anna".into(),
            end,
        }],
    }
}

#[test]
fn sessions_are_there_after_reopening_the_oldest_first() {
    let dir = tempfile::tempdir().unwrap();
    {
        let store = Store::open(dir.path()).unwrap();
        for n in 1..=3 {
            store.put_session(&session(n, None)).unwrap();
        }
        let ended = session(1, Some(MemberEnd::Incomplete));
        store.put_session(&ended).unwrap();
        store.remove_session(TransferId([2; 16])).unwrap();
        store.remove_session(TransferId([9; 16])).unwrap();
    }
    let store = Store::open(dir.path()).unwrap();
    let left = [session(3, None), session(1, Some(MemberEnd::Incomplete))];
    assert_eq!(store.sessions().unwrap(), left);
}

#[test]
fn groups_are_there_after_reopening_and_case_makes_no_other_name() {
    let dir = tempfile::tempdir().unwrap();
    let group = |name: &str, n: u8| GroupRecord {
        name: name.into(),
        members: vec![PeerId::from_bytes([n; 32])],
    };
    {
        let store = Store::open(dir.path()).unwrap();
        for (name, n) in [("Class", 1), ("lab", 2), ("CLASS", 3), ("gone", 4)] {
            store.put_group(&group(name, n)).unwrap();
        }
        store.remove_group("Gone").unwrap();
        store.remove_group("never there").unwrap();
    }
    let store = Store::open(dir.path()).unwrap();
    let left = [group("CLASS", 3), group("lab", 2)];
    assert_eq!(store.groups().unwrap(), left);
}

#[test]
fn a_first_start_that_was_ended_midway_does_not_stop_the_next_one() {
    for left in [&b""[..], b"redb", &[0; 10_000]] {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(NEW_NAME), left).unwrap();
        let store = Store::open(dir.path()).unwrap();
        assert!(!dir.path().join(NEW_NAME).exists());
        assert!(matches!(Store::open(dir.path()), Err(StoreError::InUse)));
        drop(store);
        Store::open(dir.path()).unwrap();
    }
}

#[test]
fn everything_is_there_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (PeerId::of_public_key(b"a"), PeerId::of_public_key(b"b"));
    let fault = Fault::Source {
        path: "x".into(),
        reason: SourceFault::Changing,
    };
    {
        let store = Store::open(dir.path()).unwrap();
        store.put_peer(a, &peer("A")).unwrap();
        store.put_peer(b, &peer("B")).unwrap();
        store.remove_peer(b).unwrap();
        store.pin_address("Example.org:3487", a).unwrap();
        store.push_history(&finished(1, None)).unwrap();
        store
            .push_history(&finished(2, Some(fault.clone())))
            .unwrap();
        store.put_outgoing(&outgoing(1)).unwrap();
        store.put_outgoing(&outgoing(2)).unwrap();
        store.put_outgoing(&outgoing(3)).unwrap();
        store.remove_outgoing(TransferId([3; 16])).unwrap();
    }
    let store = Store::open(dir.path()).unwrap();
    assert_eq!(store.peers().unwrap(), [(a, peer("A"))]);
    assert_eq!(store.pinned(" example.ORG:3487").unwrap(), Some(a));
    assert_eq!(store.pinned("example.org:1").unwrap(), None);
    assert_eq!(
        store.history(10).unwrap(),
        [finished(2, Some(fault.clone())), finished(1, None)]
    );
    assert_eq!(store.history(1).unwrap(), [finished(2, Some(fault))]);
    assert_eq!(store.outgoing().unwrap(), [outgoing(2), outgoing(1)]);
    store.clear_history().unwrap();
    assert_eq!(store.history(10).unwrap(), []);
}

#[test]
fn forgetting_a_peer_forgets_its_addresses_and_no_others() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let (a, b) = (PeerId::of_public_key(b"a"), PeerId::of_public_key(b"b"));
    for (address, id) in [("one:1", a), ("two:1", b), ("three:1", a)] {
        store.pin_address(address, id).unwrap();
    }
    store.unpin_peer(a).unwrap();
    assert_eq!(store.pinned("one:1").unwrap(), None);
    assert_eq!(store.pinned("three:1").unwrap(), None);
    assert_eq!(store.pinned("two:1").unwrap(), Some(b));
}

#[test]
fn a_second_user_of_the_database_is_told_that_it_is_in_use() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    assert!(matches!(Store::open(dir.path()), Err(StoreError::InUse)));
    drop(store);
    assert!(Store::open(dir.path()).is_ok());
}

#[test]
fn only_this_user_can_read_the_database() {
    let dir = tempfile::tempdir().unwrap();
    let inner = dir.path().join("state");
    drop(Store::open(&inner).unwrap());
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&inner), 0o700);
    assert_eq!(mode(&inner.join(FILE_NAME)), 0o600);
}

#[test]
fn a_file_that_is_no_database_is_an_error_and_stays() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(FILE_NAME);
    std::fs::write(&path, [7; 8192]).unwrap();
    assert!(matches!(
        Store::open(dir.path()),
        Err(StoreError::Damaged(_) | StoreError::Io(_))
    ));
    assert_eq!(std::fs::read(&path).unwrap(), [7; 8192]);
}

#[test]
fn wishes_live_as_long_as_their_transfer() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let id = outgoing(1).transfer;
    assert!(store.wishes().unwrap().is_empty());
    let wishes = Wishes {
        paused: true,
        paused_files: ["a/b".to_owned()].into(),
        only: Some(["a/b".to_owned(), "c".to_owned()].into()),
        patient: true,
    };
    store.put_outgoing(&outgoing(1)).unwrap();
    store.put_wishes(id, &wishes).unwrap();
    assert_eq!(
        store.wishes().unwrap(),
        HashMap::from([(id, wishes.clone())])
    );
    store.put_wishes(id, &Wishes::default()).unwrap();
    assert!(
        store.wishes().unwrap().is_empty(),
        "nothing is wished any more"
    );
    store.put_wishes(id, &wishes).unwrap();
    store.remove_outgoing(id).unwrap();
    assert!(store.wishes().unwrap().is_empty());
}

#[test]
fn a_value_of_another_version_is_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let (a, b) = (PeerId::of_public_key(b"a"), PeerId::of_public_key(b"b"));
    store.put_peer(a, &peer("A")).unwrap();
    store
        .write(|t| {
            let mut table = t.open_table(PEERS).map_err(damaged)?;
            let later = [VERSION + 1, 0].as_slice();
            table.insert(b.as_bytes(), later).map_err(damaged)?;
            Ok(())
        })
        .unwrap();
    assert_eq!(store.peers().unwrap(), [(a, peer("A"))]);
}

#[test]
fn the_history_keeps_the_newest() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    // As if most of it had been pushed before.
    store
        .write(|t| {
            let mut table = t.open_table(HISTORY).map_err(damaged)?;
            for key in 0..HISTORY_MAX {
                table.insert(key, [VERSION].as_slice()).map_err(damaged)?;
            }
            Ok(())
        })
        .unwrap();
    store.push_history(&finished(1, None)).unwrap();
    store.push_history(&finished(2, None)).unwrap();
    let table = store.read().unwrap().open_table(HISTORY).unwrap();
    let keys: Vec<u64> = table
        .iter()
        .unwrap()
        .map(|r| r.unwrap().0.value())
        .collect();
    assert_eq!(keys.len() as u64, HISTORY_MAX);
    assert_eq!(keys.first(), Some(&2));
    assert_eq!(
        store.history(2).unwrap(),
        [finished(2, None), finished(1, None)]
    );
}

#[test]
fn texts_are_remembered_as_far_as_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let text = |n: u64, text: &str| HistoryRecord {
        text: Some(TextRecord::of(text)),
        ..finished(n, None)
    };
    let long = "é".repeat(TEXT_KEPT_MAX);
    store.push_history(&text(1, "short\u{202e}")).unwrap();
    store.push_history(&text(2, &long)).unwrap();
    let found = store.history(2).unwrap();
    let long_one = found[0].text.clone().unwrap();
    assert_eq!((long_one.start.len(), long_one.cut), (TEXT_KEPT_MAX, true));
    assert_eq!(found[1], text(1, "short\u{202e}"));
    for n in 3..300 {
        store.push_history(&text(n, &long)).unwrap();
    }
    // One answer holds only so much of them; that they were is said all the same.
    let found = store.history(1000).unwrap();
    assert_eq!(found.len(), 299);
    let lengths = || found.iter().map(|r| r.text.as_ref().unwrap().start.len());
    assert_eq!(lengths().sum::<usize>(), 1024 * 1024);
    let oldest = found[298].text.clone().unwrap();
    assert_eq!((oldest.start.as_str(), oldest.cut), ("", true));
}

#[test]
fn what_was_remembered_before_there_were_texts_is_read() {
    let record = finished(1, None);
    let json = serde_json::to_string(&record).unwrap();
    assert!(!json.contains("text"), "{json}");
    assert_eq!(
        serde_json::from_str::<HistoryRecord>(&json).unwrap(),
        record
    );
}
