//! What only whole nodes show: several transfers at once, watchers, limits, restarts.

use peerconnect::config::Setting;
use peerconnect::config::{ConflictAnswer, ConflictPolicy};
use peerconnect::fault::Fault;
use peerconnect::node::api::{Again, Command, Decision, Overview, Reply, Target};
use peerconnect::protocol::message::{DeclineReason, Scope, SinkFault, TransferId};
use peerconnect::transfer::state::TransferState;
use peerconnect::transfer::status::FailedEntry;

use crate::common::{Shape, Site, content, tree};

const ACCEPT: Decision = Decision::Accept {
    folder: None,
    only: None,
    pass_on: true,
};

async fn send_separately(from: &Site, to: &Site, path: &std::path::Path) -> TransferId {
    let command = Command::SendFiles {
        to: Target::Text(to.link()),
        paths: vec![path.to_owned()],
        separate: true,
    };
    match from.call(command).await {
        peerconnect::node::api::Reply::Transfer { id, .. } => id,
        other => panic!("{other:?}"),
    }
}

async fn asked(site: &Site, id: TransferId) {
    let open = |o: &peerconnect::node::api::Overview| {
        let question = o.transfer(id).and_then(|t| t.question.clone());
        question.map(|_| ())
    };
    site.until(open).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn several_transfers_run_at_once_and_an_open_question_blocks_nobody() {
    let (a, b) = (Shape::asking("a").start(), Shape::new("b").start());
    let open = b.file("asked", b"asked");
    let open = send_separately(&b, &a, &open).await;
    asked(&a, open).await;
    let mut ids = Vec::new();
    for i in 0..4 {
        let bytes = content(i, 3_000_000);
        let path = a.file(&format!("from a {i}"), &bytes);
        ids.push(send_separately(&a, &b, &path).await);
        let path = b.file(&format!("from b {i}"), &bytes);
        let id = send_separately(&b, &a, &path).await;
        asked(&a, id).await;
        let answer = Command::Answer {
            transfer: id,
            decision: ACCEPT,
        };
        a.call(answer).await;
        ids.push(id);
    }
    for id in ids {
        a.completed(id).await;
        b.completed(id).await;
    }
    for i in 0..4 {
        assert!(tree(&a.inbox())[&format!("from b {i}")] == content(i, 3_000_000));
        assert!(tree(&b.inbox())[&format!("from a {i}")] == content(i, 3_000_000));
    }
    let answer = Command::Answer {
        transfer: open,
        decision: ACCEPT,
    };
    a.call(answer).await;
    a.completed(open).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_send_is_attached_without_a_second_question() {
    let (to, from) = (Shape::asking("to").start(), Shape::new("from").start());
    from.call(Command::Set(Setting::RateLimit(Some(6_000_000))))
        .await;
    let first = from.file("first", &content(1, 6_000_000));
    let second = from.file("second", b"second");
    let id = from.send(&to.link(), &[&first]).await;
    asked(&to, id).await;
    to.call(Command::Answer {
        transfer: id,
        decision: ACCEPT,
    })
    .await;
    let moving = |o: &peerconnect::node::api::Overview| {
        o.transfer(id).filter(|t| t.bytes_moved > 0).map(|_| ())
    };
    from.until(moving).await;
    assert_eq!(from.send(&to.link(), &[&second]).await, id);
    let end = to.completed(id).await;
    assert_eq!((end.files, end.bytes), (2, 6_000_006));
    assert_eq!(tree(&to.inbox())["second"], b"second");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_with_too_many_open_questions_is_turned_away() {
    let (to, from) = (Shape::asking("to").start(), Shape::new("from").start());
    // All at once: those that have not come to their question yet count as well.
    let mut ids = Vec::new();
    for i in 0..12 {
        let path = from.file(&format!("{i}"), b"x");
        ids.push(send_separately(&from, &to, &path).await);
    }
    let mut open = 0;
    for id in ids {
        let wanted = |o: &peerconnect::node::api::Overview| {
            let t = o.transfer(id)?;
            let settled = t.state.is_final() || t.state == TransferState::AwaitingAnswer;
            settled.then(|| t.clone())
        };
        from.until(wanted).await;
        let known = |o: &peerconnect::node::api::Overview| {
            o.transfer(id).filter(|t| t.question.is_some()).map(|_| ())
        };
        let turned_away = async {
            let end = from.ended(id).await;
            let busy = DeclineReason::Busy;
            assert!(
                matches!(&end.fault, Some(Fault::Declined { reason, .. }) if *reason == busy),
                "{end:#?}"
            );
        };
        tokio::select! {
            () = to.until(known) => open += 1,
            () = turned_away => {}
        }
    }
    assert_eq!(open, 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transfer_that_the_receiver_gave_up_does_not_come_back() {
    let (to, mut from) = (Shape::new("to").start(), Shape::new("from").start());
    from.call(Command::Set(Setting::RateLimit(Some(4_000_000))))
        .await;
    let path = from.file("large", &content(1, 12_000_000));
    let id = from.send(&to.link(), &[&path]).await;
    let some = |o: &peerconnect::node::api::Overview| {
        o.transfer(id).filter(|t| t.bytes_done > 0).map(|_| ())
    };
    to.until(some).await;
    // The sender does not hear of it.
    from.stop().await;
    to.in_state(id, TransferState::Interrupted).await;
    let cancel = Command::Cancel {
        transfer: id,
        scope: Scope::Transfer,
    };
    to.call(cancel).await;
    to.in_state(id, TransferState::Cancelled).await;
    from.restart();
    let end = from.ended(id).await;
    assert_eq!(end.state, TransferState::Cancelled, "{end:#?}");
    assert!(matches!(end.fault, Some(Fault::CancelledByPeer { .. })));
    assert_eq!(tree(&to.inbox()).len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_senders_of_one_name_do_not_harm_each_other() {
    let to = Shape::new("to").start();
    let senders = [Shape::new("one").start(), Shape::new("two").start()];
    let mut ids = Vec::new();
    for (i, from) in (0..).zip(&senders) {
        let path = from.file("same", &content(i, 4_000_000));
        from.file("folder/same", format!("of {i}").as_bytes());
        let folder = from.outbox("folder");
        ids.push(from.send(&to.link(), &[&path, &folder]).await);
    }
    for id in ids {
        to.completed(id).await;
    }
    let got = tree(&to.inbox());
    let found = |name: &str, content: &[u8]| {
        let mut all = got.iter();
        all.any(|(path, found)| path.starts_with(name) && found == content)
    };
    for i in 0..2 {
        assert!(found("same", &content(i, 4_000_000)));
        assert!(found("folder/same", format!("of {i}").as_bytes()));
    }
    assert_eq!(got.len(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_that_does_not_look_slows_nothing() {
    let (to, from) = (Shape::new("to").start(), Shape::new("from").start());
    let dir = from.outbox("many");
    std::fs::create_dir_all(&dir).unwrap();
    for i in 0..500 {
        std::fs::write(dir.join(format!("{i}")), b"x").unwrap();
    }
    // Watches, and never looks again.
    let (a, b) = (to.handle.overview(), from.handle.overview());
    let closed = to.handle.overview();
    drop(closed);
    let id = from.send(&to.link(), &[&dir]).await;
    from.completed(id).await;
    to.completed(id).await;
    assert!(a.has_changed().unwrap() && b.has_changed().unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_comes_back_at_another_port_calls_the_sender() {
    let mut shape = Shape::new("to");
    shape.on_conflict = ConflictPolicy::Rename;
    let (mut to, from) = (shape.start(), Shape::new("from").start());
    from.call(Command::Set(Setting::RateLimit(Some(8_000_000))))
        .await;
    let bytes = content(1, 16_000_000);
    let path = from.file("large", &bytes);
    let id = from.send(&to.link(), &[&path]).await;
    let some = |o: &peerconnect::node::api::Overview| {
        o.transfer(id)
            .filter(|t| t.bytes_done > 2_000_000)
            .map(|_| ())
    };
    to.until(some).await;
    let old = to.link();
    to.stop().await;
    from.in_state(id, TransferState::Interrupted).await;
    to.restart_elsewhere();
    assert_ne!(to.link(), old);
    from.call(Command::Set(Setting::RateLimit(None))).await;
    from.completed(id).await;
    to.completed(id).await;
    assert!(tree(&to.inbox())["large"] == bytes);
}

/// Where a site keeps its key.
fn key_of(site: &Site) -> std::path::PathBuf {
    let mut open = vec![site.dir.path().join("state")];
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            match path.file_name() {
                Some(name) if name == "identity.key" => return path,
                _ if path.is_dir() => open.push(path),
                _ => {}
            }
        }
    }
    panic!("no key");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_key_at_an_address_that_was_typed_before_gets_nothing() {
    let (mut to, from) = (Shape::new("to").start(), Shape::new("from").start());
    let first = from.file("first", b"first");
    let id = from.send(&to.addr(), &[&first]).await;
    from.completed(id).await;
    to.stop().await;
    std::fs::remove_file(key_of(&to)).unwrap();
    to.restart();
    let second = from.file("second", b"second");
    let id = from.send(&to.addr(), &[&second]).await;
    let end = from.ended(id).await;
    assert_eq!(end.state, TransferState::Failed, "{end:#?}");
    assert!(
        matches!(end.fault, Some(Fault::IdentityChanged { .. })),
        "{end:#?}"
    );
    assert!(!tree(&to.inbox()).contains_key("second"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_declined_is_sent_again_and_of_what_failed_only_that() {
    let mut shape = Shape::asking("to");
    shape.on_conflict = ConflictPolicy::Fail;
    let (to, from) = (shape.start(), Shape::new("from").start());
    std::fs::create_dir_all(to.inbox().join("d/e")).unwrap();
    std::fs::write(to.inbox().join("d/e/taken"), b"old").unwrap();
    from.file("d/free", b"free");
    std::fs::create_dir(from.outbox("d/e")).unwrap();
    std::fs::write(from.outbox("d/e/taken"), b"the new one").unwrap();
    let answer = |id, decision| Command::Answer {
        transfer: id,
        decision,
    };
    let again = async |transfer, what| {
        let command = Command::SendAgain { transfer, what };
        match from.call(command).await {
            Reply::Transfer { id, .. } => id,
            other => panic!("{other:?}"),
        }
    };
    let first = from.send(&to.link(), &[&from.outbox("d")]).await;
    asked(&to, first).await;
    to.call(answer(first, Decision::Decline)).await;
    let end = from.ended(first).await;
    assert_eq!(end.state, TransferState::Rejected);
    to.ended(first).await;
    let history = Command::History { count: 10 };
    let Reply::History(records) = to.call(history).await else {
        panic!("no history");
    };
    let not_taken = matches!(records[0].fault, Some(Fault::NotTaken { .. }));
    assert!(not_taken && records.len() == 1, "{records:?}");

    let second = again(first, Again::All).await;
    asked(&to, second).await;
    to.call(answer(second, ACCEPT)).await;
    let end = from.completed(second).await;
    assert_eq!((end.files, end.files_done, end.files_failed), (2, 1, 1));
    let failed = [FailedEntry {
        path: "d/e/taken".into(),
        why: SinkFault::Exists,
    }];
    assert_eq!(
        (end.entries_failed, end.failures.as_slice()),
        (1, &failed[..])
    );
    let end = to.completed(second).await;
    assert_eq!(
        (end.entries_failed, end.failures.as_slice()),
        (1, &failed[..])
    );

    std::fs::remove_file(to.inbox().join("d/e/taken")).unwrap();
    let third = again(second, Again::Failed).await;
    asked(&to, third).await;
    to.call(answer(third, ACCEPT)).await;
    let end = from.completed(third).await;
    assert_eq!((end.files, end.files_done), (1, 1));
    to.completed(third).await;
    assert_eq!(tree(&to.inbox())["d/e/taken"], b"the new one");
    let nothing = Command::SendAgain {
        transfer: third,
        what: Again::Failed,
    };
    let refused = from.handle.call(nothing).await.unwrap_err();
    assert_eq!(refused.slug(), "invalid");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_paused_goes_on_when_the_same_is_sent_once_more() {
    let (to, from) = (Shape::asking("to").start(), Shape::new("from").start());
    let file = from.file("film", b"film");
    let id = from.send(&to.link(), &[&file]).await;
    asked(&to, id).await;
    let pause = Command::Pause {
        transfer: id,
        scope: Scope::Transfer,
    };
    from.call(pause).await;
    let decision = ACCEPT;
    to.call(Command::Answer {
        transfer: id,
        decision,
    })
    .await;
    let paused = |o: &Overview| {
        let t = o.transfer(id)?;
        (t.state == TransferState::Paused).then_some(())
    };
    from.until(paused).await;
    assert_eq!(from.send(&to.link(), &[&file]).await, id);
    from.completed(id).await;
    assert_eq!(tree(&to.inbox())["film"], b"film");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_about_a_name_is_asked_again_after_a_restart() {
    let mut shape = Shape::new("to");
    shape.on_conflict = ConflictPolicy::Ask;
    let (mut to, from) = (shape.start(), Shape::new("from").start());
    to.call(Command::Attend).await;
    std::fs::create_dir_all(to.inbox()).unwrap();
    std::fs::write(to.inbox().join("taken"), b"old").unwrap();
    let (taken, free) = (from.file("taken", b"the new one"), from.file("free", b"x"));
    let id = from.send(&to.link(), &[&taken, &free]).await;
    let open = |o: &peerconnect::node::api::Overview| {
        let t = o.transfer(id).filter(|t| t.files_done == 1)?;
        t.conflict.clone()
    };
    let before = to.until(open).await;
    to.stop().await;
    to.restart();
    assert_eq!(to.until(open).await, before);
    let answer = Command::AnswerConflict {
        transfer: id,
        scope: Scope::File(before.index),
        answer: ConflictAnswer::Replace,
    };
    to.call(answer).await;
    let end = to.completed(id).await;
    assert_eq!((end.conflicts, end.conflict), (0, None));
    from.completed(id).await;
    assert_eq!(tree(&to.inbox())["taken"], b"the new one");
}
