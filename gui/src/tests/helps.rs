//! Small things that save a person a question or a way: room in a folder before anything is
//! accepted, files opened where they are listed, sending to who is away, keys and their list.

use egui::{Key, Modifiers};
use egui_kittest::kittest::{NodeT, Queryable};
use peerconnect::fault::Fault;
use peerconnect::node::api::{Command, Reply, Target};
use peerconnect::protocol::message::Outcome;
use peerconnect::storage::store::HistoryRecord;
use peerconnect::transfer::state::TransferState;
use peerconnect::transfer::status::{FileState, TransferSnapshot};

use super::{Stage, files};
use crate::model::Page;
use crate::samples;

#[test]
fn the_room_in_another_folder_is_shown_before_anything_is_accepted() {
    let mut stage = Stage::with(vec![], vec![samples::asking(2)]);
    stage.click("Choose another folder");
    assert!(
        !stage.says("free there"),
        "it is the folder of the question"
    );
    // In these tests a folder has a megabyte for each letter of its path.
    stage.type_into("Save in", "/sub");
    assert!(stage.says("Needs 1.20 GB, but only 30.0 MB are free there."));
    assert!(stage.find("Accept from Kitchen").is_some());
    for name in ["holiday.mp4", "b.pdf"] {
        stage.click(&format!("Take {name}"));
    }
    assert!(stage.says("30.0 MB free there"));
    stage.type_into("Save in", "way");
    assert!(stage.says("33.0 MB free there"));
    assert!(stage.commands().is_empty());
}

/// Three files that have arrived, in this many entries.
fn arrived(entries: u32) -> TransferSnapshot {
    TransferSnapshot {
        state: TransferState::Completed,
        files_done: 3,
        entries,
        ..samples::receiving(3)
    }
}

#[test]
fn one_of_several_files_that_arrived_can_be_opened() {
    let mut stage = Stage::with(vec![], vec![arrived(3)]);
    assert!(stage.find("Open").is_none(), "which one?");
    stage.click("Show files of holiday.mp4, a.pdf and 1 more from Kitchen");
    stage.commands();
    let mut rows: Vec<_> = (0..3).map(samples::row).collect();
    rows[0].state = FileState::Settled(Outcome::New);
    rows[1].state = FileState::Settled(Outcome::Renamed);
    rows[1].saved_as = Some("photos/000001 (1).jpg".into());
    rows[2].state = FileState::Settled(Outcome::Skipped);
    stage.reply(Ok(Reply::Files(rows)));
    for n in [0, 1] {
        stage.click(&format!("More about photos/00000{n}.jpg"));
        stage.click("Open");
    }
    assert!(stage.find("More about photos/000002.jpg").is_none());
    let folder = std::path::Path::new("/srv/Downloads/PeerConnect");
    let opened = stage.opened.lock().unwrap().clone();
    let expected = ["photos/000000.jpg", "photos/000001 (1).jpg"];
    assert_eq!(opened, expected.map(|name| folder.join(name)));
}

#[test]
fn the_one_folder_that_arrived_can_be_opened() {
    let mut t = arrived(30);
    t.top_names.truncate(1);
    t.top_names[0].name = "photos".into();
    t.top_names[0].files = Some(30);
    t.top_count = 1;
    let mut stage = Stage::with(vec![], vec![t]);
    stage.click("Open");
    let folder = std::path::Path::new("/srv/Downloads/PeerConnect/photos");
    assert_eq!(*stage.opened.lock().unwrap(), [folder]);
}

#[test]
fn whoever_receives_says_which_file_comes_first_too() {
    let mut t = samples::receiving(3);
    t.entries = 3;
    let mut stage = Stage::with(vec![], vec![t.clone()]);
    stage.click("Show files of holiday.mp4, a.pdf and 1 more from Kitchen");
    stage.commands();
    stage.reply(Ok(Reply::Files((0..3).map(samples::row).collect())));
    stage.click("More about photos/000001.jpg");
    stage.click("Get this file first");
    let (transfer, index) = (t.id, 1);
    assert_eq!(stage.command(), Command::First { transfer, index });
}

#[test]
fn files_for_a_device_that_is_away_can_wait_for_it_from_the_beginning() {
    let (_dir, paths) = files(&[("a.txt", 1)]);
    let known = samples::trusted("Kitchen");
    let mut here = known.clone();
    here.connected = true;
    let mut stage = Stage::with(vec![here], vec![]);
    stage.drop_files(&[&paths[0]]);
    stage.click("Send to Kitchen");
    assert!(stage.find("Send when online").is_none(), "it is here");
    let mut away = known.clone();
    away.connected = false;
    stage.publish(samples::overview(vec![away], vec![]));
    stage.click("Send when online");
    let to = Target::Peer(known.id);
    assert_eq!(stage.command(), Command::SendWhenOnline { to, paths });
    assert!(!stage.says("a.txt"));
    // What cannot be begun comes back.
    stage.reply(Err(Fault::Invalid { why: "no".into() }));
    assert!(stage.says("a.txt"));
}

fn page(stage: &mut Stage) -> Page {
    stage.window.state_mut().app.as_mut().unwrap().model.page
}

#[test]
fn the_keys_are_listed_and_lead_to_the_fields_for_searching_and_adding() {
    let mut stage = Stage::with(vec![samples::peer("Kitchen")], vec![]);
    stage.press(Modifiers::NONE, Key::F1);
    assert!(stage.says("Search the history") && stage.says("Ctrl+F"));
    stage.press(Modifiers::NONE, Key::F1);
    assert_eq!(page(&mut stage), Page::Transfers);
    stage.press(Modifiers::COMMAND, Key::F);
    assert_eq!(page(&mut stage), Page::History);
    stage.commands();
    stage.reply(Ok(Reply::History(vec![samples::ended(1)])));
    assert!(
        stage
            .field("Search the history")
            .accesskit_node()
            .is_focused()
    );
    stage.press(Modifiers::COMMAND, Key::L);
    assert_eq!(page(&mut stage), Page::Transfers);
    assert!(stage.field("Add a device").accesskit_node().is_focused());
}

#[test]
fn why_something_failed_is_found_with_the_keyboard_in_the_history() {
    let failed = HistoryRecord {
        fault: Some(Fault::PeerOffline {
            peer: "Kitchen".into(),
        }),
        ..samples::ended(1)
    };
    let mut stage = Stage::with(vec![], vec![]);
    stage.press(Modifiers::COMMAND, Key::H);
    stage.commands();
    stage.reply(Ok(Reply::History(vec![failed, samples::ended(2)])));
    assert!(!stage.says("wake the computer"));
    stage.window.get_by_label("Why: holiday.mp4").focus();
    stage.run();
    stage.press(Modifiers::NONE, Key::Enter);
    assert!(stage.says("wake the computer"));
}

#[test]
fn of_very_many_cards_only_those_on_the_screen_are_drawn_and_all_can_be_reached() {
    let ended = (0..200u8).map(|n| TransferSnapshot {
        state: TransferState::Completed,
        peer_name: format!("Computer {n:03}"),
        ..samples::numbered(n)
    });
    let mut stage = Stage::with(vec![], ended.collect());
    let drawn = |stage: &Stage| {
        let cards = stage
            .window
            .query_all_by_label_contains("Delivered to Computer");
        cards.count()
    };
    // The newest is above.
    assert!(stage.says("Delivered to Computer 199"));
    assert!(drawn(&stage) < 80, "{}", drawn(&stage));
    assert!(!stage.says("Delivered to Computer 000"));
    stage.window.hover_at(egui::pos2(600.0, 400.0));
    stage.window.event(egui::Event::MouseWheel {
        unit: egui::MouseWheelUnit::Point,
        delta: egui::vec2(0.0, -1_000_000.0),
        phase: egui::TouchPhase::Move,
        source: egui::MouseWheelSource::Unknown,
        modifiers: Modifiers::NONE,
    });
    for _ in 0..10 {
        stage.run();
    }
    assert!(stage.says("Delivered to Computer 000"));
    assert!(!stage.says("Delivered to Computer 199"));
    // What is sought is drawn, wherever it is.
    let app = stage.window.state_mut().app.as_mut().unwrap();
    app.come_forward(samples::numbered(150).id);
    stage.run();
    assert!(stage.says("Delivered to Computer 150"));
}

#[test]
fn of_very_many_receivers_only_those_on_the_screen_are_drawn() {
    let names: Vec<String> = (0..200).map(|n| format!("Computer {n:03}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut stage = Stage::new(samples::many(&names, |_, _| {}));
    stage.click("Show devices of holiday.mp4, a.pdf and 1 more to 200 devices");
    assert!(stage.find("Computer 000").is_some());
    assert!(stage.find("Computer 199").is_none());
    let drawn = stage
        .window
        .query_all_by_label_contains("Computer ")
        .count();
    assert!(drawn < 200, "{drawn}");
}
