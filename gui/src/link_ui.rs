//! Our link, large: as a QR code for a camera and as text.

use egui::{Align, ColorImage, Id, Label, Layout, Modal, TextureHandle, TextureOptions, Ui};
use qrcode::{EcLevel, QrCode};

use crate::model::{Action, Model};
use crate::theme::{self, Size, Tone};

/// Light modules around the code that cameras need.
const QUIET: usize = 4;

/// Side of the code on the screen, in points.
const SIDE: f32 = 260.0;

/// The picture of the link that was drawn last.
#[derive(Default)]
pub(crate) struct LinkDraft {
    texture: Option<(String, TextureHandle)>,
}

/// Shows the link over the window until it is closed.
pub(crate) fn link_ui(ui: &Ui, model: &Model, draft: &mut LinkDraft) -> Vec<Action> {
    let mut actions = Vec::new();
    if !model.link_shown {
        draft.texture = None;
        return actions;
    }
    let link = &model.overview.me.link;
    if draft.texture.as_ref().is_none_or(|(of, _)| of != link) {
        draft.texture = code(link).map(|image| {
            let texture = ui.load_texture("link", image, TextureOptions::NEAREST);
            (link.clone(), texture)
        });
    }
    let id = Id::unique("link");
    let area = Modal::default_area(id).accessible_name("My link");
    let shown = Modal::new(id)
        .area(area)
        .frame(theme::dialog(ui))
        .show(ui.ctx(), |ui| {
            ui.set_width(SIDE + 60.0);
            ui.vertical_centered(|ui| {
                theme::title(ui, "Scan this, or send the link");
                let text = "Whoever has it can offer you files. You are still asked.";
                ui.label(theme::note(ui, Tone::Weak, text));
                ui.add_space(8.0);
                if let Some((_, texture)) = &draft.texture {
                    // Whole points for each module: all are equally wide then.
                    let modules = texture.size()[0] as f32;
                    let side = modules * (SIDE / modules).floor().max(1.0);
                    let image = egui::Image::new(texture)
                        .fit_to_exact_size(egui::Vec2::splat(side))
                        .alt_text("QR code of my link");
                    ui.add(image);
                }
                ui.add_space(8.0);
                let text = Size::Small.even(link);
                ui.add(Label::new(text).wrap().selectable(true));
                ui.add_space(8.0);
                let buttons = egui::vec2(170.0, 32.0);
                let layout = Layout::right_to_left(Align::Center);
                ui.allocate_ui_with_layout(buttons, layout, |ui| {
                    if theme::primary(ui, true, "Copy link").clicked() {
                        actions.push(Action::Copy(link.clone()));
                    }
                    if theme::plain(ui, "Close").clicked() {
                        actions.push(Action::ShowLink(false));
                    }
                });
            });
        });
    if shown.should_close() {
        actions.push(Action::ShowLink(false));
    }
    actions
}

/// The link as black squares on white. Upper case needs fewer squares, and links ignore case.
/// `None` if it is too long for a code.
fn code(link: &str) -> Option<ColorImage> {
    let code = QrCode::with_error_correction_level(link.to_uppercase(), EcLevel::M).ok()?;
    let dark = code.to_colors();
    let inner = code.width();
    let side = inner + 2 * QUIET;
    let mut pixels = vec![theme::PAPER; side * side];
    for (n, module) in dark.iter().enumerate() {
        if *module == qrcode::Color::Dark {
            pixels[(n / inner + QUIET) * side + n % inner + QUIET] = theme::INK;
        }
    }
    Some(ColorImage::new([side, side], pixels))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_code_has_its_quiet_zone_and_finder_patterns() {
        let image = code("peerconnect:abc").unwrap();
        let at = |x: usize, y: usize| image.pixels[y * image.size[0] + x];
        let side = image.size[0];
        for n in 0..side {
            for edge in 0..QUIET {
                assert_eq!(at(n, edge), theme::PAPER);
                assert_eq!(at(edge, n), theme::PAPER);
                assert_eq!(at(n, side - 1 - edge), theme::PAPER);
            }
        }
        for (x, y) in [(0, 0), (6, 0), (0, 6), (3, 3)] {
            assert_eq!(at(QUIET + x, QUIET + y), theme::INK);
        }
    }

    #[test]
    fn a_link_that_is_too_long_gives_no_code_instead_of_a_crash() {
        assert!(code(&"x".repeat(5000)).is_none());
    }
}
