//! An authenticated connection to a peer: who it is, how it ended, and the transfers on it.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use quinn::{ConnectionError, ReadError, SendStream, WriteError};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::Instant;

use super::errors::{connection_error, read_error, wire, write_error};
use super::file_stream::QuicFileReader;
use super::frames::{self, FrameReader};
use super::link::{LinkError, Offence, PathInfo, PathKind};
use super::referrals;
use super::routes::{Route, is_route};
use super::settings;
use super::transfer_link::QuicOutbound;
use crate::peer::PeerId;
use crate::protocol::link_uri::RelayHint;
use crate::protocol::message::{Code, FileHeader, OfferHead, Opening, TransferId};

/// Files that may wait in one transfer for its receiver to look at them; more wait in their
/// streams, whose number is limited.
pub(super) const FILES_WAITING_MAX: usize = 16;

/// Bytes of content after which the send window is fitted again.
const FIT_EVERY: usize = 256 * 1024;

/// See [`PeerConnection::mark`].
pub(super) type Mark = [u8; 16];

/// Label of the TLS exporter (RFC 8446, section 7.5).
const MARK_LABEL: &[u8] = b"EXPORTER-peerconnect-connection";

/// Control streams are sent before any file, whatever the file's priority.
pub(super) const CONTROL_PRIORITY: i32 = i32::MAX;

/// A connection to a peer whose key was proven and who greeted us. Shared by all transfers with
/// that peer in both directions; cheap to clone. Dropping it does not close it.
#[derive(Debug, Clone)]
pub struct PeerConnection {
    inner: Arc<Inner>,
}

/// What is known about the peer after the greeting.
#[derive(Debug)]
pub(super) struct Greeting {
    pub(super) id: PeerId,
    pub(super) name: String,
    pub(super) version: String,
    pub(super) words: String,
    pub(super) observed: Option<SocketAddr>,
}

#[derive(Debug)]
struct Inner {
    quic: quinn::Connection,
    dialled: bool,
    /// How the peer is reached if not by one address.
    route: Option<Arc<Route>>,
    /// When TLS was done; before the greeting.
    since: Instant,
    greeting: OnceLock<Greeting>,
    /// The connection stream after the greeting, until somebody takes it.
    stream: Mutex<Option<(SendStream, FrameReader)>>,
    /// Whether the peer may know all our addresses.
    tells_addrs: watch::Sender<bool>,
    /// Why this side closed it, for those who find it closed.
    cause: OnceLock<LinkError>,
    transfers: Mutex<Transfers>,
    /// Files that are being read.
    readers: AtomicUsize,
    /// Bytes of content that were written since the send window was fitted.
    unfitted: AtomicUsize,
}

pub(super) type FileSender = mpsc::Sender<(FileHeader, QuicFileReader)>;

#[derive(Debug, Default)]
struct Transfers {
    incoming: HashMap<TransferId, Incoming>,
    registered: u64,
    /// How many of them may send files.
    consented: u32,
}

/// Where the files of a transfer go.
#[derive(Debug)]
struct Incoming {
    number: u64,
    files: FileSender,
    /// Of files that are referred elsewhere together with others.
    referred: Arc<Semaphore>,
}

impl PeerConnection {
    pub(super) fn new(quic: quinn::Connection, dialled: bool, route: Option<Arc<Route>>) -> Self {
        Self {
            inner: Arc::new(Inner {
                quic,
                dialled,
                route,
                since: Instant::now(),
                greeting: OnceLock::new(),
                stream: Mutex::default(),
                tells_addrs: watch::Sender::new(false),
                cause: OnceLock::new(),
                transfers: Mutex::default(),
                readers: AtomicUsize::new(0),
                unfitted: AtomicUsize::new(0),
            }),
        }
    }

    pub(super) fn quic(&self) -> &quinn::Connection {
        &self.inner.quic
    }

    /// How many files are being read on it; each reader counts itself.
    pub(super) fn readers(&self) -> &AtomicUsize {
        &self.inner.readers
    }

    /// Content was written. What is buffered of it follows what the network takes.
    pub(super) fn wrote(&self, bytes: usize) {
        let unfitted = self.inner.unfitted.fetch_add(bytes, Ordering::Relaxed);
        if unfitted.saturating_add(bytes) >= FIT_EVERY {
            self.inner.unfitted.store(0, Ordering::Relaxed);
            settings::fit_send_window(self.quic());
        }
    }

    pub(super) fn since(&self) -> Instant {
        self.inner.since
    }

    /// Called once, before the connection is handed out.
    pub(super) fn greeted(&self, (greeting, stream): (Greeting, (SendStream, FrameReader))) {
        let _ = self.inner.greeting.set(greeting);
        *self.stream() = Some(stream);
    }

    fn stream(&self) -> MutexGuard<'_, Option<(SendStream, FrameReader)>> {
        // Set and taken, nothing else: it is whole.
        let stream = self.inner.stream.lock();
        stream.unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection stream, where both sides go on talking after the greeting.
    pub(super) fn take_stream(&self) -> Option<(SendStream, FrameReader)> {
        self.stream().take()
    }

    fn greeting(&self) -> Option<&Greeting> {
        self.inner.greeting.get()
    }

    /// Who it is, proven by key.
    pub fn id(&self) -> PeerId {
        // Never asked before the greeting: until then the connection is known to nobody.
        self.greeting()
            .map_or(PeerId::from_bytes([0; 32]), |greeting| greeting.id)
    }

    /// What the peer calls itself: a claim. At most
    /// [`NAME_LEN_MAX`](crate::protocol::message::NAME_LEN_MAX) bytes; show it with
    /// [`Shown`](crate::text::Shown).
    pub fn name(&self) -> &str {
        self.greeting().map_or("", |greeting| &greeting.name)
    }

    /// Version of the program at the other side: a claim, for messages about versions only.
    pub fn version(&self) -> &str {
        self.greeting().map_or("", |greeting| &greeting.version)
    }

    /// The three words of this connection, the same on both sides unless somebody sits between.
    pub fn words(&self) -> &str {
        self.greeting().map_or("", |greeting| &greeting.words)
    }

    /// Where the peer says that it sees us: a hint about a translated address.
    pub fn observed(&self) -> Option<SocketAddr> {
        self.greeting().and_then(|greeting| greeting.observed)
    }

    /// Where the peer can be called now; it changes when the peer moves to another network. `None`
    /// while it is reached through a relay, and if it has called over TCP.
    pub fn remote_addr(&self) -> Option<SocketAddr> {
        match &self.inner.route {
            Some(route) => route.peer_addr(),
            // A peer could have moved its connection onto a route.
            None => Some(canonical(self.inner.quic.remote_address())).filter(|a| !is_route(*a)),
        }
    }

    /// The address of the computer that the peer is at, as it is seen here. `None` while it is
    /// reached through a relay.
    pub fn remote_ip(&self) -> Option<IpAddr> {
        match self.path().kind {
            PathKind::Relay => None,
            PathKind::Direct | PathKind::Tcp | PathKind::Memory | PathKind::LegacyPlain => {
                Some(self.next_hop().ip())
            }
        }
    }

    /// Tells this connection from another one with the same peer, as long as it lasts.
    pub fn number(&self) -> usize {
        self.inner.quic.stable_id()
    }

    /// Where packets to the peer go now: to itself, or to the relay.
    pub(super) fn next_hop(&self) -> SocketAddr {
        match &self.inner.route {
            Some(route) => route.next_hop(),
            None => canonical(self.inner.quic.remote_address()),
        }
    }

    /// The relay that the peer was reached through, even if it is reached directly by now.
    pub fn relay(&self) -> Option<RelayHint> {
        self.inner.route.as_ref()?.relay_hint()
    }

    pub(super) fn route(&self) -> Option<&Arc<Route>> {
        self.inner.route.as_ref()
    }

    /// Lets the peer know all our addresses, now and whenever they change, so that it finds us
    /// when this connection breaks. Not for strangers: there are addresses that tell much.
    pub fn tell_addrs(&self) {
        self.inner.tells_addrs.send_replace(true);
    }

    /// Whether the peer may know all our addresses: it is no stranger.
    pub(super) fn knows_addrs(&self) -> bool {
        *self.inner.tells_addrs.borrow()
    }

    /// Waits until the peer may know all our addresses.
    pub(super) async fn may_know_addrs(&self) {
        let mut may = self.inner.tells_addrs.subscribe();
        // The sender lives as long as `self`.
        let _ = may.wait_for(|may| *may).await;
    }

    /// Our own address on a connection that the peer has dialled. We cannot move it.
    pub(super) fn local_ip(&self) -> Option<IpAddr> {
        // The way to a peer with a route is looked for anew.
        self.inner.route.is_none().then_some(())?;
        self.inner.quic.local_ip().map(|ip| ip.to_canonical())
    }

    /// Names this connection between the two sides; nobody else can know it.
    pub(super) fn mark(&self) -> Option<Mark> {
        let mut mark = Mark::default();
        let quic = &self.inner.quic;
        let exported = quic.export_keying_material(&mut mark, MARK_LABEL, &[]);
        exported.is_ok().then_some(mark)
    }

    /// Round-trip time, smoothed.
    pub fn rtt(&self) -> Duration {
        self.inner.quic.rtt()
    }

    /// Whether this side dialled.
    pub fn dialled(&self) -> bool {
        self.inner.dialled
    }

    /// Whether both are the same connection, not just to the same peer.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }

    /// How bytes travel now.
    pub fn path(&self) -> PathInfo {
        let kind = match &self.inner.route {
            Some(route) => route.kind(),
            None if self.remote_addr().is_some() => PathKind::Direct,
            None => PathKind::Relay,
        };
        PathInfo {
            kind,
            addr: Some(self.next_hop()),
            rtt: Some(self.rtt()),
        }
    }

    /// Offers a transfer: opens its control stream and sends `head`. Waits while the peer has too
    /// many open. Cancel-safe: what was begun is given up.
    pub async fn offer(&self, head: OfferHead) -> Result<QuicOutbound, LinkError> {
        let (send, recv) = self
            .inner
            .quic
            .open_bi()
            .await
            .map_err(|error| self.reason(&error))?;
        let mut outbound = QuicOutbound::new(self.clone(), send, FrameReader::new(recv));
        let stream = outbound.stream();
        let _ = stream.set_priority(CONTROL_PRIORITY);
        frames::send(stream, &Opening::Transfer(head), self).await?;
        Ok(outbound)
    }

    /// Waits until the connection has ended, and says why.
    pub async fn closed(&self) -> LinkError {
        let error = self.inner.quic.closed().await;
        self.reason(&error)
    }

    /// Whether it has ended. A peer that vanished is noticed after the idle timeout.
    pub fn is_closed(&self) -> bool {
        self.inner.quic.close_reason().is_some()
    }

    /// Why it has ended, if it has.
    pub(super) fn ended(&self) -> Option<LinkError> {
        let error = self.inner.quic.close_reason()?;
        Some(self.reason(&error))
    }

    /// Ends it because it is broken.
    pub(super) fn lose(&self, why: &str) {
        self.close_because(Code::Replaced, why, || LinkError::Lost(why.into()));
    }

    /// Whether it has ended and the peer knows: it said so itself, or answered when we did.
    pub(super) fn is_close_heard(&self) -> bool {
        match self.inner.quic.close_reason() {
            None => false,
            Some(ConnectionError::LocallyClosed) => {
                self.inner.quic.stats().frame_rx.connection_close > 0
            }
            Some(_) => true,
        }
    }

    /// Ends it at once, with everything on it. The first reason given counts.
    pub fn close(&self, code: Code) {
        self.close_because(code, "", || {
            LinkError::Lost(format!("closed here: {code:?}"))
        });
    }

    /// Ends it because of what the peer did; both sides learn what that was.
    pub fn offend(&self, offence: Offence) -> LinkError {
        self.close_because(Code::Offence, &offence.to_string(), || offence.into());
        offence.into()
    }

    fn close_because(&self, code: Code, text: &str, cause: impl FnOnce() -> LinkError) {
        if self.is_closed() {
            return;
        }
        self.inner.cause.get_or_init(cause);
        self.inner.quic.close(wire(code), text.as_bytes());
    }

    /// The reason behind an error of QUIC: what this side knows better, if it closed it.
    pub(super) fn reason(&self, error: &ConnectionError) -> LinkError {
        match (error, self.inner.cause.get()) {
            (ConnectionError::LocallyClosed, Some(cause)) => cause.clone(),
            (error, _) => connection_error(error),
        }
    }

    pub(super) fn read_error(&self, error: ReadError) -> LinkError {
        read_error(error, |error| self.reason(error))
    }

    pub(super) fn write_error(&self, error: WriteError) -> LinkError {
        write_error(error, |error| self.reason(error))
    }

    /// Closes the connection if `error` is the peer's offence; gives it back.
    pub(super) fn judged(&self, error: LinkError) -> LinkError {
        match error {
            LinkError::Offence(offence) => self.offend(offence),
            LinkError::Lost(_) | LinkError::Closed(_) => error,
        }
    }

    fn transfers(&self) -> MutexGuard<'_, Transfers> {
        // Whoever panicked left the map whole: every change is a single call.
        self.inner
            .transfers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Files of `transfer` go to the returned channel from now on. A peer that offers a transfer
    /// again on the same connection has given up the former link.
    pub(super) fn register(
        &self,
        transfer: TransferId,
    ) -> (Registration, mpsc::Receiver<(FileHeader, QuicFileReader)>) {
        let (sender, receiver) = mpsc::channel(FILES_WAITING_MAX);
        let mut transfers = self.transfers();
        transfers.registered += 1;
        let number = transfers.registered;
        let incoming = Incoming {
            number,
            files: sender,
            referred: Arc::new(Semaphore::new(referrals::OPEN_MAX)),
        };
        transfers.incoming.insert(transfer, incoming);
        let registration = Registration {
            connection: self.clone(),
            transfer,
            number,
            consented: false,
        };
        (registration, receiver)
    }

    pub(super) fn files_of(&self, transfer: TransferId) -> Option<FileSender> {
        let transfers = self.transfers();
        let incoming = transfers.incoming.get(&transfer);
        incoming.map(|incoming| incoming.files.clone())
    }

    /// The same for files that are referred elsewhere together with others, and their places.
    pub(super) fn referrals_of(
        &self,
        transfer: TransferId,
    ) -> Option<(FileSender, Arc<Semaphore>)> {
        let transfers = self.transfers();
        let incoming = transfers.incoming.get(&transfer)?;
        Some((incoming.files.clone(), incoming.referred.clone()))
    }
}

/// That a transfer takes files on a connection; ends when dropped.
#[derive(Debug)]
pub(super) struct Registration {
    connection: PeerConnection,
    transfer: TransferId,
    number: u64,
    consented: bool,
}

impl Registration {
    /// Lets the peer send files.
    pub(super) fn consent(&mut self) {
        if self.consented {
            return;
        }
        self.consented = true;
        let mut transfers = self.connection.transfers();
        transfers.consented += 1;
        if transfers.consented == 1 {
            settings::open_up(self.connection.quic());
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut transfers = self.connection.transfers();
        let ours = transfers
            .incoming
            .get(&self.transfer)
            .is_some_and(|incoming| incoming.number == self.number);
        if ours {
            transfers.incoming.remove(&self.transfer);
        }
        if self.consented {
            transfers.consented -= 1;
            if transfers.consented == 0 {
                settings::close_down(self.connection.quic());
            }
        }
    }
}

/// The address as people write it: IPv4 addresses arrive mapped on a socket for both families.
pub(super) fn canonical(addr: SocketAddr) -> SocketAddr {
    match addr.ip().to_canonical() {
        ip if ip.is_ipv4() => SocketAddr::new(ip, addr.port()),
        // As it is, with the interface of a link-local address.
        _ => addr,
    }
}
