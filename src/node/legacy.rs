//! Programs of the original's kind: where they reach us, and what happens to what they send.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::incoming::conclude;
use super::{NodeOptions, StartError, internal, near, sightings};
use crate::config::{LegacyMode, PassOn, Settings};
use crate::fault::{Fault, Trouble};
use crate::identity::Identity;
use crate::net::connector::ConnectError;
use crate::net::discovery::{Input, Presence};
use crate::net::endpoint::{BindError, Net};
use crate::net::requests::{
    self, CheckInError, CheckedIn, Informed, Requests, RequestsOptions, RequestsTask, Sighting,
};
use crate::net::tcp::{
    Destination, LegacyArrival, LegacyListener, LegacyOptions, NotSent, RootOptions, Seat,
    TcpInbound, TcpOutbound, TreeOptions, TreeOutbound, Trees, dial, plant, send_text,
};
use crate::peer::LegacyPeer;
use crate::protocol::legacy::LegacyId;
use crate::protocol::legacy::stream::FileItem;
use crate::protocol::link_uri::LegacyAddress;
use crate::protocol::message::{Receipt, TransferId};
use crate::transfer::control::{Order, Reporter};
use crate::transfer::ended::Ended;
use crate::transfer::receiver::Incoming;
use crate::transfer::table::SharedTable;

/// Requests to take part in a tree that may wait.
const INFORMS_MAX: usize = 16;
/// Most characters of what an original calls itself: nobody has longer names on purpose.
pub(super) const NAME_CHARS_MAX: usize = 64;

/// What a node has for originals.
#[derive(Debug)]
pub(super) struct Legacy {
    listener: LegacyListener,
    /// Who we are to them.
    pub(super) us: LegacyId,
    /// Connections of this program so far: what they count transfers by.
    pub(super) transfers: Arc<AtomicU64>,
    /// Where originals learn that we are here, and we that they are.
    pub(super) requests: Requests,
    _task: RequestsTask,
    /// Takes part in trees of originals.
    _trees: JoinSet<()>,
    /// What it goes by there.
    pass_on: watch::Sender<PassOn>,
    /// Where it all listens, if not everywhere.
    bind: Option<IpAddr>,
    /// Seats in trees of ours, of transfers that are about to begin.
    pub(super) seats: HashMap<TransferId, Seat>,
    /// Another port than the wanted one, because that was taken: worth a word.
    pub(super) moved_from: Option<u16>,
}

fn pass_on(settings: &Settings) -> PassOn {
    match settings.legacy {
        LegacyMode::On => settings.pass_on,
        // Passing on is sending.
        LegacyMode::ReceiveOnly | LegacyMode::Off => PassOn::Never,
    }
}

impl Legacy {
    /// Listens as the options say; `None` if originals shall not find us. A port that a person
    /// asked for must be had; if the one of the settings is taken, any other does.
    pub(super) fn listen(
        options: &NodeOptions,
        identity: &Identity,
        net: &Net,
    ) -> Result<Option<(Self, mpsc::Receiver<LegacyArrival>)>, StartError> {
        let settings = &options.settings;
        if settings.legacy == LegacyMode::Off {
            return Ok(None);
        }
        let wanted = options.legacy_port.unwrap_or(settings.legacy_port);
        let trees = Trees::default();
        let spool = &options.paths.state;
        let bind = |port| match net.plain_callers(port) {
            Some(callers) => Ok(LegacyListener::share(callers, spool.clone(), trees.clone())),
            None => LegacyListener::bind(LegacyOptions {
                bind: options.bind,
                port,
                spool: spool.clone(),
                trees: trees.clone(),
            }),
        };
        let mut moved_from = None;
        let bound = match bind(wanted) {
            Err(BindError::PortInUse(taken)) if options.legacy_port.is_none() => {
                tracing::info!(
                    taken,
                    "the port for old versions is used by another program"
                );
                moved_from = Some(taken);
                bind(0)
            }
            bound => bound,
        };
        let (listener, arrivals) = bound.map_err(|error| match error {
            BindError::PortInUse(port) => StartError::Fault(Fault::PortInUse { port }),
            other @ (BindError::Socket(_) | BindError::Identity(_)) => internal(other.to_string()),
        })?;
        let (informs, informed) = mpsc::channel(INFORMS_MAX);
        let ports = (listener.port(), net.local_port());
        let (requests, task) = answer_requests(options, identity, ports, informs)?;
        let us = LegacyId::of_installation(&identity.id());
        let (pass_on, passed_on) = watch::channel(pass_on(settings));
        let tree_options = TreeOptions {
            bind: options.bind,
            us,
            stream_port: listener.port(),
            pass_on: passed_on,
        };
        let mut serving = JoinSet::new();
        serving.spawn(trees.serve(tree_options, informed, requests.clone()));
        let legacy = Self {
            listener,
            us,
            transfers: Arc::default(),
            requests,
            _task: task,
            _trees: serving,
            pass_on,
            bind: options.bind,
            seats: HashMap::new(),
            moved_from,
        };
        Ok(Some((legacy, arrivals)))
    }

    /// Tells the list of who is near what is seen here, until the list ends.
    pub(super) fn tell_sightings(
        &self,
        inputs: mpsc::Sender<Input>,
    ) -> impl Future<Output = ()> + use<> {
        sightings::tell(self.requests.sightings(), inputs)
    }

    /// Goes by these settings in trees from now on.
    pub(super) fn set(&self, settings: &Settings) {
        self.pass_on.send_replace(pass_on(settings));
    }

    /// UDP port for requests.
    pub(super) fn req_port(&self) -> u16 {
        self.requests.local_port()
    }

    /// What an original calls itself, if it has said so: the one with this id at this computer.
    pub(super) fn claimed_name(&self, peer: &LegacyPeer) -> Option<String> {
        let sightings = self.requests.sightings();
        let seen = sightings.borrow();
        seen.iter().find_map(|sighting| match sighting {
            Sighting::Original { record, addr, .. } => {
                let is_it = record.id == peer.id && addr.ip() == peer.addr.ip();
                let name: String = record.name.trim().chars().take(NAME_CHARS_MAX).collect();
                (is_it && !name.is_empty()).then_some(name)
            }
            Sighting::Own { .. } => None,
        })
    }

    /// Seats in one tree of ours for these transfers. Gives what must run for it. `names` must be
    /// random.
    pub(super) fn plant(
        &mut self,
        transfers: Vec<TransferId>,
        names: [[u8; 16]; 3],
    ) -> impl Future<Output = ()> + Send + use<> {
        let options = RootOptions {
            bind: self.bind,
            us: self.us,
            stream_port: self.port(),
            names,
        };
        let (seats, growing) = plant(options, transfers.len());
        self.seats = transfers.into_iter().zip(seats).collect();
        growing
    }

    /// TCP port for files.
    pub(super) fn port(&self) -> u16 {
        self.listener.port()
    }
}

/// Opens the requests endpoint. As for files, only a port that a person asked for must be had.
fn answer_requests(
    options: &NodeOptions,
    identity: &Identity,
    (stream_port, quic_port): (u16, u16),
    informs: mpsc::Sender<Informed>,
) -> Result<(Requests, RequestsTask), StartError> {
    let settings = &options.settings;
    let mut seed = [0; 32];
    let random = rustls::crypto::ring::default_provider().secure_random;
    if random.fill(&mut seed).is_err() {
        return Err(internal("no random numbers".into()));
    }
    let wanted = options.legacy_req_port.unwrap_or(settings.legacy_req_port);
    let presence = near::presence(settings, options.presence);
    let (requests, task) = requests::open(RequestsOptions {
        bind: options.bind,
        port: wanted,
        // Whoever listens at one address only is tried out, or wants to be found there alone.
        multicast: options.bind.is_none() && presence != Presence::Off,
        quic_port: match presence {
            Presence::Announce => Some(quic_port),
            // Who only looks is not listed by others, neither as one of us nor as an original.
            Presence::Look | Presence::Off => Some(0),
        },
        name: settings.name.clone(),
        informs: Some(informs),
        ..RequestsOptions::new(identity.id(), stream_port, seed)
    })
    .map_err(|error| internal(error.to_string()))?;
    let moved = wanted != 0 && requests.local_port() != wanted;
    if moved && options.legacy_req_port.is_some() {
        return Err(Fault::PortInUse { port: wanted }.into());
    }
    Ok((requests, task))
}

/// What people see of somebody who has proven nothing: the name that it claims, or where it is.
pub(super) fn shown_name(claimed: Option<&str>, addr: SocketAddr) -> String {
    let name = claimed.unwrap_or_default().trim().chars();
    let name: String = name.take(NAME_CHARS_MAX).collect();
    match name.is_empty() {
        true => addr.ip().to_string(),
        false => name,
    }
}

/// The task of a transfer from an original: one connection, and what comes of it.
pub(super) struct OriginalTask {
    /// The transfer itself.
    pub(super) incoming: Incoming,
    /// Its files.
    pub(super) table: SharedTable,
    /// What the sender is called.
    pub(super) peer_name: String,
    /// Its one link.
    pub(super) link: TcpInbound,
    /// Orders of people.
    pub(super) orders: mpsc::Receiver<Order>,
    /// Where news go.
    pub(super) reporter: Reporter,
}

impl OriginalTask {
    /// Works until the transfer ends or the node does.
    pub(super) async fn run(mut self) {
        let ended = self.incoming.run(self.link, &mut self.orders).await;
        let accepted = self.incoming.was_accepted();
        let peer = self.peer_name;
        let fault = match &ended {
            Ended::Lost(why) => {
                tracing::info!(why, "an original broke off");
                let kept = self.table.lock().whole_bytes();
                // Without orders it is this program that ends.
                let left = |trouble| {
                    Some(Fault::Original {
                        peer: peer.clone(),
                        trouble,
                    })
                };
                match (self.orders.is_closed(), accepted) {
                    (true, true) => left(Trouble::LeftReceiving { kept }),
                    (true, false) => left(Trouble::LeftUnanswered),
                    (false, true) => Some(Fault::Incomplete { peer, kept }),
                    // It went before anybody had answered.
                    (false, false) => Some(Fault::CancelledByPeer { peer }),
                }
            }
            Ended::Misbehaved(offence) => Some(Fault::Misbehaved {
                peer,
                offence: offence.to_string(),
            }),
            Ended::CancelledHere => Some(Fault::Cancelled),
            Ended::CancelledThere => Some(Fault::CancelledByPeer { peer }),
            Ended::Completed | Ended::Declined(_) => None,
        };
        conclude(self.incoming, &self.reporter, &ended, fault).await;
    }
}

/// An original that files go to.
#[derive(Debug, Clone)]
pub(super) struct Original {
    pub(super) address: LegacyAddress,
    /// Where it answers requests, with the interface for addresses that need one.
    pub(super) at: SocketAddr,
    pub(super) us: LegacyId,
    pub(super) transfers: Arc<AtomicU64>,
    pub(super) requests: Requests,
    /// How long its answer is waited for.
    pub(super) patience: Duration,
}

/// An original that takes part in a tree of ours.
pub(super) struct Seated {
    /// Who it is, as it says.
    pub(super) peer: LegacyPeer,
    /// What it calls itself.
    pub(super) name: String,
    /// Its part of the tree.
    pub(super) link: TreeOutbound,
}

/// An original that knows us, and a connection to it.
pub(super) struct Reached {
    /// Who it is, as it says.
    pub(super) peer: LegacyPeer,
    /// What it calls itself.
    pub(super) name: String,
    stream: TcpStream,
    original: Original,
}

impl Original {
    /// What a person typed, for messages.
    pub(super) fn shown(&self) -> String {
        self.address.to_string()
    }

    /// Checks in, which an original needs before it gets files from anybody (a stranger's content
    /// ends its program), and connects. Cancel-safe.
    pub(super) async fn reach(&self) -> Result<Reached, Fault> {
        let CheckedIn { record, stream } = self.check_in().await?;
        let addr = match self.address.port {
            Some(port) => {
                let mut addr = self.at;
                addr.set_port(port);
                addr
            }
            None => stream,
        };
        let dialled = dial(addr).await;
        let stream = dialled.map_err(|error| {
            tracing::info!(%error, "no connection to an original");
            let peer = self.shown();
            if error == ConnectError::NoRoute {
                Fault::no_route(peer)
            } else {
                // It has just answered a request.
                deaf(peer, addr)
            }
        })?;
        let id = record.id;
        Ok(Reached {
            peer: LegacyPeer { id, addr },
            name: shown_name(Some(&record.name), addr),
            stream,
            original: self.clone(),
        })
    }

    /// Checks in, and asks it to take part in the tree. `None` if it does not, or there is no
    /// tree. Cancel-safe.
    pub(super) async fn sit(
        &self,
        seat: Seat,
        files: Vec<FileItem>,
    ) -> Result<Option<Seated>, Fault> {
        let CheckedIn { record, stream } = self.check_in().await?;
        let link = seat.take(record.id, (self.at, stream), files).await;
        Ok(link.map(|link| Seated {
            peer: LegacyPeer {
                id: record.id,
                addr: stream,
            },
            name: shown_name(Some(&record.name), stream),
            link,
        }))
    }

    async fn check_in(&self) -> Result<CheckedIn, Fault> {
        let peer = || self.shown();
        self.requests.check_in(self.at).await.map_err(|error| {
            tracing::info!(%error, "an original was not checked in with");
            match error {
                CheckInError::NoAnswer => Fault::PeerOffline { peer: peer() },
                CheckInError::NotAnOriginal => Fault::Misbehaved {
                    peer: peer(),
                    offence: error.to_string(),
                },
                CheckInError::Refused => Fault::no_route(peer()),
                CheckInError::Stopped => Fault::Internal {
                    what: error.to_string(),
                },
            }
        })
    }
}

/// The fault of an original that answers requests but takes no files.
pub(super) fn deaf(peer: String, addr: SocketAddr) -> Fault {
    let trouble = Trouble::Deaf { port: addr.port() };
    Fault::Original { peer, trouble }
}

impl Reached {
    /// Sends a text. That it returns well means that the other computer has it, no more.
    pub(super) async fn send_text(self, text: &str) -> Result<(), Fault> {
        let peer = self.name;
        send_text(self.stream, self.original.us, text)
            .await
            .map_err(|error| {
                tracing::info!(%error, "a text did not get to an original");
                match error {
                    NotSent::Unwanted => Fault::NoTexts { peer },
                    NotSent::Lost(_) => Fault::TextLost { peer },
                }
            })
    }

    /// A link over the connection. `settled`: what earlier ones have done.
    pub(super) fn link(self, settled: Vec<Receipt>) -> TcpOutbound {
        let to = Destination {
            addr: self.peer.addr,
            us: self.original.us,
            patience: self.original.patience,
        };
        TcpOutbound::new(to, self.stream, self.original.transfers, settled)
    }
}
