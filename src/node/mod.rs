//! The node: owns every task, takes commands, publishes pictures of itself.
//!
//! A node lives on a thread of its own with a current-thread runtime, which drives the network
//! endpoint, its connections and the transfers: handing packets between threads costs more than
//! it brings. What blocks (syncs, listings, hashing of files that are there already) goes to the
//! blocking pool.

mod again;
pub mod api;
pub mod check;
pub mod codes;
mod commands;
pub mod control;
mod core;
mod dial;
mod incoming;
pub mod instance;
mod instead;
mod legacy;
mod many;
pub mod names;
mod near;
mod outgoing;
mod passing;
mod records;
mod sending;
mod settings;
mod sightings;
pub mod texts;
mod who;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use self::api::{NodeHandle, Presence, ReceiveRule};
use self::core::Core;
use crate::config::{Paths, Settings};
use crate::fault::Fault;
use crate::identity::{Identity, IdentityError};
use crate::protocol::message::TransferId;
use crate::storage::confine::{Confinement, confine_writes};
use crate::storage::folder::Folder;
use crate::storage::journal;
use crate::storage::refusal::refusal;
use crate::storage::store::{Store, StoreError};

/// Called after each new picture, from the node's thread: must be quick.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

/// What a node starts with.
#[derive(Clone)]
pub struct NodeOptions {
    /// Where everything lies.
    pub paths: Paths,
    /// What the person has set.
    pub settings: Settings,
    /// Listen at this address only.
    pub bind: Option<IpAddr>,
    /// Listen at this port instead of the one in the settings; 0 for any free one.
    pub port: Option<u16>,
    /// Take files of originals at this TCP port instead of the one in the settings; 0 for any.
    pub legacy_port: Option<u16>,
    /// Answer requests of originals at this UDP port instead of the one in the settings; 0 for
    /// any.
    pub legacy_req_port: Option<u16>,
    /// Take offers by this rule instead of the settings.
    pub rule: Option<ReceiveRule>,
    /// Which unfinished transfers of earlier runs go on at once.
    pub resume: ResumeAtStart,
    /// How much is said and listened to in the network, if the settings allow it.
    pub presence: Presence,
    /// Called after each new picture.
    pub wake: Option<Wake>,
    /// Have the kernel refuse every write outside the folder of `rule`, the folders of unfinished
    /// transfers, and our own. Then received files cannot go elsewhere as long as the node runs:
    /// commands that want that are refused.
    pub confine: bool,
}

/// Which unfinished transfers of earlier runs go on at once; the others wait for a command, or,
/// if they are incoming, for their sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResumeAtStart {
    /// All of them.
    All,
    /// None.
    None,
    /// This one.
    Only(TransferId),
}

/// Why a node cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Another instance holds this identity: reach it by [`control::connect`].
    #[error("another instance is running")]
    InUse,
    /// Something that people must know.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// A running node. Dropping it without [`Node::join`] leaves it running until its last
/// [`NodeHandle`] is gone.
#[derive(Debug)]
pub struct Node {
    handle: NodeHandle,
    thread: JoinHandle<()>,
}

impl Node {
    /// Starts a node; waits until it listens.
    pub fn start(options: NodeOptions) -> Result<Self, StartError> {
        let (ready, started) = std::sync::mpsc::sync_channel(1);
        let thread = std::thread::Builder::new().name("node".into());
        let thread = thread
            .spawn(move || run(options, &ready))
            .map_err(|error| internal(format!("no thread: {error}")))?;
        match started.recv() {
            Ok(Ok(handle)) => Ok(Self { handle, thread }),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(internal("the node's thread ended at once".into())),
        }
    }

    /// A face's end of the node.
    pub fn handle(&self) -> NodeHandle {
        self.handle.clone()
    }

    /// Waits until the node has ended, which [`api::Command::Shutdown`] makes it do.
    pub fn join(self) {
        drop(self.handle);
        let _ = self.thread.join();
    }
}

fn internal(what: String) -> StartError {
    StartError::Fault(Fault::Internal { what })
}

type Ready = std::sync::mpsc::SyncSender<Result<NodeHandle, StartError>>;

fn run(options: NodeOptions, ready: &Ready) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // Disks do not get faster by more threads than this, and each costs memory.
        .max_blocking_threads(16)
        .thread_keep_alive(Duration::from_secs(5))
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = ready.send(Err(internal(error.to_string())));
            return;
        }
    };
    runtime.block_on(async {
        match start(options).await {
            Ok((core, handle)) => {
                let _ = ready.send(Ok(handle));
                core.run().await;
            }
            Err(error) => {
                let _ = ready.send(Err(error));
            }
        }
    });
    // A file dialog or a hanging network disk must not keep the program from ending.
    runtime.shutdown_timeout(Duration::from_secs(2));
}

async fn start(options: NodeOptions) -> Result<(Core, NodeHandle), StartError> {
    let paths = &options.paths;
    let create = |error: std::io::Error| Fault::CannotWrite {
        path: paths.state.clone(),
        why: refusal(&paths.state, &error),
    };
    paths.create().map_err(create)?;
    let folders = confine(&options)?;
    // The lock on the database is what makes this the one instance.
    let store = Store::open(&paths.state).map_err(|error| match error {
        StoreError::InUse => StartError::InUse,
        StoreError::Io(error) => StartError::Fault(create(error)),
        other @ StoreError::Damaged(_) => internal(other.to_string()),
    })?;
    let identity = Identity::load_or_create(&paths.data).map_err(no_identity)?;
    Core::start(options, store, identity, folders).await
}

/// Why there is no key, in words.
fn no_identity(error: IdentityError) -> Fault {
    match error {
        IdentityError::Io { path, error } => {
            let why = error.to_string();
            Fault::CannotWrite { path, why }
        }
        other @ (IdentityError::Exposed { .. }
        | IdentityError::Damaged { .. }
        | IdentityError::Crypto(_)) => Fault::Internal {
            what: other.to_string(),
        },
    }
}

/// Confines this thread, on which everything runs that a peer can reach, and those it starts. The
/// folders for files that remain, `None` if all do.
fn confine(options: &NodeOptions) -> Result<Option<Vec<PathBuf>>, StartError> {
    let Some(rule) = options.rule.as_ref().filter(|_| options.confine) else {
        return Ok(None);
    };
    // Made here, because only a folder that is there can be allowed.
    Folder::open(&rule.folder).map_err(|error| Fault::CannotWrite {
        path: rule.folder.clone(),
        why: refusal(&rule.folder, &error),
    })?;
    let paths = &options.paths;
    let mut folders = vec![rule.folder.clone()];
    let unfinished = journal::list(&paths.journals()).unwrap_or_default();
    let there = unfinished.into_iter().map(|(head, _)| head.folder);
    folders.extend(there.filter(|folder| folder.is_dir()));
    let own = [&paths.config, &paths.data, &paths.state, &paths.runtime];
    let all: Vec<&Path> = folders.iter().chain(own).map(PathBuf::as_path).collect();
    Ok(match confine_writes(&all) {
        Confinement::None => None,
        Confinement::Full | Confinement::Partial => Some(folders),
    })
}
