//! What the system tells a person who does not look at the window: few words, nothing hostile.

use std::sync::Arc;

use peerconnect::fault::{Face, Fault};
use peerconnect::node::api::{Command, Decision, Overview, TextSnapshot};
use peerconnect::protocol::message::TransferId;
use peerconnect::text::{Shown, bytes};
use peerconnect::transfer::state::TransferState;
use peerconnect::transfer::status::{Conflict, Direction, TransferSnapshot};

use crate::model::is_question;
use crate::words;

/// A notification of the system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// A line.
    pub title: String,
    /// What else there is to say; may be empty.
    pub body: String,
    /// The transfer or text that it is about.
    pub about: TransferId,
    /// What can be pressed on it.
    pub buttons: Buttons,
    /// Whether it waits for the person: it goes when nothing does any more.
    pub asks: bool,
}

/// What can be pressed on a notification, beside itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Buttons {
    /// Nothing.
    None,
    /// The question of a stranger: its three words must be compared first, which only the window
    /// shows.
    Decline,
    /// A question of somebody whom the person trusts, as it stood in this round.
    AcceptOrDecline {
        /// [`peerconnect::transfer::status::Question::round`].
        round: u32,
    },
}

/// What a person pressed on a notification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Press {
    /// The notification itself: he wants to see what it is about.
    Show,
    /// Its button to accept.
    Accept,
    /// Its button to decline.
    Decline,
}

/// Takes what a person pressed: once at most, and not on the thread that showed the notification.
pub type Pressed = Box<dyn FnOnce(Press) + Send>;

/// What is to become of notifications.
pub enum Tell {
    /// This one is to be shown. What is pressed on it goes there.
    Show(Note, Pressed),
    /// Nothing about this waits for the person any more: what asked about it goes.
    Answered(TransferId),
}

/// Has something become of notifications, one after the other, without waiting for it. Nothing
/// happens where there can be none, or where too much is asked at once.
pub type Notify = Arc<dyn Fn(Tell) + Send + Sync>;

/// What is to be done because of a press.
#[derive(Debug, Clone, PartialEq)]
pub enum Meant {
    /// Answer the question like this.
    Answer(Command),
    /// Show what the notification is about.
    Show,
    /// Nothing: what would be declined has gone.
    Nothing,
}

impl Note {
    /// What a press means now. A notification may be as old as the person likes: what has become
    /// another question meanwhile is shown, not accepted.
    pub fn meant(&self, press: Press, now: &Overview) -> Meant {
        let asked = now.transfer(self.about).filter(|t| is_question(t));
        let answer = |decision| {
            Meant::Answer(Command::Answer {
                transfer: self.about,
                decision,
            })
        };
        match (press, asked) {
            (Press::Accept, Some(t)) if self.accepts(t) => answer(Decision::Accept {
                folder: None,
                only: None,
                pass_on: true,
            }),
            (Press::Accept | Press::Show, _) => Meant::Show,
            (Press::Decline, Some(_)) => answer(Decision::Decline),
            (Press::Decline, None) => Meant::Nothing,
        }
    }

    /// Whether it could ask for this to be accepted, as it stands now.
    fn accepts(&self, t: &TransferSnapshot) -> bool {
        let ready = t.question.as_ref().is_some_and(|q| q.obstacle.is_none());
        ready && self.buttons != Buttons::Decline && self.buttons == buttons(t)
    }
}

/// What can be pressed on the notification of a question.
fn buttons(t: &TransferSnapshot) -> Buttons {
    match &t.question {
        Some(question) if t.trusted && !t.is_legacy() => Buttons::AcceptOrDecline {
            round: question.round,
        },
        Some(_) | None => Buttons::Decline,
    }
}

/// What may wait for a slow service; more is left out.
#[cfg(target_os = "linux")]
const TOLD_MAX: usize = 64;

/// Shows notifications as this system does.
#[cfg(target_os = "linux")]
pub fn system() -> Notify {
    use std::sync::mpsc;

    let (tell, told) = mpsc::sync_channel(TOLD_MAX);
    let notifier = crate::notifier::Notifier::on(None);
    // One thread, so that nothing is taken back before it is shown.
    let spawned = std::thread::Builder::new()
        .name("notifications".into())
        .spawn(move || told.into_iter().for_each(|told| notifier.tell(told)));
    if let Err(error) = spawned {
        tracing::warn!(%error, "no notifications");
    }
    Arc::new(move |told| {
        if tell.try_send(told).is_err() {
            tracing::debug!("a notification was left out");
        }
    })
}

/// See there.
#[cfg(not(target_os = "linux"))]
pub fn system() -> Notify {
    Arc::new(|_told| {})
}

/// Somebody wants to send files.
pub(crate) fn offer(t: &TransferSnapshot) -> Note {
    let names = words::names(&t.top_names, t.top_count, 2);
    Note {
        title: format!("{} wants to send you files", Shown(&t.peer_name)),
        body: format!("{names} · {} · {}", words::files(t.files), bytes(t.bytes)),
        about: t.id,
        buttons: buttons(t),
        asks: true,
    }
}

/// A name is taken.
pub(crate) fn conflict(t: &TransferSnapshot, conflict: &Conflict) -> Note {
    Note {
        title: format!("{} is already there and differs", Shown(&conflict.path)),
        body: format!("From {}. Your answer is needed.", Shown(&t.peer_name)),
        about: t.id,
        buttons: Buttons::None,
        asks: true,
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
        about: t.id,
        buttons: Buttons::None,
        asks: true,
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
    Some(Note {
        title,
        body,
        about: t.id,
        buttons: Buttons::None,
        asks: false,
    })
}

#[cfg(test)]
mod tests {
    use peerconnect::transfer::status::Question;

    use super::*;
    use crate::samples;

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

    /// What a press on the notification about `then` means when the question is `now`.
    fn meant(then: &TransferSnapshot, press: Press, now: &TransferSnapshot) -> Meant {
        let overview = samples::overview(vec![], vec![now.clone()]);
        offer(then).meant(press, &overview)
    }

    fn trusted() -> TransferSnapshot {
        TransferSnapshot {
            trusted: true,
            words: None,
            ..samples::asking(2)
        }
    }

    /// The same question, changed.
    fn asked(change: impl FnMut(&mut Question)) -> TransferSnapshot {
        let mut t = trusted();
        t.question.iter_mut().for_each(change);
        t
    }

    #[test]
    fn a_question_of_a_trusted_device_is_answered_by_its_notification() {
        let t = trusted();
        let answered = |meant| match meant {
            Meant::Answer(Command::Answer { transfer, decision }) if transfer == t.id => {
                Some(decision)
            }
            Meant::Answer(_) | Meant::Show | Meant::Nothing => None,
        };
        let accept = Decision::Accept {
            folder: None,
            only: None,
            pass_on: true,
        };
        assert_eq!(answered(meant(&t, Press::Accept, &t)), Some(accept));
        let declined = meant(&t, Press::Decline, &t);
        assert_eq!(answered(declined), Some(Decision::Decline));
        assert_eq!(meant(&t, Press::Show, &t), Meant::Show);
    }

    #[test]
    fn what_a_person_must_look_at_first_is_shown_and_not_accepted() {
        let stranger = samples::asking(2);
        let more = asked(|question| question.round += 1);
        let full = asked(|question| {
            question.obstacle = Some(Fault::DiskFull {
                folder: "/srv".into(),
                needed: 2,
                free: 1,
            });
        });
        for (then, now) in [
            (&stranger, &stranger),
            // Trusted since, and not any more.
            (&stranger, &trusted()),
            (&trusted(), &stranger),
            (&trusted(), &more),
            (&full, &full),
            (&trusted(), &samples::sending()),
        ] {
            assert_eq!(meant(then, Press::Accept, now), Meant::Show);
        }
        let gone = samples::sending();
        assert_eq!(meant(&stranger, Press::Decline, &gone), Meant::Nothing);
        assert_eq!(offer(&stranger).buttons, Buttons::Decline);
    }
}
