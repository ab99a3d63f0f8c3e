use super::*;
use crate::cli::testing::{overview, snapshot};
use peerconnect::protocol::message::Timestamp;
use peerconnect::transfer::state::TransferState;
use peerconnect::transfer::status::{Direction, Question, TopName, Version};

#[test]
fn the_question_says_who_what_where_and_whether_it_fits() {
    let mut t = snapshot(TransferState::AwaitingAnswer);
    t.direction = Direction::Receiving;
    (t.files, t.bytes, t.top_count) = (41, 1_200_000_000, 2);
    let name = |name: &str, files| TopName {
        name: name.into(),
        files,
        bytes: 1,
    };
    t.top_names = vec![name("holiday", Some(40)), name("a.pdf", None)];
    t.folder = Some("/home/x".into());
    t.words = Some("river copper nine".into());
    t.question = Some(Question {
        free: 212_000_000_000,
        obstacle: None,
        seconds_left: 300,
        until: 0,
        round: 1,
    });
    let text = question(&overview(vec![]), &t);
    assert_eq!(
        text,
        "kitchen wants to send 41 files, 1.20 GB, into /home/x\n  \
         holiday/ (40 files), a.pdf  (212 GB free)\n  \
         New device. Both screens show: river copper nine"
    );
    t.trusted = true;
    assert!(!question(&overview(vec![]), &t).contains("river"));
}

fn conflict() -> Conflict {
    Conflict {
        index: 3,
        path: "docs/report.pdf".into(),
        old: Version {
            bytes: 2_000_000,
            modified: Timestamp(0),
        },
        new: Version {
            bytes: 2_100_000,
            modified: Timestamp(0),
        },
        keep_both_as: "docs/report (1).pdf".into(),
    }
}

#[test]
fn a_taken_name_is_asked_about_with_both_sizes_and_dates() {
    let text = conflict_question(&conflict(), 2_000_000_000);
    assert!(
        text.starts_with("\"docs/report.pdf\" is already there and differs.\n"),
        "{text}"
    );
    for part in ["Yours: 2.00 MB, ", "New:   2.10 MB, ", "\"report (1).pdf\""] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert!(!conflict_prompt(1).contains("all"));
    assert!(conflict_prompt(15).contains("for the other 14"));
}

#[test]
fn answers_about_names_are_letters_or_words_and_count_for_all_if_that_is_said() {
    use ConflictAnswer::{KeepBoth, Replace, Skip};
    for (line, answer) in [
        ("", Some((KeepBoth, false))),
        ("k", Some((KeepBoth, false))),
        ("Keep both", Some((KeepBoth, false))),
        ("keep-both all", Some((KeepBoth, true))),
        ("R", Some((Replace, false))),
        ("r all", Some((Replace, true))),
        ("sall", Some((Skip, true))),
        ("skip all ", Some((Skip, true))),
        ("all", None),
        ("what?", None),
        ("y", None),
    ] {
        assert_eq!(parse_answer(line), answer, "{line:?}");
    }
}
