//! The connection that files take turns on: dialled, opened, ended, and made anew when a file was
//! given up in its middle.

use std::collections::HashSet;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;

use super::lanes::Purpose;
use super::ledger::Ledger;
use super::outbound::Destination;
use super::wire::{Next, Wire};
use crate::net::connector::ConnectError;
use crate::net::link::{LinkError, Offence};
use crate::protocol::legacy::stream::{
    ACCEPT, DirectoryStep, ECHO, FileItem, FileStep, Opening, Place, REJECT,
};
use crate::protocol::legacy::{LegacyError, LegacyId};
use crate::protocol::message::{Code, FileIndex};

/// How long each attempt to connect takes, as the original does it.
const ATTEMPTS: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(4)];
/// How long the end of the other side is waited for: it may have some megabytes to write.
const END_WAIT: Duration = Duration::from_secs(60);
/// When a computer that is silent is asked whether it is there, and how often.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(20);
/// See [`KEEPALIVE_AFTER`].
const KEEPALIVE_EVERY: Duration = Duration::from_secs(5);

/// Connects to the stream port of an original. Cancel-safe.
pub async fn dial(addr: SocketAddr) -> Result<TcpStream, ConnectError> {
    let mut last = ConnectError::Unreachable;
    for attempt in ATTEMPTS {
        match timeout(attempt, TcpStream::connect(addr)).await {
            Ok(Ok(stream)) => {
                prepare(&stream).map_err(|error| ConnectError::Lost(error.to_string()))?;
                return Ok(stream);
            }
            Ok(Err(error)) => last = not_connected(&error),
            Err(_) => last = ConnectError::Unreachable,
        }
    }
    Err(last)
}

/// What every connection needs, whoever made it.
pub(super) fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let keepalive = socket2::TcpKeepalive::new()
        .with_time(KEEPALIVE_AFTER)
        .with_interval(KEEPALIVE_EVERY);
    socket2::SockRef::from(stream).set_tcp_keepalive(&keepalive)
}

fn not_connected(error: &io::Error) -> ConnectError {
    use io::ErrorKind;
    let kind = error.kind();
    if kind == ErrorKind::ConnectionRefused {
        ConnectError::NotListening
    } else if matches!(
        kind,
        ErrorKind::NetworkUnreachable | ErrorKind::HostUnreachable
    ) {
        ConnectError::NoRoute
    } else if kind == ErrorKind::TimedOut {
        ConnectError::Unreachable
    } else {
        ConnectError::Lost(error.to_string())
    }
}

/// What the other side says to a handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    Accepted,
    Declined,
    /// Nothing: not within the time that there is, or the connection is gone.
    Silent,
}

/// The connection, and what is needed for another one.
#[derive(Debug)]
pub(super) struct Line {
    to: Destination,
    transfers: Arc<AtomicU64>,
    /// A connection that is made already.
    fresh: Option<TcpStream>,
    wire: Option<Wire>,
    purpose: Purpose,
    /// Folders that were told on this connection, below its own.
    made: HashSet<String>,
    /// A file was given up in its middle: nothing more can be said on this connection.
    pub(super) broken: bool,
}

impl Line {
    pub(super) fn new(to: Destination, transfers: Arc<AtomicU64>, fresh: TcpStream) -> Self {
        Self {
            to,
            transfers,
            fresh: Some(fresh),
            wire: None,
            purpose: Purpose::Files,
            made: HashSet::new(),
            broken: false,
        }
    }

    /// Connects for `purpose` and waits for the answer.
    pub(super) async fn open(&mut self, purpose: Purpose) -> Result<Answer, LinkError> {
        let stream = match self.fresh.take() {
            Some(stream) => stream,
            None => {
                let dialled = dial(self.to.addr).await;
                dialled.map_err(|error| LinkError::Lost(error.to_string()))?
            }
        };
        let mut wire = Wire::new(stream);
        let number = self.transfers.fetch_add(1, Ordering::Relaxed).to_string();
        let handshake = handshake(&purpose, number, self.to.us)?;
        // One write on a fresh connection: it arrives in one piece.
        let asked = async {
            wire.send(&handshake, &[], Next::Head).await?;
            wire.byte().await
        };
        let answer = match timeout(self.to.patience, asked).await {
            Err(_) | Ok(Err(_)) => return Ok(Answer::Silent),
            Ok(Ok(byte)) => byte,
        };
        match answer {
            Some(ACCEPT) => {}
            Some(REJECT) => return Ok(Answer::Declined),
            Some(_) => return Err(Offence::UnexpectedMessage.into()),
            // An original would go on; but nobody is there.
            None => return Ok(Answer::Silent),
        }
        self.wire = Some(wire);
        self.purpose = purpose;
        self.made.clear();
        self.broken = false;
        Ok(Answer::Accepted)
    }

    /// Makes sure that a file can begin. Cancel-safe.
    pub(super) async fn ready(&mut self, ledger: &Ledger) -> Result<(), LinkError> {
        if !self.broken && self.wire.is_some() {
            return Ok(());
        }
        self.finish(ledger).await?;
        match self.open(self.purpose.clone()).await? {
            Answer::Accepted => Ok(()),
            Answer::Declined => Err(LinkError::Closed(Code::Refused)),
            Answer::Silent => Err(silent()),
        }
    }

    /// Says that nothing more comes; when the other side has ended, everything has arrived.
    async fn finish(&mut self, ledger: &Ledger) -> Result<(), LinkError> {
        let Some(wire) = &mut self.wire else {
            return Ok(());
        };
        match timeout(END_WAIT, wire.finish()).await {
            Ok(finished) => finished.map_err(lost)?,
            Err(_) => return Err(LinkError::Lost("the other side does not end".into())),
        }
        self.wire = None;
        ledger.confirm(u64::MAX);
        Ok(())
    }

    /// Ends the connection in order: the folders that nothing was put into, and the end mark.
    pub(super) async fn end(
        &mut self,
        folders: &[String],
        ledger: &Ledger,
    ) -> Result<(), LinkError> {
        let made = |folder: &String| {
            let below = below_top(folder);
            below.is_empty() || self.made.contains(below)
        };
        if self.broken && folders.iter().all(made) {
            return self.finish(ledger).await;
        }
        self.ready(ledger).await?;
        for folder in folders {
            self.make_folders(below_top(folder)).await?;
        }
        let wire = self.wire.as_mut().ok_or_else(not_open)?;
        // The same in both kinds of transfer.
        let end = FileStep::End.encode().map_err(unsendable)?;
        wire.send(&end, &[], Next::Head).await.map_err(lost)?;
        self.finish(ledger).await
    }

    /// Tells the folder `path` (below the one of the connection) and those above it.
    async fn make_folders(&mut self, path: &str) -> Result<(), LinkError> {
        let ends = path.match_indices('/').map(|(at, _)| at);
        for end in ends.chain([path.len()]) {
            let folder = path.get(..end).unwrap_or_default();
            if folder.is_empty() || self.made.contains(folder) {
                continue;
            }
            let frame = DirectoryStep::Folder(place(folder)).encode();
            let frame = frame.map_err(unsendable)?;
            let wire = self.wire.as_mut().ok_or_else(not_open)?;
            if frame.len() > wire.segment_max() {
                return Err(LinkError::Lost("the name of a folder is too long".into()));
            }
            wire.send(&frame, &[], Next::Head).await.map_err(lost)?;
            self.made.insert(folder.to_owned());
        }
        Ok(())
    }

    /// The head of a file, after the folders that it lies in. `None` if the other side could not
    /// read it in one piece.
    pub(super) async fn head(
        &mut self,
        path: &str,
        size: u64,
    ) -> Result<Option<Vec<u8>>, LinkError> {
        let head = match &self.purpose {
            Purpose::Files => FileStep::File(FileItem {
                name: path.to_owned(),
                size,
                seeked: 0,
            })
            .encode(),
            Purpose::Folder(_) => {
                let path = below_top(path);
                if let Some((parent, _)) = path.rsplit_once('/') {
                    self.make_folders(parent).await?;
                }
                DirectoryStep::File(place(path), size).encode()
            }
        };
        let Ok(head) = head else { return Ok(None) };
        let most = self.wire.as_ref().ok_or_else(not_open)?.segment_max();
        Ok(Some(head).filter(|head| head.len() <= most))
    }

    /// Writes; see [`Wire::send`]. Not cancel-safe.
    pub(super) async fn send(
        &mut self,
        head: &[u8],
        content: &[u8],
        next: Next,
    ) -> Result<(), LinkError> {
        let wire = self.wire.as_mut().ok_or_else(not_open)?;
        wire.send(head, content, next).await.map_err(lost)
    }

    /// A file is written as a whole.
    pub(super) async fn file_written(
        &mut self,
        index: FileIndex,
        ledger: &Ledger,
    ) -> Result<(), LinkError> {
        self.after_file().await?;
        let wire = self.wire.as_ref().ok_or_else(not_open)?;
        let end = wire.written();
        ledger.written(index, end);
        ledger.confirm(match self.purpose {
            Purpose::Files => end.saturating_sub(wire.buffered_max()),
            // The echo says it.
            Purpose::Folder(_) => end,
        });
        Ok(())
    }

    /// Waits for what the other side says after a file, if it does.
    pub(super) async fn after_file(&mut self) -> Result<(), LinkError> {
        if self.purpose == Purpose::Files {
            return Ok(());
        }
        let wire = self.wire.as_mut().ok_or_else(not_open)?;
        let echo = timeout(END_WAIT, wire.byte()).await;
        let echo = echo.map_err(|_| LinkError::Offence(Offence::Silent))?;
        match echo.map_err(lost)? {
            Some(ECHO) => Ok(()),
            Some(_) => Err(Offence::UnexpectedMessage.into()),
            None => Err(LinkError::Lost("closed before the echo".into())),
        }
    }
}

fn handshake(purpose: &Purpose, number: String, us: LegacyId) -> Result<Vec<u8>, LinkError> {
    let opening = match purpose {
        Purpose::Files => Opening::Files {
            file_id: number,
            sender: us,
        },
        Purpose::Folder(name) => Opening::Directory {
            transfer_id: number,
            name: name.clone(),
            sender: us,
        },
    };
    opening.encode().map_err(unsendable)
}

/// The path of an entry below the folder at top level that it lies in; empty for that itself.
fn below_top(path: &str) -> &str {
    path.split_once('/').map_or("", |(_, below)| below)
}

/// Where an entry is, as originals say it.
fn place(path: &str) -> Place {
    let (parent, name) = path.rsplit_once('/').unwrap_or((".", path));
    Place {
        parent: parent.to_owned(),
        name: name.to_owned(),
    }
}

fn lost(error: io::Error) -> LinkError {
    LinkError::Lost(error.to_string())
}

fn unsendable(error: LegacyError) -> LinkError {
    LinkError::Lost(format!("cannot be said: {error}"))
}

/// It said yes to an earlier connection: whoever is there now does not listen.
pub(super) fn silent() -> LinkError {
    LinkError::Lost("no answer to another connection".into())
}

fn not_open() -> LinkError {
    LinkError::Lost("the connection is not open".into())
}
