//! A transfer that the sender makes to others, too, who pass content on to each other.

use super::*;
use std::net::SocketAddr;

use crate::net::{is_local_network, is_plausible};
use crate::protocol::sessions::{FEEDER_ADDRS_MAX, Feeder, SessionNote, Trouble};
use crate::transfer::feed::{Feed, Feeding, Troubles};

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
}

impl Incoming {
    /// The sender says that the same goes to others.
    pub(super) async fn join_session(&mut self, note: SessionNote) -> Result<(), Ended> {
        let session = self.session.get_or_insert_with(|| {
            let (feed, end, troubles) = Feed::new();
            InSession {
                feed,
                troubles,
                feeding: Some(end),
                note: None,
            }
        });
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
            session.feed.set_feeder(None);
        }
    }

    /// Answers to a session, after the acceptance.
    pub(super) async fn tell_passes_on<L: Inbound>(&mut self, link: &mut L) -> Result<(), Ended> {
        let Some(session) = &mut self.session else {
            return Ok(());
        };
        let Some(note) = session.note else {
            return Ok(());
        };
        let news = News::PassesOn {
            key: note.key,
            shelf: session.feed.shelf.clone(),
            feeding: session.feeding.take(),
        };
        self.reporter.tell(news).await;
        let path = link.path();
        let near = path.addr.is_some_and(|addr| is_local_network(addr.ip()));
        let passes_on = self.knows_all() && self.terms.pass_on.allows(near);
        send(link, ReceiverMessage::PassesOn(passes_on)).await
    }

    /// Whoever has only some of it, or does not know any more where it went, would let others wait
    /// for the rest.
    fn knows_all(&self) -> bool {
        let has_all = |taken: &Taken| {
            let rules = &taken.rules;
            let replay = rules.replay.as_ref();
            rules.excluded.is_empty() && replay.is_none_or(|replay| replay.done.is_empty())
        };
        self.taken.as_ref().is_some_and(has_all)
    }

    /// What there is for a session, if the sender says over this link that it is one.
    pub(in crate::transfer) fn feed(&self) -> Option<&Feed> {
        let session = self.session.as_ref();
        let session = session.filter(|session| session.note.is_some());
        session.map(|session| &session.feed)
    }

    /// Who feeds us from now on. `sender` is where the sender is: not everything that it says can
    /// be true.
    pub(in crate::transfer) fn set_feeder(
        &self,
        mut feeder: Feeder,
        sender: Option<SocketAddr>,
    ) -> Result<(), Ended> {
        let Some(feed) = self.feed() else {
            return Err(Ended::Misbehaved(Offence::UnexpectedMessage));
        };
        if let Feeder::Member { addrs, .. } = &mut feeder {
            if addrs.len() > FEEDER_ADDRS_MAX {
                return Err(Ended::Misbehaved(Offence::TooManyAddrs));
            }
            if let Some(sender) = sender {
                addrs.retain(|addr| is_plausible(*addr, sender.ip()));
            }
        }
        feed.set_feeder(Some(feeder));
        Ok(())
    }

    /// What is to be told about whoever feeds us; never outside a session. Cancel-safe.
    pub(in crate::transfer) async fn next_trouble(
        session: &mut Option<InSession>,
    ) -> (TransferId, Trouble) {
        if let Some(session) = session
            && let Some(trouble) = session.troubles.recv().await
        {
            return trouble;
        }
        std::future::pending().await
    }
}
