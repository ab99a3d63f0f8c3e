//! Where the entries of an outgoing transfer lie on this computer.

use std::collections::{BTreeSet, HashMap};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::table::SharedTable;
use crate::protocol::message::{Entry, FileIndex, SourceFault};
use crate::storage::name::{COMPONENT_LEN_MAX, numbered_name};
use crate::storage::scan::{Scanned, scan};

/// Local paths by entry. Most follow from the path that was chosen and the entry's own; only the
/// others are stored.
#[derive(Debug, Clone, Default)]
pub struct Sources(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    /// Local path of each top-level name.
    tops: HashMap<String, PathBuf>,
    /// Entries whose local path does not follow from their own: names that are not UTF-8.
    exact: HashMap<FileIndex, PathBuf>,
    /// Only these files are wanted, of all that is listed.
    only: Option<BTreeSet<String>>,
}

impl Sources {
    /// Nothing yet. Of what is added, only files with these paths count, if there are any given.
    pub fn only(only: Option<BTreeSet<String>>) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            only,
            ..Inner::default()
        })))
    }

    /// The local path of an entry.
    pub fn local(&self, index: FileIndex, path: &str) -> Option<PathBuf> {
        let inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.local(index, path)
    }

    /// Lists `paths` and appends what they hold to `table`. Blocking: run it where that is fine.
    /// Returns what could not be read, and whether everything else went in (it does not if the
    /// transfer would get too large). A path that is in the transfer already is left out.
    pub fn add(&self, paths: &[PathBuf], table: &SharedTable) -> Listed {
        let paths: Vec<PathBuf> = paths.iter().filter(|p| !self.has_top(p)).cloned().collect();
        let mut names = HashMap::new();
        let mut full = false;
        let failed = scan(&paths, &mut |scanned: Scanned| {
            if self.push(scanned, &mut names, table) {
                ControlFlow::Continue(())
            } else {
                full = true;
                ControlFlow::Break(())
            }
        });
        Listed { failed, full }
    }

    fn has_top(&self, path: &Path) -> bool {
        // A path that is not there is left to the listing, which reports it.
        let Ok(path) = path.canonicalize() else {
            return false;
        };
        let inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.tops.values().any(|top| *top == path)
    }

    fn push(
        &self,
        scanned: Scanned,
        names: &mut HashMap<String, String>,
        table: &SharedTable,
    ) -> bool {
        let Scanned { mut entry, local } = scanned;
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.rename_top(&mut entry, &local, names);
        if !inner.is_wanted(&entry.path) {
            return true;
        }
        let Ok(index) = table.lock().push(&entry) else {
            return false;
        };
        if inner.local(index, &entry.path).as_deref() != Some(&local) {
            inner.exact.insert(index, local);
        }
        true
    }
}

/// What came of listing.
#[derive(Debug, Default)]
pub struct Listed {
    /// What could not be read.
    pub failed: Vec<(String, SourceFault)>,
    /// Whether the limits of a transfer were reached.
    pub full: bool,
}

impl Inner {
    fn is_wanted(&self, path: &str) -> bool {
        self.only.as_ref().is_none_or(|only| only.contains(path))
    }

    fn local(&self, index: FileIndex, path: &str) -> Option<PathBuf> {
        if let Some(exact) = self.exact.get(&index) {
            return Some(exact.clone());
        }
        match path.split_once('/') {
            Some((top, rest)) => Some(self.tops.get(top)?.join(rest)),
            None => self.tops.get(path).cloned(),
        }
    }

    /// Gives an entry the name that its top level has in this transfer, which differs from the one
    /// on disk if something else of that name was chosen earlier.
    fn rename_top(&mut self, entry: &mut Entry, local: &Path, names: &mut HashMap<String, String>) {
        let (top, rest) = match entry.path.split_once('/') {
            Some((top, rest)) => (top.to_owned(), Some(rest.to_owned())),
            None => (entry.path.clone(), None),
        };
        if rest.is_none() {
            let mut name = top.clone();
            let mut n = 1;
            while self.tops.contains_key(&name) {
                // As the listing numbers them: after a restart all is listed at once.
                name = numbered_name(&top, n, COMPONENT_LEN_MAX);
                n += 1;
            }
            self.tops.insert(name.clone(), local.to_owned());
            names.insert(top.clone(), name);
        }
        if let Some(name) = names.get(&top) {
            entry.path = match rest {
                Some(rest) => format!("{name}/{rest}"),
                None => name.clone(),
            };
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_is_there_already_is_left_out_however_it_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, b"x").unwrap();
        std::fs::create_dir(dir.path().join("sub")).unwrap();
        std::os::unix::fs::symlink(&file, dir.path().join("link")).unwrap();
        let (sources, table) = (Sources::default(), SharedTable::default());
        let same = ["file", "file", "sub/../file", "./file", "link"];
        for way in same {
            let listed = sources.add(&[dir.path().join(way)], &table);
            assert!(listed.failed.is_empty() && !listed.full, "{way}");
            assert_eq!(table.lock().len(), 1, "{way}");
        }
        assert_eq!(table.lock().path(0), "file");
    }
}
