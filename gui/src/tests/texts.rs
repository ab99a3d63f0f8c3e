//! Texts: asked about, read, copied, opened, written and sent.

use egui::{Key, Modifiers, OutputCommand};
use egui_kittest::kittest::{NodeT, Queryable};
use peerconnect::fault::Fault;
use peerconnect::node::api::{Command, Reply, Target, TextCommand, TextSnapshot, TextState};
use peerconnect::peer::{LegacyPeer, Party, PeerId};
use peerconnect::protocol::legacy::LegacyId;
use peerconnect::protocol::message::{DeclineReason, TransferId};
use peerconnect::protocol::texts::TEXT_LEN_MAX;

use super::Stage;
use crate::samples;

fn with(texts: Vec<TextSnapshot>) -> Stage {
    Stage::new(samples::with_texts(
        vec![samples::trusted("Living-room PC")],
        texts,
    ))
}

/// A window with a text that has come, and what is in it.
fn reading(text: &str) -> Stage {
    let t = samples::text(2, TextState::Delivered);
    let id = t.id;
    let mut stage = with(vec![t]);
    assert_eq!(stage.command(), Command::Text(TextCommand::Read(id)));
    stage.reply(Ok(Reply::Text(text.into())));
    stage
}

#[test]
fn a_question_about_a_text_says_who_and_how_much_and_is_answered_once() {
    for (button, take) in [
        ("Show the text from Kitchen", true),
        ("Decline the text from Kitchen", false),
    ] {
        let t = samples::text(2, TextState::Asking);
        let mut stage = with(vec![t.clone()]);
        for text in [
            "Kitchen wants to send you a text (120 B)",
            "New device: both screens show river\u{a0}·\u{a0}copper\u{a0}·\u{a0}nine",
        ] {
            assert!(stage.says(text), "{text}");
        }
        assert!(stage.commands().is_empty(), "nothing is read before that");
        stage.click(button);
        let answer = TextCommand::Answer { text: t.id, take };
        assert_eq!(stage.command(), Command::Text(answer));
        stage.click(button);
        assert!(stage.commands().is_empty());
        stage.reply(Err(Fault::Invalid { why: "busy".into() }));
        stage.click(button);
        assert_eq!(stage.commands().len(), 1, "it can be said again");
    }
}

#[test]
fn a_question_cannot_be_accepted_in_the_moment_it_appears() {
    let mut stage = with(vec![]);
    let asks = samples::with_texts(vec![], vec![samples::text(2, TextState::Asking)]);
    stage.pictures.send_replace(asks);
    stage.window.step();
    let button = stage.window.get_by_label("Show the text from Kitchen");
    assert!(button.accesskit_node().is_disabled());
}

#[test]
fn a_text_of_an_old_version_says_what_that_means() {
    for state in [TextState::Asking, TextState::Delivered] {
        let t = TextSnapshot {
            peer: Some(Party::Legacy(LegacyPeer {
                id: LegacyId::DEFAULT_PROFILE,
                addr: ([192, 0, 2, 7], 50_000).into(),
            })),
            words: None,
            ..samples::text(2, state)
        };
        let stage = with(vec![t]);
        assert!(stage.says("Not encrypted (old version)"), "{state:?}");
    }
}

#[test]
fn a_text_is_shown_as_it_is_without_what_deceives_and_can_be_copied() {
    let text = "see\nhttps://example.org\u{202e}gpj\u{1b}[2J";
    let mut stage = reading(text);
    assert!(stage.says("see\nhttps://example.org\\u{202e}gpj\\u{1b}[2J"));
    assert!(!stage.says("\u{202e}"));
    assert!(stage.window.query_by_label_contains("Open ").is_none());
    stage
        .window
        .get_by_label("Copy the text from Kitchen")
        .click();
    stage.window.step();
    let commands = &stage.window.output().platform_output.commands;
    assert!(commands.contains(&OutputCommand::CopyText(text.into())));
    stage.click("Close the text from Kitchen");
    let drop = TextCommand::Drop(TransferId([2; 16]));
    assert_eq!(stage.command(), Command::Text(drop));
}

#[test]
fn a_single_link_can_be_opened_and_nothing_is_before_somebody_wants_it() {
    let mut stage = reading(" https://example.org/a?b\n");
    assert!(stage.browsed.lock().unwrap().is_empty());
    stage.click("Open example.org");
    assert_eq!(*stage.browsed.lock().unwrap(), ["https://example.org/a?b"]);
}

#[test]
fn a_text_is_written_and_sent_to_the_chosen_devices() {
    let mut stage = with(vec![]);
    stage.click("Text…");
    stage.type_into("Text to send", "hi there");
    let send = "Send the text to Living-room PC";
    stage.click("Send to Living-room PC");
    stage.click(send);
    let expected = TextCommand::Send {
        to: Target::Peer(PeerId::of_public_key(b"Living-room PC")),
        text: "hi there".into(),
    };
    assert_eq!(stage.command(), Command::Text(expected.clone()));
    assert!(stage.find(send).is_none(), "the field is gone");
    stage.reply(Err(Fault::Invalid {
        why: "too many".into(),
    }));
    // What was written is there again.
    stage.press(Modifiers::COMMAND, Key::Enter);
    assert_eq!(stage.command(), Command::Text(expected));
    stage.reply(Ok(Reply::TextSent(TransferId([9; 16]))));
    assert!(stage.find(send).is_none());
}

#[test]
fn nothing_and_too_much_cannot_be_sent() {
    let mut stage = with(vec![]);
    stage.click("Text…");
    stage.click("Send to Living-room PC");
    let send = "Send the text to Living-room PC";
    let disabled = |stage: &Stage| {
        let button = stage.window.get_by_label(send);
        button.accesskit_node().is_disabled()
    };
    assert!(disabled(&stage));
    stage.type_into("Text to send", &"x".repeat(TEXT_LEN_MAX));
    assert!(!disabled(&stage));
    stage.type_into("Text to send", "x");
    assert!(disabled(&stage));
    assert!(stage.says("too long for a text: at most 65.5 kB"));
    stage.click("No text");
    assert!(stage.find(send).is_none());
}

#[test]
fn what_becomes_of_a_text_that_was_sent_is_said() {
    let mut failed = samples::text_to(4, TextState::Failed);
    failed.fault = Some(Fault::Declined {
        peer: "Living-room PC".into(),
        reason: DeclineReason::Person,
    });
    let mut stage = with(vec![
        samples::text_to(1, TextState::Asking),
        samples::text_to(2, TextState::Delivered),
        samples::text_to(3, TextState::HandedOver),
        failed,
    ]);
    assert!(stage.commands().is_empty(), "ours need not be read");
    for text in [
        "waiting for Living-room PC to accept",
        "Text delivered to Living-room PC",
        "Old versions do not say whether anybody sees it",
        "Living-room PC declined.",
    ] {
        assert!(stage.says(text), "{text}");
    }
    stage.click("Take back the text to Living-room PC");
    let drop = TextCommand::Drop(TransferId([1; 16]));
    assert_eq!(stage.command(), Command::Text(drop));
}

#[test]
fn that_a_text_was_delivered_is_said_for_a_while_and_only_to_who_can_see_it() {
    let mut stage = with(vec![]);
    let focus = |stage: &mut Stage, on| {
        let viewports = &mut stage.window.input_mut().viewports;
        let viewport = viewports.entry(egui::ViewportId::ROOT).or_default();
        viewport.focused = Some(on);
    };
    focus(&mut stage, false);
    let delivered = samples::text_to(2, TextState::Delivered);
    let failed = samples::text_to(3, TextState::Failed);
    let handed_over = samples::text_to(4, TextState::HandedOver);
    let texts = vec![delivered.clone(), failed, handed_over];
    stage.publish(samples::with_texts(vec![], texts));
    stage.wait(20);
    assert_eq!(stage.commands(), [], "nobody has seen it");
    focus(&mut stage, true);
    stage.wait(5);
    assert_eq!(stage.commands(), []);
    stage.wait(5);
    let drop = TextCommand::Drop(delivered.id);
    assert_eq!(stage.commands(), [Command::Text(drop)]);
    stage.wait(10);
    assert_eq!(stage.commands(), [], "once");
}
