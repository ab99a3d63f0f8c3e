//! A transfer between two sides without nodes: `Outgoing` and `Incoming` over links of a kind.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use peerconnect::config::{ConflictAnswer, ConflictPolicy};
use peerconnect::fault::Fault;
use peerconnect::peer::PeerId;
use peerconnect::protocol::message::{FileIndex, Outcome, Room, Scope, TransferId};
use peerconnect::transfer::control::{News, ORDERS_MAX, Order, People, Progress, Reporter};
use peerconnect::transfer::ended::Ended;
use peerconnect::transfer::feed::Feeding;
use peerconnect::transfer::known::KnownHashes;
use peerconnect::transfer::limiter::Limiter;
use peerconnect::transfer::receiver::{Earlier, Incoming, Terms, Who};
use peerconnect::transfer::send_file::Shared;
use peerconnect::transfer::sender::Outgoing;
use peerconnect::transfer::sources::Sources;
use peerconnect::transfer::state::TransferEvent;
use peerconnect::transfer::status::{FileState, PausedBy};
use peerconnect::transfer::table::SharedTable;
use tokio::sync::{mpsc, watch};

use crate::pair::Pair;

/// No wait takes longer; far more than anything needs.
const DEADLINE: Duration = Duration::from_secs(300);

/// What is seen of one side while it works, and the way to give it orders.
#[derive(Clone)]
pub struct Side {
    pub table: SharedTable,
    pub progress: Arc<Progress>,
    pub orders: mpsc::Sender<Order>,
    pub seen: Arc<Mutex<Seen>>,
}

/// What a side has told.
#[derive(Debug, Default)]
pub struct Seen {
    pub events: Vec<TransferEvent>,
    pub faults: Vec<Fault>,
    pub paused: Option<PausedBy>,
    pub asked: u32,
    /// What accepting is impossible for, as the person was told last.
    pub obstacle: Option<Fault>,
    /// What the sender was told about the receiver's room.
    pub rooms: Vec<Room>,
    /// Who is asked for what the sender of a session refers elsewhere.
    pub feeding: Option<Feeding>,
}

impl Side {
    fn new(id: TransferId) -> (Self, mpsc::Receiver<Order>, Reporter) {
        let (orders, orders_in) = mpsc::channel(ORDERS_MAX);
        let (news, mut news_in) = mpsc::channel(64);
        let side = Self {
            table: SharedTable::default(),
            progress: Progress::shared(),
            orders,
            seen: Arc::default(),
        };
        let seen = side.seen.clone();
        tokio::spawn(async move {
            while let Some((_, news)) = news_in.recv().await {
                let mut seen = seen.lock().unwrap();
                match news {
                    News::Event(event) => seen.events.push(event),
                    News::Fault(fault) => seen.faults.extend(fault),
                    News::PausedBy(by) => seen.paused = by,
                    News::Ask(asking) => {
                        seen.asked += 1;
                        seen.obstacle = asking.obstacle;
                    }
                    News::PeerRoom(room) => seen.rooms.push(room),
                    News::PausedFile { .. } => {}
                    News::Path(_) | News::Manifest | News::Answered { .. } => {}
                    News::PassesOn { feeding, .. } => seen.feeding = feeding,
                    News::Session { .. } => {}
                    News::Through(_) | News::Blamed(_) | News::GoesOn(_) => {}
                    News::Behind(_) | News::Shortcoming(_) | News::LiedTo(_) => {}
                }
            }
        });
        (side, orders_in, Reporter::new(id, news))
    }

    pub async fn order(&self, order: Order) {
        self.orders.send(order).await.unwrap();
    }

    /// Waits until it is so.
    pub async fn until(&self, what: &str, mut so: impl FnMut(&Self) -> bool) {
        let reached = async {
            while !so(self) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        if tokio::time::timeout(DEADLINE, reached).await.is_err() {
            panic!("{what}: waited in vain: {:?}", self.seen.lock().unwrap());
        }
    }

    pub async fn until_moved(&self, bytes: u64) {
        self.until("bytes", |side| side.moved() >= bytes).await;
    }

    pub async fn until_paused(&self, by: PausedBy) {
        let so = |side: &Self| side.seen.lock().unwrap().paused == Some(by);
        self.until("a pause", so).await;
    }

    pub fn moved(&self) -> u64 {
        self.progress.read().moved
    }

    pub fn done(&self) -> u64 {
        self.table.lock().totals().bytes_done
    }

    pub fn outcome(&self, index: FileIndex) -> Option<Outcome> {
        match self.table.lock().state(index) {
            Some(FileState::Settled(outcome)) => Some(outcome),
            _ => None,
        }
    }

    /// Waits until so many files wait for the person.
    pub async fn until_asked(&self, count: u32) {
        let so = |side: &Self| side.table.lock().conflicts().0 == count;
        self.until("questions about names", so).await;
    }

    /// Waits until these are settled.
    pub async fn until_settled(&self, paths: &[&str]) {
        let settled = |side: &Self| {
            // Nothing is known of them before the manifest has come.
            let settled = |path: &&str| {
                let index = side.find(path);
                index.is_some_and(|index| side.outcome(index).is_some())
            };
            paths.iter().all(settled)
        };
        self.until("the others", settled).await;
    }

    /// What becomes of one file whose name is taken.
    pub async fn answer(&self, path: &str, answer: ConflictAnswer) {
        let scope = Scope::File(self.index(path));
        self.order(Order::Conflict(scope, answer)).await;
    }

    pub fn outcomes(&self) -> Vec<Option<Outcome>> {
        let len = self.table.lock().len();
        (0..len).map(|index| self.outcome(index)).collect()
    }

    pub fn index(&self, path: &str) -> FileIndex {
        self.find(path).unwrap()
    }

    fn find(&self, path: &str) -> Option<FileIndex> {
        let table = self.table.lock();
        let mut all = 0..table.len();
        all.find(|&index| table.path(index) == path)
    }

    pub fn event_count(&self, event: TransferEvent) -> usize {
        let seen = self.seen.lock().unwrap();
        seen.events.iter().filter(|e| **e == event).count()
    }
}

/// Two sides, their folders, and the transfer between them.
pub struct World<P> {
    pub pair: P,
    pub dir: tempfile::TempDir,
    pub limiter: Arc<Limiter>,
    pub sending: Side,
    pub receiving: Side,
    pub outgoing: Outgoing,
    pub incoming: Incoming,
    pub terms: Terms,
    sources: Sources,
    /// What is known of the files from other receivers.
    known: Option<Arc<KnownHashes>>,
    paths: Vec<PathBuf>,
    sender_orders: mpsc::Receiver<Order>,
    receiver_orders: mpsc::Receiver<Order>,
}

const ID: TransferId = TransferId([7; 16]);

impl<P: Pair> World<P> {
    pub async fn new() -> Self {
        Self::with(P::new().await, |_| {})
    }

    pub async fn with_policy(policy: ConflictPolicy) -> Self {
        Self::with(P::new().await, |terms| terms.on_conflict = policy)
    }

    pub async fn with_terms(change: impl FnOnce(&mut Terms)) -> Self {
        Self::with(P::new().await, change)
    }

    pub fn with(pair: P, change: impl FnOnce(&mut Terms)) -> Self {
        Self::below(tempfile::tempdir().unwrap(), pair, change)
    }

    pub fn below(dir: tempfile::TempDir, pair: P, change: impl FnOnce(&mut Terms)) -> Self {
        std::fs::create_dir(dir.path().join("out")).unwrap();
        let mut terms = Terms {
            budget: Default::default(),
            pass_on: Default::default(),
            journals: dir.path().join("journals"),
            folder: dir.path().join("in"),
            on_conflict: ConflictPolicy::Rename,
            people: People::default(),
            accepted: true,
            blocked: false,
            answer_timeout: Duration::from_secs(60),
        };
        change(&mut terms);
        let limiter = Arc::new(Limiter::new(None));
        let (sending, outgoing, sources, sender_orders) = sender(&limiter, None);
        let (receiving, incoming, receiver_orders) = receiver(&terms);
        Self {
            pair,
            dir,
            limiter,
            sending,
            receiving,
            outgoing,
            incoming,
            terms,
            sources,
            known: None,
            paths: Vec::new(),
            sender_orders,
            receiver_orders,
        }
    }

    /// The folder of what is sent.
    pub fn out(&self) -> PathBuf {
        self.dir.path().join("out")
    }

    /// The folder of what is received.
    pub fn inbox(&self) -> PathBuf {
        self.terms.folder.clone()
    }

    /// Writes a file to send.
    pub fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.out().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        path
    }

    /// What the receiver has under this name.
    pub fn got(&self, name: &str) -> Vec<u8> {
        let path = self.inbox().join(name);
        std::fs::read(&path).unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    /// Lists what is to be sent.
    pub fn offer(&mut self, paths: &[&Path]) {
        self.paths.extend(paths.iter().map(|p| p.to_path_buf()));
        let listed = self.sources.add(&self.paths, &self.sending.table);
        assert!(listed.failed.is_empty() && !listed.full, "{listed:?}");
    }

    /// Works over one new link.
    pub async fn run(&mut self) -> (Ended, Ended) {
        self.run_while(|_, _, _| async {}).await
    }

    /// Works over one new link, while `script` plays; it gets what breaks the link, too.
    pub async fn run_while<F: Future<Output = ()>>(
        &mut self,
        script: impl FnOnce(Side, Side, Box<dyn Fn()>) -> F,
    ) -> (Ended, Ended) {
        let head = self.sending.table.lock().head(ID);
        let (out, inbound) = self.pair.link(head).await;
        let scissors = self.pair.scissors();
        let script = script(self.sending.clone(), self.receiving.clone(), scissors);
        let work = async {
            tokio::join!(
                self.outgoing.run(out, &mut self.sender_orders),
                self.incoming.run(inbound, &mut self.receiver_orders),
                script,
            )
        };
        let Ok((sent, received, ())) = tokio::time::timeout(DEADLINE, work).await else {
            panic!(
                "it hangs: {:?} {:?}\nsender {:?}\nreceiver {:?}",
                self.sending.outcomes(),
                self.receiving.outcomes(),
                self.sending.seen,
                self.receiving.seen
            );
        };
        (sent, received)
    }

    /// Works over one new link against a receiver that does what the test says.
    pub async fn run_against<F: Future<Output = ()>>(
        &mut self,
        receiver: impl FnOnce(P::In) -> F,
    ) -> Ended {
        let head = self.sending.table.lock().head(ID);
        let (out, inbound) = self.pair.link(head).await;
        let outgoing = self.outgoing.run(out, &mut self.sender_orders);
        let work = async { tokio::join!(outgoing, receiver(inbound)) };
        let (sent, ()) = tokio::time::timeout(DEADLINE, work)
            .await
            .expect("it hangs");
        sent
    }

    /// Works over one new link to the end.
    pub async fn complete(&mut self) {
        let ends = self.run().await;
        self.completed(ends).await;
    }

    /// Checks that both sides completed, and closes the books like a node does.
    pub async fn completed(&mut self, ends: (Ended, Ended)) {
        assert_eq!(ends, (Ended::Completed, Ended::Completed));
        self.incoming.close(true).await;
        assert_eq!(self.sending.outcomes(), self.receiving.outcomes());
        assert!(!self.terms.journals.join(format!("{ID}.journal")).exists());
        assert_eq!(self.parts(), 0, "a partial file is left");
    }

    /// The program that sends gets no more orders: it ends.
    pub fn end_sender(&mut self) {
        self.sender_orders.close();
    }

    /// Both sides lost the link.
    pub fn lost(&self, ends: &(Ended, Ended)) {
        let lost = |end: &Ended| matches!(end, Ended::Lost(_));
        assert!(lost(&ends.0) && lost(&ends.1), "{ends:?}");
    }

    /// Sends everything under `out` that is at its top level, to the end.
    pub async fn send_all(&mut self) {
        let mut tops: Vec<PathBuf> = std::fs::read_dir(self.out())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        tops.sort();
        let tops: Vec<&Path> = tops.iter().map(PathBuf::as_path).collect();
        self.offer(&tops);
        self.complete().await;
    }

    /// How many partial files there are.
    pub fn parts(&self) -> usize {
        let tree = crate::common::tree(&self.inbox());
        tree.keys().filter(|name| name.contains(".pcpart")).count()
    }

    /// What others that get the same files have taught the sender.
    pub fn know(&mut self, known: Arc<KnownHashes>) {
        self.known = Some(known);
        self.restart_sender();
    }

    /// The sender's program starts anew: it lists the same paths, and knows nothing else.
    pub fn restart_sender(&mut self) {
        let known = self.known.clone();
        let (side, outgoing, sources, orders) = sender(&self.limiter, known);
        (self.sending, self.outgoing, self.sender_orders) = (side, outgoing, orders);
        self.sources = sources;
        self.offer(&[]);
    }

    /// The receiver's program starts anew: it has the disk, and nothing else.
    pub fn restart_receiver(&mut self) {
        let (side, incoming, orders) = receiver(&self.terms);
        (self.receiving, self.incoming, self.receiver_orders) = (side, incoming, orders);
        if let Some(earlier) = Earlier::open(&self.terms.journals, ID).unwrap() {
            self.incoming.continue_from(earlier).unwrap();
        }
    }

    /// A new transfer between the same folders, from nothing.
    pub fn another(&mut self) {
        self.paths.clear();
        self.restart_sender();
        self.restart_receiver();
    }
}

fn sender(
    limiter: &Arc<Limiter>,
    known: Option<Arc<KnownHashes>>,
) -> (Side, Outgoing, Sources, mpsc::Receiver<Order>) {
    let (side, orders, reporter) = Side::new(ID);
    let shared = Shared {
        transfer: ID,
        table: side.table.clone(),
        progress: side.progress.clone(),
        limiter: limiter.clone(),
        pauses: watch::Sender::default().subscribe(),
        disk: Arc::default(),
        known,
        fed: None,
    };
    let sources = Sources::default();
    let outgoing = Outgoing::new(shared, sources.clone(), reporter);
    (side, outgoing, sources, orders)
}

fn receiver(terms: &Terms) -> (Side, Incoming, mpsc::Receiver<Order>) {
    let (side, orders, reporter) = Side::new(ID);
    let who = Who {
        id: ID,
        peer: PeerId::of_public_key(b"sender").into(),
        peer_name: "sender".into(),
        started: 0,
    };
    let (table, progress) = (side.table.clone(), side.progress.clone());
    let incoming = Incoming::new(who, terms.clone(), table, progress, reporter);
    (side, incoming, orders)
}
