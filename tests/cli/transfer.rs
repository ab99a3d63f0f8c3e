//! Sending and receiving with two processes.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use peerconnect::config::Paths;
use peerconnect::node::api::{Command, Decision};
use peerconnect::node::control;
use peerconnect::transfer::state::TransferState;
use rustix::process::Signal;

use crate::program::{Ended, Home, content, system};

/// Everything below a folder: relative paths, and the content of files.
fn tree(folder: &Path) -> BTreeMap<String, Option<Vec<u8>>> {
    let mut found = BTreeMap::new();
    let mut open = vec![folder.to_owned()];
    while let Some(path) = open.pop() {
        for entry in std::fs::read_dir(&path).unwrap() {
            let path = entry.unwrap().path();
            let name = path
                .strip_prefix(folder)
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned();
            if path.is_dir() {
                found.insert(name, None);
                open.push(path);
            } else {
                found.insert(name, Some(std::fs::read(&path).unwrap()));
            }
        }
    }
    found
}

fn hex(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex().to_string()
}

#[test]
fn a_file_arrives_verified_and_both_sides_say_so() {
    let (sender, receiver) = (Home::new(), Home::new());
    let size = 3 * 1024 * 1024 + 5;
    let path = sender.write("holiday.mp4", size, 1);
    let receiving = receiver.receive();
    let hello = receiving.seen[0].clone();
    assert_eq!(hello["v"], 1);
    for key in ["name", "id", "link", "version"] {
        assert!(hello[key].is_string(), "{key}");
    }
    assert!(hello["link"].as_str().unwrap().starts_with("peerconnect:"));
    assert!(
        hello["addrs"][0]
            .as_str()
            .unwrap()
            .starts_with("127.0.0.1:")
    );

    let sent = sender.send(&receiving, &[&path]).end().with_code(0);
    let received = receiving.end().with_code(0);
    for ended in [&sent, &received] {
        let done = ended.only("file_done");
        assert_eq!(done["name"], "holiday.mp4");
        assert_eq!(done["saved_as"], "holiday.mp4");
        assert_eq!(done["bytes"], size);
        assert_eq!(done["result"], "new");
        assert_eq!(done["blake3"], hex(&content(size, 1)));
        let summary = ended.only("summary");
        assert_eq!(summary["exit"], 0);
        assert_eq!(summary["files"], 1);
        assert_eq!(summary["bytes"], size);
        assert_eq!(summary["verified"], true);
        assert!(summary["sent_bytes"].as_u64().unwrap() >= size as u64);
        assert!(summary["seconds"].is_number());
        assert_eq!(ended.stderr, "");
    }
    let there = tree(&receiver.file("in"));
    let names: Vec<&String> = there.keys().collect();
    assert_eq!(names, ["holiday.mp4"], "nothing else is left behind");
    assert_eq!(there["holiday.mp4"].as_deref(), Some(&*content(size, 1)));
}

#[test]
fn every_line_is_an_object_of_a_known_kind() {
    let (sender, receiver) = (Home::new(), Home::new());
    let path = sender.write("a", 100_000, 1);
    let receiving = receiver.receive();
    let sent = sender.send(&receiving, &[&path]).end().with_code(0);
    let received = receiving.end().with_code(0);
    let known = [
        "hello",
        "target",
        "offer",
        "state",
        "path",
        "file",
        "progress",
        "file_done",
        "error",
        "summary",
    ];
    for ended in [&sent, &received] {
        for line in &ended.lines {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            assert_eq!(line["v"], 1);
            let kind = line["t"].as_str().unwrap();
            assert!(known.contains(&kind), "{line}");
            let of_transfer = !matches!(kind, "hello" | "target");
            assert_eq!(of_transfer, line["transfer"].is_string(), "{line}");
        }
        assert_eq!(ended.only("path")["kind"], "direct");
        let last: serde_json::Value = serde_json::from_str(ended.lines.last().unwrap()).unwrap();
        assert_eq!(last["t"], "summary");
    }
}

#[test]
fn folders_keep_their_shape_with_empty_folders_and_files() {
    let (sender, receiver) = (Home::new(), Home::new());
    sender.write("tree/a.txt", 10, 1);
    sender.write("tree/deep/er/b.bin", 70_000, 2);
    sender.write("tree/zero", 0, 0);
    sender.write("tree/Ä 照片 (1).txt", 3, 3);
    std::fs::create_dir(sender.file("tree/empty")).unwrap();
    let single = sender.write("single.pdf", 5, 4);
    let receiving = receiver.receive();
    let sent = sender
        .send(&receiving, &[&sender.file("tree"), &single])
        .end()
        .with_code(0);
    receiving.end().with_code(0);
    assert_eq!(sent.only("summary")["files"], 5);
    assert_eq!(tree(&receiver.file("in/tree")), tree(&sender.file("tree")));
    assert!(receiver.file("in/single.pdf").is_file());
}

#[test]
fn an_address_works_as_well_as_a_link() {
    let (sender, receiver) = (Home::new(), Home::new());
    let path = sender.write("a", 10, 1);
    let receiving = receiver.receive();
    let addr = receiving.seen[0]["addrs"][0].as_str().unwrap().to_owned();
    let args = ["send", "--to", &addr, path.to_str().unwrap()];
    sender.start(&args).end().with_code(0);
    receiving.end().with_code(0);
}

#[test]
fn what_is_there_already_is_not_sent_again_and_what_differs_is_kept_beside_it() {
    let (sender, receiver) = (Home::new(), Home::new());
    let path = sender.write("a.bin", 2_000_000, 1);
    let daemon = receiver.daemon();
    sender.send(&daemon, &[&path]).end().with_code(0);
    let again = sender.send(&daemon, &[&path]).end().with_code(0);
    assert_eq!(again.only("file_done")["result"], "identical");
    assert!(again.only("summary")["sent_bytes"].as_u64().unwrap() < 1_000_000);

    sender.write("a.bin", 2_000_000, 2);
    let other = sender.send(&daemon, &[&path]).end().with_code(0);
    let done = other.only("file_done");
    assert_eq!(done["result"], "renamed");
    assert_eq!(done["saved_as"], "a (1).bin");
    let there = tree(&receiver.file("in"));
    assert_eq!(there["a.bin"].as_deref(), Some(&*content(2_000_000, 1)));
    assert_eq!(there["a (1).bin"].as_deref(), Some(&*content(2_000_000, 2)));
}

#[test]
fn a_taken_name_is_code_13_where_that_is_wanted() {
    let (sender, receiver) = (Home::new(), Home::new());
    let path = sender.write("a.bin", 1000, 1);
    receiver.write("in/a.bin", 1000, 2);
    let into = receiver.file("in");
    let mut receiving = receiver.start(&[
        "receive",
        "--yes",
        "--on-conflict",
        "fail",
        "--out",
        into.to_str().unwrap(),
    ]);
    receiving.next("hello");
    let sent = sender.send(&receiving, &[&path]).end().with_code(13);
    receiving.end().with_code(13);
    assert_eq!(sent.only("error")["code"], "name-exists");
    assert_eq!(sent.only("summary")["verified"], false);
    assert_eq!(std::fs::read(into.join("a.bin")).unwrap(), content(1000, 2));
}

#[test]
fn nobody_there_is_code_3() {
    let sender = Home::new();
    let path = sender.write("a", 1, 1);
    let free = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let addr = free.local_addr().unwrap().to_string();
    drop(free);
    let args = ["send", "--to", &addr, path.to_str().unwrap()];
    let ended = sender.start(&args).end().with_code(3);
    let error = ended.only("error");
    assert_eq!(error["code"], "peer-offline");
    assert_eq!(error["retryable"], true);
}

/// Answers the first offer to an instance with a no.
async fn decline_first_offer(config: &Path) {
    let paths = Paths::below(config);
    let node = control::connect(&paths).await.unwrap().unwrap();
    let mut overview = node.overview();
    let picture = overview
        .wait_for(|picture| {
            let asks = |state| state == TransferState::AwaitingAnswer;
            picture.transfers.iter().any(|t| asks(t.state))
        })
        .await
        .unwrap()
        .clone();
    let transfer = picture.transfers[0].id;
    let decision = Decision::Decline;
    node.call(Command::Answer { transfer, decision })
        .await
        .unwrap();
}

#[test]
fn a_no_is_code_6_and_nothing_is_written() {
    let (sender, receiver) = (Home::new(), Home::new());
    let path = sender.write("a", 1000, 1);
    let into = receiver.file("in");
    let mut daemon = receiver.start(&["daemon", "--out", into.to_str().unwrap()]);
    daemon.next("hello");
    let mut sending = sender.send(&daemon, &[&path]);
    sending.next("offer");
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(decline_first_offer(&receiver.config()));
    let sent = sending.end().with_code(6);
    assert_eq!(sent.only("error")["code"], "declined");
    assert!(!into.join("a").exists());
}

#[test]
fn a_folder_that_cannot_be_written_is_code_10() {
    let (sender, receiver) = (Home::new(), Home::new());
    let path = sender.write("a", 1000, 1);
    let mut receiving = receiver.start(&["receive", "--yes", "--out", "/proc/peerconnect"]);
    let said = receiving.next_that(|line| line["t"] != "state", "hello or error");
    if said["t"] == "hello" {
        sender.send(&receiving, &[&path]).end().with_code(10);
    }
    let received = receiving.end().with_code(10);
    assert_eq!(received.only("error")["code"], "cannot-write");
}

/// A file system of one MiB. Unmounted at the end.
struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    fn mount(at: std::path::PathBuf) -> Option<Self> {
        std::fs::create_dir_all(&at).unwrap();
        let options = [
            "-t",
            "tmpfs",
            "-o",
            "size=1m",
            "tmpfs",
            at.to_str().unwrap(),
        ];
        system("mount", &options)?;
        Some(Self(at))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        system("umount", &["-l", self.0.to_str().unwrap()]);
    }
}

#[test]
fn too_little_room_is_code_9_for_both_before_anything_is_sent() {
    let (sender, receiver) = (Home::new(), Home::new());
    let Some(_disk) = SmallDisk::mount(receiver.file("in")) else {
        eprintln!("skipped: no file system can be mounted here");
        return;
    };
    let path = sender.write("large", 3_000_000, 1);
    let receiving = receiver.receive();
    let sent = sender.send(&receiving, &[&path]).end().with_code(9);
    let received = receiving.end().with_code(9);
    for ended in [&sent, &received] {
        assert_eq!(ended.only("error")["code"], "disk-full");
        assert_eq!(ended.only("summary")["sent_bytes"], 0);
    }
    assert!(tree(&receiver.file("in")).is_empty());
}

#[test]
fn no_offer_in_time_is_code_7() {
    let receiver = Home::new();
    let args = ["receive", "--yes", "--timeout", "200ms"];
    receiver.start(&args).end().with_code(7);
}

#[test]
fn what_was_broken_off_goes_on_with_what_has_arrived() {
    const SIZE: usize = 8_000_000;
    let (sender, receiver) = (Home::new(), Home::new());
    let path = sender.write("large.bin", SIZE, 1);
    let into = receiver.file("in");
    let receiving = receiver.receive();
    let port = receiving.seen[0]["addrs"][0].as_str().unwrap();
    let port = port.rsplit_once(':').unwrap().1.to_owned();
    let mut sending =
        sender.send_with(&receiving, &[&path], &["--limit", "2M", "--retry", "500ms"]);
    let id = sending.state("running")["transfer"]
        .as_str()
        .unwrap()
        .to_owned();
    sending.next_that(
        |line| line["t"] == "progress" && line["bytes"].as_u64() > Some(3_000_000),
        "progress",
    );
    receiving.signal(Signal::TERM);
    receiving.end().with_code(143);
    let sent = sending.end().with_code(8);
    assert_eq!(sent.only("error")["code"], "lost");
    assert!(!into.join("large.bin").exists(), "not complete, not there");
    for home in [&sender, &receiver] {
        let listed = home.run(&["list", "--json"]).with_code(0).only("transfer");
        assert_eq!(listed["dormant"], true);
        assert_eq!(
            (&listed["bytes"], &listed["files"]),
            (&SIZE.into(), &1.into())
        );
        let done = listed["bytes_done"].as_u64().unwrap();
        assert!((1_000_000..SIZE as u64).contains(&done), "{listed}");
        assert_eq!(listed["names"], serde_json::json!(["large.bin"]));
        let list = home.run(&["list"]).with_code(0).lines.join("\n");
        let hint = format!(
            "interrupted; `peerconnect resume {}` continues it",
            &id[..4]
        );
        assert!(list.contains(&hint), "{list}");
        assert!(list.contains("8.00 MB") && !list.contains(" 0%"), "{list}");
    }

    let args = [
        "receive",
        "--yes",
        "--port",
        &port,
        "--out",
        into.to_str().unwrap(),
    ];
    let mut receiving = receiver.start(&args);
    receiving.next("hello");
    let resumed = sender.start(&["resume", &id]).end().with_code(0);
    for state in resumed.of_kind("state") {
        assert_eq!(state["accepted"], true, "nobody is asked again");
    }
    receiving.end().with_code(0);
    for home in [&sender, &receiver] {
        assert_eq!(home.run(&["list", "--json"]).of_kind("transfer").len(), 0);
    }
    let moved = resumed.only("summary")["sent_bytes"].as_u64().unwrap();
    assert!(moved < SIZE as u64 - 1_000_000, "{moved} bytes sent again");
    assert_eq!(
        std::fs::read(into.join("large.bin")).unwrap(),
        content(SIZE, 1)
    );
}

#[test]
fn ctrl_c_keeps_everything_and_names_the_command_to_go_on() {
    let (sender, receiver) = (Home::new(), Home::new());
    let path = sender.write("large.bin", 8_000_000, 1);
    let daemon = receiver.daemon();
    let mut command = sender.command(&["send", "--limit", "1M", "--to", daemon.link()]);
    command
        .arg(&path)
        .args(["--bind", "127.0.0.1", "--port", "0"]);
    let mut child = command.spawn().unwrap();
    // The socket is there when the node is.
    let socket = Paths::below(&sender.config()).control_socket();
    while !socket.exists() {
        assert!(child.try_wait().unwrap().is_none(), "it ended too early");
        std::thread::sleep(Duration::from_millis(10));
    }
    let list = || sender.run(&["list", "--json"]).with_code(0);
    let running = |list: &Ended| {
        let transfers = list.of_kind("transfer");
        transfers.iter().any(|t| t["state"] == "running")
    };
    while !running(&list()) {
        assert!(child.try_wait().unwrap().is_none(), "it ended too early");
    }
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(130), "{stderr}");
    let (_, id) = stderr.rsplit_once("peerconnect resume ").expect(&stderr);
    let list = list();
    let transfer = list.only("transfer");
    assert!(
        transfer["transfer"]
            .as_str()
            .unwrap()
            .starts_with(id.trim())
    );
}
