//! Sessions with several receivers.

use redb::{ReadableTable, TableDefinition};

use super::{SessionRecord, Store, StoreError, damaged, decode, encode};
use crate::protocol::message::TransferId;

pub(super) const SESSIONS: TableDefinition<'_, &[u8; 16], &[u8]> = TableDefinition::new("sessions");

impl Store {
    /// Remembers a session, in place of what was remembered about it.
    pub fn put_session(&self, record: &SessionRecord) -> Result<(), StoreError> {
        let value = encode(record)?;
        self.write(|t| {
            let mut table = t.open_table(SESSIONS).map_err(damaged)?;
            table
                .insert(&record.session.0, value.as_slice())
                .map_err(damaged)?;
            Ok(())
        })
    }

    /// Forgets a session, not its transfers; fine if it is not there.
    pub fn remove_session(&self, session: TransferId) -> Result<(), StoreError> {
        self.write(|t| {
            let mut table = t.open_table(SESSIONS).map_err(damaged)?;
            table.remove(&session.0).map_err(damaged)?;
            Ok(())
        })
    }

    /// Every session that is remembered, oldest first.
    pub fn sessions(&self) -> Result<Vec<SessionRecord>, StoreError> {
        let table = self.read()?.open_table(SESSIONS).map_err(damaged)?;
        let mut records: Vec<SessionRecord> = Vec::new();
        for row in table.iter().map_err(damaged)? {
            let (_, value) = row.map_err(damaged)?;
            records.extend(decode("sessions", value.value()));
        }
        records.sort_by_key(|record| (record.created, record.session));
        Ok(records)
    }
}
