//! To whom: a name that is looked for in the network, or a choice among those who are there.

use std::time::{Duration, SystemTime};

use peerconnect::fault::Fault;
use peerconnect::node::api::{
    Command, Found, NodeHandle, OriginalId, Overview, Presence, Reply, Target, Who,
};
use peerconnect::peer::PeerId;
use peerconnect::text::{Shown, duration};
use tokio::time::Instant;

use super::instance::Instance;
use super::json_ask;
use super::lines::{Line, read_line};
use super::output::{Event, Output};
use super::show;
use super::signals::Signals;

/// How long a node that has just been started may take to hear of others.
const LISTEN: Duration = Duration::from_millis(2500);
/// How long it listens on when it has heard of somebody: others may have the same name, and who
/// has just announced itself does not do so again for a second.
const SETTLE: Duration = Duration::from_millis(1500);
/// Most peers that are offered as a choice.
const CHOICES_MAX: usize = 20;

/// Whether the node has just begun to listen to the network.
pub(crate) fn is_fresh(instance: &Instance) -> bool {
    hears_little(&instance.node.overview().borrow(), SystemTime::now())
}

/// Whether those who were there before us may not have been heard of at `now`. One whose clock was
/// turned back has listened for long enough.
fn hears_little(picture: &Overview, now: SystemTime) -> bool {
    let heard = now.duration_since(picture.listens_since);
    picture.presence != Presence::Off && heard.is_ok_and(|heard| heard < LISTEN)
}

/// Waits until a node that has just begun has heard of those who are near.
pub(crate) async fn listen(node: &NodeHandle, signals: &mut Signals) -> Result<(), Fault> {
    let mut overview = node.overview();
    let until = Instant::now() + LISTEN;
    let somebody = async {
        // The node has ended: then there is nothing to wait for either.
        let _ = overview
            .wait_for(|picture| !picture.nearby.is_empty())
            .await;
        tokio::time::sleep(SETTLE).await;
    };
    tokio::select! {
        () = somebody => Ok(()),
        () = tokio::time::sleep_until(until) => Ok(()),
        _ = signals.next() => Err(Fault::Cancelled),
    }
}

/// Finds whom `text` means: the members of a group, or one.
pub(crate) async fn named(
    text: String,
    instance: &Instance,
    out: &mut Output,
    signals: &mut Signals,
) -> Result<Vec<Target>, Fault> {
    let picture = instance.node.overview().borrow().clone();
    let Some(group) = picture.group(&text) else {
        return Ok(vec![one_named(text, instance, out, signals).await?]);
    };
    let names = group.members.iter().map(|id| name_of(&picture, *id));
    let names: Vec<String> = names.map(|name| Shown(&name).to_string()).collect();
    out.say(&format!("{}: {}.", Shown(&group.name), names.join(", ")));
    Ok(group.members.iter().map(|id| Target::Peer(*id)).collect())
}

/// Finds whom `text` means, and says by which way.
async fn one_named(
    text: String,
    instance: &Instance,
    out: &mut Output,
    signals: &mut Signals,
) -> Result<Target, Fault> {
    let node = &instance.node;
    let fresh = is_fresh(instance);
    let mut overview = node.overview();
    let begun = Instant::now();
    let mut told = false;
    loop {
        overview.mark_unchanged();
        let found = node.call(Command::Find(text.clone())).await;
        let wait = match &found {
            _ if !fresh => Duration::ZERO,
            Ok(Reply::Found(Found::Sure(_) | Found::Address)) => Duration::ZERO,
            // Others of that name may be slower to answer.
            Ok(Reply::Found(Found::Claimed(_))) | Err(Fault::Invalid { .. }) => SETTLE,
            Ok(Reply::Found(Found::Host | Found::Original(_))) | Err(Fault::NotFound { .. }) => {
                LISTEN
            }
            Ok(_) | Err(_) => Duration::ZERO,
        };
        let until = begun + wait;
        if Instant::now() >= until {
            let picture = overview.borrow().clone();
            return match found? {
                Reply::Found(found) => Ok(target(found, text, &picture, out).await),
                other @ (Reply::Done
                | Reply::Transfer { .. }
                | Reply::Session { .. }
                | Reply::Files(_)
                | Reply::Peer(_)
                | Reply::History(_)
                | Reply::Checked(_)
                | Reply::TextSent(_)
                | Reply::Text(_)
                | Reply::Agreed { .. }) => Err(super::send::unexpected(&other)),
            };
        }
        if !told {
            told = true;
            out.say(&format!("Looking for {} in this network…", Shown(&text)));
        }
        tokio::select! {
            changed = overview.changed() => if changed.is_err() {
                return Err(Fault::Internal { what: "the node has ended".into() });
            },
            () = tokio::time::sleep_until(until) => {}
            _ = signals.next() => return Err(Fault::Cancelled),
        }
    }
}

async fn target(found: Found, text: String, picture: &Overview, out: &mut Output) -> Target {
    if let Found::Original(id) = found {
        return original(id, text, out).await;
    }
    let (how, peer) = match found {
        Found::Sure(id) => ("known", Some(id)),
        Found::Claimed(id) if picture.near(id).is_some() => ("nearby", Some(id)),
        Found::Claimed(id) => ("seen-before", Some(id)),
        Found::Host => ("host", None),
        Found::Address | Found::Original(_) => ("address", None),
    };
    if out.is_json() {
        let near = peer.and_then(|id| picture.near(id));
        let body = serde_json::json!({
            "how": how, "typed": text, "id": peer.map(|id| id.to_string()),
            "name": peer.map(|id| name_of(picture, id)), "nearby": near.is_some(),
            "addrs": near.map(|near| show::addrs(&near.addrs)),
        });
        out.object("target", body).await;
    }
    match peer {
        Some(id) => {
            out.say(&way_to(picture, id));
            Target::Peer(id)
        }
        None => {
            if found == Found::Host {
                let name = Shown(&text);
                out.say(&format!(
                    "Nobody near is called {name}; trying the computer {name}."
                ));
            }
            Target::Text(text)
        }
    }
}

/// Says that what follows is not encrypted.
async fn original(id: OriginalId, typed: String, out: &mut Output) -> Target {
    let target = Target::from(Who::Original(id));
    let ip = id.requests.ip();
    if out.is_json() {
        let body = serde_json::json!({
            "how": "original", "typed": typed, "id": id.id.to_string(), "name": typed,
            "nearby": true, "addrs": [id.address().to_string()],
        });
        out.object("target", body).await;
    }
    out.say(&format!(
        "Found {} in this network, at {ip}: not encrypted (old version). Anybody there can read \
         along, and nobody proves who it is.",
        Shown(&typed)
    ));
    target
}

/// How a peer is called: by us, by itself, or by the beginning of its key.
pub(crate) fn name_of(picture: &Overview, id: PeerId) -> String {
    let known = picture.peers.iter().find(|peer| peer.id == id);
    let name = picture.near(id).map(|near| near.name.clone());
    let name = name.or_else(|| known.map(|peer| peer.record.name().to_owned()));
    name.filter(|name| !name.is_empty())
        .unwrap_or_else(|| id.short())
}

fn way_to(picture: &Overview, id: PeerId) -> String {
    let name = name_of(picture, id);
    let name = Shown(&name);
    let known = picture.peers.iter().find(|peer| peer.id == id);
    match (picture.near(id), known) {
        (Some(near), known) => {
            let first = near
                .addrs
                .first()
                .map(ToString::to_string)
                .unwrap_or_default();
            let new = match known {
                Some(_) => "",
                None => " It is new here: compare the three words.",
            };
            format!(
                "Found {name} ({}) in this network, at {first}.{new}",
                id.short()
            )
        }
        (None, Some(peer)) if !peer.record.addrs.is_empty() => {
            let ago = duration(show::now().saturating_sub(peer.record.last_seen));
            let first = peer.record.addrs.first().map(ToString::to_string);
            format!(
                "{name} ({}) is not heard in this network; trying where it was {ago} ago, {}.",
                id.short(),
                first.unwrap_or_default()
            )
        }
        (None, _) => format!("{name} ({}) is not heard in this network.", id.short()),
    }
}

/// To whom something goes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Chosen {
    /// To these.
    These(Vec<Target>),
    /// To whoever types a one-time code.
    Code,
}

/// Whether a one-time code can be chosen, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Codes {
    /// It can, where there is a way to look it up.
    Offered,
    /// It cannot.
    Never,
}

/// Lets the person choose one or several, or a code. What is typed instead of numbers is looked
/// for.
pub(crate) async fn choose(
    instance: &Instance,
    codes: Codes,
    out: &mut Output,
    signals: &mut Signals,
) -> Result<Chosen, Fault> {
    if is_fresh(instance) {
        out.say("Looking for peers in this network…");
        listen(&instance.node, signals).await?;
    }
    let picture = instance.node.overview().borrow().clone();
    let choices = choices(&picture);
    let codes = match picture.has_codes() {
        true => codes,
        false => Codes::Never,
    };
    if choices.is_empty() {
        if codes == Codes::Offered {
            return Ok(Chosen::Code);
        }
        return Err(Fault::Invalid {
            why: "Nobody was heard in this network, and no peer is known yet. Add --to with the \
                  link or address that the other computer shows"
                .into(),
        });
    }
    if !out.is_json() {
        super::write_stderr(&menu(&choices));
    }
    loop {
        ask(&choices, codes, out).await;
        let text = match (line(signals).await?, out.is_json()) {
            (Some(line), true) => json_ask::answer(line, ASKED, false),
            (Some(Line::Text(text)), false) => Ok(text),
            (Some(Line::TooLong), false) => Ok(String::new()),
            // As where nobody could be asked from the start.
            (None, true) => return Err(super::send::to_whom()),
            (None, false) => return Err(Fault::Cancelled),
        };
        match text.map(|text| typed(&text, &choices)) {
            Ok(Typed::Numbers(chosen)) => return Ok(Chosen::These(chosen)),
            Ok(Typed::Name(name)) => {
                let named = named(name, instance, out, signals).await;
                return named.map(Chosen::These);
            }
            Ok(Typed::Empty) if codes == Codes::Offered && !out.is_json() => {
                return Ok(Chosen::Code);
            }
            Ok(Typed::Empty) => refuse("That is none of the answers".into(), out).await,
            Ok(Typed::Nothing) => refuse("That is none of the answers".into(), out).await,
            Err(why) => refuse(why, out).await,
        }
    }
}

/// What was typed where a choice was asked for.
#[derive(Debug, PartialEq, Eq)]
enum Typed {
    /// Those of the list.
    Numbers(Vec<Target>),
    /// Nothing.
    Empty,
    /// Numbers that are not in the list.
    Nothing,
    /// Something else.
    Name(String),
}

fn typed(line: &str, choices: &[Choice]) -> Typed {
    let words = line.split([' ', ',', '\t', '\n', '\r']);
    let words = words.filter(|word| !word.is_empty());
    let numbers: Option<Vec<usize>> = words.map(|word| word.parse().ok()).collect();
    let Some(mut numbers) = numbers else {
        return Typed::Name(line.trim().to_owned());
    };
    numbers.sort_unstable();
    numbers.dedup();
    let choice = |n: &usize| choices.get(n.checked_sub(1)?);
    let chosen: Option<Vec<&Choice>> = numbers.iter().map(choice).collect();
    match chosen {
        Some(_) if line.trim().is_empty() => Typed::Empty,
        Some(chosen) if !chosen.is_empty() => {
            Typed::Numbers(chosen.into_iter().map(|choice| choice.who.into()).collect())
        }
        Some(_) | None => Typed::Nothing,
    }
}

/// People see that a line was no answer from the question that comes again.
async fn refuse(why: String, out: &mut Output) {
    if out.is_json() {
        let fault = Fault::Invalid { why };
        out.emit(Event::Error(None, None, &fault)).await;
    }
}

/// The number of the only question that is asked here.
const ASKED: u64 = 1;

async fn ask(choices: &[Choice], codes: Codes, out: &mut Output) {
    if !out.is_json() {
        let several = match choices.len() {
            1 => "",
            _ => ", several with spaces between them",
        };
        let code = match codes {
            Codes::Offered => ", or Enter for a code",
            Codes::Never => "",
        };
        let last = choices.len();
        return super::write_stderr(&format!("To whom? [1-{last}{several}{code}] "));
    }
    let choices = choices.iter().enumerate();
    let choices: Vec<_> = choices
        .map(|(n, c)| json_ask::choice(n + 1, c.who, &c.name, c.near, c.trusted))
        .collect();
    let body = serde_json::json!({ "ask": ASKED, "kind": "peer", "choices": choices });
    out.object("ask", body).await;
    out.flush().await;
}

/// The next line; `None` at the end of stdin.
async fn line(signals: &mut Signals) -> Result<Option<Line>, Fault> {
    let read = tokio::task::spawn_blocking(|| read_line(&mut std::io::stdin().lock()));
    tokio::select! {
        line = read => Ok(line.ok().and_then(Result::ok).flatten()),
        _ = signals.next() => Err(Fault::Cancelled),
    }
}

/// A peer to choose.
#[derive(Debug, PartialEq, Eq)]
struct Choice {
    who: Who,
    near: bool,
    name: String,
    trusted: bool,
    text: String,
}

fn choices(picture: &Overview) -> Vec<Choice> {
    let near = picture.nearby.iter().map(|near| {
        let mark = match (near.who, near.trusted, near.known) {
            (Who::Original(id), ..) => {
                format!("{}, not encrypted (old version)", id.requests.ip())
            }
            (Who::Key(_), true, _) => "trusted".into(),
            (Who::Key(id), false, true) => format!("seen before, {}", id.short()),
            (Who::Key(id), false, false) => format!("new, {}", id.short()),
        };
        Choice {
            who: near.who,
            near: true,
            name: near.name.clone(),
            trusted: near.trusted,
            text: format!("{} ({mark})", Shown(&near.name)),
        }
    });
    let elsewhere = picture
        .peers
        .iter()
        .filter(|peer| picture.near(peer.id).is_none());
    let elsewhere = elsewhere.map(|peer| {
        let mark = match peer.record.trusted {
            true => "trusted".into(),
            false => peer.id.short(),
        };
        let ago = duration(show::now().saturating_sub(peer.record.last_seen));
        Choice {
            who: Who::Key(peer.id),
            near: false,
            name: peer.record.name().to_owned(),
            trusted: peer.record.trusted,
            text: format!("{} ({mark}, {ago} ago)", Shown(peer.record.name())),
        }
    });
    near.chain(elsewhere).take(CHOICES_MAX).collect()
}

fn menu(choices: &[Choice]) -> String {
    let mut text = String::new();
    let mut last = None;
    for (n, choice) in choices.iter().enumerate() {
        if last != Some(choice.near) {
            text.push_str(match choice.near {
                true => "Nearby:\n",
                false => "Seen before, not heard now:\n",
            });
            last = Some(choice.near);
        }
        text.push_str(&format!("  {}  {}\n", n + 1, choice.text));
    }
    text
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use crate::cli::testing::{known, near, old, overview};

    #[test]
    fn those_who_are_near_are_offered_first_and_told_apart_from_others() {
        let mut picture = overview(vec![]);
        let mut trusted = near(1, "living-room-pc");
        (trusted.trusted, trusted.known) = (true, true);
        picture.nearby = vec![trusted, near(2, "kit\u{1b}chen"), old(4, "attic")].into();
        picture.peers = vec![known(1, "living-room-pc"), known(3, "laptop")].into();
        let text = menu(&choices(&picture));
        let id = |n| PeerId::from_bytes([n; 32]).short();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "Nearby:");
        assert_eq!(lines[1], "  1  living-room-pc (trusted)");
        assert_eq!(lines[2], format!("  2  kit\\u{{1b}}chen (new, {})", id(2)));
        let attic = "  3  attic (10.0.0.4, not encrypted (old version))";
        assert_eq!(lines[3], attic);
        assert_eq!(lines[4], "Seen before, not heard now:");
        assert!(
            lines[5].starts_with(&format!("  4  laptop ({}, ", id(3))),
            "{text}"
        );
        assert_eq!(lines.len(), 6);
    }

    #[test]
    fn whoever_has_just_begun_to_listen_waits_for_those_who_were_there_before() {
        let mut picture = overview(vec![]);
        picture.listens_since = SystemTime::UNIX_EPOCH + Duration::from_secs(100);
        let after = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        assert!(hears_little(&picture, after(101)));
        assert!(!hears_little(&picture, after(103)));
        assert!(
            !hears_little(&picture, after(99)),
            "the clock was turned back"
        );
        picture.presence = Presence::Off;
        assert!(!hears_little(&picture, after(101)), "nobody will be heard");
    }

    #[test]
    fn several_can_be_chosen_by_their_numbers() {
        let mut picture = overview(vec![]);
        picture.nearby = vec![near(1, "a"), near(2, "b"), near(3, "c")].into();
        let choices = choices(&picture);
        let of = |line: &str| typed(line, &choices);
        let targets = |ns: &[u8]| {
            let ids = ns
                .iter()
                .map(|n| Target::Peer(PeerId::from_bytes([*n; 32])));
            Typed::Numbers(ids.collect())
        };
        assert_eq!(of("2\n"), targets(&[2]));
        assert_eq!(of(" 3, 1 3\n"), targets(&[1, 3]));
        assert_eq!(of("\n"), Typed::Empty);
        for nothing in [" , ", "0", "4", "1 4", "99999999999999999999999 1"] {
            let expected = match nothing.starts_with('9') {
                true => Typed::Name(nothing.into()),
                false => Typed::Nothing,
            };
            assert_eq!(of(nothing), expected, "{nothing}");
        }
        assert_eq!(of("kitchen pc\n"), Typed::Name("kitchen pc".into()));
        assert_eq!(of("1 kitchen"), Typed::Name("1 kitchen".into()));
    }

    #[test]
    fn the_way_that_was_taken_is_said() {
        let mut picture = overview(vec![]);
        picture.nearby = vec![near(2, "kitchen")].into();
        let mut laptop = known(3, "laptop");
        laptop.record.addrs = vec!["10.0.0.3:3485".parse().unwrap()];
        picture.peers = vec![laptop].into();
        let way = |n| way_to(&picture, PeerId::from_bytes([n; 32]));
        assert!(
            way(2).contains("in this network, at 10.0.0.2:3485. It is new"),
            "{}",
            way(2)
        );
        assert!(way(3).contains("trying where it was"), "{}", way(3));
        assert!(way(3).contains("10.0.0.3:3485"), "{}", way(3));
        assert!(way(4).contains("is not heard"), "{}", way(4));
    }
}
