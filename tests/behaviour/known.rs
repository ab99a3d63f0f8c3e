//! Hashes that are computed once for several receivers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use peerconnect::protocol::groups::{GROUP_LEN, hash_group};
use peerconnect::storage::source;
use peerconnect::transfer::known::KnownHashes;

use crate::common::content;
use crate::on_every_link;
use crate::pair::Pair;
use crate::world::World;

const SIZE: usize = 3 * GROUP_LEN as usize + 5;

async fn a_hash_that_turns_out_to_be_wrong_is_forgotten<P: Pair>() {
    // One of several groups, and the only one.
    for (size, group) in [(SIZE, 1), (200_000, 0)] {
        let mut world: World<P> = World::new().await;
        let bytes = content(1, size);
        let path = world.file("big", &bytes);
        let stamp = source::open(&path).unwrap().stamp();
        let known = Arc::new(KnownHashes::default());
        known.put(stamp, group, [9; 32]);
        world.know(known.clone());
        world.send_all().await;
        assert!(world.got("big") == bytes);
        let mut groups = bytes.chunks(GROUP_LEN as usize);
        let content = groups.nth(group as usize).unwrap();
        let again = world.sending.moved() - size as u64;
        assert_eq!(again, content.len() as u64, "that group went twice");
        let right = hash_group(size as u64, group, content);
        assert_eq!(known.get(stamp, group), Some(right));
    }
}

async fn every_receiver_gets_what_was_hashed_for_the_first<P: Pair>() {
    let known = Arc::new(KnownHashes::default());
    let mut first: World<P> = World::new().await;
    let bytes = content(2, SIZE);
    let path = first.file("big", &bytes);
    let stamp = source::open(&path).unwrap().stamp();
    first.know(known.clone());
    first.send_all().await;
    let hashes: Vec<_> = (0..4).map(|group| known.get(stamp, group)).collect();
    assert!(hashes.iter().all(Option::is_some), "{hashes:?}");
    // The next one has most of it already: that is seen without a fault, and little moves.
    let mut second: World<P> = World::new().await;
    let mut old = bytes.clone();
    old[0] ^= 1;
    std::fs::create_dir_all(second.inbox()).unwrap();
    std::fs::write(second.inbox().join("big"), old).unwrap();
    second.know(known);
    second.offer(&[&path]);
    second.complete().await;
    assert!(second.got("big (1)") == bytes);
}

/// As when others that get the same files are quicker, or have it found out that a hash is wrong.
async fn hashes_may_come_and_go_at_any_time<P: Pair>() {
    const GROUPS: usize = 24;
    let bytes = content(3, GROUPS * GROUP_LEN as usize);
    let mut old = bytes.clone();
    // Most of it is there, and what differs is between what does not.
    for group in (0..GROUPS).step_by(5) {
        old[group * GROUP_LEN as usize] ^= 1;
    }
    for round in 0..4 {
        let mut world: World<P> = World::new().await;
        let path = world.file("big", &bytes);
        std::fs::create_dir_all(world.inbox()).unwrap();
        std::fs::write(world.inbox().join("big"), &old).unwrap();
        let stamp = source::open(&path).unwrap().stamp();
        let known = Arc::new(KnownHashes::default());
        world.know(known.clone());
        let stop = Arc::new(AtomicBool::new(false));
        let restless = {
            let (stop, bytes) = (stop.clone(), bytes.clone());
            std::thread::spawn(move || {
                let size = bytes.len() as u64;
                let content = bytes.chunks(GROUP_LEN as usize);
                let hashes: Vec<_> = (0..).zip(content).collect();
                let hashes: Vec<_> = hashes
                    .into_iter()
                    .map(|(group, content)| hash_group(size, group, content))
                    .collect();
                let mut turn = round;
                while !stop.load(Ordering::Relaxed) {
                    turn = (turn * 31 + 7) % GROUPS;
                    match turn % 3 {
                        0 => known.forget(stamp, turn as u32),
                        _ => known.put(stamp, turn as u32, hashes[turn]),
                    }
                    std::thread::yield_now();
                }
            })
        };
        world.offer(&[&path]);
        world.complete().await;
        stop.store(true, Ordering::Relaxed);
        restless.join().unwrap();
        assert!(world.got("big (1)") == bytes);
        let differs = GROUPS.div_ceil(5) as u64 * GROUP_LEN;
        assert_eq!(world.sending.moved(), differs, "and nothing else moved");
    }
}

on_every_link! {
    hashes_may_come_and_go_at_any_time
    a_hash_that_turns_out_to_be_wrong_is_forgotten
    every_receiver_gets_what_was_hashed_for_the_first
}
