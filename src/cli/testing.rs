//! Pictures for the tests of the command line.

use std::sync::Arc;

use peerconnect::net::link::{PathInfo, PathKind};
use peerconnect::node::api::{Me, Overview};
use peerconnect::peer::PeerId;
use peerconnect::protocol::message::{Outcome, TransferId};
use peerconnect::transfer::state::TransferState;
use peerconnect::transfer::status::{
    Direction, FileRow, FileState, Limit, RowKind, TransferSnapshot,
};

/// A transfer to `kitchen` in this state.
pub(crate) fn snapshot(state: TransferState) -> TransferSnapshot {
    TransferSnapshot {
        id: TransferId([0x3f; 16]),
        direction: Direction::Sending,
        peer: Some(PeerId::from_bytes([9; 32]).into()),
        peer_name: "kitchen".into(),
        trusted: false,
        words: None,
        state,
        paused_by: None,
        fault: None,
        top_names: Vec::new(),
        top_count: 0,
        files: 0,
        files_done: 0,
        files_failed: 0,
        bytes: 0,
        bytes_done: 0,
        bytes_moved: 0,
        rate: 0,
        eta_seconds: None,
        limit: Limit::Unknown,
        path: Some(PathInfo {
            kind: PathKind::Direct,
            addr: None,
            rtt: None,
        }),
        folder: None,
        question: None,
        conflict: None,
        conflicts: 0,
        seconds: 0.0,
        started: 0,
        settled: 0,
        entries: 0,
    }
}

/// A file that has arrived.
pub(crate) fn row(index: u32) -> FileRow {
    FileRow {
        index,
        path: format!("file {index}"),
        kind: RowKind::File,
        bytes: 4096,
        bytes_done: 4096,
        state: FileState::Settled(Outcome::New),
        saved_as: None,
        hash: Some([1; 32]),
    }
}

/// A node with these transfers.
pub(crate) fn overview(transfers: Vec<TransferSnapshot>) -> Overview {
    Overview {
        me: Me {
            id: PeerId::from_bytes([7; 32]),
            name: "desk".into(),
            link: "peerconnect:x".into(),
            addrs: vec!["127.0.0.1:1".into()],
            folder: "/srv".into(),
            rate_limit: None,
            pid: 1,
            legacy: None,
        },
        peers: Arc::new([]),
        transfers: transfers.into(),
        notices: Arc::new([]),
    }
}
