//! One peer's part in forming a tree, without sockets and without a clock.
//!
//! The caller feeds it with [`Member::handle_datagram`], [`Member::handle_link`],
//! [`Member::handle_linked`] and, when [`Member::poll_timeout`] says so,
//! [`Member::handle_timeout`]; after each of these it takes all of [`Member::poll_event`].
//!
//! The root tells each peer its neighbours. Whoever has a parent (the root needs none) offers
//! itself to its neighbours by a tree check; who needs a parent answers with an upgrade, who has
//! one with a reject. On an upgrade the parent connects to the child's stream port.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::NAME_LEN_MAX;
use crate::protocol::legacy::LegacyId;
use crate::protocol::legacy::otm::{Control, Neighbour};

/// When an upgrade is sent again, counted from the first: as originals do.
const UPGRADE_AGAIN: [Duration; 2] = [Duration::from_millis(100), Duration::from_millis(300)];
/// Neighbours that are remembered: a hypercube of so many dimensions has more peers than there are.
const NEIGHBOURS_MAX: usize = 64;
/// Tree checks that may come before the neighbours are known. An original rejects them, and that
/// branch of its tree often stays empty.
const EARLY_MAX: usize = 16;
/// Most children of one peer, whatever the root says.
pub(super) const FANOUT_MAX: usize = 16;

/// What a peer goes by.
#[derive(Debug, Clone)]
pub(super) struct Terms {
    /// Who we are to others.
    pub(super) us: LegacyId,
    /// Names the session.
    pub(super) session: String,
    /// Most children.
    pub(super) fanout: usize,
    /// How long a neighbour may take to want what it was offered.
    pub(super) patience: Duration,
}

/// What may go to an address that somebody else has named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// Nothing.
    Nothing,
    /// Control messages: it may be a parent, and gets nothing from us.
    Parent,
    /// Content as well.
    Child,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Event {
    /// Send this datagram.
    Send(SocketAddr, Control),
    /// Connect to this child's stream port and say who we are; then tell
    /// [`Member::handle_linked`] whether it agreed.
    Link(Neighbour),
}

/// Who we get content from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Parent {
    /// From nobody: it is ours.
    Root,
    /// From nobody yet.
    Wanted {
        /// Where the root is.
        root: IpAddr,
    },
    /// From one of the neighbours.
    Found,
}

/// How far a neighbour is as our child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Child {
    /// Nothing was offered.
    No,
    /// It may say by this moment that it wants us.
    Offered(Instant),
    /// It is being connected to.
    Linking,
    /// It gets content from us.
    Linked,
    /// It has said that it wants nothing from us; perhaps only because it did not know us yet.
    Declined,
    /// It has said so again when everybody was asked.
    Refused,
    /// It cannot be reached, or has said nothing.
    Gone,
}

/// What the root knows of a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// Nothing yet.
    Open,
    /// It gets content from us.
    Ours,
    /// It has another parent: who refuses a check of the root again, after it was told once more
    /// who its neighbours are, has one, because the root is a neighbour of everybody.
    Elsewhere,
    /// It does not take part.
    Out,
}

#[derive(Debug)]
struct Branch {
    peer: Neighbour,
    reach: Reach,
    child: Child,
    /// When it was asked to be our parent, and how often.
    asked: Option<(Instant, usize)>,
    /// Whether it was among all who were asked late.
    asked_late: bool,
}

/// One peer of a tree, or its root.
#[derive(Debug)]
pub(super) struct Member {
    terms: Terms,
    parent: Parent,
    /// `None` until the root has told them.
    branches: Option<Vec<Branch>>,
    early: Vec<(LegacyId, SocketAddr, String)>,
    /// Names the tree check that is passed on.
    message: String,
    events: VecDeque<Event>,
}

impl Member {
    /// The root. It offers itself at once; `message` names its tree check.
    pub(super) fn root(
        now: Instant,
        terms: Terms,
        neighbours: Vec<Neighbour>,
        message: String,
    ) -> Self {
        let mut root = Self::new(terms, Parent::Root);
        root.message = message;
        root.branches = Some(root.branches_of(neighbours, &|_| Reach::Child));
        root.offer(now);
        root
    }

    /// A peer that a root at this address has informed.
    pub(super) fn peer(terms: Terms, root: IpAddr) -> Self {
        Self::new(terms, Parent::Wanted { root })
    }

    fn new(terms: Terms, parent: Parent) -> Self {
        Self {
            terms,
            parent,
            branches: None,
            early: Vec::new(),
            message: String::new(),
            events: VecDeque::new(),
        }
    }

    fn branches_of(
        &self,
        neighbours: Vec<Neighbour>,
        reach: &dyn Fn(SocketAddr) -> Reach,
    ) -> Vec<Branch> {
        let mut branches: Vec<Branch> = Vec::new();
        for peer in neighbours {
            let reach = reach(peer.passive);
            let is_known = branches.iter().any(|branch| branch.peer.peer == peer.peer);
            // Both sockets of a peer are at one computer, and in use.
            let is_one = peer.passive.ip() == peer.active.ip() && peer.active.port() != 0;
            let is_us = peer.peer == self.terms.us;
            if is_known || is_us || !is_one || reach == Reach::Nothing {
                tracing::debug!(?peer, "a neighbour that is none for us");
                continue;
            }
            branches.push(Branch {
                peer,
                reach,
                child: Child::No,
                asked: None,
                asked_late: false,
            });
            if branches.len() == NEIGHBOURS_MAX {
                break;
            }
        }
        branches
    }

    /// A control message came. `reach` says what may go to addresses that the root names.
    pub(super) fn handle_datagram(
        &mut self,
        now: Instant,
        from: SocketAddr,
        control: Control,
        reach: &dyn Fn(SocketAddr) -> Reach,
    ) {
        match control {
            Control::State(neighbours) => self.on_state(now, from, neighbours, reach),
            Control::TreeCheck {
                sender,
                message,
                session,
            } if session == self.terms.session => self.on_check(now, from, sender, message),
            Control::Upgrade(sender) => {
                let branch = self.branch(&sender, from.ip());
                if let Some(branch) = branch.filter(|b| matches!(b.child, Child::Offered(_))) {
                    branch.child = Child::Linking;
                    let peer = branch.peer.clone();
                    self.events.push_back(Event::Link(peer));
                }
            }
            Control::Reject(sender) => {
                let branch = self.branch(&sender, from.ip());
                let branch = branch.filter(|b| b.peer.passive.port() == from.port());
                if let Some(branch) = branch.filter(|b| matches!(b.child, Child::Offered(_))) {
                    branch.child = match branch.asked_late {
                        true => Child::Refused,
                        false => Child::Declined,
                    };
                    self.offer(now);
                }
            }
            // Of another session, for the requests endpoint, or sent by nobody.
            Control::TreeCheck { .. }
            | Control::Inform(_)
            | Control::InformAnswer(_)
            | Control::Downgrade(_)
            | Control::Gather { .. }
            | Control::PrintStates(_) => {}
        }
    }

    /// The neighbour with this id, if it is where that one is.
    fn branch(&mut self, id: &LegacyId, ip: IpAddr) -> Option<&mut Branch> {
        let mut branches = self.branches.iter_mut().flatten();
        branches.find(|branch| branch.peer.peer == *id && branch.peer.passive.ip() == ip)
    }

    fn on_state(
        &mut self,
        now: Instant,
        from: SocketAddr,
        neighbours: Vec<Neighbour>,
        reach: &dyn Fn(SocketAddr) -> Reach,
    ) {
        let is_root = matches!(self.parent, Parent::Wanted { root } if root == from.ip());
        if !is_root || self.branches.is_some() {
            return;
        }
        self.branches = Some(self.branches_of(neighbours, reach));
        for (sender, from, message) in std::mem::take(&mut self.early) {
            self.on_check(now, from, sender, message);
        }
    }

    fn on_check(&mut self, now: Instant, from: SocketAddr, sender: LegacyId, message: String) {
        // It is passed on to others as it is.
        if message.len() > NAME_LEN_MAX {
            return;
        }
        if self.branches.is_none() {
            // It has overtaken what the root says about our neighbours.
            if self.early.len() < EARLY_MAX {
                self.early.push((sender, from, message));
            }
            return;
        }
        let wants_parent = matches!(self.parent, Parent::Wanted { .. });
        let us = self.terms.us;
        let Some(branch) = self.branch(&sender, from.ip()) else {
            // Strangers get no answer: they may not be where they seem to be.
            return;
        };
        if !wants_parent || branch.child != Child::No {
            let reject = Control::Reject(us);
            return self.events.push_back(Event::Send(from, reject));
        }
        if branch.asked.is_none() {
            branch.asked = Some((now, 1));
            let upgrade = Event::Send(branch.peer.passive, Control::Upgrade(us));
            self.events.push_back(upgrade);
            self.message = message;
        }
    }

    /// Somebody at `from` wants to be our parent, over a stream. Whether it is the one: asked by
    /// us, and the first.
    pub(super) fn handle_link(&mut self, now: Instant, parent: &LegacyId, from: IpAddr) -> bool {
        let wanted = matches!(self.parent, Parent::Wanted { .. });
        let asked = self
            .branch(parent, from)
            .is_some_and(|branch| branch.asked.is_some());
        if !wanted || !asked {
            return false;
        }
        self.parent = Parent::Found;
        self.offer(now);
        true
    }

    /// What came of [`Event::Link`], or that the child has gone since.
    pub(super) fn handle_linked(&mut self, now: Instant, child: &LegacyId, linked: bool) {
        let mut branches = self.branches.iter_mut().flatten();
        let branch = branches.find(|branch| branch.peer.peer == *child);
        let Some(branch) = branch.filter(|branch| branch.child == Child::Linking) else {
            return;
        };
        branch.child = match linked {
            true => Child::Linked,
            false => Child::Gone,
        };
        self.offer(now);
    }

    /// Offers ourselves to as many neighbours as there is room for.
    fn offer(&mut self, now: Instant) {
        if matches!(self.parent, Parent::Wanted { .. }) {
            return;
        }
        let most = self.terms.fanout.min(FANOUT_MAX);
        let branches = self.branches.iter_mut().flatten();
        let busy =
            |b: &Branch| matches!(b.child, Child::Offered(_) | Child::Linking | Child::Linked);
        let mut branches: Vec<&mut Branch> = branches.collect();
        let room = most.saturating_sub(branches.iter().filter(|branch| busy(branch)).count());
        // Who has offered itself to us has a parent.
        let free = branches.iter_mut().filter(|branch| {
            branch.child == Child::No && branch.asked.is_none() && branch.reach == Reach::Child
        });
        for branch in free.take(room) {
            branch.child = Child::Offered(now + self.terms.patience);
            let check = check(&self.terms, &self.message);
            self.events
                .push_back(Event::Send(branch.peer.passive, check));
        }
    }

    /// Offers ourselves to all of these who do not take part yet, neighbours or not, and whatever
    /// the fanout: who has no parent by now would get nothing, and who has one says so. They must
    /// have been told their neighbours once more: an original that does not know who asks refuses.
    pub(super) fn offer_to_all(&mut self, now: Instant, peers: &[Neighbour]) {
        let new = self.branches_of(peers.to_vec(), &|_| Reach::Child);
        let branches = self.branches.get_or_insert_default();
        for branch in new {
            let known = branches.iter().any(|b| b.peer.peer == branch.peer.peer);
            if !known {
                branches.push(branch);
            }
        }
        for branch in branches {
            if matches!(
                branch.child,
                Child::No | Child::Offered(_) | Child::Declined
            ) {
                branch.asked_late = true;
                branch.child = Child::Offered(now + self.terms.patience);
                let check = check(&self.terms, &self.message);
                self.events
                    .push_back(Event::Send(branch.peer.passive, check));
            }
        }
    }

    /// How a peer of our tree stands.
    pub(super) fn standing(&self, peer: &LegacyId) -> Standing {
        let mut branches = self.branches.iter().flatten();
        let branch = branches.find(|branch| branch.peer.peer == *peer);
        match branch.map_or(Child::No, |branch| branch.child) {
            Child::No | Child::Offered(_) | Child::Linking | Child::Declined => Standing::Open,
            Child::Linked => Standing::Ours,
            Child::Refused => Standing::Elsewhere,
            Child::Gone => Standing::Out,
        }
    }

    /// Whether somebody may still become our child, or is about to.
    pub(super) fn expects_children(&self) -> bool {
        let mut branches = self.branches.iter().flatten();
        branches.any(|branch| matches!(branch.child, Child::Offered(_) | Child::Linking))
    }

    /// When an upgrade is due again.
    fn again(&self, branch: &Branch) -> Option<Instant> {
        let wants = matches!(self.parent, Parent::Wanted { .. });
        let (since, sent) = branch.asked.filter(|_| wants)?;
        let after = UPGRADE_AGAIN.get(sent.checked_sub(1)?)?;
        Some(since + *after)
    }

    /// When to call [`Member::handle_timeout`].
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let due = self.branches.iter().flatten().filter_map(|branch| {
            let offered = match branch.child {
                Child::Offered(until) => Some(until),
                Child::No | Child::Linking | Child::Linked => None,
                Child::Declined | Child::Refused | Child::Gone => None,
            };
            [self.again(branch), offered].into_iter().flatten().min()
        });
        due.min()
    }

    /// Time has passed.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        let branches = self.branches.iter().flatten();
        let again: Vec<bool> = branches.map(|branch| due(self.again(branch))).collect();
        let us = self.terms.us;
        for (branch, again) in self.branches.iter_mut().flatten().zip(again) {
            if let Some((_, sent)) = branch.asked.as_mut().filter(|_| again) {
                *sent += 1;
                let upgrade = Event::Send(branch.peer.passive, Control::Upgrade(us));
                self.events.push_back(upgrade);
            }
            if matches!(branch.child, Child::Offered(until) if until <= now) {
                branch.child = Child::Gone;
            }
        }
        self.offer(now);
    }

    /// What to do next.
    pub(super) fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }
}

fn check(terms: &Terms, message: &str) -> Control {
    Control::TreeCheck {
        sender: terms.us,
        message: message.to_owned(),
        session: terms.session.clone(),
    }
}

/// The neighbours of peer `at` among `count` peers, the root being peer 0: those whose numbers
/// differ in one bit.
pub(super) fn neighbours(at: usize, count: usize) -> impl Iterator<Item = usize> {
    (0..usize::BITS)
        .map(move |bit| at ^ (1 << bit))
        .filter(move |other| *other < count)
}
