//! Settings: each field's documentation is its meaning, `Default` its value and the reason.

use serde::{Deserialize, Serialize};

/// What happens when a name is taken by different content. Equal content is never a conflict.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, clap::ValueEnum,
)]
#[serde(rename_all = "kebab-case")]
pub enum ConflictPolicy {
    /// Keep both: the new one becomes `name (1).ext`.
    #[default]
    Rename,
    /// Keep the old one, do not take the new one.
    Skip,
    /// Put the new one in place of the old one, once it is complete and verified.
    Overwrite,
    /// Fail this file.
    Fail,
}
