//! What is said and done when it ends early.

use super::*;

/// What a person is told who can go on waiting.
fn stays_open(fault: &Fault) -> String {
    let title = fault.words(peerconnect::fault::Face::CommandLine).title;
    format!(
        "{title} The offer stays open for 24 h, unless it is set otherwise there. Ctrl-C stops \
         waiting."
    )
}

impl Face<'_> {
    pub(super) async fn give_up_lost(&mut self) {
        let Some(retry) = self.retry else {
            return;
        };
        for tracker in self.trackers.values_mut() {
            if tracker.exit.is_none() && tracker.is_given_up(retry) {
                let fault = tracker.lost();
                self.out
                    .emit(Event::Error(Some(&tracker.last), None, &fault))
                    .await;
                self.out.say(&go_on_hint(&tracker.last, self.shared));
                tracker.end(Exit::of(&fault), self.out).await;
            }
        }
    }

    /// Nobody answers an offer of ours: a script does not wait for ever.
    pub(super) async fn give_up_unanswered(&mut self) {
        let now = Instant::now();
        for tracker in self.trackers.values_mut() {
            let Some(fault) = tracker.unanswered(now) else {
                continue;
            };
            if self.unanswered == Unanswered::Stay {
                self.out.say(&stays_open(&fault));
                continue;
            }
            let withdraw = Command::Cancel {
                transfer: tracker.id,
                scope: Scope::Transfer,
            };
            if let Err(fault) = self.node.call(withdraw).await {
                tracing::debug!(%fault, "could not be taken back");
            }
            let event = Event::Error(Some(&tracker.last), None, &fault);
            self.out.emit(event).await;
            tracker.end(Exit::of(&fault), self.out).await;
        }
    }

    pub(super) async fn interrupted(&mut self, signal: Signal) -> Exit {
        let exit = signal.exit();
        self.pause_all().await;
        self.say_session_paused();
        for tracker in self.trackers.values_mut() {
            let waits = tracker.last.state == TransferState::AwaitingAnswer;
            if tracker.exit.is_none() && !waits && self.session.is_none() {
                self.out.say(&stopped(&tracker.last, self.shared));
            }
            tracker.end(exit, self.out).await;
        }
        exit
    }

    /// Stops what this face started where the node goes on without us. A node of our own keeps
    /// everything when it is shut down.
    pub(super) async fn pause_all(&mut self) {
        if !self.shared || matches!(self.goal, Goal::Stay { .. }) {
            return;
        }
        for tracker in self.trackers.values() {
            if tracker.exit.is_none() {
                let pause = Command::Pause {
                    transfer: tracker.id,
                    scope: Scope::Transfer,
                };
                if let Err(fault) = self.node.call(pause).await {
                    tracing::debug!(%fault, "could not be paused");
                }
            }
        }
    }

    pub(super) async fn node_ended(&mut self) -> Exit {
        let mut exit = match self.goal {
            Goal::Stay { .. } => Exit::OK,
            Goal::These(_) | Goal::Next { .. } => {
                self.out.say("PeerConnect was ended.");
                Exit::of(&Fault::Internal {
                    what: String::new(),
                })
            }
        };
        for tracker in self.trackers.values_mut() {
            if tracker.exit.is_none() {
                let fault = tracker.left();
                exit = Exit::of(&fault);
                self.out
                    .emit(Event::Error(Some(&tracker.last), None, &fault))
                    .await;
                tracker.end(exit, self.out).await;
            }
        }
        self.out.flush().await;
        exit
    }
}
