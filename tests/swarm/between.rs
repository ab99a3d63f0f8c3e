//! The sender leaves although nobody has everything: those who are left have it between them.

use std::ops::Range;

use peerconnect::config::ConflictPolicy;
use peerconnect::peer::PeerId;
use peerconnect::protocol::groups::{Hash, hash_group};
use peerconnect::storage::folder::Folder;
use peerconnect::storage::journal::{Journal, JournalHead, Record};
use peerconnect::storage::name::SafePath;
use peerconnect::storage::part::Part;
use peerconnect::storage::source::SourceFile;

use super::*;

/// So little that it is not the sender who brings anybody anything.
const TRICKLE: u64 = 2000;
/// Most milliseconds that a group takes from one to another while the sender is there: then only
/// some of it is there when the sender leaves.
const SLOW: u64 = 90_000;
const QUICK: u64 = 20;

/// Files of about so many groups.
fn slow(seed: u64, files: &[(&str, u64)]) -> Swarm {
    let file = |(name, groups): &(&str, u64)| ((*name).to_owned(), groups * MIB - seed - 1);
    let files: Vec<(String, u64)> = files.iter().map(file).collect();
    let swarm = Swarm::of(seed, 3, &files, TRICKLE);
    swarm.common.network.delay.store(SLOW, Ordering::Relaxed);
    swarm
}

/// Two files: the first receiver has one of them and the second the other, from elsewhere. The
/// third has nothing.
fn halves(seed: u64) -> Swarm {
    let swarm = slow(seed, &[("x", 6), ("y", 5)]);
    leave_whole(&swarm, 0, "d/x");
    leave_whole(&swarm, 1, "d/y");
    swarm
}

/// It has this file from elsewhere.
fn leave_whole(swarm: &Swarm, n: usize, name: &str) {
    let there = inbox(&swarm.common.dir, n);
    std::fs::create_dir_all(there.join("d")).unwrap();
    let from = swarm.common.dir.join("out").join(name);
    std::fs::copy(from, there.join(name)).unwrap();
}

/// An earlier run has left these groups of the only file.
fn leave_part(swarm: &Swarm, n: usize, groups: Range<u32>) {
    let source = swarm.common.dir.join("out/d/big");
    let content = std::fs::read(&source).unwrap();
    let size = content.len() as u64;
    let inbox = inbox(&swarm.common.dir, n);
    let (folder, path) = (
        Folder::open(&inbox).unwrap(),
        SafePath::parse("d/big").unwrap(),
    );
    let part = Part::create(&folder, &path, "left").unwrap();
    let hash = |(group, bytes): (u32, &[u8])| -> Hash {
        part.write_at(u64::from(group) * MIB, bytes).unwrap();
        hash_group(size, group, bytes)
    };
    let all = (0..).zip(content.chunks(MIB as usize));
    let hashes = all.filter(|(group, _)| groups.contains(group)).map(hash);
    let hashes = hashes.collect();
    part.sync().unwrap();
    let head = JournalHead {
        transfer: id(n),
        peer: PeerId::of_public_key(b"sender").into(),
        peer_name: "sender".into(),
        folder: inbox,
        on_conflict: ConflictPolicy::Rename,
        excluded: Vec::new(),
        started: 0,
    };
    let journals = swarm.common.dir.join(format!("journals-{n}"));
    let mut journal = Journal::create(&journals, &head).unwrap();
    let record = Record::Groups {
        path: "d/big".into(),
        stamp: SourceFile::open(&source).unwrap().stamp(),
        size,
        part: part.identity().unwrap(),
        tag: "left".into(),
        first: groups.start,
        hashes,
    };
    journal.append(&[record]).unwrap();
}

/// The sender leaves when nobody has everything, and from then on nothing is slow.
async fn leave_all(swarm: &Swarm) {
    let left = leave(swarm).await;
    assert_eq!(left, swarm.members.len(), "nobody has everything");
    swarm.common.network.delay.store(QUICK, Ordering::Relaxed);
}

#[tokio::test(start_paused = true)]
async fn the_sender_may_leave_when_the_others_have_all_files_between_them() {
    for seed in 0..5 {
        let mut swarm = halves(seed);
        (0..3).for_each(|n| swarm.start(n, Manner::Honest));
        leave_all(&swarm).await;
        swarm.complete().await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_sender_may_leave_when_the_others_have_all_groups_of_a_file_between_them() {
    for seed in 0..5 {
        let mut swarm = slow(seed, &[("big", 8)]);
        leave_part(&swarm, 0, 0..5);
        leave_part(&swarm, 1, 4..8);
        (0..3).for_each(|n| swarm.start(n, Manner::Honest));
        leave_all(&swarm).await;
        swarm.complete().await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_nobody_has_needed_yet_is_read_for_those_who_are_left() {
    // So long that the sender would not look at most of it for a while.
    let mut swarm = slow(5, &[("big", 24)]);
    leave_part(&swarm, 0, 0..12);
    leave_part(&swarm, 1, 12..24);
    (0..2).for_each(|n| swarm.start(n, Manner::Honest));
    let began = Instant::now();
    leave_all(&swarm).await;
    let took = began.elapsed();
    assert!(took < Duration::from_secs(8), "{took:?}");
    swarm.complete().await;
}

#[tokio::test(start_paused = true)]
async fn the_sender_must_stay_when_nobody_has_some_group() {
    let mut swarm = slow(1, &[("big", 8)]);
    leave_part(&swarm, 0, 0..4);
    leave_part(&swarm, 1, 5..8);
    (0..2).for_each(|n| swarm.start(n, Manner::Honest));
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert!(swarm.members.values().all(|member| !member.goes_on()));
    // Now there is somebody who has it.
    leave_part(&swarm, 2, 3..6);
    swarm.start(2, Manner::Honest);
    leave_all(&swarm).await;
    swarm.complete().await;
}

#[tokio::test(start_paused = true)]
async fn the_sender_must_stay_again_when_one_who_is_needed_is_lost() {
    let mut swarm = halves(1);
    (0..3).for_each(|n| swarm.start(n, Manner::Honest));
    may_leave(&swarm).await;
    let lost = swarm.members.remove(&0).unwrap();
    lost.die();
    lost.ended().await;
    let is_needed = |swarm: &Swarm| {
        let mut members = swarm.members.values();
        members.all(|member| !member.goes_on())
    };
    swarm.until("that it must stay", is_needed).await;
    swarm.start(0, Manner::Honest);
    leave_all(&swarm).await;
    swarm.complete().await;
}

#[tokio::test(start_paused = true)]
async fn when_the_sender_has_left_one_who_is_needed_is_waited_for() {
    for away in 0..2 {
        let mut swarm = halves(away as u64);
        swarm.common.tries = u32::MAX;
        (0..3).for_each(|n| swarm.start(n, Manner::Honest));
        let network = swarm.common.network.clone();
        may_leave(&swarm).await;
        network.away.lock().unwrap().insert(id(away));
        leave_all(&swarm).await;
        tokio::time::sleep(Duration::from_secs(1800)).await;
        let over = swarm.members.values().filter(|member| member.is_over());
        assert_eq!(over.count(), 0, "nobody can have everything");
        network.away.lock().unwrap().clear();
        swarm.complete().await;
    }
}

#[tokio::test(start_paused = true)]
async fn three_who_have_a_third_each_get_the_rest_from_each_other() {
    let mut swarm = slow(3, &[("x", 12), ("y", 12), ("z", 2)]);
    (0..3).for_each(|n| leave_whole(&swarm, n, ["d/x", "d/y", "d/z"][n]));
    (0..3).for_each(|n| swarm.start(n, Manner::Honest));
    leave_all(&swarm).await;
    swarm.complete().await;
}
