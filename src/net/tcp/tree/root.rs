//! The root of a tree: asks originals whether they take part, forms the tree, and gives each its
//! place.
//!
//! Everybody is told the root as a neighbour, beside those of the hypercube. So the root can find
//! out at the end who has no parent and be one itself, and who has another parent says so. More
//! than that nobody ever hears of those who are not the root's own children.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::children;
use super::control::{Event, Member, Standing, Terms, neighbours};
use super::fates::{Fate, Fates};
use super::outbound::TreeOutbound;
use crate::net::interfaces::source_towards;
use crate::net::tcp::wire::Wire;
use crate::protocol::legacy::otm::{
    Adjacent, Control, Inform, InformAnswer, Metadata, Neighbour, StreamLink,
};
use crate::protocol::legacy::stream::FileItem;
use crate::protocol::legacy::{DATAGRAM_MAX, LegacyId, uuid_text};

/// How long an original may take for its answer: as originals wait.
const ANSWER_WAIT: Duration = Duration::from_secs(3);
/// How long others are waited for once one is there.
const GATHER_WAIT: Duration = Duration::from_millis(3500);
/// As originals say it. So long a child waits for its link, and its link for a child.
const LINK_WAIT: Duration = Duration::from_secs(3);
/// Most children of one peer, as originals say it.
const FANOUT: u32 = 5;
/// The unit of relaying, as originals say it.
const CHUNK_LEN: u64 = 256 * 1024;
/// Between what peers are told of their neighbours and the first check, which must not overtake it.
const STATE_GAP: Duration = Duration::from_millis(100);
/// When those who have not found a parent are asked, counted from the first check. Each time they
/// are told their neighbours once more before it.
const ASK_ALL: [Duration; 2] = [Duration::from_millis(600), Duration::from_millis(900)];
/// How long the tree has at least to form, and at most.
const FORM_MIN: Duration = Duration::from_secs(1);
const FORM_MAX: Duration = Duration::from_secs(2);
/// Longest list of files. An original takes what one call gives it for the whole list: it must
/// come in one segment on any way (1280 bytes, RFC 8200, without the headers of IPv6 and TCP).
const METADATA_MAX: usize = 1220;

/// What the root goes by.
#[derive(Debug, Clone)]
pub struct RootOptions {
    /// One address of this computer; `None` for all of them.
    pub bind: Option<IpAddr>,
    /// Who we are to others.
    pub us: LegacyId,
    /// Our TCP port for streams.
    pub stream_port: u16,
    /// Names the session, its key and its tree check. Nobody must be able to guess them.
    pub names: [[u8; 16]; 3],
}

/// A place in a tree that may form. Dropped, it is not waited for.
#[derive(Debug)]
pub struct Seat(mpsc::Sender<Join>);

/// Somebody who could take part.
#[derive(Debug)]
struct Join {
    peer: LegacyId,
    at: SocketAddr,
    files: Vec<FileItem>,
    placed: oneshot::Sender<Placed>,
}

/// A peer's place in a tree that has formed.
#[derive(Debug)]
pub(in crate::net::tcp) struct Placed {
    pub(in crate::net::tcp) files: Vec<FileItem>,
    pub(in crate::net::tcp) place: Place,
}

/// Where a peer is in a tree.
#[derive(Debug)]
pub(in crate::net::tcp) enum Place {
    /// It gets everything from us.
    Ours(Wire, Fate),
    /// It gets everything from others, once these have it.
    Below(Fates),
}

/// The files of a tree, if they can be: their list must fit one segment.
pub fn tree_files(files: Vec<FileItem>) -> Option<Vec<FileItem>> {
    let list = Metadata(files);
    let len = list.encode().ok()?.len();
    (!list.0.is_empty() && len <= METADATA_MAX).then_some(list.0)
}

/// Seats for so many originals, and what must run to give them their places.
pub fn plant(options: RootOptions, seats: usize) -> (Vec<Seat>, impl Future<Output = ()> + Send) {
    let (joins, joined) = mpsc::channel(seats.max(1));
    let seats = (0..seats).map(|_| Seat(joins.clone())).collect();
    (seats, grow(options, joined))
}

impl Seat {
    /// Asks the original `peer` to take part, for these files. `requests` is where it has just
    /// answered, `stream` its stream port. `None` if it does not take part, or too few do; after
    /// seven seconds at the latest. Cancel-safe: then it is not waited for any more.
    pub async fn take(
        self,
        peer: LegacyId,
        (requests, stream): (SocketAddr, SocketAddr),
        files: Vec<FileItem>,
    ) -> Option<TreeOutbound> {
        let placed = self.placed(peer, requests, files).await?;
        Some(TreeOutbound::new(stream, placed))
    }

    async fn placed(self, peer: LegacyId, at: SocketAddr, files: Vec<FileItem>) -> Option<Placed> {
        let (placed, place) = oneshot::channel();
        let join = Join {
            peer,
            at,
            files,
            placed,
        };
        self.0.send(join).await.ok()?;
        drop(self);
        place.await.ok()
    }
}

/// One who takes part.
struct Peer {
    join: Join,
    neighbour: Neighbour,
}

async fn grow(options: RootOptions, joins: mpsc::Receiver<Join>) {
    let root = Root {
        session: uuid_text(options.names[0]),
        key: uuid_text(options.names[1]),
        options,
    };
    let peers = root.gather(joins).await;
    // For one alone, nothing is saved.
    if peers.len() < 2 {
        return;
    }
    if let Err(error) = root.form(peers).await {
        tracing::warn!(%error, "no tree of originals could be formed");
    }
}

struct Root {
    options: RootOptions,
    session: String,
    key: String,
}

impl Root {
    /// Asks all who join, and waits for them.
    async fn gather(&self, mut joins: mpsc::Receiver<Join>) -> Vec<Peer> {
        let mut asking = JoinSet::new();
        let mut peers: Vec<Peer> = Vec::new();
        let mut files: Option<Vec<FileItem>> = None;
        let mut until = None;
        let mut open = true;
        while open || !asking.is_empty() {
            tokio::select! {
                join = joins.recv(), if open => match join {
                    None => open = false,
                    Some(join) => {
                        until.get_or_insert_with(|| Instant::now() + GATHER_WAIT);
                        // One stream is for one list.
                        if *files.get_or_insert_with(|| join.files.clone()) == join.files {
                            let inform = self.inform(join.files.len() as u64);
                            asking.spawn(async move { (ask(&join, inform).await, join) });
                        }
                    }
                },
                Some(asked) = asking.join_next() => {
                    if let Ok((Some(neighbour), join)) = asked
                        && self.is_new(&peers, &neighbour)
                    {
                        peers.push(Peer { join, neighbour });
                    }
                }
                () = sleep_until(until.unwrap_or_else(Instant::now)), if until.is_some() => break,
            }
        }
        peers
    }

    /// Whether it can be told from all others: by their id, which many originals share.
    fn is_new(&self, peers: &[Peer], new: &Neighbour) -> bool {
        let same_family = |peer: &Peer| peer.neighbour.passive.is_ipv4() == new.passive.is_ipv4();
        new.peer != self.options.us
            && peers.iter().all(same_family)
            && !peers.iter().any(|peer| peer.neighbour.peer == new.peer)
    }

    fn inform(&self, file_count: u64) -> Inform {
        Inform {
            root: self.options.us,
            protocols: ["peerconnect".into(), "peerconnect".into()],
            session: self.session.clone(),
            key: self.key.clone(),
            fanout: FANOUT,
            link_wait_timeout: LINK_WAIT.as_secs() as u32,
            adjacent: Adjacent::Text(Vec::new()),
            file_count,
            chunk_size: CHUNK_LEN,
        }
    }

    /// Forms the tree and tells everybody its place.
    async fn form(&self, peers: Vec<Peer>) -> io::Result<()> {
        let any: IpAddr = match peers.first().map(|peer| peer.neighbour.passive) {
            Some(SocketAddr::V6(_)) => Ipv6Addr::UNSPECIFIED.into(),
            Some(SocketAddr::V4(_)) | None => Ipv4Addr::UNSPECIFIED.into(),
        };
        let ip = self.options.bind.unwrap_or(any);
        let socket = UdpSocket::bind((ip, 0)).await?;
        let port = socket.local_addr()?.port();
        self.tell_states(&socket, port, &peers, peers.iter()).await;
        sleep(STATE_GAP).await;
        let mut forming = Forming {
            root: self,
            socket,
            port,
            control: self.control(&peers),
            linking: JoinSet::new(),
            linked: Vec::new(),
        };
        forming.run(&peers).await;
        forming.place(peers);
        Ok(())
    }

    fn control(&self, peers: &[Peer]) -> Member {
        let terms = Terms {
            us: self.options.us,
            session: self.session.clone(),
            fanout: FANOUT as usize,
            patience: LINK_WAIT,
        };
        let near = neighbours(0, peers.len() + 1).filter_map(|at| peers.get(at.checked_sub(1)?));
        let near = near.map(|peer| peer.neighbour.clone()).collect();
        let message = uuid_text(self.options.names[2]);
        Member::root(now(), terms, near, message)
    }

    /// Tells each of `told` its neighbours among `peers`.
    async fn tell_states(
        &self,
        socket: &UdpSocket,
        port: u16,
        peers: &[Peer],
        told: impl Iterator<Item = &Peer>,
    ) {
        for peer in told {
            let to = peer.neighbour.passive;
            let id = peer.neighbour.peer;
            let Some(at) = peers.iter().position(|peer| peer.neighbour.peer == id) else {
                continue;
            };
            let near = neighbours(at + 1, peers.len() + 1);
            let near = near.filter_map(|at| peers.get(at.checked_sub(1)?));
            let mut near: Vec<Neighbour> = near.map(|peer| peer.neighbour.clone()).collect();
            let Some(own) = self.options.bind.or_else(|| source_towards(to)) else {
                continue;
            };
            near.push(Neighbour {
                peer: self.options.us,
                passive: SocketAddr::new(own, port),
                active: SocketAddr::new(own, self.options.stream_port),
            });
            tell(socket, to, &Control::State(near)).await;
        }
    }
}

/// Asks one whether it takes part.
async fn ask(join: &Join, inform: Inform) -> Option<Neighbour> {
    let key = inform.key.clone();
    let answer = timeout(ANSWER_WAIT, request(join.at, inform)).await;
    let answer = match answer.ok()? {
        Ok(answer) => answer,
        Err(error) => {
            tracing::info!(to = %join.at, %error, "an original takes no part in a tree");
            return None;
        }
    };
    let ip = join.at.ip().to_canonical();
    // Nothing goes elsewhere because it says so.
    let is_there = [answer.passive, answer.active]
        .iter()
        .all(|addr| addr.ip() == ip && addr.port() != 0);
    let is_it = answer.peer == join.peer && answer.key == key;
    (is_there && is_it).then(|| Neighbour {
        peer: answer.peer,
        passive: at_interface(answer.passive, join.at),
        active: at_interface(answer.active, join.at),
    })
}

/// The interface of an address, which is lost on the way.
fn at_interface(addr: SocketAddr, near: SocketAddr) -> SocketAddr {
    let mut at = near;
    at.set_port(addr.port());
    at
}

async fn request(to: SocketAddr, inform: Inform) -> io::Result<InformAnswer> {
    let any: IpAddr = match to {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    // Only from there anything is heard.
    socket.connect(to).await?;
    let bytes = Control::Inform(inform).encode().map_err(io::Error::other)?;
    socket.send(&bytes).await?;
    let mut buffer = vec![0; DATAGRAM_MAX + 1];
    loop {
        let len = socket.recv(&mut buffer).await?;
        match Control::decode(buffer.get(..len).unwrap_or_default()) {
            Ok(Control::InformAnswer(answer)) => return Ok(answer),
            Ok(_) | Err(_) => tracing::debug!(%to, "no answer of one who may take part"),
        }
    }
}

/// What is done late for those who have no place.
enum Step {
    /// Tell them their neighbours again.
    Tell,
    /// Offer them a place.
    Ask,
}

/// A tree on its way to become one.
struct Forming<'a> {
    root: &'a Root,
    socket: UdpSocket,
    port: u16,
    control: Member,
    linking: JoinSet<(LegacyId, io::Result<Wire>)>,
    linked: Vec<(LegacyId, Wire)>,
}

impl Forming<'_> {
    async fn run(&mut self, peers: &[Peer]) {
        let start = Instant::now();
        let all: Vec<Neighbour> = peers.iter().map(|peer| peer.neighbour.clone()).collect();
        let steps = ASK_ALL.map(|after| {
            [
                (start + after - STATE_GAP, Step::Tell),
                (start + after, Step::Ask),
            ]
        });
        let mut steps = steps.into_iter().flatten().peekable();
        let mut buffer = vec![0; DATAGRAM_MAX + 1];
        loop {
            self.settle().await;
            let ends = match all.iter().any(|peer| self.is_open(peer)) {
                true => start + FORM_MAX,
                false => start + FORM_MIN,
            };
            if ends <= Instant::now() {
                return;
            }
            let due = self.control.poll_timeout().map(Instant::from_std);
            let due = due.into_iter().chain(steps.peek().map(|(at, _)| *at));
            let due = due.fold(ends, Instant::min);
            tokio::select! {
                received = self.socket.recv_from(&mut buffer) => {
                    // An error is of an earlier datagram, on some systems.
                    let Ok((len, from)) = received else { continue };
                    let from = SocketAddr::new(from.ip().to_canonical(), from.port());
                    let bytes = buffer.get(..len).unwrap_or_default();
                    if let Ok(control) = Control::decode(bytes) {
                        let nowhere = |_| super::control::Reach::Nothing;
                        self.control.handle_datagram(now(), from, control, &nowhere);
                    }
                }
                Some(linked) = self.linking.join_next() => {
                    if let Ok((peer, wire)) = linked {
                        self.control.handle_linked(now(), &peer, wire.is_ok());
                        match wire {
                            Ok(wire) => self.linked.push((peer, wire)),
                            Err(error) => tracing::info!(%error, "no link to a child of a tree"),
                        }
                    }
                }
                () = sleep_until(due) => {
                    self.control.handle_timeout(now());
                    match steps.next_if(|(at, _)| *at <= Instant::now()) {
                        Some((_, Step::Tell)) => {
                            let open = |peer: &&Peer| self.is_open(&peer.neighbour);
                            let open = peers.iter().filter(open);
                            self.root.tell_states(&self.socket, self.port, peers, open).await;
                        }
                        Some((_, Step::Ask)) => self.control.offer_to_all(now(), &all),
                        None => {}
                    }
                }
            }
        }
    }

    fn is_open(&self, peer: &Neighbour) -> bool {
        self.control.standing(&peer.peer) == Standing::Open
    }

    async fn settle(&mut self) {
        while let Some(event) = self.control.poll_event() {
            match event {
                Event::Send(to, control) => tell(&self.socket, to, &control).await,
                Event::Link(child) => self.link(child),
            }
        }
    }

    fn link(&mut self, child: Neighbour) {
        let bind = self.root.options.bind;
        let Some(own) = bind.or_else(|| source_towards(child.active)) else {
            return;
        };
        let us = StreamLink {
            parent: self.root.options.us,
            session: self.root.session.clone(),
            passive: SocketAddr::new(own, self.port),
        };
        self.linking.spawn(async move {
            let wire = children::link(&child, us, LINK_WAIT).await;
            (child.peer, wire)
        });
    }

    /// Tells everybody where it is; who is nowhere finds that there is no place.
    fn place(mut self, peers: Vec<Peer>) {
        let (ours, rest): (Vec<Peer>, Vec<Peer>) = peers.into_iter().partition(|peer| {
            let is_it = |(id, _): &(LegacyId, Wire)| *id == peer.neighbour.peer;
            self.linked.iter().any(is_it)
        });
        if ours.is_empty() {
            return;
        }
        let fates = Fates::of(ours.len());
        tracing::info!(
            children = ours.len(),
            others = rest.len(),
            "a tree of originals"
        );
        for peer in rest {
            if self.control.standing(&peer.neighbour.peer) == Standing::Elsewhere {
                give(peer.join, Place::Below(fates.clone()));
            }
        }
        for (at, peer) in ours.into_iter().enumerate() {
            let is_it = |(id, _): &(LegacyId, Wire)| *id == peer.neighbour.peer;
            if let Some(found) = self.linked.iter().position(is_it) {
                let (_, wire) = self.linked.swap_remove(found);
                give(peer.join, Place::Ours(wire, fates.fate(at)));
            }
        }
    }
}

fn give(join: Join, place: Place) {
    let files = join.files;
    // It may have been given up meanwhile; then its fate is known.
    let _ = join.placed.send(Placed { files, place });
}

async fn tell(socket: &UdpSocket, to: SocketAddr, control: &Control) {
    let sent = match control.encode() {
        Ok(bytes) => socket.send_to(&bytes, to).await,
        Err(error) => Err(io::Error::other(error)),
    };
    if let Err(error) = sent {
        tracing::debug!(%to, %error, "cannot send to a peer of a tree");
    }
}

fn now() -> std::time::Instant {
    Instant::now().into_std()
}
