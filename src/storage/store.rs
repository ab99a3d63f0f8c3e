//! What survives a restart besides incoming transfers: peers, the addresses they were typed with,
//! history, and what is on its way out, in an embedded database (redb).
//!
//! Values are a version byte and postcard; in the history JSON, because faults name their kinds
//! in the data, which postcard cannot read back. A value that cannot be read (damaged, or of a
//! version to come) is left out and logged; an address that cannot be read is an error instead,
//! because "not pinned" would let another key answer.

mod folders;
mod groups;
mod history;
mod records;
mod sessions;
mod standing;

use std::collections::HashMap;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;

use redb::{Database, DatabaseError, ReadableDatabase, ReadableTable, TableDefinition};
use rustix::fs::fsync;
use rustix::io::Errno;
use serde::Serialize;
use serde::de::DeserializeOwned;

use self::folders::FOLDERS;
use self::groups::GROUPS;
pub use self::history::{HISTORY_MAX, HistoryRecord, SOURCES_KEPT_MAX, TEXT_KEPT_MAX, TextRecord};
pub use self::records::{
    Accept, GroupRecord, MemberEnd, MemberRecord, OutgoingRecord, PeerRecord, SessionRecord, Wishes,
};
use self::sessions::SESSIONS;
pub use self::standing::Standing;
use super::folder::Dir;
use super::publish::rename_new;
use crate::peer::PeerId;
use crate::protocol::link_uri::RelayHint;
use crate::protocol::message::TransferId;

/// Name of the database in its folder.
pub const FILE_NAME: &str = "peerconnect.redb";

/// Name of a database that is being made: half of one must never stand in its place.
const NEW_NAME: &str = "peerconnect.redb.new";

/// First byte of every value.
const VERSION: u8 = 1;

/// Bytes of the database that are kept in memory: all of it, ordinarily.
const CACHE_LEN: usize = 4 * 1024 * 1024;

const PEERS: TableDefinition<'_, &[u8; 32], &[u8]> = TableDefinition::new("peers");
const RELAYS: TableDefinition<'_, &[u8; 32], &[u8]> = TableDefinition::new("relays");
const PINS: TableDefinition<'_, &str, &[u8; 32]> = TableDefinition::new("pins");
const HISTORY: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("history");
const OUTGOING: TableDefinition<'_, &[u8; 16], &[u8]> = TableDefinition::new("outgoing");
const WISHES: TableDefinition<'_, &[u8; 16], &[u8]> = TableDefinition::new("outgoing_wishes");

/// The open database. One process at a time has it; methods may be called from several threads.
/// Every change is durable when its method returns.
#[derive(Debug)]
pub struct Store(Database);

/// Why the database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has it open: a person should use that one.
    #[error("the database is open in another process")]
    InUse,
    /// Its file or folder cannot be read or written.
    #[error("cannot use the database: {0}")]
    Io(#[from] io::Error),
    /// What is in it makes no sense: it was damaged, or is of another version.
    #[error("the database is damaged: {0}")]
    Damaged(String),
}

impl Store {
    /// Opens the database in `dir`, and makes both if they are missing, for this user only.
    /// Checks it as a whole: after this, damage by others cannot surprise.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        let path = dir.join(FILE_NAME);
        if path.try_exists()? {
            return Self::open_file(&path);
        }
        let new = dir.join(NEW_NAME);
        let store = match Self::open_file(&new) {
            // What a first start left that was ended midway. Nothing can be in it.
            Err(StoreError::Damaged(_) | StoreError::Io(_)) if new.try_exists()? => {
                std::fs::remove_file(&new)?;
                Self::open_file(&new)?
            }
            opened => opened?,
        };
        // The lock stays with the file, so that nobody comes in between.
        let folder: Dir = Arc::new(File::open(dir)?.into());
        match rename_new(&folder, NEW_NAME, &folder, FILE_NAME) {
            Ok(()) => {
                fsync(&folder).map_err(io::Error::from)?;
                Ok(store)
            }
            // Another process was quicker.
            Err(Errno::EXIST) => {
                drop(store);
                std::fs::remove_file(&new)?;
                Self::open_file(&path)
            }
            Err(error) => Err(io::Error::from(error).into()),
        }
    }

    fn open_file(path: &Path) -> Result<Self, StoreError> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)?;
        if file.metadata()?.permissions().mode() & 0o077 != 0 {
            file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
        }
        drop(file);
        let database = Database::builder()
            .set_cache_size(CACHE_LEN)
            .set_check_integrity_on_open(true)
            .create(path)
            .map_err(opening)?;
        // Reading needs the tables to be there.
        let store = Self(database);
        store.write(|t| {
            t.open_table(PEERS).map_err(damaged)?;
            t.open_table(PINS).map_err(damaged)?;
            t.open_table(HISTORY).map_err(damaged)?;
            t.open_table(OUTGOING).map_err(damaged)?;
            t.open_table(WISHES).map_err(damaged)?;
            t.open_table(standing::STANDINGS).map_err(damaged)?;
            t.open_table(SESSIONS).map_err(damaged)?;
            t.open_table(GROUPS).map_err(damaged)?;
            t.open_table(RELAYS).map_err(damaged)?;
            t.open_table(FOLDERS).map_err(damaged)?;
            Ok(())
        })?;
        Ok(store)
    }

    /// Every peer that is remembered, in no particular order.
    pub fn peers(&self) -> Result<Vec<(PeerId, PeerRecord)>, StoreError> {
        let table = self.read()?.open_table(PEERS).map_err(damaged)?;
        let mut peers = Vec::new();
        for row in table.iter().map_err(damaged)? {
            let (id, value) = row.map_err(damaged)?;
            if let Some(record) = decode("peers", value.value()) {
                peers.push((PeerId::from_bytes(*id.value()), record));
            }
        }
        Ok(peers)
    }

    /// Remembers a peer, in place of what was remembered about it.
    pub fn put_peer(&self, id: PeerId, record: &PeerRecord) -> Result<(), StoreError> {
        let value = encode(record)?;
        self.write(|t| {
            let mut table = t.open_table(PEERS).map_err(damaged)?;
            table
                .insert(id.as_bytes(), value.as_slice())
                .map_err(damaged)?;
            Ok(())
        })
    }

    /// Where peers can be called, in no particular order.
    pub fn relays(&self) -> Result<Vec<(PeerId, Vec<RelayHint>)>, StoreError> {
        let table = self.read()?.open_table(RELAYS).map_err(damaged)?;
        let mut relays = Vec::new();
        for row in table.iter().map_err(damaged)? {
            let (id, value) = row.map_err(damaged)?;
            if let Some(hints) = decode("relays", value.value()) {
                relays.push((PeerId::from_bytes(*id.value()), hints));
            }
        }
        Ok(relays)
    }

    /// Remembers where a peer can be called, in place of what was remembered.
    pub fn put_relays(&self, id: PeerId, relays: &[RelayHint]) -> Result<(), StoreError> {
        let value = encode(&relays)?;
        self.write(|t| {
            let mut table = t.open_table(RELAYS).map_err(damaged)?;
            table
                .insert(id.as_bytes(), value.as_slice())
                .map_err(damaged)?;
            Ok(())
        })
    }

    /// Forgets a peer; its addresses are forgotten with [`Self::unpin_peer`].
    pub fn remove_peer(&self, id: PeerId) -> Result<(), StoreError> {
        self.write(|t| {
            let mut table = t.open_table(PEERS).map_err(damaged)?;
            table.remove(id.as_bytes()).map_err(damaged)?;
            let mut table = t.open_table(RELAYS).map_err(damaged)?;
            table.remove(id.as_bytes()).map_err(damaged)?;
            Ok(())
        })
    }

    /// Remembers that `address` (`host:port` as typed, upper or lower case) is this peer.
    pub fn pin_address(&self, address: &str, id: PeerId) -> Result<(), StoreError> {
        let address = address_key(address);
        self.write(|t| {
            let mut table = t.open_table(PINS).map_err(damaged)?;
            table
                .insert(address.as_str(), id.as_bytes())
                .map_err(damaged)?;
            Ok(())
        })
    }

    /// Who answered at `address` before.
    pub fn pinned(&self, address: &str) -> Result<Option<PeerId>, StoreError> {
        let table = self.read()?.open_table(PINS).map_err(damaged)?;
        let id = table
            .get(address_key(address).as_str())
            .map_err(damaged)?
            .map(|id| PeerId::from_bytes(*id.value()));
        Ok(id)
    }

    /// Forgets all addresses of a peer.
    pub fn unpin_peer(&self, id: PeerId) -> Result<(), StoreError> {
        self.write(|t| {
            let mut table = t.open_table(PINS).map_err(damaged)?;
            table
                .retain(|_, pinned| pinned != id.as_bytes())
                .map_err(damaged)?;
            Ok(())
        })
    }

    /// Remembers a transfer of ours, in place of what was remembered about it.
    pub fn put_outgoing(&self, record: &OutgoingRecord) -> Result<(), StoreError> {
        let value = encode(record)?;
        self.write(|t| {
            let mut table = t.open_table(OUTGOING).map_err(damaged)?;
            table
                .insert(&record.transfer.0, value.as_slice())
                .map_err(damaged)?;
            Ok(())
        })
    }

    /// Forgets a transfer of ours and the wishes about it; fine if it is not there.
    pub fn remove_outgoing(&self, transfer: TransferId) -> Result<(), StoreError> {
        self.write(|t| {
            for table in [OUTGOING, WISHES] {
                let mut table = t.open_table(table).map_err(damaged)?;
                table.remove(&transfer.0).map_err(damaged)?;
            }
            Ok(())
        })
    }

    /// Remembers what a person wants of a transfer of ours, or that there is nothing to remember.
    pub fn put_wishes(&self, transfer: TransferId, wishes: &Wishes) -> Result<(), StoreError> {
        let value = encode(wishes)?;
        self.write(|t| {
            let mut table = t.open_table(WISHES).map_err(damaged)?;
            if *wishes == Wishes::default() {
                table.remove(&transfer.0).map_err(damaged)?;
            } else {
                let value = value.as_slice();
                table.insert(&transfer.0, value).map_err(damaged)?;
            }
            Ok(())
        })
    }

    /// What a person wants of our unfinished transfers, where there is anything.
    pub fn wishes(&self) -> Result<HashMap<TransferId, Wishes>, StoreError> {
        let table = self.read()?.open_table(WISHES).map_err(damaged)?;
        let mut found = HashMap::new();
        for row in table.iter().map_err(damaged)? {
            let (key, value) = row.map_err(damaged)?;
            if let Some(wishes) = decode("outgoing_wishes", value.value()) {
                found.insert(TransferId(*key.value()), wishes);
            }
        }
        Ok(found)
    }

    /// Our unfinished transfers, oldest first.
    pub fn outgoing(&self) -> Result<Vec<OutgoingRecord>, StoreError> {
        let table = self.read()?.open_table(OUTGOING).map_err(damaged)?;
        let mut records: Vec<OutgoingRecord> = Vec::new();
        for row in table.iter().map_err(damaged)? {
            let (_, value) = row.map_err(damaged)?;
            records.extend(decode("outgoing", value.value()));
        }
        records.sort_by_key(|record| (record.created, record.transfer));
        Ok(records)
    }

    fn read(&self) -> Result<redb::ReadTransaction, StoreError> {
        self.0.begin_read().map_err(damaged)
    }

    /// Carries out `change` as one transaction: all of it, or nothing on error.
    fn write(
        &self,
        change: impl FnOnce(&redb::WriteTransaction) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let transaction = self.0.begin_write().map_err(damaged)?;
        change(&transaction)?;
        transaction.commit().map_err(damaged)
    }
}

fn opening(error: DatabaseError) -> StoreError {
    use DatabaseError::{DatabaseAlreadyOpen, LockProtocolMismatch};
    if matches!(error, DatabaseAlreadyOpen | LockProtocolMismatch) {
        StoreError::InUse
    } else {
        damaged(error)
    }
}

/// An error of the database in our terms.
fn damaged(error: impl Into<redb::Error>) -> StoreError {
    let error = error.into();
    if let redb::Error::Io(e) = error {
        StoreError::Io(e)
    } else {
        StoreError::Damaged(error.to_string())
    }
}

/// Host names are the same in upper and lower case.
fn address_key(address: &str) -> String {
    address.trim().to_lowercase()
}

fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, StoreError> {
    postcard::to_extend(value, vec![VERSION]).map_err(|e| StoreError::Io(io::Error::other(e)))
}

fn decode<T: DeserializeOwned>(table: &str, bytes: &[u8]) -> Option<T> {
    let value = match body(bytes).map(postcard::take_from_bytes) {
        Some(Ok((value, []))) => Some(value),
        Some(_) | None => None,
    };
    or_warn(table, value)
}

/// What follows the version byte, if it is ours.
fn body(bytes: &[u8]) -> Option<&[u8]> {
    match bytes.split_first() {
        Some((&VERSION, body)) => Some(body),
        Some(_) | None => None,
    }
}

fn or_warn<T>(table: &str, value: Option<T>) -> Option<T> {
    if value.is_none() {
        tracing::warn!(table, "left out a value that cannot be read");
    }
    value
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests;
