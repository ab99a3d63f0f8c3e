//! The fuzzer's bytes, read as decisions of a hostile peer.

use std::time::Duration;

use peerconnect::config::ConflictAnswer;
use peerconnect::protocol::message::{
    Entry, EntryKind, PauseReason, Scope, Stamp, Steer, SteerAction, Timestamp,
};
use peerconnect::protocol::sessions::{GroupRun, HeldPart};
use peerconnect::transfer::control::{Decision, Order};

const NAMES: [&str; 8] = ["a", "d/a", "d", "../x", "d/l", "a/b", "C:x", "d/e/.."];
/// Sizes of files that mean something.
pub const SIZES: [u64; 6] = [0, 1, 100, 1 << 20, (1 << 20) + 1, 1 << 50];

/// Reads the fuzzer's bytes as small numbers; zeros at the end.
pub struct Script<'a>(pub &'a [u8]);

impl Script<'_> {
    pub fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        *first
    }

    pub fn is_over(&self) -> bool {
        self.0.is_empty()
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[usize::from(self.byte()) % from.len()]
    }

    /// Mostly a number that means something.
    pub fn number(&mut self) -> u32 {
        match self.byte() {
            small @ 0..240 => u32::from(small % 12),
            250.. => u32::MAX,
            other => u32::from(other) << 16,
        }
    }

    pub fn scope(&mut self) -> Scope {
        match self.byte() % 2 {
            0 => Scope::Transfer,
            _ => Scope::File(self.number()),
        }
    }

    pub fn steer(&mut self) -> Steer {
        let actions = [
            SteerAction::Pause(PauseReason::Person),
            SteerAction::Pause(PauseReason::DiskFull { missing: 1 }),
            SteerAction::Resume,
            SteerAction::First,
            SteerAction::Cancel,
        ];
        let scope = self.scope();
        let action = self.pick(&actions);
        Steer { scope, action }
    }

    pub fn held_part(&mut self) -> HeldPart {
        let [index, groups, first, count] = [(); 4].map(|()| self.number());
        HeldPart {
            index,
            stamp: Stamp([1; 16]),
            groups,
            runs: vec![GroupRun { first, count }],
        }
    }

    pub fn entry(&mut self) -> Entry {
        let path = self.pick(&NAMES).to_owned();
        let modified = Timestamp(i64::from(self.byte()) << 55);
        let kind = match self.byte() % 8 {
            0 => EntryKind::Folder { modified },
            1 => EntryKind::Symlink {
                target: self
                    .pick(&["..", "a", "../a", "/etc", "../../x"])
                    .to_owned(),
            },
            _ => EntryKind::File {
                size: self.pick(&SIZES),
                modified,
                executable: false,
            },
        };
        Entry { path, kind }
    }

    pub fn order(&mut self) -> Order {
        let (folder, only) = (None, None);
        let answers = [
            ConflictAnswer::KeepBoth,
            ConflictAnswer::Replace,
            ConflictAnswer::Skip,
        ];
        match self.byte() % 7 {
            0 => Order::Pause(self.scope()),
            1 => Order::Resume(self.scope()),
            2 => Order::Cancel(self.scope()),
            3 => Order::First(self.number()),
            4 => Order::Answer(Decision::Decline),
            5 => Order::Conflict(self.scope(), self.pick(&answers)),
            _ => Order::Answer(Decision::Accept {
                folder,
                only,
                pass_on: true,
            }),
        }
    }

    pub fn wait(&mut self) -> Duration {
        Duration::from_millis(u64::from(self.byte()).pow(3))
    }
}
