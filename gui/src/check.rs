//! What was found in the network: asked of the node, which takes seconds, and kept for the page.

use peerconnect::fault::Fault;
use peerconnect::node::api::{Command, Finding, Reply, Target};

use crate::app::App;
use crate::model::About;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Check {
    /// The node is looking.
    pub(crate) running: bool,
    /// What it found last.
    pub(crate) found: Vec<Finding>,
}

impl Check {
    /// The node was asked: what was found before may not be so any more.
    pub(crate) fn begin(&mut self) {
        self.running = true;
        self.found.clear();
    }

    /// The node's answer. A failure is told elsewhere.
    pub(crate) fn came(&mut self, result: &Result<Reply, Fault>) {
        self.running = false;
        if let Ok(Reply::Checked(found)) = result {
            self.found.clone_from(found);
        }
    }
}

impl App {
    /// Has the node look at the network, and call a device if one was typed.
    pub(crate) fn check(&mut self, call: Option<String>) {
        let call = call.map(Target::Text);
        self.ask(Command::CheckNetwork { call }, About::Check);
    }
}
