//! Texts between processes, as scripts see them.

use std::io::Write;
use std::process::Stdio;

use serde_json::json;

use crate::program::{Ended, Home, Running};

/// More than any text may be.
const TOO_LONG: usize = 64 * 1024 + 1;

/// Sends a text from standard input.
fn pipe(home: &Home, to: &str, text: &[u8]) -> Ended {
    let args = ["send", "--text", "-", "--to", to, "--json"];
    let mut command = home.command(&args);
    command.args(["--bind", "127.0.0.1", "--no-legacy", "--port", "0"]);
    let (reader, mut writer) = std::io::pipe().unwrap();
    command.stdin(Stdio::from(reader));
    let running = Running::start(command);
    let text = text.to_owned();
    let writing = std::thread::spawn(move || {
        // Who has read enough reads no more.
        let _ = writer.write_all(&text);
    });
    let ended = running.end();
    writing.join().unwrap();
    ended
}

#[test]
fn a_text_is_a_line_of_json_there_and_a_summary_here() {
    let (sender, receiver) = (Home::new(), Home::new());
    let receiving = receiver.receive();
    let text = "https://example.org\n\u{202e}é";
    let send = ["send", "-t", text, "--to", receiving.link()];
    let sent = sender.start(&send).end().with_code(0);
    let received = receiving.end().with_code(0);
    let line = received.only("text");
    assert_eq!(line["v"], 1);
    assert_eq!(line["text"], text);
    assert_eq!(line["bytes"], text.len());
    assert_eq!(line["direction"], "receive");
    assert_eq!(line["encrypted"], true);
    assert_eq!(line["path"], "direct");
    assert!(line["peer"]["id"].is_string());
    let summary = sent.only("summary");
    for (key, value) in [
        ("exit", json!(0)),
        ("state", json!("done")),
        ("delivered", json!(true)),
        ("direction", json!("send")),
        ("bytes", json!(text.len())),
        ("id", line["id"].clone()),
    ] {
        assert_eq!(summary[key], value, "{key}");
    }
    for (home, direction) in [(&sender, "send"), (&receiver, "receive")] {
        let history = home.run(&["history", "--json"]).with_code(0);
        let record = history.only("history");
        assert_eq!(record["text"], text);
        assert_eq!(record["text_cut"], false);
        assert_eq!(record["direction"], direction);
    }
    let shown = receiver.run(&["history"]).with_code(0);
    assert!(
        shown.lines[1].contains("\"https://example.org…\""),
        "{:?}",
        shown.lines
    );
}

#[test]
fn a_daemon_shows_every_text_and_goes_on() {
    let (sender, receiver) = (Home::new(), Home::new());
    let mut daemon = receiver.daemon();
    let link = daemon.link().to_owned();
    for text in ["one\n", "two\r\n", "three"] {
        pipe(&sender, &link, text.as_bytes()).with_code(0);
        assert_eq!(daemon.next("text")["text"], text.trim_end());
    }
}

#[test]
fn without_anybody_to_ask_a_text_of_a_stranger_waits_and_is_not_shown() {
    let (sender, receiver) = (Home::new(), Home::new());
    let key = sender.run(&["id", "--json", "--no-legacy"]).only("id");
    let key = key["id"].as_str().unwrap();
    let mut receiving = receiver.start(&["daemon"]);
    receiving.next("hello");
    let send = ["send", "--text", "psst", "--to", receiving.link()];
    let mut sending = sender.start(&send);
    let offer = receiving.next("text_offer");
    assert_eq!(offer["peer"]["id"], key);
    assert!(offer["text"].is_null(), "nothing of it");
    let waits = |line: &serde_json::Value| line["t"] == "text_state" && line["state"] == "waiting";
    sending.next_that(waits, "text_state");
    // Whoever gives up is not asked about.
    sending.signal(rustix::process::Signal::INT);
    sending.end().with_code(130);
    // From a peer that is trusted by now it is shown at once.
    let trust = ["peers", "trust", key, "--accept", "ask"];
    receiver.run(&trust).with_code(0);
    let send = ["send", "--text", "hello", "--to", receiving.link()];
    sender.start(&send).end().with_code(0);
    assert_eq!(receiving.next("text")["text"], "hello");
}

#[test]
fn a_text_that_waits_is_listed_and_can_be_declined_or_taken_back() {
    let (sender, receiver) = (Home::new(), Home::new());
    let mut receiving = receiver.start(&["daemon"]);
    receiving.next("hello");
    let link = receiving.link().to_owned();
    let send = ["send", "--text", "psst", "--to", &link];
    let sending = sender.start(&send);
    let offer = receiving.next("text_offer");
    let id = offer["id"].as_str().unwrap();
    let listed = receiver.run(&["list", "--json"]).with_code(0);
    let line = listed.only("text");
    assert_eq!(
        (&line["id"], &line["state"]),
        (&offer["id"], &json!("waiting"))
    );
    let table = receiver.run(&["list"]).with_code(0).lines.join("\n");
    assert!(table.contains("waiting for your answer"), "{table}");
    assert!(!table.contains("psst"), "{table}");
    receiver.run(&["cancel", &id[..4]]).with_code(0);
    let ended = sending.end().with_code(6);
    assert_eq!(ended.only("error")["code"], "declined");
    assert!(receiver.run(&["list", "--json"]).lines.is_empty());

    let sending = sender.start(&send);
    receiving.next("text_offer");
    let listed = sender.run(&["list", "--json"]).with_code(0);
    let id = listed.only("text")["id"].as_str().unwrap().to_owned();
    sender.run(&["cancel", &id]).with_code(0);
    sending.end().with_code(130);
}

#[test]
fn who_waits_for_one_peer_gets_its_text_without_a_question() {
    let (sender, receiver) = (Home::new(), Home::new());
    let key = sender.run(&["id", "--json", "--no-legacy"]).only("id");
    let key = key["id"].as_str().unwrap();
    let mut receiving = receiver.start(&["receive", "--from", key]);
    receiving.next("hello");
    let send = ["send", "--text", "hello", "--to", receiving.link()];
    sender.start(&send).end().with_code(0);
    let ended = receiving.end().with_code(0);
    assert_eq!(ended.only("text")["text"], "hello");
}

#[test]
fn what_is_no_text_is_refused_with_code_2_before_anything_is_connected() {
    let home = Home::new();
    let long = vec![b'x'; TOO_LONG];
    for bad in [&b"\xff\xfe"[..], b"", b"\n", &long] {
        let ended = pipe(&home, "127.0.0.1:9", bad).with_code(2);
        assert_eq!(ended.only("error")["code"], "invalid");
    }
    let text = "x".repeat(TOO_LONG);
    let ended = home
        .run(&["send", "--text", &text, "--to", "127.0.0.1:9"])
        .with_code(2);
    assert!(ended.stderr.contains("at most 65536"), "{}", ended.stderr);
    for args in [
        &["send", "--text", "a", "file", "--to", "x"][..],
        &["send", "--text", "a", "--dry-run", "--to", "x"],
        &["send", "--text"],
        &["send", "--text", "-"],
        &["send"],
    ] {
        home.run(args).with_code(2);
    }
}

#[test]
fn a_text_to_nobody_is_code_3() {
    let (sender, receiver) = (Home::new(), Home::new());
    let id = receiver.run(&["id", "--json", "--no-legacy"]).only("id");
    // Nobody is there any more.
    let link = id["link"].as_str().unwrap();
    let send = ["send", "--text", "hello", "--to", link];
    let ended = sender.start(&send).end().with_code(3);
    assert_eq!(ended.only("error")["code"], "peer-offline");
    let summary = ended.only("summary");
    assert_eq!(
        (&summary["delivered"], &summary["state"]),
        (&json!(false), &json!("failed"))
    );
}

#[test]
fn a_text_to_several_reaches_those_who_can_be_reached() {
    let (sender, one, two) = (Home::new(), Home::new(), Home::new());
    let (mut first, mut second) = (one.daemon(), two.daemon());
    let (to, and) = (first.link().to_owned(), second.link().to_owned());
    let send = ["send", "-t", "both", "--to", &to, "--to", &and];
    let sent = sender.start(&send).end().with_code(0);
    assert_eq!(sent.of_kind("summary").len(), 2);
    let own = sender.run(&["id", "--json", "--no-legacy"]).only("id");
    let own = own["link"].as_str().unwrap();
    let send = [
        "send", "-t", "others", "--to", own, "--to", &to, "--to", &and,
    ];
    let sent = sender.start(&send).end().with_code(14);
    assert_eq!(sent.only("error")["code"], "invalid");
    for receiver in [&mut first, &mut second] {
        for text in ["both", "others"] {
            assert_eq!(receiver.next("text")["text"], text);
        }
    }
}

#[test]
fn one_who_does_not_answer_holds_up_nobody_else() {
    let (sender, one, two) = (Home::new(), Home::new(), Home::new());
    let mut silent = one.start(&["daemon"]);
    let mut quick = two.daemon();
    silent.next("hello");
    let (to, and) = (silent.link().to_owned(), quick.link().to_owned());
    let mut sending = sender.start(&["send", "-t", "hi", "--to", &to, "--to", &and]);
    assert_eq!(quick.next("text")["text"], "hi");
    silent.next("text_offer");
    sending.next("summary");
    sending.signal(rustix::process::Signal::INT);
    sending.end().with_code(130);
}
