use std::time::Duration;

use super::*;

fn id(n: u128) -> TransferId {
    TransferId(n.to_be_bytes())
}

#[test]
fn the_first_is_fed_by_the_origin_and_a_new_feeder_is_found_when_one_leaves() {
    let mut tree = Tree::new(Limits::default());
    let now = Duration::ZERO;
    for n in 0..8 {
        tree.join(id(n), true, 0, now);
    }
    let told = std::iter::from_fn(|| tree.poll()).count();
    assert_eq!(told, 8);
    assert_eq!(tree.feeder_of(id(0)), Some(Feeder::Origin));
    let orphans = tree.children_of(id(0)).to_vec();
    assert!(!orphans.is_empty());
    tree.leave(id(0), now);
    let told: Vec<_> = std::iter::from_fn(|| tree.poll())
        .map(|a| a.member)
        .collect();
    assert_eq!(told, orphans);
}

mod always;
mod model;
mod runs;
mod sim;
