//! At a receiver: gets from its feeder what the sender refers elsewhere.

mod silence;

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, Interval, MissedTickBehavior, timeout};

use self::silence::{Answered, Group, Watch};
use crate::net::connector::{Connector, Dial};
use crate::net::link::{LinkError, Offence};
use crate::net::pull_link::{PullAnswer, QuicPull};
use crate::protocol::message::{FileIndex, Stamp, TransferId};
use crate::protocol::sessions::{Feeder, PULLS_MAX, Pull, PullHead, Trouble};
use crate::transfer::feed::{Ask, Feeding, Given};

/// How long a call to a feeder may take: so long nothing comes.
const CALL_DEADLINE: Duration = Duration::from_secs(4);
/// Shortest wait between two calls, whomever the sender names: it must not be able to make us knock
/// at many doors.
const AGAIN: Duration = Duration::from_secs(1);
/// Longest wait before the same feeder is called again, if the sender names no other one.
const AGAIN_MAX: Duration = Duration::from_secs(60);
/// How often it is looked at what still has to come.
const TICK: Duration = Duration::from_secs(1);

/// Answers what a transfer asks for, until it is over.
pub async fn feed(feeding: Feeding, connector: Connector) {
    let Feeding {
        asks,
        feeder,
        troubles,
    } = feeding;
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut feeding = Fetcher {
        connector,
        asks,
        feeder,
        troubles,
        open: BTreeMap::new(),
        next: 0,
        tick,
        called: None,
        again: AGAIN,
    };
    while feeding.step().await.is_ok() {}
}

/// The transfer is over.
struct Over;

struct Fetcher {
    connector: Connector,
    asks: mpsc::Receiver<Ask>,
    feeder: watch::Receiver<Option<Feeder>>,
    troubles: mpsc::Sender<(TransferId, Trouble)>,
    /// What was asked for and has not come, by number, in order.
    open: BTreeMap<u32, Open>,
    next: u32,
    tick: Interval,
    /// When somebody was called last.
    called: Option<Instant>,
    /// How long to wait before the same one is called again.
    again: Duration,
}

struct Open {
    index: FileIndex,
    stamp: Stamp,
    group: u32,
    give: oneshot::Sender<Given>,
}

impl Open {
    fn want(&self, id: u32) -> Pull {
        Pull::Want {
            id,
            stamp: self.stamp,
            group: self.group,
        }
    }

    fn group(&self) -> Group {
        (self.index, self.group)
    }
}

/// Why a feeder is not used any more.
enum Left {
    /// The sender names another one.
    Changed,
    /// It does not do what it should.
    Trouble(Trouble),
}

impl Fetcher {
    /// Uses the feeder of now until that changes.
    async fn step(&mut self) -> Result<(), Over> {
        let feeder = self.feeder.borrow_and_update().clone();
        match feeder {
            None => self.wait(None).await,
            Some(Feeder::Origin) => {
                // Whoever waits hears that nobody will give it, and asks the sender.
                self.open.clear();
                self.wait(None).await
            }
            Some(Feeder::Member {
                member,
                peer,
                addrs,
                ticket,
                ..
            }) => {
                if self.open.is_empty() {
                    // Nobody is called for nothing.
                    return self.wait(None).await;
                }
                let early = self
                    .called
                    .map(|called| AGAIN.saturating_sub(called.elapsed()));
                if let Some(early) = early.filter(|early| !early.is_zero()) {
                    return self.wait(Some(early)).await;
                }
                self.called = Some(Instant::now());
                let dial = Dial {
                    expect: Some(peer),
                    addrs,
                    relays: Vec::new(),
                };
                let head = PullHead { member, ticket };
                match self.pull_from(dial, head).await? {
                    Left::Changed => {
                        self.again = AGAIN;
                        Ok(())
                    }
                    Left::Trouble(trouble) => {
                        // Full: the sender has heard enough of it.
                        let _ = self.troubles.try_send((member, trouble));
                        let again = self.again;
                        self.again = (again * 2).min(AGAIN_MAX);
                        self.wait(Some(again)).await
                    }
                }
            }
        }
    }

    /// Collects what is asked for until there is another feeder or time is up, or, where no time is
    /// set, until there is something to call a feeder for.
    async fn wait(&mut self, time: Option<Duration>) -> Result<(), Over> {
        let until = async {
            match time {
                Some(time) => tokio::time::sleep(time).await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(until);
        loop {
            let room = self.open.len() < PULLS_MAX;
            tokio::select! {
                ask = self.asks.recv(), if room => self.take(ask)?,
                changed = self.feeder.changed() => return changed.map_err(|_| Over),
                () = &mut until => return Ok(()),
                _ = self.tick.tick() => self.open.retain(|_, open| !open.give.is_closed()),
            }
            match *self.feeder.borrow() {
                Some(Feeder::Origin) => self.open.clear(),
                Some(Feeder::Member { .. }) if time.is_none() && !self.open.is_empty() => {
                    return Ok(());
                }
                Some(Feeder::Member { .. }) | None => {}
            }
        }
    }

    /// Takes in what is asked for.
    fn take(&mut self, ask: Option<Ask>) -> Result<(), Over> {
        match ask.ok_or(Over)? {
            Ask::Group {
                index,
                stamp,
                group,
                give,
            } => {
                let id = self.next;
                self.next = self.next.wrapping_add(1);
                let open = Open {
                    index,
                    stamp,
                    group,
                    give,
                };
                self.open.insert(id, open);
            }
            // Without a link there is nobody who could be meant.
            Ask::Lied(_) => {}
        }
        Ok(())
    }

    /// Calls a feeder and gets from it whatever is asked for.
    async fn pull_from(&mut self, dial: Dial, head: PullHead) -> Result<Left, Over> {
        let connector = self.connector.clone();
        let call = async {
            let connection = connector.prepare_connection(dial, CALL_DEADLINE).await;
            let connection = connection.map_err(|error| error.to_string())?;
            let link = connection.pull(head).await;
            link.map_err(|error| error.to_string())
        };
        let call = timeout(CALL_DEADLINE, call);
        tokio::pin!(call);
        let link = loop {
            let room = self.open.len() < PULLS_MAX;
            tokio::select! {
                called = &mut call => break called,
                ask = self.asks.recv(), if room => self.take(ask)?,
                changed = self.feeder.changed() => {
                    return changed.map(|()| Left::Changed).map_err(|_| Over);
                }
            }
        };
        match link {
            Ok(Ok(link)) => self.pull(link, head.member).await,
            Ok(Err(error)) => {
                tracing::debug!(error, "a feeder cannot be reached");
                Ok(Left::Trouble(Trouble::Gone))
            }
            Err(_) => Ok(Left::Trouble(Trouble::Gone)),
        }
    }

    async fn pull(&mut self, mut link: QuicPull, from: TransferId) -> Result<Left, Over> {
        for (id, open) in &self.open {
            if link.send(open.want(*id)).await.is_err() {
                return Ok(Left::Trouble(Trouble::Gone));
            }
        }
        let mut watch = Watch::default();
        loop {
            let room = self.open.len() < PULLS_MAX;
            let done = tokio::select! {
                biased;
                changed = self.feeder.changed() => {
                    if let Some(trouble) = watch.left(link.taken(), self.oldest()) {
                        let _ = self.troubles.try_send((from, trouble));
                    }
                    // It may be gone: nobody waits for it.
                    tokio::spawn(link.close());
                    return changed.map(|()| Left::Changed).map_err(|_| Over);
                }
                answer = link.recv() => {
                    let answered = answer.and_then(|answer| self.on_answer(&link, answer, from));
                    answered.map(|answered| watch.answered(answered, link.taken()))
                }
                ask = self.asks.recv(), if room => match ask {
                    Some(Ask::Lied(liar)) if liar == from => {
                        tokio::spawn(link.close());
                        return Ok(Left::Trouble(Trouble::Lied));
                    }
                    ask => self.ask(&mut link, ask).await?,
                },
                _ = self.tick.tick() => {
                    if let Some(trouble) = watch.tick(link.heard(), link.taken(), self.oldest()) {
                        let _ = self.troubles.try_send((from, trouble));
                    }
                    self.on_tick(&mut link, watch.is_silent()).await
                }
            };
            if let Err(error) = done {
                tracing::debug!(%error, "a feeder is gone");
                return Ok(match (is_lie(&error), self.open.is_empty()) {
                    // Whoever gives what nobody asked for is not to be asked again.
                    (true, _) => Left::Trouble(Trouble::Lied),
                    // Of one from which nothing is wanted that means nothing.
                    (false, true) => Left::Changed,
                    (false, false) => Left::Trouble(Trouble::Gone),
                });
            }
        }
    }

    async fn ask(
        &mut self,
        link: &mut QuicPull,
        ask: Option<Ask>,
    ) -> Result<Result<(), LinkError>, Over> {
        let id = self.next;
        self.take(ask)?;
        match self.open.get(&id) {
            Some(open) => Ok(link.send(open.want(id)).await),
            None => Ok(Ok(())),
        }
    }

    /// Gives on what has come.
    fn on_answer(
        &mut self,
        link: &QuicPull,
        answer: PullAnswer,
        from: TransferId,
    ) -> Result<Answered, LinkError> {
        let (id, content) = match answer {
            PullAnswer::Content { id, bytes } => (id, Some(bytes)),
            // Whoever waits hears that nobody gives it, and asks the sender.
            PullAnswer::Gone { id } => (id, None),
        };
        match (self.open.remove(&id), content) {
            (Some(open), Some(content)) => {
                // Whoever waited may have been stopped meanwhile.
                let _ = open.give.send(Given { content, from });
                self.again = AGAIN;
                Ok(Answered::Content)
            }
            (Some(open), None) => {
                self.again = AGAIN;
                Ok(Answered::Gone(open.group()))
            }
            // What was taken back may have been on its way.
            (None, _) if id < self.next => Ok(Answered::Old),
            (None, _) => Err(link.offend(Offence::NotAskedFor)),
        }
    }

    /// The group that was asked for first of those that are awaited.
    fn oldest(&self) -> Option<Group> {
        self.open.first_key_value().map(|(_, open)| open.group())
    }

    /// Takes back what nobody waits for any more.
    async fn on_tick(&mut self, link: &mut QuicPull, silent: bool) -> Result<(), LinkError> {
        if silent {
            // Nothing is taken back; but if it is there, something comes that says so.
            link.send(Pull::Forget { id: self.next }).await?;
        }
        let dropped = self.open.iter().filter(|(_, open)| open.give.is_closed());
        let dropped: Vec<u32> = dropped.map(|(id, _)| *id).collect();
        for id in dropped {
            self.open.remove(&id);
            link.send(Pull::Forget { id }).await?;
        }
        Ok(())
    }
}

/// Whether a feeder has given what it must not, and not just broken off.
fn is_lie(error: &LinkError) -> bool {
    let lies = [
        Offence::NotAskedFor,
        Offence::WrongGroup,
        Offence::UnexpectedMessage,
    ];
    lies.iter().any(|lie| *error == LinkError::Offence(*lie))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use super::*;
    use crate::identity::Identity;
    use crate::net::acceptor::Arrival;
    use crate::net::{EndpointOptions, Net, bind};
    use crate::peer::PeerId;
    use crate::protocol::sessions::{FeedingKey, Ticket};

    /// Far more than anything takes.
    const LONG: Duration = Duration::from_secs(30);

    async fn node() -> (PeerId, Connector, mpsc::Receiver<Arrival>, Net) {
        let identity = Identity::generate().unwrap();
        let options = EndpointOptions {
            bind: Some(Ipv4Addr::LOCALHOST.into()),
            port: 0,
            name: "somebody".into(),
        };
        let (connector, arrivals, net) = bind(&identity, options).await.unwrap();
        (identity.id(), connector, arrivals, net)
    }

    /// What is said of a feeder that gives what nobody asked for, or nothing.
    async fn said(invents: bool) -> (TransferId, Trouble) {
        let (us, connector, _arrivals, _net) = node().await;
        let (peer, _connector, mut arrivals, net) = node().await;
        let member = TransferId([5; 16]);
        let (_feeder, feeder) = watch::channel(Some(Feeder::Member {
            member,
            peer,
            addrs: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, net.local_port()))],
            ticket: Ticket::new(&FeedingKey([1; 32]), us),
        }));
        let (ask, asks) = mpsc::channel(1);
        let (complain, mut troubles) = mpsc::channel(4);
        let feeding = Feeding {
            asks,
            feeder,
            troubles: complain,
        };
        let _feeding = tokio::spawn(feed(feeding, connector));
        let (give, _given) = oneshot::channel();
        let (stamp, group) = (Stamp([7; 16]), 0);
        let asked = ask.send(Ask::Group {
            index: 0,
            stamp,
            group,
            give,
        });
        let asked = asked.await;
        asked.unwrap_or_else(|_| panic!("nobody takes it"));
        let pulled = async {
            loop {
                if let Arrival::Pull { mut link, .. } = arrivals.recv().await.unwrap() {
                    assert!(link.recv().await.unwrap().is_some());
                    if invents {
                        link.begin(99, 1).await.unwrap();
                        link.give(&[1]).await.unwrap();
                        return Some(link);
                    }
                    return None;
                }
            }
        };
        let _link = timeout(LONG, pulled).await.unwrap();
        timeout(LONG, troubles.recv()).await.unwrap().unwrap()
    }

    #[tokio::test]
    async fn whoever_gives_what_nobody_asked_for_is_not_just_gone() {
        let member = TransferId([5; 16]);
        assert_eq!(said(true).await, (member, Trouble::Lied));
        assert_eq!(said(false).await, (member, Trouble::Gone));
    }
}
