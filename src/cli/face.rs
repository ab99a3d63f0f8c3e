//! The face: one loop over pictures, signals, answers and ticks, for every command that stays.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use peerconnect::fault::Fault;
use peerconnect::node::api::{Command, NodeHandle, Overview, SessionSnapshot};
use peerconnect::peer::PeerId;
use peerconnect::protocol::message::{Scope, TransferId};
use peerconnect::storage::store::Accept;
use peerconnect::text::Shown;
use peerconnect::transfer::state::TransferState;
use peerconnect::transfer::status::{Direction, TransferSnapshot};
use tokio::time::Instant;

use super::exit::Exit;
use super::human::{claimed, go_on_hint, stopped};
use super::lines::Line;
use super::output::{Event, Output};
use super::question::Questions;
use super::signals::{Signal, Signals};
use super::tracker::Tracker;

mod ending;
mod texts;

use self::texts::Texts;

/// How often the clock is looked at: for deadlines, and for a line that says "stalled".
const TICK: Duration = Duration::from_millis(500);

/// What a face waits for.
#[derive(Debug)]
pub(crate) enum Goal {
    /// The end of these transfers.
    These(Vec<TransferId>),
    /// The end of the next transfer to us, or the next text.
    Next {
        /// Transfers and texts that are not meant.
        not: HashSet<TransferId>,
        /// When no offer at all has come until then, it is over.
        until: Option<Instant>,
        /// Whether a person here may decline, and goes on waiting then.
        declinable: bool,
    },
    /// Nothing: it stays.
    Stay {
        /// Transfers and texts that are not worth a word.
        not: HashSet<TransferId>,
    },
}

/// Who answers offers here.
#[derive(Debug)]
pub(crate) enum Answers {
    /// Not this face.
    Nobody,
    /// It takes those of this peer.
    Peer(PeerId),
    /// The person, or program, that can be asked.
    Person,
}

/// What becomes of an offer of ours that nobody answers for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unanswered {
    /// It stays open, and the person here is told.
    Stay,
    /// It is taken back: no person waits for it here.
    Withdraw,
}

/// A face and what it knows.
pub(crate) struct Face<'a> {
    pub(crate) node: &'a NodeHandle,
    /// The node belongs to another process and goes on without us.
    pub(crate) shared: bool,
    pub(crate) out: &'a mut Output,
    pub(crate) signals: &'a mut Signals,
    pub(crate) goal: Goal,
    pub(crate) answers: Answers,
    /// The person at the terminal, who can be asked.
    pub(crate) person: Option<Questions>,
    /// How long a lost connection is waited for; `None` for ever.
    pub(crate) retry: Option<Duration>,
    /// What becomes of offers of ours that nobody answers for five minutes.
    pub(crate) unanswered: Unanswered,
    /// The session that the transfers belong to, if the files go to several receivers.
    pub(crate) session: Option<TransferId>,
    /// Its last picture.
    pub(super) told: Option<SessionSnapshot>,
    trackers: BTreeMap<TransferId, Tracker>,
    texts: Texts,
    notices: Arc<[String]>,
    active_at: Option<Instant>,
}

impl<'a> Face<'a> {
    pub(crate) fn new(
        node: &'a NodeHandle,
        shared: bool,
        out: &'a mut Output,
        signals: &'a mut Signals,
        goal: Goal,
    ) -> Self {
        Self {
            node,
            shared,
            out,
            signals,
            goal,
            answers: Answers::Nobody,
            person: None,
            retry: None,
            unanswered: Unanswered::Stay,
            session: None,
            told: None,
            trackers: BTreeMap::new(),
            texts: Texts::default(),
            notices: Arc::new([]),
            active_at: None,
        }
    }

    /// Shows what happens until the goal is reached, a signal comes, or nobody reads any more.
    pub(crate) async fn run(mut self) -> Exit {
        let exit = self.watch().await;
        self.tell_total(exit).await;
        exit
    }

    async fn watch(&mut self) -> Exit {
        if self.person.is_some()
            && let Err(fault) = self.node.call(Command::Attend).await
        {
            // The end of the node is noticed by its pictures.
            tracing::debug!(%fault, "nobody will be asked");
        }
        let mut overview = self.node.overview();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        let mut ended = false;
        loop {
            let picture = Arc::clone(&overview.borrow_and_update());
            let more = self.take_picture(&picture).await;
            self.out.flush().await;
            if self.out.is_closed() {
                self.pause_all().await;
                return Exit::PIPE_CLOSED;
            }
            if let Some(exit) = self.reached(&picture).await {
                return exit;
            }
            if ended {
                return self.node_ended().await;
            }
            if more {
                // Still listens for signals between two pages.
                tokio::select! {
                    biased;
                    signal = self.signals.next() => return self.interrupted(signal).await,
                    () = tokio::task::yield_now() => continue,
                }
            }
            tokio::select! {
                changed = overview.changed() => ended = changed.is_err(),
                signal = self.signals.next() => return self.interrupted(signal).await,
                line = line(&mut self.person) => self.answered(line).await,
                _ = tick.tick() => {}
            }
        }
    }

    async fn take_picture(&mut self, picture: &Overview) -> bool {
        for notice in picture.notices.iter() {
            if !self.notices.contains(notice) {
                self.out.say(&Shown(notice).to_string());
            }
        }
        self.notices = Arc::clone(&picture.notices);
        self.tell_session(picture).await;
        let mut more = false;
        for snapshot in picture.transfers.iter() {
            if !self.is_wanted(snapshot) {
                continue;
            }
            let tracker = self
                .trackers
                .entry(snapshot.id)
                .or_insert_with(|| Tracker::new(snapshot.clone()));
            tracker.last = snapshot.clone();
            more |= tracker.tell(self.node, self.out).await;
        }
        self.show_texts(picture).await;
        self.ask(picture).await;
        self.take_texts(picture).await;
        self.ask_about_names(picture).await;
        self.show_active().await;
        more
    }

    fn is_wanted(&self, t: &TransferSnapshot) -> bool {
        match &self.goal {
            Goal::These(ids) => ids.contains(&t.id),
            Goal::Stay { not } => !not.contains(&t.id),
            Goal::Next { not, .. } => {
                let alive = match t.state {
                    // Those of earlier runs wait like this until their peer comes back.
                    TransferState::Preparing
                    | TransferState::Connecting
                    | TransferState::Paused
                    | TransferState::Interrupted => self.trackers.contains_key(&t.id),
                    TransferState::AwaitingAnswer
                    | TransferState::Transferring
                    | TransferState::Completed
                    | TransferState::Rejected
                    | TransferState::Cancelled
                    | TransferState::Failed => true,
                };
                t.direction == Direction::Receiving && !not.contains(&t.id) && alive
            }
        }
    }

    /// Answers offers, or has them answered, each once.
    async fn ask(&mut self, picture: &Overview) {
        for tracker in self.trackers.values_mut() {
            let t = &tracker.last;
            let open = t.direction == Direction::Receiving
                && t.state == TransferState::AwaitingAnswer
                && t.question.is_some();
            if !open {
                if let Some(questions) = &mut self.person {
                    questions.withdraw(t, self.out).await;
                }
                continue;
            }
            let round = t.question.as_ref().map(|question| question.round);
            if tracker.asked == round {
                continue;
            }
            match &self.answers {
                Answers::Person => {
                    // One question at a time; the others wait for their turn.
                    if let Some(questions) = &mut self.person
                        && questions.ask(picture, t, self.out).await
                    {
                        tracker.asked = round;
                    }
                }
                Answers::Peer(peer) if t.peer == Some((*peer).into()) => {
                    tracker.asked = round;
                    let obstacle = t.question.as_ref().and_then(|q| q.obstacle.as_ref());
                    if let Some(fault) = obstacle {
                        // It is asked again when there is room.
                        self.out.emit(Event::Error(Some(t), None, fault)).await;
                        continue;
                    }
                    let accept = Command::Answer {
                        transfer: t.id,
                        decision: peerconnect::node::api::Decision::Accept {
                            folder: None,
                            only: None,
                            pass_on: true,
                        },
                    };
                    if let Err(fault) = self.node.call(accept).await {
                        self.out.emit(Event::Error(Some(t), None, &fault)).await;
                    }
                }
                Answers::Peer(_) | Answers::Nobody => {
                    // Said once, however often it is asked.
                    if tracker.asked.replace(round.unwrap_or(0)).is_some() {
                        continue;
                    }
                    let who = Shown(&t.peer_name);
                    if t.is_legacy() {
                        let who = claimed(t);
                        self.out.say(&format!(
                            "{who} wants to send files. They wait for an answer in the window, \
                             though old versions are told yes meanwhile; without one nothing is \
                             kept. --accept-unencrypted takes whatever old versions send."
                        ));
                        continue;
                    }
                    self.out.say(&format!(
                        "{who} wants to send files. Not taken without a question: trust {who} \
                         with `peerconnect peers trust`, or use --yes."
                    ));
                }
            }
        }
    }

    /// Has the person say what becomes of files whose names are taken, or says how that is done
    /// elsewhere.
    async fn ask_about_names(&mut self, picture: &Overview) {
        for tracker in self.trackers.values_mut() {
            let t = &tracker.last;
            match (&mut self.person, &t.conflict) {
                (Some(questions), _) => {
                    let (node, out) = (self.node, &mut *self.out);
                    questions.ask_about_name(picture, t, node, out).await;
                }
                (None, Some(conflict)) if !tracker.hinted => {
                    tracker.hinted = true;
                    self.out.say(&format!(
                        "\"{}\" is already there and differs. It waits for an answer: in the \
                         window, or with `peerconnect answer {} keep-both|replace|skip`.",
                        Shown(&conflict.path),
                        t.id.short()
                    ));
                }
                (None, _) => {}
            }
        }
    }

    async fn answered(&mut self, line: Option<Line>) {
        if let Some(questions) = &mut self.person {
            questions.answer(line, self.node, self.out).await;
        }
    }

    async fn show_active(&mut self) {
        let now = Instant::now();
        let one = self.session.is_none();
        if !one
            || !self.out.shows_active_files()
            || self.active_at.is_some_and(|at| now - at < TICK)
        {
            return;
        }
        self.active_at = Some(now);
        let running = self
            .trackers
            .values_mut()
            .find(|tracker| tracker.last.state == TransferState::Transferring);
        let rows = match running {
            Some(tracker) => tracker.active(self.node).await,
            None => Vec::new(),
        };
        self.out.active_files(&rows);
    }

    /// The end, if the goal is reached or cannot be.
    async fn reached(&mut self, picture: &Overview) -> Option<Exit> {
        self.give_up_lost().await;
        self.give_up_unanswered().await;
        match &self.goal {
            Goal::Stay { .. } => {
                self.trackers.retain(|_, tracker| {
                    tracker.exit.is_none() || picture.transfer(tracker.id).is_some()
                });
                None
            }
            Goal::These(ids) => {
                let exits: Option<Vec<Exit>> = ids
                    .iter()
                    .map(|id| {
                        let tracker = self.trackers.get(id)?;
                        // Another face may have cleared it away the moment it ended.
                        let gone = || picture.transfer(*id).is_none().then_some(Exit::OK);
                        tracker.exit.or_else(gone)
                    })
                    .collect();
                exits.map(|exits| combined(&exits))
            }
            Goal::Next {
                until, declinable, ..
            } => {
                let counts = |tracker: &&Tracker| {
                    tracker.exit.is_some()
                        && !(*declinable && tracker.last.state == TransferState::Rejected)
                };
                let running = |tracker: &Tracker| {
                    tracker.exit.is_none() && tracker.last.state == TransferState::Transferring
                };
                let trackers = self.trackers.values().filter(counts);
                let mut exits: Vec<Exit> = trackers.filter_map(|tracker| tracker.exit).collect();
                exits.extend(self.texts.has_come().then_some(Exit::OK));
                if !exits.is_empty() && !self.trackers.values().any(running) {
                    return Some(combined(&exits));
                }
                if self.is_pointless(picture) {
                    return Some(self.give_up_asking().await);
                }
                let mut trackers = self.trackers.values();
                let texts = self.texts.waits() || self.texts.coming();
                let idle = trackers.all(|tracker| tracker.exit.is_some()) && !texts;
                if idle && until.is_some_and(|until| Instant::now() >= until) {
                    self.out.say("No offer came in time.");
                    return Some(Exit::NO_ANSWER);
                }
                None
            }
        }
    }

    /// Whether what it waits for cannot come: whoever was to be asked has left, nobody is trusted,
    /// and nothing is on its way that was accepted before.
    fn is_pointless(&self, picture: &Overview) -> bool {
        let person = self.person.as_ref();
        let left = person.is_some_and(Questions::has_left);
        let asked = matches!(self.answers, Answers::Person);
        let trusted = || {
            picture
                .peers
                .iter()
                .any(|p| p.record.accept == Accept::Always)
        };
        let open = |tracker: &Tracker| {
            let asks = tracker.last.state == TransferState::AwaitingAnswer;
            // The picture may be from before the answer.
            let taken = || person.is_some_and(|person| person.has_taken(tracker.id));
            tracker.exit.is_none() && (!asks || taken())
        };
        let on_its_way = || self.trackers.values().any(open) || self.texts.coming();
        left && asked && !trusted() && !on_its_way()
    }

    async fn give_up_asking(&mut self) -> Exit {
        let fault = nobody_to_ask();
        self.out.emit(Event::Error(None, None, &fault)).await;
        let exit = Exit::of(&fault);
        for tracker in self.trackers.values_mut() {
            tracker.end(exit, self.out).await;
        }
        exit
    }
}

/// The next line of the person; waits for ever where there is none. Cancel-safe.
async fn line(person: &mut Option<Questions>) -> Option<Line> {
    match person {
        Some(questions) => questions.line().await,
        None => std::future::pending().await,
    }
}

/// Why offers cannot be taken where nobody can be asked.
pub(crate) fn nobody_to_ask() -> Fault {
    Fault::Invalid {
        why: "Nobody can be asked here. Add --yes to take everything, or --from PEER, or trust \
              a peer with `peerconnect peers trust`"
            .into(),
    }
}

/// One code for several transfers or texts.
pub(crate) fn combined(exits: &[Exit]) -> Exit {
    match exits.iter().find(|exit| **exit != Exit::OK) {
        None => Exit::OK,
        Some(_) if exits.contains(&Exit::OK) => Exit::SOME_FAILED,
        Some(first) => *first,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests;
