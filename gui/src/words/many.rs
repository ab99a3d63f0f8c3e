//! Words for files that go to several devices.

use peerconnect::node::api::{Overview, SessionSnapshot};
use peerconnect::otm::session::MemberEnd;

use super::*;

/// What is said about files that go to several devices.
pub(crate) fn session_status(overview: &Overview, s: &SessionSnapshot, pace: Pace) -> Status {
    let all = s.receivers.len();
    let more = missing(overview, s);
    if s.is_over() {
        let status = match s.complete {
            0 => Status::new(Tone::Error, "It reached nobody completely."),
            n if n as usize == all => {
                let what = format!("{} · {}", files(s.files), bytes(s.bytes_done));
                Status::new(
                    Tone::Ok,
                    format!("Delivered to all {} · {what}", devices(all)),
                )
            }
            n => Status::new(Tone::Warn, format!("Delivered to {n} of {}", devices(all))),
        };
        return status.more(more);
    }
    let (tone, state) = match s.state {
        TransferState::Paused => (Tone::Warn, Some("Paused")),
        TransferState::Interrupted => (Tone::Warn, Some("Connection lost")),
        TransferState::AwaitingAnswer => (Tone::Plain, Some("Waiting for an answer")),
        TransferState::Connecting => (Tone::Plain, Some("Connecting…")),
        TransferState::Preparing => (Tone::Plain, Some("Counting…")),
        TransferState::Transferring
        | TransferState::Completed
        | TransferState::Rejected
        | TransferState::Cancelled
        | TransferState::Failed => (Tone::Plain, None),
    };
    let mut parts: Vec<String> = state.into_iter().map(str::to_owned).collect();
    parts.push(format!("{} of {} done", s.complete, devices(all)));
    parts.push(format!("{} of {}", bytes(s.bytes_done), bytes(s.bytes)));
    let moving = s.state == TransferState::Transferring && s.bytes_moved >= SPEED_FROM;
    if moving && pace.rate > 0 {
        parts.push(format!("{}/s", bytes(pace.rate)));
        parts.extend(pace.eta.map(|left| format!("{} left", duration(left))));
    }
    let more = match s.may_leave() {
        true => format!("{NOT_NEEDED} {more}").trim_end().to_owned(),
        false => more,
    };
    Status::new(tone, parts.join(" · ")).more(more)
}

/// Who does not have everything, told apart by whether that was wanted.
fn missing(overview: &Overview, s: &SessionSnapshot) -> String {
    let (mut declined, mut others) = (Vec::new(), Vec::new());
    for device in &s.receivers {
        let state = overview.transfer(device.transfer).map(|t| t.state);
        match (device.end, state) {
            (Some(MemberEnd::Incomplete), Some(TransferState::Rejected)) => &mut declined,
            (Some(MemberEnd::Incomplete), _) => &mut others,
            (Some(MemberEnd::Complete) | None, _) => continue,
        }
        .push(Apart(&device.name).to_string());
    }
    let mut said = Vec::new();
    if !declined.is_empty() {
        said.push(format!("{} declined.", listed(&declined)));
    }
    if !others.is_empty() {
        said.push(format!("Not complete: {}.", others.join(", ")));
    }
    said.join(" ")
}

/// "Attic, Kitchen and Hall".
fn listed(names: &[String]) -> String {
    match names {
        [] => String::new(),
        [one] => one.clone(),
        [some @ .., last] => format!("{} and {last}", some.join(", ")),
    }
}

/// What is said when whoever does not have everything gets it from the others.
const NOT_NEEDED: &str = "This computer is not needed any more: the others can get the rest from \
                          each other.";
