//! Two of our nodes that meet as originals do.

use peerconnect::config::LegacyMode;
use peerconnect::fault::Fault;
use peerconnect::node::api::{Command, Decision, Target};
use peerconnect::transfer::state::TransferState;
use peerconnect::transfer::status::TransferSnapshot;

use crate::common::{Shape, Site, content, tree};

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
