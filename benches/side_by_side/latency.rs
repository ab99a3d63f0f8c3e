//! How long a file of 1 KiB takes from the command until it is stored at the other side: verified,
//! synced and under its final name. Two nodes in this process, connected already.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::time::Instant;

use peerconnect::config::{ConflictPolicy, LegacyMode, Paths, Settings};
use peerconnect::node::api::{Command, NodeHandle, Presence, ReceiveRule, Reply, Target};
use peerconnect::node::{Node, NodeOptions, ResumeAtStart};
use peerconnect::protocol::message::TransferId;
use peerconnect::transfer::state::TransferState;

const ROUNDS: usize = 50;

pub(crate) fn measure() {
    let work = crate::workspace().join("latency");
    let (to, from) = (start(&work.join("to")), start(&work.join("from")));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let mut times = runtime.block_on(async {
        let link = to.handle().overview().borrow().me.link.clone();
        let mut times = Vec::new();
        for round in 0..ROUNDS {
            let file = work.join(format!("file-{round}"));
            std::fs::write(&file, [round as u8; 1024]).unwrap();
            let start = Instant::now();
            send(&from.handle(), &link, file).await;
            times.push(start.elapsed().as_secs_f64() * 1e3);
        }
        for node in [&to, &from] {
            node.handle().call(Command::Shutdown).await.unwrap();
        }
        times
    });
    to.join();
    from.join();
    // The first one makes the connection.
    times.remove(0);
    times.sort_by(f64::total_cmp);
    println!(
        "median {:.2}  worst {:.2}",
        times[times.len() / 2],
        times[times.len() - 1]
    );
}

async fn send(node: &NodeHandle, link: &str, file: PathBuf) {
    let to = Target::Text(link.to_owned());
    let command = Command::SendFiles {
        to,
        paths: vec![file],
        separate: true,
    };
    let Reply::Transfer { id, .. } = node.call(command).await.unwrap() else {
        panic!("no id")
    };
    let mut overview = node.overview();
    while state(&overview.borrow_and_update(), id) != Some(TransferState::Completed) {
        overview.changed().await.unwrap();
    }
}

fn state(overview: &peerconnect::node::api::Overview, id: TransferId) -> Option<TransferState> {
    overview.transfer(id).map(|transfer| transfer.state)
}

fn start(dir: &Path) -> Node {
    let folder = dir.join("in");
    let on_conflict = ConflictPolicy::Rename;
    let options = NodeOptions {
        paths: Paths::below(&dir.join("state")),
        settings: Settings {
            folder: folder.clone(),
            legacy: LegacyMode::Off,
            ..Settings::default()
        },
        bind: Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        port: Some(0),
        legacy_port: None,
        legacy_req_port: None,
        rule: Some(ReceiveRule {
            accept_all: true,
            accept_unencrypted: false,
            folder,
            on_conflict,
            pass_on: true,
        }),
        resume: ResumeAtStart::None,
        presence: Presence::Off,
        confine: false,
        wake: None,
    };
    Node::start(options).unwrap()
}
