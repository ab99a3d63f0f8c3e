//! Commands that reach the instance that runs, from other processes.

use std::time::{Duration, Instant};

use peerconnect::config::Paths;
use rustix::process::Signal;

use crate::program::{Home, content};

#[test]
fn a_daemon_ends_in_order_within_two_seconds() {
    let home = Home::new();
    let daemon = home.daemon();
    let socket = Paths::below(&home.config()).control_socket();
    assert!(socket.exists());
    let start = Instant::now();
    daemon.signal(Signal::TERM);
    daemon.end().with_code(143);
    assert!(start.elapsed() < Duration::from_secs(2));
    assert!(!socket.exists());
}

#[test]
fn a_daemon_survives_the_end_of_its_session() {
    let home = Home::new();
    let daemon = home.daemon();
    daemon.signal(Signal::HUP);
    home.run(&["list"]).with_code(0);
    daemon.signal(Signal::INT);
    daemon.end().with_code(130);
}

#[test]
fn there_is_one_instance_and_the_second_says_so() {
    let home = Home::new();
    let daemon = home.daemon();
    let second = home.run(&["daemon", "--yes"]).with_code(2);
    assert!(
        second.stderr.contains("running already"),
        "{}",
        second.stderr
    );
    daemon.signal(Signal::TERM);
    daemon.end().with_code(143);
}

#[test]
fn what_a_killed_instance_left_is_no_obstacle() {
    let home = Home::new();
    let daemon = home.daemon();
    let first = daemon.seen[0]["id"].clone();
    daemon.signal(Signal::KILL);
    drop(daemon);
    let daemon = home.daemon();
    assert_eq!(daemon.seen[0]["id"], first, "the identity stays");
}

#[test]
fn a_transfer_of_the_daemon_is_steered_from_other_processes() {
    let (sender, receiver) = (Home::new(), Home::new());
    let large = sender.write("large.bin", 6_000_000, 1);
    let more = sender.write("more.bin", 1000, 2);
    let there = receiver.daemon();
    let _here = sender.daemon();
    let mut sending = sender.send_with(&there, &[&large], &["--limit", "1M"]);
    let id = sending.state("running")["transfer"]
        .as_str()
        .unwrap()
        .to_owned();

    let list = sender.run(&["list", "--json"]).with_code(0);
    let transfer = list.only("transfer");
    assert_eq!(transfer["transfer"], id);
    assert_eq!(transfer["direction"], "send");
    assert_eq!(transfer["names"][0], "large.bin");

    let short = &id[..4];
    sender.run(&["pause", short]).with_code(0);
    sending.state("paused");
    sender
        .run(&["attach", short, more.to_str().unwrap()])
        .with_code(0);
    sender.run(&["resume", short]).with_code(0);
    sending.state("running");
    sender.run(&["first", short, "more.*"]).with_code(0);
    let sent = sending.end().with_code(0);
    assert_eq!(sent.only("summary")["files"], 2);
    assert_eq!(sent.of_kind("file_done").len(), 2);
    for (name, size, seed) in [("large.bin", 6_000_000, 1), ("more.bin", 1000, 2)] {
        let path = receiver.file("in").join(name);
        assert_eq!(std::fs::read(path).unwrap(), content(size, seed), "{name}");
    }
    let history = sender.run(&["history", "--json"]).with_code(0);
    assert_eq!(history.only("history")["transfer"], id);
}

#[test]
fn cancel_ends_a_transfer_on_both_sides() {
    let (sender, receiver) = (Home::new(), Home::new());
    let large = sender.write("large.bin", 6_000_000, 1);
    let receiving = receiver.receive();
    let mut sending = sender.send_with(&receiving, &[&large], &["--limit", "1M"]);
    let id = sending.state("running")["transfer"]
        .as_str()
        .unwrap()
        .to_owned();
    sender.run(&["cancel", &id]).with_code(0);
    let sent = sending.end().with_code(130);
    assert_eq!(sent.only("error")["code"], "cancelled");
    let received = receiving.end().with_code(6);
    assert_eq!(received.only("error")["code"], "cancelled-by-peer");
    assert!(!receiver.file("in/large.bin").exists());
}

#[test]
fn receive_works_through_a_running_instance_and_leaves_it_running() {
    let (sender, receiver) = (Home::new(), Home::new());
    let path = sender.write("a.txt", 1000, 1);
    let into = receiver.file("elsewhere");
    let daemon = receiver.start(&["daemon"]);
    let mut daemon = daemon;
    daemon.next("hello");
    let mut receiving = receiver.start(&["receive", "--yes", "--out", into.to_str().unwrap()]);
    let hello = receiving.next("hello");
    assert_eq!(hello["id"], daemon.seen[0]["id"]);
    sender.send(&receiving, &[&path]).end().with_code(0);
    receiving.end().with_code(0);
    assert_eq!(std::fs::read(into.join("a.txt")).unwrap(), content(1000, 1));
    receiver.run(&["list"]).with_code(0);
    daemon.signal(Signal::TERM);
    daemon.end().with_code(143);
}

#[test]
fn a_trusted_peer_is_taken_without_a_question_and_a_name_of_our_own_stays() {
    let (sender, receiver) = (Home::new(), Home::new());
    let path = sender.write("a.txt", 1000, 1);
    let receiving = receiver.receive();
    sender.send(&receiving, &[&path]).end().with_code(0);
    receiving.end().with_code(0);

    let peers = receiver.run(&["peers", "--json"]).with_code(0);
    let id = peers.only("peer")["id"].as_str().unwrap().to_owned();
    receiver.run(&["peers", "trust", &id]).with_code(0);
    receiver.run(&["peers", "rename", &id, "Anna"]).with_code(0);
    let peer = receiver.run(&["peers", "--json"]).only("peer");
    assert_eq!(peer["name"], "Anna");
    assert_eq!(peer["accept"], "always");

    let path = sender.write("b.txt", 1000, 2);
    let into = receiver.file("in");
    let mut receiving = receiver.start(&["receive", "--out", into.to_str().unwrap()]);
    receiving.next("hello");
    sender.send(&receiving, &[&path]).end().with_code(0);
    let received = receiving.end().with_code(0);
    assert_eq!(received.only("offer")["peer"]["name"], "Anna");

    receiver.run(&["peers", "forget", "anna"]).with_code(0);
    let peers = receiver.run(&["peers", "--json"]).with_code(0);
    assert!(peers.of_kind("peer").is_empty());
}
