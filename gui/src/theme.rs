//! How the window looks: its colours and sizes of letters, which are nowhere else, spacing, and
//! the few widgets that egui does not have: primary buttons, cards, avatars, progress bars.

mod palette;
mod sizes;

use std::sync::Arc;

use egui::epaint::Shadow;
use egui::text::{LayoutJob, TextFormat};
use egui::{
    Button, Color32, Context, CornerRadius, FontId, Frame, Label, Margin, Rect, Response, Role,
    Sense, Stroke, StrokeKind, Style, TextStyle, Theme, Ui, Vec2, Visuals, WidgetInfo, vec2,
};
use peerconnect::peer::PeerId;
use peerconnect::text::Shown;
use peerconnect::transfer::status::Direction;

pub(crate) use self::palette::{Accent, DARK, INK, LIGHT, PAPER, Palette, Tone, contrast};
use self::palette::{LETTER, NOBODY};
pub(crate) use self::sizes::{Size, note, toned};
use crate::bidi::{read, visual};
use crate::icons::{self, Icon};

/// The colours of the theme that is on.
pub(crate) fn of(ui: &Ui) -> &'static Palette {
    if ui.visuals().dark_mode {
        &DARK
    } else {
        &LIGHT
    }
}

/// Sets both themes. Once, when the window opens.
pub(crate) fn apply(ctx: &Context) {
    for (theme, palette) in [(Theme::Light, &LIGHT), (Theme::Dark, &DARK)] {
        ctx.style_mut_of(theme, |style| set(style, palette, theme));
    }
}

fn set(style: &mut Style, p: &Palette, theme: Theme) {
    style.text_styles = [
        (TextStyle::Small, Size::Note.font()),
        (TextStyle::Body, Size::Body.font()),
        (TextStyle::Button, Size::Body.font()),
        (TextStyle::Heading, Size::Title.font()),
        (TextStyle::Monospace, Size::Note.even_font()),
    ]
    .into();
    style.spacing.item_spacing = vec2(8.0, 6.0);
    style.spacing.button_padding = vec2(12.0, 6.0);
    style.spacing.interact_size.y = 28.0;
    style.spacing.icon_width = 18.0;
    style.spacing.icon_width_inner = 10.0;
    style.spacing.menu_margin = Margin::same(6);
    style.spacing.window_margin = Margin::same(20);
    style.spacing.scroll.floating = true;
    // Labels inside rows that can be clicked must not take the click.
    style.interaction.selectable_labels = false;
    style.visuals = visuals(p, theme);
}

fn visuals(p: &Palette, theme: Theme) -> Visuals {
    let mut v = theme.default_visuals();
    v.panel_fill = p.ground;
    v.window_fill = p.card;
    v.window_stroke = Stroke::new(1.0, p.line);
    v.window_corner_radius = CornerRadius::same(14);
    v.menu_corner_radius = CornerRadius::same(10);
    v.window_shadow = Shadow {
        offset: [0, 8],
        blur: 32,
        spread: 0,
        color: palette::shadow(theme),
    };
    v.popup_shadow = Shadow {
        offset: [0, 4],
        blur: 16,
        spread: 0,
        color: palette::shadow(theme),
    };
    v.extreme_bg_color = if theme == Theme::Dark {
        p.ground
    } else {
        p.card
    };
    v.faint_bg_color = p.hot;
    v.hyperlink_color = p.accent_text;
    v.weak_text_color = Some(p.weak);
    v.warn_fg_color = p.warn;
    v.error_fg_color = p.error;
    v.selection.bg_fill = p.accent_soft;
    v.selection.stroke = Stroke::new(1.5, p.accent_text);
    let w = &mut v.widgets;
    for (widget, fill, line) in [
        (&mut w.noninteractive, p.card, p.line),
        (&mut w.inactive, p.button, p.line),
        (&mut w.hovered, p.hot, p.weak),
        (&mut w.active, p.line, p.accent),
        (&mut w.open, p.hot, p.line),
    ] {
        widget.bg_fill = fill;
        widget.weak_bg_fill = fill;
        widget.bg_stroke = Stroke::new(1.0, line);
        widget.fg_stroke = Stroke::new(1.5, p.text);
        widget.corner_radius = CornerRadius::same(8);
        widget.expansion = 0.0;
    }
    w.noninteractive.fg_stroke = Stroke::new(1.0, p.text);
    v
}

/// A card on the ground: soft corners, a thin line, generous room.
pub(crate) fn card(ui: &Ui) -> Frame {
    let p = of(ui);
    Frame::new()
        .fill(p.card)
        .stroke(Stroke::new(1.0, p.line))
        .corner_radius(CornerRadius::same(12))
        .inner_margin(Margin::symmetric(16, 12))
}

/// A card that wants to be seen first.
pub(crate) fn loud_card(ui: &Ui) -> Frame {
    card(ui).stroke(Stroke::new(1.5, of(ui).accent))
}

/// A card over the window that waits for an answer.
pub(crate) fn dialog(ui: &Ui) -> Frame {
    Frame::popup(ui.style())
        .corner_radius(CornerRadius::same(14))
        .inner_margin(Margin::same(22))
}

/// The button that is meant to be pressed.
pub(crate) fn primary(ui: &mut Ui, enabled: bool, text: &str) -> Response {
    let p = of(ui);
    ui.scope(|ui| {
        let w = &mut ui.visuals_mut().widgets;
        for (widget, fill) in [
            (&mut w.inactive, p.accent),
            (&mut w.hovered, p.accent_hot),
            (&mut w.active, p.accent_hot),
        ] {
            widget.weak_bg_fill = fill;
            widget.bg_stroke = Stroke::new(1.0, fill);
            widget.fg_stroke.color = p.on_accent;
        }
        let button = Button::new(visual(text)).min_size(vec2(88.0, 32.0));
        let response = ui.add_enabled(enabled, button);
        let response = response.accessible_name(read(text));
        if response.has_focus() {
            focus_ring(ui, response.rect, 8, On::Accent);
        }
        response
    })
    .inner
}

/// What a ring stands on, for its colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum On {
    /// The accent colour itself.
    Accent,
    /// What is chosen, which has a line in the accent colour already.
    Chosen,
    /// Any other surface.
    Surface,
}

/// The ring around what has the keyboard, just inside of it.
pub(crate) fn focus_ring(ui: &Ui, rect: Rect, radius: u8, on: On) {
    let p = of(ui);
    let colour = match on {
        On::Accent | On::Chosen => p.strong,
        On::Surface => p.accent_text,
    };
    let line = Stroke::new(2.0, colour);
    let radius = CornerRadius::same(radius);
    ui.painter()
        .rect_stroke(rect, radius, line, StrokeKind::Inside);
}

/// An ordinary button.
pub(crate) fn plain(ui: &mut Ui, text: &str) -> Response {
    ui.add(Button::new(visual(text)).min_size(vec2(0.0, 32.0)))
        .accessible_name(read(text))
}

/// A small button in a line of text.
pub(crate) fn small(ui: &mut Ui, text: &str) -> Response {
    let painted = Size::Note.text(visual(text));
    ui.add(Button::new(painted).min_size(vec2(0.0, 26.0)))
        .accessible_name(read(text))
}

/// A heading over a panel. The built-in font has no bold letters: painted twice, a little apart,
/// they look it.
pub(crate) fn title(ui: &mut Ui, text: &str) -> Response {
    const APART: f32 = 0.6;
    let color = of(ui).strong;
    let label = Label::new(Size::Title.text(text).color(color));
    let (place, galley, response) = label.layout_in_ui(ui);
    response.widget_info(|| WidgetInfo::labeled(Role::Label, true, text));
    for x in [0.0, APART] {
        ui.painter()
            .galley(place + vec2(x, 0.0), Arc::clone(&galley), color);
    }
    response
}

/// A line of text whose parts sound differently but are one label.
pub(crate) fn runs(ui: &Ui, size: Size, parts: &[(&str, Tone)]) -> LayoutJob {
    let mut job = LayoutJob::default();
    for (text, tone) in parts {
        let format = TextFormat::simple(size.font(), of(ui).tone(*tone));
        job.append(text, 0.0, format);
    }
    job
}

/// A circle with the first letter of a name, in a colour that belongs to the key: two devices of
/// the same name look different. `None` stands for a device that is only an address so far.
pub(crate) fn avatar(ui: &mut Ui, id: Option<&PeerId>, name: &str, size: f32) -> Response {
    let (rect, response) = ui.allocate_exact_size(Vec2::splat(size), Sense::hover());
    let fill = id.map_or(NOBODY, avatar_colour);
    ui.painter().circle_filled(rect.center(), size / 2.0, fill);
    let letter: String = Shown(name)
        .to_string()
        .chars()
        .find(|c| c.is_alphanumeric())
        .map_or_else(|| "?".to_owned(), |c| c.to_uppercase().collect());
    ui.painter().text(
        rect.center(),
        egui::Align2::CENTER_CENTER,
        letter,
        FontId::proportional(size * 0.5),
        LETTER,
    );
    response
}

/// What stands in place of the avatar of a device that is chosen.
pub(crate) fn chosen_mark(ui: &mut Ui, size: f32) {
    let p = of(ui);
    let (rect, _) = ui.allocate_exact_size(Vec2::splat(size), Sense::hover());
    ui.painter()
        .circle_filled(rect.center(), size / 2.0, p.accent);
    icons::paint(ui.painter(), rect, Icon::Check, p.on_accent);
}

/// Hues that look different from each other, in degrees. None between orange and green: dark
/// enough for white letters, those are all the same brown.
const HUES: [f32; 9] = [355.0, 18.0, 122.0, 158.0, 188.0, 209.0, 236.0, 274.0, 318.0];

/// A colour dark enough for white letters, from the first bytes of a key.
pub(crate) fn avatar_colour(id: &PeerId) -> Color32 {
    let [a, b, c, ..] = *id.as_bytes();
    let part = |byte: u8| f32::from(byte) / 255.0;
    // A little to both sides, so that two of one hue are not quite the same.
    let hue = HUES[usize::from(a) % HUES.len()] + (part(b) - 0.5) * 12.0;
    let dark = if c % 2 == 0 { 1.0 } else { 0.55 };
    let saturation = 0.80 + part(c) * 0.15;
    let hsva = egui::ecolor::Hsva::new((hue / 360.0).rem_euclid(1.0), saturation, 0.85, 1.0);
    darken_for_white(hsva, dark)
}

/// Takes light away until white text on it reaches 4.5:1, and then down to this part.
fn darken_for_white(mut colour: egui::ecolor::Hsva, part: f32) -> Color32 {
    while contrast(colour.into(), LETTER) < 4.5 {
        colour.v *= 0.96;
    }
    colour.v *= part;
    colour.into()
}

/// Height of a bar.
const BAR: f32 = 6.0;

/// A bar of the whole width that is `share` (0 to 1) full. Nothing is painted for 0, so that
/// "not begun" does not look like "begun".
pub(crate) fn bar(ui: &mut Ui, share: f32, (tone, way): (Tone, Direction), name: &str) -> Response {
    let (p, height) = (of(ui), BAR);
    let size = vec2(ui.available_width(), height);
    let (rect, response) = ui.allocate_exact_size(size, Sense::hover());
    let radius = CornerRadius::same((height / 2.0) as u8);
    ui.painter().rect_filled(rect, radius, p.track);
    let share = share.clamp(0.0, 1.0);
    if share > 0.0 {
        let mut done = rect;
        done.set_width((rect.width() * share).max(height));
        ui.painter().rect_filled(done, radius, p.bar(tone, way));
    }
    let name: Arc<str> = name.into();
    response.widget_info(|| WidgetInfo::labeled(Role::ProgressIndicator, true, &name));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_letters_are_readable_on_every_avatar_and_keys_differ() {
        let colours: Vec<_> = (0..200u8)
            .map(|n| avatar_colour(&PeerId::of_public_key(&[n])))
            .collect();
        for colour in &colours {
            assert!(contrast(*colour, Color32::WHITE) >= 4.5, "{colour:?}");
        }
        let mut different = colours.clone();
        different.sort_by_key(|c| c.to_array());
        different.dedup();
        assert!(different.len() > 150);
    }
}
