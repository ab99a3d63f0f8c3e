//! The page about the program: licences and log.

use std::collections::{BTreeMap, BTreeSet};

use egui::Theme;
use egui_kittest::kittest::Queryable;

use super::Stage;
use crate::about_ui::LICENCES;
use crate::samples;

const LOCK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.lock");

/// Packages of others in the lock file.
fn locked() -> BTreeSet<String> {
    let lock: toml::Table = std::fs::read_to_string(LOCK).unwrap().parse().unwrap();
    let packages = lock["package"].as_array().unwrap().iter();
    let others = packages.filter(|package| package.get("source").is_some());
    let names = others.map(|package| package["name"].as_str().unwrap().to_owned());
    names.collect()
}

/// Writes the list anew, from what the packages say of themselves.
fn renew() {
    let cargo = std::env::var_os("CARGO").unwrap();
    let output = std::process::Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--locked"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let all: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut licences: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for package in all["packages"].as_array().unwrap() {
        let name = package["name"].as_str().unwrap();
        let licence = package["license"].as_str().unwrap_or("see its own file");
        let entry = licences.entry(name.to_owned()).or_default();
        entry.insert(licence.replace('/', " OR ").replace("  ", " "));
    }
    let mut text = String::new();
    for name in locked() {
        let licences = licences.get(&name).into_iter().flatten().cloned();
        let licences: Vec<String> = licences.collect();
        text.push_str(&format!("{name}: {}\n", licences.join("; ")));
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/licences.txt");
    std::fs::write(path, text).unwrap();
}

#[test]
fn every_package_that_is_built_in_is_listed_with_its_licence() {
    if std::env::var_os("UPDATE_LICENCES").is_some() {
        return renew();
    }
    let listed = LICENCES.lines().map(|line| line.split_once(": ").unwrap());
    let listed: BTreeMap<&str, &str> = listed.collect();
    let locked = locked();
    let locked: BTreeSet<&str> = locked.iter().map(String::as_str).collect();
    let names: BTreeSet<&str> = listed.keys().copied().collect();
    let missing: Vec<_> = locked.difference(&names).collect();
    let gone: Vec<_> = names.difference(&locked).collect();
    assert!(
        missing.is_empty() && gone.is_empty(),
        "missing: {missing:?}, gone: {gone:?}; \
         UPDATE_LICENCES=true cargo test --workspace --lib -- tests::about writes the list anew"
    );
    for (name, licence) in listed {
        assert!(!licence.is_empty(), "{name}");
    }
}

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
    let mut stage = Stage::sized(overview, [900.0, 720.0], theme);
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
