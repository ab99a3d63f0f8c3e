//! The greeting on the connection stream: names, and the nonces of the three words.
//!
//! The caller sends [`Hello`] with a commitment, the other side answers
//! [`ConnectionMessage::Welcome`] with its nonce, the caller reveals its own. Only then are they
//! connected.

use std::time::Duration;

use rustls::pki_types::CertificateDer;

use quinn::SendStream;

use super::connection::{CONTROL_PRIORITY, Greeting, Mark, PeerConnection, canonical};
use super::frames::{self, FrameReader};
use super::link::{LinkError, Offence};
use crate::identity::{Identity, peer_id_of_certificate};
use crate::peer::PeerId;
use crate::protocol::message::{ConnectionMessage, Hello, NAME_LEN_MAX, Opening};
use crate::protocol::words::{self, NONCE_LEN};

/// Time for TLS and greeting together, on both sides.
pub const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);

/// Most bytes of a version that are kept.
const VERSION_LEN_MAX: usize = 32;

/// Whose key was proven on a connection. `None` if QUIC has no such thing, which the verifiers of
/// both sides make impossible.
pub(super) fn proven_id(quic: &quinn::Connection) -> Option<PeerId> {
    let identity = quic.peer_identity()?;
    let chain = identity.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    match chain.as_slice() {
        [only] => peer_id_of_certificate(only).ok(),
        _ => None,
    }
}

/// What this side says of itself.
#[derive(Debug)]
pub(super) struct Introduction<'a> {
    pub(super) identity: &'a Identity,
    pub(super) name: &'a str,
    pub(super) nonce: [u8; NONCE_LEN],
}

impl Introduction<'_> {
    fn words(&self, peer: PeerId, nonce: &[u8; NONCE_LEN]) -> String {
        words::words((self.identity.id(), &self.nonce), (peer, nonce))
    }
}

fn version() -> String {
    env!("CARGO_PKG_VERSION").into()
}

/// A call that was answered but not revealed yet.
#[derive(Debug)]
pub(super) struct Answered {
    stream: (SendStream, FrameReader),
    greeting: Greeting,
}

/// The greeting of the peer, and the stream that it came on.
pub(super) type Greeted = (Greeting, (SendStream, FrameReader));

/// A call that was heard but not answered yet.
#[derive(Debug)]
pub(super) struct Heard {
    stream: (SendStream, FrameReader),
    hello: Hello,
    /// The connection that the caller has lost.
    pub(super) lost: Option<Mark>,
}

/// The caller's side: up to the answer. `lost` names a connection to the peer that broke.
pub(super) async fn call(
    connection: &PeerConnection,
    peer: PeerId,
    us: &Introduction<'_>,
    lost: Option<Mark>,
) -> Result<Answered, LinkError> {
    let (mut send, recv) = connection
        .quic()
        .open_bi()
        .await
        .map_err(|error| connection.reason(&error))?;
    let _ = send.set_priority(CONTROL_PRIORITY);
    let hello = Hello {
        name: us.name.into(),
        version: version(),
        observed: connection.remote_addr(),
        commitment: words::commitment(&us.nonce),
    };
    let opening = match lost {
        None => Opening::Connection(hello),
        Some(lost) => Opening::Reconnection { hello, lost },
    };
    frames::send(&mut send, &opening, connection).await?;
    let mut recv = FrameReader::new(recv);
    match recv.next(connection).await? {
        Some(ConnectionMessage::Welcome {
            name,
            version,
            observed,
            nonce,
        }) => Ok(Answered {
            stream: (send, recv),
            greeting: Greeting {
                id: peer,
                name: shortened(name, NAME_LEN_MAX),
                version: shortened(version, VERSION_LEN_MAX),
                words: us.words(peer, &nonce),
                observed: observed.map(canonical),
            },
        }),
        Some(ConnectionMessage::Reveal { .. } | ConnectionMessage::Addresses(_)) => {
            Err(Offence::UnexpectedMessage.into())
        }
        None => Err(Offence::Silent.into()),
    }
}

/// The caller's side: reveals the nonce. The peer counts us as connected when it has read this.
pub(super) async fn reveal(
    connection: &PeerConnection,
    us: &Introduction<'_>,
    answered: Answered,
) -> Result<Greeted, LinkError> {
    let Answered {
        mut stream,
        greeting,
    } = answered;
    let reveal = ConnectionMessage::Reveal { nonce: us.nonce };
    frames::send(&mut stream.0, &reveal, connection).await?;
    Ok((greeting, stream))
}

/// The side that was called: reads the first message.
pub(super) async fn hear(connection: &PeerConnection) -> Result<Heard, LinkError> {
    let (send, recv) = connection
        .quic()
        .accept_bi()
        .await
        .map_err(|error| connection.reason(&error))?;
    let _ = send.set_priority(CONTROL_PRIORITY);
    let mut recv = FrameReader::new(recv);
    let (hello, lost) = match recv.next(connection).await? {
        Some(Opening::Connection(hello)) => (hello, None),
        Some(Opening::Reconnection { hello, lost }) => (hello, Some(lost)),
        Some(Opening::Transfer(_) | Opening::Text(_) | Opening::Pull(_) | Opening::Code(_)) => {
            return Err(Offence::UnexpectedMessage.into());
        }
        None => return Err(Offence::Silent.into()),
    };
    Ok(Heard {
        stream: (send, recv),
        hello,
        lost,
    })
}

/// The side that was called: answers, and checks that the caller had chosen before.
pub(super) async fn answer(
    connection: &PeerConnection,
    peer: PeerId,
    us: &Introduction<'_>,
    heard: Heard,
) -> Result<Greeted, LinkError> {
    let Heard { stream, hello, .. } = heard;
    let (mut send, mut recv) = stream;
    let welcome = ConnectionMessage::Welcome {
        name: us.name.into(),
        version: version(),
        observed: connection.remote_addr(),
        nonce: us.nonce,
    };
    frames::send(&mut send, &welcome, connection).await?;
    match recv.next(connection).await? {
        Some(ConnectionMessage::Reveal { nonce }) => {
            if words::commitment(&nonce) != hello.commitment {
                return Err(Offence::BadCommitment.into());
            }
            let greeting = Greeting {
                id: peer,
                name: shortened(hello.name, NAME_LEN_MAX),
                version: shortened(hello.version, VERSION_LEN_MAX),
                words: us.words(peer, &nonce),
                observed: hello.observed.map(canonical),
            };
            Ok((greeting, (send, recv)))
        }
        Some(ConnectionMessage::Welcome { .. } | ConnectionMessage::Addresses(_)) => {
            Err(Offence::UnexpectedMessage.into())
        }
        None => Err(Offence::Silent.into()),
    }
}

/// At most `len` bytes of a peer's text, cut between characters.
pub(super) fn shortened(mut text: String, len: usize) -> String {
    text.truncate(text.floor_char_boundary(len));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_cut_between_characters() {
        assert_eq!(shortened("laptop".into(), 128), "laptop");
        assert_eq!(shortened("aéé".into(), 4), "aé");
        assert_eq!(shortened("é".repeat(100), NAME_LEN_MAX).len(), NAME_LEN_MAX);
    }
}
