//! What has the keyboard can be seen, whatever else it is.

use egui::{Color32, Theme};
use egui_kittest::kittest::Queryable;

use super::{Stage, files};
use crate::samples;
use crate::theme::contrast;

/// How the window looks around this control, with the keyboard in it or not.
fn look(stage: &mut Stage, label: &str, focused: bool) -> Vec<Color32> {
    let node = stage.window.get_by_label_contains(label);
    let rect = node.rect();
    if focused {
        node.focus();
    }
    stage.window.remove_cursor();
    stage.run();
    let picture = stage.window.render().unwrap();
    let line = rect.min.x as u32..rect.max.x as u32;
    // Below its upper edge, where the ring is and an outline of one point is not.
    let pixel = |x| {
        let [r, g, b, _] = picture.get_pixel(x, rect.min.y as u32 + 1).0;
        Color32::from_rgb(r, g, b)
    };
    line.map(pixel).collect()
}

#[test]
fn the_keyboard_is_seen_on_primary_buttons_and_on_what_is_chosen() {
    let (_dir, paths) = files(&[("a.txt", 1)]);
    let card = "holiday.mp4, a.pdf and 1 more to Living-room PC: ";
    for theme in [Theme::Light, Theme::Dark] {
        let t = samples::sending();
        let peers = ["Kitchen", "Attic"].map(samples::trusted).into();
        let overview = samples::overview(peers, vec![t.clone()]);
        let mut stage = Stage::sized(overview, [900.0, 700.0], theme);
        stage.drop_files(&[&paths[0]]);
        stage.click("Send to Kitchen");
        stage.click("Send to Attic");
        let app = stage.window.state_mut().app.as_mut().unwrap();
        app.model.selected = Some(t.id);
        stage.run();
        for label in ["Send to 2 devices", "Send to Kitchen", card] {
            let without = look(&mut stage, label, false);
            let with = look(&mut stage, label, true);
            // As WCAG 2.2 asks of what shows the keyboard.
            let plain = |(a, b): &(&Color32, &Color32)| contrast(**a, **b) >= 3.0;
            let ring = without.iter().zip(&with).filter(plain).count();
            assert!(ring * 2 > with.len(), "{label} in {theme:?}: {ring}");
        }
    }
}
