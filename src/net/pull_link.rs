//! Pull streams: a receiver of a session asks another one for groups, which come in any order, as
//! soon as they are there.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::time::timeout;

use super::connection::PeerConnection;
use super::frames::{self, FrameReader};
use super::link::{LinkError, Offence};
use super::settings;
use super::transfer_link::Control;
use crate::protocol::groups::GROUP_LEN;
use crate::protocol::message::{Code, Opening};
use crate::protocol::sessions::{Pull, PullHead, Pulled};

/// How long the other side may take nothing of what it wants to have.
const SEND_DEADLINE: Duration = Duration::from_secs(30);

/// An answer, whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PullAnswer {
    /// The content: hostile until it is verified. At most one group.
    Content {
        /// The request.
        id: u32,
        /// The bytes.
        bytes: Bytes,
    },
    /// It is not there and will not be.
    Gone {
        /// The request.
        id: u32,
    },
}

/// The end that asks.
#[derive(Debug)]
pub struct QuicPull {
    control: Control,
    /// The content that is coming.
    coming: Option<Coming>,
    /// Bytes of content that have come before that.
    taken: u64,
}

#[derive(Debug)]
struct Coming {
    id: u32,
    len: usize,
    bytes: BytesMut,
}

impl QuicPull {
    /// Asks for a group, or takes it back. Not cancel-safe.
    pub async fn send(&mut self, pull: Pull) -> Result<(), LinkError> {
        sent_in_time(self.control.send(&pull)).await
    }

    /// The next answer. Cancel-safe.
    pub async fn recv(&mut self) -> Result<PullAnswer, LinkError> {
        loop {
            if let Some(coming) = &mut self.coming {
                self.control.content(&mut coming.bytes, coming.len).await?;
                if let Some(Coming { id, bytes, .. }) = self.coming.take() {
                    let bytes = bytes.freeze();
                    self.taken += bytes.len() as u64;
                    return Ok(PullAnswer::Content { id, bytes });
                }
            }
            match self.control.recv().await? {
                Pulled::Gone { id } => return Ok(PullAnswer::Gone { id }),
                Pulled::Content { id, len } if u64::from(len) <= GROUP_LEN => {
                    let len = len as usize;
                    let bytes = BytesMut::with_capacity(len);
                    self.coming = Some(Coming { id, len, bytes });
                }
                Pulled::Content { .. } => {
                    return Err(self.control.judged(Offence::WrongGroup.into()));
                }
            }
        }
    }

    /// The other side gave what was not asked for. Ends the connection.
    pub fn offend(&self, offence: Offence) -> LinkError {
        self.control.judged(offence.into())
    }

    /// Packets that have come from the other side so far, of whatever kind.
    pub fn heard(&self) -> u64 {
        self.control.connection().quic().stats().udp_rx.datagrams
    }

    /// Bytes of content that have come so far, also of what is not whole yet.
    pub fn taken(&self) -> u64 {
        let coming = self.coming.as_ref().map_or(0, |coming| coming.bytes.len());
        self.taken + coming as u64
    }

    /// Nothing more is needed.
    pub async fn close(mut self) {
        self.control.close(Code::Done).await;
    }
}

/// The end that is asked. Dropping it tells the other side to look elsewhere.
#[derive(Debug)]
pub struct QuicPulled {
    head: PullHead,
    control: Control,
}

impl QuicPulled {
    pub(super) fn new(head: PullHead, control: Control) -> Self {
        Self { head, control }
    }

    /// Who asks whom, and by what right.
    pub fn head(&self) -> &PullHead {
        &self.head
    }

    /// The next request; `None` if nothing more is wanted. Cancel-safe.
    pub async fn recv(&mut self) -> Result<Option<Pull>, LinkError> {
        match self.control.recv().await {
            Ok(pull) => Ok(Some(pull)),
            Err(LinkError::Closed(Code::Done)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Announces content, of which [`Self::give`] must give all.
    pub async fn begin(&mut self, id: u32, len: u32) -> Result<(), LinkError> {
        sent_in_time(self.control.send(&Pulled::Content { id, len })).await
    }

    /// Gives the next bytes of what was announced.
    pub async fn give(&mut self, bytes: &[u8]) -> Result<(), LinkError> {
        sent_in_time(self.control.send_bytes(bytes)).await
    }

    /// Says that a group is not there.
    pub async fn gone(&mut self, id: u32) -> Result<(), LinkError> {
        sent_in_time(self.control.send(&Pulled::Gone { id })).await
    }

    /// The other side does what it must not. Ends the connection.
    pub fn offend(&self, offence: Offence) -> LinkError {
        self.control.judged(offence.into())
    }

    /// Turns the other side away.
    pub async fn refuse(mut self, code: Code) {
        self.control.close(code).await;
    }
}

async fn sent_in_time(sent: impl Future<Output = Result<(), LinkError>>) -> Result<(), LinkError> {
    match timeout(SEND_DEADLINE, sent).await {
        Ok(sent) => sent,
        Err(_) => Err(LinkError::Lost("the other side does not read".into())),
    }
}

impl PeerConnection {
    /// Opens a pull stream (waits while too much else is open), and lets so much come over this
    /// connection as files may. Cancel-safe: what was begun is given up.
    pub async fn pull(&self, head: PullHead) -> Result<QuicPull, LinkError> {
        if !self.understands_sessions() {
            // It would take the stream for nonsense and close the whole connection.
            return Err(LinkError::Lost("that program knows no sessions".into()));
        }
        settings::open_window(self.quic());
        let (mut send, recv) = self
            .quic()
            .open_bi()
            .await
            .map_err(|error| self.reason(&error))?;
        let opened = frames::send(&mut send, &Opening::Pull(head), self).await;
        let control = Control::new(self.clone(), send, FrameReader::new(recv));
        opened?;
        Ok(QuicPull {
            control,
            coming: None,
            taken: 0,
        })
    }
}
