//! Who paused what. Survives a lost link, and is looked at before every piece that is sent.

use std::collections::BTreeMap;

use tokio::sync::watch;

use super::status::PausedBy;
use crate::protocol::message::{FileIndex, Scope};

/// What is paused now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pauses {
    all: Option<PausedBy>,
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
            Scope::Transfer => self.all = Some(by),
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

    /// Forgets which files the other side paused: it says so again over each new link. Gives back
    /// which ones.
    pub fn forget_theirs(&mut self) -> Vec<FileIndex> {
        let is_theirs = |(_, by): &(&FileIndex, &PausedBy)| **by != PausedBy::Us;
        let theirs = self.files.iter().filter(is_theirs);
        let theirs: Vec<FileIndex> = theirs.map(|(file, _)| *file).collect();
        self.files.retain(|_, by| *by == PausedBy::Us);
        theirs
    }

    /// Forgets which files are paused: their numbers mean nothing any more.
    pub fn forget_files(&mut self) {
        self.files.clear();
    }

    /// Goes on, whoever had paused.
    pub fn resume(&mut self, scope: Scope) {
        match scope {
            Scope::Transfer => self.all = None,
            Scope::File(file) => {
                self.files.remove(&file);
            }
        }
    }
}

/// Waits until `file` may move. Cancel-safe. Ends when the transfer does.
pub async fn gate(pauses: &mut watch::Receiver<Pauses>, file: FileIndex) {
    if pauses.borrow().stops(file) {
        let _ = pauses.wait_for(|p| !p.stops(file)).await;
    }
}
