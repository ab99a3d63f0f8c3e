//! What a receiver is told in case this program ends: the hashes of everything that it lacks, and
//! who has it.

use std::path::Path;

use super::*;
use crate::protocol::groups::hash_group;
use crate::protocol::message::HAVE_GROUPS_MAX;
use crate::protocol::sessions::{HEIRS_MAX, WILL_HASHES_MAX, WillFile};
use crate::storage::source::SourceFile;
use crate::transfer::known::KnownHashes;
use crate::transfer::member::Heirs;
use crate::transfer::send_file::is_remembered;

/// What was told over one link, and what is still to be told.
#[derive(Debug, Default)]
pub(super) struct Testament {
    /// Who has everything, until the receiver was told.
    heirs: Option<Heirs>,
    /// Whether those that the receiver knows are there, as far as is known.
    stands: bool,
    /// The next file that may have to be told.
    next: FileIndex,
    told: HashSet<FileIndex>,
    /// The rest of a file of which some was told.
    page: Option<WillFile>,
    hashes: usize,
}

impl Testament {
    /// Whether something is to be told.
    pub(super) fn is_due(&self) -> bool {
        self.heirs.is_some()
    }

    /// The next part of a file, as large as a message may be.
    fn next_page(&mut self) -> Option<WillFile> {
        let rest = self.page.as_mut()?;
        let after = rest
            .groups
            .split_off(HAVE_GROUPS_MAX.min(rest.groups.len()));
        let page = WillFile {
            groups: std::mem::replace(&mut rest.groups, after),
            ..rest.clone()
        };
        rest.first += page.groups.len() as u32;
        if rest.groups.is_empty() {
            self.page = None;
        }
        Some(page)
    }
}

impl<L: Outbound> Run<'_, L> {
    /// Those have everything: if the receiver knows them, and all hashes, it can do without us.
    pub(super) async fn on_heirs(&mut self, mut heirs: Heirs) {
        if heirs.feeders.is_empty() {
            (self.will.heirs, self.will.stands) = (None, false);
            self.transfer.reporter.tell(News::GoesOn(false)).await;
            return;
        }
        let has_all = self.transfer.shared.table.lock().len() <= heirs.entries;
        if self.part != Part::None && self.link.knows_wills() && has_all {
            heirs.feeders.truncate(HEIRS_MAX);
            self.will.heirs = Some(heirs);
            // What could not be told before may be known now.
            self.will.next = 0;
        }
    }

    /// Tells the next part of it.
    pub(super) async fn tell_will(&mut self) -> Result<(), Ended> {
        if self.will.page.is_none()
            && let Some(index) = self.next_unknown()
        {
            self.will.page = self.will_file(index).await;
        }
        if let Some(page) = self.will.next_page() {
            return self.send(SenderMessage::WillFile(page)).await;
        }
        if self.next_unknown().is_some() {
            return Ok(());
        }
        match self.will.heirs.take() {
            Some(heirs) => {
                self.will.stands = true;
                self.send(SenderMessage::Will(heirs.feeders)).await
            }
            None => Ok(()),
        }
    }

    /// The next file that others have and the receiver knows nothing of.
    fn next_unknown(&mut self) -> Option<FileIndex> {
        let table = self.transfer.shared.table.lock();
        while self.will.next < self.told {
            let index = self.will.next;
            let is_file = table.file_size(index).is_some();
            let is_known = self.confirmed.has(index) || self.will.told.contains(&index);
            if is_file && !is_known {
                return Some(index);
            }
            self.will.next += 1;
        }
        None
    }

    /// All that is to be known of a file; `None` if it is not known here, or too much.
    async fn will_file(&mut self, index: FileIndex) -> Option<WillFile> {
        self.will.next = index + 1;
        let path = self.transfer.shared.table.lock().path(index).to_owned();
        let local = self.transfer.sources.local(index, &path)?;
        let known = self.transfer.shared.known.clone()?;
        let room = WILL_HASHES_MAX - self.will.hashes;
        let work = move || look_up(index, &local, &known, room);
        let file = tokio::task::spawn_blocking(work).await.ok()??;
        self.will.hashes += file.groups.len();
        self.will.told.insert(index);
        Some(file)
    }

    /// The receiver says that it can do without us.
    pub(super) async fn on_can_go_on(&mut self, entries: u32) -> Result<(), Ended> {
        if self.part == Part::None || !self.link.knows_wills() || entries > self.told {
            return Err(Ended::Misbehaved(Offence::UnexpectedMessage));
        }
        // What crossed with the news that its heirs are gone counts no more.
        let all = entries == self.transfer.shared.table.lock().len();
        let ours = self.transfer.pauses.borrow().ours();
        let held = ours.into_iter().any(|index| !self.confirmed.has(index));
        let goes_on = all && self.will.stands && !held;
        self.transfer.reporter.tell(News::GoesOn(goes_on)).await;
        Ok(())
    }
}

/// What is known of a file, if that is all of it and not more than `room` groups. Blocking.
fn look_up(index: FileIndex, local: &Path, known: &KnownHashes, room: usize) -> Option<WillFile> {
    let mut source = SourceFile::open(local).ok()?;
    if !is_remembered(source.size()) {
        return small_file(index, &mut source);
    }
    let count = group_count(source.size());
    if count as usize > room {
        return None;
    }
    let hash = |group| known.get(source.stamp(), group);
    Some(WillFile {
        index,
        size: source.size(),
        modified: source.modified(),
        stamp: source.stamp(),
        first: 0,
        groups: (0..count).map(hash).collect::<Option<_>>()?,
    })
}

/// A file so small that its hash is not kept, unless it changes meanwhile. Blocking.
fn small_file(index: FileIndex, source: &mut SourceFile) -> Option<WillFile> {
    let (size, modified, stamp) = (source.size(), source.modified(), source.stamp());
    let mut content = vec![0; usize::try_from(size).ok()?];
    let read = source.read_at(0, &mut content).ok()?;
    let is_same = read == content.len() && source.refresh() == Ok(false);
    is_same.then(|| WillFile {
        index,
        size,
        modified,
        stamp,
        first: 0,
        groups: vec![hash_group(size, 0, &content)],
    })
}
