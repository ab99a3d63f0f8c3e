//! Our part in one tree of somebody else: its socket, its clock, and the links to our children.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use super::children::{self, Feed};
use super::control::{self, Event, Reach, Terms};
use super::{Entered, Listed, TreeOptions, Wanted};
use crate::config::PassOn;
use crate::net::requests::{Informed, Links};
use crate::net::{is_local_network, is_plausible};
use crate::protocol::legacy::DATAGRAM_MAX;
use crate::protocol::legacy::LegacyId;
use crate::protocol::legacy::otm::{Control, Neighbour, StreamLink};

/// How long a parent may take to come. Roots of originals wait a second before they send.
const PARENT_WAIT: Duration = Duration::from_secs(15);
/// Longest patience that a root may ask for.
const PATIENCE_MAX: Duration = Duration::from_secs(10);
/// Datagrams of one session: it takes a few for each neighbour.
const SENT_MAX: usize = 128;
/// After an error of the socket, which may come at once again.
const ERROR_PAUSE: Duration = Duration::from_millis(100);

/// One session that we take part in.
pub(super) struct Member {
    session: String,
    us: LegacyId,
    root: IpAddr,
    passive: SocketAddr,
    socket: UdpSocket,
    patience: Duration,
    links: Links,
    pass_on: watch::Receiver<PassOn>,
    control: control::Member,
    wanted: mpsc::Receiver<Wanted>,
    /// What children get, once there is a parent.
    feed: Option<watch::Receiver<Option<Feed>>>,
    children: JoinSet<()>,
    linked: (mpsc::Sender<Linked>, mpsc::Receiver<Linked>),
    until: Instant,
    /// Datagrams that were sent.
    sent: usize,
}

/// What came of connecting to a child.
type Linked = (LegacyId, bool);

impl Member {
    /// Opens the socket for a session that its root asks us to take part in.
    pub(super) async fn open(
        options: &TreeOptions,
        informed: &Informed,
        wanted: mpsc::Receiver<Wanted>,
    ) -> io::Result<Self> {
        let ip = options.bind.unwrap_or(match informed.own {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        });
        let socket = UdpSocket::bind((ip, 0)).await?;
        let inform = &informed.inform;
        let patience = Duration::from_secs(inform.link_wait_timeout.max(1).into());
        let patience = patience.min(PATIENCE_MAX);
        let terms = Terms {
            us: options.us,
            session: inform.session.clone(),
            fanout: inform.fanout as usize,
            patience,
        };
        let root = informed.from.ip();
        Ok(Self {
            session: inform.session.clone(),
            us: options.us,
            root,
            passive: SocketAddr::new(informed.own, socket.local_addr()?.port()),
            socket,
            patience,
            links: informed.links.clone(),
            pass_on: options.pass_on.clone(),
            control: control::Member::peer(terms, root),
            wanted,
            feed: None,
            children: JoinSet::new(),
            linked: mpsc::channel(control::FANOUT_MAX),
            until: Instant::now() + PARENT_WAIT,
            sent: 0,
        })
    }

    /// Where control messages reach us.
    pub(super) fn passive(&self) -> SocketAddr {
        self.passive
    }

    /// Works until the content is through or nobody brings it. `listed` until the parent has ended.
    pub(super) async fn run(mut self, listed: Listed) {
        let mut buffer = vec![0; DATAGRAM_MAX + 1];
        loop {
            self.settle().await;
            let due = self.control.poll_timeout().map(Instant::from_std);
            let due = due.unwrap_or(self.until).min(self.until);
            tokio::select! {
                received = self.socket.recv_from(&mut buffer) => match received {
                    Ok((len, from)) => {
                        self.on_datagram(from, buffer.get(..len).unwrap_or_default());
                    }
                    // Of an earlier datagram, on some systems.
                    Err(_) => sleep(ERROR_PAUSE).await,
                },
                () = sleep_until(due) => {
                    if self.feed.is_none() && self.until <= Instant::now() {
                        tracing::info!(root = %self.root, "no parent in a tree");
                        break;
                    }
                    self.control.handle_timeout(now());
                }
                Some(wanted) = self.wanted.recv() => self.on_wanted(wanted),
                Some((child, linked)) = self.linked.1.recv() => {
                    self.control.handle_linked(now(), &child, linked);
                }
                Some(_) = self.children.join_next() => {}
                goes_on = changed(&mut self.feed) => if !goes_on {
                    break;
                },
            }
        }
        // What there is goes to the children; nobody new is waited for.
        drop(listed);
        drop(self.wanted);
        drop(self.linked);
        while self.children.join_next().await.is_some() {}
    }

    fn on_datagram(&mut self, from: SocketAddr, bytes: &[u8]) {
        let from = SocketAddr::new(from.ip().to_canonical(), from.port());
        let (root, links, pass_on) = (self.root, &self.links, *self.pass_on.borrow());
        let reach = |addr: SocketAddr| {
            let is_near = addr.ip() == root || links.share(root, addr.ip());
            match is_near && is_plausible(addr, root) {
                false => Reach::Nothing,
                true if pass_on.allows(is_local_network(addr.ip())) => Reach::Child,
                true => Reach::Parent,
            }
        };
        match Control::decode(bytes) {
            Ok(control) => self.control.handle_datagram(now(), from, control, &reach),
            Err(error) => tracing::debug!(%from, %error, "no control message of a tree"),
        }
    }

    fn on_wanted(&mut self, wanted: Wanted) {
        let Wanted {
            parent,
            from,
            agreed,
        } = wanted;
        if !self.control.handle_link(now(), &parent, from.ip()) {
            return;
        }
        let (feed, feeds) = watch::channel(None);
        self.feed = Some(feeds);
        self.until = Instant::now() + FOR_EVER;
        // A parent that is gone already ends the feed.
        let _ = agreed.send(Entered { feed });
    }

    /// Does what is decided.
    async fn settle(&mut self) {
        while let Some(event) = self.control.poll_event() {
            match event {
                Event::Send(..) if self.sent == SENT_MAX => {
                    tracing::debug!("enough was said in this tree");
                }
                Event::Send(to, control) => match control.encode() {
                    Ok(bytes) => {
                        self.sent += 1;
                        if let Err(error) = self.socket.send_to(&bytes, to).await {
                            tracing::debug!(%to, %error, "cannot send to a peer of a tree");
                        }
                    }
                    Err(error) => tracing::warn!(%error, "a datagram cannot be sent"),
                },
                Event::Link(child) => self.link(child),
            }
        }
        let feed = self.feed.as_ref();
        if let Some(Feed { flow, .. }) = feed.and_then(|feed| feed.borrow().clone())
            && !self.control.expects_children()
        {
            flow.close_door();
        }
    }

    fn link(&mut self, child: Neighbour) {
        let Some(feeds) = self.feed.clone() else {
            return;
        };
        // It may have changed since the child was offered something.
        let is_near = is_local_network(child.active.ip());
        if !self.pass_on.borrow().allows(is_near) {
            return self.control.handle_linked(now(), &child.peer, false);
        }
        let us = StreamLink {
            parent: self.us,
            session: self.session.clone(),
            passive: self.passive,
        };
        let (patience, linked) = (self.patience, self.linked.0.clone());
        self.children.spawn(async move {
            // The session may be over.
            let tell = async |is_linked| {
                let _ = linked.send((child.peer, is_linked)).await;
            };
            match children::link(&child, us, patience).await {
                Ok(wire) => children::feed(wire, feeds, patience, tell(true)).await,
                Err(error) => {
                    tracing::info!(to = %child.active, %error, "no link to a child of a tree");
                    tell(false).await;
                }
            }
        });
    }
}

/// Waits until the parent begins to bring something, or brings nothing more: `false`.
async fn changed(feed: &mut Option<watch::Receiver<Option<Feed>>>) -> bool {
    match feed {
        Some(feed) => feed.changed().await.is_ok(),
        None => std::future::pending().await,
    }
}

/// Longer than anything takes, and still no moment that cannot be.
const FOR_EVER: Duration = Duration::from_secs(365 * 24 * 60 * 60);

fn now() -> std::time::Instant {
    Instant::now().into_std()
}
