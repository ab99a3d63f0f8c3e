//! Our node in the tree of a root that is not what it should be.

use std::time::Duration;

use peerconnect::config::{LegacyMode, LegacyUnanswered, PassOn, Setting};
use peerconnect::fault::Fault;
use peerconnect::node::api::{Command, Decision};
use peerconnect::protocol::legacy::otm::Control;
use peerconnect::transfer::state::TransferState;
use peerconnect::transfer::status::TransferSnapshot;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::common::{DEADLINE, Shape, Site, content, tree};
use crate::tree_raw::{RawChild, RawRoot, SESSION, id, inform, is_silent, metadata, read_all};
use crate::tree_raw::{req_addr, say, udp};

async fn only(site: &Site) -> TransferSnapshot {
    site.until(|o| o.transfers.iter().find(|t| t.state.is_final()).cloned())
        .await
}

async fn asked(site: &Site, files: u32) -> TransferSnapshot {
    let asked = |t: &&TransferSnapshot| t.question.is_some() && t.files == files;
    site.until(|o| o.transfers.iter().find(asked).cloned())
        .await
}

fn asking() -> Shape {
    Shape {
        accept_unencrypted: false,
        ..Shape::legacy("to")
    }
}

const ACCEPT: Decision = Decision::Accept {
    folder: None,
    only: None,
    pass_on: true,
};

#[tokio::test]
async fn what_comes_before_the_answer_waits_for_it_and_is_passed_on_meanwhile() {
    let site = asking().start();
    let root = RawRoot::inform(&site).await;
    let child = RawChild::new(2).await;
    let mut stream = root.link(vec![child.neighbour()]).await;
    let mut below = child.link(root.answer.passive).await;
    let large = content(1, 9_000_000);
    let mut bytes = metadata(&[("large", 9_000_000), ("small", 5), ("empty", 0)]);
    bytes.extend_from_slice(&large);
    bytes.extend_from_slice(b"small");
    stream.write_all(&bytes).await.unwrap();
    // All of it is taken from the sender, and reaches the child, while nobody has answered.
    assert!(read_all(&mut below).await == bytes);
    let asked = asked(&site, 3).await;
    assert!(asked.is_legacy());
    assert_eq!(tree(&site.inbox()).len(), 0);
    let (transfer, decision) = (asked.id, ACCEPT);
    site.call(Command::Answer { transfer, decision }).await;
    let t = site.completed(transfer).await;
    assert_eq!((t.files_done, t.bytes_done), (3, 9_000_005));
    let there = tree(&site.inbox());
    assert!(there["large"] == large && there["small"] == b"small" && there["empty"].is_empty());
    // The end says that everything is stored.
    assert_eq!(read_all(&mut stream).await, b"");
}

#[tokio::test]
async fn a_person_who_declines_ends_the_link_and_nothing_stays() {
    let site = asking().start();
    let root = RawRoot::inform(&site).await;
    let mut stream = root.link(vec![]).await;
    stream
        .write_all(&metadata(&[("a", 1 << 30)]))
        .await
        .unwrap();
    stream.write_all(&content(1, 3_000_000)).await.unwrap();
    let asked = asked(&site, 1).await;
    let (transfer, decision) = (asked.id, Decision::Decline);
    site.call(Command::Answer { transfer, decision }).await;
    assert_eq!(read_all(&mut stream).await, b"");
    let t = site.ended(transfer).await;
    assert_eq!(t.state, TransferState::Rejected, "{t:?}");
    assert_eq!(tree(&site.inbox()).len(), 0);
}

#[tokio::test]
async fn what_nobody_answers_is_declined_where_that_is_wanted() {
    let shape = Shape {
        legacy_unanswered: LegacyUnanswered::Decline,
        ..asking()
    };
    let site = shape.start();
    let root = RawRoot::inform(&site).await;
    let mut stream = root.link(vec![]).await;
    stream.write_all(&metadata(&[("a", 9)])).await.unwrap();
    assert_eq!(read_all(&mut stream).await, b"");
    assert_eq!(only(&site).await.state, TransferState::Rejected);
}

#[tokio::test]
async fn a_stream_that_ends_early_leaves_whole_files_only() {
    let site = Shape::legacy("to").start();
    let root = RawRoot::inform(&site).await;
    let mut stream = root.link(vec![]).await;
    let mut bytes = metadata(&[("whole", 5), ("cut", 2_000_000), ("never", 3)]);
    bytes.extend_from_slice(b"whole");
    bytes.extend_from_slice(&content(1, 1_999_999));
    stream.write_all(&bytes).await.unwrap();
    drop(stream);
    let t = only(&site).await;
    assert_eq!(t.state, TransferState::Failed, "{t:?}");
    assert!(matches!(t.fault, Some(Fault::Incomplete { .. })), "{t:?}");
    let names: Vec<String> = tree(&site.inbox()).into_keys().collect();
    assert_eq!(names, ["whole"]);
}

#[tokio::test]
async fn a_child_that_does_not_read_is_cut_off_and_holds_up_nobody() {
    let site = Shape::legacy("to").start();
    let root = RawRoot::inform(&site).await;
    let (slow, quick) = (RawChild::new(2).await, RawChild::new(3).await);
    let neighbours = vec![slow.neighbour(), quick.neighbour()];
    let mut stream = root.link(neighbours).await;
    let mut stuck = slow.link(root.answer.passive).await;
    let mut below = quick.link(root.answer.passive).await;
    let len = 64_000_000;
    let mut bytes = metadata(&[("large", len as u64)]);
    let large = content(1, len);
    bytes.extend_from_slice(&large);
    let sent = bytes.clone();
    let sending = tokio::spawn(async move {
        stream.write_all(&sent).await.unwrap();
        stream
    });
    assert!(read_all(&mut below).await == bytes);
    let t = only(&site).await;
    assert_eq!(t.state, TransferState::Completed, "{t:?}");
    assert!(tree(&site.inbox())["large"] == large);
    sending.await.unwrap();
    // It gets the beginning, and the end of the link instead of holes.
    refused(&mut stuck).await;
    let got = read_all(&mut stuck).await;
    assert!(
        got.len() < bytes.len() && bytes.starts_with(&got),
        "{}",
        got.len()
    );
}

/// Waits until the other side has closed the connection, without reading anything.
async fn refused(stream: &mut TcpStream) {
    let refused = async {
        while stream.write_all(&[0]).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let refused = tokio::time::timeout(DEADLINE, refused).await;
    refused.expect("waited in vain for the end of a link");
}

#[tokio::test]
async fn links_that_nobody_asked_for_are_closed() {
    let site = Shape::legacy("to").start();
    let root = RawRoot::inform(&site).await;
    // One that we have not asked yet, one that we never ask, and one for another session.
    for (parent, session) in [(1, SESSION), (9, SESSION), (1, "another session")] {
        let mut closed = root.open(id(parent), session).await;
        assert_eq!(read_all(&mut closed).await, b"", "{parent} {session}");
    }
    let asked = root.link(vec![]).await;
    let mut again = root.open(id(1), SESSION).await;
    assert_eq!(read_all(&mut again).await, b"");
    drop(asked);
    assert!(site.handle.overview().borrow().transfers.is_empty());
}

#[tokio::test]
async fn evil_lists_end_the_link_and_reach_nobody() {
    let site = Shape::legacy("to").start();
    let root = RawRoot::inform(&site).await;
    let child = RawChild::new(2).await;
    let mut stream = root.link(vec![child.neighbour()]).await;
    let mut below = child.link(root.answer.passive).await;
    let mut bytes = metadata(&[("../../evil", 4)]);
    bytes.extend_from_slice(b"evil");
    stream.write_all(&bytes).await.unwrap();
    assert_eq!(read_all(&mut stream).await, b"");
    assert_eq!(read_all(&mut below).await, b"");
    assert!(site.handle.overview().borrow().transfers.is_empty());
    assert_eq!(tree(&site.inbox()).len(), 0);
}

#[tokio::test]
async fn nothing_is_passed_on_where_nothing_is_to_be_sent() {
    let never = Shape {
        pass_on: PassOn::Never,
        ..Shape::legacy("to")
    };
    let receives = Shape {
        legacy: LegacyMode::ReceiveOnly,
        ..Shape::legacy("to")
    };
    // What was agreed at the start does not count, but what is wanted now.
    let now_never = Shape::legacy("to");
    let orders = [None, None, Some(Setting::PassOn(PassOn::Never))];
    for (shape, order) in [never, receives, now_never].into_iter().zip(orders) {
        let site = shape.start();
        if let Some(order) = order {
            site.call(Command::Set(order)).await;
        }
        let root = RawRoot::inform(&site).await;
        let child = RawChild::new(2).await;
        let mut stream = root.link(vec![child.neighbour()]).await;
        // Asking for it changes nothing.
        let asks = Control::Upgrade(id(2));
        say(&child.udp, root.answer.passive, &asks).await;
        let mut bytes = metadata(&[("a", 1)]);
        bytes.push(b'a');
        stream.write_all(&bytes).await.unwrap();
        assert_eq!(only(&site).await.state, TransferState::Completed);
        assert!(is_silent(&child.udp).await);
    }
}

#[tokio::test]
async fn a_repeated_request_gets_the_same_answer_and_a_strangers_none() {
    let site = Shape::legacy("to").start();
    let root = RawRoot::inform(&site).await;
    let again = RawRoot::inform(&site).await;
    assert_eq!(root.answer, again.answer);
    // One that would be answered by more than it says itself, if its key were another.
    let socket = udp().await;
    let mut other = inform();
    other.key = "another key".into();
    say(&socket, req_addr(&site), &Control::Inform(other)).await;
    assert!(is_silent(&socket).await);
    // As many as one address may have, and no more.
    for n in 1..4 {
        let mut more = inform();
        more.session = format!("session {n}");
        say(&socket, req_addr(&site), &Control::Inform(more)).await;
        let mut buffer = [0; 2048];
        socket.recv_from(&mut buffer).await.unwrap();
    }
    let mut more = inform();
    more.session = "one too many".into();
    say(&socket, req_addr(&site), &Control::Inform(more)).await;
    assert!(is_silent(&socket).await);
}
