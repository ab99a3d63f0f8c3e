//! Where the files of some peers go.

use std::path::{Path, PathBuf};

use redb::{ReadableTable, TableDefinition};

use super::{Store, StoreError, damaged, decode, encode};
use crate::peer::PeerId;
use crate::storage::path_bytes;

pub(super) const FOLDERS: TableDefinition<'_, &[u8; 32], &[u8]> =
    TableDefinition::new("peer_folders");

#[derive(serde::Serialize, serde::Deserialize)]
struct Kept(#[serde(with = "path_bytes::list")] Vec<PathBuf>);

impl Store {
    /// Remembers where the files of a peer go; `None` for where those of all go.
    pub fn put_folder(&self, peer: PeerId, folder: Option<&Path>) -> Result<(), StoreError> {
        let value = folder.map(|folder| encode(&Kept(vec![folder.to_owned()])));
        let value = value.transpose()?;
        self.write(|t| {
            let mut table = t.open_table(FOLDERS).map_err(damaged)?;
            match &value {
                Some(value) => table.insert(peer.as_bytes(), value.as_slice()),
                None => table.remove(peer.as_bytes()),
            }
            .map_err(damaged)?;
            Ok(())
        })
    }

    /// The peers whose files have a folder of their own.
    pub fn folders(&self) -> Result<Vec<(PeerId, PathBuf)>, StoreError> {
        let table = self.read()?.open_table(FOLDERS).map_err(damaged)?;
        let mut found = Vec::new();
        for row in table.iter().map_err(damaged)? {
            let (id, value) = row.map_err(damaged)?;
            let kept: Option<Kept> = decode("peer_folders", value.value());
            let folder = kept.and_then(|Kept(folders)| folders.into_iter().next());
            found.extend(folder.map(|folder| (PeerId::from_bytes(*id.value()), folder)));
        }
        Ok(found)
    }
}
