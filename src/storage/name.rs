//! Names from a peer, made into paths below the download folder.
//!
//! A name that tries to leave the folder is refused, never repaired. A name that is merely odd is
//! mapped to one that every system can store and no screen is deceived by. Whoever holds a
//! [`SafePath`] holds the proof; nothing in `storage` takes a peer's text as a path.

use std::fmt;

use crate::protocol::message::PATH_LEN_MAX;
use crate::text::{Shown, is_deceptive};

/// Most bytes of one component. Leaves room for ` (1)` and for what the name of a part adds
/// within the 255 bytes that file systems allow.
pub const COMPONENT_LEN_MAX: usize = 200;

/// Most components of a path: three times what the deepest trees of people's programs have.
pub const COMPONENTS_MAX: usize = 128;

/// What the names of our partial files end with. No [`SafePath`] ends like this.
pub const PART_SUFFIX: &str = ".pcpart";

/// A relative path with `/` between its components (at least one) that cannot leave the folder
/// it is used in. Parsing it again changes nothing.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SafePath(String);

/// Why a name cannot be used at all. Every variant is the peer's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum NameOffence {
    /// Nothing, or nothing between two slashes.
    #[error("empty name")]
    Empty,
    /// Starts at the root of the file system or of a network share.
    #[error("absolute path")]
    Absolute,
    /// A component `.` or `..`.
    #[error("path that leads elsewhere")]
    Traversal,
    /// A backslash, which is a separator on some systems.
    #[error("backslash in the name")]
    Backslash,
    /// Starts with a drive letter.
    #[error("drive letter")]
    Drive,
    /// A zero byte.
    #[error("zero byte in the name")]
    Nul,
    /// More bytes than [`PATH_LEN_MAX`].
    #[error("path too long")]
    TooLong,
    /// More components than [`COMPONENTS_MAX`].
    #[error("path too deep")]
    TooDeep,
}

impl SafePath {
    /// The safe form of a path that a peer sent.
    ///
    /// Each of these becomes `_`: characters that control, hide or reorder text, characters that
    /// Windows cannot store, a dot or space at the end. `_` is put in front of names that Windows
    /// reserves, and at top level of hidden names; behind [`PART_SUFFIX`]. Components longer
    /// than [`COMPONENT_LEN_MAX`] are shortened, keeping the extension and what tells them apart.
    pub fn parse(path: &str) -> Result<Self, NameOffence> {
        if path.is_empty() {
            return Err(NameOffence::Empty);
        }
        if path.len() > PATH_LEN_MAX {
            return Err(NameOffence::TooLong);
        }
        if path.contains('\0') {
            return Err(NameOffence::Nul);
        }
        if path.contains('\\') {
            return Err(NameOffence::Backslash);
        }
        if path.starts_with('/') {
            return Err(NameOffence::Absolute);
        }
        if has_drive(path) {
            return Err(NameOffence::Drive);
        }
        let mut safe = String::with_capacity(path.len() + 8);
        for (depth, component) in path.split('/').enumerate() {
            if depth == COMPONENTS_MAX {
                return Err(NameOffence::TooDeep);
            }
            match component {
                "" => return Err(NameOffence::Empty),
                "." | ".." => return Err(NameOffence::Traversal),
                _ => {}
            }
            if depth > 0 {
                safe.push('/');
            }
            push_safe_component(&mut safe, component, depth == 0);
        }
        // A `_` in front of a component may have made the whole longer.
        if safe.len() > PATH_LEN_MAX {
            return Err(NameOffence::TooLong);
        }
        Ok(Self(safe))
    }

    /// The path with `/` between its components.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The components from the top; at least one, none empty.
    pub fn components(&self) -> impl Iterator<Item = &str> {
        self.0.split('/')
    }

    /// The last component.
    pub fn file_name(&self) -> &str {
        self.split().1
    }

    /// The path without its last component; `None` at top level.
    pub fn parent(&self) -> Option<Self> {
        match self.split().0 {
            "" => None,
            parent => Some(Self(parent.to_owned())),
        }
    }

    /// The first component.
    pub fn top(&self) -> &str {
        self.0.split_once('/').map_or(&self.0, |(top, _)| top)
    }

    /// The name to try when this one is taken for the `n`-th time: `name (n).ext`. The number
    /// comes before the last suffix; a name that is only a suffix gets it at the end.
    pub fn numbered(&self, n: u32) -> Self {
        let (parent, name) = self.split();
        let room = PATH_LEN_MAX.saturating_sub(parent.len() + 1);
        let name = numbered_name(name, n, room.min(COMPONENT_LEN_MAX));
        Self(join(parent, &name))
    }

    /// Parent, empty at top level, and last component.
    pub(super) fn split(&self) -> (&str, &str) {
        self.0.rsplit_once('/').unwrap_or(("", &self.0))
    }
}

impl fmt::Display for SafePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for SafePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&Shown(&self.0), f)
    }
}

/// Whether a symbolic link at `link` may point to `target`: a relative path that stays inside the
/// top-level item which the link belongs to, also when other such links are on its way.
///
/// `..` is allowed at the beginning only. Behind a name it would go up from wherever that name
/// leads if it is a link itself, and two harmless links together would leave the folder.
pub fn is_safe_link_target(link: &SafePath, target: &str) -> bool {
    if target.is_empty()
        || target.len() > PATH_LEN_MAX
        || target.starts_with('/')
        || target.contains('\\')
        || target.chars().any(is_deceptive)
        || has_drive(target)
    {
        return false;
    }
    // Components above the link, the top-level item among them: at least that one must stay.
    let mut above = link.components().count() - 1;
    let mut going_down = false;
    for component in target.split('/') {
        match component {
            "" | "." => {}
            ".." if going_down || above == 0 => return false,
            ".." => above -= 1,
            _ => going_down = true,
        }
    }
    above > 0
}

/// `name (n).ext` in at most `max` bytes (`max` must leave room for the number).
pub(super) fn numbered_name(name: &str, n: u32, max: usize) -> String {
    let (stem, extension) = split_extension(name);
    let end = format!(" ({n}){extension}");
    let room = max.saturating_sub(end.len()).min(stem.len());
    let mut numbered = stem[..stem.floor_char_boundary(room)].to_owned();
    numbered.push_str(&end);
    numbered
}

/// `parent/name`, or `name` where there is no parent.
pub(super) fn join(parent: &str, name: &str) -> String {
    if parent.is_empty() {
        name.to_owned()
    } else {
        format!("{parent}/{name}")
    }
}

/// Whether a path starts with a drive letter, which makes it leave its folder on Windows.
pub(super) fn has_drive(path: &str) -> bool {
    matches!(path.as_bytes(), [letter, b':', ..] if letter.is_ascii_alphabetic())
}

fn push_safe_component(safe: &mut String, component: &str, top: bool) {
    let plain = |c: char| !is_deceptive(c) && !matches!(c, '<' | '>' | ':' | '"' | '|' | '?' | '*');
    let mut name: String = component
        .chars()
        .map(|c| if plain(c) { c } else { '_' })
        .collect();
    if name.ends_with(['.', ' ']) {
        name.pop();
        name.push('_');
    }
    if ends_with_ignoring_case(&name, PART_SUFFIX) {
        name.push('_');
    }
    if is_reserved(&name) || (top && is_hidden(&name)) {
        name.insert(0, '_');
    }
    if name.len() > COMPONENT_LEN_MAX {
        name = shortened(&name);
    }
    safe.push_str(&name);
}

/// Names that open a device on Windows, with any extension.
fn is_reserved(name: &str) -> bool {
    let base = name.split('.').next().unwrap_or_default().trim_end();
    // Most names are longer than all reserved ones; this is on the way of every file.
    if base.len() > 8 {
        return false;
    }
    let base = base.to_ascii_uppercase();
    if matches!(
        base.as_str(),
        "CON" | "PRN" | "AUX" | "NUL" | "CONIN$" | "CONOUT$" | "CLOCK$"
    ) {
        return true;
    }
    base.strip_prefix("COM")
        .or_else(|| base.strip_prefix("LPT"))
        .is_some_and(|port| {
            let mut digits = port.chars();
            let is_digit = |c: char| c.is_ascii_digit() || matches!(c, '¹' | '²' | '³');
            digits.next().is_some_and(is_digit) && digits.next().is_none()
        })
}

/// Names that a file manager does not show, or obeys, in the folder that people look at.
fn is_hidden(name: &str) -> bool {
    name.starts_with('.')
        || name.eq_ignore_ascii_case("desktop.ini")
        || name.eq_ignore_ascii_case("autorun.inf")
}

fn ends_with_ignoring_case(name: &str, suffix: &str) -> bool {
    let start = name.len().checked_sub(suffix.len());
    start
        .and_then(|start| name.get(start..))
        .is_some_and(|end| end.eq_ignore_ascii_case(suffix))
}

/// The start of a long name, a mark made from all of it, and its extension. The mark keeps two
/// long folder names with the same start from becoming one folder.
fn shortened(name: &str) -> String {
    let (stem, extension) = split_extension(name);
    let hash = blake3::hash(name.as_bytes()).to_hex();
    let end = format!("~{}{extension}", &hash[..8]);
    let mut short = stem[..stem.floor_char_boundary(COMPONENT_LEN_MAX - end.len())].to_owned();
    short.push_str(&end);
    short
}

/// Splits `name.ext` before the last dot. What has blanks in it or is long is text, no extension.
fn split_extension(name: &str) -> (&str, &str) {
    /// Longer than the extensions in use, `.code-workspace` included.
    const EXTENSION_LEN_MAX: usize = 24;
    match name.rfind('.') {
        Some(dot) => {
            let (stem, extension) = name.split_at(dot);
            let ordinary = extension.len() > 1
                && extension.len() <= EXTENSION_LEN_MAX
                && !extension.contains(char::is_whitespace)
                && !stem.trim_start_matches('.').is_empty();
            if ordinary {
                (stem, extension)
            } else {
                (name, "")
            }
        }
        None => (name, ""),
    }
}
