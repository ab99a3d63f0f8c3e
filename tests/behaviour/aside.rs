//! Content that finds no room in memory goes aside on the disk, and arrives all the same.

use peerconnect::net::memory::Faults;
use peerconnect::protocol::groups::GROUP_LEN;
use peerconnect::transfer::room::{CONTENT_MAX, Room};

use crate::common::{content, tree};
use crate::on_every_link;
use crate::pair::{Memory, Pair};
use crate::world::World;

on_every_link! {
    files_of_all_sizes_arrive_without_room
}

const SIZES: [u64; 7] = [
    0,
    1,
    5000,
    GROUP_LEN - 1,
    GROUP_LEN,
    GROUP_LEN + 1,
    3_500_000,
];

/// Files of all sizes, offered to a receiver that has no room until the result is dropped.
fn crowded<P: Pair>(world: &mut World<P>) -> (u64, Room) {
    for (seed, size) in (0..).zip(SIZES) {
        world.file(&format!("d/{size}"), &content(seed, size as usize));
    }
    let dir = world.out().join("d");
    world.offer(&[&dir]);
    let room = world.terms.budget.rooms.take(CONTENT_MAX).unwrap();
    (SIZES.iter().sum(), room)
}

fn arrived<P: Pair>(world: &World<P>) {
    assert!(tree(&world.out()) == tree(&world.inbox()));
}

async fn files_of_all_sizes_arrive_without_room<P: Pair>() {
    let mut world = World::<P>::new().await;
    let (all, room) = crowded(&mut world);
    world.complete().await;
    arrived(&world);
    assert_eq!(world.sending.moved(), all);
    drop(room);
    let rooms = &world.terms.budget.rooms;
    assert!(rooms.take(CONTENT_MAX).is_some(), "room is not given back");
}

#[tokio::test(start_paused = true)]
async fn damaged_content_is_found_aside_as_in_memory() {
    for flip in [0, 3000, 2 * GROUP_LEN, 5_000_000] {
        let mut world = World::with(Memory::new().await, |_| {});
        let (all, _room) = crowded(&mut world);
        world.pair.faults.push_back(Faults {
            flips: vec![flip],
            ..Faults::default()
        });
        world.complete().await;
        arrived(&world);
        let again = world.sending.moved() - all;
        assert!((1..=GROUP_LEN).contains(&again), "{again}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_break_costs_no_more_aside_than_in_memory() {
    for (cut, restart) in [(4000, false), (GROUP_LEN + 7, true), (5_000_000, false)] {
        let mut world = World::with(Memory::new().await, |_| {});
        let (all, _room) = crowded(&mut world);
        world.pair.faults.push_back(Faults {
            cut_after: Some(cut),
            ..Faults::default()
        });
        let ends = world.run().await;
        world.lost(&ends);
        let (done, moved) = (world.receiving.done(), world.sending.moved());
        if restart {
            world.restart_receiver();
        }
        world.complete().await;
        arrived(&world);
        assert_eq!(world.sending.moved() - moved, all - done, "cut after {cut}");
    }
}
