//! What once was too much for a fuzz target, and the seeds, as a plain test.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    unreachable_pub,
    missing_docs
)]

#[path = "../fuzz/targets/mod.rs"]
mod targets;

use std::path::Path;

/// Runs every file of `fuzz/<kind>/<target>/`.
fn replay(kind: &str) -> usize {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz")
        .join(kind);
    let mut count = 0;
    for (name, target) in targets::TARGETS {
        let Ok(files) = std::fs::read_dir(folder.join(name)) else {
            continue;
        };
        for file in files {
            let path = file.unwrap().path();
            println!("{}", path.display());
            target(&std::fs::read(&path).unwrap());
            count += 1;
        }
    }
    count
}

#[test]
fn inputs_that_once_broke_something_do_so_no_more() {
    replay("regressions");
}

#[test]
fn seeds_are_fine_and_there_are_some_for_each_target() {
    assert!(replay("seeds") >= targets::TARGETS.len());
    for (name, target) in targets::TARGETS {
        assert!(targets::find(name).is_some());
        target(&[]);
        target(&[0; 64]);
        target(&[255; 64]);
    }
}
