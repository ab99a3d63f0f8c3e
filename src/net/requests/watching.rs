//! Who is there, and whether it still is.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::Sighting;
use super::calls::Why;
use super::endpoint::{
    CheckInError, CheckedIn, Destination, Endpoint, Event, FIND_EVERY, ROUND_EVERY, STALE,
};
use super::peers::{Original, PeerKey, State, stream_addr};
use crate::net::handshake::shortened;
use crate::protocol::legacy::datagram::Datagram;
use crate::protocol::legacy::kademlia::{Answer, MessageId, Rpc};
use crate::protocol::legacy::{Record, Status, list_of, uuid_text};
use crate::protocol::message::NAME_LEN_MAX;

/// How long a program like this one has to show that it is none of the originals.
const NEW_WAIT: Duration = Duration::from_millis(300);
/// How long a removal ping waits for its answer: as originals do.
const PING_WAIT: Duration = Duration::from_secs(4);
/// How long the outcome of a probe is waited for; it should take 4 s.
const PROBE_WAIT: Duration = Duration::from_secs(10);
/// How many peers are asked in a round.
const ROUND_PEERS: usize = 3;

impl Endpoint {
    /// Does what is due at `now`.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        while let Some((to, bytes)) = self.calls.poll_again(now) {
            self.transmit_bytes(Destination::Peer(to), bytes);
        }
        while let Some(call) = self.calls.poll_unanswered(now) {
            match call.why {
                Why::CheckIn(ticket) => {
                    self.push_event(Event::CheckedIn(ticket, Err(CheckInError::NoAnswer)));
                }
                Why::Greet => {}
                Why::Refresh(key) | Why::Neighbours(key) | Why::List(key) | Why::Store(key) => {
                    self.miss(now, key);
                }
            }
        }
        self.ask_around(now);
        for key in self.originals.due(now, STALE) {
            self.attend(now, key);
        }
        let (gone, ask) = self.own_kind.expire(now);
        self.changed |= gone;
        for addr in ask {
            self.find_at(addr);
        }
    }

    /// Whether the stream port of a peer took a connection, as [`Event::Probe`] asked.
    pub(super) fn handle_probe(&mut self, now: Instant, key: PeerKey, reachable: bool) {
        let Some(original) = self.originals.0.get_mut(&key) else {
            return;
        };
        if !matches!(original.state, State::Probed(_)) {
            return;
        }
        self.changed = true;
        if reachable {
            original.state = State::Present;
            original.heard = now;
        } else {
            self.remove(key);
            self.ask_again_if_alone(now);
        }
    }

    /// Who is there now: originals that answered, and programs like this one as they say.
    pub(super) fn sightings(&self) -> Vec<Sighting> {
        let originals = self.originals.0.iter().filter(|(_, one)| one.is_shown());
        let originals = originals.map(|(key, original)| Sighting::Original {
            record: original.record.clone(),
            addr: original.stream,
            requests: key.requests,
            last_seen: original.heard,
        });
        let own = self
            .own_kind
            .0
            .iter()
            .filter(|((_, addr), _)| addr.port() != 0)
            .map(|((peer, addr), kind)| Sighting::Own {
                peer_id: *peer,
                name: kind.name.clone(),
                addr: *addr,
                last_seen: kind.heard,
            });
        originals.chain(own).collect()
    }

    /// Asks who is there while there is nobody, and in rounds those who are nearest.
    fn ask_around(&mut self, now: Instant) {
        let due = self.finds.iter().filter(|at| **at <= now).count();
        if due > 0 {
            self.finds.drain(..due);
            self.find_all();
        }
        if due > 0 && !self.originals.0.is_empty() {
            self.finds.clear();
        }
        self.ask_again_if_alone(now);
        if self.round_at > now {
            return;
        }
        self.round_at = now + ROUND_EVERY;
        let list = list_of(&self.id);
        let nearest = self.originals.nearest(&list, &self.id, ROUND_PEERS);
        let nearest: Vec<PeerKey> = nearest.into_iter().map(|(key, _)| key).collect();
        for key in nearest {
            if !self.calls.is_asking(key) {
                self.call(now, key.requests, Why::List(key), Rpc::FindNode(list));
            }
        }
    }

    fn ask_again_if_alone(&mut self, now: Instant) {
        if self.finds.is_empty() && self.originals.0.is_empty() {
            // Two of them, as originals send.
            let next = [FIND_EVERY, FIND_EVERY + FIND_GAP].map(|after| now + after);
            self.finds.extend(next);
        }
    }

    /// The time of a peer has come.
    fn attend(&mut self, now: Instant, key: PeerKey) {
        let Some(original) = self.originals.0.get_mut(&key) else {
            return;
        };
        match &original.state {
            State::New(_) => {
                original.state = State::Present;
                self.changed = true;
            }
            State::Present => {
                original.asked = now;
                if !self.calls.is_asking(key) {
                    self.call(now, key.requests, Why::Refresh(key), Rpc::Ping);
                }
            }
            State::Pinged { .. } => {
                original.state = State::Probed(now + PROBE_WAIT);
                let stream = original.stream;
                self.push_event(Event::Probe(key, stream));
            }
            State::Probed(_) => {
                self.remove(key);
                self.changed = true;
            }
        }
    }

    /// A peer left a call unanswered.
    fn miss(&mut self, now: Instant, key: PeerKey) {
        let ping = uuid_text(self.random.bytes());
        let Some(original) = self.originals.0.get_mut(&key) else {
            return;
        };
        match original.state {
            State::New(_) => self.remove(key),
            State::Present => {
                original.state = State::Pinged {
                    ping: ping.clone(),
                    until: now + PING_WAIT,
                };
                // With a trigger: it is the newer form, and the older branch takes any.
                let ping = Datagram::RemovalPing {
                    id: ping,
                    triggered: true,
                };
                self.send(key.requests, &ping);
            }
            State::Pinged { .. } | State::Probed(_) => {}
        }
    }

    pub(super) fn on_removal_answer(&mut self, now: Instant, id: &str) {
        let is_pinged = |state: &State| match state {
            State::Pinged { ping, .. } => ping == id,
            State::New(_) | State::Present | State::Probed(_) => false,
        };
        let mut originals = self.originals.0.values_mut();
        if let Some(original) = originals.find(|original| is_pinged(&original.state)) {
            original.state = State::Present;
            original.heard = now;
            self.changed = true;
        }
    }

    fn remove(&mut self, key: PeerKey) {
        self.calls.forget(key);
        if let Some(original) = self.originals.0.remove(&key) {
            self.changed |= original.is_shown();
        }
    }

    /// An answer came. Who sent it is the one that was asked: nobody else knows the id.
    pub(super) fn on_answer(
        &mut self,
        now: Instant,
        from: SocketAddr,
        id: &MessageId,
        answer: Answer,
    ) {
        let Some(call) = self.calls.take(id) else {
            return;
        };
        if let Some(original) = call
            .why
            .peer()
            .and_then(|key| self.originals.0.get_mut(&key))
        {
            original.heard = now;
            if !matches!(original.state, State::New(_)) {
                original.state = State::Present;
            }
            self.changed = true;
        }
        match (call.why, answer) {
            (Why::CheckIn(ticket), Answer::Record(record)) => {
                let is_near = self.is_near(&record, call.to);
                let stream = stream_addr(&record, call.to, is_near);
                let checked_in = CheckedIn {
                    record: record.clone(),
                    stream,
                };
                self.push_event(Event::CheckedIn(ticket, Ok(checked_in)));
                self.present(now, call.to, record);
            }
            (Why::CheckIn(ticket), _) => {
                let not_one = Err(CheckInError::NotAnOriginal);
                self.push_event(Event::CheckedIn(ticket, not_one));
            }
            (Why::Greet, Answer::Record(record)) => self.present(now, call.to, record),
            (Why::Refresh(key), Answer::Record(record)) => {
                if record.id != key.id {
                    // The program was started again with another profile.
                    self.remove(key);
                }
                self.present(now, call.to, record);
            }
            (Why::Neighbours(_), Answer::Nearest(records)) => {
                self.hear_of_all(now, from, records);
            }
            (Why::List(key), Answer::Nearest(records)) => {
                self.hear_of_all(now, from, records);
                self.store(now, key);
            }
            (Why::List(key), _) => self.store(now, key),
            (Why::Greet | Why::Refresh(_) | Why::Neighbours(_) | Why::Store(_), _) => {}
        }
    }

    fn hear_of_all(&mut self, now: Instant, from: SocketAddr, records: Vec<Record>) {
        for record in records {
            self.hear_of(now, from, record);
        }
    }

    /// Puts our record into its list at this peer.
    fn store(&mut self, now: Instant, key: PeerKey) {
        if let Some(own) = self.record_for(key.requests) {
            let store = Rpc::StorePeersInList(list_of(&self.id), vec![own]);
            self.call(now, key.requests, Why::Store(key), store);
        }
    }

    fn is_near(&self, record: &Record, requests: SocketAddr) -> bool {
        self.links.is_beside(requests, record.ip)
    }

    /// A peer answered at `requests` with this record.
    fn present(&mut self, now: Instant, requests: SocketAddr, mut record: Record) {
        if record.id == self.id || self.own_kind.has(&record.id) || record.stream_port == 0 {
            return;
        }
        record.name = shortened(record.name, NAME_LEN_MAX);
        let key = PeerKey {
            id: record.id,
            requests,
        };
        let stream = stream_addr(&record, requests, self.is_near(&record, requests));
        if record.status == Status::Offline {
            self.remove(key);
            return self.ask_again_if_alone(now);
        }
        self.changed = true;
        if let Some(original) = self.originals.0.get_mut(&key) {
            original.record = record;
            original.stream = stream;
            original.heard = now;
            return;
        }
        if !self.originals.has_room(key) {
            tracing::debug!(%requests, "too many originals: one more is not remembered");
            return;
        }
        let state = State::New(now + NEW_WAIT);
        let original = Original {
            record,
            stream,
            state,
            heard: now,
            asked: now,
        };
        self.originals.0.insert(key, original);
        let target = *self.id.as_bytes();
        self.call(now, requests, Why::Neighbours(key), Rpc::FindNode(target));
        self.look_after_namesakes(now, key);
    }

    /// Others with the same id may be the same peer at an address that it has left.
    fn look_after_namesakes(&mut self, now: Instant, new: PeerKey) {
        let others = self.originals.0.keys().copied();
        let others = others.filter(|key| key.id == new.id && *key != new);
        let others: Vec<PeerKey> = others.filter(|key| !self.calls.is_asking(*key)).collect();
        for key in others {
            self.call(now, key.requests, Why::Refresh(key), Rpc::Ping);
        }
    }
}

/// Between the two questions of originals that know nobody.
const FIND_GAP: Duration = Duration::from_millis(200);
