//! `relay`.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use peerconnect::fault::Fault;
use peerconnect::identity::Identity;
use peerconnect::net::BindError;
use peerconnect::net::relay::{Relay, RelayLimits, RelayOptions, RelayStats, serve};
use peerconnect::peer::PeerId;
use peerconnect::protocol::link_uri::{Link, RelayHint};
use peerconnect::protocol::relay::RELAY_PORT;
use peerconnect::text::{Shown, bytes, count};
use serde_json::json;

use super::Context;
use super::args::RelayServerArgs;
use super::exit::Exit;

/// How often it is said what the relay does, if that changed.
const STATS_EVERY: Duration = Duration::from_secs(10);

pub(crate) async fn run(args: RelayServerArgs, context: &mut Context) -> Result<Exit, Fault> {
    let allow = args.allow.iter().map(|text| peer(text));
    let allow = allow.collect::<Result<Vec<_>, _>>()?;
    let identity = identity(context)?;
    let port = context.global.port.unwrap_or(RELAY_PORT);
    let options = RelayOptions {
        bind: context.global.bind,
        port,
        peers_max: args.max_peers as usize,
        limits: RelayLimits {
            pair: args.limit,
            peer: args.limit_peer,
            total: args.limit_total,
        },
        allow: (!allow.is_empty()).then(|| allow.into_iter().collect()),
    };
    let relay = serve(&identity, options)
        .await
        .map_err(|error| match error {
            BindError::PortInUse(port) => Fault::PortInUse { port },
            other @ (BindError::Socket(_) | BindError::Identity(_)) => Fault::Internal {
                what: other.to_string(),
            },
        })?;
    let addrs = addrs(&args.public, &relay)?;
    hello(&identity, &addrs, context).await;
    watch(&relay, context).await;
    let stats = relay.stats();
    relay.shutdown().await;
    tell(stats, context).await;
    Ok(Exit::OK)
}

fn identity(context: &Context) -> Result<Identity, Fault> {
    let data = &context.paths.data;
    let cannot = |why: String| Fault::CannotWrite {
        path: data.clone(),
        why,
    };
    context
        .paths
        .create()
        .map_err(|error| cannot(error.to_string()))?;
    Identity::load_or_create(data).map_err(|error| cannot(error.to_string()))
}

/// A peer that may use the relay: nothing else than a key will do.
fn peer(text: &str) -> Result<PeerId, Fault> {
    if let Ok(id) = text.parse() {
        return Ok(id);
    }
    let link: Result<Link, _> = text.parse();
    link.map(|link| link.id).map_err(|_| Fault::Invalid {
        why: format!(
            "\"{}\" is neither the id of a peer (as `peerconnect id` shows it) nor its link",
            Shown(text)
        ),
    })
}

/// Where the relay can be reached: what the person says first.
fn addrs(public: &[String], relay: &Relay) -> Result<Vec<SocketAddr>, Fault> {
    let mut addrs = Vec::new();
    for text in public {
        let parsed = match (text.parse::<SocketAddr>(), text.parse::<IpAddr>()) {
            (Ok(addr), _) => addr,
            (_, Ok(ip)) => SocketAddr::new(ip, relay.local_port()),
            (Err(_), Err(_)) => {
                let why = format!("\"{}\" is no address (IP or IP:PORT)", Shown(text));
                return Err(Fault::Invalid { why });
            }
        };
        addrs.push(parsed);
    }
    for addr in relay.addrs() {
        if !addrs.contains(&addr) {
            addrs.push(addr);
        }
    }
    Ok(addrs)
}

async fn hello(identity: &Identity, addrs: &[SocketAddr], context: &mut Context) {
    let whole = Link {
        id: identity.id(),
        addrs: addrs.to_vec(),
        relays: Vec::new(),
    };
    let link = RelayHint::from(whole).link().to_string();
    let texts: Vec<String> = addrs.iter().map(ToString::to_string).collect();
    let out = &mut context.out;
    if out.is_json() {
        let body = json!({
            "version": env!("CARGO_PKG_VERSION"), "name": context.settings.name,
            "id": identity.id().to_string(), "link": link, "addrs": texts,
        });
        out.object("hello", body).await;
    } else {
        out.say("Relaying. What goes through here cannot be read here.");
        out.say(&format!("  Listening at: {}", texts.join("  ")));
        out.say(&format!("  Its link: {link}"));
        out.say(
            "  Use it: peerconnect receive --relay LINK, and send to the link that this prints.",
        );
    }
    out.flush().await;
}

/// Tells what the relay does until somebody ends it.
async fn watch(relay: &Relay, context: &mut Context) {
    let mut every = tokio::time::interval(STATS_EVERY);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut told = relay.stats();
    loop {
        tokio::select! {
            _ = context.signals.next() => return,
            _ = every.tick() => {
                let now = relay.stats();
                if now != told {
                    told = now;
                    tell(now, context).await;
                }
            }
        }
    }
}

async fn tell(stats: RelayStats, context: &mut Context) {
    let out = &mut context.out;
    let RelayStats {
        peers,
        pairs,
        bytes: carried,
        dropped,
    } = stats;
    if out.is_json() {
        let body = json!({
            "peers": peers, "pairs": pairs, "bytes": carried, "dropped": dropped,
        });
        out.object("relay", body).await;
    } else {
        let peers = count(peers as u64, "peer", "peers");
        let pairs = count(pairs as u64, "pair", "pairs");
        out.say(&format!(
            "{peers}, {pairs} connected through here, {} carried",
            bytes(carried)
        ));
    }
    out.flush().await;
}
