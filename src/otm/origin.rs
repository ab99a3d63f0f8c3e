//! At the one who sends: hears how the receivers fare and tells each of them who feeds it, and who
//! gives it the rest if we leave.

mod cover;
mod evidence;
mod heirs;

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use self::heirs::Named;
use super::tree::{Assignment, Feeder as Place, Limits, Shortcoming, Tree};
use crate::net::is_local_network;
use crate::protocol::message::TransferId;
use crate::protocol::sessions::{FEEDER_ADDRS_MAX, Feeder, Ticket, Trouble};
use crate::transfer::control::{News, Reporter};
use crate::transfer::member::{Joined, MemberNews};

/// Where the news of a session go.
pub type SessionNews = mpsc::Sender<(TransferId, MemberNews)>;

/// Decides until nobody is left who could tell anything.
pub async fn coordinate(mut news: mpsc::Receiver<(TransferId, MemberNews)>, limits: Limits) {
    let mut origin = Origin {
        tree: Tree::new(limits),
        members: HashMap::new(),
        short: BTreeMap::new(),
        start: Instant::now(),
        turn: 0,
    };
    loop {
        let due = origin.tree.next_timeout();
        let tick = async {
            match due {
                Some(due) => tokio::time::sleep_until(origin.start + due).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            heard = news.recv() => match heard {
                Some((member, news)) => origin.hear(member, news).await,
                None => return,
            },
            () = tick => {
                let now = origin.now();
                origin.tree.tick(now);
                origin.name_more();
            }
        }
        origin.tell_shortcomings().await;
        origin.tell().await;
    }
}

struct Origin {
    tree: Tree,
    /// Everybody who has ever taken part: what has left can still feed others.
    members: HashMap<TransferId, Member>,
    /// Who passes nothing on, as people were told last.
    short: BTreeMap<TransferId, Shortcoming>,
    start: Instant,
    /// Where it is gone on looking for those who have everything between them.
    turn: usize,
}

struct Member {
    joined: Joined,
    reporter: Reporter,
    /// How many entries it has, if it has everything.
    complete: Option<u32>,
    /// Whether it is connected with us. Of one that is not it is not known whether it is there.
    connected: bool,
    /// Whom it could not reach, and when: those give it nothing, whatever they have.
    missed: HashMap<TransferId, Duration>,
    /// Whether it is there, and does not have everything.
    open: bool,
    /// Who was named to it in case that we leave.
    named: Named,
}

impl Origin {
    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    async fn hear(&mut self, id: TransferId, news: MemberNews) {
        let now = self.now();
        match news {
            MemberNews::Joined { joined, reporter } => {
                self.tree.join(id, joined.passes_on, joined.done, now);
                if let Some(rtt) = joined.rtt {
                    self.tree.latency(id, rtt);
                }
                let member = Member {
                    joined: *joined,
                    reporter,
                    complete: None,
                    connected: true,
                    missed: HashMap::new(),
                    open: true,
                    // What it was told before it may go on without us.
                    named: self
                        .members
                        .remove(&id)
                        .map(|old| old.named)
                        .unwrap_or_default(),
                };
                for other in self.members.values_mut() {
                    other.missed.remove(&id);
                }
                self.members.insert(id, member);
                self.name_others(id);
            }
            MemberNews::Progress { done, fed } => {
                self.tree.fed(id, fed, now);
                self.tree.progress(id, done, now);
            }
            MemberNews::Trouble { feeder, trouble } => {
                tracing::debug!(child = %id.short(), feeder = %feeder.short(), ?trouble, "not fed");
                // What somebody says of others than its feeder is old, or made up.
                let fed = self.tree.feeder_of(id) == Some(Place::Member(feeder));
                if fed || self.tree.was_fed_by(id, feeder, now) {
                    self.on_trouble(id, feeder, trouble).await;
                }
            }
            MemberNews::Complete { entries } => {
                self.tree.complete(id, now);
                self.is_complete(id, entries);
            }
            MemberNews::Left => {
                self.tree.leave(id, now);
                if let Some(member) = self.members.get_mut(&id) {
                    member.open = false;
                }
                self.is_gone(id);
                self.name_more();
            }
            MemberNews::Away => self.is_away(id),
            MemberNews::Back => self.is_back(id),
        }
    }

    async fn on_trouble(&mut self, child: TransferId, feeder: TransferId, trouble: Trouble) {
        let now = self.now();
        if self.tree.feeder_of(child) != Some(Place::Member(feeder)) {
            // Of the one before only that can be news.
            let trouble = self.known(child, feeder, trouble);
            return self.tree.trouble(child, feeder, trouble, now);
        }
        if trouble == Trouble::Lied {
            self.name_liar(feeder, child).await;
        }
        let trouble = self.known(child, feeder, trouble);
        self.tree.trouble(child, feeder, trouble, now);
        let gone = trouble == Trouble::Gone;
        if self.tree.is_excluded(feeder) {
            self.is_gone(feeder);
        } else if gone {
            self.misses(child, feeder);
        }
    }

    /// People learn who passed on what it must not, and who says so.
    async fn name_liar(&self, feeder: TransferId, child: TransferId) {
        let (feeder, child) = (self.members.get(&feeder), self.members.get(&child));
        if let (Some(feeder), Some(child)) = (feeder, child) {
            let by = child.joined.at.name.clone();
            feeder.reporter.tell(News::Blamed(by)).await;
        }
    }

    /// Tells everybody whose feeder has changed.
    async fn tell(&mut self) {
        while let Some(Assignment { member, feeder }) = self.tree.poll() {
            tracing::debug!(member = %member.short(), ?feeder, "is fed by another one");
            let through = match feeder {
                Place::Origin => None,
                Place::Member(id) => self.members.get(&id).map(|m| m.joined.at.name.clone()),
            };
            let feeder = self.feeder(member, feeder);
            let Some(member) = self.members.get(&member) else {
                continue;
            };
            member.joined.feeder.send_replace(Some(feeder));
            member.reporter.tell(News::Through(through)).await;
        }
    }

    /// What a member is told about its feeder.
    fn feeder(&self, child: TransferId, place: Place) -> Feeder {
        let Place::Member(id) = place else {
            return Feeder::Origin;
        };
        let (Some(child), Some(feeder)) = (self.members.get(&child), self.members.get(&id)) else {
            return Feeder::Origin;
        };
        let at = &feeder.joined.at;
        Feeder::Member {
            member: id,
            peer: at.peer,
            addrs: addrs_for(&child.joined.at.addrs, &at.addrs),
            ticket: Ticket::new(&feeder.joined.key, child.joined.at.peer),
        }
    }
}

/// Where a feeder may be for somebody who is there, each first where it is seen: an address inside
/// one computer, or one inside a local network, means nothing to those who are not in it, and is
/// nobody else's business.
fn addrs_for(child: &[SocketAddr], feeder: &[SocketAddr]) -> Vec<SocketAddr> {
    let is_here = |addr: &SocketAddr| addr.ip().to_canonical().is_loopback();
    let is_local = |addr: &SocketAddr| is_local_network(addr.ip());
    let child_is_here = child.first().is_some_and(is_here);
    let seen = |addrs: &[SocketAddr]| addrs.first().map(|addr| addr.ip().to_canonical());
    let both_are_local =
        child.first().is_some_and(is_local) && feeder.first().is_some_and(is_local);
    let near = both_are_local || seen(child) == seen(feeder);
    let means_something = |addr: &&SocketAddr| match (is_here(addr), is_local(addr)) {
        (true, _) => child_is_here,
        (false, true) => near,
        (false, false) => true,
    };
    let mut addrs: Vec<SocketAddr> = feeder.iter().filter(means_something).copied().collect();
    // Near ones first: they are faster, and cost nothing.
    addrs.sort_by_key(|addr| !is_local_network(addr.ip()));
    addrs.truncate(FEEDER_ADDRS_MAX);
    addrs
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests;
