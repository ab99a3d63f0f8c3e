//! What a receiver is told in case this program ends: the hashes of everything that it lacks, and
//! who has it, alone or between them.

use std::path::Path;

use super::*;
use crate::protocol::groups::{group_len, group_offset, hash_group};
use crate::protocol::message::HAVE_GROUPS_MAX;
use crate::protocol::sessions::{HEIRS_MAX, WILL_HASHES_MAX, WillFile};
use crate::storage::source::SourceFile;
use crate::transfer::known::KnownHashes;
use crate::transfer::member::Heirs;
use crate::transfer::send_file::is_remembered;

/// Groups that are read in one go to learn their hashes.
const READ_MAX: usize = 32;

/// What was told over one link, and what is still to be told.
#[derive(Debug, Default)]
pub(super) struct Testament {
    /// Who has everything, until the receiver was told.
    heirs: Option<Heirs>,
    /// The same, as the receiver was told last.
    known: Option<Heirs>,
    /// Whether there was a file of which not all hashes were known.
    lacks: bool,
    /// Whether more is told than what was known when they were named.
    more: bool,
    /// Whether it is only looked whether there is more.
    looks: bool,
    /// Whether those that the receiver knows are there, as far as is known.
    stands: bool,
    /// The next file that may have to be told.
    next: FileIndex,
    /// The first one of those that may ever have to be.
    first: FileIndex,
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
    /// Those have everything between them: if the receiver knows them, and all hashes, it can do
    /// without us.
    pub(super) async fn on_heirs(&mut self, mut heirs: Heirs) {
        if heirs.feeders.is_empty() {
            (self.will.heirs, self.will.stands) = (None, false);
            self.transfer.reporter.tell(News::GoesOn(false)).await;
            return;
        }
        let has_all = self.have_all(&heirs);
        if self.part != Part::None && self.link.knows_wills() && has_all {
            heirs.feeders.truncate(HEIRS_MAX);
            self.will.heirs = Some(heirs);
            (self.will.more, self.will.looks, self.will.lacks) = (true, false, false);
            // What could not be told before may be known now.
            self.will.next = 0;
        }
    }

    /// Whether nothing was added since these were named.
    fn have_all(&self, heirs: &Heirs) -> bool {
        self.transfer.shared.table.lock().len() <= heirs.entries
    }

    /// Tells the next part of it.
    pub(super) async fn tell_will(&mut self) -> Result<(), Ended> {
        if self.will.page.is_none()
            && let Some(index) = self.next_unknown()
        {
            self.will.page = self.will_file(index).await;
            if self.will.page.is_none() {
                self.will.lacks = true;
                if self.will.looks {
                    // It is being read, and those behind it have time until then.
                    self.will.next = self.told;
                }
            }
        }
        if let Some(page) = self.will.next_page() {
            return self.send(SenderMessage::WillFile(page)).await;
        }
        if self.next_unknown().is_some() {
            return Ok(());
        }
        match self.will.heirs.take() {
            Some(heirs) if std::mem::take(&mut self.will.more) => {
                self.will.stands = true;
                self.will.known = Some(heirs.clone());
                self.send(SenderMessage::Will(heirs.feeders)).await
            }
            // It was looked for more in vain.
            Some(_) | None => Ok(()),
        }
    }

    /// What was not known when the will was told may be known by now, or is read: nobody needed it
    /// since this program was started. To be called about once a second.
    pub(super) fn look_for_more(&mut self) {
        let known = self.will.known.as_ref();
        let Some(heirs) = known.filter(|heirs| self.have_all(heirs)) else {
            return;
        };
        if !self.will.lacks || !self.will.stands || self.will.heirs.is_some() {
            return;
        }
        self.will.heirs = Some(heirs.clone());
        (self.will.lacks, self.will.looks, self.will.next) = (false, true, 0);
        if let Some(index) = self.next_unknown() {
            self.read_unknown(index);
        }
    }

    /// Learns some of the hashes of a file, in the background.
    fn read_unknown(&self, index: FileIndex) {
        let path = self.transfer.shared.table.lock().path(index).to_owned();
        let local = self.transfer.sources.local(index, &path);
        if let (Some(local), Some(known)) = (local, self.transfer.shared.known.clone()) {
            tokio::task::spawn_blocking(move || {
                known.read_in_turn(|| {
                    if let Err(fault) = read_some(&local, &known) {
                        tracing::debug!(?fault, "a file cannot be read for others");
                    }
                });
            });
        }
    }

    /// The next file that others have and the receiver knows nothing of.
    fn next_unknown(&mut self) -> Option<FileIndex> {
        let table = self.transfer.shared.table.lock();
        // Of what was added since they have nothing.
        let entries = self.will.heirs.as_ref().map_or(0, |heirs| heirs.entries);
        self.will.next = self.will.next.max(self.will.first);
        while self.will.next < self.told.min(entries) {
            let index = self.will.next;
            let is_file = table.file_size(index).is_some();
            let is_known = self.confirmed.has(index) || self.will.told.contains(&index);
            if is_file && !is_known {
                return Some(index);
            }
            // What the receiver has, or knows, stays so over this link.
            if index == self.will.first {
                self.will.first += 1;
            }
            self.will.next += 1;
        }
        None
    }

    /// All that is to be known of a file; `None` if it is not known here, or too much.
    async fn will_file(&mut self, index: FileIndex) -> Option<WillFile> {
        self.will.next = index + 1;
        let (path, offered) = {
            let table = self.transfer.shared.table.lock();
            (table.path(index).to_owned(), table.entry(index)?)
        };
        let local = self.transfer.sources.local(index, &path)?;
        let known = self.transfer.shared.known.clone()?;
        let room = WILL_HASHES_MAX - self.will.hashes;
        let work = move || look_up((index, offered), &local, &known, room);
        let file = tokio::task::spawn_blocking(work).await.ok()??;
        self.will.hashes += file.groups.len();
        self.will.told.insert(index);
        self.will.more = true;
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
fn look_up(
    (index, offered): (FileIndex, Entry),
    local: &Path,
    known: &KnownHashes,
    room: usize,
) -> Option<WillFile> {
    let mut source = SourceFile::open(local).ok()?;
    // Of a file that has changed since nobody may have what it is now.
    let is_as_offered = matches!(offered.kind, EntryKind::File { size, modified, .. }
        if (size, modified) == (source.size(), source.modified()));
    if !is_as_offered {
        return None;
    }
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

/// Learns the hashes of the next groups of a file that are not known, if it does not change
/// meanwhile. Blocking.
fn read_some(local: &Path, known: &KnownHashes) -> Result<(), SourceFault> {
    let mut source = SourceFile::open(local)?;
    let (size, stamp) = (source.size(), source.stamp());
    let is_too_much = group_count(size) as usize > WILL_HASHES_MAX || known.is_full();
    if !is_remembered(size) || is_too_much {
        return Ok(());
    }
    let mut buffer = vec![0; GROUP_LEN.min(size) as usize];
    let mut learned = Vec::new();
    let unknown = (0..group_count(size)).filter(|group| known.get(stamp, *group).is_none());
    for group in unknown.take(READ_MAX) {
        let len = group_len(size, group) as usize;
        let content = buffer.get_mut(..len).unwrap_or_default();
        if source.read_at(group_offset(group), content)? < len {
            return Err(SourceFault::Changing);
        }
        learned.push((group, hash_group(size, group, content)));
    }
    if source.refresh()? {
        return Err(SourceFault::Changing);
    }
    for (group, hash) in learned {
        known.put(stamp, group, hash);
    }
    Ok(())
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_said_of_a_file_that_is_not_as_it_was_offered() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        for size in [10, 5000] {
            std::fs::write(&path, vec![7; size]).unwrap();
            let source = SourceFile::open(&path).unwrap();
            let offered = || Entry {
                path: "a".into(),
                kind: EntryKind::File {
                    size: source.size(),
                    modified: source.modified(),
                    executable: false,
                },
            };
            let known = KnownHashes::default();
            read_some(&path, &known).unwrap();
            let told = look_up((0, offered()), &path, &known, 9);
            assert_eq!(told.unwrap().stamp, source.stamp());
            let file = std::fs::File::options().write(true).open(&path).unwrap();
            file.set_modified(std::time::UNIX_EPOCH).unwrap();
            read_some(&path, &known).unwrap();
            assert_eq!(look_up((0, offered()), &path, &known, 9), None);
        }
    }
}
