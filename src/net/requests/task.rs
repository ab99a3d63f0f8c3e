//! The endpoint with its sockets, clock and interfaces: one task.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until, timeout};

use super::calls::Ticket;
use super::endpoint::{CheckInError, CheckedIn, Destination, Endpoint, Event, Own};
use super::links::Links;
use super::peers::PeerKey;
use super::sockets::{RECEIVE_LEN, Sockets};
use super::{Informed, RequestsOptions, Sighting, Wish};
use crate::protocol::legacy::stream::Opening;

/// How often the interfaces are looked at: soon enough that nobody notices, and cheap.
const LINKS_EVERY: Duration = Duration::from_secs(5);
/// How long a stream port may take to be connected to: as originals wait.
const PROBE_WAIT: Duration = Duration::from_secs(4);
/// After an error of a socket, which may come at once again.
const ERROR_PAUSE: Duration = Duration::from_millis(100);

/// The requests endpoint's owner: when it is dropped, the endpoint is closed.
#[derive(Debug)]
pub struct RequestsTask {
    task: JoinHandle<()>,
}

impl RequestsTask {
    /// Closes the sockets, and returns when they are.
    pub async fn shutdown(mut self) {
        self.task.abort();
        // Aborted is what it should be.
        let _ = (&mut self.task).await;
    }
}

impl Drop for RequestsTask {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Opens the sockets and starts the task; gives the port.
pub(super) fn start(
    options: RequestsOptions,
    picture: watch::Sender<Vec<Sighting>>,
    wishes: mpsc::Receiver<Wish>,
) -> io::Result<(u16, RequestsTask)> {
    let sockets = Sockets::open(options.bind, options.port)?;
    let port = sockets.port();
    let own = Own {
        peer: options.peer,
        name: options.name,
        stream_port: options.stream_port,
        requests_port: port,
        quic_port: options.quic_port,
    };
    let links = Links::of_this_computer();
    let endpoint = Endpoint::new(now(), own, links.clone(), options.seed);
    let mut driver = Driver {
        endpoint,
        sockets,
        multicast: options.multicast,
        informs: options.informs,
        picture,
        waiting: HashMap::new(),
        next_ticket: 0,
        probes: JoinSet::new(),
    };
    driver.join(&links);
    let task = tokio::spawn(driver.run(wishes));
    Ok((port, RequestsTask { task }))
}

struct Driver {
    endpoint: Endpoint,
    sockets: Sockets,
    multicast: bool,
    informs: Option<mpsc::Sender<Informed>>,
    picture: watch::Sender<Vec<Sighting>>,
    /// Who waits for a check-in. As many as there are calls at once.
    waiting: HashMap<Ticket, oneshot::Sender<Result<CheckedIn, CheckInError>>>,
    next_ticket: Ticket,
    /// Connections to stream ports. At most one for each original that is remembered.
    probes: JoinSet<(PeerKey, bool)>,
}

impl Driver {
    async fn run(mut self, mut wishes: mpsc::Receiver<Wish>) {
        let mut buffer = vec![0; RECEIVE_LEN];
        let mut links = interval(LINKS_EVERY);
        links.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.settle().await;
            let timeout = self.endpoint.poll_timeout();
            let timeout = timeout.map_or_else(|| Instant::now() + LINKS_EVERY, Instant::from_std);
            tokio::select! {
                received = self.sockets.receive(&mut buffer) => match received {
                    Ok((len, from)) => {
                        let bytes = buffer.get(..len).unwrap_or_default();
                        self.endpoint.handle_datagram(now(), from, bytes);
                    }
                    Err(error) => {
                        // Of an earlier datagram, on some systems.
                        tracing::debug!(%error, "cannot receive requests");
                        sleep(ERROR_PAUSE).await;
                    }
                },
                () = sleep_until(timeout) => self.endpoint.handle_timeout(now()),
                _ = links.tick() => {
                    let links = Links::of_this_computer();
                    self.join(&links);
                    self.endpoint.handle_links(now(), links);
                }
                Some(wish) = wishes.recv() => match wish {
                    Wish::CheckIn { addr, done } => self.check_in(addr, done),
                    Wish::Send { to, bytes } => {
                        let to = Destination::Peer(to);
                        self.endpoint.transmit_bytes(to, bytes);
                    }
                },
                Some(probed) = self.probes.join_next() => match probed {
                    Ok((key, reachable)) => self.endpoint.handle_probe(now(), key, reachable),
                    Err(error) => tracing::debug!(%error, "a probe ended without a result"),
                },
            }
        }
    }

    fn join(&mut self, links: &Links) {
        if self.multicast {
            self.sockets.join(links.groups());
        }
    }

    fn check_in(
        &mut self,
        addr: SocketAddr,
        done: oneshot::Sender<Result<CheckedIn, CheckInError>>,
    ) {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.waiting.insert(ticket, done);
        self.endpoint.check_in(now(), addr, ticket);
    }

    /// Does what the endpoint wants.
    async fn settle(&mut self) {
        while let Some(event) = self.endpoint.poll_event() {
            match event {
                Event::Probe(key, addr) => {
                    self.probes.spawn(async move { (key, probe(addr).await) });
                }
                Event::CheckedIn(ticket, result) => {
                    if let Some(done) = self.waiting.remove(&ticket) {
                        // Who asked may have lost interest.
                        let _ = done.send(result);
                    }
                }
                Event::Informed(informed) => {
                    // The root asks but once; who is not quick enough is left out.
                    if let Some(informs) = &self.informs {
                        let _ = informs.try_send(*informed);
                    }
                }
            }
        }
        while let Some(transmit) = self.endpoint.poll_transmit() {
            let is_group = matches!(transmit.to, Destination::Group(_));
            if is_group && !self.multicast {
                continue;
            }
            if let Err(error) = self.sockets.send(&transmit).await {
                tracing::debug!(to = ?transmit.to, %error, "cannot send");
            }
        }
        if self.endpoint.take_changed() {
            self.picture.send_replace(self.endpoint.sightings());
        }
    }
}

/// Whether a stream port takes connections. Four zero bytes tell an original that nothing comes.
async fn probe(addr: SocketAddr) -> bool {
    let connected = timeout(PROBE_WAIT, TcpStream::connect(addr)).await;
    let Ok(Ok(mut stream)) = connected else {
        return false;
    };
    if let Ok(bytes) = Opening::Probe.encode() {
        // Being connected is enough.
        let _ = timeout(PROBE_WAIT, stream.write_all(&bytes)).await;
    }
    true
}

fn now() -> std::time::Instant {
    Instant::now().into_std()
}
