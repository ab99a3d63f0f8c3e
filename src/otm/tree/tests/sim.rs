//! A network in virtual time: computers with uplinks, downlinks and delays, which pull groups in
//! order from the feeders that a [`Tree`] names.
//!
//! Bytes flow like water in small steps: each feeder's uplink is shared evenly among those who
//! pull from it, as far as their downlinks take it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::super::*;
use super::WITHHELD;
use super::model::{Checked, Event};

pub(super) const GROUP: f64 = 1048576.0;
/// Groups of the files, unless a test says otherwise.
pub(super) const SIZE: usize = 256;
const STEP: f64 = 0.01;
/// How long a child waits for a feeder that does not answer any more.
const SILENCE: f64 = 3.0;
/// How long a child waits for a feeder that answers and gives nothing.
const EMPTY: f64 = 5.0;
/// The same if another one is named then.
const EMPTY_BEFORE: f64 = 2.0;
/// How long the origin takes to notice that somebody died without a word.
const NOTICED: f64 = 10.0;

/// Bytes a second.
pub(super) fn mbit(n: f64) -> f64 {
    n * 1e6 / 8.0
}

/// A computer of the network.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) up: f64,
    pub(super) down: f64,
    /// Seconds to anybody, one way.
    pub(super) delay: f64,
    pub(super) joins: f64,
    pub(super) dies: f64,
    pub(super) relays: bool,
    pub(super) lies: bool,
    /// Says of every feeder that it lies.
    pub(super) slanders: bool,
    /// From when on it gives nothing.
    pub(super) withholds: f64,
    /// Says of every feeder that it gives nothing.
    pub(super) complains: bool,
    /// When each group was complete.
    pub(super) groups: Vec<f64>,
    pub(super) finished: Option<f64>,
    /// How often it was told a feeder.
    pub(super) told: usize,
    /// How often that was nothing that it needed.
    pub(super) voluntary: usize,
    /// How often it passed on something wrong.
    pub(super) lied: usize,
    /// Those who got nothing from it.
    pub(super) denied: BTreeSet<usize>,
    state: State,
    partial: f64,
    /// From whom, and from when on.
    source: Option<(Feeder, f64)>,
    heard: f64,
    /// Since when nothing has come, as it says.
    empty: f64,
    /// Bytes from other members since the last report.
    fed: f64,
    next_report: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Outside,
    Here,
    Dead,
}

impl Node {
    pub(super) fn new(up: f64, down: f64) -> Self {
        Self {
            up: mbit(up),
            down: mbit(down),
            delay: 0.002,
            joins: 0.0,
            dies: f64::MAX,
            relays: true,
            lies: false,
            slanders: false,
            withholds: f64::MAX,
            complains: false,
            groups: Vec::new(),
            finished: None,
            told: 0,
            voluntary: 0,
            lied: 0,
            denied: BTreeSet::new(),
            state: State::Outside,
            partial: 0.0,
            source: None,
            heard: 0.0,
            empty: 0.0,
            fed: 0.0,
            next_report: 0.0,
        }
    }
}

#[derive(Debug)]
enum Message {
    Assign(usize, Feeder),
    Progress(usize, u64, u64),
    Complete(usize),
    Trouble(usize, usize, Trouble),
    Leave(usize),
}

pub(super) struct Sim {
    pub(super) nodes: Vec<Node>,
    pub(super) tree: Checked,
    pub(super) size: usize,
    pub(super) origin_up: f64,
    pub(super) origin_sent: f64,
    /// Part of the reports that get lost.
    pub(super) loss: f64,
    /// Pairs of child and feeder that cannot reach each other.
    pub(super) blocked: BTreeSet<(usize, usize)>,
    pub(super) now: f64,
    /// The most steps that content took to anybody.
    pub(super) deepest: usize,
    seed: u64,
    messages: BTreeMap<(u64, u64), Message>,
    sent: u64,
}

pub(super) fn id(n: usize) -> TransferId {
    //Mixed, so that the order of ids says nothing about the order of nodes.
    let mixed = (n as u64 ^ 0x5bd1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&mixed.to_be_bytes());
    bytes[8..].copy_from_slice(&(n as u64).to_be_bytes());
    TransferId(bytes)
}

pub(super) fn index(id: TransferId) -> usize {
    u64::from_be_bytes(id.0[8..].try_into().unwrap()) as usize
}

fn at(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

impl Sim {
    /// Files of [`SIZE`] groups, from an origin with 100 Mbit/s.
    pub(super) fn new(nodes: Vec<Node>, seed: u64) -> Self {
        let fastest = nodes
            .iter()
            .map(|node| node.down)
            .fold(mbit(100.0), f64::max);
        let mut tree = Checked::new(Limits::default(), fastest as u64);
        if nodes.len() > 100 {
            tree.every = 500;
        }
        Self {
            nodes,
            tree,
            size: SIZE,
            origin_up: mbit(100.0),
            origin_sent: 0.0,
            loss: 0.0,
            blocked: BTreeSet::new(),
            now: 0.0,
            deepest: 0,
            seed: seed.wrapping_mul(2).wrapping_add(0x1234_5677),
            messages: BTreeMap::new(),
            sent: 0,
        }
    }

    /// Runs until all who are not dead are complete. Panics if that takes too long.
    pub(super) fn run(&mut self) -> &mut Self {
        while !self.is_over() {
            self.step();
            assert!(self.now < 100_000.0, "never ends: {:?}", self.unfinished());
        }
        self
    }

    pub(super) fn is_over(&self) -> bool {
        let over = |node: &Node| node.finished.is_some() || node.state == State::Dead;
        self.nodes.iter().all(over)
    }

    fn unfinished(&self) -> Vec<(usize, usize, Option<Feeder>)> {
        let nodes = self.nodes.iter().enumerate();
        let open = nodes.filter(|(_, node)| node.finished.is_none());
        open.map(|(n, node)| (n, node.groups.len(), self.tree.tree.feeder_of(id(n))))
            .collect()
    }

    pub(super) fn run_until(&mut self, time: f64) -> &mut Self {
        while self.now < time {
            self.step();
        }
        self
    }

    /// The origin loses it. It can join again.
    pub(super) fn leave(&mut self, n: usize) {
        self.nodes[n].state = State::Outside;
        self.nodes[n].source = None;
        self.nodes[n].partial = 0.0;
        self.nodes[n].joins = f64::MAX;
        self.happen(n, Event::Leave);
    }

    /// When the last of some finished, as far as they did.
    pub(super) fn last(&self, counts: impl Fn(usize) -> bool) -> f64 {
        let nodes = self.nodes.iter().enumerate().filter(|(n, _)| counts(*n));
        let times = nodes.filter_map(|(_, node)| node.finished);
        times.fold(0.0, f64::max)
    }

    /// What the origin sent, in sizes of the files.
    pub(super) fn copies(&self) -> f64 {
        self.origin_sent / (self.size as f64 * GROUP)
    }

    pub(super) fn random(&mut self) -> f64 {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        (self.seed >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Something happens to the tree, and its members are told what follows.
    fn happen(&mut self, n: usize, event: Event) {
        self.tree.now = at(self.now);
        self.tree.happen(n, event);
        for member in self.tree.moved.clone() {
            let n = index(member);
            if matches!(event, Event::Tick) {
                self.nodes[n].voluntary += 1;
            }
            if let Some(feeder) = self.tree.members[&member].told {
                self.send(self.nodes[n].delay, Message::Assign(n, feeder));
            }
        }
    }

    pub(super) fn step(&mut self) {
        self.now += STEP;
        self.come_and_go();
        self.deliver();
        while let Some(due) = self
            .tree
            .tree
            .next_timeout()
            .filter(|due| *due <= at(self.now))
        {
            self.happen(0, Event::Tick);
            self.note_depth();
            assert!(
                self.tree.tree.next_timeout() > Some(due),
                "time stands still"
            );
        }
        self.flow();
        self.report();
    }

    fn note_depth(&mut self) {
        let all = 0..self.nodes.len();
        let deepest = all.filter_map(|n| self.tree.tree.depth(id(n))).max();
        self.deepest = self.deepest.max(deepest.unwrap_or(0));
    }

    fn come_and_go(&mut self) {
        for n in 0..self.nodes.len() {
            let node = &mut self.nodes[n];
            if node.state == State::Outside && node.joins <= self.now {
                node.state = State::Here;
                node.next_report = self.now + 0.4 + 0.4 * (n % 7) as f64 / 7.0;
                let done = (node.groups.len() as f64 * GROUP) as u64;
                let (relays, delay) = (node.relays, node.delay);
                self.happen(n, Event::Join { relays, done });
                self.tree.tree.latency(id(n), at(delay * 2.0));
            } else if node.state == State::Here && node.dies <= self.now {
                node.state = State::Dead;
                self.send(NOTICED, Message::Leave(n));
            }
        }
    }

    fn send(&mut self, delay: f64, message: Message) {
        self.sent += 1;
        let due = ((self.now + delay) * 1e6) as u64;
        self.messages.insert((due, self.sent), message);
    }

    fn deliver(&mut self) {
        while let Some(first) = self.messages.first_entry() {
            if first.key().0 as f64 > self.now * 1e6 {
                return;
            }
            match first.remove() {
                Message::Assign(n, feeder) => {
                    self.find_empty_before(n);
                    let node = &mut self.nodes[n];
                    let other = match feeder {
                        Feeder::Origin => 0.0,
                        Feeder::Member(_) => 3.0 * node.delay,
                    };
                    node.source = Some((feeder, self.now + node.delay + other));
                    node.heard = self.now;
                    node.empty = self.now;
                    node.told += 1;
                }
                Message::Progress(n, done, fed) => {
                    self.happen(n, Event::Fed(fed));
                    self.happen(n, Event::Progress(done));
                }
                Message::Complete(n) => self.happen(n, Event::Complete),
                Message::Trouble(n, feeder, trouble) => {
                    self.happen(n, Event::Trouble { feeder, trouble });
                }
                Message::Leave(n) => self.happen(n, Event::Leave),
            }
        }
    }

    /// From whom it pulls now: `None` is the origin, `Some(None)` nobody.
    fn pulls_from(&self, n: usize) -> Option<Option<usize>> {
        let node = &self.nodes[n];
        let (source, from) = node.source?;
        if node.state != State::Here || node.finished.is_some() || from > self.now {
            return None;
        }
        let Feeder::Member(feeder) = source else {
            return Some(None);
        };
        let feeder = index(feeder);
        let other = &self.nodes[feeder];
        let is_there = other.state == State::Here && !self.blocked.contains(&(n, feeder));
        if !is_there || other.withholds <= self.now {
            return None;
        }
        let had = other.groups.get(node.groups.len())?;
        (had + node.delay + other.delay <= self.now).then_some(Some(feeder))
    }

    fn flow(&mut self) {
        let mut pulls: Vec<Vec<usize>> = vec![Vec::new(); self.nodes.len() + 1];
        let origin = self.nodes.len();
        for n in 0..self.nodes.len() {
            if let Some(source) = self.pulls_from(n) {
                pulls[source.unwrap_or(origin)].push(n);
            }
        }
        for (source, children) in pulls.iter_mut().enumerate() {
            let mut left = self
                .nodes
                .get(source)
                .map_or(self.origin_up, |node| node.up);
            children.sort_by(|a, b| self.nodes[*a].down.total_cmp(&self.nodes[*b].down));
            let mut sharing = children.len() as f64;
            for n in children.iter() {
                let rate = self.nodes[*n].down.min(left / sharing);
                left -= rate;
                sharing -= 1.0;
                if source == origin {
                    self.origin_sent += rate * STEP;
                }
                self.receive(*n, (source != origin).then_some(source), rate * STEP);
            }
        }
    }

    fn receive(&mut self, n: usize, source: Option<usize>, bytes: f64) {
        self.nodes[n].heard = self.now;
        self.nodes[n].partial += bytes;
        while self.nodes[n].partial >= GROUP {
            // What has come of a group that its feeder has not is nothing.
            if self.pulls_from(n) != Some(source) {
                self.nodes[n].partial = 0.0;
                return;
            }
            self.complete_group(n, source);
        }
    }

    fn complete_group(&mut self, n: usize, source: Option<usize>) {
        let lied = source.is_some_and(|source| self.nodes[source].lies);
        let node = &mut self.nodes[n];
        let delay = node.delay;
        if let Some(source) = source
            && (lied || node.slanders)
        {
            node.partial = 0.0;
            node.source = None;
            self.nodes[source].lied += usize::from(lied);
            return self.send(delay, Message::Trouble(n, source, Trouble::Lied));
        }
        node.partial -= GROUP;
        node.groups.push(self.now);
        if source.is_some() {
            node.fed += GROUP;
        }
        if !node.complains {
            node.empty = self.now;
        }
        if node.groups.len() == self.size {
            node.finished = Some(self.now);
            node.partial = 0.0;
            self.send(delay, Message::Complete(n));
        }
    }

    fn report(&mut self) {
        for n in 0..self.nodes.len() {
            let node = &self.nodes[n];
            if node.state != State::Here || node.finished.is_some() {
                continue;
            }
            let delay = node.delay;
            if let Some((Feeder::Member(feeder), _)) = node.source {
                let other = index(feeder);
                let unreachable =
                    self.nodes[other].state != State::Here || self.blocked.contains(&(n, other));
                if unreachable && self.now - node.heard > SILENCE {
                    self.nodes[n].source = None;
                    self.send(delay, Message::Trouble(n, other, Trouble::Gone));
                } else if !unreachable && self.now - self.nodes[n].empty >= EMPTY {
                    self.find_empty(n, other);
                }
            }
            let node = &self.nodes[n];
            if node.next_report <= self.now {
                let done = (node.groups.len() as f64 * GROUP) as u64;
                let (next, lost) = (0.6 + 0.3 * self.random(), self.random() < self.loss);
                self.nodes[n].next_report += next;
                if !lost {
                    let fed = std::mem::take(&mut self.nodes[n].fed) as u64;
                    self.send(delay, Message::Progress(n, done, fed));
                }
            }
        }
    }

    /// Nothing has come from the feeder that it had so far.
    fn find_empty_before(&mut self, n: usize) {
        if let Some((Feeder::Member(feeder), _)) = self.nodes[n].source
            && self.now - self.nodes[n].empty >= EMPTY_BEFORE
        {
            self.find_empty(n, index(feeder));
        }
    }

    /// Nothing comes from a feeder that is there.
    fn find_empty(&mut self, n: usize, feeder: usize) {
        let (child, other) = (&self.nodes[n], &self.nodes[feeder]);
        let gives_nothing = other.withholds <= child.empty.max(0.0) || child.complains;
        let has_it = other.groups.len() > child.groups.len();
        let delay = child.delay;
        self.nodes[n].empty = self.now;
        if gives_nothing {
            let trouble = match has_it {
                true => WITHHELD,
                false => Trouble::Slow,
            };
            if has_it && !self.nodes[n].complains {
                self.nodes[feeder].denied.insert(n);
            }
            self.send(delay, Message::Trouble(n, feeder, trouble));
        }
    }
}
