//! Cards that appear while a person works must not take a click that was meant for something else.

/// Seconds after a card has appeared or moved before it can be pressed: a click or key that was
/// meant for something else comes sooner.
const GUARD: f64 = 0.4;

/// Knows since when cards stand as they stand.
#[derive(Debug)]
pub(crate) struct Guard<T> {
    order: Vec<T>,
    since: f64,
}

impl<T> Default for Guard<T> {
    fn default() -> Self {
        Self {
            order: Vec::new(),
            since: 0.0,
        }
    }
}

impl<T: PartialEq> Guard<T> {
    /// Takes note of the cards, from the top. True once they have stood still long enough.
    pub(crate) fn settle(&mut self, order: Vec<T>, time: f64) -> bool {
        if order != self.order {
            self.since = time;
            self.order = order;
        }
        time - self.since >= GUARD
    }

    /// Asks for a frame at the moment when the cards can be pressed.
    pub(crate) fn wake(&self, ctx: &egui::Context, time: f64) {
        let left = self.since + GUARD - time;
        if left > 0.0 {
            ctx.request_repaint_after(std::time::Duration::from_secs_f64(left.max(0.01)));
        }
    }
}
