//! Names that are taken.

use egui::{Key, Modifiers};
use egui_kittest::kittest::{NodeT, Queryable};
use peerconnect::config::ConflictAnswer;
use peerconnect::fault::Fault;
use peerconnect::node::api::Command;
use peerconnect::protocol::message::Scope;
use peerconnect::transfer::status::TransferSnapshot;

use super::Stage;
use crate::samples;

const KEEP: &str = "Keep both: report.pdf";
const REPLACE: &str = "Replace report.pdf";
const SKIP: &str = "Skip report.pdf";

fn answer(scope: Scope, answer: ConflictAnswer) -> Command {
    Command::AnswerConflict {
        transfer: samples::conflicting(2).id,
        scope,
        answer,
    }
}

#[test]
fn a_taken_name_shows_both_files_and_what_can_be_done() {
    let stage = Stage::with(vec![], vec![samples::conflicting(2)]);
    for text in [
        "\"report.pdf\" is already there and differs.",
        "Yours: 2.00 MB, ",
        "New: 2.10 MB, today ",
        ", from Kitchen",
        "same for the other 14",
        "15 files wait for your answer",
    ] {
        assert!(stage.says(text), "{text}");
    }
    for button in [KEEP, REPLACE, SKIP] {
        assert!(stage.find(button).is_some(), "{button}");
    }
}

#[test]
fn each_answer_is_given_once_for_this_file() {
    for (button, what) in [
        (KEEP, ConflictAnswer::KeepBoth),
        (REPLACE, ConflictAnswer::Replace),
        (SKIP, ConflictAnswer::Skip),
    ] {
        let mut stage = Stage::with(vec![], vec![samples::conflicting(2)]);
        stage.click(button);
        assert_eq!(stage.command(), answer(Scope::File(1), what));
        stage.click(SKIP);
        assert!(stage.commands().is_empty(), "it is answered once");
    }
}

#[test]
fn one_answer_may_count_for_all_others() {
    let mut stage = Stage::with(vec![], vec![samples::conflicting(2)]);
    stage.click("same for the other 14");
    stage.click(REPLACE);
    let all = answer(Scope::Transfer, ConflictAnswer::Replace);
    assert_eq!(stage.command(), all);
}

#[test]
fn a_single_file_offers_nothing_for_others() {
    let mut t = samples::conflicting(2);
    t.conflicts = 1;
    let mut stage = Stage::with(vec![], vec![t]);
    assert!(!stage.says("same for the other"));
    stage.click(SKIP);
    let one = answer(Scope::File(1), ConflictAnswer::Skip);
    assert_eq!(stage.command(), one);
}

#[test]
fn the_next_file_cannot_be_answered_by_the_click_for_the_last() {
    let mut t = samples::conflicting(2);
    let mut stage = Stage::with(vec![], vec![t.clone()]);
    stage.click(REPLACE);
    stage.command();
    let conflict = t.conflict.as_mut().unwrap();
    conflict.index = 2;
    conflict.path = "next.pdf".into();
    t.conflicts = 14;
    let next = samples::overview(vec![], vec![t]);
    stage.pictures.send_replace(next);
    stage.window.step();
    let replace = stage.window.get_by_label("Replace next.pdf");
    assert!(replace.accesskit_node().is_disabled());
    stage.run();
    stage.click("Replace next.pdf");
    let second = answer(Scope::File(2), ConflictAnswer::Replace);
    assert_eq!(stage.command(), second);
}

#[test]
fn the_keyboard_is_enough_and_nothing_answers_by_accident() {
    let mut stage = Stage::with(vec![], vec![samples::conflicting(2)]);
    for key in [Key::Escape, Key::Enter, Key::Space] {
        stage.press(Modifiers::NONE, key);
    }
    assert!(stage.commands().is_empty());
    stage.window.get_by_label(REPLACE).focus();
    stage.run();
    stage.press(Modifiers::NONE, Key::Space);
    let one = answer(Scope::File(1), ConflictAnswer::Replace);
    assert_eq!(stage.command(), one);
}

#[test]
fn an_answer_that_fails_can_be_given_again() {
    let mut stage = Stage::with(vec![], vec![samples::conflicting(2)]);
    stage.click(KEEP);
    stage.command();
    stage.reply(Err(Fault::Invalid {
        why: "the transfer is ending or busy".into(),
    }));
    stage.click(KEEP);
    let one = answer(Scope::File(1), ConflictAnswer::KeepBoth);
    assert_eq!(stage.command(), one);
}

#[test]
fn questions_of_several_transfers_stand_beside_each_other() {
    let other = TransferSnapshot {
        conflict: samples::conflicting(3).conflict.map(|mut conflict| {
            conflict.path = "other.txt".into();
            conflict
        }),
        ..samples::conflicting(3)
    };
    let mut stage = Stage::with(vec![], vec![samples::conflicting(2), other]);
    assert!(stage.find(KEEP).is_some());
    stage.click("Skip other.txt");
    let command = stage.command();
    let skipped = Command::AnswerConflict {
        transfer: samples::conflicting(3).id,
        scope: Scope::File(1),
        answer: ConflictAnswer::Skip,
    };
    assert_eq!(command, skipped);
    stage.click(SKIP);
    let one = answer(Scope::File(1), ConflictAnswer::Skip);
    assert_eq!(stage.command(), one);
}
