//! The one node of a person: the one that runs already, in whatever process, or one of our own.
//! Faces that need a node come here, so that a window and commands always share one.

use std::time::Duration;

use super::api::{Command, NodeHandle};
use super::{Node, NodeOptions, StartError, control};
use crate::config::Paths;
use crate::fault::Fault;

/// How often and how long an instance is waited for that is just starting or ending.
const TRIES: u32 = 30;
const TRY_PAUSE: Duration = Duration::from_millis(100);

/// A node to talk to. Dropping it without [`Instance::close`] leaves a node of our own running
/// until its last handle is gone.
#[derive(Debug)]
pub struct Instance {
    /// How to talk to it.
    pub node: NodeHandle,
    own: Option<Node>,
}

/// The instance that runs with these folders, if one does. Must be called inside a tokio runtime
/// that lives as long as the handle.
pub async fn running(paths: &Paths) -> Result<Option<NodeHandle>, Fault> {
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

/// The instance that runs with the folders of `options`, as it is; without one, a node of our own
/// with these options. Must be called inside a tokio runtime that lives as long as the instance.
/// Waits three seconds at most for another one that is just starting or ending.
pub async fn reach(options: NodeOptions) -> Result<Instance, Fault> {
    for _ in 0..TRIES {
        if let Some(node) = running(&options.paths).await? {
            return Ok(Instance { node, own: None });
        }
        match Node::start(options.clone()) {
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

impl Instance {
    /// Whether the node belongs to another process.
    pub fn is_shared(&self) -> bool {
        self.own.is_none()
    }

    /// Ends a node of our own in order: transfers keep what they have. Leaves another alone.
    pub async fn close(self) {
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
