//! The settings page.

use std::sync::Arc;

use egui::{Key, Modifiers, Theme};
use egui_kittest::kittest::Queryable;
use peerconnect::config::{ConflictPolicy, LegacyMode, PassOn, Setting};
use peerconnect::net::relay::{RelayStanding, RelayState};
use peerconnect::node::api::{Command, Overview};
use peerconnect::peer::PeerId;
use peerconnect::protocol::link_uri::RelayHint;

use super::{Stage, files};
use crate::outside::Picked;
use crate::samples;

fn overview(waits: &[&str]) -> Arc<Overview> {
    let mut overview = samples::overview(vec![], vec![]);
    let waits = waits.iter().map(|key| key.to_string());
    let chosen = &mut Arc::make_mut(&mut overview).chosen;
    Arc::make_mut(chosen).after_restart = waits.collect();
    overview
}

fn open(size: [f32; 2], theme: Theme, waits: &[&str]) -> Stage {
    let mut stage = Stage::sized(overview(waits), size, theme);
    stage.click("Settings");
    stage
}

fn set(setting: Setting) -> Command {
    Command::Set(setting)
}

#[test]
fn choices_are_set_at_once_and_what_holds_already_is_not_set_again() {
    let mut stage = open([900.0, 1200.0], Theme::Light, &[]);
    stage.click("When a name is taken: Ask me");
    let ask = Setting::OnConflict(ConflictPolicy::Ask);
    assert_eq!(stage.command(), set(ask));
    stage.click("Help others: Never");
    assert_eq!(stage.command(), set(Setting::PassOn(PassOn::Never)));
    stage.click("Talk to old versions: No");
    assert_eq!(stage.command(), set(Setting::Legacy(LegacyMode::Off)));
    stage.click("Talk to old versions: Yes");
    assert_eq!(stage.commands(), []);
}

fn retype(stage: &mut Stage, label: &str, text: &str) {
    stage.field(label).focus();
    stage.run();
    stage.press(Modifiers::COMMAND, Key::A);
    stage.field(label).type_text(text);
    stage.run();
}

#[test]
fn what_is_typed_is_set_when_it_is_finished_and_escape_takes_it_back() {
    let mut stage = open([900.0, 1200.0], Theme::Light, &[]);
    retype(&mut stage, "Name", "Desk");
    assert_eq!(stage.commands(), [], "not before Enter");
    stage.press(Modifiers::NONE, Key::Enter);
    assert_eq!(stage.command(), set(Setting::Name("Desk".into())));
    retype(&mut stage, "Speed limit", "20M");
    stage.press(Modifiers::NONE, Key::Enter);
    let limit = Setting::RateLimit(Some(20_000_000));
    assert_eq!(stage.command(), set(limit));
    retype(&mut stage, "Name", "Nobody");
    stage.press(Modifiers::NONE, Key::Escape);
    assert_eq!(stage.commands(), []);
    assert!(stage.find("Back to the transfers").is_some());
}

#[test]
fn what_makes_no_sense_is_said_and_stays_to_be_corrected() {
    let mut stage = open([900.0, 1200.0], Theme::Light, &[]);
    for (label, text, said) in [
        ("Name", " ", "A name has one to 128 bytes."),
        ("Download folder", "in", "Type the whole path"),
        ("Speed limit", "fast", "Type bytes per second"),
        ("Port", "70000", "A port is a number"),
    ] {
        retype(&mut stage, label, text);
        stage.press(Modifiers::NONE, Key::Enter);
        assert_eq!(stage.commands(), [], "{label}");
        assert!(stage.says(said), "{label}");
        assert_eq!(stage.field(label).value().as_deref(), Some(text));
    }
}

#[test]
fn the_download_folder_is_chosen_in_a_dialog() {
    let mut stage = open([900.0, 1200.0], Theme::Light, &[]);
    let (dir, _) = files(&[]);
    stage.dialog_gives(Picked::Paths(vec![dir.path().to_owned()]));
    stage.click("Choose the download folder");
    let folder = dir.path().to_owned();
    assert_eq!(stage.command(), set(Setting::Folder(folder)));
}

#[test]
fn what_waits_for_a_restart_says_so_and_only_that() {
    let stage = open([900.0, 1200.0], Theme::Light, &["announce"]);
    let said = "Holds after the next start of PeerConnect.";
    assert_eq!(stage.window.query_all_by_label(said).count(), 1);
}

#[test]
fn colours_and_size_of_the_window_are_chosen() {
    let mut stage = open([900.0, 1600.0], Theme::Light, &[]);
    stage.click("Colours: Dark");
    let ctx = stage.window.ctx.clone();
    assert!(ctx.theme() == Theme::Dark);
    stage.click("Size: 125 %");
    assert_eq!(ctx.zoom_factor(), 1.25);
}

#[test]
fn no_scale_is_offered_that_leaves_too_little_room_on_the_screen() {
    let overview = overview(&[]);
    let mut stage = Stage::on_screen(overview, [1040.0, 680.0], [1280.0, 820.0]);
    stage.click("Settings");
    assert!(stage.find("Size: 200 %").is_some());
    assert!(stage.find("Size: 300 %").is_none());
    let mut stage = Stage::on_screen(self::overview(&[]), [600.0, 2200.0], [1920.0, 1200.0]);
    stage.click("Settings");
    // The window grows where it would be too small.
    stage.window.get_by_label("Size: 200 %").click();
    stage.window.step();
    let output = &stage.window.output().viewport_output;
    let sent = &output[&egui::ViewportId::ROOT].commands;
    let grown = egui::ViewportCommand::InnerSize(egui::vec2(960.0, 2200.0));
    assert!(sent.contains(&grown), "{sent:?}");
}

#[test]
fn escape_and_the_button_lead_back() {
    let mut stage = open([900.0, 600.0], Theme::Light, &[]);
    assert!(stage.find("Transfers").is_none());
    stage.press(Modifiers::NONE, Key::Escape);
    assert!(stage.find("Transfers").is_some());
    stage.press(Modifiers::COMMAND, Key::Comma);
    stage.click("Back to the transfers");
    assert!(stage.find("Transfers").is_some());
}

fn snapshot(mut stage: Stage, name: &str) {
    stage.window.remove_cursor();
    stage.run();
    stage.window.snapshot(name);
}

#[test]
fn the_page_in_the_light() {
    let stage = open([900.0, 1620.0], Theme::Light, &["announce"]);
    snapshot(stage, "settings");
}

#[test]
fn the_page_in_the_dark() {
    let mut stage = open([900.0, 1620.0], Theme::Dark, &[]);
    retype(&mut stage, "Speed limit", "fast");
    stage.press(Modifiers::NONE, Key::Enter);
    snapshot(stage, "settings_dark");
}

#[test]
fn relays_are_pasted_as_links_and_their_standing_is_said() {
    let relay = RelayHint {
        id: PeerId::from_bytes([5; 32]),
        addrs: vec!["203.0.113.10:3487".parse().unwrap()],
    };
    let mut overview = overview(&[]);
    let state = RelayState::Away;
    Arc::make_mut(&mut overview).me.relays = vec![RelayStanding {
        relay: relay.clone(),
        state,
    }];
    let mut stage = Stage::sized(overview, [900.0, 1200.0], Theme::Light);
    stage.click("Settings");
    let away = format!("{} is not reached.", relay.id.short());
    assert!(stage.says(&away), "{away}");
    retype(&mut stage, "Relays", "there");
    stage.press(Modifiers::NONE, Key::Enter);
    assert_eq!(stage.commands(), []);
    assert!(stage.says("Paste one link or two, as a relay prints them."));
    retype(&mut stage, "Relays", &relay.link().to_string());
    stage.press(Modifiers::NONE, Key::Enter);
    assert_eq!(stage.command(), set(Setting::Relays(vec![relay])));
}
