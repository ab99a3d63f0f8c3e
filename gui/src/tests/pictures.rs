//! Pictures of the window, compared pixel by pixel. `UPDATE_SNAPSHOTS=true` draws them anew.

use egui::Theme;
use peerconnect::fault::Fault;
use peerconnect::node::api::{PeerInfo, Reply, TextState};
use peerconnect::protocol::message::{DeclineReason, Outcome};
use peerconnect::storage::store::Accept;
use peerconnect::transfer::state::TransferState;
use peerconnect::transfer::status::{
    FileRow, FileState, PausedBy, RowKind, TopName, TransferSnapshot,
};

use super::{Stage, files};
use crate::samples;

const SIZE: [f32; 2] = [900.0, 580.0];

fn stage(peers: Vec<PeerInfo>, transfers: Vec<TransferSnapshot>, theme: Theme) -> Stage {
    sized(peers, transfers, SIZE, theme)
}

/// Those that are connected are near, and so is a stranger where there are any.
fn sized(
    peers: Vec<PeerInfo>,
    transfers: Vec<TransferSnapshot>,
    size: [f32; 2],
    theme: Theme,
) -> Stage {
    let connected = peers.iter().filter(|peer| peer.connected);
    let mut nearby: Vec<_> = connected.map(samples::near_known).collect();
    if !nearby.is_empty() {
        nearby.push(samples::near("Kitchen"));
        nearby.push(samples::near_original("Old laptop"));
    }
    Stage::sized(samples::with_nearby(nearby, peers, transfers), size, theme)
}

fn peers() -> Vec<PeerInfo> {
    let mut phone = samples::peer("Anna's phone");
    phone.connected = true;
    phone.words = Some("river copper nine".into());
    let old = samples::peer("build-box");
    let mut trusted = samples::trusted("Living-room PC");
    trusted.record.accept = Accept::Always;
    trusted.path = samples::sending().path;
    vec![trusted, phone, old]
}

fn snapshot(stage: &mut Stage, name: &str) {
    stage.window.remove_cursor();
    stage.run();
    stage.window.snapshot(name);
}

#[test]
fn empty() {
    let mut stage = stage(vec![], vec![], Theme::Light);
    stage.wait(6);
    snapshot(&mut stage, "empty");
}

#[test]
fn looking_for_devices() {
    let mut stage = stage(vec![], vec![], Theme::Light);
    snapshot(&mut stage, "looking");
}

#[test]
fn devices_and_staged_files() {
    draw_staged(Theme::Light, "staged");
}

#[test]
fn devices_and_staged_files_in_the_dark() {
    draw_staged(Theme::Dark, "staged_dark");
}

fn draw_staged(theme: Theme, name: &str) {
    let mut stage = stage(peers(), vec![], theme);
    let (_dir, paths) = files(&[
        ("thesis.pdf", 2_400_000),
        ("notes from the meeting with the very long name.txt", 1200),
    ]);
    let folder = tempfile::tempdir().unwrap();
    let photos = folder.path().join("photos");
    std::fs::create_dir(&photos).unwrap();
    stage.drop_files(&[&paths[0], &paths[1], &photos]);
    stage.click("Send to Living-room PC");
    snapshot(&mut stage, name);
}

#[test]
fn incoming_question() {
    draw_question(Theme::Light, "question");
}

#[test]
fn incoming_question_in_the_dark() {
    draw_question(Theme::Dark, "question_dark");
}

fn draw_question(theme: Theme, name: &str) {
    let mut asking = samples::asking(2);
    asking.top_names.push(TopName {
        name: "photos".into(),
        files: Some(214),
        bytes: 800_000_000,
    });
    asking.top_count = 30;
    let mut stage = stage(peers(), vec![samples::sending(), asking], theme);
    snapshot(&mut stage, name);
}

#[test]
fn taken_name() {
    draw_conflict(Theme::Light, "conflict");
}

#[test]
fn taken_name_in_the_dark() {
    draw_conflict(Theme::Dark, "conflict_dark");
}

fn draw_conflict(theme: Theme, name: &str) {
    let mut t = samples::conflicting(2);
    // The same text in every time zone.
    let conflict = t.conflict.as_mut().unwrap();
    for version in [&mut conflict.old, &mut conflict.new] {
        version.modified.0 -= 20 * 365 * 86_400 * 1_000_000_000;
    }
    let mut stage = stage(peers(), vec![samples::sending(), t], theme);
    snapshot(&mut stage, name);
}

fn rows() -> Vec<FileRow> {
    let name = |index: u32, path: &str, bytes, bytes_done, state| FileRow {
        path: path.into(),
        bytes,
        bytes_done,
        state,
        ..samples::row(index)
    };
    let settled = |outcome| FileState::Settled(outcome);
    let mut rows = vec![
        name(0, "photos", 0, 0, settled(Outcome::New)),
        name(
            1,
            "photos/beach.jpg",
            3_100_000,
            3_100_000,
            settled(Outcome::New),
        ),
        name(
            2,
            "photos/old.jpg",
            2_900_000,
            2_900_000,
            settled(Outcome::Identical),
        ),
        name(
            3,
            "holiday.mp4",
            734_003_200,
            405_000_000,
            FileState::Active,
        ),
        name(4, "a.pdf", 6_000_000, 0, FileState::Checking),
    ];
    rows[0].kind = RowKind::Folder;
    rows.extend((5..40).map(samples::row));
    rows
}

#[test]
fn running_and_unfolded() {
    draw_running(Theme::Light, "running");
}

#[test]
fn running_and_unfolded_in_the_dark() {
    draw_running(Theme::Dark, "running_dark");
}

fn draw_running(theme: Theme, name: &str) {
    let mut first = samples::sending();
    first.entries = 40;
    let second = TransferSnapshot {
        bytes_done: 1_000_000_000,
        rate: 11_000_000,
        eta_seconds: Some(18),
        ..samples::receiving(2)
    };
    let mut stage = stage(peers(), vec![second, first], theme);
    stage.click("Show files of holiday.mp4, a.pdf and 1 more to Living-room PC");
    stage.commands();
    stage.reply(Ok(Reply::Files(rows())));
    snapshot(&mut stage, name);
}

#[test]
fn paused_failed_and_done() {
    draw_ended(Theme::Light, "ended");
}

#[test]
fn paused_failed_and_done_in_the_dark() {
    draw_ended(Theme::Dark, "ended_dark");
}

fn draw_ended(theme: Theme, name: &str) {
    let with = |n, state| TransferSnapshot {
        state,
        ..samples::numbered(n)
    };
    let mut paused = with(1, TransferState::Paused);
    paused.paused_by = Some(PausedBy::Us);
    let mut failed = with(2, TransferState::Failed);
    failed.bytes_done = 0;
    failed.fault = Some(Fault::PeerOffline {
        peer: "Living-room PC".into(),
    });
    let lost = with(3, TransferState::Interrupted);
    let done = TransferSnapshot {
        state: TransferState::Completed,
        files_done: 3,
        bytes_done: 1_200_000_000,
        ..samples::receiving(4)
    };
    let all = vec![done, failed, lost, paused];
    let mut stage = sized(peers(), all, [900.0, 720.0], theme);
    snapshot(&mut stage, name);
}

#[test]
fn texts() {
    draw_texts(Theme::Light, "texts");
}

#[test]
fn texts_in_the_dark() {
    draw_texts(Theme::Dark, "texts_dark");
}

fn draw_texts(theme: Theme, name: &str) {
    let texts = vec![
        samples::text(2, TextState::Delivered),
        samples::text(3, TextState::Asking),
        samples::text_to(4, TextState::Delivered),
    ];
    let mut stage = Stage::sized(samples::with_texts(peers(), texts), SIZE, theme);
    stage.commands();
    let link = "https://example.org/minutes/2027-01-15?page=2";
    stage.reply(Ok(Reply::Text(link.into())));
    snapshot(&mut stage, name);
}

#[test]
fn several_devices_unfolded() {
    draw_many(Theme::Light, "many");
}

#[test]
fn several_devices_unfolded_in_the_dark() {
    draw_many(Theme::Dark, "many_dark");
}

fn draw_many(theme: Theme, name: &str) {
    let devices = [
        "Living-room PC",
        "Studio",
        "Anna's phone",
        "Attic",
        "Old laptop",
    ];
    let overview = samples::many(&devices, |n, t| match n {
        0 => {
            t.state = TransferState::Completed;
            (t.bytes_done, t.files_done, t.rate) = (t.bytes, t.files, 0);
        }
        1 => t.passing.through = Some("Living-room PC".into()),
        2 => {
            t.state = TransferState::AwaitingAnswer;
            t.accepted = false;
            (t.bytes_done, t.rate, t.eta_seconds) = (0, 0, None);
        }
        3 => {
            t.state = TransferState::Rejected;
            (t.bytes_done, t.rate, t.eta_seconds) = (0, 0, None);
            t.fault = Some(Fault::Declined {
                peer: t.peer_name.clone(),
                reason: DeclineReason::Person,
            });
        }
        _ => {
            let original = samples::receiving_original(1);
            (t.peer, t.path) = (original.peer, original.path);
        }
    });
    let mut stage = Stage::sized(overview, [900.0, 840.0], theme);
    stage.click("Show devices of holiday.mp4, a.pdf and 1 more to 5 devices");
    snapshot(&mut stage, name);
}

#[test]
fn a_text_is_written() {
    let mut stage = stage(peers(), vec![], Theme::Light);
    stage.click("Text…");
    stage.type_into("Text to send", "Lunch at one?");
    stage.click("Send to Living-room PC");
    snapshot(&mut stage, "text_written");
}
