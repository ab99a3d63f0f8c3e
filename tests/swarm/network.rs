//! What lies between the receivers: gets from one what another one asks for, as it is told.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use peerconnect::peer::PeerId;
use peerconnect::protocol::message::{FileIndex, Stamp, TransferId};
use peerconnect::protocol::sessions::{Feeder, FeedingKey, Ticket, Trouble};
use peerconnect::transfer::feed::{Ask, Feeding, Given};
use peerconnect::transfer::shelf::{Look, Shelf};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::member::peer;

/// How long a call to nobody takes.
const CALL: Duration = Duration::from_secs(4);
/// How long nothing comes until the sender is told.
const SILENCE: Duration = Duration::from_secs(5);
/// The same if nothing at all is heard.
const DEAD_AFTER: Duration = Duration::from_secs(3);
/// The same if another feeder is named then, or all was denied.
const SILENT_BEFORE: Duration = Duration::from_secs(2);
/// So much must be denied before the sender is told.
const DENIED_MIN: u32 = 4;
/// How long a group takes with 1 Mbit/s.
const ON_A_SLOW_LINE: Duration = Duration::from_millis(8400);
/// How long the same feeder is left alone after trouble with it.
const AGAIN: Duration = Duration::from_secs(1);

/// What a receiver does with what it passes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    Honest,
    /// One byte of it is another one.
    Flips,
    /// Every second request is not answered.
    Drops,
    /// Answers come in any order.
    Reorders,
    /// Each takes seconds.
    Delays,
    /// It gives again what it gave before.
    Repeats,
    /// It is there, and gives nothing.
    Withholds,
    /// It says that it has nothing.
    Denies,
    /// It does what it can, with 1 Mbit/s for all together.
    Slow,
    /// Its computer has stopped without a word.
    Dead,
}

/// A group that a receiver wants.
#[derive(Debug, Clone, Copy)]
struct Wanted {
    index: FileIndex,
    stamp: Stamp,
    group: u32,
}

impl Wanted {
    fn withheld(self, denied: bool) -> Trouble {
        Trouble::Withheld {
            index: self.index,
            group: self.group,
            denied,
        }
    }
}

/// A receiver, to those who want something of it.
#[derive(Clone)]
struct Stand {
    key: FeedingKey,
    shelf: Arc<Shelf>,
    manner: Manner,
    alive: watch::Receiver<bool>,
    /// How often it gave what it must not.
    lies: Arc<AtomicU32>,
    asked: Arc<AtomicU32>,
    /// Where there is little room, one group goes after the other.
    line: Arc<tokio::sync::Mutex<()>>,
}

/// All receivers, and how long it takes from one to another.
pub struct Network {
    stands: Mutex<HashMap<TransferId, Stand>>,
    /// Who feeds whom.
    feeders: Mutex<HashMap<TransferId, watch::Receiver<Option<Feeder>>>>,
    random: AtomicU64,
    /// Most milliseconds that a group takes.
    pub delay: AtomicU64,
    /// Who reaches nobody and is reached by nobody.
    pub away: Mutex<HashSet<TransferId>>,
    /// Who passed on what it must not, as those were told to whom it did that.
    pub lied: Mutex<Vec<PeerId>>,
    /// Until this is set all are honest.
    pub harm: AtomicBool,
}

/// What came of a request.
enum Got {
    Content(Bytes),
    Gone,
    Trouble(Trouble),
}

/// A receiver's end of it.
#[derive(Clone)]
struct End {
    network: Arc<Network>,
    me: PeerId,
    feeder: watch::Receiver<Option<Feeder>>,
    troubles: mpsc::Sender<(TransferId, Trouble)>,
    /// About whom the sender was told last that nothing comes, and when.
    told: Arc<Mutex<Option<(TransferId, Instant)>>>,
    /// How much its feeder has not got, as that says.
    denied: Arc<Mutex<u32>>,
    /// When something came last.
    got: Arc<Mutex<Option<Instant>>>,
}

impl Network {
    pub fn new(seed: u64) -> Arc<Self> {
        Arc::new(Self {
            stands: Mutex::default(),
            feeders: Mutex::default(),
            random: AtomicU64::new(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1),
            delay: AtomicU64::new(20),
            away: Mutex::default(),
            lied: Mutex::default(),
            harm: AtomicBool::new(true),
        })
    }

    /// A number below `most`.
    pub fn random(&self, most: u64) -> u64 {
        let mut x = self.random.load(Ordering::Relaxed);
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        self.random.store(x, Ordering::Relaxed);
        x % most
    }

    pub fn put(
        &self,
        id: TransferId,
        key: FeedingKey,
        shelf: Arc<Shelf>,
        manner: Manner,
        alive: watch::Receiver<bool>,
    ) {
        let stand = Stand {
            key,
            shelf,
            manner,
            alive,
            lies: Arc::default(),
            asked: Arc::default(),
            line: Arc::default(),
        };
        self.stands.lock().unwrap().insert(id, stand);
    }

    /// From now on it is like this.
    pub fn turn(&self, id: TransferId, manner: Manner) {
        let mut stands = self.stands.lock().unwrap();
        stands.get_mut(&id).expect("it stands there").manner = manner;
    }

    fn is(&self, id: TransferId, manner: Manner) -> bool {
        let stands = self.stands.lock().unwrap();
        stands.get(&id).is_some_and(|stand| stand.manner == manner)
    }

    /// Who feeds it, as it was told last. `None`: nobody yet.
    pub fn feeder_of(&self, id: TransferId) -> Option<Feeder> {
        let feeders = self.feeders.lock().unwrap();
        feeders.get(&id)?.borrow().clone()
    }

    pub fn lies_of(&self, id: TransferId) -> u32 {
        let stands = self.stands.lock().unwrap();
        let stand = stands.get(&id);
        stand.map_or(0, |stand| stand.lies.load(Ordering::Relaxed))
    }

    /// How often it was asked for something.
    pub fn asked_of(&self, id: TransferId) -> u32 {
        let stands = self.stands.lock().unwrap();
        let stand = stands.get(&id);
        stand.map_or(0, |stand| stand.asked.load(Ordering::Relaxed))
    }

    /// Gets what one receiver asks for, until that ends.
    pub async fn carry(self: Arc<Self>, id: TransferId, me: PeerId, feeding: Feeding) {
        let Feeding {
            mut asks,
            feeder,
            troubles,
        } = feeding;
        self.feeders.lock().unwrap().insert(id, feeder.clone());
        let end = End {
            network: self,
            me,
            feeder,
            troubles,
            told: Arc::default(),
            denied: Arc::default(),
            got: Arc::default(),
        };
        let mut open = JoinSet::new();
        loop {
            tokio::select! {
                ask = asks.recv() => match ask {
                    Some(Ask::Group { index, stamp, group, give }) => {
                        let wanted = Wanted { index, stamp, group };
                        open.spawn(end.clone().get(wanted, give));
                    }
                    Some(Ask::Lied(from)) => {
                        let _ = end.troubles.try_send((from, Trouble::Lied));
                    }
                    None => return,
                },
                Some(_) = open.join_next() => {}
            }
        }
    }

    /// The one who is called, if it is there for this caller.
    fn reached(&self, from: TransferId, by: PeerId) -> Option<Stand> {
        let stand = self.stands.lock().unwrap().get(&from).cloned();
        let away = self.away.lock().unwrap();
        let is_away = away.contains(&from) || away.iter().any(|id| peer(*id) == by);
        stand.filter(|stand| *stand.alive.borrow() && !is_away)
    }

    /// What comes of a request at one that gives nothing, or only slowly.
    async fn misbehave(
        &self,
        end: &End,
        from: TransferId,
        stand: &Stand,
        wanted: Wanted,
    ) -> Option<Got> {
        match stand.manner {
            Manner::Denies => return Some(Got::Gone),
            Manner::Dead => {
                sleep(DEAD_AFTER).await;
                return Some(Got::Trouble(Trouble::Gone));
            }
            Manner::Withholds => loop {
                sleep(SILENCE).await;
                end.complain(from, wanted.withheld(false));
            },
            Manner::Slow => {
                let turn = async {
                    let _turn = stand.line.lock().await;
                    sleep(ON_A_SLOW_LINE).await;
                };
                tokio::pin!(turn);
                // Some of it comes all the time.
                while timeout(SILENCE, &mut turn).await.is_err() {
                    end.complain(from, Trouble::Slow);
                }
            }
            _ => {}
        }
        None
    }

    async fn fetch(&self, end: &End, from: TransferId, ticket: Ticket, wanted: Wanted) -> Got {
        let Some(mut stand) = self.reached(from, end.me) else {
            sleep(CALL).await;
            return Got::Trouble(Trouble::Gone);
        };
        assert!(
            ticket.is_for(&stand.key, end.me),
            "a ticket of somebody else"
        );
        if !self.harm.load(Ordering::Relaxed) {
            stand.manner = Manner::Honest;
        }
        let number = stand.asked.fetch_add(1, Ordering::Relaxed);
        if stand.manner == Manner::Drops && number % 2 == 1 {
            sleep(SILENCE).await;
            return Got::Trouble(Trouble::Gone);
        }
        if let Some(got) = self.misbehave(end, from, &stand, wanted).await {
            return got;
        }
        let most = match stand.manner {
            Manner::Reorders => 2000,
            Manner::Delays => 8000,
            _ => self.delay.load(Ordering::Relaxed).max(1),
        };
        sleep(Duration::from_millis(self.random(most))).await;
        let group = match stand.manner {
            Manner::Repeats => 0,
            _ => wanted.group,
        };
        let mut alive = stand.alive.clone();
        let content = tokio::select! {
            content = stand.read(wanted, group) => content,
            Ok(_) = alive.wait_for(|alive| !*alive) => return Got::Trouble(Trouble::Gone),
        };
        if self.is(from, Manner::Dead) {
            sleep(DEAD_AFTER).await;
            return Got::Trouble(Trouble::Gone);
        }
        match content {
            Got::Content(content) if stand.manner == Manner::Flips => {
                let mut content = content.to_vec();
                let at = self.random(content.len() as u64) as usize;
                content[at] ^= 1;
                stand.lies.fetch_add(1, Ordering::Relaxed);
                Got::Content(content.into())
            }
            Got::Content(content) => {
                let lies = u32::from(wanted.group != group);
                stand.lies.fetch_add(lies, Ordering::Relaxed);
                Got::Content(content)
            }
            other => other,
        }
    }
}

impl Stand {
    /// Waits until it has the group.
    async fn read(&mut self, wanted: Wanted, group: u32) -> Got {
        let mut changes = self.shelf.changes();
        loop {
            changes.mark_unchanged();
            match self.shelf.look(wanted.stamp, group) {
                Look::Here(found) => {
                    let read = tokio::task::spawn_blocking(move || found.read()).await;
                    return match read.unwrap().unwrap() {
                        Some(content) => Got::Content(content),
                        None => Got::Gone,
                    };
                }
                Look::Gone => return Got::Gone,
                Look::Later => {
                    if timeout(SILENCE, changes.changed()).await.is_err() {
                        // Whoever waits cannot know why.
                        return Got::Trouble(wanted.withheld(false));
                    }
                }
            }
        }
    }
}

impl End {
    async fn get(mut self, wanted: Wanted, mut give: oneshot::Sender<Given>) {
        loop {
            let feeder = self.feeder.borrow_and_update().clone();
            let got = match feeder {
                None => match self.feeder.changed().await {
                    Ok(()) => continue,
                    Err(_) => return,
                },
                Some(Feeder::Origin) => return,
                Some(Feeder::Member { member, ticket, .. }) => {
                    let asked = Instant::now();
                    let (network, end) = (self.network.clone(), self.clone());
                    tokio::select! {
                        got = network.fetch(&end, member, ticket, wanted) => (member, got),
                        changed = self.feeder.changed() => match changed {
                            Ok(()) => {
                                self.leave(member, asked, wanted);
                                continue;
                            }
                            Err(_) => return,
                        },
                        () = give.closed() => return,
                    }
                }
            };
            match got {
                (from, Got::Content(content)) => {
                    *self.got.lock().unwrap() = Some(Instant::now());
                    let _ = give.send(Given { content, from });
                    return;
                }
                (from, Got::Gone) => return self.deny(from, wanted),
                (from, Got::Trouble(trouble)) => {
                    self.complain(from, trouble);
                    let _ = timeout(AGAIN, self.feeder.changed()).await;
                }
            }
        }
    }

    /// Its feeder says that it has not got something. If it says nothing else, the sender is told.
    fn deny(mut self, from: TransferId, wanted: Wanted) {
        let mut denied = self.denied.lock().unwrap();
        *denied += 1;
        if *denied > 1 {
            return;
        }
        drop(denied);
        tokio::spawn(async move {
            // What was asked for before may still come.
            let quiet = |end: &Self| {
                let got = *end.got.lock().unwrap();
                got.is_none_or(|got| got.elapsed() >= SILENT_BEFORE)
            };
            while timeout(SILENT_BEFORE, self.feeder.changed()).await.is_err() && !quiet(&self) {}
            let number = std::mem::take(&mut *self.denied.lock().unwrap());
            if number >= DENIED_MIN {
                self.complain(from, wanted.withheld(true));
            }
        });
    }

    /// Another feeder is named. If this one has given nothing for a while, the sender learns why.
    fn leave(&self, from: TransferId, asked: Instant, wanted: Wanted) {
        let silent = self.network.is(from, Manner::Withholds);
        if silent && asked.elapsed() >= SILENT_BEFORE {
            self.complain(from, wanted.withheld(false));
        }
    }

    /// Tells the sender, but not of each group.
    fn complain(&self, from: TransferId, trouble: Trouble) {
        let mut told = self.told.lock().unwrap();
        if told.is_none_or(|(who, at)| who != from || at.elapsed() >= CALL) {
            *told = Some((from, Instant::now()));
            let _ = self.troubles.try_send((from, trouble));
        }
    }
}
