//! From what a person typed to a connection, and what failed in words.

use std::net::SocketAddr;
use std::time::Duration;

use crate::fault::Fault;
use crate::net::connection::PeerConnection;
use crate::net::connector::{ConnectError, Connector, Dial, resolve};
use crate::peer::PeerId;

/// How long the first contact may take before the peer counts as not there.
pub const FIRST_CONTACT: Duration = Duration::from_secs(5);

/// Whom to call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Callee {
    /// The key it must have, if one is known.
    pub expect: Option<PeerId>,
    /// Addresses to try.
    pub addrs: Vec<SocketAddr>,
    /// Host and port to look up, if a person typed such.
    pub host: Option<(String, u16)>,
    /// What a person typed, for messages.
    pub shown: String,
}

impl Callee {
    /// Connects, or says in words why not. Cancel-safe.
    pub async fn connect(
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
                    return Err(Fault::PeerOffline { peer: self.shown.clone() });
                }
                Ok(Err(_)) | Err(_) => {}
            }
        }
        let dial = Dial { expect: self.expect, addrs };
        let connected = connector.prepare_connection(dial, deadline).await;
        connected.map_err(|error| self.fault(error))
    }

    fn fault(&self, error: ConnectError) -> Fault {
        tracing::info!(%error, "no connection");
        let peer = self.shown.clone();
        let port = self.addrs.first().map_or(0, SocketAddr::port);
        let port = self.host.as_ref().map_or(port, |(_, port)| *port);
        match error {
            ConnectError::Unreachable => Fault::PeerOffline { peer },
            ConnectError::NotListening => Fault::PeerOffline { peer },
            ConnectError::Blocked => Fault::PeerFirewall { peer, port },
            ConnectError::NoRoute | ConnectError::NoAddress => Fault::NoRoute { peer },
            ConnectError::WrongPeer { .. } => Fault::IdentityChanged { peer, words: None },
            ConnectError::Refused => Fault::Refused { peer },
            ConnectError::Version => Fault::Version { peer, peer_is_newer: None },
            ConnectError::Busy => Fault::PeerOffline { peer },
            ConnectError::Offence(offence) => {
                Fault::Misbehaved { peer, offence: offence.to_string() }
            }
            ConnectError::Ended => Fault::Internal { what: "the network part has ended".into() },
        }
    }
}
