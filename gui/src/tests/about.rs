//! The page about the program: licences and log.

mod licences;

use egui::Theme;
use egui_kittest::kittest::Queryable;

use super::Stage;
use crate::about_ui::{LICENCES, TEXTS};
use crate::samples;

#[test]
fn lists_are_as_high_as_their_lines_and_end_with_the_last() {
    let mut stage = open(Theme::Light);
    let first = LICENCES.lines().next().unwrap();
    let list = stage.window.get_by_label(first).rect();
    stage.window.hover_at(list.center());
    stage.window.event(egui::Event::MouseWheel {
        unit: egui::MouseWheelUnit::Point,
        delta: egui::vec2(0.0, -100_000.0),
        phase: egui::TouchPhase::Move,
        source: egui::MouseWheelSource::Unknown,
        modifiers: egui::Modifiers::NONE,
    });
    for _ in 0..10 {
        stage.run();
    }
    let last = LICENCES.lines().last().unwrap();
    let bottom = stage.window.get_by_label(last).rect().max.y;
    let list_end = list.min.y + 240.0;
    assert!((list_end - bottom).abs() < 3.0, "{bottom} {list_end}");
}

fn open(theme: Theme) -> Stage {
    let overview = samples::overview(vec![], vec![]);
    let mut stage = Stage::sized(overview, [900.0, 780.0], theme);
    stage.click("Settings");
    stage.click("About and log");
    stage
}

#[test]
fn the_log_is_shown_copied_and_made_safe() {
    let mut stage = open(Theme::Light);
    assert!(stage.says("PeerConnect 0."));
    assert!(stage.says("looking for others\\u{202e}"));
    stage.click("Copy the log");
    assert!(stage.says("Copied."));
    stage.click("Back to the transfers");
    assert!(stage.find("Transfers").is_some());
}

#[test]
fn the_texts_of_licences_are_shown_when_they_are_wanted() {
    let mut stage = open(Theme::Light);
    let first = TEXTS.lines().next().unwrap();
    assert!(stage.find(first).is_none());
    stage.click("Show the texts of the licences");
    assert!(stage.find(first).is_some());
    // As many lines as are in sight, of thousands.
    let lines = stage.window.query_all_by_label_contains("").count();
    assert!(lines < 300 && TEXTS.lines().count() > 1000, "{lines}");
    stage.click("Show the names of what it is built with");
    assert!(stage.find(first).is_none());
}
