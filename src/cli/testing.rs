//! Pictures for the tests of the command line.

use std::sync::Arc;

use peerconnect::net::link::{PathInfo, PathKind};
use peerconnect::node::api::{
    Me, Nearby, OriginalId, Overview, PeerInfo, Presence, SessionSnapshot, TextSnapshot, TextState,
    Who,
};
use peerconnect::otm::session::{Session, Sessions};
use peerconnect::peer::{LegacyPeer, Party, PeerId};
use peerconnect::protocol::legacy::LegacyId;
use peerconnect::protocol::message::{Outcome, TransferId};
use peerconnect::storage::store::{Accept, PeerRecord};
use peerconnect::transfer::state::TransferState;
use peerconnect::transfer::status::{
    Direction, FileRow, FileState, Limit, RowKind, TransferSnapshot,
};

/// A transfer to `kitchen` in this state.
pub(crate) fn snapshot(state: TransferState) -> TransferSnapshot {
    TransferSnapshot {
        id: TransferId([0x3f; 16]),
        session: None,
        direction: Direction::Sending,
        peer: Some(PeerId::from_bytes([9; 32]).into()),
        peer_name: "kitchen".into(),
        trusted: false,
        words: None,
        state,
        accepted: false,
        dormant: false,
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
        passing: Default::default(),
        failures: Vec::new(),
        entries_failed: 0,
        repaired: None,
    }
}

/// The same to an original.
pub(crate) fn to_original(state: TransferState) -> TransferSnapshot {
    let claims = LegacyPeer {
        id: LegacyId::DEFAULT_PROFILE,
        addr: ([10, 0, 0, 9], 3485).into(),
    };
    TransferSnapshot {
        peer: Some(Party::Legacy(claims)),
        ..snapshot(state)
    }
}

/// A session with these transfers.
pub(crate) fn session(transfers: &[TransferSnapshot]) -> SessionSnapshot {
    let id = TransferId([0x5e; 16]);
    let mut sessions = Sessions::default();
    sessions.insert(Session::new(id, 0));
    for t in transfers {
        sessions.join(id, t.id, &t.peer_name);
    }
    sessions.snapshots(transfers).remove(0)
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

/// A text to `kitchen` in this state.
pub(crate) fn text(state: TextState) -> TextSnapshot {
    TextSnapshot {
        id: TransferId([0x7e; 16]),
        direction: Direction::Sending,
        peer: Some(PeerId::from_bytes([9; 32]).into()),
        peer_name: "kitchen".into(),
        trusted: false,
        words: None,
        state,
        fault: None,
        bytes: 5,
        begun: 0,
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
            relays: Vec::new(),
            router_port: peerconnect::net::RouterPort::Off,
            takes_tcp: true,
            dht: peerconnect::net::DhtStanding::Off,
            legacy: None,
        },
        peers: Arc::new([]),
        groups: Arc::new([]),
        nearby: Arc::new([]),
        presence: Presence::Look,
        listens_since: std::time::SystemTime::UNIX_EPOCH,
        transfers: transfers.into(),
        sessions: Arc::new([]),
        texts: Arc::new([]),
        multicast: None,
        passing_on: 0,
        codes: Arc::new([]),
        notices: Arc::new([]),
        chosen: Arc::default(),
    }
}

/// A stranger in the same network, at `10.0.0.N:3485`.
pub(crate) fn near(n: u8, name: &str) -> Nearby {
    Nearby {
        who: Who::Key(PeerId::from_bytes([n; 32])),
        name: name.into(),
        trusted: false,
        known: false,
        connected: false,
        last_seen: 5,
        misses_us: false,
        addrs: vec![([10, 0, 0, n], 3485).into()],
    }
}

/// A program of the original's kind in the same network, at `10.0.0.N`.
pub(crate) fn old(n: u8, name: &str) -> Nearby {
    Nearby {
        who: Who::Original(OriginalId {
            id: LegacyId::DEFAULT_PROFILE,
            requests: ([10, 0, 0, n], 3486).into(),
        }),
        ..near(n, name)
    }
}

/// A peer that we know.
pub(crate) fn known(n: u8, name: &str) -> PeerInfo {
    PeerInfo {
        path: None,
        id: PeerId::from_bytes([n; 32]),
        record: PeerRecord {
            claimed_name: name.into(),
            own_name: None,
            trusted: false,
            accept: Accept::Ask,
            addrs: Vec::new(),
            first_seen: 0,
            last_seen: 0,
        },
        connected: false,
        folder: None,
        words: None,
    }
}
