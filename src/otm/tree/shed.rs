//! A feeder with more children than it can feed at full speed gives some of them away: to those
//! that stay, which feed them in turn. With equal uplinks, the tree becomes a chain so.

use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::adapt::CLEARLY;
use super::member::Member;
use super::{Feeder, Tree};
use crate::protocol::message::TransferId;

/// Who is to be fed by whom, and who found no place.
#[derive(Debug, Default)]
struct Plan {
    links: Vec<(TransferId, TransferId)>,
    left: Vec<TransferId>,
}

impl Tree {
    /// Moves children that somebody cannot feed below their siblings.
    pub(super) fn shed(&mut self, id: TransferId, now: Duration) {
        let Some(feeder) = self.members.get(&id) else {
            return;
        };
        let too_many = feeder.children.len() > self.capacity(feeder);
        if !too_many || self.feeds_all(feeder, now) {
            return;
        }
        let mut plan = self.rearranged(id, now);
        let mut numbers = BTreeMap::new();
        for (_, above) in &plan.links {
            *numbers.entry(*above).or_insert(0) += 1;
        }
        let stays = |id: TransferId, above| self.feeder_of(id) == Some(Feeder::Member(above));
        plan.links.retain(|(child, above)| !stays(*child, *above));
        let mut homeless = Vec::new();
        for child in plan.left {
            // It stays where it is, if those who come leave a place.
            if let Some(Feeder::Member(above)) = self.feeder_of(child) {
                let number = numbers.entry(above).or_insert(0);
                *number += 1;
                if *number > self.limits.fanout {
                    homeless.push(child);
                }
            }
        }
        // All leave before anybody comes, so that nobody has too many in between.
        for (child, _) in &plan.links {
            self.detach(*child, now);
        }
        for child in &homeless {
            self.detach(*child, now);
        }
        for (child, above) in plan.links {
            self.shift(child, Feeder::Member(above), now);
        }
        self.place_all(homeless, now);
    }

    /// The part of the tree below a member, such that nobody has more children than it can feed
    /// and those who have more feed those who have less.
    fn rearranged(&self, root: TransferId, now: Duration) -> Plan {
        let mut plan = Plan::default();
        let mut next = VecDeque::from([root]);
        while let Some(above) = next.pop_front() {
            let Some(feeder) = self.members.get(&above) else {
                continue;
            };
            plan.left.extend_from_slice(&feeder.children);
            let stays = |id: &TransferId, member: &Member| {
                feeder.children.contains(id) && !member.may_change(now)
            };
            plan.left.sort_by_key(|id| {
                let member = self.members.get(id)?;
                let feeds = Reverse(member.relays);
                Some((!stays(id, member), feeds, Reverse(member.done), *id))
            });
            let mut number = self.capacity(feeder);
            plan.left.retain(|id| {
                let Some(member) = self.members.get(id) else {
                    return false;
                };
                let may =
                    feeder.children.contains(id) || self.may_get(*id, member, above, feeder, now);
                let takes = stays(id, member) || number > 0 && may;
                if takes {
                    number = number.saturating_sub(1);
                    plan.links.push((*id, above));
                    next.push_back(*id);
                }
                !takes
            });
        }
        plan
    }

    /// Whether it was seen to feed all its children at full speed.
    fn feeds_all(&self, feeder: &Member, now: Duration) -> bool {
        let Some(front) = self.front(now) else {
            return true;
        };
        let children = feeder.children.iter().filter_map(|id| self.members.get(id));
        let rates: Option<f64> = children.map(|child| child.speed(now)).sum();
        let all = front * feeder.children.len() as f64;
        feeder.capacity.is_none() && rates.is_none_or(|sum| sum >= all * CLEARLY)
    }
}
