//! Pasting into the window, curves, and sending once somebody is there.

use std::sync::Arc;

use egui::{Color32, ColorImage, Event};
use peerconnect::fault::Fault;
use peerconnect::node::api::{Again, Command};
use peerconnect::transfer::state::TransferState;
use peerconnect::transfer::status::TransferSnapshot;

use super::{Stage, files};
use crate::samples;

fn paste(stage: &mut Stage, event: Event) {
    stage.window.event(event);
    stage.run();
}

fn staged(stage: &Stage) -> Vec<std::path::PathBuf> {
    let app = stage.window.state().app.as_ref().unwrap();
    app.model.staged.iter().map(|s| s.path.clone()).collect()
}

#[test]
fn files_copied_in_a_file_manager_are_staged() {
    let (_dir, paths) = files(&[("a b.txt", 1), ("é.txt", 1)]);
    let uris: Vec<String> = paths
        .iter()
        .map(|p| format!("file://{}", p.to_string_lossy().replace(' ', "%20")))
        .collect();
    for text in [
        uris.join("\r\n"),
        format!("copy\n{}", uris.join("\n")),
        format!("# two files\n{}\n", uris.join("\n")),
    ] {
        let mut stage = Stage::with(vec![], vec![]);
        paste(&mut stage, Event::Paste(text));
        assert_eq!(staged(&stage), paths);
    }
}

#[test]
fn text_that_begins_like_a_path_is_text_unless_all_of_it_is_there() {
    let (_dir, paths) = files(&[("a.txt", 1)]);
    let there = paths[0].to_str().unwrap();
    for text in [
        "/shrug".to_owned(),
        format!("{there}\n/not/there"),
        "file:///not/there".to_owned(),
        format!("\"{there}\""),
    ] {
        let mut stage = Stage::with(vec![], vec![]);
        paste(&mut stage, Event::Paste(text.clone()));
        assert!(staged(&stage).is_empty(), "{text}");
        let field = stage.field("Text to send");
        assert_eq!(field.value().as_deref(), Some(text.as_str()));
        assert!(!stage.says("is not there"), "{text}");
    }
}

#[test]
fn quotes_belong_to_the_names_of_pasted_files() {
    let (_dir, paths) = files(&[("\"quoted\"", 1), ("'single'", 1)]);
    let lines: Vec<&str> = paths.iter().map(|p| p.to_str().unwrap()).collect();
    let mut stage = Stage::with(vec![], vec![]);
    paste(&mut stage, Event::Paste(lines.join("\n")));
    assert_eq!(staged(&stage), paths);
}

#[test]
fn other_text_is_ready_to_be_sent_as_text() {
    let mut stage = Stage::with(vec![samples::trusted("Kitchen")], vec![]);
    stage.click("History");
    stage.commands();
    paste(&mut stage, Event::Paste("Lunch at one?".into()));
    assert_eq!(staged(&stage), [""; 0].map(std::path::PathBuf::from));
    let field = stage.field("Text to send");
    assert_eq!(field.value().as_deref(), Some("Lunch at one?"));
}

#[test]
fn a_picture_becomes_a_file_that_holds_it() {
    let mut stage = Stage::with(vec![], vec![]);
    let pixels = vec![Color32::RED, Color32::TRANSPARENT];
    let picture = Arc::new(ColorImage::new([2, 1], pixels));
    paste(&mut stage, Event::PasteImage(picture.clone()));
    paste(&mut stage, Event::PasteImage(picture));
    let paths = staged(&stage);
    assert_eq!(paths.len(), 2, "{paths:?}");
    for path in &paths {
        assert_eq!(path.extension().unwrap(), "png");
        let read = image::open(path).unwrap().to_rgba8();
        assert_eq!(read.dimensions(), (2, 1));
        assert_eq!(read.into_raw(), [255, 0, 0, 255, 0, 0, 0, 0]);
    }
}

#[test]
fn what_reached_nobody_is_sent_when_they_are_online() {
    let mut t = samples::sending();
    t.state = TransferState::Failed;
    t.fault = Some(Fault::PeerOffline {
        peer: "Living-room PC".into(),
    });
    let mut stage = Stage::with(vec![], vec![t.clone()]);
    stage.click("Send when online");
    let what = Again::WhenOnline;
    let transfer = t.id;
    assert_eq!(stage.command(), Command::SendAgain { transfer, what });
    t.state = TransferState::Connecting;
    stage.publish(samples::overview(vec![], vec![t.clone()]));
    assert!(stage.says("Waiting until Living-room PC is online."));
    let declined = TransferSnapshot {
        state: TransferState::Failed,
        fault: None,
        ..t
    };
    stage.publish(samples::overview(vec![], vec![declined]));
    assert!(stage.find("Send when online").is_none());
}
