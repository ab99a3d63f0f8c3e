//! What works in this network: looked at on a person's request, and said by each face in its own
//! words. "Why can't I?" is answered with facts.

mod words;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};

use super::api::{Overview, Presence, Reply, Target};
use super::core::Core;
use super::dial::{Callee, FIRST_CONTACT};
use crate::fault::Fault;
use crate::net::connector::Connector;
use crate::net::link::{PathInfo, PathKind};
use crate::net::relay::{RelayStanding, RelayState};
use crate::net::{DhtStanding, RouterPort, RouterProtocol, hears_multicast, is_local_network};

/// How long others in the network, and relays, are waited for before it is said that they are not
/// there; and a direct way, once a peer is reached.
const LISTEN_FOR: Duration = Duration::from_secs(3);
/// How long it is before multicast that does not work is looked at again.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// Names that are said of all who do not reach us.
const NAMES_MAX: usize = 2;

/// How good something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grade {
    /// As it should be.
    Good,
    /// It works, but not as well as it could.
    Hint,
    /// Something has to be done.
    Bad,
}

/// One thing that was looked at, and what was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Finding {
    /// There is no network but this computer itself.
    NoNetwork,
    /// In the network, with these addresses.
    Network(Vec<IpAddr>),
    /// Listening at this UDP port.
    Listening(u16),
    /// Listening at another port than the one in the settings.
    PortTaken {
        /// The one in the settings.
        wanted: u16,
        /// The one that is used.
        port: u16,
    },
    /// Another program has the TCP port of the same number.
    NoTcpPort(u16),
    /// Others are not looked for.
    Quiet,
    /// Multicast works, which is what finds others.
    Multicast,
    /// It does not.
    NoMulticast,
    /// So many others are heard, at least one.
    Nearby(u32),
    /// Nobody is heard.
    NobodyNear,
    /// Others say that they do not reach this computer: a claim.
    Missed {
        /// What they are called, those we know first; at least one, and not many.
        by: Vec<String>,
        /// How many say so.
        count: u32,
        /// Our UDP port.
        port: u16,
    },
    /// The router leads a port of its own here.
    RouterPort {
        /// The router's address and port.
        addr: SocketAddr,
        /// How it was asked.
        by: RouterProtocol,
    },
    /// It leads none, though it was asked for one.
    NoRouterPort(u16),
    /// Who has this computer's link finds it in the DHT.
    Dht,
    /// There is nothing to say in the DHT that would help anybody.
    DhtNothing,
    /// The DHT does not answer.
    DhtAway,
    /// No relay is set up.
    NoRelay {
        /// Whether one would help: this computer has no address of the Internet.
        needed: bool,
    },
    /// A relay of ours.
    Relay {
        /// Which, and how it is reached.
        standing: RelayStanding,
        /// Whether it sees us at another address than our own.
        translated: bool,
    },
    /// Two relays see the same port: the router keeps it for everybody.
    RouterOpen,
    /// Two relays see different ports.
    RouterStrict,
    /// A peer that was called was reached.
    PeerReached {
        /// What it is called: a claim, unless the person named it.
        name: String,
        /// The way to it.
        path: PathInfo,
    },
    /// A peer that was called was not.
    PeerNotReached(Fault),
}

/// What is known about the network.
#[derive(Debug)]
struct Facts<'a> {
    picture: &'a Overview,
    /// The port that was asked for; 0 for any.
    wanted: u16,
    /// Whether this computer hears its own multicast, if that was looked at.
    multicast: Option<bool>,
}

/// What is known about multicast on this computer.
#[derive(Debug)]
pub(super) struct Multicast {
    tell: watch::Sender<Option<bool>>,
    told: watch::Receiver<Option<bool>>,
    /// Our addresses when it was looked at last, and when that was.
    looked: Option<(Vec<String>, Instant)>,
}

impl Default for Multicast {
    fn default() -> Self {
        let (tell, told) = watch::channel(None);
        Self {
            tell,
            told,
            looked: None,
        }
    }
}

impl Multicast {
    /// Whether it works; `None` if it was not looked at.
    pub(super) fn works(&self) -> Option<bool> {
        *self.told.borrow()
    }

    /// Waits until something else is known. Cancel-safe.
    pub(super) async fn changed(&mut self) {
        if self.told.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Looks why nobody is heard: once at each place, and from time to time where it does not
    /// work, in case somebody mends it.
    fn look_if_due(&mut self, picture: &Overview) -> Option<JoinHandle<bool>> {
        let now = Instant::now();
        let here = &picture.me.addrs;
        let again = self.works() == Some(false);
        let done = self
            .looked
            .as_ref()
            .is_some_and(|(place, when)| place == here && (!again || now - *when < LOOK_AGAIN));
        if done || !picture.nearby.is_empty() {
            return None;
        }
        let looking = echo(picture)?;
        self.looked = Some((here.clone(), now));
        Some(looking)
    }
}

/// What the node keeps to tell what works in the network.
#[derive(Debug)]
pub(super) struct Checks {
    pub(super) multicast: Multicast,
    /// The port that was asked for; 0 for any.
    wanted: u16,
    /// From then on it is fair to say that somebody is not there.
    settled: Instant,
}

impl Checks {
    /// Of a node that begins now, and wants to listen at this port.
    pub(super) fn new(wanted: u16) -> Self {
        Self {
            multicast: Multicast::default(),
            wanted,
            settled: Instant::now() + LISTEN_FOR,
        }
    }

    /// There are new ones who may not be there yet.
    pub(super) fn wait_again(&mut self) {
        self.settled = Instant::now() + LISTEN_FOR;
    }
}

/// A look at the network that is under way.
struct Look {
    pictures: watch::Receiver<Arc<Overview>>,
    wanted: u16,
    /// When it is fair to say that somebody is not there.
    settled: Instant,
    /// Who is called, too.
    call: Option<Result<Callee, Fault>>,
    connector: Connector,
}

impl Core {
    /// Looks at the network; takes seconds, and the node goes on meanwhile.
    pub(super) async fn check_network(
        &mut self,
        call: Option<Target>,
        answer: oneshot::Sender<Result<Reply, Fault>>,
    ) {
        let call = match call {
            None => None,
            Some(Target::Peer(peer)) => Some(Ok(self.callee_of(peer))),
            Some(Target::Text(text)) => Some(self.callee(&text).await),
        };
        let look = Look {
            pictures: self.pictures.subscribe(),
            wanted: self.checks.wanted,
            settled: self.checks.settled,
            call,
            connector: self.connector.clone(),
        };
        let tell = self.checks.multicast.tell.clone();
        self.tasks.spawn(async move {
            let (findings, multicast) = look.run().await;
            tell_news(&tell, multicast);
            let _ = answer.send(Ok(Reply::Checked(findings)));
        });
    }

    /// Finds out why nobody is heard, if nobody is.
    pub(super) fn look_at_multicast(&mut self) {
        let picture = self.pictures.borrow().clone();
        if let Some(looking) = self.checks.multicast.look_if_due(&picture) {
            let tell = self.checks.multicast.tell.clone();
            self.tasks
                .spawn(async move { tell_news(&tell, looking.await.ok()) });
        }
    }
}

fn tell_news(tell: &watch::Sender<Option<bool>>, multicast: Option<bool>) {
    tell.send_if_modified(|known| {
        let news = multicast.is_some() && *known != multicast;
        if news {
            *known = multicast;
        }
        news
    });
}

impl Look {
    /// What was found, and whether multicast works, if that was looked at.
    async fn run(mut self) -> (Vec<Finding>, Option<bool>) {
        let looking = echo(&self.pictures.borrow().clone());
        let call = self.call.take();
        let called = async {
            match call {
                None => None,
                Some(Ok(callee)) => Some(self.call(&callee).await),
                Some(Err(fault)) => Some(Finding::PeerNotReached(fault)),
            }
        };
        let multicast = async {
            match looking {
                Some(looking) => looking.await.ok(),
                None => None,
            }
        };
        let (multicast, called, ()) = tokio::join!(multicast, called, sleep_until(self.settled));
        let picture = self.pictures.borrow().clone();
        let mut found = findings(&Facts {
            picture: &picture,
            wanted: self.wanted,
            multicast,
        });
        found.extend(called);
        (found, multicast)
    }

    /// Connects with a peer and says how that went.
    async fn call(&self, callee: &Callee) -> Finding {
        let connection = match callee.connect(&self.connector, FIRST_CONTACT).await {
            Ok(connection) => connection,
            Err(fault) => return Finding::PeerNotReached(fault),
        };
        if connection.path().kind == PathKind::Relay {
            // Time to find a direct way.
            sleep(LISTEN_FOR).await;
        }
        let picture = self.pictures.borrow().clone();
        let known = picture.peers.iter().find(|peer| peer.id == connection.id());
        let name = known.map_or(connection.name(), |peer| peer.record.name());
        Finding::PeerReached {
            name: name.to_owned(),
            path: connection.path(),
        }
    }
}

/// Looks whether multicast works, at the address that others find this computer at; `None` if it
/// is not used, or there is no IPv4, which is what is looked at.
fn echo(picture: &Overview) -> Option<JoinHandle<bool>> {
    if picture.presence == Presence::Off {
        return None;
    }
    let mut own = own_addrs(picture).into_iter();
    let at = own.find_map(|addr| match addr.ip() {
        IpAddr::V4(ip) if !ip.is_loopback() => Some(ip),
        IpAddr::V4(_) | IpAddr::V6(_) => None,
    })?;
    Some(tokio::task::spawn_blocking(move || hears_multicast(at)))
}

fn findings(facts: &Facts<'_>) -> Vec<Finding> {
    let own = own_addrs(facts.picture);
    let mut found = vec![
        network(&own, facts.picture.me.router_port.addr()),
        port(facts.wanted, &own),
    ];
    if let Some(addr) = own.first().filter(|_| !facts.picture.me.takes_tcp) {
        found.push(Finding::NoTcpPort(addr.port()));
    }
    if facts.picture.presence == Presence::Off {
        found.push(Finding::Quiet);
    } else {
        found.extend(facts.multicast.map(|works| match works {
            true => Finding::Multicast,
            false => Finding::NoMulticast,
        }));
        found.push(match facts.picture.nearby.len() {
            0 => Finding::NobodyNear,
            n => Finding::Nearby(u32::try_from(n).unwrap_or(u32::MAX)),
        });
    }
    found.extend(missed(facts.picture));
    found.extend(router_port(facts.picture.me.router_port, &own));
    found.extend(dht(facts.picture.me.dht));
    found.extend(relays(&facts.picture.me.relays, &own));
    found
}

/// Who in the network says that it does not reach this computer, if somebody does.
pub fn missed(picture: &Overview) -> Option<Finding> {
    let by = || picture.nearby.iter().filter(|near| near.misses_us);
    let names: Vec<String> = by().take(NAMES_MAX).map(|near| near.name.clone()).collect();
    (!names.is_empty()).then(|| Finding::Missed {
        by: names,
        count: u32::try_from(by().count()).unwrap_or(u32::MAX),
        port: own_addrs(picture).first().map_or(0, SocketAddr::port),
    })
}

fn own_addrs(picture: &Overview) -> Vec<SocketAddr> {
    let addrs = picture.me.addrs.iter();
    addrs.filter_map(|text| text.parse().ok()).collect()
}

fn network(own: &[SocketAddr], mapped: Option<SocketAddr>) -> Finding {
    let inside = own.iter().filter(|addr| Some(**addr) != mapped);
    match own.iter().all(|addr| addr.ip().is_loopback()) {
        true => Finding::NoNetwork,
        false => Finding::Network(inside.map(SocketAddr::ip).collect()),
    }
}

fn port(wanted: u16, own: &[SocketAddr]) -> Finding {
    let port = own.first().map_or(wanted, SocketAddr::port);
    match wanted == port || wanted == 0 {
        true => Finding::Listening(port),
        false => Finding::PortTaken { wanted, port },
    }
}

fn router_port(stands: RouterPort, own: &[SocketAddr]) -> Option<Finding> {
    match stands {
        RouterPort::Open { addr, by } => Some(Finding::RouterPort { addr, by }),
        // Only where there is a router, as the best of our addresses tells: what relays see, and
        // what is for IPv6 and for tunnels, comes after it.
        RouterPort::None => own
            .first()
            .filter(|addr| matches!(addr.ip(), IpAddr::V4(ip) if ip.is_private()))
            .map(|addr| Finding::NoRouterPort(addr.port())),
        RouterPort::Off | RouterPort::Asking => None,
    }
}

fn dht(stands: DhtStanding) -> Option<Finding> {
    match stands {
        DhtStanding::Published => Some(Finding::Dht),
        DhtStanding::Nothing => Some(Finding::DhtNothing),
        DhtStanding::Away => Some(Finding::DhtAway),
        DhtStanding::Off | DhtStanding::Asking => None,
    }
}

fn relays(relays: &[RelayStanding], own: &[SocketAddr]) -> Vec<Finding> {
    if relays.is_empty() {
        let is_public = |addr: &SocketAddr| !is_local_network(addr.ip());
        return vec![Finding::NoRelay {
            needed: !own.iter().any(is_public),
        }];
    }
    let seen_as_we_are = |standing: &RelayStanding| match standing.state {
        RelayState::Udp(seen) => own.iter().any(|addr| same_ip(*addr, seen)),
        RelayState::Tcp | RelayState::Away => false,
    };
    let found = relays.iter().map(|standing| Finding::Relay {
        standing: standing.clone(),
        translated: !seen_as_we_are(standing),
    });
    found.chain(translation(relays, own)).collect()
}

fn same_ip(a: SocketAddr, b: SocketAddr) -> bool {
    a.ip().to_canonical() == b.ip().to_canonical()
}

/// What two relays see tells what kind of router there is.
fn translation(relays: &[RelayStanding], own: &[SocketAddr]) -> Option<Finding> {
    let seen = |standing: &RelayStanding| match standing.state {
        RelayState::Udp(addr) if addr.is_ipv4() => Some(addr),
        RelayState::Udp(_) | RelayState::Tcp | RelayState::Away => None,
    };
    let seen: Vec<SocketAddr> = relays.iter().filter_map(seen).collect();
    let (first, rest) = seen.split_first()?;
    if rest.is_empty() || own.iter().any(|addr| same_ip(*addr, *first)) {
        return None;
    }
    Some(match rest.iter().all(|addr| addr == first) {
        true => Finding::RouterOpen,
        false => Finding::RouterStrict,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests;
