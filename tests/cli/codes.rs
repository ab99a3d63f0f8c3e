//! One-time codes: made by `send`, used by `receive`, looked up at a relay.

use std::io::{BufRead, BufReader, Read};

use serde_json::Value;

use crate::program::{Ended, Home, Running, content};

/// A relay, and a sender who waits with a code.
struct Scene {
    relay: Running,
    sender: Running,
    _homes: [Home; 2],
}

fn code(line: &Value) -> String {
    line["code"].as_str().unwrap().to_owned()
}

impl Scene {
    fn new() -> Self {
        let homes = [Home::new(), Home::new()];
        let mut relay = homes[0].start(&["relay"]);
        relay.next("hello");
        homes[1].write("film", 300_000, 1);
        let sender = homes[1].start(&["send", "film", "--relay", relay.link()]);
        Self {
            relay,
            sender,
            _homes: homes,
        }
    }

    /// The next code that the sender shows.
    fn code(&mut self) -> Value {
        self.sender.next("code")
    }

    fn receive(&self, home: &Home, code: &[&str]) -> Running {
        let args = [
            &["receive", "--relay", self.relay.link(), "--out", "in"],
            code,
        ]
        .concat();
        home.start(&args)
    }
}

fn refused(ended: Ended) {
    let ended = ended.with_code(5);
    assert_eq!(ended.only("error")["code"], "bad-code");
}

#[test]
fn a_code_is_all_that_the_other_side_needs() {
    let mut scene = Scene::new();
    let line = scene.code();
    let left = line["expires_s"].as_u64().unwrap();
    assert!((3000..=3600).contains(&left), "{left}");
    let code = code(&line);
    let receiver = Home::new();
    let receiving = scene.receive(&receiver, &[&code.to_uppercase().replace('-', " ")]);
    let ended = receiving.end().with_code(0);
    let got = std::fs::read(receiver.file("in/film")).unwrap();
    assert_eq!(got, content(300_000, 1));
    let secret = code.split_once('-').unwrap().1;
    let told = ended.lines.join("\n") + &ended.stderr;
    assert!(!told.contains(secret), "it is written nowhere: {told}");
    // Who knows the code is the right one: there are no words to compare.
    assert_eq!(ended.only("offer")["peer"]["words"], Value::Null);
    let Scene { relay, sender, .. } = scene;
    let sent = sender.end().with_code(0);
    assert_eq!(sent.of_kind("code").len(), 1);
    assert_eq!(sent.only("offer")["peer"]["words"], Value::Null);
    // It was good for once.
    let again = ["receive", "--relay", relay.link(), &code];
    refused(Home::new().start(&again).end());
}

#[test]
fn a_one_time_link_needs_nobody_to_look_its_code_up() {
    let mut scene = Scene::new();
    let line = scene.code();
    let link = line["link"].as_str().unwrap().to_owned();
    assert!(link.ends_with(&format!("#{}", code(&line))), "{link}");
    let Scene {
        relay,
        sender,
        _homes,
    } = scene;
    relay.signal(rustix::process::Signal::TERM);
    relay.end().with_code(0);
    let receiver = Home::new();
    // There is no relay any more.
    let receive = |link: &str| receiver.start(&["receive", "--out", "in", link]).end();
    receive(&link).with_code(0);
    let got = std::fs::read(receiver.file("in/film")).unwrap();
    assert_eq!(got, content(300_000, 1));
    sender.end().with_code(0);
    let damaged = link.replacen("peerconnect:a", "peerconnect:b", 1);
    receive(&damaged).with_code(2);
    assert!(!link.contains("peerconnect:b"));
}

#[test]
fn a_wrong_code_is_used_up_and_the_sender_gets_another() {
    let mut scene = Scene::new();
    let first = code(&scene.code());
    let number = first.split('-').next().unwrap();
    let guess = |words: &str| format!("{number}-{words}");
    let wrong = match first.ends_with("zebra-zebra") {
        true => guess("river-river"),
        false => guess("zebra-zebra"),
    };
    refused(scene.receive(&Home::new(), &[&wrong]).end());
    let next = scene.code();
    let second = code(&next);
    assert_eq!(next["wrong"], 1);
    assert_ne!(first, second);
    // The first one is as good as any guess by now.
    refused(scene.receive(&Home::new(), &[&first]).end());
    let third = code(&scene.code());
    let receiver = Home::new();
    scene.receive(&receiver, &[&third]).end().with_code(0);
    scene.sender.end().with_code(0);
    assert!(receiver.file("in/film").exists());
}

#[test]
fn whoever_goes_on_guessing_makes_the_sender_give_up() {
    let mut scene = Scene::new();
    for _ in 0..5 {
        let code = code(&scene.code());
        let number = code.split('-').next().unwrap();
        let wrong = match code.ends_with("zebra-zebra") {
            true => format!("{number}-river-river"),
            false => format!("{number}-zebra-zebra"),
        };
        refused(scene.receive(&Home::new(), &[&wrong]).end());
    }
    refused(scene.sender.end());
}

#[test]
fn the_first_line_is_the_code_alone_and_the_rest_is_talk() {
    let (middle, home, receiver) = (Home::new(), Home::new(), Home::new());
    let mut relay = middle.start(&["relay"]);
    relay.next("hello");
    home.write("film", 1000, 1);
    let bound = ["--bind", "127.0.0.1", "--port", "0", "--no-legacy"];
    let args = [&["send", "film", "--relay", relay.link()][..], &bound].concat();
    let mut child = home.command(&args).spawn().unwrap();
    let mut line = String::new();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    out.read_line(&mut line).unwrap();
    let code = line.trim_end();
    let parts: Vec<&str> = code.split('-').collect();
    assert!(
        parts.len() == 3 && parts[0].parse::<u16>().is_ok(),
        "{code}"
    );
    let mut command = receiver.command(&["receive", "--json", "--relay", relay.link()]);
    command.args(bound).env("PEERCONNECT_CODE", code);
    let ended = Running::start(command).end().with_code(0);
    assert!(receiver.file("film").exists(), "{ended:?}");
    assert!(child.wait().unwrap().success());
    let mut talk = String::new();
    child.stderr.unwrap().read_to_string(&mut talk).unwrap();
    let typed = format!("peerconnect receive {code} --relay {}", relay.link());
    assert!(talk.contains(&typed), "{talk}");
}

#[test]
fn what_is_no_code_or_has_no_way_is_said_at_once() {
    let home = Home::new();
    home.write("a", 1, 0);
    for args in [
        &["receive", "7"][..],
        &["receive", "7-river-coppper"],
        &["receive", "7-river-copper"],
        &["receive", "7-river-copper", "--from", "anna"],
        &["send", "--code", "a"],
        &["send", "--code", "--to", "anna", "a"],
        &["send", "--code", "--text", "a"],
    ] {
        let loopback = [args, &["--bind", "127.0.0.1", "--port", "0"]].concat();
        let ended = home.run(&loopback).with_code(2);
        assert!(!ended.stderr.is_empty(), "{args:?}");
    }
    // A relay that is not there.
    let gone = {
        let middle = Home::new();
        let mut relay = middle.start(&["relay"]);
        relay.next("hello");
        relay.link().to_owned()
    };
    for args in [&["receive", "7-river-copper"][..], &["send", "--code", "a"]] {
        let args = [args, &["--relay", &gone]].concat();
        let ended = Home::new();
        ended.write("a", 1, 0);
        let ended = ended.start(&args).end().with_code(4);
        assert_eq!(ended.only("error")["code"], "no-relay");
    }
}

#[test]
fn a_code_that_is_given_up_is_worth_nothing() {
    let mut scene = Scene::new();
    let code = code(&scene.code());
    scene.sender.signal(rustix::process::Signal::INT);
    let Scene { relay, sender, .. } = scene;
    sender.end().with_code(130);
    let args = ["receive", "--relay", relay.link(), &code];
    refused(Home::new().start(&args).end());
}
