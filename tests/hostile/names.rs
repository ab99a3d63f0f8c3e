//! Every hostile name through a whole transfer: nothing outside the folder, nothing replaced.

use std::os::unix::fs::symlink;

use peerconnect::protocol::message::{
    Entry, Outcome, Receipt, ReceiverMessage, SenderMessage, SinkFault,
};

use super::peer::{file, folder, id, link};
use super::world::World;
use crate::common::tree;

const PIECES: [&str; 24] = [
    "..",
    ".",
    "/",
    "\\",
    "C:",
    "\0",
    "\n",
    "\u{1b}[2J",
    "\u{9b}2J",
    "\u{202e}gpj.exe",
    "\u{200b}",
    "\u{2028}",
    "CON",
    "COM¹.txt",
    "NUL.txt",
    " ",
    ".ssh",
    "desktop.ini",
    "a.",
    "a ",
    "照片",
    "out",
    "-rf",
    "x.pcpart",
];

fn names() -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for a in PIECES {
        names.push(a.into());
        for b in PIECES {
            names.push(format!("{a}{b}"));
            names.push(format!("{a}/{b}"));
            names.push(format!("d/{a}/{b}"));
        }
    }
    names.push("x".repeat(300));
    names.push(format!("{}.txt", "é".repeat(200)));
    names.push("../".repeat(30) + "etc/cron.d/x");
    names.push("d/".repeat(200) + "x");
    names
}

async fn through(world: &World, n: u8, entries: &[Entry]) -> Vec<Receipt> {
    let peer = world.call().await;
    let mut stream = peer.offer_all(id(n), entries).await;
    world.accept(id(n)).await;
    let mut receipts = Vec::new();
    let (mut at, mut planned) = (0, false);
    let mut wanted = Vec::new();
    while receipts.len() < entries.len() {
        match stream.hear().await {
            ReceiverMessage::Plan(runs) => {
                for run in runs {
                    if run.action == peerconnect::protocol::message::PlanAction::Send {
                        wanted.extend(at..at + run.count);
                    }
                    at += run.count;
                }
            }
            ReceiverMessage::Start { .. } => planned = true,
            ReceiverMessage::Settled(page) => receipts.extend(page),
            ReceiverMessage::Have {
                index, more: false, ..
            } => {
                peer.file(id(n), index, b"evil").await;
            }
            _ => {}
        }
        if planned {
            for index in wanted.drain(..) {
                peer.file(id(n), index, b"evil").await;
            }
        }
    }
    let entries = entries.len() as u32;
    stream.say(&SenderMessage::Finish { entries }).await;
    stream
        .until(|m| matches!(m, ReceiverMessage::Complete))
        .await;
    world.to.completed(id(n)).await;
    receipts.sort_by_key(|receipt| receipt.index);
    receipts
}

#[tokio::test(flavor = "multi_thread")]
async fn no_name_leads_out_of_the_folder_or_replaces_anything() {
    let world = World::start().await;
    let (inbox, outside) = (world.to.inbox(), world.to.dir.path().join("outside"));
    std::fs::create_dir_all(outside.join("deep")).unwrap();
    std::fs::write(outside.join("kept"), b"mine").unwrap();
    std::fs::write(inbox.join("out"), b"mine too").unwrap();
    std::fs::create_dir_all(inbox.join("d")).unwrap();
    // Traps of somebody else who can write to the folder.
    symlink(&outside, inbox.join("照片")).unwrap();
    symlink(outside.join("made"), inbox.join("-rf")).unwrap();
    symlink("..", inbox.join("d/up")).unwrap();
    let around = || {
        let mut names: Vec<String> = std::fs::read_dir(world.to.dir.path())
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        (names, tree(&outside))
    };
    let before = around();
    let names = names();
    let mut entries: Vec<Entry> = names.iter().map(|name| file(name, 4)).collect();
    entries.extend(names.iter().map(|name| folder(name)));
    entries.extend(names.iter().map(|name| link(name, "../outside/made")));
    entries.extend(names.iter().map(|name| link("d/l", name)));
    entries.push(file("d/up/outside/made", 4));
    let receipts = through(&world, 1, &entries).await;
    assert_eq!(around(), before);
    assert_eq!(std::fs::read(inbox.join("out")).unwrap(), b"mine too");
    assert!(
        std::fs::read_link(inbox.join("-rf"))
            .unwrap()
            .starts_with(&outside)
    );
    for receipt in &receipts {
        let name = &entries[receipt.index as usize].path;
        let refused = receipt.outcome == Outcome::Failed(SinkFault::Name);
        let leads_out = name.split('/').any(|part| matches!(part, "" | "." | ".."));
        assert!(refused || !leads_out, "{name:?}: {receipt:?}");
    }
    for name in tree(&inbox).keys() {
        let hidden = name.starts_with('.') && !name.ends_with(".pcpart");
        assert!(!hidden && !name.chars().any(char::is_control), "{name:?}");
    }
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn links_files_and_folders_of_one_name_do_not_open_a_way_out() {
    let world = World::start().await;
    let before = tree(&world.to.dir.path().join("out"));
    let entries = [
        link("a", ".."),
        file("a/b", 4),
        link("top/a", "../.."),
        file("top/a/in/escaped", 4),
        link("top/sub/up", ".."),
        file("top/sub/up/x", 4),
        link("top/one", "sub"),
        link("top/one/two", "../.."),
        file("clash", 4),
        folder("clash"),
        file("clash/below", 4),
        folder("other"),
        file("other", 4),
        file("Case", 4),
        file("case", 4),
        file("Case", 4),
        link("case", "Case"),
        link("top/abs", "/etc"),
        link("top/win", "C:\\Windows"),
    ];
    let receipts = through(&world, 1, &entries).await;
    let outcome = |index: usize| receipts[index].outcome;
    let name = Outcome::Failed(SinkFault::Name);
    for index in [0, 2, 17, 18] {
        assert_eq!(outcome(index), name, "{:?}", entries[index]);
    }
    // A link inside what came is made, but no file goes through it.
    assert_eq!(outcome(4), Outcome::New);
    assert_eq!(outcome(5), Outcome::Failed(SinkFault::CannotWrite));
    let inbox = world.to.inbox();
    let parent: Vec<_> = std::fs::read_dir(inbox.parent().unwrap())
        .unwrap()
        .collect();
    assert!(parent.len() <= 3, "{parent:?}");
    assert_eq!(tree(&world.to.dir.path().join("out")), before);
    let names = tree(&inbox);
    assert!(
        names.contains_key("Case") && names.contains_key("case"),
        "both kept"
    );
    assert!(
        names.contains_key("top/a/in/escaped"),
        "a folder, where the link was refused"
    );
    world.finish().await;
}
