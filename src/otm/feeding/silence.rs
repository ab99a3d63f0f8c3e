//! What is wrong with a feeder from which nothing comes. Pure.
//!
//! Whoever is slow gives little by little, and that is seen before a group is whole. So only a
//! feeder that is there, and gives next to nothing of what it is asked for, is said to withhold
//! it. Whether it has any of it is for the origin to know.

use super::Trouble;
use crate::protocol::message::FileIndex;

/// How many ticks nothing may come before the sender is told.
const SILENCE_MAX: u32 = 5;
/// The same where nothing at all is heard, although that is asked for in each tick.
const DEAD_AFTER: u32 = 3;
/// The same where another feeder was named meanwhile: the sender saw it itself, but not why. So
/// long nothing else may come from one that says that it has not got what it is asked for.
const SILENCE_MIN: u32 = 2;
/// Fewer bytes in that time are as good as nothing: less than the slowest line gives to each of
/// several.
const TRICKLE: u64 = 4096;
/// Somebody who has not got so many groups may have lost one file.
const DENIED_MIN: u32 = 4;

/// A group that a feeder was asked for.
pub(super) type Group = (FileIndex, u32);

/// What has come of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answered {
    /// The content.
    Content,
    /// The feeder says that it has not got it.
    Gone(Group),
    /// Nothing that anybody waits for any more.
    Old,
}

/// Looks after one feeder.
#[derive(Debug, Default)]
pub(super) struct Watch {
    silence: Silence,
    denials: Denials,
}

/// For how long nothing has come that was asked for.
#[derive(Debug, Default)]
struct Silence {
    ticks: u32,
    heard: u64,
    /// Whether anything at all has come meanwhile, and in the last tick.
    alive: bool,
    hears: bool,
    taken: u64,
}

/// How much of what it was asked for it has not got, as it says.
#[derive(Debug, Default)]
struct Denials {
    number: u32,
    first: Group,
    /// Groups that came all the same, since the first of them.
    given: u32,
    /// For how long no other has come, and bytes that had come before.
    ticks: u32,
    taken: u64,
}

impl Watch {
    /// An answer has come; `taken` bytes of content by now.
    pub(super) fn answered(&mut self, what: Answered, taken: u64) {
        match what {
            Answered::Content => self.denials.note_content(taken),
            Answered::Gone(group) => self.denials.note(group, taken),
            Answered::Old => return,
        }
        self.silence = Silence {
            taken,
            ..Silence::default()
        };
    }

    /// Another tick: `heard` packets and `taken` bytes of content have come by now, and the oldest
    /// request that is open is for this group. Says what is wrong, now and then.
    pub(super) fn tick(&mut self, heard: u64, taken: u64, open: Option<Group>) -> Option<Trouble> {
        let silent = self.silence.grows(heard, taken, open);
        silent.or(self.denials.grow(taken))
    }

    /// Another feeder was named. Says what was wrong with this one, if it was nothing but that it
    /// gave nothing.
    pub(super) fn left(&self, taken: u64, open: Option<Group>) -> Option<Trouble> {
        let denied = self.denials.all(taken);
        denied.or_else(|| self.silence.so_far(taken, open))
    }

    /// Whether nothing has come for a moment.
    pub(super) fn is_silent(&self) -> bool {
        self.silence.ticks > 0
    }
}

impl Silence {
    fn grows(&mut self, heard: u64, taken: u64, open: Option<Group>) -> Option<Trouble> {
        self.hears = heard > self.heard && self.ticks > 0;
        self.alive |= self.hears;
        self.heard = heard;
        let Some(group) = open else {
            (self.ticks, self.taken) = (0, taken);
            return None;
        };
        self.ticks += 1;
        if self.ticks == DEAD_AFTER && !self.alive {
            return Some(Trouble::Gone);
        }
        if !self.ticks.is_multiple_of(SILENCE_MAX) {
            return None;
        }
        let came = taken.saturating_sub(std::mem::replace(&mut self.taken, taken));
        Some(match std::mem::take(&mut self.alive) {
            true if came < TRICKLE => withheld(group, false),
            true => Trouble::Slow,
            false => Trouble::Gone,
        })
    }
}

impl Silence {
    fn so_far(&self, taken: u64, open: Option<Group>) -> Option<Trouble> {
        let nothing = taken.saturating_sub(self.taken) < TRICKLE;
        let long = self.ticks >= SILENCE_MIN && self.hears && nothing;
        open.filter(|_| long).map(|group| withheld(group, false))
    }
}

impl Denials {
    fn note(&mut self, group: Group, taken: u64) {
        if self.number == 0 {
            (self.first, self.taken) = (group, taken);
        }
        self.number = self.number.saturating_add(1);
    }

    /// What was asked for before may be on its way still; but whoever gives as much as it has not
    /// got does what it can.
    fn note_content(&mut self, taken: u64) {
        self.given = self.given.saturating_add(1);
        (self.ticks, self.taken) = (0, taken);
        if self.given >= self.number {
            *self = Self::default();
        }
    }

    fn grow(&mut self, taken: u64) -> Option<Trouble> {
        if self.number == 0 {
            return None;
        }
        self.ticks += 1;
        if self.ticks < SILENCE_MIN {
            return None;
        }
        std::mem::take(self).all(taken)
    }

    /// What is wrong, if all was denied.
    fn all(&self, taken: u64) -> Option<Trouble> {
        let nothing = taken.saturating_sub(self.taken) < TRICKLE;
        (nothing && self.number >= DENIED_MIN).then(|| withheld(self.first, true))
    }
}

fn withheld((index, group): Group, denied: bool) -> Trouble {
    Trouble::Withheld {
        index,
        group,
        denied,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUP: Group = (3, 7);

    /// What is said in so many ticks, in each of which so many packets and bytes come.
    fn said(watch: &mut Watch, ticks: u64, packets: u64, bytes: u64) -> Vec<Trouble> {
        let told = (1..=ticks).map(|n| watch.tick(100 + n * packets, n * bytes, Some(GROUP)));
        told.flatten().collect()
    }

    #[test]
    fn one_who_is_there_and_gives_nothing_is_told_from_one_who_is_slow_and_one_who_is_gone() {
        for (packets, bytes, trouble) in [
            (0, 0, Trouble::Gone),
            (1, 0, withheld(GROUP, false)),
            (1, TRICKLE / 6, withheld(GROUP, false)),
            // 1 Mbit/s for four.
            (30, 31_250, Trouble::Slow),
            // The least that is of any use.
            (3, TRICKLE / 4, Trouble::Slow),
        ] {
            let mut told = said(&mut Watch::default(), 10, packets, bytes);
            if trouble == Trouble::Gone {
                // That is noticed sooner.
                assert_eq!(told.remove(0), trouble);
            }
            assert_eq!(told, [trouble, trouble], "{packets}, {bytes}");
        }
    }

    #[test]
    fn nothing_is_said_while_answers_come_or_nothing_is_asked() {
        let mut watch = Watch::default();
        for n in 0..40 {
            assert_eq!(watch.tick(n, 0, (n % 4 > 0).then_some(GROUP)), None);
        }
        for n in 0..40 {
            assert_eq!(watch.tick(n, n << 20, Some(GROUP)), None);
            watch.answered(Answered::Content, (n + 1) << 20);
        }
    }

    #[test]
    fn whoever_gave_nothing_until_another_was_named_is_told_of_and_nobody_else() {
        let left = |ticks: u64, packets, bytes| {
            let mut watch = Watch::default();
            said(&mut watch, ticks, packets, bytes);
            watch.left(ticks * bytes, Some(GROUP))
        };
        assert_eq!(left(2, 1, 0), Some(withheld(GROUP, false)));
        assert_eq!(left(1, 1, 0), None, "that is no time");
        assert_eq!(left(4, 0, 0), None, "it may be gone");
        assert_eq!(left(4, 9, TRICKLE / 2), None, "it is slow");
        let mut watch = Watch::default();
        (0..DENIED_MIN).for_each(|_| watch.answered(Answered::Gone(GROUP), 0));
        assert_eq!(watch.left(0, None), Some(withheld(GROUP, true)));
        assert_eq!(watch.left(TRICKLE, None), None);
    }

    #[test]
    fn what_nobody_waits_for_is_no_answer() {
        let mut watch = Watch::default();
        let told = (1..=5).map(|n| {
            watch.answered(Answered::Old, 0);
            watch.tick(n, 0, Some(GROUP))
        });
        let told: Vec<Trouble> = told.flatten().collect();
        assert_eq!(told, [withheld(GROUP, false)]);
    }

    #[test]
    fn one_who_has_not_got_what_it_is_asked_for_is_told_of_unless_it_gives_the_rest() {
        for (denied, given, bytes, told) in [
            (DENIED_MIN, 0, 0, vec![withheld(GROUP, true)]),
            // What had been asked for before.
            (DENIED_MIN, 3, 0, vec![withheld(GROUP, true)]),
            (DENIED_MIN, DENIED_MIN, 0, vec![]),
            (DENIED_MIN - 1, 0, 0, vec![]),
            (100, 0, TRICKLE, vec![]),
        ] {
            let mut watch = Watch::default();
            for n in 0..denied {
                watch.answered(Answered::Gone((3, 7 + n)), 9);
            }
            let more = (1..=given).map(|n| {
                let taken = u64::from(n) << 20;
                watch.answered(Answered::Content, taken);
                watch.tick(1, taken, None)
            });
            let during: Vec<Trouble> = more.flatten().collect();
            assert_eq!(during, [], "{denied}, {given}");
            let taken = u64::from(given) << 20;
            let all = (1..=12).map(|n| watch.tick(n, taken + 9 + bytes, None));
            assert_eq!(all.flatten().collect::<Vec<_>>(), told, "{denied}, {given}");
        }
    }
}
