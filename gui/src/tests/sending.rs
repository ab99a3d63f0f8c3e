//! Own link, devices, choosing files and sending them.

use std::path::PathBuf;
use std::sync::Arc;

use egui::{Event, Key, Modifiers, OutputCommand};
use egui_kittest::kittest::{NodeT, Queryable};
use peerconnect::config::Setting;
use peerconnect::fault::{CodeTrouble, Fault};
use peerconnect::node::api::{CodeCommand, Command, PeerInfo, Presence, Reply, Taking, Target};
use peerconnect::peer::PeerId;
use peerconnect::protocol::message::TransferId;
use peerconnect::storage::store::Accept;

use super::{Stage, files};
use crate::drops::Drops;
use crate::outside::Picked;
use crate::samples;

fn send(peer: &str, paths: &[PathBuf]) -> Command {
    Command::SendFiles {
        to: Target::Peer(PeerId::of_public_key(peer.as_bytes())),
        paths: paths.to_vec(),
        separate: false,
    }
}

const DONE: Result<Reply, Fault> = Ok(Reply::Transfer {
    id: TransferId([9; 16]),
    attached: false,
});

#[test]
fn the_window_says_who_we_are_and_gives_our_link() {
    let mut stage = Stage::with(vec![], vec![]);
    assert!(stage.find("You are Office Laptop").is_some());
    stage.window.get_by_label("Copy my link").click();
    stage.window.step();
    let copied = |stage: &Stage| {
        let commands = &stage.window.output().platform_output.commands;
        commands.contains(&OutputCommand::CopyText(samples::me().link))
    };
    assert!(copied(&stage));
    stage.click("Show QR code");
    assert!(stage.find("QR code of my link").is_some());
    assert!(stage.says(&samples::me().link));
    stage.click("Close");
    assert!(stage.find("QR code of my link").is_none());
}

#[test]
fn an_empty_list_of_devices_says_what_to_do() {
    let mut stage = Stage::with(vec![], vec![]);
    assert!(stage.says("Looking for devices in this network…"));
    assert!(!stage.says("Nobody here yet."));
    stage.wait(6);
    assert!(stage.says("Nobody here yet."));
    for fact in [
        "✔ network up (192.168.1.7)",
        "✔ listening (UDP port 3485)",
        "✖ no other PeerConnect heard",
        "Is PeerConnect open on the other computer?",
    ] {
        assert!(stage.says(fact), "{fact}");
    }
    stage.publish(samples::with_nearby(
        vec![samples::near("Kitchen")],
        vec![],
        vec![],
    ));
    assert!(!stage.says("Nobody here yet."));
    stage.publish(samples::overview(vec![], vec![]));
    assert!(
        stage.says("Looking for devices"),
        "the patience begins anew"
    );
}

#[test]
fn where_others_are_not_looked_for_that_is_said() {
    let mut overview = samples::overview(vec![], vec![]);
    Arc::make_mut(&mut overview).presence = Presence::Off;
    let stage = Stage::new(overview);
    assert!(stage.says("switched off in the settings"));
    assert!(!stage.says("Looking for"));
}

#[test]
fn devices_nearby_show_by_themselves_and_files_dropped_on_them_are_sent() {
    let mut stage = Stage::with(vec![], vec![]);
    let kitchen = samples::near("Kitchen");
    stage.publish(samples::with_nearby(vec![kitchen], vec![], vec![]));
    assert!(stage.says("Nearby") && stage.says("here now · new"));
    let (_dir, paths) = files(&[("a.txt", 1000)]);
    let row = stage.window.get_by_label("Send to Kitchen").rect().center();
    hang_over(&mut stage, row);
    stage.drop_files(&[&paths[0]]);
    assert_eq!(stage.command(), send("Kitchen", &paths));
    stage.drop_files(&[&paths[0]]);
    stage.click("Send to Kitchen");
    stage.press(Modifiers::COMMAND, Key::Enter);
    assert_eq!(stage.command(), send("Kitchen", &paths));
}

#[test]
fn an_old_version_nearby_is_marked_and_is_sent_to_by_its_address() {
    let mut stage = Stage::with(vec![], vec![]);
    let old = samples::near_original("Old laptop");
    stage.publish(samples::with_nearby(vec![old], vec![], vec![]));
    assert!(stage.says("not encrypted (old version)") && !stage.says("here now"));
    let (_dir, paths) = files(&[("a.txt", 1000)]);
    stage.drop_files(&[&paths[0]]);
    stage.click("Send to Old laptop");
    stage.press(Modifiers::COMMAND, Key::Enter);
    let to = Target::Text("legacy:192.168.1.30/3486".into());
    let paths = paths.clone();
    let separate = false;
    assert_eq!(
        stage.command(),
        Command::SendFiles {
            to,
            paths,
            separate
        }
    );
}

#[test]
fn a_device_that_is_near_and_known_is_one_row_and_one_that_goes_moves_to_the_others() {
    let laptop = samples::trusted("Laptop");
    let near = samples::near_known(&laptop);
    let mut stage = Stage::new(samples::with_nearby(
        vec![near],
        vec![laptop.clone()],
        vec![],
    ));
    let rows = |stage: &Stage| stage.window.query_all_by_label("Send to Laptop").count();
    assert_eq!(rows(&stage), 1);
    assert!(!stage.says("Seen before"));
    stage.click("Send to Laptop");
    stage.publish(samples::overview(vec![laptop.clone()], vec![]));
    assert_eq!(rows(&stage), 1);
    assert!(stage.find("Connected").is_some() && !stage.says("Seen before"));
    let gone = PeerInfo {
        connected: false,
        ..laptop
    };
    stage.publish(samples::overview(vec![gone], vec![]));
    assert_eq!(rows(&stage), 1);
    assert!(stage.find("Connected").is_none());
    assert!(stage.says("Seen before") && stage.says("1 chosen"));
    stage.publish(samples::overview(vec![], vec![]));
    assert_eq!(rows(&stage), 0);
    assert!(!stage.says("1 chosen"));
}

#[test]
fn an_open_menu_stays_with_its_device_when_others_appear() {
    let kitchen = samples::peer("Kitchen");
    let peer = kitchen.id;
    let mut stage = Stage::with(vec![kitchen.clone()], vec![]);
    stage.click("More about Kitchen");
    let laptop = samples::trusted("Laptop");
    let near = vec![samples::near_known(&laptop), samples::near("Attic")];
    stage.publish(samples::with_nearby(near, vec![laptop, kitchen], vec![]));
    stage.click("Forget Kitchen…");
    stage.click("Forget Kitchen");
    assert_eq!(stage.command(), Command::Forget(peer));
}

#[test]
fn two_devices_of_one_name_are_told_apart_by_their_keys() {
    let (mut one, mut two) = (samples::near("one"), samples::near("two"));
    (one.name, two.name) = ("Twin".into(), "twin".into());
    let ids = [one.key().unwrap().short(), two.key().unwrap().short()];
    let stage = Stage::new(samples::with_nearby(vec![one, two], vec![], vec![]));
    for id in ids {
        assert!(stage.says(&format!("here now · new · {id}")), "{id}");
    }
}

#[test]
fn a_device_is_added_by_link_and_chosen_when_it_is_found() {
    let mut stage = Stage::with(vec![], vec![]);
    assert!(
        stage
            .window
            .get_by_label("Add")
            .accesskit_node()
            .is_disabled()
    );
    stage.type_into("Add a device", "peerconnect:abc");
    stage.click("Add");
    let text = Target::Text("peerconnect:abc".into());
    assert_eq!(stage.command(), Command::AddPeer(text));
    assert!(stage.find("Looking…").is_some());
    let kitchen = samples::peer("Kitchen");
    stage.publish(samples::overview(vec![kitchen.clone()], vec![]));
    stage.reply(Ok(Reply::Peer(kitchen.id)));
    assert!(stage.says("1 chosen"));
}

/// A window where a code was typed and answered so.
fn after_code(answer: Result<Reply, Fault>) -> Stage {
    let mut stage = Stage::with(vec![], vec![]);
    stage.type_into("Add a device", "7 river copper");
    stage.press(Modifiers::NONE, Key::Enter);
    let typed = CodeCommand::Receive {
        code: "7 river copper".into(),
        taking: Taking::AsSet,
    };
    assert_eq!(stage.command(), Command::Code(typed));
    assert!(stage.find("Looking…").is_some());
    stage.reply(answer);
    assert!(stage.find("Looking…").is_none());
    stage
}

#[test]
fn a_code_that_was_read_out_is_typed_where_a_device_is_added() {
    let right = after_code(Ok(Reply::Agreed {
        peer: samples::peer("Kitchen").id,
        transfer: samples::sending().id,
    }));
    assert!(right.says("The code is right"));
    assert_eq!(right.field("Add a device").value().unwrap_or_default(), "");
    let trouble = CodeTrouble::Wrong;
    let wrong = after_code(Err(Fault::Code { trouble }));
    assert!(wrong.says("This code isn't valid any more."));
    let kept = wrong.field("Add a device").value();
    assert_eq!(kept.as_deref(), Some("7 river copper"));
}

#[test]
fn a_device_that_is_not_found_is_said_in_words() {
    let mut stage = Stage::with(vec![], vec![]);
    stage.type_into("Add a device", "10.0.0.9:3485");
    stage.press(Modifiers::NONE, Key::Enter);
    stage.command();
    stage.reply(Err(Fault::PeerOffline {
        peer: "10.0.0.9:3485".into(),
    }));
    assert!(stage.says("10.0.0.9:3485 is not reachable."));
    assert!(stage.says("Ask its owner to open PeerConnect"));
    stage.click("Close this message");
    assert!(!stage.says("is not reachable."));
}

#[test]
fn dropped_files_are_sent_to_the_chosen_device() {
    let mut stage = Stage::with(
        vec![samples::trusted("Kitchen"), samples::peer("Phone")],
        vec![],
    );
    let (_dir, paths) = files(&[("a.txt", 1000), ("b & é 100%.txt", 2000)]);
    stage.drop_files(&[&paths[0], &paths[1]]);
    assert!(stage.says("2 files · 3.00 kB"));
    let send_button = stage.window.get_by_label("Send");
    assert!(send_button.accesskit_node().is_disabled());
    stage.click("Send to Kitchen");
    stage.press(Modifiers::COMMAND, Key::Enter);
    assert_eq!(stage.command(), send("Kitchen", &paths));
    stage.reply(DONE);
    assert!(stage.says("Drop files here to send them"));
}

#[test]
fn files_come_back_when_they_cannot_be_sent() {
    let mut stage = Stage::with(vec![samples::trusted("Kitchen")], vec![]);
    let (_dir, paths) = files(&[("a.txt", 1000)]);
    stage.drop_files(&[&paths[0]]);
    stage.click("Send to Kitchen");
    stage.press(Modifiers::COMMAND, Key::Enter);
    assert_eq!(stage.command(), send("Kitchen", &paths));
    assert!(!stage.says("a.txt"));
    stage.reply(Err(Fault::no_route("Kitchen".into())));
    assert!(stage.says("No way found to Kitchen."));
    assert!(stage.says("a.txt"));
}

#[test]
fn a_typed_path_is_added_and_a_wrong_one_is_said() {
    let mut stage = Stage::with(vec![], vec![]);
    let (dir, paths) = files(&[("a.txt", 1000)]);
    stage.type_into("or a path", &paths[0].to_string_lossy());
    stage.click("Add the path");
    assert!(stage.says("1 file · 1.00 kB"));
    stage.type_into("or a path", "not/whole");
    stage.click("Add the path");
    assert!(stage.says("Type the whole path"));
    let missing = dir.path().join("missing");
    let mut other = Stage::with(vec![], vec![]);
    other.type_into("or a path", &missing.to_string_lossy());
    other.press(Modifiers::NONE, Key::Enter);
    assert!(other.says("is not there"));
}

#[test]
fn files_are_chosen_in_a_dialog_and_taken_out_again() {
    let mut stage = Stage::with(vec![], vec![]);
    let (dir, paths) = files(&[("a.txt", 1000)]);
    stage.dialog_gives(Picked::Paths(paths));
    stage.press(Modifiers::COMMAND, Key::O);
    stage.dialog_gives(Picked::Paths(vec![dir.path().to_owned()]));
    stage.press(Modifiers::COMMAND.plus(Modifiers::SHIFT), Key::O);
    assert!(stage.says("1 file · 1.00 kB · 1 folder"));
    stage.click("Do not send a.txt");
    assert!(!stage.says("a.txt"));
    stage.click("Clear");
    assert!(stage.says("Drop files here"));
}

#[test]
fn a_system_without_dialogs_says_so() {
    let mut stage = Stage::with(vec![], vec![]);
    stage.dialog_gives(Picked::NoDialog);
    stage.click("Files…");
    assert!(stage.says("No file dialog on this system. Type a path below, or drop files"));
}

#[test]
fn pasted_paths_are_staged_and_a_pasted_link_is_connected_to() {
    let mut stage = Stage::with(vec![], vec![]);
    let (_dir, paths) = files(&[("a b.txt", 1000), ("c.txt", 1)]);
    let uri = paths[0].to_string_lossy().replace(' ', "%20");
    let text = format!("file://{uri}\n{}\n", paths[1].to_string_lossy());
    stage.window.event(Event::Paste(text));
    stage.run();
    assert!(stage.says("2 files"));
    stage
        .window
        .event(Event::Paste(" PEERCONNECT:ABC\n".into()));
    stage.run();
    let text = Target::Text("PEERCONNECT:ABC".into());
    assert_eq!(stage.command(), Command::AddPeer(text));
    stage.window.event(Event::Paste("hello".into()));
    stage.run();
    let field = stage.field("Text to send");
    assert_eq!(field.value().as_deref(), Some("hello"));
}

#[test]
fn a_device_is_trusted_after_the_words_were_compared() {
    let mut kitchen = samples::peer("Kitchen");
    kitchen.connected = true;
    kitchen.words = Some("river copper nine".into());
    let mut stage = Stage::with(vec![kitchen.clone()], vec![]);
    assert!(stage.says("New device: both screens show river\u{a0}·\u{a0}copper\u{a0}·\u{a0}nine"));
    stage.click("They match: trust Kitchen");
    let trust = Command::Trust {
        peer: kitchen.id,
        accept: Accept::Ask,
    };
    assert_eq!(stage.command(), trust);
}

#[test]
fn a_device_is_renamed_blocked_and_forgotten_in_its_menu() {
    let kitchen = samples::peer("Kitchen");
    let peer = kitchen.id;
    let mut stage = Stage::with(vec![kitchen], vec![]);
    stage.click("More about Kitchen");
    stage.click("Forget Kitchen…");
    assert!(stage.commands().is_empty(), "it is asked first");
    stage.click("Keep Kitchen");
    assert!(stage.find("Forget Kitchen").is_none());
    stage.click("More about Kitchen");
    stage.click("Forget Kitchen…");
    stage.click("Forget Kitchen");
    assert_eq!(stage.command(), Command::Forget(peer));
    assert!(stage.find("Forget Kitchen").is_none());
    stage.click("More about Kitchen");
    stage.click("Never show its questions");
    let accept = Accept::Block;
    assert_eq!(stage.command(), Command::Trust { peer, accept });
    stage.click("More about Kitchen");
    stage.click("Rename");
    stage.press(Modifiers::COMMAND, Key::A);
    stage.window.get_by_label("New name").type_text("Cellar");
    stage.run();
    stage.press(Modifiers::NONE, Key::Enter);
    let name = "Cellar".into();
    assert_eq!(stage.command(), Command::Rename { peer, name });
}

#[test]
fn the_folder_for_received_files_is_changed() {
    let mut stage = Stage::with(vec![], vec![]);
    stage.click("Change…");
    let (dir, _) = files(&[]);
    stage.dialog_gives(Picked::Paths(vec![dir.path().to_owned()]));
    stage.click("Choose…");
    stage.click("Save here");
    let folder = dir.path().to_owned();
    assert_eq!(stage.command(), Command::Set(Setting::Folder(folder)));
}

#[test]
fn a_folder_that_is_typed_is_saved_with_enter() {
    let mut stage = Stage::with(vec![], vec![]);
    stage.click("Change…");
    stage.field("Save received files in").focus();
    stage.run();
    stage.press(Modifiers::COMMAND, Key::A);
    stage.field("Save received files in").type_text("/srv/in");
    stage.run();
    stage.press(Modifiers::NONE, Key::Enter);
    let folder = "/srv/in".into();
    assert_eq!(stage.command(), Command::Set(Setting::Folder(folder)));
    assert!(stage.find("Save here").is_none());
}

fn hang_over(stage: &mut Stage, position: egui::Pos2) {
    stage.window.hover_at(position);
    stage.window.input_mut().hovered_files = vec![egui::HoveredFile::default()];
    stage.run();
    stage.window.input_mut().hovered_files.clear();
}

#[test]
fn dropping_on_a_device_sends_and_dropping_on_a_running_transfer_attaches() {
    let t = samples::sending();
    let mut stage = Stage::with(vec![samples::trusted("Kitchen")], vec![t.clone()]);
    let (_dir, paths) = files(&[("a.txt", 1000)]);
    let kitchen = stage.window.get_by_label("Send to Kitchen").rect().center();
    hang_over(&mut stage, kitchen);
    stage.drop_files(&[&paths[0]]);
    assert_eq!(stage.command(), send("Kitchen", &paths));
    let card = "holiday.mp4, a.pdf and 1 more to Living-room PC: ";
    let card = stage.window.get_by_label_contains(card).rect().center();
    hang_over(&mut stage, card);
    stage.drop_files(&[&paths[0]]);
    let transfer = t.id;
    assert_eq!(stage.command(), Command::Attach { transfer, paths });
}

#[test]
fn where_files_hang_is_asked_for_where_nobody_says_it() {
    let peers = vec![samples::trusted("Kitchen")];
    let theme = egui::Theme::Dark;
    let mut stage = Stage::scaled(samples::overview(peers, vec![]), [900.0, 600.0], theme, 2.0);
    let (_dir, paths) = files(&[("a.txt", 1000)]);
    let kitchen = stage.window.get_by_label("Send to Kitchen").rect().center();
    // In pixels of the screen, of which there are two to each of the window's points.
    let pixels = (kitchen.to_vec2() * 2.0).to_pos2();
    let app = stage.window.state_mut().app.as_mut().unwrap();
    app.outside.drops = Drops::Under(Arc::new(move || Some(pixels)));
    stage.window.remove_cursor();
    stage.window.input_mut().hovered_files = vec![egui::HoveredFile::default()];
    stage.run();
    stage.window.input_mut().hovered_files.clear();
    stage.drop_files(&[&paths[0]]);
    assert_eq!(stage.command(), send("Kitchen", &paths));
}

#[test]
fn a_drop_does_what_was_said_and_not_what_lies_under_the_pointer_afterwards() {
    let mut stage = Stage::with(vec![samples::trusted("Kitchen")], vec![]);
    let (_dir, paths) = files(&[("a.txt", 1000)]);
    stage.window.remove_cursor();
    stage.window.input_mut().hovered_files = vec![egui::HoveredFile::default()];
    stage.run();
    stage.window.input_mut().hovered_files.clear();
    let kitchen = stage.window.get_by_label("Send to Kitchen").rect().center();
    stage
        .window
        .input_mut()
        .events
        .push(Event::PointerMoved(kitchen));
    stage.drop_files(&[&paths[0]]);
    assert!(stage.commands().is_empty());
    assert!(stage.says("1 file"));
}

#[test]
fn without_a_position_a_drop_is_staged_and_can_be_added_to_the_selected_transfer() {
    let t = samples::sending();
    let mut stage = Stage::with(vec![], vec![t.clone()]);
    let card = "holiday.mp4, a.pdf and 1 more to Living-room PC: ";
    stage.window.get_by_label_contains(card).click();
    stage.run();
    stage.window.remove_cursor();
    let (_dir, paths) = files(&[("a.txt", 1000)]);
    stage.drop_files(&[&paths[0]]);
    assert!(stage.commands().is_empty());
    stage.click("Add to the transfer to Living-room PC");
    let transfer = t.id;
    assert_eq!(stage.command(), Command::Attach { transfer, paths });
}
