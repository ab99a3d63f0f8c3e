//! One to many of originals: the reference peer as root, relay and leaf, and the real program in
//! all three parts.

use std::path::{Path, PathBuf};

use peerconnect::node::api::{Command, Reply, Target};
use serde_json::Value;

use crate::common::{Shape, content, tree};
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
}

/// Sends to all of these at once.
fn send_to(lab: &Lab, to: &[&str], paths: &[&Path]) -> Program {
    let mut args = vec!["send"];
    for to in to {
        args.extend(["--to", to]);
    }
    args.extend(paths.iter().map(|path| path.to_str().unwrap()));
    lab.ours(&args)
}

/// What the summaries say about whether it has arrived, in the order of the receivers.
fn confirmed(ours: &Program) -> Vec<bool> {
    let summaries = ours.seen.iter().filter(|line| line["t"] == "summary");
    let mut all: Vec<bool> = summaries
        .map(|summary| {
            assert_eq!(summary["state"], "done", "{:#?}", ours.seen);
            summary["confirmed"].as_bool().unwrap()
        })
        .collect();
    all.sort_unstable();
    all
}

/// How many transfers of the ordinary kind came.
fn singles(leaf: &mut Leaf) -> usize {
    leaf.program.drain();
    let header = "636f6e6e656374696f6e20666f722066696c65207472616e73666572";
    let is_one = |line: &&Value| line["event"] == "handshake" && line["header"]["bin"] == header;
    leaf.program.seen.iter().filter(is_one).count()
}

#[test]
fn originals_that_take_part_get_everything_from_one_tree() {
    let Some(lab) = Lab::new() else { return };
    let paths = files(&lab);
    let paths: Vec<&Path> = paths.iter().map(PathBuf::as_path).collect();
    let mut leaves = ["one", "two", "three"].map(|name| leaf(&lab, name, &[]));
    let to = leaves.each_ref().map(|leaf| leaf.address.as_str());
    let mut ours = send_to(&lab, &to, &paths);
    assert_eq!(ours.end(), 0, "{:#?}", ours.seen);
    // Two get it from us, and the third from one of them, which nobody confirms.
    assert_eq!(confirmed(&ours), [false, true, true], "{:#?}", ours.seen);
    let sent = tree(&lab.path("out"));
    for leaf in &mut leaves {
        leaf.program.next("otm-end");
        assert!(sent == tree(&leaf.folder));
        assert_eq!(singles(leaf), 0);
    }
}

#[test]
fn one_that_takes_no_part_gets_it_by_itself() {
    let Some(lab) = Lab::new() else { return };
    let paths = files(&lab);
    let paths: Vec<&Path> = paths.iter().map(PathBuf::as_path).collect();
    let mut two = ["one", "two"].map(|name| leaf(&lab, name, &[]));
    let mut silent = leaf(&lab, "silent", &["--no-otm"]);
    let to = [&two[0].address, &silent.address, &two[1].address].map(String::as_str);
    let mut ours = send_to(&lab, &to, &paths);
    assert_eq!(ours.end(), 0, "{:#?}", ours.seen);
    assert_eq!(confirmed(&ours), [true; 3]);
    let sent = tree(&lab.path("out"));
    for leaf in &mut two {
        leaf.program.next("otm-end");
        assert!(sent == tree(&leaf.folder));
        assert_eq!(singles(leaf), 0);
    }
    assert!(sent == tree(&silent.folder));
    assert_eq!(singles(&mut silent), 1);
}

#[test]
fn folders_and_a_single_taker_go_by_ordinary_transfers() {
    let Some(lab) = Lab::new() else { return };
    lab.file("d/deep", b"deep");
    let file = lab.file("file", b"file");
    let folder = lab.path("out/d");
    let mut takes = leaf(&lab, "takes", &[]);
    let mut silent = leaf(&lab, "silent", &["--no-otm"]);
    let to = [takes.address.clone(), silent.address.clone()];
    let to = [to[0].as_str(), to[1].as_str()];
    assert_eq!(send_to(&lab, &to, &[&file]).end(), 0);
    assert_eq!(send_to(&lab, &to, &[&folder]).end(), 0);
    for leaf in [&mut takes, &mut silent] {
        assert_eq!(singles(leaf), 1);
        let there = tree(&leaf.folder);
        assert!(there["file"] == b"file" && there["d/deep"] == b"deep");
    }
    assert!(!takes.program.has("otm-parent"));
}

#[tokio::test(flavor = "multi_thread")]
async fn originals_and_ours_get_it_in_one_session() {
    let Some(lab) = Lab::new() else { return };
    let from = Shape::legacy("from").start();
    let anna = Shape::new("anna").start();
    let old = Shape::legacy("old").start();
    let mut two = ["one", "two"].map(|name| leaf(&lab, name, &[]));
    let legacy = old.handle.overview().borrow().me.legacy.clone().unwrap();
    let old_address = format!("legacy:127.0.0.1:{}/{}", legacy.port, legacy.req_port);
    let file = from.file("large", &content(1, 12_000_000));
    let to = [&two[0].address, &anna.link(), &old_address, &two[1].address];
    let command = Command::SendToMany {
        to: to.iter().map(|to| Target::Text((*to).clone())).collect(),
        paths: vec![file],
    };
    let Reply::Session { id, transfers } = from.call(command).await else {
        panic!("no session");
    };
    let session = from
        .until(|o| o.session(id).filter(|s| s.is_over()).cloned())
        .await;
    assert_eq!(
        (session.complete, session.incomplete),
        (4, 0),
        "{session:#?}"
    );
    let mut unconfirmed = 0;
    for transfer in transfers {
        let t = from.ended(transfer).await;
        assert_eq!((t.files_done, t.session), (1, Some(id)), "{t:?}");
        unconfirmed += u32::from(t.is_unconfirmed());
    }
    assert!(unconfirmed <= 1, "{unconfirmed}");
    let sent = tree(&from.dir.path().join("out"));
    old.until(|o| o.transfers.iter().find(|t| t.state.is_final()).cloned())
        .await;
    assert!(sent == tree(&anna.inbox()) && sent == tree(&old.inbox()));
    for leaf in &mut two {
        leaf.program.next("otm-end");
        assert!(sent == tree(&leaf.folder));
        assert_eq!(singles(leaf), 0);
    }
}
