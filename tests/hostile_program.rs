//! The program as a whole under attack: what it writes to screens and logs, what it keeps in
//! memory, and what of it others can read.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::wildcard_enum_match_arm,
    dead_code,
    unreachable_pub,
    missing_docs
)]

mod common;
#[path = "hostile/peer.rs"]
mod peer;
#[path = "cli/program.rs"]
mod program;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use peer::{Peer, file, head_of, id, link};
use peerconnect::protocol::frame;
use peerconnect::protocol::groups::{GROUP_LEN, hash_group};
use peerconnect::protocol::message::{
    ConnectionMessage, Entry, Opening, ReceiverMessage, SenderMessage, TransferId,
};
use program::{Home, Running};

const NASTY: &str = "\u{1b}[2J\u{1b}]0;owned\u{7}\r\n\u{8}\u{9b}31m\u{202e}gpj\u{7f}";

fn addr(running: &Running) -> String {
    let link = running
        .link()
        .parse::<peerconnect::protocol::link_uri::Link>();
    link.unwrap().addrs[0].to_string()
}

/// Greets with this name.
async fn named(addr: &str, name: &str) -> Peer {
    let peer = Peer::dial(addr).await;
    let mut stream = peer.stream().await;
    let mut hello = peer::hello();
    hello.name = name.into();
    hello.version = name.into();
    stream.say(&Opening::Connection(hello)).await;
    let _: ConnectionMessage = stream.hear().await;
    let nonce = [7; 16];
    stream.say(&ConnectionMessage::Reveal { nonce }).await;
    peer
}

/// Characters that a terminal obeys.
fn harmful(text: &str) -> Option<char> {
    text.chars().find(|c| c.is_control() && *c != '\n')
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_a_peer_says_reaches_a_terminal_or_log_as_it_is() {
    let home = Home::new();
    let into = home.file("in");
    let args = ["daemon", "-vvv", "--yes", "--out", into.to_str().unwrap()];
    let mut daemon = home.start(&args);
    daemon.next("hello");
    let peer = named(&addr(&daemon), NASTY).await;
    let entries = [
        file(&format!("{NASTY}.txt"), 1),
        file(&format!("../{NASTY}"), 1),
        file(&format!("d/{NASTY}/{NASTY}"), 1),
        link(&format!("d/{NASTY}"), NASTY),
    ];
    let mut stream = peer.offer_all(id(1), &entries).await;
    for index in stream.plan(4).await {
        peer.file(id(1), index, b"x").await;
    }
    let mut settled = 0;
    while settled < 2 {
        if let ReceiverMessage::Settled(page) = stream.hear().await {
            settled += page.iter().filter(|receipt| receipt.hash.is_some()).count();
        }
    }
    // Offences and broken streams are logged, too.
    stream.raw(&[255; 4]).await;
    peer.closed().await;
    let other = named(&addr(&daemon), NASTY).await;
    other.quic.close(77u32.into(), NASTY.as_bytes());
    daemon.next_that(|line| line["state"] == "failed", "failed");
    let picture = home.run(&["list", "--json"]);
    let human = home.run(&["list"]);
    let peers = home.run(&["peers"]);
    daemon.signal(rustix::process::Signal::INT);
    let end = daemon.end();
    assert!(!end.stderr.is_empty(), "nothing was logged");
    for (what, text) in [
        ("log", &end.stderr),
        ("list", &human.lines.join("\n")),
        ("list's stderr", &human.stderr),
        ("peers", &peers.lines.join("\n")),
        ("peers' stderr", &peers.stderr),
    ] {
        assert_eq!(harmful(text), None, "{what}: {text:?}");
        assert!(!text.contains('\u{202e}'), "{what}: {text:?}");
    }
    for line in end.lines.iter().chain(&picture.lines) {
        let low = line.bytes().find(|byte| *byte < 0x20);
        assert_eq!(low, None, "{line:?}");
    }
}

fn status(pid: u32, key: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text.lines().find(|line| line.starts_with(key)).unwrap();
    let number = line.split_whitespace().nth(1).unwrap();
    number.parse::<u64>().unwrap() * 1024
}

#[tokio::test(flavor = "multi_thread")]
async fn manifests_of_many_peers_do_not_fill_the_memory() {
    const MANY: u32 = 1_000_000;
    const MIB: u64 = 1024 * 1024;
    let home = Home::new();
    let into = home.file("in");
    let args = ["daemon", "--yes", "--out", into.to_str().unwrap()];
    let mut daemon = home.start(&args);
    daemon.next("hello");
    let pid = daemon.pid();
    let addr = addr(&daemon);
    let page: Vec<Entry> = (0..400)
        .map(|n| link(&format!("d/{n}"), &"t".repeat(120)))
        .collect();
    let page = frame::encode(&SenderMessage::Entries(page)).unwrap();
    let mut peers = Vec::new();
    for n in 0..6 {
        let (addr, page) = (addr.clone(), page.clone());
        peers.push(tokio::spawn(async move {
            let peer = Peer::call(&addr).await;
            let mut head = head_of(TransferId([n; 16]), &[]);
            head.entries = MANY;
            let mut stream = peer.offer(head).await;
            let known: ReceiverMessage = stream.hear().await;
            assert_eq!(known, ReceiverMessage::Known { entries: 0 });
            for _ in 0..MANY / 400 {
                if stream.send.write_all(&page).await.is_err() {
                    break;
                }
            }
            (peer, stream)
        }));
    }
    let mut alive = Vec::new();
    for peer in peers {
        alive.push(peer.await.unwrap());
    }
    let most = status(pid, "VmHWM:");
    assert!(most < 700 * MIB, "{} MiB", most / MIB);
    // It works on for everybody else.
    let sender = Home::new();
    let small = sender.write("small", 1000, 1);
    sender.send(&daemon, &[small.as_path()]).end().with_code(0);
    drop(alive);
}

/// A peer whose writes return when nearly everything has arrived.
async fn unbuffered(addr: &str) -> Peer {
    let mut transport = quinn::TransportConfig::default();
    transport.send_window(64 * 1024);
    let identity = peerconnect::identity::Identity::generate().unwrap();
    let peer = Peer::dial_with(addr, identity, transport).await;
    peer.greet().await;
    peer
}

/// The bytes of a stream of file `index` with these groups, the last one short of its end.
fn unfinished(index: u32, size: u64, groups: u32) -> Vec<u8> {
    let mut bytes = frame::encode(&peer::header(id(1), index, size)).unwrap();
    let content = vec![index as u8; GROUP_LEN as usize];
    for group in 0..groups {
        bytes.extend_from_slice(&group.to_be_bytes());
        bytes.extend_from_slice(&content);
        bytes.extend_from_slice(&hash_group(size, group, &content));
    }
    bytes.truncate(bytes.len() - 40);
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn one_peer_makes_us_hold_little_however_much_it_begins() {
    const MIB: u64 = 1024 * 1024;
    const STREAMS: u32 = 100;
    let home = Home::new();
    let into = home.file("in");
    let args = ["daemon", "--yes", "--out", into.to_str().unwrap()];
    let mut daemon = home.start(&args);
    daemon.next("hello");
    let (pid, addr) = (daemon.pid(), addr(&daemon));
    // What an honest transfer takes is not counted.
    let sender = Home::new();
    let honest = sender.write("honest", 8_000_000, 1);
    sender.send(&daemon, &[honest.as_path()]).end().with_code(0);
    let before = status(pid, "VmRSS:");

    let peer = unbuffered(&addr).await;
    let mut entries: Vec<Entry> = (0..STREAMS)
        .map(|n| file(&format!("m/{n}"), 9 * MIB))
        .collect();
    let mut stream = peer.offer_all(id(1), &entries).await;
    stream.plan(STREAMS).await;
    // Four streams wait for the one before of their file, and are not read meanwhile.
    let mut open = Vec::new();
    for index in 0..STREAMS - 4 {
        open.push(peer.uni(&unfinished(index, 9 * MIB, 1)).await);
    }
    let begun = status(pid, "VmHWM:") - before;
    for index in [0, 0, 1, 1] {
        let mut waits = peer.quic.open_uni().await.unwrap();
        let bytes = unfinished(index, 9 * MIB, 5);
        // Not all of it is taken, as it should be.
        let write = waits.write_all(&bytes);
        let _ = tokio::time::timeout(Duration::from_secs(1), write).await;
        open.push(waits);
    }
    let waiting = status(pid, "VmHWM:") - before;
    for mut stream in open {
        let _ = stream.reset(3u32.into());
    }

    // Files that do not fit, added later, of each a stream that says no more than the size.
    let free = rustix::fs::statvfs(&into).unwrap();
    let size = (free.f_bavail * free.f_frsize / 2).min(1 << 40);
    let more: Vec<Entry> = (0..300).map(|n| file(&format!("huge/{n}"), size)).collect();
    stream.say(&SenderMessage::Entries(more.clone())).await;
    entries.extend(more);
    let all = entries.len() as u32;
    stream
        .say(&SenderMessage::EntriesEnd { entries: all })
        .await;
    stream
        .until(|m| *m == ReceiverMessage::Start { entries: all })
        .await;
    for index in STREAMS..all {
        let mut begun = peer.quic.open_uni().await.unwrap();
        let header = frame::encode(&peer::header(id(1), index, size)).unwrap();
        begun.write_all(&header).await.unwrap();
        let _ = begun.write_all(&[0, 0, 0, 0, 1]).await;
        let _ = begun.reset(3u32.into());
    }
    let claimed = status(pid, "VmHWM:") - before;
    assert!(begun < 24 * MIB, "{begun}");
    // 16 MiB of it are what QUIC takes in before anybody reads it.
    assert!(claimed < 48 * MIB, "{begun} {waiting} {claimed}");
    // It works on for everybody else.
    let small = sender.write("small", 1000, 1);
    sender.send(&daemon, &[small.as_path()]).end().with_code(0);
    drop(peer);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_at_the_port_for_originals_takes_little_memory() {
    const MIB: u64 = 1024 * 1024;
    let home = Home::new();
    let mut command = home.command(&["daemon", "--json", "--yes", "--bind", "127.0.0.1"]);
    command.args([
        "--port",
        "0",
        "--legacy-port",
        "0",
        "--legacy-req-port",
        "0",
    ]);
    let mut daemon = Running::start(command);
    let port = daemon.next("hello")["legacy"]["port"].as_u64().unwrap() as u16;
    let pid = daemon.pid();
    let before = status(pid, "VmHWM:");
    // Each says that a long handshake comes, and says most of it.
    let mut handshake = vec![0, 0, 0xff, 0xff];
    handshake.extend_from_slice(&[0xc0; 60_000]);
    let mut crowd = Vec::new();
    for _ in 0..1000 {
        let connected = tokio::net::TcpStream::connect(("127.0.0.1", port));
        let Ok(Ok(stream)) = tokio::time::timeout(Duration::from_secs(5), connected).await else {
            continue;
        };
        // Those that are turned away do not take it.
        let _ = stream.try_write(&handshake);
        crowd.push(stream);
    }
    assert!(crowd.len() > 500, "only {} got as far as that", crowd.len());
    let claimed = status(pid, "VmHWM:") - before;
    assert!(claimed < 16 * MIB, "{claimed}");
    // With those gone it serves as ever.
    drop(crowd);
    let sender = Home::new();
    let small = sender.write("small", 1000, 1);
    sender.send(&daemon, &[small.as_path()]).end().with_code(0);
}

fn mode(path: &Path) -> u32 {
    path.symlink_metadata().unwrap().permissions().mode() & 0o777
}

#[test]
fn secrets_belong_to_their_owner_and_show_up_nowhere() {
    let home = Home::new();
    let mut command = home.command(&["daemon", "--yes", "--json", "--bind", "127.0.0.1"]);
    command.args(["--port", "0", "--out"]).arg(home.file("in"));
    // Whatever the umask: as open as it gets.
    let mut shell = std::process::Command::new("sh");
    shell.arg("-c").arg("umask 000; exec \"$0\" \"$@\"");
    shell.arg(command.get_program()).args(command.get_args());
    shell
        .env_clear()
        .env("PEERCONNECT_CONFIG_DIR", home.config())
        .env("PEERCONNECT_ANNOUNCE", "never");
    shell.current_dir(home.file(""));
    shell.stdin(Stdio::null());
    shell.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut daemon = Running::start(shell);
    daemon.next("hello");
    let pid = daemon.pid();
    let config = home.config();
    assert_eq!(mode(&config), 0o700);
    for name in ["identity.key", "control.sock"] {
        assert_eq!(mode(&config.join(name)), 0o600, "{name}");
    }
    let key = std::fs::read_to_string(config.join("identity.key")).unwrap();
    let secret = key.lines().nth(1).unwrap();
    for what in ["cmdline", "environ"] {
        let text = std::fs::read(format!("/proc/{pid}/{what}")).unwrap();
        assert!(!String::from_utf8_lossy(&text).contains(secret), "{what}");
    }
    daemon.signal(rustix::process::Signal::INT);
    let end = daemon.end();
    assert!(!end.stderr.contains(secret) && !end.lines.join("\n").contains(secret));
    // A key that others could read is not used any more.
    std::fs::set_permissions(
        config.join("identity.key"),
        PermissionsExt::from_mode(0o644),
    )
    .unwrap();
    let refused = home.run(&["id"]);
    assert_ne!(refused.code, 0);
    assert!(refused.stderr.contains("chmod 600"), "{}", refused.stderr);
}

#[test]
fn receive_lets_nobody_send_its_files_elsewhere() {
    let home = Home::new();
    let mut receiver = home.receive();
    let elsewhere = home.file("elsewhere");
    let other = home.run(&[
        "receive",
        "--yes",
        "--json",
        "--out",
        elsewhere.to_str().unwrap(),
    ]);
    if other.code == 0 {
        println!("no Landlock here");
        return;
    }
    let error = other.only("error").to_string();
    assert!(error.contains("can only write to"), "{error}");
    assert!(!elsewhere.exists());
    // And files still come to where they should.
    let sender = Home::new();
    let file = sender.write("x", 3_000_000, 1);
    sender.send(&receiver, &[file.as_path()]).end().with_code(0);
    receiver.next("summary");
    receiver.end().with_code(0);
    assert_eq!(
        std::fs::read(home.file("in").join("x")).unwrap(),
        std::fs::read(&file).unwrap()
    );
}
