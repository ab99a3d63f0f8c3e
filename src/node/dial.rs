//! From what a person typed to a connection, and what failed in words.

use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

use crate::fault::Fault;
use crate::net::Found;
use crate::net::connection::PeerConnection;
use crate::net::connector::{ConnectError, Connector, Dial, resolve};
use crate::net::discovery::Near;
use crate::peer::PeerId;
use crate::protocol::link_uri::{RELAY_ADDRS_MAX, RelayHint};

/// How long the first contact may take before the peer counts as not there.
pub(super) const FIRST_CONTACT: Duration = Duration::from_secs(5);

/// How long a peer is called where it is known to be before its key is looked up.
const SEARCH_AFTER: Duration = Duration::from_secs(1);
/// How long the first contact may take where keys are looked up: the search, and the call after it.
const WITH_SEARCH: Duration = Duration::from_secs(22);

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

/// What it came to; there is none afterwards.
async fn ended(search: &mut Option<Search<'_>>) -> Option<Found> {
    let found = search.as_mut()?.await;
    *search = None;
    found
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

    /// Connects, or says in words why not. A peer that moves meanwhile is followed. Cancel-safe.
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
        let mut search = self.search(connector);
        let until = match search {
            Some(_) => until.max(Instant::now() + WITH_SEARCH),
            None => until,
        };
        let mut found = None;
        let mut moves = 0;
        loop {
            let mut addrs = typed.clone();
            addrs.extend(self.known_addrs());
            let dial = self.dial(&addrs, found.as_ref());
            let mut dialling = pin!(connector.prepare_connection(dial, until - Instant::now()));
            let failed = loop {
                tokio::select! {
                    connected = &mut dialling => match connected {
                        Ok(connection) => return Ok(connection),
                        Err(error) => break Some(error),
                    },
                    () = self.near.elsewhere(self.expect, &addrs), if moves < MOVES_MAX => {
                        moves += 1;
                        break None;
                    }
                    more = ended(&mut search), if search.is_some() => if more.is_some() {
                        found = more;
                        break None;
                    }
                }
            };
            let Some(error) = failed else { continue };
            if !error.may_be_elsewhere() {
                return Err(self.fault(error));
            }
            match timeout_at(until, ended(&mut search)).await {
                Ok(Some(more)) => found = Some(more),
                Ok(None) | Err(_) => return Err(self.fault(error)),
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
        let id = self.expect.filter(|_| connector.searches())?;
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
    fn silent(&self) -> Fault {
        let peer = self.shown.clone();
        match self.expect.and_then(|id| self.near.unreached(id)) {
            Some(addr) => Fault::PeerFirewall {
                peer,
                port: addr.port(),
            },
            None => Fault::PeerOffline { peer },
        }
    }

    fn fault(&self, error: ConnectError) -> Fault {
        tracing::info!(%error, "no connection");
        let peer = self.shown.clone();
        match error {
            ConnectError::Unreachable => self.silent(),
            ConnectError::NotListening => Fault::PeerOffline { peer },
            ConnectError::Busy | ConnectError::Lost(_) => Fault::PeerOffline { peer },
            ConnectError::NoRoute | ConnectError::NoAddress => Fault::NoRoute { peer },
            ConnectError::WrongPeer { .. } => Fault::IdentityChanged { peer, words: None },
            ConnectError::Refused => Fault::Refused { peer },
            ConnectError::Version => Fault::Version {
                peer,
                peer_is_newer: None,
            },
            ConnectError::Misbehaved(offence) => Fault::Misbehaved {
                peer,
                offence: offence.to_string(),
            },
            ConnectError::Handshake(offence) => Fault::Misbehaved { peer, offence },
            ConnectError::Ourselves => Fault::Invalid {
                why: "that is this computer, or one with a copy of its key".into(),
            },
            ConnectError::Blocked => Fault::Invalid {
                why: format!("{peer} is blocked here"),
            },
            ConnectError::Stopped(what) => Fault::Internal { what },
        }
    }
}
