//! Whole transfers between two nodes over QUIC on loopback.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;

use common::{Shape, content, tree};
use peerconnect::config::Setting;
use peerconnect::transfer::state::TransferState;

#[tokio::test(flavor = "multi_thread")]
async fn a_file_arrives_with_its_content_and_time() {
    let (to, from) = (Shape::new("to").start(), Shape::new("from").start());
    let bytes = content(1, 3_000_000);
    let file = from.file("a.bin", &bytes);
    let time = std::fs::metadata(&file).unwrap().modified().unwrap();
    let id = from.send(&to.link(), &[&file]).await;
    let sent = from.completed(id).await;
    let received = to.completed(id).await;
    assert_eq!((sent.files_done, sent.bytes_done), (1, 3_000_000));
    assert_eq!((received.files_done, received.bytes_done), (1, 3_000_000));
    let copy = to.inbox().join("a.bin");
    assert_eq!(std::fs::read(&copy).unwrap(), bytes);
    assert_eq!(std::fs::metadata(&copy).unwrap().modified().unwrap(), time);
    assert_eq!(
        from.rows(id).await[0].hash,
        Some(*blake3::hash(&bytes).as_bytes())
    );
    assert_eq!(tree(&to.inbox()).len(), 1, "nothing else is left behind");
}

#[tokio::test(flavor = "multi_thread")]
async fn folders_with_everything_arrive_as_they_are() {
    let (to, from) = (Shape::new("to").start(), Shape::new("from").start());
    let dir = from.outbox("holiday");
    std::fs::create_dir_all(dir.join("empty/deeper")).unwrap();
    std::fs::create_dir_all(dir.join("sub")).unwrap();
    std::fs::write(dir.join("sub/a.txt"), b"a").unwrap();
    std::fs::write(dir.join("nothing"), b"").unwrap();
    std::fs::write(dir.join("sub/big"), content(2, 5_000_000)).unwrap();
    std::fs::write(dir.join("照片 é.jpg"), b"x").unwrap();
    std::os::unix::fs::symlink("sub/a.txt", dir.join("link")).unwrap();
    let single = from.file("single", b"1");
    let id = from.send(&to.link(), &[&dir, &single]).await;
    from.completed(id).await;
    to.completed(id).await;
    let mut wanted = tree(&dir.parent().unwrap().join("holiday"));
    wanted = wanted
        .into_iter()
        .map(|(k, v)| (format!("holiday/{k}"), v))
        .collect();
    wanted.insert("holiday/".into(), Vec::new());
    wanted.insert("single".into(), b"1".to_vec());
    assert_eq!(tree(&to.inbox()), wanted);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_small_files_arrive() {
    let (to, from) = (Shape::new("to").start(), Shape::new("from").start());
    let dir = from.outbox("many");
    std::fs::create_dir_all(&dir).unwrap();
    for i in 0..3000u32 {
        std::fs::write(dir.join(format!("{i:05}")), i.to_le_bytes().repeat(50)).unwrap();
    }
    let id = from.send(&to.link(), &[&dir]).await;
    let sent = from.completed(id).await;
    assert_eq!(sent.files_done, 3000);
    to.completed(id).await;
    let got = tree(&to.inbox());
    assert_eq!(got.len(), 3001);
    assert_eq!(got["many/00042"], 42u32.to_le_bytes().repeat(50));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_there_already_is_not_sent_again() {
    let (to, from) = (Shape::new("to").start(), Shape::new("from").start());
    let mut bytes = content(3, 4_500_000);
    let file = from.file("x.iso", &bytes);
    let id = from.send(&to.link(), &[&file]).await;
    from.completed(id).await;
    let again = from.send(&to.link(), &[&file]).await;
    let sent = from.completed(again).await;
    assert_ne!(again, id);
    assert_eq!(sent.bytes_moved, 0);
    assert_eq!(tree(&to.inbox()).len(), 1);
    // One changed byte costs one group, and both versions are kept.
    bytes[2_000_000] ^= 1;
    std::fs::write(&file, &bytes).unwrap();
    let third = from.send(&to.link(), &[&file]).await;
    let sent = from.completed(third).await;
    assert_eq!(sent.bytes_moved, 1024 * 1024);
    let got = tree(&to.inbox());
    assert_eq!(got.len(), 2);
    assert_eq!(got["x (1).iso"], bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transfer_goes_on_after_either_side_was_stopped() {
    let (mut to, mut from) = (Shape::new("to").start(), Shape::new("from").start());
    from.call(peerconnect::node::api::Command::Set(Setting::RateLimit(
        Some(8_000_000),
    )))
    .await;
    let bytes = content(4, 24_000_000);
    let file = from.file("film.mkv", &bytes);
    let id = from.send(&to.link(), &[&file]).await;
    let half = |o: &peerconnect::node::api::Overview| {
        o.transfer(id).filter(|t| t.bytes_done > 6_000_000).cloned()
    };
    let before = to.until(half).await;
    to.stop().await;
    from.in_state(id, TransferState::Interrupted).await;
    assert!(!to.inbox().join("film.mkv").exists());
    to.restart();
    to.until(|o| {
        o.transfer(id)
            .filter(|t| t.state == TransferState::Transferring)
            .cloned()
    })
    .await;
    let resumed = to
        .until(|o| o.transfer(id).filter(|t| t.bytes_moved > 0).cloned())
        .await;
    assert!(resumed.bytes_done >= before.bytes_done, "{resumed:#?}");
    from.stop().await;
    to.in_state(id, TransferState::Interrupted).await;
    from.restart();
    from.call(peerconnect::node::api::Command::Set(Setting::RateLimit(
        None,
    )))
    .await;
    from.completed(id).await;
    let end = to.completed(id).await;
    // The group that was on its way at each of the two stops comes again, nothing else.
    let most = 24_000_000 - before.bytes_done + 2 * 1024 * 1024;
    assert!(end.bytes_moved <= most, "{} > {most}", end.bytes_moved);
    assert_eq!(std::fs::read(to.inbox().join("film.mkv")).unwrap(), bytes);
    assert_eq!(tree(&to.inbox()).len(), 1);
}
