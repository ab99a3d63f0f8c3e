//! Everything that can go wrong in a way people must know about, with the words for it.
//!
//! This is the one place that makes words out of errors: each [`Fault`] has a stable slug, an
//! exit code and a text that says what happened, what is known and what to do now.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

mod code;
mod file;
mod original;
mod route;
mod words;

pub use self::code::CodeTrouble;
pub use self::original::Trouble;
use self::route::no_route;
pub use self::route::{Direct, RelayTried, RouterTried, Tried};
use self::words::{
    declined, identity_changed, incomplete, no_links, no_texts, peer_room, same_identity, source,
    text_lost, version,
};
use crate::peer::PeerId;
use crate::protocol::message::{DeclineReason, Room, SourceFault};
use crate::text::{Shown, bytes, duration};

/// What went wrong, classed by who has to act.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Fault {
    /// Nothing answers at any address of the peer.
    PeerOffline {
        /// Name or address that was dialled.
        peer: String,
    },
    /// The peer exists but does not let us in.
    PeerFirewall {
        /// Name or address that was dialled.
        peer: String,
        /// Our port, which is what its owner must open.
        port: u16,
    },
    /// There is no way to the peer from here.
    NoRoute {
        /// Name or address that was dialled.
        peer: String,
        /// What was tried.
        #[serde(default)]
        tried: Tried,
    },
    /// Another key answered than the one we know for this peer.
    IdentityChanged {
        /// Name or address that was dialled.
        peer: String,
        /// Whose key it is. Connected afterwards, if it wants to be, so that the three words can
        /// be compared.
        #[serde(default)]
        got: Option<PeerId>,
    },
    /// Another computer has the same key as this one.
    SameIdentity {
        /// Name or address that was dialled.
        peer: String,
    },
    /// The peer does not want to talk to us.
    Refused {
        /// Name of the peer.
        peer: String,
    },
    /// The receiver said no.
    Declined {
        /// Name of the receiver.
        peer: String,
        /// Why.
        reason: DeclineReason,
    },
    /// The receiver cannot take the files as things are; its person is being asked meanwhile.
    PeerRoom {
        /// Name of the receiver.
        peer: String,
        /// What is missing.
        room: Room,
    },
    /// Nobody answered the question.
    NoAnswer {
        /// Name of the receiver.
        peer: String,
        /// Seconds that were waited.
        seconds: u64,
    },
    /// What was offered here was declined, or nobody answered in time.
    NotTaken {
        /// Name of the sender.
        peer: String,
    },
    /// The other side cancelled.
    CancelledByPeer {
        /// Name of the peer.
        peer: String,
    },
    /// We cancelled.
    Cancelled,
    /// The connection broke and did not come back in time.
    Lost {
        /// Name of the peer.
        peer: String,
        /// Bytes that are safe.
        kept: u64,
        /// Bytes of the whole transfer.
        total: u64,
    },
    /// A transfer of an original ended in the middle; nothing of the kind can be continued.
    Incomplete {
        /// Name of the peer.
        peer: String,
        /// Bytes of files that are complete.
        kept: u64,
    },
    /// The disk has not enough room.
    DiskFull {
        /// The folder that the files should go to.
        #[serde(with = "crate::text::path")]
        folder: PathBuf,
        /// Bytes needed.
        needed: u64,
        /// Bytes free.
        free: u64,
    },
    /// A folder or file cannot be written.
    CannotWrite {
        /// Which.
        #[serde(with = "crate::text::path")]
        path: PathBuf,
        /// What the system said, in plain words.
        why: String,
    },
    /// The name is taken by different content, and the person wants a failure then.
    NameExists {
        /// Path below the folder.
        path: String,
    },
    /// A peer's name for a file cannot be used.
    BadName {
        /// The name as sent.
        name: String,
    },
    /// A file to send is missing, unreadable or changing.
    Source {
        /// Which.
        path: String,
        /// How.
        reason: SourceFault,
    },
    /// A file arrived damaged again and again.
    VerifyFailed {
        /// Path below the folder.
        path: String,
    },
    /// Some files did not arrive.
    SomeFailed {
        /// How many.
        failed: u32,
        /// Of how many.
        files: u32,
    },
    /// Something that only happens with originals.
    Original {
        /// Its name.
        peer: String,
        /// What happened.
        trouble: Trouble,
    },
    /// Something about a one-time code.
    Code {
        /// What happened.
        trouble: CodeTrouble,
    },
    /// The two programs do not understand each other.
    Version {
        /// Name of the peer.
        peer: String,
        /// Whether the peer is newer than we are; `None` if that is not known.
        peer_is_newer: Option<bool>,
        /// Where a program of the original's kind is instead (`legacy:IP`): it can be sent to, but
        /// not encrypted.
        #[serde(default)]
        original: Option<String>,
    },
    /// The program at the other side takes no texts.
    NoTexts {
        /// Name of the peer.
        peer: String,
    },
    /// The program at the other side takes no links between files.
    NoLinks {
        /// Name of the link, as it was to be sent.
        path: String,
    },
    /// The connection broke before the other side said that it has the text.
    TextLost {
        /// Name of the peer.
        peer: String,
    },
    /// The peer broke the protocol.
    Misbehaved {
        /// Name of the peer.
        peer: String,
        /// The offence, in words.
        offence: String,
    },
    /// A port that was asked for is taken.
    PortInUse {
        /// Which port.
        port: u16,
    },
    /// The command names no transfer, peer or file that exists, or more than one.
    NotFound {
        /// What was asked for.
        what: String,
    },
    /// The request makes no sense now.
    Invalid {
        /// Why, as a sentence without a full stop.
        why: String,
    },
    /// A fault of this program or of the system under it.
    Internal {
        /// What is known.
        what: String,
    },
}

/// Where words about a fault are read: what to do now is something else in a window than at a
/// prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Face {
    /// The command line, and the log.
    CommandLine,
    /// The window.
    Window,
}

impl Face {
    fn pick(self, command_line: String, window: String) -> String {
        match self {
            Self::CommandLine => command_line,
            Self::Window => window,
        }
    }
}

/// A fault in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Words {
    /// What happened: one line of at most 80 characters where names allow it.
    pub title: String,
    /// What is known and what has been kept. May be empty.
    pub detail: String,
    /// What to do now. May be empty.
    pub hint: String,
}

impl Fault {
    /// Stable name for scripts (`code` in JSON).
    pub fn slug(&self) -> &'static str {
        self.row().0
    }

    /// Exit code of the command line.
    pub fn exit_code(&self) -> u8 {
        self.row().1
    }

    /// Whether the same command may work later without anything being changed.
    pub fn is_retryable(&self) -> bool {
        if let Self::Original { trouble, .. } = self {
            return trouble.is_retryable();
        }
        if let Self::Code { trouble } = self {
            return trouble.is_retryable();
        }
        matches!(
            self,
            Self::PeerOffline { .. }
                | Self::NoAnswer { .. }
                | Self::Lost { .. }
                | Self::TextLost { .. }
                | Self::PeerRoom { .. }
                | Self::NoRoute { .. }
        )
    }

    fn row(&self) -> (&'static str, u8) {
        match self {
            Self::PeerOffline { .. } => ("peer-offline", 3),
            Self::PeerFirewall { .. } => ("peer-firewall", 4),
            Self::NoRoute { .. } => ("no-route", 4),
            Self::IdentityChanged { .. } => ("identity-changed", 5),
            Self::SameIdentity { .. } => ("same-identity", 5),
            Self::Refused { .. } => ("refused", 5),
            Self::Declined { reason, .. } => match reason {
                DeclineReason::NoRoom { .. } => ("disk-full", 9),
                DeclineReason::NotWritable => ("cannot-write", 10),
                DeclineReason::NoAnswer => ("no-answer", 7),
                DeclineReason::Person | DeclineReason::Busy => ("declined", 6),
            },
            Self::PeerRoom { room, .. } => match room {
                Room::Fits | Room::Missing { .. } | Room::NoInodes => ("disk-full", 9),
                Room::NotWritable => ("cannot-write", 10),
            },
            Self::NoAnswer { .. } => ("no-answer", 7),
            Self::NotTaken { .. } => ("not-taken", 6),
            Self::CancelledByPeer { .. } => ("cancelled-by-peer", 6),
            Self::Cancelled => ("cancelled", 130),
            Self::Lost { .. } => ("lost", 8),
            Self::Incomplete { .. } => ("incomplete", 8),
            Self::Original { trouble, .. } => trouble.row(),
            Self::Code { trouble } => trouble.row(),
            Self::DiskFull { .. } => ("disk-full", 9),
            Self::CannotWrite { .. } => ("cannot-write", 10),
            Self::NameExists { .. } => ("name-exists", 13),
            Self::BadName { .. } => ("bad-name", 10),
            Self::Source { reason, .. } => match reason {
                SourceFault::Missing => ("source-missing", 11),
                SourceFault::Unreadable => ("source-unreadable", 11),
                SourceFault::Changing => ("source-changed", 11),
                SourceFault::Io => ("source-error", 11),
            },
            Self::VerifyFailed { .. } => ("verify-failed", 12),
            Self::SomeFailed { .. } => ("some-failed", 14),
            Self::Version { .. } => ("version", 15),
            Self::NoTexts { .. } => ("no-texts", 15),
            Self::NoLinks { .. } => ("no-links", 15),
            Self::TextLost { .. } => ("lost", 8),
            Self::Misbehaved { .. } => ("misbehaved", 1),
            Self::PortInUse { .. } => ("port-in-use", 4),
            Self::NotFound { .. } => ("not-found", 2),
            Self::Invalid { .. } => ("invalid", 2),
            Self::Internal { .. } => ("internal", 1),
        }
    }

    /// The words for people who read them there.
    pub fn words(&self, face: Face) -> Words {
        let (title, detail, hint) = self.sentences(face);
        Words {
            title,
            detail: detail.to_owned(),
            hint,
        }
    }

    fn sentences(&self, face: Face) -> (String, String, String) {
        let none = String::new;
        match self {
            Self::PeerOffline { peer } => (
                format!("{} is not reachable.", Shown(peer)),
                none(),
                "Ask its owner to open PeerConnect and wake the computer.".into(),
            ),
            Self::PeerFirewall { peer, port } => (
                format!("{} is there but blocks incoming connections.", Shown(peer)),
                format!("It is heard, but does not answer on UDP {port}."),
                format!(
                    "On that computer: Windows: allow PeerConnect for Private networks; \
                     Linux: sudo ufw allow {port}/udp."
                ),
            ),
            Self::NoRoute { peer, tried } => no_route(peer, tried, face),
            Self::IdentityChanged { peer, .. } => identity_changed(peer, face),
            Self::SameIdentity { peer } => same_identity(peer, face),
            Self::Refused { peer } => (
                format!("{} does not accept connections from you.", Shown(peer)),
                none(),
                none(),
            ),
            Self::Declined { peer, reason } => declined(peer, *reason),
            Self::PeerRoom { peer, room } => peer_room(peer, *room),
            Self::NoAnswer { peer, seconds } => (
                format!(
                    "Nobody answered on {} for {}.",
                    Shown(peer),
                    duration(*seconds)
                ),
                "Nothing was sent.".into(),
                "Send again when somebody is there.".into(),
            ),
            Self::NotTaken { peer } => (
                format!("What {} offered was not taken.", Shown(peer)),
                "It was declined here, or nobody answered in time.".into(),
                none(),
            ),
            Self::CancelledByPeer { peer } => (
                format!("{} cancelled.", Shown(peer)),
                "Files that arrived completely are kept.".into(),
                none(),
            ),
            Self::Cancelled => (
                "Cancelled.".into(),
                "Files that arrived completely are kept.".into(),
                none(),
            ),
            Self::Lost { peer, kept, total } => (
                format!("The connection to {} was lost.", Shown(peer)),
                format!("{} of {} are safe.", bytes(*kept), bytes(*total)),
                "It goes on where it stopped when both are online.".into(),
            ),
            Self::Incomplete { peer, kept } => incomplete(peer, *kept),
            Self::Original { peer, trouble } => trouble.sentences(peer),
            Self::Code { trouble } => trouble.sentences(face),
            Self::DiskFull {
                folder,
                needed,
                free,
            } => (
                format!("Not enough room in {}.", Shown(&folder.to_string_lossy())),
                format!("Needs {}, free {}.", bytes(*needed), bytes(*free)),
                "Choose another folder, or only some of the files.".into(),
            ),
            Self::CannotWrite { path, why } => (
                format!("Can't save in {}: {why}.", Shown(&path.to_string_lossy())),
                none(),
                "Choose another folder, or change its permissions.".into(),
            ),
            Self::NameExists { path } => (
                format!("\"{}\" is already there and differs.", Shown(path)),
                "It was left as it is.".into(),
                face.pick(
                    "Use --on-conflict rename to keep both.".into(),
                    "Rename one of the two, then send it again.".into(),
                ),
            ),
            Self::BadName { name } => (
                format!("The name \"{}\" cannot be used here.", Shown(name)),
                "The file was not saved.".into(),
                none(),
            ),
            Self::Source { path, reason } => source(path, *reason),
            Self::VerifyFailed { path } => (
                format!("\"{}\" doesn't arrive intact.", Shown(path)),
                "The same part was wrong 3 times; this points to bad memory or disk on one side. \
                 It was not saved under its name; all other files are fine."
                    .into(),
                "Try this file again.".into(),
            ),
            Self::SomeFailed { failed, files } => (
                format!("{failed} of {files} files did not arrive."),
                "All others are complete and verified.".into(),
                "Send the same files again: what has arrived is not sent twice.".into(),
            ),
            Self::Version {
                peer,
                peer_is_newer,
                original,
            } => version(peer, *peer_is_newer, original.as_deref(), face),
            Self::NoTexts { peer } => no_texts(peer),
            Self::NoLinks { path } => no_links(path),
            Self::TextLost { peer } => text_lost(peer),
            Self::Misbehaved { peer, offence } => (
                format!("{} sent something that makes no sense.", Shown(peer)),
                format!("The connection was closed ({}).", Shown(offence)),
                "If it is a friend's computer, update PeerConnect on both sides.".into(),
            ),
            Self::PortInUse { port } => (
                format!("Port {port} is used by another program."),
                none(),
                face.pick(
                    "Choose another one with --port, or --port 0 for any free one.".into(),
                    "Set another port in config.toml; 0 stands for any free one.".into(),
                ),
            ),
            Self::NotFound { what } => (format!("There is no {}.", Shown(what)), none(), none()),
            Self::Invalid { why } => (format!("{}.", Shown(why)), none(), none()),
            Self::Internal { what } => (
                format!("Something unexpected happened: {}.", Shown(what)),
                none(),
                face.pick(
                    "Please report this with the output of the same command and -v.".into(),
                    "Close PeerConnect and open it again. If that does not help, please report it."
                        .into(),
                ),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_never_tells_people_to_type_commands() {
        let peer = || String::from("anna");
        for fault in [
            Fault::IdentityChanged {
                peer: peer(),
                got: None,
            },
            Fault::SameIdentity { peer: peer() },
            Fault::NoRoute {
                peer: peer(),
                tried: Tried::default(),
            },
            Fault::Version {
                peer: peer(),
                peer_is_newer: Some(false),
                original: Some("legacy:10.0.0.2".into()),
            },
            Fault::NameExists { path: peer() },
            Fault::PortInUse { port: 1 },
            Fault::Internal { what: peer() },
        ] {
            let typed = |hint: &str| hint.contains(" -") || hint.contains("peerconnect ");
            assert!(typed(&fault.words(Face::CommandLine).hint), "{fault}");
            assert!(!typed(&fault.words(Face::Window).hint), "{fault:?}");
        }
    }
}
