//! One to many as the original meant it: we as leaf and relay of a tree that somebody else is the
//! root of, and as the root of one.
//!
//! A tree is formed by datagrams between sockets that are opened for it ([`control`] decides,
//! [`session`] and [`root`] have the sockets), and carries a list of files and their content,
//! without any mark between them and without hashes. So a relay that leaves something out spoils
//! everything behind it, unnoticed. What follows from that:
//!
//! * we never stand still: what comes is taken at once and put aside ([`flow`]) while a person has
//!   not answered, has paused, or the disk is slow;
//! * a child that cannot follow is cut off instead of getting the rest with holes;
//! * whoever comes too late for the beginning gets nothing.
//!
//! Nothing of it proves who anybody is. Addresses that a root names are used only where they are in
//! its own network and ours; a datagram never causes a longer one, and a connection only to who
//! asked for it from that computer.

mod children;
mod control;
mod fates;
mod flow;
mod intake;
mod outbound;
mod ring;
mod root;
mod session;

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

pub(super) use self::flow::Tap as TreeTap;
pub(super) use self::intake::{Coming, take_in};
pub use self::outbound::TreeOutbound;
pub(super) use self::ring::Aside;
pub use self::root::{RootOptions, Seat, plant, tree_files};

use self::children::Feed;
use self::session::Member;
use crate::config::PassOn;
use crate::net::requests::{Informed, Requests};
use crate::protocol::legacy::LegacyId;
use crate::protocol::legacy::otm::{Control, InformAnswer, StreamLink};

/// Between the list of files and their content: an original loses what comes with the list.
pub(super) const METADATA_GAP: Duration = Duration::from_millis(200);
/// How long the end of a child is waited for: it may have some megabytes to write.
const END_WAIT: Duration = Duration::from_secs(60);
/// Trees that we are in at once.
const SESSIONS_MAX: usize = 16;
/// Trees of roots at one address that we are in at once.
const SESSIONS_PER_ADDR_MAX: usize = 4;
/// Longest name of a session or of a tree check, and longest key: originals have 36 characters.
const NAME_LEN_MAX: usize = 128;
/// Trees that we are in, and those that children still get the rest of.
const RUNNING_MAX: usize = 2 * SESSIONS_MAX;
/// How long a link may wait for the word of its session.
const WORD_WAIT: Duration = Duration::from_secs(3);
/// Links that may wait for the word of a session.
const LINKS_MAX: usize = 4;

/// What we go by in trees of others.
#[derive(Debug, Clone)]
pub struct TreeOptions {
    /// One address of this computer; `None` for all of them.
    pub bind: Option<IpAddr>,
    /// Who we are to others.
    pub us: LegacyId,
    /// TCP port where parents reach us.
    pub stream_port: u16,
    /// To whom content is passed on, now.
    pub pass_on: watch::Receiver<PassOn>,
}

/// The trees of others that we are in, by the names of their sessions. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Trees(Arc<Mutex<HashMap<String, InTree>>>);

#[derive(Debug)]
struct InTree {
    root: IpAddr,
    answer: InformAnswer,
    links: mpsc::Sender<Wanted>,
}

/// Somebody wants to be our parent.
#[derive(Debug)]
struct Wanted {
    parent: LegacyId,
    from: SocketAddr,
    agreed: oneshot::Sender<Entered>,
}

/// The parent's link was agreed to: what comes over it goes here. Dropped, nothing more comes.
#[derive(Debug)]
pub(super) struct Entered {
    feed: watch::Sender<Option<Feed>>,
}

impl Trees {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, InTree>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the session whether it wants this link.
    pub(super) async fn enter(&self, link: StreamLink, from: SocketAddr) -> Option<Entered> {
        let links = self
            .lock()
            .get(&link.session)
            .map(|tree| tree.links.clone());
        let Some(links) = links else {
            tracing::info!(%from, "a link for a tree that we are not in");
            return None;
        };
        let (agreed, answer) = oneshot::channel();
        let wanted = Wanted {
            parent: link.parent,
            from,
            agreed,
        };
        let word = async {
            links.send(wanted).await.ok()?;
            answer.await.ok()
        };
        match timeout(WORD_WAIT, word).await {
            Ok(Some(entered)) => Some(entered),
            Ok(None) | Err(_) => {
                tracing::info!(%from, "a link for a tree that nobody asked for");
                None
            }
        }
    }

    /// Takes part in trees as their roots ask, until `informs` ends.
    pub async fn serve(
        self,
        options: TreeOptions,
        mut informs: mpsc::Receiver<Informed>,
        requests: Requests,
    ) {
        let mut sessions: JoinSet<()> = JoinSet::new();
        loop {
            tokio::select! {
                informed = informs.recv() => match informed {
                    Some(informed) => {
                        let may_start = sessions.len() < RUNNING_MAX;
                        let started = self
                            .on_informed(&options, informed, &requests, may_start)
                            .await;
                        if let Some((member, listed)) = started {
                            sessions.spawn(member.run(listed));
                        }
                    }
                    None => return,
                },
                Some(_) = sessions.join_next() => {}
            }
        }
    }

    /// Answers; the new session, if it is one.
    async fn on_informed(
        &self,
        options: &TreeOptions,
        informed: Informed,
        requests: &Requests,
        may_start: bool,
    ) -> Option<(Member, Listed)> {
        let (name, root) = (informed.inform.session.clone(), informed.from.ip());
        let too_long = name.len().max(informed.inform.key.len()) > NAME_LEN_MAX;
        let (known, is_full) = {
            let all = self.lock();
            let same = all.values().filter(|tree| tree.root == root).count();
            let is_full = all.len() >= SESSIONS_MAX || same >= SESSIONS_PER_ADDR_MAX;
            // Its datagram or our answer was lost.
            let known = all.get(&name).map(|tree| (tree.root, tree.answer.clone()));
            (known, is_full)
        };
        if let Some((of, answer)) = known {
            if of == root && answer.key == informed.inform.key {
                say(requests, &informed, answer).await;
            }
            return None;
        }
        if is_full || too_long || !may_start {
            tracing::info!(from = %informed.from, "no part is taken in another tree");
            return None;
        }
        let (links, wanted) = mpsc::channel(LINKS_MAX);
        let member = Member::open(options, &informed, wanted).await;
        let member = member
            .inspect_err(|error| tracing::warn!(%error, "no socket for a tree"))
            .ok()?;
        let answer = InformAnswer {
            peer: options.us,
            passive: member.passive(),
            active: SocketAddr::new(informed.own, options.stream_port),
            key: informed.inform.key.clone(),
        };
        if !say(requests, &informed, answer.clone()).await {
            return None;
        }
        let tree = InTree {
            root,
            answer,
            links,
        };
        self.lock().insert(name.clone(), tree);
        let trees = self.clone();
        Some((member, Listed { trees, name }))
    }
}

/// A session that links are taken for. Dropped, they are not.
#[derive(Debug)]
struct Listed {
    trees: Trees,
    name: String,
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.trees.lock().remove(&self.name);
    }
}

/// Sends the answer. Whoever forges the source of a request gains nothing by it.
async fn say(requests: &Requests, informed: &Informed, answer: InformAnswer) -> bool {
    match Control::InformAnswer(answer).encode() {
        Ok(bytes) if bytes.len() <= informed.len => {
            requests.send(informed.from, bytes).await;
            true
        }
        Ok(_) | Err(_) => {
            tracing::info!(from = %informed.from, "the answer would be longer than the request");
            false
        }
    }
}
