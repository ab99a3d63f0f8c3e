//! Hashes that are computed once for several receivers.

use std::sync::Arc;

use peerconnect::protocol::groups::{GROUP_LEN, hash_group};
use peerconnect::storage::source;
use peerconnect::transfer::known::KnownHashes;

use crate::common::content;
use crate::on_every_link;
use crate::pair::Pair;
use crate::world::World;

const SIZE: usize = 3 * GROUP_LEN as usize + 5;

async fn a_hash_that_turns_out_to_be_wrong_is_forgotten<P: Pair>() {
    let mut world: World<P> = World::new().await;
    let bytes = content(1, SIZE);
    let path = world.file("big", &bytes);
    let stamp = source::open(&path).unwrap().stamp();
    let known = Arc::new(KnownHashes::default());
    known.put(stamp, 1, [9; 32]);
    world.know(known.clone());
    world.send_all().await;
    assert!(world.got("big") == bytes);
    let again = world.sending.moved() - SIZE as u64;
    assert_eq!(again, GROUP_LEN, "that group went twice");
    let group = GROUP_LEN as usize..2 * GROUP_LEN as usize;
    let right = hash_group(SIZE as u64, 1, &bytes[group]);
    assert_eq!(known.get(stamp, 1), Some(right));
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

on_every_link! {
    a_hash_that_turns_out_to_be_wrong_is_forgotten
    every_receiver_gets_what_was_hashed_for_the_first
}
