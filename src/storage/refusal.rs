//! Why a folder or file cannot be written, as people say it.

use std::io;
use std::path::Path;

/// What a person is told whom the system does not let write.
const NO_PERMISSION: &str = "no permission";

/// What the system said, in plain words where it is something that people meet.
pub fn plain(error: &io::Error) -> String {
    let known = [
        (io::ErrorKind::PermissionDenied, NO_PERMISSION),
        (io::ErrorKind::ReadOnlyFilesystem, "it is read-only"),
        (io::ErrorKind::NotFound, "it is not there"),
        (io::ErrorKind::NotADirectory, "it is not a folder"),
    ];
    let found = known.iter().find(|(kind, _)| *kind == error.kind());
    found.map_or_else(|| error.to_string(), |(_, words)| (*words).to_owned())
}

/// The same about `path`; where a permission is missing, with who we are and whose it is.
/// Blocking.
pub fn refusal(path: &Path, error: &io::Error) -> String {
    with_owner(path, plain(error))
}

/// What [`plain`] has said about `path`, with who we are and whose it is, where a permission is
/// missing. Blocking.
pub fn with_owner(path: &Path, why: String) -> String {
    match owner_words(path).filter(|_| why == NO_PERMISSION) {
        Some(words) => format!("{why} ({words})"),
        None => why,
    }
}

#[cfg(unix)]
fn owner_words(path: &Path) -> Option<String> {
    use std::os::unix::fs::MetadataExt;

    // What cannot be made is refused by what it would be in.
    let mut there = path.ancestors();
    let (at, found) = there.find_map(|at| Some((at, std::fs::metadata(at).ok()?)))?;
    let what = match (at == path, found.is_dir()) {
        (true, true) => "folder".to_owned(),
        (true, false) => "file".to_owned(),
        (false, _) => crate::text::Shown(&at.to_string_lossy()).to_string(),
    };
    let me = rustix::process::geteuid().as_raw();
    let users = users();
    Some(whose(&what, me, found.uid(), &users))
}

#[cfg(not(unix))]
fn owner_words(_path: &Path) -> Option<String> {
    None
}

/// `you are "user", folder belongs to "root"`.
#[cfg(unix)]
fn whose(what: &str, me: u32, owner: u32, users: &str) -> String {
    let you = name(me, users);
    match me == owner {
        true => format!("you are {you}, {what} belongs to you"),
        false => format!("you are {you}, {what} belongs to {}", name(owner, users)),
    }
}

/// The name of a user in the lines of `/etc/passwd`, in quotes; the number where there is none.
#[cfg(unix)]
fn name(id: u32, users: &str) -> String {
    let found = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, number) = (fields.next()?, fields.nth(1)?);
        (number.parse() == Ok(id) && !name.is_empty()).then_some(name)
    });
    match found {
        Some(name) => format!("\"{}\"", crate::text::Shown(name)),
        None => format!("user {id}"),
    }
}

/// Those of this computer, as far as they are read; others are known by their numbers.
#[cfg(unix)]
fn users() -> String {
    use std::io::Read;

    /// Thousands of users.
    const LEN_MAX: u64 = 1 << 20;
    let mut text = Vec::new();
    let file = std::fs::File::open("/etc/passwd");
    if let Err(error) = file.and_then(|file| file.take(LEN_MAX).read_to_end(&mut text)) {
        tracing::debug!(%error, "users have no names");
    }
    String::from_utf8_lossy(&text).into_owned()
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn whoever_may_not_write_is_told_whose_it_is() {
        let users = "root:x:0:0:root:/root:/bin/sh\nbroken\n:x:7:\nuser:x:1000:1000::/home/user:\n";
        assert_eq!(
            whose("folder", 1000, 0, users),
            "you are \"user\", folder belongs to \"root\""
        );
        assert_eq!(
            whose("/srv", 7, 1001, users),
            "you are user 7, /srv belongs to user 1001"
        );
        assert_eq!(
            whose("file", 1000, 1000, users),
            "you are \"user\", file belongs to you"
        );
    }

    #[test]
    fn only_a_missing_permission_is_a_question_of_owners() {
        let denied = io::Error::from(io::ErrorKind::PermissionDenied);
        let said = refusal(Path::new("/no/such/folder"), &denied);
        assert!(said.starts_with("no permission (you are "), "{said}");
        assert!(said.contains(", / belongs to "), "{said}");
        let said = refusal(Path::new("/"), &denied);
        assert!(said.contains(", folder belongs to "), "{said}");
        let gone = io::Error::from(io::ErrorKind::NotFound);
        assert_eq!(refusal(Path::new("/"), &gone), "it is not there");
    }
}
