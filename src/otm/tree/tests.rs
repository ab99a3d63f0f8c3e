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
mod sim;

use sim::{Node, Sim};

fn show(name: &str, sim: &Sim, one: f64) {
    let told: usize = sim.nodes.iter().map(|n| n.told).sum();
    let most = sim.nodes.iter().map(|n| n.told).max().unwrap();
    println!(
        "{name:30} factor {:.3} copies {:.3} told {told} most {most}",
        sim.time() / one,
        sim.copies()
    );
}

fn last(sim: &Sim, but: impl Fn(usize) -> bool) -> f64 {
    let others = sim.nodes.iter().enumerate().filter(|(n, _)| !but(*n));
    others
        .map(|(_, n)| n.finished.unwrap_or(0.0))
        .fold(0.0, f64::max)
}

#[test]
fn explore() {
    let size = 256;
    let one = Sim::new(size, vec![Node::new(1000.0, 1000.0)], 1)
        .run()
        .time();
    println!("one {one}");
    for (n, up) in [
        (8, 1000.0),
        (8, 200.0),
        (8, 100.0),
        (8, 50.0),
        (8, 20.0),
        (64, 1000.0),
        (64, 200.0),
        (64, 100.0),
        (64, 50.0),
    ] {
        let mut sim = Sim::new(size, vec![Node::new(up, 1000.0); n], 1);
        show(&format!("{n} at {up}"), sim.run(), one);
    }
    for origin in [1000.0, 10.0] {
        let mut ones = Sim::new(size, vec![Node::new(1000.0, 1000.0)], 1);
        ones.origin_up = sim::mbit(origin);
        let ones = ones.run().time();
        for up in [10.0, 1000.0] {
            let mut sim = Sim::new(size, vec![Node::new(up, 1000.0); 8], 1);
            sim.origin_up = sim::mbit(origin);
            show(&format!("{origin} 8 at {up}"), sim.run(), ones);
        }
    }
    let mut nodes = vec![Node::new(1000.0, 1000.0); 9];
    for slow in 0..9 {
        nodes[slow] = Node::new(1.0, 1.0);
        let mut sim = Sim::new(size, nodes.clone(), 1);
        sim.run();
        nodes[slow] = Node::new(1000.0, 1000.0);
        let time = last(&sim, |n| n == slow);
        println!(
            "slow {slow}: others {:.3}, it {:.1} copies {:.3}",
            time / one,
            sim.time(),
            sim.copies()
        );
    }
    for slow in 0..9 {
        nodes[slow] = Node::new(20.0, 1000.0);
        let mut sim = Sim::new(size, nodes.clone(), 1);
        sim.run();
        nodes[slow] = Node::new(1000.0, 1000.0);
        show(&format!("weak {slow}"), &sim, one);
    }
    for seed in 0..8 {
        let mut sim = Sim::new(size, vec![], seed);
        for _ in 0..16 {
            let up = [20.0, 50.0, 100.0, 200.0, 1000.0, 1000.0][(sim.random() * 6.0) as usize];
            let down = [50.0, 100.0, 200.0, 1000.0, 1000.0, 1000.0][(sim.random() * 6.0) as usize];
            let mut node = Node::new(up, down);
            node.relays = sim.random() < 0.8;
            sim.nodes.push(node);
        }
        sim.run();
        let up: f64 = sim.nodes.iter().filter(|n| n.relays).map(|n| n.up).sum();
        let bound = 16.0 * size as f64 * 1048576.0 / (up + sim.origin_up);
        let bound = sim
            .nodes
            .iter()
            .map(|n| size as f64 * 1048576.0 / n.down)
            .fold(bound, f64::max);
        show(&format!("mixed {seed} bound {:.2}", bound / one), &sim, one);
    }
    for seed in 0..20 {
        let mut sim = Sim::new(size, vec![Node::new(1000.0, 1000.0); 8], seed);
        for n in 0..8 {
            sim.nodes[n].joins = sim.random() * 0.2;
        }
        sim.loss = 0.1;
        let victim = (sim.random() * 8.0) as usize;
        sim.nodes[victim].dies = 11.0;
        show(&format!("killed {victim}"), sim.run(), one);
    }
    for seed in 0..4 {
        let mut sim = Sim::new(size, vec![Node::new(1000.0, 1000.0); 8], seed);
        sim.nodes[7].joins = 11.0;
        show("late", sim.run(), one);
    }
    for liar in 0..8 {
        let mut sim = Sim::new(size, vec![Node::new(1000.0, 1000.0); 8], 3);
        sim.nodes[liar].lies = true;
        sim.run();
        show(
            &format!("liar {liar} {}", sim.tree.is_excluded(sim::id(liar))),
            &sim,
            one,
        );
    }
    for liar in 0..8 {
        let mut sim = Sim::new(size, vec![Node::new(1000.0, 1000.0); 8], 3);
        sim.nodes[liar].slanders = true;
        sim.run();
        let ex = (0..8).filter(|n| sim.tree.is_excluded(sim::id(*n))).count();
        show(&format!("slander {liar} {ex}"), &sim, one);
    }
}

#[test]
fn trace_one() {
    let var = |name: &str, default: f64| {
        std::env::var(name)
            .ok()
            .and_then(|s| s.parse().ok())
            .unwrap_or(default)
    };
    let mut sim = Sim::new(
        256,
        vec![Node::new(var("UP", 100.0), 1000.0); var("N", 8.0) as usize],
        var("SEED", 1.0) as u64,
    );
    sim.origin_up = sim::mbit(var("OUP", 100.0));
    let odd = var("ODD", 1e9) as usize;
    if let Some(node) = sim.nodes.get_mut(odd) {
        *node = Node::new(var("ODDUP", 100.0), var("ODDDOWN", 1000.0));
        node.lies = var("LIES", 0.0) > 0.0;
        node.slanders = var("SLANDERS", 0.0) > 0.0;
        node.dies = var("DIES", 1e9);
        node.joins = var("JOINS", 0.0);
    }
    sim.run();
    for (n, node) in sim.nodes.iter().enumerate() {
        println!(
            "{n} done {:.1} told {}",
            node.finished.unwrap_or(0.0),
            node.told
        );
    }
}
#[test]
fn trace_mixed() {
    let seed = std::env::var("SEED").unwrap_or("1".into()).parse().unwrap();
    let mut sim = Sim::new(256, vec![], seed);
    for n in 0..16 {
        let up = [20.0, 50.0, 100.0, 200.0, 1000.0, 1000.0][(sim.random() * 6.0) as usize];
        let down = [50.0, 100.0, 200.0, 1000.0, 1000.0, 1000.0][(sim.random() * 6.0) as usize];
        let mut node = Node::new(up, down);
        node.relays = sim.random() < 0.8;
        println!("{n} {up} {down} {}", node.relays);
        sim.nodes.push(node);
    }
    sim.run();
    for (n, node) in sim.nodes.iter().enumerate() {
        println!(
            "{n} done {:.1} told {}",
            node.finished.unwrap_or(0.0),
            node.told
        );
    }
}
