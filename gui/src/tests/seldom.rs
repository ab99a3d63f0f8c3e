//! Pictures of states between the usual ones: waiting, held up, asked more than one thing, ended
//! in part, in doubt; and the narrowest window.

use std::sync::Arc;

use egui::Theme;
use egui_kittest::SnapshotResults;
use peerconnect::fault::Fault;
use peerconnect::node::api::{Overview, Reply, TextState};
use peerconnect::protocol::message::DeclineReason;
use peerconnect::transfer::state::TransferState;
use peerconnect::transfer::status::{PausedBy, Shortcoming, TransferSnapshot};

use super::states::{both, both_into, known};
use super::{Stage, codes, steering};
use crate::samples;
use crate::start_ui::{Start, Window};

const SUBJECT: &str = "holiday.mp4, a.pdf and 1 more to Living-room PC";
const SIZE: [f32; 2] = [900.0, 580.0];
const NARROW: [f32; 2] = [480.0, 600.0];

fn draw(name: &str, overview: impl Fn() -> Arc<Overview>) {
    both(name, |theme| Stage::sized(overview(), SIZE, theme));
}

fn narrow(name: &str, overview: impl Fn() -> Arc<Overview>) {
    both(name, |theme| Stage::sized(overview(), NARROW, theme));
}

/// Not yet moving.
fn waiting(state: TransferState, t: TransferSnapshot) -> TransferSnapshot {
    TransferSnapshot {
        state,
        accepted: false,
        bytes_done: 0,
        bytes_moved: 0,
        rate: 0,
        eta_seconds: None,
        ..t
    }
}

fn paused(by: PausedBy, t: TransferSnapshot) -> TransferSnapshot {
    TransferSnapshot {
        state: TransferState::Paused,
        paused_by: Some(by),
        rate: 0,
        eta_seconds: None,
        ..t
    }
}

#[test]
fn what_waits_and_what_is_held_up() {
    let size = [900.0, 760.0];
    both("held_up", |theme| Stage::sized(held_up(), size, theme));
}

fn held_up() -> Arc<Overview> {
    let counting = TransferSnapshot {
        bytes: 800_000_000,
        files: 2417,
        ..waiting(TransferState::Preparing, samples::numbered(1))
    };
    known(vec![
        paused(PausedBy::Us, samples::numbered(6)),
        paused(PausedBy::Peer, samples::receiving(5)),
        paused(PausedBy::DiskFull, samples::receiving(4)),
        paused(PausedBy::DiskFull, samples::numbered(3)),
        waiting(TransferState::AwaitingAnswer, samples::numbered(2)),
        counting,
    ])
}

/// A question of another device, about something else.
fn asked_by(n: u8, name: &str, file: &str) -> TransferSnapshot {
    let mut t = samples::asking(n);
    t.peer_name = name.into();
    t.top_names.truncate(1);
    t.top_names[0].name = file.into();
    (t.top_count, t.files, t.bytes) = (1, 1, t.top_names[0].bytes);
    t
}

#[test]
fn several_questions_at_once() {
    draw("questions", || {
        let mut trusted = asked_by(3, "Living-room PC", "Minutes.odt");
        (trusted.trusted, trusted.words) = (true, None);
        let text = samples::text(7, TextState::Asking);
        let mut overview = known(vec![samples::asking(2), trusted]);
        Arc::make_mut(&mut overview).texts = Arc::new([text]);
        overview
    });
}

#[test]
fn a_question_of_an_old_version() {
    draw("question_old", || known(vec![samples::asking_original(2)]));
}

#[test]
fn a_question_for_which_there_is_no_room() {
    draw("question_full", || {
        let mut t = samples::asking(2);
        let question = t.question.as_mut().unwrap();
        question.free = 100_000_000;
        question.obstacle = Some(Fault::DiskFull {
            folder: "/srv/Downloads/PeerConnect".into(),
            needed: t.bytes,
            free: 100_000_000,
        });
        known(vec![t])
    });
}

/// Files for several devices, that all have been sent; the last device did not want them.
fn ended(declined: bool) -> Arc<Overview> {
    samples::many(&["Living-room PC", "Studio", "Attic"], |n, t| {
        t.state = TransferState::Completed;
        (t.bytes_done, t.files_done, t.rate) = (t.bytes, t.files, 0);
        t.eta_seconds = None;
        if declined && n == 2 {
            t.state = TransferState::Rejected;
            (t.bytes_done, t.files_done) = (0, 0);
            t.fault = Some(Fault::Declined {
                peer: t.peer_name.clone(),
                reason: DeclineReason::Person,
            });
        }
    })
}

#[test]
fn files_that_went_to_several_devices() {
    let mut results = SnapshotResults::new();
    for (name, declined) in [("many_done", false), ("many_partly", true)] {
        both_into(&mut results, name, |theme| {
            let mut stage = Stage::sized(ended(declined), SIZE, theme);
            stage.click("Show devices of holiday.mp4, a.pdf and 1 more to 3 devices");
            stage
        });
    }
}

#[test]
fn what_is_said_of_devices_that_pass_nothing_on() {
    let devices = ["Kitchen", "Attic", "Cellar", "Hall", "Office"];
    let overview = samples::many(&devices, |n, t| {
        t.passing.shortcoming = match n {
            0 => Some(Shortcoming::Withholds),
            1 => Some(Shortcoming::Denies),
            2 => Some(Shortcoming::Doubted),
            3 => Some(Shortcoming::OutOfReach),
            _ => None,
        };
    });
    let mut results = SnapshotResults::new();
    both_into(&mut results, "many_doubts", |theme| {
        let mut stage = Stage::sized(overview.clone(), SIZE, theme);
        stage.click("Show devices of holiday.mp4, a.pdf and 1 more to 5 devices");
        stage
    });
}

#[test]
fn devices_nearby_and_nothing_to_send() {
    draw("nearby", || {
        let mut phone = samples::peer("Anna's phone");
        (phone.connected, phone.words) = (true, Some("river copper nine".into()));
        let near = vec![
            samples::near_known(&samples::trusted("Living-room PC")),
            samples::near_known(&phone),
            samples::near("Kitchen"),
            samples::near_original("Old laptop"),
        ];
        let peers = vec![samples::trusted("Living-room PC"), phone];
        samples::with_nearby(near, peers, vec![])
    });
}

#[test]
fn giving_up_a_transfer_is_asked_about() {
    both("doubt_cancel", |theme| {
        let mut stage = Stage::sized(known(vec![samples::sending()]), SIZE, theme);
        stage.click(&format!("Cancel {SUBJECT}"));
        stage
    });
}

#[test]
fn forgetting_a_device_is_asked_about() {
    both("doubt_forget", |theme| {
        let mut stage = Stage::sized(known(vec![]), SIZE, theme);
        stage.click("More about Living-room PC");
        stage.click("Forget Living-room PC…");
        stage
    });
}

#[test]
fn the_list_of_keys() {
    both("keys", |theme| {
        let mut stage = Stage::sized(known(vec![]), SIZE, theme);
        stage.press(egui::Modifiers::NONE, egui::Key::F1);
        stage
    });
}

#[test]
fn files_hang_over_the_window() {
    both("drop", |theme| {
        let mut stage = Stage::sized(known(vec![samples::sending()]), SIZE, theme);
        stage.window.input_mut().hovered_files = vec![egui::HoveredFile::default()];
        stage
    });
}

#[test]
fn a_node_that_could_not_start() {
    let mut results = SnapshotResults::new();
    for (theme, name) in [
        (Theme::Light, "not_started"),
        (Theme::Dark, "not_started_dark"),
    ] {
        let mut window: Option<Window> = None;
        let mut harness = egui_kittest::Harness::builder()
            .with_size(SIZE)
            .with_theme(theme)
            .renderer(soft::Soft::default())
            .build_ui(move |ui| {
                let ctx = ui.ctx().clone();
                let start: Start = Arc::new(|_wake| Err(Fault::PortInUse { port: 3485 }));
                let window = window.get_or_insert_with(|| {
                    crate::theme::apply(&ctx);
                    Window::new(&ctx, steering::at_once(), start)
                });
                window.logic(&ctx);
                // The harness leaves a margin; a real window has none.
                let whole = egui::UiBuilder::new().max_rect(ui.content_rect());
                ui.scope_builder(whole, |ui| {
                    ui.set_clip_rect(ui.content_rect());
                    window.ui(ui);
                });
            });
        harness.run_steps(4);
        harness.snapshot(name);
        results.extend(harness.take_snapshot_results());
    }
}

#[test]
fn what_was_drawn_in_the_light_alone() {
    let mut results = SnapshotResults::new();
    let mut dark = |name: &str, mut stage: Stage| {
        stage.window.remove_cursor();
        stage.run();
        stage.window.snapshot(name);
        results.extend(stage.window.take_snapshot_results());
    };
    let overview = samples::overview(vec![], vec![]);
    dark("looking_dark", Stage::sized(overview, SIZE, Theme::Dark));
    let waiting = codes::with(Some(codes::waiting(Some("7-river-copper"), 1)));
    dark(
        "code_dark",
        Stage::sized(waiting, [900.0, 600.0], Theme::Dark),
    );
    let mut stage = Stage::sized(known(vec![]), SIZE, Theme::Dark);
    stage.click("Text…");
    stage.type_into("Text to send", "Lunch at one?");
    stage.click("Send to Living-room PC");
    dark("text_written_dark", stage);
}

#[test]
fn a_question_in_the_narrowest_window() {
    narrow("narrow_question", || {
        samples::overview(vec![], vec![samples::asking(2)])
    });
}

#[test]
fn a_failure_in_the_narrowest_window() {
    narrow("narrow_failed", || {
        let failed = TransferSnapshot {
            state: TransferState::Failed,
            bytes_done: 0,
            fault: Some(Fault::PeerOffline {
                peer: "Living-room PC".into(),
            }),
            ..samples::sending()
        };
        samples::overview(vec![], vec![failed])
    });
}

#[test]
fn files_on_their_way_in_the_narrowest_window() {
    both("narrow_running", |theme| {
        let mut t = samples::sending();
        t.entries = 40;
        let mut stage = Stage::sized(samples::overview(vec![], vec![t]), NARROW, theme);
        stage.click(&format!("Show files of {SUBJECT}"));
        stage.commands();
        stage.reply(Ok(Reply::Files((0..40).map(samples::row).collect())));
        stage
    });
}

#[test]
fn the_link_in_the_narrowest_window() {
    both("narrow_link", |theme| {
        let mut stage = Stage::sized(samples::overview(vec![], vec![]), NARROW, theme);
        stage.click("Show my link");
        stage
    });
}
