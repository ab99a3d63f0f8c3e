//! A transfer that is one of several to several receivers, who pass content on to each other.

use super::*;
use crate::protocol::sessions::{
    FED_MAX, Fed, Feeder, HELD_FILES_MAX, HELD_RUNS_MAX, HeldPart, Trouble,
};
use crate::transfer::holding::Manifest;
use crate::transfer::member::{Joined, MemberNews, Membership, Whereabouts, Word};

/// The receiver's part in the session, over one link.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Part {
    /// It has not said yet that it takes part.
    #[default]
    None,
    /// It takes part.
    In {
        /// Whether it passes content on.
        passes_on: bool,
    },
    /// It takes part, but is paused: nobody may wait for it, and slow is not what it is.
    Paused {
        /// See [`Self::In`].
        passes_on: bool,
    },
}

/// How long files wait at most for the word who feeds the receiver.
const HOLD_MAX: Duration = Duration::from_secs(1);

impl Outgoing {
    /// The same transfer as part of a session.
    pub fn in_session(mut self, member: Membership) -> Self {
        self.shared.fed = Some(member.fed.subscribe());
        self.member = Some(member);
        self
    }

    /// Where and who the receiver is, before a link to it.
    pub fn set_whereabouts(&mut self, at: Whereabouts) {
        if let Some(member) = &mut self.member {
            member.at = Some(at);
        }
    }

    async fn tell_session(&self, news: MemberNews) {
        if let Some(member) = &self.member {
            member.tell(self.shared.transfer, news).await;
        }
    }

    /// Returns whether it was so before.
    fn set_fed(&self, fed: bool) -> bool {
        let member = self.member.as_ref();
        member.is_some_and(|member| member.fed.send_replace(fed))
    }

    /// Nothing is referred elsewhere until the receiver is told again who feeds it.
    fn unfeed(&mut self) {
        self.set_fed(false);
        if let Some(member) = &mut self.member {
            member.begin();
        }
    }

    /// What the receiver is to be told next; never outside a session. Cancel-safe.
    pub(super) async fn next_word(member: &mut Option<Membership>) -> Word {
        match member {
            Some(member) => member.next_word().await,
            None => std::future::pending().await,
        }
    }
}

impl<L: Outbound> Run<'_, L> {
    /// Tells a receiver that knows what a session is that it is in one.
    pub(super) async fn tell_note(&mut self) -> Result<(), Ended> {
        self.transfer.unfeed();
        let member = self.transfer.member.as_ref();
        match member.filter(|_| self.link.knows_sessions()) {
            Some(member) => self.send(SenderMessage::Session(member.note)).await,
            None => Ok(()),
        }
    }

    fn done(&self) -> u64 {
        self.transfer.shared.table.lock().totals().bytes_done
    }

    /// The receiver said whether it passes on: it takes part.
    pub(super) async fn on_passes_on(&mut self, passes_on: bool) -> Result<(), Ended> {
        let may = self.link.knows_sessions() && self.accepted && self.part == Part::None;
        if !may || self.transfer.member.is_none() {
            return Err(Ended::Misbehaved(Offence::UnexpectedMessage));
        }
        self.join(passes_on).await;
        Ok(())
    }

    async fn join(&mut self, passes_on: bool) {
        let member = self.transfer.member.as_ref();
        let Some((member, at)) = member.and_then(|m| Some((m, m.at.clone()?))) else {
            return;
        };
        let passes_on = passes_on && !self.lacks;
        self.part = Part::In { passes_on };
        self.note_manifest();
        let joined = Joined {
            at,
            key: member.note.key,
            passes_on,
            tells_parts: self.link.knows_parts(),
            holding: self.holding.clone(),
            done: self.done(),
            table: self.transfer.shared.table.downgrade(),
            rtt: self.link.path().rtt,
            feeder: member.feeder.clone(),
            heirs: member.heirs.clone(),
        };
        let joined = Box::new(joined);
        let reporter = self.transfer.reporter.clone();
        let news = MemberNews::Joined { joined, reporter };
        self.transfer.tell_session(news).await;
    }

    /// A paused receiver leaves the session for as long as that lasts, and one that does not take
    /// everything feeds nobody.
    pub(super) async fn note_part(&mut self) {
        self.note_manifest();
        self.look_for_more();
        match (self.part, self.transfer.paused_by()) {
            (Part::In { passes_on }, Some(_)) => {
                self.part = Part::Paused { passes_on };
                self.transfer.tell_session(MemberNews::Left).await;
            }
            (Part::Paused { passes_on }, None) => self.join(passes_on).await,
            (Part::In { passes_on: true }, None) if self.lacks => self.join(false).await,
            (Part::None | Part::In { .. } | Part::Paused { .. }, _) => {}
        }
    }

    /// What the receiver has is of these files.
    fn note_manifest(&self) {
        if self.part == Part::None {
            return;
        }
        let table = self.transfer.shared.table.lock();
        let entries = table.len();
        let known = self.holding.get().manifest();
        if known.is_none_or(|known| known.entries != entries) {
            let digest = table.digest();
            let manifest = Manifest { entries, digest };
            self.holding.change(|h| h.set_manifest(manifest));
        }
    }

    /// The receiver has some of these files, which are not complete there.
    pub(super) fn on_holds(&mut self, parts: Vec<HeldPart>) -> Result<(), Ended> {
        let runs: usize = parts.iter().map(|part| part.runs.len()).sum();
        let is_sound = parts.iter().all(HeldPart::is_sound);
        let is_small = parts.len() <= HELD_FILES_MAX && runs <= HELD_RUNS_MAX;
        let may = self.part != Part::None && self.link.knows_parts();
        if !may || !is_sound || !is_small {
            return Err(Ended::Misbehaved(Offence::UnexpectedMessage));
        }
        let table = self.transfer.shared.table.lock();
        let size = |part: &HeldPart| table.file_size(part.index);
        let is_planned = |part: &HeldPart| part.index < self.planned && size(part).is_some();
        if !parts.iter().all(is_planned) {
            return Err(Ended::Misbehaved(Offence::NoSuchEntry));
        }
        // Of a file that has grown since it was offered it is not known here what is all of it.
        let is_known = |part: &HeldPart| size(part).map(group_count) == Some(part.groups);
        let known = parts.into_iter().filter(is_known);
        self.holding.change(|holding| holding.set_parts(known));
        Ok(())
    }

    /// Nothing is sent that another receiver may give; but nobody waits for long.
    pub(super) fn hold_for_feeder(&mut self) {
        if self.transfer.member.is_some() && self.link.knows_sessions() {
            self.hold_until = Some(Instant::now() + HOLD_MAX);
        }
    }

    pub(super) fn is_held(&self) -> bool {
        self.hold_until.is_some_and(|until| Instant::now() < until)
    }

    /// The one who decides has something for the receiver.
    pub(super) async fn on_word(&mut self, word: Word) -> Result<(), Ended> {
        match word {
            Word::Feeder(feeder) => self.on_feeder(feeder).await,
            Word::Heirs(heirs) => {
                self.on_heirs(heirs).await;
                Ok(())
            }
        }
    }

    /// Somebody else feeds the receiver from now on, or nobody.
    async fn on_feeder(&mut self, feeder: Feeder) -> Result<(), Ended> {
        if self.part == Part::None {
            return Ok(());
        }
        self.hold_until = None;
        let fed = matches!(feeder, Feeder::Member { .. });
        // What is referred elsewhere comes after the word where that is.
        if !fed {
            self.transfer.set_fed(false);
        }
        self.send(SenderMessage::Feeder(feeder)).await?;
        let before = self.transfer.set_fed(fed);
        if fed && !before {
            // It was asked for because nobody else was there to give it.
            self.asked_again.clear();
            self.refer_what_is_on_its_way();
        }
        Ok(())
    }

    /// What of large files waits to be sent would still take megabytes of our uplink: those streams
    /// are given up, and everything that the receiver does not have yet is referred elsewhere.
    fn refer_what_is_on_its_way(&mut self) {
        for index in self.active.large() {
            self.active.abort(index);
            self.again.remove(&index);
            self.transfer
                .shared
                .table
                .lock()
                .set_state(index, FileState::Waiting);
            self.queue.push_front(index, Lane::Large);
        }
    }

    /// The receiver has so much, and some of it from others.
    pub(super) async fn on_progress(&mut self, done: u64, fed: &[Fed]) -> Result<(), Ended> {
        if self.part == Part::None || fed.len() > FED_MAX {
            return Err(Ended::Misbehaved(Offence::UnexpectedMessage));
        }
        self.count_fed(fed)?;
        if let Part::In { .. } = self.part {
            let all = self.transfer.shared.table.lock().totals().bytes;
            let fed = fed
                .iter()
                .fold(0, |sum: u64, fed| sum.saturating_add(fed.bytes));
            let done = done.min(all);
            let news = MemberNews::Progress { done, fed };
            self.transfer.tell_session(news).await;
        }
        Ok(())
    }

    fn count_fed(&mut self, fed: &[Fed]) -> Result<(), Ended> {
        let mut table = self.transfer.shared.table.lock();
        for Fed { index, bytes } in fed {
            if *index >= self.planned {
                return Err(Ended::Misbehaved(Offence::NoSuchEntry));
            }
            if !matches!(table.state(*index), Some(FileState::Settled(_))) {
                let counts = table.add_done(*index, *bytes);
                self.transfer.shared.progress.fed(counts);
            }
        }
        Ok(())
    }

    pub(super) async fn on_trouble(
        &mut self,
        feeder: TransferId,
        trouble: Trouble,
    ) -> Result<(), Ended> {
        if self.part == Part::None {
            return Err(Ended::Misbehaved(Offence::UnexpectedMessage));
        }
        let news = MemberNews::Trouble { feeder, trouble };
        self.transfer.tell_session(news).await;
        Ok(())
    }

    /// The link is over.
    pub(super) async fn leave_session(&mut self, ended: &Ended) {
        self.transfer.unfeed();
        if self.part != Part::None {
            let news = match ended {
                Ended::Completed if !self.lacks => MemberNews::Complete {
                    entries: self.confirmed.count,
                },
                Ended::Completed
                | Ended::Declined(_)
                | Ended::CancelledHere
                | Ended::CancelledThere
                | Ended::Lost(_)
                | Ended::Misbehaved(_) => MemberNews::Left,
            };
            self.transfer.tell_session(news).await;
        }
    }
}
