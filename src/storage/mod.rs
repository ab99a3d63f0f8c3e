//! Disk: safe names, the download folder, partial files, journals, sources, and the database.
//!
//! Everything here blocks; the layers above decide on which thread it runs. What a peer says
//! reaches the disk only as a [`name::SafePath`] below a [`folder::Folder`].

pub mod confine;
pub mod file_looks;
pub mod folder;
pub mod journal;
pub mod name;
pub mod part;
pub mod path_bytes;
pub mod publish;
pub mod record_file;
pub mod refusal;
pub mod room;
pub mod scan;
pub mod scratch;
pub mod source;
pub mod store;
