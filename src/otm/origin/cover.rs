//! Who of the others has, between them, all that a receiver lacks. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::protocol::message::{FileIndex, Stamp, TransferId};
use crate::protocol::sessions::{GroupRun, HeldPart};
use crate::transfer::holding::{Holding, Marks, total, without};

/// Chooses of `others`, those first that are named first, at most `max` who have between them all
/// that `child` lacks, each time the one who has most of what is still open. So whoever has all of
/// it is the only one. `None` if nobody is found: there may be some with more trouble, but no more
/// than `max` others are tried in vain.
pub(super) fn choose(
    child: &Holding,
    others: &[(TransferId, Arc<Holding>)],
    max: usize,
) -> Option<Vec<TransferId>> {
    let is_alike = |other: &Holding| other.manifest() == child.manifest();
    let others: Vec<(TransferId, &Holding)> = others
        .iter()
        .map(|(id, other)| (*id, &**other))
        .filter(|(_, other)| is_alike(other))
        .collect();
    let mut need = Need::of(child, &others)?;
    let mut chosen = Vec::new();
    while !need.is_empty() {
        let gains = others
            .iter()
            .map(|(id, other)| (need.gain(other), id, other));
        let more = gains.reduce(|best, next| if next.0 > best.0 { next } else { best });
        let (_, id, other) = more.filter(|(gain, ..)| *gain > 0 && chosen.len() < max)?;
        need.take_from(other);
        chosen.push(*id);
    }
    Some(chosen)
}

/// Whether `others` have between them all that `child` lacks.
pub(super) fn is_covered(child: &Holding, others: &[(TransferId, Arc<Holding>)]) -> bool {
    choose(child, others, others.len()).is_some()
}

/// By file, a part of the version that is to be completed: all groups must be of one. That is the
/// child's own if it has begun, and otherwise the one of which the others lack least.
fn versions<'a>(
    child: &'a Holding,
    others: &[(TransferId, &'a Holding)],
) -> BTreeMap<FileIndex, &'a HeldPart> {
    let mut there: BTreeMap<FileIndex, Vec<(&HeldPart, Vec<GroupRun>)>> = BTreeMap::new();
    for part in others.iter().flat_map(|(_, other)| other.parts()) {
        let all = there.entry(part.index).or_default();
        match all
            .iter_mut()
            .find(|(known, _)| known.is_same_version(part))
        {
            Some((_, missing)) => *missing = without(missing, &part.runs),
            None => all.push((part, without(&[part.all()], &part.runs))),
        }
    }
    let least = |all: Vec<(&'a HeldPart, Vec<GroupRun>)>| {
        let least = all.into_iter().min_by_key(|(_, missing)| total(missing));
        least.map(|(part, _)| part)
    };
    let others = there.into_iter();
    let mut begun: BTreeMap<FileIndex, &HeldPart> = others
        .filter_map(|(index, all)| Some((index, least(all)?)))
        .collect();
    begun.extend(child.parts().map(|part| (part.index, part)));
    begun
}

/// What a receiver still needs.
struct Need {
    /// Files that somebody has as a whole, and nobody in parts.
    files: Marks,
    /// Groups of the others.
    parts: BTreeMap<FileIndex, Missing>,
}

impl Need {
    /// What `child` lacks; `None` if there is something of which none of `others` has anything.
    fn of(child: &Holding, others: &[(TransferId, &Holding)]) -> Option<Self> {
        let entries = child.manifest()?.entries as usize;
        let begun = versions(child, others);
        let mut need = Self {
            files: Marks::default(),
            parts: BTreeMap::new(),
        };
        for at in 0..entries.div_ceil(Marks::WORD) {
            let mut open = !child.settled().word(at);
            if open == 0 {
                continue;
            }
            let words = others.iter().map(|(_, other)| other.files().word(at));
            let whole = words.fold(0, |all, word| all | word);
            while open != 0 {
                let bit = open.trailing_zeros();
                open &= open - 1;
                let index = (at * Marks::WORD) as FileIndex + bit;
                if index as usize >= entries {
                    break;
                }
                match begun.get(&index) {
                    Some(known) => need.add_part(known, child),
                    None if whole >> bit & 1 == 1 => need.files.insert(index),
                    None => return None,
                }
            }
        }
        Some(need)
    }

    /// The groups that `child` lacks of a file of which this is known.
    fn add_part(&mut self, known: &HeldPart, child: &Holding) {
        let mut missing = Missing {
            stamp: known.stamp,
            groups: known.groups,
            runs: vec![known.all()],
        };
        missing.take_from(known.index, child);
        if !missing.runs.is_empty() {
            self.parts.insert(known.index, missing);
        }
    }

    fn is_empty(&self) -> bool {
        self.files.is_empty() && self.parts.is_empty()
    }

    /// How much of it `other` has.
    fn gain(&self, other: &Holding) -> u64 {
        let parts = self.parts.iter();
        let groups = parts.map(|(index, missing)| {
            let left = missing.without(*index, other);
            total(&missing.runs) - left.map_or(total(&missing.runs), |left| total(&left))
        });
        self.files.common(other.files()) + groups.sum::<u64>()
    }

    /// What `other` has is needed no more.
    fn take_from(&mut self, other: &Holding) {
        self.files.remove_all(other.files());
        self.parts.retain(|index, missing| {
            missing.take_from(*index, other);
            !missing.runs.is_empty()
        });
    }
}

/// Groups of a file that are needed.
struct Missing {
    stamp: Stamp,
    groups: u32,
    runs: Vec<GroupRun>,
}

impl Missing {
    /// What is left of it beside what `other` has of this file; `None` if that is nothing, or of
    /// another version.
    fn without(&self, index: FileIndex, other: &Holding) -> Option<Vec<GroupRun>> {
        if other.files().has(index) {
            return Some(Vec::new());
        }
        let part = other.part(index)?;
        let is_same = part.stamp == self.stamp && part.groups == self.groups;
        is_same.then(|| without(&self.runs, &part.runs))
    }

    fn take_from(&mut self, index: FileIndex, other: &Holding) {
        if let Some(left) = self.without(index, other) {
            self.runs = left;
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
