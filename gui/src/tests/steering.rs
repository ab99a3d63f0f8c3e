//! Transfers: what is said, and pausing, resuming, cancelling, unfolding, leaving.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use egui::{Key, Modifiers, ViewportCommand, ViewportEvent, ViewportId};
use egui_kittest::kittest::{NodeT, Queryable};
use peerconnect::fault::Fault;
use peerconnect::node::api::{Again, Command, NodeHandle, Reply};
use peerconnect::protocol::message::{Outcome, Scope, SinkFault, TransferId};
use peerconnect::transfer::state::TransferState;
use peerconnect::transfer::status::{FileQuery, FileState, PausedBy, TransferSnapshot};

use super::Stage;
use crate::drops::Drops;
use crate::outside::Outside;
use crate::pages::PAGE;
use crate::samples;
use crate::start_ui::{Start, Window};

/// The system, but nothing in it takes time.
pub(super) fn at_once() -> Outside {
    Outside {
        run: Arc::new(|job| job()),
        ..Outside::real(crate::log::Log::default(), Drops::Anywhere)
    }
}

const SUBJECT: &str = "holiday.mp4, a.pdf and 1 more to Living-room PC";

fn scope(t: &TransferSnapshot) -> (peerconnect::protocol::message::TransferId, Scope) {
    (t.id, Scope::Transfer)
}

fn select(stage: &mut Stage) {
    let card = format!("{SUBJECT}: ");
    stage.window.get_by_label_contains(&card).click();
    stage.run();
}

#[test]
fn a_running_transfer_says_all_that_matters() {
    let stage = Stage::with(vec![], vec![samples::sending()]);
    assert!(stage.says("412 MB of 1.20 GB · 108 MB/s · 7 s left · direct, encrypted"));
    assert!(stage.find("34 % done").is_some());
}

#[test]
fn a_waiting_transfer_says_for_whom_and_a_finished_one_where() {
    let mut waiting = samples::sending();
    (waiting.state, waiting.accepted) = (TransferState::AwaitingAnswer, false);
    waiting.bytes_done = 0;
    let again = TransferSnapshot {
        accepted: true,
        id: TransferId([4; 16]),
        ..waiting.clone()
    };
    let done = TransferSnapshot {
        state: TransferState::Completed,
        files_done: 3,
        bytes_done: 1_200_000_000,
        ..samples::receiving(2)
    };
    let sent = TransferSnapshot {
        state: TransferState::Completed,
        files_done: 3,
        ..samples::numbered(3)
    };
    let mut stage = Stage::with(vec![], vec![waiting, done, sent, again]);
    assert!(stage.says("Waiting for Living-room PC to accept · 3 files · 1.20 GB"));
    assert!(stage.says("Continuing with Living-room PC…"));
    assert!(stage.says("3 files arrived and verified"));
    assert!(stage.says("Delivered to Living-room PC"));
    stage.click("Show in folder");
    assert_eq!(
        *stage.opened.lock().unwrap(),
        [std::path::PathBuf::from("/srv/Downloads/PeerConnect")]
    );
    stage.click("Clear finished");
    assert_eq!(stage.command(), Command::ClearFinished);
}

#[test]
fn what_did_not_arrive_is_sent_again_by_a_button() {
    let ended = |n, state, files_failed| TransferSnapshot {
        state,
        files_failed,
        fault: None,
        ..samples::numbered(n)
    };
    for (state, failed, button, what) in [
        (TransferState::Rejected, 0, "Send again", Again::All),
        (TransferState::Failed, 0, "Send again", Again::All),
        (TransferState::Cancelled, 0, "Send again", Again::All),
        (
            TransferState::Completed,
            2,
            "Try 2 files again",
            Again::Failed,
        ),
    ] {
        let t = ended(1, state, failed);
        let transfer = t.id;
        let mut stage = Stage::with(vec![], vec![t]);
        stage.click(button);
        assert_eq!(stage.command(), Command::SendAgain { transfer, what });
    }
    let done = ended(1, TransferState::Completed, 0);
    let theirs = TransferSnapshot {
        state: TransferState::Cancelled,
        ..samples::receiving(2)
    };
    let stage = Stage::with(vec![], vec![done, theirs]);
    assert!(!stage.says("again"));
    let mut stage = Stage::with(vec![], vec![ended(1, TransferState::Completed, 1)]);
    stage.click("Try this file again");
    let (transfer, what) = (samples::sending().id, Again::Failed);
    assert_eq!(stage.command(), Command::SendAgain { transfer, what });
}

#[test]
fn a_file_that_failed_can_be_tried_again_alone() {
    let mut t = samples::sending();
    t.state = TransferState::Completed;
    t.files_failed = 2;
    let mut stage = Stage::with(vec![], vec![t.clone()]);
    stage.click(&format!("Show files of {SUBJECT}"));
    stage.command();
    let mut rows: Vec<_> = (0..3).map(samples::row).collect();
    rows[0].state = FileState::Settled(Outcome::New);
    rows[1].state = FileState::Settled(Outcome::Failed(SinkFault::Damaged));
    stage.reply(Ok(Reply::Files(rows)));
    assert!(stage.find("More about photos/000000.jpg").is_none());
    stage.click("More about photos/000001.jpg");
    stage.click("Try this file again");
    let (transfer, what) = (t.id, Again::File(1));
    assert_eq!(stage.command(), Command::SendAgain { transfer, what });
}

#[test]
fn a_single_file_that_arrived_is_opened_under_the_name_it_has_here() {
    let mut done = TransferSnapshot {
        state: TransferState::Completed,
        files_done: 1,
        entries: 1,
        ..samples::receiving(2)
    };
    let mut stage = Stage::with(vec![], vec![done.clone()]);
    stage.click("Open");
    stage.command();
    let mut row = samples::row(0);
    row.state = FileState::Settled(Outcome::Renamed);
    row.saved_as = Some("photos/0 (1).jpg".into());
    stage.reply(Ok(Reply::Files(vec![row.clone()])));
    let opened = "/srv/Downloads/PeerConnect/photos/0 (1).jpg".into();
    assert_eq!(
        *stage.opened.lock().unwrap(),
        [opened] as [std::path::PathBuf; 1]
    );
    // What was not saved has no name here, and what a peer calls it is none.
    stage.click("Open");
    stage.command();
    row.state = FileState::Settled(Outcome::Skipped);
    row.saved_as = None;
    stage.reply(Ok(Reply::Files(vec![row])));
    assert_eq!(stage.opened.lock().unwrap().len(), 1);
    done.entries = 3;
    stage.publish(samples::overview(vec![], vec![done]));
    assert!(stage.find("Open").is_none());
}

#[test]
fn failures_are_told_in_the_words_of_the_product() {
    let failed = TransferSnapshot {
        state: TransferState::Failed,
        fault: Some(Fault::PeerOffline {
            peer: "Living-room PC".into(),
        }),
        ..samples::sending()
    };
    let stage = Stage::with(vec![], vec![failed]);
    assert!(stage.says("Living-room PC is not reachable."));
    assert!(stage.says("Ask its owner to open PeerConnect and wake the computer."));
    assert!(stage.find(&format!("Pause {SUBJECT}")).is_none());
    assert!(stage.find(&format!("Cancel {SUBJECT}")).is_none());
}

#[test]
fn a_transfer_is_paused_and_resumed_by_button_and_by_space() {
    let mut t = samples::sending();
    let (transfer, scope) = scope(&t);
    let pause = Command::Pause { transfer, scope };
    let resume = Command::Resume { transfer, scope };
    let mut stage = Stage::with(vec![], vec![t.clone()]);
    stage.click(&format!("Pause {SUBJECT}"));
    assert_eq!(stage.command(), pause);
    select(&mut stage);
    stage.press(Modifiers::NONE, Key::Space);
    assert_eq!(stage.command(), pause);
    t.state = TransferState::Paused;
    t.paused_by = Some(PausedBy::Us);
    stage.publish(samples::overview(vec![], vec![t.clone()]));
    stage.click(&format!("Resume {SUBJECT}"));
    assert_eq!(stage.command(), resume);
    stage.press(Modifiers::NONE, Key::Space);
    assert_eq!(stage.command(), resume);
    t.paused_by = Some(PausedBy::Peer);
    stage.publish(samples::overview(vec![], vec![t]));
    assert!(stage.find(&format!("Resume {SUBJECT}")).is_none());
    assert!(stage.says("Paused by Living-room PC"));
}

#[test]
fn space_in_a_text_field_is_a_space() {
    let mut stage = Stage::with(vec![], vec![samples::sending()]);
    select(&mut stage);
    stage.type_into("Add a device", "a");
    stage.press(Modifiers::NONE, Key::Space);
    stage.press(Modifiers::NONE, Key::Delete);
    assert!(stage.commands().is_empty());
}

#[test]
fn cancelling_asks_before_anything_is_lost() {
    let t = samples::sending();
    let (transfer, scope) = scope(&t);
    let mut stage = Stage::with(vec![], vec![t.clone()]);
    select(&mut stage);
    stage.press(Modifiers::NONE, Key::Delete);
    assert!(stage.commands().is_empty());
    stage.click("Keep going");
    assert!(stage.find("Cancel transfer").is_none());
    stage.click(&format!("Cancel {SUBJECT}"));
    stage.click("Cancel transfer");
    assert_eq!(stage.command(), Command::Cancel { transfer, scope });
    let nothing_yet = TransferSnapshot { bytes_done: 0, ..t };
    stage.publish(samples::overview(vec![], vec![nothing_yet]));
    stage.click(&format!("Cancel {SUBJECT}"));
    assert_eq!(stage.command(), Command::Cancel { transfer, scope });
}

#[test]
fn a_hundred_thousand_files_unfold_as_the_few_on_the_screen() {
    let mut t = samples::sending();
    t.entries = 100_000;
    t.files = 100_000;
    let mut stage = Stage::with(vec![], vec![t.clone()]);
    stage.click(&format!("Show files of {SUBJECT}"));
    let query = FileQuery::Range {
        from: 0,
        count: PAGE,
    };
    let transfer = t.id;
    assert_eq!(stage.command(), Command::Files { transfer, query });
    stage.run();
    assert!(stage.commands().is_empty(), "a page is asked for once");
    stage.reply(Ok(Reply::Files((0..PAGE).map(samples::row).collect())));
    let drawn = stage
        .window
        .query_all_by_label_contains("More about photos/");
    let drawn = drawn.count();
    assert!((1..40).contains(&drawn), "{drawn}");
    assert!(stage.commands().is_empty());
    // Far down: only the page that is there.
    let list = stage
        .window
        .get_by_label("photos/000001.jpg")
        .rect()
        .center();
    stage.window.hover_at(list);
    stage.window.event(egui::Event::MouseWheel {
        unit: egui::MouseWheelUnit::Point,
        delta: egui::vec2(0.0, -28.0 * 50_000.0),
        phase: egui::TouchPhase::Move,
        source: egui::MouseWheelSource::Unknown,
        modifiers: Modifiers::NONE,
    });
    for _ in 0..10 {
        stage.run();
    }
    let asked = stage.commands();
    assert!((1..20).contains(&asked.len()), "{}", asked.len());
    assert!(stage.window.query_all_by_label_contains("photos/").count() < 40);
}

#[test]
fn rows_are_renewed_when_something_moved() {
    let mut t = samples::sending();
    let mut stage = Stage::with(vec![], vec![t.clone()]);
    stage.click(&format!("Show files of {SUBJECT}"));
    stage.command();
    let mut rows: Vec<_> = (0..3).map(samples::row).collect();
    stage.reply(Ok(Reply::Files(rows.clone())));
    t.bytes_done += 1_000_000;
    t.settled = 1;
    stage.publish(samples::overview(vec![], vec![t]));
    stage.command();
    rows[0].state = FileState::Settled(Outcome::New);
    stage.reply(Ok(Reply::Files(rows)));
    assert!(stage.says("verified"));
}

#[test]
fn one_file_is_paused_preferred_or_left_out() {
    let t = samples::sending();
    let transfer = t.id;
    let scope = Scope::File(1);
    let mut stage = Stage::with(vec![], vec![t]);
    stage.click(&format!("Show files of {SUBJECT}"));
    stage.command();
    stage.reply(Ok(Reply::Files((0..3).map(samples::row).collect())));
    for (label, command) in [
        ("Pause this file", Command::Pause { transfer, scope }),
        (
            "Send this file first",
            Command::First { transfer, index: 1 },
        ),
        ("Leave this file out", Command::Cancel { transfer, scope }),
    ] {
        stage.click("More about photos/000001.jpg");
        stage.click(label);
        assert_eq!(stage.command(), command);
    }
}

pub(super) fn close(stage: &mut Stage) -> Vec<ViewportCommand> {
    let root = ViewportId::ROOT;
    let viewport = stage.window.input_mut().viewports.entry(root).or_default();
    viewport.events.push(ViewportEvent::Close);
    stage.window.step();
    let output = &stage.window.output().viewport_output;
    let sent = output[&root].commands.clone();
    let viewport = stage.window.input_mut().viewports.entry(root).or_default();
    viewport.events.clear();
    stage.run();
    sent
}

#[test]
fn closing_the_window_while_files_are_sent_asks_first() {
    let mut stage = Stage::with(vec![], vec![samples::sending()]);
    assert!(close(&mut stage).contains(&ViewportCommand::CancelClose));
    assert!(stage.says("Still sending 3 files."));
}

#[test]
fn closing_an_idle_window_or_one_of_another_process_just_closes() {
    let mut stage = Stage::with(vec![], vec![]);
    assert!(!close(&mut stage).contains(&ViewportCommand::CancelClose));
    let mut overview = (*samples::overview(vec![], vec![samples::sending()])).clone();
    overview.me.pid += 1;
    let mut stage = Stage::new(overview.into());
    assert!(!close(&mut stage).contains(&ViewportCommand::CancelClose));
}

#[test]
fn behind_a_dialog_nothing_can_be_pressed() {
    let mut stage = Stage::with(vec![], vec![samples::sending()]);
    close(&mut stage);
    let label = format!("Pause {SUBJECT}");
    assert!(
        stage
            .window
            .get_by_label(&label)
            .accesskit_node()
            .is_disabled()
    );
    stage.press(Modifiers::NONE, Key::Space);
    assert!(stage.commands().is_empty());
}

#[test]
fn the_title_tells_the_progress_and_is_set_only_when_it_changes() {
    let mut stage = Stage::with(vec![], vec![samples::sending()]);
    let title = |stage: &Stage| {
        stage
            .window
            .state()
            .app
            .as_ref()
            .unwrap()
            .title()
            .to_owned()
    };
    assert_eq!(title(&stage), "34 % · PeerConnect");
    for _ in 0..5 {
        stage.window.step();
        let output = &stage.window.output().viewport_output;
        assert!(output[&ViewportId::ROOT].commands.is_empty());
    }
    stage.publish(samples::overview(vec![], vec![]));
    assert_eq!(title(&stage), "PeerConnect");
}

#[test]
fn an_idle_window_paints_no_frames_and_sends_no_commands() {
    let mut stage = Stage::with(
        vec![samples::trusted("Kitchen")],
        vec![samples::sending(), samples::asking(2)],
    );
    stage.run();
    stage.window.step();
    let delay = stage.window.output().viewport_output[&ViewportId::ROOT].repaint_delay;
    assert!(delay > std::time::Duration::from_secs(1), "{delay:?}");
    assert!(stage.commands().is_empty());
}

#[test]
fn a_new_picture_of_the_node_asks_for_a_frame() {
    let mut stage = Stage::with(vec![], vec![]);
    // Until then it waits to say why nobody is near.
    stage.wait(6);
    let ctx = stage.window.ctx.clone();
    assert!(!ctx.has_requested_repaint());
    let overview = samples::overview(vec![], vec![samples::sending()]);
    stage.pictures.send_replace(overview);
    assert!(ctx.has_requested_repaint());
}

#[test]
fn a_node_that_ended_is_said() {
    let stage = Stage::with(vec![], vec![]);
    let Stage {
        mut window,
        requests,
        pictures,
        ..
    } = stage;
    drop((requests, pictures));
    window.run_steps(10);
    let said = window.query_by_label_contains("PeerConnect has stopped");
    assert!(said.is_some());
}

#[test]
fn notices_of_the_node_are_shown_until_they_are_closed() {
    let mut overview = (*samples::overview(vec![], vec![])).clone();
    overview.notices = ["Port 3485 is used by another program. Using 51022 instead.".into()].into();
    let mut stage = Stage::new(overview.into());
    assert!(stage.says("Using 51022 instead."));
    stage.click("Close this message");
    assert!(!stage.says("Using 51022 instead."));
}

#[test]
fn a_node_that_does_not_start_is_told_and_can_be_tried_again() {
    let tries = Arc::new(AtomicU32::new(0));
    let window = {
        let tries = tries.clone();
        let mut window: Option<Window> = None;
        move |ui: &mut egui::Ui| {
            let tries = tries.clone();
            let start: Start = Arc::new(move |_wake| {
                if tries.fetch_add(1, Ordering::Relaxed) == 0 {
                    return Err(Fault::PortInUse { port: 3485 });
                }
                let overview = samples::overview(vec![], vec![]);
                Ok(NodeHandle::new((*overview).clone()).0)
            });
            let window =
                window.get_or_insert_with(|| Window::new(&ui.ctx().clone(), at_once(), start));
            window.logic(&ui.ctx().clone());
            window.ui(ui);
        }
    };
    let mut harness = egui_kittest::Harness::builder().build_ui(window);
    let said = harness.query_by_label_contains("Port 3485 is used by another program.");
    assert!(said.is_some());
    harness.get_by_label("Try again").click();
    harness.run_steps(4);
    assert_eq!(tries.load(Ordering::Relaxed), 2);
    assert!(harness.query_by_label("You are Office Laptop").is_some());
}

#[test]
fn a_window_with_a_new_identity_starts_its_node_anew_by_itself() {
    let same = Fault::SameIdentity {
        peer: "Living-room PC".into(),
    };
    let failed = TransferSnapshot {
        state: TransferState::Failed,
        fault: Some(same),
        ..samples::sending()
    };
    let before = (*samples::overview(vec![], vec![failed])).clone();
    let (first, mut requests, pictures) = NodeHandle::new(before);
    let mut after = (*samples::overview(vec![], vec![])).clone();
    after.me.name = "Somebody new".into();
    let (second, _requests, _pictures) = NodeHandle::new(after);
    let nodes = Arc::new(std::sync::Mutex::new(vec![second, first]));
    let start: Start = Arc::new(move |_wake| Ok(nodes.lock().unwrap().pop().unwrap()));
    let mut window: Option<Window> = None;
    let mut harness = egui_kittest::Harness::builder().build_ui(move |ui| {
        let ctx = ui.ctx().clone();
        let window = window.get_or_insert_with(|| Window::new(&ctx, at_once(), Arc::clone(&start)));
        window.logic(&ctx);
        window.ui(ui);
    });
    for label in ["Make a new identity", "Make it and start anew"] {
        harness.get_by_label(label).click();
        harness.run_steps(4);
    }
    let mut next = || {
        let (command, reply) = requests.try_recv().unwrap();
        let _ = reply.send(Ok(Reply::Done));
        command
    };
    assert_eq!(next(), Command::NewIdentity);
    harness.run_steps(4);
    assert_eq!(next(), Command::Shutdown);
    harness.run_steps(4);
    drop((requests, pictures));
    harness.run_steps(4);
    assert!(harness.query_by_label("You are Somebody new").is_some());
    let said = harness.query_by_label_contains("This computer has a new identity.");
    assert!(said.is_some());
    assert!(harness.query_by_label_contains("has stopped").is_none());
}

#[test]
fn a_window_on_a_command_that_ends_goes_on_with_a_node_of_its_own() {
    let mut others = (*samples::overview(vec![], vec![])).clone();
    others.me.pid += 1;
    let (first, requests, pictures) = NodeHandle::new(others);
    let mut own = (*samples::overview(vec![], vec![])).clone();
    own.me.name = "Own node".into();
    let (second, _requests, _pictures) = NodeHandle::new(own);
    let nodes = Arc::new(std::sync::Mutex::new(vec![second, first]));
    let start: Start = Arc::new(move |_wake| Ok(nodes.lock().unwrap().pop().unwrap()));
    let mut window: Option<Window> = None;
    let mut harness = egui_kittest::Harness::builder().build_ui(move |ui| {
        let ctx = ui.ctx().clone();
        let window = window.get_or_insert_with(|| Window::new(&ctx, at_once(), Arc::clone(&start)));
        window.logic(&ctx);
        window.ui(ui);
    });
    assert!(harness.query_by_label("You are Office Laptop").is_some());
    drop((requests, pictures));
    harness.run_steps(4);
    assert!(harness.query_by_label("You are Own node").is_some());
    assert!(harness.query_by_label_contains("has stopped").is_none());
}
