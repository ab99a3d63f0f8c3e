//! Names in any script, with the fonts of the system, as the window finds them.

use std::sync::Arc;

use egui::epaint::text::{FallbackRequest, FontProvider};
use egui::{FontFamily, Theme};
use egui_system_font_provider::SystemFontProvider;
use peerconnect::node::api::{Overview, Reply, TextState};
use peerconnect::transfer::status::TransferSnapshot;

use super::Stage;
use crate::samples;

/// Of files: Chinese, one and two words of Arabic, Hebrew in brackets, Persian with a letter that
/// is parted from the one before it, and pictures, one of them made of three.
const NAMES: [&str; 6] = [
    "照片.jpg",
    "تقرير جديد 12.pdf",
    "דוח (סופי) חדש.txt",
    "می\u{200c}خواهم.odt",
    "🎉.txt",
    "👨\u{200d}👩\u{200d}👧.png",
];

/// The fonts of the system, if they have the letters of all names. Where they have not, nothing
/// is tried, which is a failure if PEERCONNECT_TEST_ALL is set.
fn fonts() -> Option<Arc<SystemFontProvider>> {
    let fonts = SystemFontProvider::new();
    let missing = ["照", "ق", "ד", "می"].into_iter().find(|cluster| {
        let family = &FontFamily::Proportional;
        fonts
            .font_for(&FallbackRequest { cluster, family })
            .is_none()
    });
    let Some(missing) = missing else {
        return Some(Arc::new(fonts));
    };
    println!("no font here has {missing}: not tried");
    assert!(
        std::env::var_os("PEERCONNECT_TEST_ALL").is_none(),
        "{missing}"
    );
    None
}

/// A window with these fonts. A letter that none of them has ends the test.
fn stage(overview: Arc<Overview>) -> Option<Stage> {
    let fonts = fonts()?;
    let nothing = samples::overview(vec![], vec![]);
    let mut stage = Stage::sized(nothing, [900.0, 580.0], Theme::Light);
    stage.window.ctx.add_font_provider(fonts);
    stage.run();
    stage.publish(overview);
    Some(stage)
}

fn with_names(mut t: TransferSnapshot) -> TransferSnapshot {
    let top = t.top_names[0].clone();
    let named = |name: &str| {
        let mut top = top.clone();
        (top.name, top.files) = (name.into(), None);
        top
    };
    t.top_names = NAMES.iter().map(|name| named(name)).collect();
    (t.top_count, t.files, t.entries) = (6, 6, 6);
    t.peer_name = "מחשב בסלון 2".into();
    t
}

#[test]
fn names_of_devices_and_of_offered_files_draw_in_every_script() {
    let peers = vec![samples::peer("客厅电脑"), samples::peer("هاتف آنا")];
    let overview = samples::overview(peers, vec![with_names(samples::asking(2))]);
    let Some(mut stage) = stage(overview) else {
        return;
    };
    for name in NAMES {
        assert!(stage.find(&format!("Take {name}")).is_some(), "{name}");
    }
    assert!(stage.says("מחשב בסלון 2 wants to send you 6 files"));
    for device in ["客厅电脑", "هاتف آنا"] {
        assert!(stage.find(device).is_some(), "{device}");
        stage.click(&format!("Send to {device}"));
    }
    stage.click("Accept from מחשב בסלון 2");
}

#[test]
fn what_can_be_done_with_a_device_is_read_as_it_is_written() {
    let device = "هاتف آنا 2";
    let Some(mut stage) = stage(samples::overview(vec![samples::trusted(device)], vec![])) else {
        return;
    };
    stage.click(&format!("More about {device}"));
    stage.click(&format!("Forget {device}…"));
    assert!(stage.find(&format!("Keep {device}")).is_some());
}

#[test]
fn names_of_files_on_their_way_draw_in_every_script() {
    let Some(mut stage) = stage(samples::overview(
        vec![],
        vec![with_names(samples::sending())],
    )) else {
        return;
    };
    let subject = "照片.jpg, تقرير جديد 12.pdf and 4 more to מחשב בסלון 2";
    stage.click(&format!("Show files of {subject}"));
    stage.commands();
    let rows = (0..).zip(NAMES).map(|(index, name)| {
        let mut row = samples::row(index);
        row.path = format!("photos/{name}");
        row
    });
    stage.reply(Ok(Reply::Files(rows.collect())));
    for name in NAMES {
        assert!(stage.find(&format!("photos/{name}")).is_some(), "{name}");
    }
}

#[test]
fn a_text_in_arabic_draws_and_is_read_as_it_was_written() {
    let texts = vec![samples::text(2, TextState::Delivered)];
    let Some(mut stage) = stage(samples::with_texts(vec![], texts)) else {
        return;
    };
    let text = "مرحبا، هذا هو التقرير الجديد (2026) عن البحر. ".repeat(4) + "\nSee you soon";
    stage.commands();
    stage.reply(Ok(Reply::Text(text.clone())));
    assert!(stage.find(&text).is_some());
}
