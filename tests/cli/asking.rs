//! `--json=ask`: questions are lines on stdout, answers lines on stdin.

use std::io::Write;
use std::process::{ChildStdin, Stdio};

use peerconnect::config::ConflictAnswer;
use peerconnect::node::api::{Command, Decision, Target};
use peerconnect::peer::{LegacyPeer, Party, PeerId};
use peerconnect::protocol::legacy::LegacyId;
use peerconnect::protocol::message::{Scope, Timestamp, TransferId};
use peerconnect::transfer::state::TransferState;
use peerconnect::transfer::status::{Conflict, TransferSnapshot, Version};
use serde_json::{Value, json};

use crate::program::{Home, Running};
use crate::terminal::{Node, offer};

/// A program that is asked in JSON, and the pipe for the answers.
struct Asked {
    program: Running,
    answers: ChildStdin,
}

impl Asked {
    fn start(home: &Home, args: &[&str]) -> Self {
        let mut command = home.command(args);
        command.args(["--json=ask", "--bind", "127.0.0.1", "--no-legacy"]);
        command.args(["--port", "0"]).stdin(Stdio::piped());
        let mut program = Running::start(command);
        let answers = program.stdin();
        Self { program, answers }
    }

    fn says(&mut self, line: &str) {
        writeln!(self.answers, "{line}").unwrap();
    }

    fn ask(&mut self) -> Value {
        self.program.next("ask")
    }

    /// A line that is no answer is an error, and the same question comes again.
    fn is_refused(&mut self, line: &str, open: &Value) {
        self.says(line);
        let error = self.program.next("error");
        assert_eq!(error["code"], "invalid", "{line}");
        assert_eq!(error["transfer"], open["transfer"], "{line}");
        assert_eq!(self.ask(), *open, "{line}");
    }
}

fn accept(t: &TransferSnapshot) -> Command {
    Command::Answer {
        transfer: t.id,
        decision: Decision::Accept {
            folder: None,
            only: None,
            pass_on: true,
        },
    }
}

#[test]
fn an_offer_is_a_line_and_what_is_no_answer_leaves_it_open() {
    let home = Home::new();
    let node = Node::start(&home);
    let mut asked = Asked::start(&home, &["receive"]);
    node.next();
    let t = offer();
    node.shows(&t);
    let ask = asked.ask();
    assert_eq!(ask["v"], 1);
    for (field, value) in [
        ("ask", json!(1)),
        ("kind", json!("offer")),
        ("answers", json!(["yes", "no", "list"])),
        ("transfer", json!(t.id.to_string())),
        ("encrypted", json!(true)),
        ("files", json!(41)),
        ("bytes", json!(1_200_000_000)),
        ("names", json!(["holiday", "a.pdf"])),
        ("folder", json!("/srv/in")),
        ("free", json!(212_000_000_000_u64)),
        ("obstacle", Value::Null),
    ] {
        assert_eq!(ask[field], value, "{field}");
    }
    assert_eq!(ask["peer"]["words"], "river copper nine");
    asked.is_refused(r#"{"answer":"perhaps"}"#, &ask);
    asked.is_refused("yes", &ask);
    asked.is_refused("", &ask);
    asked.is_refused(r#"{"answer":""}"#, &ask);
    asked.is_refused(r#"{"answer":"yes","ask":2}"#, &ask);
    let long = "y".repeat(1_000_000);
    asked.is_refused(&format!(r#"{{"answer":"{long}"}}"#), &ask);
    asked.is_refused(r#"{"answer":"alone"}"#, &ask);
    asked.says(r#"{"answer":"list"}"#);
    assert_eq!(asked.program.next("listed")["name"], "holiday/0.jpg");
    assert_eq!(asked.ask(), ask);
    asked.says(r#"{"answer":"yes","ask":1}"#);
    assert_eq!(node.next(), accept(&t));
}

#[test]
fn what_goes_to_others_too_can_be_taken_without_passing_it_on() {
    let home = Home::new();
    let node = Node::start(&home);
    let mut asked = Asked::start(&home, &["receive"]);
    node.next();
    let mut t = offer();
    t.passing.receivers = 3;
    t.passing.passes_on = true;
    node.shows(&t);
    let ask = asked.ask();
    assert_eq!(ask["answers"], json!(["yes", "no", "list", "alone"]));
    asked.says(r#"{"answer":"alone"}"#);
    let answer = node.next();
    let Command::Answer { transfer, decision } = answer else {
        unreachable!("{answer:?}")
    };
    let alone = Decision::Accept {
        folder: None,
        only: None,
        pass_on: false,
    };
    assert_eq!((transfer, decision), (t.id, alone));
}

#[test]
fn what_an_original_offers_says_so_and_can_be_declined() {
    let home = Home::new();
    let node = Node::start(&home);
    let mut asked = Asked::start(&home, &["receive"]);
    node.next();
    let mut t = offer();
    let claims = LegacyPeer {
        id: LegacyId::DEFAULT_PROFILE,
        addr: "10.0.0.9:3485".parse().unwrap(),
    };
    (t.peer, t.words) = (Some(Party::Legacy(claims)), None);
    node.shows(&t);
    let ask = asked.ask();
    assert_eq!(ask["encrypted"], false);
    assert_eq!(ask["peer"]["id"], Value::Null);
    assert_eq!(ask["peer"]["claims"]["addr"], "10.0.0.9:3485");
    asked.says(r#"{"answer":"no"}"#);
    let transfer = t.id;
    let decision = Decision::Decline;
    assert_eq!(node.next(), Command::Answer { transfer, decision });
}

#[test]
fn an_answer_counts_for_the_question_it_names_and_no_other() {
    let home = Home::new();
    let node = Node::start(&home);
    let mut asked = Asked::start(&home, &["receive"]);
    node.next();
    let mut t = offer();
    node.shows(&t);
    asked.ask();
    // Declined elsewhere.
    (t.state, t.question) = (TransferState::Rejected, None);
    node.shows(&t);
    assert_eq!(asked.program.next("withdrawn")["ask"], 1);
    // Too late, as its sender cannot know: the next offer is not meant.
    asked.says(r#"{"answer":"yes","ask":1}"#);
    assert_eq!(asked.program.next("error")["code"], "invalid");
    let mut next = offer();
    next.id = TransferId([0x40; 16]);
    node.shows(&next);
    let ask = asked.ask();
    assert_eq!(ask["ask"], 2);
    asked.is_refused(r#"{"answer":"yes","ask":1}"#, &ask);
    asked.says(r#"{"answer":"yes","ask":2}"#);
    assert_eq!(node.next(), accept(&next));
}

#[test]
fn an_answer_without_a_number_is_not_for_a_question_that_came_instead() {
    let home = Home::new();
    let node = Node::start(&home);
    let mut asked = Asked::start(&home, &["receive"]);
    node.next();
    let mut t = offer();
    node.shows(&t);
    asked.ask();
    (t.state, t.question) = (TransferState::Rejected, None);
    node.shows(&t);
    asked.program.next("withdrawn");
    let mut next = offer();
    next.id = TransferId([0x40; 16]);
    node.shows(&next);
    let ask = asked.ask();
    // It was meant for the question before.
    asked.is_refused(r#"{"answer":"yes"}"#, &ask);
    asked.says(r#"{"answer":"yes"}"#);
    assert_eq!(node.next(), accept(&next));
}

#[test]
fn a_taken_name_is_a_line_too() {
    let home = Home::new();
    let node = Node::start(&home);
    let mut asked = Asked::start(&home, &["receive", "--on-conflict", "ask"]);
    node.next();
    let mut t = offer();
    (t.state, t.question) = (TransferState::Transferring, None);
    let version = |bytes| Version {
        bytes,
        modified: Timestamp(0),
    };
    t.conflict = Some(Conflict {
        index: 3,
        path: "holiday/3.jpg".into(),
        old: version(2),
        new: version(4),
        keep_both_as: "holiday/3 (1).jpg".into(),
    });
    t.conflicts = 2;
    node.shows(&t);
    let ask = asked.ask();
    assert_eq!(ask["kind"], "name");
    assert_eq!((&ask["i"], &ask["conflicts"]), (&json!(3), &json!(2)));
    assert_eq!(ask["old"]["bytes"], 2);
    assert_eq!(ask["keep_both_as"], "holiday/3 (1).jpg");
    asked.is_refused(r#"{"answer":"yes"}"#, &ask);
    for answer in ask["answers"].as_array().unwrap() {
        assert!(!answer.as_str().unwrap().is_empty());
    }
    asked.says(r#"{"answer":"replace all"}"#);
    let expected = Command::AnswerConflict {
        transfer: t.id,
        scope: Scope::Transfer,
        answer: ConflictAnswer::Replace,
    };
    assert_eq!(node.next(), expected);
}

#[test]
fn whom_to_send_to_can_be_chosen_in_json() {
    let home = Home::new();
    home.write("a.txt", 10, 1);
    let node = Node::start(&home);
    let mut asked = Asked::start(&home, &["send", "a.txt"]);
    let ask = asked.ask();
    assert_eq!(ask["kind"], "peer");
    let choice = &ask["choices"][0];
    assert_eq!(choice["name"], "anna");
    assert_eq!(choice["id"], PeerId::from_bytes([9; 32]).to_string());
    asked.is_refused(r#"{"answer":"2"}"#, &ask);
    asked.is_refused("1", &ask);
    asked.says(&format!(r#"{{"answer":{}}}"#, choice["answer"]));
    let to = PeerId::from_bytes([9; 32]);
    assert!(matches!(node.next(), Command::SendFiles { to: Target::Peer(id), .. } if id == to));
}

#[test]
fn without_answers_to_come_the_choice_of_a_peer_is_a_mistake() {
    let home = Home::new();
    home.write("a.txt", 10, 1);
    let _node = Node::start(&home);
    let Asked { program, answers } = Asked::start(&home, &["send", "a.txt"]);
    drop(answers);
    let ended = program.end().with_code(2);
    assert!(ended.only("error")["message"].to_string().contains("--to"));
}

/// A real receiver with a file that is in the way of the one that is sent.
fn in_the_way(home: &Home, sender: &Home) -> (Asked, Running) {
    home.write("in/a.txt", 10, 1);
    let into = home.file("in");
    let args = [
        "receive",
        "--out",
        into.to_str().unwrap(),
        "--on-conflict",
        "ask",
    ];
    let mut asked = Asked::start(home, &args);
    asked.program.next("hello");
    let sent = sender.write("a.txt", 11, 2);
    let sending = sender.send(&asked.program, &[&sent]);
    (asked, sending)
}

#[test]
fn when_stdin_ends_names_that_are_taken_get_a_number() {
    let (home, sender) = (Home::new(), Home::new());
    let (mut asked, sending) = in_the_way(&home, &sender);
    assert_eq!(asked.ask()["kind"], "offer");
    asked.says(r#"{"answer":"yes"}"#);
    assert_eq!(asked.ask()["kind"], "name");
    let Asked { program, answers } = asked;
    drop(answers);
    let ended = program.end().with_code(0);
    assert_eq!(ended.only("withdrawn")["ask"], 2);
    assert_eq!(ended.only("file_done")["saved_as"], "a (1).txt");
    sending.end().with_code(0);
}

#[test]
fn when_stdin_ends_before_an_answer_nothing_is_taken() {
    let (home, sender) = (Home::new(), Home::new());
    let (mut asked, _sending) = in_the_way(&home, &sender);
    assert_eq!(asked.ask()["kind"], "offer");
    let Asked { program, answers } = asked;
    drop(answers);
    let ended = program.end().with_code(2);
    assert!(ended.only("error")["message"].to_string().contains("--yes"));
    assert!(!home.file("in/a (1).txt").exists());
}

#[test]
fn plain_json_asks_nobody() {
    let home = Home::new();
    for args in [&["receive", "--json"][..], &["receive", "--json=lines"]] {
        let ended = home.run(args).with_code(2);
        assert_eq!(ended.only("error")["code"], "invalid");
    }
}
