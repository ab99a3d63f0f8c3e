//! What a person sets while a node runs, and what becomes of it when nobody looks any more.

use peerconnect::config::{PassOn, Setting};
use peerconnect::fault::Fault;
use peerconnect::node::api::{Again, Command, Reply, Target};
use peerconnect::transfer::state::TransferState;

use crate::common::{DEADLINE, Shape, content, tree};

#[tokio::test(flavor = "multi_thread")]
async fn settings_hold_at_once_where_they_can_and_say_so_where_not() {
    let site = Shape::new("desk").start();
    site.call(Command::Set(Setting::RateLimit(Some(7_000_000))))
        .await;
    site.call(Command::Set(Setting::PassOn(PassOn::Never)))
        .await;
    site.call(Command::Set(Setting::Name("shelf".into()))).await;
    site.until(|o| {
        let (chosen, me) = (&o.chosen, &o.me);
        let now = chosen.settings.pass_on == PassOn::Never && me.rate_limit == Some(7_000_000);
        let later = chosen.after_restart == ["name"] && me.name == "desk";
        (now && later && chosen.settings.name == "shelf").then_some(())
    })
    .await;
    let text = std::fs::read_to_string(site.paths().settings_file()).unwrap();
    assert!(text.contains("\nname = \"shelf\"\n"), "{text}");
    // The node was started with a folder that is in no file.
    assert!(text.contains("\n# folder = "), "{text}");
    let refused = site.handle.call(Command::Set(Setting::Name(String::new())));
    assert!(matches!(refused.await, Err(Fault::Invalid { .. })));
    let nowhere = Setting::Folder("/proc/nowhere".into());
    let refused = site.handle.call(Command::Set(nowhere)).await;
    assert!(matches!(refused, Err(Fault::CannotWrite { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_files_of_a_peer_go_to_the_folder_that_it_was_given() {
    let (to, from) = (Shape::asking("to").start(), Shape::new("from").start());
    let peer = from.handle.overview().borrow().me.id;
    let folder = to.dir.path().join("from them");
    let give = Command::SetPeerFolder {
        peer,
        folder: Some(folder.clone()),
    };
    assert!(to.handle.call(give.clone()).await.is_err(), "nobody yet");
    from.call(Command::AddPeer(peerconnect::node::api::Target::Text(
        to.link(),
    )))
    .await;
    to.until(|o| o.peers.iter().any(|p| p.id == peer).then_some(()))
        .await;
    to.call(give).await;
    let accept = peerconnect::storage::store::Accept::Always;
    to.call(Command::Trust { peer, accept }).await;
    let file = from.file("a.txt", b"for you");
    let id = from.send(&to.link(), &[&file]).await;
    from.completed(id).await;
    assert_eq!(tree(&folder)["a.txt"], b"for you");
    to.until(|o| {
        let peer = o.peers.iter().find(|p| p.id == peer)?;
        (peer.folder.as_ref() == Some(&folder)).then_some(())
    })
    .await;
    assert!(tree(&to.inbox()).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_nobody_looks_at_ends_when_it_has_finished() {
    let (to, from) = (Shape::new("to").start(), Shape::new("from").start());
    from.call(Command::Set(Setting::RateLimit(Some(4_000_000))))
        .await;
    let bytes = content(1, 4_000_000);
    let file = from.file("a.bin", &bytes);
    let id = from.send(&to.link(), &[&file]).await;
    from.in_state(id, TransferState::Transferring).await;
    from.call(Command::Attend).await;
    from.call(Command::FinishAndEnd).await;
    to.completed(id).await;
    from.completed(id).await;
    // Somebody looks.
    assert!(from.handle.call(Command::ClearFinished).await.is_ok());
    from.call(Command::Leave).await;
    let mut pictures = from.handle.overview();
    let ended = async { while pictures.changed().await.is_ok() {} };
    tokio::time::timeout(DEADLINE, ended).await.unwrap();
    assert!(tree(&to.inbox())["a.bin"] == bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_did_not_reach_anybody_is_sent_once_they_are_there_even_after_a_restart() {
    let (mut to, mut from) = (Shape::new("to").start(), Shape::new("from").start());
    let link = to.link();
    to.stop().await;
    let file = from.file("a.txt", b"at last");
    let first = from.send(&link, &[&file]).await;
    let failed = from.ended(first).await;
    assert_eq!(failed.state, TransferState::Failed);
    let again = Command::SendAgain {
        transfer: first,
        what: Again::WhenOnline,
    };
    let Reply::Transfer { id, .. } = from.call(again).await else {
        panic!("no transfer");
    };
    let waits = |o: &peerconnect::node::api::Overview| {
        let fault = o.transfer(id)?.fault.clone();
        matches!(fault, Some(Fault::PeerOffline { .. })).then_some(())
    };
    from.until(waits).await;
    from.stop().await;
    from.restart();
    from.until(waits).await;
    to.restart();
    let end = from.completed(id).await;
    assert_eq!(end.fault, None);
    assert_eq!(tree(&to.inbox())["a.txt"], b"at last");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_to_somebody_who_is_away_waits_from_the_beginning() {
    let (mut to, mut from) = (Shape::new("to").start(), Shape::new("from").start());
    let link = to.link();
    to.stop().await;
    let file = from.file("a.txt", b"later");
    let command = Command::SendWhenOnline {
        to: Target::Text(link),
        paths: vec![file],
    };
    let Reply::Transfer { id, .. } = from.call(command).await else {
        panic!("no transfer");
    };
    let waits = |o: &peerconnect::node::api::Overview| {
        let t = o.transfer(id)?;
        assert!(!t.state.is_final(), "{t:?}");
        matches!(t.fault, Some(Fault::PeerOffline { .. })).then_some(())
    };
    from.until(waits).await;
    from.stop().await;
    from.restart();
    from.until(waits).await;
    to.restart();
    from.completed(id).await;
    assert_eq!(tree(&to.inbox())["a.txt"], b"later");
}
