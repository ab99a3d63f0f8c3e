//! Texts: those that arrive, those that people send, and what becomes of both.

use std::net::SocketAddr;

use super::*;
use crate::config::ANSWER_SOON;
use crate::net::tcp::PlainText;
use crate::net::text_link::InboundText;
use crate::net::text_link::QuicText;
use crate::node::api::{Reply, Target, TextCommand, TextState};
use crate::node::commands::{Replied, not_found, random_id};
use crate::node::legacy::shown_name;
use crate::node::texts::{
    Asking, IncomingTextTask, NewText, OutgoingTextTask, Source, Standing, TextNews, TextOrder,
    Told,
};
use crate::protocol::message::DeclineReason;
use crate::protocol::texts::{TextHead, TextId, length_of};
use crate::storage::store::TextRecord;

impl Core {
    /// A peer with a key wants to send a text.
    pub(super) fn on_text(&mut self, from: &PeerConnection, link: QuicText) {
        self.changed = true;
        let (peer, TextHead { text: id, len }) = (from.id(), link.head());
        let party = Party::Key(peer);
        if let Some(known) = self.texts.get(id) {
            if known.peer != Some(party) || known.direction != Direction::Receiving {
                // An id is its sender's alone.
                self.tasks.spawn(link.decline(DeclineReason::Busy));
                return;
            }
            if known.state == TextState::Delivered || known.text.is_some() {
                // It is here, and the sender has not heard of it.
                self.tasks.spawn(link.delivered());
                return;
            }
            self.texts.remove(id);
        }
        let trusted = self.records.peer(peer).is_some_and(|r| r.trusted);
        let standing = match trusted {
            true => Standing::Trusted,
            false => Standing::Stranger,
        };
        let now = Instant::now();
        if !self.texts.admits(now, Source::Key(peer), standing) {
            self.tasks.spawn(link.decline(DeclineReason::Busy));
            return;
        }
        let accepted = self.accepts_unasked(peer) || self.texts.was_accepted(party, id, len);
        // Whoever waits has got what he waits for; a question is not that yet.
        self.expected.take_if(|rule| rule.accept_all);
        let unasked = trusted || accepted;
        self.receive_text(link, party, from.name(), unasked);
    }

    /// An original has sent a text. Nothing that is said about peers with keys counts for it.
    pub(super) fn on_plain_text(&mut self, text: PlainText) {
        let peer = *text.peer();
        let source = Source::Address(peer.addr.ip());
        if !self
            .texts
            .admits(Instant::now(), source, Standing::Stranger)
        {
            tracing::info!(from = %peer.addr, "too many texts of an original");
            return;
        }
        self.changed = true;
        let rule = self.expected.as_ref().or(self.rule.as_ref());
        let unasked = rule.is_some_and(|rule| rule.accept_unencrypted);
        self.expected.take_if(|rule| rule.accept_unencrypted);
        let name = self.name_of_original(&peer, peer.addr);
        self.receive_text(text.admit(), Party::Legacy(peer), &name, unasked);
    }

    fn name_of_original(&self, peer: &crate::peer::LegacyPeer, addr: SocketAddr) -> String {
        let legacy = self.legacy.as_ref();
        let claimed = legacy.and_then(|legacy| legacy.claimed_name(peer));
        shown_name(claimed.as_deref(), addr)
    }

    fn receive_text<L: InboundText + 'static>(
        &mut self,
        link: L,
        peer: Party,
        name: &str,
        unasked: bool,
    ) {
        let TextHead { text, len } = link.head();
        let (reporter, orders) = self.texts.enter(NewText {
            id: text,
            direction: Direction::Receiving,
            peer: Some(peer),
            peer_name: name.to_owned(),
            bytes: len,
            text: None,
            asks: !unasked,
            now: unix_now(),
        });
        let task = IncomingTextTask {
            link,
            asking: match unasked {
                true => Asking::No,
                false => Asking::For(self.settings.answer_timeout.min(ANSWER_SOON)),
            },
            orders,
            reporter,
        };
        self.tasks.spawn(task.run());
    }

    pub(in crate::node) async fn on_text_command(&mut self, command: TextCommand) -> Replied {
        match command {
            TextCommand::Send { to, text } => self.send_text(to, text).await,
            TextCommand::Answer { text, take } => self.answer_text(text, take),
            TextCommand::Read(id) => {
                let text = self.texts.get(id).and_then(|entry| entry.text.clone());
                let text = text.ok_or_else(|| not_found("such text"))?;
                Ok(Reply::Text(text.to_string()))
            }
            TextCommand::Drop(id) => {
                let entry = self.texts.remove(id);
                let entry = entry.ok_or_else(|| not_found("such text"))?;
                // Without a task there is nothing to give up.
                let _ = entry.order(TextOrder::Refuse);
                Ok(Reply::Done)
            }
        }
    }

    async fn send_text(&mut self, to: Target, text: String) -> Replied {
        let invalid = |why: String| Fault::Invalid { why };
        let len = length_of(&text).map_err(|no| invalid(no.to_string()))?;
        let (to, _) = self.whom(to).await?;
        if !self.texts.may_send() {
            return Err(invalid("too many texts are on their way already".into()));
        }
        let (id, text) = (random_id()?, Arc::<str>::from(text));
        let (reporter, orders) = self.texts.enter(NewText {
            id,
            direction: Direction::Sending,
            peer: to.expect().map(Party::Key),
            peer_name: to.shown(),
            bytes: len,
            text: Some(text.clone()),
            asks: false,
            now: unix_now(),
        });
        let task = OutgoingTextTask {
            id,
            text,
            to,
            connector: self.connector.clone(),
            reporter,
            contacts: self.contacts.0.clone(),
        };
        self.tasks.spawn(task.run(orders));
        Ok(Reply::TextSent(id))
    }

    fn answer_text(&mut self, id: TextId, take: bool) -> Replied {
        let entry = self.texts.get_mut(id);
        let entry = entry.ok_or_else(|| not_found("such text"))?;
        let order = match take {
            true => TextOrder::Take,
            false => TextOrder::Refuse,
        };
        if entry.state != TextState::Asking || !entry.order(order) {
            return Err(Fault::Invalid {
                why: "nobody is asked about this text any more".into(),
            });
        }
        // It is not asked about any more, whatever becomes of it.
        entry.state = TextState::Moving;
        let len = entry.bytes;
        if let (true, Some(peer)) = (take, entry.peer) {
            self.texts.remember_accepted(peer, id, len);
            if let Some(key) = peer.key() {
                self.records.became_familiar(key);
                if let Some(connection) = self.connector.pooled(key) {
                    connection.tell_addrs();
                }
            }
        }
        Ok(Reply::Done)
    }

    pub(super) async fn on_text_news(&mut self, (id, round, news): Told) {
        self.changed = true;
        let Some(entry) = self.texts.reported(id, round) else {
            return;
        };
        match news {
            TextNews::State(state) => {
                entry.state = state;
                if entry.direction == Direction::Sending && state.is_final() {
                    self.remember_text(id).await;
                }
            }
            TextNews::Came { text, kept } => {
                entry.text = Some(text.into());
                if let Some(peer) = entry.peer {
                    self.texts.forget_accepted(peer, id);
                }
                self.remember_text(id).await;
                // Without a task nobody waits for it.
                let _ = kept.send(());
            }
            TextNews::Withdrawn => {
                self.texts.remove(id);
            }
            TextNews::Failed(fault) => {
                entry.state = TextState::Failed;
                entry.fault = Some(fault);
                self.remember_text(id).await;
            }
        }
    }

    /// Writes a text into the history.
    async fn remember_text(&mut self, id: TextId) {
        let Some(entry) = self.texts.get(id) else {
            return;
        };
        let key = entry.peer.and_then(|peer| peer.key());
        let name = key.and_then(|key| self.person(key).name);
        let record = HistoryRecord {
            transfer: id,
            sent: entry.direction == Direction::Sending,
            peer: entry.peer,
            peer_name: name.unwrap_or_else(|| entry.peer_name.clone()),
            names: Vec::new(),
            sources: Vec::new(),
            folder: None,
            files: 0,
            bytes: entry.bytes.into(),
            failed: 0,
            text: entry.text.as_deref().map(TextRecord::of),
            fault: entry.fault.clone(),
            started: entry.begun,
            ended: unix_now(),
        };
        self.records
            .write(move |store| store.push_history(&record))
            .await;
    }
}
