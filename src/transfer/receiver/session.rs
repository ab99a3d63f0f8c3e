//! A transfer that the sender makes to others, too, who pass content on to each other.

use super::*;
use std::net::SocketAddr;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::net::link::PathInfo;
use crate::net::{is_local_network, is_plausible};
use crate::protocol::sessions::{
    FEEDER_ADDRS_MAX, Feeder, HeldPart, SessionNote, Trouble, WillFile,
};
use crate::storage::journal::{Record, Replay};
use crate::storage::name::SafePath;
use crate::transfer::executor::{Estate, Executor};
use crate::transfer::feed::{Feed, Feeding, Troubles};
use crate::transfer::kept_will::Draft;
use crate::transfer::shelf::kept;
use crate::transfer::will::Will;

/// What there is for it in a transfer.
#[derive(Debug)]
pub(in crate::transfer) struct InSession {
    pub(in crate::transfer) feed: Feed,
    /// What to tell the sender.
    troubles: Troubles,
    /// The other end of the feed, until the person has accepted.
    feeding: Option<Feeding>,
    /// What was said over this link; `None` if nothing was.
    note: Option<SessionNote>,
    /// Whether we said that we pass on what comes.
    passes_on: bool,
    /// What we said over this link that we hold of files that are not complete.
    held: Vec<HeldPart>,
    /// What is known in case the sender leaves.
    pub(super) will: Will,
    /// Whether the will is of this link, and what the sender was told about it.
    pub(super) will_is: WillIs,
    /// What the sender said last that still holds when it is gone.
    last: Option<Last>,
    /// Who has passed on what it must not: nobody to go on with. At most [`LIARS_MAX`].
    liars: HashSet<TransferId>,
}

/// Liars that are remembered: more receivers than a session has.
const LIARS_MAX: usize = 1024;

/// How it stands with a will over this link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WillIs {
    /// Nothing was said: what is known is of an earlier link.
    Old,
    /// It is being told.
    Begun,
    /// It was told; the sender knows of how many entries it covers all.
    Told(u32),
    /// It covers all of so many entries, and is being written to disk before the sender is told.
    Keeping(u32),
    /// An earlier run of the program had all of it. What was done then is in the journal.
    Kept,
    /// There is no room for it here: the sender has to stay.
    TooLarge,
}

/// What was said over the last link of the sender.
#[derive(Debug)]
struct Last {
    note: SessionNote,
    path: PathInfo,
    feeder: Option<Feeder>,
}

impl Incoming {
    /// The sender says that the same goes to others.
    pub(super) async fn join_session(&mut self, note: SessionNote) -> Result<(), Ended> {
        let session = self.session.get_or_insert_with(InSession::new);
        if session.note.replace(note).is_some() {
            return Err(Ended::Misbehaved(Offence::UnexpectedMessage));
        }
        let receivers = note.receivers;
        self.reporter.tell(News::Session { receivers }).await;
        Ok(())
    }

    /// A new link: whether it is a session, and who feeds us, is said anew.
    pub(super) fn begin_link(&mut self) {
        if let Some(session) = &mut self.session {
            session.note = None;
            session.held = Vec::new();
            session.will_is = WillIs::Old;
            session.feed.set_feeder(None);
        }
    }

    /// Answers to a session, after the acceptance.
    pub(super) async fn tell_passes_on<L: Inbound>(&mut self, link: &mut L) -> Result<(), Ended> {
        let path = link.path();
        let near = path.addr.is_some_and(|addr| is_local_network(addr.ip()));
        let passes_on = self.knows_all() && self.terms.pass_on.allows(near);
        let Some(session) = &mut self.session else {
            return Ok(());
        };
        let Some(note) = session.note else {
            return Ok(());
        };
        // Who fed us over the link before may still do so, until something else is said.
        let feeder = session.last.take().and_then(|last| last.feeder);
        session.last = Some(Last { note, path, feeder });
        session.passes_on = passes_on;
        session.feed.shelf.set_alone(!link.is_senders());
        let news = News::PassesOn {
            key: note.key,
            shelf: passes_on.then(|| session.feed.shelf.clone()),
            feeding: session.feeding.take(),
        };
        self.reporter.tell(news).await;
        send(link, ReceiverMessage::PassesOn(passes_on)).await
    }

    /// What others may have of a transfer that is complete, they may have after the next start of
    /// this program, too. `now` is in seconds since 1970.
    pub async fn keep_shelf(&self, now: u64) {
        let session = self.session.as_ref().filter(|session| session.passes_on);
        let Some((session, last)) = session.and_then(|s| Some((s, s.last.as_ref()?))) else {
            return;
        };
        let (shelf, key) = (session.feed.shelf.clone(), last.note.key);
        let (dir, id) = (self.terms.journals.clone(), self.id);
        let work = move || kept::keep(&shelf, &dir, id, key, now);
        let kept = tokio::task::spawn_blocking(work).await;
        if let Err(error) = kept.map_err(io::Error::other).flatten() {
            tracing::warn!(%error, "others may have it only as long as this program runs");
        }
    }

    /// The person passes nothing on, now and after the next start of this program.
    pub(super) fn keep_to_itself(&mut self) {
        self.terms.pass_on = PassOn::Never;
        if let Some(taken) = &self.taken {
            taken.journal.append(&[Record::KeepsToItself]);
        }
    }

    /// Whoever has only some of it, or does not know any more where it went, would let others wait
    /// for the rest.
    fn knows_all(&self) -> bool {
        let has_all = |taken: &Taken| {
            let rules = &taken.rules;
            let replay = rules.replay.as_ref();
            rules.excluded.is_empty() && replay.is_none_or(knows_where)
        };
        self.taken.as_ref().is_some_and(has_all)
    }

    /// What an earlier run of the program has finished others may have from this one, too.
    pub(super) fn restore_shelf(&mut self) {
        let rules = self.taken.as_ref().map(|taken| taken.rules.clone());
        let Some((folder, replay)) = rules
            .as_ref()
            .and_then(|rules| Some((&rules.folder, rules.replay.as_ref()?)))
        else {
            return;
        };
        for (name, (stamp, looks)) in &replay.shelved {
            let done = replay.done.get(name);
            let saved_as = done.map(|done| done.saved_as.as_ref().unwrap_or(name));
            if let Some(Ok(path)) = saved_as.map(|path| SafePath::parse(path)) {
                let session = self.session.get_or_insert_with(InSession::new);
                session.feed.shelf.restore(*stamp, folder, &path, *looks);
            }
        }
    }

    /// What there is for a session, if the sender says over this link that it is one.
    pub(in crate::transfer) fn feed(&self) -> Option<&Feed> {
        let session = self.session.as_ref();
        let session = session.filter(|session| session.note.is_some());
        session.map(|session| &session.feed)
    }

    /// What is to be said of files that are not complete: what others may have of them now, if that
    /// is news over this link.
    pub(in crate::transfer) fn held_parts(&mut self) -> Option<Vec<HeldPart>> {
        let session = self.session.as_mut().filter(|s| s.note.is_some())?;
        let held = session.feed.shelf.parts();
        let is_news = held != session.held;
        session.held.clone_from(&held);
        is_news.then_some(held)
    }

    /// Who feeds us from now on. `sender` is where the sender is: not everything that it says can
    /// be true.
    pub(in crate::transfer) fn set_feeder(
        &mut self,
        mut feeder: Feeder,
        sender: Option<SocketAddr>,
    ) -> Result<(), Ended> {
        make_plausible(&mut feeder, sender)?;
        let session = in_session(&mut self.session)?;
        if let Some(last) = &mut session.last {
            last.feeder = match &feeder {
                Feeder::Origin => None,
                Feeder::Member { .. } => Some(feeder.clone()),
            };
        }
        session.feed.set_feeder(Some(feeder));
        Ok(())
    }

    /// What the sender says of a file in case that it leaves.
    pub(in crate::transfer) fn take_will_file(&mut self, file: WillFile) -> Result<(), Ended> {
        let offered = self.table.lock().file_size(file.index);
        let memory = self.table.lock().memory();
        let session = in_session(&mut self.session)?;
        match session.will_is {
            // Of another link: its files may have changed.
            WillIs::Old | WillIs::Kept => session.will = Will::default(),
            WillIs::Begun | WillIs::Told(_) | WillIs::Keeping(_) => {}
            WillIs::TooLarge => return Ok(()),
        }
        session.will_is = WillIs::Begun;
        let added = session.will.add(self.id, file, offered);
        added.map_err(Ended::Misbehaved)?;
        if !self.share.cover(memory + session.will.memory()) {
            self.give_up_will();
        }
        Ok(())
    }

    /// Bytes of memory that the will takes, about.
    pub(super) fn will_memory(&self) -> usize {
        let session = self.session.as_ref();
        session.map_or(0, |session| session.will.memory())
    }

    /// There is no room for a will.
    pub(super) fn give_up_will(&mut self) {
        if let Some(session) = &mut self.session {
            session.will = Will::default();
            session.will_is = WillIs::TooLarge;
        }
    }

    /// Who has the files if the sender leaves.
    pub(in crate::transfer) fn take_heirs(
        &mut self,
        mut heirs: Vec<Feeder>,
        sender: Option<SocketAddr>,
    ) -> Result<(), Ended> {
        for heir in &mut heirs {
            make_plausible(heir, sender)?;
        }
        let session = in_session(&mut self.session)?;
        match session.will_is {
            WillIs::Old | WillIs::Kept => session.will = Will::default(),
            WillIs::Begun | WillIs::Told(_) | WillIs::Keeping(_) => {}
            WillIs::TooLarge => return Ok(()),
        }
        if heirs.is_empty() {
            // Those that are on disk are not to be asked any more.
            self.keeper.withdraw();
        }
        session.will_is = WillIs::Told(0);
        session.will.name_heirs(heirs).map_err(Ended::Misbehaved)
    }

    /// Begins to write what is known in case that the sender leaves, if that is enough for it to
    /// leave and it does not know. Then [`Self::is_kept`] is to be asked.
    pub(in crate::transfer) fn keep_will(&mut self) -> Option<JoinHandle<bool>> {
        let entries = self.can_go_on()?;
        let draft = self.draft(entries)?;
        self.session.as_mut()?.will_is = WillIs::Keeping(entries);
        Some(self.keeper.keep(draft))
    }

    /// What is to be on disk in case that the sender leaves: of those who may have the files, only
    /// those who have not lied.
    pub(super) fn draft(&self, entries: u32) -> Option<Draft> {
        let session = self.session.as_ref()?;
        let last = session.last.as_ref()?;
        Some(Draft {
            transfer: self.id,
            note: last.note,
            path: last.path.clone(),
            heirs: session.heirs(),
            files: session.will.files().clone(),
            table: self.table.clone(),
            entries,
            journal: self.taken.as_ref()?.journal.clone(),
        })
    }

    /// What was to be written is there or not. Returns what the sender is to be told: of how many
    /// entries it is true that it may leave.
    pub(in crate::transfer) fn is_kept(&mut self, kept: bool) -> Option<u32> {
        let session = self.session.as_mut()?;
        let WillIs::Keeping(entries) = session.will_is else {
            // Something else was said meanwhile.
            return None;
        };
        session.will_is = WillIs::Told(entries);
        kept.then_some(entries)
    }

    /// Of how many entries it is news that the sender may leave.
    fn can_go_on(&self) -> Option<u32> {
        let session = self.session.as_ref()?;
        let WillIs::Told(before) = session.will_is else {
            return None;
        };
        let table = self.table.lock();
        let entries = table.len();
        // What the sender's person has paused waits for the sender.
        let open = |index: &FileIndex| !matches!(table.state(*index), Some(FileState::Settled(_)));
        let is_paused = self.pauses.all().is_some()
            || self.pauses.all_is_theirs()
            || self.pauses.theirs().iter().any(open);
        let is_news = entries > before && !is_paused;
        (is_news && session.is_will(&table)).then_some(entries)
    }

    /// An earlier run of the program knew how to go on without the sender.
    pub(super) fn restore_will(&mut self, kept: KeptWill) {
        let KeptWill {
            note,
            path,
            table,
            will,
        } = kept;
        if !self.share.cover(table.memory() + will.memory()) {
            return;
        }
        self.keeper.is_there();
        *self.table.lock() = table;
        let mut session = self.session.take().unwrap_or_else(InSession::new);
        session.last = Some(Last {
            note,
            path,
            feeder: None,
        });
        session.will = will;
        session.will_is = WillIs::Kept;
        self.session = Some(session);
    }

    /// The sender's person has paused something, or has it go on. That the sender may leave is news
    /// again afterwards.
    pub(in crate::transfer) fn note_held(&mut self) {
        // What is paused stays so, whatever happens to this program.
        self.keeper.withdraw();
        if let Some(session) = &mut self.session
            && let WillIs::Told(_) | WillIs::Keeping(_) = session.will_is
        {
            session.will_is = WillIs::Told(0);
        }
    }

    /// Whether the sender has made a will for all that is missing. What its person has stopped
    /// stays so.
    pub fn has_will(&self) -> bool {
        let covers = |session: &InSession| session.is_will(&self.table.lock());
        self.taken.is_some()
            && !self.pauses.all_is_theirs()
            && self.session.as_ref().is_some_and(covers)
    }

    /// Who stands in for the sender while that is gone, if it [has made a will](Self::has_will).
    pub fn executor(&self, back: watch::Receiver<bool>) -> Option<Executor> {
        let session = self.session.as_ref().filter(|_| self.has_will())?;
        let last = session.last.as_ref()?;
        let table = self.table.lock();
        let estate = Estate {
            head: table.head(self.id),
            note: last.note,
            path: last.path.clone(),
            feeder: last.feeder.clone().filter(|f| session.is_honest(f)),
            heirs: session.heirs(),
            back,
        };
        Some(Executor::new(&session.will, estate))
    }

    /// The sender lists its files anew: what it said of them by their numbers counts no more.
    pub(super) fn forget_will(&mut self) {
        self.keeper.withdraw();
        if let Some(session) = &mut self.session {
            session.will = Will::default();
            session.feed.shelf.forget_numbers();
        }
    }

    /// What is to be told about whoever feeds us; never outside a session. Cancel-safe.
    pub(in crate::transfer) async fn next_trouble(
        session: &mut Option<InSession>,
    ) -> (TransferId, Trouble) {
        if let Some(session) = session
            && let Some((about, trouble)) = session.troubles.recv().await
        {
            if trouble == Trouble::Lied {
                session.note_liar(about);
            }
            return (about, trouble);
        }
        std::future::pending().await
    }
}

impl InSession {
    fn new() -> Self {
        let (feed, end, troubles) = Feed::new();
        Self {
            feed,
            troubles,
            feeding: Some(end),
            note: None,
            passes_on: false,
            held: Vec::new(),
            will: Will::default(),
            will_is: WillIs::Old,
            last: None,
            liars: HashSet::new(),
        }
    }

    /// It is nobody to go on with.
    pub(super) fn note_liar(&mut self, liar: TransferId) {
        if self.liars.len() < LIARS_MAX {
            self.liars.insert(liar);
        }
    }

    /// Whether nothing is missing that the sender would have to say or send, and somebody who has
    /// not lied may have it.
    pub(super) fn is_will(&self, table: &FileTable) -> bool {
        let is_all = match self.will_is {
            WillIs::Kept => true,
            WillIs::Old | WillIs::Begun | WillIs::Told(_) => self.will.covers(table),
            WillIs::Keeping(_) | WillIs::TooLarge => self.will.covers(table),
        };
        is_all && self.will.heirs().iter().any(|heir| self.is_honest(heir))
    }

    /// Whom the sender named, without those who have lied.
    pub(super) fn heirs(&self) -> Vec<Feeder> {
        let honest = |heir: &&Feeder| self.is_honest(heir);
        self.will.heirs().iter().filter(honest).cloned().collect()
    }

    /// Who fed us over the last link of the sender, if not the sender.
    pub(super) fn last_feeder(&self) -> Option<&Feeder> {
        self.last.as_ref()?.feeder.as_ref()
    }

    fn is_honest(&self, feeder: &Feeder) -> bool {
        match feeder {
            Feeder::Member { member, .. } => !self.liars.contains(member),
            Feeder::Origin => true,
        }
    }
}

/// Whether others may have all files that an earlier run of the program has finished.
fn knows_where(replay: &Replay) -> bool {
    replay.done.iter().all(|(name, done)| match done.outcome {
        Outcome::New | Outcome::Identical | Outcome::Renamed | Outcome::Overwritten => {
            // Folders and links have no hash.
            done.hash.is_none() || replay.shelved.contains_key(name)
        }
        Outcome::Skipped | Outcome::Failed(_) => false,
    })
}

/// What there is for a session that was told of over this link.
fn in_session(session: &mut Option<InSession>) -> Result<&mut InSession, Ended> {
    let session = session.as_mut().filter(|session| session.note.is_some());
    session.ok_or(Ended::Misbehaved(Offence::UnexpectedMessage))
}

/// Leaves out where nobody can be whom the sender, who is there, could have met.
fn make_plausible(feeder: &mut Feeder, sender: Option<SocketAddr>) -> Result<(), Ended> {
    if let Feeder::Member { addrs, .. } = feeder {
        if addrs.len() > FEEDER_ADDRS_MAX {
            return Err(Ended::Misbehaved(Offence::TooManyAddrs));
        }
        if let Some(sender) = sender {
            addrs.retain(|addr| is_plausible(*addr, sender.ip()));
        }
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::peer::PeerId;
    use crate::protocol::sessions::{FeedingKey, Ticket};

    fn heir(n: u8) -> Feeder {
        let peer = PeerId::from_bytes([n; 32]);
        Feeder::Member {
            member: TransferId([n; 16]),
            peer,
            addrs: Vec::new(),
            ticket: Ticket::new(&FeedingKey([n; 32]), peer),
        }
    }

    #[tokio::test]
    async fn nobody_goes_on_with_those_who_have_lied() {
        let mut session = InSession::new();
        session.will.name_heirs(vec![heir(1), heir(2)]).unwrap();
        let say = session.feeding.take().unwrap().troubles;
        let mut session = Some(session);
        for (n, trouble, left) in [
            (1, Trouble::Gone, vec![heir(1), heir(2)]),
            (1, Trouble::Lied, vec![heir(2)]),
            (2, Trouble::Lied, vec![]),
        ] {
            say.send((TransferId([n; 16]), trouble)).await.unwrap();
            let told = Incoming::next_trouble(&mut session).await;
            assert_eq!(told, (TransferId([n; 16]), trouble));
            let session = session.as_ref().unwrap();
            assert_eq!(session.heirs(), left);
            assert_eq!(
                session.peer_of(TransferId([2; 16])),
                Some(PeerId::from_bytes([2; 32]))
            );
            // Without files nothing is missing.
            assert_eq!(session.is_will(&FileTable::default()), !left.is_empty());
        }
    }
}
