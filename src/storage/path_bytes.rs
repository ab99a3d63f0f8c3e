//! Local paths in our own records. They are bytes on unix and need not be text, which serde's own
//! form for `PathBuf` insists on.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// One path; for `#[serde(with = "path_bytes")]`.
pub fn serialize<S: Serializer>(path: &Path, s: S) -> Result<S::Ok, S::Error> {
    to_bytes(path).serialize(s)
}

/// See [`serialize`].
pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<PathBuf, D::Error> {
    Vec::<u8>::deserialize(d).map(from_bytes)
}

/// Several paths; for `#[serde(with = "path_bytes::list")]`.
pub mod list {
    use super::{Deserialize, Deserializer, PathBuf, Serializer, from_bytes, to_bytes};

    /// See [`super::serialize`].
    pub fn serialize<S: Serializer>(paths: &[PathBuf], s: S) -> Result<S::Ok, S::Error> {
        s.collect_seq(paths.iter().map(|path| to_bytes(path)))
    }

    /// See [`super::serialize`].
    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<PathBuf>, D::Error> {
        let paths = Vec::<Vec<u8>>::deserialize(d)?;
        Ok(paths.into_iter().map(from_bytes).collect())
    }
}

#[cfg(unix)]
fn to_bytes(path: &Path) -> &[u8] {
    use std::os::unix::ffi::OsStrExt;
    path.as_os_str().as_bytes()
}

#[cfg(unix)]
fn from_bytes(bytes: Vec<u8>) -> PathBuf {
    use std::os::unix::ffi::OsStringExt;
    PathBuf::from(OsString::from_vec(bytes))
}
