//! What settings can be where only a few words make sense.

use std::fmt;

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
    /// Ask the person, file by file; where nobody can be asked, as `Rename`.
    Ask,
}

/// What a person says about a name that is taken by different content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum ConflictAnswer {
    /// Keep both: the new one becomes `name (1).ext`.
    KeepBoth,
    /// Put the new one in place of the old one, once it is complete and verified.
    Replace,
    /// Keep the old one, do not take the new one.
    Skip,
}

impl ConflictAnswer {
    /// The policy that does the same.
    pub fn policy(self) -> ConflictPolicy {
        match self {
            Self::KeepBoth => ConflictPolicy::Rename,
            Self::Replace => ConflictPolicy::Overwrite,
            Self::Skip => ConflictPolicy::Skip,
        }
    }
}

impl fmt::Display for ConflictPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rename => "rename",
            Self::Skip => "skip",
            Self::Overwrite => "overwrite",
            Self::Fail => "fail",
            Self::Ask => "ask",
        })
    }
}

/// Whether the router is asked to lead a port of its own to this computer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PortMapping {
    /// It is, while others are told that this computer is there.
    #[default]
    On,
    /// It is asked nothing.
    Off,
}

impl fmt::Display for PortMapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::On => "on",
            Self::Off => "off",
        })
    }
}

/// Whether peers are found by their keys in the DHT of BitTorrent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Dht {
    /// They are; and while others are told that this computer is there, who has its link finds it.
    On,
    /// Nothing is sent there.
    #[default]
    Off,
}

impl fmt::Display for Dht {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::On => "on",
            Self::Off => "off",
        })
    }
}

/// Whether this computer talks to programs of the original's kind, which encrypt nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LegacyMode {
    /// Both ways.
    #[default]
    On,
    /// Takes from them, and sends nothing to them.
    ReceiveOnly,
    /// Not at all: their ports stay closed.
    Off,
}

impl fmt::Display for LegacyMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::On => "on",
            Self::ReceiveOnly => "receive-only",
            Self::Off => "off",
        })
    }
}

/// What happens to the files of an original when nobody has answered within the 4 s that it waits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LegacyUnanswered {
    /// It is told yes, and what comes is kept aside, slowly and without a name, until a person
    /// decides.
    #[default]
    Hold,
    /// It is told no.
    Decline,
}

impl fmt::Display for LegacyUnanswered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hold => "hold",
            Self::Decline => "decline",
        })
    }
}

/// Who is told in the network that this computer is there.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, clap::ValueEnum,
)]
#[serde(rename_all = "kebab-case")]
pub enum Announce {
    /// Everybody in the same network.
    #[default]
    All,
    /// Nobody; and nobody is looked for, because looking tells as much.
    Never,
}

impl fmt::Display for Announce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::All => "all",
            Self::Never => "never",
        })
    }
}

/// Whether this computer passes on to others what a sender sends to all of them.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, clap::ValueEnum,
)]
#[serde(rename_all = "kebab-case")]
pub enum PassOn {
    /// To anybody who gets the same files.
    Always,
    /// In the local network only: elsewhere it may cost money.
    #[default]
    Local,
    /// To nobody.
    Never,
}

impl PassOn {
    /// Whether it is passed on to somebody who is `near`: in the local network.
    pub fn allows(self, near: bool) -> bool {
        match self {
            Self::Always => true,
            Self::Local => near,
            Self::Never => false,
        }
    }
}

impl fmt::Display for PassOn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Always => "always",
            Self::Local => "local",
            Self::Never => "never",
        })
    }
}
