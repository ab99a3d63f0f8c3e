//! Somebody of whom nothing is known but the key, in another network: found in the DHT.

use std::fs::File;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::sync::mpsc;

use mainline::TestnetBuilder;
use peerconnect::net::DhtStanding;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::router_port::{Ports, side, with_python};
use super::*;

/// A DHT on the public side, gone with this value. Its nodes are threads of this process that
/// live in the network of the relay.
struct Directory {
    nodes: Vec<String>,
    _stop: mpsc::SyncSender<()>,
}

impl Directory {
    fn in_the_middle(lab: &Lab) -> Self {
        let space = File::open(format!("/run/netns/{}rdv", lab.prefix)).unwrap();
        let (stop, stopped) = mpsc::sync_channel::<()>(1);
        let (tell, told) = mpsc::sync_channel(1);
        std::thread::spawn(move || {
            let network = Some(LinkNameSpaceType::Network);
            move_into_link_name_space(space.as_fd(), network).unwrap();
            let mut builder = TestnetBuilder::new(10);
            builder.bind_address(Ipv4Addr::new(203, 0, 113, 10));
            let nodes = builder.build().unwrap();
            tell.send(nodes.bootstrap.clone()).unwrap();
            let _ = stopped.recv();
        });
        let nodes = told.recv_timeout(common::side::HANG).unwrap();
        Self { nodes, _stop: stop }
    }

    /// Has a program use it from its start on.
    fn used_by(&self, side: &Side) {
        let paths = Paths::below(&side.home.join("config"));
        paths.create().unwrap();
        let nodes = &self.nodes[..3];
        let settings = format!("dht = \"on\"\ndht_nodes = {nodes:?}\n");
        std::fs::write(paths.settings_file(), settings).unwrap();
    }
}

fn receiver(lab: &Lab, directory: &Directory, dir: &Path, more: &[&str]) -> Side {
    let mut receiver = side(lab, "b", dir);
    directory.used_by(&receiver);
    let inbox = receiver.home.join("in").to_str().unwrap().to_owned();
    let args = [&["daemon", "--yes", "--out", &inbox], more].concat();
    receiver.args = args.into_iter().map(String::from).collect();
    receiver.start();
    receiver
}

/// Waits until the receiver says that it can be found.
async fn until_published(receiver: &Side) {
    let paths = Paths::below(&receiver.home.join("config"));
    let node = control::connect(&paths).await.unwrap().unwrap();
    let mut overview = node.overview();
    let there = overview.wait_for(|picture| picture.me.dht == DhtStanding::Published);
    let there = tokio::time::timeout(common::side::HANG, there).await;
    assert!(there.is_ok(), "{}", receiver.said());
}

/// Sends to a key and says how it went.
async fn sent_to_key(lab: &Lab, directory: &Directory, receiver: &mut Side, dir: &Path) -> Value {
    let hello = receiver.line("hello").await;
    until_published(receiver).await;
    let mut sender = side(lab, "a", dir);
    directory.used_by(&sender);
    let film = sender.home.join("film");
    std::fs::write(&film, content(7, SMALL)).unwrap();
    let id = hello["id"].as_str().unwrap();
    sender.args = ["send", "--to", id, film.to_str().unwrap()]
        .map(String::from)
        .into();
    sender.start();
    assert!(sender.end().await.success(), "{}", sender.said());
    let there = tree(&receiver.home.join("in"));
    assert!(there.into_iter().eq([("film".into(), content(7, SMALL))]));
    sender.line("path").await["kind"].clone()
}

#[tokio::test]
async fn a_key_alone_leads_to_a_port_that_the_router_opened() {
    let Some(lab) = with_python("a=sym b=sym") else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let directory = Directory::in_the_middle(&lab);
    let _ports = Ports::at(&lab, "pcp", "203.0.113.102", dir.path()).await;
    let mut receiver = receiver(&lab, &directory, dir.path(), &[]);
    let kind = sent_to_key(&lab, &directory, &mut receiver, dir.path()).await;
    assert_eq!(kind, "direct");
    receiver.kill();
}

#[tokio::test]
async fn a_key_alone_leads_to_a_relay_that_only_the_other_side_knows() {
    let Some(lab) = Lab::up("a=sym b=sym") else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let directory = Directory::in_the_middle(&lab);
    let mut relay = side(&lab, "rdv", dir.path());
    relay.args = vec!["relay".into()];
    relay.start();
    let hello = relay.line("hello").await;
    let link = hello["link"].as_str().unwrap();
    let mut receiver = receiver(&lab, &directory, dir.path(), &["--relay", link]);
    let kind = sent_to_key(&lab, &directory, &mut receiver, dir.path()).await;
    assert_eq!(kind, "relay");
    receiver.kill();
    relay.kill();
}
