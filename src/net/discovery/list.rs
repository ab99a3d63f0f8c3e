//! The one list of nearby peers: who was heard of, by which way, and who has gone. Pure: sightings
//! and the time come in, questions to the network come out.
//!
//! What is heard is a claim of anybody in the network: it says where to look, never who is there.
//! So everything here has a limit, and a flood of strangers cannot push out those we know.

mod credit;

use std::collections::{BTreeMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use self::credit::Credit;
use crate::net::handshake::shortened;
use crate::net::is_local_network;
use crate::peer::PeerId;
use crate::protocol::legacy::LegacyId;
use crate::protocol::link_uri::LegacyAddress;
use crate::protocol::message::NAME_LEN_MAX;

/// Most entries; a crowded lecture hall fits.
pub const NEARBY_MAX: usize = 256;
/// Most addresses of an entry: one of each family on a few interfaces.
pub const NEARBY_ADDRS_MAX: usize = 8;

/// An entry that was silent for this long is asked whether it is still there.
const QUIET: Duration = Duration::from_secs(4);
/// How long one question waits for its answer.
const ANSWER_WAIT: Duration = Duration::from_secs(2);
/// Questions to its port before it is asked by other means.
const PINGS: u8 = 2;
/// How long the last question takes: until then [`PeerList::gone`] comes, or it was answered.
pub(super) const CONFIRM_WAIT: Duration = Duration::from_secs(3);
/// Something comes in between: the answer to the last question is taken a little later.
const CONFIRM_SLACK: Duration = Duration::from_secs(1);
/// What is heard in other ways than DNS-SD counts for this long, if it is not heard again.
const VALID: Duration = Duration::from_secs(60);
/// So long do entries of a source live that has failed, unless they answer.
const ORPHANED: Duration = Duration::from_secs(15);

/// Who an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Who {
    /// A peer with this key, if whoever said so did not lie: the dial proves it.
    Key(PeerId),
    /// A program of the original's kind, by what it says, which nothing ever proves.
    Original(OriginalId),
}

/// What tells programs of the original's kind apart: not the id alone, because all whose person
/// never changed the profile have the same one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct OriginalId {
    /// What it says its id is.
    #[serde(with = "crate::peer::legacy_id")]
    pub id: LegacyId,
    /// Where it answers requests.
    pub requests: SocketAddr,
}

impl OriginalId {
    /// Where files for it go, as a person could type it.
    pub fn address(&self) -> LegacyAddress {
        LegacyAddress {
            ip: self.requests.ip(),
            port: None,
            req_port: self.requests.port(),
        }
    }
}

/// By which way something was heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// DNS-SD: our own peers.
    DnsSd,
    /// Our own peers, by what they add to the original's discovery.
    OriginalKeys,
    /// The original's discovery: programs of its kind.
    Original,
}

/// What was heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sighting {
    /// Of whom.
    pub who: Who,
    /// What it calls itself.
    pub name: String,
    /// Where it says it is, most useful first.
    pub addrs: Vec<SocketAddr>,
    /// Whom it says it does not reach.
    pub unreached: Vec<PeerId>,
}

/// An entry as others see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NearPeer {
    /// Who it is, by its own words.
    pub who: Who,
    /// What it calls itself; may be empty.
    pub name: String,
    /// Where it is, most useful first; at most [`NEARBY_ADDRS_MAX`].
    pub addrs: Vec<SocketAddr>,
    /// When it was heard last.
    pub heard: Instant,
    /// Whether its port did not answer though it was heard since.
    pub shut: bool,
    /// Whether it says that it does not reach us.
    pub misses_us: bool,
}

/// A question to the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// Does something listen there? Tell [`PeerList::alive`] or [`PeerList::refused`].
    Ping(Who, SocketAddr),
    /// Does the network still know it? If not within `CONFIRM_WAIT`, tell [`PeerList::gone`].
    Confirm(PeerId),
}

/// See the module.
#[derive(Debug)]
pub struct PeerList {
    me: PeerId,
    /// Whether addresses of this computer itself are good.
    loopback: bool,
    entries: BTreeMap<Who, Entry>,
    known: HashSet<PeerId>,
    credit: Credit,
    changed: bool,
}

#[derive(Debug)]
struct Entry {
    first: Instant,
    heard: Instant,
    claims: BTreeMap<Source, Claim>,
    check: Check,
    /// How often it was pinged: each time another address.
    pings: usize,
    /// How often its port was asked since it answered.
    unanswered: usize,
    /// It was heard though its port does not answer.
    shut: bool,
}

#[derive(Debug, PartialEq, Eq)]
struct Claim {
    name: String,
    addrs: Vec<SocketAddr>,
    misses_us: bool,
    until: Option<Instant>,
}

/// How far the question is whether an entry is still there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Check {
    /// It was heard; asked again then.
    Heard { until: Instant },
    /// It was pinged so often without an answer.
    Pinged { times: u8, until: Instant },
    /// The network was asked.
    Confirming { until: Instant },
}

impl Check {
    fn until(self) -> Instant {
        match self {
            Self::Heard { until } | Self::Pinged { until, .. } | Self::Confirming { until } => {
                until
            }
        }
    }
}

impl PeerList {
    /// An empty list of the peer `me`, which is never in it. `loopback` if others are looked for
    /// on this computer alone.
    pub fn new(me: PeerId, loopback: bool, now: Instant) -> Self {
        Self {
            me,
            loopback,
            entries: BTreeMap::new(),
            known: HashSet::new(),
            credit: Credit::new(now),
            changed: false,
        }
    }

    /// These are known from now on: there is always room for them.
    pub fn set_known(&mut self, known: HashSet<PeerId>) {
        self.known = known;
    }

    /// Takes in what was heard.
    pub fn saw(&mut self, now: Instant, source: Source, sighting: Sighting) {
        let Sighting {
            who,
            name,
            addrs,
            unreached,
        } = sighting;
        let known = self.is_known(&who);
        if who == Who::Key(self.me) || !self.credit.take(now, known) {
            return;
        }
        let claim = Claim {
            name: shortened(name, NAME_LEN_MAX),
            addrs: self.usable(addrs),
            misses_us: unreached.contains(&self.me),
            until: match source {
                Source::DnsSd => None,
                Source::OriginalKeys | Source::Original => Some(now + VALID),
            },
        };
        if claim.addrs.is_empty() || !self.make_room(&who, known) {
            return;
        }
        let entry = self.entries.entry(who).or_insert_with(|| {
            self.changed = true;
            Entry::new(now)
        });
        let old = entry.claims.get(&source);
        let moved = old.is_none_or(|old| old.addrs != claim.addrs);
        let new = moved
            || old.is_none_or(|old| old.name != claim.name || old.misses_us != claim.misses_us);
        self.changed |= new;
        if moved {
            entry.shut = false;
            entry.unanswered = 0;
        }
        entry.claims.insert(source, claim);
        // DNS-SD repeats what it remembers: only something new was heard just now.
        if new || source != Source::DnsSd {
            self.changed |= entry.hear(now);
        }
    }

    /// A peer has said goodbye by this way, or is not known there any more. One that DNS-SD does
    /// not know any more has gone, until it is heard again.
    pub fn gone(&mut self, source: Source, who: &Who) {
        let Some(entry) = self.entries.get_mut(who) else {
            return;
        };
        self.changed |= entry.claims.remove(&source).is_some();
        if source == Source::DnsSd {
            // It leaves as a whole, and what it told in passing cannot be taken back.
            self.changed |= entry.claims.remove(&Source::OriginalKeys).is_some();
        }
        if entry.claims.is_empty() {
            self.entries.remove(who);
        }
    }

    /// Something came from it, though not from its port.
    pub fn heard(&mut self, now: Instant, who: &Who) {
        if let Some(entry) = self.entries.get_mut(who) {
            self.changed |= entry.hear(now);
            for claim in entry.claims.values_mut() {
                claim.until = claim.until.map(|until| until.max(now + ORPHANED));
            }
        }
    }

    /// A dial to all its addresses was not answered.
    pub fn unreached(&mut self, id: PeerId) {
        if let Some(entry) = self.entries.get_mut(&Who::Key(id)) {
            entry.unanswered = entry.unanswered.max(entry.enough());
        }
    }

    /// Something answers at its port. Whether it is who we think only a dial can tell.
    pub fn alive(&mut self, now: Instant, who: &Who) {
        if let Some(entry) = self.entries.get_mut(who) {
            entry.unanswered = 0;
            self.changed |= std::mem::take(&mut entry.shut);
        }
        self.heard(now, who);
    }

    /// Nobody listens there any more: worth the last question at once.
    pub fn refused(&mut self, now: Instant, who: &Who) {
        if let Some(entry) = self.entries.get_mut(who) {
            entry.check = match entry.check {
                Check::Heard { .. } | Check::Pinged { .. } => Check::Pinged {
                    times: PINGS,
                    until: now,
                },
                asked @ Check::Confirming { .. } => asked,
            };
        }
    }

    /// This way does not work any more: what it told is forgotten soon, unless it is heard again
    /// or answers.
    pub fn orphan(&mut self, now: Instant, source: Source) {
        for entry in self.entries.values_mut() {
            if let Some(claim) = entry.claims.get_mut(&source) {
                let until = now + ORPHANED;
                claim.until = Some(claim.until.map_or(until, |old| old.min(until)));
            }
        }
    }

    /// Lets time pass until `now`. Gives the questions that are due; ask each once.
    pub fn poll(&mut self, now: Instant) -> Vec<Ask> {
        let mut asks = Vec::new();
        let before = self.entries.len();
        for (who, entry) in &mut self.entries {
            let claims = entry.claims.len();
            entry
                .claims
                .retain(|_, claim| claim.until.is_none_or(|until| until > now));
            self.changed |= entry.claims.len() != claims;
            if let Who::Key(id) = who
                && entry.check.until() <= now
            {
                let shut = entry.shut;
                asks.extend(entry.ask(now, *id));
                self.changed |= entry.shut != shut;
            }
        }
        self.entries.retain(|_, entry| !entry.claims.is_empty());
        self.changed |= self.entries.len() != before;
        asks
    }

    /// When [`Self::poll`] has something to do again.
    pub fn next_poll(&self) -> Option<Instant> {
        let times = self.entries.iter().flat_map(|(who, entry)| {
            let check = matches!(who, Who::Key(_)).then(|| entry.check.until());
            let ends = entry.claims.values().filter_map(|claim| claim.until);
            ends.chain(check)
        });
        times.min()
    }

    /// Whether [`Self::entries`] differs from what it was at the last call of this.
    pub fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// Everybody who is near, in the order of [`Who`].
    pub fn entries(&self) -> impl Iterator<Item = NearPeer> {
        self.entries.iter().map(|(who, entry)| NearPeer {
            who: *who,
            name: entry.name().to_owned(),
            addrs: entry.addrs(),
            heard: entry.heard,
            shut: entry.shut,
            misses_us: entry.claims.values().any(|claim| claim.misses_us),
        })
    }

    fn is_known(&self, who: &Who) -> bool {
        match who {
            Who::Key(id) => self.known.contains(id),
            Who::Original(_) => false,
        }
    }

    /// Whether `who` is in the list or there is room for it. The newest stranger makes way for
    /// somebody we know: a flood is what came last.
    fn make_room(&mut self, who: &Who, known: bool) -> bool {
        if self.entries.contains_key(who) || self.entries.len() < NEARBY_MAX {
            return true;
        }
        if !known {
            return false;
        }
        let strangers = self.entries.iter().filter(|(who, _)| !self.is_known(who));
        let newest = strangers.max_by_key(|(_, entry)| entry.first);
        match newest.map(|(who, _)| *who) {
            Some(stranger) => self.entries.remove(&stranger).is_some(),
            None => false,
        }
    }

    /// Addresses that can be those of a computer near us, each once.
    pub(super) fn usable(&self, addrs: Vec<SocketAddr>) -> Vec<SocketAddr> {
        let mut usable = Vec::new();
        for addr in addrs {
            let ip = addr.ip().to_canonical();
            let broadcast = ip == IpAddr::from([255; 4]);
            let good = addr.port() != 0
                && !ip.is_unspecified()
                && !ip.is_multicast()
                && !broadcast
                && ip.is_loopback() == self.loopback;
            if good && !usable.contains(&addr) {
                usable.push(addr);
            }
            if usable.len() == NEARBY_ADDRS_MAX {
                break;
            }
        }
        usable
    }
}

impl Entry {
    fn new(now: Instant) -> Self {
        Self {
            first: now,
            heard: now,
            claims: BTreeMap::new(),
            check: Check::Heard { until: now + QUIET },
            pings: 0,
            unanswered: 0,
            shut: false,
        }
    }

    /// Returns whether it is clear only now that its port is shut.
    fn hear(&mut self, now: Instant) -> bool {
        self.heard = now;
        self.check = Check::Heard { until: now + QUIET };
        let was = self.shut;
        self.shut |= self.unanswered >= self.enough();
        self.shut != was
    }

    /// So many questions to its port without an answer are no accident: at each of its addresses.
    fn enough(&self) -> usize {
        self.addrs().len().max(PINGS.into())
    }

    /// The next question, now that the last one was not answered in time.
    fn ask(&mut self, now: Instant, id: PeerId) -> Option<Ask> {
        let times = match self.check {
            Check::Heard { .. } => 0,
            Check::Pinged { times, .. } => times,
            Check::Confirming { .. } => {
                // It would be gone by now: so it is there, and only its port is shut to us.
                self.hear(now);
                return None;
            }
        };
        let addrs: Vec<SocketAddr> = self.addrs().into_iter().filter(may_be_pinged).collect();
        if times < PINGS && !addrs.is_empty() {
            let addr = addrs.get(self.pings % addrs.len()).copied();
            self.pings += 1;
            self.unanswered += 1;
            self.check = Check::Pinged {
                times: times + 1,
                until: now + ANSWER_WAIT,
            };
            return addr.map(|addr| Ask::Ping(Who::Key(id), addr));
        }
        let until = now + CONFIRM_WAIT + CONFIRM_SLACK;
        match self.claims.get(&Source::DnsSd) {
            Some(Claim { until: None, .. }) => {
                self.check = Check::Confirming { until };
                Some(Ask::Confirm(id))
            }
            // Nobody to ask: it stays as long as what was heard counts.
            Some(_) | None => {
                self.check = Check::Heard { until };
                None
            }
        }
    }

    /// Its name by the best way it was heard.
    fn name(&self) -> &str {
        let mut names = self.claims.values().map(|claim| claim.name.as_str());
        names.find(|name| !name.is_empty()).unwrap_or_default()
    }

    fn addrs(&self) -> Vec<SocketAddr> {
        let mut addrs: Vec<SocketAddr> = Vec::new();
        for addr in self.claims.values().flat_map(|claim| &claim.addrs) {
            if addrs.len() < NEARBY_ADDRS_MAX && !addrs.contains(addr) {
                addrs.push(*addr);
            }
        }
        addrs
    }
}

/// Whether we may send packets there just because somebody in this network said so: only to
/// addresses that lead nowhere else, so that nobody can have us knock at a stranger's door.
fn may_be_pinged(addr: &SocketAddr) -> bool {
    is_local_network(addr.ip())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests;
