//! What lies between the receivers: gets from one what another one asks for, as it is told.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use peerconnect::peer::PeerId;
use peerconnect::protocol::message::{Stamp, TransferId};
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
}

/// All receivers, and how long it takes from one to another.
pub struct Network {
    stands: Mutex<HashMap<TransferId, Stand>>,
    random: AtomicU64,
    /// Most milliseconds that a group takes.
    pub delay: AtomicU64,
    /// Who reaches nobody and is reached by nobody.
    pub away: Mutex<HashSet<TransferId>>,
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
}

impl Network {
    pub fn new(seed: u64) -> Arc<Self> {
        Arc::new(Self {
            stands: Mutex::default(),
            random: AtomicU64::new(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1),
            delay: AtomicU64::new(20),
            away: Mutex::default(),
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
        };
        self.stands.lock().unwrap().insert(id, stand);
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
    pub async fn carry(self: Arc<Self>, me: PeerId, feeding: Feeding) {
        let Feeding {
            mut asks,
            feeder,
            troubles,
        } = feeding;
        let end = End {
            network: self,
            me,
            feeder,
            troubles,
            told: Arc::default(),
        };
        let mut open = JoinSet::new();
        loop {
            tokio::select! {
                ask = asks.recv() => match ask {
                    Some(Ask::Group { stamp, group, give }) => {
                        open.spawn(end.clone().get(stamp, group, give));
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

    async fn fetch(
        &self,
        me: PeerId,
        from: TransferId,
        ticket: Ticket,
        stamp: Stamp,
        group: u32,
    ) -> Got {
        let stand = self.stands.lock().unwrap().get(&from).cloned();
        let is_away = |away: &HashSet<TransferId>| {
            away.contains(&from) || away.iter().any(|id| peer(*id) == me)
        };
        let there = stand.filter(|stand| *stand.alive.borrow());
        let is_away = is_away(&self.away.lock().unwrap());
        let Some(mut stand) = there.filter(|_| !is_away) else {
            sleep(CALL).await;
            return Got::Trouble(Trouble::Gone);
        };
        assert!(ticket.is_for(&stand.key, me), "a ticket of somebody else");
        if !self.harm.load(Ordering::Relaxed) {
            stand.manner = Manner::Honest;
        }
        let number = stand.asked.fetch_add(1, Ordering::Relaxed);
        if stand.manner == Manner::Drops && number % 2 == 1 {
            sleep(SILENCE).await;
            return Got::Trouble(Trouble::Gone);
        }
        let most = match stand.manner {
            Manner::Reorders => 2000,
            Manner::Delays => 8000,
            _ => self.delay.load(Ordering::Relaxed).max(1),
        };
        sleep(Duration::from_millis(self.random(most))).await;
        let wanted = match stand.manner {
            Manner::Repeats => 0,
            _ => group,
        };
        let mut alive = stand.alive.clone();
        let content = tokio::select! {
            content = stand.read(stamp, wanted) => content,
            Ok(_) = alive.wait_for(|alive| !*alive) => return Got::Trouble(Trouble::Gone),
        };
        match content {
            Got::Content(content) if stand.manner == Manner::Flips => {
                let mut content = content.to_vec();
                let at = self.random(content.len() as u64) as usize;
                content[at] ^= 1;
                stand.lies.fetch_add(1, Ordering::Relaxed);
                Got::Content(content.into())
            }
            Got::Content(content) => {
                let lies = u32::from(wanted != group);
                stand.lies.fetch_add(lies, Ordering::Relaxed);
                Got::Content(content)
            }
            other => other,
        }
    }
}

impl Stand {
    /// Waits until it has the group.
    async fn read(&mut self, stamp: Stamp, group: u32) -> Got {
        let mut changes = self.shelf.changes();
        loop {
            changes.mark_unchanged();
            match self.shelf.look(stamp, group) {
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
                        return Got::Trouble(Trouble::Slow);
                    }
                }
            }
        }
    }
}

impl End {
    async fn get(mut self, stamp: Stamp, group: u32, mut give: oneshot::Sender<Given>) {
        loop {
            let feeder = self.feeder.borrow_and_update().clone();
            let got = match feeder {
                None => match self.feeder.changed().await {
                    Ok(()) => continue,
                    Err(_) => return,
                },
                Some(Feeder::Origin) => return,
                Some(Feeder::Member { member, ticket, .. }) => {
                    let network = self.network.clone();
                    tokio::select! {
                        got = network.fetch(self.me, member, ticket, stamp, group) => (member, got),
                        changed = self.feeder.changed() => match changed {
                            Ok(()) => continue,
                            Err(_) => return,
                        },
                        () = give.closed() => return,
                    }
                }
            };
            match got {
                (from, Got::Content(content)) => {
                    let _ = give.send(Given { content, from });
                    return;
                }
                (_, Got::Gone) => return,
                (from, Got::Trouble(trouble)) => {
                    self.complain(from, trouble);
                    let _ = timeout(AGAIN, self.feeder.changed()).await;
                }
            }
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
