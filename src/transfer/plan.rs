//! Looks at the disk before anything is received: what is there already, what was begun earlier,
//! what cannot be saved. Everything here blocks; run it where that is fine.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io;

use super::partial::{Damage, Partial, Place};
use super::receive_file::read_exact_at;
use super::rivals::Rival;
use super::table::FileTable;
use crate::config::ConflictPolicy;
use crate::protocol::groups::{GROUP_LEN, Hash, group_count, group_len, group_offset, hash_group};
use crate::protocol::message::{
    Entry, EntryKind, FileIndex, Outcome, PlanAction, PlanRun, Receipt, SinkFault, Timestamp,
    TransferId,
};
use crate::storage::folder::{Existing, Folder, Looks};
use crate::storage::journal::{PartRecord, Replay};
use crate::storage::name::{SafePath, is_safe_link_target};
use crate::storage::part::Part;

/// What planning goes by.
#[derive(Debug)]
pub struct Rules {
    /// Where the files go.
    pub folder: Folder,
    /// What happens when a name is taken.
    pub policy: ConflictPolicy,
    /// Top-level names that the person does not want.
    pub excluded: HashSet<String>,
    /// What an earlier run of the program did.
    pub replay: Option<Replay>,
    /// Whether the sender can leave out what is here already. Otherwise everything comes, and
    /// what is equal is found out when it is complete.
    pub compares: bool,
}

impl Rules {
    /// Removes the partial files that an earlier run left. Blocking.
    pub fn discard_parts(&self) {
        for (name, record) in self.replay.iter().flat_map(|replay| &replay.parts) {
            let Ok(path) = SafePath::parse(name) else {
                continue;
            };
            if let Ok(Some(part)) = Part::reopen(&self.folder, &path, &record.tag)
                && let Err(error) = part.discard()
            {
                tracing::warn!(%error, "a partial file cannot be removed");
            }
        }
    }
}

/// What to do with one entry.
#[derive(Debug)]
pub enum Verdict {
    /// Let it come.
    Send,
    /// See first what there is of it.
    Check(Check),
    /// A part of it is at hand.
    Begun(FileIndex),
    /// Its name is taken by different content: the person is asked.
    Ask(FileIndex, Rival),
    /// It is settled without its content coming.
    Settle(Receipt),
}

/// Something on disk that may spare sending.
#[derive(Debug)]
pub struct Check {
    /// The entry.
    pub index: FileIndex,
    /// Its place.
    pub path: SafePath,
    /// Its size in the offer.
    pub size: u64,
    /// What an earlier run left, otherwise a finished file of that name is looked at.
    pub part: Option<PartRecord>,
}

impl Verdict {
    /// What the sender is told.
    pub fn action(&self) -> PlanAction {
        match self {
            Self::Send => PlanAction::Send,
            Self::Check(_) | Self::Begun(_) | Self::Ask(..) => PlanAction::Hold,
            Self::Settle(_) => PlanAction::Skip,
        }
    }
}

/// Decides about entries, one after the other.
#[derive(Debug)]
pub struct Planner<'a> {
    rules: &'a Rules,
    looks: Looks<'a>,
}

impl<'a> Planner<'a> {
    /// Goes by `rules`.
    pub fn new(rules: &'a Rules) -> Self {
        Self {
            rules,
            looks: rules.folder.looks(),
        }
    }

    /// Decides about one entry; makes folders and links at once. `policy` is what happens if its
    /// name is taken: that of the rules, or what the person said about this one.
    pub fn plan(&mut self, index: FileIndex, entry: &Entry, policy: ConflictPolicy) -> Verdict {
        let rules = self.rules;
        let settle = |outcome, saved_as, hash| {
            Verdict::Settle(Receipt {
                index,
                outcome,
                saved_as,
                hash,
            })
        };
        let top = entry.path.split('/').next().unwrap_or(&entry.path);
        if rules.excluded.contains(top) {
            return settle(Outcome::Skipped, None, None);
        }
        if let Some(done) = rules.replay.as_ref().and_then(|r| r.done.get(&entry.path)) {
            return settle(done.outcome, done.saved_as.clone(), done.hash);
        }
        let Ok(path) = SafePath::parse(&entry.path) else {
            return settle(Outcome::Failed(SinkFault::Name), None, None);
        };
        let saved_as = (path.as_str() != entry.path).then(|| path.as_str().to_owned());
        match &entry.kind {
            EntryKind::Folder { .. } => {
                settle(made(rules.folder.make_folder(&path)), saved_as, None)
            }
            EntryKind::Symlink { target } => {
                settle(link(&rules.folder, &path, target), saved_as, None)
            }
            EntryKind::File { size, .. } => {
                let part = rules.replay.as_ref().and_then(|r| r.parts.get(&entry.path));
                match part {
                    Some(part) => Verdict::Check(Check {
                        index,
                        path,
                        size: *size,
                        part: Some(part.clone()),
                    }),
                    None => self.plan_file(index, path, *size, policy),
                }
            }
        }
    }

    fn plan_file(
        &mut self,
        index: FileIndex,
        path: SafePath,
        size: u64,
        policy: ConflictPolicy,
    ) -> Verdict {
        let settle = |outcome| {
            Verdict::Settle(Receipt {
                index,
                outcome,
                saved_as: None,
                hash: None,
            })
        };
        let found = match self.looks.look(&path) {
            Ok(found) => found,
            Err(error) => {
                tracing::debug!(%error, "the place of a file cannot be looked at");
                return settle(Outcome::Failed(SinkFault::CannotWrite));
            }
        };
        match (found, policy) {
            (Existing::Nothing, _) => Verdict::Send,
            // What comes anyway is compared, and asked about, when it is complete.
            (Existing::File { size: there, .. }, policy)
                if !self.rules.compares && (there == size || policy == ConflictPolicy::Ask) =>
            {
                Verdict::Send
            }
            (Existing::File { size: there, .. }, _) if there == size => Verdict::Check(Check {
                index,
                path,
                size,
                part: None,
            }),
            // Of another size, it cannot be the same: no byte need come before the answer.
            (Existing::File { size, modified }, ConflictPolicy::Ask) => {
                Verdict::Ask(index, Rival::new(&self.rules.folder, &path, size, modified))
            }
            (_, ConflictPolicy::Skip) => settle(Outcome::Skipped),
            (_, ConflictPolicy::Fail) => settle(Outcome::Failed(SinkFault::Exists)),
            (_, ConflictPolicy::Rename | ConflictPolicy::Overwrite | ConflictPolicy::Ask) => {
                Verdict::Send
            }
        }
    }
}

fn made(result: io::Result<()>) -> Outcome {
    match result {
        Ok(()) => Outcome::New,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            Outcome::Failed(SinkFault::Exists)
        }
        Err(_) => Outcome::Failed(SinkFault::CannotWrite),
    }
}

fn link(folder: &Folder, path: &SafePath, target: &str) -> Outcome {
    if !is_safe_link_target(path, target) {
        return Outcome::Failed(SinkFault::Name);
    }
    match folder.make_symlink(path, target) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Outcome::Identical,
        other => made(other),
    }
}

/// Consecutive entries with the same action, as the protocol wants them.
pub fn runs(actions: impl Iterator<Item = PlanAction>) -> Vec<PlanRun> {
    let mut runs: Vec<PlanRun> = Vec::new();
    for action in actions {
        match runs.last_mut() {
            Some(run) if run.action == action => run.count += 1,
            Some(_) | None => runs.push(PlanRun { count: 1, action }),
        }
    }
    runs
}

/// The tag of an entry's partial file: unique in the folder.
pub fn part_tag(transfer: TransferId, index: FileIndex) -> String {
    let mut id = transfer.to_string();
    id.truncate(8);
    format!("{id}-{index}")
}

/// Finds out what there is of a file. Ends early, with less, once `go_on` says no.
pub fn check(check: &Check, folder: &Folder, tag: String, go_on: &dyn Fn() -> bool) -> Partial {
    let found = match &check.part {
        Some(record) => reopen(check, record, folder, go_on),
        None => hash_existing(check, folder, &tag, go_on),
    };
    match found {
        Ok(Some(partial)) => partial,
        Ok(None) => Partial::new(tag),
        Err(error) => {
            tracing::debug!(%error, "what is there of a file cannot be used");
            Partial::new(tag)
        }
    }
}

fn reopen(
    check: &Check,
    record: &PartRecord,
    folder: &Folder,
    go_on: &dyn Fn() -> bool,
) -> io::Result<Option<Partial>> {
    let Some(part) = Part::reopen(folder, &check.path, &record.tag)? else {
        return Ok(None);
    };
    let mut groups = record.groups.clone();
    groups.retain(|&number, _| number < group_count(record.size));
    // The journal counts only for the file that it was written for, as it was then.
    if part.identity()? != record.part {
        keep_intact(&part, record.size, &mut groups, go_on)?;
    }
    Ok(Some(Partial {
        tag: record.tag.clone(),
        stamp: Some(record.stamp),
        size: record.size,
        groups,
        place: Place::Part(part.into()),
        damage: Damage::default(),
        asked: BTreeSet::new(),
    }))
}

fn keep_intact(
    part: &Part,
    size: u64,
    groups: &mut BTreeMap<u32, Hash>,
    go_on: &dyn Fn() -> bool,
) -> io::Result<()> {
    let mut buffer = vec![0; GROUP_LEN as usize];
    let there = part.identity()?.size;
    let mut on = true;
    groups.retain(|&number, hash| {
        on = on && go_on();
        let (offset, len) = (group_offset(number), group_len(size, number));
        let content = buffer.get_mut(..len as usize).unwrap_or_default();
        let whole = on && offset + len <= there && part.read_at(offset, content).is_ok();
        whole && hash_group(size, number, content) == *hash
    });
    match on {
        true => Ok(()),
        false => Err(stopped()),
    }
}

fn stopped() -> io::Error {
    io::Error::new(io::ErrorKind::Interrupted, "not wanted any more")
}

fn hash_existing(
    check: &Check,
    folder: &Folder,
    tag: &str,
    go_on: &dyn Fn() -> bool,
) -> io::Result<Option<Partial>> {
    let file = folder.open_file(&check.path)?;
    let mut buffer = vec![0; GROUP_LEN.min(check.size) as usize];
    let mut groups = BTreeMap::new();
    for number in 0..group_count(check.size) {
        if !go_on() {
            return Err(stopped());
        }
        let len = group_len(check.size, number) as usize;
        let content = buffer.get_mut(..len).unwrap_or_default();
        if !read_exact_at(&file, content, group_offset(number))? {
            return Ok(None);
        }
        groups.insert(number, hash_group(check.size, number, content));
    }
    Ok(Some(Partial {
        tag: tag.to_owned(),
        stamp: None,
        size: check.size,
        groups,
        place: Place::Existing(check.path.clone()),
        damage: Damage::default(),
        asked: BTreeSet::new(),
    }))
}

/// The times that the folders of a finished transfer should have. Set last, because every file
/// that is put into a folder changes its time.
pub fn folder_times(table: &FileTable) -> Vec<(SafePath, Timestamp)> {
    // Children come after their parents: from the end, so that setting a child's time is over
    // before its parent's is set.
    let entries = (0..table.len())
        .rev()
        .filter_map(|index| table.entry(index));
    entries
        .filter_map(|entry| match entry.kind {
            EntryKind::Folder { modified } => Some((SafePath::parse(&entry.path).ok()?, modified)),
            EntryKind::File { .. } | EntryKind::Symlink { .. } => None,
        })
        .collect()
}
