//! A table for those who need it only as long as others do.

use std::sync::{Arc, Mutex, Weak};

use super::{FileTable, SharedTable};

/// The same as a [`SharedTable`], but it does not keep the table.
#[derive(Debug, Clone, Default)]
pub struct WeakTable(Weak<Mutex<FileTable>>);

impl WeakTable {
    /// The table, if it is still there.
    pub fn get(&self) -> Option<SharedTable> {
        self.0.upgrade().map(SharedTable)
    }
}

impl SharedTable {
    /// For somebody who need not keep it.
    pub fn downgrade(&self) -> WeakTable {
        WeakTable(Arc::downgrade(&self.0))
    }
}
