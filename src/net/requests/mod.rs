//! The requests endpoint: the UDP port at which originals (the Python PeerConnect) find us and we
//! find them. The messages are those of [`crate::protocol::legacy`].
//!
//! [`open`] gives a [`Requests`], which can be cloned, to look at and to ask, and a
//! [`RequestsTask`], which owns the sockets:
//!
//! - [`Requests::sightings`] is a picture of who is there: originals that have answered us, and
//!   programs like this one that have told where they take QUIC. Whoever is not in it any more
//!   has gone.
//! - [`Requests::check_in`] makes us known to an original. **It must have succeeded, in the life
//!   of that program, before a byte of a transfer goes to its stream port**: content from a sender
//!   that it does not know ends an original. The endpoint must stay open afterwards, because
//!   originals forget those who do not answer.
//! - [`RequestsOptions::informs`] gets what roots of trees of relays ask, at the pace of all other
//!   requests.
//!
//! Nothing here proves who anybody is. Ids, names, records and keys are claims of whoever sent
//! them; that a sighting's *address* answered is all that is known.
//!
//! What it does by itself: it joins 239.1.11.11 and ff02::1:6 on each interface, also on those
//! that come up later; asks who is there as originals do (0.1 s and 0.3 s after the start, then
//! every 3.3 s while there is none); answers finds, remote calls, searches and removal pings; asks
//! the three nearest peers every 8.5 s for others and leaves its record with them; pings whom it
//! has not heard of for 25 s; and gives up a peer when a call, a removal ping and a connection to
//! its stream port have all failed (about 13 s).
//!
//! What it does not do: it sends nothing to an address because a datagram names it, unless that
//! is where the datagram came from or in the same network; it keeps no values and no lists of
//! others; and it sends nothing that ends an original.
//!
//! Limits: 256 originals, 8 of one address; 256 programs like this one; 10 datagrams a second that
//! an address can cause, 200 that all can; answers at most 8 times as long as their requests.
//!
//! Port 3486 cannot be shared: originals do not allow it, and datagrams to a shared port reach one
//! program only. If it is taken, often by an original on the same computer, another port is used.
//! Then multicasts are not heard, but ours are, and those who hear them find us.

mod answering;
mod calls;
mod endpoint;
mod limiter;
mod links;
mod peers;
mod random;
mod sockets;
mod task;
mod watching;

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::wildcard_enum_match_arm
)]
mod tests;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use tokio::sync::{mpsc, oneshot, watch};

use crate::peer::PeerId;
use crate::protocol::legacy::otm::Inform;
use crate::protocol::legacy::{REQUESTS_PORT, Record};

pub use endpoint::{CheckInError, CheckedIn};
pub(in crate::net) use links::Links;
pub use task::RequestsTask;

/// Check-ins and answers that may wait to be begun.
const WISHES_MAX: usize = 32;

/// Where to listen, and as whom.
#[derive(Debug, Clone)]
pub struct RequestsOptions {
    /// One address of this computer; `None` for all of them. With one, multicasts are not heard.
    pub bind: Option<IpAddr>,
    /// UDP port, 3486 by default; 0 for any free one. If it is taken, a free one is used.
    pub port: u16,
    /// Whether to find others by multicast and be found: join the groups, and ask.
    pub multicast: bool,
    /// Our identity; the id that originals see follows from it.
    pub peer: PeerId,
    /// What we call ourselves; cut at 128 bytes.
    pub name: String,
    /// TCP port where we take files, directories and texts of originals.
    pub stream_port: u16,
    /// UDP port of our QUIC endpoint, told to programs like this one; 0 to tell them only that we
    /// are none of the originals, `None` to tell nothing.
    pub quic_port: Option<u16>,
    /// Where requests to take part in a tree of relays go; without it, or while it is full, they
    /// are ignored.
    pub informs: Option<mpsc::Sender<Informed>>,
    /// Random bytes, new at each start: who knows them can forge answers.
    pub seed: [u8; 32],
}

impl RequestsOptions {
    /// For a peer that takes streams at `stream_port`: all addresses and the port of originals, so
    /// that they find it; multicast on; QUIC not told; no name.
    pub fn new(peer: PeerId, stream_port: u16, seed: [u8; 32]) -> Self {
        Self {
            bind: None,
            port: REQUESTS_PORT,
            multicast: true,
            peer,
            name: String::new(),
            stream_port,
            quic_port: None,
            informs: None,
            seed,
        }
    }
}

/// Somebody who is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sighting {
    /// An original, which answered us. Tell them apart by `record.id` *and* `requests`.
    Original {
        /// What it says of itself. The name is hostile text.
        record: Record,
        /// Where its streams go, with the interface for link-local addresses; use this instead of
        /// the address in the record.
        addr: SocketAddr,
        /// Where it answers requests: what [`Requests::check_in`] takes.
        requests: SocketAddr,
        /// When it last answered.
        last_seen: Instant,
    },
    /// A program like this one, as it says. A hint where to dial: whether it has that identity, it
    /// must prove there. One with several addresses comes several times.
    Own {
        /// Whom to expect.
        peer_id: PeerId,
        /// What it calls itself. Hostile text.
        name: String,
        /// Where it takes QUIC.
        addr: SocketAddr,
        /// When it last said so.
        last_seen: Instant,
    },
}

/// Looks at and asks the requests endpoint. Cheap to clone; does not keep the endpoint open.
#[derive(Debug, Clone)]
pub struct Requests {
    port: u16,
    sightings: watch::Receiver<Vec<Sighting>>,
    wishes: mpsc::Sender<Wish>,
}

/// What others in this program want of the endpoint.
#[derive(Debug)]
enum Wish {
    /// A check-in that somebody waits for.
    CheckIn {
        addr: SocketAddr,
        done: oneshot::Sender<Result<CheckedIn, CheckInError>>,
    },
    /// This datagram from our port.
    Send { to: SocketAddr, bytes: Vec<u8> },
}

/// Somebody asks us to take part in a tree of relays. It has proven nothing, not even that it is
/// where it seems to be.
#[derive(Debug, Clone, PartialEq)]
pub struct Informed {
    /// Where the request came from; the answer goes there.
    pub from: SocketAddr,
    /// Our address as it sees it.
    pub own: IpAddr,
    /// Bytes of the request: what goes to an address that has proven nothing may not be longer.
    pub len: usize,
    /// What it says.
    pub inform: Inform,
    /// The networks of this computer.
    pub(in crate::net) links: Links,
}

impl Requests {
    /// The UDP port, as our record says it.
    pub fn local_port(&self) -> u16 {
        self.port
    }

    /// Who is there now. The receiver sees each new picture, or the newest of several.
    pub fn sightings(&self) -> watch::Receiver<Vec<Sighting>> {
        self.sightings.clone()
    }

    /// Makes us known at the requests endpoint `addr`, and gives what the peer says of itself; at
    /// the latest after five seconds. The ping is repeated after 1 and 2.5 s.
    ///
    /// May be dropped at any time; the peer may know us then all the same.
    ///
    /// Fails if nobody answers, if what answers is no original, if too many check-ins wait, or if
    /// the endpoint has ended.
    pub async fn check_in(&self, addr: SocketAddr) -> Result<CheckedIn, CheckInError> {
        let (done, outcome) = oneshot::channel();
        let asked = self.wishes.send(Wish::CheckIn { addr, done }).await;
        asked.map_err(|_| CheckInError::Stopped)?;
        outcome.await.map_err(|_| CheckInError::Stopped)?
    }

    /// Sends a datagram from our port, if the endpoint is still open.
    pub(in crate::net) async fn send(&self, to: SocketAddr, bytes: Vec<u8>) {
        // Datagrams may get lost in any way.
        let _ = self.wishes.send(Wish::Send { to, bytes }).await;
    }
}

/// Why there is no requests endpoint.
#[derive(Debug, thiserror::Error)]
#[error("cannot open a UDP socket for older PeerConnect programs: {0}")]
pub struct OpenError(#[from] io::Error);

/// Opens the sockets and begins. Must be called inside a tokio runtime with time and I/O.
///
/// Fails if the system gives no UDP socket at all; a port that is taken is no failure.
pub fn open(options: RequestsOptions) -> Result<(Requests, RequestsTask), OpenError> {
    let (picture, sightings) = watch::channel(Vec::new());
    let (wishes, asked) = mpsc::channel(WISHES_MAX);
    let (port, task) = task::start(options, picture, asked)?;
    let requests = Requests {
        port,
        sightings,
        wishes,
    };
    Ok((requests, task))
}
