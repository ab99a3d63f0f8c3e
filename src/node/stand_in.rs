#![allow(clippy::wildcard_enum_match_arm)]
//! Stand-in until the node is merged: holds the lock, serves the socket, refuses transfers.

use std::net::IpAddr;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use super::api::{Command, Me, NodeHandle, Overview, ReceiveRule, Reply};
use crate::config::{Paths, Settings};
use crate::fault::Fault;
use crate::peer::PeerId;
use crate::protocol::message::TransferId;

/// What a node starts with.
#[allow(missing_docs)]
pub struct NodeOptions {
    pub paths: Paths,
    pub settings: Settings,
    pub bind: Option<IpAddr>,
    pub port: Option<u16>,
    pub rule: Option<ReceiveRule>,
    pub resume: ResumeAtStart,
    pub offer_timeout: Duration,
    pub wake: Option<Arc<dyn Fn() + Send + Sync>>,
}

/// Which unfinished transfers go on at the start.
#[allow(missing_docs)]
pub enum ResumeAtStart {
    All,
    None,
    Only(TransferId),
}

/// Why a node cannot start.
#[derive(Debug)]
pub enum StartError {
    /// Another instance holds this configuration.
    InUse,
    /// Something else.
    Fault(Fault),
}

/// The node.
#[allow(missing_docs)]
pub struct Node {
    handle: NodeHandle,
    thread: std::thread::JoinHandle<()>,
}

#[allow(missing_docs)]
impl Node {
    pub fn start(options: NodeOptions) -> Result<Self, StartError> {
        let internal = |what: String| StartError::Fault(Fault::Internal { what });
        options
            .paths
            .create()
            .map_err(|e| internal(e.to_string()))?;
        let lock = std::fs::File::create(options.paths.state.join("lock"))
            .map_err(|e| internal(e.to_string()))?;
        if lock.try_lock().is_err() {
            return Err(StartError::InUse);
        }
        let me = Me {
            id: PeerId::of_public_key(b"stand-in"),
            name: options.settings.name.clone(),
            link: "peerconnect:stand-in".into(),
            addrs: vec!["127.0.0.1:1".into()],
            folder: options.settings.folder.clone(),
            rate_limit: None,
            pid: std::process::id(),
        };
        let (handle, mut requests, pictures) = NodeHandle::new(Overview {
            me,
            peers: Arc::new([]),
            transfers: Arc::new([]),
            notices: Arc::new([]),
        });
        let served = handle.clone();
        let (ready, started) = mpsc::sync_channel(1);
        let thread = std::thread::spawn(move || {
            let _lock = lock;
            let Ok(runtime) = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
            else {
                return;
            };
            runtime.block_on(async move {
                let Ok(listener) = super::control::bind(&options.paths) else {
                    return;
                };
                let serving = tokio::spawn(super::control::serve(listener, served));
                let _ = ready.send(());
                while let Some((command, reply)) = requests.recv().await {
                    let end = command == Command::Shutdown;
                    let _ = reply.send(match command {
                        Command::SendFiles { .. } => Err(Fault::Internal {
                            what: "this is only a stand-in".into(),
                        }),
                        Command::History { .. } => Ok(Reply::History(Vec::new())),
                        _ => Ok(Reply::Done),
                    });
                    if end {
                        break;
                    }
                }
                drop(pictures);
                let _ = serving.await;
            });
        });
        started.recv().map_err(|e| internal(e.to_string()))?;
        Ok(Self { handle, thread })
    }

    pub fn handle(&self) -> NodeHandle {
        self.handle.clone()
    }

    pub fn join(self) {
        let _ = self.thread.join();
    }
}
