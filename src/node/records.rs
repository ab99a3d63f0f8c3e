//! Peers, history and unfinished sending: read from the database at the start, kept in memory,
//! and written by a thread of its own, so that a slow disk holds nothing up.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use tokio::sync::{mpsc, oneshot};

use super::dial::add_relay;
use crate::peer::PeerId;
use crate::protocol::link_uri::RelayHint;
use crate::protocol::message::TransferId;
use crate::storage::store::{
    Accept, GroupRecord, OutgoingRecord, PeerRecord, SessionRecord, Standing, Store, StoreError,
    Wishes,
};
use crate::transfer::bookkeeper::unix_now;

/// Database jobs that may wait.
const JOBS_MAX: usize = 256;
/// Strangers that are remembered, who called and with whom nothing was ever done: keys cost
/// nothing, so anybody can be any number of them.
const STRANGERS_MAX: usize = 200;
/// Addresses that are remembered of a peer.
const ADDRS_MAX: usize = 8;

type Job = Box<dyn FnOnce(&Store) + Send>;

/// What is remembered, and the way to the database.
#[derive(Debug)]
pub(super) struct Records {
    peers: HashMap<PeerId, PeerRecord>,
    /// Peers that this run has dialled or taken files from: no strangers.
    familiar: HashSet<PeerId>,
    /// Those who were no strangers when that was last asked.
    acquaintances: HashSet<PeerId>,
    groups: Vec<GroupRecord>,
    /// Where peers can be called that cannot be reached otherwise.
    relays: HashMap<PeerId, Vec<RelayHint>>,
    /// Where the files of some peers go.
    folders: HashMap<PeerId, PathBuf>,
    jobs: mpsc::Sender<Job>,
    thread: Option<JoinHandle<()>>,
}

/// What earlier runs were sending.
#[derive(Debug)]
pub(super) struct Unfinished {
    pub(super) outgoing: Vec<OutgoingRecord>,
    pub(super) wishes: HashMap<TransferId, Wishes>,
    /// How far these, and incoming ones, were.
    pub(super) standings: HashMap<TransferId, Standing>,
    pub(super) sessions: Vec<SessionRecord>,
}

impl Records {
    /// Reads everything and starts the writing thread. Gives what was being sent, too, and what
    /// the person wanted of it.
    pub(super) fn start(store: Store) -> Result<(Self, Unfinished), StoreError> {
        let peers = store.peers()?.into_iter().collect();
        let groups = store.groups()?;
        let relays = store.relays()?.into_iter().collect();
        let folders = store.folders()?.into_iter().collect();
        let unfinished = Unfinished {
            outgoing: store.outgoing()?,
            wishes: store.wishes()?,
            standings: store.standings()?,
            sessions: store.sessions()?,
        };
        let (jobs, mut waiting) = mpsc::channel::<Job>(JOBS_MAX);
        let work = move || {
            while let Some(job) = waiting.blocking_recv() {
                job(&store);
            }
        };
        let thread = std::thread::Builder::new()
            .name("records".into())
            .spawn(work);
        let thread = thread.map_err(StoreError::Io)?;
        Ok((
            Self {
                peers,
                relays,
                familiar: HashSet::new(),
                acquaintances: HashSet::new(),
                groups,
                folders,
                jobs,
                thread: Some(thread),
            },
            unfinished,
        ))
    }

    /// Has the database do something, after everything asked for before.
    pub(super) async fn write<E: std::fmt::Display>(
        &self,
        job: impl FnOnce(&Store) -> Result<(), E> + Send + 'static,
    ) {
        let job = move |store: &Store| {
            if let Err(error) = job(store) {
                tracing::error!(%error, "the database cannot be written");
            }
        };
        let _ = self.jobs.send(Box::new(job)).await;
    }

    /// Asks the database something; `None` if it fails. The answer comes through the channel.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
    ) -> oneshot::Receiver<T> {
        let (reply, answer) = oneshot::channel();
        let job = move |store: &Store| match question(store) {
            Ok(found) => {
                let _ = reply.send(found);
            }
            Err(error) => tracing::error!(%error, "the database cannot be read"),
        };
        let _ = self.jobs.send(Box::new(job)).await;
        answer
    }

    /// Waits until everything is written. Blocking.
    pub(super) fn finish(self) {
        let Self { jobs, thread, .. } = self;
        drop(jobs);
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }

    /// What is remembered about a peer.
    pub(super) fn peer(&self, id: PeerId) -> Option<&PeerRecord> {
        self.peers.get(&id)
    }

    /// All peers, in no particular order.
    pub(super) fn all(&self) -> impl Iterator<Item = (PeerId, &PeerRecord)> {
        self.peers.iter().map(|(id, record)| (*id, record))
    }

    /// All peers, most recently seen first.
    pub(super) fn peers(&self) -> Vec<(PeerId, PeerRecord)> {
        let mut peers: Vec<_> = self.peers.iter().map(|(id, r)| (*id, r.clone())).collect();
        peers.sort_by(|a, b| b.1.last_seen.cmp(&a.1.last_seen).then(a.0.cmp(&b.0)));
        peers
    }

    /// Remembers a contact with a peer.
    pub(super) async fn seen(&mut self, id: PeerId, name: &str, addr: Option<SocketAddr>) {
        let now = unix_now();
        let record = self.peers.entry(id).or_insert_with(|| new_peer(name, now));
        record.claimed_name = name.to_owned();
        record.last_seen = now;
        if let Some(addr) = addr {
            record.addrs.retain(|known| *known != addr);
            record.addrs.insert(0, addr);
            record.addrs.truncate(ADDRS_MAX);
        }
        self.save(id).await;
        self.bound_strangers().await;
    }

    /// A known peer can be called through these relays.
    pub(super) async fn listens_at(&mut self, id: PeerId, relays: &[RelayHint]) {
        if relays.is_empty() || !self.peers.contains_key(&id) {
            return;
        }
        let known = self.relays.entry(id).or_default();
        let before = known.clone();
        for relay in relays.iter().rev() {
            add_relay(known, relay.clone());
        }
        if *known != before {
            let now = known.clone();
            self.write(move |store| store.put_relays(id, &now)).await;
        }
    }

    /// Where a peer can be called, as far as is remembered.
    pub(super) fn relays(&self, id: PeerId) -> Vec<RelayHint> {
        self.relays.get(&id).cloned().unwrap_or_default()
    }

    /// The peer says that it can be found at these addresses, too.
    pub(super) async fn told(&mut self, id: PeerId, addrs: &[SocketAddr]) {
        let Some(record) = self.peers.get_mut(&id) else {
            return;
        };
        let mut now: Vec<SocketAddr> = Vec::with_capacity(ADDRS_MAX);
        // Where it was seen last stays first.
        let (seen, before) = record.addrs.split_at(record.addrs.len().min(1));
        for addr in seen.iter().chain(addrs).chain(before) {
            if now.len() < ADDRS_MAX && !now.contains(addr) {
                now.push(*addr);
            }
        }
        if now != record.addrs {
            record.addrs = now;
            self.save(id).await;
        }
    }

    /// Whether somebody here has dealt with this peer.
    pub(super) fn is_familiar(&self, id: PeerId) -> bool {
        let known = |r: &PeerRecord| r.trusted || r.own_name.is_some() || r.accept != Accept::Ask;
        self.familiar.contains(&id)
            || self.is_grouped(&id)
            || self.peers.get(&id).is_some_and(known)
    }

    /// Something was done with this peer: it is not forgotten to make room for strangers.
    pub(super) fn became_familiar(&mut self, id: PeerId) {
        self.familiar.insert(id);
    }

    /// Somebody who called, and with whom nothing was ever done.
    fn is_stranger(&self, id: &PeerId, record: &PeerRecord) -> bool {
        let known = record.trusted || record.own_name.is_some();
        let dealt_with = self.familiar.contains(id) || self.is_grouped(id);
        !known && record.accept == Accept::Ask && !dealt_with
    }

    fn is_grouped(&self, id: &PeerId) -> bool {
        self.groups.iter().any(|group| group.members.contains(id))
    }

    /// Those who are no strangers, if they are others than at the last call of this.
    pub(super) fn new_acquaintances(&mut self) -> Option<HashSet<PeerId>> {
        let known = self.peers.iter().filter(|(id, r)| !self.is_stranger(id, r));
        let known: HashSet<PeerId> = known.map(|(id, _)| *id).collect();
        if known == self.acquaintances {
            return None;
        }
        self.acquaintances.clone_from(&known);
        Some(known)
    }

    /// Forgets the stranger that was not seen for longest if there are too many.
    async fn bound_strangers(&mut self) {
        let strangers = || self.peers.iter().filter(|(id, r)| self.is_stranger(id, r));
        if strangers().count() <= STRANGERS_MAX {
            return;
        }
        let oldest = strangers().min_by_key(|(id, record)| (record.last_seen, **id));
        if let Some(id) = oldest.map(|(id, _)| *id) {
            self.peers.remove(&id);
            self.relays.remove(&id);
            self.write(move |store| store.remove_peer(id)).await;
        }
    }

    /// Whether the person has blocked this peer.
    pub(super) fn is_blocked(&self, id: PeerId) -> bool {
        self.peer(id).is_some_and(|r| r.accept == Accept::Block)
    }

    /// The peers that are blocked.
    pub(super) fn blocked(&self) -> HashSet<PeerId> {
        let blocked = self.peers.iter().filter(|(_, r)| r.accept == Accept::Block);
        blocked.map(|(id, _)| *id).collect()
    }

    /// Changes what is remembered about a peer that is known or, from now on, is.
    pub(super) async fn change(&mut self, id: PeerId, change: impl FnOnce(&mut PeerRecord)) {
        let record = self
            .peers
            .entry(id)
            .or_insert_with(|| new_peer("", unix_now()));
        change(record);
        self.save(id).await;
    }

    async fn save(&self, id: PeerId) {
        if let Some(record) = self.peers.get(&id).cloned() {
            self.write(move |store| store.put_peer(id, &record)).await;
        }
    }

    /// Where the files of a peer go, if not where those of all do.
    pub(super) fn folder(&self, id: PeerId) -> Option<&Path> {
        self.folders.get(&id).map(PathBuf::as_path)
    }

    /// Gives the files of a peer a folder of their own, or none.
    pub(super) async fn set_folder(&mut self, id: PeerId, folder: Option<PathBuf>) {
        match folder.clone() {
            Some(folder) => self.folders.insert(id, folder),
            None => self.folders.remove(&id),
        };
        self.write(move |store| store.put_folder(id, folder.as_deref()))
            .await;
    }

    /// Groups of peers, by name.
    pub(super) fn groups(&self) -> &[GroupRecord] {
        &self.groups
    }

    /// The group with this name.
    pub(super) fn group(&self, name: &str) -> Option<&GroupRecord> {
        let name = name.to_lowercase();
        self.groups.iter().find(|g| g.name.to_lowercase() == name)
    }

    /// Remembers a group in place of one of the same name; one without members is forgotten.
    pub(super) async fn set_group(&mut self, group: GroupRecord) {
        let name = group.name.to_lowercase();
        self.groups.retain(|g| g.name.to_lowercase() != name);
        if group.members.is_empty() {
            self.write(move |store| store.remove_group(&name)).await;
            return;
        }
        self.groups.push(group.clone());
        self.groups.sort_by_key(|g| g.name.to_lowercase());
        self.write(move |store| store.put_group(&group)).await;
    }

    /// Takes a peer out of all groups.
    async fn leave_groups(&mut self, id: PeerId) {
        let with = |g: &&GroupRecord| g.members.contains(&id);
        let groups: Vec<GroupRecord> = self.groups.iter().filter(with).cloned().collect();
        for mut group in groups {
            group.members.retain(|member| *member != id);
            self.set_group(group).await;
        }
    }

    /// The person says that both keys are of one device: the new one is trusted in place of the old
    /// one, with its name, folder and groups.
    pub(super) async fn replace(&mut self, old: PeerId, new: PeerId) {
        let was = self.peers.get(&old).cloned();
        let folder = self.folders.get(&old).cloned();
        let with = |g: &&GroupRecord| g.members.contains(&old);
        let groups: Vec<GroupRecord> = self.groups.iter().filter(with).cloned().collect();
        for mut group in groups {
            group.members.retain(|member| *member != new);
            let members = group.members.iter_mut().filter(|member| **member == old);
            members.for_each(|member| *member = new);
            self.set_group(group).await;
        }
        self.forget(old).await;
        if folder.is_some() {
            self.set_folder(new, folder).await;
        }
        self.change(new, |record| {
            record.trusted = true;
            if let Some(was) = was {
                record.own_name = record.own_name.take().or(was.own_name);
                if was.accept == Accept::Always {
                    record.accept = Accept::Always;
                }
            }
        })
        .await;
    }

    /// Forgets a peer and every address that was bound to its key.
    pub(super) async fn forget(&mut self, id: PeerId) -> bool {
        let known = self.peers.remove(&id).is_some();
        self.relays.remove(&id);
        self.leave_groups(id).await;
        self.set_folder(id, None).await;
        self.write(move |store| store.remove_peer(id).and_then(|()| store.unpin_peer(id)))
            .await;
        known
    }
}

fn new_peer(name: &str, now: u64) -> PeerRecord {
    PeerRecord {
        claimed_name: name.to_owned(),
        own_name: None,
        trusted: false,
        accept: Accept::Ask,
        addrs: Vec::new(),
        first_seen: now,
        last_seen: now,
    }
}
