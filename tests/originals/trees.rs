//! One to many of originals: the reference peer as root, relay and leaf, and the real program in
//! all three parts.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::common::{content, tree};
use crate::reference::{Lab, Program};

/// The reference peer as root of a tree with these peers (`ADDR:REQPORT`).
fn root(lab: &Lab, peers: &[&str], paths: &[&Path]) -> Program {
    let peers = peers.join(",");
    let mut args = vec!["otm-send", "--peers", &peers];
    args.extend(paths.iter().map(|path| path.to_str().unwrap()));
    lab.theirs(&args)
}

/// A reference peer that receives into a folder of its own: its requests endpoint, and as we
/// write it.
struct Leaf {
    program: Program,
    requests: String,
    address: String,
    folder: PathBuf,
}

fn leaf(lab: &Lab, name: &str, more: &[&str]) -> Leaf {
    let folder = lab.path(name);
    let mut args = vec![
        "recv",
        "--listen",
        "127.0.0.1:0",
        "--id",
        name,
        "--dir",
        folder.to_str().unwrap(),
    ];
    args.extend(more);
    let mut program = lab.theirs(&args);
    let listening = program.next("listening");
    let (port, req) = (&listening["addr"][1], &listening["req_port"]);
    Leaf {
        requests: format!("127.0.0.1:{req}"),
        address: format!("legacy:127.0.0.1:{port}/{req}"),
        program,
        folder,
    }
}

fn files(lab: &Lab) -> Vec<PathBuf> {
    vec![
        lab.file("large.bin", &content(1, 20_000_000)),
        lab.file("empty", b""),
        lab.file("small.txt", b"small"),
        lab.file("middle", &content(2, 700_000)),
    ]
}

fn links(root: &Program) -> u64 {
    let sent = |line: &&Value| line["event"] == "otm-sent";
    let sent = root.seen.iter().find(sent);
    sent.unwrap_or_else(|| panic!("{:#?}", root.seen))["links"]
        .as_u64()
        .unwrap()
}

#[test]
fn a_leaf_of_an_originals_tree_gets_everything() {
    let Some(lab) = Lab::new() else { return };
    let paths = files(&lab);
    let paths: Vec<&Path> = paths.iter().map(PathBuf::as_path).collect();
    let (mut ours, _, kad) = lab.receive("receive");
    let mut theirs = root(&lab, &[&kad], &paths);
    assert_eq!(theirs.end(), 0, "{:#?}", theirs.seen);
    assert_eq!(links(&theirs), 1);
    let path = ours.next("path");
    assert_eq!(path["kind"], "legacy-plain");
    let summary = ours.next("summary");
    assert_eq!(
        (&summary["files_done"], &summary["verified"]),
        (&4.into(), &false.into())
    );
    assert_eq!(ours.end(), 0, "{:#?}", ours.seen);
    assert!(tree(&lab.path("out")) == tree(&lab.path("in")));
}

#[test]
fn a_relay_in_an_originals_tree_passes_everything_on() {
    let Some(lab) = Lab::new() else { return };
    let paths = files(&lab);
    let paths: Vec<&Path> = paths.iter().map(PathBuf::as_path).collect();
    let (mut ours, _, kad) = lab.receive("receive");
    // Peer 2 does not take part, so that peer 3 has no other neighbour than peer 1: us.
    let silent = leaf(&lab, "silent", &["--no-otm"]);
    let mut below = leaf(&lab, "below", &[]);
    let peers = [kad.as_str(), &silent.requests, &below.requests];
    let mut theirs = root(&lab, &peers, &paths);
    assert_eq!(theirs.end(), 0, "{:#?}", theirs.seen);
    assert_eq!(links(&theirs), 1);
    below.program.next("otm-end");
    assert_eq!(ours.end(), 0, "{:#?}", ours.seen);
    let sent = tree(&lab.path("out"));
    assert!(sent == tree(&lab.path("in")));
    assert!(sent == tree(&below.folder));
    assert_eq!(tree(&silent.folder).len(), 0);
    let _ = &below.address;
}
