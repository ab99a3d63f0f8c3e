//! What others ask, and what they get.

use std::net::SocketAddr;
use std::time::Instant;

use super::Informed;
use super::calls::Why;
use super::endpoint::{Endpoint, Event};
use super::links::beside;
use super::peers::PeerKey;
use crate::net::handshake::shortened;
use crate::protocol::legacy::datagram::Datagram;
use crate::protocol::legacy::discovery::{Discovery, DiscoveryKind};
use crate::protocol::legacy::gossip::Gossip;
use crate::protocol::legacy::kademlia::{
    Answer, Call, Kademlia, Key, MessageId, NEAREST_MAX, Request, Rpc,
};
use crate::protocol::legacy::otm::Inform;
use crate::protocol::legacy::{LIST_IDS, LegacyId, Record, Status, list_of};
use crate::protocol::message::NAME_LEN_MAX;

/// An answer with records of others is at most so many times as long as the request: whoever
/// forges its source gains little.
pub(super) const ANSWER_FACTOR: usize = 8;

impl Endpoint {
    /// Answers a request, and finds out who asked.
    pub(super) fn on_request(
        &mut self,
        now: Instant,
        from: SocketAddr,
        len: usize,
        id: MessageId,
        request: Request,
    ) {
        let Request { mut caller, rpc } = request;
        caller.name = shortened(caller.name, NAME_LEN_MAX);
        if caller.id == self.id || !self.limiter.allow(now, from.ip()) {
            return;
        }
        let except = caller.id;
        let mut told = Vec::new();
        let answer = match rpc {
            Rpc::Ping => self.record_for(from).map(Answer::Record),
            Rpc::FindNode(target) | Rpc::FindValue(target) => {
                Some(Answer::Nearest(self.nearest(&target, &except)))
            }
            Rpc::StorePeersInList(list, peers) => {
                told = peers;
                // Nothing is kept: lists are made of those who answer us.
                Some(Answer::Done(LIST_IDS.contains(&list)))
            }
            Rpc::FindListOfPeers(list) => Some(self.list(&list, &except)),
            // Nothing is kept for strangers.
            Rpc::Store(..) => Some(Answer::Done(false)),
            Rpc::SearchPeers(text) => Some(Answer::Packed(self.named(&text, &except))),
        };
        if let Some(answer) = answer {
            self.answer(from, len, id, answer);
        }
        self.meet(now, from, caller);
        for record in told {
            self.hear_of(now, from, record);
        }
    }

    /// Sends an answer, with as many records as may be.
    fn answer(&mut self, to: SocketAddr, request_len: usize, id: MessageId, mut answer: Answer) {
        loop {
            let call = Call::Answer(answer);
            let datagram = Datagram::Kademlia(Kademlia { id, call });
            let len = datagram.encode().map_or(usize::MAX, |bytes| bytes.len());
            let Datagram::Kademlia(Kademlia { call, .. }) = &datagram else {
                return;
            };
            let fewer = match call {
                Call::Answer(Answer::Nearest(all)) => one_less(all).map(Answer::Nearest),
                Call::Answer(Answer::Packed(all)) => one_less(all).map(Answer::Packed),
                Call::Answer(Answer::Peers(all)) => one_less(all).map(Answer::Peers),
                Call::Answer(
                    Answer::Record(_) | Answer::Value(_) | Answer::Done(_) | Answer::Nothing,
                )
                | Call::Request(_) => None,
            };
            match fewer {
                Some(fewer) if len > request_len.saturating_mul(ANSWER_FACTOR) => answer = fewer,
                Some(_) | None => return self.send(to, &datagram),
            }
        }
    }

    fn nearest(&self, target: &Key, except: &LegacyId) -> Vec<Record> {
        let nearest = self.originals.nearest(target, except, NEAREST_MAX);
        let records = nearest.iter().map(|(key, original)| {
            let mut record = original.record.clone();
            record.ip = original.stream.ip();
            record.requests_port = key.requests.port();
            record
        });
        records.collect()
    }

    fn list(&self, list: &Key, except: &LegacyId) -> Answer {
        let mut members = self.nearest(list, except);
        members.retain(|record| list_of(&record.id) == *list);
        match members.is_empty() {
            true => Answer::Nearest(self.nearest(list, except)),
            false => Answer::Peers(members),
        }
    }

    fn named(&self, text: &str, except: &LegacyId) -> Vec<Record> {
        let mut found = self.nearest(self.id.as_bytes(), except);
        found.retain(|record| record.name.contains(text));
        found
    }

    /// Replies to a find, or follows a reply.
    pub(super) fn on_discovery(&mut self, now: Instant, from: SocketAddr, said: Discovery) {
        if said.id == self.id {
            return;
        }
        // The port is the sender's to choose, the computer is not.
        let requests = match said.addr.port() {
            0 => from,
            port => beside(from, self.links.place(from, said.addr.ip()), port),
        };
        let is_own_kind = self.note_own_kind(now, from, requests, &said);
        match said.kind {
            DiscoveryKind::Find => {
                let to = match said.addr.ip() == requests.ip() {
                    true => requests,
                    false => from,
                };
                if let Some(own) = self.links.source(to)
                    && self.limiter.allow(now, to.ip())
                {
                    let reply = self.discovery(DiscoveryKind::Reply, own);
                    self.send(to, &reply);
                }
            }
            // It has replied, so it need not be asked what it is.
            DiscoveryKind::Reply if !is_own_kind => self.ping(now, requests),
            DiscoveryKind::Reply => {}
        }
    }

    /// Remembers a program like this one; says whether it is one. Its id towards originals follows
    /// from its key, so that nobody hides an original behind its id.
    fn note_own_kind(
        &mut self,
        now: Instant,
        from: SocketAddr,
        requests: SocketAddr,
        said: &Discovery,
    ) -> bool {
        let Some(abilities) = &said.abilities else {
            return false;
        };
        let is_its_own = LegacyId::of_installation(&abilities.peer) == said.id;
        if !is_its_own || abilities.peer == self.own.peer {
            return false;
        }
        let quic = beside(from, from.ip(), abilities.port);
        let name = abilities.name.clone();
        self.own_kind
            .note(now, (abilities.peer, quic), name, requests);
        self.originals.0.retain(|key, _| key.id != said.id);
        self.changed = true;
        true
    }

    /// Answers a search for our name.
    pub(super) fn on_gossip(&mut self, now: Instant, from: SocketAddr, gossip: Gossip) {
        let Gossip::Search { id, text, created } = gossip else {
            // Messages are ignored by everybody, and we search for nothing.
            return;
        };
        if !self.own.name.contains(&text) || !self.limiter.allow(now, from.ip()) {
            return;
        }
        if let Some(record) = self.record_for(from) {
            let reply = Gossip::Reply {
                id,
                record,
                // Nobody looks at it; so no clock is needed.
                created,
            };
            self.send(from, &Datagram::Gossip(reply));
        }
    }

    /// Hands on what the root of a tree asks.
    pub(super) fn on_inform(&mut self, now: Instant, from: SocketAddr, len: usize, inform: Inform) {
        let Some(own) = self.links.source(from) else {
            return;
        };
        if inform.root == self.id || !self.limiter.allow(now, from.ip()) {
            return;
        }
        self.push_event(Event::Informed(Box::new(Informed {
            from,
            own,
            len,
            inform,
            links: self.links.clone(),
        })));
    }

    /// Says that we are there.
    pub(super) fn on_removal_ping(&mut self, now: Instant, from: SocketAddr, id: String) {
        if self.limiter.allow(now, from.ip()) {
            let peer = Some(self.id);
            self.send(from, &Datagram::RemovalAnswer { id, peer });
        }
    }

    /// Somebody called us. Whether it is there, it must show by answering.
    fn meet(&mut self, now: Instant, from: SocketAddr, caller: Record) {
        let is_near = self.links.is_beside(from, caller.ip);
        if caller.requests_port == 0 || !is_near || self.own_kind.has(&caller.id) {
            return;
        }
        let requests = beside(from, caller.ip, caller.requests_port);
        let key = PeerKey {
            id: caller.id,
            requests,
        };
        let known = self.originals.0.get(&key);
        let is_same = known.is_some_and(|original| {
            let said = (&original.record.name, original.record.stream_port);
            caller.status == Status::Online && said == (&caller.name, caller.stream_port)
        });
        if is_same {
            return;
        }
        match known {
            None => self.greet(now, requests),
            // It has changed, or is about to go.
            Some(_) if !self.calls.is_asking(key) && self.limiter.allow(now, requests.ip()) => {
                self.call(now, requests, Why::Refresh(key), Rpc::Ping);
            }
            Some(_) => {}
        }
    }

    /// Somebody told us of a third one. It is asked only if it is in the same network as the one
    /// who told, and we are, too.
    pub(super) fn hear_of(&mut self, now: Instant, from: SocketAddr, record: Record) {
        let is_known = record.id == self.id || self.own_kind.has(&record.id);
        if is_known || record.requests_port == 0 || !self.links.share(from.ip(), record.ip) {
            return;
        }
        let requests = beside(from, record.ip, record.requests_port);
        let key = PeerKey {
            id: record.id,
            requests,
        };
        if !self.originals.0.contains_key(&key) {
            self.greet(now, requests);
        }
    }

    /// Asks who is there: first whether it is a program like this one, then as originals ask.
    fn greet(&mut self, now: Instant, requests: SocketAddr) {
        self.ask_who(now, requests, true);
    }

    /// Asks who is there, as originals ask.
    fn ping(&mut self, now: Instant, requests: SocketAddr) {
        self.ask_who(now, requests, false);
    }

    fn ask_who(&mut self, now: Instant, requests: SocketAddr, may_be_own_kind: bool) {
        let is_own = self.links.source(requests) == Some(requests.ip())
            && requests.port() == self.own.requests_port;
        if is_own
            || self.calls.is_greeting(requests)
            || !self.calls.has_room(requests, Why::Greet)
            || !self.limiter.allow(now, requests.ip())
        {
            return;
        }
        if may_be_own_kind {
            self.find_at(requests);
        }
        self.call(now, requests, Why::Greet, Rpc::Ping);
    }
}

fn one_less(records: &[Record]) -> Option<Vec<Record>> {
    let (_, rest) = records.split_last()?;
    Some(rest.to_vec())
}
