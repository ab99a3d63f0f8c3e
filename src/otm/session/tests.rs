use super::*;
use crate::transfer::status::{Direction, Limit};

fn id(n: u8) -> TransferId {
    TransferId([n; 16])
}

fn transfer(n: u8, state: TransferState) -> TransferSnapshot {
    TransferSnapshot {
        id: id(n),
        session: Some(id(100)),
        direction: Direction::Sending,
        peer: None,
        peer_name: format!("peer {n}"),
        trusted: false,
        words: None,
        state,
        accepted: false,
        dormant: false,
        paused_by: None,
        fault: None,
        top_names: Vec::new(),
        top_count: 0,
        files: 2,
        files_done: 0,
        files_failed: 0,
        bytes: 100,
        bytes_done: u64::from(n),
        bytes_moved: 0,
        rate: 7,
        eta_seconds: Some(u64::from(n)),
        limit: Limit::Unknown,
        path: None,
        folder: None,
        question: None,
        conflict: None,
        conflicts: 0,
        seconds: f64::from(n),
        started: 0,
        settled: 0,
        entries: 2,
        passing: Default::default(),
        failures: Vec::new(),
        entries_failed: 0,
        repaired: None,
    }
}

/// A session with these transfers.
fn sessions(members: &[u8]) -> Sessions {
    let mut sessions = Sessions::default();
    sessions.insert(Session::new(id(100), 5));
    for &n in members {
        sessions.join(id(100), id(n), &format!("typed {n}"));
    }
    sessions
}

fn picture(transfers: &[TransferSnapshot]) -> SessionSnapshot {
    let members: Vec<u8> = transfers.iter().map(|t| t.id.0[0]).collect();
    sessions(&members).snapshots(transfers).remove(0)
}

#[test]
fn a_session_is_where_what_moves_it_most_is() {
    use TransferState::{
        AwaitingAnswer, Cancelled, Completed, Connecting, Failed, Interrupted, Paused, Rejected,
        Transferring,
    };
    for (states, whole) in [
        (&[Completed, Transferring, Paused, Failed][..], Transferring),
        (&[Interrupted, AwaitingAnswer, Paused], AwaitingAnswer),
        (&[Connecting, AwaitingAnswer], Connecting),
        (&[Paused, Completed], Paused),
        (&[Rejected, Interrupted], Interrupted),
        (&[Completed, Completed], Completed),
        (&[Completed, Rejected], Failed),
        (&[Rejected, Rejected], Rejected),
        (&[Cancelled, Cancelled], Cancelled),
        (&[Cancelled, Rejected], Failed),
    ] {
        let transfers: Vec<_> = (1..)
            .zip(states)
            .map(|(n, state)| transfer(n, *state))
            .collect();
        assert_eq!(picture(&transfers).state, whole, "{states:?}");
    }
}

#[test]
fn who_got_everything_is_counted_and_a_file_less_is_not_everything() {
    let mut partly = transfer(3, TransferState::Completed);
    partly.files_failed = 1;
    let session = picture(&[
        transfer(1, TransferState::Completed),
        transfer(2, TransferState::Rejected),
        partly,
        transfer(4, TransferState::Transferring),
    ]);
    assert_eq!((session.complete, session.incomplete), (1, 2));
    assert!(!session.is_over());
    assert_eq!((session.bytes, session.bytes_done), (400, 10));
    assert_eq!((session.files, session.seconds), (2, 4.0));
}

#[test]
fn the_time_left_is_that_of_the_slowest_if_all_that_move_know_theirs() {
    let mut transfers = vec![
        transfer(9, TransferState::Transferring),
        transfer(3, TransferState::Transferring),
        transfer(50, TransferState::Interrupted),
    ];
    assert_eq!(picture(&transfers).eta_seconds, Some(9));
    transfers[1].eta_seconds = None;
    assert_eq!(picture(&transfers).eta_seconds, None);
}

#[test]
fn receivers_stay_in_their_order_also_when_their_transfers_are_replaced_or_gone() {
    let mut sessions = sessions(&[1, 2, 3]);
    sessions.ended(id(1), "Anna", MemberEnd::Complete).unwrap();
    sessions.ended(id(2), "Ben", MemberEnd::Incomplete).unwrap();
    sessions.replace(id(2), id(9)).unwrap();
    assert!(sessions.replace(id(2), id(8)).is_none());
    let transfers = [transfer(9, TransferState::Connecting)];
    let session = sessions.snapshots(&transfers).remove(0);
    let names: Vec<_> = session
        .receivers
        .iter()
        .map(|r| (&*r.name, r.end))
        .collect();
    let complete = Some(MemberEnd::Complete);
    let expected = [("Anna", complete), ("peer 9", None), ("typed 3", None)];
    assert_eq!(names, expected);
}

#[test]
fn a_transfer_is_in_one_session_at_a_time() {
    let mut sessions = sessions(&[1, 2]);
    sessions.insert(Session::new(id(101), 6));
    let left = sessions.join(id(101), id(1), "a").unwrap();
    assert_eq!((left.session, left.members.len()), (id(100), 1));
    assert_eq!(sessions.join(id(101), id(1), "a"), None);
    assert_eq!(sessions.of(id(1)).unwrap().record().session, id(101));
    assert_eq!(sessions.get(id(100)).unwrap().record().members.len(), 1);
    let hashes = |n| sessions.hashes_for(id(n)).unwrap();
    assert!(!Arc::ptr_eq(&hashes(1), &hashes(2)));
    sessions.forget_gone(|_| true);
    assert!(sessions.get(id(100)).is_some() && sessions.get(id(101)).is_some());
    // The last one leaves nothing.
    assert!(
        sessions
            .join(id(101), id(2), "b")
            .unwrap()
            .members
            .is_empty()
    );
    assert!(sessions.get(id(100)).is_none());
    assert_eq!(sessions.get(id(101)).unwrap().record().members.len(), 2);
    sessions.forget_gone(|transfer| transfer == id(3));
    assert!(sessions.get(id(101)).is_none());
}

#[test]
fn who_has_no_link_to_us_or_is_paused_is_not_known_to_go_on() {
    let mut one = transfer(1, TransferState::Transferring);
    one.passing.goes_on = true;
    assert!(picture(&[one.clone()]).may_leave());
    for state in [TransferState::Interrupted, TransferState::Paused] {
        one.state = state;
        assert!(!picture(&[one.clone()]).may_leave(), "{state:?}");
    }
}
