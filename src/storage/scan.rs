//! Lists what a person chose to send: every file, folder and link, with the path it is offered
//! under. Links are never walked through, so that loops cannot happen.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fs::{FileType, Metadata};
use std::io;
use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::name::{COMPONENT_LEN_MAX, SafePath, has_drive, is_safe_link_target, numbered_name};
use super::source::{fault, modified};
use crate::protocol::groups::FILE_SIZE_MAX;
use crate::protocol::message::{ENTRIES_MAX, Entry, EntryKind, SourceFault};

/// Most failures that are told one by one; the rest of a broken disk is the same again.
const FAILURES_MAX: usize = 10_000;

/// One entry, and where it is here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scanned {
    /// What is offered. The path is always one that [`SafePath::parse`] takes.
    pub entry: Entry,
    /// Where it is on this computer; no link as the last component, except for links themselves.
    pub local: PathBuf,
}

/// Lists `paths` and everything in them: each chosen path in its turn, folders before what is in
/// them, names in order. Gives what cannot be sent, and why.
///
/// A link that was chosen itself is followed. A link inside a chosen folder is offered as a link
/// if it stays inside, and left out otherwise. Sockets, FIFOs and devices are left out and
/// reported as unreadable. Names that are not text are offered with U+FFFD in them, and equal
/// names at top level are numbered. Ends early when `visit` breaks.
pub fn scan(
    paths: &[PathBuf],
    visit: &mut dyn FnMut(Scanned) -> ControlFlow<()>,
) -> Vec<(String, SourceFault)> {
    let mut scan = Scan {
        visit,
        failed: Vec::new(),
    };
    let mut names = HashSet::new();
    let mut seen = HashSet::new();
    for path in paths {
        if seen.insert(path) && scan.chosen(path, &mut names).is_break() {
            break;
        }
    }
    scan.failed
}

struct Scan<'a> {
    visit: &'a mut dyn FnMut(Scanned) -> ControlFlow<()>,
    failed: Vec<(String, SourceFault)>,
}

/// A folder that is being listed: what is left of it, in reverse order.
struct Level {
    path: String,
    local: PathBuf,
    rest: Vec<(String, OsString)>,
}

impl Scan<'_> {
    fn chosen(&mut self, path: &Path, names: &mut HashSet<String>) -> ControlFlow<()> {
        let found = std::path::absolute(path).and_then(|named| {
            let local = named.canonicalize()?;
            let metadata = std::fs::symlink_metadata(&local)?;
            Ok((named, local, metadata))
        });
        let (named, local, metadata) = match found {
            Ok(found) => found,
            Err(e) => return self.fail(path, fault(&e)),
        };
        // `..` has no name of its own, the folder it leads to has.
        let name = named.file_name().or(local.file_name());
        let name = unique(names, top_name(name.unwrap_or(OsStr::new("files"))));
        let mut levels = Vec::new();
        self.entry(name, local, &metadata, &mut levels)?;
        while let Some(level) = levels.last_mut() {
            let Some((name, local)) = level.rest.pop() else {
                levels.pop();
                continue;
            };
            let path = format!("{}/{name}", level.path);
            let local = level.local.join(local);
            match std::fs::symlink_metadata(&local) {
                Ok(metadata) => self.entry(path, local, &metadata, &mut levels)?,
                Err(e) => self.fail(&local, fault(&e))?,
            }
        }
        ControlFlow::Continue(())
    }

    /// Visits one entry; a folder is pushed to `levels` to be listed next.
    fn entry(
        &mut self,
        path: String,
        local: PathBuf,
        metadata: &Metadata,
        levels: &mut Vec<Level>,
    ) -> ControlFlow<()> {
        let Ok(safe) = SafePath::parse(&path) else {
            // Too long or too deep for any receiver; all else was mapped.
            return self.fail(&local, SourceFault::Unreadable);
        };
        let kind = metadata.file_type();
        let kind = if kind.is_dir() {
            let rest = match children(&local) {
                Ok(rest) => rest,
                Err(e) => return self.fail(&local, fault(&e)),
            };
            levels.push(Level {
                path: path.clone(),
                local: local.clone(),
                rest,
            });
            EntryKind::Folder {
                modified: modified(metadata),
            }
        } else if kind.is_symlink() {
            match link_target(&safe, &local) {
                Ok(Some(target)) => EntryKind::Symlink { target },
                Ok(None) => {
                    tracing::debug!(path = ?crate::text::Shown(&path), "link leaves the folder");
                    return ControlFlow::Continue(());
                }
                Err(e) => return self.fail(&local, fault(&e)),
            }
        } else if is_sendable(kind, metadata) {
            EntryKind::File {
                size: metadata.len(),
                modified: modified(metadata),
                executable: metadata.mode() & 0o100 != 0,
            }
        } else {
            return self.fail(&local, SourceFault::Unreadable);
        };
        (self.visit)(Scanned {
            entry: Entry { path, kind },
            local,
        })
    }

    fn fail(&mut self, path: &Path, why: SourceFault) -> ControlFlow<()> {
        if self.failed.len() < FAILURES_MAX {
            self.failed.push((path.to_string_lossy().into_owned(), why));
        }
        ControlFlow::Continue(())
    }
}

fn is_sendable(kind: FileType, metadata: &Metadata) -> bool {
    kind.is_file() && metadata.len() <= FILE_SIZE_MAX
}

/// Names in a folder as offered and as they are, last one first.
fn children(local: &Path) -> io::Result<Vec<(String, OsString)>> {
    let mut names = Vec::new();
    // More than a transfer may have; whoever counts the entries stops soon after.
    for child in std::fs::read_dir(local)?.take(ENTRIES_MAX as usize + 1) {
        names.push(child?.file_name());
    }
    names.sort_unstable();
    // Names that had to be changed must not fall together with others.
    let mut taken: HashSet<String> = HashSet::new();
    let plain = |name: &OsStr| name.to_str().is_some_and(|name| !name.contains('\\'));
    if !names.iter().all(|name| plain(name)) {
        let plain = names.iter().filter(|name| plain(name));
        taken.extend(plain.map(|name| offered_name(name)));
    }
    let mut children: Vec<_> = names
        .into_iter()
        .map(|name| {
            let offered = offered_name(&name);
            let offered = if plain(&name) {
                offered
            } else {
                unique(&mut taken, offered)
            };
            (offered, name)
        })
        .collect();
    children.reverse();
    Ok(children)
}

/// The name as text. A backslash would make the receiver refuse it.
fn offered_name(name: &OsStr) -> String {
    name.to_string_lossy().replace('\\', "_")
}

fn top_name(name: &OsStr) -> String {
    let name = offered_name(name);
    if has_drive(&name) {
        name.replacen(':', "_", 1)
    } else {
        name
    }
}

/// `name`, numbered if it is taken.
fn unique(taken: &mut HashSet<String>, name: String) -> String {
    let mut free = name.clone();
    // There is always a free one: fewer names are taken than there are numbers.
    for n in 1..=u32::MAX {
        if !taken.contains(&free) {
            break;
        }
        free = numbered_name(&name, n, COMPONENT_LEN_MAX.max(name.len()));
    }
    taken.insert(free.clone());
    free
}

/// Where a link inside a chosen folder points, if it may be sent.
fn link_target(link: &SafePath, local: &Path) -> io::Result<Option<String>> {
    let target = std::fs::read_link(local)?;
    let target = target.to_str().filter(|t| is_safe_link_target(link, t));
    Ok(target.map(str::to_owned))
}
