//! Disk: safe names, the download folder, partial files, journals, sources, and the database.

pub mod store;
