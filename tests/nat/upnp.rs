//! A port that a router opens by UPnP: the program that most routers of homes have for it.

use std::fs::File;
use std::process::{Child, Stdio};

use peerconnect::net::{RouterPort, RouterProtocol};

use super::router_port::{receiver, sent_directly, side};
use super::*;

/// The router's address in the Internet: its program opens no ports at one that is kept for
/// documents, as all others of the lab are. Nobody outside of it is ever asked.
const OUTSIDE: &str = "11.0.0.102";

/// A lab whose routers have that program. `None` where this cannot be had. With
/// `PEERCONNECT_TEST_ALL=1` that is a failure.
fn with_miniupnpd(options: &str) -> Option<Lab> {
    // It says how it is used, and that it was used in another way.
    if Command::new("miniupnpd").arg("--help").output().is_ok() {
        return Lab::up(options);
    }
    let must = std::env::var_os("PEERCONNECT_TEST_ALL").is_some();
    assert!(!must, "no miniupnpd");
    eprintln!("skipped: needs miniupnpd");
    None
}

/// The program, at a router. It speaks nothing but UPnP.
struct Igd<'a> {
    child: Child,
    lab: &'a Lab,
    router: String,
}

impl<'a> Igd<'a> {
    /// At the router in front of this side.
    async fn at(lab: &'a Lab, side: char, dir: &Path) -> Self {
        let router = format!("n{side}");
        lab.ip(&router, &format!("addr add {OUTSIDE}/32 dev wan"));
        lab.ip("net", &format!("route add {OUTSIDE}/32 dev p{side}"));
        let config = dir.join("miniupnpd.conf");
        // In the chains that the router has anyway.
        let text = format!(
            "ext_ifname=wan\next_ip={OUTSIDE}\nlistening_ip=lan\nhttp_port=0\n\
             enable_upnp=yes\nenable_natpmp=no\nsecure_mode=yes\n\
             upnp_table_name=nat\nupnp_nat_table_name=nat\nupnp_forward_chain=forward\n\
             upnp_nat_chain=prerouting\nupnp_nat_postrouting_chain=postrouting\n\
             allow 1024-65535 192.168.0.0/16 1024-65535\ndeny 0-65535 0.0.0.0/0 0-65535\n"
        );
        std::fs::write(&config, text).unwrap();
        let said = dir.join("miniupnpd");
        let out = File::create(&said).unwrap();
        let words = lab.at(&router);
        let child = Command::new(&words[0])
            .args(&words[1..])
            .args(["miniupnpd", "-d", "-f"])
            .arg(&config)
            .arg("-P")
            .arg(dir.join("miniupnpd.pid"))
            .stdin(Stdio::null())
            .stdout(out.try_clone().unwrap())
            .stderr(out)
            .spawn()
            .unwrap();
        let igd = Self { child, lab, router };
        let start = Instant::now();
        loop {
            let text = String::from_utf8_lossy(&std::fs::read(&said).unwrap()).into_owned();
            if text.contains("HTTP listening on port") {
                return igd;
            }
            assert!(start.elapsed() < common::side::HANG, "{text}");
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }

    /// Where the router leads packets from outside.
    fn rules(&self) -> Vec<String> {
        let words = self.lab.at(&self.router);
        let mut command = Command::new(&words[0]);
        let list = "nft list chain inet nat prerouting";
        let output = command.args(&words[1..]).args(list.split(' ')).output();
        let text = String::from_utf8(output.unwrap().stdout).unwrap();
        assert!(text.contains("chain prerouting"), "{text}");
        let lines = text.lines().map(str::trim);
        let rules = lines.filter(|line| line.contains("dnat"));
        rules.map(str::to_owned).collect()
    }
}

impl Drop for Igd<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until the router leads a port to the receiver; the receiver's link then.
async fn led_to(receiver: &Side) -> (RouterPort, Value) {
    let paths = Paths::below(&receiver.home.join("config"));
    let node = control::connect(&paths).await.unwrap().unwrap();
    let mut overview = node.overview();
    let open = overview.wait_for(|picture| picture.me.router_port.addr().is_some());
    let open = tokio::time::timeout(common::side::HANG, open).await;
    let picture = open.expect("the router opens a port").unwrap();
    let link = serde_json::to_value(&picture.me.link).unwrap();
    (picture.me.router_port, link)
}

#[tokio::test]
async fn a_port_that_the_router_opens_by_upnp_makes_a_relay_unnecessary() {
    let Some(lab) = with_miniupnpd("a=sym b=sym") else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let igd = Igd::at(&lab, 'b', dir.path()).await;
    let mut receiver = receiver(&lab, "b", dir.path());
    receiver.line("hello").await;
    let (port, link) = led_to(&receiver).await;
    let open = RouterPort::Open {
        addr: format!("{OUTSIDE}:3485").parse().unwrap(),
        by: RouterProtocol::Upnp,
    };
    assert_eq!(port, open);
    let rules = igd.rules();
    assert_eq!(rules.len(), 1, "{rules:?}");
    assert!(rules[0].contains("192.168.2.10:3485"), "{rules:?}");

    let mut sender = side(&lab, "a", dir.path());
    sent_directly(&mut sender, &receiver, &link).await;

    // Whoever leaves closes the door.
    receiver.signal(Signal::INT);
    receiver.end().await;
    assert_eq!(igd.rules(), [""; 0]);
}

#[tokio::test]
async fn two_computers_behind_one_router_have_a_port_each() {
    let Some(lab) = with_miniupnpd("a=sym topo=same") else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let igd = Igd::at(&lab, 'a', dir.path()).await;
    let mut first = receiver(&lab, "a", dir.path());
    first.line("hello").await;
    let (theirs, _) = led_to(&first).await;
    let rules = igd.rules();

    let mut second = receiver(&lab, "b", dir.path());
    second.line("hello").await;
    let (ours, link) = led_to(&second).await;
    assert_ne!(ours.addr(), theirs.addr());
    assert_eq!(igd.rules().len(), 2, "{:?}", igd.rules());
    let mut sender = side(&lab, "rdv", dir.path());
    sent_directly(&mut sender, &second, &link).await;

    second.signal(Signal::INT);
    second.end().await;
    assert_eq!(igd.rules(), rules, "the other one is left");
    first.kill();
}
