//! One contestant moves one set of files over one wire.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::process::{Used, watch};
use crate::wire::Wire;

/// Who takes part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Contestant {
    Tcp,
    /// TLS over TCP, with a hash of each file at both ends.
    Tls,
    PeerConnect,
    /// PeerConnect to itself over the original's protocol.
    Legacy,
    /// The reference peer, which works like the original, to itself.
    Reference,
    Rsync,
    Scp,
}

/// What it took.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outcome {
    seconds: f64,
    sender: Used,
    receiver: Used,
}

impl Contestant {
    /// Those that can take part over this wire. rsync runs as a daemon, unencrypted; scp needs a
    /// server that lets us in without a question.
    pub(crate) fn all(wire: &Wire) -> Vec<Self> {
        let mut all = vec![Self::Tcp, Self::Tls, Self::PeerConnect, Self::Legacy];
        if wire.is_loopback() && reference_works() {
            all.push(Self::Reference);
        }
        if installed("rsync") {
            all.push(Self::Rsync);
        }
        if wire.is_loopback() && installed("scp") && ssh_works() {
            all.push(Self::Scp);
        }
        all
    }

    fn name(self) -> &'static str {
        match self {
            Self::Tcp => "plain TCP copy",
            Self::Tls => "TLS and BLAKE3",
            Self::PeerConnect => "PeerConnect",
            Self::Legacy => "old protocol",
            Self::Reference => "reference peer",
            Self::Rsync => "rsync daemon",
            Self::Scp => "scp",
        }
    }
}

fn installed(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok()
}

fn reference_works() -> bool {
    let python = Command::new("python3")
        .args(["-c", "import umsgpack"])
        .output();
    python.is_ok_and(|output| output.status.success())
}

fn ssh_works() -> bool {
    let ssh = Command::new("ssh")
        .args(["-o", "BatchMode=yes", "127.0.0.1", "true"])
        .output();
    ssh.is_ok_and(|output| output.status.success())
}

/// A contestant's median, and the median of its rounds' ratios.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Standing {
    contestant: Contestant,
    median: Outcome,
    /// To the first contestant in the same round.
    ratio: f64,
}

/// How often somebody may try who fails: the original's way of reading breaks now and then.
const TRIES: u32 = 5;

/// Everybody once in each round, one after the other: the speed of a machine that others share
/// changes within minutes, and what ran side by side can still be compared. Who fails a round for
/// good is left out.
pub(crate) fn race(wire: &Wire, source: &Path, work: &Path, rounds: u64) -> Vec<Standing> {
    let contestants = Contestant::all(wire);
    let rounds: Vec<Vec<Option<Outcome>>> = (0..rounds.max(1))
        .map(|_| {
            let each = contestants.iter();
            each.map(|c| (0..TRIES).find_map(|_| alone(*c, wire, source, work)))
                .collect()
        })
        .collect();
    let standing = |(at, contestant): (usize, &Contestant)| {
        let outcomes: Option<Vec<Outcome>> = rounds.iter().map(|round| round[at]).collect();
        let ratios = rounds
            .iter()
            .map(|round| Some(round[at]?.seconds / round[0]?.seconds));
        Some(Standing {
            contestant: *contestant,
            median: median(outcomes?, |outcome| outcome.seconds),
            ratio: median(ratios.collect::<Option<Vec<f64>>>()?, |ratio| *ratio),
        })
    };
    contestants
        .iter()
        .enumerate()
        .filter_map(standing)
        .collect()
}

fn median<T: Copy>(mut values: Vec<T>, key: impl Fn(&T) -> f64) -> T {
    values.sort_by(|a, b| key(a).total_cmp(&key(b)));
    values[values.len() / 2]
}

/// One round into an empty folder.
fn alone(contestant: Contestant, wire: &Wire, source: &Path, work: &Path) -> Option<Outcome> {
    let target = work.join("target");
    let _ = fs::remove_dir_all(&target);
    fs::create_dir_all(&target).unwrap();
    let outcome = round(contestant, wire, source, &target, work);
    let _ = fs::remove_dir_all(&target);
    outcome
}

fn round(
    contestant: Contestant,
    wire: &Wire,
    source: &Path,
    target: &Path,
    work: &Path,
) -> Option<Outcome> {
    match contestant {
        Contestant::Tcp => yardstick("tcp", wire, source, target, work),
        Contestant::Tls => yardstick("tls", wire, source, target, work),
        Contestant::PeerConnect => {
            let program = env!("CARGO_BIN_EXE_peerconnect");
            let ip = wire.receiver().to_string();
            let mut receive = wire.command(1, program);
            receive.args(["receive", "--json", "--yes", "--port", "0", "--bind", &ip]);
            receive.arg("--out").arg(target);
            receive.arg("--config-dir").arg(work.join("receiver"));
            let (receiver, hello) = start(receive);
            let hello: serde_json::Value = serde_json::from_str(&hello).unwrap();
            let link = hello["link"].as_str().unwrap().to_owned();
            let mut send = wire.command(0, program);
            send.args(["send", "--json", "--port", "0", "--to", &link])
                .arg(source);
            send.arg("--config-dir").arg(work.join("sender"));
            let outcome = run(send, Some(receiver));
            let _ = fs::remove_dir_all(work.join("receiver"));
            let _ = fs::remove_dir_all(work.join("sender"));
            outcome
        }
        Contestant::Legacy => legacy(wire, source, target, work),
        Contestant::Reference => reference(source, target),
        Contestant::Rsync => rsync(wire, source, target, work),
        Contestant::Scp => {
            let mut send = wire.command(0, "scp");
            send.args(["-q", "-r", "-o", "BatchMode=yes"]).arg(source);
            send.arg(format!("127.0.0.1:{}", target.display()));
            run(send, None)
        }
    }
}

/// This program as both ends of a copy over TCP.
fn yardstick(
    kind: &str,
    wire: &Wire,
    source: &Path,
    target: &Path,
    work: &Path,
) -> Option<Outcome> {
    let key = work.join("key");
    crate::tcp::make_key(&key);
    let me = std::env::current_exe().unwrap();
    let addr = format!("{}:9797", wire.receiver());
    let end = |end: usize, role: &str, folder: &Path| {
        let mut command = wire.command(end, me.to_str().unwrap());
        command.args([&format!("{kind}-{role}"), &addr]);
        command.arg(folder).arg(&key);
        command
    };
    let (receiver, _) = start(end(1, "receive", target));
    run(end(0, "send", source), Some(receiver))
}

/// The files of a folder, one by one, as originals send them.
fn files_of(source: &Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(source).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

fn legacy(wire: &Wire, source: &Path, target: &Path, work: &Path) -> Option<Outcome> {
    let program = env!("CARGO_BIN_EXE_peerconnect");
    let ports = [
        "--port",
        "0",
        "--legacy-port",
        "0",
        "--legacy-req-port",
        "0",
        "--json",
    ];
    let ip = wire.receiver().to_string();
    let mut receive = wire.command(1, program);
    receive
        .args(["receive", "--accept-unencrypted", "--bind", &ip])
        .args(ports);
    receive.arg("--out").arg(target);
    receive.arg("--config-dir").arg(work.join("receiver"));
    let (receiver, hello) = start(receive);
    let hello: serde_json::Value = serde_json::from_str(&hello).unwrap();
    let (port, req_port) = (&hello["legacy"]["port"], &hello["legacy"]["req_port"]);
    let mut send = wire.command(0, program);
    send.args(["send", "--to", &format!("legacy:{ip}:{port}/{req_port}")])
        .args(ports);
    send.args(files_of(source));
    send.arg("--config-dir").arg(work.join("sender"));
    let outcome = run(send, Some(receiver));
    let _ = fs::remove_dir_all(work.join("receiver"));
    let _ = fs::remove_dir_all(work.join("sender"));
    outcome
}

fn reference(source: &Path, target: &Path) -> Option<Outcome> {
    let peer = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/legacy/legacy_peer.py");
    let alone = ["--no-kad", "--ip", "127.0.0.1"];
    let mut receive = Command::new("python3");
    receive.args([
        peer,
        "recv",
        "--listen",
        "127.0.0.1:9799",
        "--once",
        "1",
        "--dir",
    ]);
    receive.arg(target).args(alone);
    let (receiver, _) = start(receive);
    // It says who it is before it listens.
    std::thread::sleep(Duration::from_millis(300));
    let mut send = Command::new("python3");
    send.args([peer, "send", "127.0.0.1:9799"])
        .args(files_of(source))
        .args(alone);
    run(send, Some(receiver))
}

fn rsync(wire: &Wire, source: &Path, target: &Path, work: &Path) -> Option<Outcome> {
    let config = work.join("rsyncd.conf");
    let module = format!(
        "use chroot = no\nuid = 0\ngid = 0\n[in]\npath = {}\nread only = no\n",
        target.display()
    );
    fs::write(&config, module).unwrap();
    let mut daemon = wire.command(1, "rsync");
    daemon
        .args(["--daemon", "--no-detach", "--port", "9798", "--config"])
        .arg(&config);
    let mut daemon = daemon
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // The daemon says nothing when it listens.
    std::thread::sleep(Duration::from_millis(500));
    let mut send = wire.command(0, "rsync");
    send.arg("-aW").arg(source);
    send.arg(format!("rsync://{}:9798/in/", wire.receiver()));
    let outcome = run(send, None);
    let _ = daemon.kill();
    let _ = daemon.wait();
    outcome
}

/// Starts a receiver and waits for its first line.
fn start(mut command: Command) -> (Child, String) {
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    // The rest is drained, so that the receiver never waits for us.
    std::thread::spawn(move || std::io::copy(&mut out, &mut std::io::sink()));
    (child, line)
}

/// Runs the sender to its end, then waits for the receiver.
fn run(mut send: Command, receiver: Option<Child>) -> Option<Outcome> {
    let receiver = receiver.map(|child| std::thread::spawn(move || watch(child)));
    let start = Instant::now();
    let sender = send
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let sender = watch(sender)?;
    let seconds = start.elapsed().as_secs_f64();
    let receiver = match receiver {
        Some(receiver) => receiver.join().unwrap()?,
        None => Used::default(),
    };
    Some(Outcome {
        seconds,
        sender,
        receiver,
    })
}

/// A table; ratios are to the first one.
pub(crate) fn print(standings: &[Standing], files: u64) {
    println!(
        "{:<16} {:>8} {:>7} {:>10} {:>9} {:>9} {:>9} {:>9}",
        "", "seconds", "ratio", "files/s", "CPU send", "CPU recv", "MB send", "MB recv"
    );
    for standing in standings {
        let Outcome {
            seconds,
            sender,
            receiver,
        } = standing.median;
        println!(
            "{:<16} {:>8.2} {:>7.2} {:>10.0} {:>9.2} {:>9.2} {:>9.0} {:>9.0}",
            standing.contestant.name(),
            seconds,
            standing.ratio,
            files as f64 / seconds,
            sender.cpu,
            receiver.cpu,
            sender.memory as f64 / 1e6,
            receiver.memory as f64 / 1e6,
        );
    }
}
