use super::*;
use crate::cli::testing::{row, session, snapshot, to_original};
use peerconnect::transfer::status::Repaired;

#[test]
fn colour_follows_the_wishes_of_the_environment() {
    let env = |pairs: &'static [(&str, &str)]| {
        move |key: &str| {
            pairs
                .iter()
                .find(|(k, _)| *k == key)
                .map(|(_, v)| (*v).to_owned())
        }
    };
    assert!(colour(env(&[]), true));
    assert!(!colour(env(&[]), false));
    assert!(!colour(env(&[("NO_COLOR", "1")]), true));
    assert!(!colour(env(&[("TERM", "dumb")]), true));
    assert!(colour(env(&[("CLICOLOR_FORCE", "1")]), false));
    assert!(!colour(
        env(&[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")]),
        false
    ));
}

#[test]
fn nothing_a_peer_says_reaches_the_terminal_raw() {
    let evil = "\u{1b}[31mred\n\u{202e}";
    let mut t = snapshot(TransferState::Completed);
    t.peer_name = evil.into();
    t.words = Some(evil.into());
    t.folder = Some(evil.into());
    t.top_names = vec![TopName {
        name: evil.into(),
        files: Some(1),
        bytes: 1,
    }];
    let mut texts = vec![sending(&t, Symbols::ASCII)];
    for direction in [Direction::Sending, Direction::Receiving] {
        t.direction = direction;
        texts.extend(summary(&t, Exit::OK, Symbols::ASCII, false));
        for state_now in TransferState::ALL {
            texts.extend(state(&TransferSnapshot {
                state: state_now,
                ..t.clone()
            }));
        }
    }
    let mut file = row(0);
    file.path = evil.into();
    file.saved_as = Some(evil.into());
    for outcome in [Outcome::New, Outcome::Renamed, Outcome::Skipped] {
        file.state = FileState::Settled(outcome);
        texts.extend(file_done(&file, Symbols::ASCII));
    }
    for text in texts {
        assert!(!text.contains(['\u{1b}', '\n', '\u{202e}']), "{text:?}");
    }
}

#[test]
fn nobody_is_told_that_bytes_are_safe_at_an_original() {
    let unaccepted = state(&snapshot(TransferState::Interrupted)).unwrap();
    assert_eq!(unaccepted, "Connection lost. Trying again.");
    let mut t = snapshot(TransferState::Interrupted);
    t.bytes_done = 1;
    let ours = state(&t).unwrap();
    assert!(ours.contains("are safe"), "{ours}");
    let text = state(&to_original(TransferState::Interrupted)).unwrap();
    assert!(!text.contains("safe"), "{text}");
    assert!(text.contains("sent from its beginning"), "{text}");
}

#[test]
fn who_has_accepted_before_is_not_waited_for() {
    let mut t = snapshot(TransferState::AwaitingAnswer);
    t.words = Some("river copper nine".into());
    let text = state(&t).unwrap();
    assert!(text.starts_with("Waiting for kitchen to accept. New device"));
    t.accepted = true;
    assert_eq!(state(&t).unwrap(), "Continuing with kitchen.");
}

#[test]
fn of_several_receivers_each_line_says_which_one_it_is_about() {
    let mut human = Human::new(true, ProgressStyle::None);
    let mut t = snapshot(TransferState::Paused);
    t.session = Some(TransferId([1; 16]));
    assert_eq!(human.whose(&t), "", "it is followed by itself");
    human.session = t.session;
    assert_eq!(human.whose(&t), "kitchen: ");
    let fault = Fault::Cancelled;
    let text = error_text_of(&human.whose(&t), &fault, Symbols::ASCII);
    assert!(text.starts_with("ERR kitchen: "), "{text}");
    let many: Vec<TransferSnapshot> = (0..10)
        .map(|n| TransferSnapshot {
            id: TransferId([n; 16]),
            state: match n {
                0 => TransferState::Rejected,
                _ => TransferState::Completed,
            },
            ..t.clone()
        })
        .collect();
    let s = session(&many);
    let names = receiver_names(&s);
    assert!(names.ends_with("kitchen, kitchen and 2 more"), "{names}");
    let text = total(&s, Exit::SOME_FAILED, Symbols::ASCII, false);
    assert_eq!(text, "! 9 of 10 receivers have everything, 0.0 s");
}

#[test]
fn the_end_says_what_arrived_where_and_how() {
    let mut t = snapshot(TransferState::Completed);
    (t.files, t.files_done, t.bytes, t.seconds) = (41, 41, 1_200_000_000, 11.42);
    let text = summary(&t, Exit::OK, Symbols::UNICODE, false).unwrap();
    assert_eq!(
        text,
        "✓ 41 files delivered to kitchen, verified, 1.20 GB, 11.4 s (direct)"
    );
    t.repaired = Some(Repaired {
        path: "holiday.mp4".into(),
        files: 1,
        parts: 2,
    });
    let text = summary(&t, Exit::OK, Symbols::UNICODE, false).unwrap();
    let repaired = "\n  2 damaged parts of holiday.mp4 were fetched again.";
    assert!(text.ends_with(repaired), "{text}");
    t.files_failed = 2;
    let text = summary(&t, Exit::SOME_FAILED, Symbols::UNICODE, false).unwrap();
    assert!(
        text.starts_with("! 41 files") && text.contains("2 failed"),
        "{text}"
    );
}

#[test]
fn names_at_the_top_are_counted_where_they_are_too_many() {
    let mut t = snapshot(TransferState::Preparing);
    let name = |name: &str, files| TopName {
        name: name.into(),
        files,
        bytes: 1,
    };
    t.top_names = vec![name("holiday", Some(40)), name("a.pdf", None)];
    t.top_count = 2;
    assert_eq!(top_names(&t, 3), "holiday/ (40 files), a.pdf");
    t.top_count = 30;
    assert_eq!(top_names(&t, 1), "holiday/ (40 files) and 29 more");
}
