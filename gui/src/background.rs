//! The node behind the window: the one that runs already, or one of our own, with the runtime that
//! either needs. Ends a node of our own in order when the system asks the program to end.

use std::process;
use std::sync::mpsc::{self, SyncSender};
use std::time::Duration;

use peerconnect::config::{Paths, Settings};
use peerconnect::fault::Fault;
use peerconnect::node::api::{Command, NodeHandle, Presence};
use peerconnect::node::instance::{self, Instance};
use peerconnect::node::{NodeOptions, ResumeAtStart};
use peerconnect_gui::Wake;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::timeout;

/// How long an orderly end may take after a signal: service managers count to two here.
const SIGNAL_WAIT: Duration = Duration::from_millis(1800);

type Ready = SyncSender<Result<NodeHandle, Fault>>;

/// Starts nodes.
pub(crate) struct Background {
    paths: Paths,
    alive: SyncSender<()>,
}

impl Background {
    /// Nodes in the folders of `paths`. Copies of `alive` are dropped when the nodes have ended.
    pub(crate) fn new(paths: Paths, alive: SyncSender<()>) -> Self {
        Self { paths, alive }
    }

    /// Reaches the node that runs, or starts one. Waits for it: call it where that is no harm.
    pub(crate) fn start(&self, wake: Wake) -> Result<NodeHandle, Fault> {
        let options = options(&self.paths, Some(wake))?;
        let (ready, started) = mpsc::sync_channel(1);
        let alive = self.alive.clone();
        std::thread::Builder::new()
            .name("instance".into())
            .spawn(move || {
                if let Err(fault) = hold(options, &ready) {
                    // If the window has gone, nobody wants to know.
                    let _ = ready.send(Err(fault));
                }
                drop(alive);
            })
            .map_err(internal)?;
        started.recv().unwrap_or_else(|_| {
            Err(Fault::Internal {
                what: "the node's thread ended at once".into(),
            })
        })
    }
}

/// A node that people use at a window.
pub(crate) fn options(paths: &Paths, wake: Option<Wake>) -> Result<NodeOptions, Fault> {
    Ok(NodeOptions {
        settings: Settings::load(paths)?,
        paths: paths.clone(),
        bind: None,
        port: None,
        legacy_port: None,
        legacy_req_port: None,
        rule: None,
        resume: ResumeAtStart::All,
        presence: Presence::Announce,
        confine: false,
        wake,
    })
}

pub(crate) fn internal(error: std::io::Error) -> Fault {
    Fault::Internal {
        what: error.to_string(),
    }
}

/// Reaches or starts a node, hands it over and stays until it has ended.
fn hold(options: NodeOptions, ready: &Ready) -> Result<(), Fault> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(internal)?;
    runtime.block_on(async {
        let instance = instance::reach(options).await?;
        let mut pictures = instance.node.overview();
        // Who opens a window can be asked.
        let attended = instance.node.call(Command::Attend).await;
        if let Err(fault) = attended {
            tracing::debug!(%fault, "nobody will be asked");
        }
        // The window has gone if nobody takes it; then this ends with the program.
        let _ = ready.send(Ok(instance.node.clone()));
        if instance.is_shared() {
            // Signals end the program at once: nothing here has to be put in order.
            drop(instance);
            while pictures.changed().await.is_ok() {}
            return Ok(());
        }
        let mut signals = Signals::open().map_err(internal)?;
        let code = tokio::select! {
            () = async { while pictures.changed().await.is_ok() {} } => None,
            code = signals.next() => Some(code),
        };
        match code {
            None => instance.close().await,
            Some(code) => end(instance, &mut signals, code).await,
        }
        Ok(())
    })
}

/// Ends node and program. The window asks nobody: whoever sent the signal does not look at it.
pub(crate) async fn end(instance: Instance, signals: &mut Signals, code: i32) {
    tokio::select! {
        _ = timeout(SIGNAL_WAIT, instance.close()) => {}
        _ = signals.next() => {}
    }
    process::exit(code);
}

/// Requests of the system to end.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    pub(crate) fn open() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// The exit code that the next one asks for. Cancel-safe.
    pub(crate) async fn next(&mut self) -> i32 {
        tokio::select! {
            _ = self.interrupt.recv() => 130,
            _ = self.terminate.recv() => 143,
            _ = self.hangup.recv() => 129,
        }
    }
}
