//! Files that we read back: damaged by a crash, a disk or a person.

use std::cell::RefCell;

use peerconnect::config::{Paths, Settings};
use peerconnect::protocol::message::TransferId;
use peerconnect::storage::journal::{self, Journal, MAGIC, Record};
use peerconnect::storage::record_file;
use peerconnect::transfer::kept_will::KeptWill;
use peerconnect::transfer::shelf;
use tempfile::TempDir;

/// A folder in memory, where there is such a place.
pub fn scratch() -> TempDir {
    let memory = std::path::Path::new("/dev/shm");
    let made = match memory.is_dir() {
        true => tempfile::tempdir_in(memory),
        false => tempfile::tempdir(),
    };
    made.expect("a temporary folder")
}

thread_local! {
    static DIR: RefCell<TempDir> = RefCell::new(scratch());
}

const ID: TransferId = TransferId([7; 16]);

/// Any bytes as a journal: it opens or it does not, and takes records after the damage.
pub fn journal(data: &[u8]) {
    DIR.with_borrow(|dir| {
        let file = dir.path().join(format!("{ID}.journal"));
        // The fuzzer need not find the magic.
        let bytes = match data.split_first() {
            Some((0, rest)) => rest.to_vec(),
            _ => [&MAGIC[..], &with_checks(data)].concat(),
        };
        std::fs::write(&file, bytes).expect("a file in memory");
        let _ = journal::list(dir.path());
        let Ok(Some((mut journal, _, before))) = Journal::open(dir.path(), ID) else {
            return;
        };
        journal.append(&[Record::Complete]).expect("append");
        drop(journal);
        let (_, _, after) = Journal::open(dir.path(), ID)
            .expect("open")
            .expect("what was a journal");
        assert!(after.complete);
        assert_eq!((before.done, before.parts), (after.done, after.parts));
    });
}

/// Any bytes as what is kept for the next start of the program: all of it counts, or nothing.
pub fn kept(data: &[u8]) {
    DIR.with_borrow(|dir| {
        let file = |kind: &str| dir.path().join(format!("{ID}.{kind}"));
        let bytes = |magic: &[u8]| [magic, &with_checks(data)].concat();
        std::fs::write(file("will"), bytes(b"pcwill\0\x01")).expect("a file in memory");
        let _ = KeptWill::load(dir.path(), ID);
        std::fs::write(file("shelf"), bytes(b"pcshlf\0\x01")).expect("a file in memory");
        let _ = shelf::kept::load(dir.path(), 0, 9);
    });
}

/// Records with good checksums around pieces of the data: damage behind the checksum.
fn with_checks(data: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = data;
    while let Some((len, more)) = rest.split_first() {
        let (payload, more) = more.split_at((*len as usize).min(more.len()));
        out.extend_from_slice(&(payload.len() as u32).to_be_bytes());
        out.extend_from_slice(&record_file::checksum(payload));
        out.extend_from_slice(payload);
        rest = more;
    }
    out
}

/// Any text as a settings file: an error with its place, or settings that survive saving.
pub fn settings(data: &[u8]) {
    DIR.with_borrow(|dir| {
        let paths = Paths::below(dir.path());
        std::fs::write(paths.settings_file(), data).expect("a file in memory");
        let Ok(settings) = Settings::load(&paths) else {
            return;
        };
        settings.save(&paths).expect("saved");
        let again = Settings::load(&paths).expect("what was saved");
        assert_eq!(settings, again);
    });
}
