//! Names that are taken by different content: the files that have them, and what the person says.

use std::collections::HashMap;

use super::status::Version;
use crate::config::{ConflictAnswer, ConflictPolicy};
use crate::protocol::message::Timestamp;
use crate::storage::folder::{Existing, Folder};
use crate::storage::journal::Replay;
use crate::storage::name::SafePath;
use crate::storage::publish::NUMBER_MAX;

/// A file that has the name of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rival {
    /// Its size and time.
    pub version: Version,
    /// The first number that is free for the new one beside it.
    number: u32,
}

impl Rival {
    /// A file of this size and time at `path`. Blocking.
    pub fn new(folder: &Folder, path: &SafePath, bytes: u64, modified: Timestamp) -> Self {
        let mut looks = folder.looks();
        let mut is_free = |number: &u32| {
            let found = looks.look(&path.numbered(*number));
            matches!(found, Ok(Existing::Nothing))
        };
        Self {
            version: Version { bytes, modified },
            number: (1..NUMBER_MAX).find(&mut is_free).unwrap_or(NUMBER_MAX),
        }
    }

    /// The regular file at `path`, if there is one. Blocking.
    pub fn look(folder: &Folder, path: &SafePath) -> Option<Self> {
        match folder.looks().look(path) {
            Ok(Existing::File { size, modified }) => Some(Self::new(folder, path, size, modified)),
            Ok(Existing::Nothing | Existing::Folder | Existing::Other) | Err(_) => None,
        }
    }

    /// What the entry at `path` would be called if both are kept.
    pub fn keep_both_as(&self, path: &str) -> String {
        SafePath::parse(path).map_or_else(
            |_| path.to_owned(),
            |path| path.numbered(self.number).as_str().to_owned(),
        )
    }
}

/// What the person said about names that are taken.
#[derive(Debug, Default)]
pub struct Answers {
    all: Option<ConflictAnswer>,
    files: HashMap<String, ConflictAnswer>,
}

impl Answers {
    /// What an earlier run of the program was told.
    pub fn of(replay: &Replay) -> Self {
        Self {
            all: replay.answer_all,
            files: replay.answers.clone(),
        }
    }

    /// Remembers an answer about one path, or about all others.
    pub fn insert(&mut self, path: Option<String>, answer: ConflictAnswer) {
        match path {
            Some(path) => {
                self.files.insert(path, answer);
            }
            None => self.all = Some(answer),
        }
    }

    /// What happens to this path when its name is taken. Nobody is asked twice.
    pub fn policy(&self, path: &str, policy: ConflictPolicy) -> ConflictPolicy {
        if policy != ConflictPolicy::Ask {
            return policy;
        }
        let answer = self.files.get(path).copied().or(self.all);
        answer.map_or(policy, ConflictAnswer::policy)
    }
}
