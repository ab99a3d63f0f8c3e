//! Words for what devices pass on to each other.

use peerconnect::net::link::PathKind;
use peerconnect::transfer::status::{Shortcoming, TransferSnapshot};

use crate::bidi::Apart;

/// From whom a device gets it, if not from here.
pub(super) fn through(t: &TransferSnapshot) -> Option<String> {
    let name = t.passing.through.as_ref();
    let name = name.filter(|_| !t.state.is_final());
    name.map(|name| format!("through {}", Apart(name)))
}

/// Who says that a device passed on damaged data.
fn blamed(t: &TransferSnapshot) -> Option<String> {
    let by = names(&t.passing.blamed_by)?;
    let says = match t.passing.blamed_by.len() {
        1 => "says",
        _ => "say",
    };
    Some(format!(
        "passed on damaged data, {says} {by}; nothing of it was kept"
    ))
}

/// What is wrong with a device that passes on, or with those that pass on to this one.
pub(crate) fn doubts(t: &TransferSnapshot) -> Vec<String> {
    let short = t.passing.shortcoming.map(|short| match short {
        Shortcoming::Withholds => "does not pass on what it has; the others get it elsewhere",
        Shortcoming::Doubted => "one of the others says that it got nothing from it",
        Shortcoming::Denies => "no longer has it, say the others; they get it elsewhere",
        Shortcoming::OutOfReach => "the others cannot reach it; they get it elsewhere",
    });
    let all = [blamed(t), short.map(str::to_owned), lied_to(t)];
    all.into_iter().flatten().collect()
}

/// Who passed on wrong data to this computer.
fn lied_to(t: &TransferSnapshot) -> Option<String> {
    let by = names(&t.passing.liars)?;
    Some(format!("{by} gave wrong data; nothing of it was kept"))
}

/// These devices in one phrase, if there are any.
fn names(names: &[String]) -> Option<String> {
    let apart: Vec<String> = names.iter().map(|n| Apart(n).to_string()).collect();
    (!apart.is_empty()).then(|| apart.join(", "))
}

/// How content travels, in words.
pub(super) fn way(kind: PathKind) -> &'static str {
    match kind {
        PathKind::Direct => "direct, encrypted",
        PathKind::Tcp => "direct over TCP (UDP is blocked), encrypted",
        PathKind::Relay => "through a relay, encrypted",
        PathKind::Memory => "on this computer",
        PathKind::LegacyPlain => "not encrypted (old version)",
    }
}
