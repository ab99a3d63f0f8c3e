//! Small drawings for buttons, painted as lines: sharp at every scale and in no font.

use egui::{
    Color32, CornerRadius, Painter, Pos2, Rect, Response, Role, Sense, Shape, Stroke, Ui, Vec2,
    WidgetInfo, vec2,
};

use crate::bidi::{read, visual};
use crate::theme;

/// What is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Icon {
    Up,
    Down,
    Right,
    Pause,
    Play,
    Close,
    Check,
    Unfolded,
    Folded,
    More,
    File,
    Folder,
    Link,
    Gear,
    Clock,
    Back,
    Group,
}

/// Outline of a sheet of paper with a corner folded.
const SHEET: [(f32, f32); 6] = [
    (-4.5, -6.0),
    (1.0, -6.0),
    (4.5, -2.5),
    (4.5, 6.0),
    (-4.5, 6.0),
    (-4.5, -6.0),
];

/// Draws `icon` into the middle of `rect`, 16 points wide.
pub(crate) fn paint(painter: &Painter, rect: Rect, icon: Icon, colour: Color32) {
    let at = |x: f32, y: f32| rect.center() + vec2(x, y);
    let line = |points: &[(f32, f32)]| {
        let points = points.iter().map(|&(x, y)| at(x, y)).collect();
        painter.add(Shape::line(points, Stroke::new(1.6, colour)));
    };
    match icon {
        Icon::Up => {
            line(&[(0.0, 5.5), (0.0, -5.5)]);
            line(&[(-4.5, -1.0), (0.0, -5.5), (4.5, -1.0)]);
        }
        Icon::Down => {
            line(&[(0.0, -5.5), (0.0, 5.5)]);
            line(&[(-4.5, 1.0), (0.0, 5.5), (4.5, 1.0)]);
        }
        Icon::Right => {
            line(&[(-5.5, 0.0), (5.5, 0.0)]);
            line(&[(1.5, -4.0), (5.5, 0.0), (1.5, 4.0)]);
        }
        Icon::Pause => {
            for x in [-3.0, 3.0] {
                let bar = Rect::from_center_size(at(x, 0.0), vec2(3.0, 10.0));
                painter.rect_filled(bar, CornerRadius::same(1), colour);
            }
        }
        Icon::Play => {
            let corners = vec![at(-3.5, -5.5), at(5.5, 0.0), at(-3.5, 5.5)];
            painter.add(Shape::convex_polygon(corners, colour, Stroke::NONE));
        }
        Icon::Close => {
            line(&[(-4.5, -4.5), (4.5, 4.5)]);
            line(&[(-4.5, 4.5), (4.5, -4.5)]);
        }
        Icon::Check => line(&[(-5.0, 0.5), (-1.5, 4.0), (5.5, -4.0)]),
        Icon::Unfolded => line(&[(-4.5, -2.0), (0.0, 2.5), (4.5, -2.0)]),
        Icon::Folded => line(&[(-2.0, -4.5), (2.5, 0.0), (-2.0, 4.5)]),
        Icon::More => {
            for x in [-5.0, 0.0, 5.0] {
                painter.circle_filled(at(x, 0.0), 1.5, colour);
            }
        }
        Icon::File => {
            line(&SHEET);
            line(&[(1.0, -6.0), (1.0, -2.5), (4.5, -2.5)]);
        }
        Icon::Folder => line(&[
            (-6.0, -4.5),
            (-1.5, -4.5),
            (0.5, -2.5),
            (6.0, -2.5),
            (6.0, 5.0),
            (-6.0, 5.0),
            (-6.0, -4.5),
        ]),
        Icon::Link => {
            for (x, y) in [(-3.0, 3.0), (3.0, -3.0)] {
                painter.circle_stroke(at(x, y), 3.0, Stroke::new(1.6, colour));
            }
            line(&[(-2.0, 2.0), (2.0, -2.0)]);
        }
        Icon::Gear => gear(painter, rect.center(), colour),
        Icon::Clock => clock(painter, rect.center(), colour),
        Icon::Back => {
            line(&[(5.5, 0.0), (-5.5, 0.0)]);
            line(&[(-1.5, -4.0), (-5.5, 0.0), (-1.5, 4.0)]);
        }
        Icon::Group => people(painter, rect.center(), colour),
    }
}

fn clock(painter: &Painter, centre: Pos2, colour: Color32) {
    let stroke = Stroke::new(1.6, colour);
    painter.circle_stroke(centre, 6.0, stroke);
    let hands = [(0.0, -3.5), (0.0, 0.0), (2.5, 1.5)];
    let hands = hands.map(|(x, y)| centre + vec2(x, y));
    painter.add(Shape::line(hands.to_vec(), stroke));
}

fn people(painter: &Painter, centre: Pos2, colour: Color32) {
    let stroke = Stroke::new(1.5, colour);
    for (x, y, radius) in [(-2.5, -2.5, 2.6), (4.0, -1.5, 2.0)] {
        painter.circle_stroke(centre + vec2(x, y), radius, stroke);
    }
    let front = [(-7.0, 5.5), (-5.5, 2.5), (0.5, 2.5), (2.0, 5.5)];
    let back = [(4.0, 2.5), (6.0, 2.5), (7.0, 5.0)];
    for shoulders in [&front[..], &back[..]] {
        let points = shoulders.iter().map(|&(x, y)| centre + vec2(x, y));
        painter.add(Shape::line(points.collect(), stroke));
    }
}

fn gear(painter: &Painter, centre: Pos2, colour: Color32) {
    painter.circle_stroke(centre, 4.3, Stroke::new(1.6, colour));
    painter.circle_filled(centre, 1.4, colour);
    for n in 0..8u8 {
        let direction = Vec2::angled(f32::from(n) * std::f32::consts::FRAC_PI_4);
        painter.line_segment(
            [centre + direction * 5.0, centre + direction * 7.0],
            Stroke::new(2.4, colour),
        );
    }
}

/// A square button with a drawing; `name` is its tooltip and what a screen reader says.
pub(crate) fn button(ui: &mut Ui, icon: Icon, name: &str) -> Response {
    let (rect, response) = ui.allocate_exact_size(Vec2::splat(28.0), Sense::click());
    dress(ui, rect, response, icon, name)
}

/// The same for a page, which is `open` or not.
pub(crate) fn page_button(ui: &mut Ui, icon: Icon, name: &str, open: bool) -> Response {
    let (rect, response) = ui.allocate_exact_size(Vec2::splat(32.0), Sense::click());
    if open {
        let p = theme::of(ui);
        ui.painter()
            .rect_filled(rect, CornerRadius::same(8), p.accent_soft);
    }
    let response = dress(ui, rect, response, icon, name);
    response.widget_info(|| WidgetInfo::selected(Role::Button, ui.is_enabled(), open, name));
    response
}

/// The same at a place of its own.
pub(crate) fn button_at(ui: &Ui, rect: Rect, icon: Icon, name: &str) -> Response {
    let id = ui.unique_id().with(("icon", name));
    let response = ui.interact(rect, id, Sense::click());
    dress(ui, rect, response, icon, name)
}

fn dress(ui: &Ui, rect: Rect, response: Response, icon: Icon, name: &str) -> Response {
    response.widget_info(|| WidgetInfo::labeled(Role::Button, ui.is_enabled(), read(name)));
    if ui.is_rect_visible(rect) {
        let p = theme::of(ui);
        if response.hovered() || response.has_focus() {
            ui.painter().rect_filled(rect, CornerRadius::same(8), p.hot);
        }
        if response.has_focus() {
            let stroke = Stroke::new(1.5, p.accent_text);
            let kind = egui::StrokeKind::Inside;
            ui.painter()
                .rect_stroke(rect, CornerRadius::same(8), stroke, kind);
        }
        let colour = if response.hovered() { p.text } else { p.weak };
        paint(ui.painter(), rect, icon, colour);
    }
    response.on_hover_text(visual(name))
}

/// A drawing in a line of text.
pub(crate) fn show(ui: &mut Ui, icon: Icon, colour: Color32) {
    let (rect, _) = ui.allocate_exact_size(vec2(16.0, 18.0), Sense::hover());
    paint(ui.painter(), rect, icon, colour);
}

/// Side of the program's icon in pixels.
const ICON: u32 = 64;

/// The program's icon for the task bar: two arrows that pass each other.
pub fn icon() -> egui::IconData {
    let rgba = (0..ICON * ICON)
        .flat_map(|n| {
            // Positions from -32 to 32, in the middle of each pixel.
            let x = (n % ICON) as f32 - 31.5;
            let y = (n / ICON) as f32 - 31.5;
            // Left half: up; right half: the same turned around.
            let (along, across) = if x < 0.0 {
                (y, x + 11.0)
            } else {
                (-y, 11.0 - x)
            };
            let head = (along + 18.0) - across.abs();
            let arrow = ((0.0..=7.0).contains(&head) && across.abs() < 10.5)
                || (across.abs() < 2.8 && (-17.0..18.0).contains(&along));
            let corner = vec2((x.abs() - 18.0).max(0.0), (y.abs() - 18.0).max(0.0)).length();
            let inside = (14.0 - corner).clamp(0.0, 1.0);
            let colour = if arrow {
                theme::LIGHT.on_accent
            } else {
                theme::LIGHT.accent
            };
            [colour.r(), colour.g(), colour.b(), (inside * 255.0) as u8]
        })
        .collect();
    egui::IconData {
        rgba,
        width: ICON,
        height: ICON,
    }
}
