//! Long lists of things of different heights: only those on the screen and a little beyond it are
//! drawn, the others are the room that they took when they were drawn last.

use std::collections::BTreeMap;

use egui::{Ui, vec2};

/// From so many on, a list is long.
pub(crate) const MANY: usize = 60;

/// How far beyond the screen is drawn: far enough for the keyboard to go on to the next one.
const BEYOND: f32 = 300.0;

/// How high those of a list are, with what is below them.
#[derive(Debug)]
pub(crate) struct Heights<K>(BTreeMap<K, f32>);

impl<K> Default for Heights<K> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<K: Ord> Heights<K> {
    /// Draws one of a long list, or leaves the room for it where it cannot be seen. `guess` is the
    /// height of one that was never drawn.
    pub(crate) fn draw(&mut self, ui: &mut Ui, key: K, guess: f32, draw: impl FnOnce(&mut Ui)) {
        let seen = ui.clip_rect().expand(BEYOND).y_range();
        let top = ui.cursor().top();
        let height = self.0.get(&key).copied().unwrap_or(guess);
        if top > seen.max || top + height < seen.min {
            ui.allocate_space(vec2(ui.available_width(), height));
            return;
        }
        draw(ui);
        let height = ui.cursor().top() - top - ui.spacing().item_spacing.y;
        self.0.insert(key, height);
    }

    /// Forgets all where most of them are gone: `now` is how many there are.
    pub(crate) fn forget_gone(&mut self, now: usize) {
        if self.0.len() > 2 * now {
            self.0.clear();
        }
    }
}
