//! Lines of words and buttons that fit into every width: where both have no room beside each
//! other, the buttons stand below the words.

use egui::{Align, Key, Layout, TextEdit, Ui};

use crate::bidi::AnyScript;
use crate::theme::{self, Tone};

/// Words at the left, buttons at the right, the most important first; in less than `least`
/// points, the buttons are below.
pub(crate) fn words_and_buttons(
    ui: &mut Ui,
    least: f32,
    words: impl FnOnce(&mut Ui),
    buttons: impl FnOnce(&mut Ui),
) {
    if ui.available_width() < least {
        words(ui);
        buttons_at_right(ui, buttons);
        return;
    }
    ui.horizontal(|ui| {
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            buttons(ui);
            ui.with_layout(Layout::left_to_right(Align::Center), words);
        });
    });
}

/// Buttons from the right, the most important first, in as many lines as they need.
pub(crate) fn buttons_at_right(ui: &mut Ui, buttons: impl FnOnce(&mut Ui)) {
    let size = egui::vec2(ui.available_width(), ui.spacing().interact_size.y);
    let layout = Layout::right_to_left(Align::Center).with_main_wrap(true);
    ui.allocate_ui_with_layout(size, layout, buttons);
}

/// A field for one line with its name before it and buttons behind it, which take `room` points;
/// where little is left for it, it has a line of its own. Whether Enter was pressed in it.
pub(crate) fn field_and_buttons(
    ui: &mut Ui,
    (name, text): (&str, &mut String),
    room: f32,
    buttons: impl FnOnce(&mut Ui),
) -> bool {
    const LEAST: f32 = 240.0;
    const NAME: f32 = 160.0;
    let name = theme::note(ui, Tone::Weak, name);
    let mut field = |ui: &mut Ui, label, width| {
        let field = TextEdit::singleline(text).desired_width(width);
        let field = ui.add(field).labelled_by(label);
        field.lost_focus() && ui.input(|i| i.key_pressed(Key::Enter))
    };
    if ui.available_width() < NAME + LEAST + room {
        let label = ui.label(name).id;
        let entered = field(ui, label, f32::INFINITY);
        ui.horizontal_wrapped(buttons);
        return entered;
    }
    ui.horizontal(|ui| {
        let label = ui.label(name).id;
        let width = (ui.available_width() - room).min(360.0);
        let entered = field(ui, label, width);
        buttons(ui);
        entered
    })
    .inner
}

/// Letters of a name beside which something else must have room.
pub(crate) const NAME_LEN: usize = 28;

/// The rest of a line: as much of it as there is room for.
pub(crate) fn rest_of_line(ui: &mut Ui, text: impl Into<egui::WidgetText>) {
    ui.line(text);
}
