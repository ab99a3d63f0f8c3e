//! Members of a tree, with nothing between them but time.

use std::collections::{BinaryHeap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use proptest::prelude::*;

use crate::net::tcp::tree::control::{Event, Member, Reach, Standing, Terms, neighbours};
use crate::protocol::legacy::LegacyId;
use crate::protocol::legacy::otm::{Control, Neighbour};

pub(super) fn ip(at: usize) -> IpAddr {
    [10, 0, 0, at as u8].into()
}

pub(super) fn id(at: usize) -> LegacyId {
    LegacyId::from_short(&[at as u8; 20]).unwrap()
}

pub(super) fn peer(at: usize) -> Neighbour {
    Neighbour {
        peer: id(at),
        passive: SocketAddr::new(ip(at), 5000),
        active: SocketAddr::new(ip(at), 3485),
    }
}

pub(super) fn terms(at: usize, fanout: usize) -> Terms {
    Terms {
        us: id(at),
        session: "s".into(),
        fanout,
        patience: Duration::from_secs(3),
    }
}

fn all(_: SocketAddr) -> Reach {
    Reach::Child
}

fn check(from: usize) -> Control {
    Control::TreeCheck {
        sender: id(from),
        message: "m".into(),
        session: "s".into(),
    }
}

pub(super) fn events(member: &mut Member) -> Vec<Event> {
    std::iter::from_fn(|| member.poll_event()).collect()
}

fn upgrade(to: usize, us: usize) -> Event {
    Event::Send(peer(to).passive, Control::Upgrade(id(us)))
}

/// A peer that knows its neighbours.
fn member(at: usize, now: Instant, near: &[usize]) -> Member {
    let mut member = Member::peer(terms(at, 5), ip(0));
    let near = near.iter().map(|at| peer(*at)).collect();
    member.handle_datagram(now, peer(0).passive, Control::State(near), &all);
    member
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Flight {
    at: std::cmp::Reverse<(Duration, u64)>,
    to: usize,
    from: usize,
    what: usize,
}

enum What {
    Datagram(Control),
    /// A link from parent to child.
    Link,
}

type Way = dyn FnMut(usize, usize, &Control) -> Option<u64>;

/// All peers of a tree, and what is on its way between them.
struct Tree {
    start: Instant,
    now: Duration,
    members: Vec<Member>,
    flights: BinaryHeap<Flight>,
    what: HashMap<usize, What>,
    sent: u64,
    parents: HashMap<usize, usize>,
    /// When the last of them was found.
    formed: Duration,
    /// Decides about the n-th datagram: after how many milliseconds it comes, if it does.
    way: Box<Way>,
}

impl Tree {
    fn new(
        count: usize,
        fanout: usize,
        way: impl FnMut(usize, usize, &Control) -> Option<u64> + 'static,
    ) -> Self {
        let start = Instant::now();
        let near = |at| neighbours(at, count).map(peer).collect::<Vec<_>>();
        let mut members = vec![Member::root(start, terms(0, fanout), near(0), "m".into())];
        members.extend((1..count).map(|at| Member::peer(terms(at, fanout), ip(0))));
        let mut tree = Self {
            start,
            now: Duration::ZERO,
            members,
            flights: BinaryHeap::new(),
            what: HashMap::new(),
            sent: 0,
            parents: HashMap::new(),
            formed: Duration::ZERO,
            way: Box::new(way),
        };
        for at in 1..count {
            let mut near = near(at);
            near.push(peer(0));
            tree.datagram(0, at, Control::State(near));
        }
        tree
    }

    fn datagram(&mut self, from: usize, to: usize, control: Control) {
        if let Some(after) = (self.way)(from, to, &control) {
            self.fly(from, to, after, What::Datagram(control));
        }
    }

    fn fly(&mut self, from: usize, to: usize, after: u64, what: What) {
        self.sent += 1;
        let at = self.now + Duration::from_millis(after);
        let key = self.sent as usize;
        self.what.insert(key, what);
        self.flights.push(Flight {
            at: std::cmp::Reverse((at, self.sent)),
            to,
            from,
            what: key,
        });
    }

    fn settle(&mut self) {
        for at in 0..self.members.len() {
            for event in events(&mut self.members[at]) {
                let to = |addr: SocketAddr| match addr.ip() {
                    IpAddr::V4(ip) => usize::from(ip.octets()[3]),
                    IpAddr::V6(_) => unreachable!(),
                };
                match event {
                    Event::Send(addr, control) => self.datagram(at, to(addr), control),
                    Event::Link(child) => self.fly(at, to(child.active), 1, What::Link),
                }
            }
        }
    }

    /// Until nothing happens any more, or five seconds have passed. Late, the root asks all.
    fn run(&mut self) {
        let mut ask_all = Some(Duration::from_millis(600));
        let all_peers: Vec<Neighbour> = (1..self.members.len()).map(peer).collect();
        loop {
            self.settle();
            let timeout = self.members.iter().filter_map(Member::poll_timeout).min();
            let timeout = timeout.map(|at| at - self.start);
            let flight = self.flights.peek().map(|flight| flight.at.0.0);
            let next = [timeout, flight, ask_all].into_iter().flatten().min();
            let Some(next) = next.filter(|next| *next < Duration::from_secs(5)) else {
                return;
            };
            self.now = next;
            let now = self.start + next;
            if ask_all.take_if(|at| *at == next).is_some() {
                self.members[0].offer_to_all(now, &all_peers);
            } else if flight == Some(next) {
                let flight = self.flights.pop().unwrap();
                match self.what.remove(&flight.what).unwrap() {
                    What::Datagram(control) => {
                        let from = peer(flight.from).passive;
                        self.members[flight.to].handle_datagram(now, from, control, &all);
                    }
                    What::Link => {
                        let (parent, child) = (flight.from, flight.to);
                        let linked = self.members[child].handle_link(now, &id(parent), ip(parent));
                        if linked {
                            self.formed = next;
                            assert_eq!(self.parents.insert(child, parent), None);
                        }
                        self.members[parent].handle_linked(now, &id(child), linked);
                    }
                }
            } else {
                for member in &mut self.members {
                    member.handle_timeout(now);
                }
            }
        }
    }

    /// Whether everybody hangs on the root, and nobody else has more children than allowed.
    fn is_whole(&self, fanout: usize) -> bool {
        (1..self.members.len()).all(|at| {
            let way = std::iter::successors(Some(at), |at| self.parents.get(at).copied());
            way.take(self.members.len()).last() == Some(0)
        }) && (1..self.members.len()).all(|at| {
            self.parents
                .values()
                .filter(|parent| **parent == at)
                .count()
                <= fanout
        })
    }
}

#[test]
fn everybody_finds_a_parent_whatever_the_number_of_peers() {
    for count in 2..40 {
        let mut tree = Tree::new(count, 5, |from, to, _| {
            Some((from * 7 + to * 3) as u64 % 20 + 1)
        });
        tree.run();
        assert!(tree.is_whole(5), "{count}: {:?}", tree.parents);
        for at in 1..count {
            let expected = match tree.parents[&at] {
                0 => Standing::Ours,
                _ => Standing::Elsewhere,
            };
            assert_eq!(
                tree.members[0].standing(&id(at)),
                expected,
                "{at} of {count}"
            );
        }
    }
}

#[test]
fn whoever_was_left_out_hangs_on_the_root_when_that_asks_all() {
    // Nothing but what the root says reaches peer 3.
    let mut tree = Tree::new(4, 5, |from, to, _| {
        let is_cut = to == 3 && from != 0;
        (!is_cut).then_some(1)
    });
    tree.run();
    assert_eq!(tree.parents[&3], 0);
}

#[test]
fn a_check_that_overtakes_the_state_is_answered_when_that_has_come() {
    let mut tree = Tree::new(8, 5, |_, _, control| {
        Some(if matches!(control, Control::State(_)) {
            150
        } else {
            2
        })
    });
    tree.run();
    assert!(tree.is_whole(5), "{:?}", tree.parents);
    // Not only because the root asks again.
    assert!(
        tree.formed < Duration::from_millis(600),
        "{:?}",
        tree.formed
    );
}

#[test]
fn a_tree_forms_although_two_of_three_upgrades_get_lost() {
    let mut upgrades = HashMap::new();
    let mut tree = Tree::new(16, 5, move |from, to, control| {
        if let Control::Upgrade(_) = control {
            let count = upgrades.entry((from, to)).or_insert(0);
            *count += 1;
            if *count < 3 {
                return None;
            }
        }
        Some(1)
    });
    tree.run();
    assert!(tree.is_whole(5), "{:?}", tree.parents);
}

#[test]
fn a_check_with_an_endless_name_is_not_passed_on() {
    let now = Instant::now();
    let mut member = member(1, now, &[0, 3]);
    let endless = Control::TreeCheck {
        sender: id(0),
        message: "m".repeat(129),
        session: terms(1, 2).session,
    };
    member.handle_datagram(now, peer(0).passive, endless, &all);
    assert_eq!(events(&mut member), []);
}

#[test]
fn whoever_is_silent_makes_room_for_the_next_neighbour() {
    // The root has room for one, and its first neighbour hears nothing.
    let start = Instant::now();
    let mut root = Member::root(start, terms(0, 1), vec![peer(1), peer(2)], "m".into());
    assert_eq!(events(&mut root), [Event::Send(peer(1).passive, check(0))]);
    let later = root.poll_timeout().unwrap();
    assert_eq!(later, start + Duration::from_secs(3));
    root.handle_timeout(later);
    assert_eq!(events(&mut root), [Event::Send(peer(2).passive, check(0))]);
    assert_eq!(root.standing(&id(1)), Standing::Out);
}

#[test]
fn upgrades_go_out_at_once_and_after_100_and_300_ms() {
    let now = Instant::now();
    let mut member = member(2, now, &[0, 3]);
    member.handle_datagram(now, peer(0).passive, check(0), &all);
    assert_eq!(events(&mut member), [upgrade(0, 2)]);
    for after in [100, 300] {
        let at = now + Duration::from_millis(after);
        assert_eq!(member.poll_timeout(), Some(at));
        member.handle_timeout(at);
        assert_eq!(events(&mut member), [upgrade(0, 2)]);
    }
    assert_eq!(member.poll_timeout(), None);
    // A slow parent is better than none.
    assert!(member.handle_link(now, &id(0), ip(0)));
}

#[test]
fn only_the_first_link_of_one_who_was_asked_is_taken() {
    let now = Instant::now();
    let mut member = member(3, now, &[1, 2]);
    assert!(!member.handle_link(now, &id(1), ip(1)), "not asked");
    member.handle_datagram(now, peer(1).passive, check(1), &all);
    member.handle_datagram(now, peer(2).passive, check(2), &all);
    assert_eq!(events(&mut member), [upgrade(1, 3), upgrade(2, 3)]);
    assert!(!member.handle_link(now, &id(1), ip(9)), "from elsewhere");
    assert!(!member.handle_link(now, &id(9), ip(1)), "somebody else");
    assert!(member.handle_link(now, &id(2), ip(2)));
    assert!(!member.handle_link(now, &id(1), ip(1)), "the second");
    assert!(!member.handle_link(now, &id(2), ip(2)), "twice");
    // Both have a parent, as they have offered themselves.
    assert_eq!(events(&mut member), []);
    // And so has this one now.
    member.handle_datagram(now, peer(1).passive, check(1), &all);
    let reject = Event::Send(peer(1).passive, Control::Reject(id(3)));
    assert_eq!(events(&mut member), [reject]);
}

#[test]
fn nothing_is_sent_because_a_stranger_says_so() {
    let now = Instant::now();
    let mut member = Member::peer(terms(2, 5), ip(0));
    let state = Control::State(vec![peer(7)]);
    member.handle_datagram(now, peer(9).passive, state, &all);
    member.handle_datagram(now, peer(9).passive, check(9), &all);
    member.handle_datagram(now, peer(0).passive, Control::State(vec![peer(3)]), &all);
    for from in [9, 7, 0] {
        member.handle_datagram(now, peer(from).passive, check(from), &all);
        let upgrade = Control::Upgrade(id(from));
        member.handle_datagram(now, peer(from).passive, upgrade, &all);
    }
    // The right name, from another computer; and the right computer, for another session.
    member.handle_datagram(now, peer(9).passive, check(3), &all);
    let other = Control::TreeCheck {
        sender: id(3),
        message: "m".into(),
        session: "other".into(),
    };
    member.handle_datagram(now, peer(3).passive, other, &all);
    assert_eq!(events(&mut member), []);
    assert_eq!(member.poll_timeout(), None);
}

#[test]
fn neighbours_that_cannot_be_are_left_out_and_content_goes_only_where_it_may() {
    let now = Instant::now();
    let mut member = Member::peer(terms(2, 5), ip(0));
    let mut elsewhere = peer(4);
    elsewhere.active.set_ip(ip(5));
    let mut closed = peer(6);
    closed.active.set_port(0);
    let us = peer(2);
    let state = vec![peer(0), elsewhere, closed, us, peer(8), peer(9), peer(10)];
    let reach = |addr: SocketAddr| match addr.ip() {
        far if far == ip(8) => Reach::Nothing,
        metered if metered == ip(9) => Reach::Parent,
        _ => Reach::Child,
    };
    member.handle_datagram(now, peer(0).passive, Control::State(state), &reach);
    member.handle_datagram(now, peer(0).passive, check(0), &reach);
    assert!(member.handle_link(now, &id(0), ip(0)));
    let offered = events(&mut member);
    let is_check = |event: &Event| matches!(event, Event::Send(_, Control::TreeCheck { .. }));
    let to_ten = |event: &&Event| {
        is_check(event) && matches!(event, Event::Send(to, _) if *to == peer(10).passive)
    };
    assert_eq!(offered.len(), 2, "{offered:?}");
    assert_eq!(offered.iter().filter(to_ten).count(), 1);
    // Nor does asking help.
    let asks = Control::Upgrade(id(9));
    member.handle_datagram(now, peer(9).passive, asks, &reach);
    assert_eq!(events(&mut member), []);
}

#[test]
fn a_child_is_connected_to_once_and_only_after_it_was_offered_something() {
    let now = Instant::now();
    let mut root = Member::root(now, terms(0, 1), vec![peer(1), peer(2)], "m".into());
    assert_eq!(events(&mut root), [Event::Send(peer(1).passive, check(0))]);
    let asks = |at| Control::Upgrade(id(at));
    root.handle_datagram(now, peer(2).passive, asks(2), &all);
    assert_eq!(events(&mut root), []);
    for _ in 0..3 {
        root.handle_datagram(now, peer(1).passive, asks(1), &all);
    }
    assert_eq!(events(&mut root), [Event::Link(peer(1))]);
    root.handle_linked(now, &id(1), false);
    assert_eq!(events(&mut root), [Event::Send(peer(2).passive, check(0))]);
}

/// What hostile peers may do.
#[derive(Debug, Clone)]
enum Attempt {
    Datagram(usize, Control),
    Link(usize, usize),
    Linked(usize, bool),
    Later(u64),
}

fn attempt() -> impl Strategy<Value = Attempt> {
    let at = || 0..12_usize;
    let control =
        (at(), 0..6, prop::collection::vec(at(), 0..8)).prop_map(|(of, kind, near)| match kind {
            0 => Control::State(near.into_iter().map(peer).collect()),
            1 | 2 => check(of),
            3 => Control::Upgrade(id(of)),
            4 => Control::Reject(id(of)),
            _ => Control::PrintStates(id(of)),
        });
    prop_oneof![
        4 => (at(), control).prop_map(|(from, control)| Attempt::Datagram(from, control)),
        1 => (at(), at()).prop_map(|(parent, from)| Attempt::Link(parent, from)),
        1 => (at(), any::<bool>()).prop_map(|(child, linked)| Attempt::Linked(child, linked)),
        1 => (0..4000_u64).prop_map(Attempt::Later),
    ]
}

proptest! {
    #[test]
    fn whatever_comes_only_neighbours_hear_of_it_and_each_input_causes_little(
        attempts in prop::collection::vec(attempt(), 0..60),
    ) {
        let mut now = Instant::now();
        let mut member = Member::peer(terms(11, 2), ip(0));
        let mut stated: Option<Vec<usize>> = None;
        let (mut parents, mut linking) = (0, 0);
        for attempt in attempts {
            match attempt {
                Attempt::Datagram(from, control) => {
                    if let (Control::State(near), 0, None) = (&control, from, &stated) {
                        let known = (0..11).filter(|at| near.contains(&peer(*at)));
                        stated = Some(known.collect());
                    }
                    member.handle_datagram(now, peer(from).passive, control, &all);
                }
                Attempt::Link(parent, from) => {
                    parents += u32::from(member.handle_link(now, &id(parent), ip(from)));
                }
                Attempt::Linked(child, linked) => member.handle_linked(now, &id(child), linked),
                Attempt::Later(after) => {
                    now += Duration::from_millis(after);
                    member.handle_timeout(now);
                }
            }
            let events = events(&mut member);
            prop_assert!(events.len() <= 12, "{events:?}");
            for event in events {
                let to = match &event {
                    Event::Send(to, _) => to.ip(),
                    Event::Link(child) => {
                        linking += 1;
                        child.active.ip()
                    }
                };
                let near = stated.iter().flatten();
                prop_assert!(near.map(|at| ip(*at)).any(|ip| ip == to), "{event:?}");
            }
            prop_assert!(parents <= 1 && (linking == 0 || parents == 1));
        }
    }
}
