//! Routers that are both too strict: without a relay nothing helps, and that is said. With one it
//! is known who is not there.

use super::router_port::{receiver, side};
use super::*;

/// Sends to this link, which fails, and gives the exit code and what was said.
async fn sent_in_vain(mut sender: Side, link: &str, more: &[&str]) -> (Option<i32>, Value) {
    let film = sender.home.join("film");
    std::fs::write(&film, b"film").unwrap();
    let args = [more, &["--to", link, film.to_str().unwrap()]].concat();
    sender.args.extend(args.into_iter().map(String::from));
    sender.start();
    let status = sender.end().await;
    (status.code(), sender.line("error").await)
}

#[tokio::test]
async fn where_both_routers_are_too_strict_it_is_said_what_was_tried() {
    let Some(lab) = Lab::up("a=sym b=sym") else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let mut receiver = receiver(&lab, "b", dir.path());
    let link = receiver.link().await;
    let sender = side(&lab, "a", dir.path());
    let (code, error) = sent_in_vain(sender, &link, &["send"]).await;
    assert_eq!((code, &error["code"]), (Some(4), &"no-route".into()));
    let said = error.to_string();
    for fact in [
        "yours: 192.168.1.",
        "direct (no answer",
        "relay (none set up)",
    ] {
        assert!(said.contains(fact), "{fact}: {said}");
    }
    receiver.kill();
}

#[tokio::test]
async fn whoever_is_not_at_a_relay_that_both_use_is_not_there() {
    let Some(lab) = Lab::up("a=sym b=sym") else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let mut relay = side(&lab, "rdv", dir.path());
    relay.args = vec!["relay".into()];
    relay.start();
    let relay_link = relay.link().await;
    let mut receiver = receiver(&lab, "b", dir.path());
    let link = receiver.link().await;
    receiver.kill();
    let sender = side(&lab, "a", dir.path());
    let (code, error) = sent_in_vain(sender, &link, &["send", "--relay", &relay_link]).await;
    assert_eq!((code, &error["code"]), (Some(3), &"peer-offline".into()));
    relay.kill();
}
