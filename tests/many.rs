//! One send to several receivers: whole nodes on loopback, of our kind and of the original's.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::wildcard_enum_match_arm
)]

mod common;

use std::path::{Path, PathBuf};

use peerconnect::fault::Fault;
use peerconnect::node::api::{Again, Command, Decision, Overview, Reply, SessionSnapshot, Target};
use peerconnect::otm::session::MemberEnd;
use peerconnect::protocol::message::{Scope, TransferId};
use peerconnect::transfer::state::TransferState;
use peerconnect::transfer::status::TransferSnapshot;

use common::{Shape, Site, content, tree};

const COMPLETE: Option<MemberEnd> = Some(MemberEnd::Complete);
const INCOMPLETE: Option<MemberEnd> = Some(MemberEnd::Incomplete);

/// What has been started.
struct Sent {
    session: TransferId,
    transfers: Vec<TransferId>,
}

fn to_many(to: &[String], paths: &[&Path]) -> Command {
    Command::SendToMany {
        to: to.iter().map(|to| Target::Text(to.clone())).collect(),
        paths: paths.iter().map(|path| path.to_path_buf()).collect(),
    }
}

async fn send(from: &Site, to: &[String], paths: &[&Path]) -> Sent {
    match from.call(to_many(to, paths)).await {
        Reply::Session { id, transfers } => Sent {
            session: id,
            transfers,
        },
        other => panic!("{other:?}"),
    }
}

fn ends(session: &SessionSnapshot) -> Vec<Option<MemberEnd>> {
    session.receivers.iter().map(|r| r.end).collect()
}

/// Waits until it is over for everybody.
async fn over(from: &Site, session: TransferId) -> SessionSnapshot {
    let over = |o: &Overview| o.session(session).filter(|s| s.is_over()).cloned();
    from.until(over).await
}

async fn answer(to: &Site, transfer: TransferId, decision: Decision) {
    to.until(|o| o.transfer(transfer)?.question.as_ref().map(|_| ()))
        .await;
    to.call(Command::Answer { transfer, decision }).await;
}

const ACCEPT: Decision = Decision::Accept {
    folder: None,
    only: None,
    pass_on: true,
};

fn original(site: &Site) -> String {
    let legacy = site.handle.overview().borrow().me.legacy.clone().unwrap();
    format!("legacy:127.0.0.1:{}/{}", legacy.port, legacy.req_port)
}

/// An address where nobody listens.
fn nobody() -> (std::net::UdpSocket, String) {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let addr = socket.local_addr().unwrap().to_string();
    (socket, addr)
}

fn state(from: &Site, id: TransferId) -> TransferSnapshot {
    let overview = from.handle.overview();
    let found = overview.borrow().transfer(id).cloned();
    found.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_gets_everything_over_whatever_way_there_is() {
    let from = Shape::legacy("from").start();
    let ours = [Shape::new("anna").start(), Shape::new("ben").start()];
    let old = Shape::legacy("old").start();
    for (name, bytes) in [
        ("d/big", content(1, 3_000_000)),
        ("d/small", b"small".to_vec()),
    ] {
        from.file(name, &bytes);
    }
    let out = from.dir.path().join("out");
    let to = [ours[0].link(), original(&old), ours[1].addr()];
    let sent = send(&from, &to, &[&out.join("d")]).await;
    let session = over(&from, sent.session).await;
    assert_eq!(session.state, TransferState::Completed);
    assert_eq!((session.complete, session.incomplete), (3, 0));
    let names: Vec<&str> = session.receivers.iter().map(|r| r.name.as_str()).collect();
    assert_eq!((names[0], names[2]), ("anna", "ben"));
    assert_eq!((session.files, session.bytes), (2, 3 * 3_000_005));
    for site in ours.iter().chain([&old]) {
        assert!(tree(&site.inbox()) == tree(&out));
    }
    let legacy = sent.transfers.iter().map(|id| state(&from, *id));
    let legacy: Vec<bool> = legacy.map(|t| t.is_legacy()).collect();
    assert_eq!(legacy, [false, true, false]);
    let overview = from.handle.overview().borrow().clone();
    assert_eq!(overview.sessions.len(), 1);
    let inside = |t: &TransferSnapshot| t.session == Some(sent.session);
    assert!(overview.transfers.iter().all(inside));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_who_declines_or_is_not_there_holds_up_nobody() {
    let from = Shape::new("from").start();
    let (good, declines) = (Shape::new("good").start(), Shape::asking("no").start());
    let (_socket, nobody) = nobody();
    let file = from.file("a", &content(1, 2_000_000));
    let to = [nobody, declines.link(), good.link()];
    let sent = send(&from, &to, &[&file]).await;
    // Done before the others are over.
    from.completed(sent.transfers[2]).await;
    assert!(tree(&good.inbox())["a"] == content(1, 2_000_000));
    answer(&declines, sent.transfers[1], Decision::Decline).await;
    let session = over(&from, sent.session).await;
    assert_eq!(ends(&session), [INCOMPLETE, INCOMPLETE, COMPLETE]);
    assert_eq!(session.state, TransferState::Failed);
    let fault = |n: usize| state(&from, sent.transfers[n]).fault;
    assert!(matches!(fault(0), Some(Fault::PeerOffline { .. })));
    assert!(matches!(fault(1), Some(Fault::Declined { .. })));
    assert_eq!(fault(2), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn all_and_each_can_be_paused_resumed_and_given_up() {
    let from = Shape::new("from").start();
    let to = ["a", "b", "c"].map(|name| Shape::asking(name).start());
    let links: Vec<String> = to.iter().map(Site::link).collect();
    let file = from.file("f", &content(1, 3_000_000));
    let sent = send(&from, &links, &[&file]).await;
    let pause = |transfer| Command::Pause {
        transfer,
        scope: Scope::Transfer,
    };
    let resume = |transfer| Command::Resume {
        transfer,
        scope: Scope::Transfer,
    };
    let cancel = |transfer| Command::Cancel {
        transfer,
        scope: Scope::Transfer,
    };
    for id in &sent.transfers {
        from.in_state(*id, TransferState::AwaitingAnswer).await;
    }
    from.call(pause(sent.session)).await;
    for (site, id) in to.iter().zip(&sent.transfers) {
        answer(site, *id, ACCEPT).await;
        from.in_state(*id, TransferState::Paused).await;
    }
    let whole = from.until(|o| o.session(sent.session).cloned()).await;
    assert_eq!(whole.state, TransferState::Paused);
    // One of them goes on by itself, another one is given up by itself.
    from.call(resume(sent.transfers[1])).await;
    from.completed(sent.transfers[1]).await;
    from.call(cancel(sent.transfers[0])).await;
    from.ended(sent.transfers[0]).await;
    assert_eq!(state(&from, sent.transfers[2]).state, TransferState::Paused);
    from.call(resume(sent.session)).await;
    from.completed(sent.transfers[2]).await;
    let session = over(&from, sent.session).await;
    assert_eq!(ends(&session), [INCOMPLETE, COMPLETE, COMPLETE]);
    let fault = from.handle.call(pause(sent.session)).await.unwrap_err();
    assert!(matches!(fault, Fault::Invalid { .. }), "{fault:?}");

    // All of another one are given up at once.
    let other = from.file("g", b"g");
    let sent = send(&from, &links, &[&other]).await;
    let file = Command::Cancel {
        transfer: sent.session,
        scope: Scope::File(0),
    };
    assert!(from.handle.call(file).await.is_err(), "of whom?");
    from.call(cancel(sent.session)).await;
    let session = over(&from, sent.session).await;
    assert_eq!(session.state, TransferState::Cancelled);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_goes_on_after_a_restart_with_those_who_miss_something() {
    let mut from = Shape::new("from").start();
    let (quick, slow) = (Shape::new("quick").start(), Shape::asking("slow").start());
    let file = from.file("f", &content(1, 2_000_000));
    let paths = [file.as_path()];
    let to = [quick.link(), slow.link()];
    let sent = send(&from, &to, &paths).await;
    from.completed(sent.transfers[0]).await;
    from.in_state(sent.transfers[1], TransferState::AwaitingAnswer)
        .await;
    from.stop().await;
    from.restart();
    let session = from.until(|o| o.session(sent.session).cloned()).await;
    assert_eq!(ends(&session), [COMPLETE, None]);
    assert_eq!(session.receivers[0].name, "quick");
    let here = from.handle.overview().borrow().transfers.len();
    assert_eq!(here, 1, "only who misses something is called");
    answer(&slow, sent.transfers[1], ACCEPT).await;
    let session = over(&from, sent.session).await;
    assert_eq!(session.state, TransferState::Completed);
    assert!(tree(&slow.inbox())["f"] == content(1, 2_000_000));
    // When it is over there is nothing left to remember.
    from.stop().await;
    from.restart();
    assert!(from.handle.overview().borrow().sessions.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_again_goes_on_with_the_session_that_there_is() {
    let from = Shape::new("from").start();
    let to = ["a", "b", "c"].map(|name| Shape::asking(name).start());
    let links: Vec<String> = to.iter().map(Site::link).collect();
    let file = from.file("f", b"f");
    // One of them was getting it alone before.
    let single = from.send(&links[1], &[&file]).await;
    let first = send(&from, &links[..2], &[&file]).await;
    assert_eq!(first.transfers[1], single);
    let second = send(&from, &links, &[&file]).await;
    assert_eq!(second.session, first.session);
    assert_eq!(second.transfers[..2], first.transfers);
    for (site, id) in to.iter().zip(&second.transfers) {
        answer(site, *id, ACCEPT).await;
    }
    let session = over(&from, first.session).await;
    assert_eq!(session.complete, 3);
    // Over is over: the next one is another one.
    let third = send(&from, &links, &[&file]).await;
    assert_ne!(third.session, first.session);
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_that_become_one_are_one_also_after_a_restart() {
    let mut from = Shape::new("from").start();
    let to = ["a", "b"].map(|name| Shape::asking(name).start());
    let links: Vec<String> = to.iter().map(Site::link).collect();
    let file = from.file("f", b"f");
    let first = send(&from, &links[..1], &[&file]).await;
    let second = send(&from, &links[1..], &[&file]).await;
    assert_ne!(first.session, second.session);
    let both = send(&from, &links, &[&file]).await;
    assert_eq!(both.session, first.session);
    assert_eq!(both.transfers[1], second.transfers[0]);
    for restarts in [true, false] {
        let one = |o: &Overview| (o.sessions.len() == 1).then(|| o.sessions[0].clone());
        let session = from.until(one).await;
        assert_eq!(session.id, first.session);
        let members: Vec<TransferId> = session.receivers.iter().map(|r| r.transfer).collect();
        assert_eq!(members, both.transfers);
        if restarts {
            from.stop().await;
            from.restart();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_added_for_all_and_a_single_send_stays_single() {
    let from = Shape::new("from").start();
    let to = ["a", "b"].map(|name| Shape::asking(name).start());
    let links: Vec<String> = to.iter().map(Site::link).collect();
    let (one, two, three) = (
        from.file("one", b"1"),
        from.file("two", b"2"),
        from.file("three", b"3"),
    );
    let sent = send(&from, &links, &[&one]).await;
    for id in &sent.transfers {
        from.in_state(*id, TransferState::AwaitingAnswer).await;
    }
    let attach = Command::Attach {
        transfer: sent.session,
        paths: vec![two],
    };
    from.call(attach).await;
    let single = from.send(&links[0], &[&three]).await;
    assert!(!sent.transfers.contains(&single));
    for (site, id) in to.iter().zip(&sent.transfers) {
        answer(site, *id, ACCEPT).await;
    }
    answer(&to[0], single, ACCEPT).await;
    over(&from, sent.session).await;
    from.completed(single).await;
    let names = |site: &Site| tree(&site.inbox()).into_keys().collect::<Vec<_>>();
    assert_eq!(names(&to[0]), ["one", "three", "two"]);
    assert_eq!(names(&to[1]), ["one", "two"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn those_who_missed_it_get_it_again_in_the_same_session() {
    let from = Shape::new("from").start();
    let (good, later) = (Shape::new("good").start(), Shape::asking("later").start());
    let file = from.file("f", b"f");
    let sent = send(&from, &[good.link(), later.link()], &[&file]).await;
    answer(&later, sent.transfers[1], Decision::Decline).await;
    over(&from, sent.session).await;
    // Finished ones stay as long as others of the session are not.
    let again = Command::SendAgain {
        transfer: sent.session,
        what: Again::All,
    };
    let reply = from.call(again.clone()).await;
    assert!(matches!(reply, Reply::Transfer { id, .. } if id == sent.session));
    let session = from
        .until(|o| o.session(sent.session).filter(|s| !s.is_over()).cloned())
        .await;
    from.call(Command::ClearFinished).await;
    let new = session.receivers[1].transfer;
    assert_eq!(session.receivers[0].transfer, sent.transfers[0]);
    assert_ne!(new, sent.transfers[1]);
    answer(&later, new, ACCEPT).await;
    let session = over(&from, sent.session).await;
    assert_eq!(ends(&session), [COMPLETE, COMPLETE]);
    let overview = from.handle.overview().borrow().clone();
    assert_eq!(overview.transfers_of(&session).count(), 2);
    assert!(from.handle.call(again).await.is_err(), "nobody misses it");
    from.call(Command::ClearFinished).await;
    from.until(|o| (o.sessions.is_empty() && o.transfers.is_empty()).then_some(()))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_begins_if_it_is_not_clear_who_is_meant() {
    let (from, to) = (Shape::new("from").start(), Shape::new("to").start());
    let file = from.file("f", b"f");
    for wrong in [
        vec![],
        vec![to.link(), "no such one".into()],
        vec![to.link(), from.link()],
        vec![to.link(); 257],
    ] {
        let command = to_many(&wrong, &[&file]);
        let refused = from.handle.call(command).await;
        assert!(refused.is_err(), "{wrong:?}");
    }
    let nothing: [&Path; 0] = [];
    let command = to_many(&[to.link()], &nothing);
    assert!(from.handle.call(command).await.is_err());
    let relative = Command::SendToMany {
        to: vec![Target::Text(to.link())],
        paths: vec![PathBuf::from("f")],
    };
    assert!(from.handle.call(relative).await.is_err());
    let overview = from.handle.overview().borrow().clone();
    assert!(overview.transfers.is_empty() && overview.sessions.is_empty());
    // Who is named twice gets it once.
    let sent = send(&from, &[to.link(), to.link()], &[&file]).await;
    assert_eq!(sent.transfers.len(), 1);
    over(&from, sent.session).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_there_already_is_found_for_all_at_once() {
    let from = Shape::new("from").start();
    let to = ["a", "b", "c"].map(|name| Shape::new(name).start());
    let links: Vec<String> = to.iter().map(Site::link).collect();
    let bytes = content(1, 20_000_000);
    let file = from.file("f", &bytes);
    for times in 1..=3 {
        let sent = send(&from, &links, &[&file]).await;
        let session = over(&from, sent.session).await;
        assert_eq!(session.complete, 3, "{times}");
        if times > 1 {
            assert_eq!(session.bytes_moved, 0, "all of it was there");
        }
    }
    for site in &to {
        assert!(tree(&site.inbox()) == [("f".to_owned(), bytes.clone())].into());
    }
}
