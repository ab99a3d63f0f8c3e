//! What a node asks a relay about numbers of one-time codes, on one connection.

use std::collections::HashMap;

use super::client::{CALLS_MAX, ClaimReply, FindReply, NoHelp, Stay};
use super::connect::Knows;
use crate::peer::PeerId;
use crate::protocol::relay::{NoNumber, ToRelay};

/// Questions that were not answered yet.
#[derive(Debug)]
pub(super) struct Asking {
    knows: Knows,
    claims: HashMap<u16, ClaimReply>,
    finds: HashMap<u16, Vec<FindReply>>,
}

impl Asking {
    pub(super) fn new(knows: Knows) -> Self {
        Self {
            knows,
            claims: HashMap::new(),
            finds: HashMap::new(),
        }
    }

    fn in_vain(&self) -> bool {
        match self.knows {
            Knows::Calls => true,
            Knows::Numbers => false,
        }
    }

    /// What the relay must be told when it is there again.
    pub(super) fn again(&self, stay: &Stay) -> Vec<ToRelay> {
        if self.in_vain() {
            return Vec::new();
        }
        let numbers = stay.numbers.iter();
        numbers.map(|&number| ToRelay::Claim { number }).collect()
    }

    /// Claims a number; what to say for it.
    pub(super) fn claim(
        &mut self,
        number: u16,
        reply: ClaimReply,
        stay: &mut Stay,
    ) -> Option<ToRelay> {
        if self.in_vain() {
            let _ = reply.send(Err(NoHelp::Away));
            return None;
        }
        if !stay.keep(number) {
            let _ = reply.send(Err(NoHelp::Says(NoNumber::Busy)));
            return None;
        }
        self.claims.insert(number, reply);
        Some(ToRelay::Claim { number })
    }

    /// The relay has answered a claim.
    pub(super) fn claimed(&mut self, number: u16, result: Result<(), NoNumber>, stay: &mut Stay) {
        if let Err(why) = result {
            tracing::info!(number, ?why, "a relay does not give a number");
            stay.forget(number);
        }
        if let Some(reply) = self.claims.remove(&number) {
            let _ = reply.send(result.map_err(NoHelp::Says));
        }
    }

    /// Gives a number back; what to say for it.
    pub(super) fn release(&mut self, number: u16, stay: &mut Stay) -> Option<ToRelay> {
        let had = stay.numbers.contains(&number);
        stay.forget(number);
        (had && !self.in_vain()).then_some(ToRelay::Release { number })
    }

    /// Asks who has a number; what to say for it.
    pub(super) fn find(&mut self, number: u16, reply: FindReply) -> Option<ToRelay> {
        if self.in_vain() {
            let _ = reply.send(Err(NoHelp::Away));
            return None;
        }
        let waiting: usize = self.finds.values().map(Vec::len).sum();
        if waiting >= CALLS_MAX {
            let _ = reply.send(Err(NoHelp::Says(NoNumber::Busy)));
            return None;
        }
        self.finds.entry(number).or_default().push(reply);
        Some(ToRelay::Find { number })
    }

    /// The relay has answered a question: the same for all who wait for it.
    pub(super) fn found(&mut self, number: u16, result: Result<PeerId, NoNumber>) {
        for reply in self.finds.remove(&number).into_iter().flatten() {
            let _ = reply.send(result.map_err(NoHelp::Says));
        }
    }

    /// Forgets those who do not wait any more.
    pub(super) fn forget_gone(&mut self) {
        self.claims.retain(|_, reply| !reply.is_closed());
        self.finds.retain(|_, replies| {
            replies.retain(|reply| !reply.is_closed());
            !replies.is_empty()
        });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.claims.is_empty() && self.finds.is_empty()
    }
}
