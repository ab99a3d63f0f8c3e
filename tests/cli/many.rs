//! One send to several receivers, as scripts and people see it.

use serde_json::Value;

use crate::program::{Ended, Home, Running, content};

/// Starts to send a file to all of them.
fn send(from: &Home, to: &[&str], more: &[&str]) -> Running {
    let path = from.file("f");
    let mut args = vec!["send", path.to_str().unwrap()];
    for to in to {
        args.extend(["--to", to]);
    }
    args.extend(more);
    from.start(&args)
}

/// An address where nobody listens.
fn nobody() -> (std::net::UdpSocket, String) {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let addr = socket.local_addr().unwrap().to_string();
    (socket, addr)
}

fn exits(ended: &Ended) -> Vec<u64> {
    let summaries = ended.of_kind("summary");
    let mut exits: Vec<u64> = summaries
        .iter()
        .map(|s| s["exit"].as_u64().unwrap())
        .collect();
    exits.sort_unstable();
    exits
}

#[test]
fn everybody_gets_it_and_the_total_is_the_last_word() {
    let (from, a, b) = (Home::new(), Home::new(), Home::new());
    from.write("f", 1_500_000, 1);
    let (to_a, to_b) = (a.daemon(), b.daemon());
    let sent = send(&from, &[to_a.link(), to_b.link()], &[])
        .end()
        .with_code(0);
    let session = sent.only("session");
    let receivers = session["receivers"].as_array().unwrap();
    assert_eq!(receivers.len(), 2);
    let id = &session["session"];
    for summary in sent.of_kind("summary") {
        assert_eq!((&summary["session"], &summary["exit"]), (id, &0.into()));
        assert!(
            receivers
                .iter()
                .any(|r| r["transfer"] == summary["transfer"])
        );
    }
    for offer in sent.of_kind("offer") {
        assert_eq!(&offer["session"], id);
    }
    assert_eq!(sent.of_kind("file_done").len(), 2);
    let total: Value = serde_json::from_str(sent.lines.last().unwrap()).unwrap();
    assert_eq!((&total["t"], &total["session"]), (&"total".into(), id));
    assert_eq!(
        (&total["exit"], &total["receivers"]),
        (&0.into(), &2.into())
    );
    assert_eq!(
        (&total["complete"], &total["incomplete"]),
        (&2.into(), &0.into())
    );
    assert!(total["sent_bytes"].as_u64().unwrap() >= 3_000_000);
    for home in [&a, &b] {
        assert_eq!(
            std::fs::read(home.file("in/f")).unwrap(),
            content(1_500_000, 1)
        );
    }
    assert_eq!(sent.stderr, "");
}

#[test]
fn who_got_nothing_is_told_by_the_code_unless_others_got_it() {
    let (from, to) = (Home::new(), Home::new());
    from.write("f", 10, 1);
    let receiving = to.daemon();
    let ((_one, first), (_two, second)) = (nobody(), nobody());
    let sent = send(&from, &[&first, receiving.link()], &[])
        .end()
        .with_code(14);
    assert_eq!(exits(&sent), [0, 3]);
    let total = sent.only("total");
    assert_eq!(
        (&total["complete"], &total["incomplete"]),
        (&1.into(), &1.into())
    );
    assert!(to.file("in/f").is_file());
    let sent = send(&from, &[&first, &second], &[]).end().with_code(3);
    assert_eq!(sent.only("total")["exit"], 3);
}

#[test]
fn people_read_who_got_it_and_who_did_not() {
    let (from, to) = (Home::new(), Home::new());
    from.write("f", 10, 1);
    let receiving = to.daemon();
    let (_socket, nobody) = nobody();
    let args = [
        "send",
        "f",
        "--to",
        receiving.link(),
        "--to",
        &nobody,
        "--bind",
        "127.0.0.1",
        "--port",
        "0",
        "--no-legacy",
    ];
    let sent = from.run(&args).with_code(14);
    let results = sent.lines.join("\n");
    assert!(results.contains("1 file delivered to "), "{results}");
    assert!(results.ends_with(" s") && results.contains("! 1 of 2 receivers have everything"));
    assert!(sent.stderr.contains("To 2 receivers: "), "{}", sent.stderr);
    assert!(
        sent.stderr.contains(&format!("{nobody}: ")),
        "{}",
        sent.stderr
    );
    let again = format!(
        "Send again with: peerconnect send --to {}",
        receiving.link()
    );
    assert!(!sent.stderr.contains('\r'));
    assert!(
        sent.stderr.replace('\'', "").contains(&again),
        "{}",
        sent.stderr
    );
}

#[test]
fn an_id_of_the_whole_steers_all_of_them() {
    let (from, a, b) = (Home::new(), Home::new(), Home::new());
    from.write("f", 4_000_000, 1);
    let (to_a, to_b) = (a.daemon(), b.daemon());
    let daemon = from.daemon();
    let mut sending = send(&from, &[to_a.link(), to_b.link()], &["--limit", "100K"]);
    let id = sending.next("session")["session"]
        .as_str()
        .unwrap()
        .to_owned();
    sending.state("running");
    sending.state("running");
    let list = from.run(&["list", "--json"]).with_code(0);
    assert_eq!(list.only("session")["session"], id);
    for transfer in list.of_kind("transfer") {
        assert_eq!(transfer["session"], id);
    }
    let list = from.run(&["list"]).with_code(0);
    assert!(list.lines[1].contains("to 2 receivers"), "{:?}", list.lines);
    assert_eq!(list.lines.len(), 4);
    from.run(&["pause", &id]).with_code(0);
    sending.state("paused");
    sending.state("paused");
    // A file is paused for each of them.
    from.run(&["pause", &id, "--file", "f"]).with_code(0);
    from.run(&["resume", &id, "--file", "f"]).with_code(0);
    from.run(&["resume", &id]).with_code(0);
    sending.state("running");
    sending.state("running");
    let answer = from.run(&["answer", &id, "skip"]).with_code(2);
    assert!(
        answer.stderr.contains("several receivers"),
        "{}",
        answer.stderr
    );
    from.run(&["cancel", &id]).with_code(0);
    let ended = sending.end();
    assert_eq!(ended.only("total")["complete"], 0);
    assert_eq!(exits(&ended).len(), 2);
    drop(daemon);
}

#[test]
fn what_ctrl_c_ended_goes_on_as_a_whole() {
    let (from, a, b) = (Home::new(), Home::new(), Home::new());
    from.write("f", 3_000_000, 1);
    let (to_a, to_b) = (a.daemon(), b.daemon());
    let mut sending = send(&from, &[to_a.link(), to_b.link()], &["--limit", "100K"]);
    let id = sending.next("session")["session"]
        .as_str()
        .unwrap()
        .to_owned();
    sending.state("running");
    sending.state("running");
    sending.signal(rustix::process::Signal::INT);
    let ended = sending.end().with_code(130);
    assert_eq!(ended.only("total")["exit"], 130);
    let resumed = from.start(&["resume", &id]).end().with_code(0);
    assert_eq!(resumed.only("total")["complete"], 2);
    for home in [&a, &b] {
        assert_eq!(
            std::fs::read(home.file("in/f")).unwrap(),
            content(3_000_000, 1)
        );
    }
}

#[test]
fn a_group_means_all_its_members() {
    let (from, a, b) = (Home::new(), Home::new(), Home::new());
    from.write("f", 10, 1);
    let (to_a, to_b) = (a.daemon(), b.daemon());
    // Known from now on.
    send(&from, &[to_a.link(), to_b.link()], &[])
        .end()
        .with_code(0);
    let ids: Vec<String> = [&to_a, &to_b]
        .map(|to| to.seen[0]["id"].as_str().unwrap().to_owned())
        .into();
    let wrong = ["peers", "group", "class", &ids[0], "nobody"];
    from.run(&wrong).with_code(2);
    from.run(&["peers", "group", "class", &ids[0][..8], &ids[1]])
        .with_code(0);
    let listed = from.run(&["peers", "--json", "--no-legacy"]).with_code(0);
    let group = listed.only("group");
    assert_eq!(
        (&group["name"], &group["members"]),
        (&"class".into(), &serde_json::json!(ids))
    );
    from.run(&["peers", "rename", &ids[0], "Class"])
        .with_code(2);

    from.write("f", 20, 2);
    let sent = send(&from, &["CLASS"], &[]).end().with_code(0);
    assert_eq!(sent.only("total")["complete"], 2);
    for home in [&a, &b] {
        assert_eq!(
            std::fs::read(home.file("in/f (1)")).unwrap(),
            content(20, 2)
        );
    }
    // Who is forgotten is in no group either.
    from.run(&["peers", "forget", &ids[0]]).with_code(0);
    let listed = from.run(&["peers", "--json", "--no-legacy"]).with_code(0);
    let left = serde_json::json!([ids[1]]);
    assert_eq!(listed.only("group")["members"], left);
    from.run(&["peers", "ungroup", "class"]).with_code(0);
    from.run(&["peers", "ungroup", "class"]).with_code(2);
    let listed = from.run(&["peers", "--json", "--no-legacy"]).with_code(0);
    assert!(listed.of_kind("group").is_empty());
}

#[test]
fn a_group_has_a_name_that_means_nobody_else() {
    let from = Home::new();
    let id = "a".repeat(52);
    let stranger = from.run(&["id", "--json", "--no-legacy"]).only("id")["id"].clone();
    for name in ["", " ", "192.168.1.7", "peerconnect:x", "a:1"] {
        from.run(&["peers", "group", name, &id]).with_code(2);
    }
    let own = stranger.as_str().unwrap();
    from.run(&["peers", "group", "us", own]).with_code(2);
}
