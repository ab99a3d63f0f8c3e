//! One receiver of a session: both ends of the transfer to it, and what is seen of them.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use peerconnect::config::{ConflictPolicy, PassOn};
use peerconnect::net::memory::{Faults, MemoryInbound, MemoryOutbound, Scissors, pair_with};
use peerconnect::otm::origin::SessionNews;
use peerconnect::peer::PeerId;
use peerconnect::protocol::message::{FileIndex, Scope, TransferId};
use peerconnect::protocol::sessions::{FeedingKey, SessionNote};
use peerconnect::transfer::control::{News, Order, People, Progress, Reporter};
use peerconnect::transfer::ended::Ended;
use peerconnect::transfer::known::KnownHashes;
use peerconnect::transfer::limiter::Limiter;
use peerconnect::transfer::member::{Membership, Whereabouts};
use peerconnect::transfer::receiver::{Earlier, Incoming, Terms, Who};
use peerconnect::transfer::send_file::Shared;
use peerconnect::transfer::sender::Outgoing;
use peerconnect::transfer::sources::Sources;
use peerconnect::transfer::status::{FileState, Shortcoming};
use peerconnect::transfer::table::SharedTable;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::network::{Manner, Network};

/// How long a link that broke is away.
const DIALS: Duration = Duration::from_secs(2);
/// How long the sender takes to notice that somebody is silent.
const IDLE: Duration = Duration::from_secs(10);
/// How long it waits until it tries again to go on without the sender.
const AGAIN: Duration = Duration::from_secs(60);

/// What all members share.
#[derive(Clone)]
pub struct Common {
    pub dir: PathBuf,
    pub paths: Vec<PathBuf>,
    pub members: u32,
    pub network: Arc<Network>,
    pub news: SessionNews,
    pub known: Arc<KnownHashes>,
    pub limiter: Arc<Limiter>,
    /// How often each tries to go on without the sender.
    pub tries: u32,
    /// How often a link that broke is made anew.
    pub links: u32,
    /// Whom others say to have passed on what they must not.
    pub blamed: Arc<Mutex<Vec<TransferId>>>,
    /// From whom the others get nothing, as the sender's person is told.
    pub short: Arc<Mutex<Vec<(TransferId, Shortcoming)>>>,
}

pub struct Member {
    table: SharedTable,
    /// The same at the sender, which its program keeps until the session is over.
    pub sent: SharedTable,
    alive: watch::Sender<bool>,
    /// Whether it has stopped where it is.
    frozen: watch::Sender<bool>,
    goes_on: Arc<AtomicBool>,
    /// Of the link that there is now.
    scissors: Arc<Mutex<Scissors>>,
    work: JoinHandle<Ended>,
    to_sender: mpsc::Sender<Order>,
    /// For the program itself: dropped when it dies.
    _to_receiver: mpsc::Sender<Order>,
}

pub fn id(n: usize) -> TransferId {
    TransferId([n as u8 + 1; 16])
}

pub fn inbox(dir: &Path, n: usize) -> PathBuf {
    dir.join(format!("in-{n}"))
}

impl Member {
    /// It begins, or goes on from what it has on its disk.
    pub fn start(common: &Common, n: usize, manner: Manner) -> Self {
        let id = id(n);
        let (alive, is_alive) = watch::channel(true);
        let frozen = watch::Sender::new(false);
        let goes_on = Arc::new(AtomicBool::new(false));
        let (sent_news, seen) = mpsc::channel(64);
        tokio::spawn(follow(seen, common.clone(), goes_on.clone()));
        let (outgoing, sent) = outgoing(common, id, Reporter::new(id, sent_news));
        let (got_news, seen) = mpsc::channel(64);
        let network = common.network.clone();
        tokio::spawn(stand(seen, network, id, manner, is_alive));
        let table = SharedTable::default();
        let reporter = Reporter::new(id, got_news);
        let incoming = incoming(common, n, table.clone(), reporter);
        let pair = link(&sent, id);
        let scissors = Arc::new(Mutex::new(pair.0.scissors()));
        let (to_sender, sender_orders) = mpsc::channel(1);
        let (to_receiver, receiver_orders) = mpsc::channel(1);
        let life = Life {
            id,
            outgoing,
            sent: sent.clone(),
            incoming,
            sender_orders,
            receiver_orders,
            cut: scissors.clone(),
            died: alive.subscribe(),
            freezes: frozen.subscribe(),
            links: common.links,
        };
        let work = tokio::spawn(life.live(pair, common.tries));
        Self {
            table,
            sent,
            alive,
            frozen,
            goes_on,
            scissors,
            work,
            to_sender,
            _to_receiver: to_receiver,
        }
    }

    /// The computer is gone.
    pub fn die(&self) {
        self.alive.send_replace(false);
        self.cut();
    }

    /// The computer stops where it is, and nobody is told.
    pub fn freeze(&self, network: &Network, id: TransferId) {
        network.turn(id, Manner::Dead);
        self.frozen.send_replace(true);
        let (alive, scissors) = (self.alive.clone(), self.scissors.clone());
        tokio::spawn(async move {
            sleep(IDLE).await;
            alive.send_replace(false);
            scissors.lock().unwrap().cut();
        });
    }

    fn file(&self, name: &str) -> FileIndex {
        let table = self.table.lock();
        let mut files = 0..table.len();
        files.find(|file| table.path(*file) == name).unwrap()
    }

    /// The sender's person pauses a file.
    pub async fn pause_there(&self, name: &str) {
        let scope = Scope::File(self.file(name));
        self.to_sender.send(Order::Pause(scope)).await.unwrap();
    }

    /// The same person has it go on.
    pub async fn resume_there(&self, name: &str) {
        let scope = Scope::File(self.file(name));
        self.to_sender.send(Order::Resume(scope)).await.unwrap();
    }

    pub fn is_paused(&self, name: &str) -> bool {
        let file = self.file(name);
        self.table.lock().state(file) == Some(FileState::Paused)
    }

    /// The link to the sender is gone.
    pub fn cut(&self) {
        self.scissors.lock().unwrap().cut();
    }

    pub fn goes_on(&self) -> bool {
        self.goes_on.load(Ordering::Relaxed)
    }

    pub fn is_over(&self) -> bool {
        self.work.is_finished()
    }

    /// Whether it has so many percent.
    pub fn has(&self, percent: u64) -> bool {
        let totals = self.table.lock().totals();
        totals.bytes > 0 && totals.bytes_done * 100 >= totals.bytes * percent
    }

    pub async fn ended(self) -> Ended {
        let ended = tokio::time::timeout(Duration::from_secs(3600), self.work).await;
        ended.expect("it hangs").unwrap()
    }
}

/// A link to this receiver.
fn link(sent: &SharedTable, id: TransferId) -> (MemoryOutbound, MemoryInbound) {
    let (out, inbound) = pair_with(sent.lock().head(id), Faults::default());
    (out.with_parts(), inbound.with_parts())
}

/// Both ends of a transfer, at work.
struct Life {
    id: TransferId,
    outgoing: Outgoing,
    sent: SharedTable,
    incoming: Incoming,
    sender_orders: mpsc::Receiver<Order>,
    receiver_orders: mpsc::Receiver<Order>,
    /// Of the link that there is now.
    cut: Arc<Mutex<Scissors>>,
    died: watch::Receiver<bool>,
    freezes: watch::Receiver<bool>,
    /// How often a link that broke is made anew.
    links: u32,
}

impl Life {
    async fn live(mut self, pair: (MemoryOutbound, MemoryInbound), mut tries: u32) -> Ended {
        let mut ended = self.with_the_sender(pair).await;
        // The sender never comes back; who is dead does nothing more.
        let (_stays, back) = watch::channel(false);
        while let Ended::Lost(_) = ended
            && tries > 0
            && *self.died.borrow()
            && let Some(executor) = self.incoming.executor(back.clone())
        {
            tries -= 1;
            ended = tokio::select! {
                ended = self.incoming.run(executor, &mut self.receiver_orders) => ended,
                _ = self.died.wait_for(|alive| !*alive) => Ended::Lost("dead".into()),
            };
            if let Ended::Lost(_) = ended {
                let _ = timeout(AGAIN, self.died.wait_for(|alive| !*alive)).await;
            }
        }
        if ended == Ended::Completed {
            self.incoming.close(true).await;
        }
        ended
    }

    async fn with_the_sender(&mut self, pair: (MemoryOutbound, MemoryInbound)) -> Ended {
        let mut pair = pair;
        loop {
            let ended = self.over(pair).await;
            if !matches!(ended, Ended::Lost(_)) || self.links == 0 {
                return ended;
            }
            self.links -= 1;
            sleep(DIALS).await;
            pair = link(&self.sent, self.id);
            *self.cut.lock().unwrap() = pair.0.scissors();
        }
    }

    /// Works over one link.
    async fn over(&mut self, (out, inbound): (MemoryOutbound, MemoryInbound)) -> Ended {
        let sending = self.outgoing.run(out, &mut self.sender_orders);
        let receiving = async {
            let run = self.incoming.run(inbound, &mut self.receiver_orders);
            let mut run = std::pin::pin!(run);
            let stops = async { self.freezes.wait_for(|frozen| *frozen).await.is_ok() };
            tokio::select! {
                ended = &mut run => return ended,
                _ = stops => {}
            }
            // Its end of the link is there, and nothing is done with it.
            let _ = self.died.wait_for(|alive| !*alive).await;
            Ended::Lost("dead".into())
        };
        tokio::join!(sending, receiving).1
    }
}

pub fn peer(id: TransferId) -> PeerId {
    PeerId::from_bytes([id.0[0]; 32])
}

fn outgoing(common: &Common, id: TransferId, reporter: Reporter) -> (Outgoing, SharedTable) {
    let table = SharedTable::default();
    let shared = Shared {
        transfer: id,
        table: table.clone(),
        progress: Arc::new(Progress::default()),
        limiter: common.limiter.clone(),
        pauses: watch::Sender::default().subscribe(),
        disk: Arc::default(),
        known: Some(common.known.clone()),
        fed: None,
    };
    let sources = Sources::default();
    sources.add(&common.paths, &table);
    let note = SessionNote {
        receivers: common.members,
        key: FeedingKey([id.0[0]; 32]),
    };
    let member = Membership::new(note, common.news.clone());
    let mut outgoing = Outgoing::new(shared, sources, reporter).in_session(member);
    outgoing.set_whereabouts(Whereabouts {
        peer: peer(id),
        name: format!("{}", id.0[0]),
        addrs: Vec::new(),
    });
    (outgoing, table)
}

fn incoming(common: &Common, n: usize, table: SharedTable, reporter: Reporter) -> Incoming {
    let id = id(n);
    let terms = Terms {
        budget: Default::default(),
        pass_on: PassOn::Always,
        journals: common.dir.join(format!("journals-{n}")),
        folder: inbox(&common.dir, n),
        on_conflict: ConflictPolicy::Rename,
        people: People::default(),
        accepted: true,
        blocked: false,
        answer_timeout: Duration::from_secs(60),
    };
    let who = Who {
        id,
        peer: PeerId::of_public_key(b"sender").into(),
        peer_name: "sender".into(),
        started: 0,
    };
    let journals = terms.journals.clone();
    let progress = Arc::new(Progress::default());
    let mut incoming = Incoming::new(who, terms, table, progress, reporter);
    if let Some(earlier) = Earlier::open(&journals, id).unwrap() {
        incoming.continue_from(earlier).unwrap();
    }
    incoming
}

/// What the sending end tells.
async fn follow(
    mut news: mpsc::Receiver<(TransferId, News)>,
    common: Common,
    goes_on: Arc<AtomicBool>,
) {
    while let Some((about, news)) = news.recv().await {
        match news {
            News::Blamed(_) => common.blamed.lock().unwrap().push(about),
            News::Shortcoming(Some(short)) => {
                common.short.lock().unwrap().push((about, short));
            }
            News::GoesOn(now) => goes_on.store(now, Ordering::Relaxed),
            _ => {}
        }
    }
}

/// What the receiving end tells: from then on others may have of it.
async fn stand(
    mut news: mpsc::Receiver<(TransferId, News)>,
    network: Arc<Network>,
    id: TransferId,
    manner: Manner,
    alive: watch::Receiver<bool>,
) {
    while let Some((_, news)) = news.recv().await {
        if let News::LiedTo(peer) = news {
            network.lied.lock().unwrap().push(peer);
            continue;
        }
        let News::PassesOn {
            key,
            shelf,
            feeding,
        } = news
        else {
            continue;
        };
        if let Some(shelf) = shelf {
            network.put(id, key, shelf, manner, alive.clone());
        }
        if let Some(feeding) = feeding {
            tokio::spawn(network.clone().carry(id, peer(id), feeding));
        }
    }
}
