//! Another key than was expected, one key twice, and what people do about both.

use std::path::PathBuf;

use peerconnect::fault::Fault;
use peerconnect::identity::{KEY_FILE, OLD_KEY_FILE};
use peerconnect::node::api::{Command, Overview, PeerInfo, Reply, Target};
use peerconnect::peer::PeerId;
use peerconnect::storage::store::{Accept, GroupRecord};
use peerconnect::transfer::state::TransferState;

use crate::common::{Shape, Site, tree};

fn id_of(site: &Site) -> PeerId {
    site.handle.overview().borrow().me.id
}

fn key_of(site: &Site) -> PathBuf {
    site.paths().data.join(KEY_FILE)
}

fn peer(overview: &Overview, id: PeerId) -> Option<&PeerInfo> {
    overview.peers.iter().find(|peer| peer.id == id)
}

/// The three words that a site shows for this peer.
async fn words(site: &Site, id: PeerId) -> String {
    site.until(|o| peer(o, id)?.words.clone()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_answers_in_place_of_a_peer_is_compared_trusted_and_sent_to() {
    let (mut to, from) = (Shape::new("to").start(), Shape::new("from").start());
    let first = from.file("first", b"first");
    let id = from.send(&to.addr(), &[&first]).await;
    from.completed(id).await;
    let old = id_of(&to);
    let folder = from.dir.path().join("theirs");
    for command in [
        Command::Rename {
            peer: old,
            name: "Hall".into(),
        },
        Command::Trust {
            peer: old,
            accept: Accept::Always,
        },
        Command::SetPeerFolder {
            peer: old,
            folder: Some(folder.clone()),
        },
        Command::SetGroup(GroupRecord {
            name: "house".into(),
            members: vec![old],
        }),
    ] {
        from.call(command).await;
    }
    to.stop().await;
    std::fs::remove_file(key_of(&to)).unwrap();
    to.restart();
    let new = id_of(&to);

    let second = from.file("second", b"second");
    let failed = from.send(&to.addr(), &[&second]).await;
    let end = from.ended(failed).await;
    let got = match end.fault {
        Some(Fault::IdentityChanged { got, .. }) => got,
        other => panic!("{other:?}"),
    };
    assert_eq!(got, Some(new));
    // It was met, so that both show the same; nothing was sent.
    assert_eq!(words(&from, new).await, words(&to, id_of(&from)).await);
    assert!(!tree(&to.inbox()).contains_key("second"));

    let trust = |transfer, key| Command::TrustInstead { transfer, key };
    for wrong in [trust(failed, old), trust(id, new)] {
        let refused = from.handle.call(wrong).await;
        assert!(matches!(refused, Err(Fault::Invalid { .. })), "{refused:?}");
    }
    let Reply::Transfer { id, .. } = from.call(trust(failed, new)).await else {
        panic!("no transfer");
    };
    from.completed(id).await;
    assert_eq!(tree(&to.inbox())["second"], b"second");
    from.until(|o| {
        let now = peer(o, new)?;
        let same = now.record.trusted && now.record.accept == Accept::Always;
        let kept = now.record.name() == "Hall" && now.folder.as_ref() == Some(&folder);
        let grouped = o.group("house")?.members == [new];
        (same && kept && grouped && peer(o, old).is_none()).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_computer_with_the_same_key_is_named_and_a_new_key_tells_them_apart() {
    let (mut one, mut two) = (Shape::new("one").start(), Shape::new("two").start());
    two.stop().await;
    std::fs::copy(key_of(&one), key_of(&two)).unwrap();
    two.restart();
    let same = id_of(&one);
    assert_eq!(id_of(&two), same);
    let file = one.file("a", b"a");
    let id = one.send(&two.addr(), &[&file]).await;
    let end = one.ended(id).await;
    assert_eq!(end.state, TransferState::Failed);
    assert!(
        matches!(end.fault, Some(Fault::SameIdentity { .. })),
        "{end:#?}"
    );

    let before = std::fs::read(key_of(&one)).unwrap();
    one.call(Command::NewIdentity).await;
    assert_eq!(id_of(&one), same, "until it ends");
    let aside = one.paths().data.join(OLD_KEY_FILE);
    assert_eq!(std::fs::read(aside).unwrap(), before);
    one.stop().await;
    one.restart();
    assert_ne!(id_of(&one), same);
    let id = one.send(&two.addr(), &[&file]).await;
    one.completed(id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_over_is_taken_away_one_by_one() {
    let (to, from) = (Shape::asking("to").start(), Shape::new("from").start());
    let file = from.file("a", b"a");
    let open = from.send(&to.link(), &[&file]).await;
    from.in_state(open, TransferState::AwaitingAnswer).await;
    let refused = from.handle.call(Command::Dismiss(open)).await;
    assert!(matches!(refused, Err(Fault::Invalid { .. })), "{refused:?}");
    let nowhere = Target::Text("127.0.0.1:1".into());
    let command = Command::SendFiles {
        to: nowhere,
        paths: vec![file],
        separate: true,
    };
    let Reply::Transfer { id: failed, .. } = from.call(command).await else {
        panic!("no transfer");
    };
    from.ended(failed).await;
    from.call(Command::Dismiss(failed)).await;
    from.until(|o| (o.transfer(failed).is_none() && o.transfer(open).is_some()).then_some(()))
        .await;
    let gone = from.handle.call(Command::Dismiss(failed)).await;
    assert!(matches!(gone, Err(Fault::NotFound { .. })), "{gone:?}");
}
