//! Asks the router for a port by UPnP (Internet Gateway Device 1 and 2), which most routers of
//! homes speak.
//!
//! Anybody in a network can say that he is a router. So only the one that packets for the Internet
//! go to anyway is asked and believed: an answer counts if it comes from its address, and a place
//! that is named in one if it is at that address, as a number, by plain HTTP ([`url::Url`] can say
//! nothing else). No name is resolved, and no redirect is followed. What it says has a
//! greatest length and a time in which it must have come.

pub mod description;
pub mod http;
pub mod soap;
pub mod ssdp;
pub mod url;
mod xml;

mod exchange;
mod search;

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::num::NonZeroU16;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use self::description::{Kind, Service};
use self::exchange::{Silence, exchange};
pub(super) use self::search::find;
use self::soap::{Entry, Order, Refusal, Reply};
use crate::net::whereabouts::{is_for_everybody, is_plausible};

/// After so long no further way to open a port is tried. What was begun is finished, which takes
/// twice as long as an answer may take at most.
const OPEN_MAX: Duration = Duration::from_secs(10);
/// How long the router may think about whose port it is before it is asked to close it.
const SHOW_MAX: Duration = Duration::from_millis(400);

/// Whom to ask, and for whom.
#[derive(Debug, Clone, Copy)]
pub(super) struct Router {
    gateway: Ipv4Addr,
    client: Ipv4Addr,
    /// Where it takes the question who is there.
    alone: SocketAddrV4,
    /// Where everybody does who may be one.
    all: SocketAddrV4,
}

impl Router {
    /// The router at `gateway`, for this computer, which has the address `client` there.
    pub(super) fn new(gateway: Ipv4Addr, client: Ipv4Addr) -> Self {
        Self {
            gateway,
            client,
            alone: SocketAddrV4::new(gateway, ssdp::PORT),
            all: ssdp::GROUP,
        }
    }
}

/// The port that is wanted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    /// That of this computer.
    pub(super) inside: NonZeroU16,
    /// That of the router, if that is possible.
    pub(super) outside: NonZeroU16,
    /// Those that do as well.
    pub(super) spares: [NonZeroU16; 3],
    /// For how long, in seconds.
    pub(super) lifetime: u32,
}

/// Why there is no port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoPort {
    /// The router has no address where the Internet reaches it.
    NoAddress,
    /// It does not want to, or does not answer.
    NotNow,
}

/// The router, as far as it opens ports.
#[derive(Debug, Clone)]
pub(super) struct Device {
    router: Router,
    /// At least one.
    services: Vec<Service>,
}

impl Device {
    /// Has a port opened that leads here, where the router has an address for everybody. To be
    /// finished: what it has opened then is closed again.
    pub(super) async fn open(&self, wanted: Wanted) -> Result<Lease, NoPort> {
        let begun = Instant::now();
        let mut why = NoPort::NoAddress;
        for service in &self.services {
            if begun.elapsed() >= OPEN_MAX {
                return Err(NoPort::NotNow);
            }
            let control = Control {
                router: self.router,
                service: service.clone(),
            };
            let ip = match control.external_ip().await {
                Some(ip) if is_good(ip, self.router) => ip,
                // One without a line has none; there may be another.
                Some(_) => continue,
                None => {
                    why = NoPort::NotNow;
                    continue;
                }
            };
            if let Some(entry) = control.open(wanted, begun).await {
                let addr = SocketAddr::new(ip, entry.outside.get());
                return Ok(Lease {
                    control,
                    entry,
                    addr,
                });
            }
            why = NoPort::NotNow;
        }
        Err(why)
    }
}

fn is_good(ip: IpAddr, router: Router) -> bool {
    // Whatever the port will be.
    let addr = SocketAddr::new(ip, ssdp::PORT);
    is_for_everybody(ip) && is_plausible(addr, router.gateway.into())
}

/// A port that the router has opened.
#[derive(Debug)]
pub(super) struct Lease {
    control: Control,
    entry: Entry,
    /// Where others find it.
    pub(super) addr: SocketAddr,
}

impl Lease {
    /// For how long it is open, in seconds; `None` for good.
    pub(super) fn lifetime(&self) -> Option<u32> {
        (self.entry.lease != 0).then_some(self.entry.lease)
    }

    /// Has the router keep it open; it may be another port then. To be finished.
    pub(super) async fn renew(&mut self, wanted: Wanted) -> Result<(), NoPort> {
        let outside = self.entry.outside;
        let wanted = Wanted { outside, ..wanted };
        let known = Device {
            router: self.control.router,
            services: vec![self.control.service.clone()],
        };
        let mut renewed = known.open(wanted).await;
        if renewed.as_ref().is_err_and(|why| *why == NoPort::NotNow) {
            // After it was off it may take orders somewhere else.
            let found = find(self.control.router).await.ok_or(NoPort::NotNow)?;
            renewed = found.open(wanted).await;
        }
        let before = std::mem::replace(self, renewed?);
        if before.entry.outside != self.entry.outside {
            before.close().await;
        }
        Ok(())
    }

    /// Tells the router that it is not needed any more, if it leads here.
    pub(super) async fn close(self) {
        self.control.close(self.entry, IfUnknown::Close).await;
    }
}

/// What to do with a port of which the router does not say where it leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum IfUnknown {
    /// It was ours.
    Close,
    /// It may be somebody else's.
    Leave,
}

/// Why an order was not carried out.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Silence(#[from] Silence),
    #[error(transparent)]
    Refusal(#[from] Refusal),
}

/// A service of the router that takes orders.
#[derive(Debug)]
struct Control {
    router: Router,
    service: Service,
}

impl Control {
    async fn order(&self, order: Order) -> Result<Reply, Failure> {
        let Service { kind, control } = &self.service;
        let (action, envelope) = (order.action(*kind), order.envelope(*kind));
        let question = http::post(control, self.router.gateway, &action, &envelope);
        let answer = exchange(self.router, control, &question, soap::LEN_MAX).await?;
        Ok(order.reply(&answer)?)
    }

    /// The router's address at its other side. `None` if it does not say.
    async fn external_ip(&self) -> Option<IpAddr> {
        let asked = self.order(Order::ExternalAddress).await;
        let reply = asked
            .inspect_err(|error| tracing::debug!(%error, "no address by UPnP"))
            .ok()?;
        match reply {
            Reply::Address(ip) => Some(ip.into()),
            Reply::Done | Reply::Reserved(_) | Reply::LeadsTo(..) => None,
        }
    }

    /// Opens the port that is wanted, or another one if that is taken.
    async fn open(&self, wanted: Wanted, begun: Instant) -> Option<Entry> {
        let mut entry = Entry {
            outside: wanted.outside,
            inside: wanted.inside,
            client: self.router.client,
            lease: wanted.lifetime,
        };
        // The second version finds a free one itself.
        let any = (self.service.kind == Kind::Ip2).then_some(Order::AddAny as fn(Entry) -> Order);
        let first = std::iter::once((Order::Add as fn(Entry) -> Order, wanted.outside));
        let second = any.map(|any| (any, wanted.outside)).into_iter();
        let others = wanted.spares.map(|port| (Order::Add as _, port));
        for (order, outside) in first.chain(second).chain(others) {
            if begun.elapsed() >= OPEN_MAX {
                break;
            }
            entry.outside = outside;
            match self.add(order, &mut entry).await {
                Ok(()) => return Some(entry),
                Err(Failure::Refusal(refusal @ (Refusal::Taken(_) | Refusal::Other(_)))) => {
                    tracing::debug!(%refusal, outside, "no port by UPnP");
                }
                Err(failure) => {
                    tracing::debug!(error = %failure, outside, "no port by UPnP");
                    // It may be open all the same.
                    self.close(entry, IfUnknown::Leave).await;
                    break;
                }
            }
        }
        None
    }

    /// Opens a port; for good if the router does it in no other way.
    async fn add(&self, order: fn(Entry) -> Order, entry: &mut Entry) -> Result<(), Failure> {
        let mut asked = self.order(order(*entry)).await;
        if matches!(asked, Err(Failure::Refusal(Refusal::OnlyForGood))) {
            entry.lease = 0;
            asked = self.order(order(*entry)).await;
        }
        if let Reply::Reserved(outside) = asked? {
            entry.outside = outside;
        }
        Ok(())
    }

    /// Closes a port if it is ours: after a start of the router it may be somebody else's.
    async fn close(&self, entry: Entry, if_unknown: IfUnknown) {
        let shown = timeout(SHOW_MAX, self.order(Order::Show(entry.outside))).await;
        let is_to_be_closed = match shown {
            Ok(Ok(Reply::LeadsTo(client, inside))) => {
                (client, inside) == (entry.client, entry.inside.get())
            }
            Ok(Err(Failure::Refusal(Refusal::NoSuchEntry))) => false,
            Ok(_) | Err(_) => if_unknown == IfUnknown::Close,
        };
        if !is_to_be_closed {
            return;
        }
        if let Err(error) = self.order(Order::Delete(entry.outside)).await {
            tracing::debug!(%error, "the router may keep the port for a while");
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests;
