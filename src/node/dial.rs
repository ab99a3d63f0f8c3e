//! From what a person typed to a connection, and what failed in words.

use std::net::SocketAddr;
use std::time::Duration;

use crate::fault::Fault;
use crate::net::connection::PeerConnection;
use crate::net::connector::{ConnectError, Connector, Dial, resolve};
use crate::peer::PeerId;

/// How long the first contact may take before the peer counts as not there.
pub(super) const FIRST_CONTACT: Duration = Duration::from_secs(5);

/// Whom to call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Callee {
    /// The key it must have, if one is known.
    pub(super) expect: Option<PeerId>,
    /// Addresses to try.
    pub(super) addrs: Vec<SocketAddr>,
    /// Host and port to look up, if a person typed such.
    pub(super) host: Option<(String, u16)>,
    /// What a person typed, for messages.
    pub(super) shown: String,
}

/// Addresses that are tried for one peer.
const ADDRS_MAX: usize = 8;

impl Callee {
    /// The peer was just there: this address first.
    pub(super) fn remember(&mut self, addr: SocketAddr) {
        self.addrs.retain(|known| *known != addr);
        self.addrs.insert(0, addr);
        self.addrs.truncate(ADDRS_MAX);
    }

    /// Connects, or says in words why not. Cancel-safe.
    pub(super) async fn connect(
        &self,
        connector: &Connector,
        deadline: Duration,
    ) -> Result<PeerConnection, Fault> {
        let mut addrs = self.addrs.clone();
        if let Some((host, port)) = &self.host {
            let found = tokio::time::timeout(deadline, resolve(host, *port)).await;
            match found {
                Ok(Ok(found)) => addrs.extend(found),
                Ok(Err(_)) | Err(_) if addrs.is_empty() => {
                    return Err(Fault::PeerOffline {
                        peer: self.shown.clone(),
                    });
                }
                Ok(Err(_)) | Err(_) => {}
            }
        }
        let dial = Dial {
            expect: self.expect,
            addrs,
        };
        let connected = connector.prepare_connection(dial, deadline).await;
        connected.map_err(|error| self.fault(error))
    }

    fn fault(&self, error: ConnectError) -> Fault {
        tracing::info!(%error, "no connection");
        let peer = self.shown.clone();
        match error {
            ConnectError::Unreachable | ConnectError::NotListening => Fault::PeerOffline { peer },
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
