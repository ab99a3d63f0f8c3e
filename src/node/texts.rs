//! Texts: those that came, those that are on their way, and who may send how many.
//!
//! Texts are short and few; they live in memory, and what was shown or sent is in the history. The
//! content is not part of the pictures that are published all the time: a face asks for it.

mod incoming;
mod outgoing;
mod rate;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

pub(super) use self::incoming::{Asking, IncomingTextTask};
pub(super) use self::outgoing::OutgoingTextTask;
use self::rate::Rate;
pub use self::rate::STRANGER_MAX;
pub(super) use self::rate::Source;
use super::api::Target;
use crate::fault::Fault;
use crate::peer::{LegacyPeer, Party, PeerId};
use crate::protocol::texts::TextId;
use crate::transfer::bookkeeper::Person;
use crate::transfer::status::Direction;

/// Most texts that are kept for faces; the oldest that are over go first.
pub const TEXTS_MAX: usize = 64;
/// Texts of one peer that wait for an answer at once.
pub const QUESTIONS_PER_PEER: usize = 4;
/// Texts of one peer that wait for an answer or are on their way here at once.
pub const COMING_PER_PEER: usize = 8;
/// Texts that wait for an answer or are on their way here before a stranger may offer one more.
pub const COMING_MAX: usize = 24;
/// Texts that are on their way from here at once.
pub const SENDING_MAX: usize = 24;
/// News of tasks that may wait for the node.
const NEWS_MAX: usize = 64;
/// Accepted texts whose sender may come back with them, because the connection broke.
const ACCEPTED_MAX: usize = 16;

/// A text as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TextSnapshot {
    /// Its id.
    pub id: TextId,
    /// Which way it goes.
    pub direction: Direction,
    /// The other side; `None` before the first contact with an address.
    pub peer: Option<Party>,
    /// Name of the peer, or the address that was dialled. Show with [`crate::text::Shown`].
    pub peer_name: String,
    /// Whether this peer is trusted.
    pub trusted: bool,
    /// The three words that both screens show, while connected to a peer that is not trusted.
    pub words: Option<String>,
    /// Where it is.
    pub state: TextState,
    /// Why it did not get there.
    pub fault: Option<Fault>,
    /// Bytes of the text as UTF-8.
    pub bytes: u32,
    /// When it came or was sent, in seconds since 1970.
    pub begun: u64,
}

impl TextSnapshot {
    /// Whether it goes to or comes from a program of the original's kind: not encrypted, and nobody
    /// has proven who he is.
    pub fn is_legacy(&self) -> bool {
        self.peer.is_some_and(|peer| peer.legacy().is_some())
    }

    /// Whether the person here is asked whether to take it.
    pub fn is_question(&self) -> bool {
        self.direction == Direction::Receiving && self.state == TextState::Asking
    }

    /// Whether it was wanted and is on its way here.
    pub fn is_coming(&self) -> bool {
        self.direction == Direction::Receiving && self.state == TextState::Moving
    }

    /// Whether it has come, and can be read.
    pub fn has_come(&self) -> bool {
        self.direction == Direction::Receiving && self.state == TextState::Delivered
    }
}

/// Where a text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TextState {
    /// On its way, or not even that yet.
    Moving,
    /// The receiver's person is being asked.
    Asking,
    /// The receiver has it.
    Delivered,
    /// The computer of an original has it: whether anybody sees it, no original says.
    HandedOver,
    /// It did not get there.
    Failed,
}

impl TextState {
    /// Whether nothing more happens to it.
    pub fn is_final(self) -> bool {
        match self {
            Self::Moving | Self::Asking => false,
            Self::Delivered | Self::HandedOver | Self::Failed => true,
        }
    }
}

/// What can be asked of a node about texts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum TextCommand {
    /// Sends a text. Replies [`Reply::TextSent`](super::api::Reply::TextSent) as soon as it is on
    /// its way; what becomes of it is in the overview.
    Send {
        /// To whom.
        to: Target,
        /// At least 1 byte, at most [`TEXT_LEN_MAX`](crate::protocol::texts::TEXT_LEN_MAX).
        text: String,
    },
    /// Answers the question of a text that somebody wants to send.
    Answer {
        /// Which.
        text: TextId,
        /// Whether it may come.
        take: bool,
    },
    /// What is in a text that has come, or that was sent from here. Replies
    /// [`Reply::Text`](super::api::Reply::Text).
    Read(TextId),
    /// Takes a text out of the overview (it stays in the history); one that is not there yet is
    /// taken back or declined.
    Drop(TextId),
}

/// What a person wants of a text that is under way, for its task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TextOrder {
    /// Take it; receiving only.
    Take,
    /// Do not: decline it, or take it back.
    Refuse,
}

/// News from the task of a text.
#[derive(Debug)]
pub(super) enum TextNews {
    /// It is there now, or over.
    State(TextState),
    /// It has come, and must be kept before its sender is told so.
    Came {
        /// Hostile.
        text: String,
        /// Told when it is kept.
        kept: oneshot::Sender<()>,
    },
    /// It will not come, and nobody need hear of it.
    Withdrawn,
    /// It did not get there.
    Failed(Fault),
}

/// Where the task of a text sends its news. Waits while the node is busy: no state is lost.
#[derive(Debug, Clone)]
pub(super) struct TextReporter {
    id: TextId,
    round: u64,
    news: mpsc::Sender<Told>,
}

/// News of a task: about which text, and which of several tasks that it had.
pub(super) type Told = (TextId, u64, TextNews);

impl TextReporter {
    pub(super) async fn tell(&self, news: TextNews) {
        // Without a node there is nobody to tell.
        let _ = self.news.send((self.id, self.round, news)).await;
    }
}

/// What is to be entered.
#[derive(Debug)]
pub(super) struct NewText {
    pub(super) id: TextId,
    pub(super) direction: Direction,
    pub(super) peer: Option<Party>,
    pub(super) peer_name: String,
    pub(super) bytes: u32,
    pub(super) text: Option<Arc<str>>,
    /// Whether the person here must be asked.
    pub(super) asks: bool,
    pub(super) now: u64,
}

/// One text.
#[derive(Debug)]
pub(super) struct TextEntry {
    pub(super) id: TextId,
    pub(super) direction: Direction,
    pub(super) peer: Option<Party>,
    pub(super) peer_name: String,
    pub(super) state: TextState,
    pub(super) fault: Option<Fault>,
    pub(super) bytes: u32,
    pub(super) begun: u64,
    pub(super) text: Option<Arc<str>>,
    /// The task, which ends when this goes.
    orders: Option<mpsc::Sender<TextOrder>>,
    /// Which of several tasks of this id the news must be from.
    round: u64,
}

impl TextEntry {
    fn is_question(&self) -> bool {
        self.direction == Direction::Receiving && self.state == TextState::Asking
    }

    fn is_coming(&self) -> bool {
        self.direction == Direction::Receiving && !self.state.is_final()
    }

    pub(super) fn order(&self, order: TextOrder) -> bool {
        let orders = self.orders.as_ref();
        orders.is_some_and(|orders| orders.try_send(order).is_ok())
    }
}

/// How somebody who sends texts stands to the person here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// Nobody vouched for it.
    Stranger,
    /// Trusted: what it sends is shown at once.
    Trusted,
}

/// A yes of the person to a text that is not here yet: from whom, which, and of what length.
type Accepted = (Party, TextId, u32);

/// All texts of this run, oldest first.
#[derive(Debug)]
pub(super) struct TextBook {
    entries: Vec<TextEntry>,
    rate: Rate,
    accepted: VecDeque<Accepted>,
    rounds: u64,
    /// Both ends of what the tasks tell.
    news: (mpsc::Sender<Told>, mpsc::Receiver<Told>),
}

impl Default for TextBook {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
            rate: Rate::default(),
            accepted: VecDeque::new(),
            rounds: 0,
            news: mpsc::channel(NEWS_MAX),
        }
    }
}

impl TextBook {
    /// Whether none is on its way from here.
    pub(super) fn is_idle(&self) -> bool {
        let goes =
            |entry: &TextEntry| entry.direction == Direction::Sending && !entry.state.is_final();
        !self.entries.iter().any(goes)
    }

    /// What a task tells next. Never ends. Cancel-safe.
    pub(super) async fn news(&mut self) -> Told {
        match self.news.1.recv().await {
            Some(told) => told,
            // Only after the end of all.
            None => std::future::pending().await,
        }
    }

    /// Whether one more text may come from there now; it is counted then. Those that wait for an
    /// answer are few, and so are those that are on their way and those that come in a minute.
    pub(super) fn admits(&mut self, now: Instant, source: Source, standing: Standing) -> bool {
        let from_there = |e: &&TextEntry| e.peer.is_some_and(|peer| Source::of(&peer) == source);
        let coming = || self.entries.iter().filter(|e| e.is_coming());
        let from_there = || coming().filter(from_there);
        let questions = from_there().filter(|e| e.is_question()).count();
        if questions >= QUESTIONS_PER_PEER || from_there().count() >= COMING_PER_PEER {
            return false;
        }
        // Those that are trusted are not kept out by those that are not.
        standing == Standing::Trusted && self.rate.allows_trusted(now, source)
            || standing == Standing::Stranger
                && coming().count() < COMING_MAX
                && self.rate.allows_stranger(now, source)
    }

    /// Whether one more may be sent now.
    pub(super) fn may_send(&self) -> bool {
        let sending = |e: &&TextEntry| e.direction == Direction::Sending && !e.state.is_final();
        self.entries.iter().filter(sending).count() < SENDING_MAX
    }

    /// Enters a text, in place of an earlier one of this id. What comes back is for its task.
    pub(super) fn enter(&mut self, new: NewText) -> (TextReporter, mpsc::Receiver<TextOrder>) {
        self.entries.retain(|entry| entry.id != new.id);
        self.make_room();
        self.rounds += 1;
        let (orders, for_task) = mpsc::channel(1);
        self.entries.push(TextEntry {
            id: new.id,
            direction: new.direction,
            peer: new.peer,
            peer_name: new.peer_name,
            state: match new.asks {
                true => TextState::Asking,
                false => TextState::Moving,
            },
            fault: None,
            bytes: new.bytes,
            begun: new.now,
            text: new.text,
            orders: Some(orders),
            round: self.rounds,
        });
        let reporter = TextReporter {
            id: new.id,
            round: self.rounds,
            news: self.news.0.clone(),
        };
        (reporter, for_task)
    }

    /// What is over and longest there goes first. If many who are trusted send at once, one of
    /// those that are coming gives way; what is being sent from here never does, and has a limit
    /// of its own.
    fn make_room(&mut self) {
        while self.entries.len() >= TEXTS_MAX {
            let first = |goes: fn(&TextEntry) -> bool| self.entries.iter().position(goes);
            let over = first(|e| e.state.is_final());
            let Some(goes) = over.or_else(|| first(TextEntry::is_coming)) else {
                return;
            };
            self.entries.remove(goes);
        }
    }

    pub(super) fn get(&self, id: TextId) -> Option<&TextEntry> {
        self.entries.iter().find(|entry| entry.id == id)
    }

    pub(super) fn get_mut(&mut self, id: TextId) -> Option<&mut TextEntry> {
        self.entries.iter_mut().find(|entry| entry.id == id)
    }

    /// The entry that news of this round are about; those of earlier rounds are about none.
    pub(super) fn reported(&mut self, id: TextId, round: u64) -> Option<&mut TextEntry> {
        self.get_mut(id).filter(|entry| entry.round == round)
    }

    /// Forgets a text. Its task, if there is one, gives it up.
    pub(super) fn remove(&mut self, id: TextId) -> Option<TextEntry> {
        let at = self.entries.iter().position(|entry| entry.id == id)?;
        Some(self.entries.remove(at))
    }

    /// Forgets every text that `peer` wants to send.
    pub(super) fn end_questions_of(&mut self, peer: PeerId) {
        let peer = Some(Party::Key(peer));
        self.entries
            .retain(|entry| entry.peer != peer || !entry.is_coming());
    }

    /// The text is wanted: it is not asked about again if its sender must begin anew.
    pub(super) fn remember_accepted(&mut self, peer: Party, id: TextId, len: u32) {
        if self.accepted.len() >= ACCEPTED_MAX {
            self.accepted.pop_front();
        }
        self.accepted.push_back((peer, id, len));
    }

    /// Whether the person has said yes to a text of this length, and it has not come.
    pub(super) fn was_accepted(&self, peer: Party, id: TextId, len: u32) -> bool {
        self.accepted.contains(&(peer, id, len))
    }

    /// A yes is for one text, once: it is here now.
    pub(super) fn forget_accepted(&mut self, peer: Party, id: TextId) {
        self.accepted
            .retain(|(from, text, _)| (*from, *text) != (peer, id));
    }

    /// Who the other side is is known now.
    pub(super) fn met(&mut self, id: TextId, peer: Party, name: &str) {
        if let Some(entry) = self.get_mut(id) {
            entry.peer = Some(peer);
            entry.peer_name = name.to_owned();
        }
    }

    /// Calls those who are known only by what they say by what they say now. Whether any name is
    /// new.
    pub(super) fn rename_originals(
        &mut self,
        claimed: impl Fn(&LegacyPeer) -> Option<String>,
    ) -> bool {
        let mut any = false;
        for entry in &mut self.entries {
            let name = entry.peer.and_then(|peer| claimed(&peer.legacy()?));
            if let Some(name) = name.filter(|name| *name != entry.peer_name) {
                entry.peer_name = name;
                any = true;
            }
        }
        any
    }

    /// Ends every task.
    pub(super) fn end(&mut self) {
        self.news.1.close();
        for entry in &mut self.entries {
            entry.orders = None;
        }
    }

    /// Pictures of all, oldest first.
    pub(super) fn snapshots(&self, person: impl Fn(PeerId) -> Person) -> Vec<TextSnapshot> {
        let snapshot = |entry: &TextEntry| {
            let person = entry.peer.and_then(|peer| peer.key()).map(&person);
            let person = person.unwrap_or_default();
            TextSnapshot {
                id: entry.id,
                direction: entry.direction,
                peer: entry.peer,
                peer_name: person.name.unwrap_or_else(|| entry.peer_name.clone()),
                trusted: person.trusted,
                words: person.words.filter(|_| !person.trusted),
                state: entry.state,
                fault: entry.fault.clone(),
                bytes: entry.bytes,
                begun: entry.begun,
            }
        };
        self.entries.iter().map(snapshot).collect()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests;
