//! Who paused what. Survives a lost link, and is looked at before every piece that is sent.

use std::collections::BTreeMap;

use tokio::sync::watch;

use super::status::PausedBy;
use crate::protocol::message::{FileIndex, Scope};

/// What is paused now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pauses {
    all: Option<PausedBy>,
    /// Whether the other side has paused all of it, also if `all` names somebody here.
    theirs: bool,
    files: BTreeMap<FileIndex, PausedBy>,
}

impl Pauses {
    /// Who paused the whole transfer.
    pub fn all(&self) -> Option<PausedBy> {
        self.all
    }

    /// Whether this file stands still.
    pub fn stops(&self, file: FileIndex) -> bool {
        self.all.is_some() || self.files.contains_key(&file)
    }

    /// Whether this file is paused by itself.
    pub fn has(&self, file: FileIndex) -> bool {
        self.files.contains_key(&file)
    }

    /// Whether any file is paused by itself.
    pub fn has_any(&self) -> bool {
        !self.files.is_empty()
    }

    /// Pauses.
    pub fn pause(&mut self, scope: Scope, by: PausedBy) {
        match scope {
            Scope::Transfer => {
                self.theirs |= by == PausedBy::Peer;
                self.all = Some(by);
            }
            // A pause of our own stays ours if the other side pauses as well.
            Scope::File(file) if by == PausedBy::Us => {
                self.files.insert(file, by);
            }
            Scope::File(file) => {
                self.files.entry(file).or_insert(by);
            }
        }
    }

    /// Whether this file is paused by itself from here.
    pub fn is_ours(&self, file: FileIndex) -> bool {
        self.files.get(&file) == Some(&PausedBy::Us)
    }

    /// Files that are paused by themselves from here.
    pub fn ours(&self) -> Vec<FileIndex> {
        let ours = self.files.iter().filter(|(_, by)| **by == PausedBy::Us);
        ours.map(|(file, _)| *file).collect()
    }

    /// Files that are paused by themselves, whoever did it.
    pub fn files(&self) -> Vec<FileIndex> {
        self.files.keys().copied().collect()
    }

    /// Whether this file is paused by itself from the other side alone.
    pub fn is_theirs(&self, file: FileIndex) -> bool {
        self.files.get(&file) == Some(&PausedBy::Peer)
    }

    /// Whether the other side has paused all of it, also if somebody here has done so since.
    pub fn all_is_theirs(&self) -> bool {
        self.theirs
    }

    /// Files that are paused by themselves from the other side alone.
    pub fn theirs(&self) -> Vec<FileIndex> {
        let theirs = self.files.iter().filter(|(_, by)| **by == PausedBy::Peer);
        theirs.map(|(file, _)| *file).collect()
    }

    /// Forgets what the other side paused: it says so again over each new link. Gives back which
    /// files.
    pub fn forget_theirs(&mut self) -> Vec<FileIndex> {
        let is_theirs = |(_, by): &(&FileIndex, &PausedBy)| **by != PausedBy::Us;
        let theirs = self.files.iter().filter(is_theirs);
        let theirs: Vec<FileIndex> = theirs.map(|(file, _)| *file).collect();
        self.files.retain(|_, by| *by == PausedBy::Us);
        self.theirs = false;
        theirs
    }

    /// Forgets which files are paused: their numbers mean nothing any more.
    pub fn forget_files(&mut self) {
        self.files.clear();
    }

    /// Goes on, whoever had paused.
    pub fn resume(&mut self, scope: Scope) {
        match scope {
            Scope::Transfer => (self.all, self.theirs) = (None, false),
            Scope::File(file) => {
                self.files.remove(&file);
            }
        }
    }

    /// Somebody here wants it to go on while the other side is not there to hear it: what that has
    /// paused stays so.
    pub fn resume_ours(&mut self, scope: Scope) {
        match scope {
            Scope::Transfer => self.all = self.theirs.then_some(PausedBy::Peer),
            Scope::File(file) if self.is_theirs(file) => {}
            Scope::File(_) => self.resume(scope),
        }
    }
}

/// Waits until `file` may move. Cancel-safe. Ends when the transfer does.
pub async fn gate(pauses: &mut watch::Receiver<Pauses>, file: FileIndex) {
    if pauses.borrow().stops(file) {
        let _ = pauses.wait_for(|p| !p.stops(file)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_other_side_paused_is_known_under_a_pause_from_here_and_outlasts_it() {
        let mut pauses = Pauses::default();
        pauses.pause(Scope::Transfer, PausedBy::Peer);
        pauses.pause(Scope::Transfer, PausedBy::Us);
        assert_eq!(pauses.all(), Some(PausedBy::Us));
        assert!(pauses.all_is_theirs());
        pauses.resume_ours(Scope::Transfer);
        assert_eq!(pauses.all(), Some(PausedBy::Peer));
        pauses.pause(Scope::File(1), PausedBy::Peer);
        pauses.pause(Scope::File(2), PausedBy::Us);
        for file in [1, 2] {
            pauses.resume_ours(Scope::File(file));
        }
        assert_eq!(pauses.files(), [1]);
        // Over a new link it says so again, if it is still so.
        assert_eq!(pauses.forget_theirs(), [1]);
        assert!(pauses.theirs().is_empty() && !pauses.all_is_theirs());
        pauses.resume_ours(Scope::Transfer);
        assert_eq!(pauses.all(), None);
    }
}
