//! `--json`: one object per line. Fields are only ever added; readers ignore unknown ones.

use peerconnect::fault::{Face, Fault};
use peerconnect::net::link::PathKind;
use peerconnect::node::api::{Me, SessionSnapshot, TextSnapshot, TextState};
use peerconnect::peer::Party;
use peerconnect::protocol::message::Outcome;
use peerconnect::transfer::state::TransferState;
use peerconnect::transfer::status::{
    Conflict, Direction, FileRow, FileState, RowKind, Shortcoming, TransferSnapshot, Version,
};
use serde::Serialize;
use serde_json::json;

use super::exit::Exit;
use super::output::Event;

/// Version of the lines: the meaning of a field changes only with it.
const VERSION: u8 = 1;

#[derive(Serialize)]
struct Line<'a, B> {
    v: u8,
    t: &'a str,
    #[serde(flatten)]
    body: B,
}

/// Appends a line.
pub(crate) fn write_line(kind: &str, body: impl Serialize, to: &mut Vec<u8>) {
    let at = to.len();
    let line = Line {
        v: VERSION,
        t: kind,
        body,
    };
    match serde_json::to_writer(&mut *to, &line) {
        Ok(()) => to.push(b'\n'),
        Err(error) => {
            to.truncate(at);
            tracing::error!(%error, kind, "a line could not be written as JSON");
        }
    }
}

/// Appends the line of an event.
pub(crate) fn write(event: &Event<'_>, to: &mut Vec<u8>) {
    match event {
        Event::Hello(me) => write_line("hello", hello(me), to),
        Event::Offer(t) => write_line("offer", offer(t), to),
        Event::State(t) => {
            let body = json!({
                "transfer": t.id.to_string(), "state": state_word(t.state),
                "accepted": t.accepted,
            });
            write_line("state", body, to);
        }
        Event::Path(t) => {
            if let Some(path) = &t.path {
                let kind = match t.passing.through {
                    Some(_) => "via-peer",
                    None => path_word(path.kind),
                };
                let body = json!({
                    "transfer": t.id.to_string(),
                    "kind": kind,
                    "through": t.passing.through,
                    "addr": path.addr.map(|a| a.to_string()),
                    "rtt_ms": path.rtt.map(|rtt| (rtt.as_secs_f64() * 1e5).round() / 100.0),
                });
                write_line("path", body, to);
            }
        }
        Event::Blamed(t, by) => write_line("blamed", blamed(t, by), to),
        Event::Shortcoming(t, short) => write_line("not_passed_on", not_passed_on(t, *short), to),
        Event::LiedTo(t, by) => write_line("wrong_data", wrong_data(t, by), to),
        Event::File(t, row) => write_line("file", file(t, row), to),
        Event::Progress(t) => write_line("progress", progress(t), to),
        Event::FileDone(t, row) => {
            if let Some(body) = file_done(t, row) {
                write_line("file_done", body, to);
            }
        }
        Event::Conflict(t, c) => write_line("conflict", conflict(t, c), to),
        Event::Error(t, index, fault) => write_line("error", error(*t, *index, fault), to),
        Event::Summary(t, exit) => write_line("summary", summary(t, *exit), to),
        Event::TextOffer(t) => write_line("text_offer", text(t), to),
        Event::Text(t, content) => {
            let mut body = text(t);
            body["text"] = (*content).into();
            write_line("text", body, to);
        }
        Event::TextState(t) => {
            let body = json!({ "id": t.id.to_string(), "state": text_word(t.state) });
            write_line("text_state", body, to);
        }
        Event::TextSummary(t, exit) => {
            let mut body = listed_text(t);
            body["exit"] = exit.0.into();
            // An original never says so.
            body["delivered"] = (t.state == TextState::Delivered).into();
            write_line("summary", body, to);
        }
        Event::Session(s) => write_line("session", session(s), to),
        // The progress of each has lines of its own.
        Event::Receivers(..) => {}
        Event::MayLeave(s) => write_line("may_leave", may_leave(s), to),
        Event::MustStay(s) => write_line("must_stay", may_leave(s), to),
        Event::Total(s, exit) => write_line("total", total(s, *exit), to),
    }
}

fn hello(me: &Me) -> impl Serialize {
    json!({
        "version": env!("CARGO_PKG_VERSION"), "name": me.name, "id": me.id.to_string(),
        "link": me.link, "addrs": me.addrs, "legacy": me.legacy,
    })
}

/// What a transfer is about.
pub(crate) fn offer(t: &TransferSnapshot) -> serde_json::Value {
    json!({
        "transfer": t.id.to_string(),
        "session": session_id(t),
        "direction": direction_word(t.direction),
        "peer": peer(&t.peer_name, t.peer, t.trusted, t.words.as_deref()),
        "encrypted": !t.is_legacy(),
        "files": t.files,
        "bytes": t.bytes,
        "names": t.top_names.iter().map(|top| &top.name).collect::<Vec<_>>(),
        "folder": t.folder.as_deref().map(|f| f.to_string_lossy()),
        "receivers": t.passing.receivers,
    })
}

/// A file whose name is taken.
pub(crate) fn conflict(t: &TransferSnapshot, conflict: &Conflict) -> serde_json::Value {
    let version = |version: &Version| {
        let modified = version.modified.0.div_euclid(1_000_000_000);
        json!({ "bytes": version.bytes, "modified": modified })
    };
    json!({
        "transfer": t.id.to_string(), "i": conflict.index, "name": conflict.path,
        "old": version(&conflict.old), "new": version(&conflict.new),
        "keep_both_as": conflict.keep_both_as, "conflicts": t.conflicts,
    })
}

/// The session that a transfer belongs to, if there are several receivers.
fn session_id(t: &TransferSnapshot) -> Option<String> {
    t.session.map(|session| session.to_string())
}

/// Who is at the other end. What has proven no key has no `id`, but what it claims.
pub(crate) fn peer(
    name: &str,
    party: Option<Party>,
    trusted: bool,
    words: Option<&str>,
) -> serde_json::Value {
    let mut peer = json!({
        "name": name,
        "id": party.and_then(|party| party.key()).map(|id| id.to_string()),
        "trusted": trusted,
        "words": words,
    });
    if let Some(legacy) = party.and_then(|party| party.legacy()) {
        peer["claims"] = json!({
            "legacy_id": legacy.id.to_string(),
            "addr": legacy.addr.to_string(),
        });
    }
    peer
}

fn progress(t: &TransferSnapshot) -> impl Serialize {
    json!({
        "transfer": t.id.to_string(), "bytes": t.bytes_done, "total": t.bytes,
        "files_done": t.files_done, "bps": t.rate, "eta_s": t.eta_seconds, "limit": t.limit,
        "through": t.passing.through,
    })
}

/// Body of a `file` line. There are as many as files: a map would be built for each.
#[derive(Serialize)]
pub(crate) struct File<'a> {
    transfer: String,
    i: u32,
    name: &'a str,
    bytes: u64,
    kind: &'static str,
}

/// Body of a `file_done` line.
#[derive(Serialize)]
struct FileDone<'a> {
    #[serde(flatten)]
    file: File<'a>,
    result: &'static str,
    saved_as: Option<&'a str>,
    blake3: Option<String>,
}

fn file_done<'a>(t: &TransferSnapshot, row: &'a FileRow) -> Option<FileDone<'a>> {
    let FileState::Settled(outcome) = row.state else {
        return None;
    };
    let arrived = !matches!(outcome, Outcome::Skipped | Outcome::Failed(_));
    let saved_as = row.saved_as.as_ref().unwrap_or(&row.path);
    Some(FileDone {
        file: file(t, row),
        result: outcome_word(outcome),
        saved_as: arrived.then_some(saved_as),
        blake3: row.hash.map(|hash| data_encoding::HEXLOWER.encode(&hash)),
    })
}

/// One of the files of a transfer.
pub(crate) fn file<'a>(t: &TransferSnapshot, row: &'a FileRow) -> File<'a> {
    File {
        transfer: t.id.to_string(),
        i: row.index,
        name: &row.path,
        bytes: row.bytes,
        kind: kind_word(row.kind),
    }
}

fn error(t: Option<&TransferSnapshot>, index: Option<u32>, fault: &Fault) -> impl Serialize {
    let words = fault.words(Face::CommandLine);
    let message = match words.detail.is_empty() {
        true => words.title,
        false => format!("{} {}", words.title, words.detail),
    };
    json!({
        "transfer": t.map(|t| t.id.to_string()), "i": index, "code": fault.slug(),
        "exit": fault.exit_code(), "message": message, "hint": words.hint,
        "retryable": fault.is_retryable(),
    })
}

fn summary(t: &TransferSnapshot, exit: Exit) -> impl Serialize {
    json!({
        "transfer": t.id.to_string(), "session": session_id(t),
        "direction": direction_word(t.direction),
        "state": state_word(t.state), "exit": exit.0,
        "files": t.files, "files_done": t.files_done, "files_failed": t.files_failed,
        "bytes": t.bytes, "sent_bytes": t.bytes_moved,
        "seconds": milliseconds(t.seconds),
        "verified": t.state == TransferState::Completed && t.files_failed == 0
            && !t.is_legacy(),
        "confirmed": !t.is_unconfirmed(), "encrypted": !t.is_legacy(),
        "folder": t.folder.as_deref().map(|f| f.to_string_lossy()),
        "repaired_parts": t.repaired.as_ref().map_or(0, |repaired| repaired.parts),
    })
}

/// A text, without what is in it.
pub(crate) fn text(t: &TextSnapshot) -> serde_json::Value {
    json!({
        "id": t.id.to_string(), "direction": direction_word(t.direction),
        "peer": peer(&t.peer_name, t.peer, t.trusted, t.words.as_deref()),
        "path": match t.is_legacy() {
            true => path_word(PathKind::LegacyPlain),
            false => path_word(PathKind::Direct),
        },
        "encrypted": !t.is_legacy(), "bytes": t.bytes,
    })
}

/// A text that is not there yet, in a list.
pub(crate) fn listed_text(t: &TextSnapshot) -> serde_json::Value {
    let mut body = text(t);
    body["state"] = text_word(t.state).into();
    body
}

fn text_word(state: TextState) -> &'static str {
    match state {
        TextState::Moving => "running",
        TextState::Asking => "waiting",
        TextState::Delivered | TextState::HandedOver => "done",
        TextState::Failed => "failed",
    }
}

/// Files to several receivers: which transfer goes to whom.
pub(crate) fn session(s: &SessionSnapshot) -> impl Serialize {
    let receivers = s.receivers.iter().map(|receiver| {
        json!({
            "transfer": receiver.transfer.to_string(), "name": receiver.name,
            "end": receiver.end,
        })
    });
    json!({
        "session": s.id.to_string(), "state": state_word(s.state),
        "receivers": receivers.collect::<Vec<_>>(), "started": s.started,
    })
}

fn may_leave(s: &SessionSnapshot) -> impl Serialize {
    json!({
        "session": s.id.to_string(), "receivers": s.receivers.len(),
        "complete": s.complete, "incomplete": s.incomplete, "going_on": s.going_on,
    })
}

fn total(s: &SessionSnapshot, exit: Exit) -> impl Serialize {
    json!({
        "session": s.id.to_string(), "exit": exit.0, "receivers": s.receivers.len(),
        "complete": s.complete, "incomplete": s.incomplete, "going_on": s.going_on,
        "sent_bytes": s.bytes_moved, "seconds": milliseconds(s.seconds),
    })
}

/// Seconds with as many digits as mean something.
fn milliseconds(seconds: f64) -> f64 {
    (seconds * 1000.0).round() / 1000.0
}

/// A transfer as a whole, for `list`.
pub(crate) fn transfer(t: &TransferSnapshot) -> impl Serialize {
    json!({
        "transfer": t.id.to_string(), "session": session_id(t),
        "direction": direction_word(t.direction),
        "peer": peer(&t.peer_name, t.peer, t.trusted, t.words.as_deref()),
        "state": state_word(t.state), "code": t.fault.as_ref().map(Fault::slug),
        "accepted": t.accepted, "dormant": t.dormant,
        "paused_by": t.paused_by, "conflicts": t.conflicts,
        "names": t.top_names.iter().map(|top| &top.name).collect::<Vec<_>>(),
        "files": t.files, "files_done": t.files_done, "files_failed": t.files_failed,
        "bytes": t.bytes, "bytes_done": t.bytes_done, "sent_bytes": t.bytes_moved,
        "bps": t.rate, "eta_s": t.eta_seconds, "limit": t.limit,
        "path": t.path.as_ref().map(|path| path_word(path.kind)),
        "encrypted": !t.is_legacy(),
        "folder": t.folder.as_deref().map(|f| f.to_string_lossy()), "started": t.started,
        "through": t.passing.through, "blamed_by": t.passing.blamed_by,
        "not_passed_on": t.passing.shortcoming, "wrong_data_by": t.passing.liars,
    })
}

fn blamed(t: &TransferSnapshot, by: &str) -> impl Serialize {
    json!({ "transfer": t.id.to_string(), "peer": t.peer_name, "by": by })
}

fn not_passed_on(t: &TransferSnapshot, why: Shortcoming) -> impl Serialize {
    json!({ "transfer": t.id.to_string(), "peer": t.peer_name, "why": why })
}

fn wrong_data(t: &TransferSnapshot, by: &str) -> impl Serialize {
    json!({ "transfer": t.id.to_string(), "by": by })
}

/// The state of a transfer as scripts know it.
pub(crate) fn state_word(state: TransferState) -> &'static str {
    match state {
        TransferState::Preparing | TransferState::AwaitingAnswer => "waiting",
        TransferState::Connecting => "connecting",
        TransferState::Transferring => "running",
        TransferState::Paused => "paused",
        TransferState::Interrupted => "lost",
        TransferState::Completed => "done",
        TransferState::Rejected | TransferState::Failed => "failed",
        TransferState::Cancelled => "cancelled",
    }
}

/// The way of a transfer, in a word.
pub(crate) fn path_word(kind: PathKind) -> &'static str {
    match kind {
        PathKind::Direct => "direct",
        PathKind::Tcp => "tcp",
        PathKind::Relay => "relay",
        PathKind::Memory => "memory",
        PathKind::LegacyPlain => "legacy-plain",
    }
}

/// The same for people.
pub(crate) fn path_words(kind: PathKind) -> &'static str {
    match kind {
        PathKind::Direct | PathKind::Memory => path_word(kind),
        PathKind::Tcp => "direct, over TCP",
        PathKind::Relay => "through a relay",
        PathKind::LegacyPlain => super::human::NOT_ENCRYPTED,
    }
}

/// Which way files go, in a word.
pub(crate) fn direction_word(direction: Direction) -> &'static str {
    match direction {
        Direction::Sending => "send",
        Direction::Receiving => "receive",
    }
}

fn kind_word(kind: RowKind) -> &'static str {
    match kind {
        RowKind::File => "file",
        RowKind::Folder => "folder",
        RowKind::Symlink => "symlink",
    }
}

fn outcome_word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::New => "new",
        Outcome::Identical => "identical",
        Outcome::Renamed => "renamed",
        Outcome::Overwritten => "overwritten",
        Outcome::Skipped => "skipped",
        Outcome::Failed(_) => "failed",
    }
}
