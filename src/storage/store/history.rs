//! What has ended: transfers and texts, newest first.

use std::io;
use std::path::PathBuf;

use redb::ReadableTable;
use serde::{Deserialize, Serialize};

use super::{HISTORY, Store, StoreError, VERSION, body, damaged, or_warn};
use crate::fault::Fault;
use crate::peer::Party;
use crate::protocol::message::TransferId;

/// Most finished transfers and texts that are remembered; the oldest go first.
pub const HISTORY_MAX: u64 = 10_000;

/// Bytes of a text that are remembered.
pub const TEXT_KEPT_MAX: usize = 4096;

/// Files and folders of a sending that are remembered, to send them again.
pub const SOURCES_KEPT_MAX: usize = 64;

/// Bytes of texts in one answer of [`Store::history`]; of older ones only that they were is given.
const TEXTS_READ_MAX: usize = 1024 * 1024;

impl Store {
    /// Adds a finished transfer; beyond [`HISTORY_MAX`] the oldest is forgotten.
    pub fn push_history(&self, record: &HistoryRecord) -> Result<(), StoreError> {
        let mut value = vec![VERSION];
        serde_json::to_writer(&mut value, &with_text_folder(record)).map_err(io::Error::from)?;
        self.write(|t| {
            let mut table = t.open_table(HISTORY).map_err(damaged)?;
            let last = table.last().map_err(damaged)?.map(|(key, _)| key.value());
            let next = last.map_or(0, |last| last.saturating_add(1));
            table.insert(next, value.as_slice()).map_err(damaged)?;
            let first_kept = (next + 1).saturating_sub(HISTORY_MAX);
            table
                .retain_in(..first_kept, |_, _| false)
                .map_err(damaged)?;
            Ok(())
        })
    }

    /// The last `count` finished transfers and texts, newest first. So much of texts would be more
    /// than an answer to another process holds that the oldest come without.
    pub fn history(&self, count: u32) -> Result<Vec<HistoryRecord>, StoreError> {
        let table = self.read()?.open_table(HISTORY).map_err(damaged)?;
        let mut records: Vec<HistoryRecord> = Vec::new();
        let mut room = TEXTS_READ_MAX;
        for row in table.iter().map_err(damaged)?.rev().take(count as usize) {
            let (_, value) = row.map_err(damaged)?;
            let record = body(value.value()).and_then(|v| serde_json::from_slice(v).ok());
            let mut record: Option<HistoryRecord> = or_warn("history", record);
            if let Some(text) = record.as_mut().and_then(|record| record.text.as_mut()) {
                match room.checked_sub(text.start.len()) {
                    Some(left) => room = left,
                    None => {
                        *text = TextRecord {
                            start: String::new(),
                            cut: true,
                        }
                    }
                }
            }
            records.extend(record);
        }
        Ok(records)
    }

    /// Forgets all finished transfers.
    pub fn clear_history(&self) -> Result<(), StoreError> {
        self.write(|t| {
            let mut table = t.open_table(HISTORY).map_err(damaged)?;
            table.retain(|_, _| false).map_err(damaged)?;
            Ok(())
        })
    }
}

/// The history is for showing, also as JSON: a folder that is not text becomes text.
fn with_text_folder(record: &HistoryRecord) -> HistoryRecord {
    let mut record = record.clone();
    record.folder = record
        .folder
        .map(|folder| PathBuf::from(folder.to_string_lossy().into_owned()));
    record
}

/// What is remembered of a text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TextRecord {
    /// The text, or its beginning: at most [`TEXT_KEPT_MAX`] bytes.
    pub start: String,
    /// Whether that is not all of it.
    pub cut: bool,
}

impl TextRecord {
    /// What of `text` is remembered.
    pub fn of(text: &str) -> Self {
        let start = text.get(..text.floor_char_boundary(TEXT_KEPT_MAX));
        let start = start.unwrap_or_default();
        Self {
            start: start.to_owned(),
            cut: start.len() < text.len(),
        }
    }
}

/// A transfer or text that has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryRecord {
    /// Which transfer.
    pub transfer: TransferId,
    /// Whether we sent.
    pub sent: bool,
    /// The peer, if there was contact.
    pub peer: Option<Party>,
    /// Its name then.
    pub peer_name: String,
    /// Names at top level, the first 20; a single file that came has the name that it got here.
    pub names: Vec<String>,
    /// What was sent, absolute; nothing if it was more than [`SOURCES_KEPT_MAX`].
    #[serde(
        default,
        with = "crate::text::paths",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub sources: Vec<PathBuf>,
    /// Where the files went; received ones only.
    #[serde(with = "crate::text::path_option")]
    pub folder: Option<PathBuf>,
    /// Files.
    pub files: u32,
    /// Bytes.
    pub bytes: u64,
    /// Files that failed.
    pub failed: u32,
    /// The text, if it is one and no transfer of files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<TextRecord>,
    /// Why it did not complete; `None` if it did.
    pub fault: Option<Fault>,
    /// When it started and ended, in seconds since 1970.
    pub started: u64,
    /// See `started`.
    pub ended: u64,
}
