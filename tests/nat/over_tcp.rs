//! UDP is blocked on one side, and there is no relay: the other side is reached by TCP.

use super::*;

fn receiver(lab: &Lab, port: &str, dir: &Path) -> Side {
    let mut receiver = Side::at(dir.join("b"), &["--port", port]);
    receiver.through = lab.at("b");
    let inbox = receiver.home.join("in").to_str().unwrap().to_owned();
    receiver.args = ["daemon", "--yes", "--out", &inbox]
        .map(String::from)
        .into();
    receiver.start();
    receiver
}

/// Whoever is behind router `a` sends much to whoever listens at `port`, openly.
async fn reached(options: &str, port: &str, udp_is_cut: bool) {
    let Some(lab) = Lab::up(options) else {
        return;
    };
    if udp_is_cut {
        lab.run(&["udp", "a", "off"], "").unwrap();
    }
    let dir = tempfile::tempdir().unwrap();
    let receiver = receiver(&lab, port, dir.path());
    let link = receiver.link().await;
    let mut sender = Side::at(dir.path().join("a"), &["--port", "3485"]);
    sender.through = lab.at("a");
    let film = sender.home.join("film");
    std::fs::write(&film, &*FILM).unwrap();
    sender.args = ["send", "--to", &link, film.to_str().unwrap()]
        .map(String::from)
        .into();
    let start = Instant::now();
    sender.start();
    let path = sender.line("path").await;
    let connected = start.elapsed();
    assert!(sender.end().await.success(), "{}", sender.said());
    assert_eq!(path["kind"], "tcp");
    assert_eq!(path["addr"], format!("203.0.113.202:{port}"));
    assert!(is_film(&receiver.home.join("in/film")));
    let took = start.elapsed();
    println!("{options} at {port}: connected after {connected:?}, whole after {took:?}");
}

#[tokio::test]
async fn whoever_can_be_reached_is_reached_by_tcp_where_udp_is_blocked() {
    reached("a=tcponly b=open", "3485", false).await;
    reached("a=tcp443 b=open", "443", false).await;
    reached("a=linux b=open", "3485", true).await;
}
