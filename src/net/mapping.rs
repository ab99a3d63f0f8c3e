//! A port at the router in front of this computer that leads here, so that people elsewhere reach
//! it without a relay.
//!
//! What the router says is a hint as every other address is: whoever dials proves who is there.

mod claim;
mod place;
mod port_control;
mod router;
pub mod upnp;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use self::claim::Claim;
use self::place::Place;
use self::router::Opened;
use super::pool::Shared;

/// How long it is before a router that did not help is asked again, in the same place: the first
/// time, the second and so on.
const ASK_AGAIN: [Duration; 4] = [
    Duration::from_secs(5),
    Duration::from_secs(30),
    Duration::from_secs(120),
    Duration::from_secs(15 * 60),
];
/// How long the router may take to give the port up.
const RELEASE_WAIT: Duration = Duration::from_secs(1);
/// What the claims of this computer at routers are made of.
const NONCES: &str = "peerconnect 2026-11 nonces of ports at routers";

/// How it stands with a port at the router.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RouterPort {
    /// None is wanted.
    #[default]
    Off,
    /// The router is being asked.
    Asking,
    /// What comes to this address comes here.
    Open {
        /// In the Internet.
        addr: SocketAddr,
        /// How the router was asked.
        by: RouterProtocol,
    },
    /// There is no router that could be asked, or it gave none.
    None,
}

impl RouterPort {
    /// Where the router takes packets for us.
    pub fn addr(self) -> Option<SocketAddr> {
        match self {
            Self::Open { addr, .. } => Some(addr),
            Self::Off | Self::Asking | Self::None => None,
        }
    }
}

/// How a router is asked for a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RouterProtocol {
    /// RFC 6887.
    Pcp,
    /// RFC 6886.
    NatPmp,
    /// Internet Gateway Device 1 or 2.
    Upnp,
}

impl fmt::Display for RouterProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pcp => "PCP",
            Self::NatPmp => "NAT-PMP",
            Self::Upnp => "UPnP",
        })
    }
}

/// Whether a port at the router is wanted, and which one there is.
#[derive(Debug)]
pub(super) struct Mapping {
    wanted: watch::Sender<bool>,
    /// Whether something may be open that is not told yet.
    opening: watch::Sender<bool>,
    stands: watch::Sender<RouterPort>,
}

impl Default for Mapping {
    fn default() -> Self {
        Self {
            wanted: watch::Sender::new(false),
            opening: watch::Sender::new(false),
            stands: watch::Sender::new(RouterPort::Off),
        }
    }
}

impl Mapping {
    /// From now on one is wanted, or none.
    pub(super) fn want(&self, wanted: bool) {
        self.wanted.send_if_modified(|before| {
            let news = *before != wanted;
            *before = wanted;
            // Nobody shall believe meanwhile that the answer is known.
            if news && wanted {
                self.stands.send_replace(RouterPort::Asking);
            }
            news
        });
    }

    /// How it stands, now and whenever that changes.
    pub(super) fn stands(&self) -> watch::Receiver<RouterPort> {
        self.stands.subscribe()
    }

    /// Where the router takes packets for us.
    pub(super) fn at(&self) -> Option<SocketAddr> {
        self.stands.borrow().addr()
    }

    /// From now on it stands like this.
    pub(super) fn set(&self, stands: RouterPort) {
        self.stands.send_if_modified(|before| {
            let news = *before != stands;
            *before = stands;
            news
        });
    }

    /// Gives the port up, and waits until the router has heard of it, a second at most.
    pub(super) async fn release(&self) {
        self.want(false);
        let (mut opening, mut stands) = (self.opening.subscribe(), self.stands());
        let gone = async {
            let _ = opening.wait_for(|opening| !opening).await;
            let _ = stands.wait_for(|stands| stands.addr().is_none()).await;
        };
        if timeout(RELEASE_WAIT, gone).await.is_err() {
            tracing::debug!("the router may keep the port for a while");
        }
    }
}

/// Has a port open as long as one is wanted, wherever this computer is. `local` is where the
/// socket is bound.
pub(super) async fn keep(shared: Arc<Shared>, local: SocketAddr) {
    let mut wanted = shared.mapping.wanted.subscribe();
    let mut changes = shared.network_changes();
    let secret = shared.identity.secret(NONCES);
    let mut refused = 0;
    loop {
        if !*wanted.borrow_and_update() {
            shared.mapped(RouterPort::Off);
            refused = 0;
            if wanted.changed().await.is_err() {
                return;
            }
            continue;
        }
        changes.mark_unchanged();
        if refused == 0 {
            shared.mapped(RouterPort::Asking);
        }
        let place = Place::now(local);
        // Not given up half-way: what the router opens must be closed.
        let opened = match place {
            Some(place) => {
                let claim = Claim::new(&secret, place.gateway);
                Opened::ask(place, claim, &shared.mapping.opening).await
            }
            None => None,
        };
        if let Some(opened) = opened {
            refused = 0;
            stay_open(opened, &shared, local, &mut changes, &mut wanted).await;
            continue;
        }
        shared.mapped(RouterPort::None);
        shared.mapping.opening.send_replace(false);
        let again = ASK_AGAIN.get(refused).or(ASK_AGAIN.last());
        tokio::select! {
            () = sleep(again.copied().unwrap_or_default()) => refused += 1,
            () = elsewhere(place, local, &mut changes) => refused = 0,
            _ = wanted.changed() => refused = 0,
        }
    }
}

/// Keeps a port as long as it is wanted, and this computer is where it was.
async fn stay_open(
    mut opened: Opened,
    shared: &Shared,
    local: SocketAddr,
    changes: &mut watch::Receiver<()>,
    wanted: &mut watch::Receiver<bool>,
) {
    let by = opened.protocol();
    tracing::info!(addr = %opened.addr(), %by, "the router leads a port here");
    let place = Some(opened.place);
    loop {
        let addr = opened.addr();
        shared.mapped(RouterPort::Open { addr, by });
        // Whoever waits for the end of that finds it open.
        shared.mapping.opening.send_replace(false);
        let goes_on = tokio::select! {
            renewed = opened.renew_in_time() => renewed,
            () = elsewhere(place, local, changes) => false,
            _ = wanted.changed() => false,
        };
        if !goes_on {
            break;
        }
    }
    // In another network there is nobody who hears it.
    let _ = timeout(RELEASE_WAIT, opened.close()).await;
    shared.mapped(RouterPort::Asking);
}

/// Waits until this computer is not at `place` any more. Cancel-safe.
async fn elsewhere(place: Option<Place>, local: SocketAddr, changes: &mut watch::Receiver<()>) {
    while changes.changed().await.is_ok() {
        if Place::now(local) != place {
            return;
        }
    }
    std::future::pending().await
}
