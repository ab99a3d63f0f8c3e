//! Content on its way through a relay: written once, read by us and by each child, everybody at
//! its own pace.
//!
//! The last few megabytes are in memory. What somebody has not read when it leaves the memory goes
//! to a file without a name, which is used as a ring. A child that falls too far behind is cut
//! off: whoever cannot follow must not slow the others down, and gets nothing with holes in it.
//! Too far is much: several children share one uplink, which is slower than what we get.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use tokio::sync::{Notify, watch};

use super::ring::{Aside, Ring};
use crate::net::tcp::QUARANTINE_MAX;

/// Bytes that stay in memory.
pub(super) const RECENT_MAX: u64 = 4 * 1024 * 1024;
/// What stays in memory is copied into blocks of this length: small segments must not each hold
/// the buffer they were read into.
const BLOCK_LEN: usize = 64 * 1024;
/// How far a child may be behind.
const CHILD_LAG_MAX: u64 = 1024 * 1024 * 1024;

/// How far those who read may be behind.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// We.
    pub(super) own: u64,
    /// A child.
    pub(super) child: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            own: QUARANTINE_MAX,
            child: CHILD_LAG_MAX,
        }
    }
}

impl Limits {
    /// What the ring must hold.
    fn ring(self) -> u64 {
        self.own.max(self.child)
    }
}

/// Content of a known length.
#[derive(Debug)]
pub(in crate::net::tcp) struct Flow {
    state: Mutex<State>,
    moved: Notify,
    aside: Aside,
    limits: Limits,
}

#[derive(Debug)]
struct State {
    /// Bytes that have come.
    end: u64,
    /// Full blocks.
    recent: VecDeque<Bytes>,
    /// The block that is being filled, which follows them.
    tail: BytesMut,
    /// Position of the first byte in memory.
    recent_at: u64,
    /// What has left the memory and is still wanted.
    ring: Option<Arc<Ring>>,
    taps: HashMap<u32, Reading>,
    next_tap: u32,
    /// Whether others may still come who want it from its beginning.
    open: bool,
    over: Over,
}

#[derive(Debug)]
struct Reading {
    at: u64,
    whose: Whose,
}

/// Who reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whose {
    /// We do.
    Own,
    /// A child.
    Child,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Over {
    No,
    Complete,
    Broken(String),
}

/// Why nothing more can be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(in crate::net::tcp) enum Cut {
    /// It was too slow.
    #[error("too far behind")]
    Slow,
    /// The content ends before its end.
    #[error("{0}")]
    Broken(String),
}

impl Flow {
    /// Nothing yet; what does not fit the memory is put aside.
    pub(super) fn new(aside: Aside, limits: Limits) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                end: 0,
                recent: VecDeque::new(),
                tail: BytesMut::with_capacity(BLOCK_LEN),
                recent_at: 0,
                ring: None,
                taps: HashMap::new(),
                next_tap: 0,
                open: true,
                over: Over::No,
            }),
            moved: Notify::new(),
            aside,
            limits,
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Blocks of memory that it holds.
    #[cfg(test)]
    pub(super) fn blocks(&self) -> usize {
        self.lock().recent.len() + 1
    }

    /// Bytes that have come.
    pub(in crate::net::tcp) fn end(&self) -> u64 {
        self.lock().end
    }

    /// Somebody who reads from the beginning; `None` if that is not here any more.
    pub(super) fn tap(self: &Arc<Self>, whose: Whose) -> Option<Tap> {
        let mut state = self.lock();
        if state.recent_at > 0 && !state.open {
            return None;
        }
        let id = state.next_tap;
        state.next_tap += 1;
        state.taps.insert(id, Reading { at: 0, whose });
        let flow = self.clone();
        Some(Tap { flow, id })
    }

    /// Puts bytes at the end, and returns when there is room in memory again. One caller at a time.
    ///
    /// Fails if they cannot be kept for us: then it is broken, and what came before can be read.
    pub(super) async fn append(&self, bytes: &[u8]) -> io::Result<()> {
        {
            let mut state = self.lock();
            if state.over != Over::No {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            state.push(bytes);
            let end = state.end;
            state
                .taps
                .retain(|_, tap| tap.whose == Whose::Own || end - tap.at <= self.limits.child);
            state.open &= end <= self.limits.child;
        }
        self.moved.notify_waiters();
        let kept = self.forget_old().await;
        if let Err(error) = &kept {
            self.break_off(&error.to_string());
        }
        kept
    }

    /// Takes out of the memory what is too much there. The disk is waited for without the lock;
    /// until it has a block, that is read from memory.
    async fn forget_old(&self) -> io::Result<()> {
        loop {
            let (block, at, ring) = {
                let mut state = self.lock();
                if state.end - state.recent_at <= RECENT_MAX {
                    return Ok(());
                }
                let Some(block) = state.recent.front().cloned() else {
                    return Ok(());
                };
                let end = state.recent_at + block.len() as u64;
                if !state.is_wanted_before(end) {
                    // Whoever reads is in memory.
                    state.ring = None;
                    state.forget_block();
                    continue;
                }
                (block, state.recent_at, state.ring.clone())
            };
            let put = self.put_aside(ring, at, block).await;
            let mut state = self.lock();
            match put {
                Ok(ring) => state.ring = Some(ring),
                Err(error) => state.give_up_children(error)?,
            }
            state.forget_block();
            drop(state);
            self.moved.notify_waiters();
        }
    }

    async fn put_aside(
        &self,
        ring: Option<Arc<Ring>>,
        at: u64,
        block: Bytes,
    ) -> io::Result<Arc<Ring>> {
        let (aside, len) = (self.aside.clone(), self.limits.ring());
        let work = move || {
            let ring = match ring {
                Some(ring) => ring,
                None => Arc::new(Ring::create(aside, len, at)?),
            };
            ring.put(at, &block)?;
            Ok(ring)
        };
        let put = tokio::task::spawn_blocking(work).await;
        put.map_err(io::Error::other)?
    }

    /// Nobody is expected any more: the beginning need not be kept for others.
    pub(super) fn close_door(&self) {
        self.lock().open = false;
    }

    /// Waits until so many bytes more can be kept for us; `false` if we are `held` up, so that
    /// this will not be soon. Cancel-safe.
    pub(super) async fn room(&self, len: u64, held: &mut watch::Receiver<bool>) -> bool {
        loop {
            let moved = self.moved.notified();
            tokio::pin!(moved);
            moved.as_mut().enable();
            {
                let state = self.lock();
                let mut own = state.taps.values().filter(|tap| tap.whose == Whose::Own);
                if own.all(|tap| state.end - tap.at + len <= self.limits.own) {
                    return true;
                }
            }
            if *held.borrow_and_update() {
                return false;
            }
            tokio::select! {
                () = moved => {}
                changed = held.changed() => {
                    if changed.is_err() {
                        return false;
                    }
                }
            }
        }
    }

    /// Everything has come.
    pub(super) fn complete(&self) {
        self.lock().over = Over::Complete;
        self.moved.notify_waiters();
    }

    /// Nothing more will come, if that was not all.
    pub(super) fn break_off(&self, why: &str) {
        let mut state = self.lock();
        if state.over == Over::No {
            state.over = Over::Broken(why.to_owned());
        }
        drop(state);
        self.moved.notify_waiters();
    }

    /// Waits until it is broken; gives the reason. Cancel-safe.
    pub(in crate::net::tcp) async fn broken(&self) -> String {
        self.wait(|state| match &state.over {
            Over::Broken(why) => Some(why.clone()),
            Over::No | Over::Complete => None,
        })
        .await
    }

    /// Waits until nothing more comes; how far the content has come then. Cancel-safe.
    pub(super) async fn over(&self) -> u64 {
        self.wait(|state| (state.over != Over::No).then_some(state.end))
            .await
    }

    /// Waits until we do not read any more. Cancel-safe.
    pub(super) async fn left(&self) {
        let is_own = |tap: &Reading| tap.whose == Whose::Own;
        self.wait(|state| (!state.taps.values().any(is_own)).then_some(()))
            .await;
    }

    async fn wait<T>(&self, wanted: impl Fn(&State) -> Option<T>) -> T {
        loop {
            let moved = self.moved.notified();
            tokio::pin!(moved);
            moved.as_mut().enable();
            let found = wanted(&self.lock());
            match found {
                Some(found) => return found,
                None => moved.await,
            }
        }
    }
}

impl State {
    fn push(&mut self, mut bytes: &[u8]) {
        self.end += bytes.len() as u64;
        while !bytes.is_empty() {
            let room = BLOCK_LEN - self.tail.len();
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.tail.extend_from_slice(now);
            bytes = later;
            if self.tail.len() == BLOCK_LEN {
                let next = BytesMut::with_capacity(BLOCK_LEN);
                let full = std::mem::replace(&mut self.tail, next);
                self.recent.push_back(full.freeze());
            }
        }
    }

    /// Whether anybody reads what is before this position, or may come to read it.
    fn is_wanted_before(&self, end: u64) -> bool {
        self.open || self.taps.values().any(|tap| tap.at < end)
    }

    /// The oldest block in memory is not needed there.
    fn forget_block(&mut self) {
        if let Some(block) = self.recent.pop_front() {
            self.recent_at += block.len() as u64;
        }
    }

    /// Without room on the disk for the oldest block, children are given up first. Fails if we
    /// need it ourselves: then it stays.
    fn give_up_children(&mut self, error: io::Error) -> io::Result<()> {
        let end = self.recent_at + self.recent.front().map_or(0, Bytes::len) as u64;
        self.taps
            .retain(|_, tap| tap.whose == Whose::Own || tap.at >= end);
        self.open = false;
        if self.is_wanted_before(end) {
            return Err(error);
        }
        self.ring = None;
        Ok(())
    }

    /// Bytes at this position, if they are in memory.
    fn recent(&self, at: u64, most: usize) -> Option<Bytes> {
        let from = usize::try_from(at.checked_sub(self.recent_at)?).ok()?;
        let (block, from) = (from / BLOCK_LEN, from % BLOCK_LEN);
        if let Some(block) = self.recent.get(block) {
            let to = block.len().min(from.saturating_add(most));
            return Some(block.slice(from..to));
        }
        let tail = self.tail.get(from..).filter(|tail| !tail.is_empty())?;
        (block == self.recent.len())
            .then(|| Bytes::copy_from_slice(tail.get(..most).unwrap_or(tail)))
    }
}

/// Reads a flow from its beginning; dropped, it leaves.
#[derive(Debug)]
pub(in crate::net::tcp) struct Tap {
    flow: Arc<Flow>,
    id: u32,
}

enum Found {
    Here(Bytes),
    InRing(Arc<Ring>, u64, u64),
    End,
    Later,
}

impl Tap {
    /// The next bytes, at most `most`; `None` at the end. Cancel-safe.
    pub(in crate::net::tcp) async fn next(&mut self, most: usize) -> Result<Option<Bytes>, Cut> {
        loop {
            let moved = self.flow.moved.notified();
            tokio::pin!(moved);
            moved.as_mut().enable();
            let found = self.find(most)?;
            let bytes = match found {
                Found::Here(bytes) => bytes,
                Found::InRing(ring, at, len) => {
                    let read = ring.read(at, len).await;
                    read.map_err(|error| Cut::Broken(error.to_string()))?
                }
                Found::End => return Ok(None),
                Found::Later => {
                    moved.await;
                    continue;
                }
            };
            let mut state = self.flow.lock();
            let tap = state.taps.get_mut(&self.id).ok_or(Cut::Slow)?;
            tap.at += bytes.len() as u64;
            drop(state);
            self.flow.moved.notify_waiters();
            return Ok(Some(bytes));
        }
    }

    fn find(&self, most: usize) -> Result<Found, Cut> {
        let state = self.flow.lock();
        let at = state.taps.get(&self.id).ok_or(Cut::Slow)?.at;
        if let Some(bytes) = state.recent(at, most) {
            return Ok(Found::Here(bytes));
        }
        if at < state.recent_at {
            let lost = || Cut::Broken("a fault of this program".into());
            let ring = state.ring.clone().ok_or_else(lost)?;
            let len = (state.recent_at - at).min(most as u64);
            return Ok(Found::InRing(ring, at, len));
        }
        match &state.over {
            Over::No => Ok(Found::Later),
            Over::Complete => Ok(Found::End),
            Over::Broken(why) => Err(Cut::Broken(why.clone())),
        }
    }

    /// Waits until this one is cut off. Cancel-safe.
    pub(super) async fn cut(&self) {
        let id = self.id;
        self.flow
            .wait(|state| (!state.taps.contains_key(&id)).then_some(()))
            .await;
    }

    /// Waits until nothing more comes; how far this one is behind then. Cancel-safe.
    pub(super) fn behind(&self) -> impl Future<Output = u64> + use<> {
        let (flow, id) = (self.flow.clone(), self.id);
        async move {
            let end = flow.over().await;
            let at = flow.lock().taps.get(&id).map_or(end, |tap| tap.at);
            end - at
        }
    }

    /// How far it has read.
    #[cfg(test)]
    pub(super) fn at(&self) -> u64 {
        let state = self.flow.lock();
        state.taps.get(&self.id).map_or(0, |tap| tap.at)
    }

    /// What it reads.
    pub(in crate::net::tcp) fn flow(&self) -> &Arc<Flow> {
        &self.flow
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.flow.lock().taps.remove(&self.id);
        self.flow.moved.notify_waiters();
    }
}
