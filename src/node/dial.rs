//! From what a person typed to a connection, and what failed in words.

use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::fault::{Fault, RelayTried, Tried};
use crate::net::Found;
use crate::net::connection::PeerConnection;
use crate::net::connector::{ConnectError, Connector, Dial, Ways, resolve};
use crate::net::discovery::{Near, Who};
use crate::peer::PeerId;
use crate::protocol::link_uri::{RELAY_ADDRS_MAX, RelayHint};

/// How long the first contact may take before the peer counts as not there.
pub(super) const FIRST_CONTACT: Duration = Duration::from_secs(5);

/// How long it may take to meet somebody who has just answered.
const MEETING: Duration = Duration::from_secs(3);

/// How long a peer is called where it is known to be before its key is looked up.
const SEARCH_AFTER: Duration = Duration::from_secs(1);

/// Whom to call.
#[derive(Debug, Clone)]
pub(super) struct Callee {
    /// The key it must have, if one is known.
    pub(super) expect: Option<PeerId>,
    /// Addresses to try: remembered or typed.
    pub(super) addrs: Vec<SocketAddr>,
    /// Relays where it listens, or did.
    pub(super) relays: Vec<RelayHint>,
    /// Where it is said to be now.
    pub(super) near: Near,
    /// Host and port to look up, if a person typed such.
    pub(super) host: Option<(String, u16)>,
    /// What a person typed, for messages.
    pub(super) shown: String,
    /// Whether it is looked for elsewhere.
    pub(super) lookup: Lookup,
}

/// Whether somebody who is not where he is said to be is looked for by his key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lookup {
    /// If the settings allow it.
    ByKey,
    /// Not at all: anybody can have said whose key it is.
    Never,
}

/// Addresses that are remembered for one peer.
const ADDRS_MAX: usize = 8;
/// So often a call is begun anew because the peer is said to be elsewhere now: whoever tells lies
/// about it all the time must not keep it from being reached where it was.
const MOVES_MAX: usize = 3;

/// Relays that are remembered for one peer.
const RELAYS_MAX: usize = 4;

/// The peer listens at this relay: it comes first.
pub(super) fn add_relay(relays: &mut Vec<RelayHint>, mut relay: RelayHint) {
    if let Some(at) = relays.iter().position(|known| known.id == relay.id) {
        // It may have been reached at one address; the others are as good.
        for addr in relays.remove(at).addrs {
            if !relay.addrs.contains(&addr) {
                relay.addrs.push(addr);
            }
        }
        relay.addrs.truncate(RELAY_ADDRS_MAX);
    }
    relays.insert(0, relay);
    relays.truncate(RELAYS_MAX);
}

/// A search for a key that is under way.
type Search<'a> = Pin<Box<dyn Future<Output = Option<Found>> + Send + 'a>>;

/// A call that is under way.
struct Call<'a> {
    callee: &'a Callee,
    connector: &'a Connector,
    /// What the host that was typed has led to.
    typed: Vec<SocketAddr>,
    until: Instant,
    moves: usize,
    /// `None` if it is over, or not wanted.
    search: Option<Search<'a>>,
    found: Option<Found>,
    ways: Ways,
}

/// What is known of a peer that has not answered.
#[derive(Debug, Clone, Copy)]
struct Missed {
    tried: Tried,
    /// Whether it can be in none of our networks.
    elsewhere: bool,
}

impl Missed {
    /// Whether it is the way to it that is missing, as far as can be known: a peer that a relay
    /// does not have either is not there.
    fn is_way_missing(&self) -> bool {
        self.elsewhere && self.tried.relay != Some(RelayTried::Absent)
    }
}

/// Why a call is begun anew.
enum News {
    /// The peer is said to be elsewhere now.
    Elsewhere,
    /// What the search came to.
    Searched(Option<Found>),
}

impl Call<'_> {
    /// Calls until there is an answer, or something else is known. `None` if it is to be called
    /// again.
    async fn round(&mut self) -> Option<Result<PeerConnection, ConnectError>> {
        let mut addrs = self.typed.clone();
        addrs.extend(self.callee.known_addrs());
        let dial = self.callee.dial(&addrs, self.found.as_ref());
        let left = self.until.saturating_duration_since(Instant::now());
        let ways = self.ways.clone();
        let mut dialling = pin!(self.connector.prepare_noting(dial, left, &ways));
        let error = loop {
            tokio::select! {
                biased;
                connected = &mut dialling => match connected {
                    Ok(connection) => return Some(Ok(connection)),
                    Err(error) => break error,
                },
                news = news(self.callee, &addrs, self.moves, &mut self.search) => {
                    if self.has_heard(news) {
                        return None;
                    }
                }
            }
        };
        if !error.may_be_elsewhere() {
            return Some(Err(error));
        }
        // Nobody is called any more, but the search may go on.
        while self.search.is_some() {
            let expect = self.callee.expect;
            tokio::select! {
                biased;
                Some(connection) = connected(self.connector, expect) => return Some(Ok(connection)),
                news = news(self.callee, &addrs, self.moves, &mut self.search) => {
                    if self.has_heard(news) {
                        return None;
                    }
                }
            }
        }
        Some(Err(error))
    }

    /// What is known when nobody has answered.
    fn missed(&self) -> Missed {
        let mut addrs = self.typed.clone();
        addrs.extend(self.callee.known_addrs());
        let found = self.found.iter().flat_map(|found| &found.addrs);
        addrs.extend(found);
        let told = self.callee.expect.map(|id| self.connector.whereabouts(id));
        addrs.extend(told.unwrap_or_default());
        Missed {
            tried: self.connector.tried(&self.ways),
            elsewhere: self.connector.are_elsewhere(&addrs),
        }
    }

    /// Where somebody is who has answered in place of the peer.
    fn instead(&self, got: PeerId) -> Dial {
        let mut addrs = self.typed.clone();
        addrs.extend(self.callee.known_addrs());
        Dial {
            expect: Some(got),
            ..self.callee.dial(&addrs, self.found.as_ref())
        }
    }

    /// Whether it is to be called anew, for as long as a first contact may take at least.
    fn has_heard(&mut self, news: News) -> bool {
        match news {
            News::Elsewhere => self.moves += 1,
            News::Searched(found) => {
                self.search = None;
                let is_new = found.as_ref().is_some_and(|found| self.is_new(found));
                if !is_new {
                    return false;
                }
                self.found = found;
            }
        }
        self.until = self.until.max(Instant::now() + FIRST_CONTACT);
        true
    }

    /// Whether it says anything that is not known.
    fn is_new(&self, found: &Found) -> bool {
        let known = self.callee.known_addrs();
        let relay = |id| self.callee.relays.iter().any(|known| known.id == id);
        found.addrs.iter().any(|addr| !known.contains(addr))
            || found.relays.iter().any(|found| !relay(found.id))
    }
}

/// Connects to somebody, if he wants that.
async fn meet(connector: &Connector, dial: Dial) {
    if let Err(error) = connector.prepare_connection(dial, MEETING).await {
        tracing::info!(%error, "whoever answered instead is not met");
    }
}

/// What is heard of a peer while it is called. Cancel-safe.
async fn news(
    callee: &Callee,
    addrs: &[SocketAddr],
    moves: usize,
    search: &mut Option<Search<'_>>,
) -> News {
    let searched = async {
        match search {
            Some(search) => search.await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = callee.near.elsewhere(callee.expect, addrs), if moves < MOVES_MAX => News::Elsewhere,
        found = searched => News::Searched(found),
    }
}

/// The connection that the peer makes meanwhile; `None` if it is not known who it is.
async fn connected(connector: &Connector, expect: Option<PeerId>) -> Option<PeerConnection> {
    Some(connector.connected(expect?).await)
}

impl Callee {
    /// The peer was just reached like this: that comes first.
    pub(super) fn remember(&mut self, connection: &PeerConnection) {
        if let Some(addr) = connection.remote_addr() {
            self.addrs.retain(|known| *known != addr);
            self.addrs.insert(0, addr);
            self.addrs.truncate(ADDRS_MAX);
        }
        if let Some(relay) = connection.relay() {
            add_relay(&mut self.relays, relay);
        }
    }

    /// Connects, or says in words why not. A peer that moves meanwhile is followed. Whoever answers
    /// in its place is met, too, so that people can compare the three words; nothing else is said
    /// to it than to anybody who calls here. Cancel-safe.
    pub(super) async fn connect(
        &self,
        connector: &Connector,
        deadline: Duration,
    ) -> Result<PeerConnection, Fault> {
        let until = Instant::now() + deadline;
        let mut typed = Vec::new();
        if let Some((host, port)) = &self.host {
            let found = tokio::time::timeout(deadline, resolve(host, *port)).await;
            match found {
                Ok(Ok(found)) => typed = found,
                Ok(Err(_)) | Err(_) if self.known_addrs().is_empty() => {
                    return Err(Fault::PeerOffline {
                        peer: self.shown.clone(),
                    });
                }
                Ok(Err(_)) | Err(_) => {}
            }
        }
        let mut call = Call {
            callee: self,
            connector,
            typed,
            until,
            moves: 0,
            search: self.search(connector),
            found: None,
            ways: Ways::default(),
        };
        loop {
            if let Some(done) = call.round().await {
                if let Err(ConnectError::WrongPeer { got }) = &done {
                    meet(connector, call.instead(*got)).await;
                }
                return done.map_err(|error| self.fault(error, &call.typed, call.missed()));
            }
        }
    }

    /// Where it is called: where it was just found first.
    fn dial(&self, addrs: &[SocketAddr], found: Option<&Found>) -> Dial {
        let mut dial = Dial {
            expect: self.expect,
            addrs: addrs.to_vec(),
            relays: self.relays.clone(),
        };
        if let Some(found) = found {
            dial.addrs.retain(|addr| !found.addrs.contains(addr));
            dial.addrs.splice(..0, found.addrs.iter().copied());
            for relay in found.relays.iter().rev() {
                add_relay(&mut dial.relays, relay.clone());
            }
        }
        dial
    }

    /// Looks for it by its key where it may have said that it is, if that is wanted: a little
    /// later, for whoever answers at once need not be searched.
    fn search<'a>(&self, connector: &'a Connector) -> Option<Search<'a>> {
        let is_wanted = self.lookup == Lookup::ByKey && connector.searches();
        let id = self.expect.filter(|_| is_wanted)?;
        Some(Box::pin(async move {
            sleep(SEARCH_AFTER).await;
            connector.search(id).await
        }))
    }

    /// Waits until the peer appears in the network, or is said to be elsewhere than now; for ever
    /// if it never does. Cancel-safe.
    pub(super) async fn appears(&self) {
        let now = self.expect.map(|id| self.near.addrs(id));
        self.near
            .elsewhere(self.expect, &now.unwrap_or_default())
            .await;
    }

    /// Where it is said to be and where it was, in turns: either may be wrong by now.
    fn known_addrs(&self) -> Vec<SocketAddr> {
        let near = self.expect.map(|id| self.near.addrs(id));
        let mut near = near.unwrap_or_default().into_iter();
        let mut known = self.addrs.iter().copied();
        let mut addrs = Vec::new();
        loop {
            let pair = [near.next(), known.next()];
            if pair == [None, None] {
                return addrs;
            }
            for addr in pair.into_iter().flatten() {
                if !addrs.contains(&addr) {
                    addrs.push(addr);
                }
            }
        }
    }

    /// Nothing answered. A peer that is heard all the same is told so: its owner can do something.
    fn silent(&self, missed: Missed) -> Fault {
        let peer = self.shown.clone();
        match self.expect.and_then(|id| self.near.unreached(id)) {
            Some(addr) => Fault::PeerFirewall {
                peer,
                port: addr.port(),
            },
            None if missed.is_way_missing() => Fault::NoRoute {
                peer,
                tried: missed.tried,
            },
            None => Fault::PeerOffline { peer },
        }
    }

    /// The program of the original's kind that is said to be at one of these addresses, which a
    /// person has typed. One whose key is known is never sent to like that.
    fn original_at(&self, typed: &[SocketAddr]) -> Option<Fault> {
        if self.expect.is_some() {
            return None;
        }
        let near = self.near.peers();
        let mut originals = near.iter().filter_map(|peer| match peer.who {
            Who::Original(id) => Some(id.address()),
            Who::Key(_) => None,
        });
        let is_typed = |ip: IpAddr| typed.iter().any(|a| a.ip().to_canonical() == ip);
        let address = originals.find(|address| is_typed(address.ip.to_canonical()))?;
        Some(Fault::Version {
            peer: self.shown.clone(),
            peer_is_newer: Some(false),
            original: Some(address.to_string()),
        })
    }

    /// `typed`: the addresses of the host that was typed.
    fn fault(&self, error: ConnectError, typed: &[SocketAddr], missed: Missed) -> Fault {
        tracing::info!(%error, "no connection");
        let peer = self.shown.clone();
        let instead = || self.original_at(typed);
        match error {
            ConnectError::Unreachable => instead().unwrap_or_else(|| self.silent(missed)),
            ConnectError::NotListening => instead().unwrap_or(Fault::PeerOffline { peer }),
            ConnectError::Busy | ConnectError::Lost(_) => Fault::PeerOffline { peer },
            ConnectError::NoRoute | ConnectError::NoAddress => Fault::NoRoute {
                peer,
                tried: missed.tried,
            },
            ConnectError::WrongPeer { got } => {
                let got = Some(got);
                Fault::IdentityChanged { peer, got }
            }
            ConnectError::Twin => Fault::SameIdentity { peer },
            ConnectError::Refused => Fault::Refused { peer },
            ConnectError::Version => Fault::Version {
                peer,
                peer_is_newer: None,
                original: None,
            },
            ConnectError::Misbehaved(offence) => Fault::Misbehaved {
                peer,
                offence: offence.to_string(),
            },
            ConnectError::Handshake(offence) => Fault::Misbehaved { peer, offence },
            ConnectError::Ourselves => Fault::Invalid {
                why: "that is this computer itself".into(),
            },
            ConnectError::Blocked => Fault::Invalid {
                why: format!("{peer} is blocked here"),
            },
            ConnectError::Stopped(what) => Fault::Internal { what },
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::identity::Identity;
    use crate::net::discovery::{Discovery, DiscoveryOptions, Presence};
    use crate::net::{DhtUse, EndpointOptions, bind};

    #[test]
    fn a_way_is_missing_only_to_somebody_who_is_elsewhere_and_may_be_there() {
        let missing = |elsewhere, relay| {
            let tried = Tried {
                relay,
                ..Tried::default()
            };
            Missed { tried, elsewhere }.is_way_missing()
        };
        assert!(missing(true, None));
        for relay in [
            RelayTried::NoneSetUp,
            RelayTried::NotReached,
            RelayTried::Silent,
        ] {
            assert!(missing(true, Some(relay)), "{relay:?}");
            assert!(!missing(false, Some(relay)), "{relay:?}");
        }
        assert!(!missing(true, Some(RelayTried::Absent)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_search_in_vain_makes_nobody_wait_longer_than_it_takes() {
        let identity = Identity::generate().unwrap();
        let here = Some([127, 0, 0, 1].into());
        let options = EndpointOptions {
            bind: here,
            port: 0,
            name: String::new(),
        };
        let (connector, _arrivals, net) = bind(&identity, options).await.unwrap();
        let near = Discovery::start(DiscoveryOptions {
            me: identity.id(),
            name: String::new(),
            port: net.local_port(),
            bind: here,
            presence: Presence::Off,
        });
        let mut callee = Callee {
            expect: Some(PeerId::from_bytes([7; 32])),
            addrs: vec!["127.0.0.1:9".parse().unwrap()],
            relays: Vec::new(),
            near: near.near().clone(),
            host: None,
            shown: "anna".into(),
            lookup: Lookup::ByKey,
        };
        // Nobody answers there.
        net.use_dht(DhtUse {
            search: true,
            publish: false,
            nodes: vec!["127.0.0.1:9".into()],
        });
        let mut calls = Vec::new();
        for lookup in [Lookup::ByKey, Lookup::ByKey, Lookup::Never] {
            callee.lookup = lookup;
            let began = Instant::now();
            let failed = callee.connect(&connector, FIRST_CONTACT).await;
            assert!(
                matches!(failed, Err(Fault::PeerOffline { .. })),
                "{failed:?}"
            );
            calls.push(began.elapsed());
        }
        // What is known of the search need not be waited for again.
        assert!(calls[0] < Duration::from_secs(20), "{calls:?}");
        assert!(calls[1] <= FIRST_CONTACT, "{calls:?}");
        assert!(calls[2] <= FIRST_CONTACT, "{calls:?}");
    }
}
