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

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use crate::storage::source;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::{PermissionsExt, symlink};

    type Failed = Vec<(String, SourceFault)>;

    fn scanned(paths: &[PathBuf]) -> (Vec<Scanned>, Failed) {
        let mut all = Vec::new();
        let failed = scan(paths, &mut |one| {
            all.push(one);
            ControlFlow::Continue(())
        });
        for one in &all {
            assert!(SafePath::parse(&one.entry.path).is_ok(), "{one:?}");
        }
        (all, failed)
    }

    fn names(paths: &[PathBuf]) -> Vec<String> {
        scanned(paths)
            .0
            .into_iter()
            .map(|one| one.entry.path)
            .collect()
    }

    fn write(path: PathBuf, content: &str) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    #[test]
    fn a_tree_is_listed_in_order_with_folders_before_what_is_in_them() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().join("top");
        write(top.join("b/2"), "22");
        write(top.join("b/1"), "1");
        write(top.join("a.txt"), "");
        write(top.join("b.txt"), "");
        write(top.join(".hidden"), "");
        std::fs::create_dir(top.join("empty")).unwrap();
        let run = top.join("run");
        write(run.clone(), "#!");
        std::fs::set_permissions(&run, std::fs::Permissions::from_mode(0o755)).unwrap();
        let (all, failed) = scanned(std::slice::from_ref(&top));
        assert_eq!(failed, []);
        let paths: Vec<&str> = all.iter().map(|one| one.entry.path.as_str()).collect();
        let expected = [
            "top",
            "top/.hidden",
            "top/a.txt",
            "top/b",
            "top/b/1",
            "top/b/2",
            "top/b.txt",
            "top/empty",
            "top/run",
        ];
        assert_eq!(paths, expected);
        for one in &all {
            let below = one
                .entry
                .path
                .strip_prefix("top")
                .unwrap()
                .trim_start_matches('/');
            assert_eq!(
                one.local,
                if below.is_empty() {
                    top.clone()
                } else {
                    top.join(below)
                }
            );
            match one.entry.kind {
                EntryKind::File {
                    size,
                    modified,
                    executable,
                } => {
                    let file = source::open(&one.local).unwrap();
                    assert_eq!((size, modified), (file.size(), file.modified()));
                    assert_eq!(executable, one.entry.path == "top/run");
                }
                EntryKind::Folder { .. } => assert!(one.local.is_dir()),
                EntryKind::Symlink { .. } => panic!("there is no link"),
            }
        }
    }

    #[test]
    fn links_inside_are_links_those_that_leave_are_not_sent_and_chosen_ones_are_followed() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().join("top");
        write(top.join("sub/file"), "x");
        write(dir.path().join("secret"), "s");
        symlink("sub/file", top.join("inside")).unwrap();
        symlink("..", top.join("sub/loop")).unwrap();
        symlink("../secret", top.join("leaving")).unwrap();
        symlink("/etc/passwd", top.join("absolute")).unwrap();
        symlink("gone", top.join("dangling")).unwrap();
        let chosen = dir.path().join("chosen");
        symlink(top.join("sub"), &chosen).unwrap();
        let broken = dir.path().join("broken");
        symlink("nowhere", &broken).unwrap();
        let (all, failed) = scanned(&[top, chosen, broken.clone()]);
        let links: Vec<_> = all
            .iter()
            .filter_map(|one| match &one.entry.kind {
                EntryKind::Symlink { target } => Some((one.entry.path.as_str(), target.as_str())),
                EntryKind::File { .. } | EntryKind::Folder { .. } => None,
            })
            .collect();
        // In `chosen`, `loop` would lead out of what was chosen.
        let expected = [
            ("top/dangling", "gone"),
            ("top/inside", "sub/file"),
            ("top/sub/loop", ".."),
        ];
        assert_eq!(links, expected);
        let file = all
            .iter()
            .find(|one| one.entry.path == "chosen/file")
            .unwrap();
        assert!(source::open(&file.local).is_ok());
        assert_eq!(
            failed,
            [(broken.to_str().unwrap().to_owned(), SourceFault::Missing)]
        );
    }

    #[test]
    fn what_is_no_file_is_reported_and_the_rest_is_sent() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().join("top");
        write(top.join("z"), "x");
        let fifo = top.join("fifo");
        let mode = rustix::fs::Mode::RUSR;
        let kind = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, kind, mode, 0).unwrap();
        let socket = top.join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let missing = dir.path().join("missing");
        let (all, failed) = scanned(&[missing.clone(), top]);
        assert_eq!(all.len(), 2);
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        let expected = [
            (text(&missing), SourceFault::Missing),
            (text(&fifo), SourceFault::Unreadable),
            (text(&socket), SourceFault::Unreadable),
        ];
        assert_eq!(failed, expected);
    }

    #[test]
    fn equal_names_at_top_level_are_numbered_and_a_path_given_twice_is_sent_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = |text: &str| dir.path().join(text);
        for file in ["a/x.txt", "b/x.txt", "c/x.txt", "x (1).txt"] {
            write(path(file), "");
        }
        let chosen = [
            path("a/x.txt"),
            path("b/x.txt"),
            path("x (1).txt"),
            path("c/x.txt"),
        ];
        assert_eq!(
            names(&chosen),
            ["x.txt", "x (1).txt", "x (1) (1).txt", "x (2).txt"]
        );
        assert_eq!(names(&[path("a/x.txt"), path("a/x.txt")]), ["x.txt"]);
    }

    #[test]
    fn names_that_receivers_refuse_are_offered_as_others_and_stay_apart() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().join("top");
        for name in [&b"a\xff"[..], b"a\xfe", b"b\\c", b"b_c", b"\\.."] {
            write(top.join(OsStr::from_bytes(name)), "");
        }
        let drive = dir.path().join("C:x");
        write(drive.clone(), "");
        let (all, failed) = scanned(&[top, drive]);
        assert_eq!(failed, []);
        let paths: HashSet<&str> = all.iter().map(|one| one.entry.path.as_str()).collect();
        let expected = [
            "top",
            "top/_..",
            "top/a\u{fffd}",
            "top/a\u{fffd} (1)",
            "top/b_c",
            "top/b_c (1)",
            "C_x",
        ];
        assert_eq!(paths, HashSet::from(expected));
        assert!(all.iter().all(|one| one.local.exists()));
        let plain = all.iter().find(|one| one.entry.path == "top/b_c").unwrap();
        assert!(
            plain.local.ends_with("b_c"),
            "the name that was there keeps it"
        );
    }

    #[test]
    fn a_visitor_that_has_enough_ends_the_scan() {
        let dir = tempfile::tempdir().unwrap();
        for n in 0..10 {
            write(dir.path().join(format!("top/{n}")), "");
        }
        let mut seen = 0;
        scan(&[dir.path().join("top")], &mut |_| {
            seen += 1;
            if seen == 3 {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        });
        assert_eq!(seen, 3);
    }

    #[test]
    fn a_tree_that_is_too_deep_is_reported_and_ends() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("top").join(vec!["d"; 150].join("/"));
        std::fs::create_dir_all(deep).unwrap();
        let (all, failed) = scanned(&[dir.path().join("top")]);
        assert_eq!(all.len(), crate::storage::name::COMPONENTS_MAX);
        assert_eq!(failed.len(), 1);
    }

    #[test]
    fn a_path_that_ends_in_dots_has_the_name_of_its_folder() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("top/sub")).unwrap();
        assert_eq!(names(&[dir.path().join("top/sub/..")]), ["top", "top/sub"]);
        assert_eq!(names(&[dir.path().join("top/.")]), ["top", "top/sub"]);
    }
}
