//! Groups of devices, and folders for what single devices send.

use std::sync::Arc;

use egui::{Key, Modifiers, Theme};
use egui_kittest::kittest::Queryable;
use peerconnect::node::api::{Command, GroupRecord, Overview, Reply, Target};
use peerconnect::peer::PeerId;

use super::{Stage, files};
use crate::outside::Picked;
use crate::samples;

fn id(name: &str) -> PeerId {
    PeerId::of_public_key(name.as_bytes())
}

fn group(name: &str, members: &[&str]) -> GroupRecord {
    GroupRecord {
        name: name.into(),
        members: members.iter().map(|name| id(name)).collect(),
    }
}

fn overview(groups: Vec<GroupRecord>) -> Arc<Overview> {
    let peers = vec![
        samples::trusted("Studio"),
        samples::peer("Attic"),
        samples::peer("Kitchen"),
    ];
    let nearby = vec![samples::near_known(&peers[0])];
    let mut overview = samples::with_nearby(nearby, peers, vec![]);
    Arc::make_mut(&mut overview).groups = groups.into();
    overview
}

fn stage(groups: Vec<GroupRecord>) -> Stage {
    Stage::new(overview(groups))
}

#[test]
fn a_group_is_chosen_as_one_and_gets_what_is_sent() {
    let mut stage = stage(vec![group("Band", &["Studio", "Attic"])]);
    let (_dir, paths) = files(&[("song.ogg", 10)]);
    stage.drop_files(&[&paths[0]]);
    assert!(stage.says("2 devices · 1 here now"));
    stage.click("Send to the group Band");
    stage.click("Send to 2 devices");
    let to = vec![Target::Peer(id("Studio")), Target::Peer(id("Attic"))];
    assert_eq!(stage.command(), Command::SendToMany { to, paths });
    stage.click("Send to the group Band");
    stage.click("Send to the group Band");
    assert!(!stage.says("chosen"));
}

#[test]
fn dropping_on_a_group_sends_to_all_of_it() {
    let mut stage = stage(vec![group("Band", &["Studio", "Attic"])]);
    let (_dir, paths) = files(&[("song.ogg", 10)]);
    let band = stage.window.get_by_label("Send to the group Band").rect();
    stage.window.hover_at(band.center());
    stage.window.input_mut().hovered_files = vec![egui::HoveredFile::default()];
    stage.run();
    stage.window.input_mut().hovered_files.clear();
    stage.drop_files(&[&paths[0]]);
    let to = vec![Target::Peer(id("Studio")), Target::Peer(id("Attic"))];
    assert_eq!(stage.command(), Command::SendToMany { to, paths });
}

#[test]
fn chosen_devices_become_a_group() {
    let mut stage = stage(vec![]);
    stage.click("Send to Studio");
    assert!(stage.find("Make a group of these…").is_none());
    stage.click("Send to Kitchen");
    stage.click("Make a group of these…");
    stage.field("Name of the group").type_text("Home");
    stage.run();
    stage.press(Modifiers::NONE, Key::Enter);
    let Command::SetGroup(made) = stage.command() else {
        panic!("no group");
    };
    let mut members = made.members.clone();
    members.sort();
    let mut expected = vec![id("Studio"), id("Kitchen")];
    expected.sort();
    assert_eq!((made.name.as_str(), members), ("Home", expected));
}

#[test]
fn a_group_is_renamed_without_being_lost_and_removed() {
    let mut stage = stage(vec![group("Band", &["Studio", "Attic"])]);
    let rename = |stage: &mut Stage, name: &str| {
        stage.click("More about the group Band");
        stage.click("Rename");
        stage.press(Modifiers::COMMAND, Key::A);
        stage.field("New name of the group").type_text(name);
        stage.run();
        stage.press(Modifiers::NONE, Key::Enter);
    };
    rename(&mut stage, "Choir");
    let new = Command::SetGroup(group("Choir", &["Studio", "Attic"]));
    assert_eq!(stage.command(), new, "the old one stays for now");
    stage.reply(Ok(Reply::Done));
    let gone = Command::SetGroup(group("Band", &[]));
    assert_eq!(stage.command(), gone);
    stage.reply(Ok(Reply::Done));
    rename(&mut stage, "BAND");
    stage.command();
    stage.reply(Ok(Reply::Done));
    assert_eq!(stage.commands(), [], "it took the place of the old one");
    stage.click("More about the group Band");
    stage.click("Remove this group…");
    stage.click("Keep the group Band");
    assert_eq!(stage.commands(), []);
    stage.click("More about the group Band");
    stage.click("Remove this group…");
    assert_eq!(stage.commands(), [], "it is asked first");
    stage.click("Remove the group Band");
    assert_eq!(stage.command(), gone);
}

#[test]
fn what_a_device_sends_gets_a_folder_of_its_own() {
    let mut stage = stage(vec![]);
    let peer = id("Kitchen");
    stage.click("More about Kitchen");
    stage.click("Save its files elsewhere…");
    stage.type_into("Save its files in", "/srv/kitchen");
    stage.press(Modifiers::NONE, Key::Enter);
    let folder = Some("/srv/kitchen".into());
    assert_eq!(stage.command(), Command::SetPeerFolder { peer, folder });
    let (dir, _) = files(&[]);
    stage.dialog_gives(Picked::Paths(vec![dir.path().to_owned()]));
    stage.click("More about Kitchen");
    stage.click("Save its files elsewhere…");
    stage.click("Choose…");
    let folder = Some(dir.path().to_owned());
    assert_eq!(stage.command(), Command::SetPeerFolder { peer, folder });
    let mut with = overview(vec![]);
    let mut peers = with.peers.to_vec();
    peers[2].folder = Some("/srv/kitchen".into());
    Arc::make_mut(&mut with).peers = peers.into();
    stage.publish(with);
    assert!(stage.says("into kitchen"));
    stage.click("More about Kitchen");
    stage.click("Save its files with all others");
    let folder = None;
    assert_eq!(stage.command(), Command::SetPeerFolder { peer, folder });
}

fn draw(size: [f32; 2], theme: Theme, name: &str) {
    let groups = vec![group("Band", &["Studio", "Attic"])];
    let mut overview = overview(groups);
    Arc::make_mut(&mut overview).transfers = vec![samples::sending()].into();
    let mut stage = Stage::sized(overview, size, theme);
    stage.click("Send to the group Band");
    stage.window.remove_cursor();
    stage.run();
    stage.window.snapshot(name);
}

#[test]
fn a_chosen_group() {
    draw([900.0, 580.0], Theme::Light, "group");
}

#[test]
fn a_chosen_group_in_the_dark() {
    draw([900.0, 580.0], Theme::Dark, "group_dark");
}

#[test]
fn the_narrowest_window_three_times_as_sharp() {
    let overview = overview(vec![group("Band", &["Studio", "Attic"])]);
    let mut stage = Stage::scaled(overview, [480.0, 440.0], Theme::Light, 3.0);
    stage.window.snapshot("narrow_3x");
}

#[test]
fn the_narrowest_window() {
    draw([480.0, 600.0], Theme::Light, "narrow");
}

#[test]
fn the_narrowest_window_in_the_dark() {
    draw([480.0, 600.0], Theme::Dark, "narrow_dark");
}
