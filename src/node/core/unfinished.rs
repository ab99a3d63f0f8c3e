//! Sending, and what earlier runs left.

use std::collections::BTreeSet;

use super::*;
use crate::fault::Trouble;
use crate::protocol::groups::group_len;
use crate::storage::folder::Folder;
use crate::storage::name::SafePath;
use crate::storage::store::SOURCES_KEPT_MAX;
use crate::transfer::plan::Rules;
use crate::transfer::status::TOP_NAMES_MAX;

impl Core {
    /// Starts the task of an outgoing transfer, new or known.
    pub(in crate::node) fn start_outgoing(&mut self, record: OutgoingRecord, to: To) {
        let id = record.transfer;
        let (table, progress) = (SharedTable::default(), Progress::shared());
        let reporter = Reporter::new(id, self.news.0.clone());
        let shared = Shared {
            transfer: id,
            table: table.clone(),
            progress: progress.clone(),
            limiter: self.limiter.clone(),
            pauses: watch::Sender::new(Default::default()).subscribe(),
            disk: Arc::default(),
            known: self.sessions.hashes_for(id),
            fed: None,
        };
        let wishes = self.wishes.get(&id).cloned().unwrap_or_default();
        let sources = Sources::only(wishes.only.clone());
        let (orders, orders_in) = mpsc::channel(ORDERS_MAX);
        let session = self.sessions.of(id).map(|session| session.record().session);
        let entry = self.book.insert(NewTransfer {
            id,
            direction: Direction::Sending,
            peer: record.peer.map(Party::Key),
            peer_name: record.peer_name.clone(),
            state: TransferState::Preparing,
            started: record.created,
            table: table.clone(),
            progress,
            folder: None,
            paused: wishes.paused,
        });
        entry.session = session;
        entry.orders = Some(orders);
        entry.accepted = record.accepted;
        entry.standing = self.standings.get(&id).cloned();
        let mut outgoing = Outgoing::new(shared, sources.clone(), reporter.clone());
        if let Some(member) = self.membership(id) {
            outgoing = outgoing.in_session(member);
        }
        let task = OutgoingTask {
            id,
            outgoing,
            table,
            sources,
            paths: record.paths.clone(),
            wishes,
            to,
            accepted: record.accepted,
            orders: orders_in,
            reporter,
            connector: self.connector.clone(),
            connected: self.connected.subscribe(),
            contacts: self.contacts.0.clone(),
            seat: self
                .legacy
                .as_mut()
                .and_then(|legacy| legacy.seats.remove(&id)),
            last: None,
        };
        self.outgoing.insert(id, record);
        self.tasks.spawn(task.run());
        self.changed = true;
    }

    /// Enters what earlier runs left; what shall go on at once is started.
    pub(super) async fn find_unfinished(&mut self, unfinished: Unfinished, resume: ResumeAtStart) {
        let (broken_off, outgoing) = to_originals(unfinished.outgoing);
        for record in broken_off {
            self.tell_broken_off(record).await;
        }
        self.wishes = unfinished.wishes;
        self.standings = unfinished.standings;
        self.find_sessions(unfinished.sessions, &outgoing).await;
        let wanted = |id| match resume {
            ResumeAtStart::All => true,
            ResumeAtStart::None => false,
            ResumeAtStart::Only(only) => only == id,
        };
        for record in outgoing {
            if wanted(record.transfer) {
                self.continue_outgoing(record).await;
            } else {
                self.enter_dormant_outgoing(record);
            }
        }
        self.restore_shelves().await;
        let dir = self.journals();
        let found = tokio::task::spawn_blocking(move || journal::list(&dir)).await;
        let found = found.map_err(std::io::Error::other).and_then(|found| found);
        for (head, replay) in found.unwrap_or_default() {
            if head.peer.key().is_none() {
                // It was under way from an original when this program was killed.
                self.discard(head, replay).await;
            } else if wanted(head.transfer) {
                self.continue_incoming(head.transfer).await;
            } else {
                self.enter_dormant_incoming(head, &replay);
            }
        }
        let known = |id: &&TransferId| !self.book.is_open(**id);
        let gone: Vec<TransferId> = self.standings.keys().filter(known).copied().collect();
        for id in gone {
            self.forget_standing(id).await;
        }
    }

    /// This program ended while files went to an original: that is over.
    async fn tell_broken_off(&mut self, record: OutgoingRecord) {
        let id = record.transfer;
        if !record.accepted {
            // Nothing was sent.
            let remove = move |store: &Store| store.remove_outgoing(id);
            return self.records.write(remove).await;
        }
        let names = record.paths.iter().filter_map(|path| path.file_name());
        let names = names.map(|name| name.to_string_lossy().into_owned());
        let few = record.paths.len() <= SOURCES_KEPT_MAX;
        let record = HistoryRecord {
            transfer: id,
            sent: true,
            peer: None,
            names: names.take(TOP_NAMES_MAX).collect(),
            sources: if few { record.paths } else { Vec::new() },
            folder: None,
            files: 0,
            bytes: 0,
            failed: 0,
            fault: Some(Fault::Original {
                peer: record.peer_name.clone(),
                trouble: Trouble::KilledSending,
            }),
            peer_name: record.peer_name,
            started: record.created,
            ended: unix_now(),
            text: None,
        };
        self.records
            .write(move |store| {
                store.push_history(&record)?;
                store.remove_outgoing(id)
            })
            .await;
    }

    /// Remembers how far all transfers are.
    pub(super) async fn keep_standings(&mut self) {
        let ids: Vec<TransferId> = self.book.iter().map(|(id, _)| id).collect();
        for id in ids {
            self.keep_standing(id).await;
        }
    }

    /// Remembers how far a transfer is, if it can be continued after the end of this program.
    pub(super) async fn keep_standing(&mut self, id: TransferId) {
        let Some(entry) = self.book.get(id) else {
            return;
        };
        let key = entry.peer.is_some_and(|peer| peer.key().is_some());
        if entry.state().is_final() || !key || !entry.accepted {
            return;
        }
        let standing = entry.standing();
        if self.standings.get(&id) != Some(&standing) {
            self.standings.insert(id, standing.clone());
            self.records
                .write(move |store| store.put_standing(id, &standing))
                .await;
        }
    }

    pub(super) async fn forget_standing(&mut self, id: TransferId) {
        if self.standings.remove(&id).is_some() {
            self.records
                .write(move |store| store.remove_standing(id))
                .await;
        }
    }

    /// Removes what is left of a transfer that cannot be continued, and remembers it as incomplete.
    async fn discard(&mut self, head: journal::JournalHead, replay: journal::Replay) {
        let journals = self.journals();
        let work = move || {
            let record = broken_off(&head, &replay);
            discard_transfer(&journals, head, replay).map(|()| record)
        };
        match tokio::task::spawn_blocking(work).await {
            Ok(Ok(record)) => {
                let write = move |store: &Store| store.push_history(&record);
                self.records.write(write).await;
            }
            Ok(Err(error)) => tracing::warn!(%error, "what is left of a transfer stays"),
            Err(error) => tracing::error!(%error, "discarding a transfer panicked"),
        }
    }

    pub(super) fn enter_dormant_outgoing(&mut self, record: OutgoingRecord) {
        let standing = self.standings.get(&record.transfer).cloned();
        let session = self.sessions.of(record.transfer);
        let session = session.map(|session| session.record().session);
        let entry = self.book.insert(NewTransfer {
            id: record.transfer,
            direction: Direction::Sending,
            peer: record.peer.map(Party::Key),
            peer_name: record.peer_name.clone(),
            state: TransferState::Interrupted,
            started: record.created,
            table: SharedTable::default(),
            progress: Progress::shared(),
            folder: None,
            paused: self.wishes.get(&record.transfer).is_some_and(|w| w.paused),
        });
        entry.accepted = record.accepted;
        // Before it was accepted nothing is known but what was chosen.
        entry.standing = standing.or_else(|| Some(chosen(&record)));
        entry.session = session;
        self.outgoing.insert(record.transfer, record);
    }

    pub(super) fn enter_dormant_incoming(
        &mut self,
        head: journal::JournalHead,
        replay: &journal::Replay,
    ) {
        let standing = self.standings.get(&head.transfer).cloned();
        let entry = self.book.insert(NewTransfer {
            id: head.transfer,
            direction: Direction::Receiving,
            peer: Some(head.peer),
            peer_name: head.peer_name,
            state: TransferState::Interrupted,
            started: head.started,
            table: SharedTable::default(),
            progress: Progress::shared(),
            folder: Some(head.folder),
            paused: replay.paused,
        });
        entry.accepted = true;
        entry.standing = standing.map(|standing| with_parts(standing, replay));
    }

    /// Goes on with what an earlier run was sending, or sends it again.
    pub(in crate::node) async fn continue_outgoing(&mut self, record: OutgoingRecord) {
        // In the clear only to where a person said so by its address: names may be others' by now.
        let plain = record.target.parse::<LegacyAddress>().is_ok();
        let to = match self.recipient(&record.target).await {
            Ok(To::Peer(callee)) => Some(To::Peer(Callee {
                expect: record.peer.or(callee.expect),
                ..callee
            })),
            Ok(original @ To::Original(_)) if plain => Some(original),
            Ok(To::Original(_)) | Err(_) => {
                let known = record.peer.map(|peer| self.callee_of(peer));
                known.map(To::Peer)
            }
        };
        match to {
            Some(to) => self.start_outgoing(record, to),
            None => self.enter_dormant_outgoing(record),
        }
    }

    /// Goes on with what an earlier run was receiving.
    pub(in crate::node) async fn continue_incoming(&mut self, id: TransferId) {
        let Some(earlier) = self.open_journal(id).await else {
            return;
        };
        let (Some(peer), name) = (earlier.head.peer.key(), earlier.head.peer_name.clone()) else {
            return;
        };
        let callee = self.callee_of(peer);
        let terms = self.terms(peer, id);
        self.start_incoming(id, peer, &name, callee, terms, Some(earlier));
    }

    /// Remembers for the next run what the person paused of what is being sent.
    pub(super) async fn keep_pauses(&mut self, id: TransferId, news: &News) {
        if !self.outgoing.contains_key(&id) {
            return;
        }
        let mut wishes = self.wishes.get(&id).cloned().unwrap_or_default();
        match news {
            News::PausedBy(by) => wishes.paused = *by == Some(PausedBy::Us),
            News::PausedFile { index, paused } => {
                let table = self.book.get(id).map(|entry| entry.table.clone());
                let path = table.map(|table| table.lock().path(*index).to_owned());
                let Some(path) = path.filter(|path| !path.is_empty()) else {
                    return;
                };
                match paused {
                    true => wishes.paused_files.insert(path),
                    false => wishes.paused_files.remove(&path),
                };
            }
            News::Event(_) | News::Fault(_) | News::Path(_) | News::Manifest => return,
            News::Ask(_) | News::Answered { .. } | News::PeerRoom(_) => return,
            News::Session { .. } | News::PassesOn { .. } | News::Through(_) => return,
            News::Blamed(_) | News::GoesOn(_) | News::Behind(_) => return,
            News::Shortcoming(_) | News::LiedTo(_) => return,
        }
        self.put_wishes(id, wishes).await;
    }

    /// Remembers what the person wants of what is being sent.
    pub(in crate::node) async fn put_wishes(&mut self, id: TransferId, wishes: Wishes) {
        let known = self.wishes.get(&id);
        if known == Some(&wishes) || (known.is_none() && wishes == Wishes::default()) {
            return;
        }
        self.wishes.insert(id, wishes.clone());
        self.records
            .write(move |store| store.put_wishes(id, &wishes))
            .await;
    }
}

/// Those to originals, and all others.
fn to_originals(records: Vec<OutgoingRecord>) -> (Vec<OutgoingRecord>, Vec<OutgoingRecord>) {
    let is_plain = |record: &OutgoingRecord| record.target.parse::<LegacyAddress>().is_ok();
    records.into_iter().partition(is_plain)
}

/// All that is known of a transfer that has not begun.
fn chosen(record: &OutgoingRecord) -> Standing {
    let names = record.paths.iter().filter_map(|path| path.file_name());
    let tops = names.take(TOP_NAMES_MAX);
    Standing {
        top_count: record.paths.len() as u32,
        tops: tops
            .map(|name| (name.to_string_lossy().into_owned(), None, 0))
            .collect(),
        ..Standing::default()
    }
}

/// The journal knows of parts that came after the standing was written.
fn with_parts(standing: Standing, replay: &journal::Replay) -> Standing {
    let groups = |part: &journal::PartRecord| {
        let groups = part.groups.keys();
        groups.map(|&n| group_len(part.size, n)).sum::<u64>()
    };
    let parts: u64 = replay.parts.values().map(groups).sum();
    Standing {
        bytes_done: standing.bytes_done.max(parts).min(standing.bytes),
        ..standing
    }
}

/// What the history says of a transfer from an original that a crash ended. Blocking.
fn broken_off(head: &journal::JournalHead, replay: &journal::Replay) -> HistoryRecord {
    let mut names = BTreeSet::new();
    let (mut files, mut kept) = (0, 0);
    for (path, done) in &replay.done {
        let top = path.split('/').next().unwrap_or_default();
        if names.len() < TOP_NAMES_MAX {
            names.insert(top.to_owned());
        }
        // Folders have no hash.
        if done.hash.is_some() {
            let place = SafePath::parse(done.saved_as.as_ref().unwrap_or(path));
            let there = place.map(|place| head.folder.join(place.as_str()).symlink_metadata());
            files += 1;
            kept += there.map_or(0, |there| there.map_or(0, |there| there.len()));
        }
    }
    let trouble = Trouble::LeftReceiving { kept };
    HistoryRecord {
        transfer: head.transfer,
        sent: false,
        peer: Some(head.peer),
        peer_name: head.peer_name.clone(),
        names: names.into_iter().collect(),
        sources: Vec::new(),
        folder: Some(head.folder.clone()),
        files,
        bytes: kept,
        failed: 0,
        fault: Some(Fault::Original {
            peer: head.peer_name.clone(),
            trouble,
        }),
        started: head.started,
        ended: unix_now(),
        text: None,
    }
}

/// Removes the parts and the journal of a transfer. Blocking.
fn discard_transfer(
    journals: &Path,
    head: journal::JournalHead,
    replay: journal::Replay,
) -> std::io::Result<()> {
    let id = head.transfer;
    let rules = Rules {
        folder: Folder::open(&head.folder)?,
        policy: head.on_conflict,
        excluded: Default::default(),
        replay: Some(replay),
        compares: false,
    };
    rules.discard_parts();
    match Journal::open(journals, id)? {
        Some((journal, ..)) => journal.remove(),
        None => Ok(()),
    }
}
