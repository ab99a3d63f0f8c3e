#![allow(clippy::wildcard_enum_match_arm)]

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::sync::Mutex;

use peerconnect::node::api::{Reply, Request, TextCommand};
use peerconnect::protocol::message::{DeclineReason, Outcome, SinkFault};
use peerconnect::transfer::status::{
    FileQuery, FileState, Question, ROWS_MAX, Repaired, Shortcoming,
};
use serde_json::Value;
use tokio::sync::{mpsc, watch};

use super::*;

mod texts;

use crate::cli::testing::{overview, row, snapshot, to_original};

/// A stdout that tests can read, and close.
#[derive(Clone, Default)]
struct Paper {
    text: Arc<Mutex<Vec<u8>>>,
    closed: bool,
}

impl Write for Paper {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.closed {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        self.text.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A node whose pictures the test draws. It answers for files, and remembers other commands.
struct FakeNode {
    handle: NodeHandle,
    pictures: watch::Sender<Arc<Overview>>,
    commands: Arc<Mutex<Vec<Command>>>,
}

impl FakeNode {
    fn start(first: Vec<TransferSnapshot>) -> Self {
        let (handle, requests, pictures) = NodeHandle::new(overview(first));
        let commands = Arc::default();
        let seen = pictures.subscribe();
        tokio::spawn(answer_requests(requests, seen, Arc::clone(&commands)));
        Self {
            handle,
            pictures,
            commands,
        }
    }

    fn show(&self, t: &TransferSnapshot) {
        let picture = overview(vec![t.clone()]);
        self.pictures.send_replace(Arc::new(picture));
    }

    async fn run(self, goal: Goal, setup: impl FnOnce(&mut Face<'_>)) -> (Exit, Vec<Value>) {
        let paper = Paper::default();
        let (_report, mut signals) = Signals::none();
        let mut out = Output::json_into(Box::new(paper.clone()));
        let mut face = Face::new(&self.handle, true, &mut out, &mut signals, goal);
        setup(&mut face);
        let exit = face.run().await;
        out.finish().await;
        (exit, lines(&paper))
    }
}

fn lines(paper: &Paper) -> Vec<Value> {
    let text = String::from_utf8(paper.text.lock().unwrap().clone()).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Rows exist for every file; as many are settled as the picture says.
async fn answer_requests(
    mut requests: mpsc::Receiver<Request>,
    picture: watch::Receiver<Arc<Overview>>,
    commands: Arc<Mutex<Vec<Command>>>,
) {
    while let Some((command, reply)) = requests.recv().await {
        let result = match &command {
            Command::Files { transfer, query } => {
                let t = picture.borrow().transfer(*transfer).cloned().unwrap();
                let range = match *query {
                    FileQuery::Range { from, count } => from..t.entries.min(from + count),
                    FileQuery::Settled { from } => from..t.settled.min(from + ROWS_MAX),
                };
                let bad = t.files_failed;
                let rows = range.map(|n| {
                    let mut row = row(n);
                    if n < bad {
                        row.state = FileState::Settled(Outcome::Failed(SinkFault::Exists));
                    }
                    row
                });
                Ok(Reply::Files(rows.collect()))
            }
            Command::Text(TextCommand::Read(_)) => Ok(Reply::Text("hi".into())),
            _ => {
                commands.lock().unwrap().push(command.clone());
                Ok(Reply::Done)
            }
        };
        let _ = reply.send(result);
    }
}

fn of_kind<'a>(lines: &'a [Value], kind: &str) -> Vec<&'a Value> {
    lines.iter().filter(|line| line["t"] == kind).collect()
}

fn these(t: &TransferSnapshot) -> Goal {
    Goal::These(vec![t.id])
}

fn next() -> Goal {
    Goal::Next {
        not: HashSet::new(),
        until: None,
        declinable: true,
    }
}

#[tokio::test]
async fn every_file_is_told_exactly_once_however_many_there_are() {
    const FILES: u32 = 100_000;
    let mut t = snapshot(TransferState::Transferring);
    (t.files, t.entries) = (FILES, FILES);
    let node = FakeNode::start(vec![t.clone()]);
    let pictures = node.pictures.clone();
    let goal = these(&t);
    let moving = async move {
        for settled in (0..=FILES).step_by(777).chain([FILES]) {
            t.settled = settled;
            t.files_done = settled;
            pictures.send_replace(Arc::new(overview(vec![t.clone()])));
            tokio::task::yield_now().await;
        }
        t.state = TransferState::Completed;
        pictures.send_replace(Arc::new(overview(vec![t])));
    };
    let ((exit, lines), ()) = tokio::join!(node.run(goal, |_| {}), moving);
    assert_eq!(exit, Exit::OK);
    for kind in ["file", "file_done"] {
        let told: Vec<u64> = of_kind(&lines, kind)
            .iter()
            .map(|line| line["i"].as_u64().unwrap())
            .collect();
        assert_eq!(told.len(), FILES as usize, "{kind}");
        let all: BTreeSet<u64> = told.into_iter().collect();
        assert_eq!(all.len(), FILES as usize, "{kind} told twice");
    }
    let summary = lines.last().unwrap();
    assert_eq!(summary["t"], "summary");
    assert_eq!(summary["exit"], 0);
    assert_eq!(summary["verified"], true);
}

#[tokio::test]
async fn lines_have_the_fields_that_scripts_rely_on() {
    let mut t = snapshot(TransferState::Completed);
    (t.files, t.entries, t.settled, t.files_done) = (1, 1, 1, 1);
    (t.bytes, t.bytes_done, t.bytes_moved) = (4096, 4096, 4096);
    t.repaired = Some(Repaired {
        path: "file 0".into(),
        files: 1,
        parts: 2,
    });
    let node = FakeNode::start(vec![t.clone()]);
    let (_, lines) = node.run(these(&t), |_| {}).await;
    let id = t.id.to_string();
    for line in &lines {
        assert_eq!(
            (&line["v"], &line["transfer"]),
            (&1.into(), &id.clone().into())
        );
    }
    let kinds: Vec<&str> = lines
        .iter()
        .map(|line| line["t"].as_str().unwrap())
        .collect();
    let order = ["offer", "state", "path", "file", "file_done", "summary"];
    assert_eq!(kinds, order);
    let done = &of_kind(&lines, "file_done")[0];
    assert_eq!(done["name"], "file 0");
    assert_eq!(done["saved_as"], "file 0");
    assert_eq!(done["bytes"], 4096);
    assert_eq!(done["result"], "new");
    assert_eq!(done["blake3"], "01".repeat(32));
    let summary = &of_kind(&lines, "summary")[0];
    for (field, value) in [
        ("files", 1),
        ("bytes", 4096),
        ("sent_bytes", 4096),
        ("repaired_parts", 2),
    ] {
        assert_eq!(summary[field], value, "{field}");
    }
    assert!(summary["seconds"].is_number());
}

#[tokio::test]
async fn what_is_wrong_with_those_who_pass_on_is_told_once() {
    let mut t = snapshot(TransferState::Transferring);
    let node = FakeNode::start(vec![t.clone()]);
    let pictures = node.pictures.clone();
    let goal = these(&t);
    let told = async move {
        let mut show = async |change: fn(&mut TransferSnapshot)| {
            change(&mut t);
            pictures.send_replace(Arc::new(overview(vec![t.clone()])));
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
        };
        show(|t| t.passing.shortcoming = Some(Shortcoming::OutOfReach)).await;
        show(|t| t.passing.liars = vec!["attic".into()]).await;
        show(|t| t.passing.shortcoming = None).await;
        show(|t| t.passing.shortcoming = Some(Shortcoming::Withholds)).await;
        show(|t| t.passing.liars.push("cellar".into())).await;
        show(|t| t.state = TransferState::Completed).await;
    };
    let ((_, lines), ()) = tokio::join!(node.run(goal, |_| {}), told);
    let field = |kind, field: &str| -> Vec<String> {
        let all = of_kind(&lines, kind).into_iter();
        all.map(|line| line[field].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(field("not_passed_on", "why"), ["out-of-reach", "withholds"]);
    assert_eq!(field("wrong_data", "by"), ["attic", "cellar"]);
}

#[tokio::test]
async fn failed_files_decide_the_exit_code() {
    for (done, failed, exit) in [(3, 1, 14), (0, 2, 13)] {
        let mut t = snapshot(TransferState::Completed);
        (t.files_done, t.files_failed) = (done, failed);
        (t.files, t.entries, t.settled) = (done + failed, done + failed, done + failed);
        let node = FakeNode::start(vec![t.clone()]);
        let (code, lines) = node.run(these(&t), |_| {}).await;
        assert_eq!(code, Exit(exit));
        let errors = of_kind(&lines, "error");
        assert_eq!(errors.len(), failed as usize);
        assert_eq!(errors[0]["code"], "name-exists");
        assert_eq!(lines.last().unwrap()["verified"], false);
    }
}

#[tokio::test]
async fn a_transfer_that_fails_ends_with_the_code_of_its_fault() {
    let peer = || String::from("kitchen");
    let reason = DeclineReason::Person;
    for (fault, exit) in [
        (Fault::PeerOffline { peer: peer() }, 3),
        (
            Fault::Declined {
                peer: peer(),
                reason,
            },
            6,
        ),
        (Fault::Cancelled, 130),
    ] {
        let mut t = snapshot(TransferState::Failed);
        t.fault = Some(fault.clone());
        let node = FakeNode::start(vec![t.clone()]);
        let (code, lines) = node.run(these(&t), |_| {}).await;
        assert_eq!(code, Exit(exit));
        let error = &of_kind(&lines, "error")[0];
        assert_eq!(error["code"], fault.slug());
        assert_eq!(error["exit"], exit);
        assert!(of_kind(&lines, "file_done").is_empty());
    }
}

#[tokio::test]
async fn a_signal_pauses_and_says_so() {
    let mut t = snapshot(TransferState::Transferring);
    t.bytes = 10;
    let node = FakeNode::start(vec![t.clone()]);
    let paper = Paper::default();
    let (report, mut signals) = Signals::none();
    let mut out = Output::json_into(Box::new(paper.clone()));
    let face = Face::new(&node.handle, true, &mut out, &mut signals, these(&t));
    report.send_replace(Some(Signal::Terminate));
    assert_eq!(face.run().await, Exit::TERMINATED);
    out.finish().await;
    let commands = node.commands.lock().unwrap().clone();
    let pause = Command::Pause {
        transfer: t.id,
        scope: Scope::Transfer,
    };
    assert_eq!(commands, [pause]);
    let lines = lines(&paper);
    assert_eq!(lines.last().unwrap()["exit"], 143);
}

#[tokio::test]
async fn nobody_reading_ends_the_face_quietly() {
    let t = snapshot(TransferState::Transferring);
    let node = FakeNode::start(vec![t.clone()]);
    let paper = Paper {
        closed: true,
        ..Paper::default()
    };
    let (_report, mut signals) = Signals::none();
    let mut out = Output::json_into(Box::new(paper));
    let face = Face::new(&node.handle, true, &mut out, &mut signals, these(&t));
    assert_eq!(face.run().await, Exit::PIPE_CLOSED);
}

#[tokio::test(start_paused = true)]
async fn a_lost_connection_is_waited_for_so_long_and_not_longer() {
    let mut t = snapshot(TransferState::Interrupted);
    t.bytes = 10;
    let node = FakeNode::start(vec![t.clone()]);
    let start = Instant::now();
    let retry = Duration::from_secs(120);
    let (exit, lines) = node.run(these(&t), |face| face.retry = Some(retry)).await;
    assert_eq!(exit, Exit(8));
    let waited = start.elapsed();
    assert!(waited >= retry && waited < retry + TICK * 2, "{waited:?}");
    assert_eq!(of_kind(&lines, "error")[0]["retryable"], true);
    assert_eq!(of_kind(&lines, "state")[0]["state"], "lost");
}

#[tokio::test(start_paused = true)]
async fn an_offer_that_nobody_answers_is_taken_back_by_a_script_and_left_open_by_a_person() {
    let t = snapshot(TransferState::AwaitingAnswer);
    let node = FakeNode::start(vec![t.clone()]);
    let commands = Arc::clone(&node.commands);
    let start = Instant::now();
    let script = |face: &mut Face<'_>| face.unanswered = Unanswered::Withdraw;
    let (exit, lines) = node.run(these(&t), script).await;
    assert_eq!(exit, Exit::NO_ANSWER);
    let waited = start.elapsed().as_secs();
    assert!((300..302).contains(&waited), "{waited}");
    let error = &of_kind(&lines, "error")[0];
    assert_eq!(
        (&error["code"], &error["exit"]),
        (&"no-answer".into(), &7.into())
    );
    let withdraw = Command::Cancel {
        transfer: t.id,
        scope: Scope::Transfer,
    };
    assert_eq!(*commands.lock().unwrap(), [withdraw]);

    let node = FakeNode::start(vec![t.clone()]);
    let commands = Arc::clone(&node.commands);
    let waits = node.run(these(&t), |_| {});
    let ended = tokio::time::timeout(Duration::from_secs(3600), waits).await;
    assert!(ended.is_err(), "a person can go on waiting");
    assert!(commands.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn without_an_offer_in_time_the_code_says_so() {
    let node = FakeNode::start(vec![]);
    let until = Some(Instant::now() + Duration::from_secs(5));
    let goal = Goal::Next {
        not: HashSet::new(),
        until,
        declinable: false,
    };
    let (exit, _) = node.run(goal, |_| {}).await;
    assert_eq!(exit, Exit::NO_ANSWER);
}

#[tokio::test]
async fn a_declined_offer_does_not_end_the_wait_and_an_accepted_one_does() {
    let mut t = snapshot(TransferState::Rejected);
    t.direction = Direction::Receiving;
    let mut other = t.clone();
    other.id = TransferId([1; 16]);
    other.state = TransferState::Completed;
    let node = FakeNode::start(vec![t.clone()]);
    let pictures = node.pictures.clone();
    let both = Arc::new(overview(vec![t.clone(), other.clone()]));
    let publish = async move {
        tokio::task::yield_now().await;
        pictures.send_replace(both);
    };
    let ((exit, lines), ()) = tokio::join!(node.run(next(), |_| {}), publish);
    assert_eq!(exit, Exit::OK);
    let last = lines.last().unwrap();
    assert_eq!(last["transfer"], other.id.to_string());
}

#[tokio::test]
async fn only_the_chosen_peer_is_taken_without_a_question() {
    let mut t = snapshot(TransferState::AwaitingAnswer);
    t.direction = Direction::Receiving;
    t.question = Some(Question {
        free: 1,
        obstacle: None,
        seconds_left: 9,
        until: 0,
        round: 1,
    });
    let mut stranger = t.clone();
    stranger.id = TransferId([1; 16]);
    stranger.peer = Some(PeerId::from_bytes([1; 32]).into());
    let node = FakeNode::start(vec![stranger, t.clone()]);
    let (commands, pictures) = (Arc::clone(&node.commands), node.pictures.clone());
    let chosen = t.peer.unwrap().key().unwrap();
    let id = t.id;
    let finish = async {
        while commands.lock().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
        t.state = TransferState::Completed;
        pictures.send_replace(Arc::new(overview(vec![t])));
    };
    let setup = |face: &mut Face<'_>| face.answers = Answers::Peer(chosen);
    let ((exit, _), ()) = tokio::join!(node.run(next(), setup), finish);
    assert_eq!(exit, Exit::OK);
    let commands = commands.lock().unwrap().clone();
    assert_eq!(commands.len(), 1);
    assert!(matches!(commands[0], Command::Answer { transfer, .. } if transfer == id));
}

#[tokio::test]
async fn what_has_no_room_is_accepted_for_the_chosen_peer_once_there_is_room() {
    let mut t = snapshot(TransferState::AwaitingAnswer);
    t.direction = Direction::Receiving;
    let full = Fault::DiskFull {
        folder: "/srv".into(),
        needed: 2,
        free: 1,
    };
    t.question = Some(Question {
        free: 1,
        obstacle: Some(full),
        seconds_left: 9,
        until: 0,
        round: 1,
    });
    let node = FakeNode::start(vec![t.clone()]);
    let (commands, pictures) = (Arc::clone(&node.commands), node.pictures.clone());
    let chosen = t.peer.unwrap().key().unwrap();
    let script = async {
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        assert!(commands.lock().unwrap().is_empty());
        let question = t.question.as_mut().unwrap();
        (question.round, question.obstacle) = (2, None);
        pictures.send_replace(Arc::new(overview(vec![t.clone()])));
        while commands.lock().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
        t.state = TransferState::Completed;
        pictures.send_replace(Arc::new(overview(vec![t])));
    };
    let setup = |face: &mut Face<'_>| face.answers = Answers::Peer(chosen);
    let ((exit, lines), ()) = tokio::join!(node.run(next(), setup), script);
    assert_eq!(exit, Exit::OK);
    assert!(lines.iter().any(|line| line["code"] == "disk-full"));
}

#[tokio::test]
async fn the_end_of_the_node_is_a_lost_transfer() {
    let t = snapshot(TransferState::Transferring);
    let node = FakeNode::start(vec![t.clone()]);
    node.show(&t);
    let FakeNode {
        handle, pictures, ..
    } = node;
    drop(pictures);
    let paper = Paper::default();
    let (_report, mut signals) = Signals::none();
    let mut out = Output::json_into(Box::new(paper.clone()));
    let face = Face::new(&handle, true, &mut out, &mut signals, these(&t));
    assert_eq!(face.run().await, Exit(8));
}

#[test]
fn only_what_can_go_on_is_said_to_go_on() {
    let state = TransferState::Transferring;
    let ours = stopped(&snapshot(state), false);
    assert!(ours.contains("Go on with: peerconnect resume"), "{ours}");
    let old = stopped(&to_original(state), false);
    assert!(!old.contains("resume"), "{old}");
    assert!(old.contains("must be sent again"), "{old}");
    // As long as the node lives it can.
    let shared = stopped(&to_original(state), true);
    assert!(shared.contains("peerconnect resume"), "{shared}");
}

#[test]
fn several_transfers_have_one_code() {
    assert_eq!(combined(&[Exit::OK, Exit::OK]), Exit::OK);
    assert_eq!(combined(&[Exit(3), Exit::OK]), Exit::SOME_FAILED);
    assert_eq!(combined(&[Exit(3), Exit(6)]), Exit(3));
}
