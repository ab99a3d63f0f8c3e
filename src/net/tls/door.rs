//! The TCP port of the same number as the UDP port: peers whose UDP is blocked come here by TLS,
//! and originals in their own way, if they are wanted. The first byte tells who it is.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustls::ConnectionCommon;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use super::framing::prepare;
use super::streams::{Began, Line};
use crate::identity::{IdentityError, peer_id_of_certificate};
use crate::net::admission::{Admission, Admitted, Verdict};
use crate::net::connection::canonical;
use crate::net::handshake::HANDSHAKE_DEADLINE;
use crate::net::pool::Shared;
use crate::protocol::relay::{CHANNEL_LEN, Channel};
use crate::protocol::tcp::{ALPN_TCP, ANSWER, CHANNEL_LABEL, KNOCK, TLS_FIRST};

/// How long a caller may take to begin: as long as the original allows.
const BEGIN_DEADLINE: Duration = Duration::from_secs(6);
/// Callers in the original's way that may wait for whoever serves them.
const PLAIN_MAX: usize = 16;
/// After the system could not give us a connection.
const PAUSE: Duration = Duration::from_millis(100);

/// The open port. Dropping it closes it, and ends what has not become a way to a peer.
#[derive(Debug)]
pub(in crate::net) struct Door {
    port: u16,
    plain: Arc<OnceLock<mpsc::Sender<PlainCaller>>>,
    tasks: JoinSet<()>,
}

/// Somebody who does not speak TLS.
#[derive(Debug)]
pub(in crate::net) struct PlainCaller {
    pub(in crate::net) stream: TcpStream,
    pub(in crate::net) from: SocketAddr,
    /// What it has said.
    pub(in crate::net) said: Vec<u8>,
    /// It counts as long as it is connected.
    pub(in crate::net) admitted: Admitted,
}

/// Those who call in the original's way at the TCP port that peers call at, too.
#[derive(Debug)]
pub struct PlainCallers {
    port: u16,
    callers: mpsc::Receiver<PlainCaller>,
}

impl PlainCallers {
    /// The port that they come to.
    pub(in crate::net) fn port(&self) -> u16 {
        self.port
    }

    /// The next one; `None` at the end. Cancel-safe.
    pub(in crate::net) async fn next(&mut self) -> Option<PlainCaller> {
        self.callers.recv().await
    }
}

impl Door {
    /// Takes callers at `listener`. Fails only if the cryptography is not available.
    pub(in crate::net) fn open(
        shared: &Arc<Shared>,
        listener: TcpListener,
        port: u16,
    ) -> Result<Self, IdentityError> {
        let tls = Arc::new(shared.identity.tls_server(&[ALPN_TCP])?);
        let plain = Arc::default();
        let visit = Visits {
            shared: shared.clone(),
            tls: tls.into(),
            plain: Arc::clone(&plain),
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, visit));
        Ok(Self { port, plain, tasks })
    }

    /// Closes it.
    pub(in crate::net) fn close(&mut self) {
        self.tasks.abort_all();
    }

    /// Those who speak in the original's way, from now on; before, and without, they are sent
    /// away. `None` if it is another port, or the second time.
    pub(in crate::net) fn plain_callers(&self, port: u16) -> Option<PlainCallers> {
        let (send, callers) = mpsc::channel(PLAIN_MAX);
        let is_ours = self.port == port && self.plain.set(send).is_ok();
        is_ours.then_some(PlainCallers { port, callers })
    }
}

/// What is needed for each caller.
#[derive(Clone)]
struct Visits {
    shared: Arc<Shared>,
    tls: TlsAcceptor,
    plain: Arc<OnceLock<mpsc::Sender<PlainCaller>>>,
}

async fn accept(listener: TcpListener, visits: Visits) {
    let admission = Admission::default();
    let mut callers = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = callers.join_next() => continue,
        };
        match accepted {
            Ok((stream, from)) => {
                let from = canonical(from);
                // Who completes the handshake of TCP receives at its address.
                match admission.decide(from.ip(), true) {
                    Verdict::Admit(admitted) => {
                        callers.spawn(visits.clone().serve(stream, from, admitted));
                    }
                    Verdict::Validate | Verdict::Refuse => {
                        tracing::debug!(%from, "too many connections");
                    }
                }
            }
            Err(error) => {
                tracing::warn!(%error, "no connection could be taken");
                sleep(PAUSE).await;
            }
        }
    }
}

/// How a caller begins.
enum Begins {
    WithTls,
    WithKnock,
    Plainly([u8; KNOCK.len()]),
}

impl Visits {
    async fn serve(self, mut stream: TcpStream, from: SocketAddr, admitted: Admitted) {
        match timeout(BEGIN_DEADLINE, begins(&mut stream)).await {
            Ok(Ok(Begins::WithTls)) => self.serve_tls(stream, from, admitted).await,
            Ok(Ok(Begins::WithKnock)) => {
                let welcomed = timeout(BEGIN_DEADLINE, welcome(&mut stream)).await;
                if let Ok(Ok(())) = welcomed {
                    self.serve_tls(stream, from, admitted).await;
                }
            }
            Ok(Ok(Begins::Plainly(first))) => {
                if let Some(plain) = self.plain.get() {
                    let caller = PlainCaller {
                        stream,
                        from,
                        said: first.into(),
                        admitted,
                    };
                    // Nobody serves them any more.
                    let _ = plain.send(caller).await;
                }
            }
            Ok(Err(_)) | Err(_) => tracing::debug!(%from, "a caller that says nothing"),
        }
    }

    async fn serve_tls(self, stream: TcpStream, from: SocketAddr, mut admitted: Admitted) {
        prepare(&stream);
        let stream = match timeout(HANDSHAKE_DEADLINE, self.tls.accept(stream)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                tracing::debug!(%from, %error, "caller did not prove a key");
                return;
            }
            Err(_) => return,
        };
        let session = stream.get_ref().1;
        let certificates = session.peer_certificates().unwrap_or_default();
        let ([certificate], Some(ALPN_TCP)) = (certificates, session.alpn_protocol()) else {
            return;
        };
        let (Ok(peer), Some(channel)) = (peer_id_of_certificate(certificate), channel_of(session))
        else {
            return;
        };
        let shared = &self.shared;
        if peer == shared.identity.id() || shared.is_blocked(peer) {
            return;
        }
        let Some(one) = shared.streams.one_of(peer) else {
            tracing::debug!(%from, "too many TCP connections of one peer");
            return;
        };
        admitted.connected();
        let line = Line {
            stream,
            peer,
            addr: from,
            channel,
            began: Began::There {
                _admitted: admitted,
                _one: one,
            },
        };
        // It waits for its first packet by itself.
        drop(shared.streams.carry(&shared.routes, line));
    }
}

/// Who it is, by what it says first. What TLS begins with is left in the stream.
async fn begins(stream: &mut TcpStream) -> std::io::Result<Begins> {
    let mut first = [0; 1];
    match (stream.peek(&mut first).await?, first) {
        (0, _) => return Err(std::io::ErrorKind::UnexpectedEof.into()),
        (_, [TLS_FIRST]) => return Ok(Begins::WithTls),
        (_, _) => {}
    }
    let mut first = [0; KNOCK.len()];
    stream.read_exact(&mut first).await?;
    Ok(match first == KNOCK {
        true => Begins::WithKnock,
        false => Begins::Plainly(first),
    })
}

/// Answers a knock. An original has only looked whether we are there, and closes.
async fn welcome(stream: &mut TcpStream) -> std::io::Result<()> {
    stream.write_all(&ANSWER).await?;
    let mut first = [0; 1];
    match (stream.peek(&mut first).await?, first) {
        (1.., [TLS_FIRST]) => Ok(()),
        (_, _) => Err(std::io::Error::other("no TLS after a knock")),
    }
}

/// The channel that both sides of a TLS connection know, and nobody else.
pub(super) fn channel_of<Side>(session: &ConnectionCommon<Side>) -> Option<Channel> {
    let exported = session.export_keying_material([0; CHANNEL_LEN], CHANNEL_LABEL, None);
    exported.ok().map(Channel)
}
