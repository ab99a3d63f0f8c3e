//! Before files come: what to do with each entry, and what there is of it already.

use std::collections::VecDeque;
use std::io;

use super::{PLAN_MAX, Run, discard};
use crate::config::ConflictPolicy;
use crate::net::link::Inbound;
use crate::protocol::groups::{Hash, group_count};
use crate::protocol::message::{Entry, FileIndex, HAVE_GROUPS_MAX, ReceiverMessage};
use crate::transfer::ended::Ended;
use crate::transfer::partial::Partial;
use crate::transfer::plan::{Check, Verdict, check, part_tag, plan_entry, runs};
use crate::transfer::status::FileState;

/// How the verdict about an entry comes about.
enum Plan {
    /// It is known from earlier.
    Known(Verdict),
    /// From the disk, and by this policy if the name is taken.
    Look(ConflictPolicy),
}

impl<L: Inbound> Run<'_, L> {
    /// Decides about all entries that have come since the last plan.
    pub(super) async fn plan(&mut self) -> Result<(), Ended> {
        while let Some(verdicts) = self.next_verdicts().await? {
            let actions = runs(verdicts.iter().map(Verdict::action));
            self.planned += verdicts.len() as u32;
            self.send(ReceiverMessage::Plan(actions)).await?;
            let mut receipts = Vec::new();
            let mut checks = Vec::new();
            let mut begun = Vec::new();
            for verdict in verdicts {
                match verdict {
                    Verdict::Send => {}
                    Verdict::Ask(index, rival) => self.wait_for_answer(index, rival),
                    Verdict::Begun(index) => begun.push(index),
                    Verdict::Check(check) => checks.push(check),
                    Verdict::Settle(receipt) => receipts.push(receipt),
                }
            }
            self.settle(receipts).await?;
            self.check(checks)?;
            for index in begun {
                if let Some(partial) = self.taken()?.partials.remove(&index) {
                    self.on_checked(index, partial).await?;
                }
            }
        }
        self.check_room().await?;
        let entries = self.planned;
        self.send(ReceiverMessage::Start { entries }).await
    }

    /// Files that were added later are subject to the limit of room, too: what does not fit waits,
    /// instead of filling the disk.
    pub(super) async fn check_room(&mut self) -> Result<(), Ended> {
        let needed = self.incoming.table.lock().bytes_left();
        let rules = self.taken()?.rules.clone();
        match rules.folder.space() {
            Ok(space) if needed.saturating_sub(self.unchecked) > space.free => self.full().await,
            Ok(_) | Err(_) => Ok(()),
        }
    }

    pub(super) async fn next_verdicts(&mut self) -> Result<Option<Vec<Verdict>>, Ended> {
        let from = self.planned;
        let table = self.incoming.table.clone();
        let taken = self.taken()?;
        let rules = taken.rules.clone();
        let entries: Vec<(Entry, Plan)> = {
            let table = table.lock();
            let end = table.len().min(from + PLAN_MAX);
            let plan = |index| match (table.receipt(index), table.rival(index)) {
                (Some(receipt), _) => Plan::Known(Verdict::Settle(receipt)),
                (None, Some(rival)) => Plan::Known(Verdict::Ask(index, rival)),
                (None, None) if taken.partials.contains_key(&index) => {
                    Plan::Known(Verdict::Begun(index))
                }
                (None, None) => Plan::Look(taken.policy(table.path(index))),
            };
            (from..end)
                .filter_map(|i| Some((table.entry(i)?, plan(i))))
                .collect()
        };
        if entries.is_empty() {
            return Ok(None);
        }
        let work = move || {
            let plan = |(index, (entry, plan)): (FileIndex, (Entry, Plan))| match plan {
                Plan::Known(verdict) => verdict,
                Plan::Look(policy) => plan_entry(index, &entry, &rules, policy),
            };
            let verdicts = (from..).zip(entries).map(plan).collect();
            // Folders and links have their receipts with this plan.
            rules.folder.sync().map(|()| verdicts)
        };
        let verdicts = tokio::task::spawn_blocking(work).await;
        match verdicts.map_err(io::Error::other).flatten() {
            Ok(verdicts) => Ok(Some(verdicts)),
            Err(error) => Err(Ended::Lost(error.to_string())),
        }
    }

    /// Finds out in the background what there is of held files.
    pub(super) fn check(&mut self, checks: Vec<Check>) -> Result<(), Ended> {
        if checks.is_empty() {
            return Ok(());
        }
        for check in &checks {
            let mut table = self.incoming.table.lock();
            table.set_state(check.index, FileState::Checking);
            self.unchecked += check.size;
        }
        let (rules, id) = (self.taken()?.rules.clone(), self.incoming.id);
        let found = self.checked.0.clone();
        self.checks.spawn_blocking(move || {
            for held in checks {
                let tag = part_tag(id, held.index);
                let partial = check(&held, &rules.folder, tag, &|| !found.is_closed());
                if found.blocking_send((held.index, partial)).is_err() {
                    return;
                }
            }
        });
        Ok(())
    }

    /// A file that was held was looked at.
    pub(super) async fn on_found(
        &mut self,
        index: FileIndex,
        partial: Partial,
    ) -> Result<(), Ended> {
        let size = self.incoming.table.lock().file_size(index).unwrap_or(0);
        self.unchecked = self.unchecked.saturating_sub(size);
        self.on_checked(index, partial).await
    }

    /// Tells the sender what there is of a file, which lets it come.
    pub(super) async fn on_checked(
        &mut self,
        index: FileIndex,
        mut partial: Partial,
    ) -> Result<(), Ended> {
        if self.is_settled(index) {
            discard(partial).await;
            return Ok(());
        }
        partial.asked.clear();
        let stamp = partial.stamp;
        let mut pages: VecDeque<(u32, Vec<Hash>)> = VecDeque::new();
        {
            let mut table = self.incoming.table.lock();
            let size = table.file_size(index).unwrap_or(0);
            table.set_done(index, partial.bytes().min(size));
            let count = group_count(size);
            for (&group, hash) in partial.groups.range(..count) {
                match pages.back_mut() {
                    Some((first, page))
                        if *first + page.len() as u32 == group && page.len() < HAVE_GROUPS_MAX =>
                    {
                        page.push(*hash);
                    }
                    Some(_) | None => pages.push_back((group, vec![*hash])),
                }
            }
        }
        self.keep(index, partial);
        let mut last = pages.pop_back().unwrap_or_default();
        for (first, groups) in pages {
            self.send(ReceiverMessage::Have {
                index,
                stamp,
                first,
                groups,
                more: true,
            })
            .await?;
        }
        let groups = std::mem::take(&mut last.1);
        self.send(ReceiverMessage::Have {
            index,
            stamp,
            first: last.0,
            groups,
            more: false,
        })
        .await
    }
}
