//! Marks a file in its folder, in the system's file manager.

use std::path::Path;

/// Shows `item` marked in its folder. Whether there was a program that can do that.
#[cfg(target_os = "linux")]
pub(crate) fn marked(item: &Path) -> bool {
    let shown = show_items(&file_uri(item));
    if let Err(error) = &shown {
        tracing::debug!(%error, "no file manager marks files");
    }
    shown.is_ok()
}

/// See there.
#[cfg(not(target_os = "linux"))]
pub(crate) fn marked(item: &Path) -> bool {
    use std::ffi::OsString;

    let (program, args) = if cfg!(target_os = "macos") {
        ("open", vec!["-R".into(), item.as_os_str().to_owned()])
    } else {
        let mut select = OsString::from("/select,");
        select.push(item);
        ("explorer", vec![select])
    };
    let status = std::process::Command::new(program).args(args).status();
    // explorer ends with 1 even when it has shown it.
    status.is_ok_and(|status| status.success() || cfg!(windows))
}

/// The interface that file managers of Linux desktops have for it.
#[cfg(target_os = "linux")]
fn show_items(uri: &str) -> zbus::Result<()> {
    const NAME: &str = "org.freedesktop.FileManager1";
    let bus = zbus::blocking::Connection::session()?;
    let path = "/org/freedesktop/FileManager1";
    let startup_id = "";
    let arguments = (vec![uri], startup_id);
    bus.call_method(Some(NAME), path, Some(NAME), "ShowItems", &arguments)?;
    Ok(())
}

/// A path as a URI (RFC 8089): everything but unreserved characters is escaped.
#[cfg(target_os = "linux")]
fn file_uri(path: &Path) -> String {
    use std::fmt::Write;
    use std::os::unix::ffi::OsStrExt;

    let mut uri = String::from("file://");
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'/' | b'-' | b'.' | b'_' | b'~' => uri.push(char::from(*byte)),
            byte if byte.is_ascii_alphanumeric() => uri.push(char::from(*byte)),
            // Writing to a string does not fail.
            byte => drop(write!(uri, "%{byte:02X}")),
        }
    }
    uri
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn any_path_becomes_a_uri() {
        assert_eq!(file_uri(Path::new("/a/b-1.txt")), "file:///a/b-1.txt");
        assert_eq!(file_uri(Path::new("/a b/é%")), "file:///a%20b/%C3%A9%25");
    }
}
