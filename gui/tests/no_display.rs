//! The program where there is nothing to open a window on.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::process::{Command, Stdio};

#[test]
fn without_a_display_it_says_what_to_do_in_one_line_and_ends_with_2() {
    let home = tempfile::tempdir().unwrap();
    let ended = Command::new(env!("CARGO_BIN_EXE_peerconnect-gui"))
        .env_remove("DISPLAY")
        .env_remove("WAYLAND_DISPLAY")
        .env_remove("WAYLAND_SOCKET")
        .env("PEERCONNECT_CONFIG_DIR", home.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(ended.status.code(), Some(2));
    let said = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.starts_with("No display found. Use the command line: peerconnect send"));
    assert!(ended.stdout.is_empty());
    let built = std::path::Path::new(env!("CARGO_BIN_EXE_peerconnect-gui"));
    let both = built.with_file_name("peerconnect").is_file();
    assert_eq!(said.contains("cargo install"), !both, "{said}");
    // Nothing was started that would leave something behind.
    assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0);
}
