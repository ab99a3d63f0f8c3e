//! The list of devices: many of them, and what is said about each.

use egui::{Key, Modifiers};
use egui_kittest::kittest::Queryable;
use peerconnect::net::link::{PathInfo, PathKind};
use peerconnect::node::api::Command;
use peerconnect::storage::store::Accept;

use super::Stage;
use crate::samples;

/// A window with so many strangers nearby.
fn crowd(n: usize) -> Stage {
    let near = (0..n).map(|n| samples::near(&format!("Device {n:04}")));
    Stage::new(samples::with_nearby(near.collect(), vec![], vec![]))
}

fn drawn(stage: &Stage) -> usize {
    let rows = stage.window.query_all_by_label_contains("Send to Device");
    rows.count()
}

#[test]
fn of_very_many_devices_only_those_on_the_screen_are_drawn_and_all_can_be_reached() {
    let mut stage = crowd(2000);
    assert!((5..40).contains(&drawn(&stage)), "{}", drawn(&stage));
    let list = stage.window.get_by_label("Send to Device 0000").rect();
    stage.window.hover_at(list.center());
    stage.window.event(egui::Event::MouseWheel {
        unit: egui::MouseWheelUnit::Point,
        delta: egui::vec2(0.0, -1_000_000.0),
        phase: egui::TouchPhase::Move,
        source: egui::MouseWheelSource::Unknown,
        modifiers: egui::Modifiers::NONE,
    });
    for _ in 0..10 {
        stage.run();
    }
    assert!((5..40).contains(&drawn(&stage)), "{}", drawn(&stage));
    stage.click("Send to Device 1999");
    assert!(stage.says("1 chosen"));
}

#[test]
fn the_keyboard_goes_on_to_devices_that_were_not_drawn() {
    let mut stage = crowd(200);
    stage.window.get_by_label("Send to Device 0000").focus();
    stage.run();
    // Each has a row and a button.
    for _ in 0..2 * 50 {
        stage.press(Modifiers::NONE, Key::Tab);
    }
    let row = stage.window.get_by_label("Send to Device 0050");
    assert!(row.is_focused());
    let field = stage.field("Add a device").rect();
    assert!(row.rect().max.y <= field.min.y, "{} {field}", row.rect());
}

#[test]
fn a_picture_of_very_many_devices_is_taken_in_quickly() {
    let near = |n: u32| samples::near(&format!("Device {n:04}"));
    let near = (0..4000).map(near).collect();
    let overview = samples::with_nearby(near, vec![], vec![]);
    let begun = std::time::Instant::now();
    let model = crate::model::Model::new(overview);
    let twins = model.near().filter(|d| model.is_twin(d.who)).count();
    let took = begun.elapsed();
    assert_eq!(twins, 0);
    // Each name compared with each, it takes many seconds.
    assert!(took < std::time::Duration::from_secs(1), "{took:?}");
}

#[test]
fn how_a_device_is_reached_and_that_it_is_trusted_can_always_be_read() {
    let mut peer = samples::trusted("Living-room PC");
    peer.record.accept = Accept::Always;
    for (kind, said) in [
        (PathKind::Direct, "direct · trusted\u{a0}✔, always accepted"),
        (
            PathKind::Tcp,
            "direct, over TCP · trusted\u{a0}✔, always accepted",
        ),
        (
            PathKind::Relay,
            "through a relay · trusted\u{a0}✔, always accepted",
        ),
    ] {
        peer.path = Some(PathInfo {
            kind,
            addr: None,
            rtt: None,
        });
        let stage = Stage::with(vec![peer.clone()], vec![]);
        let line = stage.window.get_by_label(said).rect();
        let row = stage.window.get_by_label("Send to Living-room PC").rect();
        // In two lines, because one would be cut off.
        assert!(
            row.contains_rect(line) && line.height() > 20.0,
            "{line} {row}"
        );
    }
}

#[test]
fn nobody_is_not_said_to_be_here_while_somebody_is_connected() {
    let mut stage = Stage::with(vec![samples::trusted("Kitchen")], vec![]);
    stage.wait(6);
    assert!(!stage.says("Nobody here yet.") && !stage.says("Nearby"));
    stage.publish(samples::overview(vec![samples::peer("Kitchen")], vec![]));
    stage.wait(6);
    assert!(stage.says("Nobody here yet.") && stage.says("Nearby"));
}

#[test]
fn a_device_whose_words_differ_is_blocked_and_the_reason_is_said() {
    let mut kitchen = samples::peer("Kitchen");
    kitchen.connected = true;
    kitchen.words = Some("river copper nine".into());
    let mut stage = Stage::with(vec![kitchen.clone()], vec![]);
    stage.click("They differ: block Kitchen");
    let block = Command::Trust {
        peer: kitchen.id,
        accept: Accept::Block,
    };
    assert_eq!(stage.command(), block);
    assert!(stage.says("Kitchen is blocked. Other words mean that another device"));
    kitchen.record.accept = Accept::Block;
    stage.publish(samples::overview(vec![kitchen], vec![]));
    assert!(stage.find("They match: trust Kitchen").is_none());
}

#[test]
fn a_stranger_nearby_can_be_blocked_and_an_old_version_has_no_menu() {
    let (kitchen, old) = (samples::near("Kitchen"), samples::near_original("Attic"));
    let block = Command::Trust {
        peer: kitchen.key().unwrap(),
        accept: Accept::Block,
    };
    let mut stage = Stage::new(samples::with_nearby(vec![kitchen, old], vec![], vec![]));
    stage.click("More about Kitchen");
    stage.click("Never show its questions");
    assert_eq!(stage.command(), block);
    assert!(stage.find("More about Attic").is_none());
}
