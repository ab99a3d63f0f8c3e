//! Finding peers in the same network, and one list of all who were found.
//!
//! What is found is a hint where somebody may be. Who is there, only the dial proves: it names the
//! key, and fails on another one.
//!
//! ```text
//!   DNS-SD (ours) ─────────┐                    ┌─> Near: addresses for dials
//!   other ways ── Input ───┼─> PeerList (pure) ─┤
//!   knocks at their ports ─┘                    └─> pictures for the faces
//! ```
//!
//! Other ways to hear of peers feed the same list through [`Discovery::inputs`]: our own peers
//! with [`Who::Key`], programs of the original's kind with [`Who::Original`]. They say a sighting
//! again at least once a minute, and say so when somebody has gone.

mod codes;
mod dns_sd;
mod list;
mod record;
mod unreached;

use std::collections::{BTreeSet, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use self::codes::Seeking;
pub use self::codes::{HeardCodes, NearCode, NearCodes, SEEK_FOR};
use self::dns_sd::{DnsOptions, DnsSd, Heard};
pub use self::list::{
    Ask, NEARBY_ADDRS_MAX, NEARBY_MAX, NearPeer, OriginalId, PeerList, Sighting, Source, Who,
};
use self::unreached::Unreached;
use super::probe::{Knocked, knock};
use crate::peer::PeerId;

/// Inputs that may wait for the list; a source that has more waits itself.
const INPUTS_MAX: usize = 256;
/// Knocks that are under way at once.
const KNOCKS_MAX: usize = 64;
/// How long a knock waits for its answer.
const KNOCK_WAIT: Duration = Duration::from_millis(1500);
/// Least time between two pictures of the list.
const PICTURE_PAUSE: Duration = Duration::from_millis(200);
/// How often the picture is renewed only to say when peers were heard.
const PICTURE_EVERY: Duration = Duration::from_secs(30);
/// How long the end may take.
const SHUTDOWN_WAIT: Duration = Duration::from_secs(1);

/// How much is said and listened to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Presence {
    /// Nothing is sent, nothing is listened to.
    Off,
    /// Others are looked for and not told where we are. There are two exceptions: while a
    /// one-time code waits here to be typed nearby, and programs of the original's kind, because
    /// who looks for them has to tell.
    Look,
    /// Others are told of us, too.
    Announce,
}

/// How to find and be found.
#[derive(Debug, Clone)]
pub struct DiscoveryOptions {
    /// Who we are: never in the list.
    pub me: PeerId,
    /// What we call ourselves; cut at [`crate::protocol::message::NAME_LEN_MAX`] bytes.
    pub name: String,
    /// The UDP port that we listen at.
    pub port: u16,
    /// The one address that we are bound to; `None` for all. The loopback is used only if it is
    /// this one.
    pub bind: Option<IpAddr>,
    /// How much is said and listened to.
    pub presence: Presence,
}

/// What a source tells the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// Somebody was heard.
    Seen(Source, Sighting),
    /// Somebody has gone.
    Gone(Source, Who),
    /// Somebody is there still: a message or an answer came from it.
    Alive(Who),
    /// A dial to this peer was not answered though it is near: it is told so, if others are told
    /// of us at all.
    Unreached(PeerId),
    /// There is a connection with this peer.
    Reached(PeerId),
    /// These are known to us from now on: there is always room for them in the list.
    Known(HashSet<PeerId>),
    /// One-time codes with these numbers, and no others, wait here to be typed nearby.
    Codes(BTreeSet<u16>),
    /// Somebody looks for the code with this number nearby, or for all numbers that are used.
    SeekCodes(Option<u16>),
}

/// Who is near.
pub type NearPeers = Arc<[NearPeer]>;

/// Finds peers until it is shut down or dropped.
#[derive(Debug)]
pub struct Discovery {
    presence: Presence,
    since: SystemTime,
    /// What was said of codes.
    codes: BTreeSet<u16>,
    inputs: mpsc::Sender<Input>,
    near: Near,
    /// Ends the task when it is dropped.
    stop: oneshot::Sender<()>,
    tasks: JoinSet<()>,
}

impl Discovery {
    /// Begins. Without a network, or where multicast is not allowed, nobody is found, and that is
    /// all. Must be called inside a tokio runtime.
    pub fn start(options: DiscoveryOptions) -> Self {
        let (inputs, waiting) = mpsc::channel(INPUTS_MAX);
        let (pictures, near) = watch::channel(NearPeers::default());
        let (found, codes) = watch::channel(NearCodes::default());
        let (stop, stopped) = oneshot::channel();
        let loopback = options.bind.is_some_and(|ip| ip.is_loopback());
        let list = PeerList::new(options.me, loopback, std::time::Instant::now());
        let name =
            super::handshake::shortened(options.name, crate::protocol::message::NAME_LEN_MAX);
        let dns = match options.presence {
            Presence::Off => None,
            Presence::Look | Presence::Announce => Some(DnsSd::new(DnsOptions {
                me: options.me,
                name,
                port: options.port,
                bind: options.bind,
                announce: options.presence == Presence::Announce,
                unreached: Vec::new(),
                codes: BTreeSet::new(),
                seeks_codes: false,
            })),
        };
        let looks = dns.is_some();
        let task = Task {
            list,
            dns,
            inputs: waiting,
            knocks: JoinSet::new(),
            unreached: Unreached::default(),
            seeking: Seeking::new(options.me),
            found,
            pictures,
            published: Instant::now() - PICTURE_PAUSE,
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(task.run(stopped));
        let near = Near {
            peers: near,
            codes: looks.then_some(codes),
            tell: Some(inputs.clone()),
        };
        Self {
            presence: options.presence,
            since: SystemTime::now(),
            codes: BTreeSet::new(),
            inputs,
            near,
            stop,
            tasks,
        }
    }

    /// How much is said and listened to.
    pub fn presence(&self) -> Presence {
        self.presence
    }

    /// Since when it listens. Whoever announced himself before is heard of a second or two later.
    pub fn since(&self) -> SystemTime {
        self.since
    }

    /// Tells the computers nearby that codes with these numbers wait here, if anything is said at
    /// all. To be called again now and then: when there is too much to do, it is said later.
    pub fn say_codes(&mut self, numbers: impl IntoIterator<Item = u16>) {
        let numbers: BTreeSet<u16> = numbers.into_iter().collect();
        let is_new = numbers != self.codes;
        if is_new && self.inputs.try_send(Input::Codes(numbers.clone())).is_ok() {
            self.codes = numbers;
        }
    }

    /// Where other sources tell what they hear.
    pub fn inputs(&self) -> mpsc::Sender<Input> {
        self.inputs.clone()
    }

    /// Who is near. Cheap to clone.
    pub fn near(&self) -> &Near {
        &self.near
    }

    /// Waits for a new picture of who is near. Cancel-safe.
    pub async fn changed(&mut self) {
        if self.near.peers.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Says goodbye to the network and ends, within a second.
    pub async fn shutdown(self) {
        let Self {
            stop, mut tasks, ..
        } = self;
        drop(stop);
        let ended = async { while tasks.join_next().await.is_some() {} };
        if timeout(SHUTDOWN_WAIT, ended).await.is_err() {
            tracing::debug!("discovery did not end in time");
        }
    }
}

/// The picture of who is near. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Near {
    peers: watch::Receiver<NearPeers>,
    /// `None` if nothing is listened to.
    codes: Option<watch::Receiver<NearCodes>>,
    tell: Option<mpsc::Sender<Input>>,
}

impl Near {
    /// Nobody, for ever.
    pub fn nobody() -> Self {
        Self {
            peers: watch::channel(NearPeers::default()).1,
            codes: None,
            tell: None,
        }
    }

    /// Everybody, in the order of [`Who`].
    pub fn peers(&self) -> NearPeers {
        self.peers.borrow().clone()
    }

    /// Where this peer is said to be; empty if it is not near.
    pub fn addrs(&self, id: PeerId) -> Vec<SocketAddr> {
        addrs_of(&self.peers.borrow(), id)
    }

    /// This peer, which is near, did not answer a dial: it is told so, for a minute, in what we say
    /// of ourselves. Returns where it is, if its port is shut, as far as we know; only its owner
    /// can open it.
    pub fn unreached(&self, id: PeerId) -> Option<SocketAddr> {
        let peers = self.peers();
        let peer = peers.iter().find(|peer| peer.who == Who::Key(id))?;
        if let Some(tell) = &self.tell {
            // Full of news from the network: the next dial says it again.
            let _ = tell.try_send(Input::Unreached(id));
        }
        peer.addrs.first().copied().filter(|_| peer.shut)
    }

    /// Whether codes can be told and found nearby.
    pub fn has_codes(&self) -> bool {
        self.codes.is_some()
    }

    /// Looks for the one-time code with this number nearby, or for all numbers that are used there,
    /// for [`SEEK_FOR`]. Gives the pictures of what was heard; `None` if nothing is listened to.
    /// Cancel-safe.
    pub async fn seek_codes(&self, number: Option<u16>) -> Option<watch::Receiver<NearCodes>> {
        let (codes, tell) = (self.codes.clone()?, self.tell.as_ref()?);
        tell.send(Input::SeekCodes(number)).await.ok()?;
        Some(codes)
    }

    /// Waits until this peer is said to be at an address that is not in `tried`; for ever if that
    /// never is. Cancel-safe.
    pub async fn elsewhere(&self, id: Option<PeerId>, tried: &[SocketAddr]) {
        let Some(id) = id else {
            return std::future::pending().await;
        };
        let mut pictures = self.peers.clone();
        let moved = |peers: &NearPeers| addrs_of(peers, id).iter().any(|a| !tried.contains(a));
        if pictures.wait_for(moved).await.is_err() {
            std::future::pending().await
        }
    }
}

fn addrs_of(peers: &[NearPeer], id: PeerId) -> Vec<SocketAddr> {
    let peer = peers.iter().find(|peer| peer.who == Who::Key(id));
    peer.map(|peer| peer.addrs.clone()).unwrap_or_default()
}

/// What runs: the list, and the ways to the network.
struct Task {
    list: PeerList,
    dns: Option<DnsSd>,
    inputs: mpsc::Receiver<Input>,
    knocks: JoinSet<(Who, Knocked)>,
    /// Whom we tell that we do not reach them.
    unreached: Unreached,
    seeking: Seeking,
    found: watch::Sender<NearCodes>,
    pictures: watch::Sender<NearPeers>,
    published: Instant,
}

impl Task {
    async fn run(mut self, mut stopped: oneshot::Receiver<()>) {
        let mut changed = false;
        loop {
            let picture = self.published
                + if changed {
                    PICTURE_PAUSE
                } else {
                    PICTURE_EVERY
                };
            let polls = [
                self.list.next_poll(),
                self.unreached.next_poll(),
                self.seeking.next_poll(),
            ];
            let poll = polls.into_iter().flatten().min().map(Instant::from_std);
            let until = poll.map_or(picture, |poll| poll.min(picture));
            let heard = async {
                match &mut self.dns {
                    Some(dns) => dns.next().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                // Nothing is sent: it ends when it is dropped.
                _ = &mut stopped => break,
                heard = heard => self.on_heard(heard),
                Some(input) = self.inputs.recv() => self.on_input(input),
                Some(knocked) = self.knocks.join_next() => {
                    if let Ok((who, knocked)) = knocked {
                        self.on_knocked(&who, knocked);
                    }
                }
                () = sleep_until(until) => {}
            }
            let now = Instant::now();
            for ask in self.list.poll(now.into_std()) {
                self.ask(ask);
            }
            if let (Some(said), Some(dns)) = (self.unreached.poll(now.into_std()), &mut self.dns)
                && !dns.say_unreached(said)
            {
                self.unreached.unsaid();
            }
            if self.seeking.is_over(now.into_std()) {
                self.seek(false);
            }
            changed |= self.list.take_changed();
            let age = now - self.published;
            if age >= PICTURE_EVERY || (changed && age >= PICTURE_PAUSE) {
                self.publish(now, changed);
                changed = false;
            }
        }
        if let Some(dns) = self.dns.take() {
            dns.goodbye().await;
        }
    }

    fn publish(&mut self, now: Instant, changed: bool) {
        self.published = now;
        let peers: NearPeers = self.list.entries().collect();
        if changed || !peers.is_empty() {
            self.pictures.send_replace(peers);
        }
    }

    fn on_heard(&mut self, heard: Heard) {
        let now = Instant::now().into_std();
        match heard {
            Heard::Seen(sighting) => self.list.saw(now, Source::DnsSd, sighting),
            Heard::Gone(id) => self.list.gone(Source::DnsSd, &Who::Key(id)),
            Heard::Code(mut code) => {
                code.addrs = self.list.usable(code.addrs);
                if self.seeking.heard(code) {
                    self.found.send_replace(self.seeking.picture());
                }
            }
            Heard::CodeGone(number, peer) => {
                if self.seeking.gone(number, peer) {
                    self.found.send_replace(self.seeking.picture());
                }
            }
            Heard::Lost => self.list.orphan(now, Source::DnsSd),
        }
    }

    fn on_input(&mut self, input: Input) {
        let now = Instant::now().into_std();
        match input {
            Input::Seen(source, sighting) => self.list.saw(now, source, sighting),
            Input::Gone(source, who) => self.list.gone(source, &who),
            Input::Alive(who) => self.list.heard(now, &who),
            Input::Unreached(id) => {
                self.unreached.failed(now, id);
                self.list.unreached(id);
            }
            Input::Reached(id) => self.unreached.reached(id),
            Input::Known(known) => self.list.set_known(known),
            Input::Codes(numbers) => {
                if let Some(dns) = &mut self.dns {
                    dns.say_codes(numbers);
                }
            }
            Input::SeekCodes(number) => {
                self.seeking.begin(now, number);
                self.seek(true);
            }
        }
    }

    fn seek(&mut self, seeks: bool) {
        if let Some(dns) = &mut self.dns {
            dns.seek_codes(seeks);
        }
        self.found.send_replace(self.seeking.picture());
    }

    fn on_knocked(&mut self, who: &Who, knocked: Knocked) {
        let now = Instant::now().into_std();
        match knocked {
            Knocked::Answered => self.list.alive(now, who),
            Knocked::Refused => self.list.refused(now, who),
            // The list has its own clock.
            Knocked::Silent => {}
        }
    }

    fn ask(&mut self, ask: Ask) {
        match ask {
            Ask::Ping(who, addr) if self.knocks.len() < KNOCKS_MAX => {
                let knocking = async move { (who, knock(addr, KNOCK_WAIT).await) };
                self.knocks.spawn(knocking);
            }
            // As good as unanswered: the next question follows.
            Ask::Ping(..) => {}
            Ask::Confirm(id) => {
                if let Some(dns) = &self.dns {
                    dns.confirm(id);
                }
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use crate::protocol::legacy::LegacyId;

    fn options(presence: Presence) -> DiscoveryOptions {
        DiscoveryOptions {
            me: PeerId::of_public_key(b"me"),
            name: "me".into(),
            port: 9,
            bind: None,
            presence,
        }
    }

    /// Waits for a new picture, and not for ever.
    async fn changed(discovery: &mut Discovery) {
        let changed = timeout(PICTURE_EVERY, discovery.changed()).await;
        changed.expect("nothing has changed");
    }

    fn original(name: &str) -> Sighting {
        Sighting {
            who: Who::Original(OriginalId {
                id: LegacyId::DEFAULT_PROFILE,
                requests: "10.0.0.2:3486".parse().unwrap(),
            }),
            name: name.into(),
            addrs: vec!["10.0.0.2:3486".parse().unwrap()],
            unreached: Vec::new(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_other_sources_tell_is_in_the_list_until_they_take_it_back() {
        let mut discovery = Discovery::start(options(Presence::Off));
        let inputs = discovery.inputs();
        let seen = original("old");
        let who = seen.who;
        inputs
            .send(Input::Seen(Source::Original, seen))
            .await
            .unwrap();
        changed(&mut discovery).await;
        assert_eq!(discovery.near().peers()[0].name, "old");
        inputs
            .send(Input::Gone(Source::Original, who))
            .await
            .unwrap();
        changed(&mut discovery).await;
        assert!(discovery.near().peers().is_empty());
        discovery.shutdown().await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_storm_of_changes_makes_few_pictures() {
        let mut discovery = Discovery::start(options(Presence::Off));
        let inputs = discovery.inputs();
        let begun = Instant::now();
        tokio::spawn(async move {
            for n in 0..400 {
                let mut seen = original("old");
                seen.name = n.to_string();
                inputs
                    .send(Input::Seen(Source::Original, seen))
                    .await
                    .unwrap();
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        let mut pictures = 0;
        while discovery
            .near()
            .peers()
            .first()
            .is_none_or(|peer| peer.name != "399")
        {
            changed(&mut discovery).await;
            pictures += 1;
        }
        let most = begun.elapsed().as_millis() / PICTURE_PAUSE.as_millis() + 1;
        assert!(pictures <= most, "{pictures} of at most {most}");
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_a_peer_hears_of_its_new_address_only() {
        let discovery = Discovery::start(options(Presence::Off));
        let (inputs, near) = (discovery.inputs(), discovery.near().clone());
        let id = PeerId::of_public_key(b"anna");
        let at = |addr: &str| Sighting {
            who: Who::Key(id),
            name: "anna".into(),
            addrs: vec![addr.parse().unwrap()],
            unreached: Vec::new(),
        };
        let tried = ["10.0.0.2:1".parse().unwrap()];
        let old = Input::Seen(Source::OriginalKeys, at("10.0.0.2:1"));
        inputs.send(old).await.unwrap();
        let soon = Duration::from_secs(1);
        assert!(
            timeout(soon, near.elsewhere(Some(id), &tried))
                .await
                .is_err()
        );
        let new = Input::Seen(Source::OriginalKeys, at("10.0.0.3:1"));
        inputs.send(new).await.unwrap();
        let moved = timeout(soon, near.elsewhere(Some(id), &tried)).await;
        moved.expect("the new address is not heard");
        assert_eq!(near.addrs(id), ["10.0.0.3:1".parse().unwrap()]);
        assert!(timeout(soon, near.elsewhere(None, &[])).await.is_err());
        assert!(
            timeout(soon, Near::nobody().elsewhere(Some(id), &[]))
                .await
                .is_err()
        );
    }
}
