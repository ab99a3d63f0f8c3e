//! Two of our nodes that meet as originals do.

use peerconnect::config::{LegacyMode, LegacyUnanswered};
use peerconnect::fault::Fault;
use peerconnect::node::api::{Command, Decision, Target};
use peerconnect::peer::PeerId;
use peerconnect::storage::store::{Accept, PeerRecord, Store};
use peerconnect::transfer::bookkeeper::unix_now;
use peerconnect::transfer::state::TransferState;
use peerconnect::transfer::status::TransferSnapshot;

use crate::common::{Shape, Site, content, tree};
use crate::raw::{Raw, files};

fn address(site: &Site) -> String {
    let legacy = site.handle.overview().borrow().me.legacy.clone().unwrap();
    format!("legacy:127.0.0.1:{}/{}", legacy.port, legacy.req_port)
}

async fn all_received(site: &Site, count: usize) -> Vec<TransferSnapshot> {
    let over = |o: &peerconnect::node::api::Overview| {
        let over = o.transfers.iter().filter(|t| t.state.is_final()).count();
        (over == count).then(|| o.transfers.to_vec())
    };
    site.until(over).await
}

#[tokio::test]
async fn files_and_folders_arrive_and_nobody_calls_them_verified() {
    let (to, from) = (Shape::legacy("to").start(), Shape::legacy("from").start());
    for (name, bytes) in [
        ("d/e/deep", content(1, 3_000_000)),
        ("d/small", b"small".to_vec()),
        ("loose", content(2, 70_000)),
        ("empty", Vec::new()),
    ] {
        from.file(name, &bytes);
    }
    std::fs::create_dir_all(from.outbox("d/hollow/deeper")).unwrap();
    let out = from.dir.path().join("out");
    let paths = ["d", "loose", "empty"].map(|name| out.join(name));
    let paths: Vec<&std::path::Path> = paths.iter().map(|p| p.as_path()).collect();
    let id = from.send(&address(&to), &paths).await;
    let sent = from.completed(id).await;
    assert!(sent.is_legacy(), "{sent:?}");
    assert_eq!((sent.files_done, sent.files_failed), (4, 0));
    // A connection for the folder, and one for the files beside it.
    for received in all_received(&to, 2).await {
        assert_eq!(received.state, TransferState::Completed);
        assert!(received.is_legacy() && !received.trusted);
    }
    assert!(tree(&out) == tree(&to.inbox()));
}

#[tokio::test]
async fn taking_everything_does_not_mean_what_is_not_encrypted() {
    let shape = Shape {
        accept_unencrypted: false,
        ..Shape::legacy("to")
    };
    let (to, from) = (shape.start(), Shape::legacy("from").start());
    let file = from.file("a", b"a");
    let id = from.send(&address(&to), &[&file]).await;
    let asked = to
        .until(|o| o.transfers.iter().find(|t| t.question.is_some()).cloned())
        .await;
    assert_eq!(tree(&to.inbox()).len(), 0);
    let decision = Decision::Decline;
    let transfer = asked.id;
    to.call(Command::Answer { transfer, decision }).await;
    let declined = from.ended(id).await;
    assert_eq!(declined.state, TransferState::Rejected, "{declined:?}");
}

#[tokio::test]
async fn nothing_is_sent_where_it_is_switched_off() {
    for legacy in [LegacyMode::ReceiveOnly, LegacyMode::Off] {
        let to = Shape::legacy("to").start();
        let from = Shape {
            legacy,
            ..Shape::legacy("from")
        };
        let from = from.start();
        let command = Command::SendFiles {
            to: Target::Text(address(&to)),
            paths: vec![from.file("a", b"a")],
            separate: false,
        };
        let refused = from.handle.call(command).await;
        assert!(matches!(refused, Err(Fault::Invalid { .. })), "{refused:?}");
    }
}

#[tokio::test]
async fn an_original_that_nobody_answers_is_declined_where_that_is_wanted() {
    let shape = Shape {
        accept_unencrypted: false,
        legacy_unanswered: LegacyUnanswered::Decline,
        ..Shape::legacy("to")
    };
    let site = shape.start();
    let mut raw = Raw::open(&site, files()).await;
    assert_eq!(raw.byte().await, Some(0));
    assert_eq!(raw.byte().await, None);
    let over = all_received(&site, 1).await;
    assert_eq!(over[0].state, TransferState::Rejected, "{over:?}");
}

/// Somebody with a key who was at the address of a documentation network so many seconds ago.
fn seen(seconds_ago: u64) -> PeerRecord {
    PeerRecord {
        claimed_name: "anna".into(),
        own_name: None,
        trusted: false,
        accept: Accept::Ask,
        addrs: vec!["203.0.113.7:3485".parse().unwrap()],
        first_seen: 1,
        last_seen: unix_now() - seconds_ago,
    }
}

#[tokio::test]
async fn nothing_is_sent_in_the_clear_to_where_a_peer_with_a_key_is() {
    const DAY: u64 = 24 * 60 * 60;
    for (record, refused) in [(seen(DAY - 60), true), (seen(DAY + 60), false)] {
        let mut site = Shape::legacy("from").start();
        site.stop().await;
        let store = Store::open(&site.paths().state).unwrap();
        store
            .put_peer(PeerId::of_public_key(b"anna"), &record)
            .unwrap();
        drop(store);
        site.restart();
        for to in ["legacy:203.0.113.7", "legacy:203.0.113.7:3485/3486"] {
            let command = Command::SendFiles {
                to: Target::Text(to.into()),
                paths: vec![site.file("a", b"a")],
                separate: true,
            };
            match (site.handle.call(command).await, refused) {
                (Err(Fault::Invalid { why }), true) => assert!(why.contains("anna"), "{why}"),
                (Ok(_), false) => {}
                (other, _) => panic!("{to}: {other:?}"),
            }
        }
    }
}
