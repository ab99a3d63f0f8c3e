//! What of an offer is wanted: its names, each with a box, in an order that helps to choose.

use egui::{Checkbox, ScrollArea, Ui};
use peerconnect::text::bytes;
use peerconnect::transfer::status::{TopName, TransferSnapshot};

use crate::bidi::{Apart, visual};
use crate::page_ui::choice;
use crate::staged_ui::shorten;
use crate::words;

/// What a person has chosen of an offer.
#[derive(Debug)]
pub(crate) struct Wanted {
    /// Whether each named entry is wanted, in the order of the offer.
    pub(crate) ticks: Vec<bool>,
    /// Whether the entries without names here are wanted.
    rest: bool,
    order: Order,
}

/// In which order the names stand.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
enum Order {
    /// As the sender gave them.
    #[default]
    Sent,
    Name,
    /// The largest first.
    Size,
}

const ORDERS: [(Order, &str); 3] = [
    (Order::Sent, "as sent"),
    (Order::Name, "by name"),
    (Order::Size, "by size"),
];

/// With fewer names there is nothing to sort.
const SORTED_FROM: usize = 5;

impl Wanted {
    /// Everything, until the person says otherwise.
    pub(crate) fn all(t: &TransferSnapshot) -> Self {
        Self {
            ticks: vec![true; t.top_names.len()],
            rest: true,
            order: Order::default(),
        }
    }

    /// How many top-level entries have no name in the snapshot.
    fn unnamed(t: &TransferSnapshot) -> u32 {
        t.top_count.saturating_sub(t.top_names.len() as u32)
    }

    /// Positions that are wanted; `None` for all.
    pub(crate) fn only(&self, t: &TransferSnapshot) -> Option<Vec<u32>> {
        let unnamed = Self::unnamed(t) > 0;
        if self.ticks.iter().all(|t| *t) && (self.rest || !unnamed) {
            return None;
        }
        let named = self.ticks.iter().zip(0u32..).filter(|(tick, _)| **tick);
        let mut wanted: Vec<u32> = named.map(|(_, position)| position).collect();
        if self.rest {
            wanted.extend(t.top_names.len() as u32..t.top_count);
        }
        Some(wanted)
    }

    /// How many top-level entries are wanted.
    pub(crate) fn count(&self, t: &TransferSnapshot) -> u32 {
        let named = self.ticks.iter().filter(|tick| **tick).count() as u32;
        let rest = if self.rest { Self::unnamed(t) } else { 0 };
        named.saturating_add(rest)
    }

    /// Bytes of what is wanted.
    pub(crate) fn bytes(&self, t: &TransferSnapshot) -> u64 {
        let named: u64 = t.top_names.iter().map(|n| n.bytes).sum();
        let wanted = t.top_names.iter().zip(&self.ticks);
        let wanted = wanted.filter(|(_, tick)| **tick).map(|(n, _)| n.bytes);
        let rest = if self.rest {
            t.bytes.saturating_sub(named)
        } else {
            0
        };
        wanted.sum::<u64>().saturating_add(rest)
    }
}

/// The names and their boxes.
pub(crate) fn wanted_ui(ui: &mut Ui, t: &TransferSnapshot, wanted: &mut Wanted) {
    if t.top_names.len() >= SORTED_FROM
        && let Some(order) = choice(ui, "Sort the files", wanted.order, &ORDERS)
    {
        wanted.order = order;
    }
    let mut entries: Vec<(&TopName, &mut bool)> =
        t.top_names.iter().zip(&mut wanted.ticks).collect();
    match wanted.order {
        Order::Sent => {}
        Order::Name => entries.sort_by_cached_key(|(top, _)| top.name.to_lowercase()),
        Order::Size => entries.sort_by_key(|(top, _)| std::cmp::Reverse(top.bytes)),
    }
    ScrollArea::vertical()
        .id_salt("names")
        .max_height(96.0)
        .show(ui, |ui| {
            ui.horizontal_wrapped(|ui| {
                ui.spacing_mut().item_spacing.x = 14.0;
                for (top, tick) in entries {
                    entry(ui, top, tick);
                }
                let rest = Wanted::unnamed(t);
                if rest > 0 {
                    ui.checkbox(&mut wanted.rest, format!("and {rest} more"));
                }
            });
        });
}

fn entry(ui: &mut Ui, top: &TopName, tick: &mut bool) {
    let name = words::name(top);
    let inside = top
        .files
        .map_or(String::new(), |n| format!(" ({})", words::files(n)));
    let short = shorten(&name, 44);
    let text = format!("{}{inside}  {}", Apart(&short), bytes(top.bytes));
    let box_ = ui.add(Checkbox::new(tick, visual(&text)));
    box_.accessible_name(format!("Take {name}"))
        .on_hover_text(visual(&name));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    #[test]
    fn choosing_some_files_gives_their_positions_and_all_gives_none() {
        let mut t = samples::asking(2);
        let mut wanted = Wanted::all(&t);
        assert_eq!(wanted.only(&t), None);
        wanted.ticks[1] = false;
        assert_eq!(wanted.only(&t), Some(vec![0, 2]));
        t.top_count = 6;
        assert_eq!(wanted.only(&t), Some(vec![0, 2, 3, 4, 5]));
        wanted.rest = false;
        assert_eq!(wanted.only(&t), Some(vec![0, 2]));
    }
}
