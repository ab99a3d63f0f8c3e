//! The real program and the reference peer, over the loopback. The reference peer ends like the
//! original when it is sent what the original cannot read, and then says so.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use peerconnect::fault::Fault;
use peerconnect::node::api::{self, Again, Reply};
use serde_json::Value;

use crate::common::{Shape, content, tree};

/// Far above what anything takes: only a hang gets there.
const HANG: Duration = Duration::from_secs(120);

/// A program that tells what happens in lines of JSON. Dropping it kills it.
pub struct Program {
    child: Child,
    lines: mpsc::Receiver<Value>,
    pub seen: Vec<Value>,
    /// Where a line says what it is about.
    key: &'static str,
}

impl Program {
    pub fn start(mut command: Command, key: &'static str) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (to, lines) = mpsc::sync_channel(100_000);
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let value = serde_json::from_str(&line).unwrap_or(Value::String(line));
                if to.send(value).is_err() {
                    return;
                }
            }
        });
        let seen = Vec::new();
        Self {
            child,
            lines,
            seen,
            key,
        }
    }

    /// The next line of this kind.
    pub fn next(&mut self, kind: &str) -> Value {
        loop {
            match self.lines.recv_timeout(HANG) {
                Ok(line) => {
                    self.seen.push(line.clone());
                    if line[self.key] == kind {
                        return line;
                    }
                }
                Err(error) => panic!("no \"{kind}\" ({error}) after {:#?}", self.seen),
            }
        }
    }

    /// Waits for its end. Gives the exit code.
    pub fn end(&mut self) -> i32 {
        let until = std::time::Instant::now() + HANG;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                self.seen.extend(self.lines.iter());
                return status.code().unwrap_or(-1);
            }
            assert!(std::time::Instant::now() < until, "{:#?}", self.seen);
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Takes in what it has said so far.
    pub fn drain(&mut self) {
        self.seen.extend(self.lines.try_iter());
    }

    pub fn has(&self, kind: &str) -> bool {
        self.seen.iter().any(|line| line[self.key] == kind)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Two folders, and programs that use them. `None` where the reference peer cannot run.
pub struct Lab {
    dir: tempfile::TempDir,
}

impl Lab {
    pub fn new() -> Option<Self> {
        let found = Command::new("python3")
            .args(["-c", "import umsgpack"])
            .output();
        let usable = found.is_ok_and(|output| output.status.success());
        let must = std::env::var_os("PEERCONNECT_TEST_ALL").is_some_and(|all| all == "1");
        assert!(usable || !must, "python3 with u-msgpack-python is missing");
        let dir = tempfile::tempdir().unwrap();
        for name in ["out", "in", "theirs"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
        }
        usable.then_some(Self { dir })
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path("out").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        path
    }

    pub fn ours(&self, args: &[&str]) -> Program {
        let mut command = Command::new(env!("CARGO_BIN_EXE_peerconnect"));
        command
            .env_clear()
            .env("PEERCONNECT_CONFIG_DIR", self.path("config"))
            .args(args)
            .args(["--json", "--bind", "127.0.0.1", "--port", "0"])
            .args(["--legacy-port", "0", "--legacy-req-port", "0"])
            .stderr(Stdio::inherit());
        if let Ok(log) = std::env::var("PEERCONNECT_LOG") {
            command.env("PEERCONNECT_LOG", log);
        }
        Program::start(command, "t")
    }

    /// Receives what one original sends, or stays.
    pub fn receive(&self, verb: &str) -> (Program, String, String) {
        let inbox = self.path("in");
        let mut ours = self.ours(&[
            verb,
            "--accept-unencrypted",
            "--out",
            inbox.to_str().unwrap(),
        ]);
        let hello = ours.next("hello");
        let port = |key: &str| format!("127.0.0.1:{}", hello["legacy"][key]);
        let (to, kad) = (port("port"), port("req_port"));
        (ours, to, kad)
    }

    /// The reference peer.
    pub fn script() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/legacy/legacy_peer.py")
    }

    pub fn theirs(&self, args: &[&str]) -> Program {
        let mut command = Command::new("python3");
        command.arg(Self::script()).args(args);
        command.args(["--ip", "127.0.0.1", "--req-port", "0"]);
        Program::start(command, "event")
    }

    /// The reference peer sends, checked in.
    fn they_send(&self, to: &str, kad: &str, more: &[&str], paths: &[&Path]) -> Program {
        let mut args = vec!["send", to];
        args.extend(paths.iter().map(|path| path.to_str().unwrap()));
        args.extend(["--kad", kad]);
        args.extend(more);
        self.theirs(&args)
    }

    /// The reference peer receives. Gives its address as we write it.
    pub fn they_receive(&self, more: &[&str]) -> (Program, String) {
        let folder = self.path("theirs");
        let mut args = vec![
            "recv",
            "--listen",
            "127.0.0.1:0",
            "--dir",
            folder.to_str().unwrap(),
        ];
        args.extend(more);
        let mut theirs = self.theirs(&args);
        let listening = theirs.next("listening");
        let (port, req) = (&listening["addr"][1], &listening["req_port"]);
        (theirs, format!("legacy:127.0.0.1:{port}/{req}"))
    }

    pub fn send(&self, to: &str, paths: &[&Path]) -> Program {
        let mut args = vec!["send", "--to", to];
        args.extend(paths.iter().map(|path| path.to_str().unwrap()));
        self.ours(&args)
    }
}

fn summary(ours: &mut Program) -> Value {
    let summary = ours.next("summary");
    assert_eq!(summary["verified"], false);
    assert_eq!(summary["encrypted"], false);
    summary
}

#[test]
fn files_of_an_original_arrive() {
    let Some(lab) = Lab::new() else { return };
    let paths = [
        lab.file("large.bin", &content(1, 20_000_000)),
        lab.file("empty", b""),
        lab.file("été.txt", b"small"),
    ];
    let (mut ours, to, kad) = lab.receive("receive");
    let paths: Vec<&Path> = paths.iter().map(PathBuf::as_path).collect();
    let mut theirs = lab.they_send(&to, &kad, &[], &paths);
    assert_eq!(theirs.end(), 0, "{:#?}", theirs.seen);
    let path = ours.next("path");
    assert_eq!(path["kind"], "legacy-plain");
    assert_eq!(summary(&mut ours)["files_done"], 3);
    assert_eq!(ours.end(), 0, "{:#?}", ours.seen);
    assert!(tree(&lab.path("out")) == tree(&lab.path("in")));
}

#[test]
fn files_and_folders_arrive_at_an_original_and_it_lives_on() {
    let Some(lab) = Lab::new() else { return };
    lab.file("d/e/deep", &content(1, 3_000_000));
    lab.file("d/été", b"x");
    std::fs::create_dir_all(lab.path("out/d/hollow/deeper")).unwrap();
    let large = lab.file("large.bin", &content(2, 20_000_000));
    let empty = lab.file("empty", b"");
    let (theirs, to) = lab.they_receive(&[]);
    let folder = lab.path("out/d");
    for round in 0..2 {
        let mut ours = lab.send(&to, &[&folder, &large, &empty]);
        assert_eq!(ours.end(), 0, "round {round}: {:#?}", ours.seen);
        assert!(!theirs.has("acceptor-died"));
    }
    let there = tree(&lab.path("theirs"));
    let sent = tree(&lab.path("out"));
    for (name, bytes) in &sent {
        assert!(there.get(name) == Some(bytes), "{name}");
    }
    assert!(there.contains_key("large (1).bin") && there.contains_key("d(1)/e/deep"));
}

#[test]
fn many_files_go_both_ways() {
    let Some(lab) = Lab::new() else { return };
    let paths: Vec<PathBuf> = (0..500_u64)
        .map(|i| lab.file(&format!("f{i:04}"), &content(i, 2000 + i as usize)))
        .collect();
    let paths: Vec<&Path> = paths.iter().map(PathBuf::as_path).collect();
    let (mut ours, to, kad) = lab.receive("receive");
    let mut theirs = lab.they_send(&to, &kad, &[], &paths);
    assert_eq!(
        (theirs.end(), ours.end()),
        (0, 0),
        "{:#?}",
        ours.seen.last()
    );
    let (_theirs, to) = lab.they_receive(&[]);
    assert_eq!(lab.send(&to, &paths).end(), 0);
    let sent = tree(&lab.path("out"));
    assert!(sent == tree(&lab.path("in")) && sent == tree(&lab.path("theirs")));
}

#[test]
fn an_original_that_declines_is_understood() {
    let Some(lab) = Lab::new() else { return };
    let file = lab.file("a", b"a");
    let (_theirs, to) = lab.they_receive(&["--reject"]);
    let mut ours = lab.send(&to, &[&file]);
    assert_eq!(ours.end(), 6, "{:#?}", ours.seen);
}

#[test]
fn an_original_that_breaks_off_leaves_whole_files_only() {
    let Some(lab) = Lab::new() else { return };
    let paths = [
        lab.file("whole", b"whole"),
        lab.file("cut", &content(1, 9_000_000)),
    ];
    let (mut ours, to, kad) = lab.receive("receive");
    let paths: Vec<&Path> = paths.iter().map(PathBuf::as_path).collect();
    let mut theirs = lab.they_send(&to, &kad, &["--drop-after", "3000000"], &paths);
    assert_eq!(theirs.end(), 5);
    assert_eq!(ours.end(), 8, "{:#?}", ours.seen);
    let names: Vec<String> = tree(&lab.path("in")).into_keys().collect();
    assert_eq!(names, ["whole"]);
}

#[test]
fn several_originals_at_once_and_one_connection_for_several_transfers() {
    let Some(lab) = Lab::new() else { return };
    let file = lab.file("same", &content(1, 2_000_000));
    let (mut ours, to, kad) = lab.receive("daemon");
    let mut several: Vec<Program> = (0..4)
        .map(|i| {
            let id = format!("several-{i}");
            lab.they_send(&to, &kad, &["--id", &id, "--repeat", "2"], &[&file])
        })
        .collect();
    for theirs in &mut several {
        assert_eq!(theirs.end(), 0, "{:#?}", theirs.seen);
    }
    for _ in 0..8 {
        assert_eq!(summary(&mut ours)["state"], "done");
    }
    // Equal content is there once.
    assert_eq!(tree(&lab.path("in")).len(), 1);
}

#[test]
fn a_folder_of_an_original_arrives() {
    let Some(lab) = Lab::new() else { return };
    lab.file("photos/été/a.jpg", &content(1, 1_500_000));
    lab.file("photos/b.jpg", b"b");
    std::fs::create_dir_all(lab.path("out/photos/hollow/deeper")).unwrap();
    let (mut ours, to, kad) = lab.receive("receive");
    let folder = lab.path("out/photos");
    let mut theirs = lab.theirs(&["send-dir", &to, folder.to_str().unwrap(), "--kad", &kad]);
    assert_eq!(theirs.end(), 0, "{:#?}", theirs.seen);
    assert_eq!(ours.end(), 0, "{:#?}", ours.seen);
    assert!(tree(&lab.path("out")) == tree(&lab.path("in")));
}

/// More than 32 bits can count. Needs so much room once: only where everything is tested, or where
/// `PEERCONNECT_TEST_GIB` says how large.
#[test]
fn a_file_of_several_gibibytes_goes_both_ways() {
    let gib = std::env::var("PEERCONNECT_TEST_GIB").ok();
    let all = std::env::var_os("PEERCONNECT_TEST_ALL").is_some();
    let Some(gib) = gib
        .and_then(|gib| gib.parse::<u64>().ok())
        .or(all.then_some(5))
    else {
        return;
    };
    let Some(lab) = Lab::new() else { return };
    let path = lab.file("sparse", b"");
    let len = gib * 1024 * 1024 * 1024;
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.set_len(len).unwrap();
    let (mut ours, to, kad) = lab.receive("receive");
    let mut theirs = lab.they_send(&to, &kad, &[], &[&path]);
    assert_eq!((theirs.end(), ours.end()), (0, 0), "{:?}", ours.seen.last());
    let arrived = |folder| {
        let there = lab.path(folder).join("sparse");
        assert_eq!(there.metadata().unwrap().len(), len, "{folder}");
        std::fs::remove_file(there).unwrap();
    };
    arrived("in");
    let (_theirs, to) = lab.they_receive(&[]);
    assert_eq!(lab.send(&to, &[&path]).end(), 0);
    arrived("theirs");
}

/// Takes as long as an original waits: only where everything is tested.
#[test]
fn a_pause_here_neither_ends_nor_damages_the_transfer_of_an_original() {
    if std::env::var_os("PEERCONNECT_TEST_ALL").is_none() {
        return;
    }
    let Some(lab) = Lab::new() else { return };
    let len = 60_000_000;
    let file = lab.file("large.bin", &content(7, len));
    let (mut ours, to, kad) = lab.receive("daemon");
    let mut theirs = lab.they_send(&to, &kad, &[], &[&file]);
    let offer = ours.next("offer");
    let id = offer["transfer"].as_str().unwrap().to_owned();
    let steer = |verb: &str| lab.ours(&[verb, &id]).end();
    // It may be over already on a quick machine; then there is nothing to pause.
    if steer("pause") == 0 {
        // Longer than an original waits for a chunk.
        std::thread::sleep(Duration::from_secs(12));
        assert_eq!(steer("resume"), 0);
    }
    assert_eq!(theirs.end(), 0, "{:#?}", theirs.seen);
    assert_eq!(summary(&mut ours)["state"], "done");
    assert!(tree(&lab.path("in"))["large.bin"] == content(7, len));
}

/// A person types the address of a computer where only an old version runs, as if it were one of
/// ours.
#[tokio::test(flavor = "multi_thread")]
async fn an_original_in_place_of_a_peer_is_named_and_sent_to_only_when_somebody_says_so() {
    let Some(lab) = Lab::new() else { return };
    let (_theirs, address) = lab.they_receive(&[]);
    let from = Shape::legacy("from").start();
    let first = from.send(&address, &[&from.file("first", b"first")]).await;
    from.completed(first).await;
    from.until(|o| o.nearby.first().map(|_| ())).await;
    let second = from.file("second", b"second");
    let failed = from.send("127.0.0.1:1", &[&second]).await;
    let end = from.ended(failed).await;
    let Some(Fault::Version { original, .. }) = end.fault else {
        panic!("{end:#?}");
    };
    assert!(original.is_some_and(|at| at.starts_with("legacy:127.0.0.1")));
    assert!(!tree(&lab.path("theirs")).contains_key("second"));
    let unencrypted = |transfer| api::Command::SendAgain {
        transfer,
        what: Again::Unencrypted,
    };
    let refused = from.handle.call(unencrypted(first)).await;
    assert!(matches!(refused, Err(Fault::Invalid { .. })), "{refused:?}");
    let Reply::Transfer { id, .. } = from.call(unencrypted(failed)).await else {
        panic!("no transfer");
    };
    assert!(from.completed(id).await.is_legacy());
    assert_eq!(tree(&lab.path("theirs"))["second"], b"second");
}
