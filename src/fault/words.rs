//! The longer words of faults.

use super::{Face, Fault, Words};
use crate::protocol::message::{DeclineReason, Room, SourceFault};
use crate::text::{Shown, bytes};

pub(super) fn incomplete(peer: &str, kept: u64) -> (String, String, String) {
    (
        format!("{} broke off in the middle.", Shown(peer)),
        format!(
            "{} in complete files are kept, the rest is not.",
            bytes(kept)
        ),
        "It runs an old version, which cannot continue. Ask for the rest again.".into(),
    )
}

pub(super) fn peer_room(peer: &str, room: Room) -> (String, String, String) {
    let peer = Shown(peer);
    let waiting = "It can be accepted as soon as there is room; nothing is lost.";
    let title = format!("{peer} has not enough room.");
    match room {
        Room::Fits => (format!("{peer} has room."), String::new(), String::new()),
        Room::Missing { needed, free } => (
            title,
            format!("Needs {}, free {}. {waiting}", bytes(needed), bytes(free)),
            String::new(),
        ),
        Room::NoInodes => (
            title,
            format!("Its disk cannot take so many files. {waiting}"),
            String::new(),
        ),
        Room::NotWritable => (
            format!("{peer} cannot save files in its download folder."),
            "Its owner may choose another one; nothing is lost.".into(),
            String::new(),
        ),
    }
}

pub(super) fn identity_changed(peer: &str, face: Face) -> (String, String, String) {
    let peer = Shown(peer);
    (
        format!("This is not the {peer} you know."),
        "Its key changed. That happens after reinstalling, or when someone else uses its name. \
         Nothing was sent."
            .into(),
        face.pick(
            format!(
                "If its owner reinstalled it: peerconnect peers forget {peer}, then connect again \
                 and compare the three words."
            ),
            "If its owner reinstalled it: try again, and compare the three words.".into(),
        ),
    )
}

pub(super) fn same_identity(peer: &str, face: Face) -> (String, String, String) {
    (
        "Another computer has the same identity as this one.".into(),
        format!(
            "{} proves the same key: a disk or folder was copied, perhaps. Nothing was sent.",
            Shown(peer)
        ),
        face.pick(
            "On one of the two: end PeerConnect, remove identity.key from its data folder \
             (peerconnect config --paths says where) and start it again. It counts as a new \
             device then."
                .into(),
            "Make a new identity on one of the two. It counts as a new device then: those that \
             know it compare the three words once more."
                .into(),
        ),
    )
}

pub(super) fn version(
    peer: &str,
    is_newer: Option<bool>,
    original: Option<&str>,
    face: Face,
) -> (String, String, String) {
    let peer = Shown(peer);
    let title = match (original, is_newer) {
        (Some(_), _) | (None, Some(false)) => format!("{peer} runs an older PeerConnect."),
        (None, Some(true)) => format!("{peer} runs a newer PeerConnect."),
        (None, None) => format!("{peer} speaks another version of PeerConnect."),
    };
    let Some(address) = original else {
        let hint = "Update the older of the two.".into();
        return (title, String::new(), hint);
    };
    (
        title,
        "It can receive, but without encryption and without resume: others in the network can \
         read along, and nobody can check who it is. Nothing was sent."
            .into(),
        face.pick(
            format!("Update it, or send unencrypted: --to {}", Shown(address)),
            "Update it, or send unencrypted this time.".into(),
        ),
    )
}

pub(super) fn source(path: &str, reason: SourceFault) -> (String, String, String) {
    let path = Shown(path);
    let others = String::from("Other files are not affected.");
    match reason {
        SourceFault::Missing => (
            format!("\"{path}\" is not there."),
            others,
            "Check the name; it may have been moved or deleted.".into(),
        ),
        SourceFault::Unreadable => (
            format!("\"{path}\" can't be read: no permission."),
            others,
            "Change its permissions, or leave it out.".into(),
        ),
        SourceFault::Changing => (
            format!("\"{path}\" was being changed while it was sent."),
            others,
            "Send it again when it's finished.".into(),
        ),
        SourceFault::Io => (
            format!("\"{path}\" can't be read: the disk reports an error."),
            others,
            "Check the disk it is on.".into(),
        ),
    }
}

pub(super) fn no_texts(peer: &str) -> (String, String, String) {
    let peer = Shown(peer);
    (
        format!("{peer} takes no texts: its PeerConnect is too old."),
        "Nothing was sent.".into(),
        "Update it, or send the text as a file.".into(),
    )
}

pub(super) fn no_links(path: &str) -> (String, String, String) {
    (
        format!("\"{}\" is a link, and old versions take none.", Shown(path)),
        "It was left out.".into(),
        "If what it points to is wanted there, send that as well.".into(),
    )
}

pub(super) fn text_lost(peer: &str) -> (String, String, String) {
    let peer = Shown(peer);
    (
        format!("The connection to {peer} was lost."),
        "It did not say that it has the text.".into(),
        "Ask whether it arrived, or send it again.".into(),
    )
}

impl std::fmt::Display for Words {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.title)?;
        for part in [&self.detail, &self.hint] {
            if !part.is_empty() {
                write!(f, " {part}")?;
            }
        }
        Ok(())
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.words(Face::CommandLine).fmt(f)
    }
}

impl std::error::Error for Fault {}

/// The receiver said no, for a reason.
pub(super) fn declined(peer: &str, reason: DeclineReason) -> (String, String, String) {
    let peer = Shown(peer);
    let nothing = String::from("Nothing was sent.");
    match reason {
        DeclineReason::Person => (format!("{peer} declined."), nothing, String::new()),
        DeclineReason::NoAnswer => (
            format!("Nobody answered on {peer}."),
            nothing,
            String::new(),
        ),
        DeclineReason::NoRoom { needed, free } => (
            format!("{peer} has not enough room."),
            format!("Needs {}, free {}. {nothing}", bytes(needed), bytes(free)),
            "Send only some of the files, or ask its owner to make room.".into(),
        ),
        DeclineReason::NotWritable => (
            format!("{peer} cannot save files in its download folder."),
            nothing,
            "Ask its owner to choose another folder.".into(),
        ),
        DeclineReason::Busy => (
            format!("{peer} has too many open questions."),
            nothing,
            "Try again in a while.".into(),
        ),
    }
}
