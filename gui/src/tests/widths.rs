//! Nothing lies on anything else, and nothing leaves the window, however wide it is.

use std::sync::Arc;

use egui::Rect;
use egui::accesskit::Role;
use egui_kittest::kittest::{NodeT, Queryable};
use peerconnect::fault::Fault;
use peerconnect::node::api::{Overview, Reply, TextState};
use peerconnect::transfer::state::TransferState;
use peerconnect::transfer::status::{Limit, TransferSnapshot};

use super::{Stage, files};
use crate::model::Page;
use crate::samples;

const WIDTHS: [f32; 3] = [480.0, 700.0, 900.0];

/// So high that nothing is scrolled away.
const HEIGHT: f32 = 2600.0;

/// As long as a name can be, without a place to break it.
fn long_name() -> String {
    "Wohnzimmer".repeat(13)[..128].to_owned()
}

/// What must be readable or be pressed.
fn counts(role: Role) -> bool {
    use Role::{Button, CheckBox, Label, Link, MultilineTextInput, RadioButton, TextInput};
    matches!(
        role,
        Button | CheckBox | RadioButton | Link | TextInput | MultilineTextInput | Label
    )
}

/// A control with its name and place.
type Control = (Role, String, Rect);

fn controls(stage: &Stage) -> Vec<Control> {
    let all = stage.window.query_all_by(|node| counts(node.role()));
    let named = all.filter_map(|node| {
        let access = node.accesskit_node();
        let name = access.label().or_else(|| access.value())?;
        // Lines of the log are scrolled sideways.
        if name.starts_with("2027-") {
            return None;
        }
        Some((access.role(), name, node.rect()))
    });
    named.collect()
}

/// Whether one of them is a row or a chip that has the other in it.
fn is_within(a: &Control, b: &Control) -> bool {
    let row = |c: &Control| c.0 == Role::CheckBox && c.1.starts_with("Send to ");
    let chip = |(a, b): (&Control, &Control)| b.1 == format!("Do not send {}", a.1);
    let inside = a.2.contains_rect(b.2) || b.2.contains_rect(a.2);
    let known = row(a) != row(b) || chip((a, b)) || chip((b, a));
    inside && known
}

#[track_caller]
fn check(stage: &Stage, what: &str, width: f32) {
    let controls = controls(stage);
    assert!(controls.len() > 3, "{what}: {controls:?}");
    for (place, one) in controls.iter().enumerate() {
        let (_, name, rect) = one;
        let fits = rect.min.x >= -0.5 && rect.max.x <= width + 0.5;
        assert!(
            fits,
            "{what} at {width}: \"{name}\" leaves the window: {rect}"
        );
        for other in &controls[place + 1..] {
            let both = rect.shrink(0.5).intersect(other.2.shrink(0.5));
            assert!(
                !both.is_positive() || is_within(one, other),
                "{what} at {width}: \"{name}\" {rect} lies on \"{}\" {}",
                other.1,
                other.2
            );
        }
    }
}

fn sweep(what: &str, mut draw: impl FnMut([f32; 2]) -> Stage) {
    for width in WIDTHS {
        let stage = draw([width, HEIGHT]);
        check(&stage, what, width);
    }
}

fn stage(overview: Arc<Overview>, size: [f32; 2]) -> Stage {
    Stage::sized(overview, size, egui::Theme::Light)
}

/// With this device, trusted and near, and these transfers.
fn with(name: &str, transfers: Vec<TransferSnapshot>) -> Arc<Overview> {
    let peer = samples::trusted(name);
    samples::with_nearby(vec![samples::near_known(&peer)], vec![peer], transfers)
}

#[test]
fn staged_files_for_one_device_and_for_a_running_transfer() {
    let (_dir, paths) = files(&[("a.txt", 1)]);
    sweep("staged", |size| {
        let t = TransferSnapshot {
            peer_name: long_name(),
            ..samples::sending()
        };
        let id = t.id;
        let mut stage = stage(with(&long_name(), vec![t]), size);
        let folder = paths[0].parent().unwrap();
        stage.drop_files(&[&paths[0], folder]);
        check(&stage, "staged for nobody", size[0]);
        stage.click(&format!("Send to {}", long_name()));
        let app = stage.window.state_mut().app.as_mut().unwrap();
        app.model.selected = Some(id);
        stage.run();
        assert!(stage.says("Add to the transfer to"));
        stage
    });
}

#[test]
fn the_question_whether_to_cancel() {
    sweep("doubt", |size| {
        let t = samples::sending();
        let mut stage = stage(with("Living-room PC", vec![t]), size);
        stage.click("Cancel holiday.mp4, a.pdf and 1 more to Living-room PC");
        assert!(stage.find("Keep going").is_some());
        stage
    });
}

#[test]
fn questions_of_somebody_with_a_long_name() {
    sweep("offer", |size| {
        let t = TransferSnapshot {
            peer_name: long_name(),
            ..samples::asking(2)
        };
        let mut stage = stage(with("Living-room PC", vec![t]), size);
        check(&stage, "offer", size[0]);
        stage.click("Choose another folder");
        assert!(stage.find("Back").is_some());
        stage
    });
}

#[test]
fn questions_about_names_that_are_taken() {
    sweep("conflict", |size| {
        let mut t = samples::conflicting(2);
        let conflict = t.conflict.as_mut().unwrap();
        conflict.path = format!("{}.pdf", "report".repeat(20));
        conflict.keep_both_as = format!("{} (1).pdf", "report".repeat(20));
        stage(with("Living-room PC", vec![t]), size)
    });
}

#[test]
fn the_folder_for_all_that_comes() {
    sweep("folder", |size| {
        let mut stage = stage(with("Living-room PC", vec![]), size);
        stage.click("Change…");
        assert!(stage.find("Leave as it is").is_some());
        stage
    });
}

#[test]
fn codes_and_texts() {
    sweep("code and texts", |size| {
        let mut overview = Arc::unwrap_or_clone(with(&long_name(), vec![]));
        overview.codes = Arc::new([samples::code()]);
        let mut texts = vec![
            samples::text(2, TextState::Delivered),
            samples::text(3, TextState::Asking),
            samples::text_to(4, TextState::Asking),
        ];
        for text in &mut texts {
            text.peer_name = long_name();
        }
        overview.texts = texts.into();
        let mut stage = stage(overview.into(), size);
        stage.commands();
        stage.reply(Ok(Reply::Text("https://example.org/minutes".into())));
        stage.click("Text…");
        stage.click(&format!("Send to {}", long_name()));
        stage
    });
}

#[test]
fn transfers_that_are_over() {
    sweep("over", |size| {
        let failed = TransferSnapshot {
            state: TransferState::Failed,
            fault: Some(Fault::PeerOffline { peer: long_name() }),
            peer_name: long_name(),
            ..samples::numbered(2)
        };
        let done = TransferSnapshot {
            state: TransferState::Completed,
            files_done: 1,
            entries: 1,
            ..samples::receiving(3)
        };
        stage(with("Living-room PC", vec![failed, done]), size)
    });
}

#[test]
fn the_other_pages() {
    for page in [
        Page::History,
        Page::Settings,
        Page::Check,
        Page::About,
        Page::Keys,
    ] {
        sweep(&format!("{page:?}"), |size| {
            let mut stage = stage(with("Living-room PC", vec![]), size);
            let app = stage.window.state_mut().app.as_mut().unwrap();
            app.act(crate::model::Action::Show(page));
            stage.run();
            stage.commands();
            if page == Page::History {
                let records = (1..=5).map(samples::ended).collect();
                stage.reply(Ok(Reply::History(records)));
            }
            stage
        });
    }
}

/// Heights and places of the cards of transfers.
fn cards(stage: &Stage) -> Vec<Rect> {
    let cards = stage.window.query_all_by_role(Role::ListItem);
    cards.map(|card| card.rect()).collect()
}

#[test]
fn the_curve_of_the_speed_takes_no_height_and_moves_nothing() {
    let picture = |state, rate| {
        let t = TransferSnapshot {
            state,
            rate,
            limit: Limit::Unknown,
            ..samples::sending()
        };
        samples::overview(vec![], vec![samples::numbered(2), t])
    };
    let connecting = picture(TransferState::Connecting, 0);
    let stage = Stage::sized(connecting, [1100.0, 900.0], egui::Theme::Light);
    let without = cards(&stage);
    let moving = picture(TransferState::Transferring, 50_000_000);
    let mut stage = Stage::sized(moving, [1100.0, 900.0], egui::Theme::Light);
    assert_eq!(cards(&stage), without);
    for n in 0..12 {
        stage.publish(picture(TransferState::Transferring, 60_000_000 + n));
    }
    assert_eq!(cards(&stage), without);
}

#[test]
fn where_the_devices_are_is_said_as_it_is() {
    for (width, place) in [(480.0, "above"), (900.0, "on the left")] {
        let overview = samples::overview(vec![], vec![]);
        let mut stage = Stage::sized(overview, [width, HEIGHT], egui::Theme::Light);
        let (_dir, paths) = files(&[("a.txt", 1)]);
        stage.drop_files(&[&paths[0]]);
        let said = format!("To whom? Choose a device {place}.");
        assert!(stage.says(&said), "{said}");
    }
}
