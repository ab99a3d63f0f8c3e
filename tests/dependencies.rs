//! Versions below these have known holes, or lack what our own safety rests on.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::Path;

/// Package, lowest good version, and what is wrong with those below.
const FLOORS: [(&str, [u64; 3], &str); 7] = [
    (
        "quinn-proto",
        [0, 11, 15],
        "a peer can make it use up memory",
    ),
    ("rustls", [0, 23, 18], "a client can make a server panic"),
    (
        "rustls-webpki",
        [0, 103, 13],
        "faults in checking certificates",
    ),
    ("bytes", [1, 11, 1], "an overflow in growing a buffer"),
    ("time", [0, 3, 47], "deep input overflows the stack"),
    ("ring", [0, 17, 12], "some lengths make it panic"),
    (
        "tracing-subscriber",
        [0, 3, 20],
        "logged text reaches the terminal unescaped",
    ),
];

fn packages(lock: &str) -> Vec<(String, [u64; 3])> {
    let value = |line: &str, key: &str| {
        let text = line.strip_prefix(key)?.strip_prefix(" = \"")?;
        text.strip_suffix('"').map(str::to_owned)
    };
    let mut found = Vec::new();
    let mut name = String::new();
    for line in lock.lines() {
        if let Some(text) = value(line, "name") {
            name = text;
        } else if let Some(text) = value(line, "version") {
            let plain = text.split(['-', '+']).next().unwrap();
            let numbers: Vec<u64> = plain.split('.').map(|n| n.parse().unwrap()).collect();
            found.push((name.clone(), [numbers[0], numbers[1], numbers[2]]));
        }
    }
    found
}

#[test]
fn no_package_is_older_than_its_last_known_hole() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let lock = std::fs::read_to_string(root.join("Cargo.lock")).unwrap();
    let packages = packages(&lock);
    assert!(packages.len() > 100, "the lock file was not understood");
    for needed in ["quinn-proto", "rustls", "ring", "rustls-webpki", "bytes"] {
        assert!(packages.iter().any(|(name, _)| name == needed), "{needed}");
    }
    for (name, version) in &packages {
        let floor = FLOORS.iter().find(|(floor, ..)| floor == name);
        if let Some((_, lowest, why)) = floor {
            assert!(version >= lowest, "{name} {version:?} < {lowest:?}: {why}");
        }
    }
}
