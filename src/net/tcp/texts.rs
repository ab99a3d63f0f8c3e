//! Texts of originals and to them: messages on a connection of their own, with no answer to any.
//!
//! Originals read a message with one call, as they read the head of a file (see `wire`): so each is
//! one write that lies in one segment, and a longer text goes as several messages.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::acceptor::LegacyArrival;
use super::body::Body;
use super::wire::{Next, Wire};
use crate::net::link::{LinkError, Offence};
use crate::net::text_link::InboundText;
use crate::peer::LegacyPeer;
use crate::protocol::legacy::stream::{Opening, TextDialect, TextStep};
use crate::protocol::legacy::{FRAME_MAX, LENGTH_LEN, LegacyError, LegacyId};
use crate::protocol::message::DeclineReason;
use crate::protocol::texts::{TextHead, TextId, length_of};

/// Connections for texts at once, in all.
pub const TALKERS_MAX: usize = 64;
/// Connections for texts at once from one address. The newer original opens one for each text and
/// ends none, and has six at most.
pub const TALKERS_PER_ADDR_MAX: usize = 8;
/// How long a connection is kept without a text: originals keep theirs, and would not notice that
/// it is gone before the second text that they write into it.
const IDLE_MAX: Duration = Duration::from_secs(10 * 60);
/// How long a message may take from its first byte on.
const MESSAGE_DEADLINE: Duration = Duration::from_secs(30);
/// Bytes of messages that are read at once.
const READ_LEN: usize = 4096;

/// A text of an original: it is here already, and nothing is said about it to anybody. Dropping it
/// without [`Self::admit`] ends the connection.
#[derive(Debug)]
pub struct PlainText {
    peer: LegacyPeer,
    head: TextHead,
    text: String,
    go_on: oneshot::Sender<()>,
}

impl PlainText {
    /// Who sends, as it says.
    pub fn peer(&self) -> &LegacyPeer {
        &self.peer
    }

    /// Lets the connection go on: there may be more where that came from.
    pub fn admit(self) -> AdmittedText {
        // Without a connection there is nothing to go on.
        let _ = self.go_on.send(());
        AdmittedText {
            head: self.head,
            text: self.text,
        }
    }
}

/// A text of an original that is one of those which a person may see.
#[derive(Debug)]
pub struct AdmittedText {
    head: TextHead,
    text: String,
}

impl InboundText for AdmittedText {
    fn head(&self) -> TextHead {
        self.head
    }

    async fn asked(&mut self) -> Result<(), LinkError> {
        Ok(())
    }

    async fn gone(&mut self) -> LinkError {
        // It has done its part.
        std::future::pending().await
    }

    async fn take(&mut self) -> Result<String, LinkError> {
        Ok(std::mem::take(&mut self.text))
    }

    async fn delivered(self) {}

    async fn decline(self, _reason: DeclineReason) {}
}

/// Reads the texts of a connection until it ends, and hands each on. `id` names them.
pub(super) async fn listen(
    body: &mut Body,
    peer: LegacyPeer,
    id: impl Fn() -> Option<TextId>,
    arrivals: &mpsc::Sender<LegacyArrival>,
) -> Result<(), LinkError> {
    while let Some(step) = next(body).await? {
        let TextStep::Message { text, .. } = step else {
            return Ok(());
        };
        let Ok(len) = length_of(&text) else {
            // An empty one: an original may send that, and it means nothing.
            continue;
        };
        let Some(text_id) = id() else {
            return Ok(());
        };
        let head = TextHead { text: text_id, len };
        let (go_on, admitted) = oneshot::channel();
        let text = PlainText {
            peer,
            head,
            text,
            go_on,
        };
        let arrival = LegacyArrival::Text(text);
        if arrivals.send(arrival).await.is_err() || admitted.await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

/// The next message; `None` at the end of the stream, or when none comes for long.
async fn next(body: &mut Body) -> Result<Option<TextStep>, LinkError> {
    if body.buf.is_empty() {
        match timeout(IDLE_MAX, body.fill(READ_LEN)).await {
            Ok(Ok(true)) => {}
            Ok(Ok(false)) | Err(_) => return Ok(None),
            Ok(Err(error)) => return Err(error),
        }
    }
    let message = async {
        loop {
            let decoded =
                TextStep::decode(&body.buf).map_err(|error| LinkError::Offence(error.into()))?;
            if let Some((step, used)) = decoded {
                let _ = body.buf.split_to(used);
                return Ok(Some(step));
            }
            if !body.fill(READ_LEN).await? {
                return Err(LinkError::Lost("ended inside a message".into()));
            }
        }
    };
    match timeout(MESSAGE_DEADLINE, message).await {
        Ok(result) => result,
        Err(_) => Err(Offence::Silent.into()),
    }
}

/// Counts connections for texts. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Talkers(Arc<Mutex<HashMap<IpAddr, usize>>>);

impl Talkers {
    /// One more from there, until the guard is dropped. `None` if those are too many.
    pub(super) fn admit(&self, ip: IpAddr) -> Option<Talking> {
        let mut counts = self.lock();
        let all: usize = counts.values().sum();
        let there = counts.get(&ip).copied().unwrap_or(0);
        if all >= TALKERS_MAX || there >= TALKERS_PER_ADDR_MAX {
            return None;
        }
        counts.insert(ip, there + 1);
        Some(Talking {
            talkers: self.clone(),
            ip,
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One connection for texts, counted while this lives.
#[derive(Debug)]
pub(super) struct Talking {
    talkers: Talkers,
    ip: IpAddr,
}

impl Drop for Talking {
    fn drop(&mut self) {
        let mut counts = self.talkers.lock();
        if let Some(count) = counts.get_mut(&self.ip) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.ip);
            }
        }
    }
}

/// Why a text did not get to an original.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotSent {
    /// It ends connections for texts: it has no use for them.
    #[error("it takes no texts")]
    Unwanted,
    /// The connection broke.
    #[error("connection lost: {0}")]
    Lost(String),
}

/// Sends a text over a fresh connection to an original that knows us. That it returns well means
/// that the other computer has all of it: no original says whether anybody sees it.
pub async fn send_text(stream: TcpStream, us: LegacyId, text: &str) -> Result<(), NotSent> {
    let mut wire = Wire::new(stream);
    // The one way to say so that no original dies of: those that know only the other ignore it.
    let opening = Opening::Texts {
        sender: us,
        dialect: TextDialect::Basic,
    };
    let opening = opening.encode().map_err(unsendable)?;
    wire.send(&opening, &[], Next::Head).await.map_err(lost)?;
    if let Ok(said) = timeout(UNWANTED_AFTER, wire.byte()).await {
        // Those that take texts say nothing.
        tracing::debug!(?said, "an original ends a connection for texts");
        return Err(NotSent::Unwanted);
    }
    for part in parts(text, us, wire.segment_max()) {
        let message = TextStep::Message {
            sender: us,
            text: part.to_owned(),
        };
        let message = message.encode().map_err(unsendable)?;
        wire.send(&message, &[], Next::Head).await.map_err(lost)?;
    }
    match timeout(END_WAIT, wire.finish()).await {
        Ok(finished) => finished.map_err(lost),
        Err(_) => Err(NotSent::Lost("the other side does not end".into())),
    }
}

/// An original that has no use for texts ends the connection at once.
const UNWANTED_AFTER: Duration = Duration::from_millis(500);
/// How long the end of the other side is waited for.
const END_WAIT: Duration = Duration::from_secs(30);

/// The parts of a text, each of which fits a message that fits `segment` bytes. Cut between lines
/// or words where that is not far off.
fn parts(text: &str, us: LegacyId, segment: usize) -> Vec<&str> {
    let around = TextStep::Message {
        sender: us,
        text: String::new(),
    };
    // A longer text has a longer head.
    let around = around.encode().map_or(0, |bytes| bytes.len()) + TEXT_HEAD_GROWTH;
    let most = segment.min(LENGTH_LEN + FRAME_MAX).saturating_sub(around);
    let mut parts = Vec::new();
    let mut rest = text;
    while rest.len() > most {
        let (most_of_it, _) = rest.split_at(rest.floor_char_boundary(most.max(4)));
        let later = |at: &usize| *at > most / 2;
        let line = most_of_it.rfind('\n').map(|at| at + 1).filter(later);
        let word = || most_of_it.rfind(' ').map(|at| at + 1).filter(later);
        let at = line.or_else(word).unwrap_or(most_of_it.len());
        let (part, behind) = rest.split_at(at);
        parts.push(part);
        rest = behind;
    }
    if !rest.is_empty() {
        parts.push(rest);
    }
    parts
}

/// What the head of a text in MessagePack grows by at most: from one byte to five.
const TEXT_HEAD_GROWTH: usize = 4;

fn lost(error: std::io::Error) -> NotSent {
    NotSent::Lost(error.to_string())
}

fn unsendable(error: LegacyError) -> NotSent {
    NotSent::Lost(format!("cannot be said: {error}"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use crate::protocol::texts::TEXT_LEN_MAX;

    #[test]
    fn every_part_fits_one_segment_and_together_they_are_the_text() {
        let us = LegacyId::DEFAULT_PROFILE;
        let lines: String = (0..900).map(|n| format!("line {n} of a text\n")).collect();
        let texts = [
            "short".to_owned(),
            "é🎉".repeat(900),
            "x".repeat(TEXT_LEN_MAX),
            lines,
        ];
        for text in texts {
            for segment in [536, 1448, 65_483, usize::MAX] {
                let parts = parts(&text, us, segment);
                assert_eq!(parts.concat(), text);
                for part in &parts {
                    let step = TextStep::Message {
                        sender: us,
                        text: (*part).to_owned(),
                    };
                    assert!(!part.is_empty() && step.encode().unwrap().len() <= segment);
                }
                assert!(parts.len() <= text.len() / (segment.min(60_000) / 3) + 1);
            }
        }
    }

    #[test]
    fn a_text_is_cut_between_lines_or_words() {
        let us = LegacyId::DEFAULT_PROFILE;
        let lines = format!("{}\n", "a word ".repeat(20)).repeat(10);
        let cut = parts(&lines, us, 536);
        assert!(cut.iter().all(|part| part.ends_with('\n')), "{cut:?}");
        let words = "word ".repeat(300);
        let cut = parts(&words, us, 536);
        assert!(cut.iter().all(|part| part.ends_with(' ')), "{cut:?}");
    }

    #[test]
    fn one_address_talks_on_few_connections_and_all_together_on_some_more() {
        let talkers = Talkers::default();
        let fill = |n: u8| {
            let one = || talkers.admit(IpAddr::from([10, 0, 0, n]));
            std::iter::from_fn(one).take(100).collect::<Vec<_>>()
        };
        let first = fill(1);
        assert_eq!(first.len(), TALKERS_PER_ADDR_MAX);
        let others: Vec<_> = (2..100).flat_map(fill).collect();
        assert_eq!(first.len() + others.len(), TALKERS_MAX);
        drop((first, others));
        assert!(talkers.lock().is_empty());
    }
}
