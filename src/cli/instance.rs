//! The node behind a command: the one that runs already, or one of our own.

use std::net::{IpAddr, Ipv4Addr};

use peerconnect::config::{LegacyMode, Paths, Settings};
use peerconnect::fault::Fault;
use peerconnect::node::api::{Presence, ReceiveRule};
use peerconnect::node::instance;
pub(crate) use peerconnect::node::instance::{Instance, running};
use peerconnect::node::{NodeOptions, ResumeAtStart};

use super::args::Global;

/// What a node of our own is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Transfers of this command only.
    Transfer(Option<ReceiveRule>),
    /// Everything, until it is ended.
    Stay(ReceiveRule),
    /// To see who is in the network; nobody is told of it.
    Look,
    /// To look at what is stored, or change it; nobody can reach it.
    Local,
}

/// The instance that runs, or one of our own.
pub(crate) async fn reach(
    global: &Global,
    paths: &Paths,
    settings: &Settings,
    purpose: Purpose,
) -> Result<Instance, Fault> {
    instance::reach(options(global, paths, settings, &purpose)).await
}

fn options(global: &Global, paths: &Paths, settings: &Settings, purpose: &Purpose) -> NodeOptions {
    let local = *purpose == Purpose::Local;
    let (resume, rule) = match purpose {
        Purpose::Transfer(rule) => (ResumeAtStart::None, rule.clone()),
        Purpose::Stay(rule) => (ResumeAtStart::All, Some(rule.clone())),
        Purpose::Look | Purpose::Local => (ResumeAtStart::None, None),
    };
    let presence = match purpose {
        Purpose::Transfer(Some(_)) | Purpose::Stay(_) => Presence::Announce,
        // Nobody takes here what others would send.
        Purpose::Transfer(None) | Purpose::Look => Presence::Look,
        Purpose::Local => Presence::Off,
    };
    let mut settings = settings.clone();
    if local {
        settings.legacy = LegacyMode::Off;
    }
    NodeOptions {
        paths: paths.clone(),
        settings,
        bind: match local {
            true => Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            false => global.bind,
        },
        port: match purpose {
            // Whoever has the port of the settings may start meanwhile.
            Purpose::Look | Purpose::Local => Some(0),
            Purpose::Transfer(_) | Purpose::Stay(_) => global.port,
        },
        legacy_port: global.legacy_port,
        legacy_req_port: global.legacy_req_port,
        rule,
        resume,
        presence,
        wake: None,
        // A daemon is told other folders while it runs, by `receive` and by people who answer.
        confine: matches!(purpose, Purpose::Transfer(Some(_))),
    }
}
