//! What is shown of a transfer.

use super::*;

impl Entry {
    /// Where the other side is now.
    pub fn addr(&self) -> Option<std::net::SocketAddr> {
        self.path.as_ref()?.addr
    }

    /// How far it is: what an earlier run said, until this one knows better.
    pub fn standing(&self) -> Standing {
        let totals = self.table.lock().totals();
        let (top_count, tops) = &self.top;
        let tops = tops.iter().map(|t| (t.name.clone(), t.files, t.bytes));
        let now = Standing {
            files: totals.files,
            files_done: totals.files_done,
            bytes: totals.bytes,
            bytes_done: totals.bytes_done,
            top_count: *top_count,
            tops: tops.collect(),
        };
        match &self.standing {
            Some(earlier) if now.files == 0 => earlier.clone(),
            Some(earlier) if now.tops.is_empty() => earlier.clone(),
            Some(earlier) => Standing {
                files_done: now.files_done.max(earlier.files_done).min(now.files),
                bytes_done: now.bytes_done.max(earlier.bytes_done).min(now.bytes),
                ..now
            },
            None => now,
        }
    }

    /// What limits the speed. That the receiver is behind explains what this side sees of it: it
    /// takes nothing.
    fn limit(&self, moving: bool) -> Limit {
        let is_peers = self.is_behind && self.meter.limit == Limit::Network;
        match (moving, is_peers) {
            (false, _) => Limit::Unknown,
            (true, true) => Limit::PeerDisk,
            (true, false) => self.meter.limit,
        }
    }

    pub(super) fn snapshot(
        &self,
        id: TransferId,
        person: impl Fn(PeerId) -> Person,
    ) -> TransferSnapshot {
        let key = self.peer.and_then(|peer| peer.key());
        let person = key.map(person).unwrap_or_default();
        let (failed, failures, repaired, settled, entries, (conflicts, conflict)) = {
            let table = self.table.lock();
            let (failed, conflicts) = (table.totals().files_failed, table.conflicts());
            let (failures, repaired) = (table.failures(), table.repaired());
            let (settled, entries) = (table.settled(), table.len());
            (failed, failures, repaired, settled, entries, conflicts)
        };
        let (entries_failed, failures) = failures;
        let standing = self.standing();
        let top = |(name, files, bytes)| TopName { name, files, bytes };
        let ended = self.state.is_final();
        let moving = self.state == TransferState::Transferring;
        let rate = if moving { self.meter.rate() } else { 0 };
        let left = standing.bytes.saturating_sub(standing.bytes_done);
        let eta = (moving && rate > 0 && self.meter.age() > ETA_AFTER).then(|| left.div_ceil(rate));
        let elapsed = self
            .ended
            .unwrap_or_else(Instant::now)
            .duration_since(self.begun);
        TransferSnapshot {
            id,
            session: self.session,
            direction: self.direction,
            peer: self.peer,
            peer_name: person.name.unwrap_or_else(|| self.peer_name.clone()),
            trusted: person.trusted,
            words: person
                .words
                .filter(|_| !person.trusted && !self.state.is_final()),
            state: self.shown_state(),
            accepted: self.accepted,
            dormant: self.orders.is_none() && !ended,
            paused_by: self.paused_by,
            fault: self.fault.clone(),
            top_names: standing.tops.into_iter().map(top).collect(),
            top_count: standing.top_count,
            files: standing.files,
            files_done: standing.files_done,
            files_failed: failed,
            bytes: standing.bytes,
            bytes_done: standing.bytes_done,
            bytes_moved: self.progress.read().moved,
            rate,
            eta_seconds: eta,
            limit: self.limit(moving),
            path: self.path.clone(),
            folder: self.folder.clone(),
            question: self.question(),
            conflict: conflict.filter(|_| !ended),
            conflicts: if ended { 0 } else { conflicts },
            seconds: elapsed.as_secs_f64(),
            started: self.started,
            settled,
            entries,
            passing: self.passing.clone(),
            failures,
            entries_failed,
            repaired,
        }
    }

    /// What the person paused is paused, also while the peer is away.
    fn shown_state(&self) -> TransferState {
        match (self.state, self.paused_by) {
            (
                TransferState::Preparing | TransferState::Connecting | TransferState::Interrupted,
                Some(PausedBy::Us),
            ) => TransferState::Paused,
            (state, _) => state,
        }
    }

    fn question(&self) -> Option<Question> {
        let Asked { asking, at, until } = self.asking.as_ref()?;
        let left = asking.timeout.saturating_sub(at.elapsed());
        Some(Question {
            free: asking.free,
            obstacle: asking.obstacle.clone(),
            seconds_left: left.as_secs(),
            until: *until,
            round: self.rounds,
        })
    }
}
