//! What the system tells a person who does not look at the window: few words, nothing hostile.

use peerconnect::fault::{Face, Fault};
use peerconnect::node::api::TextSnapshot;
use peerconnect::text::{Shown, bytes};
use peerconnect::transfer::state::TransferState;
use peerconnect::transfer::status::{Conflict, Direction, TransferSnapshot};

use crate::words;

/// A notification of the system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// A line.
    pub title: String,
    /// What else there is to say; may be empty.
    pub body: String,
}

/// Somebody wants to send files.
pub(crate) fn offer(t: &TransferSnapshot) -> Note {
    let names = words::names(&t.top_names, t.top_count, 2);
    Note {
        title: format!("{} wants to send you files", Shown(&t.peer_name)),
        body: format!("{names} · {} · {}", words::files(t.files), bytes(t.bytes)),
    }
}

/// A name is taken.
pub(crate) fn conflict(t: &TransferSnapshot, conflict: &Conflict) -> Note {
    Note {
        title: format!("{} is already there and differs", Shown(&conflict.path)),
        body: format!("From {}. Your answer is needed.", Shown(&t.peer_name)),
    }
}

/// A text has come, or wants to. What is in it is nobody's business on a locked screen.
pub(crate) fn text(t: &TextSnapshot) -> Note {
    let who = Shown(&t.peer_name);
    Note {
        title: match t.is_question() {
            true => format!("{who} wants to send you a text"),
            false => format!("{who} sent you a text"),
        },
        body: String::new(),
    }
}

/// A transfer has ended; `None` if the person did that, or knows.
pub(crate) fn over(t: &TransferSnapshot) -> Option<Note> {
    let who = Shown(&t.peer_name);
    let sent = t.direction == Direction::Sending;
    let title = match t.state {
        TransferState::Completed if sent => format!("Delivered to {who}"),
        TransferState::Completed => format!("Arrived from {who}"),
        TransferState::Rejected | TransferState::Failed if t.accepted || sent => {
            t.fault.as_ref().map_or_else(
                || format!("The transfer with {who} failed"),
                |fault| fault.words(Face::Window).title,
            )
        }
        TransferState::Cancelled if t.fault != Some(Fault::Cancelled) => {
            format!("{who} cancelled")
        }
        TransferState::Rejected | TransferState::Failed | TransferState::Cancelled => return None,
        TransferState::Preparing
        | TransferState::Connecting
        | TransferState::AwaitingAnswer
        | TransferState::Transferring
        | TransferState::Paused
        | TransferState::Interrupted => return None,
    };
    let names = words::names(&t.top_names, t.top_count, 2);
    let failed = match t.files_failed {
        0 => String::new(),
        n => format!(" · {} did not arrive", words::files(n)),
    };
    let body = format!("{names} · {}{failed}", bytes(t.bytes_done));
    Some(Note { title, body })
}

/// Tells the system. Where there is nobody who shows notifications, nothing happens.
#[cfg(target_os = "linux")]
pub fn show(note: &Note) {
    if let Err(error) = call(note) {
        tracing::debug!(%error, "no notification");
    }
}

/// See there.
#[cfg(not(target_os = "linux"))]
pub(crate) fn show(_note: &Note) {}

#[cfg(target_os = "linux")]
fn call(note: &Note) -> zbus::Result<()> {
    use std::collections::HashMap;
    const NAME: &str = "org.freedesktop.Notifications";
    let no_buttons: [&str; 0] = [];
    let hints: HashMap<&str, zbus::zvariant::Value<'_>> =
        HashMap::from([("desktop-entry", "peerconnect".into())]);
    let (replaces, as_long_as_usual) = (0u32, -1i32);
    let arguments = (
        "PeerConnect",
        replaces,
        "peerconnect",
        note.title.as_str(),
        escaped(&note.body),
        no_buttons.as_slice(),
        hints,
        as_long_as_usual,
    );
    let bus = zbus::blocking::Connection::session()?;
    let path = "/org/freedesktop/Notifications";
    bus.call_method(Some(NAME), path, Some(NAME), "Notify", &arguments)?;
    Ok(())
}

/// The body of a notification may hold markup: names must not.
#[cfg(target_os = "linux")]
fn escaped(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    text.replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    #[cfg(target_os = "linux")]
    #[test]
    fn names_from_elsewhere_are_no_markup() {
        assert_eq!(escaped("<b>a & b</b>"), "&lt;b&gt;a &amp; b&lt;/b&gt;");
    }

    #[test]
    fn only_ends_that_a_person_does_not_know_of_are_told() {
        let ended = |state, fault| {
            let t = TransferSnapshot {
                state,
                fault,
                ..samples::receiving(1)
            };
            over(&t).map(|note| note.title)
        };
        let done = ended(TransferState::Completed, None);
        assert_eq!(done.as_deref(), Some("Arrived from Kitchen"));
        assert_eq!(
            ended(TransferState::Cancelled, Some(Fault::Cancelled)),
            None
        );
        assert_eq!(ended(TransferState::Transferring, None), None);
        let peer = "Kitchen".into();
        let gone = Fault::CancelledByPeer { peer };
        assert!(ended(TransferState::Cancelled, Some(gone)).is_some());
    }
}
