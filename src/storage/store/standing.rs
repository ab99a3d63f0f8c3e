//! How far unfinished transfers are, for showing it before their peers are back.

use std::collections::HashMap;

use redb::{ReadableTable, TableDefinition};
use serde::{Deserialize, Serialize};

use super::{Store, StoreError, damaged, decode, encode};
use crate::protocol::message::TransferId;

pub(super) const STANDINGS: TableDefinition<'_, &[u8; 16], &[u8]> =
    TableDefinition::new("standings");

/// How far a transfer was when that was last written. What can be relied on is in its journal, or
/// at the receiver; this is only shown.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// Files.
    pub files: u32,
    /// Files that were settled well.
    pub files_done: u32,
    /// Bytes of all files.
    pub bytes: u64,
    /// Bytes that were at the receiver and verified.
    pub bytes_done: u64,
    /// How many entries there are at top level.
    pub top_count: u32,
    /// The first of them: name, files in it if it is a folder, bytes.
    pub tops: Vec<(String, Option<u32>, u64)>,
}

impl Store {
    /// Remembers how far a transfer is.
    pub fn put_standing(&self, id: TransferId, standing: &Standing) -> Result<(), StoreError> {
        let value = encode(standing)?;
        self.write(|t| {
            let mut table = t.open_table(STANDINGS).map_err(damaged)?;
            table.insert(&id.0, value.as_slice()).map_err(damaged)?;
            Ok(())
        })
    }

    /// Forgets how far a transfer is: it is over. Fine if nothing is remembered.
    pub fn remove_standing(&self, id: TransferId) -> Result<(), StoreError> {
        self.write(|t| {
            let mut table = t.open_table(STANDINGS).map_err(damaged)?;
            table.remove(&id.0).map_err(damaged)?;
            Ok(())
        })
    }

    /// How far all unfinished transfers were.
    pub fn standings(&self) -> Result<HashMap<TransferId, Standing>, StoreError> {
        let table = self.read()?.open_table(STANDINGS).map_err(damaged)?;
        let mut found = HashMap::new();
        for row in table.iter().map_err(damaged)? {
            let (key, value) = row.map_err(damaged)?;
            if let Some(standing) = decode("standings", value.value()) {
                found.insert(TransferId(*key.value()), standing);
            }
        }
        Ok(found)
    }
}
