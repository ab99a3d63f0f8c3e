//! Who paused what. Survives a lost link, and is looked at before every piece that is sent.

use std::collections::HashSet;

use tokio::sync::watch;

use super::status::PausedBy;
use crate::protocol::message::{FileIndex, Scope};

/// What is paused now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pauses {
    all: Option<PausedBy>,
    files: HashSet<FileIndex>,
}

impl Pauses {
    /// Who paused the whole transfer.
    pub fn all(&self) -> Option<PausedBy> {
        self.all
    }

    /// Whether this file stands still.
    pub fn stops(&self, file: FileIndex) -> bool {
        self.all.is_some() || self.files.contains(&file)
    }

    /// Whether this file is paused by itself.
    pub fn has(&self, file: FileIndex) -> bool {
        self.files.contains(&file)
    }

    /// Whether any file is paused by itself.
    pub fn has_any(&self) -> bool {
        !self.files.is_empty()
    }

    /// Pauses.
    pub fn pause(&mut self, scope: Scope, by: PausedBy) {
        match scope {
            Scope::Transfer => self.all = Some(by),
            Scope::File(file) => {
                self.files.insert(file);
            }
        }
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
