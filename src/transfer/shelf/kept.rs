//! What a receiver of a session has to give, on disk: others may want it after its program was
//! started anew, when the sender is gone.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::*;
use crate::protocol::message::TransferId;
use crate::protocol::sessions::FeedingKey;
use crate::storage::path_bytes;
use crate::storage::record_file::{self, Format, Sink, Source as Records};

/// How long others may still want the files of a transfer that has ended.
pub const KEPT_FOR: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// Room for as many files as a shelf remembers.
const FORMAT: Format = Format {
    magic: b"pcshlf\0\x01",
    len_max: 64 * 1024 * 1024,
};
const SUFFIX: &str = "shelf";
/// Files that are looked at in the folder.
const LOOKED_AT_MAX: usize = 10_000;

#[derive(Debug, Serialize, Deserialize)]
struct Head {
    transfer: TransferId,
    key: FeedingKey,
    #[serde(with = "path_bytes")]
    folder: PathBuf,
    /// Seconds since 1970.
    ended: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Item {
    stamp: Stamp,
    path: String,
    looks: FileLooks,
}

/// A shelf of an earlier run.
#[derive(Debug)]
pub struct KeptShelf {
    /// The transfer that it is of.
    pub transfer: TransferId,
    /// What those show who may have something from it.
    pub key: FeedingKey,
    /// What is there.
    pub shelf: Arc<Shelf>,
    /// When the transfer ended, in seconds since 1970.
    pub ended: u64,
}

/// Writes what is there of a transfer that has ended. Blocking.
pub fn keep(
    shelf: &Shelf,
    dir: &Path,
    transfer: TransferId,
    key: FeedingKey,
    ended: u64,
) -> io::Result<()> {
    let finished = shelf.all_finished();
    let Some((_, first)) = finished.first() else {
        return Ok(());
    };
    let folder = first.folder.path().to_owned();
    record_file::write(&file(dir, transfer), FORMAT, |sink: &mut Sink| {
        sink.push(&Head {
            transfer,
            key,
            folder,
            ended,
        })?;
        finished.iter().try_for_each(|(stamp, finished)| {
            sink.push(&Item {
                stamp: *stamp,
                path: finished.path.as_str().to_owned(),
                looks: finished.looks,
            })
        })
    })
}

/// What was kept, latest first and at most `max`; what is older, or cannot be read, is removed.
/// Blocking.
pub fn load(dir: &Path, now: u64, max: usize) -> Vec<KeptShelf> {
    let files = std::fs::read_dir(dir).into_iter().flatten();
    let paths = files.take(LOOKED_AT_MAX).flatten().map(|file| file.path());
    let mut kept = Vec::new();
    for path in paths.filter(|path| path.extension().is_some_and(|e| e == SUFFIX)) {
        let name = path.file_stem().and_then(|stem| stem.to_str());
        let transfer = name.and_then(|name| name.parse().ok());
        match transfer.and_then(|transfer| load_one(&path, transfer, now)) {
            Some(shelf) => kept.push(shelf),
            None => remove(&path),
        }
    }
    kept.sort_by_key(|shelf| std::cmp::Reverse((shelf.ended, shelf.transfer)));
    for old in kept.drain(max.min(kept.len())..) {
        forget(dir, old.transfer);
    }
    kept
}

/// The files of this transfer are not given any more. Blocking.
pub fn forget(dir: &Path, transfer: TransferId) {
    remove(&file(dir, transfer));
}

fn remove(path: &Path) {
    if let Err(error) = record_file::remove(path) {
        tracing::warn!(%error, "the list of what others may have cannot be removed");
    }
}

fn load_one(path: &Path, transfer: TransferId, now: u64) -> Option<KeptShelf> {
    let mut records = Records::open(path, FORMAT).ok()??;
    let head = records.read::<Head>().ok()??;
    let is_old = now.saturating_sub(head.ended) > KEPT_FOR.as_secs();
    // A folder that is gone is not made again.
    if head.transfer != transfer || is_old || !head.folder.is_dir() {
        return None;
    }
    let folder = Folder::open(&head.folder).ok()?;
    let shelf = Shelf::default();
    {
        let mut inner = shelf.lock();
        inner.over = true;
        while let Some(item) = records.read::<Item>().ok()? {
            let finished = Finished {
                folder: folder.clone(),
                path: SafePath::parse(&item.path).ok()?,
                looks: item.looks,
            };
            let place = Place::Finished(finished.into());
            inner.put(item.stamp, item.looks.size, place);
        }
    }
    Some(KeptShelf {
        transfer,
        key: head.key,
        shelf: Arc::new(shelf),
        ended: head.ended,
    })
}

fn file(dir: &Path, transfer: TransferId) -> PathBuf {
    dir.join(format!("{transfer}.{SUFFIX}"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const ID: TransferId = TransferId([4; 16]);
    const KEY: FeedingKey = FeedingKey([5; 32]);
    const A: Stamp = Stamp([1; 16]);
    const B: Stamp = Stamp([2; 16]);

    /// A shelf with two files, one of which never came, in a folder beside the kept ones.
    fn kept(dir: &Path, ended: u64) -> PathBuf {
        let path = dir.join("in");
        let folder = Folder::open(&path).unwrap();
        std::fs::write(path.join("a"), b"content").unwrap();
        let shelf = Shelf::default();
        let name = SafePath::parse("a").unwrap();
        shelf.finished(A, &folder, &name).unwrap();
        shelf.never(B);
        keep(&shelf, &dir.join("kept"), ID, KEY, ended).unwrap();
        path
    }

    fn load_all(dir: &Path, now: u64, max: usize) -> Vec<KeptShelf> {
        load(&dir.join("kept"), now, max)
    }

    fn read(shelf: &Shelf) -> Option<Bytes> {
        match shelf.look(A, 0) {
            Look::Here(found) => found.read().unwrap(),
            Look::Later | Look::Gone => None,
        }
    }

    #[test]
    fn what_was_there_is_there_after_the_next_start_unless_somebody_has_changed_it() {
        let dir = tempfile::tempdir().unwrap();
        let folder = kept(dir.path(), 100);
        let found = load_all(dir.path(), 101, 9);
        let [shelf] = &found[..] else {
            unreachable!("{found:?}")
        };
        assert_eq!((shelf.transfer, shelf.key, shelf.ended), (ID, KEY, 100));
        assert_eq!(read(&shelf.shelf).unwrap(), "content");
        assert!(matches!(shelf.shelf.look(B, 0), Look::Gone));
        std::fs::write(folder.join("a"), b"another").unwrap();
        let later = std::fs::File::options().write(true).open(folder.join("a"));
        later.unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
        assert_eq!(read(&load_all(dir.path(), 101, 9)[0].shelf), None);
    }

    #[test]
    fn what_nobody_may_have_any_more_is_removed() {
        let too_old = KEPT_FOR.as_secs() + 1;
        let nothing: fn(&Path) = |_| {};
        let damage: fn(&Path) = |dir| {
            let path = file(&dir.join("kept"), ID);
            std::fs::write(path, b"pcshlf\0\x01 damaged").unwrap();
        };
        let lose: fn(&Path) = |dir| std::fs::remove_dir_all(dir.join("in")).unwrap();
        for (now, max, then) in [
            (100 + too_old, 9, nothing),
            (100, 0, nothing),
            (100, 9, damage),
            (100, 9, lose),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let folder = kept(dir.path(), 100);
            then(dir.path());
            assert_eq!(load_all(dir.path(), now, max).len(), 0);
            assert_eq!(
                std::fs::read_dir(dir.path().join("kept")).unwrap().count(),
                0
            );
            let was_lost = !folder.exists();
            assert_eq!(
                was_lost,
                then as usize == lose as usize,
                "it was made again"
            );
        }
    }
}
