//! `peers`: who is near, who is known, and who is trusted.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use peerconnect::fault::Fault;
use peerconnect::node::api::{
    Command, GroupRecord, Nearby, NodeHandle, Overview, PeerInfo, Target, Who,
};
use peerconnect::storage::store::Accept;
use peerconnect::text::{Shown, count, duration};

use super::Context;
use super::args::PeersVerb;
use super::exit::Exit;
use super::instance::{Purpose, reach};
use super::output::{Event, Output};
use super::signals::Signals;
use super::{resolve, show, whom};

pub(crate) async fn run(
    action: Option<PeersVerb>,
    watch: bool,
    context: &mut Context,
) -> Result<Exit, Fault> {
    match action {
        None | Some(PeersVerb::List) => look(watch, context).await,
        Some(action) => change(action, context).await,
    }
}

async fn change(action: PeersVerb, context: &mut Context) -> Result<Exit, Fault> {
    let local = Purpose::Local;
    let instance = reach(&context.global, &context.paths, &context.settings, local).await?;
    let picture = Arc::clone(&instance.node.overview().borrow());
    let carried_out = async {
        if let Some((commands, text)) = commands(action, &picture)? {
            for command in commands {
                instance.node.call(command).await?;
            }
            context.out.say(&text);
        }
        Ok(Exit::OK)
    };
    let result = carried_out.await;
    instance.close().await;
    result
}

async fn look(watch_on: bool, context: &mut Context) -> Result<Exit, Fault> {
    let purpose = Purpose::Look;
    let instance = reach(&context.global, &context.paths, &context.settings, purpose).await?;
    let Context { out, signals, .. } = context;
    let looked = async {
        if watch_on {
            return Ok(watch(&instance.node, out, signals).await);
        }
        if whom::is_fresh(&instance) {
            out.say("Looking for peers in this network…");
            whom::listen(&instance.node, signals).await?;
        }
        let picture = Arc::clone(&instance.node.overview().borrow());
        list(&picture, out).await;
        Ok(Exit::OK)
    };
    let result = looked.await;
    instance.close().await;
    result
}

/// What is asked of the node, and what to say when it is done. `None` to list.
fn commands(
    action: PeersVerb,
    picture: &Overview,
) -> Result<Option<(Vec<Command>, String)>, Fault> {
    let named = |peer: &PeerInfo| Shown(peer.record.name()).to_string();
    let (command, text) = match action {
        PeersVerb::List => return Ok(None),
        PeersVerb::Trust { peer, accept, into } => {
            let peer = resolve::peer(picture, &peer)?;
            let (id, accept) = (peer.id, Accept::from(accept));
            let text = match accept {
                Accept::Always => "Trusted; its files are taken without a question",
                Accept::Ask => "Trusted; you are asked about its files",
                Accept::Block => "Blocked; it sees nobody answering",
            };
            let mut commands = vec![Command::Trust { peer: id, accept }];
            if let Some(folder) = into {
                commands.push(Command::SetPeerFolder {
                    peer: id,
                    folder: Some(std::path::absolute(&folder).unwrap_or(folder)),
                });
            }
            return Ok(Some((commands, format!("{}: {text}.", named(peer)))));
        }
        PeersVerb::Forget { peer } => {
            let peer = resolve::peer(picture, &peer)?;
            (
                Command::Forget(peer.id),
                format!("{} is forgotten.", named(peer)),
            )
        }
        PeersVerb::Group { name, peers } => {
            let ids = peers.iter().map(|peer| resolve::peer_id(picture, peer));
            let members = ids.collect::<Result<Vec<_>, _>>()?;
            let size = count(members.len() as u64, "peer", "peers");
            let text = format!("{}: {size}.", Shown(&name));
            (Command::SetGroup(GroupRecord { name, members }), text)
        }
        PeersVerb::Ungroup { name } => {
            let text = format!("The group {} is forgotten.", Shown(&name));
            let members = Vec::new();
            (Command::SetGroup(GroupRecord { name, members }), text)
        }
        PeersVerb::Rename { peer, name } => {
            let peer = resolve::peer(picture, &peer)?;
            let text = format!("{} is called {} now.", named(peer), Shown(&name));
            let peer = peer.id;
            (Command::Rename { peer, name }, text)
        }
    };
    Ok(Some((vec![command], text)))
}

/// Everybody who is near or known: those who are near first.
fn everybody(picture: &Overview) -> Vec<(Option<&Nearby>, Option<&PeerInfo>)> {
    let near = picture.nearby.iter().map(|near| {
        let known = picture
            .peers
            .iter()
            .find(|peer| near.key() == Some(peer.id));
        (Some(near), known)
    });
    let elsewhere = picture
        .peers
        .iter()
        .filter(|peer| picture.near(peer.id).is_none());
    near.chain(elsewhere.map(|peer| (None, Some(peer))))
        .collect()
}

async fn list(picture: &Overview, out: &mut Output) {
    let everybody = everybody(picture);
    if out.is_json() {
        for (near, known) in everybody {
            out.object("peer", body(near, known)).await;
        }
        for group in picture.groups.iter() {
            out.object("group", group_body(group)).await;
        }
        return;
    }
    if everybody.is_empty() {
        out.say(
            "Nobody is heard in this network, and no peer is known yet. Is PeerConnect open on \
             the other computer?\nIts link or address works, too: peerconnect send --to …",
        );
        return;
    }
    let rows = everybody.into_iter().map(|(n, k)| row(n, k));
    let groups = picture.groups.iter().map(|group| group_row(picture, group));
    let rows: Vec<[String; 5]> = rows.chain(groups).collect();
    show::table(&["NAME", "ID", "WHERE", "OFFERS", "SEEN"], &rows, out).await;
}

fn group_body(group: &GroupRecord) -> serde_json::Value {
    let members: Vec<String> = group.members.iter().map(ToString::to_string).collect();
    serde_json::json!({ "name": group.name, "members": members })
}

fn group_row(picture: &Overview, group: &GroupRecord) -> [String; 5] {
    let names = group.members.iter().map(|id| whom::name_of(picture, *id));
    let names: Vec<String> = names.map(|name| Shown(&name).to_string()).collect();
    let name = Shown(&group.name).to_string();
    let none = String::new;
    [name, "group".into(), names.join(", "), none(), none()]
}

fn body(near: Option<&Nearby>, known: Option<&PeerInfo>) -> serde_json::Value {
    let record = known.map(|peer| &peer.record);
    let (id, kind) = match (near, known) {
        (Some(near), _) => identity(&near.who),
        (None, known) => (
            known.map(|peer| peer.id.to_string()).unwrap_or_default(),
            "key",
        ),
    };
    let name = near.map(|near| near.name.as_str());
    let mut addrs: Vec<SocketAddr> = near.map(|near| near.addrs.clone()).unwrap_or_default();
    for addr in record.iter().flat_map(|record| &record.addrs) {
        if !addrs.contains(addr) {
            addrs.push(*addr);
        }
    }
    let heard = near.map(|near| near.last_seen);
    serde_json::json!({
        "name": name.or(record.map(|record| record.name())),
        "claimed_name": record.map(|record| record.claimed_name.as_str()).or(name),
        "id": id, "kind": kind, "nearby": near.is_some(), "known": known.is_some(),
        "trusted": record.is_some_and(|record| record.trusted),
        "accept": record.map_or(Accept::Ask, |record| record.accept),
        "connected": known.map(|peer| peer.connected).or(near.map(|near| near.connected)),
        "addrs": show::addrs(&addrs), "to": near.map(to),
        "first_seen": record.map(|record| record.first_seen),
        "last_seen": heard.max(record.map(|record| record.last_seen)),
    })
}

/// What `send --to` takes and means nobody else: ids of originals are not theirs alone.
fn to(near: &Nearby) -> String {
    match Target::from(near.who) {
        Target::Peer(id) => id.to_string(),
        Target::Text(address) => address,
    }
}

/// Id and kind as scripts know them.
fn identity(who: &Who) -> (String, &'static str) {
    match who {
        Who::Key(id) => (id.to_string(), "key"),
        Who::Original(id) => (id.id.to_string(), "original"),
    }
}

fn row(near: Option<&Nearby>, known: Option<&PeerInfo>) -> [String; 5] {
    let name = near.map(|near| near.name.as_str());
    let name = name
        .or(known.map(|peer| peer.record.name()))
        .unwrap_or_default();
    let id = match (near.map(|near| &near.who), known) {
        (Some(Who::Original(_)), _) => "-".to_owned(),
        (Some(Who::Key(id)), _) => id.short(),
        (None, known) => known.map(|peer| peer.id.short()).unwrap_or_default(),
    };
    let place = near.and_then(|near| near.addrs.first());
    let offers = match (known, near.map(|near| &near.who)) {
        (Some(peer), _) => match (peer.record.accept, peer.record.trusted) {
            (Accept::Always, _) => "trusted, taken",
            (Accept::Ask, true) => "trusted, asked",
            (Accept::Ask, false) => "asked",
            (Accept::Block, _) => "blocked",
        },
        (None, Some(Who::Original(_))) => "not encrypted (old version)",
        (None, Some(Who::Key(_)) | None) => "new, asked",
    };
    let seen = match (known, near) {
        (Some(peer), _) if peer.connected => match &peer.words {
            Some(words) => format!("connected, {}", Shown(words)),
            None => "connected".into(),
        },
        (_, Some(_)) => "here now".into(),
        (Some(peer), None) => match show::now().checked_sub(peer.record.last_seen) {
            Some(ago) => format!("{} ago", duration(ago)),
            None => "just now".into(),
        },
        (None, None) => String::new(),
    };
    [
        Shown(name).to_string(),
        id,
        place.map_or("-".into(), ToString::to_string),
        offers.into(),
        seen,
    ]
}

/// Says who appears, changes and goes, until a signal comes or nobody reads any more.
async fn watch(node: &NodeHandle, out: &mut Output, signals: &mut Signals) -> Exit {
    let mut overview = node.overview();
    let me = overview.borrow().me.clone();
    if out.is_json() {
        out.emit(Event::Hello(&me)).await;
    } else {
        out.say("Watching this network; Ctrl-C ends.");
    }
    let mut before = BTreeMap::new();
    loop {
        let picture = Arc::clone(&overview.borrow_and_update());
        let now: BTreeMap<Who, Nearby> = picture
            .nearby
            .iter()
            .map(|near| (near.who, near.clone()))
            .collect();
        for (state, near) in changes(&before, &now) {
            tell(state, near, out).await;
        }
        before = now;
        out.flush().await;
        if out.is_closed() {
            return Exit::PIPE_CLOSED;
        }
        tokio::select! {
            changed = overview.changed() => if changed.is_err() { return Exit::OK },
            signal = signals.next() => return signal.exit(),
        }
    }
}

/// What is different, as scripts know it.
fn changes<'a>(
    before: &'a BTreeMap<Who, Nearby>,
    now: &'a BTreeMap<Who, Nearby>,
) -> Vec<(&'static str, &'a Nearby)> {
    let gone = before.iter().filter(|(who, _)| !now.contains_key(who));
    let gone = gone.map(|(_, near)| ("gone", near));
    let others = now.iter().filter_map(|(who, near)| match before.get(who) {
        None => Some(("appeared", near)),
        Some(old) => {
            let same =
                (&old.name, &old.addrs, old.trusted) == (&near.name, &near.addrs, near.trusted);
            (!same).then_some(("changed", near))
        }
    });
    gone.chain(others).collect()
}

async fn tell(state: &str, near: &Nearby, out: &mut Output) {
    let (id, kind) = identity(&near.who);
    if out.is_json() {
        let body = serde_json::json!({
            "state": state, "name": near.name, "id": id, "kind": kind,
            "trusted": near.trusted, "known": near.known, "addrs": show::addrs(&near.addrs),
            "to": to(near),
        });
        out.object("peer", body).await;
        return;
    }
    let short = near.key().map_or("-".into(), |id| id.short());
    let addrs = show::addrs(&near.addrs).join("  ");
    let name = Shown(&near.name).to_string();
    let mark = match near.who {
        Who::Key(_) => "",
        Who::Original(_) => "  not encrypted (old version)",
    };
    out.line(&format!("{state:9} {name:20} {short:8}  {addrs}{mark}"))
        .await;
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use crate::cli::testing::{known, near, overview};

    #[test]
    fn a_peer_that_is_near_and_known_is_one_row_and_those_near_come_first() {
        let mut picture = overview(vec![]);
        picture.nearby = vec![near(1, "kitchen"), near(2, "new one")].into();
        picture.peers = vec![known(3, "elsewhere"), known(1, "kitchen")].into();
        let rows: Vec<_> = everybody(&picture)
            .into_iter()
            .map(|(n, k)| row(n, k))
            .collect();
        let names: Vec<&str> = rows.iter().map(|row| row[0].as_str()).collect();
        assert_eq!(names, ["kitchen", "new one", "elsewhere"]);
        let seen: Vec<&str> = rows.iter().map(|row| row[4].as_str()).collect();
        assert_eq!(seen[..2], ["here now", "here now"]);
        assert!(seen[2].ends_with(" ago"));
        assert_eq!(
            (rows[1][2].as_str(), rows[1][3].as_str()),
            ("10.0.0.2:3485", "new, asked")
        );
        assert_eq!(rows[2][2], "-");
        let first = &everybody(&picture)[0];
        let json = body(first.0, first.1);
        for (key, value) in [("nearby", true), ("known", true), ("trusted", false)] {
            assert_eq!(json[key], value, "{key}");
        }
        assert_eq!(
            (&json["kind"], &json["addrs"][0]),
            (&"key".into(), &"10.0.0.1:3485".into())
        );
    }

    #[test]
    fn each_change_is_told_once() {
        let of = |peers: &[Nearby]| -> BTreeMap<Who, Nearby> {
            peers.iter().map(|near| (near.who, near.clone())).collect()
        };
        let (one, two) = (near(1, "one"), near(2, "two"));
        let mut moved = one.clone();
        moved.addrs = vec!["10.0.0.9:1".parse().unwrap()];
        let mut heard = one.clone();
        heard.last_seen += 10;
        let told = |before: &[Nearby], now: &[Nearby]| -> Vec<(&str, String)> {
            let (before, now) = (of(before), of(now));
            let told = changes(&before, &now);
            told.into_iter()
                .map(|(state, near)| (state, near.name.clone()))
                .collect()
        };
        let both = [one.clone(), two.clone()];
        assert_eq!(
            told(&[], &both),
            [("appeared", "one".into()), ("appeared", "two".into())]
        );
        assert_eq!(told(&both, &[heard, two.clone()]), []);
        assert_eq!(
            told(&both, &[moved]),
            [("gone", "two".into()), ("changed", "one".into())]
        );
    }
}
