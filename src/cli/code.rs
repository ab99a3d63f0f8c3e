//! One-time codes at the command line: making one, and using one.

use std::time::Duration;

use peerconnect::fault::{CodeTrouble, Fault};
use peerconnect::node::api::{
    AGREED_FOR, CodeCommand, CodeReach, CodeSnapshot, CodeState, Command, Me, NodeHandle,
    ReceiveRule, Reply, Taking,
};
use peerconnect::peer::PeerId;
use peerconnect::protocol::codes::{InvalidCode, TypedCode};
use peerconnect::protocol::message::TransferId;
use peerconnect::text::duration;
use serde_json::json;
use tokio::time::Instant;

use super::args::RelayArgs;
use super::lines::{Line, read_line};
use super::output::Output;
use super::send::unexpected;
use super::show;
use super::signals::Signals;

/// How a code is shown.
#[derive(Clone, Copy)]
pub(crate) struct Shown<'a> {
    /// What the other side has to say, too.
    pub(crate) relays: &'a RelayArgs,
    /// Also as a link, and as a QR code of it.
    pub(crate) qr: bool,
}

impl<'a> Shown<'a> {
    pub(crate) fn new(relays: &'a RelayArgs, qr: bool) -> Self {
        Self { relays, qr }
    }
}

/// Makes a code for `paths`, shows it, and waits until somebody has used it. Returns the transfer
/// that has begun then.
pub(crate) async fn offer(
    node: &NodeHandle,
    paths: Vec<std::path::PathBuf>,
    shown: Shown<'_>,
    out: &mut Output,
    signals: &mut Signals,
) -> Result<TransferId, Fault> {
    let command = Command::Code(CodeCommand::Send { paths });
    let reply = node.call(command).await?;
    let Reply::Transfer { id, .. } = reply else {
        return Err(unexpected(&reply));
    };
    let used = until_used(node, id, shown, out, signals).await;
    if used.is_err() {
        // It may have ended by itself.
        let _ = node.call(Command::Code(CodeCommand::Drop(id))).await;
    }
    used.map(|()| id)
}

async fn until_used(
    node: &NodeHandle,
    id: TransferId,
    shown: Shown<'_>,
    out: &mut Output,
    signals: &mut Signals,
) -> Result<(), Fault> {
    let mut overview = node.overview();
    let mut told: Option<String> = None;
    loop {
        let picture = overview.borrow_and_update().clone();
        if picture.transfer(id).is_some() {
            return Ok(());
        }
        if let Some(snapshot) = picture.code(id) {
            if let CodeState::Ended(fault) = &snapshot.state {
                return Err(fault.clone());
            }
            if let Some(code) = &snapshot.code
                && told.as_ref() != Some(code)
            {
                tell(code, snapshot, &picture.me, shown, out).await;
                told = Some(code.clone());
            }
        }
        if out.is_closed() {
            return Err(Fault::Cancelled);
        }
        tokio::select! {
            changed = overview.changed() => if changed.is_err() {
                return Err(Fault::Internal { what: "the node has ended".into() });
            },
            _ = signals.next() => return Err(Fault::Cancelled),
        }
    }
}

/// The code alone on stdout, and what to do with it on stderr.
async fn tell(code: &str, snapshot: &CodeSnapshot, me: &Me, shown: Shown<'_>, out: &mut Output) {
    let link = TypedCode::one_time_link(&me.link, code);
    let left = snapshot.expires.saturating_sub(show::now());
    if out.is_json() {
        let body = json!({
            "code": code, "expires_s": left, "wrong": snapshot.wrong, "reach": snapshot.reach,
            "link": link,
        });
        out.object("code", body).await;
        return out.flush().await;
    }
    if snapshot.wrong > 0 {
        out.say("Someone typed a wrong code, which uses it up. Nothing was sent. The new one is:");
    }
    out.line(code).await;
    out.flush().await;
    let relays = shown
        .relays
        .links
        .iter()
        .map(|link| format!(" --relay {link}"));
    let relays: String = relays.collect();
    let place = match (snapshot.reach, me.relays.is_empty()) {
        (CodeReach::Anywhere, _) => "",
        (CodeReach::Nearby, true) => ", in the same network",
        (CodeReach::Nearby, false) => {
            ", in the same network (elsewhere once a relay is reached, as none is now)"
        }
    };
    out.say(&format!(
        "On the other computer{place}: peerconnect receive {code}{relays}\n  \
         It works once, within {}, and as long as this waits. (Ctrl+C: it is worth nothing.)",
        // To the minute: nobody counts seconds of an hour.
        duration(left.div_ceil(60) * 60)
    ));
    if shown.qr {
        out.say(&format!(
            "Or, wherever this computer can be reached, with this link instead of the code:\n{link}"
        ));
        // Without it there is the link.
        if let Ok(image) = show::qr(&link) {
            out.say(&image);
        }
    }
}

/// The code that was typed, at the prompt or as words of the command line.
pub(crate) async fn typed(words: &[String], signals: &mut Signals) -> Result<String, Fault> {
    let text = match words {
        [] => {
            super::write_stderr("The code, such as 7-river-copper: ");
            let read = tokio::task::spawn_blocking(|| read_line(&mut std::io::stdin().lock()));
            let line = tokio::select! {
                line = read => line.ok().and_then(Result::ok).flatten(),
                _ = signals.next() => None,
            };
            match line {
                Some(Line::Text(text)) => text,
                Some(Line::TooLong) => String::new(),
                None => return Err(Fault::Cancelled),
            }
        }
        words => words.join(" "),
    };
    let code: Result<TypedCode, InvalidCode> = text.parse();
    code.map(|code| code.to_string())
        .map_err(|error| Fault::Invalid {
            why: error.to_string(),
        })
}

/// Uses a code. Returns the transfer that has come, or is about to.
pub(crate) async fn redeem(
    node: &NodeHandle,
    code: String,
    rule: ReceiveRule,
    patience: Duration,
    out: &mut Output,
    signals: &mut Signals,
) -> Result<TransferId, Fault> {
    out.say("Looking for the sender…");
    out.flush().await;
    let taking = Taking::ByRule(rule);
    let command = Command::Code(CodeCommand::Receive { code, taking });
    let reply = tokio::select! {
        reply = node.call(command) => reply?,
        _ = signals.next() => return Err(Fault::Cancelled),
    };
    let Reply::Agreed { peer, transfer } = reply else {
        return Err(unexpected(&reply));
    };
    out.say("The code is right.");
    let appeared = appears(node, peer, transfer, patience, signals).await;
    if appeared.is_err() {
        // It may have come meanwhile: then it is a transfer like any other.
        let _ = node.call(Command::Code(CodeCommand::Drop(transfer))).await;
    }
    appeared.map(|()| transfer)
}

/// Waits for the offer: as long as the sender is there, for it may have much to look at, or so
/// long; never longer than it would be taken.
async fn appears(
    node: &NodeHandle,
    peer: PeerId,
    transfer: TransferId,
    patience: Duration,
    signals: &mut Signals,
) -> Result<(), Fault> {
    let mut overview = node.overview();
    let last = Instant::now() + AGREED_FOR;
    let mut until = Instant::now() + patience;
    loop {
        let picture = overview.borrow_and_update().clone();
        if picture.transfer(transfer).is_some() {
            return Ok(());
        }
        let known = picture.peers.iter().find(|known| known.id == peer);
        if known.is_some_and(|known| known.connected) {
            until = Instant::now() + patience;
        }
        let gone = || Fault::PeerOffline {
            peer: super::whom::name_of(&picture, peer),
        };
        tokio::select! {
            changed = overview.changed() => if changed.is_err() {
                return Err(Fault::Internal { what: "the node has ended".into() });
            },
            () = tokio::time::sleep_until(until.min(last)) => {
                if Instant::now() >= last {
                    return Err(Fault::Code { trouble: CodeTrouble::Late });
                }
                if !known.is_some_and(|known| known.connected) {
                    return Err(gone());
                }
            }
            _ = signals.next() => return Err(Fault::Cancelled),
        }
    }
}
