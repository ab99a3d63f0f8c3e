//! `list`, `history`, `id`: what is only looked at.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use peerconnect::fault::Fault;
use peerconnect::node::api::{
    Command, NodeHandle, Overview, Reply, SessionSnapshot, TextSnapshot, TextState,
};
use peerconnect::otm::session::{MemberEnd, Receiver};
use peerconnect::storage::store::{HistoryRecord, TextRecord};
use peerconnect::text::{Shown, bytes, count, duration};
use peerconnect::transfer::state::TransferState;
use peerconnect::transfer::status::{Direction, TransferSnapshot};

use super::exit::Exit;
use super::human::{claimed_text, names, top_names};
use super::instance::{Purpose, reach};
use super::output::Output;
use super::progress::{percent, phase, session_percent};
use super::send::unexpected;
use super::signals::Signals;
use super::{Context, json};

/// Characters of a text in the history.
const TEXT_SHOWN: usize = 60;

/// Least time between two tables of `list --watch`.
const WATCH_PAUSE: Duration = Duration::from_secs(1);

pub(crate) async fn list(watch: bool, context: &mut Context) -> Result<Exit, Fault> {
    let local = Purpose::Local;
    let instance = reach(&context.global, &context.paths, &context.settings, local).await?;
    let Context { out, signals, .. } = context;
    let exit = if watch {
        watch_list(&instance.node, out, signals).await
    } else {
        show_list(&instance.node.overview().borrow().clone(), out).await;
        Exit::OK
    };
    instance.close().await;
    Ok(exit)
}

async fn watch_list(node: &NodeHandle, out: &mut Output, signals: &mut Signals) -> Exit {
    let mut overview = node.overview();
    loop {
        let picture = Arc::clone(&overview.borrow_and_update());
        show_list(&picture, out).await;
        out.flush().await;
        let news = async {
            tokio::time::sleep(WATCH_PAUSE).await;
            overview.changed().await
        };
        tokio::select! {
            changed = news => if changed.is_err() { return Exit::OK },
            signal = signals.next() => return signal.exit(),
        }
        if out.is_closed() {
            return Exit::PIPE_CLOSED;
        }
    }
}

async fn show_list(picture: &Overview, out: &mut Output) {
    if out.is_json() {
        for session in picture.sessions.iter() {
            out.object("session", json::session(session)).await;
        }
        for t in picture.transfers.iter() {
            out.object("transfer", json::transfer(t)).await;
        }
        for t in open_texts(picture) {
            out.object("text", json::listed_text(t)).await;
        }
        return;
    }
    let mut rows = rows(picture);
    rows.extend(open_texts(picture).map(text_row));
    if rows.is_empty() {
        out.say("No transfers.");
        return;
    }
    let head = ["ID", "PEER", "STATE", "DONE", "SIZE", "FILES"];
    table(&head, &rows, out).await;
}

/// A row for each transfer; those to several receivers below a row for all of them.
fn rows(picture: &Overview) -> Vec<[String; 6]> {
    let mut rows = Vec::new();
    for t in picture.transfers.iter() {
        let session = t.session.and_then(|id| picture.session(id));
        let Some(session) = session else {
            rows.push(transfer_row(t));
            continue;
        };
        let mut here = picture.transfers_of(session);
        if here.next().is_some_and(|first| first.id == t.id) {
            rows.push(session_row(session));
            rows.extend(session.receivers.iter().map(|receiver| {
                match picture.transfer(receiver.transfer) {
                    Some(t) => receiver_row(t),
                    None => earlier_row(receiver),
                }
            }));
        }
    }
    rows
}

fn session_row(s: &SessionSnapshot) -> [String; 6] {
    let receivers = count(s.receivers.len() as u64, "receiver", "receivers");
    [
        s.id.short(),
        format!("to {receivers}"),
        format!("{} of {} done", s.complete, s.receivers.len()),
        known(s.bytes, format!("{}%", session_percent(s))),
        known(s.bytes, bytes(s.bytes)),
        names(&s.top_names, s.top_count, 2),
    ]
}

/// What has not been counted yet is not 0.
fn known(counted: u64, text: String) -> String {
    match counted {
        0 => "-".into(),
        _ => text,
    }
}

fn receiver_row(t: &TransferSnapshot) -> [String; 6] {
    let [id, peer, state, done, size, _] = transfer_row(t);
    [id, format!("  {peer}"), state, done, size, String::new()]
}

/// A receiver that was done with in an earlier run.
fn earlier_row(receiver: &Receiver) -> [String; 6] {
    let state = match receiver.end {
        Some(MemberEnd::Complete) => "done earlier",
        Some(MemberEnd::Incomplete) | None => "ended earlier",
    };
    let name = format!("  to {}", Shown(&receiver.name));
    let none = String::new;
    [none(), name, state.to_owned(), none(), none(), none()]
}

fn transfer_row(t: &TransferSnapshot) -> [String; 6] {
    let mark = if t.is_legacy() {
        " (not encrypted, old version)"
    } else {
        ""
    };
    let peer = match t.direction {
        Direction::Sending => format!("to {}{mark}", Shown(&t.peer_name)),
        Direction::Receiving => format!("from {}{mark}", Shown(&t.peer_name)),
    };
    let waiting = |n: u32| {
        let files = count(n.into(), "file waits", "files wait");
        format!("{files} for your answer")
    };
    let state = match (t.state, t.eta_seconds) {
        (TransferState::Transferring, _) if t.conflicts > 0 && t.rate == 0 => waiting(t.conflicts),
        (TransferState::Transferring, Some(left)) => {
            format!("{}/s, {} left", bytes(t.rate), duration(left))
        }
        (TransferState::Transferring, None) => format!("{}/s", bytes(t.rate)),
        _ => phase(t),
    };
    // What has not been counted yet is not 0.
    let unknown = t.dormant && t.files == 0;
    let known = |text: String| if unknown { "-".into() } else { text };
    [
        t.id.short(),
        peer,
        state,
        known(format!("{}%", percent(t))),
        known(bytes(t.bytes)),
        top_names(t, 2),
    ]
}

/// Texts that are not there yet: those that are can be read in the history.
fn open_texts(picture: &Overview) -> impl Iterator<Item = &TextSnapshot> {
    picture.texts.iter().filter(|t| !t.state.is_final())
}

fn text_row(t: &TextSnapshot) -> [String; 6] {
    let way = match t.direction {
        Direction::Sending => "to",
        Direction::Receiving => "from",
    };
    let state = match (t.state, t.direction) {
        (TextState::Asking, Direction::Receiving) => "waiting for your answer",
        (TextState::Asking, Direction::Sending) => "waiting for an answer",
        (TextState::Moving | TextState::Delivered, _) => "on its way",
        (TextState::HandedOver | TextState::Failed, _) => "on its way",
    };
    [
        t.id.short(),
        format!("{way} {}", claimed_text(t)),
        state.to_owned(),
        "-".to_owned(),
        bytes(t.bytes.into()),
        "(a text)".to_owned(),
    ]
}

pub(crate) async fn history(count: u32, clear: bool, context: &mut Context) -> Result<Exit, Fault> {
    let local = Purpose::Local;
    let instance = reach(&context.global, &context.paths, &context.settings, local).await?;
    let command = match clear {
        true => Command::ClearHistory,
        false => Command::History { count },
    };
    let reply = instance.node.call(command).await;
    instance.close().await;
    let out = &mut context.out;
    match reply? {
        Reply::Done => out.say("The history is empty now."),
        Reply::History(records) => show_history(&records, out).await,
        other @ (Reply::Transfer { .. }
        | Reply::Session { .. }
        | Reply::Files(_)
        | Reply::Checked(_)) => {
            return Err(unexpected(&other));
        }
        other @ (Reply::Peer(_) | Reply::Found(_) | Reply::TextSent(_) | Reply::Text(_)) => {
            return Err(unexpected(&other));
        }
        other @ Reply::Agreed { .. } => return Err(unexpected(&other)),
    }
    Ok(Exit::OK)
}

async fn show_history(records: &[HistoryRecord], out: &mut Output) {
    if out.is_json() {
        for record in records {
            let body = serde_json::json!({
                "transfer": record.transfer.to_string(),
                "direction": if record.sent { "send" } else { "receive" },
                "peer": json::peer(&record.peer_name, record.peer, false, None),
                "names": record.names,
                "text": record.text.as_ref().map(|text| &text.start),
                "text_cut": record.text.as_ref().map(|text| text.cut),
                "folder": record.folder.as_deref().map(|f| f.to_string_lossy()),
                "files": record.files, "bytes": record.bytes, "files_failed": record.failed,
                "code": record.fault.as_ref().map(Fault::slug),
                "started": record.started, "ended": record.ended,
            });
            out.object("history", body).await;
        }
        return;
    }
    if records.is_empty() {
        out.say("No finished transfers or texts.");
        return;
    }
    let rows: Vec<[String; 5]> = records.iter().map(history_row).collect();
    table(
        &["WHEN", "PEER", "RESULT", "SIZE", "FILES OR TEXT"],
        &rows,
        out,
    )
    .await;
}

fn history_row(record: &HistoryRecord) -> [String; 5] {
    let way = if record.sent { "to" } else { "from" };
    let legacy = record.peer.is_some_and(|peer| peer.legacy().is_some());
    let mark = if legacy { " (old version)" } else { "" };
    let result = match (&record.fault, record.failed) {
        (Some(fault), _) => fault.slug().to_owned(),
        (None, 0) if record.text.is_some() => match (record.sent, legacy) {
            (false, _) => "shown".into(),
            (true, false) => "delivered".into(),
            (true, true) => "handed over".into(),
        },
        (None, 0) if legacy => "not verified".into(),
        (None, 0) => "verified".into(),
        (None, failed) => format!("{failed} failed"),
    };
    let names: Vec<String> = record
        .names
        .iter()
        .take(2)
        .map(|name| Shown(name).to_string())
        .collect();
    [
        format!("{} ago", duration(now().saturating_sub(record.ended))),
        format!("{way} {}{mark}", Shown(&record.peer_name)),
        result,
        bytes(record.bytes),
        match &record.text {
            Some(text) => text_line(text),
            None => format!(
                "{} ({})",
                names.join(", "),
                count(record.files.into(), "file", "files")
            ),
        },
    ]
}

/// The beginning of a text, in a line.
fn text_line(text: &TextRecord) -> String {
    let line = text.start.lines().next().unwrap_or_default();
    let start: String = line.chars().take(TEXT_SHOWN).collect();
    let more = text.cut || start.len() < text.start.len();
    format!("\"{}{}\"", Shown(&start), if more { "…" } else { "" })
}

pub(crate) async fn id(qr: bool, context: &mut Context) -> Result<Exit, Fault> {
    // The addresses and the port are those that others would reach: so not a local node.
    let purpose = Purpose::Transfer(None);
    let instance = reach(&context.global, &context.paths, &context.settings, purpose).await?;
    let me = instance.node.overview().borrow().me.clone();
    instance.close().await;
    let out = &mut context.out;
    if out.is_json() {
        let body = serde_json::json!({
            "name": me.name, "id": me.id.to_string(), "link": me.link, "addrs": me.addrs,
            "folder": me.folder.to_string_lossy(),
        });
        out.object("id", body).await;
        return Ok(Exit::OK);
    }
    let addrs = me.addrs.join("  ");
    out.line(&format!("name   {}", Shown(&me.name))).await;
    out.line(&format!("id     {}", me.id)).await;
    out.line(&format!("addrs  {addrs}")).await;
    out.line(&format!("link   {}", me.link)).await;
    if qr {
        out.line(&self::qr(&me.link)?).await;
    }
    Ok(Exit::OK)
}

/// A text as a QR code for a dark terminal.
pub(crate) fn qr(text: &str) -> Result<String, Fault> {
    let code = qrcode::QrCode::new(text.as_bytes()).map_err(|error| Fault::Internal {
        what: format!("the QR code: {error}"),
    })?;
    Ok(code
        .render::<qrcode::render::unicode::Dense1x2>()
        .dark_color(qrcode::render::unicode::Dense1x2::Light)
        .light_color(qrcode::render::unicode::Dense1x2::Dark)
        .build())
}

/// Rows under a head, each column as wide as its widest cell.
pub(crate) async fn table<const N: usize>(
    head: &[&str; N],
    rows: &[[String; N]],
    out: &mut Output,
) {
    let mut widths = head.map(str::len);
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let head = head.map(str::to_owned);
    for row in std::iter::once(&head).chain(rows) {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            line.push_str(&format!("{cell:width$}  "));
        }
        out.line(line.trim_end()).await;
    }
}

/// Addresses as text.
pub(crate) fn addrs(addrs: &[SocketAddr]) -> Vec<String> {
    addrs.iter().map(ToString::to_string).collect()
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
