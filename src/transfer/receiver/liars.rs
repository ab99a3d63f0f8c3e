//! Whoever has passed on what it must not is nobody to go on with, now and after the next start of
//! this program.

use super::session::{InSession, WillIs};
use super::*;
use crate::peer::PeerId;
use crate::protocol::sessions::{Feeder, Trouble};

impl Incoming {
    /// Something is wrong with another receiver. If it has lied, the person here learns who that
    /// is: there may be nobody else who could be told.
    pub(in crate::transfer) async fn note_trouble(&mut self, about: TransferId, trouble: Trouble) {
        if trouble != Trouble::Lied {
            return;
        }
        let Some(session) = &mut self.session else {
            return;
        };
        session.note_liar(about);
        if let Some(peer) = session.peer_of(about) {
            self.reporter.tell(News::LiedTo(peer)).await;
        }
        self.disinherit();
    }

    /// Has nobody who has lied in what is on disk in case that the sender leaves.
    fn disinherit(&mut self) {
        let Some(session) = &mut self.session else {
            return;
        };
        if session.heirs().len() == session.will.heirs().len() {
            return;
        }
        if session.heirs().is_empty() {
            self.keeper.withdraw();
        }
        match session.will_is {
            // It is written once more, by itself.
            WillIs::Told(_) | WillIs::Keeping(_) => session.will_is = WillIs::Told(0),
            WillIs::Old | WillIs::Kept => {
                let (covers, entries) = {
                    let table = self.table.lock();
                    (session.is_will(&table), table.len())
                };
                match self.draft(entries).filter(|_| covers) {
                    Some(draft) => drop(self.keeper.keep(draft)),
                    None => self.keeper.withdraw(),
                }
            }
            WillIs::Begun | WillIs::TooLarge => self.keeper.withdraw(),
        }
    }
}

impl InSession {
    /// Who receives that transfer, if it was named to us.
    pub(super) fn peer_of(&self, transfer: TransferId) -> Option<PeerId> {
        let (fed, last) = (self.feed.feeder(), self.last_feeder());
        let named = self.will.heirs().iter().chain(&fed).chain(last);
        { named }.find_map(|feeder| match feeder {
            Feeder::Member { member, peer, .. } => (*member == transfer).then_some(*peer),
            Feeder::Origin => None,
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::net::link::PathInfo;
    use crate::net::link::PathKind;
    use crate::protocol::sessions::{FeedingKey, SessionNote, Ticket};
    use crate::transfer::kept_will::Draft;

    const ID: TransferId = TransferId([7; 16]);
    /// Far more than anything takes.
    const LONG: Duration = Duration::from_secs(60);

    fn heir(n: u8) -> Feeder {
        let peer = PeerId::from_bytes([n; 32]);
        Feeder::Member {
            member: TransferId([n; 16]),
            peer,
            addrs: Vec::new(),
            ticket: Ticket::new(&FeedingKey([n; 32]), peer),
        }
    }

    /// What an earlier run has left: somebody to go on with.
    async fn left(dir: &Path) {
        let head = JournalHead {
            transfer: ID,
            peer: PeerId::from_bytes([1; 32]).into(),
            peer_name: "from".into(),
            folder: dir.join("in"),
            on_conflict: ConflictPolicy::Rename,
            excluded: Vec::new(),
            started: 1,
        };
        let draft = Draft {
            transfer: ID,
            note: SessionNote {
                receivers: 3,
                key: FeedingKey([8; 32]),
            },
            path: PathInfo {
                kind: PathKind::Direct,
                addr: None,
                rtt: None,
            },
            heirs: vec![heir(1), heir(2)],
            files: Default::default(),
            table: SharedTable::default(),
            entries: 0,
            journal: SharedJournal::new(Journal::create(dir, &head).unwrap()),
        };
        assert!(Keeper::new(dir, ID).keep(draft).await.unwrap());
    }

    /// The same transfer in the next run, and what it tells.
    fn restarted(dir: &Path) -> (Incoming, mpsc::Receiver<(TransferId, News)>) {
        let terms = Terms {
            journals: dir.to_owned(),
            folder: dir.join("in"),
            on_conflict: ConflictPolicy::Rename,
            people: People::default(),
            accepted: true,
            blocked: false,
            answer_timeout: LONG,
            budget: Budget::default(),
            pass_on: PassOn::Always,
        };
        let who = Who {
            id: ID,
            peer: PeerId::from_bytes([1; 32]).into(),
            peer_name: "from".into(),
            started: 1,
        };
        let (news, told) = mpsc::channel(8);
        let table = SharedTable::default();
        let reporter = Reporter::new(ID, news);
        let mut incoming = Incoming::new(who, terms, table, Progress::shared(), reporter);
        let earlier = Earlier::open(dir, ID).unwrap().unwrap();
        incoming.continue_from(earlier).unwrap();
        (incoming, told)
    }

    /// Waits until these are the heirs on disk, or nobody is.
    async fn until_kept(dir: &Path, heirs: &[Feeder]) {
        let kept = async {
            loop {
                let kept = KeptWill::load(dir, ID).unwrap();
                if kept.map_or(Vec::new(), |kept| kept.will.heirs().to_vec()) == heirs {
                    return;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(LONG, kept).await.unwrap();
    }

    #[tokio::test]
    async fn whoever_has_lied_is_told_of_and_is_no_heir_after_the_next_start_either() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        left(dir).await;
        for (liar, others) in [(1, vec![heir(2)]), (2, vec![])] {
            let (mut incoming, mut told) = restarted(dir);
            assert!(incoming.has_will());
            let liar = TransferId([liar; 16]);
            incoming.note_trouble(liar, Trouble::Gone).await;
            assert!(told.try_recv().is_err(), "that is no lie");
            incoming.note_trouble(liar, Trouble::Lied).await;
            let news = told.try_recv().unwrap().1;
            assert!(matches!(news, News::LiedTo(peer) if peer.as_bytes()[0] == liar.0[0]));
            assert_eq!(incoming.has_will(), !others.is_empty());
            until_kept(dir, &others).await;
        }
        assert!(!restarted(dir).0.has_will());
    }
}
