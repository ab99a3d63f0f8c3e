//! Overviews for tests: a small world with names that the tests can speak about.
#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use peerconnect::config::Settings;
use peerconnect::net::link::{PathInfo, PathKind};
use peerconnect::node::api::{
    Chosen, CodeReach, CodeSnapshot, CodeState, Me, Nearby, OriginalId, Overview, PeerInfo,
    Presence, TextSnapshot, TextState, Who,
};
use peerconnect::otm::session::{Session, Sessions};
use peerconnect::peer::{LegacyPeer, Party, PeerId};
use peerconnect::protocol::legacy::LegacyId;
use peerconnect::protocol::message::{SinkFault, Timestamp, TransferId};
use peerconnect::storage::store::{Accept, HistoryRecord, PeerRecord};
use peerconnect::transfer::state::TransferState;
use peerconnect::transfer::status::{
    Conflict, Direction, FAILURES_MAX, FailedEntry, FileRow, FileState, Limit, Question, RowKind,
    TopName, TransferSnapshot, Version,
};

/// "Now" in the tests, in seconds since 1970.
pub(crate) const NOW: u64 = 1_800_000_000;

pub(crate) fn me() -> Me {
    let id = PeerId::of_public_key(b"me");
    Me {
        id,
        name: "Office Laptop".into(),
        link: format!("peerconnect:{id}?a=192.168.1.7:3485"),
        addrs: vec!["192.168.1.7:3485".into()],
        folder: "/srv/Downloads/PeerConnect".into(),
        rate_limit: None,
        pid: std::process::id(),
        relays: Vec::new(),
        router_port: peerconnect::net::RouterPort::Off,
        takes_tcp: true,
        dht: peerconnect::net::DhtStanding::Off,
        legacy: None,
    }
}

pub(crate) fn overview(peers: Vec<PeerInfo>, transfers: Vec<TransferSnapshot>) -> Arc<Overview> {
    with_nearby(vec![], peers, transfers)
}

pub(crate) fn with_nearby(
    nearby: Vec<Nearby>,
    peers: Vec<PeerInfo>,
    transfers: Vec<TransferSnapshot>,
) -> Arc<Overview> {
    Arc::new(Overview {
        me: me(),
        peers: peers.into(),
        groups: Arc::new([]),
        nearby: nearby.into(),
        presence: Presence::Announce,
        listens_since: std::time::SystemTime::UNIX_EPOCH,
        transfers: transfers.into(),
        sessions: Arc::new([]),
        texts: Arc::new([]),
        multicast: None,
        passing_on: 0,
        codes: Arc::new([]),
        notices: Arc::new([]),
        chosen: Arc::new(Chosen {
            settings: Settings {
                name: "Office Laptop".into(),
                folder: "/srv/Downloads/PeerConnect".into(),
                ..Settings::default()
            },
            after_restart: Vec::new(),
        }),
    })
}

/// A picture with these texts.
pub(crate) fn with_texts(peers: Vec<PeerInfo>, texts: Vec<TextSnapshot>) -> Arc<Overview> {
    let overview = overview(peers, vec![]);
    Arc::new(Overview {
        texts: texts.into(),
        ..Arc::unwrap_or_clone(overview)
    })
}

/// A text from "Kitchen", which is new here, in this state.
pub(crate) fn text(n: u8, state: TextState) -> TextSnapshot {
    TextSnapshot {
        id: TransferId([n; 16]),
        direction: Direction::Receiving,
        peer: Some(PeerId::of_public_key(b"Kitchen").into()),
        peer_name: "Kitchen".into(),
        trusted: false,
        words: Some("river copper nine".into()),
        state,
        fault: None,
        bytes: 120,
        begun: NOW,
    }
}

/// A text to "Living-room PC" in this state.
pub(crate) fn text_to(n: u8, state: TextState) -> TextSnapshot {
    TextSnapshot {
        direction: Direction::Sending,
        peer: Some(PeerId::of_public_key(b"Living-room PC").into()),
        peer_name: "Living-room PC".into(),
        trusted: true,
        words: None,
        ..text(n, state)
    }
}

/// A stranger in the same network.
pub(crate) fn near(name: &str) -> Nearby {
    Nearby {
        who: Who::Key(PeerId::of_public_key(name.as_bytes())),
        name: name.into(),
        trusted: false,
        known: false,
        connected: false,
        last_seen: NOW,
        misses_us: false,
        addrs: vec![([192, 168, 1, 20], 3485).into()],
    }
}

/// A device with an old version in the same network.
pub(crate) fn near_original(name: &str) -> Nearby {
    Nearby {
        who: Who::Original(OriginalId {
            id: LegacyId::DEFAULT_PROFILE,
            requests: ([192, 168, 1, 30], 3486).into(),
        }),
        addrs: vec![([192, 168, 1, 30], 3485).into()],
        ..near(name)
    }
}

/// A device that we know, in the same network.
pub(crate) fn near_known(peer: &PeerInfo) -> Nearby {
    Nearby {
        who: Who::Key(peer.id),
        trusted: peer.record.trusted,
        known: true,
        connected: peer.connected,
        ..near(peer.record.name())
    }
}

pub(crate) fn peer(name: &str) -> PeerInfo {
    PeerInfo {
        path: None,
        id: PeerId::of_public_key(name.as_bytes()),
        record: PeerRecord {
            claimed_name: name.into(),
            own_name: None,
            trusted: false,
            accept: Accept::Ask,
            addrs: Vec::new(),
            first_seen: NOW - 86_400,
            last_seen: NOW - 720,
        },
        connected: false,
        folder: None,
        words: None,
    }
}

pub(crate) fn trusted(name: &str) -> PeerInfo {
    let mut peer = peer(name);
    peer.record.trusted = true;
    peer.connected = true;
    peer
}

/// A transfer of three files to "Living-room PC", a third done.
pub(crate) fn sending() -> TransferSnapshot {
    let top = |name: &str, bytes| TopName {
        name: name.into(),
        files: None,
        bytes,
    };
    TransferSnapshot {
        id: TransferId([1; 16]),
        session: None,
        direction: Direction::Sending,
        peer: Some(PeerId::of_public_key(b"Living-room PC").into()),
        peer_name: "Living-room PC".into(),
        trusted: true,
        words: None,
        state: TransferState::Transferring,
        accepted: true,
        dormant: false,
        paused_by: None,
        fault: None,
        top_names: vec![
            top("holiday.mp4", 1_190_000_000),
            top("a.pdf", 6_000_000),
            top("b.pdf", 4_000_000),
        ],
        top_count: 3,
        files: 3,
        files_done: 0,
        files_failed: 0,
        bytes: 1_200_000_000,
        bytes_done: 412_000_000,
        bytes_moved: 412_000_000,
        rate: 108_000_000,
        eta_seconds: Some(7),
        limit: Limit::Network,
        path: Some(PathInfo {
            kind: PathKind::Direct,
            addr: None,
            rtt: Some(Duration::from_millis(1)),
        }),
        folder: None,
        question: None,
        conflict: None,
        conflicts: 0,
        seconds: 4.0,
        started: NOW - 4,
        settled: 0,
        entries: 3,
        passing: Default::default(),
        failures: Vec::new(),
        entries_failed: 0,
        repaired: None,
    }
}

/// That transfer, over, without the files that failed like this.
pub(crate) fn without(t: TransferSnapshot, failed: &[SinkFault]) -> TransferSnapshot {
    let entry = |(n, &why): (u32, &SinkFault)| FailedEntry {
        path: format!("file {n}"),
        why,
    };
    let count = failed.len() as u32;
    TransferSnapshot {
        state: TransferState::Completed,
        files: 2 + count,
        files_done: 2,
        files_failed: count,
        bytes_done: 10_000_000,
        entries: 2 + count,
        failures: (0..).zip(failed).take(FAILURES_MAX).map(entry).collect(),
        entries_failed: count,
        ..t
    }
}

/// The same three files, running to "Living-room PC", with another id.
pub(crate) fn numbered(n: u8) -> TransferSnapshot {
    TransferSnapshot {
        id: TransferId([n; 16]),
        ..sending()
    }
}

/// The same three files on their way to these devices, as one session; with what is changed of
/// each.
pub(crate) fn many(
    devices: &[&str],
    mut change: impl FnMut(usize, &mut TransferSnapshot),
) -> Arc<Overview> {
    let mut sessions = Sessions::default();
    sessions.insert(Session::new(SESSION, NOW - 4));
    let mut transfers = Vec::new();
    for (n, name) in devices.iter().enumerate() {
        let mut t = TransferSnapshot {
            session: Some(SESSION),
            peer: Some(PeerId::of_public_key(name.as_bytes()).into()),
            peer_name: (*name).into(),
            ..numbered(n as u8 + 1)
        };
        change(n, &mut t);
        sessions.join(SESSION, t.id, name);
        transfers.push(t);
    }
    let mut overview = overview(vec![], transfers);
    let picture = Arc::make_mut(&mut overview);
    picture.sessions = sessions.snapshots(&picture.transfers).into();
    overview
}

/// The id of that session.
pub(crate) const SESSION: TransferId = TransferId([0x5e; 16]);

/// The same three files from "Kitchen", arriving.
pub(crate) fn receiving(n: u8) -> TransferSnapshot {
    TransferSnapshot {
        direction: Direction::Receiving,
        peer: Some(PeerId::of_public_key(b"Kitchen").into()),
        peer_name: "Kitchen".into(),
        folder: Some("/srv/Downloads/PeerConnect".into()),
        ..numbered(n)
    }
}

/// "Kitchen", not trusted yet, asks whether we want the three files.
pub(crate) fn asking(n: u8) -> TransferSnapshot {
    TransferSnapshot {
        state: TransferState::AwaitingAnswer,
        accepted: false,
        trusted: false,
        words: Some("river copper nine".into()),
        bytes_done: 0,
        bytes_moved: 0,
        rate: 0,
        eta_seconds: None,
        question: Some(Question {
            free: 212_000_000_000,
            obstacle: None,
            seconds_left: 86_400,
            until: NOW + 86_400,
            round: 1,
        }),
        ..receiving(n)
    }
}

/// Files arriving from "Kitchen", of which 15 have names that are taken.
pub(crate) fn conflicting(n: u8) -> TransferSnapshot {
    let version = |bytes, days: i64| Version {
        bytes,
        modified: Timestamp((NOW as i64 - days * 86_400) * 1_000_000_000),
    };
    TransferSnapshot {
        conflict: Some(Conflict {
            index: 1,
            path: "report.pdf".into(),
            old: version(2_000_000, 600),
            new: version(2_100_000, 0),
            keep_both_as: "report (1).pdf".into(),
        }),
        conflicts: 15,
        ..receiving(n)
    }
}

/// "Old laptop", which runs an old version, asks whether we want what it has begun to send.
pub(crate) fn asking_original(n: u8) -> TransferSnapshot {
    let claimed = LegacyPeer {
        id: LegacyId::DEFAULT_PROFILE,
        addr: SocketAddr::from(([192, 0, 2, 7], 50_000)),
    };
    TransferSnapshot {
        peer: Some(Party::Legacy(claimed)),
        peer_name: "Old laptop".into(),
        words: None,
        path: Some(PathInfo {
            kind: PathKind::LegacyPlain,
            addr: Some(claimed.addr),
            rtt: None,
        }),
        ..asking(n)
    }
}

/// The same, arriving.
pub(crate) fn receiving_original(n: u8) -> TransferSnapshot {
    let asking = asking_original(n);
    TransferSnapshot {
        peer: asking.peer,
        peer_name: asking.peer_name,
        path: asking.path,
        trusted: false,
        ..receiving(n)
    }
}

pub(crate) fn row(index: u32) -> FileRow {
    FileRow {
        index,
        path: format!("photos/{index:06}.jpg"),
        kind: RowKind::File,
        bytes: 3_100_000,
        bytes_done: 0,
        state: FileState::Waiting,
        saved_as: None,
        hash: None,
    }
}

/// A one-time code for "holiday" that waits to be used.
pub(crate) fn code() -> CodeSnapshot {
    CodeSnapshot {
        id: sending().id,
        code: Some("7-river-copper".into()),
        expires: NOW + 3000,
        wrong: 0,
        reach: CodeReach::Anywhere,
        names: vec!["holiday".into()],
        state: CodeState::Waiting,
    }
}

/// A picture with that code.
pub(crate) fn with_code() -> Arc<Overview> {
    let mut overview = overview(vec![], vec![]);
    Arc::make_mut(&mut overview).codes = Arc::new([code()]);
    overview
}

/// A file that came from "Kitchen" five minutes ago, or `n` entries before that.
pub(crate) fn ended(n: u64) -> HistoryRecord {
    HistoryRecord {
        transfer: TransferId([n as u8; 16]),
        sent: false,
        peer: Some(PeerId::of_public_key(b"Kitchen").into()),
        peer_name: "Kitchen".into(),
        names: vec!["holiday.mp4".into()],
        sources: Vec::new(),
        folder: Some("/srv/Downloads/PeerConnect".into()),
        files: 1,
        bytes: 734_003_200,
        failed: 0,
        text: None,
        fault: None,
        started: NOW - 310 * n,
        ended: NOW - 300 * n,
    }
}
