//! What a file looks like from outside: whether somebody has changed it since.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;

use serde::{Deserialize, Serialize};

/// What tells whether somebody has changed a finished file since.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileLooks {
    inode: u64,
    /// Size in bytes.
    pub size: u64,
    modified: (i64, i64),
}

impl FileLooks {
    /// Those of an open file.
    pub fn of(file: &File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        Ok(Self {
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        })
    }
}
