//! The node's loop: commands, arrivals and news come in one by one, so that there is one writer
//! of everything.

mod codes;
mod contacts;
mod ended;
mod offers;
mod originals;
mod picture;
mod texts;
mod unfinished;

#[cfg(test)]
pub(super) use self::picture::first_picture;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::api::{Chosen, LegacyMe, Me, NodeHandle, Overview, PeerInfo, ReceiveRule, Request};
use super::check::Checks;
use super::codes::CodeBook;
use super::control;
use super::dial::{Callee, Lookup};
use super::incoming::{IncomingTask, LINKS_MAX};
use super::legacy::Legacy;
use super::near::{dht_use, wants_router_port};
use super::outgoing::{Contact, OutgoingTask, To};
use super::passing::Shelves;
use super::records::{Records, Unfinished};
use super::settings::chosen;
use super::texts::TextBook;
use super::{NodeOptions, ResumeAtStart, StartError, Wake, internal, near};
use crate::config::{Paths, Settings};
use crate::fault::Fault;
use crate::identity::Identity;
use crate::net::acceptor::Arrival;
use crate::net::connection::PeerConnection;
use crate::net::connector::Connector;
use crate::net::discovery::{Discovery, Input, Presence};
use crate::net::endpoint::{BindError, EndpointOptions, Net, bind};
use crate::net::link::{Inbound, PathInfo, PathKind};
use crate::net::relay::RelayStanding;
use crate::net::tcp::{LegacyArrival, TcpInbound};
use crate::net::transfer_link::QuicInbound;
use crate::net::{DhtStanding, RouterPort};
use crate::otm::session::{Session, Sessions};
use crate::peer::{Party, PeerId};
use crate::protocol::link_uri::{LegacyAddress, Link};
use crate::protocol::message::{Code, TransferId};
use crate::storage::journal::{self, Journal};
use crate::storage::store::{Accept, HistoryRecord, OutgoingRecord, Standing, Store, Wishes};
use crate::text::Shown;
use crate::transfer::bookkeeper::{Bookkeeper, Entry, NewTransfer, Person, unix_now};
use crate::transfer::budget::Budget;
use crate::transfer::control::{Attendance, News, ORDERS_MAX, Order, People, Progress, Reporter};
use crate::transfer::limiter::Limiter;
use crate::transfer::member::MemberNews;
use crate::transfer::receiver::{Incoming, Terms, Who};
use crate::transfer::repeat::{is_repeated, repeat};
use crate::transfer::send_file::Shared;
use crate::transfer::sender::Outgoing;
use crate::transfer::sources::Sources;
use crate::transfer::state::TransferState;
use crate::transfer::status::{Direction, PausedBy};
use crate::transfer::table::SharedTable;

/// News that may wait for the loop.
const NEWS_MAX: usize = 1024;
/// How often pictures are made while files move.
const TICK: Duration = Duration::from_millis(100);
/// How often names of originals that have said them meanwhile are looked up, and why nobody is
/// heard.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How often it is written how far transfers are, if nothing else happens to them.
const STANDINGS_EVERY: Duration = Duration::from_secs(10);
/// Offers of one peer, and of all strangers, that nobody answered yet: more are told to come back
/// later, unless one of another stranger can make room. Strangers cannot keep out people that are
/// trusted.
const QUESTIONS_PER_PEER: usize = 8;
/// See [`QUESTIONS_PER_PEER`].
const QUESTIONS_MAX: usize = 64;
/// How long the tasks may take to end when the node does.
const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(2);

/// Both ends of a channel: the loop reads what it gave others to write into.
type Channel<T> = (mpsc::Sender<T>, mpsc::Receiver<T>);

/// Everything that a node owns.
pub(super) struct Core {
    pub(super) paths: Paths,
    pub(super) settings: Settings,
    /// Those that the sockets were opened with.
    pub(super) started: Settings,
    pub(super) chosen: Arc<Chosen>,
    pub(super) rule: Option<ReceiveRule>,
    /// Taken by the next offer.
    pub(super) expected: Option<ReceiveRule>,
    /// Folders that the kernel lets files go to, if it was asked to let them go nowhere else.
    confined: Option<Vec<PathBuf>>,
    pub(super) me: PeerId,
    pub(super) connector: Connector,
    pub(super) book: Bookkeeper,
    pub(super) records: Records,
    pub(super) limiter: Arc<Limiter>,
    /// Memory for what peers offer.
    budget: Budget,
    pub(super) tasks: JoinSet<()>,
    /// What was being sent and has not ended, by transfer.
    pub(super) outgoing: HashMap<TransferId, OutgoingRecord>,
    /// Which of them belong together.
    pub(super) sessions: Sessions,
    /// What there is for other receivers of the same.
    pub(super) shelves: Shelves,
    /// What the person wants of it, where there is anything.
    pub(super) wishes: HashMap<TransferId, Wishes>,
    /// How far unfinished transfers are, as was written last.
    standings: HashMap<TransferId, Standing>,
    /// Who can be asked, and the one at this process's own face.
    pub(super) people: People,
    pub(super) attendance: Option<Attendance>,
    pub(super) stopping: bool,
    /// To end as soon as nothing runs and nobody looks.
    pub(super) finishing: bool,
    links: HashMap<TransferId, mpsc::Sender<QuicInbound>>,
    pub(super) net: Net,
    pub(super) discovery: Discovery,
    pub(super) checks: Checks,
    addrs: watch::Receiver<Vec<SocketAddr>>,
    pub(super) relays: watch::Receiver<Vec<RelayStanding>>,
    pub(super) router_port: watch::Receiver<RouterPort>,
    pub(super) dht: watch::Receiver<DhtStanding>,
    arrivals: mpsc::Receiver<Arrival>,
    /// What there is for originals, unless they are not wanted.
    pub(super) legacy: Option<Legacy>,
    /// Texts that came and that are on their way.
    pub(super) texts: TextBook,
    /// One-time codes.
    pub(super) codes: CodeBook,
    /// Closed without [`Core::legacy`].
    originals: mpsc::Receiver<LegacyArrival>,
    requests: mpsc::Receiver<Request>,
    news: Channel<(TransferId, News)>,
    contacts: Channel<Contact>,
    connected: watch::Sender<u64>,
    pub(super) pictures: watch::Sender<Arc<Overview>>,
    wake: Option<Wake>,
    /// What people should know that belongs to no transfer.
    notices: Arc<[String]>,
    changed: bool,
}

impl Core {
    pub(super) async fn start(
        options: NodeOptions,
        store: Store,
        identity: Identity,
        confined: Option<Vec<PathBuf>>,
    ) -> Result<(Self, NodeHandle), StartError> {
        let (connector, arrivals, net) = listen(&identity, &options).await?;
        let checks = Checks::new(options.port.unwrap_or(options.settings.port));
        let (legacy, heard) = Legacy::listen(&options, &identity, &net)?.unzip();
        let discovery = near::discover(identity.id(), &options, net.local_port());
        let NodeOptions {
            paths,
            settings,
            rule,
            resume,
            wake,
            ..
        } = options;
        let (records, unfinished) = Records::start(store).map_err(|e| internal(e.to_string()))?;
        let first = picture::first_picture(identity.id(), &settings, discovery.presence());
        let (handle, requests, pictures) = NodeHandle::new(first);
        let mut core = Self {
            limiter: Arc::new(Limiter::new(settings.rate_limit)),
            budget: Budget::default(),
            paths,
            started: settings.clone(),
            chosen: chosen(&settings, &settings),
            settings,
            rule,
            expected: None,
            confined,
            me: identity.id(),
            connector,
            book: Bookkeeper::default(),
            records,
            tasks: JoinSet::new(),
            outgoing: HashMap::new(),
            sessions: Sessions::default(),
            shelves: Shelves::default(),
            wishes: HashMap::new(),
            standings: HashMap::new(),
            people: handle.people().clone(),
            attendance: None,
            stopping: false,
            finishing: false,
            links: HashMap::new(),
            texts: TextBook::default(),
            codes: CodeBook::default(),
            addrs: net.addrs(),
            relays: net.relays(),
            router_port: net.router_port(),
            dht: net.dht(),
            net,
            discovery,
            checks,
            arrivals,
            legacy,
            originals: heard.unwrap_or_else(|| mpsc::channel(1).1),
            requests,
            news: mpsc::channel(NEWS_MAX),
            contacts: mpsc::channel(16),
            connected: watch::Sender::new(0),
            pictures,
            wake,
            notices: Arc::new([]),
            changed: true,
        };
        core.open_up(&handle, unfinished, resume).await;
        Ok((core, handle))
    }

    /// Takes up what earlier runs left, and lets others in.
    async fn open_up(
        &mut self,
        handle: &NodeHandle,
        unfinished: Unfinished,
        resume: ResumeAtStart,
    ) {
        self.follow_originals();
        self.tell_moved_port();
        self.enforce_blocks();
        self.serve_control(handle);
        self.find_unfinished(unfinished, resume).await;
        self.publish();
    }

    /// Has originals that are seen listed among who is nearby.
    fn follow_originals(&mut self) {
        if let Some(legacy) = &self.legacy {
            let told = legacy.tell_sightings(self.discovery.inputs());
            self.tasks.spawn(told);
        }
    }

    /// Refuses a folder that the kernel would refuse later.
    pub(super) fn check_folder(&self, folder: &Path) -> Result<(), Fault> {
        match &self.confined {
            Some(allowed) if !allowed.iter().any(|one| folder.starts_with(one)) => {
                let first = allowed.first().map_or(folder, PathBuf::as_path);
                Err(Fault::Invalid {
                    why: format!(
                        "the running `peerconnect receive` can only write to {}; \
                         wait for its end, or use `peerconnect daemon`",
                        Shown(&first.to_string_lossy())
                    ),
                })
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Makes the network refuse those peers that are blocked now, and disconnects them.
    pub(super) fn enforce_blocks(&self) {
        self.connector.set_blocked(self.records.blocked());
    }

    fn serve_control(&mut self, handle: &NodeHandle) {
        match control::bind(&self.paths) {
            Ok(listener) => {
                self.tasks.spawn(control::serve(listener, handle.clone()));
            }
            // The node works without; only other processes cannot reach it.
            Err(error) => tracing::warn!(%error, "no control socket"),
        }
    }

    pub(super) async fn run(mut self) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut look = tokio::time::interval(LOOK_EVERY);
        let mut stand = tokio::time::interval(STANDINGS_EVERY);
        stand.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !self.stopping {
            tokio::select! {
                request = self.requests.recv() => match request {
                    Some((command, reply)) => self.on_command(command, reply).await,
                    None => self.stopping = true,
                },
                Some(arrival) = self.arrivals.recv() => self.on_arrival(arrival).await,
                Some(arrival) = self.originals.recv() => match arrival {
                    LegacyArrival::Transfer(link) => self.on_original(*link),
                    LegacyArrival::Text(text) => self.on_plain_text(text),
                },
                told = self.texts.news() => self.on_text_news(told).await,
                told = self.codes.news() => self.on_code_news(told).await,
                Some((id, news)) = self.news.1.recv() => self.on_news(id, news).await,
                Some(contact) = self.contacts.1.recv() => self.on_contact(contact).await,
                Some(_) = self.tasks.join_next() => {
                    let streams = self.shelves.streams();
                    self.changed |= self.pictures.borrow().passing_on != streams;
                }
                () = self.discovery.changed() => self.changed = true,
                _ = tick.tick(), if self.book.is_moving() => {
                    self.book.measure(Instant::now());
                    self.follow_paths();
                    self.changed = true;
                }
                Ok(()) = self.addrs.changed() => self.changed = true,
                Ok(()) = self.relays.changed() => self.changed = true,
                Ok(()) = self.router_port.changed() => self.changed = true,
                Ok(()) = self.dht.changed() => self.changed = true,
                () = self.checks.multicast.changed() => self.changed = true,
                _ = look.tick() => {
                    self.name_originals();
                    self.look_at_multicast();
                }
                _ = stand.tick() => self.keep_standings().await,
            }
            // What has come meanwhile goes into the same picture.
            while let Ok((id, news)) = self.news.1.try_recv() {
                self.on_news(id, news).await;
            }
            if self.changed {
                self.publish();
            }
            self.stopping |= self.finishing && self.is_idle();
        }
        self.shutdown().await;
    }

    async fn shutdown(mut self) {
        self.keep_standings().await;
        // Orders end: each task keeps what it has and returns.
        let ids: Vec<TransferId> = self.book.iter().map(|(id, _)| id).collect();
        for id in ids {
            if let Some(entry) = self.book.get_mut(id) {
                entry.orders = None;
            }
        }
        self.leave_originals().await;
        self.links.clear();
        self.sessions = Sessions::default();
        self.texts.end();
        tokio::join!(self.discovery.shutdown(), self.net.shutdown());
        let Self {
            mut tasks,
            mut news,
            pictures,
            records,
            ..
        } = self;
        news.1.close();
        drop(pictures);
        let all = async { while tasks.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(SHUTDOWN_DEADLINE, all).await;
        let _ = tokio::task::spawn_blocking(move || records.finish()).await;
    }

    /// Something is different now.
    pub(super) fn touch(&mut self) {
        self.changed = true;
    }

    async fn on_news(&mut self, id: TransferId, mut news: News) {
        self.changed = true;
        self.on_session_news(id, &mut news);
        self.keep_pauses(id, &news).await;
        let Some(state) = self.book.apply(id, news) else {
            return;
        };
        self.keep_standing(id).await;
        match state {
            TransferState::Transferring => {
                let peer = self.book.get(id).and_then(|entry| entry.peer);
                if let Some(peer) = peer.and_then(|peer| peer.key()) {
                    self.records.became_familiar(peer);
                    if let Some(connection) = self.connector.pooled(peer) {
                        connection.tell_addrs();
                    }
                }
                if let Some(record) = self.outgoing.get_mut(&id)
                    && !record.accepted
                {
                    record.accepted = true;
                    let record = record.clone();
                    self.keep(record).await;
                }
            }
            TransferState::Completed
            | TransferState::Rejected
            | TransferState::Cancelled
            | TransferState::Failed => {
                if state != TransferState::Completed {
                    self.shelves.remove(id);
                }
                self.on_final(id).await;
                self.book.forget_oldest_finished();
                self.forget_gone_sessions();
            }
            TransferState::Preparing
            | TransferState::Connecting
            | TransferState::AwaitingAnswer
            | TransferState::Paused
            | TransferState::Interrupted => {}
        }
    }

    async fn on_arrival(&mut self, arrival: Arrival) {
        match arrival {
            Arrival::Connected(connection) => self.met(&connection).await,
            Arrival::Disconnected(peer) => {
                self.changed = true;
                self.tell_sessions(peer, || MemberNews::Away);
            }
            Arrival::Addresses { from, addrs } => {
                // Strangers can say what they like: it is not kept.
                if self.records.is_familiar(from.id()) {
                    self.records.told(from.id(), &addrs).await;
                }
            }
            Arrival::Transfer { from, link } => self.on_offer(&from, link).await,
            Arrival::Text { from, link } => self.on_text(&from, link),
            Arrival::Pull { from, link } => self.on_pull(&from, link),
            Arrival::Code { from, link } => self.on_code(&from, link),
        }
    }
}

/// Opens the endpoint. A port that a person asked for must be had; the one of the settings is only
/// the best one, and if it is taken any other does.
async fn listen(
    identity: &Identity,
    node: &NodeOptions,
) -> Result<(Connector, mpsc::Receiver<Arrival>, Net), StartError> {
    let (ip, asked, settings) = (node.bind, node.port, &node.settings);
    let options = |port| EndpointOptions {
        bind: ip,
        port,
        name: settings.name.clone(),
    };
    let bound = match bind(identity, options(asked.unwrap_or(settings.port))).await {
        Err(BindError::PortInUse(taken)) if asked.is_none() => {
            tracing::info!(
                taken,
                "the port is used by another program; using a free one"
            );
            bind(identity, options(0)).await
        }
        bound => bound,
    };
    let presence = super::near::presence(settings, node.presence);
    let listening = bound.inspect(|(_, _, net)| {
        net.listen_at(&settings.relays);
        net.want_router_port(wants_router_port(settings, presence));
        net.use_dht(dht_use(settings, presence));
    });
    listening.map_err(|error| match error {
        BindError::PortInUse(port) => StartError::Fault(Fault::PortInUse { port }),
        other @ (BindError::Socket(_) | BindError::Identity(_)) => internal(other.to_string()),
    })
}
