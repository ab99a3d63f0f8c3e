//! The two sides of a transfer against a peer that says any messages in any order, in virtual
//! time: whatever it says, they end, nothing leaves the folder, and no file has wrong content.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use peerconnect::config::ConflictPolicy;
use peerconnect::net::link::{FileOpener, FileWriter, Inbound, Outbound, Piece};
use peerconnect::net::memory::{MemoryInbound, MemoryOutbound, MemoryWriter, pair};
use peerconnect::peer::PeerId;
use peerconnect::protocol::groups::{file_hash, group_count, group_len, hash_group};
use peerconnect::protocol::message::{
    DeclineReason, Entry, EntryKind, FileHeader, OfferHead, Outcome, PlanAction, PlanRun, Receipt,
    ReceiverMessage, SenderMessage, SourceFault, Stamp, Timestamp, TransferId,
};
use peerconnect::protocol::sessions::{
    Fed, Feeder, FeedingKey, SessionNote, Ticket, Trouble, WillFile,
};
use peerconnect::transfer::budget::Budget;
use peerconnect::transfer::control::{News, Order, People, Progress, Reporter};
use peerconnect::transfer::limiter::Limiter;
use peerconnect::transfer::member::{Membership, Whereabouts};
use peerconnect::transfer::receiver::{Incoming, Terms, Who};
use peerconnect::transfer::send_file::Shared;
use peerconnect::transfer::sender::Outgoing;
use peerconnect::transfer::sources::Sources;
use peerconnect::transfer::table::SharedTable;
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};

use super::files::scratch;
use super::script::{SIZES, Script};

const ID: TransferId = TransferId([1; 16]);
/// Every byte of every good file.
const GOOD: u8 = 7;
/// How long the peer tries to say something.
const MOMENT: Duration = Duration::from_secs(1);
/// No patience of a peer outlasts this.
const AGES: Duration = Duration::from_secs(7 * 24 * 3600);

const WITHHELD: Trouble = Trouble::Withheld {
    index: u32::MAX,
    group: u32::MAX,
    denied: true,
};

fn in_virtual_time(work: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    runtime.block_on(work);
}

fn reporter() -> Reporter {
    let (news, mut waiting) = mpsc::channel::<(TransferId, News)>(64);
    tokio::spawn(async move { while waiting.recv().await.is_some() {} });
    Reporter::new(ID, news)
}

/// A hostile sender against our receiver, over up to three links.
pub fn receiver(data: &[u8]) {
    let dir = scratch();
    in_virtual_time(hostile_sender(dir.path(), Script(data)));
    let mut names: Vec<_> = std::fs::read_dir(dir.path())
        .expect("the folder")
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    names.sort();
    assert!(
        names.iter().all(|name| name == "in" || name == "journals"),
        "{names:?}"
    );
    check_content(&dir.path().join("in"));
}

fn check_content(folder: &Path) {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    for entry in entries {
        let path = entry.expect("an entry").path();
        let kind = path.symlink_metadata().expect("it is there").file_type();
        let is_part = path.extension().is_some_and(|end| end == "pcpart");
        if kind.is_dir() {
            check_content(&path);
        } else if kind.is_file() && !is_part {
            let content = std::fs::read(&path).expect("readable");
            assert!(content.iter().all(|byte| *byte == GOOD), "{path:?}");
        }
    }
}

async fn hostile_sender(dir: &Path, mut script: Script<'_>) {
    let flags = script.byte();
    let policies = [
        ConflictPolicy::Rename,
        ConflictPolicy::Skip,
        ConflictPolicy::Overwrite,
        ConflictPolicy::Fail,
        ConflictPolicy::Ask,
    ];
    let people = People::default();
    let _here = (flags & 64 == 0).then(|| people.attend());
    let terms = Terms {
        journals: dir.join("journals"),
        folder: dir.join("in"),
        on_conflict: script.pick(&policies),
        people: people.clone(),
        accepted: flags & 1 == 0,
        blocked: flags & 62 == 62,
        answer_timeout: Duration::from_secs(300),
        budget: Budget::default(),
        pass_on: Default::default(),
    };
    let who = Who {
        id: ID,
        peer: PeerId::from_bytes([2; 32]).into(),
        peer_name: "mallory".into(),
        started: 1,
    };
    let (table, progress) = (SharedTable::default(), Progress::shared());
    let mut incoming = Incoming::new(who, terms, table, progress, reporter());
    let (orders, mut orders_in) = mpsc::channel(8);
    for _ in 0..3 {
        let first: Vec<Entry> = (0..script.byte() % 6).map(|_| script.entry()).collect();
        let head = OfferHead {
            transfer: ID,
            entries: first.len() as u32,
            bytes: 1,
            digest: [script.byte(); 32],
        };
        let (out, inbound) = pair(head);
        let attack = attack_receiver(out, first, &mut script, &orders);
        let run = incoming.run(inbound, &mut orders_in);
        let both = async { tokio::join!(attack, run).1 };
        Box::pin(timeout(AGES, both))
            .await
            .expect("the receiver waits for ever");
        if script.is_over() {
            break;
        }
    }
    incoming.close(script.byte().is_multiple_of(2)).await;
}

async fn attack_receiver(
    mut out: MemoryOutbound,
    first: Vec<Entry>,
    script: &mut Script<'_>,
    orders: &mpsc::Sender<Order>,
) {
    let mut sizes: Vec<u64> = first.iter().map(size_of).collect();
    if !first.is_empty() {
        let _ = timeout(MOMENT, out.send(SenderMessage::Entries(first))).await;
    }
    let mut open: Vec<(MemoryWriter, u64)> = Vec::new();
    while !script.is_over() {
        let message = match script.byte() % 16 {
            0 => {
                let entries: Vec<Entry> = (0..script.byte() % 4).map(|_| script.entry()).collect();
                sizes.extend(entries.iter().map(size_of));
                Some(SenderMessage::Entries(entries))
            }
            1 | 2 => Some(SenderMessage::EntriesEnd {
                entries: sizes.len() as u32 + u32::from(script.byte() == 255),
            }),
            3 => Some(SenderMessage::FileFailed {
                index: script.number(),
                reason: SourceFault::Io,
            }),
            4 => Some(SenderMessage::Steer(script.steer())),
            5 => Some(SenderMessage::Finish {
                entries: sizes.len() as u32 + u32::from(script.byte() == 255),
            }),
            6 => {
                let _ = orders.try_send(script.order());
                None
            }
            7 => {
                sleep(script.wait()).await;
                None
            }
            8 => {
                while let Ok(Ok(_)) = timeout(Duration::from_millis(10), out.recv()).await {}
                None
            }
            9..=11 => {
                begin_file(&out, script, &sizes, &mut open).await;
                None
            }
            12 if !open.is_empty() => {
                open.remove(usize::from(script.byte()) % open.len());
                None
            }
            15 => Some(of_session(script)),
            _ => {
                let at = usize::from(script.byte());
                let count = open.len();
                if let Some((writer, size)) = open.get_mut(at.checked_rem(count).unwrap_or(0)) {
                    let piece = piece(script, *size);
                    let _ = timeout(MOMENT, writer.write(piece)).await;
                }
                None
            }
        };
        if let Some(message) = message
            && let Ok(Err(_)) = timeout(MOMENT, out.send(message)).await
        {
            return;
        }
    }
}

fn of_session(script: &mut Script<'_>) -> SenderMessage {
    match script.byte() % 5 {
        0 => SenderMessage::Session(SessionNote {
            receivers: script.number(),
            key: FeedingKey([1; 32]),
        }),
        1 => SenderMessage::Feeder(Feeder::Origin),
        2 => SenderMessage::WillFile(WillFile {
            index: script.number(),
            size: u64::from(script.number()),
            modified: Timestamp(1),
            stamp: Stamp([1; 16]),
            first: u32::from(script.byte()),
            groups: vec![[1; 32]; script.byte().into()],
        }),
        3 => SenderMessage::Will(vec![feeder(script); usize::from(script.byte() % 10)]),
        _ => SenderMessage::Feeder(feeder(script)),
    }
}

fn feeder(script: &mut Script<'_>) -> Feeder {
    let peer = PeerId::from_bytes([script.byte(); 32]);
    let addr = ([127, 0, 0, 1], 9).into();
    Feeder::Member {
        member: ID,
        peer,
        addrs: vec![addr; usize::from(script.byte() % 16)],
        ticket: Ticket::new(&FeedingKey([1; 32]), peer),
    }
}

/// Opens a file's stream: sends all of it, or keeps it for later.
async fn begin_file(
    out: &MemoryOutbound,
    script: &mut Script<'_>,
    sizes: &[u64],
    open: &mut Vec<(MemoryWriter, u64)>,
) {
    let whole = !script.byte().is_multiple_of(3);
    let header = header(script, sizes);
    let opened = timeout(MOMENT, out.opener().open(&header, 0)).await;
    let Ok(Ok(mut writer)) = opened else {
        return;
    };
    if whole && header.size < 1 << 22 {
        let _ = timeout(MOMENT, send_whole(&mut writer, header.size)).await;
    } else if open.len() < 16 {
        open.push((writer, header.size));
    }
}

fn size_of(entry: &Entry) -> u64 {
    match entry.kind {
        EntryKind::File { size, .. } => size,
        EntryKind::Folder { .. } | EntryKind::Symlink { .. } => 0,
    }
}

fn header(script: &mut Script<'_>, sizes: &[u64]) -> FileHeader {
    let index = script.number();
    let offered = sizes.get(index as usize).copied().unwrap_or(0);
    FileHeader {
        transfer: ID,
        index,
        size: match script.byte() {
            0..200 => offered,
            other => script.pick(&SIZES).saturating_add(u64::from(other)),
        },
        modified: Timestamp(i64::MIN),
        stamp: Stamp([script.byte(); 16]),
    }
}

fn hashes(size: u64) -> Vec<[u8; 32]> {
    let groups = 0..group_count(size.min(8 << 20));
    groups.map(|group| group_hash(size, group)).collect()
}

fn group_hash(size: u64, group: u32) -> [u8; 32] {
    hash_group(size, group, &vec![GOOD; group_len(size, group) as usize])
}

async fn send_whole(writer: &mut MemoryWriter, size: u64) {
    let hashes = hashes(size);
    for (group, hash) in (0..).zip(&hashes) {
        let content = Bytes::from(vec![GOOD; group_len(size, group) as usize]);
        let chunks = content.chunks(1 << 18).map(Bytes::copy_from_slice);
        let data = chunks.map(Piece::Data);
        let pieces = [Piece::Group(group)].into_iter().chain(data);
        for piece in pieces.chain([Piece::GroupEnd(Some(*hash))]) {
            if writer.write(piece).await.is_err() {
                return;
            }
        }
    }
    let _ = writer.write(Piece::End(file_hash(size, &hashes))).await;
}

fn piece(script: &mut Script<'_>, size: u64) -> Piece {
    match script.byte() % 8 {
        0 | 1 => Piece::Group(script.number()),
        2 | 3 => {
            let lens = [1, 100, 1 << 17, (1 << 18) - 1, 1 << 18];
            let byte = script.pick(&[GOOD, GOOD, GOOD, 9]);
            Piece::Data(Bytes::from(vec![byte; script.pick(&lens)]))
        }
        4 | 5 => Piece::GroupEnd(Some(group_hash(size, script.number() % group_count(size)))),
        6 => Piece::End(file_hash(size, &hashes(size)).or(Some([0; 32]))),
        _ => match script.byte() % 4 {
            0 => Piece::Elsewhere(script.number(), [0; 32]),
            _ => Piece::Break,
        },
    }
}

/// A hostile receiver against our sender.
pub fn sender(data: &[u8]) {
    let dir = scratch();
    std::fs::create_dir(dir.path().join("d")).expect("a folder");
    for (name, len) in [
        ("a", 5),
        ("b", 0),
        ("c", (1 << 20) + 9),
        ("d/e", 100),
        ("d/f", 3),
    ] {
        std::fs::write(dir.path().join(name), vec![GOOD; len]).expect("a file");
    }
    in_virtual_time(hostile_receiver(dir.path(), Script(data)));
}

async fn hostile_receiver(dir: &Path, mut script: Script<'_>) {
    let (table, sources) = (SharedTable::default(), Sources::default());
    let paths: Vec<_> = ["a", "b", "c", "d"].map(|name| dir.join(name)).into();
    let _ = sources.add(&paths, &table);
    let shared = Shared {
        transfer: ID,
        table: table.clone(),
        progress: Progress::shared(),
        limiter: std::sync::Arc::new(Limiter::new(None)),
        pauses: watch::Sender::new(Default::default()).subscribe(),
        disk: Default::default(),
        known: None,
        fed: None,
    };
    let (decisions, mut decided) = mpsc::channel(64);
    tokio::spawn(async move { while decided.recv().await.is_some() {} });
    let note = SessionNote {
        receivers: 2,
        key: FeedingKey([1; 32]),
    };
    let member = Membership::new(note, decisions);
    let outgoing = Outgoing::new(shared, sources, reporter());
    let mut outgoing = outgoing.in_session(member);
    outgoing.set_whereabouts(Whereabouts {
        peer: PeerId::from_bytes([2; 32]),
        name: "mallory".into(),
        addrs: Vec::new(),
    });
    let (orders, mut orders_in) = mpsc::channel(8);
    for _ in 0..3 {
        let head = table.lock().head(ID);
        let (out, inbound) = pair(head);
        let attack = attack_sender(inbound, &mut script, &orders);
        let run = outgoing.run(out, &mut orders_in);
        let both = async { tokio::join!(attack, run).1 };
        Box::pin(timeout(AGES, both))
            .await
            .expect("the sender waits for ever");
        if script.is_over() {
            break;
        }
    }
    let totals = table.lock().totals();
    assert!(totals.bytes_done <= totals.bytes, "{totals:?}");
}

async fn attack_sender(
    mut link: MemoryInbound,
    script: &mut Script<'_>,
    orders: &mpsc::Sender<Order>,
) {
    let mut files = Vec::new();
    if !script.byte().is_multiple_of(8) {
        let _ = timeout(MOMENT, link.send(ReceiverMessage::Known { entries: 0 })).await;
    }
    while !script.is_over() {
        let message = match script.byte() % 20 {
            0 => {
                link.consent();
                None
            }
            1..=3 => {
                while let Ok(Ok(event)) = timeout(Duration::from_millis(10), link.recv()).await {
                    if files.len() < 16 {
                        files.push(event);
                    }
                }
                None
            }
            4 => {
                sleep(script.wait()).await;
                None
            }
            5 => {
                let _ = orders.try_send(script.order());
                None
            }
            6 => {
                files.clear();
                None
            }
            _ => Some(receiver_message(script)),
        };
        if let Some(message) = message
            && let Ok(Err(_)) = timeout(MOMENT, link.send(message)).await
        {
            return;
        }
    }
}

fn receiver_message(script: &mut Script<'_>) -> ReceiverMessage {
    let actions = [PlanAction::Send, PlanAction::Hold, PlanAction::Skip];
    match script.byte() % 12 {
        0 => ReceiverMessage::Known {
            entries: script.number(),
        },
        1 | 2 => ReceiverMessage::Accepted,
        3 | 4 => ReceiverMessage::Plan(
            (0..script.byte() % 4)
                .map(|_| PlanRun {
                    count: script.number(),
                    action: script.pick(&actions),
                })
                .collect(),
        ),
        5 => ReceiverMessage::Start {
            entries: script.number(),
        },
        6 => ReceiverMessage::Have {
            index: script.number(),
            stamp: Some(Stamp([script.byte(); 16])),
            first: script.number(),
            groups: vec![[script.byte(); 32]; usize::from(script.byte() % 3)],
            more: script.byte().is_multiple_of(2),
        },
        7 => ReceiverMessage::Again {
            index: script.number(),
            group: script.number(),
        },
        8 | 9 => ReceiverMessage::Settled(
            (0..script.byte() % 8)
                .map(|_| Receipt {
                    index: script.number(),
                    outcome: script.pick(&[Outcome::New, Outcome::Skipped]),
                    saved_as: None,
                    hash: None,
                })
                .collect(),
        ),
        10 => ReceiverMessage::Steer(script.steer()),
        _ => match script.byte() % 8 {
            0 => ReceiverMessage::Declined(DeclineReason::Busy),
            1 => ReceiverMessage::PassesOn(true),
            2 => ReceiverMessage::Progress {
                done: u64::MAX,
                fed: vec![Fed {
                    index: script.number(),
                    bytes: u64::MAX,
                }],
            },
            3 => ReceiverMessage::Trouble {
                feeder: ID,
                trouble: script.pick(&[Trouble::Lied, WITHHELD]),
            },
            4 => ReceiverMessage::CanGoOn(script.number()),
            5 => ReceiverMessage::Behind(script.number().is_multiple_of(2)),
            6 => ReceiverMessage::Holds(vec![script.held_part()]),
            _ => ReceiverMessage::Complete,
        },
    }
}
