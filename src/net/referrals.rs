//! Files with one group that a sender refers elsewhere as a whole: many of them in one stream.
//!
//! A stream of its own for each costs more than what it says, at a sender that says it to many
//! receivers and sends the content to one of them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quinn::{SendStream, WriteError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::connection::{FileSender, PeerConnection};
use super::errors::wire;
use super::file_stream::QuicFileReader;
use super::frames::FrameReader;
use super::link::{LinkError, Offence, Piece};
use crate::protocol::frame::{self, MessageTooLong};
use crate::protocol::groups::{GROUP_LEN, Hash};
use crate::protocol::message::{Code, FileHeader, Stamp, Timestamp, TransferId};
use crate::protocol::sessions::{REFERRALS, REFERRALS_MAX, Referral};

/// How long a stream waits for more files.
const GATHER: Duration = Duration::from_millis(5);
/// Content of the files in one stream after which no more are added: those that are not so small
/// need not wait for others.
const CONTENT_MAX: u64 = 256 * 1024;
/// Files that wait at the sender, or on their way, until the receiver takes them. When it gets
/// everything from the sender again, it asks for all of these, too.
const WAITING_MAX: usize = 64;
/// Files that a receiver has taken out of such streams and not read to their end.
pub(super) const OPEN_MAX: usize = 32;

/// Gathers what is referred elsewhere on one link.
#[derive(Debug, Clone)]
pub(super) struct Referrals {
    connection: PeerConnection,
    batch: Arc<Mutex<Batch>>,
    places: Arc<Semaphore>,
    /// Whether the link is over.
    over: watch::Sender<bool>,
}

/// Files that go into one stream.
#[derive(Debug, Default)]
struct Batch {
    /// Which one it is.
    number: u64,
    files: Vec<Referral>,
    content: u64,
    priority: i32,
    /// Of the files, until they are taken.
    places: Vec<OwnedSemaphorePermit>,
}

impl Batch {
    fn add(&mut self, file: Referral, priority: i32, place: OwnedSemaphorePermit) {
        self.priority = match self.files.is_empty() {
            true => priority,
            false => self.priority.max(priority),
        };
        self.content += file.size;
        self.files.push(file);
        self.places.push(place);
    }

    fn is_full(&self) -> bool {
        self.files.len() >= REFERRALS_MAX || self.content >= CONTENT_MAX
    }

    /// All of it; the next one begins.
    fn take(&mut self) -> Self {
        let number = self.number + 1;
        let next = Self {
            number,
            ..Self::default()
        };
        std::mem::replace(self, next)
    }
}

impl Referrals {
    pub(super) fn new(connection: PeerConnection) -> Self {
        Self {
            connection,
            batch: Arc::default(),
            places: Arc::new(Semaphore::new(WAITING_MAX)),
            over: watch::Sender::new(false),
        }
    }

    /// The link is over: nothing more comes of it, not in the middle of the next one either.
    pub(super) fn end(&self) {
        self.places.close();
        self.over.send_replace(true);
        self.batch().take();
    }

    fn batch(&self) -> MutexGuard<'_, Batch> {
        // Each change is whole before the lock is given back.
        self.batch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Refers a file elsewhere, with others that come within [`GATHER`]. Waits while too many
    /// wait. Cancel-safe.
    pub(super) async fn refer(
        &self,
        transfer: TransferId,
        file: Referral,
        priority: i32,
    ) -> Result<(), LinkError> {
        if let Some(why) = self.connection.ended() {
            return Err(why);
        }
        let place = self.places.clone().acquire_owned().await;
        let place = place.map_err(|_| LinkError::Lost("the link is over".into()))?;
        let mut batch = self.batch();
        batch.add(file, priority, place);
        // Not where the file was read: that task may be given up, and the others are not its own.
        if batch.is_full() {
            let (all, full) = (self.clone(), batch.take());
            tokio::spawn(async move { all.send(transfer, full).await });
        } else if batch.files.len() == 1 {
            let (all, number) = (self.clone(), batch.number);
            tokio::spawn(async move { all.send_later(transfer, number).await });
        }
        Ok(())
    }

    /// Sends what is there of a batch after a moment, unless that was full sooner.
    async fn send_later(self, transfer: TransferId, number: u64) {
        tokio::time::sleep(GATHER).await;
        let batch = {
            let mut batch = self.batch();
            if batch.number != number {
                return;
            }
            batch.take()
        };
        self.send(transfer, batch).await;
    }

    async fn send(&self, transfer: TransferId, batch: Batch) {
        if let Err(error) = self.try_send(transfer, &batch).await {
            // The link itself hears of it, and all of it goes over the next one.
            tracing::debug!(%error, "files could not be referred elsewhere");
        }
    }

    async fn try_send(&self, transfer: TransferId, batch: &Batch) -> Result<(), LinkError> {
        let bytes = encode(transfer, &batch.files);
        let bytes = bytes.map_err(|error| LinkError::Lost(error.to_string()))?;
        let mut over = self.over.subscribe();
        let opened = tokio::select! {
            biased;
            _ = over.wait_for(|over| *over) => return Ok(()),
            opened = self.connection.quic().open_uni() => opened,
        };
        let mut stream = opened.map_err(|error| self.connection.reason(&error))?;
        let _ = stream.set_priority(batch.priority);
        let (sent, code) = tokio::select! {
            biased;
            _ = over.wait_for(|over| *over) => (Ok(()), Code::Paused),
            sent = hand_over(&mut stream, &bytes) => (sent, Code::Done),
        };
        // Left alone it would end as if all had been said.
        let _ = stream.reset(wire(code));
        sent.map_err(|error| self.connection.write_error(error))
    }
}

/// Sends this, and waits until the receiver has taken all of it.
async fn hand_over(stream: &mut SendStream, bytes: &[u8]) -> Result<(), WriteError> {
    stream.write_all(bytes).await?;
    // Stopped, or the connection is gone, which others hear as well.
    let _ = stream.stopped().await;
    Ok(())
}

fn encode(transfer: TransferId, files: &[Referral]) -> Result<Vec<u8>, MessageTooLong> {
    let header = FileHeader {
        transfer,
        index: REFERRALS,
        size: 0,
        modified: Timestamp(0),
        stamp: Stamp([0; 16]),
    };
    let mut bytes = frame::encode(&header)?;
    bytes.extend_from_slice(&frame::encode(&files)?);
    Ok(bytes)
}

/// Takes in the files that a stream refers elsewhere, if its transfer is `open`; `recv` is behind
/// them. An [`Offence`] is only reported: the caller closes the connection.
pub(super) async fn receive(
    mut recv: FrameReader,
    transfer: TransferId,
    referrals: Vec<Referral>,
    open: Option<(FileSender, Arc<Semaphore>)>,
) -> Result<(), LinkError> {
    if !(1..=REFERRALS_MAX).contains(&referrals.len()) {
        return Err(Offence::Contradiction.into());
    }
    if referrals.iter().any(|file| file.size > GROUP_LEN) {
        return Err(Offence::WrongGroup.into());
    }
    let Some((files, places)) = open else {
        let _ = recv.stream().stop(wire(Code::UnknownTransfer));
        return Ok(());
    };
    for referral in referrals {
        if !hand_out(&files, &places, transfer, referral).await {
            let _ = recv.stream().stop(wire(Code::UnknownTransfer));
            return Ok(());
        }
    }
    // Only now: the sender has others wait until then.
    let (mut stream, rest) = recv.into_parts();
    let _ = stream.stop(wire(Code::Done));
    match rest.is_empty() {
        true => Ok(()),
        false => Err(Offence::UnexpectedMessage.into()),
    }
}

/// `false` if the transfer takes nothing any more.
async fn hand_out(
    files: &FileSender,
    places: &Arc<Semaphore>,
    transfer: TransferId,
    referral: Referral,
) -> bool {
    let place = tokio::select! {
        place = places.clone().acquire_owned() => place,
        () = files.closed() => return false,
    };
    let Ok(place) = place else {
        return false;
    };
    let header = FileHeader {
        transfer,
        index: referral.index,
        size: referral.size,
        modified: referral.modified,
        stamp: referral.stamp,
    };
    let reader = QuicFileReader::Referred(Referred {
        hash: referral.hash,
        said: Said::Nothing,
        place: Some(place),
    });
    files.send((header, reader)).await.is_ok()
}

/// A file that is referred elsewhere as a whole.
#[derive(Debug)]
pub struct Referred {
    hash: Hash,
    said: Said,
    /// Until it is read.
    place: Option<OwnedSemaphorePermit>,
}

#[derive(Debug, Clone, Copy)]
enum Said {
    Nothing,
    Group,
    All,
}

impl Referred {
    pub(super) fn read(&mut self) -> Result<Piece, LinkError> {
        let (piece, said) = match self.said {
            Said::Nothing => (Piece::Elsewhere(0, self.hash), Said::Group),
            Said::Group => (Piece::End(Some(self.hash)), Said::All),
            Said::All => return Err(LinkError::Lost("read beyond the end of a file".into())),
        };
        self.said = said;
        if let Said::All = said {
            self.place = None;
        }
        Ok(piece)
    }
}
