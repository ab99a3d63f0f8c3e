//! What the window is opened with, and the desktop's menu that opens it.

use egui::accesskit::Toggled;
use egui_kittest::kittest::{NodeT, Queryable};
use peerconnect::node::api::{Command, Target};

use super::{Stage, files};
use crate::menu::{Entries, Entry, MenuChange};
use crate::opened::Opened;

fn open(stage: &mut Stage, opened: Opened) {
    let app = stage.window.state_mut().app.as_mut().unwrap();
    app.open_with(opened);
    stage.run();
}

#[test]
fn a_link_that_was_opened_is_used_only_when_the_person_says_so() {
    let mut stage = Stage::with(vec![], vec![]);
    let link = "peerconnect:k7f3qa2x?a=192.168.1.7:3485";
    let opened = Opened {
        link: Some(link.into()),
        ..Opened::default()
    };
    open(&mut stage, opened);
    assert!(stage.commands().is_empty());
    assert!(stage.says("A link was opened."));
    stage.click("Add");
    let to = Target::Text(link.into());
    assert_eq!(stage.command(), Command::AddPeer(to));
}

#[test]
fn files_that_were_opened_are_staged_and_not_sent() {
    let mut stage = Stage::with(vec![], vec![]);
    let (_dir, mut paths) = files(&[("a.txt", 1000)]);
    paths.push("/nowhere/at/all".into());
    let opened = Opened {
        paths,
        left_out: 2,
        ..Opened::default()
    };
    open(&mut stage, opened);
    assert!(stage.says("a.txt"));
    assert!(stage.says("\"/nowhere/at/all\" is not there"));
    assert!(stage.says("2 files could not be taken over."));
    assert!(stage.commands().is_empty());
}

#[test]
#[cfg(target_os = "linux")]
fn we_get_into_the_menu_of_the_desktop_and_out_again() {
    let mut stage = Stage::sized(
        crate::samples::overview(vec![], vec![]),
        [900.0, 2400.0],
        egui::Theme::Light,
    );
    stage.click("Settings");
    stage.click("In the applications menu: No");
    assert!(stage.says("not in the applications menu any more"));
    stage.click("In the applications menu: Yes");
    assert!(stage.says("PeerConnect is in the applications menu."));
    stage.click("Start with the computer: Yes");
    assert!(stage.says("starts with the computer from the next time on"));
    stage.click("Start with the computer: No");
    assert!(stage.says("does not start with the computer any more"));
    let changed = stage.changed.lock().unwrap().clone();
    use MenuChange::{Add, Remove, Start, StartNoMore};
    assert_eq!(changed, [Remove, Add, Start, StartNoMore]);
}

#[test]
fn the_settings_show_what_the_desktop_knows_now() {
    let size = [900.0, 2400.0];
    let overview = crate::samples::overview(vec![], vec![]);
    let mut stage = Stage::sized(overview, size, egui::Theme::Light);
    let chosen = |stage: &Stage, label: &str| {
        let option = stage.window.get_by_label(label);
        option.accesskit_node().toggled() == Some(Toggled::True)
    };
    stage.click("Settings");
    assert!(chosen(&stage, "In the applications menu: Yes"));
    assert!(chosen(&stage, "Start with the computer: No"));
    stage.click("Start with the computer: Yes");
    assert!(chosen(&stage, "Start with the computer: Yes"));
    // It is looked at anew whenever the page is opened.
    stage.click("Back to the transfers");
    *stage.entries.lock().unwrap() = Some(Entries {
        menu: Entry::Another,
        start: Entry::Missing,
    });
    stage.click("Settings");
    assert!(chosen(&stage, "Start with the computer: No"));
    assert!(!chosen(&stage, "In the applications menu: Yes"));
    assert!(stage.says("There is an entry for another copy of this program."));
}

#[test]
fn what_runs_without_the_window_can_be_ended_from_it() {
    let mut overview = (*crate::samples::overview(vec![], vec![])).clone();
    let size = [900.0, 2400.0];
    let mut stage = Stage::sized(overview.clone().into(), size, egui::Theme::Light);
    stage.click("Settings");
    assert!(!stage.says("Runs in the background"));
    overview.me.pid += 1;
    let mut stage = Stage::sized(overview.into(), size, egui::Theme::Light);
    stage.click("Settings");
    stage.click("End it");
    assert_eq!(stage.command(), Command::Shutdown);
}
