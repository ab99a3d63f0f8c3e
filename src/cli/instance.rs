//! The node behind a command: the one that runs already, or one of our own.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use peerconnect::config::{Paths, Settings};
use peerconnect::fault::Fault;
use peerconnect::node::api::{Command, NodeHandle, ReceiveRule};
use peerconnect::node::{Node, NodeOptions, ResumeAtStart, StartError, control};

use super::args::Global;

/// How often and how long an instance is waited for that is just starting or ending.
const TRIES: u32 = 30;
const TRY_PAUSE: Duration = Duration::from_millis(100);

/// A node to talk to.
pub(crate) struct Instance {
    pub(crate) node: NodeHandle,
    own: Option<Node>,
}

/// What a node of our own is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Transfers of this command only.
    Transfer(Option<ReceiveRule>),
    /// Everything, until it is ended.
    Stay(ReceiveRule),
    /// To look at what is stored, or change it; nobody can reach it.
    Local,
}

/// The instance that runs, if one does.
pub(crate) async fn running(paths: &Paths) -> Result<Option<NodeHandle>, Fault> {
    control::connect(paths).await.map_err(|error| {
        if error.kind() == std::io::ErrorKind::InvalidData {
            return Fault::Invalid {
                why: error.to_string(),
            };
        }
        Fault::Internal {
            what: format!("the control socket: {error}"),
        }
    })
}

/// The instance that runs, or one of our own.
pub(crate) async fn reach(
    global: &Global,
    paths: &Paths,
    settings: &Settings,
    purpose: Purpose,
) -> Result<Instance, Fault> {
    for _ in 0..TRIES {
        if let Some(node) = running(paths).await? {
            return Ok(Instance { node, own: None });
        }
        match Node::start(options(global, paths, settings, &purpose)) {
            Ok(node) => {
                return Ok(Instance {
                    node: node.handle(),
                    own: Some(node),
                });
            }
            // It starts or ends at this moment.
            Err(StartError::InUse) => tokio::time::sleep(TRY_PAUSE).await,
            Err(StartError::Fault(fault)) => return Err(fault),
        }
    }
    Err(Fault::Internal {
        what: "another PeerConnect is running with the same settings and does not answer".into(),
    })
}

fn options(global: &Global, paths: &Paths, settings: &Settings, purpose: &Purpose) -> NodeOptions {
    let local = *purpose == Purpose::Local;
    let (resume, rule) = match purpose {
        Purpose::Transfer(rule) => (ResumeAtStart::None, rule.clone()),
        Purpose::Stay(rule) => (ResumeAtStart::All, Some(rule.clone())),
        Purpose::Local => (ResumeAtStart::None, None),
    };
    NodeOptions {
        paths: paths.clone(),
        settings: settings.clone(),
        bind: match local {
            true => Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            false => global.bind,
        },
        port: match local {
            true => Some(0),
            false => global.port,
        },
        rule,
        resume,
        wake: None,
        // A daemon is told other folders while it runs, by `receive` and by people who answer.
        confine: matches!(purpose, Purpose::Transfer(Some(_))),
    }
}

impl Instance {
    /// Whether the node belongs to another process.
    pub(crate) fn is_shared(&self) -> bool {
        self.own.is_none()
    }

    /// Ends a node of our own in order: transfers keep what they have. Leaves another alone.
    pub(crate) async fn close(self) {
        let Some(own) = self.own else {
            return;
        };
        if let Err(fault) = self.node.call(Command::Shutdown).await {
            tracing::debug!(%fault, "the node had ended already");
        }
        if tokio::task::spawn_blocking(move || own.join())
            .await
            .is_err()
        {
            tracing::error!("the node did not end in order");
        }
    }
}
