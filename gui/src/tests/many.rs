//! Files that go to several devices.

use std::sync::Arc;

use egui::{Key, Modifiers};
use egui_kittest::kittest::{NodeT, Queryable};
use peerconnect::fault::Fault;
use peerconnect::node::api::{Again, Command, Reply, Target};
use peerconnect::peer::PeerId;
use peerconnect::protocol::message::{DeclineReason, Scope};
use peerconnect::transfer::state::TransferState;
use peerconnect::transfer::status::{PausedBy, Shortcoming, TransferSnapshot};

use super::{Stage, files};
use crate::samples::{self, SESSION};

const DEVICES: [&str; 3] = ["Kitchen", "Attic", "Anna's phone"];
const SUBJECT: &str = "holiday.mp4, a.pdf and 1 more to 3 devices";

fn button(verb: &str) -> String {
    format!("{verb} {SUBJECT}")
}

fn reject(t: &mut TransferSnapshot) {
    t.state = TransferState::Rejected;
    t.bytes_done = 0;
    t.fault = Some(Fault::Declined {
        peer: t.peer_name.clone(),
        reason: DeclineReason::Person,
    });
}

fn complete(t: &mut TransferSnapshot) {
    t.state = TransferState::Completed;
    t.bytes_done = t.bytes;
    t.files_done = t.files;
}

#[test]
fn several_chosen_devices_get_files_as_one_session() {
    let mut stage = Stage::with(vec![], vec![]);
    let old = samples::near_original("Old laptop");
    let near = vec![samples::near("Kitchen"), old, samples::near("Attic")];
    stage.publish(samples::with_nearby(near, vec![], vec![]));
    let (_dir, paths) = files(&[("a.txt", 1000)]);
    stage.drop_files(&[&paths[0]]);
    stage.click("Send to Kitchen");
    stage.click("Send to Old laptop");
    stage.click("Send to 2 devices");
    let key = PeerId::of_public_key(b"Kitchen");
    let to = vec![
        Target::Peer(key),
        Target::Text("legacy:192.168.1.30/3486".into()),
    ];
    let command = stage.command();
    assert_eq!(
        command,
        Command::SendToMany {
            to,
            paths: paths.clone()
        }
    );
    // What cannot be begun comes back.
    stage.reply(Err(Fault::Invalid { why: "no".into() }));
    assert!(stage.says("a.txt"));
}

#[test]
fn one_card_stands_for_all_devices_and_unfolds_into_them() {
    let mut stage = Stage::new(samples::many(&DEVICES, |n, t| {
        if n == 0 {
            complete(t);
        }
    }));
    assert!(stage.says("1 of 3 devices done · 2.02 GB of 3.60 GB"));
    assert!(!stage.says("Attic"));
    assert!(!stage.says("Clear finished"), "it is one, and not over");
    stage.click(&button("Show devices of"));
    for device in DEVICES {
        assert!(stage.find(device).is_some(), "{device}");
    }
    assert!(stage.says("Delivered to Kitchen"));
    stage.click("Show files of holiday.mp4, a.pdf and 1 more to Attic");
    let Command::Files { transfer, .. } = stage.command() else {
        panic!("no files were asked for");
    };
    assert_eq!(transfer, samples::numbered(2).id);
    stage.reply(Ok(Reply::Files(vec![samples::row(0)])));
    assert!(stage.says("photos/000000.jpg"));
    stage.click(&button("Hide devices of"));
    assert!(!stage.says("photos/000000.jpg") && !stage.says("Delivered to Kitchen"));
}

#[test]
fn all_devices_or_one_can_be_paused_and_given_up() {
    let mut stage = Stage::new(samples::many(&DEVICES, |_, _| {}));
    let (transfer, scope) = (SESSION, Scope::Transfer);
    stage.click(&button("Pause"));
    assert_eq!(stage.command(), Command::Pause { transfer, scope });
    stage.click(&button("Cancel"));
    assert!(stage.commands().is_empty(), "it is asked about first");
    stage.click("Cancel transfer");
    assert_eq!(stage.command(), Command::Cancel { transfer, scope });
    stage.click(&button("Show devices of"));
    stage.click("Pause holiday.mp4, a.pdf and 1 more to Attic");
    let transfer = samples::numbered(2).id;
    assert_eq!(stage.command(), Command::Pause { transfer, scope });

    stage.publish(samples::many(&DEVICES, |_, t| {
        t.state = TransferState::Paused;
        t.paused_by = Some(PausedBy::Us);
    }));
    assert!(stage.says("Paused · 0 of 3 devices done"));
    stage.click(&button("Resume"));
    let transfer = SESSION;
    assert_eq!(stage.command(), Command::Resume { transfer, scope });
    // The keyboard does the same with the selected card.
    let label = format!("{SUBJECT}: Paused · 0 of 3 devices done · 1.24 GB of 3.60 GB");
    let role = egui::accesskit::Role::ListItem;
    let card = stage.window.get_by_role_and_label(role, &label);
    card.focus();
    stage.run();
    stage.press(Modifiers::NONE, Key::Space);
    assert_eq!(stage.command(), Command::Resume { transfer, scope });
}

#[test]
fn who_missed_it_is_named_and_gets_it_again() {
    let mut stage = Stage::new(samples::many(&DEVICES, |n, t| match n {
        1 => reject(t),
        _ => complete(t),
    }));
    assert!(stage.says("Delivered to 2 of 3 devices"));
    assert!(stage.says("Attic declined."));
    stage.click("Send again to 1 device");
    let (transfer, what) = (SESSION, Again::All);
    assert_eq!(stage.command(), Command::SendAgain { transfer, what });
    stage.publish(samples::many(&DEVICES, |_, t| complete(t)));
    assert!(stage.says("Delivered to all 3 devices · 3 files · 3.60 GB"));
    assert!(!stage.says("Send again"));
    stage.publish(samples::many(&DEVICES, |_, t| reject(t)));
    assert!(stage.says("It reached nobody completely."));
}

#[test]
fn files_are_added_for_all_devices() {
    let mut stage = Stage::new(samples::many(&DEVICES, |_, _| {}));
    let card = stage
        .window
        .get_all_by_role(egui::accesskit::Role::ListItem)
        .find(|node| {
            node.accesskit_node()
                .label()
                .unwrap_or_default()
                .starts_with(SUBJECT)
        })
        .unwrap();
    card.click();
    stage.run();
    let (_dir, paths) = files(&[("more.txt", 10)]);
    stage.drop_files(&[&paths[0]]);
    stage.click("Add to the transfer to 3 devices");
    let paths = paths.clone();
    let transfer = SESSION;
    assert_eq!(stage.command(), Command::Attach { transfer, paths });
}

#[test]
fn a_device_that_was_done_with_before_is_still_there() {
    let mut overview = samples::many(&DEVICES, |n, t| {
        if n == 0 {
            complete(t);
        }
    });
    let picture = Arc::make_mut(&mut overview);
    picture.transfers = picture.transfers[1..].to_vec().into();
    let mut stage = Stage::new(overview);
    stage.click(&button("Show devices of"));
    assert!(stage.says("has everything") && stage.find("Kitchen").is_some());
}

#[test]
fn it_is_said_when_the_others_can_do_without_this_computer() {
    let overview = |going_on: usize| {
        samples::many(&DEVICES, |n, t| match n {
            0 => complete(t),
            n => t.passing.goes_on = n <= going_on,
        })
    };
    let mut stage = Stage::new(overview(1));
    let words = "This computer is not needed any more";
    assert!(!stage.says(words), "one still needs it");
    stage.publish(overview(2));
    assert!(stage.says(words));
}

#[test]
fn it_is_said_from_whom_a_device_gets_it_and_who_passed_on_what_it_must_not() {
    let overview = samples::many(&DEVICES, |n, t| match n {
        0 => t.passing.blamed_by = vec!["Attic".into(), "Anna's phone".into()],
        1 => t.passing.through = Some("Kitchen".into()),
        _ => complete(t),
    });
    let mut stage = Stage::with(vec![], vec![]);
    stage.publish(overview);
    stage.click(&format!("Show devices of {SUBJECT}"));
    for text in [
        "through Kitchen, encrypted",
        "passed on damaged data, say Attic, Anna's phone; nothing of it was kept",
    ] {
        assert!(stage.says(text), "{text}");
    }
    let direct = stage
        .window
        .query_all_by_label_contains("direct, encrypted");
    assert_eq!(direct.count(), 1, "one gets it from another device");
}

#[test]
fn it_is_said_who_does_not_pass_on_and_whom_the_others_cannot_reach() {
    let devices = ["Kitchen", "Attic", "Cellar", "Hall", "Office"];
    let overview = samples::many(&devices, |n, t| match n {
        0 => t.passing.shortcoming = Some(Shortcoming::Withholds),
        1 => t.passing.shortcoming = Some(Shortcoming::OutOfReach),
        2 => t.passing.shortcoming = Some(Shortcoming::Denies),
        3 => t.passing.shortcoming = Some(Shortcoming::Doubted),
        _ => complete(t),
    });
    let mut stage = Stage::with(vec![], vec![]);
    stage.publish(overview);
    let subject = SUBJECT.replace("3 devices", "5 devices");
    stage.click(&format!("Show devices of {subject}"));
    for text in [
        "does not pass on what it has; the others get it elsewhere",
        "the others cannot reach it; they get it elsewhere",
        "no longer has it, say the others; they get it elsewhere",
        "one of the others says that it got nothing from it",
    ] {
        assert!(stage.says(text), "{text}");
    }
}

#[test]
fn a_receiver_is_told_who_gave_it_wrong_data() {
    let mut t = samples::receiving(2);
    t.passing.liars = vec!["Attic".into()];
    let mut stage = Stage::with(vec![], vec![]);
    let words = "Attic gave wrong data; nothing of it was kept";
    assert!(!stage.says(words));
    stage.publish(samples::overview(vec![], vec![t]));
    assert!(stage.says(words));
}

#[test]
fn who_has_declined_is_not_said_to_be_incomplete_only() {
    let overview = samples::many(&DEVICES, |n, t| match n {
        0 => complete(t),
        1 => t.state = TransferState::Rejected,
        _ => t.state = TransferState::Failed,
    });
    let stage = Stage::new(overview);
    let said = format!("{} declined. Not complete: {}.", DEVICES[1], DEVICES[2]);
    assert!(stage.says(&said), "{said}");
}
