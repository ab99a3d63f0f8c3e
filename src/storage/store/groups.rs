//! Groups of peers.

use redb::{ReadableTable, TableDefinition};

use super::{GroupRecord, Store, StoreError, damaged, decode, encode};

pub(super) const GROUPS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("groups");

impl Store {
    /// Remembers a group, in place of one of the same name.
    pub fn put_group(&self, record: &GroupRecord) -> Result<(), StoreError> {
        let value = encode(record)?;
        self.write(|t| {
            let mut table = t.open_table(GROUPS).map_err(damaged)?;
            table
                .insert(key(&record.name).as_str(), value.as_slice())
                .map_err(damaged)?;
            Ok(())
        })
    }

    /// Forgets a group, not its members; fine if it is not there.
    pub fn remove_group(&self, name: &str) -> Result<(), StoreError> {
        self.write(|t| {
            let mut table = t.open_table(GROUPS).map_err(damaged)?;
            table.remove(key(name).as_str()).map_err(damaged)?;
            Ok(())
        })
    }

    /// Every group, by name.
    pub fn groups(&self) -> Result<Vec<GroupRecord>, StoreError> {
        let table = self.read()?.open_table(GROUPS).map_err(damaged)?;
        let mut records = Vec::new();
        for row in table.iter().map_err(damaged)? {
            let (_, value) = row.map_err(damaged)?;
            records.extend(decode("groups", value.value()));
        }
        Ok(records)
    }
}

fn key(name: &str) -> String {
    name.to_lowercase()
}
