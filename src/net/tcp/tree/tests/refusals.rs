//! What the root makes of those who refuse it.

use std::net::SocketAddr;
use std::time::Instant;

use super::forming::{events, id, peer, terms};
use crate::net::tcp::tree::control::{Event, Member, Standing};
use crate::protocol::legacy::otm::Control;

/// A root of two that has offered itself to them.
fn root(now: Instant) -> Member {
    let mut root = Member::root(now, terms(0, 5), vec![peer(1), peer(2)], "m".into());
    assert_eq!(checked(&mut root), [1, 2]);
    root
}

/// Whom it has sent a check since.
fn checked(root: &mut Member) -> Vec<usize> {
    let to = |event: &Event| match event {
        Event::Send(to, Control::TreeCheck { .. }) => (1..3).find(|at| peer(*at).passive == *to),
        Event::Send(..) | Event::Link(_) => None,
    };
    events(root).iter().filter_map(to).collect()
}

fn refuse(root: &mut Member, now: Instant, at: usize, from: SocketAddr) {
    let nowhere = |_: SocketAddr| crate::net::tcp::tree::control::Reach::Nothing;
    root.handle_datagram(now, from, Control::Reject(id(at)), &nowhere);
}

#[test]
fn who_refuses_is_asked_again_before_it_counts_as_one_who_has_a_parent() {
    let now = Instant::now();
    let mut root = root(now);
    // It may not know yet who its neighbours are.
    refuse(&mut root, now, 1, peer(1).passive);
    assert_eq!(root.standing(&id(1)), Standing::Open);
    root.offer_to_all(now, &[peer(1), peer(2)]);
    assert_eq!(checked(&mut root), [1, 2]);
    assert_eq!(root.standing(&id(1)), Standing::Open);
    refuse(&mut root, now, 1, peer(1).passive);
    assert_eq!(root.standing(&id(1)), Standing::Elsewhere);
    // What it says is believed now.
    root.offer_to_all(now, &[peer(1), peer(2)]);
    assert_eq!(checked(&mut root), [2]);
}

#[test]
fn a_refusal_counts_only_from_the_socket_of_the_session() {
    let now = Instant::now();
    let mut root = root(now);
    root.offer_to_all(now, &[peer(1), peer(2)]);
    checked(&mut root);
    let mut other = peer(1).passive;
    other.set_port(other.port() + 1);
    refuse(&mut root, now, 1, other);
    assert_eq!(root.standing(&id(1)), Standing::Open);
    refuse(&mut root, now, 1, peer(1).passive);
    assert_eq!(root.standing(&id(1)), Standing::Elsewhere);
}
