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
pub fn numbered_name(name: &str, n: u32, max: usize) -> String {
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

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn safe(path: &str) -> String {
        SafePath::parse(path).unwrap().as_str().to_owned()
    }

    #[test]
    fn paths_that_lead_elsewhere_are_refused() {
        use NameOffence as N;
        for (path, offence) in [
            ("", N::Empty),
            ("a//b", N::Empty),
            ("a/", N::Empty),
            ("/etc/passwd", N::Absolute),
            ("//server/share", N::Absolute),
            ("..", N::Traversal),
            (".", N::Traversal),
            ("a/../b", N::Traversal),
            ("a/./b", N::Traversal),
            ("a/..", N::Traversal),
            ("..\\x", N::Backslash),
            ("\\\\server\\share", N::Backslash),
            ("C:", N::Drive),
            ("c:/x", N::Drive),
            ("C:x", N::Drive),
            ("a\0b", N::Nul),
        ] {
            assert_eq!(SafePath::parse(path), Err(offence), "{path:?}");
        }
        let long = "a/".repeat(PATH_LEN_MAX / 2);
        assert_eq!(SafePath::parse(&format!("{long}b")), Err(N::TooLong));
        let deep = vec!["a"; COMPONENTS_MAX + 1].join("/");
        assert_eq!(SafePath::parse(&deep), Err(N::TooDeep));
        assert!(SafePath::parse(&deep[2..]).is_ok());
        // Fits as it is sent, but not as it would be stored.
        let fill = format!(
            "{}/{}",
            vec!["y".repeat(200); 19].join("/"),
            "z".repeat(197)
        );
        let grows = format!("{}{fill}", "NUL/".repeat(20));
        assert_eq!(grows.len(), PATH_LEN_MAX);
        assert_eq!(SafePath::parse(&grows), Err(N::TooLong));
        assert!(SafePath::parse(&grows.replace("NUL", "nul_")[20..]).is_ok());
    }

    #[test]
    fn odd_names_become_plain_ones() {
        let long = "x".repeat(300);
        for (path, stored) in [
            ("a\u{1b}[2Jb", "a_[2Jb"),
            ("photo\u{202e}gpj.exe", "photo_gpj.exe"),
            ("a\u{2028}b\u{7f}c\u{200b}d", "a_b_c_d"),
            ("what? \"<a>:b|*\"", "what_ __a__b___"),
            ("name.", "name_"),
            ("name. .", "name. _"),
            ("dir /x", "dir_/x"),
            ("CON", "_CON"),
            ("nul.txt", "_nul.txt"),
            ("a/Com1.tar.gz", "a/_Com1.tar.gz"),
            ("COM¹", "_COM¹"),
            ("lpt0 .x", "_lpt0 .x"),
            (".ssh/id", "_.ssh/id"),
            ("Desktop.ini", "_Desktop.ini"),
            (".x.t.pcpart", "_.x.t.pcpart_"),
            ("a/x.PCPART", "a/x.PCPART_"),
            ("...", "_.._"),
        ] {
            assert_eq!(safe(path), stored);
        }
        let short = safe(&format!("{long}.jpeg"));
        assert_eq!(short.len(), COMPONENT_LEN_MAX);
        assert!(short.starts_with("xxx") && short.ends_with(".jpeg"));
        assert_ne!(short, safe(&format!("{long}x.jpeg")), "still two names");
        assert!(safe(&"照".repeat(100)).len() <= COMPONENT_LEN_MAX);
    }

    #[test]
    fn ordinary_names_stay_as_they_are() {
        for path in [
            "Report (final) [2].pdf",
            "a/.git/config",
            "照片/é ü.jpg",
            "🎉 party_-",
            "a.b.c.tar.gz",
            "console.log",
            "COM10",
            "common/null/auxiliary",
            " leading blank",
            "-rf",
            "~",
            "$HOME `x`; rm 'y' & #%{}",
        ] {
            assert_eq!(safe(path), path);
        }
    }

    #[test]
    fn parts_of_a_path() {
        let path = SafePath::parse("a/b/c.txt").unwrap();
        assert_eq!(path.top(), "a");
        assert_eq!(path.file_name(), "c.txt");
        assert_eq!(path.parent().unwrap().as_str(), "a/b");
        assert_eq!(path.components().collect::<Vec<_>>(), ["a", "b", "c.txt"]);
        let top = SafePath::parse("c").unwrap();
        assert_eq!((top.top(), top.file_name(), top.parent()), ("c", "c", None));
    }

    #[test]
    fn numbers_come_before_the_last_suffix() {
        for (path, numbered) in [
            ("name.ext", "name (1).ext"),
            ("a/.hidden", "a/.hidden (1)"),
            ("a.tar.gz", "a.tar (1).gz"),
            ("d.d/plain", "d.d/plain (1)"),
            ("Mr. Smith goes", "Mr. Smith goes (1)"),
            ("a/..x", "a/..x (1)"),
        ] {
            assert_eq!(
                SafePath::parse(path).unwrap().numbered(1).as_str(),
                numbered
            );
        }
        let long = SafePath::parse(&format!("a/{}.txt", "照".repeat(64))).unwrap();
        let numbered = long.numbered(u32::MAX);
        assert!(numbered.file_name().len() <= COMPONENT_LEN_MAX);
        assert!(numbered.file_name().ends_with(" (4294967295).txt"));
    }

    #[test]
    fn links_may_point_only_into_what_they_came_with() {
        let ok =
            |link: &str, target: &str| is_safe_link_target(&SafePath::parse(link).unwrap(), target);
        assert!(ok("top/a/link", "b"));
        assert!(ok("top/a/link", "../c/d"));
        assert!(ok("top/link", "./a/b/"));
        assert!(!ok("top/a/link", "../../c"), "beside the top-level item");
        assert!(!ok("top/link", ".."));
        assert!(!ok("top/link", "../top/x"), "out and in again");
        assert!(!ok("link", "x"), "a link at top level came with nothing");
        assert!(!ok("top/link", ""));
        assert!(!ok("top/link", "/etc/passwd"));
        assert!(!ok("top/link", "C:x"));
        assert!(!ok("top/link", "..\\..\\x"));
        assert!(!ok("top/link", "a\0b"));
        // With top/a/b -> ../.. (= top/..) this would be two levels up.
        assert!(!ok("top/x/y", "a/b/../.."), "up from where a link may lead");
    }

    /// Pieces that matter to some rule, to be put together at random.
    const PIECES: &[&str] = &[
        "..",
        ".",
        "/",
        "\\",
        "C:",
        ":",
        "\0",
        "\n",
        "\u{1b}[31m",
        "\u{7f}",
        "\u{85}",
        "\u{202e}",
        "\u{200b}",
        "\u{2028}",
        "\u{feff}",
        "\u{fe0f}",
        "CON",
        "nul",
        "COM1",
        "LPT¹",
        "aux.",
        ".txt",
        ".pcpart",
        ".ssh",
        "desktop.ini",
        " ",
        "*",
        "?",
        "<",
        ">",
        "|",
        "\"",
        "a",
        "é",
        "照",
        "🎉",
        "e\u{301}",
        "~",
        "-",
        "_",
        "$x",
        "etc/passwd",
        "%2e%2e",
        "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
    ];

    fn assert_harmless(path: &SafePath) {
        let text = path.as_str();
        assert_eq!(
            SafePath::parse(text).as_ref(),
            Ok(path),
            "{text:?} changes again"
        );
        assert!(text.len() <= PATH_LEN_MAX);
        assert!(!text.contains(['\0', '\\', ':']) && !text.chars().any(is_deceptive));
        assert!(!path.top().starts_with('.'));
        for component in path.components() {
            assert!(!matches!(component, "" | "." | ".."), "{text:?}");
            assert!(component.len() <= COMPONENT_LEN_MAX);
            assert!(!component.ends_with(['.', ' ']));
            assert!(!component.to_ascii_lowercase().ends_with(PART_SUFFIX));
            let base = component
                .split('.')
                .next()
                .unwrap()
                .trim_end()
                .to_uppercase();
            assert!(!["CON", "NUL", "AUX", "PRN", "COM1", "LPT¹"].contains(&base.as_str()));
        }
        // What std makes of it stays below as well.
        let joined = std::path::Path::new("/base").join(text);
        assert!(joined.starts_with("/base"));
        let normal = |c| matches!(c, std::path::Component::Normal(_));
        assert!(std::path::Path::new(text).components().all(normal));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        #[test]
        fn whatever_is_accepted_is_harmless(
            pieces in proptest::collection::vec(proptest::sample::select(PIECES), 1..12),
            n in 1u32..2000,
        ) {
            if let Ok(path) = SafePath::parse(&pieces.concat()) {
                assert_harmless(&path);
                assert_harmless(&path.numbered(n));
            }
        }

        #[test]
        fn any_text_is_refused_or_made_harmless(text in any::<String>()) {
            if let Ok(path) = SafePath::parse(&text) {
                assert_harmless(&path);
            }
        }
    }
}
