//! Files to an original that has a place in our tree: either over a link of its own, one file
//! after the other as they were listed, or not by us at all.
//!
//! Nothing can be left out of a link's stream and nothing said twice. So whenever anything is not
//! as it was listed, the link is given up, and what has not arrived goes by a connection of the
//! ordinary kind.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::fates::{Fate, Fates};
use super::root::{Place, Placed};
use super::{END_WAIT, METADATA_GAP};
use crate::net::link::{FileOpener, FileWriter, LinkError, Outbound, PathInfo, PathKind, Piece};
use crate::net::tcp::ledger::{Entry as News, Ledger, receipt};
use crate::net::tcp::wire::{Next, Wire};
use crate::protocol::legacy::otm::Metadata;
use crate::protocol::legacy::stream::FileItem;
use crate::protocol::message::{
    Code, FileHeader, FileIndex, Outcome, PlanAction, PlanRun, Receipt, ReceiverMessage, Scope,
    SenderMessage, SteerAction,
};

/// Receipts in one message.
const RECEIPTS_MAX: usize = 256;

/// A transfer to an original that takes part in a tree of ours.
#[derive(Debug)]
pub struct TreeOutbound {
    addr: SocketAddr,
    shared: Arc<Shared>,
    way: Way,
    ready: VecDeque<ReceiverMessage>,
    /// Files that are written.
    written: u32,
    /// What takes its time, one after the other.
    work: JoinSet<Result<Worked, LinkError>>,
    told: bool,
}

#[derive(Debug)]
enum Way {
    /// By a link of ours.
    Ours(Option<Fate>),
    /// By others.
    Below,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Worked {
    /// The list of files is said.
    Listed,
    /// Everything has arrived, as far as can be said.
    Ended,
}

#[derive(Debug)]
struct Shared {
    files: Vec<FileItem>,
    ledger: Ledger,
    /// `None` if there is no link of ours.
    stream: Arc<Mutex<Option<Stream>>>,
}

#[derive(Debug)]
struct Stream {
    wire: Wire,
    /// The file whose turn it is.
    next: FileIndex,
    /// A file was given up in its middle.
    broken: bool,
}

impl TreeOutbound {
    /// For an original whose stream port is `addr`.
    pub(in crate::net::tcp) fn new(addr: SocketAddr, placed: Placed) -> Self {
        let Placed { files, place } = placed;
        let mut work = JoinSet::new();
        let (way, stream) = match place {
            Place::Ours(wire, fate) => {
                let stream = Stream {
                    wire,
                    next: 0,
                    broken: false,
                };
                (Way::Ours(Some(fate)), Some(stream))
            }
            Place::Below(fates) => {
                work.spawn(by_others(fates));
                (Way::Below, None)
            }
        };
        let shared = Shared {
            files,
            ledger: Ledger::default(),
            stream: Arc::new(Mutex::new(stream)),
        };
        Self {
            addr,
            shared: Arc::new(shared),
            way,
            ready: VecDeque::from([ReceiverMessage::Known { entries: 0 }]),
            written: 0,
            work,
            told: false,
        }
    }

    /// Whether it gets everything from others, so that nobody here hears whether it did.
    pub fn is_below(&self) -> bool {
        matches!(self.way, Way::Below)
    }

    fn count(&self) -> u32 {
        self.shared.files.len() as u32
    }

    /// All entries are told: says what becomes of them.
    fn on_told(&mut self, entries: u32) -> Result<(), LinkError> {
        if std::mem::replace(&mut self.told, true) || entries != self.count() {
            // More was added: that needs another connection.
            return Err(changed());
        }
        let action = match self.way {
            Way::Ours(_) => {
                let shared = self.shared.clone();
                self.work.spawn(async move { shared.list().await });
                PlanAction::Hold
            }
            Way::Below => PlanAction::Skip,
        };
        let count = entries;
        self.ready.extend([
            ReceiverMessage::Accepted,
            ReceiverMessage::Plan(vec![PlanRun { count, action }]),
            ReceiverMessage::Start { entries },
        ]);
        Ok(())
    }

    /// Lets the file come whose turn it is; after the last, ends the stream.
    fn advance(&mut self) {
        if self.written < self.count() {
            self.ready.push_back(ReceiverMessage::Have {
                index: self.written,
                stamp: None,
                first: 0,
                groups: Vec::new(),
                more: false,
            });
        } else {
            let shared = self.shared.clone();
            self.work.spawn(async move { shared.end().await });
        }
    }

    fn on_worked(&mut self, worked: Worked) {
        match (worked, &self.way) {
            (Worked::Listed, _) => self.advance(),
            // The receipts are on their way.
            (Worked::Ended, Way::Ours(_)) => {}
            (Worked::Ended, Way::Below) => {
                let all = (0..self.count()).map(|index| receipt(index, Outcome::New));
                self.push_receipts(all.collect());
            }
        }
    }

    fn take_news(&mut self) {
        let mut receipts = Vec::new();
        for news in self.shared.ledger.take() {
            match news {
                News::Written(_) => {
                    self.written += 1;
                    self.advance();
                }
                News::Settled(receipt) => receipts.push(receipt),
            }
        }
        self.push_receipts(receipts);
    }

    fn push_receipts(&mut self, receipts: Vec<Receipt>) {
        let pages = receipts.chunks(RECEIPTS_MAX);
        let pages = pages.map(|page| ReceiverMessage::Settled(page.to_vec()));
        self.ready.extend(pages);
    }
}

/// Waits for those who pass it on.
async fn by_others(fates: Fates) -> Result<Worked, LinkError> {
    match fates.decided().await {
        true => Ok(Worked::Ended),
        false => Err(LinkError::Lost("who passes it on does not get it".into())),
    }
}

impl Shared {
    /// Says what will come, in a segment of its own.
    async fn list(&self) -> Result<Worked, LinkError> {
        let list = Metadata(self.files.clone());
        let list = list
            .encode()
            .map_err(|error| LinkError::Lost(error.to_string()))?;
        let mut stream = self.stream.lock().await;
        let stream = stream.as_mut().ok_or_else(gone)?;
        stream
            .wire
            .send(&list, &[], Next::Head)
            .await
            .map_err(lost)?;
        sleep(METADATA_GAP).await;
        Ok(Worked::Listed)
    }

    /// Everything is written: waits until it has arrived.
    async fn end(&self) -> Result<Worked, LinkError> {
        let mut stream = self.stream.lock().await;
        let stream = stream.as_mut().ok_or_else(gone)?;
        match timeout(END_WAIT, stream.wire.finish()).await {
            Ok(finished) => finished.map_err(lost)?,
            Err(_) => return Err(LinkError::Lost("the other side does not end".into())),
        }
        self.ledger.confirm(u64::MAX);
        Ok(Worked::Ended)
    }
}

impl Outbound for TreeOutbound {
    type Opener = TreeOpener;

    fn opener(&self) -> TreeOpener {
        TreeOpener(self.shared.clone())
    }

    fn path(&self) -> PathInfo {
        PathInfo {
            kind: PathKind::LegacyPlain,
            addr: Some(self.addr),
            rtt: None,
        }
    }

    fn knows_sessions(&self) -> bool {
        false
    }

    async fn send(&mut self, message: SenderMessage) -> Result<(), LinkError> {
        match message {
            SenderMessage::EntriesEnd { entries } => self.on_told(entries),
            SenderMessage::FileFailed { .. } => Err(changed()),
            SenderMessage::Steer(steer) => match (steer.scope, steer.action) {
                // What is listed must come.
                (Scope::File(_), SteerAction::Cancel) => Err(changed()),
                // A pause is the sender's own business, and the order is fixed.
                _ => Ok(()),
            },
            SenderMessage::Finish { .. } => {
                if let Way::Ours(fate) = &mut self.way
                    && let Some(fate) = fate.take()
                {
                    fate.done();
                }
                self.ready.push_back(ReceiverMessage::Complete);
                Ok(())
            }
            // The list is known, and an original knows nothing of our sessions.
            SenderMessage::Entries(_)
            | SenderMessage::Session(_)
            | SenderMessage::Feeder(_)
            | SenderMessage::WillFile(_)
            | SenderMessage::Will(_) => Ok(()),
        }
    }

    async fn recv(&mut self) -> Result<ReceiverMessage, LinkError> {
        loop {
            self.take_news();
            if let Some(message) = self.ready.pop_front() {
                return Ok(message);
            }
            tokio::select! {
                () = self.shared.ledger.changed() => {}
                Some(worked) = self.work.join_next() => {
                    let fault = |_| LinkError::Lost("a fault of this program".into());
                    let worked = worked.map_err(fault)??;
                    self.on_worked(worked);
                }
            }
        }
    }

    async fn close(self, _code: Code) {
        // In order, it is ended already. Otherwise the other side finds the end inside a file.
    }
}

/// Waits for the turn of each file.
#[derive(Debug, Clone)]
pub struct TreeOpener(Arc<Shared>);

impl FileOpener for TreeOpener {
    type Writer = TreeWriter;

    fn carries_hashes(&self) -> bool {
        false
    }

    async fn open(&self, header: &FileHeader, _priority: i32) -> Result<TreeWriter, LinkError> {
        let mut guard = self.0.stream.clone().lock_owned().await;
        let stream = guard.as_mut().ok_or_else(gone)?;
        let listed = self.0.files.get(header.index as usize);
        let is_listed = listed.is_some_and(|file| file.size == header.size);
        if stream.broken || stream.next != header.index || !is_listed {
            return Err(changed());
        }
        stream.next += 1;
        stream.broken = true;
        Ok(TreeWriter {
            stream: guard,
            shared: self.0.clone(),
            index: header.index,
            left: header.size,
        })
    }
}

/// A file whose turn it is. Dropped in its middle, nothing more can come on this link.
#[derive(Debug)]
pub struct TreeWriter {
    stream: OwnedMutexGuard<Option<Stream>>,
    shared: Arc<Shared>,
    index: FileIndex,
    left: u64,
}

impl FileWriter for TreeWriter {
    async fn write(&mut self, piece: Piece) -> Result<(), LinkError> {
        let stream = self.stream.as_mut().ok_or_else(gone)?;
        match piece {
            Piece::Group(_) | Piece::GroupEnd(_) => Ok(()),
            Piece::Data(data) => {
                let left = self.left.checked_sub(data.len() as u64);
                self.left = left.ok_or_else(changed)?;
                // It ends when it has everything. One that ends before takes nothing more, which
                // its end alone would not tell later.
                if stream.wire.has_ended() {
                    return Err(LinkError::Lost("the other side ended too early".into()));
                }
                stream.wire.send(&data, &[], Next::More).await.map_err(lost)
            }
            Piece::End(_) if self.left == 0 => {
                stream.broken = false;
                let written = stream.wire.written();
                let arrived = written.saturating_sub(stream.wire.buffered_max());
                self.shared.ledger.written(self.index, written);
                self.shared.ledger.confirm(arrived);
                Ok(())
            }
            Piece::End(_) | Piece::Elsewhere(..) | Piece::Break => Err(changed()),
        }
    }

    fn reset(self, _code: Code) {}
}

fn lost(error: std::io::Error) -> LinkError {
    LinkError::Lost(error.to_string())
}

fn gone() -> LinkError {
    LinkError::Lost("there is no link".into())
}

fn changed() -> LinkError {
    LinkError::Lost("not what was listed for the tree".into())
}
