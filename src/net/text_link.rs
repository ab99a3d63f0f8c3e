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
use crate::protocol::codes::ALPN_CODES;
use crate::protocol::limits::ALPN_LIMITS;
use crate::protocol::message::{Code, DeclineReason, Opening};
use crate::protocol::sessions::{ALPN_PARTS, ALPN_REFERRALS, ALPN_SESSIONS, ALPN_WILLS};
use crate::protocol::texts::{ALPN_TEXTS, ALPNS, TEXT_LEN_MAX, TextAnswer, TextHead};

/// How long the other side may take for what no person has to think about: the first answer to a
/// text, its bytes, the confirmation, and to read each of them.
pub const TEXT_DEADLINE: Duration = Duration::from_secs(30);
/// How long a person may think about a text: longer than any receiver that means it lets him, and
/// not for ever.
pub const THINKING_MAX: Duration = Duration::from_secs(24 * 60 * 60);

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

    /// An answer. Whoever does not read it in time has lost the connection, as far as this text
    /// goes.
    async fn say(&mut self, answer: TextAnswer) -> Result<(), LinkError> {
        in_time(self.control.send(&answer)).await
    }

    async fn end(mut self, answer: TextAnswer) {
        if let Err(error) = self.say(answer).await {
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
        self.say(TextAnswer::Asked).await
    }

    async fn gone(&mut self) -> LinkError {
        match self.control.begin().await {
            Ok(true) => self.control.judged(Offence::UnexpectedMessage.into()),
            Ok(false) => LinkError::Closed(Code::Cancelled),
            Err(error) => error,
        }
    }

    async fn take(&mut self) -> Result<String, LinkError> {
        self.say(TextAnswer::Accepted).await?;
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
    awaits: Awaits,
}

/// What a text that was offered waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Awaits {
    /// Whatever comes first.
    First,
    /// What the person there says, who is being asked.
    Person,
    /// That its bytes, which were wanted, are there.
    Confirmation,
    /// Nothing.
    Nothing,
}

impl Awaits {
    /// What is waited for after this answer; `None` where it has no place.
    fn after(self, answer: TextAnswer) -> Option<Self> {
        match (self, answer) {
            (Self::First, TextAnswer::Asked) => Some(Self::Person),
            (Self::First | Self::Person, TextAnswer::Accepted) => Some(Self::Confirmation),
            // What it has from an earlier connection it confirms at once.
            (Self::First | Self::Confirmation, TextAnswer::Delivered)
            | (Self::First | Self::Person, TextAnswer::Declined(_)) => Some(Self::Nothing),
            (Self::Person, TextAnswer::Asked | TextAnswer::Delivered)
            | (Self::Confirmation, TextAnswer::Asked | TextAnswer::Accepted)
            | (Self::Confirmation, TextAnswer::Declined(_))
            | (Self::Nothing, _) => None,
        }
    }

    fn at_most(self) -> Duration {
        match self {
            Self::First | Self::Nothing => TEXT_DEADLINE,
            Self::Person => THINKING_MAX,
            // The bytes may take as long as the answer.
            Self::Confirmation => TEXT_DEADLINE.saturating_mul(2),
        }
    }
}

impl QuicOutboundText {
    /// The next answer, which must come in time and in its turn. Cancel-safe.
    pub async fn answer(&mut self) -> Result<TextAnswer, LinkError> {
        let answer = match timeout(self.awaits.at_most(), self.control.recv()).await {
            Ok(answer) => answer?,
            Err(_) => return self.late(),
        };
        match self.awaits.after(answer) {
            Some(next) => {
                self.awaits = next;
                Ok(answer)
            }
            None => Err(self.control.judged(Offence::UnexpectedMessage.into())),
        }
    }

    /// What it means that no answer has come.
    fn late(&self) -> Result<TextAnswer, LinkError> {
        match self.awaits {
            Awaits::Person => Ok(TextAnswer::Declined(DeclineReason::NoAnswer)),
            // It may be there: whoever offers it again hears of that.
            Awaits::Confirmation => Err(not_taken()),
            Awaits::First | Awaits::Nothing => Err(self.control.judged(Offence::Silent.into())),
        }
    }

    /// Sends what was offered, as the answer allowed.
    pub async fn send(&mut self, text: &str) -> Result<(), LinkError> {
        in_time(self.control.send_last(text.as_bytes())).await
    }

    /// The last answer has come.
    pub async fn close(mut self) {
        self.control.close(Code::Done).await;
    }
}

impl PeerConnection {
    /// Whether the program at the other side knows texts.
    pub fn understands_texts(&self) -> bool {
        self.knows(ALPN_TEXTS)
    }

    /// Whether the program at the other side knows sessions.
    pub fn understands_sessions(&self) -> bool {
        self.knows(ALPN_SESSIONS)
    }

    /// Whether the program at the other side knows wills.
    pub fn understands_wills(&self) -> bool {
        self.knows(ALPN_WILLS)
    }

    /// Whether the program at the other side knows one-time codes.
    pub fn understands_codes(&self) -> bool {
        self.knows(ALPN_CODES)
    }

    /// Whether the program at the other side wants to know that we are behind.
    pub fn understands_limits(&self) -> bool {
        self.knows(ALPN_LIMITS)
    }

    /// Whether the program at the other side knows what parts somebody holds, and what somebody
    /// withholds.
    pub fn understands_parts(&self) -> bool {
        self.knows(ALPN_PARTS)
    }

    /// Whether the program at the other side knows streams that refer several files elsewhere.
    pub fn understands_referrals(&self) -> bool {
        self.knows(ALPN_REFERRALS)
    }

    /// Whether exactly this protocol was agreed on.
    pub(super) fn speaks(&self, protocol: &[u8]) -> bool {
        self.agreed().is_some_and(|agreed| agreed == protocol)
    }

    fn agreed(&self) -> Option<Vec<u8>> {
        let data = self.quic().handshake_data();
        let data = data.and_then(|data| data.downcast::<HandshakeData>().ok());
        data.and_then(|data| data.protocol)
    }

    /// Whether this protocol was agreed on, or one that has everything that this one has.
    fn knows(&self, protocol: &[u8]) -> bool {
        let rank = |of: &[u8]| ALPNS.iter().position(|known| *known == of);
        let agreed = self.agreed().and_then(|agreed| rank(&agreed));
        agreed
            .zip(rank(protocol))
            .is_some_and(|(agreed, least)| agreed <= least)
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
        let offered = in_time(frames::send(&mut send, &Opening::Text(head), self)).await;
        let control = Control::new(self.clone(), send, FrameReader::new(recv));
        offered?;
        Ok(QuicOutboundText {
            control,
            awaits: Awaits::First,
        })
    }
}

/// Waits so long until the other side has taken something, and gives it up then.
async fn in_time(sent: impl Future<Output = Result<(), LinkError>>) -> Result<(), LinkError> {
    match timeout(TEXT_DEADLINE, sent).await {
        Ok(sent) => sent,
        Err(_) => Err(not_taken()),
    }
}

fn not_taken() -> LinkError {
    LinkError::Lost("a text was not taken in time".into())
}
