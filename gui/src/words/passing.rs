//! Words for what devices pass on to each other.

use peerconnect::net::link::PathKind;
use peerconnect::transfer::status::TransferSnapshot;

use crate::bidi::Apart;

/// From whom a device gets it, if not from here.
pub(super) fn through(t: &TransferSnapshot) -> Option<String> {
    let name = t.passing.through.as_ref();
    let name = name.filter(|_| !t.state.is_final());
    name.map(|name| format!("through {}", Apart(name)))
}

/// Who says that a device passed on damaged data.
pub(crate) fn blamed(t: &TransferSnapshot) -> Option<String> {
    let by: Vec<String> = t
        .passing
        .blamed_by
        .iter()
        .map(|n| Apart(n).to_string())
        .collect();
    let says = if by.len() == 1 { "says" } else { "say" };
    (!by.is_empty()).then(|| {
        let by = by.join(", ");
        format!("passed on damaged data, {says} {by}; nothing of it was kept")
    })
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
