//! A code that was typed here: who may have made it, and whether he has.
//!
//! Those who are found nearby and those whom relays name are tried at the same time: whoever only
//! claims a number, by either way, keeps nobody else from being asked.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Mutex as Turn, Semaphore, SemaphorePermit, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::CodeNews;
use crate::fault::{CodeTrouble, Fault};
use crate::net::code_link::{NotProven, Proven};
use crate::net::connection::PeerConnection;
use crate::net::connector::Connector;
use crate::net::discovery::Near;
use crate::net::link::LinkError;
use crate::net::relay::NoHelp;
use crate::node::api::{Reply, Taking};
use crate::node::dial::{Callee, Lookup};
use crate::peer::PeerId;
use crate::protocol::codes::OneTimeCode;
use crate::protocol::link_uri::{Link, RelayHint};
use crate::protocol::message::{Code, TransferId};
use crate::protocol::relay::NoNumber;

/// Peers that relays name and that may learn whether one guess of their own is right: one for each
/// relay that there can be.
const RELAY_GUESSES: usize = 2;
/// The same for peers that were found nearby.
const NEAR_GUESSES: usize = 2;
/// Calls to peers nearby for one code, and to each of them: they may be heard with some of their
/// addresses first.
const NEAR_CALLS: usize = 8;
const NEAR_CALLS_EACH: usize = 2;
/// How often, and with which pause, a relay is asked that knows nobody: the sender may just be
/// coming back to it.
const ASKS: u32 = 2;
const ASK_AGAIN: Duration = Duration::from_millis(1500);
/// How long a connection to one of them may take.
const CONNECT: Duration = Duration::from_secs(15);
/// The same for somebody nearby, who may have gone without a word.
const CONNECT_NEAR: Duration = Duration::from_secs(5);
/// How long it may take to show each other that both know the code.
const PROVE: Duration = Duration::from_secs(15);
/// How long the answers of those nearby are waited for.
const LOOK_AROUND: Duration = Duration::from_secs(3);
/// Whoever is heard with one address is heard with his others at once.
const SETTLE: Duration = Duration::from_millis(150);
/// What to call the sender before he has said his name.
const SENDER: &str = "the sender";

/// A code, and what is needed to use it.
pub(in crate::node) struct Redeem {
    pub(in crate::node) code: OneTimeCode,
    /// Where it was made, if that is known: nobody else is asked then.
    pub(in crate::node) made_at: Option<Link>,
    pub(in crate::node) taking: Taking,
    pub(in crate::node) us: PeerId,
    pub(in crate::node) connector: Connector,
    pub(in crate::node) near: Near,
    pub(in crate::node) news: mpsc::Sender<CodeNews>,
    pub(in crate::node) agreements: Agreements,
}

/// What both sides have agreed on while a code was looked up, for whoever has to take it back.
#[derive(Debug, Clone, Default)]
pub(in crate::node) struct Agreements(Arc<Mutex<Vec<TransferId>>>);

impl Agreements {
    fn add(&self, transfer: TransferId) {
        let all = self.0.lock();
        all.unwrap_or_else(PoisonError::into_inner).push(transfer);
    }

    /// All but `kept`, once.
    pub(in crate::node) fn take_others(&self, kept: Option<TransferId>) -> Vec<TransferId> {
        let all = self.0.lock();
        let mut all = std::mem::take(&mut *all.unwrap_or_else(PoisonError::into_inner));
        all.retain(|transfer| Some(*transfer) != kept);
        all
    }
}

impl Redeem {
    /// Finds the sender, and has both sides show that they know the code.
    pub(in crate::node) async fn run(self) -> Result<Reply, Fault> {
        let relays = self.connector.relays();
        let made_at = self.made_at.clone();
        if made_at.is_none() && relays.is_empty() && !self.near.has_codes() {
            return Err(trouble(CodeTrouble::NoWay));
        }
        let mut missed = Missed::nobody(match relays.is_empty() {
            true => CodeTrouble::Nobody,
            false => CodeTrouble::NoRelay,
        });
        let search = Arc::new(Search {
            redeem: self,
            turns: Mutex::default(),
            relay_guesses: Guesses::new(RELAY_GUESSES),
            near_guesses: Guesses::new(NEAR_GUESSES),
        });
        if let Some(link) = made_at {
            let asked = search.ask(Candidate::behind(link)).await;
            return asked.map_err(|missed| missed.fault);
        }
        let mut ways = JoinSet::new();
        for relay in relays {
            ways.spawn(search.clone().at_relay(relay));
        }
        ways.spawn(search.nearby());
        while let Some(ended) = ways.join_next().await {
            match ended {
                Ok(Ok(reply)) => return Ok(reply),
                Ok(Err(other)) => missed = missed.or(other),
                Err(error) => tracing::error!(%error, "looking up a code panicked"),
            }
        }
        Err(missed.fault)
    }
}

/// Why a way did not lead to the sender.
#[derive(Debug)]
struct Missed {
    says: Says,
    fault: Fault,
}

/// How much that says, least first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Says {
    /// Nobody was found.
    Nothing,
    /// A relay knows nobody.
    NotAtRelay,
    /// Somebody nearby claims the code and cannot be reached.
    NotNearby,
    /// Whom a relay named was of no use.
    NotReached,
    /// Somebody has had his guess at the code.
    Guessed,
}

impl Missed {
    fn new(says: Says, fault: Fault) -> Self {
        Self { says, fault }
    }

    fn nobody(why: CodeTrouble) -> Self {
        Self::new(Says::Nothing, trouble(why))
    }

    fn or(self, other: Self) -> Self {
        match other.says > self.says {
            true => other,
            false => self,
        }
    }
}

/// Somebody who may have made the code.
#[derive(Debug)]
struct Candidate {
    peer: PeerId,
    addrs: Vec<SocketAddr>,
    relays: Vec<RelayHint>,
    found: Found,
}

/// How somebody was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    /// By a relay, or by the link that the code stood in.
    Named,
    /// By what he says nearby.
    Nearby,
}

impl Candidate {
    /// Who has made a one-time link.
    fn behind(link: Link) -> Self {
        Self {
            peer: link.id,
            addrs: link.addrs,
            relays: link.relays,
            found: Found::Named,
        }
    }
}

/// Whether a peer has had its guess; whoever holds the lock is being asked.
type HadGuess = Arc<Turn<bool>>;

/// How many may still have a guess.
#[derive(Debug)]
struct Guesses {
    left: AtomicUsize,
    free: Semaphore,
}

impl Guesses {
    fn new(most: usize) -> Self {
        Self {
            left: AtomicUsize::new(most),
            free: Semaphore::new(most),
        }
    }

    /// Waits until somebody may be asked; `None` if all guesses were had.
    async fn next(&self) -> Option<SemaphorePermit<'_>> {
        self.free.acquire().await.ok()
    }

    /// Somebody has had his.
    fn had(&self, guess: SemaphorePermit<'_>) {
        guess.forget();
        if self.left.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.free.close();
        }
    }
}

struct Search {
    redeem: Redeem,
    turns: Mutex<HashMap<PeerId, HadGuess>>,
    relay_guesses: Guesses,
    near_guesses: Guesses,
}

impl Search {
    /// Asks a relay.
    async fn at_relay(self: Arc<Self>, relay: RelayHint) -> Result<Reply, Missed> {
        let number = self.redeem.code.number();
        let mut asks = 1;
        let found = loop {
            let found = self.redeem.connector.find(&relay, number).await;
            if found != Err(NoHelp::Says(NoNumber::Nobody)) || asks == ASKS {
                break found;
            }
            asks += 1;
            sleep(ASK_AGAIN).await;
        };
        let why = match found {
            Ok(peer) => {
                let candidate = Candidate {
                    peer,
                    addrs: Vec::new(),
                    relays: vec![relay],
                    found: Found::Named,
                };
                return self.ask(candidate).await;
            }
            Err(NoHelp::Away) => return Err(Missed::nobody(CodeTrouble::NoRelay)),
            Err(NoHelp::Says(NoNumber::Busy)) => CodeTrouble::Busy,
            Err(NoHelp::Says(NoNumber::Nobody | NoNumber::Taken)) => CodeTrouble::Nobody,
        };
        Err(Missed::new(Says::NotAtRelay, trouble(why)))
    }

    /// Asks the computers nearby.
    async fn nearby(self: Arc<Self>) -> Result<Reply, Missed> {
        let number = self.redeem.code.number();
        let mut missed = Missed::nobody(CodeTrouble::Nobody);
        let Some(mut codes) = self.redeem.near.seek_codes(Some(number)).await else {
            return Err(missed);
        };
        let until = Instant::now() + LOOK_AROUND;
        let (mut called, mut calls) = (Called::default(), JoinSet::new());
        let mut looks = true;
        loop {
            let heard = codes.borrow_and_update().clone();
            for code in heard.found.iter().filter(|code| code.number == number) {
                if looks && called.is_worth_it(code.peer, &code.addrs) {
                    let candidate = Candidate {
                        peer: code.peer,
                        addrs: code.addrs.clone(),
                        relays: Vec::new(),
                        found: Found::Nearby,
                    };
                    let search = self.clone();
                    calls.spawn(async move { search.ask(candidate).await });
                }
            }
            tokio::select! {
                Some(ended) = calls.join_next() => match ended {
                    Ok(Ok(reply)) => return Ok(reply),
                    Ok(Err(other)) => missed = missed.or(other),
                    Err(error) => tracing::error!(%error, "asking for a code panicked"),
                },
                changed = codes.changed(), if looks => match changed {
                    Ok(()) => sleep(SETTLE).await,
                    Err(_) => looks = false,
                },
                () = sleep_until(until), if looks => looks = false,
                else => return Err(missed),
            }
        }
    }

    /// Whether somebody knows the code.
    async fn ask(&self, candidate: Candidate) -> Result<Reply, Missed> {
        let Candidate {
            peer,
            addrs,
            relays,
            found,
        } = candidate;
        let (failed, guesses, connect) = match found {
            Found::Named => (Says::NotReached, &self.relay_guesses, CONNECT),
            Found::Nearby => (Says::NotNearby, &self.near_guesses, CONNECT_NEAR),
        };
        let callee = Callee {
            expect: Some(peer),
            addrs,
            relays,
            near: self.redeem.near.clone(),
            host: None,
            shown: SENDER.into(),
            lookup: Lookup::Never,
        };
        let connection = callee.connect(&self.redeem.connector, connect).await;
        let connection = connection.map_err(|fault| match found {
            // What anybody claims nearby is no ground for more than that.
            Found::Nearby => {
                let peer = SENDER.into();
                Missed::new(failed, Fault::PeerOffline { peer })
            }
            Found::Named => Missed::new(failed, fault),
        })?;
        // First the guess, then the turn: whoever has the turn waits for nobody else.
        let Some(guess) = guesses.next().await else {
            return Err(Missed::nobody(CodeTrouble::Nobody));
        };
        let turn = self.turn(peer);
        let mut had_guess = turn.lock().await;
        if *had_guess {
            return Err(Missed::nobody(CodeTrouble::Nobody));
        }
        match self.prove(&connection).await {
            Ok(proven) => self.agree(peer, proven).await,
            Err(fault) => {
                let is_guess = fault == trouble(CodeTrouble::Wrong);
                if is_guess {
                    *had_guess = true;
                    guesses.had(guess);
                }
                let says = if is_guess { Says::Guessed } else { failed };
                Err(Missed::new(says, fault))
            }
        }
    }

    fn turn(&self, peer: PeerId) -> HadGuess {
        let turns = self.turns.lock();
        let mut turns = turns.unwrap_or_else(PoisonError::into_inner);
        turns.entry(peer).or_default().clone()
    }

    async fn prove(&self, connection: &PeerConnection) -> Result<Proven, Fault> {
        let name = || connection.name().to_owned();
        let proving = connection.prove(&self.redeem.code, self.redeem.us);
        let Ok(proven) = timeout(PROVE, proving).await else {
            // It may know by now whether a guess was right.
            return Err(trouble(CodeTrouble::Wrong));
        };
        proven.map_err(|error| match error {
            NotProven::Wrong => trouble(CodeTrouble::Wrong),
            NotProven::Denied => trouble(CodeTrouble::Nobody),
            NotProven::Unknown => Fault::Version {
                peer: name(),
                peer_is_newer: None,
                original: None,
            },
            NotProven::Link(LinkError::Offence(offence)) => Fault::Misbehaved {
                peer: name(),
                offence: offence.to_string(),
            },
            NotProven::Link(LinkError::Closed(Code::Busy)) => trouble(CodeTrouble::Busy),
            NotProven::Link(error) => {
                tracing::info!(%error, "a code could not be used");
                Fault::PeerOffline { peer: name() }
            }
        })
    }

    /// Both sides know the code: what comes is taken.
    async fn agree(&self, peer: PeerId, proven: Proven) -> Result<Reply, Missed> {
        let transfer = proven.transfer();
        self.redeem.agreements.add(transfer);
        let (noted, is_noted) = oneshot::channel::<bool>();
        let agreed = CodeNews::Agreed {
            peer,
            transfer,
            taking: self.redeem.taking.clone(),
            noted,
        };
        let _ = self.redeem.news.send(agreed).await;
        if is_noted.await != Ok(true) {
            let why = "too many codes that were typed here wait for their files already";
            return Err(Missed::new(
                Says::Guessed,
                Fault::Invalid { why: why.into() },
            ));
        }
        // The offer comes now, or when the sender has found us again.
        if let Err(error) = proven.ready().await {
            tracing::info!(%error, "the sender of a code was lost");
        }
        Ok(Reply::Agreed { peer, transfer })
    }
}

/// Whom nearby we have called, and where.
#[derive(Default)]
struct Called {
    calls: usize,
    peers: HashMap<PeerId, Vec<Vec<SocketAddr>>>,
}

impl Called {
    /// Whether to call this peer at these addresses, once.
    fn is_worth_it(&mut self, peer: PeerId, addrs: &[SocketAddr]) -> bool {
        let known = self.peers.entry(peer).or_default();
        let is_new = !known.iter().any(|known| known == addrs);
        let has_room = self.calls < NEAR_CALLS && known.len() < NEAR_CALLS_EACH;
        if is_new && has_room {
            self.calls += 1;
            known.push(addrs.to_vec());
        }
        is_new && has_room
    }
}

fn trouble(trouble: CodeTrouble) -> Fault {
    Fault::Code { trouble }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn peers_nearby_are_called_again_only_where_they_were_not_yet_and_not_for_ever() {
        let addr = |n: u8| SocketAddr::from(([10, 0, 0, n], 1));
        let peer = |n| PeerId::from_bytes([n; 32]);
        let mut called = Called::default();
        assert!(called.is_worth_it(peer(1), &[addr(1)]));
        assert!(!called.is_worth_it(peer(1), &[addr(1)]));
        assert!(called.is_worth_it(peer(1), &[addr(1), addr(2)]));
        assert!(!called.is_worth_it(peer(1), &[addr(3)]), "too often");
        let others = (2..100).filter(|n| called.is_worth_it(peer(*n), &[addr(*n)]));
        assert_eq!(others.count(), NEAR_CALLS - 2);
    }

    #[test]
    fn what_says_most_is_told() {
        let missed = |says, why| Missed::new(says, trouble(why));
        let nobody = Missed::nobody(CodeTrouble::NoRelay);
        let busy = nobody.or(missed(Says::NotAtRelay, CodeTrouble::Busy));
        assert_eq!(busy.fault, trouble(CodeTrouble::Busy));
        let busy = busy.or(Missed::nobody(CodeTrouble::Nobody));
        assert_eq!(busy.fault, trouble(CodeTrouble::Busy));
        let wrong = busy.or(missed(Says::Guessed, CodeTrouble::Wrong));
        let wrong = wrong.or(missed(Says::NotReached, CodeTrouble::NoWay));
        assert_eq!(wrong.fault, trouble(CodeTrouble::Wrong));
    }
}
