//! Asks the router for a port: by PCP or NAT-PMP, which say for how long it is open and whose it
//! is, and by UPnP at the same time, which more routers speak.

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;

use super::RouterProtocol;
use super::claim::Claim;
use super::place::Place;
use super::port_control::Granted;
use super::upnp::{self, Lease, NoPort, Wanted};
use crate::net::time::Time;

/// How long the router is asked to keep the port, in seconds; it may keep it for less.
pub(super) const LIFETIME: u32 = 7200;
/// Least time between two renewals.
pub(super) const RENEW_MIN: Duration = Duration::from_secs(10);
/// How long a router that speaks UPnP has to answer PCP or NAT-PMP first. In a network of a home an
/// answer takes some milliseconds.
const HEAD_START: Duration = Duration::from_millis(250);

/// Something that is being asked for.
type Asked<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What came of asking to have a port kept open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Renewal {
    /// It is.
    Renewed,
    /// Nothing: the router may be busy. What was opened holds for a while.
    Silent,
    /// It leads nowhere any more.
    Gone,
}

/// A port that the router has opened, by the protocol that it was asked in.
enum Port {
    Granted(Granted),
    Leased(Lease),
}

impl Port {
    fn addr(&self) -> SocketAddr {
        match self {
            Self::Granted(port) => port.addr,
            Self::Leased(port) => port.addr,
        }
    }

    /// As long as the router has said, which may be anything. One that is open for good is renewed,
    /// too: the router may be switched off meanwhile.
    fn lifetime(&self) -> Duration {
        let seconds = match self {
            Self::Granted(port) => port.lifetime(),
            Self::Leased(port) => port.lifetime().unwrap_or(LIFETIME),
        };
        Duration::from_secs(seconds.min(LIFETIME).into())
    }

    async fn renew(&mut self, place: Place, claim: Claim) -> Renewal {
        match self {
            Self::Granted(port) => port.renew().await,
            Self::Leased(port) => match port.renew(wanted(place, claim)).await {
                Ok(()) => Renewal::Renewed,
                Err(NoPort::NotNow) => Renewal::Silent,
                Err(NoPort::NoAddress) => Renewal::Gone,
            },
        }
    }
}

/// A port that the router has opened.
pub(super) struct Opened {
    pub(super) place: Place,
    claim: Claim,
    port: Port,
    /// PCP and NAT-PMP, where UPnP was faster: what they open is closed. Whether they did.
    late: Option<Asked<bool>>,
    /// When it is to be renewed.
    due: Time,
    /// When it is over.
    over: Time,
}

impl Opened {
    /// Asks the router for a port that leads here. `None` if it does not help, or is behind
    /// another one itself. To be finished: what it has opened then is closed again. From when on
    /// something may be open that has to be closed, is said in `opening`.
    pub(super) async fn ask(
        place: Place,
        claim: Claim,
        opening: &watch::Sender<bool>,
    ) -> Option<Self> {
        let router = upnp::Router::new(place.gateway, place.client);
        Self::ask_at(place, claim, router, opening).await
    }

    /// The same, of a router that takes the questions of UPnP somewhere else.
    pub(super) async fn ask_at(
        place: Place,
        claim: Claim,
        router: upnp::Router,
        opening: &watch::Sender<bool>,
    ) -> Option<Self> {
        let first = Box::pin(Granted::ask(place, claim.nonce));
        let (port, late) = match race(first, upnp::find(router)).await? {
            Race::First(granted) => (Port::Granted(granted), None),
            Race::Second(device, first) => {
                opening.send_replace(true);
                match (device.open(wanted(place, claim)).await, first) {
                    (Ok(lease), first) => (Port::Leased(lease), first.map(closed)),
                    (Err(_), Some(first)) => (Port::Granted(first.await?), None),
                    (Err(_), None) => return None,
                }
            }
        };
        let now = Time::after(Duration::ZERO);
        let mut opened = Self {
            place,
            claim,
            port,
            late,
            due: now,
            over: now,
        };
        opened.begin();
        Some(opened)
    }

    /// Where others find it.
    pub(super) fn addr(&self) -> SocketAddr {
        self.port.addr()
    }

    /// How the router was asked.
    pub(super) fn protocol(&self) -> RouterProtocol {
        match &self.port {
            Port::Granted(port) => port.protocol(),
            Port::Leased(_) => RouterProtocol::Upnp,
        }
    }

    /// From now on it lasts as long as the router has said.
    fn begin(&mut self) {
        let lifetime = self.port.lifetime();
        self.over = Time::after(lifetime);
        self.due = Time::after((lifetime / 2).max(RENEW_MIN));
    }

    /// Waits until half of its time is over and renews it; whether it is there still. Cancel-safe:
    /// a renewal that was cancelled is begun anew.
    pub(super) async fn renew_in_time(&mut self) -> bool {
        if let Some(late) = &mut self.late {
            // Some seconds: much less than until it is due.
            let were_late = late.await;
            self.late = None;
            if were_late {
                // For the router it may have been the same port.
                self.due = Time::after(Duration::ZERO);
            }
        }
        self.due.reached().await;
        match self.port.renew(self.place, self.claim).await {
            Renewal::Renewed => self.begin(),
            Renewal::Silent => {
                self.due = Time::after((self.over.left() / 2).max(RENEW_MIN));
                return !self.over.is_past();
            }
            Renewal::Gone => return false,
        }
        true
    }

    /// Tells the router that the port is not needed any more.
    pub(super) async fn close(self) {
        match self.port {
            Port::Granted(port) => port.close().await,
            Port::Leased(port) => port.close().await,
        }
        if let Some(late) = self.late {
            late.await;
        }
    }
}

fn wanted(place: Place, claim: Claim) -> Wanted {
    Wanted {
        inside: place.port,
        outside: place.port,
        spares: claim.spares,
        lifetime: LIFETIME,
    }
}

/// Closes what comes of `first`, if anything does; whether it did.
fn closed(first: Asked<Option<Granted>>) -> Asked<bool> {
    Box::pin(async move {
        match first.await {
            Some(granted) => {
                granted.close().await;
                true
            }
            None => false,
        }
    })
}

/// Who is to be asked for a port, or has opened one already.
enum Race<T, D> {
    First(T),
    /// The other one, and the first if it has not answered yet.
    Second(D, Option<Asked<Option<T>>>),
}

impl<T, D> fmt::Debug for Race<T, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::First(_) => "first",
            Self::Second(_, None) => "second, the first has failed",
            Self::Second(_, Some(_)) => "second, the first is silent",
        })
    }
}

/// Whether a port was opened by `first`, or one is to be asked for where `search` has led to, which
/// opens nothing: if the first way fails, or says nothing for a moment. `None` if neither helps.
/// What is left of `first` is to be finished.
async fn race<T, D>(
    mut first: Asked<Option<T>>,
    search: impl Future<Output = Option<D>>,
) -> Option<Race<T, D>> {
    let (mut search, mut head_start) = (pin!(search), pin!(sleep(HEAD_START)));
    let (mut has_failed, mut is_over, mut found) = (false, false, None);
    loop {
        tokio::select! {
            biased;
            opened = &mut first, if !has_failed => match opened {
                Some(opened) => return Some(Race::First(opened)),
                None => has_failed = true,
            },
            device = &mut search, if found.is_none() => found = Some(device),
            () = &mut head_start, if !is_over => is_over = true,
        }
        found = match found {
            Some(Some(device)) if has_failed || is_over => {
                return Some(Race::Second(device, (!has_failed).then_some(first)));
            }
            Some(None) if has_failed => return None,
            undecided => undecided,
        };
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use tokio::time::Instant;

    use super::*;

    fn after<T: Send + 'static>(time: u64, opened: Option<T>) -> Asked<Option<T>> {
        Box::pin(async move {
            sleep(Duration::from_millis(time)).await;
            opened
        })
    }

    async fn won(first: Asked<Option<()>>, second: Asked<Option<()>>) -> String {
        format!("{:?}", race(first, second).await)
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_way_wins_if_it_answers_at_once_or_alone() {
        let first = "Some(first)";
        assert_eq!(
            won(after(0, Some(())), Box::pin(ready(Some(())))).await,
            first
        );
        assert_eq!(won(after(200, Some(())), after(1, Some(()))).await, first);
        assert_eq!(
            won(after(1000, Some(())), after(1500, Some(()))).await,
            first
        );
        assert_eq!(won(after(1000, Some(())), after(1, None)).await, first);
        assert_eq!(won(after(1000, Some(())), Box::pin(pending())).await, first);
    }

    #[tokio::test(start_paused = true)]
    async fn the_second_way_need_not_wait_until_the_first_has_given_up() {
        let silent = "Some(second, the first is silent)";
        assert_eq!(won(after(7500, None), after(100, Some(()))).await, silent);
        assert_eq!(
            won(Box::pin(pending()), after(3000, Some(()))).await,
            silent
        );
        let failed = "Some(second, the first has failed)";
        let begun = Instant::now();
        assert_eq!(won(after(10, None), after(20, Some(()))).await, failed);
        assert!(begun.elapsed() < HEAD_START, "in time that is not real");
        assert_eq!(won(after(10, None), after(3000, Some(()))).await, failed);
    }

    #[tokio::test(start_paused = true)]
    async fn neither_may_help() {
        assert_eq!(won(after(10, None), after(20, None)).await, "None");
        assert_eq!(won(after(7500, None), after(3000, None)).await, "None");
    }
}
