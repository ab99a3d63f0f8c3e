//! What a face tells of files that go to several receivers, beside what it tells of each.

use peerconnect::node::api::{Overview, SessionSnapshot};
use peerconnect::transfer::status::TransferSnapshot;

use super::exit::Exit;
use super::face::Face;
use super::human::sessions::going_on;
use super::output::Event;

impl Face<'_> {
    /// Tells who gets the files, once, and how far they all are.
    pub(super) async fn tell_session(&mut self, picture: &Overview) {
        let Some(session) = self.session.and_then(|id| picture.session(id)) else {
            return;
        };
        if self.told.is_none() {
            self.out.emit(Event::Session(session)).await;
        }
        let transfers: Vec<&TransferSnapshot> = picture.transfers_of(session).collect();
        self.out.emit(Event::Receivers(session, &transfers)).await;
        let could_before = self.told.as_ref().is_some_and(SessionSnapshot::may_leave);
        if !self.shared {
            match (could_before, session.may_leave()) {
                (false, true) => self.out.emit(Event::MayLeave(session)).await,
                (true, false) if !session.is_over() => {
                    self.out.emit(Event::MustStay(session)).await;
                }
                (_, _) => {}
            }
        }
        self.told = Some(session.clone());
    }

    /// Tells what came of it as a whole.
    pub(super) async fn tell_total(&mut self, exit: Exit) {
        if let Some(session) = &self.told {
            self.out.emit(Event::Total(session, exit)).await;
        }
    }

    /// Says how those go on that are not over.
    pub(super) fn say_session_paused(&mut self) {
        if let Some(session) = self.told.as_ref().filter(|session| !session.is_over()) {
            if session.may_leave() && !self.shared {
                self.out.say(&going_on(session));
            }
            let hint = format!("peerconnect resume {}", session.id.short());
            self.out.say(&format!("Paused. Go on with: {hint}"));
        }
    }
}
