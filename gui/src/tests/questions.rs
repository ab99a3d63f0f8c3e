//! Incoming questions.

use egui::{Key, Modifiers};
use egui_kittest::kittest::{NodeT, Queryable};
use peerconnect::fault::Fault;
use peerconnect::node::api::{Command, Decision, Reply};
use peerconnect::protocol::message::Scope;
use peerconnect::storage::store::Accept;
use peerconnect::transfer::state::TransferState;
use peerconnect::transfer::status::{TopName, TransferSnapshot};

use super::Stage;
use crate::outside::Picked;
use crate::samples;

const ACCEPT: &str = "Accept from Kitchen";
const CTRL_SHIFT: Modifiers = Modifiers::COMMAND.plus(Modifiers::SHIFT);

fn accept(n: u8) -> Command {
    Command::Answer {
        transfer: samples::asking(n).id,
        decision: Decision::Accept {
            folder: None,
            only: None,
            pass_on: true,
        },
    }
}

#[test]
fn a_question_says_who_what_where_and_how_much_room_there_is() {
    let mut stage = Stage::with(vec![], vec![samples::asking(2)]);
    for text in [
        "Kitchen wants to send you 3 files (1.20 GB)",
        "/srv/Downloads/PeerConnect",
        "· 212 GB free",
        "New device: both screens show river\u{a0}·\u{a0}copper\u{a0}·\u{a0}nine",
        "always accept from Kitchen",
    ] {
        assert!(stage.says(text), "{text}");
    }
    for name in ["holiday.mp4", "a.pdf", "b.pdf"] {
        assert!(stage.find(&format!("Take {name}")).is_some(), "{name}");
    }
    stage.click(ACCEPT);
    assert_eq!(stage.command(), accept(2));
    stage.click(ACCEPT);
    assert!(stage.commands().is_empty(), "it is answered once");
}

#[test]
fn a_question_says_who_else_gets_it() {
    let mut asking = samples::asking(2);
    asking.passing.receivers = 8;
    asking.passing.passes_on = true;
    let transfer = asking.id;
    let mut stage = Stage::with(vec![], vec![asking]);
    let text = "Also goes to 7 other devices. You may pass parts of it on to each other.";
    assert!(stage.says(text));
    stage.click("pass it on to the others");
    stage.click(ACCEPT);
    let decision = Decision::Accept {
        folder: None,
        only: None,
        pass_on: false,
    };
    assert_eq!(stage.command(), Command::Answer { transfer, decision });
}

#[test]
fn a_question_cannot_be_accepted_in_the_moment_it_appears() {
    let mut stage = Stage::with(vec![], vec![]);
    stage
        .pictures
        .send_replace(samples::overview(vec![], vec![samples::asking(2)]));
    stage.window.step();
    assert!(
        stage
            .window
            .get_by_label(ACCEPT)
            .accesskit_node()
            .is_disabled()
    );
    stage.window.key_press_modifiers(CTRL_SHIFT, Key::A);
    stage.window.step();
    assert!(stage.commands().is_empty());
    stage.run();
    stage.click(ACCEPT);
    assert_eq!(stage.command(), accept(2));
}

#[test]
fn a_card_that_moves_up_is_guarded_again() {
    let both = vec![samples::asking(2), samples::asking(3)];
    let mut stage = Stage::with(vec![], both);
    stage
        .pictures
        .send_replace(samples::overview(vec![], vec![samples::asking(3)]));
    stage.window.step();
    assert!(
        stage
            .window
            .get_by_label(ACCEPT)
            .accesskit_node()
            .is_disabled()
    );
}

#[test]
fn neither_escape_nor_enter_answers() {
    let mut stage = Stage::with(vec![], vec![samples::asking(2)]);
    for key in [Key::Escape, Key::Enter, Key::Space] {
        stage.press(Modifiers::NONE, key);
    }
    assert!(stage.commands().is_empty());
    stage.press(CTRL_SHIFT, Key::A);
    assert_eq!(stage.command(), accept(2));
}

#[test]
fn a_question_is_declined() {
    let mut stage = Stage::with(vec![], vec![samples::asking(2)]);
    stage.click("Decline from Kitchen");
    let declined = Command::Answer {
        transfer: samples::asking(2).id,
        decision: Decision::Decline,
    };
    assert_eq!(stage.command(), declined);
}

#[test]
fn always_accepting_trusts_the_device_first() {
    let mut stage = Stage::with(vec![], vec![samples::asking(2)]);
    stage.click("always accept from Kitchen");
    stage.click(ACCEPT);
    let trust = Command::Trust {
        peer: samples::asking(2).peer.unwrap().key().unwrap(),
        accept: Accept::Always,
    };
    assert_eq!(stage.commands(), [trust, accept(2)]);
}

#[test]
fn only_some_files_go_into_another_folder() {
    let mut stage = Stage::with(vec![], vec![samples::asking(2)]);
    stage.click("Take a.pdf");
    stage.click("Choose another folder");
    stage.dialog_gives(Picked::Paths(vec!["/mnt/large".into()]));
    stage.click("Choose…");
    stage.click("Accept 2 of 3 from Kitchen");
    let decision = Decision::Accept {
        folder: Some("/mnt/large".into()),
        only: Some(vec![0, 2]),
        pass_on: true,
    };
    let transfer = samples::asking(2).id;
    assert_eq!(stage.command(), Command::Answer { transfer, decision });
}

#[test]
fn what_makes_accepting_impossible_is_said_beside_the_button() {
    let mut t = samples::asking(2);
    t.question.as_mut().unwrap().obstacle = Some(Fault::DiskFull {
        folder: "/srv/Downloads/PeerConnect".into(),
        needed: 1_200_000_000,
        free: 310_000_000,
    });
    let mut stage = Stage::with(vec![], vec![t]);
    assert!(
        stage.says("Not enough room in /srv/Downloads/PeerConnect. Needs 1.20 GB, free 310 MB.")
    );
    assert!(
        stage
            .window
            .get_by_label(ACCEPT)
            .accesskit_node()
            .is_disabled()
    );
    stage.press(CTRL_SHIFT, Key::A);
    assert!(stage.commands().is_empty());
    stage.click("Take holiday.mp4");
    stage.click("Accept 2 of 3 from Kitchen");
    assert_eq!(stage.commands().len(), 1, "the rest fits");
}

/// The boxes of the files, as they stand.
fn boxes(stage: &Stage) -> Vec<String> {
    let all = stage.window.query_all_by_label_contains("Take ");
    let mut all: Vec<_> = all
        .map(|node| (node.rect().min, node.accesskit_node().label().unwrap()))
        .collect();
    all.sort_by(|(a, _), (b, _)| a.y.total_cmp(&b.y).then(a.x.total_cmp(&b.x)));
    all.into_iter().map(|(_, name)| name).collect()
}

#[test]
fn the_files_are_sorted_for_choosing_and_each_keeps_its_tick() {
    let mut t = samples::asking(2);
    let name = |name: &str, bytes| TopName {
        name: name.into(),
        files: None,
        bytes,
    };
    let names = [("d", 1), ("B", 5), ("a", 2), ("c", 4), ("e", 3)];
    t.top_names = names.map(|(text, bytes)| name(text, bytes)).into();
    (t.top_count, t.files) = (5, 5);
    let transfer = t.id;
    let mut stage = Stage::with(vec![], vec![t]);
    assert_eq!(
        boxes(&stage),
        ["Take d", "Take B", "Take a", "Take c", "Take e"]
    );
    stage.click("Sort the files: by size");
    assert_eq!(
        boxes(&stage),
        ["Take B", "Take c", "Take e", "Take a", "Take d"]
    );
    stage.click("Take B");
    stage.click("Sort the files: by name");
    assert_eq!(
        boxes(&stage),
        ["Take a", "Take B", "Take c", "Take d", "Take e"]
    );
    stage.click("Take c");
    stage.click("Accept 3 of 5 from Kitchen");
    let decision = Decision::Accept {
        folder: None,
        only: Some(vec![0, 2, 4]),
        pass_on: true,
    };
    assert_eq!(stage.command(), Command::Answer { transfer, decision });
}

#[test]
fn an_answer_that_fails_can_be_given_again() {
    let mut stage = Stage::with(vec![], vec![samples::asking(2)]);
    stage.click(ACCEPT);
    stage.command();
    stage.reply(Err(Fault::CannotWrite {
        path: "/srv".into(),
        why: "no permission".into(),
    }));
    assert!(stage.says("Can't save in /srv: no permission."));
    stage.click(ACCEPT);
    assert_eq!(stage.command(), accept(2));
    stage.reply(Ok(Reply::Done));
}

#[test]
fn a_question_that_is_asked_again_can_be_answered_again() {
    let mut t = samples::asking(2);
    let mut stage = Stage::with(vec![], vec![t.clone()]);
    stage.click(ACCEPT);
    assert_eq!(stage.command(), accept(2));
    stage.reply(Ok(Reply::Done));
    let question = t.question.as_mut().unwrap();
    // It was accepted, but there is no room any more.
    question.round = 2;
    question.obstacle = Some(Fault::DiskFull {
        folder: "/srv".into(),
        needed: 2,
        free: 1,
    });
    stage.publish(samples::overview(vec![], vec![t.clone()]));
    stage.press(CTRL_SHIFT, Key::A);
    assert!(stage.commands().is_empty());
    let question = t.question.as_mut().unwrap();
    question.round = 3;
    question.obstacle = None;
    stage.publish(samples::overview(vec![], vec![t]));
    stage.click(ACCEPT);
    assert_eq!(stage.command(), accept(2));
}

#[test]
fn questions_stack_and_block_no_transfer() {
    let other = peerconnect::transfer::status::TransferSnapshot {
        peer_name: "Phone".into(),
        ..samples::asking(3)
    };
    let running = samples::sending();
    let transfers = vec![samples::asking(2), other, running.clone()];
    let mut stage = Stage::with(vec![], transfers);
    assert!(stage.find(ACCEPT).is_some());
    assert!(stage.find("Accept from Phone").is_some());
    stage.click("Pause holiday.mp4, a.pdf and 1 more to Living-room PC");
    let pause = Command::Pause {
        transfer: running.id,
        scope: Scope::Transfer,
    };
    assert_eq!(stage.command(), pause);
}

#[test]
fn names_from_elsewhere_cannot_hide_or_reorder_text() {
    let mut t = samples::asking(2);
    t.top_names[0].name = "photo\u{202e}gpj.exe".into();
    t.peer_name = "Kit\nchen".into();
    let stage = Stage::with(vec![], vec![t]);
    assert!(stage.find("Take photo\\u{202e}gpj.exe").is_some());
    assert!(stage.says("Kit\\u{a}chen wants to send you"));
}

#[test]
fn an_original_is_marked_and_is_neither_trusted_nor_taken_by_a_key() {
    let mut stage = Stage::with(vec![], vec![samples::asking_original(2)]);
    assert!(stage.says("Old laptop wants to send you 3 files so far"));
    assert!(stage.says("Not encrypted (old version)"));
    assert!(!stage.says("always accept"));
    stage.press(CTRL_SHIFT, Key::A);
    assert!(stage.commands().is_empty());
    stage.click("Accept from Old laptop");
    assert_eq!(stage.command(), accept(2));
}

#[test]
fn a_transfer_with_an_original_is_marked_and_never_called_verified() {
    let running = samples::receiving_original(2);
    let stage = Stage::with(vec![], vec![running.clone()]);
    assert!(stage.says("Not encrypted (old version)"));
    let over = TransferSnapshot {
        state: TransferState::Completed,
        files_done: 3,
        path: None,
        ..running
    };
    let stage = Stage::with(vec![], vec![over]);
    assert!(stage.says("Not encrypted (old version)"));
    assert!(stage.says("arrived, not verified"));
    assert!(!stage.says("and verified"));
}
