//! What hostile senders try: every offence has a name, nothing leaves the folder, memory is
//! bounded, and honest ones are served all the time.

use std::time::Duration;

use peerconnect::fault::Fault;
use peerconnect::net::link::Offence;
use peerconnect::protocol::groups::FILE_SIZE_MAX;
use peerconnect::protocol::legacy::LegacyError;
use peerconnect::protocol::legacy::stream::Opening;
use peerconnect::transfer::state::TransferState;
use peerconnect::transfer::status::TransferSnapshot;

use crate::common::{Shape, Site, content, tree};
use crate::raw::{Raw, end, files, folder, folder_file, folder_in, head};

/// The transfer that came last, when it is over.
async fn last(site: &Site, count: usize) -> TransferSnapshot {
    site.until(|o| {
        let last = o.transfers.last().filter(|t| t.state.is_final());
        last.filter(|_| o.transfers.len() == count).cloned()
    })
    .await
}

fn offence(t: &TransferSnapshot) -> String {
    match &t.fault {
        Some(Fault::Misbehaved { offence, .. }) => offence.clone(),
        other => panic!("no offence: {other:?} {:?}", t.state),
    }
}

fn text(offence: Offence) -> String {
    offence.to_string()
}

fn legacy(error: LegacyError) -> String {
    text(Offence::Legacy(error))
}

/// Everything beside the folder for files, so that an escape is seen.
fn around(site: &Site) -> Vec<String> {
    let all = tree(site.dir.path());
    let ours = |name: &String| name.starts_with("state/") || name.starts_with("in/");
    all.into_keys().filter(|name| !ours(name)).collect()
}

#[tokio::test]
async fn names_that_lead_elsewhere_are_offences() {
    let site = Shape::legacy("to").start();
    let before = around(&site);
    let long = "n".repeat(10_000);
    let cases = [
        ("../evil", Offence::BadName),
        ("../../etc/evil", Offence::BadName),
        ("/etc/evil", Offence::BadName),
        ("a/b", Offence::BadName),
        ("..", Offence::BadName),
        (".", Offence::BadName),
        ("", Offence::BadName),
        ("nul\0byte", Offence::BadName),
        (long.as_str(), Offence::PathsTooLong),
    ];
    for (n, (name, expected)) in cases.into_iter().enumerate() {
        let mut raw = Raw::files(&site).await;
        raw.file(name, b"evil").await;
        assert_eq!(raw.byte().await, None, "{name:?}");
        let t = last(&site, n + 1).await;
        assert_eq!(offence(&t), text(expected), "{name:.20}");
    }
    assert_eq!(around(&site), before);
    assert_eq!(tree(&site.inbox()).len(), 0);
}

#[tokio::test]
async fn odd_names_are_stored_safely() {
    let site = Shape::legacy("to").start();
    let mut raw = Raw::files(&site).await;
    for name in [
        "a\\..\\b",
        "CON",
        ".hidden",
        "trailing. ",
        "esc\u{1b}[2J",
        "é",
    ] {
        raw.file(name, name.as_bytes()).await;
    }
    raw.say(&end()).await;
    let t = last(&site, 1).await;
    assert_eq!(t.state, TransferState::Completed, "{t:?}");
    let names: Vec<String> = tree(&site.inbox()).into_keys().collect();
    assert_eq!(names.len(), 6, "{names:?}");
    let odd = |name: &String| name.contains(['\\', '\u{1b}', '/']) || name.starts_with('.');
    assert!(!names.iter().any(odd), "{names:?}");
}

#[tokio::test]
async fn a_file_that_begins_in_its_middle_is_an_offence_and_changes_nothing() {
    let site = Shape::legacy("to").start();
    std::fs::create_dir_all(site.inbox()).unwrap();
    std::fs::write(site.inbox().join("mine"), b"my own words").unwrap();
    for (n, seeked) in [1, 5, 12].into_iter().enumerate() {
        let mut raw = Raw::files(&site).await;
        raw.say(&head("mine", 12, seeked)).await;
        raw.say(b"evil").await;
        assert_eq!(raw.byte().await, None);
        let t = last(&site, n + 1).await;
        assert_eq!(offence(&t), text(Offence::NoSuchPart));
    }
    let there = std::fs::read(site.inbox().join("mine")).unwrap();
    assert_eq!(there, b"my own words");
}

#[tokio::test]
async fn lies_about_sizes_reserve_nothing_and_leave_nothing() {
    let site = Shape::legacy("to").start();
    let mut raw = Raw::files(&site).await;
    raw.say(&head("huge", FILE_SIZE_MAX + 1, 0)).await;
    assert_eq!(raw.byte().await, None);
    assert_eq!(offence(&last(&site, 1).await), text(Offence::FileTooLarge));
    // More than any disk has: it is not even begun.
    let mut raw = Raw::files(&site).await;
    raw.say(&head("large", FILE_SIZE_MAX, 0)).await;
    raw.say(b"some").await;
    assert_eq!(raw.byte().await, None);
    assert_eq!(last(&site, 2).await.state, TransferState::Failed);
    // Less comes than was announced.
    let mut raw = Raw::files(&site).await;
    raw.say(&head("short", 5_000_000, 0)).await;
    raw.say(&content(1, 2_000_000)).await;
    drop(raw);
    let t = last(&site, 3).await;
    assert!(matches!(t.fault, Some(Fault::Incomplete { .. })), "{t:?}");
    assert_eq!(tree(&site.inbox()).len(), 0);
}

#[tokio::test]
async fn an_end_without_the_end_mark_is_incomplete_but_whole_files_stay() {
    let site = Shape::legacy("to").start();
    let mut raw = Raw::files(&site).await;
    raw.file("whole", b"whole").await;
    drop(raw);
    let t = last(&site, 1).await;
    assert!(matches!(t.fault, Some(Fault::Incomplete { .. })), "{t:?}");
    assert_eq!(t.state, TransferState::Failed);
    let there = std::fs::read(site.inbox().join("whole")).unwrap();
    assert_eq!(there, b"whole");
}

#[tokio::test]
async fn messages_that_are_bombs_are_offences() {
    let site = Shape::legacy("to").start();
    let framed = |payload: &[u8]| {
        let mut bytes = vec![1];
        bytes.extend_from_slice(&(payload.len() as u32).to_be_bytes());
        bytes.extend_from_slice(payload);
        bytes
    };
    let cases = [
        (framed(&[0x91; 60_000]), legacy(LegacyError::TooDeep)),
        (
            framed(&[0xdd, 0xff, 0xff, 0xff, 0xff]),
            legacy(LegacyError::TooManyItems),
        ),
        (framed(&[0xc1]), legacy(LegacyError::Malformed)),
        (
            vec![1, 0xff, 0xff, 0xff, 0xff],
            legacy(LegacyError::TooLong(u32::MAX as usize)),
        ),
    ];
    for (n, (bytes, expected)) in cases.into_iter().enumerate() {
        let mut raw = Raw::files(&site).await;
        raw.say(&bytes).await;
        assert_eq!(raw.byte().await, None);
        assert_eq!(offence(&last(&site, n + 1).await), expected);
    }
    // As a handshake they are not even a transfer.
    for bytes in [&[0x91; 60_000][..], b"GET / HTTP/1.1\r\n\r\n", &[0xff; 64]] {
        let mut raw = Raw::connect(&site).await;
        raw.say(bytes).await;
        raw.no_more().await;
        assert_eq!(raw.byte().await, None);
    }
    assert_eq!(site.handle.overview().borrow().transfers.len(), 4);
}

#[tokio::test]
async fn every_mark_but_zero_means_another_file() {
    let site = Shape::legacy("to").start();
    let mut raw = Raw::files(&site).await;
    for mark in [1, 2, 5, 0xff] {
        let mut bytes = head(&format!("f{mark}"), 2, 0);
        bytes[0] = mark;
        raw.say(&bytes).await;
        raw.say(b"ok").await;
    }
    raw.say(&end()).await;
    assert_eq!(last(&site, 1).await.state, TransferState::Completed);
    assert_eq!(tree(&site.inbox()).len(), 4);
}

#[tokio::test]
async fn one_byte_at_a_time_is_fine() {
    let site = Shape::legacy("to").start();
    let mut raw = Raw::connect(&site).await;
    raw.0.set_nodelay(true).unwrap();
    for byte in files().encode().unwrap() {
        raw.say(&[byte]).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(raw.byte().await, Some(1));
    for byte in [head("a", 5, 0), b"hello".to_vec(), end()].concat() {
        raw.say(&[byte]).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(last(&site, 1).await.state, TransferState::Completed);
    assert_eq!(std::fs::read(site.inbox().join("a")).unwrap(), b"hello");
    // Exactly one byte was said in all of it.
    assert!(raw.is_silent().await);
}

#[tokio::test]
async fn a_probe_is_no_transfer_and_may_close() {
    let site = Shape::legacy("to").start();
    let mut raw = Raw::open(&site, Opening::Probe).await;
    assert!(raw.is_silent().await);
    drop(raw);
    let mut raw = Raw::files(&site).await;
    raw.say(&end()).await;
    assert_eq!(last(&site, 1).await.state, TransferState::Completed);
}

#[tokio::test]
async fn a_connection_is_used_again_for_the_next_transfer() {
    let site = Shape::legacy("to").start();
    let mut raw = Raw::files(&site).await;
    for n in 1..=3 {
        if n > 1 {
            raw.say(&files().encode().unwrap()).await;
            assert_eq!(raw.byte().await, Some(1));
        }
        raw.file(&format!("f{n}"), b"again").await;
        raw.say(&end()).await;
        assert_eq!(last(&site, n).await.state, TransferState::Completed);
    }
    assert_eq!(tree(&site.inbox()).len(), 3);
}

#[tokio::test]
async fn a_folder_arrives_with_an_echo_for_each_file() {
    let site = Shape::legacy("to").start();
    let mut raw = Raw::folder(&site, "photos").await;
    let large = content(3, 3_000_000);
    raw.say(&folder_in(".", "été")).await;
    raw.say(&folder_in("été", "empty")).await;
    for (parent, name, bytes) in [
        (".", "a.txt", &b"top"[..]),
        ("été", "a.txt", b"below"),
        ("été", "nothing", b""),
        ("été", "large", &large),
    ] {
        raw.say(&folder_file(parent, name, bytes)).await;
        assert_eq!(raw.byte().await, Some(1), "{name}");
    }
    raw.say(&end()).await;
    assert_eq!(last(&site, 1).await.state, TransferState::Completed);
    let got = tree(&site.inbox().join("photos"));
    let names: Vec<&str> = got.keys().map(String::as_str).collect();
    let expected = [
        "a.txt",
        "été/",
        "été/a.txt",
        "été/empty/",
        "été/large",
        "été/nothing",
    ];
    assert_eq!(names, expected);
    assert_eq!(got["été/a.txt"], b"below");
    assert!(got["été/large"] == large);
}

#[tokio::test]
async fn an_empty_folder_arrives() {
    let site = Shape::legacy("to").start();
    let mut raw = Raw::folder(&site, "hollow").await;
    raw.say(&end()).await;
    assert_eq!(last(&site, 1).await.state, TransferState::Completed);
    let names: Vec<String> = tree(&site.inbox()).into_keys().collect();
    assert_eq!(names, ["hollow/"]);
}

#[tokio::test]
async fn folders_that_lead_elsewhere_are_refused() {
    let site = Shape::legacy("to").start();
    let before = around(&site);
    for name in ["..", "../x", "/tmp/x", "", "a/b"] {
        let mut raw = Raw::open(&site, folder(name)).await;
        assert_eq!(raw.byte().await, None, "{name:?}");
    }
    assert_eq!(site.handle.overview().borrow().transfers.len(), 0);
    let cases = [
        ("..", "x"),
        ("/", "x"),
        ("a//b", "x"),
        (".", ".."),
        (".", "a/b"),
        ("", "x"),
    ];
    for (n, (parent, name)) in cases.into_iter().enumerate() {
        let mut raw = Raw::folder(&site, "d").await;
        raw.say(&folder_file(parent, name, b"evil")).await;
        while raw.byte().await.is_some() {}
        let t = last(&site, n + 1).await;
        assert_eq!(offence(&t), text(Offence::BadName), "{parent:?} {name:?}");
    }
    assert_eq!(around(&site), before);
}

#[tokio::test]
async fn a_thousand_connections_are_bounded_and_an_honest_one_is_served() {
    let site = Shape::legacy("to").start();
    let mut crowd = Vec::new();
    for _ in 0..1000 {
        if let Ok(Ok(stream)) = tokio::time::timeout(
            Duration::from_secs(5),
            tokio::net::TcpStream::connect(crate::raw::legacy_addr(&site)),
        )
        .await
        {
            crowd.push(stream);
        }
    }
    drop(crowd);
    let mut raw = loop {
        // Those that were dropped are noticed one by one.
        let mut raw = Raw::open(&site, files()).await;
        if raw.byte().await == Some(1) {
            break raw;
        }
    };
    raw.file("honest", b"honest").await;
    raw.say(&end()).await;
    let done = |o: &peerconnect::node::api::Overview| {
        let done = |t: &&TransferSnapshot| t.state == TransferState::Completed;
        o.transfers.iter().find(done).cloned()
    };
    site.until(done).await;
}
