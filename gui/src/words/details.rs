//! What is known about a failure beyond the words for everybody.

use peerconnect::fault::Fault;
use peerconnect::text::{Shown, bytes, duration};
use peerconnect::transfer::status::TransferSnapshot;

use super::passing::way;

/// A line for each fact.
pub(crate) fn details(t: &TransferSnapshot, fault: &Fault) -> Vec<String> {
    let mut lines = vec![
        format!("code      {}", fault.slug()),
        format!("transfer  {}", t.id),
    ];
    let key = t.peer.and_then(|peer| peer.key());
    lines.push(match key {
        Some(key) => format!("device    {key}"),
        None => format!("device    {}", Shown(&t.peer_name)),
    });
    if let Some(path) = &t.path {
        let addr = path.addr.map_or(String::new(), |addr| format!(", {addr}"));
        lines.push(format!("way       {}{addr}", way(path.kind)));
    }
    lines.push(format!(
        "moved     {} in {}",
        bytes(t.bytes_moved),
        duration(t.seconds as u64)
    ));
    lines
}
