//! The receiving side: tells the receiver what a sender of ours would tell.
//!
//! An original sends its handshake, waits for one byte, and names each file only when it comes.
//! So the offer has no entries, and every file is added when it is announced. The byte is due
//! within 4 s, which is less than people need: after 3.5 s it is said on their behalf, and what
//! comes then is put aside ([`super::body`]) until they have decided.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};
use tokio::time::{Instant, sleep_until};

use super::ANSWER_WITHIN;
use super::body::Body;
use super::parse::{Kind, Scout, Step};
use super::reader::TcpReader;
use super::tree::Coming;
use crate::net::link::{Inbound, InboundEvent, LinkError, PathInfo, PathKind};
use crate::peer::LegacyPeer;
use crate::protocol::legacy::stream::{ACCEPT, ECHO, REJECT};
use crate::protocol::message::{
    Code, Entry, FileHeader, FileIndex, OfferHead, Outcome, PlanAction, ReceiverMessage, Scope,
    SenderMessage, Stamp, SteerAction, TransferId,
};

/// Files up to this size that have come as a whole are given out without the connection, so that
/// the next one can be looked at meanwhile.
const WHOLE_MAX: u64 = 256 * 1024;
/// Files that are given out at once.
const WHOLE_AT_ONCE: u32 = 64;
/// Bytes that are read at once where heads and small files come.
const READ_LEN: usize = 512 * 1024;
/// The version of every file: there is only one, and nothing is compared by it.
const STAMP: Stamp = Stamp([0xff; 16]);

/// A transfer from an original.
#[derive(Debug)]
pub struct TcpInbound {
    peer: LegacyPeer,
    kind: Kind,
    head: OfferHead,
    stage: Stage,
    /// `None` while a file reads from it.
    body: Option<Body>,
    lent: Option<oneshot::Receiver<Body>>,
    /// Where the connection goes for what comes after this transfer.
    back: oneshot::Sender<Body>,
    pause: watch::Sender<bool>,
    answer_at: Instant,
    messages: VecDeque<SenderMessage>,
    files: VecDeque<Announced>,
    /// Places of files that are given out.
    places: Arc<Semaphore>,
    /// Entries that came by, and those that the receiver was told.
    passed: u32,
    told: u32,
    planned: u32,
    /// Entries without content for the receiver.
    unwanted: HashSet<FileIndex>,
    /// A file was read whose end must be confirmed.
    echo_due: bool,
    /// How it ended, told when nobody reads a file any more.
    failed: Option<LinkError>,
}

#[derive(Debug)]
enum Stage {
    /// Nobody has been told anything.
    New,
    /// The receiver has not answered, and there is time.
    Asking,
    /// The sender was told yes, the receiver has not answered.
    Quarantine(Box<Scout>),
    /// Content comes over a link of a tree, which asks nobody, and is put aside there until the
    /// receiver answers. So long is the first file.
    Aside(u64),
    /// The receiver agreed.
    Receiving,
    /// The sender said that it is all.
    Ended,
}

/// A file that was announced.
#[derive(Debug)]
struct Announced {
    header: FileHeader,
    /// `None` if it comes from the connection.
    content: Option<Bytes>,
}

impl TcpInbound {
    /// For a handshake that came just now. `back` gets the connection when the transfer is over.
    pub(super) fn new(
        peer: LegacyPeer,
        kind: Kind,
        transfer: TransferId,
        mut body: Body,
        back: oneshot::Sender<Body>,
    ) -> Self {
        let pause = watch::Sender::new(false);
        body.paused = pause.subscribe();
        Self {
            peer,
            kind,
            head: OfferHead {
                transfer,
                entries: 0,
                bytes: 0,
                digest: *blake3::Hasher::new().finalize().as_bytes(),
            },
            stage: Stage::New,
            body: Some(body),
            lent: None,
            back,
            pause,
            answer_at: Instant::now() + ANSWER_WITHIN,
            messages: VecDeque::new(),
            files: VecDeque::new(),
            places: Arc::new(Semaphore::new(WHOLE_AT_ONCE as usize)),
            passed: 0,
            told: 0,
            planned: 0,
            unwanted: HashSet::new(),
            echo_due: false,
            failed: None,
        }
    }

    /// For files that come over a link of a tree, whose sender waits for nothing. The other one
    /// tells whether they are held up here: nobody has agreed, or a person has paused.
    pub(super) fn of_tree(
        peer: LegacyPeer,
        transfer: TransferId,
        coming: Coming,
    ) -> (Self, watch::Receiver<bool>) {
        let Coming { files, tap } = coming;
        let entries = files.iter().map(|(entry, _)| entry.clone()).collect();
        let first = files.first().map_or(0, |(_, size)| *size);
        let body = Body::of_tree(tap);
        // It does not come back: a link of a tree is for one list of files.
        let (back, _) = oneshot::channel();
        let kind = Kind::Tree(files.into());
        let mut link = Self::new(peer, kind, transfer, body, back);
        link.pause.send_replace(true);
        link.messages
            .push_back(SenderMessage::EntriesEnd { entries: 0 });
        link.tell(entries);
        link.stage = Stage::Aside(first);
        let held = link.pause.subscribe();
        (link, held)
    }

    /// Who sends, as it says.
    pub fn peer(&self) -> &LegacyPeer {
        &self.peer
    }

    /// The folder that is sent, if it is one.
    pub fn folder(&self) -> Option<&str> {
        match &self.kind {
            Kind::Files | Kind::Tree(_) => None,
            Kind::Folder { name, .. } => Some(name),
        }
    }

    fn body(&mut self) -> Result<&mut Body, LinkError> {
        self.body
            .as_mut()
            .ok_or_else(|| LinkError::Lost("the connection is gone".into()))
    }

    fn tell(&mut self, entries: Vec<Entry>) {
        if entries.is_empty() {
            return;
        }
        self.told += entries.len() as u32;
        self.messages.push_back(SenderMessage::Entries(entries));
        let entries = self.told;
        self.messages
            .push_back(SenderMessage::EntriesEnd { entries });
    }

    /// Waits for the receiver's answer as long as the sender does, and then says yes for it.
    async fn ask(&mut self) -> Result<(), LinkError> {
        let until = self.answer_at;
        let body = self.body()?;
        tokio::select! {
            biased;
            error = body.ended() => return Err(error),
            () = sleep_until(until) => {}
        }
        body.say(ACCEPT)?;
        self.stage = Stage::Quarantine(Box::new(Scout::new(self.kind.clone())));
        Ok(())
    }

    async fn quarantine(&mut self) -> Result<(), LinkError> {
        let Stage::Quarantine(scout) = &mut self.stage else {
            return Ok(());
        };
        let Some(body) = &mut self.body else {
            return Err(LinkError::Lost("the connection is gone".into()));
        };
        let found = body.put_aside(scout).await?;
        self.tell(found);
        Ok(())
    }

    /// The next file or message, once the receiver agreed.
    async fn step(&mut self) -> Result<Option<InboundEvent<TcpReader>>, LinkError> {
        if let Some(lent) = &mut self.lent {
            let back = lent.await;
            self.lent = None;
            self.body = back.ok();
        }
        if self.body()?.spoiled {
            return Err(LinkError::Lost("a file could not be taken".into()));
        }
        self.pass_rest().await?;
        if !self.files.is_empty() {
            return self.next_file().await;
        }
        if std::mem::take(&mut self.echo_due) {
            self.echo()?;
        }
        self.look_ahead().await?;
        Ok(None)
    }

    /// Confirms a file. Whoever does not listen any more may have sent everything all the same:
    /// reading tells.
    fn echo(&mut self) -> Result<(), LinkError> {
        if let Err(error) = self.body()?.say(ECHO) {
            tracing::debug!(%error, "a sender does not wait for the echo of a file");
        }
        Ok(())
    }

    /// Throws away what is left of a file that nobody reads any more.
    async fn pass_rest(&mut self) -> Result<(), LinkError> {
        let body = self.body()?;
        while body.left > 0 {
            let len = body.left.min(body.buf.len() as u64);
            let _ = body.buf.split_to(len as usize);
            body.left -= len;
            let more = body.left.min(READ_LEN as u64) as usize;
            if more > 0 && !body.fill(more).await? {
                return Err(LinkError::Lost("ended inside a file".into()));
            }
        }
        Ok(())
    }

    /// Gives out the next file; `None` if it is not wanted.
    async fn next_file(&mut self) -> Result<Option<InboundEvent<TcpReader>>, LinkError> {
        let place = self.places.clone().acquire_owned().await;
        let place = place.map_err(|_| LinkError::Lost("a fault of this program".into()))?;
        let Some(Announced { header, content }) = self.files.pop_front() else {
            return Ok(None);
        };
        Ok(self.give_out(header, content, place))
    }

    fn give_out(
        &mut self,
        header: FileHeader,
        content: Option<Bytes>,
        place: OwnedSemaphorePermit,
    ) -> Option<InboundEvent<TcpReader>> {
        let wanted = !self.unwanted.remove(&header.index);
        let reader = match content {
            Some(content) => TcpReader::whole(content, place),
            None => {
                let mut body = self.body.take()?;
                body.left = header.size;
                self.echo_due = matches!(self.kind, Kind::Folder { .. });
                if !wanted {
                    self.body = Some(body);
                    return None;
                }
                let (reader, back) = TcpReader::lent(body, place);
                self.lent = Some(back);
                reader
            }
        };
        wanted.then_some(InboundEvent::File(header, reader))
    }

    /// Looks at what has come, and tells the receiver what it does not know.
    async fn look_ahead(&mut self) -> Result<(), LinkError> {
        let found = self.parse()?;
        let idle = found.is_empty() && self.files.is_empty();
        self.tell(found);
        if matches!(self.stage, Stage::Ended) {
            let entries = self.told;
            self.messages.push_back(SenderMessage::Finish { entries });
        } else if idle && !self.body()?.fill(READ_LEN).await? {
            return Err(LinkError::Lost("ended without the end mark".into()));
        }
        Ok(())
    }

    /// Takes all whole steps out of the buffer. The entries that the receiver does not know.
    fn parse(&mut self) -> Result<Vec<Entry>, LinkError> {
        let mut found = Vec::new();
        let mut buf = std::mem::take(&mut self.body()?.buf);
        let result = self.parse_into(&mut buf, &mut found);
        self.body()?.buf = buf;
        result.map(|()| found)
    }

    fn parse_into(&mut self, buf: &mut BytesMut, found: &mut Vec<Entry>) -> Result<(), LinkError> {
        while let Some(step) = self.kind.step(buf)? {
            let index = self.passed;
            let (entry, size) = match step {
                Step::End => {
                    self.stage = Stage::Ended;
                    return Ok(());
                }
                Step::Folder(entry) => (entry, None),
                Step::File(entry, size) => (entry, Some(size)),
            };
            self.passed += 1;
            if index >= self.told {
                found.push(entry);
            }
            let Some(size) = size else { continue };
            let is_whole = size <= WHOLE_MAX && buf.len() as u64 >= size;
            // A copy: a slice would keep all of the buffer in memory for as long as it lives.
            let content = is_whole.then(|| Bytes::copy_from_slice(&buf.split_to(size as usize)));
            if is_whole && matches!(self.kind, Kind::Folder { .. }) {
                self.echo()?;
            }
            let header = self.header(index, size);
            self.files.push_back(Announced { header, content });
            if !is_whole {
                return Ok(());
            }
        }
        Ok(())
    }

    fn header(&self, index: FileIndex, size: u64) -> FileHeader {
        FileHeader {
            transfer: self.head.transfer,
            index,
            size,
            modified: super::parse::now(),
            stamp: STAMP,
        }
    }

    fn on_accepted(&mut self) -> Result<(), LinkError> {
        match self.stage {
            Stage::New | Stage::Asking => self.body()?.say(ACCEPT)?,
            Stage::Aside(_) => {
                self.pause.send_replace(false);
            }
            Stage::Quarantine(_) | Stage::Receiving | Stage::Ended => {}
        }
        self.stage = Stage::Receiving;
        Ok(())
    }

    /// Remembers which of the next entries the receiver does not want.
    fn on_plan(&mut self, action: PlanAction, count: u32) {
        let end = self.planned.saturating_add(count);
        match action {
            PlanAction::Skip => self.unwanted.extend(self.planned..end),
            PlanAction::Send | PlanAction::Hold => {}
        }
        self.planned = end;
    }

    /// Whether content of this entry may still be given out.
    fn is_ahead(&self, index: FileIndex) -> bool {
        index >= self.passed || self.files.iter().any(|f| f.header.index == index)
    }
}

impl Inbound for TcpInbound {
    type Reader = TcpReader;

    fn head(&self) -> &OfferHead {
        &self.head
    }

    fn path(&self) -> PathInfo {
        PathInfo {
            kind: PathKind::LegacyPlain,
            addr: Some(self.peer.addr),
            rtt: None,
        }
    }

    fn consent(&mut self) {}

    async fn send(&mut self, message: ReceiverMessage) -> Result<(), LinkError> {
        match message {
            ReceiverMessage::Accepted => self.on_accepted()?,
            ReceiverMessage::Declined(_) => match self.stage {
                Stage::New | Stage::Asking => self.body()?.say(REJECT)?,
                // It was told yes; it finds the connection closed.
                Stage::Quarantine(_) | Stage::Aside(_) | Stage::Receiving | Stage::Ended => {}
            },
            ReceiverMessage::Plan(runs) => {
                runs.iter()
                    .for_each(|run| self.on_plan(run.action, run.count));
            }
            ReceiverMessage::Settled(receipts) => {
                for receipt in receipts {
                    let failed = matches!(receipt.outcome, Outcome::Failed(_));
                    if failed && self.is_ahead(receipt.index) {
                        self.unwanted.insert(receipt.index);
                    }
                }
            }
            ReceiverMessage::Steer(steer) if steer.scope == Scope::Transfer => match steer.action {
                SteerAction::Pause(_) => {
                    self.pause.send_replace(true);
                }
                SteerAction::Resume => {
                    self.pause.send_replace(false);
                }
                SteerAction::Cancel | SteerAction::First => {}
            },
            // Nobody is there who could do anything about it.
            ReceiverMessage::Steer(_)
            | ReceiverMessage::Known { .. }
            | ReceiverMessage::Asked(_)
            | ReceiverMessage::Start { .. }
            | ReceiverMessage::Have { .. }
            | ReceiverMessage::Again { .. }
            | ReceiverMessage::PassesOn(_)
            | ReceiverMessage::Progress { .. }
            | ReceiverMessage::Trouble { .. }
            | ReceiverMessage::CanGoOn(_)
            | ReceiverMessage::Behind(_)
            | ReceiverMessage::Holds(_)
            | ReceiverMessage::Complete => {}
        }
        Ok(())
    }

    async fn recv(&mut self) -> Result<InboundEvent<TcpReader>, LinkError> {
        loop {
            if let Some(message) = self.messages.pop_front() {
                return Ok(InboundEvent::Message(message));
            }
            if let Some(error) = &self.failed {
                // What has come whole is taken first.
                let _ = self.places.acquire_many(WHOLE_AT_ONCE).await;
                return Err(error.clone());
            }
            match &self.stage {
                Stage::New => {
                    self.stage = Stage::Asking;
                    return Ok(InboundEvent::Message(SenderMessage::EntriesEnd {
                        entries: 0,
                    }));
                }
                Stage::Asking => self.ask().await?,
                Stage::Quarantine(_) => self.quarantine().await?,
                Stage::Aside(first) => {
                    let first = *first;
                    return Err(self.body()?.lost_early(first).await);
                }
                Stage::Receiving => match self.step().await {
                    Ok(Some(event)) => return Ok(event),
                    Ok(None) => {}
                    Err(error) => self.failed = Some(error),
                },
                // Files that are still to be given out, and then nothing more.
                Stage::Ended if self.files.is_empty() => std::future::pending().await,
                Stage::Ended => {
                    if let Some(event) = self.next_file().await? {
                        return Ok(event);
                    }
                }
            }
        }
    }

    async fn close(mut self, code: Code) {
        // A newer original keeps the connection for its next transfer.
        if let (Stage::Ended, Code::Done, Some(body)) = (&self.stage, code, self.body.take()) {
            let _ = self.back.send(body);
        }
    }
}
