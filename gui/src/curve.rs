//! How fast a transfer was lately, as a small curve.

use std::collections::VecDeque;

use egui::{Pos2, Rect, Shape, Stroke, Ui, pos2, vec2};

use crate::theme;

/// Speeds that are remembered: one a second.
const KEPT: usize = 60;

/// Fewer are no curve.
const SHOWN_FROM: usize = 6;

/// The last speeds of a transfer, oldest first.
#[derive(Debug, Clone, Default)]
pub(crate) struct Curve(VecDeque<u64>);

impl Curve {
    /// Adds a speed in bytes per second.
    pub(crate) fn push(&mut self, rate: u64) {
        if self.0.len() >= KEPT {
            self.0.pop_front();
        }
        self.0.push_back(rate);
    }

    /// All of them.
    #[cfg(test)]
    pub(crate) fn rates(&self) -> Vec<u64> {
        self.0.iter().copied().collect()
    }

    /// The points of the curve within `rect`, the newest at its right.
    fn points(&self, rect: Rect) -> Vec<Pos2> {
        let most = self.0.iter().copied().max().unwrap_or(0).max(1) as f32;
        let step = rect.width() / (KEPT - 1) as f32;
        let newest = self.0.len().saturating_sub(1);
        let points = self.0.iter().enumerate().map(|(n, rate)| {
            let x = rect.right() - (newest - n) as f32 * step;
            pos2(x, rect.bottom() - *rate as f32 / most * rect.height())
        });
        points.collect()
    }
}

/// Draws the curve. The speed stands beside it in words: it needs no name.
pub(crate) fn curve_ui(ui: &mut Ui, curve: &Curve) {
    let p = theme::of(ui);
    let (rect, _) = ui.allocate_exact_size(vec2(96.0, 18.0), egui::Sense::hover());
    if curve.0.len() < SHOWN_FROM {
        return;
    }
    let points = curve.points(rect.shrink2(vec2(1.0, 2.0)));
    for pair in points.windows(2) {
        if let [a, b] = pair {
            let foot = |p: &Pos2| pos2(p.x, rect.bottom());
            let corners = vec![*a, *b, foot(b), foot(a)];
            let fill = p.accent.gamma_multiply(0.14);
            ui.painter()
                .add(Shape::convex_polygon(corners, fill, Stroke::NONE));
        }
    }
    ui.painter()
        .add(Shape::line(points, Stroke::new(1.4, p.accent_text)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_keeps_the_last_minute_and_stays_in_its_place() {
        let mut curve = Curve::default();
        for rate in 0..200 {
            curve.push(rate);
        }
        assert_eq!(curve.0.front(), Some(&140));
        let rect = Rect::from_min_size(pos2(10.0, 10.0), vec2(59.0, 20.0));
        let points = curve.points(rect);
        assert_eq!(points.len(), KEPT);
        assert!(points.iter().all(|p| rect.contains(*p)));
        assert_eq!(points.last().map(|p| p.x), Some(rect.right()));
        let mut still = Curve::default();
        still.push(0);
        assert_eq!(still.points(rect)[0].y, rect.bottom());
    }
}
