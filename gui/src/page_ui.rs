//! What pages have in common: their head, rows with a control, choices of a few words.

use egui::{
    Align, Button, Color32, CornerRadius, Frame, Label, Layout, Margin, Response, Role, Stroke, Ui,
    WidgetInfo, vec2,
};

use crate::icons::{self, Icon};
use crate::model::{Action, Page};
use crate::theme::{self, On, Size, Tone};

/// The name of a page, and the way back; `right` stands at the other end.
pub(crate) fn head(
    ui: &mut Ui,
    title: &str,
    actions: &mut Vec<Action>,
    right: impl FnOnce(&mut Ui, &mut Vec<Action>),
) {
    ui.horizontal(|ui| {
        if icons::button(ui, Icon::Back, "Back to the transfers").clicked() {
            actions.push(Action::Show(Page::Transfers));
        }
        theme::title(ui, title);
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            right(ui, actions);
        });
    });
}

/// A card with a heading.
pub(crate) fn section(ui: &mut Ui, title: &str, content: impl FnOnce(&mut Ui)) {
    ui.add_space(6.0);
    ui.label(theme::note(ui, Tone::Weak, title));
    theme::card(ui).show(ui, |ui| {
        ui.set_width(ui.available_width());
        ui.spacing_mut().item_spacing.y = 4.0;
        content(ui);
    });
}

/// Width below which a control stands under its words.
const TWO_COLUMNS: f32 = 500.0;

/// A line of a section: what it is, what it means, and the control for it.
pub(crate) fn row(ui: &mut Ui, title: &str, note: &str, control: impl FnOnce(&mut Ui)) {
    let words = |ui: &mut Ui| {
        ui.spacing_mut().item_spacing.y = 1.0;
        ui.label(title);
        if !note.is_empty() {
            ui.add(Label::new(theme::note(ui, Tone::Weak, note)).wrap());
        }
    };
    ui.add_space(4.0);
    let width = ui.available_width();
    if width < TWO_COLUMNS {
        words(ui);
        ui.horizontal_wrapped(control);
    } else {
        ui.horizontal_top(|ui| {
            ui.vertical(|ui| {
                ui.set_width(width * 0.44);
                words(ui);
            });
            ui.vertical(|ui| {
                ui.set_width(ui.available_width());
                ui.horizontal_wrapped(control);
            });
        });
    }
    ui.add_space(4.0);
}

/// One of a few values, all of them in sight; the one that was pressed, if it is another one.
pub(crate) fn choice<T: Copy + PartialEq>(
    ui: &mut Ui,
    what: &str,
    now: T,
    options: &[(T, &str)],
) -> Option<T> {
    let p = theme::of(ui);
    let mut pressed = None;
    Frame::new()
        .fill(p.button)
        .corner_radius(CornerRadius::same(9))
        .inner_margin(Margin::same(2))
        .show(ui, |ui| {
            ui.spacing_mut().item_spacing = vec2(2.0, 2.0);
            ui.spacing_mut().button_padding = vec2(10.0, 4.0);
            ui.horizontal_wrapped(|ui| {
                for (value, name) in options {
                    let name = (*name, format!("{what}: {name}"));
                    if option(ui, now == *value, &name).clicked() && now != *value {
                        pressed = Some(*value);
                    }
                }
            });
        });
    pressed
}

fn option(ui: &mut Ui, on: bool, (name, full): &(&str, String)) -> Response {
    let p = theme::of(ui);
    let (fill, colour) = match on {
        true => (p.accent, p.on_accent),
        false => (Color32::TRANSPARENT, p.text),
    };
    let text = Size::Note.text(*name).color(colour);
    let button = Button::new(text)
        .fill(fill)
        .stroke(Stroke::NONE)
        .min_size(vec2(0.0, 26.0));
    let response = ui.add(button);
    if response.has_focus() {
        let on = if on { On::Accent } else { On::Surface };
        theme::focus_ring(ui, response.rect, 8, on);
    }
    let enabled = ui.is_enabled();
    response.widget_info(|| WidgetInfo::selected(Role::RadioButton, enabled, on, full));
    response
}
