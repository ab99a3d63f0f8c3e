//! `peers`: who is known, and who is trusted.

use std::sync::Arc;

use peerconnect::fault::Fault;
use peerconnect::node::api::{Command, Overview, PeerInfo};
use peerconnect::storage::store::Accept;
use peerconnect::text::{Shown, duration};

use super::Context;
use super::args::PeersVerb;
use super::exit::Exit;
use super::instance::{Purpose, reach};
use super::output::Output;
use super::{resolve, show};

pub(crate) async fn run(action: Option<PeersVerb>, context: &mut Context) -> Result<Exit, Fault> {
    let local = Purpose::Local;
    let instance = reach(&context.global, &context.paths, &context.settings, local).await?;
    let picture = Arc::clone(&instance.node.overview().borrow());
    let carried_out = async {
        match command(action, &picture)? {
            Some((command, text)) => {
                instance.node.call(command).await?;
                context.out.say(&text);
            }
            None => list(&picture, &mut context.out).await,
        }
        Ok(Exit::OK)
    };
    let result = carried_out.await;
    instance.close().await;
    result
}

/// What is asked of the node, and what to say when it is done. `None` to list.
fn command(
    action: Option<PeersVerb>,
    picture: &Overview,
) -> Result<Option<(Command, String)>, Fault> {
    let named = |peer: &PeerInfo| Shown(peer.record.name()).to_string();
    Ok(Some(match action {
        None | Some(PeersVerb::List) => return Ok(None),
        Some(PeersVerb::Trust { peer, accept }) => {
            let peer = resolve::peer(picture, &peer)?;
            let (id, accept) = (peer.id, Accept::from(accept));
            let text = match accept {
                Accept::Always => "Trusted; its files are taken without a question",
                Accept::Ask => "Trusted; you are asked about its files",
                Accept::Block => "Blocked; it sees nobody answering",
            };
            let command = Command::Trust { peer: id, accept };
            (command, format!("{}: {text}.", named(peer)))
        }
        Some(PeersVerb::Forget { peer }) => {
            let peer = resolve::peer(picture, &peer)?;
            (
                Command::Forget(peer.id),
                format!("{} is forgotten.", named(peer)),
            )
        }
        Some(PeersVerb::Rename { peer, name }) => {
            let peer = resolve::peer(picture, &peer)?;
            let text = format!("{} is called {} now.", named(peer), Shown(&name));
            let peer = peer.id;
            (Command::Rename { peer, name }, text)
        }
    }))
}

async fn list(picture: &Overview, out: &mut Output) {
    if out.is_json() {
        for peer in picture.peers.iter() {
            let body = serde_json::json!({
                "name": peer.record.name(), "claimed_name": peer.record.claimed_name,
                "id": peer.id.to_string(), "trusted": peer.record.trusted,
                "accept": peer.record.accept, "connected": peer.connected,
                "addrs": peer.record.addrs.iter().map(|a| a.to_string()).collect::<Vec<_>>(),
                "first_seen": peer.record.first_seen, "last_seen": peer.record.last_seen,
            });
            out.object("peer", body).await;
        }
        return;
    }
    if picture.peers.is_empty() {
        out.say("No peers yet: send something, or have something sent to you.");
        return;
    }
    let rows: Vec<[String; 4]> = picture.peers.iter().map(row).collect();
    show::table(&["NAME", "ID", "OFFERS", "SEEN"], &rows, out).await;
}

fn row(peer: &PeerInfo) -> [String; 4] {
    let offers = match (peer.record.accept, peer.record.trusted) {
        (Accept::Always, _) => "trusted, taken",
        (Accept::Ask, true) => "trusted, asked",
        (Accept::Ask, false) => "asked",
        (Accept::Block, _) => "blocked",
    };
    let seen = match (peer.connected, &peer.words) {
        (true, Some(words)) => format!("connected, {}", Shown(words)),
        (true, None) => "connected".into(),
        (false, _) => match show::now().checked_sub(peer.record.last_seen) {
            Some(ago) => format!("{} ago", duration(ago)),
            None => "just now".into(),
        },
    };
    [
        Shown(peer.record.name()).to_string(),
        peer.id.short(),
        offers.into(),
        seen,
    ]
}
