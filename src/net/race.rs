//! All ways to a peer at once: its addresses one after the other by UDP, relays, and TCP where UDP
//! does not get through. The first on which the right key is proven wins.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::sleep;

use super::attempt::{Speaks, Won, attempt, attempt_over_tcp, attempt_through, pairs};
use super::connector::ConnectError;
use super::pool::Shared;
use super::relay::RelayState;
use crate::fault::{Direct, RelayTried, Tried};
use crate::peer::PeerId;
use crate::protocol::link_uri::RelayHint;

/// How long one address is tried alone before the next one joins (RFC 8305).
pub(super) const NEXT_ADDR_AFTER: Duration = Duration::from_millis(250);
/// How long UDP is tried alone before TCP joins.
pub(super) const TCP_AFTER: Duration = Duration::from_millis(1_500);
/// The same where UDP is known not to get through to a relay: it may in the same network.
const TCP_AFTER_IF_BLOCKED: Duration = Duration::from_millis(100);

/// Whom to reach, and how.
#[derive(Debug, Clone)]
pub(super) struct Runners {
    /// Most promising first.
    pub(super) addrs: Vec<SocketAddr>,
    /// Those through which it is called.
    pub(super) relays: Vec<RelayHint>,
    pub(super) expect: Option<PeerId>,
    pub(super) speaks: Speaks,
}

impl Runners {
    /// What can be said of relays before one is called. Nobody is called through them without a
    /// key.
    fn note_relays(&self, ways: &Ways) {
        if self.expect.is_some() && self.speaks == Speaks::Peer {
            ways.relayed(match self.relays.is_empty() {
                true => RelayTried::NoneSetUp,
                false => RelayTried::NotReached,
            });
        }
    }
}

/// What the addresses of a round have said so far.
#[derive(Debug, Default)]
pub(super) struct Errors {
    errors: Mutex<Vec<ConnectError>>,
    ways: Ways,
}

impl Errors {
    /// Of a round that takes note of its ways there.
    pub(super) fn noting(ways: &Ways) -> Self {
        Self {
            errors: Mutex::default(),
            ways: ways.clone(),
        }
    }

    fn push(&self, error: ConnectError) {
        self.errors
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(error);
    }

    pub(super) fn take(&self) -> Vec<ConnectError> {
        let mut errors = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut errors)
    }
}

/// What has been tried to reach somebody, over all rounds. Cheap to clone; all are the same.
#[derive(Debug, Clone, Default)]
pub struct Ways(Arc<Mutex<Tried>>);

impl Ways {
    fn called(&self, how: Direct) {
        let mut tried = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tried.direct = tried.direct.max(Some(how));
    }

    /// What came of a relay; what tells more about the peer stays.
    pub(super) fn relayed(&self, came: RelayTried) {
        let mut tried = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tried.relay = tried.relay.max(Some(came));
    }

    /// What has been tried so far.
    pub(super) fn tried(&self) -> Tried {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a round over all addresses came to.
pub(super) struct Failed {
    pub(super) error: ConnectError,
    pub(super) is_final: bool,
}

impl Failed {
    /// `errors`: one of each address.
    pub(super) fn of(errors: Vec<ConnectError>) -> Self {
        // An address may belong to somebody else by now. Only if all do, that is the answer.
        let all_wrong = errors
            .iter()
            .all(|error| matches!(error, ConnectError::WrongPeer { .. }));
        let error = errors
            .into_iter()
            .max_by_key(ConnectError::weight)
            .unwrap_or(ConnectError::NoAddress);
        let is_final = all_wrong || error.weight() >= ConnectError::FINAL;
        Self { error, is_final }
    }
}

/// Addresses where somebody has answered by UDP: TCP would say nothing else.
#[derive(Debug, Clone, Default)]
struct Answered(Arc<Mutex<HashSet<SocketAddr>>>);

impl Answered {
    fn add(&self, addr: SocketAddr) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(addr);
    }

    fn has(&self, addr: SocketAddr) -> bool {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.contains(&addr)
    }
}

/// Runs until one has won or all have lost. Dropping it ends those that are under way.
pub(super) async fn race(
    shared: &Arc<Shared>,
    runners: Runners,
    errors: &Errors,
) -> Result<Won, Failed> {
    runners.note_relays(&errors.ways);
    let answered = Answered::default();
    let over_tcp = match runners.speaks {
        Speaks::Peer => runners.addrs.clone(),
        // They have a way over TCP of their own.
        Speaks::Relay => Vec::new(),
    };
    let expect = runners.expect;
    let by_udp = by_udp(shared, runners, errors, &answered);
    let by_tcp = by_tcp(shared, over_tcp, expect, errors, &answered);
    tokio::pin!(by_udp, by_tcp);
    let in_vain = tokio::select! {
        biased;
        won = &mut by_udp => match won {
            Some(won) => return Ok(won),
            None => true,
        },
        () = sleep(tcp_after(shared)) => false,
    };
    let won = match in_vain {
        true => by_tcp.await,
        false => either(by_udp, by_tcp).await,
    };
    won.ok_or_else(|| Failed::of(errors.take()))
}

/// When TCP joins.
pub(super) fn tcp_after(shared: &Shared) -> Duration {
    let relays = shared.relays.standings();
    let is_blocked = relays
        .borrow()
        .iter()
        .any(|one| one.state == RelayState::Tcp);
    match is_blocked {
        true => TCP_AFTER_IF_BLOCKED,
        false => TCP_AFTER,
    }
}

/// The first that gives something; the first one is preferred.
async fn either(
    mut one: impl Future<Output = Option<Won>> + Unpin,
    mut other: impl Future<Output = Option<Won>> + Unpin,
) -> Option<Won> {
    tokio::select! {
        biased;
        won = &mut one => match won {
            Some(won) => Some(won),
            None => other.await,
        },
        won = &mut other => match won {
            Some(won) => Some(won),
            None => one.await,
        },
    }
}

/// All addresses by UDP, and all relays; `None` if it was in vain.
async fn by_udp(
    shared: &Arc<Shared>,
    runners: Runners,
    errors: &Errors,
    answered: &Answered,
) -> Option<Won> {
    let Runners {
        addrs,
        relays,
        expect,
        speaks,
    } = runners;
    let mut addrs = addrs.into_iter();
    // Dropped with those that lose, which ends them.
    let mut attempts = JoinSet::new();
    // A direct way is found at once, where there is one.
    let head_start = match addrs.len() {
        0 => Duration::ZERO,
        _ => NEXT_ADDR_AFTER,
    };
    for relay in expect
        .map(|peer| (peer, relays))
        .into_iter()
        .flat_map(pairs)
    {
        let (shared, ways) = (shared.clone(), errors.ways.clone());
        attempts.spawn(async move {
            sleep(head_start).await;
            (None, attempt_through(shared, relay, &ways).await)
        });
    }
    loop {
        match addrs.next() {
            Some(addr) => {
                errors.ways.called(Direct::Udp);
                let shared = shared.clone();
                attempts.spawn(async move {
                    let won = attempt(shared, addr, expect, speaks).await;
                    (Some(addr), won)
                });
            }
            None if attempts.is_empty() => return None,
            None => {}
        }
        let wait = async {
            match addrs.len() {
                0 => std::future::pending().await,
                _ => sleep(NEXT_ADDR_AFTER).await,
            }
        };
        tokio::select! {
            biased;
            Some(result) = attempts.join_next() => match result {
                Ok((_, Ok(won))) => return Some(won),
                Ok((addr, Err(error))) => {
                    if let Some(addr) = addr.filter(|_| error.is_answer()) {
                        answered.add(addr);
                    }
                    errors.push(error);
                }
                Err(error) => errors.push(ConnectError::Lost(error.to_string())),
            },
            () = wait => {}
        }
    }
}

/// The addresses over TCP where nobody has answered by UDP; `None` if it was in vain.
async fn by_tcp(
    shared: &Arc<Shared>,
    addrs: Vec<SocketAddr>,
    expect: Option<PeerId>,
    errors: &Errors,
    answered: &Answered,
) -> Option<Won> {
    let mut attempts = JoinSet::new();
    for (number, addr) in (0..).zip(addrs) {
        let (shared, answered) = (shared.clone(), answered.clone());
        let ways = errors.ways.clone();
        attempts.spawn(async move {
            sleep(NEXT_ADDR_AFTER * number).await;
            if answered.has(addr) {
                return Err(ConnectError::Unreachable);
            }
            ways.called(Direct::UdpAndTcp);
            attempt_over_tcp(shared, addr, expect).await
        });
    }
    while let Some(result) = attempts.join_next().await {
        match result {
            Ok(Ok(won)) => return Some(won),
            // What UDP says about an address tells as much, or more.
            Ok(Err(error)) if error.is_answer() => errors.push(error),
            Ok(Err(_)) => {}
            Err(error) => errors.push(ConnectError::Lost(error.to_string())),
        }
    }
    None
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn what_tells_most_of_the_ways_that_were_tried_is_remembered_over_all_rounds() {
        let ways = Ways::default();
        for _round in 0..2 {
            let errors = Errors::noting(&ways);
            errors.ways.relayed(RelayTried::NotReached);
            errors.ways.called(Direct::Udp);
        }
        assert_eq!(ways.tried().direct, Some(Direct::Udp));
        assert_eq!(ways.tried().relay, Some(RelayTried::NotReached));
        ways.called(Direct::UdpAndTcp);
        ways.relayed(RelayTried::Absent);
        ways.called(Direct::Udp);
        ways.relayed(RelayTried::NotReached);
        assert_eq!(ways.tried().direct, Some(Direct::UdpAndTcp));
        assert_eq!(ways.tried().relay, Some(RelayTried::Absent));
    }

    #[test]
    fn the_error_of_several_addresses_is_the_one_that_tells_most() {
        let wrong = ConnectError::WrongPeer {
            got: PeerId::from_bytes([1; 32]),
        };
        let failed = Failed::of(vec![ConnectError::Unreachable, wrong.clone()]);
        assert_eq!((failed.error, failed.is_final), (wrong.clone(), false));
        let failed = Failed::of(vec![wrong.clone(), wrong.clone()]);
        assert_eq!((failed.error, failed.is_final), (wrong, true));
        let failed = Failed::of(vec![ConnectError::Refused, ConnectError::Unreachable]);
        assert_eq!(
            (failed.error, failed.is_final),
            (ConnectError::Refused, true)
        );
        let failed = Failed::of(vec![ConnectError::NoRoute, ConnectError::NotListening]);
        assert_eq!(
            (failed.error, failed.is_final),
            (ConnectError::NotListening, false)
        );
    }
}
