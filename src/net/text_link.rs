//! The stream of a text: offered with its length, sent when the receiver wants it, confirmed.
//!
//! [`InboundText`] hides whether a text comes from a peer with a key or from an original, so that
//! asking and showing exist once.

use std::future::Future;
use std::time::Duration;

use quinn::crypto::rustls::HandshakeData;
use tokio::time::timeout;

use super::connection::{CONTROL_PRIORITY, PeerConnection};
use super::frames::{self, FrameReader};
use super::link::{LinkError, Offence};
use super::transfer_link::Control;
use crate::protocol::message::{Code, DeclineReason, Opening};
use crate::protocol::texts::{ALPN_TEXTS, TEXT_LEN_MAX, TextAnswer, TextHead};

/// How long the other side may take for what no person has to think about: the first answer to a
/// text, its bytes, the confirmation.
pub const TEXT_DEADLINE: Duration = Duration::from_secs(30);

/// A text that somebody wants to send us. Dropping it refuses it without a reason.
pub trait InboundText: Send {
    /// Which text, and how long it is: at least 1 byte, at most [`TEXT_LEN_MAX`].
    fn head(&self) -> TextHead;

    /// Tells the sender that the person is being asked.
    fn asked(&mut self) -> impl Future<Output = Result<(), LinkError>> + Send;

    /// Waits until the sender gives it up; for ever where it does not have to stay. Cancel-safe.
    fn gone(&mut self) -> impl Future<Output = LinkError> + Send;

    /// Has the text sent and gives it. Hostile: show it with [`crate::text::Shown`].
    fn take(&mut self) -> impl Future<Output = Result<String, LinkError>> + Send;

    /// Tells the sender that we have it, now or since an earlier connection.
    fn delivered(self) -> impl Future<Output = ()> + Send;

    /// Tells the sender that we do not want it.
    fn decline(self, reason: DeclineReason) -> impl Future<Output = ()> + Send;
}

/// A text from a peer with a key.
#[derive(Debug)]
pub struct QuicText {
    head: TextHead,
    control: Control,
}

impl QuicText {
    /// A stream that was opened for `head`. A length that is not allowed is an offence.
    pub(super) fn new(head: TextHead, control: Control) -> Result<Self, Offence> {
        match head.len as usize {
            1..=TEXT_LEN_MAX => Ok(Self { head, control }),
            _ => Err(Offence::TextLength),
        }
    }

    async fn end(mut self, answer: TextAnswer) {
        if let Err(error) = self.control.send(&answer).await {
            tracing::debug!(%error, "the sender of a text was gone before its answer");
            return;
        }
        self.control.close(Code::Done).await;
    }
}

impl InboundText for QuicText {
    fn head(&self) -> TextHead {
        self.head
    }

    async fn asked(&mut self) -> Result<(), LinkError> {
        self.control.send(&TextAnswer::Asked).await
    }

    async fn gone(&mut self) -> LinkError {
        match self.control.begin().await {
            Ok(true) => self.control.judged(Offence::UnexpectedMessage.into()),
            Ok(false) => LinkError::Closed(Code::Cancelled),
            Err(error) => error,
        }
    }

    async fn take(&mut self) -> Result<String, LinkError> {
        self.control.send(&TextAnswer::Accepted).await?;
        let len = self.head.len as usize;
        let bytes = timeout(TEXT_DEADLINE, self.control.last_bytes(len)).await;
        let bytes = bytes.unwrap_or(Err(Offence::Silent.into()))?;
        let text = String::from_utf8(bytes).map_err(|_| Offence::NotText.into());
        text.map_err(|error| self.control.judged(error))
    }

    async fn delivered(self) {
        self.end(TextAnswer::Delivered).await;
    }

    async fn decline(self, reason: DeclineReason) {
        self.end(TextAnswer::Declined(reason)).await;
    }
}

/// A text on its way to a peer with a key. Dropping it takes it back.
#[derive(Debug)]
pub struct QuicOutboundText {
    control: Control,
    begun: bool,
}

impl QuicOutboundText {
    /// The next answer. It must come within [`TEXT_DEADLINE`], unless the person there is being
    /// asked, which the receiver limits. Not cancel-safe, except that the text can be dropped.
    pub async fn answer(&mut self) -> Result<TextAnswer, LinkError> {
        let answer = self.control.recv();
        let answer = match self.begun {
            true => answer.await?,
            false => match timeout(TEXT_DEADLINE, answer).await {
                Ok(answer) => answer?,
                Err(_) => return Err(self.control.judged(Offence::Silent.into())),
            },
        };
        // From here on a person may have to think, or the other side has only its disk to wait for.
        self.begun = answer == TextAnswer::Asked;
        Ok(answer)
    }

    /// Sends what was offered, as the answer allowed.
    pub async fn send(&mut self, text: &str) -> Result<(), LinkError> {
        match timeout(TEXT_DEADLINE, self.control.send_last(text.as_bytes())).await {
            Ok(sent) => sent,
            Err(_) => Err(LinkError::Lost("a text was not taken in time".into())),
        }
    }

    /// The last answer has come.
    pub async fn close(mut self) {
        self.control.close(Code::Done).await;
    }
}

impl PeerConnection {
    /// Whether the program at the other side knows texts.
    pub fn understands_texts(&self) -> bool {
        let data = self.quic().handshake_data();
        let data = data.and_then(|data| data.downcast::<HandshakeData>().ok());
        data.is_some_and(|data| data.protocol.as_deref() == Some(ALPN_TEXTS))
    }

    /// Offers a text. Waits while too much else is open. Only to a side that
    /// [understands texts](Self::understands_texts): another one would close the connection.
    /// Cancel-safe: what was begun is given up.
    pub async fn offer_text(&self, head: TextHead) -> Result<QuicOutboundText, LinkError> {
        let (mut send, recv) = self
            .quic()
            .open_bi()
            .await
            .map_err(|error| self.reason(&error))?;
        let _ = send.set_priority(CONTROL_PRIORITY);
        let offered = frames::send(&mut send, &Opening::Text(head), self).await;
        let control = Control::new(self.clone(), send, FrameReader::new(recv));
        offered?;
        Ok(QuicOutboundText {
            control,
            begun: false,
        })
    }
}
