//! Going away: with files on their way, and with the window out of sight.

use egui::{ViewportCommand, ViewportId};
use egui_kittest::kittest::Queryable;
use peerconnect::fault::Fault;
use peerconnect::node::api::{Command, Decision, TextState};
use peerconnect::protocol::message::TransferId;
use peerconnect::transfer::state::TransferState;
use peerconnect::transfer::status::TransferSnapshot;

use super::Stage;
use super::steering::close;
use crate::notes::Press;
use crate::opened::Opened;
use crate::samples;

fn leave_with(stage: &mut Stage, button: &str) -> Vec<Command> {
    close(stage);
    stage.click(button);
    assert!(!close(stage).contains(&ViewportCommand::CancelClose));
    let app = stage.window.state_mut().app.as_mut().unwrap();
    app.end();
    stage.commands()
}

#[test]
fn what_runs_goes_on_without_the_window_when_that_is_wanted() {
    let mut stage = Stage::with(vec![], vec![samples::sending()]);
    let commands = leave_with(&mut stage, "Keep going in the background");
    assert_eq!(commands, [Command::Leave, Command::FinishAndEnd]);
}

#[test]
fn pausing_and_quitting_ends_the_node() {
    let mut stage = Stage::with(vec![], vec![samples::sending()]);
    let commands = leave_with(&mut stage, "Pause and quit");
    assert_eq!(commands, [Command::Shutdown]);
}

#[test]
fn cancelling_the_question_or_escape_keeps_the_window() {
    let mut stage = Stage::with(vec![], vec![samples::sending()]);
    close(&mut stage);
    assert!(
        stage.find("Cancel").is_none(),
        "it reads as the transfer's end"
    );
    stage.click("Stay here");
    assert!(!stage.says("Still sending"));
    close(&mut stage);
    stage.press(egui::Modifiers::NONE, egui::Key::Escape);
    assert!(!stage.says("Still sending"));
    assert!(close(&mut stage).contains(&ViewportCommand::CancelClose));
}

#[test]
fn a_code_that_waits_is_not_thrown_away_without_a_question() {
    let mut stage = Stage::new(samples::with_code());
    assert!(close(&mut stage).contains(&ViewportCommand::CancelClose));
    assert!(stage.says("A code still waits to be used."));
    assert!(stage.says("The code for holiday has not been used."));
    stage.click("Stay here");
    let commands = leave_with(&mut stage, "Keep going in the background");
    assert_eq!(commands, [Command::Leave, Command::FinishAndEnd]);
    let commands = leave_with(&mut Stage::new(samples::with_code()), "Quit");
    assert_eq!(commands, [Command::Shutdown]);
}

#[test]
fn a_text_on_its_way_is_not_thrown_away_without_a_question() {
    for (state, asks) in [
        (TextState::Moving, true),
        (TextState::Asking, true),
        (TextState::Delivered, false),
        (TextState::Failed, false),
    ] {
        let texts = vec![samples::text_to(4, state)];
        let mut stage = Stage::new(samples::with_texts(vec![], texts));
        let held = close(&mut stage).contains(&ViewportCommand::CancelClose);
        assert_eq!(held, asks, "{state:?}");
        let said = stage.says("The text to Living-room PC is not there yet.");
        assert_eq!(said, asks, "{state:?}");
        // Without a window the node would not wait for it.
        assert!(stage.find("Keep going in the background").is_none());
    }
}

fn look_away(stage: &mut Stage, away: bool) {
    let viewports = &mut stage.window.input_mut().viewports;
    viewports.entry(ViewportId::ROOT).or_default().focused = Some(!away);
    stage.run();
}

fn notes(stage: &Stage) -> Vec<String> {
    std::mem::take(&mut *stage.notes.lock().unwrap())
}

#[test]
fn questions_and_ends_are_told_once_and_only_to_who_looks_away() {
    let ended = TransferSnapshot {
        state: TransferState::Failed,
        fault: Some(Fault::PeerOffline {
            peer: "Living-room PC".into(),
        }),
        ..samples::numbered(3)
    };
    let all = vec![samples::asking(2), ended.clone()];
    let mut stage = Stage::with(vec![], vec![]);
    look_away(&mut stage, true);
    stage.publish(samples::overview(vec![], all.clone()));
    let expected = [
        "Kitchen wants to send you files",
        "Living-room PC is not reachable.",
    ];
    assert_eq!(notes(&stage), expected);
    stage.publish(samples::overview(vec![], all.clone()));
    assert_eq!(notes(&stage), [""; 0], "they were told");

    let mut stage = Stage::with(vec![], vec![]);
    look_away(&mut stage, false);
    stage.publish(samples::overview(vec![], all.clone()));
    look_away(&mut stage, true);
    assert_eq!(notes(&stage), [""; 0], "they were seen");

    let mut stage = Stage::with(vec![], vec![ended]);
    look_away(&mut stage, true);
    assert_eq!(notes(&stage), [""; 0], "it was over before");
}

#[test]
fn nothing_is_told_when_that_is_switched_off() {
    let mut stage = Stage::with(vec![], vec![]);
    stage.click("Settings");
    let ctx = stage.window.ctx.clone();
    crate::look::set_notifies(&ctx, false);
    look_away(&mut stage, true);
    stage.publish(samples::overview(vec![], vec![samples::asking(2)]));
    assert_eq!(notes(&stage), [""; 0]);
}

fn draw(theme: egui::Theme, name: &str) {
    let overview = samples::overview(vec![], vec![samples::sending()]);
    let mut stage = Stage::sized(overview, [900.0, 580.0], theme);
    close(&mut stage);
    stage.window.remove_cursor();
    stage.run();
    stage.window.snapshot(name);
}

#[test]
fn the_question_in_the_light() {
    draw(egui::Theme::Light, "leaving");
}

#[test]
fn the_question_in_the_dark() {
    draw(egui::Theme::Dark, "leaving_dark");
}

/// Presses on the last notification; what the window then wants of the system.
fn press(stage: &mut Stage, what: Press) -> Vec<ViewportCommand> {
    let pressed = stage.pressed.lock().unwrap().pop().unwrap();
    pressed(what);
    stage.window.step();
    let root = ViewportId::ROOT;
    let sent = stage.window.output().viewport_output[&root]
        .commands
        .clone();
    stage.run();
    sent
}

/// A window that nobody looks at, in which this question has come.
fn asked_away(question: TransferSnapshot) -> Stage {
    let mut stage = Stage::with(vec![], vec![]);
    look_away(&mut stage, true);
    stage.publish(samples::overview(vec![], vec![question]));
    stage
}

#[test]
fn a_trusted_devices_question_is_answered_from_its_notification() {
    let trusted = TransferSnapshot {
        trusted: true,
        words: None,
        ..samples::asking(2)
    };
    for (what, decision) in [
        (
            Press::Accept,
            Decision::Accept {
                folder: None,
                only: None,
                pass_on: true,
            },
        ),
        (Press::Decline, Decision::Decline),
    ] {
        let mut stage = asked_away(trusted.clone());
        let sent = press(&mut stage, what);
        assert!(!sent.contains(&ViewportCommand::Focus), "{sent:?}");
        let transfer = trusted.id;
        assert_eq!(stage.command(), Command::Answer { transfer, decision });
    }
}

#[test]
fn a_strangers_question_is_shown_by_its_notification_and_not_accepted() {
    let mut stage = asked_away(samples::asking(2));
    stage.click("Settings");
    let sent = press(&mut stage, Press::Accept);
    assert!(sent.contains(&ViewportCommand::Focus), "{sent:?}");
    assert!(stage.commands().is_empty());
    assert!(stage.find("Transfers").is_some(), "another page hides it");
}

#[test]
fn a_click_on_a_notification_shows_the_transfer_that_it_is_about() {
    let running = |n| TransferSnapshot {
        id: TransferId([n; 16]),
        ..samples::sending()
    };
    let mut all: Vec<_> = (10..30).map(running).collect();
    let mut stage = Stage::with(vec![], all.clone());
    look_away(&mut stage, true);
    // The oldest is the last in the window.
    all[0].state = TransferState::Completed;
    stage.publish(samples::overview(vec![], all));
    let height = stage.window.ctx.content_rect().bottom();
    let card = |stage: &Stage| {
        let cards = stage
            .window
            .query_all_by_role(egui::accesskit::Role::ListItem);
        cards.map(|card| card.rect().bottom()).next_back().unwrap()
    };
    assert!(card(&stage) > height);
    let sent = press(&mut stage, Press::Show);
    assert!(sent.contains(&ViewportCommand::Focus), "{sent:?}");
    stage.wait(1);
    assert!(card(&stage) < height, "{} of {height}", card(&stage));
}

#[test]
fn what_is_answered_elsewhere_is_asked_by_no_notification_any_more() {
    let answered = |stage: &Stage| std::mem::take(&mut *stage.answered.lock().unwrap());
    let offer = samples::asking(2);
    let accepted = samples::receiving(2);
    let conflict = samples::conflicting(2);
    let mut stage = asked_away(offer.clone());
    assert_eq!(answered(&stage), []);
    // By the command line, while nobody looks.
    stage.publish(samples::overview(vec![], vec![accepted.clone()]));
    assert_eq!(answered(&stage), [offer.id]);
    // Another question about the same files is one of its own.
    stage.publish(samples::overview(vec![], vec![conflict]));
    assert_eq!(answered(&stage), []);
    stage.publish(samples::overview(vec![], vec![accepted]));
    assert_eq!(answered(&stage), [offer.id]);
    // Taken back by the sender; and a text that was read.
    let text = samples::text(4, TextState::Delivered);
    stage.publish(samples::overview(vec![], vec![samples::asking(3)]));
    stage.publish(samples::with_texts(vec![], vec![text.clone()]));
    assert_eq!(answered(&stage), [samples::asking(3).id]);
    stage.publish(samples::overview(vec![], vec![]));
    assert_eq!(answered(&stage), [text.id]);
}

#[test]
fn a_window_that_a_notification_opens_shows_what_that_is_about() {
    let running = |n| TransferSnapshot {
        id: TransferId([n; 16]),
        ..samples::sending()
    };
    let all: Vec<_> = (10..30).map(running).collect();
    let oldest = all[0].id;
    let opened = Opened {
        about: Some(oldest),
        ..Opened::default()
    };
    let mut stage = Stage::opened(samples::overview(vec![], all), opened);
    stage.run();
    let height = stage.window.ctx.content_rect().bottom();
    let cards = stage
        .window
        .query_all_by_role(egui::accesskit::Role::ListItem);
    let last = cards.map(|card| card.rect().bottom()).next_back().unwrap();
    assert!(last < height, "{last} of {height}");
    let app = stage.window.state().app.as_ref().unwrap();
    assert_eq!(app.model.selected, Some(oldest));
}
