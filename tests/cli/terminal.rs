//! What people see at a terminal: questions, answers, progress. The node is played by the test.

use std::fs::File;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use peerconnect::config::{ConflictAnswer, ConflictPolicy, Paths};
use peerconnect::net::link::{PathInfo, PathKind};
use peerconnect::net::relay::{RelayStanding, RelayState};
use peerconnect::node::api::{
    CodeCommand, CodeReach, CodeSnapshot, CodeState, Command, Decision, Found, Me, NodeHandle,
    Overview, PeerInfo, Presence, Reply, Taking, Target, TextCommand, TextSnapshot, TextState,
};
use peerconnect::node::control;
use peerconnect::peer::PeerId;
use peerconnect::protocol::link_uri::RelayHint;
use peerconnect::protocol::message::{Outcome, Scope, Timestamp, TransferId};
use peerconnect::storage::store::{Accept, PeerRecord};
use peerconnect::transfer::state::TransferState;
use peerconnect::transfer::status::{
    Conflict, Direction, FileQuery, FileRow, FileState, Limit, Question, RowKind, TopName,
    TransferSnapshot, Version,
};
use tokio::sync::watch;

use crate::program::Home;

const HANG: Duration = Duration::from_secs(20);

/// The program at a terminal of its own, 100 columns wide.
struct Terminal {
    child: Child,
    keys: File,
    text: mpsc::Receiver<Vec<u8>>,
    seen: String,
}

impl Terminal {
    fn start(home: &Home, args: &[&str]) -> Self {
        use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&ours).unwrap();
        unlockpt(&ours).unwrap();
        let name = ptsname(&ours, Vec::new()).unwrap();
        let size = rustix::termios::Winsize {
            ws_row: 30,
            ws_col: 100,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        rustix::termios::tcsetwinsize(&ours, size).unwrap();
        let theirs = || {
            let path = PathBuf::from(name.to_str().unwrap());
            Stdio::from(File::options().read(true).write(true).open(path).unwrap())
        };
        let mut command = home.command(args);
        let calm = [("LANG", "C.UTF-8"), ("TERM", "xterm"), ("TZ", "UTC")];
        command.envs(calm);
        let child = command
            .stdin(theirs())
            .stdout(theirs())
            .stderr(theirs())
            .spawn()
            .unwrap();
        drop(command);
        let keys = File::from(ours);
        let mut screen = keys.try_clone().unwrap();
        let (to, text) = mpsc::sync_channel(100_000);
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(n) = screen.read(&mut bytes) {
                if n == 0 || to.send(bytes[..n].to_vec()).is_err() {
                    break;
                }
            }
        });
        Self {
            child,
            keys,
            text,
            seen: String::new(),
        }
    }

    /// Waits until this has been shown.
    fn shows(&mut self, what: &str) {
        let start = Instant::now();
        while !self.seen.contains(what) {
            match self.text.recv_timeout(Duration::from_millis(100)) {
                Ok(bytes) => self.seen.push_str(&String::from_utf8_lossy(&bytes)),
                Err(_) if start.elapsed() < HANG => {}
                Err(_) => panic!("never shown: {what}\n{}", self.seen),
            }
        }
    }

    fn types(&mut self, line: &str) {
        self.seen.clear();
        writeln!(self.keys, "{line}").unwrap();
    }

    fn ends_with_code(mut self, code: i32) {
        let status = self.child.wait().unwrap();
        assert_eq!(status.code(), Some(code), "{}", self.seen);
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
    }
}

/// An offer of 41 files to us.
pub(crate) fn offer() -> TransferSnapshot {
    let name = |name: &str, files| TopName {
        name: name.into(),
        files,
        bytes: 1,
    };
    TransferSnapshot {
        id: TransferId([0x3f; 16]),
        session: None,
        direction: Direction::Receiving,
        peer: Some(PeerId::from_bytes([9; 32]).into()),
        peer_name: "anna \u{1b}[31m".into(),
        trusted: false,
        words: Some("river copper nine".into()),
        state: TransferState::AwaitingAnswer,
        accepted: false,
        dormant: false,
        paused_by: None,
        fault: None,
        top_names: vec![name("holiday", Some(40)), name("a.pdf", None)],
        top_count: 2,
        files: 41,
        files_done: 0,
        files_failed: 0,
        bytes: 1_200_000_000,
        bytes_done: 0,
        bytes_moved: 0,
        rate: 0,
        eta_seconds: None,
        limit: Limit::Unknown,
        path: Some(PathInfo {
            kind: PathKind::Direct,
            addr: None,
            rtt: None,
        }),
        folder: Some("/srv/in".into()),
        question: Some(Question {
            free: 212_000_000_000,
            obstacle: None,
            seconds_left: 300,
            until: 0,
            round: 1,
        }),
        conflict: None,
        conflicts: 0,
        seconds: 11.4,
        started: 0,
        settled: 0,
        entries: 41,
        passing: Default::default(),
        failures: Vec::new(),
        entries_failed: 0,
        repaired: None,
    }
}

fn picture(transfers: Vec<TransferSnapshot>) -> Arc<Overview> {
    with_texts(transfers, vec![])
}

fn with_texts(transfers: Vec<TransferSnapshot>, texts: Vec<TextSnapshot>) -> Arc<Overview> {
    let anna = PeerInfo {
        path: None,
        id: PeerId::from_bytes([9; 32]),
        record: PeerRecord {
            claimed_name: "anna".into(),
            own_name: None,
            trusted: true,
            accept: Accept::Ask,
            addrs: vec![],
            first_seen: 0,
            last_seen: 0,
        },
        connected: false,
        folder: None,
        words: None,
    };
    Arc::new(Overview {
        me: Me {
            id: PeerId::from_bytes([7; 32]),
            name: "ben".into(),
            link: "peerconnect:x".into(),
            addrs: vec!["127.0.0.1:1".into()],
            folder: "/srv".into(),
            rate_limit: None,
            pid: 1,
            relays: Vec::new(),
            router_port: peerconnect::net::RouterPort::Off,
            takes_tcp: true,
            dht: peerconnect::net::DhtStanding::Off,
            legacy: None,
        },
        peers: Arc::new([anna]),
        groups: Arc::new([]),
        nearby: Arc::new([]),
        presence: Presence::Off,
        listens_since: std::time::SystemTime::now(),
        transfers: transfers.into(),
        sessions: Arc::new([]),
        texts: texts.into(),
        multicast: None,
        passing_on: 0,
        codes: Arc::new([]),
        notices: Arc::new([]),
        chosen: Arc::default(),
    })
}

/// Plays the node of an installation: an offer comes to whoever expects one.
pub(crate) struct Node {
    commands: mpsc::Receiver<Command>,
    pictures: watch::Sender<Arc<Overview>>,
    _runtime: tokio::runtime::Runtime,
}

impl Node {
    pub(crate) fn start(home: &Home) -> Self {
        let paths = Paths::below(&home.config());
        let first = Arc::unwrap_or_clone(picture(vec![]));
        let (handle, mut requests, pictures) = NodeHandle::new(first);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = runtime.block_on(async { control::bind(&paths).unwrap() });
        runtime.spawn(control::serve(listener, handle));
        let (to, commands) = mpsc::sync_channel(1000);
        runtime.spawn(async move {
            while let Some((command, reply)) = requests.recv().await {
                let files = matches!(command, Command::Files { .. });
                let result = if let Command::Files { query, .. } = &command {
                    let from = match *query {
                        FileQuery::Range { from, .. } => from as usize,
                        FileQuery::Settled { .. } => 0,
                    };
                    Reply::Files(rows().split_off(from.min(rows().len())))
                } else if matches!(command, Command::Code(CodeCommand::Receive { .. })) {
                    Reply::Agreed {
                        peer: PeerId::from_bytes([9; 32]),
                        transfer: TransferId([0x3f; 16]),
                    }
                } else if matches!(command, Command::SendFiles { .. } | Command::Code(_)) {
                    Reply::Transfer {
                        id: TransferId([0x3f; 16]),
                        attached: false,
                    }
                } else if matches!(command, Command::Text(TextCommand::Read(_))) {
                    Reply::Text("✓ 3 files\u{1b}[2J\nsecond line".into())
                } else if matches!(command, Command::Find(_)) {
                    Reply::Found(Found::Address)
                } else {
                    Reply::Done
                };
                let _ = reply.send(Ok(result));
                if !files {
                    let _ = to.send(command);
                }
            }
        });
        Self {
            commands,
            pictures,
            _runtime: runtime,
        }
    }

    pub(crate) fn shows(&self, t: &TransferSnapshot) {
        self.pictures.send_replace(picture(vec![t.clone()]));
    }

    fn shows_text(&self, t: &TextSnapshot) {
        self.pictures
            .send_replace(with_texts(vec![], vec![t.clone()]));
    }

    pub(crate) fn next(&self) -> Command {
        self.commands.recv_timeout(HANG).unwrap()
    }
}

fn rows() -> Vec<FileRow> {
    let row = |index: u32, state| FileRow {
        index,
        path: format!("holiday/{index}.jpg"),
        kind: RowKind::File,
        bytes: 1000,
        bytes_done: 450,
        state,
        saved_as: None,
        hash: None,
    };
    let active = (1..9).map(|n| row(n, FileState::Active));
    let first = row(0, FileState::Settled(Outcome::New));
    std::iter::once(first).chain(active).collect()
}

#[test]
fn an_offer_is_asked_about_shown_and_finished() {
    let home = Home::new();
    let node = Node::start(&home);
    let mut terminal = Terminal::start(&home, &["receive"]);
    terminal.shows("Waiting. You are \"ben\"");
    assert!(matches!(node.next(), Command::Expect(rule) if !rule.accept_all));
    let mut t = offer();
    node.shows(&t);
    terminal.shows("Accept? [Y/n/list] ");
    for part in [
        "anna \\u{1b}[31m wants to send 41 files, 1.20 GB, into /srv/in",
        "holiday/ (40 files), a.pdf",
        "212 GB free",
        "Both screens show: river copper nine",
    ] {
        assert!(terminal.seen.contains(part), "{part} in {}", terminal.seen);
    }
    terminal.types("what?");
    terminal.shows("Accept? [Y/n/list] ");
    terminal.types("");
    let transfer = t.id;
    let decision = Decision::Accept {
        folder: None,
        only: None,
        pass_on: true,
    };
    assert_eq!(node.next(), Command::Answer { transfer, decision });

    t.state = TransferState::Transferring;
    t.question = None;
    (t.bytes_done, t.rate, t.eta_seconds) = (756_000_000, 108_000_000, Some(4));
    node.shows(&t);
    terminal.shows("63%");
    terminal.shows("756 MB/1.20 GB  108 MB/s  4 s  direct");
    terminal.shows("holiday/5.jpg  45% of 1.00 kB");
    assert!(
        !terminal.seen.contains("holiday/6.jpg"),
        "five files at most"
    );

    t.state = TransferState::Completed;
    (t.files_done, t.bytes_done) = (41, t.bytes);
    node.shows(&t);
    terminal.shows("41 files in /srv/in, verified, 1.20 GB, 11.4 s (direct)");
    terminal.ends_with_code(0);
}

/// A text that is offered to us.
fn text_offer() -> TextSnapshot {
    TextSnapshot {
        id: TransferId([0x7e; 16]),
        direction: Direction::Receiving,
        peer: Some(PeerId::from_bytes([9; 32]).into()),
        peer_name: "anna \u{1b}[31m".into(),
        trusted: false,
        words: Some("river copper nine".into()),
        state: TextState::Asking,
        fault: None,
        bytes: 24,
        begun: 0,
    }
}

#[test]
fn a_text_is_asked_about_shown_with_a_margin_and_ends_the_command() {
    let home = Home::new();
    let node = Node::start(&home);
    let mut terminal = Terminal::start(&home, &["receive"]);
    node.next();
    let mut t = text_offer();
    node.shows_text(&t);
    terminal.shows("Show it? [Y/n] ");
    for part in [
        "anna \\u{1b}[31m wants to send a text, 24 B",
        "Both screens show: river copper nine",
    ] {
        assert!(terminal.seen.contains(part), "{part} in {}", terminal.seen);
    }
    terminal.types("what?");
    terminal.shows("Show it? [Y/n] ");
    terminal.types("");
    let (text, take) = (t.id, true);
    let answer = Command::Text(TextCommand::Answer { text, take });
    assert_eq!(node.next(), answer);
    t.state = TextState::Delivered;
    node.shows_text(&t);
    terminal.shows("Text from anna \\u{1b}[31m:");
    terminal.shows("| ✓ 3 files\\u{1b}[2J");
    terminal.shows("| second line");
    terminal.ends_with_code(0);
}

#[test]
fn a_text_that_is_declined_or_taken_back_is_not_shown_and_the_command_waits() {
    let home = Home::new();
    let node = Node::start(&home);
    let mut terminal = Terminal::start(&home, &["receive"]);
    node.next();
    let mut t = text_offer();
    node.shows_text(&t);
    terminal.shows("Show it? ");
    terminal.types("n");
    let (text, take) = (t.id, false);
    let answer = Command::Text(TextCommand::Answer { text, take });
    assert_eq!(node.next(), answer);
    terminal.shows("Still waiting");
    t.id = TransferId([1; 16]);
    node.shows_text(&t);
    terminal.shows("Show it? ");
    node.pictures.send_replace(picture(vec![]));
    terminal.shows("taken back");
    let pid = rustix::process::Pid::from_child(&terminal.child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    terminal.ends_with_code(130);
}

#[test]
fn a_no_goes_on_waiting_and_an_offer_can_be_taken_back() {
    let home = Home::new();
    let node = Node::start(&home);
    let mut terminal = Terminal::start(&home, &["receive"]);
    node.next();
    let mut t = offer();
    node.shows(&t);
    terminal.shows("Accept? ");
    terminal.types("n");
    let transfer = t.id;
    let decision = Decision::Decline;
    assert_eq!(node.next(), Command::Answer { transfer, decision });
    terminal.shows("Still waiting");
    t.state = TransferState::Rejected;
    node.shows(&t);

    let mut other = offer();
    other.id = TransferId([1; 16]);
    node.shows(&other);
    terminal.shows("Accept? ");
    other.state = TransferState::Rejected;
    terminal.seen.clear();
    node.shows(&other);
    terminal.shows("taken back");

    // Ctrl-C as the terminal would send it.
    let pid = rustix::process::Pid::from_child(&terminal.child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    terminal.ends_with_code(130);
}

#[test]
fn send_asks_to_whom_and_shows_that_the_other_must_answer() {
    let home = Home::new();
    home.write("a.pdf", 10, 1);
    let node = Node::start(&home);
    let mut terminal = Terminal::start(&home, &["send", "a.pdf"]);
    terminal.shows("Seen before, not heard now:");
    terminal.shows("1  anna (trusted, ");
    terminal.shows("To whom? [1-1] ");
    terminal.types("1");
    let sent = node.next();
    let Command::SendFiles { to, paths, .. } = sent else {
        panic!("{sent:?}");
    };
    assert_eq!(to, Target::Peer(PeerId::from_bytes([9; 32])));
    assert_eq!(paths, [home.file("a.pdf")]);
    let mut t = offer();
    t.direction = Direction::Sending;
    t.question = None;
    node.shows(&t);
    terminal.shows("to accept. New device: both screens show river copper nine.");
    t.state = TransferState::Completed;
    t.files_done = 41;
    node.shows(&t);
    terminal.shows("41 files delivered to anna");
    terminal.ends_with_code(0);
}

/// A picture with a relay, and with a code after so many wrong ones.
fn with_code(code: Option<&str>, wrong: u32) -> Arc<Overview> {
    let mut there = Arc::unwrap_or_clone(picture(vec![]));
    let relay = RelayHint {
        id: PeerId::from_bytes([5; 32]),
        addrs: vec![],
    };
    let state = RelayState::Away;
    there.me.relays = vec![RelayStanding { relay, state }];
    let code = code.map(|code| CodeSnapshot {
        id: offer().id,
        code: Some(code.into()),
        expires: 4_000_000_000,
        wrong,
        reach: CodeReach::Anywhere,
        names: vec!["a.pdf".into()],
        state: CodeState::Waiting,
    });
    there.codes = code.into_iter().collect();
    Arc::new(there)
}

#[test]
fn enter_makes_a_code_where_it_can_be_looked_up() {
    let home = Home::new();
    home.write("a.pdf", 10, 1);
    let node = Node::start(&home);
    node.pictures.send_replace(with_code(None, 0));
    let mut terminal = Terminal::start(&home, &["send", "a.pdf"]);
    terminal.shows("To whom? [1-1, or Enter for a code] ");
    terminal.types("");
    let sent = node.next();
    let Command::Code(CodeCommand::Send { paths }) = &sent else {
        panic!("{sent:?}");
    };
    assert_eq!(*paths, [home.file("a.pdf")]);
    node.pictures
        .send_replace(with_code(Some("7-river-copper"), 0));
    terminal.shows("peerconnect receive 7-river-copper");
    node.pictures
        .send_replace(with_code(Some("7-lake-moss"), 1));
    terminal.shows("Someone typed a wrong code");
    terminal.shows("peerconnect receive 7-lake-moss");
    let pid = rustix::process::Pid::from_child(&terminal.child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    terminal.ends_with_code(130);
    assert_eq!(node.next(), Command::Code(CodeCommand::Drop(offer().id)));
}

#[test]
fn a_code_can_be_typed_where_nobody_else_sees_it() {
    let home = Home::new();
    let node = Node::start(&home);
    let mut terminal = Terminal::start(&home, &["receive", "--code"]);
    terminal.shows("The code, such as 7-river-copper: ");
    terminal.types("7 Lake moss");
    let sent = node.next();
    let Command::Code(CodeCommand::Receive { code, taking }) = sent else {
        panic!("{sent:?}");
    };
    assert_eq!(code, "7-lake-moss");
    assert!(matches!(taking, Taking::ByRule(rule) if !rule.accept_all));
    let mut t = offer();
    t.question = None;
    t.state = TransferState::Completed;
    t.files_done = 41;
    node.shows(&t);
    terminal.ends_with_code(0);
}

/// The first of three files whose names are taken.
fn conflict(index: u32, path: &str) -> Conflict {
    let version = |bytes| Version {
        bytes,
        modified: Timestamp(1_000_000_000_000_000_000),
    };
    Conflict {
        index,
        path: path.into(),
        old: version(2_000_000),
        new: version(2_100_000),
        keep_both_as: format!("{path} (1)"),
    }
}

#[test]
fn a_name_that_is_taken_is_asked_about_while_files_move() {
    let home = Home::new();
    let node = Node::start(&home);
    let args = ["receive", "--yes", "--on-conflict", "ask"];
    let mut terminal = Terminal::start(&home, &args);
    let rule = node.next();
    assert!(
        matches!(&rule, Command::Expect(rule) if rule.on_conflict == ConflictPolicy::Ask),
        "{rule:?}"
    );
    let mut t = offer();
    t.question = None;
    t.state = TransferState::Transferring;
    (t.bytes_done, t.rate) = (756_000_000, 108_000_000);
    (t.conflicts, t.conflict) = (3, Some(conflict(1, "evil\u{1b}[31m.pdf")));
    node.shows(&t);
    terminal.shows("[K/r/s; \"k all\" for the other 2 too] ");
    for part in [
        "\"evil\\u{1b}[31m.pdf\" is already there and differs.",
        "Yours: 2.00 MB, 9 Sept 2001",
        "New:   2.10 MB, 9 Sept 2001; beside yours it would be \"evil\\u{1b}[31m.pdf (1)\"",
    ] {
        assert!(terminal.seen.contains(part), "{part} in {}", terminal.seen);
    }
    terminal.types("what?");
    terminal.shows("[K/r/s; ");
    terminal.types("s");
    let answer = |scope, answer| Command::AnswerConflict {
        transfer: TransferId([0x3f; 16]),
        scope,
        answer,
    };
    assert_eq!(node.next(), answer(Scope::File(1), ConflictAnswer::Skip));

    (t.conflicts, t.conflict) = (2, Some(conflict(2, "b")));
    node.shows(&t);
    terminal.shows("for the other 1 too] ");
    terminal.types("r all");
    assert_eq!(
        node.next(),
        answer(Scope::Transfer, ConflictAnswer::Replace)
    );
    (t.conflicts, t.conflict) = (0, None);
    t.state = TransferState::Completed;
    (t.files_done, t.bytes_done) = (41, t.bytes);
    node.shows(&t);
    terminal.shows("41 files in /srv/in, verified");
    terminal.ends_with_code(0);
}

#[test]
fn a_question_about_a_name_that_was_answered_elsewhere_goes_away() {
    let home = Home::new();
    let node = Node::start(&home);
    let mut terminal = Terminal::start(&home, &["receive", "--yes"]);
    node.next();
    let mut t = offer();
    t.question = None;
    t.state = TransferState::Transferring;
    (t.conflicts, t.conflict) = (1, Some(conflict(1, "a")));
    node.shows(&t);
    terminal.shows("skip the new one? [K/r/s] ");
    (t.conflicts, t.conflict) = (0, None);
    node.shows(&t);
    terminal.shows("Not needed any more.");
    t.state = TransferState::Completed;
    t.files_done = 41;
    node.shows(&t);
    terminal.ends_with_code(0);
}
