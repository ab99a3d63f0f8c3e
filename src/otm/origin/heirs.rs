//! Who has everything, for the case that this program ends.

use std::mem::take;
use std::time::Duration;

use super::{Member, Origin, Place};
use crate::protocol::message::TransferId;
use crate::protocol::sessions::{Feeder, HEIRS_MAX};
use crate::transfer::member::Heirs;
use crate::transfer::shelf::FILES_MAX;

/// Of those who have everything, so many are named to each. More would be told again and again as
/// one after the other is complete; the others that are named have much of it, in case that these
/// leave as well.
const COMPLETE_MAX: usize = 4;

/// How long somebody whom a member could not reach is nothing to it.
const MISSED_FOR: Duration = Duration::from_secs(60);

impl Origin {
    /// A member has everything: others may need to know.
    pub(super) fn is_complete(&mut self, id: TransferId, entries: u32) {
        if let Some(member) = self.members.get_mut(&id) {
            member.open = false;
            if !member.connected {
                // It has ended already, and that was heard first.
                return;
            }
            member.complete = Some(entries);
        }
        self.name_more();
    }

    /// A member cannot be reached. If it has everything, it is none any more who could give that
    /// to those who are left: they learn who can, or that nobody can.
    pub(super) fn is_gone(&mut self, id: TransferId) {
        let had = self.members.get_mut(&id).and_then(|m| m.complete.take());
        if had.is_some() {
            self.name_others_to_all();
        }
    }

    /// Those that were named may not be what they were.
    pub(super) fn name_others_to_all(&mut self) {
        for id in self.open() {
            self.name_others(id);
        }
    }

    /// One member could not reach another, which others may well reach, unless they say the same.
    pub(super) fn misses(&mut self, child: TransferId, heir: TransferId) {
        let now = self.now();
        let barred = self.tree.is_barred(heir, now);
        if let Some(member) = self.members.get_mut(&child) {
            member.missed.insert(heir, now);
        }
        let heir = self.members.get(&heir);
        if heir.is_none_or(|heir| heir.complete.is_none()) {
            return;
        }
        for id in self.open() {
            if barred || id == child {
                self.name_others(id);
            }
        }
    }

    /// Nothing connects us any more with a member that has everything: it may have ended, and then
    /// it gives nobody anything.
    pub(super) fn is_away(&mut self, id: TransferId) {
        let now = self.now();
        let Some(member) = self.members.get_mut(&id) else {
            return;
        };
        member.connected = false;
        if !member.open && member.complete.is_some() {
            self.tree.leave(id, now);
            self.is_gone(id);
        }
    }

    /// A member is connected again. If it had everything, it may feed others, but it is no heir any
    /// more: a program that was started anew has nothing to give.
    pub(super) fn is_back(&mut self, id: TransferId) {
        let now = self.now();
        let Some(member) = self.members.get_mut(&id).filter(|m| !m.connected) else {
            return;
        };
        member.connected = true;
        if !member.open {
            let (passes_on, done) = (member.joined.passes_on, member.joined.done);
            self.tree.join(id, passes_on, done, now);
            self.tree.complete(id, now);
        }
        for other in self.members.values_mut() {
            other.missed.remove(&id);
        }
    }

    /// Tells those who know too few heirs of others: who was accused may be acquitted, and who was
    /// out of reach in reach again.
    pub(super) fn name_more(&mut self) {
        for id in self.open() {
            self.name_heirs(id);
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
        let Some(entries) = complete.max().filter(|n| *n as usize <= FILES_MAX) else {
            // Nobody, or they do not remember all of it.
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
        let now = self.now();
        let missed = self.members.get(&child).map(|member| &member.missed);
        let is_missed = |id: TransferId| {
            let when = missed.and_then(|missed| missed.get(&id));
            when.is_some_and(|when| now.saturating_sub(*when) < MISSED_FOR)
        };
        let is_good = |id: TransferId, member: &Member| {
            if is_missed(id) || self.tree.is_barred(id, now) {
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
