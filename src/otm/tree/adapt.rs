//! Changes that make a running tree better: what is measured, and in which order it is looked at.
//!
//! A member is held up by its own speed, by its feeder's uplink, or by its feeder's own feeder.
//! Reports of progress tell them apart: who has all that its feeder has waits for it, who falls
//! back from its feeder cannot get more. If all children of a feeder fall back, they share its
//! uplink, and some move away (`shed`). If one does, it tries another feeder (`help`).

use std::time::Duration;

use super::Tree;
use super::member::Member;
use super::place::SLACK;
use crate::protocol::message::TransferId;

/// How long a feeder and its children are left alone before they are judged.
pub(super) const SETTLED: Duration = Duration::from_millis(1500);
/// Slower than this part of what it could be is clearly slower.
pub(super) const CLEARLY: f64 = 0.8;
/// A feeder that cannot feed even this part of one child is weak, and no example for others.
const WEAK: f64 = 0.75;
/// How much of one child more counts as one: measures are a little low.
const ALMOST: f64 = 0.2;

/// How a child does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fares {
    /// It gets about as much as its feeder could give to one alone.
    Well,
    /// It has all that its feeder has.
    Waits,
    /// It gets less, and falls back.
    Badly,
    /// It is too early to say.
    Unknown,
}

impl Tree {
    pub(super) fn adapt(&mut self, now: Duration) {
        let ids: Vec<TransferId> = self.members.keys().copied().collect();
        for id in &ids {
            self.judge_trial(*id, now);
        }
        self.race(now);
        for id in &ids {
            self.measure(*id, now);
        }
        for id in &ids {
            self.shed(*id, now);
        }
        for id in &ids {
            self.help(*id, now);
        }
        self.spend_idle_origin(now);
        self.try_suspects(now);
        self.try_doubted(now);
        self.relieve_origin(now);
    }

    /// How much each child needs of this feeder, to be as fast as it can be.
    pub(super) fn need(&self, feeder: &Member, now: Duration) -> Option<f64> {
        let front = self.front(now);
        match (feeder.complete, feeder.speed(now)) {
            // If the origin feeds nobody any more: what it could give once.
            (true, _) => front.or((self.races.best > 0.0).then_some(self.races.best)),
            // Not more than the origin gives: a feeder that catches up is faster for a while.
            (false, Some(rate)) => Some(front.map_or(rate, |front| front.min(rate))),
            (false, None) => None,
        }
    }

    /// How a child does under this feeder, which could give `need` to one.
    pub(super) fn fares(&self, child: &Member, feeder: &Member, need: f64, now: Duration) -> Fares {
        let behind = feeder.estimate(now) - child.estimate(now);
        match child.rate(now) {
            None => Fares::Unknown,
            Some(rate) if rate.most >= need * CLEARLY => Fares::Well,
            Some(_) if behind <= SLACK as f64 => Fares::Waits,
            Some(_) if behind <= need => Fares::Unknown,
            Some(_) => Fares::Badly,
        }
    }

    /// How all children of a feeder do, in their order.
    pub(super) fn all_fare(&self, feeder: &Member, need: f64, now: Duration) -> Vec<Fares> {
        let children = feeder.children.iter().filter_map(|id| self.members.get(id));
        children
            .map(|child| self.fares(child, feeder, need, now))
            .collect()
    }

    /// Notes how many somebody can feed.
    fn measure(&mut self, id: TransferId, now: Duration) {
        let Some(feeder) = self.members.get(&id) else {
            return;
        };
        let children = feeder.children.iter().filter_map(|id| self.members.get(id));
        let sum: f64 = children.filter_map(|child| child.speed(now)).sum();
        let less = feeder.children.len().saturating_sub(1).max(1);
        let overload = self.overload(feeder, sum, now);
        let Some(feeder) = self.members.get_mut(&id) else {
            return;
        };
        feeder.uplink = feeder.uplink.max(sum);
        if let Some(feeds) = overload {
            let capacity = ((feeds + ALMOST) as usize).clamp(1, less);
            feeder.capacity = Some(capacity);
            if feeds >= WEAK {
                self.usual = Some(capacity);
            }
        }
    }

    /// How many somebody feeds at full speed, if all its children, two at least, get clearly less.
    fn overload(&self, feeder: &Member, sum: f64, now: Duration) -> Option<f64> {
        let settled = now.saturating_sub(feeder.touched) >= SETTLED;
        let need = self.need(feeder, now).filter(|need| *need > 0.0)?;
        if !settled || feeder.children.len() < 2 {
            return None;
        }
        let fares = self.all_fare(feeder, need, now);
        let all = fares.iter().all(|fares| *fares == Fares::Badly);
        all.then_some(sum / need)
    }
}
