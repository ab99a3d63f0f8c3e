//! What the keys do.

use egui::Ui;

use crate::bidi::AnyScript;
use crate::model::Action;
use crate::page_ui::{head, section};
use crate::theme::{self, Size, Tone};

/// Keys, and what they do.
type Keys = &'static [(&'static str, &'static str)];

const SENDING: Keys = &[
    ("Ctrl+O", "Choose files"),
    ("Ctrl+Shift+O", "Choose a folder"),
    ("Ctrl+V", "Send copied files, a picture or a text"),
    ("Ctrl+Enter", "Send"),
    ("Ctrl+L", "Add a device: a link, an address or a code"),
];

const RECEIVING: Keys = &[
    ("Ctrl+Shift+A", "Accept the first question"),
    ("Ctrl+Shift+D", "Decline it"),
];

const TRANSFERS: Keys = &[
    ("Tab, Shift+Tab", "Go to the next or last control"),
    ("Enter", "Select a transfer, press a button"),
    ("Space", "Pause or resume the transfer"),
    ("Delete", "Cancel it"),
];

const WINDOW: Keys = &[
    ("Ctrl+H", "History"),
    ("Ctrl+F", "Search the history"),
    ("Ctrl+comma", "Settings"),
    ("F1", "These keys"),
    ("Escape", "Back to the transfers"),
    ("Ctrl and + or -", "Larger or smaller"),
    ("Ctrl+Q", "Leave"),
];

/// Width of the keys before what they do.
const WIDTH: f32 = 150.0;

/// The whole page.
pub(crate) fn keys_ui(ui: &mut Ui) -> Vec<Action> {
    let mut actions = Vec::new();
    head(ui, "Keys", &mut actions, |_, _| {});
    for (title, keys) in [
        ("Sending", SENDING),
        ("Receiving", RECEIVING),
        ("Transfers", TRANSFERS),
        ("The window", WINDOW),
    ] {
        section(ui, title, |ui| {
            for (key, what) in keys {
                ui.horizontal(|ui| {
                    ui.allocate_ui(egui::vec2(WIDTH, ui.spacing().interact_size.y), |ui| {
                        ui.set_min_width(WIDTH);
                        ui.label(theme::toned(ui, Tone::Plain, Size::Body, *key));
                    });
                    ui.line(theme::note(ui, Tone::Weak, *what));
                });
            }
        });
    }
    ui.add_space(8.0);
    actions
}
