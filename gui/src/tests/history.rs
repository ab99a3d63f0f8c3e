//! The history page.

use std::path::PathBuf;

use egui::{Key, Modifiers, Theme};
use peerconnect::fault::Fault;
use peerconnect::node::api::{Command, PeerInfo, Reply, Who};
use peerconnect::peer::{LegacyPeer, Party, PeerId};
use peerconnect::protocol::legacy::LegacyId;
use peerconnect::storage::store::{HistoryRecord, TextRecord};
use peerconnect::transfer::state::TransferState;

use super::{Stage, files};
use crate::samples;

fn peers() -> Vec<PeerInfo> {
    vec![samples::trusted("Living-room PC"), samples::peer("Kitchen")]
}

fn sent(n: u64, name: &str, sources: Vec<PathBuf>) -> HistoryRecord {
    HistoryRecord {
        sent: true,
        peer: Some(PeerId::of_public_key(b"Living-room PC").into()),
        peer_name: "Living-room PC".into(),
        names: vec![name.into()],
        sources,
        folder: None,
        ..samples::ended(n)
    }
}

fn records(sources: Vec<PathBuf>) -> Vec<HistoryRecord> {
    let many: Vec<String> = (1..=5).map(|n| format!("IMG_{n}.jpg")).collect();
    let claimed = LegacyPeer {
        id: LegacyId::DEFAULT_PROFILE,
        addr: ([192, 0, 2, 7], 50_000).into(),
    };
    vec![
        samples::ended(1),
        sent(2, "thesis.pdf", sources),
        HistoryRecord {
            fault: Some(Fault::PeerOffline {
                peer: "Living-room PC".into(),
            }),
            ..sent(
                20,
                "Budget 2027.ods",
                vec!["/home/me/Budget 2027.ods".into()],
            )
        },
        HistoryRecord {
            names: many,
            files: 214,
            failed: 2,
            bytes: 812_000_000,
            ..samples::ended(40)
        },
        HistoryRecord {
            names: Vec::new(),
            folder: None,
            files: 0,
            bytes: 21,
            text: Some(TextRecord::of("https://example.org/a")),
            ..samples::ended(60)
        },
        HistoryRecord {
            peer: Some(Party::Legacy(claimed)),
            peer_name: "Old laptop".into(),
            names: vec!["minutes.odt".into()],
            bytes: 43_000,
            ..samples::ended(300)
        },
    ]
}

fn open(theme: Theme, sources: Vec<PathBuf>) -> Stage {
    let overview = samples::overview(peers(), vec![]);
    let mut stage = Stage::sized(overview, [900.0, 580.0], theme);
    stage.click("History");
    let count = crate::history::READ_MAX;
    assert_eq!(stage.command(), Command::History { count });
    stage.reply(Ok(Reply::History(records(sources))));
    stage
}

#[test]
fn what_came_is_opened_and_shown_in_its_folder() {
    let mut stage = open(Theme::Light, vec![]);
    assert!(stage.says("Arrived and verified · 5 min ago · 1 file · 734 MB"));
    stage.click("Open: holiday.mp4");
    stage.click("Show in folder: holiday.mp4");
    let folder = PathBuf::from("/srv/Downloads/PeerConnect");
    let opened = stage.opened.lock().unwrap().clone();
    assert_eq!(opened, [folder.join("holiday.mp4"), folder]);
}

#[test]
fn what_is_still_there_is_marked_in_its_folder() {
    let (dir, paths) = files(&[("thesis.pdf", 10)]);
    let mut stage = Stage::with(vec![], vec![]);
    stage.click("History");
    stage.commands();
    let mut record = samples::ended(1);
    record.folder = Some(dir.path().to_owned());
    record.names = vec!["thesis.pdf".into()];
    stage.reply(Ok(Reply::History(vec![record])));
    stage.click("Show in folder: thesis.pdf");
    assert_eq!(*stage.marked.lock().unwrap(), paths);
    assert!(stage.opened.lock().unwrap().is_empty());
}

#[test]
fn what_was_sent_is_staged_again_for_whom_it_went_to() {
    let (_dir, paths) = files(&[("thesis.pdf", 10)]);
    let mut stage = open(Theme::Light, paths.clone());
    stage.click("Send again: thesis.pdf");
    let app = stage.window.state().app.as_ref().unwrap();
    let staged: Vec<_> = app.model.staged.iter().map(|s| s.path.clone()).collect();
    assert_eq!(staged, paths);
    let who = Who::Key(PeerId::of_public_key(b"Living-room PC"));
    assert!(app.model.chosen.contains(&who));
    assert!(stage.find("Transfers").is_some());
}

#[test]
fn entries_are_found_by_names_people_and_texts() {
    let mut stage = open(Theme::Light, vec![]);
    for (query, subject) in [
        ("HOLIDAY kitchen", "holiday.mp4"),
        ("living thesis", "thesis.pdf"),
        ("example", "\"https://example.org/a\""),
    ] {
        stage.type_into("Search the history", query);
        let app = stage.window.state().app.as_ref().unwrap();
        let shown = app.model.history.shown().unwrap();
        assert_eq!(shown.len(), 1, "{query}");
        assert!(stage.says(subject), "{query}");
        stage.press(Modifiers::COMMAND, Key::A);
        stage.press(Modifiers::NONE, Key::Delete);
    }
    stage.type_into("Search the history", "nothing like it");
    assert!(stage.says("Nothing fits these words."));
}

#[test]
fn clearing_is_asked_about_first() {
    let mut stage = open(Theme::Light, vec![]);
    stage.click("Clear the history");
    assert!(stage.says("Forget 6 entries?"));
    stage.click("Keep it");
    assert_eq!(stage.commands(), []);
    stage.click("Clear the history");
    stage.click("Clear the history now");
    let count = crate::history::READ_MAX;
    let then = [Command::ClearHistory, Command::History { count }];
    assert_eq!(stage.commands(), then);
    stage.reply(Ok(Reply::Done));
    stage.reply(Ok(Reply::History(vec![])));
    assert!(stage.says("Nothing has ended yet."));
}

#[test]
fn it_is_read_again_when_something_ends_and_not_otherwise() {
    let mut stage = open(Theme::Light, vec![]);
    let mut t = samples::sending();
    stage.publish(samples::overview(peers(), vec![t.clone()]));
    assert_eq!(stage.commands(), []);
    t.state = TransferState::Completed;
    stage.publish(samples::overview(peers(), vec![t]));
    let count = crate::history::READ_MAX;
    assert_eq!(stage.command(), Command::History { count });
}

#[test]
fn thousands_of_entries_are_drawn_as_few() {
    let overview = samples::overview(peers(), vec![]);
    let mut stage = Stage::sized(overview, [900.0, 580.0], Theme::Light);
    stage.click("History");
    stage.commands();
    let all = (1..=2_000).map(samples::ended).collect();
    stage.reply(Ok(Reply::History(all)));
    use egui_kittest::kittest::Queryable;
    let rows = stage.window.query_all_by_label("Open: holiday.mp4").count();
    assert!((5..20).contains(&rows), "{rows}");
}

fn snapshot(mut stage: Stage, name: &str) {
    stage.window.remove_cursor();
    stage.run();
    stage.window.snapshot(name);
}

#[test]
fn the_page_in_the_light() {
    let sources = vec!["/home/me/thesis.pdf".into()];
    snapshot(open(Theme::Light, sources), "history");
}

#[test]
fn the_page_in_the_dark() {
    let mut stage = open(Theme::Dark, vec![]);
    stage.click("Clear the history");
    snapshot(stage, "history_dark");
}
