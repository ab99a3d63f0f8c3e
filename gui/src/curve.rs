//! How fast a transfer was lately, as a small curve.

use std::collections::VecDeque;

use egui::{Pos2, Rect, Shape, Stroke, Ui, pos2, vec2};

use crate::theme::Accent;

/// Speeds that are remembered: one a second.
const KEPT: usize = 60;

/// So many are looked at for whether a speed is steady.
const STEADY: usize = 8;

/// Room for the curve, at the right of the first line about a transfer.
pub(crate) const CURVE: egui::Vec2 = vec2(96.0, 18.0);

/// Fewer fill a part of the room only: it would all be over soon after it began.
const SPAN_MIN: usize = 15;

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

    /// Whether the last ones were about the same.
    ///
    /// What is steady stays so until it is clearly not: words about it shall not come and go.
    pub(crate) fn is_steady(&self, was: bool) -> bool {
        let last = || self.0.iter().rev().take(STEADY).copied();
        let (least, most) = (last().min().unwrap_or(0), last().max().unwrap_or(0));
        // A fifth around the middle of them; then two fifths.
        let (a, b) = if was { (7, 3) } else { (3, 2) };
        self.0.len() >= STEADY && least.saturating_mul(a) >= most.saturating_mul(b)
    }

    /// All of them.
    #[cfg(test)]
    pub(crate) fn rates(&self) -> Vec<u64> {
        self.0.iter().copied().collect()
    }

    /// The points of the curve within `rect`, the newest at its right.
    fn points(&self, rect: Rect) -> Vec<Pos2> {
        let most = self.0.iter().copied().max().unwrap_or(0).max(1) as f32;
        let step = rect.width() / (self.0.len().max(SPAN_MIN) - 1) as f32;
        let newest = self.0.len().saturating_sub(1);
        let points = self.0.iter().enumerate().map(|(n, rate)| {
            let x = rect.right() - (newest - n) as f32 * step;
            pos2(x, rect.bottom() - *rate as f32 / most * rect.height())
        });
        points.collect()
    }
}

/// Draws the curve. The speed stands beside it in words: it needs no name.
pub(crate) fn curve_ui(ui: &Ui, rect: Rect, curve: &Curve, colours: Accent) {
    if curve.0.len() < SHOWN_FROM {
        return;
    }
    let points = curve.points(rect.shrink2(vec2(1.0, 2.0)));
    for pair in points.windows(2) {
        if let [a, b] = pair {
            let foot = |p: &Pos2| pos2(p.x, rect.bottom());
            let corners = vec![*a, *b, foot(b), foot(a)];
            let fill = colours.fill.gamma_multiply(0.14);
            ui.painter()
                .add(Shape::convex_polygon(corners, fill, Stroke::NONE));
        }
    }
    ui.painter()
        .add(Shape::line(points, Stroke::new(1.4, colours.text)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_speed_is_steady_when_it_was_about_the_same_for_a_while() {
        let steady = |rates: &[u64]| {
            let mut curve = Curve::default();
            rates.iter().for_each(|rate| curve.push(*rate));
            curve.is_steady(false)
        };
        assert!(!steady(&[100; 7]), "it is too early");
        assert!(steady(&[100; 8]));
        assert!(steady(&[7, 900, 100, 85, 110, 120, 100, 95, 90, 100]));
        assert!(!steady(&[100, 100, 100, 40, 100, 100, 100, 100]));
        let mut curve = Curve::default();
        for rate in [100, 100, 100, 50, 100, 100, 100, 100] {
            curve.push(rate);
        }
        assert!(curve.is_steady(true), "it was, and mostly is");
        curve.push(40);
        assert!(!curve.is_steady(true));
    }

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
