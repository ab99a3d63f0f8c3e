//! Who has everything, alone or between them, for the case that this program ends.

use std::mem::take;
use std::sync::Arc;
use std::time::Duration;

use super::{Member, Origin, Place, addrs_for, cover};
use crate::protocol::message::TransferId;
use crate::protocol::sessions::{Feeder, HEIRS_MAX};
use crate::transfer::holding::Holding;
use crate::transfer::member::Heirs;
use crate::transfer::shelf::FILES_MAX;

/// Of those who have everything, so many are named to each. More would be told again and again as
/// one after the other is complete; the others that are named have much of it, in case that these
/// leave as well.
const COMPLETE_MAX: usize = 4;

/// How long somebody whom a member could not reach is nothing to it.
const MISSED_FOR: Duration = Duration::from_secs(60);

/// Members for whom those who have everything between them are looked for in one go: that takes
/// time where there are many files.
const TRIES_MAX: usize = 4;

/// Who was named to a member in case that we leave. While somebody has everything only such count.
#[derive(Debug, Default)]
pub(super) struct Named {
    /// How many entries they have.
    entries: u32,
    /// How many of them have everything.
    whole: usize,
    /// Who has everything between them, if nobody has it alone.
    cover: Vec<TransferId>,
}

impl Named {
    fn is_nobody(&self) -> bool {
        self.whole == 0 && self.cover.is_empty()
    }
}

impl Member {
    /// Whether it is known to take part in more than so many entries.
    fn is_longer_than(&self, entries: u32) -> bool {
        let manifest = self.joined.holding.get().manifest();
        manifest.is_some_and(|manifest| manifest.entries > entries)
    }

    /// Whether others may have from it what it has when we are gone, and hear at once what it does
    /// not have.
    fn gives(&self) -> bool {
        let is_there = self.complete.is_some() || (self.open && self.joined.tells_parts);
        self.connected && is_there
    }
}

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

    /// Tells those who know too few heirs of others: who was accused may be acquitted, who was out
    /// of reach in reach again, and some have more than before.
    pub(super) fn name_more(&mut self) {
        let mut open = self.open();
        open.sort_unstable();
        for id in &open {
            match self.is_outgrown(*id) {
                true => self.name_others(*id),
                false => self.name_heirs(*id),
            }
        }
        let turn = self.turn.checked_rem(open.len()).unwrap_or(0);
        open.rotate_left(turn);
        let mut tries = TRIES_MAX;
        for id in open {
            let named = self.members.get(&id).map(|m| &m.named);
            let nobody = named.is_none_or(Named::is_nobody);
            let is_cover = named.is_some_and(|named| !named.cover.is_empty());
            if nobody && tries > 0 {
                tries -= 1;
                self.name_cover(id);
            } else if is_cover && !self.is_covered(id) {
                self.name_others(id);
            }
        }
        self.turn = self.turn.wrapping_add(TRIES_MAX);
    }

    /// Whether entries were added since somebody was named: those have nothing of them.
    fn is_outgrown(&self, id: TransferId) -> bool {
        let member = self.members.get(&id).filter(|m| !m.named.is_nobody());
        member.is_some_and(|member| member.is_longer_than(member.named.entries))
    }

    /// Those that were named to a member are not what they were: it learns who else there is, or
    /// that there is nobody.
    pub(super) fn name_others(&mut self, id: TransferId) {
        let known = self.members.get_mut(&id).map(|m| take(&mut m.named));
        self.name_heirs(id);
        self.name_cover(id);
        if let Some(member) = self.members.get(&id)
            && known.is_some_and(|known| !known.is_nobody())
            && member.named.is_nobody()
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
        let Some(member) = self.members.get(&child) else {
            return;
        };
        let known = member.named.whole;
        if known >= COMPLETE_MAX {
            return;
        }
        let complete = self.members.values().filter_map(|member| member.complete);
        let remembered = complete.max().filter(|n| *n as usize <= FILES_MAX);
        let Some(entries) = remembered.filter(|entries| !member.is_longer_than(*entries)) else {
            // Nobody, or they do not remember all of it, or more was added since.
            return;
        };
        let mut heirs = self.around(child, |member| member.complete == Some(entries));
        heirs.truncate(COMPLETE_MAX);
        if heirs.len() <= known {
            return;
        }
        let whole = heirs.len();
        let cover = Vec::new();
        let named = Named {
            entries,
            whole,
            cover,
        };
        self.name(child, heirs, named);
    }

    /// Tells a member to which nobody is named who has everything between them, if some have.
    fn name_cover(&mut self, child: TransferId) {
        let Some(member) = self.members.get(&child).filter(|m| m.named.is_nobody()) else {
            return;
        };
        if !member.joined.tells_parts {
            // It would wait for what one of them does not have.
            return;
        }
        let holding = member.joined.holding.get();
        let Some(entries) = holding.manifest().map(|manifest| manifest.entries) else {
            return;
        };
        let others = self.holdings(&self.around(child, Member::gives));
        let found = cover::choose(&holding, &others, HEIRS_MAX);
        if let Some(cover) = found.filter(|cover| !cover.is_empty()) {
            let named = Named {
                entries,
                whole: 0,
                cover: cover.clone(),
            };
            self.name(child, cover, named);
        }
    }

    /// Whether those who were named to a member still have everything between them.
    fn is_covered(&self, child: TransferId) -> bool {
        let Some(member) = self.members.get(&child) else {
            return false;
        };
        let cover = &member.named.cover;
        let there = self.around(child, Member::gives);
        if !cover.iter().all(|heir| there.contains(heir)) {
            return false;
        }
        let holding = member.joined.holding.get();
        cover::is_covered(&holding, &self.holdings(cover))
    }

    /// What these members have.
    fn holdings(&self, ids: &[TransferId]) -> Vec<(TransferId, Arc<Holding>)> {
        let holding = |id: &TransferId| Some((*id, self.members.get(id)?.joined.holding.get()));
        ids.iter().filter_map(holding).collect()
    }

    /// Tells a member who its heirs are, those who are needed first, and of some more who may have
    /// much of it, in case that these leave as well.
    fn name(&mut self, child: TransferId, mut heirs: Vec<TransferId>, named: Named) {
        let others = self.around(child, |member| member.open).into_iter();
        let others: Vec<TransferId> = others.filter(|id| !heirs.contains(id)).collect();
        heirs.extend(others);
        heirs.truncate(HEIRS_MAX);
        let feeders: Vec<Feeder> = heirs
            .into_iter()
            .map(|heir| self.feeder(child, Place::Member(heir)))
            .collect();
        if let Some(member) = self.members.get_mut(&child) {
            let entries = named.entries;
            member.named = named;
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
        let at = self.members.get(&child).map(|member| &member.joined.at);
        // In a network that the child is not in.
        let is_elsewhere = |member: &Member| {
            let addrs = &member.joined.at.addrs;
            !addrs.is_empty() && at.is_some_and(|at| addrs_for(&at.addrs, addrs).is_empty())
        };
        let is_good = |id: TransferId, member: &Member| {
            if is_missed(id) || self.tree.is_barred(id, now) || is_elsewhere(member) {
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
