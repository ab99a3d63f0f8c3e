//! DNS-SD over multicast DNS (RFC 6762, 6763): the daemon of `mdns-sd` on its own thread, and a
//! guard for it.
//!
//! The daemon remembers every record that it hears. A network full of lies would fill the memory,
//! so what it holds is counted every second: beyond the limits it is ended, and started anew after
//! a pause. What is known to [`super::list`] lives on meanwhile.

mod codes;

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::time::Duration;

use mdns_sd::{
    DaemonStatus, IfKind, Metrics, Receiver, ResolvedService, ScopedIp, ServiceDaemon,
    ServiceEvent, ServiceInfo, TryRecvError,
};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep, sleep_until, timeout};

use self::codes::ToldCodes;
use super::codes::NearCode;
use super::list::{CONFIRM_WAIT, Sighting};
use super::record;
use crate::peer::PeerId;

/// How often the daemon looks for new addresses of this computer, in seconds.
const IP_CHECK_SECONDS: u32 = 2;
/// How often the network is asked anew who is there: for those that nobody told us of, such as
/// behind a switch that was off. It repeats itself after 1, 2, 4… seconds.
const BROWSE_EVERY: Duration = Duration::from_secs(60);
/// How often the daemon's memory is looked at.
const GUARD_EVERY: Duration = Duration::from_secs(1);
/// So often in a row it may not answer that: then it is busy with a flood.
const GUARD_UNANSWERED_MAX: u32 = 3;
/// Records that the daemon may hold, by its own names: four times what a full list needs, and for
/// addresses what a large network of other devices brings along.
const RECORDS_MAX: [(&str, i64); 6] = [
    ("cached-ptr", 1024),
    ("cached-srv", 1024),
    ("cached-txt", 1024),
    ("cached-subtype", 1024),
    ("cached-nsec", 4096),
    ("cached-addr", 8192),
];
/// Pauses after a flood, or without a network.
const PAUSE_MIN: Duration = Duration::from_secs(10);
/// See [`PAUSE_MIN`].
const PAUSE_MAX: Duration = Duration::from_secs(320);
/// How long a goodbye may take.
const GOODBYE_WAIT: Duration = Duration::from_millis(500);

/// What is said and listened to.
#[derive(Debug, Clone)]
pub(super) struct DnsOptions {
    /// Who we are.
    pub(super) me: PeerId,
    /// What we call ourselves.
    pub(super) name: String,
    /// Where we listen.
    pub(super) port: u16,
    /// The only address that others are told; `None` for all but those of the loopback.
    pub(super) bind: Option<IpAddr>,
    /// Whether others are told of us at all.
    pub(super) announce: bool,
    /// Peers that are told that we do not reach them.
    pub(super) unreached: Vec<PeerId>,
    /// Numbers of one-time codes that wait here. Others are told of them in any case.
    pub(super) codes: BTreeSet<u16>,
    /// Whether codes of others are looked for.
    pub(super) seeks_codes: bool,
}

/// What was heard.
#[derive(Debug)]
pub(super) enum Heard {
    /// Of a peer.
    Seen(Sighting),
    /// That one has gone.
    Gone(PeerId),
    /// Of a code that waits somewhere.
    Code(NearCode),
    /// That one does not wait any more.
    CodeGone(u16, PeerId),
    /// Nothing any more, for a while.
    Lost,
}

/// See the module.
#[derive(Debug)]
pub(super) struct DnsSd {
    options: DnsOptions,
    state: State,
    pause: Duration,
}

#[derive(Debug)]
enum State {
    /// Until then, and until the last daemon has really ended: a flood must not make many.
    Waiting(Instant, Option<Receiver<DaemonStatus>>),
    Running(Box<Running>),
}

struct Running {
    daemon: ServiceDaemon,
    events: Receiver<ServiceEvent>,
    codes: ToldCodes,
    count: Option<Receiver<Metrics>>,
    unanswered: u32,
    guard: Interval,
    browse: Interval,
    since: Instant,
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Running").finish_non_exhaustive()
    }
}

impl DnsSd {
    /// Begins at once.
    pub(super) fn new(options: DnsOptions) -> Self {
        Self {
            options,
            state: State::Waiting(Instant::now(), None),
            pause: PAUSE_MIN,
        }
    }

    /// What is heard next. Cancel-safe.
    pub(super) async fn next(&mut self) -> Heard {
        loop {
            match &mut self.state {
                State::Waiting(until, last) => {
                    sleep_until(*until).await;
                    if let Some(last) = last {
                        // An error says the same: it is not there any more.
                        let _ = last.recv_async().await;
                    }
                    match Running::start(&self.options) {
                        Ok(running) => self.state = State::Running(Box::new(running)),
                        Err(error) => {
                            tracing::warn!(%error, "peers nearby cannot be looked for");
                            self.rest(None);
                        }
                    }
                }
                State::Running(running) => match running.next(&self.options).await {
                    Some(heard) => return heard,
                    None => {
                        if running.since.elapsed() > PAUSE_MAX {
                            self.pause = PAUSE_MIN;
                        }
                        let ending = running.daemon.shutdown().ok();
                        self.rest(ending);
                        return Heard::Lost;
                    }
                },
            }
        }
    }

    fn rest(&mut self, ending: Option<Receiver<DaemonStatus>>) {
        self.state = State::Waiting(Instant::now() + self.pause, ending);
        self.pause = (self.pause * 2).min(PAUSE_MAX);
    }

    /// Asks the network whether it still knows a peer: [`Heard::Gone`] comes within
    /// [`CONFIRM_WAIT`] if not.
    pub(super) fn confirm(&self, peer: PeerId) {
        if let State::Running(running) = &self.state {
            let asked = running.daemon.verify(record::full_name(peer), CONFIRM_WAIT);
            if let Err(error) = asked {
                tracing::debug!(%error, "a peer was not asked for");
            }
        }
    }

    /// Tells these peers from now on that we do not reach them, if others are told of us at all.
    /// `false` if it must be said again.
    pub(super) fn say_unreached(&mut self, unreached: Vec<PeerId>) -> bool {
        self.options.unreached = unreached;
        if let State::Running(running) = &self.state
            && self.options.announce
        {
            let said = service(&self.options).and_then(|own| running.daemon.register(own));
            if let Err(error) = said {
                tracing::debug!(%error, "who is not reached was not told");
                return false;
            }
        }
        true
    }

    /// Tells others from now on that codes with these numbers wait here.
    pub(super) fn say_codes(&mut self, codes: BTreeSet<u16>) {
        self.options.codes = codes;
    }

    /// Looks for codes of others, or no longer.
    pub(super) fn seek_codes(&mut self, seeks: bool) {
        self.options.seeks_codes = seeks;
        if let State::Running(running) = &mut self.state
            && seeks
        {
            running.codes.ask_again();
        }
    }

    /// Says goodbye to the network.
    pub(super) async fn goodbye(self) {
        let State::Running(running) = self.state else {
            return;
        };
        let said = async {
            // Full of other jobs: a moment later it is not.
            let done = loop {
                match running.daemon.shutdown() {
                    Err(mdns_sd::Error::Again) => sleep(GOODBYE_WAIT / 50).await,
                    done => break done,
                }
            };
            if let Ok(done) = done {
                let _ = done.recv_async().await;
            }
        };
        if timeout(GOODBYE_WAIT, said).await.is_err() {
            tracing::debug!("the network may not have heard our goodbye");
        }
    }
}

impl Running {
    fn start(options: &DnsOptions) -> mdns_sd::Result<Self> {
        let daemon = ServiceDaemon::new()?;
        let started = Self::set_up(&daemon, options);
        match started {
            Ok(events) => Ok(Self {
                daemon,
                events,
                codes: ToldCodes::default(),
                count: None,
                unanswered: 0,
                guard: ticks(GUARD_EVERY),
                browse: ticks(BROWSE_EVERY),
                since: Instant::now(),
            }),
            Err(error) => {
                let _ = daemon.shutdown();
                Err(error)
            }
        }
    }

    fn set_up(
        daemon: &ServiceDaemon,
        options: &DnsOptions,
    ) -> mdns_sd::Result<Receiver<ServiceEvent>> {
        match options.bind {
            Some(ip) => {
                daemon.disable_interface(IfKind::All)?;
                daemon.enable_interface(IfKind::Addr(ip))?;
            }
            None => daemon.disable_interface(vec![IfKind::LoopbackV4, IfKind::LoopbackV6])?,
        }
        daemon.set_ip_check_interval(IP_CHECK_SECONDS)?;
        if options.announce {
            daemon.register(service(options)?)?;
        }
        daemon.browse(record::SERVICE)
    }

    /// What is heard next; `None` if this must end. Cancel-safe.
    async fn next(&mut self, options: &DnsOptions) -> Option<Heard> {
        loop {
            self.codes.tell(&self.daemon, options);
            tokio::select! {
                heard = self.codes.next() => return Some(heard),
                event = self.events.recv_async() => match event {
                    Ok(event) => if let Some(heard) = heard(&event) {
                        return Some(heard);
                    },
                    // More came than we could take in, or its thread has ended.
                    Err(_) => return None,
                },
                _ = self.guard.tick() => if !self.is_moderate() {
                    return None;
                },
                _ = self.browse.tick() => if let Ok(events) = self.daemon.browse(record::SERVICE) {
                    self.events = events;
                },
            }
        }
    }

    /// Whether the daemon holds as much as it may, by the count of a second ago; counts again.
    fn is_moderate(&mut self) -> bool {
        match self.count.as_ref().map(Receiver::try_recv) {
            Some(Ok(counted)) => {
                self.unanswered = 0;
                if let Some((what, number)) = too_many(&counted) {
                    tracing::warn!(what, number, "the network says too much; not listening");
                    return false;
                }
                self.count = None;
            }
            Some(Err(TryRecvError::Empty)) => self.unanswered += 1,
            Some(Err(TryRecvError::Disconnected)) => return false,
            None => {}
        }
        if self.unanswered > GUARD_UNANSWERED_MAX {
            tracing::warn!("the network says more than can be read; not listening");
            return false;
        }
        if self.count.is_none() {
            self.count = self.daemon.get_metrics().ok();
        }
        true
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Its thread does not end by itself.
        let _ = self.daemon.shutdown();
    }
}

fn ticks(every: Duration) -> Interval {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first is at once, when there is nothing to do.
    ticks.reset();
    ticks
}

fn too_many(counted: &Metrics) -> Option<(&'static str, i64)> {
    RECORDS_MAX.iter().find_map(|(what, most)| {
        let number = counted.get(*what).copied().unwrap_or(0);
        (number > *most).then_some((*what, number))
    })
}

fn service(options: &DnsOptions) -> mdns_sd::Result<ServiceInfo> {
    let keys = record::properties(options.me, &options.name, &options.unreached);
    let (instance, host) = (record::instance(options.me), record::host(options.me));
    announced(record::SERVICE, &instance, &host, options.port, &keys)
}

/// A service at all our addresses.
fn announced(
    service: &str,
    instance: &str,
    host: &str,
    port: u16,
    keys: &[(&str, String)],
) -> mdns_sd::Result<ServiceInfo> {
    let announced = ServiceInfo::new(service, instance, host, (), port, keys)?;
    let mut announced = announced.enable_addr_auto();
    // Nobody else has the name: our key is in it. So nobody need be asked first.
    announced.set_requires_probe(false);
    Ok(announced)
}

fn heard(event: &ServiceEvent) -> Option<Heard> {
    match event {
        ServiceEvent::ServiceResolved(service) => {
            let text = |key: &str| service.get_property_val(key).flatten();
            let seen = record::sighting(&service.fullname, text, addrs(service));
            seen.map(Heard::Seen)
        }
        ServiceEvent::ServiceRemoved(_, name) => record::id_of(name).map(Heard::Gone),
        // Found is not resolved yet; the rest is about ourselves.
        ServiceEvent::ServiceFound(..)
        | ServiceEvent::SearchStarted(_)
        | ServiceEvent::SearchStopped(_)
        | _ => None,
    }
}

fn addrs(service: &ResolvedService) -> impl Iterator<Item = SocketAddr> {
    let ips = service.addresses.iter();
    ips.filter_map(|ip| socket_addr(ip, service.port))
}

/// Link-local IPv6 addresses mean something only together with the interface they were heard on.
fn socket_addr(ip: &ScopedIp, port: u16) -> Option<SocketAddr> {
    match ip {
        ScopedIp::V4(v4) => Some(SocketAddr::new(IpAddr::V4(*v4.addr()), port)),
        ScopedIp::V6(v6) => {
            let scope = match v6.addr().is_unicast_link_local() {
                true => v6.scope_id().index,
                false => 0,
            };
            Some(SocketAddrV6::new(*v6.addr(), port, 0, scope).into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemon_that_holds_too_much_is_noticed() {
        let counted = |what: &str, number| Metrics::from([(what.to_owned(), number)]);
        assert_eq!(too_many(&Metrics::new()), None);
        for (what, most) in RECORDS_MAX {
            assert_eq!(too_many(&counted(what, most)), None);
            assert_eq!(too_many(&counted(what, most + 1)), Some((what, most + 1)));
        }
    }
}
