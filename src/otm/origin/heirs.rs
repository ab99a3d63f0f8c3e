//! Who has everything, for the case that this program ends.

use std::collections::BTreeSet;
use std::mem::take;

use super::{Member, Origin, Place};
use crate::protocol::message::TransferId;
use crate::protocol::sessions::{Feeder, HEIRS_MAX};
use crate::transfer::member::Heirs;

/// Of those who have everything, so many are named to each. More would be told again and again as
/// one after the other is complete; the others that are named have much of it, in case that these
/// leave as well.
const COMPLETE_MAX: usize = 4;

impl Origin {
    /// A member has everything: others may need to know.
    pub(super) fn is_complete(&mut self, id: TransferId, entries: u32) {
        if let Some(member) = self.members.get_mut(&id) {
            (member.complete, member.open) = (Some(entries), false);
        }
        for id in self.open() {
            self.name_heirs(id);
        }
    }

    /// A member cannot be reached. If it has everything, it is none any more who could give that
    /// to those who are left: they learn who can, or that nobody can.
    pub(super) fn is_gone(&mut self, id: TransferId) {
        let had = self.members.get_mut(&id).and_then(|m| m.complete.take());
        if had.is_none() {
            return;
        }
        for id in self.open() {
            self.name_others(id);
        }
    }

    /// One member could not reach another, which others may well reach.
    pub(super) fn misses(&mut self, child: TransferId, heir: TransferId) {
        let had_everything = self
            .members
            .get(&heir)
            .is_some_and(|m| m.complete.is_some());
        let child_of_it = self.members.get_mut(&child);
        if child_of_it.is_some_and(|m| m.missed.insert(heir) && m.open) && had_everything {
            self.name_others(child);
        }
    }

    /// Nothing connects us any more with a member that has everything: it may have ended, and then
    /// it gives nobody anything.
    pub(super) fn is_away(&mut self, id: TransferId) {
        let now = self.now();
        let Some(member) = self.members.get_mut(&id).filter(|m| !m.open) else {
            return;
        };
        if member.complete.is_some() {
            member.away = member.complete;
            self.tree.leave(id, now);
            self.is_gone(id);
        }
    }

    /// It is there after all.
    pub(super) fn is_back(&mut self, id: TransferId) {
        let now = self.now();
        let Some(member) = self.members.get_mut(&id) else {
            return;
        };
        if let Some(entries) = member.away.take() {
            let (passes_on, done) = (member.joined.passes_on, member.joined.done);
            self.tree.join(id, passes_on, done, now);
            self.tree.complete(id, now);
            self.is_complete(id, entries);
        }
    }

    /// Who was only accused may give what it has again.
    pub(super) fn name_acquitted(&mut self) {
        let members = self.members.keys().copied();
        let doubted: BTreeSet<TransferId> =
            members.filter(|id| self.tree.is_suspect(*id)).collect();
        let acquitted = self.doubted.iter().any(|id| !doubted.contains(id));
        self.doubted = doubted;
        if acquitted {
            for id in self.open() {
                self.name_heirs(id);
            }
        }
    }

    /// Those that were named to a member are not what they were: it learns who else there is, or
    /// that there is nobody.
    fn name_others(&mut self, id: TransferId) {
        let known = self.members.get_mut(&id).map_or(0, |m| take(&mut m.heirs));
        self.name_heirs(id);
        if let Some(member) = self.members.get(&id)
            && (known > 0 && member.heirs == 0)
        {
            member.joined.heirs.send_replace(Some(Heirs::default()));
        }
    }

    /// Who is there, and does not have everything.
    fn open(&self) -> Vec<TransferId> {
        let open = self.members.iter().filter(|(_, member)| member.open);
        open.map(|(id, _)| *id).collect()
    }

    /// Tells a member who has everything, if somebody has and it does not know enough of them.
    pub(super) fn name_heirs(&mut self, child: TransferId) {
        let known = self.members.get(&child).map_or(0, |member| member.heirs);
        if known >= COMPLETE_MAX {
            return;
        }
        let complete = self.members.values().filter_map(|member| member.complete);
        let Some(entries) = complete.max() else {
            return;
        };
        let mut heirs = self.around(child, |member| member.complete == Some(entries));
        heirs.truncate(COMPLETE_MAX);
        if heirs.len() <= known {
            return;
        }
        let number = heirs.len();
        heirs.extend(self.around(child, |member| member.open));
        heirs.truncate(HEIRS_MAX);
        let feeders: Vec<Feeder> = heirs
            .into_iter()
            .map(|heir| self.feeder(child, Place::Member(heir)))
            .collect();
        if let Some(member) = self.members.get_mut(&child) {
            member.heirs = number;
            let heirs = Heirs { entries, feeders };
            member.joined.heirs.send_replace(Some(heirs));
        }
    }

    /// Those that pass on, and of whom nothing bad is known, in an order that begins elsewhere for
    /// each child, so that not all turn to the same.
    fn around(&self, child: TransferId, fits: impl Fn(&Member) -> bool) -> Vec<TransferId> {
        let missed = self.members.get(&child).map(|member| &member.missed);
        let is_good = |id: TransferId, member: &Member| {
            if missed.is_some_and(|missed| missed.contains(&id)) {
                return false;
            }
            let doubted = self.tree.is_excluded(id) || self.tree.is_suspect(id);
            id != child && member.joined.passes_on && !doubted && fits(member)
        };
        let good = self.members.iter().filter(|(id, m)| is_good(**id, m));
        let mut ids: Vec<TransferId> = good.map(|(id, _)| *id).collect();
        ids.sort_unstable_by_key(|id| (*id < child, *id));
        ids
    }
}
