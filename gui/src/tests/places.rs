//! What is out of sight is not acted on: pages, rows that are scrolled away, narrow windows.

use egui::{Event, Key, Modifiers};
use egui_kittest::kittest::Queryable;
use peerconnect::node::api::{Command, Target};

use super::{Stage, files};
use crate::model::Page;
use crate::outside::Picked;
use crate::samples;

const OTHERS: [Page; 5] = [
    Page::History,
    Page::Settings,
    Page::Check,
    Page::About,
    Page::Keys,
];

fn app(stage: &mut Stage) -> &mut crate::App {
    stage.window.state_mut().app.as_mut().unwrap()
}

/// A window that shows this page, without what was asked for on the way.
fn on_page(page: Page, size: [f32; 2]) -> Stage {
    let peers = vec![samples::trusted("Kitchen")];
    let overview = samples::overview(peers, vec![samples::sending()]);
    let mut stage = Stage::sized(overview, size, egui::Theme::Light);
    app(&mut stage).model.selected = Some(samples::sending().id);
    app(&mut stage).model.page = page;
    stage.run();
    stage.commands();
    stage.owed.clear();
    stage
}

#[test]
fn files_that_come_to_another_page_lead_to_where_they_are_seen() {
    let (_dir, paths) = files(&[("a.txt", 1)]);
    for page in OTHERS {
        for way in ["drop", "paste", "dialog"] {
            let mut stage = on_page(page, [900.0, 600.0]);
            match way {
                "drop" => stage.drop_files(&[&paths[0]]),
                "paste" => {
                    let uri = format!("file://{}", paths[0].display());
                    stage.window.event(Event::Paste(uri));
                    stage.run();
                }
                _ => {
                    stage.dialog_gives(Picked::Paths(paths.clone()));
                    stage.press(Modifiers::COMMAND, Key::O);
                }
            }
            assert_eq!(
                app(&mut stage).model.page,
                Page::Transfers,
                "{way} {page:?}"
            );
            assert!(stage.find("a.txt").is_some(), "{way} {page:?}");
        }
    }
}

#[test]
fn what_is_chosen_is_not_sent_from_a_page_that_does_not_show_it() {
    let (_dir, paths) = files(&[("a.txt", 1)]);
    for page in OTHERS {
        let mut stage = on_page(Page::Transfers, [900.0, 600.0]);
        stage.drop_files(&[&paths[0]]);
        stage.click("Send to Kitchen");
        app(&mut stage).model.page = page;
        stage.run();
        stage.commands();
        stage.press(Modifiers::COMMAND, Key::Enter);
        assert!(stage.commands().is_empty(), "{page:?}");
        stage.press(Modifiers::COMMAND, Key::Enter);
        assert!(matches!(stage.command(), Command::SendFiles { .. }));
    }
}

#[test]
fn keys_for_a_transfer_do_nothing_on_a_page_that_does_not_show_it() {
    for page in OTHERS {
        let mut stage = on_page(page, [900.0, 600.0]);
        stage.press(Modifiers::NONE, Key::Space);
        stage.press(Modifiers::NONE, Key::Delete);
        assert!(stage.commands().is_empty(), "{page:?}");
        assert!(app(&mut stage).model.doubt.is_none(), "{page:?}");
    }
}

/// Drops a file where the pointer is.
fn drop_at(stage: &mut Stage, position: egui::Pos2, path: &std::path::Path) {
    stage.window.hover_at(position);
    stage.window.input_mut().hovered_files = vec![egui::HoveredFile::default()];
    stage.run();
    stage.window.input_mut().hovered_files.clear();
    stage.drop_files(&[path]);
}

#[test]
fn a_device_that_another_page_covers_is_no_place_to_drop_on() {
    let (_dir, paths) = files(&[("a.txt", 1)]);
    for page in OTHERS {
        let mut stage = on_page(Page::Transfers, [480.0, 600.0]);
        let kitchen = stage.window.get_by_label("Send to Kitchen").rect().center();
        app(&mut stage).model.page = page;
        stage.run();
        stage.commands();
        drop_at(&mut stage, kitchen, &paths[0]);
        assert!(stage.commands().is_empty(), "{page:?}");
    }
}

#[test]
fn dropping_on_one_of_several_chosen_devices_sends_to_all_of_them() {
    let (_dir, paths) = files(&[("a.txt", 1)]);
    let names = ["Attic", "Kitchen", "Phone"];
    let peers: Vec<_> = names.map(samples::trusted).into();
    let ids: Vec<_> = peers.iter().map(|peer| peer.id).collect();
    let mut stage = Stage::with(peers, vec![]);
    stage.click("Send to Attic");
    stage.click("Send to Kitchen");
    let at = |stage: &Stage, name: &str| {
        let label = format!("Send to {name}");
        stage.window.get_by_label(&label).rect().center()
    };
    let phone = at(&stage, "Phone");
    drop_at(&mut stage, phone, &paths[0]);
    let only = |to| Command::SendFiles {
        to: Target::Peer(to),
        paths: paths.clone(),
        separate: false,
    };
    assert_eq!(stage.command(), only(ids[2]), "it is not among them");
    let attic = at(&stage, "Attic");
    drop_at(&mut stage, attic, &paths[0]);
    let to = vec![Target::Peer(ids[0]), Target::Peer(ids[1])];
    let paths = paths.clone();
    assert_eq!(stage.command(), Command::SendToMany { to, paths });
    assert!(!stage.says("chosen"), "as after Send");
}

#[test]
fn a_device_that_is_scrolled_away_is_no_place_to_drop_on() {
    let (_dir, paths) = files(&[("a.txt", 1)]);
    let names: Vec<String> = (0..40).map(|n| format!("Device {n}")).collect();
    let peers = names.iter().map(|name| samples::peer(name)).collect();
    let mut stage = Stage::with(peers, vec![]);
    let below = app(&mut stage).drafts.peers.rows.iter();
    let lowest = below.map(|(_, rect)| rect.max.y).fold(0.0, f32::max);
    let field = stage.field("Add a device").rect();
    assert!(lowest <= field.min.y, "{lowest} {field}");
    drop_at(&mut stage, field.center(), &paths[0]);
    assert!(stage.commands().is_empty());
}
