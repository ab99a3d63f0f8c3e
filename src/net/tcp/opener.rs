//! Files on their way out, one after the other on the one connection.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Mutex as TurnMutex, OwnedMutexGuard};

use super::ledger::Ledger;
use super::line::Line;
use super::wire::Next;
use crate::net::link::{FileOpener, FileWriter, LinkError, Piece};
use crate::protocol::message::{Code, FileHeader, FileIndex, SinkFault, SourceFault};

/// What a link and its writers share.
#[derive(Debug)]
pub(super) struct Shared {
    /// Who holds it has the turn; the others wait in the order in which they came.
    pub(super) line: Arc<TurnMutex<Line>>,
    pub(super) ledger: Ledger,
    paths: Mutex<HashMap<FileIndex, Box<str>>>,
}

impl Shared {
    pub(super) fn new(line: Line) -> Self {
        Self {
            line: Arc::new(TurnMutex::new(line)),
            ledger: Ledger::default(),
            paths: Mutex::default(),
        }
    }

    /// Remembers the path of a file until it is sent.
    pub(super) fn remember(&self, index: FileIndex, path: &str) {
        let mut paths = self.paths.lock().unwrap_or_else(PoisonError::into_inner);
        paths.insert(index, path.into());
    }

    fn take_path(&self, index: FileIndex) -> Option<Box<str>> {
        let mut paths = self.paths.lock().unwrap_or_else(PoisonError::into_inner);
        paths.remove(&index)
    }
}

/// Waits for the turn of each file.
#[derive(Debug, Clone)]
pub struct TcpOpener(pub(super) Arc<Shared>);

impl FileOpener for TcpOpener {
    type Writer = TcpWriter;

    fn carries_hashes(&self) -> bool {
        false
    }

    async fn open(&self, header: &FileHeader, _priority: i32) -> Result<TcpWriter, LinkError> {
        let shared = self.0.clone();
        let mut line = shared.line.clone().lock_owned().await;
        let index = header.index;
        if shared.ledger.has_begun(index) {
            // Some of an older version is over there, and cannot be taken back.
            return Err(given_up(
                &shared,
                index,
                SinkFault::Source(SourceFault::Changing),
            ));
        }
        line.ready(&shared.ledger).await?;
        let path = shared.take_path(index).unwrap_or_default();
        let Some(head) = line.head(&path, header.size).await? else {
            return Err(given_up(&shared, index, SinkFault::Name));
        };
        Ok(TcpWriter {
            line,
            shared,
            index,
            head,
            left: header.size,
            stage: Stage::Waiting,
        })
    }
}

fn given_up(shared: &Shared, index: FileIndex, fault: SinkFault) -> LinkError {
    shared.ledger.fail(index, fault);
    LinkError::Closed(Code::Cancelled)
}

/// How far a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Nothing is written.
    Waiting,
    /// Something may be written.
    Begun,
    /// All is written.
    Whole,
}

/// A file whose turn it is. Dropping it in its middle makes the connection useless for the files
/// behind it: they get another one.
#[derive(Debug)]
pub struct TcpWriter {
    line: OwnedMutexGuard<Line>,
    shared: Arc<Shared>,
    index: FileIndex,
    head: Vec<u8>,
    left: u64,
    stage: Stage,
}

impl TcpWriter {
    async fn send(&mut self, content: &[u8]) -> Result<(), LinkError> {
        self.left = self
            .left
            .checked_sub(content.len() as u64)
            .ok_or_else(|| LinkError::Lost("more content than announced".into()))?;
        if self.stage == Stage::Waiting {
            self.shared.ledger.begin(self.index);
            self.stage = Stage::Begun;
        }
        let next = if self.left == 0 {
            Next::Head
        } else {
            Next::More
        };
        let head = std::mem::take(&mut self.head);
        self.line.send(&head, content, next).await
    }

    /// Everything was given out. Whether nothing is missing.
    async fn end(&mut self) -> Result<bool, LinkError> {
        if self.stage == Stage::Waiting {
            self.send(&[]).await?;
        }
        Ok(self.left == 0)
    }
}

impl FileWriter for TcpWriter {
    async fn write(&mut self, piece: Piece) -> Result<(), LinkError> {
        match piece {
            Piece::Group(_) | Piece::GroupEnd(_) => Ok(()),
            Piece::Data(data) => self.send(&data).await,
            Piece::End(_) => {
                if !self.end().await? {
                    return Err(LinkError::Lost("less content than announced".into()));
                }
                self.line
                    .file_written(self.index, &self.shared.ledger)
                    .await?;
                self.stage = Stage::Whole;
                Ok(())
            }
            Piece::Elsewhere(..) => Err(LinkError::Lost("this protocol has no sessions".into())),
            // It changed while it was sent. The other side holds it for whole; we do not.
            Piece::Break => {
                if self.end().await? {
                    let changing = SinkFault::Source(SourceFault::Changing);
                    self.line.after_file().await?;
                    self.shared.ledger.fail(self.index, changing);
                    self.stage = Stage::Whole;
                }
                Err(LinkError::Closed(Code::Cancelled))
            }
        }
    }

    fn reset(self, _code: Code) {}
}

impl Drop for TcpWriter {
    fn drop(&mut self) {
        if self.stage == Stage::Begun {
            self.line.broken = true;
        }
    }
}
